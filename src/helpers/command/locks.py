"""Several runs on one output folder: each job is done by one of them, and only runs that agree share a model.

Locks are the operating system's, on files in ``results/<model>/.locks``. They end with the process that holds
them, however it ends, so that none is left behind. Where the file system has no locks nobody is waited for.
"""

import errno
import fcntl
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers import files, paths
from helpers.command import stopping
from helpers.errors import InputError

BETWEEN_LOOKS = 0.2  # seconds
LOOKS = 5  # at who has a model, before giving up: another may be just about to find that it agrees, or does not
UNKNOWN = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def alone(model: str, name: str, waiting_for: str = "") -> Iterator[None]:
    """Hold what is called ``name`` of a model for oneself, after whoever has it; ``waiting_for`` is said meanwhile."""
    with _opened(model, name) as handle:
        if not _locked(handle, fcntl.LOCK_EX):
            if waiting_for:
                print(f"note: another run is at {waiting_for}; waiting for it", file=sys.stderr)
            while not _locked(handle, fcntl.LOCK_EX):
                stopping.sleep(BETWEEN_LOOKS)
        yield


@contextmanager
def together(model: str, purpose: str) -> Iterator[None]:
    """Use a model's results along with others of the same ``purpose``. Raises ``InputError`` if they have another."""
    with _opened(model, "run") as handle:
        for _ in range(LOOKS):
            if _joined(handle, purpose):
                break
            stopping.sleep(BETWEEN_LOOKS)
        else:
            raise InputError(
                f"another run is at {paths.model_folder(model)} in {paths.output()}, with other options or text: "
                "wait until it ends, or choose another folder with --output"
            )
        yield


@contextmanager
def swept(*folders: Path) -> Iterator[None]:
    """Before the block and after it, what killed programs have left unfinished in these folders is removed."""
    try:
        _sweep(folders)
        yield
    finally:
        _sweep(folders)


def _joined(handle: int, purpose: str) -> bool:
    """Whether the lock is now shared for this purpose: that of all who have it, or one's own where nobody has it."""
    if _locked(handle, fcntl.LOCK_EX):
        os.ftruncate(handle, 0)
        os.pwrite(handle, purpose.encode(), 0)
    if _locked(handle, fcntl.LOCK_SH) and os.pread(handle, 2 * len(purpose), 0) == purpose.encode():
        return True
    _locked(handle, fcntl.LOCK_UN)
    return False


def _locked(handle: int, how: int) -> bool:
    """Whether the lock could be had at once."""
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in UNKNOWN:
            return True
        if isinstance(error, BlockingIOError):
            return False
        raise
    return True


@contextmanager
def _opened(model: str, name: str) -> Iterator[int]:
    folder: Path = paths.results(model) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield handle
    finally:
        os.close(handle)


def _sweep(folders: Iterable[Path]) -> None:
    for path in [path for folder in folders for path in folder.rglob(f"{files.UNFINISHED}*")]:
        with suppress(OSError), path.open("rb") as file:  # somebody writes it, or it is gone by now
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
