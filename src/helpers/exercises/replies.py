"""What a check says to the reader: right, not yet and why, or nothing answered yet.

An answer is compared with the right one and with the results of known mistakes; the nearest of them decides what is
said. A wrong answer is no exception: a notebook with open exercises runs to its end.
"""

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from helpers.exercises.answers import is_open, matched, numbers, plain

TOLERANCE = 2e-3  # relative; rounding of one's own code is far below, known mistakes are mostly far above
OPEN = "No answer yet: put yours in place of the three dots and run the cell again."


@dataclass(frozen=True)
class Reply:
    """What is said of an answer; shows as its message, and is true only if the answer is right."""

    right: bool
    message: str

    def __repr__(self) -> str:
        return self.message

    def __bool__(self) -> bool:
        return self.right


def right(praise: str) -> Reply:
    """The answer is right."""
    return Reply(True, f"Right. {praise}".strip())


def not_yet(why: str) -> Reply:
    """The answer is not right, and why."""
    return Reply(False, f"Not yet: {why}")


def judge(
    answer: Any,
    expected: Any,
    mistakes: Mapping[str, Any],
    praise: str = "",
    hint: str = "",
    tolerance: float = TOLERANCE,
) -> Reply:
    """Numbers of any shape against ``expected``; ``mistakes`` are messages with what each mistake leads to.

    A mistake may be a function without arguments, called only if the answer is not right at once. Where both have
    labels (series, tables, dictionaries), they are matched by label, else by place.
    """
    if is_open(answer):
        return Reply(False, OPEN)
    given, wanted = numbers(matched(answer, expected)), numbers(expected)
    assert wanted is not None
    if given is None:
        return not_yet(f"this is no number and no list of numbers ({type(answer).__name__}). {hint}")
    if np.isnan(given).any() and not np.isnan(wanted).any():
        return not_yet(f"there is a value that is not a number (nan) in it. {hint}")
    off = _distance(given, wanted, wanted, tolerance)
    if off < 0.02:
        return right(praise)
    known = {message: numbers(value() if callable(value) else value) for message, value in mistakes.items()}
    distances = {message: _distance(given, value, wanted, tolerance) for message, value in known.items()}
    nearest = min(distances, key=distances.__getitem__, default="")
    if distances and distances[nearest] <= 1 and distances[nearest] < off:
        return not_yet(nearest)
    if off <= 1:
        return right(praise)
    return not_yet(f"{_difference(given, wanted, off)} {hint}".strip())


def choose(
    answer: Any, expected: Collection[Hashable], mistakes: Mapping[str, Any], praise: str = "", hint: str = ""
) -> Reply:
    """A list in any order, without repetitions, against ``expected``; ``mistakes`` as in ``judge``."""
    if is_open(answer):
        return Reply(False, OPEN)
    try:
        given = [plain(one) for one in answer]
        chosen, wanted = set(given), {plain(one) for one in expected}
    except TypeError:
        return not_yet(f"this is not a list ({type(answer).__name__}). {hint}")
    if len(given) > len(chosen):
        return not_yet(f"something is on your list twice. {hint}")
    if chosen == wanted:
        return right(praise)
    for message, value in mistakes.items():
        if chosen == {plain(one) for one in (value() if callable(value) else value)}:
            return not_yet(message)
    return not_yet(
        f"{len(chosen - wanted)} on your list do not belong there, {len(wanted - chosen)} are missing. {hint}"
    )


def attempt(rule: Any, *arguments: Any) -> tuple[Any, Reply | None]:
    """What a function that the reader wrote returns; or what to say where it is none, or fails."""
    if not isinstance(rule, Callable):  # type: ignore[arg-type]
        return None, not_yet("give the rule itself, not what it returns: `lambda table: ...`.")
    try:
        return rule(*arguments), None
    except Exception as error:
        return None, not_yet(f"your function stops with {type(error).__name__}: {str(error).splitlines()[:1]}.")


def pairs_of(answer: Any, first: str, second: str) -> tuple[Any, Reply | None]:
    """The pairs in two columns of a table, and what is no table as it is; or what to say where a column is missing."""
    if not isinstance(answer, pd.DataFrame):
        return answer, None
    if not {first, second} <= set(answer):
        return None, not_yet(f"the table has no columns `{first}` and `{second}`.")
    return list(answer[[first, second]].itertuples(index=False, name=None)), None


def _distance(given: np.ndarray, wanted: np.ndarray | None, expected: np.ndarray, tolerance: float) -> float:
    """The largest difference, in units of what may be off; infinite between different shapes."""
    if wanted is None or given.shape != wanted.shape or (np.isnan(given) != np.isnan(wanted)).any():
        return float("inf")
    like = np.abs(expected if expected.shape == given.shape else wanted)
    with np.errstate(invalid="ignore"):  # infinite in both
        off = np.abs(given - wanted) / (tolerance * (like + 0.05 * np.nanmax(like, initial=0)) + 1e-9)
    return float(np.nanmax(off, initial=0))


def _difference(given: np.ndarray, wanted: np.ndarray, off: float) -> str:
    """In words, without the right number."""
    if given.shape != wanted.shape:
        shapes = [f"of shape {list(one.shape)}" if one.ndim else "one number" for one in (wanted, given)]
        return f"the answer is {shapes[0]}, yours is {shapes[1]}."
    if off <= 25:
        return "close, but not equal. Is it rounded, or is a position too many or too few in a mean?"
    place = np.unravel_index(np.nanargmax(np.abs(given - wanted)), given.shape)
    where = f"entry {', '.join(map(str, place))}" if given.ndim else "it"
    return f"{where} is too {'large' if given[place] > wanted[place] else 'small'}."
