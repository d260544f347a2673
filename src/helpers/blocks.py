"""Run one transformer block, or any order of blocks, on a residual stream, for every architecture.

The outer model hands each block more than the residual stream: rotary position embeddings, masks,
position ids, different ones for different families, and some blocks silently compute something else
without them. So they are not rebuilt here but recorded, block by block, from a real forward pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class BlockInputs:
    """What the outer model passes to one block besides the residual stream; fits any number of rows."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def record_inputs(bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> list[BlockInputs]:
    """The extra inputs of every block for sequences as long as ``tokens``: one forward pass of one row."""
    recorded: list[BlockInputs] = []

    def record(_module, args, kwargs):
        extra = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        recorded.append(BlockInputs(args[1:], extra))

    handles = [block.register_forward_pre_hook(record, with_kwargs=True) for block in bridge.blocks]
    try:
        bridge(tokens[:1], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return recorded


def embed(bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """The residual stream that enters block 0."""
    return bridge(tokens, stop_at_layer=0, use_cache=False)


def run_block(
    bridge: TransformerBridge, layer: int, residual: Float[Tensor, "row pos d_model"], inputs: list[BlockInputs]
) -> Float[Tensor, "row pos d_model"]:
    """The residual stream after block ``layer``, given the one before it."""
    out = bridge.blocks[layer](residual, *inputs[layer].args, **inputs[layer].kwargs)
    return out[0] if isinstance(out, tuple) else out


def run_blocks(
    bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"], order: Iterable[int], inputs: list[BlockInputs]
) -> Float[Tensor, "batch pos d_model"]:
    """The residual stream before the final norm when the blocks run in ``order``."""
    residual = embed(bridge, tokens)
    for layer in order:
        residual = run_block(bridge, layer, residual, inputs)
    return residual


def run_order(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    order: Iterable[int],
    inputs: list[BlockInputs] | None = None,
) -> Float[Tensor, "batch pos vocab"]:
    """Logits when the blocks run in ``order``: some left out, exchanged, or repeated.

    ``inputs`` are those recorded for sequences of this length; without them they are recorded first.
    """
    inputs = inputs or record_inputs(bridge, tokens)
    return bridge.unembed(bridge.ln_final(run_blocks(bridge, tokens, order, inputs)))
