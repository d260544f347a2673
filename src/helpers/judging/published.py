"""Numbers read off the authors' own plots (``reference/authors_curves.json``), for the models they show.

Every curve has a ``depth`` and a ``label`` for the legend. ``beside`` gives GPT-2's to models that have none of
their own: a reference to look at, not something to agree with.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pandas as pd

from helpers import files, paths
from helpers.engine.sources import ALIASES

REFERENCE = "gpt2"
OWN_LABEL = "the authors' plot"
REFERENCE_LABEL = "GPT-2, the authors' plot"


def local_attention(model: str) -> pd.DataFrame | None:
    """The authors' ``attention_per_offset`` by layer; other texts than ours (samples of the Pile)."""
    values = _curves()["local_attention"]["models"].get(_alias(model))
    return None if values is None else _curve({"attention_per_offset": values})


def superseded_lens_entropy(model: str) -> pd.DataFrame | None:
    """The authors' ``entropy_bits_final_scale`` by lens row: a lens since superseded; other texts than ours."""
    values = _curves()["logit_lens_entropy_bits"]["models"].get(_alias(model))
    return None if values is None else _curve({"entropy_bits_final_scale": values})


def neuron_counts(model: str) -> pd.DataFrame | None:
    """The authors' ``n_prediction`` and ``n_suppression`` by layer, of ``n_neurons``; they depend on weights alone."""
    alias = _alias(model)
    values = _curves()["neuron_counts"]["models"].get(alias)
    if values is None:
        return None
    counts = _curve({f"n_{kind}": per_layer for kind, per_layer in values.items()})
    return counts.assign(n_neurons=_curves()["neuron_counts"]["neurons_per_layer"][alias])


def beside(curve: Callable[[str], pd.DataFrame | None], model: str) -> pd.DataFrame | None:
    """The model's own published ``curve``, or else GPT-2's; the label tells which."""
    if (own := curve(model)) is not None:
        return own
    reference = curve(REFERENCE)
    return None if reference is None else reference.assign(label=REFERENCE_LABEL)


def _curve(columns: dict[str, Any]) -> pd.DataFrame:
    """One row per layer, from the first at depth 0 to the last at 1."""
    curve = pd.DataFrame(columns)
    return curve.assign(depth=curve.index / max(1, len(curve) - 1), label=OWN_LABEL)


def _alias(model: str) -> str | None:
    """The paper's name for the model, by alias or Hub id, at its main revision."""
    return next((alias for alias, hub_id in ALIASES.items() if model in (alias, hub_id)), None)


@cache
def _curves() -> dict[str, Any]:
    return json.loads(files.reading(paths.REFERENCE / "authors_curves.json").read_text(encoding="utf8"))
