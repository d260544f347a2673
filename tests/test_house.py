"""The house rules that a test can keep: the direction of imports, short modules, the map, annotations."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jaxtyping
import pytest
import torch

from helpers import metrics, paths

MODULES = sorted(path for path in paths.HELPERS.rglob("*.py") if path.name != "__init__.py")
NAMES = [str(path.relative_to(paths.HELPERS)) for path in MODULES]
MAP = paths.HELPERS / "README.md"
LONGEST, MOST_LONGER = 150, 5


def check_imports(source: Path) -> subprocess.CompletedProcess:
    """The contracts of pyproject.toml on the package `helpers` in a folder."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo", paths.ROOT / "pyproject.toml"]
    return subprocess.run(command, cwd=source, capture_output=True, text=True)


@pytest.fixture
def copied(tmp_path) -> Path:
    """A folder with a copy of the package in it."""
    shutil.copytree(paths.HELPERS, tmp_path / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_imports_run_one_way():
    result = check_imports(paths.HELPERS.parent)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "statement", "broken"),
    [
        ("metrics", "from helpers import lesion", "helpers.metrics is not allowed to import helpers.lesion"),
        (
            "engine/sources",
            "def later():\n    from helpers.judging import claims",
            "helpers.engine is not allowed to import helpers.judging",
        ),
        ("lens", "from helpers import norms", "helpers.lens is not allowed to import helpers.norms"),
        ("text/vocabulary", "from helpers.text import spelled_words", "- .vocabulary -> .spelled_words"),
    ],
    ids=["upward", "upward within a function", "sideways", "in a circle"],
)
def test_a_planted_import_in_the_wrong_direction_is_found(module, statement, broken, copied):
    assert check_imports(copied).returncode == 0
    with (copied / "helpers" / f"{module}.py").open("a") as file:
        file.write(f"\n{statement}\n")
    result = check_imports(copied)
    assert result.returncode == 1
    assert broken in result.stdout


def test_a_module_without_a_place_is_found(copied):
    (copied / "helpers" / "attic.py").write_text('"""Has no place."""\n')
    result = check_imports(copied)
    assert result.returncode == 1
    assert "attic" in result.stdout


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def public_functions(path: Path) -> list[ast.FunctionDef]:
    """Functions, and methods of classes, whose names do not begin with an underscore."""
    scopes = [ast.parse(path.read_text())]
    scopes += [node for node in scopes[0].body if isinstance(node, ast.ClassDef)]
    functions = [node for scope in scopes for node in scope.body if isinstance(node, ast.FunctionDef)]
    return [function for function in functions if not function.name.startswith("_")]


def test_modules_are_short_and_the_few_longer_ones_say_why():
    longer = [path for path in MODULES if len(path.read_text().splitlines()) > LONGEST]
    assert len(longer) <= MOST_LONGER, longer
    for path in longer:
        assert "longer" in docstring(path), f"{path}: say in its docstring why it is longer than {LONGEST} lines"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_a_module_and_its_public_functions_say_what_they_are(path):
    assert docstring(path)
    for function in public_functions(path):
        names = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        unannotated = [name.arg for name in names if name.annotation is None and name.arg not in ("self", "cls")]
        assert not unannotated, f"{function.name}: {unannotated}"
        assert function.returns is not None, f"{function.name} does not say what it returns"


def test_the_map_names_every_module_and_nothing_else():
    linked = re.findall(r"\]\(([^)]*\.py)\)", MAP.read_text())
    assert sorted(linked) == sorted(NAMES)


def test_the_map_gives_the_direction_that_is_checked():
    contracts = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = re.search(r"```text\n(.*?)\n```", MAP.read_text(), flags=re.DOTALL)[1]
    assert listed.splitlines() == contracts[0]["layers"]


def test_shapes_and_types_are_checked_while_tests_run():
    with pytest.raises(jaxtyping.TypeCheckError):
        metrics.kl_divergence(torch.zeros(2, 3), torch.zeros(2, 4))
