"""What the probes see is the Hugging Face model's hidden state at the right token, and nothing but."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import KINDS, ROTARY_KINDS, save
from transformers import AutoModelForCausalLM

import reference
from helpers import models
from helpers.beyond import probes, word_tasks
from helpers.errors import InputError
from helpers.text import annotated_text

TEXTS = ["The old man read.", "He put the letter away, twice, and then he slept.", "Rain.", "She rang a bell."]
SPANS = [[(4, 7), (12, 16)], [(11, 17), (47, 52)], [(0, 4)], [(4, 8)]]
WORDS = ["bank", "spring", "ring", "letter", "light", "match"]


def marked(bridge, context=64) -> annotated_text.MarkedText:
    return annotated_text.mark(bridge, TEXTS, SPANS, context)


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_the_hugging_face_models_up_to_the_mean(kind, bridges, checkpoints):
    text, raw = marked(bridges[kind]), reference.RawModel(checkpoints[kind])
    rows = word_tasks.residual_rows(bridges[kind], text, 3)
    assert rows.shape == (bridges[kind].cfg.n_layers + 1, 6, bridges[kind].cfg.d_model)
    for number, word in enumerate(text.words.itertuples()):
        alone = raw.residuals(text.tokens[word.sentence])
        for row, residual in enumerate(alone):
            expected = raw.centred(residual[word.last])
            error = (torch.tensor(rows[row, number]) - expected).norm() / expected.norm()
            assert error < 1e-4


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_sentences_padded_together_are_what_they_are_alone(kind, bridges):
    text = marked(bridges[kind])
    alone = word_tasks.residual_rows(bridges[kind], text, 1)
    assert not np.allclose(alone[:, 0], alone[:, 1], atol=1e-2)
    for batch_size in ("auto", 2, "3", 100):
        together = word_tasks.residual_rows(bridges[kind], text, batch_size)
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_half_precision_is_probed_in_float32(checkpoints, bridges):
    bridge, exact = models.load(str(checkpoints["llama"]), dtype="bfloat16"), bridges["llama"]
    rows, expected = (word_tasks.residual_rows(model, marked(model)) for model in (bridge, exact))
    assert rows.dtype == np.float32
    errors = np.linalg.norm(rows - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert 0 < errors.max() < 0.05, "rounded by the model, and by nothing else"


def test_a_model_of_one_layer_has_two_rows(checkpoints, tmp_path):
    save(AutoModelForCausalLM.from_pretrained(checkpoints["gpt2"], num_hidden_layers=1), tmp_path)
    bridge = models.load(str(tmp_path))
    assert word_tasks.residual_rows(bridge, marked(bridge)).shape == (2, 6, bridge.cfg.d_model)


# --- Parts of speech


def tagged(n_sentences: int) -> pd.DataFrame:
    """`The cat sat , 7 <word>` with a word of its own in each sentence, tagged NOUN in all but five."""
    spell = str.maketrans("0123456789", "abcdefghij")
    made = []
    for number in range(n_sentences):
        words = ["The" if number % 2 else "the", "cat", "sat", ",", "7", "w" + f"{number:03d}".translate(spell)]
        tags = ["DET", "NOUN", "VERB", "PUNCT", "NUM", "NOUN" if number >= 5 else "INTJ"]
        spans = [(start := sum(map(len, words[:i])) + i, start + len(word)) for i, word in enumerate(words)]
        made.append({"text": " ".join(words), "words": words, "tags": tags, "spans": spans})
    return pd.DataFrame(made)


def test_no_word_is_counted_too_often_and_no_tag_is_too_rare(bridges, monkeypatch):
    monkeypatch.setattr(word_tasks, "FEWEST_EXAMPLES", 8)
    task = word_tasks.parts_of_speech(bridges["gpt2"], tagged(40), 64)
    counts = pd.Series(task.labels).value_counts().to_dict()
    most = word_tasks.MOST_PER_WORD
    assert counts == {"NOUN": 35 + most, "DET": most, "VERB": most}  # five INTJ are too few, "," and 7 are no words
    assert task.chance == pytest.approx(1 / 3)
    assert set(task.words[task.labels == "DET"]) == {"the"}
    assert (task.words[task.labels == "VERB"] == "sat").all()


def test_a_word_has_its_own_vector(bridges):
    bridge, sentences = bridges["neox_sequential"], tagged(30)
    task = word_tasks.parts_of_speech(bridge, sentences, 64)
    text = annotated_text.mark(bridge, sentences["text"].tolist(), sentences["spans"].tolist(), 64)
    for example, word in enumerate(task.words):
        if word.startswith("w") and len(word) == 4:
            number = [words[-1] for words in sentences["words"]].index(word)
            last = text.words.query("sentence == @number and mark == 5")["last"].item()
            entering = bridge(text.tokens[number][None], stop_at_layer=2, use_cache=False)[0, last]
            np.testing.assert_allclose(task.features[2, example], entering, rtol=1e-4, atol=1e-4)


# --- Word senses


def pairs_of(words=WORDS, n_sentences: int = 4) -> pd.DataFrame:
    """All pairs of ``n_sentences`` per word; the first half of them is one sense, the rest another."""
    made = []
    for word in words:
        texts = [f"{'They said so. ' * (i % 3)}He saw {'no' if i % 2 else 'the'} {word}." for i in range(n_sentences)]
        for i, j in combinations(range(n_sentences), 2):
            same = (i < n_sentences / 2) == (j < n_sentences / 2)
            made.append({"word": word, "same": same, "first": texts[i], "second": texts[j]})
    pairs = pd.DataFrame(made)
    for side in ("first", "second"):
        pairs[f"{side}_span"] = [annotated_text.word_span(*row) for row in zip(pairs[side], pairs["word"], strict=True)]
    return pairs


@pytest.mark.parametrize("kind", ["gpt2", "phi", "llama"])
def test_similarity_is_the_cosine_after_the_words_mean_is_taken_off(kind, bridges, checkpoints):
    bridge, raw, pairs = bridges[kind], reference.RawModel(checkpoints[kind]), pairs_of()
    task = word_tasks.word_senses(bridge, pairs, 64)
    assert task.words.tolist() == pairs["word"].tolist()
    assert task.labels.tolist() == pairs["same"].tolist()
    for word, some in pairs.groupby("word"):
        vectors = {}
        for text in dict.fromkeys([*some["first"], *some["second"]]):
            found = annotated_text.mark(bridge, [text], [[annotated_text.word_span(text, word)]], 64)
            vectors[text] = [raw.centred(row[-1]).double() for row in raw.residuals(found.tokens[0])]
        for row in range(1, bridge.cfg.n_layers + 1):
            mean = sum(vector[row] for vector in vectors.values()) / len(vectors)
            for number, pair in some.iterrows():
                a, b = (vectors[pair[side]][row] - mean for side in ("first", "second"))
                cosine = (a @ b / a.norm() / b.norm()).item()
                assert task.similarity[row, number] == pytest.approx(cosine, abs=2e-3)
                np.testing.assert_allclose(task.features[row, number], a * b / a.norm() / b.norm(), atol=2e-3)


@pytest.mark.parametrize("kind", ["pocket", *ROTARY_KINDS])
def test_the_embedding_of_a_rotary_model_says_nothing_of_the_sentence(kind, bridges):
    task = word_tasks.word_senses(bridges[kind], pairs_of(), 64)
    assert (task.features[0] == 0).all() and (task.similarity[0] == 0).all()
    assert (np.abs(task.features[1:]).max((1, 2)) > 0).all()


def test_learned_positions_tell_sentences_apart_in_the_embedding(bridges):
    assert np.abs(word_tasks.word_senses(bridges["gpt2"], pairs_of(), 64).similarity[0]).max() > 0.1


def test_a_word_that_a_short_context_leaves_without_pairs_of_both_kinds_is_left_out(bridges):
    pairs, bridge = pairs_of([*WORDS, "bell"]), bridges["llama"]
    far = pairs["word"] == "bell"
    for side in ("first", "second"):
        pairs.loc[far, side] = "They said so and then they said so again. " + pairs.loc[far, side]
        pairs.loc[far, f"{side}_span"] = [(a + 42, b + 42) for a, b in pairs.loc[far, f"{side}_span"]]
    whole, cut = (word_tasks.word_senses(bridge, pairs, context) for context in (64, 16))
    assert set(whole.words) - set(cut.words) == {"bell"}
    assert len(cut.labels) == 6 * len(WORDS)


@pytest.mark.parametrize("make", [word_tasks.word_senses, word_tasks.parts_of_speech])
def test_too_few_words_are_refused_in_one_line(make, bridges):
    data = pairs_of() if make is word_tasks.word_senses else tagged(30)
    with pytest.raises(InputError, match=f"hold 0 usable words within 2 tokens, {probes.FOLDS} are needed") as refused:
        make(bridges["gpt2"], data, 2)
    assert "\n" not in str(refused.value)
