"""Layers replaced by something other than nothing: does the shape of the lesion curve come from the zero?

The paper drops layers by zero ablation, so that drop and swap can be compared (section 3); mean and resample ablation
of whole layers are ours, after the practice for heads and neurons. What a block writes, its output minus its input, is
replaced at every position but BOS, in four ways:

- ``zero``: by nothing, at BOS as well. The paper's drop.
- ``zero_but_bos``: by nothing, while BOS keeps what the block writes to it, as in the next two.
- ``mean``: by what the block writes on average over the text. The layer still writes, and says nothing of the token.
- ``resample``: by what it writes at another place of the text, drawn at random, the same for all layers.

BOS is apart because it is the same in every sequence: its mean, and its output in another sequence, are its own. Mean
and resample draw on up to ``similarity.SAMPLE`` places, spread evenly over the text.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks
from helpers.beyond import joined_streams, similarity
from helpers.engine import readout, streams
from helpers.engine.batches import over_sequences
from helpers.judging import claims
from helpers.judging import evidence_of_lesions as evidence
from helpers.judging.measures import Measures

KINDS = ("zero", "zero_but_bos", "mean", "resample")
HALF, TWICE = 0.5, 2.0


def sweep(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto", seed: int = 0
) -> pd.DataFrame:
    """Every layer replaced in every way: one row per sequence, layer and ``intervention``.

    Columns as in ``lesion.compare``. Per sequence 2 n**2 block evaluations are made for n layers, twice those of
    ``lesion.sweep``.
    """
    inputs = blocks.record_inputs(bridge, tokens)
    unembedding = readout.Unembedding.of(bridge)
    device = unembedding.weight.device
    donors = similarity.sampled_streams(bridge, tokens, batch_size).diff(dim=0).to(device)
    n_layers = bridge.cfg.n_layers

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        rows = streams.intact_streams(bridge, batch, inputs)
        drawn = drawn_donors(first, batch.shape, tokens.shape, donors.shape[1], seed).to(device)

        def join(layer: int) -> list[Float[Tensor, "batch pos d_model"]]:
            found = replaced(rows[layer], rows[layer + 1], donors[layer], donors[layer][drawn])
            return [found[kind] for kind in KINDS]

        return joined_streams.compare(bridge, unembedding, first, batch, rows[-1], join, KINDS, inputs)

    return over_sequences(bridge, tokens, measure, batch_size, streams=(2 * len(KINDS) + 2) * n_layers)


def replaced(
    entering: Float[Tensor, "batch pos d_model"],
    leaving: Float[Tensor, "batch pos d_model"],
    donors: Float[Tensor, "donor d_model"],
    resampled: Float[Tensor, "batch others d_model"],
) -> Mapping[str, Float[Tensor, "batch pos d_model"]]:
    """What leaves a block by ``KINDS``, given its input and output, and what it writes elsewhere."""

    def with_bos(written: Tensor) -> Float[Tensor, "batch pos d_model"]:
        after = entering[:, 1:] + written.to(entering.dtype)
        return torch.cat([leaving[:, :1], after], dim=1)

    return {
        "zero": entering,
        "zero_but_bos": with_bos(torch.zeros_like(donors[0])),
        "mean": with_bos(donors.mean(0)),
        "resample": with_bos(resampled),
    }


def drawn_donors(
    first: int, batch_shape: tuple[int, ...], shape: tuple[int, ...], n_donors: int, seed: int
) -> Int[Tensor, "batch others"]:
    """The donor of every place but BOS, never the place itself; it depends on the sequence, not on the batch."""
    n_others = shape[1] - 1
    own_places = np.arange(n_donors) * (shape[0] * n_others) // n_donors  # as ``similarity.sampled_streams`` chooses
    drawn = []
    for sequence in range(first, first + batch_shape[0]):
        donors = np.random.default_rng((seed, sequence)).integers(n_donors, size=n_others)
        is_itself = own_places[donors] == sequence * n_others + np.arange(n_others)
        drawn.append(np.where(is_itself, (donors + 1) % n_donors, donors))
    return torch.from_numpy(np.stack(drawn))


def shape_of(sequences: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Is it a U whatever is put in? By ``intervention``: what the middle costs beside either end, judged.

    ``middle_over_worse_end`` is the claim about the paper's drop, below a half; since the first layer alone may decide
    it, ``last_over_middle`` asks for the other end, above twice.
    """
    rows = []
    for kind in KINDS:
        measured = Measures(sequences[sequences["intervention"] == kind].assign(intervention="drop"), seed)
        asked = {
            "middle_over_worse_end": (evidence.middle_kl_over_worse_end(measured, "drop"), lambda ratio: ratio < HALF),
            "last_over_middle": (evidence.last_kl_over_middle(measured), lambda ratio: ratio > TWICE),
        }
        rows += [{"intervention": kind, "asked": name} | claims.decide(*each) for name, each in asked.items()]
    return pd.DataFrame(rows)
