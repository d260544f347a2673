"""Execute one notebook through papermill: a quiet kernel, errors in one line, and a copy fit to be committed."""

import logging
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets import Dict
from traitlets.config import Config

from helpers import files, paths
from helpers.errors import InputError, reason

QUIET = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
WIDGET = "application/vnd.jupyter.widget-view+json"
THREADS_VARIABLE = "OMP_NUM_THREADS"

logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it logs it also raises


class Kernel(AsyncKernelManager):
    """A kernel with environment variables of its own, whatever kernels are started at the same time.

    What cells print goes into the notebook. What the kernel itself writes to the terminal is noise about sockets that
    close while it ends, and goes nowhere.
    """

    variables = Dict().tag(config=True)

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Start it as asked, and with its variables."""
        await super().start_kernel(env=os.environ | self.variables, stderr=subprocess.DEVNULL, **options)


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
    with tempfile.TemporaryDirectory(prefix="ledger-", ignore_cleanup_errors=True) as folder:
        ledger = Path(folder) / "ledger"
        ledger.touch()
        kernel = Config({"Kernel": _transport(Path(folder))})
        kernel.Kernel.variables = process_variables(offline, threads) | {files.LEDGER_VARIABLE: str(ledger)}
        try:
            _run_kernel(notebook, executed, parameters, kernel)
        finally:
            ensure_event_loop().close()  # nbclient's, of this thread
        return files.read_ledger(ledger)


def process_variables(offline: bool, threads: int | None = None) -> dict[str, str]:
    """The environment of a process that measures: quiet, with its share of the processors, if not all."""
    variables = QUIET | ({"HF_HUB_OFFLINE": "1"} if offline else {})
    return variables | ({THREADS_VARIABLE: os.environ.get(THREADS_VARIABLE, str(threads))} if threads else {})


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
    with files.writing(committed) as path:
        nbformat.write(notebook, path)


def _transport(folder: Path) -> dict[str, str]:
    """How to talk to the kernel: through sockets in ``folder``, where the system has them.

    A network port is chosen before the kernel takes it, and of two kernels that start side by side one may lose it.
    """
    return {"transport": "ipc", "ip": str(folder / "kernel")} if os.name == "posix" else {}


def _run_kernel(notebook: Path, executed: Path, parameters: dict[str, Any], kernel: Config) -> None:
    failure = None
    with files.writing(executed) as running:
        try:
            papermill.execute_notebook(
                str(notebook),
                str(running),
                parameters=parameters,
                kernel_name="python3",
                progress_bar=False,
                extra_arguments=["--log-level=50"],
                kernel_manager_class=Kernel,
                resources={"metadata": {"path": str(paths.NOTEBOOKS)}},  # where the kernel runs
                config=kernel,
            )
        except PapermillExecutionError as error:
            cause = (str(error.evalue).strip() or "no message").splitlines()[0]
            failure = f"cell {error.exec_count}: {error.ename}: {cause}"
        except DeadKernelError:
            cause = "the kernel died; out of memory? try a smaller --batch-size or fewer --tokens"
            failure = f"cell {_cells_started(running)}: {cause}"
        except Exception as error:  # papermill, nbclient and jupyter_client share no base class
            if isinstance(error, OSError) and error.errno in files.OF_DISK:
                raise
            raise InputError(f"{notebook.name}: {type(error).__name__}: {reason(error)}") from None
    if failure:
        raise InputError(f"{notebook.name}, {failure}")


def _cells_started(running: Path) -> int:
    """How many code cells the kernel had begun when it died."""
    cells = nbformat.read(running, as_version=4).cells
    states = [cell.metadata.get("papermill", {}).get("status") for cell in cells if cell.cell_type == "code"]
    return sum(state not in (None, "pending") for state in states)
