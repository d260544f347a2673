"""The orders in which the blocks of a lesioned model run, and all of them in one walk.

Drop l (paper, figure 13): every block but l. Swap l (section 3): block l + 1, then block l. Repeat of width w (5.4,
figures 22 to 24): each of the w blocks from l on twice in a row, l l l+1 l+1 ... In a table a lesion has the layer l,
its first one, and the intact model has none.

Orders that begin alike are one stream until they part, so that all drops and swaps of n layers take n**2 block
evaluations, as in ``lesion.sweep``. Here a stream is followed to its end before the next one, and only where streams
part is anything kept: memory does not grow with the number of lesions, and a batch fills the processor by itself.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks
from helpers.beyond import layer_repeats
from helpers.errors import InputError

INTACT = "intact"


@dataclass(frozen=True)
class Lesion:
    """An intervention on a model, and the order in which its blocks then run."""

    intervention: str
    layer: int | None
    order: tuple[int, ...]


def check_names(interventions: Sequence[str]) -> None:
    """Raise ``InputError`` for a name that is no intervention."""
    for name in interventions:
        if not re.fullmatch(r"drop|swap|repeat_[1-9]\d*", name):
            raise InputError(f"no intervention {name!r}: there are drop, swap and repeat_N, N layers run twice each")


def lesions(n_layers: int, interventions: Sequence[str] = ("drop", "swap")) -> list[Lesion]:
    """The intact model, then each intervention at every layer: ``drop``, ``swap``, ``repeat_5`` or another width."""
    check_names(interventions)
    layers = tuple(range(n_layers))
    found = [Lesion(INTACT, None, layers)]
    for name in interventions:
        if name == "drop":
            orders = [layers[:layer] + layers[layer + 1 :] for layer in layers]
        elif name == "swap":
            orders = [(*layers[:layer], layer + 1, layer, *layers[layer + 2 :]) for layer in layers[:-1]]
        else:
            width = int(name.removeprefix("repeat_"))
            if width > n_layers:
                raise InputError(f"{name} needs {width} layers, the model has {n_layers}: repeat fewer at a time")
            orders = [tuple(layer_repeats.order(n_layers, layer, width)) for layer in layers[: n_layers - width + 1]]
        found.extend(Lesion(name, layer, order) for layer, order in enumerate(orders))
    return found


@torch.no_grad()
def walk(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    orders: Sequence[tuple[int, ...]],
    inputs: list[blocks.BlockInputs],
) -> Iterator[tuple[int, Float[Tensor, "batch pos d_model"]]]:
    """The number of every order, in no particular sequence, with its final residual stream, before the last norm."""
    waiting: list[tuple[Tensor, int | None, list[tuple[int, tuple[int, ...]]]]]
    waiting = [(blocks.embed(bridge, tokens), None, list(enumerate(orders)))]
    while waiting:
        residual, layer, ahead = waiting.pop()
        if layer is not None:
            residual = blocks.run_block(bridge, layer, residual, inputs)
        yield from ((number, residual) for number, left in ahead if not left)
        branches: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        for number, left in ahead:
            if left:
                branches.setdefault(left[0], []).append((number, left[1:]))
        longest_last = sorted(branches.items(), key=lambda branch: len(branch[1]))
        waiting.extend((residual, following, rest) for following, rest in reversed(longest_last))
