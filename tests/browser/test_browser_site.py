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


def test_no_page_asks_for_anything_complains_or_shuts_readers_out(site, page, screenshots):
    record = watch(page)
    found = {}
    for file in sorted(site.rglob("*.html")):
        name = str(file.relative_to(site))
        record.errors.clear()
        record.outside.clear()
        page.emulate_media(color_scheme="light")
        page.goto(file.as_uri())
        findings = grave_findings(page)
        if not name.startswith("src/"):  # those look all alike
            keep(page, screenshots, f"site-{name.replace('/', '-')}-light")
            page.emulate_media(color_scheme="dark")
            findings += grave_findings(page, "color-contrast")  # nothing else can differ
            keep(page, screenshots, f"site-{name.replace('/', '-')}-dark")
        found[name] = [*findings, *broken_images(page), *record.errors, *record.outside]
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
