"""Figures, one function each: tables in, figures out. The style they share, and ``save``, are in ``style``."""

from helpers.figures.benchmarks import benchmarks
from helpers.figures.claims_heatmap import claims_heatmap
from helpers.figures.detokenization import detokenization, gathering_heads, joining, merging_heads
from helpers.figures.feature_engineering import feature_engineering
from helpers.figures.last_layers import (
    last_layers,
    last_layers_calibration,
    last_layers_neurons,
    last_layers_stand_ins,
)
from helpers.figures.layer_lesion import layer_lesion
from helpers.figures.layer_similarity import exchanged_layers, layer_similarity
from helpers.figures.local_attention import local_attention, local_attention_distance
from helpers.figures.logit_lens import logit_lens, logit_lens_flips, logit_lens_superseded, logit_lens_tuned
from helpers.figures.lost_words import lost_words
from helpers.figures.mlp_norm import mlp_norm
from helpers.figures.prediction_ensembling import (
    prediction_ensembling,
    prediction_ensembling_ablation,
    prediction_ensembling_ing,
)
from helpers.figures.prediction_suppression_neurons import neuron_kurtosis, prediction_suppression_neurons
from helpers.figures.residual_paths import deleted_runs, residual_paths, self_repair
from helpers.figures.stages_of_inference import stages_across_models, stages_of_inference
from helpers.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, STYLE, save
from helpers.figures.training_dynamics import training_dynamics
from helpers.figures.what_shapes_the_curves import (
    bos_norm,
    curves_of_shuffled_text,
    curves_without_bos,
    what_shapes_the_curves,
)
from helpers.figures.words import attention_words, lens_words

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "RED",
    "STYLE",
    "attention_words",
    "benchmarks",
    "bos_norm",
    "claims_heatmap",
    "curves_of_shuffled_text",
    "curves_without_bos",
    "deleted_runs",
    "detokenization",
    "exchanged_layers",
    "feature_engineering",
    "gathering_heads",
    "joining",
    "last_layers",
    "last_layers_calibration",
    "last_layers_neurons",
    "last_layers_stand_ins",
    "layer_lesion",
    "layer_similarity",
    "lens_words",
    "local_attention",
    "local_attention_distance",
    "logit_lens",
    "logit_lens_flips",
    "logit_lens_superseded",
    "logit_lens_tuned",
    "lost_words",
    "merging_heads",
    "mlp_norm",
    "neuron_kurtosis",
    "prediction_ensembling",
    "prediction_ensembling_ablation",
    "prediction_ensembling_ing",
    "prediction_suppression_neurons",
    "residual_paths",
    "save",
    "self_repair",
    "stages_across_models",
    "stages_of_inference",
    "training_dynamics",
    "what_shapes_the_curves",
]
