"""Cells that take their steps together, each in a lane with a time, a step and an error of its own.

The rules of the kernel (kernel/march.h): how long a step is to be, which are taken, what is put out
on the way. Arrays have a lane a column.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from . import native
from .program import Functions
from .rosenbrock import extend
from .step import REJECT, Step, tabulate

__all__ = ["GOING", "Attempt", "Cells", "March", "State", "columns", "pick", "write"]

_SHORTEST = 1e-30
"""Of all the time: a shorter step means a tendency that is no number."""

_CACHED = 128
"""Lanes on a processor: what they work on is to stay in its cache."""

_MEMORY = 2**29
"""Bytes that the lanes of other devices may work on."""

_SUCCESS, _TOO_MANY_STEPS, _STEP_TOO_SMALL, _NOT_FINITE = range(len(native.RESULTS))
GOING = -1
"""The status of a lane whose cell has not ended; the others are indices into `RESULTS`."""


class Cells(NamedTuple):
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


class State(NamedTuple):
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


class Attempt(NamedTuple):
    """A step that the lanes have tried: its start, its length, and which of them take it."""

    t: Array
    t1: Array
    h: Array
    y: Array
    before: Array
    after: Array
    taken: Array


class March:
    """The step control, for the cells of one call."""

    def __init__(self, settings: native.Settings, cells: Cells):
        self.settings = settings
        self.cells = cells
        self.count, self.states = cells.y0.shape
        self.times = cells.ts.shape[1]
        self.dtype = cells.y0.dtype
        functions = settings.program
        assert functions is None or isinstance(functions, Functions)
        further = self.states - settings.structure.stoichiometry.shape[0]
        entries = functions.entries if functions else ()
        self.tables = tabulate(settings.structure, further, entries)
        self.step = Step(self.tables, settings.tableau, functions, settings)
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

    def load(self, lanes: State, cell: Array, new: Array) -> State:
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
        status = jnp.where(output < self.times, GOING, _SUCCESS)
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
            return fresh if fresh.shape[-1] != len(new) else pick(new, fresh, old)

        return jax.tree.map(chosen, fresh, lanes)

    def empty(self, width: int) -> State:
        """Lanes without cells."""
        integer = jnp.zeros(width, jnp.int32)
        real = jnp.zeros(width, self.dtype)

        def like(rows: Array) -> Array:
            return jnp.zeros((*rows.shape[1:], 1 if len(rows) == 1 else width), self.dtype)

        cells = self.cells
        given = (cells.t0, cells.ts[:, 0], cells.rtol, cells.atol, cells.k, cells.numbers)
        dy = tuple(like(change) for change in cells.changes[:1])
        return State(
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
        self, lanes: State, write: Callable[..., Any], written: Any
    ) -> tuple[State, Any, Attempt]:
        """One step of every lane, which its error then accepts or rejects.

        Args:
            lanes: as they are.
            write: adds to `written` what there is at an output: `(written, cell, output, values)`.
            written: the outputs so far.
        """
        settings = self.settings
        clock, end, rtol, atol, k, numbers, *changes = lanes.given
        going = lanes.status == GOING
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
        if settings.negative == REJECT:
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
                inside = extend(columns(s, after), before, after, bent) if bent else after
                values.append(pick(at == t1, after, inside))
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
        status = jnp.where(small, jnp.where(finite, _STEP_TOO_SMALL, _NOT_FINITE), GOING)
        many = accepted + rejected >= settings.max_steps
        status = jnp.where(many, _TOO_MANY_STEPS, status)
        status = jnp.where(output >= self.times, _SUCCESS, status)
        tried = Attempt(t, t1, h, lanes.y, lanes.output, output, taken)
        lanes = lanes._replace(
            status=jnp.where(going, status, lanes.status).astype(jnp.int32),
            output=output,
            accepted=accepted,
            rejected=rejected,
            again=jnp.where(going, refused, lanes.again),
            t=next_t,
            h=next_h,
            y=pick(taken, kept, lanes.y),
            dy=(pick(taken, tangents[1], tangents[0]),) if tangents else (),
        )
        return lanes, written, tried

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

    def end(self, ends: tuple[Array, ...], lanes: State, done: Array) -> tuple[Array, ...]:
        """What cells have come to, with those of the lanes that are done."""
        cell = jnp.where(done, lanes.cell, self.count)
        counts = jnp.stack([lanes.status, lanes.accepted, lanes.rejected], axis=1)
        values = (lanes.y.T, lanes.t, lanes.h, counts)
        return tuple(
            kept.at[cell].set(value, mode="drop", unique_indices=False)
            for kept, value in zip(ends, values, strict=True)
        )

    def no_ends(self) -> tuple[Array, ...]:
        """Room for what cells come to."""
        real = jnp.zeros(self.count, self.dtype)
        counts = jnp.zeros((self.count, 3), jnp.int32)
        return jnp.zeros((self.count, self.states), self.dtype), real, real, counts


def columns(values: Array, like: Array) -> Array:
    """What the lanes have [W], for an array with lanes in its last axis."""
    return values.reshape((1,) * (like.ndim - 1) + values.shape)


def pick(which: Array, one: Array, other: Array) -> Array:
    """Of which lanes to take `one`."""
    return jnp.where(columns(which, one), one, other)


def _alike(value: Array, changes: Array) -> tuple[Array, Array]:
    """A value [n, W or 1] and its changes [P, n, W or 1], for as many lanes."""
    lanes = max(value.shape[-1], changes.shape[-1])
    wide = [jnp.broadcast_to(x, (*x.shape[:-1], lanes)) for x in (value, changes)]
    return wide[0], wide[1]


def write(written: tuple[Array, ...], cell: Array, output: Array, values: list[Array]) -> Any:
    """Puts the values of the lanes out; those of a cell that is none go nowhere."""
    return tuple(
        kept.at[cell, output].set(_lanes_first(value), mode="drop")
        for kept, value in zip(written, values, strict=True)
    )


def _lanes_first(value: Array) -> Array:
    """[n, W] as [W, n], and [P, n, W] as [W, n, P]."""
    return value.T if value.ndim == 2 else jnp.transpose(value, (2, 1, 0))
