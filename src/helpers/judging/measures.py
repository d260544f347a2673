"""One experiment's measures on one model, as curves over layers: of the text as it is and in every resample of it.

Text is resampled by documents. Neurons are counted in the weights, where no text is involved: there the neurons of
every layer are resampled.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float

from helpers import neurons, stats
from helpers.stats import Resampled


class Measures:
    """``rows`` has one row per sequence, layer (and intervention), or without sequences one per layer.

    All curves are of the same resamples. A curve that the model does not have is one unknown value.
    """

    def __init__(self, rows: pd.DataFrame, seed: int = 0) -> None:
        self.rows = rows if "sequence" in rows else rows.assign(sequence=0)
        documents = stats.documents_in(self.rows)
        self.clusters = stats.clusters(documents)
        self.weights = stats.resample_weights(len(documents), seed, documents)

    def curve(self, column: str, intervention: str | None = None) -> Resampled:
        """Means over sequences, layer by layer."""
        wide = self._wide(column, intervention)
        return self.weights.map(lambda weights: weights @ wide)

    def depth(self, intervention: str | None = None) -> Float[np.ndarray, "layer"]:
        """Relative depth of every layer that the curve has, among all layers."""
        layers = np.sort(self._chosen(intervention)["layer"].unique())
        return layers / max(1, self.rows["layer"].max()) if len(layers) else np.full(1, np.nan)

    def halves(self, column: str, intervention: str | None = None) -> list[Resampled]:
        """The curve on every other document, and on the rest; a resample without any of them keeps the text's own."""
        wide = self._wide(column, intervention)
        return [self._half(wide, self.clusters % 2 == half) for half in (0, 1)]

    def _half(self, wide: Float[np.ndarray, "sequence layer"], half: np.ndarray) -> Resampled:
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


class NeuronCounts(Measures):
    """The neurons of each kind, layer by layer, from one row per neuron; ``rows`` are the counts, one per layer.

    As many neurons of a layer are drawn with replacement as it has, so its counts are multinomial: that is how they
    are drawn here, without drawing neurons.
    """

    def __init__(self, each: pd.DataFrame, seed: int = 0) -> None:
        super().__init__(neurons.count(each), seed)
        kinds = self.rows[["n_prediction", "n_suppression"]].to_numpy()
        shares = np.column_stack([kinds, self.rows["n_neurons"] - kinds.sum(1)]) / self.rows[["n_neurons"]].to_numpy()
        drawn = np.random.default_rng((seed, 1)).multinomial(
            self.rows["n_neurons"].to_numpy(), shares, size=(stats.RESAMPLES, len(shares))
        )
        self.drawn = {"n_prediction": drawn[..., 0], "n_suppression": drawn[..., 1]}

    def curve(self, column: str, intervention: str | None = None) -> Resampled:
        """The counts of a kind."""
        return Resampled(self.rows[column].to_numpy(float), self.drawn[column].astype(float))
