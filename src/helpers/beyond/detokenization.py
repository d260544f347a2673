"""Do heads gather the pieces of a word? A relative of the paper's sub-word merging heads (5.1, figure 6b).

The paper's own inputs, 16 tokens whose last 4 make one word, or 4 words, are those of ``merging_heads``. Here words
of any number of pieces are taken from running text, each with a match.

A word of k >= 2 tokens is complete only at its last piece. *Gathering* is the attention from there to the
word's earlier pieces, offsets 1 .. k-1 together: a share between 0 and 1. Some heads look back from every
token, so each word is matched with a one-token word, from which the same offsets are looked at.
"""

from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.engine.batches import over_sequences
from helpers.text.vocabulary import word_spans

SLUG = "detokenization"
PICKING_THRESHOLD = 0.1  # a head gathers if words get this much more of its attention than their matches
PAIR_COLUMNS = ["sequence", "word", "control", "reach"]


def matched_words(texts: list[str], tokens: Int[Tensor, "sequence pos"]) -> pd.DataFrame:
    """Every word of several tokens with its match: one row per word, columns as in ``PAIR_COLUMNS``.

    ``word`` is the position of the last piece, ``reach`` = k-1 the number of pieces before it, ``control``
    the position of the nearest one-token word of the same sequence from which ``reach`` offsets do not
    touch BOS (of two equally near ones the earlier). Words without a match are left out. ``texts`` are
    those of ``vocabulary.token_texts``.
    """
    rows = []
    for sequence, row in enumerate(tokens):
        spans = word_spans(texts, row)
        single = [start for start, length in spans if length == 1]
        for start, length in spans:
            last, reach = start + length - 1, length - 1
            usable = [position for position in single if position > reach]
            if reach and usable:
                rows.append((sequence, last, min(usable, key=lambda position: abs(position - last)), reach))
    return pd.DataFrame(rows, columns=PAIR_COLUMNS, dtype="int64")


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    pairs: pd.DataFrame,
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """Gathering of every head: one row per sequence, layer and head, NaN for a sequence without words.

    Columns: ``gathering_word``, ``gathering_control`` and ``gathering_difference``, word minus control;
    means over the words of the sequence.
    """

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        frames = []
        here = [pairs[pairs["sequence"] == first + row] for row in range(len(batch))]

        def reduce(pattern, hook, layer):
            ends = ("word", "control")
            means = {f"gathering_{end}": torch.stack(list(map(partial(_mean, end=end), pattern, here))) for end in ends}
            means["gathering_difference"] = means["gathering_word"] - means["gathering_control"]
            for head in range(pattern.shape[1]):
                values = {name: value[:, head] for name, value in means.items()}
                frames.append(stats.rows(first, values, layer=layer, head=head))

        hooks = [
            (f"blocks.{layer}.attn.hook_pattern", partial(reduce, layer=layer)) for layer in range(bridge.cfg.n_layers)
        ]
        bridge.run_with_hooks(batch, fwd_hooks=hooks, return_type=None, use_cache=False)
        return frames

    return over_sequences(bridge, tokens, measure, batch_size)


def gathering(
    pattern: Float[Tensor, "head query key"], places: Int[Tensor, "place"], reach: Int[Tensor, "place"]
) -> Float[Tensor, "place head"]:
    """Attention of each head from each place to the ``reach`` tokens just before it."""
    back = places[:, None] - torch.arange(pattern.shape[-1], device=pattern.device)  # (place, key)
    before = (back >= 1) & (back <= reach[:, None])
    return (pattern[:, places].float() * before).sum(-1).T


def by_layer(gathered: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """One row per layer: means over heads, and (``best_``) the head whose words exceed their matches most.

    That head is picked on one half of the text and measured on the other, so that picking it does not flatter it.
    """
    keys = [key for key in ("sequence", stats.DOCUMENT, "layer") if key in gathered]
    layers = summarise(gathered.drop(columns="head").groupby(keys, as_index=False).mean(), seed=seed)
    table = by_head(gathered, seed)
    best = table.loc[table["picking_difference"].fillna(-1).groupby(table["layer"]).idxmax()]
    best = best.set_index("layer").filter(like="gathering")
    return layers.join(best.rename(columns=lambda name: f"best_{name}"), on="layer")


def by_head(gathered: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """One row per layer and head: ``picking_difference`` on every other document, the rest on the others.

    Rows that do not say in a column ``document`` what belongs together are halved by sequences. ``picked`` heads
    have a ``picking_difference`` of at least ``PICKING_THRESHOLD``.
    """
    measures = [column for column in gathered if column.startswith("gathering")]
    keys = ["layer", "head"]
    sequences = np.sort(gathered["sequence"].unique())
    clusters = pd.Series(stats.clusters(stats.documents_in(gathered)), sequences)
    is_even = gathered["sequence"].map(clusters) % 2 == 0
    picking = gathered[is_even].groupby(keys)["gathering_difference"].mean()
    held_out = gathered.assign(**{name: gathered[name].mask(is_even) for name in measures})
    table = summarise(held_out, keys, seed)
    table.insert(2, "picking_difference", picking.loc[list(zip(table["layer"], table["head"], strict=True))].to_numpy())
    return table.assign(picked=table["picking_difference"] >= PICKING_THRESHOLD).sort_values(keys, ignore_index=True)


def summarise(rows: pd.DataFrame, keys: list[str] | tuple[str, ...] = ("layer",), seed: int = 0) -> pd.DataFrame:
    """As ``stats.summarise``, over the sequences in which there was something to measure; NaN if in none."""
    known = rows.dropna()
    known = rows[rows["sequence"] == rows["sequence"].min()] if known.empty else known
    return stats.summarise(known, keys=keys, seed=seed)


def _mean(pattern: Float[Tensor, "head query key"], pairs: pd.DataFrame, end: str) -> Float[Tensor, "head"]:
    """Mean gathering over the words of one sequence; NaN where there are none."""
    places, reach = (torch.tensor(pairs[column].to_numpy(), device=pattern.device) for column in (end, "reach"))
    return gathering(pattern, places, reach).mean(0)
