"""Presets: models and common parameters under one name, in ``presets/<name>.yaml``."""

import reprlib
from typing import Any

import yaml

from helpers import files, paths
from helpers.errors import InputError, refused

DEFAULTS = {"device": "auto", "dtype": "float32", "batch_size": "auto", "seed": 0, "jobs": 1, "checkpoints": []}
EXAMPLES = {
    "models": ["gpt2"],
    "corpus": "bundled",
    "tokens": 20000,
    "context": 256,
    "control": "none",
    "device": "auto",
    "dtype": "float32",
    "batch_size": ("auto", 8),
    "seed": 0,
    "jobs": 1,
    "checkpoints": ["step1000"],
}
MOST_BYTES = 10**5
KEYS = ("models", "corpus", "tokens", "context", "control", *DEFAULTS)


def read(name: str) -> dict[str, Any]:
    """``presets/<name>.yaml`` over the defaults; every key is known and none is missing. Raises ``InputError``."""
    known = {file.stem: file for file in sorted(paths.PRESETS.glob("*.yaml"))}
    if name not in known:
        raise InputError(f"no preset {name!r}: there are {', '.join(known)} (files in {paths.PRESETS})")
    with refused(f"preset {known[name]} is not YAML: mend it"):
        content = yaml.safe_load(files.read_text(known[name], MOST_BYTES))
    if not isinstance(content, dict):
        raise InputError(f"preset {known[name]} is not a YAML mapping of options")
    preset = DEFAULTS | content
    if wrong := set(preset) ^ set(KEYS):
        raise InputError(f"preset {known[name]} has unknown or missing keys: {', '.join(sorted(map(_shown, wrong)))}")
    for key, example in EXAMPLES.items():
        if not _is_like(preset[key], example):
            raise InputError(f"preset {known[name]}: {key} is {_shown(preset[key])}, it should be like {example!r}")
    if not preset["models"]:
        raise InputError(f"preset {known[name]} names no model: add one to models")
    return preset


def _is_like(value: object, example: object) -> bool:
    """Of the same type, or of one of several; of a list, the items too."""
    if isinstance(example, tuple):
        return any(_is_like(value, each) for each in example)
    if isinstance(example, list):
        return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
    return type(value) is type(example)


def _shown(value: object) -> str:
    """A value in a message: aliases in YAML can make a small file stand for more than can be written out."""
    return value if isinstance(value, str) else reprlib.repr(value)
