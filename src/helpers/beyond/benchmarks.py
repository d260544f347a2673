"""Benchmarks under every drop and swap (paper, app. D, figures 15 and 16), and under layer repeats (figures 22 to 24).

The tasks, their prompts and how an answer is judged are those of lm-evaluation-harness; to it, in ``harness``, a
lesioned model is one more language model. It is an optional extra and asked by ``helpers.command.benchmarks`` only.

``accuracy`` is the harness's ``acc``: the share of documents whose likeliest answer is the right one (HellaSwag,
ARC-Easy), or whose last word is what greedy decoding gives (LAMBADA). ``accuracy_norm`` is its ``acc_norm``, where
log-likelihoods are divided by the answer's length in characters. ``_change`` is lesioned minus intact. ``_stderr`` is
the standard error of a mean over documents; that of a change is paired, since both models read the same documents.
"""

import pandas as pd

from helpers.beyond.orders import INTACT

SLUG = "benchmarks"
TASKS = ("hellaswag", "arc_easy", "lambada_openai")
METRICS = {"acc": "accuracy", "acc_norm": "accuracy_norm"}  # the harness's names and ours


def command(model: str) -> str:
    """What to type for the table of a model."""
    return f"python -m helpers.command.benchmarks --model {model} --tasks {','.join(TASKS)} --limit 200"


def summarise(rows: pd.DataFrame, n_layers: int) -> pd.DataFrame:
    """Means over documents: one row per intervention, layer and task; the intact model's have no layer.

    ``rows`` are those of ``harness.sweep``, one per lesion, task and document.
    """
    measures = [column for column in METRICS.values() if column in rows]
    same = ["task", "document"]
    intact = rows[rows["intervention"] == INTACT].set_index(same)[measures]
    changes = (rows[measures] - rows[same].join(intact, on=same)[measures]).add_suffix("_change")
    groups = rows.join(changes).groupby(["intervention", "layer", "task"], dropna=False, sort=False)
    columns = [column for measure in measures for column in (measure, f"{measure}_change")]
    table = groups[columns].mean().join(groups[columns].sem().add_suffix("_stderr"))
    table = table[[name for column in columns for name in (column, f"{column}_stderr")]]
    table = table.join(groups.size().rename("documents")).reset_index()
    return table.assign(depth=table["layer"] / max(1, n_layers - 1))
