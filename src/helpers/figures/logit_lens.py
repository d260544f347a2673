"""The figures of the logit lens: distance to the final output, entropy, and how the best guess settles."""

import pandas as pd
from matplotlib.figure import Figure

from helpers.figures.style import BLUE, GREEN, LENS_DEPTH, ORANGE, PURPLE, RED, curves, panels, published_curve, styled


@styled
def logit_lens(
    table: pd.DataFrame, control: pd.DataFrame | None = None, published: pd.DataFrame | None = None
) -> Figure:
    """KL of the logit lens to the final output, and its entropy."""
    figure, axes = panels(2, table, "logit lens")
    series = [
        (axes[0], "kl_nats", BLUE, "each row's own scale"),
        (axes[0], "kl_nats_final_scale", ORANGE, "final scale (the authors')"),
        (axes[1], "entropy_bits", BLUE, "each row's own scale"),
        (axes[1], "entropy_bits_final_scale", ORANGE, "final scale (the authors')"),
    ]
    curves(series, table, control)
    published_curve(axes[1], published, "entropy_bits_final_scale")
    axes[0].set(xlabel=LENS_DEPTH, ylabel="KL(final || row) [nats]", ylim=(0, None))
    axes[1].set(xlabel=LENS_DEPTH, ylabel="entropy [bits]", ylim=(0, None))
    for ax in axes:
        ax.legend()
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
    for ax in axes:
        ax.legend()
    return figure
