"""The paper's -ing ensembles: which neurons are asked, what they answer, and what is said of it."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import neurons
from helpers.beyond import best_neurons, ensembles, ing_ensembles, ing_statements, neuron_sets, probes, token_classes
from helpers.beyond.verb_endings import CONTEXT, Examples
from helpers.judging import claims
from helpers.stats import Resampled
from helpers.text import vocabulary


def profiles(n_peaked: int, seed: int = 0) -> pd.DataFrame:
    """600 neurons in 3 layers; of each sign so many are above the paper's kurtosis."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame({"layer": np.repeat(range(3), 200), "neuron": np.tile(range(200), 3)})
    table["skew"] = np.tile([1.0, -1.0], 300)
    table["kurtosis"] = generator.uniform(3, 9.9, 600)
    table.loc[: 2 * n_peaked - 1, "kurtosis"] = generator.uniform(10.1, 30, 2 * n_peaked)
    for column in ("class_logit", *neuron_sets.MATCHED):
        table[column] = generator.normal(size=600)
    return table


def test_of_the_neurons_above_the_papers_kurtosis_those_that_speak_most_for_or_against_are_taken():
    table = profiles(n_peaked=50)
    chosen = ensembles.peaked(table, seed=0)
    for kind, sign in (("prediction", 1), ("suppression", -1)):
        some = table[(table["kurtosis"] > 10) & (sign * table["skew"] > 0)]
        expected = sorted(some["class_logit"], key=abs, reverse=True)[:32]
        assert chosen[(chosen["kind"] == kind) & (chosen["set"] == 0)]["class_logit"].tolist() == expected
        assert min(expected) < 0 < max(expected)


def test_where_fewer_are_above_it_the_most_peaked_stand_in():
    table = profiles(n_peaked=10)
    chosen = ensembles.peaked(table, seed=0, with_random=False)
    assert set(chosen["set"]) == {0}
    for kind, sign in (("prediction", 1), ("suppression", -1)):
        some = table[sign * table["skew"] > 0].sort_values("kurtosis", ascending=False)[:32]
        found = chosen[chosen["kind"] == kind]
        assert sorted(found["kurtosis"]) == sorted(some["kurtosis"])
        assert found["class_logit"].abs().is_monotonic_decreasing
        assert (found["kurtosis"] > 10).sum() == 10


def test_random_neurons_are_matched_and_neither_chosen_nor_peaked():
    table = profiles(n_peaked=50)
    chosen = ensembles.peaked(table, seed=3)
    assert chosen.groupby("kind")["set"].value_counts().eq(32).all() and chosen["set"].nunique() == 4
    distances = []
    for _, of_kind in chosen.groupby("kind"):
        own = of_kind[of_kind["set"] == 0]
        for _, draw in of_kind[of_kind["set"] > 0].groupby("set"):
            assert draw["layer"].tolist() == own["layer"].tolist() and (draw["kurtosis"] <= 10).all()
            distances.append(np.abs(draw[neuron_sets.MATCHED].to_numpy() - own[neuron_sets.MATCHED].to_numpy()).mean())
    assert np.mean(distances) < 0.85  # independent draws: 1.13


@pytest.fixture(scope="module")
def asked(bridges) -> Examples:
    """200 random contexts in 20 documents, of which every other ends in a token with a capital."""
    generator = torch.Generator().manual_seed(0)
    inside = token_classes.members(vocabulary.token_texts(bridges["gpt2"]))["capital"]
    tokens = torch.randint(5, 900, (200, CONTEXT + 2), generator=generator)
    positive = torch.arange(200) % 2 == 0
    ends = [inside[5:900].nonzero().flatten() + 5, (~inside[5:900]).nonzero().flatten() + 5]
    picks = [pool[torch.randint(len(pool), (200,), generator=generator)] for pool in ends]
    tokens[:, 0], tokens[:, -1] = 0, torch.where(positive, *picks)
    return Examples("capital", tokens, positive.numpy(), np.repeat(np.arange(20), 10))


