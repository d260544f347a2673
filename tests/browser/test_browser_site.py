"""The site, built afresh and opened from the disk: every page, in light and dark."""

import subprocess
from pathlib import Path

import pytest
from browsing import broken_images, grave_findings, keep, watch

from helpers import paths

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    for module in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(module, reason="the extra `site` is not installed")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([paths.ROOT / "build_site.sh", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def test_no_page_asks_for_anything_complains_or_shuts_readers_out(site, page, scheme, screenshots):
    record = watch(page)
    page.emulate_media(color_scheme=scheme)
    found = {}
    for file in sorted(site.rglob("*.html")):
        name = str(file.relative_to(site))
        page.goto(file.as_uri())
        if not name.startswith("src/"):  # those look all alike
            keep(page, screenshots, f"site-{name.replace('/', '-')}-{scheme}")
        found[name] = [*grave_findings(page), *broken_images(page), *record.errors, *record.outside]
        record.errors.clear()
        record.outside.clear()
    assert {name: findings for name, findings in found.items() if findings} == {}
    assert len(found) > 14  # at least the notebooks


def test_the_search_finds_a_notebook(site, page):
    record = watch(page)
    page.goto((site / "index.html").as_uri())
    search = page.locator("input[name=q]:visible").first
    search.fill("logit lens")
    search.press("Enter")
    page.locator("#search-results a", has_text="lens").first.wait_for(timeout=30_000)
    assert (record.errors, record.outside) == ([], [])
