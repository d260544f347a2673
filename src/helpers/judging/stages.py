"""Where the stages might begin and end (paper, four stages of inference): one curve, one step, per boundary.

The paper draws no exact boundaries. This is a simple rule, stated so that it can be criticised: each
boundary is where one measure steps from one level to another, the split that leaves the least absolute
deviation from the medians of its two sides. It counts only if the step goes the way the paper says, and
by at least a quarter of the higher level, in 97.5 % of the bootstrap resamples; and if there is anything
to measure (``least``). A fall is looked for behind the curve's peak. Boundaries are reported where they
are found, in order or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from helpers import attention, lens, norms
from helpers.judging.claims import CERTAIN
from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, pool

SLUG = "stages_of_inference"
CONTRAST = 0.25


@dataclass(frozen=True)
class Boundary:
    """Between two stages: the measure that should step there, and which way."""

    between: str
    experiment: str
    column: str
    meaning: str
    rises: bool
    least: float = 0.0  # of the higher level, in the measure's unit

    def curve(self, measures: Measures) -> Resampled:
        """The measure of every layer; of the lens's KL, how much of it a layer takes away per unit of depth."""
        curve = measures.curve(self.column)
        if self.experiment == lens.SLUG:
            return curve.map(lambda kl: -np.diff(kl, axis=1) * (kl.shape[1] - 1))
        return curve if self.rises else curve.map(_from_peak)

    def layers(self, curves: Float[np.ndarray, "resample layer"]) -> Float[np.ndarray, "resample"]:
        """The first layer of the later stage; not a number where no step counts."""
        where, before, after = step(curves, self.rises)
        higher, difference = np.maximum(before, after), abs(after - before)
        counts = (where > 0) & (higher >= self.least) & (difference >= CONTRAST * higher) & (difference > 0)
        return np.where(counts, where, np.nan)


BOUNDARIES = (
    Boundary("1 | 2", attention.SLUG, "attention_share_no_bos", "attention to the previous five tokens falls", False),
    Boundary("2 | 3", lens.SLUG, "kl_nats", "each layer takes away more of the lens's KL", True, least=1.0),
    Boundary("3 | 4", norms.SLUG, "mlp_to_residual", "MLPs write more, as a share of the residual stream", True),
)
MEASURED = tuple(boundary.experiment for boundary in BOUNDARIES)


def propose(measured: Mapping[str, Sequence[Measures]]) -> pd.DataFrame:
    """The boundaries of one model, one row each, on its measures by experiment: those that are ``MEASURED``.

    ``layer`` is the first layer of the later stage (empty where there is no boundary), with a 95 %
    interval; ``share_found`` the resamples that show the step.
    """
    return pd.DataFrame([_row(boundary, measured[boundary.experiment]) for boundary in BOUNDARIES])


def order(boundaries: pd.DataFrame) -> str:
    """Whether the boundaries that were found come in the order of the stages, in words."""
    layers = boundaries["layer"].dropna()
    if len(layers) < 2:
        return f"{len(layers)} of {len(boundaries)} boundaries found: nothing to order"
    return "in order" if layers.is_monotonic_increasing else "out of order"


def step(
    curve: Float[np.ndarray, "resample layer"], rises: bool
) -> tuple[Int[np.ndarray, "resample"], Float[np.ndarray, "resample"], Float[np.ndarray, "resample"]]:
    """The best split of every curve in two levels, the second higher (or lower): first layer after it, both levels.

    The split leaves the least sum of absolute deviations from the medians of its sides, among those that
    step the right way; where none does, the levels are equal.
    """
    n_resamples, n_layers = curve.shape
    best, where = np.full(n_resamples, np.inf), np.zeros(n_resamples, dtype=int)
    before, after = (np.median(curve, axis=1) for _ in range(2))
    for split in range(1, n_layers):
        sides = curve[:, :split], curve[:, split:]
        left, right = (np.median(side, axis=1) for side in sides)
        cost = sum(abs(side - level[:, None]).sum(1) for side, level in zip(sides, (left, right), strict=True))
        better = (cost < best) & ((right > left) if rises else (right < left))
        best, where = np.where(better, cost, best), np.where(better, split, where)
        before, after = np.where(better, left, before), np.where(better, right, after)
    return where, before, after


def _from_peak(curve: Float[np.ndarray, "resample layer"]) -> Float[np.ndarray, "resample layer"]:
    """The curve with every layer before its peak raised to the peak: a fall is looked for behind it, and judged
    against it."""
    before = np.arange(curve.shape[1]) < curve.argmax(1)[:, None]
    return np.where(before, curve.max(1, keepdims=True), curve)


def _row(boundary: Boundary, measures: Sequence[Measures]) -> dict[str, object]:
    curve = pool([boundary.curve(each) for each in measures])
    layer = curve.map(boundary.layers)
    share = layer.share(np.isfinite)
    clear = share >= CERTAIN and bool(np.isfinite(layer.estimate))
    low, high = (layer if clear else UNKNOWN).interval()
    _, (before,), (after,) = step(curve.estimate[None], boundary.rises)
    return {
        "between": boundary.between,
        "measure": boundary.column,
        "meaning": boundary.meaning,
        "layer": int(layer.estimate) if clear else np.nan,
        "layer_low": float(low),
        "layer_high": float(high),
        "depth": (float(layer.estimate) - 0.5) / max(1, len(curve.estimate) - 1) if clear else np.nan,
        "level_before": before,
        "level_after": after,
        "share_found": share,
    }
