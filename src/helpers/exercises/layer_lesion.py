"""Exercises of notebook 01: layers in reverse order, and a layer that runs twice."""

from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.errors import InputError
from helpers.exercises import by_hand
from helpers.exercises.answers import is_open, numbers
from helpers.exercises.replies import OPEN, Reply, judge, not_yet, right

FOUR = 4


def check_reversed(order: Any, kl: Any, bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"]) -> Reply:
    """Four layers around the middle in reverse order: the ``order`` of all layers, and the mean ``kl`` in nats.

    The four begin two below layer n_layers // 2. Raises ``InputError`` for a model of fewer than four layers.
    """
    n_layers = bridge.cfg.n_layers
    if is_open(order, kl):
        return Reply(False, OPEN)
    if n_layers < FOUR:
        raise InputError(f"reversing four layers needs a model of four layers or more, this one has {n_layers}")
    middle = list(range(n_layers // 2 - 2, n_layers // 2 + 2))
    if not (reply := _order(numbers(order), n_layers, middle)):
        return reply
    reverse = dict(zip(middle, ([layer] for layer in middle[::-1]), strict=True))
    swaps = [{low: [low + 1], low + 1: [low]} for low in middle[:-1]]
    wanted, *costs = _kl(bridge, tokens, reverse, *swaps)
    typical = sum(costs) / len(costs)
    praise = (
        f"Swapping two neighbours among them costs {typical:.4f} nats on average, and reversing four takes six swaps."
    )
    return judge(kl, wanted, _slips(bridge, tokens, reverse), praise, "Take the mean KL in nats.")


def check_repeated(kl: Any, bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"], layer: int) -> Reply:
    """One layer run twice in a row: the mean ``kl`` in nats."""
    if is_open(kl):
        return Reply(False, OPEN)
    wanted, dropped = _kl(bridge, tokens, {layer: [layer, layer]}, {layer: []})
    mistakes = _slips(bridge, tokens, {layer: [layer, layer]}) | {
        "this is what dropping the layer costs; here it runs once more.": dropped,
        "this is the layer run three times: it is in your order once too often.": lambda: _kl(
            bridge, tokens, {layer: [layer] * 3}
        )[0],
    }
    if layer + 1 < bridge.cfg.n_layers:
        mistakes["this is the next layer run twice: ranges begin at 0 and leave out their end."] = lambda: _kl(
            bridge, tokens, {layer + 1: [layer + 1, layer + 1]}
        )[0]
    praise = f"Without the layer it is {dropped:.4f} nats."
    return judge(kl, wanted, mistakes, praise, "Take the mean KL in nats.")


def _order(given: Any, n_layers: int, middle: list[int]) -> Reply:
    """Whether the order is the one that is asked for."""
    if given is None or given.ndim != 1:
        return not_yet("the order is a list of layer numbers.")
    layers = [int(layer) for layer in given]
    if sorted(layers) != list(range(n_layers)):
        return not_yet(f"every layer from 0 to {n_layers - 1} must run once: something is missing, twice, or no layer.")
    moved = [place for place, layer in enumerate(layers) if place != layer]
    if not moved:
        return not_yet("nothing is reversed: every layer stands in its own place.")
    if n_layers > FOUR and layers == list(range(n_layers))[::-1]:
        return not_yet("the whole stack is reversed; reverse the four in the middle only.")
    if moved[0] != middle[0] or moved[-1] != middle[-1]:
        span = f"layers {moved[0]} to {moved[-1]}"
        return not_yet(f"you have moved {span}; the four are {middle[0]} to {middle[-1]}, both included.")
    if [layers[place] for place in middle] != middle[::-1]:
        return not_yet(f"the four have moved but are not in reverse order: {middle[-1]} must come first.")
    return right("")


def _kl(bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"], *lesions: dict[int, list[int]]) -> list[float]:
    intact = by_hand.logits(bridge, tokens)
    return [by_hand.mean(by_hand.kl_nats(intact, by_hand.logits(bridge, tokens, instead))) for instead in lesions]


def _slips(
    bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"], instead: dict[int, list[int]]
) -> dict[str, Any]:
    """What the right lesion gives when it is measured wrongly."""
    intact, lesioned = by_hand.logits(bridge, tokens), by_hand.logits(bridge, tokens, instead)
    kl = by_hand.kl_nats(intact, lesioned)
    return {
        "BOS and the last position are in your mean; take `[:, looked_at]`.": kl.double().mean().item(),
        "this is KL(lesioned ‖ intact): the intact model comes first.": by_hand.mean(by_hand.kl_nats(lesioned, intact)),
        "this is in bits; leave it in nats.": by_hand.bits(by_hand.mean(kl)),
        "this is the sum over positions; take the mean.": kl[:, by_hand.LOOKED_AT].double().sum().item(),
        "there is one KL per position here; take their mean.": kl[:, by_hand.LOOKED_AT].double().cpu().numpy(),
    }
