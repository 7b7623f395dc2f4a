"""The compiled CPU kernel, called through XLA's foreign functions.

Everything here is optional. Where there is no C compiler, `library()` is `None` and callers fall
back to `lockstep`.
"""

import _signal  # pyright: ignore[reportMissingImports]
import ctypes
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from ..network import Network, Structure
from .build import SYMBOL, load
from .layout import layout
from .program import Functions, Program, tables
from .rosenbrock import Tableau

__all__ = [
    "MOST_FACTORS",
    "RESULTS",
    "Outcome",
    "Settings",
    "available",
    "lanes",
    "march",
    "packed",
    "threads",
]

RESULTS: tuple[Any, ...] = (
    diffrax.RESULTS.successful,
    diffrax.RESULTS.max_steps_reached,
    diffrax.RESULTS.dt_min_reached,
    diffrax.RESULTS.nonfinite,
)
"""What the numbers of `Outcome.status` mean."""

MOST_FACTORS = 8
"""Reactants (and pool) that the kernel takes in one reaction."""

_LAYOUT = 1
"""Of the tables; kernel/tables.h reads this one. Another order or meaning is another number."""

_LOADING = threading.Lock()


def library() -> ctypes.CDLL | None:
    """The compiled kernel, or `None` where it cannot be built (the reason is logged once)."""
    with _LOADING:  # XLA takes one function of a name
        return _library()


@functools.cache
def _library() -> ctypes.CDLL | None:
    loaded = load()
    if loaded is not None:
        handler = jax.ffi.pycapsule(getattr(loaded, SYMBOL))
        jax.ffi.register_ffi_target(SYMBOL, handler, platform="cpu")
        for name, what in _PYTHON.items():
            address = what if isinstance(what, int) else ctypes.cast(what, ctypes.c_void_p).value
            ctypes.c_void_p.in_dll(loaded, f"jaxchem_{name}").value = address
    return loaded


# functions of C, for one of Python would take the signal, and the exception would be lost in it
_handler = ctypes.CFUNCTYPE(ctypes.py_object, ctypes.c_int)(_signal.getsignal)
_tracer = ctypes.CFUNCTYPE(ctypes.py_object)(sys.gettrace)
_PYTHON: dict[str, Any] = {
    "handler": _handler,
    "raises": id(signal.default_int_handler),
    "tracer": _tracer,
    "none": id(None),
    "main": threading.main_thread().ident,
    "lock": ctypes.pythonapi.PyGILState_Ensure,
    "unlock": ctypes.pythonapi.PyGILState_Release,
    "trace": ctypes.pythonapi.PyEval_SetTrace,
    "check": ctypes.pythonapi.PyErr_CheckSignals,
}
"""What kernel/interrupt.c wants of Python, by name."""


@functools.cache
def _told(name: str) -> int:
    loaded = library()
    assert loaded is not None
    return ctypes.c_int32.in_dll(loaded, name).value


def _block_rows() -> int:
    """Rows of a block of L + U in the build for one cell."""
    return _told("jaxchem_block_rows")


def lanes() -> int:
    """How many cells share a vector register."""
    return _told("jaxchem_lanes")


def available() -> bool:
    """Whether the compiled kernel can be called on this machine."""
    return library() is not None


class Outcome(NamedTuple):
    """What became of N cells.

    Attributes:
        ys: [N, T, S] states at the output times, infinite where a cell did not get there.
        state: [N, S] the last state.
        time: [N] its time.
        status: [N] index into `RESULTS`.
        accepted: [N] steps that were taken.
        rejected: [N] steps that were refused.
        step: [N] the step that it would have attempted next.
        pulled: [N, P, S], [N, P, R] and [N, P, Q], what cotangents of the states become for initial
            states, rate coefficients (that do not vary) and a program's numbers: the steps are
            retraced backwards, lengths fixed.
        dys: [N, P, T, S] how the states change in the directions that were asked for, step
            lengths fixed; each step differentiates with the factorisation that it has.
    """

    ys: Float[Array, "N T S"]
    state: Float[Array, "N S"]
    time: Float[Array, " N"]
    status: Int[Array, " N"]
    accepted: Int[Array, " N"]
    rejected: Int[Array, " N"]
    step: Float[Array, " N"]
    dys: Float[Array, "N P T S"] | None = None
    pulled: tuple[Float[Array, "N P S"], Float[Array, "N P R"], Float[Array, "N P Q"]] | None = None


