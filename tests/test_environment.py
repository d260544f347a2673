"""pyproject.toml says what is needed; what is imported, environment.yml and requirements.lock agree with it."""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from helpers import paths
from helpers.command import requirements

RUN = ("src", "training", "benchmarks", "notebooks")
ALL = (*RUN, "tests", "tests/browser", "tests/cluster", "docs")
NOT_RUN = ("browser", "cluster", "mutation", "site", "test")  # extras that nothing in ``RUN`` imports
LOCKED_FOR = {"sys_platform": "linux", "platform_system": "Linux", "python_version": "3.11"}
OF_EVERY_ENVIRONMENT = {"pip", "setuptools"}
OF_CUDA = ("cuda-", "nvidia-", "triton")  # what only other builds of PyTorch ask for
ADVISORIES_VARIABLE = "COMPANION_ADVISORIES"


def locked() -> dict[str, str]:
    lines = (paths.ROOT / "requirements.lock").read_text().split()
    return {canonicalize_name(name): pinned for name, pinned in (line.split("==") for line in lines)}


def deptry(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).with_name("deptry"), "--no-ansi", "--exclude", r"\.venv", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def required(asked: Iterable[str]) -> Iterator[str]:
    """Names of all that is installed because of ``asked``, itself included."""
    waiting, seen = [Requirement(line) for line in asked], set()
    while waiting:
        requirement = waiting.pop()
        if (key := str(requirement)) in seen:
            continue
        seen.add(key)
        yield canonicalize_name(requirement.name)
        for line in distribution(requirement.name).requires or []:
            further = Requirement(line)
            extras = requirement.extras or {""}
            if not further.marker or any(further.marker.evaluate(LOCKED_FOR | {"extra": extra}) for extra in extras):
                waiting.append(further)


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
        assert requirements._numbers(pins[canonicalize_name(name)]) >= requirements._numbers(minimum), requirement


def test_the_lock_has_no_local_versions_and_no_cuda():
    assert not any("+" in pinned for pinned in locked().values())
    assert not any(name.startswith("nvidia") for name in locked())
    assert locked()["torch"] == "2.13.0"


@pytest.mark.parametrize(
    "arguments",
    [ALL, (*RUN, "--optional-dependencies-dev-groups", ",".join(NOT_RUN))],
    ids=["everywhere", "where nothing of the tests is needed"],
)
def test_what_is_imported_is_declared_and_what_is_declared_is_imported(arguments):
    result = deptry(paths.ROOT, *arguments)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [("import no_such_package", "DEP001"), ("import sympy", "DEP003"), ("import pytest", "DEP004")],
    ids=["missing", "only of another package", "only of the tests"],
)
def test_an_import_that_is_not_declared_is_found(line, code, tmp_path):
    shutil.copy(paths.ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "planted.py").write_text(line)
    assert f"planted.py:1:8: {code}" in deptry(tmp_path, ".", "-oddg", ",".join(NOT_RUN)).stderr


def test_the_lock_holds_what_is_required_and_nothing_else():
    pins = locked()
    try:
        other = [name for name, pinned in pins.items() if version(name).partition("+")[0] != pinned]
        names = set(required(requirements.declared()))
    except PackageNotFoundError as missing:
        other = [missing.name]
    if other:
        pytest.skip(f"not the locked environment: {', '.join(other)}")
    of_cuda = {name for name in names if name.startswith(OF_CUDA)}
    assert names - of_cuda - OF_EVERY_ENVIRONMENT == set(pins)


def affected(advisory: dict, name: str, pinned: str) -> bool:
    """Whether an advisory, in the format of OSV, says so: by its list of versions, or by the last event up to this."""
    here = Version(pinned)
    for package in advisory["affected"]:
        if canonicalize_name(package["package"]["name"]) != name:
            continue
        spans = [span["events"] for span in package.get("ranges", []) if span["type"] == "ECOSYSTEM"]
        for events in spans:
            dated = [(Version(at), kind) for event in events for kind, at in event.items()]
            past = [event for event in dated if event[0] < here or (event[0] == here and event[1] != "last_affected")]
            if past and max(past)[1] == "introduced":
                return True
        if pinned in package.get("versions", []):
            return True
    return False


@pytest.mark.parametrize(
    ("pinned", "expected"),
    [("0.9", False), ("1.0", True), ("1.5", True), ("1.10", False), ("2.0", True), ("2.1", False), ("3.0.post1", True)],
)
def test_an_advisory_is_about_the_versions_that_it_names(pinned, expected):
    spans = [[{"introduced": "1.0"}, {"fixed": "1.10"}], [{"introduced": "2.0"}, {"last_affected": "2.0"}]]
    package = {"package": {"name": "Some.Thing"}, "versions": ["3.0.post1"]}
    ranges = [{"type": "ECOSYSTEM", "events": events} for events in spans]
    ranges.append({"type": "GIT", "events": [{"introduced": "0"}]})
    advisory = {"affected": [package | {"ranges": ranges}]}
    assert affected(advisory, "some-thing", pinned) is expected
    assert not affected(advisory, "other-thing", pinned)


@pytest.mark.skipif(
    ADVISORIES_VARIABLE not in os.environ,
    reason=f"{ADVISORIES_VARIABLE} names no copy of github.com/pypa/advisory-database",
)
def test_no_advisory_is_known_about_what_is_locked():
    folder = Path(os.environ[ADVISORIES_VARIABLE]) / "vulns"
    assert folder.is_dir()
    for name, pinned in locked().items():
        advisories = [yaml.safe_load(file.read_text()) for file in (folder / name).glob("*.yaml")]
        standing = [advisory for advisory in advisories if "withdrawn" not in advisory]
        assert [advisory["id"] for advisory in standing if affected(advisory, name, pinned)] == [], name


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
