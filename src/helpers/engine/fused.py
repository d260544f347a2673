"""Attention that never writes its pattern down, wherever no hook looks at it.

TransformerLens computes every attention pattern, batch x heads x pos x pos, so that hooks can see it.
Where no hook is attached, PyTorch's fused kernel gives the same output from the same queries, keys and
values without that tensor. ``install`` puts a switch in front of every attention layer of the tested
architectures; ``models.load`` then checks the model with it like any other.
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge

ARCHITECTURES = {"GPT2Attention", "GPTNeoXAttention", "PhiAttention", "LlamaAttention", "Qwen2Attention"}


def install(bridge: TransformerBridge) -> None:
    """Let every attention layer of a known kind use the fused kernel while no hook of its own is in use."""
    for attention in (block.attn for block in bridge.blocks if hasattr(block, "attn")):
        if type(getattr(attention, "original_component", None)).__name__ in ARCHITECTURES:
            # a plain assignment would land on the wrapped Hugging Face module
            object.__setattr__(attention, "forward", partial(_forward, attention, attention.forward))


def attend(
    attention: Any,
    hidden: Float[Tensor, "row pos d_model"],
    position_embeddings: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
) -> Float[Tensor, "row pos d_model"]:
    """What the attention layer writes, from its own projections; heads that share keys are grouped."""
    n_rows, n_pos, _ = hidden.shape
    d_head = attention.config.d_head
    query, key, value = (
        project(hidden).reshape(n_rows, n_pos, -1, d_head).transpose(1, 2)  # (row, head, pos, d_head)
        for project in (attention.q, attention.k, attention.v)
    )
    if position_embeddings is not None:
        cos, sin = (table[:, None] for table in position_embeddings)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
    causal = mask is None or is_causal(mask)
    mixed = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if causal else mask,
        is_causal=causal,
        scale=getattr(attention.original_component, "scaling", d_head**-0.5),
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return attention.o(mixed.transpose(1, 2).reshape(n_rows, n_pos, -1))


def rotate(vectors: Float[Tensor, "row head pos d_head"], cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of the first dimensions of each head; the others pass."""
    width = cos.shape[-1]
    turned, passed = vectors[..., :width], vectors[..., width:]
    first, second = turned.chunk(2, dim=-1)
    return torch.cat((turned * cos + torch.cat((-second, first), dim=-1) * sin, passed), dim=-1)


def is_causal(mask: Tensor) -> bool:
    """Whether an additive or boolean mask lets every position see exactly itself and what came before."""
    visible = mask if mask.dtype == torch.bool else mask == 0
    return torch.equal(visible, torch.ones_like(visible).tril())


def _forward(attention: Any, with_pattern: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """The switch: hooks on the attention layer's own activations, and generation with a cache, need the pattern."""
    watched = any(point.has_hooks() for point in attention.children() if isinstance(point, HookPoint))
    cached = kwargs.get("past_key_values") is not None or kwargs.get("layer_past") is not None
    if watched or cached:
        return with_pattern(*args, **kwargs)
    hidden = args[0] if args else kwargs["hidden_states"]
    return attend(attention, hidden, kwargs.get("position_embeddings"), kwargs.get("attention_mask")), None
