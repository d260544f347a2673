"""Prediction ensembling (paper, 5.3): do many neurons together know what kind of token comes next?

A relative of the paper's "-ing" probes, which are in ``ing_ensembles``: here four classes, running text, and
neurons of any kind in one order fixed by weights.

For each class of ``token_classes`` a logistic probe reads the activations of the best 1, 2, 4, ..., 32 neurons,
ranked by weights alone, at positions 1 .. pos-2, and says whether the next token is of the class. Every
passage is judged by a probe that was trained on other passages.

``auc`` is how often, within a passage, a position that is followed by the class gets a higher score than one
that is not, mean over passages; chance is 1/2. The penalty is fixed: an inverse strength of 1 / neurons. Time
grows as probes x positions x neurons. Activations are kept of the probed neurons alone, at most a layer's.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.beyond import ensembles, neuron_sets, probes, token_classes
from helpers.beyond.ensembles import LAYER, RANDOM, TOP, Ensemble
from helpers.engine import readout
from helpers.stats import Resampled, divide
from helpers.text import vocabulary

SLUG = "prediction_ensembling"
ENSEMBLE_KEYS = ("class", "kind", "n_neurons", "n_positive", "n_passages")
MODEL, SKIPPED = "model", "skipped"
FEWEST_POSITIVE, FEWEST_PASSAGES = 100, probes.FOLDS
Judged = Mapping[str, Resampled]  # auc and balanced_accuracy of each draw of neurons
NOT_JUDGED: Judged = dict.fromkeys(("auc", "balanced_accuracy"), Resampled(np.full(1, np.nan), np.full((1, 1), np.nan)))
Answers = dict[tuple[str, str, int], list[pd.DataFrame]]  # by class, kind and size: one probe's for each draw


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    documents: Int[Tensor, "sequence pos"],
    batch_size: int | str = "auto",
    seed: int = 0,
    kinds: Sequence[str] = (TOP, RANDOM, LAYER, MODEL),
) -> pd.DataFrame:
    """How well each class is told from the best neurons, and from what they are compared with: one row each.

    ``documents`` says which passage each token is from. ``kind`` is ``top``, ``random`` or ``layer``, as chosen by
    ``ensembles``; of random neurons the mean over the draws; or ``model``, the probability that the model itself
    gives the class: no probe, and the class is called where that exceeds its share of the text. ``auc`` and
    ``balanced_accuracy`` have 95 % bootstrap intervals over passages; ``auc_above_random`` is the lead over as many
    random neurons in the same resamples. ``auc_smallest`` and ``auc_largest`` are those of single random draws,
    which the intervals leave out of account. A class with fewer than 100 positives, or positives in fewer than 5
    passages, has one row of kind ``skipped`` without measures. Sizes above the number of neurons are left out.
    """
    classes = token_classes.members(vocabulary.token_texts(bridge))
    labels, passages = readout.labels(tokens).flatten().cpu(), documents[:, 1:-1].flatten().cpu().numpy()
    positive = {name: inside[labels].numpy() for name, inside in classes.items()}
    asked = {name: inside for name, inside in classes.items() if _is_frequent(positive[name], passages)}

    profiles = neuron_sets.profiles(bridge, tokens, batch_size) if RANDOM in kinds else pd.DataFrame()
    chosen = ensembles.choose(bridge, asked, profiles, seed, kinds)
    activations = ensembles.activations_of_each(bridge, tokens, chosen, batch_size)
    answers = _probe(chosen, activations, positive, passages)
    if asked and MODEL in kinds:
        answers |= _ask_model(token_classes.log_probabilities(bridge, tokens, asked, batch_size), positive)
    return _table(answers, positive, passages, seed)


def judge(
    draws: Sequence[pd.DataFrame],
    positive: Bool[np.ndarray, "example"],
    passages: Shaped[np.ndarray, "example"],
    seed: int = 0,
) -> Judged:
    """``auc`` and ``balanced_accuracy`` in resamples of the passages, side by side for each draw of neurons.

    Each draw is one probe's answers, as of ``probes.predictions``. A passage without positives does not count in
    the AUC. Not a number where no probe could be trained.
    """
    score, correct = (np.stack([draw[column].to_numpy(float) for draw in draws], 1) for column in ("score", "correct"))
    auc = probes.auc_within_groups(score, positive, passages)
    known = np.isfinite(auc)
    weights = stats.resample_weights(len(auc), seed)
    aucs = weights.map(lambda weight: divide(weight @ np.where(known, auc, 0), weight @ known))
    accuracies = weights.map(lambda weight: probes.balanced_accuracy(correct, positive, passages, weight))
    return {"auc": aucs, "balanced_accuracy": accuracies}


def _is_frequent(positive: Bool[np.ndarray, "example"], passages: Shaped[np.ndarray, "example"]) -> bool:
    n_positive, n_passages = _counts(positive, passages)
    return n_positive >= FEWEST_POSITIVE and n_passages >= FEWEST_PASSAGES


def _counts(positive: Bool[np.ndarray, "example"], passages: Shaped[np.ndarray, "example"]) -> tuple[int, int]:
    """Positions that are followed by a class, and passages that have any."""
    return int(positive.sum()), len(set(passages[positive]))


def _probe(
    chosen: Sequence[Ensemble],
    activations: Iterable[Float[np.ndarray, "example neuron"]],
    positive: Mapping[str, Bool[np.ndarray, "example"]],
    passages: Shaped[np.ndarray, "example"],
) -> Answers:
    """What the probes of every ensemble answer, from more and more of its neurons."""
    answers: Answers = {}
    for ensemble, values in zip(chosen, activations, strict=True):
        for size in ensemble.sizes():
            features, labels = values[:, :size].astype(np.float64), positive[ensemble.token_class]
            draw = probes.predictions(features, labels, passages, strength=1 / size)
            answers.setdefault((ensemble.token_class, ensemble.kind, size), []).append(draw)
    return answers


def _ask_model(scores: pd.DataFrame, positive: Mapping[str, Bool[np.ndarray, "example"]]) -> Answers:
    """The model's own answers by class, from the log of the probability that it gives to each."""
    answers: Answers = {}
    for name, score in scores.items():
        called = score > np.log(positive[name].mean())
        answers[name, MODEL, 0] = [pd.DataFrame({"score": score, "correct": called == positive[name]})]
    return answers


