"""Self-repair: how much of the loss of a block the rest of the model makes up for. Ours, after others.

The *direct* effect of a block is what its own output does to the prediction at the last norm, nothing else changed:
the output is subtracted from the final residual stream, which is still divided by the intact stream's scale. The
*total* effect is what happens when the block is left out and everything after it is computed anew. What is
missing between the two was repaired: by the norm, which divides by another scale, and by the later blocks,
which write something else. McGrath et al., "The Hydra effect" (2023); Rushing and Nanda, "Explorations of
self-repair in language models" (2024), who look at logits and single heads, and put in other texts' activations
where here nothing is put in. In nats of the loss of the correct next token; positive repair helps the prediction.
"""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks, stats
from helpers.beyond import residual_paths
from helpers.engine import readout, streams
from helpers.engine.batches import over_sequences


def sweep(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> pd.DataFrame:
    """Direct and total effect of every block: one row per sequence and layer, means over positions 1 .. pos-2.

    Columns: ``direct_effect_nats`` and ``total_effect_nats``, the loss without the block minus the intact loss;
    ``self_repair_nats``, direct minus total, and its two parts ``repair_by_norm_nats`` and ``repair_by_blocks_nats``.
    The last block has no later ones: its repair is all by the norm. Per sequence (n**2 + n) / 2 blocks are run and
    3 n + 1 streams unembedded.
    """
    inputs = blocks.record_inputs(bridge, tokens)
    unembedding = readout.Unembedding.of(bridge)
    n_layers = bridge.cfg.n_layers
    single = torch.eye(n_layers, dtype=torch.bool)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        labels = readout.labels(batch)

        def loss(hidden: Float[Tensor, "batch predicted d_model"]) -> Float[Tensor, "batch predicted"]:
            return unembedding.read(hidden, labels).loss_nats

        rows = readout.predicted_positions(streams.intact_streams(bridge, batch, inputs))
        dropped = residual_paths.final_streams(bridge, batch, single, inputs)
        intact = loss(bridge.ln_final(rows[-1]))
        frames = []
        for layer, recomputed in enumerate(dropped):
            hidden, hidden_frozen = without(bridge, rows[-1], rows[layer + 1].float() - rows[layer].float())
            recomputed_hidden = streams.final_hidden(bridge, recomputed)
            losses = map(loss, (hidden_frozen, hidden, recomputed_hidden))
            measures = effects(*(after - intact for after in losses))
            frames.append(stats.rows(first, stats.means(measures), layer=layer))
        return frames

    return over_sequences(bridge, tokens, measure, batch_size, streams=4 * n_layers)


def without(
    bridge: TransformerBridge, final: Float[Tensor, "*pos d_model"], written: Float[Tensor, "*pos d_model"]
) -> tuple[Float[Tensor, "*pos d_model"], Float[Tensor, "*pos d_model"]]:
    """The normalised final stream less what one block wrote: divided by its own scale, and by that of ``final``."""
    left = (final.float() - written).to(final.dtype)
    own = bridge.ln_final(left)
    return own, own * (streams.norm_scale(bridge, left) / streams.norm_scale(bridge, final))


def effects(
    direct: Float[Tensor, "*pos"], direct_own_scale: Float[Tensor, "*pos"], total: Float[Tensor, "*pos"]
) -> dict[str, Float[Tensor, "*pos"]]:
    """The measures of ``sweep`` from three changes of the loss: frozen scale, own scale, everything recomputed."""
    return {
        "direct_effect_nats": direct,
        "total_effect_nats": total,
        "self_repair_nats": direct - total,
        "repair_by_norm_nats": direct - direct_own_scale,
        "repair_by_blocks_nats": direct_own_scale - total,
    }
