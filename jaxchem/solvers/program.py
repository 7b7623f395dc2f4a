"""A system's rates and tendencies as the compiled kernel runs them.

The functions of a system are lowered to a tape (`lowering.py`) together with their derivatives by
time and by the state, which JAX takes before. The tape knows nothing of places in the kernel;
`tables` says which of its slots are what there.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, Bool, Float, Int

from ..fingerprint import fingerprint
from ..network import Structure
from ..system import System
from .layout import Layout
from .lowering import NotLowered, lower
from .tape import CELL, STEP, Tape, dependence, reads, zeros

__all__ = ["Functions", "Program", "lowered", "opened", "tables"]


class Functions:
    """A system's coefficients and tendencies, with what they have closed over as a vector q.

    Attributes:
        function: `(t, y, q) -> (k, g)`, coefficients [R] and tendencies [n].
        numbers: length of q.
        entries: (row, column) of what coefficients and tendencies add to the Jacobian.
        slopes: `(t, y, q)` to the values of these.
        varying: the reactions whose coefficients `function` alone knows: all.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Array, Array]],
        numbers: int,
        reactions: int,
        entries: tuple[tuple[int, int], ...],
        slopes: Callable[..., Array],
    ):
        self.function = function
        self.numbers = numbers
        self.entries = entries
        self.slopes = slopes
        self.varying = np.arange(reactions)


class Program:
    """What the kernel needs of a system besides its structure.

    Attributes:
        functions: those of the system.
        function: of them.
        tape: of the inputs t, y, q and the groups (k, g) and (dk/dt, dg/dt, entries).
        states: length of y.
        numbers: length of q.
        entries: (row, column) of what coefficients and tendencies add to the Jacobian.
        varying: the reactions whose coefficients change within a cell.
        added: the states that the tendency changes.
        timed: whether coefficients or tendencies depend on time.
        stateful: whether they depend on the state.
        reads: the states that they, or their derivatives, depend on.
    """

    def __init__(self, functions: Functions, tape: Tape, states: int):
        self.functions = functions
        self.function = functions.function
        self.tape = tape
        self.states = states
        self.numbers = functions.numbers
        self.entries = functions.entries
        self.varying = np.flatnonzero(tape.levels[tape.outputs[0][0]] == STEP)
        self.added = np.flatnonzero(~zeros(tape)[0][1])
        values, slopes = reads(tape)
        self.timed = bool(values[0])
        self.stateful = bool(values[1:].any())
        self.reads = np.flatnonzero((values | slopes)[1:])

    def changing(self, t: Any, y: Any, q: Any) -> tuple[Array, Array]:
        """The varying coefficients, and the tendencies that are not zero."""
        k, g = self.function(t, y, q)
        return k[self.varying], g[self.added]

    def _along(self, t: Any, y: Any, q: Any, tau: Any, u: Any) -> tuple[Array, Array, Array]:
        """The coefficients, and the changes of coefficients and tendencies along (tau, u)."""
        (k, _), (k_dot, g_dot) = jax.jvp(lambda t, y: self.changing(t, y, q), (t, y), (tau, u))
        return k, k_dot, g_dot

    @property
    def _inputs(self) -> list[tuple[tuple[int, ...], int]]:
        return [((), STEP), ((self.states,), STEP), ((self.numbers,), CELL)]

    @property
    def _direction(self) -> list[tuple[tuple[int, ...], int]]:
        return [((), STEP), ((self.states,), STEP)]

    @functools.cached_property
    def forward(self) -> tuple[Tape, Tape]:
        """Changes of coefficients and tendencies, at a stage and at the start of a step."""

        def at_stage(t: Any, y: Any, q: Any, dy: Any, dq: Any) -> Any:
            _, change = jax.jvp(lambda y, q: self.changing(t, y, q), (y, q), (dy, dq))
            return (), change

        def at_start(t: Any, y: Any, q: Any, tau: Any, u: Any, dy: Any, dq: Any) -> Any:
            (_, k_dot, _), changes = jax.jvp(
                lambda y, q: self._along(t, y, q, tau, u), (y, q), (dy, dq)
            )
            return (k_dot,), changes

        changes = [((self.states,), STEP), ((self.numbers,), STEP)]
        return (
            lower(at_stage, [*self._inputs, *changes]),
            lower(at_start, [*self._inputs, *self._direction, *changes]),
        )

    @functools.cached_property
    def reverse(self) -> tuple[Tape, Tape]:
        """Their transposes: cotangents of state and q."""

        def at_stage(t: Any, y: Any, q: Any, *cotangents: Any) -> Any:
            _, pull = jax.vjp(lambda y, q: self.changing(t, y, q), y, q)
            return (), pull(cotangents)

        def at_start(t: Any, y: Any, q: Any, tau: Any, u: Any, *cotangents: Any) -> Any:
            (_, k_dot, _), pull = jax.vjp(lambda y, q: self._along(t, y, q, tau, u), y, q)
            return (k_dot,), pull(cotangents)

        rates, adds = ((len(self.varying),), STEP), ((len(self.added),), STEP)
        return (
            lower(at_stage, [*self._inputs, rates, adds]),
            lower(at_start, [*self._inputs, *self._direction, rates, rates, adds]),
        )


