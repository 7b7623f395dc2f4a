"""Derivatives in reverse of cells that take their steps together.

The steps of some lanes are retraced from states that were kept, every so many steps, on the way
there; lengths stay as they were.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .lanes import GOING, Attempt, March, State, columns, pick, write

__all__ = ["reverse"]


class _Kept(NamedTuple):
    """What a lane goes on from; the fields of `State` that steps change."""

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


def _pull(
    of: March, lanes: State, tried: Attempt, by: tuple[Array, ...], cotangent: Array
) -> tuple[Array, ...]:
    """Cotangents [P, ., W] of states, coefficients and numbers, over a step and before it."""
    t, t1, h, y, before, after, taken = tried
    clock, _, _, _, k, numbers = lanes.given
    bends = 0 if of.settings.land else len(of.settings.tableau.dense)

    def advance(*known: Array) -> tuple[Array, list[Array]]:
        _, kept, _, curve = of.step.advance(clock + t, h, *known)
        return kept, curve

    def add(state: tuple[Array, ...]) -> tuple[Array, ...]:
        output, end, start, *bent = state
        due, at = taken & (output < after), of.time_of(lanes.cell, output)
        here = cotangent.at[lanes.cell, :, output].get(mode="clip")  # [W, P, n]
        here = pick(due, jnp.transpose(here, (1, 2, 0)), none)
        s = columns(jnp.where(due & (at != t1), (at - t) / h, 1.0), here)
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
    pulled = jax.vmap(transposed)((pick(taken, end, none), bent))
    by_y = pick(taken, pulled[0] + start, by[0])
    rest = (pick(taken, a + b, a) for a, b in zip(by[1:], pulled[1:], strict=True))
    return by_y, *rest


def reverse(of: March, cotangent: Float[Array, "N P T n"], most: int | None) -> tuple[Array, ...]:
    """Integrates all cells and pulls cotangents of the outputs back: outputs, ends, and these.

    Lanes go forward together and keep where they are every so many attempts; between these states
    they then go forward once more, keep every attempt, and go back over it.
    """
    cells, directions = of.cells, cotangent.shape[1]
    length = math.isqrt(max(of.settings.max_steps - 1, 0)) + 1
    width = of.lanes(most, 2 * length)

    def going(state: tuple[Array, State, Any]) -> Array:
        return (state[0] < length) & jnp.any(state[1].status == GOING)

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
                lanes, written, _ = of.attempt(state[1], write, state[2])
                return state[0] + 1, lanes, written

            _, lanes, written = lax.while_loop(
                going, step, (jnp.zeros((), jnp.int32), lanes, written)
            )
            return segment + 1, lanes, written, kept

        first = _Kept(*(getattr(lanes, f) for f in _Kept._fields))
        start = (jnp.zeros((), jnp.int32), lanes, written, _room(length, first))
        segment, lanes, written, kept = lax.while_loop(
            lambda state: jnp.any(state[1].status == GOING), ahead, start
        )
        ends = of.end(ends, lanes, there)

        def back(state: tuple[Any, ...]) -> tuple[Any, ...]:
            segment, by = state
            again = lanes._replace(**_kept(kept, segment - 1)._asdict())

            def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
                number, lanes, tried = state
                lanes, _, attempt = of.attempt(lanes, lambda written, *_: written, ())
                return number + 1, lanes, _keep(tried, number, attempt)

            blank = Attempt(again.t, again.t, again.h, again.y, again.output, again.output, there)
            count, _, tried = lax.while_loop(
                going, step, (jnp.zeros((), jnp.int32), again, _room(length, blank))
            )

            def pull(state: tuple[Any, ...]) -> tuple[Any, ...]:
                number, by = state
                return number - 1, _pull(of, lanes, _kept(tried, number - 1), by, cotangent)

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
