"""Prediction ensembling (paper, stage 3): do many neurons together know what kind of token comes next?

For each class of ``token_classes`` a logistic probe reads the activations of the best 1, 2, 4, ..., 32 neurons,
ranked by weights alone, at positions 1 .. pos-2, and says whether the next token is of the class. Every
passage is judged by a probe that was trained on other passages.

``auc`` is how often, within a passage, a position that is followed by the class gets a higher score than one
that is not, mean over passages; chance is 1/2. The penalty is fixed: an inverse strength of 1 / neurons. Time
grows as probes x positions x neurons. Activations are kept of the probed neurons alone, at most a layer's.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.beyond import probes, token_classes
from helpers.engine import readout
from helpers.engine.batches import over_sequences
from helpers.text import vocabulary

SLUG = "prediction_ensembling"
KEYS = ("class", "kind", "n_neurons", "n_positive", "n_passages")
KINDS = ("top", "random", "layer", "model")
SIZES = (1, 2, 4, 8, 16, 32)
DRAWS = 5
FEWEST_POSITIVE, FEWEST_PASSAGES = 100, probes.FOLDS
UNKNOWN = dict.fromkeys(("auc", "balanced_accuracy"), np.full((1 + stats.RESAMPLES, 1), np.nan))


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    documents: Int[Tensor, "sequence pos"],
    batch_size: int | str = "auto",
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
) -> pd.DataFrame:
    """How well each class is told from the best neurons, and from what they are compared with: one row each.

    ``documents`` says which passage each token is from. ``kind`` is ``top``; ``random``, as many neurons of the
    whole model, mean over five draws; ``layer``, all neurons of the layer that most of the top 32 are in (of
    equals the last); or ``model``, the probability that the model itself gives the class: no probe, and the
    class is called where that exceeds its share of the text. ``auc`` and ``balanced_accuracy`` have 95 % bootstrap
    intervals over passages; ``auc_above_random`` is the lead over as many random neurons in the same resamples.
    ``auc_smallest`` and ``auc_largest`` are those of single random draws, which the intervals leave out of account.
    A class with fewer than 100 positives, or positives in fewer than 5 passages, has one row of kind
    ``skipped`` without measures. Sizes above the number of neurons are left out.
    """
    classes = token_classes.members(vocabulary.token_texts(bridge))
    labels, passages = readout.labels(tokens).flatten().cpu(), documents[:, 1:-1].flatten().cpu().numpy()
    positive = {name: inside[labels].numpy() for name, inside in classes.items()}
    counts = {name: (int(found.sum()), len(set(passages[found]))) for name, found in positive.items()}
    asked = {
        name: classes[name]
        for name, (n_positive, n_passages) in counts.items()
        if n_positive >= FEWEST_POSITIVE and n_passages >= FEWEST_PASSAGES
    }
    said: dict[tuple[str, str, int], list[pd.DataFrame]] = {}
    for name, kind, values in _activations(bridge, tokens, asked, batch_size, seed, kinds):
        for size in _sizes(kind, values.shape[1]):
            features = values[:, :size].astype(np.float64)
            draw = probes.predictions(features, positive[name], passages, strength=1 / size)
            said.setdefault((name, kind, size), []).append(draw)
    if asked and "model" in kinds:
        for name, score in token_classes.log_probabilities(bridge, tokens, asked, batch_size).items():
            called = score > np.log(positive[name].mean())
            said[name, "model", 0] = [pd.DataFrame({"score": score, "correct": called == positive[name]})]
    measures = {key: judge(draws, positive[key[0]], passages, seed) for key, draws in said.items()}
    return _table(measures, counts)


def activations(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    chosen: pd.DataFrame,
    batch_size: int | str = "auto",
) -> Float[np.ndarray, "example neuron"]:
    """Activations of the ``chosen`` neurons (layer, neuron), in their order, at positions 1 .. pos-2 of every sequence.

    What the output weights multiply: in a gated MLP that is act(gate) * up. In float32.
    """
    last = chosen["layer"].max()
    stop = {"stop_at_layer": last + 1} if last + 1 < bridge.cfg.n_layers else {}

    def measure(_first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        found = np.empty((len(batch) * (batch.shape[1] - 2), len(chosen)), dtype=np.float32)

        def keep(activation, hook, columns, numbers):
            values = readout.predicted_positions(activation)[..., numbers.to(activation.device)]
            found[:, columns] = values.flatten(0, 1).float().cpu()

        hooks = []
        for layer, columns in chosen.groupby("layer").indices.items():
            numbers = torch.tensor(chosen["neuron"].to_numpy()[columns])
            hooks.append((f"blocks.{layer}.mlp.hook_post", partial(keep, columns=columns, numbers=numbers)))
        bridge.run_with_hooks(batch, fwd_hooks=hooks, return_type=None, use_cache=False, **stop)
        return [pd.DataFrame(found)]

    return over_sequences(bridge, tokens, measure, batch_size).to_numpy()


def judge(
    draws: Sequence[pd.DataFrame],
    positive: Bool[np.ndarray, "example"],
    passages: Shaped[np.ndarray, "example"],
    seed: int = 0,
) -> dict[str, Float[np.ndarray, "resample draw"]]:
    """``auc`` and ``balanced_accuracy`` of all passages first, then in every bootstrap resample of them.

    Each draw is what one probe said, as ``probes.predictions`` returns it. A passage without positives does not
    count in the AUC. Not a number where no probe could be trained.
    """
    score, correct = (np.stack([draw[it].to_numpy(float) for draw in draws], 1) for it in ("score", "correct"))
    weights = stats.resample_weights(len(np.unique(passages)), seed)
    auc = probes.auc_within_groups(score, positive, passages)
    known = np.isfinite(auc)
    aucs = stats.divide(weights @ np.where(known, auc, 0), weights @ known)
    return {"auc": aucs, "balanced_accuracy": probes.balanced_accuracy(correct, positive, passages, weights)}


def _activations(
    bridge, tokens, asked: Mapping[str, Bool[Tensor, "vocab"]], batch_size, seed: int, kinds: Sequence[str]
) -> Iterator[tuple[str, str, Float[np.ndarray, "example neuron"]]]:
    """Class, kind and activations of all that is probed; each neuron is measured once."""
    most = max(SIZES)
    ranked = {name: token_classes.ranking(bridge, inside) for name, inside in asked.items()}
    sets = [(name, "top", ranking[:most]) for name, ranking in ranked.items() if "top" in kinds]
    generator = np.random.default_rng(seed)
    for _ in range(DRAWS if asked and "random" in kinds else 0):
        everyone = next(iter(ranked.values())).sort_values(["layer", "neuron"])
        draw = everyone.iloc[generator.permutation(len(everyone))[:most]]
        sets += [(name, "random", draw) for name in ranked]
    for name, ranking in ranked.items() if "layer" in kinds else ():
        fullest = ranking["layer"][:most].mode().max()
        sets.append((name, "layer", ranking[ranking["layer"] == fullest]))
    if sets:
        wanted = pd.concat([chosen[["layer", "neuron"]] for *_, chosen in sets])
        found = wanted.drop_duplicates().reset_index(drop=True)
        column = found.reset_index().set_index(["layer", "neuron"])["index"]
        values = activations(bridge, tokens, found, batch_size)
        for name, kind, chosen in sets:
            yield name, kind, values[:, column.loc[list(zip(chosen["layer"], chosen["neuron"], strict=True))]]


def _sizes(kind: str, most: int) -> Sequence[int]:
    return [most] if kind == "layer" else [size for size in SIZES if size <= most]


def _table(
    measures: Mapping[tuple[str, str, int], Mapping[str, Float[np.ndarray, "resample draw"]]],
    counts: Mapping[str, tuple[int, int]],
) -> pd.DataFrame:
    """A row with means and intervals for each class, kind and size; one without them for each class left out."""
    rows = []
    for name, (n_positive, n_passages) in counts.items():
        of_class = {key[1:]: found for key, found in measures.items() if key[0] == name}
        for (kind, size), found in (of_class or {("skipped", 0): UNKNOWN}).items():
            random = of_class.get(("random", size), UNKNOWN) if kind == "top" else UNKNOWN
            means = {column: values.mean(1) for column, values in found.items()}
            means["auc_above_random"] = means["auc"] - random["auc"].mean(1)
            row = dict(zip(KEYS, (name, kind, size, n_positive, n_passages), strict=True))
            for column, values in means.items():
                row |= stats.interval(column, values[None])
            draws = found["auc"][0] if kind == "random" else np.array([np.nan])
            rows.append(pd.DataFrame(row | {"auc_smallest": draws.min(), "auc_largest": draws.max()}))
    return pd.concat(rows, ignore_index=True)
