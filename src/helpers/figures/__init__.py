"""Figures, one function each: tables in, figures out. The style they share, and ``save``, are in ``style``."""

from helpers.figures.ensembling import prediction_ensembling, prediction_ensembling_ablation
from helpers.figures.paper import (
    layer_lesion,
    local_attention,
    logit_lens,
    logit_lens_flips,
    mlp_norm,
    neuron_kurtosis,
    prediction_suppression_neurons,
)
from helpers.figures.robustness import deleted_runs, layer_similarity, residual_paths, self_repair
from helpers.figures.stages import claims_heatmap, stages_across_models, stages_of_inference
from helpers.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, STYLE, curve, panels, save
from helpers.figures.word_pieces import detokenization, gathering_heads
from helpers.figures.words import feature_engineering

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "RED",
    "STYLE",
    "claims_heatmap",
    "curve",
    "deleted_runs",
    "detokenization",
    "feature_engineering",
    "gathering_heads",
    "layer_lesion",
    "layer_similarity",
    "local_attention",
    "logit_lens",
    "logit_lens_flips",
    "mlp_norm",
    "neuron_kurtosis",
    "panels",
    "prediction_ensembling",
    "prediction_ensembling_ablation",
    "prediction_suppression_neurons",
    "residual_paths",
    "save",
    "self_repair",
    "stages_across_models",
    "stages_of_inference",
]
