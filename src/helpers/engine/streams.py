"""Walk residual streams: run a block on many of them, read them where one wants, normalise them for a prediction.

A stream has n_layers + 1 *rows*, those of the logit lens: row 0 is the embedding, row l what leaves block
l - 1, so row l < n_layers is also what enters block l, and the last row is what the model predicts from.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks
from helpers.engine.batches import auto_batch_size, device, in_parts, rows_per_call
from helpers.engine.readout import predicted_positions


def row_names(bridge: TransformerBridge) -> list[str]:
    """The hook points of the rows: what enters each block, and what leaves the last."""
    last = bridge.cfg.n_layers - 1
    return [*(f"blocks.{layer}.hook_in" for layer in range(last + 1)), f"blocks.{last}.hook_out"]


def visit_rows(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    visit: Callable[[int, Float[Tensor, "batch pos d_model"]], None],
) -> None:
    """Call ``visit(row, residual)`` for every row in order, in one forward pass that keeps none of them."""

    def show(residual, hook, row):
        visit(row, residual)

    hooks = [(name, partial(show, row=row)) for row, name in enumerate(row_names(bridge))]
    bridge.run_with_hooks(tokens, fwd_hooks=hooks, return_type=None, use_cache=False)


def final_residual(bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """The last row: what the final norm is given."""
    kept: list[Tensor] = []
    hook = (row_names(bridge)[-1], lambda residual, hook: kept.append(residual))
    bridge.run_with_hooks(tokens, fwd_hooks=[hook], return_type=None, use_cache=False)
    return kept[0]


def final_hidden(
    bridge: TransformerBridge, residual: Float[Tensor, "*rows pos d_model"]
) -> Float[Tensor, "*rows pos-2 d_model"]:
    """What predictions are read off: the residual of the predicted positions after the final norm."""
    return bridge.ln_final(predicted_positions(residual))


def at_places(
    bridge: TransformerBridge,
    sequences: Sequence[Int[Tensor, "_"]] | Int[Tensor, "sequence pos"],
    sequence: Int[Tensor, "place"],
    position: Int[Tensor, "place"],
    batch_size: int | str = "auto",
) -> Float[Tensor, "row place d_model"]:
    """Every row of the stream at some places, each a position in one of the ``sequences``; in float32 on the CPU.

    Sequences of different lengths run together with others of about their length, padded on the right, where
    a causal model does not look.
    """
    lengths = torch.tensor([len(tokens) for tokens in sequences])
    by_length = lengths.argsort(stable=True)
    padded = pad_sequence([sequences[number] for number in by_length], batch_first=True)
    line = by_length.argsort()[sequence]  # of ``padded``, for each place
    size = auto_batch_size(bridge, padded.shape[1], 1) if batch_size == "auto" else int(batch_size)
    read = torch.empty(bridge.cfg.n_layers + 1, len(sequence), bridge.cfg.d_model)

    def run(first: int, batch: Int[Tensor, "line pos"]) -> None:
        here = ((line >= first) & (line < first + len(batch))).nonzero().squeeze(-1)

        def keep(row, residual):
            read[row, here] = residual[line[here] - first, position[here]].float().cpu()

        longest = int(lengths[by_length[first + len(batch) - 1]])
        visit_rows(bridge, batch[:, :longest].to(device(bridge)), keep)

    in_parts(padded, size, run)
    return read


def intact_streams(
    bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"], inputs: list[blocks.BlockInputs]
) -> Float[Tensor, "row batch pos d_model"]:
    """All rows at once, run block by block."""
    rows = [blocks.embed(bridge, tokens)]
    for layer in range(bridge.cfg.n_layers):
        after = rows[-1].clone()
        advance(bridge, layer, after[None], inputs)
        rows.append(after)
    return torch.stack(rows)


def advance(
    bridge: TransformerBridge,
    layer: int,
    streams: Float[Tensor, "stream batch pos d_model"],
    inputs: list[blocks.BlockInputs],
) -> None:
    """Run one block on all streams, in place, as many sequences at a time as memory and caches like."""

    def run(_first: int, residual: Float[Tensor, "sequence pos d_model"]) -> None:
        residual.copy_(blocks.run_block(bridge, layer, residual, inputs))

    in_parts(streams.flatten(0, 1), rows_per_call(bridge, streams.shape[2]), run)


def centred(bridge: TransformerBridge, residual: Float[Tensor, "*pos d_model"]) -> Float[Tensor, "*pos d_model"]:
    """The residual as the final norm sees it before scaling: its mean taken off by LayerNorm, not by RMSNorm."""
    return residual if bridge.cfg.uses_rms_norm else residual - residual.mean(-1, keepdim=True)


def norm_scale(bridge: TransformerBridge, residual: Float[Tensor, "*pos d_model"]) -> Float[Tensor, "*pos 1"]:
    """What the final norm divides this residual by: its root mean square (of the centred one for LayerNorm)."""
    return (centred(bridge, residual).float().square().mean(-1, keepdim=True) + bridge.cfg.eps).sqrt()
