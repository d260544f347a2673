"""Positions copied behind a text, so that attention from each can be cut in many ways in one run.

A copy has its original's position and sees what its original sees, less what is cut from it, and itself
instead of its original; nothing sees the copy.
"""

from dataclasses import dataclass
from typing import TypeGuard

import torch
from jaxtyping import Int
from torch import Tensor

from helpers import blocks
from helpers.errors import InputError


@dataclass(frozen=True)
class CopiedPlaces:
    """What a block needs for a text of ``n_pos`` tokens with ``n_copies`` of each place behind it.

    The last ``n_cut`` copies of a place do not see the ``reach`` tokens before it, the others do.
    """

    n_pos: int
    places: Int[Tensor, "place"]
    reach: Int[Tensor, "place"]
    n_copies: int
    n_cut: int

    def lengthen(self, extra: blocks.BlockInputs) -> blocks.BlockInputs:
        """The block's inputs recorded for the text alone, made longer."""
        given = (*extra.args, *extra.kwargs.values())
        if not any(self._is_mask(value) for value in given):
            raise InputError("this architecture takes no attention mask: attention cannot be cut, leave it out")
        kwargs = {name: self._longer(value) for name, value in extra.kwargs.items()}
        return blocks.BlockInputs(tuple(map(self._longer, extra.args)), kwargs)

    def _is_mask(self, value: object) -> TypeGuard[Tensor]:
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
        mask[0, 0, self.n_pos :, : self.n_pos] = torch.cat(
            [seen.repeat(self.n_copies - self.n_cut, 1), cut.repeat(self.n_cut, 1)]
        )
        mask[0, 0].diagonal()[self.n_pos :] = itself
        return mask
