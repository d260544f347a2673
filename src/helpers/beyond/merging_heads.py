"""Sub-word merging heads as the paper finds them (5.1, figure 6b): does the last piece look at a word's first one?

A model gets BOS and 16 tokens (BOS is none of the 16), the last 4 of which make one word, or are 4 words. Attention
is read at the last token, to each of the 3 before it. *Excess* is a head's mean attention to the word's first piece,
minus that to the first of four words: a share of attention. A head *merges* if its excess is at least ``MUCH``; that
bound is ours, the one of ``detokenization``. Words are those of ``text.word_endings``: each with a control of its own
document, and of 3 pieces where the text has too few of 4.
"""

from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.beyond.detokenization import PICKING_THRESHOLD as MUCH
from helpers.engine.batches import over_sequences
from helpers.stats import Resampled
from helpers.text import word_endings

WHAT = "merging"
HEAD_KEYS = ("layer", "head")
FIRST = "difference_1"  # the excess


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    stretches: pd.DataFrame,
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """One row per word (``sequence``, and its ``document``), layer and head; ``stretches`` are of ``word_endings``.

    Columns ``word_p``, ``control_p`` and ``difference_p``, word minus control: attention from the last token to the
    word's piece p = 1, 2, ... that is not the last, or to the p-th of as many words. One row of NaN per head if
    there are no words.
    """
    if stretches.empty:
        heads = pd.MultiIndex.from_product([range(bridge.cfg.n_layers), range(bridge.cfg.n_heads)], names=HEAD_KEYS)
        return pd.DataFrame({"sequence": 0, "document": 0, FIRST: np.nan}, index=heads).reset_index()
    pieces = int(stretches["pieces"].iloc[0])
    both = [word_endings.inputs(tokens, torch.tensor(stretches[end].to_numpy())) for end in ("word", "control")]
    places = both[0].shape[1]

    def measure(first: int, batch: Int[Tensor, "batch both"]) -> list[pd.DataFrame]:
        frames = []

        def reduce(pattern, hook, layer):
            looked = pattern[:, :, -1, -pieces:-1].double().unflatten(0, (-1, 2)).cpu()  # (word, end, head, piece)
            ends = {"word": looked[:, 0], "control": looked[:, 1], "difference": looked[:, 0] - looked[:, 1]}
            n_words, n_heads = looked.shape[0], looked.shape[2]
            keys = {"sequence": np.repeat(np.arange(first, first + n_words), n_heads), "layer": layer}
            keys["head"] = np.tile(np.arange(n_heads), n_words)
            shares = {
                f"{end}_{p}": value[..., p - 1].flatten() for end, value in ends.items() for p in range(1, pieces)
            }
            frames.append(pd.DataFrame(keys | shares))

        hooks = [
            (f"blocks.{layer}.attn.hook_pattern", partial(reduce, layer=layer)) for layer in range(bridge.cfg.n_layers)
        ]
        flat = batch.unflatten(1, (2, places)).flatten(0, 1)
        bridge.run_with_hooks(flat, fwd_hooks=hooks, return_type=None, use_cache=False)
        return frames

    rows = over_sequences(bridge, torch.cat(both, dim=1), measure, batch_size)
    return rows.assign(document=stretches["document"].to_numpy()[rows["sequence"]])


def by_head(rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Means over words, one row per layer and head, with intervals; ``merges`` is true or false."""
    table = stats.summarise(rows, keys=HEAD_KEYS, seed=seed)
    return table.assign(merges=table[FIRST] >= MUCH).sort_values(list(HEAD_KEYS), ignore_index=True)


def by_layer(rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """``merging_share`` of the heads of every layer, and their mean ``excess``, with intervals over documents."""
    of_heads, layers = excess(rows, seed)
    of_layer = np.equal.outer(np.unique(layers), layers) / np.bincount(layers)[:, None]
    merges = of_heads.map(lambda heads: np.where(np.isnan(heads), np.nan, heads >= MUCH))
    columns = {"layer": np.unique(layers)}
    for name, heads in (("merging_share", merges), ("excess", of_heads)):
        columns |= heads.map(lambda values: values @ of_layer.T).columns(name)
    return pd.DataFrame(columns)


def excess(rows: pd.DataFrame, seed: int) -> tuple[Resampled, Shaped[np.ndarray, "head"]]:
    """Every head's mean excess over the words, and its layer."""
    documents = stats.documents_in(rows)
    weights = stats.resample_weights(len(documents), seed, documents)
    layers = rows.groupby(list(HEAD_KEYS)).size().index.get_level_values("layer")
    return stats.weighted_mean(wide(rows, FIRST), weights), layers.to_numpy()


def wide(rows: pd.DataFrame, column: str) -> Float[np.ndarray, "word head"]:
    """One measure of every word and head."""
    return rows.pivot(index="sequence", columns=list(HEAD_KEYS), values=column).sort_index(axis=1).to_numpy()
