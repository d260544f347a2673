"""Affine maps from a row of the residual stream into the language of the last: what a tuned lens is made of.

They are fitted to what the model predicts, KL(final || row), not to the residual: after the final norm much of what a
squared error weighs does not count, and small differences may. It begins with a ridge regression (``fits.fit_affine``),
and some steps of Adam follow. The final norm and the unembedding stay the model's own.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.beyond.fits import Affine, fit_affine
from helpers.engine import readout, streams
from helpers.engine.batches import device
from helpers.engine.predictions import Reference

MEASURES = ("kl_nats", "entropy_bits", "top1_agreement")
ROUNDS, PLACES_PER_STEP = 3, 256
STEP_SIZE = 0.1  # over the root of the width: how far the first step moves an output of size 1


@dataclass(frozen=True)
class Residuals:
    """Every row of the stream at the predicted positions of some sequences, and the model's own predictions there."""

    bridge: TransformerBridge
    unembedding: readout.Unembedding
    rows: Float[Tensor, "row place d_model"]
    labels: Int[Tensor, "place"]
    final: Reference

    @classmethod
    def of(
        cls, bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
    ) -> "Residuals":
        """Those of all ``tokens``, one sequence after another."""
        n_sequences, n_predicted = len(tokens), tokens.shape[1] - 2
        sequence = torch.arange(n_sequences).repeat_interleave(n_predicted)
        position = torch.arange(1, n_predicted + 1).repeat(n_sequences)
        rows = streams.at_places(bridge, tokens, sequence, position, batch_size)
        labels = readout.labels(tokens).flatten().to(device(bridge))
        unembedding = readout.Unembedding.of(bridge)
        hidden = normalised(bridge, rows[-1].to(device(bridge)))
        return cls(bridge, unembedding, rows, labels, unembedding.reference(hidden, labels))

    def row(self, layer: int) -> Float[Tensor, "place d_model"]:
        """One row where the model computes, in float32."""
        return self.rows[layer].to(self.labels.device)

    def measures(self, residual: Float[Tensor, "place d_model"]) -> dict[str, Float[Tensor, "place"]]:
        """What the final norm and unembedding read off a row, beside the model's own predictions."""
        hidden = normalised(self.bridge, residual)
        read = self.unembedding.read(hidden, self.labels)
        agrees = (read.top1 == self.final.predictions.top1).float()
        return dict(zip(MEASURES, (self.final.kl_divergence(hidden, read), read.entropy_bits, agrees), strict=True))

    def cross_entropy(
        self, weight: Tensor, bias: Tensor, x: Float[Tensor, "chosen d_in"], places: Int[Tensor, "chosen"]
    ) -> Float[Tensor, ""]:
        """Mean KL(final || row) at some places, but for a constant, when ``x @ weight + bias`` is the row there."""
        hidden = normalised(self.bridge, x @ weight + bias)
        log_normaliser = (hidden @ self.unembedding.weight + self.unembedding.bias).logsumexp(-1)
        return (log_normaliser - torch.linalg.vecdot(self.final.expected_direction[places], hidden)).mean()

    def loss(self, affine: Affine, x: Float[Tensor, "place d_in"], places: Int[Tensor, "chosen"]) -> float:
        """The ``cross_entropy`` of a map."""
        return self.cross_entropy(affine.weight, affine.mean_out, x[places] - affine.mean_in, places).item()


def fit(residuals: Residuals, layer: int) -> Affine:
    """The map of one row: the ridge regression, or what Adam makes of it if its KL is lower on every fourth place."""
    x, final = residuals.row(layer), residuals.row(-1)
    places = torch.arange(0, len(x), 4, device=x.device)
    start = fit_affine(x, final / final.square().mean().sqrt())
    return min((start, _descend(start, residuals, x)), key=lambda affine: residuals.loss(affine, x, places))


def normalised(bridge: TransformerBridge, residual: Float[Tensor, "*place d_model"]) -> Float[Tensor, "*place d_model"]:
    """The final norm in float32, whatever the model's dtype; its weight and bias are folded into the unembedding."""
    return streams.centred(bridge, residual) / streams.norm_scale(bridge, residual)


def _descend(start: Affine, residuals: Residuals, x: Float[Tensor, "place d_in"]) -> Affine:
    """Adam, every place ``ROUNDS`` times in a fixed random order, with a step size that falls to 0.

    The inputs are whitened, but for the penalty, so that it goes as fast in all of their directions.
    """
    centred = x - start.mean_in
    variances, axes = torch.linalg.eigh((centred.T @ centred / len(x)).double())
    deviations = (variances.clamp(min=0) + start.penalty * variances.mean()).sqrt().float()
    axes = axes.float()
    whitening, weight, bias = axes / deviations, deviations[:, None] * (axes.T @ start.weight), start.mean_out.clone()
    white, optimiser, generator = (
        centred @ whitening,
        torch.optim.Adam([weight, bias]),
        torch.Generator().manual_seed(0),
    )
    orders = [torch.randperm(len(x), generator=generator).to(x.device) for _ in range(ROUNDS)]
    steps = [places for order in orders for places in order.split(PLACES_PER_STEP)]
    slope = torch.func.grad(residuals.cross_entropy, (0, 1))
    for number, places in enumerate(steps):
        optimiser.param_groups[0]["lr"] = STEP_SIZE / len(weight) ** 0.5 * (1 - number / len(steps))
        weight.grad, bias.grad = slope(weight, bias, white[places], places)
        optimiser.step()
    return replace(start, weight=whitening @ weight, mean_out=bias)
