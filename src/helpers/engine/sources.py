"""Find a model's files: an alias of the paper's models, a local folder or a Hub id, ``@revision``, ``@untrained``.

Only what is needed is downloaded, and never a pickle. A revision of a local folder is a sub-folder.
"""

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
from helpers.errors import InputError, reason
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
WEIGHTS = "*.safetensors"
PICKLES = (".bin", ".pt", ".pth")
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
        files = sorted(path for pattern in _needed(self.untrained) for path in self.folder.glob(pattern))
        return {path.name: sha256(path) for path in files}


def find(name: str) -> Source:
    """Resolve ``name`` to a local folder, downloading the safetensors of a Hub model where needed."""
    base, suffix = paths.split_model_name(name)
    untrained = suffix.endswith(UNTRAINED)
    revision = suffix.removesuffix(UNTRAINED).removeprefix("@") or None
    if not base or name.endswith("@"):
        raise InputError(f"model name {name!r} is incomplete: give an alias, a Hub id or a folder")
    folder = Path(base).expanduser()
    is_local = paths.is_model_folder(base)
    if not is_local and (paths.BUNDLED_MODELS / base / "config.json").is_file():
        folder, is_local = paths.BUNDLED_MODELS / base, True
    if is_local:
        folder = _local_revision(base, folder.resolve(), revision)
    elif "/" not in base and base not in ALIASES:
        raise InputError(f"no model {base!r}: not a model folder here and not one of {', '.join(['pocket', *ALIASES])}")
    elif base.startswith((".", "/", "~")) or base.count("/") > 1:
        raise InputError(f"no folder {base}: check the path, or give a Hub id such as openai-community/gpt2")
    else:
        folder = _download(ALIASES.get(base, base), revision, untrained)
        revision = folder.name
    source = Source(name, folder, revision, untrained)
    _check_files(source)
    return source


def _local_revision(base: str, folder: Path, revision: str | None) -> Path:
    if revision is None:
        return folder
    if not (folder / revision / "config.json").is_file():
        known = sorted(path.parent.name for path in folder.glob("*/config.json"))
        raise InputError(f"{base} has no revision {revision}; it has: {', '.join(known) or 'none'}")
    return folder / revision


def _download(hub_id: str, revision: str | None, untrained: bool) -> Path:
    at = f"{hub_id}@{revision}" if revision else hub_id
    try:
        needed = _needed(untrained)
        folder = snapshot_download(hub_id, revision=revision, allow_patterns=needed, ignore_patterns=IGNORED)
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
    except Exception as error:  # the client lets its transport's own exceptions through
        detail = f"{type(error).__name__}: {reason(error)}"
        raise InputError(f"{at} could not be downloaded, try again ({detail})") from None
    return Path(folder)


def _check_files(source: Source) -> None:
    if not (source.folder / "config.json").is_file():
        raise InputError(f"{source.name}: no config.json in {source.folder}; point at a Hugging Face model folder")
    if source.untrained or any(source.folder.glob(WEIGHTS)):
        return
    pickled = [path.name for path in source.folder.iterdir() if path.suffix in PICKLES]
    what = f"only pickled weights ({pickled[0]})" if pickled else "no weights in safetensors format"
    raise InputError(
        f"{source.name} has {what}; pickles can run code and are not opened or downloaded: "
        "save it again with save_pretrained, or choose a revision that has model.safetensors"
    )


def _needed(untrained: bool) -> list[str]:
    """Patterns of the files a model is made of; an untrained twin has no weights of its own."""
    return DESCRIPTION if untrained else [*DESCRIPTION, WEIGHTS]
