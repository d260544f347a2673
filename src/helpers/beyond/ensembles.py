"""Ensembles of neurons: those that are chosen to tell a class of tokens, and their activations on a text.

An ensemble is a number of MLP neurons (layer, neuron) in the order in which a smaller one takes them. Random ones
are matched to the chosen ones as in ``neuron_sets``: same layer, alike in output norm, mean and spread.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.beyond import neuron_sets, token_classes
from helpers.engine import readout
from helpers.engine.batches import over_sequences
from helpers.neurons import KURTOSIS_THRESHOLD

TOP, RANDOM, LAYER = "top", "random", "layer"
SIZES = (1, 2, 4, 8, 16, 32)
MOST = max(SIZES)
DRAWS = 3


class Ensemble(NamedTuple):
    """``neurons`` (layer, neuron), in order, chosen for a class of tokens in one of three ways."""

    token_class: str
    kind: str
    neurons: pd.DataFrame

    def sizes(self) -> list[int]:
        """How many of the neurons are taken together, the first ones each time; of a layer all."""
        n_neurons = len(self.neurons)
        return [n_neurons] if self.kind == LAYER else [size for size in SIZES if size <= n_neurons]


def choose(
    bridge: TransformerBridge,
    classes: Mapping[str, Bool[Tensor, "vocab"]],
    profiles: pd.DataFrame,
    seed: int,
    kinds: Sequence[str],
) -> list[Ensemble]:
    """For every class the ``top`` 32 neurons by weights, three draws of 32 ``random`` ones matched to them, in none of
    the classes' top 32, and all neurons of the ``layer`` that most of the top 32 are in (of equals the last).

    ``profiles`` are those of ``neuron_sets``; only random neurons need them.
    """
    generator = np.random.default_rng(seed)
    rankings = {name: token_classes.ranking(bridge, inside) for name, inside in classes.items()}
    tops = {name: ranking[:MOST][["layer", "neuron"]] for name, ranking in rankings.items()}
    ensembles = []
    for name, ranking in rankings.items():
        random = []
        if RANDOM in kinds:
            others = _without(profiles, pd.concat(tops.values()))
            special = tops[name].merge(profiles, on=["layer", "neuron"])
            random = [neuron_sets.matched(special, others, generator) for _ in range(DRAWS)]
        fullest = tops[name]["layer"].mode().max()
        chosen = {TOP: [ranking[:MOST]], RANDOM: random, LAYER: [ranking[ranking["layer"] == fullest]]}
        ensembles += [Ensemble(name, kind, neurons) for kind in chosen if kind in kinds for neurons in chosen[kind]]
    return ensembles


def peaked(profiles: pd.DataFrame, seed: int, with_random: bool = True) -> pd.DataFrame:
    """32 prediction and 32 suppression neurons for a class, as the paper chooses them: one row per ``kind``, ``set``
    and neuron, in order.

    ``profiles`` has ``kurtosis``, ``skew`` and ``class_logit`` of every neuron, for random ones also what they are
    matched by. ``set`` 0 has the largest class logits, without their sign, of all neurons of a kind that are above
    the paper's kurtosis; where fewer than 32 are, of the 32 with the highest kurtosis. Sets 1 to 3, if asked, are
    random neurons matched to them, none of them chosen or above the paper's kurtosis.
    """
    above = profiles["kurtosis"] > KURTOSIS_THRESHOLD
    chosen = {}
    for kind, sign in neuron_sets.SKEW_SIGNS.items():
        of_kind = profiles[sign * profiles["skew"] > 0]
        peaked = of_kind[above[of_kind.index]]
        peaked = peaked if len(peaked) >= MOST else of_kind.nlargest(MOST, "kurtosis")
        chosen[kind] = peaked.loc[peaked["class_logit"].abs().nlargest(MOST).index]
    frames = [rows.assign(kind=kind, set=0) for kind, rows in chosen.items()]
    others = _without(profiles[~above], pd.concat(frames))
    generator = np.random.default_rng(seed)
    if with_random and len(others) >= MOST:
        for kind, rows in chosen.items():
            draws = [neuron_sets.matched(rows, others, generator) for _ in range(DRAWS)]
            frames += [draw.assign(kind=kind, set=number) for number, draw in enumerate(draws, 1)]
    return pd.concat(frames, ignore_index=True)


def activations_of_each(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    ensembles: Sequence[Ensemble],
    batch_size: int | str = "auto",
) -> Iterator[Float[np.ndarray, "example neuron"]]:
    """``activations`` of one ensemble after the other; a neuron that is in several is measured once."""
    if not ensembles:
        return
    pairs = [pd.MultiIndex.from_frame(ensemble.neurons[["layer", "neuron"]]) for ensemble in ensembles]
    distinct = pairs[0].append(pairs[1:]).drop_duplicates()
    values = activations(bridge, tokens, distinct.to_frame(index=False), batch_size)
    yield from (values[:, distinct.get_indexer(of_ensemble)] for of_ensemble in pairs)


def activations(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    neurons: pd.DataFrame,
    batch_size: int | str = "auto",
) -> Float[np.ndarray, "example neuron"]:
    """Activations of ``neurons`` (layer, neuron), in their order, at positions 1 .. pos-2 of every sequence.

    What the output weights multiply: in a gated MLP that is act(gate) * up. In float32.
    """
    last = neurons["layer"].max()
    stop = {"stop_at_layer": last + 1} if last + 1 < bridge.cfg.n_layers else {}

    def measure(_first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        kept = np.empty((len(batch) * (batch.shape[1] - 2), len(neurons)), dtype=np.float32)

        def keep(activation, hook, columns, numbers):
            values = readout.predicted_positions(activation)[..., numbers.to(activation.device)]
            kept[:, columns] = values.flatten(0, 1).float().cpu()

        hooks = []
        for layer, columns in neurons.groupby("layer").indices.items():
            numbers = torch.tensor(neurons["neuron"].to_numpy()[columns])
            hooks.append((f"blocks.{layer}.mlp.hook_post", partial(keep, columns=columns, numbers=numbers)))
        bridge.run_with_hooks(batch, fwd_hooks=hooks, return_type=None, use_cache=False, **stop)
        return [pd.DataFrame(kept)]

    return over_sequences(bridge, tokens, measure, batch_size).to_numpy()


def _without(profiles: pd.DataFrame, left_out: pd.DataFrame) -> pd.DataFrame:
    """The neurons that are not in ``left_out``."""
    pairs, out = (pd.MultiIndex.from_frame(table[["layer", "neuron"]]) for table in (profiles, left_out))
    return profiles[~pairs.isin(out)]
