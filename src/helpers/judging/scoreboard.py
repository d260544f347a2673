"""The claims judged for models that have been run: as tables, in words for people to read, and as files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers import lesion, paths, tables
from helpers.judging import claims, published, runs, twins, wordings

SLUG = "claims"
NOT_RUN = "not run"
DENIED, SHARED = "twins deny it", "none: twins hold it too"  # by untrained twins
WORDS = ("kind", "reason", "remark", "paper")  # columns that may be empty


def evaluate(model: str, experiment: str | None = None, seed: int = 0) -> pd.DataFrame:
    """Every claim about one model, or those of one experiment, as ``claims.evaluate`` judges them."""
    chosen = [claim for claim in wordings.read() if claim.needs != "models" and experiment in (None, claim.experiment)]
    needs = {claim.needs for claim in chosen}
    needed = {slug for claim in chosen for slug in (claim.experiment, claim.also) if slug}
    needed |= {lesion.SLUG} if "predictions" in needs else set()
    counts = published.neuron_counts(model) if "published" in needs else None
    measured = runs.measures(model, [slug for slug in runs.SLUGS if slug in needed], seed)
    return claims.evaluate(chosen, measured, counts).assign(model=paths.model_folder(model))


def evaluate_across(models: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """The claims that compare models, as ``claims.evaluate_across`` judges them."""
    chosen = [claim for claim in wordings.read() if claim.needs == "models"]
    lesions = [runs.measures(model, [lesion.SLUG], seed)[lesion.SLUG] for model in models]
    return claims.evaluate_across(chosen, lesions).assign(model=runs.ACROSS)


def save(model: str, seed: int = 0) -> None:
    """Judge every claim about a model, and about its twin where that was run: ``claims.csv`` in their results."""
    for name in (model, twins.name(model)):
        if runs.has_been_run(name):
            tables.write(paths.results(name) / f"{SLUG}.csv", evaluate(name, seed=seed))


def save_across(seed: int = 0) -> None:
    """The same for the claims across models, in the results of all that have been run together."""
    judged = evaluate_across(runs.models_with_tables(), seed)
    tables.write(paths.results(runs.ACROSS) / f"{SLUG}.csv", judged)


def load(model: str) -> pd.DataFrame | None:
    """The verdicts as they were saved, their twin's beside them; none where nothing has been judged."""
    saved, of_twin = (tables.load(SLUG, name) for name in (model, twins.name(model)))
    return None if saved is None else beside_twin(_with_words(saved), None if of_twin is None else _with_words(of_twin))


def beside_twin(judged: pd.DataFrame, of_twin: pd.DataFrame | None) -> pd.DataFrame:
    """The same with columns ``outcome``, ``untrained`` (the twin's) and ``evidence`` (what it is worth if it holds).

    ``of_twin`` is none where no twin was run.
    """
    twin = outcome(of_twin.set_index("claim")).reindex(judged["claim"]).to_list() if of_twin is not None else None
    untrained = twin or [NOT_RUN] * len(judged)
    evidence = [worth(*pair) for pair in zip(judged["verdict"], untrained, strict=True)]
    return judged.assign(outcome=outcome(judged), untrained=untrained, evidence=evidence)


def table(model: str, experiment: str | None = None, seed: int = 0) -> pd.DataFrame:
    """The verdicts in words, the model's beside its untrained twin's, for people to read."""
    twin_was_run = runs.has_been_run(twins.name(model), runs.SLUGS if experiment is None else [experiment])
    of_twin = evaluate(twins.name(model), experiment, seed) if twin_was_run else None
    judged = beside_twin(evaluate(model, experiment, seed), of_twin)
    verdict = [
        f"{word} ({remark})" if remark else word
        for word, remark in zip(judged["outcome"], judged["remark"], strict=True)
    ]
    shown = pd.DataFrame(
        {
            "claim": judged["wording"],
            "statistic": [_with_interval(row) for row in judged.itertuples()],
            "holds if": judged["rule"],
            "paper": judged["paper"],
            "source": judged["source"],
            "verdict": verdict,
            "untrained": judged["untrained"],
            "evidence": judged["evidence"],
        }
    )
    return shown.set_index("claim")


def outcome(judged: pd.DataFrame) -> pd.Series:
    """The verdict in a word or two: what is undecided by its kind."""
    return judged["verdict"].where(judged["verdict"] != claims.UNDECIDED, judged["kind"])


def worth(verdict: str, twin: str) -> str:
    """What a claim that holds is worth: an untrained twin that denies it makes it evidence of something learned."""
    if verdict != claims.HOLDS or twin == NOT_RUN:
        return ""
    return {claims.HOLDS: SHARED, claims.DOES_NOT_HOLD: DENIED}.get(twin, "twins undecided")


def verdicts(models: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """The outcomes side by side: a row per claim, a column per model that has been run."""
    judged = [evaluate(model, seed=seed) for model in models if runs.has_been_run(model)]
    columns = {rows["model"].iloc[0]: outcome(rows.set_index("wording")) for rows in judged}
    return pd.DataFrame(columns).dropna()  # a claim about a published curve is not for every model


def summary(judged: pd.DataFrame) -> str:
    """How many claims hold, and how many of these the twins deny or share: one line."""
    number = judged["verdict"].value_counts().reindex(claims.VERDICTS, fill_value=0)
    worth_of = judged["evidence"].value_counts().reindex([DENIED, SHARED], fill_value=0)
    twins_say = f" (untrained twins deny {worth_of[DENIED]} of these and share {worth_of[SHARED]})"
    was_run = (judged["untrained"] != NOT_RUN).any() and number[claims.HOLDS]
    return (
        f"of {len(judged)} claims {number[claims.HOLDS]} hold{twins_say if was_run else ''}, "
        f"{number[claims.DOES_NOT_HOLD]} do not hold, {number[claims.UNDECIDED]} are undecided"
    )


def _with_words(saved: pd.DataFrame) -> pd.DataFrame:
    """The table as it was before it was written: an empty word is not a missing number."""
    return saved.assign(**{column: saved[column].astype("str").where(saved[column].notna(), "") for column in WORDS})


def _with_interval(row: Any) -> str:
    if not np.isfinite(row.statistic):
        return ""
    low, high = row.statistic_low, row.statistic_high
    return f"{row.statistic:.3g}" + (f" [{low:.3g}, {high:.3g}]" if low < high else "")
