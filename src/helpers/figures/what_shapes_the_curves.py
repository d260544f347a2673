"""Figures of what gives the paper's curves their shape: layers replaced, BOS, shuffled text."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures.style import BLOCK_DEPTH, BLUE, GREEN, LENS_DEPTH, ORANGE, PURPLE, Look, curve, panels, styled

KINDS = {  # by intervention: colour, label
    "zero": (BLUE, "nothing (the paper's)"),
    "zero_but_bos": (PURPLE, "nothing, BOS spared"),
    "mean": (GREEN, "the mean"),
    "resample": (ORANGE, "another place's"),
}
PANELS = {  # by curve: label of its axis
    "drop_kl_nats": "KL without the layer [nats]",
    "drop_agreement": "same first guess without it",
    "attention_share": "attention to the previous five",
    "attention_share_no_bos": "of attention not on BOS",
    "lens_kl_nats": "KL of the logit lens [nats]",
    "mlp_norm": "norm of the MLP's output",
    "mlp_to_residual": "MLP's output / stream",
}
LOGARITHMIC = ("drop_kl_nats", "mlp_to_residual")
SHAPED_BY_TEXT = tuple(curve for curve in PANELS if curve != "attention_share_no_bos")
SHAPED_BY_BOS = ("drop_kl_nats", "drop_agreement", "attention_share", "attention_share_no_bos", "mlp_to_residual")


@styled
def what_shapes_the_curves(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """KL and first guesses by what a layer's output is replaced with, and the untrained twins' KL."""
    figure, axes = panels(2 if control is None else 3, table, "a layer's output replaced by")
    _kinds(axes[0], table, "kl_nats", "KL(intact || lesioned) [nats]")
    _kinds(axes[1], table, "top1_agreement", "same first guess as intact")
    if control is not None:
        _kinds(axes[2], control, "kl_nats", "KL, untrained [nats]")
    for ax in (axes[0], *axes[2:]):
        ax.set_yscale("log")
    axes[1].set_ylim(0, 1)
    return figure


@styled
def bos_norm(table: pd.DataFrame) -> Figure:
    """The norm of BOS's stream row by row, that of all others, and attention to BOS; after removal, dashed."""
    figure, axes = panels(2, table, "the stream of BOS")
    for removed, dashes, suffix in ((False, "-", ""), (True, "--", ", removed")):
        chosen = table[table["removed"] == removed]
        if not chosen.empty:
            curve(axes[0], chosen, "bos_norm", Look(ORANGE, f"BOS{suffix}", dashes))
            curve(axes[0], chosen, "other_norm", Look(BLUE, f"median of the others{suffix}", dashes))
            blocks = chosen[chosen["layer"] < table["layer"].max()]  # the last row enters no block
            curve(axes[1], blocks, "attention_to_bos", Look(GREEN, f"to BOS{suffix}", dashes))
    axes[0].set(yscale="log", xlabel=LENS_DEPTH, ylabel="norm of the residual stream")
    axes[1].set(ylim=(0, 1), xlabel=LENS_DEPTH, ylabel="attention to BOS")
    return figure


@styled
def curves_without_bos(table: pd.DataFrame, removed: pd.DataFrame | None = None) -> Figure:
    """The curves that a massive activation at BOS could shape, as they are and without it."""
    title = (
        "no massive activation at BOS, nothing to remove"
        if removed is None
        else "BOS with and without its massive part"
    )
    return _beside(table, removed, SHAPED_BY_BOS, "removed from BOS", title)


@styled
def curves_of_shuffled_text(table: pd.DataFrame, shuffled: pd.DataFrame) -> Figure:
    """The paper's curves on the text, and on the same tokens in random order."""
    return _beside(table, shuffled, SHAPED_BY_TEXT, "shuffled", "the text, and its tokens shuffled")


def _beside(
    table: pd.DataFrame, changed: pd.DataFrame | None, chosen: tuple[str, ...], name: str, title: str
) -> Figure:
    """A row of panels, one per curve: as it is, and under a changed condition."""
    figure, axes = panels(len(chosen), table, title)
    for ax, which in zip(axes, chosen, strict=True):
        for rows, look in ((table, Look(BLUE, "as it is")), (changed, Look(ORANGE, name, "--"))):
            if rows is not None:
                curve(ax, rows[rows["curve"] == which], "value", look)
        ax.set(xlabel=LENS_DEPTH if which.startswith("lens") else BLOCK_DEPTH, ylabel=PANELS[which])
        ax.set_yscale("log" if which in LOGARITHMIC else "linear")
    return figure


def _kinds(ax: Axes, table: pd.DataFrame, column: str, label: str) -> None:
    """One measure by what was put in."""
    for kind, (colour, name) in KINDS.items():
        curve(ax, table[table["intervention"] == kind], column, Look(colour, name))
    ax.set(xlabel=BLOCK_DEPTH, ylabel=label)
