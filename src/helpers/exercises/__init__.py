"""Checks of the notebooks' exercises: they look at the answer, say what is wrong with it, and hint at how to go on.

What is right is computed here once more, in another way than the helpers do, from which nothing is imported. An open
exercise (three dots) is no error, and neither is a wrong answer: a reply is shown, and is true only if all is right.
"""

from helpers.exercises.detokenization import check_both_ends, check_one_head
from helpers.exercises.feature_engineering import check_too_early, check_two_tags
from helpers.exercises.last_layers import check_better, check_one_at_a_time
from helpers.exercises.layer_lesion import check_repeated, check_reversed
from helpers.exercises.local_attention import check_looking_back, check_peaks
from helpers.exercises.logit_lens import check_changed_guesses, check_translated
from helpers.exercises.mlp_norm import check_turned_down, check_with_bos
from helpers.exercises.prediction_ensembling import check_silenced, check_space_neurons
from helpers.exercises.prediction_suppression_neurons import check_dimension, check_pointing
from helpers.exercises.residual_paths import check_added, check_longest
from helpers.exercises.stages_of_inference import check_claim, check_step
from helpers.exercises.start_here import check_surprise
from helpers.exercises.training_dynamics import PLANTED, check_lost, check_shapes
from helpers.exercises.what_shapes_the_curves import check_paired, check_worse

__all__ = [
    "PLANTED",
    "check_added",
    "check_better",
    "check_both_ends",
    "check_changed_guesses",
    "check_claim",
    "check_dimension",
    "check_longest",
    "check_looking_back",
    "check_lost",
    "check_one_at_a_time",
    "check_one_head",
    "check_paired",
    "check_peaks",
    "check_pointing",
    "check_repeated",
    "check_reversed",
    "check_shapes",
    "check_silenced",
    "check_space_neurons",
    "check_step",
    "check_surprise",
    "check_too_early",
    "check_translated",
    "check_turned_down",
    "check_two_tags",
    "check_with_bos",
    "check_worse",
]
