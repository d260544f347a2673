"""Every figure can be read at half width and in grey: layers on top, the middle shaded, an entry for every line."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from test_figures import labels, table_for
from test_figures_style import FUNCTIONS, draw

from helpers import figures
from helpers.figures import layout, style

pytestmark = pytest.mark.usefixtures("drawing")


def against_depth(n_layers: int, label: str = style.BLOCK_DEPTH, points: slice = slice(None)):
    """A panel with a line that has a point for each layer."""
    _, ax = plt.subplots()
    depth = np.linspace(0, 1, n_layers)[points] if n_layers > 1 else np.zeros(1)
    ax.plot(depth, depth)
    ax.set_xlabel(label)
    return ax


def counted(ax) -> list[str]:
    """What stands on top of a panel, as far as it is drawn."""
    (above,) = ax.child_axes
    ax.figure.canvas.draw()
    low, high = sorted(above.get_xlim())
    return [t.get_text() for t in above.get_xticklabels() if low <= t.get_position()[0] <= high and t.get_text()]


@pytest.mark.parametrize(("n_layers", "last"), [(2, "1"), (5, "4"), (10, "9")])
def test_layers_are_counted_on_top_from_the_first_to_the_last(n_layers, last):
    ax = against_depth(n_layers)
    layout.finish(ax.figure)
    numbers = counted(ax)
    assert numbers[0] == "0" and numbers[-1] == last and len(numbers) == n_layers
    assert ax.child_axes[0].get_xlabel() == "layer"


def test_a_layer_stands_above_its_own_point_and_deep_models_leave_numbers_out():
    ax = against_depth(48)
    layout.finish(ax.figure)
    (above,) = ax.child_axes
    numbers = [int(number) for number in counted(ax)]
    assert 4 < len(numbers) < 12 and numbers[0] == 0
    for number in numbers:
        of_layer = above.transData.transform((number, 0))[0]
        assert of_layer == pytest.approx(ax.transData.transform((number / 47, 0))[0])


def test_rows_of_the_lens_are_called_rows_and_swaps_are_counted_like_drops():
    ax = against_depth(7, style.LENS_DEPTH)
    layout.finish(ax.figure)
    assert ax.child_axes[0].get_xlabel() == "row"
    swaps = against_depth(7, points=slice(0, 6))
    layout.finish(swaps.figure)
    assert counted(swaps)[-1] == "5" and swaps.child_axes[0].get_xlabel() == "layer"


def test_depths_that_a_table_has_rounded_are_layers_all_the_same():
    _, ax = plt.subplots()
    ax.plot(np.linspace(0, 1, 13).round(3), range(13))
    ax.set_xlabel(style.LENS_DEPTH)
    layout.finish(ax.figure)
    assert len(ax.child_axes) == 1


@pytest.mark.parametrize("other", [np.linspace(0, 1, 8), np.array([0, 0.2, 0.7])], ids=["another model", "no layers"])
def test_where_layers_have_no_one_number_they_have_none(other):
    ax = against_depth(6)
    ax.plot(other, other)
    layout.finish(ax.figure)
    assert not ax.child_axes


def test_lines_across_a_panel_are_no_layers():
    ax = against_depth(6)
    ax.axhline(0.5)
    ax.axvline(0.3)
    layout.finish(ax.figure)
    assert counted(ax)[-1] == "5"


def test_a_model_of_one_layer_has_nothing_on_top():
    ax = against_depth(1)
    layout.finish(ax.figure)
    assert not ax.child_axes


def test_the_middle_is_shaded_where_the_claims_have_it_behind_everything_and_in_no_legend():
    ax = against_depth(6)
    ax.lines[0].set_label("a line")
    layout.finish(ax.figure)
    (shade,) = ax.patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx(layout.MIDDLE)
    assert shade.get_zorder() < min(line.get_zorder() for line in ax.lines)
    assert labels(ax.figure) == ["a line"]
    other = against_depth(6, "neurons")
    layout.finish(other.figure)
    assert not other.patches and not other.child_axes


def two_panels(*looks_of_panels):
    figure, axes = plt.subplots(1, len(looks_of_panels))
    for ax, looks in zip(axes, looks_of_panels, strict=True):
        for look in looks:
            ax.plot([0, 1], [0, 1], **look.of_line())
    return figure


def test_panels_that_share_what_they_show_have_one_legend_and_others_their_own():
    intact, lesioned = style.Look(figures.BLUE, "intact"), style.Look(figures.ORANGE, "lesioned")
    shared = two_panels([intact, lesioned], [intact])
    layout.finish(shared)
    assert len(shared.legends) == 1 and labels(shared) == ["intact", "lesioned"]
    same_look = two_panels([intact, lesioned], [lesioned, style.Look(figures.BLUE, "something else")])
    layout.finish(same_look)
    assert not same_look.legends and labels(same_look) == ["intact", "lesioned", "lesioned", "something else"]
    apart = two_panels([intact], [lesioned])
    layout.finish(apart)
    assert not apart.legends and len(labels(apart)) == 2


def test_a_legend_takes_no_room_from_the_panels():
    few, many = (two_panels([style.Look(figures.BLUE, str(n)) for n in range(m)], []) for m in (1, 7))
    for figure in (few, many):
        layout.finish(figure)
        figure.set_layout_engine("constrained")
        figure.canvas.draw()
    heights = [figure.axes[1].get_window_extent().height for figure in (few, many)]
    assert heights[1] > 0.93 * heights[0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_figure_is_narrow_and_every_line_is_known_without_its_colour(name):
    figure = draw(name)
    assert figure.get_figwidth() < 9 or name == "claims_heatmap"
    named = labels(figure)
    for ax in figure.axes:
        shown = [line for line in ax.lines if not line.get_label().startswith("_")]
        assert {line.get_label() for line in shown} <= set(named)
        for one, other in itertools.combinations(shown, 2):
            if one.get_color() == figures.GREY and name == "local_attention_distance":
                continue  # the twin's lines lie in the order of the model's
            ways = [(line.get_marker(), line.get_linestyle(), line.get_linewidth()) for line in (one, other)]
            assert ways[0] != ways[1], (one.get_label(), other.get_label())


def test_no_legend_covers_a_panel():
    figure = figures.layer_lesion(table_for("layer_lesion"), table_for("layer_lesion", seed=1))
    figure.canvas.draw()
    (legend,) = figure.legends
    for ax in figure.axes:
        assert not legend.get_window_extent().overlaps(ax.get_tightbbox())


def test_colours_for_lines_have_markers_of_their_own_and_can_be_seen_on_white():
    assert len(set(style.MARKERS.values())) == len(style.MARKERS)
    for colour in style.MARKERS:
        assert np.dot(to_rgb(colour), (0.3, 0.59, 0.11)) < 0.72
