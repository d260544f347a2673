"""Neighbours exchanged, doubled and side by side, against a raw model whose list of layers is edited."""

import pandas as pd
import pytest
import torch
from checkpoints import KINDS, some_tokens

from helpers import blocks, lesion
from helpers.beyond import exchange
from helpers.judging.claims import DOES_NOT_HOLD, HOLDS, UNDECIDED
from reference import RawModel, kl, predicting


def orders(layer: int, n_layers: int = 4) -> dict[str, list[int]]:
    """The layers that run, one after another, for the pair that begins with ``layer``; parallel has no such order."""
    before, after = list(range(layer)), list(range(layer + 2, n_layers))
    pairs = {
        "exchanged": [layer + 1, layer],
        "first_twice": [layer, layer],
        "second_twice": [layer + 1, layer + 1],
        "first_only": [layer],
        "second_only": [layer + 1],
    }
    return {name: [*before, *pair, *after] for name, pair in pairs.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_order_is_what_running_the_blocks_in_it_gives(kind, bridges):
    bridge, tokens = bridges[kind], some_tokens()
    inputs = blocks.record_inputs(bridge, tokens)
    rows = torch.stack([blocks.run_blocks(bridge, tokens, range(row), inputs) for row in range(5)])
    for layer in range(3):
        found = dict(zip(exchange.ORDERS, exchange.reordered(bridge, layer + 1, rows, inputs), strict=True))
        for name, order in orders(layer).items():
            upto = [each for each in order if each <= layer + 1]
            expected = blocks.run_blocks(bridge, tokens, upto, inputs)
            torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-4, msg=f"{name} {layer}")
        wrote = [blocks.run_block(bridge, each, rows[layer], inputs) - rows[layer] for each in (layer, layer + 1)]
        torch.testing.assert_close(found["parallel"], rows[layer] + sum(wrote), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "qwen2"])
def test_the_sweep_measures_what_the_raw_model_shows(kind, bridges, checkpoints):
    raw, tokens = RawModel(checkpoints[kind]), some_tokens(n_sequences=1)
    intact = raw.log_probabilities(tokens[0])
    table = exchange.sweep(bridges[kind], tokens).set_index(["layer", "intervention"])
    assert len(table) == 3 * len(exchange.ORDERS)
    for layer in range(3):
        for name, order in orders(layer).items():
            with raw.running(order):
                lesioned = raw.log_probabilities(tokens[0])
            here = [kl(intact[t], lesioned[t]) for t in predicting(tokens[0])]
            assert table.loc[(layer, name), "kl_nats"] == pytest.approx(sum(here) / len(here), rel=1e-3, abs=1e-5)


def test_exchange_and_leaving_out_are_those_of_the_layer_lesion(bridges):
    bridge, tokens = bridges["llama"], some_tokens()
    expected = lesion.sweep(bridge, tokens).set_index(["intervention", "layer", "sequence"])["kl_nats"].sort_index()
    found = exchange.sweep(bridge, tokens, batch_size=2)
    found = found.set_index(["intervention", "layer", "sequence"])["kl_nats"].sort_index()
    assert found["exchanged"].tolist() == pytest.approx(expected["swap"].tolist(), abs=1e-5)
    assert found["second_only"].tolist() == pytest.approx(expected["drop"].loc[:2].tolist(), abs=1e-5)
    assert found["first_only"].tolist() == pytest.approx(expected["drop"].loc[1:].tolist(), abs=1e-5)


def test_neighbours_with_the_same_weights_stand_in_for_each_other(bridges, monkeypatch):
    """Planted: block 2 is block 1 once more, so exchange and repetition of these two change nothing."""
    bridge, tokens = bridges["neox_sequential"], some_tokens()
    run_block = blocks.run_block

    def alike(bridge, layer, residual, inputs):
        return run_block(bridge, 1 if layer == 2 else layer, residual, inputs)

    monkeypatch.setattr(blocks, "run_block", alike)
    kl_nats = exchange.sweep(bridge, tokens).groupby(["layer", "intervention"])["kl_nats"].mean()
    assert kl_nats[1][["exchanged", "first_twice", "second_twice"]].max() < 1e-5
    assert kl_nats[1][["first_only", "second_only"]].min() > 0.01
    assert kl_nats[0][["exchanged", "first_twice", "second_twice"]].min() > 0.01


def pairs(repeated: float, left_out: float, n_layers: int = 8) -> pd.DataFrame:
    worth = {name: left_out if name.endswith("only") else repeated for name in exchange.ORDERS}
    keys = [(sequence, layer, name) for sequence in range(10) for layer in range(n_layers - 1) for name in worth]
    rows = pd.DataFrame(keys, columns=["sequence", "layer", "intervention"])
    return rows.assign(kl_nats=rows["intervention"].map(worth) * (1 + rows["sequence"] / 100))


@pytest.mark.parametrize(("repeated", "verdict"), [(0.2, HOLDS), (0.9, DOES_NOT_HOLD), (3.0, DOES_NOT_HOLD)])
def test_a_stand_in_must_repair_a_quarter(repeated, verdict):
    found = exchange.standing_in(pairs(repeated, 1.0))
    assert found["verdict"].tolist() == [verdict] * 2
    assert found["statistic"].tolist() == pytest.approx([repeated] * 2)


def test_the_ends_have_no_say():
    rows = pairs(0.2, 1.0)
    is_end = rows["layer"].isin([0, 6]) & rows["intervention"].str.endswith("twice")
    rows.loc[is_end, "kl_nats"] = 50.0
    assert exchange.standing_in(rows)["statistic"].tolist() == pytest.approx([0.2, 0.2])


def test_a_model_of_one_layer_has_no_neighbours():
    found = exchange.standing_in(pd.DataFrame(columns=["sequence", "layer", "intervention", "kl_nats"]))
    assert found["verdict"].tolist() == [UNDECIDED] * 2
