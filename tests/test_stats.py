"""Means and bootstrap intervals, against loops and against what statistics says they should be."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import stats
from helpers.stats import Resampled, combine, divide

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
    for weights in stats.resample_weights(n, seed=0).draws:
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
    assert weights.draws.shape == (stats.RESAMPLES, n)
    assert weights.estimate.tolist() == [1 / n] * n
    counts = weights.draws * n
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
    assert table.index.tolist() == [0, 1, 2]


def test_columns_are_the_keys_then_each_measure_with_its_ends_and_a_ratio_after_its_denominator():
    sequences = sequences_of(4, right=np.ones(12), asked=np.ones(12), more=np.ones(12)).assign(document=3)
    table = stats.summarise(sequences, ratios={"share": ("right", "asked")})
    columns = [f"{name}{end}" for name in ("right", "asked", "share", "more") for end in ("", "_low", "_high")]
    assert list(table) == ["layer", *columns]


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


def resampled(*shape: int, seed: int = 0) -> Resampled:
    """Some statistic of a shape, of the text and of 40 resamples of it."""
    generator = np.random.default_rng(seed)
    return Resampled(generator.normal(3, 1, shape), generator.normal(3, 1, (40, *shape)))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_a_function_of_statistics_is_that_of_each_resample(shape):
    first, second = resampled(*shape), resampled(*shape, seed=1)
    found = combine(lambda a, b: np.maximum(a, 2 * b), first, second)
    assert found.estimate.tolist() == np.maximum(first.estimate, 2 * second.estimate).tolist()
    for draw in range(40):
        assert found.draws[draw].tolist() == np.maximum(first.draws[draw], 2 * second.draws[draw]).tolist()
    for operation, result in ((np.subtract, first - second), (np.divide, first / second)):
        assert result.estimate.tolist() == operation(first.estimate, second.estimate).tolist()
        assert result.draws.tolist() == operation(first.draws, second.draws).tolist()


def test_what_is_certain_is_the_same_in_as_many_resamples_as_everything_else():
    number = stats.certain(2.5)
    assert (number.estimate.item(), number.draws.tolist()) == (2.5, [2.5] * stats.RESAMPLES)


def test_a_statistic_of_a_curve_is_taken_resample_by_resample():
    curve = resampled(5)
    peak, last = curve.map(lambda layers: layers.argmax(1)), curve.at(-1)
    assert (peak.estimate, last.estimate) == (np.argmax(curve.estimate), curve.estimate[-1])
    assert peak.draws.tolist() == [int(np.argmax(draw)) for draw in curve.draws]
    assert last.draws.tolist() == [draw[-1] for draw in curve.draws]


@pytest.mark.parametrize("shape", [(), (4,)])
def test_the_interval_holds_the_middle_95_in_a_hundred_of_the_known_draws(shape):
    statistic = resampled(*shape)
    statistic.draws[:3] = np.nan
    low, high = statistic.interval()
    assert low.shape == high.shape == shape
    columns = zip(low.flat, high.flat, statistic.draws.reshape(40, -1).T, strict=True)
    for bottom, top, draws in columns:
        in_order = sorted(draws[3:])
        for end, share in ((bottom, 0.025), (top, 0.975)):
            place = share * 36
            below, above = in_order[int(place)], in_order[int(place) + 1]
            assert end == pytest.approx(below + (place - int(place)) * (above - below))


def test_what_the_text_does_not_have_gets_no_interval():
    statistic = Resampled(np.array([np.nan, 1.0]), np.ones((40, 2)))
    columns = statistic.columns("x")
    assert list(columns) == ["x", "x_low", "x_high"]
    assert np.isnan([column[0] for column in columns.values()]).all()
    assert [column[1] for column in columns.values()] == [1, 1, 1]
    assert np.isnan(stats.UNKNOWN.interval()).all()


def test_the_share_is_of_the_resamples_alone():
    statistic = Resampled(np.array(-1.0), np.array([1.0, 2.0, -3.0, 4.0]))
    assert statistic.share(lambda values: values > 0) == 0.75


@pytest.mark.parametrize(("place", "finite"), [(None, True), ("estimate", False), ("draws", False)])
def test_a_single_unknown_value_makes_a_statistic_unknown(place, finite):
    statistic = resampled(3)
    if place:
        getattr(statistic, place).flat[1] = np.inf
    assert statistic.is_finite == finite
    assert not stats.UNKNOWN.is_finite


def test_pooled_models_have_all_their_draws_and_the_mean_of_their_estimates():
    first, second = resampled(2), resampled(2, seed=1)
    pooled = stats.pool([first, second])
    assert pooled.estimate.tolist() == ((first.estimate + second.estimate) / 2).tolist()
    assert pooled.draws.tolist() == [*first.draws.tolist(), *second.draws.tolist()]


def test_a_weighted_mean_is_that_of_the_sequences_drawn():
    values, weights = np.random.default_rng(1).normal(size=(9, 2)), stats.resample_weights(9, seed=4)
    mean = stats.weighted_mean(values, weights)
    assert mean.estimate == pytest.approx(values.mean(0))
    for number, draw in enumerate(np.random.default_rng(4).integers(9, size=(stats.RESAMPLES, 9))):
        assert mean.draws[number] == pytest.approx(sum(values[sequence] for sequence in draw) / 9)


def test_a_division_by_nothing_is_not_a_number():
    numerator, denominator = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.0], [1e-13]])
    assert np.isnan(divide(numerator, denominator)[0]).all()
    assert divide(numerator, denominator)[1].tolist() == [3 / 1e-13, 4 / 1e-13]
    assert np.isnan(divide(numerator, denominator, above=1e-12)).all()
    assert np.isnan(divide(np.ones(1), -np.ones(1))).all()


def of_documents(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Twenty sequences of ten documents of one to four sequences each; those of a document are alike."""
    documents = np.repeat([7, 3, 9, 1, 4, 12, 5, 2, 8, 30], [1, 4, 2, 2, 1, 3, 1, 2, 3, 1])
    level = dict(zip(np.unique(documents), np.random.default_rng(seed).normal(5, 1, 10), strict=True))
    values = np.array([level[document] for document in documents]) + np.linspace(0, 0.01, len(documents))
    rows = pd.DataFrame({"sequence": range(20), "document": documents, "layer": 0, "x": values})
    return rows, documents


