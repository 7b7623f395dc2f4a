"""What a first call costs: seconds from the call of `solve` to its result, in a fresh process.

    python benchmarks/first_call.py

SAPRC-99 under a sun that sets, and isoprene of the MCM under the sun and a temperature of the day;
one cell, and a batch. Each number is of a process of its own that has imported jaxchem, loaded the
network, and solved another one at fixed rates, so that the compiled kernel is built and JAX is
awake; nothing that earlier processes compiled is used. Then the same call again. Then whole
commands: +experiment=box_model of SAPRC-99, with its budgets, report and figures, from the start of
the interpreter to its end. The networks are not shipped.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from problems import SAPRC99
from readme import published

RUNS = (
    ("saprc99_sunlit", "saprc99 under the sun", 1),
    ("saprc99_sunlit", "saprc99 under the sun", 64),
    ("isoprene_sunlit", "MCM isoprene, sun and temperature of the day", 1),
)
"""Problem, how the table calls it, and cells."""


def measure(name: str, cells: int, rtol: float) -> dict[str, Any] | None:
    """Wall and CPU seconds of the first call and of the second one, in this process."""
    import jax
    import jax.numpy as jnp
    import problems

    import jaxchem

    jax.config.update("jax_enable_x64", True)
    problem = getattr(problems, name)(cells)
    if problem is None:
        return None
    small = jaxchem.load("robertson")
    start = small.y0({"A": 1.0})
    jax.block_until_ready(jaxchem.solve(small, small.rates(), start, jnp.array([1.0])).ys)
    how = {"method": "rodas4", "rtol": rtol, "atol": problem.atols[0], "t0": problem.t0}

    def solve(y0: Any) -> Any:
        return jaxchem.solve(problem.network, problem.k, y0, problem.ts, throw=False, **how).ys

    y0 = jnp.asarray(problem.y0)
    found = {}
    for which in ("first", "again"):
        wall, cpu = time.perf_counter(), time.process_time()
        ys = jax.block_until_ready(solve(y0[0]) if cells == 1 else jax.vmap(solve)(y0))
        found[which] = time.perf_counter() - wall, time.process_time() - cpu
    found["good"] = bool(jnp.isfinite(ys).all())
    return found


def whole_command(environment: dict[str, str], core: int, repeats: int = 3) -> str:
    """Median wall and CPU seconds of box_model, as a row of a table."""
    times = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "jaxchem.run", "+experiment=box_model"]
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(
                [*command, f"network.path={SAPRC99}", f"hydra.run.dir={folder}"],
                env=environment,
                cwd=folder,
                capture_output=True,
                check=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
            wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        times.append((wall, cpu))
    wall, cpu = map(statistics.median, zip(*times, strict=True))
    return f"| box_model of saprc99, the whole command | 1 | {wall:.2f} | {cpu:.2f} | - |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", help="of these functions in problems.py alone")
    parser.add_argument("--rtol", type=float, default=1e-4)
    parser.add_argument("--run", nargs=2, metavar=("PROBLEM", "CELLS"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="a folder whose README.md gets the table")
    options = parser.parse_args()
    if options.run:
        name, cells = options.run
        print(json.dumps(measure(name, int(cells), options.rtol)))
        return
    # no cache of JAX's: what it keeps from one process to the next is not what is asked here
    kept = {n: v for n, v in os.environ.items() if n != "JAX_COMPILATION_CACHE_DIR"}
    core = max(os.sched_getaffinity(0))
    with published("first_call", options.out):
        print("| problem | cells | first call / s | its CPU / s | the same again / ms |")
        print("|---|---|---|---|---|")
        for name, title, cells in RUNS:
            if options.problems and name not in options.problems:
                continue
            command = [sys.executable, __file__, "--run", name, str(cells)]
            done = subprocess.run(
                [*command, "--rtol", str(options.rtol)],
                env=kept,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
            found = json.loads(done.stdout.splitlines()[-1])
            if found is None:
                print(f"{title}: skipped, its data are not here")
                continue
            (wall, cpu), (again, _) = found["first"], found["again"]
            note = "" if found["good"] else " (FAILED)"
            print(
                f"| {title} | {cells} | {wall:.2f}{note} | {cpu:.2f} | {1e3 * again:.3g} |",
                flush=True,
            )
        if SAPRC99.is_file() and not options.problems:
            print(whole_command(kept, core), flush=True)


if __name__ == "__main__":
    main()
