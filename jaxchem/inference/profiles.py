"""Profiles of the likelihood: how far a parameter may go when all others make up for it."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from .search import Evaluate, Misfit, Optima, minimise

__all__ = ["profile"]

_STRIDE = 1.5
"""Of any coordinate from one point to the next, at most."""

_RIDGE = 0.1
"""Rise of the root of the misfit by a change of one, below which a parameter hardly matters."""

_POINTS = 60
"""Of a side, at most."""


def profile(
    evaluate: Evaluate,
    misfit: Misfit,
    best: Optima,
    of: Any,
    *,
    low: Float[np.ndarray, " n"],
    high: Float[np.ndarray, " n"],
    covariance: Float[np.ndarray, "n n"],
    rise: float,
    reach: float = 20.0,
    lower: float = 0.5,
    told: Any = None,
) -> tuple[Float[np.ndarray, "p 2"], Float[np.ndarray, " n"], float, Bool[np.ndarray, " p"]]:
    """Ends of intervals by the likelihood ratio (Venzon & Moolgavkar 1988, Appl. Stat. 37, 87).

    Both sides of all parameters go outwards together; each is led by where the misfit has risen
    so far, and the others begin where the curvature at the last point says that they follow. Once
    an end lies between two points it is found by false position in the root of the rise, with the
    part of an end that stays halved (Illinois; Dowell & Jarratt 1971, BIT 11, 168).

    Args:
        evaluate: as of `minimise`.
        misfit: likewise.
        best: one optimum (B is 1).
        of: the parameters.
        low: bounds.
        high: likewise.
        covariance: of the parameters, for the first stride and the others' first move.
        rise: of the misfit at the ends.
        reach: an end is open where the misfit has not risen within this distance.
        lower: see below.
        told: called with the number of sides that are done.

    Returns:
        The ends (NaN where open), the lowest point that was seen, and its misfit, and of which
        parameters an end was not found. One that is lower than the best by `lower` ends it all.
    """
    n = best.x.shape[1]
    sides = [(i, sign) for i in of for sign in (-1.0, 1.0)]
    index = np.array([i for i, _ in sides], dtype=int)
    sign = np.array([s for _, s in sides])
    goal = np.sqrt(rise)
    root = np.sqrt(np.diag(covariance))
    follow = np.stack([_follow(misfit, best, 0, i) for i in index])  # by the parameter's change
    x = np.repeat(best.x, len(sides), axis=0)
    inner, inner_height = np.zeros(len(sides)), np.zeros(len(sides))
    outer = np.full(len(sides), np.inf)
    below, above = np.full(len(sides), goal), np.full(len(sides), np.inf)  # the goal
    ahead = 0.95 * goal * root[index]
    kept = np.zeros(len(sides), int)  # which end moved last
    ends, done = np.full(len(sides), np.nan), np.zeros(len(sides), bool)
    limit = np.where(sign < 0, best.x[0, index] - low[index], high[index] - best.x[0, index])
    limit = np.minimum(limit, reach)
    lowest, lowest_x = float(best.value[0]), best.x[0]
    for _ in range(_POINTS):
        todo = np.flatnonzero(~done)
        if told is not None:
            told(int(done.sum()))
        if not len(todo) or lowest < best.value[0] - lower:
            break
        stride = _STRIDE / np.max(np.abs(follow[todo]), axis=1)
        next_ = np.minimum(inner[todo] + np.clip(ahead[todo], 1e-6, stride), limit[todo])
        with np.errstate(all="ignore"):
            part = below[todo] / (below[todo] + above[todo])
            part = np.where(np.isfinite(above[todo]), part, 0.5)  # where no solve succeeds
            secant = inner[todo] + part * (outer[todo] - inner[todo])
        shift = np.where(np.isfinite(outer[todo]), secant, next_)
        change = follow[todo] * (sign[todo] * (shift - inner[todo]))[:, None]
        farthest = np.abs(change).max(axis=1, keepdims=True)
        start = x[todo] + change * np.minimum(1.0, _STRIDE / np.maximum(farthest, 1e-300))
        start[np.arange(len(todo)), index[todo]] = best.x[0, index[todo]] + sign[todo] * shift
        held = np.zeros((len(todo), n), bool)
        held[np.arange(len(todo)), index[todo]] = True
        found = minimise(
            evaluate, misfit, start, low=low, high=high, held=held, iterations=40, tolerance=1e-4
        )
        height = np.sqrt(np.maximum(found.value - best.value[0], 0.0))
        if np.min(found.value) < lowest:
            at = int(np.argmin(found.value))
            lowest, lowest_x = float(found.value[at]), found.x[at]
        for row, side in enumerate(todo):
            between = np.isfinite(outer[side])
            if height[row] > goal:
                outer[side], above[side] = shift[row], height[row] - goal
                below[side] *= 0.5 if between and kept[side] < 0 else 1.0
                kept[side] = -1
            else:
                slope = height[row] / max(shift[row], 1e-300)
                ahead[side] = 1.2 * (goal - height[row]) / max(slope, 1e-300)
                done[side] = shift[row] >= limit[side] * (1 - 1e-12)  # open
                inner[side], inner_height[side], x[side] = shift[row], height[row], found.x[row]
                below[side] = goal - height[row]
                above[side] *= 0.5 if between and kept[side] > 0 else 1.0
                kept[side] = 1
                follow[side] = _follow(misfit, found, row, index[side])
            near = abs(height[row] - goal) < 0.01 * goal
            narrow = outer[side] - inner[side] < 1e-3 * outer[side]
            if np.isfinite(outer[side]) and (near or narrow):
                if near or goal - inner_height[side] < 0.1 * goal:
                    ends[side] = shift[row] if near else 0.5 * (inner[side] + outer[side])
                    done[side] = True
                else:  # the others had not followed to the outer point, which says nothing
                    outer[side] = above[side] = np.inf
    ends = (best.x[0, index] + sign * ends).reshape(-1, 2)
    return ends, lowest_x, lowest, np.any(~done.reshape(-1, 2), axis=1)


def _follow(misfit: Misfit, found: Optima, row: int, i: int) -> Float[np.ndarray, " n"]:
    """How the others follow a parameter along the valley, by the curvature at a point of it.

    What hardly matters stays where it is, or it would go far for nothing.
    """
    slope = found.slope[row] * np.sqrt(misfit.weights(found.residual[row : row + 1]))[0][:, None]
    n = slope.shape[1]
    prior = np.where(np.isfinite(misfit.prior), 1 / misfit.prior, 0.0)
    others = np.delete(np.arange(n), i)
    matrix = np.vstack([slope, np.diag(prior), _RIDGE * np.eye(n)])
    follow = np.ones(n)
    follow[others] = -np.linalg.lstsq(matrix[:, others], matrix[:, i])[0]
    return follow
