"""Trajectories of osu29 over workers, beside one of them: time, and whether bits differ.

    python benchmarks/workers.py                  # wants Dask: pip install distributed
    python benchmarks/workers.py --cells 2000

One core a worker. Every row writes the same store: one Dask worker, two, two of which one is killed
when a quarter of the chunks is done, two shares that know nothing of each other, and a pool of two
processes that is started for it. Times are of the call, behind one that has started and compiled
everything but for shares and the pool, which start within theirs.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["JAXCHEM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402

import jaxchem  # noqa: E402
from jaxchem.workers import pool  # noqa: E402

TIMES = np.geomspace(1.0, 1e6, 100)


def cells(count: int) -> tuple[Any, dict[str, Any], np.ndarray]:
    """The network, conditions and initial states of so many clouds."""
    network, rng = jaxchem.load("osu29"), np.random.default_rng(0)
    elements = {"H2": 0.5, "HE": 0.14, "C+": 7.3e-5, "O": 1.76e-4, "E": 7.3e-5}
    y0 = np.asarray(network.y0({n: v for n, v in elements.items() if n in network.species}))
    conditions = {
        "temperature": rng.uniform(10.0, 50.0, count),
        "density": 10 ** rng.uniform(3.0, 5.0, count),
        "cosmic_ray_rate": 1.3e-17,
        "visual_extinction": 10.0,
        "uv_field": 1.0,
    }
    return network, conditions, np.tile(y0, (count, 1))


def solved(count: int, store: Path, **how: Any) -> Any:
    """The same set of clouds by whoever is told."""
    network, conditions, y0 = cells(count)
    how = {"chunk": max(20, count // 40), "progress": False, **how}
    return jaxchem.solve_ensemble(network, conditions, y0, TIMES, store=store, **how)


class Killing:
    """An executor that kills a process when so many chunks are done."""

    def __init__(self, inner: Any, victim: int, after: int) -> None:
        self.inner, self.victim, self.left = inner, victim, after

    def submit(self, *given: Any) -> Any:
        """As the one that does the work."""
        future = self.inner.submit(*given)
        future.add_done_callback(self.done)
        return future

    def done(self, future: Any) -> None:
        """Counts down."""
        self.left -= 1
        if self.left == 0:
            os.kill(self.victim, signal.SIGKILL)


def alike(one: Path, other: Path) -> bool:
    """Whether no bit of two stores differs."""
    return all(
        a.identical(b) for a, b in zip(jaxchem.Store(one), jaxchem.Store(other), strict=True)
    )


def pinned(core: int) -> None:
    """Keeps a worker to a core of its own."""
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {mine[core % len(mine)]})


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--share", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.share:
        pinned(given.share[0])
        solved(given.cells, given.store, share=tuple(given.share))
        return
    from distributed import Client, LocalCluster

    with tempfile.TemporaryDirectory() as name:
        folder, first = Path(name), 0.0
        print("| by | s | / one worker | bits | failed |\n|---|---|---|---|---|")

        def row(what: str, store: Path, seconds: float) -> None:
            alone = store.name == "one"
            same = "" if alone else "alike" if alike(folder / "one", store) else "NOT ALIKE"
            bad = sum(int((part["result"] != 0).sum()) for part in jaxchem.Store(store))
            print(
                f"| {what} | {seconds:.1f} | {seconds / first:.2f} | {same} | {bad} |", flush=True
            )
            if store.name != "one":
                shutil.rmtree(store)

        for what, workers in (("one", 1), ("two", 2), ("two, one of them killed", 2)):
            local = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": 0}
            with (
                LocalCluster(dashboard_address=None, **local) as cluster,
                Client(cluster) as client,
            ):
                for core, worker in enumerate(client.scheduler_info()["workers"]):
                    client.run(pinned, core, workers=[worker])
                executor = client.get_executor()
                solved(80, folder / "warm", executor=executor, chunk=20)
                shutil.rmtree(folder / "warm")
                chunks = -(-given.cells // max(20, given.cells // 40))
                if "killed" in what:
                    victim = min(client.run(os.getpid).values())
                    executor = Killing(executor, victim, chunks // 4)
                begin = time.perf_counter()
                solved(given.cells, folder / what.replace(" ", "_"), executor=executor)
                seconds = time.perf_counter() - begin
                first = first or seconds
            row(f"Dask, {what}", folder / what.replace(" ", "_"), seconds)
        begin = time.perf_counter()
        ask = [sys.executable, __file__, "--cells", str(given.cells), "--store"]
        shares = [
            subprocess.Popen([*ask, str(folder / "shares"), "--share", str(rank), "2"])
            for rank in range(2)
        ]
        if any(share.wait() for share in shares):
            raise SystemExit("a share has failed.")
        row("two shares, with their start", folder / "shares", time.perf_counter() - begin)
        begin = time.perf_counter()
        with pool(2) as executor:
            solved(given.cells, folder / "pool", executor=executor)
        row("a pool of two, with its start", folder / "pool", time.perf_counter() - begin)


if __name__ == "__main__":
    main()
