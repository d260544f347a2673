"""The massive activation at BOS: found by a stated rule, and removed, so that other measures can be made without it.

In many models the residual stream of the first token grows far beyond all others after a few layers, in one
direction, and later layers attend to it when they have nothing to attend to (Sun et al. 2024, arXiv 2402.17762). It is
said to shape what is seen in the middle (Queipo-de-Llano et al. 2025, arXiv 2510.06477). None of this is in the paper.

*Massive*: at some row that enters a block, the norm of BOS's stream is at least ``MASSIVE`` times the median norm of
all other places at that row. Removed is the *direction*: that of what was written to BOS before that row (the
embedding, if it is row 0). From there on, BOS's stream has no part along it, whatever is written to it later. A smaller
norm in the same direction would be no removal: blocks normalise what they read. If BOS is still massive, or becomes so
again later, the next direction is removed as well.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import metrics, stats
from helpers.engine import streams
from helpers.engine.batches import over_sequences

MASSIVE = 10.0


@dataclass(frozen=True, eq=False)
class Massive:
    """One massive activation of BOS: the first row of the stream that has it, and its direction, of length 1."""

    row: int
    direction: Float[Tensor, "d_model"]


def find(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> list[Massive]:
    """The massive activations of BOS, in the order in which they are removed; empty where there is none."""
    found: list[Massive] = []
    for _ in range(bridge.cfg.n_layers):
        with removed(bridge, found):
            table = norms(bridge, tokens, batch_size)
            is_massive = (table["bos_to_others"] >= MASSIVE) & (table["layer"] < bridge.cfg.n_layers)
            if not is_massive.any():
                break
            row = int(table.loc[is_massive, "layer"].min())
            written = _bos(bridge, tokens)
        step = written[row] - written[row - 1] if row else written[0]
        found.append(Massive(row, step / step.norm()))
    return found


def norms(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> pd.DataFrame:
    """By row, ``layer`` 0 .. n_layers: ``bos_norm``, the others' median ``other_norm``, the ratio ``bos_to_others``,
    and ``top_share``, the share of BOS's squared norm that is in its largest coordinate."""

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        frames = []

        def keep(row: int, residual: Float[Tensor, "batch pos d_model"]) -> None:
            others = residual[:, 1:].float().norm(dim=-1).cpu().numpy().flatten()
            frames.append(pd.DataFrame({"layer": row, "other_norm": others}))

        streams.visit_rows(bridge, batch, keep)
        return frames

    others = over_sequences(bridge, tokens, measure, batch_size).groupby("layer")["other_norm"].median()
    bos = _bos(bridge, tokens)
    norm, top = bos.norm(dim=-1), bos.abs().amax(-1)
    table = pd.DataFrame({"layer": others.index, "bos_norm": norm.tolist(), "other_norm": others.to_numpy()})
    return table.assign(bos_to_others=table["bos_norm"] / table["other_norm"], top_share=(top / norm).square().tolist())


@contextmanager
def removed(bridge: TransformerBridge, found: Sequence[Massive]) -> Iterator[None]:
    """Whatever the model runs inside has BOS's stream without the directions found, from their rows on."""

    def project(residual: Tensor, hook: object, direction: Float[Tensor, "d_model"]) -> Tensor:
        direction = direction.to(residual)
        bos = residual[..., :1, :]
        without = bos - (bos @ direction)[..., None] * direction
        return torch.cat([without, residual[..., 1:, :]], dim=-2)

    hooks = [
        (f"blocks.{layer}.hook_in", partial(project, direction=each.direction))
        for each in found
        for layer in range(each.row, bridge.cfg.n_layers)
    ]
    with bridge.hooks(fwd_hooks=hooks):
        yield


def profile(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    found: Sequence[Massive],
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """``norms`` of every row and mean ``attention_to_bos``: as it is, and (``removed``) without what was found."""
    parts = []
    for is_removed, directions in ((False, []), (True, found))[: 2 if found else 1]:
        with removed(bridge, directions):
            attention = attention_to_bos(bridge, tokens, batch_size).groupby("layer")["attention_to_bos"].mean()
            parts.append(norms(bridge, tokens, batch_size).assign(removed=is_removed).join(attention, on="layer"))
    return pd.concat(parts, ignore_index=True)


def attention_to_bos(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> pd.DataFrame:
    """Attention to BOS, mean over heads and over all queries behind it: one row per sequence and layer."""

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        frames = []

        def reduce(pattern, hook, layer):
            share = pattern[:, :, 1:, 0].float().mean((1, 2))
            frames.append(stats.rows(first, {"attention_to_bos": share}, layer=layer))

        layers = range(bridge.cfg.n_layers)
        hooks = [(f"blocks.{layer}.attn.hook_pattern", partial(reduce, layer=layer)) for layer in layers]
        bridge.run_with_hooks(batch, fwd_hooks=hooks, return_type=None, use_cache=False)
        return frames

    return over_sequences(bridge, tokens, measure, batch_size)


def cost(bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"], found: Sequence[Massive]) -> dict[str, float]:
    """What the removal itself changes on a few sequences: ``kl_nats`` KL(intact || without), ``top1_agreement``."""
    intact = bridge(tokens, use_cache=False)[:, 1:-1]
    with removed(bridge, found):
        without = bridge(tokens, use_cache=False)[:, 1:-1]
    return {
        "kl_nats": metrics.kl_divergence(intact, without).mean().item(),
        "top1_agreement": metrics.top1_agreement(intact, without).float().mean().item(),
    }


def _bos(bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"]) -> Float[Tensor, "row d_model"]:
    """BOS's stream, the same in every sequence: nothing stands before it."""
    where = torch.zeros(1, dtype=torch.long)
    return streams.at_places(bridge, tokens[:1, :2], where, where)[:, 0]
