"""One cell integrated by the compiled kernel or in step, and how that is differentiated.

Either carries tangents along with a solve, or retraces its steps backwards with cotangents.
Both are derivatives at fixed step lengths, which error control chooses and derivatives leave alone.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.interpreters import ad
from jaxtyping import Array, Float

from ..kinetics import tendency
from ..system import System
from . import native
from .integrator import METHODS, NEGATIVE, Integrator, default_atol
from .program import Functions, Program

__all__ = ["march"]


def march(
    system: System,
    program: Program | Functions | None,
    numbers: Float[Array, " Q"],
    y0: Any,
    ts: Any,
    integrator: Integrator,
    t0: Any,
    marches: Callable[..., native.Outcome] = native.march,
) -> diffrax.Solution:
    """The kernel's solution and derivatives; of the `stats`, `end_state` alone has them.

    States that were not reached, and the end of a solve that failed, have NaN derivatives; in
    reverse a cotangent of zero leaves them out, as a loss does that masks what failed.

    Args:
        system: what is integrated.
        program: of its functions, `None` where it is mass action with constant coefficients.
        numbers: what the program's functions hold.
        y0: [n] initial state.
        ts: [T] output times.
        integrator: a Rosenbrock method, ``adjoint`` being ``"reverse"`` (which serves both modes)
            or ``"forward"`` (which integrates once for a value and its tangents).
        t0: time of the initial state.
        marches: `native.march`; or `lockstep.march`, which takes `Functions` for a program.
    """
    k = jnp.zeros(len(system.network.equations)) if program else system.k
    atol = default_atol(y0) if integrator.atol is None else integrator.atol
    first = 0.0 if integrator.dt0 is None else integrator.dt0
    given = (k, numbers, y0, ts, t0, integrator.rtol, atol, first)
    values = [jnp.asarray(value, y0.dtype) for value in given]
    values[6] = jnp.broadcast_to(values[6], y0.shape)
    engine = _Engine(system, program, integrator, marches)
    run = jax.custom_jvp(engine.run)
    run.defjvp(engine.forward if integrator.adjoint == "forward" else engine.either)
    found = run(*values)
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
        "last_step": found.step,
    }
    nothing: dict[str, None] = dict.fromkeys(
        ("interpolation", "solver_state", "controller_state", "made_jump", "event_mask")
    )
    return diffrax.Solution(
        t0=values[4], t1=ts[-1], ts=ts, ys=found.ys, stats=stats, result=result, **nothing
    )


_LINEAR = 5
"""The first so many values have derivatives: k, numbers, y0, ts and t0."""


class _Engine:
    """A solve as a function of `values`: k, numbers, y0, ts, t0, rtol, atol and the first step."""

    def __init__(
        self,
        system: System,
        program: Program | Functions | None,
        integrator: Integrator,
        marches: Callable[..., native.Outcome],
    ):
        self.marches = marches
        self.network = system.network
        self.further = len(system.further)
        self.program = program
        self.tableau = METHODS[integrator.method].tableau  # pyright: ignore[reportAttributeAccessIssue]
        self.settings = {
            "max_steps": integrator.max_steps,
            "land": integrator.output == "step",
            "negative": NEGATIVE.index(integrator.negative),
        }

    def run(self, *values: Any, **how: Any) -> native.Outcome:
        """What the kernel makes of them."""
        k, numbers, y0, ts, t0, rtol, atol, first = values
        rows = (k, y0, ts - t0, t0, rtol, atol, first)
        found = self.marches(
            self.network,
            self.tableau,
            *(row[None] for row in rows),
            program=self.program,
            numbers=numbers[None],
            **how,
            **self.settings,
        )
        found = found._replace(time=found.time + t0)
        return jax.tree.map(lambda leaf: leaf[0], found)

    def forward(self, values: tuple[Any, ...], moved: tuple[Any, ...]) -> Any:
        """Value and tangents in one integration."""
        found, dys, at_end = self.tangents(values, moved)
        still = jax.tree.map(_no_change, found)
        return found, still._replace(ys=dys, state=at_end)

    def either(self, values: tuple[Any, ...], moved: tuple[Any, ...]) -> Any:
        """The value, and tangents that know their transpose."""
        found = self.run(*values)
        # where anything is a batch, so are all tangents: their transpose is one of a batch
        nothing = jnp.where(jnp.zeros((), bool), sum(map(jnp.sum, values)), 0.0)
        linear = [change + nothing for change in moved[:_LINEAR]]
        dys, at_end = _tangents.bind(*values, *linear, engine=self)
        still = jax.tree.map(_no_change, found)
        return found, still._replace(ys=dys, state=at_end)

    def tangents(
        self, values: tuple[Any, ...], moved: tuple[Any, ...], sharded: bool = True
    ) -> tuple[native.Outcome, Array, Array]:
        """What the kernel makes of them, and the changes of the states and of the last one."""
        _, numbers, y0, ts, t0, *_ = values
        dk, dnumbers, dy0, dts, dt0, *_ = moved
        dy0 = dy0 - self._field(t0, y0, values) * dt0
        if self.program is not None:  # those that vary are the kernel's
            _, dk = jax.jvp(lambda q: self._steady(t0, y0, q), (numbers,), (dnumbers,))
        changes = {"dy0": dy0, "dk": dk, "dnumbers": dnumbers}
        directions = {name: change[None, None] for name, change in changes.items()}
        found = self.run(*values, **directions, sharded=sharded)
        assert found.dys is not None
        slopes = jax.vmap(lambda t, y: self._field(t, y, values))(ts, found.ys)
        dys = jnp.where(jnp.isfinite(found.ys), found.dys[0] + slopes * dts[:, None], jnp.nan)
        at_end = jnp.where(found.status == 0, dys[-1], jnp.nan)
        return found._replace(dys=None), dys, at_end

    def pull(self, values: tuple[Any, ...], by_ys: Any, by_end: Any) -> tuple[Array, ...]:
        """Cotangents of what has derivatives, from those of the states and of the last one."""
        _, numbers, y0, ts, t0, *_ = values
        by_ys = by_ys.at[-1].add(by_end)  # the last state of a solve that succeeds
        found = self.run(*values, cotangent=by_ys[None, None])
        assert found.pulled is not None
        by_y0, by_k, by_numbers = (pulled[0] for pulled in found.pulled)
        if self.program is not None:
            by_numbers += jax.vjp(lambda q: self._steady(t0, y0, q), numbers)[1](by_k)[0]
        slopes = jax.vmap(lambda t, y: self._field(t, y, values))(ts, found.ys)
        by_ts = jnp.sum(jnp.where(by_ys == 0, 0.0, by_ys * slopes), axis=1)
        by_t0 = -jnp.sum(by_y0 * self._field(t0, y0, values))
        lost = jnp.any(~jnp.isfinite(found.ys) & (by_ys != 0))
        lost |= (found.status != 0) & jnp.any(by_end != 0)
        pulled = (by_k, by_numbers, by_y0, by_ts, by_t0)
        return tuple(jnp.where(lost, jnp.nan, by) for by in pulled)

    def _field(self, t: Any, y: Any, values: tuple[Any, ...]) -> Any:
        k, numbers, *_ = values
        g = 0.0
        if self.program is not None:
            k, g = self.program.function(t, y, numbers)
        change = tendency(self.network, k, y[: len(self.network.species)])
        return jnp.pad(change, (0, self.further)) + g

    def _steady(self, t: Any, y: Any, numbers: Any) -> Any:
        """The coefficients, zero where they vary."""
        assert self.program is not None
        return self.program.function(t, y, numbers)[0].at[self.program.varying].set(0.0)


def _no_change(leaf: Array) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _impl(*inputs: Any, engine: _Engine) -> tuple[Array, Array]:
    _, dys, at_end = engine.tangents(inputs[:-_LINEAR], inputs[-_LINEAR:], sharded=False)
    return dys, at_end


def _shapes(*inputs: Any, engine: _Engine) -> list[Any]:
    del engine
    y0, ts = inputs[2], inputs[3]
    return [ShapedArray((*ts.shape, *y0.shape), y0.dtype), ShapedArray(y0.shape, y0.dtype)]


def _transpose(cotangents: Any, *inputs: Any, engine: _Engine) -> list[Any]:
    values, linear = inputs[:-_LINEAR], inputs[-_LINEAR:]
    y0, ts = values[2], values[3]
    shapes = ((*ts.shape, *y0.shape), y0.shape)
    by = [
        jnp.zeros(shape, y0.dtype) if c is None or isinstance(c, ad.Zero) else c
        for c, shape in zip(cotangents, shapes, strict=True)
    ]
    pulled = engine.pull(values, *by)
    wanted = [p if ad.is_undefined_primal(x) else None for p, x in zip(pulled, linear, strict=True)]
    return [*[None] * len(values), *wanted]


_tangents = eqxi.create_vprim(
    "jaxchem_tangents", _impl, _shapes, native.refuse_derivatives, _transpose
)
