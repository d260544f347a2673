"""Statistics of the logit lens, some of them beside the numbers of neurons (paper: sections 5.3 and 5.4)."""

import numpy as np

from helpers.judging.evidence_of_curves import HALFWAY, LATE, a_fifth, at_depth, depth_of_rise
from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, combine


def halfway_kl_over_straight_fall(lens: Measures) -> Resampled:
    """The lens's KL at depth 0.5 as a share of the median of its rows up to there, the embedding's left out, / the same
    of a KL that falls in a straight line from the embedding to the last row.

    It is 1 for a straight fall from any row on, and less for one that falls early.
    """
    depth, kl = lens.depth(), lens.curve("kl_nats")
    earlier = (depth > 0) & (depth <= HALFWAY)
    if earlier.sum() < 2:
        return UNKNOWN
    straight = (1 - HALFWAY) / np.median(1 - depth[earlier])
    share = at_depth(kl, depth, HALFWAY) / kl.map(lambda rows: np.median(rows[:, earlier], axis=1))
    return share.map(lambda of_resamples: of_resamples / straight)


def late_kl_over_halfway(lens: Measures) -> Resampled:
    """The lens's KL at depth 0.9 / at depth 0.5: what is left to fall in the last tenth."""
    depth, kl = lens.depth(), lens.curve("kl_nats")
    return at_depth(kl, depth, LATE) / at_depth(kl, depth, HALFWAY) if len(depth) > 2 else UNKNOWN


def largest_kl_rise_over_halfway(lens: Measures) -> Resampled:
    """The largest rise of the lens's KL from a row at depth 0.5 or more to the next / its KL at 0.5."""
    depth, kl = lens.depth(), lens.curve("kl_nats")
    if len(depth) < 3:
        return UNKNOWN
    rise = kl.map(lambda rows: np.diff(rows[:, depth >= HALFWAY], axis=1).max(1))
    return rise / at_depth(kl, depth, HALFWAY)


def kl_fall_from_neuron_rise(neurons: Measures, lens: Measures) -> Resampled:
    """How far in relative depth the steepest fifth of the fall of the lens's KL past the first layer is from the
    steepest rise of prediction neurons (``depth_of_rise``), either way."""
    rise, last = depth_of_rise(neurons, "n_prediction"), len(neurons.depth()) - 1
    if not rise.is_finite:
        return UNKNOWN
    width = a_fifth(last)
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
