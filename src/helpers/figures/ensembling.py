"""The figures of prediction ensembling: what neurons know of the next token's class, and what is lost without them."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures.style import BLUE, GREEN, GREY, ORANGE, PANEL, PURPLE, panels


def prediction_ensembling(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """How well each class of next tokens is told from more and more neurons, with what they are compared with."""
    classes = list(table["class"].unique())
    figure, axes = panels(len(classes), table, "is the next token of the class?")
    figure.set_size_inches(0.75 * PANEL[0] * len(classes) + 2.2, PANEL[1])
    levels = {"model": (PURPLE, "--", "the model's own probability"), "layer": (GREEN, "-.", "all neurons of a layer")}
    lines = {
        "top": (BLUE, "-", "the neurons that speak for it"),
        "random": (ORANGE, "-", "random neurons (range of draws)"),
    }
    for ax, name in zip(axes, classes, strict=True):
        of_class = table[table["class"] == name]
        for kind, (colour, style, label) in levels.items():
            _level(ax, _of(of_class, kind), colour, style, label)
        if control is not None:
            _line(ax, _of(control[control["class"] == name], "top"), GREY, "-", "untrained")
        for kind, (colour, style, label) in lines.items():
            _line(ax, _of(of_class, kind), colour, style, label)
        if of_class["auc"].isna().all():
            ax.text(0.5, 0.5, "too few in this text", transform=ax.transAxes, ha="center", va="center")
        ax.axhline(0.5, color="black", lw=1, ls=":", label="chance")
        ax.set(title=name, xlabel="neurons", xscale="log", ylim=(0.4, 1.01))
        _plain_ticks(ax, table.loc[table["kind"].isin(lines), "n_neurons"])
    axes[0].set_ylabel("AUC within passages")
    handles = {line.get_label(): line for ax in axes for line in ax.get_lines()}
    figure.legend(handles=list(handles.values()), loc="outside right center")
    return figure


def prediction_ensembling_ablation(table: pd.DataFrame) -> Figure:
    """What the most peaked neurons change when they are ablated, beside matched random ones."""
    figure, axes = panels(2, table, "neurons fixed at their mean activation")
    for ax, column in zip(axes, ("loss_change_nats", "entropy_change_bits"), strict=True):
        for kind, colour, shift in (("prediction", BLUE, 0.9), ("suppression", ORANGE, 1.05)):
            rows = table[table["kind"] == kind].sort_values("n_neurons")
            look = {"fmt": "o-", "color": colour, "label": f"{kind} neurons"}
            _errorbar(ax, shift, rows, column, "", ("_low", "_high"), look)
            look = {"fmt": ":", "color": colour, "alpha": 0.55, "elinewidth": 6, "label": f"random, matched to {kind}"}
            _errorbar(ax, 1.07 * shift, rows, column, "_random", ("_random_smallest", "_random_largest"), look)
        ax.axhline(0, color="black", lw=1)
        ax.set(xlabel="neurons", xscale="log")
        _plain_ticks(ax, table["n_neurons"])
    axes[0].set_ylabel("change of the loss [nats]")
    axes[1].set_ylabel("change of the entropy [bits]")
    axes[0].legend()
    return figure


def _of(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    return table[table["kind"] == kind].sort_values("n_neurons")


def _line(ax: Axes, rows: pd.DataFrame, colour, style: str, label: str) -> None:
    if len(rows):
        weight = {"lw": 1, "zorder": 1} if colour == GREY else {"marker": "o", "ms": 3.5}
        low, high = ("auc_smallest", "auc_largest") if rows["kind"].iloc[0] == "random" else ("auc_low", "auc_high")
        ax.fill_between(rows["n_neurons"], rows[low], rows[high], color=colour, alpha=0.25, lw=0)
        ax.plot(rows["n_neurons"], rows["auc"], color=colour, ls=style, label=label, **weight)


def _level(ax: Axes, rows: pd.DataFrame, colour, style: str, label: str) -> None:
    if len(rows):
        ax.axhspan(rows["auc_low"].iloc[0], rows["auc_high"].iloc[0], color=colour, alpha=0.15, lw=0)
        ax.axhline(rows["auc"].iloc[0], color=colour, ls=style, label=label)


def _errorbar(
    ax: Axes, shift: float, rows: pd.DataFrame, column: str, middle: str, ends: tuple[str, str], look: dict
) -> None:
    """``middle`` and ``ends`` are the endings of the columns; ``shift`` keeps bars at one size apart."""
    centre = rows[f"{column}{middle}"]
    low, high = (rows[f"{column}{end}"] for end in ends)
    ax.errorbar(shift * rows["n_neurons"], centre, yerr=[centre - low, high - centre], ms=5, **look)


def _plain_ticks(ax: Axes, values: pd.Series) -> None:
    """Only the sizes that there are, written out."""
    ticks = sorted(set(values))
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
