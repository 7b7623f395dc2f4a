"""What is integrated: a network under its conditions, with further states and a user's tendency."""

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun
from jax.interpreters import partial_eval
from jaxtyping import Array, Bool, Float

from .brief import few, safely, text
from .kinetics import jacobian as _mass_action_jacobian
from .kinetics import tendency as _mass_action
from .network import Network, RateFunction

__all__ = ["MISSING", "System", "unpack"]

MISSING: Any = object()
"""Stands for an argument that was not given."""


class System(eqx.Module):
    """What is integrated: the states by name, how they change, and how that depends on them.

    A network under conditions is one: ``System(network, network.rates(...))``. Further states,
    such as a temperature, follow the species; a tendency in JAX says how they change, and may
    change species too. It is added to mass action.

    Functions that take `(network, k, ...)` take `(system, ...)` as well. A system is a pytree,
    whose arrays are those of the network and those that its functions hold as `eqx.Module`s;
    ``eqx.filter_jit`` takes it as an argument where it holds plain functions.

    Attributes:
        network: the reactions among the species.
        k: rate coefficients [R], a function of time `t -> k[R]`, or one of time and state
            `(t, y) -> k[R]`.
        tendency: `(t, y) -> [S + F]`, the change of every state besides mass action, or `None`.
        further: (name, unit) of the F further states.
        k_reads: places in the state that `k` depends on, as far as its program tells.
        tendency_reads: places in the state that `tendency` depends on.
        autonomous: whether neither of them depends on time.
    """

    network: Network
    k: Any
    tendency: Callable[..., Any] | None
    further: tuple[tuple[str, str], ...] = eqx.field(static=True)
    k_reads: tuple[int, ...] = eqx.field(static=True)
    tendency_reads: tuple[int, ...] = eqx.field(static=True)
    autonomous: bool = eqx.field(static=True)
    _takes_state: bool = eqx.field(static=True)

    def __init__(
        self,
        network: Network,
        k: Any,
        further: Mapping[str, str] | None = None,
        tendency: Callable[[Any, Any], Any] | None = None,
    ):
        """Puts a system together.

        Args:
            network: the reactions.
            k: rate coefficients [R] in the network's units; or a function of time, `t -> k[R]`;
                or of time and the state [S + F], `(t, y) -> k[R]`. A second argument that has a
                default is the state if it is called `y`.
            further: name -> unit of each further state; all of them want a tendency.
            tendency: `(t, y) -> [S + F]`, the change of every state that mass action does not
                make, per time, in JAX.

        Raises:
            ValueError: coefficients that are negative, where that can be known; these,
                or a function of them or a tendency, of the wrong shape or with the wrong
                arguments, or that JAX cannot trace; a further state with the name
                of a species, or without a tendency.
        """
        self.network = network
        self.k = k
        self.tendency = tendency
        self.further = tuple((further or {}).items())
        for name, _ in self.further:
            if name in network.species:
                raise ValueError(
                    f"the further state {name!r} has the name of a species of network "
                    f"{network.name!r}; give it another name."
                )
        if self.further and tendency is None:
            raise ValueError(
                f"the further states {', '.join(n for n, _ in self.further)} want a tendency: "
                "give System(..., tendency=...), a function (t, y) -> the change of all "
                f"{len(self.states)} states."
            )
        by_time, self.k_reads, self.tendency_reads = False, (), ()
        self._takes_state = False
        count = len(network.equations)
        if isinstance(k, RateFunction):  # gives what it should
            self._takes_state = True
            by_time, self.k_reads = k.conditions.varying, k.reads
        elif callable(k):
            self._takes_state = _takes_state(k)
            by_time, self.k_reads = _inspect(
                "rate function", lambda t, y: self.rates(t, y), count, len(self.states)
            )
        elif jnp.shape(k) != (count,):
            raise ValueError(
                f"k has shape {jnp.shape(k)}, but network {network.name!r} has {count} reactions; "
                "make it with network.rates(...), and use jax.vmap for a batch."
            )
        else:
            check_coefficients(network, k)
        if tendency is not None:
            size = len(self.states)
            too, self.tendency_reads = _inspect("tendency", tendency, size, size)
            by_time |= too
        self.autonomous = not by_time

    def __repr__(self) -> str:
        def rates() -> str:
            if not callable(self.k):
                return "constant"
            of_state = self.k.reads if isinstance(self.k, RateFunction) else self._takes_state
            return "a function of time" + " and state" * bool(of_state)

        further = [f"{name} [{unit}]" for name, unit in self.further]
        told = {"further states": few(further), "rate coefficients": safely(rates, "?")}
        told["tendency"] = "mass action" + " and one of its own" * (self.tendency is not None)
        lines = [f"System of {line}" for line in repr(self.network).splitlines()[:1]]
        return text([*lines, *(f"{name}: {value}" for name, value in told.items())])

    @property
    def states(self) -> tuple[str, ...]:
        """The names of all states: the S species and then the F further ones."""
        return (*self.network.species, *(name for name, _ in self.further))

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each state."""
        species = (self.network.units.concentration,) * len(self.network.species)
        return (*species, *(unit for _, unit in self.further))

    @property
    def plain(self) -> bool:
        """Whether this is mass action alone, with coefficients that nothing changes."""
        return self.tendency is None and not callable(self.k)

    @property
    def conserved(self) -> Float[np.ndarray, "E n"]:
        """Sums of states that the reactions conserve, one a row (see `Network.conserved`).

        Whether a tendency conserves them is for its author to know: one that emits species does
        not.
        """
        return np.pad(self.network.conserved, ((0, 0), (0, len(self.further))))

    @property
    def pattern(self) -> Bool[np.ndarray, "n n"]:
        """Which entries of the Jacobian can differ from zero.

        A state that the coefficients depend on may change every species that reacts, and one
        that the tendency depends on every state.
        """
        size = len(self.network.species)
        pattern = np.zeros((len(self.states),) * 2, dtype=bool)
        pattern[:size, :size] = self.network.pattern()
        changed = np.flatnonzero(np.diff(self.network.structure.stoichiometry.indptr))
        pattern[np.ix_(changed, np.array(self.k_reads, dtype=int))] = True
        pattern[:, self.tendency_reads] = True
        return pattern

    def rates(self, t: Any, y: Float[Array, " n"]) -> Float[Array, " R"]:
        """The rate coefficients at a time and a state."""
        k = self.k
        found: Any = k if not callable(k) else k(t, y) if self._takes_state else k(t)
        return found

    def field(self, t: Any, y: Float[Array, " n"]) -> Float[Array, " n"]:
        """dy/dt of all states, each in its unit per time of the network."""
        change = self._reactions(self.rates(t, y), y)
        if self.tendency is None:
            return change
        return change + jnp.asarray(self.tendency(t, y), y.dtype)

    def jacobian(self, t: Any, y: Float[Array, " n"]) -> Float[Array, "n n"]:
        """d(dy/dt)/dy, exactly: of mass action, of the coefficients and of the tendency.

        The first is written out; the others are differentiated forward, in as many directions as
        there are states that they depend on.
        """
        size, more = len(self.network.species), len(self.further)
        found = _mass_action_jacobian(self.network, self.rates(t, y), y[:size])
        if more:
            found = jnp.pad(found, (0, more))
        if self.k_reads:
            by_rates = _columns(lambda z: self._reactions(self.rates(t, z), y), self.k_reads, y)
            found = found.at[:, np.array(self.k_reads)].add(by_rates)
        if self.tendency is not None and self.tendency_reads:
            given = self.tendency
            by_tendency = _columns(
                lambda z: jnp.asarray(given(t, z), y.dtype), self.tendency_reads, y
            )
            found = found.at[:, np.array(self.tendency_reads)].add(by_tendency)
        return found

    def check(self, t: Any, y: Any) -> None:
        """Refuses functions that have no value at the start, where that can be known.

        Raises:
            ValueError: a coefficient or a change that is NaN or infinite, with its reaction or
                state; a function that holds a value of a JAX transformation that is over.
        """
        if isinstance(t, Tracer) or isinstance(y, Tracer):
            return
        t, y = jnp.asarray(t, y.dtype), jnp.asarray(y)
        try:
            k = self.rates(t, y)
            g = jnp.zeros(0) if self.tendency is None else self.tendency(t, y)
            self.refuse(t, k, g)
        except jax.errors.UnexpectedTracerError as error:
            raise ValueError(
                "the rate function or the tendency uses a value that was traced by a jax.jit, "
                "jax.vmap or jax.grad that is over; make the function inside of the "
                "transformation that its values belong to."
            ) from error

    def refuse(self, t: Any, k: Any, g: Any) -> None:
        """Refuses coefficients or a tendency that are NaN or infinite at the start.

        Raises:
            ValueError: with the reaction or state.
        """
        for what, value, names in (
            ("rate function's coefficient of", k, self.network.equations),
            ("tendency of", g, self.states),
        ):
            if isinstance(value, Tracer):
                continue
            for place in np.flatnonzero(~np.isfinite(np.asarray(value)))[:1]:
                raise ValueError(
                    f"the {what} {names[place]!r} is {value[place]} at the start, t = {float(t):g} "
                    f"{self.network.units.time}; look for a division by zero, or a power or "
                    "logarithm of a negative number."
                )

    def index(self, name: str) -> int:
        """Position of a species or further state; `ValueError` with the nearest name."""
        further = [n for n, _ in self.further]
        if name in further:
            return len(self.network.species) + further.index(name)
        return self.network.index(name)

    def y0(self, values: Mapping[str, Any], default: float = 0.0) -> Float[Array, " n"]:
        """A state vector from named values; all further states have to be among them.

        Args:
            values: species -> concentration, further state -> value.
            default: of every other species.

        Raises:
            ValueError: as `Network.y0`, or a further state is missing.
        """
        further = [n for n, _ in self.further]
        if missing := [n for n in further if n not in values]:
            raise ValueError(f"the initial state lacks {', '.join(missing)}; give each a value.")
        species = self.network.y0({n: v for n, v in values.items() if n not in further}, default)
        rest = [jnp.asarray(values[n], species.dtype) for n in further]
        return jnp.concatenate([species, jnp.stack(rest)]) if rest else species

    def closed(self) -> "System":
        """The same system with all that its functions have closed over as its own arrays.

        Their derivatives then are derivatives by the system, as `jax.lax.stop_gradient` and
        implicit differentiation want them.
        """
        k, given = self.k, self.tendency
        inputs = _abstract(len(self.states))
        if callable(k):
            k = _Closed.of(k, inputs if self._takes_state else inputs[:1])
        if given is not None:
            given = _Closed.of(given, inputs)
        return eqx.tree_at(
            lambda system: (system.k, system.tendency),
            self,
            (k, given),
            is_leaf=lambda x: x is None,
        )

    def _reactions(self, k: Any, y: Float[Array, " n"]) -> Float[Array, " n"]:
        size, more = len(self.network.species), len(self.further)
        change = _mass_action(self.network, k, y[:size])
        return jnp.pad(change, (0, more)) if more else change


class _Closed(eqx.Module):
    """A function of time and state as its program, what it closed over being arrays here."""

    program: Any = eqx.field(static=True)
    held: list[Any]

    @classmethod
    def of(
        cls, function: Callable[..., Any], inputs: tuple[jax.ShapeDtypeStruct, ...]
    ) -> "_Closed":
        """The program of a function of such inputs."""
        traced = jax.make_jaxpr(lambda *given: function(*given))(*inputs)
        return cls(traced.jaxpr, list(traced.consts))

    def __call__(self, *given: Any) -> Any:
        inputs = [
            jnp.asarray(value, wanted.aval.dtype)
            for value, wanted in zip(given, self.program.invars, strict=True)
        ]
        return jaxpr_as_fun(ClosedJaxpr(self.program, self.held))(*inputs)[0]


def _abstract(size: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    dtype = jnp.result_type(float)
    return jax.ShapeDtypeStruct((), dtype), jax.ShapeDtypeStruct((size,), dtype)


def _takes_state(function: Callable[..., Any]) -> bool:
    """Whether a rate function takes the state after the time."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of something compiled
        return True
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wanted = [p for p in positional if p.default is p.empty]
    if len(wanted) > 2 or not positional:
        raise ValueError(
            f"the rate function takes ({', '.join(p.name for p in positional)}); write it as a "
            "function of the time, k(t), or of the time and the state, k(t, y)."
        )
    return len(wanted) == 2 or (len(positional) > 1 and positional[1].name == "y")


