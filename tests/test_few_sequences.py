"""Intervals over few sequences against the textbook's, and against what they promise."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t, ttest_1samp

from helpers import stats
from helpers.beyond import few_sequences

RATIOS = {"kept": ("right", "all")}


def rows(n_sequences: int, seed: int = 0, n_layers: int = 2) -> pd.DataFrame:
    keys = [(sequence, layer) for layer in range(n_layers) for sequence in range(n_sequences)]
    table = pd.DataFrame(keys, columns=["sequence", "layer"])
    generator = np.random.default_rng(seed)
    return table.assign(right=generator.normal(3, 1, len(table)), all=generator.normal(6, 1, len(table)))


def test_the_interval_of_a_mean_is_students():
    sequences = rows(5)
    table = few_sequences.summarise(sequences).set_index("layer")
    for layer, some in sequences.groupby("layer"):
        expected = ttest_1samp(some["right"], 0).confidence_interval(0.95)
        found = table.loc[layer, ["right_low", "right", "right_high"]].tolist()
        assert found == pytest.approx([expected.low, some["right"].mean(), expected.high])


def test_the_interval_of_a_ratio_is_that_of_its_linear_deviations():
    sequences = rows(6)
    table = few_sequences.summarise(sequences, ratios=RATIOS).set_index("layer")
    for layer, some in sequences.groupby("layer"):
        ratio = some["right"].sum() / some["all"].sum()
        off = [(a - ratio * b) / some["all"].mean() for a, b in zip(some["right"], some["all"], strict=True)]
        half = t.ppf(0.975, 5) * np.std(off, ddof=1) / 6**0.5
        assert table.loc[layer, "kept"] == pytest.approx(ratio)
        assert table.loc[layer, "kept_high"] - ratio == pytest.approx(half)
        assert ratio - table.loc[layer, "kept_low"] == pytest.approx(half)


def test_five_sequences_hold_the_truth_as_often_as_promised_where_the_bootstrap_does_not():
    hit = {few_sequences.summarise: 0, stats.summarise: 0}
    for seed in range(200):
        sequences = rows(5, seed, n_layers=1)
        for summarise in hit:
            (row,) = summarise(sequences).to_dict("records")
            hit[summarise] += row["right_low"] <= 3 <= row["right_high"]
    assert hit[few_sequences.summarise] >= 184
    assert hit[stats.summarise] < 180


def test_more_than_eight_sequences_are_left_to_the_bootstrap():
    few, many = rows(8), rows(9)
    pd.testing.assert_frame_equal(few_sequences.summarise(many, RATIOS), stats.summarise(many, RATIOS))
    own, bootstrapped = (of(few, RATIOS) for of in (few_sequences.summarise, stats.summarise))
    assert list(own) == list(bootstrapped)
    assert (own["right"] == bootstrapped["right"]).all()
    assert (own["right_low"] < bootstrapped["right_low"]).all()


def test_one_sequence_has_a_mean_and_no_interval_and_a_ratio_over_nothing_is_unknown():
    table = few_sequences.summarise(rows(1).assign(all=0.0), RATIOS)
    assert table["right"].notna().all() and table[["right_low", "right_high"]].isna().all(axis=None)
    assert few_sequences.summarise(rows(4).assign(all=0.0), RATIOS)["kept"].isna().all()
