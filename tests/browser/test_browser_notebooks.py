"""Every notebook, opened in JupyterLab by a reader who then runs all cells. Long: as long as the notebooks take."""

import re

import pytest
from browsing import broken_images, keep, watch

from helpers import paths

pytestmark = pytest.mark.slow
NOTEBOOKS = sorted(path.stem for path in paths.NOTEBOOKS.glob("[0-9]*.ipynb"))
SECONDS = 1200  # a notebook takes one or two minutes


def draws(cell: dict) -> bool:
    """Whether it makes a figure in any case; what is indented may have nothing to draw."""
    return bool(re.search(r"^figures\.save\(", cell["source"], flags=re.MULTILINE))


def shows_a_picture(cell: dict) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell["outputs"])


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_runs_to_its_end_without_a_red_cell(notebook, lab, page, screenshots):
    record = watch(page, lab.address)
    lab.open(page, notebook)
    cells = lab.run_all(page, SECONDS)
    lab.show_all(page)
    keep(page, screenshots, notebook)
    lab.end_kernel(page)
    assert lab.red(cells) == []
    assert [cell["source"] for cell in cells if draws(cell) and not shows_a_picture(cell)] == []
    assert [cell["count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert broken_images(page) == []
    assert record.outside == []
    assert record.errors == []
