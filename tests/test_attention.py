"""Attention patterns drawn by hand, whose answers one can see."""

import pytest
import torch

import reference
from helpers import attention

CONTEXT = 10
N_CELLS = sum(CONTEXT - offset for offset in range(1, 6))  # on the first five sub-diagonals


def pattern_of(*heads: torch.Tensor) -> torch.Tensor:
    """One sequence [1, head, query, key]."""
    return torch.stack(heads)[None]


def looking_back(distance: int, context: int = CONTEXT) -> torch.Tensor:
    """Every query attends to the token ``distance`` before it, the first few to themselves."""
    keys = torch.tensor([query - distance if query >= distance else query for query in range(context)])
    return torch.nn.functional.one_hot(keys, context).float()


def uniform(context: int) -> torch.Tensor:
    """Every query attends to itself and all before it alike."""
    return torch.ones(context, context).tril() / torch.arange(1, context + 1)[:, None]


def on_bos() -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.zeros(CONTEXT, dtype=torch.long), CONTEXT).float()


def measures(*heads: torch.Tensor) -> dict[str, float]:
    return {name: value.item() for name, value in attention.local_attention(pattern_of(*heads)).items()}


@pytest.mark.parametrize("context", [8, 10, 50])
def test_uniform_attention_gives_the_closed_form(context):
    found = measures(uniform(context))
    cells = [1 / (query + 1) for offset in range(1, 6) for query in range(offset, context)]
    assert found["attention_per_offset"] == pytest.approx(sum(cells) / len(cells))
    shares = [5 / (query + 1) for query in range(5, context)]
    assert found["attention_share"] == pytest.approx(sum(shares) / len(shares))
    beyond_bos = [query / (query + 1) for query in range(6, context)]
    assert found["attention_share_no_bos"] == pytest.approx(sum(shares[1:]) / sum(beyond_bos))


@pytest.mark.parametrize("distance", range(1, 6))
def test_a_head_that_looks_back_up_to_five_tokens_is_all_local(distance):
    found = measures(looking_back(distance))
    assert found["attention_share"] == found["attention_share_no_bos"] == 1
    assert found["attention_per_offset"] == pytest.approx((CONTEXT - distance) / N_CELLS)


@pytest.mark.parametrize("distance", [0, 6, 7])
def test_a_head_that_looks_at_itself_or_further_back_is_not_local(distance):
    assert set(measures(looking_back(distance)).values()) == {0}


def test_attention_to_bos_is_local_only_while_bos_is_near():
    found = measures(on_bos())
    assert found["attention_per_offset"] == pytest.approx(5 / N_CELLS)
    assert found["attention_share"] == pytest.approx(1 / (CONTEXT - 5))
    assert found["attention_share_no_bos"] == 0


def test_attention_to_bos_does_not_change_the_share_without_bos():
    half_on_bos = (uniform(CONTEXT) + 3 * on_bos()) / 4
    expected = measures(uniform(CONTEXT))
    found = measures(half_on_bos)
    assert found["attention_share_no_bos"] == pytest.approx(expected["attention_share_no_bos"])
    assert found["attention_share"] < expected["attention_share"] / 2


def test_heads_count_alike_whatever_they_spend_on_bos():
    sink, local = (looking_back(7) + 99 * on_bos()) / 100, looking_back(1)
    assert measures(sink, local)["attention_share_no_bos"] == pytest.approx(1 / 2)
    each = [measures(sink), measures(local)]
    for name, value in measures(sink, local).items():
        assert value == pytest.approx((each[0][name] + each[1][name]) / 2)


def test_random_patterns_agree_with_counting_cell_by_cell():
    logits = torch.randn(3, 4, 12, 12, generator=torch.Generator().manual_seed(0))
    patterns = logits.masked_fill(torch.ones(12, 12).triu(1).bool(), -torch.inf).softmax(-1)
    found = attention.local_attention(patterns)
    for sequence, heads in enumerate(patterns):
        expected = reference.mean([reference.local_attention_of(head.tolist()) for head in heads])
        assert {name: value[sequence].item() for name, value in found.items()} == pytest.approx(expected)


def test_half_precision_patterns_are_summed_in_float32():
    found = attention.local_attention(pattern_of(uniform(200)).bfloat16())
    for name, value in measures(uniform(200)).items():
        assert found[name].dtype == torch.float32
        assert found[name].item() == pytest.approx(value, rel=5e-3)


def test_a_sweep_has_one_row_per_sequence_and_layer_and_leaves_no_hook(bridges):
    bridge, tokens = bridges["neox_parallel"], torch.arange(3 * 8).reshape(3, 8)
    before = bridge(tokens, use_cache=False)
    table = attention.sweep(bridge, tokens, batch_size=2)
    keys = sorted(zip(table["sequence"], table["layer"], strict=True))
    assert keys == [(sequence, layer) for sequence in range(3) for layer in range(4)]
    shares = table.filter(like="attention")
    assert ((shares > 0) & (shares <= 1)).all(axis=None)
    assert torch.equal(bridge(tokens, use_cache=False), before)
