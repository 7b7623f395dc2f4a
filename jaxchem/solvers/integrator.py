"""Stiff integration of one member; `jax.vmap` makes it a batch."""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.core import Tracer
from jaxtyping import Array, Float

from ..kinetics import tendency
from ..network import Network

__all__ = ["ADJOINTS", "METHODS", "Integrator", "solve"]

METHODS: dict[str, type[diffrax.AbstractSolver]] = {
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno5": diffrax.Kvaerno5,
}
"""Implicit methods by name (Kvaerno 2004, BIT 44, 489)."""

ADJOINTS: dict[str, Callable[[], diffrax.AbstractAdjoint]] = {
    "reverse": diffrax.RecursiveCheckpointAdjoint,
    "forward": diffrax.ForwardMode,
    "direct": diffrax.DirectAdjoint,
}
"""Ways to differentiate through a solve: `jax.grad`, `jax.jacfwd`, or either at more cost."""


class _Settled:
    """A root finder whose failed searches end at zero instead of wherever they diverged to.

    A step whose stages are not found is refused, but reverse mode still linearises the field
    there, and zero cotangents times an infinite Jacobian would be NaN.
    """

    def postprocess(
        self, fn: Any, y: Any, aux: Any, args: Any, options: Any, state: Any, tags: Any, result: Any
    ) -> tuple[Any, Any, dict[str, Any]]:
        del fn, args, options, state, tags
        found = result == optx.RESULTS.successful
        return jax.tree.map(lambda leaf: jnp.where(found, leaf, 0.0), y), aux, {}


class _Chord(_Settled, optx.Chord):
    pass


class _Newton(_Settled, optx.Newton):
    pass


_ROOT_FINDERS = {"chord": _Chord, "newton": _Newton}


@functools.cache
def _warn_float32() -> None:
    warnings.warn(
        "an implicit solve got float32 concentrations: on Robertson's problem that takes about "
        "5000 steps where float64 takes 60. Call jax.config.update('jax_enable_x64', True) "
        "before any array is made.",
        stacklevel=4,
    )


def _tolerance(atol: Any) -> Any:
    """Known values become NumPy constants, which training leaves alone; traced ones stay."""
    return atol if atol is None or isinstance(atol, Tracer) else np.asarray(atol, dtype=float)


