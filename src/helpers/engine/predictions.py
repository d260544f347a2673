"""What next-token logits come to once their vocabulary is reduced, and the KL divergence that still follows from it.

KL against a reference p needs no second pass over the vocabulary of q:

    KL(p || q) = -H(p) - sum_v p_v logit_q(v) + logsumexp(logit_q)

and the sum is the dot product of q's normalised residual with the unembedding expected under p.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Predictions:
    """Next-token predictions at some positions; every field has the shape of the labels."""

    top1: Int[Tensor, "*positions"]
    top1_probability: Float[Tensor, "*positions"]
    entropy_nats: Float[Tensor, "*positions"]
    loss_nats: Float[Tensor, "*positions"]
    log_normaliser: Float[Tensor, "*positions"]
    correct: Bool[Tensor, "*positions"]

    @classmethod
    def joined(cls, parts: Sequence["Predictions"], shape: Sequence[int]) -> "Predictions":
        """Those of all parts, one after another, in the ``shape`` of the positions."""
        columns = ([getattr(part, field.name) for part in parts] for field in fields(cls))
        return cls(*(torch.cat(column).reshape(shape) for column in columns))

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


def reduce(logits: Float[Tensor, "row vocab"], labels: Int[Tensor, "row"]) -> Predictions:
    """What the logits say at each position, without their vocabulary."""
    largest, top1 = logits.max(-1)
    below_largest = logits - largest[:, None]
    weights = below_largest.exp()
    total = weights.sum(-1)
    log_normaliser = largest + total.log()
    return Predictions(
        top1=top1,
        top1_probability=1 / total,
        entropy_nats=total.log() - torch.linalg.vecdot(weights, below_largest) / total,
        loss_nats=log_normaliser - logits.gather(-1, labels[:, None]).squeeze(-1),
        log_normaliser=log_normaliser,
        correct=top1 == labels,
    )
