"""The figure of the word probes: part of speech and word sense, row by row."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.beyond.word_tasks import PART_OF_SPEECH, WORD_SENSE
from helpers.figures.style import BLUE, GREEN, LENS_DEPTH, ORANGE, Look, curve, panels, styled, untrained

PROBES = {
    "logistic": Look(BLUE, "probe", "-"),
    "cosine": Look(GREEN, "cosine, no training", "--"),
    "shuffled": Look(ORANGE, "probe of shuffled labels", ":"),
}


@styled
def feature_engineering(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """How well part of speech and word sense can be read off every row, beside shuffled labels and the twin."""
    figure, axes = panels(2, table, "what the residual stream says about a word it has seen")
    _task(axes[0], table, control, PART_OF_SPEECH, "balanced_accuracy")
    _task(axes[1], table, control, WORD_SENSE, "auc")
    axes[0].set(title="part of speech", xlabel=LENS_DEPTH, ylabel="balanced accuracy", ylim=(0, 1.02))
    axes[1].set(title="same sense in two sentences?", xlabel=LENS_DEPTH, ylabel="AUC within a word")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside right center")
    figure.set_size_inches(figure.get_figwidth() + 1.9, figure.get_figheight() + 0.3)
    return figure


def _task(ax: Axes, table: pd.DataFrame, control: pd.DataFrame | None, task: str, column: str) -> None:
    of_task = table[table["task"] == task]
    for probe, look in ((probe, look) for probe, look in PROBES.items() if probe in set(of_task["probe"])):
        if control is not None and probe != "shuffled":
            twin = control[(control["task"] == task) & (control["probe"] == probe)]
            curve(ax, twin, column, untrained(f"{look.label}, untrained", look.dashes))
        of_probe = of_task[of_task["probe"] == probe]
        bounds = [] if probe != "shuffled" else [f"{column}_low", f"{column}_high"]
        curve(ax, of_probe.drop(columns=bounds), column, look)
    ax.axhline(of_task["chance"].max(), color="black", lw=1, label="chance")
