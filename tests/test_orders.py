"""All orders of the blocks in one walk, each against the same blocks run on their own."""

import weakref

import pytest
import torch
from checkpoints import some_tokens

from helpers import blocks
from helpers.beyond import orders
from helpers.errors import InputError


def named(n_layers: int, *interventions: str) -> dict:
    return {(lesion.intervention, lesion.layer): lesion.order for lesion in orders.lesions(n_layers, interventions)}


def test_every_drop_swap_and_repeat_of_three_layers():
    assert named(3, "drop", "swap", "repeat_1", "repeat_2", "repeat_3") == {
        ("intact", None): (0, 1, 2),
        ("drop", 0): (1, 2),
        ("drop", 1): (0, 2),
        ("drop", 2): (0, 1),
        ("swap", 0): (1, 0, 2),
        ("swap", 1): (0, 2, 1),
        ("repeat_1", 0): (0, 0, 1, 2),
        ("repeat_1", 1): (0, 1, 1, 2),
        ("repeat_1", 2): (0, 1, 2, 2),
        ("repeat_2", 0): (0, 0, 1, 1, 2),
        ("repeat_2", 1): (0, 1, 1, 2, 2),
        ("repeat_3", 0): (0, 0, 1, 1, 2, 2),
    }


def test_one_layer_can_be_dropped_and_not_swapped():
    assert named(1, "drop", "swap") == {("intact", None): (0,), ("drop", 0): ()}


@pytest.mark.parametrize("name", ["skip", "repeat", "repeat_0", "repeat_-1", "repeat_two", ""])
def test_an_unknown_intervention_is_refused_with_those_there_are(name):
    with pytest.raises(InputError, match=r"no intervention .*: there are drop, swap and repeat_N"):
        orders.lesions(4, [name])


def test_more_layers_than_there_are_cannot_be_repeated():
    with pytest.raises(InputError, match="repeat_5 needs 5 layers, the model has 4"):
        orders.lesions(4, ["repeat_5"])


@pytest.mark.parametrize("kind", ["gpt2", "neox_parallel", "llama"])
def test_a_walk_ends_where_each_order_on_its_own_does(kind, bridges):
    """Also orders that occur twice, end within another, or are empty."""
    bridge, tokens = bridges[kind], some_tokens()
    inputs = blocks.record_inputs(bridge, tokens)
    some = [lesion.order for lesion in orders.lesions(4, ["drop", "swap", "repeat_1", "repeat_2"])]
    some += [(3, 2, 1, 0), (0, 1), (0, 1), ()]
    found = dict(orders.walk(bridge, tokens, some, inputs))
    assert sorted(found) == list(range(len(some)))
    for number, order in enumerate(some):
        expected = blocks.run_blocks(bridge, tokens, order, inputs)
        torch.testing.assert_close(found[number], expected, rtol=0, atol=1e-4, msg=str(order))


@pytest.fixture
def alive(monkeypatch) -> list[int]:
    """How many streams were in memory after each block that has run; the blocks compute nothing."""
    made, counts = [], []

    def run_block(_bridge, _layer, residual, _inputs):
        after = residual + 1
        made.append(weakref.ref(after))
        counts.append(sum(stream() is not None for stream in made))
        return after

    monkeypatch.setattr(blocks, "run_block", run_block)
    return counts


@pytest.mark.parametrize("n_layers", [1, 4, 12, 40])
def test_drops_and_swaps_take_n_squared_blocks_and_few_streams(n_layers, bridges, alive):
    lesions = orders.lesions(n_layers, ["drop", "swap"])
    ended = orders.walk(bridges["gpt2"], some_tokens(), [lesion.order for lesion in lesions], [])
    assert sum(1 for _ in ended) == 2 * n_layers
    assert len(alive) == n_layers**2
    assert max(alive) <= 6


def test_repeats_take_few_streams_as_well(bridges, alive):
    lesions = orders.lesions(40, ["drop", "swap", "repeat_5", "repeat_3"])
    ended = orders.walk(bridges["gpt2"], some_tokens(), [lesion.order for lesion in lesions], [])
    assert sum(1 for _ in ended) == 1 + 40 + 39 + 36 + 38
    assert max(alive) <= 12
