"""Neurons fixed at their mean: against a plain model that is altered by hand, and where nothing must change."""

import numpy as np
import pandas as pd
import plain_mlps
import pytest
import torch
from checkpoints import KINDS

from helpers import blocks, metrics, models
from helpers.beyond import ablation, neuron_sets
from helpers.engine import streams

TOKENS = torch.arange(3 * 12).reshape(3, 12)
CHOSEN = pd.DataFrame({"layer": [1, 3, 1, 2], "neuron": [7, 40, 3, 11], "mean_activation": [0.3, -1.5, 2.0, 0.0]})


def as_sets(chosen: pd.DataFrame) -> pd.DataFrame:
    return chosen.assign(kind="prediction", n_neurons=len(chosen), set=0)


@pytest.mark.parametrize("kind", KINDS)
def test_ablation_is_what_a_plain_model_with_altered_activations_does(kind, bridges, checkpoints):
    """No block is rerun from the middle and nothing of ours is used: the last maps are handed other activations."""
    found = ablation.sweep(bridges[kind], TOKENS, as_sets(CHOSEN), batch_size=2)
    plain, last_maps = plain_mlps.load(checkpoints[kind])
    intact = plain(TOKENS, use_cache=False).logits[:, 1:-1]

    def alter(layer):
        def hook(_module, args):
            values = args[0].clone()
            for neuron in CHOSEN[CHOSEN["layer"] == layer].itertuples():
                values[:, 1:, neuron.neuron] = neuron.mean_activation
            return (values,)

        return hook

    for layer, last_map in last_maps.items():
        last_map.register_forward_pre_hook(alter(layer))
    altered = plain(TOKENS, use_cache=False).logits[:, 1:-1]
    loss, entropy = (
        (measure(altered) - measure(intact)).mean(-1)
        for measure in (lambda logits: metrics.next_token_loss(logits, TOKENS[:, 2:]), metrics.entropy_bits)
    )
    assert found["sequence"].tolist() == [0, 1, 2]
    assert found["loss_change_nats"].tolist() == pytest.approx(loss.tolist(), abs=2e-4)
    assert found["entropy_change_bits"].tolist() == pytest.approx(entropy.tolist(), abs=2e-4)
    assert loss.abs().max() > 0.01  # it does something


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_no_neurons_change_nothing(kind, bridges):
    bridge = bridges[kind]
    inputs = blocks.record_inputs(bridge, TOKENS)
    rows = streams.intact_streams(bridge, TOKENS, inputs)
    assert torch.equal(ablation.run_ablated(bridge, rows, inputs, CHOSEN[:0]), rows[-1])


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_a_neuron_that_is_always_at_its_mean_changes_nothing(kind, bridges):
    """Only its values at BOS differ, and those are neither averaged nor replaced."""
    bridge = bridges[kind]

    def fix(activation, hook):
        fixed = activation.clone()
        fixed[:, :, 7] = 0.8
        fixed[:, 0, 7] = 50
        return fixed

    with bridge.hooks(fwd_hooks=[("blocks.1.mlp.hook_post", fix)]):
        profiles = neuron_sets.profiles(bridge, TOKENS, batch_size=2)
        constant = profiles[(profiles["layer"] == 1) & (profiles["neuron"] == 7)]
        found = ablation.sweep(bridge, TOKENS, as_sets(constant))
    assert constant["mean_activation"].tolist() == [pytest.approx(0.8)]
    assert constant["activation_spread"].item() == pytest.approx(0, abs=1e-3)
    assert found[list(ablation.CHANGES)].abs().to_numpy().max() < 1e-5


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_run_does_not_depend_on_what_ran_before(kind, bridges):
    both = pd.concat([as_sets(CHOSEN[:1]), as_sets(CHOSEN)])
    together = ablation.sweep(bridges[kind], TOKENS, both)
    alone = ablation.sweep(bridges[kind], TOKENS, as_sets(CHOSEN))
    pd.testing.assert_frame_equal(together[together["n_neurons"] == 4].reset_index(drop=True), alone)


def test_the_table_keeps_special_and_random_sets_apart():
    rows = pd.DataFrame(
        [
            (sequence, "prediction", 4, number, change + 0.01 * sequence, -change)
            for sequence in range(5)
            for number, change in enumerate([1.0, 0.1, 0.2, 0.6])
        ],
        columns=["sequence", "kind", "n_neurons", "set", *ablation.CHANGES],
    )
    sets = pd.DataFrame({"kind": "prediction", "n_neurons": 4, "set": [0, 0, 0, 0, 1], "kurtosis": [30, 11, 9, 10, 50]})
    (row,) = ablation.summarise(rows, sets).to_dict("records")
    assert row["loss_change_nats"] == pytest.approx(1.02)
    assert 1.0 < row["loss_change_nats_low"] < 1.02 < row["loss_change_nats_high"] < 1.04
    assert row["loss_change_nats_random"] == pytest.approx(0.32)
    assert row["loss_change_nats_random_smallest"] == pytest.approx(0.12)
    assert row["loss_change_nats_random_largest"] == pytest.approx(0.62)
    assert row["entropy_change_bits_random_smallest"] == pytest.approx(-0.6)
    assert row["n_above_threshold"] == 2


@pytest.mark.parametrize("kind", ["gpt2", "phi"])
def test_half_precision_is_measured_in_float32(kind, checkpoints):
    """The changes are those of logits computed in float64 from the same residuals; rounded logits would be seen."""
    bridge, tokens = models.load(str(checkpoints[kind]), dtype="bfloat16"), TOKENS[:, :8]
    rows = ablation.sweep(bridge, tokens, as_sets(CHOSEN))

    def replace(layer):
        def hook(activation, hook):
            replaced = activation.clone()
            for neuron in CHOSEN[CHOSEN["layer"] == layer].itertuples():
                replaced[:, 1:, neuron.neuron] = neuron.mean_activation
            return replaced

        return hook

    hooks = [(f"blocks.{layer}.mlp.hook_post", replace(layer)) for layer in set(CHOSEN["layer"])]
    intact, ablated = (final_hidden(bridge, tokens, some) for some in ([], hooks))
    measures = {"loss_change_nats": lambda logits: metrics.next_token_loss(logits, tokens[:, 2:])}
    measures["entropy_change_bits"] = metrics.entropy_bits
    for name, measure in measures.items():
        exact, rounded = (
            (measure(unembed(ablated)) - measure(unembed(intact))).mean(-1).double().numpy()
            for unembed in (lambda hidden: hidden.double() @ bridge.W_U.double() + bridge.b_U.double(), bridge.unembed)
        )
        assert np.abs(rounded - exact).max() > 1e-3
        np.testing.assert_allclose(rows[name], exact, atol=1e-5)


def final_hidden(bridge, tokens, hooks) -> torch.Tensor:
    """What predictions are read off while ``hooks`` are in place."""
    kept = []
    keep = ("ln_final.hook_in", lambda residual, hook: kept.append(residual))
    bridge.run_with_hooks(tokens, fwd_hooks=[*hooks, keep], return_type=None, use_cache=False)
    return bridge.ln_final(kept[0][:, 1:-1])
