"""Benchmark problems: networks, initial states, output times and reference solutions."""

import collections
import csv
import datetime
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import jaxchem
from jaxchem.network import Network, Reaction, Units

DATA = Path(__file__).parents[2] / "shared" / "data"
"""Published trajectories and mechanisms that are too large to ship; may be absent."""

SAPRC99 = DATA / "mechanisms" / "kpp_models" / "saprc99.def"

SEED = 0

NOON = 43200.0
QUARTERS = 900.0 * np.arange(1, 97)
"""Seconds: the quarters of an hour of a day."""


class Problem(NamedTuple):
    """A batch of cells of one network, to be compared at fixed output times.

    Attributes:
        network: the reactions.
        k: [R] rate coefficients, or a function of time and state that gives them.
        y0: [N, S] initial states at `t0`.
        ts: [T] output times.
        t0: the time of the initial states.
        atols: absolute tolerances that every peer tries.
        floor: concentrations are compared as log10(max(y, floor)).
        exact: absolute tolerance of the reference.
        published: [N, T, S] log10 concentrations, where they are known.
    """

    network: Network
    k: Any
    y0: np.ndarray
    ts: np.ndarray
    t0: float
    atols: tuple[float, ...]
    floor: float
    exact: float
    published: np.ndarray | None = None

    def log10(self, ys: np.ndarray) -> np.ndarray:
        """What is compared: the logarithm, from the floor up."""
        return np.log10(np.maximum(ys, self.floor))


def osu29(cells: int) -> Problem:
    """A dark cloud at 50 K: published trajectories, or else states drawn from the same ranges."""
    network = jaxchem.load("osu29")
    path, rng = DATA / "osu29" / "dataset.npz", np.random.default_rng(SEED)
    if path.is_file():
        data = np.load(path)
        chosen = np.resize(rng.permutation(len(data["n_C0"])), cells)
        carbon, ions, oxygen = (data[name][chosen] for name in ("n_C0", "n_Cp0", "n_O0"))
        ts, published = data["t_s"], np.asarray(data["log10n"][chosen], dtype=float)
    else:
        carbon, ions, oxygen = rng.uniform((0.01, 0.01, 0.1), (1.0, 1.0, 7.5), (cells, 3)).T
        ts, published = np.geomspace(1e-6, 1e8, 100) * 3.1536e7, None
    y0 = np.full((cells, len(network.species)), 1e-16)
    for name, values in {"H2": 1e4, "C": carbon, "C+": ions, "O": oxygen}.items():
        y0[:, network.index(name)] = values
    cations = [i for i, name in enumerate(network.species) if name.endswith("+")]
    y0[:, network.index("e")] = y0[:, cations].sum(axis=1)
    k = np.asarray(network.rates(temperature=50.0, cosmic_ray_rate=1e-16))
    return Problem(network, k, y0, ts, 1.0, (1e-18, 1e-21), 1e-30, 1e-22, published)


