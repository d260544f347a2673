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
from helpers.beyond import probes, word_tasks, word_uses
from helpers.errors import InputError
from helpers.text import annotated_text, wic

TEXTS = ["The old man read.", "He put the letter away, twice, and then he slept.", "Rain.", "She rang a bell."]
SPANS = [[(4, 7), (12, 16)], [(11, 17), (47, 52)], [(0, 4)], [(4, 8)]]
WORDS = ["bank", "spring", "ring", "letter", "light", "match"]


def marked(bridge, context=64) -> annotated_text.MarkedText:
    return annotated_text.mark(bridge, TEXTS, SPANS, context)


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_the_hugging_face_models_up_to_the_mean(kind, bridges, checkpoints):
    text, raw = marked(bridges[kind]), reference.RawModel(checkpoints[kind])
    rows = word_uses.residual_rows(bridges[kind], text, 3)
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
    alone = word_uses.residual_rows(bridges[kind], text, 1)
    assert not np.allclose(alone[:, 0], alone[:, 1], atol=1e-2)
    for batch_size in ("auto", 2, "3", 100):
        together = word_uses.residual_rows(bridges[kind], text, batch_size)
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_half_precision_is_probed_in_float32(checkpoints, bridges):
    bridge, exact = models.load(str(checkpoints["llama"]), dtype="bfloat16"), bridges["llama"]
    rows, expected = (word_uses.residual_rows(model, marked(model)) for model in (bridge, exact))
    assert rows.dtype == np.float32
    errors = np.linalg.norm(rows - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert 0 < errors.max() < 0.05, "rounded by the model, and by nothing else"


def test_a_model_of_one_layer_has_two_rows(checkpoints, tmp_path):
    save(AutoModelForCausalLM.from_pretrained(checkpoints["gpt2"], num_hidden_layers=1), tmp_path)
    bridge = models.load(str(tmp_path))
    assert word_uses.residual_rows(bridge, marked(bridge)).shape == (2, 6, bridge.cfg.d_model)


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


def test_neither_a_word_nor_a_last_token_is_in_two_groups(bridges):
    """`the` and `The` are two tokens of one word, and words of several tokens may share their last."""
    bridge, sentences = bridges["llama"], annotated_text.tagged_sentences().head(120)
    task = word_tasks.parts_of_speech(bridge, sentences, 64)
    last = {word: set() for word in task.words}
    text = annotated_text.mark(bridge, sentences["text"].tolist(), sentences["spans"].tolist(), 64)
    for row in text.words.itertuples():
        word = sentences["words"].iloc[row.sentence][row.mark].lower()
        if word in last:
            last[word].add(int(text.tokens[row.sentence][row.last]))
    of_word = dict(zip(task.words, task.groups, strict=True))
    assert all(of_word[word] == group for word, group in zip(task.words, task.groups, strict=True))
    together = {frozenset((a, b)) for a, b in combinations(last, 2) if last[a] & last[b]}
    assert together and all(len({of_word[word] for word in pair}) == 1 for pair in together)
    assert max(len(tokens) for tokens in last.values()) > 1


def test_linked_groups_are_the_connected_parts_of_a_graph():
    generator = np.random.default_rng(0)
    for _ in range(20):
        words, tokens = generator.integers(30, size=40), generator.integers(30, size=40)
        groups = word_tasks.linked(words, tokens)
        reached = np.equal.outer(words, words) | np.equal.outer(tokens, tokens)
        for _ in range(40):  # all paths, one step longer each time
            reached = reached @ reached
        assert (np.equal.outer(groups, groups) == reached).all()
    assert len(set(word_tasks.linked(np.arange(9), np.arange(9)))) == 9


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
def test_what_is_seen_of_a_pair_is_made_of_the_hugging_face_models_states(kind, bridges, checkpoints):
    bridge, raw, pairs = bridges[kind], reference.RawModel(checkpoints[kind]), pairs_of()
    task = word_tasks.word_senses(bridge, pairs, 64)
    assert task.words.tolist() == task.groups.tolist() == pairs["word"].tolist()
    assert task.labels.tolist() == pairs["same"].tolist()
    vectors = {}
    for word, some in pairs.groupby("word"):
        for text in dict.fromkeys([*some["first"], *some["second"]]):
            found = annotated_text.mark(bridge, [text], [[annotated_text.word_span(text, word)]], 64)
            vectors[word, text] = torch.stack([raw.centred(row[-1]) for row in raw.residuals(found.tokens[0])])
    overall = sum(vectors.values()) / len(vectors)
    for number, pair in pairs.iterrows():
        word = pair["word"]
        own = [vector for (other, _), vector in vectors.items() if other == word]
        for row in range(1, bridge.cfg.n_layers + 1):
            ends = [vectors[word, pair[side]][row] for side in ("first", "second")]
            a, b = (end - sum(own)[row] / len(own) for end in ends)
            assert task.similarity[row, number] == pytest.approx((a @ b / a.norm() / b.norm()).item(), abs=2e-3)
            a, b = ((end - overall[row]) / (end - overall[row]).norm() for end in ends)
            expected = torch.cat([(a - b).abs(), a * b]).numpy()
            np.testing.assert_allclose(task.features[row, number], expected, atol=2e-3)


def test_the_features_of_a_pair_do_not_depend_on_which_use_is_first():
    rows = np.random.default_rng(0).standard_normal((2, 5, 4))
    here, there = np.array([0, 1]), np.array([3, 4])
    assert (
        word_tasks.differences_and_products(rows, here, there) == word_tasks.differences_and_products(rows, there, here)
    ).all()


@pytest.mark.parametrize("kind", ["pocket", *ROTARY_KINDS])
def test_the_embedding_of_a_rotary_model_says_nothing_of_the_sentence(kind, bridges):
    task = word_tasks.word_senses(bridges[kind], pairs_of(), 64)
    for word in WORDS:
        assert np.ptp(task.features[0][task.words == word], axis=0).max() == 0
    assert (task.similarity[0] == 0).all()
    assert (np.abs(task.similarity[1:]).max(1) > 0).all()


def test_learned_positions_tell_sentences_apart_in_the_embedding(bridges):
    assert np.abs(word_tasks.word_senses(bridges["gpt2"], pairs_of(), 64).similarity[0]).max() > 0.1


def test_pairs_beyond_a_short_context_are_left_out(bridges):
    pairs, bridge = pairs_of([*WORDS, "bell"]), bridges["llama"]
    far = (pairs["word"] == "bell").to_numpy().nonzero()[0][:2]
    for number in far:
        pairs.loc[number, "second"] = "They said so and then they said so again. " + pairs.loc[number, "second"]
        pairs.at[number, "second_span"] = tuple(place + 42 for place in pairs.loc[number, "second_span"])
    whole, cut = (word_tasks.word_senses(bridge, pairs, context) for context in (64, 16))
    assert len(whole.labels) == 6 * len(WORDS) + 6
    assert len(cut.labels) == len(whole.labels) - 2


def test_words_with_too_few_uses_have_no_mean_to_take_off(bridges):
    task = word_tasks.word_senses(bridges["llama"], pairs_of(n_sentences=3), 64)
    assert task.similarity is None and len(task.labels) == 3 * len(WORDS)


def test_one_sentence_with_the_word_twice_has_two_uses(bridges):
    """Word-in-Context names the place of a word, and may name two in one sentence."""
    pairs = pairs_of()
    text, spans = "the bank of the bank", [(4, 8), (16, 20)]
    twice = {"word": "bank", "same": True, "first": text, "second": text, "first_span": spans[0]}
    pairs = pd.concat([pairs, pd.DataFrame([twice | {"second_span": spans[1]}])], ignore_index=True)
    task = word_tasks.word_senses(bridges["gpt2"], pairs, 64)
    assert np.abs(task.features[1:, -1, : task.features.shape[2] // 2]).max(1).min() > 0


def test_pairs_from_word_in_context_files_are_the_same_task(bridges, tmp_path):
    pairs = pairs_of()
    for side in ("first", "second"):
        pairs[side] = pairs[side].str.replace(".", " .")
        pairs[f"{side}_span"] = [annotated_text.word_span(*row) for row in zip(pairs[side], pairs["word"], strict=True)]
    lines = []
    for pair in pairs.to_dict("records"):
        numbers = "-".join(str(pair[side].split().index(pair["word"])) for side in ("first", "second"))
        lines.append("\t".join([pair["word"], "N", numbers, pair["first"], pair["second"]]))
    (tmp_path / "dev.data.txt").write_text("\n".join(lines))
    (tmp_path / "dev.gold.txt").write_text("\n".join("FT"[same] for same in pairs["same"]))
    given, read = (word_tasks.word_senses(bridges["gpt2"], table, 64) for table in (pairs, wic.pairs(tmp_path)))
    assert (given.labels == read.labels).all() and (given.words == read.words).all()
    assert (given.features == read.features).all() and (given.similarity == read.similarity).all()


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_the_entropy_is_that_of_the_hugging_face_models_own_lens(kind, bridges, checkpoints):
    bridge, raw, pairs = bridges[kind], reference.RawModel(checkpoints[kind]), pairs_of(WORDS[:5])
    entropy = word_uses.entropy(bridge, pairs, 64).set_index(["layer", "word"])["entropy_bits"]
    uses = pairs.groupby("word").apply(lambda some: sorted({*some["first"], *some["second"]}), include_groups=False)
    for word, texts in uses.items():
        bits = []
        for text in texts:
            found = annotated_text.mark(bridge, [text], [[annotated_text.word_span(text, word)]], 64)
            states = raw.residuals(found.tokens[0])
            logits = torch.stack([raw.head(raw.norm(state[-1])) for state in states])
            bits.append(torch.special.entr(logits.softmax(-1)).sum(-1) / np.log(2))
        for row, expected in enumerate(torch.stack(bits).mean(0).tolist()):
            assert entropy[row, word] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("make", [word_tasks.word_senses, word_tasks.parts_of_speech])
def test_too_few_words_are_refused_in_one_line(make, bridges):
    data = pairs_of() if make is word_tasks.word_senses else tagged(30)
    with pytest.raises(InputError, match=f"hold 0 usable words within 2 tokens, {probes.FOLDS} are needed") as refused:
        make(bridges["gpt2"], data, 2)
    assert "\n" not in str(refused.value)
