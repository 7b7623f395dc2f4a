"""Interstellar thermo-chemistry in one batch: rates and a temperature of the state.

    python benchmarks/thermal.py
    python benchmarks/thermal.py --more

Two networks of KROME (Grassi et al. 2014, doi:10.1093/mnras/stu114) with cosmic rays, dust and the
background light of Haardt & Madau (2012, doi:10.1088/0004-637X/746/2/125) at redshift 0: atomic
(7 species) and molecular (9 species), as in Branca & Pallottini (2022,
doi:10.1093/mnras/stac3512), each with the gas temperature as one more state. The 100 initial states
of KROME's reference trajectories are integrated to 1 Myr in one batch: milliseconds of CPU a state
on one core, failures, and errors against KROME at rtol 1e-8, beside those of KROME at its own
default tolerance. Needs KROME's references and tables, which are not shipped.

With --more: 10 000 random states of eq. 19 of that paper to 1 Myr with one output, and 1 000 at the
corners of its space; a gradient of the temperature then by seven quantities, in solves; and the
state of rest over 200 densities and 10 fields.

The chemistry is mass action with coefficients k(t, y); heating and cooling are a tendency of the
temperature (`jaxchem.thermal`).
"""

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from problems import DATA
from readme import published

import jaxchem
from jaxchem.thermal import Cloud, MetalLines, random_states

jax.config.update("jax_enable_x64", True)

Array = Any


def model(atomic: bool) -> Cloud:
    """One of the two, with the table of metal lines that KROME's references are of."""
    metals = MetalLines.read(DATA / "krome" / "coolZ_CIE2012NOUV.dat")
    return Cloud(jaxchem.load("ism_atomic" if atomic else "ism_molecular"), metals=metals)


class References(NamedTuple):
    """KROME's trajectories of one model, states in the order of its network and temperature.

    Attributes:
        y0: [N, S + 1] initial states.
        ts: [T] output times.
        tight: [N, T, S + 1] at rtol 1e-8.
        default: the same at KROME's default, rtol 1e-4.
    """

    y0: np.ndarray
    ts: np.ndarray
    tight: np.ndarray
    default: np.ndarray

    def error(self, ys: np.ndarray, good: np.ndarray) -> str:
        """Errors in dex over all states and times, where a density has a meaning at all."""
        known = self.tight[good][:, -ys.shape[1] :] > 1e-18
        found, truth = (np.log10(np.maximum(x[good], 1e-30)) for x in (ys, self.tight))
        errors = np.abs(found - truth[:, -ys.shape[1] :])[known]
        if not errors.size:
            return "- | - | -"
        values = np.median(errors), np.quantile(errors, 0.99), errors.max()
        return " | ".join(f"{value:.1e}" for value in values)


def references(cloud: Cloud, cells: int | None = None) -> References:
    """The first cells of KROME's references."""
    name = "mol" if "H2" in cloud.network.species else "atom"
    data = np.load(DATA / "krome" / f"krome_{name}_general.npz")
    columns = [list(data["species"]).index(species) for species in cloud.network.species]
    later = data["t_s"] > 0

    def states(densities: str, temperature: str) -> np.ndarray:
        parts = data[densities][..., columns], data[temperature][..., None]
        return np.concatenate(parts, axis=-1)[:cells].astype(float)

    y0 = np.maximum(states("ic_n", "ic_T"), 1e-30)
    tight, default = states("n", "T")[:, later], states("n_default", "T_default")[:, later]
    return References(y0, data["t_s"][later], tight, default)


def solver(cloud: Cloud, ts: np.ndarray, rtol: float, output: str) -> Callable[[Array], Any]:
    """Integrates a batch of states."""
    system = cloud.system
    how = {"method": "rodas4", "rtol": rtol, "atol": 1e-20, "max_steps": 20_000}

    @jax.jit
    @jax.vmap
    def run(y0: Array) -> Any:
        solution = jaxchem.solve(system, y0, ts, output=output, throw=False, **how)
        return solution.ys, solution.stats["num_steps"]

    return run


