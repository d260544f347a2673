"""Files that appear complete or not at all, and are opened only if they are files; a ledger of reads and writes.

Where the environment variable ``COMPANION_LEDGER`` names a file, every read and write through this module
adds a line to it. ``run_all.sh`` gives each notebook a ledger of its own: what the notebook depends on is
then known, not guessed from names or times.
"""

import codecs
import errno
import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from helpers.errors import InputError, reason

LEDGER_VARIABLE = "COMPANION_LEDGER"
UNFINISHED = ".unfinished-"  # how the names of temporary files begin
OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
KINDS = {stat.S_ISDIR: "folder", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket"}
WIDE_ENCODINGS = {  # by their byte order marks, of which the shorter ones begin the longer ones
    codecs.BOM_UTF32_LE: "UTF-32,",
    codecs.BOM_UTF32_BE: "UTF-32,",
    codecs.BOM_UTF16_LE: "UTF-16,",
    codecs.BOM_UTF16_BE: "UTF-16,",
}


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


def regular(path: Path, most: int | None = None) -> Path:
    """The same path, if it is that of a regular file of at most ``most`` bytes (half of the free memory, if not given).

    Nothing else is to be opened: a pipe waits for ever, a device never ends. Raises ``InputError``.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = next((kind for is_kind, kind in KINDS.items() if is_kind(found.st_mode)), "device")
        raise InputError(f"{path} is a {kind}, not a file: remove it, or give a file")
    most = psutil.virtual_memory().available // 2 if most is None else most
    if found.st_size > most:
        raise InputError(f"{path} has {found.st_size:,} bytes, too many to be read here (at most {most:,}): shorten it")
    return path


def read_text(path: Path, most: int | None = None) -> str:
    """The text of a regular UTF-8 file, without a byte order mark; ``InputError`` for what is not that."""
    try:
        text = regular(path, most).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        encoding = next((name for mark, name in WIDE_ENCODINGS.items() if error.object.startswith(mark)), "binary or")
        raise InputError(f"{path} is {encoding} not UTF-8: save it as UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if "\0" in text:
        raise InputError(f"{path} is binary, not text, since it has null bytes: save it as UTF-8 text")
    return text


def reading_tokens() -> None:
    """Note in the ledger that evaluation text was read, wherever it came from."""
    _note(tokens=True)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes ``path`` when the block ends without an error.

    It is locked meanwhile: what a killed program has left is told by that from what is being written. Raises
    ``InputError`` where the system does not let it be written, as on a full disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{UNFINISHED}{path.stem}.", suffix=path.suffix)
        try:
            with suppress(OSError):  # not every file system has locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield Path(name)
            os.chmod(name, 0o644)
            os.replace(name, path)
        finally:
            os.close(handle)
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        advice = "remove it" if path.is_dir() else "make room or make it writable there"
        cause = error.strerror or reason(error)
        raise InputError(f"{path} cannot be written ({cause}): {advice}, or choose another --output") from None
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
