"""``--list``: the jobs of a command, whether each would be run, and what it would cost.

A model is loaded only if something has been recorded of it: of any other model everything is to be run.
"""

from helpers.command import costs, inspection, jobs, run_record, tasks
from helpers.command.options import Options
from helpers.command.tasks import Task
from helpers.engine import sources


def show(chosen: Options) -> None:
    """Print every job with its state and its cost, and the sums."""
    outline = tasks.outline(chosen)
    states = dict.fromkeys(outline, "to run") | _states(chosen)
    print(*costs.lines(outline, states, chosen), sep="\n")


def _states(chosen: Options) -> dict[Task, str]:
    """Of the models that something is recorded of."""
    parts = [
        (sources.find(model), part)
        for part in (chosen, chosen.of_checkpoints())
        for model in part.models
        if run_record.read(model)
    ]
    inspected = [inspection.inspect(source, part) for source, part in parts]
    planned = jobs.plan(inspected, [part.notebooks for _, part in parts])
    everything = chosen.force or chosen.refresh
    return {
        Task(job.model, job.notebook): "to run" if everything or not job.is_current() else "up to date"
        for job in planned
    }
