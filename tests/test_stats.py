"""Means and bootstrap intervals, against loops and against what statistics says they should be."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import stats

LAYERS = 3


def sequences_of(n: int, seed: int = 0, **columns) -> pd.DataFrame:
    """A table of ``n`` sequences and three layers; columns are arrays or drawn from a normal distribution."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"sequence": np.repeat(range(n), LAYERS), "layer": np.tile(range(LAYERS), n)})
    return table.assign(**(columns or {"x": generator.normal(5, 1, n * LAYERS)}))


def width(table: pd.DataFrame, column: str) -> pd.Series:
    return table[f"{column}_high"] - table[f"{column}_low"]


def test_the_mean_lies_in_its_interval():
    sequences = sequences_of(30)
    table = stats.summarise(sequences)
    assert table["x"].tolist() == pytest.approx(sequences.groupby("layer")["x"].mean().tolist())
    assert ((table["x_low"] < table["x"]) & (table["x"] < table["x_high"])).all()


def test_the_interval_is_as_wide_as_the_normal_approximation_says():
    sequences = sequences_of(400)
    table = stats.summarise(sequences)
    expected = 2 * 1.96 * sequences.groupby("layer")["x"].std() / 400**0.5
    assert width(table, "x").tolist() == pytest.approx(expected.tolist(), rel=0.15)


def test_fewer_sequences_give_wider_intervals():
    widths = [width(stats.summarise(sequences_of(n)), "x").mean() for n in (10, 100, 1000)]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_a_single_sequence_is_its_own_interval():
    sequences = sequences_of(1)
    table = stats.summarise(sequences)
    for column in ("x", "x_low", "x_high"):
        assert table[column].tolist() == sequences["x"].tolist()


@pytest.mark.parametrize("n", [3, 17, 64])
def test_equal_values_give_exactly_that_value(n):
    table = stats.summarise(sequences_of(n, x=0.1))
    assert table[["x", "x_low", "x_high"]].values.tolist() == [[0.1] * 3] * LAYERS


def test_a_ratio_is_recomputed_in_every_resample():
    n = 12
    generator = np.random.default_rng(1)
    right, asked = generator.integers(0, 5, n), generator.integers(5, 9, n)
    sequences = pd.DataFrame({"sequence": range(n), "layer": 0, "right": right, "asked": asked})
    table = stats.summarise(sequences, ratios={"share": ("right", "asked")})
    ratios = []
    for weights in stats.resample_weights(n, seed=0)[1:]:
        drawn = [sequence for sequence in range(n) for _ in range(round(weights[sequence] * n))]
        assert len(drawn) == n
        ratios.append(sum(right[s] for s in drawn) / sum(asked[s] for s in drawn))
    expected = [right.sum() / asked.sum(), *np.percentile(ratios, [2.5, 97.5])]
    assert table[["share", "share_low", "share_high"]].values[0].tolist() == pytest.approx(expected)
    assert abs(expected[0] - np.mean(right / asked)) > 1e-4  # it is no mean of ratios


def test_the_share_of_nothing_is_empty():
    sequences = sequences_of(4, right=0.0, asked=np.tile([0.0, 2.0, 4.0], 4))
    table = stats.summarise(sequences, ratios={"share": ("right", "asked")})
    shares = table[["share", "share_low", "share_high"]]
    assert shares.loc[0].isna().all()
    assert (shares.loc[1:] == 0).all(axis=None)


def test_resamples_without_any_correct_sequence_are_passed_over():
    """One right answer among six sequences: a third of the resamples miss it."""
    sequences = pd.DataFrame({"sequence": range(6), "layer": 0, "right": 0.0, "asked": [0.0] * 5 + [1.0]})
    table = stats.summarise(sequences.assign(right=sequences["asked"] / 2), ratios={"share": ("right", "asked")})
    assert table[["share", "share_low", "share_high"]].values.tolist() == [[0.5] * 3]


def test_unknown_values_stay_unknown_without_spoiling_other_layers():
    sequences = sequences_of(5)
    sequences.loc[sequences["layer"] == 0, "x"] = np.nan
    table = stats.summarise(sequences)
    assert table.loc[0, ["x", "x_low", "x_high"]].isna().all()
    assert table.loc[1:, ["x", "x_low", "x_high"]].notna().all(axis=None)


def test_all_measures_and_layers_share_their_resamples():
    """What is twice another measure in every sequence is so in every resample: their ratio is certain."""
    x = np.random.default_rng(2).exponential(1, 20 * LAYERS)
    table = stats.summarise(sequences_of(20, x=x, double=2 * x), ratios={"ratio": ("double", "x")})
    assert (width(table, "x") > 0.1).all()
    assert table[["ratio", "ratio_low", "ratio_high"]].to_numpy() == pytest.approx(2)
    shifted = sequences_of(20, x=np.repeat(x[:20], LAYERS) + np.tile([0, 1, 2], 20))
    table = stats.summarise(shifted)
    for column in ("x", "x_low", "x_high"):
        assert np.diff(table[column]).tolist() == pytest.approx([1, 1])


def test_a_resample_is_a_draw_of_as_many_sequences_with_replacement():
    n = 7
    weights = stats.resample_weights(n, seed=3)
    assert weights.shape == (1 + stats.RESAMPLES, n)
    assert weights[0].tolist() == [1 / n] * n
    counts = weights[1:] * n
    assert np.allclose(counts, counts.round()) and np.allclose(counts.sum(1), n)
    assert counts.mean(0) == pytest.approx([1] * n, abs=0.15)
    assert counts.var() == pytest.approx(1 - 1 / n, abs=0.05)


def test_the_seed_alone_decides_the_resamples():
    sequences = sequences_of(20)
    table = stats.summarise(sequences, seed=1)
    pd.testing.assert_frame_equal(stats.summarise(sequences, seed=1), table)
    assert stats.summarise(sequences, seed=2)["x_low"].tolist() != table["x_low"].tolist()


def test_the_order_of_rows_does_not_matter():
    sequences = sequences_of(20)
    shuffled = sequences.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(stats.summarise(shuffled), stats.summarise(sequences))


def test_interventions_are_summarised_apart_and_each_by_layer():
    rows = [
        {"sequence": sequence, "layer": layer, "intervention": intervention, "x": value}
        for sequence in range(4)
        for layer in range(2)
        for intervention, value in (("swap", 10.0 + layer), ("drop", float(layer)))
        if (layer, intervention) != (1, "swap")
    ]
    table = stats.summarise(pd.DataFrame(rows))
    assert table[["intervention", "layer", "x"]].values.tolist() == [["drop", 0, 0], ["drop", 1, 1], ["swap", 0, 10]]


def test_rows_number_the_sequences_of_a_batch_from_its_first():
    measures = {"x": torch.tensor([0.5, 1.5]), "right": torch.tensor([True, False])}
    table = stats.rows(6, measures, layer=2, intervention="drop")
    assert table.to_dict("list") == {
        "sequence": [6, 7],
        "layer": [2, 2],
        "intervention": ["drop", "drop"],
        "x": [0.5, 1.5],
        "right": [1.0, 0.0],
    }


def test_a_ratio_without_any_denominator_is_empty_everywhere():
    table = pd.DataFrame({"sequence": [0, 1], "layer": [0, 0], "hits": [0.0, 1.0], "tries": [0.0, 0.0]})
    summary = stats.summarise(table, ratios={"rate": ("hits", "tries")})
    assert summary[["rate", "rate_low", "rate_high"]].isna().all(axis=None)
