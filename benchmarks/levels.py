"""The compiled kernel built for processors of several kinds, on this one.

    python benchmarks/levels.py

A batch of osu29 at rtol 1e-3 by Rodas4 with the kernel built for this processor, for those with
AVX2 and for any x86-64; one process a build, all on one core, in turns. Milliseconds of CPU a cell,
and the median over the turns of their ratio to the first build.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from readme import published

LEVELS = (
    ("this processor", "native", ""),
    ("AVX2", "haswell", "avx2"),
    ("any x86-64", "x86-64", "sse2"),
)
"""How the table calls a build, its -march, and what the processor must know to run it."""


def serve(cells: int) -> None:
    """Prints the lanes of this process's kernel, then the CPU seconds of a batch a line read."""
    import jax
    import jax.numpy as jnp
    from problems import osu29

    import jaxchem
    from jaxchem.solvers import native

    jax.config.update("jax_enable_x64", True)
    problem = osu29(cells)
    how = {"method": "rodas4", "rtol": 1e-3, "atol": problem.atols[0], "t0": problem.t0}

    @jax.jit
    @jax.vmap
    def run(y0):
        return jaxchem.solve(problem.network, problem.k, y0, problem.ts, throw=False, **how).ys

    y0 = jnp.asarray(problem.y0)
    if not bool(jnp.isfinite(run(y0)).all()):
        raise RuntimeError("cells of osu29 failed")
    print(native.lanes(), flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        run(y0).block_until_ready()
        print(time.process_time() - start, flush=True)


def processor() -> set[str]:
    """What this processor knows."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=64)
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="a folder whose README.md gets the table")
    options = parser.parse_args()
    if options.serve:
        serve(options.cells)
        return
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    known = processor()
    builds = [level for level in LEVELS if level[2] in known or not level[2]]
    command = [sys.executable, __file__, "--serve", "--cells", str(options.cells)]
    servers, lanes = [], []
    for _, march, _ in builds:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        flags = {"JAXCHEM_CFLAGS": f"-march={march}"}
        servers.append(subprocess.Popen(command, env={**os.environ, **flags}, **pipes))
        lanes.append(int(servers[-1].stdout.readline()))
    turns: list[list[float]] = []
    for _ in range(options.turns):
        turns.append([])
        for server in servers:
            server.stdin.write("\n")
            server.stdin.flush()
            turns[-1].append(float(server.stdout.readline()))
    for server in servers:
        server.communicate()
    with published("levels", options.out):
        print("| built for | cells a vector | ms a cell | ratio |")
        print("|---|---|---|---|")
        for n, (title, march, _) in enumerate(builds):
            taken = 1e3 * statistics.median(turn[n] for turn in turns) / options.cells
            ratio = statistics.median(turn[n] / turn[0] for turn in turns)
            print(f"| {title} (-march={march}) | {lanes[n]} | {taken:.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