_KEPT: OrderedDict[str, Program | Functions] = OrderedDict()
_MOST_KEPT = 64


def lowered(system: System) -> tuple[Program, Float[Array, " Q"]]:
    """The program of a system, and the numbers that its functions have closed over.

    What is traced (by `jax.jit`, `jax.vmap`, `jax.grad`) becomes one of these numbers, so that one
    program serves a whole batch and derivatives by them exist; everything else is a constant.

    Raises:
        NotLowered: something that a tape has no instructions for.
    """
    return _kept(system, "lowered", _lower, jnp.result_type(float))


def opened(system: System, dtype: Any) -> tuple[Functions, Float[Array, " Q"]]:
    """The same without a program, for what JAX runs itself, on real numbers of this type."""
    return _kept(system, "opened", _open, dtype)


def _kept(
    system: System, kind: str, make: Callable[..., Any], dtype: Any
) -> tuple[Any, Float[Array, " Q"]]:
    size, tendency = len(system.states), system.tendency

    def both(t: Any, y: Any) -> Any:
        g = jnp.zeros(size, dtype)
        if tendency is not None:
            g = jnp.asarray(tendency(t, y), dtype)
        return jnp.asarray(system.rates(t, y), dtype), g

    scalar, vector = (jax.ShapeDtypeStruct(shape, dtype) for shape in ((), (size,)))
    traced = jax.make_jaxpr(both)(scalar, vector)
    held = [isinstance(constant, Tracer) for constant in traced.consts]
    random = any(jnp.issubdtype(c.dtype, jax.dtypes.extended) for c in traced.consts)
    if random and kind == "lowered":
        raise NotLowered("random_bits", "a key of random numbers")
    numbers = [jnp.ravel(c) for c, free in zip(traced.consts, held, strict=True) if free]
    q = jnp.concatenate([jnp.zeros(0, dtype), *(jnp.asarray(n, dtype) for n in numbers)])
    function = _opened(traced, held)
    if random:  # has no fingerprint
        return make(function, system, q.shape), q
    derivatives = "custom_jvp_call" in str(traced) or "custom_vjp_call" in str(traced)
    slopes = _slopes(function, size, q.shape, dtype) if derivatives else ""
    key = fingerprint(traced, system.network.structure.digest.hex(), repr(held), slopes, kind)
    # taken out and put in last, each in one step, so that threads may do so at once
    program = _KEPT.pop(key, None) or make(function, system, q.shape)
    _KEPT[key] = program
    if len(_KEPT) > _MOST_KEPT:
        _KEPT.popitem(last=False)
    return program, q


def _slopes(function: Callable[..., Any], size: int, numbers: tuple[int, ...], dtype: Any) -> str:
    """Tells apart functions that differ in a derivative of their own alone."""
    shapes = ((), (size,), numbers)
    point = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]

    def forward(*point: Any) -> Any:
        return jax.jvp(function, point, point)

    def reverse(*point: Any) -> Any:
        values, pull = jax.vjp(function, *point)
        return pull(values)

    try:
        return fingerprint(jax.make_jaxpr(forward)(*point))
    except TypeError:  # a derivative that is defined in reverse alone
        return fingerprint(jax.make_jaxpr(reverse)(*point))


