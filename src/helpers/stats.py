"""Means over sequences and how sure they are: percentile bootstrap over sequences.

One set of resamples serves all layers, interventions and measures of a run, so that differences between
them can be resampled jointly. Windows cut from one document are not independent: intervals are too
narrow where a text has few documents.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from torch import Tensor

RESAMPLES = 1000
CONFIDENCE = 0.95
KEYS = ("layer", "intervention")


def means(measures: Mapping[str, Shaped[Tensor, "sequence pos"]]) -> dict[str, Float[Tensor, "sequence"]]:
    """The mean of each measure over the positions of a sequence, in float64."""
    return {name: values.double().mean(-1) for name, values in measures.items()}


def rows(first: int, measures: Mapping[str, Shaped[Tensor, "sequence"]], **keys: int | str) -> pd.DataFrame:
    """Measures of some sequences, the first of which has index ``first``, as rows under common keys."""
    values = {name: value.double().cpu().numpy() for name, value in measures.items()}
    n_sequences = len(next(iter(values.values())))
    return pd.DataFrame({"sequence": range(first, first + n_sequences), **keys, **values})


def summarise(
    sequences: pd.DataFrame,
    ratios: Mapping[str, tuple[str, str]] | None = None,
    seed: int = 0,
    keys: Sequence[str] = KEYS,
) -> pd.DataFrame:
    """Mean over sequences of every measure, with ``_low`` and ``_high``, per layer (and intervention, or other keys).

    ``sequences`` has one row per sequence and key. ``ratios`` names further columns as numerator and
    denominator, each summed over the sequences of a resample; empty where the denominator is 0.
    """
    keys = [key for key in keys if key in sequences]
    measures = [column for column in sequences if column not in (*keys, "sequence")]
    wide = sequences.pivot(index=keys, columns="sequence", values=measures)
    weights = resample_weights(wide[measures[0]].shape[1], seed)
    means = {measure: _means(wide[measure].to_numpy(dtype=float), weights) for measure in measures}
    columns = {}
    for measure, values in means.items():
        columns |= interval(measure, values)
        for name, (numerator, denominator) in (ratios or {}).items():
            if measure == denominator:
                columns |= interval(name, divide(means[numerator], means[denominator]))
    table = pd.DataFrame(columns, index=wide.index).reset_index()
    return table.sort_values(list(reversed(keys)), ignore_index=True)


def resample_weights(n_sequences: int, seed: int) -> Float[np.ndarray, "resample sequence"]:
    """Weight of every sequence in the plain mean (row 0) and in each bootstrap resample (the other rows)."""
    draws = np.random.default_rng(seed).integers(n_sequences, size=(RESAMPLES, n_sequences))
    counts = np.stack([np.bincount(draw, minlength=n_sequences) for draw in draws])
    return np.vstack([np.ones(n_sequences), counts]) / n_sequences


def divide(
    numerator: Float[np.ndarray, "*shape"], denominator: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Element by element; not a number where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 1e-12)


def interval(measure: str, values: Float[np.ndarray, "key resample"]) -> dict[str, np.ndarray]:
    """The mean (resample 0) and the percentile interval of the other resamples, as columns ``measure``, ``_low``
    and ``_high``."""
    mean, resampled = values[:, 0], values[:, 1:]
    tail = 50 * (1 - CONFIDENCE)
    bounds = np.full((2, len(mean)), np.nan)
    known = ~np.isnan(mean)
    if known.any():
        bounds[:, known] = np.nanpercentile(resampled[known], [tail, 100 - tail], axis=1)
    return {measure: mean, f"{measure}_low": bounds[0], f"{measure}_high": bounds[1]}


def _means(values: Float[np.ndarray, "key sequence"], weights) -> Float[np.ndarray, "key resample"]:
    """Weighted means; deviations are averaged, so that equal values give exactly that value."""
    centre = values.mean(axis=1, keepdims=True)
    return centre + (values - centre) @ weights.T
