"""Many cells of one network: chunks, retries, all devices and hosts, results streamed to disk."""

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from tqdm import tqdm

from .dataset import label_cells, laws, to_dataset
from .dataset.store import Store
from .files import hold
from .fingerprint import add, fingerprint
from .network import Network
from .rates import NAMED
from .solvers import Integrator, ladder, solve
from .solvers.cell import check_concentrations, marches
from .solvers.integrator import check_times, check_tolerances
from .solvers.native import RESULTS
from .system import MISSING, System, check_coefficients
from .workers import mapped, share_of

__all__ = ["Ensemble", "emulate_ensemble", "generate_ensemble", "solve_ensemble"]

FAILURES = ("solved", "too many steps", "step too small", "not finite", "failed", "elsewhere")
"""What the numbers of `Ensemble.result` mean; the last is a cell of another process."""

_ELSEWHERE = FAILURES.index("elsewhere")

_MOST_CELLS = 4096
_LEAST_CELLS = 16
_MOST_BYTES = 2**28
"""Of a chunk's outputs, and the most and fewest cells that it has by default; a few chunks are in
memory at once, in work and on their way to the store."""


class Ensemble(NamedTuple):
    """What became of N cells.

    Attributes:
        ys: [N, T, S] states, infinite after a failure and in cells of other processes; `None`
            where a store has them.
        result: [N] index into `FAILURES`.
        steps: [N] attempted steps.
        retried: [N] how many rungs of the ladder a cell took.
    """

    ys: Float[np.ndarray, "N T S"] | None
    result: Int[np.ndarray, " N"]
    steps: Int[np.ndarray, " N"]
    retried: Int[np.ndarray, " N"]


_NUMBERS = Ensemble._fields[1:]
"""What a store keeps of each cell besides its states."""


