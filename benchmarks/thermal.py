"""Interstellar thermo-chemistry as a user writes it: rates and a temperature of the state.

    python benchmarks/thermal.py

Two networks of KROME (Grassi et al. 2014, doi:10.1093/mnras/stu114) with cosmic rays, dust and the
background light of Haardt & Madau (2012, doi:10.1088/0004-637X/746/2/125) at redshift 0: atomic
(7 species) and molecular (9 species), as in Branca & Pallottini (2022,
doi:10.1093/mnras/stac3512), each with the gas temperature as one more state. The 100 initial states
of KROME's reference trajectories are integrated to 1 Myr in one batch: milliseconds of CPU a state
on one core, failures, and errors against KROME at rtol 1e-8, beside those of KROME at its own
default tolerance. Needs KROME's references and tables, which are not shipped.

The chemistry is mass action with coefficients k(t, y); what is not (molecules that form on dust,
heating and cooling) is a tendency. Densities are cm-3, times s, temperatures K, and heating and
cooling erg cm-3 s-1.
"""

import argparse
import csv
import functools
import os
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from problems import DATA
from readme import published

import jaxchem
from jaxchem.network import Network
from jaxchem.parse import krome

jax.config.update("jax_enable_x64", True)

BOLTZMANN = 1.380648e-16
"""erg K-1; this and the other constants have KROME's digits."""
ELECTRON_VOLT = 1.60217646e-12
"""erg"""
GAMMA = 1.66666666667
"""Ratio of heat capacities, of any mixture."""
COLDEST, HOTTEST = 2.73, 1e9
"""K; the temperature counts from here to there."""

DUST = 0.3
"""Dust per gas, relative to the solar neighbourhood."""
COSMIC_RAYS = 3e-17
"""Ionisations of hydrogen, s-1."""
HABING = 4.8540003613600641e-3
"""Far ultraviolet light, relative to Habing (1968)."""

PHOTOHEATING = {
    "H": 1.3888302781531358e-25,
    "He": 1.5926085944820079e-25,
    "He+": 1.8336655336622289e-26,
    "H-": 1.5411430758826770e-21,
    "H2": 2.2530434674410369e-25 + 2.7218991221198108e-27,
    "H2+": 4.2792307348453352e-24 + 1.0818916936893611e-26,
}
"""erg s-1 a particle."""
IONISED = {"H": 0.46, "He": 0.5, "H2": 0.1 + 3e-4 + 0.93 + 0.93}
"""Events a particle for each unit of COSMIC_RAYS."""

Array = Any


class Gas(NamedTuple):
    """A state by what it means.

    Attributes:
        densities: of species.
        temperature: within COLDEST and HOTTEST.
    """

    densities: Mapping[str, Array]
    temperature: Array

    def __getitem__(self, species: str) -> Array:
        """A species' density, zero of one that the network does without."""
        return self.densities.get(species, 0.0)

    @property
    def nuclei(self) -> Array:
        """Hydrogen nuclei."""
        return self["H-"] + self["H"] + self["H+"] + 2 * self["H2"] + 2 * self["H2+"]

    @property
    def particles(self) -> Array:
        """All of them, electrons included."""
        return functools.reduce(lambda a, b: a + b, self.densities.values())

    @property
    def charging(self) -> Array:
        """Light over electrons, which sets the charge of grains (Bakes & Tielens 1994)."""
        electrons = jnp.maximum(self["e-"], 1e-30)
        return HABING * jnp.sqrt(self.temperature) / electrons


