"""What the paper says of its "-ing" ensembles (5.3, figures 12a and 21), each statement judged on its own.

A statement is a lead in accuracy and the smallest one that counts: 0.02 for "beats", -0.05 for "about as good". The
bounds are ours. All single neurons and ensembles were chosen in the training folds. Of single neurons that are beaten
the better kind counts. That prediction neurons beat random ones, matched to them, is not in the paper: it is what the
others need to mean something.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.beyond import ensembles
from helpers.beyond.ing_ensembles import KINDS, MODEL, PREDICTION, SUPPRESSION, Accuracies, Asked, Measured
from helpers.judging import claims
from helpers.stats import UNKNOWN, Resampled, combine

WORTH, CLOSE = 0.02, 0.05


class Statement(NamedTuple):
    """The accuracy of ``first`` is above that of each of the ``others`` by ``bound`` or more."""

    wording: str
    source: str
    first: Asked
    others: Sequence[Asked]
    bound: float


def listed(most: int) -> list[Statement]:
    """All statements, about ensembles of ``most`` neurons."""
    paper = "5.3, figures 12a, 21"
    prediction, suppression = ((kind, "best", 1) for kind in (PREDICTION, SUPPRESSION))
    many, random, own = (PREDICTION, "best", most), (PREDICTION, "random", most), (MODEL, "probability", 0)
    single = "the best suppression neuron"
    return [
        Statement(f"{single} beats the best prediction neuron", paper, suppression, [prediction], WORTH),
        Statement(f"{single} is about as good as the model", paper, suppression, [own], -CLOSE),
        Statement(f"{most} prediction neurons beat the best single one", paper, many, [prediction, suppression], WORTH),
        Statement(f"{most} prediction neurons beat the model", paper, many, [own], WORTH),
        Statement(f"{most} prediction neurons beat random ones", "ours", many, [random], WORTH),
    ]


def judge(measured: Measured) -> pd.DataFrame:
    """One row per statement: its wording, source and bound, and what ``claims.decide`` says of the lead.

    Undecided where there are too few examples, and where fewer than 20 neurons of a kind that it speaks of are above
    the paper's kurtosis.
    """
    sizes = [size for kind, how, size in measured.accuracies if (kind, how) == (PREDICTION, "best")]
    rows = []
    for statement in listed(max(sizes, default=ensembles.MOST)):
        is_asked = all(asked in measured.accuracies for asked in (statement.first, *statement.others))
        lead = lead_over(statement, measured.accuracies) if is_asked else UNKNOWN
        reason = _cannot_speak(statement, measured) if is_asked else "too few examples in this text, or too few neurons"
        decided = claims.decide(lead, partial(np.less_equal, statement.bound), reason)
        keys = {"statement": statement.wording, "source": statement.source, "bound": statement.bound}
        rows.append(keys | decided)
    return pd.DataFrame(rows)


def lead_over(statement: Statement, accuracies: Accuracies) -> Resampled:
    """The accuracy of the first minus that of the best of the others, means over draws."""
    asked = (statement.first, *statement.others)
    first, *others = (accuracies[each].map(lambda columns: columns.mean(1)) for each in asked)
    return first - combine(lambda *values: np.max(values, axis=0), *others)


def _cannot_speak(statement: Statement, measured: Measured) -> str:
    """Why there can be no verdict, or nothing."""
    for kind in sorted({kind for kind, *_ in (statement.first, *statement.others)} & set(KINDS)):
        if (number := measured.n_above_threshold(kind)) < claims.FEWEST_NEURONS:
            return f"only {number} of the {kind} neurons are above the paper's kurtosis"
    return ""
