"""A model in pieces gives the numbers of the same model in one piece."""

import json

import pandas as pd
import pytest
import torch
from checkpoints import KINDS, VOCABULARY

from helpers import attention, lens, lesion, models, neurons, norms
from helpers.engine import batches, offloading, placement
from helpers.errors import InputError

LAYERS = {"gpt2": "transformer.h", "gpt2_untied": "transformer.h", "phi": "model.layers", "llama": "model.layers"}
LAYERS |= {"qwen2": "model.layers", "neox_parallel": "gpt_neox.layers", "neox_sequential": "gpt_neox.layers"}


def mixed_map(kind: str) -> dict:
    """Layer 1 on disk, the others in main memory."""
    layers = LAYERS[kind]
    return {layers.split(".")[0]: "cpu", "lm_head": "cpu", f"{layers}.1": "disk"}


@pytest.fixture(scope="module")
def dispatched(checkpoints, tmp_path_factory):
    made = {}

    def load(kind):
        if kind not in made:
            file = tmp_path_factory.mktemp("map") / "map.json"
            file.write_text(json.dumps(mixed_map(kind)))
            made[kind] = models.load(str(checkpoints[kind]), device=str(file))
        return made[kind]

    return load


def resident(bridge) -> list[int]:
    """Weights of each layer that are in memory."""
    return [sum(parameter.numel() for parameter in block.parameters()) for block in bridge.blocks]


@pytest.mark.parametrize("kind", KINDS)
def test_every_experiment_gives_the_same_on_an_offloaded_model(kind, dispatched, bridges):
    whole, pieces = bridges[kind], dispatched(kind)
    assert min(resident(whole)) > 0 and max(resident(pieces)) == 0
    tokens = torch.randint(VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(0))
    for experiment in (lesion, attention, lens, norms):
        pd.testing.assert_frame_equal(experiment.sweep(pieces, tokens), experiment.sweep(whole, tokens))
    pd.testing.assert_frame_equal(neurons.moments(pieces), neurons.moments(whole))
    assert max(resident(pieces)) == 0
    assert batches.device(pieces).type == "cpu"


def test_a_block_is_let_go_also_when_it_fails(dispatched):
    bridge = dispatched("gpt2")

    def stop(_module, _args):
        raise KeyboardInterrupt

    handle = bridge.blocks[1].register_forward_pre_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            bridge(torch.zeros(1, 8, dtype=torch.int64), use_cache=False)
    finally:
        handle.remove()
    bridge(torch.zeros(1, 8, dtype=torch.int64), use_cache=False)
    assert max(resident(bridge)) == 0


def test_a_disk_block_is_a_file_and_not_memory(dispatched):
    stores = [offloading._STORES[block] for block in dispatched("llama").blocks]
    assert [store.values is None for store in stores] == [False, True, False, False]
    assert stores[1].file.stat().st_size > 1000


@pytest.mark.parametrize("strategy", placement.STRATEGIES)
def test_a_strategy_places_every_layer(strategy, checkpoints, bridges):
    bridge = models.load(str(checkpoints["qwen2"]), device=strategy)
    tokens = torch.arange(16).reshape(2, 8)
    torch.testing.assert_close(bridge(tokens, use_cache=False), bridges["qwen2"](tokens, use_cache=False))


def test_half_precision_can_be_offloaded_too(checkpoints, tmp_path):
    (tmp_path / "map.json").write_text(json.dumps({"": "disk"}))
    whole, pieces = (
        models.load(str(checkpoints["phi"]), device=device, dtype="bfloat16")
        for device in ("cpu", str(tmp_path / "map.json"))
    )
    tokens = torch.arange(16).reshape(2, 8)
    assert torch.equal(pieces(tokens, use_cache=False), whole(tokens, use_cache=False))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "should look like"),
        ("{}", "should look like"),
        ('{"transformer.h.0": "cpu"}', "says nothing of transformer.h.1"),
        ('{"transformer.h.0.mlp": "disk"}', "splits transformer.h.0 \\(at transformer.h.0.mlp\\)"),
        ('{"transformer": 7, "lm_head": 7}', "device 7, which is not available"),
        ('{"transformer": "tape"}', "device 'tape', which is not available"),
    ],
)
def test_a_bad_device_map_is_refused_in_one_line(content, message, checkpoints, tmp_path):
    file = tmp_path / "map.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        models.load(str(checkpoints["gpt2"]), device=str(file))
    assert "\n" not in str(caught.value)


def test_the_longest_name_decides():
    device_map = {"": "cpu", "model": "disk", "model.layers.1": "cpu", "model.layers.11": "disk"}
    places = [placement._place(device_map, f"model.layers.{layer}") for layer in (0, 1, 11)]
    assert places == ["disk", "cpu", "disk"]
