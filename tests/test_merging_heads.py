"""Attention to a word's first piece is what the plain model gives it, and planted merging heads are judged rightly."""

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import VOCABULARY
from transformers import AutoModelForCausalLM

from helpers import stats, tables
from helpers.beyond import merging_heads, merging_statements
from helpers.text import word_endings

TOKENS = torch.randint(1, VOCABULARY, (3, 40), generator=torch.Generator().manual_seed(0))
ENDS = pd.DataFrame([(0, 4, 20, 35), (0, 4, 39, 16), (1, 4, 63, 75), (2, 4, 100, 111)], columns=word_endings.COLUMNS)
MERGING = merging_heads.MUCH


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "phi", "qwen2"])
@pytest.mark.parametrize("pieces", [3, 4])
def test_the_sweep_is_the_plain_models_attention_from_the_last_of_16_tokens_behind_bos(
    kind, pieces, bridges, checkpoints
):
    rows = merging_heads.sweep(bridges[kind], TOKENS, ENDS.assign(pieces=pieces), batch_size=3)
    assert rows["document"].tolist() == ENDS["document"].to_numpy()[rows["sequence"]].tolist()
    rows = rows.set_index(["sequence", "layer", "head"])
    assert len(rows) == 4 * 4 * 4
    plain = AutoModelForCausalLM.from_pretrained(checkpoints[kind], attn_implementation="eager")
    for number, ends in enumerate(ENDS[["word", "control"]].to_numpy().tolist()):
        looked = {}
        for name, end in zip(("word", "control"), ends, strict=True):
            sequence, last = divmod(end, 40)
            text = TOKENS[sequence].tolist()
            given = torch.tensor([[text[0], *text[last - 15 : last + 1]]])
            looked[name] = plain(given, output_attentions=True).attentions
        for layer, head in [(0, 0), (1, 3), (3, 2)]:
            found = rows.loc[(number, layer, head)]
            for piece in range(1, pieces):
                word, control = (looked[name][layer][0, head, 16, 16 - pieces + piece].item() for name in looked)
                assert found[f"word_{piece}"] == pytest.approx(word, abs=1e-5)
                assert found[f"control_{piece}"] == pytest.approx(control, abs=1e-5)
                assert found[f"difference_{piece}"] == pytest.approx(word - control, abs=1e-5)
    assert f"word_{pieces}" not in rows


@pytest.mark.parametrize("layer", [0, 3])
def test_a_planted_head_merges_and_no_other(layer, bridges):
    def look_at_first(pattern, hook):
        pattern = torch.ones_like(pattern) / pattern.shape[-1]
        if hook.name.startswith(f"blocks.{layer}."):
            pattern[::2, 2, -1, -4] += 0.3  # a word and its control take turns
            pattern[:, 1, -1, -4] += 0.3  # looks there from words and controls alike
            pattern[::2, 0, -1, -2] += 0.3  # looks at the third piece
        return pattern

    bridge = bridges["llama"]
    hooks = [(f"blocks.{each}.attn.hook_pattern", look_at_first) for each in range(4)]
    with bridge.hooks(fwd_hooks=hooks):
        rows = merging_heads.sweep(bridge, TOKENS, ENDS)
    heads = merging_heads.by_head(rows)
    assert heads.loc[heads["merges"], ["layer", "head"]].to_numpy().tolist() == [[layer, 2]]
    assert heads.loc[heads["merges"], "difference_1"].item() == pytest.approx(0.3)
    layers = merging_heads.by_layer(rows).set_index("layer")
    assert layers["merging_share"].tolist() == [0.25 * (each == layer) for each in range(4)]
    assert layers["excess"].tolist() == pytest.approx([0.3 / 4 * (each == layer) for each in range(4)], abs=1e-6)


def made(n_layers, n_heads, merging, n_words=60, n_documents=15, first=0.5, others=0.1, seed=0):
    """Rows of words, whose last token gives ``first`` and ``others`` to pieces in the heads that are ``merging``."""
    generator = np.random.default_rng(seed)
    keys = [(word, layer, head) for word in range(n_words) for layer in range(n_layers) for head in range(n_heads)]
    rows = pd.DataFrame(keys, columns=["sequence", "layer", "head"])
    looks = np.array([(layer, head) in merging for _, layer, head in keys])
    for piece, share in ((1, first), (2, others), (3, others)):
        noise = generator.normal(0, 0.02, (2, len(rows)))
        rows[f"word_{piece}"] = 0.05 + share * looks + noise[0]
        rows[f"control_{piece}"] = 0.05 + noise[1]
        rows[f"difference_{piece}"] = rows[f"word_{piece}"] - rows[f"control_{piece}"]
    return rows.assign(document=rows["sequence"] % n_documents)


EARLY = {(layer, head) for layer in (0, 1, 2) for head in range(4)}
LATE = {(9 - layer, head) for layer, head in EARLY}


def verdicts(*rows):
    return merging_statements.judge(rows).set_index("statement")["verdict"].tolist()


