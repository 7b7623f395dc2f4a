"""What every emulator is, and what is wrapped round one.

A model of your own is an [`AbstractEmulator`][] with the fields that it needs: it says what
`predict` gives and, if it is to be trained here, what `examples` and `terms` are. Nothing else in
jaxchem asks which family a model is of.
"""

import abc
import inspect
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..brief import few
from ..dataset import Observations
from ..network import Units
from ..suggest import closest

log = logging.getLogger("jaxchem")

__all__ = [
    "About",
    "AbstractEmulator",
    "AbstractWrapper",
    "Function",
    "Ordered",
    "columns",
    "hands_on",
]


class About(NamedTuple):
    """What a model takes and gives, by name.

    Attributes:
        states: names of the states of y0 and ys, in order.
        conditions: names of the conditions, in order.
        units: of concentrations and times.
        start: time of y0, where `ts` are zero; data that begin elsewhere are another's.
        source: what it was trained on.
        low: the least that each state of y0, then each condition, was in training; nothing where
            that is not known.
        high: and the most.
        fixed: name and value of the conditions that all of the training had; of `photolysis` and
            `quantities` the value is such pairs.
    """

    states: tuple[str, ...]
    conditions: tuple[str, ...] = ()
    units: Units = Units("", "")
    start: float = 0.0
    source: str = ""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    fixed: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, data: Observations, *, anywhere: bool = False) -> "About":
        """What a model says that is trained on these trajectories.

        Args:
            data: the trajectories.
            anywhere: all their states count as starts, not the initial ones alone.
        """
        starts, conditions = np.asarray(data.y0)[:, None], np.asarray(data.conditions)
        if anywhere:
            starts = np.concatenate([starts, np.asarray(data.states)], axis=1)
        ranges = [(f(starts, axis=(0, 1)), f(conditions, axis=0)) for f in (np.min, np.max)]
        low, high = (tuple(map(float, np.concatenate(parts))) for parts in ranges)
        units, (first, last) = data.network.units, np.asarray(data.ts)[[0, -1]] - float(data.t0)
        return cls(
            data.network.species,
            data.names,
            units,
            float(data.t0),
            f"{len(starts)} trajectories of {data.network.name}, {first:.3g} to {last:.3g} "
            f"{units.time} after y0",
            low,
            high,
            _pairs(data.fixed),
        )

    @property
    def shared(self) -> dict[str, Any]:
        """What is `fixed`, as `network.rates` takes it."""
        return {n: dict(v) if isinstance(v, tuple) else v for n, v in self.fixed}


