"""Writes osu29 for a Fortran host, builds line.f90 with it and runs it, also in Python."""

import subprocess
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxchem
from jaxchem.hosts import kernel

jax.config.update("jax_enable_x64", True)

CELLS, STEPS, SHARE, DT = 64, 50, 0.2, 1e3 * 3.1536e7
NAMES = ("temperature", "cosmic_ray_rate")


def start(network):
    """Conditions and states of the line: from cold to warm, with C+ falling along it."""
    along = np.linspace(0.0, 1.0, CELLS)
    conditions = np.stack([20 + 80 * along, np.full(CELLS, 1e-16)], axis=1)
    y0 = np.full((CELLS, len(network.species)), 1e-16)
    ion = 0.9 - 0.8 * along
    for name, value in {"H2": 1e4, "C": 1.0 - ion, "C+": ion, "O": 3.0, "e": ion}.items():
        y0[:, network.index(name)] = value
    return conditions, y0


def diffuse(y):
    flux = 0.5 * SHARE * (y[:-1] - y[1:])
    none = jnp.zeros((1, y.shape[1]))
    return y + jnp.concatenate([none, flux]) - jnp.concatenate([flux, none])


def in_python(network, conditions, y):
    k = jax.vmap(lambda c: network.rates(**dict(zip(NAMES, c, strict=True))))(conditions)

    def react(k, y):
        return jaxchem.solve(network, k, y, jnp.array([DT]), rtol=1e-6, atol=1e-16).ys[0]

    def step(y, _):
        return diffuse(jax.vmap(react)(k, diffuse(y))), None

    return jax.jit(lambda y: jax.lax.scan(step, y, None, length=STEPS)[0])(y)


def in_fortran(network, conditions, y, folder):
    jaxchem.write_c(network, folder, conditions=NAMES)
    code = Path(__file__).with_name("line.f90")
    for command in (
        ["cc", "-std=c11", *kernel.FLAGS, "-c", "osu29.c"],
        ["gfortran", "-O2", "osu29.f90", str(code), "osu29.o", "-lm", "-o", "line"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    (folder / "line.bin").write_bytes(conditions.tobytes() + y.tobytes())
    begin = time.perf_counter()
    done = subprocess.run(["./line"], cwd=folder, check=True, capture_output=True, text=True)
    print(f"Fortran, {time.perf_counter() - begin:.2f} s: {done.stdout.strip()}")
    return np.fromfile(folder / "end.bin").reshape(y.shape)


def main():
    network = jaxchem.load("osu29")
    conditions, y0 = start(network)
    with tempfile.TemporaryDirectory() as folder:
        found = in_fortran(network, conditions, y0, Path(folder))
    expected = np.asarray(in_python(network, conditions, jnp.asarray(y0)))
    off = np.max(np.abs(found - expected) / (np.abs(expected) + 1e-10))
    sums = network.conserved
    drift = np.abs((found - y0).sum(axis=0) @ sums.T) / (y0.sum(axis=0) @ np.abs(sums.T))
    told = ", ".join(f"{n} {d:.1e}" for n, d in zip(network.balanced, drift, strict=True))
    print(f"beside Python: off by {off:.1e}; drift of totals: {told}")


if __name__ == "__main__":
    main()
