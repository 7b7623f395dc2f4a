"""Cells a second of `solve_ensemble` beside the rate of a small batch, on all cores.

    python benchmarks/ensemble.py [CELLS] [STORE]
    python benchmarks/ensemble.py --problem saprc99 [CELLS] [STORE]

osu29: 100 outputs, Rodas4 at rtol 1e-3; 100 000 cells by default. saprc99: a day under a sun that
sets, 96 outputs, Rodas4 at rtol 1e-4; 10 000 cells by default, each with a temperature, an hour at
which it starts, and an initial state of its own. Its mechanism is not shipped. With STORE the
results go to that folder, and a run that is killed and started again goes on.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from problems import SEED, Problem, osu29, saprc99_sunlit

import jaxchem

jax.config.update("jax_enable_x64", True)
SMALL = 512
"""Cells of the small batch."""


class Ensemble(NamedTuple):
    """Cells to solve.

    Attributes:
        problem: the network, initial states and times.
        k: coefficients, or a function that gives those of a cell.
        cells: what that function is given: name -> [N] values.
        how: settings of the integrator.
    """

    problem: Problem
    k: Any
    cells: dict[str, np.ndarray]
    how: dict[str, Any]


def dark_clouds(count: int) -> Ensemble:
    """osu29 at the coefficients of 50 K."""
    problem = osu29(min(count, 500))
    y0 = np.resize(problem.y0, (count, problem.y0.shape[1]))
    how = {"method": "rodas4", "rtol": 1e-3, "atol": 1e-18}
    return Ensemble(problem._replace(y0=y0), problem.k, {}, how)


def sunlit_boxes(count: int) -> Ensemble | None:
    """saprc99 with cells that differ in temperature, hour of the start and initial state."""
    problem = saprc99_sunlit(count)
    if problem is None:
        return None
    random, network = np.random.default_rng(SEED), problem.network
    cells = {
        "temperature": random.uniform(280.0, 310.0, count),
        "start": random.uniform(0.0, 86400.0, count),
    }

    def k(cell: dict[str, Any]) -> Any:
        return network.rates(
            temperature=cell["temperature"], local_time=lambda t: cell["start"] + t
        )

    problem = problem._replace(ts=problem.ts - problem.t0, t0=0.0)
    return Ensemble(problem, k, cells, {"method": "rodas4", "rtol": 1e-4, "atol": 1e-3})


def batch(ensemble: Ensemble) -> Callable[[], Any]:
    """Solves the first cells, as a user does who has few."""
    problem, k = ensemble.problem, ensemble.k

    @jax.jit
    @jax.vmap
    def run(y0: Any, cell: dict[str, Any]) -> Any:
        rates = k(cell) if callable(k) else k
        how = {"t0": problem.t0, "throw": False, **ensemble.how}
        return jaxchem.solve(problem.network, rates, y0, problem.ts, **how).ys

    few = jnp.asarray(problem.y0[:SMALL])
    cell = {name: jnp.asarray(values[:SMALL]) for name, values in ensemble.cells.items()}
    return lambda: run(few, cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, metavar="CELLS")
    parser.add_argument("store", nargs="?", metavar="STORE", help="a folder for the results")
    parser.add_argument("--problem", choices=("osu29", "saprc99"), default="osu29")
    parser.add_argument("--chunk", type=int, default=4096, help="most cells at a time")
    options = parser.parse_args()
    if options.problem == "osu29":
        ensemble = dark_clouds(options.count or 100_000)
    else:
        ensemble = sunlit_boxes(options.count or 10_000)
    if ensemble is None:
        raise SystemExit("saprc99: its mechanism is not here")
    problem, few, times = ensemble.problem, batch(ensemble), []
    count = len(problem.y0)

    def small_batches() -> None:
        for _ in range(12):
            start = time.perf_counter()
            jax.block_until_ready(few())
            times.append(time.perf_counter() - start)

    solve_ensemble = jaxchem.solve_ensemble  # imported here, not while the clock runs
    jax.block_until_ready(few())
    small_batches()
    start = time.perf_counter()
    found = solve_ensemble(
        *(problem.network, ensemble.k, problem.y0, problem.ts),
        t0=problem.t0,
        store=options.store,
        chunk=options.chunk,
        **({"cells": ensemble.cells} if ensemble.cells else {}),
        **ensemble.how,
    )
    whole = count / (time.perf_counter() - start)
    small_batches()  # before and after, as other work on the machine comes and goes
    rate = min(SMALL, count) / statistics.median(times)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"small batches: {rate:.0f} cells/s; {count} cells: {whole:.0f} cells/s")
    print(f"ratio {whole / rate:.2f}; failed {int((found.result > 0).sum())}; {memory:.2f} GiB")


if __name__ == "__main__":
    main()
