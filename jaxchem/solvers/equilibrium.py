"""Gas at rest: temperature and abundances where heating meets cooling, over grids of conditions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from ..kinetics import flux
from ..sums import times
from ..thermal import Cloud
from .cell import solve

__all__ = ["Equilibrium", "thermal_equilibrium"]

_STEPS = 12
"""Newton steps; a cell that has come to rest takes three."""


class Equilibrium(NamedTuple):
    """Gas at rest under some conditions.

    Attributes:
        y: [*n, S + 1] densities, cm-3, and the temperature, K.
        residual: [*n] largest relative change of a state that is left over the time that it takes
            to turn over once.
        settled: [*n] whether it is at rest; where it is not, `y` is the state after `longest`.
    """

    y: Float[Array, "*n S+1"]
    residual: Float[Array, "*n"]
    settled: Bool[Array, "*n"]


def thermal_equilibrium(
    cloud: Cloud,
    density: Any,
    *,
    fractions: Mapping[str, float] | None = None,
    temperature: Any = 1e4,
    longest: float = 1e18,
    tolerance: float = 1e-6,
    **conditions: Any,
) -> Equilibrium:
    """Where gas of a constant density comes to rest.

    It is integrated for a long time from a temperature, which decides where gas has two phases, and
    the state that it comes to is solved for by Newton's method in the logarithms. Densities,
    temperatures and conditions broadcast against one another, so that a grid of densities and
    fields is ``thermal_equilibrium(cloud, n[:, None], uv_field=u)``.

    Args:
        cloud: the gas.
        density: of all that `fractions` counts by, cm-3, as of hydrogen nuclei.
        fractions: species -> density of it at the start, relative to `density`; electrons make it
            neutral. `None` is neutral hydrogen with 0.1 of helium and 1e-4 of H+.
        temperature: at the start, K.
        longest: time to integrate for, s.
        tolerance: on the residual.
        **conditions: of the cloud, in place of its own.

    Raises:
        ValueError: an unknown species or condition, a density that is not positive, or shapes that
            do not broadcast.
    """
    if fractions is None:
        fractions = {"H": 1.0 - 1e-4, "H+": 1e-4, "He": 0.1}
    unit = cloud.y0(fractions, 1.0, least=1e-12)
    named = {"density": density, "temperature": temperature, **conditions}
    named = {n: v if isinstance(v, Tracer) else np.asarray(v, float) for n, v in named.items()}
    for name in ("density", "temperature"):
        value = named[name]
        if not isinstance(value, Tracer) and not np.all(np.isfinite(value) & (value > 0)):
            raise ValueError(f"{name} is not positive and finite everywhere; give such values.")
    cloud.under(**conditions)  # refuses what is no condition, or cannot be
    shape = jnp.broadcast_shapes(*(jnp.shape(value) for value in named.values()))
    flat = {n: jnp.broadcast_to(v, shape).reshape(-1) for n, v in named.items()}

    def one(given: dict[str, Any]) -> Equilibrium:
        density, temperature = given.pop("density"), given.pop("temperature")
        y0 = jnp.concatenate([density * unit[:-1], temperature[None]])
        return _rest(cloud.under(**given), y0, longest, tolerance)

    found = jax.vmap(one)(flat)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), found)


def _rest(cloud: Cloud, y0: Float[Array, " n"], longest: float, tolerance: float) -> Equilibrium:
    """The state of rest of one cell."""
    network, system = cloud.network, cloud.system
    rows = np.pad(network.invariants, ((0, 0), (0, 1)))
    held = rows.T @ rows  # the projector onto what reactions conserve
    gains = abs(network.structure.stoichiometry)
    how: dict[str, Any] = {"method": "rodas4", "rtol": 1e-3, "atol": 1e-20, "max_steps": 10_000}
    solution = solve(system, y0, jnp.asarray([longest]), throw=False, **how)
    start = jnp.maximum(jnp.asarray(solution.ys)[-1], 1e-30)

    def turnover(y: Float[Array, " n"]) -> Float[Array, " n"]:
        gross = jnp.abs(flux(network, cloud.rates(0.0, y), y[:-1]))
        return jnp.append(times(gains, gross), cloud.throughput(y))

    def step(_: Any, x: Float[Array, " n"]) -> Float[Array, " n"]:
        y = jnp.exp(x)
        scale = turnover(y) + y / longest
        # the projector weighs by the slowest change, so that it adds to what is zero at rest
        weight = jnp.max(scale) / jnp.max(y0)
        value = system.field(0.0, y) + weight * jnp.matmul(held, y - y0)
        slope = (system.jacobian(0.0, y) + weight * held) * y[None]
        change = jnp.linalg.solve(slope / scale[:, None], -value / scale)
        good = jnp.all(jnp.isfinite(change))
        return x + jnp.where(good, jnp.clip(change, -2.0, 2.0), 0.0)

    y = jnp.exp(jax.lax.fori_loop(0, _STEPS, step, jnp.log(start)))
    size_of = turnover(y) + y / longest
    left = jnp.max(jnp.abs(system.field(0.0, y)) / size_of)
    near = jnp.abs(jnp.log(y[-1] / start[-1])) < 0.1
    settled = near & (left < tolerance)
    return Equilibrium(jnp.where(settled, y, start), left, settled)
