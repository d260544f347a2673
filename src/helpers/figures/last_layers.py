"""The figures of the last layers: blocks run twice, blocks replaced, calibration by lens row, neurons and the norm."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures.style import (
    BLOCK_DEPTH,
    BLUE,
    GREEN,
    LENS_DEPTH,
    MARKERS,
    ORANGE,
    PURPLE,
    Look,
    curve,
    curves,
    panels,
    styled,
    untrained,
)

LENGTH_COLOURS = (BLUE, ORANGE)
REPLACEMENTS = {
    "drop": Look(BLUE, "left out"),
    "temperature": Look(ORANGE, "left out, one temperature"),
    "affine": Look(GREEN, "an affine map instead"),
}
WAYS = {"free": (BLUE, "norm free"), "frozen": (ORANGE, "norm frozen"), "by_norm": (PURPLE, "through the norm")}
SMALLEST_KL = 1e-5


@styled
def last_layers(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """What a block of layers changes when each of them runs twice, against its first layer."""
    figure, axes = panels(3, table, "a block of layers, each run twice")
    columns = ("entropy_change_bits", "loss_change_nats", "top1_agreement")
    labels = ("change of the entropy [bits]", "change of the loss [nats]", "same first guess as intact")
    for ax, column, label in zip(axes, columns, labels, strict=True):
        lengths = sorted(table["length"].unique(), reverse=True)
        for length, colour, dashes in zip(lengths, LENGTH_COLOURS, ("-", "--"), strict=False):
            words = "1 layer" if length == 1 else f"{length} layers"
            curve(ax, table[table["length"] == length], column, Look(colour, words, dashes))
            if control is not None and length in set(control["length"]):
                curve(ax, control[control["length"] == length], column, untrained(f"{words}, untrained", dashes))
        ax.set(xlabel="relative depth of the first (middle shaded)", ylabel=label, xlim=(-0.03, 1.03))
    for ax in axes[:2]:
        _axis_around_zero(ax)
    axes[2].set_ylim(0, 1.02)
    return figure


@styled
def last_layers_stand_ins(table: pd.DataFrame) -> Figure:
    """What is lost when a block is left out, or replaced by a temperature, or by an affine map."""
    figure, axes = panels(3, table, "blocks replaced by something simpler")
    columns = ("kl_nats", "kl_remaining", "top1_agreement")
    for ax, column in zip(axes, columns, strict=True):
        for replacement, look in REPLACEMENTS.items():
            rows = table[table["replacement"] == replacement]
            shown = rows.assign(**{name: rows[name].clip(lower=SMALLEST_KL) for name in _with_ends(rows, "kl_nats")})
            if not (column == "kl_remaining" and replacement == "drop"):
                curve(ax, shown, column, look)
        ax.set(xlabel=BLOCK_DEPTH)
    axes[0].set(ylabel="KL(intact || replaced) [nats]", yscale="log")
    axes[1].axhline(1, color="0.4", lw=1)
    axes[1].set(ylabel="KL that remains / KL when left out", ylim=(0, None))
    axes[2].set(ylabel="same first guess as intact", ylim=(None, 1.02))
    return figure


@styled
def last_layers_calibration(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """Calibration error of every row of the lens, and whether it is too sure or not sure enough."""
    figure, axes = panels(2, table, "is the lens as sure as it should be?")
    series = [(axes[0], "calibration_error", BLUE, "trained"), (axes[1], "overconfidence", BLUE, "trained")]
    curves(series, table, control)
    ordered = table.sort_values("depth")
    axes[0].plot(ordered["depth"], ordered["error_if_calibrated"], "k:", lw=1.2, label="if it were calibrated")
    axes[1].axhline(0, color="0.4", lw=1)
    axes[0].set(xlabel=LENS_DEPTH, ylabel="expected calibration error", ylim=(0, None))
    axes[1].set(xlabel=LENS_DEPTH, ylabel="confidence minus accuracy")
    return figure


@styled
def last_layers_neurons(table: pd.DataFrame) -> Figure:
    """What the last layers' neurons change when they are fixed at their mean, by the norm and by what is read."""
    figure, axes = panels(2, table, "neurons of the last layers fixed at their mean")
    places = np.arange(len(table))
    for ax, column in zip(axes, ("entropy_change_bits", "loss_change_nats"), strict=True):
        for number, (way, (colour, label)) in enumerate(WAYS.items()):
            name, at = f"{column}_{way}", places + 0.27 * (number - 1)
            ends = [table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]]
            ax.errorbar(at, table[name], yerr=ends, fmt=MARKERS[colour], ms=5, color=colour, label=label)
            smallest, largest = (table[f"{name}_random_{end}"] for end in ("smallest", "largest"))
            ax.vlines(at + 0.09, smallest, largest, color=colour, lw=6, alpha=0.4)
        ax.axhline(0, color="black", lw=1)
        ax.set_xticks(places, table["kind"])
        ax.grid(False, axis="x")
    axes[0].set_ylabel("change of the entropy [bits]")
    axes[1].set_ylabel("change of the loss [nats]")
    return figure


def _with_ends(table: pd.DataFrame, column: str) -> list[str]:
    return [name for name in (column, f"{column}_low", f"{column}_high") if name in table]


def _axis_around_zero(ax: Axes) -> None:
    """Linear near 0, logarithmic beyond: the first layers do a hundred times as much as the last."""
    ax.axhline(0, color="0.4", lw=1)
    ax.set_yscale("symlog", linthresh=0.1)
    ax.yaxis.set_major_formatter("{x:g}")
