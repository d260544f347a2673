"""Words that the vocabulary has whole, spelled in two shorter tokens, and places in a text to put them.

After Kaplan et al., *From Tokens to Words: On the Inner Lexicon of LLMs* (ICLR 2025), who split words of
one token into several. Nothing is drawn at random: the same vocabulary and text give the same examples.
"""

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from helpers.text.vocabulary import word_spans

LETTERS = 4  # words shorter than this are left out
BEFORE = 16  # tokens of the text before a word
MOST_WORDS, OTHER_PLACES = 256, 3
SPLIT = ["token", "first", "last"]
EXAMPLE = [*SPLIT, "wrong_first", "sequence", "pos", "others"]


def splits(texts: list[str]) -> pd.DataFrame:
    """Words of the vocabulary that two shorter tokens spell as well: ``token``, ``first`` and ``last``.

    Of several ways the one whose shorter piece is longest, then the one with the longer first piece. A
    word is a space and at least ``LETTERS`` letters; each piece has at least two letters.
    """
    token_of = {text: token for token, text in reversed(list(enumerate(texts)))}
    rows = []
    for token in words(texts):
        text = texts[token]
        if len(text) <= LETTERS or token_of[text] != token:
            continue
        cuts = [cut for cut in range(3, len(text) - 1) if text[:cut] in token_of and text[cut:] in token_of]
        if cuts:
            best = max(cuts, key=lambda cut: (min(cut - 1, len(text) - cut), cut))
            rows.append((token, token_of[text[:best]], token_of[text[best:]]))
    return pd.DataFrame(rows, columns=SPLIT, dtype="int64")


def words(texts: list[str]) -> list[int]:
    """Every token that is a word: a space and letters."""
    return [token for token, text in enumerate(texts) if text.startswith(" ") and text[1:].isalpha()]


def examples(texts: list[str], tokens: Int[Tensor, "sequence pos"]) -> pd.DataFrame:
    """Words to spell, at most ``MOST_WORDS``, and where: one row per word.

    ``token``, its pieces ``first`` and ``last``, ``wrong_first`` (the first piece of another word, which
    with ``last`` spells no token), the place ``sequence`` and ``pos`` where it gets spelled, and
    ``others``, up to ``OTHER_PLACES`` further places. A place is where a word occurs for the first time
    in a sequence, so all are in different sequences, and no place has the word before it.
    """
    before = tokens_before(tokens)
    spelled = splits(texts).set_index("token")
    places: dict[int, list[tuple[int, int]]] = {}
    for sequence, row in enumerate(tokens):
        seen = set(row[: before + 1].tolist())
        for start, length in word_spans(texts, row):
            token = row[start].item()
            if length == 1 and start > before and token in spelled.index and token not in seen:
                places.setdefault(token, []).append((sequence, start))
            seen.add(token)
    several = [token for token in sorted(places) if len(places[token]) > 1]
    spaced = torch.linspace(0, len(several) - 1, min(len(several), MOST_WORDS)).tolist()
    chosen = [several[round(number)] for number in spaced]
    known, pieces = set(texts), [tuple(spelled.loc[token]) for token in chosen]
    rows = []
    for number, (token, (first, last)) in enumerate(zip(chosen, pieces, strict=True)):
        wrong = (
            other for other, _ in pieces[number + 1 :] + pieces[:number] if texts[other] + texts[last] not in known
        )
        wrong_first = next(wrong, None)
        if wrong_first is not None:
            (sequence, pos), *others = places[token]
            rows.append((token, first, last, wrong_first, sequence, pos, others[:OTHER_PLACES]))
    return pd.DataFrame(rows, columns=EXAMPLE)


def contexts(tokens: Int[Tensor, "sequence pos"], places: list[tuple[int, int]]) -> Int[Tensor, "place context"]:
    """BOS and the tokens before each place, a sequence and a position."""
    before = tokens_before(tokens)
    return torch.stack([torch.cat([tokens[row, :1], tokens[row, pos - before : pos]]) for row, pos in places])


def tokens_before(tokens: Int[Tensor, "sequence pos"]) -> int:
    """How many tokens of the text stand before a spelled word, besides BOS."""
    return min(BEFORE, tokens.shape[1] // 2)
