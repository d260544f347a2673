"""Models run and measured in another way than the helpers do: PyTorch's own hooks and functions.

An answer is compared with these, so that a mistake in a helper cannot make a wrong answer right. Means are over
positions 1 .. pos-2, as everywhere: not the prediction made from BOS, and the last position has no label.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

LOOKED_AT = slice(1, -1)


@torch.no_grad()
def logits(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    instead: Mapping[int, Sequence[int]] | None = None,
    changed: Mapping[torch.nn.Module, Callable[[Tensor], Tensor]] | None = None,
) -> Float[Tensor, "batch pos vocab"]:
    """Logits where in the place of some blocks others run (none, one or several), or outputs of modules are changed."""
    handles = []
    for place, layers in (instead or {}).items():
        handles.append(bridge.blocks[place].register_forward_hook(_running(bridge, layers), with_kwargs=True))
    for module, change in (changed or {}).items():
        handles.append(module.register_forward_hook(_changing(change)))
    try:
        return bridge(tokens.to(bridge.cfg.device), use_cache=False).float()
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def rows(bridge: TransformerBridge, tokens: Int[Tensor, "1 pos"]) -> Float[Tensor, "row pos d_model"]:
    """The residual stream that enters each block, and the one that leaves the last."""
    seen: list[Tensor] = []

    def enter(_module, args, kwargs):
        seen.append((args[0] if args else kwargs["hidden_states"])[0])

    handles = [block.register_forward_pre_hook(enter, with_kwargs=True) for block in bridge.blocks]
    handles.append(
        bridge.blocks[-1].register_forward_hook(lambda _module, _args, output: seen.append(first(output)[0]))
    )
    try:
        bridge(tokens.to(bridge.cfg.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(seen)


def kl_nats(intact: Float[Tensor, "*p vocab"], other: Float[Tensor, "*p vocab"]) -> Float[Tensor, "*p"]:
    """KL(intact || other) at every position."""
    log_p, log_q = intact.log_softmax(-1), other.log_softmax(-1)
    return torch.nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def entropy_nats(given: Float[Tensor, "*p vocab"]) -> Float[Tensor, "*p"]:
    """Entropy of the prediction at every position."""
    return torch.distributions.Categorical(logits=given, validate_args=False).entropy()


def loss_nats(given: Float[Tensor, "batch pos vocab"], tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch seen"]:
    """Loss of the token that follows, at positions 1 .. pos-2."""
    following = tokens[:, 2:].to(given.device)
    return torch.nn.functional.cross_entropy(given[:, LOOKED_AT].transpose(1, 2), following, reduction="none")


def mean(values: Float[Tensor, "batch pos"]) -> float:
    """Over sequences and positions 1 .. pos-2."""
    return values[:, LOOKED_AT].double().mean().item()


def bits(nats: float) -> float:
    """What a number of nats is in bits."""
    return nats / math.log(2)


def first(output: Any) -> Tensor:
    """What a module passes on: some return a tuple."""
    return output[0] if isinstance(output, tuple) else output


def _running(bridge: TransformerBridge, layers: Sequence[int]) -> Callable:
    def hook(_module, args, kwargs, output):
        extra = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        residual = args[0] if args else kwargs["hidden_states"]
        for layer in layers:  # forward itself, so that no hook of another place is called
            residual = first(bridge.blocks[layer].forward(residual, *args[1:], **extra))
        return (residual, *output[1:]) if isinstance(output, tuple) else residual

    return hook


def _changing(change: Callable[[Tensor], Tensor]) -> Callable:
    def hook(_module, _args, output):
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return hook
