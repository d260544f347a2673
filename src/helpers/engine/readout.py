"""Read predictions off a residual stream, a few hundred positions at a time.

The logits of one batch of GPT-2 would fill gigabytes once there is one stream per lesion. So each chunk
of logits is reduced at once to what the experiments need: the largest logit, the log-sum-exp, the
entropy and the label's logit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import metrics
from helpers.engine.predictions import Predictions, Reference, reduce

CHUNK_ROWS = 512  # rows of one matrix product, at least: enough to run it at the processor's rate
CHUNK_ELEMENTS = 2**21
CACHE_ELEMENTS = 2**18  # logits reduced at once: 1 MB, which a processor's cache holds


@dataclass(frozen=True)
class Unembedding:
    """The map from a normalised residual to logits: ``hidden @ weight + bias``.

    Works through the positions in chunks and through one buffer: the logits of all positions never
    exist at the same time.
    """

    weight: Float[Tensor, "d_model vocab"]
    bias: Float[Tensor, "vocab"]
    tf32: bool = False  # weights and residuals are half-precision numbers, which TF32 multiplies exactly

    @classmethod
    def of(cls, bridge: TransformerBridge) -> "Unembedding":
        """The model's own, final norm folded in; whatever the model's dtype, logits are computed in float32."""
        return cls(bridge.W_U.float(), bridge.b_U.float(), tf32=bridge.W_U.dtype != torch.float32)

    def read(self, hidden: Float[Tensor, "*positions d_model"], labels: Int[Tensor, "*positions"]) -> Predictions:
        """The predictions at every position, from residuals that have passed the final norm."""
        parts = []
        for hidden_chunk, label_chunk in self._chunks(hidden, labels):
            product = self._times_weight(hidden_chunk)
            for rows, row_labels in cache_sized(product, label_chunk):
                parts.append(reduce(rows.add_(self.bias), row_labels))
        return Predictions.joined(parts, labels.shape)

    def read_twice(
        self,
        hidden: Float[Tensor, "*positions d_model"],
        factor: Float[Tensor, "*positions"],
        labels: Int[Tensor, "*positions"],
    ) -> tuple[Predictions, Predictions]:
        """The predictions from ``hidden``, and those from ``factor * hidden`` without bias: one product for both."""
        parts, scaled_parts = [], []
        for hidden_chunk, factor_chunk, label_chunk in self._chunks(hidden, factor, labels):
            product = self._times_weight(hidden_chunk)
            for rows, row_factors, row_labels in cache_sized(product, factor_chunk, label_chunk):
                parts.append(reduce(rows + self.bias, row_labels))
                scaled_parts.append(reduce(rows.mul_(row_factors[:, None]), row_labels))
        return Predictions.joined(parts, labels.shape), Predictions.joined(scaled_parts, labels.shape)

    def reference(
        self, hidden: Float[Tensor, "*positions d_model"], labels: Int[Tensor, "*positions"], with_bias: bool = True
    ) -> Reference:
        """As ``read``, with what is needed to compare other predictions to these; the bias may be left out."""
        bias = self.bias if with_bias else torch.zeros_like(self.bias)
        parts, directions, biases = [], [], []
        for hidden_chunk, label_chunk in self._chunks(hidden, labels):
            logits = self._times_weight(hidden_chunk).add_(bias)
            reduced = [reduce(*rows) for rows in cache_sized(logits, label_chunk)]
            parts.append(Predictions.joined(reduced, label_chunk.shape))
            probabilities = logits.sub_(parts[-1].log_normaliser[:, None]).exp_()
            directions.append(probabilities @ self.weight.T)
            biases.append(probabilities @ bias)
        predictions = Predictions.joined(parts, labels.shape)
        return Reference(
            predictions, torch.cat(directions).reshape(hidden.shape), torch.cat(biases).reshape(labels.shape)
        )

    def kl_divergence(
        self,
        hidden: Float[Tensor, "*positions d_model"],
        other: "Unembedding",
        other_hidden: Float[Tensor, "*positions d_model"],
    ) -> Float[Tensor, "*positions"]:
        """KL(this || other) in nats between the predictions of two models with the same vocabulary."""
        parts = []
        for hidden_chunk, other_chunk in self._chunks(hidden, other_hidden):
            logits = self._times_weight(hidden_chunk) + self.bias  # out of the buffer, which may be the other's as well
            parts.append(metrics.kl_divergence(logits, other._times_weight(other_chunk).add_(other.bias)))
        return torch.cat(parts).reshape(hidden.shape[:-1])

    def _chunks(self, hidden: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """As many positions of all of them at a time as the buffer has rows."""
        last = hidden.dim() - 2
        return zip(*(tensor.flatten(0, last).split(len(self._buffer)) for tensor in (hidden, *others)), strict=True)

    def _times_weight(self, hidden: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        """In the buffer: good until the next call."""
        before = torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = "tf32" if self.tf32 else before
        try:
            return torch.mm(hidden.float(), self.weight, out=self._buffer[: len(hidden)])
        finally:
            torch.backends.cuda.matmul.fp32_precision = before

    @cached_property
    def _buffer(self) -> Float[Tensor, "row vocab"]:
        n_vocab = self.weight.shape[1]
        return self.weight.new_empty(max(CHUNK_ROWS, CHUNK_ELEMENTS // n_vocab), n_vocab)


def cache_sized(logits: Float[Tensor, "row vocab"], *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """A few rows of all of them at a time: as many logits as a processor's cache holds; on a GPU all at once."""
    size = max(1, CACHE_ELEMENTS // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    return zip(*(tensor.split(size) for tensor in (logits, *others)), strict=True)


def predicted_positions(residual: Float[Tensor, "*rows pos d_model"]) -> Float[Tensor, "*rows pos-2 d_model"]:
    """Positions 1 .. pos-2: BOS predicts nothing the paper counts, and the last position has no label."""
    return residual[..., 1:-1, :]


def labels(tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos-2"]:
    """The tokens that really follow the predicted positions."""
    return tokens[:, 2:]
