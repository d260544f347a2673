"""Logit lens (paper, stages 3 and 4): what the model would predict if it stopped after each layer.

Row 0 is the embedding, row l the residual stream after block l - 1, the last row the model itself. Every row
is normalised by its own norm, as in the paper. One final scale for all rows is history: the lens of the authors'
notebook before they corrected it, kept only for the entropy curve shown there.

Two forward passes per batch: the first keeps the model's own predictions, in the second every row is
reduced inside its hook, so that the logits of only a few hundred positions exist at any time.
"""

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.engine import readout, streams
from helpers.engine.batches import over_sequences
from helpers.engine.predictions import Predictions, Reference

SLUG = "logit_lens"
COMMONEST = 10


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    batch_size: int | str = "auto",
    only: range | None = None,
) -> pd.DataFrame:
    """Every row of the lens on every sequence: one row per sequence and layer 0 .. n_layers.

    Columns: ``kl_nats`` KL(final || row), ``entropy_bits``, ``top1_probability``, ``top1_agreement``
    with the final prediction, ``accuracy``; ``top1_commonest``, the share of best guesses that are one of
    ``commonest_tokens`` (after Gupta et al., arXiv 2510.18871); ``right_to_wrong`` and ``wrong_to_right``,
    the shares of predictions that change so from the row before (NaN at row 0); and the superseded lens, in
    which every row is divided by the final residual's scale and b_U left out: ``kl_nats_final_scale``,
    ``entropy_bits_final_scale``.
    Means over positions 1 .. pos-2. ``only`` some of the sequences are measured where a range is given; the
    commonest tokens are those of all.
    """
    commonest = commonest_tokens(tokens)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        lens = Lens.of(bridge, streams.final_residual(bridge, batch), readout.labels(batch))
        frames: list[pd.DataFrame] = []
        correct: list[Tensor] = []

        def reduce(layer: int, residual: Float[Tensor, "batch pos d_model"]) -> None:
            row, measures = lens.row(residual)
            measures["top1_commonest"] = torch.isin(row.top1, commonest.to(row.top1.device))
            measures |= _flips(correct[-1] if correct else None, row.correct)
            correct.append(row.correct)
            frames.append(stats.rows(first, stats.means(measures), layer=layer))

        streams.visit_rows(bridge, batch, reduce)
        return frames

    return over_sequences(bridge, tokens, measure, batch_size, only=only)


def commonest_tokens(tokens: Int[Tensor, "sequence pos"]) -> Int[Tensor, "commonest"]:
    """The ``COMMONEST`` tokens that follow most often in this text; of equally common ones the first ids."""
    counts = readout.labels(tokens).flatten().bincount(minlength=COMMONEST)
    return counts.sort(descending=True, stable=True).indices[:COMMONEST]


@dataclass(frozen=True)
class Lens:
    """The model's own predictions for one batch, and how any row of the residual stream compares to them.

    The two scalings of a row differ by one factor per position, so they share the product with W_U.
    """

    bridge: TransformerBridge
    unembedding: readout.Unembedding
    labels: Int[Tensor, "batch predicted"]
    final: Reference
    final_without_bias: Reference
    scale: Float[Tensor, "batch predicted 1"]

    @classmethod
    def of(
        cls, bridge: TransformerBridge, final: Float[Tensor, "batch pos d_model"], labels: Int[Tensor, "batch pos-2"]
    ) -> "Lens":
        """The lens that compares with the predictions made from the ``final`` residual stream."""
        final = readout.predicted_positions(final)
        hidden = bridge.ln_final(final)
        unembedding = readout.Unembedding.of(bridge)
        return cls(
            bridge=bridge,
            unembedding=unembedding,
            labels=labels,
            final=unembedding.reference(hidden, labels),
            final_without_bias=unembedding.reference(hidden, labels, with_bias=False),
            scale=streams.norm_scale(bridge, final),
        )

    def row(
        self, residual: Float[Tensor, "batch pos d_model"]
    ) -> tuple[Predictions, dict[str, Float[Tensor, "batch pos-2"]]]:
        """Predictions read off ``residual`` and their measures at every position."""
        residual = readout.predicted_positions(residual)
        hidden = self.bridge.ln_final(residual)
        to_final_scale = streams.norm_scale(self.bridge, residual) / self.scale
        row, row_at_final_scale = self.unembedding.read_twice(hidden, to_final_scale.squeeze(-1), self.labels)
        return row, {
            "kl_nats": self.final.kl_divergence(hidden, row),
            "entropy_bits": row.entropy_bits,
            "top1_probability": row.top1_probability,
            "top1_agreement": row.top1 == self.final.predictions.top1,
            "accuracy": row.correct,
            "kl_nats_final_scale": self.final_without_bias.kl_divergence(hidden * to_final_scale, row_at_final_scale),
            "entropy_bits_final_scale": row_at_final_scale.entropy_bits,
        }


def _flips(before: Tensor | None, correct: Tensor) -> dict[str, Tensor]:
    """Which predictions turn wrong and which turn right from one row to the next; unknown for the first row."""
    if before is None:
        unknown = torch.full(correct.shape, float("nan"), device=correct.device)
        return {"right_to_wrong": unknown, "wrong_to_right": unknown}
    return {"right_to_wrong": before & ~correct, "wrong_to_right": ~before & correct}
