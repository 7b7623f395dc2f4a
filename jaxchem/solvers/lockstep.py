"""The Rosenbrock methods in plain JAX, for devices that have no compiled kernel.

Many cells take their steps together (see `lanes`). A lane whose cell has ended takes the next one,
so lanes do not idle and memory does not grow with the number of cells.

Derivatives are those of the steps at the lengths that they had. Forward they go along; in reverse
steps are retraced (see `retrace`).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from . import native
from .lanes import GOING, Cells, March, State, write
from .retrace import reverse

__all__ = ["march"]


def _forward(of: March, most: int | None) -> tuple[Array, ...]:
    """Integrates all cells: outputs, ends, and the changes of the outputs."""
    width = of.lanes(most)

    def swap(state: tuple[Any, ...]) -> tuple[Any, ...]:
        lanes, queue, ends = state
        done = (lanes.status != GOING) & (lanes.cell < of.count)
        free = done | (lanes.cell >= of.count)
        ends = of.end(ends, lanes, done)
        cell = queue + jnp.cumsum(free, dtype=jnp.int32) - 1
        cell = jnp.where(free, jnp.minimum(cell, of.count), lanes.cell)
        queue = jnp.minimum(queue + jnp.sum(free, dtype=jnp.int32), of.count)
        return of.load(lanes, cell, free), queue, ends

    def idle(lanes: State) -> Array:
        return jnp.sum((lanes.status != GOING) & (lanes.cell < of.count))

    def turn(state: tuple[Any, ...]) -> tuple[Any, ...]:
        lanes, queue, ends, written = state
        # a loop, so that nothing is copied where there is nothing to do
        lanes, queue, ends = lax.while_loop(
            lambda state: (idle(state[0]) > 0) | ((state[1] == 0) & (of.count > 0)),
            swap,
            (lanes, queue, ends),
        )

        def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
            lanes, written, _ = of.attempt(state[0], write, state[1])
            return lanes, written

        def on(state: tuple[Any, ...]) -> Array:
            lanes = state[0]
            enough = (queue >= of.count) | (idle(lanes) <= width // 16)
            return jnp.any(lanes.status == GOING) & enough

        lanes, written = lax.while_loop(on, step, (lanes, written))
        return lanes, queue, ends, written

    start = (of.empty(width), jnp.zeros((), jnp.int32), of.no_ends(), of.outputs())
    _, _, ends, written = lax.while_loop(
        lambda state: (state[1] < of.count) | (idle(state[0]) > 0), turn, start
    )
    ys, *rest = written
    return (ys, *ends, *(jnp.moveaxis(dys, -1, 1) for dys in rest))


def _integrate(settings: native.Settings, most: int | None, *arrays: Array) -> tuple[Array, ...]:
    """As the kernel's call: outputs, states, times, steps, counts, and derivatives."""
    own, extra = arrays[:8], arrays[8:]
    cells = Cells(*own, changes=())
    if len(extra) == 1:
        count = len(cells.y0)
        wide = (jnp.broadcast_to(x, (count, x.shape[1])) for x in (cells.k, cells.numbers))
        k, numbers = wide
        return reverse(March(settings, cells._replace(k=k, numbers=numbers)), extra[0], most)
    return _forward(March(settings, cells._replace(changes=tuple(extra))), most)


_run = jax.jit(_integrate, static_argnums=(0, 1))


def _call(settings: native.Settings, *arrays: Array, most: int | None = None) -> tuple[Array, ...]:
    return _run(settings._replace(sharded=False), most, *arrays)


march = functools.partial(native.march, call=_call)
"""Integrates N cells in plain JAX, with the arguments and outcome of `native.march`.

A program is `Functions` here. Derivatives of steps are by all numbers that these hold, and of
coefficients where there are no functions.
"""
