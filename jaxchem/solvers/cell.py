"""One cell of chemistry: a network integrated from one state. `jax.vmap` makes it a batch."""

import dataclasses
import logging
from typing import Any, overload

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..network import Network, floating, impossible
from ..system import MISSING, System, unpack
from . import lockstep, native
from .compiled import march
from .integrator import METHODS, Integrator, check_times, check_tolerances, warn_float32
from .lowering import NotLowered
from .program import lowered, opened
from .rosenbrock import Rosenbrock
from .tape import run

__all__ = ["solve"]

log = logging.getLogger("jaxchem")


@overload
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
) -> diffrax.Solution: ...


@overload
def solve(
    network: System,
    /,
    y0: Float[Array, " n"],
    ts: Float[Array, " T"],
    *,
    integrator: Integrator | None = None,
    t0: Any = 0.0,
    throw: bool = True,
    **settings: Any,
) -> diffrax.Solution: ...


def solve(  # pyright: ignore[reportInconsistentOverload] (behind a system all stand earlier)
    network: Network | System,
    k: Any = MISSING,
    y0: Any = MISSING,
    ts: Any = MISSING,
    *,
    integrator: Integrator | None = None,
    t0: Any = 0.0,
    throw: bool = True,
    **settings: Any,
) -> diffrax.Solution:
    """Integrates a network's kinetics: `solve(network, k, y0, ts)`, or `solve(system, y0, ts)`.

    With a Rosenbrock method and float64 the processor runs a compiled kernel that takes a whole
    vmapped batch at once, steps each member for itself, and has forward and reverse derivatives of
    its own. Rates and tendencies that are functions run in it as instructions; where one has none
    (the log names it), on other devices and in 32 bits, the same methods run in plain JAX, many
    cells in step. Other methods, and ``adjoint="direct"``, run through diffrax.

    Args:
        network: the reactions; or a `System`, which has its `k`.
        k: rate coefficients [R]; or a function of time `t -> k[R]`, as `network.rates` returns
            for conditions that vary in time; or of time and state, `(t, y) -> k[R]`.
        y0: concentrations at `t0`, none negative, and a system's further states. What a solve
            ends with is a start too: a concentration may lie below zero by ten times `atol`, or
            by 1e-14 of the largest one.
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
            concentration (named, where its value is known outside of jit); a rate function that
            gives the wrong shape or starts with NaN; bad output times (inside of jit such a solve
            fails); an unknown setting.

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
    system, (y0, ts) = unpack("solve", network, k=k, y0=y0, ts=ts)
    y0 = floating(y0)
    size = len(system.states)
    if y0.shape != (size,):
        what = f"{size} species" if not system.further else f"{size} states"
        raise ValueError(
            f"y0 has shape {y0.shape}, but network {system.network.name!r} has {what}; make it "
            "with network.y0({...}), and use jax.vmap for a batch."
        )
    check_tolerances(integrator, size)
    if not isinstance(y0, Tracer):
        check_concentrations(system, np.asarray(y0), integrator.atol)
    check_times(ts, t0)
    ts = jnp.asarray(ts, y0.dtype)
    if isinstance(ts, Tracer) or isinstance(t0, Tracer):
        # the kernel takes times as they come; without a start a solve of bad ones fails
        good = jnp.all(jnp.diff(ts) > 0) & (ts[0] >= t0)
        y0 = jnp.where(good, y0, jnp.nan)
    solution = _attempt(system, y0, ts, integrator, t0)
    for rung in integrator.retries:
        failed = solution.result != diffrax.RESULTS.successful
        if not isinstance(failed, Tracer) and not failed:
            break
        # a member that is done has no time to go
        again = _attempt(system, y0, jnp.where(failed, ts, t0), rung, t0)
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
    system: System, states: Float[np.ndarray, "*N n"], atol: Any = None, first: int = 0
) -> None:
    """Refuses initial states that are none; of several cells, the first has the number `first`.

    Concentrations are not negative but for dips (see `jaxchem.network.impossible`); a further
    state may be.
    """
    size = len(system.network.species)
    bad = ~np.isfinite(states)
    if isinstance(atol, Tracer):
        atol = None
    if np.ndim(atol):
        atol = np.asarray(atol)[:size]
    bad[..., :size] = impossible(states[..., :size], atol)
    for *cell, place in np.argwhere(bad)[:1]:
        where = f" in cell {first + cell[0]}" if cell else ""
        kind, rule = (
            ("concentration", "finite and not negative") if place < size else ("value", "finite")
        )
        raise ValueError(
            f"initial {kind} of {system.states[place]!r}{where} is "
            f"{states[*cell, place]}; it must be {rule} ({system.units[place]})."
        )


def _attempt(system: System, y0: Any, ts: Any, integrator: Integrator, t0: Any) -> diffrax.Solution:
    """One integrator's solution, whatever becomes of it.

    Which engine does it is decided here and nowhere else: the compiled kernel; plain JAX where
    there is none, or where a function of the system has no instructions in it; or diffrax.
    """
    check_tolerances(integrator, len(system.states))
    least = 2 * ts.shape[0] if isinstance(ts.shape[0], int) else 0  # of an export it may be open
    if integrator.output == "step" and least > integrator.max_steps:
        integrator = integrator.replace(max_steps=least)
    if not marches(integrator):
        return _through_diffrax(system, y0, ts, integrator, t0)
    if compiles(system, y0, integrator):
        try:
            program = (None, jnp.zeros(0)) if system.plain else lowered(system)
        except NotLowered as reason:
            log.info("%s; the slower solver in JAX is used", reason)
        except jax.errors.UnexpectedTracerError:
            system.check(t0, y0)  # says what it is
            raise
        else:
            code, numbers = program
            if code is not None and not any(isinstance(x, Tracer) for x in (t0, y0, numbers)):
                (k, g), _ = run(code.tape, (t0, y0, numbers))
                system.refuse(t0, k, g)
            return march(system, code, numbers, y0, ts, integrator, t0)
    if y0.dtype == jnp.float32:
        warn_float32(4)
    system.check(t0, y0)
    functions = (None, jnp.zeros(0, y0.dtype)) if system.plain else opened(system, y0.dtype)
    return march(system, *functions, y0, ts, integrator, t0, lockstep.march)


def _through_diffrax(
    system: System, y0: Any, ts: Any, integrator: Integrator, t0: Any
) -> diffrax.Solution:
    system.check(t0, y0)
    solution = integrator(
        _field,
        y0,
        ts,
        system,
        t0=t0,
        throw=False,
        jacobian=_slope,
        autonomous=system.autonomous,
    )
    if not isinstance(solution.ys, Tracer):
        return solution  # nothing is differentiated
    if integrator.adjoint == "reverse":
        # whatever a derivative may be asked by has a part in the field
        ys = _reached(solution.ys, system.field(jnp.asarray(t0, y0.dtype), y0))
    else:
        ys = _known(solution.ys)
    return dataclasses.replace(solution, ys=ys)


@jax.custom_vjp
def _reached(ys: Any, anything: Any) -> Any:
    """The states; cotangents of those that were not reached make those of `anything` NaN.

    A cotangent of zero does not: a loss may leave out what failed.
    """
    del anything
    return ys


def _reached_back(residuals: Any, cotangent: Any) -> tuple[Any, Any]:
    ys, anything = residuals
    missing = ~jnp.isfinite(ys)
    lost = jnp.any(missing & (cotangent != 0))
    return (
        jnp.where(missing, 0.0, cotangent),
        jnp.where(lost, jnp.nan, jnp.zeros_like(anything)),
    )


_reached.defvjp(lambda ys, anything: (ys, (ys, anything)), _reached_back)


@jax.custom_jvp
def _known(ys: Any) -> Any:
    """The states; those that were not reached have no tangents."""
    return ys


@_known.defjvp
def _(values: tuple[Any], changes: tuple[Any]) -> tuple[Any, Any]:
    return values[0], jnp.where(jnp.isfinite(values[0]), changes[0], jnp.nan)


def marches(integrator: Integrator) -> bool:
    """Whether this is a method of ours, with derivatives at fixed step lengths."""
    known = issubclass(METHODS[integrator.method], Rosenbrock)
    return known and integrator.adjoint in ("reverse", "forward")


def compiles(system: System, y0: Any, integrator: Integrator) -> bool:
    """Whether the compiled kernel does such solves, on this machine."""
    return (
        marches(integrator)
        and y0.dtype == jnp.float64
        and system.network.structure.reactants.shape[1] < native.MOST_FACTORS
        and jax.default_backend() == "cpu"
        and native.available()
    )


def _field(t: Any, y: Float[Array, " n"], system: System) -> Float[Array, " n"]:
    return system.field(t, y)


def _slope(t: Any, y: Float[Array, " n"], system: System) -> Float[Array, "n n"]:
    return system.jacobian(t, y)