def solve_ensemble(
    network: Network | System | Callable[[Any], System],
    k: Any = MISSING,
    y0: Any = MISSING,
    ts: Any = MISSING,
    *,
    cells: Mapping[str, Any] | None = None,
    t0: Any = 0.0,
    integrator: Integrator | None = None,
    chunk: int | None = None,
    retries: Sequence[Integrator] | None = None,
    store: str | Path | None = None,
    executor: Any = None,
    share: tuple[int, int] | None = None,
    progress: bool = True,
    **settings: Any,
) -> Ensemble:
    """Integrates any number of cells, chunk by chunk, on all devices of all hosts.

    Each device works on a chunk of its own. Chunks may go to the workers of an `executor`; or
    each of several processes takes its `share` of them, and a common `store` collects them. What
    becomes of a cell does not depend on where it is integrated, nor on the chunk that it is in.
    Cells of a chunk are alike in stiffness where the device advances them in lock step. Cells
    that fail are tried again with `retries` and then reported; the others are not touched.
    Compiled programs are kept: another call with the same network and the
    same function objects compiles nothing, whatever its numbers are, unless what the functions
    close over has changed.

    Args:
        network: the reactions; or a `System`, which has its `k`: ``solve_ensemble(system, y0,
            ts)``; or a function from one of `cells` to a `System`: ``solve_ensemble(make, y0, ts,
            cells={...})``.
        k: one of

            - rate coefficients [R], or one row a cell [N, R];
            - a function of time, or of time and state, that holds for all cells;
            - conditions as `network.rates` takes them, by name: a number, one value a cell [N]
              or a function of time each; `photolysis` and `quantities` are dictionaries of such;
            - with `cells`, a function from one cell to what it has as `k`, such as
              ``lambda cell: network.rates(temperature=cell["temperature"], ...)``.
        y0: initial states [N, S], of a system with all its states; may be a memory map.
        ts: output times [T], for all cells.
        cells: name -> what each cell has, [N, ...]; the function of a cell is called with the
            same names, and the values of one cell.
        t0: time of the initial states.
        integrator: method and tolerances; the defaults if it is not given.
        chunk: most cells at a time, which bounds the memory that is needed; by default 4096, or
            as many (at least 16) as have 256 MiB of outputs.
        retries: integrators for the cells that fail; `None` takes those of `integrator`, and
            `ladder(integrator)` if it has none.
        store: a folder for the results (see `jaxchem.Store`), which then are not kept in memory.
            A run that was killed goes on where it was. Functions are told apart by what they
            compute; one that calls back Python is another one in every process.
        executor: whose workers integrate the chunks, and write them where there is a store, a
            folder that all of them see: anything with `submit` as `concurrent.futures` has it,
            such as Dask's ``client.get_executor()``, an ``mpi4py.futures.MPIPoolExecutor`` or a
            process pool that spawns. Each worker takes all cores but for its affinity or what
            `JAXCHEM_THREADS` leaves it.
        share: (rank, count): this process is one of so many, each of which calls the same with
            its own rank, from 0, and takes every count-th chunk into the common store; nothing
            else is said between them. By default the process of `jax.distributed`, or alone.
        progress: show a bar.
        **settings: fields of `Integrator`.

    Raises:
        jaxchem.workers.Lost: a worker died, and its executor starts no other.
        ValueError: arrays of the wrong shape, conditions or `cells` of another number, a negative
            (beyond a dip, see `jaxchem.solve`), NaN or infinite concentration, bad output times,
            a store of another ensemble, or one that another process writes to.

    Example:
        >>> found = solve_ensemble(
        ...     network,
        ...     lambda cell: network.rates(
        ...         temperature=cell["temperature"],
        ...         solar_zenith_angle=Sun(cell["latitude"], 0.0, day),
        ...     ),
        ...     y0,
        ...     ts,
        ...     cells={"temperature": temperatures, "latitude": latitudes},
        ... )
    """
    integrator = Integrator() if integrator is None else integrator
    integrator = integrator.replace(**settings)
    if retries is None:
        retries = integrator.retries or ladder(integrator)
    retries = tuple(retries)
    integrator = integrator.replace(retries=())
    k, y0, ts = _arguments(network, k, y0, ts)
    y0 = y0 if hasattr(y0, "shape") else np.asarray(y0, dtype=float)
    count = len(y0) if np.ndim(y0) else 0
    recipe, own = _recipe(network, k, cells, count)
    try:
        template = eqx.filter_eval_shape(recipe, _abstract(own))
    except KeyError as error:
        if cells is None or error.args[0] in own:
            raise
        raise ValueError(
            f"the function of a cell asks for {error}, but cells have {', '.join(own)}."
        ) from error
    size = len(template.states)
    if np.ndim(y0) != 2 or np.shape(y0)[1] != size:
        raise ValueError(
            f"y0 has shape {np.shape(y0)}, but cells of network {template.network.name!r} want "
            f"(cells, {size})."
        )
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk}: a chunk has at least one cell.")
    check_tolerances(integrator, size)
    for first in range(0, count, _MOST_CELLS):  # the cells may be more than fit into memory
        part = np.asarray(y0[first : first + _MOST_CELLS])
        check_concentrations(template, part, integrator.atol, first)
    check_times(ts, t0)
    ts = np.asarray(ts, dtype=float)
    if chunk is None:
        fit = _MOST_BYTES // (8 * len(ts) * size)
        chunk = min(max(fit, _LEAST_CELLS), _MOST_CELLS)
    job = _Job(recipe, own, y0, ts, t0, _fingerprint(recipe, own, size))
    chunks = -(-count // chunk)
    chunk = -(-count // max(chunks, 1))  # even ones, so that the last is hardly padded
    order = _order(job, template, integrator)
    target = None if store is None else Store(store)
    rank, peers = share_of(share)
    mark = ""
    if share is not None and target is None:
        raise ValueError("share=(rank, count) wants store=FOLDER, one that all shares write to.")
    alone = peers == 1  # then every cell is written below
    member = None if alone else rank
    with contextlib.nullcontext() if store is None else hold(store, member=member):
        if target is not None:
            mark = _mark(job, template.network, integrator, retries, chunk)
            target.begin(mark, chunks)
        mine = range(rank, chunks, peers)
        todo = [i for i in mine if target is None or not target.has(i)]
        shape = (count, len(ts), size)
        found = Ensemble(
            (np.empty(shape) if alone else np.full(shape, np.inf)) if target is None else None,
            np.full(count, _ELSEWHERE, dtype=np.int32),
            *(np.zeros(count, dtype=np.int32) for _ in range(2)),
        )
        done = count - sum(min(chunk, count - i * chunk) for i in todo)
        quiet = None if progress else True

        def keep(i: int, members: np.ndarray, result: tuple[np.ndarray, ...]) -> None:
            for whole_array, part in zip(found, result, strict=True):
                if whole_array is not None:
                    whole_array[members] = part
            bar.update(len(members))

        def put(i: int, members: np.ndarray, result: tuple[np.ndarray, ...]) -> None:
            keep(i, members, result)
            if target is not None:
                target.put(i, _label(template, job, members, result))

        def members_of(i: int) -> np.ndarray:
            return order[i * chunk : (i + 1) * chunk]

        with (
            tqdm(total=count, initial=done, desc="cells", unit="cell", disable=quiet) as bar,
            ThreadPoolExecutor(1) as writer,  # while the next chunk is integrated
        ):
            if executor is not None:
                folder = None if target is None else str(target.folder.resolve())
                how = integrator, retries, min(chunk, count), folder, mark
                common = _Common(recipe, ts, t0, job.fingerprint, *how)
                tasks = ((i, members_of(i), *job.cells(members_of(i))) for i in todo)
                for i, result in mapped(executor, _worked, common, tasks):
                    keep(i, members_of(i), result)
            kept: Future[None] | None = None
            here = todo if executor is None else []
            for i, result in _in_flight(job, integrator, order, chunk, here):
                members = members_of(i)
                result = _retry(job, retries, members, result)
                if kept is not None:
                    kept.result()
                kept = writer.submit(put, i, members, result)
            if kept is not None:
                kept.result()
        if target is not None:  # what an earlier run, or another host, has done
            for i in range(chunks):
                if i not in todo and target.has(i):
                    earlier = target.get(i)
                    where = earlier["cell"].values
                    for name in _NUMBERS:
                        getattr(found, name)[where] = earlier[name].values
    return found


def generate_ensemble(
    network: Network,
    y0: Float[np.ndarray, "N S"],
    conditions: Mapping[str, Any],
    ts: Float[np.ndarray, " T"],
    *,
    t0: float = 0.0,
    store: str | Path | None = None,
    share: tuple[int, int] | None = None,
    progress: bool = True,
    **settings: Any,
) -> tuple[Any, Int[np.ndarray, " F"]]:
    """Trajectories of many cells under conditions of their own, to train emulators on.

    Args:
        network: the reactions.
        y0: initial states.
        conditions: name -> one value a cell; `photolysis` and `quantities` are numbers by name.
        ts: output times.
        t0: time of the initial states.
        store: a folder that keeps what is done; a run that was killed goes on from there.
        share: as of `solve_ensemble`. The dataset has the cells that are in the store by then;
            once all shares are, the same call without one has all.
        progress: show a bar.
        **settings: of `solve_ensemble`.

    Returns:
        A dataset of the cells that were solved, with `given(case, condition)` of the conditions
        that vary, and the numbers of those that could not be.
    """
    how = {"store": store, "share": share, "progress": progress}
    found = solve_ensemble(network, conditions, y0, ts, t0=t0, **how, **settings)
    ys, result = found.ys, found.result
    if ys is None:
        assert store is not None
        ys, chunks = np.empty((len(y0), len(ts), len(network.species))), Store(store)
        for i in filter(chunks.has, range(len(chunks))):
            chunk = chunks.get(i)
            cells = chunk["cell"].values
            ys[cells], result[cells] = chunk["concentration"].values, chunk["result"].values
    good = result == 0
    if not np.all(good):  # all of them may fill most of the memory
        ys, y0 = ys[good], y0[good]
    given, made = cases_of(conditions, good), "jaxchem.solve_ensemble"
    dataset = label_cells(network, ts, ys, y0, given, t0=t0, provenance=made)
    dataset.attrs["laws"] = laws(network)
    return dataset, np.flatnonzero(~good & (result != _ELSEWHERE))


def emulate_ensemble(
    model: Any,
    network: Network,
    y0: Float[np.ndarray, "N S"],
    conditions: Mapping[str, Any],
    ts: Float[np.ndarray, " T"],
    *,
    limit: float,
    t0: float = 0.0,
    block: int = 1024,
    strict: bool = False,
    progress: bool = True,
    **settings: Any,
) -> tuple[Float[np.ndarray, "N T S"], Bool[np.ndarray, " N"]]:
    """Asks an emulator for many cells, and solves those that it is not sure of.

    Args:
        model: knows its own spread, as a `jaxchem.models.Committee` does.
        network: what reacts; its species and the states of the model are met by name.
        y0: initial states.
        conditions: name -> one value a cell, or one number for all cells; those that the model
            takes are met by name, others that the network needs are the solver's alone.
        ts: output times.
        limit: a cell is solved where the spread of any species at any time exceeds this, in dex.
            A quantile of `model.spread` over such cells sends a known share of them.
        t0: time of the initial states.
        block: most cells that the model is asked for at a time.
        strict: refuse cells outside of the training range of the model, instead of a warning.
        progress: show the solver's bar.
        **settings: of `solve_ensemble`, such as `executor`, but for a store or a share.

    Returns:
        Concentrations, and which cells were solved; one that could not be has infinite ones.

    Raises:
        ValueError: a model that does not know its spread, a state or condition that it takes and
            that is not given, or inputs outside of its training range with `strict`.
    """
    if refused := {"store", "share"} & set(settings):
        raise ValueError(f"emulate_ensemble keeps all in memory, and takes no {min(refused)}.")
    taken = model.about.conditions
    told = {name: conditions[name] for name in conditions if name in taken}
    model = model.in_order(network.species, tuple(told))
    count = len(y0)
    given = np.zeros((count, len(told)))
    for n, value in enumerate(told.values()):
        given[:, n] = value
    model.check_range(y0, given, strict=strict)
    one = jnp.zeros(y0.shape[1]), jnp.zeros(len(told)), jnp.asarray(ts, float)
    if jax.eval_shape(model.spread, *one) is None:
        raise ValueError(
            f"a {type(model).__name__} does not know how sure it is; train a committee "
            "(stages=committee)."
        )

    def ask(y0: Any, given: Any, ts: Any) -> Any:
        return model(y0, given, ts), model.spread(y0, given, ts)

    run = jax.jit(jax.vmap(ask, in_axes=(0, 0, None)))
    blocks = [slice(i, i + block) for i in range(0, count, block)]
    elapsed = jnp.asarray(ts) - t0
    parts = [run(jnp.asarray(y0[b]), jnp.asarray(given[b]), elapsed) for b in blocks]
    ys, spread = (np.concatenate([np.asarray(p[n]) for p in parts]) for n in (0, 1))
    doubtful = ~(np.max(spread, axis=(1, 2)) <= limit)  # not a number is doubtful too
    if doubtful.any():
        cells = np.flatnonzero(doubtful)
        own = cases_of(conditions, cells)
        found = solve_ensemble(network, own, y0[cells], ts, t0=t0, progress=progress, **settings)
        ys[cells] = found.ys
    return ys, doubtful


def cases_of(conditions: Mapping[str, Any], which: Any) -> dict[str, Any]:
    """Conditions of some cells; what is not one value a cell is the same for all of them."""

    def chosen(value: Any) -> Any:
        if isinstance(value, Mapping):
            return cases_of(value, which)
        return np.asarray(value)[which] if np.ndim(value) else value

    return {name: chosen(value) for name, value in conditions.items()}


class _Recipe(eqx.Module):
    """Makes the system of a cell from what the cell has.

    Attributes:
        source: a network, a system, or a function from a cell to one.
        k: what is the same in all cells.
        kind: what `k` is: ``"k"``, ``"row"`` (each cell has its own), ``"conditions"``,
            ``"function"`` of a cell or ``"none"``.
    """

    source: Any
    k: Any
    kind: str = eqx.field(static=True)

    def __call__(self, cell: dict[str, Any]) -> System:
        if isinstance(self.source, System):
            return self.source
        if not isinstance(self.source, Network):
            made = self.source(cell)
            if not isinstance(made, System):
                raise ValueError(
                    f"the function of a cell gives a {type(made).__name__}; return a "
                    "jaxchem.System, or pass the network and a function that returns its k."
                )
            return made
        if self.kind == "row":
            return System(self.source, cell["k"])
        if self.kind == "conditions":
            return System(self.source, self.source.rates(**_merge(self.k, cell)))
        return System(self.source, self.k(cell) if self.kind == "function" else self.k)


class _Job(NamedTuple):
    """What is to be integrated; `own` is what the cells have, [N, ...] each.

    `fingerprint` tells what the functions of the recipe compute.
    """

    recipe: _Recipe
    own: dict[str, Any]
    y0: Any
    ts: Float[np.ndarray, " T"]
    t0: Any
    fingerprint: str

    def cells(self, members: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """What these cells have, and their initial states."""
        return jax.tree.map(lambda v: np.asarray(v[members]), self.own), np.asarray(
            self.y0[members]
        )


class _Common(NamedTuple):
    """What all workers are told; `folder` is that of the store, if there is one."""

    recipe: _Recipe
    ts: Float[np.ndarray, " T"]
    t0: Any
    fingerprint: str
    integrator: Integrator
    retries: tuple[Integrator, ...]
    width: int
    folder: str | None
    mark: str


def _worked(
    common: _Common, i: int, members: np.ndarray, own: dict[str, Any], y0: np.ndarray
) -> tuple[int, tuple[np.ndarray | None, ...]]:
    """A chunk in a worker: into the store but for its numbers, or back as it is.

    A chunk may be worked on twice, where its worker was thought to be lost: what is there stays.
    """
    target = None if common.folder is None else Store(common.folder)
    if target is not None:
        target.check(common.mark)
    if target is not None and target.has(i):
        kept = target.get(i)
        return i, (None, *(kept[name].values for name in _NUMBERS))
    job = _Job(common.recipe, own, y0, common.ts, common.t0, common.fingerprint)
    here = np.arange(len(y0))
    padded = np.pad(here, (0, common.width - len(here)), mode="edge")
    parts = _solve(job, common.integrator, padded)
    result = tuple(np.asarray(part)[: len(here)] for part in parts)
    result = _retry(job, common.retries, here, result)
    if target is None:
        return i, result
    target.check(common.mark)  # the call that wanted this may have ended, and another begun
    template = eqx.filter_eval_shape(common.recipe, _abstract(own))
    target.put(i, _label(template, job, here, result).assign(cell=("case", members)))
    return i, (None, *result[1:])


def _arguments(network: Any, k: Any, y0: Any, ts: Any) -> list[Any]:
    given = [v for v in (k, y0, ts) if v is not MISSING]
    wanted = 3 if isinstance(network, Network) else 2
    if len(given) != wanted:
        names = "network, k, y0, ts" if wanted == 3 else "system, y0, ts"
        raise TypeError(f"call solve_ensemble({names}); {len(given)} arguments follow the first.")
    return given if wanted == 3 else [None, *given]


def _recipe(
    network: Any, k: Any, cells: Mapping[str, Any] | None, count: int
) -> tuple[_Recipe, dict[str, Any]]:
    """How to make the system of a cell, and what each of the `count` cells has."""
    own = {name: v if hasattr(v, "shape") else np.asarray(v) for name, v in (cells or {}).items()}
    for name, values in own.items():
        _check_length(f"cells[{name!r}]", values, count)
    takes_cell = cells is not None and callable(k if isinstance(network, Network) else network)
    if cells is not None and (isinstance(network, System) or not takes_cell):
        raise ValueError(
            "cells=... is for a function of a cell: give k as a function cell -> k, or a function "
            "cell -> jaxchem.System in place of the network."
        )
    if not isinstance(network, Network):
        if not isinstance(network, System) and cells is None:
            raise ValueError(
                "a function that makes the system of a cell wants cells={name: values [N, ...]}."
            )
        return _Recipe(network, None, "none"), own
    if takes_cell:
        return _Recipe(network, k, "function"), own
    if isinstance(k, Mapping):
        shared, each = _split(k, "", count)
        return _Recipe(network, shared, "conditions"), each
    if callable(k):
        return _Recipe(network, k, "k"), {}
    reactions = len(network.equations)
    if np.shape(k) not in ((reactions,), (count, reactions)):
        raise ValueError(
            f"k has shape {np.shape(k)}; {count} cells of network {network.name!r} want "
            f"({reactions},) or ({count}, {reactions})."
        )
    if np.ndim(k) == 2:
        for first in range(0, count, _MOST_CELLS):  # the cells may be more than fit into memory
            check_coefficients(network, k[first : first + _MOST_CELLS], first)
        return _Recipe(network, None, "row"), {"k": k if hasattr(k, "shape") else np.asarray(k)}
    check_coefficients(network, k)
    return _Recipe(network, jnp.asarray(k), "k"), {}


def _check_length(name: str, values: Any, count: int) -> None:
    if not np.ndim(values) or len(values) != count:
        number = f"{len(values)} values" if np.ndim(values) else "one value"
        raise ValueError(f"{name} has {number}, but there are {count} cells; give one a cell.")


def _split(
    conditions: Mapping[str, Any], where: str, count: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Conditions that all cells share, and those of which each has its own."""
    shared: dict[str, Any] = {}
    each: dict[str, Any] = {}
    for name, value in conditions.items():
        if isinstance(value, Mapping):
            shared[name], each[name] = _split(value, f"{name}: ", count)
        elif callable(value) or value is None or not np.ndim(value):
            shared[name] = value
        else:
            _check_length(f"condition {where}{name!r}", value, count)
            each[name] = value if hasattr(value, "shape") else np.asarray(value)
            if np.ndim(each[name]) != 1:
                raise ValueError(
                    f"condition {where}{name!r} has shape {np.shape(value)}; give a number, one "
                    "value a cell or a function of time."
                )
    return shared, each


def _merge(shared: Mapping[str, Any], each: Mapping[str, Any]) -> dict[str, Any]:
    nested = {n: _merge(shared.get(n, {}), each.get(n, {})) for n in NAMED if n in shared}
    return {**shared, **each, **nested}


def _abstract(own: dict[str, Any]) -> dict[str, Any]:
    """What one cell has, as shapes."""
    return jax.tree.map(
        lambda v: jax.ShapeDtypeStruct(v.shape[1:], jax.dtypes.canonicalize_dtype(v.dtype)), own
    )


@eqx.filter_jit
def _fastest(
    recipe: _Recipe, fingerprint: str, own: dict[str, Any], y0: Any, t0: Any
) -> Float[Array, " N"]:
    del fingerprint  # as below
    return jax.vmap(lambda cell, y: jnp.max(-jnp.diagonal(recipe(cell).jacobian(t0, y))))(own, y0)


def _order(job: _Job, template: System, integrator: Integrator) -> Int[np.ndarray, " N"]:
    """Cells by their fastest loss at the start, where lock step makes neighbours wait."""
    count = len(job.y0)
    if count == 0 or marches(integrator):
        return np.arange(count)
    width = min(4096, count)
    losses = []
    for first in range(0, count, width):
        members = np.minimum(np.arange(first, first + width), count - 1)
        own, y0 = job.cells(members)
        t0 = jnp.asarray(job.t0, float)
        losses.append(np.asarray(_fastest(job.recipe, job.fingerprint, own, y0, t0)))
    return np.argsort(np.concatenate(losses)[:count], kind="stable")


@eqx.filter_jit
def _run(
    recipe: _Recipe,
    fingerprint: str,
    integrator: Integrator,
    own: dict[str, Any],
    y0: Any,
    ts: Any,
    t0: Any,
) -> tuple[Array, Array, Array]:
    """States, results and steps of some cells. Kept between calls, as all numbers are arguments.

    A function is known by its identity, and by the fingerprint where it closes over something else
    than when it was compiled.
    """
    del fingerprint

    def one(cell: dict[str, Any], y0: Any) -> Any:
        system = jax.tree.map(_renewed, recipe(cell))
        solution = solve(system, y0, ts, t0=t0, integrator=integrator, throw=False)
        result = jnp.full((), len(RESULTS), jnp.int32)
        for code, item in enumerate(RESULTS):
            result = jnp.where(solution.result == item, code, result)
        return solution.ys, result, solution.stats["num_steps"]

    return jax.vmap(one)(own, y0)


def _renewed(leaf: Any) -> Any:
    """A function as another object: JAX and diffrax keep what they traced of the one they know."""
    return (lambda *given: leaf(*given)) if callable(leaf) else leaf


def _solve(job: _Job, integrator: Integrator, members: np.ndarray, device: Any = None) -> Any:
    """Sets out to integrate these cells."""
    numbers = {n: getattr(integrator, n) for n in ("rtol", "atol", "dt0")}
    integrator = integrator.replace(
        retries=(), **{n: v if v is None else jnp.asarray(v, float) for n, v in numbers.items()}
    )
    arguments: Any = (
        job.recipe,
        job.fingerprint,
        integrator,
        *job.cells(members),
        job.ts,
        jnp.asarray(job.t0, float),
    )
    if device is not None:
        arguments = jax.tree.map(
            lambda x: jax.device_put(x, device) if eqx.is_array_like(x) else x, arguments
        )
    return _run(*arguments)


def _in_flight(
    job: _Job, integrator: Integrator, order: np.ndarray, chunk: int, todo: list[int]
) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """The chunks one after the other, with as many under way as there are devices, and one more.

    The last chunk is padded with its last cell, so that nothing is compiled again. A call of the
    compiled kernel returns when it is done, and its chunk is given at once.
    """
    devices = jax.local_devices()
    pending: deque[Any] = deque()
    width = min(chunk, len(job.y0))

    def collect() -> tuple[int, tuple[np.ndarray, ...]]:
        i, members, result = pending.popleft()
        return i, tuple(np.asarray(part)[: len(members)] for part in result)

    for turn, i in enumerate(todo):
        members = order[i * chunk : (i + 1) * chunk]
        padded = np.pad(members, (0, width - len(members)), mode="edge")
        device = devices[turn % len(devices)] if len(devices) > 1 else None
        pending.append((i, members, _solve(job, integrator, padded, device)))
        while pending and (len(pending) > len(devices) or _ready(pending[0][2])):
            yield collect()
    while pending:
        yield collect()


def _ready(result: tuple[Any, ...]) -> bool:
    return all(part.is_ready() for part in result)


def _retry(
    job: _Job,
    retries: Sequence[Integrator],
    members: np.ndarray,
    result: tuple[np.ndarray, ...],
) -> tuple[np.ndarray, ...]:
    """The results of a chunk after retries of its failed cells, and how many each took.

    Failed cells are padded to a power of two, so that few sizes are ever compiled.
    """
    ys, codes, steps = result
    retried = np.zeros_like(codes)
    for rung, integrator in enumerate(retries, start=1):
        failed = np.flatnonzero(codes)
        finite = np.ones(len(failed), dtype=bool)
        for part in jax.tree.leaves(job.cells(members[failed])):
            if np.issubdtype(part.dtype, np.inexact):
                finite &= np.isfinite(part).all(axis=tuple(range(1, part.ndim)))
        failed = failed[finite]
        if not len(failed):
            break
        width = min(1 << (len(failed) - 1).bit_length(), len(members))
        padded = np.pad(failed, (0, width - len(failed)), mode="edge")
        parts = _solve(job, integrator, members[padded])
        ys, codes, steps = (
            old if old.flags.writeable else old.copy() for old in (ys, codes, steps)
        )
        for old, new in zip((ys, codes, steps), parts, strict=True):
            old[failed] = np.asarray(new)[: len(failed)]
        retried[failed] = rung
    return ys, codes, steps, retried


def _label(system: System, job: _Job, members: np.ndarray, result: tuple[np.ndarray, ...]) -> Any:
    ys, *numbers = result
    dataset = to_dataset(
        system,
        (job.ts, ys),
        y0=np.asarray(job.y0[members]),
        t0=float(job.t0),
        provenance="jaxchem.solve_ensemble",
    )
    dataset["cell"] = ("case", members)
    for name, values in zip(_NUMBERS, numbers, strict=True):
        dataset[name] = ("case", values)
    dataset["result"].attrs["flag_meanings"] = " ".join(f.replace(" ", "_") for f in FAILURES)
    return dataset


def _mark(
    job: _Job, network: Network, integrator: Integrator, retries: tuple[Integrator, ...], chunk: int
) -> str:
    """Tells this ensemble from every other one: by its numbers, and by what its functions do."""
    digest = hashlib.sha256(repr((network.name, network.species, network.equations)).encode())
    digest.update(network.structure.digest)  # of the same equations, with other species held
    digest.update(job.fingerprint.encode())
    held = eqx.filter(job.recipe, eqx.is_array)
    parts = (job.own, job.y0, job.ts, job.t0, integrator, retries, chunk, held)
    for path, leaf in jax.tree_util.tree_leaves_with_path(parts):
        add(digest, path, leaf)
    digest.update(repr((integrator, retries)).encode())
    return digest.hexdigest()[:32]


def _fingerprint(recipe: _Recipe, own: dict[str, Any], size: int) -> str:
    """What the functions of a recipe compute, from all that they close over.

    Not from the recipe's own arrays, such as coefficients, which are arguments of what is compiled.
    """
    arrays, rest = eqx.partition(recipe, eqx.is_array)

    def program(arrays: Any, cell: dict[str, Any], t: Any, y: Any) -> Any:
        system = eqx.combine(arrays, rest)(cell)
        given = system.tendency
        return system.rates(t, y), None if given is None else given(t, y)

    dtype = jnp.result_type(float)
    inputs = (jax.ShapeDtypeStruct((), dtype), jax.ShapeDtypeStruct((size,), dtype))
    traced, shape = jax.make_jaxpr(program, return_shape=True)(arrays, _abstract(own), *inputs)
    return fingerprint(traced, repr(shape))
