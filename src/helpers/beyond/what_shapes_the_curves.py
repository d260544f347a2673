"""What gives the paper's curves their shape? The same curves measured under changed conditions (ours, not the paper's).

All curves that the paper draws against depth, on one text, in one long table; the conditions are the reader's: the
same text with its tokens shuffled, or the model without its massive activation at BOS (``massive_activation.removed``).
Neurons have no place here: they are counted in the weights, whatever the text.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import attention, lens, lesion, norms
from helpers.beyond import few_sequences
from helpers.judging import claims
from helpers.judging.measures import Measures
from helpers.stats import combine

SLUG = "what_shapes_the_curves"
KEYS = ("curve", "layer", "depth")
SWEEPS: dict[str, Callable[..., pd.DataFrame]] = {
    lesion.SLUG: lesion.sweep,
    attention.SLUG: attention.sweep,
    lens.SLUG: lens.sweep,
    norms.SLUG: norms.sweep,
}
CURVES = {  # name: experiment, column
    "drop_kl_nats": (lesion.SLUG, "kl_nats"),
    "drop_agreement": (lesion.SLUG, "relative_accuracy"),
    "attention_share": (attention.SLUG, "attention_share"),
    "attention_share_no_bos": (attention.SLUG, "attention_share_no_bos"),
    "lens_kl_nats": (lens.SLUG, "kl_nats"),
    "lens_entropy_bits": (lens.SLUG, "entropy_bits"),
    "mlp_norm": (norms.SLUG, "mlp_norm"),
    "mlp_to_residual": (norms.SLUG, "mlp_to_residual"),
}
SAME_SHAPE = 0.8


def curves(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> pd.DataFrame:
    """Every one of ``CURVES`` on every sequence: columns ``sequence``, ``curve``, ``layer``, ``depth``, ``value``."""
    swept = {experiment: sweep(bridge, tokens, batch_size) for experiment, sweep in SWEEPS.items()}
    swept[lesion.SLUG] = swept[lesion.SLUG].query("intervention == 'drop'")
    frames = []
    for curve, (experiment, column) in CURVES.items():
        rows = swept[experiment][["sequence", "layer", column]].rename(columns={column: "value"})
        frames.append(rows.assign(curve=curve, depth=rows["layer"] / max(1, rows["layer"].max())))
    return pd.concat(frames, ignore_index=True)


def summarise(rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Means over sequences with intervals, one row per curve and layer."""
    return few_sequences.summarise(rows, seed=seed, keys=KEYS)


def shuffled(tokens: Int[Tensor, "sequence pos"], seed: int = 0) -> Int[Tensor, "sequence pos"]:
    """The same tokens in each window, in random order; BOS stays where it is."""
    generator = np.random.default_rng(seed)
    orders = np.stack([generator.permutation(tokens.shape[1] - 1) + 1 for _ in range(len(tokens))])
    return torch.cat([tokens[:, :1], tokens.gather(1, torch.from_numpy(orders).to(tokens.device))], dim=1)


def same_shape(rows: pd.DataFrame, changed: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Does a changed condition give the same curve? One row per curve: rank correlation over layers, judged.

    The rule is at least 0.8. Ranks, so that the first layer counts no more than any other. ``level`` is the mean over
    layers under the changed condition / that of the curve itself: the same shape may be of another size.
    """
    found = []
    for curve in CURVES:
        own, other = (Measures(each[each["curve"] == curve], seed).curve("value") for each in (rows, changed))
        verdict = claims.decide(combine(rank_correlation, own, other), lambda correlation: correlation >= SAME_SHAPE)
        level = float(other.estimate.mean() / own.estimate.mean())
        found.append({"curve": curve, "level": level} | verdict)
    return pd.DataFrame(found)


def rank_correlation(
    one: Float[np.ndarray, "resample layer"], other: Float[np.ndarray, "resample layer"]
) -> Float[np.ndarray, "resample"]:
    """Spearman's, of each pair of curves; not a number where a curve is constant."""
    ranks = (pd.DataFrame(curves).rank(axis=1) for curves in (one, other))
    first, second = (each.sub(each.mean(axis=1), axis=0) for each in ranks)
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return ((first * second).sum(axis=1) / scale.where(scale > 0)).to_numpy(float)
