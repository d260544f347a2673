"""One style for all figures: colours, empty panels, one curve with its interval; only ``save`` touches a file.

In every figure lines are means over sequences, coloured bands their 95 % intervals, and grey is the
untrained twin: the same architecture with fresh weights.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers import paths
from helpers.files import writing

BLUE, ORANGE, GREEN, RED, PURPLE = sns.color_palette("colorblind")[:5]
GREY = "0.55"
PANEL = (4.4, 3.6)
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 10,
    "axes.titlesize": 11,
    "figure.titlesize": 12,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "grid.color": "0.9",
    "legend.edgecolor": "none",
    "legend.framealpha": 1,
    "savefig.dpi": 160,
    "svg.hashsalt": "stages-of-inference",
}
BLOCK_DEPTH = "relative depth of the layer"
LENS_DEPTH = "relative depth (0 = embedding, 1 = output)"


def panels(n_panels: int, table: pd.DataFrame, title: str) -> tuple[Figure, list[Axes]]:
    """A titled row of empty axes in the project's style."""
    sns.set_theme(style="whitegrid", rc=STYLE)
    width = PANEL[0] * n_panels + (1.4 if n_panels == 1 else 0)
    figure, axes = plt.subplots(1, n_panels, figsize=(width, PANEL[1]), squeeze=False)
    figure.suptitle(f"{table['model'].iloc[0]}: {title}")
    return figure, list(axes[0])


def curve(ax: Axes, table: pd.DataFrame, column: str, colour, label: str | None = None, style: str = "-") -> Axes:
    """One measure against depth: the mean, and its interval where the table gives one."""
    ordered = table.sort_values("depth")
    if f"{column}_low" in ordered:
        ax.fill_between(
            ordered["depth"], ordered[f"{column}_low"], ordered[f"{column}_high"], color=colour, alpha=0.25, lw=0
        )
    weight = {"lw": 1, "zorder": 1} if colour == GREY else {"marker": "o", "ms": 3.5}
    ax.plot(ordered["depth"], ordered[column], color=colour, label=label, ls=style, **weight)
    return ax


def save(figure: Figure, slug: str, model: str, what: str | None = None) -> Path:
    """Write ``<slug>[_<what>].png`` and ``.svg`` to the model's figures; the same figure gives the same bytes."""
    stem = paths.figures(model) / (f"{slug}_{what}" if what else slug)
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
        with writing(stem.with_suffix(suffix)) as path, plt.rc_context(STYLE):
            figure.savefig(path, metadata=metadata)
    return stem.with_suffix(".png")
