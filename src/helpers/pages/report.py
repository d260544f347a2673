"""``report.html``: what was found on one model, in one file to read or to mail.

The claims with their verdicts, what was run on what, every figure, and every table behind it. It is made from files
alone, ``run.json``, tables and figures, so that the same files give the same report, and it can be made again at any
time: ``report.write(model)``.
"""

from collections.abc import Collection
from html import escape
from pathlib import Path

import pandas as pd

from helpers import paths, tables
from helpers.command import options, run_record
from helpers.errors import InputError
from helpers.files import writing
from helpers.judging import scoreboard, stages
from helpers.pages import explorer, markup, provenance, sections

FILE = "report.html"
PAPER = "https://arxiv.org/abs/2406.19384"
ABOUT = (
    "<p>Layers of a language model are dropped and swapped, and measured in four more ways, as in "
    f'<a href="{PAPER}">The Remarkable Robustness of LLMs: Stages of Inference?</a> (Lad, Lee, Gurnee, Tegmark). '
    "This page says which claims of that paper hold for one model. It is made by <code>run_all.sh</code>, and all of "
    "it is in this one file.</p>"
)
HOW_TO_READ = (
    "Each claim is one statistic with a rule. Intervals are 95 % bootstrap intervals: documents of the text are drawn, "
    "or, for claims about neurons, neurons. Bounds are ours unless the column “paper” gives a number.",
    "Untrained is the same architecture with fresh weights, drawn three times and judged by the same rules. What holds "
    "for it as well is no evidence of something learned.",
    "A claim that holds here holds for this model on this text. None of the experiments proves four stages by itself.",
)


def write(model: str, failed: Collection[str] = ()) -> Path:
    """Write the report of a model that has been run, and return its path.

    ``failed`` are experiments that failed in the last run. Raises ``InputError`` where there is nothing to report.
    """
    file = paths.results(model) / FILE
    page = make(model, failed)
    with writing(file) as path:
        path.write_text(page, encoding="utf8")
    return file


def make(model: str, failed: Collection[str] = ()) -> str:
    """The report as a string."""
    record = run_record.read(model)
    if not record:
        raise InputError(f"there is no report of {model}: none of its notebooks has been run to the end")
    name, judged = paths.model_folder(model), scoreboard.load(model)
    parts = {
        "In short": _in_short(model, judged),
        "The claims": _claims(judged),
        "What was run on what": provenance.tables(record, failed),
        "Figures and tables": _experiments(model, record["experiments"]),
        "Beside other models": sections.beside_other_models(),
        "Where each claim of the paper is judged": [sections.where_judged()],
    }
    parts = {heading: content for heading, content in parts.items() if content}
    title = f"{name}: stages of inference"
    links = "\n".join(f'<li><a href="#{markup.identifier(each)}">{escape(each)}</a></li>' for each in parts)
    body = [
        '<a class="skip" href="#content">Skip to the content</a>',
        f"<header>\n<h1>{escape(title)}</h1>\n{ABOUT}\n</header>",
        f'<main id="content">\n<nav aria-label="Contents">\n<ul>\n{links}\n</ul>\n</nav>',
        *(markup.section(heading, *content) for heading, content in parts.items()),
        "</main>",
    ]
    style, script = ((paths.HELPERS / "pages" / f"report.{kind}").read_text(encoding="utf8") for kind in ("css", "js"))
    return markup.page(title, "\n".join(body), style, script)


def _in_short(model: str, judged: pd.DataFrame | None) -> list[str]:
    found = tables.load(stages.SLUG, model)
    others = [] if found is None else [sections.boundaries(found)]
    others.append(_explorer(model))
    if judged is None:
        return [markup.paragraph("No claim is judged: none of the paper's five experiments has been run."), *others]
    words = escape(scoreboard.summary(judged).capitalize())
    return [f'<p class="headline">{words}.</p>', sections.verdicts(judged), *others]


def _explorer(model: str) -> str:
    """A link to the other page, where it lies."""
    if not (paths.results(model) / explorer.FILE).is_file():
        return ""
    link = f'<a href="{explorer.FILE}">{explorer.FILE}</a>'
    return f"<p>A few sentences, layer by layer, to be played with: {link}, a file beside this one.</p>"


def _claims(judged: pd.DataFrame | None) -> list[str]:
    if judged is None:
        return []
    return [*map(markup.paragraph, HOW_TO_READ), sections.claims_table(judged, "The claims and their verdicts")]


def _experiments(model: str, experiments: dict) -> list[str]:
    found = {notebook: experiments.get(options.slug_of(notebook)) for notebook in options.experiment_notebooks()}
    return [sections.experiment(model, notebook, each["outputs"]) for notebook, each in found.items() if each]
