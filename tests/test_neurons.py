"""Kurtosis and skew of distributions known in closed form."""

import numpy as np
import pandas as pd
import pytest
import torch
from largest import largest_bytes

from helpers import neurons


def moments_of(cosines: torch.Tensor) -> tuple[float, float]:
    """Kurtosis and skew that a neuron gets whose cosines with the tokens are these."""
    cosines = cosines.double()
    unembedding = torch.stack([cosines, (1 - cosines**2).sqrt()]).float()  # unit vectors in a plane
    kurtosis, skew = neurons.cosine_moments(torch.tensor([[2.0, 0.0]]), unembedding)
    return kurtosis.item(), skew.item()


def normal(n: int) -> torch.Tensor:
    """Evenly spaced quantiles of a normal distribution, well inside -1 .. 1."""
    return torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n) / 10


def test_a_normal_distribution_has_kurtosis_3_and_no_skew():
    assert moments_of(normal(20_000)) == pytest.approx((3, 0), abs=0.01)


def test_a_uniform_distribution_has_less():
    assert moments_of(torch.linspace(-0.9, 0.9, 1001)) == pytest.approx((1.8, 0), abs=1e-4)


@pytest.mark.parametrize("n_tokens", [20, 500])
def test_one_token_alone_has_the_moments_of_a_rare_event(n_tokens):
    rare, usual = 1 / n_tokens, 1 - 1 / n_tokens
    expected = (1 - 3 * rare * usual) / (rare * usual), (usual - rare) / (rare * usual) ** 0.5
    alone = torch.zeros(n_tokens)
    alone[3] = 0.8
    assert moments_of(alone) == pytest.approx(expected, rel=1e-4)


def test_lowering_a_token_instead_of_raising_it_turns_the_skew_around():
    cosines = normal(500)
    cosines[7] = 0.9
    (kurtosis, skew), (mirrored_kurtosis, mirrored_skew) = moments_of(cosines), moments_of(-cosines)
    assert kurtosis > 10 and skew > 0
    assert mirrored_kurtosis == pytest.approx(kurtosis)
    assert mirrored_skew == pytest.approx(-skew)


def test_moments_agree_with_a_loop_over_the_vocabulary():
    cosines = (normal(1000) ** 2 + 0.1).tolist()
    mean = sum(cosines) / len(cosines)
    m2, m3, m4 = (sum((cosine - mean) ** power for cosine in cosines) / len(cosines) for power in (2, 3, 4))
    assert moments_of(torch.tensor(cosines)) == pytest.approx((m4 / m2**2, m3 / m2**1.5), rel=1e-4)


def test_neither_length_nor_order_of_vectors_matters():
    generator = torch.Generator().manual_seed(0)
    directions, tokens = torch.randn(5, 16, generator=generator), torch.randn(16, 300, generator=generator)
    expected = neurons.cosine_moments(directions, neurons.unit_columns(tokens))
    lengths, shuffled = torch.rand(300, generator=generator) + 0.1, torch.randperm(300, generator=generator)
    found = neurons.cosine_moments(100 * directions, neurons.unit_columns((tokens * lengths)[:, shuffled]))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_token_without_a_vector_has_cosine_0_with_everything():
    columns = neurons.unit_columns(torch.tensor([[3.0, 0.0], [4.0, 0.0]]))
    torch.testing.assert_close(columns, torch.tensor([[0.6, 0.0], [0.8, 0.0]]))


