"""Words find the match one would choose by hand, and a planted gathering head is found where it was planted."""

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import VOCABULARY
from transformers import AutoModelForCausalLM

from helpers import stats, tables
from helpers.beyond import detokenization
from helpers.corpus import windows
from helpers.text.vocabulary import token_texts

TEXTS = ["", " the", " a", " d", "og", "ged", ".", " fan", "cy"]
THE, A, D, OG, GED, DOT, FAN, CY = range(1, 9)


@pytest.mark.parametrize(
    ("tokens", "pairs"),
    [
        ([0, THE, D, OG, A, DOT], [(0, 3, 4, 1)]),  # "the" is too near BOS, "a" is one step away
        ([0, DOT, THE, D, OG, DOT, DOT], [(0, 4, 2, 1)]),
        ([0, A, THE, D, OG, THE, DOT], [(0, 4, 5, 1)]),
        ([0, A, A, DOT, FAN, CY, DOT, DOT, A, DOT], [(0, 5, 2, 1)]),  # both three steps away: the earlier
        ([0, THE, THE, D, OG, GED, DOT], []),  # two steps back from "the" lies BOS
        ([0, DOT, DOT, THE, D, OG, GED, DOT], [(0, 6, 3, 2)]),
        ([0, D, OG, DOT], []),  # no word of one token to compare with
        ([0, THE, A, DOT], []),  # no word of several tokens
    ],
)
def test_a_word_is_matched_with_the_nearest_one_token_word_clear_of_bos(tokens, pairs):
    found = detokenization.matched_words(TEXTS, torch.tensor([tokens]))
    assert list(found.itertuples(index=False, name=None)) == pairs


def test_matches_of_the_bundled_text_are_words_of_one_token_in_the_same_sequence(bridges):
    bridge = bridges["pocket"]
    tokens, texts = windows(bridge, tokens=2048, context=256), token_texts(bridge)
    pairs = detokenization.matched_words(texts, tokens)
    assert len(pairs) > 100
    for sequence, word, control, reach in pairs.itertuples(index=False, name=None):
        pieces = [texts[token] for token in tokens[sequence, word - reach : word + 1]]
        assert pieces[0].startswith(" ") and all(piece.isalpha() for piece in pieces[1:])
        assert not texts[tokens[sequence, word + 1]].isalpha()
        assert texts[tokens[sequence, control]][1:].isalpha() and control > reach


def test_gathering_counts_the_tokens_before_a_place_and_no_others():
    pattern = torch.arange(25.0).reshape(1, 5, 5)
    found = detokenization.gathering(pattern, torch.tensor([4, 3, 2]), torch.tensor([2, 1, 0]))
    assert found.tolist() == [[22 + 23], [17], [0]]


WORDS = pd.DataFrame([(0, 4, 6, 2), (0, 8, 9, 1), (1, 5, 7, 1), (3, 8, 5, 3)], columns=detokenization.PAIR_COLUMNS)


def planted(bridge, layer, head, pairs):
    """Hooks that make all heads of all layers look everywhere equally, but one gather half from words."""
    hooks = []
    for place in range(bridge.cfg.n_layers):

        def look(pattern, hook, place=place):
            equal = torch.ones_like(pattern).tril()
            equal /= equal.sum(-1, keepdim=True)
            if place == layer:
                for sequence, word, _, reach in pairs.itertuples(index=False, name=None):
                    equal[sequence, head, word] *= 0.5
                    equal[sequence, head, word, word - reach : word] += 0.5 / reach
            return equal

        hooks.append((f"blocks.{place}.attn.hook_pattern", look))
    return hooks


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "qwen2"])
def test_a_planted_gathering_head_is_picked_on_one_half_and_measured_on_the_other(kind, bridges):
    bridge = bridges[kind]
    tokens = torch.arange(4 * 12).reshape(4, 12)
    with bridge.hooks(fwd_hooks=planted(bridge, 2, 1, WORDS)):
        rows = detokenization.sweep(bridge, tokens, WORDS, batch_size=4)
    heads = detokenization.by_head(rows)
    assert heads.loc[heads["picked"], ["layer", "head"]].to_numpy().tolist() == [[2, 1]]
    row = heads[heads["picked"]].iloc[0]
    even = [(0.5 + 0.5 * 2 / 5) - 2 / 7, (0.5 + 0.5 * 1 / 9) - 1 / 10]  # sequence 0 has two words, sequence 2 none
    odd = [(0.5 + 0.5 * 1 / 6) - 1 / 8, (0.5 + 0.5 * 3 / 9) - 3 / 6]
    assert row["picking_difference"] == pytest.approx(np.mean(even), abs=1e-6)
    assert row["gathering_difference"] == pytest.approx(np.mean(odd), abs=1e-6)
    assert row["gathering_difference_low"] == pytest.approx(min(odd), abs=1e-6)
    layers = detokenization.by_layer(rows).set_index("layer")
    assert layers["best_gathering_difference"].idxmax() == 2
    assert layers.loc[2, "best_gathering_difference"] == pytest.approx(np.mean(odd), abs=1e-6)
    more = np.mean([np.mean([0.5 * (1 - 2 / 5), 0.5 * (1 - 1 / 9)]), 0.5 * (1 - 1 / 6), 0.5 * (1 - 3 / 9)])
    for other in (0, 1, 3):  # a mean over four heads, of which one gathers
        gap = layers.loc[2, "gathering_difference"] - layers.loc[other, "gathering_difference"]
        assert gap == pytest.approx(more / 4, abs=1e-6)


