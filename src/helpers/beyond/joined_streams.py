"""Lesioned streams that join the intact walk where their lesion is, and are carried to the end together.

A run that differs from the intact one in a single layer, or in two neighbours, is the intact run up to there. So
nothing before the lesion is run again: a stream joins behind the layer, and all that have joined go through each
later block in one call.
"""

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks, lesion, stats
from helpers.engine import readout
from helpers.engine.streams import advance, final_hidden

Join = Callable[[int], Sequence[Float[Tensor, "batch pos d_model"]]]


def compare(
    bridge: TransformerBridge,
    unembedding: readout.Unembedding,
    first: int,
    batch: Int[Tensor, "batch pos"],
    final: Float[Tensor, "batch pos d_model"],
    join: Join,
    names: Sequence[str],
    inputs: list[blocks.BlockInputs],
) -> list[pd.DataFrame]:
    """What each stream that joins comes to, beside the intact ``final`` stream: columns as in ``lesion.compare``.

    Behind every layer that streams join at, one joins for each of ``names``, the ``intervention`` of its rows; the
    first layer that they join at is their layer 0. ``first`` is the number of the batch's first sequence.
    """
    labels = readout.labels(batch)
    intact = unembedding.reference(final_hidden(bridge, final), labels)
    frames = []
    for number, lesioned in enumerate(carried_to_the_end(bridge, join, inputs)):
        layer, name = divmod(number, len(names))
        measures = lesion.compare(unembedding, intact, final_hidden(bridge, lesioned), labels)
        frames.append(stats.rows(first, stats.means(measures), layer=layer, intervention=names[name]))
    return frames


def carried_to_the_end(
    bridge: TransformerBridge,
    join: Join,
    inputs: list[blocks.BlockInputs],
) -> list[Float[Tensor, "batch pos d_model"]]:
    """Final residual streams, before the last norm, in the order of joining.

    ``join(layer)`` gives the streams that join behind block ``layer``: what enters the next block.
    """
    streams: list[Float[Tensor, "batch pos d_model"]] = []
    for layer in range(bridge.cfg.n_layers):
        if streams:
            together = torch.stack(streams)
            advance(bridge, layer, together, inputs)
            streams = list(together)
        streams.extend(join(layer))
    return streams