def _inspect(
    what: str, function: Callable[..., Any], length: int, size: int
) -> tuple[bool, tuple[int, ...]]:
    """Whether a function of time and state depends on time, and on which states.

    Args:
        what: it is, for messages.
        function: `(t, y) -> [length]`.
        length: that it has to give.
        size: of the state.
    """
    try:
        # another function object: JAX keeps what it traced of the one it knows
        traced = jax.make_jaxpr(lambda t, y: function(t, y), return_shape=True)
        program, shape = traced(*_abstract(size))
    except jax.errors.JAXTypeError as error:
        raise ValueError(
            f"the {what} cannot be traced by JAX: write it with jax.numpy instead of numpy, math, "
            f"float() and if ({str(error).splitlines()[0]})"
        ) from error
    if not hasattr(shape, "shape") or shape.shape != (length,):
        got = shape.shape if hasattr(shape, "shape") else type(shape).__name__
        raise ValueError(
            f"the {what} gives {got}; return an array of shape ({length},), "
            + ("one coefficient a reaction." if what.startswith("rate") else "one change a state.")
        )
    lean, used = partial_eval.dce_jaxpr(program.jaxpr, [True])
    names = iter(lean.invars)
    t, y = (next(names) if each else None for each in used)
    places = set() if y is None else _places(lean, y, size)
    return t is not None, tuple(sorted(places))


