"""Cuts made side by side are those that a plain model makes one at a time."""

import pandas as pd
import pytest
import torch
from checkpoints import KINDS, VOCABULARY
from transformers import AutoModelForCausalLM

from helpers import blocks, metrics
from helpers.beyond import attention_cuts, detokenization
from helpers.beyond.copied_places import CopiedPlaces
from helpers.blocks import BlockInputs
from helpers.engine import readout
from helpers.errors import InputError

TOKENS = torch.randint(1, VOCABULARY, (16,), generator=torch.Generator().manual_seed(3))
PLACES, REACH = torch.tensor([3, 9, 14, 9]), torch.tensor([1, 3, 2, 1])


def changes(bridge, tokens=TOKENS, places=PLACES, reach=REACH):
    inputs = blocks.record_inputs(bridge, tokens[None])
    return attention_cuts.loss_changes(bridge, tokens, places, reach, inputs, readout.Unembedding.of(bridge))


def plain_loss(model, layers, cut, place, reach):
    """A Hugging Face model's loss after ``place`` when its ``cut`` layers get a mask that hides what is before."""

    def hide(_module, args, kwargs):
        def cut_off(mask):
            mask = mask.clone()
            mask[..., place, place - reach : place] = torch.finfo(mask.dtype).min
            return mask

        is_mask = [isinstance(value, torch.Tensor) and value.dim() == 4 for value in args]
        args = tuple(cut_off(value) if found else value for value, found in zip(args, is_mask, strict=True))
        if not any(is_mask):
            kwargs = kwargs | {"attention_mask": cut_off(kwargs["attention_mask"])}
        return args, kwargs

    handles = [layers[layer].register_forward_pre_hook(hide, with_kwargs=True) for layer in cut]
    logits = model(TOKENS[None], use_cache=False).logits[0, place]
    for handle in handles:
        handle.remove()
    return metrics.next_token_loss(logits, TOKENS[place + 1]).item()


@pytest.mark.parametrize("kind", KINDS)
def test_all_cuts_at_once_are_those_of_a_plain_model_one_at_a_time(kind, bridges, checkpoints):
    found = changes(bridges[kind])
    model = AutoModelForCausalLM.from_pretrained(checkpoints[kind], attn_implementation="eager")
    layers = next(module for module in model.modules() if isinstance(module, torch.nn.ModuleList))
    assert found.shape == (4, 3, 4)
    assert found.abs().max() > 0.1
    for number, (place, reach) in enumerate(zip(PLACES.tolist(), REACH.tolist(), strict=True)):
        intact = plain_loss(model, layers, [], place, reach)
        for layer in (0, 2, 3):
            for scope, cut in enumerate(([layer], range(layer + 1), range(layer, 4))):
                expected = plain_loss(model, layers, cut, place, reach) - intact
                assert found[layer, scope, number].item() == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("kind", ["gpt2", "phi", "llama"])
def test_hooks_make_the_same_cut(kind, bridges):
    bridge = bridges[kind]
    found = changes(bridge)
    for layers, index in (([1], (1, 0)), ([0, 1, 2], (2, 1)), ([1, 2, 3], (1, 2))):
        hooks = attention_cuts.cut_hooks(layers, 9, 3)
        logits = [bridge.run_with_hooks(TOKENS[None], fwd_hooks=run, use_cache=False)[0, 9] for run in ([], hooks)]
        intact, cut = (metrics.next_token_loss(row, TOKENS[10]).item() for row in logits)
        assert found[index][1].item() == pytest.approx(cut - intact, abs=2e-4)


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "qwen2"])
def test_cutting_nothing_changes_nothing_and_the_text_stays_intact(kind, bridges):
    bridge = bridges[kind]
    assert changes(bridge, reach=0 * REACH).abs().max() < 2e-4
    inputs = blocks.record_inputs(bridge, TOKENS[None])
    intact, copies = attention_cuts.cut_streams(bridge, TOKENS, PLACES, REACH, inputs)
    expected = blocks.run_blocks(bridge, TOKENS[None], range(4), inputs)[0]
    torch.testing.assert_close(intact, expected, atol=1e-4, rtol=1e-4)
    assert copies.shape == (12, 4, bridge.cfg.d_model)


def test_cutting_every_layer_hides_what_was_cut(bridges):
    """Cut off from everything but BOS in all layers, a place predicts the same whatever stood there."""
    bridge = bridges["llama"]
    other = TOKENS.clone()
    other[1:9] = TOKENS[1:9].flip(0)
    inputs = blocks.record_inputs(bridge, TOKENS[None])
    places, reach = torch.tensor([9]), torch.tensor([8])
    ends = [attention_cuts.cut_streams(bridge, tokens, places, reach, inputs)[1] for tokens in (TOKENS, other)]
    differences = (ends[0] - ends[1]).abs().amax((-2, -1)).unflatten(0, (4, 3))
    assert differences[3, 1] < 1e-3 and differences[0, 2] < 1e-3  # up to the last layer, from the first on
    differences[3, 1] = differences[0, 2] = 1
    assert (differences > 0.1).all()  # any other cut leaves a layer that reads them


