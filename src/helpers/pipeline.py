"""The command line behind ``run_all.sh``: every experiment notebook on every model, through papermill.

Options, models and text are checked before the first kernel starts; a notebook that fails does not stop
the others; what is up to date is not run again, so that a second call goes on where the first one ended.
"""

import os
import sys
from collections.abc import Sequence

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
    """Check everything, run what is not up to date, write the pages, and print what was made."""
    if chosen.output:
        os.environ[paths.OUTPUT_VARIABLE] = str(chosen.output)
    _check_output()
    found = [(sources.find(model), part) for part in (chosen, chosen.of_checkpoints()) for model in part.models]
    from helpers.command import inspection, jobs, running  # these load torch: only after what is cheap to check is good
    from helpers.pages import ending

    inspected = [inspection.inspect(source, part) for source, part in found]
    planned = jobs.plan(inspected, [part.notebooks for _, part in found])
    everything = chosen.force or chosen.refresh
    if chosen.list_only:
        running.print_list(planned, everything)
        return 0
    for model in inspected:
        inspection.save_tokens(model)
    ran, failures = running.run_jobs(planned, everything, chosen.refresh, chosen.jobs)
    if chosen.refresh and chosen.has_all_notebooks:
        running.refresh_introduction()
    running.print_summary([job for job in planned if job not in failures], ran)
    made = ending.write(inspected[: len(chosen.models)], failures)  # not the checkpoints
    return 0 if made and not failures else 1


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