def _places(program: Any, y: Any, size: int) -> set[int]:
    """The elements of the vector `y` that a program reads, as far as its slices tell."""
    found: set[int] = set()
    if any(out is y for out in program.outvars):
        return set(range(size))
    for equation in program.eqns:
        where = [n for n, v in enumerate(equation.invars) if not isinstance(v, Literal) and v is y]
        if not where:
            continue
        inner = equation.params.get("jaxpr")
        if equation.primitive.name == "slice":
            parameters = equation.params
            (start,), (stop,) = parameters["start_indices"], parameters["limit_indices"]
            found |= set(range(start, stop, (parameters["strides"] or (1,))[0]))
        elif equation.primitive.name in ("pjit", "jit") and inner is not None:
            for n in where:
                found |= _places(inner.jaxpr, inner.jaxpr.invars[n], size)
        else:
            return set(range(size))
    return found


def _columns(
    function: Callable[[Array], Array], places: tuple[int, ...], y: Float[Array, " n"]
) -> Float[Array, "n p"]:
    """Derivatives of a function by some elements of its argument."""
    directions = jnp.asarray(np.eye(y.shape[0])[list(places)], y.dtype)
    return jax.vmap(lambda d: jax.jvp(function, (y,), (d,))[1], out_axes=1)(directions)


