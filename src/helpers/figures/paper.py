"""The figures of the paper's five experiments: tables in, figures out.

The horizontal axis is relative depth throughout.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from helpers.figures.style import BLOCK_DEPTH, BLUE, GREEN, GREY, LENS_DEPTH, ORANGE, PANEL, PURPLE, RED, curve, panels
from helpers.neurons import KURTOSIS_THRESHOLD

OTHER_TEXTS = "the authors' plot, other texts"


def layer_lesion(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """What is left of the predictions after a layer is dropped or two are swapped."""
    figure, axes = panels(3, table, "one layer dropped, or swapped with the next")
    columns = {
        "relative_accuracy": "top-1 accuracy kept",
        "top1_agreement": "same first guess as intact",
        "kl_nats": "KL(intact || lesioned) [nats]",
    }
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        for intervention, colour, style in (("drop", BLUE, "-"), ("swap", ORANGE, "--")):
            if control is not None:
                twin = _known(_only(control, intervention), column)
                curve(ax, twin, column, GREY, f"{intervention}, untrained", style)
            curve(ax, _only(table, intervention), column, colour, intervention, style)
        ax.set(xlabel=BLOCK_DEPTH, ylabel=label, yscale="log" if column == "kl_nats" else "linear")
    _grey_below(axes[2], table["kl_noise_nats"].mean(), "below the rounding noise")
    for ax in axes[:2]:
        ax.set_ylim(0, 1.05)
    axes[1].legend(loc="lower right")
    return figure


def local_attention(
    table: pd.DataFrame, control: pd.DataFrame | None = None, published: pd.DataFrame | None = None
) -> Figure:
    """Attention to the previous five tokens, per offset and as a share."""
    figure, axes = panels(2, table, "attention to the previous five tokens")
    series = [
        (axes[0], "attention_per_offset", BLUE, "mean per offset"),
        (axes[1], "attention_share", BLUE, "of all attention"),
        (axes[1], "attention_share_no_bos", ORANGE, "of attention to all but BOS"),
    ]
    _curves(series, table, control)
    _beside(axes[0], published, "attention_per_offset", OTHER_TEXTS)
    axes[0].set(xlabel=BLOCK_DEPTH, ylabel="attention per offset", ylim=(0, None))
    axes[1].set(xlabel=BLOCK_DEPTH, ylabel="share of attention, five offsets together", ylim=(0, None))
    axes[1].legend()
    return figure


def logit_lens(
    table: pd.DataFrame, control: pd.DataFrame | None = None, published: pd.DataFrame | None = None
) -> Figure:
    """KL of the logit lens to the final output, and its entropy."""
    figure, axes = panels(2, table, "logit lens")
    series = [
        (axes[0], "kl_nats", BLUE, "each row's own scale"),
        (axes[0], "kl_nats_final_scale", ORANGE, "final scale (the authors')"),
        (axes[1], "entropy_bits", BLUE, "each row's own scale"),
        (axes[1], "entropy_bits_final_scale", ORANGE, "final scale (the authors')"),
    ]
    _curves(series, table, control)
    _beside(axes[1], published, "entropy_bits_final_scale", OTHER_TEXTS)
    axes[0].set(xlabel=LENS_DEPTH, ylabel="KL(final || row) [nats]", ylim=(0, None))
    axes[1].set(xlabel=LENS_DEPTH, ylabel="entropy [bits]", ylim=(0, None))
    for ax in axes:
        ax.legend()
    return figure


def logit_lens_flips(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """How the best guess settles, and how often a layer turns it right or wrong."""
    figure, axes = panels(2, table, "logit lens: the best guess")
    series = [
        (axes[0], "top1_agreement", BLUE, "same as the final one"),
        (axes[0], "accuracy", GREEN, "right"),
        (axes[0], "top1_probability", PURPLE, "its probability"),
        (axes[1], "wrong_to_right", GREEN, "wrong to right"),
        (axes[1], "right_to_wrong", RED, "right to wrong"),
    ]
    _curves(series, table, control)
    axes[0].set(xlabel=LENS_DEPTH, ylabel="share of positions; probability", ylim=(0, 1.05))
    axes[1].set(xlabel=LENS_DEPTH, ylabel="share of predictions changed so", ylim=(0, None))
    for ax in axes:
        ax.legend()
    return figure


def prediction_suppression_neurons(
    table: pd.DataFrame, control: pd.DataFrame | None = None, published: pd.DataFrame | None = None
) -> Figure:
    """Prediction and suppression neurons in every layer."""
    figure, (ax,) = panels(1, table, f"neurons with kurtosis above {KURTOSIS_THRESHOLD:g}")
    series = [
        (ax, "n_prediction", BLUE, "prediction neurons"),
        (ax, "n_suppression", ORANGE, "suppression neurons"),
    ]
    _curves(series, table, control)
    _beside(ax, published, "n_prediction", "the authors' plot, same weights")
    _beside(ax, published, "n_suppression", None)
    ax.set(xlabel=BLOCK_DEPTH, ylabel="neurons in the layer", ylim=(0, None))
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return figure


def neuron_kurtosis(
    neurons: pd.DataFrame, model: str, random_threshold: float, control: pd.DataFrame | None = None
) -> Figure:
    """Every neuron's kurtosis by layer, the paper's threshold, and that of random directions."""
    figure, (ax,) = panels(1, pd.DataFrame({"model": [model]}), "kurtosis of every neuron's cosines")
    figure.set_size_inches(PANEL[0] + 3.4, PANEL[1] + 0.6)
    last = max(1, neurons["layer"].max())
    if control is not None:
        limits = control.groupby("layer")["kurtosis"].quantile([0.001, 0.999]).unstack()
        ax.fill_between(limits.index / last, limits[0.001], limits[0.999], color=GREY, alpha=0.35, lw=0)
        ax.plot([], [], color=GREY, lw=6, alpha=0.35, label="untrained (99.8 % of neurons)")
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(neurons))
    for sign, colour, label in ((1, BLUE, "skew > 0"), (-1, ORANGE, "skew < 0")):
        some = np.sign(neurons["skew"]) == sign
        x = (neurons["layer"] + jitter)[some] / last
        ax.scatter(x, neurons["kurtosis"][some], s=3, color=colour, alpha=0.6, label=label, rasterized=True)
    ax.axhline(KURTOSIS_THRESHOLD, color="black", lw=1, label=f"the paper's threshold ({KURTOSIS_THRESHOLD:g})")
    ax.axhline(random_threshold, color="black", lw=1, ls=":", label=f"random directions ({random_threshold:.2f})")
    ax.set(xlabel=BLOCK_DEPTH, ylabel="kurtosis (normal: 3)", yscale="log")
    for axis_format in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        axis_format("{x:g}")
    figure.legend(loc="outside right center", fontsize="small")
    return figure


def mlp_norm(table: pd.DataFrame, control: pd.DataFrame | None = None) -> Figure:
    """Norms of what MLPs and attention write, alone and beside the residual stream."""
    figure, axes = panels(2, table, "what each layer writes")
    series = [
        (axes[0], "mlp_norm", BLUE, "MLP"),
        (axes[0], "attention_norm", ORANGE, "attention"),
        (axes[0], "residual_norm", GREEN, "residual stream before the block"),
        (axes[1], "mlp_to_residual", BLUE, "MLP"),
        (axes[1], "attention_to_residual", ORANGE, "attention"),
    ]
    _curves(series, table, control)
    axes[0].set(xlabel=BLOCK_DEPTH, ylabel="mean L2 norm per token", yscale="log")
    axes[1].set(xlabel=BLOCK_DEPTH, ylabel="norm / norm of the residual stream", yscale="log")
    axes[1].legend(handles=[line for line in axes[0].get_lines() if not line.get_label().startswith("_")])
    for ax in axes:
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        ax.yaxis.set_minor_formatter("{x:g}")
    return figure


def _beside(ax: Axes, published: pd.DataFrame | None, column: str, label: str | None) -> None:
    """Lay the authors' published curve, where there is one, over ours."""
    if published is not None:
        ax.plot(published["depth"], published[column], "k:", lw=1.2, marker="x", ms=4, label=label)
        ax.legend()


