"""Several runs on one output folder: one does a job while others wait, and those that would disagree refuse."""

import errno
import fcntl
import subprocess
import sys
import time

import pytest

from helpers import files, paths
from helpers.command import locks
from helpers.errors import InputError

HOLDS = """
import sys, time
from helpers.command import locks
with getattr(locks, sys.argv[1])(*sys.argv[2:]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(output):
    """Another process that holds a lock until it is killed."""
    started = []

    def hold(*arguments: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", HOLDS, *arguments], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_a_job_waits_for_the_process_that_is_at_it_and_goes_on_when_that_is_killed(holder, capsys):
    other = holder("alone", "m", "job")
    start = time.monotonic()
    killer = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {other.pid}"])
    with locks.alone("m", "job", "m 05_mlp_norm"):
        assert time.monotonic() - start > 0.5
    killer.wait()
    assert "another run is at m 05_mlp_norm; waiting" in capsys.readouterr().err


def test_jobs_of_other_names_and_models_do_not_wait(holder, capsys):
    holder("alone", "m", "job")
    with locks.alone("m", "another job", "it"), locks.alone("another", "job", "it"):
        assert capsys.readouterr().err == ""


def test_runs_that_agree_share_a_model(holder):
    holder("together", "m", "the same")
    with locks.together("m", "the same"):
        holder("together", "m", "the same")


def test_runs_that_differ_refuse_until_the_others_have_ended(holder):
    other = holder("together", "m", "seed 0")
    with (
        pytest.raises(InputError, match=r"another run is at m .*with other options or text.*--output"),
        locks.together("m", "seed 1"),
    ):
        pass
    with locks.together("another", "seed 1"):
        pass
    other.kill()
    other.wait()
    with locks.together("m", "seed 1"), pytest.raises(InputError), locks.together("m", "seed 0"):
        pass


def test_a_purpose_that_begins_like_another_is_another(holder):
    holder("together", "m", "seed 10")
    with pytest.raises(InputError), locks.together("m", "seed 1"):
        pass


def test_locks_leave_nothing_but_empty_files_beside_the_tables(output):
    with locks.alone("m", "job"):
        pass
    assert [path.name for path in paths.results("m").iterdir()] == [".locks"]


def test_runs_that_agree_and_start_together_do_not_refuse_each_other(output):
    agree = "import sys; from helpers.command import locks\nwith locks.together('m', 'the same'): pass"
    runs = [subprocess.Popen([sys.executable, "-c", agree], stderr=subprocess.PIPE, text=True) for _ in range(8)]
    assert [run.communicate()[1] for run in runs] == [""] * 8


def test_without_locks_in_the_file_system_nobody_waits_and_nothing_is_swept(output, monkeypatch):
    def unknown(handle, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    (output / f"{files.UNFINISHED}table.csv").write_text("half")
    with locks.together("m", "seed 0"), locks.together("m", "seed 1"), locks.alone("m", "job", "it"):
        pass
    with locks.swept(output), files.writing(output / "table.csv") as temporary:
        temporary.write_text("1")
    assert sorted(file.name for file in output.glob("*.csv")) == [f"{files.UNFINISHED}table.csv", "table.csv"]


def test_other_errors_of_a_lock_pass(output, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda handle, how: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"), locks.alone("m", "job"):
        pass


WRITES = """
import sys, time
from pathlib import Path
from helpers import files
with files.writing(Path(sys.argv[1])) as path:
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_program_has_left_is_swept_and_what_is_being_written_is_not(output):
    file = output / "deep" / "table.csv"
    other = subprocess.Popen([sys.executable, "-c", WRITES, str(file)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "writing\n"

    def unfinished():
        return [path for path in output.rglob("*") if path.name.startswith(files.UNFINISHED)]

    with locks.swept(output, output / "nowhere"):
        assert len(unfinished()) == 1
        other.kill()
        other.communicate()
        assert len(unfinished()) == 1
    assert not unfinished() and not file.exists()