def _opened(traced: ClosedJaxpr, held: list[bool]) -> Callable[..., tuple[Array, Array]]:
    """The traced function of (t, y) as one of (t, y, q), q being the constants that are held."""
    jaxpr = traced.jaxpr
    kept = [None if free else c for c, free in zip(traced.consts, held, strict=True)]
    avals = [v.aval for v in jaxpr.constvars]

    def function(t: Any, y: Any, q: Any) -> tuple[Array, Array]:
        constants, used = [], 0
        for value, free, aval in zip(kept, held, avals, strict=True):
            if free:
                count = int(np.prod(aval.shape))
                value = q[used : used + count].reshape(aval.shape).astype(aval.dtype)
                used += count
            constants.append(value)
        k, g = jaxpr_as_fun(ClosedJaxpr(jaxpr, constants))(t, y)
        return jnp.asarray(k), jnp.asarray(g)  # constants may be NumPy's

    return function


def _lower(
    function: Callable[..., tuple[Array, Array]], system: System, numbers: tuple[int, ...]
) -> Program:
    size = len(system.states)
    inputs = [((), STEP), ((size,), STEP), (numbers, CELL)]
    first = lower(lambda t, y, q: (function(t, y, q),), inputs)
    by = None
    if reads(first)[0, 1:].any():
        by_k, by_g = (found[:, 1:] for found in dependence(first)[0])
        by = by_k, by_g
    functions = _functions(function, system, numbers, by)

    def whole(t: Any, y: Any, q: Any) -> Any:
        value, slope = jax.jvp(lambda t: function(t, y, q), (t,), (jnp.ones(()),))
        return value, (*slope, functions.slopes(t, y, q))

    return Program(functions, lower(whole, inputs), size)


def _open(
    function: Callable[..., tuple[Array, Array]], system: System, numbers: tuple[int, ...]
) -> Functions:
    """Takes every coefficient and tendency for one that depends on all states that are read."""
    size, by = len(system.states), None
    if system.k_reads or system.tendency_reads:
        by = np.zeros((len(system.network.equations), size), bool), np.zeros((size, size), bool)
        by[0][:, list(system.k_reads)] = True
        by[1][:, list(system.tendency_reads)] = True
    return _functions(function, system, numbers, by)


def _functions(
    function: Callable[..., tuple[Array, Array]],
    system: System,
    numbers: tuple[int, ...],
    by: tuple[Bool[np.ndarray, "R n"], Bool[np.ndarray, "n n"]] | None,
) -> Functions:
    places, slopes = [], _no_entries
    if by is not None:
        places, slopes = _entries(function, system.network.structure, *by)
    return Functions(function, numbers[0], len(system.network.equations), tuple(places), slopes)


def _no_entries(t: Any, y: Any, q: Any) -> Array:
    del t, q
    return jnp.zeros(0, y.dtype)


