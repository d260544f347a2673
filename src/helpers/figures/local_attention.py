"""The figures of local attention: how much each layer attends to the tokens just before, five of them or 1 to 16."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from helpers.attention import DISTANCES
from helpers.figures.style import (
    BLOCK_DEPTH,
    BLUE,
    ORANGE,
    SERIES_MARKERS,
    Look,
    curve,
    curves,
    panels,
    published_curve,
    styled,
    untrained,
)


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
    return figure


@styled
def local_attention_distance(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """Attention to the previous 1, 2, 4, 8 and 16 tokens: the more, the darker.

    The twin's lines stand in the same order as the model's. A distance longer than the context has no line.
    """
    figure, (ax,) = panels(1, table, "attention by distance")
    looks = zip(DISTANCES, SERIES_MARKERS, sns.color_palette("crest", len(DISTANCES)), strict=False)
    for distance, marker, colour in reversed(list(looks)):
        column = f"attention_share_{distance}"
        if table[column].isna().all():
            continue
        curve(ax, table, column, Look(colour, f"previous {distance}", marker=marker))
        if control is not None:
            curve(ax, control, column, untrained("untrained" if distance == DISTANCES[0] else None))
    ax.set(xlabel=BLOCK_DEPTH, ylabel="share of attention", ylim=(0, None))
    return figure
