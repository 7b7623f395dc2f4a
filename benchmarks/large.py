"""Whole mechanisms of thousands of species, beside SciPy's BDF with a sparse Jacobian.

    python benchmarks/large.py air mcm331complete.kpp --hours 3
    python benchmarks/large.py air MCMv331_DielExampleChemistry.fac --hours 0.016667 --twice
    python benchmarks/large.py cloud gas_reactions_kida.uva.2024.in umist22.csv

`air` starts from a polluted boundary layer, at the fixed rates of noon and then under a sun that
moves; `cloud` from atoms and H2 at 10 K, over 1 Myr, at many densities. The files are those that
their projects distribute; none ships here.

Each solver runs down a ladder of rtol; of the runs whose largest |log10 y - log10 reference| at the
end, over all species above the floor (1e5 molecule cm-3 of air, 1e-12 of the hydrogen nuclei of a
cloud), is at most 1e-3 dex, the cheapest counts. The reference is SciPy's BDF at rtol 1e-8. SciPy
gets tendencies and Jacobian from sparse products written here. Its Jacobian leaves out what the
pool of a thousand peroxy radicals adds, which would fill it: Newton's iteration does without, and
is 18 times faster on the whole MCM for it. Numbers are seconds of processor time.
"""

import argparse
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from scipy.integrate import solve_ivp

import jaxchem

jax.config.update("jax_enable_x64", True)

GOAL = 1e-3
RTOLS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6)
PPB = 2.46e10
AIR = {"temperature": 298.0, "density": 2.46e19, "relative_humidity": 0.4, "pressure": 101325.0}
AIR_START = {
    **{"O3": 40, "NO": 1, "NO2": 3, "CO": 120, "HCHO": 2, "CH4": 1800},
    **{"C5H8": 2, "APINENE": 0.2, "TOLUENE": 1},
}
"""ppb; every other species 1e3 molecule cm-3."""
CLOUD = {
    **{"temperature": 10.0, "cosmic_ray_rate": 1.3e-17, "visual_extinction": 10.0},
    **{"uv_field": 1.0, "gas_to_dust": 1e12},
}
CLOUD_START = {
    **{"H2": 0.5, "He": 0.09, "N": 6.2e-5, "O": 2.4e-4, "C+": 1.7e-4, "S+": 8e-8, "Si+": 8e-9},
    **{"Fe+": 3e-9, "Na+": 2e-9, "Mg+": 7e-9, "P+": 2e-10, "Cl+": 1e-9, "F": 6.7e-9},
}
"""Per hydrogen nucleus (Wakelam & Herbst 2008, ApJ 680, 371, their low-metal elements)."""
YEAR = 3.15576e7


