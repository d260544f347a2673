"""Running jobs: what is not up to date is executed and recorded; a failure does not stop the others."""

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from helpers import paths
from helpers.command import execution, run_record
from helpers.command.jobs import Job
from helpers.command.options import PROGRAM
from helpers.errors import InputError
from helpers.files import Ledger
from helpers.text import documents


def run_jobs(jobs: Sequence[Job], everything: bool, refresh: bool) -> tuple[list[Job], list[Job]]:
    """Run what is not up to date when its turn comes; which jobs ran, and which failed, each explained in one line.

    Notebook by notebook, so that one which compares models finds the tables of all of them.
    """
    ran, failures = [], []
    with tqdm(sorted(jobs, key=lambda job: job.notebook.name), unit="notebook", leave=False) as bar:
        for job in bar:
            if job.is_current() and not everything:
                continue
            bar.set_description(job.title)
            ran.append(job)
            try:
                run_job(job, refresh)
            except InputError as error:
                failures.append(job)
                bar.clear()
                print(f"{PROGRAM}: {paths.model_folder(job.model)}: {error}", file=sys.stderr)
    return ran, failures


def run_job(job: Job, refresh: bool = False) -> None:
    """Execute one notebook and record what it read and made. Raises ``InputError`` with notebook, cell and cause."""
    start = time.time()
    offline = not documents.is_streamed(job.parameters["corpus"])
    ledger = execution.execute(job.notebook, job.executed, {} if refresh else job.parameters, offline)
    _check_written(job, ledger)
    seconds = round(time.time() - start, 1)
    experiment = run_record.finished(job.model, job.inputs, job.tokens_sha256, ledger, seconds)
    run_record.write(job.model, job.facts, job.slug, experiment)
    if refresh:
        execution.copy_clean(job.executed, job.notebook)


def refresh_introduction() -> None:
    """Rewrite the outputs of the notebook that makes no figure."""
    for notebook in paths.NOTEBOOKS.glob("00_*.ipynb"):
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


def _check_written(job: Job, ledger: Ledger) -> None:
    """A notebook that ends without its table and its figure has failed."""
    results, figures = paths.results(job.model), paths.figures(job.model)
    wanted = (results / f"{job.slug}.csv", figures / f"{job.slug}.png", figures / f"{job.slug}.svg")
    for file in wanted:
        if file.resolve() not in ledger.written or not file.is_file():
            raise InputError(f"{job.notebook.name} ended without writing {file.name}")
