"""Read predictions off a residual stream, a few hundred positions at a time.

The logits of one batch of GPT-2 would fill gigabytes once there is one stream per lesion. So each chunk
of logits is reduced at once to what the experiments need: the largest logit, the log-sum-exp, the
entropy and the label's logit. KL against a reference p needs no second pass over the vocabulary:

    KL(p || q) = -H(p) - sum_v p_v logit_q(v) + logsumexp(logit_q)

and the sum is the dot product of q's normalised residual with the unembedding expected under p.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

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


@dataclass(frozen=True)
class Unembedding:
    """The map from a normalised residual to logits: ``hidden @ weight + bias``."""

    weight: Float[Tensor, "d_model vocab"]
    bias: Float[Tensor, "vocab"]

    @classmethod
    def of(cls, bridge: TransformerBridge) -> "Unembedding":
        """The model's own, final norm folded in."""
        return cls(bridge.W_U, bridge.b_U)

    def without_bias(self) -> "Unembedding":
        """The same map with the bias left out, as in the authors' lens."""
        return Unembedding(self.weight, torch.zeros_like(self.bias))

    def read(self, hidden: Float[Tensor, "*positions d_model"], labels: Int[Tensor, "*positions"]) -> Predictions:
        """The predictions at every position, from residuals that have passed the final norm."""
        return self._read(hidden, labels, expected=False)[0]

    def reference(self, hidden: Float[Tensor, "*positions d_model"], labels: Int[Tensor, "*positions"]) -> Reference:
        """As ``read``, with what ``kl_divergence`` needs to compare other predictions to these."""
        predictions, direction, bias = self._read(hidden, labels, expected=True)
        return Reference(predictions, direction, bias)

    def kl_divergence(
        self,
        reference: Reference,
        hidden: Float[Tensor, "*positions d_model"],
        predictions: Predictions,
    ) -> Float[Tensor, "*positions"]:
        """KL(reference || predictions) in nats, where ``predictions = read(hidden, labels)``."""
        expected_logit = torch.linalg.vecdot(reference.expected_direction, hidden.float())
        cross_entropy = predictions.log_normaliser - expected_logit - reference.expected_bias
        return (cross_entropy - reference.predictions.entropy_nats).clamp(min=0)

    def _read(self, hidden, labels, expected: bool):
        """Chunk by chunk through one buffer: the logits of all positions never exist at the same time."""
        n_vocab = self.weight.shape[1]
        rows = max(CHUNK_ROWS, CHUNK_ELEMENTS // n_vocab)
        buffer = hidden.new_empty(min(rows, labels.numel()), n_vocab)
        chunks = zip(hidden.flatten(0, -2).split(rows), labels.flatten().split(rows), strict=True)
        columns = zip(*(self._read_chunk(h, label, expected, buffer) for h, label in chunks), strict=True)
        *fields, direction, bias = (torch.cat(column).unflatten(0, labels.shape) for column in columns)
        return Predictions(*fields), direction, bias

    def _read_chunk(self, hidden: Float[Tensor, "row d_model"], labels: Int[Tensor, "row"], expected: bool, buffer):
        logits = torch.addmm(self.bias, hidden, self.weight, out=buffer[: len(hidden)]).float()
        block = max(1, BLOCK_ELEMENTS // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
        parts = [_reduce(rows, label) for rows, label in zip(logits.split(block), labels.split(block), strict=True)]
        largest, top1, label_logit, total, weighted = (torch.cat(part) for part in zip(*parts, strict=True))
        log_total = total.log()
        log_normaliser = largest + log_total
        entropy = log_total - weighted / total
        fields = (top1, 1 / total, entropy, log_normaliser - label_logit, log_normaliser, top1 == labels)
        if not expected:
            return *fields, total.new_empty(len(total), 0), total
        probabilities = logits.exp_() / total[:, None]  # _reduce has subtracted the largest logit in place
        return *fields, probabilities @ self.weight.float().T, probabilities @ self.bias.float()


def _reduce(logits: Float[Tensor, "row vocab"], labels: Int[Tensor, "row"]) -> tuple[Tensor, ...]:
    """Largest logit, its token, the label's logit, and with l = logits - largest: sum exp(l) and sum l exp(l).

    A few rows at a time, so that they stay in the processor's cache; leaves l in ``logits``.
    """
    largest, top1 = logits.max(-1)
    label_logit = logits.gather(-1, labels[:, None]).squeeze(-1)
    weights = logits.sub_(largest[:, None]).exp()
    return largest, top1, label_logit, weights.sum(-1), torch.linalg.vecdot(weights, logits)


def predicted_positions(residual: Float[Tensor, "*rows pos d_model"]) -> Float[Tensor, "*rows pos-2 d_model"]:
    """Positions 1 .. pos-2: BOS predicts nothing the paper counts, and the last position has no label."""
    return residual[..., 1:-1, :]


def labels(tokens: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos-2"]:
    """The tokens that really follow the predicted positions."""
    return tokens[:, 2:]
