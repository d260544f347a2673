"""Exercises of notebook 08: the neurons that speak for a space, and neurons set to zero."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.exercises import by_hand
from helpers.exercises.answers import is_open
from helpers.exercises.replies import OPEN, Reply, choose, judge, not_yet, pairs_of

KEYS = ["kind", "n_neurons"]


def check_space_neurons(best: Any, bridge: TransformerBridge, texts: Sequence[str], number: int = 32) -> Reply:
    """The neurons (layer, neuron) that speak most for tokens that begin with a space, in any order.

    ``best`` is a list of pairs, or a table with the columns ``layer`` and ``neuron``. A neuron's score is its mean
    cosine with those tokens' unembedding vectors minus that with all others; here from all cosines, in float64.
    """
    if is_open(best):
        return Reply(False, OPEN)
    best, why = pairs_of(best, "layer", "neuron")
    if why is not None:
        return why
    if not isinstance(best, list | tuple):
        return not_yet("give a list of pairs (layer, neuron), or the first rows of the ranking.")
    if len(best) != number:
        return not_yet(f"{number} neurons are asked for, these are {len(best)}.")
    W_U = bridge.W_U.detach().double()
    inside = torch.tensor([text[:1] == " " for text in texts], device=W_U.device)

    def top(value: Callable[[Tensor], Tensor], unit: bool = True) -> list[tuple[int, int]]:
        scored = []
        for layer in range(bridge.cfg.n_layers):
            written = bridge.blocks[layer].mlp.W_out.detach().double()
            each = written @ W_U
            if unit:
                each = each / written.square().sum(1, keepdim=True).sqrt() / W_U.square().sum(0).sqrt().clamp_min(1e-12)
            scored += [(score, layer, neuron) for neuron, score in enumerate(value(each).tolist())]
        return [(layer, neuron) for _, layer, neuron in sorted(scored, key=lambda one: -one[0])[:number]]

    def lead(each: Tensor) -> Tensor:
        return each[:, inside].mean(1) - each[:, ~inside].mean(1)

    mistakes = {
        "these speak most against a space: the last of the ranking, or the class turned over.": lambda: top(
            lambda each: -lead(each)
        ),
        "these have the largest differences of dot products; take cosines.": lambda: top(lead, unit=False),
        "the tokens without a space must be taken off: mean inside minus mean outside.": lambda: top(
            lambda each: each[:, inside].mean(1)
        ),
        "some of these speak against a space: leave the sign of the score as it is.": lambda: top(
            lambda each: lead(each).abs()
        ),
        "layer and neuron are exchanged: the layer comes first.": lambda: [pair[::-1] for pair in top(lead)],
    }
    wanted = top(lead)
    late = sum(2 * layer >= bridge.cfg.n_layers for layer, _ in wanted)
    praise = f"{late} of the {number} are in the second half of the layers."
    return choose(best, wanted, mistakes, praise, "Sort by the score, the largest first.")


def check_silenced(
    changes: Any, bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"], sets: pd.DataFrame
) -> Reply:
    """What setting the neurons of ``set`` 0 to zero does to the loss: one number per ``kind`` and ``n_neurons``.

    Silenced minus intact, in nats, at every position but BOS. A series with these two keys, or a list in their order.
    """
    if is_open(changes):
        return Reply(False, OPEN)
    special = sets[sets["set"] == 0]
    groups = {keys: group for keys, group in special.groupby(KEYS)}
    intact = by_hand.logits(bridge, tokens)

    def measure(value: str | float, first: int = 1, entropy: bool = False) -> pd.Series:
        found = {}
        for keys, group in groups.items():
            hooks = []
            for layer, part in group.groupby("layer"):
                means = part["mean_activation"].tolist() if value == "mean" else [float(value)] * len(part)
                hook = partial(_set, neurons=part["neuron"].tolist(), values=means, first=first)
                hooks.append((f"blocks.{layer}.mlp.hook_post", hook))
            with torch.no_grad():
                logits = bridge.run_with_hooks(tokens.to(bridge.cfg.device), fwd_hooks=hooks, use_cache=False).float()
            if entropy:
                found[keys] = by_hand.mean(by_hand.entropy_nats(logits)) - by_hand.mean(by_hand.entropy_nats(intact))
            else:
                losses = (by_hand.loss_nats(one, tokens).double().mean().item() for one in (logits, intact))
                found[keys] = next(losses) - next(losses)
        return pd.Series(found).rename_axis(KEYS)

    wanted = measure(0.0)
    mistakes = {
        "the neurons are at their means, as in the table above; set them to zero.": lambda: measure("mean"),
        "the signs are turned over: silenced minus intact.": -wanted,
        "BOS is silenced, too; begin at position 1.": lambda: measure(0.0, first=0),
        "this is the entropy; take the loss.": lambda: measure(0.0, entropy=True),
        "these are bits; leave them in nats.": wanted.map(by_hand.bits),
        "this is the sum over the sequences; take the mean.": wanted * len(tokens),
    }
    worst = wanted.idxmax()
    praise = f"It costs most, {wanted[worst]:.4f} nats, for {worst[1]} neurons of the kind {worst[0]!r}."
    return judge(changes, wanted, mistakes, praise, "One number per kind and size.", tolerance=2e-2)


def _set(activation: Tensor, hook: Any, neurons: list[int], values: list[float], first: int) -> Tensor:
    activation = activation.clone()
    for neuron, value in zip(neurons, values, strict=True):
        activation[:, first:, neuron] = value
    return activation
