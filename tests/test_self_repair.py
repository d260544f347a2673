"""Direct and total effects against the raw model, and where one knows who repairs."""

import pytest
import torch
from checkpoints import KINDS, save, some_tokens
from transformers import AutoModelForCausalLM

from helpers import blocks, models
from helpers.beyond import self_repair
from reference import RawModel, predicting

PARTS = ("repair_by_norm_nats", "repair_by_blocks_nats")


@pytest.mark.parametrize("kind", KINDS)
def test_effects_are_those_computed_by_hand_from_the_raw_model(kind, bridges, checkpoints):
    """Float64, one position at a time: the last norm's arithmetic written out, layers removed from the list."""
    raw, tokens = RawModel(checkpoints[kind]), some_tokens(n_sequences=2)
    table = self_repair.sweep(bridges[kind], tokens).set_index(["sequence", "layer"])
    weight, bias = raw.norm.weight, getattr(raw.norm, "bias", None)
    eps = getattr(raw.norm, "eps", None) or raw.norm.variance_epsilon
    for number, sequence in enumerate(tokens):
        intact, residuals = raw.log_probabilities(sequence), raw.residuals(sequence)
        for layer in range(4):
            with raw.running([other for other in range(4) if other != layer]):
                recomputed = raw.log_probabilities(sequence)
            direct, own, total = [], [], []
            for t in predicting(sequence):
                label, final = sequence[t + 1], raw.centred(residuals[-1][t])
                left = final - raw.centred(residuals[layer + 1][t] - residuals[layer][t])
                for losses, scaled_like in ((direct, final), (own, left)):
                    hidden = left / (scaled_like.square().mean() + eps).sqrt() * weight + (0 if bias is None else bias)
                    losses.append(float(intact[t, label] - raw.head(hidden).log_softmax(-1)[label]))
                total.append(float(intact[t, label] - recomputed[t, label]))
            means = [sum(losses) / len(losses) for losses in (direct, own, total)]
            expected = {
                "direct_effect_nats": means[0],
                "total_effect_nats": means[2],
                "self_repair_nats": means[0] - means[2],
                "repair_by_norm_nats": means[0] - means[1],
                "repair_by_blocks_nats": means[1] - means[2],
            }
            assert table.loc[(number, layer)].to_dict() == pytest.approx(expected, abs=2e-4), (number, layer)


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_after_the_last_block_only_the_norm_can_repair(kind, bridges):
    last = self_repair.sweep(bridges[kind], some_tokens(n_sequences=2)).query("layer == 3")
    assert last["repair_by_blocks_nats"].abs().max() < 1e-4
    assert last["repair_by_norm_nats"].abs().min() > 1e-3


def test_where_later_blocks_do_nothing_the_total_effect_is_direct(checkpoints, tmp_path):
    """Layers 2 and 3 silenced: what layer 1 does, it does directly; layer 0 is still read by layer 1."""
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
        for layer in (2, 3):
            model.model.layers[layer].self_attn.o_proj.weight.zero_()
            model.model.layers[layer].mlp.down_proj.weight.zero_()
    save(model, tmp_path)
    table = self_repair.sweep(models.load(str(tmp_path)), some_tokens(n_sequences=2)).set_index("layer")
    assert table.loc[1, "repair_by_blocks_nats"].abs().max() < 1e-4
    assert table.loc[1, "total_effect_nats"].abs().min() > 1e-2
    assert table.loc[[2, 3]].drop(columns="sequence").abs().to_numpy().max() < 1e-4
    assert table.loc[0, "repair_by_blocks_nats"].abs().min() > 1e-2


@pytest.mark.parametrize("kind", ["gpt2", "neox_sequential", "qwen2"])
def test_a_block_that_restores_the_stream_repairs_everything_before_it(kind, bridges):
    """Planted: whatever enters block 2, it leaves the intact stream. Then nothing before it has a total effect."""
    bridge, tokens = bridges[kind], some_tokens(n_sequences=1)
    inputs = blocks.record_inputs(bridge, tokens)
    restored = blocks.run_blocks(bridge, tokens, range(3), inputs)
    restoring = ("blocks.2.hook_out", lambda residual, hook: restored.expand_as(residual).clone())
    intact = self_repair.sweep(bridge, tokens).set_index("layer")
    with bridge.hooks(fwd_hooks=[restoring]):
        table = self_repair.sweep(bridge, tokens).set_index("layer")
    before = table.loc[[0, 1]]
    assert before["total_effect_nats"].abs().max() < 1e-5
    assert before["direct_effect_nats"].abs().min() > 1e-3
    direct = intact.loc[[0, 1], "direct_effect_nats"].tolist()
    assert before["self_repair_nats"].tolist() == pytest.approx(direct, abs=1e-4)


def test_repair_is_what_the_direct_effect_exceeds_the_total_by():
    """A block whose output is worth 3 nats, 2 with its own scale, and whose loss costs 0.5: 2.5 repaired."""
    found = self_repair.effects(*(torch.tensor([value]) for value in (3.0, 2.0, 0.5)))
    assert {name: value.item() for name, value in found.items()} == {
        "direct_effect_nats": 3.0,
        "total_effect_nats": 0.5,
        "self_repair_nats": 2.5,
        "repair_by_norm_nats": 1.0,
        "repair_by_blocks_nats": 1.5,
    }


def test_batches_change_nothing_and_every_layer_has_a_row_per_sequence(bridges):
    bridge, tokens = bridges["phi"], some_tokens(n_sequences=3)
    one, other = self_repair.sweep(bridge, tokens), self_repair.sweep(bridge, tokens, batch_size=2)
    keys = ["layer", "sequence"]
    one, other = (table.set_index(keys).sort_index() for table in (one, other))
    assert one.index.tolist() == [(layer, sequence) for layer in range(4) for sequence in range(3)]
    assert (one - other).abs().to_numpy().max() < 1e-4
    assert (one[list(PARTS)].sum(axis=1) - one["self_repair_nats"]).abs().max() < 1e-9


def test_half_precision_gives_nearly_the_same(bridges, checkpoints):
    half, tokens = models.load(str(checkpoints["neox_parallel"]), dtype="bfloat16"), some_tokens(n_sequences=2)
    exact, rounded = (self_repair.sweep(bridge, tokens) for bridge in (bridges["neox_parallel"], half))
    assert rounded["direct_effect_nats"].tolist() == pytest.approx(exact["direct_effect_nats"].tolist(), abs=0.05)
