"""Cut attention from some positions to the tokens just before them, and see what the next prediction loses.

A cut sets attention scores to minus infinity before the softmax: the rest of the row shares what is left.
It is made in one layer only, or in all layers up to it. To cut many positions in many ways at once, each
is *copied* behind the text: the copy has its original's residual and position and sees what its original
saw, less what is cut; nothing sees the copy. So every cut is as if it were the only one, and the intact
text is run once for all. Per sequence that is n_layers blocks over the text, and n_layers**2 over each
position that is cut.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import blocks
from helpers.engine import readout
from helpers.engine.batches import over_sequences
from helpers.errors import InputError

SCOPES = ("layer", "up_to")
PLACES_PER_CALL = 32
TOLERANCE = 1e-2  # nats


def sweep(
    bridge: TransformerBridge,
    tokens: Int[Tensor, "sequence pos"],
    pairs: pd.DataFrame,
    batch_size: int | str = "auto",
) -> pd.DataFrame:
    """Every cut of the ``pairs`` of ``detokenization.matched_words``: one row per sequence and layer.

    Columns ``loss_change_word``, ``loss_change_control`` and ``loss_change_difference``, word minus control,
    in nats, of the token that follows: attention from there to the ``reach`` tokens before is cut in this
    layer only, or (``_up_to``) in all layers up to it. Means over words; NaN for a sequence without any.
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
                f"loss_change_{name}{'_up_to' if scope else ''}": value[:, scope].cpu().numpy()
                for scope in range(len(SCOPES))
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
    parts = zip(places.split(PLACES_PER_CALL), reach.split(PLACES_PER_CALL), strict=True)
    changes = []
    for some, their_reach in parts:
        intact, copies = cut_streams(bridge, tokens, some, their_reach, inputs)
        labels = tokens[some + 1]
        losses = [
            unembedding.read(bridge.ln_final(hidden), labels.expand(hidden.shape[:-1])).loss_nats
            for hidden in (copies, intact[None, some])
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
    layer 0, up to 0, layer 1, up to 1, ...

    A copy cut in layer l only starts there, from the intact stream; one cut up to l from that cut up to l-1.
    """
    intact = blocks.embed(bridge, tokens[None])[0]
    copies = intact[places][None].repeat(len(SCOPES), 1, 1)
    for layer in range(bridge.cfg.n_layers):
        if layer:
            copies = torch.cat([copies, intact[places][None], copies[-1:]])
        beside = Beside(len(tokens), places, reach, len(copies)).of(inputs[layer])
        both = torch.cat([intact, copies.flatten(0, 1)])
        both = blocks.run_block(bridge, layer, both[None], [*inputs[:layer], beside])[0]
        intact, copies = both[: len(tokens)], both[len(tokens) :].unflatten(0, copies.shape[:2])
    return intact, copies


@dataclass(frozen=True)
class Beside:
    """What a block needs for a text of ``n_pos`` tokens with ``n_copies`` of each place behind it.

    The last two copies of a place do not see the ``reach`` tokens before it, the others do.
    """

    n_pos: int
    places: Int[Tensor, "place"]
    reach: Int[Tensor, "place"]
    n_copies: int

    def of(self, extra: blocks.BlockInputs) -> blocks.BlockInputs:
        """The block's inputs recorded for the text alone, made longer."""
        given = (*extra.args, *extra.kwargs.values())
        if not any(self._is_mask(value) for value in given):
            raise InputError("this architecture takes no attention mask: attention cannot be cut, leave it out")
        kwargs = {name: self._longer(value) for name, value in extra.kwargs.items()}
        return blocks.BlockInputs(tuple(map(self._longer, extra.args)), kwargs)

    def _is_mask(self, value: object) -> bool:
        return isinstance(value, Tensor) and value.dim() == 4 and value.shape[-2:] == (self.n_pos, self.n_pos)

    def _longer(self, value: object) -> object:
        if isinstance(value, tuple):
            return tuple(map(self._longer, value))
        if self._is_mask(value):
            return self.mask(value)
        if isinstance(value, Tensor) and value.dim() > 1 and value.shape[1] == self.n_pos:  # position tables and ids
            copied = self.places.repeat(self.n_copies).to(value.device)
            return torch.cat([value, value[:, copied]], dim=1)
        return value

    def mask(self, text: Tensor) -> Tensor:
        """The mask, additive or boolean: copies see what their originals see, themselves, and no other copy."""
        blocked = False if text.dtype == torch.bool else torch.finfo(text.dtype).min
        places, reach = self.places.to(text.device), self.reach.to(text.device)
        n_places = len(places)
        seen = text[0, 0, places]  # (place, key)
        itself = seen.gather(1, places[:, None]).repeat(self.n_copies, 1).squeeze(1)
        seen = seen.scatter(1, places[:, None], blocked)
        back = places[:, None] - torch.arange(self.n_pos, device=text.device)
        cut = seen.masked_fill((back >= 1) & (back <= reach[:, None]), blocked)
        length = self.n_pos + self.n_copies * n_places
        mask = text.new_full((1, 1, length, length), blocked)
        mask[0, 0, : self.n_pos, : self.n_pos] = text[0, 0]
        mask[0, 0, self.n_pos :, : self.n_pos] = torch.cat([seen.repeat(self.n_copies - 2, 1), cut, cut])
        mask[0, 0].diagonal()[self.n_pos :] = itself
        return mask


def _check(bridge, tokens, inputs, unembedding) -> None:
    """Copies from which nothing is cut must predict what their originals do."""
    row = tokens[0].to(bridge.W_U.device)
    places = torch.arange(1, len(row) - 1, max(1, len(row) // 8), device=row.device)
    change = loss_changes(bridge, row, places, torch.zeros_like(places), inputs, unembedding).abs().max().item()
    if not change <= max(TOLERANCE, 64 * torch.finfo(bridge.W_U.dtype).eps) or math.isnan(change):
        raise InputError(
            f"positions copied behind the text do not predict what their originals do in this "
            f"{bridge.cfg.architecture} (loss differs by {change:.2g} nats): its attention cannot be cut like this"
        )
