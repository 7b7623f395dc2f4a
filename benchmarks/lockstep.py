"""The methods in plain JAX beside the compiled kernel: time, compilation and memory.

    python benchmarks/lockstep.py

Rodas4 on one core. Both run in turns, on cells with all outputs of the problem; the memory is that
of many cells with one output, beyond what they are given and what comes out.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from measure import in_turns
from problems import PROBLEMS, Problem
from readme import published

import jaxchem
from jaxchem.solvers import native

jax.config.update("jax_enable_x64", True)


def compiled(problem: Problem, ts: Any, kernel: bool) -> tuple[Any, float]:
    """A batch's states and steps as a compiled call, and how long compilation took."""
    how = {"method": "rodas4", "rtol": 1e-4, "atol": problem.atols[0], "throw": False}
    k, ts = jnp.asarray(problem.k), jnp.asarray(ts)

    @jax.jit
    @jax.vmap
    def run(y0: Any) -> Any:
        found = jaxchem.solve(problem.network, k, y0, ts, t0=problem.t0, **how)
        return found.ys, found.stats["num_steps"]

    with mock.patch.object(native, "available", return_value=kernel):
        start = time.perf_counter()
        made = run.lower(jnp.asarray(problem.y0)).compile()
    return made, time.perf_counter() - start


def row(name: str, cells: int, repeats: int) -> str:
    """One problem: microseconds a step of a cell, and seconds of compilation."""
    make: Callable[[int], Problem | None] = PROBLEMS[name]
    problem = make(cells)
    if problem is None:
        return f"| {name} | skipped, its data are not here |"
    (kernel, _), (ours, seconds) = (compiled(problem, problem.ts, own) for own in (True, False))
    y0 = jnp.asarray(problem.y0)
    (ys, steps), (same, as_many) = kernel(y0), ours(y0)
    apart = np.max(np.abs(problem.log10(np.asarray(ys)) - problem.log10(np.asarray(same))))
    unlike = int(np.sum(np.asarray(steps) != np.asarray(as_many)))
    runs = {"kernel": kernel, "ours": ours}
    times = in_turns(
        {k: lambda call=call: jax.block_until_ready(call(y0)) for k, call in runs.items()}, repeats
    )
    each = [1e6 * times[k] / float(np.sum(steps)) for k in runs]
    numbers = f"{each[0]:.2f} | {each[1]:.2f} | {each[1] / each[0]:.1f} | {seconds:.1f} s"
    return f"| {name} | {cells} | {numbers} | {unlike} | {apart:.0e} |"


def memory(name: str, cells: int) -> str:
    """What many cells need besides their states and outputs, as XLA has it planned."""
    problem = PROBLEMS[name](cells)
    if problem is None:
        return f"{name}: skipped, its data are not here"
    made, _ = compiled(problem, problem.ts[-1:], kernel=False)
    needs = made.memory_analysis()
    return f"{name}, {cells} cells: {needs.temp_size_in_bytes / 1e6:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=tuple(PROBLEMS), default=tuple(PROBLEMS))
    parser.add_argument("--cells", nargs="+", type=int, default=(1, 1024))
    parser.add_argument("--memory", type=int, default=0, help="cells whose memory is told")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a folder whose README.md gets the table")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # XLA makes its threads after this
    with published("lockstep", options.out):
        print("| network | cells | kernel | in JAX | ratio | compiled | other steps | apart, dex |")
        print("|---|---|---|---|---|---|---|---|")
        for name in options.problems:
            for cells in options.cells:
                print(row(name, cells, options.repeats), flush=True)
        for name in options.problems if options.memory else ():
            print(memory(name, options.memory), flush=True)


if __name__ == "__main__":
    main()
