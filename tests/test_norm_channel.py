"""Neurons silenced with the norm free and frozen: by hand on a plain model, and where one knows which way it goes."""

import numpy as np
import pandas as pd
import plain_mlps
import pytest
import torch
from checkpoints import KINDS, save

from helpers import metrics, models, neurons
from helpers.beyond import neuron_sets, norm_channel
from helpers.errors import InputError
from reference import ANATOMY

TOKENS = torch.arange(3 * 12).reshape(3, 12)
CHOSEN = pd.DataFrame(
    {"layer": 3, "neuron": [7, 40, 3], "mean_activation": [0.3, -1.5, 2.0], "kind": "entropy", "set": 0}
)


@pytest.mark.parametrize("kind", KINDS)
def test_changes_are_those_of_a_plain_model_whose_norm_is_written_out(kind, bridges, checkpoints):
    found = norm_channel.sweep(bridges[kind], TOKENS, CHOSEN, batch_size=2)
    plain, last_maps = plain_mlps.load(checkpoints[kind])
    trunk, _, _, norm_name, _ = ANATOMY[plain.config.model_type]
    norm, head = getattr(getattr(plain, trunk), norm_name), plain.get_output_embeddings()
    seen = []
    norm.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    intact = plain(TOKENS, use_cache=False).logits

    def alter(_module, args):
        values = args[0].clone()
        for neuron in CHOSEN.itertuples():
            values[:, 1:, neuron.neuron] = neuron.mean_activation
        return (values,)

    last_maps[3].register_forward_pre_hook(alter)
    free = plain(TOKENS, use_cache=False).logits
    before, after = seen
    is_layer_norm = isinstance(norm, torch.nn.LayerNorm)
    eps = getattr(norm, "eps", None) or norm.variance_epsilon
    if is_layer_norm:
        before, after = (stream - stream.mean(-1, keepdim=True) for stream in (before, after))
    scale = (before.square().mean(-1, keepdim=True) + eps).sqrt()
    frozen = head(after / scale * norm.weight + (norm.bias if is_layer_norm else 0))
    intact, free, frozen = (logits[:, 1:-1] for logits in (intact, free, frozen))
    measures = {
        "entropy_change_bits": metrics.entropy_bits,
        "loss_change_nats": lambda logits: metrics.next_token_loss(logits, TOKENS[:, 2:]),
    }
    for name, measure in measures.items():
        expected = {
            "free": measure(free) - measure(intact),
            "frozen": measure(frozen) - measure(intact),
            "by_norm": measure(free) - measure(frozen),
        }
        for way, values in expected.items():
            assert found[f"{name}_{way}"].tolist() == pytest.approx(values.mean(-1).tolist(), abs=3e-4)
    assert found["entropy_change_bits_by_norm"].abs().max() > 1e-3


def with_unread_dimension(checkpoint, folder):
    """No token is read from dimension 0, and the last layer's neuron 5 writes there only, at great length."""
    model, last_maps = plain_mlps.load(checkpoint)
    model.lm_head.weight[:, 0] = 0
    last_maps[3].weight[:, 5] = 0
    last_maps[3].weight[0, 5] = 30
    return models.load(str(save(model, folder)))


