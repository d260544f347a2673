"""The claims judged for models that have been run: as tables, in words for people to read, and as files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers import lesion, paths, tables
from helpers.judging import claims, published, runs, twins, wordings

SLUG = "claims"
NOT_RUN = "not run"
FIRM = (claims.HOLDS, claims.DOES_NOT_HOLD, "")


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


def table(model: str, experiment: str | None = None, seed: int = 0) -> pd.DataFrame:
    """The verdicts in words, the model's beside its untrained twin's, for people to read."""
    judged = evaluate(model, experiment, seed)
    twin_was_run = runs.has_been_run(twins.name(model), runs.SLUGS if experiment is None else [experiment])
    of_twin = evaluate(twins.name(model), experiment, seed).set_index("claim") if twin_was_run else pd.DataFrame()
    twin = outcome(of_twin).reindex(judged["claim"]).to_list() if twin_was_run else [NOT_RUN] * len(judged)
    verdict = [
        f"{word} ({remark})" if remark else word for word, remark in zip(outcome(judged), judged["remark"], strict=True)
    ]
    shown = pd.DataFrame(
        {
            "claim": judged["wording"],
            "statistic": [_with_interval(row) for row in judged.itertuples()],
            "holds if": judged["rule"],
            "paper": judged["paper"],
            "source": judged["source"],
            "verdict": verdict,
            "untrained": twin,
            "evidence": [worth(*pair) for pair in zip(judged["verdict"], twin, strict=True)],
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
    return {claims.HOLDS: "none: twins hold it too", claims.DOES_NOT_HOLD: "twins deny it"}.get(twin, "twins undecided")


def verdicts(models: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """The outcomes side by side: a row per claim, a column per model that has been run."""
    judged = [evaluate(model, seed=seed) for model in models if runs.has_been_run(model)]
    columns = {rows["model"].iloc[0]: outcome(rows.set_index("wording")) for rows in judged}
    return pd.DataFrame(columns).dropna()  # a claim about a published curve is not for every model


def lines(model: str, seed: int = 0) -> list[str]:
    """The scoreboard as lines of a terminal, the firm verdicts first."""
    shown = table(model, seed=seed).reset_index()
    rank = shown["verdict"].map(lambda verdict: [verdict.startswith(word) for word in FIRM].index(True))
    shown["verdict"] = shown["verdict"].where(rank < len(FIRM) - 1, f"{claims.UNDECIDED}, " + shown["verdict"])
    in_order = shown.iloc[rank.argsort(kind="stable")]
    return [
        f"  {row.verdict}: {row.claim} (statistic {row.statistic}; untrained: {row.untrained})"
        for row in in_order.itertuples()
    ]


def _with_interval(row: Any) -> str:
    if not np.isfinite(row.statistic):
        return ""
    low, high = row.statistic_low, row.statistic_high
    return f"{row.statistic:.3g}" + (f" [{low:.3g}, {high:.3g}]" if low < high else "")
