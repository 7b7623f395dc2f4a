"""What a call of an emulator costs on one core, beside the solver.

    python experiments/emulators/speed.py MODEL.eqx...

Microseconds a trajectory of 100 outputs, median, at batches of 1 and 500; the solver is Rodas4 at
rtol 1e-3 on the published dark clouds.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxchem
from jaxchem.dataset import dark_cloud

jax.config.update("jax_enable_x64", True)


def microseconds(run: Callable[[Any, Any], Any], *arguments: Any) -> float:
    times = []
    for _ in range(30):
        start = time.perf_counter()
        jax.block_until_ready(run(*arguments))
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times[1:]) / len(arguments[0])


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    network = jaxchem.load("osu29")
    y0, _ = dark_cloud(network, cases=512)
    ts = np.geomspace(31.536, 3.1536e15, 100)
    k = network.rates(temperature=50.0, cosmic_ray_rate=1e-16)
    how = {"t0": 1.0, "method": "rodas4", "rtol": 1e-3, "atol": 1e-18, "throw": False}
    calls = {"jaxchem.solve": lambda y, c: jaxchem.solve(network, k, y, ts, **how).ys}
    for path in map(Path, sys.argv[1:]):
        model = jaxchem.load_model(path)
        calls[path.parent.parent.name] = lambda y, c, model=model: model(y, c, jnp.asarray(ts))
    print("| call | batch 1 | batch 500 |\n|---|---|---|")
    for name, call in calls.items():
        run = jax.jit(jax.vmap(call))
        numbers = [microseconds(run, jnp.asarray(y0[:n]), jnp.zeros((n, 0))) for n in (1, 500)]
        print(f"| {name} | {numbers[0]:.0f} | {numbers[1]:.1f} |")


if __name__ == "__main__":
    main()
