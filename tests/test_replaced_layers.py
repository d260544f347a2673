"""Layers replaced together in one walk, against a Hugging Face model with a hook on one layer, and planted cases."""

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import some_tokens

from helpers import lesion
from helpers.beyond import replaced_layers, similarity
from helpers.judging.claims import DOES_NOT_HOLD, HOLDS
from reference import RawModel, kl, predicting


def raw_log_probabilities(raw: RawModel, sequence, layer: int, written) -> torch.Tensor:
    """With the layer's output at all places but BOS being its input plus ``written`` [pos-1, d_model]."""

    def replace(_module, args, kwargs, out):
        entering = args[0] if args else kwargs["hidden_states"]
        leaving = out[0] if isinstance(out, tuple) else out
        after = torch.cat([leaving[:, :1], entering[:, 1:] + written], dim=1)
        return (after, *out[1:]) if isinstance(out, tuple) else after

    handle = raw.layers[layer].register_forward_hook(replace, with_kwargs=True)
    found = raw.log_probabilities(sequence)
    handle.remove()
    return found


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_mean_and_resample_are_those_of_a_raw_model_with_one_hook(kind, bridges, checkpoints):
    raw, tokens = RawModel(checkpoints[kind]), some_tokens(n_sequences=3)
    residuals = torch.stack([torch.stack(raw.residuals(sequence)) for sequence in tokens])  # (sequence, row, pos, d)
    written = residuals.diff(dim=1)[:, :, 1:].transpose(0, 1).flatten(1, 2)  # (layer, place, d): no BOS
    found = replaced_layers.sweep(bridges[kind], tokens, batch_size=2, seed=5)
    found = found.set_index(["intervention", "layer", "sequence"]).sort_index()
    drawn = replaced_layers.drawn_donors(0, tokens.shape, tokens.shape, 24, 5)
    for number, sequence in enumerate(tokens):
        intact = raw.log_probabilities(sequence)
        for layer in (0, 2):
            instead = {
                "zero_but_bos": torch.zeros_like(written[layer][:8]),
                "mean": written[layer].mean(0).expand(8, -1),
                "resample": written[layer][drawn[number]],
            }
            for name, each in instead.items():
                lesioned = raw_log_probabilities(raw, sequence, layer, each)
                divergence = np.mean([kl(intact[t], lesioned[t]) for t in predicting(sequence)])
                assert found.loc[(name, layer, number), "kl_nats"] == pytest.approx(divergence, rel=2e-3, abs=1e-5)


def test_zero_is_the_drop_of_the_layer_lesion(bridges):
    bridge, tokens = bridges["phi"], some_tokens()
    drops = lesion.sweep(bridge, tokens).query("intervention == 'drop'").set_index(["layer", "sequence"]).sort_index()
    zero = replaced_layers.sweep(bridge, tokens).query("intervention == 'zero'")
    zero = zero.set_index(["layer", "sequence"]).sort_index()
    for column in ("kl_nats", "top1_agreement", "loss_change_nats", "entropy_change_bits"):
        assert zero[column].tolist() == pytest.approx(drops[column].tolist(), abs=1e-5)


def test_a_layer_that_writes_the_same_everywhere_is_missed_by_zero_only(bridges):
    """Planted: its mean, and its output elsewhere, are its own, so only zero ablation changes anything."""
    bridge, tokens = bridges["neox_sequential"], some_tokens()
    entering, always = [], 3 * torch.randn(64, generator=torch.Generator().manual_seed(0))
    hooks = [
        ("blocks.1.hook_in", lambda residual, hook: entering.append(residual)),
        ("blocks.1.hook_out", lambda residual, hook: entering.pop() + always),
    ]
    with bridge.hooks(fwd_hooks=hooks):
        rows = replaced_layers.sweep(bridge, tokens)
    kl_nats = rows[rows["layer"] == 1].groupby("intervention")["kl_nats"].mean()
    assert kl_nats[["mean", "resample"]].max() < 1e-4
    assert kl_nats[["zero", "zero_but_bos"]].min() > 0.01
    others = rows[rows["layer"] == 2].groupby("intervention")["kl_nats"].mean()
    assert others.min() > 0.001


def test_donors_are_other_places_the_same_whatever_the_batch():
    shape = (5, 7)
    places = 30
    whole = replaced_layers.drawn_donors(0, shape, shape, places, 1)
    parts = [replaced_layers.drawn_donors(first, (1, 7), shape, places, 1) for first in range(5)]
    assert torch.equal(whole, torch.cat(parts))
    assert (whole.flatten() != torch.arange(30)).all()
    many = torch.cat([replaced_layers.drawn_donors(0, shape, shape, places, seed).flatten() for seed in range(50)])
    assert many.bincount(minlength=30).min() > 0
    few = replaced_layers.drawn_donors(0, shape, shape, 10, 1)  # each stands for every third place
    assert (3 * few.flatten() != torch.arange(30)).all()


def test_donors_come_from_the_places_that_are_sampled(bridges, monkeypatch):
    """The place that a donor must not be is known by its number, so both must count places in the same way."""
    bridge, tokens = bridges["gpt2"], some_tokens()
    monkeypatch.setattr(similarity, "SAMPLE", 8)
    sampled = similarity.sampled_streams(bridge, tokens)
    monkeypatch.setattr(similarity, "SAMPLE", 1024)
    everything = similarity.sampled_streams(bridge, tokens)
    torch.testing.assert_close(sampled, everything[:, np.arange(8) * 24 // 8], rtol=0, atol=1e-5)


def lesions(kl_nats: dict[str, list[float]]) -> pd.DataFrame:
    """Twelve sequences that differ a little."""
    noise = np.random.default_rng(0).uniform(0.95, 1.05, 12)
    return pd.DataFrame(
        {"sequence": sequence, "layer": layer, "intervention": kind, "kl_nats": value * noise[sequence]}
        for kind, values in kl_nats.items()
        for layer, value in enumerate(values)
        for sequence in range(12)
    )


def test_a_u_is_told_from_a_slope_and_from_a_first_layer_alone():
    u, slope = [4, 1, 0.4, 0.3, 0.4, 2], [6, 5, 4, 3, 2, 1]
    first, flat = [9, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]
    kinds = dict(zip(replaced_layers.KINDS, (u, slope, first, flat), strict=True))
    found = replaced_layers.shape_of(lesions(kinds)).set_index(["intervention", "asked"])["verdict"].unstack()
    assert found["middle_over_worse_end"].to_dict() == {
        "zero": HOLDS,
        "zero_but_bos": DOES_NOT_HOLD,
        "mean": HOLDS,
        "resample": DOES_NOT_HOLD,
    }
    assert found["last_over_middle"].to_dict() == {
        "zero": HOLDS,
        "zero_but_bos": DOES_NOT_HOLD,
        "mean": DOES_NOT_HOLD,
        "resample": DOES_NOT_HOLD,
    }
