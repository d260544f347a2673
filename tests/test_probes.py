"""A probe finds what a plane can separate in groups it has not seen, and nothing else."""

import numpy as np
import pytest

from helpers import probes

N_GROUPS, PER_GROUP = 20, 15


def planted(strength: float, n_classes: int = 2, seed: int = 0):
    """Features, labels, groups: class c shifts feature c by ``strength``."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(n_classes, size=N_GROUPS * PER_GROUP)
    features = generator.standard_normal((len(labels), 6))
    features[np.arange(len(labels)), labels] += strength
    return features, labels, np.repeat(np.arange(N_GROUPS), PER_GROUP)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_planted_direction_is_found(n_classes):
    found = probes.scores(*planted(6, n_classes))
    assert len(found) == probes.FOLDS
    assert found["balanced_accuracy"].mean() > 0.95
    assert found["auc"].isna().all() == (n_classes > 2)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_noise_is_at_chance(n_classes):
    found = probes.scores(*planted(0, n_classes))
    assert found["balanced_accuracy"].mean() == pytest.approx(1 / n_classes, abs=0.08)


def test_what_only_marks_a_group_does_not_help():
    """Each group has a feature value of its own that gives its label away, but only in that group."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    labels = np.repeat(generator.permutation(40) % 2, 10)
    features = np.eye(40)[groups]
    assert probes.scores(features, labels, groups)["auc"].mean() == pytest.approx(0.5, abs=0.15)
    assert probes.scores(features, labels, np.arange(400))["auc"].mean() > 0.95


def test_guessing_the_commoner_class_does_not_look_good():
    features, labels, groups = planted(0)
    labels = (np.random.default_rng(1).random(len(labels)) < 0.1).astype(int)
    assert probes.scores(features, labels, groups)["balanced_accuracy"].mean() == pytest.approx(0.5, abs=0.12)


def test_the_auc_counts_pairs_in_the_right_order():
    features, labels, groups = planted(1.5)
    found = probes.scores(features, labels, groups)
    assert 0.7 < found["auc"].mean() < 0.98
    flipped = probes.scores(features, 1 - labels, groups)
    assert found["auc"].tolist() == pytest.approx(flipped["auc"].tolist(), abs=1e-6)


def test_folds_without_a_class_are_left_out():
    features, labels, groups = planted(3)
    assert probes.scores(features, np.where(groups == 0, labels, 0), groups).empty
