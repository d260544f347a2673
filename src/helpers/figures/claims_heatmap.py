"""The figure of the claims: every outcome, claim by model."""

import textwrap

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from helpers.figures.style import styled
from helpers.judging import claims

WORDING_WIDTH = 62
MARKS = {
    claims.HOLDS: ("yes", "#b5d4e9"),
    claims.DOES_NOT_HOLD: ("no", "#e8b4ad"),
    claims.STRADDLES: ("?", "0.88"),
    claims.TWINS_DISAGREE: ("\u2260", "0.93"),
    claims.CANNOT_SPEAK: ("\u2013", "1"),
}


@styled
def claims_heatmap(verdicts: pd.DataFrame) -> Figure:
    """Claims by model: a mark for each outcome. ``verdicts`` has a row per claim and a column per model."""
    wording = ["\n".join(textwrap.wrap(claim, WORDING_WIDTH)) for claim in verdicts.index]
    n_lines = sum(claim.count("\n") + 1 for claim in wording)
    figure, ax = plt.subplots(figsize=(5 + 1.1 * verdicts.shape[1], 1.2 + 0.21 * n_lines))
    marks, shades = zip(*MARKS.values(), strict=True)
    numbers = verdicts.replace(dict(zip(MARKS, range(len(MARKS)), strict=True))).astype(int).set_axis(wording)
    words = verdicts.replace(dict(zip(MARKS, marks, strict=True)))
    cells = {"linewidths": 1, "linecolor": "0.85", "annot_kws": {"color": "black", "size": 10}}
    colours, last = ListedColormap(shades), len(MARKS) - 1
    sns.heatmap(numbers, vmin=0, vmax=last, cmap=colours, annot=words, fmt="", cbar=False, ax=ax, **cells)
    ax.set(xlabel="", ylabel="")
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", rotation=20, length=0)
    ax.tick_params(axis="y", length=0, labelsize=8.5)
    legend = [Patch(fc=shade, ec="0.6", label=f"{mark}  {outcome}") for outcome, (mark, shade) in MARKS.items()]
    figure.legend(handles=legend, loc="outside lower center", ncols=1)
    return figure
