"""The options of ``run_all.sh``: the command line over a preset over the defaults, checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helpers import paths
from helpers.command import limits, parser, presets
from helpers.command.parser import CONTROLS
from helpers.errors import InputError

MEASURED = ("layer_lesion", "local_attention", "logit_lens", "prediction_suppression_neurons", "mlp_norm")
READS_CHECKPOINTS = "training_dynamics"


@dataclass(frozen=True)
class Options:
    """What was asked for, complete and checked as far as options alone can be."""

    preset: str
    models: tuple[str, ...]  # each once, local folders absolute
    checkpoints: tuple[str, ...]  # revisions of each model on which the experiments of the paper are run as well
    corpus: str
    tokens: int
    context: int
    context_is_given: bool  # on the command line, so that it must not be lowered
    control: str
    device: str
    dtype: str
    batch_size: str | int
    seed: int
    jobs: int  # notebooks at a time
    shards: int  # parts that the sequences of a notebook in limits.SHARDED are cut into
    shard: int | None  # the only one to be measured, from 1
    notebooks: tuple[Path, ...]
    has_all_notebooks: bool
    output: Path | None
    force: bool
    refresh: bool
    verify: bool
    list_only: bool
    pages: bool  # whether claims are judged and pages written at the end

    def of_checkpoints(self) -> "Options":
        """The same for the checkpoints: the five experiments of the paper, without untrained twins."""
        models = tuple(f"{model}@{revision}" for model in self.models for revision in self.checkpoints)
        notebooks = tuple(notebook for notebook in self.notebooks if slug_of(notebook) in MEASURED)
        return replace(self, models=models, notebooks=notebooks, control="none", checkpoints=())


def read(arguments: Sequence[str] | None = None) -> Options:
    """The command line over the preset over the defaults. Raises ``InputError``."""
    command_line = parser.make()
    given = vars(command_line.parse_args(arguments))
    for name, value in given.items():
        if value in ("", []) or (isinstance(value, list) and ("" in value or [] in value)):  # argparse: `--jobs=--`
            command_line.error(f"--{name.replace('_', '-')} is empty")
    preset = presets.read(given["preset"])
    own = ("models", "checkpoints")  # of the models that a preset names; these only where they are read
    chosen = {key: preset[key] if given[key] is None else given[key] for key in presets.KEYS if key not in own}
    notebooks = tuple(experiment_notebooks(given["only"]))
    chosen["batch_size"] = limits.batch_size(chosen["batch_size"])
    limits.check_text(chosen["tokens"], chosen["context"])
    if not 0 <= chosen["seed"] < 2**32:
        command_line.error(f"--seed {chosen['seed']} is not between 0 and {2**32 - 1}")
    if chosen["control"] not in CONTROLS:
        command_line.error(f"control {chosen['control']!r} is not one of {', '.join(CONTROLS)}")
    if chosen["jobs"] < 1:
        command_line.error(f"--jobs {chosen['jobs']}: at least one notebook must run at a time")
    if chosen["jobs"] > limits.MOST_JOBS:
        command_line.error(f"--jobs {chosen['jobs']}: at most {limits.MOST_JOBS} notebooks can run at a time")
    if given["refresh"]:
        limits.check_refresh(arguments)
    limits.check_verify(given)
    limits.check_shards(given, chosen["batch_size"], [slug_of(notebook) for notebook in notebooks])
    models = tuple(dict.fromkeys(map(_absolute_model, given["model"] or preset["models"])))
    along = preset["checkpoints"] if READS_CHECKPOINTS in map(slug_of, notebooks) and not given["model"] else []
    return Options(
        preset=given["preset"],
        models=models,
        checkpoints=_checkpoints(given["checkpoints"], along, models),
        context_is_given=given["context"] is not None,
        notebooks=notebooks,
        has_all_notebooks=given["only"] is None,
        output=paths.absolute(given["output"]) if given["output"] else None,
        force=given["force"],
        refresh=given["refresh"],
        verify=given["verify"],
        list_only=given["list"],
        shards=given["shards"],
        shard=given["shard"],
        pages=not given["no_pages"],
        **chosen,
    )


def experiment_notebooks(only: str | None = None) -> list[Path]:
    """The numbered notebooks that make figures, in order; ``only`` is a comma-separated list of slugs."""
    notebooks = {slug_of(path): path for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
    notebooks = {slug: path for slug, path in notebooks.items() if not path.name.startswith("00")}
    if only is None:
        return list(notebooks.values())
    wanted = [slug.strip() for slug in only.split(",") if slug.strip()]
    if not wanted:
        raise InputError(f"--only names no experiment: there are {', '.join(notebooks)}")
    if unknown := [slug for slug in wanted if slug not in notebooks]:
        raise InputError(f"no experiment {unknown[0]!r}: there are {', '.join(notebooks)}")
    return [path for slug, path in notebooks.items() if slug in wanted]


def slug_of(notebook: Path) -> str:
    """The notebook's name without its number: also the name of its table and its figure."""
    return notebook.stem.partition("_")[2]


def _absolute_model(name: str) -> str:
    """A local folder made absolute, so that a notebook finds it from its own folder; other names unchanged."""
    base, suffix = paths.split_model_name(name)
    return f"{paths.absolute(base)}{suffix}" if paths.is_model_folder(base) else name


def _checkpoints(given: str | None, preset: Sequence[str], models: Sequence[str]) -> tuple[str, ...]:
    """The revisions named on the command line, or else the preset's. Raises ``InputError``."""
    revisions = [name.strip() for name in given.split(",")] if given is not None else list(preset)
    if not all(revisions):
        raise InputError(f"--checkpoints {given!r} has an empty name: give revisions such as step1000,step8000")
    if revisions and (revised := [model for model in models if paths.split_model_name(model)[1]]):
        raise InputError(f"--checkpoints are revisions, and {revised[0]} names one already: give the model without it")
    return tuple(dict.fromkeys(revisions))