def _pairs(values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Names and numbers, which can be a static field; what is neither a number nor such is not."""
    told = {n: _pairs(v) if isinstance(v, Mapping) else v for n, v in values.items()}
    return tuple(
        (n, v if isinstance(v, tuple) else float(v))
        for n, v in told.items()
        if isinstance(v, int | float | tuple)
    )


class AbstractEmulator(eqx.Module):
    """A callable `(y0 [S], conditions [C], ts [T]) -> ys [T, S]` in physical units.

    Attributes:
        about: names, units and range of what it takes and gives.
    """

    about: eqx.AbstractVar[About]  # static in what has it as a field

    @abc.abstractmethod
    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """States at times `ts` after `y0`."""

    def __call__(
        self,
        y0: Float[Array, " S"],
        conditions: Float[Array, " C"] | Mapping[str, Any] | None,
        ts: Float[Array, " T"],
    ) -> Float[Array, "T S"]:
        """States at times `ts` after `y0`; where `y0` or a condition is not finite, nor are they.

        Args:
            y0: the state to start from, in the order of `about.states`.
            conditions: in the order of `about.conditions`, or name -> value in any order; `None`
                is none.
            ts: times that have passed since `y0`.

        Raises:
            ValueError: other names, or another number, of states or conditions.
        """
        y0, conditions = self.given(y0, conditions)
        ys = self.predict(y0, conditions, jnp.asarray(ts))
        good = jnp.all(jnp.isfinite(y0)) & jnp.all(jnp.isfinite(conditions))
        return jnp.where(good, ys, jnp.nan)

    def __repr__(self) -> str:
        about, size = self.about, len(self.about.states)
        leaves = jax.tree.leaves(eqx.filter(self, eqx.is_inexact_array))
        count = sum(leaf.size for leaf in leaves if isinstance(leaf, jax.Array))
        ranges = about.low[size:], about.high[size:]
        given = [
            f"{n} {a:.3g} to {b:.3g}" for n, a, b in zip(about.conditions, *ranges, strict=False)
        ]
        return "\n".join(
            (
                f"{self.name}, {count} parameters",
                f"states ({size}, {about.units.concentration}): {few(about.states)}",
                f"conditions: {', '.join(given or about.conditions) or 'none'}",
                f"times: {about.units.time} since y0, which is at {about.start:g}",
                f"trained on: {about.source or 'nothing that it knows of'}",
            )
        )

    @property
    def name(self) -> str:
        """Its class, and those that are inside of it."""
        return type(self).__name__

    def given(self, y0: Any, conditions: Any) -> tuple[Float[Array, " S"], Float[Array, " C"]]:
        """Initial state and conditions as arrays in the model's order, as of `__call__`."""
        about = self.about
        if conditions is None or isinstance(conditions, Mapping):
            values = dict(conditions or {})
            columns(about.conditions, tuple(values), "conditions")
            told = [jnp.asarray(values[name], float) for name in about.conditions]
            conditions = jnp.stack(told) if told else jnp.zeros(0)
        y0, conditions = jnp.asarray(y0, float), jnp.asarray(conditions, float)
        for values, names, what in (
            (y0, about.states, "states"),
            (conditions, about.conditions, "conditions"),
        ):
            if values.shape != (len(names),):  # one would be broadcast
                raise ValueError(
                    f"the model takes the {len(names)} {what} {', '.join(names) or '(none)'} but "
                    f"got an array of shape {values.shape}; vmap it over several cells."
                )
        return y0, conditions

    def spread(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"] | None:
        """Standard deviation of `predict` in dex; `None` of a model that does not know it."""
        return None

    def latents(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T L"] | None:
        """What `predict` goes through in a latent space; `None` of a model that has none."""
        return None

    def beyond(
        self, y0: Float[Any, "N S"], conditions: Float[Any, "N C"]
    ) -> Float[np.ndarray, "N D"]:
        """By how many powers of ten the inputs of each case leave their range in training.

        States, then conditions; zero where they do not leave it. A twentieth of the range beyond
        its ends is still in it. What was zero in training, or is zero or less, counts as 1e-99.
        """
        about = self.about
        given = np.concatenate([y0, conditions], axis=1)
        if not about.low:
            return np.zeros(given.shape)
        values, low, high = (
            np.log10(np.maximum(part, 1e-99)) for part in (given, about.low, about.high)
        )
        far = np.maximum(low - values, values - high)
        return np.where(far > 0.05 * (high - low) + 1e-9, far, 0.0)

    def outside(self, y0: Float[Any, "N S"], conditions: Float[Any, "N C"]) -> dict[str, float]:
        """Inputs that are `beyond` their range in training: name -> by how much at most."""
        far = np.max(self.beyond(y0, conditions), axis=0, initial=0.0).tolist()
        names = (*self.about.states, *self.about.conditions)
        return {name: most for name, most in zip(names, far, strict=True) if most > 0}

    def check_range(
        self, y0: Float[Any, "N S"], conditions: Float[Any, "N C"], *, strict: bool = False
    ) -> None:
        """Warns of inputs outside of their range in training.

        Raises:
            ValueError: there are some, and `strict`.
        """
        far = self.outside(np.asarray(y0), np.asarray(conditions))
        if not far:
            return
        worst = sorted(far, key=lambda name: -far[name])[:5]
        told = ", ".join(f"{name} by {far[name]:.2g} dex" for name in worst)
        more = f" and {len(far) - len(worst)} more" if len(far) > len(worst) else ""
        said = f"outside of what the model was trained on: {told}{more}"
        if strict:
            raise ValueError(f"{said}; train it on such data, or ask it without strict.")
        log.warning("%s", said)

    def in_order(self, states: Sequence[str], conditions: Sequence[str]) -> "AbstractEmulator":
        """The model with its states and conditions in this order, met by name.

        Raises:
            ValueError: the names are not those of the model.
        """
        about = self.about
        places = (
            tuple(columns(about.states, states, "states")),
            tuple(columns(about.conditions, conditions, "conditions")),
        )
        if all(place == tuple(range(len(place))) for place in places):
            return self
        return Ordered(self, *places)  # pyright: ignore[reportCallIssue]

    def rate_coefficients(self, conditions: Any = None) -> Float[Array, " R"] | None:
        """Those of its `network`'s reactions under conditions [C]; `None` where it has none."""
        return None

    @property
    def restarts(self) -> bool:
        """Whether it takes any state of a trajectory as `y0`, so that it can be chained."""
        return False

    def examples(self, data: Observations) -> PyTree:
        """What it trains on: arrays whose leading axis is that of the examples.

        Raises:
            ValueError: there is nothing in it to train.
        """
        raise ValueError(f"a {type(self).__name__} has no `examples`, so it cannot be trained.")

    def terms(self, batch: PyTree, key: PRNGKeyArray) -> dict[str, Float[Array, ""]]:
        """The terms of its loss by name, of some of the `examples`."""
        raise ValueError(f"a {type(self).__name__} has no `terms`, so it cannot be trained.")


class Function(AbstractEmulator):
    """Any function as an emulator, such as a solve.

    Attributes:
        function: `(y0 [S], conditions [C], ts [T]) -> ys [T, S]`, ts since y0.
        about: its names.
    """

    function: Callable[..., Float[Array, "T S"]]
    about: About = eqx.field(static=True)

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """What the function gives."""
        return self.function(y0, conditions, ts)


class AbstractWrapper(AbstractEmulator):
    """An emulator round another, whose spread and training range it has if it says no other."""

    inner: eqx.AbstractVar[AbstractEmulator]

    def within(
        self, y0: Float[Any, "*n S"], conditions: Float[Any, "*n C"], ts: Any
    ) -> tuple[Any, Any, Any]:
        """What the model inside is asked for these inputs."""
        return y0, conditions, ts

    def spread(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"] | None:
        """That of the model inside."""
        return self.inner.spread(*self.within(y0, conditions, ts))

    def latents(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T L"] | None:
        """Those of the model inside."""
        return self.inner.latents(*self.within(y0, conditions, ts))

    def outside(self, y0: Float[Any, "N S"], conditions: Float[Any, "N C"]) -> dict[str, float]:
        """As the model inside."""
        return self.inner.outside(*self.within(y0, conditions, np.zeros(1))[:2])

    def beyond(
        self, y0: Float[Any, "N S"], conditions: Float[Any, "N C"]
    ) -> Float[np.ndarray, "N D"]:
        """That of the model inside, in its order."""
        return self.inner.beyond(*self.within(y0, conditions, np.zeros(1))[:2])

    @property
    def restarts(self) -> bool:
        """As the model inside."""
        return self.inner.restarts

    @property
    def name(self) -> str:
        """Its class, and those that are inside of it."""
        return f"{type(self).__name__}({self.inner.name})"

    @property
    def corrects(self) -> bool:
        """Whether the model inside takes the same inputs, so that the two can be compared."""
        return False


def hands_on(
    target: Callable[..., Any], *, without: Collection[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Tells `inspect` what a function with `**settings` hands on to another.

    Settings of the command line are checked by it before anything is made.

    Args:
        target: what is handed on to.
        without: keywords of it that the function gives itself.
    """

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(function)
        kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        known = {*without, *(p.name for p in kept)}
        further = [
            p
            for p in inspect.signature(target).parameters.values()
            if p.kind is p.KEYWORD_ONLY and p.name not in known
        ]
        signature = own.replace(parameters=[*kept, *further])
        function.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
        return function

    return mark


def columns(wanted: Sequence[str], found: Sequence[str], what: str) -> list[int]:
    """Where each of the names that are wanted stands among those that are found.

    Raises:
        ValueError: a name is missing, or nobody wants it.
    """
    missing = [name for name in wanted if name not in found]
    further = [name for name in found if name not in wanted]
    if missing or further:
        parts = [
            *(f"{name!r} is missing{closest(name, further)}" for name in missing[:5]),
            *(f"{name!r} is none of them" for name in further[:5] if not missing),
        ]
        said = "; ".join(parts)
        raise ValueError(
            f"the model takes the {what} {', '.join(wanted) or '(none)'}: {said}"
            + "." * (not said.endswith("?"))
        )
    return [list(found).index(name) for name in wanted]


class Ordered(AbstractWrapper):
    """A model that takes and gives its states and conditions in another order.

    Attributes:
        inner: the model.
        states: where each state of the model inside stands in this order.
        conditions: and each condition.
    """

    inner: AbstractEmulator
    states: tuple[int, ...] = eqx.field(static=True)
    conditions: tuple[int, ...] = eqx.field(static=True)

    @property
    def about(self) -> About:
        """That of the model inside, in this order."""
        about = self.inner.about
        back = [self.states.index(n) for n in range(len(self.states))]
        mine = [self.conditions.index(n) for n in range(len(self.conditions))]
        inputs = [*back, *(len(back) + n for n in mine)] if about.low else []
        return about._replace(
            states=tuple(about.states[n] for n in back),
            conditions=tuple(about.conditions[n] for n in mine),
            low=tuple(about.low[n] for n in inputs),
            high=tuple(about.high[n] for n in inputs),
        )

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """States at `ts`, in this order."""
        return self.inner.predict(*self.within(y0, conditions, ts))[:, np.argsort(self.states)]

    def spread(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"] | None:
        """That of the model inside, in this order."""
        spread = super().spread(y0, conditions, ts)
        return None if spread is None else spread[:, np.argsort(self.states)]

    def within(
        self, y0: Float[Any, "*n S"], conditions: Float[Any, "*n C"], ts: Any
    ) -> tuple[Any, Any, Any]:
        """The same in the order of the model inside."""
        places = (np.array(part, int) for part in (self.states, self.conditions))
        return *(a[..., n] for a, n in zip((y0, conditions), places, strict=True)), ts
