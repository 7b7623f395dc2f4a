"""One cell of chemistry: a network integrated from one state. `jax.vmap` makes it a batch."""

import dataclasses
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..kinetics import jacobian, tendency
from ..network import Network
from . import native
from .integrator import (
    METHODS,
    NEGATIVE,
    Integrator,
    check_times,
    check_tolerances,
    default_atol,
    floating,
)
from .rosenbrock import Rosenbrock
from .sparse import SparseLU, prefers_sparse

__all__ = ["solve"]


def solve(
    network: Network,
    k: Any,
    y0: Float[Array, " S"],
    ts: Float[Array, " T"],
    *,
    integrator: Integrator | None = None,
    t0: Any = 0.0,
    throw: bool = True,
    **settings: Any,
) -> diffrax.Solution:
    """Integrates a network's kinetics.

    With a Rosenbrock method, float64 and constant `k`, the processor runs a compiled kernel that
    takes a whole vmapped batch at once, steps each member for itself, and has forward and reverse
    derivatives of its own; other devices and everything else run through diffrax.

    Args:
        network: the reactions.
        k: rate coefficients [R], or a function `(t, y) -> k[R]` as `network.rates` returns for
            conditions that vary in time.
        y0: concentrations at `t0`, none negative.
        ts: output times in the network's unit, increasing.
        integrator: method and tolerances.
        t0: the time of `y0`, by default 0.
        throw: see `Integrator.__call__`.
        **settings: fields of `Integrator` (`method`, `rtol`, `atol`, ...), instead of an
            `integrator` or on top of it.

    Returns:
        A `diffrax.Solution`: `.ts[T]`, `.ys[T, S]`, `.stats`, `.result`.

    Raises:
        ValueError: arrays or tolerances of the wrong length; a negative, NaN or infinite
            concentration (named, where its value is known outside of jit); bad output times
            (inside of jit such a solve fails); an unknown setting.

    Example:
        >>> import jax, jaxchem
        >>> jax.config.update("jax_enable_x64", True)
        >>> network = jaxchem.load("robertson")
        >>> y0, ts = network.y0({"A": 1.0}), jax.numpy.geomspace(1e-3, 1e5, 9)
        >>> solution = jaxchem.solve(network, network.rates(), y0, ts, rtol=1e-8)
        >>> round(float(solution.ys[-1].sum()), 10)
        1.0
    """
    integrator = Integrator() if integrator is None else integrator
    integrator = integrator.replace(**settings)
    y0 = floating(y0)
    size, count = network.stoichiometry.shape
    if y0.shape != (size,):
        raise ValueError(
            f"y0 has shape {y0.shape}, but network {network.name!r} has {size} species; make it "
            "with network.y0({...}), and use jax.vmap for a batch."
        )
    if not callable(k) and jnp.shape(k) != (count,):
        raise ValueError(
            f"k has shape {jnp.shape(k)}, but network {network.name!r} has {count} reactions; "
            "make it with network.rates(...), and use jax.vmap for a batch."
        )
    if not isinstance(y0, Tracer):
        check_concentrations(network, np.asarray(y0))
    check_times(ts, t0)
    ts = jnp.asarray(ts, y0.dtype)
    if (isinstance(ts, Tracer) or isinstance(t0, Tracer)) and not callable(k):
        # the kernel takes times as they come; without coefficients a solve of bad ones fails
        k = jnp.where(jnp.all(jnp.diff(ts) > 0) & (ts[0] >= t0), k, jnp.nan)
    solution = _attempt(network, k, y0, ts, integrator, t0)
    for rung in integrator.retries:
        failed = solution.result != diffrax.RESULTS.successful
        if not isinstance(failed, Tracer) and not failed:
            break
        # a member that is done has no time to go
        again = _attempt(network, k, y0, jnp.where(failed, ts, t0), rung, t0)
        stats = {**again.stats, "max_steps": solution.stats["max_steps"]}
        for name, value in solution.stats.items():
            if name.startswith("num_"):
                stats[name] = value + stats[name]
            elif name != "max_steps":
                stats[name] = jnp.where(failed, stats[name], value)
        ys = jnp.where(failed, jnp.asarray(again.ys), jnp.asarray(solution.ys))
        result = diffrax.RESULTS.where(failed, again.result, solution.result)
        solution = dataclasses.replace(solution, ys=ys, result=result, stats=stats)
    if throw:
        failed = solution.result != diffrax.RESULTS.successful
        ys = solution.result.error_if(solution.ys, failed)
        solution = dataclasses.replace(solution, ys=ys)
    return solution


def check_concentrations(
    network: Network, states: Float[np.ndarray, "*N S"], first: int = 0
) -> None:
    """Refuses initial states that are none; of several cells, the first has the number `first`."""
    for *cell, species in np.argwhere(~np.isfinite(states) | (states < 0))[:1]:
        where = f" in cell {first + cell[0]}" if cell else ""
        raise ValueError(
            f"initial concentration of {network.species[species]!r}{where} is "
            f"{states[*cell, species]}; it must be finite and not negative "
            f"({network.units.concentration})."
        )


