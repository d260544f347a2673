"""What every finished figure gets: layers counted on top, the middle shaded, legends that cover nothing.

A panel against relative depth has the numbers of its layers, or of the lens's rows, on a second axis. Legends
have one entry a line. Panels that share what they show have one legend for all, in the cell that is free or
below; others have their own.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from helpers.judging.evidence_of_curves import MIDDLE

DEPTH, DEPTH_OF_ROWS = "relative depth", "relative depth of the row"  # how the labels of such axes begin
SHADE = "0.95"
MIDDLE_LABEL = "_middle"
ENTRY = 0.2  # inches of a legend's line
MOST_ENTRIES = 9  # in one column
Entries = Mapping[str, Any]


def finish(figure: Figure) -> None:
    """Add to a drawn figure what its panels do not have yet."""
    for ax in figure.axes:
        if ax.get_xlabel().startswith(DEPTH):
            ax.axvspan(*MIDDLE, color=SHADE, lw=0, zorder=0, label=MIDDLE_LABEL)
            layers_on_top(ax, _last_layer(ax))
    cells = _cells(figure)
    if not figure.legends and not any(ax.get_legend() for ax in figure.axes) and any(entries for _, entries in cells):
        _add_legends(figure, cells)


def layers_on_top(ax: Axes, last: int | None) -> None:
    """Count the layers on an axis on top of a panel against depth; ``last`` is the number of the deepest, if known."""
    if last and not ax.child_axes:
        above = ax.secondary_xaxis("top", functions=(lambda depth: depth * last, lambda layer: layer / last))
        above.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, steps=[1, 2, 5, 10]))
        above.tick_params(labelsize=8, length=2, pad=1)
        above.set_xlabel("row" if ax.get_xlabel().startswith(DEPTH_OF_ROWS) else "layer", fontsize=8, labelpad=2)


def _last_layer(ax: Axes) -> int | None:
    """The number of the deepest layer: lines have a point for each. Unknown where models of several depths are."""
    lines = [line for line in ax.lines if line.get_transform() == ax.transData]
    depths = [np.unique(np.asarray(line.get_xdata(), float)) for line in lines]
    found = {round(1 / np.diff(points).min()) for points in depths if len(points) > 1}
    if len(found) != 1:
        return None
    (last,) = found
    whole = all(np.allclose(points * last, np.round(points * last), atol=0.02) for points in depths)
    return last if whole else None


def _cells(figure: Figure) -> list[tuple[Axes, Entries]]:
    """The first axes of every cell of the figure, with the legend entries of all axes in it."""
    cells: dict[Any, tuple[Axes, dict[str, Any]]] = {}
    for ax in figure.axes:
        if ax.get_subplotspec() is not None:
            handles, labels = ax.get_legend_handles_labels()
            _, entries = cells.setdefault(ax.get_subplotspec(), (ax, {}))
            entries.update(zip(labels, handles, strict=True))
    return list(cells.values())


def _add_legends(figure: Figure, cells: list[tuple[Axes, Entries]]) -> None:
    union = {label: handle for _, entries in cells for label, handle in entries.items()}
    occurrences = sum(len(entries) for _, entries in cells)
    is_shared = len(cells) == 1 or (len({*map(_look, union.values())}) == len(union) < occurrences)
    if is_shared:
        rows, columns = cells[0][0].get_subplotspec().get_gridspec().get_geometry()
        n_columns = math.ceil(len(union) / MOST_ENTRIES)
        place: dict[str, Any] = {"loc": "outside lower center"}
        if rows * columns > len(cells):
            place = {"loc": "center", "bbox_to_anchor": (1 - 0.5 / columns, 0.5 / rows)}
        else:
            _heighten(figure, math.ceil(len(union) / n_columns))
        figure.legend(union.values(), union.keys(), ncols=n_columns, **place)
        return
    tallest: dict[int, int] = {}  # by row of cells
    for ax, entries in cells:
        row = ax.get_subplotspec().rowspan.start
        tallest[row] = max(tallest.get(row, 0), len(entries))
        if entries:
            ax.legend(entries.values(), entries.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.2))
    _heighten(figure, sum(tallest.values()))


def _heighten(figure: Figure, n_entries: int) -> None:
    """Make room for that many lines of legends, so that panels stay as high as they are."""
    figure.set_figheight(figure.get_figheight() + ENTRY * n_entries)


def _look(handle: Any) -> tuple:
    """What tells one entry of a legend from another."""
    drawn = handle[0] if isinstance(handle, Container) else handle
    if isinstance(drawn, Line2D):
        return to_hex(drawn.get_color()), drawn.get_linestyle(), drawn.get_marker(), drawn.get_linewidth()
    return type(drawn).__name__, *(to_hex(colour) for colour in np.atleast_2d(drawn.get_facecolor()))
