"""Figures of what survives when several layers are missing, and of self-repair."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers.figures.layer_similarity import COLOURS, SHARE, cells
from helpers.figures.style import (
    BLOCK_DEPTH,
    BLUE,
    GREEN,
    MARKERS,
    ORANGE,
    PURPLE,
    Look,
    curves,
    panels,
    styled,
    untrained,
)


@styled
def residual_paths(
    table: pd.DataFrame, random: pd.DataFrame, draws: pd.DataFrame, random_control: pd.DataFrame | None = None
) -> Figure:
    """Accuracy ratio without every run of layers and without random ones; first guesses, with the twin's."""
    figure, axes = panels(3, table, "layers deleted, in a row and at random")
    _triangle(axes[0], table, "accuracy_ratio", "accuracy ratio", SHARE)
    _dots(axes[1], draws, "accuracy_ratio")
    _by_count(axes[1], random, "accuracy_ratio", Look("black", "mean of all 20"))
    if (random["accuracy_intact"] > 0).all():
        chance = (random["accuracy_commonest"] / random["accuracy_intact"]).mean()
        axes[1].axhline(chance, color="0.4", lw=1, ls=":", label="commonest token")
    if random_control is not None:
        _by_count(axes[2], random_control, "top1_agreement", untrained())
    _by_count(axes[2], random, "top1_agreement", Look(BLUE, "trained"))
    for ax, label in zip(axes[1:], ("accuracy ratio", "same first guess as intact"), strict=True):
        ax.set(xlabel="random layers deleted", ylabel=label, ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].set_ylim(0, 1.4)
    return figure


@styled
def deleted_runs(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """KL and first guesses without every run of layers, and the twin's first guesses."""
    figure, axes = panels(2 if control is None else 3, table, "every run of layers deleted")
    kl = table["kl_nats"].clip(lower=1e-4)
    scale = LogNorm(kl.min(), max(kl.max(), 1.01 * kl.min()))
    _triangle(axes[0], table.assign(kl_nats=kl), "kl_nats", "KL(intact || lesioned) [nats]", scale, f"{COLOURS}_r")
    _triangle(axes[1], table, "top1_agreement", "same first guess as intact", SHARE)
    if control is not None:
        _triangle(axes[2], control, "top1_agreement", "same first guess, untrained", SHARE)
    return figure


@styled
def self_repair(table: pd.DataFrame) -> Figure:
    """Direct and total effect of every block, and what lies between them."""
    figure, axes = panels(2, table, "what a block does, and what the rest makes up for")
    series = [
        (axes[0], "direct_effect_nats", BLUE, "direct: its own output"),
        (axes[0], "total_effect_nats", ORANGE, "total: all later blocks react"),
        (axes[1], "self_repair_nats", GREEN, "direct minus total"),
        (axes[1], "repair_by_blocks_nats", PURPLE, "of it, by later blocks"),
        (axes[1], "repair_by_norm_nats", ORANGE, "of it, by the last norm"),
    ]
    curves(series, table)
    for ax, label in zip(axes, ("loss without it minus intact [nats]", "repair (below 0: damage) [nats]"), strict=True):
        ax.axhline(0, color="0.4", lw=1)
        ax.set_yscale("symlog", linthresh=0.1)
        ax.set(xlabel=BLOCK_DEPTH, ylabel=label)
        ax.yaxis.set_major_formatter("{x:g}")
    lowest = table[["direct_effect_nats_low", "total_effect_nats_low"]].min().min()
    axes[0].set_ylim(bottom=min(0, 1.2 * lowest))
    return figure


def _triangle(ax: Axes, table: pd.DataFrame, column: str, label: str, norm: Normalize, colours: str = COLOURS) -> None:
    """One measure by the first deleted layer and the number of deleted layers."""
    mesh = cells(ax, table.pivot(index="length", columns="start", values=column), norm, colours)
    ax.set(xlabel="first deleted layer", ylabel="layers deleted in a row", title=label)
    ax.figure.colorbar(mesh, ax=ax)


def _dots(ax: Axes, draws: pd.DataFrame, column: str) -> None:
    """Every random draw, told apart by whether it keeps the first layer."""
    for kept, colour, label in ((True, BLUE, "layer 0 kept"), (False, ORANGE, "layer 0 deleted")):
        chosen = draws[draws["first_kept"] == kept]
        beside = chosen["k"] + (chosen["draw"] / draws["draw"].max() - 0.5) * 0.4
        ax.scatter(beside, chosen[column], s=9, marker=MARKERS[colour], color=colour, alpha=0.7, lw=0, label=label)


def _by_count(ax: Axes, table: pd.DataFrame, column: str, look: Look) -> None:
    """Means over draws against the number of deleted layers, with their intervals."""
    ax.fill_between(table["k"], table[f"{column}_low"], table[f"{column}_high"], color=look.colour, alpha=0.2, lw=0)
    ax.plot(table["k"], table[column], **look.of_line())
