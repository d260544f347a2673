"""Local attention (paper 5.1, stage 1: detokenization): how much each layer attends to the tokens just before.

The previous five together are the paper's figure 1, the previous 1, 2, 4, 8 and 16 its figure 6a. All numbers are
shares of attention, without unit. Every attention pattern is reduced inside its hook to eight numbers per sequence
and never kept.
"""

from functools import partial

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.engine.batches import over_sequences

SLUG = "local_attention"
OFFSETS = range(1, 6)
DISTANCES = (1, 2, 4, 8, 16)


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    batch_size: int | str = "auto",
    only: range | None = None,
) -> pd.DataFrame:
    """``local_attention`` and ``attention_by_distance`` of every layer: one row per sequence and layer.

    ``only`` some of the sequences are measured where a range of them is given.
    """

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        frames = []

        def reduce(pattern, hook, layer):
            shares = local_attention(pattern) | attention_by_distance(pattern)
            frames.append(stats.rows(first, shares, layer=layer))

        hooks = [
            (f"blocks.{layer}.attn.hook_pattern", partial(reduce, layer=layer)) for layer in range(bridge.cfg.n_layers)
        ]
        bridge.run_with_hooks(batch, fwd_hooks=hooks, return_type=None, use_cache=False)
        return frames

    return over_sequences(bridge, tokens, measure, batch_size, only=only)


def local_attention(pattern: Float[Tensor, "batch head query key"]) -> dict[str, Float[Tensor, "batch"]]:
    """Attention to the previous five tokens of each sequence, averaged over heads, three ways.

    ``attention_per_offset``: mean over all cells of the first five sub-diagonals, the authors' number.
    ``attention_share``: mass on the five, mean over queries that have five predecessors.
    ``attention_share_no_bos``: mass on the five as a share of the mass on all keys but BOS, both summed
    over the queries from 6 on, none of whose five predecessors is BOS.
    """
    pattern = pattern.float()
    diagonals = {offset: pattern.diagonal(-offset, dim1=-2, dim2=-1) for offset in OFFSETS}
    width = len(OFFSETS)
    cells = sum(diagonal.shape[-1] for diagonal in diagonals.values())
    per_offset = sum((diagonal.sum(-1) for diagonal in diagonals.values()), start=pattern.new_zeros(())) / cells
    share = _mass_of_five(diagonals, first_query=width).mean(-1)
    local = _mass_of_five(diagonals, first_query=width + 1).sum(-1)
    beyond_bos = pattern[..., width + 1 :, 1:].sum((-2, -1))
    return {
        "attention_per_offset": per_offset.mean(-1),
        "attention_share": share.mean(-1),
        "attention_share_no_bos": (local / beyond_bos.clamp(min=torch.finfo(local.dtype).tiny)).mean(-1),
    }


def attention_by_distance(pattern: Float[Tensor, "batch head query key"]) -> dict[str, Float[Tensor, "batch"]]:
    """``attention_share_k``: attention to the previous k tokens together, mean over heads and queries.

    BOS is a key like any other; the token itself is not one of the k. Queries with fewer than k predecessors are
    left out: for them the k tokens are all there is before them, and their share says nothing of distance. So each
    k has its own queries, and only over queries common to all is a larger k never less. Not a number where the
    context has no such query.
    """
    mass = pattern.new_zeros(pattern.shape[:-1], dtype=torch.float32)  # (batch, head, query)
    shares = {}
    for offset in range(1, max(DISTANCES) + 1):
        mass[..., offset:] += pattern.diagonal(-offset, dim1=-2, dim2=-1)
        if offset in DISTANCES:
            shares[f"attention_share_{offset}"] = mass[..., offset:].mean((-2, -1))
    return shares


def _mass_of_five(diagonals: dict[int, Tensor], first_query: int) -> Float[Tensor, "batch head query"]:
    """Attention to all five offsets together, of each query from ``first_query`` on."""
    by_offset = (diagonal[..., first_query - offset :] for offset, diagonal in diagonals.items())
    return sum(by_offset, start=diagonals[1].new_zeros(()))
