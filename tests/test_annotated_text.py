"""The sentences with word senses and parts of speech: well formed, balanced, and no label for free."""

import json
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from helpers import paths
from helpers.beyond import probes

SENSES, PARTS_OF_SPEECH = paths.ROOT / "data" / "senses", paths.ROOT / "data" / "parts_of_speech"
TAGS = {"NOUN", "VERB", "ADJ", "ADV", "PRON", "DET", "ADP", "CONJ", "AUX", "PROPN", "NUM", "PUNCT"}
ONLY = {  # words of closed classes that can be nothing else in these sentences
    "DET": "the a an every no each both all any",
    "PRON": "i you he she it we they me him us my your his her its our their who whose nobody nothing everything",
    "AUX": "am is are was were be been could would should shall must did does",
    "ADP": "of in on at by with from into upon without beneath among across between",
    "CONJ": "and or if because although though whether while unless",
    "ADV": "never here soon again away perhaps quite very too",
}


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z'-]+", text)


def rows(file) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def pairs() -> list[dict]:
    return rows(SENSES / "pairs.jsonl")


@pytest.fixture(scope="module")
def tagged() -> list[dict]:
    return rows(PARTS_OF_SPEECH / "sentences.jsonl")


@pytest.fixture(scope="module")
def by_word(pairs) -> dict[str, list[dict]]:
    grouped = defaultdict(list)
    for pair in pairs:
        grouped[pair["word"]].append(pair)
    return grouped


def surface(pair: dict) -> list[float]:
    """What can be seen of a pair without reading it: lengths, places of the word, words in common, neighbours."""
    first, second = words(pair["first"]), words(pair["second"])
    places = [spoken.index(pair["word"]) for spoken in (first, second)]
    lengths = [len(first), len(second)]
    shared = {word.lower() for word in first} & {word.lower() for word in second}
    distances = [abs(values[0] - values[1]) for values in (lengths, places)]
    to_the_end = abs((lengths[0] - places[0]) - (lengths[1] - places[1]))
    characters = abs(len(pair["first"]) - len(pair["second"]))
    before = [spoken[place - 1] for spoken, place in zip((first, second), places, strict=True)]
    after = [(spoken[place + 1 :] or ["."])[0] for spoken, place in zip((first, second), places, strict=True)]
    neighbours = [before[0].lower() == before[1].lower(), after[0] == after[1]]
    return [*lengths, *places, *distances, to_the_end, characters, len(shared), *neighbours]


def test_every_pair_has_the_four_fields(pairs):
    assert all(list(pair) == ["word", "same", "first", "second"] for pair in pairs)
    assert all(type(pair["same"]) is bool and pair["first"] != pair["second"] for pair in pairs)


def test_there_are_enough_words_and_pairs(pairs, by_word):
    assert len(pairs) >= 240
    assert len(by_word) >= 40


def test_same_and_different_are_balanced_within_every_word(by_word):
    for word, of_word in by_word.items():
        assert len(of_word) >= 6, word
        assert sum(pair["same"] for pair in of_word) * 2 == len(of_word), word


def test_the_word_occurs_once_and_in_no_other_form(pairs):
    for pair in pairs:
        for sentence in (pair["first"], pair["second"]):
            assert words(sentence).count(pair["word"]) == 1, sentence
            assert len(re.findall(rf"\b{pair['word']}", sentence, flags=re.IGNORECASE)) == 1, sentence


def test_the_word_is_never_first_and_seldom_last(pairs):
    sentences = [(pair["word"], words(pair[side])) for pair in pairs for side in ("first", "second")]
    assert all(spoken[0].lower() != word for word, spoken in sentences)
    assert np.mean([spoken[-1] == word for word, spoken in sentences]) < 0.1


def test_sentences_are_whole_and_of_moderate_length(pairs, tagged):
    texts = [pair[side] for pair in pairs for side in ("first", "second")] + [row["text"] for row in tagged]
    for text in texts:
        assert re.fullmatch(r"[A-Z][^\n]*[.?!]", text), text
        assert "  " not in text and text.isascii(), text
        assert 6 <= len(words(text)) <= 16, text


def test_a_single_sentence_says_nothing_about_the_label(pairs):
    """Every sentence stands in one same and in one different pair, once as the first and once as the second."""
    labels, sides = defaultdict(list), defaultdict(list)
    for pair in pairs:
        for side in ("first", "second"):
            labels[pair["word"], pair[side]].append(pair["same"])
            sides[pair["word"], pair[side]].append(side)
    assert all(sorted(seen) == [False, True] for seen in labels.values())
    assert all(sorted(seen) == ["first", "second"] for seen in sides.values())


