"""The checks of the exercises: the notebooks' own solutions pass, plausible mistakes get messages of their own.

The solutions use the helpers, the checks do not: each is a test of the other.
"""

import ast
import json
import math
from contextlib import contextmanager
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import KINDS, some_tokens
from sklearn.metrics import roc_auc_score
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks, exercises, lens, metrics, neurons, norms, paths
from helpers.beyond import (
    ablation,
    attention_cuts,
    detokenization,
    layer_repeats,
    residual_paths,
    token_classes,
    what_shapes_the_curves,
)
from helpers.engine import streams
from helpers.errors import InputError
from helpers.exercises import answers, by_hand, replies
from helpers.judging import claims, steps
from helpers.text.vocabulary import token_texts

PACKAGE = paths.HELPERS / "exercises"
MODELS = ("gpt2", "llama")  # with LayerNorm and without, with plain and with gated MLPs


def verify(check, data, solution, wrong):
    """The solution is right; every wrong answer is not, for the reason named; three dots are no answer."""
    reply = check(*solution, *data)
    assert reply and reply.message.startswith("Right."), reply
    messages = []
    for fragment, answer in wrong.items():
        reply = check(*answer, *data)
        assert not reply, f"passes: {fragment}"
        assert fragment in reply.message, f"{fragment!r}: {reply.message}"
        assert "\n" not in reply.message
        messages.append(reply.message)
    assert len(set(messages)) == len(wrong) >= 3
    with models_at_rest(data):
        for place in range(len(solution)):
            left_open = [*solution]
            left_open[place] = ...
            assert check(*left_open, *data) == replies.Reply(False, replies.OPEN)