def test_a_neuron_that_no_token_is_read_from_works_through_the_norm_alone(checkpoints, tmp_path):
    """It is found among the entropy neurons; fixed far from what it does, it changes the entropy by the norm."""
    bridge = with_unread_dimension(checkpoints["llama"], tmp_path)
    profiles = neuron_sets.profiles(bridge, TOKENS)
    chosen = norm_channel.sets(bridge, profiles)
    entropy = chosen[(chosen["kind"] == "entropy") & (chosen["set"] == 0)]
    assert entropy["neuron"].iloc[0] == 5
    assert entropy["cosine_variance"].iloc[0] == pytest.approx(0, abs=1e-9)
    found = norm_channel.sweep(bridge, TOKENS, entropy[:1].assign(mean_activation=2.0))
    assert found["entropy_change_bits_frozen"].abs().max() < 1e-4
    assert found["entropy_change_bits_free"].min() > 0.05  # a longer stream, flatter predictions
    assert found["entropy_change_bits_by_norm"].tolist() == pytest.approx(
        found["entropy_change_bits_free"].tolist(), abs=1e-4
    )


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_where_the_stream_keeps_its_length_nothing_goes_through_the_norm(kind, bridges):
    """Another stream of the same scale: every other prediction, and the norm has no part in it."""
    intact = torch.randn(2, 5, bridges[kind].cfg.d_model, generator=torch.Generator().manual_seed(0))
    free, frozen = norm_channel.normalised(bridges[kind], intact.flip(-1), intact)
    torch.testing.assert_close(free, frozen)
    longer, shorter = norm_channel.normalised(bridges[kind], 2 * intact, intact)
    torch.testing.assert_close(longer * 2, shorter, rtol=1e-3, atol=1e-3)


def test_sets_are_of_the_last_layers_and_random_ones_are_in_no_other(bridges):
    bridge = bridges["qwen2"]
    profiles = neuron_sets.profiles(bridge, TOKENS)
    chosen = norm_channel.sets(bridge, profiles, seed=1)
    assert set(chosen["layer"]) == {3}
    special, random = (chosen[(chosen["set"] > 0) == is_random] for is_random in (False, True))
    assert not set(special["neuron"]) & set(random["neuron"])
    assert (random.groupby(norm_channel.KEYS)["neuron"].nunique() == 16).all()
    assert random["set"].nunique() == 5
    last = profiles[profiles["layer"] == 3]
    for kind, sign in (("prediction", 1), ("suppression", -1)):
        expected = last[sign * last["skew"] > 0].sort_values("kurtosis", ascending=False)["neuron"][:16]
        assert special.loc[special["kind"] == kind, "neuron"].tolist() == expected.tolist()


def test_cosine_variances_are_those_of_every_cosine(bridges):
    bridge = bridges["gpt2"]
    found = norm_channel.cosine_variances(bridge, 3)
    written, tokens = neurons.output_weights(bridge, 3)[:20].double(), bridge.W_U.double()
    for vector, variance in zip(written, found, strict=False):
        cosines = [float(vector @ token / vector.norm() / token.norm()) for token in tokens.T[:200]]
        every = tokens.T @ vector / tokens.norm(dim=0) / vector.norm()
        assert every[:200].tolist() == pytest.approx(cosines)
        assert variance.item() == pytest.approx(np.var(every.numpy()), rel=1e-4)


def test_too_few_neurons_are_said_to_be_too_few(bridges):
    profiles = pd.DataFrame({"layer": [0, 0, 1], "neuron": [0, 1, 0]})
    with pytest.raises(InputError, match="too few"):
        norm_channel.sets(bridges["gpt2"], profiles)


def test_the_table_keeps_special_and_random_sets_apart():
    rows = [
        {"sequence": n, "kind": "entropy", "set": number} | {name: value + 0.01 * n for name in norm_channel.CHANGES}
        for n in range(5)
        for number, value in enumerate([1.0, 0.1, 0.2, 0.6])
    ]
    chosen = pd.DataFrame({"kind": "entropy", "set": [0, 0, 0, 1], "kurtosis": [30, 11, 9, 50]})
    (row,) = norm_channel.summarise(pd.DataFrame(rows), chosen).to_dict("records")
    name = "entropy_change_bits_frozen"
    assert row[name] == pytest.approx(1.02)
    assert 1.0 < row[f"{name}_low"] < 1.02 < row[f"{name}_high"] < 1.04
    assert (row[f"{name}_random_smallest"], row[f"{name}_random_largest"]) == pytest.approx((0.12, 0.62))
    assert row[f"{name}_random"] == pytest.approx(0.32)
    assert (row["n_neurons"], row["n_above_threshold"]) == (3, 2)
