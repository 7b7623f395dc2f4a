"""How a restartable emulator of dark clouds fares in chains, and away from what it has learned.

    python experiments/emulators/restart.py emulate/model.eqx published.nc

Chains of some lengths, with and without the conservation that it is wrapped in; and even mixtures
of two clouds of one age, which are on no trajectory of the training data, against the solver.
"""

import functools
import sys

import jax
import numpy as np
import xarray as xr

import jaxchem
from jaxchem.ensemble import generate_ensemble
from jaxchem.models import rollout


def main(path: str, data: str) -> None:
    jax.config.update("jax_enable_x64", True)
    model, network = jaxchem.load_model(path), jaxchem.load("osu29")
    with xr.open_dataset(data, engine="h5netcdf") as dataset:
        order = np.random.default_rng(0).permutation(dataset.sizes["case"])
        test = dataset.isel(case=order[: round(0.1 * len(order))]).load()
    truth, ts = test["concentration"].values, test["time"].values - test.attrs["t0"]
    for name, one in (("conserved", model), ("free", model.inner)):
        for segments in (1, 2, 5, 10, 20, 50, 100):
            found = errors(one, test["initial"].values, ts, truth, segments)
            print(f"{name}, {segments} segments: {told(found)}", flush=True)
    later = np.geomspace(1e9, 3e15, 40)
    given = {
        "temperature": np.full(len(truth), 50.0),
        "cosmic_ray_rate": np.full(len(truth), 1e-16),
    }
    for age in (1e7, 1e11, 1e13):
        states = truth[:, np.argmin(np.abs(np.log(ts / age)))]
        mixed = 0.5 * (states + states[::-1])
        solved, _ = generate_ensemble(network, mixed, given, later, t0=0.0, progress=False)
        found = errors(model, mixed, later, solved["concentration"].values, 1)
        print(f"mixtures at {age:.0e} s: {told(found)}", flush=True)


def errors(model, y0, ts, truth, segments: int) -> np.ndarray:
    run = jax.vmap(functools.partial(rollout, model, segments=segments), (0, 0, None))
    ys = jax.jit(run)(y0, np.zeros((len(y0), 0)), ts)
    return np.abs(np.log10(np.asarray(ys)) - np.log10(np.maximum(truth, 1e-99)))


def told(error: np.ndarray) -> str:
    names = {"mean": np.mean, "median": np.median, "max": np.max}
    p99 = np.quantile(error, 0.99)
    return ", ".join(f"{n} {f(error):.2g}" for n, f in names.items()) + f", p99 {p99:.2g} dex"


if __name__ == "__main__":
    main(*sys.argv[1:])
