"""Figures of one text show the words and numbers of its tables, and can be read without colours."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from helpers import figures
from helpers.figures.lost_words import GAIN_TO_LOSS, LINE
from helpers.figures.words import LONGEST, MOST_ROWS, readable

pytestmark = pytest.mark.usefixtures("drawing")
SPELLED = ["BOS", "The", "·bar", "ked", "·$x$", "·village", "."]


def guesses(n_rows: int = 4) -> pd.DataFrame:
    """Row r guesses after position p the word "r-p", and under it "no"; the last row guesses right."""
    rows = [
        {"row": row, "position": position, "rank": rank, "token": f"{row}-{position}" if rank == 1 else "no"}
        | {"probability": (row + position / 10) / (n_rows + 1) / rank}
        for row, position, rank in itertools.product(range(n_rows), range(len(SPELLED)), (1, 2))
    ]
    table = pd.DataFrame(rows)
    is_last = (table["row"] == n_rows - 1) & (table["rank"] == 1) & (table["position"] < len(SPELLED) - 1)
    table.loc[is_last, "token"] = [SPELLED[position + 1] for position in table.loc[is_last, "position"]]
    return table


def losses() -> pd.DataFrame:
    rows = [
        {"intervention": name, "layer": layer, "position": position, "token": SPELLED[position]}
        for (name, layer), position in itertools.product([("drop", 0), ("swap", 2)], range(1, len(SPELLED)))
    ]
    return pd.DataFrame(rows).assign(loss_change_nats=np.linspace(-2, 6, 12))


def pattern(n: int = len(SPELLED), seed: int = 0) -> torch.Tensor:
    scores = torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
    return scores.masked_fill(torch.ones(n, n).triu(1) > 0, -torch.inf).softmax(-1)


def frames(ax) -> list[tuple[float, float, float, float]]:
    return [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in ax.patches if not patch.get_fill()]


def ticks(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def contrast(a, b) -> float:
    """The contrast of two colours, as the guidelines for accessible pages define it: 1 to 21."""
    linear = [[c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(each)] for each in (a, b)]
    dark, light = sorted(np.dot(rgb, (0.2126, 0.7152, 0.0722)) for rgb in linear)
    return (light + 0.05) / (dark + 0.05)


def test_every_cell_of_the_lens_has_its_best_guess_and_its_probability():
    table = guesses()
    figure = figures.lens_words(table[table["position"].between(2, 5)], SPELLED, "toy")
    ax = figure.axes[0]
    best = table[(table["rank"] == 1) & table["position"].between(2, 5)]
    written = {(round(text.get_position()[0]), round(text.get_position()[1])): text.get_text() for text in ax.texts}
    assert written == {(row.position - 2, row.row): readable(row.token) for row in best.itertuples()}
    shades = ax.images[0].get_array()
    assert shades.shape == (4, 4)
    assert all(shades[row.row, row.position - 2] == pytest.approx(row.probability) for row in best.itertuples())
    assert ticks(ax.xaxis) == ["·bar", "ked", "·$x$", "·village"]
    assert ticks(ax.child_axes[0].xaxis) == ["ked", "·$x$", "·village", "."], "what follows stands on top"
    assert ticks(ax.yaxis) == ["0 embedding", "1", "2", "3 output"]
    assert frames(ax) == [(x - 0.5, 2.5, 1, 1) for x in range(4)], "only the last row is right"
    assert figure.get_suptitle().startswith("toy")


def test_after_the_last_token_nothing_follows_and_nothing_is_right():
    table = guesses()
    ax = figures.lens_words(table[table["position"] == len(SPELLED) - 1], SPELLED, "toy").axes[0]
    assert ticks(ax.child_axes[0].xaxis) == [""] and not frames(ax)


def test_of_a_deep_model_evenly_spaced_rows_are_drawn_the_first_and_the_last_among_them():
    ax = figures.lens_words(guesses(n_rows=49), SPELLED, "toy").axes[0]
    names = ticks(ax.yaxis)
    rows = [int(name.split()[0]) for name in names]
    assert len(names) == MOST_ROWS and names[0] == "0 embedding" and names[-1] == "48 output"
    assert set(np.diff(rows)) <= {3, 4}


def test_what_is_written_in_a_cell_can_be_read_on_its_shade():
    table = guesses(n_rows=12)
    table["probability"] = np.linspace(0, 1, len(table))
    ax = figures.lens_words(table, SPELLED, "toy").axes[0]
    image = ax.images[0]
    cells = image.cmap(image.norm(image.get_array()))
    for text in ax.texts:
        x, y = (round(place) for place in text.get_position())
        assert contrast(text.get_color(), cells[y, x][:3]) > 4.4
    assert {to_rgb(text.get_color()) for text in ax.texts} == {to_rgb("black"), to_rgb("white")}


def test_patterns_have_tokens_on_both_axes_numbers_and_frames_around_words_of_several_tokens():
    patterns = {"layer 0, head 1": pattern(), "layer 2, mean": pattern(seed=1), "layer 3": pattern(seed=2)}
    figure = figures.attention_words(patterns, SPELLED, "toy")
    assert [ax.get_title() for ax in figure.axes] == list(patterns)
    for ax, shares in zip(figure.axes, patterns.values(), strict=True):
        drawn = ax.images[0].get_array()
        assert np.array_equal(drawn.mask, np.triu(np.ones((7, 7)), 1)), "nothing is drawn ahead of a token"
        assert drawn.filled(0) == pytest.approx(shares.numpy())
        assert ticks(ax.xaxis) == ticks(ax.yaxis) == list(map(readable, SPELLED))
        assert frames(ax) == [(1.5, 1.5, 2, 2)], "bar|ked"
        written = {tuple(text.get_position()): text.get_text() for text in ax.texts}
        large = [(query, key) for query in range(7) for key in range(7) if shares[query, key] >= 0.095]
        assert written == {(key, query): f"{100 * shares[query, key]:.0f}" for query, key in large}


def test_patterns_of_long_texts_are_shades_alone():
    ax = figures.attention_words({"layer 0": pattern(20)}, ["·a"] * 20, "toy").axes[0]
    assert not ax.texts and "%" not in ax.get_xlabel()


def test_every_token_is_coloured_by_what_it_loses_and_the_number_stands_below():
    table = losses()
    figure = figures.lost_words(table, SPELLED, "toy")
    drop, swap, scale = figure.axes
    assert drop.get_title("left") == "drop layer 0" and swap.get_title("left") == "swap layer 2 and 3"
    for ax, rows in ((drop, table[:6]), (swap, table[6:])):
        words, numbers = [text.get_text() for text in ax.texts[::2]], [text.get_text() for text in ax.texts[1::2]]
        assert words == SPELLED[1:]
        assert numbers == [f"{change:+.1f}" for change in rows["loss_change_nats"]]
        for patch, change in zip(ax.patches, rows["loss_change_nats"], strict=True):
            assert patch.get_facecolor() == pytest.approx(GAIN_TO_LOSS((change + 6) / 12))
    assert tuple(scale.get_xlim()) == (-6, 6)


@pytest.mark.parametrize("change", np.linspace(-3, 3, 13))
def test_words_can_be_read_on_every_colour(change):
    table = losses().assign(loss_change_nats=[3.0, *[change] * 11])
    ax = figures.lost_words(table, SPELLED, "toy").axes[0]
    for box, word in zip(ax.patches, ax.texts[::2], strict=True):
        assert contrast(word.get_color(), box.get_facecolor()[:3]) > 4.4


def test_a_long_text_is_broken_into_lines_and_no_box_covers_another():
    spelled = ["BOS", *["·a", "·somewhat", "·extraordinarily"] * 20]
    table = pd.DataFrame({"intervention": "drop", "layer": 1, "position": range(1, 61), "loss_change_nats": 0.5})
    ax = figures.lost_words(table, spelled, "toy").axes[0]
    spans = [(box.get_y(), box.get_x(), box.get_x() + box.get_width()) for box in ax.patches]
    assert len({line for line, _, _ in spans}) > 5
    for (line, _, right), (next_line, left, end) in itertools.pairwise(spans):
        assert (next_line == line and left > right) or (next_line == line + 1 and left == 0)
        assert end <= LINE
    figure = ax.figure
    figure.canvas.draw()
    for box, word in zip(ax.patches, ax.texts[::2], strict=True):
        assert isinstance(box, Rectangle) and word.get_window_extent().x1 <= box.get_window_extent().x1


def test_losses_of_some_positions_are_those_tokens_alone():
    table = losses()
    ax = figures.lost_words(table[table["position"].between(3, 4)], SPELLED, "toy").axes[0]
    assert [text.get_text() for text in ax.texts[::2]] == SPELLED[3:5]


@pytest.mark.parametrize(
    ("word", "drawn"),
    [("·the", "·the"), ("↵", "↵"), ("·中文", "·□□"), ("x" * LONGEST, "x" * LONGEST), ("x" * 10, "x" * 8 + "…")],
)
def test_words_are_drawn_in_what_the_font_has_and_cut_where_they_are_long(word, drawn):
    assert readable(word) == drawn


def test_every_figure_of_words_is_saved_without_a_warning_whatever_the_characters():
    spelled = ["BOS", "·中", "$\\alpha$", "·_{x}", "\ufffd", "\\x0b", "·🙂"]
    table = guesses()
    drawn = {
        "lens": figures.lens_words(table.assign(token="$中$"), spelled, "toy"),
        "attention": figures.attention_words({"layer 0": pattern()}, spelled, "toy"),
        "lost": figures.lost_words(losses(), spelled, "toy"),
    }
    for what, figure in drawn.items():
        assert figures.save(figure, "words", "toy", what).exists()
