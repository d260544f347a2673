"""Being told to stop: by Ctrl-C (SIGINT), a scheduler (SIGTERM), a terminal that is closed (SIGHUP)."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PARENT_VARIABLE = "COMPANION_PARENT"  # the process whose end is the end of those that it starts

_told = threading.Event()


@contextmanager
def heeded() -> Iterator[None]:
    """Each of the signals raises ``KeyboardInterrupt`` with its number; what nohup has the program ignore stays so."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _told.clear()
    for number in SIGNALS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])


@contextmanager
def ignored() -> Iterator[None]:
    """None of the signals does anything: what is done here ends soon, and by itself."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])


def sleep(seconds: float) -> None:
    """Sleep in any thread. Raises ``KeyboardInterrupt`` as soon as the program is told to stop."""
    if _told.wait(seconds):
        raise KeyboardInterrupt


def with_parent() -> None:
    """Stop when the process that has started this one ends, however it does, if it has asked for that."""
    if parent := os.environ.get(PARENT_VARIABLE):
        threading.Thread(target=_stop_after, args=(int(parent),), daemon=True).start()


def _stop_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    _told.set()
    raise KeyboardInterrupt(number)
