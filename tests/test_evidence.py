"""Every statistic of a curve by layers is what its words say, on models of every depth: bounds in exact fractions."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from helpers.judging import evidence
from helpers.judging.evidence_of_lesions import middle_accuracy_ratio
from helpers.judging.measures import Measures, NeuronCounts

DEPTHS = [1, 2, 3, 4, 5, 6, 7, 11, 13, 16, 21]
NOTHING = float("nan")
EARLY, HALF, LATE = Fraction(2, 5), Fraction(1, 2), Fraction(9, 10)


def curve_of(n_layers: int, seed: int) -> np.ndarray:
    return np.random.default_rng((n_layers, seed)).uniform(0.5, 2, n_layers)


def measures_of(*curves: np.ndarray, **columns: np.ndarray) -> Measures:
    """Measures of one sequence, or of one lesion after another; curves are called drop and swap."""
    if columns:
        n_layers = len(next(iter(columns.values())))
        return Measures(pd.DataFrame({"sequence": 0, "layer": range(n_layers), **columns}))
    parts = [
        pd.DataFrame({"sequence": 0, "layer": range(len(curve)), "intervention": name, "kl_nats": curve})
        for name, curve in zip(("drop", "swap"), curves, strict=False)
    ]
    return Measures(pd.concat(parts))


def counts_of(prediction: np.ndarray, suppression: np.ndarray, **seed: int) -> NeuronCounts:
    """Neurons so many of which, in each layer of a hundred, predict and suppress."""
    place = np.tile(np.arange(100), len(prediction))
    layer = np.repeat(np.arange(len(prediction)), 100)
    special = place < np.repeat(prediction + suppression, 100)
    skew = np.where(place < np.repeat(prediction, 100), 1.0, -1.0)
    rows = pd.DataFrame({"layer": layer, "neuron": place, "kurtosis": np.where(special, 20.0, 3.0), "skew": skew})
    return NeuronCounts(rows, **seed)


def depth(layer: int, n_layers: int) -> Fraction:
    return Fraction(layer, max(1, n_layers - 1))


def mean(curve: np.ndarray, low, high, first: int = 0) -> float:
    """Over the layers from ``first`` on whose depth lies between two bounds."""
    chosen = [value for layer, value in enumerate(curve) if layer >= first and low <= depth(layer, len(curve)) <= high]
    return sum(chosen) / len(chosen) if chosen else NOTHING


def found(name: str, *given, **arguments) -> float:
    return float(evidence.STATISTICS[name](*given, **arguments).estimate)


def same(value: float):
    return pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("n_layers", DEPTHS)
def test_early_over_late_is_of_the_first_third_without_the_first_layer_and_of_the_last(n_layers):
    curve = curve_of(n_layers, 0)
    early = mean(curve, Fraction(0), Fraction(1, 3), first=1)
    expected = early / mean(curve, Fraction(2, 3), Fraction(1))
    assert found("early_over_late", measures_of(x=curve), column="x") == same(expected)


@pytest.mark.parametrize("n_layers", DEPTHS)
def test_the_depth_of_a_peak_is_the_mean_of_the_largest_layers_past_the_first(n_layers):
    for seed in range(4):
        curve = np.random.default_rng((n_layers, seed)).integers(0, 4, n_layers)
        largest = [layer for layer in range(1, n_layers) if curve[layer] == max(curve[1:])]
        expected = sum(largest) / len(largest) / (n_layers - 1) if largest else NOTHING
        assert found("depth_of_peak", measures_of(x=curve), column="x") == same(expected)


def rise(curve: np.ndarray) -> float:
    """Relative depth of the middle of the steepest fifth of the layers past the first."""
    last = len(curve) - 1
    width = max(1, round(last / 5))
    rises = {layer: curve[layer + width] - curve[layer] for layer in range(1, last + 1 - width)}
    steepest = max(rises, key=lambda layer: (rises[layer], -layer), default=None)
    return (steepest + width / 2) / last if steepest is not None and rises[steepest] > 0 else NOTHING


@pytest.mark.parametrize("n_layers", DEPTHS)
def test_the_depth_of_a_rise_is_the_middle_of_the_steepest_fifth(n_layers):
    for curve in (curve_of(n_layers, 0), curve_of(n_layers, 1), np.ones(n_layers), -np.arange(n_layers)):
        assert found("depth_of_rise", measures_of(x=curve), column="x") == same(rise(curve))


def test_only_resamples_that_rise_nowhere_have_no_depth_of_a_rise():
    rows = pd.DataFrame({"sequence": np.repeat([0, 1], 4), "layer": [0, 1, 2, 3] * 2, "x": [0, 0, 2, 3, 9, 2, 2, 2]})
    draws = evidence.STATISTICS["depth_of_rise"](Measures(rows.astype(float)), "x").draws
    assert set(draws[np.isfinite(draws)]) == {0.5} and 0.2 < np.isnan(draws).mean() < 0.3  # a quarter has one twice


@pytest.mark.parametrize("n_layers", DEPTHS)
def test_the_middle_is_from_a_fifth_to_four_fifths_of_the_depth(n_layers):
    drop, swap = curve_of(n_layers, 0), curve_of(n_layers, 1)[:-1]
    lesions = measures_of(drop, swap) if n_layers > 1 else measures_of(drop)
    middle = [layer for layer in range(n_layers) if Fraction(1, 5) <= depth(layer, n_layers) <= Fraction(4, 5)]
    of_drop = np.mean(drop[middle]) if middle else NOTHING
    assert found("middle_kl_over_worse_end", lesions, "drop") == same(of_drop / max(drop[0], drop[-1]))
    assert found("last_kl_over_middle", lesions) == same(drop[-1] / of_drop)
    both = [layer for layer in middle if layer < n_layers - 1]
    ratios = np.exp(np.mean(np.log(swap[both] / drop[both]))) if both else NOTHING
    assert found("swap_kl_over_drop_kl", lesions) == same(ratios)
    assert found("first_kl_over_worst_other", lesions) == same(drop[0] / max(drop[1:], default=NOTHING))
    assert found("last_swap_kl_over_first", lesions) == same(swap[-1] / swap[0] if n_layers > 2 else NOTHING)
    columns = {"relative_accuracy": drop, "accuracy": drop, "accuracy_intact": drop[::-1], "intervention": "drop"}
    rows = pd.DataFrame({"sequence": 0, "layer": range(n_layers), **columns})
    assert found("middle_relative_accuracy", Measures(rows), "drop") == same(of_drop)
    right = np.mean((drop / drop[::-1])[middle]) if middle else NOTHING
    assert float(middle_accuracy_ratio(Measures(rows), "drop").estimate) == same(right)


def at(curve: np.ndarray, wanted: Fraction) -> float:
    """Between the two nearest rows in a straight line."""
    place = wanted * (len(curve) - 1)
    below = min(int(place), len(curve) - 2)
    share = float(place - below)
    return (1 - share) * curve[below] + share * curve[below + 1]


@pytest.mark.parametrize("n_rows", DEPTHS[1:])
def test_the_lens_is_read_at_half_and_at_nine_tenths_of_its_depth(n_rows):
    kl = curve_of(n_rows, 0)
    lens = measures_of(kl_nats=kl)
    enough = n_rows > 2
    late = at(kl, LATE) / at(kl, HALF) if enough else NOTHING
    assert found("late_kl_over_halfway", lens) == same(late)
    later = [row for row in range(n_rows) if depth(row, n_rows) >= HALF]
    rises = [kl[row + 1] - kl[row] for row in later[:-1]]
    assert found("largest_kl_rise_over_halfway", lens) == same(max(rises) / at(kl, HALF) if enough else NOTHING)
    earlier = [row for row in range(1, n_rows) if depth(row, n_rows) <= HALF]
    expected = NOTHING
    if len(earlier) > 1:
        straight = 0.5 / float(np.median([float(1 - depth(row, n_rows)) for row in earlier]))
        expected = at(kl, HALF) / np.median(kl[earlier]) / straight
    assert found("halfway_kl_over_straight_fall", lens) == same(expected)


@pytest.mark.parametrize("n_rows", DEPTHS[1:])
def test_the_late_change_of_entropy_is_that_of_a_line_from_half_to_nine_tenths(n_rows):
    entropy = curve_of(n_rows, 0)
    chosen = [row for row in range(n_rows) if HALF <= depth(row, n_rows) <= LATE]
    expected = NOTHING
    if len(chosen) > 1:
        slope, level = np.polyfit([float(depth(row, n_rows)) for row in chosen], entropy[chosen], 1)
        expected = 0.4 * slope / (level + 0.5 * slope)
    assert found("late_entropy_change", measures_of(entropy_bits=entropy)) == same(expected)


@pytest.mark.parametrize("n_layers", DEPTHS[1:])
def test_the_shares_of_neurons_are_counted_to_two_fifths_and_from_nine_tenths(n_layers):
    generator = np.random.default_rng(n_layers)
    prediction, suppression = generator.integers(10, 50, (2, n_layers))
    counts = counts_of(prediction, suppression)
    depths = [depth(layer, n_layers) for layer in range(n_layers)]
    early = sum(prediction[layer] for layer in range(1, n_layers) if depths[layer] < EARLY)
    assert found("early_share_of_prediction_neurons", counts) == same(early / prediction[1:].sum())
    late = [layer for layer in range(n_layers) if depths[layer] >= LATE]
    expected = suppression[late].sum() / (suppression[late].sum() + prediction[late].sum())
    assert found("late_suppression_share", counts) == same(expected)
    before = [layer for layer in range(n_layers) if Fraction(7, 10) <= depths[layer] < LATE]
    expected = prediction[late].mean() / prediction[before].mean() if before else NOTHING
    assert found("last_prediction_neurons_over_before", counts) == same(expected)


@pytest.mark.parametrize("n_layers", DEPTHS[2:])
def test_entropy_turns_at_its_lowest_row_of_the_second_half_if_that_is_not_the_last(n_layers):
    generator = np.random.default_rng(n_layers)
    turned = set()
    for lowest in range(n_layers + 1):
        prediction, suppression = generator.integers(10, 50, (2, n_layers))
        suppression[1] = 0  # so that it rises in every resample
        entropy = np.where(np.arange(n_layers + 1) == lowest, 1, generator.uniform(2, 3, n_layers + 1))
        expected = NOTHING
        later = [row for row in range(n_layers + 1) if depth(row, n_layers + 1) >= HALF]
        turn = min(later, key=lambda row, entropy=entropy: entropy[row])
        if turn < n_layers:
            expected = abs(turn / n_layers - rise(suppression))
            turned.add(turn)
        given = counts_of(prediction, suppression), measures_of(entropy_bits=entropy)
        assert found("entropy_turn_from_suppression_rise", *given) == same(expected)
    assert set(later[:-1]) <= turned


def test_a_distance_from_a_rise_that_some_resamples_lack_is_not_known():
    """Two suppression neurons that may not be drawn: the text as it is has a rise, some resamples have none."""
    counts = counts_of(np.array([1, 5, 5, 5]), np.array([0, 0, 2, 0]))
    rises = evidence.STATISTICS["depth_of_rise"](counts, "n_suppression")
    assert np.isfinite(rises.estimate) and not rises.is_finite
    lens = measures_of(entropy_bits=np.array([9.0, 5, 1, 2, 3]), kl_nats=np.array([9.0, 5, 3, 2, 0]))
    assert np.isnan(found("entropy_turn_from_suppression_rise", counts, lens))
    swapped = counts_of(np.array([0, 0, 2, 0]), np.array([1, 5, 5, 5]))
    assert np.isnan(found("kl_fall_from_neuron_rise", swapped, lens))


def test_neurons_are_drawn_from_the_seed_given():
    given = np.array([10, 20, 30]), np.array([5, 6, 7])
    plain, own, other = (counts_of(*given, **seed).curve("n_prediction") for seed in ({}, {"seed": 0}, {"seed": 1}))
    assert plain.estimate.tolist() == [10, 20, 30]
    assert np.array_equal(plain.draws, own.draws) and not np.array_equal(own.draws, other.draws)
