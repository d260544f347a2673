"""One sentence and all that the explorer and the playground show of it, computed once."""

from dataclasses import dataclass

import pandas as pd
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.beyond import one_text

GUESSES = 5
LESIONS = ("drop", "swap")


@dataclass(frozen=True)
class Sentence:
    """What a model makes of one text; the tables are those of ``beyond.one_text``, ``tokens`` as they are spelled."""

    text: str
    tokens: list[str]
    lens: pd.DataFrame
    lesioned: pd.DataFrame
    losses: pd.DataFrame
    patterns: Float[Tensor, "layer head query key"]

    @classmethod
    def of(cls, bridge: TransformerBridge, text: str) -> "Sentence":
        """Everything about ``text``; ``InputError`` where it is empty or too long for the model."""
        tokens = one_text.encode(bridge, text)
        return cls(
            text=text,
            tokens=one_text.spellings(bridge, tokens),
            lens=one_text.lens_guesses(bridge, tokens, GUESSES),
            lesioned=one_text.lesioned_guesses(bridge, tokens, GUESSES),
            losses=one_text.loss_by_token(bridge, tokens),
            patterns=one_text.patterns(bridge, tokens),
        )

    @property
    def n_layers(self) -> int:
        return len(self.patterns)

    @property
    def n_heads(self) -> int:
        return self.patterns.shape[1]
