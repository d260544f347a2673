"""The statistics behind the claims: one number per joint bootstrap resample, from an experiment's curves.

Only statistics about the first layer look at it: what layer 0 does, or the embedding's row of the lens, is so unlike
all else that it would decide any other. A statistic that a model does not have (no middle layer, a division by 0) is
not a number. The module is longer than others: it is the list of them.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, certain, combine

MIDDLE = (0.2, 0.8)
EARLY, HALFWAY, LATE = 0.4, 0.5, 0.9
THIRD, FIFTH = 1 / 3, 0.2
BEFORE_LATE = 0.7


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
    """Loss change without the layer past the first that can best be spared: chosen on half the documents, measured on
    the rest."""
    choosing, measuring = (half.map(_past_first) for half in lesions.halves("loss_change_nats", "drop"))
    if not choosing.estimate.size or not choosing.is_finite:
        return UNKNOWN
    chosen = choosing.map(lambda layers: layers.argmin(1))
    return combine(lambda layers, best: np.take_along_axis(layers, best[:, None], 1)[:, 0], measuring, chosen)


def early_over_late(measured: Measures, column: str) -> Resampled:
    """Mean of the measure over the first third of the layers, the first layer left out, / over the last third."""
    depth, curve = measured.depth(), measured.curve(column)
    early, late = (depth > 0) & (depth <= THIRD), depth >= 1 - THIRD
    if not early.any():
        return UNKNOWN
    return curve.map(lambda layers: layers[:, early].mean(1)) / curve.map(lambda layers: layers[:, late].mean(1))


def depth_of_peak(measured: Measures, column: str) -> Resampled:
    """Relative depth of the layer past the first where the measure is largest; of equal ones the mean."""
    depth = measured.depth()[1:]
    if not len(depth):
        return UNKNOWN
    at_peak = measured.curve(column).map(lambda layers: layers[:, 1:] == layers[:, 1:].max(1, keepdims=True))
    return at_peak.map(lambda layers: layers @ depth) / at_peak.map(lambda layers: layers.sum(1))


def depth_of_rise(neurons: Measures, column: str) -> Resampled:
    """Relative depth of the middle of that fifth of the layers past the first over which a number rises most.

    Not a number where it rises nowhere.
    """
    last = len(neurons.depth()) - 1
    width = _fifth(last)
    if last - 1 < width:
        return UNKNOWN
    rises = neurons.curve(column).map(lambda layers: layers[:, 1 + width :] - layers[:, 1:-width])
    return rises.map(lambda by: np.where(by.max(1) > 0, (1 + by.argmax(1) + width / 2) / last, np.nan))


def suppression_peak_minus_prediction_peak(neurons: Measures) -> Resampled:
    """How much deeper the largest number of suppression neurons is than that of prediction neurons."""
    return depth_of_peak(neurons, "n_suppression") - depth_of_peak(neurons, "n_prediction")


def early_share_of_prediction_neurons(neurons: Measures) -> Resampled:
    """Share of the prediction neurons past the first layer that are in the first two fifths of the layers."""
    counts, early = neurons.curve("n_prediction").map(_past_first), neurons.depth()[1:] < EARLY
    return counts.map(lambda layers: layers[:, early].sum(1)) / counts.map(lambda layers: layers.sum(1))


def last_prediction_neurons_over_before(neurons: Measures) -> Resampled:
    """Prediction neurons a layer in the last tenth of the layers / at depth 0.7 to 0.9."""
    counts, depth = neurons.curve("n_prediction"), neurons.depth()
    late, before = depth >= LATE, (depth >= BEFORE_LATE) & (depth < LATE)
    if not before.any():
        return UNKNOWN
    return counts.map(lambda layers: layers[:, late].mean(1)) / counts.map(lambda layers: layers[:, before].mean(1))


def late_suppression_share(neurons: Measures) -> Resampled:
    """Suppression neurons in the last tenth of the layers, as a share of those and the prediction neurons there."""
    late = neurons.depth() >= LATE
    suppression, prediction = (
        neurons.curve(column).map(lambda layers: layers[:, late].sum(1)) for column in ("n_suppression", "n_prediction")
    )
    return suppression / combine(np.add, suppression, prediction)


def halfway_kl_over_earlier(lens: Measures) -> Resampled:
    """The lens's KL at depth 0.5 / the median of its rows up to there, the embedding's left out.

    It is 2/3 for a KL that falls in a straight line, and less for one that falls early.
    """
    depth, kl = lens.depth(), lens.curve("kl_nats")
    earlier = (depth > 0) & (depth <= HALFWAY)
    if earlier.sum() < 2:
        return UNKNOWN
    return _at_depth(kl, depth, HALFWAY) / kl.map(lambda rows: np.median(rows[:, earlier], axis=1))


def late_kl_over_halfway(lens: Measures) -> Resampled:
    """The lens's KL at depth 0.9 / at depth 0.5: what is left to fall in the last tenth."""
    depth, kl = lens.depth(), lens.curve("kl_nats")
    return _at_depth(kl, depth, LATE) / _at_depth(kl, depth, HALFWAY) if len(depth) > 2 else UNKNOWN


