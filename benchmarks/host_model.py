"""Written C beside JAX: time a cell of a box, of rates and of emulators, and how far they are off.

python benchmarks/host_model.py [--cells 10000] [--out FOLDER]

One core. The emulators have random weights, which takes as long as if they were trained.
"""

import argparse
import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxchem
from jaxchem import models
from jaxchem.dataset import draw, observe
from jaxchem.ensemble import generate_ensemble
from jaxchem.hosts import kernel

jax.config.update("jax_enable_x64", True)

YEAR = 3.1536e7
NAMES = ("temperature", "cosmic_ray_rate")
BATCHES = (1, 64)


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def library(source: Path) -> ctypes.CDLL:
    made = source.with_suffix(".so")
    command = ["cc", "-std=c11", *kernel.FLAGS, "-shared", "-fPIC", str(source), "-o", str(made)]
    subprocess.run([*command, "-lm"], check=True)
    return ctypes.CDLL(str(made))


def best(run: Callable[[], Any], least: float = 0.5) -> float:
    """Seconds of the quickest of several runs."""
    run()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < least and len(times) < 500):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def gas(network: Any, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Clouds, and their temperatures and cosmic-ray rates."""
    rng = np.random.default_rng(0)
    y0 = np.full((cells, len(network.species)), 1e-16)
    carbon, ion, oxygen = rng.uniform((0.01, 0.01, 0.1), (1.0, 1.0, 7.5), (cells, 3)).T
    for name, value in {"H2": 1e4, "C": carbon, "C+": ion, "O": oxygen, "e": ion}.items():
        y0[:, network.index(name)] = value
    return y0, np.stack([rng.uniform(10, 300, cells), 10 ** rng.uniform(-17.5, -15, cells)], 1)


def off(found: np.ndarray, expected: np.ndarray, scale: float = 1e-290) -> float:
    return float(np.max(np.abs(found - expected) / (np.abs(expected) + scale)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="keeps the written files")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # threads are counted when JAX is first used
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as scratch:
        rows = [*box(options.out or Path(scratch), options.cells)]
        rows += emulators(options.out or Path(scratch), options.cells)
    batches = (*BATCHES, options.cells)
    print(f"\n| us a cell, JAX; C | {' | '.join(map(str, batches))} | off by |")
    print("|---|" + "---|" * (len(batches) + 1))
    for name, times, wrong in rows:
        told = " | ".join(
            f"{1e6 * a / b:.3g}; {1e6 * c / b:.3g}"
            for b, (a, c) in zip(batches, times, strict=True)
        )
        print(f"| {name} | {told} | {wrong} |", flush=True)


def box(folder: Path, cells: int) -> Any:
    network = jaxchem.load("osu29")
    made = library(jaxchem.write_c(network, folder, conditions=NAMES))
    y0, conditions = gas(network, cells)
    rates = jax.jit(jax.vmap(lambda c: network.rates(**dict(zip(NAMES, c, strict=True)))))
    atol, dt = np.full(y0.shape[1], 1e-16), 1e3 * YEAR
    how = {"rtol": 1e-6, "atol": atol, "throw": False}
    run = jax.jit(jax.vmap(lambda k, y: jaxchem.solve(network, k, y, jnp.array([dt]), **how).ys[0]))
    k = np.asarray(rates(conditions))
    made.osu29_solve.restype = ctypes.c_int64
    found, own = np.empty_like(y0), np.empty_like(k)

    def integrate(n: int) -> int:
        found[:n] = y0[:n]
        parts = ctypes.c_int64(n), ctypes.c_double(dt), pointer(k), pointer(found)
        return made.osu29_solve(*parts, ctypes.c_double(1e-6), pointer(atol), None)

    def coefficients(n: int) -> None:
        made.osu29_rates(ctypes.c_int64(n), pointer(conditions), pointer(own))

    batches = (*BATCHES, cells)
    times = [
        (
            best(lambda n=n: run(k[:n], y0[:n]).block_until_ready()),
            best(lambda n=n: integrate(n)),
        )
        for n in batches
    ]
    failed, expected = integrate(cells), np.asarray(run(k, y0))
    same = "no bit" if np.array_equal(found, expected) else f"{off(found, expected):.1e}"
    yield f"osu29, 1000 years ({failed} failed)", times, same
    times = [
        (
            best(lambda n=n: rates(conditions[:n]).block_until_ready()),
            best(lambda n=n: coefficients(n)),
        )
        for n in batches
    ]
    yield "osu29, rates", times, f"{off(own, k):.1e}"


def emulators(folder: Path, cells: int) -> Any:
    network = jaxchem.load("osu29")
    y0, conditions = gas(network, 64)
    ts = np.geomspace(1.0, 1e6, 50) * YEAR
    how = {"initial": {"H2": 1.0, "C": [1e-6, 1e-4], "C+": [1e-6, 1e-4], "O": [1e-5, 7e-4]}}
    given = {"temperature": [10.0, 300.0], "cosmic_ray_rate": 1e-16, "density": 1e4}
    drawn = draw(
        network, cases=64, conditions=given, over="density", background=1e-20, balance="e", **how
    )
    dataset, _ = generate_ensemble(network, *drawn, ts, progress=False)
    data, key = observe(dataset, network), jax.random.key(0)
    step = models.StepMap.fitted(data, key=key)
    # near the mean of the data, as a state that is nothing like its start has no near one to hold
    step = eqx.tree_at(lambda m: m.flow.deviation, step, 0.01 * step.flow.deviation)
    made = {
        "flow map": models.FlowMap.fitted(data, key=key),
        "step map": step,
        "conserved step map": models.conserved(step, network),
        "linear latent": models.Latent.fitted(data, key=key),
    }
    index = np.random.default_rng(1).integers(0, 64, cells)
    y0, conditions = (
        np.ascontiguousarray(np.asarray(a)[index], dtype=float) for a in (data.y0, data.conditions)
    )
    at, found = np.array([1e3 * YEAR]), np.empty((cells, 1, y0.shape[1]))
    for place, (name, model) in enumerate(made.items()):
        predict = getattr(
            library(models.write_c(model, folder, name=f"m{place}")), f"m{place}_predict"
        )
        run = jax.jit(jax.vmap(model, in_axes=(0, 0, None)))

        def call(n: int, predict: Any = predict) -> None:
            predict(ctypes.c_int64(n), *map(pointer, (y0, conditions, at, found)))

        times = [
            (
                best(lambda n=n, run=run: run(y0[:n], conditions[:n], at).block_until_ready()),
                best(lambda n=n, call=call: call(n)),
            )
            for n in (*BATCHES, cells)
        ]
        call(cells)
        told = f"{off(found, np.asarray(run(y0, conditions, at))):.1e}"
        if isinstance(model, models.Conserved):
            sums = network.conserved
            drift = np.abs((found[:, 0] - y0) @ sums.T) / (y0 @ np.abs(sums.T))
            told += f", totals {np.max(drift):.1e}"
        yield name, times, told


if __name__ == "__main__":
    main()
