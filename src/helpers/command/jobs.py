"""Jobs: one notebook on one model each, known in full before the first kernel starts.

Three steps: ``inspect`` loads and checks a model and its text, ``save_tokens`` writes what it is evaluated on,
``jobs_of`` says what is to be run on it.
"""

import gc
import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from helpers import corpus, models, paths
from helpers.command import execution, run_record
from helpers.command.options import Options, slug_of
from helpers.engine import placement
from helpers.engine.sources import Source
from helpers.errors import InputError
from helpers.text import documents


@dataclass(frozen=True)
class Inspected:
    """A model that can be run, and what it is run with."""

    model: str
    revision: str | None
    architecture: str
    n_layers: int
    n_parameters: int
    device: str  # what the parameter of that name means on this machine
    parameters: dict[str, Any]  # of the notebooks
    files: dict[str, str]  # sha256 of the files that the model is made of
    tokens: Int[Tensor, "sequence context"] = field(repr=False, compare=False)

    def facts(self) -> dict[str, Any]:
        """The model and the run as ``run.json`` describes them."""
        return {
            "model": paths.model_folder(self.model),
            "revision": self.revision,
            "architecture": self.architecture,
            "n_layers": self.n_layers,
            "n_parameters": self.n_parameters,
            "device": self.device,
            "parameters": self.parameters,
            "files": self.files,
            "tokens_sha256": hashlib.sha256(self.tokens.numpy().tobytes()).hexdigest(),
        }


@dataclass(frozen=True)
class Job:
    """One notebook on one model; ``inputs`` are the hashes and parameters that it depends on whatever it reads."""

    model: str
    notebook: Path
    parameters: dict[str, Any]
    inputs: dict[str, Any]
    tokens_sha256: str
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
        return run_record.is_current(self.model, self.slug, self.inputs, self.tokens_sha256)


def inspect(source: Source, chosen: Options) -> Inspected:
    """Load and check a model and cut its text; nothing is written. Raises ``InputError``."""
    device = str(Path(chosen.device).absolute()) if chosen.device.endswith(".json") else chosen.device
    bridge = models.load(source.name, device, chosen.dtype, chosen.seed)
    limit = models.context_limit(bridge)
    context = chosen.context if chosen.context_is_given else min(chosen.context, limit)
    if context < chosen.context:
        _note(f"{source.name}: context lowered to the model's limit of {context} tokens")
    text_source = _absolute_corpus(chosen.corpus)
    tokens = corpus.windows(bridge, text_source, chosen.tokens, context)
    if len(tokens) < max(1, chosen.tokens // context):
        available = f"only {len(tokens)} sequences of {context} tokens; all are used"
        _note(f"{source.name}: corpus {chosen.corpus} has {available}")
    architecture, n_layers = bridge.cfg.architecture, bridge.cfg.n_layers
    del bridge
    gc.collect()
    parameters = {
        "model": source.name,
        "corpus": text_source,
        "tokens": chosen.tokens,
        "context": context,
        "control": "none" if source.untrained else chosen.control,
        "device": device,
        "dtype": chosen.dtype,
        "batch_size": chosen.batch_size,
        "seed": chosen.seed,
    }
    return Inspected(
        model=source.name,
        revision=source.revision,
        architecture=architecture,
        n_layers=n_layers,
        n_parameters=models.count_parameters(source),
        device=placement.device_name(device),
        parameters=parameters,
        files=source.file_hashes(),
        tokens=tokens,
    )


def save_tokens(inspected: Inspected) -> None:
    """Write what the model is evaluated on to ``tokens.npy`` in its results."""
    corpus.save_tokens(inspected.tokens, inspected.model)


def jobs_of(inspected: Inspected, notebooks: Iterable[Path]) -> list[Job]:
    """What is to be run on a model, in the order of the notebooks; each must take every parameter."""
    facts = inspected.facts()
    shared = {key: facts[key] for key in ("parameters", "files", "device")} | {"helpers": run_record.helpers_hash()}
    jobs = []
    for notebook in notebooks:
        if unknown := set(inspected.parameters) - execution.parameter_names(notebook):
            names = ", ".join(sorted(unknown))
            raise InputError(f"{notebook.name} has no parameter {names}: add it to its parameters cell")
        inputs = {"notebook": run_record.source_hash(notebook), **shared}
        jobs.append(Job(inspected.model, notebook, inspected.parameters, inputs, facts["tokens_sha256"], facts))
    return jobs


def _absolute_corpus(name: str) -> str:
    """A file or folder made absolute, so that a notebook finds it from its own folder; other names unchanged."""
    return name if name == "bundled" or documents.is_streamed(name) else str(Path(name).expanduser().resolve())


def _note(message: str) -> None:
    print(f"note: {message}", file=sys.stderr)
