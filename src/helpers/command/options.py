"""The options of ``run_all.sh``: the command line over a preset over the defaults, checked."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from helpers import paths
from helpers.command import presets
from helpers.errors import InputError

PROGRAM = "run_all.sh"
DTYPES = ("float32", "bfloat16", "float16")  # those of helpers.models, which loads torch
CONTROLS = ("none", "untrained")


@dataclass(frozen=True)
class Options:
    """What was asked for, complete and checked as far as options alone can be."""

    models: tuple[str, ...]  # each once, local folders absolute
    corpus: str
    tokens: int
    context: int
    context_is_given: bool  # on the command line, so that it must not be lowered
    control: str
    device: str
    dtype: str
    batch_size: str | int
    seed: int
    notebooks: tuple[Path, ...]
    has_all_notebooks: bool
    output: Path | None
    force: bool
    refresh: bool
    list_only: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see ./{PROGRAM} --help)")


def read(arguments: Sequence[str] | None = None) -> Options:
    """The command line over the preset over the defaults. Raises ``InputError``."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    for name, value in given.items():
        if value == "" or (name == "model" and "" in (value or [])):
            parser.error(f"--{name.replace('_', '-')} is empty")
    preset = presets.read(given["preset"])
    chosen = {key: preset[key] if given[key] is None else given[key] for key in presets.KEYS if key != "models"}
    notebooks = tuple(experiment_notebooks(given["only"]))
    chosen["batch_size"] = _batch_size(chosen["batch_size"])
    if not 0 <= chosen["seed"] < 2**32:
        parser.error(f"--seed {chosen['seed']} is not between 0 and {2**32 - 1}")
    if chosen["control"] not in CONTROLS:
        parser.error(f"control {chosen['control']!r} is not one of {', '.join(CONTROLS)}")
    if given["refresh"]:
        _check_refresh(parser, arguments)
    return Options(
        models=tuple(dict.fromkeys(map(_absolute_model, given["model"] or preset["models"]))),
        context_is_given=given["context"] is not None,
        notebooks=notebooks,
        has_all_notebooks=given["only"] is None,
        output=Path(given["output"]).expanduser().resolve() if given["output"] else None,
        force=given["force"],
        refresh=given["refresh"],
        list_only=given["list"],
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


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM, description="Regenerate every figure of the paper, for any decoder.", allow_abbrev=False
    )
    option = parser.add_argument
    option("--model", action="append", metavar="NAME", help="alias, Hub id or folder, with @revision or @untrained")
    option("--preset", default="pocket", metavar="NAME", help="models and parameters from presets/NAME.yaml")
    option("--corpus", metavar="C", help="bundled, a .txt, .jsonl or .parquet file, a folder, or hf:NAME")
    option("--tokens", type=int, metavar="N", help="evaluate on about N tokens")
    option("--context", type=int, metavar="N", help="tokens per sequence, BOS included")
    option("--only", metavar="SLUG[,SLUG]", help="some experiments only")
    option("--control", choices=CONTROLS, help="also run the model's untrained twin")
    option("--device", metavar="D", help="auto, cpu, cuda, ..., or a device map: balanced, sequential, FILE.json")
    option("--dtype", choices=DTYPES)
    option("--batch-size", metavar="N", help="sequences at once: a number, or auto")
    option("--seed", type=int, metavar="N", help="of the bootstrap and the untrained twin")
    option("--output", metavar="DIR", help="where figures/ and results/ go (default: the repository)")
    option("--force", action="store_true", help="rerun what is up to date")
    option("--refresh", action="store_true", help="rerun pocket and rewrite the committed notebooks' outputs")
    option("--list", action="store_true", help="print the jobs and stop")
    return parser


def _absolute_model(name: str) -> str:
    """A local folder made absolute, so that a notebook finds it from its own folder; other names unchanged."""
    base, suffix = paths.split_model_name(name)
    return f"{Path(base).expanduser().resolve()}{suffix}" if paths.is_model_folder(base) else name


def _batch_size(value: str | int) -> str | int:
    if str(value) == "auto":
        return "auto"
    if not str(value).isdecimal() or int(value) < 1:
        raise InputError(f"batch size {value!r} is neither auto nor a positive number")
    return int(value)


def _check_refresh(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> None:
    """The committed notebooks show pocket with their own defaults: refreshing takes no other choice."""
    given = [word for word in (sys.argv[1:] if arguments is None else arguments) if word.startswith("--")]
    if others := [word for word in given if word.split("=")[0] not in ("--refresh", "--only", "--list")]:
        parser.error(f"--refresh reruns the notebooks' own defaults and takes no {others[0]}")
