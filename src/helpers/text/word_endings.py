"""Short stretches of text that end in one word of several tokens, and others that end in as many words of one.

After the paper (5.1, figure 6b), whose inputs have 16 tokens: the last 4 make one word, or are 4 words.
"""

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from helpers.text.vocabulary import word_spans

LENGTH = 16  # tokens of a stretch, BOS not counted
PIECES = (4, 3)  # the paper's number, and the one taken where a text has too few words of that many pieces
FEWEST_WORDS, MOST_WORDS = 20, 128
COLUMNS = ["document", "pieces", "word", "control"]


def stretches(
    texts: list[str], tokens: Int[Tensor, "sequence pos"], documents: Int[Tensor, "sequence pos"]
) -> pd.DataFrame:
    """Words with their controls, one row per different word; ``texts`` are those of ``vocabulary.token_texts``.

    ``word`` and ``control`` are where two stretches of ``LENGTH`` tokens end, counted through all ``tokens``: the
    last ``pieces`` tokens of the first make one word, those of the second are as many words, of one token each.
    Both are of one ``document`` (as in ``corpus.documents_of``), the control is the one that ends nearest to the
    word (of two equally near ones the earlier), and the word is taken where it first has one. Words are of as many
    pieces as the paper's, or of fewer where there are not ``FEWEST_WORDS`` of them and more of those. At most
    ``MOST_WORDS`` are taken, evenly spaced.
    """
    spans = [word_spans(texts, row) for row in tokens]
    found: list[pd.DataFrame] = []
    for pieces in PIECES:
        found.append(_of_length(pieces, spans, texts, tokens, documents))
        if len(found[-1]) >= FEWEST_WORDS:
            break
    best = found[-1] if len(found[-1]) >= FEWEST_WORDS else max(found, key=len)
    spaced = torch.linspace(0, max(0, len(best) - 1), min(len(best), MOST_WORDS)).round().long()
    return best.iloc[spaced.tolist()].reset_index(drop=True)


def inputs(tokens: Int[Tensor, "sequence pos"], ends: Int[Tensor, "stretch"]) -> Int[Tensor, "stretch place"]:
    """BOS and the stretches that end at these places."""
    back = torch.arange(1 - LENGTH, 1)
    return torch.cat([tokens[ends // tokens.shape[1], :1], tokens.flatten()[ends[:, None] + back]], dim=1)


def _of_length(
    pieces: int,
    spans: list[list[tuple[int, int]]],
    texts: list[str],
    tokens: Int[Tensor, "sequence pos"],
    documents: Int[Tensor, "sequence pos"],
) -> pd.DataFrame:
    """All different words of this many pieces that have a control."""
    words: list[tuple[int, int, tuple[int, ...]]] = []  # document, place of the end, tokens
    controls: dict[int, list[int]] = {}  # by document
    for sequence, of_sequence in enumerate(spans):
        singles = {start for start, length in of_sequence if length == 1}
        runs = {start for start in singles if singles.issuperset(range(start, start + pieces))}
        for start in sorted(runs | {start for start, length in of_sequence if length == pieces}):
            end = start + pieces - 1
            stretch = slice(end - LENGTH + 1, end + 1)
            if end < LENGTH or not _is_whole(documents[sequence, stretch], texts, tokens[sequence, stretch]):
                continue
            document, place = int(documents[sequence, end]), sequence * tokens.shape[1] + end
            if start in runs:
                controls.setdefault(document, []).append(place)
            else:
                words.append((document, place, tuple(tokens[sequence, start : end + 1].tolist())))
    first: dict[tuple[int, ...], tuple[int, int, int, int]] = {}
    for document, place, word in words:
        if word not in first and document in controls:
            control = min(controls[document], key=lambda other: (abs(other - place), other))
            first[word] = (document, pieces, place, control)
    return pd.DataFrame(list(first.values()), columns=COLUMNS, dtype="int64")


def _is_whole(documents: Int[Tensor, "pos"], texts: list[str], tokens: Int[Tensor, "pos"]) -> bool:
    """Whether a stretch is of one document and has no special token."""
    return bool((documents == documents[-1]).all()) and all(texts[token] for token in tokens.tolist())
