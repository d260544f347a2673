"""How alike two layers see a text: linear centred kernel alignment (CKA), without bias.

The paper has it for layer outputs at the last token of sequences of up to 512 tokens, 128 sequences at a time
(5, figures 5b, 5c and 14; appendix C): ``sweep_last``. Beside it, ``sweep``: tokens at every place of a text, and also
what each block writes.

Each layer says, by the dot products of its vectors, which tokens it holds to be alike. HSIC, the covariance of
these judgements between two layers, is estimated without bias as HSIC_1 of Song et al. (2012, equation 5), as Nguyen,
Raghu and Kornblith (2021) do; CKA divides by both layers' own: 1 for the same geometry up to rotation and one
common scale, about 0 (also slightly below) for unrelated ones. The plain estimate would be far above 0 there
whenever layers have many dimensions and the sample few tokens. BOS is left out.
"""

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.engine import streams
from helpers.errors import InputError

SAMPLE = 1024


def sweep(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> pd.DataFrame:
    """``cka`` of all pairs of layers: one row per ``kind``, ``layer_a`` and ``layer_b``.

    ``residual``: what enters each block, and what leaves the last (layer n_layers). ``written``: what each block adds.
    Time and memory grow with the number of layers times ``SAMPLE``**2; one forward pass of the text is all the
    model does. No intervals: pairs of tokens are not independent.
    """
    residual = sampled_streams(bridge, tokens, batch_size).double()
    kinds = {"residual": residual, "written": residual.diff(dim=0)}
    return pd.concat([_rows(kind, cka(vectors)) for kind, vectors in kinds.items()], ignore_index=True)


def sweep_last(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> pd.DataFrame:
    """As the paper: ``cka`` of all pairs of rows at each sequence's last token, under the kind ``last_token``."""
    return _rows("last_token", cka(last_tokens(bridge, tokens, batch_size)))


def last_tokens(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> Float[Tensor, "layer sampled d_model"]:
    """The residual stream at the last token of up to ``SAMPLE`` evenly spaced sequences, in float32 on the CPU."""
    chosen = tokens[torch.arange(min(SAMPLE, len(tokens))) * len(tokens) // min(SAMPLE, len(tokens))]
    last = torch.full((len(chosen),), tokens.shape[1] - 1)
    return streams.at_places(bridge, chosen, torch.arange(len(chosen)), last, batch_size)


def cka(layers: Float[Tensor, "layer token d_model"]) -> Float[Tensor, "layer layer"]:
    """Linear CKA between all pairs of layers; NaN for a layer in which no structure can be told from noise."""
    centred = layers.double() - layers.double().mean(1, keepdim=True)
    hsic = unbiased_hsic(centred @ centred.mT)
    own = hsic.diagonal()
    own = own.where(own > 0, torch.nan).sqrt()
    return hsic / own.outer(own)


def unbiased_hsic(grams: Float[Tensor, "layer token token"]) -> Float[Tensor, "layer layer"]:
    """HSIC_1 between all pairs of Gram matrices: its expectation is 0 for independent layers.

    Raises ``InputError`` for fewer than four tokens, for which it does not exist.
    """
    n = grams.shape[-1]
    if n < 4:
        raise InputError(f"the unbiased estimate of similarity needs at least 4 tokens, here are {n}: give more text")
    hollow = grams.clone()
    hollow.diagonal(dim1=1, dim2=2).zero_()  # no token is compared with itself
    rows, flat = hollow.sum(-1), hollow.flatten(1)
    total = rows.sum(-1)
    return (flat @ flat.T + total.outer(total) / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows @ rows.T) / (n * (n - 3))


def sampled_streams(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> Float[Tensor, "layer token d_model"]:
    """The intact residual stream at up to ``SAMPLE`` evenly spaced tokens, BOS left out, in float32 on the CPU."""
    n_sequences, context = tokens.shape
    n_tokens = n_sequences * (context - 1)
    n_sampled = min(SAMPLE, n_tokens)
    chosen = torch.arange(n_sampled) * n_tokens // n_sampled
    return streams.at_places(bridge, tokens, chosen // (context - 1), chosen % (context - 1) + 1, batch_size)


def _rows(kind: str, matrix: Float[Tensor, "layer layer"]) -> pd.DataFrame:
    layers = range(len(matrix))
    pairs = pd.MultiIndex.from_product([layers, layers], names=["layer_a", "layer_b"])
    return pd.DataFrame({"kind": kind, "cka": matrix.flatten().numpy()}, index=pairs).reset_index()