def test_the_table_has_a_row_for_each_kind_how_and_number(bridges, asked):
    measured = ing_ensembles.sweep(bridges["llama"], asked)
    table = ing_ensembles.table(measured)
    assert set(table["class"]) == {"capital"} and (table["n_examples"] == 200).all()
    for name in ("prediction", "suppression"):
        rows = table[table["kind"] == name].groupby("how")["n_neurons"].apply(list)
        assert rows["best"] == rows["vote"] == rows["random"] == list(ensembles.SIZES)
        assert rows["single"] == [1] * 32
    assert table[table["kind"] == "model"]["how"].tolist() == ["probability", "guess"]
    assert (table["accuracy_low"] <= table["accuracy"]).all() and (table["accuracy"] <= table["accuracy_high"]).all()
    assert table["accuracy"].between(0.25, 0.75).all()  # random labels, random weights
    assert table.loc[table["kind"] != "model", "n_above_threshold"].notna().all()
    random = table[table["how"] == "random"]
    assert (random["accuracy_smallest"] <= random["accuracy"]).all()


def test_the_numbers_are_those_of_a_probe_on_the_token_before_the_last(bridges, asked):
    """The activations are read again from the cache of a full run, the probe is that of ``probes``."""
    bridge = bridges["gpt2"]
    measured = ing_ensembles.sweep(bridge, asked, with_random=False)
    table = ing_ensembles.table(measured)
    chosen = measured.chosen[measured.chosen["kind"] == "suppression"]
    _, cache = bridge.run_with_cache(asked.tokens)
    pairs = zip(chosen["layer"], chosen["neuron"], strict=True)
    values = torch.stack([cache[f"blocks.{layer}.mlp.hook_post"][:, CONTEXT, neuron] for layer, neuron in pairs], 1)
    answers = probes.predictions(values.double().numpy(), asked.positive, asked.documents, strength=1 / 32)
    all_32 = table[(table["kind"] == "suppression") & (table["how"] == "best") & (table["n_neurons"] == 32)]
    assert all_32["accuracy"].item() == pytest.approx(answers["correct"].mean(), abs=0.006)  # of a tie or so
    single = table[(table["kind"] == "suppression") & (table["how"] == "single")]
    third = probes.predictions(values[:, 2:3].double().numpy(), asked.positive, asked.documents)
    assert single["accuracy"].iloc[2] == pytest.approx(third["correct"].mean(), abs=0.006)
    draw = np.random.default_rng(0).integers(20, size=(1000, 20))[7]
    correct = best_neurons.each_alone(values.double().numpy(), asked.positive, asked.documents)[:, 2]
    expected = correct.reshape(20, 10)[draw].mean()  # as many of both classes in every document
    assert measured.accuracies["suppression", "single", 1].draws[7, 2] == pytest.approx(expected)


def test_an_answer_planted_in_the_prediction_neurons_is_found_and_judged(bridges, asked, monkeypatch):
    """Each of 32 prediction neurons knows a little; one suppression neuron more than each, fewer than all together."""
    bridge = bridges["gpt2"]
    monkeypatch.setattr(neurons, "KURTOSIS_THRESHOLD", 0)
    monkeypatch.setattr(ensembles, "KURTOSIS_THRESHOLD", 0)
    monkeypatch.setattr(neuron_sets, "profiles", lambda bridge, *_: profiled(bridge))

    def profiled(bridge):
        table = neurons.moments(bridge)
        return table.assign(**dict.fromkeys(neuron_sets.MATCHED, 1.0))

    def planted(bridge, tokens, chosen, batch_size):
        values = np.random.default_rng(0).standard_normal((len(tokens), CONTEXT, len(chosen)))
        knows = np.where((chosen["kind"] == "prediction") & (chosen["set"] == 0), 0.7, 0)
        knows[(chosen["kind"] == "suppression").to_numpy().argmax()] = 1.6
        values[:, -1] += np.outer(asked.positive, knows)
        return values.reshape(-1, len(chosen)).astype(np.float32)

    monkeypatch.setattr(ensembles, "activations", planted)
    judged = ing_statements.judge(ing_ensembles.sweep(bridge, asked)).set_index("statement")["verdict"]
    assert judged["the best suppression neuron beats the best prediction neuron"] == "holds"
    assert judged["32 prediction neurons beat the best single one"] == "holds"
    assert judged["32 prediction neurons beat the model"] == "holds"


