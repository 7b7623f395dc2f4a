"""Steady states: integrate until nothing changes, then polish, and differentiate implicitly."""

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Bool, Float

from ..kinetics import flux, tendency
from ..network import Network
from .cell import solve
from .integrator import Integrator

__all__ = ["SteadyState", "solve_to_steady_state"]


class SteadyState(NamedTuple):
    """Where a cell comes to rest.

    Attributes:
        y: [S] concentrations.
        residual: the largest relative change of a species per `longest` that is left; what a
            millionth of its gross turnover would change does not count. NaN where the
            integration did not get to `longest`.
        time: the first of the inspected times at which it was below the tolerance; infinite if
            none was.
        settled: whether the integration succeeded and the residual is below the tolerance.
    """

    y: Float[Array, " S"]
    residual: Float[Array, ""]
    time: Float[Array, ""]
    settled: Bool[Array, ""]


def solve_to_steady_state(
    network: Network,
    k: Float[Array, " R"],
    y0: Float[Array, " S"],
    *,
    longest: float,
    tolerance: float = 1e-3,
    integrator: Integrator | None = None,
    throw: bool = True,
    **settings: Any,
) -> SteadyState:
    """Integrates until the tendency is small, and solves for where it is zero.

    The totals that the reactions conserve are those of `y0`: the system is f(y) + C^T C (y - y0)
    with C an orthonormal basis of what the stoichiometry leaves alone, which is zero where f is
    and the totals agree. Derivatives by `k` and `y0` come from the implicit function theorem
    (`optimistix.ImplicitAdjoint`), at the price of one linear solve and whatever the way there.

    Args:
        network: the reactions.
        k: constant rate coefficients.
        y0: concentrations at the start.
        longest: time to integrate for, in the network's unit, which is also the time scale of
            the residual.
        tolerance: on the residual, before the solution is polished.
        integrator: method and tolerances.
        throw: raise where the state does not settle; otherwise `settled` says so.
        **settings: fields of `Integrator`.

    Raises:
        ValueError: as `jaxchem.solve`, or `longest` is not positive.
    """
    if not longest > 0:
        raise ValueError(f"longest={longest}: integrate for a positive time.")
    basis = np.linalg.svd(network.stoichiometry)
    rank = int(np.sum(1e-10 * np.max(basis.S, initial=0.0) < basis.S))
    conserved = jnp.asarray(basis.U[:, rank:] @ basis.U[:, rank:].T)
    ts = jnp.asarray(longest * np.logspace(-6, 0, 25))
    gains = jnp.abs(jnp.asarray(network.stoichiometry))
    still = jax.lax.stop_gradient((k, y0))
    solution = solve(network, *still, ts, integrator=integrator, throw=False, **settings)
    states = jnp.asarray(solution.ys)

    def turnover(y: Float[Array, " S"]) -> Float[Array, " S"]:
        return longest * jnp.matmul(gains, jnp.abs(flux(network, still[0], y)))

    def residual(y: Float[Array, " S"]) -> Float[Array, ""]:
        left = longest * jnp.abs(tendency(network, still[0], y))
        scale = jnp.abs(y) + 1e-6 * turnover(y)
        return jnp.max(jnp.where(left == 0, 0.0, left / jnp.where(left == 0, 1.0, scale)))

    left = jax.vmap(residual)(states)
    quiet = left < tolerance
    time = jnp.where(quiet.any(), ts[jnp.argmax(quiet)], jnp.inf)
    arrived = diffrax.is_successful(solution.result) & quiet[-1]
    start = jnp.where(arrived, states[-1], 1.0)
    scale = jnp.abs(start) + 1e-20 * jnp.max(jnp.abs(start))
    rows = scale + turnover(start)

    def system(z: Any, args: Any) -> Any:
        k, y0 = args
        y = z * scale
        held = jnp.matmul(conserved, y - y0, precision=jax.lax.Precision.HIGHEST)
        return jnp.where(arrived, (longest * tendency(network, k, y) + held) / rows, z - 1.0)

    root = optx.root_find(
        system,
        optx.Newton(rtol=1e-12, atol=1e-12),
        start / scale,
        args=(k, jnp.asarray(y0)),
        max_steps=20,
        throw=False,
    )
    # Newton may stop at round-off, above its tolerance: what counts is the residual
    settled = arrived & (residual(jax.lax.stop_gradient(root.value) * scale) < tolerance)
    y = jnp.where(settled, root.value * scale, states[-1])
    if throw:
        y = eqx.error_if(
            y, ~settled, "the cell does not settle; integrate for longer, or see jaxchem.explain."
        )
    return SteadyState(y, residual(jax.lax.stop_gradient(y)), time, settled)