def cpu_seconds(run: Callable[[], Any], repeats: int = 5) -> float:
    """Median of some calls, of which none compiles."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        jax.block_until_ready(run())
        times.append(time.process_time() - start)
    return statistics.median(times)


def corners(cloud: Cloud, count: int) -> np.ndarray:
    """Coldest and hottest, thinnest and densest, fully ionised and without electrons."""
    y = random_states(cloud.network, count, seed=1)
    rng, place = np.random.default_rng(1), cloud.network.index
    total = y[:, place("e-")] * 0 + rng.choice([1e-2, 1e6], count)
    carriers = {"H": 0.7, "He": 0.3}
    y[:, :-1] = 1e-30
    ionised = rng.random(count) < 0.5
    for name, share in carriers.items():
        y[:, place(name)] = np.where(ionised, 1e-30, share * total)
    y[:, place("H+")] = np.where(ionised, 0.7 * total, 1e-30)
    y[:, place("He++")] = np.where(ionised, 0.3 * total, 1e-30)
    y[:, place("e-")] = np.where(ionised, 1.3 * total, 3e-30)
    y[:, -1] = rng.choice([10.0, 1e6], count)
    return y


def more() -> None:
    """Random states, a gradient, and gas at rest."""
    print("| model | states | rtol | ms a state | steps | failed |")
    print("|---|---|---|---|---|---|")
    for atomic in (True, False):
        cloud, kind = model(atomic), "atomic" if atomic else "molecular"
        for states, y0 in (
            ("10 000 random", random_states(cloud.network, 10_000)),
            ("1 000 corners", corners(cloud, 1_000)),
        ):
            for rtol in (1e-3, 1e-4):
                run = functools.partial(
                    solver(cloud, np.array([3.1536e13]), rtol, "step"), jnp.asarray(y0)
                )
                ys, steps = map(np.asarray, run())
                taken = 1e3 * cpu_seconds(run, 3) / len(y0)
                failed = sum(~np.isfinite(ys).all(axis=(1, 2)))
                print(
                    f"| {kind} | {states} | {rtol:.0e} | {taken:.3f} | {steps.mean():.0f} | ",
                    end="",
                )
                print(f"{failed} |", flush=True)
    print()
    gradient()
    print()
    at_rest()


def gradient() -> None:
    """Of the temperature at 1 Myr by seven quantities, beside central differences."""
    given = {"uv_field": 1.0, "cosmic_ray_rate": 3e-17, "visual_extinction": 0.1}
    given |= {"metallicity": 1.0, "dust_to_gas": 0.3}
    names = [*given, "density", "temperature"]
    print("| model | gradient, solves | largest difference from central ones |")
    print("|---|---|---|")
    for atomic in (True, False):
        cloud, kind = model(atomic), "atomic" if atomic else "molecular"
        start = {"H": 62.41, "He": 26.0, "H+": 0.62, "He+": 0.26}
        y0 = jnp.asarray(cloud.y0(start | ({} if atomic else {"H2": 10.4}), 1e3))
        ts = jnp.array([3.1536e12])

        def final(x: Any, rtol: float, cloud: Cloud = cloud, y0: Any = y0, ts: Any = ts) -> Any:
            values = dict(zip(names, x, strict=True))
            start = jnp.append(y0[:-1] * values.pop("density"), y0[-1] * values.pop("temperature"))
            scaled = {name: value * given[name] for name, value in values.items()}
            how = {"method": "rodas4", "rtol": rtol, "atol": 1e-6 * rtol * 1e-10}
            system = cloud.under(**scaled).system
            return jnp.log(jaxchem.solve(system, start, ts, max_steps=100_000, **how).ys[-1, -1])

        one = jnp.ones(len(names))
        exact = jax.jit(jax.grad(functools.partial(final, rtol=1e-11)))(one)
        value = jax.jit(functools.partial(final, rtol=1e-11))
        steps = 1e-4 * np.eye(len(names))
        central = [
            (8 * (value(one + h) - value(one - h)) - (value(one + 2 * h) - value(one - 2 * h)))
            / 12e-4
            for h in steps
        ]
        wrong = np.abs(np.asarray(exact) - np.array(central)) / np.abs(central)
        ratio = in_solves(functools.partial(final, rtol=1e-4), jnp.ones((64, len(names))))
        print(f"| {kind} | {ratio:.2f} | {wrong.max():.1e} ({names[wrong.argmax()]}) |", flush=True)


def in_solves(final: Callable[[Array], Array], many: Array) -> float:
    """The time of a gradient over that of its function, in a batch."""
    times = []
    for function in (final, jax.grad(final)):
        run = functools.partial(jax.jit(jax.vmap(function)), many)
        jax.block_until_ready(run())
        times.append(cpu_seconds(run))
    return times[1] / times[0]


def at_rest() -> None:
    """Gas at rest over a grid."""
    print("| model | cells | CPU s | settled |")
    print("|---|---|---|---|")
    for atomic in (True, False):
        cloud, kind = model(atomic), "atomic" if atomic else "molecular"
        grid = np.geomspace(1e-2, 1e4, 200)[:, None], np.geomspace(1e-2, 1e2, 10)
        rest = jax.jit(lambda n, u, c=cloud: jaxchem.thermal_equilibrium(c, n, uv_field=u))
        run = functools.partial(rest, *grid)
        settled = np.asarray(run().settled)
        taken = cpu_seconds(run)
        print(f"| {kind} | {settled.size} | {taken:.2f} | {settled.mean():.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Interstellar thermo-chemistry in one batch.")
    parser.add_argument("--cells", type=int, help="states of each model; by default all")
    parser.add_argument("--rtol", type=float, nargs="+", default=[1e-3, 1e-4])
    parser.add_argument("--more", action="store_true", help="random states, gradient, rest")
    parser.add_argument("--out", type=Path, help="a folder whose README.md gets the table")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if not (DATA / "krome").is_dir():
        raise SystemExit("KROME's references are not here.")
    if options.more:
        with published("thermal-more", options.out):
            more()
        return
    with published("thermal", options.out):
        print("| model | outputs | rtol | ms a state | steps | failed | median | p99 | largest |")
        print("|---|---|---|---|---|---|---|---|---|")
        for atomic in (True, False):
            cloud = model(atomic)
            known = references(cloud, options.cells)
            y0, kind = jnp.asarray(known.y0), "atomic" if atomic else "molecular"
            everyone = np.ones(len(y0), dtype=bool)
            errors = known.error(known.default, everyone)
            print(f"| {kind}, KROME | - | 1e-04 | - | - | - | {errors} |")
            for output in ("interpolate", "step"):
                for rtol in options.rtol:
                    run = functools.partial(solver(cloud, known.ts, rtol, output), y0)
                    ys, steps = map(np.asarray, run())
                    good = np.isfinite(ys).all(axis=(1, 2))
                    taken = 1e3 * cpu_seconds(run) / len(y0)
                    row = f"{taken:.3f} | {steps.mean():.0f} | {sum(~good)}"
                    errors = known.error(ys, good)
                    print(f"| {kind} | {output} | {rtol:.0e} | {row} | {errors} |", flush=True)


if __name__ == "__main__":
    main()
