"""Evaluation text as windows of tokens: ``[BOS] + (context - 1)`` tokens cut from documents joined by EOS.

Sources: the bundled passages; a ``.txt`` (one document), ``.jsonl`` or ``.parquet`` file (column
``text``) or a folder of them; a dataset on the Hub, streamed. From a local corpus the windows are evenly
spaced, so that a small sample sees all of it; of a stream the first ones are taken.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import files, paths, stats
from helpers.errors import InputError, refused
from helpers.models import context_limit
from helpers.text import documents
from helpers.text.vocabulary import boundary_tokens

SHORTEST_CONTEXT = 8
DOCUMENTS_PER_CALL = 256
CHARACTERS_PER_CALL = 2**20  # of one document


def windows(
    bridge: TransformerBridge, corpus: str = "bundled", tokens: int = 6_144, context: int = 256
) -> Int[Tensor, "sequence context"]:
    """About ``tokens`` tokens of ``corpus`` as ``floor(tokens / context)`` sequences, at least one.

    Text for fewer windows is used whole; text for less than one raises ``InputError``.
    """
    return _cut(bridge, corpus, tokens, context)[0]


def documents_of(
    bridge: TransformerBridge, corpus: str = "bundled", tokens: int = 6_144, context: int = 256
) -> Int[Tensor, "sequence context"]:
    """Which document of the corpus, counted from 0, each token of ``windows`` was cut from; -1 for BOS.

    The EOS between two documents counts as the later one's.
    """
    return _cut(bridge, corpus, tokens, context)[1]


def with_documents(rows: pd.DataFrame, documents: Int[Tensor, "sequence context"]) -> pd.DataFrame:
    """Rows by ``sequence``, with a column ``document``: the one that most tokens of the sequence were cut from (of
    equal ones the earlier). ``stats`` draws together what is cut from one document."""
    main = [int(own[own >= 0].bincount().argmax()) for own in documents]
    return rows.assign(**{stats.DOCUMENT: np.array(main)[rows["sequence"]]})


def save_tokens(tokens: Int[Tensor, "sequence context"], model: str) -> Path:
    """Write the windows a model is evaluated on to ``tokens.npy`` in its results."""
    path = paths.results(model) / "tokens.npy"
    with files.writing(path) as temporary:
        np.save(temporary, tokens.numpy())
    return path


def _cut(
    bridge: TransformerBridge, corpus: str, tokens: int, context: int
) -> tuple[Int[Tensor, "sequence context"], Int[Tensor, "sequence context"]]:
    """The windows, and the document of every token in them."""
    _check_shape(bridge, tokens, context)
    files.reading_tokens()
    wanted, length = max(1, tokens // context), context - 1
    bos, eos = boundary_tokens(bridge)
    ids = _joined(_tokenised(bridge.tokenizer, documents.documents(corpus)), eos)
    pieces = _take(ids, wanted * length if documents.is_streamed(corpus) else None)
    stream = np.concatenate([np.empty(0, np.int64), *pieces])
    sources = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
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
        for source, first in ((stream, bos), (sources, -1))
    )
    windows, documents_of_windows = map(torch.from_numpy, cut)
    return windows, documents_of_windows


def _check_shape(bridge: TransformerBridge, tokens: int, context: int) -> None:
    if tokens < 1:
        raise InputError(f"tokens is {tokens}: evaluate on at least 1")
    if context < SHORTEST_CONTEXT:
        raise InputError(f"context {context} is too short: use at least {SHORTEST_CONTEXT} tokens")
    if context > context_limit(bridge):
        raise InputError(f"context {context} is above the model's limit of {context_limit(bridge)}: use a smaller one")


def _tokenised(tokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    texts = iter(texts)
    while batch := list(islice(texts, DOCUMENTS_PER_CALL)):
        with refused("the model's tokenizer cannot read the text: use the one that the model was trained with"):
            tokenised = _ids(tokenizer, batch)
        yield from tokenised


def _ids(tokenizer, batch: list[str]) -> list[list[int]]:
    """The ids of each text. One that is too long to be tokenised at once, which takes a hundred times its memory, is
    cut before spaces; the tokens at a cut may be others than within a text."""

    def ids(texts: list[str]) -> list[list[int]]:
        return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]

    if max(map(len, batch)) <= CHARACTERS_PER_CALL:
        return ids(batch)
    return [[token for piece in _pieces(text) for token in ids([piece])[0]] for text in batch]


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + CHARACTERS_PER_CALL
        space = text.rfind(" ", start + 1, end) if end < len(text) else -1
        yield text[start : (end := space if space > 0 else end)]
        start = end


def _joined(pieces: Iterable[list[int]], eos: int) -> Iterator[np.ndarray]:
    for number, ids in enumerate(pieces):
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
