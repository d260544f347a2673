"""The paper's claims, each as one statistic with a rule, judged for any model from its tables.

``reference/claims.yaml`` lists them. A statistic is computed in every joint bootstrap resample of the
sequences. A claim *holds* if its rule is obeyed in at least 97.5 % of the resamples, *does not hold* if in
at most 2.5 %, and is *undecided* between, or where the model cannot speak to it.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import yaml

from helpers import files, lesion, neurons, paths, tables
from helpers.judging import published, twins
from helpers.judging.evidence import BESIDE, STATISTICS, Measures, Resampled, lead_over_commonest

SLUG = "claims"
ACROSS = "_all"
HOLDS, DOES_NOT_HOLD, UNDECIDED = "holds", "does not hold", "undecided"
VERDICTS = (HOLDS, DOES_NOT_HOLD, UNDECIDED)
CERTAIN = 0.975
FEWEST_NEURONS, FEWEST_MODELS = 20, 3
RULES = {"at least": operator.ge, "above": operator.gt, "below": operator.lt, "at most": operator.le}


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, as ``reference/claims.yaml`` words it."""

    name: str
    claim: str
    experiment: str
    stage: str
    statistic: str
    rule: str
    arguments: Mapping[str, str] | None = None
    paper: str = ""
    needs: str = ""
    open: bool = False
    beyond: float | None = None  # the highest value in the paper: more is said, and is no failure
    beside: str = ""  # another statistic to read this one with

    def is_true(self, values: Resampled) -> np.ndarray:
        """In which resamples the rule is obeyed."""
        word, _, bound = self.rule.rpartition(" ")
        return RULES[word](values, float(bound))


def read() -> list[Claim]:
    """The claims in the order of ``reference/claims.yaml``."""
    content = yaml.safe_load(files.reading(paths.REFERENCE / "claims.yaml").read_text(encoding="utf8"))
    return [Claim(name, **fields) for name, fields in content.items()]


def evaluate(model: str, experiment: str | None = None, seed: int = 0) -> pd.DataFrame:
    """Every claim about one model, or those of one experiment, from the tables in its results folder.

    One row per claim: ``statistic`` with its 95 % interval, ``share_true`` of the resamples, ``verdict``,
    the ``reason`` where that is undecided, and a ``remark`` to read it with.
    """
    chosen = [claim for claim in read() if claim.needs != "models" and experiment in (None, claim.experiment)]
    slugs = {claim.experiment for claim in chosen} | {lesion.SLUG}
    made = {slug: measures(model, slug, seed) for slug in slugs}
    rows = [_judge_one(claim, made, published.neuron_counts(model)) for claim in chosen]
    return pd.DataFrame(row for row in rows if row).assign(model=paths.model_folder(model))


