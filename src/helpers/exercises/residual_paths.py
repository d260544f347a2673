"""Exercises of notebook 09: the longest run of layers that can go, and whether losses add up."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from helpers.exercises.answers import is_open, numbers
from helpers.exercises.replies import OPEN, Reply, choose, judge, not_yet

HALF = 0.5


def check_longest(length: Any, starts: Any, table: pd.DataFrame) -> Reply:
    """The longest deleted run of layers that keeps at least half of the accuracy, and where such runs begin."""
    if is_open(length, starts):
        return Reply(False, OPEN)
    given = numbers(length)
    if given is None or given.shape != ():
        return not_yet("the length is one number.")
    runs = [(int(run["start"]), int(run["length"]), run) for run in table.to_dict("records")]

    def longest(enough: Callable[[dict], bool]) -> int:
        return max((size for _, size, run in runs if enough(run)), default=0)

    wanted = longest(lambda run: run["accuracy_ratio"] >= HALF)
    if wanted == 0:
        return not_yet(
            "in this model no run keeps half of the accuracy, so that there is nothing to find: take another."
        )
    n_layers = max(start + size for start, size, _ in runs)
    lost = [size for _, size, run in runs if run["accuracy_ratio"] < HALF]
    mistakes = {
        n_layers - wanted: "this is how many layers are left; count those that are missing.",
        longest(lambda run: run["top1_agreement"] >= HALF): (
            "this is by first guesses that stay the same; take the column `accuracy_ratio`."
        ),
        longest(lambda run: run["accuracy"] >= HALF): (
            "this asks for half of all tokens right; take half of the intact accuracy, the column `accuracy_ratio`."
        ),
        min(lost, default=0): "this is the shortest run that loses more than half; take the longest that does not.",
        min(lost, default=0) - 1: "at this length every run is safe; one run is enough, so look at longer ones.",
    }
    if given != wanted:
        longer = "a longer one does, too" if given < wanted else "no run of this length does"
        return not_yet(mistakes.get(int(given), f"a run must keep at least half of the accuracy, and {longer}."))
    begins = [start for start, size, run in runs if size == wanted and run["accuracy_ratio"] >= HALF]
    other = {
        "these are all runs of this length; keep those with at least half of the accuracy.": [
            start for start, size, _ in runs if size == wanted
        ],
        "these are the last layers of the runs; give the first ones.": [start + wanted - 1 for start in begins],
        "layers are counted from 0.": [start + 1 for start in begins],
    }
    praise = f"{wanted} of {n_layers} layers, and every longer run keeps less than half."
    return choose(starts, begins, other, praise, f"Give a list of the first layers of runs of length {wanted}.")


def check_added(ratio: Any, table: pd.DataFrame) -> Reply:
    """Loss of a run over the sum of the losses of its layers, by length: mean over runs that begin after layer 0."""
    if is_open(ratio):
        return Reply(False, OPEN)
    loss = {(int(run["start"]), int(run["length"])): run["loss_change_nats"] for run in table.to_dict("records")}
    lengths = sorted({length for start, length in loss if start > 0})

    def single(start: int, length: int) -> float:
        return sum(loss.get((layer, 1), 0.0) for layer in range(start, start + length))

    def by_length(one: Callable[[int, int], float], first: int = 1) -> pd.Series:
        means = {}
        for length in sorted({length for start, length in loss if start >= first}):
            values = [one(start, size) for start, size in loss if size == length and start >= first]
            means[length] = sum(values) / len(values)
        return pd.Series(means)

    wanted = by_length(lambda start, length: loss[start, length] / single(start, length))
    sums = by_length(single)
    from_first = by_length(lambda start, length: loss[start, length] / single(start, length), first=0)
    mistakes = {
        "runs that begin with layer 0 are in your mean; leave them out.": from_first,
        "runs that begin with layer 0 are in your mean; leave them out, at every length.": from_first.loc[lengths],
        "this is the sum over the loss; take the loss over the sum.": by_length(
            lambda start, length: single(start, length) / loss[start, length]
        ),
        "this is a ratio of means; take the ratio of every run, and then the mean.": (
            by_length(lambda start, length: loss[start, length]) / sums
        ),
        "a layer too many is in the sums: a `.loc` slice includes its end.": by_length(
            lambda start, length: loss[start, length] / single(start, length + 1)
        ),
        "this is the difference; divide.": by_length(lambda start, length: loss[start, length] - single(start, length)),
    }
    above = int((wanted > 1).sum())
    praise = f"The ratio is above 1 at {above} of {len(wanted)} lengths, and largest at {wanted.idxmax()}."
    return judge(ratio, wanted, mistakes, praise, "One number per length; for runs of one layer it is 1.")
