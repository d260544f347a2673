"""A neuron in words: where in a text it is most active, and what is predicted there once it is silent. Ours.

``neurons`` reads off the weights what a neuron would say (paper, 5.3); here one sees where it speaks, and what is
lost without it. A silenced neuron has activation 0 at every position: it writes nothing. (``ablation`` fixes
neurons at their means instead, which also keeps what a neuron writes everywhere.) The activation is what the output
weights multiply: in a gated MLP that is act(gate) * up.
"""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import metrics
from helpers.engine import streams
from helpers.engine.batches import over_sequences
from helpers.errors import InputError
from helpers.text.vocabulary import visible_texts

SHOWN = 12  # tokens of a context that are spelled out


def strongest(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    layer: int,
    neuron: int,
    n: int = 6,
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """The ``n`` places of a text where a neuron is most active: ``sequence``, ``position``, ``activation``, in order.

    Of positions 1 .. pos-2, as everywhere. Raises ``InputError`` for a neuron that the model does not have.
    """
    name = _activation(bridge, layer, neuron)
    stop = {"stop_at_layer": layer + 1} if layer + 1 < bridge.cfg.n_layers else {}

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        kept: list[Tensor] = []
        read = (name, lambda activation, hook: kept.append(activation[:, 1:-1, neuron].float().cpu()))
        bridge.run_with_hooks(batch, fwd_hooks=[read], return_type=None, use_cache=False, **stop)
        (values,) = kept
        best = values.flatten().sort(descending=True, stable=True).indices[:n]
        places = {"sequence": first + best // values.shape[1], "position": 1 + best % values.shape[1]}
        return [pd.DataFrame(places | {"activation": values.flatten()[best]})]

    places = over_sequences(bridge, tokens, measure, batch_size)
    return places.nlargest(n, "activation").reset_index(drop=True)


def silenced(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    places: pd.DataFrame,
    layer: int,
    neuron: int,
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """``places`` in words, and what is predicted there with the neuron and without it: a row for each place.

    Further columns: ``context``, the tokens up to the place; ``follows``, the token after it; ``guess`` and
    ``probability`` of the intact model's best guess, ``guess_silenced`` and ``probability_silenced``; ``moves``, the
    token whose probability moves most, ``from`` one ``to`` another; ``kl_nats``, KL(intact || silenced).
    """
    name = _activation(bridge, layer, neuron)
    sequences, positions = (torch.tensor(places[key].to_numpy()) for key in ("sequence", "position"))

    def silence(activation, hook):
        return activation.index_fill(-1, torch.tensor(neuron, device=activation.device), 0)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        here = positions[first : first + len(batch)]
        intact = _logits(bridge, streams.final_residual(bridge, batch), here)
        with bridge.hooks(fwd_hooks=[(name, silence)]):
            without = _logits(bridge, streams.final_residual(bridge, batch), here)
        spelled = [visible_texts(bridge, line.tolist()) for line in batch]
        words = {
            "context": [
                "".join(line[max(1, end - SHOWN + 1) : end + 1]) for line, end in zip(spelled, here, strict=True)
            ],
            "follows": [line[end + 1] for line, end in zip(spelled, here, strict=True)],
        }
        return [pd.DataFrame(words | _changes(bridge, intact, without))]

    return pd.concat([places, over_sequences(bridge, tokens[sequences], measure, batch_size)], axis=1)


def _changes(
    bridge: TransformerBridge, intact: Float[Tensor, "place vocab"], without: Float[Tensor, "place vocab"]
) -> dict[str, list]:
    before, after = intact.softmax(-1), without.softmax(-1)
    moves = (before - after).abs().argmax(-1, keepdim=True)
    columns: dict[str, list] = {}
    for end, probabilities in (("", before), ("_silenced", after)):
        best = probabilities.max(-1)
        columns |= {f"guess{end}": visible_texts(bridge, best.indices.tolist())}
        columns |= {f"probability{end}": best.values.tolist()}
    columns |= {"moves": visible_texts(bridge, moves.squeeze(-1).tolist())}
    columns |= {end: of.gather(-1, moves).squeeze(-1).tolist() for end, of in (("from", before), ("to", after))}
    return columns | {"kl_nats": metrics.kl_divergence(intact, without).tolist()}


def _logits(
    bridge: TransformerBridge, residual: Float[Tensor, "batch pos d_model"], positions: Int[Tensor, "batch"]
) -> Float[Tensor, "batch vocab"]:
    """What is predicted at one position of each sequence, in float32."""
    at = residual[torch.arange(len(residual)), positions]
    return bridge.ln_final(at).float() @ bridge.W_U.float() + bridge.b_U.float()


def _activation(bridge: TransformerBridge, layer: int, neuron: int) -> str:
    """The hook point of a neuron's activation."""
    config = bridge.cfg
    if layer not in range(config.n_layers) or neuron not in range(config.d_mlp):
        raise InputError(
            f"no neuron {neuron} in layer {layer}: the model has layers 0 to {config.n_layers - 1} "
            f"with neurons 0 to {config.d_mlp - 1}"
        )
    return f"blocks.{layer}.mlp.hook_post"
