"""Many cells of one network: chunks, retries, all devices and hosts, results streamed to disk."""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from tqdm import tqdm

from .dataset import to_dataset
from .dataset.store import Store
from .kinetics import jacobian
from .network import Network
from .solvers import Integrator, ladder, solve
from .solvers.cell import check_concentrations, compilable
from .solvers.integrator import check_times
from .solvers.native import RESULTS

__all__ = ["Ensemble", "emulate_ensemble", "generate_ensemble", "solve_ensemble"]

FAILURES = ("solved", "too many steps", "step too small", "not finite", "failed")
"""What the numbers of `Ensemble.result` mean."""


class Ensemble(NamedTuple):
    """What became of N cells.

    Attributes:
        ys: [N, T, S] concentrations, infinite after a failure; `None` where a store has them.
        result: [N] index into `FAILURES`.
        steps: [N] attempted steps.
        retried: [N] how many rungs of the ladder a cell took.
    """

    ys: Float[np.ndarray, "N T S"] | None
    result: Int[np.ndarray, " N"]
    steps: Int[np.ndarray, " N"]
    retried: Int[np.ndarray, " N"]


def solve_ensemble(
    network: Network,
    k: Any,
    y0: Float[np.ndarray, "N S"],
    ts: Float[np.ndarray, " T"],
    *,
    t0: Any = 0.0,
    integrator: Integrator | None = None,
    chunk: int = 4096,
    retries: Sequence[Integrator] | None = None,
    store: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> Ensemble:
    """Integrates any number of cells, chunk by chunk, on all devices of all hosts.

    Each device works on a chunk of its own; with `jax.distributed`, each process takes its share
    of the chunks, and a common `store` collects them. Cells of a chunk are alike in stiffness
    where the device advances them in lock step. Cells that fail are tried again with `retries`
    and then reported; the others are not touched. The result of a cell does not depend on the
    chunk that it is in.

    Args:
        network: the reactions.
        k: rate coefficients [R], or one row a cell [N, R].
        y0: initial states; may be a memory map.
        ts: output times, for all cells.
        t0: time of the initial states.
        integrator: method and tolerances; the defaults if it is not given.
        chunk: most cells at a time, which bounds the memory that is needed.
        retries: integrators for the cells that fail; `None` takes those of `integrator`, and
            `ladder(integrator)` if it has none.
        store: a folder for the results (see `jaxchem.Store`), which then are not kept in memory.
            A run that was killed goes on where it was.
        progress: show a bar.
        **settings: fields of `Integrator`.

    Raises:
        ValueError: arrays of the wrong shape, a negative, NaN or infinite concentration, bad output
            times, a store of another ensemble.
    """
    integrator = Integrator() if integrator is None else integrator
    integrator = integrator.replace(**settings)
    if retries is None:
        retries = integrator.retries or ladder(integrator)
    retries = tuple(retries)
    integrator = integrator.replace(retries=())
    size, count = network.stoichiometry.shape
    if np.ndim(y0) != 2 or np.shape(y0)[1] != size:
        raise ValueError(
            f"y0 has shape {np.shape(y0)}, but cells of network {network.name!r} want "
            f"(cells, {size})."
        )
    y0 = y0 if hasattr(y0, "shape") else np.asarray(y0, dtype=float)
    cells = len(y0)
    if np.shape(k) not in ((count,), (cells, count)):
        raise ValueError(
            f"k has shape {np.shape(k)}; {cells} cells of network {network.name!r} want "
            f"({count},) or ({cells}, {count})."
        )
    if chunk < 1:
        raise ValueError(f"chunk={chunk}: a chunk has at least one cell.")
    for first in range(0, cells, chunk):  # the cells may be more than fit into memory
        check_concentrations(network, np.asarray(y0[first : first + chunk]), first)
    check_times(ts, t0)
    ts = np.asarray(ts, dtype=float)
    chunks = -(-cells // chunk)
    chunk = -(-cells // max(chunks, 1))  # even ones, so that the last is hardly padded
    order = _order(network, k, y0, integrator)
    target = None if store is None else Store(store)
    if target is not None:
        target.begin(_mark(network, k, y0, ts, t0, integrator, retries, chunk), chunks)
    mine = range(jax.process_index(), chunks, jax.process_count())
    todo = [i for i in mine if target is None or not target.has(i)]
    shape = (cells, len(ts), size)
    alone = jax.process_count() == 1  # then every cell is written below
    found = Ensemble(
        (np.empty(shape) if alone else np.full(shape, np.inf)) if target is None else None,
        *(np.zeros(cells, dtype=np.int32) for _ in range(3)),
    )
    done = cells - sum(min(chunk, cells - i * chunk) for i in todo)
    quiet = None if progress else True
    with tqdm(total=cells, initial=done, desc="cells", unit="cell", disable=quiet) as bar:
        for i, result in _in_flight(network, k, y0, ts, t0, integrator, order, chunk, todo):
            members = order[i * chunk : (i + 1) * chunk]
            result = _retry(network, k, y0, ts, t0, retries, members, result)
            for whole_array, part in zip(found, result, strict=True):
                if whole_array is not None:
                    whole_array[members] = part
            if target is not None:
                target.put(i, _label(network, ts, t0, y0, members, result))
            bar.update(len(members))
    if target is not None:  # what an earlier run, or another host, has done
        for i in range(chunks):
            if i not in todo and target.has(i):
                kept = target.get(i)
                where = kept["cell"].values
                for name in ("result", "steps", "retried"):
                    getattr(found, name)[where] = kept[name].values
    return found


def generate_ensemble(
    network: Network,
    y0: Float[np.ndarray, "N S"],
    conditions: Mapping[str, Float[np.ndarray, " N"]],
    ts: Float[np.ndarray, " T"],
    *,
    t0: float = 0.0,
    store: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> tuple[Any, Int[np.ndarray, " F"]]:
    """Trajectories of many cells under conditions of their own, to train emulators on.

    Args:
        network: the reactions.
        y0: initial states.
        conditions: name -> one value a cell.
        ts: output times.
        t0: time of the initial states.
        store: a folder that keeps what is done; a run that was killed goes on from there.
        progress: show a bar.
        **settings: of `solve_ensemble`.

    Returns:
        A dataset of the cells that were solved, with `given(case, condition)` of the conditions
        that vary, and the numbers of those that were not.
    """
    k = _rates(network, conditions)
    found = solve_ensemble(network, k, y0, ts, t0=t0, store=store, progress=progress, **settings)
    good = found.result == 0
    ys = found.ys
    if ys is None:
        assert store is not None
        ys = np.empty((len(y0), len(ts), len(network.species)))
        for chunk in Store(store):
            ys[chunk["cell"].values] = chunk["concentration"].values
    dataset = to_dataset(
        network,
        (ts, ys[good]),
        y0=y0[good],
        t0=t0,
        conditions={name: v[0] for name, v in conditions.items() if np.ptp(v) == 0},
        provenance="jaxchem.solve_ensemble",
    )
    varied = {name: np.asarray(v)[good] for name, v in conditions.items() if np.ptp(v) > 0}
    if varied:
        dataset["given"] = (("case", "condition"), np.stack(list(varied.values()), axis=1))
        dataset = dataset.assign_coords(condition=np.asarray(list(varied), dtype=object))
    return dataset, np.flatnonzero(~good)


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
    progress: bool = True,
    **settings: Any,
) -> tuple[Float[np.ndarray, "N T S"], Bool[np.ndarray, " N"]]:
    """Asks an emulator for many cells, and solves those that it is not sure of.

    Args:
        model: knows its own spread, as a `jaxchem.models.Committee` does.
        network: what reacts.
        y0: initial states.
        conditions: name -> one value a cell for what the model is told, in its order; name -> one
            number for what is the same in all cells.
        ts: output times.
        limit: a cell is solved where the spread of any species at any time exceeds this, in dex.
            A quantile of `model.predict` over such cells sends a known share of them.
        t0: time of the initial states.
        block: most cells that the model is asked for at a time.
        progress: show the solver's bar.
        **settings: of `solve_ensemble`.

    Returns:
        Concentrations, and which cells were solved; one that could not be has infinite ones.

    Raises:
        ValueError: a model that does not know its spread.
    """
    sure = getattr(model, "model", model)  # of one that is wrapped
    if not hasattr(sure, "predict"):
        raise ValueError(
            f"a {type(sure).__name__} does not know how sure it is; train a committee "
            "(stages=committee)."
        )
    told = [np.asarray(v) for v in conditions.values() if np.ndim(v)]
    given = np.stack(told, axis=1) if told else np.zeros((len(y0), 0))
    ask = jax.jit(jax.vmap(model.predict, in_axes=(0, 0, None)))
    blocks = [slice(i, i + block) for i in range(0, len(y0), block)]
    parts = [ask(jnp.asarray(y0[b]), jnp.asarray(given[b]), jnp.asarray(ts)) for b in blocks]
    ys, spread = (np.concatenate([np.asarray(p[n]) for p in parts]) for n in (0, 1))
    doubtful = ~(np.max(spread, axis=(1, 2)) <= limit)  # not a number is doubtful too
    if doubtful.any():
        cells = np.flatnonzero(doubtful)
        k = _rates(network, {n: np.broadcast_to(v, len(y0))[cells] for n, v in conditions.items()})
        found = solve_ensemble(network, k, y0[cells], ts, t0=t0, progress=progress, **settings)
        ys[cells] = found.ys
    return ys, doubtful


def _rates(network: Network, conditions: Mapping[str, Any]) -> Float[np.ndarray, "N R"]:
    """Rate coefficients of cells under conditions of their own."""
    values = {name: jnp.asarray(v) for name, v in conditions.items()}
    return np.asarray(jax.jit(jax.vmap(lambda one: network.rates(**one)))(values))


def _order(network: Network, k: Any, y0: Any, integrator: Integrator) -> Int[np.ndarray, " N"]:
    """Cells by their fastest loss at the start, where lock step makes neighbours wait."""
    if len(y0) == 0 or compilable(network, k, jnp.asarray(y0[0]), integrator):
        return np.arange(len(y0))
    fastest = jax.jit(
        jax.vmap(
            lambda k, y: jnp.max(-jnp.diagonal(jacobian(network, k, y))),
            in_axes=(0 if np.ndim(k) == 2 else None, 0),
        )
    )
    blocks = [slice(i, i + 4096) for i in range(0, len(y0), 4096)]
    losses = [np.asarray(fastest(k[b] if np.ndim(k) == 2 else k, y0[b])) for b in blocks]
    return np.argsort(np.concatenate(losses), kind="stable")


def _runner(network: Network, ts: Any, t0: Any, integrator: Integrator, shared: bool) -> Any:
    def one(k: Any, y0: Any) -> Any:
        solution = solve(network, k, y0, ts, t0=t0, integrator=integrator, throw=False)
        result = jnp.full((), len(RESULTS), jnp.int32)
        for code, item in enumerate(RESULTS):
            result = jnp.where(solution.result == item, code, result)
        return solution.ys, result, solution.stats["num_steps"]

    return jax.jit(jax.vmap(one, in_axes=(None if shared else 0, 0)))


def _in_flight(
    network: Network,
    k: Any,
    y0: Any,
    ts: Any,
    t0: Any,
    integrator: Integrator,
    order: np.ndarray,
    chunk: int,
    todo: list[int],
) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """The chunks one after the other, with as many under way as there are devices, and one more.

    The last chunk is padded with its last cell, so that nothing is compiled again.
    """
    devices, shared = jax.local_devices(), np.ndim(k) == 1
    run = _runner(network, ts, t0, integrator, shared)
    pending: deque[Any] = deque()
    width = min(chunk, len(y0))

    def collect() -> tuple[int, tuple[np.ndarray, ...]]:
        i, members, result = pending.popleft()
        return i, tuple(np.asarray(part)[: len(members)] for part in result)

    for turn, i in enumerate(todo):
        members = order[i * chunk : (i + 1) * chunk]
        padded = np.pad(members, (0, width - len(members)), mode="edge")
        arguments = (k if shared else k[padded], y0[padded])
        device = devices[turn % len(devices)]
        pending.append((i, members, run(*jax.device_put(arguments, device))))
        if len(pending) > len(devices):
            yield collect()
    while pending:
        yield collect()


def _retry(
    network: Network,
    k: Any,
    y0: Any,
    ts: Any,
    t0: Any,
    retries: Sequence[Integrator],
    members: np.ndarray,
    result: tuple[np.ndarray, ...],
) -> tuple[np.ndarray, ...]:
    """The results of a chunk after retries of its failed cells, and how many each took."""
    ys, codes, steps = result
    retried = np.zeros_like(codes)
    for rung, integrator in enumerate(retries, start=1):
        failed = np.flatnonzero(codes)
        finite = np.isfinite(np.asarray(y0[members[failed]])).all(axis=1)
        if np.ndim(k) == 2:
            finite &= np.isfinite(np.asarray(k[members[failed]])).all(axis=1)
        failed = failed[finite]
        if not len(failed):
            break
        run = _runner(network, ts, t0, integrator, np.ndim(k) == 1)
        rates = k if np.ndim(k) == 1 else k[members[failed]]
        parts = run(jnp.asarray(rates), jnp.asarray(y0[members[failed]]))
        ys, codes, steps = (
            old if old.flags.writeable else old.copy() for old in (ys, codes, steps)
        )
        for old, new in zip((ys, codes, steps), parts, strict=True):
            old[failed] = np.asarray(new)
        retried[failed] = rung
    return ys, codes, steps, retried


def _label(
    network: Network,
    ts: Any,
    t0: Any,
    y0: Any,
    members: np.ndarray,
    result: tuple[np.ndarray, ...],
) -> Any:
    ys, *numbers = result
    dataset = to_dataset(
        network,
        (ts, ys),
        y0=np.asarray(y0[members]),
        t0=float(t0),
        provenance="jaxchem.solve_ensemble",
    )
    dataset["cell"] = ("case", members)
    for name, values in zip(("result", "steps", "retried"), numbers, strict=True):
        dataset[name] = ("case", values)
    dataset["result"].attrs["flag_meanings"] = " ".join(f.replace(" ", "_") for f in FAILURES)
    return dataset


def _mark(network: Network, *parts: Any) -> str:
    """Tells this ensemble from every other one."""
    digest = hashlib.sha256(repr((network.name, network.species, network.equations)).encode())
    digest.update(network.structure.digest)  # of the same equations, with other species held
    for leaf in jax.tree.leaves(parts):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(array.data)
    digest.update(repr([p for p in parts if isinstance(p, Integrator | tuple)]).encode())
    return digest.hexdigest()[:32]
