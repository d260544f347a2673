"""Cut attention from some positions to the tokens just before them, and see what the next prediction loses.

The test is ours: the paper reads where attention goes (5.1), a cut asks whether it matters. A cut sets
attention scores to minus infinity before the softmax: the rest of the row shares what is left. It is made in one
layer, in all up to it (when does reading begin to matter?), or in all from it on (when is it finished?). By
causality nothing else can carry what is cut: tokens before it have not read it.

To cut many positions in many ways at once, each is *copied* behind the text: the copy has its original's residual
and position and sees what its original saw, less what is cut; nothing sees the copy. So every cut is as if it were
the only one, and the intact text runs once. Per sequence that is n_layers blocks over the text, and about 3/2
n_layers**2 over each position that is cut.
"""

import math
from collections.abc import Callable, Iterable

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks
from helpers.beyond.copied_places import CopiedPlaces
from helpers.engine import readout
from helpers.engine.batches import over_sequences
from helpers.errors import InputError

SCOPES = ("", "_up_to", "_from")  # suffixes of columns: in this layer, in all up to it, in all from it on
COPIES_PER_CALL = 1024
COPY_TOLERANCE = 1e-2  # nats


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    pairs: pd.DataFrame,
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """Every cut of the ``pairs`` of ``detokenization.matched_words``: one row per sequence and layer.

    Columns ``loss_change_word``, ``loss_change_control`` and ``loss_change_difference``, word minus control,
    in nats, of the token that follows, each with every suffix in ``SCOPES``, which says in what layers attention
    to the ``reach`` tokens before is cut. Means over words; NaN for a sequence without any.
    Raises ``InputError`` for an architecture whose attention cannot be cut like this.
    """
    inputs = blocks.record_inputs(bridge, tokens)
    unembedding = readout.Unembedding.of(bridge)
    _check(bridge, tokens, inputs, unembedding)

    def measure(first: int, batch: Int[Tensor, "batch pos"]) -> list[pd.DataFrame]:
        frames = []
        for sequence, row in enumerate(batch, start=first):
            here = pairs[pairs["sequence"] == sequence]
            places = torch.tensor(here[["word", "control"]].to_numpy().T.flatten(), device=row.device)
            reach = torch.tensor(here["reach"].to_numpy(), device=row.device).repeat(2)
            change = loss_changes(bridge, row, places, reach, inputs, unembedding)
            word, control = change.double().unflatten(-1, (2, len(here))).mean(-1).unbind(-1)  # (layer, scope)
            columns = {"word": word, "control": control, "difference": word - control}
            values = {
                f"loss_change_{name}{suffix}": value[:, scope].cpu().numpy()
                for scope, suffix in enumerate(SCOPES)
                for name, value in columns.items()
            }
            frames.append(pd.DataFrame({"sequence": sequence, "layer": range(len(change)), **values}))
        return frames

    return over_sequences(bridge, tokens, measure, batch_size)


def cut_hooks(layers: Iterable[int], place: int, reach: int) -> list[tuple[str, Callable]]:
    """TransformerLens hooks that cut attention from one place to the ``reach`` tokens before it, in ``layers``.

    The plain way to make a single cut, and the check on ``cut_streams``.
    """

    def cut(scores, hook):
        scores[:, :, place, place - reach : place] = torch.finfo(scores.dtype).min
        return scores

    return [(f"blocks.{layer}.attn.hook_attn_scores", cut) for layer in layers]


def loss_changes(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "pos"],
    places: Int[Tensor, "place"],
    reach: Int[Tensor, "place"],
    inputs: list[blocks.BlockInputs],
    unembedding: readout.Unembedding,
) -> Float[Tensor, "layer scope place"]:
    """Loss of the token after each place, cut minus intact, in nats; scopes as in ``SCOPES``.

    ``inputs`` are the blocks' for sequences of this length. No place may be the last position.
    """
    if not len(places):
        return torch.empty(bridge.cfg.n_layers, len(SCOPES), 0)
    at_once = max(1, COPIES_PER_CALL // (len(SCOPES) * bridge.cfg.n_layers))
    parts = zip(places.split(at_once), reach.split(at_once), strict=True)
    changes = []
    for part, part_reach in parts:
        intact, copies = cut_streams(bridge, tokens, part, part_reach, inputs)
        labels = tokens[part + 1]
        losses = [
            unembedding.read(bridge.ln_final(hidden), labels.expand(hidden.shape[:-1])).loss_nats
            for hidden in (copies, intact[None, part])
        ]
        changes.append((losses[0] - losses[1]).unflatten(0, (-1, len(SCOPES))))
    return torch.cat(changes, dim=-1)


def cut_streams(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "pos"],
    places: Int[Tensor, "place"],
    reach: Int[Tensor, "place"],
    inputs: list[blocks.BlockInputs],
) -> tuple[Float[Tensor, "pos d_model"], Float[Tensor, "cut place d_model"]]:
    """Final residual streams, before the last norm: of the intact text, and of the places, cut in
    layer 0, up to 0, from 0, layer 1, up to 1, from 1, ...

    A copy cut from layer l on starts there, from the intact stream. As it leaves layer l, it is also the copy
    cut in l only; the one cut from 0 on is there the one cut up to l.
    """
    intact = blocks.embed(bridge, tokens[None])[0]
    ended = intact.new_empty(0, len(places), intact.shape[-1])  # layer 0, up to 0, layer 1, ...: cut no more
    cut = ended  # from 0, from 1, ...
    for layer in range(bridge.cfg.n_layers):
        cut = torch.cat([cut, intact[places][None]])
        copies = torch.cat([ended, cut])
        longer = CopiedPlaces(len(tokens), places, reach, len(copies), len(cut)).lengthen(inputs[layer])
        both = torch.cat([intact, copies.flatten(0, 1)])
        both = blocks.run_block(bridge, layer, both[None], [*inputs[:layer], longer])[0]
        intact, copies = both[: len(tokens)], both[len(tokens) :].unflatten(0, copies.shape[:2])
        ended, cut = copies[: len(ended)], copies[len(ended) :]
        ended = torch.cat([ended, cut[-1:], cut[:1]])
    by_layer = torch.cat([ended.unflatten(0, (-1, 2)), cut[:, None]], dim=1)  # (layer, scope, place, d_model)
    return intact, by_layer.flatten(0, 1)


def _check(bridge, tokens, inputs, unembedding) -> None:
    """Copies from which nothing is cut must predict what their originals do."""
    row = tokens[0].to(bridge.W_U.device)
    places = torch.arange(1, len(row) - 1, max(1, len(row) // 8), device=row.device)
    change = loss_changes(bridge, row, places, torch.zeros_like(places), inputs, unembedding).abs().max().item()
    if not change <= max(COPY_TOLERANCE, 64 * torch.finfo(bridge.W_U.dtype).eps) or math.isnan(change):
        raise InputError(
            f"positions copied behind the text do not predict what their originals do in this "
            f"{bridge.cfg.architecture} (loss differs by {change:.2g} nats): its attention cannot be cut like this"
        )
