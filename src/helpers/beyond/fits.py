"""The two simplest things that could stand in for a block: one temperature, and one affine map of the residual stream.

A *temperature* T divides all logits. Here is its inverse, chosen so that the KL divergence from the reference
to the prediction is least on average; in that inverse the mean KL is convex, and its slope is E_q[z] - E_p[z].

An *affine map* predicts what a block writes from what enters it, least squares with a ridge penalty. The penalty, in
units of the mean variance of the input, is one of ``PENALTIES``: the one with the best generalised cross-validation
score, mean square of the residual / (1 - degrees of freedom / places)**2. With an infinite penalty only the mean is
left.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from helpers.engine.predictions import Reference
from helpers.engine.readout import Unembedding

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
SHARPEST, STEPS = 64.0, 20  # inverse temperatures are looked for between 1 / SHARPEST and SHARPEST


@dataclass(frozen=True)
class Affine:
    """``mean_out + (x - mean_in) @ weight``, in the dtype of x."""

    weight: Float[Tensor, "d_in d_out"]
    mean_in: Float[Tensor, "d_in"]
    mean_out: Float[Tensor, "d_out"]
    penalty: float

    def __call__(self, x: Float[Tensor, "*places d_in"]) -> Float[Tensor, "*places d_out"]:
        return (self.mean_out + (x.float() - self.mean_in) @ self.weight).to(x.dtype)


def fit_affine(x: Float[Tensor, "place d_in"], y: Float[Tensor, "place d_out"]) -> Affine:
    """The affine map from x to y, its penalty chosen by generalised cross-validation; in float64."""
    x, y = x.double(), y.double()
    mean_in, mean_out = x.mean(0), y.mean(0)
    centred_x, centred_y = x - mean_in, y - mean_out
    variances, axes = torch.linalg.eigh(centred_x.T @ centred_x / len(x))
    variances = variances.clamp(min=0)
    covariances = axes.T @ (centred_x.T @ centred_y) / len(x)
    scale, explained = variances.mean(), covariances.square().sum(1)
    scores = {}
    for penalty in PENALTIES:
        damped = variances + penalty * scale
        residual = centred_y.square().sum() / len(x) - (explained * (variances + 2 * penalty * scale) / damped**2).sum()
        freedom = 1 + (variances / damped).sum()  # the mean is fitted, too
        scores[penalty] = (residual / (1 - freedom / len(x)) ** 2).item() if freedom < len(x) else float("inf")
    best = min(scores, key=lambda penalty: scores[penalty])
    weight = axes @ (covariances / (variances + best * scale)[:, None])
    return Affine(weight.float(), mean_in.float(), mean_out.float(), best)


def fit_inverse_temperature(
    unembedding: Unembedding, reference: Reference, hidden: Float[Tensor, "*positions d_model"]
) -> float:
    """The factor on the logits of ``hidden`` that brings them closest to the reference, by mean KL(reference || ·)."""
    labels = reference.predictions.top1  # read() wants some
    expected_logit = torch.linalg.vecdot(reference.expected_direction, hidden.float()) + reference.expected_bias
    low, high = 1 / SHARPEST, SHARPEST
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        sharper = tempered(unembedding, middle).read(middle * hidden, labels)
        slope = sharper.log_normaliser - sharper.entropy_nats - middle * expected_logit  # by the factor, times it
        low, high = (low, middle) if slope.double().mean() > 0 else (middle, high)
    return (low * high) ** 0.5


def tempered(unembedding: Unembedding, factor: float) -> Unembedding:
    """Reads ``factor * hidden`` as ``factor`` times the logits of ``hidden``, whether or not there is a bias."""
    return replace(unembedding, bias=factor * unembedding.bias)


def tempered_reference(reference: Reference, factor: float) -> Reference:
    """The same reference, for predictions that a ``tempered`` unembedding has read."""
    return replace(reference, expected_bias=factor * reference.expected_bias)
