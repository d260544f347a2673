"""One experiment's measures on one model, as curves over layers: of the text as it is and in every resample of it."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from helpers import stats
from helpers.stats import Resampled


class Measures:
    """``rows`` has one row per sequence, layer (and intervention), or without sequences one per layer.

    All curves are of the same resamples. A curve that the model does not have is one unknown value.
    """

    def __init__(self, rows: pd.DataFrame, seed: int = 0) -> None:
        self.rows = rows if "sequence" in rows else rows.assign(sequence=0)
        self.weights = stats.resample_weights(self.rows["sequence"].nunique(), seed)

    def curve(self, column: str, intervention: str | None = None) -> Resampled:
        """Means over sequences, layer by layer."""
        wide = self._wide(column, intervention)
        return self.weights.map(lambda weights: weights @ wide)

    def depth(self, intervention: str | None = None) -> Float[np.ndarray, "layer"]:
        """Relative depth of every layer that the curve has, among all layers."""
        layers = np.sort(self._chosen(intervention)["layer"].unique())
        return layers / max(1, self.rows["layer"].max()) if len(layers) else np.full(1, np.nan)

    def halves(self, column: str, intervention: str | None = None) -> list[Resampled]:
        """The curve on every other sequence, and on the rest; a resample without any of them keeps the text's own."""
        wide = self._wide(column, intervention)
        return [self._half(wide, slice(first, None, 2)) for first in (0, 1)]

    def _half(self, wide: Float[np.ndarray, "sequence layer"], half: slice) -> Resampled:
        own = self.weights.estimate[half]

        def mean(weights: Float[np.ndarray, "resample sequence"]) -> Float[np.ndarray, "resample layer"]:
            drawn = weights[:, half].sum(1, keepdims=True) > 0
            weights = np.where(drawn, weights[:, half], own)
            return stats.divide(weights @ wide[half], weights.sum(1, keepdims=True))

        return self.weights.map(mean)

    def _wide(self, column: str, intervention: str | None) -> Float[np.ndarray, "sequence layer"]:
        chosen = self._chosen(intervention)
        if chosen.empty:  # a model of one layer has no swap
            return np.full((len(self.weights.estimate), 1), np.nan)
        return chosen.pivot(index="sequence", columns="layer", values=column).to_numpy(float)

    def _chosen(self, intervention: str | None) -> pd.DataFrame:
        return self.rows if intervention is None else self.rows[self.rows["intervention"] == intervention]