def test_picking_does_not_flatter():
    """Of many heads that differ by noise alone, the best on one half is no good on the other."""
    noise = torch.randn(64, 200, generator=torch.Generator().manual_seed(0)).double()
    columns = {"gathering_word": noise, "gathering_control": 0 * noise, "gathering_difference": noise}
    frames = [
        stats.rows(0, {name: value[:, head] for name, value in columns.items()}, layer=0, head=head)
        for head in range(200)
    ]
    rows = pd.concat(frames)
    table = detokenization.by_layer(rows)
    assert detokenization.by_head(rows)["picking_difference"].max() > 0.3
    assert table["best_gathering_difference_low"].item() < 0 < table["best_gathering_difference_high"].item()


def test_windows_of_one_document_are_in_one_half():
    """A head that gathers in some documents only is picked by them, whatever windows they are cut into."""
    keys = pd.DataFrame({"sequence": range(32), "document": np.arange(32) // 2, "layer": 0, "head": 0})
    share = (keys["document"] % 2 == 0).astype(float)
    rows = keys.assign(gathering_word=share, gathering_control=0.0, gathering_difference=share)
    head = detokenization.by_head(rows).iloc[0]
    assert (head["picking_difference"], head["gathering_difference"]) == (1, 0)
    by_windows = detokenization.by_head(rows.drop(columns="document")).iloc[0]
    assert (by_windows["picking_difference"], by_windows["gathering_difference"]) == (0.5, 0.5)
    assert detokenization.by_layer(rows)["gathering_word"].item() == 0.5


@pytest.mark.parametrize("kind", ["gpt2", "neox_sequential", "llama"])
def test_the_sweep_agrees_with_attention_of_the_plain_model(kind, bridges, checkpoints):
    bridge = bridges[kind]
    tokens = torch.randint(1, VOCABULARY, (4, 12), generator=torch.Generator().manual_seed(1))
    rows = detokenization.sweep(bridge, tokens, WORDS, batch_size=3).set_index(["sequence", "layer", "head"])
    plain = AutoModelForCausalLM.from_pretrained(checkpoints[kind], attn_implementation="eager")
    patterns = plain(tokens, output_attentions=True).attentions
    for sequence, layer, head in [(0, 0, 0), (0, 3, 2), (1, 1, 3), (3, 2, 1)]:
        pattern = patterns[layer][sequence, head].tolist()
        words = WORDS[WORDS["sequence"] == sequence].itertuples(index=False, name=None)
        sums = [
            [sum(pattern[at][at - o] for o in range(1, reach + 1)) for at in (word, match)]
            for _, word, match, reach in words
        ]
        word, match = np.mean(sums, axis=0)
        found = rows.loc[(sequence, layer, head)]
        assert found["gathering_word"] == pytest.approx(word, abs=1e-5)
        assert found["gathering_control"] == pytest.approx(match, abs=1e-5)
        assert found["gathering_difference"] == pytest.approx(word - match, abs=1e-5)
    assert rows.loc[2].isna().all(axis=None)


def test_a_text_without_words_of_several_tokens_gives_empty_cells(bridges):
    bridge = bridges["gpt2"]
    tokens = torch.arange(8)[None]
    pairs = detokenization.matched_words([""] * 5000, tokens)
    assert len(pairs) == 0
    rows = detokenization.sweep(bridge, tokens, pairs)
    for table in (detokenization.by_layer(rows), detokenization.by_head(rows)):
        assert len(tables.with_keys(table, "m")) in (4, 16)
        assert table.filter(like="gathering").isna().all(axis=None)
    assert not detokenization.by_head(rows)["picked"].any()


def test_one_sequence_has_no_other_half_and_says_nothing_about_picked_heads(bridges):
    bridge = bridges["neox_sequential"]
    rows = detokenization.sweep(bridge, torch.arange(12)[None], WORDS[:2])
    table = detokenization.by_layer(rows)
    assert table["gathering_word"].notna().all()
    assert table["best_gathering_word"].isna().all()
