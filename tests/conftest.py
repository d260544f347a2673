"""Fixtures of all tests: tiny checkpoints made once a session, an output folder for every test.

Nothing of `helpers` is imported up here: it must come after pytest has switched its run-time type checks on.
"""

from pathlib import Path

import hypothesis
import matplotlib.pyplot as plt
import pytest

hypothesis.settings.register_profile("tests", derandomize=True, deadline=None, database=None, max_examples=30)
hypothesis.settings.load_profile("tests")
hypothesis.settings.register_profile("mutation", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate])


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Folder of a random checkpoint by kind (see `checkpoints.KINDS`); read only, copy before you break one."""
    from checkpoints import MadeOnce, make_checkpoint

    root = tmp_path_factory.mktemp("checkpoints")
    return MadeOnce(lambda kind: make_checkpoint(kind, root / kind))


@pytest.fixture(scope="session")
def bridges(checkpoints: dict) -> dict:
    """Loaded model by kind, or the bundled "pocket"; shared by all tests, so leave each as you found it."""
    from checkpoints import MadeOnce

    from helpers import models

    return MadeOnce(lambda kind: models.load("pocket" if kind == "pocket" else str(checkpoints[kind])))


@pytest.fixture(autouse=True)
def output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Whatever a test writes goes to a folder of its own, and no other test finds it."""
    monkeypatch.setenv("COMPANION_OUTPUT", str(tmp_path))
    return tmp_path


@pytest.fixture
def drawing():
    """Figures are drawn without a window and closed afterwards."""
    plt.switch_backend("agg")
    yield
    plt.close("all")
