"""Where a curve over layers peaks, judged so that a noisy curve cannot win.

The highest of many noisy values is too high, and somewhere there always is one. Hence four rules. The row is chosen
on half of the words and measured on the other half, both ways round, so that luck in choosing does not help.
A row counts as the mean of itself and its neighbours. A difference must be above ``SMALLEST``, the smallest worth a
verdict, in 97.5 % of the resamples of the words. And of all orders of a curve's layers at most 5 % may give as much:
what is true of neighbouring layers is lost when they are shuffled, what chance gives is not.

Curves are ``[half, row]`` as ``Resampled``; row 0, the embedding, is never counted, and ends are several rows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from helpers.judging import claims
from helpers.stats import UNKNOWN, Resampled, combine

SMALLEST = 0.02  # of accuracy or AUC
END = 0.2  # of the rows past the embedding, at either end
FEWEST_ROWS = 5  # past the embedding, of which one is either end
ORDERS, RARE = 1000, 0.05
Statistic = Callable[..., Float[np.ndarray, "n"]]


def smoothed(rows: Float[np.ndarray, "*n row"]) -> Float[np.ndarray, "*n row"]:
    """The mean of each row and its neighbours, of which the first and the last row have one."""
    near = np.abs(np.subtract.outer(*[np.arange(rows.shape[-1])] * 2)) <= 1
    return rows @ (near / near.sum(0))


def middle_rise(halves: Float[np.ndarray, "n half row"]) -> Float[np.ndarray, "n"]:
    """How much higher the best row of the middle is than the higher of the two ends."""
    early, middle, late = _thirds(halves)
    ends = np.maximum(early.mean(-1), late.mean(-1))
    return (_at(smoothed(middle), _chosen(middle)) - ends).mean(1)


def lead(earlier: Float[np.ndarray, "n half row"], later: Float[np.ndarray, "n half row"]) -> Float[np.ndarray, "n"]:
    """By how much the one curve peaks before the other: between their peaks the one falls and the other rises, and
    the smaller change counts. Negative if the order is the other way round, 0 if one of them does not change so.
    """
    earlier, later = earlier[..., 1:], later[..., 1:]
    first, second = _chosen(earlier), _chosen(later)
    fall, rise = (
        _at(smoothed(curve), here) - _at(smoothed(curve), there)
        for curve, here, there in ((earlier, first, second), (later, second, first))
    )
    return (np.sign(second - first) * np.minimum(fall, rise).clip(0)).mean(1)


def height(halves: Float[np.ndarray, "n half row"]) -> Float[np.ndarray, "n"]:
    """The highest row, chosen on the one half and measured on the other."""
    rows = halves[..., 1:]
    return _at(smoothed(rows), _chosen(rows)).mean(1)


def depth_of_peak(halves: Float[np.ndarray, "n half row"]) -> Float[np.ndarray, "n"]:
    """Depth (row / last row) of the highest row, mean over the halves."""
    return ((smoothed(halves[..., 1:]).argmax(-1) + 1) / (halves.shape[-1] - 1)).mean(1)


def decide(statistic: Statistic, curves: Sequence[Resampled], reason: str = "", seed: int = 0) -> dict[str, Any]:
    """Is a statistic of one curve, or of two, above ``SMALLEST``? As ``claims.decide``, and ``as_much``: in what share
    of the orders of the layers there is as much."""
    n_rows = curves[0].estimate.shape[-1] - 1
    if n_rows < FEWEST_ROWS:
        reason = reason or f"needs {FEWEST_ROWS} layers, the model has {n_rows}"
        return claims.decide(UNKNOWN, _is_enough, reason) | {"as_much": float("nan")}
    values = combine(statistic, *curves)
    as_much = share_of_orders(statistic, curves, seed)
    judged = claims.decide(values, _is_enough, reason)
    if judged["verdict"] == claims.HOLDS and as_much > RARE:
        judged = claims.decide(values, _is_enough, f"{as_much:.0%} of the orders of the layers give as much")
    return judged | {"as_much": as_much}


def share_of_orders(statistic: Statistic, curves: Sequence[Resampled], seed: int = 0) -> float:
    """In what share of 1,000 orders of one curve's layers, the other as it is, the statistic is at least what it is; of
    two curves the larger share, so that a smooth one does not speak for a noisy one."""
    generator = np.random.default_rng(seed)
    measured = statistic(*(curve.estimate[None] for curve in curves))
    shares = []
    for shuffled in curves:
        order = np.tile(np.arange(1, shuffled.estimate.shape[-1]), (ORDERS, 1))
        rows = np.pad(generator.permuted(order, axis=1), ((0, 0), (1, 0)))  # row 0 stays where it is
        given = [
            curve.estimate[:, rows].swapaxes(0, 1) if curve is shuffled else np.tile(curve.estimate, (ORDERS, 1, 1))
            for curve in curves
        ]
        shares.append((statistic(*given) >= measured).mean())
    return float(max(shares))


def _is_enough(values: np.ndarray) -> np.ndarray:
    return values > SMALLEST


def _thirds(halves: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows at the beginning, in the middle and at the end."""
    rows = halves[..., 1:]
    end = max(1, round(END * rows.shape[-1]))
    return rows[..., :end], rows[..., end:-end], rows[..., -end:]


def _chosen(halves: Float[np.ndarray, "n half row"]) -> Int[np.ndarray, "n half"]:
    """For each half the highest row of the other."""
    return smoothed(halves).argmax(-1)[:, ::-1]


def _at(halves: Float[np.ndarray, "n half row"], rows: Int[np.ndarray, "n half"]) -> Float[np.ndarray, "n half"]:
    return np.take_along_axis(halves, rows[..., None], -1)[..., 0]
