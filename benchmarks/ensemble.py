"""Cells a second of `solve_ensemble` beside the rate of a small batch, on all cores.

    python benchmarks/ensemble.py [CELLS] [STORE]

osu29, 100 outputs, Rodas4 at rtol 1e-3. With STORE the results go to that folder, and a run that
is killed and started again goes on.
"""

import resource
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from problems import osu29

import jaxchem

jax.config.update("jax_enable_x64", True)
HOW = {"method": "rodas4", "rtol": 1e-3, "atol": 1e-18}


def main() -> None:
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    store = sys.argv[2] if len(sys.argv) > 2 else None
    problem = osu29(500)
    y0 = np.resize(problem.y0, (cells, problem.y0.shape[1]))
    network, k, ts, t0 = problem.network, problem.k, problem.ts, problem.t0
    small = jax.jit(
        jax.vmap(lambda y: jaxchem.solve(network, k, y, ts, t0=t0, throw=False, **HOW).ys)
    )
    few, times = jnp.asarray(y0[:512]), []

    def small_batches() -> None:
        for _ in range(12):
            start = time.perf_counter()
            jax.block_until_ready(small(few))
            times.append(time.perf_counter() - start)

    jax.block_until_ready(small(few))
    small_batches()
    start = time.perf_counter()
    found = jaxchem.solve_ensemble(network, k, y0, ts, t0=t0, store=store, **HOW)
    whole = cells / (time.perf_counter() - start)
    small_batches()  # before and after, as other work on the machine comes and goes
    rate = len(few) / statistics.median(times)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"small batches: {rate:.0f} cells/s; {cells} cells: {whole:.0f} cells/s")
    print(f"ratio {whole / rate:.2f}; failed {int((found.result > 0).sum())}; {memory:.2f} GiB")


if __name__ == "__main__":
    main()
