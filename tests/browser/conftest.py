"""A real browser. Where Playwright or a Chromium is missing, every test here is skipped and says so."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab import Lab
    from playwright.sync_api import Browser, Page

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
SCREENSHOTS_VARIABLE = "COMPANION_SCREENSHOTS"


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """The system's Chromium, or the one that `playwright install chromium` has fetched."""
    for module in ("playwright.sync_api", "axe_playwright_python"):
        pytest.importorskip(module, reason="the extra `browser` is not installed: pip install -e '.[browser]'")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = [*filter(None, map(shutil.which, CHROMIUMS)), playwright.chromium.executable_path]
        if not Path(found[0]).exists():
            pytest.skip("no Chromium: apt install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(browser, tmp_path_factory) -> "Iterator[Lab]":
    """One JupyterLab for all notebooks; they write to one folder, since some read what others have written."""
    from lab import serve

    with serve(tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("output")) as lab:
        yield lab


@pytest.fixture(params=["light", "dark"])
def scheme(request) -> str:
    """What the reader's system asks for."""
    return request.param


@pytest.fixture
def page(browser) -> "Iterator[Page]":
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures are left to be looked at: a folder of one's own choice, or a temporary one."""
    chosen = os.environ.get(SCREENSHOTS_VARIABLE) or f"{tempfile.gettempdir()}/companion-screenshots"
    folder = Path(chosen).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
