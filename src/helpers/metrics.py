"""What is asked of a next-token distribution: KL divergence and loss in nats, entropy in bits, agreement.

All functions take logits and reduce the vocabulary, the last dimension; they say nothing of batches,
positions or means. They are the plain definitions: the sweeps use ``helpers.engine.readout``, which computes
the same numbers without holding the logits of a whole batch.
"""

import math

from jaxtyping import Bool, Float, Int
from torch import Tensor


def kl_divergence(
    intact: Float[Tensor, "*positions vocab"], lesioned: Float[Tensor, "*positions vocab"]
) -> Float[Tensor, "*positions"]:
    """KL(intact || lesioned) in nats at every position; 0 where the lesion changes nothing."""
    log_p, log_q = intact.log_softmax(-1), lesioned.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def entropy_bits(logits: Float[Tensor, "*positions vocab"]) -> Float[Tensor, "*positions"]:
    """Entropy of the prediction in bits: 0 when certain, log2(vocab) when every token is equally likely."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1) / math.log(2)


def next_token_loss(
    logits: Float[Tensor, "*positions vocab"], labels: Int[Tensor, "*positions"]
) -> Float[Tensor, "*positions"]:
    """Minus the log-probability of the token that really follows, in nats."""
    return -logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)


def top1_agreement(
    intact: Float[Tensor, "*positions vocab"], lesioned: Float[Tensor, "*positions vocab"]
) -> Bool[Tensor, "*positions"]:
    """Whether both predict the same token (the largest logit; of equal ones the first)."""
    return intact.argmax(-1) == lesioned.argmax(-1)
