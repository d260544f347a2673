"""The command line in processes of its own that start at once, with notebooks that take a second each.

Where processes can be forked they are copies of one that has imported everything; elsewhere each imports it again.
"""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import tqdm
from nbformat.v4 import new_code_cell, new_notebook

IMPORTED = ["helpers.pipeline", "helpers.command.inspection", "helpers.command.running", "helpers.pages.ending"]
UNFINISHED = ".unfinished-"
MADE = (".csv", ".parquet", ".png", ".svg", ".npy")
LONGEST = 120  # seconds that anything may take

processes = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
if sys.platform == "linux":
    processes.set_forkserver_preload(IMPORTED)

WRITES = """
import time, zlib
from helpers import files, paths
read = [zlib.crc32(files.reading(paths.results(model) / f"{{name}}.csv").read_bytes()) for name in {reads}]
{before}
folders = {{".csv": paths.results, ".sequences.parquet": paths.results, ".png": paths.figures, ".svg": paths.figures}}
for ending, folder in folders.items():
    with files.writing(folder(model) / ("{slug}" + ending)) as path, path.open("w") as file:
        for number in range(10):
            file.write(f"{slug} {{ending}} {{seed}} {{read}} {{number}}\\n" * 40)
            file.flush()
            time.sleep(0.01)
{after}
"""


def write_notebook(path: Path, source: str, leave_out: str = "") -> None:
    """A notebook with the parameters of every experiment, but for one, and a cell with ``source``."""
    from helpers.command import presets

    preset = presets.read("pocket")
    parameters = preset | {"model": preset.pop("models")[0]}
    names = [name for name in parameters if name not in ("models", "checkpoints", "jobs", leave_out)]
    cells = [new_code_cell("\n".join(f"{name} = {parameters[name]!r}" for name in names)), new_code_cell(source)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)


def write_notebooks(folder: Path, before: str = "", after: str = "") -> Path:
    """Three notebooks that write tables and figures slowly, one of which reads another's table.

    ``before`` and ``after`` that each does something more.
    """
    folder.mkdir()
    for name, reads in {"01_layer_lesion": [], "03_logit_lens": ["layer_lesion"], "05_mlp_norm": []}.items():
        source = WRITES.format(slug=name.partition("_")[2], reads=reads, before=before, after=after)
        write_notebook(folder / f"{name}.ipynb", source)
    return folder


def be_ready() -> None:
    """Wait until what processes are copied from has imported everything."""
    ready = processes.Process(target=int)
    ready.start()
    ready.join()


class Run:
    """A run of the command line, in a session of its own; what it prints goes to a file beside its output."""

    def __init__(self, notebooks: Path, output: Path, *arguments: str) -> None:
        self.output, self.log = output, output.with_name(f"{output.name}-{time.monotonic_ns()}.log")
        self.process = processes.Process(target=_main, args=(notebooks, output, self.log, arguments))
        self.process.start()
        self.start, self.seconds = time.monotonic(), 0.0  # that it took

    def reach(self, slug: str) -> "Run":
        """Wait until it is in the middle of writing an experiment's table."""
        until(lambda: list(self.output.rglob(f"{UNFINISHED}{slug}*.csv")) or not self.process.is_alive())
        assert self.process.is_alive(), self.said()
        return self

    def signal(self, number: int) -> bool:
        """Send a signal to the program alone, and to nothing that it has started; whether it was still there."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)
            return True
        return False

    def wait(self) -> int:
        """The exit status; minus a signal's number where one ended it."""
        self.process.join(LONGEST)
        self.seconds = time.monotonic() - self.start
        assert not self.process.is_alive(), f"not ended:\n{self.said()}"
        return self.process.exitcode

    def started(self) -> list[psutil.Process]:
        """The kernels that are at work for it."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def said(self) -> str:
        """What it has printed, without progress bars."""
        text = self.log.read_text() if self.log.exists() else ""
        return "\n".join(line.rpartition("\r")[2] for line in text.split("\n") if "notebook/s]" not in line[-20:])

    def complaints(self) -> list[str]:
        """The lines in which it says what went wrong; nothing else may look like that."""
        lines = [line for line in self.said().splitlines() if line.strip()]
        assert not [line for line in lines if "Traceback" in line or "rror" in line.split(":")[0]], self.said()
        return [line for line in lines if line.startswith("run_all.sh: ")]


def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + LONGEST
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def at_work_in(output: Path) -> list[psutil.Process]:
    """The processes, whoever started them, whose output goes to a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get("COMPANION_OUTPUT") == str(output):
                found.append(process)
    return found


def unfinished(output: Path) -> list[Path]:
    """Temporary files in a folder."""
    return list(output.rglob(f"{UNFINISHED}*"))


def digests(output: Path) -> dict[str, str]:
    """What runs on the same text make alike: tables, figures and tokens."""
    files = [file for file in output.rglob("[!.]*") if file.suffix in MADE and file.is_file()]
    return {str(file.relative_to(output)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _main(notebooks: Path, output: Path, log: Path, arguments: tuple[str, ...]) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.environ["COMPANION_OUTPUT"] = str(output)
    tqdm.tqdm.set_lock(threading.RLock())  # not one between processes, which a killed one would leave behind
    from helpers import paths, pipeline

    paths.NOTEBOOKS = notebooks
    sys.exit(pipeline.main([*arguments, "--output", str(output)]))
