"""The figure of local attention: how much each layer attends to the previous five tokens."""

import pandas as pd
from matplotlib.figure import Figure

from helpers.figures.style import BLOCK_DEPTH, BLUE, ORANGE, curves, panels, published_curve, styled


@styled
def local_attention(
    table: pd.DataFrame, control: pd.DataFrame | None = None, published: pd.DataFrame | None = None
) -> Figure:
    """Attention to the previous five tokens, per offset and as a share."""
    figure, axes = panels(2, table, "attention to the previous five tokens")
    series = [
        (axes[0], "attention_per_offset", BLUE, "mean per offset"),
        (axes[1], "attention_share", BLUE, "of all attention"),
        (axes[1], "attention_share_no_bos", ORANGE, "of attention to all but BOS"),
    ]
    curves(series, table, control)
    published_curve(axes[0], published, "attention_per_offset")
    axes[0].set(xlabel=BLOCK_DEPTH, ylabel="attention per offset", ylim=(0, None))
    axes[1].set(xlabel=BLOCK_DEPTH, ylabel="share of attention, five offsets together", ylim=(0, None))
    axes[1].legend()
    return figure