def test_documents_are_drawn_with_all_their_sequences():
    rows, documents = of_documents()
    weights = stats.resample_weights(20, 5, documents)
    names = np.unique(documents)
    for number, draw in enumerate(np.random.default_rng(5).integers(10, size=(stats.RESAMPLES, 10))):
        drawn = [sequence for place in draw for sequence in range(20) if documents[sequence] == names[place]]
        assert weights.draws[number] == pytest.approx(np.bincount(drawn, minlength=20) / len(drawn))
    table = stats.summarise(rows, seed=5).iloc[0]
    means = weights.draws @ rows["x"].to_numpy()
    expected = [rows["x"].mean(), *np.percentile(means, [2.5, 97.5])]
    assert table[["x", "x_low", "x_high"]].tolist() == pytest.approx(expected)
    assert "document" not in table


def test_windows_of_one_document_are_worth_less_than_as_many_documents():
    rows, _ = of_documents()
    copied = pd.concat([rows.assign(sequence=rows["sequence"] + 20 * copy) for copy in range(4)])
    by_window, by_document = (
        width(stats.summarise(part), "x").item() for part in (copied.drop(columns="document"), copied)
    )
    assert by_document == pytest.approx(width(stats.summarise(rows), "x").item())  # four copies tell nothing new
    assert by_document > 1.5 * by_window


def test_each_sequence_a_document_of_its_own_is_the_plain_bootstrap():
    sequences = sequences_of(12)
    alone = sequences.assign(document=100 - sequences["sequence"])
    columns = ["x", "x_low", "x_high"]
    assert stats.documents_in(sequences).tolist() == list(range(12))
    assert stats.summarise(alone)["x"].tolist() == stats.summarise(sequences)["x"].tolist()
    in_order = sequences.assign(document=100 + sequences["sequence"])
    assert stats.summarise(in_order)[columns].equals(stats.summarise(sequences)[columns])


@pytest.mark.parametrize(("n_documents", "drawn_together"), [(7, 1), (8, 4)])
def test_of_too_few_documents_the_windows_are_drawn(n_documents, drawn_together):
    documents = np.repeat(np.arange(n_documents) * 10, 4)
    assert np.bincount(stats.clusters(documents)).tolist() == [drawn_together] * (4 * n_documents // drawn_together)
