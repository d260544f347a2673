"""Sentences in which words carry labels, and where a model's tokens say those words.

Two sets written for this project: ``parts_of_speech/sentences.jsonl`` (``words``, their universal ``tags``,
and the ``text`` they stand in) and ``senses/pairs.jsonl`` (a ``word``, two sentences ``first`` and ``second``
that hold it once each, and whether it has the ``same`` sense in both). A model may cut a word into several
tokens; its state is read at the last of them, the first position that has seen the whole word. A sentence
is BOS and the tokens of its text.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import files, paths
from helpers.errors import InputError
from helpers.text.vocabulary import boundary_tokens

TAGGED = paths.DATA / "parts_of_speech" / "sentences.jsonl"
SENSES = paths.DATA / "senses" / "pairs.jsonl"
Span = tuple[int, int]


@dataclass(frozen=True)
class MarkedText:
    """Tokenised sentences and the marked words in them that the model can reach.

    ``words`` has one row per such word: ``sentence`` (index into ``tokens``), ``mark`` (which of the
    sentence's spans it is), ``first`` and ``last`` position of its tokens.
    """

    tokens: list[Int[Tensor, "_"]]
    words: pd.DataFrame


def tagged_sentences(file: Path = TAGGED) -> pd.DataFrame:
    """Columns ``text``, ``words``, ``tags`` and ``spans``, where each word begins and ends: one row per sentence."""
    table = _read(file, ("text", "words", "tags"))
    for row in table.itertuples():
        if len(row.words) != len(row.tags):
            raise InputError(f"{file}: {row.text!r} has {len(row.words)} words and {len(row.tags)} tags")
    table["spans"] = [_in_order(row.text, row.words) for row in table.itertuples()]
    return table


def sense_pairs(file: Path = SENSES) -> pd.DataFrame:
    """Columns ``word``, ``same``, ``first``, ``second``, and where the word is: ``first_span``, ``second_span``."""
    table = _read(file, ("word", "same", "first", "second"))
    for side in ("first", "second"):
        table[f"{side}_span"] = [word_span(row[side], row["word"]) for row in table.to_dict("records")]
    return table


def word_span(sentence: str, word: str) -> Span:
    """Where the one whole-word occurrence of ``word``, in capitals or not, begins and ends."""
    occurrences = [match.span() for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", sentence, re.IGNORECASE)]
    if len(occurrences) != 1:
        raise InputError(f"{word!r} occurs {len(occurrences)} times in {sentence!r}: it must occur exactly once")
    return occurrences[0]


def mark(
    bridge: TransformerBridge, sentences: Sequence[str], spans: Sequence[Sequence[Span]], context: int
) -> MarkedText:
    """Tokenise ``sentences`` and find the tokens of the words at ``spans``.

    Words that end after ``context`` tokens, BOS included, are left out, and so are tokens after the last
    word of a sentence. Raises ``InputError`` where the tokenizer cannot say which characters a token covers.
    """
    bos, _ = boundary_tokens(bridge)
    tokens, rows = [], []
    for sentence, (ids, offsets) in enumerate(_encoded(bridge.tokenizer, sentences)):
        length = 1
        for number, span in enumerate(spans[sentence]):
            covering = [position for position, token in enumerate(offsets, start=1) if _overlap(token, span)]
            if covering and covering[-1] < context:
                rows.append((sentence, number, covering[0], covering[-1]))
                length = max(length, covering[-1] + 1)
        tokens.append(torch.tensor([bos, *ids])[:length])
    return MarkedText(tokens, pd.DataFrame(rows, columns=["sentence", "mark", "first", "last"], dtype=int))


def _encoded(tokenizer, sentences: Sequence[str]) -> list[tuple[list[int], list[Span]]]:
    """Token ids of every sentence, and the characters each covers."""
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{type(tokenizer).__name__} cannot say which characters a token covers: "
            "save a fast tokenizer (tokenizer.json) with the model"
        )
    encoded = tokenizer(list(sentences), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))


def _overlap(token: Span, word: Span) -> bool:
    return max(token[0], word[0]) < min(token[1], word[1])


def _in_order(text: str, words: Sequence[str]) -> list[Span]:
    """Where the words are, one after the other; nothing but spaces and punctuation may lie between them."""
    spans, end = [], 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or any(map(str.isalnum, text[end:start])):
            raise InputError(f"{word!r} is not where it should be in {text!r}: the text must hold the words in order")
        end = start + len(word)
        spans.append((start, end))
    return spans


def _read(file: Path, fields: Sequence[str]) -> pd.DataFrame:
    """One JSON object a line, with at least ``fields``."""
    try:
        records = [
            json.loads(line) for line in files.reading(file).read_text(encoding="utf8").split("\n") if line.strip()
        ]
        return pd.DataFrame([{field: record[field] for field in fields} for record in records], columns=list(fields))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: each line must be a JSON object with {', '.join(fields)} ({error})") from None
