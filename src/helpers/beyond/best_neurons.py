"""Linear probes of neurons, each alone and the best k together, and a vote of theirs without any probe.

As in the paper's "-ing" experiment (5.3, figures 12a and 21) neurons are ranked by the accuracy that each has alone.
Here that ranking is made for each fold of the documents anew, on the documents that the fold's probes are trained on;
so the best one is not best by luck on the documents that it is judged on. A probe is a logistic one with an L2
penalty of inverse strength 1 / neurons on standardised activations, as in ``probes``; the two classes are balanced.

A vote has no weights to train: each activation is multiplied with what the neuron adds to the logits of the class
above all others, and the products are summed. It calls the class above the median of the training documents.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import expit
from sklearn.model_selection import GroupKFold

from helpers.beyond.probes import FOLDS

STEPS, TOLERANCE, ROUNDING = 100, 1e-6, 1e-9
Split = tuple[Int[np.ndarray, "train"], Int[np.ndarray, "test"]]


def each_alone(
    activations: Float[np.ndarray, "example neuron"],
    positive: Bool[np.ndarray, "example"],
    documents: Shaped[np.ndarray, "example"],
) -> Float[np.ndarray, "example neuron"]:
    """1 where a probe of that neuron, trained on other documents, is right, and 0 where not."""
    correct = np.full(activations.shape, np.nan)
    for train, test in _folds(positive, documents):
        calls = _alone(activations, positive, train)
        correct[test] = calls(activations[test]) == positive[test, None]
    return correct


def best_together(
    activations: Float[np.ndarray, "example neuron"],
    positive: Bool[np.ndarray, "example"],
    documents: Shaped[np.ndarray, "example"],
    sizes: Sequence[int],
) -> Float[np.ndarray, "example size"]:
    """1 where a probe of the best 1, 2, 4, ... neurons is right, all chosen and trained on other documents."""
    correct = np.full((len(activations), len(sizes)), np.nan)
    for train, test in _folds(positive, documents):
        hits = _alone(activations, positive, train)(activations[train]) == positive[train, None]
        order = np.argsort(-hits.mean(0), kind="stable")
        for column, size in enumerate(sizes):
            best = activations[:, order[:size]]
            weights = logistic(standardised(best[train], best[train])[None], positive[train], 1 / size)
            score = _with_ones(standardised(best[test], best[train])) @ weights[0]
            correct[test, column] = (score > 0) == positive[test]
    return correct


def vote(
    activations: Float[np.ndarray, "example neuron"],
    class_logits: Float[np.ndarray, "neuron"],
    positive: Bool[np.ndarray, "example"],
    documents: Shaped[np.ndarray, "example"],
    sizes: Sequence[int],
) -> Float[np.ndarray, "example size"]:
    """1 where the vote of the first 1, 2, 4, ... neurons, in the order given, is right."""
    votes = np.cumsum(activations * class_logits, axis=1)[:, np.array(sizes) - 1]
    correct = np.full(votes.shape, np.nan)
    for train, test in _folds(positive, documents):
        correct[test] = (votes[test] > np.median(votes[train], axis=0)) == positive[test, None]
    return correct


def logistic(
    features: Float[np.ndarray, "probe example feature"], positive: Bool[np.ndarray, "example"], strength: float
) -> Float[np.ndarray, "probe feature+1"]:
    """Weights, and last the intercept, of many logistic probes at once: the minimum of
    loss summed over the examples + |weights|² / (2 strength), by Newton's steps, halved where one goes too far."""
    design = _with_ones(features)
    penalty = np.append(np.full(features.shape[-1], 1 / strength), 0)

    def loss(weights: np.ndarray) -> np.ndarray:
        logits = (design @ weights[..., None])[..., 0]
        return (np.logaddexp(0, logits) - logits * positive).sum(1) + (penalty * weights**2).sum(1) / 2

    weights = np.zeros((len(features), design.shape[-1]))
    for _ in range(STEPS):
        called = expit((design @ weights[..., None])[..., 0])
        slope = ((called - positive)[:, None] @ design)[:, 0] + penalty * weights
        if abs(slope).max() < TOLERANCE * len(positive):
            break
        curvature = (design * (called * (1 - called))[..., None]).swapaxes(1, 2) @ design + np.diag(penalty)
        step = (np.linalg.pinv(curvature) @ slope[..., None])[..., 0]
        while (too_far := loss(weights - step) > loss(weights) + ROUNDING).any():
            step[too_far] /= 2
        weights -= step
    return weights


def standardised(
    values: Float[np.ndarray, "example feature"], like: Float[np.ndarray, "other feature"]
) -> Float[np.ndarray, "example feature"]:
    """Mean 0 and standard deviation 1, as measured on ``like``; a feature that is constant there stays at 0."""
    spread = like.std(0)
    return (values - like.mean(0)) / np.where(spread > 0, spread, np.inf)


def _alone(
    activations: Float[np.ndarray, "example neuron"], positive: Bool[np.ndarray, "example"], train: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """What a probe of each neuron calls, trained on the examples ``train``."""
    known = activations[train]
    weights = logistic(standardised(known, known).T[..., None], positive[train], strength=1.0)
    return lambda values: standardised(values, known) * weights[:, 0] + weights[:, 1] > 0


def _folds(positive: Bool[np.ndarray, "example"], documents: Shaped[np.ndarray, "example"]) -> Iterator[Split]:
    """Training and test examples, whole documents each; only splits with both classes to train on."""
    if len(np.unique(documents)) < FOLDS:
        return
    for train, test in GroupKFold(FOLDS).split(positive, positive, documents):
        if len(np.unique(positive[train])) == 2:
            yield train, test


def _with_ones(features: Float[np.ndarray, "*probe example feature"]) -> Float[np.ndarray, "*probe example feature+1"]:
    return np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)
