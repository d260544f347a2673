"""Files that appear complete or not at all, and a ledger of what was read and written on the way.

Where the environment variable ``COMPANION_LEDGER`` names a file, every read and write through this module
adds a line to it. ``run_all.sh`` gives each notebook a ledger of its own: what the notebook depends on is
then known, not guessed from names or times.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LEDGER_VARIABLE = "COMPANION_LEDGER"


@dataclass
class Ledger:
    """What one notebook read, with the sha256 it found (empty: no such file), wrote, and whether it read tokens."""

    read: dict[Path, str] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)
    tokens: bool = False


def reading(path: Path) -> Path:
    """The same path, noted in the ledger as read; that it is missing is noted as well."""
    if os.environ.get(LEDGER_VARIABLE):  # a large corpus is not hashed for nobody
        _note(read=str(path.resolve()), sha256=sha256(path))
    return path


def reading_tokens() -> None:
    """Note in the ledger that evaluation text was read, wherever it came from."""
    _note(tokens=True)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    _note(written=str(path.resolve()))


def read_ledger(file: Path) -> Ledger:
    """What is noted in ``file``. What a notebook reads back after writing it is its own and not counted as read."""
    ledger = Ledger()
    for line in file.read_text(encoding="utf8").splitlines():
        entry = json.loads(line)
        if "written" in entry:
            ledger.written.append(Path(entry["written"]))
        elif "read" in entry and Path(entry["read"]) not in ledger.written:
            ledger.read.setdefault(Path(entry["read"]), entry["sha256"])
        ledger.tokens |= entry.get("tokens", False)
    ledger.written = list(dict.fromkeys(ledger.written))
    return ledger


def sha256(path: Path) -> str:
    """The file's sha256 in hex digits; empty where there is no such file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note(**entry: str | bool) -> None:
    if ledger := os.environ.get(LEDGER_VARIABLE):
        with open(ledger, "a", encoding="utf8") as file:
            file.write(json.dumps(entry) + "\n")
