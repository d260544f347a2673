"""What nbval does not see: that every notebook can be read, rerun and taught from."""

import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest
import yaml

from helpers import paths
from helpers.command import options, presets, tasks

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
EXPERIMENTS = [path for path in NOTEBOOKS if path.name[:2].isdecimal() and not path.name.startswith("00")]


def read(path: Path):
    return nbformat.read(path, as_version=4)


def code_cells(path: Path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def parameters(path: Path) -> dict:
    source = next(cell.source for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", []))
    found: dict = {}
    exec(source, found)
    return {name: value for name, value in found.items() if not name.startswith("__")}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_mostly_prose_in_small_cells(path):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(path)]
    prose = [cell for cell in read(path).cells if cell.cell_type == "markdown"]
    assert len(prose) >= len(lengths)
    assert statistics.median(lengths) <= 8
    assert max(lengths) <= 25


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_defines_nothing_but_hooks_and_installs_nothing(path):
    for cell in code_cells(path):
        unwanted = r"^\s*(class |def (?!\w+_hook\())|^\s*[!%]|pip install"
        assert not re.search(unwanted, cell.source, flags=re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_are_there_and_clean(path):
    cells = code_cells(path)
    assert all(cell.execution_count for cell in cells)
    assert sum(bool(cell.outputs) for cell in cells) >= len(cells) / 2
    outputs = json.dumps([cell.outputs for cell in cells])
    for unwanted in ("Warning", "Traceback", "it/s]", str(paths.ROOT), str(Path.home()) + "/", "/tmp/"):
        assert unwanted not in outputs
    assert not any(output.get("name") == "stderr" for cell in cells for output in cell.outputs)
    assert not any("papermill" in part.metadata for part in [read(path), *cells])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_that_draws_shows_its_figure(path):
    drawing = [cell for cell in code_cells(path) if re.search(r"^figures\.save\(", cell.source, flags=re.MULTILINE)]
    for cell in drawing:
        assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_a_cell_that_nbval_compares(path):
    assert any("NBVAL_CHECK_OUTPUT" in cell.source and cell.outputs for cell in code_cells(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_and_to_figures_lead_somewhere(path):
    for cell in read(path).cells:
        for target in re.findall(r"\]\(([^)#:]+)\)", cell.source) if cell.cell_type == "markdown" else []:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_parameters_are_the_options_and_default_to_the_pocket_preset(path):
    preset = presets.read("pocket")
    (preset["model"],) = preset.pop("models")
    common = {name: value for name, value in preset.items() if name not in ("checkpoints", "jobs")}
    assert {name: value for name, value in parameters(path).items() if name in common} == common


def test_further_parameters_are_those_that_the_command_line_fills():
    own = {path.stem: set(parameters(path)) - set(parameters(EXPERIMENTS[0])) for path in EXPERIMENTS}
    assert {stem: names for stem, names in own.items() if names} == {"11_training_dynamics": {"checkpoints"}}


def test_notebooks_that_may_run_elsewhere_in_tests_read_no_others_tables(pytestconfig):
    (conftest,) = (each for each in pytestconfig.pluginmanager.get_plugins() if hasattr(each, "READ_NO_OTHERS"))
    alone = {options.slug_of(path) for path in EXPERIMENTS if path.name.startswith(conftest.READ_NO_OTHERS)}
    assert len(alone) == len(conftest.READ_NO_OTHERS)
    assert not alone & {*tasks.READS, *options.MEASURED}


def test_every_preset_names_what_it_must_and_nothing_else():
    for path in paths.PRESETS.glob("*.yaml"):
        assert presets.read(path.stem)["models"], path
        assert yaml.safe_load(path.read_text())
