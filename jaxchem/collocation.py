"""Radau collocation between the readings of a clock: one Newton step of a whole trajectory."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import legendre

from .models.gas_map import Clock
from .models.ratios import Ratios

__all__ = ["newton", "radau"]

LONGEST = 1.0
"""Most that a step changes the logarithm of a further state by, and lowers that of a species by."""


@functools.lru_cache(maxsize=8)
def radau(count: int) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, "P P+1"]]:
    """Points of Radau's right quadrature from 0 to 1, and what gives slopes there.

    A polynomial whose slopes are right at the points is the method Radau IIA (Hairer & Wanner
    1996, Solving Ordinary Differential Equations II, section IV.5).

    Returns:
        The points; slopes at them by values at 0 and at them.
    """
    series = np.zeros(count + 1)
    series[-2:] = -1.0, 1.0
    x = (1 + np.sort(legendre.legroots(series).real)) / 2
    back = np.linalg.inv(np.vander(np.append(0.0, x), increasing=True))
    order = np.arange(1, count + 1)
    return x, (order * x[:, None] ** (order - 1)) @ back[1:]


def newton(
    field: Callable[[Any, Any], Float[Array, " n"]],
    ratios: Ratios,
    clock: Clock,
    exponents: Float[Array, "K m"],
    y0: Float[Array, " n"],
    *,
    points: int = 2,
) -> Float[Array, "K m"]:
    """Exponents at the readings of a clock after a Newton step of each window between them.

    Windows follow each other: each begins where the one before it has come to, and what was given
    says by how much the exponents change in it, linearly in the logarithm of the clock (in the
    first one, from zero, linearly in time). Exponents that stay as they are solve the collocation.
    Near those, the step is what the exponents are off by, whatever the stiffness of the equations,
    of which a residual would say little.

    A step d of a species makes n into n / (1 - d): where gain and loss balance the gain is of
    others and 1 / n follows linearly.

    Args:
        field: `(t, y) -> dy/dt` of an autonomous system.
        ratios: the coordinates, which are logarithms.
        clock: of density times time.
        exponents: at its readings.
        y0: the start, all states positive.
        points: in a window, its end among them.
    """
    places, size = ratios.places, len(ratios.places)
    totals, start = ratios.totals(y0), ratios.exponents(y0)
    x, to_slopes = radau(points)
    slopes = jnp.asarray(to_slopes)
    species = jnp.asarray(ratios.species)
    total = points * size
    wide = np.log(clock.last / clock.first) / (clock.count - 1)
    inner = np.outer(clock.readings[:-1], np.exp(wide * x))
    pace = np.concatenate([np.full((1, points), clock.first), wide * inner]) / jnp.sum(totals)

    def growth(u: Float[Array, " m"]) -> tuple[Any, Any]:
        y = ratios.state(u, totals)
        found = (field(jnp.zeros(()), y) / y)[places]
        return found, found

    def window(begin: Float[Array, " m"], given: Any) -> tuple[Any, Any]:
        change, pace = given
        u = begin[None] + jnp.outer(jnp.asarray(x), change)
        by_u, found = jax.vmap(jax.jacfwd(growth, has_aux=True))(u)
        off = jnp.matmul(slopes, jnp.concatenate([begin[None], u])) - pace[:, None] * found
        matrix = jnp.einsum("pq,ij->piqj", slopes[:, 1:], jnp.eye(size))
        matrix -= jnp.einsum("pij,pq->piqj", pace[:, None, None] * by_u, jnp.eye(points))
        rows = jnp.max(jnp.abs(matrix), axis=(2, 3)).reshape(total)
        step = jnp.linalg.solve(
            matrix.reshape(total, total) / rows[:, None], off.reshape(total) / rows
        ).reshape(points, size)[-1]
        relative = jnp.log1p(jnp.maximum(step, np.expm1(-LONGEST)))
        step = jnp.where(species, relative, jnp.clip(step, -LONGEST, LONGEST))
        end = ratios.exponents(ratios.state(u[-1] - step, totals))
        return end, end

    changes = jnp.diff(exponents, axis=0, prepend=start[None])
    return jax.lax.scan(window, start, (changes, pace))[1]
