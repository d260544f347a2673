"""The figure of training: every measure against depth, one line per checkpoint."""

from collections.abc import Mapping

import seaborn as sns
from matplotlib.figure import Figure

from helpers.figures.stages_of_inference import PANELS, Tables, draw, page
from helpers.figures.style import SERIES_MARKERS, Look, styled, untrained


@styled
def training_dynamics(tables: Mapping[str, Tables], model: str, before: Tables | None = None) -> Figure:
    """All measures of one model along its training: the later, the darker; grey is ``before``, the untrained twin."""
    figure, axes = page(f"{model}: every measure against depth, along its training")
    colours = sns.color_palette("flare", len(tables))
    for ax, measure in zip(axes, PANELS, strict=True):
        if before is not None:
            draw(ax, measure, before, untrained())
        for number, ((label, own), colour) in enumerate(zip(tables.items(), colours, strict=True)):
            draw(ax, measure, own, Look(colour, label, marker=SERIES_MARKERS[number % len(SERIES_MARKERS)]))
    return figure
