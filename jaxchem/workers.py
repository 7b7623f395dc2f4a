"""Work that is shared out: to any executor of the standard library's kind, or to peers by number.

An executor is what has `submit(function, *arguments)` and gives futures with `add_done_callback`:
a process pool, Dask's ``client.get_executor()``, ``mpi4py.futures.MPIPoolExecutor``, threads.
"""

import functools
import json
import multiprocessing
import os
import pickle
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from .solvers.native import threads

__all__ = ["Lost", "check_setting", "mapped", "opened", "pool", "share_of"]

_IN_FLIGHT = 256
"""So many tasks at most are with an executor at once: what they are sent has to fit in memory. Of
a pool that tells how many workers it has, four of each."""


class Lost(RuntimeError):
    """A worker has ended before its work did, and the executor does not start another."""


def mapped(
    executor: Any, work: Callable[..., Any], shared: Any, tasks: Iterable[tuple[Any, ...]]
) -> Iterator[Any]:
    """`work(shared, *task)` of every task, in the order in which workers are done.

    What is shared is packed once, and unpacked once by each process. A process that is new has
    JAX's 32-bit floats, and is given this one's before it unpacks anything.

    Args:
        executor: where the work is done.
        work: a function of a module, which workers import.
        shared: what all tasks have in common.
        tasks: NumPy arrays and plain values each.

    Raises:
        ValueError: no executor, one that forks, or something shared that cannot be sent.
        Lost: a worker has died.
    """
    _check(executor)
    packed, x64 = _packed(shared), bool(jax.config.read("jax_enable_x64"))
    waiting, ready, pending = iter(tasks), queue.SimpleQueue(), set()

    def submit() -> None:
        for task in waiting:
            future = executor.submit(_done, x64, work, packed, task)
            pending.add(future)
            future.add_done_callback(ready.put)
            return

    try:
        workers = getattr(executor, "_max_workers", None)
        for _ in range(4 * workers if workers else _IN_FLIGHT):
            submit()
        while pending:
            future = ready.get()
            pending.discard(future)
            try:
                result = future.result()
            except Exception as error:
                lost = isinstance(error, BrokenExecutor | CancelledError | OSError)
                if not lost and type(error).__name__ != "KilledWorker":  # Dask's
                    raise
                raise Lost(
                    f"a worker was lost ({type(error).__name__}: {error}). Call again with a new "
                    "executor; what a store has by then is kept, and the rest is done."
                ) from error
            submit()
            yield result
    finally:
        for future in pending:
            future.cancel()


def _check(executor: Any) -> None:
    if not callable(getattr(executor, "submit", None)):
        raise ValueError(
            f"executor={executor!r} has no submit(function, ...): give one as "
            "concurrent.futures has it, such as Dask's client.get_executor()."
        )
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() != "spawn":
        raise ValueError(
            f"executor: its processes begin by {context.get_start_method()}, which stops for good "
            "once JAX has run; give "
            'ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")).'
        )


def _packed(shared: Any) -> bytes:
    try:
        return pickle.dumps(shared)
    except Exception as error:
        try:
            import cloudpickle  # type: ignore[import-not-found]

            return cloudpickle.dumps(shared)
        except Exception:
            raise ValueError(
                f"executor: a function cannot be sent to another process ({error}); define it at "
                "the top of a module that the workers can import, or install cloudpickle."
            ) from error


@functools.lru_cache(maxsize=4)
def _unpacked(packed: bytes) -> Any:
    return pickle.loads(packed)


def _done(x64: bool, work: Callable[..., Any], packed: bytes, task: tuple[Any, ...]) -> Any:
    """A task, in the worker."""
    with jax.enable_x64(x64):  # a new process has 32-bit floats
        return work(_unpacked(packed), *task)


def check_setting(given: Any) -> None:
    """Refuses what `opened` cannot open.

    Raises:
        ValueError: neither nothing, nor a number of processes, nor a text.
    """
    number = isinstance(given, int) and not isinstance(given, bool) and given > 0
    if not (given is None or number or (isinstance(given, str) and given)):
        raise ValueError(
            f"data.executor={given!r}: give a number of processes, or the address of a Dask "
            "scheduler (tcp://HOST:PORT) or its file; null works in this process."
        )


@contextmanager
def opened(given: int | str | None) -> Iterator[Any]:
    """The executor that a setting means, closed at the end.

    Args:
        given: nothing, a number of new processes on this machine, or the address of a Dask
            scheduler or the file that it writes (``dask scheduler --scheduler-file``).

    Raises:
        ValueError: `check_setting`; no Dask; a scheduler that does not answer.
    """
    check_setting(given)
    if given is None:
        yield None
    elif isinstance(given, int):
        with pool(given) as executor:
            yield executor
    else:
        try:
            from distributed import Client
        except ImportError as error:
            raise ValueError(
                f"data.executor={given}: a scheduler's address wants Dask: pip install distributed."
            ) from error
        try:
            address = given if "://" in given else json.loads(Path(given).read_text())["address"]
            client = Client(address, timeout=30)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"data.executor={given}: no Dask scheduler answers there ({error})."
            ) from error
        with client:
            yield client.get_executor()


def pool(workers: int) -> ProcessPoolExecutor:
    """New processes on this machine that share its processors.

    Args:
        workers: how many.
    """
    share = str(max(1, threads() // workers))
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, _begun, (share,))


def _begun(share: str) -> None:
    os.environ.setdefault("JAXCHEM_THREADS", share)


def share_of(share: tuple[int, int] | None) -> tuple[int, int]:
    """Which of how many this process is: as it is told, or as `jax.distributed` has it.

    Raises:
        ValueError: no two whole numbers of which the first is below the second.
    """
    if share is None:
        return jax.process_index(), jax.process_count()
    try:
        rank, count = share
        if any(isinstance(v, bool) or int(v) != v for v in share) or not 0 <= rank < count:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            f"share={share!r}: give (rank, count), two whole numbers with 0 <= rank < count."
        ) from None
    return int(rank), int(count)
