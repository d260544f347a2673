"""The paper's claims, each as one statistic with a rule, judged on given measures.

``reference/claims.yaml`` lists them. A statistic is computed in every joint bootstrap resample of the
sequences. A claim *holds* if its rule is obeyed in at least 97.5 % of the resamples, *does not hold* if in
at most 2.5 %, and is *undecided* between, or where the model cannot speak to it.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from helpers import files, lesion, paths
from helpers.judging.evidence import BESIDE, STATISTICS, lead_over_commonest
from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, pool

HOLDS, DOES_NOT_HOLD, UNDECIDED = "holds", "does not hold", "undecided"
VERDICTS = (HOLDS, DOES_NOT_HOLD, UNDECIDED)
CERTAIN = 0.975
FEWEST_NEURONS, FEWEST_MODELS = 20, 3
COUNTED = {"prediction neurons": ["n_prediction"], "neurons": ["n_prediction", "n_suppression"]}
RULES = {"at least": operator.ge, "above": operator.gt, "below": operator.lt, "at most": operator.le}


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, as ``reference/claims.yaml`` words it."""

    name: str
    claim: str
    experiment: str
    stage: str
    source: str  # where the paper says so (version, section, figure), or that it is ours
    statistic: str
    rule: str
    arguments: Mapping[str, Any] | None = None
    paper: str = ""
    needs: str = ""
    open: bool = False  # the paper reports it for some models and not for others
    beyond: float | None = None  # the highest value in the paper: more is said, and is no failure
    beside: str = ""  # another statistic to read this one with

    def is_true(self, values: np.ndarray) -> np.ndarray:
        """Where the rule is obeyed."""
        word, _, bound = self.rule.rpartition(" ")
        return RULES[word](values, float(bound))


def read() -> list[Claim]:
    """The claims in the order of ``reference/claims.yaml``."""
    content = yaml.safe_load(files.reading(paths.REFERENCE / "claims.yaml").read_text(encoding="utf8"))
    return [Claim(name, **fields) for name, fields in content.items()]


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


def judge(claim: Claim, values: Resampled, reason: str = "") -> dict[str, Any]:
    """A claim and what ``decide`` says of it, with a ``remark`` to read the verdict with."""
    columns = {"claim": claim.name, "wording": claim.claim, "stage": claim.stage, "source": claim.source}
    columns |= {"rule": claim.rule, "paper": claim.paper}
    return columns | decide(values, claim.is_true, reason) | {"remark": ""}


def decide(values: Resampled, is_true: Callable[[np.ndarray], np.ndarray], reason: str = "") -> dict[str, Any]:
    """Is it true of a statistic? The ``statistic`` with its 95 % interval, ``share_true`` of the resamples, the
    ``verdict``, and the ``reason`` where that is undecided. A ``reason`` given forbids any other verdict."""
    if not reason and not values.is_finite:
        reason = "the statistic is not defined for this model"
    share = float("nan") if reason else values.share(is_true)
    low, high = UNKNOWN.interval() if reason else values.interval()
    verdict = verdict_of(share)
    if verdict == UNDECIDED and not reason:
        reason = f"true in {share:.0%} of the resamples"
    statistic = {"statistic": float(values.estimate), "statistic_low": float(low), "statistic_high": float(high)}
    return statistic | {"share_true": share, "verdict": verdict, "reason": reason}


def verdict_of(share: float) -> str:
    """What is true in this share of the resamples is this; undecided where the share is not known."""
    return HOLDS if share >= CERTAIN else DOES_NOT_HOLD if share <= 1 - CERTAIN else UNDECIDED


def _judge_on(claim: Claim, measured: Mapping[str, Sequence[Measures]], counts: pd.DataFrame | None) -> dict[str, Any]:
    each = measured[claim.experiment]
    if not each:
        return judge(claim, UNKNOWN, f"{claim.experiment} has not been run")
    given = dict(claim.arguments or {}) | ({"published": counts} if claim.needs == "published" else {})
    values = pool([STATISTICS[claim.statistic](measures, **given) for measures in each])
    beside = pool([BESIDE[claim.beside](measures, **given) for measures in each]) if claim.beside else None
    judged = judge(claim, values, _cannot_speak(claim, measured))
    return judged | {"remark": _remark(claim, judged, beside)}


def _remark(claim: Claim, judged: Mapping[str, Any], beside: Resampled | None) -> str:
    """What the verdict alone would hide."""
    if judged["verdict"] == UNDECIDED:
        return ""
    parts = ["reported for some models and not for others"] if claim.open else []
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
        counted = {column: measured[claim.experiment][0].rows[column].sum() for column in columns}
        few = [f"{number:g} {column[2:]}" for column, number in counted.items() if number < FEWEST_NEURONS]
        if few:
            return f"only {' and '.join(few)} neurons were counted, fewer than {FEWEST_NEURONS}"
    return ""


def _predicts(lesions: Sequence[Measures]) -> bool:
    """Whether the intact model is right more often than always guessing the commonest token."""
    return pool([lead_over_commonest(measures) for measures in lesions]).share(lambda lead: lead > 0) >= CERTAIN
