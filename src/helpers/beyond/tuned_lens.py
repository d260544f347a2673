"""The tuned lens: the logit lens in each row's own language (Belrose et al. 2023, arXiv 2303.08112). Not in the paper.

The plain lens reads every row of the residual stream as if it were the last. What an early row holds in other
directions, it does not see. Here each row x is given an affine map, x A + b, into the language of the last row, and is
then read by the model's own final norm and unembedding. The last row keeps its own: it is the model.

The maps are fitted on the first half of the sequences and judged on the second, so that nothing counts that was learned
by heart; only a document that lies across the middle is in both.
"""

from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from helpers import stats
from helpers.beyond import translators
from helpers.judging import claims
from helpers.judging.measures import Measures

TABLE = "logit_lens_tuned"
PLACES = 4096  # of each half, about
LEAST_NATS = 0.1  # left by the first layer: a smaller KL has no fall to speak of
MARGIN = 0.1  # of the way from row 1 to the last: a smaller difference is not worth a verdict


def sweep(
    bridge: TransformerBridge, tokens: Int[Tensor, "sequence pos"], batch_size: int | str = "auto"
) -> pd.DataFrame:
    """Both lenses on the second half of the sequences: one row per sequence and layer 0 .. n_layers.

    Columns ``kl_nats``, ``entropy_bits`` and ``top1_agreement`` are those of the plain lens, as in ``lens.sweep``; with
    ``_tuned`` those of the maps fitted on the first half. Means over positions 1 .. pos-2. Of each half as many evenly
    spaced sequences are used as have about ``PLACES`` places; ``sequence`` is their number in ``tokens``. A single
    sequence is judged and leaves nothing to fit on: its ``_tuned`` columns are empty but for the last row.
    """
    numbers, judged_numbers = halves(tokens)
    judged = translators.Residuals.of(bridge, tokens[judged_numbers], batch_size)
    fitting = translators.Residuals.of(bridge, tokens[numbers], batch_size) if len(numbers) else None
    shape = (len(judged_numbers), tokens.shape[1] - 2)
    frames = []
    for layer in range(bridge.cfg.n_layers + 1):
        x = judged.row(layer)
        plain = judged.measures(x)
        if layer == bridge.cfg.n_layers:
            tuned = plain
        elif fitting is None:
            tuned = {name: torch.full_like(each, torch.nan) for name, each in plain.items()}
        else:
            tuned = judged.measures(translators.fit(fitting, layer)(x))
        measures = plain | {f"{name}_tuned": each for name, each in tuned.items()}
        means = stats.means({name: each.reshape(shape) for name, each in measures.items()})
        frames.append(stats.rows(0, means, layer=layer).assign(sequence=judged_numbers.tolist()))
    return pd.concat(frames, ignore_index=True)


def halves(tokens: Int[Tensor, "sequence pos"]) -> list[Int[Tensor, "chosen"]]:
    """Numbers of the sequences to fit on, and to judge on: of either half about ``PLACES`` places, evenly spaced."""
    n_sequences, context = tokens.shape
    chosen = []
    for start, end in pairwise((0, n_sequences // 2, n_sequences)):
        n_chosen = min(end - start, max(1, PLACES // (context - 2)))
        chosen.append(start + torch.arange(n_chosen) * (end - start) // max(1, n_chosen))
    return chosen


def depth_of_half(kl: Float[np.ndarray, "resample row"]) -> Float[np.ndarray, "resample"]:
    """Where half of the KL that the first layer leaves is gone for the first time, between rows in a straight line.

    In shares of the way from row 1 to the last: 0.5 for a KL that falls in a straight line, more for a late fall.
    """
    left = kl[:, 1:] / kl[:, 1:2]
    row, resample = (left <= 0.5).argmax(1), np.arange(len(left))
    before, after = left[resample, row - 1], left[resample, row]
    return (row - 1 + (before - 0.5) / (before - after)) / (left.shape[1] - 1)


def judge(sequences: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """``depth_of_half`` by either lens, and tuned minus plain; columns as in ``claims.decide``, and the rule judged.

    The fall is late where it is ``MARGIN`` behind the straight line's, and has moved where the lenses differ by that.
    Undecided where there is hardly a KL, only one layer, or only one sequence.
    """
    curves = [Measures(sequences, seed).curve(column) for column in ("kl_nats", "kl_nats_tuned")]
    too_small = any(curve.estimate[1] < LEAST_NATS for curve in curves)
    reason = f"the first layer leaves less than {LEAST_NATS} nats" if too_small else ""
    plain, tuned = (stats.UNKNOWN if too_small else curve.map(depth_of_half) for curve in curves)
    late, moved = 0.5 + MARGIN, -MARGIN
    judged = {
        "plain lens": (plain, partial(np.less_equal, late), f"at least {late:g}"),
        "tuned lens": (tuned, partial(np.less_equal, late), f"at least {late:g}"),
        "tuned minus plain": (tuned - plain, partial(np.greater_equal, moved), f"at most {moved:g}"),
    }
    rows = [claims.decide(values, rule, reason) | {"holds if": words} for values, rule, words in judged.values()]
    return pd.DataFrame(rows, index=pd.Index(judged, name="half of the KL is gone at"))
