"""Blocks of similar layers are found where they were planted, and not where similarity only drifts."""

import numpy as np
import pytest
import torch

from helpers.beyond import similarity, similarity_blocks
from helpers.judging.claims import DOES_NOT_HOLD, HOLDS, UNDECIDED

TEN = 9  # steps between ten layer outputs
BLOCKS = [0.2] * 4 + [1.0] + [0.2] * 4
PACES = {
    "steady": [0.5] * TEN,
    "steadily faster": np.linspace(0.1, 1, TEN).tolist(),
    "steadily slower": np.linspace(1, 0.1, TEN).tolist(),
    "one change of pace": [0.1] * 4 + [0.5] * 5,
}


def drift(steps: list[float], seed: int = 0, n_sequences: int = 200) -> torch.Tensor:
    """The embedding and layer outputs, each the one before plus noise of a given size."""
    generator = torch.Generator().manual_seed(seed)
    written = [torch.randn(n_sequences, 32, generator=generator) * step for step in (1.0, 0.5, *steps)]
    return torch.stack(written).cumsum(0)


def slow_ratio(similarities: np.ndarray, layer: int, width: int) -> float:
    """Distance by distance, pair by pair."""
    across, within = 0.0, 0.0
    for distance in range(1, width):
        both = {True: [], False: []}
        for first in range(layer - width, layer + width - distance):
            crosses = first < layer <= first + distance
            both[crosses].append(max(0.0, 1 - similarities[first, first + distance]))
        across += sum(both[True]) / len(both[True])
        within += sum(both[False]) / len(both[False])
    return across / within


def test_the_best_boundary_is_that_of_a_slow_search():
    matrix = similarity.cka(drift(BLOCKS)[1:]).numpy()
    every = {
        (layer, width): slow_ratio(matrix, layer, width) for width in (3, 4, 5) for layer in range(width, 11 - width)
    }
    scores = {place: place[1] * np.log2(ratio) if ratio >= 2 else 0.0 for place, ratio in every.items()}
    layer, width = max(scores, key=scores.get)
    found = similarity_blocks.best(matrix)
    assert (found.layer, found.width) == (layer, width) == (5, 5)
    assert found.ratio == pytest.approx(every[layer, width])
    assert found.score == pytest.approx(scores[layer, width])
    assert similarity_blocks.scores(matrix[None])[0] == pytest.approx(found.score)


def test_planted_blocks_are_found_where_they_are():
    found = similarity_blocks.judge(drift(BLOCKS))
    assert found["verdict"] == HOLDS
    assert found["layer"] == 5
    assert found["share_permuted"] <= 0.05


@pytest.mark.parametrize("pace", PACES)
def test_a_drift_is_no_block(pace):
    assert similarity_blocks.judge(drift(PACES[pace]))["verdict"] == DOES_NOT_HOLD


def test_blocks_in_random_order_are_found_in_at_most_one_of_twenty():
    rows, generator = drift(BLOCKS), np.random.default_rng(1)
    whole = similarity.cka(rows[1:]).numpy()
    to_beat = np.percentile(similarity_blocks.scores(similarity_blocks._in_random_orders(whole, 0)), 95)
    orders = np.stack([generator.permutation(10) for _ in range(1000)])
    found = similarity_blocks.scores(whole[orders[:, :, None], orders[:, None, :]])
    assert np.mean(found > to_beat) < 0.08


def test_only_a_ratio_of_two_counts():
    matrix = similarity.cka(drift(PACES["steady"])[1:]).numpy()
    assert similarity_blocks.best(matrix).score == 0
    assert 0.8 < similarity_blocks.best(matrix).ratio < 1.3


def test_half_samples_spread_as_means_of_whole_samples_do():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    means = [values[half].mean().item() for half in similarity_blocks._half_samples(400, None, 0)]
    assert np.std(means) == pytest.approx(values.std().item() / 20, rel=0.15)


def test_a_half_sample_has_no_sequence_twice_and_whole_documents_but_for_the_last():
    documents = np.repeat(np.arange(40), 5)
    for half in similarity_blocks._half_samples(200, documents, 0)[:20]:
        assert len(set(half.tolist())) == len(half) == 100
        counts = np.bincount(documents[half.numpy()], minlength=40)
        assert ((counts > 0) & (counts < 5)).sum() <= 1


@pytest.mark.parametrize(("steps", "n_sequences"), [([0.3] * 3, 100), ([0.3] * TEN, 6)])
def test_few_layers_or_sequences_leave_it_undecided(steps, n_sequences):
    found = similarity_blocks.judge(drift(steps, n_sequences=n_sequences))
    assert found["verdict"] == UNDECIDED
    assert "needs" in found["reason"]


def test_layers_that_say_nothing_leave_it_undecided():
    rows = drift([0.3] * TEN)
    rows[4] = 1.0
    assert similarity_blocks.judge(rows)["verdict"] == UNDECIDED
