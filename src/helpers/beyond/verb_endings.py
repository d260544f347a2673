"""Balanced examples for the paper's "-ing" probes (5.3, figures 12a and 21): 24 tokens of text, and what comes next.

An example is BOS, 24 tokens of one document and the token behind them, the last one of a verb. It is positive if that
token ends in "ing". So where a vocabulary has whole verbs the context ends before the verb; where it writes
" look" and "ing", between the two. A verb in -ing whose last token does not end so ("lookin", "g") is left out.

Verbs are told without a tagger: a word is one if the text has it with -ing, and in another form: " look", " looks" or
" looked" beside " looking". That is crude: it leaves out short verbs, and takes "even" for one beside "evening".

Half of the examples are positive, also among those whose last token begins a word, and among those where it goes on
with one: otherwise to know that a word has begun would be to know half of the answer. A text that has too few verbs
is asked another question: does the next token begin with a capital?
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from helpers.beyond import token_classes
from helpers.text import vocabulary

CONTEXT = 24
ENDING, INSTEAD = "-ing", "capital"
SHORTEST_STEM = 3
FEWEST, MOST = 50, 500  # positive examples
FEWEST_DOCUMENTS = 5


class Examples(NamedTuple):
    """BOS, context and next token of each example, whether that one is of ``token_class``, and its document."""

    token_class: str
    tokens: Int[Tensor, "example 26"]
    positive: Bool[np.ndarray, "example"]
    documents: Int[np.ndarray, "example"]

    @property
    def are_enough(self) -> bool:
        """At least 50 positive ones, and as many others, from at least 5 documents."""
        return int(self.positive.sum()) >= FEWEST and len(set(self.documents)) >= FEWEST_DOCUMENTS


def examples(
    texts: list[str],
    tokens: Int[Tensor, "sequence pos"],
    documents: Int[Tensor, "sequence pos"],
    seed: int = 0,
) -> Examples:
    """At most 500 positive examples and as many others: verbs, or tokens of any kind where there are too few verbs.

    ``texts`` are those of ``vocabulary.token_texts``; ``documents`` says which one each token is from.
    """
    asked = balanced(ENDING, verb_ends(texts, tokens), tokens, documents, seed)
    if asked.are_enough:
        return asked
    return balanced(INSTEAD, any_place(token_classes.members(texts)[INSTEAD], tokens), tokens, documents, seed)


def verbs(words: Collection[str]) -> set[str]:
    """Every form of a verb among ``words`` (in small letters): that with -ing, and those that go with it.

    Its stem has three letters or more. A doubled consonant, an e or a y that is lost are looked for.
    """
    words, found = set(words), set()
    for word in words:
        stem = word.removesuffix("ing")
        if stem == word or len(stem) < SHORTEST_STEM:
            continue
        forms = {stem + ending for ending in ("", "e", "s", "es", "ed")}
        if stem[-1] == stem[-2]:
            forms |= {stem[:-1], f"{stem[:-1]}s"}
        if stem[-1] == "y":
            forms |= {f"{stem[:-1]}ies", f"{stem[:-1]}ied"}
        if known := forms & words:
            found |= known | {word}
    return found


def verb_ends(texts: list[str], tokens: Int[Tensor, "sequence pos"]) -> pd.DataFrame:
    """The last token of every verb: one row with ``sequence``, ``position``, ``positive`` and ``begins`` (a word)."""
    rows = []
    for sequence, line in enumerate(tokens):
        for first, length in vocabulary.word_spans(texts, line):
            pieces = [texts[token] for token in line[first : first + length].tolist()]
            word, positive = "".join(pieces).strip().lower(), pieces[-1].endswith("ing")
            rows.append((sequence, first + length - 1, positive, length == 1, word))
    table = pd.DataFrame(rows, columns=["sequence", "position", "positive", "begins", "word"])
    unclear = table["word"].str.endswith("ing") & ~table["positive"].astype(bool)
    return table[table["word"].isin(verbs(set(table["word"]))) & ~unclear].drop(columns="word")


def any_place(inside: Bool[Tensor, "vocab"], tokens: Int[Tensor, "sequence pos"]) -> pd.DataFrame:
    """Every token; ``positive`` if it is ``inside`` the class."""
    sequence, position = (places.flatten() for places in np.indices(tokens.shape))
    positive = inside.cpu()[tokens].flatten().numpy()
    return pd.DataFrame({"sequence": sequence, "position": position, "positive": positive, "begins": True})


def balanced(
    token_class: str,
    places: pd.DataFrame,
    tokens: Int[Tensor, "sequence pos"],
    documents: Int[Tensor, "sequence pos"],
    seed: int,
) -> Examples:
    """As many of the ``places`` with a whole context as can be had, half of them positive among those that begin a
    word and among those that do not; which ones is random."""
    places = places[places["position"] > CONTEXT]
    cut = places["position"].to_numpy()[:, None] + np.arange(-CONTEXT, 1)
    sequence = places["sequence"].to_numpy()[:, None]
    sources = documents.numpy()[sequence, cut]
    whole = (sources == sources[:, -1:]).all(1)
    chosen = np.sort(_draw(places.assign(number=range(len(places)))[whole], seed))
    bos = tokens[sequence[chosen, 0], :1]
    return Examples(
        token_class,
        torch.cat([bos, tokens[sequence[chosen], cut[chosen]]], dim=1),
        places["positive"].to_numpy(bool)[chosen],
        sources[chosen, -1],
    )


def _draw(places: pd.DataFrame, seed: int) -> Int[np.ndarray, "example"]:
    """The ``number`` of each place that is drawn."""
    generator = np.random.default_rng(seed)
    strata = [
        [places.loc[is_begin & is_positive, "number"].to_numpy() for is_positive in (positive, ~positive)]
        for positive in [places["positive"].astype(bool)]
        for is_begin in (places["begins"].astype(bool), ~places["begins"].astype(bool))
    ]
    sizes = np.array([min(map(len, halves)) for halves in strata])
    sizes = np.minimum(sizes, np.ceil(sizes * MOST / max(1, sizes.sum())).astype(int))
    drawn = [
        generator.choice(half, size, replace=False)
        for halves, size in zip(strata, sizes, strict=True)
        for half in halves
    ]
    return np.concatenate(drawn)
