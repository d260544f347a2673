"""pyproject.toml says what is needed; environment.yml and requirements.lock agree with it."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import version

import yaml

from helpers import paths
from helpers.command import requirements


def locked() -> dict[str, str]:
    lines = (paths.ROOT / "requirements.lock").read_text().split()
    return {_plain(name): pinned for name, pinned in (line.split("==") for line in lines)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_conda_environment_installs_what_pyproject_asks_for():
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert [shlex.split(line) for line in pip] == [["-e", ".[test]"]]
    minimum = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f"python{minimum}" in environment["dependencies"]


def test_the_lock_pins_every_requirement_within_its_bounds():
    pins = locked()
    for requirement in requirements.declared():
        name, minimum = requirement.split(">=")
        assert requirements._numbers(pins[_plain(name)]) >= requirements._numbers(minimum), requirement


def test_the_lock_has_no_local_versions_and_no_cuda():
    assert not any("+" in pinned for pinned in locked().values())
    assert not any(name.startswith("nvidia") for name in locked())
    assert locked()["torch"] == "2.13.0"


def test_an_environment_that_lacks_a_package_or_has_an_old_one_is_told_so():
    installed = version("pandas")
    assert requirements.unmet([f"pandas>={installed}"]) == []
    assert requirements.unmet(["pandas>=999.0"]) == ["pandas>=999.0"]
    assert requirements.unmet(["no_such_package>=1.0"]) == ["no_such_package>=1.0"]


def test_the_check_needs_nothing_but_the_standard_library():
    script = paths.HELPERS / "command" / "requirements.py"
    result = subprocess.run([sys.executable, "-P", "-S", script], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "pip install -r" in result.stderr
