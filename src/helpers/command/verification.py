"""``--verify``: the experiments chosen are run again, elsewhere, and their tables compared with those that are stored.

Two tables are equal within 1e-5 if each number is, relative to the largest of its column; all else must be the same,
the order of rows too, but not that of columns. Each experiment is run with the parameters recorded in ``run.json``;
where nothing is recorded, as for the tables that come with the repository, with those of the command line.
"""

import filecmp
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from helpers import paths
from helpers.command import inspection, jobs, run_record, running, tasks
from helpers.command.jobs import Job
from helpers.command.options import Options, slug_of
from helpers.engine import sources
from helpers.errors import InputError, reason

TOLERANCE = 1e-5
IDENTICAL, EQUAL, NEVER_STORED, DIFFERS = "identical", f"equal within {TOLERANCE:g}", "never stored", "differs"
READERS = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
RECORDED = ("corpus", "tokens", "context", "control", "device", "dtype", "batch_size", "seed")
KEYS = ("seed", "sequence", "layer", "intervention")  # that tell a reader which row it is


def run(chosen: Options) -> int:
    """Run it all again, print a line for each table, and return 1 if one differs or could not be made, else 0."""
    stored = paths.output() / "results"
    if not any(
        (stored / paths.model_folder(task.model) / f"{task.slug}.csv").is_file() for task in tasks.outline(chosen)
    ):
        raise InputError(f"none of these tables is stored in {stored}: there is nothing to verify")
    parts = list(_with_recorded_parameters(chosen))
    with _beside(stored):
        inspected = [inspection.inspect(sources.find(part.models[0]), part) for part in parts]
        planned = jobs.plan(inspected, [part.notebooks for part in parts], chosen.shards)
        _, failures = running.run_jobs(planned, everything=True, refresh=False, at_a_time=chosen.jobs)
        made = [name for job in planned if job not in failures for name in _tables_of(job)]
        outcomes = {name: outcome(stored.parent / name, paths.output() / name) for name in made}
    for name, found in outcomes.items():
        print(f"{name}: {found}")
    kinds = [found.split(":")[0] for found in outcomes.values()]
    print(", ".join(f"{kinds.count(kind)} {kind}" for kind in (IDENTICAL, EQUAL, DIFFERS, NEVER_STORED)))
    return 1 if failures or DIFFERS in kinds else 0


def outcome(stored: Path, again: Path) -> str:
    """What comparing two files says: one of the four kinds, and where two tables differ, how."""
    if not stored.is_file():
        return NEVER_STORED
    if filecmp.cmp(stored, again, shallow=False):
        return IDENTICAL
    try:
        found = difference(READERS[stored.suffix](stored), READERS[again.suffix](again))
    except (ValueError, OSError) as error:
        found = f"it cannot be read ({reason(error)})"
    return f"{DIFFERS}: {found}" if found else EQUAL


def difference(stored: pd.DataFrame, again: pd.DataFrame) -> str:
    """Where two tables are not equal within the tolerance: column, row and both values; empty where they are.

    The first column that differs is named, and its row that differs most. Missing values equal each other only.
    """
    for column in [*again, *stored]:
        if column not in stored or column not in again:
            return f"column {column} is {'computed' if column in again else 'stored'} only"
    if len(stored) != len(again):
        return f"{len(stored)} rows are stored, {len(again)} computed"
    for column in again:
        distance = _distance(stored[column], again[column])
        if distance.max(initial=0) > TOLERANCE:
            row = int(distance.argmax())
            keys = ", ".join(f"{key} {again[key].iloc[row]}" for key in KEYS if key in again and key != column)
            values = f"{stored[column].iloc[row]} is stored, {again[column].iloc[row]} computed"
            return f"column {column}, row {row}{f' ({keys})' if keys else ''}: {values}"
    return ""


def _distance(stored: pd.Series, again: pd.Series) -> np.ndarray:
    """How far apart two columns are, row by row, relative to the largest number in them; infinite for other values."""
    same = ((stored == again) | (stored.isna() & again.isna())).to_numpy()
    if not (is_numeric_dtype(stored) and is_numeric_dtype(again)):
        return np.where(same, 0, np.inf)
    numbers = np.stack([stored.to_numpy(dtype=float), again.to_numpy(dtype=float)])
    largest = np.abs(np.where(np.isfinite(numbers), numbers, 0)).max(initial=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = np.abs(numbers[0] - numbers[1]) / largest
    return np.where(same, 0, np.where(np.isfinite(gaps), gaps, np.inf))


def _with_recorded_parameters(chosen: Options) -> Iterator[Options]:
    """The options for one model each, and for those of its notebooks that were run with the same parameters."""
    for part in (chosen, chosen.of_checkpoints()):
        for model in part.models:
            experiments = run_record.read(model).get("experiments", {})
            with_parameters = [(notebook, _recorded(experiments.get(slug_of(notebook)))) for notebook in part.notebooks]
            for parameters, pairs in groupby(with_parameters, key=itemgetter(1)):
                yield replace(part, models=(model,), notebooks=tuple(notebook for notebook, _ in pairs), **parameters)


def _recorded(experiment: dict[str, Any] | None) -> dict[str, Any]:
    """The options with which an experiment was run; none if it was not."""
    parameters = experiment["inputs"].get("parameters", {}) if experiment else {}
    known = {name: parameters[name] for name in RECORDED if name in parameters}
    return known | {"context_is_given": True} if known else {}


@contextmanager
def _beside(stored: Path) -> Iterator[None]:
    """Output goes to a temporary folder, in which the tables that are stored can be read until they are made again."""
    before = os.environ.get(paths.OUTPUT_VARIABLE, "")
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        for table in [file for file in stored.glob("*/*") if file.suffix in READERS]:
            link = Path(folder) / "results" / table.relative_to(stored)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(table.resolve())
        os.environ[paths.OUTPUT_VARIABLE] = folder
        try:
            yield
        finally:
            os.environ[paths.OUTPUT_VARIABLE] = before


def _tables_of(job: Job) -> list[str]:
    """The tables that a job has just made, by their names in the output folder."""
    names = run_record.read(job.model)["experiments"][job.slug]["outputs"]
    return [name for name in names if Path(name).suffix in READERS]
