"""Figures, one function each: tables in, figures out. The style they share, and ``save``, are in ``style``."""

from helpers.figures.detokenization import detokenization, gathering_heads
from helpers.figures.feature_engineering import feature_engineering
from helpers.figures.layer_lesion import layer_lesion
from helpers.figures.local_attention import local_attention, local_attention_distance
from helpers.figures.logit_lens import logit_lens, logit_lens_flips, logit_lens_superseded
from helpers.figures.mlp_norm import mlp_norm
from helpers.figures.prediction_ensembling import prediction_ensembling, prediction_ensembling_ablation
from helpers.figures.prediction_suppression_neurons import neuron_kurtosis, prediction_suppression_neurons
from helpers.figures.residual_paths import deleted_runs, layer_similarity, residual_paths, self_repair
from helpers.figures.stages_of_inference import claims_heatmap, stages_across_models, stages_of_inference
from helpers.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, STYLE, save

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "RED",
    "STYLE",
    "claims_heatmap",
    "deleted_runs",
    "detokenization",
    "feature_engineering",
    "gathering_heads",
    "layer_lesion",
    "layer_similarity",
    "local_attention",
    "local_attention_distance",
    "logit_lens",
    "logit_lens_flips",
    "logit_lens_superseded",
    "mlp_norm",
    "neuron_kurtosis",
    "prediction_ensembling",
    "prediction_ensembling_ablation",
    "prediction_suppression_neurons",
    "residual_paths",
    "save",
    "self_repair",
    "stages_across_models",
    "stages_of_inference",
]
