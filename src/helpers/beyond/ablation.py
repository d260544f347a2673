"""Mean ablation of neurons: are prediction and suppression neurons needed? The test is ours, not the paper's.

Prediction neurons are a sign of its stage 3 (5.3), suppression neurons of stage 4 (5.4). An ablated neuron has, at
every position but BOS, the activation that it has on average over the text: it still writes, but says nothing. What
is ablated is chosen in ``neuron_sets``: the most peaked neurons of either kind, and random sets matched to them. Per
sequence 88 ablated runs are made, each from its first ablated layer on.
"""

from functools import partial

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks, neurons, stats
from helpers.engine import readout, streams
from helpers.engine.batches import over_sequences
from helpers.engine.predictions import Predictions

WHAT = "ablation"
CHANGES = ("loss_change_nats", "entropy_change_bits")
SET_KEYS = ("kind", "n_neurons", "set")


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    ablated: pd.DataFrame,
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """What each ablation changes: one row per sequence, ``kind``, ``n_neurons`` and ``set`` of ``neuron_sets.sets``.

    ``loss_change_nats`` and ``entropy_change_bits``, ablated minus intact, means over positions 1 .. pos-2.
    """
    inputs = blocks.record_inputs(bridge, tokens)
    unembedding = readout.Unembedding.of(bridge)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        labels = readout.labels(batch)
        rows = streams.intact_streams(bridge, batch, inputs)

        def read(final: Float[Tensor, "batch pos d_model"]) -> Predictions:
            return unembedding.read(streams.final_hidden(bridge, final), labels)

        intact = read(rows[-1])
        frames = []
        for keys, neurons_of_set in ablated.groupby(list(SET_KEYS), sort=False):
            changed = read(run_ablated(bridge, rows, inputs, neurons_of_set))
            changes = changed.loss_nats - intact.loss_nats, changed.entropy_bits - intact.entropy_bits
            measures = stats.means(dict(zip(CHANGES, changes, strict=True)))
            frames.append(stats.rows(first, measures, **dict(zip(SET_KEYS, keys, strict=True))))
        return frames

    return over_sequences(bridge, tokens, measure, batch_size)


def run_ablated(
    bridge: TransformerBridge,
    rows: Float[Tensor, "row batch pos d_model"],
    inputs: list[blocks.BlockInputs],
    ablated: pd.DataFrame,
) -> Float[Tensor, "batch pos d_model"]:
    """The final residual stream with the neurons ``ablated`` (layer, neuron, mean_activation) at their means.

    ``rows`` are the intact run's, as ``streams.intact_streams`` returns them.
    """

    def replace(activation, hook, numbers, means):
        replaced = activation.clone()
        replaced[:, 1:, numbers.to(activation.device)] = means.to(activation)
        return replaced

    hooks = []
    for layer, of_layer in ablated.groupby("layer"):
        numbers, means = (torch.tensor(of_layer[column].values) for column in ("neuron", "mean_activation"))
        hooks.append((f"blocks.{layer}.mlp.hook_post", partial(replace, numbers=numbers, means=means)))
    first = ablated["layer"].min() if len(ablated) else bridge.cfg.n_layers
    residual = rows[first]
    with bridge.hooks(fwd_hooks=hooks):
        for layer in range(first, bridge.cfg.n_layers):
            residual = blocks.run_block(bridge, layer, residual, inputs)
    return residual


def summarise(sequences: pd.DataFrame, ablated: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """One row per ``kind`` and ``n_neurons``: both changes with 95 % bootstrap intervals over documents (over
    sequences where the rows do not name them).

    Beside each, the mean over the random sets and the ``_smallest`` and ``_largest`` of them; and
    ``n_above_threshold``, how many of the ablated neurons have a kurtosis above the paper's threshold.
    """
    keys = ["kind", "n_neurons"]
    is_random = sequences["set"] > 0
    table = stats.summarise(sequences[~is_random].drop(columns="set"), keys=keys, seed=seed)
    random_sets = sequences[is_random].groupby([*keys, "set"])[list(CHANGES)].mean().groupby(keys)
    over_sets = {"": random_sets.mean(), "_smallest": random_sets.min(), "_largest": random_sets.max()}
    columns = {f"{name}_random{end}": changes[name] for name in CHANGES for end, changes in over_sets.items()}
    special = ablated[ablated["set"] == 0]
    above = special.assign(n_above_threshold=special["kurtosis"] > neurons.KURTOSIS_THRESHOLD)
    columns["n_above_threshold"] = above.groupby(keys)["n_above_threshold"].sum().astype(int)
    return table.merge(pd.DataFrame(columns).reset_index(), on=keys).sort_values(keys, ignore_index=True)
