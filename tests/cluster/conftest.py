"""Snakemake, and a Slurm of this machine's own. Where either is missing, what needs it is skipped and says so."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from slurm import Cluster

PACKAGES = ("snakemake", "snakemake_executor_plugin_slurm")
Start = Callable[..., subprocess.Popen]


@pytest.fixture(scope="session")
def has_snakemake() -> None:
    """Skips whatever needs Snakemake where it is missing."""
    if any(find_spec(package) is None for package in PACKAGES):
        pytest.skip("the extra `cluster` is not installed: pip install -e '.[cluster]'")


@pytest.fixture(scope="session")
def has_slurm(has_snakemake: None) -> None:
    """Skips whatever needs a Slurm where none can be started."""
    from slurm import why_not

    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def snakemake(has_snakemake: None) -> Iterator[Start]:
    """Start a workflow with these options of ``run_all.sh``, in a folder of its own, where its output goes too."""
    from helpers import paths

    started = []

    def start(folder: Path, options: list[str], *more: str) -> subprocess.Popen:
        snakefile, given = paths.ROOT / "workflow" / "Snakefile", f"options={shlex.join(options)}"
        command = [sys.executable, "-m", "snakemake", *more, "--snakefile", str(snakefile), "--config", given]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "snakemake.log").open("w") as log:
            started.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT))
        return started[-1]

    yield start
    for run in started:
        run.kill()
        run.wait()


@pytest.fixture
def cluster(has_slurm: None, tmp_path) -> "Iterator[Cluster]":
    """Two nodes, each of one processor."""
    from slurm import running

    with running(tmp_path / "slurm") as cluster:
        yield cluster
