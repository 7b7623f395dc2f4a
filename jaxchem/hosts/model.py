"""A trained emulator as C."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .c_program import HEAD, LANES, NotWrittenError, program
from .c_text import Constants, comment, identifier, table
from .folder import fill, named, room, units, wrapped

__all__ = ["Emulator", "write_model"]

_CELLS = 6
"""Of the self-test; one by one and together they are done by different programs."""

_TOLERANCE = 1e-3
"""Relative, of the self-test: weights are mostly float32."""


class Emulator(Protocol):
    """A callable `(y0 [S], conditions [C], ts [T]) -> ys [T, S]` that tells its names."""

    @property
    def about(self) -> Any:
        """As `jaxchem.models.About`."""
        ...

    @property
    def name(self) -> str:
        """Its class, and those that are inside of it."""
        ...

    def __call__(self, y0: Any, conditions: Any, ts: Any, /) -> Any:
        """States at times `ts` after `y0`."""
        ...


def write_model(
    model: Emulator,
    folder: str | Path,
    *,
    name: str = "emulator",
    ts: Sequence[float] = (1.0,),
    example: Mapping[str, Any] | None = None,
) -> Path:
    """Writes an emulator as C.

    NAME.c needs a compiler with GCC's vectors (GCC, Clang, Intel's) and libm; NAME.h tells names,
    units and the range of its training, NAME.f90 is a module of Fortran for it. Compiled with
    ``-DNAME_SELF_TEST`` the file is a program that compares itself with what this function stored
    in it. What a model computes in float32 the file does too; sums are rounded in another order.

    Args:
        model: any emulator of `jaxchem.models`.
        folder: is made where there is none.
        name: of the files and functions.
        ts: times of the self-test. A call takes as many times as these are.
        example: `y0` [S] and `conditions` [C] of the self-test, instead of the middle of the range
            of training.

    Returns:
        The path of NAME.c.

    Raises:
        ValueError: a model that does what has no C (such as one that is integrated), a name that C
            does not take, or a folder that cannot be written to.
    """
    about, name = model.about, identifier(name)
    size, count, times = len(about.states), len(about.conditions), len(ts)
    if not times:
        raise ValueError("ts is empty; give the times of a call, or as many of any value.")

    def predict(y0: Any, conditions: Any, ts: Any) -> tuple[Any]:
        return (jnp.asarray(model(y0, conditions, ts), float),)

    constants, shapes = Constants(), [(size,), (count,), (times,)]
    try:
        one = program("predict_1", predict, shapes, constants)
        many = program("predict_many", predict, shapes, constants, LANES)
    except NotWrittenError as error:
        raise ValueError(
            f"a {model.name} cannot be written as C ({error}); jaxchem.export keeps any model for "
            "hosts that run JAX."
        ) from None
    low, high = (np.array(part, dtype=float) for part in (about.low, about.high))
    if not len(low):
        low, high = np.full(size + count, -np.inf), np.full(size + count, np.inf)
    ranges = [table(f"{name}_lowest", low, "const"), table(f"{name}_highest", high, "const")]
    told = [
        f"condition {n + 1}: {comment(c)}, {low[size + n]:.6g} to {high[size + n]:.6g} in training"
        for n, c in enumerate(about.conditions)
    ] + [f"always: {comment(f'{n} = {v}')}" for n, v in about.fixed]
    values = {
        "title": comment(f"{name}: a {model.name}"),
        **units(*about.units),
        **named("state", about.states),
        **named("condition", about.conditions),
        "trained": f"Trained on {comment(about.source) or 'nothing that it knows of'}.",
        "conditions_told": wrapped(told or ["There are no conditions."]),
        "start": repr(float(about.start)),
        "states": size,
        "conditions": count,
        "times": times,
        "states_room": room(size),
        "conditions_room": room(count),
        "inputs_room": room(size + count),
        "ranges": "".join(ranges),
        "head": HEAD,
        "programs": "\n".join([*constants.text, one.text, many.text]),
        "lanes": LANES,
        "work": max(one.work, many.work),
        "test": _test(model, np.asarray(ts, dtype=float), example or {}, low, high),
        "test_cells": _CELLS,
        "tolerance": _TOLERANCE,
    }
    return fill("model", name, folder, values)


def _test(
    model: Emulator, ts: np.ndarray, example: Mapping[str, Any], low: np.ndarray, high: np.ndarray
) -> str:
    """Cells for the self-test along the range of training, and what the model makes of them."""
    size = len(model.about.states)
    if unknown := sorted(set(example) - {"y0", "conditions"}):
        raise ValueError(f"the example gives {unknown[0]!r}; it has y0 and conditions.")
    low, high = np.nan_to_num(low, neginf=1.0), np.nan_to_num(high, posinf=1.0)
    share = np.linspace(0.4, 0.6, _CELLS)[:, None]
    positive = low > 0
    safe = np.where(positive, low, 1.0), np.where(positive, high, 1.0)
    inside = np.where(
        positive, safe[0] ** (1 - share) * safe[1] ** share, low + share * (high - low)
    )
    inside = np.clip(inside, low, high)
    y0, conditions = inside[:, :size], inside[:, size:]
    y0 = np.broadcast_to(np.asarray(example.get("y0", y0), dtype=float), y0.shape)
    conditions = np.broadcast_to(
        np.asarray(example.get("conditions", conditions), float), conditions.shape
    )
    ys = np.asarray(
        jax.jit(jax.vmap(model, in_axes=(0, 0, None)))(
            jnp.asarray(y0), jnp.asarray(conditions), jnp.asarray(ts)
        )
    )
    if not np.isfinite(ys).all():
        raise ValueError(
            "the model gives no finite states for the self-test; give it other states, as "
            "example={'y0': [...], 'conditions': [...]}."
        )
    parts = {"y0": y0, "conditions": conditions, "ts": ts, "y": ys}
    scale = f"static const double test_scale = {1e-12 * float(np.max(np.abs(ys))) + 1e-290!r};\n"
    return "".join([*(table(f"test_{n}", v) for n, v in parts.items()), scale])
