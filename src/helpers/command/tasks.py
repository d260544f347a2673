"""Tasks: one notebook on one model each, known from the options alone, before any model is loaded."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from helpers import paths
from helpers.command.options import MEASURED, READS_CHECKPOINTS, Options, slug_of

READS_EVERY_MODEL = "stages_of_inference"
READS = {
    "logit_lens": ("layer_lesion",),
    "prediction_suppression_neurons": ("logit_lens",),
    READS_EVERY_MODEL: MEASURED,
    READS_CHECKPOINTS: MEASURED,
}


@dataclass(frozen=True)
class Task:
    """One notebook on one model."""

    model: str
    notebook: Path

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


T = TypeVar("T", bound=Task)


def outline(chosen: Options) -> list[Task]:
    """Every notebook on every model, those of checkpoints last; nothing is loaded."""
    parts = (chosen, chosen.of_checkpoints())
    return [Task(model, notebook) for part in parts for model in part.models for notebook in part.notebooks]


def needs(task: Task, tasks: Iterable[T]) -> list[T]:
    """Those of the ``tasks`` whose tables a task reads."""
    slugs = READS.get(task.slug, ())
    return [other for other in tasks if other.slug in slugs and _reads_model(task, other.model)]


def command_line(task: Task, chosen: Options) -> list[str]:
    """What to give ``run_all.sh`` for this task alone, of those that were chosen."""
    part = chosen if task.model in chosen.models else chosen.of_checkpoints()
    names = ["preset", "corpus", "tokens", "control", "device", "dtype", "batch_size", "seed", "shards"]
    names += ["context"] if part.context_is_given else []
    names += ["output"] if part.output else []
    words = [f"--{name.replace('_', '-')}={getattr(part, name)}" for name in names]
    if task.slug == READS_CHECKPOINTS and part.checkpoints:
        words.append(f"--checkpoints={','.join(part.checkpoints)}")
    return [f"--model={task.model}", f"--only={task.slug}", *words]


def _reads_model(task: Task, model: str) -> bool:
    """Whether a task that reads tables reads those of this model: its own, its checkpoints', or everyone's."""
    if task.slug == READS_EVERY_MODEL:
        return True
    along = task.slug == READS_CHECKPOINTS and paths.split_model_name(model)[0] == task.model
    return model == task.model or along
