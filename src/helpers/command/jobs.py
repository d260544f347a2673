"""Jobs: one notebook on one model each, known in full before the first kernel starts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import paths
from helpers.beyond import training_dynamics
from helpers.command import execution, run_record
from helpers.command.inspection import Inspected
from helpers.command.options import slug_of
from helpers.errors import InputError


@dataclass(frozen=True)
class Job:
    """One notebook on one model; ``inputs`` are the hashes and parameters that it depends on whatever it reads."""

    model: str
    notebook: Path
    parameters: dict[str, Any]
    inputs: dict[str, Any]
    tokens_sha256: str
    facts: dict[str, Any]

    @property
    def slug(self) -> str:
        return slug_of(self.notebook)

    @property
    def title(self) -> str:
        return f"{paths.model_folder(self.model)} {self.notebook.stem}"

    @property
    def is_of_checkpoint(self) -> bool:
        """Whether the model is a revision, of which no notebook is committed."""
        return bool(paths.split_model_name(self.model)[1])

    @property
    def executed(self) -> Path:
        return paths.results(self.model) / "notebooks" / self.notebook.name

    def is_current(self) -> bool:
        return run_record.is_current(self.model, self.slug, self.inputs, self.tokens_sha256)


def plan(inspected: Sequence[Inspected], notebooks: Sequence[Iterable[Path]]) -> list[Job]:
    """The jobs of all models, each with its own notebooks."""
    names = [model.model for model in inspected]
    revisions = {name: training_dynamics.revisions(name, names) for name in names}
    pairs = zip(inspected, notebooks, strict=True)
    return [job for model, own in pairs for job in jobs_of(model, own, revisions[model.model])]


def jobs_of(inspected: Inspected, notebooks: Iterable[Path], revisions: Sequence[str] = ()) -> list[Job]:
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
        jobs.append(Job(inspected.model, notebook, parameters, inputs, facts["tokens_sha256"], facts))
    return jobs
