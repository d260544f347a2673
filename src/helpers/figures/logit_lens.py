"""The figures of the logit lens: distance to the final output, entropy, and how the best guess settles."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures.style import BLUE, GREEN, LENS_DEPTH, ORANGE, PURPLE, RED, curves, panels, published_curve, styled

KL_LABEL, ENTROPY_LABEL = "KL(final || row) [nats]", "entropy [bits]"


@styled
def logit_lens(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """The paper's lens, every row at its own norm: KL to the final output, and entropy."""
    figure, axes = panels(2, table, "logit lens")
    series = [(axes[0], "kl_nats", BLUE, "each row's own norm"), (axes[1], "entropy_bits", BLUE, "each row's own norm")]
    curves(series, table, control)
    _label(axes)
    return figure


@styled
def logit_lens_tuned(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """The plain lens beside the tuned one: KL to the final output, and entropy."""
    figure, axes = panels(2, table, "logit lens, plain and tuned")
    series = [
        (ax, f"{column}{tuned}", colour, label)
        for ax, column in zip(axes, ("kl_nats", "entropy_bits"), strict=True)
        for tuned, colour, label in (("", BLUE, "plain"), ("_tuned", GREEN, "tuned: a map per row"))
    ]
    curves(series, table, control)
    _label(axes)
    return figure


@styled
def logit_lens_superseded(
    table: pd.DataFrame, control: pd.DataFrame | None = None, published: pd.DataFrame | None = None
) -> Figure:
    """History: one final scale for all rows, as in the authors' notebook before the lens was corrected."""
    figure, axes = panels(2, table, "logit lens, superseded: one final scale")
    series = [
        (axes[0], "kl_nats_final_scale", ORANGE, "one final scale"),
        (axes[1], "entropy_bits_final_scale", ORANGE, "one final scale"),
    ]
    curves(series, table, control)
    published_curve(axes[1], published, "entropy_bits_final_scale", "superseded lens")
    _label(axes)
    return figure


@styled
def logit_lens_flips(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """How the best guess settles, and how often a layer turns it right or wrong."""
    figure, axes = panels(2, table, "logit lens: the best guess")
    series = [
        (axes[0], "top1_agreement", BLUE, "same as the final one"),
        (axes[0], "accuracy", GREEN, "right"),
        (axes[0], "top1_probability", PURPLE, "its probability"),
        (axes[1], "wrong_to_right", GREEN, "wrong to right"),
        (axes[1], "right_to_wrong", RED, "right to wrong"),
    ]
    curves(series, table, control)
    axes[0].set(xlabel=LENS_DEPTH, ylabel="share of positions; probability", ylim=(0, 1.05))
    axes[1].set(xlabel=LENS_DEPTH, ylabel="share of predictions changed so", ylim=(0, None))
    return figure


def _label(axes: Sequence[Axes]) -> None:
    """What the two panels show: KL, and entropy."""
    for ax, label in zip(axes, (KL_LABEL, ENTROPY_LABEL), strict=True):
        ax.set(xlabel=LENS_DEPTH, ylabel=label, ylim=(0, None))