def check_coefficients(network: Network, k: Any, first: int = 0) -> None:
    """Refuses rate coefficients that are negative, where they are known.

    Those of several cells are [N, R], and the first cell has the number `first`. With a coefficient
    that is no number a solve fails by itself, and alone in its batch. Of several terms that have
    one equation, as sums in a rate are read, some may be negative.
    """
    if isinstance(k, Tracer):
        return
    below = np.argwhere(np.asarray(k) < 0)
    if not len(below):
        return
    terms = Counter(network.equations)
    for *cell, place in [at for at in below if terms[network.equations[at[-1]]] == 1][:1]:
        where = f" in cell {first + cell[0]}" if cell else ""
        raise ValueError(
            f"the rate coefficient of {network.equations[place]!r}{where} is "
            f"{np.asarray(k)[*cell, place]}; it must not be negative."
        )


def unpack(call: str, of: Network | System, **given: Any) -> tuple[System, list[Any]]:
    """The system of `(network, k, ...)` or `(system, ...)`, and the arguments that follow.

    Args:
        call: the function's name, for messages.
        of: its first argument.
        **given: its further positional ones by name, the first being `k`; `MISSING` where they
            were not given. Behind a system each stands one place too early.

    Raises:
        TypeError: too few or too many arguments.
        ValueError: as `System`.
    """
    kind = "system" if isinstance(of, System) else "network"
    names = list(given)[isinstance(of, System) :]
    values = [value for value in given.values() if value is not MISSING]
    if len(values) != len(names):
        raise TypeError(
            f"{call}({kind}, {', '.join(names)}) wants {len(names)} arguments after the {kind}, "
            f"and got {len(values)}."
        )
    if isinstance(of, System):
        return of, values
    return System(of, values[0]), values[1:]
