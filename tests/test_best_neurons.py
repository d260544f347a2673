"""Probes of one and of many neurons: against scikit-learn, against loops, and on answers that were planted."""

from math import erf

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from helpers.beyond.best_neurons import best_together, each_alone, logistic, vote

N = 2000


def planted(n_neurons: int, knowing: dict[int, float], seed: int = 0):
    """Noise, to which some neurons add their separation where the answer is yes; 100 documents."""
    generator = np.random.default_rng(seed)
    positive = np.arange(N) % 2 == 0
    values = generator.standard_normal((N, n_neurons))
    for neuron, separation in knowing.items():
        values[positive, neuron] += separation
    return values, positive, generator.integers(100, size=N)


def phi(separation: float) -> float:
    """The accuracy of the best threshold between two normal distributions."""
    return (1 + erf(separation / 2 / 2**0.5)) / 2


@pytest.mark.parametrize("strength", [1.0, 1 / 8])
def test_many_logistic_probes_at_once_are_those_of_scikit_learn(strength):
    generator = np.random.default_rng(0)
    features = generator.standard_t(3, size=(4, 300, 8)) * [5, 1, 1, 1, 1, 1, 1, 0.2]  # heavy tails, unequal scales
    positive = features[0, :, 0] + generator.standard_normal(300) > 0.5
    found = logistic(features, positive, strength)
    for weights, of_probe in zip(found, features, strict=True):
        expected = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(of_probe, positive)
        np.testing.assert_allclose(weights[:-1], expected.coef_[0], atol=2e-3)
        assert weights[-1] == pytest.approx(expected.intercept_[0], abs=2e-3)


def test_each_neuron_is_as_right_as_its_separation_allows_and_noise_is_at_chance():
    values, positive, documents = planted(4, {0: 1.0, 2: -2.0})
    accuracy = each_alone(values, positive, documents).mean(0)
    assert accuracy == pytest.approx([phi(1), 0.5, phi(2), 0.5], abs=0.05)


def test_each_alone_is_what_a_loop_over_folds_and_neurons_finds():
    values, positive, documents = planted(3, {0: 1.0})
    correct = each_alone(values, positive, documents)
    for train, test in GroupKFold(5).split(values, positive, documents):
        for neuron in range(3):
            scaler = StandardScaler().fit(values[train, neuron : neuron + 1])
            known, asked = (scaler.transform(values[part, neuron : neuron + 1]) for part in (train, test))
            answers = LogisticRegression().fit(known, positive[train]).predict(asked)
            assert (correct[test, neuron] == (answers == positive[test])).mean() > 0.995


def test_the_best_are_found_wherever_they_stand_and_add_up():
    knowing = {3: 1.0, 7: 1.2, 11: 1.1, 12: 1.3}
    values, positive, documents = planted(16, knowing)
    accuracy = best_together(values, positive, documents, [1, 2, 4, 16]).mean(0)
    joint = [phi(1.3), phi((1.3**2 + 1.2**2) ** 0.5), phi(sum(d**2 for d in knowing.values()) ** 0.5)]
    assert accuracy[:3] == pytest.approx(joint, abs=0.03)
    assert accuracy[3] == pytest.approx(joint[-1], abs=0.03)  # twelve neurons of noise do no harm


def test_the_best_of_many_that_know_nothing_is_at_chance_while_the_best_in_hindsight_is_not():
    values, positive, documents = planted(200, {})
    values, positive, documents = values[:150], positive[:150], documents[:150]
    hindsight = each_alone(values, positive, documents).mean(0).max()
    best = best_together(values, positive, documents, [1])
    assert hindsight > 0.6
    assert best.mean() < 0.58


def test_what_is_known_of_a_document_alone_is_not_known_of_another():
    """A neuron that says which document it is, in documents that are all yes or all no: folds by example would fall
    for the second, which is constant within each."""
    documents = np.repeat(np.arange(40), 10)
    positive = documents % 2 == 0
    generator = np.random.default_rng(0)
    values = generator.standard_normal((40, 60))[documents]
    assert best_together(values, positive, documents, [32]).mean() < 0.65
    assert best_together(values, positive, np.arange(400), [32]).mean() > 0.9


def test_a_vote_needs_no_training_and_counts_the_sign_of_what_is_said():
    values, positive, documents = planted(3, {0: 1.0, 1: -1.0})
    right = vote(values, np.array([1.0, -1.0, 0.0]), positive, documents, [1, 2, 3]).mean(0)
    assert right == pytest.approx([phi(1), phi(2**0.5), phi(2**0.5)], abs=0.03)
    wrong = vote(values, np.array([-1.0, 1.0, 0.0]), positive, documents, [1, 2, 3]).mean(0)
    assert wrong == pytest.approx([1 - phi(1), 1 - phi(2**0.5), 1 - phi(2**0.5)], abs=0.03)


def test_a_vote_is_what_a_loop_adds_up():
    values, positive, documents = planted(3, {0: 1.0})
    logits = np.array([0.5, -2.0, 1.0])
    correct = vote(values, logits, positive, documents, [2])
    for train, test in GroupKFold(5).split(values, positive, documents):
        sums = [sum(values[example, neuron] * logits[neuron] for neuron in (0, 1)) for example in range(N)]
        middle = np.median([sums[example] for example in train])
        assert [correct[example, 0] for example in test] == [
            (sums[example] > middle) == positive[example] for example in test
        ]


def test_too_few_documents_leave_every_answer_open():
    values, positive, _ = planted(2, {0: 1.0})
    documents = np.arange(N) % 4
    assert np.isnan(each_alone(values, positive, documents)).all()
    assert np.isnan(best_together(values, positive, documents, [1, 2])).all()
    assert np.isnan(vote(values, np.ones(2), positive, documents, [1, 2])).all()
