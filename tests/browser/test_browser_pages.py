"""Report and explorer, opened from the disk: nothing asked of anybody, no complaint, nothing that shuts readers out.

Tried on what ``run_all.sh`` writes for the bundled model on little text, and on every such page that it has left in
``results/`` of this checkout.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browsing import broken_images, grave_findings, keep, watch

from helpers import paths

pytestmark = pytest.mark.slow
SMALL = ["--tokens", "512", "--context", "64", "--only", "mlp_norm,prediction_suppression_neurons"]
LEFT = sorted((paths.ROOT / "results").glob("*/*.html"))
NARROW = 360  # pixels: a telephone


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """The folder of a run on the bundled model."""
    folder = tmp_path_factory.mktemp("run")
    command = [sys.executable, "-m", "helpers.pipeline", *SMALL, "--output", str(folder)]
    subprocess.run(command, cwd=paths.ROOT, env=os.environ, check=True, stdout=subprocess.DEVNULL)
    return folder / "results" / "pocket"


@pytest.fixture(params=["report.html", "explorer.html", *LEFT], ids=lambda file: "-".join(Path(file).parts[-2:]))
def file(request, browser) -> Path:
    """A page; the small run is made only if one of its pages is asked for."""
    return request.param if isinstance(request.param, Path) else request.getfixturevalue("written") / request.param


@pytest.fixture
def opened(page, written):
    """Opens a page of the small run; afterwards it must not have complained, nor asked for anything elsewhere."""
    record = watch(page)

    def open_page(name: str):
        page.goto((written / name).as_uri())
        return page

    yield open_page
    assert (record.outside, record.errors) == ([], [])


def test_a_page_asks_for_nothing_and_nobody_is_shut_out(file, page, scheme, screenshots):
    record = watch(page)
    page.emulate_media(color_scheme=scheme)
    page.goto(file.as_uri())
    page.eval_on_selector_all("details", "folded => folded.forEach(details => { details.open = true; })")
    keep(page, screenshots, f"{file.parent.name}-{file.stem}-{scheme}")
    assert grave_findings(page) == []
    assert broken_images(page) == []
    assert (record.outside, record.errors) == ([], [])


def test_a_page_fits_a_narrow_window(file, page, screenshots):
    page.set_viewport_size({"width": NARROW, "height": 740})
    page.goto(file.as_uri())
    keep(page, screenshots, f"{file.parent.name}-{file.stem}-narrow", whole=False)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= NARROW
    assert grave_findings(page) == []


def test_links_of_a_page_lead_somewhere(file, page):
    page.goto(file.as_uri())
    for address in page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)"):
        parts = urlsplit(address)
        if parts.scheme != "file":
            assert parts.scheme == "https", address
        elif Path(unquote(parts.path)) != file:
            assert Path(unquote(parts.path)).exists(), address
        elif not re.fullmatch(r"|\w+=.*", parts.fragment):  # an explorer keeps in its address what is chosen
            assert page.locator(f"[id='{unquote(parts.fragment)}']").count() == 1, address


def test_a_column_header_sorts_its_table_up_and_down(opened):
    page = opened("report.html")
    header = page.locator("thead th").first
    column = page.locator("table").first.locator("tbody tr > :first-child")
    for direction in ("ascending", "descending"):
        header.get_by_role("button").press("Enter")
        assert header.get_attribute("aria-sort") == direction
        cells = column.all_inner_texts()
        assert len(cells) > 1
        assert cells == page.evaluate(
            "([cells, back]) => cells.toSorted((a, b) => (back ? -1 : 1) * a.localeCompare(b, 'en', {numeric: true}))",
            [cells, direction == "descending"],
        )


def test_the_explorers_slider_changes_what_is_shown(opened):
    page = opened("explorer.html")
    slider, shown = page.get_by_role("slider"), []
    for _ in range(int(slider.get_attribute("max")) + 1):
        shown.append((page.locator("#tokens").inner_html(), page.locator("#next-drop").inner_html()))
        slider.press("ArrowRight")
    assert len(set(shown)) == len(shown) > 1


def test_the_explorer_is_used_with_the_keyboard_and_with_the_mouse(opened):
    page = opened("explorer.html")
    details = page.locator("#details")
    cells = page.locator("#lens td")
    cells.nth(3).hover()
    pointed_at = details.inner_text()
    cells.first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert details.inner_text() == pointed_at
    page.keyboard.press("ArrowDown")
    assert details.inner_text() != pointed_at
    page.keyboard.press("Enter")
    assert page.locator("#tokens button[aria-pressed=true]").get_attribute("data-position") == "3"


def test_the_explorers_address_keeps_what_is_chosen(opened):
    page = opened("explorer.html")
    page.get_by_label("Sentence").select_option(index=1)
    page.get_by_role("slider").press("End")
    page.get_by_label("swap with the next").check()
    chosen = page.locator("main").inner_text()
    page.reload()
    assert page.locator("main").inner_text() == chosen
