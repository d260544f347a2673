"""Check that the active environment has what this project needs, without changing it.

Run as a script, with the standard library alone, before anything else is imported. Prints one line that
says what is missing and how to install it; the exit status is then 1.
"""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def unmet(requirements: list[str]) -> list[str]:
    """The requirements (``name>=version``) that are not installed in the version asked for."""
    return [requirement for requirement in requirements if not _is_met(requirement)]


def declared() -> list[str]:
    """What pyproject.toml asks for, tests included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["test"]]


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 (an environment of the user may be older)
        print(f"this environment has Python {sys.version.split()[0]}: use 3.11 or newer", file=sys.stderr)
        return 1
    missing = unmet(declared())
    try:
        version("stages-of-inference-companion")
    except PackageNotFoundError:
        missing.append("this project itself")
    if missing:
        command = f"pip install -r {ROOT}/requirements.lock && pip install --no-deps -e {ROOT}"
        print(f"missing in the active environment: {', '.join(missing)}; install with: {command}", file=sys.stderr)
    return 1 if missing else 0


def _is_met(requirement: str) -> bool:
    name, minimum = requirement.split(">=")
    try:
        return _numbers(version(name)) >= _numbers(minimum)
    except PackageNotFoundError:
        return False


def _numbers(text: str) -> tuple[int, ...]:
    """The release part of a version as numbers: 2.13.0+cpu gives (2, 13, 0)."""
    release = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(number) for number in release[0].split(".")) if release else ()


if __name__ == "__main__":
    sys.exit(main())
