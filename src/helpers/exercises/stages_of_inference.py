"""Exercises of notebook 06: the best step of a curve, and a statistic that random weights do not satisfy."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from helpers.exercises.answers import is_open, numbers
from helpers.exercises.replies import OPEN, Reply, attempt, judge, not_yet, right

NARROW = 0.1  # of the gap: a bound nearer to one of the numbers is crossed by chance


def check_step(where: Any, share: Any, table: pd.DataFrame, rises: bool) -> Reply:
    """The best step, up or down, of the lens's entropy without the embedding, and the ``share`` that it explains.

    ``where`` counts the rows without the embedding from 0 and is the first of the later level. Every split is tried.
    """
    if is_open(where, share):
        return Reply(False, OPEN)
    whole = [float(value) for value in table.sort_values("layer")["entropy_bits"]]

    def best(curve: list[float], up: bool) -> tuple[int, float]:
        total, found = _squares(curve), (0, 0.0)
        for split in range(1, len(curve)):
            low, high = curve[:split], curve[split:]
            explained = 1 - (_squares(low) + _squares(high)) / total
            if (sum(high) / len(high) > sum(low) / len(low)) == up and explained > found[1]:
                found = split, explained
        return found

    place, explained = wanted = best(whole[1:], rises)
    with_embedding = best(whole, rises)
    mistakes = {
        f"this is the best step {'down' if rises else 'up'}; the second argument says `rises`.": best(
            whole[1:], not rises
        ),
        "the embedding is still among the rows; leave row 0 out.": with_embedding,
        "`where` is the first row of the later level, not the last of the earlier one.": (place - 1, explained),
        "rows are counted without the embedding here: row 1 of the lens is number 0.": (place + 1, explained),
        "this is the share that the step leaves over; 1 minus it is explained.": (place, 1 - explained),
        "a share lies between 0 and 1; yours is in per cent.": (place, 100 * explained),
    }
    praise = f"It explains {explained:.0%}, of a straight line the best step would explain about three quarters."
    return judge((where, share), wanted, mistakes, praise, "Give the row and the share that the step explains.")


def check_claim(
    statistic: Callable[[Mapping[str, pd.DataFrame]], float] | Any,
    bound: Any,
    own: Mapping[str, pd.DataFrame],
    twin_tables: Mapping[str, pd.DataFrame] | None,
) -> Reply:
    """Whether a statistic, a function of a model's tables, and a bound tell the model from its untrained twins."""
    if is_open(statistic, bound):
        return Reply(False, OPEN)
    if twin_tables is None:
        return not_yet('the tables of the twins are missing: set `control = "untrained"`.')
    values = []
    for tables in (own, twin_tables):
        value, failed = attempt(statistic, tables)
        if failed is not None:
            return failed
        single = numbers(value)
        if single is None or single.size != 1 or single != single:
            return not_yet("the statistic must be one number for each set of tables; yours is a table, a list, or nan.")
        values.append(float(single))
    (model, twin), edge = values, numbers(bound)
    if edge is None or edge.shape != ():
        return not_yet("the bound is one number.")
    if model == twin:
        return not_yet(f"your number is {model:.4g} for both: does it read the tables that it is given?")
    said = f"{model:.4g} for the model, {twin:.4g} for the twins, bound {float(edge):.4g}"
    if (model - edge) * (twin - edge) >= 0:
        side = "beyond" if min(model, twin) > edge else "below" if max(model, twin) < edge else "at"
        return not_yet(f"both are {side} the bound ({said}): random weights satisfy it as well, or neither does.")
    if min(abs(model - edge), abs(twin - edge)) < NARROW * abs(model - twin):
        return not_yet(f"the bound touches one of the two ({said}): another text would cross it. Leave more room.")
    return right(f"{said[0].upper()}{said[1:]}. Would you have chosen this bound before you saw the numbers?")


def _squares(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values)
