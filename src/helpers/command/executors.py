"""Where jobs are executed: in threads, each of which waits for a process that does the work, a kernel or a shard."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Thread

import psutil

from helpers.command import stopping

BETWEEN_LOOKS = 0.1  # seconds


@contextmanager
def make(at_a_time: int) -> Iterator[Executor]:
    """Threads for so many jobs; if the block is left by an exception, what they are at is ended, not waited for."""
    others = _children()
    with ThreadPoolExecutor(at_a_time) as executor:
        try:
            yield executor
        except BaseException:
            with stopping.ignored():
                _end(executor, others)
            raise


def _end(executor: Executor, others: set[psutil.Process]) -> None:
    """Start nothing more, and kill the processes that the threads wait for until no thread is left."""
    ending = Thread(target=executor.shutdown, kwargs={"cancel_futures": True})
    ending.start()
    while ending.is_alive():
        for process in _children() - others:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        ending.join(BETWEEN_LOOKS)


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))
