"""Being told to stop is an exception in whatever the program is at, once, and elsewhere nothing."""

import signal
import subprocess
import sys
import threading

import psutil
import pytest

from helpers.command import exit_status, stopping

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", NUMBERS)
def test_each_signal_ends_the_program_with_one_line_and_its_own_exit_status(number, capsys):
    before = signal.getsignal(number)
    assert exit_status.of(lambda: signal.raise_signal(number), "run_all.sh", ", try again") == 128 + number
    assert capsys.readouterr().err == f"run_all.sh: interrupted by {number.name}, try again\n"
    assert signal.getsignal(number) == before


def test_an_interruption_that_no_signal_raised_counts_as_ctrl_c(capsys):
    def interrupt():
        raise KeyboardInterrupt

    assert exit_status.of(interrupt, "run_all.sh", "") == 130
    assert "SIGINT" in capsys.readouterr().err


def test_what_nohup_has_the_program_ignore_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.heeded():
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", NUMBERS)
def test_what_must_not_be_interrupted_is_not(number):
    with stopping.heeded():
        with stopping.ignored():
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_a_thread_that_sleeps_wakes_when_the_program_is_told_to_stop_and_not_the_next_time():
    woken = []

    def sleep():
        with pytest.raises(KeyboardInterrupt):
            stopping.sleep(600.0)
        woken.append(True)

    with pytest.raises(KeyboardInterrupt), stopping.heeded():
        thread = threading.Thread(target=sleep)
        thread.start()
        signal.raise_signal(signal.SIGTERM)
    thread.join(60)
    assert woken
    with stopping.heeded():
        stopping.sleep(0.01)


CHILD = """
import time
from helpers.command import stopping
stopping.with_parent()
print("waiting", flush=True)
time.sleep(600)
"""
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | {"COMPANION_PARENT": str(os.getpid())})
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_process_ends_with_the_one_that_has_started_it():
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    assert parent.stdout.readline() == "waiting\n"
    parent.kill()
    parent.wait()
    child.wait(60)
    parent.stdout.close()


def test_a_process_that_was_started_by_hand_does_not_look_for_its_parent(monkeypatch):
    monkeypatch.delenv(stopping.PARENT_VARIABLE, raising=False)
    before = threading.active_count()
    stopping.with_parent()
    assert threading.active_count() == before
