"""Layer lesions (paper, the layer-wise interventions): drop every layer, swap every layer with the next.

Dropping layer l: the residual stream skips the block. Swapping l and l+1: block l+1 runs first, then
block l. Up to layer l a lesioned run equals the intact one, so all of them are computed in a single walk
through the layers, n_layers**2 block evaluations in all: each block runs on the intact stream and on all
streams lesioned before it at once, and once more for the stream that swaps it with its successor.
"""

from collections.abc import Callable

import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks, stats
from helpers.engine import readout
from helpers.engine.batches import in_parts, over_sequences, rows_per_call
from helpers.engine.predictions import Reference
from helpers.engine.streams import advance, final_hidden

SLUG = "layer_lesion"
RATIOS = {"accuracy_ratio": ("accuracy", "accuracy_intact")}


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    batch_size: int | str = "auto",
    exact: TransformerBridge | None = None,
    only: range | None = None,
) -> pd.DataFrame:
    """Every drop and every swap on every sequence: one row per sequence, layer and intervention.

    Columns: ``kl_nats`` KL(intact || lesioned); ``relative_accuracy``, the paper's (4.1): the share of
    predictions that are those of the intact model, also called ``top1_agreement``; on the labels
    ``accuracy``, ``accuracy_intact`` and ``accuracy_commonest``, that of always guessing the commonest
    token; ``loss_change_nats`` and ``entropy_change_bits``, lesioned minus intact; ``kl_noise_nats``
    KL(``exact`` || intact), what rounding alone does, where ``exact`` is the same model in float32
    (without it unknown, but 0 for a float32 model). Means over positions 1 .. pos-2. ``only`` some of the
    sequences are measured where a range of them is given; the commonest token is that of all.
    """
    inputs = blocks.record_inputs(bridge, tokens)
    unembedding = readout.Unembedding.of(bridge)
    commonest = readout.labels(tokens).flatten().bincount().argmax()
    unmeasured = 0.0 if bridge.W_U.dtype == torch.float32 else float("nan")

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        labels = readout.labels(batch)
        streams = lesioned_streams(bridge, batch, inputs)
        of_streams = (final_hidden(bridge, stream) for stream in streams)
        hidden = next(of_streams)
        intact = unembedding.reference(hidden, labels)
        noise = _noise(exact, batch, hidden, unembedding) if exact is not None else torch.full(labels.shape, unmeasured)
        same_for_all = {"accuracy_commonest": labels == commonest.to(labels.device), "kl_noise_nats": noise}
        frames = []
        for lesion, hidden in enumerate(of_streams):
            layer, is_swap = divmod(lesion, 2)
            measures = stats.means(compare(unembedding, intact, hidden, labels) | same_for_all)
            frames.append(stats.rows(first, measures, layer=layer, intervention="swap" if is_swap else "drop"))
        return frames

    return over_sequences(bridge, tokens, measure, batch_size, streams=2 * bridge.cfg.n_layers, only=only)


def lesioned_streams(
    bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"], inputs: list[blocks.BlockInputs]
) -> Float[Tensor, "stream batch pos d_model"]:
    """Final residual streams, before the last norm: intact, drop 0, swap 0, drop 1, swap 1, ..., drop L-1.

    The streams that exist before block l are the first 2 l: a lesion is appended when the walk reaches it.
    """
    intact = blocks.embed(bridge, tokens)
    n_layers = bridge.cfg.n_layers
    streams = intact.new_empty(2 * n_layers, *intact.shape)
    streams[0] = intact
    for layer in range(n_layers):
        entering = streams[0].clone()
        advance(bridge, layer, streams[: max(1, 2 * layer)], inputs)
        if layer > 0:  # the stream that dropped the layer below has now run this block: run the one below
            streams[2 * layer] = streams[2 * layer - 1]
            advance(bridge, layer - 1, streams[2 * layer : 2 * layer + 1], inputs)
        streams[2 * layer + 1] = entering
    return streams


def compare(
    unembedding: readout.Unembedding,
    intact: Reference,
    hidden: Float[Tensor, "batch predicted d_model"],
    labels: Int[Tensor, "batch predicted"],
) -> dict[str, Shaped[Tensor, "batch predicted"]]:
    """One lesion's measures at every position, from what its predictions are read off."""
    lesioned, before = unembedding.read(hidden, labels), intact.predictions
    unchanged = lesioned.top1 == before.top1
    return {
        "kl_nats": intact.kl_divergence(hidden, lesioned),
        "relative_accuracy": unchanged,
        "top1_agreement": unchanged,
        "accuracy": lesioned.correct,
        "accuracy_intact": before.correct,
        "loss_change_nats": lesioned.loss_nats - before.loss_nats,
        "entropy_change_bits": lesioned.entropy_bits - before.entropy_bits,
    }


def drop_hooks(layer: int) -> list[tuple[str, Callable]]:
    """TransformerLens hooks that drop one layer: what enters the block is also what leaves it.

    The plain way to do a single lesion, and the check on ``lesioned_streams``.
    """
    entering: list[Tensor] = []

    def remember(residual, hook):
        entering[:] = [residual]

    def restore(residual, hook):
        return entering[0]

    return [(f"blocks.{layer}.hook_in", remember), (f"blocks.{layer}.hook_out", restore)]


def _noise(exact, tokens, hidden, unembedding) -> Float[Tensor, "batch predicted"]:
    """KL(exact || intact), where ``hidden`` is what the intact model of lower precision reads its predictions off."""
    inputs = blocks.record_inputs(exact, tokens)

    def run(_first: int, rows: Int[Tensor, "row pos"]) -> Float[Tensor, "row predicted d_model"]:
        return final_hidden(exact, blocks.run_blocks(exact, rows, range(exact.cfg.n_layers), inputs))

    exact_hidden = torch.cat(in_parts(tokens, rows_per_call(exact, tokens.shape[1]), run))
    return readout.Unembedding.of(exact).kl_divergence(exact_hidden, unembedding, hidden)
