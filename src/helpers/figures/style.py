"""One style for all figures: colours, empty panels, a line with its interval; only ``save`` touches a file.

In every figure lines are means over sequences, coloured bands their 95 % intervals, and grey is the
untrained twin: the same architecture with fresh weights. Every colour has a marker. The style holds while a
figure is drawn or saved; the reader's own settings are neither used nor changed. All figures use it: it is longer.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers import paths
from helpers.figures.layout import finish
from helpers.files import writing

Parameters = ParamSpec("Parameters")
Colour = str | tuple[float, float, float]
Series = tuple[Axes, str, Colour, str]  # where it is drawn, column, colour, label

BLUE, ORANGE, GREEN, RED, PURPLE = sns.color_palette("colorblind")[:5]
GREY = "0.55"
MARKERS: dict[Colour, str] = {BLUE: "o", ORANGE: "s", GREEN: "D", RED: "v", PURPLE: "^"}
SERIES_MARKERS = "osD^vP<>"  # of lines whose colours are shades of one
PANEL = (4.4, 3.7)
WIDEST = 2  # panels in one row
STYLE: dict[str, Any] = {
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
THEME: dict[str, Any] = {**sns.plotting_context("notebook"), **sns.axes_style("whitegrid"), **STYLE}
BLOCK_DEPTH = "relative depth of the layer (middle shaded)"
LENS_DEPTH = "relative depth of the row (middle shaded)"


@dataclass(frozen=True)
class Look:
    """How a line is drawn and what the legend calls it; a control's is thin, without markers, behind the others."""

    colour: Colour
    label: str | None = None
    dashes: str = "-"
    is_control: bool = False
    marker: str | None = None  # the colour's own

    def of_line(self) -> dict[str, Any]:
        """The arguments of ``Axes.plot``."""
        marker = self.marker or MARKERS.get(self.colour, "o")
        weight: dict[str, Any] = {"lw": 1, "zorder": 1} if self.is_control else {"marker": marker, "ms": 4}
        return {"color": self.colour, "label": self.label, "ls": self.dashes, **weight}


def untrained(label: str | None = "untrained", dashes: str = "-") -> Look:
    """The look of the untrained twin."""
    return Look(GREY, label, dashes, is_control=True)


@contextmanager
def project_style() -> Iterator[None]:
    """The project's style, whatever the session's; afterwards the session's settings are what they were.

    All but one: a notebook shows figures as soon as its backend is loaded, which may happen in here.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(THEME)
        yield
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """The same figure function, drawing in the project's style, the figure finished as all are."""

    @wraps(draw)
    def draw_in_style(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with project_style():
            figure = draw(*args, **kwargs)
            finish(figure)
            return figure

    return draw_in_style


def panels(n_panels: int, table: pd.DataFrame, title: str) -> tuple[Figure, list[Axes]]:
    """Titled empty axes, two in a row, so that they are read at half the width of a page."""
    n_columns = min(n_panels, WIDEST)
    n_rows = math.ceil(n_panels / n_columns)
    size = PANEL[0] * n_columns + (1.4 if n_panels == 1 else 0), PANEL[1] * n_rows
    figure, axes = plt.subplots(n_rows, n_columns, figsize=size, squeeze=False)
    figure.suptitle(f"{table['model'].iloc[0]}: {title}")
    for unused in axes.flat[n_panels:]:
        unused.remove()
    return figure, list(axes.flat[:n_panels])


def curve(ax: Axes, table: pd.DataFrame, column: str, look: Look) -> Axes:
    """One measure against depth: the mean, and its interval where the table gives one."""
    ordered = table.sort_values("depth")
    if f"{column}_low" in ordered:
        low, high = ordered[f"{column}_low"], ordered[f"{column}_high"]
        ax.fill_between(ordered["depth"], low, high, color=look.colour, alpha=0.25, lw=0)
    ax.plot(ordered["depth"], ordered[column], **look.of_line())
    return ax


def curves(series: Sequence[Series], table: pd.DataFrame, control: pd.DataFrame | None = None) -> None:
    """Draw measures on their axes, the untrained twin's in grey with the same dashes."""
    own = [ax for ax, *_ in series]
    for number, (ax, column, colour, label) in enumerate(series):
        dashes = ("-", "--", ":")[own[:number].count(ax)]
        curve(ax, table, column, Look(colour, label, dashes))
        if control is not None:
            curve(ax, control, column, untrained("untrained" if own.count(ax) == 1 else f"{label}, untrained", dashes))


def published_curve(
    ax: Axes, published: pd.DataFrame | None, column: str, what: str | None = None, marker: str = "x"
) -> None:
    """Draw the authors' published curve, where there is one, beside ours; its own label says whose it is."""
    if published is not None:
        label = published["label"].iloc[0] + (f": {what}" if what else "")
        ax.plot(published["depth"], published[column], "k:", lw=1.2, marker=marker, ms=4, label=label)


def save(figure: Figure, slug: str, model: str, what: str | None = None) -> Path:
    """Write ``<slug>[_<what>].png`` and ``.svg`` to the model's figures; the same figure gives the same bytes."""
    stem = paths.figures(model) / (f"{slug}_{what}" if what else slug)
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
        with writing(stem.with_suffix(suffix)) as path, project_style():
            figure.savefig(path, metadata=metadata)
    return stem.with_suffix(".png")