def test_moments_are_computed_in_float64_a_few_directions_at_a_time(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    directions = torch.randn(7, 32, generator=generator)
    tokens = neurons.unit_columns(torch.randn(32, 2000, generator=generator))
    kurtosis, skew = neurons.cosine_moments(directions, tokens)
    assert kurtosis.dtype == skew.dtype == torch.float64
    cosines = (directions.double() @ tokens.double() / directions.double().norm(dim=1, keepdim=True)).numpy()
    z = (cosines - cosines.mean(1, keepdims=True)) / cosines.std(1, keepdims=True)
    assert kurtosis.tolist() == pytest.approx((z**4).mean(1), rel=1e-5)
    assert skew.tolist() == pytest.approx((z**3).mean(1), rel=1e-5, abs=1e-6)
    monkeypatch.setattr(neurons, "CHUNK_ROWS", 3)
    monkeypatch.setattr(neurons, "BLOCK_ELEMENTS", 2 * 2000)
    in_chunks = neurons.cosine_moments(directions, tokens)
    torch.testing.assert_close(in_chunks, (kurtosis, skew), rtol=1e-5, atol=1e-6)


def test_a_narrow_spread_far_from_0_keeps_its_digits():
    """All cosines near 0.5: raw moments, or float32 sums, would lose the differences."""
    cosines = 0.5 + normal(20_000) / 100
    z = ((cosines - cosines.mean()) / cosines.std(correction=0)).numpy()
    assert moments_of(cosines) == pytest.approx(((z**4).mean(), (z**3).mean()), rel=1e-3, abs=1e-3)


def test_counting_takes_kurtosis_above_the_threshold_and_the_sign_of_the_skew():
    table = pd.DataFrame(
        {
            "layer": [0, 0, 0, 0, 2, 2],
            "neuron": [0, 1, 2, 3, 0, 1],
            "kurtosis": [11.0, 12.0, 10.0, 3.0, 50.0, 9.0],
            "skew": [1.0, -2.0, 4.0, 5.0, -0.1, -9.0],
        }
    )
    columns = ["layer", "n_neurons", "n_prediction", "n_suppression"]
    assert neurons.count(table)[columns].values.tolist() == [[0, 4, 1, 1], [2, 2, 0, 1]]
    assert neurons.count(table, threshold=2.0)[columns].values.tolist() == [[0, 4, 3, 1], [2, 2, 0, 2]]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_random_threshold_is_passed_by_the_share_it_names(kind, bridges):
    bridge = bridges[kind]
    common = neurons.random_threshold(bridge, quantile=0.9, n_directions=500)
    assert common == neurons.random_threshold(bridge, quantile=0.9, n_directions=500)
    assert common < neurons.random_threshold(bridge, quantile=0.99, n_directions=500)
    directions = torch.from_numpy(np.random.default_rng(1).standard_normal((500, bridge.cfg.d_model))).float()
    if kind == "gpt2":
        directions -= directions.mean(-1, keepdim=True)
    kurtosis, _ = neurons.cosine_moments(directions, neurons.unit_columns(bridge.W_U))
    assert (kurtosis > common).double().mean().item() == pytest.approx(0.1, abs=0.05)


def test_every_neuron_of_every_layer_has_a_row(bridges):
    table = neurons.moments(bridges["qwen2"])
    assert table.groupby("layer")["neuron"].agg(list).tolist() == [list(range(160))] * 4
    assert np.isfinite(table[["kurtosis", "skew"]]).all(axis=None)


def test_the_cosines_of_all_neurons_never_exist_at_the_same_time():
    """GPT-2 XL's 6,400 neurons a layer against 50,257 tokens would be 1.3 GB in float32, 2.6 in float64."""
    generator = torch.Generator().manual_seed(0)
    directions, tokens = torch.randn(2000, 8, generator=generator), torch.randn(8, 3000, generator=generator)
    largest = largest_bytes(lambda: neurons.cosine_moments(directions, tokens))
    assert largest == 4 * neurons.CHUNK_ROWS * 3000
    assert neurons.CHUNK_ROWS * 4 * 50_257 < 2**30 / 8


@pytest.mark.parametrize(("width", "vocabulary"), [(24, 2000), (64, 500), (64, 4000), (200, 300)])
def test_one_token_has_the_closed_form_against_an_isotropic_unembedding(width, vocabulary):
    generator = torch.Generator().manual_seed(width)
    unembedding = neurons.unit_columns(torch.randn(width, vocabulary, generator=generator))
    kurtosis, skew = neurons.cosine_moments(unembedding.T[:200], unembedding)
    assert neurons.one_token_kurtosis(width, vocabulary) == pytest.approx(kurtosis.mean().item(), rel=0.05)
    assert skew.mean() > 0


def test_for_a_large_vocabulary_one_token_has_3_plus_the_square_of_the_width_over_its_size():
    for width, vocabulary in ((768, 10**6), (2000, 10**7)):
        assert neurons.one_token_kurtosis(width, vocabulary) == pytest.approx(3 + width**2 / vocabulary, rel=0.01)
    assert neurons.one_token_kurtosis(10**6, 100) == pytest.approx(98.01, abs=0.1)  # every token at right angles
    assert neurons.one_token_kurtosis(768, 50_257) == pytest.approx(14.3, abs=0.1)  # GPT-2


def test_the_moments_of_tokens_are_those_of_neurons_that_write_their_columns(bridges):
    table = neurons.token_moments(bridges["qwen2"], most=40)
    W_U = bridges["qwen2"].W_U
    assert table["token"].tolist() == [number * W_U.shape[1] // 40 for number in range(40)]
    for token, kurtosis, skew in table.iloc[[0, 7, 39]].itertuples(index=False):
        cosines = torch.cosine_similarity(W_U[:, int(token), None].double(), W_U.double(), dim=0).numpy()
        z = (cosines - cosines.mean()) / cosines.std()
        assert (kurtosis, skew) == pytest.approx(((z**4).mean(), (z**3).mean()), rel=1e-3, abs=1e-4)
    assert len(neurons.token_moments(bridges["qwen2"], most=10**6)) == W_U.shape[1]


def test_layer_norm_takes_a_dimension_away(bridges):
    for kind, free in (("gpt2", 63), ("llama", 64)):
        assert neurons.free_dimensions(bridges[kind]) == free
        assert torch.linalg.matrix_rank(bridges[kind].W_U, rtol=1e-4) == free
