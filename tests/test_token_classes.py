"""Classes of tokens, the neurons that speak for them, and the probability that a model gives them."""

import pytest
import torch
from checkpoints import KINDS
from transformers import AutoModelForCausalLM

from helpers import neurons
from helpers.beyond import token_classes
from helpers.engine import readout
from helpers.text import vocabulary

TOKENS = torch.arange(7, 7 + 3 * 12).reshape(3, 12)


def classes_of(text: str) -> set[str]:
    return {name for name, inside in token_classes.members([text]).items() if inside.item()}


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        (" going", {"-ing"}),
        ("ing", {"-ing"}),
        (" ingot", set()),
        (" red", {"-ed"}),
        (" The", {"capital"}),
        ("\n\nThe", {"capital"}),
        ("“I", {"capital"}),
        ("McD", {"capital"}),
        (" iPad", set()),
        (" King", {"capital", "-ing"}),
        ("É", {"capital"}),
        (".", {"sentence end"}),
        ('?"', {"sentence end"}),
        (" !", {"sentence end"}),
        ("...", set()),
        ("?!", set()),
        (".--", set()),
        ("3.", set()),
        ("", set()),
        (" ", set()),
    ],
)
def test_a_token_is_in_its_classes_by_its_text(text, classes):
    assert classes_of(text) == classes


@pytest.mark.parametrize("kind", ["gpt2", "llama", "neox_parallel"])
def test_the_score_of_a_neuron_is_its_mean_cosine_with_the_class_less_that_with_the_rest(kind, bridges):
    bridge = bridges[kind]
    inside = torch.zeros(bridge.cfg.d_vocab, dtype=torch.bool)
    inside[[3, 50, 900]] = True
    found = token_classes.ranking(bridge, inside)
    assert len(found) == bridge.cfg.n_layers * bridge.cfg.d_mlp
    assert found["score"].is_monotonic_decreasing
    for place in (0, 17, len(found) - 1):
        row = found.iloc[place]
        written = neurons.output_weights(bridge, int(row["layer"]))[int(row["neuron"])]
        cosines = torch.nn.functional.cosine_similarity(written[:, None], bridge.W_U, dim=0)
        assert row["score"] == pytest.approx((cosines[inside].mean() - cosines[~inside].mean()).item(), abs=1e-6)


def test_a_neuron_that_writes_the_direction_of_a_class_comes_first_and_its_opposite_last(bridges, monkeypatch):
    """Two tokens share a direction of their own; neuron 5 of layer 2 writes it, neuron 9 of layer 1 its opposite."""
    bridge = bridges["gpt2"]
    inside = torch.zeros(bridge.cfg.d_vocab, dtype=torch.bool)
    inside[[11, 12]] = True
    direction = bridge.W_U[:, inside].mean(1)
    planted = {(2, 5): 0.01 * direction, (1, 9): -100 * direction}

    def output_weights(bridge, layer, original=neurons.output_weights):
        weights = original(bridge, layer).clone()
        for (where, neuron), vector in planted.items():
            if where == layer:
                weights[neuron] = vector
        return weights

    monkeypatch.setattr(neurons, "output_weights", output_weights)
    found = token_classes.ranking(bridge, inside)
    assert found.iloc[0][["layer", "neuron"]].tolist() == [2, 5]
    assert found.iloc[-1][["layer", "neuron"]].tolist() == [1, 9]


@pytest.mark.parametrize("kind", KINDS)
def test_the_probability_of_a_class_is_the_sum_over_its_tokens(kind, bridges):
    bridge = bridges[kind]
    classes = token_classes.members(vocabulary.token_texts(bridge))
    found = token_classes.log_probabilities(bridge, TOKENS, classes, batch_size=2)
    probabilities = bridge(TOKENS, use_cache=False)[:, 1:-1].softmax(-1).flatten(0, 1)
    assert len(found) == readout.labels(TOKENS).numel()
    for name, inside in classes.items():
        assert found[name].tolist() == pytest.approx(probabilities[:, inside].sum(-1).log().tolist(), abs=1e-3)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "neox_parallel"])
def test_the_class_logit_of_a_neuron_is_what_its_activation_adds_to_the_class_above_the_rest(kind, bridges):
    bridge = bridges[kind]
    inside = torch.zeros(bridge.cfg.d_vocab, dtype=torch.bool)
    inside[[3, 50, 900]] = True
    found = token_classes.class_logits(bridge, inside)
    assert len(found) == bridge.cfg.n_layers * bridge.cfg.d_mlp
    for layer, neuron in ((0, 0), (1, 5), (3, bridge.cfg.d_mlp - 1)):
        logits = neurons.output_weights(bridge, layer)[neuron] @ bridge.W_U
        expected = (logits[inside].mean() - logits[~inside].mean()).item()
        assert found[layer * bridge.cfg.d_mlp + neuron].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_models_own_answer_is_the_plain_models_at_the_last_but_one_token(kind, bridges, checkpoints):
    inside = torch.arange(bridges[kind].cfg.d_vocab) % 3 == 0
    found = token_classes.answers_at_end(bridges[kind], TOKENS, inside, batch_size=2)
    logits = AutoModelForCausalLM.from_pretrained(checkpoints[kind])(TOKENS).logits[:, -2]
    probability = logits.softmax(-1)[:, inside].sum(-1)
    expected = (probability / (1 - probability)).log()
    assert found["log_odds"].tolist() == pytest.approx(expected.tolist(), abs=1e-3)
    assert found["guess"].tolist() == inside[logits.argmax(-1)].tolist()
