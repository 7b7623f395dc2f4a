"""The compiled CPU kernel: built from source on first use, called through XLA's foreign functions.

Everything here is optional. Where there is no C compiler, `library()` is `None` and callers fall
back to diffrax.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..network import Network, Structure
from .elimination import eliminate
from .rosenbrock import Tableau

__all__ = ["MOST_FACTORS", "RESULTS", "Outcome", "available", "march"]

log = logging.getLogger("jaxchem")

_SOURCE = Path(__file__).with_name("kernel")
_TARGET = "jaxchem_rosenbrock"
RESULTS: tuple[Any, ...] = (
    diffrax.RESULTS.successful,
    diffrax.RESULTS.max_steps_reached,
    diffrax.RESULTS.dt_min_reached,
    diffrax.RESULTS.nonfinite,
)
"""What the numbers of `Outcome.status` mean."""

MOST_FACTORS = 8
"""Reactants (and pool) that the kernel takes in one reaction."""

_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")


def _cache() -> Path:
    root = os.environ.get("JAXCHEM_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return Path(root) / "jaxchem" if root else Path.home() / ".cache" / "jaxchem"


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel, or `None` where it cannot be built (the reason is logged once)."""
    compiler = os.environ.get("CC", "cc")
    source = [path.read_bytes() for path in sorted(_SOURCE.glob("*.[ch]"))]
    mark = (source, compiler, _FLAGS, _processor(), jax.__version__, platform.machine())
    path = _cache() / f"kernel-{hashlib.sha256(repr(mark).encode()).hexdigest()[:16]}.so"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, suffix=".so")
            os.close(handle)
            command = [
                *shlex.split(compiler),
                *_FLAGS,
                "-shared",
                "-fPIC",
                f"-I{jax.ffi.include_dir()}",
            ]
            try:
                subprocess.run(
                    [*command, str(_SOURCE / "kernel.c"), "-o", name, "-lm", "-lpthread"],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                os.replace(name, path)
            finally:
                Path(name).unlink(missing_ok=True)
        try:
            loaded = ctypes.CDLL(str(path))
        except OSError:
            path.unlink(missing_ok=True)  # damaged: the next process builds it anew
            raise
        handler = jax.ffi.pycapsule(loaded.jaxchem_rosenbrock)
        jax.ffi.register_ffi_target(_TARGET, handler, platform="cpu")
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or error
        log.warning("no compiled CPU kernel, the slower one of diffrax is used: %s", reason)
        return None
    return loaded


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
        pulled: [N, S] and [N, R], what cotangents of the states become for initial states and rate
            coefficients: the steps are retraced backwards, lengths fixed.
        dys: [N, P, T, S] how the states change in the directions that were asked for, step
            lengths fixed; each step differentiates with the factorisation that it has.
    """

    ys: Float[Array, "N T S"]
    state: Float[Array, "N S"]
    time: Float[Array, " N"]
    status: Int[Array, " N"]
    accepted: Int[Array, " N"]
    rejected: Int[Array, " N"]
    dys: Float[Array, "N P T S"] | None = None
    pulled: tuple[Float[Array, "N S"], Float[Array, "N R"]] | None = None


@functools.lru_cache(maxsize=64)
def _tables(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """A network's structure and its elimination as the integers and numbers that kernel.c reads."""
    size, count = structure.stoichiometry.shape
    rows, columns, factors, partials = structure.jacobian_terms
    pattern = np.zeros((size, size), dtype=bool)
    pattern[rows, columns] = True
    plan = eliminate(pattern)
    entry_rows, entry_columns = np.nonzero(pattern)
    starts = np.searchsorted(rows * size + columns, entry_rows * size + entry_columns)
    changes = [np.flatnonzero(row) for row in structure.stoichiometry]
    members = [np.flatnonzero(row) for row in structure.pools]
    slots = structure.reactants.shape[1]
    pools = structure.pools.shape[0]
    integers = [
        [size, count, slots, pools, len(entry_rows), len(plan.pivot)],
        structure.reactants,
        np.cumsum([0, *map(len, members)]),
        *members,
        structure.pool_of if pools else np.zeros(count),
        np.cumsum([0, *map(len, changes)]),
        *changes,
        [*starts, len(rows)],
        partials,
        plan.slot[entry_rows, entry_columns],
        np.diag(plan.slot),
        plan.order,
        plan.pivot,
        *plan.updates,
        *plan.lower,
        *plan.upper,
    ]
    numbers = [row[row != 0] for row in structure.stoichiometry] + [factors]
    return (
        np.concatenate([np.ravel(part) for part in integers]).astype(np.int32),
        np.concatenate(numbers).astype(np.float64),
    )


def _method(tableau: Tableau) -> np.ndarray:
    stages = tableau.stages
    square = np.zeros((2, stages, stages))
    for rows, full in zip((tableau.a, tableau.c_over_h), square, strict=True):
        for i, row in enumerate(rows):
            full[i, : len(row)] = row
    head = [stages, len(tableau.dense), tableau.order, tableau.gamma]
    return np.concatenate([head, square.ravel(), np.ravel(tableau.dense)])


def march(
    network: Network,
    tableau: Tableau,
    k: Float[Array, "#N R"],
    y0: Float[Array, "N S"],
    ts: Float[Array, "#N T"],
    t0: Float[Array, " N"],
    rtol: Float[Array, " #N"],
    atol: Float[Array, "#N S"],
    *,
    dy0: Float[Array, "N P S"] | None = None,
    dk: Float[Array, "#N P R"] | None = None,
    cotangent: Float[Array, "N T S"] | None = None,
    first_step: Any = None,
    max_steps: int = 100_000,
    land: bool = True,
    negative: int = 0,
) -> Outcome:
    """Integrates N cells with the compiled kernel; may be called under `jax.jit` and `jax.vmap`.

    A cell's result does not depend on the others. All processors that the process may use share
    the work.

    Args:
        network: the reactions.
        tableau: the method.
        k: rate coefficients, one row a cell or one row for all.
        y0: initial states.
        ts: output times, one row a cell or one row for all.
        t0: times of the initial states.
        rtol: relative tolerance, one a cell or one for all.
        atol: absolute tolerance of each species, one row a cell or one row for all.
        dy0: P directions of change of the initial states, with `dk`.
        dk: and of the rate coefficients, one row a cell or one row for all.
        cotangent: of the states, to be pulled back; not together with directions.
        first_step: `None` chooses it.
        max_steps: attempted steps a cell.
        land: step onto every output time instead of interpolating.
        negative: index into `NEGATIVE` of `integrator`.
    """
    if library() is None:
        raise ValueError("the compiled kernel is not available; see the logged reason.")
    integers, factors = _tables(network.structure)
    constants = np.concatenate([_method(tableau), factors])
    whole = (True, False, False, True, False, False, True, False)  # one row for every cell

    @jax.custom_batching.custom_vmap
    def cells(step: Array, *arrays: Array) -> Any:
        (count, size), times = arrays[0].shape, arrays[2].shape[1]
        shapes = [(count, times, size), (count, size), (count,), (count, 3)]
        if len(arrays) == 7:
            shapes += [(count, size), (count, arrays[1].shape[1])]
        elif len(arrays) == 8:
            shapes.append((count, arrays[6].shape[1], times, size))
        types = [jnp.int32 if n == 3 else jnp.float64 for n in range(len(shapes))]
        head = [step, *(jnp.asarray(float(x)) for x in (max_steps, land, negative, _threads()))]
        return jax.ffi.ffi_call(
            _TARGET,
            tuple(jax.ShapeDtypeStruct(s, t) for s, t in zip(shapes, types, strict=True)),
        )(
            *arrays[:6],
            jnp.concatenate([jnp.stack(head), jnp.asarray(constants)]),
            jnp.asarray(integers),
            *arrays[6:],
        )

    @cells.def_vmap
    def _(axis_size: int, batched: list[bool], step: Array, *arrays: Array) -> Any:
        if batched[0]:
            raise ValueError("dt0 is one number for a whole batch; leave it to the solver.")
        many = batched[1:]
        if len(arrays) == 8 and not any(many[:6]):  # more directions of the same cells
            spread = [
                jnp.moveaxis(a, 0, 1) if m else jnp.repeat(a[:, None], axis_size, axis=1)
                for a, m in zip(arrays[6:], many[6:], strict=True)
            ]
            joined = [a.reshape(a.shape[0], -1, a.shape[-1]) for a in spread]
            *same, changes = cells(step, *arrays[:6], *joined)
            cut = changes.reshape(changes.shape[0], axis_size, -1, *changes.shape[2:])
            return (*same, jnp.moveaxis(cut, 1, 0)), (*(False,) * len(same), True)
        count = arrays[0].shape[1 if many[0] else 0]

        def flat(value: Array, many: bool, whole: bool) -> Array:
            if not many and not whole and value.shape[0] == 1:
                return value  # one row for all cells, still
            rest = value.shape[2:] if many else value.shape[1:]
            value = value if many else value[None]
            return jnp.broadcast_to(value, (axis_size, count, *rest)).reshape(-1, *rest)

        results = cells(step, *map(flat, arrays, many, whole[: len(arrays)]))
        split = tuple(r.reshape(axis_size, count, *r.shape[1:]) for r in results)
        return split, (True,) * len(split)

    step = jnp.asarray(0.0 if first_step is None else first_step, y0.dtype)
    extra = [array for array in (dy0, dk, cotangent) if array is not None]
    ys, state, time, status, *rest = cells(step, y0, k, ts, t0, rtol, atol, *extra)
    outcome = Outcome(ys, state, time, *jnp.moveaxis(status, -1, 0))
    if cotangent is not None:
        return outcome._replace(pulled=tuple(rest))
    return outcome if dy0 is None else outcome._replace(dys=rest[0])


def _threads() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
