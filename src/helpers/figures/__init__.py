"""Figures, one function each: tables in, figures out. The style they share, and ``save``, are in ``style``."""

from helpers.figures.paper import (
    layer_lesion,
    local_attention,
    logit_lens,
    logit_lens_flips,
    mlp_norm,
    neuron_kurtosis,
    prediction_suppression_neurons,
)
from helpers.figures.stages import claims_heatmap, one_model, several_models
from helpers.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, STYLE, curve, panels, save

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
    "layer_lesion",
    "local_attention",
    "logit_lens",
    "logit_lens_flips",
    "mlp_norm",
    "neuron_kurtosis",
    "one_model",
    "panels",
    "prediction_suppression_neurons",
    "save",
    "several_models",
]
