"""Linear probes: what can be read off activations by a plane, judged on groups the probe has not seen."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS = 5


def scores(
    features: Float[np.ndarray, "example feature"],
    labels: Shaped[np.ndarray, "example"],
    groups: Shaped[np.ndarray, "example"],
    strength: float = 1.0,
) -> pd.DataFrame:
    """A logistic probe's ``balanced_accuracy`` and, for two classes, ``auc``: one row per fold.

    No group is in both the training and the test part of a fold. ``strength`` is the inverse of the L2
    penalty. Features are standardised, classes weighted by how rare they are. Folds whose training or
    test part lacks a class are left out.
    """
    rows = []
    for fold, (train, test) in enumerate(GroupKFold(FOLDS).split(features, labels, groups)):
        if set(labels[train]) != set(labels) or set(labels[test]) != set(labels):
            continue
        classifier = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
        probe = make_pipeline(StandardScaler(), classifier).fit(features[train], labels[train])
        row = {"fold": fold, "balanced_accuracy": balanced_accuracy_score(labels[test], probe.predict(features[test]))}
        if len(probe.classes_) == 2:
            row["auc"] = roc_auc_score(labels[test] == probe.classes_[1], probe.decision_function(features[test]))
        rows.append(row)
    return pd.DataFrame(rows, columns=["fold", "balanced_accuracy", "auc"])
