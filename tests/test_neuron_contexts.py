"""A neuron's strongest places and what is predicted there without it, against a plain model altered by hand."""

import plain_mlps
import pytest
import torch
from checkpoints import KINDS, make_checkpoint, save, some_tokens
from transformers import AutoModelForCausalLM

from helpers import models
from helpers.beyond import neuron_contexts
from helpers.errors import InputError
from helpers.text.vocabulary import visible_texts

TOKENS = some_tokens(5, 12)
LAYER, NEURON, PLACES = 2, 11, 4


def plain_run(folder, silent: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """All activations of ``LAYER`` and next-token probabilities, by Hugging Face's model alone."""
    model, last_maps = plain_mlps.load(folder)
    seen = []

    def alter(_module, args):
        values = args[0].clone()
        seen.append(values.clone())
        if silent is not None:
            values[..., silent] = 0
        return (values,)

    last_maps[LAYER].register_forward_pre_hook(alter)
    probabilities = model(TOKENS, use_cache=False).logits.softmax(-1)
    return seen[0], probabilities


@pytest.mark.parametrize("kind", KINDS)
def test_places_and_predictions_are_those_of_a_plain_model(kind, bridges, checkpoints):
    bridge = bridges[kind]
    activations, before = plain_run(checkpoints[kind])
    neuron = activations.amax((0, 1)).argmax().item()  # a lively one, that something may change
    activation, (_, after) = activations[..., neuron], plain_run(checkpoints[kind], silent=neuron)
    all_places = [(activation[row, pos].item(), row, pos) for row in range(5) for pos in range(1, 11)]
    places = neuron_contexts.strongest(bridge, TOKENS, LAYER, neuron, PLACES, batch_size=2)
    found = neuron_contexts.silenced(bridge, TOKENS, places, LAYER, neuron, batch_size=3)
    assert len(found) == PLACES
    for line, (strength, row, pos) in zip(found.to_dict("records"), sorted(all_places, reverse=True), strict=False):
        assert (line["sequence"], line["position"]) == (row, pos)
        assert line["activation"] == pytest.approx(strength, abs=1e-4)
        assert line["follows"] == visible_texts(bridge, [TOKENS[row, pos + 1].item()])[0]
        assert line["context"] == "".join(visible_texts(bridge, TOKENS[row, 1 : pos + 1].tolist()))
        for end, probabilities in (("", before[row, pos]), ("_silenced", after[row, pos])):
            assert line[f"guess{end}"] == visible_texts(bridge, [probabilities.argmax().item()])[0]
            assert line[f"probability{end}"] == pytest.approx(probabilities.max().item(), abs=1e-4)
        token = (before[row, pos] - after[row, pos]).abs().argmax().item()
        assert line["moves"] == visible_texts(bridge, [token])[0]
        assert line["from"] - line["to"] == pytest.approx((before - after)[row, pos, token].item(), abs=1e-4)
        kl = (before[row, pos] * (before[row, pos] / after[row, pos]).log()).sum().item()
        assert line["kl_nats"] == pytest.approx(kl, abs=1e-5)
    assert found["kl_nats"].max() > 1e-4  # it does something


def test_a_neuron_made_to_speak_about_one_token_takes_it_along(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(make_checkpoint("gpt2_untied", tmp_path / "random"))
    mlp, token = model.transformer.h[-1].mlp, 700
    with torch.no_grad():
        mlp.c_fc.bias[NEURON] = 9.0
        mlp.c_proj.weight[NEURON] = model.lm_head.weight[token] * model.transformer.ln_f.weight
        bridge = models.load(str(save(model, tmp_path / "planted")))
    layer = bridge.cfg.n_layers - 1
    places = neuron_contexts.strongest(bridge, TOKENS, layer, NEURON)
    found = neuron_contexts.silenced(bridge, TOKENS, places, layer, NEURON)
    assert set(found["guess"]) == set(found["moves"]) == set(visible_texts(bridge, [token]))
    assert (found["from"] == found["probability"]).all()


def test_silencing_what_is_silent_changes_nothing(bridges):
    bridge, silent = bridges["llama"], lambda activation, hook: activation * 0
    places = neuron_contexts.strongest(bridge, TOKENS, LAYER, NEURON)
    with bridge.hooks(fwd_hooks=[(f"blocks.{LAYER}.mlp.hook_post", silent)]):
        found = neuron_contexts.silenced(bridge, TOKENS, places, LAYER, NEURON)
    assert found["kl_nats"].abs().max() < 1e-6
    assert (found["guess"] == found["guess_silenced"]).all()


def test_only_the_last_tokens_of_a_long_context_are_spelled(bridges):
    bridge, tokens = bridges["gpt2"], some_tokens(1, 40)
    places = neuron_contexts.strongest(bridge, tokens, LAYER, NEURON, n=100)
    assert sorted(places["position"]) == list(range(1, 39))
    found = neuron_contexts.silenced(bridge, tokens, places, LAYER, NEURON).set_index("position")
    assert found["context"][38] == "".join(visible_texts(bridge, tokens[0, 27:39].tolist()))


@pytest.mark.parametrize(("layer", "neuron"), [(4, 0), (-1, 0), (0, 256), (0, -1)])
def test_a_neuron_that_is_not_there_is_named(layer, neuron, bridges):
    with pytest.raises(InputError, match=f"no neuron {neuron} in layer {layer}: .* layers 0 to 3 .* neurons 0 to 255"):
        neuron_contexts.strongest(bridges["gpt2"], TOKENS, layer, neuron)
