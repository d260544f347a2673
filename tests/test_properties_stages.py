"""What is true of the best step of every curve, and of every boundary between stages."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers.judging import stages, steps
from helpers.judging.measures import Measures
from helpers.stats import Resampled

VALUES = st.integers(-200, 200).map(lambda value: value / 16)
LEVELS = st.integers(1, 100).map(lambda value: value / 16)
CURVE = arrays(float, st.integers(2, 14), elements=VALUES)
EITHER = st.booleans()


class Of(Measures):
    """Measures that have one curve, of which every resample is given."""

    def __init__(self, draws: np.ndarray) -> None:
        self.own = Resampled(draws[0], draws)

    def curve(self, column: str, intervention: str | None = None) -> Resampled:
        return self.own


def boundary(rises: bool = True, **options) -> stages.Boundary:
    return stages.Boundary("1 | 2", "e", "x", "", rises, **options)


def row_of(draws: np.ndarray, rises: bool = True) -> dict:
    """What is said of a curve; a first layer unlike all others goes before it."""
    loud = np.full((len(draws), 1), 1e6)
    (row,) = stages.propose({"e": [Of(np.concatenate([loud, draws], axis=1))]}, [boundary(rises)]).to_dict("records")
    return row


def counts(curve: np.ndarray, rises: bool = True, **options) -> bool:
    return bool(boundary(rises, **options).passes(curve[None])[1][0])


def fields(step: steps.Step) -> list[np.ndarray]:
    return [step.where, step.before, step.after, step.explained, step.explained_smoothly]


# --- The best step of a curve


@given(CURVE, EITHER, st.floats(0.1, 20), VALUES)
def test_the_best_step_is_the_same_in_any_unit(curve, rises, unit, zero):
    assume(np.ptp(curve) > 0)
    own, moved = steps.best(curve[None], rises), steps.best(unit * curve[None] + zero, rises)
    for measure in ("explained", "explained_smoothly"):
        assert getattr(moved, measure) == pytest.approx(getattr(own, measure), abs=1e-9)
    for level in ("before", "after"):
        if moved.where == own.where:  # of equally good steps rounding may choose another
            assert getattr(moved, level) == pytest.approx(unit * getattr(own, level) + zero, abs=1e-9)


@given(CURVE, EITHER)
def test_a_curve_turned_over_or_read_backwards_steps_the_other_way(curve, rises):
    own = steps.best(curve[None], rises)
    for changed in (-curve, curve[::-1]):
        other = steps.best(changed[None], not rises)
        assert other.explained == pytest.approx(own.explained, abs=1e-9)
        assert other.explained_smoothly == pytest.approx(own.explained_smoothly, abs=1e-9)
    turned = steps.best(-curve[None], not rises)
    assert (turned.where, -turned.before, -turned.after) == (own.where, own.before, own.after)


@given(st.integers(2, 14), st.data(), VALUES, LEVELS, EITHER)
def test_of_two_levels_the_step_between_them_explains_everything(n_layers, data, level, height, rises):
    where = data.draw(st.integers(1, n_layers - 1))
    curve = level + np.where(np.arange(n_layers) >= where, 1, 0) * height * (1 if rises else -1)
    step = steps.best(curve[None], rises)
    assert (step.where.item(), step.before.item(), step.after.item()) == (where, curve[0], curve[-1])
    assert step.explained == pytest.approx(1)
    backwards = steps.best(curve[None, ::-1], not rises)
    assert backwards.where.item() == n_layers - where
    wrong = steps.best(curve[None], not rises)
    assert (wrong.where.item(), wrong.explained.item()) == (0, 0) and wrong.before == wrong.after


@given(CURVE, EITHER)
def test_a_step_leaves_what_two_means_leave_and_no_other_split_leaves_less(curve, rises):
    step = steps.best(curve[None], rises)
    squares = ((curve - curve.mean()) ** 2).sum()
    assert 0 <= step.explained <= 1 + 1e-9 and 0 <= step.explained_smoothly <= 1 + 1e-9
    splits = [(curve[:place], curve[place:]) for place in range(1, len(curve))]
    left = [
        sum(((part - part.mean()) ** 2).sum() for part in split)
        for split in splits
        if (split[1].mean() - split[0].mean()) * (1 if rises else -1) > 1e-9
    ]
    assert (1 - step.explained.item()) * squares == pytest.approx(min(left, default=squares), abs=1e-6)
    if step.where.item():
        means = [part.mean() for part in splits[step.where.item() - 1]]
        assert [step.before.item(), step.after.item()] == pytest.approx(means)
    else:
        assert step.before.item() == step.after.item() == pytest.approx(curve.mean())


@given(st.integers(1, 14), VALUES, EITHER)
def test_what_is_the_same_in_every_order_of_the_layers_has_no_step(n_layers, level, rises):
    step = steps.best(np.full((1, n_layers), level), rises)
    assert (step.where.item(), step.explained.item(), step.explained_smoothly.item()) == (0, 0, 0)
    assert not counts(np.full(n_layers, level), rises)


@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(2, 9)), elements=VALUES), EITHER)
def test_curves_do_not_see_each_other(curves, rises):
    curves[0] *= 1e12
    together = fields(steps.best(curves, rises))
    for number, curve in enumerate(curves):
        alone = fields(steps.best(curve[None], rises))
        assert [field[number] for field in together] == pytest.approx([field[0] for field in alone], rel=1e-6)


@given(st.integers(2, 60))
def test_smooth_courses_rise_from_layer_to_layer_and_each_has_its_mirror_image(n_layers):
    courses = steps.smooth(n_layers)
    assert courses.shape[1] == n_layers and (np.diff(courses) > 0).all()

    def shape(rows):
        return (rows - rows[:, :1]) / (rows[:, -1:] - rows[:, :1])

    mirrored = shape(-courses[:, ::-1])
    nearest = abs(shape(courses)[:, None] - mirrored).max(2).min(1)
    assert nearest == pytest.approx(0, abs=1e-9)


@given(st.integers(5, 40), VALUES, LEVELS)
def test_every_smooth_course_is_explained_at_any_level_and_height(n_layers, level, height):
    """Bends as powers, approaches that are through in a tenth to four tenths, sigmoids that take half of the depth."""
    depth = np.linspace(0, 1, n_layers)
    courses = [depth**power for power in (1 / 3, 1 / 2, 1, 2, 3)] + [
        1 - 0.5 ** (depth / (time * np.log(2))) for time in (0.1, 0.2, 0.4)
    ]
    for centre in np.arange(2, 9) / 10:
        sigmoid = 1 / (1 + 9 ** ((centre - depth) / 0.25))  # a tenth and nine tenths of the way at centre -+ 0.25
        courses.append(sigmoid)
    for course in [*courses, *(1 - course[::-1] for course in courses)]:
        step = steps.best((level + height * course)[None], True)
        assert step.explained_smoothly == pytest.approx(1)


# --- Whether it counts


@given(st.integers(3, 40), VALUES, LEVELS, EITHER)
def test_a_straight_line_has_no_boundary_however_steep(n_layers, start, slope, rises):
    line = start + slope * np.arange(n_layers) * (1 if rises else -1)
    assert not counts(line, rises) and not counts(line, not rises)
    assert steps.best(line[None], rises).explained_smoothly == pytest.approx(1)


@given(st.integers(4, 14), st.data(), LEVELS, LEVELS, EITHER)
def test_two_levels_count_where_they_are_a_quarter_of_the_higher_apart(n_layers, data, low, height, rises):
    where = data.draw(st.integers(2, n_layers - 2))
    assume(abs(height - (low + height) / 4) > 1e-6)
    levels = (low, low + height) if rises else (low + height, low)
    curve = np.where(np.arange(n_layers) < where, *levels)
    assert counts(curve, rises) == (height > (low + height) / 4)
    assert counts(np.where(curve == curve.min(), 3.0, 4.0), rises)  # just a quarter
    assert not counts(curve, not rises)
    if height > (low + height) / 4:
        assert counts(curve, rises, least=low + height) and not counts(curve, rises, least=low + height + 0.01)


@given(arrays(float, st.integers(2, 14), elements=LEVELS), EITHER, st.sampled_from([0.125, 8.0]))
def test_whether_a_step_counts_does_not_depend_on_the_unit(curve, rises, unit):
    assert counts(curve, rises) == counts(unit * curve, rises)


@given(arrays(float, (6, 8), elements=VALUES), st.sampled_from([-1, 1]))
def test_a_change_is_counted_per_unit_of_depth_and_the_first_one_left_out(draws, change):
    """The changes of a curve, each times its number of steps, add up to what it gains from first to last."""
    changes = boundary(change=change).curve(Of(draws)).draws
    steps_of_depth = draws.shape[1] - 1
    assert changes.shape == (6, steps_of_depth - 1)
    assert changes.sum(1) / steps_of_depth == pytest.approx(change * (draws[:, -1] - draws[:, 1]))
    assert boundary().curve(Of(draws)).draws.tolist() == draws[:, 1:].tolist()


def test_the_curve_of_one_lesion_is_not_that_of_another():
    rows = pd.DataFrame({"sequence": 0, "layer": [0, 1, 2, 0, 1], "x": [9.0, 1, 2, 8, 7]})
    measures = Measures(rows.assign(intervention=["drop"] * 3 + ["swap"] * 2))
    assert boundary(intervention="drop").curve(measures).estimate.tolist() == [1, 2]
    assert boundary(intervention="swap").curve(measures).estimate.tolist() == [7]


# --- Boundaries


@settings(max_examples=10)
@given(st.integers(7, 14), st.data(), LEVELS, EITHER)
def test_two_levels_have_a_boundary_where_they_meet(n_layers, data, low, rises):
    where = data.draw(st.integers(3, n_layers - 3))
    curve = np.where(np.arange(n_layers) < where, *((low, 2 * low) if rises else (2 * low, low)))
    row = row_of(np.tile(curve, (20, 1)), rises)
    assert [row[name] for name in ("layer", "layer_low", "layer_high")] == [where + 1] * 3  # the first layer counts too
    assert row["depth"] == pytest.approx((where + 0.5) / n_layers)  # between two layers of n + 1
    assert (row["share_found"], row["level_before"], row["level_after"]) == (1, curve[0], curve[-1])
    assert row["shuffled_as_clear"] == pytest.approx(1 / math.comb(n_layers, where), abs=0.015)


@settings(max_examples=10)
@given(arrays(float, (20, 9), elements=LEVELS), EITHER)
def test_a_boundary_is_one_only_if_it_is_clear_in_nearly_every_resample_and_rare_in_random_orders(draws, rises):
    row = row_of(draws, rises)
    share = np.mean([counts(draw, rises) for draw in draws])
    assert row["share_found"] == pytest.approx(share)
    found = counts(draws[0], rises) and share >= 0.975 and row["shuffled_as_clear"] <= 0.05
    assert np.isfinite(row["layer"]) == found
    for name in ("layer_low", "layer_high", "depth"):
        assert np.isfinite(row[name]) == found
    step = steps.best(draws[:1], rises)
    assert (row["explained"], row["explained_smoothly"]) == (step.explained[0], step.explained_smoothly[0])


@settings(max_examples=10)
@given(arrays(float, 9, elements=VALUES), st.randoms(use_true_random=False))
def test_how_rare_a_step_is_depends_on_how_clear_it_is_alone(curve, random):
    """Every order of the same layers is held against the same orders; the clearer one is as rare or rarer."""
    order = list(curve)
    random.shuffle(order)
    first, second = row_of(curve[None]), row_of(np.array([order]))
    clearer, other = sorted((first, second), key=lambda row: -row["explained"])
    assert clearer["shuffled_as_clear"] <= other["shuffled_as_clear"] + 0.05  # from 2000 random orders


@given(st.lists(st.none() | st.integers(1, 20), min_size=1, max_size=4))
def test_boundaries_are_in_order_where_none_comes_before_an_earlier_one(layers):
    found = [layer for layer in layers if layer is not None]
    said = stages.order(pd.DataFrame({"layer": pd.Series(layers, dtype=float)}))
    if len(found) < 2:
        assert said == f"{len(found)} of {len(layers)} boundaries found: nothing to order"
    else:
        assert said == ("in order" if found == sorted(found) else "out of order")
