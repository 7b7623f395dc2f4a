"""The Rosenbrock methods in plain JAX, for devices that have no compiled kernel.

Many cells take their steps together: each in a lane with a time, a step and an error of its own, by
the rules of the kernel (kernel/march.h). A lane whose cell has ended takes the next one, so lanes
do not idle and memory does not grow with the number of cells. Arrays have a lane a column.

Derivatives are those of the steps at the lengths that they had. Forward they go along; reverse, the
steps of some lanes are retraced from states that were kept, every so many steps, on the way there.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..network import Structure
from . import native
from .elimination import order_of_elimination
from .levels import Dense, Elimination, Sums, once, onto, plan, product, sums, take, total
from .program import Functions
from .rosenbrock import Tableau, combine, extend

__all__ = ["march"]

_SHORTEST = 1e-30
"""Of all the time: a shorter step means a tendency that is no number."""

_CACHED = 128
"""Lanes on a processor: what they work on is to stay in its cache."""

_FEW = 128
"""Unknowns of all lanes up to which a processor's LAPACK is faster (benchmarks/lockstep.py)."""

_MEMORY = 2**29
"""Bytes that the lanes of other devices may work on."""

_SUCCESS, _TOO_MANY_STEPS, _STEP_TOO_SMALL, _NOT_FINITE = range(len(native.RESULTS))
_GOING = -1

_REJECT, _PROJECT = 1, 2
"""Of `NEGATIVE` of `integrator`."""


class _Tables(NamedTuple):
    """A network's sums and elimination. Unknowns are the states, then the pools.

    Attributes:
        states: how many.
        factors: [R, m] unknowns that multiply each reaction's coefficient, padded with their count.
        change: fluxes to tendencies.
        pools: states to totals.
        partial: [Q] the reaction of each partial derivative of a flux.
        others: [Q, m - 1] the unknowns that multiply its coefficient.
        entry: partial derivatives to entries of -J.
        constant: [F + 2] what entries are besides, a zero and what nobody wants.
        more: those that coefficients and tendencies that are functions add to.
        elimination: of the matrix.
    """

    states: int
    factors: np.ndarray
    change: Sums
    pools: Sums
    partial: np.ndarray
    others: np.ndarray
    entry: Sums
    constant: np.ndarray
    more: np.ndarray
    elimination: Elimination


