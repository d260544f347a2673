"""The command line behind ``run_all.sh``: every experiment notebook on every model, through papermill.

Options, models and text are checked before the first kernel starts; a notebook that fails does not stop
the others; what is up to date is not run again, so that a second call goes on where the first one ended.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from helpers import paths
from helpers.command import exit_status, options
from helpers.command.options import Options
from helpers.command.parser import PROGRAM
from helpers.engine import sources
from helpers.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0 only if every figure and every page was made."""
    return exit_status.of(lambda: run(options.read(arguments)), PROGRAM, "; the same command goes on from here")


def run(chosen: Options) -> int:
    """Check everything, run what is not up to date, write the pages, and print what was made; or what was asked."""
    if chosen.output:
        os.environ[paths.OUTPUT_VARIABLE] = str(chosen.output)
    if chosen.verify:
        from helpers.command import verification

        return verification.run(chosen)
    _check_output()
    if chosen.list_only:
        from helpers.command import listing

        listing.show(chosen)
        return 0
    if chosen.shard:
        return _run_shard(chosen)
    return _run_jobs(chosen)


def _run_jobs(chosen: Options) -> int:
    found = [(sources.find(model), part) for part in (chosen, chosen.of_checkpoints()) for model in part.models]
    from helpers.command import inspection, jobs, locks, running  # these load torch: after what is cheap to check
    from helpers.pages import ending

    inspected = [inspection.inspect(source, part) for source, part in found]
    planned = jobs.plan(inspected, [part.notebooks for _, part in found], chosen.shards)
    with ExitStack() as stack:
        for model in inspected:
            stack.enter_context(locks.together(model.model, model.purpose()))
        for model in inspected:
            inspection.save_tokens(model)
        ran, failures = running.run_jobs(planned, chosen.force or chosen.refresh, chosen.refresh, chosen.jobs)
        if chosen.refresh and chosen.has_all_notebooks:
            running.refresh_introduction()
        running.print_summary([job for job in planned if job not in failures], ran)
        made = not chosen.pages or ending.write(inspected[: len(chosen.models)], failures)  # not of the checkpoints
    return 0 if made and not failures else 1


def _run_shard(chosen: Options) -> int:
    """Measure one shard of one experiment on one model, and nothing else."""
    source = sources.find(chosen.models[0])
    from helpers.command import inspection, jobs, locks, shards, stopping

    stopping.with_parent()
    bridge, inspected = inspection.opened(source, chosen)
    of_experiment = jobs.shards_of(inspected, options.slug_of(chosen.notebooks[0]), chosen.shards)
    with locks.together(inspected.model, inspected.purpose()):
        shards.measure(of_experiment[(chosen.shard or 1) - 1], bridge, inspected.tokens, chosen.force)
    return 0


def _check_output() -> None:
    """The output folder must be one that can be written to."""
    folder = paths.output()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"output folder {folder} cannot be made ({error.strerror}): choose another with --output"
        ) from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"output folder {folder} cannot be written to: choose another with --output")


if __name__ == "__main__":
    sys.exit(main())
