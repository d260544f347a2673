"""Figures of one text with its words written out: what the lens guesses, and where attention looks.

They draw what ``beyond.one_text`` measures, and ``spelled`` are its spellings of the whole text, BOS included. Up to
ten tokens are read well at half the width of a page: choose rows of the table, or slices, before drawing. Shades get
darker in grey as well, and where a shade alone could mislead there is a number or a frame.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from helpers.figures.style import ORANGE, styled
from helpers.text.vocabulary import SEEN_AS, word_spans

MOST_ROWS = 16  # of the lens: of a deep model evenly spaced ones are drawn
LONGEST = 9  # characters of a token
MOST_NUMBERED, SMALLEST = 16, 0.095  # tokens of a pattern with numbers in it; the smallest share written out


@styled
def lens_words(guesses: pd.DataFrame, spelled: Sequence[str], model: str) -> Figure:
    """The best guess of every row of the lens after every token: the darker, the more probable.

    ``guesses`` are those of ``one_text.lens_guesses``, at the positions that shall be drawn. What follows in the text
    stands on top, and a guess that is right has a frame.
    """
    best = guesses[guesses["rank"] == 1]
    shown = np.linspace(0, best["row"].max(), min(MOST_ROWS, best["row"].nunique())).round().astype(int)
    best = best[best["row"].isin(shown)]
    words, probabilities = (best.pivot(index="row", columns="position", values=of) for of in ("token", "probability"))
    positions, n_rows = list(words.columns), len(words)
    figure, ax = plt.subplots(figsize=(1.6 + 0.68 * len(positions), 1.7 + 0.26 * n_rows))
    figure.suptitle(f"{model}: best guess of every row of the lens")
    image = ax.imshow(probabilities, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower")
    figure.colorbar(image, label="its probability", fraction=0.04, pad=0.02)
    follows = [spelled[position + 1] if position + 1 < len(spelled) else "" for position in positions]
    for y, row in enumerate(words.to_numpy()):
        for x, word in enumerate(row):
            colour = ink(image.cmap(image.norm(probabilities.iat[y, x])))
            ax.text(x, y, readable(word), color=colour, size=8, ha="center", va="center", parse_math=False)
            if word == follows[x]:
                _frame(ax, x, y, 1)
    ends = {0: " embedding", int(guesses["row"].max()): " output"}
    ax.set_yticks(range(n_rows), [f"{row}{ends.get(row, '')}" for row in words.index])
    _words_on(ax, [spelled[position] for position in positions])
    ax.set(xlabel="token read (on top: the one that follows)", ylabel="row of the lens")
    above = ax.secondary_xaxis("top")
    _words_on(above, follows)
    _bare(ax)
    _bare(above)
    return figure


@styled
def attention_words(patterns: Mapping[str, Float[Tensor, "query key"]], spelled: Sequence[str], model: str) -> Figure:
    """Attention patterns with the text's tokens on both axes, a panel for each, by its title.

    Shares are written out from a tenth on, where there is room; words of several tokens have a frame.
    """
    n_tokens, n_columns = len(spelled), min(2, len(patterns))
    n_rows, width = math.ceil(len(patterns) / n_columns), 0.9 + 0.29 * n_tokens
    figure, axes = plt.subplots(n_rows, n_columns, figsize=(width * n_columns, width * n_rows + 0.5), squeeze=False)
    figure.suptitle(f"{model}: how much each token attends to each before it")
    unit = " [%]" if n_tokens <= MOST_NUMBERED else ""
    texts = [word.replace(SEEN_AS[" "], " ") for word in spelled]
    split = [(start, length) for start, length in word_spans(texts, torch.arange(n_tokens)) if length > 1]
    for ax, (title, pattern) in zip(axes.flat, patterns.items(), strict=False):
        shares = pattern.float().cpu().numpy()
        image = ax.imshow(
            np.ma.masked_where(np.triu(np.ones_like(shares), 1) > 0, shares), cmap="Greys", vmin=0, vmax=1
        )
        for query, key in np.argwhere(shares >= SMALLEST) if unit else ():
            colour = ink(image.cmap(image.norm(shares[query, key])))
            ax.text(key, query, f"{100 * shares[query, key]:.0f}", color=colour, size=7, ha="center", va="center")
        for start, length in split:
            _frame(ax, start, start, length)
        _words_on(ax, spelled, rotation=90)
        ax.set_yticks(range(n_tokens), list(map(readable, spelled)), size=8, parse_math=False)
        ax.set(title=title, xlabel=f"attended to{unit}", ylabel="attending")
        _bare(ax)
    for unused in axes.flat[len(patterns) :]:
        unused.remove()
    return figure


def readable(word: str) -> str:
    """A token as it can be drawn: cut where it is long, a box for what the font does not have."""
    drawn = "".join(character if ord(character) in _characters() else "□" for character in word)
    return drawn if len(drawn) <= LONGEST else f"{drawn[: LONGEST - 1]}…"


def ink(colour: Sequence[float]) -> str:
    """Black or white, whichever can be read better on this colour: by its relative luminance."""
    linear = [part**2.2 for part in colour[:3]]
    return "white" if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] < 0.18 else "black"


@cache
def _characters() -> frozenset[int]:
    """What both of the fonts have."""
    fonts = (font_manager.get_font(font_manager.findfont(f"DejaVu Sans{kind}")) for kind in ("", " Mono"))
    return frozenset.intersection(*(frozenset(font.get_charmap()) for font in fonts))


def _words_on(ax: Any, words: Sequence[str], rotation: int = 0) -> None:
    """Tokens on the horizontal axis, one a column."""
    ax.set_xticks(range(len(words)), list(map(readable, words)), rotation=rotation, size=8, parse_math=False)


def _frame(ax: Axes, column: int, row: int, n: int) -> None:
    """A frame around n columns and n rows of cells, from these on."""
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), n, n, fill=False, ec=ORANGE, lw=1.6))


def _bare(ax: Any) -> None:
    """Nothing of the axes but their labels."""
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
