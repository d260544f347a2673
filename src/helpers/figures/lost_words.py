"""The figure of a text whose tokens are coloured by what they lose under a lesion."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.figures.style import BLUE, ORANGE, styled
from helpers.figures.words import ink, readable

LINE = 72  # characters in a line of text
NARROWEST, MARGIN = 5, 1  # characters of a box: no less than the number below, and what is left free
CHARACTER = 0.082  # inches, of the fixed-width font at 9 points
FIXED: dict[str, Any] = {"family": "DejaVu Sans Mono", "ha": "left", "va": "center", "parse_math": False}
GAIN_TO_LOSS = LinearSegmentedColormap.from_list("gain to loss", [BLUE, "white", ORANGE])


@styled
def lost_words(losses: pd.DataFrame, spelled: Sequence[str], model: str) -> Figure:
    """The text once for every lesion in ``losses``, each token coloured by what it loses, with the number below it.

    ``losses`` are rows of ``one_text.loss_by_token``: choose one layer, or a few. The same shade is the same loss.
    """
    lesions = list(losses.groupby(["intervention", "layer"], sort=False))
    largest = max(1.0, float(losses["loss_change_nats"].abs().max()))
    norm = Normalize(-largest, largest)
    positions = losses["position"].unique()
    places = _places([readable(spelled[position]) for position in positions])
    height = 0.45 + 0.36 * (1 + places[-1][0])
    size = LINE * CHARACTER + 0.3, height * len(lesions) + 1.1
    figure, axes = plt.subplots(len(lesions), 1, figsize=size, squeeze=False)
    figure.suptitle(f"{model}: what each token loses")
    for ax, ((intervention, layer), rows) in zip(axes.flat, lesions, strict=True):
        change = rows.set_index("position")["loss_change_nats"]
        for position, (line, start, width) in zip(positions, places, strict=True):
            colour = GAIN_TO_LOSS(norm(change[position]))
            start_of_text = start + MARGIN / 2
            ax.add_patch(Rectangle((start, line), width, 0.58, fc=colour, ec="0.7", lw=0.5))
            ax.text(start_of_text, line + 0.3, readable(spelled[position]), color=ink(colour), size=9, **FIXED)
            ax.text(start_of_text, line + 0.76, f"{change[position]:+.1f}", size=7, **FIXED)
        ax.set(xlim=(0, LINE + 0.2), ylim=(1 + places[-1][0], 0))
        ax.set_title(
            f"{intervention} layer {layer}" + (f" and {layer + 1}" if intervention == "swap" else ""), loc="left"
        )
        ax.axis("off")
    scale = plt.cm.ScalarMappable(norm, GAIN_TO_LOSS)
    label = "change of the token's loss [nats]"
    figure.colorbar(scale, ax=list(axes.flat), location="bottom", label=label, aspect=40, fraction=0.08)
    return figure


def _places(words: Sequence[str]) -> list[tuple[int, int, int]]:
    """Line, first column and width of every word's box, broken into lines as a text is."""
    places, line, column = [], 0, 0
    for word in words:
        width = max(NARROWEST, MARGIN + len(word))
        if column + width > LINE:
            line, column = line + 1, 0
        places.append((line, column, width))
        column += width + 1
    return places
