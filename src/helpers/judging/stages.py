"""Where the stages might begin and end (paper, four stages of inference): one curve, one step, per boundary.

The paper draws no exact boundaries, and its stages overlap. This is a simple rule, stated to be criticised:
a boundary is where one measure of the layers past the first steps from one level to another. A step counts only if

- its later level is higher (or lower), as the paper says, by a quarter of the higher level;
- two levels leave at most half the squares that the best smooth course leaves: a ramp is no step;
- both in 97.5 % of the bootstrap resamples of the text;
- and at most 5 % of random orders of the layers have as clear a step: a scatter of values is no step.

The last asks whether layers might be exchanged; a curve that wanders is not ruled out by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from helpers import attention, lens, lesion, norms
from helpers.judging import steps
from helpers.judging.claims import CERTAIN
from helpers.judging.measures import Measures
from helpers.stats import UNKNOWN, Resampled, pool

SLUG = "stages_of_inference"
CONTRAST, CLEARLY, CHANCE = 0.25, 0.5, 0.05
ORDERS = 2000


@dataclass(frozen=True)
class Boundary:
    """Between two stages: the measure that should step there, and which way."""

    between: str
    experiment: str
    column: str
    meaning: str
    rises: bool
    least: float = 0.0  # of the higher level, in the measure's unit
    change: int = 0  # -1 or 1: not the measure itself, but what each layer takes away or adds, per unit of depth
    intervention: str | None = None

    def curve(self, measures: Measures) -> Resampled:
        """The measure of every layer past the first."""
        curve = measures.curve(self.column, self.intervention)
        if self.change:
            curve = curve.map(lambda rows: self.change * np.diff(rows, axis=1) * (rows.shape[1] - 1))
        return curve.map(lambda layers: layers[:, 1:])

    def passes(self, curves: Float[np.ndarray, "resample layer"]) -> tuple[steps.Step, Bool[np.ndarray, "resample"]]:
        """The best step of every curve, and whether it counts by itself, whatever other orders of layers show."""
        step = steps.best(curves, self.rises)
        higher, difference = np.maximum(step.before, step.after), abs(step.after - step.before)
        is_large = (higher >= self.least) & (difference >= CONTRAST * higher) & (difference > 0)
        return step, is_large & (1 - step.explained <= CLEARLY * (1 - step.explained_smoothly))


BOUNDARIES = (
    Boundary("1 | 2", attention.SLUG, "attention_share_no_bos", "attention to the previous five tokens falls", False),
    Boundary("2 | 3", lens.SLUG, "kl_nats", "each layer takes away more of the lens's KL", True, least=1.0, change=-1),
    Boundary("3 | 4", norms.SLUG, "mlp_to_residual", "MLPs write more, as a share of the residual stream", True),
)
ALTERNATIVES = (
    Boundary("1 | 2", attention.SLUG, "attention_share", "attention to the previous five, BOS counted, falls", False),
    Boundary("1 | 2", norms.SLUG, "attention_to_residual", "attention writes less, as a share of the stream", False),
    Boundary("1 | 2", norms.SLUG, "attention_norm", "attention writes less", False),
    Boundary("1 | 2", lesion.SLUG, "kl_nats", "a dropped layer costs less", False, intervention="drop"),
    Boundary("2 | 3", lens.SLUG, "entropy_bits", "each layer takes away more entropy", True, least=1.0, change=-1),
    Boundary("2 | 3", lens.SLUG, "top1_agreement", "each layer settles more first guesses", True, least=0.1, change=1),
    Boundary("3 | 4", norms.SLUG, "mlp_norm", "MLPs write more", True),
    Boundary("3 | 4", lens.SLUG, "entropy_bits", "each layer takes away less entropy", False, least=1.0, change=-1),
    Boundary("3 | 4", lesion.SLUG, "kl_nats", "a dropped layer costs more", True, intervention="drop"),
)
MEASURED = tuple(boundary.experiment for boundary in BOUNDARIES)


def propose(measured: Mapping[str, Sequence[Measures]], wanted: Sequence[Boundary] = BOUNDARIES) -> pd.DataFrame:
    """The boundaries of one model, one row each, on its measures by experiment: those that are ``MEASURED``.

    ``layer`` is the first layer of the later stage (empty where there is no boundary), with a 95 % interval;
    ``share_found`` the resamples in which the step counts. Of random orders of the layers, ``shuffled_found`` have a
    step that counts by itself, and ``shuffled_as_clear`` one that explains as much as this one."""
    return pd.DataFrame([_row(boundary, _curve(boundary, measured)) for boundary in wanted])


def order(boundaries: pd.DataFrame) -> str:
    """Whether the boundaries that were found come in the order of the stages, in words."""
    layers = boundaries["layer"].dropna()
    if len(layers) < 2:
        return f"{len(layers)} of {len(boundaries)} boundaries found: nothing to order"
    return "in order" if layers.is_monotonic_increasing else "out of order"


def shuffled_in_order(measured: Mapping[str, Sequence[Measures]]) -> dict[str, float]:
    """In what share of random orders of the layers, the same for all curves, all boundaries are found and in order."""
    by_itself, whole, where = [], [], []
    for boundary in BOUNDARIES:
        curve = _curve(boundary, measured).estimate
        step, counts = boundary.passes(curve[_orders(len(curve))])
        by_itself.append(counts)
        whole.append(counts & (_share_as_clear(step.explained, step.explained) <= CHANCE))
        where.append(step.where)
    in_order = (np.diff(where, axis=0) >= 0).all(0)
    rules = {"by_itself": by_itself, "whole_rule": whole}
    return {rule: float(np.mean(np.all(counts, axis=0) & in_order)) for rule, counts in rules.items()}


def _curve(boundary: Boundary, measured: Mapping[str, Sequence[Measures]]) -> Resampled:
    return pool([boundary.curve(each) for each in measured[boundary.experiment]])


def _row(boundary: Boundary, curve: Resampled) -> dict[str, object]:
    def first_layer(curves: Float[np.ndarray, "resample layer"]) -> Float[np.ndarray, "resample"]:
        found, counts = boundary.passes(curves)
        return np.where(counts, found.where + 1.0, np.nan)  # the model's first layer counts too

    step, (counts,) = boundary.passes(curve.estimate[None])
    shuffled, shuffled_counts = boundary.passes(curve.estimate[_orders(len(curve.estimate))])
    (as_clear,) = _share_as_clear(step.explained, shuffled.explained)
    layer = curve.map(first_layer)
    share = layer.share(np.isfinite)
    found = bool(counts) and share >= CERTAIN and as_clear <= CHANCE
    low, high = (layer if found else UNKNOWN).interval()
    return {
        "between": boundary.between,
        "measure": boundary.column,
        "meaning": boundary.meaning,
        "layer": int(layer.estimate) if found else np.nan,
        "layer_low": float(low),
        "layer_high": float(high),
        "depth": (float(layer.estimate) - 0.5) / len(curve.estimate) if found else np.nan,
        "level_before": step.before[0],
        "level_after": step.after[0],
        "explained": step.explained[0],
        "explained_smoothly": step.explained_smoothly[0],
        "share_found": share,
        "shuffled_found": float(shuffled_counts.mean()),
        "shuffled_as_clear": as_clear,
    }


def _orders(n_layers: int) -> np.ndarray:
    """Random orders of the layers, one a row; always the same ones."""
    return np.random.default_rng(0).permuted(np.tile(np.arange(n_layers), (ORDERS, 1)), axis=1)


def _share_as_clear(explained: np.ndarray, shuffled: np.ndarray) -> np.ndarray:
    """The share of random orders whose best step explains as much as each of these, to rounding."""
    return 1 - np.searchsorted(np.sort(shuffled), explained - steps.ROUNDING) / len(shuffled)
