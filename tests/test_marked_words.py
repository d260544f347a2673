"""Marked words are found in the tokens of any tokenizer, and files that cannot be used are named."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from helpers.errors import InputError
from helpers.text import annotated_text, vocabulary

SENTENCES = [
    "The café’s bank didn't open.",
    "“Bank!” cried Zoë, naïvely unworried",
    "A river-bank  bank 2,000 miles off",
]
WORDS = [["The", "café", "bank", "did", "n't", "."], ["Bank", "Zoë", "naïvely"], ["river", "bank", "2,000", "off"]]
TRAINED_ON = [*SENTENCES, *(f"{a} {b}" for a in "bank river did open cried".split() for b in "The miles off".split())]


def byte_level(trim_offsets: bool, prefix: bool) -> Tokenizer:
    """GPT-2's kind; a token's span begins at its space, or after it where spans are trimmed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix, trim_offsets=trim_offsets)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<s>"], show_progress=False, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(TRAINED_ON, trainer)
    return tokenizer


def sentencepiece() -> Tokenizer:
    """As Llama 2 has it: spaces become ▁, one is put in front, rare characters fall apart into bytes."""
    rare = [f"<0x{byte:02X}>" for byte in range(256)]
    ascii_characters = sorted({character for text in TRAINED_ON for character in text if character.isascii()} - {" "})
    merges = [("b", "a"), ("ba", "n"), ("ban", "k"), ("▁", "bank"), ("▁", "r"), ("i", "v"), ("▁r", "iv")]
    pieces = ["<s>", *rare, "▁", *ascii_characters, *(a + b for a, b in merges)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<s>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def metaspace() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=70, special_tokens=["<s>"], unk_token="<s>", show_progress=False)
    tokenizer.train_from_iterator(TRAINED_ON, trainer)
    return tokenizer


TOKENIZERS = {
    "gpt2": lambda: byte_level(trim_offsets=True, prefix=False),
    "roberta": lambda: byte_level(trim_offsets=True, prefix=True),
    "spaces in spans": lambda: byte_level(trim_offsets=False, prefix=False),
    "llama": sentencepiece,
    "metaspace": metaspace,
}


@pytest.fixture
def bridge(bridges):
    return bridges["pocket"]


@pytest.mark.parametrize("convention", TOKENIZERS)
def test_the_tokens_found_say_the_word_and_without_the_last_they_would_not(convention, bridge, monkeypatch):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZERS[convention](), bos_token="<s>")
    monkeypatch.setattr(bridge, "_tokenizer", tokenizer)  # the property would load it again from its folder
    places = [[text.rindex(word) for word in words] for text, words in zip(SENTENCES, WORDS, strict=True)]
    spans = [
        [(start, start + len(word)) for start, word in zip(starts, words, strict=True)]
        for starts, words in zip(places, WORDS, strict=True)
    ]
    found = annotated_text.mark(bridge, SENTENCES, spans, context=500)
    assert len(found.words) == sum(map(len, WORDS))
    n_tokens = set()
    for row in found.words.itertuples():
        word, ids = WORDS[row.sentence][row.mark], found.tokens[row.sentence]
        assert word in tokenizer.decode(ids[row.first : row.last + 1])
        assert word not in tokenizer.decode(ids[row.first : row.last])
        n_tokens.add(row.last - row.first + 1)
    assert len(n_tokens) > 1  # words of one token, and of several


def test_a_sentence_is_bos_and_its_tokens_up_to_the_last_marked_word(bridge):
    found = annotated_text.mark(bridge, ["The old man read the letter."], [[(4, 7), (8, 11)]], context=256)
    whole = bridge.tokenizer("The old man read the letter.", add_special_tokens=False)["input_ids"]
    assert found.tokens[0].tolist() == [vocabulary.boundary_tokens(bridge)[0], *whole[:3]]
    assert found.words.values.tolist() == [[0, 0, 2, 2], [0, 1, 3, 3]]


