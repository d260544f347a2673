"""What is true of every verdict: how it follows the evidence, and what it must not depend on."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers import attention, lens, lesion, neurons, norms, stats
from helpers.judging import claims, evidence, wordings
from helpers.judging.claims import CANNOT_SPEAK, DOES_NOT_HOLD, HOLDS, STRADDLES, TWINS_DISAGREE, UNDECIDED
from helpers.judging.measures import Measures, NeuronCounts
from helpers.stats import Resampled

CLAIMS = {claim.name: claim for claim in wordings.read() if claim.needs != "models"}
ORDER = [DOES_NOT_HOLD, UNDECIDED, HOLDS]
N_SEQUENCES, N_LAYERS = 10, 11
VALUES = st.integers(-2000, 2000).map(lambda value: value / 64)
DRAWS = arrays(float, st.integers(1, 60), elements=VALUES)
# statistics of lesions and of the lens by what they do when the measures are counted in another unit
LESIONS = {
    "unit-free": [
        "first_kl_over_worst_other",
        "last_kl_over_middle",
        "last_swap_kl_over_first",
        "swap_kl_over_drop_kl",
    ],
    "in the unit": ["entropy_without_first_layer", "loss_change_of_most_useless_layer"],
}
OF_LENS = {
    "unit-free": [
        "halfway_kl_over_straight_fall",
        "late_kl_over_halfway",
        "largest_kl_rise_over_halfway",
        "late_entropy_change",
    ],
    "in the unit": ["last_right_to_wrong_excess"],
}
UNITS = st.sampled_from([0.125, 0.5, 3.0, 40.0])


def of_draws(draws: np.ndarray) -> Resampled:
    return Resampled(np.array(draws.mean()), draws)


def decide(draws: np.ndarray, rule: str) -> dict:
    return claims.decide(of_draws(draws), replace(CLAIMS["last_swap"], rule=rule).is_true)


def curves(seed: int, n_layers: int, **keys) -> pd.DataFrame:
    """Every column of the lesions and the lens, drawn at random and above 0, by sequence and layer."""
    generator = np.random.default_rng(seed)
    rows = pd.DataFrame({"sequence": np.repeat(range(N_SEQUENCES), n_layers)})
    rows = rows.assign(layer=np.tile(range(n_layers), N_SEQUENCES), document=rows["sequence"], **keys)
    columns = ["kl_nats", "entropy_bits", "entropy_change_bits", "loss_change_nats", "relative_accuracy", "accuracy"]
    columns += ["accuracy_intact", "accuracy_commonest", "right_to_wrong", "wrong_to_right", "top1_probability"]
    columns += ["attention_share", "attention_share_no_bos", "mlp_norm", "mlp_to_residual"]
    return rows.assign(**{column: generator.uniform(0.1, 1, len(rows)) for column in columns})


def lesions(seed: int) -> pd.DataFrame:
    drop, swap = curves(seed, N_LAYERS, intervention="drop"), curves(seed + 1, N_LAYERS - 1, intervention="swap")
    return pd.concat([drop, swap], ignore_index=True)


def neurons_of(seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    rows = pd.DataFrame({"layer": np.repeat(range(N_LAYERS), 60), "neuron": np.tile(range(60), N_LAYERS)})
    return rows.assign(kurtosis=generator.uniform(3, 20, len(rows)), skew=generator.normal(size=len(rows)))


def measured(seed: int, seeds: int = 1) -> dict[str, list[Measures]]:
    """The five experiments on one made-up model, or on ``seeds`` twins."""
    numbers = [seed + 10 * twin for twin in range(seeds)]
    return {
        lesion.SLUG: [Measures(lesions(number)) for number in numbers],
        attention.SLUG: [Measures(curves(number, N_LAYERS)) for number in numbers],
        lens.SLUG: [Measures(curves(number, N_LAYERS + 1)) for number in numbers],
        neurons.SLUG: [NeuronCounts(neurons_of(number)) for number in numbers],
        norms.SLUG: [Measures(curves(number, N_LAYERS)) for number in numbers],
    }


# --- Rules and verdicts


@given(DRAWS, VALUES)
def test_evidence_of_the_opposite_sign_has_the_opposite_verdict(draws, bound):
    above, below = decide(draws, f"above {bound}"), decide(2 * bound - draws, f"below {bound}")
    assert (above["verdict"], above["kind"]) == (below["verdict"], below["kind"])
    turned = decide(draws, f"at most {bound}")
    assert ORDER.index(above["verdict"]) + ORDER.index(turned["verdict"]) == 2
    assert above["share_true"] + turned["share_true"] == pytest.approx(1)


@given(DRAWS, st.integers(0, 60), VALUES)
def test_more_resamples_in_which_it_is_true_never_make_a_verdict_worse(draws, more, bound):
    stronger = np.where(np.arange(len(draws)) < more, bound + 1, draws)
    before, after = decide(draws, f"above {bound}"), decide(stronger, f"above {bound}")
    assert before["share_true"] <= after["share_true"]
    assert ORDER.index(before["verdict"]) <= ORDER.index(after["verdict"])


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_verdict_follows_the_share_and_is_the_same_seen_from_either_side(first, second):
    low, high = sorted((first, second))
    assert ORDER.index(claims.verdict_of(low)) <= ORDER.index(claims.verdict_of(high))
    if min(abs(first - 0.025), abs(first - 0.975)) > 1e-9:
        assert ORDER.index(claims.verdict_of(first)) == 2 - ORDER.index(claims.verdict_of(1 - first))
    assert (claims.verdict_of(low) == HOLDS) == (low >= 0.975)


@given(DRAWS, VALUES, st.randoms(use_true_random=False), st.integers(1, 3))
def test_a_verdict_depends_neither_on_the_order_of_resamples_nor_on_how_often_a_twin_is_counted(
    draws, bound, random, times
):
    order = list(draws)
    random.shuffle(order)
    own, again = decide(draws, f"below {bound}"), decide(np.tile(order, times), f"below {bound}")
    assert (own["verdict"], own["kind"], own["reason"]) == (again["verdict"], again["kind"], again["reason"])
    assert own["share_true"] == pytest.approx(again["share_true"])


@given(DRAWS, VALUES, VALUES)
def test_to_be_between_two_bounds_is_to_obey_both(draws, first, second):
    low, high = sorted((first, second))
    between, at_least, at_most = (
        replace(CLAIMS["last_swap"], rule=rule).is_true(draws)
        for rule in (f"between {low} and {high}", f"at least {low}", f"at most {high}")
    )
    assert np.array_equal(between, at_least & at_most)
    assert between.tolist() == [low <= value <= high for value in draws]


@given(DRAWS, VALUES)
def test_a_rule_is_obeyed_where_its_words_say(draws, bound):
    said = {
        "above": [value > bound for value in draws],
        "at least": [value >= bound for value in draws],
        "below": [value < bound for value in draws],
        "at most": [value <= bound for value in draws],
    }
    for word, expected in said.items():
        assert replace(CLAIMS["last_swap"], rule=f"{word} {bound}").is_true(draws).tolist() == expected


@given(VALUES, VALUES, VALUES)
def test_an_effect_is_too_small_between_no_effect_and_the_bound_alone(value, neutral, bound):
    assume(neutral != bound)
    word = "above" if bound > neutral else "below"
    claim = replace(CLAIMS["last_swap"], rule=f"{word} {bound}", neutral=neutral)
    towards = (value - neutral) * np.sign(bound - neutral)
    assert claim.is_too_small(value) == (0 < towards <= abs(bound - neutral))
    assert not replace(claim, neutral=None).is_too_small(value)


@given(DRAWS, VALUES)
def test_a_reason_not_to_judge_allows_no_verdict(draws, bound):
    row = claims.decide(of_draws(draws), lambda values: values > bound, "too few neurons")
    assert (row["verdict"], row["kind"], row["reason"]) == (UNDECIDED, CANNOT_SPEAK, "too few neurons")
    assert np.isnan([row[name] for name in ("share_true", "statistic_low", "statistic_high")]).all()
    assert row["statistic"] == draws.mean()


@given(DRAWS, st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 59))
def test_no_verdict_comes_of_a_statistic_that_is_not_defined_in_a_single_resample(draws, unknown, place):
    spoilt = np.where(np.arange(len(draws)) == place % len(draws), unknown, draws)
    row = claims.decide(Resampled(np.array(1.0), spoilt), lambda values: values > 0)
    assert (row["verdict"], row["kind"]) == (UNDECIDED, CANNOT_SPEAK) and "not defined" in row["reason"]


@given(st.lists(DRAWS, min_size=1, max_size=4), VALUES)
def test_an_undecided_claim_straddles_its_bound_unless_twins_decided_apart_and_differently(twins, bound):
    each = [of_draws(draws) for draws in twins]
    pooled = stats.pool(each)
    row = claims.decide(pooled, lambda values: values > bound, each=each)
    alone = {decide(draws, f"above {bound}")["verdict"] for draws in twins}
    if row["verdict"] != UNDECIDED:
        assert (row["kind"], row["reason"]) == ("", "")
    elif {HOLDS, DOES_NOT_HOLD} <= alone:
        holding = sum(decide(draws, f"above {bound}")["verdict"] == HOLDS for draws in twins)
        assert row["kind"] == TWINS_DISAGREE
        assert row["reason"] == f"holds for {holding} of {len(twins)} draws of untrained weights"
    else:
        assert row["kind"] == STRADDLES and row["reason"] == f"true in {row['share_true']:.0%} of the resamples"
    low, high = pooled.interval()
    assert (row["statistic"], row["statistic_low"], row["statistic_high"]) == (pooled.estimate, low, high)


# --- Models


@settings(max_examples=3)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_a_table_that_a_claim_does_not_need_does_not_change_its_verdict(seed, seeds):
    everything = measured(seed, seeds)
    table = claims.evaluate(list(CLAIMS.values()), everything)
    needed_by_some = {lesion.SLUG}  # whether the model predicts anything
    for experiment in everything:
        own = [claim for claim in CLAIMS.values() if claim.experiment == experiment and claim.needs != "published"]
        also = {claim.also for claim in own if claim.also}
        alone = {name: of if name in {experiment, *also, *needed_by_some} else [] for name, of in everything.items()}
        rows = claims.evaluate(own, alone).set_index("claim")
        pd.testing.assert_frame_equal(rows, table.set_index("claim").loc[rows.index])
    without = claims.evaluate(list(CLAIMS.values()), {experiment: [] for experiment in everything})
    assert set(without["verdict"]) == {UNDECIDED} and set(without["kind"]) == {CANNOT_SPEAK}


@settings(max_examples=3)
@given(st.integers(0, 1000), st.permutations(range(3)))
def test_the_order_of_twins_and_of_rows_does_not_matter(seed, order):
    everything = measured(seed, 3)
    reordered = {name: [of[twin] for twin in order] for name, of in everything.items()}
    compared = ["claim", "verdict", "kind", "share_true", "statistic_low", "statistic_high"]
    own, other = (claims.evaluate(list(CLAIMS.values()), each)[compared] for each in (everything, reordered))
    pd.testing.assert_frame_equal(own, other)
    rows = lesions(seed)
    shuffled = rows.sample(frac=1, random_state=seed)
    for statistic in [*LESIONS["unit-free"], *LESIONS["in the unit"]]:
        first, second = (evidence.STATISTICS[statistic](Measures(each)) for each in (rows, shuffled))
        assert second.draws == pytest.approx(first.draws)


@settings(max_examples=8)
@given(st.integers(0, 1000), UNITS)
def test_statistics_are_free_of_the_unit_or_in_the_unit_of_what_was_measured(seed, unit):
    for rows, statistics in ((lesions(seed), LESIONS), (curves(seed, N_LAYERS + 1), OF_LENS)):
        floats = rows.select_dtypes("float").columns
        own, scaled = Measures(rows), Measures(rows.assign(**{column: unit * rows[column] for column in floats}))
        for kind, factor in (("unit-free", 1), ("in the unit", unit)):
            for name in statistics[kind]:
                first, second = (evidence.STATISTICS[name](each) for each in (own, scaled))
                assert second.estimate == pytest.approx(factor * first.estimate), name
                assert second.draws == pytest.approx(factor * first.draws, rel=1e-6), name


@settings(max_examples=8)
@given(st.integers(0, 1000), UNITS, st.floats(-5, 5))
def test_the_depth_of_a_peak_or_rise_is_that_of_the_curve_in_any_unit(seed, unit, zero):
    rows = curves(seed, N_LAYERS)
    moved = rows.assign(x=unit * rows["mlp_norm"] + zero)
    for name in ("depth_of_peak", "depth_of_rise"):
        own, other = (evidence.STATISTICS[name](Measures(moved), column) for column in ("mlp_norm", "x"))
        assert other.draws == pytest.approx(own.draws, nan_ok=True)
        assert ((own.draws > 0) & (own.draws <= 1) | np.isnan(own.draws)).all()


@settings(max_examples=8)
@given(st.integers(0, 1000))
def test_the_halves_of_a_text_make_up_its_curve(seed):
    measures = Measures(curves(seed, N_LAYERS))
    halves = measures.halves("kl_nats")
    sizes = [np.sum(measures.clusters % 2 == half) for half in (0, 1)]
    together = sum(size * half.estimate for size, half in zip(sizes, halves, strict=True)) / N_SEQUENCES
    assert together == pytest.approx(measures.curve("kl_nats").estimate)
    assert measures.depth() == pytest.approx(np.linspace(0, 1, N_LAYERS))


@settings(max_examples=8)
@given(st.integers(0, 1000))
def test_of_a_layer_the_neurons_of_both_kinds_and_of_none_are_as_many_in_every_resample(seed):
    counts = NeuronCounts(neurons_of(seed))
    prediction, suppression = (counts.curve(column) for column in ("n_prediction", "n_suppression"))
    assert ((prediction.draws + suppression.draws) <= 60).all() and (prediction.draws >= 0).all()
    spread = 5 * np.sqrt(60 / 4 / stats.RESAMPLES)
    assert abs(prediction.draws.mean(0) - prediction.estimate).max() < spread
    share = evidence.STATISTICS["late_suppression_share"](counts)
    assert ((share.draws >= 0) & (share.draws <= 1)).all()
    swapped = neurons_of(seed).assign(skew=lambda rows: -rows["skew"])
    assert NeuronCounts(swapped).curve("n_prediction").estimate.tolist() == suppression.estimate.tolist()
    difference = evidence.STATISTICS["suppression_peak_minus_prediction_peak"]
    assert difference(NeuronCounts(swapped)).estimate == pytest.approx(-difference(counts).estimate)
