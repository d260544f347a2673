"""What the paper says of sub-word merging heads (5.1, figure 6b), judged: they are denser in the first half of the
layers, and the last piece of a word attends most to its first.

Each statement is one number, in resamples of the documents and of the heads, and has a smallest value that counts.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from helpers import stats
from helpers.beyond.merging_heads import MUCH, by_head, excess, wide
from helpers.judging import claims
from helpers.stats import UNKNOWN, Resampled
from helpers.text import word_endings

FEWEST_HEADS = 3


def denser_early(rows: pd.DataFrame, seed: int = 0) -> Resampled:
    """Shares of merging heads in the first half of the layers and in the second, difference / sum; 0 if none merges.

    1 where all are in the first half, -1 where all are in the second, 1/5 where the first half has half as many
    again. The middle one of an odd number of layers is in neither half.
    """
    of_heads, layers = excess(rows, seed)
    merges = of_heads.map(lambda heads: heads >= MUCH)
    halves = [2 * layers < layers.max(), 2 * layers > layers.max()]
    if not layers.max():
        return UNKNOWN
    early, late = (
        _mean_over_heads(Resampled(merges.estimate[half], merges.draws[:, half]), seed + number)
        for number, half in enumerate(halves, start=1)
    )
    return stats.combine(
        lambda first, second: (first - second) / np.where(first + second, first + second, 1), early, late
    )


def first_over_others(rows: pd.DataFrame, seed: int = 0) -> Resampled:
    """Attention to the word's first piece, minus that to the most attended other, mean over heads that gather.

    Those are the heads whose ``difference`` of all pieces together is at least ``MUCH`` in one half of the
    documents; measured is the other half. Not a number where there is none.
    """
    documents = stats.documents_in(rows)
    picking = stats.clusters(documents) % 2 == 0
    n_pieces = sum(column.startswith("word_") for column in rows)
    if picking.all() or not n_pieces:
        return UNKNOWN
    together = np.sum([wide(rows, f"difference_{p}") for p in range(1, n_pieces + 1)], axis=0)
    gathers = together[picking].mean(0) >= MUCH
    if not gathers.any():
        return UNKNOWN
    weights = stats.resample_weights(int((~picking).sum()), seed, documents[~picking])
    words = (wide(rows, f"word_{p}")[~picking][:, gathers] for p in range(1, n_pieces + 1))
    first, *others = (stats.weighted_mean(values, weights) for values in words)
    return _mean_over_heads(first - stats.combine(lambda *each: np.max(each, axis=0), *others), seed + 1)


STATEMENTS: dict[str, tuple[Callable[[pd.DataFrame, int], Resampled], float]] = {
    "Merging heads are denser in the first half": (denser_early, 0.2),
    "The last piece looks most at the first": (first_over_others, 0.05),
}


def judge(models: Sequence[pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """Both statements, one row each, as ``claims.decide`` judges them; rows of one model, or of its twins together."""
    n_words = max(rows.dropna()["sequence"].nunique() for rows in models)
    n_heads = max(int(by_head(rows, seed)["merges"].sum()) for rows in models)
    reason = f"only {n_heads} heads merge" if n_heads < FEWEST_HEADS else ""
    reason = f"only {n_words} words to merge" if n_words < word_endings.FEWEST_WORDS else reason
    judged = []
    for statement, (statistic, bound) in STATEMENTS.items():
        each = [statistic(rows, seed) for rows in models]
        keys = {"statement": statement, "rule": f"above {bound}"}
        judged.append(keys | claims.decide(stats.pool(each), partial(operator.lt, bound), reason, each))
    return pd.DataFrame(judged)


def _mean_over_heads(heads: Resampled, seed: int) -> Resampled:
    """The mean over heads, of which as many are drawn with replacement as there are."""
    drawn = stats.resample_weights(len(heads.estimate), seed)
    return stats.combine(lambda values, weights: (values * weights).sum(-1), heads, drawn)
