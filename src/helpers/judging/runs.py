"""What has been run on a model: the measures and tables of the five experiments, from its results folder."""

from collections.abc import Iterable

import pandas as pd

from helpers import attention, lens, lesion, neurons, norms, paths, tables
from helpers.engine import sources
from helpers.errors import InputError
from helpers.judging.measures import Measures, NeuronCounts

EXPERIMENTS = (lesion, attention, lens, neurons, norms)
SLUGS = tuple(experiment.SLUG for experiment in EXPERIMENTS)
ACROSS = "_all"  # the folder of what is made from several models


def measures(model: str, experiments: Iterable[str] = SLUGS, seed: int = 0) -> dict[str, list[Measures]]:
    """The measures of each experiment, one set per seed of an untrained twin; none of what has not been run."""
    loaded = {experiment: _rows(model, experiment) for experiment in experiments}
    return {
        experiment: [(NeuronCounts if experiment == neurons.SLUG else Measures)(part, seed) for part in _by_seed(rows)]
        for experiment, rows in loaded.items()
    }


def require(model: str, experiments: Iterable[str] = SLUGS, seed: int = 0) -> dict[str, list[Measures]]:
    """As ``measures``, or an ``InputError`` that says how to make what is missing."""
    measured = measures(model, experiments, seed)
    for experiment, of_experiment in measured.items():
        if not of_experiment:
            command = f"./run_all.sh --model {model} --only {experiment}"
            raise InputError(f"{experiment} has not been run on {model}: {command}")
    return measured


def has_been_run(model: str, experiments: Iterable[str] = SLUGS) -> bool:
    """Whether there is anything to judge: measures of one of the experiments, if not of all."""
    return any(_rows(model, experiment) is not None for experiment in experiments)


def tables_of(model: str) -> dict[str, pd.DataFrame]:
    """The tables of the five experiments that the model has, by experiment."""
    loaded = {experiment: tables.load(experiment, model) for experiment in SLUGS}
    return {experiment: table for experiment, table in loaded.items() if table is not None}


def models_with_tables() -> list[str]:
    """The trained models in the results folder of which all five experiments have been run.

    A checkpoint from within a training (``base@revision``) is not a model of its own beside its ``base``.
    """
    folders = sorted(path for path in (paths.output() / "results").glob("*") if path.is_dir())
    trained = [path.name for path in folders if sources.UNTRAINED not in path.name and path.name != ACROSS]
    complete = [name for name in trained if len(tables_of(name)) == len(SLUGS)]
    return [name for name in complete if "@" not in name or name.split("@")[0] not in complete]


def _rows(model: str, experiment: str) -> pd.DataFrame | None:
    """One row per sequence and layer (and intervention), or per neuron of every layer."""
    return tables.load_details(experiment, model, "neurons" if experiment == neurons.SLUG else "sequences")


def _by_seed(rows: pd.DataFrame | None) -> list[pd.DataFrame]:
    if rows is None:
        return []
    return [part for _, part in rows.groupby("seed")] if "seed" in rows else [rows]
