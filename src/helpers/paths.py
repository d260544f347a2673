"""Where everything lives: absolute paths, the same from a notebook, the command line and the tests.

The environment variable ``COMPANION_OUTPUT`` moves everything that is written (figures and results)
to another folder; what is read stays where it is.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from helpers.errors import InputError, refused

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
PRESETS = ROOT / "presets"
DATA = ROOT / "data"
PASSAGES = DATA / "passages"
REFERENCE = ROOT / "reference"
BUNDLED_MODELS = ROOT / "models"
HELPERS = ROOT / "src" / "helpers"
OUTPUT_VARIABLE = "COMPANION_OUTPUT"


def absolute(name: str | Path) -> Path:
    """The absolute path that a user means by ``name``; nothing need be there.

    Raises ``InputError`` for what no path can be: the home of nobody, a link that leads back to itself, a null byte.
    """
    with refused(f"{str(name)!r} is no path that can be followed: check its spelling and its links"):
        path = Path(name).expanduser().resolve()
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
    return path


def output() -> Path:
    """The folder that holds ``figures/`` and ``results/``: the repository unless ``COMPANION_OUTPUT`` is set."""
    return absolute(os.environ.get(OUTPUT_VARIABLE) or ROOT)


def figures(model: str) -> Path:
    """Folder of the model's figures."""
    return output() / "figures" / model_folder(model)


def results(model: str) -> Path:
    """Folder of the model's tables, run record and executed notebooks."""
    return output() / "results" / model_folder(model)


def is_model_folder(name: str) -> bool:
    """Whether a name means a local folder: an existing path, or in one word a folder that holds a model.

    In one word, so that ``pocket`` or ``gpt2`` is not mistaken for a folder of figures of that name.
    """
    try:
        folder = absolute(name)
    except InputError:
        return False
    if not name or not folder.is_dir():
        return False
    return (
        len(Path(name).parts) > 1
        or name[0] in ".~"
        or any(folder.glob("config.json"))
        or any(folder.glob("*/config.json"))
    )


def split_model_name(name: str) -> tuple[str, str]:
    """Split ``base@suffix`` into the base and the suffix with its ``@``; an existing folder is all base.

    The suffix may be a revision, ``untrained``, or both (``base@revision@untrained``).
    """
    base, suffix = name, ""
    while not is_model_folder(base) and "@" in base:
        base, _, last = base.rpartition("@")
        suffix = f"@{last}{suffix}"
    return base, suffix


def model_folder(name: str) -> str:
    """The name under which a model's output is filed, and by which its tables call it.

    An alias stays as it is, ``/`` in a Hub id becomes ``--``, a local folder gives its own name and six
    hex digits of its absolute path (two checkpoints called ``final`` do not collide); ``@...`` stays.
    """
    base, suffix = split_model_name(name)
    if is_model_folder(base):
        path = absolute(base)
        base = f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
    return base.replace("/", "--") + suffix.replace("/", "--")
