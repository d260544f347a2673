"""Lesioned streams that join the intact walk where their lesion is, and are carried to the end together.

A run that differs from the intact one in a single layer, or in two neighbours, is the intact run up to there. So
nothing before the lesion is run again: a stream joins behind the layer, and all that have joined go through each
later block in one call.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks
from helpers.engine.streams import advance


def carried_to_the_end(
    bridge: TransformerBridge,
    join: Callable[[int], Sequence[Float[Tensor, "batch pos d_model"]]],
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
