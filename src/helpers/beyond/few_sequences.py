"""Means over few sequences: t-intervals where there are eight sequences or fewer.

The percentile bootstrap is too narrow on so few: what it resamples has too small a spread, and it knows nothing of
the tails. So a mean over 2 to 8 sequences has the interval of Student's t with n - 1 degrees of freedom. A ratio of
sums over sequences is linearised at its estimate: its deviations are those of numerator - ratio * denominator, divided
by the mean denominator. One sequence has no interval.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import t

from helpers import stats

FEW = 8


def summarise(
    sequences: pd.DataFrame,
    ratios: Mapping[str, tuple[str, str]] | None = None,
    seed: int = 0,
    keys: Sequence[str] = stats.LAYER_KEYS,
) -> pd.DataFrame:
    """As ``stats.summarise``, with t-intervals where there are at most ``FEW`` sequences."""
    table = stats.summarise(sequences, ratios=ratios, seed=seed, keys=keys)
    if sequences["sequence"].nunique() > FEW:
        return table
    keys = [key for key in keys if key in sequences]
    measures = [column for column in sequences if column not in (*keys, "sequence")]
    wide = sequences.pivot(index=keys, columns="sequence", values=measures)
    values = {measure: wide[measure].to_numpy(float) for measure in measures}
    deviations = {measure: each - each.mean(1, keepdims=True) for measure, each in values.items()}
    for name, (numerator, denominator) in (ratios or {}).items():
        above, below = values[numerator], values[denominator]
        mean = below.mean(1, keepdims=True)
        ratio = stats.divide(above.mean(1, keepdims=True), mean, above=stats.ROUNDING)
        deviations[name] = stats.divide(above - ratio * below, mean, above=stats.ROUNDING)
    table = table.set_index(keys)
    for column, each in deviations.items():
        half = pd.Series(half_width(each), index=wide.index).reindex(table.index)
        table[f"{column}_low"], table[f"{column}_high"] = table[column] - half, table[column] + half
    return table.reset_index()


def half_width(deviations: Float[np.ndarray, "row sequence"]) -> Float[np.ndarray, "row"]:
    """Half of the t-interval of a mean, from each sequence's deviation from it; unknown for a single sequence."""
    n = deviations.shape[1]
    if n < 2:
        return np.full(len(deviations), np.nan)
    spread = np.sqrt((deviations**2).sum(1) / (n - 1) / n)
    return t.ppf((1 + stats.CONFIDENCE) / 2, n - 1) * spread
