"""Numbers read off the authors' own plots (``reference/authors_curves.json``), for the models they show."""

import json
from functools import cache
from typing import Any

import pandas as pd

from helpers import files, paths
from helpers.engine.sources import ALIASES


def local_attention(model: str) -> pd.DataFrame | None:
    """The authors' ``attention_per_offset`` by layer; other texts than ours (samples of the Pile)."""
    values = _curves()["local_attention"]["models"].get(_alias(model))
    return None if values is None else pd.DataFrame({"attention_per_offset": values, "depth": _depths(len(values))})


def lens_entropy(model: str) -> pd.DataFrame | None:
    """The authors' ``entropy_bits_final_scale`` by lens row; other texts than ours."""
    values = _curves()["logit_lens_entropy_bits"]["models"].get(_alias(model))
    return None if values is None else pd.DataFrame({"entropy_bits_final_scale": values, "depth": _depths(len(values))})


def neuron_counts(model: str) -> pd.DataFrame | None:
    """The authors' ``n_prediction`` and ``n_suppression`` by layer; they depend on weights alone."""
    values = _curves()["neuron_counts"]["models"].get(_alias(model))
    if values is None:
        return None
    counts = {f"n_{kind}": per_layer for kind, per_layer in values.items()}
    return pd.DataFrame(counts | {"depth": _depths(len(values["prediction"]))})


def _alias(model: str) -> str | None:
    """The paper's name for the model, by alias or Hub id, at its main revision."""
    return next((alias for alias, hub_id in ALIASES.items() if model in (alias, hub_id)), None)


def _depths(n: int) -> list[float]:
    return [number / max(1, n - 1) for number in range(n)]


@cache
def _curves() -> dict[str, Any]:
    return json.loads(files.reading(paths.REFERENCE / "authors_curves.json").read_text(encoding="utf8"))
