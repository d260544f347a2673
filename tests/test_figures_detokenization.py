"""The figures of detokenization show the numbers of their tables, with and without a twin."""

import numpy as np
import pandas as pd
import pytest

from helpers import figures

pytestmark = pytest.mark.usefixtures("drawing")
GATHERING = ["gathering_word", "gathering_control", "best_gathering_word", "best_gathering_control"]
CUTTING = ["loss_change_word", "loss_change_control", "loss_change_word_up_to", "loss_change_control_up_to"]
SPELLINGS = ["several_tokens", "whole", "spelled", "wrong_start"]


def by_layer(seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"model": "toy", "layer": range(4), "depth": np.linspace(0, 1, 4)})
    return table.assign(**{column: generator.uniform(0.2, 0.8, 4) for column in GATHERING + CUTTING})


def by_spelling(seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    rows = [{"model": "toy", "spelling": spelling, "depth": row / 4} for spelling in SPELLINGS for row in range(5)]
    table = pd.DataFrame(rows)
    chances = table["spelling"].map({"several_tokens": 0.02, "spelled": 0.04})
    return table.assign(neighbour=generator.uniform(0.2, 0.8, len(table)), neighbour_chance=chances)


def lines(ax, grey: bool) -> list[list[float]]:
    """The curves' values, sorted; chance is level and has two points."""
    chosen = [line for line in ax.lines if (line.get_color() == figures.GREY) == grey and len(line.get_xdata()) > 2]
    return sorted(list(line.get_ydata()) for line in chosen)


def columns(table: pd.DataFrame, names: list[str]) -> list[list[float]]:
    return sorted(table[name].tolist() for name in names)


def neighbours(words: pd.DataFrame, *spellings: str) -> list[list[float]]:
    return sorted(words.loc[words["spelling"] == spelling, "neighbour"].tolist() for spelling in spellings)


@pytest.mark.parametrize("has_twin", [False, True])
def test_words_and_matches_are_coloured_and_the_twins_words_grey(has_twin):
    table, words, twin, twin_words = by_layer(), by_spelling(), by_layer(seed=1), by_spelling(seed=1)
    figure = figures.detokenization(table, words, *((twin, twin_words) if has_twin else ()))
    gathered, decoded, cut = figure.axes
    for ax, measures in ((gathered, GATHERING), (cut, CUTTING)):
        assert lines(ax, grey=False) == columns(table, measures)
        assert lines(ax, grey=True) == (columns(twin, [m for m in measures if "word" in m]) if has_twin else [])
    assert lines(decoded, grey=False) == neighbours(words, *SPELLINGS)
    assert lines(decoded, grey=True) == (neighbours(twin_words, "several_tokens") if has_twin else [])
    assert figure.get_suptitle().startswith("toy")


def test_the_legend_names_the_twin_and_chance_once():
    figure = figures.detokenization(by_layer(), by_spelling(), by_layer(seed=1), by_spelling(seed=1))
    for ax, once in zip(figure.axes, ("untrained", "chance", "untrained"), strict=True):
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert labels.count(once) == 1 and len(set(labels)) == len(labels)
    levels = [line.get_ydata()[0] for line in figure.axes[1].lines if len(line.get_xdata()) == 2]
    assert levels == pytest.approx([0.02, 0.04])


def test_heads_lie_by_layer_and_number_and_those_picked_are_ringed():
    heads = pd.DataFrame({"model": "toy", "layer": np.repeat(range(2), 3), "head": list(range(3)) * 2})
    heads["gathering_difference"] = np.arange(6) / 10
    heads["picked"] = heads["gathering_difference"] > 0.35
    ax = figures.gathering_heads(heads).axes[0]
    assert ax.images[0].get_array().tolist() == [[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]]
    assert ax.collections[0].get_offsets().tolist() == [[1, 1], [2, 1]]


def test_heads_of_which_none_is_picked_can_be_drawn():
    heads = pd.DataFrame({"model": "toy", "layer": [0], "head": [0], "gathering_difference": [0.0], "picked": [False]})
    figures.save(figures.gathering_heads(heads), "detokenization", "toy", "heads")
