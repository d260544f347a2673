"""Uses of words in sentences: where they are, what the residual stream and the logit lens hold there.

A use is read at its last token, the first position that has seen the whole word. Rows are those of the logit
lens; its entropy is in bits.
"""

import pandas as pd
import torch
from jaxtyping import Float
from numpy import ndarray
from transformer_lens.model_bridge import TransformerBridge

from helpers.engine import readout, streams
from helpers.engine.batches import device
from helpers.text import annotated_text
from helpers.text.annotated_text import MarkedText

SIDES = ("first", "second")
USE = ["word", "text", "span"]


def residual_rows(
    bridge: TransformerBridge, text: MarkedText, batch_size: int | str = "auto"
) -> Float[ndarray, "row word d_model"]:
    """Every row of the residual stream at the last token of every marked word, in float32."""
    sentences, positions = (torch.tensor(text.words[column].to_numpy(copy=True)) for column in ("sentence", "last"))
    return streams.at_places(bridge, text.tokens, sentences, positions, batch_size).numpy()


def of_pairs(
    bridge: TransformerBridge, pairs: pd.DataFrame, context: int
) -> tuple[pd.DataFrame, MarkedText, pd.DataFrame]:
    """The uses of words that end within ``context``, their tokens, and the pairs with the numbers of their two uses.

    A use is a ``word``, a ``text`` and a ``span`` in it; it is listed once, however many pairs it is in.
    """
    pairs = pairs.assign(word=pairs["word"].str.lower())
    uses = pd.concat([pairs[["word", side, f"{side}_span"]].set_axis(USE, axis=1) for side in SIDES])
    uses = uses.drop_duplicates(ignore_index=True)
    text = annotated_text.mark(bridge, uses["text"].tolist(), [[span] for span in uses["span"]], context)
    uses = uses.loc[text.words["sentence"]].reset_index(drop=True)
    number = {use: place for place, use in enumerate(uses.itertuples(index=False, name=None))}
    ends = {
        side: [number.get(use) for use in pairs[["word", side, f"{side}_span"]].itertuples(index=False, name=None)]
        for side in SIDES
    }
    return uses, text, pairs.assign(**ends).dropna(subset=list(SIDES))


def entropy(
    bridge: TransformerBridge, pairs: pd.DataFrame, context: int, batch_size: int | str = "auto"
) -> pd.DataFrame:
    """The logit lens's entropy (``entropy_bits``) where the uses of the words are read: one row per layer and word."""
    uses, text, _ = of_pairs(bridge, pairs, context)
    unembedding, frames = readout.Unembedding.of(bridge), []
    for layer, row in enumerate(torch.from_numpy(residual_rows(bridge, text, batch_size))):
        hidden = bridge.ln_final(row.to(device(bridge), bridge.W_U.dtype)[None])[0]
        read = unembedding.read(hidden, torch.zeros(len(row), dtype=torch.long, device=hidden.device))
        bits = uses.assign(entropy_bits=read.entropy_bits.double().cpu().numpy())
        frames.append(bits.groupby("word")[["entropy_bits"]].mean().assign(layer=layer).reset_index())
    return pd.concat(frames, ignore_index=True)