def cpu(run: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of a call, and what it gives."""
    began = time.process_time()
    found = jax.block_until_ready(run())
    return time.process_time() - began, found


class Problem(NamedTuple):
    """One cell: a network, what SciPy and jaxchem take as its rates, and when it ends."""

    network: jaxchem.Network
    k: Any  # [R], or a function of time
    y0: np.ndarray
    end: float
    floor: float
    atol: float


def scipy_bdf(problem: Problem, rtol: float, atol: float) -> np.ndarray:
    """SciPy's end state, NaN where it fails."""
    network, structure = problem.network, problem.network.structure
    size, count = len(network.species), len(network.equations)
    slots = np.asarray(structure.reactants)
    net = sp.csr_array(structure.stoichiometry)
    pool_of = structure.pool_of
    k, fixed = problem.k, None if callable(problem.k) else np.asarray(problem.k)
    moving = jax.jit(lambda t: k(t))

    def parts(t: float, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        factors = np.append(y, 1.0)[slots]
        sums = np.append(structure.pools @ y, 1.0)[pool_of]
        return (np.asarray(moving(t)) if fixed is None else fixed), sums, factors

    def rhs(t: float, y: np.ndarray) -> np.ndarray:
        k, sums, factors = parts(t, y)
        return net @ (k * sums * factors.prod(axis=1))

    def jacobian(t: float, y: np.ndarray) -> Any:
        k, sums, factors = parts(t, y)
        rows, columns, values = [], [], []
        for slot in range(slots.shape[1]):
            mine = np.flatnonzero(slots[:, slot] < size)
            rest = np.delete(factors, slot, axis=1).prod(axis=1)
            rows.append(mine)
            columns.append(slots[mine, slot])
            values.append((k * sums * rest)[mine])
        where = (np.concatenate(rows), np.concatenate(columns))
        slopes = sp.csr_array((np.concatenate(values), where), shape=(count, size))
        return (net @ slopes).tocsc()

    found = solve_ivp(
        rhs, (0.0, problem.end), problem.y0, "BDF", [problem.end], rtol=rtol, atol=atol,
        jac=jacobian,
    )  # fmt: skip
    return found.y[:, -1] if found.success else np.full(size, np.nan)


def reference(problem: Problem) -> np.ndarray:
    """The end state, by SciPy at a tight tolerance."""
    return scipy_bdf(problem, 1e-8, 1e-2 * problem.atol)


def decades(found: np.ndarray, truth: np.ndarray, floor: float) -> float:
    """The largest error of the species above the floor, infinite where there is none."""
    above = truth > floor
    error = np.abs(np.log10(np.maximum(found[..., above], 1e-300)) - np.log10(truth[above]))
    return float(np.nan_to_num(error, nan=np.inf).max())


def ladder(run: Callable[[float], np.ndarray], problem: Problem, truth: np.ndarray) -> Any:
    """(seconds, rtol, error) of the cheapest run that is right, of a ladder of rtol."""
    best = (np.inf, np.nan, np.inf)
    for rtol in RTOLS:
        seconds, found = cpu(lambda rtol=rtol: run(rtol))
        error = decades(np.asarray(found), truth, problem.floor)
        if error <= GOAL and seconds < best[0]:
            best = (seconds, rtol, error)
        if seconds > 4 * best[0]:
            break
    return best


def compare(problem: Problem, batch: np.ndarray | None = None) -> Iterator[str]:
    """Lines of figures: SciPy, one cell, and a batch of cells on one core each."""
    truth = reference(problem)
    scipy = ladder(lambda rtol: scipy_bdf(problem, rtol, problem.atol), problem, truth)
    yield f"SciPy's BDF: {scipy[0]:.2f} s at rtol {scipy[1]:g}, {scipy[2]:.1e} dex"
    how: dict[str, Any] = {"atol": problem.atol, "throw": False}
    ts = jnp.array([problem.end])

    @jax.jit
    def one(y0: Any, rtol: Any) -> Any:
        return jaxchem.solve(problem.network, problem.k, y0, ts, rtol=rtol, **how).ys[-1]

    y0 = jnp.asarray(problem.y0)
    first, _ = cpu(lambda: one(y0, 1e-4))

    def many_times(rtol: float) -> np.ndarray:
        return one(y0, rtol)

    own = ladder(many_times, problem, truth)
    again = min(cpu(lambda: one(y0, own[1]))[0] for _ in range(5))
    yield (
        f"jaxchem: first call {first:.2f} s; then {again:.3f} s at rtol {own[1]:g}, "
        f"{own[2]:.1e} dex: {again / scipy[0]:.3f} of SciPy's time"
    )
    if batch is not None:
        many = jax.jit(lambda y0: jax.vmap(lambda y: one(y, own[1]))(y0))
        cells = jnp.asarray(batch)
        cpu(lambda: many(cells))
        each = min(cpu(lambda: many(cells))[0] for _ in range(3)) / len(batch)
        lost = int(np.sum(~np.isfinite(np.asarray(many(cells))).all(axis=1)))
        yield (
            f"{len(batch)} cells: {each:.3f} s a cell, {each / again:.2f} of one cell's, "
            f"{each / scipy[0]:.3f} of SciPy's; {lost} failed"
        )


def _needed(network: jaxchem.Network, known: dict[str, Any]) -> dict[str, Any]:
    given = {n: v for n, v in known.items() if n in network.needs}
    own = [n for n in network.user_quantities if n in network.needs]
    return given | ({"quantities": {"*": 0.0}} if own else {})


def air(options: argparse.Namespace, path: str) -> None:
    """The tables of an atmospheric mechanism."""
    seconds, network = cpu(lambda: jaxchem.load(path))
    print(f"{Path(path).name}: {len(network.species)} species, {len(network.equations)} reactions")
    print(f"load {seconds:.2f} s")
    sun = "solar_zenith_angle" in network.needs
    noon = _needed(network, {**AIR, "solar_zenith_angle": 0.3})
    seconds, k = cpu(lambda: network.rates(**noon))
    print(f"rates {seconds:.2f} s")
    start = {n: v * PPB for n, v in AIR_START.items() if n in network.species}
    y0 = np.maximum(np.asarray(network.y0(start)), 1e3)
    fixed = Problem(network, k, y0, options.hours * 3600.0, 1e5, 1e2)
    if options.twice:
        ts = jnp.array([fixed.end])
        for which in ("first", "second"):
            seconds, _ = cpu(lambda: jaxchem.solve(network, k, jnp.asarray(y0), ts, atol=1e2).ys)
            print(f"{which} solve without jit at the default rtol: {seconds:.2f} s")
    random = np.random.default_rng(0)
    batch = y0 * 10.0 ** random.uniform(-0.3, 0.3, (options.cells, len(y0)))
    print("fixed rates")
    for line in compare(fixed, batch):
        print(f"  {line}", flush=True)
    if sun and not options.twice:
        moving = {**noon, "solar_zenith_angle": lambda t: 0.3 + 7e-5 * t}
        print("a sun that moves")
        for line in compare(fixed._replace(k=network.rates(**moving)), batch):
            print(f"  {line}", flush=True)


def cloud(options: argparse.Namespace, path: str) -> None:
    """The table of an astrochemical network."""
    seconds, network = cpu(lambda: jaxchem.load(path))
    print(f"{Path(path).name}: {len(network.species)} species, {len(network.equations)} reactions")
    print(f"load {seconds:.2f} s")
    start = {n: v for n, v in CLOUD_START.items() if n in network.species}
    electrons = next(n for n in ("e-", "E") if n in network.species)
    start[electrons] = sum(v for n, v in start.items() if n.endswith("+"))

    def problem(density: float) -> Problem:
        given = _needed(network, {**CLOUD, "density": density})
        y0 = density * np.asarray(network.y0(start))
        k = network.rates(**given)
        return Problem(network, k, y0, 1e6 * YEAR, 1e-12 * density, 1e-18 * density)

    for line in compare(problem(2e4)):
        print(f"  {line}", flush=True)
    densities = np.logspace(3, 6, options.cells)
    problems = [problem(n) for n in densities]
    ks = jnp.stack([p.k for p in problems])
    y0 = jnp.stack([jnp.asarray(p.y0) for p in problems])

    @jax.jit
    def run(k: Any, y0: Any, atol: Any, rtol: Any) -> Any:
        def each(k: Any, y0: Any, atol: Any) -> Any:
            ts = jnp.array([1e6 * YEAR])
            found = jaxchem.solve(network, k, y0, ts, rtol=rtol, atol=atol, throw=False)
            return found.ys[-1]

        return jax.vmap(each)(k, y0, atol)

    atol = jnp.asarray([p.atol for p in problems])
    sample = range(0, len(problems), max(len(problems) // 5, 1))
    truth = {i: reference(problems[i]) for i in sample}
    for rtol in RTOLS:
        cpu(lambda rtol=rtol: run(ks, y0, atol, rtol))
        seconds, ys = cpu(lambda rtol=rtol: run(ks, y0, atol, rtol))
        error = max(decades(np.asarray(ys[i]), truth[i], problems[i].floor) for i in sample)
        if error <= GOAL:
            break
    lost = int(np.sum(~np.isfinite(np.asarray(ys)).all(axis=1)))
    print(
        f"  {len(problems)} densities: {seconds / len(problems):.3f} s a cloud at rtol {rtol:g}, "
        f"{error:.1e} dex in {len(sample)} of them; {lost} failed"
    )


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=("air", "cloud"))
    parser.add_argument("files", nargs="+")
    parser.add_argument("--hours", type=float, default=3.0, help="of air")
    parser.add_argument("--cells", type=int, default=64, help="of a batch")
    parser.add_argument("--twice", action="store_true", help="of air: solve twice without jit")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for path in options.files:
        {"air": air, "cloud": cloud}[options.kind](options, path)
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
