"""Do the last neurons set the prediction's sharpness through the final norm? Ours, after Stolfo et al. (2406.16254).

A neuron can change a prediction in two ways: what it writes is read by the unembedding, or it makes the residual
stream longer, and the final norm divides everything by more. The second way scales all logits and is the cheapest
temperature there is; Stolfo et al. find neurons that live by it (*entropy neurons*). So neurons of the last layers
are mean-ablated, as in ``ablation``, and the prediction is read twice: with the norm *free*, which divides by the
scale of the ablated stream, and *frozen*, dividing by the intact run's. What is missing when it is frozen went
through the norm.

Three kinds of neurons, all from the last tenth of the layers: the most peaked ``prediction`` and ``suppression``
neurons as in ``neurons``, whether or not they are above the paper's threshold; and ``entropy`` neurons, those of the
quarter with the largest output norm whose cosines with the vocabulary vary least. Each set goes with random ones of
the same layers, matched as in ``neuron_sets``.
"""

import math

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks, neurons, stats
from helpers.beyond import ablation, neuron_sets
from helpers.engine import readout, streams
from helpers.engine.batches import over_sequences
from helpers.engine.predictions import Predictions
from helpers.errors import InputError

WHAT = "neurons"
ENTROPY = "entropy"
SIZE, RANDOM_SETS = 16, 5
LAST = 0.9
KEYS = ["kind", "set"]
CHANGES = [
    f"{name}_{way}" for name in ("entropy_change_bits", "loss_change_nats") for way in ("free", "frozen", "by_norm")
]


def sets(bridge: TransformerBridge, profiles: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """What is ablated, of ``neuron_sets.profiles``: one row per ``kind``, ``set`` and neuron, with ``cosine_variance``.

    ``set`` 0 holds the ``SIZE`` neurons of the kind, or an eighth of the last layers' neurons where these are few;
    further sets are random ones.
    """
    last = profiles[profiles["layer"] >= math.ceil(LAST * profiles["layer"].max())]
    size = min(SIZE, len(last) // 8)
    if size == 0:
        raise InputError(f"{len(last)} MLP neurons in the last layers are too few to match some of them with others")
    variances = torch.cat([cosine_variances(bridge, layer) for layer in sorted(set(last["layer"].tolist()))])
    last = last.assign(cosine_variance=variances.numpy())
    loud = last[last["output_norm"] >= last["output_norm"].quantile(0.75)]
    chosen = {
        kind: last[sign * last["skew"] > 0].nlargest(size, "kurtosis") for kind, sign in neuron_sets.SKEW_SIGNS.items()
    }
    chosen[ENTROPY] = loud.nsmallest(size, "cosine_variance")
    others = last.drop(pd.concat(chosen.values()).index.unique())
    generator = np.random.default_rng(seed)
    frames = []
    for kind, special in chosen.items():
        frames.append(special.assign(kind=kind, set=0))
        for number in range(1, RANDOM_SETS + 1):
            frames.append(neuron_sets.matched(special, others, generator).assign(kind=kind, set=number))
    return pd.concat(frames, ignore_index=True)


def cosine_variances(bridge: TransformerBridge, layer: int) -> Float[Tensor, "neuron"]:
    """Variance over the vocabulary of the cosines of what each neuron writes: 0 if it moves all tokens alike."""
    written = neurons.unit_rows(neurons.output_weights(bridge, layer))
    unembedding = neurons.unit_columns(bridge.W_U)
    parts = [(part @ unembedding).var(-1, correction=0) for part in written.split(neurons.CHUNK_ROWS)]
    return torch.cat(parts).cpu()


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    ablated: pd.DataFrame,
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """What each ablation changes, ablated minus intact: one row per sequence, ``kind`` and ``set``, columns
    ``CHANGES``.

    ``_free``, ``_frozen``, and ``_by_norm``, their difference; means over positions 1 .. pos-2.
    """
    inputs = blocks.record_inputs(bridge, tokens)
    unembedding = readout.Unembedding.of(bridge)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        labels = readout.labels(batch)
        rows = streams.intact_streams(bridge, batch, inputs)
        final = readout.predicted_positions(rows[-1])
        intact = unembedding.read(bridge.ln_final(final), labels)
        frames = []
        for keys, of_set in ablated.groupby(KEYS, sort=False):
            without = readout.predicted_positions(ablation.run_ablated(bridge, rows, inputs, of_set))
            free, frozen = (unembedding.read(hidden, labels) for hidden in normalised(bridge, without, final))
            frames.append(
                stats.rows(first, stats.means(changes(intact, free, frozen)), **dict(zip(KEYS, keys, strict=True)))
            )
        return frames

    return over_sequences(bridge, tokens, measure, batch_size, streams=bridge.cfg.n_layers + 2)


def normalised(
    bridge: TransformerBridge, residual: Float[Tensor, "*pos d_model"], intact: Float[Tensor, "*pos d_model"]
) -> tuple[Float[Tensor, "*pos d_model"], Float[Tensor, "*pos d_model"]]:
    """A final stream after the last norm: divided by its own scale, and by that of the ``intact`` stream."""
    own = bridge.ln_final(residual)
    ratio = streams.norm_scale(bridge, residual) / streams.norm_scale(bridge, intact)
    return own, (own * ratio).to(own.dtype)


def changes(intact: Predictions, free: Predictions, frozen: Predictions) -> dict[str, Float[Tensor, "*pos"]]:
    """``CHANGES`` at every position."""
    measured: dict[str, Tensor] = {}
    for name, unit in (("entropy", "bits"), ("loss", "nats")):
        before, after, after_frozen = (getattr(read, f"{name}_{unit}") for read in (intact, free, frozen))
        ways = {"free": after - before, "frozen": after_frozen - before, "by_norm": after - after_frozen}
        measured |= {f"{name}_change_{unit}_{way}": change for way, change in ways.items()}
    return measured


def summarise(sequences: pd.DataFrame, ablated: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """One row per ``kind``: every change with its interval, and beside it ``_random``, the mean over the random sets,
    with ``_smallest`` and ``_largest`` of them; ``n_neurons``, and ``n_above_threshold`` of the paper's kurtosis."""
    is_random = sequences["set"] > 0
    table = stats.summarise(sequences[~is_random].drop(columns="set"), seed=seed, keys=["kind"]).set_index("kind")
    of_sets = sequences[is_random].groupby(KEYS)[CHANGES].mean().groupby("kind")
    for name in CHANGES:
        table[f"{name}_random"] = of_sets[name].mean()
        table[f"{name}_random_smallest"], table[f"{name}_random_largest"] = of_sets[name].min(), of_sets[name].max()
    special = ablated[ablated["set"] == 0].groupby("kind")["kurtosis"]
    table["n_neurons"] = special.size()
    table["n_above_threshold"] = special.agg(lambda kurtosis: int((kurtosis > neurons.KURTOSIS_THRESHOLD).sum()))
    return table.reset_index()
