"""Are there blocks of similar layers? A rule with two nulls, for what the paper sees in its CKA (5, figures 5b, c, 14).

Without blocks similarity may still fall with the distance between layers. So a boundary before layer b is judged by
pairs at the *same* distance: with ``width`` layers on either side, the mean dissimilarity 1 - CKA of pairs across it /
that of pairs on one side of it, distance by distance. A steady drift gives 1, and so does one that gets steadily
faster; one single change of pace gives less than 2. Below 2 there is no boundary. Its *score* is width * log2(ratio):
a boundary between long blocks says more than one between short ones. Blocks there are if the best score is above that
of 95 % of the same similarities with the layers in random order. The embedding is left out, blocks have at least
``NARROWEST`` layers, and one large step is a boundary: why layers are alike on either side is not asked.

CKA without bias compares every sequence with every other; a bootstrap resample has some of them twice, which would be
alike for no reason. So the draws are *half-samples* without replacement, whose means spread as those of whole samples
do; documents are drawn, where there are enough of them, with all their sequences.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from helpers import stats
from helpers.beyond import similarity
from helpers.judging import claims
from helpers.stats import UNKNOWN, Resampled

NARROWEST, RATIO, DRAWS = 3, 2.0, 200
TAIL = 95.0


@dataclass(frozen=True)
class Boundary:
    """Where the best boundary is (the first layer of the later block), how wide it was judged, ratio and score."""

    layer: int
    width: int
    ratio: float
    score: float


def judge(
    last: Float[Tensor, "row sequence d_model"],
    documents: Shaped[np.ndarray, "sequence"] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Blocks or none, from the representations of last tokens: ``claims.decide``, with the best boundary beside it.

    The statistic is the best score / the one to beat, which ``share_permuted`` of the random orders reach; the rule is
    above 1. ``last`` has the embedding as row 0, which takes no part. Fewer than six layers cannot speak to it.
    """
    outputs = last[1:]
    n_layers, n_sequences = outputs.shape[:2]
    if n_layers < 2 * NARROWEST or n_sequences < 8:
        return claims.decide(UNKNOWN, above_one, f"needs {2 * NARROWEST} layers and 8 sequences") | _nowhere()
    whole = similarity.cka(outputs).numpy()
    if not np.isfinite(whole).all():
        return claims.decide(UNKNOWN, above_one) | _nowhere()
    permuted = scores(_in_random_orders(whole, seed))
    to_beat = max(NARROWEST * np.log2(RATIO), float(np.percentile(permuted, TAIL)))
    halves = [similarity.cka(outputs[:, chosen]).numpy() for chosen in _half_samples(n_sequences, documents, seed)]
    values = Resampled(np.asarray(scores(whole[None])[0] / to_beat), scores(np.stack(halves)) / to_beat)
    found = best(whole)
    share = float(np.mean(permuted >= found.score)) if found.score > 0 else 1.0
    where = {"layer": found.layer, "width": found.width, "ratio": found.ratio, "share_permuted": share}
    return claims.decide(values, above_one) | where


def best(similarities: Float[np.ndarray, "layer layer"]) -> Boundary:
    """The boundary with the best score; that score is 0 where no ratio reaches 2."""
    each = [
        Boundary(int(layer), width, float(ratio), float(score))
        for width, layers, ratios in _ratios(similarities[None])
        for layer, ratio, score in zip(layers, ratios[0], _score(ratios[0], width), strict=True)
    ]
    return max(each, key=lambda boundary: (boundary.score, boundary.ratio))


def scores(similarities: Float[np.ndarray, "draw layer layer"]) -> Float[np.ndarray, "draw"]:
    """The best score of every matrix."""
    return np.max([_score(ratios, width).max(1) for width, _, ratios in _ratios(similarities)], axis=0)


def above_one(values: np.ndarray) -> np.ndarray:
    """The rule: more than what is to be beaten."""
    return values > 1


def _ratios(similarities: Float[np.ndarray, "draw layer layer"]) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """By width: the boundaries' first layers after them, and their ratios [draw, boundary]."""
    n_layers = similarities.shape[1]
    dissimilarity = np.clip(1 - similarities, 0, None).reshape(len(similarities), -1)
    found = []
    for width in range(NARROWEST, n_layers // 2 + 1):
        layers = np.arange(width, n_layers - width + 1)
        across, within = (
            np.stack([_mean_by_distance(n_layers, layer, width, crossing) for layer in layers.tolist()]).reshape(
                len(layers), -1
            )
            for crossing in (True, False)
        )
        found.append((width, layers, stats.divide(dissimilarity @ across.T, dissimilarity @ within.T)))
    return found


def _mean_by_distance(n_layers: int, layer: int, width: int, crossing: bool) -> Float[np.ndarray, "layer layer"]:
    """Weights of the pairs across the boundary, or of those on one side of it, the same in sum for every distance."""
    weights = np.zeros((n_layers, n_layers))
    for distance in range(1, width):
        first = np.arange(layer - width, layer + width - distance)
        crosses = (first < layer) & (first + distance >= layer)
        chosen = first[crosses == crossing]
        weights[chosen, chosen + distance] = 1 / len(chosen)
    return weights


def _score(ratios: np.ndarray, width: int) -> np.ndarray:
    return width * np.log2(np.where(ratios >= RATIO, ratios, 1.0))


def _in_random_orders(whole: Float[np.ndarray, "layer layer"], seed: int) -> Float[np.ndarray, "draw layer layer"]:
    generator = np.random.default_rng(seed)
    orders = np.stack([generator.permutation(len(whole)) for _ in range(stats.RESAMPLES)])
    return whole[orders[:, :, None], orders[:, None, :]]


def _half_samples(n_sequences: int, documents: np.ndarray | None, seed: int) -> list[Tensor]:
    """The sequences of random documents, until half of all are drawn."""
    groups = pd.Series(stats.clusters(np.arange(n_sequences) if documents is None else documents))
    members = [torch.tensor(each.to_numpy()) for each in groups.groupby(groups).groups.values()]
    generator, drawn = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        order = torch.cat([members[group] for group in generator.permutation(len(members))])
        drawn.append(order[: n_sequences // 2].sort().values)
    return drawn


def _nowhere() -> dict[str, Any]:
    return {"layer": np.nan, "width": np.nan, "ratio": np.nan, "share_permuted": np.nan}