class Integrator(eqx.Module):
    """How a system is stepped: method, tolerances, limits and the way to differentiate.

    Called as `integrator(field, y0, ts, args)` it integrates any `dy/dt = field(t, y, args)`;
    [`jaxchem.solve`][] is this with a network's tendency as the field. Tolerances and `dt0` are
    traced, so changing them does not compile again.

    Attributes:
        method: a key of `METHODS`.
        rtol: relative tolerance.
        atol: absolute tolerance, one number or one a species [S], in the network's unit. An
            `atol` above the scale of a species gives that species up, one below round-off stalls
            the solve; `None` reads the scale off the initial state: a hundredth of the smallest
            positive concentration, but between 1e-24 and 1e-16 of the largest (of 1 where every
            concentration is zero).
        dt0: first step; `None` lets the controller choose.
        max_steps: limit on the attempted steps, after which a member is reported as failed.
        adjoint: a key of `ADJOINTS`.
        root_finder: ``"chord"`` (one Jacobian a stage) or ``"newton"``. Both stop on the size of
            the update against the step tolerances; diffrax's own default stops on its rate of
            convergence and rejects about half of its steps on stiff chemistry.
        output: ``"step"`` lands a step on every output time and so is as accurate there as
            anywhere; ``"interpolate"`` takes fewer steps and evaluates the method's cubic
            interpolant, which can lose digits across large steps.
    """

    rtol: Any = 1e-6
    atol: Any = eqx.field(default=None, converter=_tolerance)
    dt0: Any = None
    method: str = eqx.field(static=True, default="kvaerno5")
    max_steps: int = eqx.field(static=True, default=100_000)
    adjoint: str = eqx.field(static=True, default="reverse")
    root_finder: str = eqx.field(static=True, default="chord")
    output: str = eqx.field(static=True, default="step")

    def __check_init__(self):
        for field, known in (
            ("method", METHODS),
            ("adjoint", ADJOINTS),
            ("root_finder", _ROOT_FINDERS),
            ("output", ("step", "interpolate")),
        ):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"unknown {field} {getattr(self, field)!r}; known: {', '.join(known)}."
                )

    def replace(self, **settings: Any) -> "Integrator":
        """The same integrator with other settings; `ValueError` names an unknown one."""
        known = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in settings:
            if name not in known:
                raise ValueError(
                    f"unknown setting {name!r} of an integrator; known: {', '.join(known)}."
                )
        return Integrator(**{**known, **settings})

    def __call__(
        self,
        field: Callable[[Any, Float[Array, " S"], Any], Float[Array, " S"]],
        y0: Float[Array, " S"],
        ts: Float[Array, " T"],
        args: Any = None,
        *,
        t0: Any = 0.0,
        throw: bool = True,
    ) -> diffrax.Solution:
        """Integrates `dy/dt = field(t, y, args)` from `y0` at `t0` to the last of `ts`.

        Args:
            field: the right-hand side.
            y0: initial state.
            ts: output times, increasing, none before `t0`.
            args: passed on to `field`; gradients flow to its arrays.
            t0: the time of `y0`.
            throw: raise where the solve fails; otherwise the result says so, and a vmapped batch
                keeps its good members.

        Returns:
            A `diffrax.Solution` with `.ts[T]`, `.ys[T, S]`, `.stats` and `.result`; after a
            failure the missing outputs are infinite.

        Raises:
            ValueError: output times that do not increase or that begin before `t0`.
        """
        y0 = _floating(y0)
        ts = jnp.asarray(ts, y0.dtype)
        check_times(ts, t0)
        if y0.dtype == jnp.float32:
            _warn_float32()
        dtype = y0.dtype
        t0 = jnp.asarray(t0, dtype)
        rtol = jnp.asarray(self.rtol, dtype)
        if self.atol is None:
            atol = default_atol(jax.lax.stop_gradient(y0))
        else:
            atol = jnp.asarray(self.atol, dtype)
        # a step this small means a tendency that is not a number: the member stops there instead
        # of holding up its whole batch until max_steps
        controller = diffrax.PIDController(
            rtol=rtol, atol=atol, dtmin=1e-30 * (ts[-1] - t0), force_dtmin=False
        )
        if self.output == "step":
            controller = diffrax.ClipStepSizeController(controller, step_ts=ts)
        root_finder = diffrax.with_stepsize_controller_tols(_ROOT_FINDERS[self.root_finder])()
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),  # pyright: ignore[reportArgumentType]
            METHODS[self.method](root_finder=root_finder),  # pyright: ignore[reportCallIssue]
            t0,
            ts[-1],
            None if self.dt0 is None else jnp.asarray(self.dt0, dtype),
            y0,
            args,
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=controller,
            adjoint=ADJOINTS[self.adjoint](),
            max_steps=self.max_steps,
            throw=throw,
        )


def _floating(y0: Any) -> Float[Array, " S"]:
    y0 = jnp.asarray(y0)
    return y0 if jnp.issubdtype(y0.dtype, jnp.floating) else y0.astype(float)


def default_atol(y0: Float[Array, " S"]) -> Float[Array, ""]:
    """The absolute tolerance that `atol=None` stands for (see `Integrator`)."""
    largest = jnp.max(jnp.abs(y0))
    largest = jnp.where(largest > 0, largest, 1.0)
    smallest = jnp.min(jnp.where(y0 > 0, y0, largest))
    return jnp.clip(0.01 * smallest, 1e-24 * largest, 1e-16 * largest)


def check_times(ts: Float[Array, " T"], t0: Any) -> None:
    """Refuses bad output times where their values are known, that is outside of jit."""
    if ts.ndim != 1 or ts.shape[0] == 0:
        raise ValueError(f"ts has shape {ts.shape}; give a vector of at least one output time.")
    if isinstance(ts, Tracer) or isinstance(t0, Tracer):
        return
    times = np.asarray(ts)
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise ValueError("output times must be finite and increase; sort them and drop repeats.")
    if times[0] < float(t0):
        raise ValueError(
            f"the first output time {times[0]:g} lies before t0 = {float(t0):g}; pass t0=..."
        )


def _network_field(t: Any, y: Float[Array, " S"], args: Any) -> Float[Array, " S"]:
    network, k = args
    rates: Any = k(t, y) if callable(k) else k
    return tendency(network, rates, y)


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
        ValueError: arrays of the wrong length; a negative, NaN or infinite concentration (named,
            where its value is known outside of jit); bad output times; an unknown setting.

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
    y0 = _floating(y0)
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
        values = np.asarray(y0)
        bad = np.flatnonzero(~np.isfinite(values) | (values < 0))
        if len(bad):
            raise ValueError(
                f"initial concentration of {network.species[bad[0]]!r} is {values[bad[0]]}; it "
                f"must be finite and not negative ({network.units.concentration})."
            )
    return integrator(_network_field, y0, ts, (network, k), t0=t0, throw=throw)
