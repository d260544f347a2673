"""Means over sequences and how sure they are: percentile bootstrap over documents.

One set of resamples serves all layers, interventions and measures of a run, so that differences between
them can be resampled jointly. Windows cut from one document are not independent, so whole documents are
drawn, with all windows that belong to them, wherever rows say in a column ``document`` which one that is.
The module is longer than others: how sure a number is, is decided here and nowhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from torch import Tensor

RESAMPLES = 1000
CONFIDENCE = 0.95
LAYER_KEYS = ("layer", "intervention")
DOCUMENT = "document"
FEWEST_DOCUMENTS = 8  # of fewer a percentile interval says nothing: then windows are drawn, and intervals too narrow
ROUNDING = 1e-12  # what may be left over where a sum of nothing is computed as a mean and its deviations


@dataclass(frozen=True, eq=False)
class Resampled:
    """A statistic of the text as it is (``estimate``) and of every bootstrap resample of it (``draws``).

    It is a number, or an array, for instance a curve over layers. ``-`` and ``/`` go resample by resample;
    a quotient is not a number where the denominator is not above 0.
    """

    estimate: Shaped[np.ndarray, "*shape"]
    draws: Shaped[np.ndarray, "resample *shape"]

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> "Resampled":
        """A function of the statistic. It takes ``[n, *shape]``, whatever n, and keeps the leading axis."""
        return combine(function, self)

    def at(self, place: int) -> "Resampled":
        """The statistic at one place of its first axis."""
        return Resampled(np.asarray(self.estimate[place]), self.draws[:, place])

    def __sub__(self, other: "Resampled") -> "Resampled":
        return combine(np.subtract, self, other)

    def __truediv__(self, other: "Resampled") -> "Resampled":
        return combine(divide, self, other)

    @property
    def is_finite(self) -> bool:
        """Whether it is a number, everywhere and in every resample."""
        return bool(np.isfinite(self.estimate).all() and np.isfinite(self.draws).all())

    def share(self, condition: Callable[[np.ndarray], np.ndarray]) -> float:
        """In what share of the resamples a condition is met."""
        return float(np.mean(condition(self.draws)))

    def interval(self) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
        """Both ends of the percentile interval, of the draws that are numbers; unknown where the estimate is."""
        tail = 50 * (1 - CONFIDENCE)
        ends = np.full((2, *self.estimate.shape), np.nan)
        known = ~np.isnan(self.estimate)
        if known.any():
            ends[:, known] = np.nanpercentile(self.draws[:, known], [tail, 100 - tail], axis=0)
        return np.asarray(ends[0]), np.asarray(ends[1])

    def columns(self, name: str) -> dict[str, Shaped[np.ndarray, "*shape"]]:
        """The estimate and its interval as columns of a table: ``name``, ``_low`` and ``_high``."""
        low, high = self.interval()
        return {name: self.estimate, f"{name}_low": low, f"{name}_high": high}


UNKNOWN = Resampled(np.array(np.nan), np.array([np.nan]))


def certain(value: float) -> Resampled:
    """A number that is the same in every resample."""
    return Resampled(np.array(value), np.full(RESAMPLES, value))


def combine(function: Callable[..., np.ndarray], *statistics: Resampled) -> Resampled:
    """A function of several statistics of the same resamples; as in ``Resampled.map``, over a leading axis."""
    estimate = function(*(statistic.estimate[None] for statistic in statistics))
    return Resampled(np.asarray(estimate[0]), function(*(statistic.draws for statistic in statistics)))


def pool(statistics: Sequence[Resampled]) -> Resampled:
    """Several models' statistic as that of one: the mean of their estimates, and the draws of all."""
    estimate = np.mean([statistic.estimate for statistic in statistics], axis=0)
    return Resampled(np.asarray(estimate), np.concatenate([statistic.draws for statistic in statistics]))


def divide(numerator: np.ndarray, denominator: np.ndarray, above: float = 0.0) -> np.ndarray:
    """Element by element, with broadcasting; not a number where the denominator is not ``above`` this."""
    unknown = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), np.nan)
    return np.divide(numerator, denominator, out=unknown, where=np.asarray(denominator) > above)


def resample_weights(n_sequences: int, seed: int, documents: Shaped[np.ndarray, "sequence"] | None = None) -> Resampled:
    """Weight of every sequence: in the plain mean, and in each bootstrap resample, in which as many documents are drawn
    as there are and each brings all its sequences. Without ``documents`` every sequence is one of its own."""
    groups = np.arange(n_sequences) if documents is None else clusters(documents)
    n_groups = groups.max() + 1
    draws = np.random.default_rng(seed).integers(n_groups, size=(RESAMPLES, n_groups))
    counts = np.stack([np.bincount(draw, minlength=n_groups) for draw in draws])[:, groups]
    return Resampled(np.ones(n_sequences) / n_sequences, counts / counts.sum(1, keepdims=True))


def clusters(documents: Shaped[np.ndarray, "sequence"]) -> Int[np.ndarray, "sequence"]:
    """What is drawn together: the number of each sequence's document, from 0 in their order; of too few documents,
    the sequence's own."""
    names, numbers = np.unique(documents, return_inverse=True)
    return numbers if len(names) >= FEWEST_DOCUMENTS else np.arange(len(documents))


def documents_in(rows: pd.DataFrame) -> Shaped[np.ndarray, "sequence"]:
    """The document of each sequence in the rows, in the order of the sequences; its own where no column says it."""
    return rows.groupby("sequence")[DOCUMENT if DOCUMENT in rows else "sequence"].first().to_numpy()


def weighted_mean(values: Float[np.ndarray, "sequence *shape"], weights: Resampled) -> Resampled:
    """Mean over sequences; deviations are averaged, so that equal values give exactly that value."""
    centre = values.mean(axis=0)
    deviations = values - centre
    return weights.map(lambda weight: centre + weight @ deviations)


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
    keys: Sequence[str] = LAYER_KEYS,
) -> pd.DataFrame:
    """Mean over sequences of every measure, with ``_low`` and ``_high``, per layer (and intervention, or other keys).

    ``sequences`` has one row per sequence and key, and may say in a column ``document`` what is drawn together.
    ``ratios`` names further columns as numerator and denominator, each summed over the sequences of a resample;
    empty where the denominator is 0.
    """
    keys = [key for key in keys if key in sequences]
    measures = [column for column in sequences if column not in (*keys, "sequence", DOCUMENT)]
    wide = sequences.pivot(index=keys, columns="sequence", values=measures)
    weights = resample_weights(wide[measures[0]].shape[1], seed, documents_in(sequences))
    resampled = {measure: weighted_mean(wide[measure].to_numpy(dtype=float).T, weights) for measure in measures}
    columns: dict[str, np.ndarray] = {}
    for measure in measures:
        columns |= resampled[measure].columns(measure)
        for name, (numerator, denominator) in (ratios or {}).items():
            if measure == denominator:
                columns |= combine(_ratio_of_sums, resampled[numerator], resampled[denominator]).columns(name)
    table = pd.DataFrame(columns, index=wide.index).reset_index()
    return table.sort_values(list(reversed(keys)), ignore_index=True)


def _ratio_of_sums(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return divide(numerator, denominator, above=ROUNDING)
