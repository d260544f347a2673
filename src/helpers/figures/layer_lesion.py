"""The figure of lesions: what is left after a layer is dropped, or two are swapped."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures.style import BLOCK_DEPTH, BLUE, GREEN, ORANGE, Look, curve, panels, styled, untrained

PAPER_RANGE = (0.72, 0.95)  # of relative accuracy, as the abstract gives it


@styled
def layer_lesion(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """What is left of the predictions after a layer is dropped or two are swapped."""
    figure, axes = panels(3, table, "one layer dropped, or swapped with the next")
    columns = {
        "relative_accuracy": "relative accuracy: predictions unchanged",
        "accuracy_ratio": "correct predictions, after / before",
        "kl_nats": "KL(intact || lesioned) [nats]",
    }
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        for intervention, colour, dashes in (("drop", BLUE, "-"), ("swap", ORANGE, "--")):
            if control is not None:
                twin = _known(_only(control, intervention), column)
                curve(ax, twin, column, untrained(f"{intervention}, untrained", dashes))
            curve(ax, _only(table, intervention), column, Look(colour, intervention, dashes))
        ax.set(xlabel=BLOCK_DEPTH, ylabel=label, yscale="log" if column == "kl_nats" else "linear")
    _grey_below(axes[2], table["kl_noise_nats"].mean(), "below the rounding noise")
    for ax in axes[:2]:
        ax.set_ylim(0, 1.05)
    axes[0].axhspan(*PAPER_RANGE, color=GREEN, alpha=0.12, lw=0, label="the paper's models")
    return figure


def _grey_below(ax: Axes, floor: float, label: str) -> None:
    """Fade what lies below ``floor``, where it can be seen: those values say nothing."""
    bottom, top = ax.get_ylim()
    if floor > bottom:
        ax.axhspan(bottom, floor, facecolor="0.92", alpha=0.75, edgecolor="none", zorder=3)
        ax.axhline(floor, color="0.4", lw=1, ls=":", label=label, zorder=4)
        ax.set_ylim(bottom, max(top, 1.5 * floor))


def _only(table: pd.DataFrame, intervention: str) -> pd.DataFrame:
    return table[table["intervention"] == intervention]


def _known(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table if its values say anything, else nothing: a ratio of two chance accuracies can be anywhere."""
    width = table[f"{column}_high"] - table[f"{column}_low"]
    by_chance = column == "accuracy_ratio" and _never_beats_the_commonest(table)
    return table if (width < 1).all() and not by_chance else table.iloc[:0]


def _never_beats_the_commonest(table: pd.DataFrame) -> bool:
    """Whether the intact model is right no more often than always guessing the commonest token."""
    if not {"accuracy_intact", "accuracy_commonest"} <= set(table):
        return False
    return bool((table["accuracy_intact"] <= table["accuracy_commonest"]).all())
