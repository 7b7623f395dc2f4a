"""How a system of differential equations is stepped, through diffrax."""

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

from ..network import floating
from .rosenbrock import Rodas3, Rodas4, Rodas5P, Rosenbrock

__all__ = ["ADJOINTS", "METHODS", "NEGATIVE", "Integrator", "ladder"]

METHODS: dict[str, type[diffrax.AbstractSolver]] = {
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno5": diffrax.Kvaerno5,
    "rodas3": Rodas3,
    "rodas4": Rodas4,
    "rodas5p": Rodas5P,
}
"""Methods by name: Kvaerno 2004, BIT 44, 489, and those of `jaxchem.solvers.rosenbrock`."""

ADJOINTS: dict[str, Callable[[], diffrax.AbstractAdjoint]] = {
    "reverse": diffrax.RecursiveCheckpointAdjoint,
    "forward": diffrax.ForwardMode,
    "direct": diffrax.DirectAdjoint,
}
"""Ways to differentiate through a solve.

``"reverse"`` is for `jax.grad`, and with Rosenbrock methods for `jax.jacfwd` too, which then
integrates twice; ``"forward"`` is for `jax.jacfwd`; ``"direct"`` for either, and for second
derivatives, at more cost.
"""


NEGATIVE = ("allow", "reject", "project")
"""What may become of concentrations below zero; kernel.c knows them by number."""


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
    """Takes the Jacobian of the step where a Runge-Kutta method hands one on."""

    def init(
        self,
        fn: Any,
        y: Any,
        args: Any,
        options: dict[str, Any],
        f_struct: Any,
        aux_struct: Any,
        tags: Any,
    ) -> Any:
        given = options.get("init_state")
        if given is not None:
            return given
        return super().init(fn, y, args, options, f_struct, aux_struct, tags)


class _Newton(_Settled, optx.Newton):
    pass


_ROOT_FINDERS = {"chord": _Chord, "newton": _Newton}


class _Positive(diffrax.PIDController):
    """Refuses a step after which a concentration lies below minus its absolute tolerance."""

    def adapt_step_size(
        self, t0: Any, t1: Any, y0: Any, y1_candidate: Any, args: Any, y_error: Any, *rest: Any
    ) -> Any:
        error = jnp.where(jnp.any(y1_candidate < -self.atol), jnp.inf, y_error)
        return super().adapt_step_size(t0, t1, y0, y1_candidate, args, error, *rest)


@functools.cache
def warn_float32(stacklevel: int = 5) -> None:
    warnings.warn(
        "an implicit solve got float32 concentrations: on Robertson's problem that takes about "
        "5000 steps where float64 takes 60. Call jax.config.update('jax_enable_x64', True) "
        "before any array is made.",
        stacklevel=stacklevel,
    )


def _tolerance(atol: Any) -> Any:
    """Known values become NumPy constants, which training leaves alone; traced ones stay."""
    return atol if atol is None or isinstance(atol, Tracer) else np.asarray(atol, dtype=float)


