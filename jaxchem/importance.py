"""What drives what: shares of a result that are owed to each of its inputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["importance"]


def importance(
    result: Callable[[Any, Any], Float[Array, " O"]],
    y0: Float[Array, " S"],
    conditions: Float[Array, " C"],
    base: tuple[Float[Array, " S"], Float[Array, " C"]],
    *,
    points: int = 16,
) -> tuple[Float[Array, "O S"], Float[Array, "O C"]]:
    """Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) of results.

    From a base to a case every input moves evenly, concentrations in their logarithms; each is
    owed the integral of its slope over its way. With enough points all together are owed what the
    results differ by, if each species is in both. An emulator and the solver are asked alike, so
    that one can be held against the other.

    Args:
        result: `(y0, conditions) -> [O]`, such as logarithms of concentrations after an hour.
        y0: concentrations of the case.
        conditions: and its conditions.
        base: concentrations and conditions to compare with, such as medians of the data.
        points: of Gauss-Legendre quadrature along the way.

    Returns:
        Shares by species, zero where the case or the base has nothing of one, whose logarithm does
        not move: it is as in the case all along; and by condition.

    Raises:
        ValueError: fewer than one point, a base of other shapes, or results that are no vector.
    """
    if points < 1:
        raise ValueError(f"points={points}: quadrature wants one or more, as 16.")
    y0, conditions, there, other = (jnp.asarray(x, float) for x in (y0, conditions, *base))
    if (there.shape, other.shape) != (y0.shape, conditions.shape):
        raise ValueError(
            f"the base has concentrations {there.shape} and conditions {other.shape}, the case "
            f"{y0.shape} and {conditions.shape}."
        )
    if (size := jax.eval_shape(result, y0, conditions).shape) != size[:1] or not size:
        raise ValueError(f"result gives {size}; it must give a vector, as values[None].")
    moves = (y0 > 0) & (there > 0)
    way = jnp.where(moves, jnp.log(jnp.where(moves, y0, 1) / jnp.where(moves, there, 1)), 0.0)
    nodes, weights = np.polynomial.legendre.leggauss(points)

    def at(logs: Any, turned: Any) -> Any:
        return result(y0 * jnp.exp(logs), turned)

    def add(total: Any, part: Any) -> Any:
        node, weight = part
        slopes = jax.jacrev(at, argnums=(0, 1))(
            (node - 1) * way, other + node * (conditions - other)
        )
        return jax.tree.map(lambda a, b: a + weight * b, total, slopes), None

    start = jax.tree.map(jnp.zeros_like, jax.eval_shape(jax.jacrev(at, (0, 1)), way, conditions))
    parts = jnp.asarray((nodes + 1) / 2), jnp.asarray(weights / 2)
    by_species, by_condition = jax.lax.scan(add, start, parts)[0]
    return by_species * way[None], by_condition * (conditions - other)[None]
