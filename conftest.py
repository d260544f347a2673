"""What notebooks and tests share: no network, one thread, an output folder of this session's own, the order.

With several workers (``-n 2``) the tests of one file stay together on one worker, and so do all notebooks with
``tests/test_committed.py``, which reads what they have left (fixture ``notebooks_output``) and comes after them.

Nothing of ``helpers`` or Hugging Face is imported here: the first must come after pytest has switched its
run-time type checks on, the second after the environment below is set.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

OUTPUT_VARIABLE = "COMPANION_OUTPUT"
NOTEBOOKS_OUTPUT = pytest.StashKey[Path]()
INHERITED_OUTPUT = pytest.StashKey[str | None]()
NOTEBOOKS = "notebooks"
READS_NOTEBOOKS = "tests/test_committed.py"


def pytest_configure(config: pytest.Config) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"  # the models are so small that threads would only wait for each other
    os.environ["OMP_WAIT_POLICY"] = "passive"  # as ``helpers`` has it, where more are asked for
    import torch  # reads both when it is loaded

    torch.set_num_threads(1)
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist uses the folder of the session that started it
        config.stash[INHERITED_OUTPUT] = os.environ.get(OUTPUT_VARIABLE)
        os.environ[OUTPUT_VARIABLE] = tempfile.mkdtemp(prefix="companion-")
    config.stash[NOTEBOOKS_OUTPUT] = Path(os.environ[OUTPUT_VARIABLE])
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{config.stash[NOTEBOOKS_OUTPUT]}/.hypothesis"


def pytest_unconfigure(config: pytest.Config) -> None:
    if INHERITED_OUTPUT not in config.stash:
        return
    shutil.rmtree(config.stash[NOTEBOOKS_OUTPUT], ignore_errors=True)
    if config.stash[INHERITED_OUTPUT] is None:
        del os.environ[OUTPUT_VARIABLE]
    else:
        os.environ[OUTPUT_VARIABLE] = config.stash[INHERITED_OUTPUT]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks first, then what reads their tables."""
    items.sort(key=lambda item: (not is_cell(item), not reads_notebooks(item)))
    for item in items:
        if is_cell(item) or reads_notebooks(item):
            item.add_marker("slow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        """One worker for the tests of a file, in their order, and one for all that has to do with notebooks."""

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return NOTEBOOKS if file.endswith(".ipynb") or file == READS_NOTEBOOKS else file

    return Scheduling(config, log)


def is_cell(item: pytest.Item) -> bool:
    return item.path.suffix == ".ipynb"


def reads_notebooks(item: pytest.Item) -> bool:
    return "notebooks_output" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def notebooks_output(pytestconfig: pytest.Config) -> Path:
    """Where the notebooks of this session leave their tables and figures; nothing else writes there."""
    return pytestconfig.stash[NOTEBOOKS_OUTPUT]