class Integrator(eqx.Module):
    """How a system is stepped: method, tolerances, limits and the way to differentiate.

    Called as `integrator(field, y0, ts, args)` it integrates any `dy/dt = field(t, y, args)`;
    [`jaxchem.solve`][] is that with a network's tendency as the field. Tolerances and `dt0` are
    traced, so changing them does not compile again.

    Attributes:
        method: a key of `METHODS`.
        rtol: relative tolerance.
        atol: absolute tolerance, one number or one a species [S], in the network's unit. An
            `atol` above the scale of a species gives that species up, one below round-off stalls
            the solve; `None` reads the scale off the initial state: a hundredth of the smallest
            positive concentration, but between 1e-24 and 1e-16 of the largest (of 1 where every
            concentration is zero).
        dt0: first step; `None` lets the controller choose. So does 0 with a Rosenbrock method,
            whose `stats["last_step"]` is where a next solve can go on; elsewhere it is 1e-6 of the
            time.
        max_steps: limit on the attempted steps, after which a member is reported as failed; two for
            every output time that a step lands on are allowed in any case.
        adjoint: a key of `ADJOINTS`.
        root_finder: of the Kvaerno methods; Rosenbrock methods need none. ``"chord"`` (one
            Jacobian a step) or ``"newton"``. Both stop on the size of the update against the
            step tolerances; diffrax's own default stops on its rate of convergence and rejects
            about half of its steps on stiff chemistry.
        output: ``"step"`` lands a step on every output time and so is as accurate there as
            anywhere; ``"interpolate"`` takes fewer steps and evaluates the method's own
            interpolant, which can lose digits across large steps.
        negative: what becomes of a concentration below zero, where an integrator may leave it by
            about `atol`. ``"allow"`` leaves it there; ``"reject"`` refuses a step that ends below
            minus `atol`; ``"project"`` sets it to zero at the end of each step, which breaks
            conservation by as much (Rosenbrock methods only).
        retries: integrators to try in turn on a member that failed, as `ladder(integrator)`; its
            steps are the sum of all attempts. In a vmapped batch the others wait but do not run.
    """

    rtol: Any = 1e-6
    atol: Any = eqx.field(default=None, converter=_tolerance)
    dt0: Any = None
    method: str = eqx.field(static=True, default="rodas5p")
    max_steps: int = eqx.field(static=True, default=100_000)
    adjoint: str = eqx.field(static=True, default="reverse")
    root_finder: str = eqx.field(static=True, default="chord")
    output: str = eqx.field(static=True, default="step")
    negative: str = eqx.field(static=True, default="allow")
    retries: tuple["Integrator", ...] = eqx.field(default=(), converter=tuple)

    def __check_init__(self):
        for field, known in (
            ("method", METHODS),
            ("adjoint", ADJOINTS),
            ("root_finder", _ROOT_FINDERS),
            ("output", ("step", "interpolate")),
            ("negative", NEGATIVE),
        ):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"unknown {field} {getattr(self, field)!r}; known: {', '.join(known)}."
                )
        if self.negative == "project" and not issubclass(METHODS[self.method], Rosenbrock):
            raise ValueError(
                f"negative='project' is for Rosenbrock methods, not {self.method!r}; write "
                "'reject', or a method such as 'rodas5p'."
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
        jacobian: Callable[[Any, Float[Array, " S"], Any], Float[Array, "S S"]] | None = None,
        autonomous: bool = False,
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
            jacobian: of the field by `y`, with the field's arguments, for Rosenbrock methods;
                `None` differentiates the field.
            autonomous: the field does not depend on `t`, which Rosenbrock methods profit from.

        Returns:
            A `diffrax.Solution` with `.ts[T]`, `.ys[T, S]`, `.stats` and `.result`; after a
            failure the missing outputs are infinite.

        Raises:
            ValueError: output times that do not increase or that begin before `t0`.
        """
        y0 = floating(y0)
        check_times(ts, t0)
        ts = jnp.asarray(ts, y0.dtype)
        if y0.dtype == jnp.float32:
            warn_float32()
        dtype = y0.dtype
        t0 = jnp.asarray(t0, dtype)
        rtol = jnp.asarray(self.rtol, dtype)
        if self.atol is None:
            atol = default_atol(jax.lax.stop_gradient(y0))
        else:
            atol = jnp.asarray(self.atol, dtype)
        first = None
        if self.dt0 is not None:
            first = jnp.asarray(self.dt0, dtype)
            first = jnp.where(first > 0, first, 1e-6 * (ts[-1] - t0))
        # of an idle species that is not there the error is 0, in the scale of 0 where atol is
        atol = jnp.maximum(atol, jnp.finfo(dtype).tiny)
        # a step this small means a tendency that is not a number: the member stops there instead
        # of holding up its whole batch until max_steps
        kind = _Positive if self.negative == "reject" else diffrax.PIDController
        controller = kind(rtol=rtol, atol=atol, dtmin=1e-30 * (ts[-1] - t0), force_dtmin=False)
        if self.output == "step":
            controller = diffrax.ClipStepSizeController(controller, step_ts=ts)
        method: Any = METHODS[self.method]
        if issubclass(method, Rosenbrock):
            solver = method(
                jacobian=jacobian,
                autonomous=autonomous,
                project=self.negative == "project",
            )
        else:
            find = diffrax.with_stepsize_controller_tols(_ROOT_FINDERS[self.root_finder])
            solver = method(root_finder=find())
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),  # pyright: ignore[reportArgumentType]
            solver,
            t0,
            ts[-1],
            first,
            y0,
            args,
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=controller,
            adjoint=ADJOINTS[self.adjoint](),
            max_steps=self.max_steps,
            throw=throw,
        )


def ladder(integrator: Integrator) -> tuple[Integrator, ...]:
    """The usual retries: tighter tolerance, then also another method and more steps."""
    rtol = integrator.rtol
    tight = integrator.replace(
        rtol=0.01 * (rtol if isinstance(rtol, Tracer) else np.asarray(rtol)), retries=()
    )
    other = "rodas3" if integrator.method != "rodas3" else "rodas5p"
    return tight, tight.replace(method=other, max_steps=10 * integrator.max_steps)


def default_atol(y0: Float[Array, " S"]) -> Float[Array, ""]:
    """The absolute tolerance that `atol=None` stands for (see `Integrator`)."""
    largest = jnp.max(jnp.abs(y0))
    largest = jnp.where(largest > 0, largest, 1.0)
    smallest = jnp.min(jnp.where(y0 > 0, y0, largest))
    return jnp.clip(0.01 * smallest, 1e-24 * largest, 1e-16 * largest)


def check_tolerances(integrator: Integrator, size: int) -> None:
    """Refuses tolerances of the wrong shape, of which the kernel would read some, or value."""
    if np.ndim(integrator.rtol):
        raise ValueError(
            f"rtol has shape {np.shape(integrator.rtol)}; it is one number for all species: give "
            "atol one a species instead, and use jax.vmap for a batch."
        )
    if integrator.atol is not None and np.shape(integrator.atol) not in ((), (size,)):
        raise ValueError(
            f"atol has shape {np.shape(integrator.atol)}, but there are {size} species; "
            "give one number, or one a species."
        )
    for name in ("rtol", "atol", "dt0"):
        value = getattr(integrator, name)
        if (
            value is not None
            and not isinstance(value, Tracer)
            and not np.all(np.asarray(value) >= 0)
        ):
            raise ValueError(f"{name}={value} is negative or NaN; give a positive number.")
    check_rtol(integrator.rtol)


def check_rtol(rtol: Any) -> None:
    """Refuses a relative tolerance that is not positive and finite, where it is known."""
    if not isinstance(rtol, Tracer) and not 0 < float(rtol) < np.inf:
        raise ValueError(f"rtol={rtol}: give a positive number, such as 1e-6.")


def check_times(ts: Any, t0: Any) -> None:
    """Refuses bad output times where their values are known: outside of jit, or not traced."""
    if np.ndim(ts) != 1 or np.shape(ts)[0] == 0:
        raise ValueError(f"ts has shape {np.shape(ts)}; give a vector of at least one output time.")
    if isinstance(ts, Tracer) or isinstance(t0, Tracer):
        return
    times = np.asarray(ts, dtype=float)
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise ValueError("output times must be finite and increase; sort them and drop repeats.")
    if times[0] < float(t0):
        raise ValueError(
            f"the first output time {times[0]:g} lies before t0 = {float(t0):g}; pass t0=..."
        )
