"""A massive activation planted at BOS is found where it was planted, and removed as a plain model removes it."""

import pytest
import torch
from checkpoints import KINDS, some_tokens

from helpers import lesion
from helpers.beyond import massive_activation
from reference import RawModel, kl, predicting

DIRECTION = torch.nn.functional.normalize(torch.randn(64, generator=torch.Generator().manual_seed(0)), dim=0)


def planted(layer: int, size: float, direction: torch.Tensor = DIRECTION) -> list:
    """Block ``layer`` writes something large to BOS."""

    def write(residual, hook):
        return torch.cat([residual[..., :1, :] + size * direction, residual[..., 1:, :]], dim=-2)

    return [(f"blocks.{layer}.hook_out", write)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_one_has_none(kind, bridges):
    assert massive_activation.find(bridges[kind], some_tokens()) == []


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_a_planted_one_is_found_at_its_row_in_its_direction(kind, bridges):
    bridge = bridges[kind]
    direction = DIRECTION - DIRECTION.mean() if kind != "llama" else DIRECTION
    with bridge.hooks(fwd_hooks=planted(1, 5000.0, direction)):
        (found,) = massive_activation.find(bridge, some_tokens())
        before = massive_activation.norms(bridge, some_tokens()).set_index("layer")["bos_to_others"]
        with massive_activation.removed(bridge, [found]):
            after = massive_activation.norms(bridge, some_tokens()).set_index("layer")["bos_to_others"]
    assert found.row == 2
    assert abs(found.direction @ direction / direction.norm()) > 0.999
    assert before[[0, 1]].max() < 2 and before[[2, 3]].min() > 100
    assert after[:3].max() < 2


def test_a_smaller_one_is_not_massive_and_one_that_comes_back_is_removed_again(bridges):
    bridge, tokens = bridges["neox_sequential"], some_tokens()
    other = torch.nn.functional.normalize(torch.randn(64, generator=torch.Generator().manual_seed(1)), dim=0)
    with bridge.hooks(fwd_hooks=planted(0, 40.0)):
        assert massive_activation.find(bridge, tokens) == []
    with bridge.hooks(fwd_hooks=[*planted(0, 3000.0), *planted(1, 9000.0, other)]):
        found = massive_activation.find(bridge, tokens)
    assert [each.row for each in found] == [1, 2]


def test_norms_are_those_of_the_cached_stream(bridges):
    bridge, tokens = bridges["qwen2"], some_tokens()
    _, cache = bridge.run_with_cache(tokens)
    found = massive_activation.norms(bridge, tokens, batch_size=2).set_index("layer")
    for row in range(4):
        stream = cache[f"blocks.{row}.hook_in"]
        assert found.loc[row, "bos_norm"] == pytest.approx(stream[0, 0].norm().item(), rel=1e-4)
        others = sorted(stream[sequence, place].norm().item() for sequence in range(3) for place in range(1, 9))
        assert found.loc[row, "other_norm"] == pytest.approx((others[11] + others[12]) / 2, rel=1e-4)
        assert found.loc[row, "top_share"] == pytest.approx(
            (stream[0, 0] ** 2).max().item() / found.loc[row, "bos_norm"] ** 2, rel=1e-3
        )


@pytest.mark.parametrize("kind", ["gpt2", "neox_sequential", "llama"])
def test_removal_is_a_projection_before_each_layer_of_a_raw_model(kind, bridges, checkpoints):
    """Intact predictions and those without a layer, both inside the removal."""
    raw, sequence = RawModel(checkpoints[kind]), some_tokens(n_sequences=1)[0]
    found = [massive_activation.Massive(1, DIRECTION)]

    def project(_module, args, kwargs):
        stream = (args[0] if args else kwargs["hidden_states"]).clone()
        direction = raw.centred(DIRECTION.double())  # streams of LayerNorm models are centred where we load them
        direction = direction if raw.is_layer_norm else DIRECTION.double()
        mean = stream[:, 0].mean(-1, keepdim=True) if raw.is_layer_norm else 0.0
        stream[:, 0] = stream[:, 0] - ((stream[:, 0] - mean) @ DIRECTION.double())[:, None] * direction
        return ((stream, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": stream})

    with massive_activation.removed(bridges[kind], found):
        table = lesion.sweep(bridges[kind], sequence[None]).query("intervention == 'drop'").set_index("layer")
    handles = [layer.register_forward_pre_hook(project, with_kwargs=True) for layer in raw.layers[1:]]
    intact = raw.log_probabilities(sequence)
    for layer in (1, 2):
        with raw.running([each for each in range(4) if each != layer]):
            dropped = raw.log_probabilities(sequence)
        here = [kl(intact[t], dropped[t]) for t in predicting(sequence)]
        assert table.loc[layer, "kl_nats"] == pytest.approx(sum(here) / len(here), rel=5e-3, abs=1e-5)
    for handle in handles:
        handle.remove()


def test_what_removal_costs_is_nothing_where_nothing_is_removed(bridges):
    bridge, tokens = bridges["llama"], some_tokens()
    assert massive_activation.cost(bridge, tokens, []) == {"kl_nats": pytest.approx(0, abs=1e-6), "top1_agreement": 1.0}
    found = [massive_activation.Massive(0, DIRECTION)]
    assert massive_activation.cost(bridge, tokens, found)["kl_nats"] > 0
    assert massive_activation.cost(bridge, tokens, [])["kl_nats"] == pytest.approx(
        0, abs=1e-6
    )  # nothing is left behind


def test_attention_to_bos_is_the_first_column_of_the_pattern(bridges):
    bridge, tokens = bridges["gpt2"], some_tokens()
    _, cache = bridge.run_with_cache(tokens)
    found = massive_activation.attention_to_bos(bridge, tokens, batch_size=2).set_index(["layer", "sequence"])
    for layer in range(4):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        for sequence in range(3):
            cells = [pattern[sequence, head, query, 0].item() for head in range(4) for query in range(1, 9)]
            assert found.loc[(layer, sequence), "attention_to_bos"] == pytest.approx(sum(cells) / len(cells), rel=1e-4)


def test_the_profile_has_both_conditions_only_where_there_is_something_to_remove(bridges):
    bridge, tokens = bridges["neox_sequential"], some_tokens()
    assert not massive_activation.profile(bridge, tokens, [])["removed"].any()
    with bridge.hooks(fwd_hooks=planted(1, 3000.0)):
        found = massive_activation.find(bridge, tokens)
        both = massive_activation.profile(bridge, tokens, found).set_index(["removed", "layer"])
    assert len(both) == 10
    assert both.loc[(False, 2), "bos_to_others"] > 20 > 2 > both.loc[(True, 2), "bos_to_others"]
    assert both["attention_to_bos"].isna().sum() == 2  # the last row enters no block
