"""CKA against its textbook definition, and on vectors whose similarity one knows."""

from itertools import permutations

import pandas as pd
import pytest
import torch
from checkpoints import KINDS, VOCABULARY

from helpers.beyond import similarity
from helpers.errors import InputError


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def textbook_hsic(k: torch.Tensor, l: torch.Tensor) -> float:  # noqa: E741
    """The mean over all ordered quadruples of different tokens of k(i, j) [l(i, j) + l(q, r) - 2 l(i, q)]."""
    values = [float(k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q])) for i, j, q, r in permutations(range(len(k)), 4)]
    return sum(values) / len(values)


def test_hsic_is_the_mean_over_quadruples():
    layers = noise(3, 7, 4) + 2.0  # not centred: the estimate must not mind
    grams = layers @ layers.mT
    found = similarity.unbiased_hsic(grams)
    for a in range(3):
        for b in range(3):
            assert found[a, b].item() == pytest.approx(textbook_hsic(grams[a], grams[b]), rel=1e-9)


def test_cka_is_normalised_hsic_whatever_the_mean_of_the_vectors():
    layers = noise(2, 7, 4)
    layers[1] += layers[0]
    grams = layers @ layers.mT
    own = [textbook_hsic(gram, gram) for gram in grams]
    expected = textbook_hsic(*grams) / (own[0] * own[1]) ** 0.5
    for shift in (0.0, 1e6):
        assert similarity.cka(layers + shift)[0, 1].item() == pytest.approx(expected, rel=1e-6)


def test_rotation_one_scale_and_a_shift_change_nothing():
    vectors = noise(50, 8)
    rotation, _ = torch.linalg.qr(noise(8, 8, seed=1))
    found = similarity.cka(torch.stack([vectors, 3 * vectors @ rotation + 5, vectors * torch.arange(8)]))
    assert found[0, 1].item() == pytest.approx(1)
    assert found[0, 2].item() < 0.95  # stretched along its axes, it is another geometry


def test_independent_layers_are_not_alike_where_the_plain_estimate_would_say_so():
    """100 tokens in 200 dimensions: the biased estimate is near 2/3, the unbiased one 0 on average, and both signs."""
    found, plain = [], []
    for seed in range(20):
        layers = noise(2, 100, 200, seed=seed)
        found.append(similarity.cka(layers)[0, 1].item())
        centred = layers - layers.mean(1, keepdim=True)
        a, b = centred @ centred.mT
        plain.append(((a * b).sum() / (a.norm() * b.norm())).item())
    assert min(plain) > 0.6
    assert abs(sum(found) / 20) < 0.01
    assert min(found) < 0 < max(found)


def test_a_layer_that_says_the_same_of_all_tokens_has_no_similarity_to_anything():
    found = similarity.cka(torch.stack([torch.ones(10, 4, dtype=torch.float64), noise(10, 4)]))
    assert found[0].isnan().all()
    assert found[1, 1].item() == pytest.approx(1)


def test_three_tokens_are_too_few():
    with pytest.raises(InputError, match="at least 4 tokens, here are 3") as refused:
        similarity.cka(noise(2, 3, 4))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
def test_streams_are_what_enters_the_blocks_and_leaves_the_last(kind, bridges):
    """At all tokens but BOS, sequence by sequence, whatever the batches."""
    bridge, tokens = bridges[kind], torch.arange(3 * 9).reshape(3, 9)
    _, cache = bridge.run_with_cache(tokens)
    hooks = [*(f"blocks.{layer}.hook_in" for layer in range(4)), "blocks.3.hook_out"]
    for batch_size in ("auto", 2):
        found = similarity.sampled_streams(bridge, tokens, batch_size)
        assert found.shape == (5, 24, 64)
        for row, hook in zip(found, hooks, strict=True):
            torch.testing.assert_close(row, cache[hook][:, 1:].flatten(0, 1), rtol=0, atol=1e-4)


