"""The figures of prediction ensembling: what neurons know of the next token's class, and what is lost without them."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures.style import BLUE, GREEN, MARKERS, ORANGE, PURPLE, RED, Colour, Look, panels, styled, untrained

LEVELS = {  # one number each, whatever the number of neurons
    "model": Look(PURPLE, "the model's own probability", "--"),
    "layer": Look(GREEN, "all neurons of a layer", "-."),
}
INTERVAL, RANGE = ("auc_low", "auc_high"), ("auc_smallest", "auc_largest")
LINES = {
    "top": (Look(BLUE, "the neurons that speak for it"), INTERVAL),
    "random": (Look(ORANGE, "random neurons (range of draws)"), RANGE),
}
ACCURACY = ("accuracy_low", "accuracy_high")
HOWS = {
    "random": (Look(GREEN, "best k random, matched (range of draws)", ":"), ("accuracy_smallest", "accuracy_largest")),
    "vote": (Look(RED, "vote of the first k, no probe", "-."), ACCURACY),
}


@styled
def prediction_ensembling(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """How well each class of next tokens is told from more and more neurons, with what they are compared with."""
    classes = list(table["class"].unique())
    figure, axes = panels(len(classes), table, "is the next token of the class?")
    for ax, name in zip(axes, classes, strict=True):
        of_class = table[table["class"] == name]
        for kind, look in LEVELS.items():
            _level(ax, _of_kind(of_class, kind), look)
        if control is not None:
            _line(ax, _of_kind(control[control["class"] == name], "top"), untrained(), INTERVAL)
        for kind, (look, band) in LINES.items():
            _line(ax, _of_kind(of_class, kind), look, band)
        if of_class["auc"].isna().all():
            ax.text(0.5, 0.5, "too few in this text", transform=ax.transAxes, ha="center", va="center")
        ax.axhline(0.5, color="black", lw=1, ls=":", label="chance")
        ax.set(title=name, xlabel="neurons", xscale="log", ylim=(0.4, 1.01))
        _plain_ticks(ax, table.loc[table["kind"].isin(LINES), "n_neurons"])
    axes[0].set_ylabel("AUC within passages")
    return figure


@styled
def prediction_ensembling_ablation(table: pd.DataFrame) -> Figure:
    """What the most peaked neurons change when they are ablated, beside matched random ones."""
    figure, axes = panels(2, table, "neurons fixed at their mean activation")
    for ax, column in zip(axes, ("loss_change_nats", "entropy_change_bits"), strict=True):
        for kind, colour, shift in (("prediction", BLUE, 0.9), ("suppression", ORANGE, 1.05)):
            rows = _of_kind(table, kind)
            rows = rows.assign(n_neurons=shift * rows["n_neurons"])
            _interval_bars(ax, rows, column, colour, f"{kind} neurons")
            _range_bars(ax, rows, f"{column}_random", colour, f"random, matched to {kind}")
        ax.axhline(0, color="black", lw=1)
        ax.set(xlabel="neurons", xscale="log")
        _plain_ticks(ax, table["n_neurons"])
    axes[0].set_ylabel("change of the loss [nats]")
    axes[1].set_ylabel("change of the entropy [bits]")
    return figure


@styled
def prediction_ensembling_ing(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """Does the verb end in -ing? From prediction and from suppression neurons, one, the best k, and what they are
    compared with."""
    name = table["class"].iloc[0]
    title = "will the verb end in -ing?" if name == "-ing" else f"is the next token of the class {name}?"
    figure, axes = panels(2, table, title)
    for ax, (kind, colour) in zip(axes, (("prediction", BLUE), ("suppression", ORANGE)), strict=True):
        _level(ax, table[table["how"] == "probability"], Look(PURPLE, "the model, by probability", "--"), "accuracy")
        _level(ax, table[table["how"] == "guess"], Look(PURPLE, "the model, by best guess", ":"), "accuracy")
        if control is not None:
            _line(ax, _of_how(control, kind, "best"), untrained(), ("accuracy_low", "accuracy_high"), "accuracy")
        for how, (look, band) in HOWS.items():
            _line(ax, _of_how(table, kind, how), look, band, "accuracy")
        single = _of_how(table, kind, "single")
        ax.plot(single["n_neurons"], single["accuracy"], "_", ms=9, color="0.2", label="each alone")
        _line(ax, _of_how(table, kind, "best"), Look(colour, f"best k {kind} neurons"), ACCURACY, "accuracy")
        if table["accuracy"].isna().all():
            ax.text(0.5, 0.5, "too few in this text", transform=ax.transAxes, ha="center", va="center")
        ax.axhline(0.5, color="black", lw=1, ls=":", label="chance")
        ax.set(title=f"{kind} neurons", xlabel="neurons", xscale="log", ylim=(0.3, 1.01))
        _plain_ticks(ax, table.loc[table["kind"].isin(("prediction", "suppression")), "n_neurons"])
    axes[0].set_ylabel("balanced accuracy")
    return figure


def _of_how(table: pd.DataFrame, kind: str, how: str) -> pd.DataFrame:
    return _of_kind(table[table["how"] == how], kind)


def _of_kind(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    return table[table["kind"] == kind].sort_values("n_neurons")


def _line(ax: Axes, rows: pd.DataFrame, look: Look, band: tuple[str, str], column: str = "auc") -> None:
    """A measure against the number of neurons, where there is any; ``band`` names the columns of the band's ends."""
    if len(rows):
        low, high = band
        ax.fill_between(rows["n_neurons"], rows[low], rows[high], color=look.colour, alpha=0.25, lw=0)
        ax.plot(rows["n_neurons"], rows[column], **look.of_line())


def _level(ax: Axes, rows: pd.DataFrame, look: Look, column: str = "auc") -> None:
    if len(rows):
        low, high = rows[f"{column}_low"].iloc[0], rows[f"{column}_high"].iloc[0]
        ax.axhspan(low, high, color=look.colour, alpha=0.15, lw=0)
        ax.axhline(rows[column].iloc[0], color=look.colour, ls=look.dashes, label=look.label)


def _interval_bars(ax: Axes, rows: pd.DataFrame, column: str, colour: Colour, label: str) -> None:
    """Means with their intervals."""
    ends = _distances(rows, column, f"{column}_low", f"{column}_high")
    ax.errorbar(rows["n_neurons"], rows[column], yerr=ends, fmt=f"{MARKERS[colour]}-", ms=5, color=colour, label=label)


def _range_bars(ax: Axes, rows: pd.DataFrame, column: str, colour: Colour, label: str) -> None:
    """Means over draws with the range of the draws, wide and pale, a little to the right."""
    ends = _distances(rows, column, f"{column}_smallest", f"{column}_largest")
    beside = 1.07 * rows["n_neurons"]
    ax.errorbar(beside, rows[column], yerr=ends, fmt=":", ms=5, elinewidth=6, alpha=0.55, color=colour, label=label)


def _distances(rows: pd.DataFrame, column: str, low: str, high: str) -> list[pd.Series]:
    return [rows[column] - rows[low], rows[high] - rows[column]]


def _plain_ticks(ax: Axes, values: pd.Series) -> None:
    """Only the sizes that there are, written out."""
    ticks = sorted(set(values))
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