def _grey_below(ax: Axes, floor: float, label: str) -> None:
    """Fade what lies below ``floor``, where it can be seen: those values say nothing."""
    bottom, top = ax.get_ylim()
    if floor > bottom:
        ax.axhspan(bottom, floor, facecolor="0.92", alpha=0.75, edgecolor="none", zorder=3)
        ax.axhline(floor, color="0.4", lw=1, ls=":", label=label, zorder=4)
        ax.set_ylim(bottom, max(top, 1.5 * floor))
        ax.legend(handles=ax.get_lines()[-1:], loc="upper center")


def _only(table: pd.DataFrame, intervention: str) -> pd.DataFrame:
    return table[table["intervention"] == intervention]


def _known(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table if its intervals say anything, else nothing: a ratio of two chance accuracies can be anywhere."""
    width = table[f"{column}_high"] - table[f"{column}_low"]
    return table if (width < 1).all() else table.iloc[:0]


def _curves(series: list[tuple], table: pd.DataFrame, control: pd.DataFrame | None) -> None:
    """Draw measures on their axes, the untrained twin's in grey with the same dashes and one legend entry."""
    drawn: list[Axes] = []
    for ax, column, colour, label in series:
        style = ("-", "--", ":")[drawn.count(ax)]
        curve(ax, table, column, colour, label, style)
        drawn.append(ax)
        if control is not None:
            curve(ax, control, column, GREY, "untrained" if drawn.count(ax) == 1 else None, style)
