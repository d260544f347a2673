"""Whatever befalls a run, the same command completes it afterwards, to the same tables.

``COMPANION_FAULTS=60 pytest tests/test_faults.py`` injects 60 faults at random moments instead of 5, which takes a
quarter of an hour.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import commands
import psutil
import pytest
from commands import Run, until

N_FAULTS = int(os.environ.get("COMPANION_FAULTS", "5"))
TEXT = "The ferry left at six, and nobody on the quay thought it would come back. " * 40
SMALL = ["--tokens", "256", "--context", "64", "--control", "none", "--no-pages"]
SLUGS = ("layer_lesion", "logit_lens", "mlp_norm")
PROMPT = 15  # seconds in which a program that is told to stop has ended, on a machine that is busy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def words(checkpoints, tmp_path_factory) -> list[str]:
    """A command without its output folder."""
    text = tmp_path_factory.mktemp("text") / "my.txt"
    text.write_text(TEXT)
    return ["--model", str(checkpoints["llama"]), "--corpus", str(text), *SMALL, "--jobs", "1"]


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory) -> Path:
    return commands.write_notebooks(tmp_path_factory.mktemp("faults") / "notebooks")


@pytest.fixture(scope="module")
def undisturbed(words, notebooks, tmp_path_factory) -> Run:
    """A run to which nothing happened."""
    commands.be_ready()
    run = Run(notebooks, tmp_path_factory.mktemp("undisturbed") / "out", *words)
    assert run.wait() == 0, run.said()
    assert len(commands.digests(run.output)) == 4 * len(SLUGS) + 1
    return run


@pytest.fixture
def made(undisturbed, output) -> Path:
    """A copy of what that run has made, to be damaged."""
    return shutil.copytree(undisturbed.output, output / "out")


@pytest.fixture
def completes(words, notebooks, undisturbed, output) -> Callable[..., Run]:
    """Give the same command again, in the test's output folder: it makes the tables of an undisturbed run."""

    def run(*more: str) -> Run:
        until(lambda: not commands.at_work_in(output / "out"))
        again = Run(notebooks, output / "out", *words, *more)
        assert again.wait() == 0, again.said()
        assert not again.complaints()
        assert not commands.unfinished(output / "out") and not commands.at_work_in(output / "out")
        expected = commands.digests(undisturbed.output)
        made = commands.digests(output / "out")
        assert made.items() <= expected.items() if "--only" in more else made == expected
        return again

    return run


def _kill_everything(run: Run) -> bool:
    kernels = run.started()
    struck = run.signal(signal.SIGKILL)
    for kernel in kernels:
        _killed(kernel)
    return struck


def _kill_a_kernel(run: Run) -> bool:
    until(lambda: run.started() or not run.process.is_alive())
    return any(map(_killed, run.started()[:1]))


def _killed(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
        return True
    return False


FAULTS: dict[str, Callable[[Run], bool]] = {  # whether it struck a run that was still at work
    "everything is killed": _kill_everything,
    "the program is killed": lambda run: run.signal(signal.SIGKILL),
    "a kernel is killed": _kill_a_kernel,
    "SIGTERM": lambda run: run.signal(signal.SIGTERM),
    "SIGINT": lambda run: run.signal(signal.SIGINT),
    "SIGHUP": lambda run: run.signal(signal.SIGHUP),
}


def _truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": _truncate,
    "emptied": lambda file: os.truncate(file, 0),
    "garbage": lambda file: file.write_bytes(b"\x80\x00garbage"),
    "removed": Path.unlink,
}


@pytest.mark.parametrize("seed", range(N_FAULTS))
def test_after_a_fault_at_a_random_moment_the_same_command_completes_the_run(
    seed, words, notebooks, undisturbed, completes, output
):
    draw = random.Random(seed)
    name = list(FAULTS)[seed % len(FAULTS)]
    jobs = ("--jobs", str(draw.choice([1, 2])))
    seconds = draw.uniform(0, undisturbed.seconds)
    while True:
        run = Run(notebooks, output / "out", *words, *jobs)
        run.process.join(seconds)
        finished = commands.digests(output / "out")
        if FAULTS[name](run):
            break
        shutil.rmtree(output / "out")  # it had ended before
        seconds *= 0.8
    status = run.wait()
    damaged = draw.sample(sorted(finished), k=min(len(finished), draw.randrange(3)))
    damages = [(file, draw.choice(list(DAMAGES))) for file in damaged]
    for file, damage in damages:
        DAMAGES[damage](output / "out" / file)
    print(f"fault {seed}: {name} after {seconds:.1f} s, {jobs[1]} at a time, exit status {status}, then {damages}")
    completes(*jobs)