def _entries(
    function: Callable[..., tuple[Array, Array]],
    structure: Structure,
    by_k: Bool[np.ndarray, "R n"],
    by_g: Bool[np.ndarray, "n n"],
) -> tuple[list[tuple[int, int]], Callable[..., Array]]:
    """Which entries of the Jacobian coefficients and tendencies make, and a function of them.

    An entry is sum_j N_ij (dk_j/dy_c) m_j + dg_i/dy_c, with m_j the product of the factors of
    reaction j; only terms that can differ from zero are written down.
    """
    species = structure.stoichiometry.shape[0]
    reactions, by = np.nonzero(by_k)
    change = structure.stoichiometry.T.tocsr()[reactions].tocoo()
    pair, rows, net = change.row, change.col, change.data
    direct, directly = np.nonzero(by_g)
    size = by_g.shape[1]
    flat, to = np.unique(
        np.concatenate([rows * size + by[pair], direct * size + directly]), return_inverse=True
    )
    to, direct_to = to[: len(rows)], to[len(rows) :]
    columns, column = np.unique(np.concatenate([by, directly]), return_inverse=True)
    k_column, g_column = column[: len(by)], column[len(by) :]
    places = [(int(n) // size, int(n) % size) for n in flat]
    factors = structure.reactants[reactions]
    pools = structure.pool_of[reactions]

    def add(t: Any, y: Any, q: Any) -> Array:
        directions = jnp.asarray(np.eye(y.shape[0])[columns], y.dtype)
        dk, dg = jax.vmap(lambda d: jax.jvp(lambda y: function(t, y, q), (y,), (d,))[1])(directions)
        one = jnp.ones(1, y.dtype)
        padded = jnp.concatenate([y[:species], one])
        product = dk[k_column, reactions]
        for slot in factors.T:
            product = product * padded[slot]
        if len(structure.pools):
            totals = jnp.asarray(structure.pools, y.dtype) @ y[:species]
            product = product * jnp.concatenate([totals, one])[pools]
        values = jnp.zeros(len(places), y.dtype)
        values = values.at[to].add(jnp.asarray(net, y.dtype) * product[pair])
        return values.at[direct_to].add(dg[g_column, direct])

    return places, add


def tables(
    program: Program, layout: Layout, derivatives: str | None = None
) -> tuple[Int[np.ndarray, " I"], Float[np.ndarray, " N"]]:
    """The integers and numbers of a program as kernel/tables.h reads them, for a layout's places.

    Args:
        program: from `lowered`.
        layout: of the network.
        derivatives: ``"forward"`` or ``"reverse"``, where they are wanted.
    """
    tape, varying, added = program.tape, program.varying, program.added
    (k, g), (dk, dg, entries) = tape.outputs
    at = np.argsort(layout.reaction)  # the kernel's position of each reaction
    steady = np.setdiff1d(np.arange(len(k)), varying)
    where = layout.position(*np.array(program.entries, dtype=int).reshape(-1, 2).T)
    time, state, parameter = tape.inputs
    counts = [len(program.reads), len(steady), len(varying), len(added), len(where)]
    integers = [
        *_code(tape),
        [program.numbers, time, state, parameter, *counts, program.timed, program.stateful],
        *(program.reads, at[steady], k[steady], at[varying], k[varying], dk[varying]),
        *(layout.place[added], g[added], dg[added], where, entries),
    ]
    others: tuple[Tape, ...] = getattr(program, derivatives) if derivatives else ()
    for other in others:
        wires = _forward_wires if derivatives == "forward" else _reverse_wires
        integers += [*_code(other), *wires(other, len(varying))]
    tapes = (tape, *others)
    flat = np.concatenate([np.ravel(np.asarray(part, dtype=np.int64)) for part in integers])
    numbers = [part for each in tapes for part in (each.constants, each.table)]
    return flat.astype(np.int32), np.concatenate(numbers)


def _code(tape: Tape) -> list[Any]:
    first, second = tape.groups
    lengths = [len(code) for code in (tape.cell, first, second)]
    header = [tape.slots, len(tape.constants), *lengths, len(tape.table)]
    return [header, tape.cell, first, second]


def _common_wires(tape: Tape, varying: int) -> tuple[list[int], list[int], np.ndarray, bool]:
    """First slots of the inputs that are no change, of the others, and what makes k'.

    A stage has no direction (tau, u), and makes no k'.
    """
    at_start = bool(tape.outputs[0])
    time, state, parameter, *rest = tape.inputs
    tau, along = (rest.pop(0), rest.pop(0)) if at_start else (0, 0)
    direction = tape.outputs[0][0] if at_start else np.zeros(varying, dtype=int)
    return [time, state, parameter, tau, along], rest, direction, at_start


def _forward_wires(tape: Tape, varying: int) -> list[Any]:
    """Which slots of a tape of `Program.forward` are what, as kernel/tables.h reads them."""
    known, changes, direction, at_start = _common_wires(tape, varying)
    *rates, add = tape.outputs[1]
    if not at_start:
        rates.append(np.zeros(varying, dtype=int))
    return [[*known, *changes, 0, 0, 0, 0, 0], direction, *rates, add]


def _reverse_wires(tape: Tape, varying: int) -> list[Any]:
    """The same of `Program.reverse`; cotangents that are zero throughout are left out."""
    known, pulls, direction, at_start = _common_wires(tape, varying)
    if not at_start:
        pulls.insert(1, 0)
    found = []
    for slots, none in zip(tape.outputs[1], zeros(tape)[1], strict=True):
        kept = np.flatnonzero(~none)
        found += [kept, slots[kept]]
    return [[*known, 0, 0, *pulls, len(found[0]), len(found[2])], direction, *found]
