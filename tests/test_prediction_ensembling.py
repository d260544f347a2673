"""Ensembles of known strength, activations of real models, and what is compared with what."""

from math import erf

import numpy as np
import pandas as pd
import plain_mlps
import pytest
import torch
from checkpoints import KINDS, LAYERS
from sklearn.metrics import roc_auc_score

from helpers.beyond import ensembles, neuron_sets, probes, token_classes
from helpers.beyond.ensembles import activations
from helpers.beyond.prediction_ensembling import judge, sweep
from helpers.engine import readout
from helpers.text import vocabulary

N_PASSAGES, PER_PASSAGE = 40, 150


def planted(n_copies: int, separation: float = 0.8, seed: int = 0):
    """``n_copies`` of the label, each with noise of its own, then as many neurons of nothing but noise."""
    generator = np.random.default_rng(seed)
    passages = np.repeat(np.arange(N_PASSAGES), PER_PASSAGE)
    positive = generator.random(len(passages)) < 0.15
    noise = generator.standard_normal((len(passages), 2 * n_copies))
    noise[positive, :n_copies] += separation
    return noise, positive, passages


def auc_of(features, positive, passages) -> float:
    answers = probes.predictions(features, positive, passages, strength=1 / features.shape[1])
    return judge([answers], positive, passages)["auc"].estimate[0]


@pytest.mark.parametrize("n_copies", [1, 4, 16])
def test_an_ensemble_of_noisy_copies_has_the_auc_of_its_joint_separation(n_copies):
    """k copies with independent unit noise add up to d' = sqrt(k) d, and AUC = Phi(d' / sqrt(2))."""
    features, positive, passages = planted(n_copies)
    joint = 0.8 * n_copies**0.5
    assert auc_of(features[:, :n_copies], positive, passages) == pytest.approx((1 + erf(joint / 2)) / 2, abs=0.02)
    assert auc_of(features[:, n_copies:], positive, passages) == pytest.approx(0.5, abs=0.03)


def test_copies_that_share_their_noise_add_nothing():
    features, positive, passages = planted(1)
    copies = np.repeat(features[:, :1], 16, axis=1)
    assert auc_of(copies, positive, passages) == pytest.approx(auc_of(features[:, :1], positive, passages), abs=1e-3)


def test_the_auc_is_that_of_each_passage_and_its_interval_is_over_passages():
    features, positive, passages = planted(1)
    positive[passages == 3] = False
    answers = pd.DataFrame({"score": features[:, 0], "correct": (features[:, 0] > 0.4) == positive})
    judged = judge([answers], positive, passages, seed=5)
    each = {p: roc_auc_score(positive[passages == p], features[passages == p, 0]) for p in range(N_PASSAGES) if p != 3}
    assert judged["auc"].estimate[0] == pytest.approx(np.mean(list(each.values())))
    recalls = [answers["correct"][positive == label].mean() for label in (True, False)]
    assert judged["balanced_accuracy"].estimate[0] == pytest.approx(np.mean(recalls))
    draw = np.random.default_rng(5).integers(N_PASSAGES, size=(1000, N_PASSAGES))[7]
    assert judged["auc"].draws[7, 0] == pytest.approx(np.mean([each[p] for p in draw if p != 3]))


def test_draws_are_judged_side_by_side():
    features, positive, passages = planted(1)
    draws = [pd.DataFrame({"score": sign * features[:, 0], "correct": positive}) for sign in (1, -1)]
    auc = judge(draws, positive, passages)["auc"]
    assert auc.draws.sum(1) == pytest.approx(1)
    assert auc.estimate[0] > 0.6 and auc.estimate.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_what_the_plain_models_mlps_multiply_with_their_last_map(kind, bridges, checkpoints):
    bridge = bridges[kind]
    tokens = torch.arange(3 * 9).reshape(3, 9)
    plain, last_maps = plain_mlps.load(checkpoints[kind])
    seen: dict[int, torch.Tensor] = {}
    for layer, last_map in last_maps.items():
        last_map.register_forward_pre_hook(lambda _, args, layer=layer: seen.update({layer: args[0]}))
    plain(tokens, use_cache=False)
    chosen = pd.DataFrame({"layer": [2, 0, 2, 3], "neuron": [7, 5, 1, 40]})
    found = activations(bridge, tokens, chosen, batch_size=2)
    for column, (layer, neuron) in enumerate(chosen.itertuples(index=False)):
        expected = seen[layer][:, 1:-1, neuron].flatten()
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-4, atol=1e-5)
    first = activations(bridge, tokens, chosen[1:2])
    np.testing.assert_allclose(first[:, 0], found[:, 1], rtol=1e-4, atol=1e-5)  # stopped early: the same


