"""What all tests share: no network, output in a temporary folder, tiny checkpoints made once a session.

Nothing of `helpers` or Hugging Face is imported up here: the first must come after pytest has switched
its run-time type checks on, the second after the environment below is set.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

TEMPORARY_OUTPUT = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)  # the models are so small that threads would only wait for each other
    if not os.environ.get("COMPANION_OUTPUT"):
        os.environ["COMPANION_OUTPUT"] = config.stash[TEMPORARY_OUTPUT] = tempfile.mkdtemp(prefix="companion-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if TEMPORARY_OUTPUT in config.stash:
        shutil.rmtree(config.stash[TEMPORARY_OUTPUT], ignore_errors=True)
        del os.environ["COMPANION_OUTPUT"]


class MadeOnce(dict):
    """A dictionary that makes what it is asked for and does not have yet."""

    def __init__(self, make: Callable[[str], object]) -> None:
        self.make = make

    def __missing__(self, kind: str) -> object:
        self[kind] = self.make(kind)
        return self[kind]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Folder of a random checkpoint by kind (see `checkpoints.KINDS`); read only, copy before you break one."""
    from checkpoints import make_checkpoint

    root = tmp_path_factory.mktemp("checkpoints")
    return MadeOnce(lambda kind: make_checkpoint(kind, root / kind))


@pytest.fixture(scope="session")
def bridges(checkpoints: dict) -> dict:
    """Loaded model by kind, or the bundled "pocket"; shared by all tests, so leave each as you found it."""
    from helpers import models

    return MadeOnce(lambda kind: models.load("pocket" if kind == "pocket" else str(checkpoints[kind])))


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Figures are drawn without a window, saved below a temporary folder, and closed afterwards."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    plt.switch_backend("agg")
    yield
    plt.close("all")
