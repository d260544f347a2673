"""Where the stages might begin and end (paper, four stages of inference): one curve, one step, per boundary.

The paper draws no exact boundaries. This is a simple rule, stated so that it can be criticised: each
boundary is where one measure steps from one level to another, the split that leaves the least absolute
deviation from the medians of its two sides. It counts only if the step goes the way the paper says, and
by at least a quarter of the higher level, in 97.5 % of the bootstrap resamples; and if there is anything
to measure (``least``). A fall is looked for behind the curve's peak. Boundaries are reported where they
are found, in order or not.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from helpers import attention, lens, lesion, neurons, norms, paths, tables
from helpers.engine import sources
from helpers.errors import InputError
from helpers.judging import claims
from helpers.judging.evidence import Measures, Resampled

SLUG = "stages_of_inference"
EXPERIMENTS = (lesion, attention, lens, neurons, norms)
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

    def curve(self, measures: Measures) -> Float[np.ndarray, "resample layer"]:
        """The measure of every layer; of the lens's KL, how much of it a layer takes away per unit of depth."""
        curve = measures.curve(self.column)
        if self.experiment == lens.SLUG:
            return -np.diff(curve, axis=1) * (curve.shape[1] - 1)
        return curve if self.rises else _from_peak(curve)


BOUNDARIES = (
    Boundary("1 | 2", attention.SLUG, "attention_share_no_bos", "attention to the previous five tokens falls", False),
    Boundary("2 | 3", lens.SLUG, "kl_nats", "each layer takes away more of the lens's KL", True, least=1.0),
    Boundary("3 | 4", norms.SLUG, "mlp_to_residual", "MLPs write more, as a share of the residual stream", True),
)


def propose(model: str, seed: int = 0) -> pd.DataFrame:
    """The boundaries of one model, from the tables in its results: one row each.

    ``layer`` is the first layer of the later stage (empty where there is no boundary), with a 95 %
    interval; ``share_found`` the resamples that show the step. Raises ``InputError`` where an
    experiment has not been run.
    """
    return pd.DataFrame([_row(boundary, require(model, boundary.experiment, seed)) for boundary in BOUNDARIES])


def order(boundaries: pd.DataFrame) -> str:
    """Whether the boundaries that were found come in the order of the stages, in words."""
    found = boundaries.dropna(subset="layer")
    if len(found) < 2:
        return f"{len(found)} of {len(boundaries)} boundaries found: nothing to order"
    return "in order" if found["layer"].is_monotonic_increasing else "out of order"


def step(
    curve: Float[np.ndarray, "resample layer"], rises: bool
) -> tuple[Int[np.ndarray, "resample"], Resampled, Resampled]:
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


def require(model: str, experiment: str, seed: int = 0) -> list[Measures]:
    """The measures of an experiment, or an ``InputError`` that says how to make them."""
    found = claims.measures(model, experiment, seed)
    if not found:
        raise InputError(f"{experiment} has not been run on {model}: ./run_all.sh --model {model} --only {experiment}")
    return found


def tables_of(model: str) -> dict[str, pd.DataFrame]:
    """The tables of the five experiments that the model has, by experiment."""
    loaded = {module.SLUG: tables.load(module.SLUG, model) for module in EXPERIMENTS}
    return {slug: table for slug, table in loaded.items() if table is not None}


def models_with_tables() -> list[str]:
    """The trained models in the results folder of which all five experiments have been run."""
    folders = sorted(path for path in (paths.output() / "results").glob("*") if path.is_dir())
    trained = [path.name for path in folders if sources.UNTRAINED not in path.name and path.name != claims.ACROSS]
    return [name for name in trained if len(tables_of(name)) == len(EXPERIMENTS)]


def _from_peak(curve: Float[np.ndarray, "resample layer"]) -> Float[np.ndarray, "resample layer"]:
    """The curve with every layer before its peak raised to the peak: a fall is looked for behind it, and judged
    against it."""
    before = np.arange(curve.shape[1]) < curve.argmax(1)[:, None]
    return np.where(before, curve.max(1, keepdims=True), curve)


def _row(boundary: Boundary, measures: list[Measures]) -> dict[str, object]:
    curve = claims.pool([boundary.curve(one) for one in measures])
    where, before, after = step(curve, boundary.rises)
    higher, difference = np.maximum(before, after), abs(after - before)
    found = (where > 0) & (higher >= boundary.least) & (difference >= CONTRAST * higher) & (difference > 0)
    share = found[1:].mean()
    clear = share >= claims.CERTAIN and found[0]
    low, high = np.percentile(where[1:][found[1:]], [2.5, 97.5]) if clear else (np.nan, np.nan)
    return {
        "between": boundary.between,
        "measure": boundary.column,
        "meaning": boundary.meaning,
        "layer": where[0] if clear else np.nan,
        "layer_low": low,
        "layer_high": high,
        "depth": (where[0] - 0.5) / max(1, curve.shape[1] - 1) if clear else np.nan,
        "level_before": before[0],
        "level_after": after[0],
        "share_found": share,
    }