def _table(
    answers: Answers,
    positive: Mapping[str, Bool[np.ndarray, "example"]],
    passages: Shaped[np.ndarray, "example"],
    seed: int,
) -> pd.DataFrame:
    """A row with means and intervals for each class, kind and size; one without them for each class left out."""
    rows = []
    for name, follows in positive.items():
        judged = {key[1:]: judge(draws, follows, passages, seed) for key, draws in answers.items() if key[0] == name}
        for (kind, size), measures in (judged or {(SKIPPED, 0): NOT_JUDGED}).items():
            keys = (name, kind, size, *_counts(follows, passages))
            random = judged.get((RANDOM, size), NOT_JUDGED) if kind == TOP else NOT_JUDGED
            single = measures["auc"].estimate if kind == RANDOM else np.full(1, np.nan)
            spread = {"auc_smallest": single.min(), "auc_largest": single.max()}
            rows.append(dict(zip(ENSEMBLE_KEYS, keys, strict=True)) | _columns(measures, random) | spread)
    return pd.DataFrame(rows)


def _columns(measures: Judged, random: Judged) -> dict[str, float]:
    """Means over draws with their intervals, and the lead over random neurons."""
    means = {column: draws.map(lambda values: values.mean(1)) for column, draws in measures.items()}
    means["auc_above_random"] = means["auc"] - random["auc"].map(lambda values: values.mean(1))
    columns = [mean.columns(column) for column, mean in means.items()]
    return {column: float(value) for each in columns for column, value in each.items()}
