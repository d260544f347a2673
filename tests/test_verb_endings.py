"""Examples for the -ing probes: which words are verbs, where they end, and that nothing but the ending is unequal."""

import numpy as np
import pytest
import torch

from helpers.beyond import token_classes, verb_endings
from helpers.beyond.verb_endings import CONTEXT, balanced, examples, verb_ends, verbs

TEXTS = [
    " look",
    "ing",
    "ed",
    " looking",
    " walked",
    " the",
    " of",
    ".",
    "<bos>",
    " walking",
    " something",
    " The",
    "s",
]
LOOK, ING, ED, LOOKING, WALKED, THE, OF, DOT, BOS, WALKING, SOMETHING, CAPITAL, S = range(len(TEXTS))


def text(pieces: list[list[int]], n_documents: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Documents of one sequence each: BOS and 40 articles, one of the pieces behind a preposition and a dot."""
    lines = [[BOS, *[THE, OF] * 20, *pieces[number % len(pieces)], DOT, DOT] for number in range(n_documents)]
    longest = max(map(len, lines))
    tokens = torch.tensor([line + [DOT] * (longest - len(line)) for line in lines])
    documents = torch.arange(n_documents)[:, None].repeat(1, longest)
    documents[:, 0] = -1
    return tokens, documents


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("looking look", "looking look"),
        ("making make made", "making make"),
        ("running runs", "running runs"),
        ("carrying carried", "carrying carried"),
        ("talking talked talks", "talking talked talks"),
        ("something some thing", ""),
        ("king kings", ""),
        ("sing sings", ""),
        ("walking looked", ""),
    ],
)
def test_a_verb_is_a_word_with_ing_and_without(words, found):
    assert verbs(set(words.split())) == set(found.split())


def test_the_end_of_a_verb_is_its_last_token():
    line = torch.tensor([[BOS, LOOK, ING, THE, LOOKING, OF, LOOK, ED, WALKING, SOMETHING, LOOK, S, DOT]])
    rows = verb_ends(TEXTS, line)
    assert list(rows[["position", "positive", "begins"]].itertuples(index=False, name=None)) == [
        (2, True, False),
        (4, True, True),
        (7, False, False),
        (11, False, False),
    ]  # nothing of " walking", which no other form goes with, nor of " something"


def test_an_ing_that_is_not_in_the_last_token_is_no_example():
    texts = [*TEXTS, " lookin", "g"]
    line = torch.tensor([[BOS, len(texts) - 2, len(texts) - 1, LOOK, DOT]])
    assert verb_ends(texts, line)["position"].tolist() == [3]


def test_an_example_is_bos_the_24_tokens_before_and_the_end():
    """By hand, from the text itself."""
    tokens, documents = text([[LOOK, ING], [LOOK, ED]], n_documents=120)
    found = examples(TEXTS, tokens, documents)
    assert found.token_class == "-ing" and found.are_enough and len(found.positive) == 120
    assert found.positive.sum() == 60
    for line, positive, document in zip(found.tokens, found.positive, found.documents, strict=True):
        context = [*[THE, OF] * 11, OF][-(CONTEXT - 1) :]
        whole = [BOS, *tokens[document, 42 - CONTEXT : 42].tolist(), ING if positive else ED]
        assert line.tolist() == whole and whole[CONTEXT] == LOOK and len(context) == CONTEXT - 1
        assert tokens[document, 42].item() == whole[-1]


def test_both_answers_are_as_frequent_whether_the_token_begins_a_word_or_not():
    """40 split in -ing, 20 split others, 20 whole in -ing, 60 whole others: 20 and 20 pairs."""
    pieces = [[LOOK, ING]] * 2 + [[LOOK, ED]] + [[LOOKING]] + [[LOOK]] * 3
    tokens, documents = text(pieces, n_documents=7 * 20)
    found = balanced("-ing", verb_ends(TEXTS, tokens), tokens, documents, seed=0)
    ends = np.array([TEXTS[token] for token in found.tokens[:, -1]])
    counts = dict(zip(*np.unique(ends, return_counts=True), strict=True))
    assert counts == {"ing": 20, "ed": 20, " looking": 20, " look": 20}
    other = balanced("-ing", verb_ends(TEXTS, tokens), tokens, documents, seed=1)
    assert set(found.documents) != set(other.documents)


def test_a_context_that_reaches_into_another_document_is_no_context():
    tokens, documents = text([[LOOK, ING], [LOOK, ED]], n_documents=120)
    assert examples(TEXTS, tokens, documents).token_class == "-ing"
    documents[:, :30] = 1000
    assert not balanced("-ing", verb_ends(TEXTS, tokens), tokens, documents, 0).positive.size
    assert not examples(TEXTS, tokens[:, :CONTEXT], documents[:, :CONTEXT]).are_enough


def test_of_a_long_text_five_hundred_pairs_are_taken(monkeypatch):
    monkeypatch.setattr(verb_endings, "MOST", 30)
    tokens, documents = text([[LOOK, ING], [LOOK, ED], [LOOKING], [LOOK]], n_documents=400)
    found = balanced("-ing", verb_ends(TEXTS, tokens), tokens, documents, seed=0)
    ends = dict(zip(*np.unique(found.tokens[:, -1], return_counts=True), strict=True))
    assert ends == {ING: 15, ED: 15, LOOKING: 15, LOOK: 15}


def test_a_text_without_verbs_is_asked_for_capitals():
    tokens, documents = text([[CAPITAL, THE] * 6], n_documents=20)
    found = examples(TEXTS, tokens, documents)
    inside = token_classes.members(TEXTS)["capital"]
    assert found.token_class == "capital" and found.are_enough
    assert found.positive.tolist() == inside[found.tokens[:, -1]].tolist()
    assert found.positive.mean() == 0.5 and found.positive.sum() == 120


def test_four_documents_are_too_few():
    tokens, documents = text([[LOOK, ING], [LOOK, ED]], n_documents=120)
    assert not balanced("-ing", verb_ends(TEXTS, tokens), tokens, documents % 4, 0).are_enough
    assert balanced("-ing", verb_ends(TEXTS, tokens), tokens, documents % 5, 0).are_enough
