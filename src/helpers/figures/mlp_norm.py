"""The figure of norms: what MLPs and attention write, alone and beside the residual stream."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from helpers.figures.style import BLOCK_DEPTH, BLUE, GREEN, ORANGE, curves, panels, styled


@styled
def mlp_norm(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """Norms of what MLPs and attention write, alone and beside the residual stream."""
    figure, axes = panels(2, table, "what each layer writes")
    series = [
        (axes[0], "mlp_norm", BLUE, "MLP"),
        (axes[0], "attention_norm", ORANGE, "attention"),
        (axes[0], "residual_norm", GREEN, "residual stream before the block"),
        (axes[1], "mlp_to_residual", BLUE, "MLP"),
        (axes[1], "attention_to_residual", ORANGE, "attention"),
    ]
    curves(series, table, control)
    axes[0].set(xlabel=BLOCK_DEPTH, ylabel="mean L2 norm per token", yscale="log")
    axes[1].set(xlabel=BLOCK_DEPTH, ylabel="norm / norm of the residual stream", yscale="log")
    for ax in axes:
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        ax.yaxis.set_minor_formatter("{x:g}")
    return figure