class Cloud:
    """One of the two models.

    Attributes:
        network: the reactions; temperature follows its species in a state.
        numbers: row of the reaction table -> place in the network.
    """

    def __init__(self, atomic: bool, data: Path | None = None):
        data = DATA / "krome" if data is None else data
        with (data / "ism_network.csv").open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if r["in_atomic"] == "1" or not atomic]
        rows = [row for row in rows if row["group"] != "dustH2"]  # `change` has it
        self.atomic = atomic
        self.network = reactions(rows)
        self.numbers = {row["id"]: place for place, row in enumerate(rows)}
        self.metal_table = read_table(data / "coolZ_CIE2012NOUV.dat")

    def gas(self, y: Array) -> Gas:
        """A state as named densities and a temperature."""
        densities = dict(zip(self.network.species, y, strict=False))
        return Gas(densities, jnp.clip(y[-1], COLDEST, HOTTEST))

    def k(self, t: Array, y: Array) -> Array:
        """Rate coefficients [R] at a state."""
        gas = self.gas(y)
        return self.network.rates(
            temperature=gas.temperature,
            quantities={"psi": gas.charging, "fd": DUST, "zeta": COSMIC_RAYS},
        )

    def change(self, t: Array, y: Array) -> Array:
        """What mass action does not change [S + 1]: H2 from dust, and the temperature."""
        gas = self.gas(y)
        heat = sum(self.heating(gas, self.k(t, y)).values())
        heat -= sum(self.cooling(gas).values())
        formed = 0.0 if self.atomic else molecules_on_dust(gas)
        parts = {"H": -2 * formed, "H2": formed}
        warming = (GAMMA - 1) / (BOLTZMANN * gas.particles) * heat
        return jnp.stack([*(parts.get(n, 0.0) + 0 * y[0] for n in self.network.species), warming])

    def heating(self, gas: Gas, k: Array) -> dict[str, Array]:
        """Each way in which the gas is heated."""
        found = {
            "photo": sum(heat * gas[species] for species, heat in PHOTOHEATING.items()),
            "cr": 20 * ELECTRON_VOLT * COSMIC_RAYS * sum(p * gas[n] for n, p in IONISED.items()),
            "dust": photoelectric(gas),
        }
        if not self.atomic:
            found["chem"] = chemical(gas, {row: k[place] for row, place in self.numbers.items()})
        return found

    def cooling(self, gas: Gas) -> dict[str, Array]:
        """Each way in which the gas is cooled."""
        found = {
            "atomic": atomic_lines(gas),
            "compton": 5.65e-36 * (gas.temperature - COLDEST) * gas["e-"],  # Cen (1992)
            "metal": metal_lines(gas, self.metal_table),
        }
        return found if self.atomic else {**found, "H2": molecular_lines(gas)}


# The reactions


def reactions(rows: list[dict[str, str]]) -> Network:
    """A table of reactions, handed to the reader of KROME's networks as one."""
    lines = ["@common: psi, fd, zeta", "@format:idx,R,R,P,P,P,P,Tmin,Tmax,rate"]
    for row in rows:
        sides = []
        for side, slots in (("reactants", 2), ("products", 4)):
            names = row[side].split(" + ")
            sides += names + [""] * (slots - len(names))
        fields = [row["id"], *sides, *limits(row["T_range_K"]), row["rate"]]
        lines += [f"# {row['reference']}", ",".join(fields)]
    return krome.loads("\n".join(lines), "ism_network.csv")


def limits(text: str) -> tuple[str, str]:
    """``1e2<=T<1e5`` as KROME writes limits, each with its operator."""
    if text == "all":
        return "", ""
    match = re.fullmatch(r"(?:([\d.e+]+)(<=?))?T(?:(<=?|>=?)([\d.e+]+))?", text)
    if match is None:
        raise ValueError(f"cannot read {text!r} as a range of temperatures")
    least, below, operator, value = match.groups()
    low = "" if least is None else below.replace("<", ">") + least
    if operator is None:
        return low, ""
    return (low, operator + value) if operator[0] == "<" else (operator + value, "")


def molecules_on_dust(gas: Gas) -> Array:
    """H2 that forms on dust, cm-3 s-1 (Jura 1975, doi:10.1086/153545)."""
    return 3.5e-17 * DUST * gas["H"] * gas.nuclei


# Heating


def photoelectric(gas: Gas) -> Array:
    """Electrons from dust, less recombination (Bakes & Tielens 1994, doi:10.1086/174188)."""
    t, psi = gas.temperature, gas.charging
    share = 4.9e-2 / (1 + 4e-3 * psi**0.73) + 3.7e-2 * (t / 1e4) ** 0.7 / (1 + 2e-4 * psi)
    lost = 4.65e-30 * t**0.94 * psi ** (0.735 * t**-0.068) * gas["e-"] * gas["H"]
    return DUST * (1.3e-24 * share * HABING * gas.nuclei - lost)


def chemical(gas: Gas, k: Mapping[str, Array]) -> Array:
    """H2 that forms and breaks up (Hollenbach & McKee 1979, doi:10.1086/190631).

    Args:
        gas: the state.
        k: row of the reaction table -> its coefficient.
    """
    t, h, h2, nuclei = gas.temperature, gas["H"], gas["H2"], gas.nuclei
    by_h = 1.6 * jnp.exp(-((400 / t) ** 2)) * h / nuclei
    by_h2 = 1.4 * jnp.exp(-12000 / (t + 1200)) * h2 / nuclei
    critical = 1e6 / jnp.sqrt(t) / (by_h + by_h2)
    kept = 1 / (1 + critical / nuclei)  # not radiated
    formed = 3.53 * kept * k["10"] * gas["H-"] * h + 1.83 * kept * k["13"] * gas["H2+"] * h
    formed += (4.2 * kept + 0.2) * molecules_on_dust(gas)
    broken = k["17"] * h2 * gas["e-"] + k["18"] * h2 * h + k["27"] * h2**2
    return ELECTRON_VOLT * (formed - 4.48 * broken)


