"""What a run ends with: the claims judged, the pages written, and a few lines on the terminal that say where they are.

Tables and figures are on disk by then, and nothing here may cost them: what fails is said in one line, and the rest
goes on.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial

from helpers import paths
from helpers.command.inspection import Inspected
from helpers.command.jobs import Job
from helpers.command.parser import PROGRAM
from helpers.errors import reason
from helpers.judging import scoreboard
from helpers.pages import explorer, report


def write(inspected: Sequence[Inspected], failures: Sequence[Job]) -> bool:
    """Judge the claims on each model, write its pages, print how many claims hold and, last, where its report is.

    ``failures`` are the jobs that failed. Returns whether everything here was made.
    """
    made = [_attempt(partial(_judge, each), f"claims of {each.model}") for each in inspected]
    made.append(_attempt(partial(scoreboard.save_across, inspected[0].parameters["seed"]), "claims across models"))
    made += [_write_pages(each, {job.slug for job in failures if job.model == each.model}) for each in inspected]
    return all(made)


def _judge(inspected: Inspected) -> None:
    scoreboard.save(inspected.model, inspected.parameters["seed"])


def _write_pages(inspected: Inspected, failed: set[str]) -> bool:
    """The explorer and the report of one model, and three lines."""
    model, name = inspected.model, paths.model_folder(inspected.model)
    of_model = {key: inspected.parameters[key] for key in ("device", "dtype", "seed")}

    def count() -> None:
        judged = scoreboard.load(model)
        print(f"\n{name}: {'no claim is judged' if judged is None else scoreboard.summary(judged)}")

    def explore() -> None:
        print(f"explorer: {explorer.update(model, **of_model, file_hashes=inspected.files)}")

    def tell() -> None:
        print(f"report: {report.write(model, failed)}")

    parts = {"count of claims": count, "explorer": explore, "report": tell}
    return all([_attempt(make, f"{what} of {name}") for what, make in parts.items()])


def _attempt(make: Callable[[], object], what: str) -> bool:
    """Whether it was made; if not, one line says why."""
    try:
        make()
    except Exception as error:  # whatever it is: what was computed stands, and the next page can still be written
        cause = f"{type(error).__name__}: {reason(error)}"
        print(f"{PROGRAM}: {what} not written: {cause}; tables and figures stay as they are", file=sys.stderr)
        return False
    return True
