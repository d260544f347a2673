"""The figures of detokenization show the numbers of their tables, with and without a twin."""

import numpy as np
import pandas as pd
import pytest

from helpers import figures

pytestmark = pytest.mark.usefixtures("drawing")
GATHERING = ["gathering_word", "gathering_control", "best_gathering_word", "best_gathering_control"]
CUTTING = ["loss_change_word", "loss_change_control"]
JOINING = [f"loss_change_{end}{suffix}" for end in ("word", "control") for suffix in ("_up_to", "_from")]
SPELLINGS = ["several_tokens", "whole", "spelled", "wrong_start"]


def by_layer(seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"model": "toy", "layer": range(4), "depth": np.linspace(0, 1, 4)})
    return table.assign(**{column: generator.uniform(0.2, 0.8, 4) for column in GATHERING + CUTTING + JOINING})


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


@pytest.mark.parametrize("has_twin", [False, True])
def test_cuts_up_to_and_from_every_layer_of_words_and_matches(has_twin):
    table, twin = by_layer(), by_layer(seed=1)
    figure = figures.joining(table, twin if has_twin else None)
    axes = figure.axes
    for ax, end in zip(axes, ("word", "control"), strict=True):
        measures = [measure for measure in JOINING if end in measure]
        assert lines(ax, grey=False) == columns(table, measures)
        assert lines(ax, grey=True) == (columns(twin, measures) if has_twin else [])
    assert axes[0].get_ylim() == axes[1].get_ylim()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(set(labels)) == len(labels) == 2 * (1 + has_twin)


@pytest.mark.parametrize("n_merging", [0, 2])
def test_merging_heads_are_counted_by_layer_and_drawn_piece_by_piece(n_merging):
    generator = np.random.default_rng(0)
    layers = pd.DataFrame({"model": "toy", "layer": range(4), "depth": np.linspace(0, 1, 4)})
    layers = layers.assign(merging_share=generator.uniform(0, 1, 4))
    heads = pd.DataFrame({"model": "toy", "layer": range(4), "head": 0, "merges": np.arange(4) < n_merging})
    names = [f"{end}_{piece}" for end in ("word", "control") for piece in (1, 2, 3)]
    heads = heads.assign(**{name: generator.uniform(0, 1, 4) for name in names}, word_1_low=0.0)
    density, pieces = figures.merging_heads(layers, heads).axes
    assert list(density.lines[0].get_ydata()) == layers["merging_share"].tolist()
    means = [list(line.get_ydata()) for line in pieces.lines if line.get_marker() != "None"]
    expected = heads.loc[heads["merges"], names].mean().to_numpy().reshape(2, 3)
    assert means == [pytest.approx(row) for row in expected] if n_merging else means == []
    assert len(pieces.lines) == (2 * n_merging + 2 if n_merging else 0)


def test_every_line_has_one_entry_in_the_legend_of_its_panel():
    figure = figures.detokenization(by_layer(), by_spelling(), by_layer(seed=1), by_spelling(seed=1))
    for ax in figure.axes:
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert sorted(labels) == sorted(line.get_label() for line in ax.lines) and len(set(labels)) == len(labels)
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
