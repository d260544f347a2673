"""From the grammar of a word to its meaning (paper, 5.2, feature engineering): linear probes row by row.

The paper's probe is for word sense (Word-in-Context, figures 7a and 18): its accuracy rises, peaks at intermediate
layers and falls again, while the lens's entropy is still high. Part of speech and the order of the two are ours.
The tasks are those of ``word_tasks``; every example is judged by a probe that was trained on other groups of
words. Accuracy is balanced: the share of each class that is right, mean over classes; chance is 1 / classes. ``auc``:
how often, of two pairs with the same word, the pair with the same sense scores higher; chance is 1/2.

The penalty is fixed beforehand, an inverse strength of 1 / features: logits are then of about unit size before
anything has been learned, in a stream of any width. It is not tuned. Time grows as rows x examples x d_model.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.beyond import probes
from helpers.beyond.word_tasks import PART_OF_SPEECH, Task, parts_of_speech, word_senses
from helpers.stats import Resampled, combine, divide

SLUG = "feature_engineering"
PROBE_KEYS = ("layer", "task", "probe", "chance")


def predict(task: Task, seed: int = 0, with_shuffled: bool = True) -> pd.DataFrame:
    """What each row's probe answers for every example: one row per residual row, ``probe`` and example.

    ``probe`` is ``logistic``; ``shuffled``, the same with labels dealt out anew for every row (senses within a
    word); for senses also ``cosine``. ``label`` is what the probe was to say, ``correct`` and ``score`` are those
    of ``probes.predictions``.
    """
    generator = np.random.default_rng(seed)
    frames = []
    for layer, features in enumerate(task.features):
        keys = {"layer": layer, "task": task.name, "chance": task.chance, "word": task.words, "group": task.groups}
        dealt = {"logistic": task.labels} | ({"shuffled": _shuffled(task, generator)} if with_shuffled else {})
        for probe, labels in dealt.items():
            answers = probes.predictions(features, labels, task.groups, 1 / features.shape[1])
            frames.append(answers.assign(**keys, probe=probe, label=labels.astype(str)))
        if task.similarity is not None:
            answers = pd.DataFrame({"score": task.similarity[layer]})
            frames.append(answers.assign(**keys, probe="cosine", label=task.labels.astype(str)))
    return pd.concat(frames).rename_axis("example").reset_index().astype({"group": str})


def sweep(
    bridge: TransformerBridge,
    sentences: pd.DataFrame,
    pairs: pd.DataFrame,
    context: int,
    batch_size: int | str = "auto",
    seed: int = 0,
) -> pd.DataFrame:
    """``predict`` for both tasks, without shuffled labels."""
    tasks = parts_of_speech(bridge, sentences, context, batch_size), word_senses(bridge, pairs, context, batch_size)
    return pd.concat([predict(task, seed, with_shuffled=False) for task in tasks], ignore_index=True)


def summarise(predictions: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """``balanced_accuracy`` and ``auc`` of every row, task and probe, with 95 % bootstrap intervals over groups.

    The probes stay as they are, their groups of words are drawn again. Empty where a probe could not be trained.
    """
    frames = []
    for values, answers in predictions.groupby(["task", "probe", "chance"], sort=False):
        keys = dict(zip(("task", "probe", "chance"), values, strict=True))
        columns = {"layer": np.sort(answers["layer"].unique()), **keys}
        for measure, resampled in MEASURES.items():
            columns |= resampled(answers, seed).columns(measure)
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def summarise_entropy(entropy: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """``word_uses.entropy`` of every row, mean over words, in the resamples of ``summarise``."""
    return pd.DataFrame(
        {"layer": np.sort(entropy["layer"].unique()), **resampled_entropy(entropy, seed).columns("entropy_bits")}
    )


def resampled_entropy(entropy: pd.DataFrame, seed: int) -> Resampled:
    """The lens's entropy of every row, in resamples of the words."""
    words = entropy.pivot(index="word", columns="layer", values="entropy_bits").to_numpy()
    return stats.weighted_mean(words, stats.resample_weights(len(words), seed))


def resampled_accuracy(answers: pd.DataFrame, seed: int, counted: Bool[np.ndarray, "group"] | None = None) -> Resampled:
    """Balanced accuracy of every row, in resamples of the groups, of which only some may be ``counted``."""
    labels, groups = (_wide(answers, column)[:, 0] for column in ("label", "group"))
    correct, weights = _wide(answers, "correct").astype(float), _weights(groups, seed, counted)
    return weights.map(lambda weight: probes.balanced_accuracy(correct, labels, groups, weight))


def resampled_auc(answers: pd.DataFrame, seed: int, counted: Bool[np.ndarray, "group"] | None = None) -> Resampled:
    """Mean over words of the AUC within a word, likewise; words with one label only have none and do not count."""
    labels, words = (_wide(answers, column)[:, 0] for column in ("label", "group"))
    auc = probes.auc_within_groups(_wide(answers, "score").astype(float), labels == "True", words)
    known = np.isfinite(auc).all(1)
    centre = auc[known].mean(0) if known.any() else np.full(auc.shape[1], np.nan)
    deviations = np.where(known[:, None], auc - centre, 0)
    weights = _weights(words, seed, counted)
    return weights.map(lambda weight: centre + divide(weight @ deviations, weight @ known[:, None].astype(float)))


def in_halves(measure: Callable[..., Resampled], answers: pd.DataFrame, seed: int) -> Resampled:
    """A measure on either half of the groups, dealt out at random: ``[half, row]``, in the same resamples."""
    n_groups = answers["group"].nunique()
    half = np.random.default_rng(seed).permutation(n_groups) % 2
    return combine(lambda *halves: np.stack(halves, axis=1), *(measure(answers, seed, half == side) for side in (0, 1)))


def _weights(groups: Shaped[np.ndarray, "example"], seed: int, counted: np.ndarray | None) -> Resampled:
    weights = stats.resample_weights(len(set(groups)), seed)
    return weights if counted is None else weights.map(lambda weight: weight * counted)


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


MEASURES: dict[str, Callable[..., Resampled]] = {"balanced_accuracy": resampled_accuracy, "auc": resampled_auc}
