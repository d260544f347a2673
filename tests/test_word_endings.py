"""Stretches end in the words that one would choose by hand, each beside the nearest run of whole words."""

import pytest
import torch

from helpers.corpus import documents_of, windows
from helpers.text import word_endings
from helpers.text.vocabulary import token_texts

TEXTS = ["", ".", " the", " a", " d", "o", "gg", "ed", " f", "an", "cy", "!"]
BOS, DOT, THE, A, D, OO, GG, ED, F, AN, CY, BANG = range(12)
DOGGED, FANCY = [D, OO, GG, ED], [F, AN, CY]
LEFT = [DOT] * 16  # nothing that is a word
FOUR = [THE, A, A, THE, DOT]


def found(*rows, documents=None):
    length = max(map(len, rows))
    tokens = torch.tensor([[BOS, *row, *[DOT] * (length - len(row))] for row in rows])
    documents = torch.zeros_like(tokens) if documents is None else torch.tensor(documents)[:, None].expand_as(tokens)
    return tokens, word_endings.stretches(TEXTS, tokens, documents)


def ending(tokens, end):
    return word_endings.inputs(tokens, torch.tensor([end]))[0].tolist()


def test_a_word_and_the_nearest_whole_words_of_its_document():
    tokens, rows = found([*LEFT, *DOGGED, DOT, *LEFT, *FOUR, *LEFT, *FOUR])
    assert rows[["document", "pieces"]].to_numpy().tolist() == [[0, 4]]
    assert ending(tokens, rows["word"].item()) == [BOS, *[DOT] * 12, *DOGGED]
    assert ending(tokens, rows["control"].item()) == [BOS, *[DOT] * 12, THE, A, A, THE]
    assert rows["control"].item() == 16 + 5 + 16 + 4  # counted with BOS


def test_the_earlier_of_two_equally_near_and_every_run_of_whole_words_counts():
    _, rows = found([*LEFT, *FOUR, *DOGGED, DOT, *FOUR])
    assert (rows["word"] - rows["control"]).item() == 5
    _, rows = found([*LEFT, *DOGGED, DOT, THE, *FOUR])  # five in a row: the first four are nearer
    assert (rows["control"] - rows["word"]).item() == 5


@pytest.mark.parametrize(
    ("rows", "documents"),
    [
        ([[*LEFT[:11], *DOGGED, DOT, *FOUR]], [0]),  # too near BOS
        ([[*LEFT, *DOGGED, DOT]], [0]),  # nothing to compare with
        ([[*LEFT, *DOGGED, DOT], [*LEFT, *FOUR]], [0, 1]),  # what there is stands in another document
        ([[*LEFT[:5], BOS, *LEFT[:6], *DOGGED, DOT, *LEFT, *FOUR]], [0]),  # a special token in the stretch
        ([[*LEFT, THE, A, A, DOT]], [0]),  # no word of several tokens, and the text ends
    ],
)
def test_what_has_not_16_tokens_of_its_document_or_no_control_is_left_out(rows, documents):
    assert found(*rows, documents=documents)[1].empty


def test_a_stretch_that_begins_in_another_document_is_left_out():
    tokens = torch.tensor([[BOS, *LEFT, *DOGGED, DOT, *LEFT, *FOUR]])
    documents = torch.zeros_like(tokens)
    assert len(word_endings.stretches(TEXTS, tokens, documents)) == 1
    documents[:, 9:] = 1
    assert word_endings.stretches(TEXTS, tokens, documents).empty


def test_a_word_counts_once_where_it_first_has_a_control():
    tokens, rows = found([*LEFT, *DOGGED, DOT], [*LEFT, *DOGGED, DOT, *FOUR, *DOGGED, DOT], documents=[0, 1])
    assert rows["document"].tolist() == [1] and rows["word"].item() == tokens.shape[1] + 20


def test_words_of_three_pieces_are_taken_where_there_are_too_few_of_four(monkeypatch):
    text = [*LEFT, *DOGGED, DOT, *FOUR, *LEFT, *FANCY, DOT, *FOUR]
    assert found(text)[1]["pieces"].tolist() == [4]  # no more of three than of four
    text += [*LEFT, F, AN, ED, DOT]
    assert found(text)[1]["pieces"].tolist() == [3, 3]
    monkeypatch.setattr(word_endings, "FEWEST_WORDS", 1)
    assert found(text)[1]["pieces"].tolist() == [4]


def test_of_many_words_some_are_taken_evenly_spaced(monkeypatch):
    monkeypatch.setattr(word_endings, "MOST_WORDS", 2)
    words = [[F, AN, piece] for piece in (AN, CY, ED, OO)]
    tokens, rows = found([token for word in words for token in [*LEFT, *word, DOT, *FOUR]])
    assert [ending(tokens, end)[-3:] for end in rows["word"]] == [words[0], words[-1]]


def test_the_bundled_text_has_words_for_the_bundled_model(bridges):
    bridge = bridges["pocket"]
    size = dict(tokens=2**15, context=256)
    tokens, documents, texts = windows(bridge, **size), documents_of(bridge, **size), token_texts(bridge)
    rows = word_endings.stretches(texts, tokens, documents)
    assert len(rows) >= word_endings.FEWEST_WORDS
    pieces = rows["pieces"][0]
    words = set()
    for end, control in rows[["word", "control"]].itertuples(index=False, name=None):
        for place in (end, control):
            row, last = divmod(place, tokens.shape[1])
            assert documents[row, last - 15 : last + 1].unique().numel() == 1
        first = texts[ending(tokens, end)[17 - pieces]]
        rest = [texts[token] for token in ending(tokens, end)[18 - pieces :]]
        assert first.startswith(" ") and (first[1:] + "".join(rest)).isalpha() and len(rest) == pieces - 1
        words.add(first + "".join(rest))
        whole = [texts[token] for token in ending(tokens, control)[-pieces:]]
        assert all(text.startswith(" ") and text[1:].isalpha() for text in whole)
    assert len(words) == len(rows)
