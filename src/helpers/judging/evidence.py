"""The statistics behind the claims: one number per joint bootstrap resample, from an experiment's curves.

A statistic that a model does not have (no middle layer, a division by 0) is not a number.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float

from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, combine

MIDDLE = (0.2, 0.8)


def middle_relative_accuracy(lesions: Measures, intervention: str) -> Resampled:
    """Correct lesioned / correct intact, mean over layers at depth 0.2 to 0.8."""
    right, intact = (lesions.curve(column, intervention) for column in ("accuracy", "accuracy_intact"))
    return _middle(right / intact, lesions.depth(intervention))


def same_first_guess(lesions: Measures, intervention: str) -> Resampled:
    """Share of positions where lesioned and intact model have the same first guess, mean over depth 0.2 to 0.8."""
    return _middle(lesions.curve("top1_agreement", intervention), lesions.depth(intervention))


def middle_kl_over_worse_end(lesions: Measures, intervention: str) -> Resampled:
    """Mean KL at depth 0.2 to 0.8 / KL of the first or last lesion, whichever is larger."""
    kl = lesions.curve("kl_nats", intervention)
    return _middle(kl, lesions.depth(intervention)) / combine(np.maximum, kl.at(0), kl.at(-1))


def first_kl_over_worst_other(lesions: Measures) -> Resampled:
    """KL without the first layer / the largest KL without another one."""
    kl = lesions.curve("kl_nats", "drop")
    return kl.at(0) / kl.map(lambda layers: layers[:, 1:].max(1)) if len(kl.estimate) > 1 else UNKNOWN


def last_kl_over_middle(lesions: Measures) -> Resampled:
    """KL without the last layer / mean KL without one at depth 0.2 to 0.8."""
    kl = lesions.curve("kl_nats", "drop")
    return kl.at(-1) / _middle(kl, lesions.depth("drop"))


def swap_kl_over_drop_kl(lesions: Measures) -> Resampled:
    """KL of swapping layer l with the next / KL of dropping layer l, geometric mean over layers."""
    drop, swap = (lesions.curve("kl_nats", intervention) for intervention in ("drop", "swap"))
    ratio = swap / drop.map(lambda layers: layers[:, : len(swap.estimate)])
    with np.errstate(divide="ignore", invalid="ignore"):
        return ratio.map(lambda layers: np.exp(np.log(layers).mean(1)))


def loss_change_of_most_useless_layer(lesions: Measures) -> Resampled:
    """Loss change without the layer that can best be spared: chosen on half the sequences, measured on the rest."""
    choosing, measuring = lesions.halves("loss_change_nats", "drop")
    if not choosing.is_finite:
        return UNKNOWN
    chosen = choosing.map(lambda layers: layers.argmin(1))
    return combine(lambda layers, best: np.take_along_axis(layers, best[:, None], 1)[:, 0], measuring, chosen)


def depth_of_peak(measured: Measures, column: str) -> Resampled:
    """Relative depth of the layer where the measure is largest; of equal ones the mean."""
    at_peak = measured.curve(column).map(lambda layers: layers == layers.max(1, keepdims=True))
    return at_peak.map(lambda layers: layers @ measured.depth()) / at_peak.map(lambda layers: layers.sum(1))


def suppression_peak_minus_prediction_peak(neurons: Measures) -> Resampled:
    """How much deeper the largest number of suppression neurons is than that of prediction neurons."""
    return depth_of_peak(neurons, "n_suppression") - depth_of_peak(neurons, "n_prediction")


def halfway_kl_over_first(lens: Measures) -> Resampled:
    """The lens's KL at depth 0.5, between the two nearest rows, / that of the embedding."""
    kl, last = lens.curve("kl_nats"), len(lens.depth()) - 1
    halfway = kl.map(lambda rows: (rows[:, last // 2] + rows[:, (last + 1) // 2]) / 2)
    return halfway / kl.at(0)


def relative_entropy_slope(lens: Measures) -> Resampled:
    """Slope of a straight line through the lens's entropy against depth / the entropy of the embedding."""
    centred, entropy = lens.depth() - lens.depth().mean(), lens.curve("entropy_bits")
    return entropy.map(lambda rows: rows @ centred / (centred @ centred)) / entropy.at(0)


def last_step(lens: Measures, column: str) -> Resampled:
    """The last row minus the one before: what the last layer does."""
    curve = lens.curve(column)
    return curve.at(-1) - curve.at(-2)


def last_right_to_wrong_excess(lens: Measures) -> Resampled:
    """Share of predictions that the last layer turns wrong, minus the share that it turns right."""
    return lens.curve("right_to_wrong").at(-1) - lens.curve("wrong_to_right").at(-1)


def largest_count_difference(neurons: Measures, published: pd.DataFrame) -> Resampled:
    """Largest difference in a layer between the neurons counted and those in the authors' plot."""

    def largest(column: str) -> Resampled:
        return neurons.curve(column).map(lambda counts: abs(counts - published[column].to_numpy()).max(1))

    return combine(np.maximum, largest("n_prediction"), largest("n_suppression"))


def rank_correlation_with_layers(lesions: list[Measures]) -> Resampled:
    """Spearman correlation over models between layers and ``middle_relative_accuracy`` of drops."""
    ranks = pd.Series([len(of_model.depth("drop")) for of_model in lesions]).rank()
    kept = [middle_relative_accuracy(of_model, "drop") for of_model in lesions]
    if not all(of_model.is_finite for of_model in kept) or ranks.nunique() == 1:
        return UNKNOWN
    return combine(lambda *of_models: pd.DataFrame(of_models).rank().corrwith(ranks).to_numpy(), *kept)


def lead_over_commonest(lesions: Measures) -> Resampled:
    """How much more often the intact model is right than always guessing the commonest token."""
    return lesions.curve("accuracy_intact", "drop").at(0) - lesions.curve("accuracy_commonest", "drop").at(0)


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


def _middle(curve: Resampled, depth: Float[np.ndarray, "layer"]) -> Resampled:
    """Mean over the layers at depth 0.2 to 0.8; not a number where there is none."""
    chosen = (depth >= MIDDLE[0]) & (depth <= MIDDLE[1])
    return curve.map(lambda layers: layers[:, chosen].mean(1)) if chosen.any() else UNKNOWN