def largest_kl_rise_over_halfway(lens: Measures) -> Resampled:
    """The largest rise of the lens's KL from a row at depth 0.5 or more to the next / its KL at 0.5."""
    depth, kl = lens.depth(), lens.curve("kl_nats")
    if len(depth) < 3:
        return UNKNOWN
    rise = kl.map(lambda rows: np.diff(rows[:, depth >= HALFWAY], axis=1).max(1))
    return rise / _at_depth(kl, depth, HALFWAY)


def kl_fall_from_neuron_rise(neurons: Measures, lens: Measures) -> Resampled:
    """How far in relative depth the steepest fifth of the fall of the lens's KL past the first layer is from the
    steepest rise of prediction neurons (``depth_of_rise``), either way."""
    rise, last = depth_of_rise(neurons, "n_prediction"), len(neurons.depth()) - 1
    if not rise.is_finite:
        return UNKNOWN
    width = _fifth(last)
    falls = lens.curve("kl_nats").map(lambda rows: rows[:, 1:-width] - rows[:, 1 + width :])
    middle = falls.map(lambda by: (1 + by.argmax(1) + (width - 1) / 2) / last)
    return (middle - rise).map(abs)


def entropy_turn_from_suppression_rise(neurons: Measures, lens: Measures) -> Resampled:
    """How far in relative depth the lowest row of the lens's entropy in the second half is from the steepest rise of
    suppression neurons (``depth_of_rise``), either way; not a number where the last row is the lowest: no turn."""
    depth, rise = lens.depth(), depth_of_rise(neurons, "n_suppression")
    later = depth[depth >= HALFWAY]
    lowest = lens.curve("entropy_bits").map(lambda rows: rows[:, depth >= HALFWAY].argmin(1))
    turn = lowest.map(lambda row: np.where(row < len(later) - 1, later[row], np.nan))
    return (turn - rise).map(abs) if rise.is_finite else UNKNOWN


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
    """Largest difference in a layer between the neurons counted and those in the authors' plot.

    Both counted the same weights, so nothing is resampled.
    """
    columns = ["n_prediction", "n_suppression"]
    return certain(float(abs(neurons.rows[columns].to_numpy() - published[columns].to_numpy()).max()))


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
        early_over_late,
        depth_of_peak,
        depth_of_rise,
        suppression_peak_minus_prediction_peak,
        early_share_of_prediction_neurons,
        last_prediction_neurons_over_before,
        late_suppression_share,
        halfway_kl_over_earlier,
        late_kl_over_halfway,
        largest_kl_rise_over_halfway,
        kl_fall_from_neuron_rise,
        entropy_turn_from_suppression_rise,
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


def _past_first(layers: Float[np.ndarray, "resample layer"]) -> Float[np.ndarray, "resample other"]:
    return layers[:, 1:]


def _fifth(last: int) -> int:
    """How many layers are a fifth of the depth, at least one."""
    return max(1, round(FIFTH * last))


def _at_depth(curve: Resampled, depth: Float[np.ndarray, "row"], wanted: float) -> Resampled:
    """The curve at a depth, between the two nearest rows in a straight line."""
    weights = np.array([np.interp(wanted, depth, row) for row in np.eye(len(depth))])
    return curve.map(lambda rows: rows @ weights)
