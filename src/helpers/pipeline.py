"""The command line behind ``run_all.sh``: every experiment notebook on every model, through papermill.

Options, models and text are checked before the first kernel starts; a notebook that fails does not stop
the others; what is up to date is not run again, so that a second call goes on where the first one ended.
"""

import gc
import hashlib
import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import paths
from helpers.command import options, run_record
from helpers.command.options import PROGRAM, slug_of
from helpers.engine import sources
from helpers.errors import InputError

SUMMARIES = ("stages_of_inference",)  # notebooks that read the tables of the others


@dataclass(frozen=True)
class Job:
    """One notebook on one model."""

    model: str
    notebook: Path
    parameters: dict[str, Any]
    inputs: dict[str, Any]
    facts: dict[str, Any]

    @property
    def slug(self) -> str:
        return slug_of(self.notebook)

    @property
    def title(self) -> str:
        return f"{paths.model_folder(self.model)} {self.notebook.stem}"

    @property
    def executed(self) -> Path:
        return paths.results(self.model) / "notebooks" / self.notebook.name

    def is_current(self) -> bool:
        return run_record.is_current(self.model, self.slug, self.inputs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0 only if every figure was made."""
    try:
        return run(options.read(arguments))
    except InputError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{PROGRAM}: {error.filename or 'output'}: {error.strerror or error}; check --output", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def run(chosen: Namespace) -> int:
    """Check everything, run what is not up to date, and print what was made."""
    if chosen.output:
        os.environ[paths.OUTPUT_VARIABLE] = str(Path(chosen.output).expanduser().resolve())
    _check_output()
    models = list(dict.fromkeys(_absolute_model(model) for model in chosen.models))
    jobs = [job for model in models for job in plan(model, chosen)]
    everything = chosen.force or chosen.refresh
    if chosen.list:
        for job in jobs:
            print(f"{job.title}: {'to run' if everything or not job.is_current() else 'up to date'}")
        return 0
    ran, failures = _run_jobs(jobs, everything, refresh=chosen.refresh)
    if chosen.refresh and not chosen.only:
        _refresh_introduction()
    _print_summary([job for job in jobs if job not in failures], ran)
    _judge_claims(models, chosen.seed)
    return 1 if failures else 0


def plan(model: str, chosen: Namespace) -> list[Job]:
    """Load and check one model and its text, save the tokens, and say what is to be run on it."""
    source = sources.find(model)
    from helpers import corpus, models  # these load torch: only after what is cheap to check is good
    from helpers.engine import placement

    device = str(Path(chosen.device).absolute()) if chosen.device.endswith(".json") else chosen.device
    bridge = models.load(model, device, chosen.dtype, chosen.seed)
    context = chosen.context
    if context > models.context_limit(bridge) and not chosen.context_is_given:
        context = models.context_limit(bridge)
        _note(f"{model}: context lowered to the model's limit of {context} tokens")
    text_source = _absolute_corpus(chosen.corpus)
    tokens = corpus.windows(bridge, text_source, chosen.tokens, context)
    if len(tokens) < max(1, chosen.tokens // context):
        _note(f"{model}: corpus {chosen.corpus} has only {len(tokens)} sequences of {context} tokens; all are used")
    parameters = {
        "model": model,
        "corpus": text_source,
        "tokens": chosen.tokens,
        "context": context,
        "control": "none" if source.untrained else chosen.control,
        "device": device,
        "dtype": chosen.dtype,
        "batch_size": chosen.batch_size,
        "seed": chosen.seed,
    }
    facts = {
        "model": paths.model_folder(model),
        "revision": source.revision,
        "architecture": bridge.cfg.architecture,
        "n_layers": bridge.cfg.n_layers,
        "n_parameters": models.count_parameters(source),
        "device": placement.device_name(device),
        "parameters": parameters,
        "files": source.file_hashes(),
        "tokens_sha256": hashlib.sha256(tokens.numpy().tobytes()).hexdigest(),
    }
    if not chosen.list:
        corpus.save_tokens(tokens, model)
    del bridge
    gc.collect()
    return [_job(model, notebook, parameters, facts) for notebook in chosen.notebooks]


def _job(model: str, notebook: Path, parameters: dict[str, Any], facts: dict[str, Any]) -> Job:
    from helpers import execution  # loads papermill

    if unknown := set(parameters) - execution.parameter_names(notebook):
        raise InputError(
            f"{notebook.name} has no parameter {', '.join(sorted(unknown))}: add it to its parameters cell"
        )
    inputs = {
        "notebook": run_record.source_hash(notebook),
        "helpers": run_record.helpers_hash(),
        **{key: facts[key] for key in ("parameters", "files", "tokens_sha256", "device")},
    }
    return Job(model, notebook, parameters, inputs, facts)


def _run_jobs(jobs: list[Job], everything: bool, refresh: bool) -> tuple[list[Job], list[Job]]:
    """Run what is not up to date when its turn comes; which jobs ran, and which failed, each explained in one line."""
    from tqdm import tqdm

    ran, failures = [], []
    with tqdm(jobs, unit="notebook", leave=False) as bar:
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
    """Execute one notebook and record what it made. Raises ``InputError`` with notebook, cell and cause."""
    from helpers.command import execution

    start = time.time()
    offline = not job.parameters["corpus"].startswith("hf:")
    execution.execute(job.notebook, job.executed, {} if refresh else job.parameters, offline)
    outputs = [path.relative_to(paths.output()) for path in _written_since(job, start)]
    for wanted in (paths.results(job.model) / f"{job.slug}.csv", paths.figures(job.model) / f"{job.slug}.png"):
        if wanted.relative_to(paths.output()) not in outputs:
            raise InputError(f"{job.notebook.name} ended without writing {wanted.name}")
    experiment = {
        "inputs": job.inputs,
        "read": run_record.hashes(_tables_read(job)),
        "outputs": run_record.hashes(outputs),
        "seconds": round(time.time() - start, 1),
    }
    run_record.write(job.model, job.facts, job.slug, experiment)
    if refresh:
        execution.copy_clean(job.executed, job.notebook)


def _refresh_introduction() -> None:
    """Rewrite the outputs of the notebook that makes no figure."""
    from helpers.command import execution

    for notebook in paths.NOTEBOOKS.glob("00_*.ipynb"):
        executed = paths.results("pocket") / "notebooks" / notebook.name
        execution.execute(notebook, executed, {}, offline=True)
        execution.copy_clean(executed, notebook)


def _tables_read(job: Job) -> list[Path]:
    """The tables of other experiments that the notebook puts together."""
    if job.slug not in SUMMARIES:
        return []
    from helpers.judging import stages

    slugs = [module.SLUG for module in stages.EXPERIMENTS]
    folders = [paths.results(f"{job.model}{suffix}") for suffix in ("", sources.UNTRAINED)]
    found = [path for folder in folders for slug in slugs for path in sorted(folder.glob(f"{slug}.*"))]
    return [path.relative_to(paths.output()) for path in found]


def _written_since(job: Job, start: float) -> list[Path]:
    """The experiment's tables and figures that are no older than ``start``."""
    folders = [paths.results(job.model), paths.figures(job.model)]
    if job.parameters["control"] == "untrained":
        folders.append(paths.results(f"{job.model}{sources.UNTRAINED}"))
    found = [path for folder in folders for path in sorted(folder.glob(f"{job.slug}*.*"))]
    return [path for path in found if path.stat().st_mtime >= start - 1]


def _print_summary(jobs: list[Job], ran: list[Job]) -> None:
    rows = []
    for job in jobs:
        record = run_record.read(job.model)["experiments"][job.slug]
        seconds = f"{record['seconds']:.0f} s" if job in ran else "up to date"
        rows.append((job.title, seconds, str(paths.figures(job.model) / f"{job.slug}.png")))
    for title, seconds, figure in rows:
        print(f"{title:<{max(len(row[0]) for row in rows)}}  {seconds:>10}  {figure}")


def _judge_claims(models: list[str], seed: int) -> None:
    """Write and print what the tables say of the paper's claims."""
    from helpers.judging import claims, stages

    for model in models:
        claims.save(model, seed)
        print(f"\nThe paper's claims, on {paths.model_folder(model)}:", *claims.lines(model, seed), sep="\n")
    claims.save_across(stages.models_with_tables(), seed)


def _absolute_model(name: str) -> str:
    """A local folder made absolute, so that a notebook finds it from its own folder; other names unchanged."""
    base, suffix = paths.split_model_name(name)
    return f"{Path(base).expanduser().resolve()}{suffix}" if paths.is_model_folder(base) else name


def _absolute_corpus(name: str) -> str:
    """The same for a corpus: a file or folder made absolute."""
    return name if name == "bundled" or name.startswith("hf:") else str(Path(name).expanduser().resolve())


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


def _note(message: str) -> None:
    print(f"note: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
