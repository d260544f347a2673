"""Words are split and placed as one would by hand, and become readable in the layer where that was planted."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.beyond import inner_lexicon
from helpers.corpus import windows
from helpers.engine import streams
from helpers.text import spelled_words
from helpers.text.vocabulary import token_texts

TEXTS = [
    "",
    " window",
    " wind",
    "ow",
    " win",
    "dow",
    " hand",
    " ha",
    "nd",
    " end",
    " le",
    "ng",
    "th",
    " length",
    " leng",
]
ID = {text: token for token, text in enumerate(TEXTS)}


def test_words_are_split_as_evenly_as_the_vocabulary_allows():
    found = spelled_words.splits(TEXTS)
    spelled = [tuple(TEXTS[token] for token in row) for row in found.itertuples(index=False, name=None)]
    assert spelled == [
        (" window", " win", "dow"),  # 3 and 3 letters; " wind" and "ow" is less even
        (" hand", " ha", "nd"),
        (" length", " leng", "th"),
        (" leng", " le", "ng"),
    ]


def test_the_letters_of_a_split_are_those_of_the_word(bridges):
    texts = token_texts(bridges["pocket"])
    found = spelled_words.splits(texts)
    assert len(found) > 250
    for token, first, last in found.itertuples(index=False, name=None):
        assert texts[first] + texts[last] == texts[token]
        assert len(texts[first]) >= 3 and len(texts[last]) >= 2 and len(texts[token]) >= 5


def test_a_vocabulary_in_which_no_word_has_pieces_gives_no_splits():
    assert spelled_words.splits(["", " window", " hand"]).empty


def test_examples_are_first_occurrences_in_different_sequences(bridges):
    bridge = bridges["pocket"]
    tokens, texts = windows(bridge, tokens=4096, context=128), token_texts(bridge)
    found = spelled_words.examples(texts, tokens)
    assert len(found) > 50 and found["token"].is_unique
    for row in found.itertuples(index=False):
        places = [(row.sequence, row.pos), *row.others]
        assert 2 <= len(places) <= 1 + spelled_words.OTHER_PLACES
        assert len({sequence for sequence, _ in places}) == len(places)
        for sequence, pos in places:
            assert tokens[sequence, pos] == row.token
            assert row.token not in tokens[sequence, :pos]
        assert texts[row.first] + texts[row.last] == texts[row.token]
        assert row.wrong_first != row.first and texts[row.wrong_first] + texts[row.last] not in texts
    contexts = spelled_words.contexts(tokens, [(int(found["sequence"][0]), int(found["pos"][0]))])
    before = tokens[found["sequence"][0], found["pos"][0] - 16 : found["pos"][0]].tolist()
    assert contexts.tolist() == [[tokens[0, 0].item(), *before]]


def plant(monkeypatch, residuals):
    """Let the rows of the residual stream of a sequence be ``residuals(sequence)``, row x pos x d_model."""

    def at_places(_bridge, sequences, sequence, position):
        everywhere = torch.stack([residuals(tokens) for tokens in sequences], dim=1)  # (row, sequence, pos, d_model)
        return everywhere[:, sequence, position]

    monkeypatch.setattr(streams, "at_places", at_places)


def test_words_with_the_same_last_piece_are_told_apart_from_the_layer_where_the_first_arrives(bridges, monkeypatch):
    """Until layer 2 a position holds its own token, from then on the token before it as well."""
    bridge = bridges["neox_sequential"]
    texts = ["", ".", " ha", " e", " sa", "nd", " the"]
    words = [[2, 5], [3, 5], [4, 5]]
    tokens = torch.tensor([[0, *a, 1, *b, 1, 6, 6, 1] for a in words for b in words])
    own, before = torch.eye(7), 0.3 * torch.eye(7)

    def residuals(row):
        shifted = torch.cat([row[:1], row[:-1]])
        return torch.stack([own[row] + (layer >= 2) * before[shifted] for layer in range(5)])

    plant(monkeypatch, residuals)
    rows = inner_lexicon.tell_apart(bridge, tokens, texts)
    table = inner_lexicon.summarise(rows).set_index("layer")
    assert table["neighbour"].iloc[2:].tolist() == [1, 1, 1]
    assert table["neighbour"].iloc[:2].tolist() == pytest.approx(table["neighbour_chance"].iloc[:2].tolist(), abs=1e-9)
    # each of the 18 words finds 16 others with the same last piece, some of them the same word
    expected = []
    for sequence, (a, b) in enumerate((a, b) for a in words for b in words):
        others = [w for s, pair in enumerate((c, d) for c in words for d in words) if s != sequence for w in pair]
        expected.append(np.mean([np.mean([other == word for other in others]) for word in (a, b)]))
    assert table["neighbour_chance"].iloc[0] == pytest.approx(np.mean(expected))


def test_without_anything_gathered_only_chance_is_left_in_a_model_without_positions_in_its_embedding(bridges):
    bridge = bridges["pocket"]
    tokens, texts = windows(bridge, tokens=32 * 128, context=128), token_texts(bridge)
    table = inner_lexicon.summarise(inner_lexicon.tell_apart(bridge, tokens, texts)).set_index("layer")
    assert table["neighbour"][0] == pytest.approx(table["neighbour_chance"][0])
    assert table["neighbour"][2] > table["neighbour_chance"][2] + 0.3


def test_a_spelled_word_is_recognised_from_the_layer_where_it_is_put_together(bridges, monkeypatch):
    """A residual that is its own token's embedding, and from layer 3 on that of the word its pieces spell."""
    bridge = bridges["neox_sequential"]
    texts = token_texts(bridge)
    tokens = windows(bridge, tokens=16 * 64, context=64)
    whole = {
        (first, last): token for token, first, last in spelled_words.splits(texts).itertuples(index=False, name=None)
    }
    embedding = bridge.W_E.float()
    ends = []

    def residuals(row):
        *_, before, last = row.tolist()
        ends.append((before, last))
        joined = torch.tensor([*row[:-1].tolist(), whole.get((before, last), last)])
        return torch.stack([embedding[row if layer < 3 else joined] for layer in range(5)])

    plant(monkeypatch, residuals)
    table = inner_lexicon.summarise(inner_lexicon.spell(bridge, tokens, texts)).set_index(["spelling", "layer"])
    for measure in ("neighbour", "embedding"):
        assert table.loc["whole", measure].tolist() == [1] * 5
        assert table.loc["spelled", measure].tolist()[3:] == [1, 1]
        assert max(table.loc["spelled", measure][:3]) < 0.2
        assert max(table.loc["wrong_start", measure]) < 0.2
        gain = table.loc["spelled", measure] - table.loc["wrong_start", measure]
        assert table.loc["gain", measure].tolist() == pytest.approx(gain.tolist())
    assert table.loc[("spelled", 4), "embedding_rank"] == 0 < table.loc[("spelled", 0), "embedding_rank"]
    assert any(end in whole for end in ends)


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_texts_and_vocabularies_without_such_words_give_empty_cells(kind, bridges):
    bridge = bridges[kind]
    for tokens, texts in (
        (torch.arange(8)[None], token_texts(bridge)),
        (torch.arange(24).reshape(3, 8), [""] * bridge.cfg.d_vocab),
    ):
        rows = inner_lexicon.sweep(bridge, tokens, texts)
        table = inner_lexicon.summarise(rows)
        assert len(table) == 5 * len(inner_lexicon.SPELLINGS)
        assert table["neighbour"].isna().all() and not math.isfinite(table["embedding"].iloc[0])
        assert pd.api.types.is_float_dtype(table["neighbour_low"])
