"""Models larger than one device: Hugging Face device maps, at the grain of whole blocks.

A block may live on a GPU, in main memory (``cpu``) or on disk (``disk``); the last two are ``offloading``'s.
Embedding, final norm and unembedding, which are read all the time, stay on the main device: the first GPU the
map names, else the CPU.
"""

import json
from collections.abc import Callable, Mapping

import torch
from accelerate import infer_auto_device_map
from accelerate.utils import get_balanced_memory, send_to_device
from torch.nn import Module
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel

from helpers import files, paths
from helpers.engine.offloading import offload
from helpers.errors import InputError, refused

STRATEGIES = ("balanced", "balanced_low_0", "sequential")
OFFLOADED = ("cpu", "disk")
MOST_BYTES = 10**6  # of a device map
DeviceMap = Mapping[str, str | int]


def is_device_map(device: str) -> bool:
    """Whether ``device`` is a strategy of Hugging Face's or a ``.json`` file with a device map."""
    return device in STRATEGIES or device.endswith(".json")


def device_name(device: str) -> str:
    """What ``device`` means on this machine."""
    return device if is_device_map(device) else str(torch_device(device))


def torch_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU; raises ``InputError`` for one this machine lacks."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if device.startswith("meta"):
            raise RuntimeError("holds no values")
        return torch.empty(0, device=device).device
    except Exception:  # every backend has its own
        raise InputError(f"device {device!r} is not available here: use cpu, or auto to choose") from None


def device_map(device: str, model: PreTrainedModel, dtype: torch.dtype) -> DeviceMap:
    """The device map that ``device`` stands for: where each module of the Hugging Face ``model`` goes."""
    if device in STRATEGIES:
        whole = {"dtype": dtype, "no_split_module_classes": list(model._no_split_modules or [])}
        low_zero = device == "balanced_low_0"
        memory = None if device == "sequential" else get_balanced_memory(model, low_zero=low_zero, **whole)
        return infer_auto_device_map(model, max_memory=memory, **whole)
    with refused(f"device map {device} cannot be read: write it as JSON"):
        content = json.loads(files.read_text(paths.absolute(device), MOST_BYTES))
    if not isinstance(content, dict) or not content or not {str, int}.issuperset(map(type, content.values())):
        raise InputError(f'device map {device} should look like {{"model.layers.0": 0, "model.layers.1": "disk"}}')
    return content


def dispatch(bridge: TransformerBridge, device_map: DeviceMap) -> TransformerBridge:
    """Put every block where ``device_map`` says, everything else on the main device."""
    places = [_place(device_map, block.name) for block in bridge.blocks]
    main = next((place for place in map(_named, device_map.values()) if place not in OFFLOADED), "cpu")
    _move(bridge, main, leave_out=bridge.blocks)
    for block, place in zip(bridge.blocks, places, strict=True):
        runs_on = main if place in OFFLOADED else place
        _move(block, runs_on if place == runs_on else "cpu")
        block.register_forward_pre_hook(_bring_inputs(runs_on), with_kwargs=True)
        if place in OFFLOADED:
            offload(block, runs_on, on_disk=place == "disk")
    bridge.ln_final.register_forward_pre_hook(_bring_inputs(main), with_kwargs=True)
    bridge.cfg.device = main
    return bridge


def _place(device_map: DeviceMap, block: str) -> str:
    """Where a block goes: the entry of the longest name that contains it."""
    parts = block.split(".")
    for length in range(len(parts), -1, -1):
        if (name := ".".join(parts[:length])) in device_map:
            return _named(device_map[name])
    split = next((name for name in device_map if name.startswith(f"{block}.")), None)
    if split:
        raise InputError(f"the device map splits {block} (at {split}): give every layer to one device")
    raise InputError(f"the device map says nothing of {block}: name it, or what contains it")


def _named(place: str | int) -> str:
    """A device as PyTorch calls it, or ``disk``; raises ``InputError`` for one this machine lacks."""
    name = f"cuda:{place}" if isinstance(place, int) else str(place)
    if name in OFFLOADED:
        return name
    try:
        return str(torch_device(name))
    except InputError:
        raise InputError(f"the device map asks for device {place!r}, which is not available here") from None


def _move(module: Module, device: str, leave_out: Module | None = None) -> None:
    """Move parameters and buffers in place, so that every reference to them sees it."""
    left = {id(tensor) for tensor in (*leave_out.parameters(), *leave_out.buffers())} if leave_out else set()
    for tensor in (*module.parameters(), *module.buffers()):
        if id(tensor) not in left:
            tensor.data = tensor.data.to(device)


def _bring_inputs(device: str) -> Callable:
    def hook(_module, args, kwargs):
        return send_to_device(args, device), send_to_device(kwargs, device)

    return hook
