"""The five tables against `reference`, which computes every column slowly on the raw Hugging Face model."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from checkpoints import KINDS, save
from pandas.testing import assert_frame_equal
from transformers import AutoModelForCausalLM

import reference
from helpers import attention, lens, lesion, models, neurons, norms, stats

SWEEPS = {
    "layer_lesion": lesion.sweep,
    "local_attention": attention.sweep,
    "logit_lens": lens.sweep,
    "mlp_norm": norms.sweep,
}
COUNTED = {"top1_agreement", "accuracy", "accuracy_intact", "right_to_wrong", "wrong_to_right"}
KEYS = ["sequence", "layer", "intervention"]
N_SEQUENCES, CONTEXT = 4, 12
ONE_LAYER = "one_layer"


@pytest.fixture(scope="module")
def compared(checkpoints, tmp_path_factory):
    """By case: the loaded model, the raw one, and tokens; `one_layer` with the shortest context, 8."""
    made = {}

    def case(name):
        if name not in made:
            folder = checkpoints[KINDS[0] if name == ONE_LAYER else name]
            if name == ONE_LAYER:
                folder = saved(folder, tmp_path_factory.mktemp(name), num_hidden_layers=1)
            raw = reference.RawModel(folder)
            tokens = reference.familiar_tokens(raw, N_SEQUENCES, 8 if name == ONE_LAYER else CONTEXT)
            made[name] = SimpleNamespace(bridge=models.load(str(folder)), raw=raw, tokens=tokens)
        return made[name]

    return case


def saved(folder, into, edit=lambda model: None, **config):
    """A copy of a checkpoint after `edit`."""
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder, **config)
        edit(model)
    return save(model, into)


@pytest.mark.parametrize("slug", SWEEPS)
@pytest.mark.parametrize("case", [*KINDS, ONE_LAYER])
def test_every_column_equals_the_slow_computation(case, slug, compared):
    model = compared(case)
    table = by_keys(SWEEPS[slug](model.bridge, model.tokens))
    expected = by_keys(getattr(reference, slug)(model.raw, model.tokens))
    assert set(table) == set(expected)
    for column in expected:
        tolerance = 1e-9 if column in COUNTED else 1e-5
        assert_frame_equal(table[[column]], expected[[column]], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", [*KINDS, ONE_LAYER])
def test_neuron_counts_and_moments_equal_the_slow_computation(case, compared):
    model = compared(case)
    moments, expected = neurons.moments(model.bridge), reference.neurons(model.raw)
    assert_frame_equal(moments, expected, rtol=1e-5, atol=1e-5)
    for threshold in (3.0, neurons.KURTOSIS_THRESHOLD):
        counts = reference.prediction_suppression_neurons(expected, threshold)
        assert_frame_equal(neurons.count(moments, threshold), counts, check_dtype=False)


@pytest.mark.parametrize("slug", SWEEPS)
def test_the_summary_is_the_mean_over_sequences(slug, compared):
    model = compared("gpt2")
    table = stats.summarise(SWEEPS[slug](model.bridge, model.tokens))
    expected = getattr(reference, slug)(model.raw, model.tokens)
    for column in expected.columns.difference(KEYS):
        for layer, intervention in interventions(expected):
            each = of(expected, layer, intervention)[column]
            summary = of(table, layer, intervention)[column].item()
            assert summary == pytest.approx(sum(each) / N_SEQUENCES, rel=1e-5, abs=1e-5, nan_ok=True)


def test_the_accuracy_ratio_is_correct_lesioned_over_correct_intact(compared):
    model = compared("llama")
    table = stats.summarise(lesion.sweep(model.bridge, model.tokens), ratios=lesion.RATIOS)
    expected = reference.layer_lesion(model.raw, model.tokens)
    assert expected["accuracy_intact"].gt(0).all()
    for layer, intervention in interventions(expected):
        some = of(expected, layer, intervention)
        ratio = of(table, layer, intervention)["accuracy_ratio"].item()
        assert ratio == pytest.approx(some["accuracy"].sum() / some["accuracy_intact"].sum())


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_planted_neurons_are_counted_in_their_layer(kind, checkpoints, tmp_path):
    """A token alone in a plane of its own, one neuron that writes its vector, one that writes minus that."""
    token, promoting, suppressing = 123, 1, 2

    def plant(model):
        trunk, layers, _, norm, output_weights = reference.ANATOMY[model.config.model_type]
        trunk = getattr(model, trunk)
        tokens, scale = model.get_output_embeddings().weight, getattr(trunk, norm).weight
        direction = torch.zeros(tokens.shape[1])
        direction[:2] = torch.tensor([1.0, -1.0])
        tokens[:, :2] = 0
        tokens[token] = direction
        scale[:2] = 1
        output_weights(getattr(trunk, layers)[promoting].mlp)[7] = 3 * direction
        output_weights(getattr(trunk, layers)[suppressing].mlp)[9] = -direction

    bridge = models.load(str(saved(checkpoints[kind], tmp_path, plant)))
    moments = neurons.moments(bridge)
    table = neurons.count(moments)
    assert table["n_prediction"].tolist() == [int(layer == promoting) for layer in table["layer"]]
    assert table["n_suppression"].tolist() == [int(layer == suppressing) for layer in table["layer"]]
    special = moments[moments["kurtosis"] > neurons.KURTOSIS_THRESHOLD]
    assert special[["layer", "neuron"]].values.tolist() == [[promoting, 7], [suppressing, 9]]


def by_keys(table: pd.DataFrame) -> pd.DataFrame:
    keys = [key for key in KEYS if key in table]
    return table.set_index(keys).sort_index().sort_index(axis=1)


def interventions(table: pd.DataFrame) -> list:
    return sorted(zip(table["layer"], table.get("intervention", [None] * len(table)), strict=True), key=str)


def of(table: pd.DataFrame, layer: int, intervention: str | None) -> pd.DataFrame:
    chosen = table["layer"] == layer
    return table[chosen & (table["intervention"] == intervention)] if intervention else table[chosen]
