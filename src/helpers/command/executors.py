"""Where jobs are executed: in this process, or several side by side in processes of their own."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any


def make(at_a_time: int) -> Executor:
    """Other processes where there are several: a kernel takes its environment from the process that starts it."""
    if at_a_time == 1:
        return _Here()
    return ProcessPoolExecutor(at_a_time, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)


class _Here(Executor):
    """Does what is submitted at once, in this process."""

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Call the function now; the future is done."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _end_with_parent() -> None:
    """End this process, and with it the kernel it has started, when the program ends, however it does."""
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(process: multiprocessing.process.BaseProcess) -> None:
    process.join()
    os._exit(1)
