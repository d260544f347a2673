"""Exercises of notebook 03: how many guesses change, and rows of the lens translated by one vector each."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.exercises import by_hand
from helpers.exercises.answers import is_open
from helpers.exercises.replies import OPEN, Reply, judge


def check_changed_guesses(changed: Any, logits: Float[Tensor, "row pos vocab"]) -> Reply:
    """The share of best guesses that change from each row of the lens to the next: one number per layer."""
    if is_open(changed):
        return Reply(False, OPEN)
    guesses = [[int(position.argmax()) for position in row] for row in logits.float().cpu()]

    def share(places: slice, earlier: list[list[int]], later: list[list[int]]) -> np.ndarray:
        pairs = [zip(a[places], b[places], strict=True) for a, b in zip(earlier, later, strict=True)]
        return np.array([np.mean([a != b for a, b in pair]) for pair in pairs])

    some, steps = by_hand.LOOKED_AT, (guesses[:-1], guesses[1:])
    wanted = share(some, *steps)
    to_last = [guesses[-1]] * (len(guesses) - 1)
    mistakes = {
        "this is the share that stays; the change is what is left of 1.": 1 - wanted,
        "BOS and the last position are in your mean; take `[:, 1:-1]`.": share(slice(None), *steps),
        "every row is compared with the last one; compare it with the row before.": share(some, guesses[:-1], to_last),
        "these are percentages or counts; give shares between 0 and 1.": 100 * wanted,
        "these are counts; divide by the number of positions.": wanted * len(guesses[0][some]),
        "row 0 has no row before it: leave it out, and there is one number per layer.": np.concatenate([[0], wanted]),
    }
    most = int(wanted.argmax())
    praise = f"Most change in layer {most}, fewest in layer {int(wanted.argmin())}."
    return judge(changed, wanted, mistakes, praise, "One share per layer, over positions 1 to pos-2.")


@torch.no_grad()
def check_translated(
    kl: Any, bridge: TransformerBridge, tokens: Int[Tensor, "1 pos"], other: Int[Tensor, "1 pos2"]
) -> Reply:
    """KL(last row || row) on ``tokens``, each row moved by the mean of (last row minus this row) on the text ``other``.

    One number per row, in nats, mean over positions 1 .. pos-2.
    """
    if is_open(kl):
        return Reply(False, OPEN)
    here, there = by_hand.rows(bridge, tokens), by_hand.rows(bridge, other)

    def shift(rows: Float[Tensor, "row p d_model"]) -> Float[Tensor, "row 1 d_model"]:
        return torch.stack([(rows[-1] - row).mean(0, keepdim=True) for row in rows])

    def read(
        rows: Float[Tensor, "row p d_model"], places: slice = by_hand.LOOKED_AT, turned: bool = False
    ) -> np.ndarray:
        logits = [bridge.unembed(bridge.ln_final(row[None])).float()[0, places] for row in rows]
        pairs = [(row, logits[-1]) if turned else (logits[-1], row) for row in logits]
        return np.array([by_hand.kl_nats(*pair).double().mean().item() for pair in pairs])

    some = by_hand.LOOKED_AT
    moved = here + shift(there[:, some])
    wanted = read(moved)
    mistakes = {
        "nothing has been added: this is the plain lens.": lambda: read(here),
        "the vector has the wrong sign: last row minus this row.": lambda: read(here - shift(there[:, some])),
        "the vectors come from the text that you test them on; take those of the second text.": lambda: read(
            here + shift(here[:, some])
        ),
        "BOS or the last position is in the mean vector; take `[:, 1:-1]`.": lambda: read(here + shift(there)),
        "BOS and the last position are in the mean of the KL.": lambda: read(moved, slice(None)),
        "this is KL(row ‖ last row): the last row comes first.": lambda: read(moved, turned=True),
        "these are bits; leave them in nats.": wanted / np.log(2),
    }
    plain = read(here)
    better = int((wanted[:-1] < plain[:-1]).sum())
    praise = f"One vector per row lowers the KL in {better} of {len(plain) - 1} rows."
    return judge(kl, wanted, mistakes, praise, "One number per row, the last one 0.", tolerance=5e-3)
