"""Evaluation text as windows of tokens: ``[BOS] + (context - 1)`` tokens cut from documents joined by EOS.

Sources: the bundled passages; a ``.txt`` (one document), ``.jsonl`` or ``.parquet`` file (column
``text``) or a folder of them; a dataset on the Hub, streamed. From a local corpus the windows are evenly
spaced, so that a small sample sees all of it; of a stream the first ones are taken.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import paths
from helpers.errors import InputError, reason
from helpers.models import context_limit
from helpers.tables import writing

SHORTEST_CONTEXT = 8
COLUMN = "text"
DOCUMENTS_PER_CALL = 256


def windows(
    bridge: TransformerBridge, corpus: str = "bundled", tokens: int = 16_384, context: int = 256
) -> Int[Tensor, "sequence context"]:
    """About ``tokens`` tokens of ``corpus`` as ``floor(tokens / context)`` sequences, at least one.

    Text for fewer windows is used whole; text for less than one raises ``InputError``.
    """
    return _cut(bridge, corpus, tokens, context)[0]


def documents_of(
    bridge: TransformerBridge, corpus: str = "bundled", tokens: int = 16_384, context: int = 256
) -> Int[Tensor, "sequence context"]:
    """Which document of the corpus, counted from 0, each token of ``windows`` was cut from; -1 for BOS.

    The EOS between two documents counts as the later one's.
    """
    return _cut(bridge, corpus, tokens, context)[1]


def _cut(
    bridge: TransformerBridge, corpus: str, tokens: int, context: int
) -> tuple[Int[Tensor, "sequence context"], Int[Tensor, "sequence context"]]:
    """The windows, and the document of every token in them."""
    _check_shape(bridge, tokens, context)
    wanted, length = max(1, tokens // context), context - 1
    bos, eos = boundary_tokens(bridge)
    streamed = corpus.startswith("hf:")
    texts = _from_hub(corpus.removeprefix("hf:")) if streamed else _from_disk(corpus)
    pieces = _take(_joined(_tokenised(bridge.tokenizer, texts), eos), wanted * length if streamed else None)
    stream = np.concatenate([np.empty(0, np.int64), *pieces])
    documents = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    available = min(wanted, len(stream) // length)
    if available < 1:
        raise InputError(
            f"corpus {corpus} has {len(stream)} tokens, one sequence needs {length}: "
            "give more text or a smaller --context"
        )
    starts = np.arange(available) * len(stream) // available
    places = starts[:, None] + np.arange(length)
    cut = (
        np.pad(source[places], ((0, 0), (1, 0)), constant_values=first)
        for source, first in ((stream, bos), (documents, -1))
    )
    windows, sources = map(torch.from_numpy, cut)
    return windows, sources


def save_tokens(tokens: Int[Tensor, "sequence context"], model: str) -> Path:
    """Write the windows a model is evaluated on to ``tokens.npy`` in its results."""
    path = paths.results(model) / "tokens.npy"
    with writing(path) as temporary:
        np.save(temporary, tokens.numpy())
    return path


def boundary_tokens(bridge: TransformerBridge) -> tuple[int, int]:
    """BOS and EOS ids: the tokenizer's, else the config's; where there is no BOS, EOS stands in for it."""
    tokenizer, config = bridge.tokenizer, bridge.original_model.config
    bos = _first(tokenizer.bos_token_id, getattr(config, "bos_token_id", None))
    eos = _first(tokenizer.eos_token_id, getattr(config, "eos_token_id", None))
    eos = _first(eos, bos)
    if eos is None:
        raise InputError("the model has neither a BOS nor an EOS token: name one in tokenizer_config.json")
    return _first(bos, eos), eos


def _first(*candidates: int | list[int] | None) -> int | None:
    """The first candidate that is given; of a list of ids its first."""
    given = next((candidate for candidate in candidates if candidate is not None), None)
    return given[0] if isinstance(given, list) else given


def _check_shape(bridge: TransformerBridge, tokens: int, context: int) -> None:
    if tokens < 1:
        raise InputError(f"tokens is {tokens}: evaluate on at least 1")
    if context < SHORTEST_CONTEXT:
        raise InputError(f"context {context} is too short: use at least {SHORTEST_CONTEXT} tokens")
    if context > context_limit(bridge):
        raise InputError(f"context {context} is above the model's limit of {context_limit(bridge)}: use a smaller one")


def _tokenised(tokenizer, documents: Iterable[str]) -> Iterator[list[int]]:
    documents = iter(documents)
    while batch := list(islice(documents, DOCUMENTS_PER_CALL)):
        yield from tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]


def _joined(documents: Iterable[list[int]], eos: int) -> Iterator[np.ndarray]:
    for number, ids in enumerate(documents):
        yield np.array([eos, *ids] if number else ids, dtype=np.int64)


def _take(pieces: Iterator[np.ndarray], length: int | None) -> list[np.ndarray]:
    """All pieces, or as many as hold the first ``length`` tokens and no more: the last one cut, none read beyond it."""
    if length is None:
        return list(pieces)
    taken, left = [], length
    while left > 0 and (piece := next(pieces, None)) is not None:
        taken.append(piece[:left])
        left -= len(taken[-1])
    return taken


def _from_disk(corpus: str) -> Iterator[str]:
    path = paths.PASSAGES if corpus == "bundled" else Path(corpus).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in READERS and file.is_file())
    else:
        files = [path]
    if not corpus or not path.exists():
        raise InputError(f"no corpus {corpus}: give 'bundled', a {_endings()} file, a folder of them, or hf:NAME")
    if not files or files[0].suffix.lower() not in READERS:
        raise InputError(f"corpus {corpus} holds no {_endings()} file: convert the text to one of these")
    documents = [text for file in files for text in READERS[file.suffix.lower()](file) if text.strip()]
    if not documents:
        raise InputError(f"corpus {corpus} is empty: give a file with text in it")
    return iter(documents)


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
