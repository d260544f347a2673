"""Running jobs: what is not up to date is executed and recorded; a failure does not stop the others."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import groupby
from typing import Any

from tqdm import tqdm

from helpers import paths
from helpers.command import execution, executors, run_record
from helpers.command.jobs import Job
from helpers.command.options import MEASURED
from helpers.command.parser import PROGRAM
from helpers.errors import InputError
from helpers.files import Ledger
from helpers.text import documents

READS_THE_LENS = "prediction_suppression_neurons"


def run_jobs(jobs: Sequence[Job], everything: bool, refresh: bool, at_a_time: int = 1) -> tuple[list[Job], list[Job]]:
    """Run what is not up to date when its turn comes; which jobs ran, and which failed, each explained in one line.

    Notebooks that read tables of others come after these, on all models: see ``_group``. Within a group
    ``at_a_time`` notebooks run side by side, with the processors divided.
    """
    in_order = sorted(jobs, key=lambda job: job.notebook.name)
    groups = [list(group) for _, group in groupby(sorted(in_order, key=_group), _group)]
    ran, failures = [], []
    with tqdm(total=len(jobs), unit="notebook", leave=False) as bar, executors.make(at_a_time) as executor:
        for group in groups:
            for job, future in _finished(executor, group, everything, refresh, at_a_time, bar):
                ran.append(job)
                try:
                    run_record.write(job.model, job.facts, job.slug, future.result())
                    if _is_rewritten(job, refresh):
                        execution.copy_clean(job.executed, job.notebook)
                except (InputError, BrokenProcessPool) as error:
                    failures.append(job)
                    bar.clear()
                    print(f"{PROGRAM}: {paths.model_folder(job.model)}: {error}", file=sys.stderr)
    return [job for job in jobs if job in ran], failures


def execute(job: Job, refresh: bool, threads: int | None) -> dict[str, Any]:
    """Execute one notebook; the record of what it read and made. ``InputError`` names notebook, cell and cause."""
    start = time.time()
    offline = not documents.is_streamed(job.parameters["corpus"])
    parameters = {} if _is_rewritten(job, refresh) else job.parameters
    ledger = execution.execute(job.notebook, job.executed, parameters, offline, threads)
    _check_written(job, ledger)
    seconds = round(time.time() - start, 1)
    return run_record.finished(job.model, job.inputs, job.tokens_sha256, ledger, seconds)


def refresh_introduction() -> None:
    """Rewrite the outputs of the notebooks that make no figure: the introduction and the playground."""
    for notebook in (*paths.NOTEBOOKS.glob("00_*.ipynb"), *paths.NOTEBOOKS.glob("playground.ipynb")):
        executed = paths.results("pocket") / "notebooks" / notebook.name
        execution.execute(notebook, executed, {}, offline=True)
        execution.copy_clean(executed, notebook)


def print_list(jobs: Sequence[Job], everything: bool) -> None:
    """Every job, and whether it would be run."""
    for job in jobs:
        print(f"{job.title}: {'to run' if everything or not job.is_current() else 'up to date'}")


def print_summary(jobs: Sequence[Job], ran: Sequence[Job]) -> None:
    """Every job that is done, how long it took, and its figure."""
    rows = []
    for job in jobs:
        record = run_record.read(job.model)["experiments"][job.slug]
        seconds = f"{record['seconds']:.0f} s" if job in ran else "up to date"
        rows.append((job.title, seconds, str(paths.figures(job.model) / f"{job.slug}.png")))
    for title, seconds, figure in rows:
        print(f"{title:<{max(len(row[0]) for row in rows)}}  {seconds:>10}  {figure}")


def _is_rewritten(job: Job, refresh: bool) -> bool:
    """Whether the committed notebook gets these outputs: a refresh shows the model and not its checkpoints."""
    return refresh and not job.is_of_checkpoint


def _group(job: Job) -> int:
    """Three groups: experiments on text, the neurons (drawn beside the lens's KL), and what reads their tables."""
    return 2 if job.slug not in MEASURED else int(job.slug == READS_THE_LENS)


def _finished(
    executor: Executor, jobs: Sequence[Job], everything: bool, refresh: bool, at_a_time: int, bar: tqdm
) -> Iterator[tuple[Job, Future]]:
    """The jobs that were not up to date when there was room for them, as they end."""
    threads = max(1, (os.cpu_count() or 1) // at_a_time) if at_a_time > 1 else None
    running: dict[Future, Job] = {}

    def ended(room: int) -> Iterator[tuple[Job, Future]]:
        while len(running) > room:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                bar.update()
                yield running.pop(future), future

    for job in jobs:
        yield from ended(at_a_time - 1)
        if everything or not job.is_current():
            bar.set_description(job.title)
            running[executor.submit(execute, job, refresh, threads)] = job
        else:
            bar.update()
    yield from ended(0)


def _check_written(job: Job, ledger: Ledger) -> None:
    """A notebook that ends without its table and its figure has failed."""
    results, figures = paths.results(job.model), paths.figures(job.model)
    wanted = (results / f"{job.slug}.csv", figures / f"{job.slug}.png", figures / f"{job.slug}.svg")
    for file in wanted:
        if file.resolve() not in ledger.written or not file.is_file():
            raise InputError(f"{job.notebook.name} ended without writing {file.name}")