def test_planted_statements_hold_and_planted_opposites_do_not():
    assert verdicts(made(10, 8, EARLY)) == ["holds", "holds"]
    assert verdicts(made(10, 8, LATE, first=0.2, others=0.3)) == ["does not hold", "does not hold"]
    for few_or_even in ({(0, 0), (1, 0), (2, 1), (7, 3)}, EARLY | LATE):
        assert verdicts(made(10, 8, few_or_even)) == ["undecided", "holds"]


def test_twins_that_disagree_leave_it_undecided():
    judged = merging_statements.judge([made(10, 8, EARLY), made(10, 8, LATE, seed=1)])
    assert judged["verdict"].tolist() == ["undecided", "holds"]
    assert judged["kind"][0] == "twins disagree"


def test_heads_spread_at_random_are_seldom_called_denser_early():
    generator = np.random.default_rng(0)
    called = []
    for seed in range(40):
        merging = set(map(tuple, np.argwhere(generator.random((8, 6)) < 0.3)))
        called.append(verdicts(made(8, 6, merging, n_words=20, n_documents=20, seed=seed))[0])
    assert called.count("holds") <= 2


@pytest.mark.parametrize("n_layers", [4, 5])
def test_density_is_that_of_a_loop_over_resamples(n_layers):
    merging = {(0, 0), (0, 1), (1, 2), (n_layers - 1, 0), (2, 1)}
    rows = made(n_layers, 3, merging, n_words=30, n_documents=10, first=0.11)  # near the bound
    found = merging_statements.denser_early(rows, seed=3)
    halves = {"early": [0, 1], "late": [n_layers - 2, n_layers - 1]}
    heads = {half: [(layer, head) for layer in layers for head in range(3)] for half, layers in halves.items()}
    excess = {key: part["difference_1"].to_numpy() for key, part in rows.groupby(["layer", "head"])}
    documents = rows.groupby("sequence")["document"].first().to_numpy()
    words = stats.resample_weights(30, 3, documents).draws
    drawn = {half: stats.resample_weights(6, 4 + n).draws for n, half in enumerate(heads)}
    for draw in (0, 1, 500):
        density = {
            half: sum(
                drawn[half][draw][place] * (sum(words[draw] * excess[key]) >= MERGING) for place, key in enumerate(keys)
            )
            for half, keys in heads.items()
        }
        total = sum(density.values())
        assert found.draws[draw] == pytest.approx((density["early"] - density["late"]) / (total or 1))
    counts = {half: sum(excess[key].mean() >= MERGING for key in keys) for half, keys in heads.items()}
    assert found.estimate == pytest.approx((counts["early"] - counts["late"]) / (sum(counts.values()) or 1))
    assert len(np.unique(found.draws)) > 3


def test_the_lead_of_the_first_piece_is_measured_where_heads_were_not_chosen():
    rows = made(3, 4, {(1, 1), (2, 3)}, n_documents=10)
    rows.loc[(rows["layer"] == 2) & (rows["document"] % 2 == 1), ["word_1", "word_3"]] = [0.2, 0.6]
    found = merging_statements.first_over_others(rows)
    measured = rows[rows["document"] % 2 == 1].groupby(["layer", "head"])[["word_1", "word_2", "word_3"]].mean()
    leads = [row["word_1"] - max(row["word_2"], row["word_3"]) for row in (measured.loc[1, 1], measured.loc[2, 3])]
    assert found.estimate == pytest.approx(np.mean(leads))
    assert found.draws.min() < -0.35 and found.draws.max() > 0.35  # one head or the other, drawn twice


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (made(10, 8, {(0, 0), (3, 1)}), "only 2 heads merge"),
        (made(10, 8, set()), "only 0 heads merge"),
        (made(10, 8, EARLY, n_words=12), "only 12 words to merge"),
    ],
)
def test_too_little_to_judge_is_undecided_with_its_reason(rows, reason):
    judged = merging_statements.judge([rows])
    assert judged["verdict"].tolist() == ["undecided"] * 2
    assert judged["reason"].tolist() == [reason] * 2


def test_a_text_without_words_leaves_cells_empty_and_statements_open(bridges):
    rows = merging_heads.sweep(bridges["gpt2"], TOKENS, ENDS[:0])
    heads, layers = merging_heads.by_head(rows), merging_heads.by_layer(rows)
    assert len(heads) == 16 and not heads["merges"].any() and heads["difference_1"].isna().all()
    assert layers["layer"].tolist() == [0, 1, 2, 3] and layers["merging_share"].isna().all()
    assert merging_statements.judge([rows, rows])["reason"].unique().tolist() == ["only 0 words to merge"]
    tables.save("detokenization_merging", "toy", layers, rows)


def test_a_model_of_one_layer_has_no_halves():
    rows = made(1, 8, {(0, head) for head in range(4)})
    assert merging_statements.judge([rows])["reason"][0] == "the statistic is not defined for this model"
