"""``run.json``: what was run on a model, with what, and what came out; whether that is still up to date.

One record per model. An experiment is up to date when its notebook, the helpers, its parameters and the
model's files are the ones recorded, the tokens too if it read any, and every file that it read or wrote
is as it was (or, if it looked for one in vain, still missing). Its outputs are the files of its model and
the model's untrained twin; what goes to ``_all`` is made from several models and belongs to none.

A file is recorded by one of four kinds of name: ``results/...`` and ``figures/...`` in the output folder,
``repository:...`` for any other file of the repository, and else its absolute path.
"""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from helpers import files, paths
from helpers.command import locks
from helpers.engine.sources import UNTRAINED

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "pandas", "matplotlib", "seaborn", "papermill")


def read(model: str) -> dict[str, Any]:
    """The model's record; one that is missing or damaged counts as empty."""
    try:
        record = json.loads(_path(model).read_text(encoding="utf8"))
        experiments = record["experiments"].values()
        complete = all(
            isinstance(experiment[key], kind)
            for experiment in experiments
            for key, kind in (("inputs", dict), ("read", dict), ("outputs", dict), ("seconds", float))
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return record if complete else {}


def is_current(model: str, slug: str, inputs: dict[str, Any], tokens_sha256: str) -> bool:
    """Whether the experiment has finished with exactly these inputs, and what it read and wrote is untouched."""
    experiment = read(model).get("experiments", {}).get(slug)
    if experiment is None or experiment["inputs"] != inputs or not experiment["outputs"]:
        return False
    if experiment.get("tokens_sha256", tokens_sha256) != tokens_sha256:
        return False
    recorded = experiment["read"] | experiment["outputs"]
    return all(files.sha256(located(name)) == sha256 for name, sha256 in recorded.items())


def finished(
    model: str, inputs: dict[str, Any], tokens_sha256: str, ledger: files.Ledger, seconds: float
) -> dict[str, Any]:
    """The record of an experiment that has just ended; of a file both read and written, what was written counts."""
    folders = _own_folders(model)
    own = [path for path in ledger.written if path.is_file() and any(map(path.is_relative_to, folders))]
    read_only = {path: sha256 for path, sha256 in ledger.read.items() if path not in ledger.written}
    return {
        "inputs": inputs,
        **({"tokens_sha256": tokens_sha256} if ledger.tokens else {}),
        "read": {recorded_name(path): read_only[path] for path in sorted(read_only)},
        "outputs": hashes(own),
        "seconds": seconds,
    }


def write(model: str, facts: dict[str, Any], slug: str, experiment: dict[str, Any]) -> None:
    """Add a finished experiment to the model's record; ``facts`` describe the model and the run."""
    about = facts | {"versions": versions(), "git_commit": git_commit()}
    with locks.alone(model, "record"):  # other runs may add to it at the same time
        record = about | {"experiments": read(model).get("experiments", {}) | {slug: experiment}}
        with files.writing(_path(model)) as path:
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")


def hashes(written: Iterable[Path]) -> dict[str, str]:
    """sha256 of files as they are now, by the name under which they are recorded."""
    return {recorded_name(path): files.sha256(path) for path in sorted(written)}


def recorded_name(path: Path) -> str:
    """The name under which the file at an absolute, resolved path is recorded."""
    prefix, root = next((prefix, root) for prefix, root in _roots().items() if path.is_relative_to(root))
    return prefix + path.relative_to(root).as_posix()


def located(name: str) -> Path:
    """The path of a file that is recorded under ``name``; a name of another kind is one of the output folder."""
    known = ((prefix, root) for prefix, root in _roots().items() if name.startswith(prefix))
    prefix, root = next(known, ("", paths.output()))
    return root / name.removeprefix(prefix)


def source_hash(notebook: Path) -> str:
    """sha256 of a notebook's cells, outputs left out."""
    cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
    sources = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def helpers_hash() -> str:
    """sha256 of the helper modules."""
    contents = [path.read_bytes() for path in sorted(paths.HELPERS.rglob("*.py"))]
    return hashlib.sha256(b"\0".join(contents)).hexdigest()


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


def git_commit() -> str | None:
    """The commit checked out in the repository, if it is one."""
    command = ["git", "-C", str(paths.ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _roots() -> dict[str, Path]:
    """The folders that files are named from, by what their names begin with; the first that fits is taken."""
    made = {f"{folder}/": (paths.output() / folder).resolve() for folder in ("results", "figures")}
    return made | {"repository:": paths.ROOT, "/": Path("/")}


def _own_folders(model: str) -> list[Path]:
    """Where the model's outputs are, and those of its untrained twin."""
    folders = [folder(name) for name in (model, f"{model}{UNTRAINED}") for folder in (paths.results, paths.figures)]
    return [folder.resolve() for folder in folders]


def _path(model: str) -> Path:
    return paths.results(model) / "run.json"
