"""The options of ``run_all.sh``: the command line over a preset over the defaults, checked."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from helpers import paths
from helpers.errors import InputError

PROGRAM = "run_all.sh"
DEFAULTS = {"device": "auto", "dtype": "float32", "batch_size": "auto", "seed": 0}
CONTROLS = ("none", "untrained")
EXAMPLES = {"models": ["gpt2"], "corpus": "bundled", "tokens": 20000, "context": 256, "control": "none", "seed": 0}
PRESET_KEYS = ("models", "corpus", "tokens", "context", "control", *DEFAULTS)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see ./{PROGRAM} --help)")


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line over the preset over the defaults. Raises ``InputError``."""
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
    option("--dtype", choices=["float32", "bfloat16", "float16"])
    option("--batch-size", metavar="N", help="sequences at once: a number, or auto")
    option("--seed", type=int, metavar="N", help="of the bootstrap and the untrained twin")
    option("--output", metavar="DIR", help="where figures/ and results/ go (default: the repository)")
    option("--force", action="store_true", help="rerun what is up to date")
    option("--refresh", action="store_true", help="rerun pocket and rewrite the committed notebooks' outputs")
    option("--list", action="store_true", help="print the jobs and stop")
    options = parser.parse_args(arguments)
    for name, value in vars(options).items():
        if value == "" or (name == "model" and "" in (value or [])):
            parser.error(f"--{name.replace('_', '-')} is empty")
    preset = read_preset(options.preset)
    options.context_is_given = options.context is not None
    options.models = options.model or preset["models"]
    for key in PRESET_KEYS[1:]:
        if getattr(options, key) is None:
            setattr(options, key, preset[key])
    options.notebooks = experiment_notebooks(options.only)
    options.batch_size = _batch_size(options.batch_size)
    if not 0 <= options.seed < 2**32:
        parser.error(f"--seed {options.seed} is not between 0 and {2**32 - 1}")
    if options.control not in CONTROLS:
        parser.error(f"control {options.control!r} is not one of {', '.join(CONTROLS)}")
    if options.refresh:
        _check_refresh(parser, arguments)
    return options


def read_preset(name: str) -> dict[str, Any]:
    """``presets/<name>.yaml`` over the defaults; every key is known and none is missing."""
    known = {file.stem: file for file in sorted(paths.PRESETS.glob("*.yaml"))}
    if name not in known:
        raise InputError(f"no preset {name!r}: there are {', '.join(known)} (files in {paths.PRESETS})")
    try:
        content = yaml.safe_load(known[name].read_text(encoding="utf8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"preset {known[name]} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"preset {known[name]} is not a YAML mapping of options")
    preset = DEFAULTS | content
    if wrong := set(preset) ^ set(PRESET_KEYS):
        raise InputError(f"preset {known[name]} has unknown or missing keys: {', '.join(map(str, sorted(wrong)))}")
    for key, example in EXAMPLES.items():
        if type(preset[key]) is not type(example):
            raise InputError(f"preset {known[name]}: {key} is {preset[key]!r}, it should be like {example!r}")
    return preset


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
