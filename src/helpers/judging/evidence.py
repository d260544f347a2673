"""The statistics behind the claims: one number per joint bootstrap resample, from an experiment's curves.

A statistic that a model does not have (no middle layer, a division by 0) is not a number. The module is longer than
others: it is the list of them.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, combine

MIDDLE = (0.2, 0.8)
EARLY, HALFWAY, LATE = 0.4, 0.5, 0.9


def middle_relative_accuracy(lesions: Measures, intervention: str) -> Resampled:
    """Share of predictions that are those of the intact model, mean over layers at depth 0.2 to 0.8."""
    return _middle(lesions.curve("relative_accuracy", intervention), lesions.depth(intervention))


def middle_accuracy_ratio(lesions: Measures, intervention: str) -> Resampled:
    """Correct lesioned / correct intact, on the labels, mean over layers at depth 0.2 to 0.8."""
    right, intact = (lesions.curve(column, intervention) for column in ("accuracy", "accuracy_intact"))
    return _middle(right / intact, lesions.depth(intervention))


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


def entropy_without_first_layer(lesions: Measures) -> Resampled:
    """How many bits less certain the predictions are without the first layer."""
    return lesions.curve("entropy_change_bits", "drop").at(0)


def last_swap_kl_over_first(lesions: Measures) -> Resampled:
    """KL of swapping the last two layers / that of swapping the first two."""
    kl = lesions.curve("kl_nats", "swap")
    return kl.at(-1) / kl.at(0) if len(kl.estimate) > 1 else UNKNOWN


def swap_kl_over_drop_kl(lesions: Measures) -> Resampled:
    """KL of swapping layer l with the next / KL of dropping it, geometric mean over layers at depth 0.2 to 0.8."""
    drop, swap = (lesions.curve("kl_nats", intervention) for intervention in ("drop", "swap"))
    ratio = swap / drop.map(lambda layers: layers[:, : len(swap.estimate)])
    with np.errstate(divide="ignore", invalid="ignore"):
        return _middle(ratio.map(np.log), lesions.depth("swap")).map(np.exp)


def loss_change_of_most_useless_layer(lesions: Measures) -> Resampled:
    """Loss change without the layer that can best be spared: chosen on half the sequences, measured on the rest."""
    choosing, measuring = lesions.halves("loss_change_nats", "drop")
    if not choosing.is_finite:
        return UNKNOWN
    chosen = choosing.map(lambda layers: layers.argmin(1))
    return combine(lambda layers, best: np.take_along_axis(layers, best[:, None], 1)[:, 0], measuring, chosen)


def depth_of_peak(measured: Measures, column: str, past_first: bool = False) -> Resampled:
    """Relative depth of the layer where the measure is largest, the first layer left out if asked; of equal ones the
    mean."""
    first, depth = int(past_first), measured.depth()
    if len(depth) <= first:
        return UNKNOWN
    at_peak = measured.curve(column).map(lambda layers: layers[:, first:] == layers[:, first:].max(1, keepdims=True))
    return at_peak.map(lambda layers: layers @ depth[first:]) / at_peak.map(lambda layers: layers.sum(1))


def suppression_peak_minus_prediction_peak(neurons: Measures) -> Resampled:
    """How much deeper the largest number of suppression neurons is than that of prediction neurons."""
    return depth_of_peak(neurons, "n_suppression") - depth_of_peak(neurons, "n_prediction")


def early_share_of_prediction_neurons(neurons: Measures) -> Resampled:
    """Share of all prediction neurons that are in the first two fifths of the layers."""
    counts, early = neurons.curve("n_prediction"), neurons.depth() < EARLY
    return counts.map(lambda layers: layers[:, early].sum(1)) / counts.map(lambda layers: layers.sum(1))


def late_suppression_excess(neurons: Measures) -> Resampled:
    """Suppression neurons minus prediction neurons in the last tenth of the layers."""
    excess, late = neurons.curve("n_suppression") - neurons.curve("n_prediction"), neurons.depth() >= LATE
    return excess.map(lambda layers: layers[:, late].sum(1))


def halfway_kl_over_first_layers(lens: Measures) -> Resampled:
    """The lens's KL at depth 0.5, between the two nearest rows, / that of row 1, what leaves the first layer."""
    kl, last = lens.curve("kl_nats"), len(lens.depth()) - 1
    halfway = kl.map(lambda rows: (rows[:, last // 2] + rows[:, (last + 1) // 2]) / 2)
    return halfway / kl.at(1) if last > 1 else UNKNOWN


def late_entropy_change(lens: Measures) -> Resampled:
    """How much a straight line through the lens's entropy changes from depth 0.5 to 0.9, / its entropy at 0.5."""
    depth, entropy = lens.depth(), lens.curve("entropy_bits")
    chosen = (depth >= HALFWAY) & (depth <= LATE)
    if chosen.sum() < 2:
        return UNKNOWN
    centred = depth[chosen] - depth[chosen].mean()
    slope = entropy.map(lambda rows: rows[:, chosen] @ centred / (centred @ centred))
    mean = entropy.map(lambda rows: rows[:, chosen].mean(1))
    start = combine(lambda means, slopes: means + slopes * (HALFWAY - depth[chosen].mean()), mean, slope)
    return slope.map(lambda slopes: slopes * (LATE - HALFWAY)) / start


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
    """Spearman correlation over models between layers and how little is lost for the share of them that is dropped.

    One of n layers is a smaller part of a deeper model, so what changes, 1 - ``middle_relative_accuracy``, counts n
    times.
    """
    n_layers = [len(of_model.depth("drop")) for of_model in lesions]
    ranks = pd.Series(n_layers).rank()
    kept = [
        middle_relative_accuracy(of_model, "drop").map(partial(_loss_times, n))
        for of_model, n in zip(lesions, n_layers, strict=True)
    ]
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
        entropy_without_first_layer,
        last_swap_kl_over_first,
        swap_kl_over_drop_kl,
        loss_change_of_most_useless_layer,
        depth_of_peak,
        suppression_peak_minus_prediction_peak,
        early_share_of_prediction_neurons,
        late_suppression_excess,
        halfway_kl_over_first_layers,
        late_entropy_change,
        last_step,
        last_right_to_wrong_excess,
        largest_count_difference,
        rank_correlation_with_layers,
    )
}

BESIDE = {middle_accuracy_ratio.__name__: middle_accuracy_ratio}


def _loss_times(n_layers: int, share: np.ndarray) -> np.ndarray:
    """What is lost, counted ``n_layers`` times, as a negative number."""
    return n_layers * (share - 1)


def _middle(curve: Resampled, depth: Float[np.ndarray, "layer"]) -> Resampled:
    """Mean over the layers at depth 0.2 to 0.8; not a number where there is none."""
    chosen = (depth >= MIDDLE[0]) & (depth <= MIDDLE[1])
    return curve.map(lambda layers: layers[:, chosen].mean(1)) if chosen.any() else UNKNOWN
