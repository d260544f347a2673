"""The lens ends in the model itself, and its bookkeeping adds up."""

import math
from collections import Counter

import pytest
import torch
from checkpoints import KINDS

import reference
from helpers import lens
from helpers.engine import readout, streams


@pytest.fixture(scope="module")
def swept(checkpoints):
    """By kind: a function from the loaded model to the tokens and the sweep's table, made once."""
    made = {}

    def table(kind, bridge):
        if kind not in made:
            tokens = reference.familiar_tokens(reference.RawModel(checkpoints[kind]), 4, 14, seed=1)
            made[kind] = tokens, lens.sweep(bridge, tokens).set_index(["sequence", "layer"]).sort_index()
        return made[kind]

    return table


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_row_is_the_model(kind, swept, bridges):
    bridge = bridges[kind]
    tokens, table = swept(kind, bridge)
    last = table.xs(bridge.cfg.n_layers, level="layer")
    assert last[["kl_nats", "kl_nats_final_scale"]].abs().max(axis=None) < 1e-5
    assert (last["top1_agreement"] == 1).all()
    log_p = bridge(tokens, use_cache=False)[:, 1:-1].double().log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1).mean(-1) / math.log(2)
    assert last["entropy_bits"].tolist() == pytest.approx(entropy.tolist(), abs=1e-5)
    correct = (log_p.argmax(-1) == tokens[:, 2:]).double().mean(-1)
    assert last["accuracy"].tolist() == correct.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_row_0_is_the_embedding_and_rows_in_between_differ(kind, swept, bridges):
    bridge = bridges[kind]
    tokens, table = swept(kind, bridge)
    assert table.index.get_level_values("layer").unique().tolist() == list(range(bridge.cfg.n_layers + 1))
    assert table.drop(bridge.cfg.n_layers, level="layer")["kl_nats"].min() > 1e-3
    logits = bridge.unembed(bridge.ln_final(bridge(tokens, stop_at_layer=0, use_cache=False)))
    probabilities = logits[:, 1:-1].softmax(-1).amax(-1).mean(-1)
    assert table.xs(0, level="layer")["top1_probability"].tolist() == pytest.approx(probabilities.tolist(), rel=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_accuracy_changes_by_what_turned_right_minus_what_turned_wrong(kind, swept, bridges):
    _, table = swept(kind, bridges[kind])
    accuracy = table["accuracy"].unstack("layer")
    turned = (table["wrong_to_right"] - table["right_to_wrong"]).unstack("layer")
    assert table["accuracy"].nunique() > 2 and table["right_to_wrong"].max() > 0
    for layer in list(accuracy)[1:]:
        assert accuracy[layer].tolist() == pytest.approx((accuracy[layer - 1] + turned[layer]).tolist())


def test_flips_are_unknown_at_the_first_row_only(swept, bridges):
    _, table = swept("gpt2", bridges["gpt2"])
    flips = table[["right_to_wrong", "wrong_to_right"]]
    assert flips.xs(0, level="layer").isna().all(axis=None)
    assert flips.drop(0, level="layer").notna().all(axis=None)


@pytest.mark.parametrize("kind", ["phi", "qwen2"])
def test_at_the_final_scale_every_row_is_divided_by_the_final_residuals_scale(kind, swept, bridges):
    bridge = bridges[kind]
    tokens, table = swept(kind, bridge)
    residuals = [bridge(tokens, stop_at_layer=layer, use_cache=False) for layer in range(bridge.cfg.n_layers)]
    finals = streams.final_residual(bridge, tokens)
    for sequence in range(len(tokens)):
        for layer, residual in enumerate(residuals):
            row = table.loc[sequence, layer]
            kls, entropies = [], []
            for t in range(1, tokens.shape[1] - 1):
                final = finals[sequence, t]
                log_p = at_scale_of(final, final, bridge)
                log_q = at_scale_of(residual[sequence, t], final, bridge)
                kls.append((log_p.exp() * (log_p - log_q)).sum().item())
                entropies.append(-(log_q.exp() * log_q).sum().item() / math.log(2))
            assert row["kl_nats_final_scale"] == pytest.approx(sum(kls) / len(kls), abs=1e-5)
            assert row["entropy_bits_final_scale"] == pytest.approx(sum(entropies) / len(entropies), abs=1e-5)


def at_scale_of(residual: torch.Tensor, final: torch.Tensor, bridge) -> torch.Tensor:
    """Log-probabilities of one position; a loaded LayerNorm model's residuals are centred already."""
    scale = math.sqrt(sum(x * x for x in final.tolist()) / len(final) + bridge.cfg.eps)
    return (residual.double() / scale @ bridge.W_U.double()).log_softmax(-1)


def test_a_row_is_compared_with_the_final_prediction_not_the_other_way_round(swept, bridges):
    bridge = bridges["llama"]
    tokens, table = swept("llama", bridge)
    first = bridge.unembed(bridge.ln_final(bridge(tokens, stop_at_layer=1, use_cache=False)))
    log_p, log_q = (logits[:, 1:-1].log_softmax(-1) for logits in (bridge(tokens, use_cache=False), first))
    forwards, backwards = ((a.exp() * (a - b)).sum(-1).mean(-1) for a, b in ((log_p, log_q), (log_q, log_p)))
    assert (forwards - backwards).abs().min() > 1e-4
    assert table.xs(1, level="layer")["kl_nats"].tolist() == pytest.approx(forwards.tolist(), abs=1e-5)


def test_the_rows_can_be_read_one_residual_at_a_time(bridges):
    """`Lens` as the notebook uses it: the model's own residual has KL 0 to itself."""
    bridge, tokens = bridges["gpt2"], torch.arange(16).reshape(2, 8)
    final = streams.final_residual(bridge, tokens)
    row, measures = lens.Lens.of(bridge, final, readout.labels(tokens)).row(final)
    assert row.top1.shape == (2, 6)
    assert measures["kl_nats"].max() < 1e-5
    assert measures["top1_agreement"].all()


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_guesses_among_the_commonest_tokens_are_counted_one_by_one(kind, swept, bridges):
    bridge, (tokens, table) = bridges[kind], swept(kind, bridges[kind])
    commonest = [token for token, _ in Counter(sorted(tokens[:, 2:].flatten().tolist())).most_common(lens.COMMONEST)]
    assert sorted(lens.commonest_tokens(tokens).tolist()) == sorted(commonest)
    for layer in range(bridge.cfg.n_layers):
        guesses = bridge.unembed(bridge.ln_final(bridge(tokens, stop_at_layer=layer, use_cache=False)))[:, 1:-1].argmax(
            -1
        )
        shares = [sum(guess in commonest for guess in of.tolist()) / len(of) for of in guesses]
        assert table.xs(layer, level="layer")["top1_commonest"].tolist() == pytest.approx(shares)


def test_planted_a_model_that_always_says_the_commonest_token_and_one_that_never_does(bridges, monkeypatch):
    bridge = bridges["gpt2"]
    tokens = torch.arange(60).reshape(3, 20)
    tokens[:, 5:9] = 77
    for said, share in ((77, 1.0), (1400, 0.0)):
        loud = torch.zeros(bridge.W_U.shape[1]).index_fill(0, torch.tensor([said]), 1e4)
        monkeypatch.setattr(readout.Unembedding, "of", lambda bridge, loud=loud: readout.Unembedding(bridge.W_U, loud))
        assert (lens.sweep(bridge, tokens)["top1_commonest"] == share).all()
