"""A block of consecutive layers, each run twice in a row: what the prediction becomes (paper, 5.4, figures 12c, 22-24).

Repeating the block that begins at layer s, of length k, is the order 0 .. s-1, s, s, s+1, s+1, .. s+k-1, s+k-1,
s+k, .. to the last. The paper takes k = 5 and 3, and draws the entropy of the final prediction against s. Its claim: in
the second half of the layers a repeated block lowers the entropy below the intact model's, an early one does not.

Here *late* blocks begin in the second half of the layers, *early* ones in the first quarter, the one at layer 0 left
out: it hurts most, and would decide alone. A mean change of less than a hundredth of the intact entropy counts as
none.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks, lesion, stats
from helpers.engine import readout
from helpers.engine.batches import over_sequences
from helpers.engine.streams import advance, final_hidden
from helpers.errors import InputError
from helpers.judging import claims
from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, pool

SLUG = "last_layers"
LENGTHS = (5, 3)
KEYS = ["length", "layer", "depth"]
KEPT = ("kl_nats", "top1_agreement", "accuracy", "loss_change_nats", "entropy_change_bits")
SMALLEST_EFFECT = 0.01  # of the intact entropy
PARTS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "late": ("a late block lowers the entropy", lambda change: change < -SMALLEST_EFFECT),
    "early": ("an early block does not", lambda change: change > -SMALLEST_EFFECT),
}


def block_lengths(n_layers: int) -> tuple[int, ...]:
    """The paper's lengths of which a block fits into the second half of the layers; where none does, half of them."""
    return tuple(length for length in LENGTHS if 2 * length <= n_layers) or (max(1, n_layers // 2),)


def order(n_layers: int, start: int, length: int) -> list[int]:
    """The layers in the order in which they run when those from ``start`` on, ``length`` of them, run twice."""
    return [layer for layer in range(n_layers) for _ in range(1 + (start <= layer < start + length))]


def sweep(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], length: int, batch_size: int | str = "auto"
) -> pd.DataFrame:
    """Every repeated block of ``length`` layers: one row per sequence and ``layer``, the first that is repeated.

    Columns: ``kl_nats`` KL(intact || repeated), ``top1_agreement``, ``accuracy``, ``loss_change_nats`` and
    ``entropy_change_bits`` as in ``lesion.sweep``, and ``entropy_bits_intact``; means over positions 1 .. pos-2.
    ``depth`` is that of the layer among all layers of the model.
    """
    inputs = blocks.record_inputs(bridge, tokens)
    unembedding = readout.Unembedding.of(bridge)
    last = max(1, bridge.cfg.n_layers - 1)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        labels = readout.labels(batch)
        of_streams = (final_hidden(bridge, stream) for stream in repeated_streams(bridge, batch, length, inputs))
        intact = unembedding.reference(next(of_streams), labels)
        frames = []
        for layer, hidden in enumerate(of_streams):
            measures = lesion.compare(unembedding, intact, hidden, labels)
            kept = {name: measures[name] for name in KEPT} | {"entropy_bits_intact": intact.predictions.entropy_bits}
            frames.append(stats.rows(first, stats.means(kept), length=length, layer=layer))
        return frames

    rows = over_sequences(bridge, tokens, measure, batch_size, streams=bridge.cfg.n_layers - length + 2)
    return rows.assign(depth=rows["layer"] / last)


def repeated_streams(
    bridge: TransformerBridge, tokens: Int[Tensor, "batch pos"], length: int, inputs: list[blocks.BlockInputs]
) -> Float[Tensor, "stream batch pos d_model"]:
    """Final residual streams, before the last norm: intact, then with the block from layer 0, 1, 2, .. run twice.

    One walk through the layers. Up to its block a stream is the intact one, and so is the first run of the block's
    first layer: a stream is made there, not before.
    """
    n_layers = bridge.cfg.n_layers
    if not 1 <= length <= n_layers:
        raise InputError(f"a block of {length} layers does not fit into {n_layers}: choose 1 to {n_layers}")
    n_blocks = n_layers - length + 1
    intact = blocks.embed(bridge, tokens)
    streams = intact.new_empty(1 + n_blocks, *intact.shape)
    streams[0] = intact
    for layer in range(n_layers):
        advance(bridge, layer, streams[: 1 + min(layer, n_blocks)], inputs)
        if layer < n_blocks:
            streams[1 + layer] = streams[0]
        advance(bridge, layer, streams[1 + max(0, layer - length + 1) : 1 + min(layer + 1, n_blocks)], inputs)
    return streams


def verdicts(rows: pd.DataFrame, n_layers: int, seed: int = 0) -> pd.DataFrame:
    """Both parts of the paper's claim, for every length in ``rows``: one row each, columns of ``claims.decide``.

    Rows of several twins, told apart by ``seed``, are judged as those of one model.
    """
    twins = [part for _, part in rows.groupby("seed")] if "seed" in rows else [rows]
    table = []
    for length in rows["length"].unique():
        for part, (wording, is_true) in PARTS.items():
            each = [entropy_change(twin[twin["length"] == length], n_layers, part, seed) for twin in twins]
            missing = "" if all(values.is_finite for values in each) else f"this model has no {part} blocks"
            table.append({"length": length, "claim": wording} | claims.decide(pool(each), is_true, missing, each))
    return pd.DataFrame(table)


def entropy_change(rows: pd.DataFrame, n_layers: int, part: str, seed: int = 0) -> Resampled:
    """Mean change of the entropy by ``late`` or ``early`` blocks of one length, / the intact entropy."""
    measures = Measures(rows.drop(columns="depth"), seed)
    starts = np.sort(rows["layer"].unique())
    chosen = 2 * starts >= n_layers if part == "late" else (starts > 0) & (4 * starts < n_layers)
    if not chosen.any():
        return UNKNOWN
    change, intact = (measures.curve(name) for name in ("entropy_change_bits", "entropy_bits_intact"))
    return change.map(lambda layers: layers[:, chosen].mean(1)) / intact.at(0)
