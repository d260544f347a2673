"""Statistics of the numbers of prediction and suppression neurons (paper: sections 5.3 and 5.4)."""

import numpy as np
import pandas as pd

from helpers.judging.evidence_of_curves import EARLY, LATE, depth_of_peak, past_first
from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, certain, combine

BEFORE_LATE = 0.7


def suppression_peak_minus_prediction_peak(neurons: Measures) -> Resampled:
    """How much deeper the largest number of suppression neurons is than that of prediction neurons."""
    return depth_of_peak(neurons, "n_suppression") - depth_of_peak(neurons, "n_prediction")


def early_share_of_prediction_neurons(neurons: Measures) -> Resampled:
    """Share of the prediction neurons past the first layer that are in the first two fifths of the layers."""
    counts, early = neurons.curve("n_prediction").map(past_first), neurons.depth()[1:] < EARLY
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


def largest_count_difference(neurons: Measures, published: pd.DataFrame) -> Resampled:
    """Largest difference in a layer between the neurons counted and those in the authors' plot.

    Both counted the same weights, so nothing is resampled.
    """
    columns = ["n_prediction", "n_suppression"]
    return certain(float(abs(neurons.rows[columns].to_numpy() - published[columns].to_numpy()).max()))
