"""Exercises of notebook 11: the shape of a curve without its level, and claims that held and were lost."""

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any

import pandas as pd

from helpers.exercises.answers import is_open
from helpers.exercises.replies import OPEN, Reply, attempt, choose, judge

HOLDS, NO, OPEN_CASE = "holds", "does not hold", "undecided"
PLANTED = pd.DataFrame(
    {
        "30": [HOLDS, NO, HOLDS, HOLDS, NO, OPEN_CASE],
        "300": [HOLDS, HOLDS, NO, OPEN_CASE, NO, HOLDS],
        "final": [HOLDS, HOLDS, HOLDS, NO, OPEN_CASE, NO],
    },
    index=["always", "learned", "lost and found again", "lost early", "never", "lost late"],
)


def check_shapes(shapes: Any, curves: Mapping[str, pd.Series]) -> Reply:
    """Every curve divided by its value in row 0: one column per moment, one row per row of the lens.

    ``curves`` has the lens's KL by moment, each with the row as its index.
    """
    if is_open(shapes):
        return Reply(False, OPEN)
    columns = {name: [float(value) for value in curve] for name, curve in curves.items()}
    index = next(iter(curves.values())).index

    def table(one: Callable[[list[float]], list[float]]) -> pd.DataFrame:
        return pd.DataFrame({name: one(values) for name, values in columns.items()}, index=index)

    wanted = table(lambda values: [value / values[0] for value in values])
    mistakes = {
        "these are the curves as they are; divide each by its value in row 0.": table(list),
        "each is divided by its mean; divide by its value in row 0, so that it begins at 1.": table(
            lambda values: [value * len(values) / sum(values) for value in values]
        ),
        "each is divided by its sum; divide by its value in row 0, so that it begins at 1.": table(
            lambda values: [value / sum(values) for value in values]
        ),
        "each is divided by its value in row 1; rows are counted from 0.": table(
            lambda values: [value / values[1] for value in values]
        ),
        "this is row 0 over each row; turn the fraction over.": table(
            lambda values: [values[0] / value if value else float("inf") for value in values]
        ),
        "all are divided by row 0 of the last moment; each by its own.": table(
            lambda values: [value / list(columns.values())[-1][0] for value in values]
        ),
        "rows and columns are exchanged: one column per moment.": wanted.to_numpy().T,
    }
    halfway = {name: int((wanted[name] > 1 / 2).to_numpy().argmin()) for name in wanted}
    praise = f"First row with half of it left or less: {halfway}."
    return judge(shapes, wanted, mistakes, praise, "One column per moment; each begins at 1 and ends at 0.")


def check_lost(rule: Any, verdicts: pd.DataFrame) -> Reply:
    """A rule that lists the claims that hold at some moment and do not at a later one, tried on planted verdicts too.

    ``rule`` is a function of a table with one row per claim and one column per moment, in the order of training;
    anything but "holds" does not hold.
    """
    if is_open(rule):
        return Reply(False, OPEN)
    listed, failed = attempt(rule, PLANTED.copy())
    if failed is not None:
        return failed
    held = {name: [row[moment] == HOLDS for moment in PLANTED] for name, row in PLANTED.iterrows()}
    mistakes: dict[str, Collection] = {
        "on planted verdicts your rule also lists claims that have never held; only what held can be lost.": [
            name for name, row in held.items() if not row[-1] or name == "lost and found again"
        ],
        "on planted verdicts your rule lists all that do not hold at the end; some of them never held.": [
            name for name, row in held.items() if not row[-1]
        ],
        "your rule looks at the end only: a claim can be lost and found again.": [
            name for name, row in held.items() if any(row) and not row[-1]
        ],
        "your rule looks at the first and the last moment only: much happens between them.": [
            name for name, row in held.items() if row[0] and not row[-1]
        ],
        "your rule misses claims that become undecided before they fail: anything but `holds` does not hold.": [
            name for name, row in PLANTED.iterrows() if (HOLDS, NO) in pairwise(row)
        ],
        "these are the claims that hold at the end; the question is which were lost.": [
            name for name, row in held.items() if row[-1]
        ],
        "these changed; some of them for the better.": [name for name, row in held.items() if len(set(row)) > 1],
    }
    reply = choose(listed, _lost(PLANTED), mistakes, hint="This is on planted verdicts, `exercises.PLANTED`.")
    if not reply:
        return reply
    listed, failed = attempt(rule, verdicts.copy())
    if failed is not None:
        return failed
    lost = _lost(verdicts)
    praise = f"In this run {len(lost)} of {len(verdicts)} claims were lost{': ' if lost else '.'}{'; '.join(lost)}"
    return choose(listed, lost, {}, praise, "Planted verdicts it gets right, this run's not.")


def _lost(table: pd.DataFrame) -> list[str]:
    found = []
    for name, row in table.iterrows():
        values = [value == HOLDS for value in row]
        if any(before and not after for before, after in pairwise(values)):
            found.append(name)
    return found
