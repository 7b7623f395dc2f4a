"""Models that are integrated: a right-hand side, and how it is stepped."""

import abc
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..solvers import Integrator
from .base import AbstractEmulator

__all__ = ["AbstractIntegrated", "integrate"]


class AbstractIntegrated(AbstractEmulator):
    """An emulator with a tendency of its own.

    Attributes:
        integrator: how it is integrated.
    """

    integrator: eqx.AbstractVar[Integrator]

    @abc.abstractmethod
    def field(self, t: Any, y: Float[Array, " S"], conditions: Any = None) -> Float[Array, " S"]:
        """The modelled tendency dy/dt under conditions [C]; `None` is none."""

    def solution(
        self,
        y0: Float[Array, " S"],
        ts: Float[Array, " T"],
        conditions: Any = None,
        *,
        t0: Any = 0.0,
        integrator: Integrator | None = None,
    ) -> diffrax.Solution:
        """The integrated trajectory with its result, by another integrator if one is given."""
        how = self.integrator if integrator is None else integrator
        return self.run(how, y0, ts, conditions, t0)

    def run(self, how: Integrator, y0: Any, ts: Any, conditions: Any, t0: Any) -> diffrax.Solution:
        """What `solution` gives, by an integrator; a failure is told by its result."""

        def right(t: Any, y: Any, args: Any) -> Any:
            return args[0].field(t, y, args[1])

        return how(right, y0, ts, (self, conditions), t0=t0, throw=False)

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """States at `ts`, integrated."""
        return jnp.asarray(self.solution(y0, ts, conditions).ys)


def integrate(
    model: AbstractIntegrated,
    integrator: Integrator,
    y0: Float[Array, "B S"],
    ts: Float[Array, "B T"],
    conditions: Float[Array, "B C"],
    t0: Float[Array, " B"],
    *,
    sequential: bool = False,
) -> tuple[Float[Array, "B T S"], Bool[Array, " B"]]:
    """States of a batch at its output times, and which members succeeded."""

    def one(member: tuple[Any, Any, Any, Any]) -> Any:
        y0, ts, conditions, t0 = member
        solution = model.solution(y0, ts, conditions, t0=t0, integrator=integrator)
        states = jnp.asarray(solution.ys)
        return states, diffrax.is_successful(solution.result) & jnp.all(jnp.isfinite(states))

    members = (y0, ts, conditions, t0)
    return jax.lax.map(one, members) if sequential else eqx.filter_vmap(one)(members)
