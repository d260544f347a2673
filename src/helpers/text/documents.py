"""Documents of a corpus as strings: from ``.txt``, ``.jsonl`` and ``.parquet`` files, or streamed from the Hub."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet

from helpers import files, paths
from helpers.errors import InputError, reason

COLUMN = "text"
HUB = "hf:"


def is_streamed(corpus: str) -> bool:
    """Whether the corpus is read from the Hub, as far as it is needed, and not from disk."""
    return corpus.startswith(HUB)


def documents(corpus: str) -> Iterator[str]:
    """The documents of ``bundled``, a file, a folder of files, or ``hf:NAME[,CONFIG][:COLUMN]``; none is blank.

    Raises ``InputError`` for what is missing, empty, no text or out of reach.
    """
    return _from_hub(corpus.removeprefix(HUB)) if is_streamed(corpus) else _from_disk(corpus)


def _from_disk(corpus: str) -> Iterator[str]:
    path = paths.PASSAGES if corpus == "bundled" else Path(corpus).expanduser()
    if path.is_dir():
        readable = sorted(file for file in path.rglob("*") if file.suffix.lower() in READERS and file.is_file())
    else:
        readable = [path]
    if not corpus or not path.exists():
        raise InputError(f"no corpus {corpus}: give 'bundled', a {_endings()} file, a folder of them, or hf:NAME")
    if not readable or readable[0].suffix.lower() not in READERS:
        raise InputError(f"corpus {corpus} holds no {_endings()} file: convert the text to one of these")
    texts = [text for file in readable for text in READERS[file.suffix.lower()](files.reading(file)) if text.strip()]
    if not texts:
        raise InputError(f"corpus {corpus} is empty: give a file with text in it")
    return iter(texts)


def _read_text(path: Path) -> Iterator[str]:
    text = _decode(path)
    if "\0" in text:
        raise InputError(f"corpus file {path} is binary, not text: give UTF-8 text")
    yield text


def _read_jsonl(path: Path) -> Iterator[str]:
    for number, line in enumerate(_decode(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"corpus file {path}, line {number} is not JSON: {error}") from None
        if not isinstance(record, dict) or not isinstance(record.get(COLUMN), str):
            raise InputError(f"corpus file {path}, line {number} has no text in {COLUMN!r}: name the field {COLUMN!r}")
        yield record[COLUMN]


def _read_parquet(path: Path) -> Iterator[str]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if COLUMN not in file.schema_arrow.names:
                columns = ", ".join(file.schema_arrow.names)
                raise InputError(f"corpus file {path} has no column {COLUMN!r} (it has: {columns}): rename one")
            for batch in file.iter_batches(columns=[COLUMN]):
                for value in batch.column(0).to_pylist():
                    yield from _texts(value, f"corpus file {path}")
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"corpus file {path} is no readable Parquet file: {error}") from None


def _decode(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"corpus file {path} is binary or not UTF-8: save it as UTF-8 text") from None
    except OSError as error:
        raise InputError(f"corpus file {path} cannot be read: {error.strerror}") from None


READERS = {".txt": _read_text, ".jsonl": _read_jsonl, ".parquet": _read_parquet}


def _endings() -> str:
    return ", ".join(READERS)


def _texts(value: object, source: str) -> Iterator[str]:
    """A column's value if it is text; missing ones are passed over."""
    if value is None:
        return
    if not isinstance(value, str):
        raise InputError(f"{source}: the column holds {type(value).__name__}, not text; give one that holds text")
    if value.strip():
        yield value


def _from_hub(name: str) -> Iterator[str]:
    """Documents of ``NAME[,CONFIG][:COLUMN]``, split train, streamed."""
    match = re.fullmatch(r"(?P<name>[^,:]+)(?:,(?P<config>[^:]+))?(?::(?P<column>.+))?", name)
    if match is None:
        raise InputError(f"corpus hf:{name} is not of the form hf:NAME[,CONFIG][:COLUMN]")
    column = match["column"] or COLUMN
    import datasets  # takes seconds, and only this source needs it

    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; the failure itself is reported
    try:
        rows = datasets.load_dataset(match["name"], match["config"], split="train", streaming=True)
        for row in rows:
            if column not in row:
                raise InputError(f"hf:{name} has no column {column!r} (it has: {', '.join(row)}): use hf:NAME:COLUMN")
            yield from _texts(row[column], f"hf:{name}")
    except InputError:
        raise
    except Exception as error:  # the library raises dozens of types, down to the transport's own
        raise InputError(f"hf:{name} cannot be read; check the name and the network ({reason(error)})") from None
