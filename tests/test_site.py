"""The reading-group kit; and the site, built once from the files as they are stored and read without a network."""

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from helpers import paths

DOCS = paths.ROOT / "docs"
SESSIONS = sorted((DOCS / "reading_group").glob("*.md"))
NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
MISSING = [name for name in ("furo", "myst_nb", "sphinx") if importlib.util.find_spec(name) is None]
needs_the_extra = pytest.mark.skipif(bool(MISSING), reason=f"the extra 'site' is not installed: {', '.join(MISSING)}")
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}  # fetched unasked


def slugs(text: str) -> set[str]:
    """The fragments by which headings of Markdown are reached."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def markdown(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text()
    return "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")


def minutes(page: str, length: int) -> list[int]:
    """The clock times of the plan for so many minutes."""
    plan = page.split(f"## {length} minutes\n")[1].split("\n## ")[0]
    return [60 * int(hours) + int(rest) for hours, rest in re.findall(r"^\| (\d+):(\d\d) \|", plan, flags=re.MULTILINE)]


def test_every_notebook_has_its_session_and_the_first_page_leads_to_each():
    assert [path.stem for path in SESSIONS] == [path.stem for path in NOTEBOOKS]
    overview = (DOCS / "reading_group.md").read_text()
    assert re.findall(r"\]\((reading_group/[^)]+)\)", overview) == [f"reading_group/{path.name}" for path in SESSIONS]


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_a_session_has_two_plans_that_fill_their_time_and_all_that_a_leader_needs(path):
    page = path.read_text()
    for length in (60, 90):
        times = minutes(page, length)
        assert times[0] == 0 and times[-1] == length
        assert all(5 <= later - earlier <= 20 for earlier, later in pairwise(times))
    parts = ["Before the meeting", "60 minutes", "90 minutes", "Run live"]
    parts += ["Questions to discuss", "Misreadings to expect", "Read next"]
    assert re.findall(r"^## (.+)$", page, flags=re.MULTILINE) == parts
    questions = page.split("## Questions to discuss\n")[1].split("\n## ")[0].strip().splitlines()
    assert len(questions) >= 4 and all("*Where to look:* " in question for question in questions)


@pytest.mark.parametrize("path", [*SESSIONS, *DOCS.glob("*.md")], ids=lambda path: path.stem)
def test_links_of_the_kit_lead_to_files_and_to_sections_that_there_are(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" not in target:
            file, _, fragment = target.partition("#")
            assert (path.parent / file).exists(), target
            assert not fragment or fragment in slugs(markdown(path.parent / file)), target


@dataclass
class Page(HTMLParser):
    """What an HTML page refers to, and what can be referred to in it."""

    text: str
    loaded: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    without_text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids.add(found.get("id", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if found.get(LOADED.get(tag, "")):
            self.loaded.append(found[LOADED[tag]])
        if tag == "img" and not found.get("alt"):
            self.without_text.append(found["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The site of this repository, built with a report of pocket beside it; a warning of Sphinx is an error."""
    folder = tmp_path_factory.mktemp("site")
    report = folder / "output" / "results" / "pocket" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<title>Report</title>")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", DOCS, "-d", folder / "doctrees"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.OUTPUT_VARIABLE, str(folder / "output"))
        result = subprocess.run([*command, paths.ROOT, folder / "html"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    yield folder / "html"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def broken(pages: dict[Path, Page]) -> list[str]:
    """Every reference that stays within the site and leads to no file, or to no place in its page."""
    found = []
    for path, page in pages.items():
        for target in [*page.loaded, *page.links]:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = file in pages
            if not file.is_file() or (known and parts.fragment and unquote(parts.fragment) not in pages[file].ids):
                found.append(f"{path.name}: {target}")
    return found


def from_elsewhere(page: Page) -> list[str]:
    return [target for target in page.loaded if urlsplit(target).netloc]


@needs_the_extra
@pytest.mark.slow
def test_every_notebook_session_and_module_is_a_page(site):
    wanted = [*NOTEBOOKS, *SESSIONS, paths.ROOT / "README.md", paths.ROOT / "CONTRIBUTING.md"]
    wanted += [path for path in paths.HELPERS.rglob("*.py") if path.name != "__init__.py"]
    missing = [path for path in wanted if not (site / path.relative_to(paths.ROOT)).with_suffix(".html").is_file()]
    assert not missing
    assert (site / "index.html").read_bytes() == (site / "README.html").read_bytes()


@needs_the_extra
@pytest.mark.slow
def test_no_page_asks_another_server_for_anything(site, pages):
    assert len(pages) > len(NOTEBOOKS)
    assert not [(path, from_elsewhere(page)) for path, page in pages.items() if from_elsewhere(page)]
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet
    for script in site.rglob("*.js"):
        assert not re.findall(r"(?:fetch|import|importScripts)\(\s*[\"'`](?:https?:)?//", script.read_text()), script
    assert from_elsewhere(Page('<script src="https://cdn.example/mathjax.js"></script>'))


@needs_the_extra
@pytest.mark.slow
def test_no_link_within_the_site_is_broken(site, pages):
    assert not broken(pages)
    planted = Page('<a href="nowhere.html">x</a><a href="index.html#nowhere">x</a><a href="index.html">x</a>')
    assert broken({**pages, site / "planted.html": planted}) == [
        "planted.html: nowhere.html",
        "planted.html: index.html#nowhere",
    ]


@needs_the_extra
@pytest.mark.slow
def test_formulas_pictures_and_the_report_are_in_the_pages(site, pages):
    formulas = (site / "notebooks" / "01_layer_lesion.html").read_text()
    assert "<math" in formulas and "mathjax" not in formulas.lower()
    assert not [(path, page.without_text) for path, page in pages.items() if page.without_text]
    assert "../results/pocket/report.html" in pages[site / "docs" / "results.html"].links
    assert (site / "results" / "pocket" / "report.html").is_file()
    assert not (site / "results" / "pocket" / "explorer.html").exists()  # there was none


@needs_the_extra
@pytest.mark.slow
def test_outputs_are_those_that_are_stored_and_what_is_tagged_is_folded(site):
    for path in NOTEBOOKS:
        page = (site / "notebooks" / f"{path.stem}.html").read_text()
        cells = nbformat.read(path, as_version=4).cells
        pictures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
        assert len(re.findall(r'<img alt="[^"]+" src="../_images/[0-9a-f]{40,}\.png"', page)) == pictures
        tagged = sum("hide-output" in cell.metadata.get("tags", []) for cell in cells if cell.get("outputs"))
        assert len(re.findall(r'<details class="[^"]*\bhide\b', page)) == tagged


@needs_the_extra
def test_a_picture_is_described_by_the_caption_of_the_figure_that_its_call_saves(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    saved_as = importlib.import_module("parts.outputs").saved_as
    assert saved_as("figure, lens.SLUG, model);", "logit_lens") == "logit_lens"
    assert saved_as('figure, lens.SLUG, model, what="tuned");', "logit_lens") == "logit_lens_tuned"
    assert saved_as("figure, votes.SLUG, model, ing_ensembles.WHAT)", "prediction_ensembling") == (
        "prediction_ensembling_ing"
    )
    assert saved_as('figure, lens.SLUG, model, what="unheard_of");', "logit_lens") == ""
    assert saved_as("", "logit_lens") == ""


@needs_the_extra
def test_formulas_are_cut_into_commands_before_they_are_translated(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    mathml = importlib.import_module("parts.mathml")
    assert mathml.latex_words(r"\big|x\bigl(\dots\,y") == [r"\big", "|", "x", r"\bigl", "(", r"\dots", r"\,", "y"]
    assert "…" in mathml.mathml(r"a, \dots, b", as_block=False)
    assert "<mtext>" not in mathml.mathml(r"\big|x\big|", as_block=True)