@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGINT, 1), (signal.SIGTERM, 2), (signal.SIGHUP, 1)])
def test_a_program_that_is_told_to_stop_ends_at_once_with_one_line_and_leaves_nothing(
    number, jobs, words, notebooks, completes, output
):
    run = Run(notebooks, output / "out", *words, "--jobs", str(jobs)).reach("layer_lesion")
    start = time.monotonic()
    assert run.signal(number) and run.wait() == 128 + number
    assert time.monotonic() - start < PROMPT
    (line,) = run.complaints()
    assert line == f"run_all.sh: interrupted by {number.name}; the same command goes on from here"
    assert not commands.at_work_in(run.output) and not commands.unfinished(run.output)
    completes("--only", "layer_lesion")


def test_a_kernel_that_is_killed_is_one_line_and_the_others_still_run(words, notebooks, completes, output):
    run = Run(notebooks, output / "out", *words, "--only", "layer_lesion,mlp_norm").reach("layer_lesion")
    _kill_a_kernel(run)
    assert run.wait() == 1
    (line,) = run.complaints()
    assert "01_layer_lesion.ipynb, cell 3: the kernel died; out of memory?" in line
    assert "mlp_norm" in run.said().split("died")[1], "the other was run"
    again = completes()
    assert [row.split()[1] for row in again.said().splitlines() if "up to date" in row] == ["05_mlp_norm"]


def test_kernels_end_with_a_program_that_is_killed(words, notebooks, completes, output):
    run = Run(notebooks, output / "out", *words, "--only", "layer_lesion").reach("layer_lesion")
    (kernel,) = run.started()
    assert run.signal(signal.SIGKILL) and run.wait() == -signal.SIGKILL
    assert kernel.wait(PROMPT) is None
    completes("--only", "layer_lesion")


def test_two_runs_at_once_share_the_work(words, notebooks, completes, output):
    both = [Run(notebooks, output / "out", *words) for _ in range(2)]
    assert [run.wait() for run in both] == [0, 0], [run.said() for run in both]
    assert sum(run.said().count("up to date") for run in both) == len(SLUGS), "each notebook is run once"
    assert completes().said().count("up to date") == len(SLUGS)


def test_a_run_with_other_options_refuses_while_another_is_at_the_model(words, notebooks, output):
    one = Run(notebooks, output / "out", *words).reach("layer_lesion")
    other = Run(notebooks, output / "out", *words, "--seed", "1")
    assert other.wait() == 2
    (line,) = other.complaints()
    assert "another run is at llama" in line and "wait until it ends" in line
    assert one.wait() == 0


@pytest.mark.parametrize("first", [0, 2])
def test_what_is_damaged_between_runs_is_made_again(first, made, completes):
    damages = [*DAMAGES.values()] * 2
    for number, slug in enumerate(SLUGS, start=first):  # one file of each experiment, each in another way
        damages[number](sorted(file for file in made.rglob(f"{slug}*") if file.suffix in commands.MADE)[number % 4])
    damages[first](next(iter(made.rglob("tokens.npy"))))
    assert "up to date" not in completes().said()


def _without_what_was_read(record: dict) -> dict:
    experiments = record["experiments"].items()
    return record | {
        "experiments": {slug: {key: each[key] for key in each if key != "read"} for slug, each in experiments}
    }


