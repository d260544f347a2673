"""Linear probes: what can be read off activations by a plane, judged on groups the probe has not seen.

The answer for every example is kept, so that a judgement can be made again in every bootstrap resample of
the groups.
"""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from helpers.stats import divide

FOLDS = 5


def predictions(
    features: Float[np.ndarray, "example feature"],
    labels: Shaped[np.ndarray, "example"],
    groups: Shaped[np.ndarray, "example"],
    strength: float = 1.0,
) -> pd.DataFrame:
    """What a logistic probe answers for every example when it was trained on other groups: one row each.

    ``strength`` is the inverse of the L2 penalty. Features are standardised, classes weighted by how rare they are.
    ``correct`` is 1 or 0; ``score``, for two classes, how far the example is on the side of the larger label.
    Both are missing where no probe could be trained: fewer groups than folds, or a single class.
    """
    table = pd.DataFrame(np.nan, index=range(len(labels)), columns=["correct", "score"])
    folds = GroupKFold(FOLDS).split(features, labels, groups) if len(np.unique(groups)) >= FOLDS else ()
    for train, test in folds:
        if len(np.unique(labels[train])) < 2:
            continue
        probe = _fit(features[train], labels[train], strength)
        table.loc[test, "correct"] = (probe.predict(features[test]) == labels[test]).astype(float)
        if len(np.unique(labels)) == 2:
            table.loc[test, "score"] = probe.decision_function(features[test])
    return table


def balanced_accuracy(
    correct: Float[np.ndarray, "example column"],
    labels: Shaped[np.ndarray, "example"],
    groups: Shaped[np.ndarray, "example"],
    weights: Float[np.ndarray, "resample group"],
) -> Float[np.ndarray, "resample column"]:
    """The share of each class that is correct, mean over classes, in resamples of the groups (in sorted order).

    A class that a resample lacks does not count in it.
    """
    of_group = np.equal.outer(np.unique(groups), groups).astype(float)
    recalls = []
    for label in np.unique(labels):
        members = of_group * (labels == label)
        recalls.append(divide(weights @ (members @ correct), weights @ members.sum(1, keepdims=True)))
    counted = np.isfinite(recalls)
    return divide(np.where(counted, recalls, 0).sum(0), counted.sum(0))


def auc_within_groups(
    scores: Float[np.ndarray, "example column"],
    labels: Bool[np.ndarray, "example"],
    groups: Shaped[np.ndarray, "example"],
) -> Float[np.ndarray, "group column"]:
    """How often, within a group, an example that is true scores above one that is not; equal scores count half.

    Groups in sorted order; not a number for a group that lacks one of the two.
    """
    rows = []
    for group in np.unique(groups):
        true, false = (scores[(groups == group) & (labels == label)] for label in (True, False))
        if not len(true) or not len(false):
            rows.append(np.full(scores.shape[1], np.nan))
            continue
        difference = true[:, None] - false[None]
        rows.append(((np.sign(difference) + 1) / 2).mean((0, 1)))
    return np.array(rows).reshape(-1, scores.shape[1])


def _fit(features, labels, strength: float):
    """The fitted probe. On one thread: its products are so small that several would wait for each other."""
    classifier = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    with threadpool_limits(1):
        return make_pipeline(StandardScaler(), classifier).fit(features, labels)
