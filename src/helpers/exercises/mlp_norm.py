"""Exercises of notebook 05: the norm with BOS counted, and the last MLP turned down."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.exercises import by_hand
from helpers.exercises.answers import is_open
from helpers.exercises.replies import OPEN, Reply, judge


def check_with_bos(norm: Any, parts: Mapping[str, Float[Tensor, "1 pos d_model"]]) -> Reply:
    """The mean length of the residual stream over all positions of one text, BOS counted."""
    if is_open(norm):
        return Reply(False, OPEN)
    lengths = [math.sqrt(sum(x * x for x in vector)) for vector in parts["residual"][0].double().tolist()]
    wanted = sum(lengths) / len(lengths)
    mistakes = {
        "BOS is still left out.": sum(lengths[1:]) / (len(lengths) - 1),
        "this is BOS alone.": lengths[0],
        "this is the plain middle of the two; BOS is one position of many.": (
            (lengths[0] + sum(lengths[1:]) / (len(lengths) - 1)) / 2
        ),
        "this is the sum over positions; take the mean.": sum(lengths),
        "this is the length of the mean vector; take the mean of the lengths.": (
            parts["residual"][0].double().mean(0).norm().item()
        ),
        "this is per dimension (a root of a mean of squares); the norm is the root of their sum.": (
            wanted / math.sqrt(parts["residual"].shape[-1])
        ),
    }
    for part in parts.keys() - {"residual"}:
        other = parts[part][0].double().norm(dim=-1).mean().item()
        mistakes[f"this is the part {part!r}; take the residual stream."] = other
    praise = f"BOS is {lengths[0] / (sum(lengths[1:]) / (len(lengths) - 1)):.2f} times as long as the others."
    return judge(norm, wanted, mistakes, praise, "A mean over all positions, BOS included.", tolerance=2e-4)


def check_turned_down(
    entropy_change: Any,
    loss_change: Any,
    bridge: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    factor: float = 0.5,
) -> Reply:
    """What the last MLP, writing ``factor`` times what it writes, changes: entropy in bits, loss in nats.

    Turned down minus intact, means over sequences and positions 1 .. pos-2.
    """
    if is_open(entropy_change, loss_change):
        return Reply(False, OPEN)

    def changes(module: torch.nn.Module, by: float) -> list[float]:
        ends = []
        for changed in ({}, {module: lambda written: by * written}):
            logits = by_hand.logits(bridge, tokens, changed=changed)
            entropy = by_hand.bits(by_hand.mean(by_hand.entropy_nats(logits)))
            ends.append((entropy, by_hand.loss_nats(logits, tokens).double().mean().item()))
        return [after - before for before, after in zip(*ends, strict=True)]

    last = bridge.blocks[-1]
    entropy, loss = wanted = changes(last.mlp, factor)
    mistakes = {
        "the signs are turned over: take turned down minus intact.": [-entropy, -loss],
        "the entropy is in nats; divide by log(2) for bits.": [entropy * math.log(2), loss],
        "the two are exchanged: first the entropy, then the loss.": [loss, entropy],
        "the MLP is turned up, not down.": lambda: changes(last.mlp, 1 / factor),
        "the MLP is switched off; turn it down only.": lambda: changes(last.mlp, 0.0),
        "this is what turning down the last attention does; take `hook_mlp_out`.": lambda: changes(last.attn, factor),
        "this is the first layer's MLP; take the last one.": lambda: changes(bridge.blocks[0].mlp, factor),
    }
    surer = "surer" if entropy < 0 else "less sure"
    praise = f"Turned down, the model is {surer} by {abs(entropy):.3f} bits, and its loss changes by {loss:+.3f} nats."
    hint = "Give changes, not levels: turned down minus intact."
    return judge((entropy_change, loss_change), wanted, mistakes, praise, hint, tolerance=1e-2)
