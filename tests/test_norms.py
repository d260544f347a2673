"""Norms of vectors whose length one knows, and of what a model really writes."""

import pytest
import torch
from checkpoints import KINDS, LAYER_NORM_KINDS

from helpers import norms
from helpers.errors import InputError

TOKENS = torch.arange(3 * 9).reshape(3, 9)


def test_norms_and_ratios_of_known_vectors():
    parts = {
        "mlp": torch.tensor([[[3.0, 4.0], [6.0, 8.0]]]),
        "attention": torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]),
        "residual": torch.tensor([[[10.0, 0.0], [0.0, 40.0]]]),
    }
    found = {name: value.tolist() for name, value in norms.norms(parts).items()}
    assert found == {
        "mlp_norm": [7.5],
        "attention_norm": [1],
        "residual_norm": [25],
        "mlp_to_residual": [(5 / 10 + 10 / 40) / 2],  # mean of ratios, not ratio of means
        "attention_to_residual": [pytest.approx((1 / 10 + 1 / 40) / 2)],
    }


def test_each_sequence_has_its_own_mean():
    vectors = torch.ones(3, 5, 4) * torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    found = norms.norms({"mlp": vectors, "attention": vectors, "residual": 2 * vectors})
    assert found["mlp_norm"].tolist() == [2, 4, 6]
    assert found["mlp_to_residual"].tolist() == [0.5, 0.5, 0.5]


def test_half_precision_is_measured_in_float32():
    parts = dict.fromkeys(("mlp", "attention", "residual"), torch.full((1, 2, 1000), 0.1).bfloat16())
    found = norms.norms(parts)["mlp_norm"]
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(0.1 * 1000**0.5, rel=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_residual_stream_is_measured_where_it_enters_the_block(kind, bridges):
    bridge = bridges[kind]
    table = norms.sweep(bridge, TOKENS).set_index(["layer", "sequence"]).sort_index()
    for layer in range(bridge.cfg.n_layers):
        entering = bridge(TOKENS, stop_at_layer=layer, use_cache=False)[:, 1:]
        expected = entering.norm(dim=-1).mean(-1).tolist()
        assert table.loc[layer, "residual_norm"].tolist() == pytest.approx(expected, rel=1e-5)
        if kind in LAYER_NORM_KINDS:
            assert entering.mean(-1).abs().max() < 1e-4  # centred, as the table says


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_bos_is_left_out(kind, bridges):
    """However large the embedding of BOS, the first layer's residual norm does not see it."""
    bridge = bridges[kind]
    huge = ("hook_embed", lambda embedding, hook: torch.cat([1e4 * embedding[:, :1], embedding[:, 1:]], dim=1))
    with bridge.hooks(fwd_hooks=[huge]):
        seen = norms.sweep(bridge, TOKENS)
    expected = norms.sweep(bridge, TOKENS)
    for column in ("residual_norm", "mlp_norm"):
        first, ordinary = (table.loc[table["layer"] == 0, column].tolist() for table in (seen, expected))
        assert max(first) < 2 * max(ordinary)


def test_a_block_that_adds_something_else_is_refused(bridges):
    bridge = bridges["neox_sequential"]
    more = ("blocks.2.hook_out", lambda residual, hook: 1.01 * residual)
    with bridge.hooks(fwd_hooks=[more]), pytest.raises(InputError, match=r"block 2 .* adds more than") as refused:
        norms.sweep(bridge, TOKENS)
    assert "\n" not in str(refused.value)
    norms.sweep(bridge, TOKENS)
