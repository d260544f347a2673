"""The statistics behind the claims: one number per joint bootstrap resample, from an experiment's curves.

Resample 0 is the text as it is; the others draw its sequences with replacement, the same draws for every
layer and measure. A statistic that a model does not have (no middle layer, a division by 0) is not a number.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float

from helpers import stats

MIDDLE = (0.2, 0.8)
Resampled = Float[np.ndarray, "resample"]


class Measures:
    """The measures of one experiment on one model, layer by layer, in every resample.

    ``rows`` has one row per sequence, layer (and intervention), or without sequences one per layer.
    """

    def __init__(self, rows: pd.DataFrame, seed: int = 0) -> None:
        self.rows = rows if "sequence" in rows else rows.assign(sequence=0)
        self.weights = stats.resample_weights(self.rows["sequence"].nunique(), seed)

    def curve(self, column: str, intervention: str | None = None) -> Float[np.ndarray, "resample layer"]:
        """Means over sequences; row 0 of all sequences, the others of the resamples."""
        return self.weights @ self._wide(column, intervention)

    def depth(self, intervention: str | None = None) -> Float[np.ndarray, "layer"]:
        """Relative depth of every layer that the curve has, among all layers."""
        layers = np.sort(self._chosen(intervention)["layer"].unique())
        return layers / max(1, self.rows["layer"].max()) if len(layers) else np.full(1, np.nan)

    def halves(self, column: str, intervention: str | None = None) -> list[Float[np.ndarray, "resample layer"]]:
        """The curve on every other sequence, and on the rest; a resample without any of them keeps the text's own."""
        wide = self._wide(column, intervention)
        return [self._half(wide[first::2], self.weights[:, first::2]) for first in (0, 1)]

    @staticmethod
    def _half(wide: Float[np.ndarray, "half layer"], weights: Float[np.ndarray, "resample half"]):
        total = weights.sum(1, keepdims=True)
        weights = np.where(total > 0, weights, weights[:1])
        with np.errstate(invalid="ignore"):  # a single sequence leaves the other half empty
            return weights @ wide / weights.sum(1, keepdims=True)

    def _wide(self, column: str, intervention: str | None) -> Float[np.ndarray, "sequence layer"]:
        chosen = self._chosen(intervention)
        if chosen.empty:  # a model of one layer has no swap
            return np.full((self.weights.shape[1], 1), np.nan)
        return chosen.pivot(index="sequence", columns="layer", values=column).to_numpy(float)

    def _chosen(self, intervention: str | None) -> pd.DataFrame:
        return self.rows if intervention is None else self.rows[self.rows["intervention"] == intervention]


def middle_relative_accuracy(lesions: Measures, intervention: str) -> Resampled:
    """Correct lesioned / correct intact, mean over layers at depth 0.2 to 0.8."""
    right, intact = (lesions.curve(column, intervention) for column in ("accuracy", "accuracy_intact"))
    return _middle(_ratio(right, intact), lesions.depth(intervention))


def same_first_guess(lesions: Measures, intervention: str) -> Resampled:
    """Share of positions where lesioned and intact model have the same first guess, mean over depth 0.2 to 0.8."""
    return _middle(lesions.curve("top1_agreement", intervention), lesions.depth(intervention))


def middle_kl_over_worse_end(lesions: Measures, intervention: str) -> Resampled:
    """Mean KL at depth 0.2 to 0.8 / KL of the first or last lesion, whichever is larger."""
    kl = lesions.curve("kl_nats", intervention)
    return _ratio(_middle(kl, lesions.depth(intervention)), np.maximum(kl[:, 0], kl[:, -1]))


def first_kl_over_worst_other(lesions: Measures) -> Resampled:
    """KL without the first layer / the largest KL without another one."""
    kl = lesions.curve("kl_nats", "drop")
    return _ratio(kl[:, 0], kl[:, 1:].max(1)) if kl.shape[1] > 1 else np.full(len(kl), np.nan)


def last_kl_over_middle(lesions: Measures) -> Resampled:
    """KL without the last layer / mean KL at depth 0.2 to 0.8."""
    kl = lesions.curve("kl_nats", "drop")
    return _ratio(kl[:, -1], _middle(kl, lesions.depth("drop")))


def swap_kl_over_drop_kl(lesions: Measures) -> Resampled:
    """KL of swapping layer l with the next / KL of dropping layer l, geometric mean over layers."""
    drop, swap = (lesions.curve("kl_nats", intervention) for intervention in ("drop", "swap"))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.log(_ratio(swap, drop[:, : swap.shape[1]])).mean(1))


