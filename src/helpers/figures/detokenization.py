"""The figures of detokenization: merging heads, gathering, putting together, cutting, and when words are joined."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures import style
from helpers.figures.style import BLUE, GREEN, ORANGE, PANEL, PURPLE, Look, curve, curves, panels, styled, untrained

SPELLINGS = {
    "several_tokens": Look(PURPLE, "words of several tokens"),
    "whole": Look(GREEN, "one token", "--"),
    "spelled": Look(BLUE, "one token, spelled in two", "--"),
    "wrong_start": Look(ORANGE, "the same, wrong first piece", "--"),
}
CHANCES = {"several_tokens": ("chance, several tokens", ":"), "spelled": ("chance, one token", "-.")}


@styled
def detokenization(
    table: pd.DataFrame,
    words: pd.DataFrame,
    control: pd.DataFrame | None = None,
    control_words: pd.DataFrame | None = None,
) -> Figure:
    """Attention to a word's earlier pieces, what the last piece decodes to, and what cutting it off costs."""
    figure, (gathered, decoded, cut) = panels(3, table, "are the pieces of a word put together?")
    gathering = {"mean over heads": "gathering_{}", "best head": "best_gathering_{}"}
    _words_and_matches(gathered, gathering, table, control)
    gathered.set(xlabel=style.BLOCK_DEPTH, ylabel="attention to the earlier pieces", ylim=(0, None))
    _spellings(decoded, words, control_words)
    decoded.set(xlabel=style.LENS_DEPTH, ylabel="share recognised by the nearest residual", ylim=(0, 1.05))
    _words_and_matches(cut, {"in this layer": "loss_change_{}"}, table, control)
    cut.set(xlabel=style.BLOCK_DEPTH, ylabel="loss change when attention is cut [nats]")
    return figure


@styled
def joining(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """What words and their matches lose if attention is cut in all layers up to each, and in all from it on."""
    figure, axes = panels(2, table, "when are the pieces joined?")
    cuts = {"_up_to": Look(BLUE, "cut up to this layer"), "_from": Look(ORANGE, "cut from this layer on", "--")}
    for ax, end, title in zip(axes, ("word", "control"), ("words", "matches"), strict=True):
        for suffix, look in cuts.items():
            column = f"loss_change_{end}{suffix}"
            if control is not None:
                curve(ax, control, column, untrained(f"{look.label}, untrained", look.dashes))
            curve(ax, table, column, look)
        ax.set(title=title, xlabel=style.BLOCK_DEPTH, ylabel="loss change [nats]")
        ax.sharey(axes[0])
    return figure


@styled
def merging_heads(layers: pd.DataFrame, heads: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """Share of merging heads in every layer, and where they look from the last piece, a thin line for each."""
    figure, (density, pieces) = panels(2, layers, "sub-word merging heads")
    curves([(density, "merging_share", BLUE, "share of heads that merge")], layers, control)
    density.set(xlabel=style.BLOCK_DEPTH, ylabel="share of heads that merge", ylim=(0, None))
    merging = heads[heads["merges"]]
    for end, colour, label in (("word", BLUE, "one word"), ("control", ORANGE, "as many words")):
        columns = [column for column in heads if column.startswith(f"{end}_") and column[-1].isdigit()]
        numbers = [int(column.rpartition("_")[2]) for column in columns]
        for row in merging[columns].to_numpy():
            pieces.plot(numbers, row, color=colour, lw=0.5, alpha=0.5)
        if len(merging):
            pieces.plot(numbers, merging[columns].mean(), **Look(colour, label).of_line())
    pieces.set(xlabel="piece of the word, or word", ylabel="attention from the last", ylim=(0, None))
    pieces.xaxis.get_major_locator().set_params(integer=True)
    return figure


@styled
def gathering_heads(heads: pd.DataFrame) -> Figure:
    """Every head's gathering beyond that of the matches, on the sequences that did not pick it."""
    figure, (ax,) = panels(1, heads, "heads that gather a word's earlier pieces")
    grid = heads.pivot(index="layer", columns="head", values="gathering_difference")
    figure.set_size_inches(max(PANEL[0], 2.4 + 0.3 * grid.shape[1]) + 1.4, max(PANEL[1], 1.4 + 0.2 * len(grid)))
    largest = np.nanmax(np.abs(grid.to_numpy()), initial=0.01)
    image = ax.imshow(grid, cmap="viridis", vmin=-largest, vmax=largest, aspect="auto", origin="lower")
    picked = heads[heads["picked"]]
    label = "picked" if len(picked) else None
    ax.scatter(picked["head"], picked["layer"], s=30, facecolor="none", edgecolor="white", lw=1.5, label=label)
    figure.colorbar(image, label="attention: words minus matches")
    ax.grid(False)
    ax.set(xlabel="head", ylabel="layer")
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(integer=True)
    return figure


def _words_and_matches(ax: Axes, measures: dict[str, str], table: pd.DataFrame, control: pd.DataFrame | None) -> None:
    """One measure or two, solid and dashed, of words and of their matches; of the twin those of words."""
    for (label, column), dashes in zip(measures.items(), ("-", "--"), strict=False):
        if control is not None:
            curve(ax, control, column.format("word"), untrained(f"words, {label}, untrained", dashes))
        curve(ax, table, column.format("word"), Look(BLUE, f"words, {label}", dashes))
        curve(ax, table, column.format("control"), Look(ORANGE, f"matches, {label}", dashes))


def _spellings(ax: Axes, words: pd.DataFrame, control_words: pd.DataFrame | None) -> None:
    """How often words are recognised, by how they are spelled, with chance; of the twin those of several tokens."""
    if control_words is not None:
        of_twin = control_words[control_words["spelling"] == "several_tokens"]
        curve(ax, of_twin, "neighbour", untrained("untrained, several tokens"))
    for spelling, look in SPELLINGS.items():
        of_spelling = words[words["spelling"] == spelling]
        curve(ax, of_spelling, "neighbour", look)
        if spelling in CHANCES:
            chance = of_spelling["neighbour_chance"].mean()
            label, dashes = CHANCES[spelling]
            ax.axhline(chance, color=look.colour, lw=1, ls=dashes, label=label)