class _Head(NamedTuple):
    """The first integers of a call; kernel/tables.h has the same names in the same order.

    Attributes:
        layout: `_LAYOUT`.
        mode: 0 plain, 1 with tangents, 2 with cotangents.
        alone: cells have the registers to themselves.
        threads: that share the work, at most.
        rows: of a block of L + U.
        programs: rates or tendencies are functions.
        land: see `march`.
        negative: see `march`.
    """

    layout: int
    mode: int
    alone: bool
    threads: int
    rows: int
    programs: bool
    land: bool
    negative: int


def _method(tableau: Tableau) -> tuple[list[int], np.ndarray]:
    """A method as the integers and numbers that kernel/tables.h reads."""
    stages = tableau.stages
    square = np.zeros((2, stages, stages))
    for rows, full in zip((tableau.a, tableau.c_over_h), square, strict=True):
        for i, row in enumerate(rows):
            full[i, : len(row)] = row
    head = [tableau.order, tableau.gamma]
    rest = [tableau.nodes, tableau.time]
    numbers = np.concatenate([head, square.ravel(), np.ravel(tableau.dense), *rest])
    return [stages, len(tableau.dense)], numbers


def march(
    network: Network,
    tableau: Tableau,
    k: Float[Array, "#N R"],
    y0: Float[Array, "N S"],
    ts: Float[Array, "#N T"],
    t0: Float[Array, " N"],
    rtol: Float[Array, " #N"],
    atol: Float[Array, "#N S"],
    first_step: Float[Array, " #N"],
    *,
    dy0: Float[Array, "N P S"] | None = None,
    dk: Float[Array, "#N P R"] | None = None,
    dnumbers: Float[Array, "#N P Q"] | None = None,
    cotangent: Float[Array, "N P T S"] | None = None,
    max_steps: int = 100_000,
    land: bool = True,
    negative: int = 0,
    program: Program | Functions | None = None,
    numbers: Float[Array, "#N Q"] | None = None,
    sharded: bool = True,
    call: Callable[..., Any] | None = None,
) -> Outcome:
    """Integrates N cells with the compiled kernel; may be called under `jax.jit` and `jax.vmap`.

    A cell's result does not depend on the others. All processors that the process may use share
    the work.

    Args:
        network: the reactions.
        tableau: the method.
        k: rate coefficients, one row a cell or one row for all.
        y0: initial states.
        ts: output times since the start, one row a cell or one row for all.
        t0: times of the start, which rates may depend on; far from zero they would not resolve
            the first steps.
        rtol: relative tolerance, one a cell or one for all.
        atol: absolute tolerance of each species, one row a cell or one row for all.
        first_step: its length, one a cell or one for all; zero lets the kernel choose.
        dy0: P directions of change of the initial states, with `dk`.
        dk: and of the rate coefficients, one row a cell or one row for all; of a program's, of
            those that do not vary.
        dnumbers: and of `numbers`, likewise.
        cotangent: P cotangents of the states, to be pulled back; not together with directions.
        max_steps: attempted steps a cell.
        land: step onto every output time instead of interpolating.
        negative: index into `NEGATIVE` of `integrator`.
        program: of coefficients that are not constant (`k` then is not read) and of tendencies.
        numbers: what the program's functions hold, one row a cell or one row for all.
        sharded: cells that `jax.jit` has on several devices are integrated where they are, and not
            all of them on each. Not for a call within a primitive of our own: JAX does not tell
            what is inside of one on which devices it runs.
        call: what does it instead of the kernel: of `Settings` and arrays (see `lockstep`).
    """
    settings = Settings(network.structure, tableau, max_steps, land, negative, program, sharded)
    extra = [array for array in (dy0, dk, dnumbers, cotangent) if array is not None]
    numbers = jnp.zeros((1, 0), y0.dtype) if numbers is None else numbers
    cells = jax.custom_jvp(_cells(functools.partial(call or _call, settings)))
    cells.defjvp(refuse_derivatives)
    found = cells(y0, k, ts, t0, rtol, atol, first_step, numbers, *extra)
    ys, state, time, step, status, *rest = found
    result, accepted, rejected = jnp.moveaxis(status, -1, 0)
    outcome = Outcome(ys, state, time, result, accepted, rejected, step)
    if cotangent is not None:
        return outcome._replace(pulled=tuple(rest))
    return outcome if dy0 is None else outcome._replace(dys=rest[0])


