"""``run.json``: what was run on a model, with what, and what came out; whether that is still up to date.

One record per model. An experiment is up to date when its notebook, the helpers, its parameters, the
model's files and the tokens are the ones recorded, and the tables of others that it read and the outputs
that it wrote are still the same.
"""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from helpers import paths
from helpers.files import writing

PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "pandas", "matplotlib", "seaborn", "papermill")


def read(model: str) -> dict[str, Any]:
    """The model's record; one that is missing or damaged counts as empty."""
    try:
        record = json.loads(_path(model).read_text(encoding="utf8"))
        experiments = record["experiments"]
        whole = isinstance(experiments, dict) and all(
            {"inputs", "outputs", "seconds"} <= set(experiments[slug]) for slug in experiments
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}
    return record if whole else {}


def is_current(model: str, slug: str, inputs: dict[str, Any]) -> bool:
    """Whether the experiment has finished with exactly these inputs, and what it read and wrote is untouched."""
    experiment = read(model).get("experiments", {}).get(slug)
    if experiment is None or experiment["inputs"] != inputs:
        return False
    files = experiment.get("read", {}) | experiment["outputs"]
    return bool(experiment["outputs"]) and files == hashes(map(Path, files))


def write(model: str, facts: dict[str, Any], slug: str, experiment: dict[str, Any]) -> None:
    """Add a finished experiment to the model's record; ``facts`` describe the model and the run."""
    experiments = read(model).get("experiments", {}) | {slug: experiment}
    record = facts | {"versions": versions(), "git_commit": git_commit(), "experiments": experiments}
    with writing(_path(model)) as path:
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf8")


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """sha256 by path, which is relative to the output folder; empty for a missing file."""
    found = {file.as_posix(): paths.output() / file for file in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for name, path in found.items()
    }


def source_hash(notebook: Path) -> str:
    """sha256 of a notebook's cells, outputs left out."""
    cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
    sources = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def helpers_hash() -> str:
    """sha256 of the helper modules."""
    contents = [path.read_bytes() for path in sorted(paths.HELPERS.rglob("*.py"))]
    return hashlib.sha256(b"\0".join(contents)).hexdigest()


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


def git_commit() -> str | None:
    """The commit checked out in the repository, if it is one."""
    command = ["git", "-C", str(paths.ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _path(model: str) -> Path:
    return paths.results(model) / "run.json"
