"""Classes of tokens that a model can predict as a class, and what speaks for them: neurons, and the model itself.

A token is in a class by its text alone: it ends in "-ing" or "-ed"; its first letter is a capital, with
nothing, spaces, newlines, quotes or a bracket before it; or it is a full stop, question mark or exclamation
mark, alone or with quotes. So " bring" ends in "-ing", and the dot of "Mr." ends a sentence. The paper asks
for "-ing" (5.3); the other classes are ours.

A neuron speaks for a class if its output vector has a larger cosine, on average, with the class's unembedding
vectors than with all others. Its class logit is the same difference with dot products, W_U · w_out, as the paper
takes it: what one unit of its activation adds to the mean logit of the class above that of all others, but for the
final norm's scale. Both are read off the weights, no text is involved.
"""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import neurons
from helpers.engine import readout, streams
from helpers.engine.batches import over_sequences

CLASSES: dict[str, Callable[[str], bool]] = {
    "-ing": lambda text: text.endswith("ing"),
    "-ed": lambda text: text.endswith("ed"),
    "capital": lambda text: text.lstrip(" \t\r\n\"'“”‘’([")[:1].isupper(),
    "sentence end": lambda text: text.strip(" \t\r\n\"'“”‘’)]") in {".", "!", "?"},
}


def members(texts: Sequence[str]) -> dict[str, Bool[Tensor, "vocab"]]:
    """Which tokens are in each class, where ``texts`` are those of ``vocabulary.token_texts``."""
    return {name: torch.tensor([is_member(text) for text in texts]) for name, is_member in CLASSES.items()}


def ranking(bridge: TransformerBridge, inside: Bool[Tensor, "vocab"]) -> pd.DataFrame:
    """All MLP neurons (layer, neuron), the one that speaks most for the tokens ``inside`` the class first.

    ``score`` is the mean cosine of what the neuron writes with the class's columns of W_U minus that with all
    other columns. Raises ``InputError`` for a model without dense MLPs.
    """
    direction = _direction(neurons.unit_columns(bridge.W_U), inside)
    frames = []
    for layer in range(bridge.cfg.n_layers):
        weights = neurons.unit_rows(neurons.output_weights(bridge, layer))
        scores = (weights @ direction.to(weights.device)).cpu().numpy()
        frames.append(pd.DataFrame({"layer": layer, "neuron": range(len(scores)), "score": scores}))
    return pd.concat(frames).sort_values("score", ascending=False, kind="stable", ignore_index=True)


def class_logits(bridge: TransformerBridge, inside: Bool[Tensor, "vocab"]) -> Float[Tensor, "layer_neuron"]:
    """The class logit of every MLP neuron, layer after layer, as in ``neurons.moments``."""
    direction = _direction(bridge.W_U.float(), inside)
    layers = (neurons.output_weights(bridge, layer).float() for layer in range(bridge.cfg.n_layers))
    return torch.cat([(weights @ direction.to(weights.device)).cpu() for weights in layers])


def log_probabilities(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    classes: Mapping[str, Bool[Tensor, "vocab"]],
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """Log of the probability, in nats, that the model gives to each class (none of them empty) as the next token.

    One row per sequence and position 1 .. pos-2, one column per class.
    """
    whole = readout.Unembedding.of(bridge)
    device = whole.weight.device
    parts = {
        name: readout.Unembedding(whole.weight[:, inside.to(device)], whole.bias[inside.to(device)], whole.tf32)
        for name, inside in classes.items()
    }

    def measure(_first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        hidden = streams.final_hidden(bridge, streams.final_residual(bridge, batch)).flatten(0, 1)
        any_label = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)
        log_total = whole.read(hidden, any_label).log_normaliser
        log_parts = {name: part.read(hidden, any_label).log_normaliser for name, part in parts.items()}
        return [pd.DataFrame({name: (log_part - log_total).cpu().numpy() for name, log_part in log_parts.items()})]

    return over_sequences(bridge, tokens, measure, batch_size)


def answers_at_end(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    inside: Bool[Tensor, "vocab"],
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """What the model predicts for the last token of every sequence: the ``log_odds``, in nats, that it is of the
    class, and whether the best ``guess`` is."""
    whole = readout.Unembedding.of(bridge)
    inside = inside.to(whole.weight.device)
    halves = [readout.Unembedding(whole.weight[:, part], whole.bias[part], whole.tf32) for part in (inside, ~inside)]

    def measure(_first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        hidden = streams.final_hidden(bridge, streams.final_residual(bridge, batch)[:, -3:])[:, 0]
        any_label = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)
        log_inside, log_outside = (half.read(hidden, any_label).log_normaliser for half in halves)
        guess = inside[whole.read(hidden, any_label).top1]
        return [pd.DataFrame({"log_odds": (log_inside - log_outside).cpu().numpy(), "guess": guess.cpu().numpy()})]

    return over_sequences(bridge, tokens, measure, batch_size)


def _direction(unembedding: Float[Tensor, "d_model vocab"], inside: Bool[Tensor, "vocab"]) -> Float[Tensor, "d_model"]:
    inside = inside.to(unembedding.device)
    return unembedding[:, inside].mean(1) - unembedding[:, ~inside].mean(1)
