"""The parts of a report, one function each: what a run left on disk in, HTML out."""

import json
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from helpers import paths
from helpers.command import run_record
from helpers.judging import claims, coverage, runs, scoreboard, stages
from helpers.pages import captions, markup

JUDGED = "verdict"  # a table with this column is one of claims
FEW = 10  # rows of such a table, that it may lie open
MEANINGS = {
    claims.HOLDS: "true in at least 97.5 % of the resamples of the text, or of the neurons",
    claims.DOES_NOT_HOLD: "true in at most 2.5 % of them",
    claims.STRADDLES: "undecided: the interval lies on both sides of the bound",
    claims.TWINS_DISAGREE: "undecided: of the draws of untrained weights some obey the rule and some do not",
    claims.CANNOT_SPEAK: "undecided: the model does not show what the claim is about",
}


def verdicts(judged: pd.DataFrame) -> str:
    """How many claims came out how, with what each outcome means."""
    counts = judged["outcome"].value_counts().reindex(list(MEANINGS), fill_value=0)
    rows = {"outcome": list(MEANINGS), "claims": list(counts), "meaning": list(MEANINGS.values())}
    return markup.table(pd.DataFrame(rows), "Claims by outcome", tinted="outcome")


def claims_table(judged: pd.DataFrame, caption: str) -> str:
    """Every claim with its verdict, the twin's, and its statistic beside the rule."""
    columns = {
        "claim": judged["wording"],
        "verdict": judged["outcome"],
        "untrained": judged["untrained"],
        "evidence": judged["evidence"],
        "statistic": judged["statistic"],
        "statistic_low": judged["statistic_low"],
        "statistic_high": judged["statistic_high"],
        "holds if": judged["rule"],
        "paper": judged["paper"],
        "remark": judged["remark"].where(judged["remark"] != "", judged["reason"]),
        "stage": judged["stage"],
        "source": judged["source"],
    }
    return f'<div class="claims">\n{markup.table(pd.DataFrame(columns), caption, tinted="verdict")}\n</div>'


def boundaries(table: pd.DataFrame) -> str:
    """In a sentence, where boundaries between stages were found."""
    places = table["depth"].map(lambda depth: "none" if pd.isna(depth) else f"at relative depth {depth:.2f}")
    found = "; ".join(f"{between}: {place}" for between, place in zip(table["between"], places, strict=True))
    return markup.paragraph(f"Boundaries between stages that are steps by the rule of notebook 06: {found}.")


def experiment(model: str, notebook: Path, outputs: Collection[str]) -> str:
    """One notebook's figures, and its tables to unfold; those that hold verdicts lie open."""
    files = [run_record.located(name) for name in outputs]
    stems = sorted({path.with_suffix("") for path in files if path.suffix in markup.TYPES})
    tables = sorted(path for path in files if path.suffix == ".csv" and path.parent == paths.results(model).resolve())
    pictures = [_picture(stem) for stem in stems]
    shown = [_table(path) for path in tables if path.is_file()]
    return markup.section(
        question(notebook), f"<p>Notebook <code>{notebook.stem}</code></p>", *pictures, *shown, level=3
    )


def beside_other_models() -> list[str]:
    """What compares the models in the results folder; empty where that is one model alone."""
    stems = [paths.figures(runs.ACROSS) / name for name in (stages.SLUG, f"{stages.SLUG}_{scoreboard.SLUG}")]
    pictures = [picture for stem in stems if (picture := _picture(stem))]
    judged = scoreboard.load(runs.ACROSS)
    return [*pictures, claims_table(judged, "Claims that compare models")] if pictures and judged is not None else []


def where_judged() -> str:
    """Every claim of the paper, and where it is judged."""
    return markup.folded("All of the paper's claims", markup.table(coverage.table(), "Every claim of the paper"))


def question(notebook: Path) -> str:
    """A notebook's title without its number; its file's name where it has none."""
    cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
    first = "".join(cells[0]["source"]).partition("\n")[0] if cells else ""
    return first.removeprefix("# ").lstrip("0123456789. ") if first.startswith("# ") else notebook.stem


def _picture(stem: Path) -> str:
    file, caption = markup.smaller(stem), captions.of(stem.name)
    return markup.figure(file, caption.shown, caption.alternative) if file else ""


def _table(file: Path) -> str:
    """A table under its file's name, without the column that says the same in every row: the model."""
    content = pd.read_csv(file).drop(columns="model", errors="ignore")
    table = markup.table(content, file.name, tinted=JUDGED)
    return table if JUDGED in content and len(content) <= FEW else markup.folded(file.name, table)
