"""Neurons fixed at their mean: against a plain model that is altered by hand, and where nothing must change."""

import numpy as np
import pandas as pd
import plain_mlps
import pytest
import torch
from checkpoints import KINDS

from helpers import blocks, metrics, models, neurons
from helpers.beyond import ablation, similarity
from helpers.errors import InputError

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
            for one in CHOSEN[CHOSEN["layer"] == layer].itertuples():
                values[:, 1:, one.neuron] = one.mean_activation
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
    streams = similarity.intact_streams(bridge, TOKENS, inputs)
    assert torch.equal(ablation.run_ablated(bridge, streams, inputs, CHOSEN[:0]), streams[-1])


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
        profiles = ablation.profiles(bridge, TOKENS, batch_size=2)
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


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_profiles_are_means_and_spreads_over_everything_but_bos(kind, bridges):
    bridge = bridges[kind]
    profiles = ablation.profiles(bridge, TOKENS, batch_size=2)
    _, cache = bridge.run_with_cache(TOKENS)
    for layer in range(bridge.cfg.n_layers):
        rows = profiles[profiles["layer"] == layer]
        values = cache[f"blocks.{layer}.mlp.hook_post"][:, 1:].flatten(0, 1)
        assert rows["mean_activation"].tolist() == pytest.approx(values.mean(0).tolist(), abs=1e-5)
        assert rows["activation_spread"].tolist() == pytest.approx(values.std(0, correction=0).tolist(), abs=1e-4)
        assert rows["output_norm"].tolist() == pytest.approx(bridge.W_out[layer].norm(dim=1).tolist(), rel=1e-5)
    pd.testing.assert_frame_equal(profiles[["kurtosis", "skew"]], neurons.moments(bridge)[["kurtosis", "skew"]])


def toy_profiles(n_layers: int = 3, width: int = 200, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    n = n_layers * width
    return pd.DataFrame(
        {
            "layer": np.repeat(range(n_layers), width),
            "neuron": np.tile(range(width), n_layers),
            "kurtosis": 3 + generator.exponential(3, n),
            "skew": generator.normal(size=n),
            "output_norm": generator.uniform(1, 2, n),
            "mean_activation": generator.normal(size=n),
            "activation_spread": generator.exponential(1, n),
        }
    )


def test_the_most_peaked_neurons_of_either_sign_are_taken():
    profiles = toy_profiles()
    sets = ablation.sets(profiles)
    for kind, sign in (("prediction", 1), ("suppression", -1)):
        some = profiles[sign * profiles["skew"] > 0].sort_values("kurtosis", ascending=False)
        for size in ablation.SIZES:
            found = sets[(sets["kind"] == kind) & (sets["n_neurons"] == size) & (sets["set"] == 0)]
            assert found["kurtosis"].tolist() == some["kurtosis"][:size].tolist()


def test_random_sets_are_alike_but_not_special():
    """Same layers; closer in norm, mean and spread than any neurons; none of the 64 most peaked of either kind."""
    profiles = toy_profiles()
    sets = ablation.sets(profiles, seed=1)
    special = set(sets.loc[sets["set"] == 0, "kurtosis"])
    distances = []
    for (_, size), of_size in sets.groupby(["kind", "n_neurons"]):
        chosen = of_size[of_size["set"] == 0]
        assert of_size["set"].nunique() == 1 + ablation.RANDOM_SETS
        for _, random in of_size[of_size["set"] > 0].groupby("set"):
            assert random["layer"].tolist() == chosen["layer"].tolist()
            assert len(random[["layer", "neuron"]].drop_duplicates()) == size
            assert not special & set(random["kurtosis"])
            difference = random[ablation.MATCHED].to_numpy() - chosen[ablation.MATCHED].to_numpy()
            distances.append(np.abs(difference / profiles[ablation.MATCHED].std().to_numpy()).mean())
    assert np.mean(distances) < 0.6  # independent draws: 1.1


def test_random_sets_differ_from_one_another_and_follow_the_seed():
    profiles = toy_profiles()
    sets, again, other = (ablation.sets(profiles, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(sets, again)
    assert not sets.equals(other)
    largest = sets[(sets["n_neurons"] == 64) & (sets["kind"] == "prediction")]
    members = {tuple(rows["kurtosis"]) for _, rows in largest.groupby("set")}
    assert len(members) == 1 + ablation.RANDOM_SETS


def test_a_full_layer_borrows_from_the_others():
    profiles = toy_profiles(n_layers=2, width=100)  # 50 of each kind, so that few of layer 0 are left
    crowded = profiles.assign(kurtosis=profiles["kurtosis"] + 100 * (profiles["layer"] == 0))
    sets = ablation.sets(crowded)
    largest = sets[(sets["kind"] == "prediction") & (sets["n_neurons"] == sets["n_neurons"].max())]
    special, random = (largest.loc[chosen, "layer"] for chosen in (largest["set"] == 0, largest["set"] > 0))
    assert (special == 0).all() and (random == 1).any()


@pytest.mark.parametrize(("width", "sizes"), [(300, {1, 4, 16, 64}), (80, {1, 4, 16}), (12, {1})])
def test_a_small_model_has_fewer_sizes(width, sizes):
    sets = ablation.sets(toy_profiles(n_layers=1, width=width))
    assert set(sets["n_neurons"]) == sizes


def test_a_model_of_three_neurons_is_refused():
    with pytest.raises(InputError, match="3 MLP neurons is too small"):
        ablation.sets(toy_profiles(n_layers=1, width=3))


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
    bridge = models.load(str(checkpoints[kind]), dtype="bfloat16")
    found = ablation.sweep(bridge, TOKENS[:, :8], as_sets(CHOSEN))
    assert np.isfinite(found[list(ablation.CHANGES)].to_numpy()).all()
