"""A probe finds what a plane can separate in groups it has not seen, and nothing else."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GroupKFold

from helpers.beyond import probes

N_GROUPS, PER_GROUP = 20, 15


def planted(strength: float, n_classes: int = 2, seed: int = 0):
    """Features, labels, groups: class c shifts feature c by ``strength``."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(n_classes, size=N_GROUPS * PER_GROUP)
    features = generator.standard_normal((len(labels), 6))
    features[np.arange(len(labels)), labels] += strength
    return features, labels, np.repeat(np.arange(N_GROUPS), PER_GROUP)


def scores(features, labels, groups) -> pd.DataFrame:
    """The answers on each fold, judged by scikit-learn: ``balanced_accuracy`` and, for two classes, ``auc``."""
    answers = probes.predictions(features, labels, groups)
    rows = []
    for _, test in GroupKFold(probes.FOLDS).split(features, labels, groups):
        recalls = [answers["correct"][test][labels[test] == label].mean() for label in np.unique(labels)]
        auc = roc_auc_score(labels[test], answers["score"][test]) if len(recalls) == 2 else np.nan
        rows.append({"balanced_accuracy": np.mean(recalls), "auc": auc})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_planted_direction_is_found(n_classes):
    found = scores(*planted(6, n_classes))
    assert len(found) == probes.FOLDS
    assert found["balanced_accuracy"].mean() > 0.95
    assert found["auc"].isna().all() == (n_classes > 2)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_noise_is_at_chance(n_classes):
    found = scores(*planted(0, n_classes))
    assert found["balanced_accuracy"].mean() == pytest.approx(1 / n_classes, abs=0.08)


def test_what_only_marks_a_group_does_not_help():
    """Each group has a feature value of its own that gives its label away, but only in that group."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    labels = np.repeat(generator.permutation(40) % 2, 10)
    features = np.eye(40)[groups]
    assert scores(features, labels, groups)["auc"].mean() == pytest.approx(0.5, abs=0.15)
    assert scores(features, labels, np.arange(400))["auc"].mean() > 0.95


def test_guessing_the_commoner_class_does_not_look_good():
    features, labels, groups = planted(0)
    labels = (np.random.default_rng(1).random(len(labels)) < 0.1).astype(int)
    assert scores(features, labels, groups)["balanced_accuracy"].mean() == pytest.approx(0.5, abs=0.12)


def test_the_auc_counts_pairs_in_the_right_order():
    features, labels, groups = planted(1.5)
    found = scores(features, labels, groups)
    assert 0.7 < found["auc"].mean() < 0.98
    flipped = scores(features, 1 - labels, groups)
    assert found["auc"].tolist() == pytest.approx(flipped["auc"].tolist(), abs=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_every_example_is_judged_by_a_probe_that_has_not_seen_its_group(n_classes):
    features, labels, groups = planted(1, n_classes)
    answers = probes.predictions(features, labels, groups)
    for train, test in GroupKFold(probes.FOLDS).split(features, labels, groups):
        mean, spread = features[train].mean(0), features[train].std(0)
        plain = LogisticRegression(class_weight="balanced").fit((features[train] - mean) / spread, labels[train])
        standardised = (features[test] - mean) / spread
        assert answers["correct"][test].tolist() == (plain.predict(standardised) == labels[test]).tolist()
        if n_classes == 2:
            assert answers["score"][test].tolist() == pytest.approx(plain.decision_function(standardised).tolist())
    assert answers["score"].isna().all() == (n_classes > 2)


def test_no_prediction_without_enough_groups_or_classes():
    features, labels, groups = planted(6)
    few = groups < probes.FOLDS - 1
    assert probes.predictions(features[few], labels[few], groups[few]).isna().all(axis=None)
    assert probes.predictions(features, np.ones_like(labels), groups).isna().all(axis=None)
    assert probes.predictions(features, labels, groups).notna().all(axis=None)


def test_balanced_accuracy_in_resamples_is_that_of_the_examples_drawn():
    generator = np.random.default_rng(0)
    labels, groups = generator.choice(list("abc"), 90, p=[0.6, 0.3, 0.1]), np.repeat(np.arange(9), 10)
    guesses = np.where(generator.random((90, 2)) < [0.5, 0.8], labels[:, None], "a")
    draws = generator.integers(9, size=(20, 9))
    weights = np.stack([np.bincount(draw, minlength=9) for draw in draws]) / 9
    found = probes.balanced_accuracy((guesses == labels[:, None]).astype(float), labels, groups, weights)
    for draw, values in zip(draws, found, strict=True):
        drawn = np.concatenate([np.flatnonzero(groups == group) for group in draw])
        expected = [balanced_accuracy_score(labels[drawn], guesses[drawn, column]) for column in range(2)]
        assert values.tolist() == pytest.approx(expected)


def test_a_class_that_a_resample_lacks_does_not_count_and_unknown_answers_make_it_unknown():
    labels, groups = np.array(["a", "a", "b", "b"]), np.array([0, 0, 1, 1])
    correct = np.array([[1, np.nan], [0, 1], [1, 1], [1, 1.0]])
    found = probes.balanced_accuracy(correct[:, :1], labels, groups, np.array([[1, 1], [2, 0], [0, 2.0]]))
    assert found[:, 0].tolist() == [0.75, 0.5, 1]
    assert np.isnan(probes.balanced_accuracy(correct, labels, groups, np.ones((1, 2)))[0, 1])


def test_the_auc_within_groups_is_each_groups_own():
    features, labels, groups = planted(1)
    scores = features[:, :2].round(1) + 100 * groups[:, None]  # groups far apart, and ties
    found = probes.auc_within_groups(scores, labels == 1, groups)
    for group in range(N_GROUPS):
        some = groups == group
        expected = [roc_auc_score(labels[some], scores[some, column]) for column in range(2)]
        assert found[group].tolist() == pytest.approx(expected)


def test_equal_scores_are_a_coin_toss_and_a_group_of_one_kind_has_no_auc():
    labels, groups = np.array([True, False, False, True, True]), np.array([0, 0, 0, 1, 1])
    found = probes.auc_within_groups(np.zeros((5, 1)), labels, groups)
    assert found[0, 0] == 0.5 and np.isnan(found[1, 0])