@contextmanager
def models_at_rest(data):
    """An open exercise costs nothing: the models among the data must not run."""

    def refuse(_module, _args):
        raise AssertionError("an open exercise runs the model")

    handles = [one.blocks[0].register_forward_pre_hook(refuse) for one in data if isinstance(one, TransformerBridge)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def one_text(length=24):
    return some_tokens(1, length)


def mean_kl(intact, other, places=slice(1, -1)):
    return metrics.kl_divergence(intact, other)[:, places].mean()


# --- what the checks stand on


def test_checks_import_nothing_of_the_solutions_and_nothing_imports_them():
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers"):
                assert node.module == "helpers.errors" or node.module.startswith("helpers.exercises"), path
            if isinstance(node, ast.Import):
                assert not any(name.name.startswith("helpers") for name in node.names), path
    for path in paths.HELPERS.rglob("*.py"):
        assert path.is_relative_to(PACKAGE) or "exercises" not in path.read_text(), path


def test_every_check_is_exported():
    defined = {
        node.name
        for path in PACKAGE.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
    }
    assert defined == {name for name in exercises.__all__ if name.startswith("check_")}


@pytest.mark.parametrize("kind", KINDS)
def test_other_blocks_run_by_pytorch_hooks_as_they_do_in_any_order(kind, bridges):
    bridge, tokens = bridges[kind], some_tokens()
    for instead, order in (({}, [0, 1, 2, 3]), ({1: []}, [0, 2, 3]), ({0: [1], 1: [0]}, [1, 0, 2, 3])):
        expected = blocks.run_order(bridge, tokens, order)
        torch.testing.assert_close(by_hand.logits(bridge, tokens, instead), expected, rtol=0, atol=1e-4)
    twice = by_hand.logits(bridge, tokens, {2: [2, 2]})
    torch.testing.assert_close(twice, blocks.run_order(bridge, tokens, [0, 1, 2, 2, 3]), rtol=0, atol=1e-4)
    assert (twice - by_hand.logits(bridge, tokens)).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_measures_equal_the_helpers(kind, bridges):
    bridge, tokens = bridges[kind], some_tokens()
    _, cache = bridge.run_with_cache(tokens[:1], names_filter=lambda name: name in streams.row_names(bridge))
    expected = torch.cat([cache[name] for name in streams.row_names(bridge)])
    torch.testing.assert_close(by_hand.rows(bridge, tokens[:1]), expected)
    intact, other = by_hand.logits(bridge, tokens), by_hand.logits(bridge, tokens, {1: []})
    torch.testing.assert_close(by_hand.kl_nats(intact, other), metrics.kl_divergence(intact, other), atol=1e-5, rtol=0)
    torch.testing.assert_close(by_hand.entropy_nats(other) / math.log(2), metrics.entropy_bits(other))
    torch.testing.assert_close(by_hand.loss_nats(other, tokens), metrics.next_token_loss(other[:, 1:-1], tokens[:, 2:]))


def test_answers_are_read_in_any_form():
    expected = pd.Series({3: 0.5, 1: 1.0})
    for answer in ([0.5, 1.0], (0.5, 1), {1: 1.0, 3: 0.5}, torch.tensor([0.5, 1.0]), pd.Series({1: 1.0, 3: 0.5})):
        assert replies.judge(answer, expected, {}), answer
    assert answers.is_open(1, [2, ...]) and answers.is_open({"a": None}) and not answers.is_open([], {}, 0)


def test_the_nearest_mistake_decides_and_nothing_is_given_away():
    check = partial(replies.judge, expected=10.0, mistakes={"half of it.": 5.0, "a little more.": 10.01}, hint="Add.")
    assert check(10.0) and check(10.002)
    assert check(10.01).message == "Not yet: a little more."
    assert check(5.0).message == "Not yet: half of it."
    assert check(30.0).message == "Not yet: it is too large. Add."
    assert check(10.3).message.startswith("Not yet: close, but not equal.")
    assert check([10.0]).message == "Not yet: the answer is one number, yours is of shape [1]. Add."
    assert check("ten").message == "Not yet: this is no number and no list of numbers (str). Add."
    assert check(float("nan")).message.startswith("Not yet: there is a value that is not a number")


def test_a_reply_shows_as_its_message():
    assert repr(replies.right("So it is.")) == "Right. So it is."
    assert repr(replies.not_yet("no.")) == "Not yet: no."


# --- the exercises, in the order of the notebooks


@pytest.mark.parametrize("kind", MODELS)
def test_surprise(kind, bridges):
    bridge, tokens = bridges[kind], one_text()
    losses = metrics.next_token_loss(bridge(tokens, use_cache=False)[0, 1:-1], tokens[0, 2:])
    worst, least = losses.argmax().item() + 2, losses.argmin().item() + 2
    wrong = {
        "one further on": (worst - 1,),
        "counted from BOS": (worst - 2,),
        "expected most": (least,),
        "BOS, which nothing": (0,),
        "no loss there": (99,),
    }
    verify(exercises.check_surprise, (bridge, tokens), (worst,), {k: v for k, v in wrong.items() if v != (worst,)})


def test_reversed(bridges):
    bridge, tokens = bridges["pocket"], one_text(12)
    n_layers = bridge.cfg.n_layers
    first = n_layers // 2 - 2
    order = list(range(n_layers))
    order[first : first + 4] = order[first : first + 4][::-1]
    intact, reverse = (blocks.run_order(bridge, tokens, one) for one in (range(n_layers), order))
    kl = mean_kl(intact, reverse)
    three = list(range(n_layers))
    three[first : first + 3] = three[first : first + 3][::-1]
    inner = [*range(first), first + 1, first, first + 3, first + 2, *range(first + 4, n_layers)]
    wrong = {
        "nothing is reversed": (list(range(n_layers)), kl),
        "must run once": (order[:-1], kl),
        "the whole stack": (list(range(n_layers))[::-1], kl),
        f"you have moved layers {first} to {first + 2}": (three, kl),
        "not in reverse order": (inner, kl),
        "list of layer numbers": ("reversed", kl),
        "BOS and the last position": (order, mean_kl(intact, reverse, slice(None))),
        "the intact model comes first": (order, mean_kl(reverse, intact)),
        "in bits": (order, kl / math.log(2)),
        "the sum over positions": (order, kl * (tokens.shape[1] - 2)),
        "one KL per position": (order, metrics.kl_divergence(intact, reverse)[:, 1:-1]),
        "too large": (order, 100 * kl),
    }
    verify(exercises.check_reversed, (bridge, tokens), (order, kl), wrong)


def test_reversing_four_layers_needs_four(bridges, monkeypatch):
    monkeypatch.setattr(bridges["gpt2"].cfg, "n_layers", 3)
    with pytest.raises(InputError, match="four layers or more"):
        exercises.check_reversed([2, 1, 0], 0.1, bridges["gpt2"], one_text())


@pytest.mark.parametrize("kind", MODELS)
def test_repeated(kind, bridges):
    bridge, tokens, layer = bridges[kind], one_text(), 2
    n_layers = bridge.cfg.n_layers
    run = partial(blocks.run_order, bridge, tokens)
    intact, twice = run(range(n_layers)), run([*range(layer + 1), *range(layer, n_layers)])
    wrong = {
        "dropping the layer": (mean_kl(intact, run([0, 1, 3])),),
        "run three times": (mean_kl(intact, run([0, 1, 2, 2, 2, 3])),),
        "the next layer run twice": (mean_kl(intact, run([0, 1, 2, 3, 3])),),
        "the intact model comes first": (mean_kl(twice, intact),),
        "BOS and the last position": (mean_kl(intact, twice, slice(None)),),
    }
    verify(exercises.check_repeated, (bridge, tokens, layer), (mean_kl(intact, twice),), wrong)


def test_peaks():
    curves = json.loads((paths.ROOT / "reference" / "authors_curves.json").read_text())["local_attention"]["models"]
    depths = {name: curve.index(max(curve)) / (len(curve) - 1) for name, curve in curves.items()}
    layers = {name: curve.index(max(curve)) for name, curve in curves.items()}
    wrong = {
        "layer numbers": (layers,),
        "one less than the number of layers": ({name: layers[name] / len(curves[name]) for name in curves},),
        "counted from 0": ({name: (layers[name] + 1) / len(curves[name]) for name in curves},),
        "lowest": ({name: curve.index(min(curve)) / (len(curve) - 1) for name, curve in curves.items()},),
        "names differ": ({name: depths[name] for name in list(curves)[1:]},),
        "give a dictionary": (list(depths.values()),),
    }
    verify(exercises.check_peaks, (curves,), (depths,), wrong)


def test_looking_back():
    pieces = [" a", "b", " c", "d", ",", "ef", " g", "h", "i", " j"]
    shape = (3, 2, len(pieces) + 1, len(pieces) + 1)
    patterns = torch.rand(shape, generator=torch.Generator().manual_seed(0)).tril()
    patterns /= patterns.sum(-1, keepdim=True)
    inside = torch.tensor([piece.isalpha() for piece in pieces])
    begins = torch.tensor([piece.startswith(" ") for piece in pieces])

    def table(looking):
        return torch.stack([looking[:, inside].mean(-1), looking[:, begins].mean(-1)], 1)

    looking_back = patterns.diagonal(-1, dim1=-2, dim2=-1).mean(1)
    means = table(looking_back)
    summed = torch.stack([looking_back[:, group].sum(-1) for group in (inside, begins)], 1)
    wrong = {
        "columns are exchanged": (inside, begins, means.flip(1)),
        "rows and columns": (inside, begins, means.T),
        "to the token itself": (inside, begins, table(patterns.diagonal(dim1=-2, dim2=-1).mean(1)[:, 1:])),
        "sum over tokens": (inside, begins, summed),
        "sum over heads": (inside, begins, 2 * means),
        "does not belong in `inside`": (~begins, begins, means),
        "belongs in `begins`": (inside, begins & inside, means),
        "for each of the 10 tokens behind BOS": (torch.cat([inside[:1], inside]), begins, means),
    }
    verify(exercises.check_looking_back, (patterns, pieces), (inside, begins, means), wrong)


@pytest.mark.parametrize("kind", MODELS)
def test_changed_guesses(kind, bridges):
    bridge, tokens = bridges[kind], one_text()
    logits = bridge.unembed(bridge.ln_final(by_hand.rows(bridge, tokens)))
    guess = logits.argmax(-1)[:, 1:-1]
    changed = (guess[1:] != guess[:-1]).float().mean(-1)
    swept = lens.sweep(bridge, tokens).sort_values("layer").iloc[1:]
    assert (changed.numpy() >= swept["wrong_to_right"] + swept["right_to_wrong"] - 1e-6).all()
    everywhere = logits.argmax(-1)
    wrong = {
        "that stays": (1 - changed,),
        "BOS and the last position": ((everywhere[1:] != everywhere[:-1]).float().mean(-1),),
        "with the last one": ((guess[:-1] != guess[-1]).float().mean(-1),),
        "percentages": (100 * changed,),
        "divide by the number": (changed * guess.shape[1],),
        "row 0 has no row before": ([0, *changed.tolist()],),
    }
    verify(exercises.check_changed_guesses, (logits,), (changed,), wrong)


@pytest.mark.parametrize("kind", MODELS)
def test_translated(kind, bridges):
    bridge, tokens, second = bridges[kind], one_text(), some_tokens(2, 20)[1:]
    residuals, other = by_hand.rows(bridge, tokens), by_hand.rows(bridge, second)

    def kl(moved, places=slice(1, -1), turned=False):
        logits = bridge.unembed(bridge.ln_final(moved))
        pair = (logits, logits[-1:].expand_as(logits)) if turned else (logits[-1:].expand_as(logits), logits)
        return metrics.kl_divergence(*pair)[:, places].mean(-1)

    def shift(rows, places=slice(1, -1)):
        return (rows[-1:] - rows)[:, places].mean(1, keepdim=True)

    moved = residuals + shift(other)
    wrong = {
        "the plain lens": (kl(residuals),),
        "wrong sign": (kl(residuals - shift(other)),),
        "the text that you test them on": (kl(residuals + shift(residuals)),),
        "in the mean vector": (kl(residuals + shift(other, slice(None))),),
        "in the mean of the KL": (kl(moved, slice(None)),),
        "the last row comes first": (kl(moved, turned=True),),
        "bits": (kl(moved) / math.log(2),),
    }
    verify(exercises.check_translated, (bridge, tokens, second), (kl(moved),), wrong)


@pytest.mark.parametrize("kind", MODELS)
def test_pointing(kind, bridges):
    bridge, word = bridges[kind], " the"
    (token,) = bridge.tokenizer.encode(word, add_special_tokens=False)
    n_layers = bridge.cfg.n_layers
    W_out = torch.stack([bridge.blocks[layer].mlp.W_out for layer in range(n_layers)])
    unit = torch.nn.functional.normalize
    cosines = unit(W_out, dim=-1) @ neurons.unit_columns(bridge.W_U)[:, token]
    toward, away = (divmod(end.item(), cosines.shape[1]) for end in (cosines.argmax(), cosines.argmin()))
    dots = W_out @ bridge.W_U[:, token]
    by_dot = [divmod(end.item(), cosines.shape[1]) for end in (dots.argmax(), dots.argmin())]
    last = [(n_layers - 1, end.item()) for end in (cosines[-1].argmax(), cosines[-1].argmin())]
    W_in = torch.stack([bridge.blocks[layer].mlp.W_in.T for layer in range(n_layers)])
    reading = unit(W_in, dim=-1) @ bridge.W_U[:, token]
    wrong = {
        "exchanged: first the neuron": (away, toward),
        "layer and neuron": (toward[::-1], away[::-1]),
        "largest dot products": by_dot,
        "last layer only": last,
        "these read the word": [divmod(end.item(), cosines.shape[1]) for end in (reading.argmax(), reading.argmin())],
        "each neuron is a pair": (cosines.argmax().item(), away),
        "There is no such neuron": ((n_layers, 0), away),
        "another neuron is further away": (toward, (toward[0], toward[1] - 1 if toward[1] else 1)),
    }
    wrong = {fragment: pair for fragment, pair in wrong.items() if list(pair) != [toward, away]}
    verify(exercises.check_pointing, (word, bridge), (toward, away), wrong)
    assert "choose a word that is one token" in exercises.check_pointing(toward, away, " the the", bridge).message


@pytest.mark.parametrize("kind", MODELS)
def test_dimension(kind, bridges):
    config = bridges[kind].cfg
    d = config.d_model - (not config.uses_rms_norm)
    assert d == neurons.free_dimensions(bridges[kind])
    wrong = {
        "the vocabulary": (config.d_vocab,),
        "neurons in a layer": (config.d_mlp,),
        "the kurtosis itself": (3 * d / (d + 2),),
        "too large": (d + 7,),
    }
    if not config.uses_rms_norm:
        wrong["centring for the LayerNorm"] = (config.d_model,)
    verify(exercises.check_dimension, (bridges[kind],), (d,), wrong)


@pytest.mark.parametrize("kind", MODELS)
def test_with_bos(kind, bridges):
    bridge, tokens = bridges[kind], one_text()
    names = [f"blocks.2.{hook}" for hook in norms.PARTS.values()]
    _, cache = bridge.run_with_cache(tokens, names_filter=names)
    parts = {part: cache[f"blocks.2.{hook}"] for part, hook in norms.PARTS.items()}
    everything = norms.norms(parts)["residual_norm"].item()
    lengths = parts["residual"][0].norm(dim=-1)
    wrong = {
        "still left out": (lengths[1:].mean(),),
        "BOS alone": (lengths[0],),
        "BOS is one position of many": ((lengths[0] + lengths[1:].mean()) / 2,),
        "sum over positions": (lengths.sum(),),
        "length of the mean vector": (parts["residual"][0].mean(0).norm(),),
        "per dimension": (parts["residual"][0].square().mean(-1).sqrt().mean(),),
        "the part 'mlp'": (parts["mlp"][0].norm(dim=-1).mean(),),
    }
    verify(exercises.check_with_bos, (parts,), (everything,), wrong)


@pytest.mark.parametrize("kind", MODELS)
def test_turned_down(kind, bridges):
    bridge, tokens = bridges[kind], some_tokens(2, 16)

    def changes(hook, factor):
        turned = [(hook, lambda written, hook: factor * written)]
        ends = [bridge.run_with_hooks(tokens, fwd_hooks=hooks, use_cache=False) for hooks in ([], turned)]
        entropy = [metrics.entropy_bits(one)[:, 1:-1].mean().item() for one in ends]
        loss = [metrics.next_token_loss(one[:, 1:-1], tokens[:, 2:]).mean().item() for one in ends]
        return entropy[1] - entropy[0], loss[1] - loss[0]

    last = f"blocks.{bridge.cfg.n_layers - 1}.hook_mlp_out"
    entropy, loss = changes(last, 0.5)
    wrong = {
        "signs are turned over": (-entropy, -loss),
        "entropy is in nats": (entropy * math.log(2), loss),
        "exchanged": (loss, entropy),
        "turned up": changes(last, 2),
        "switched off": changes(last, 0),
        "last attention": changes(last.replace("mlp", "attn"), 0.5),
        "first layer's MLP": changes("blocks.0.hook_mlp_out", 0.5),
    }
    verify(exercises.check_turned_down, (bridge, tokens), (entropy, loss), wrong)


@pytest.mark.parametrize("rises", [False, True])
def test_step(rises):
    entropy = [9.0, 6.1, 5.9, 6.0, 3.1, 3.0, 2.9, 3.2, 5.0, 5.1]
    table = pd.DataFrame({"layer": range(len(entropy)), "entropy_bits": entropy})
    found = steps.best(np.array([entropy[1:]]), rises)
    where, share = found.where[0], found.explained[0]
    other = steps.best(np.array([entropy[1:]]), not rises)
    whole = steps.best(np.array([entropy]), rises)
    wrong = {
        "this is the best step": (other.where[0], other.explained[0]),
        "the embedding is still": (whole.where[0], whole.explained[0]),
        "not the last of the earlier": (where - 1, share),
        "counted without the embedding": (where + 1, share),
        "leaves over": (where, 1 - share),
        "per cent": (where, 100 * share),
    }
    verify(exercises.check_step, (table, rises), (where, share), wrong)


def test_claim():
    own = {"layer_lesion": pd.DataFrame({"kl_nats": [4.0, 0.2, 1.0]})}
    twin = {"layer_lesion": pd.DataFrame({"kl_nats": [0.4, 0.3, 0.2]})}
    rule = lambda tables: tables["layer_lesion"]["kl_nats"].iloc[-1] / tables["layer_lesion"]["kl_nats"].iloc[1]  # noqa: E731
    wrong = {
        "give the rule itself": (rule(own), 2),
        "does it read the tables": (lambda tables: 3.0, 2),
        "both are beyond the bound": (rule, 0.1),
        "both are below the bound": (rule, 7),
        "Leave more room": (rule, 0.7),
        "KeyError": (lambda tables: tables["lens"], 2),
        "must be one number": (lambda tables: tables["layer_lesion"]["kl_nats"], 2),
        "the bound is one number": (rule, "high"),
    }
    verify(exercises.check_claim, (own, twin), (rule, 2), wrong)
    assert 'control = "untrained"' in exercises.check_claim(rule, 2, own, None).message


def test_both_ends():
    patterns = torch.rand(4, 20, 20, generator=torch.Generator().manual_seed(0)).tril()
    patterns /= patterns.sum(-1, keepdim=True)
    word, reach = torch.tensor([4, 7, 11, 15]), torch.tensor([1, 2, 1, 1])
    two = reach == 1

    def table(last, first):
        ends = (detokenization.gathering(patterns, *one) for one in (last, first))
        return torch.stack([one.mean(0) for one in ends], 1)

    means = table((word[two], reach[two]), (word[two] - 1, reach[two]))
    wrong = {
        "columns are exchanged": (means.flip(1),),
        "rows and columns": (means.T,),
        "longer words are counted": (table((word, reach.clamp(max=1)), (word - 1, reach.clamp(max=1))),),
        "sum over words": (3 * means,),
        "the token behind the word": (table((word[two], reach[two]), (word[two] + 1, reach[two])),),
    }
    verify(exercises.check_both_ends, (patterns, word, reach), (means,), wrong)
    none = exercises.check_both_ends(means, patterns, word[1:2], reach[1:2])
    assert "no word of two tokens" in none.message


@pytest.mark.parametrize("kind", MODELS)
def test_one_head(kind, bridges):
    bridge, tokens, layer = bridges[kind], one_text(), 1
    word, reach = torch.tensor([5, 12, 20]), torch.tensor([1, 3, 2])

    def cut_heads(scores, hook, place, back, heads):
        scores[:, heads, place, place - back : place] = torch.finfo(scores.dtype).min
        return scores

    def loss(place, hooks):
        logits = bridge.run_with_hooks(tokens, fwd_hooks=hooks, use_cache=False)[0, place].float()
        return metrics.next_token_loss(logits, tokens[0, place + 1]).item()

    rows, levels = [], []
    for place, back in zip(word.tolist(), reach.tolist(), strict=True):
        lesions = {"all": [0, 1, 2, 3], "0": [0], "1": [1], "2": [2], "3": [3]}
        hooks = {name: partial(cut_heads, place=place, back=back, heads=which) for name, which in lesions.items()}
        cut = {name: loss(place, [(f"blocks.{layer}.attn.hook_attn_scores", hook)]) for name, hook in hooks.items()}
        assert abs(cut["all"] - loss(place, attention_cuts.cut_hooks([layer], place, back))) < 1e-4
        levels.append(cut)
        rows.append({name: value - loss(place, []) for name, value in cut.items()})
    costs = pd.DataFrame(rows).mean()
    wrong = {
        "signs": (-costs,),
        "sum over words": (3 * costs,),
        "take the intact loss off": (pd.DataFrame(levels).mean(),),
        "bits": (costs / math.log(2),),
        "stands for each of them": (pd.Series(costs["all"], costs.index),),
        "of shape [5], yours is of shape [4]": (costs.iloc[1:].tolist(),),
    }
    verify(exercises.check_one_head, (bridge, tokens, word, reach, layer), (costs.to_dict(),), wrong)


@pytest.mark.parametrize("kind", MODELS)
def test_space_neurons(kind, bridges):
    bridge = bridges[kind]
    texts = token_texts(bridge)
    inside = torch.tensor([text.startswith(" ") for text in texts])
    found, opposite = (token_classes.ranking(bridge, one) for one in (inside, ~inside))
    best = found[:32]
    everything = torch.cat([bridge.blocks[layer].mlp.W_out for layer in range(bridge.cfg.n_layers)]) @ bridge.W_U
    dots = everything[:, inside].mean(1) - everything[:, ~inside].mean(1)
    by_dot = [divmod(one, bridge.cfg.d_mlp) for one in dots.topk(32).indices.tolist()]
    wrong = {
        "speak most against": (opposite[:32],),
        "take cosines": (by_dot,),
        "the layer comes first": (list(zip(best["neuron"], best["layer"], strict=True)),),
        "32 neurons are asked for": (best[:31],),
        "no columns": (best[["score"]],),
        "leave the sign": (found.reindex(found["score"].abs().sort_values(ascending=False).index)[:32],),
        "list twice": ([(0, 0)] * 32,),
    }
    verify(exercises.check_space_neurons, (bridge, texts), (best,), wrong)
    assert exercises.check_space_neurons(list(zip(best["layer"], best["neuron"], strict=True)), bridge, texts)


@pytest.mark.parametrize("kind", MODELS)
def test_silenced(kind, bridges):
    bridge, tokens = bridges[kind], some_tokens(2, 16)
    chosen = {("prediction", 2): [(0, 1), (3, 2)], ("prediction", 3): [(0, 1), (3, 2), (1, 7)], ("suppression", 2): []}
    chosen["suppression", 2] = [(2, 5), (2, 9)]
    rows = [
        {"kind": kind, "n_neurons": n, "set": 0, "layer": layer, "neuron": neuron, "mean_activation": 0.4}
        for (kind, n), pairs in chosen.items()
        for layer, neuron in pairs
    ]
    sets = pd.DataFrame([*rows, {**rows[0], "set": 1, "neuron": 50}])
    special = sets[sets["set"] == 0]

    def sweep(means, column="loss_change_nats"):
        swept = ablation.sweep(bridge, tokens, special.assign(mean_activation=means))
        return swept.groupby(["kind", "n_neurons"])[column].mean()

    changes = sweep(0.0)
    wrong = {
        "at their means": (sweep(special["mean_activation"]),),
        "signs": (-changes,),
        "the entropy": (sweep(0.0, "entropy_change_bits") * math.log(2),),
        "bits": (changes / math.log(2),),
        "sum over the sequences": (2 * changes,),
    }
    verify(exercises.check_silenced, (bridge, tokens, sets), (changes,), wrong)


@pytest.fixture
def runs():
    """Every run of layers of a model of six: the accuracy kept, and the loss."""
    rows = []
    for start, length in [(first, size) for first in range(6) for size in range(1, 7 - first)]:
        kept = max(0.05, (0.3 if start == 0 else 1.06) - 0.14 * length + (0.02 if start == 2 else 0))
        loss = 0.1 * length**1.4 * (1 + start / 7) + (3 if start == 0 else 0)
        rows.append({"start": start, "length": length, "accuracy_ratio": kept, "loss_change_nats": loss})
    return pd.DataFrame(rows).assign(
        accuracy=lambda t: t["accuracy_ratio"] / 4, top1_agreement=lambda t: t.accuracy + 0.3
    )


def test_longest(runs):
    enough = runs[runs["accuracy_ratio"] >= 0.5]
    longest = enough[enough["length"] == enough["length"].max()]
    length, starts = longest["length"].iloc[0], longest["start"].tolist()
    assert (length, starts) == (4, [1, 2])
    same = runs[runs["top1_agreement"] >= 0.5]["length"].max()
    wrong = {
        "how many layers are left": (6 - length, starts),
        "stay the same": (same, starts),
        "the shortest run that loses": (1, starts),
        "every run is safe": (0, starts),
        "no run of this length does": (6, starts),
        "one number": ([4], starts),
        "the last layers of the runs": (length, [start + length - 1 for start in starts]),
        "all runs of this length": (length, [0, 1, 2]),
        "1 are missing": (length, [1]),
        "not a list": (length, 1),
    }
    wrong.pop("how many layers are left" if same == 6 - length else "nothing", None)
    verify(exercises.check_longest, (runs,), (length, starts), wrong)


def test_runs_made_up_here_are_those_of_the_experiment(runs):
    deleted = residual_paths.contiguous_runs(6)
    assert len(deleted) == len(runs)


def test_added(runs):
    loss = runs.set_index(["start", "length"])["loss_change_nats"]
    single = loss.xs(1, level="length")
    added = pd.Series({(start, n): single.loc[start : start + n - 1].sum() for start, n in loss.index})
    longer = pd.Series({(start, n): single.loc[start : start + n].sum() for start, n in loss.index})

    def mean(each):
        return each.rename_axis(loss.index.names).unstack("start").loc[:, 1:].mean(axis=1).dropna()

    ratio = mean(loss / added)
    wrong = {
        "begin with layer 0 are in your mean": (
            (loss / added).rename_axis(loss.index.names).unstack("start").mean(axis=1),
        ),
        "the loss over the sum": (mean(added / loss),),
        "ratio of means": (mean(loss) / mean(added),),
        "a layer too many": (mean(loss / longer),),
        "divide": (mean(loss - added),),
    }
    verify(exercises.check_added, (runs,), (ratio,), wrong)


@pytest.fixture
def predictions():
    """What two probes say of words, some of them with two tags, in three rows."""
    generator = np.random.default_rng(0)
    words = [("walk", "NOUN"), ("walk", "VERB"), ("walk", "VERB"), ("long", "ADJ"), ("long", "ADV"), ("the", "DET")] * 9
    rows = []
    for task, probe in (("part_of_speech", "logistic"), ("part_of_speech", "shuffled"), ("word_sense", "logistic")):
        for layer in range(3):
            for word, label in words:
                correct = float(generator.random() < 0.2 + 0.2 * layer + 0.1 * (word == "walk"))
                rows.append(
                    {"task": task, "probe": probe, "layer": layer, "word": word, "label": label, "correct": correct}
                )
    return pd.DataFrame(rows)


def test_two_tags(predictions):
    def share(some, turned=False):
        two = some.groupby("word")["label"].transform("nunique") > 1
        return some[two ^ turned].groupby("layer")["correct"].mean()

    tagged = predictions[predictions["task"] == "part_of_speech"]
    answered = tagged[tagged["probe"] == "logistic"]
    by_word = answered[answered["word"] != "the"].groupby(["layer", "word"])["correct"].mean().groupby("layer").mean()
    wrong = {
        "words with one tag": (share(answered, turned=True),),
        "all words": (answered.groupby("layer")["correct"].mean(),),
        "shuffled labels": (share(tagged[tagged["probe"] == "shuffled"]),),
        "probes are mixed": (share(tagged),),
        "counts every word once": (by_word,),
        "share of wrong": (1 - share(answered),),
    }
    verify(exercises.check_two_tags, (predictions,), (share(answered),), wrong)
    one_tag = predictions[predictions["word"] == "the"]
    assert "no word has two tags" in exercises.check_two_tags([1, 2, 3], one_tag).message


def test_too_early():
    generator = np.random.default_rng(0)
    texts = [" ".join(["and"] * n) + " bank is" for n in range(8)]
    some = generator.integers(0, 8, size=(200, 2))
    pairs = pd.DataFrame({"first": [texts[n] for n in some[:, 0]], "second": [texts[n] for n in some[:, 1]]})
    for side in ("first", "second"):
        pairs[f"{side}_span"] = [(text.index("bank"), text.index("bank") + 4) for text in pairs[side]]
    labels = generator.random(200) < 0.5
    similarity = generator.random(200) + 0.1 * labels * some.min(1)

    def aucs(count):
        before = [
            count(len(one[side][: one[f"{side}_span"][0]].split()) for side in ("first", "second"))
            for one in pairs.to_dict("records")
        ]
        parts = [[low <= n <= high for n in before] for low, high in ((1, 2), (3, 4), (5, 99))]
        return [roc_auc_score(labels[part], similarity[part]) for part in parts]

    solution = aucs(min)
    wrong = {
        "they are more": (aucs(max),),
        "first sentence only": (aucs(next),),
        "word itself is counted": (aucs(lambda both: 1 + min(both)),),
        "1 minus": ([1 - one for one in solution],),
        "all pairs each time": ([roc_auc_score(labels, similarity)] * 3,),
        "of shape [3], yours is of shape [2]": (solution[1:],),
    }
    verify(exercises.check_too_early, (pairs, labels, similarity), (solution,), wrong)


def test_shapes():
    curves = {"untrained": pd.Series([0.05, 0.03, 0.01, 0.0]), "final": pd.Series([4.0, 2.5, 2.0, 0.0])}
    kl = pd.DataFrame(curves)
    wrong = {
        "as they are": (kl,),
        "by its mean": (kl / kl.mean(),),
        "by its sum": (kl / kl.sum(),),
        "in row 1": (kl / kl.iloc[1],),
        "of the last moment": (kl / kl.iloc[0, -1],),
        "one column per moment": ((kl / kl.iloc[0]).T.to_numpy(),),
        "turn the fraction over": (kl.iloc[0] / kl,),
    }
    verify(exercises.check_shapes, (curves,), (kl / kl.iloc[0],), wrong)


def test_lost():
    verdicts = pd.DataFrame({"untrained": ["holds", "undecided"], "final": ["does not hold", "holds"]}, ["a", "b"])

    def lost(table):
        held = table == claims.HOLDS
        return table.index[(held & ~held.shift(-1, axis=1, fill_value=True)).any(axis=1)]

    def at_end(table, *, held):
        return table.index[(table.iloc[:, -1] == claims.HOLDS) == held]

    wrong = {
        "the rule itself": (["a"],),
        "some of them never held": (partial(at_end, held=False),),
        "that hold at the end": (partial(at_end, held=True),),
        "looks at the end only": (lambda t: t.index[(t == "holds").any(axis=1) & (t.iloc[:, -1] != "holds")],),
        "first and the last moment only": (lambda t: t.index[(t.iloc[:, 0] == "holds") & (t.iloc[:, -1] != "holds")],),
        "for the better": (lambda t: t.index[(t == "holds").nunique(axis=1) > 1],),
        "IndexError": (lambda t: t.columns[99],),
        "this run's not": (lambda t: [] if len(t) == 2 else lost(t),),
        "misses claims that become undecided": (
            lambda t: [name for name, row in t.iterrows() if "holds,does not hold" in ",".join(row)],
        ),
    }
    verify(exercises.check_lost, (verdicts,), (lost,), wrong)


def test_better():
    changes = [(5, 0, 0.5), (5, 3, -0.02), (3, 2, -0.3), (3, 4, 0.1)]
    table = pd.DataFrame([{"length": n, "layer": layer, "loss_change_nats": loss} for n, layer, loss in changes])
    table = table.assign(
        loss_change_nats_high=table["loss_change_nats"] + 0.1,
        loss_change_nats_low=table["loss_change_nats"] - 0.15,
        entropy_change_bits=[-1.0, -0.2, 0.4, -0.3],
        entropy_change_bits_high=[-0.9, 0.1, 0.5, -0.2],
    )
    better = table[table["loss_change_nats_high"] < 0]
    wrong = {
        "only the lower end": (table[table["loss_change_nats_low"] < 0],),
        "the mean is below 0": (table[table["loss_change_nats"] < 0],),
        "entropy, not the loss": (table[table["entropy_change_bits_high"] < 0],),
        "worse for it": (table[table["loss_change_nats_low"] > 0],),
        "the length comes first": ([(2, 3)],),
        "1 are missing": ([],),
        "no columns": (table[["loss_change_nats"]],),
    }
    verify(exercises.check_better, (table,), (better,), wrong)
    assert exercises.check_better([], table.assign(loss_change_nats_high=1.0))


@pytest.mark.parametrize("kind", MODELS)
def test_one_at_a_time(kind, bridges):
    bridge, tokens, length = bridges[kind], some_tokens(2, 16), 2
    column = "entropy_change_bits"

    def by_layer(length, column=column):
        return layer_repeats.sweep(bridge, tokens, length).groupby("layer")[column].mean()

    single = by_layer(1)
    assert len(single) == bridge.cfg.n_layers
    starts = range(bridge.cfg.n_layers - length + 1)
    added = pd.Series({start: single.loc[start : start + length - 1].sum() for start in starts})
    loss = by_layer(1, "loss_change_nats")
    wrong = {
        "repeated as a whole": (by_layer(length),),
        "a layer too many": (pd.Series({start: single.loc[start : start + length].sum() for start in starts}),),
        "a layer too few": (single.loc[list(starts)],),
        "this is the loss": (pd.Series({start: loss.loc[start : start + length - 1].sum() for start in starts}),),
        "these are nats": (added * math.log(2),),
        "take the sum": (added / length,),
        "add them up": (single,),
    }
    verify(exercises.check_one_at_a_time, (bridge, tokens, length), (added,), wrong)


def test_worse():
    kl = {"resample": [5.0, 2.0, 0.2, 0.4], "zero_but_bos": [4.0, 1.0, 0.3, 0.5], "zero": [6.0, 1.0, 0.1, 0.3]}
    kl["mean"] = [5.5, 3.0, 0.1, 0.6]
    rows = [
        {"layer": layer, "intervention": name, "kl_nats": value}
        for name, values in kl.items()
        for layer, value in enumerate(values)
    ]
    wrong = {
        "turn the comparison over": ([2, 3],),
        "takes BOS away, too": ([1, 2, 3],),
        "compares with the mean": ([2],),
        "whose mean costs more": ([0, 1, 3],),
        "counted from 0": ([1, 2],),
        "1 on your list": ([0, 3],),
    }
    verify(exercises.check_worse, (pd.DataFrame(rows),), ([0, 1],), wrong)


@pytest.mark.parametrize("length", [9, 10])
def test_paired(length):
    tokens = some_tokens(3, length)
    pairs = tokens[:, 1 : 1 + 2 * ((length - 1) // 2)].unflatten(1, (-1, 2))
    order = torch.tensor([2, 0, 3, 1])
    paired = torch.cat([tokens[:, :1], pairs[:, order].flatten(1)], dim=1)
    whole = torch.cat([tokens[:, :1], pairs.flatten(1)], dim=1)
    wrong = {
        "nothing has moved": (whole,),
        "BOS has moved": (whole.roll(1, 1),),
        "neighbours have been parted": (what_shapes_the_curves.shuffled(whole, 0),),
        "changed places": (torch.cat([tokens[:, :1], pairs.flip(2).flatten(1)], dim=1),),
        "reverse order": (torch.cat([tokens[:, :1], pairs.flip(1).flatten(1)], dim=1),),
        "other tokens": (torch.cat([paired[:, :1], paired[[1, 2, 0], 1:]], dim=1),),
        "[3, 9] tokens are asked for": (torch.cat([paired, tokens[:, -1:]], dim=1),),
        "give a tensor": (paired.tolist(),),
    }
    verify(exercises.check_paired, (tokens,), (paired,), wrong)
