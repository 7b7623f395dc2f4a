"""Profiles of the likelihood: how far a parameter may go when all others make up for it."""

from typing import Any

import numpy as np
from jaxtyping import Float

from .search import Evaluate, Misfit, Optima, minimise

__all__ = ["profile"]

_STRIDE = 1.5


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
    told: Any = None,
) -> tuple[Float[np.ndarray, "p 2"], Float[np.ndarray, " n"], float]:
    """Ends of intervals by the likelihood ratio (Venzon & Moolgavkar 1988, Appl. Stat. 37, 87).

    Both sides of all parameters go outwards together; each is led by where the misfit has risen
    so far, and what the others were at the last point is where they begin at the next. Once an end
    lies between two points it is found by secants of the root of the rise.

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
        told: called with the number of sides that are done.

    Returns:
        The ends (NaN where open), the lowest point that was seen, and its misfit.
    """
    n = best.x.shape[1]
    sides = [(i, sign) for i in of for sign in (-1.0, 1.0)]
    index = np.array([i for i, _ in sides], dtype=int)
    sign = np.array([s for _, s in sides])
    goal = np.sqrt(rise)
    root = np.sqrt(np.diag(covariance))
    stride = np.clip(1.9 * root[index], 1e-6, _STRIDE)
    x = np.repeat(best.x, len(sides), axis=0)
    inner, inner_height = np.zeros(len(sides)), np.zeros(len(sides))
    outer, outer_height = np.full(len(sides), np.inf), np.full(len(sides), np.inf)
    ends, done = np.full(len(sides), np.nan), np.zeros(len(sides), bool)
    limit = np.where(sign < 0, best.x[0, index] - low[index], high[index] - best.x[0, index])
    limit = np.minimum(limit, reach)
    lowest, lowest_x = float(best.value[0]), best.x[0]
    for _ in range(60):
        todo = np.flatnonzero(~done)
        if told is not None:
            told(int(done.sum()))
        if not len(todo):
            break
        between = np.isfinite(outer[todo])
        with np.errstate(all="ignore"):
            part = (goal - inner_height[todo]) / (outer_height[todo] - inner_height[todo])
            secant = inner[todo] + np.clip(part, 0.05, 0.95) * (outer[todo] - inner[todo])
        shift = np.where(between, secant, np.minimum(inner[todo] + stride[todo], limit[todo]))
        start = x[todo].copy()
        change = sign[todo] * (shift - inner[todo])
        first = covariance[index[todo]] / root[index[todo], None] ** 2
        start += np.clip(first * change[:, None], -1.0, 1.0)
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
            if height[row] > goal:
                outer[side], outer_height[side] = shift[row], height[row]
            else:
                done[side] = shift[row] >= limit[side] * (1 - 1e-12)  # open
                inner[side], inner_height[side], x[side] = shift[row], height[row], found.x[row]
                if not np.isfinite(outer[side]):
                    slope = height[row] / max(shift[row], 1e-300)
                    ahead = (goal - height[row]) / max(slope, 1e-300)
                    stride[side] = np.clip(1.2 * ahead, 0.1 * stride[side], _STRIDE)
            near = min(abs(inner_height[side] - goal), abs(outer_height[side] - goal))
            width = outer[side] - inner[side]
            if np.isfinite(outer[side]) and (near < 0.01 * goal or width < 1e-3 * outer[side]):
                closer = abs(inner_height[side] - goal) < abs(outer_height[side] - goal)
                ends[side] = inner[side] if closer else outer[side]
                done[side] = True
    return (best.x[0, index] + sign * ends).reshape(-1, 2), lowest_x, lowest