def loss_change_of_most_useless_layer(lesions: Measures) -> Resampled:
    """Loss change without the layer that can best be spared: chosen on half the sequences, measured on the rest."""
    choosing, measuring = lesions.halves("loss_change_nats", "drop")
    if not np.isfinite(choosing).all():
        return np.full(len(choosing), np.nan)
    return np.take_along_axis(measuring, choosing.argmin(1)[:, None], 1)[:, 0]


def depth_of_peak(measured: Measures, column: str) -> Resampled:
    """Relative depth of the layer where the measure is largest; of equal ones the mean."""
    return _peak(measured.curve(column), measured.depth())


def suppression_peak_minus_prediction_peak(neurons: Measures) -> Resampled:
    """How much deeper the largest number of suppression neurons is than that of prediction neurons."""
    return depth_of_peak(neurons, "n_suppression") - depth_of_peak(neurons, "n_prediction")


def halfway_kl_over_first(lens: Measures) -> Resampled:
    """The lens's KL at depth 0.5, between the two nearest rows, / that of the embedding."""
    kl, last = lens.curve("kl_nats"), len(lens.depth()) - 1
    halfway = (kl[:, last // 2] + kl[:, (last + 1) // 2]) / 2
    return _ratio(halfway, kl[:, 0])


def relative_entropy_slope(lens: Measures) -> Resampled:
    """Slope of a straight line through the lens's entropy against depth / the entropy of the embedding."""
    centred, entropy = lens.depth() - lens.depth().mean(), lens.curve("entropy_bits")
    return _ratio(entropy @ centred / (centred @ centred), entropy[:, 0])


def last_step(lens: Measures, column: str) -> Resampled:
    """The last row minus the one before: what the last layer does."""
    curve = lens.curve(column)
    return curve[:, -1] - curve[:, -2]


def last_right_to_wrong_excess(lens: Measures) -> Resampled:
    """Share of predictions that the last layer turns wrong, minus the share that it turns right."""
    return lens.curve("right_to_wrong")[:, -1] - lens.curve("wrong_to_right")[:, -1]


def largest_count_difference(neurons: Measures, published: pd.DataFrame) -> Resampled:
    """Largest difference in a layer between the neurons counted and those in the authors' plot."""
    columns = ("n_prediction", "n_suppression")
    return np.max([abs(neurons.curve(column) - published[column].to_numpy()).max(1) for column in columns], axis=0)


def rank_correlation_with_layers(lesions: list[Measures]) -> Resampled:
    """Spearman correlation over models between layers and ``middle_relative_accuracy`` of drops."""
    n_layers = [len(one.depth("drop")) for one in lesions]
    kept = np.stack([middle_relative_accuracy(one, "drop") for one in lesions])
    ranks = pd.Series(n_layers).rank().to_numpy()
    if not np.isfinite(kept).all() or np.ptp(ranks) == 0:
        return np.full(kept.shape[1], np.nan)
    return pd.DataFrame(kept).rank().corrwith(pd.Series(ranks)).to_numpy()


def lead_over_commonest(lesions: Measures) -> Resampled:
    """How much more often the intact model is right than always guessing the commonest token."""
    right, commonest = (lesions.curve(f"accuracy_{what}", "drop")[:, 0] for what in ("intact", "commonest"))
    return right - commonest


STATISTICS: dict[str, Callable[..., Resampled]] = {
    function.__name__: function
    for function in (
        middle_relative_accuracy,
        middle_kl_over_worse_end,
        first_kl_over_worst_other,
        last_kl_over_middle,
        swap_kl_over_drop_kl,
        loss_change_of_most_useless_layer,
        depth_of_peak,
        suppression_peak_minus_prediction_peak,
        halfway_kl_over_first,
        relative_entropy_slope,
        last_step,
        last_right_to_wrong_excess,
        largest_count_difference,
        rank_correlation_with_layers,
    )
}

BESIDE = {same_first_guess.__name__: same_first_guess}


def _middle(curve: Float[np.ndarray, "resample layer"], depth: Float[np.ndarray, "layer"]) -> Resampled:
    """Mean over the layers at depth 0.2 to 0.8; not a number where there is none."""
    chosen = (depth >= MIDDLE[0]) & (depth <= MIDDLE[1])
    return curve[:, chosen].mean(1) if chosen.any() else np.full(len(curve), np.nan)


def _peak(curve: Float[np.ndarray, "resample layer"], depth: Float[np.ndarray, "layer"]) -> Resampled:
    at_peak = curve == curve.max(1, keepdims=True)
    return _ratio(at_peak @ depth, at_peak.sum(1))


def _ratio(numerator, denominator):
    """Not a number where the denominator is 0."""
    missing = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), np.nan)
    return np.divide(numerator, denominator, out=missing, where=np.asarray(denominator) > 0)
