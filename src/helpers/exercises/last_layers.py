"""Exercises of notebook 12: blocks whose repetition helps, and layers repeated one at a time."""

from typing import Any

import pandas as pd
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.exercises import by_hand
from helpers.exercises.answers import is_open
from helpers.exercises.replies import OPEN, Reply, choose, judge, pairs_of


def check_better(better: Any, table: pd.DataFrame) -> Reply:
    """The blocks (length, layer) whose repetition lowers the loss, the whole interval below 0; perhaps none."""
    if is_open(better):
        return Reply(False, OPEN)
    better, why = pairs_of(better, "length", "layer")
    if why is not None:
        return why
    runs = table.to_dict("records")

    def where(column: str, sign: int = 1) -> list[tuple[int, int]]:
        return [(int(run["length"]), int(run["layer"])) for run in runs if sign * run[column] < 0]

    wanted = where("loss_change_nats_high")
    mistakes = {
        "layer and length are exchanged: the length comes first.": [pair[::-1] for pair in wanted],
        "in some of these only the lower end is below 0; ask for the upper end, `_high`.": where(
            "loss_change_nats_low"
        ),
        "in some of these the mean is below 0 but not the whole interval; ask for the upper end, `_high`.": where(
            "loss_change_nats"
        ),
        "these lower the entropy, not the loss: a surer model need not be a better one.": where(
            "entropy_change_bits_high"
        ),
        "these lower the entropy, and not surely: take the loss, and the upper end.": where("entropy_change_bits"),
        "these are worse for it: a loss that grows is above 0.": where("loss_change_nats_low", -1),
    }
    least = min(run["loss_change_nats"] for run in runs)
    praise = f"{len(wanted)} of {len(runs)} blocks; the smallest loss change of all is {least:+.3f} nats."
    return choose(better, wanted, mistakes, praise, "A list of pairs (length, layer), perhaps an empty one.")


def check_one_at_a_time(added: Any, bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"], length: int) -> Reply:
    """For every block, by its first layer: the sum over its ``length`` layers of what repeating each alone does.

    Changes of the entropy of the prediction, in bits, repeated minus intact, means over sequences and positions.
    """
    if is_open(added):
        return Reply(False, OPEN)
    n_layers = bridge.cfg.n_layers

    def measure(layers: list[int]) -> tuple[float, float]:
        logits = by_hand.logits(bridge, tokens, {layer: [layer, layer] for layer in layers})
        return by_hand.mean(by_hand.entropy_nats(logits)), by_hand.loss_nats(logits, tokens).double().mean().item()

    intact = measure([])
    alone = [measure([layer]) for layer in range(n_layers)]
    entropy, loss = ([one[which] - intact[which] for one in alone] for which in range(2))
    starts = range(n_layers - length + 1)

    def sums(values: list[float], size: int = length) -> pd.Series:
        return pd.Series({start: sum(values[start : start + size]) for start in starts})

    wanted = sums([by_hand.bits(one) for one in entropy])
    mistakes = {
        "these are blocks repeated as a whole; repeat every layer alone, and add.": lambda: pd.Series(
            {start: by_hand.bits(measure(list(range(start, start + length)))[0] - intact[0]) for start in starts}
        ),
        "a layer too many is in the sums: a `.loc` slice includes its end.": sums(
            [by_hand.bits(one) for one in entropy], length + 1
        ),
        "a layer too few is in the sums: a Python slice leaves out its end.": sums(
            [by_hand.bits(one) for one in entropy], length - 1
        ),
        "this is the loss; take the entropy.": sums(loss),
        "these are nats; divide by log(2) for bits.": sums(entropy),
        "this is the mean over the layers of a block; take the sum.": wanted / length,
        "the signs are turned over: repeated minus intact.": -wanted,
        "these are the layers one by one; add them up, block by block.": [by_hand.bits(one) for one in entropy],
    }
    praise = f"The sum is largest for the block from layer {wanted.idxmax()} on, {wanted.max():+.2f} bits."
    return judge(added, wanted, mistakes, praise, "One sum per block, by its first layer.", tolerance=1e-2)