# Cooling


def atomic_lines(gas: Gas) -> Array:
    """Ionisation, recombination and excitation of H and He (Cen 1992, doi:10.1086/191630)."""
    t = jnp.maximum(gas.temperature, 10.0)
    root, e = jnp.sqrt(t), gas["e-"]
    damped = 1 / (1 + jnp.sqrt(t / 1e5))
    hot = root * (t / 1e3) ** -0.2 / (1 + (t / 1e6) ** 0.7)

    def boltzmann(temperature: float) -> Array:
        return jnp.exp(-temperature / t)

    h = 1.27e-21 * root * boltzmann(157809.1) + 7.5e-19 * boltzmann(118348.0)
    he = 9.38e-22 * root * boltzmann(285335.4)
    he_ion = 4.95e-22 * root * boltzmann(631515.0) + 5.54e-17 * t**-0.397 * boltzmann(473638.0)
    twice = (5.01e-27 * boltzmann(55338.0) + 9.1e-27 * boltzmann(13179.0)) * t**-0.1687
    dielectronic = 1.24e-13 * t**-1.5 * boltzmann(470000.0) * (1 + 0.3 * boltzmann(94000.0))
    return e * (
        damped * (h * gas["H"] + he * gas["He"] + (he_ion + twice * e) * gas["He+"])
        + hot * (8.7e-27 * gas["H+"] + 3.48e-26 * gas["He++"])
        + (1.55e-26 * t**0.3647 + dielectronic) * gas["He+"]
    )


class Table(NamedTuple):
    """Values at the nodes of an even grid.

    Attributes:
        x, y: the nodes.
        values: [len(x) * len(y)], those of one x after another.
    """

    x: np.ndarray
    y: np.ndarray
    values: np.ndarray

    def __call__(self, x: Array, y: Array) -> Array:
        """Bilinear interpolation, and extrapolation from the last nodes."""
        i, along = _place(self.x, x)
        j, across = _place(self.y, y)
        width, values = len(self.y), jnp.asarray(self.values)
        corner = i * width + j
        low = (1 - across) * values[corner] + across * values[corner + 1]
        high = (1 - across) * values[corner + width] + across * values[corner + width + 1]
        return (1 - along) * low + along * high


def _place(nodes: np.ndarray, x: Array) -> tuple[Array, Array]:
    """The interval that x is in, or the nearest one, and how far along.

    The nodes are even to seven digits; KROME takes the first interval's length for all of them.
    """
    step = (nodes[-1] - nodes[0]) / (len(nodes) - 1)
    interval = jnp.floor((jax.lax.stop_gradient(x) - nodes[0]) / step)
    interval = jnp.clip(interval, 0, len(nodes) - 2).astype(int)
    return interval, (x - jnp.asarray(nodes)[interval]) / (nodes[1] - nodes[0])


def read_table(path: Path) -> Table:
    """A file with a row of x, y and value for each node."""
    lines = (line.split() for line in path.read_text().splitlines() if not line.startswith("#"))
    rows = np.array([line for line in lines if len(line) == 3], dtype=float)
    x, y = np.unique(rows[:, 0]), np.unique(rows[:, 1])
    return Table(x, y, rows[np.lexsort((rows[:, 1], rows[:, 0])), 2])


def metal_lines(gas: Gas, table: Table) -> Array:
    """Metals in equilibrium with collisions (Shen et al. 2013, doi:10.1088/0004-637X/765/2/89)."""
    nuclei = gas.nuclei
    return nuclei**2 * 10.0 ** table(jnp.log10(nuclei), jnp.log10(gas.temperature))


