"""Exercise of notebook 00: the token that surprises the model most."""

from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.exercises import by_hand
from helpers.exercises.answers import is_open, numbers
from helpers.exercises.replies import OPEN, Reply, not_yet, right


def check_surprise(position: Any, bridge: TransformerBridge, tokens: Int[Tensor, "1 pos"]) -> Reply:
    """The position of the token of one sequence that has the highest loss, of those that follow position 1 or later."""
    if is_open(position):
        return Reply(False, OPEN)
    given = numbers(position)
    if given is None or given.shape != ():
        return not_yet("give one position, a number.")
    losses = by_hand.loss_nats(by_hand.logits(bridge, tokens), tokens)[0].tolist()  # of tokens 2 .. pos-1
    worst = max(range(len(losses)), key=losses.__getitem__) + 2
    least = min(range(len(losses)), key=losses.__getitem__) + 2
    hints = {
        worst - 1: "this is the position from which it is predicted; the token itself stands one further on.",
        worst - 2: "positions are counted from BOS, which is 0: add what you have cut off in front.",
        least: "this one is expected most; look for the highest loss.",
        0: "this is BOS, which nothing predicts.",
    }
    if given == worst:
        spelled = bridge.tokenizer.decode([int(tokens[0, worst])])
        mean = sum(losses) / len(losses)
        return right(f"It is {spelled!r}: {losses[worst - 2]:.1f} nats, where the mean is {mean:.1f}.")
    place = int(given)
    known = 2 <= place < tokens.shape[1]
    other = f"its loss is {losses[place - 2]:.2f} nats, and another is higher." if known else "there is no loss there."
    return not_yet(hints.get(place, other))
