"""What was run on what, from ``run.json``: the part of a report that says where its numbers come from."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from helpers.command import options
from helpers.pages import markup

FACTS = {
    "model": "model",
    "revision": "revision",
    "architecture": "architecture",
    "n_layers": "layers",
    "n_parameters": "parameters",
    "device": "device",
    "git_commit": "commit of the repository",
}


def tables(record: Mapping[str, Any], failed: Collection[str]) -> list[str]:
    """The model, the text and the parameters, and every notebook with what it was run on where that differs."""
    settings = pd.DataFrame({slug: _settings(each) for slug, each in record["experiments"].items()}).T
    shared = [name for name in settings if settings[name].nunique() == 1]
    common = {words: record.get(key) for key, words in FACTS.items()}
    common |= {name: settings[name].dropna().iloc[0] for name in shared if name not in common}
    rows = [
        {"notebook": notebook.stem, "state": _state(options.slug_of(notebook), record["experiments"], failed)}
        | {"seconds": record["experiments"].get(options.slug_of(notebook), {}).get("seconds")}
        for notebook in options.experiment_notebooks()
    ]
    differing = settings.drop(columns=shared).reindex(
        [options.slug_of(path) for path in options.experiment_notebooks()]
    )
    notebooks = pd.concat([pd.DataFrame(rows), differing.reset_index(drop=True)], axis=1)
    return [
        markup.table(_pairs(common), "The model, the text and the parameters of all notebooks"),
        markup.table(notebooks.astype({"seconds": "float"}), "Notebooks, and the parameters that they do not share"),
        markup.folded(
            "Files and versions",
            markup.table(_pairs(record["files"], "file", "sha256"), "The model's files"),
            markup.table(_pairs(record["versions"], "package", "version"), "Versions, in the last notebook that ran"),
        ),
    ]


def _pairs(content: Mapping[str, Any], *columns: str) -> pd.DataFrame:
    named = [(name, str(value)) for name, value in content.items() if value not in (None, "")]
    return pd.DataFrame(named, columns=columns or ["what", "value"])


def _settings(recorded: Mapping[str, Any]) -> dict[str, str]:
    """What an experiment was run on, in words; the files it depends on by the beginning of their hash."""
    inputs = recorded["inputs"]
    given = {
        name: ", ".join(value) if isinstance(value, list) else str(value)
        for name, value in inputs["parameters"].items()
    }
    hashes = {"sha256 of the tokens": recorded.get("tokens_sha256"), "sha256 of the helpers": inputs.get("helpers")}
    hashes["sha256 of the model's files"] = hashlib.sha256(json.dumps(inputs.get("files")).encode()).hexdigest()
    return {name: value for name, value in given.items() if value} | {
        name: value[:12] for name, value in hashes.items() if value
    }


def _state(slug: str, experiments: Collection[str], failed: Collection[str]) -> str:
    if slug in failed:
        return "failed; what is shown is of an earlier run" if slug in experiments else "failed"
    return "done" if slug in experiments else "not run"
