"""Can one layer stand in for its neighbour? Exchange, repetition and parallel running of neighbours.

That layers do alike work is a claim about what happens when one takes the other's place. Similarity of what they write
cannot decide it; these lesions can. The swap is the paper's (section 3), the rest is after Sun et al., "Transformer
layers as painters" (2024, arXiv 2407.09298). For neighbours l and l + 1, instead of l and then l + 1:

- ``exchanged``: l + 1, then l: does the order matter?
- ``parallel``: both read what enters l, and both add what they write: does l + 1 need what l wrote?
- ``first_twice``: l, then l again: does l stand in for l + 1?
- ``second_twice``: l + 1, then l + 1 again: does l + 1 stand in for l?
- ``first_only``, ``second_only``: the other one is left out, and nothing stands in for it.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks
from helpers.beyond import joined_streams
from helpers.engine import readout, streams
from helpers.engine.batches import over_sequences
from helpers.judging import claims
from helpers.judging.evidence_of_curves import MIDDLE
from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, combine

ORDERS = ("exchanged", "parallel", "first_twice", "second_twice", "first_only", "second_only")
STAND_IN = {"first_twice": "first_only", "second_twice": "second_only"}  # with the lesion that it is held against
REPAIRED = 0.75


def sweep(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> pd.DataFrame:
    """All of ``ORDERS`` for all neighbours: one row per sequence, ``layer`` (the first of two) and ``intervention``.

    Columns as in ``lesion.compare``. Per sequence about 3 n**2 block evaluations for n layers.
    """
    inputs = blocks.record_inputs(bridge, tokens)
    unembedding = readout.Unembedding.of(bridge)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        rows = streams.intact_streams(bridge, batch, inputs)

        def join(layer: int) -> list[Float[Tensor, "batch pos d_model"]]:
            return list(reordered(bridge, layer, rows, inputs)) if layer else []

        return joined_streams.compare(bridge, unembedding, first, batch, rows[-1], join, ORDERS, inputs)

    if bridge.cfg.n_layers < 2:
        return pd.DataFrame(columns=["sequence", "layer", "intervention", "kl_nats", "top1_agreement"])
    return over_sequences(bridge, tokens, measure, batch_size, streams=2 * len(ORDERS) * bridge.cfg.n_layers)


def reordered(
    bridge: TransformerBridge,
    layer: int,
    rows: Float[Tensor, "row batch pos d_model"],
    inputs: list[blocks.BlockInputs],
) -> Float[Tensor, "order batch pos d_model"]:
    """What leaves the neighbours ``layer`` - 1 and ``layer`` in each of ``ORDERS``, given the intact rows."""
    entering, between = rows[layer - 1], rows[layer]
    first = torch.stack([between, between])  # its first row will have run the first block once more
    streams.advance(bridge, layer - 1, first[:1], inputs)
    second = entering[None].clone()
    streams.advance(bridge, layer, second, inputs)
    after_second = second[0]
    exchanged, twice = after_second[None].clone(), after_second[None].clone()
    streams.advance(bridge, layer - 1, exchanged, inputs)
    streams.advance(bridge, layer, twice, inputs)
    parallel = between + (after_second - entering)
    return torch.stack([exchanged[0], parallel, first[0], twice[0], between, after_second])


def standing_in(sequences: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Does a neighbour in a layer's place repair a quarter of what leaving it out costs? One row per stand-in.

    The statistic is the KL with the stand-in / the KL without anything, geometric mean over pairs whose middle lies at
    depth 0.2 to 0.8; the rule is below 0.75. Were neighbours interchangeable, it would be near 0.
    """
    return pd.DataFrame(
        {"intervention": repeated} | claims.decide(_ratio(sequences, repeated, left_out, seed), lambda r: r < REPAIRED)
        for repeated, left_out in STAND_IN.items()
    )


def _ratio(sequences: pd.DataFrame, repeated: str, left_out: str, seed: int) -> Resampled:
    if sequences.empty:
        return UNKNOWN
    measured = Measures(sequences, seed)
    n_pairs = sequences["layer"].nunique()
    depth = (np.arange(n_pairs) + 0.5) / n_pairs
    middle = (depth >= MIDDLE[0]) & (depth <= MIDDLE[1])
    ratio = measured.curve("kl_nats", repeated) / measured.curve("kl_nats", left_out)

    def geometric(ratios: Float[np.ndarray, "resample layer"]) -> Float[np.ndarray, "resample"]:
        with np.errstate(divide="ignore"):
            return np.exp(np.log(ratios[:, middle]).mean(1))

    return combine(geometric, ratio) if middle.any() else UNKNOWN
