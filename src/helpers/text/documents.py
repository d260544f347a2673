"""Documents of a corpus as strings: from ``.txt``, ``.jsonl`` and ``.parquet`` files, or streamed from the Hub.

Of a folder every file with one of these endings is read, below it too; one that cannot be read is refused and not
passed over, since the text would be another one without it.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import psutil

from helpers import files, paths
from helpers.errors import InputError, reason
from helpers.text import parquet, streamed
from helpers.text.columns import COLUMN, checked

HUB = "hf:"


def is_streamed(corpus: str) -> bool:
    """Whether the corpus is read from the Hub, as far as it is needed, and not from disk."""
    return corpus.startswith(HUB)


def documents(corpus: str) -> Iterator[str]:
    """The documents of ``bundled``, a file, a folder of files, or ``hf:NAME[,CONFIG][:COLUMN]``; none is blank.

    Raises ``InputError`` for what is missing, empty, no text, larger than memory or out of reach.
    """
    return streamed.texts(corpus.removeprefix(HUB)) if is_streamed(corpus) else _from_disk(corpus)


def _from_disk(corpus: str) -> Iterator[str]:
    path = paths.PASSAGES if corpus == "bundled" else paths.absolute(corpus)
    if not corpus or not path.exists():
        raise InputError(f"no corpus {corpus}: give 'bundled', a {_endings()} file, a folder of them, or hf:NAME")
    readable = _below(path) if path.is_dir() else [Path(corpus).expanduser()]  # a link's own name has the ending
    if not readable or readable[0].suffix.lower() not in READERS:
        raise InputError(f"corpus {corpus} holds no {_endings()} file: convert the text to one of these")
    texts, left = [], psutil.virtual_memory().available // 2
    for file in readable:
        for text in READERS[file.suffix.lower()](files.reading(files.regular(file))):
            left -= len(text)
            if left < 0:
                raise InputError(f"corpus {corpus} is larger than the free memory (read up to {file}): give less text")
            if text.strip():
                texts.append(text)
    if not texts:
        raise InputError(f"corpus {corpus} is empty: give a file with text in it")
    return iter(texts)


def _below(folder: Path) -> list[Path]:
    """The files to be read in a folder and below, in order; among them whatever else has the name of one."""

    def refuse(error: OSError) -> NoReturn:
        raise InputError(f"corpus folder {error.filename} cannot be read: {error.strerror}")

    found = [Path(place, name) for place, _, names in os.walk(folder, onerror=refuse) for name in names]
    return sorted(file for file in found if file.suffix.lower() in READERS)


def _read_text(path: Path) -> Iterator[str]:
    yield checked(files.read_text(path), str(path))


def _read_jsonl(path: Path) -> Iterator[str]:
    for number, line in enumerate(files.read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not JSON: {reason(error)}") from None
        if not isinstance(record, dict) or not isinstance(record.get(COLUMN), str):
            raise InputError(f"{where} has no text in {COLUMN!r}: name the field {COLUMN!r}")
        yield checked(record[COLUMN], where)


READERS = {".txt": _read_text, ".jsonl": _read_jsonl, ".parquet": parquet.texts}


def _endings() -> str:
    return ", ".join(READERS)
