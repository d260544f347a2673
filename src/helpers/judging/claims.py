"""Claims judged on given measures: each is one statistic with a rule.

``reference/claims.yaml`` lists them. A statistic is computed in every joint bootstrap resample of the documents, or of
the neurons. A claim *holds* if its rule is obeyed in at least 97.5 % of the resamples, *does not hold* if in at most
2.5 %, and else is *undecided*, which is of three kinds: the model cannot speak to it, the draws of untrained twins
disagree with one another, or the interval straddles the rule's bound. A rule asks for an effect of some size, never
for its sign alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers import lesion
from helpers.judging.evidence import BESIDE, STATISTICS
from helpers.judging.evidence_of_lesions import lead_over_commonest
from helpers.judging.measures import Measures
from helpers.judging.wordings import Claim
from helpers.stats import UNKNOWN, Resampled, pool

HOLDS, DOES_NOT_HOLD, UNDECIDED = "holds", "does not hold", "undecided"
VERDICTS = (HOLDS, DOES_NOT_HOLD, UNDECIDED)
CANNOT_SPEAK, TWINS_DISAGREE, STRADDLES = "cannot speak", "twins disagree", "straddles the bound"
KINDS = (CANNOT_SPEAK, TWINS_DISAGREE, STRADDLES)  # of undecided
CERTAIN = 0.975
FEWEST_NEURONS, FEWEST_MODELS = 20, 3
PREDICTION, SUPPRESSION = "n_prediction", "n_suppression"
COUNTED = {
    "prediction neurons": [PREDICTION],
    "suppression neurons": [SUPPRESSION],
    "neurons": [PREDICTION, SUPPRESSION],
}


def evaluate(
    chosen: Sequence[Claim], measured: Mapping[str, Sequence[Measures]], counts: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Claims about one model, one row each, on its measures by experiment (none of one that has not been run).

    An experiment on untrained twins has one set of measures per seed. ``counts`` are the neurons in the authors' plot
    of the model; without them the claims about it are left out. Columns as in ``judge``.
    """
    speaking = (claim for claim in chosen if claim.needs != "published" or counts is not None)
    return pd.DataFrame(_judge_on(claim, measured, counts) for claim in speaking)


def evaluate_across(chosen: Sequence[Claim], lesions: Sequence[Sequence[Measures]]) -> pd.DataFrame:
    """Claims that compare models, on the lesions of each of them.

    Text is resampled, models are not: a verdict is about the models that were run, and says nothing of others.
    """
    predicting = [of_model[0] for of_model in lesions if of_model and _predicts(of_model)]
    few = f"needs {FEWEST_MODELS} models that predict something, {len(predicting)} have been run"
    reason = few if len(predicting) < FEWEST_MODELS else ""
    rows = [judge(claim, UNKNOWN if reason else STATISTICS[claim.statistic](predicting), reason) for claim in chosen]
    return pd.DataFrame(rows)


def judge(claim: Claim, values: Resampled, reason: str = "", each: Sequence[Resampled] = ()) -> dict[str, Any]:
    """A claim and what ``decide`` says of it, with a ``remark`` to read the verdict with."""
    columns = {"claim": claim.name, "wording": claim.claim, "stage": claim.stage, "source": claim.source}
    columns |= {"rule": claim.rule, "paper": claim.paper}
    return columns | decide(values, claim.is_true, reason, each) | {"remark": ""}


def decide(
    values: Resampled,
    is_true: Callable[[np.ndarray], np.ndarray],
    reason: str = "",
    each: Sequence[Resampled] = (),
) -> dict[str, Any]:
    """Is it true of a statistic? The ``statistic`` with its 95 % interval, ``share_true`` of the resamples, the
    ``verdict``, and, where that is undecided, its ``kind`` and the ``reason``. A ``reason`` given forbids any other
    verdict. ``each`` are the draws of an untrained twin of which ``values`` is the pool."""
    if not reason and not values.is_finite:
        reason = "the statistic is not defined for this model"
    share = float("nan") if reason else values.share(is_true)
    low, high = UNKNOWN.interval() if reason else values.interval()
    verdict, kind = verdict_of(share), ""
    if verdict == UNDECIDED:
        kind = CANNOT_SPEAK if reason else STRADDLES
        alone = [] if reason else [verdict_of(draw.share(is_true)) for draw in each]
        if {HOLDS, DOES_NOT_HOLD} <= set(alone):
            kind, reason = TWINS_DISAGREE, f"holds for {alone.count(HOLDS)} of {len(alone)} draws of untrained weights"
    statistic = {"statistic": float(values.estimate), "statistic_low": float(low), "statistic_high": float(high)}
    reason = reason or (f"true in {share:.0%} of the resamples" if kind else "")
    return statistic | {"share_true": share, "verdict": verdict, "kind": kind, "reason": reason}


def verdict_of(share: float) -> str:
    """What is true in this share of the resamples is this; undecided where the share is not known."""
    return HOLDS if share >= CERTAIN else DOES_NOT_HOLD if share <= 1 - CERTAIN else UNDECIDED


def _judge_on(claim: Claim, measured: Mapping[str, Sequence[Measures]], counts: pd.DataFrame | None) -> dict[str, Any]:
    needed = [claim.experiment] + ([claim.also] if claim.also else [])
    for experiment in needed:
        if not measured[experiment]:
            return judge(claim, UNKNOWN, f"{experiment} has not been run")
    given = dict(claim.arguments or {}) | ({"published": counts} if claim.needs == "published" else {})
    draws = list(zip(*(measured[experiment] for experiment in needed), strict=True))
    each = [STATISTICS[claim.statistic](*measures, **given) for measures in draws]
    beside = pool([BESIDE[claim.beside](*measures, **given) for measures in draws]) if claim.beside else None
    judged = judge(claim, pool(each), _cannot_speak(claim, measured), each)
    return judged | {"remark": _remark(claim, judged, beside)}


def _remark(claim: Claim, judged: Mapping[str, Any], beside: Resampled | None) -> str:
    """What the verdict alone would hide."""
    if judged["verdict"] == UNDECIDED:
        return ""
    parts = ["reported for some models and not for others"] if claim.open else []
    if claim.is_too_small(judged["statistic"]):
        parts.append("the right way, but too little to count")
    if claim.beyond is not None and judged["statistic"] > claim.beyond:
        parts.append("above the paper's range")
    if beside is not None:
        parts.append(f"{claim.beside.replace('_', ' ')} {beside.estimate:.2f}")
    return "; ".join(parts)


def _cannot_speak(claim: Claim, measured: Mapping[str, Sequence[Measures]]) -> str:
    """Why the model has nothing to say on this claim, or nothing if it has."""
    if claim.needs == "predictions":
        if not measured[lesion.SLUG]:
            return f"whether the model predicts anything is not known: {lesion.SLUG} has not been run"
        if not _predicts(measured[lesion.SLUG]):
            return "the model predicts no better than always guessing the commonest token"
    if columns := COUNTED.get(claim.needs):
        counted = {column: min(each.rows[column].sum() for each in measured[claim.experiment]) for column in columns}
        few = [f"{number:g} {column[2:]}" for column, number in counted.items() if number < FEWEST_NEURONS]
        if few:
            return f"only {' and '.join(few)} neurons were counted, fewer than {FEWEST_NEURONS}"
    return ""


def _predicts(lesions: Sequence[Measures]) -> bool:
    """Whether the intact model is right more often than always guessing the commonest token."""
    return pool([lead_over_commonest(measures) for measures in lesions]).share(lambda lead: lead > 0) >= CERTAIN
