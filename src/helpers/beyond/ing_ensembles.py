"""The paper's "-ing" ensembles (5.3, figures 12a and 21): do neurons know whether a verb will end in -ing?

On the balanced examples of ``verb_endings``, probes read activations at the last token of the context: those of 32
prediction and of 32 suppression neurons, apart, as ``ensembles.peaked`` chooses them. ``how`` they are asked:

- ``single``: each neuron alone
- ``best``: the best k together, by their own accuracy on the documents that the probe is trained on
- ``vote``: the first k by class logit, without a probe
- ``random``: the best k of 32 random neurons matched to the chosen ones, three draws

Beside them the ``model``: the ``probability`` that it gives to the class, called above a threshold fitted like a
probe's, and its best ``guess``. Accuracy is balanced, chance is 1/2, documents are resampled.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from transformer_lens.model_bridge import TransformerBridge

from helpers import neurons, stats
from helpers.beyond import best_neurons, ensembles, neuron_sets, probes, token_classes
from helpers.beyond.verb_endings import CONTEXT, Examples
from helpers.stats import Resampled
from helpers.text import vocabulary

WHAT = "ing"
KEYS = ("class", "kind", "how", "n_neurons")
KINDS = PREDICTION, SUPPRESSION = tuple(neuron_sets.SKEW_SIGNS)
MODEL, SKIPPED = "model", "skipped"
Asked = tuple[str, str, int]  # kind, how, number of neurons
Answers = dict[Asked, Float[np.ndarray, "example column"]]  # right or wrong; a column for each neuron or draw
Accuracies = dict[Asked, Resampled]  # of each column
NOT_MEASURED = Resampled(np.full(1, np.nan), np.full((1, 1), np.nan))


class Measured(NamedTuple):
    """The examples, the neurons of both kinds (``ensembles.peaked``) and the accuracies, in the same resamples of the
    documents. Of too few examples neither neurons nor accuracies."""

    examples: Examples
    chosen: pd.DataFrame
    accuracies: Accuracies

    def n_above_threshold(self, kind: str) -> int:
        """How many of the chosen neurons of a kind are above the paper's kurtosis."""
        return int((_special(self.chosen, kind)["kurtosis"] > neurons.KURTOSIS_THRESHOLD).sum())


def sweep(
    bridge: TransformerBridge,
    examples: Examples,
    batch_size: int | str = "auto",
    seed: int = 0,
    with_random: bool = True,
) -> Measured:
    """Choose the neurons, read them and the model at the end of every context, and judge what they answer."""
    if not examples.are_enough:
        return Measured(examples, pd.DataFrame(columns=["kind", "set", "kurtosis"]), {})
    inside = token_classes.members(vocabulary.token_texts(bridge))[examples.token_class]
    profiles = neurons.moments(bridge)
    if with_random:
        profiles = neuron_sets.profiles(bridge, examples.tokens, batch_size)
    profiles["class_logit"] = token_classes.class_logits(bridge, inside).numpy()
    chosen = ensembles.peaked(profiles, seed, with_random)

    own = token_classes.answers_at_end(bridge, examples.tokens, inside, batch_size)
    log_odds = own[["log_odds"]].to_numpy(float)
    answers: Answers = {
        (MODEL, "probability", 0): best_neurons.each_alone(log_odds, examples.positive, examples.documents),
        (MODEL, "guess", 0): (own[["guess"]].to_numpy() == examples.positive[:, None]).astype(float),
    }
    values = ensembles.activations(bridge, examples.tokens, chosen, batch_size)[CONTEXT - 1 :: CONTEXT].astype(float)
    for kind, of_kind in chosen.groupby("kind").indices.items():
        answers |= _ask(str(kind), values[:, of_kind], chosen.iloc[of_kind], examples)
    weights = stats.resample_weights(len(np.unique(examples.documents)), seed)
    return Measured(examples, chosen, {asked: _balanced(right, weights, examples) for asked, right in answers.items()})


def table(measured: Measured) -> pd.DataFrame:
    """``accuracy`` with its interval, one row each; of draws the mean, ``_smallest`` and ``_largest``; of single
    neurons one row per neuron, with its ``layer``, ``neuron``, ``kurtosis`` and ``class_logit``. Where there were too
    few examples, one row of kind ``skipped``."""
    examples, chosen, accuracies = measured
    of_text = {"n_examples": len(examples.positive), "n_documents": len(set(examples.documents))}
    rows = []
    for (kind, how, n_neurons), values in (accuracies or {(SKIPPED, "", 0): NOT_MEASURED}).items():
        keys = dict(zip(KEYS, (examples.token_class, kind, how, n_neurons), strict=True)) | of_text
        if kind in KINDS:
            keys["n_above_threshold"] = measured.n_above_threshold(kind)
        if how == "single":
            described = _special(chosen, kind)[["layer", "neuron", "kurtosis", "class_logit"]].to_dict("records")
            rows += [keys | row | _columns(values.at(at)) for at, row in enumerate(described)]
            continue
        row = keys | _columns(values.map(lambda columns: columns.mean(1)))
        if how == "random":
            row |= {"accuracy_smallest": values.estimate.min(), "accuracy_largest": values.estimate.max()}
        rows.append(row)
    return pd.DataFrame(rows)


def _columns(accuracy: Resampled) -> dict[str, float]:
    return {name: float(value) for name, value in accuracy.columns("accuracy").items()}


def _special(chosen: pd.DataFrame, kind: str) -> pd.DataFrame:
    return chosen[(chosen["kind"] == kind) & (chosen["set"] == 0)]


def _ask(kind: str, values: Float[np.ndarray, "example neuron"], of_kind: pd.DataFrame, examples: Examples) -> Answers:
    """What the neurons of one kind answer, and the random ones matched to them."""
    data = examples.positive, examples.documents
    numbers = of_kind["set"].to_numpy()
    own, *draws = (values[:, numbers == number] for number in np.unique(numbers))
    sizes = [size for size in ensembles.SIZES if size <= own.shape[1]]
    alone = best_neurons.each_alone(own, *data)
    together = best_neurons.best_together(own, *data, sizes)
    votes = best_neurons.vote(own, of_kind["class_logit"].to_numpy(float)[numbers == 0], *data, sizes)
    random = [best_neurons.best_together(draw, *data, sizes) for draw in draws]
    answers: Answers = {(kind, "single", 1): alone}
    for at, size in enumerate(sizes):
        answers |= {(kind, "best", size): together[:, [at]], (kind, "vote", size): votes[:, [at]]}
        if random:
            answers[kind, "random", size] = np.stack([draw[:, at] for draw in random], axis=1)
    return answers


def _balanced(correct: Float[np.ndarray, "example column"], weights: Resampled, examples: Examples) -> Resampled:
    data = examples.positive, examples.documents
    return weights.map(lambda weight: probes.balanced_accuracy(correct, *data, weight))