def test_words_that_end_beyond_the_context_are_left_out(bridge):
    text, spans = "The old man read the letter.", [(4, 7), (8, 11), (21, 27)]
    for context in range(1, 9):
        found = annotated_text.mark(bridge, [text], [spans], context)
        assert len(found.words) == (context > 2) + (context > 3) + (context > 6)
        assert len(found.tokens[0]) <= context


def test_a_slow_tokenizer_is_refused_in_one_line(bridge, monkeypatch):
    slow = type("SlowTokenizer", (), {"is_fast": False, "bos_token_id": 0, "eos_token_id": 0})
    monkeypatch.setattr(bridge, "_tokenizer", slow())
    with pytest.raises(InputError, match="SlowTokenizer cannot say which characters") as refused:
        annotated_text.mark(bridge, ["One."], [[(0, 3)]], 8)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("sentence", "word", "span"),
    [
        ("Bank on it.", "bank", (0, 4)),
        ("The banker left the bank.", "bank", (20, 24)),
        ("The bank's door", "bank", (4, 8)),
    ],
)
def test_a_word_is_found_whole_and_in_capitals_too(sentence, word, span):
    assert annotated_text.word_span(sentence, word) == span


@pytest.mark.parametrize("sentence", ["Bankers only.", "From bank to bank."])
def test_a_word_that_does_not_occur_exactly_once_is_refused(sentence):
    with pytest.raises(InputError, match=r"'bank' occurs \d times"):
        annotated_text.word_span(sentence, "bank")


def test_words_are_found_one_after_the_other(tmp_path):
    file = tmp_path / "sentences.jsonl"
    words = ["a", "cat", ",", "a", "hat"]
    line = {"text": "a cat, a hat", "words": words, "tags": ["DET", "NOUN", "PUNCT", "DET", "NOUN"]}
    file.write_text(json.dumps(line) + "\n\n")
    assert annotated_text.tagged_sentences(file)["spans"].tolist() == [[(0, 1), (2, 5), (5, 6), (7, 8), (9, 12)]]
    for wrong in (["cat", "a", "hat"], ["a", "cat", "hat"], ["a", "cat", "a", "cat"]):
        file.write_text(json.dumps(line | {"words": wrong, "tags": ["X"] * len(wrong)}))
        with pytest.raises(InputError, match="must hold the words in order"):
            annotated_text.tagged_sentences(file)


def test_as_many_tags_as_words(tmp_path):
    file = tmp_path / "sentences.jsonl"
    file.write_text(json.dumps({"text": "a cat", "words": ["a", "cat"], "tags": ["DET"]}))
    with pytest.raises(InputError, match="2 words and 1 tags"):
        annotated_text.tagged_sentences(file)


@pytest.mark.parametrize("content", [None, "no json", '{"word": "bank"}', "[1]"])
def test_a_file_that_cannot_be_used_is_named(content, tmp_path):
    file = tmp_path / "pairs.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=r"pairs.jsonl: each line must be a JSON object with word, same"):
        annotated_text.sense_pairs(file)


def test_every_word_of_the_sentences_is_where_the_tokens_say_it(bridge):
    sentences = annotated_text.tagged_sentences()
    found = annotated_text.mark(bridge, sentences["text"].tolist(), sentences["spans"].tolist(), 256)
    assert len(found.words) == sentences["words"].map(len).sum() == sentences["tags"].map(len).sum()
    for row in found.words.itertuples():
        said = bridge.tokenizer.decode(found.tokens[row.sentence][row.first : row.last + 1])
        assert said.strip() == sentences["words"][row.sentence][row.mark]


def test_every_word_of_the_pairs_is_where_the_tokens_say_it(bridge):
    pairs = annotated_text.sense_pairs()
    for side in ("first", "second"):
        spans = [[span] for span in pairs[f"{side}_span"]]
        found = annotated_text.mark(bridge, pairs[side].tolist(), spans, 256)
        assert len(found.words) == len(pairs)
        for row, word in zip(found.words.itertuples(), pairs["word"], strict=True):
            said = bridge.tokenizer.decode(found.tokens[row.sentence][row.first : row.last + 1])
            assert said.strip() == word
