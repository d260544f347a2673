"""Blocks run twice in one walk must equal each run on its own; the claim is found where it is planted only."""

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import KINDS, save, some_tokens
from transformers import AutoModelForCausalLM

from helpers import blocks, models
from helpers.beyond import layer_repeats
from helpers.engine import streams
from helpers.errors import InputError
from helpers.judging import claims
from reference import RawModel, entropy, kl, predicting

N_LAYERS = 12


def test_a_block_is_repeated_layer_by_layer():
    assert layer_repeats.order(9, 4, 3) == [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 8]
    assert layer_repeats.order(3, 0, 3) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_the_walk_gives_what_each_order_gives_on_its_own(kind, length, bridges):
    bridge, tokens = bridges[kind], some_tokens()
    inputs = blocks.record_inputs(bridge, tokens)
    found = layer_repeats.repeated_streams(bridge, tokens, length, inputs)
    expected = [blocks.run_blocks(bridge, tokens, range(4), inputs)]
    for start in range(4 - length + 1):
        order = layer_repeats.order(4, start, length)
        expected.append(blocks.run_blocks(bridge, tokens, order, inputs))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "qwen2"])
def test_measures_are_those_of_the_raw_model_with_a_longer_list_of_layers(kind, bridges, checkpoints):
    """Position by position, in float64, on a Hugging Face model that has some of its layers twice."""
    raw, tokens = RawModel(checkpoints[kind]), some_tokens(n_sequences=1)
    intact = raw.log_probabilities(tokens[0])
    table = layer_repeats.sweep(bridges[kind], tokens, 2).set_index("layer")
    assert table.index.tolist() == [0, 1, 2]
    assert table["depth"].tolist() == pytest.approx([0, 1 / 3, 2 / 3])
    for start, row in table.iterrows():
        with raw.running([layer for layer in range(4) for _ in range(2 if layer in (start, start + 1) else 1)]):
            repeated = raw.log_probabilities(tokens[0])
        here = [(intact[t], repeated[t], tokens[0, t + 1]) for t in predicting(tokens[0])]
        expected = {
            "kl_nats": [kl(p, q) for p, q, _ in here],
            "entropy_change_bits": [entropy(q) - entropy(p) for p, q, _ in here],
            "entropy_bits_intact": [entropy(p) for p, _, _ in here],
            "loss_change_nats": [float(p[label] - q[label]) for p, q, label in here],
            "top1_agreement": [float(p.argmax() == q.argmax()) for p, q, _ in here],
            "accuracy": [float(q.argmax() == label) for _, q, label in here],
        }
        for name, values in expected.items():
            assert row[name] == pytest.approx(np.mean(values), rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize("rows_per_call", [1, 1000])
def test_nothing_before_a_block_is_run_twice(rows_per_call, bridges, monkeypatch):
    bridge, tokens, length = bridges["pocket"], some_tokens(n_sequences=1), 3
    n_layers, calls = bridge.cfg.n_layers, []
    inputs = blocks.record_inputs(bridge, tokens)
    monkeypatch.setattr(streams, "rows_per_call", lambda *_: rows_per_call)
    handles = [
        block.register_forward_hook(lambda module, args, out: calls.append(len(args[0]))) for block in bridge.blocks
    ]
    try:
        layer_repeats.repeated_streams(bridge, tokens, length, inputs)
    finally:
        for handle in handles:
            handle.remove()
    own = [n_layers - start - 1 + length for start in range(n_layers - length + 1)]  # of each repeated stream
    assert sum(calls) == n_layers + sum(own)
    assert max(calls) <= rows_per_call


def test_silent_layers_can_be_repeated(checkpoints, tmp_path):
    """With layers 1 and 2 silenced, running both twice changes nothing; running another twice does."""
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
        for layer in (1, 2):
            model.model.layers[layer].self_attn.o_proj.weight.zero_()
            model.model.layers[layer].mlp.down_proj.weight.zero_()
    save(model, tmp_path)
    rows = layer_repeats.sweep(models.load(str(tmp_path)), some_tokens(), 2).set_index("layer")
    assert rows.loc[1, "kl_nats"].max() < 1e-5
    assert rows.loc[1, "entropy_change_bits"].abs().max() < 1e-5
    assert rows.loc[[0, 2], "kl_nats"].min() > 1e-3


def test_batches_change_nothing(bridges):
    bridge, tokens = bridges["phi"], some_tokens()
    one, other = (layer_repeats.sweep(bridge, tokens, 2, size) for size in ("auto", 2))
    one, other = (table.set_index(["layer", "sequence"]).sort_index() for table in (one, other))
    assert one.index.equals(other.index)
    assert (one - other).abs().to_numpy().max() < 1e-4


@pytest.mark.parametrize(
    ("n_layers", "lengths"), [(48, (5, 3)), (12, (5, 3)), (10, (5, 3)), (9, (3,)), (6, (3,)), (4, (2,)), (1, (1,))]
)
def test_a_block_fits_into_the_second_half(n_layers, lengths):
    assert layer_repeats.block_lengths(n_layers) == lengths


def test_a_block_longer_than_the_model_is_refused_in_one_line(bridges):
    bridge, tokens = bridges["gpt2"], some_tokens()
    with pytest.raises(InputError, match="a block of 5 layers does not fit into 4: choose 1 to 4"):
        layer_repeats.sweep(bridge, tokens, 5)


def test_a_model_of_one_layer_is_measured_and_not_judged(checkpoints, tmp_path):
    save(AutoModelForCausalLM.from_pretrained(checkpoints["llama"], num_hidden_layers=1), tmp_path)
    rows = layer_repeats.sweep(models.load(str(tmp_path)), some_tokens(), 1)
    assert rows["layer"].unique().tolist() == [0]
    table = layer_repeats.verdicts(rows, 1)
    assert set(table["verdict"]) == {claims.UNDECIDED}
    assert table["reason"].tolist() == ["this model has no late blocks", "this model has no early blocks"]


def planted(change_by_start: np.ndarray, noise: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Repeats of 3 layers in a model of 12, whose intact entropy is 4 bits; noise from sequence to sequence."""
    generator = np.random.default_rng(seed)
    rows = [
        {"sequence": n, "length": 3, "layer": start, "depth": start / 11, "entropy_bits_intact": 4.0}
        | {"entropy_change_bits": change + generator.normal(0, noise)}
        for n in range(16)
        for start, change in enumerate(change_by_start)
    ]
    return pd.DataFrame(rows)


STARTS = np.arange(10)
CASES = {
    "as in the paper": (np.where(STARTS >= 6, -0.3, 0.3), ["holds", "holds"]),
    "the other way round": (np.where(STARTS >= 6, 0.3, -0.3), ["does not hold", "does not hold"]),
    "every block lowers it": (np.full(10, -0.3), ["holds", "does not hold"]),
    "too little to speak of": (np.full(10, -0.02), ["does not hold", "holds"]),
    "only the first layer's block is different": (np.where(STARTS == 0, -9.0, 0.3), ["does not hold", "holds"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_claim_is_found_where_it_is_planted_and_nowhere_else(case):
    curve, expected = CASES[case]
    noise = 0.01 if "little" in case else 0.05
    assert layer_repeats.verdicts(planted(curve, noise), N_LAYERS)["verdict"].tolist() == expected


def test_what_straddles_the_bound_is_undecided_and_so_are_twins_that_disagree():
    noisy = planted(np.full(10, -0.04), noise=0.5)
    assert claims.UNDECIDED in layer_repeats.verdicts(noisy, N_LAYERS)["verdict"].tolist()
    lower, higher = (planted(np.where(STARTS >= 6, change, 0.3)).assign(seed=n) for n, change in ((0, -0.3), (1, 0.3)))
    late, early = layer_repeats.verdicts(pd.concat([lower, higher]), N_LAYERS)["verdict"]
    assert (late, early) == (claims.UNDECIDED, claims.HOLDS)


def test_the_statistic_is_the_mean_of_late_blocks_in_shares_of_the_intact_entropy():
    curve = np.arange(10) / 10
    late, early = (layer_repeats.entropy_change(planted(curve, noise=0), N_LAYERS, part) for part in ("late", "early"))
    assert late.estimate == pytest.approx((0.6 + 0.7 + 0.8 + 0.9) / 4 / 4)
    assert early.estimate == pytest.approx((0.1 + 0.2) / 2 / 4)
