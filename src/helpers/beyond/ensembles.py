"""Ensembles of neurons: those that are chosen to tell a class of tokens, and their activations on a text.

An ensemble is a number of MLP neurons (layer, neuron) in the order in which a smaller one takes them.
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

from helpers.beyond import token_classes
from helpers.engine import readout
from helpers.engine.batches import over_sequences

TOP, RANDOM, LAYER = "top", "random", "layer"
SIZES = (1, 2, 4, 8, 16, 32)
DRAWS = 5


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
    bridge: TransformerBridge, classes: Mapping[str, Bool[Tensor, "vocab"]], seed: int, kinds: Sequence[str]
) -> list[Ensemble]:
    """For every class the ``top`` 32 neurons by weights, five draws of 32 ``random`` ones, which all classes share,
    and all neurons of the ``layer`` that most of the top 32 are in (of equals the last)."""
    most, generator = max(SIZES), np.random.default_rng(seed)
    random: list[pd.DataFrame] = []
    ensembles = []
    for name, inside in classes.items():
        ranking = token_classes.ranking(bridge, inside)
        if not random:
            in_order = ranking.sort_values(["layer", "neuron"])
            random = [in_order.iloc[generator.permutation(len(in_order))[:most]] for _ in range(DRAWS)]
        fullest = ranking["layer"][:most].mode().max()
        chosen = {TOP: [ranking[:most]], RANDOM: random, LAYER: [ranking[ranking["layer"] == fullest]]}
        ensembles += [Ensemble(name, kind, neurons) for kind in chosen if kind in kinds for neurons in chosen[kind]]
    return ensembles


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
