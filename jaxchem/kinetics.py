"""Mass-action kernels: flux, tendency, analytic Jacobian. Pure, and safe under jit, vmap, grad.

Every function takes the state last, so a batch is `jax.vmap` over it and a parameter study
`jax.vmap` over `k`.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .network import Network, floating
from .sums import times

__all__ = ["flux", "jacobian", "tendency", "turnover"]

_Rates: TypeAlias = Float[Array, " R"] | Callable[..., Float[Array, " R"]]


def _factors(
    network: Network, y: Float[Array, " S"]
) -> tuple[list[Float[Array, " R"]], Float[Array, " R"] | None]:
    """The concentration in each reactant slot of each reaction, and the pool that multiplies it."""
    structure = network.structure
    one = jnp.ones(1, y.dtype)
    padded = jnp.concatenate([y, one])
    slots = [padded[column] for column in structure.reactants.T]
    if not len(structure.pools):
        return slots, None
    totals = jnp.asarray(structure.pools, y.dtype) @ y
    return slots, jnp.concatenate([totals, one])[structure.pool_of]


def _product(start: Float[Array, " R"], factors: list[Float[Array, " R"]]) -> Float[Array, " R"]:
    for factor in factors:
        start = start * factor
    return start


def flux(network: Network, k: _Rates, y: Float[Array, " S"], t: Any = 0.0) -> Float[Array, " R"]:
    """Rate of each reaction: k_j times its reactants' concentrations, and its pool's if it has one.

    Args:
        network: the reactions.
        k: rate coefficients, in the network's units; or a function of time and state, as
            `network.rates` gives where rates depend on concentrations.
        y: concentrations, in the network's units.
        t: the time, for a function.

    Returns:
        Events per volume and time.
    """
    y = floating(y)
    k = k(t, y) if callable(k) else k
    slots, pool = _factors(network, y)
    rates = _product(jnp.asarray(k, y.dtype), slots)
    return rates if pool is None else rates * pool


def tendency(
    network: Network, k: _Rates, y: Float[Array, " S"], t: Any = 0.0
) -> Float[Array, " S"]:
    """dy/dt: the net change of every species, concentration per time (arguments as for `flux`)."""
    y = floating(y)
    return times(network.structure.stoichiometry, flux(network, k, y, t))


def turnover(
    network: Network, rates: Float[Array, " R"]
) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """Gross production and gross loss of every species at given rates of the reactions.

    What a reaction both uses and makes counts by its net number.
    """
    change = network.structure.stoichiometry
    return times(change.maximum(0.0), rates), times((-change).maximum(0.0), rates)


def jacobian(
    network: Network, k: _Rates, y: Float[Array, " S"], t: Any = 0.0
) -> Float[Array, "S S"]:
    """d(tendency)/dy, written out from the reactant lists, pool terms included.

    Entry [i, j] is the derivative of species i's tendency by species j's concentration, that of
    the coefficients included where they are a function (arguments as for `flux`). Without one
    `network.pattern()` tells which entries can differ from zero.
    """
    y = floating(y)
    if callable(k):
        function, here = k, k(t, y)
        more = jax.jacfwd(lambda z: tendency(network, function(t, z), y))(y)
        return jacobian(network, here, y) + more
    slots, pool = _factors(network, y)
    k = jnp.asarray(k, y.dtype)
    multiplied = k if pool is None else k * pool
    partials = [_product(multiplied, slots[:i] + slots[i + 1 :]) for i in range(len(slots))]
    structure, size = network.structure, y.shape[0]
    found = jnp.zeros((size, size), y.dtype)
    if pool is not None:  # the derivative by a pool times that of the pool by its members
        pooled = np.flatnonzero(structure.pool_of < len(structure.pools))
        change = structure.stoichiometry[:, pooled].tocoo()
        reaction = pooled[change.col]
        values = jnp.asarray(change.data, y.dtype) * _product(k, slots)[reaction]
        by_pool = jnp.zeros((size, len(structure.pools)), y.dtype)
        by_pool = by_pool.at[change.row, structure.pool_of[reaction]].add(values)
        found = jnp.matmul(by_pool, jnp.asarray(structure.pools, y.dtype), precision="highest")
    rows, columns, coefficients, which = structure.jacobian_terms
    terms = jnp.asarray(coefficients, y.dtype) * jnp.concatenate(partials)[which]
    return found.at[rows, columns].add(terms)
