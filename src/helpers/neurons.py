"""Prediction and suppression neurons (paper, 5.3 and 5.4, figure 8; Voita et al. 2023, Gurnee et al. 2024).

A neuron's output vector has a cosine with the unembedding vector of every token. For a neuron that
speaks about few tokens these cosines have heavy tails: kurtosis above 10 (a normal distribution has 3).
Positive skew means that it raises those tokens, a prediction neuron; negative that it lowers them, a
suppression neuron. All of this is read off the weights, no text is involved.
"""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers.engine import offloading
from helpers.errors import InputError

SLUG = "prediction_suppression_neurons"
KURTOSIS_THRESHOLD = 10.0
CHUNK_ROWS = 512  # directions of one matrix product
BLOCK_ELEMENTS = 2**17  # cosines reduced at once: 1 MB in float64, which a processor's cache holds


def moments(bridge: TransformerBridge) -> pd.DataFrame:
    """Kurtosis (not excess) and skew of every MLP neuron's cosines: one row per layer and neuron."""
    unembedding = unit_columns(bridge.W_U)
    frames = []
    for layer in range(bridge.cfg.n_layers):
        kurtosis, skew = cosine_moments(output_weights(bridge, layer), unembedding)
        values = {"kurtosis": kurtosis.cpu().numpy(), "skew": skew.cpu().numpy()}
        frames.append(pd.DataFrame({"layer": layer, "neuron": range(len(kurtosis)), **values}))
    return pd.concat(frames, ignore_index=True)


def count(neurons: pd.DataFrame, threshold: float = KURTOSIS_THRESHOLD) -> pd.DataFrame:
    """Neurons per layer, and how many of them predict and suppress: kurtosis above ``threshold``."""
    special = neurons["kurtosis"] > threshold
    marked = neurons.assign(
        n_neurons=1, n_prediction=special & (neurons["skew"] > 0), n_suppression=special & (neurons["skew"] < 0)
    )
    counts = marked.groupby("layer")[["n_neurons", "n_prediction", "n_suppression"]].sum()
    return counts.astype(int).reset_index()


def random_threshold(
    bridge: TransformerBridge, quantile: float = 0.999, n_directions: int = 10_000, seed: int = 0
) -> float:
    """The kurtosis that a share ``quantile`` of random directions stays below, against the same unembedding."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(n_directions, bridge.cfg.d_model, generator=generator).to(bridge.W_U)
    if not bridge.cfg.uses_rms_norm:
        directions -= directions.mean(-1, keepdim=True)
    kurtosis, _ = cosine_moments(directions, unit_columns(bridge.W_U))
    return kurtosis.quantile(quantile).item()


def one_token_kurtosis(width: int, vocabulary: int) -> float:
    """The kurtosis of a direction that points at exactly one token, where the other tokens point anywhere.

    About 3 + width**2 / vocabulary where the vocabulary is much larger than the width; no neuron reaches more by
    speaking about a single token.
    """
    token = 1 / vocabulary  # the mean of one cosine of 1 and others of mean 0
    second, fourth = 1 / width, 3 / (width * (width + 2))  # moments of a random cosine
    m2 = token * (1 - token) ** 2 + (1 - token) * (second + token**2)
    m4 = token * (1 - token) ** 4 + (1 - token) * (fourth + 6 * token**2 * second + token**4)
    return m4 / m2**2


def token_moments(bridge: TransformerBridge, most: int = 1024) -> pd.DataFrame:
    """Kurtosis and skew of directions that point exactly at a token: of up to ``most`` tokens, evenly spaced."""
    tokens = torch.arange(min(most, bridge.cfg.d_vocab)) * bridge.cfg.d_vocab // min(most, bridge.cfg.d_vocab)
    kurtosis, skew = cosine_moments(bridge.W_U[:, tokens].T, unit_columns(bridge.W_U))
    return pd.DataFrame({"token": tokens, "kurtosis": kurtosis.cpu().numpy(), "skew": skew.cpu().numpy()})


def free_dimensions(bridge: TransformerBridge) -> int:
    """In how many dimensions directions can differ before the unembedding: LayerNorm takes one away."""
    return bridge.cfg.d_model - (not bridge.cfg.uses_rms_norm)


def cosine_moments(
    directions: Float[Tensor, "direction d_model"], unembedding: Float[Tensor, "d_model vocab"]
) -> tuple[Float[Tensor, "direction"], Float[Tensor, "direction"]]:
    """Kurtosis m4 / m2**2 and skew m3 / m2**1.5 over the vocabulary of each direction's cosines.

    ``unembedding`` has unit columns. Central moments in float64; the cosines of only a few hundred
    directions exist at a time.
    """
    block = max(1, BLOCK_ELEMENTS // unembedding.shape[1]) if unembedding.device.type == "cpu" else CHUNK_ROWS
    moments = [
        _central_moments(rows.double())
        for chunk in unit_rows(directions).split(CHUNK_ROWS)
        for rows in (chunk @ unembedding).split(block)
    ]
    m2, m3, m4 = torch.cat(moments, dim=1)
    return m4 / m2**2, m3 / m2**1.5


def unit_columns(matrix: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """Each column at length 1 (a column of zeros stays zero), in float32."""
    return unit_rows(matrix.T).T


def unit_rows(matrix: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """Each row at length 1 (a row of zeros stays zero), in float32."""
    return torch.nn.functional.normalize(matrix.float(), dim=-1)


def _central_moments(values: Float[Tensor, "direction vocab"]) -> Float[Tensor, "moment direction"]:
    centred = values - values.mean(-1, keepdim=True)
    squares = centred.square()
    sums = squares.sum(-1), torch.linalg.vecdot(squares, centred), torch.linalg.vecdot(squares, squares)
    return torch.stack(sums) / values.shape[-1]


def output_weights(bridge: TransformerBridge, layer: int) -> Float[Tensor, "neuron d_model"]:
    """What each neuron of a layer writes to the residual stream; ``InputError`` where there is no dense MLP."""
    block = bridge.blocks[layer]
    with offloading.present(block):
        if (weights := getattr(block.mlp, "W_out", None)) is not None:
            return weights.detach()  # keeps its values when the block is let go
    raise InputError(
        f"layer {layer} of this {bridge.cfg.architecture} has no dense MLP (mixture of experts?): "
        f"its neurons cannot be counted, leave {SLUG} out"
    )
