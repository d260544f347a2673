"""Exercises of notebook 04: the neuron that points at a word, and the dimension behind the typical kurtosis."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.exercises.answers import is_open, numbers
from helpers.exercises.replies import OPEN, Reply, judge, not_yet, right


def check_pointing(toward: Any, away: Any, word: str, bridge: TransformerBridge) -> Reply:
    """The neurons (layer, neuron) whose output has the largest and the smallest cosine with ``word``'s unembedding.

    Cosines are computed again in float64, layer by layer, from dot products and lengths.
    """
    if is_open(toward, away):
        return Reply(False, OPEN)
    ids = bridge.tokenizer.encode(word, add_special_tokens=False)
    if len(ids) != 1:
        return not_yet(f"{word!r} is spelled in {len(ids)} tokens; choose a word that is one token, with its space.")
    given = [numbers(pair) for pair in (toward, away)]
    if any(pair is None or pair.shape != (2,) for pair in given):
        return not_yet("each neuron is a pair, (layer, neuron); a number counted through all layers is `divmod` away.")
    pairs = [tuple(int(one) for one in pair) for pair in given if pair is not None]

    def ends(values: Callable[[int], Float[Tensor, "neuron"]], layers: range) -> list[tuple[int, ...]]:
        rows = {layer: values(layer) for layer in layers}
        most = max(layers, key=lambda layer: rows[layer].max().item())
        least = min(layers, key=lambda layer: rows[layer].min().item())
        return [(most, int(rows[most].argmax())), (least, int(rows[least].argmin()))]

    column = bridge.W_U[:, ids[0]].detach().double()

    def dots(layer: int) -> Float[Tensor, "neuron"]:
        return (bridge.blocks[layer].mlp.W_out.detach().double() * column).sum(1)

    def cosines(layer: int) -> Float[Tensor, "neuron"]:
        lengths = bridge.blocks[layer].mlp.W_out.detach().double().square().sum(1).sqrt()
        return dots(layer) / lengths / column.square().sum().sqrt()

    def read(layer: int) -> Float[Tensor, "neuron"]:
        W_in = bridge.blocks[layer].mlp.W_in.detach().double()
        return (W_in * column[:, None]).sum(0) / W_in.square().sum(0).sqrt()

    every = range(bridge.cfg.n_layers)
    wanted = ends(cosines, every)
    mistakes = {
        "the two are exchanged: first the neuron that points at the word.": wanted[::-1],
        "layer and neuron are exchanged: the layer comes first.": [pair[::-1] for pair in wanted],
        "these have the largest dot products; divide by the lengths to get cosines.": ends(dots, every),
        "these are the best of the last layer only; look through all layers.": ends(cosines, every[-1:]),
        "these read the word most, by W_in; what a neuron writes is in W_out.": ends(read, every),
    }
    if pairs == wanted:
        return right(f"Their cosines with {word!r} are {_cosines(wanted, cosines)}.")
    for message, value in mistakes.items():
        if pairs == [tuple(pair) for pair in value]:
            return not_yet(message)
    half = [name for name, pair, best in zip(("toward", "away"), pairs, wanted, strict=True) if pair != best]
    known = all(layer in every and 0 <= neuron < bridge.cfg.d_mlp for layer, neuron in pairs)
    yours = f" The cosines of yours are {_cosines(pairs, cosines)}." if known else " There is no such neuron."
    return not_yet(f"another neuron is further {' and '.join(half)}.{yours}")


def check_dimension(dimension: Any, bridge: TransformerBridge) -> Reply:
    """In how many dimensions what neurons write can differ, for the kurtosis 3 d / (d + 2) of random directions."""
    if is_open(dimension):
        return Reply(False, OPEN)
    width = bridge.cfg.d_model
    free = width if bridge.cfg.uses_rms_norm else width - 1
    mistakes = {
        "this is the vocabulary: the number of cosines; the vectors live in fewer dimensions.": bridge.cfg.d_vocab,
        "this is the number of neurons in a layer; ask in how many dimensions each of them writes.": bridge.cfg.d_mlp,
        "this is the kurtosis itself; the question is which d leads to it.": 3 * free / (free + 2),
        "this is the width of one head; a neuron writes to the whole stream.": bridge.cfg.d_head,
    }
    if not bridge.cfg.uses_rms_norm:
        mistakes["nearly: centring for the LayerNorm takes one dimension away from the stream's width."] = width
    praise = f"So random directions have kurtosis {3 * free / (free + 2):.3f}."
    return judge(dimension, free, mistakes, praise, "Start from the width of the residual stream.", tolerance=1e-6)


def _cosines(pairs: list, cosines: Callable[[int], Float[Tensor, "neuron"]]) -> str:
    return " and ".join(f"{cosines(layer)[neuron].item():+.2f}" for layer, neuron in pairs)
