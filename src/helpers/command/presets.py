"""Presets: models and common parameters under one name, in ``presets/<name>.yaml``."""

from typing import Any

import yaml

from helpers import paths
from helpers.errors import InputError

DEFAULTS = {"device": "auto", "dtype": "float32", "batch_size": "auto", "seed": 0, "jobs": 1, "checkpoints": []}
EXAMPLES = {
    "models": ["gpt2"],
    "corpus": "bundled",
    "tokens": 20000,
    "context": 256,
    "control": "none",
    "device": "auto",
    "dtype": "float32",
    "seed": 0,
    "jobs": 1,
    "checkpoints": ["step1000"],
}
KEYS = ("models", "corpus", "tokens", "context", "control", *DEFAULTS)


def read(name: str) -> dict[str, Any]:
    """``presets/<name>.yaml`` over the defaults; every key is known and none is missing."""
    known = {file.stem: file for file in sorted(paths.PRESETS.glob("*.yaml"))}
    if name not in known:
        raise InputError(f"no preset {name!r}: there are {', '.join(known)} (files in {paths.PRESETS})")
    try:
        content = yaml.safe_load(known[name].read_text(encoding="utf8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"preset {known[name]} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"preset {known[name]} is not a YAML mapping of options")
    preset = DEFAULTS | content
    if wrong := set(preset) ^ set(KEYS):
        raise InputError(f"preset {known[name]} has unknown or missing keys: {', '.join(map(str, sorted(wrong)))}")
    for key, example in EXAMPLES.items():
        if type(preset[key]) is not type(example):
            raise InputError(f"preset {known[name]}: {key} is {preset[key]!r}, it should be like {example!r}")
    return preset
