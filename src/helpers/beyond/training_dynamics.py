"""When in training each effect appears: the curves and claims of the five experiments, checkpoint by checkpoint.

Nothing is measured here. A checkpoint is a revision of a model, ``model@revision``, on which the experiments have
been run; before all of them stands the untrained twin, after them the model itself. They are in the order of the
training step in the revision's name: the number behind ``step``, or else its last number. Revisions without a number
come last.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from helpers import paths
from helpers.engine.sources import UNTRAINED
from helpers.errors import InputError
from helpers.judging import claims, runs, scoreboard, twins

SLUG = "training_dynamics"
BEFORE, AFTER = "untrained", "final"
NEVER = "never"


@dataclass(frozen=True)
class Point:
    """A moment in training: what it is called, and the model that has been run there."""

    label: str
    model: str


def revisions(model: str, also: Iterable[str] = ()) -> list[str]:
    """The revisions of a model on which anything has been run, and those among the names ``also``, in order."""
    prefix = f"{paths.model_folder(model)}@"
    folders = [folder.name for folder in (paths.output() / "results").glob("*@*") if runs.has_been_run(folder.name)]
    names = [*folders, *map(paths.model_folder, also)]
    own = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    return sorted((name for name in own if UNTRAINED.removeprefix("@") not in name.split("@")), key=step_of)


def step_of(revision: str) -> tuple[float, str]:
    """What revisions are ordered by: the training step in the name, infinite without one; then the name."""
    steps = re.findall(r"step[-_]?(\d+)", revision) or re.findall(r"\d+", revision)
    return (float(steps[-1]) if steps else float("inf"), revision)


def points(model: str, checkpoints: Sequence[str] = (), control: str = "untrained") -> list[Point]:
    """The moments in training that have been run; without ``checkpoints``, all revisions found in the results.

    Raises ``InputError`` for the model, or a checkpoint asked for, on which none of the experiments has been run.
    """
    chosen = sorted(checkpoints, key=step_of) or revisions(model)
    trained = [Point(revision, f"{model}@{revision}") for revision in chosen] + [Point(AFTER, model)]
    for point in trained:
        if not runs.has_been_run(point.model):
            raise InputError(
                f"none of the experiments has been run on {point.model}: ./run_all.sh --model {model}"
                + (f" --checkpoints {','.join(chosen)}" if chosen else "")
            )
    twin = Point(BEFORE, twins.name(model))
    return [twin, *trained] if control == "untrained" and runs.has_been_run(twin.model) else trained


def verdicts(along: Sequence[Point], seed: int = 0) -> pd.DataFrame:
    """Every claim at every point: one row each, with the columns of ``claims.evaluate``, ``point`` and ``outcome``."""
    judged = [scoreboard.evaluate(point.model, seed=seed).assign(point=point.label) for point in along]
    rows = pd.concat(judged, ignore_index=True)
    return rows.assign(outcome=scoreboard.outcome(rows))


def by_point(judged: pd.DataFrame, column: str = "outcome") -> pd.DataFrame:
    """One column per point in the order of training, one row per claim that is judged at all of them."""
    counts = judged.groupby("wording", sort=False)["point"].nunique()
    everywhere = counts.index[counts == judged["point"].nunique()]
    values = judged.pivot(index="wording", columns="point", values=column)
    return values.reindex(index=everywhere, columns=judged["point"].unique())


def since(table: pd.DataFrame) -> pd.Series:
    """From which point on each claim holds without a break to the end; ``never`` where it does not hold at the end."""
    held = table == claims.HOLDS
    unbroken = held.iloc[:, ::-1].cummin(axis=1).iloc[:, ::-1]
    return unbroken.apply(lambda row: next((point for point in table.columns if row[point]), NEVER), axis=1)
