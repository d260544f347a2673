"""Exercises of notebook 02: where published curves peak, and which tokens look back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from helpers.exercises.answers import is_open, numbers
from helpers.exercises.replies import OPEN, Reply, judge, not_yet, right


def check_peaks(depths: Any, curves: Mapping[str, Sequence[float]]) -> Reply:
    """The relative depth of the highest layer of every published curve: ``depths`` by the model's name."""
    if is_open(depths):
        return Reply(False, OPEN)
    if not isinstance(depths, Mapping):
        return not_yet("give a dictionary: the depth by the model's name.")
    if missing := set(curves) ^ set(depths):
        return not_yet(f"the names differ from those of the curves: {', '.join(sorted(map(str, missing)))}.")
    peaks = {name: list(curve).index(max(curve)) for name, curve in curves.items()}
    lowest = {name: list(curve).index(min(curve)) for name, curve in curves.items()}
    last = {name: len(curve) - 1 for name, curve in curves.items()}
    mistakes = {
        "these are layer numbers; divide by the number of the last layer.": peaks,
        "the last layer must have depth 1: divide by its number, which is one less than the number of layers.": {
            name: peak / (last[name] + 1) for name, peak in peaks.items()
        },
        "layers are counted from 0: a peak in the first layer has depth 0.": {
            name: (peak + 1) / (last[name] + 1) for name, peak in peaks.items()
        },
        "this is where the curves are lowest.": {name: low / last[name] for name, low in lowest.items()},
    }
    wanted = {name: peak / last[name] for name, peak in peaks.items()}
    at_first = [name for name, peak in peaks.items() if peak == 0]
    praise = f"The very first layer is the peak in {len(at_first)} of {len(curves)} models. Which?"
    return judge(depths, wanted, mistakes, praise, "Depth is the layer over the last layer's number.")


def check_looking_back(
    inside: Any,
    begins: Any,
    means: Any,
    patterns: Float[Tensor, "layer head query key"],
    pieces: Sequence[str],
) -> Reply:
    """Which tokens are pieces ``inside`` a word and which ``begins`` one, and how much each looks at the token before.

    ``pieces`` are the texts of the tokens from position 1 on. Inside: letters alone. Begins: a space comes first.
    ``means`` has one row per layer, inside and then begins: the mean over heads and over the tokens of the group.
    """
    if is_open(inside, begins, means):
        return Reply(False, OPEN)
    if not (reply := _groups(numbers(inside), numbers(begins), pieces)):
        return reply
    groups = [[place for place, of_group in enumerate(group) if of_group] for group in _right_groups(pieces)]

    def look(shift: int, back: int) -> np.ndarray:
        columns = []
        for group in groups:
            queries = [
                place + shift for place in group if place + shift - back >= 0 and place + shift < len(pieces) + 1
            ]
            columns.append(torch.stack([patterns[:, :, query, query - back].mean(1) for query in queries]).mean(0))
        return torch.stack(columns, 1).double().cpu().numpy()

    wanted = look(shift=1, back=1)
    mistakes = {
        "the two columns are exchanged.": wanted[:, ::-1],
        "rows and columns are exchanged: one row per layer.": wanted.T,
        "this is the attention to the token itself; take the diagonal one below.": lambda: look(shift=1, back=0),
        "the groups are one place off: the first entry of a mask is position 1, not BOS.": lambda: look(
            shift=0, back=1
        ),
        "this is the attention that the next token pays to the group; the group must be the query.": lambda: look(2, 1),
        "this is the sum over tokens; take the mean of each group.": wanted * [len(group) for group in groups],
        "this is the sum over heads; take their mean.": wanted * patterns.shape[1],
    }
    most_local = int(patterns.diagonal(-1, dim1=-2, dim2=-1).mean((1, 2)).argmax())
    ratio = wanted[most_local, 0] / wanted[most_local, 1]
    praise = f"In the most local layer, {most_local}, pieces inside a word look back {ratio:.2f} times as much."
    return judge(means, wanted, mistakes, praise, "One row per layer; inside first, then begins.")


def _right_groups(pieces: Sequence[str]) -> tuple[list[bool], list[bool]]:
    return [piece.isalpha() for piece in pieces], [piece[:1] == " " for piece in pieces]


def _groups(inside: np.ndarray | None, begins: np.ndarray | None, pieces: Sequence[str]) -> Reply:
    """Whether both groups are the right ones."""
    for name, mask, wanted in zip(("inside", "begins"), (inside, begins), _right_groups(pieces), strict=True):
        if mask is None or mask.shape != (len(pieces),):
            shape = None if mask is None else list(mask.shape)
            return not_yet(
                f"`{name}` must say yes or no for each of the {len(pieces)} tokens behind BOS, yours: {shape}."
            )
        wrong = [place for place in range(len(pieces)) if bool(mask[place]) != wanted[place]]
        if wrong:
            should = "belongs in" if wanted[wrong[0]] else "does not belong in"
            return not_yet(f"{pieces[wrong[0]]!r} {should} `{name}`, and {len(wrong) - 1} others are wrong as well.")
    return right("")