@functools.lru_cache(maxsize=64)
def _tables(structure: Structure, further: int, more: tuple[tuple[int, int], ...]) -> _Tables:
    species = structure.stoichiometry.shape[0]
    states, pools = species + further, len(structure.pools)
    size = states + pools
    factors = np.where(structure.reactants < species, structure.reactants, size)
    pool = np.where(structure.pool_of < pools, states + structure.pool_of, size)
    factors = np.sort(np.column_stack([factors, pool]), axis=1)
    factors = factors[:, : max(int(np.max(np.sum(factors < size, axis=1), initial=0)), 1)]
    # one partial derivative for each reaction and kind of factor
    first = np.diff(factors, axis=1, prepend=-1) != 0
    reaction, slot = np.nonzero(first & (factors < size))
    column = factors[reaction, slot]
    many = np.sum(factors[reaction] == column[:, None], axis=1)
    kept = np.arange(factors.shape[1]) != slot[:, None]
    others = factors[reaction][kept].reshape(len(reaction), -1)
    change = sp.coo_array(structure.stoichiometry)
    term: Any = structure.stoichiometry.T.tocsr()[reaction].tocoo()
    rows, which = term.col, term.row
    member: Any = sp.coo_array(structure.pools)
    added = np.array(more, dtype=np.int64).reshape(-1, 2).T
    order, row, to = order_of_elimination(
        np.concatenate([rows, states + member.row, added[0]]),
        np.concatenate([column[which], member.col, added[1]]),
        size,
    )
    elimination = plan(order, order[row], order[to])
    keys = elimination.rows.astype(np.int64) * size + elimination.columns
    by_key = np.argsort(keys)

    def place(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        wanted = np.asarray(rows, np.int64) * size + columns
        return by_key[np.searchsorted(keys, wanted, sorter=by_key)]

    constant = np.zeros(len(keys) + 2)
    constant[states:size] = 1.0
    constant[place(states + member.row, member.col)] = -member.data
    return _Tables(
        states,
        factors,
        sums((size, len(factors)), change.row, change.col, change.data),
        sums((pools, states), member.row, member.col, member.data),
        reaction,
        others,
        sums(
            (len(keys), len(reaction)), place(rows, column[which]), which, -term.data * many[which]
        ),
        constant,
        place(*added),
        elimination,
    )


class _Step:
    """One step of all lanes, as a function of states, coefficients and numbers.

    Args:
        tables: of the network.
        tableau: of the method.
        functions: of coefficients and tendencies, where they are functions.
        settings: whether it lands, and what becomes of negative concentrations.
    """

    def __init__(
        self,
        tables: _Tables,
        tableau: Tableau,
        functions: Functions | None,
        settings: native.Settings,
    ):
        self.tables = tables
        self.tableau = tableau
        self.functions = functions
        self.settings = settings

    def tendency(self, t: Array, y: Array, k: Array, numbers: Array) -> Array:
        """dy/dt [n, W] of the states."""
        k, g = self._rates(t, y, k, numbers)
        return self._change(k, self._whole(y))[: self.tables.states] + g

    def __call__(
        self, t: Array, h: Array, y: Array, k: Array, numbers: Array
    ) -> tuple[Array, Array, list[Array]]:
        """The states at the end, the last stage (the error), and the continuous extension.

        Args:
            t: [W] absolute time at the start.
            h: [W] length.
            y: [n, W] states.
            k: [R, W or 1] coefficients, where they are no functions.
            numbers: [Q, W or 1] what functions hold.
        """
        tables, tableau, functions = self.tables, self.tableau, self.functions
        states, dtype = tables.states, y.dtype
        start = self._whole(y)
        now, _ = self._rates(t, y, k, numbers)
        partial = once(take(now, tables.partial) * product(once(start, 1.0), tables.others))
        inverse = 1.0 / h
        constant, own = (
            jnp.asarray(part, dtype)[:, None]
            for part in (tables.constant, np.arange(len(tables.constant)) < states)
        )
        entries = onto(constant + own * (inverse[None] / tableau.gamma), tables.entry, partial)
        slope = None
        if functions is not None:
            if len(tables.more):
                added = _by_lane(functions.slopes, t, y, numbers)
                entries = entries.at[tables.more].add(-added)
            (_, _), (dk, dg) = jax.jvp(
                lambda t: self._rates(t, y, k, numbers), (t,), (jnp.ones_like(t),)
            )
            slope = self._change(dk, start)[:states] + dg
        eliminate: Any = tables.elimination
        if jax.default_backend() == "cpu" and len(h) * len(start) <= _FEW:
            eliminate = Dense(eliminate)
        factors = eliminate.factorise(lax.stop_gradient(entries))

        def solve(right: Array) -> Array:
            return lax.custom_linear_solve(
                lambda x: eliminate.multiply(entries, x),
                right,
                lambda _, b: eliminate.solve(factors, b),
                lambda _, b: eliminate.solve(factors, b, transposed=True),
            )

        def stage(found: Array, row: Any) -> tuple[Array, None]:
            number, a, c, node, time = row
            at = start + jnp.sum(a[:, None, None] * found, axis=0)
            k_here, g = self._rates(t + node * h, at[:states], k, numbers)
            right = self._change(k_here, at)
            right += inverse[None] * jnp.sum(c[:, None, None] * found, axis=0)
            right = right[:states] + g
            if slope is not None:
                right += (time * h)[None] * slope
            pools = jnp.zeros((len(start) - states, *right.shape[1:]), dtype)
            solution = solve(jnp.concatenate([right, pools]))
            return lax.dynamic_update_index_in_dim(found, solution, number, 0), None

        count = tableau.stages
        square = np.zeros((2, count, count))
        for rows, full in zip((tableau.a, tableau.c_over_h), square, strict=True):
            for i, row in enumerate(rows):
                full[i, : len(row)] = row
        coefficients = (*square, np.asarray(tableau.nodes), np.asarray(tableau.time))
        rows = (np.arange(count), *(jnp.asarray(part, dtype) for part in coefficients))
        found, _ = lax.scan(stage, jnp.zeros((count, *start.shape), dtype), rows)
        found = found[:, :states]
        y1 = y + jnp.tensordot(jnp.asarray([*tableau.a[-1], 1.0], dtype), found, 1)
        curve = []
        if not self.settings.land:
            curve = [combine(row, list(found)) for row in tableau.dense]
        return y1, found[-1], curve

    def advance(
        self, t: Array, h: Array, y: Array, k: Array, numbers: Array
    ) -> tuple[Array, Array, Array, list[Array]]:
        """A step's end, as it was and as it is kept, its error and its continuous extension."""
        y1, error, curve = self(t, h, y, k, numbers)
        kept = jnp.where(y1 < 0, 0.0, y1) if self.settings.negative == _PROJECT else y1
        return y1, kept, error, curve

    def _rates(self, t: Array, y: Array, k: Array, numbers: Array) -> tuple[Array, Any]:
        if self.functions is None:
            return k, 0.0
        return _by_lane(self.functions.function, t, y, numbers)

    def _whole(self, y: Array) -> Array:
        """The states and the pools."""
        return jnp.concatenate([y, total(self.tables.pools, y)]) if self.tables.pools.size else y

    def _change(self, k: Array, unknowns: Array) -> Array:
        """What mass action changes; of pools nothing."""
        flux = once(k * product(once(unknowns, 1.0), self.tables.factors))
        return total(self.tables.change, flux)


def _by_lane(function: Callable[..., Any], t: Array, y: Array, numbers: Array) -> Any:
    """A function of one cell's time, state and numbers, for all lanes."""
    if numbers.shape[1] == 1:
        return jax.vmap(function, (0, 1, None), -1)(t, y, numbers[:, 0])
    return jax.vmap(function, (0, 1, 1), -1)(t, y, numbers)


class _Cells(NamedTuple):
    """All that cells are given; arrays of one row are for all of them.

    Attributes:
        y0: [N, n] states.
        k: [N, R] coefficients.
        ts: [N, T] times since the start.
        t0: [N] the start.
        rtol: [N] tolerances.
        atol: [N, n] tolerances.
        first: [N] first steps.
        numbers: [N, Q] of functions.
        changes: directions of the states [N, P, n], coefficients and numbers.
    """

    y0: Array
    k: Array
    ts: Array
    t0: Array
    rtol: Array
    atol: Array
    first: Array
    numbers: Array
    changes: tuple[Array, ...] = ()


class _State(NamedTuple):
    """What the lanes know: of each [W], or [rows, W].

    Attributes:
        cell: which cell, N for none.
        status: index into `RESULTS`, or going on.
        output: the next one.
        accepted: steps.
        rejected: steps.
        again: the last step was rejected.
        t: time since the start.
        h: the step that it wants.
        y: states.
        dy: [P, n, W] their changes.
        given: clock, end, rtol, atol, k, numbers and the changes of the latter two.
    """

    cell: Int[Array, " W"]
    status: Int[Array, " W"]
    output: Int[Array, " W"]
    accepted: Int[Array, " W"]
    rejected: Int[Array, " W"]
    again: Bool[Array, " W"]
    t: Float[Array, " W"]
    h: Float[Array, " W"]
    y: Float[Array, "n W"]
    dy: tuple[Array, ...]
    given: tuple[Array, ...]


class _Attempt(NamedTuple):
    """A step that the lanes have tried: its start, its length, and which of them take it."""

    t: Array
    t1: Array
    h: Array
    y: Array
    before: Array
    after: Array
    taken: Array


class _March:
    """The step control, for the cells of one call."""

    def __init__(self, settings: native.Settings, cells: _Cells):
        self.settings = settings
        self.cells = cells
        self.count, self.states = cells.y0.shape
        self.times = cells.ts.shape[1]
        self.dtype = cells.y0.dtype
        functions = settings.program
        assert functions is None or isinstance(functions, Functions)
        further = self.states - settings.structure.stoichiometry.shape[0]
        entries = functions.entries if functions else ()
        tables = _tables(settings.structure, further, entries)
        self.tables = tables
        self.step = _Step(tables, settings.tableau, functions, settings)
        # an idle species whose absolute tolerance is zero has no error
        self.least = 1e-290 if self.dtype == jnp.float64 else 1e8 * jnp.finfo(self.dtype).tiny
        self.outputs_reached = jnp.sum(cells.ts <= 0, axis=1, dtype=jnp.int32)

    def lanes(self, most: int | None, kept: int = 0) -> int:
        """How many cells are in work at a time.

        Args:
            most: at most; by default what the cache of a processor, or the memory of another
                device, suggests for a network of this size.
            kept: states of each that are kept.
        """
        directions = sum(change.shape[1] for change in self.cells.changes[:1])
        rows = len(self.tables.constant) + (self.settings.tableau.stages + 12) * self.states
        rows = (rows + 2 * len(self.tables.factors)) * (1 + directions) + kept * self.states
        if most is None:
            most = _MEMORY // (rows * self.dtype.itemsize)
            if jax.default_backend() == "cpu":
                most = min(most, max(_CACHED // (1 + directions), 8))
        return max(min(self.count, most), 1)

    def load(self, lanes: _State, cell: Array, new: Array) -> _State:
        """Lanes with cells that start."""
        cells = self.cells

        def of(rows: Array) -> Array:
            """[rows] of the lanes' cells, in the last axis; of one row for all the row itself."""
            found = rows if len(rows) == 1 else rows.at[cell].get(mode="clip")
            return jnp.moveaxis(found, 0, -1)

        y = of(cells.y0) + jnp.zeros((self.states, len(cell)), self.dtype)
        ts, clock = of(cells.ts), of(cells.t0)
        t = jnp.zeros(len(cell), self.dtype)
        rtol, atol, end = of(cells.rtol), of(cells.atol), ts[-1]
        k, numbers = of(cells.k), of(cells.numbers)
        dy, changes = [], [of(change) for change in cells.changes]
        if changes:
            dy = [changes.pop(0) + jnp.zeros_like(t)[None, None]]
        given = (clock, end, rtol, atol, k, numbers, *changes)
        slope = self.step.tendency(clock + t, y, k, numbers)
        scale = jnp.maximum(atol + rtol[None] * jnp.abs(y), self.least)
        d0, d1 = (jnp.sqrt(jnp.sum((part / scale) ** 2, axis=0)) for part in (y, slope))
        # too cautious where nothing is there yet
        guess = jnp.maximum(0.01 * (d0 / d1), _SHORTEST * end)
        h = jnp.where((d0 > 0) & (d1 > 0), guess, 1e-6 * end)
        first = of(cells.first)
        h = jnp.where(first > 0, first, h)
        h = jnp.where(h > 0, jnp.minimum(h, end), 1e-6 * end)
        output = of(self.outputs_reached) + jnp.zeros_like(lanes.output)
        none = jnp.zeros_like(output)
        status = jnp.where(output < self.times, _GOING, _SUCCESS)
        fresh = lanes._replace(
            cell=cell,
            status=jnp.where(cell < self.count, status, _SUCCESS),
            output=output,
            accepted=none,
            rejected=none,
            again=none > 0,
            t=t,
            h=h,
            y=y,
            dy=tuple(dy),
            given=given,
        )

        def chosen(fresh: Array, old: Array) -> Array:
            return fresh if fresh.shape[-1] != len(new) else _pick(new, fresh, old)

        return jax.tree.map(chosen, fresh, lanes)

    def empty(self, width: int) -> _State:
        """Lanes without cells."""
        integer = jnp.zeros(width, jnp.int32)
        real = jnp.zeros(width, self.dtype)

        def like(rows: Array) -> Array:
            return jnp.zeros((*rows.shape[1:], 1 if len(rows) == 1 else width), self.dtype)

        cells = self.cells
        given = (cells.t0, cells.ts[:, 0], cells.rtol, cells.atol, cells.k, cells.numbers)
        dy = tuple(like(change) for change in cells.changes[:1])
        return _State(
            cell=integer + self.count,
            status=integer + _SUCCESS,
            output=integer,
            accepted=integer,
            rejected=integer,
            again=integer > 0,
            t=real,
            h=real + 1,
            y=jnp.zeros((self.states, width), self.dtype),
            dy=dy,
            given=tuple(like(rows) for rows in (*given, *cells.changes[1:])),
        )

    def time_of(self, cell: Array, output: Array) -> Array:
        """When an output is, since the start; infinite behind the last."""
        row = jnp.zeros_like(cell) if len(self.cells.ts) == 1 else cell
        found = self.cells.ts.at[row, output].get(mode="clip")
        return jnp.where(output < self.times, found, jnp.inf)

    def attempt(
        self, lanes: _State, write: Callable[..., Any], written: Any
    ) -> tuple[_State, Any, _Attempt]:
        """One step of every lane, which its error then accepts or rejects.

        Args:
            lanes: as they are.
            write: adds to `written` what there is at an output: `(written, cell, output, values)`.
            written: the outputs so far.
        """
        settings = self.settings
        clock, end, rtol, atol, k, numbers, *changes = lanes.given
        going = lanes.status == _GOING
        t, wanted = lanes.t, lanes.h
        next_time = self.time_of(lanes.cell, lanes.output)
        stop = next_time if settings.land else end + jnp.zeros_like(t)
        left = stop - t
        # two even steps, not one and a sliver
        h = jnp.where(wanted > 0.5 * left, 0.5 * left, wanted)
        h = jnp.where(wanted > left * (1 - 1e-12), left, h)
        h = jnp.where(going, h, 1.0)

        def advance(y: Array, k: Array, numbers: Array) -> tuple[Any, ...]:
            return self.step.advance(clock + t, h, y, k, numbers)

        known = (lanes.y, k, numbers)
        tangents: tuple[Any, ...] = ()
        if lanes.dy:
            pairs = zip(known, (lanes.dy[0], *changes), strict=True)
            known, changes = zip(*(_alike(*pair) for pair in pairs), strict=True)

            def along(*changes: Array) -> Any:
                return jax.jvp(advance, known, changes)

            (y1, kept, error, curve), (_, dy1, _, dcurve) = jax.vmap(along, out_axes=(None, 0))(
                *changes
            )
            tangents = (lanes.dy[0], dy1, dcurve)
        else:
            y1, kept, error, curve = advance(*known)

        size = jnp.maximum(jnp.abs(lanes.y), jnp.abs(y1))
        error = error / jnp.maximum(atol + rtol[None] * size, self.least)
        norm = jnp.sqrt(jnp.sum(error * error, axis=0) / self.states)
        if settings.negative == _REJECT:
            dip = jnp.max(-y1 / jnp.maximum(atol, self.least), axis=0)
            norm = jnp.where(dip > 1, jnp.maximum(norm, dip), norm)
        finite = jnp.isfinite(norm)
        factor = 0.9 * jnp.maximum(norm, 1e-10) ** (-1.0 / settings.tableau.order)
        factor = jnp.where(finite, jnp.maximum(factor, 0.2), 0.1)
        taken = going & (norm <= 1)
        refused = going & ~taken
        t1 = jnp.where(h == left, stop, t + h)

        def pending(state: tuple[Any, Array]) -> Array:
            return taken & (self.time_of(lanes.cell, state[1]) <= t1)

        def put_out(state: tuple[Any, Array]) -> tuple[Any, Array]:
            written, output = state
            due, at = pending(state), self.time_of(lanes.cell, output)
            s = (at - t) / h
            sides = [(lanes.y, kept, curve), *([tangents] if tangents else [])]
            values = []
            for before, after, bent in sides:
                inside = extend(_lanes(s, after), before, after, bent) if bent else after
                values.append(_pick(at == t1, after, inside))
            written = write(written, jnp.where(due, lanes.cell, self.count), output, values)
            return written, output + due.astype(jnp.int32)

        written, output = lax.while_loop(
            lambda state: jnp.any(pending(state)), put_out, (written, lanes.output)
        )
        # a step that was cut short to land says little about the length that errors allow
        most = jnp.where(lanes.again, 1.0, 6.0).astype(self.dtype)
        proposed = h * jnp.minimum(factor, most)
        longer = (proposed > wanted) | (h >= 0.9 * wanted) | (factor < 1)
        next_h = jnp.where(longer, proposed, wanted)
        next_h = jnp.where(taken, next_h, h * jnp.where(factor < 0.9, factor, 0.5))
        next_h = jnp.where(going, next_h, wanted)
        next_t = jnp.where(taken, t1, t)
        accepted, rejected = (
            count + more.astype(jnp.int32)
            for count, more in ((lanes.accepted, taken), (lanes.rejected, refused))
        )
        small = (next_h < _SHORTEST * end) | (next_t + next_h == next_t)
        status = jnp.where(small, jnp.where(finite, _STEP_TOO_SMALL, _NOT_FINITE), _GOING)
        many = accepted + rejected >= settings.max_steps
        status = jnp.where(many, _TOO_MANY_STEPS, status)
        status = jnp.where(output >= self.times, _SUCCESS, status)
        tried = _Attempt(t, t1, h, lanes.y, lanes.output, output, taken)
        lanes = lanes._replace(
            status=jnp.where(going, status, lanes.status).astype(jnp.int32),
            output=output,
            accepted=accepted,
            rejected=rejected,
            again=jnp.where(going, refused, lanes.again),
            t=next_t,
            h=next_h,
            y=_pick(taken, kept, lanes.y),
            dy=(_pick(taken, tangents[1], tangents[0]),) if tangents else (),
        )
        return lanes, written, tried

    def pull(
        self, lanes: _State, tried: _Attempt, by: tuple[Array, ...], cotangent: Array
    ) -> tuple[Array, ...]:
        """Cotangents [P, ., W] of states, coefficients and numbers, over a step and before it."""
        t, t1, h, y, before, after, taken = tried
        clock, _, _, _, k, numbers = lanes.given
        bends = 0 if self.settings.land else len(self.settings.tableau.dense)

        def advance(*known: Array) -> tuple[Array, list[Array]]:
            _, kept, _, curve = self.step.advance(clock + t, h, *known)
            return kept, curve

        def add(state: tuple[Array, ...]) -> tuple[Array, ...]:
            output, end, start, *bent = state
            due, at = taken & (output < after), self.time_of(lanes.cell, output)
            here = cotangent.at[lanes.cell, :, output].get(mode="clip")  # [W, P, n]
            here = _pick(due, jnp.transpose(here, (1, 2, 0)), none)
            s = _lanes(jnp.where(due & (at != t1), (at - t) / h, 1.0), here)
            parts = [s * here, (1 - s) * here]
            parts += [s ** (n + 1) * (1 - s) * here for n in range(bends)]
            sums = (a + b for a, b in zip((end, start, *bent), parts, strict=True))
            return output + due.astype(jnp.int32), *sums

        none = jnp.zeros_like(by[0])
        _, end, start, *bent = lax.while_loop(
            lambda state: jnp.any(taken & (state[0] < after)),
            add,
            (before, by[0], none, *[none] * bends),
        )
        _, transposed = jax.vjp(advance, y, k, numbers)
        pulled = jax.vmap(transposed)((_pick(taken, end, none), bent))
        by_y = _pick(taken, pulled[0] + start, by[0])
        rest = (_pick(taken, a + b, a) for a, b in zip(by[1:], pulled[1:], strict=True))
        return by_y, *rest

    def outputs(self) -> tuple[Array, ...]:
        """Room for the outputs: what is there at the start, and what says that nothing is."""
        cells = self.cells
        places = jnp.arange(self.times, dtype=jnp.int32)[None]
        early = (places < self.outputs_reached[:, None])[..., None]
        shape = (self.count, self.times, self.states)
        ys = [jnp.where(early, cells.y0[:, None], jnp.inf) + jnp.zeros(shape, self.dtype)]
        if cells.changes:
            dy0 = jnp.moveaxis(cells.changes[0], 1, 2)  # [N, n, P]
            ys.append(jnp.where(early[..., None], dy0[:, None], jnp.nan))
        return tuple(ys)

    def end(self, ends: tuple[Array, ...], lanes: _State, done: Array) -> tuple[Array, ...]:
        """What cells have come to, with those of the lanes that are done."""
        cell = jnp.where(done, lanes.cell, self.count)
        counts = jnp.stack([lanes.status, lanes.accepted, lanes.rejected], axis=1)
        values = (lanes.y.T, lanes.t, lanes.h, counts)
        return tuple(
            kept.at[cell].set(value, mode="drop", unique_indices=False)
            for kept, value in zip(ends, values, strict=True)
        )

    def no_ends(self) -> tuple[Array, ...]:
        real = jnp.zeros(self.count, self.dtype)
        counts = jnp.zeros((self.count, 3), jnp.int32)
        return jnp.zeros((self.count, self.states), self.dtype), real, real, counts


def _lanes(values: Array, like: Array) -> Array:
    """What the lanes have [W], for an array with lanes in its last axis."""
    return values.reshape((1,) * (like.ndim - 1) + values.shape)


def _pick(which: Array, one: Array, other: Array) -> Array:
    """Of which lanes to take `one`."""
    return jnp.where(_lanes(which, one), one, other)


def _alike(value: Array, changes: Array) -> tuple[Array, Array]:
    """A value [n, W or 1] and its changes [P, n, W or 1], for as many lanes."""
    lanes = max(value.shape[-1], changes.shape[-1])
    wide = [jnp.broadcast_to(x, (*x.shape[:-1], lanes)) for x in (value, changes)]
    return wide[0], wide[1]


def _write(written: tuple[Array, ...], cell: Array, output: Array, values: list[Array]) -> Any:
    """Puts the values of the lanes out; those of a cell that is none go nowhere."""
    return tuple(
        kept.at[cell, output].set(_lanes_first(value), mode="drop")
        for kept, value in zip(written, values, strict=True)
    )


def _lanes_first(value: Array) -> Array:
    """[n, W] as [W, n], and [P, n, W] as [W, n, P]."""
    return value.T if value.ndim == 2 else jnp.transpose(value, (2, 1, 0))


def _forward(of: _March, most: int | None) -> tuple[Array, ...]:
    """Integrates all cells: outputs, ends, and the changes of the outputs."""
    width = of.lanes(most)

    def swap(state: tuple[Any, ...]) -> tuple[Any, ...]:
        lanes, queue, ends = state
        done = (lanes.status != _GOING) & (lanes.cell < of.count)
        free = done | (lanes.cell >= of.count)
        ends = of.end(ends, lanes, done)
        cell = queue + jnp.cumsum(free, dtype=jnp.int32) - 1
        cell = jnp.where(free, jnp.minimum(cell, of.count), lanes.cell)
        queue = jnp.minimum(queue + jnp.sum(free, dtype=jnp.int32), of.count)
        return of.load(lanes, cell, free), queue, ends

    def idle(lanes: _State) -> Array:
        return jnp.sum((lanes.status != _GOING) & (lanes.cell < of.count))

    def turn(state: tuple[Any, ...]) -> tuple[Any, ...]:
        lanes, queue, ends, written = state
        # a loop, so that nothing is copied where there is nothing to do
        lanes, queue, ends = lax.while_loop(
            lambda state: (idle(state[0]) > 0) | ((state[1] == 0) & (of.count > 0)),
            swap,
            (lanes, queue, ends),
        )

        def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
            lanes, written, _ = of.attempt(state[0], _write, state[1])
            return lanes, written

        def on(state: tuple[Any, ...]) -> Array:
            lanes = state[0]
            enough = (queue >= of.count) | (idle(lanes) <= width // 16)
            return jnp.any(lanes.status == _GOING) & enough

        lanes, written = lax.while_loop(on, step, (lanes, written))
        return lanes, queue, ends, written

    start = (of.empty(width), jnp.zeros((), jnp.int32), of.no_ends(), of.outputs())
    _, _, ends, written = lax.while_loop(
        lambda state: (state[1] < of.count) | (idle(state[0]) > 0), turn, start
    )
    ys, *rest = written
    return (ys, *ends, *(jnp.moveaxis(dys, -1, 1) for dys in rest))


class _Kept(NamedTuple):
    """What a lane goes on from; the fields of `_State` that steps change."""

    status: Array
    output: Array
    accepted: Array
    rejected: Array
    again: Array
    t: Array
    h: Array
    y: Array


def _room(count: int, like: Any) -> Any:
    return jax.tree.map(lambda x: jnp.zeros((count, *x.shape), x.dtype), like)


def _keep(all_of_them: Any, number: Array, one: Any) -> Any:
    return jax.tree.map(
        lambda them, it: lax.dynamic_update_index_in_dim(them, it, number, 0), all_of_them, one
    )


def _kept(all_of_them: Any, number: Array) -> Any:
    return jax.tree.map(
        lambda them: lax.dynamic_index_in_dim(them, number, keepdims=False), all_of_them
    )


def _reverse(of: _March, cotangent: Float[Array, "N P T n"], most: int | None) -> tuple[Array, ...]:
    """Integrates all cells and pulls cotangents of the outputs back: outputs, ends, and these.

    Lanes go forward together and keep where they are every so many attempts; between these states
    they then go forward once more, keep every attempt, and go back over it.
    """
    cells, directions = of.cells, cotangent.shape[1]
    length = math.isqrt(max(of.settings.max_steps - 1, 0)) + 1
    width = of.lanes(most, 2 * length)

    def going(state: tuple[Array, _State, Any]) -> Array:
        return (state[0] < length) & jnp.any(state[1].status == _GOING)

    def chunk(number: Array, state: tuple[Any, ...]) -> tuple[Any, ...]:
        written, ends, pulled = state
        cell = number * width + jnp.arange(width, dtype=jnp.int32)
        there = cell < of.count
        cell = jnp.where(there, cell, of.count)
        lanes = of.load(of.empty(width), cell, there)

        def ahead(state: tuple[Any, ...]) -> tuple[Any, ...]:
            segment, lanes, written, kept = state
            kept = _keep(kept, segment, _Kept(*(getattr(lanes, f) for f in _Kept._fields)))

            def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
                lanes, written, _ = of.attempt(state[1], _write, state[2])
                return state[0] + 1, lanes, written

            _, lanes, written = lax.while_loop(
                going, step, (jnp.zeros((), jnp.int32), lanes, written)
            )
            return segment + 1, lanes, written, kept

        first = _Kept(*(getattr(lanes, f) for f in _Kept._fields))
        start = (jnp.zeros((), jnp.int32), lanes, written, _room(length, first))
        segment, lanes, written, kept = lax.while_loop(
            lambda state: jnp.any(state[1].status == _GOING), ahead, start
        )
        ends = of.end(ends, lanes, there)

        def back(state: tuple[Any, ...]) -> tuple[Any, ...]:
            segment, by = state
            again = lanes._replace(**_kept(kept, segment - 1)._asdict())

            def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
                number, lanes, tried = state
                lanes, _, attempt = of.attempt(lanes, lambda written, *_: written, ())
                return number + 1, lanes, _keep(tried, number, attempt)

            blank = _Attempt(again.t, again.t, again.h, again.y, again.output, again.output, there)
            count, _, tried = lax.while_loop(
                going, step, (jnp.zeros((), jnp.int32), again, _room(length, blank))
            )

            def pull(state: tuple[Any, ...]) -> tuple[Any, ...]:
                number, by = state
                return number - 1, of.pull(lanes, _kept(tried, number - 1), by, cotangent)

            _, by = lax.while_loop(lambda state: state[0] > 0, pull, (count, by))
            return segment - 1, by

        sizes = (of.states, cells.k.shape[1], cells.numbers.shape[1])
        by = tuple(jnp.zeros((directions, size, width), of.dtype) for size in sizes)
        _, by = lax.while_loop(lambda state: state[0] > 0, back, (segment, by))
        row = jnp.zeros_like(cell) if len(of.outputs_reached) == 1 else cell
        reached = of.outputs_reached.at[row].get(mode="clip")
        early = jnp.arange(of.times, dtype=jnp.int32)[None] < reached[:, None]
        own = cotangent.at[cell].get(mode="clip")  # [W, P, T, n]
        own = jnp.sum(jnp.where(early[:, None, :, None], own, 0.0), axis=2)
        by = (by[0] + jnp.transpose(own, (1, 2, 0)), *by[1:])
        pulled = tuple(
            all_of_them.at[cell].set(jnp.transpose(part, (2, 0, 1)), mode="drop")
            for all_of_them, part in zip(pulled, by, strict=True)
        )
        return written, ends, pulled

    sizes = (of.states, cells.k.shape[1], cells.numbers.shape[1])
    pulled = tuple(jnp.zeros((of.count, directions, size), of.dtype) for size in sizes)
    start = (of.outputs(), of.no_ends(), pulled)
    (ys,), ends, pulled = lax.fori_loop(0, -(-of.count // width), chunk, start)
    return (ys, *ends, *pulled)


def _integrate(settings: native.Settings, most: int | None, *arrays: Array) -> tuple[Array, ...]:
    """As the kernel's call: outputs, states, times, steps, counts, and derivatives."""
    own, extra = arrays[:8], arrays[8:]
    cells = _Cells(*own, changes=())
    if len(extra) == 1:
        count = len(cells.y0)
        wide = (jnp.broadcast_to(x, (count, x.shape[1])) for x in (cells.k, cells.numbers))
        k, numbers = wide
        return _reverse(_March(settings, cells._replace(k=k, numbers=numbers)), extra[0], most)
    return _forward(_March(settings, cells._replace(changes=tuple(extra))), most)


_run = jax.jit(_integrate, static_argnums=(0, 1))


def _call(settings: native.Settings, *arrays: Array, most: int | None = None) -> tuple[Array, ...]:
    return _run(settings._replace(sharded=False), most, *arrays)


march = functools.partial(native.march, call=_call)
"""Integrates N cells in plain JAX, with the arguments and outcome of `native.march`.

A program is `Functions` here. Derivatives of steps are by all numbers that these hold, and of
coefficients where there are no functions.
"""
