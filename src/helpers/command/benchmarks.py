"""``python -m helpers.command.benchmarks``: a model's accuracy on benchmarks under every drop and swap, as a table.

It needs lm-evaluation-harness, the optional extra ``benchmarks``, and is run by nothing else: ``run_all.sh`` goes
without. The table is ``results/<model>/benchmarks.csv``, with one row per document as Parquet; notebook 01 draws it.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from helpers import paths
from helpers.beyond import benchmarks, orders
from helpers.command import exit_status
from helpers.command.parser import DTYPES
from helpers.errors import InputError

PROGRAM = "python -m helpers.command.benchmarks"
PACKAGE = "lm_eval"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {PROGRAM} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0 only if every table was written."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return exit_status.of(lambda: _run(arguments), PROGRAM, ", nothing written for this model")


def _run(arguments: Sequence[str] | None) -> int:
    chosen = _parser().parse_args(arguments)
    _check(chosen)
    if chosen.output:
        os.environ[paths.OUTPUT_VARIABLE] = str(paths.absolute(chosen.output))
    from helpers.beyond import harness  # takes seconds to load: only after the options are good

    tasks = harness.load_tasks(_names(chosen.tasks), chosen.include_path)
    for model in dict.fromkeys(chosen.model or ["pocket"]):
        print(measure(model, tasks, chosen))
    return 0


def measure(model: str, tasks: dict[str, Any], chosen: argparse.Namespace) -> Path:
    """Measure one model on ``tasks`` and write its table; the table's path."""
    from transformers import AutoTokenizer

    from helpers import models, tables
    from helpers.beyond import harness
    from helpers.engine import sources

    tokenizer = AutoTokenizer.from_pretrained(sources.find(model).folder)
    bridge = models.load(model, device=chosen.device, dtype=chosen.dtype)
    lesions = orders.lesions(bridge.cfg.n_layers, _names(chosen.interventions))
    with tqdm(desc=f"{model}, {len(lesions)} lesions", unit=" requests") as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        lesioned = harness.LesionedModel(
            bridge, tokenizer, [lesion.order for lesion in lesions], chosen.batch_size, report
        )
        rows = harness.sweep(lesioned, lesions, tasks, chosen.limit)
    table = benchmarks.summarise(rows, bridge.cfg.n_layers)
    options = {"tasks": chosen.tasks, "limit": chosen.limit or 0, "dtype": chosen.dtype}
    tables.save(benchmarks.SLUG, model, table, rows, "documents", **options)
    return paths.results(model) / f"{benchmarks.SLUG}.csv"


def _check(chosen: argparse.Namespace) -> None:
    """What can be known to be wrong before anything is loaded."""
    if chosen.limit is not None and chosen.limit < 1:
        raise InputError(f"--limit {chosen.limit}: give the number of documents of each task, at least 1")
    if chosen.batch_size != "auto" and not (chosen.batch_size.isdecimal() and int(chosen.batch_size) > 0):
        raise InputError(f"--batch-size {chosen.batch_size!r} is neither auto nor a positive number")
    for option in ("tasks", "interventions"):
        if not _names(getattr(chosen, option)):
            raise InputError(f"--{option} names none: give one, or several with commas between them")
    orders.check_names(_names(chosen.interventions))
    if chosen.include_path and not chosen.include_path.is_dir():
        raise InputError(
            f"--include-path {chosen.include_path} is not a folder: give the one that holds the task files"
        )
    if find_spec(PACKAGE) is None:
        command = f"{sys.executable} -m pip install -e '{paths.ROOT}[{benchmarks.SLUG}]'"
        raise InputError(f"lm-evaluation-harness is not installed: {command}")


def _names(joined: str) -> list[str]:
    """What stands between the commas."""
    return list(dict.fromkeys(name.strip() for name in joined.split(",") if name.strip()))


def _parser() -> _Parser:
    parser = _Parser(prog=PROGRAM, description=(__doc__ or "").split("\n")[0].partition(": ")[2], allow_abbrev=False)
    option = parser.add_argument
    option(
        "--model", action="append", metavar="NAME", help="alias, Hub id or folder; may be repeated (default: pocket)"
    )
    option("--tasks", default=",".join(benchmarks.TASKS), metavar="TASK[,TASK]", help="default: %(default)s")
    option("--limit", type=int, metavar="N", help="only the first N documents of each task")
    option(
        "--interventions",
        default="drop,swap",
        metavar="NAME[,NAME]",
        help="drop, swap, repeat_N: N layers run twice each (default: %(default)s)",
    )
    option("--include-path", type=Path, metavar="DIR", help="a folder with task files of your own")
    option("--device", default="auto", metavar="D", help="auto, cpu, cuda, ..., or a device map")
    option("--dtype", default="float32", choices=DTYPES)
    option("--batch-size", default="auto", metavar="N", help="sequences at once: a number, or auto")
    option("--output", type=Path, metavar="DIR", help="where results/ goes (default: the repository)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