RECORDS: dict[str, Callable[[dict], str]] = {
    "truncated": lambda record: json.dumps(record)[:200],
    "of the first version": lambda record: json.dumps(_without_what_was_read(record)),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_that_cannot_be_used_counts_as_none(kind, made, completes):
    (record,) = made.rglob("run.json")
    record.write_text(RECORDS[kind](json.loads(record.read_text())))
    assert "up to date" not in completes("--only", "layer_lesion").said()


@pytest.mark.parametrize("name", ["run.json", "layer_lesion.csv"])
def test_a_folder_in_the_place_of_a_file_is_one_line(name, words, notebooks, made, completes):
    (file,) = made.rglob(name)
    file.unlink()
    file.mkdir()
    run = Run(notebooks, made, *words, "--only", "layer_lesion")
    assert run.wait() in (1, 2)
    (line,) = run.complaints()
    assert str(file) in line and "directory" in line
    file.rmdir()
    completes("--only", "layer_lesion")


AS_ROOT = [] if os.getuid() == 0 else ["sudo", "-n"] if os.environ.get("CI") else None


def mounted(*arguments: str | Path) -> bool:
    """Whether something could be mounted here."""
    command = [*(AS_ROOT or []), "mount", *map(str, arguments)]
    return sys.platform == "linux" and AS_ROOT is not None and not subprocess.run(command).returncode


@pytest.fixture
def small_disk(output) -> Iterator[Path]:
    """The output folder on a disk of its own, of 300 kB."""
    folder = output / "out"
    folder.mkdir()
    if not mounted("-t", "tmpfs", "-o", f"size=300k,uid={os.getuid()}", "small", folder):
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run([*AS_ROOT, "umount", "--lazy", str(folder)], check=True)


FILLS = """
try:
    with (paths.output() / "ballast").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(1024))
except OSError:
    pass
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_full_disk_is_one_line_that_names_it(moment, words, completes, small_disk, tmp_path):
    """Full when a table is to be written, or, behind the last one, when the notebook is to be."""
    given, only = commands.write_notebooks(tmp_path / "given", **{moment: FILLS}), ("--only", "layer_lesion")
    run = Run(given, small_disk, *words, *only)
    assert run.wait() == 1
    (line,) = run.complaints()
    assert f"{small_disk}/" in line and "No space left on device" in line and "make room" in line
    assert not commands.unfinished(small_disk)
    (small_disk / "ballast").unlink()
    completes(*only)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[str]:
    """For a while a folder cannot be written to; what the system says of it."""
    if mounted("--bind", folder, folder):
        try:
            assert mounted("-o", "remount,bind,ro", folder)
            yield "Read-only file system"
        finally:
            subprocess.run([*AS_ROOT, "umount", "--lazy", str(folder)], check=True)
    else:
        modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")] if path.is_dir()}
        for path in modes:
            path.chmod(0o555)
        yield "Permission denied"
        for path, mode in modes.items():
            path.chmod(mode)


def test_an_output_that_becomes_read_only_is_one_line_a_notebook(words, notebooks, completes, output):
    only = ("--only", "layer_lesion,mlp_norm")
    run = Run(notebooks, output / "out", *words, *only).reach("layer_lesion")
    with read_only(run.output) as cause:
        assert run.wait() == 1
    assert len(run.complaints()) == 2
    assert all(cause in line and str(run.output) in line for line in run.complaints())
    completes(*only)


def _with_little_memory(checkpoint: Path, found: Path) -> None:
    """Measure with room for a part of a batch only, then with none; what became of it goes to a file."""
    import resource

    import torch

    from helpers import lens, models
    from helpers.engine import batches
    from helpers.errors import InputError

    bridge = models.load(str(checkpoint))
    tokens = torch.randint(1500, (96, 128), generator=torch.Generator().manual_seed(0))
    keys, sizes, in_parts = ["sequence", "layer"], [], batches.in_parts
    expected = lens.sweep(bridge, tokens, batch_size=2).sort_values(keys, ignore_index=True)
    batches.in_parts = lambda rows, size, measure: in_parts(
        rows, size, lambda first, part: (sizes.append(len(part)), measure(first, part))[1]
    )
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms, resource.RLIM_INFINITY))
    made = lens.sweep(bridge, tokens, batch_size=96).sort_values(keys, ignore_index=True)
    furthest = (made - expected).abs().max().max()
    taken = []
    with contextlib.suppress(RuntimeError):
        while True:
            taken.append(torch.empty(2**17, dtype=torch.uint8))
    try:
        lens.sweep(bridge, tokens, batch_size=96)
    except InputError as error:
        line = str(error)
    taken.clear()
    found.write_text(json.dumps({"sizes": sizes, "furthest": furthest, "line": line}))


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not keep a process to its share of memory")
def test_when_memory_runs_out_batches_are_halved_and_then_one_line_says_what_to_do(checkpoints, tmp_path):
    process = commands.processes.Process(target=_with_little_memory, args=(checkpoints["llama"], tmp_path / "found"))
    process.start()
    process.join(commands.LONGEST)
    found = json.loads((tmp_path / "found").read_text())
    assert found["sizes"][:2] == [96, 48] and found["furthest"] < 1e-5
    assert "memory runs out with a single sequence" in found["line"] and "--context" in found["line"]
