"""Jobs side by side in threads: each kernel has its own surroundings, and none outlives a run that is stopped."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import psutil
import pytest

from helpers import files
from helpers.command import execution, executors, locks, stopping

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
WRITES = """
import os, time
from pathlib import Path
from helpers import files
with files.writing(Path({file!r})) as path:
    path.write_text(os.environ["OMP_NUM_THREADS"] + " " + os.getcwd())
    time.sleep(1)
"""


@pytest.fixture(autouse=True)
def told_nothing():
    with stopping.heeded():
        yield


def _started_by_this_process() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def test_what_is_submitted_is_done_and_its_error_handed_on():
    with executors.make(2) as executor:
        done, failed = executor.submit(sum, [1, 2]), executor.submit(int, "many")
    assert done.result() == 3
    with pytest.raises(ValueError, match="many"):
        failed.result()


def test_an_exception_ends_what_is_running_and_starts_nothing_more():
    others, ran = _started_by_this_process(), []
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), executors.make(2) as executor:
        running = [executor.submit(subprocess.run, SLEEPS) for _ in range(2)]
        later = executor.submit(ran.append, "later")
        while len(_started_by_this_process() - others) < 2:
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert time.monotonic() - start < 60
    assert [future.result().returncode for future in running] == [-9, -9]
    assert later.cancelled() and not ran
    assert _started_by_this_process() <= others


def test_processes_that_others_have_started_are_left_alone():
    other = subprocess.Popen(SLEEPS)
    try:
        with pytest.raises(KeyboardInterrupt), executors.make(1) as executor:
            executor.submit(subprocess.run, SLEEPS)
            raise KeyboardInterrupt
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_job_that_waits_for_another_run_ends_with_its_own():
    with locks.alone("m", "job"), pytest.raises(KeyboardInterrupt), executors.make(1) as executor:
        future = executor.submit(locks.alone("m", "job").__enter__)
        time.sleep(0.5)
        signal.raise_signal(signal.SIGTERM)
    assert isinstance(future.exception(), KeyboardInterrupt)


@pytest.mark.slow
def test_kernels_side_by_side_have_variables_and_ledgers_of_their_own(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("helpers.paths.NOTEBOOKS", tmp_path)

    def run(threads: int) -> files.Ledger:
        notebook, executed = (tmp_path / f"{name}_{threads}.ipynb" for name in ("given", "executed"))
        cell = nbformat.v4.new_code_cell(WRITES.format(file=str(tmp_path / f"{threads}.txt")))
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebook)
        return execution.execute(notebook, executed, {}, offline=True, threads=threads)

    with ThreadPoolExecutor(2) as executor:
        ledgers = list(executor.map(run, (3, 5)))
    assert [ledger.written for ledger in ledgers] == [[tmp_path / "3.txt"], [tmp_path / "5.txt"]]
    assert [(tmp_path / f"{n}.txt").read_text() for n in (3, 5)] == [f"3 {tmp_path}", f"5 {tmp_path}"]
    assert "OMP_NUM_THREADS" not in os.environ