def measured(accuracy: dict[str, float], n_above: int = 32, spread: float = 0.005) -> ing_ensembles.Measured:
    """Accuracies as given, of the best prediction and suppression neuron, of 32, of random ones and of the model."""
    generator = np.random.default_rng(0)
    keys = {"prediction": ("prediction", "best", 1), "suppression": ("suppression", "best", 1)}
    keys |= {"many": ("prediction", "best", 32), "random": ("prediction", "random", 32)}
    keys |= {"model": ("model", "probability", 0)}
    values = {
        asked: Resampled(np.array([accuracy[name]]), accuracy[name] + spread * generator.standard_normal((1000, 1)))
        for name, asked in keys.items()
    }
    kurtosis = np.where(np.arange(32) < n_above, 11.0, 5.0)
    chosen = pd.DataFrame({"kind": np.repeat(["prediction", "suppression"], 32), "set": 0})
    return ing_ensembles.Measured(no_examples(), chosen.assign(kurtosis=np.tile(kurtosis, 2)), values)


def no_examples() -> Examples:
    empty = np.zeros(0, dtype=int)
    return Examples("-ing", torch.zeros(0, CONTEXT + 2, dtype=torch.long), empty.astype(bool), empty)


PAPER = {"prediction": 0.7, "suppression": 0.8, "many": 0.9, "random": 0.6, "model": 0.82}
NOT = {"prediction": 0.7, "suppression": 0.6, "many": 0.7, "random": 0.7, "model": 0.95}


@pytest.mark.parametrize(("accuracy", "verdict"), [(PAPER, claims.HOLDS), (NOT, claims.DOES_NOT_HOLD)])
def test_each_statement_is_judged_true_where_it_is_and_false_where_it_is_not(accuracy, verdict):
    judged = ing_statements.judge(measured(accuracy))
    assert judged["verdict"].tolist() == [verdict] * 5
    lead = accuracy["many"] - max(accuracy["prediction"], accuracy["suppression"])
    assert judged["statistic"].tolist()[2] == pytest.approx(lead)


def test_a_lead_that_is_too_small_or_too_unsure_is_no_verdict_for_it():
    tiny = measured(PAPER | {"suppression": 0.705}, spread=0.0001)
    assert ing_statements.judge(tiny)["verdict"][0] == claims.DOES_NOT_HOLD
    unsure = measured(PAPER, spread=0.1)
    assert ing_statements.judge(unsure)["verdict"][0] == claims.UNDECIDED


def test_neurons_below_the_papers_kurtosis_cannot_speak_for_it():
    judged = ing_statements.judge(measured(PAPER, n_above=19))
    assert set(judged["verdict"]) == {claims.UNDECIDED}
    assert judged["reason"][0] == "only 19 of the prediction neurons are above the paper's kurtosis"
    assert judged["statistic"][0] == pytest.approx(0.1)  # it is shown all the same


def test_a_text_with_too_few_examples_is_skipped_and_nothing_is_said(bridges):
    found = ing_ensembles.sweep(bridges["gpt2"], no_examples())
    (row,) = ing_ensembles.table(found).to_dict("records")
    assert row["kind"] == "skipped" and row["n_examples"] == 0 and np.isnan(row["accuracy"])
    judged = ing_statements.judge(found)
    assert set(judged["verdict"]) == {claims.UNDECIDED} and judged["reason"].str.startswith("too few examples").all()
