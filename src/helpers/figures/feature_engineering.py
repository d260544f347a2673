"""The figure of the word probes: part of speech and word sense, row by row, beside the lens's entropy."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.beyond.word_tasks import PART_OF_SPEECH, WORD_SENSE
from helpers.figures.style import BLUE, GREEN, LENS_DEPTH, ORANGE, PURPLE, Look, curve, panels, styled, untrained

PROBES = {"logistic": Look(BLUE, "probe", "-"), "shuffled": Look(ORANGE, "probe of shuffled labels", ":")}
COSINE = {"cosine": Look(GREEN, "cosine, no training", "--")}
ENTROPY = Look(PURPLE, "lens's entropy (right axis)", "-.")


@styled
def feature_engineering(table: pd.DataFrame, entropy: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """How well part of speech and word sense can be read off every row, beside shuffled labels and the twin; with the
    word senses the lens's entropy at the same words. The last panel is missing where no cosine was taken."""
    has_cosine = "cosine" in set(table["probe"])
    figure, axes = panels(2 + has_cosine, table, "what the residual stream says about a word it has seen")
    _task(axes[0], table, control, PART_OF_SPEECH, "balanced_accuracy", PROBES)
    axes[0].set(title="part of speech", ylabel="balanced accuracy", ylim=(0, 1.02))
    _task(axes[1], table, control, WORD_SENSE, "balanced_accuracy", PROBES)
    axes[1].set(title="same sense in two sentences?", ylabel="balanced accuracy")
    if has_cosine:
        _task(axes[2], table, control, WORD_SENSE, "auc", COSINE)
        axes[2].set(title="the same, without a probe", ylabel="AUC within a word")
    for ax in axes:
        ax.set_xlabel(LENS_DEPTH)
    right = axes[1].twinx()
    curve(right, entropy, "entropy_bits", ENTROPY)
    right.set(ylabel="entropy (bits)", ylim=(0, None))
    right.grid(False)
    return figure


def _task(
    ax: Axes, table: pd.DataFrame, control: pd.DataFrame | None, task: str, column: str, looks: dict[str, Look]
) -> None:
    of_task = table[table["task"] == task]
    for probe, look in looks.items():
        if control is not None and probe != "shuffled":
            twin = control[(control["task"] == task) & (control["probe"] == probe)]
            curve(ax, twin, column, untrained(f"{look.label}, untrained", look.dashes))
        of_probe = of_task[of_task["probe"] == probe]
        bounds = [] if probe != "shuffled" else [f"{column}_low", f"{column}_high"]
        curve(ax, of_probe.drop(columns=bounds), column, look)
    ax.axhline(of_task["chance"].max(), color="black", lw=1, ls=":", label="chance")
