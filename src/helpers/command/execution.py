"""Execute one notebook through papermill: a quiet kernel, errors in one line, and a copy fit to be committed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from helpers import files, paths
from helpers.errors import InputError, reason

QUIET = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
WIDGET = "application/vnd.jupyter.widget-view+json"
THREADS_VARIABLE = "OMP_NUM_THREADS"
SPINNING_VARIABLE = "GOMP_SPINCOUNT"  # how often a waiting thread looks before it sleeps
FEW_SPINS = "1000"  # by default so often that on a busy machine waiting threads take ten times the work's own time


def parameter_names(notebook: Path) -> set[str]:
    """The names in the notebook's parameters cell."""
    return set(papermill.inspect_notebook(str(notebook)))


def execute(
    notebook: Path, executed: Path, parameters: dict[str, Any], offline: bool, threads: int | None = None
) -> files.Ledger:
    """Run ``notebook`` with ``parameters`` and leave the copy, complete or failed, in ``executed``.

    Returns what the notebook read and wrote. ``offline`` keeps the kernel from asking the Hub for what is
    already here; ``threads`` is its share of the processors, if not all. Raises ``InputError`` that names the
    notebook, the cell and the cause.
    """
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        ledger = Path(folder) / "ledger"
        ledger.touch()
        spins = os.environ.get(SPINNING_VARIABLE, FEW_SPINS)
        variables = QUIET | {SPINNING_VARIABLE: spins, files.LEDGER_VARIABLE: str(ledger)}
        variables |= {"HF_HUB_OFFLINE": "1"} if offline else {}
        variables |= {THREADS_VARIABLE: os.environ.get(THREADS_VARIABLE, str(threads))} if threads else {}
        with _environment(variables):
            _run_kernel(notebook, executed, parameters, _transport(Path(folder)))
        return files.read_ledger(ledger)


def copy_clean(executed: Path, committed: Path) -> None:
    """Copy an executed notebook without traces of where and when it ran, and without widgets, which ended with it."""
    notebook = nbformat.read(executed, as_version=4)
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.metadata.get("tags") == []:
            cell.metadata.pop("tags")
    nbformat.write(notebook, committed)


def _transport(folder: Path) -> Config:
    """How to talk to the kernel: through sockets in ``folder``, where the system has them.

    A network port is chosen before the kernel takes it, and of two kernels that start side by side one may lose it.
    """
    return Config({"KernelManager": {"transport": "ipc", "ip": str(folder / "kernel")}} if os.name == "posix" else {})


def _run_kernel(notebook: Path, executed: Path, parameters: dict[str, Any], transport: Config) -> None:
    executed.parent.mkdir(parents=True, exist_ok=True)
    running = executed.with_name(f".{executed.name}")
    try:
        papermill.execute_notebook(
            str(notebook),
            str(running),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(paths.NOTEBOOKS),
            progress_bar=False,
            extra_arguments=["--log-level=50"],
            config=transport,
        )
    except PapermillExecutionError as error:
        cause = (str(error.evalue).strip() or "no message").splitlines()[0]
        raise InputError(f"{notebook.name}, cell {error.exec_count}: {error.ename}: {cause}") from None
    except DeadKernelError:
        raise InputError(
            f"{notebook.name}, cell {_cells_started(running)}: the kernel died; out of memory? "
            "try a smaller --batch-size or fewer --tokens"
        ) from None
    except Exception as error:  # papermill, nbclient and jupyter_client share no base class
        raise InputError(f"{notebook.name}: {type(error).__name__}: {reason(error)}") from None
    finally:
        if running.exists():
            os.replace(running, executed)


def _cells_started(running: Path) -> int:
    """How many code cells the kernel had begun when it died."""
    cells = nbformat.read(running, as_version=4).cells
    states = [cell.metadata.get("papermill", {}).get("status") for cell in cells if cell.cell_type == "code"]
    return sum(state not in (None, "pending") for state in states)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables that kernels started meanwhile inherit."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