def reads_only_in(bridge, layer):
    """Hooks that let every other layer look at BOS alone, so that joining begins and ends in one layer."""

    def look_away(pattern, hook):
        elsewhere = torch.zeros_like(pattern)
        elsewhere[..., 0] = 1
        return elsewhere

    others = (other for other in range(bridge.cfg.n_layers) if other != layer)
    return [(f"blocks.{other}.attn.hook_pattern", look_away) for other in others]


@pytest.mark.parametrize("layer", [0, 1, 3])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_joining_planted_in_one_layer_begins_and_is_finished_there(kind, layer, bridges):
    bridge = bridges[kind]
    with bridge.hooks(fwd_hooks=reads_only_in(bridge, layer)):
        only, up_to, from_on = changes(bridge).abs().amax(-1).unbind(1)
    whole = only[layer]
    assert whole > 0.01
    harmless = torch.zeros(4)
    expected = {
        "only": harmless.index_fill(0, torch.tensor([layer]), whole),
        "up_to": torch.where(torch.arange(4) >= layer, whole, harmless),
        "from_on": torch.where(torch.arange(4) <= layer, whole, harmless),
    }
    for found, name in ((only, "only"), (up_to, "up_to"), (from_on, "from_on")):
        torch.testing.assert_close(found, expected[name], atol=3e-4, rtol=1e-3)


def test_many_places_are_cut_in_several_calls(bridges, monkeypatch):
    bridge = bridges["neox_sequential"]
    at_once = changes(bridge)
    monkeypatch.setattr(attention_cuts, "COPIES_PER_CALL", 3 * 3 * 4)
    torch.testing.assert_close(changes(bridge), at_once, atol=1e-4, rtol=1e-4)


PAIRS = pd.DataFrame([(0, 9, 3, 2), (0, 14, 9, 1), (2, 5, 7, 1)], columns=detokenization.PAIR_COLUMNS)


def test_the_sweep_means_words_minus_matches_per_sequence(bridges):
    bridge = bridges["neox_sequential"]
    tokens = torch.stack([TOKENS, TOKENS.flip(0), TOKENS.roll(5)])
    rows = attention_cuts.sweep(bridge, tokens, PAIRS, batch_size=2).set_index(["sequence", "layer"])
    word, match = (changes(bridge, TOKENS, torch.tensor(at), torch.tensor([2, 1])).mean(-1) for at in ([9, 14], [3, 9]))
    for layer in range(4):
        row = rows.loc[(0, layer)]
        for scope, suffix in enumerate(("", "_up_to", "_from")):
            assert row[f"loss_change_word{suffix}"] == pytest.approx(word[layer, scope].item(), abs=1e-4)
            assert row[f"loss_change_control{suffix}"] == pytest.approx(match[layer, scope].item(), abs=1e-4)
            difference = (word - match)[layer, scope].item()
            assert row[f"loss_change_difference{suffix}"] == pytest.approx(difference, abs=1e-4)
    assert rows.loc[1].isna().all(axis=None) and rows.loc[2].notna().all(axis=None)
    assert rows.loc[0, "loss_change_word"].iloc[0] == pytest.approx(
        rows.loc[0, "loss_change_word_up_to"].iloc[0], abs=1e-4
    )


def test_a_text_without_words_gives_empty_cells(bridges):
    rows = attention_cuts.sweep(bridges["gpt2"], TOKENS[None, :8], PAIRS[:0])
    table = detokenization.summarise(rows)
    assert list(table["layer"]) == [0, 1, 2, 3]
    assert table.filter(like="loss_change").isna().all(axis=None)


def test_a_boolean_mask_is_made_longer_as_well():
    copied = CopiedPlaces(4, torch.tensor([2]), torch.tensor([1]), n_copies=3, n_cut=2)
    text = torch.ones(4, 4, dtype=torch.bool).tril()[None, None]
    found = copied.lengthen(BlockInputs((text,), {"position_ids": torch.arange(4)[None], "other": None}))
    assert found.kwargs["position_ids"].tolist() == [[0, 1, 2, 3, 2, 2, 2]]
    assert found.kwargs["other"] is None
    expected = [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0],  # an earlier copy, from which nothing is cut
        [1, 0, 0, 0, 0, 1, 0],
        [1, 0, 0, 0, 0, 0, 1],
    ]
    assert found.args[0][0, 0].int().tolist() == expected


def test_attention_that_takes_no_mask_is_refused(bridges, monkeypatch):
    record = blocks.record_inputs

    def without_mask(bridge, tokens):
        return [BlockInputs((), extra.kwargs | {"attention_mask": None}) for extra in record(bridge, tokens)]

    monkeypatch.setattr(blocks, "record_inputs", without_mask)
    with pytest.raises(InputError, match="no attention mask"):
        attention_cuts.sweep(bridges["llama"], TOKENS[None], PAIRS[:2])


def test_attention_in_which_copies_are_not_like_their_originals_is_refused(bridges, monkeypatch):
    longer = CopiedPlaces.mask

    def without_bos(self, text):
        mask = longer(self, text)
        mask[..., self.n_pos :, 0] = torch.finfo(mask.dtype).min
        return mask

    monkeypatch.setattr(CopiedPlaces, "mask", without_bos)
    with pytest.raises(InputError, match="do not predict what their originals do") as refused:
        attention_cuts.sweep(bridges["neox_sequential"], TOKENS[None], PAIRS[:2])
    assert "\n" not in str(refused.value)
