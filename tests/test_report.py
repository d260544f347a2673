"""The report: one file that says what the tables say, that anybody can read, and that asks for nothing from outside."""

import base64
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import paths, tables
from helpers.command import options, run_record
from helpers.command.inspection import Inspected
from helpers.errors import InputError
from helpers.files import writing
from helpers.judging import claims, scoreboard, wordings
from helpers.pages import captions, ending, explorer, markup, report, sections

VOID = {"img", "link", "meta"}
EXPERIMENT = "mlp_norm"


class Document(HTMLParser):
    """What a browser would find in a page; a tag that is closed in the wrong order is an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.cells: list[list[str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.cells = []
        if tag == "tr":
            self.cells.append([])
        if tag in ("th", "td"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self.caption] = self.cells

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("th", "td"):
            self.cells[-1][-1] += data
        if self.open and self.open[-1] == "caption":
            self.caption = data
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def of(self, *tags: str) -> list[dict]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def planted(model: str = "toy", **changed) -> dict[str, dict]:
    """Claims about a model as they are saved, one of each outcome; ``changed`` is said of the first."""
    outcomes = [(claims.HOLDS, ""), (claims.DOES_NOT_HOLD, ""), *((claims.UNDECIDED, kind) for kind in claims.KINDS)]
    rows = [
        {
            "claim": f"claim_{number}",
            "wording": f"Layers of kind {number} do < what & they should",
            "stage": "robustness",
            "source": "5.1",
            "rule": "at least 0.5",
            "paper": "",
            "statistic": np.nan if kind == claims.CANNOT_SPEAK else 0.1 * number + 0.05,
            "statistic_low": np.nan if kind == claims.CANNOT_SPEAK else 0.1 * number,
            "statistic_high": np.nan if kind == claims.CANNOT_SPEAK else 0.1 * number + 0.1,
            "share_true": np.nan,
            "verdict": verdict,
            "kind": kind,
            "reason": f"reason {number}" if kind else "",
            "remark": "" if kind else f"remark {number}",
            "model": model,
        }
        for number, (verdict, kind) in enumerate(outcomes)
    ]
    rows[0] |= changed
    tables.write(paths.results(model) / "claims.csv", pd.DataFrame(rows))
    return {row["wording"]: row for row in rows}


def run(model: str = "toy", slug: str = EXPERIMENT, **parameters) -> None:
    """A notebook that has ended on a model: its table, its figure, its record."""
    layers = pd.DataFrame({"layer": range(12), "norm": np.arange(12) / 7})
    layers = layers.assign(norm_low=layers["norm"] - 0.1, norm_high=layers["norm"] + 0.1, tells=layers["layer"] > 3)
    tables.save(slug, model, layers)
    for suffix, content in ((".svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), (".png", b"p" * 999)):
        with writing((paths.figures(model) / slug).with_suffix(suffix)) as path:
            path.write_bytes(content)
    made = [
        paths.results(model) / f"{slug}.csv",
        *((paths.figures(model) / slug).with_suffix(s) for s in (".svg", ".png")),
    ]
    given = {"model": model, "tokens": 256, "context": 64, "checkpoints": []} | parameters
    inputs = {"parameters": given, "files": {"weights": "ab"}, "helpers": "c" * 64}
    recorded = {
        "inputs": inputs,
        "tokens_sha256": "d" * 64,
        "read": {},
        "outputs": run_record.hashes(made),
        "seconds": 1.5,
    }
    facts = {"model": model, "revision": None, "n_layers": 12, "parameters": given, "files": {"weights": "ab" * 32}}
    run_record.write(model, facts, slug, recorded)


@pytest.fixture
def page() -> Document:
    run()
    planted()
    return Document(report.make("toy"))


def headings(document: Document) -> Iterator[int]:
    return (int(tag[1]) for tag, _ in document.elements if tag in ("h1", "h2", "h3", "h4"))


def test_a_page_asks_for_nothing_from_outside(page):
    for attributes in page.of("img", "link", "script", "iframe"):
        wanted = attributes.get("src") or attributes.get("href")
        assert wanted is None or wanted.startswith("data:")
    policy = next(each["content"] for each in page.of("meta") if "http-equiv" in each)
    assert policy == markup.POLICY and "default-src 'none'" in policy
    for kind in ("css", "js"):
        written = (paths.HELPERS / "pages" / f"report.{kind}").read_text()
        assert not [word for word in ("http", "url(", "import", "fetch(") if word in written]


def test_a_page_can_be_read_without_eyes_and_without_a_mouse(page):
    levels = list(headings(page))
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels)), "no level is left out"
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert {link["href"][1:] for link in page.of("a") if link["href"].startswith("#")} <= set(names)
    assert all(len(picture["alt"]) > 20 for picture in page.of("img"))
    assert len(page.of("caption")) == len(page.of("table")) == len(page.tables), "each table has a name of its own"
    assert all(header.get("scope") in ("col", "row") for header in page.of("th"))
    scrolled = [each for each in page.of("div") if each.get("class") == "scroll"]
    assert len(scrolled) == len(page.of("table")) and all(each["tabindex"] == "0" for each in scrolled)
    assert page.of("html") == [{"lang": "en"}]


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(scheme):
    style = (paths.HELPERS / "pages" / "report.css").read_text().split(":root {")[scheme + 1].split("}")[0]
    colour = dict(pair.strip().removeprefix("--").split(": ") for pair in style.split(";") if ":" in pair)
    for words in ("ink", "soft", "link"):
        for ground in ("paper", "band", "yes", "no", "open") if words == "ink" else ("paper", "band"):
            light, dark = sorted((luminance(colour[words]), luminance(colour[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (words, ground)


def test_every_claim_stands_there_with_its_verdict_and_numbers(page):
    rows = page.tables["The claims and their verdicts"]
    shown = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    saved = planted()
    assert [row["claim"] for row in shown] == list(saved)
    for row in shown:
        of_claim = saved[row["claim"]]
        assert row["verdict"] == (of_claim["kind"] or of_claim["verdict"])
        assert row["remark"] == of_claim["remark"] + of_claim["reason"]
        numbers = [of_claim[f"statistic{end}"] for end in ("", "_low", "_high")]
        expected = "" if np.isnan(numbers[0]) else "{} [{}, {}]".format(*map(markup.number, numbers))
        assert row["statistic"] == expected
        assert row["untrained"] == "not run"
    assert "1 hold," in page.text and "3 are undecided" in page.text
    assert {row[0]: row[1] for row in page.tables["Claims by outcome"][1:]} == dict.fromkeys(sections.MEANINGS, "1")


def test_the_twins_verdict_stands_beside_the_models():
    run()
    planted("toy")
    planted("toy@untrained", verdict=claims.DOES_NOT_HOLD)
    rows = Document(report.make("toy")).tables["The claims and their verdicts"]
    row = dict(zip(rows[0], rows[1], strict=True))
    assert (row["verdict"], row["untrained"]) == ("holds", "does not hold")
    assert row["evidence"] == "twins deny it"
    assert "1 hold (untrained twins deny 1 of these and share 0)" in scoreboard.summary(scoreboard.load("toy"))


def test_the_table_of_an_experiment_is_the_one_that_was_saved(page):
    rows = page.tables[f"{EXPERIMENT}.csv"]
    saved = pd.read_csv(paths.results("toy") / f"{EXPERIMENT}.csv")
    assert rows[0] == ["layer", "depth", "norm", "tells"]
    for cells, row in zip(rows[1:], saved.itertuples(), strict=True):
        value, low, high = (f"{each:.4g}" for each in (row.norm, row.norm_low, row.norm_high))
        assert cells[2] == f"{value} [{low}, {high}]"
        assert (cells[0], cells[3]) == (str(row.layer), str(row.layer > 3))
    sorted_by = [float(cell["data-value"]) for cell in page.of("td") if "data-value" in cell]
    assert set(saved["norm"]) <= set(sorted_by)


def test_the_smaller_file_of_a_figure_is_put_in_whole(page):
    content = (paths.figures("toy") / f"{EXPERIMENT}.svg").read_bytes()
    assert page.of("img")[0]["src"] == f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
    (paths.figures("toy") / f"{EXPERIMENT}.svg").write_bytes(b"s" * 1000)
    assert Document(report.make("toy")).of("img")[0]["src"].startswith("data:image/png;")


def test_text_from_files_cannot_become_markup():
    run()
    planted(wording="<script>alert(1)</script>", remark='"><img src=x>')
    document = Document(report.make("toy"))
    assert len(document.of("script")) == 1 and len(document.of("img")) == 1
    assert "<script>alert(1)</script>" in document.text


def test_what_was_run_on_other_parameters_says_so():
    run(tokens=256)
    run(slug="local_attention", tokens=512)
    document = Document(report.make("toy", failed={"local_attention", "logit_lens"}))
    common = dict(document.tables["The model, the text and the parameters of all notebooks"][1:])
    assert common["context"] == "64" and "tokens" not in common and common["layers"] == "12"
    rows = document.tables["Notebooks, and the parameters that they do not share"]
    by_notebook = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}
    assert by_notebook["05_mlp_norm"]["tokens"] == "256" and by_notebook["05_mlp_norm"]["state"] == "done"
    assert by_notebook["02_local_attention"]["tokens"] == "512"
    assert by_notebook["02_local_attention"]["state"] == "failed; what is shown is of an earlier run"
    assert by_notebook["03_logit_lens"]["state"] == "failed"
    assert by_notebook["01_layer_lesion"]["state"] == "not run"


def test_a_file_of_a_recorded_experiment_that_is_gone_is_left_out(page):
    for file in (*paths.figures("toy").iterdir(), paths.results("toy") / f"{EXPERIMENT}.csv"):
        file.unlink()
    document = Document(report.make("toy"))
    assert not document.of("img") and f"{EXPERIMENT}.csv" not in document.tables


def test_the_same_files_give_the_same_report(page):
    first = report.write("toy").read_bytes()
    assert report.write("toy").read_bytes() == first
    assert str(paths.output()).encode() not in first, "where it was made is nobody's business"


def test_a_model_without_claims_has_a_report_and_one_without_runs_has_none():
    run()
    assert "No claim is judged" in Document(report.make("toy")).text
    with pytest.raises(InputError, match="none of its notebooks"):
        report.write("other")
    assert not (paths.results("other") / report.FILE).exists()


def test_verdicts_of_another_table_lie_open_and_long_tables_are_folded_and_cut():
    run()
    tables.write(paths.results("toy") / "own_claims.csv", pd.DataFrame({"claim": ["a"], "verdict": ["holds"]}))
    tables.write(paths.results("toy") / "long.csv", pd.DataFrame({"n": range(markup.MOST_ROWS + 1)}))
    files = [paths.results("toy") / name for name in ("own_claims.csv", "long.csv")]
    notebook = next(paths.NOTEBOOKS.glob("05_*.ipynb"))
    document = Document(sections.experiment("toy", notebook, run_record.hashes(path.resolve() for path in files)))
    assert len(document.of("details")) == 1
    cut = f"long.csv (the first {markup.MOST_ROWS} of {markup.MOST_ROWS + 1} rows)"
    assert len(document.tables[cut]) == 1 + markup.MOST_ROWS
    assert document.tables["own_claims.csv"] == [["claim", "verdict"], ["a", "holds"]]


def test_boundaries_are_named_where_they_are_found():
    table = pd.DataFrame({"between": ["1 | 2", "2 | 3"], "depth": [0.25, np.nan]})
    assert "1 | 2: at relative depth 0.25; 2 | 3: none." in sections.boundaries(table)


def test_the_explorer_is_linked_where_it_lies():
    run()
    assert explorer.FILE not in Document(report.make("toy")).text
    (paths.results("toy") / explorer.FILE).write_text("")
    assert {"href": explorer.FILE} in Document(report.make("toy")).of("a")


def test_models_side_by_side_are_shown_once_there_are_several(page):
    assert "Beside other models" not in page.text
    for suffix in (".png", ".svg"):
        with writing((paths.figures("_all") / "stages_of_inference").with_suffix(suffix)) as path:
            path.write_bytes(b"x")
    scoreboard.save_across()
    document = Document(report.make("toy"))
    assert "Claims that compare models" in document.tables and len(document.of("img")) == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), ""),
        (8192.0, "8192"),
        (-0.0, "0"),
        (0.000123456, "0.0001235"),
        (12, "12"),
        (1234567.8, "1.235e+06"),
    ],
)
def test_numbers_are_short(value, shown):
    assert markup.number(value) == shown


def test_every_committed_figure_has_a_caption_and_every_caption_an_experiment():
    assert {path.stem for path in (paths.ROOT / "figures" / "pocket").glob("*.png")} <= set(captions.read())
    slugs = tuple(options.slug_of(notebook) for notebook in options.experiment_notebooks())
    assert all(stem.startswith(slugs) for stem in captions.read())
    assert captions.of("some_thing").shown == "Some thing."


def test_questions_are_the_notebooks_titles(tmp_path):
    notebook = tmp_path / "05_own.ipynb"
    for source, question in (("# 12. How loud?\n\nText", "How loud?"), ("Text", "05_own")):
        notebook.write_text(json.dumps({"cells": [{"source": [source]}]}))
        assert sections.question(notebook) == question


def test_claims_are_loaded_as_they_were_before_they_were_saved():
    saved = planted()
    loaded = scoreboard.load("toy").set_index("wording")
    for wording, row in saved.items():
        for column in ("kind", "reason", "remark", "paper"):
            assert loaded.loc[wording, column] == row[column]
    assert scoreboard.load("nobody") is None


def inspected(model: str) -> Inspected:
    parameters = {"device": "cpu", "dtype": "float32", "seed": 0}
    return Inspected(
        model, None, "none", 2, 3, "cpu", parameters, {"weights": "ab"}, torch.zeros(0, 0, dtype=torch.long)
    )


@pytest.fixture
def explored(monkeypatch) -> None:
    """Explorers are their paths: no model is loaded."""
    monkeypatch.setattr(explorer, "update", lambda model, **given: paths.results(model) / explorer.FILE)


def test_a_run_ends_with_a_count_and_the_reports_path(explored, monkeypatch, capsys):
    monkeypatch.setattr(scoreboard, "save", lambda model, seed: planted(model))
    run("toy")
    run("other@step3")
    assert ending.write([inspected("toy"), inspected("other@step3")], [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"report: {paths.results('other@step3') / 'report.html'}"
    assert [line.split(":")[0] for line in lines] == [
        "",
        "toy",
        "explorer",
        "report",
        "",
        "other@step3",
        "explorer",
        "report",
    ]
    assert lines[1] == "toy: of 5 claims 1 hold, 1 do not hold, 3 are undecided"
    assert all((paths.results(model) / "report.html").is_file() for model in ("toy", "other@step3"))


@pytest.mark.parametrize("broken", ["explorer.update", "report.write", "scoreboard.save", "scoreboard.save_across"])
def test_a_page_that_fails_is_one_line_and_costs_nothing_else(broken, explored, monkeypatch, capsys):
    module, name = broken.split(".")
    monkeypatch.setattr(scoreboard, "save", lambda model, seed: planted(model))
    monkeypatch.setattr(getattr(ending, module), name, lambda *_, **__: 1 / 0)
    run()
    assert not ending.write([inspected("toy")], [])
    printed = capsys.readouterr()
    assert printed.err.startswith("run_all.sh: ") and printed.err.count("\n") == 1
    assert "ZeroDivisionError" in printed.err and "Traceback" not in printed.err
    assert (paths.results("toy") / f"{EXPERIMENT}.csv").is_file()
    assert (paths.results("toy") / report.FILE).is_file() == (broken != "report.write")


def test_the_planted_claims_have_the_columns_of_real_ones():
    real = scoreboard.evaluate("nobody")
    assert list(next(iter(planted().values()))) == list(real) and len(real) < len(wordings.read())
