"""The figures of prediction and suppression neurons: their share of a layer, and every neuron's kurtosis."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, PercentFormatter

from helpers.figures.layout import layers_on_top
from helpers.figures.style import (
    BLOCK_DEPTH,
    BLUE,
    GREY,
    LENS_DEPTH,
    ORANGE,
    PURPLE,
    Look,
    curve,
    curves,
    panels,
    published_curve,
    styled,
)
from helpers.neurons import KURTOSIS_THRESHOLD


@styled
def prediction_suppression_neurons(
    table: pd.DataFrame,
    control: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
    lens: pd.DataFrame | None = None,
) -> Figure:
    """Prediction and suppression neurons as shares of every layer's neurons, beside the lens's KL (paper, figure 8)."""
    title = f"neurons with kurtosis above {KURTOSIS_THRESHOLD:g}"
    figure, (ax, *beside) = panels(1 if lens is None else 2, table, title)
    series = [
        (ax, "n_prediction", BLUE, "prediction neurons"),
        (ax, "n_suppression", ORANGE, "suppression neurons"),
    ]
    curves(series, as_shares(table), None if control is None else as_shares(control))
    if published is not None:
        shares = as_shares(published)
        published_curve(ax, shares, "n_prediction", "prediction")
        published_curve(ax, shares, "n_suppression", "suppression", marker="v")
    ax.set(xlabel=BLOCK_DEPTH, ylabel="share of the layer's neurons", ylim=(0, None))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    if lens is not None:
        curve(beside[0], lens, "kl_nats", Look(PURPLE, "logit lens"))
        beside[0].set(xlabel=LENS_DEPTH, ylabel="KL(final || row) [nats]", ylim=(0, None))
    return figure


def as_shares(counts: pd.DataFrame) -> pd.DataFrame:
    """The same table with every count, and its interval, divided by the layer's number of neurons."""
    counted = [column for column in counts if column.startswith(("n_prediction", "n_suppression"))]
    return counts.assign(**{column: counts[column] / counts["n_neurons"] for column in counted})


@styled
def neuron_kurtosis(
    neurons: pd.DataFrame, model: str, random_threshold: float, control: pd.DataFrame | None = None
) -> Figure:
    """Every neuron's kurtosis by layer, the paper's threshold, and that of random directions."""
    figure, (ax,) = panels(1, pd.DataFrame({"model": [model]}), "kurtosis of every neuron's cosines")
    last_layer = max(1, int(neurons["layer"].max()))
    if control is not None:
        limits = control.groupby("layer")["kurtosis"].quantile([0.001, 0.999]).unstack()
        ax.fill_between(limits.index / last_layer, limits[0.001], limits[0.999], color=GREY, alpha=0.35, lw=0)
        ax.plot([], [], color=GREY, lw=6, alpha=0.35, label="untrained (99.8 % of neurons)")
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(neurons))
    for sign, colour, marker, label in ((1, BLUE, "^", "skew > 0"), (-1, ORANGE, "v", "skew < 0")):
        of_sign = np.sign(neurons["skew"]) == sign
        depth = (neurons["layer"] + jitter)[of_sign] / last_layer
        look = {"marker": marker, "s": 5, "color": colour, "alpha": 0.6, "lw": 0, "label": label}
        ax.scatter(depth, neurons["kurtosis"][of_sign], rasterized=True, **look)
    ax.axhline(KURTOSIS_THRESHOLD, color="black", lw=1, label=f"the paper's threshold ({KURTOSIS_THRESHOLD:g})")
    ax.axhline(random_threshold, color="black", lw=1, ls=":", label=f"random directions ({random_threshold:.2f})")
    ax.set(xlabel=BLOCK_DEPTH, ylabel="kurtosis (normal: 3)", yscale="log")
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for axis_format in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        axis_format("{x:g}")
    layers_on_top(ax, last_layer)
    return figure
