"""Blocks replaced by something simpler: is what the last one does a temperature? A direct test of stage 4, ours.

The paper calls its last stage residual calibration (5.4): the prediction is there, and its sharpness is set. If that
were all, one temperature for all texts could do it, or one affine map of the residual stream. Each block in turn is
replaced by

- ``drop``: nothing. The stream goes past the block. For the last block that is the logit lens of the row before.
- ``temperature``: nothing, and the final logits are multiplied by one fitted number.
- ``affine``: the stream plus an affine map of it, fitted to what the block writes. The blocks after it run as ever.

All are compared with the intact model's final prediction, so the last block and the earlier ones are on one scale. At
BOS, whose residual is huge in many models, every block runs as ever. What is fitted (see ``fits``) is fitted on other
sequences than it is tested on, and on other documents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks, lesion, stats
from helpers.beyond import fits
from helpers.engine import readout
from helpers.engine.batches import device, over_sequences
from helpers.engine.streams import advance, final_hidden
from helpers.errors import InputError
from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled

WHAT = "stand_ins"
DROP, TEMPERATURE, AFFINE = "drop", "temperature", "affine"
KEYS = ["layer", "replacement"]
RATIOS = {"kl_remaining": ("kl_nats", "kl_nats_dropped")}
KEPT = ("kl_nats", "top1_agreement", "accuracy", "loss_change_nats", "entropy_change_bits")
FOR_TEMPERATURES = 4  # sequences: one number is fitted
Replace = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StandIn:
    """What was fitted for one block: a map to what it writes, and the factor on the logits when it is missing."""

    written: fits.Affine
    inverse_temperature: float

    def replace(self, entering: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """The stream after the affine map, in the place of the block."""
        return entering + self.written(entering)


def halves(documents: Int[Tensor, "sequence pos"]) -> tuple[Int[Tensor, "fitted"], Int[Tensor, "tested"]]:
    """The first half of the sequences, and those of the second that share no document with it; of a text in one
    document all of the second half.

    ``documents`` as ``corpus.documents_of`` gives them. Raises ``InputError`` for a single sequence.
    """
    middle, without_bos = len(documents) // 2, documents[:, 1:].contiguous()
    apart = torch.tensor([not torch.isin(row, without_bos[:middle]).any() for row in without_bos[middle:]])
    if middle == 0:
        raise InputError("one sequence cannot be halved into text to fit on and to test on: give more --tokens")
    tested = apart.nonzero().flatten() if apart.any() else torch.arange(len(apart))
    return torch.arange(middle), middle + tested


def fit(bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"]) -> list[StandIn]:
    """A stand-in for every block, fitted on all positions of ``tokens`` but BOS; temperatures on few sequences."""
    tokens = tokens.to(device(bridge))
    inputs = blocks.record_inputs(bridge, tokens)
    maps, stream = [], blocks.embed(bridge, tokens)
    for layer in range(bridge.cfg.n_layers):  # two rows of the stream at a time: of a long text all would fill memory
        before = stream[:, 1:].clone().flatten(0, 1).float()
        advance(bridge, layer, stream[None], inputs)
        maps.append(fits.fit_affine(before, stream[:, 1:].flatten(0, 1).float() - before))
    few = tokens[:: max(1, len(tokens) // FOR_TEMPERATURES)][:FOR_TEMPERATURES]
    unembedding = readout.Unembedding.of(bridge)
    intact, *dropped = final_hidden(bridge, replaced_streams(bridge, few, [torch.clone] * len(maps), inputs))
    reference = unembedding.reference(intact, readout.labels(few))
    factors = (fits.fit_inverse_temperature(unembedding, reference, hidden) for hidden in dropped)
    return [StandIn(*fitted) for fitted in zip(maps, factors, strict=True)]


def replaced_streams(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "batch pos"],
    replacements: Sequence[Replace],
    inputs: list[blocks.BlockInputs],
) -> Float[Tensor, "stream batch pos d_model"]:
    """Final residual streams, before the last norm: intact, then with block 0, 1, 2, .. replaced except at BOS."""
    intact = blocks.embed(bridge, tokens)
    streams = intact.new_empty(1 + bridge.cfg.n_layers, *intact.shape)
    streams[0] = intact
    for layer, replace in enumerate(replacements):
        entering = streams[0, :, 1:].clone()
        advance(bridge, layer, streams[: 1 + layer], inputs)
        streams[1 + layer] = streams[0]
        streams[1 + layer, :, 1:] = replace(entering)
    return streams


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    stand_ins: Sequence[StandIn],
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """Every replacement of every block: one row per sequence, ``layer`` and ``replacement``.

    Columns as in ``lesion.sweep``: ``kl_nats``, ``top1_agreement``, ``accuracy``, ``loss_change_nats``,
    ``entropy_change_bits``; and ``kl_nats_dropped``, the KL without the block, by which ``RATIOS`` divides.
    """
    inputs = blocks.record_inputs(bridge, tokens)
    unembedding = readout.Unembedding.of(bridge)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        labels = readout.labels(batch)

        def finals(replacements: Sequence[Replace]) -> Float[Tensor, "stream batch predicted d_model"]:
            return final_hidden(bridge, replaced_streams(bridge, batch, replacements, inputs))

        intact_hidden, *dropped = finals([torch.clone] * len(stand_ins))
        mapped = finals([stand_in.replace for stand_in in stand_ins])[1:]
        intact = unembedding.reference(intact_hidden, labels)
        frames = []
        for layer, stand_in in enumerate(stand_ins):
            cases = {DROP: (dropped[layer], 1.0), AFFINE: (mapped[layer], 1.0)}
            cases[TEMPERATURE] = (dropped[layer], stand_in.inverse_temperature)
            of_case = {}
            for name, (hidden, factor) in cases.items():
                read, reference = fits.tempered(unembedding, factor), fits.tempered_reference(intact, factor)
                of_case[name] = lesion.compare(read, reference, factor * hidden, labels)
            for name, measures in of_case.items():
                kept = {column: measures[column] for column in KEPT} | {"kl_nats_dropped": of_case[DROP]["kl_nats"]}
                frames.append(stats.rows(first, stats.means(kept), layer=layer, replacement=name))
        return frames

    return over_sequences(bridge, tokens, measure, batch_size, streams=2 * (1 + len(stand_ins)))


def last_beside_earlier(rows: pd.DataFrame, replacement: str, seed: int = 0) -> Resampled:
    """What share of the last block's KL remains, less the mean share over earlier blocks but the first."""
    measures = Measures(rows[rows["replacement"] == replacement].drop(columns="replacement"), seed)
    share = measures.curve("kl_nats") / measures.curve("kl_nats_dropped")
    if share.estimate.shape[0] < 3:
        return UNKNOWN
    return share.map(lambda layers: layers[:, -1] - layers[:, 1:-1].mean(1))
