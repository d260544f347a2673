"""Read predictions off a residual stream, a few hundred positions at a time.

The logits of one batch of GPT-2 would fill gigabytes once there is one stream per lesion. So each chunk
of logits is reduced at once to what the experiments need: the largest logit, the log-sum-exp, the
entropy and the label's logit. KL against a reference p needs no second pass over the vocabulary:

    KL(p || q) = -H(p) - sum_v p_v logit_q(v) + logsumexp(logit_q)

and the sum is the dot product of q's normalised residual with the unembedding expected under p.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import metrics

CHUNK_ROWS = 512  # rows of one matrix product, at least: enough to run it at the processor's rate
CHUNK_ELEMENTS = 2**21
BLOCK_ELEMENTS = 2**18  # logits reduced at once: 1 MB, which a processor's cache holds


@dataclass(frozen=True)
class Predictions:
    """Next-token predictions at some positions; every field has the shape of the labels."""

    top1: Int[Tensor, "*positions"]
    top1_probability: Float[Tensor, "*positions"]
    entropy_nats: Float[Tensor, "*positions"]
    loss_nats: Float[Tensor, "*positions"]
    log_normaliser: Float[Tensor, "*positions"]
    correct: Bool[Tensor, "*positions"]

    @property
    def entropy_bits(self) -> Float[Tensor, "*positions"]:
        return self.entropy_nats / math.log(2)


@dataclass(frozen=True)
class Reference:
    """A prediction p to which others are compared, with its expected unembedding: sum_v p_v W_U[:, v]."""

    predictions: Predictions
    expected_direction: Float[Tensor, "*positions d_model"]
    expected_bias: Float[Tensor, "*positions"]

    def kl_divergence(
        self, hidden: Float[Tensor, "*positions d_model"], predictions: Predictions
    ) -> Float[Tensor, "*positions"]:
        """KL(this || predictions) in nats, where ``predictions`` were read off ``hidden`` by the same unembedding."""
        expected_logit = torch.linalg.vecdot(self.expected_direction, hidden.float())
        cross_entropy = predictions.log_normaliser - expected_logit - self.expected_bias
        return (cross_entropy - self.predictions.entropy_nats).clamp(min=0)


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

    def without_bias(self) -> "Unembedding":
        """The same map with the bias left out, as in the authors' lens."""
        return replace(self, bias=torch.zeros_like(self.bias))

    def read(self, hidden: Float[Tensor, "*positions d_model"], labels: Int[Tensor, "*positions"]) -> Predictions:
        """The predictions at every position, from residuals that have passed the final norm."""

        def chunk(hidden, labels):
            return _read(self._times_weight(hidden), labels, lambda logits, _: logits.add_(self.bias))

        return Predictions(*self._in_chunks(chunk, hidden, labels))

    def read_twice(
        self,
        hidden: Float[Tensor, "*positions d_model"],
        factor: Float[Tensor, "*positions"],
        labels: Int[Tensor, "*positions"],
    ) -> tuple[Predictions, Predictions]:
        """The predictions from ``hidden``, and those from ``factor * hidden`` without bias: one product for both."""

        def chunk(hidden, factor, labels):
            product = self._times_weight(hidden)
            own = _read(product, labels, lambda logits, _: logits + self.bias)
            return *own, *_read(product, labels, lambda logits, rows: logits.mul_(factor[rows, None]))

        columns = self._in_chunks(chunk, hidden, factor, labels)
        half = len(columns) // 2
        return Predictions(*columns[:half]), Predictions(*columns[half:])

    def reference(self, hidden: Float[Tensor, "*positions d_model"], labels: Int[Tensor, "*positions"]) -> Reference:
        """As ``read``, with what is needed to compare other predictions to these."""

        def chunk(hidden, labels):
            logits = self._logits(hidden)
            fields = _read(logits, labels, lambda logits, _: logits.clone())
            probabilities = logits.sub_(Predictions(*fields).log_normaliser[:, None]).exp_()
            return *fields, probabilities @ self.weight.T, probabilities @ self.bias

        *fields, direction, bias = self._in_chunks(chunk, hidden, labels)
        return Reference(Predictions(*fields), direction, bias)

    def kl_divergence(
        self,
        hidden: Float[Tensor, "*positions d_model"],
        other: "Unembedding",
        other_hidden: Float[Tensor, "*positions d_model"],
    ) -> Float[Tensor, "*positions"]:
        """KL(this || other) in nats between the predictions of two models with the same vocabulary."""

        def chunk(hidden, other_hidden):
            return (metrics.kl_divergence(self._logits(hidden), other._logits(other_hidden)),)

        return self._in_chunks(chunk, hidden, other_hidden)[0]

    def _logits(self, hidden: Float[Tensor, "row d_model"]) -> Float[Tensor, "row vocab"]:
        return self._times_weight(hidden).add_(self.bias)

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

    def _in_chunks(self, run: Callable[..., tuple[Tensor, ...]], hidden: Tensor, *others: Tensor) -> list[Tensor]:
        """Every result of ``run`` over chunks of positions, each as one tensor."""
        n_dims = hidden.dim() - 1
        flat = [tensor.flatten(0, n_dims - 1) for tensor in (hidden, *others)]
        chunks = zip(*(tensor.split(len(self._buffer)) for tensor in flat), strict=True)
        columns = zip(*(run(*chunk) for chunk in chunks), strict=True)
        return [torch.cat(column).unflatten(0, hidden.shape[:n_dims]) for column in columns]


def _read(
    product: Float[Tensor, "row vocab"],
    labels: Int[Tensor, "row"],
    prepare: Callable[[Tensor, slice], Tensor],
) -> list[Tensor]:
    """The fields of ``Predictions``, a few rows at a time, so that they stay in the processor's cache.

    ``prepare`` makes the logits of some rows from what ``product`` holds there; they are overwritten.
    """
    size = max(1, BLOCK_ELEMENTS // product.shape[1]) if product.device.type == "cpu" else len(product)
    parts = []
    for first in range(0, len(product), size):
        rows = slice(first, first + size)
        part = prepare(product[rows], rows)
        parts.append(_reduce(part, labels[rows]))
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _reduce(logits: Float[Tensor, "row vocab"], labels: Int[Tensor, "row"]) -> tuple[Tensor, ...]:
    """The fields of ``Predictions``; overwrites ``logits``."""
    largest, top1 = logits.max(-1)
    label_logit = logits.gather(-1, labels[:, None]).squeeze(-1)
    weights = logits.sub_(largest[:, None]).exp()
    total = weights.sum(-1)
    log_total = total.log()
    log_normaliser = largest + log_total
    entropy = log_total - torch.linalg.vecdot(weights, logits) / total
    return top1, 1 / total, entropy, log_normaliser - label_logit, log_normaliser, top1 == labels


def predicted_positions(residual: Float[Tensor, "*rows pos d_model"]) -> Float[Tensor, "*rows pos-2 d_model"]:
    """Positions 1 .. pos-2: BOS predicts nothing the paper counts, and the last position has no label."""
    return residual[..., 1:-1, :]


def labels(tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos-2"]:
    """The tokens that really follow the predicted positions."""
    return tokens[:, 2:]