def molecular_lines(gas: Gas) -> Array:
    """H2 (Glover & Abel 2008, doi:10.1111/j.1365-2966.2008.13224.x, as updated by Glover 2015).

    The update is doi:10.1093/mnras/stv1781. Formulas hold within limits of temperature, and are
    evaluated there alone: beyond them they overflow, and the derivative of what is not chosen
    would be NaN.
    """
    t = gas.temperature

    def fit(low: float, high: float, *coefficients: float) -> Array:
        scaled = jnp.log10(jnp.clip(t, low, high) / 1e3)
        power = functools.reduce(lambda sum_, c: sum_ * scaled + c, reversed(coefficients))
        return 10.0 ** jnp.minimum(power, 30.0)

    def window(low: float, high: float) -> Array:
        """About one between two decades, and falling off outside."""
        x = (jnp.log10(t) - low) / (high - low)
        rise = 10 / (10 + jnp.exp(-50 * (x + 0.2)))
        fall = 10 / (10 + jnp.exp(-50 * (1.2 - x)))
        return 10.0 ** (200 * (rise * fall - 1))

    warm, between = (t > 10) & (t <= 1e4), window(2, 4)
    by_h = 1.862314467912518e-22 * window(1, np.log10(6e3))
    for low, high, coefficients in zip((1000, 100, COLDEST), (6000, 1000, 100), H2_H, strict=True):
        by_h = jnp.where(t <= high, fit(low, high, *coefficients), by_h)
    by_proton = jnp.where(warm, fit(10, 1e4, *H2_PROTON), 1.182509139382060e-21 * window(1, 4))
    by_helium = jnp.where(warm, fit(10, 1e4, *H2_HE), 1.002560385050777e-22 * window(1, 4))
    by_h2 = fit(COLDEST, HOTTEST, *H2_H2) * between
    by_electron = between * jnp.where(
        t <= 500, fit(COLDEST, 500, *H2_E[0]), fit(500, HOTTEST, *H2_E[1])
    )
    dilute = (
        by_h * gas["H"]
        + by_proton * gas["H+"]
        + by_h2 * gas["H2"]
        + by_electron * gas["e-"]
        + by_helium * gas["He"]
    )
    cold = jnp.minimum(t, 2000.0) / 1e3
    rotation = 9.5e-22 * cold**3.76 / (1 + 0.12 * cold**2.1) * jnp.exp(-((0.13 / cold) ** 3))
    rotation += 3e-24 * jnp.exp(-0.51 / cold)
    vibration = 6.7e-19 * jnp.exp(-5.86 / cold) + 1.6e-18 * jnp.exp(-11.7 / cold)
    beyond = 5.531333679406485e-19 / (1 + jnp.exp(jnp.minimum((t - 3e4) * 2e-4, 300.0)))
    dense = jnp.where(
        t < 2000,
        rotation + vibration,
        jnp.where(t <= 1e4, fit(2000, 1e4, *H2_DENSE), beyond),
    )
    return gas["H2"] * dense * dilute / (dense + dilute)


# Coefficients of powers of log10(T / 1000 K), of the logarithm of erg cm3 s-1 (erg s-1 if dense)
# fmt: off
H2_H = (
    (-24.311209, 4.6450521, -3.7209846, 5.9369081, -5.5108049, 1.5538288),
    (-24.311209, 3.5692468, -11.332860, -27.850082, -21.328264, -4.2519023),
    (-16.818342, 37.383713, 58.145166, 48.656103, 20.159831, 3.8479610),
)
H2_PROTON = (-22.089523, 1.5714711, 0.015391166, -0.23619985, -0.51002221, 0.32168730)
H2_H2 = (-23.962112, 2.09433740, -0.77151436, 0.43693353, -0.14913216, -0.033638326)
H2_HE = (-23.689237, 2.1892372, -0.81520438, 0.29036281, -0.16596184, 0.19191375)
H2_E = (
    (-21.928796, 16.815730, 96.743155, 343.19180, 734.71651,
     983.67576, 801.81247, 364.14446, 70.609154),
    (-22.921189, 1.6802758, 0.93310622, 4.0406627, -4.7274036,
     -8.8077017, 8.9167183, 6.4380698, -6.3701156),
)
H2_DENSE = (
    -20.584225, 5.0194035, -1.5738805, -4.7155769, 2.4714161,
    5.4710750, -3.9467356, -2.2148338, 1.8161874,
)
# fmt: on


# The runs


class References(NamedTuple):
    """KROME's trajectories of one model, states in the order of `Cloud.network` and temperature.

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
    name = "atom" if cloud.atomic else "mol"
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
    system = jaxchem.System(
        cloud.network, cloud.k, further={"temperature": "K"}, tendency=cloud.change
    )
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Interstellar thermo-chemistry in one batch.")
    parser.add_argument("--cells", type=int, help="states of each model; by default all")
    parser.add_argument("--rtol", type=float, nargs="+", default=[1e-3, 1e-4])
    parser.add_argument("--out", type=Path, help="a folder whose README.md gets the table")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if not (DATA / "krome").is_dir():
        raise SystemExit("KROME's references are not here.")
    with published("thermal", options.out):
        print("| model | outputs | rtol | ms a state | steps | failed | median | p99 | largest |")
        print("|---|---|---|---|---|---|---|---|---|")
        for atomic in (True, False):
            cloud = Cloud(atomic)
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
