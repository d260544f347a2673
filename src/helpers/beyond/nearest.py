"""What is a residual nearest to? By cosine, among residuals of known words or among input embeddings.

Every answer comes with its chance: the share of right ones among all that may be given.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

TIE = 1e-5  # cosines that differ by less are equal


def by_neighbour(
    residual: Float[Tensor, "word d_model"],
    reference: Float[Tensor, "place d_model"],
    allowed: Bool[Tensor, "word place"],
    right: Bool[Tensor, "word place"],
) -> dict[str, Float[Tensor, "word"]]:
    """Whether the nearest ``allowed`` reference is a ``right`` one (of equally near ones: the share), and chance."""
    mean = reference.mean(0)
    cosines = normalize(residual - mean, dim=-1) @ normalize(reference - mean, dim=-1).T
    cosines = cosines.masked_fill(~allowed, -math.inf)
    nearest = cosines >= cosines.amax(-1, keepdim=True) - TIE
    return {
        "neighbour": (nearest & right).sum(-1) / nearest.sum(-1),
        "neighbour_chance": (allowed & right).sum(-1) / allowed.sum(-1),
    }


def by_embedding(
    residual: Float[Tensor, "word d_model"],
    embeddings: Float[Tensor, "candidate d_model"],
    is_word: Bool[Tensor, "word candidate"],
) -> dict[str, Float[Tensor, "word"]]:
    """Whether the nearest embedding is the word's, the share of the others that are nearer, and chance."""
    cosines = normalize(residual, dim=-1) @ normalize(embeddings, dim=-1).T
    nearer = (cosines > cosines[is_word][:, None]).sum(-1)
    n_candidates = embeddings.shape[0]
    rank = nearer / max(1, n_candidates - 1)
    return {
        "embedding": (nearer == 0).float(),
        "embedding_rank": rank,
        "embedding_chance": torch.full_like(rank, 1 / n_candidates),
    }