@pytest.fixture(scope="module")
def text(bridges):
    """48 sequences, 12 passages, in which every third token or so ends in -ing, and nothing else is in a class."""
    generator = torch.Generator().manual_seed(0)
    texts = vocabulary.token_texts(bridges["gpt2"])
    inside = token_classes.members(texts)
    others = torch.tensor([text.isalpha() and text.islower() for text in texts]) & ~inside["-ing"] & ~inside["-ed"]
    pools = [others.nonzero().flatten(), inside["-ing"].nonzero().flatten()]
    picks = [pool[torch.randint(len(pool), (48, 16), generator=generator)] for pool in pools]
    tokens = torch.where(torch.rand(48, 16, generator=generator) < 0.3, picks[1], picks[0])
    return tokens, (torch.arange(48) // 4)[:, None].expand(48, 16).contiguous()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_every_class_has_its_rows_and_one_that_is_too_rare_is_skipped(kind, bridges, text):
    bridge = bridges[kind]
    table = sweep(bridge, *text)
    asked, skipped = table[table["kind"] != "skipped"], table[table["kind"] == "skipped"]
    assert set(asked["class"]) == {"-ing"} and set(skipped["class"]) == {"-ed", "capital", "sentence end"}
    assert skipped["auc"].isna().all() and (skipped["n_positive"] < 100).all()
    by_kind = asked.groupby("kind")["n_neurons"].apply(list).to_dict()
    sizes = list(ensembles.SIZES)
    assert by_kind == {"top": sizes, "random": sizes, "layer": [bridge.cfg.d_mlp], "model": [0]}
    measured = asked[["auc", "balanced_accuracy"]].to_numpy()
    assert ((measured > 0.3) & (measured < 0.7)).all()  # random labels, random weights
    for column in ("auc", "balanced_accuracy"):
        assert (asked[f"{column}_low"] <= asked[column]).all() and (asked[column] <= asked[f"{column}_high"]).all()


def test_the_numbers_of_a_row_are_those_of_its_own_probe(bridges, text):
    """The best four neurons, step by step; random neurons' mean over draws; the lead of the first over the second."""
    bridge, (tokens, documents) = bridges["gpt2"], text
    table = sweep(bridge, tokens, documents).set_index(["class", "kind", "n_neurons"]).loc["-ing"]
    inside = token_classes.members(vocabulary.token_texts(bridge))["-ing"]
    positive, passages = inside[readout.labels(tokens)].flatten().numpy(), documents[:, 1:-1].flatten().numpy()
    best = token_classes.ranking(bridge, inside)[:4]
    values = activations(bridge, tokens, best).astype(float)
    assert table.loc[("top", 4), "auc"] == pytest.approx(auc_of(values, positive, passages), abs=1e-3)
    own = token_classes.log_probabilities(bridge, tokens, {"-ing": inside})["-ing"].to_numpy()
    each = [roc_auc_score(positive[passages == p], own[passages == p]) for p in range(12)]
    assert table.loc[("model", 0), "auc"] == pytest.approx(np.mean(each), abs=1e-6)
    lead = table.loc[("top", 4), "auc"] - table.loc[("random", 4), "auc"]
    assert table.loc[("top", 4), "auc_above_random"] == pytest.approx(lead)
    random = table.loc[("random", 4)]
    assert random["auc_smallest"] < random["auc"] < random["auc_largest"]


def test_a_signal_planted_in_the_best_neurons_is_found_there_and_not_in_random_ones(bridges, text, monkeypatch):
    bridge, (tokens, documents) = bridges["gpt2"], text
    inside = token_classes.members(vocabulary.token_texts(bridge))["-ing"]
    positive = inside[readout.labels(tokens)].flatten().numpy()
    speaking = token_classes.ranking(bridge, inside)[:8]
    speaking = set(zip(speaking["layer"], speaking["neuron"], strict=True))

    def planted(bridge, tokens, chosen, batch_size):
        noise = np.random.default_rng(0).standard_normal((len(positive), len(chosen)))
        speaks = [pair in speaking for pair in zip(chosen["layer"], chosen["neuron"], strict=True)]
        return (noise + np.outer(positive, speaks)).astype(np.float32)

    monkeypatch.setattr(ensembles, "activations", planted)
    table = sweep(bridge, tokens, documents, kinds=("top", "random")).set_index(["class", "kind", "n_neurons"])
    table = table.loc["-ing"]
    top = table.loc["top", "auc"]
    assert top.loc[[1, 2, 4, 8]].is_monotonic_increasing and top[8] > 0.95
    assert top[1] == pytest.approx((1 + erf(1 / 2)) / 2, abs=0.05)
    assert top[32] > 0.9  # 24 neurons of noise do little harm
    assert table.loc["random", "auc"].max() < 0.75
    assert (table.loc["top", "auc_above_random_low"].loc[[1, 2, 4, 8]] > 0).all()


def test_random_neurons_are_in_the_layers_of_the_best_and_speak_for_no_class(bridges, text):
    bridge, (tokens, _) = bridges["gpt2"], text
    classes = token_classes.members(vocabulary.token_texts(bridge))
    profiles = neuron_sets.profiles(bridge, tokens)
    chosen = ensembles.choose(bridge, classes, profiles, seed=0, kinds=("top", "random"))
    of_kind = {kind: [each for each in chosen if each.kind == kind] for kind in ("top", "random")}
    best = {each.token_class: each.neurons for each in of_kind["top"]}
    taken = {pair for neurons in best.values() for pair in pairs(neurons)}
    assert len(best) == len(classes) and len(of_kind["random"]) == 3 * len(classes)
    for each in of_kind["random"]:
        assert each.neurons["layer"].tolist() == best[each.token_class]["layer"].tolist()
        assert len(set(pairs(each.neurons))) == 32 and not taken & set(pairs(each.neurons))


def pairs(neurons: pd.DataFrame) -> list[tuple[int, int]]:
    return list(zip(neurons["layer"], neurons["neuron"], strict=True))


def test_a_model_that_knows_is_always_right(bridges, text, monkeypatch):
    """It gives the class more than its share of the text where it follows, and less where it does not."""
    inside = token_classes.members(vocabulary.token_texts(bridges["gpt2"]))["-ing"]
    positive = inside[readout.labels(text[0])].flatten().numpy()
    known = pd.DataFrame({"-ing": np.log(positive.mean()) + np.where(positive, 0.01, -0.01)})
    monkeypatch.setattr(token_classes, "log_probabilities", lambda *_: known)
    table = sweep(bridges["gpt2"], *text, kinds=("model",))
    (row,) = table[table["kind"] == "model"].to_dict("records")
    assert row["auc"] == row["auc_low"] == row["balanced_accuracy"] == 1


def test_a_class_found_in_four_passages_alone_is_skipped(bridges, text):
    tokens, documents = text
    five, four = (sweep(bridges["gpt2"], tokens, documents % n, kinds=("model",)) for n in (5, 4))
    assert five.loc[five["class"] == "-ing", "kind"].tolist() == ["model"]
    assert four.loc[four["class"] == "-ing", "kind"].tolist() == ["skipped"]


def test_short_texts_of_one_passage_are_skipped_without_a_verdict(bridges):
    tokens = torch.arange(8)[None]
    table = sweep(bridges["qwen2"], tokens, torch.zeros_like(tokens))
    assert (table["kind"] == "skipped").all() and len(table) == len(token_classes.CLASSES)
    assert table["auc"].isna().all()


def test_the_fullest_layer_is_one_of_the_model(bridges, text, monkeypatch):
    monkeypatch.setattr(ensembles, "activations", lambda bridge, tokens, chosen, size: recorded(chosen))
    layers = []

    def recorded(chosen):
        layers.extend(chosen["layer"].value_counts().loc[lambda n: n == 256].index)
        return np.random.default_rng(0).standard_normal((48 * 14, len(chosen))).astype(np.float32)

    ranked = pd.DataFrame({"layer": np.repeat(range(LAYERS), 256), "neuron": np.tile(range(256), LAYERS)})
    best = pd.concat([ranked[256:272], ranked[768:784]])  # 16 of layer 1, 16 of layer 3
    order = pd.concat([best, ranked.drop(best.index)], ignore_index=True)
    monkeypatch.setattr(token_classes, "ranking", lambda bridge, inside: order)
    sweep(bridges["gpt2"], *text, kinds=("top", "layer"))
    assert layers == [3]
