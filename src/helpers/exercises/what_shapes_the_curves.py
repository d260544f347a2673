"""Exercises of notebook 13: layers that a wrong message hurts more than silence, and a text shuffled in pairs."""

from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from helpers.exercises.answers import is_open
from helpers.exercises.replies import OPEN, Reply, choose, not_yet, right


def check_worse(worse: Any, table: pd.DataFrame) -> Reply:
    """The layers for which another place's output costs more KL than none at all (BOS kept in both)."""
    if is_open(worse):
        return Reply(False, OPEN)
    kl = {(one["layer"], one["intervention"]): one["kl_nats"] for one in table.to_dict("records")}
    layers = sorted({layer for layer, _ in kl})

    def above(more: str, less: str) -> list[int]:
        return [layer for layer in layers if kl[layer, more] > kl[layer, less]]

    wanted = above("resample", "zero_but_bos")
    mistakes = {
        "these are the layers for which silence is worse; turn the comparison over.": above("zero_but_bos", "resample"),
        "`zero` takes BOS away, too; compare with `zero_but_bos`.": above("resample", "zero"),
        "this compares with the mean output; compare with none, `zero_but_bos`.": above("resample", "mean"),
        "these are the layers whose mean costs more than nothing; take `resample`.": above("mean", "zero_but_bos"),
        "layers are counted from 0.": [layer + 1 for layer in wanted],
    }
    praise = f"{len(wanted)} of {len(layers)} layers. What they say, later layers believe."
    return choose(worse, wanted, mistakes, praise, "Give a list of layers, perhaps an empty one.")


def check_paired(paired: Any, tokens: Int[Tensor, "sequence pos"]) -> Reply:
    """Sequences shuffled in pairs: BOS first, then the pairs of tokens 1 and 2, 3 and 4, .. in another order.

    A last token that has no partner is left out.
    """
    if is_open(paired):
        return Reply(False, OPEN)
    if not isinstance(paired, torch.Tensor) or paired.ndim != 2:
        return not_yet("give a tensor of tokens, one row per sequence.")
    whole = 1 + (tokens.shape[1] - 1) // 2 * 2
    if len(paired) != len(tokens) or paired.shape[1] != whole:
        return not_yet(
            f"{[len(tokens), whole]} tokens are asked for, BOS and whole pairs; yours is {list(paired.shape)}."
        )
    given, text = paired.tolist(), [row[:whole] for row in tokens.tolist()]
    if any(row[0] != line[0] for row, line in zip(given, text, strict=True)):
        return not_yet("BOS has moved: it must stay in front, so shuffle what comes after it.")
    if any(sorted(row) != sorted(line) for row, line in zip(given, text, strict=True)):
        return not_yet("these are other tokens than those of the text: some are missing or come from another sequence.")
    if given == text:
        return not_yet("nothing has moved.")
    cut = [_pairs(line) for line in text]
    if all(_pairs(row) == pairs[::-1] for row, pairs in zip(given, cut, strict=True)):
        return not_yet("the pairs are in reverse order, which is an order too: draw one with `torch.randperm`.")
    if all(sorted(_pairs(row, turned=True)) == sorted(pairs) for row, pairs in zip(given, cut, strict=True)):
        return not_yet("the two tokens of each pair have changed places; keep their order.")
    if any(sorted(_pairs(row)) != sorted(pairs) for row, pairs in zip(given, cut, strict=True)):
        return not_yet("neighbours have been parted: shuffle whole pairs, tokens 1 and 2, 3 and 4, and so on.")
    kept = sum(a == b for row, pairs in zip(given, cut, strict=True) for a, b in zip(_pairs(row), pairs, strict=True))
    return right(f"{kept} of {sum(map(len, cut))} pairs are where they were.")


def _pairs(row: list[int], turned: bool = False) -> list[tuple[int, int]]:
    """Pairs of what follows BOS, each perhaps turned around."""
    first, second = (row[2::2], row[1::2]) if turned else (row[1::2], row[2::2])
    return list(zip(first, second, strict=True))
