"""Running jobs: what is not up to date is executed and recorded; a failure does not stop the others."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

from tqdm import tqdm

from helpers import files, paths
from helpers.command import execution, executors, locks, run_record, shards
from helpers.command.jobs import Job, Shard
from helpers.command.options import MEASURED
from helpers.command.parser import PROGRAM
from helpers.command.tasks import READS, needs
from helpers.errors import InputError
from helpers.text import documents


def run_jobs(jobs: Sequence[Job], everything: bool, refresh: bool, at_a_time: int = 1) -> tuple[list[Job], list[Job]]:
    """Run what is not up to date when its turn comes; which jobs ran, and which failed, each explained in one line.

    A notebook comes after those whose tables it reads, on all models, and after its own shards. ``at_a_time`` run
    side by side, with the processors divided.
    """
    ran: list[Job | Shard] = []
    failures: list[Job | Shard] = []
    made = (paths.output() / folder for folder in ("results", "figures"))
    with locks.swept(*made), executors.make(at_a_time) as executor:
        for job, future in _finished(executor, jobs, failures, everything, refresh, at_a_time):
            try:
                if future.result():
                    ran.append(job)
                if isinstance(job, Job) and _is_rewritten(job, refresh):
                    execution.copy_clean(job.executed, job.notebook)
            except (InputError, OSError) as error:
                failures.append(job)
                where = paths.model_folder(job.model) if isinstance(error, InputError) else job.title
                tqdm.write(f"{PROGRAM}: {where}: {error}", file=sys.stderr)
    failed = [job for job in jobs if job in failures or any(shard in failures for shard in job.shards)]
    return [job for job in jobs if job in ran], failed


def execute(job: Job | Shard, everything: bool, refresh: bool, threads: int | None) -> bool:
    """Run a job and record what it read and made, or measure a shard, unless another run has just done so.

    Returns whether it was run. ``InputError`` names notebook, cell and cause.
    """
    if isinstance(job, Shard):
        shards.run(job, everything, threads)
        return True
    with locks.alone(job.model, job.slug, job.title):
        if not everything and job.is_current():
            return False
        start = time.time()
        offline = not documents.is_streamed(job.parameters["corpus"])
        parameters = job.parameters | ({"shards": len(job.shards)} if job.shards else {})
        given = {} if _is_rewritten(job, refresh) else parameters
        ledger = execution.execute(job.notebook, job.executed, given, offline, threads)
        _check_written(job, ledger)
        seconds = round(time.time() - start, 1)
        finished = run_record.finished(job.model, job.inputs, job.tokens_sha256, ledger, seconds)
        run_record.write(job.model, job.facts, job.slug, finished)
    return True


def refresh_introduction() -> None:
    """Rewrite the outputs of the notebooks that make no figure: the introduction and the playground."""
    for notebook in (*paths.NOTEBOOKS.glob("00_*.ipynb"), *paths.NOTEBOOKS.glob("playground.ipynb")):
        executed = paths.results("pocket") / "notebooks" / notebook.name
        execution.execute(notebook, executed, {}, offline=True)
        execution.copy_clean(executed, notebook)


def print_summary(jobs: Sequence[Job], ran: Sequence[Job]) -> None:
    """Every job that is done, how long it took, and its figure."""
    rows = []
    for job in jobs:
        record = run_record.read(job.model).get("experiments", {}).get(job.slug)
        seconds = "not recorded" if not record else f"{record['seconds']:.0f} s" if job in ran else "up to date"
        rows.append((job.title, seconds, str(paths.figures(job.model) / f"{job.slug}.png")))
    for title, seconds, figure in rows:
        print(f"{title:<{max(len(row[0]) for row in rows)}}  {seconds:>10}  {figure}")


def _is_rewritten(job: Job, refresh: bool) -> bool:
    """Whether the committed notebook gets these outputs: a refresh shows the model and not its checkpoints."""
    return refresh and not job.is_of_checkpoint


def _turn(job: Job) -> tuple[int, str]:
    """Where a job stands in line: first what others wait for, last what waits for others."""
    return (0 if job.slug in MEASURED else 2 if job.slug in READS else 1, job.notebook.name)


def _finished(
    executor: Executor,
    jobs: Sequence[Job],
    failures: Sequence[Job | Shard],
    everything: bool,
    refresh: bool,
    at_a_time: int,
) -> Iterator[tuple[Job | Shard, Future]]:
    """What was not up to date when its turn came, as it ends; not a notebook with a shard among the failures."""
    threads = max(1, (os.cpu_count() or 1) // at_a_time) if at_a_time > 1 else None
    waiting = [(piece, job) for job in sorted(jobs, key=_turn) for piece in _pieces(job)]
    running: dict[Future, Job | Shard] = {}

    def can_start(piece: Job | Shard, job: Job) -> bool:
        left = [*(each for each, _ in waiting), *running.values()]
        return not (needs(job, _notebooks(left)) or (piece is job and any(shard in left for shard in job.shards)))

    def must_run(piece: Job | Shard, job: Job) -> bool:
        if not everything and (job.is_current() or piece.is_current()):
            return False
        return piece is not job or not any(shard in failures for shard in job.shards)

    with tqdm(total=len(waiting), unit="notebook", leave=False) as bar:
        while waiting or running:
            ready = [pair for pair in waiting if can_start(*pair)] if len(running) < at_a_time else []
            if not ready:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    bar.update()
                    yield running.pop(future), future
                continue
            waiting.remove(ready[0])
            piece, job = ready[0]
            if must_run(piece, job):
                bar.set_description(piece.title)
                running[executor.submit(execute, piece, everything, refresh, threads)] = piece
            else:
                bar.update()


def _pieces(job: Job) -> list[Job | Shard]:
    return [*job.shards, job]


def _notebooks(pieces: Iterable[Job | Shard]) -> list[Job]:
    return [piece for piece in pieces if isinstance(piece, Job)]


def _check_written(job: Job, ledger: files.Ledger) -> None:
    """A notebook that ends without its table and its figure has failed."""
    results, figures = paths.results(job.model), paths.figures(job.model)
    wanted = (results / f"{job.slug}.csv", figures / f"{job.slug}.png", figures / f"{job.slug}.svg")
    for file in wanted:
        if file.resolve() not in ledger.written or not file.is_file():
            raise InputError(f"{job.notebook.name} ended without writing {file.name}")
