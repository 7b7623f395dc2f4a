"""Dense beside sparse LU: one factorisation and six solves a cell, and whole integrations.

    python benchmarks/linear.py

Microseconds of CPU a cell on one core. The compiled kernel is left out: this is what GPUs
and machines without a compiler run. Where dense and sparse cross tells when
`linear_solver="auto"` is sparse.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import lineax as lx
from problems import osu29, pollu, saprc99
from readme import published

import jaxchem
from jaxchem.solvers import native
from jaxchem.solvers.sparse import SparseLU

jax.config.update("jax_enable_x64", True)
SOLVES = 6


def cost(run: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the first call, and CPU seconds of a later one."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    first, times = time.perf_counter() - start, []
    for _ in range(5):
        start = time.process_time()
        jax.block_until_ready(run())
        times.append(time.process_time() - start)
    return first, statistics.median(times)


def linear(problem: Any, solver: Any, cells: int) -> tuple[float, float]:
    """Factorises and solves SOLVES times in each cell."""
    network, size = problem.network, problem.y0.shape[1]
    y = jnp.asarray(problem.y0[:cells]) + 1e-3 * jnp.max(problem.y0)
    k = jnp.asarray(problem.k)
    matrices = jax.vmap(lambda y: 1e4 * jnp.eye(size) - jaxchem.jacobian(network, k, y))(y)
    right = jnp.ones((cells, SOLVES, size))

    @jax.jit
    @jax.vmap
    def run(matrix: Any, right: Any) -> Any:
        operator = lx.MatrixLinearOperator(matrix)
        state = solver.init(operator, {})
        return [lx.linear_solve(operator, b, solver, state=state).value for b in right]

    return cost(lambda: run(matrices, right))


def whole(problem: Any, kind: str, cells: int) -> tuple[float, float]:
    """Rodas4 through diffrax at rtol 1e-3."""
    how = {"method": "rodas4", "rtol": 1e-3, "atol": problem.atols[0], "linear_solver": kind}
    k, y0 = jnp.asarray(problem.k), jnp.asarray(problem.y0[:cells])

    @jax.jit
    @jax.vmap
    def run(y0: Any) -> Any:
        return jaxchem.solve(
            problem.network, k, y0, problem.ts, t0=problem.t0, throw=False, **how
        ).ys

    with mock.patch.object(native, "available", return_value=False):
        return cost(lambda: run(y0))


MAKERS = {"pollu": pollu, "osu29": osu29, "saprc99": saprc99}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=tuple(MAKERS), default=tuple(MAKERS))
    parser.add_argument("--cells", nargs="+", type=int, default=(1, 16, 256))
    parser.add_argument("--out", type=Path, help="a folder whose README.md gets the table")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with published("linear", options.out):
        print("| network | cells | dense | sparse | dense, whole | sparse, whole | first, sparse |")
        print("|---|---|---|---|---|---|---|")
        for name in options.problems:
            for cells in options.cells:
                problem = MAKERS[name](max(cells, 4))
                if problem is None:
                    print(f"{name}: skipped, its data are not here")
                    break
                network = problem.network
                solvers = (lx.LU(), SparseLU(network.structure))
                parts = [linear(problem, solver, cells) for solver in solvers]
                runs = [whole(problem, kind, cells) for kind in ("dense", "sparse")]
                row = [1e6 * seconds / cells for _, seconds in (*parts, *runs)]
                numbers = " | ".join(f"{value:.3g}" for value in row)
                print(f"| {network.name} | {cells} | {numbers} | {runs[1][0]:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
