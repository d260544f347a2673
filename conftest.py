"""What notebooks and tests share: no network, one thread, an output folder of this session's own, the order.

With several workers (``-n 2``) the tests of one file stay together on one worker, and so do the notebooks; those that
read no other's tables may be on another one. What takes minutes comes first, so that all workers end together, and
``tests/test_committed.py``, which reads what the notebooks have left (fixture ``notebooks_output``), comes last.

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
READ_NO_OTHERS = ("07_", "08_", "09_", "10_", "12_", "13_")  # the notebooks that read no other's tables
ALONE, TOGETHER = "notebooks that read no other's tables", "notebooks"
READS_NOTEBOOKS = "tests/test_committed.py"
LONG = (ALONE, "tests/test_run_all.py", TOGETHER, "tests/test_faults.py", "tests/test_shards.py")


def pytest_configure(config: pytest.Config) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"  # the models are so small that threads would only wait for each other
    os.environ["OMP_WAIT_POLICY"] = "passive"  # as ``helpers`` has it, for tests that ask for more
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
    """The longest groups first, last what reads the tables of notebooks."""
    order = {name: number for number, name in enumerate(LONG)} | {READS_NOTEBOOKS: len(LONG) + 1}
    items.sort(key=lambda item: order.get(group(item.nodeid), len(LONG)))
    for item in items:
        if item.path.suffix == ".ipynb" or "notebooks_output" in item.fixturenames:
            item.add_marker("slow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        """One worker for each group of tests, in their order."""

        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def group(nodeid: str) -> str:
    """The tests that stay together with this one: those of its file, or of several notebooks."""
    file = nodeid.split("::")[0]
    if not file.endswith(".ipynb"):
        return file
    return ALONE if Path(file).name.startswith(READ_NO_OTHERS) else TOGETHER


@pytest.fixture(scope="session")
def notebooks_output(pytestconfig: pytest.Config) -> Path:
    """Where the notebooks of this session leave their tables and figures; nothing else writes there."""
    return pytestconfig.stash[NOTEBOOKS_OUTPUT]
