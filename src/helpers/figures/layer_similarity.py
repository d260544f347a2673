"""Figures of how alike layers are, and of whether one can stand in for another."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers.figures.style import BLUE, GREEN, ORANGE, PURPLE, Look, curve, panels, styled

COLOURS = "viridis"
SHARE = Normalize(0, 1)
KINDS = {
    "residual": "the stream between blocks",
    "written": "what each block writes",
    "last_token": "the stream at last tokens",
}
ORDERS = {  # by what runs instead of two neighbours: colour, dashes, label
    "first_only": (BLUE, "-", "the second left out"),
    "first_twice": (BLUE, "--", "the first twice"),
    "second_only": (ORANGE, "-", "the first left out"),
    "second_twice": (ORANGE, "--", "the second twice"),
    "exchanged": (GREEN, "-", "exchanged"),
    "parallel": (PURPLE, "-", "in parallel"),
}


@styled
def layer_similarity(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """CKA of all pairs of layers: streams, writes, and the paper's last tokens; the twin's beside."""
    kinds = {kind: words for kind, words in KINDS.items() if kind in set(table["kind"])}
    shown = [(table, "trained")] + ([] if control is None else [(control, "untrained")])
    size = (4.2 * len(shown), 3.7 * len(kinds))
    figure, axes = plt.subplots(len(kinds), len(shown), figsize=size, squeeze=False)
    figure.suptitle(f"{table['model'].iloc[0]}: similarity of layers (CKA)")
    for column, (similarities, name) in zip(axes.T, shown, strict=True):
        for ax, (kind, words) in zip(column, kinds.items(), strict=True):
            of_kind = similarities[similarities["kind"] == kind]
            pairs = of_kind.pivot(index="layer_a", columns="layer_b", values="cka")
            mesh = cells(ax, pairs, SHARE, COLOURS)
            ax.set(title=f"{words}, {name}", xlabel="layer", ylabel="layer", aspect="equal")
    figure.colorbar(mesh, ax=axes, label="CKA", shrink=0.7)
    return figure


@styled
def exchanged_layers(table: pd.DataFrame) -> Figure:
    """KL and first guesses when neighbours are left out, doubled, exchanged, or run side by side."""
    figure, axes = panels(2, table, "can a layer stand in for its neighbour?")
    for ax, column in zip(axes, ("kl_nats", "top1_agreement"), strict=True):
        for order, (colour, dashes, label) in ORDERS.items():
            curve(ax, table[table["intervention"] == order], column, Look(colour, label, dashes))
    axes[0].set(yscale="log", ylabel="KL(intact || lesioned) [nats]")
    axes[1].set(ylim=(0, 1), ylabel="same first guess as intact")
    for ax in axes:
        ax.set_xlabel("relative depth of the first (middle shaded)")
    return figure


def cells(ax: Axes, values: pd.DataFrame, norm: Normalize, colours: str) -> QuadMesh:
    """A table of numbers as coloured cells, its columns to the right and its index upwards."""
    mesh = ax.pcolormesh(
        values.columns, values.index, np.ma.masked_invalid(values.to_numpy(float)), norm=norm, cmap=colours
    )
    ax.grid(False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return mesh
