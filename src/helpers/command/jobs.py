"""Jobs: tasks with all that they depend on, known before the first kernel starts, and the shards they are cut into."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import paths, tables
from helpers.beyond import training_dynamics
from helpers.command import execution, run_record
from helpers.command.inspection import Inspected
from helpers.command.limits import SHARDED
from helpers.command.options import slug_of
from helpers.command.tasks import Task
from helpers.errors import InputError
from helpers.judging import twins


@dataclass(frozen=True, eq=False)  # it is the task that it is
class Job(Task):
    """A task ready to be run; ``inputs`` are the hashes and parameters that it depends on whatever it reads."""

    parameters: dict[str, Any]
    inputs: dict[str, Any]
    tokens_sha256: str
    facts: dict[str, Any]
    shards: tuple["Shard", ...] = ()

    @property
    def executed(self) -> Path:
        return paths.results(self.model) / "notebooks" / self.notebook.name

    def is_current(self) -> bool:
        return run_record.is_current(self.model, self.slug, self.inputs, self.tokens_sha256)


@dataclass(frozen=True, eq=False)
class Shard:
    """A part of an experiment's sequences; ``inputs`` is a hash of all that its rows depend on."""

    model: str
    slug: str
    number: int  # from 1
    of: int
    parameters: dict[str, Any]
    inputs: str

    @property
    def title(self) -> str:
        return f"{paths.model_folder(self.model)} {self.slug} {self.number}/{self.of}"

    def is_current(self) -> bool:
        with_twins = self.parameters["control"] == "untrained"
        models = (self.model, twins.name(self.model)) if with_twins else (self.model,)
        return all(tables.shard_inputs(self.slug, name, self.number, self.of) == self.inputs for name in models)


def plan(inspected: Sequence[Inspected], notebooks: Sequence[Iterable[Path]], n_shards: int = 1) -> list[Job]:
    """The jobs of all models, each with its own notebooks."""
    names = [model.model for model in inspected]
    revisions = {name: training_dynamics.revisions(name, names) for name in names}
    pairs = zip(inspected, notebooks, strict=True)
    return [job for model, own in pairs for job in jobs_of(model, own, revisions[model.model], n_shards)]


def jobs_of(
    inspected: Inspected, notebooks: Iterable[Path], revisions: Sequence[str] = (), n_shards: int = 1
) -> list[Job]:
    """What is to be run on a model, in the order of the notebooks; each must take every parameter.

    ``revisions`` of the model are given to a notebook with a parameter ``checkpoints``.
    """
    facts = inspected.facts()
    shared = {key: facts[key] for key in ("files", "device")} | {"helpers": run_record.helpers_hash()}
    jobs = []
    for notebook in notebooks:
        takes = execution.parameter_names(notebook)
        if unknown := set(inspected.parameters) - takes:
            names = ", ".join(sorted(unknown))
            raise InputError(f"{notebook.name} has no parameter {names}: add it to its parameters cell")
        parameters = inspected.parameters | ({"checkpoints": list(revisions)} if "checkpoints" in takes else {})
        inputs = {"notebook": run_record.source_hash(notebook), "parameters": parameters, **shared}
        is_cut = n_shards > 1 and slug_of(notebook) in SHARDED
        shards = shards_of(inspected, slug_of(notebook), n_shards) if is_cut else ()
        jobs.append(Job(inspected.model, notebook, parameters, inputs, facts["tokens_sha256"], facts, shards))
    return jobs


def shards_of(inspected: Inspected, slug: str, n_shards: int) -> tuple[Shard, ...]:
    """The parts of one experiment on a model."""
    facts = {key: inspected.facts()[key] for key in ("files", "device", "parameters", "tokens_sha256")}
    depends_on = json.dumps(facts | {"helpers": run_record.helpers_hash()}, sort_keys=True)
    inputs = hashlib.sha256(depends_on.encode()).hexdigest()
    numbers = range(1, n_shards + 1)
    return tuple(Shard(inspected.model, slug, i, n_shards, inspected.parameters, inputs) for i in numbers)