def test_a_sample_is_spread_over_all_sequences(bridges, monkeypatch):
    bridge, tokens = bridges["gpt2"], torch.arange(4 * 9).reshape(4, 9)
    everything = similarity.sampled_streams(bridge, tokens)
    monkeypatch.setattr(similarity, "SAMPLE", 8)
    sampled = similarity.sampled_streams(bridge, tokens, 3)
    torch.testing.assert_close(sampled, everything[:, ::4], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_the_table_has_all_pairs_of_streams_and_of_writes(kind, bridges):
    bridge, tokens = bridges[kind], torch.arange(3 * 9).reshape(3, 9)
    table = similarity.sweep(bridge, tokens)
    assert table.groupby("kind").size().to_dict() == {"residual": 25, "written": 16}
    _, cache = bridge.run_with_cache(tokens)
    written = [cache[f"blocks.{n}.hook_out"] - cache[f"blocks.{n}.hook_in"] for n in (1, 3)]
    expected = similarity.cka(torch.stack([vectors[:, 1:].flatten(0, 1) for vectors in written]))[0, 1].item()
    by_pair = table.set_index(["kind", "layer_a", "layer_b"])["cka"]
    assert by_pair["written", 1, 3] == pytest.approx(expected, abs=1e-3)
    assert by_pair["written", 3, 1] == pytest.approx(by_pair["written", 1, 3])
    assert all(
        by_pair[which, layer, layer] == pytest.approx(1) for which in ("residual", "written") for layer in range(4)
    )


def test_a_block_that_writes_nothing_leaves_streams_equal_and_its_own_row_empty(bridges):
    bridge, tokens = bridges["neox_sequential"], torch.arange(3 * 9).reshape(3, 9)
    entering = []
    hooks = [
        ("blocks.1.hook_in", lambda residual, hook: entering.append(residual)),
        ("blocks.1.hook_out", lambda residual, hook: entering.pop()),
    ]
    with bridge.hooks(fwd_hooks=hooks):
        table = similarity.sweep(bridge, tokens).set_index(["kind", "layer_a", "layer_b"])["cka"]
    assert table["residual", 1, 2] == pytest.approx(1)
    assert pd.isna(table["written", 1, 0])
    assert table["residual", 2, 3] < 0.999


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_the_papers_similarity_is_that_of_each_sequences_last_token(kind, bridges):
    bridge, tokens = bridges[kind], torch.randint(VOCABULARY, (12, 7), generator=torch.Generator().manual_seed(0))
    _, cache = bridge.run_with_cache(tokens)
    hooks = [*(f"blocks.{layer}.hook_in" for layer in range(4)), "blocks.3.hook_out"]
    ends = torch.stack([cache[hook][:, -1] for hook in hooks]).double()
    torch.testing.assert_close(similarity.last_tokens(bridge, tokens, 5).double(), ends, rtol=0, atol=1e-4)
    table = similarity.sweep_last(bridge, tokens)
    assert set(table["kind"]) == {"last_token"} and len(table) == 25
    centred = ends - ends.mean(1, keepdim=True)
    grams = centred @ centred.mT
    expected = (
        textbook_hsic(grams[1], grams[3])
        / (textbook_hsic(grams[1], grams[1]) * textbook_hsic(grams[3], grams[3])) ** 0.5
    )
    found = table.set_index(["layer_a", "layer_b"])["cka"]
    assert found[1, 3] == pytest.approx(expected, abs=1e-4)


def test_of_many_sequences_evenly_spaced_ones_are_taken(bridges, monkeypatch):
    bridge, tokens = bridges["gpt2"], torch.arange(8 * 9).reshape(8, 9)
    everything = similarity.last_tokens(bridge, tokens)
    monkeypatch.setattr(similarity, "SAMPLE", 4)
    torch.testing.assert_close(similarity.last_tokens(bridge, tokens), everything[:, ::2], rtol=0, atol=1e-5)
