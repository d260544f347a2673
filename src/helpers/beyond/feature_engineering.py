"""From the grammar of a word to its meaning (paper, 5.2, feature engineering): linear probes row by row.

The paper's probe is for word sense (Word-in-Context, figures 7a and 18); part of speech and the order are ours.
The tasks are those of ``word_tasks``, and every word is judged by a probe that was trained on other words (no
word, in capitals or not, is in both training and test). Part of speech is measured by balanced accuracy, the
share of each class that is right, mean over classes; chance is 1 / classes. Word sense is measured by ``auc``: how
often, of two pairs with the same word, the pair with the same sense scores higher; chance is 1/2.

The penalty is fixed beforehand, an inverse strength of 1 / features: logits are then of about unit size before
anything has been learned, in a stream of any width. It is not tuned. Time grows as rows x examples x d_model.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.beyond import probes
from helpers.beyond.word_tasks import PART_OF_SPEECH, WORD_SENSE, Task, parts_of_speech, word_senses
from helpers.judging import claims
from helpers.stats import Resampled

SLUG = "feature_engineering"
PROBE_KEYS = ("layer", "task", "probe", "chance")
MOST_OF_THE_RISE = 0.9


def predict(task: Task, seed: int = 0) -> pd.DataFrame:
    """What each row's probe answers for every example: one row per residual row, ``probe`` and example.

    ``probe`` is ``logistic``; ``shuffled``, the same with labels dealt out anew for every row (senses within a
    word); for senses also ``cosine``. ``label`` is what the probe was to say, ``correct`` and ``score`` are those
    of ``probes.predictions``.
    """
    generator = np.random.default_rng(seed)
    frames = []
    for layer, features in enumerate(task.features):
        keys = {"layer": layer, "task": task.name, "chance": task.chance, "word": task.words}
        strength = 1 / features.shape[1]
        for probe, labels in (("logistic", task.labels), ("shuffled", _shuffled(task, generator))):
            answers = probes.predictions(features, labels, task.words, strength)
            frames.append(answers.assign(**keys, probe=probe, label=labels.astype(str)))
        if task.similarity is not None:
            answers = pd.DataFrame({"score": task.similarity[layer]})
            frames.append(answers.assign(**keys, probe="cosine", label=task.labels.astype(str)))
    return pd.concat(frames).rename_axis("example").reset_index()


def sweep(
    bridge: TransformerBridge,
    sentences: pd.DataFrame,
    pairs: pd.DataFrame,
    context: int,
    batch_size: int | str = "auto",
    seed: int = 0,
) -> pd.DataFrame:
    """``predict`` for both tasks."""
    tasks = parts_of_speech(bridge, sentences, context, batch_size), word_senses(bridge, pairs, context, batch_size)
    return pd.concat([predict(task, seed) for task in tasks], ignore_index=True)


def summarise(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """``balanced_accuracy`` and ``auc`` of every row, task and probe, with 95 % bootstrap intervals over words.

    The probes stay as they are, their words are drawn again. Empty where a probe could not be trained.
    """
    frames = []
    for values, answers in predictions.groupby(["task", "probe", "chance"], sort=False):
        keys = dict(zip(("task", "probe", "chance"), values, strict=True))
        columns = {"layer": np.sort(answers["layer"].unique()), **keys}
        for measure, resampled in MEASURES.items():
            columns |= resampled(answers, seed).columns(measure)
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def order(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Does the part of speech come before the sense? One row per ``reading`` of a curve's place, and ``sense_by``.

    ``peak`` is the depth of the highest row; ``risen`` of the first that has made 90 % of the way from row 0 to
    there. Sense is read by the probe (``logistic``) or by the ``cosine``. Columns ``part_of_speech`` and
    ``word_sense``, in depth from 0 to 1, and what ``claims.decide`` says of the difference, sense minus part of
    speech, being above 0, in joint resamples of both tasks' words. It is undecided where a task is not done above
    chance, on the mean of all rows from 1 on.
    """
    tags, senses = (predictions[predictions["task"] == task] for task in (PART_OF_SPEECH, WORD_SENSE))
    rows = []
    for sense_by in ("logistic", "cosine"):
        curves = {
            PART_OF_SPEECH: (resampled_accuracy(tags[tags["probe"] == "logistic"], seed), tags["chance"].max()),
            WORD_SENSE: (resampled_auc(senses[senses["probe"] == sense_by], seed), senses["chance"].max()),
        }
        absent = [task for task, (curve, chance) in curves.items() if not _is_above(curve, chance)]
        reason = f"{' and '.join(absent)} not read off above chance" if absent else ""
        for reading, place in PLACES.items():
            depths = {task: curve.map(place) for task, (curve, _) in curves.items()}
            lead = depths[WORD_SENSE] - depths[PART_OF_SPEECH]
            keys = {"reading": reading, "sense_by": sense_by}
            places = {task: float(depth.estimate) for task, depth in depths.items()}
            rows.append(keys | places | claims.decide(lead, lambda lead: lead > 0, reason))
    return pd.DataFrame(rows)


def resampled_accuracy(answers: pd.DataFrame, seed: int) -> Resampled:
    """Balanced accuracy of every row, in resamples of the words."""
    labels, words = (_wide(answers, column)[:, 0] for column in ("label", "word"))
    correct, weights = _wide(answers, "correct").astype(float), stats.resample_weights(len(set(words)), seed)
    return weights.map(lambda weight: probes.balanced_accuracy(correct, labels, words, weight))


def resampled_auc(answers: pd.DataFrame, seed: int) -> Resampled:
    """Mean over words of the AUC within a word, likewise; not a number for a task that has none."""
    labels, words = (_wide(answers, column)[:, 0] for column in ("label", "word"))
    auc = probes.auc_within_groups(_wide(answers, "score").astype(float), labels == "True", words)
    return stats.weighted_mean(auc, stats.resample_weights(len(auc), seed))


def _wide(answers: pd.DataFrame, column: str) -> Shaped[np.ndarray, "example row"]:
    return answers.pivot(index="example", columns="layer", values=column).to_numpy()


def _shuffled(task: Task, generator: np.random.Generator) -> Shaped[np.ndarray, "example"]:
    """The labels dealt out anew: tags among all examples, senses among the pairs of a word."""
    if task.name == PART_OF_SPEECH:
        return generator.permutation(task.labels)
    shuffled = task.labels.copy()
    for word in np.unique(task.words):
        of_word = task.words == word
        shuffled[of_word] = generator.permutation(shuffled[of_word])
    return shuffled


def _is_above(curve: Resampled, chance: float) -> bool:
    """Whether the mean of all rows but the embedding is above chance in 97.5 % of the resamples."""
    return curve.share(lambda rows: rows[:, 1:].mean(1) > chance) >= claims.CERTAIN


def _peak(curves: Float[np.ndarray, "resample row"]) -> Float[np.ndarray, "resample"]:
    return curves.argmax(1) / (curves.shape[1] - 1)


def _risen(curves: Float[np.ndarray, "resample row"]) -> Float[np.ndarray, "resample"]:
    start = curves[:, :1]
    risen = curves - start >= MOST_OF_THE_RISE * (curves.max(1, keepdims=True) - start)
    return risen.argmax(1) / (curves.shape[1] - 1)


MEASURES = {"balanced_accuracy": resampled_accuracy, "auc": resampled_auc}
PLACES = {"peak": _peak, "risen": _risen}
