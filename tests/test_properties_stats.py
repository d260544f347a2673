"""What is true of every mean, interval and ratio, whatever was measured and however documents are cut."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers import stats
from helpers.stats import Resampled

LAYERS = 3
COLUMNS = ["x", "x_low", "x_high"]
ANY = st.floats(-1000, 1000).map(lambda value: round(value, 3))
POSITIVE = st.floats(0.01, 1000)
VALUES = st.integers(1, 14).flatmap(lambda n: arrays(float, (n, LAYERS), elements=ANY))
DOCUMENTS = st.lists(st.integers(0, 40), min_size=2, max_size=40).map(np.array)


def sequences_of(values: np.ndarray, column: str = "x", **columns) -> pd.DataFrame:
    """Sequences x layers as a table with one row each."""
    n = len(values)
    rows = pd.DataFrame({"sequence": np.repeat(range(n), LAYERS), "layer": np.tile(range(LAYERS), n)})
    return rows.assign(**{column: values.ravel()}, **{name: of_rows.ravel() for name, of_rows in columns.items()})


def summary(values: np.ndarray) -> np.ndarray:
    """Mean and both ends of every layer [column, layer]."""
    return stats.summarise(sequences_of(values))[COLUMNS].to_numpy().T


@given(VALUES)
def test_a_mean_and_its_interval_lie_between_the_smallest_and_the_largest_sequence(values):
    mean, low, high = summary(values)
    slack = 1e-9
    assert (values.min(0) - slack <= low).all() and (high <= values.max(0) + slack).all()
    assert (low <= high).all()
    assert mean == pytest.approx(values.mean(0), abs=1e-9)


@given(VALUES, ANY, ANY)
def test_another_unit_scales_and_shifts_mean_and_interval_and_turns_it_where_it_is_negative(values, unit, zero):
    mean, low, high = summary(values)
    ends = (low, high) if unit >= 0 else (high, low)
    expected = np.array([mean, *ends]) * unit + zero
    assert summary(values * unit + zero) == pytest.approx(expected, abs=1e-5)


@given(st.integers(1, 40), ANY)
def test_equal_values_give_exactly_that_value_and_an_interval_without_width(n, value):
    assert summary(np.full((n, LAYERS), value)).tolist() == [[value] * LAYERS] * 3


@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_sequences_does_not_matter_to_a_mean_nor_to_the_mean_of_each_draw(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    assert summary(values[order])[0] == pytest.approx(summary(values)[0], abs=1e-9)
    weights = stats.resample_weights(len(values), seed=1)
    moved = Resampled(weights.estimate[order], weights.draws[:, order])
    own, other = stats.weighted_mean(values, weights), stats.weighted_mean(values[order], moved)
    assert other.draws == pytest.approx(own.draws, abs=1e-9)


@given(VALUES, st.data())
def test_the_mean_of_a_sum_is_the_sum_of_the_means_in_every_resample(values, data):
    others = data.draw(arrays(float, values.shape, elements=ANY))
    weights = stats.resample_weights(len(values), seed=2)
    both, first, second = (stats.weighted_mean(each, weights) for each in (values + others, values, others))
    assert (both - first).draws == pytest.approx(second.draws, abs=1e-8)
    assert (both - first).estimate == pytest.approx(second.estimate, abs=1e-8)


@given(st.integers(1, 12), st.data())
def test_a_ratio_is_that_of_the_sums_in_every_resample(n, data):
    right, asked = (data.draw(arrays(float, (n, LAYERS), elements=elements)) for elements in (ANY, POSITIVE))
    table = stats.summarise(sequences_of(asked, "asked", right=right), ratios={"x": ("right", "asked")}, seed=5)
    drawn = np.random.default_rng(5).integers(n, size=(stats.RESAMPLES, n))
    ratios = right[drawn].sum(1) / asked[drawn].sum(1)
    expected = [right.sum(0) / asked.sum(0), *np.percentile(ratios, [2.5, 97.5], axis=0)]
    found = table[COLUMNS].to_numpy().T
    assert found == pytest.approx(np.array(expected), rel=1e-6, abs=1e-6)


@given(arrays(float, (9, LAYERS), elements=POSITIVE), st.floats(-9, 9))
def test_the_ratio_of_a_multiple_to_itself_is_certain(asked, factor):
    rows = sequences_of(asked, "asked", right=factor * asked)
    table = stats.summarise(rows, ratios={"x": ("right", "asked")})
    assert table[COLUMNS].to_numpy() == pytest.approx(factor)


@given(POSITIVE, st.integers(2, 9))
def test_resamples_in_which_nothing_was_asked_are_passed_over_whatever_is_left_of_rounding(asked, n):
    rows = pd.DataFrame({"sequence": range(n), "layer": 0, "asked": [asked] + [0.0] * (n - 1)})
    table = stats.summarise(rows.assign(right=0.3 * rows["asked"]), ratios={"x": ("right", "asked")})
    assert table[COLUMNS].values.tolist() == [pytest.approx([0.3] * 3)]


@given(DOCUMENTS)
def test_a_documents_windows_are_always_together(documents):
    weights = stats.resample_weights(len(documents), 3, documents)
    assert (weights.draws >= 0).all() and np.allclose(weights.draws.sum(1), 1)
    names, sizes = np.unique(documents, return_counts=True)
    assert np.allclose(weights.estimate, 1 / len(documents))
    if len(names) < stats.FEWEST_DOCUMENTS:
        assert np.array_equal(weights.draws, stats.resample_weights(len(documents), 3).draws)
        return
    first = np.unique(documents, return_index=True)[1]
    of_documents = weights.draws[:, first]
    assert np.array_equal(weights.draws, of_documents[:, np.searchsorted(names, documents)])
    times_drawn = of_documents / of_documents.mean(1, keepdims=True)  # as many documents are drawn as there are
    assert np.allclose(times_drawn, times_drawn.round())
    assert np.allclose(of_documents @ sizes, 1)


@given(DOCUMENTS, st.integers(-50, 50), st.integers(1, 9))
def test_the_names_of_documents_do_not_matter(documents, zero, step):
    own, renamed = (stats.resample_weights(len(documents), 4, names) for names in (documents, zero + step * documents))
    assert np.array_equal(own.draws, renamed.draws)


@given(DOCUMENTS)
def test_what_is_drawn_together_is_numbered_without_gaps(documents):
    groups = stats.clusters(documents)
    assert set(groups) == set(range(max(groups) + 1))
    together = groups[:, None] == groups
    of_one = documents[:, None] == documents
    enough = len(set(documents)) >= stats.FEWEST_DOCUMENTS
    assert np.array_equal(together, of_one if enough else np.eye(len(documents), dtype=bool))


@given(arrays(float, (12, 4), elements=ANY))
def test_a_value_at_a_place_is_that_of_the_mapped_curve(draws):
    curve = Resampled(draws[0], draws[1:])
    for place in range(4):
        at_place, mapped = curve.at(place), curve.map(lambda rows, place=place: rows[:, place])
        assert (at_place.estimate, at_place.draws.tolist()) == (mapped.estimate, mapped.draws.tolist())


@given(arrays(float, (12,), elements=ANY), ANY)
def test_a_condition_and_its_opposite_share_the_resamples(draws, bound):
    statistic = Resampled(np.array(bound), draws)
    above, below = statistic.share(lambda values: values > bound), statistic.share(lambda values: values <= bound)
    assert above + below == pytest.approx(1) and 0 <= above <= 1


@given(arrays(float, (3, 40), elements=ANY), st.permutations([0, 1, 2]))
def test_in_a_pool_the_order_of_models_does_not_matter(draws, order):
    models = [Resampled(np.asarray(own[0]), own) for own in draws]
    own, reordered = stats.pool(models), stats.pool([models[number] for number in order])
    assert own.interval() == reordered.interval()
    assert own.estimate == pytest.approx(reordered.estimate)


@given(arrays(float, (5, 1), elements=ANY), arrays(float, (4,), elements=ANY), st.floats(0, 10))
def test_a_quotient_times_its_denominator_is_the_numerator_and_unknown_elsewhere(numerator, denominator, above):
    quotient = stats.divide(numerator, denominator, above)
    known = np.broadcast_to(denominator > above, quotient.shape)
    assert np.array_equal(np.isnan(quotient), ~known)
    back = (quotient * denominator)[known]
    assert back == pytest.approx(np.broadcast_to(numerator, quotient.shape)[known])


@given(arrays(np.float32, (4, 6), elements=st.floats(-10, 10, width=32)), st.integers(0, 90))
def test_rows_hold_each_sequences_mean_under_its_number(values, first):
    own = torch.from_numpy(values)
    table = stats.rows(first, stats.means({"x": own, "twice": 2 * own}), layer=7)
    assert table["sequence"].tolist() == list(range(first, first + 4))
    assert table["x"].to_numpy() == pytest.approx(values.astype(float).mean(1), rel=1e-12, abs=1e-12)
    assert (table["twice"] == 2 * table["x"]).all() and (table["layer"] == 7).all()


@given(VALUES)
def test_a_layer_summarised_alone_is_what_it_is_among_others(values):
    whole = stats.summarise(sequences_of(values))
    apart = [stats.summarise(part) for _, part in sequences_of(values).groupby("layer")]
    pd.testing.assert_frame_equal(pd.concat(apart, ignore_index=True), whole)
