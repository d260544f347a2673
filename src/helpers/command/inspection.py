"""Models and their texts, loaded and checked before the first kernel starts."""

import gc
import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import corpus, models, paths
from helpers.command.options import Options
from helpers.engine import placement
from helpers.engine.sources import Source
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

    def purpose(self) -> str:
        """The same for runs that make the same of the model, and may work on it side by side."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()


def inspect(source: Source, chosen: Options) -> Inspected:
    """Load and check a model and cut its text; nothing is written, and the model is let go. Raises ``InputError``."""
    inspected = opened(source, chosen)[1]
    gc.collect()
    return inspected


def opened(source: Source, chosen: Options) -> tuple[TransformerBridge, Inspected]:
    """The same, and the model. Raises ``InputError``."""
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
    return bridge, Inspected(
        model=source.name,
        revision=source.revision,
        architecture=bridge.cfg.architecture,
        n_layers=bridge.cfg.n_layers,
        n_parameters=models.count_parameters(source),
        device=placement.device_name(device),
        parameters=parameters,
        files=source.file_hashes(),
        tokens=tokens,
    )


def save_tokens(inspected: Inspected) -> None:
    """Write what the model is evaluated on to ``tokens.npy`` in its results."""
    corpus.save_tokens(inspected.tokens, inspected.model)


def _absolute_corpus(name: str) -> str:
    """A file or folder made absolute, so that a notebook finds it from its own folder; other names unchanged."""
    return name if name == "bundled" or documents.is_streamed(name) else str(paths.absolute(name))


def _note(message: str) -> None:
    print(f"note: {message}", file=sys.stderr)
