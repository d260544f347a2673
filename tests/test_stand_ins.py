"""Blocks replaced in one walk against hooks on the whole model; blocks that are a temperature, or a map, or neither."""

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import KINDS, VOCABULARY, save, some_tokens
from transformers import AutoModelForCausalLM

from helpers import blocks, lens, metrics, models
from helpers.beyond import stand_ins
from helpers.errors import InputError
from helpers.judging import claims

KEYS = ["replacement", "layer", "sequence"]


def more_tokens(n_sequences: int = 8, context: int = 40, seed: int = 1) -> torch.Tensor:
    tokens = torch.randint(VOCABULARY, (n_sequences, context), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = 0
    return tokens


def slowly(bridge, tokens, layer, replace) -> torch.Tensor:
    """Logits at the predicted positions of a whole run in which one block's output is exchanged by a hook."""
    entering = []

    def remember(residual, hook):
        entering[:] = [residual]

    def exchange(residual, hook):
        return torch.cat([residual[:, :1], replace(entering[0][:, 1:])], dim=1)

    hooks = [(f"blocks.{layer}.hook_in", remember), (f"blocks.{layer}.hook_out", exchange)]
    return bridge.run_with_hooks(tokens, fwd_hooks=hooks, use_cache=False)[:, 1:-1]


@pytest.mark.parametrize("kind", KINDS)
def test_measures_are_those_of_whole_runs_with_hooks(kind, bridges):
    bridge, tokens = bridges[kind], some_tokens()
    fitted = stand_ins.fit(bridge, more_tokens())
    found = stand_ins.sweep(bridge, tokens, fitted, batch_size=2).set_index(KEYS).sort_index()
    intact, labels = bridge(tokens, use_cache=False)[:, 1:-1], tokens[:, 2:]
    for layer, stand_in in enumerate(fitted):
        dropped = slowly(bridge, tokens, layer, lambda entering: entering)
        cases = {
            "drop": dropped,
            "temperature": stand_in.inverse_temperature * dropped,
            "affine": slowly(bridge, tokens, layer, lambda x, s=stand_in: x + s.written(x)),
        }
        for name, logits in cases.items():
            row = found.loc[(name, layer)]
            loss = metrics.next_token_loss(logits, labels) - metrics.next_token_loss(intact, labels)
            entropy = metrics.entropy_bits(logits) - metrics.entropy_bits(intact)
            expected = {
                "kl_nats": metrics.kl_divergence(intact, logits),
                "kl_nats_dropped": metrics.kl_divergence(intact, dropped),
                "loss_change_nats": loss,
                "entropy_change_bits": entropy,
                "top1_agreement": metrics.top1_agreement(intact, logits).float(),
            }
            for column, values in expected.items():
                means = values.mean(-1).tolist()
                assert row[column].tolist() == pytest.approx(means, rel=1e-3, abs=5e-4), (name, layer, column)


def test_the_last_block_dropped_is_the_lens_of_the_row_before(bridges):
    bridge, tokens = bridges["pocket"], some_tokens()
    last = bridge.cfg.n_layers - 1
    dropped = stand_ins.sweep(bridge, tokens, stand_ins.fit(bridge, more_tokens())).query("replacement == 'drop'")
    row = lens.sweep(bridge, tokens).query(f"layer == {last}")
    for column in ("kl_nats", "top1_agreement"):
        found = dropped.loc[dropped["layer"] == last, column].tolist()
        assert found == pytest.approx(row[column].tolist(), abs=1e-4)


def test_bos_keeps_its_block(bridges):
    """A stand-in that would ruin BOS does not, and what it would write there changes nothing."""
    bridge, tokens = bridges["gpt2"], some_tokens()
    inputs = blocks.record_inputs(bridge, tokens)
    intact, *replaced = stand_ins.replaced_streams(bridge, tokens, [torch.zeros_like] * 4, inputs)
    assert all(torch.allclose(stream[:, 0], intact[:, 0], atol=1e-5) for stream in replaced)
    assert not torch.allclose(replaced[-1][:, 1:], intact[:, 1:], atol=1e-2)


def last_block_is(function) -> list:
    """Hooks under which the last of four blocks hands on a function of what enters it."""
    entering = []

    def remember(residual, hook):
        entering[:] = [residual]

    return [("blocks.3.hook_in", remember), ("blocks.3.hook_out", lambda residual, hook: function(entering[0]))]


def shares(bridge, function) -> pd.Series:
    """KL that remains, as a share of the KL without the last block, when that block is a function of the stream."""
    with bridge.hooks(fwd_hooks=last_block_is(function)):
        rows = stand_ins.sweep(bridge, more_tokens(4, seed=2), stand_ins.fit(bridge, more_tokens(40)))
    means = rows[rows["layer"] == 3].groupby("replacement")[["kl_nats", "kl_nats_dropped"]].mean()
    return means["kl_nats"] / means["kl_nats_dropped"]


def centred(x: torch.Tensor) -> torch.Tensor:
    """Without the mean over positions and sequences, so that x and -x are alike."""
    return x - x.mean((0, 1))


def a_matrix(bridge) -> torch.Tensor:
    width = bridge.cfg.d_model
    return torch.randn(width, width, generator=torch.Generator().manual_seed(5)) / width**0.5


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_last_block_that_is_a_map_is_replaced_by_one_and_by_no_temperature(kind, bridges):
    bridge = bridges[kind]
    matrix = a_matrix(bridge)
    found = shares(bridge, lambda x: x + x @ matrix + 0.1)
    assert found["drop"] == 1
    assert found["affine"] < 1e-2
    assert found["temperature"] > 0.3


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_last_block_that_is_no_map_is_not_replaced_by_one(kind, bridges):
    """What it writes is the same for x and -x."""
    bridge = bridges[kind]
    matrix = a_matrix(bridge)
    found = shares(bridge, lambda x: x + 3 * (centred(x) @ matrix).abs() * (centred(x) @ matrix.T).sign())
    assert found["affine"] > 0.3
    assert found["temperature"] > 0.3


def test_a_last_block_that_only_makes_the_stream_longer_is_a_temperature(checkpoints, tmp_path):
    """It writes to a dimension that no token is read from: through the norm, all logits shrink by one factor."""
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
        model.lm_head.weight[:, 0] = 0
    bridge = models.load(str(save(model, tmp_path)))

    def lengthen(x):
        return torch.cat([2 * x[..., 1:].norm(dim=-1, keepdim=True), x[..., 1:]], dim=-1)

    found = shares(bridge, lengthen)
    assert found["temperature"] < 0.02
    with bridge.hooks(fwd_hooks=last_block_is(lengthen)):
        fitted = stand_ins.fit(bridge, more_tokens(4))
    assert fitted[3].inverse_temperature == pytest.approx(5**-0.5, rel=0.05)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_block_that_doubles_the_stream_is_not_missed(kind, bridges):
    """The final norm undoes it."""
    bridge, tokens = bridges[kind], some_tokens()
    with bridge.hooks(fwd_hooks=last_block_is(lambda x: 2 * x)):
        rows = stand_ins.sweep(bridge, tokens, stand_ins.fit(bridge, more_tokens(4)))
    last = rows.query("layer == 3 and replacement != 'affine'")
    assert last["kl_nats"].max() < 1e-3


def test_halves_share_no_document():
    """Eight sequences in a row; the third document ends in the fifth of them."""
    documents = torch.tensor([[0, 0], [0, 1], [1, 2], [2, 2], [2, 3], [3, 3], [3, 4], [4, 5]])
    fitted, tested = stand_ins.halves(torch.nn.functional.pad(documents, (1, 0), value=-1))
    assert fitted.tolist() == [0, 1, 2, 3]
    assert tested.tolist() == [5, 6, 7]


def test_a_text_in_one_document_is_halved_by_sequences():
    fitted, tested = stand_ins.halves(torch.tensor([[-1, 0, 0]] * 5))
    assert (fitted.tolist(), tested.tolist()) == ([0, 1], [2, 3, 4])


def test_one_sequence_cannot_be_halved():
    with pytest.raises(InputError, match="give more --tokens"):
        stand_ins.halves(torch.tensor([[-1, 0, 0]]))


def planted(last: float, others: float, n_layers: int = 6) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = []
    for n in range(16):
        for layer in range(n_layers):
            share = 40 if layer == 0 else last if layer == n_layers - 1 else others
            keys = {"sequence": n, "layer": layer, "replacement": "affine", "kl_nats_dropped": 2.0}
            rows.append(keys | {"kl_nats": 2 * share + generator.normal(0, 0.05)})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("last", "others", "verdict"), [(0.3, 0.8, "holds"), (0.8, 0.3, "does not hold")])
def test_the_last_block_is_judged_beside_earlier_ones_but_the_first(last, others, verdict):
    values = stand_ins.last_beside_earlier(planted(last, others), "affine")
    assert values.estimate == pytest.approx(last - others, abs=0.02)
    assert claims.decide(values, lambda share: share < 0)["verdict"] == verdict


def test_with_two_layers_there_is_nothing_to_set_the_last_beside():
    values = stand_ins.last_beside_earlier(planted(0.3, 0.8, n_layers=2), "affine")
    assert claims.decide(values, lambda share: share < 0)["verdict"] == claims.UNDECIDED
