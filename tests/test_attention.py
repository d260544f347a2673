"""Attention patterns drawn by hand, whose answers one can see."""

import warnings

import numpy as np
import pytest
import torch
from checkpoints import KINDS

import reference
from helpers import attention, stats

CONTEXT = 10
DISTANCES = (1, 2, 4, 8, 16)
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


def random_patterns(context: int) -> torch.Tensor:
    """Three sequences, four heads, no query of which looks ahead."""
    logits = torch.randn(3, 4, context, context, generator=torch.Generator().manual_seed(0))
    return logits.masked_fill(torch.ones(context, context).triu(1).bool(), -torch.inf).softmax(-1)


def test_random_patterns_agree_with_counting_cell_by_cell():
    patterns = random_patterns(12)
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
    bridge, tokens = bridges["neox_parallel"], torch.arange(3 * 18).reshape(3, 18)
    before = bridge(tokens, use_cache=False)
    table = attention.sweep(bridge, tokens, batch_size=2)
    keys = sorted(zip(table["sequence"], table["layer"], strict=True))
    assert keys == [(sequence, layer) for sequence in range(3) for layer in range(4)]
    shares = table.filter(like="attention")
    assert ((shares > 0) & (shares <= 1)).all(axis=None)
    assert torch.equal(bridge(tokens, use_cache=False), before)


def by_distance(*heads: torch.Tensor) -> dict[int, float]:
    shares = attention.attention_by_distance(pattern_of(*heads))
    return {distance: shares[f"attention_share_{distance}"].item() for distance in DISTANCES}


@pytest.mark.parametrize("context", [2, 12, 16, 17, 30])
def test_shares_by_distance_agree_with_counting_query_by_query(context):
    patterns = random_patterns(context)
    shares = attention.attention_by_distance(patterns)
    assert list(shares) == [f"attention_share_{distance}" for distance in DISTANCES]
    for sequence, heads in enumerate(patterns):
        expected = reference.mean([reference.attention_by_distance_of(head.tolist()) for head in heads])
        actual = {name: value[sequence].item() for name, value in shares.items()}
        assert actual == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("looked_at", [1, 3, 8, 16, 17])
def test_a_head_that_looks_at_one_offset_only_gives_nothing_nearer_and_all_from_there(looked_at):
    shares = by_distance(looking_back(looked_at, context=40))
    assert shares == {distance: float(distance >= looked_at) for distance in DISTANCES}


def test_a_query_gives_more_tokens_no_less():
    """Queries with fewer than 16 predecessors look at themselves here, so that leaving them out takes nothing away."""
    patterns = random_patterns(40)
    patterns[..., :16, :] = torch.eye(16, 40)
    shares = torch.stack(list(attention.attention_by_distance(patterns).values()))
    assert (shares.diff(dim=0) > 0).all()
    assert (shares < 1).all()


def test_bos_is_a_key_like_any_other_and_the_token_itself_is_none():
    """Of the 20 queries but BOS, the first ``distance`` have BOS among their keys, the last of them alone enough."""
    on_first = torch.nn.functional.one_hot(torch.zeros(21, dtype=torch.long), 21).float()
    assert by_distance(on_first) == pytest.approx({distance: 1 / (21 - distance) for distance in DISTANCES})
    assert set(by_distance(torch.eye(21)).values()) == {0}


def test_every_head_counts_alike_at_every_distance():
    heads = looking_back(1, 40), looking_back(5, 40)
    assert by_distance(*heads) == {1: 0.5, 2: 0.5, 4: 0.5, 8: 1, 16: 1}


def test_half_precision_shares_are_summed_in_float32():
    shares = attention.attention_by_distance(pattern_of(uniform(200)).bfloat16())
    assert {value.dtype for value in shares.values()} == {torch.float32}
    expected = by_distance(uniform(200))
    for distance in DISTANCES:
        assert shares[f"attention_share_{distance}"].item() == pytest.approx(expected[distance], rel=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sweeps_shares_are_those_of_the_hugging_face_models_attentions(kind, bridges, checkpoints):
    raw = reference.RawModel(checkpoints[kind])
    tokens = reference.familiar_tokens(raw, 2, 24)
    table = attention.sweep(bridges[kind], tokens).set_index(["sequence", "layer"])
    for sequence, text in enumerate(tokens):
        for layer, pattern in enumerate(raw.run(text, output_attentions=True).attentions):
            expected = reference.mean([reference.attention_by_distance_of(head) for head in pattern[0].tolist()])
            assert table.loc[(sequence, layer), list(expected)].to_dict() == pytest.approx(expected, abs=1e-5)


def test_a_distance_that_no_query_has_is_unknown_and_the_others_are_summarised(bridges):
    sequences = attention.sweep(bridges["gpt2"], torch.arange(3 * 12).reshape(3, 12))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = stats.summarise(sequences)
    unknown = [column for column in table if table[column].isna().any()]
    assert unknown == [f"attention_share_16{end}" for end in ("", "_low", "_high")]
    means = sequences.groupby("layer")["attention_share_8"].mean()
    assert np.allclose(table["attention_share_8"], means)
    assert table["attention_share_8"].between(table["attention_share_8_low"], table["attention_share_8_high"]).all()
