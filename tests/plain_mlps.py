"""The MLPs of a plain Hugging Face model: the last linear map of each, whatever its family calls it."""

import re
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

LAST_MAP = re.compile(r"\.(\d+)\.mlp\.(c_proj|dense_4h_to_h|down_proj|fc2)$")


def load(folder: Path) -> tuple[torch.nn.Module, dict[int, torch.nn.Module]]:
    """A checkpoint without any of our code, and by layer the map that multiplies its neurons' activations."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval().requires_grad_(False)
    found = {name: LAST_MAP.search(name) for name, _ in model.named_modules()}
    return model, {int(match[1]): model.get_submodule(name) for name, match in found.items() if match}
