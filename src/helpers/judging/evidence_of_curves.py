"""Statistics of any curve over layers, and what those of single experiments are made of."""

import numpy as np
from jaxtyping import Float

from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled

MIDDLE = (0.2, 0.8)
EARLY, HALFWAY, LATE = 0.4, 0.5, 0.9
THIRD, TWO_THIRDS, FIFTH = 1 / 3, 2 / 3, 0.2  # 1 - 1 / 3 is rounded to more than 2 / 3


def early_over_late(measured: Measures, column: str) -> Resampled:
    """Mean of the measure over the first third of the layers, the first layer left out, / over the last third."""
    depth, curve = measured.depth(), measured.curve(column)
    early, late = (depth > 0) & (depth <= THIRD), depth >= TWO_THIRDS
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
    width = a_fifth(last)
    if last - 1 < width:
        return UNKNOWN
    rises = neurons.curve(column).map(lambda layers: layers[:, 1 + width :] - layers[:, 1:-width])
    return rises.map(lambda by: np.where(by.max(1) > 0, (1 + by.argmax(1) + width / 2) / last, np.nan))


def over_middle(curve: Resampled, depth: Float[np.ndarray, "layer"]) -> Resampled:
    """Mean over the layers at depth 0.2 to 0.8; not a number where there is none."""
    chosen = (depth >= MIDDLE[0]) & (depth <= MIDDLE[1])
    return curve.map(lambda layers: layers[:, chosen].mean(1)) if chosen.any() else UNKNOWN


def past_first(layers: Float[np.ndarray, "resample layer"]) -> Float[np.ndarray, "resample other"]:
    return layers[:, 1:]


def a_fifth(last: int) -> int:
    """How many layers are a fifth of the depth, at least one."""
    return max(1, round(FIFTH * last))


def at_depth(curve: Resampled, depth: Float[np.ndarray, "row"], wanted: float) -> Resampled:
    """The curve at a depth, between the two nearest rows in a straight line."""
    weights = np.array([np.interp(wanted, depth, row) for row in np.eye(len(depth))])
    return curve.map(lambda rows: rows @ weights)
