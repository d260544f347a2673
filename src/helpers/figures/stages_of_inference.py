"""Figures across experiments and models: every measure against depth on one page."""

from collections.abc import Mapping
from itertools import cycle
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures.style import (
    BLOCK_DEPTH,
    BLUE,
    GREEN,
    LENS_DEPTH,
    ORANGE,
    PURPLE,
    SERIES_MARKERS,
    Colour,
    Look,
    curve,
    styled,
    untrained,
)


class Measure(NamedTuple):
    """What a panel shows, on which axis, and the stage that the paper uses it for."""

    experiment: str
    column: str
    intervention: str | None
    title: str
    scale: str = "linear"  # or log, or count: whole numbers from 0


PANELS = (
    Measure("layer_lesion", "kl_nats", "drop", "KL when dropped [nats]", "log"),
    Measure("layer_lesion", "relative_accuracy", "drop", "predictions unchanged when dropped"),
    Measure("local_attention", "attention_share_no_bos", None, "attention to the previous five (stage 1)"),
    Measure("logit_lens", "kl_nats", None, "lens: KL to the output [nats] (stage 2, 3)"),
    Measure("logit_lens", "entropy_bits", None, "lens: entropy [bits] (stage 3, 4)"),
    Measure("prediction_suppression_neurons", "n_prediction", None, "prediction neurons (stage 3)", "count"),
    Measure("prediction_suppression_neurons", "n_suppression", None, "suppression neurons (stage 4)", "count"),
    Measure("mlp_norm", "mlp_to_residual", None, "MLP norm / residual norm (stage 4)", "log"),
)
FAMILIES = {"gpt2": "Blues", "pythia": "Oranges", "phi": "Greens", "llama": "Reds", "qwen": "Purples"}
Tables = Mapping[str, pd.DataFrame]


@styled
def stages_of_inference(tables: Tables, boundaries: pd.DataFrame, control: Tables | None = None) -> Figure:
    """All measures of one model; dashed lines are the boundaries found between stages, with their intervals."""
    model, n_found = boundaries["model"].iloc[0], boundaries["depth"].notna().sum()
    found = f"{n_found} of 3 boundaries" if n_found else "no boundary"
    figure, axes = page(f"{model}: every measure against depth; {found} between stages found")
    for ax, measure in zip(axes, PANELS, strict=True):
        if control is not None:
            draw(ax, measure, control, untrained())
        draw(ax, measure, tables, Look(BLUE, model))
        _boundaries(ax, boundaries)
    return figure


@styled
def stages_across_models(tables: Mapping[str, Tables]) -> Figure:
    """The same page with one line per model, families by colour, deeper models darker."""
    figure, axes = page("every measure against depth, several models")
    colours = family_colours(tables)
    for ax, measure in zip(axes, PANELS, strict=True):
        for (model, own), marker in zip(tables.items(), cycle(SERIES_MARKERS)):
            draw(ax, measure, own, Look(colours[model], model, marker=marker))
    return figure


def family_colours(tables: Mapping[str, Tables]) -> dict[str, Colour]:
    """A colour for every model: its family's, the darker the deeper; grey for families not in the paper."""
    colours: dict[str, Colour] = {}
    for family in (*FAMILIES, ""):
        members = [model for model in tables if _family(model) == family]
        members.sort(key=lambda model: max(len(table) for table in tables[model].values()))
        colours |= dict(
            zip(members, sns.color_palette(FAMILIES.get(family, "Greys"), len(members) + 2)[2:], strict=True)
        )
    return colours


def _family(model: str) -> str:
    return next((family for family in FAMILIES if family in model.lower()), "")


def page(title: str) -> tuple[Figure, list[Axes]]:
    """A titled page with an empty panel for every measure of ``PANELS``."""
    figure, axes = plt.subplots(4, 2, figsize=(8.8, 13))
    figure.suptitle(title)
    return figure, list(axes.flat)


def _boundaries(ax: Axes, boundaries: pd.DataFrame) -> None:
    """The boundaries that there are, as lines, and their intervals, as bands."""
    for (_, boundary), colour in zip(boundaries.iterrows(), (ORANGE, GREEN, PURPLE), strict=True):
        if pd.notna(boundary["depth"]):
            last = (boundary["layer"] - 0.5) / boundary["depth"]
            low, high = ((boundary[end] - 0.5) / last for end in ("layer_low", "layer_high"))
            ax.axvspan(low, high, color=colour, alpha=0.15, lw=0)
            ax.axvline(boundary["depth"], color=colour, ls="--", lw=1.2, label=f"stages {boundary['between']}")


def draw(ax: Axes, measure: Measure, tables: Tables, look: Look) -> None:
    """One measure of one model in its panel; nothing where the model has not been measured."""
    table = tables.get(measure.experiment)
    if table is not None:
        chosen = table if measure.intervention is None else table[table["intervention"] == measure.intervention]
        curve(ax, chosen, measure.column, look)
    ax.set_title(measure.title, fontsize=9.5)
    ax.set_xlabel(LENS_DEPTH if measure.experiment == "logit_lens" else BLOCK_DEPTH, fontsize=9)
    if measure.scale == "log":
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
    elif measure.scale == "count":
        ax.set_ylim(0, 1.05 * max(1, ax.dataLim.y1))  # of all lines so far, if any: a limit once set stays
        ax.yaxis.get_major_locator().set_params(integer=True)