def refuse_derivatives(*_: Any, **__: Any) -> Any:
    """Stands for the derivative of what has none.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        "this solve has first derivatives only; for second ones solve with adjoint='direct'."
    )


class Settings(NamedTuple):
    """What a call of the kernel depends on besides arrays."""

    structure: Structure
    tableau: Tableau
    max_steps: int
    land: bool
    negative: int
    program: Program | Functions | None
    sharded: bool  # a batch over devices stays where it is


_CELLS = (True, False, False, True, False, False, False, False)
"""Which arguments have one row for every cell; others may have one for all."""


def _cells(call: Callable[..., Any]) -> Any:
    """The call on N cells; vmapped, it is the same call on more cells or directions."""

    @jax.custom_batching.custom_vmap
    def cells(*arrays: Array) -> Any:
        return call(*arrays)

    @cells.def_vmap
    def _(axis_size: int, batched: list[bool], *arrays: Array) -> Any:
        common, extra = arrays[: len(_CELLS)], arrays[len(_CELLS) :]
        if extra and not any(batched[: len(_CELLS)]):  # more directions of the same cells
            spread = [
                jnp.moveaxis(a, 0, 1) if many else jnp.repeat(a[:, None], axis_size, axis=1)
                for a, many in zip(extra, batched[len(_CELLS) :], strict=True)
            ]
            joined = [a.reshape(a.shape[0], axis_size * a.shape[2], *a.shape[3:]) for a in spread]
            results = cells(*common, *joined)
            same, changes = results[:_PLAIN], results[_PLAIN:]
            count = joined[0].shape[1] // axis_size
            cut = [a.reshape(a.shape[0], axis_size, count, *a.shape[2:]) for a in changes]
            moved = [jnp.moveaxis(a, 1, 0) for a in cut]
            return (*same, *moved), (*(False,) * len(same), *(True,) * len(moved))
        count = arrays[0].shape[1 if batched[0] else 0]

        def flat(value: Array, many: bool, whole: bool) -> Array:
            if not many and not whole and value.shape[0] == 1:
                return value  # one row for all cells, still
            rest = value.shape[2:] if many else value.shape[1:]
            value = value if many else value[None]
            return jnp.broadcast_to(value, (axis_size, count, *rest)).reshape(
                axis_size * count, *rest
            )

        whole = (*_CELLS, True, False, False)[: len(arrays)]
        results = cells(*map(flat, arrays, batched, whole))
        split = tuple(r.reshape(axis_size, count, *r.shape[1:]) for r in results)
        return split, (True,) * len(split)

    return cells


_PLAIN = 5
"""Results of the foreign call without those of directions."""


def _call(settings: Settings, *arrays: Array) -> Any:
    if library() is None:
        raise ValueError("the compiled kernel is not available; see the logged reason.")
    y0, k, ts, *_ = arrays
    extra = arrays[len(_CELLS) :]
    (count, size), times = y0.shape, ts.shape[1]
    directions = extra[0].shape[1] if extra else 0
    # a cell's own rows fill the registers, or as many cells do; its result is the same
    few = isinstance(count, int) and (count == 1 or 2 * count < lanes())
    alone = few or directions > 1
    mode = {0: 0, 1: 2, 3: 1}[len(extra)]  # plain; cotangents; tangents of y0, k and numbers
    how = {"mode": mode, "alone": alone, "threads": threads()}
    integers, numbers = packed(settings, size, rows=_block_rows() if alone else 1, **how)
    shapes = [(count, times, size), (count, size), (count,), (count,), (count, 3)]
    if len(extra) == 1:
        widths = (size, k.shape[1], arrays[7].shape[1])
        shapes += [(count, directions, width) for width in widths]
    elif extra:
        shapes.append((count, directions, times, size))
    types = [jnp.int32 if n == _PLAIN - 1 else jnp.float64 for n in range(len(shapes))]
    outputs = [jax.ShapeDtypeStruct(s, t) for s, t in zip(shapes, types, strict=True)]
    common = arrays[: len(_CELLS)]
    operands = (*common, jnp.asarray(numbers), jnp.asarray(integers), *extra)
    if settings.sharded and isinstance(count, int) and count > 1:  # exported ones may be any
        return _sharded(outputs, operands)
    return jax.ffi.ffi_call(SYMBOL, tuple(outputs))(*operands)


def packed(
    settings: Settings, size: int, *, rows: int, alone: bool, mode: int = 0, threads: int = 1
) -> tuple[Int[np.ndarray, " I"], Float[np.ndarray, " F"]]:
    """The tables of a call, in the order in which kernel/tables.h reads them.

    Args:
        settings: of the call.
        size: number of states.
        rows: of a block of L + U, more than one only where cells are `alone`.
        alone: see `_Head`.
        mode: see `_Head`.
        threads: see `_Head`.
    """
    program = settings.program
    assert not isinstance(program, Functions)
    further = size - settings.structure.stoichiometry.shape[0]
    places = layout(settings.structure, rows, further, program.entries if program else ())
    code, constants = [], []
    if program:
        code, constants = tables(program, places, (None, "forward", "reverse")[mode])
    head, method = _method(settings.tableau)
    options = (program is not None, settings.land, settings.negative)
    flags = _Head(_LAYOUT, mode, alone, threads, rows, *options)
    integers = np.concatenate([flags, head, places.integers, code]).astype(np.int32)
    return integers, np.concatenate([[settings.max_steps], method, places.numbers, constants])


def _sharded(outputs: list[jax.ShapeDtypeStruct], operands: tuple[Array, ...]) -> Any:
    """The foreign call; where its cells are sharded, each device calls for its own."""
    count = len(operands[0])
    # tables may by chance have as many numbers as there are cells
    tables = len(_CELLS), len(_CELLS) + 1
    rows = [n not in tables and len(x) == count for n, x in enumerate(operands)]
    rows += [True] * len(outputs)

    def call(*operands: Array) -> Any:
        here = len(operands[0])
        own = [jax.ShapeDtypeStruct((here, *x.shape[1:]), x.dtype) for x in outputs]
        return jax.ffi.ffi_call(SYMBOL, tuple(own))(*operands)

    def partition(mesh: Any, given: Any, found: Any) -> Any:
        axes = given[0].sharding.spec[:1]  # of the cells: the rule has carried it to all others
        cut = [NamedSharding(mesh, PartitionSpec(*(axes if row else ()))) for row in rows]
        return mesh, call, tuple(cut[len(operands) :]), tuple(cut[: len(operands)])

    names = [  # of every axis; that of the cells alone may be cut
        ["cells" if row and axis == 0 else f"a{n}_{axis}" for axis in range(len(x.shape))]
        for n, (x, row) in enumerate(zip([*operands, *outputs], rows, strict=True))
    ]
    terms = [" ".join(of) for of in names]
    partitioned = custom_partitioning(call)
    partitioned.def_partition(
        partition=partition,
        sharding_rule=" -> ".join(
            ", ".join(side) for side in (terms[: len(operands)], terms[len(operands) :])
        ),
        need_replication_factors=tuple(name for of in names for name in of if name != "cells"),
    )
    return partitioned(*operands)


def threads(root: Path = Path("/")) -> int:
    """The processors that this process may use: `JAXCHEM_THREADS`, or as many as there are.

    Those are told by affinity and by quotas of its control groups.

    Raises:
        ValueError: `JAXCHEM_THREADS` is no whole number, or none.
    """
    if given := os.environ.get("JAXCHEM_THREADS"):
        if not given.strip().isdecimal() or not int(given):
            raise ValueError(f"JAXCHEM_THREADS={given}: give a whole number of threads, 1 or more.")
        return int(given)
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([own, *_quotas(root)]))


def _quotas(root: Path) -> Iterator[int]:
    """Processors that control groups leave to the process, a part of one being one.

    Source: Linux kernel, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and
    Documentation/scheduler/sched-bwc.rst (cpu.cfs_quota_us).
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        top = root / "sys/fs/cgroup" / controllers
        own = top / group.strip("/")
        for folder in (own, *own.parents):  # in a container the group may stand at the top
            for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
                try:
                    said = [word for file in files for word in (folder / file).read_text().split()]
                    quota, period = map(int, said)
                except (OSError, ValueError):  # none, or "max"
                    continue
                if quota > 0 and period > 0:
                    yield -(-quota // period)
            if folder == top:
                break