def _attempt(
    network: Network, k: Any, y0: Any, ts: Any, integrator: Integrator, t0: Any
) -> diffrax.Solution:
    """One integrator's solution, whatever becomes of it."""
    check_tolerances(integrator, len(network.species))
    if compilable(network, k, y0, integrator):
        return _compiled(network, k, y0, ts, integrator, t0)
    sparse = integrator.linear_solver == "sparse" or (
        integrator.linear_solver == "auto" and prefers_sparse(network.structure)
    )
    return integrator(
        _field,
        y0,
        ts,
        (network, k),
        t0=t0,
        throw=False,
        jacobian=_slope,
        autonomous=not callable(k),
        linear_solver=SparseLU(network.structure) if sparse else None,
    )


def compilable(network: Network, k: Any, y0: Array, integrator: Integrator) -> bool:
    """Whether the compiled kernel can do this solve, on this machine."""
    return (
        issubclass(METHODS[integrator.method], Rosenbrock)
        and integrator.adjoint in ("reverse", "forward")
        and not callable(k)
        and y0.dtype == jnp.float64
        and network.structure.reactants.shape[1] < native.MOST_FACTORS
        and jax.default_backend() == "cpu"
        and native.available()
    )


def _field(t: Any, y: Float[Array, " S"], args: Any) -> Float[Array, " S"]:
    network, k = args
    rates: Any = k(t, y) if callable(k) else k
    return tendency(network, rates, y)


def _slope(t: Any, y: Float[Array, " S"], args: Any) -> Float[Array, "S S"]:
    network, k = args
    rates: Any = k(t, y) if callable(k) else k
    return jacobian(network, rates, y)


def _no_change(leaf: Array) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _compiled(
    network: Network, k: Any, y0: Any, ts: Any, integrator: Integrator, t0: Any
) -> diffrax.Solution:
    """The kernel's solution and derivatives; `stats` carry none."""
    atol = default_atol(y0) if integrator.atol is None else integrator.atol
    arrays = [jnp.asarray(a, y0.dtype) for a in (k, y0, ts, t0, integrator.rtol, atol)]
    arrays[-1] = jnp.broadcast_to(arrays[-1], y0.shape)

    def fast(
        k: Any, y0: Any, ts: Any, t0: Any, rtol: Any, atol: Any, **directions: Any
    ) -> native.Outcome:
        found = native.march(
            network,
            METHODS[integrator.method].tableau,  # pyright: ignore[reportAttributeAccessIssue]
            # nothing depends on the clock; far from zero it would not resolve the first steps
            *(k[None], y0[None], (ts - t0)[None], jnp.zeros_like(t0)[None], rtol[None], atol[None]),
            **directions,
            first_step=integrator.dt0,
            max_steps=integrator.max_steps,
            land=integrator.output == "step",
            negative=NEGATIVE.index(integrator.negative),
        )
        found = found._replace(time=found.time + t0)
        return jax.tree.map(lambda leaf: leaf[0], found)

    def forward(values: tuple[Any, ...], changes: tuple[Any, ...]) -> Any:
        k, y0, *_ = values
        dk, dy0, dts, dt0, *_ = changes
        dy0 = dy0 - tendency(network, k, y0) * dt0
        found = fast(*values, dy0=dy0[None, None], dk=dk[None, None])
        assert found.dys is not None
        later = jax.vmap(lambda y: tendency(network, k, y))(found.ys) * dts[:, None]
        found, dys = found._replace(dys=None), found.dys[0] + later
        still = jax.tree.map(_no_change, found)
        return found, still._replace(ys=dys)

    def backward(values: tuple[Any, ...], cotangent: native.Outcome) -> tuple[Any, ...]:
        k, y0, _, _, rtol, atol = values
        found = fast(*values, cotangent=cotangent.ys[None])
        assert found.pulled is not None
        by_y0, by_k = found.pulled
        slopes = jax.vmap(lambda y: tendency(network, k, y))(found.ys)
        by_ts = jnp.sum(jnp.where(cotangent.ys == 0, 0.0, cotangent.ys * slopes), axis=1)
        by_t0 = -jnp.sum(by_y0 * tendency(network, k, y0))
        return by_k, by_y0, by_ts, by_t0, jnp.zeros_like(rtol), jnp.zeros_like(atol)

    if integrator.adjoint == "reverse":
        run = jax.custom_vjp(fast)
        run.defvjp(lambda *values: (fast(*values), values), backward)
    else:
        run = jax.custom_jvp(fast)
        run.defjvp(forward)
    found = run(*arrays)
    result: Any = diffrax.RESULTS.successful
    for code, item in enumerate(native.RESULTS):
        result = diffrax.RESULTS.where(found.status == code, item, result)
    stats = {
        "num_steps": found.accepted + found.rejected,
        "num_accepted_steps": found.accepted,
        "num_rejected_steps": found.rejected,
        "max_steps": integrator.max_steps,
        "end_time": found.time,
        "end_state": found.state,
    }
    nothing: dict[str, None] = dict.fromkeys(
        ("interpolation", "solver_state", "controller_state", "made_jump", "event_mask")
    )
    return diffrax.Solution(
        t0=arrays[3], t1=ts[-1], ts=ts, ys=found.ys, stats=stats, result=result, **nothing
    )