def evaluate_across(models: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """The claims that compare models, from the tables of all of them.

    Text is resampled, models are not: a verdict is about the models that were run, and says nothing of others.
    """
    made = [found[0] for model in models if (found := measures(model, lesion.SLUG, seed)) and _predicts(found)]
    few = f"needs {FEWEST_MODELS} models that predict something, {len(made)} have been run"
    reason = few if len(made) < FEWEST_MODELS else ""
    unknown = np.full(1, np.nan)
    rows = [
        judge(claim, unknown if reason else STATISTICS[claim.statistic](made), reason)
        for claim in read()
        if claim.needs == "models"
    ]
    return pd.DataFrame(rows).assign(model=ACROSS)


def scoreboard(model: str, experiment: str | None = None, seed: int = 0) -> pd.DataFrame:
    """The verdicts in words, the model's beside its untrained twin's, for people to read."""
    table = evaluate(model, experiment, seed)
    twin = evaluate(twins.name(model), experiment, seed).set_index("claim")["verdict"]
    shown = pd.DataFrame(
        {
            "claim": table["wording"],
            "statistic": [_with_interval(row) for row in table.itertuples()],
            "holds if": table["rule"],
            "paper": table["paper"],
            "verdict": [f"{row.verdict} ({row.remark})" if row.remark else row.verdict for row in table.itertuples()],
            "untrained": table["claim"].map(twin) if _has_been_run(twins.name(model)) else "not run",
        }
    )
    return shown.set_index("claim")


def verdicts(models: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """The verdicts side by side: a row per claim, a column per model that has been run."""
    judged = [evaluate(model, seed=seed) for model in models if _has_been_run(model)]
    columns = {table["model"].iloc[0]: table.set_index("wording")["verdict"] for table in judged}
    return pd.DataFrame(columns).dropna()  # a claim about a published curve is not for every model


def lines(model: str, seed: int = 0) -> list[str]:
    """The scoreboard as lines of a terminal, the firm verdicts first."""
    shown = scoreboard(model, seed=seed).reset_index()
    order = shown["verdict"].str.startswith((HOLDS, DOES_NOT_HOLD))
    rows = shown[order].sort_values("verdict", key=lambda verdict: ~verdict.str.startswith(HOLDS), kind="stable")
    return [
        f"  {row.verdict}: {row.claim} (statistic {row.statistic}; untrained: {row.untrained})"
        for row in pd.concat([rows, shown[~order]]).itertuples()
    ]


def judge(claim: Claim, values: Resampled, reason: str = "") -> dict[str, Any]:
    """A claim's verdict, given its statistic on the text as it is (first) and in every resample."""
    share, (low, high) = float("nan"), (float("nan"), float("nan"))
    if not reason and not np.isfinite(values).all():
        reason = "the statistic is not defined for this model"
    if not reason:
        resampled = values[1:] if len(values) > 1 else values
        share, (low, high) = float(claim.is_true(resampled).mean()), np.percentile(resampled, [2.5, 97.5])
    verdict = HOLDS if share >= CERTAIN else DOES_NOT_HOLD if share <= 1 - CERTAIN else UNDECIDED
    if verdict == UNDECIDED and not reason:
        reason = f"true in {share:.0%} of the resamples"
    return {
        "claim": claim.name,
        "wording": claim.claim,
        "stage": claim.stage,
        "rule": claim.rule,
        "paper": claim.paper,
        "statistic": values[0],
        "statistic_low": low,
        "statistic_high": high,
        "share_true": share,
        "verdict": verdict,
        "reason": reason,
        "remark": "",
    }


def measures(model: str, slug: str, seed: int = 0) -> list[Measures]:
    """The experiment's measures, one set per seed of an untrained twin; empty where it has not been run."""
    if slug == neurons.SLUG:
        table = tables.load(slug, model)
        return [] if table is None else [Measures(table, seed)]
    rows = tables.load_details(slug, model)
    if rows is None:
        return []
    return [Measures(part, seed) for _, part in rows.groupby("seed")] if "seed" in rows else [Measures(rows, seed)]


def save(model: str, seed: int = 0) -> None:
    """Judge every claim about a model, and about its twin where that was run: ``claims.csv`` in their results."""
    for one in (model, twins.name(model)):
        if _has_been_run(one):
            tables.write(paths.results(one) / f"{SLUG}.csv", evaluate(one, seed=seed))


def save_across(models: Sequence[str], seed: int = 0) -> None:
    """The same for the claims across models, in the results of all of them together."""
    tables.write(paths.results(ACROSS) / f"{SLUG}.csv", evaluate_across(models, seed))


def _judge_one(claim: Claim, made: Mapping[str, list[Measures]], counts: pd.DataFrame | None) -> dict[str, Any] | None:
    """One claim's row; none where the claim is about a published curve that the model does not have."""
    if claim.needs == "published" and counts is None:
        return None
    found, statistic = made[claim.experiment], STATISTICS[claim.statistic]
    if not found:
        return judge(claim, np.full(1, np.nan), f"{claim.experiment} has not been run")
    given = dict(claim.arguments or {}) | ({"published": counts} if claim.needs == "published" else {})
    values = [statistic(one, **given) for one in found]
    judged = judge(claim, pool(values), _cannot_speak(claim, made))
    beside = pool([BESIDE[claim.beside](one, **given) for one in found]) if claim.beside else None
    return judged | {"remark": _remark(claim, judged, beside)}


def pool(values: Sequence[np.ndarray]) -> np.ndarray:
    """The resamples of several twins as those of one: the mean of their texts as they are, then all others."""
    return np.concatenate([np.mean([each[:1] for each in values], axis=0), *(each[1:] for each in values)])


def _remark(claim: Claim, judged: Mapping[str, Any], beside: Resampled | None) -> str:
    """What the verdict alone would hide."""
    if judged["verdict"] == UNDECIDED:
        return ""
    parts = []
    if claim.beyond is not None and judged["statistic"] > claim.beyond:
        parts.append("above the paper's range")
    if beside is not None:
        parts.append(f"{claim.beside.replace('_', ' ')} {beside[0]:.2f}")
    return "; ".join(parts)


def _cannot_speak(claim: Claim, made: Mapping[str, list[Measures]]) -> str:
    """Why the model has nothing to say on this claim, or nothing if it has."""
    if claim.needs == "predictions":
        if not made[lesion.SLUG]:
            return f"whether the model predicts anything is not known: {lesion.SLUG} has not been run"
        if not _predicts(made[lesion.SLUG]):
            return "the model predicts no better than always guessing the commonest token"
    if claim.needs == "neurons":
        columns = ["n_prediction"] if claim.arguments else ["n_prediction", "n_suppression"]
        counted = {column: made[claim.experiment][0].rows[column].sum() for column in columns}
        few = [f"{number:g} {column[2:]}" for column, number in counted.items() if number < FEWEST_NEURONS]
        if few:
            return f"only {' and '.join(few)} neurons were counted, fewer than {FEWEST_NEURONS}"
    return ""


def _predicts(lesions: list[Measures]) -> bool:
    """Whether the intact model is right more often than always guessing the commonest token."""
    return bool(np.mean(np.concatenate([lead_over_commonest(one) for one in lesions]) > 0) >= CERTAIN)


def _has_been_run(model: str) -> bool:
    return any(paths.results(model).glob("*.csv")) or any(paths.results(model).glob("*.parquet"))


def _with_interval(row: Any) -> str:
    if not np.isfinite(row.statistic):
        return ""
    low, high = row.statistic_low, row.statistic_high
    return f"{row.statistic:.3g}" + (f" [{low:.3g}, {high:.3g}]" if low < high else "")
