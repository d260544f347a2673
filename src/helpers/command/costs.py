"""What a job will cost: parameters, memory in bytes, seconds on this machine's processor and on one GPU.

Time is work (``formulas``) by rates (``rates``), and what every notebook takes to start and every model to load, as
measured on two cores. Memory is the main memory's (``footprint``). These are numbers to plan with: the tests hold them
against what was measured, sweeps within a factor of 2 and notebooks within 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from helpers import paths
from helpers.command import footprint, tasks
from helpers.command.formulas import EXPERIMENTS, Experiment
from helpers.command.options import Options
from helpers.command.tasks import Task
from helpers.command.workload import Run
from helpers.engine import architectures, rates
from helpers.engine.arithmetic import Sizes
from helpers.engine.rates import Rates
from helpers.engine.sources import UNTRAINED
from helpers.errors import InputError
from helpers.judging import twins

START_SECONDS = 12.0  # of a notebook: kernel, imports, figures
LOAD_SECONDS, PER_PARAMETER, PER_DRAWN_PARAMETER = 1.0, 20e-9, 40e-9  # of a model; more where weights are drawn
TO_RUN = "to run"
HEADING = ("model", "notebook", "state", "parameters", "memory", "this CPU", "one GPU")
CLUSTERS = (2, 8)  # GPUs
PAPER_TOKENS, PAPER_HOURS = 1_000_000, 8  # its appendix B: two A6000, per model and intervention


@dataclass(frozen=True)
class Cost:
    """What one notebook takes on one model."""

    n_parameters: int
    memory_bytes: int
    cpu_seconds: float
    gpu_seconds: float


def of(model: str, slug: str, chosen: Options, at: Rates | None = None) -> Cost:
    """The cost of one experiment on one model, ``at`` the rates of this machine if none are given.

    Nothing is loaded. Raises ``InputError`` for a model whose architecture is out of reach.
    """
    if slug not in EXPERIMENTS:
        raise InputError(f"the cost of {slug} is not known: say what it runs in helpers/command/formulas.py")
    at, experiment = at or rates.here(chosen.dtype), EXPERIMENTS[slug]
    run = run_of(model, slug, chosen)
    if experiment.operations is None:
        return Cost(run.sizes.n_parameters, footprint.PROCESS_BYTES, START_SECONDS, START_SECONDS)
    seconds = START_SECONDS + _loading_seconds(run, experiment) + experiment.seconds(run)
    operations = experiment.operations(run)
    memory = footprint.peak_bytes(run, experiment, chosen.dtype)
    return Cost(run.sizes.n_parameters, memory, seconds + operations / at.cpu, seconds + operations / at.gpu)


def run_of(model: str, slug: str, chosen: Options) -> Run:
    """How much text and how many models an experiment runs on."""
    sizes = sizes_of(model)
    context = min(chosen.context, sizes.longest or chosen.context)
    has_twins = chosen.control == "untrained" and not model.endswith(UNTRAINED)
    return Run(
        sizes=sizes,
        n_sequences=max(1, chosen.tokens // context),
        context=context,
        twins=twins.SEEDS if has_twins else 0,
        exact=int(slug == "layer_lesion" and chosen.dtype != "float32"),
    )


@cache
def sizes_of(model: str) -> Sizes:
    """The sizes of a model, from its configuration."""
    return Sizes.of(architectures.skeleton(architectures.config_of(model)))


def _loading_seconds(run: Run, experiment: Experiment) -> float:
    loads, drawn = 1 + run.exact, run.twins * experiment.draws
    of_parameters = PER_PARAMETER * loads + PER_DRAWN_PARAMETER * drawn
    return LOAD_SECONDS * (loads + drawn) + of_parameters * run.sizes.n_stored


def lines(jobs: Sequence[Task], states: Mapping[Task, str], chosen: Options, at: Rates | None = None) -> list[str]:
    """What ``--list`` prints: every job with its state and its cost if known, and the sums of those to run."""
    at = at or rates.here(chosen.dtype)
    parts = {job: chosen if job.model in chosen.models else chosen.of_checkpoints() for job in jobs}
    costs = {job: of(job.model, job.slug, part, at) for job, part in parts.items() if job.slug in EXPERIMENTS}
    rows = [HEADING, *(_row(job, states[job], costs.get(job)) for job in jobs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [
        [f"{cell:{align}{width}}" for align, cell, width in zip("<<<>>>>", row, widths, strict=True)] for row in rows
    ]
    to_run = {job: cost for job, cost in costs.items() if states[job] == TO_RUN}
    return [*("  ".join(row) for row in cells), "", *_sums(to_run, chosen, at)]


def _row(job: Task, state: str, cost: Cost | None) -> tuple[str, ...]:
    known = (*_sizes(cost), *map(_duration, (cost.cpu_seconds, cost.gpu_seconds))) if cost else ("?",) * 4
    return paths.model_folder(job.model), job.notebook.stem, state, *known


def _sums(costs: Mapping[Task, Cost], chosen: Options, at: Rates) -> list[str]:
    """All jobs one after another, on several GPUs, and the longest chain of those that wait for each other."""
    if not costs:
        return ["nothing to run"]
    n_models = len({job.model for job in costs})
    largest = max(costs, key=lambda job: costs[job].memory_bytes)
    cpu, gpu = (sum(getattr(cost, name) for cost in costs.values()) for name in ("cpu_seconds", "gpu_seconds"))
    chain = longest_chain({job: cost.gpu_seconds for job, cost in costs.items()})
    found = [
        (f"jobs: {len(costs)}, models: {n_models}; the largest", _sizes(costs[largest])[1], largest.title),
        ("on this CPU", _duration(cpu), at.cpu_is),
        ("on one GPU", _duration(gpu), at.gpu_is),
        *((f"on {n} of them, at least", _duration(max(chain, gpu / n)), "") for n in CLUSTERS),
        (f"on {len(costs)} of them", _duration(chain), "the longest chain of jobs that read each other's tables"),
    ]
    lesions = [cost.gpu_seconds for job, cost in costs.items() if job.slug == "layer_lesion"]
    if lesions and chosen.tokens == PAPER_TOKENS:
        hours = PAPER_HOURS * 2 * len(lesions)
        words = f"the authors, on two A6000: {hours} hours, at {PAPER_HOURS} per model and intervention"
        found.append(("drops and swaps alone, on one GPU", _duration(sum(lesions)), words))
    width = max(len(what) for what, *_ in found)
    return [f"{what:<{width}}  {value:>8}  {words}".rstrip() for what, value, words in found]


def longest_chain(seconds: Mapping[Task, float]) -> float:
    """Seconds until the last of the jobs ends when each starts as soon as those that it reads have ended."""

    @cache
    def end(job: Task) -> float:
        return seconds[job] + max(map(end, tasks.needs(job, seconds)), default=0.0)

    return max(map(end, seconds))


def _sizes(cost: Cost) -> tuple[str, str]:
    n = cost.n_parameters
    return f"{n / 1e9:.1f} B" if n >= 1e9 else f"{n / 1e6:.0f} M", f"{cost.memory_bytes / 1e9:.1f} GB"


def _duration(seconds: float) -> str:
    """In seconds, minutes, hours or days, with two digits or three."""
    for unit, name in ((1, "s"), (60, "min"), (3600, "h"), (86400, "d")):
        if seconds < 100 * unit or name == "d":
            break
    return f"{seconds / unit:.{int(unit > 1 and seconds < 10 * unit)}f} {name}"
