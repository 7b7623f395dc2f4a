"""Steady states: integrate until nothing changes, then polish, and differentiate implicitly."""

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Bool, Float

from ..kinetics import flux
from ..network import Network
from ..sums import times
from ..system import MISSING, System, unpack
from .cell import solve
from .integrator import Integrator

__all__ = ["SteadyState", "solve_to_steady_state"]


class SteadyState(NamedTuple):
    """Where a cell comes to rest.

    Attributes:
        y: the state: concentrations, and a system's further states.
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
    network: Network | System,
    k: Any = MISSING,
    y0: Any = MISSING,
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
    Of a system with a tendency only those totals are held that it left alone on the way.

    Args:
        network: the reactions; or a `System`, behind which `k` is left out:
            ``solve_to_steady_state(system, y0, longest=...)``.
        k: rate coefficients [R], or a function `(t, y) -> k[R]` that does not depend on time.
        y0: the state at the start.
        longest: time to integrate for, in the network's unit, which is also the time scale of
            the residual.
        tolerance: on the residual, before the solution is polished.
        integrator: method and tolerances.
        throw: raise where the state does not settle; otherwise `settled` says so.
        **settings: fields of `Integrator`.

    Raises:
        ValueError: as `jaxchem.solve`; or `longest` is not positive, or what is integrated
            depends on time.
    """
    if not longest > 0:
        raise ValueError(f"longest={longest}: integrate for a positive time.")
    system, (y0,) = unpack("solve_to_steady_state", network, k=k, y0=y0)
    network, size = system.network, len(system.network.species)
    if not system.autonomous:
        raise ValueError(
            "what is integrated depends on time, so it has no steady state; fix its conditions at "
            "one time, such as k = network.rates(...)(t)."
        )
    system = system.closed()  # derivatives by what its functions hold are implicit too
    still = jax.tree.map(lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x, system)
    start = jax.lax.stop_gradient(y0)
    ts = jnp.asarray(longest * np.logspace(-6, 0, 25))
    gains = abs(network.structure.stoichiometry)
    solution = solve(still, start, ts, integrator=integrator, throw=False, **settings)
    states = jnp.asarray(solution.ys)
    conserved = _conserved(still, ts, states)

    def turnover(y: Float[Array, " n"]) -> Float[Array, " n"]:
        gross = jnp.abs(flux(network, still.rates(ts[-1], y), y[:size]))
        return longest * jnp.pad(times(gains, gross), (0, y.shape[0] - size))

    def residual(y: Float[Array, " n"]) -> Float[Array, ""]:
        left = longest * jnp.abs(still.field(ts[-1], y))
        scale = jnp.abs(y) + 1e-6 * turnover(y)
        return jnp.max(jnp.where(left == 0, 0.0, left / jnp.where(left == 0, 1.0, scale)))

    left = jax.vmap(residual)(states)
    quiet = left < tolerance
    time = jnp.where(quiet.any(), ts[jnp.argmax(quiet)], jnp.inf)
    arrived = diffrax.is_successful(solution.result) & quiet[-1]
    start = jnp.where(arrived, states[-1], 1.0)
    scale = jnp.abs(start) + 1e-20 * jnp.max(jnp.abs(start))
    rows = scale + turnover(start)

    def balance(z: Any, args: Any) -> Any:
        system, y0 = args
        y = z * scale
        held = jnp.matmul(conserved, y - y0, precision=jax.lax.Precision.HIGHEST)
        return jnp.where(arrived, (longest * system.field(ts[-1], y) + held) / rows, z - 1.0)

    root = optx.root_find(
        balance,
        optx.Newton(rtol=1e-12, atol=1e-12),
        start / scale,
        args=(system, jnp.asarray(y0)),
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


def _conserved(
    system: System, ts: Float[Array, " T"], states: Float[Array, "T n"]
) -> Float[Array, "n n"]:
    """The projector onto sums of states that neither the reactions nor the tendency change."""
    rows = np.pad(system.network.invariants, ((0, 0), (0, len(system.further))))
    if system.tendency is None:
        return jnp.asarray(rows.T @ rows)
    kept = jnp.asarray(rows)
    if len(rows):
        changes = jax.vmap(system.tendency)(ts, states)
        changes = jnp.where(jnp.isfinite(changes), changes, 0.0)
        size = jnp.linalg.norm(changes, axis=1, keepdims=True)
        changes = changes / jnp.where(size > 0, size, 1.0)
        # turn the rows so that the tendency changes one after the other of them, and drop those
        turned, by, _ = jnp.linalg.svd(jnp.matmul(kept, changes.T), full_matrices=True)
        changed = jnp.pad(by, (0, max(0, len(rows) - by.shape[0])))[: len(rows)] > 1e-10
        kept = jnp.where(changed[:, None], 0.0, jnp.matmul(turned.T, kept))
    return jnp.matmul(kept.T, kept, precision=jax.lax.Precision.HIGHEST)
