"""The statistics behind the claims, by name: one number per joint bootstrap resample, from an experiment's curves.

Only statistics about the first layer look at it: what layer 0 does, or the embedding's row of the lens, is so unlike
all else that it would decide any other. A statistic that a model does not have (no middle layer, a division by 0) is
not a number.
"""

from collections.abc import Callable

from helpers.judging import evidence_of_curves as curves
from helpers.judging import evidence_of_lesions as lesions
from helpers.judging import evidence_of_neurons as neurons
from helpers.judging import evidence_of_the_lens as lens
from helpers.stats import Resampled

STATISTICS: dict[str, Callable[..., Resampled]] = {
    function.__name__: function
    for function in (
        lesions.middle_relative_accuracy,
        lesions.middle_kl_over_worse_end,
        lesions.first_kl_over_worst_other,
        lesions.last_kl_over_middle,
        lesions.entropy_without_first_layer,
        lesions.last_swap_kl_over_first,
        lesions.swap_kl_over_drop_kl,
        lesions.loss_change_of_most_useless_layer,
        curves.early_over_late,
        curves.depth_of_peak,
        curves.depth_of_rise,
        neurons.suppression_peak_minus_prediction_peak,
        neurons.early_share_of_prediction_neurons,
        neurons.last_prediction_neurons_over_before,
        neurons.late_suppression_share,
        lens.halfway_kl_over_straight_fall,
        lens.late_kl_over_halfway,
        lens.largest_kl_rise_over_halfway,
        lens.kl_fall_from_neuron_rise,
        lens.entropy_turn_from_suppression_rise,
        lens.late_entropy_change,
        lens.last_step,
        lens.last_right_to_wrong_excess,
        neurons.largest_count_difference,
        lesions.rank_correlation_with_layers,
    )
}

BESIDE = {lesions.middle_accuracy_ratio.__name__: lesions.middle_accuracy_ratio}
