"""Exercises of notebook 10: words with two tags, and words that come too early to know their sense."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers.exercises.answers import is_open
from helpers.exercises.replies import OPEN, Reply, judge, not_yet

TAGS, PROBE = "part_of_speech", "logistic"
PARTS = ((1, 2), (3, 4), (5, np.inf))  # how many words come before the word
SIDES = ("first", "second")


def check_two_tags(by_row: Any, predictions: pd.DataFrame) -> Reply:
    """How often words with more than one tag are told right by the ``logistic`` probe: one share per row."""
    if is_open(by_row):
        return Reply(False, OPEN)
    every = predictions.to_dict("records")
    answers = [one for one in every if one["task"] == TAGS and one["probe"] == PROBE]
    tags: dict[str, set[str]] = {}
    for one in answers:
        tags.setdefault(one["word"], set()).add(one["label"])
    two = [one for one in answers if len(tags[one["word"]]) > 1]
    if not two:
        return not_yet("no word has two tags in these sentences: take others.")

    def share(some: Sequence[Mapping]) -> pd.Series:
        right: dict[int, list[float]] = {}
        for one in some:
            right.setdefault(one["layer"], []).append(one["correct"])
        return pd.Series({row: sum(values) / len(values) for row, values in sorted(right.items())})

    def share_of_words() -> pd.Series:
        frame = pd.DataFrame(two).groupby(["layer", "word"])["correct"].mean()
        return frame.groupby("layer").mean()

    wanted = share(two)
    mistakes = {
        "these are the words with one tag; turn the condition over.": lambda: share(
            [one for one in answers if len(tags[one["word"]]) == 1]
        ),
        "these are all words; keep those with more than one label.": lambda: share(answers),
        "this is the probe of shuffled labels; keep `logistic`.": lambda: share(
            [one for one in every if one["task"] == TAGS and one["probe"] == "shuffled" and len(tags[one["word"]]) > 1]
        ),
        "probes are mixed; keep `logistic` alone.": lambda: share(
            [one for one in every if one["task"] == TAGS and len(tags.get(one["word"], ())) > 1]
        ),
        "this counts every word once; average over the answers.": share_of_words,
        "this is the share of wrong answers.": 1 - wanted,
    }
    steps = wanted.diff()
    praise = f"The largest step up is into row {steps.idxmax()}, by {steps.max():.2f}."
    return judge(by_row, wanted, mistakes, praise, "One share per row of the stream, row 0 included.")


def check_too_early(
    aucs: Any, pairs: pd.DataFrame, labels: Sequence[bool] | np.ndarray, similarity: Sequence[float] | np.ndarray
) -> Reply:
    """AUC of a similarity for pairs with 1 or 2, 3 or 4, and 5 or more words before the word: three numbers.

    Words are counted in the sentence where they are fewer. AUC here is the share of all pairs of pairs, one of the same
    sense and one not, in which the first is more similar; ties count half. A part without both is not a number.
    """
    if is_open(aucs):
        return Reply(False, OPEN)
    records = pairs.to_dict("records")
    texts = [[one[side][: one[f"{side}_span"][0]] for side in SIDES] for one in records]
    same, similar = np.asarray(labels, dtype=bool), np.asarray(similarity, dtype=float)

    def auc(part: np.ndarray) -> float:
        yes, no = similar[part & same], similar[part & ~same]
        return float(np.mean([(one > no).mean() + (one == no).mean() / 2 for one in yes])) if len(no) else np.nan

    def parts(count: Callable[[list[str]], int]) -> list[float]:
        counts = np.array([count(before) for before in texts])
        return [auc((counts >= low) & (counts <= high)) for low, high in PARTS]

    wanted = parts(lambda before: min(len(text.split()) for text in before))
    whole = auc(np.full(len(same), True))
    mistakes = {
        "the words are counted in the sentence where they are more; take the smaller number.": lambda: parts(
            lambda before: max(len(text.split()) for text in before)
        ),
        "the words are counted in the first sentence only; take the smaller number of both.": lambda: parts(
            lambda before: len(before[0].split())
        ),
        "the word itself is counted, too; count those before it.": lambda: parts(
            lambda before: 1 + min(len(text.split()) for text in before)
        ),
        "these are letters; split the text into words.": lambda: parts(lambda before: min(map(len, before))),
        "labels and similarities are turned over: 1 minus this is the AUC.": [1 - one for one in wanted],
        "these are all pairs each time; keep those of the part.": [whole] * len(PARTS),
    }
    praise = f"Over all pairs it is {whole:.2f}."
    return judge(aucs, wanted, mistakes, praise, "Three numbers: 1 or 2, 3 or 4, 5 or more words before the word.")
