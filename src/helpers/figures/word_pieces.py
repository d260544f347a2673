"""The figures of the direct test of detokenization: gathering, putting together, cutting."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.figures.style import BLOCK_DEPTH, BLUE, GREEN, GREY, LENS_DEPTH, ORANGE, PANEL, PURPLE, curve, panels


def detokenization(
    table: pd.DataFrame,
    words: pd.DataFrame,
    control: pd.DataFrame | None = None,
    control_words: pd.DataFrame | None = None,
) -> Figure:
    """Attention to a word's earlier pieces, what the last piece decodes to, and what cutting it off costs."""
    figure, axes = panels(3, table, "are the pieces of a word put together?")
    figure.set_size_inches(3 * PANEL[0], PANEL[1] + 0.9)
    gathered, decoded, cut = axes
    for prefix, style, label in (("gathering", "-", "mean over heads"), ("best_gathering", "--", "best head")):
        if control is not None:
            curve(gathered, control, f"{prefix}_word", GREY, "untrained" if style == "-" else None, style)
        curve(gathered, table, f"{prefix}_word", BLUE, f"words, {label}", style)
        curve(gathered, table, f"{prefix}_control", ORANGE, f"matches, {label}", style)
    gathered.set(xlabel=BLOCK_DEPTH, ylabel="attention to the earlier pieces", ylim=(0, None))
    if control_words is not None:
        twin = control_words[control_words["spelling"] == "several_tokens"]
        curve(decoded, twin, "neighbour", GREY, "untrained, several tokens")
    for spelling, colour, style, label in (
        ("several_tokens", PURPLE, "-", "words of several tokens"),
        ("whole", GREEN, "--", "one token"),
        ("spelled", BLUE, "--", "one token, spelled in two"),
        ("wrong_start", ORANGE, "--", "the same, wrong first piece"),
    ):
        own = words[words["spelling"] == spelling]
        curve(decoded, own, "neighbour", colour, label, style)
        if spelling in ("several_tokens", "spelled"):
            chance = own["neighbour_chance"].mean()
            decoded.axhline(chance, color=colour, lw=1, ls=":", label="chance" if colour == PURPLE else None)
    decoded.set(xlabel=LENS_DEPTH, ylabel="share recognised by the nearest residual", ylim=(0, 1.05))
    for suffix, style, label in (("", "-", "in this layer"), ("_up_to", "--", "up to this layer")):
        if control is not None:
            curve(cut, control, f"loss_change_word{suffix}", GREY, "untrained" if not suffix else None, style)
        curve(cut, table, f"loss_change_word{suffix}", BLUE, f"words, {label}", style)
        curve(cut, table, f"loss_change_control{suffix}", ORANGE, f"matches, {label}", style)
    cut.set(xlabel=BLOCK_DEPTH, ylabel="loss change when attention is cut [nats]")
    for ax in axes:
        ax.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=8, handlelength=1.6, columnspacing=1
        )
    return figure


def gathering_heads(heads: pd.DataFrame) -> Figure:
    """Every head's gathering beyond that of the matches, on the sequences that did not pick it."""
    figure, (ax,) = panels(1, heads, "heads that gather a word's earlier pieces")
    grid = heads.pivot(index="layer", columns="head", values="gathering_difference")
    figure.set_size_inches(max(PANEL[0], 2.4 + 0.3 * grid.shape[1]) + 1.4, max(PANEL[1], 1.4 + 0.2 * len(grid)))
    largest = np.nanmax(np.abs(grid.to_numpy()), initial=0.01)
    image = ax.imshow(grid, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto", origin="lower")
    picked = heads[heads["picked"]]
    ax.scatter(picked["head"], picked["layer"], s=30, facecolor="none", edgecolor="black", label="picked")
    figure.colorbar(image, label="attention: words minus matches")
    ax.grid(False)
    ax.set(xlabel="head", ylabel="layer")
    for axis in (ax.xaxis, ax.yaxis):
        axis.get_major_locator().set_params(integer=True)
    if len(picked):
        figure.legend(loc="outside lower center")
    return figure
