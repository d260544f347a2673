"""Several layers missing at once: every contiguous run of them, and layers drawn at random.

The paper's lesions drop one layer or swap two (section 3); deletions of several are ours, after Veit, Wilber
and Belongie, "Residual networks behave like ensembles of relatively shallow networks" (NeurIPS 2016):
a block adds to the stream, n blocks make 2**n paths through the network, and a deletion of k of them
leaves 2**(n-k). If the output is a sum over mostly short paths, quality falls smoothly with k; if it is
a chain, it breaks. All measures compare with the intact model, as in ``lesion``.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks, lesion, stats
from helpers.engine import readout
from helpers.engine.batches import in_parts, over_sequences
from helpers.engine.streams import advance, final_hidden

SLUG = "residual_paths"
RATIOS = lesion.RATIOS
DRAWS = 20
COUNTS = 11
STREAMS = 64  # residual streams of each sequence in memory at once


def contiguous_runs(n_layers: int) -> pd.DataFrame:
    """All n (n + 1) / 2 runs of layers: ``start``, ``length``, and the ``deleted`` layers as a tuple."""
    ends = combinations(range(n_layers + 1), 2)
    rows = [(start, end - start, tuple(range(start, end))) for start, end in ends]
    return pd.DataFrame(rows, columns=["start", "length", "deleted"])


def random_deletions(n_layers: int, seed: int = 0) -> pd.DataFrame:
    """``DRAWS`` random sets of k layers: ``k``, ``draw``, whether layer 0 stays (``first_kept``), the ``deleted`` ones.

    k is 1 .. n_layers - 1, or ``COUNTS`` evenly spaced ones of these. The sets depend on the number of layers
    and the seed only, so that a model and its twin get the same.
    """
    generator, most = np.random.default_rng(seed), max(1, n_layers - 1)
    counts = np.unique(np.linspace(1, most, min(COUNTS, most)).round().astype(int))
    rows = []
    for k, draw in product(counts.tolist(), range(DRAWS)):
        deleted = tuple(sorted(generator.choice(n_layers, k, replace=False).tolist()))
        rows.append((k, draw, 0 not in deleted, deleted))
    return pd.DataFrame(rows, columns=["k", "draw", "first_kept", "deleted"])


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    deletions: pd.DataFrame,
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """Every deletion on every sequence: the other columns of ``deletions`` as keys, one row per sequence and deletion.

    Columns as in ``lesion.sweep``: ``kl_nats``, ``relative_accuracy`` alias ``top1_agreement``, ``accuracy``,
    ``accuracy_intact``, ``accuracy_commonest``, ``loss_change_nats``, ``entropy_change_bits``; positions 1 .. pos-2.
    Deletions that begin alike share that part of the way, so that all runs of an n-layer model take about n**3 / 6
    blocks and n**2 / 2 unembeddings per sequence, n / 6 and n / 4 times those of ``lesion.sweep``: for 48 layers
    eight and twelve times as much, so a few sequences will have to do.
    """
    inputs = blocks.record_inputs(bridge, tokens)
    unembedding = readout.Unembedding.of(bridge)
    commonest = readout.labels(tokens).flatten().bincount().argmax()
    distinct = sorted(set(deletions["deleted"]))  # neighbours begin alike
    masks = _as_masks(distinct, bridge.cfg.n_layers)
    nothing = _as_masks([()], bridge.cfg.n_layers)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        labels = readout.labels(batch)
        same_for_all = {"accuracy_commonest": labels == commonest.to(labels.device)}

        def hidden(deleted: Bool[Tensor, "deletion layer"]) -> Iterator[Float[Tensor, "batch pos-2 d_model"]]:
            return (final_hidden(bridge, stream) for stream in final_streams(bridge, batch, deleted, inputs))

        intact = unembedding.reference(next(hidden(nothing)), labels)

        def read(first_deletion: int, deleted: Bool[Tensor, "deletion layer"]) -> list[pd.DataFrame]:
            frames = []
            for number, lesioned in enumerate(hidden(deleted), start=first_deletion):
                measures = lesion.compare(unembedding, intact, lesioned, labels) | same_for_all
                frames.append(stats.rows(first, stats.means(measures), deletion=number))
            return frames

        return [frame for frames in in_parts(masks, STREAMS, read) for frame in frames]

    rows = over_sequences(bridge, tokens, measure, batch_size, streams=2 * min(STREAMS, len(distinct)))
    numbers = {deleted: number for number, deleted in enumerate(distinct)}
    keys = deletions.assign(deletion=deletions["deleted"].map(numbers)).drop(columns="deleted")
    return keys.merge(rows, on="deletion").drop(columns="deletion")


def final_streams(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    deleted: Bool[Tensor, "deletion layer"],
    inputs: list[blocks.BlockInputs],
) -> list[Float[Tensor, "batch pos d_model"]]:
    """Final residual streams, before the last norm, of the model without the layers that each row of ``deleted`` marks.

    One walk through the layers. Deletions are on one stream as long as they have deleted the same layers; a stream
    splits in two where some of its deletions run the block and others skip it.
    """
    streams = blocks.embed(bridge, tokens)[None]
    stream_of = torch.zeros(len(deleted), dtype=torch.long)
    for layer, skips in enumerate(deleted.T):
        n_before = len(streams)
        branches, stream_of = (stream_of + n_before * skips).unique(return_inverse=True)
        streams = streams[branches % n_before]
        n_running = int((branches < n_before).sum())
        advance(bridge, layer, streams[:n_running], inputs)
    return [streams[stream] for stream in stream_of.tolist()]


def summarise_draws(sequences: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Means over the random draws of every ``k``, with intervals that resample the draws (not the sequences).

    Further columns: ``accuracy_ratio_best`` and ``_worst``, the extremes among the draws;
    ``accuracy_ratio_first_kept`` and ``_first_lost``, means over the draws that keep and that delete layer 0,
    empty where there are none.
    """
    draws = by_draw(sequences, seed)
    measures = [column for column in draws if not column.endswith(("_low", "_high"))]
    resampled = draws[measures].drop(columns="first_kept").rename(columns={"draw": "sequence"})
    table = stats.summarise(resampled, seed=seed, keys=["k"]).set_index("k")
    accuracy = draws.groupby("k")["accuracy_ratio"]
    table["accuracy_ratio_best"], table["accuracy_ratio_worst"] = accuracy.max(), accuracy.min()
    for name, is_so in (("kept", draws["first_kept"]), ("lost", ~draws["first_kept"])):
        table[f"accuracy_ratio_first_{name}"] = draws[is_so].groupby("k")["accuracy_ratio"].mean()
    return table.reset_index()


def by_draw(sequences: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Means over sequences of every draw, one row per ``k`` and ``draw``, with intervals over sequences."""
    table = stats.summarise(sequences, ratios=RATIOS, seed=seed, keys=["k", "draw", "first_kept"])
    return table.sort_values(["k", "draw"], ignore_index=True)


def _as_masks(deletions: Sequence[tuple[int, ...]], n_layers: int) -> Bool[Tensor, "deletion layer"]:
    """Sets of layers as rows of True and False."""
    masks = torch.zeros(len(deletions), n_layers, dtype=torch.bool)
    for mask, deleted in zip(masks, deletions, strict=True):
        mask[list(deleted)] = True
    return masks
