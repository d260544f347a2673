"""Which neurons are ablated: the most peaked ones, and random ones that are alike but not special."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import neurons
from helpers.beyond import neuron_sets
from helpers.errors import InputError

TOKENS = torch.arange(3 * 12).reshape(3, 12)


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_profiles_are_means_and_spreads_over_everything_but_bos(kind, bridges):
    bridge = bridges[kind]
    profiles = neuron_sets.profiles(bridge, TOKENS, batch_size=2)
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
    sets = neuron_sets.sets(profiles)
    for kind, sign in (("prediction", 1), ("suppression", -1)):
        some = profiles[sign * profiles["skew"] > 0].sort_values("kurtosis", ascending=False)
        for size in neuron_sets.SIZES:
            found = sets[(sets["kind"] == kind) & (sets["n_neurons"] == size) & (sets["set"] == 0)]
            assert found["kurtosis"].tolist() == some["kurtosis"][:size].tolist()


def test_random_sets_are_alike_but_not_special():
    """Same layers; closer in norm, mean and spread than any neurons; none of the 64 most peaked of either kind."""
    profiles = toy_profiles()
    sets = neuron_sets.sets(profiles, seed=1)
    special = set(sets.loc[sets["set"] == 0, "kurtosis"])
    distances = []
    for (_, size), of_size in sets.groupby(["kind", "n_neurons"]):
        chosen = of_size[of_size["set"] == 0]
        assert of_size["set"].nunique() == 1 + neuron_sets.RANDOM_SETS
        for _, random in of_size[of_size["set"] > 0].groupby("set"):
            assert random["layer"].tolist() == chosen["layer"].tolist()
            assert len(random[["layer", "neuron"]].drop_duplicates()) == size
            assert not special & set(random["kurtosis"])
            difference = random[neuron_sets.MATCHED].to_numpy() - chosen[neuron_sets.MATCHED].to_numpy()
            distances.append(np.abs(difference / profiles[neuron_sets.MATCHED].std().to_numpy()).mean())
    assert np.mean(distances) < 0.6  # independent draws: 1.1


def test_random_sets_differ_from_one_another_and_follow_the_seed():
    profiles = toy_profiles()
    sets, again, other = (neuron_sets.sets(profiles, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(sets, again)
    assert not sets.equals(other)
    largest = sets[(sets["n_neurons"] == 64) & (sets["kind"] == "prediction")]
    members = {tuple(rows["kurtosis"]) for _, rows in largest.groupby("set")}
    assert len(members) == 1 + neuron_sets.RANDOM_SETS


def test_a_full_layer_borrows_from_the_others():
    profiles = toy_profiles(n_layers=2, width=100)  # 50 of each kind, so that few of layer 0 are left
    crowded = profiles.assign(kurtosis=profiles["kurtosis"] + 100 * (profiles["layer"] == 0))
    sets = neuron_sets.sets(crowded)
    largest = sets[(sets["kind"] == "prediction") & (sets["n_neurons"] == sets["n_neurons"].max())]
    special, random = (largest.loc[chosen, "layer"] for chosen in (largest["set"] == 0, largest["set"] > 0))
    assert (special == 0).all() and (random == 1).any()


@pytest.mark.parametrize(("width", "sizes"), [(300, {1, 4, 16, 64}), (80, {1, 4, 16}), (12, {1})])
def test_a_small_model_has_fewer_sizes(width, sizes):
    sets = neuron_sets.sets(toy_profiles(n_layers=1, width=width))
    assert set(sets["n_neurons"]) == sizes


def test_a_model_of_three_neurons_is_refused():
    with pytest.raises(InputError, match="3 MLP neurons is too small"):
        neuron_sets.sets(toy_profiles(n_layers=1, width=3))