def test_no_sentence_belongs_to_two_words_or_to_both_files(pairs, tagged):
    owners = defaultdict(set)
    for pair in pairs:
        for side in ("first", "second"):
            owners[" ".join(words(pair[side])).lower()].add(pair["word"])
    assert all(len(owner) == 1 for owner in owners.values())
    texts = [" ".join(words(row["text"])).lower() for row in tagged]
    assert len(texts) == len(set(texts))
    assert not owners.keys() & set(texts)


def test_the_labels_of_a_word_agree_on_two_senses(by_word):
    """Same and different must be the answers of one division of the sentences into two senses."""
    for word, of_word in by_word.items():
        for start in of_word:
            sense = {start["first"]: 0}
            for pair in of_word * len(of_word):
                for here, there in (("first", "second"), ("second", "first")):
                    if pair[here] in sense:
                        expected = sense[pair[here]] if pair["same"] else 1 - sense[pair[here]]
                        assert sense.setdefault(pair[there], expected) == expected, word
        assert len({frozenset((pair["first"], pair["second"])) for pair in of_word}) == len(of_word), word


def test_length_place_and_common_words_do_not_tell_the_label(pairs):
    features = np.array([surface(pair) for pair in pairs], dtype=float)
    labels = np.array([pair["same"] for pair in pairs])
    for column in features.T:
        assert roc_auc_score(labels, column) == pytest.approx(0.5, abs=0.03)
    words = np.array([pair["word"] for pair in pairs])
    score = probes.predictions(features, labels, words)[["score"]].to_numpy()
    assert np.nanmean(probes.auc_within_groups(score, labels, words)) == pytest.approx(0.5, abs=0.08)
    assert roc_auc_score(labels, score[:, 0]) == pytest.approx(0.5, abs=0.08)


def test_every_tagged_sentence_has_one_valid_tag_a_word(tagged):
    for row in tagged:
        assert list(row) == ["words", "tags", "text"]
        assert len(row["words"]) == len(row["tags"])
        assert set(row["tags"]) <= TAGS
        for word, tag in zip(row["words"], row["tags"], strict=True):
            assert (tag == "PUNCT") == (not re.search(r"\w", word)), row["text"]


def test_the_words_join_to_the_text(tagged):
    for row in tagged:
        assert re.sub(r" (?=[,;:.?!](?: |$))", "", " ".join(row["words"])) == row["text"]


def test_there_are_enough_tagged_sentences_for_every_tag(tagged):
    assert len(tagged) >= 260
    sentences = Counter(tag for row in tagged for tag in set(row["tags"]))
    assert set(sentences) == TAGS
    assert min(sentences.values()) >= 12


def test_many_words_have_more_than_one_part_of_speech(tagged):
    seen = defaultdict(set)
    for row in tagged:
        for word, tag in zip(row["words"], row["tags"], strict=True):
            seen[word.lower()].add(tag)
    assert sum(len(tags) > 1 for tags in seen.values()) >= 100


def test_words_of_closed_classes_are_always_tagged_alike(tagged):
    expected = {word: tag for tag, listed in ONLY.items() for word in listed.split()}
    for row in tagged:
        for word, tag in zip(row["words"], row["tags"], strict=True):
            assert expected.get(word.lower(), tag) == tag, (word, row["text"])


def test_proper_nouns_and_only_they_are_capitalised_inside_a_sentence(tagged):
    for row in tagged:
        for word, tag in list(zip(row["words"], row["tags"], strict=True))[1:]:
            if word not in ("I", "Welsh"):
                assert word[0].isupper() == (tag == "PROPN"), (word, row["text"])


def test_the_readme_of_the_senses_lists_every_word_and_counts_right(pairs, by_word):
    readme = (SENSES / "README.md").read_text()
    assert f"{len(pairs)} pairs of sentences for {len(by_word)} words" in readme
    listed = re.findall(r"^\| (\w+) \| (?:noun|verb|adjective) \| [^|]+ \| [^|]+ \|$", readme, flags=re.MULTILINE)
    assert listed == sorted(by_word)


def test_the_readme_of_the_parts_of_speech_counts_right(tagged):
    readme = (PARTS_OF_SPEECH / "README.md").read_text()
    assert f"{len(tagged)} sentences" in readme
    counts = Counter(tag for row in tagged for tag in row["tags"])
    for tag in TAGS:
        row = re.search(rf"^\| {tag} \| (\d+) \| (\d+) \|", readme, flags=re.MULTILINE)
        assert row, f"no row for {tag}"
        assert (int(row[1]), int(row[2])) == (counts[tag], sum(tag in line["tags"] for line in tagged))
