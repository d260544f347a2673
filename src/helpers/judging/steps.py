"""Is a curve a step? The best step of every curve, beside the best of the smooth courses it might be taken for.

Two levels and the place between them are fitted by least squares. So is every smooth course, up to a level and a
height: a straight line, bends to either side, slow approaches, and sigmoids that take half of the depth. What a fit
explains is its share of the squares around the mean, 1 at most.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

ROUNDING = 1e-9
POWERS = (1 / 3, 1 / 2, 1.0, 2.0, 3.0)
TIMES = (0.1, 0.2, 0.4)  # of an exponential approach, in depth
CENTRES, SLOPE = np.linspace(0.2, 0.8, 7), 0.5 / np.log(81)  # from a tenth to nine tenths of the way in half the depth


@dataclass(frozen=True)
class Step:
    """The best step of each of several curves."""

    where: Int[np.ndarray, "curve"]  # the first layer of the later level; 0 where nothing steps the right way
    before: Float[np.ndarray, "curve"]
    after: Float[np.ndarray, "curve"]
    explained: Float[np.ndarray, "curve"]
    explained_smoothly: Float[np.ndarray, "curve"]


def best(curves: Float[np.ndarray, "curve layer"], rises: bool) -> Step:
    """The split of every curve in two levels, the second higher (or lower), that explains most of it."""
    n_layers = curves.shape[1]
    at_all = np.zeros(len(curves))
    if n_layers < 2:
        return Step(at_all.astype(int), at_all, at_all, at_all, at_all)
    explained = _explained(curves, np.triu(np.ones((n_layers - 1, n_layers)), 1), rises)
    where = np.where(explained.max(1) > 0, explained.argmax(1) + 1, 0)
    is_later = np.arange(n_layers) >= where[:, None]
    after = (curves * is_later).sum(1) / is_later.sum(1)
    before = np.where(where > 0, (curves * ~is_later).sum(1) / np.maximum(1, where), after)
    return Step(where, before, after, explained.max(1), _explained(curves, smooth(n_layers), rises).max(1))


def smooth(n_layers: int) -> Float[np.ndarray, "course layer"]:
    """Rising courses from the first layer to the last."""
    depth = np.linspace(0, 1, n_layers)
    courses = [depth**power for power in POWERS] + [1 - (1 - depth) ** power for power in POWERS]
    courses += [course for time in TIMES for course in (-np.exp(-depth / time), np.exp((depth - 1) / time))]
    courses += [1 / (1 + np.exp(-(depth - centre) / SLOPE)) for centre in CENTRES]
    return np.array(courses)


def _explained(
    curves: Float[np.ndarray, "curve layer"], courses: Float[np.ndarray, "course layer"], rises: bool
) -> Float[np.ndarray, "curve course"]:
    """The share of each curve's squares that each course explains, 0 if it must be turned over for that."""
    deviations, directions = (rows - rows.mean(1, keepdims=True) for rows in (curves, courses))
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    size = np.linalg.norm(deviations, axis=1, keepdims=True)
    is_flat = size <= ROUNDING * abs(curves).max(1, keepdims=True)
    along = (1 if rises else -1) * (deviations @ directions.T) / np.where(is_flat, 1, size)
    return np.where(is_flat | (along < 0), 0, along**2)
