"""Tokens spell what the tokenizer decodes, and words are found where a reader would see them."""

import pytest
import torch

from helpers.corpus import windows
from helpers.text import vocabulary


@pytest.mark.parametrize("kind", ["pocket", "gpt2", "neox_parallel", "qwen2"])
def test_every_row_of_the_unembedding_has_a_text(bridges, kind):
    bridge = bridges[kind]
    texts = vocabulary.token_texts(bridge)
    assert len(texts) == bridge.W_U.shape[1]
    assert all(not texts[token] for token in bridge.tokenizer.all_special_ids)
    assert not any(texts[len(bridge.tokenizer) :])


def test_the_texts_of_a_sentence_join_to_the_sentence(bridges):
    bridge = bridges["pocket"]
    sentence = "The old man's dog barked twice; nobody knew why."
    texts = vocabulary.token_texts(bridge)
    assert "".join(texts[token] for token in bridge.tokenizer(sentence)["input_ids"]) == sentence


class SentencePieceLike:
    all_special_ids = (0,)

    def __len__(self):
        return 3

    def convert_ids_to_tokens(self, token):
        return ["<s>", "▁cat", "s"][token]

    def decode(self, tokens):
        return ["<s>", "cat", "s"][tokens[0]]  # such tokenizers drop a leading space


def test_a_sentencepiece_mark_is_a_space():
    assert vocabulary._token_texts(SentencePieceLike(), 4) == ("", " cat", "s", "")


TEXTS = ["", " the", " c", "at", "s", ",", " don", "'", "t", " 3", "rd", "\n", "The", " I", "é"]


@pytest.mark.parametrize(
    ("tokens", "spans"),
    [
        ([0, 1, 2, 3, 4, 5], [(1, 1), (2, 3)]),  # the cats,
        ([1, 2, 3], [(0, 1)]),  # the cat[...]: may go on
        ([6, 7, 8, 1, 5], [(3, 1)]),  # don't the,
        ([9, 10, 1, 11], [(2, 1)]),  # 3rd the\n
        ([12, 13, 5], [(1, 1)]),  # a word that opens a line has no space before it
        ([2, 14, 0], [(0, 2)]),  # letters are letters in every language
        ([], []),
    ],
)
def test_words_are_runs_of_letters_that_begin_with_a_space(tokens, spans):
    assert vocabulary.word_spans(TEXTS, torch.tensor(tokens, dtype=torch.long)) == spans


def test_words_of_the_bundled_text_are_words(bridges):
    bridge = bridges["pocket"]
    tokens, texts = windows(bridge, "bundled", tokens=512, context=256), vocabulary.token_texts(bridge)
    words = ["".join(texts[t] for t in row[a : a + n]) for row in tokens for a, n in vocabulary.word_spans(texts, row)]
    running = "".join(texts[t] for t in tokens.flatten())
    assert len(words) > 200 and any(len(word) > 8 for word in words)
    for word in words:
        assert word.startswith(" ") and word[1:].isalpha() and word in running
