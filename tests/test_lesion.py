"""All lesions in one walk must equal each lesion made on its own."""

import pytest
import torch
from checkpoints import KINDS, save, some_tokens
from transformers import AutoModelForCausalLM

from helpers import blocks, lesion, models
from helpers.engine import readout, streams


def orders(n_layers: int) -> dict[str, list[int]]:
    """What runs in each stream, in the order of the streams."""
    layers = list(range(n_layers))
    made = {"intact": layers}
    for layer in layers:
        made[f"drop {layer}"] = layers[:layer] + layers[layer + 1 :]
        if layer + 1 < n_layers:
            made[f"swap {layer}"] = [*layers[:layer], layer + 1, layer, *layers[layer + 2 :]]
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_every_stream_equals_the_blocks_run_in_that_order(kind, bridges):
    bridge, tokens = bridges[kind], some_tokens()
    streams = lesion.lesioned_streams(bridge, tokens, blocks.record_inputs(bridge, tokens))
    expected = orders(bridge.cfg.n_layers)
    assert len(streams) == len(expected) == 2 * bridge.cfg.n_layers
    intact = blocks.run_order(bridge, tokens, expected["intact"])
    for (name, order), stream in zip(expected.items(), streams, strict=True):
        logits = bridge.unembed(bridge.ln_final(stream))
        torch.testing.assert_close(logits, blocks.run_order(bridge, tokens, order), rtol=0, atol=1e-4, msg=name)
        if name != "intact":
            assert (logits - intact).abs().max() > 0.01, f"{name} shows nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_dropping_by_hooks_gives_the_same_predictions(kind, bridges):
    bridge, tokens = bridges[kind], some_tokens()
    for layer in range(bridge.cfg.n_layers):
        hooked = bridge.run_with_hooks(tokens, fwd_hooks=lesion.drop_hooks(layer), use_cache=False)
        expected = blocks.run_order(bridge, tokens, orders(bridge.cfg.n_layers)[f"drop {layer}"])
        torch.testing.assert_close(hooked, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(bridge(tokens, use_cache=False), blocks.run_order(bridge, tokens, range(4)))


@pytest.mark.parametrize("rows_per_call", [1, 2, 1000])
def test_a_sweep_runs_n_squared_blocks_and_reads_2_n_streams_per_sequence(rows_per_call, bridges, monkeypatch):
    bridge, tokens = bridges["neox_sequential"], some_tokens()
    n_layers, n_sequences = bridge.cfg.n_layers, len(tokens)
    monkeypatch.setattr(streams, "rows_per_call", lambda *_: rows_per_call)
    inputs = blocks.record_inputs(bridge, tokens)
    monkeypatch.setattr(blocks, "record_inputs", lambda *_: inputs)
    block_rows, read_rows = [], []
    handles = [
        block.register_forward_hook(lambda module, args, out: block_rows.append(len(args[0])))
        for block in bridge.blocks
    ]
    handles.append(bridge.ln_final.register_forward_hook(lambda module, args, out: read_rows.append(len(args[0]))))
    try:
        lesion.sweep(bridge, tokens, batch_size=2)
    finally:
        for handle in handles:
            handle.remove()
    assert sum(block_rows) == n_layers**2 * n_sequences
    assert max(block_rows) <= rows_per_call
    assert sum(read_rows) == 2 * n_layers * n_sequences


def test_a_layer_that_writes_nothing_is_not_missed(checkpoints, tmp_path):
    """With layer 1 silenced, dropping it changes nothing, and swapping it with a neighbour neither."""
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(checkpoints["gpt2"])
        for module in (model.transformer.h[1].attn.c_proj, model.transformer.h[1].mlp.c_proj):
            module.weight.zero_()
            module.bias.zero_()
    save(model, tmp_path)
    sequences = lesion.sweep(models.load(str(tmp_path)), some_tokens())
    harmless = {(1, "drop"), (0, "swap"), (1, "swap")}
    for (layer, intervention), rows in sequences.groupby(["layer", "intervention"]):
        if (layer, intervention) in harmless:
            assert rows["kl_nats"].max() < 1e-5
            assert rows["top1_agreement"].tolist() == [1, 1, 1]
            assert rows["loss_change_nats"].abs().max() < 1e-5
        else:
            assert rows["kl_nats"].min() > 1e-3


def test_a_one_layer_model_has_one_drop_and_no_swap(checkpoints, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"], num_hidden_layers=1)
    save(model, tmp_path)
    bridge, tokens = models.load(str(tmp_path)), some_tokens(context=8)
    sequences = lesion.sweep(bridge, tokens)
    assert sequences[["sequence", "layer", "intervention"]].values.tolist() == [[n, 0, "drop"] for n in range(3)]
    streams = lesion.lesioned_streams(bridge, tokens, blocks.record_inputs(bridge, tokens))
    assert torch.equal(streams[1], blocks.embed(bridge, tokens))


def test_every_sequence_has_every_drop_and_every_swap_once(bridges):
    bridge = bridges["qwen2"]
    sequences = lesion.sweep(bridge, some_tokens(), batch_size=2)
    keys = sequences[["sequence", "layer", "intervention"]]
    assert len(keys.drop_duplicates()) == len(keys) == 3 * (2 * bridge.cfg.n_layers - 1)
    assert set(keys["sequence"]) == {0, 1, 2}


def test_the_sweep_looks_at_predicted_positions_only(bridges):
    """The last token is a label and no input: another one changes losses and accuracies, but no KL."""
    bridge, tokens = bridges["gpt2"], some_tokens()
    changed = tokens.clone()
    changed[:, -1] = readout.labels(tokens)[:, 0]
    before, after = lesion.sweep(bridge, tokens), lesion.sweep(bridge, changed)
    assert before["kl_nats"].tolist() == pytest.approx(after["kl_nats"].tolist(), abs=1e-6)
    assert (before["loss_change_nats"] - after["loss_change_nats"]).abs().min() > 0


def test_rounding_noise_is_the_kl_from_the_float32_model_and_0_for_itself(checkpoints, bridges):
    exact, tokens = bridges["neox_parallel"], some_tokens()
    half = models.load(str(checkpoints["neox_parallel"]), dtype="bfloat16")
    noise = lesion.sweep(half, tokens, exact=exact).groupby("sequence")["kl_noise_nats"]
    log_p, log_q = (bridge(tokens, use_cache=False)[:, 1:-1].double().log_softmax(-1) for bridge in (exact, half))
    expected = (log_p.exp() * (log_p - log_q)).sum(-1).mean(-1)
    assert noise.nunique().tolist() == [1, 1, 1]
    assert noise.first().tolist() == pytest.approx(expected.tolist(), rel=0.2)  # its own logits are rounded once more
    assert noise.first().min() > 1e-5
    assert (lesion.sweep(exact, tokens)["kl_noise_nats"] == 0).all()
    assert lesion.sweep(exact, tokens, exact=exact)["kl_noise_nats"].max() < 1e-6


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision_a_lesion_of_nothing_has_kl_0(dtype, checkpoints, tmp_path):
    """Else the small KLs of the middle would be drowned by the reading, not by the model."""
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"])
        model.model.layers[1].self_attn.o_proj.weight.zero_()
        model.model.layers[1].mlp.down_proj.weight.zero_()
    save(model, tmp_path)
    sequences = lesion.sweep(models.load(str(tmp_path), dtype=dtype), some_tokens())
    assert sequences[(sequences["layer"] == 1) & (sequences["intervention"] == "drop")]["kl_nats"].max() < 1e-5
    assert sequences[sequences["layer"] == 2]["kl_nats"].min() > 1e-3