def pollu(cells: int) -> Problem:
    """POLLU (Verwer 1994): 20 species of air pollution, initial states perturbed by 20 %."""
    network = jaxchem.load("pollu")
    start = {"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007}
    y0 = _perturbed(np.asarray(network.y0(start)), 0.2, cells)
    ts = np.geomspace(1e-6, 60.0, 100)
    k = np.asarray(network.rates())
    return Problem(network, k, y0, ts, 0.0, (1e-12, 1e-15), 1e-9, 1e-17)


def saprc99(cells: int) -> Problem | None:
    """SAPRC-99 at the rates of noon: 74 species, 24 h, initial states perturbed by 10 %."""
    table, states = DATA / "networks" / "saprc99_noon.csv", DATA / "kpp" / "sap_rodas4_fixed.npz"
    if not (table.is_file() and states.is_file()):
        return None
    data = np.load(states)
    species = [str(name) for name in data["species"][: data["n_var"]]]
    with table.open(newline="") as file:
        reactions = [_reaction(row) for row in csv.DictReader(file)]
    network = Network.build(
        name="saprc99",
        species=dict.fromkeys(species),
        reactions=reactions,
        units=Units("molecule cm-3", "s"),
    )
    y0 = _perturbed(data["conc"][0, : len(species)], 0.1, cells)
    ts = data["time_s"][1:] - data["time_s"][0]
    k = np.asarray(network.rates())
    return Problem(network, k, y0, ts, 0.0, (1e-3, 1e-1, 1e-6), 1e3, 1e-3)


def saprc99_sunlit(cells: int) -> Problem | None:
    """SAPRC-99 as KPP's example has it, from one noon to the next under a sun that sets."""
    if not SAPRC99.is_file():
        return None
    network = jaxchem.load(SAPRC99)
    start = np.asarray(network.y0(dict(network.initial)))
    fixed = [network.index(name) for name in network.fixed]
    y0 = _perturbed(start, 0.1, cells)
    y0[:, fixed] = start[fixed]
    k = network.rates(local_time=lambda t: t)
    return Problem(network, k, y0, NOON + QUARTERS, NOON, (1e-3,), 1e3, 1e-3)


def isoprene(cells: int) -> Problem | None:
    """Isoprene of the MCM with its RO2 pool: 610 species, a day at 298 K under the sun of noon.

    The coefficients of the 222 reactions with the pool are those of the mechanism, so that the
    pool acts; the box is the one of KPP's example.
    """
    network = _isoprene()
    if network is None:
        return None
    air = 2.5e19
    major = {"O2": 0.21 * air, "N2": 0.78 * air, "H2O": 0.01 * air}
    where = {"temperature": 298.0, "density": air, "solar_zenith_angle": 0.0}
    k = np.asarray(network.rates(**where, quantities=major))
    start = {"O3": 3e-8, "NO2": 1e-10, "CH4": 1.8e-6, "C5H8": 1e-9}
    y0 = np.asarray(network.y0({name: share * air for name, share in start.items()}))
    return Problem(network, k, _perturbed(y0, 0.1, cells), QUARTERS, 0.0, (1e-3,), 1e3, 1e-3)


def isoprene_sunlit(cells: int) -> Problem | None:
    """Isoprene of the MCM over a midsummer day from noon, sun and temperature as of 45 degrees."""
    network = _isoprene()
    if network is None:
        return None
    sun = jaxchem.Sun(latitude=45.0, longitude=0.0, day=datetime.date(2024, 6, 21))
    k = network.rates(
        temperature=lambda t: 290.0 + 8.0 * jnp.sin(2 * jnp.pi * (t - 32400.0) / 86400.0),
        pressure=101325.0,
        relative_humidity=0.5,
        solar_zenith_angle=sun,
    )
    start = {"O3": 1e12, "NO": 2.5e9, "NO2": 2.5e10, "CO": 3e12, "CH4": 4.6e13, "C5H8": 5e10}
    y0 = _perturbed(np.asarray(network.y0(start)), 0.1, cells)
    ts = NOON + 3600.0 * np.arange(1, 25)
    return Problem(network, k, y0, ts, NOON, (1e1,), 1e3, 1e-3)


def _isoprene() -> Network | None:
    path = DATA / "mechanisms" / "kpp_mcm_isoprene" / "mcm_isoprene.eqn"
    if not path.is_file():
        return None
    with warnings.catch_warnings():  # what the MCM's export leaves undeclared
        warnings.simplefilter("ignore")
        return jaxchem.load(path)


PROBLEMS: dict[str, Callable[[int], Problem | None]] = {
    "osu29": osu29,
    "pollu": pollu,
    "saprc99": saprc99,
}
"""Those of the work-precision runs, at fixed rates, as every peer can have them.

Builders by name; `None` where the data are absent. The first cells do not depend on N.
"""


def _perturbed(y0: np.ndarray, share: float, cells: int) -> np.ndarray:
    factors = np.random.default_rng(SEED).uniform(1 - share, 1 + share, (cells, len(y0)))
    return y0 * factors


def _reaction(row: dict[str, str]) -> Reaction:
    reactants = {name: int(count) for name, count in _side(row["reactants"]).items()}
    source = "KPP's saprc99 at the rates of noon"
    return Reaction(reactants, _side(row["products"]), float(row["k"]), source, f"row {row['id']}")


def _side(text: str) -> dict[str, float]:
    """``NO + 0.5 NO2`` as names and how often they stand there."""
    counts: collections.Counter = collections.Counter()
    for term in filter(None, (part.strip() for part in text.split(" + "))):
        match = re.fullmatch(r"(?:([0-9.]+) )?(\S+)", term)
        if match is None:
            raise ValueError(f"cannot read {term!r} in {text!r}")
        counts[match[2]] += float(match[1] or 1)
    return dict(counts)


def reference(problem: Problem, folder: Path) -> np.ndarray:
    """[N, T, S] log10 of the published values, or of SciPy's Radau at rtol 1e-10.

    Cells are written to `folder` as they are done, and taken from there the next time.
    """
    if problem.published is not None:
        return problem.published
    path = folder / f"reference_{problem.network.name}.npz"
    done = _cached(path, problem)
    for cell in range(len(done), len(problem.y0)):
        print(f"reference of {problem.network.name}: cell {cell + 1} of {len(problem.y0)}")
        found = jaxchem.generate(
            problem.network,
            jnp.asarray(problem.k),
            problem.y0[cell : cell + 1],
            problem.ts,
            t0=problem.t0,
            rtol=1e-10,
            atol=problem.exact,
            progress=False,
        )
        done = np.concatenate([done, found["concentration"].values])
        np.savez(path, y0=problem.y0[: len(done)], ts=problem.ts, k=problem.k, ys=done)
    return problem.log10(done[: len(problem.y0)])


def _cached(path: Path, problem: Problem) -> np.ndarray:
    """The cells that an earlier run left, if they were of this problem."""
    nothing = np.empty((0, len(problem.ts), problem.y0.shape[1]))
    if not path.is_file():
        return nothing
    data = np.load(path)
    both = min(len(data["y0"]), len(problem.y0))
    pairs = ((data["k"], problem.k), (data["ts"], problem.ts))
    same = all(np.array_equal(a, b) for a, b in pairs)
    same = same and np.array_equal(data["y0"][:both], problem.y0[:both])
    return data["ys"] if same else nothing
