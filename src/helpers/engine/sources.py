"""Find a model's files: an alias of the paper's models, a local folder or a Hub id, ``@revision``, ``@untrained``.

Only what is needed is downloaded, and never a pickle. A revision of a local folder is a sub-folder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from helpers import paths
from helpers.engine import hub, model_files
from helpers.engine.model_files import WEIGHTS
from helpers.errors import InputError, refused
from helpers.files import sha256

ALIASES = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "pythia-410m": "EleutherAI/pythia-410m-deduped",
    "pythia-1.4b": "EleutherAI/pythia-1.4b-deduped",
    "pythia-2.8b": "EleutherAI/pythia-2.8b-deduped",
    "pythia-6.9b": "EleutherAI/pythia-6.9b-deduped",
    "pythia-12b": "EleutherAI/pythia-12b-deduped",
    "phi-1": "microsoft/phi-1",
    "phi-1_5": "microsoft/phi-1_5",
    "phi-2": "microsoft/phi-2",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B",
    "qwen2.5-1.5b": "Qwen/Qwen2.5-1.5B",
    "qwen2.5-3b": "Qwen/Qwen2.5-3B",
    "qwen2.5-14b": "Qwen/Qwen2.5-14B",
}
UNTRAINED = "@untrained"
PICKLES = (".bin", ".pt", ".pth")
CONFIG = "config.json"
DESCRIPTION = ["*.json", "*.model", "*.txt", "*.jinja"]
IGNORED = ["*/*", "consolidated*"]


@dataclass(frozen=True)
class Source:
    """A model found: the folder that holds its files, and how it is to be used."""

    name: str
    folder: Path
    revision: str | None
    untrained: bool

    def file_hashes(self) -> dict[str, str]:
        """sha256 of the files the model is made of, by name; an untrained twin has no weights of its own."""
        files = sorted(path for pattern in _needed(not self.untrained) for path in self.folder.glob(pattern))
        return {path.name: sha256(path) for path in files}


def find(name: str, config_only: bool = False) -> Source:
    """Resolve ``name`` to a local folder, downloading the safetensors of a Hub model where needed.

    ``config_only`` asks for ``config.json`` and nothing else: enough to know a model, not to load it.
    """
    base, suffix = paths.split_model_name(name)
    untrained = suffix.endswith(UNTRAINED)
    revision = suffix.removesuffix(UNTRAINED).removeprefix("@") or None
    if not base or name.endswith("@"):
        raise InputError(f"model name {name!r} is incomplete: give an alias, a Hub id or a folder")
    needed = [CONFIG] if config_only else _needed(not untrained)
    bundled = paths.absolute(paths.BUNDLED_MODELS / base)
    if paths.is_model_folder(base) or (bundled / CONFIG).is_file():
        root = paths.absolute(base) if paths.is_model_folder(base) else bundled
        folder = _local_revision(base, root, revision)
    elif "/" not in base and base not in ALIASES:
        raise InputError(f"no model {base!r}: not a model folder here and not one of {', '.join(['pocket', *ALIASES])}")
    elif base.startswith((".", "/", "~")) or base.count("/") > 1:
        raise InputError(f"no folder {base}: check the path, or give a Hub id such as openai-community/gpt2")
    else:
        folder = root = _download(ALIASES.get(base, base), revision, needed)
        revision = folder.name
    source = Source(name, folder, revision, untrained)
    _check_files(source, needed)
    model_files.check(name, folder, needed, root)
    return source


def _local_revision(base: str, folder: Path, revision: str | None) -> Path:
    if revision is None:
        return folder
    chosen = paths.absolute(folder / revision)
    if not (chosen / CONFIG).is_file():
        known = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        raise InputError(f"{base} has no revision {revision}; it has: {', '.join(known) or 'none'}")
    return chosen


def _download(hub_id: str, revision: str | None, needed: list[str]) -> Path:
    at = f"{hub_id}@{revision}" if revision else hub_id
    hub.limit_waiting()
    with refused(f"{at} could not be downloaded, try again"), _explained(hub_id, revision, at):
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=needed, ignore_patterns=IGNORED))


@contextmanager
def _explained(hub_id: str, revision: str | None, at: str) -> Iterator[None]:
    """What the Hub's own errors mean for whoever named the model."""
    try:
        yield
    except GatedRepoError:
        raise InputError(
            f"{at} is gated: ask for access on its page at huggingface.co, then run `hf auth login` or set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{hub_id} has no revision {revision}: look at the branches on its Hub page") from None
    except RepositoryNotFoundError:
        raise InputError(f"{at} is not on the Hub (or private): check the spelling, or run `hf auth login`") from None
    except HFValidationError:
        raise InputError(f"{at!r} is neither a folder here nor a Hub id (owner/name)") from None
    except LocalEntryNotFoundError:
        raise InputError(
            f"{at} is no folder here, not in the local cache, and the Hub cannot be reached: "
            "check the name, or go online once"
        ) from None


def _check_files(source: Source, needed: list[str]) -> None:
    if not (source.folder / CONFIG).is_file():
        raise InputError(f"{source.name}: no config.json in {source.folder}; point at a Hugging Face model folder")
    if WEIGHTS not in needed or any(source.folder.glob(WEIGHTS)):
        return
    pickled = [path.name for path in source.folder.iterdir() if path.suffix in PICKLES]
    what = f"only pickled weights ({pickled[0]})" if pickled else "no weights in safetensors format"
    raise InputError(
        f"{source.name} has {what}; pickles can run code and are not opened or downloaded: "
        "save it again with save_pretrained, or choose a revision that has model.safetensors"
    )


def _needed(with_weights: bool) -> list[str]:
    """Patterns of the files a model is made of; an untrained twin has no weights of its own."""
    return [*DESCRIPTION, WEIGHTS] if with_weights else DESCRIPTION
