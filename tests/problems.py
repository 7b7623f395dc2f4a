"""Reference problems and an independent reference: nothing here touches jaxchem's kernels.

The table format is read again by a few lines of text handling, the right-hand side is a loop over
reactions and dictionaries, and the integration is scipy's.
"""

import csv
import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem.network import Reaction
from jaxchem.train import Job

SHARED = Path(__file__).parents[2] / "shared"
DATA = Path(jaxchem.__file__).parent / "data"
QUIET = Job(progress=False)

CHAIN = """name = chain
balanced = X
units = 1, s
[species]
A = X
B = X
D = X
E = X
[sources]
S1 = Nobody (1900)
[reactions]
A -> B ; 1 ; S1
B -> D ; 10 ; S1
D -> B ; 2 ; S1
D -> E ; 0.1 ; S1
"""

EXCHANGE = """name = exchange
balanced = X
units = 1, s
[species]
A = X
B = X
[sources]
S1 = Nobody (1900)
[reactions]
A -> B ; arrhenius(1e3, 2000) ; S1
2 B -> 2 A ; arrhenius(1e6, 4000) ; S1
"""

YEAR = 3.1536e7  # s, 365 days

SIZES = {
    "robertson": (3, 3),
    "pollu": (20, 25),
    "aoxid": (44, 49),
    "toy_autoxidation": (45, 50),
    "osu29": (29, 224),
}
"""Species and reactions of every network that ships."""

CONDITIONS: dict[str, dict[str, float]] = {
    "robertson": {},
    "pollu": {},
    "aoxid": {"temperature": 270.0},
    "toy_autoxidation": {"temperature": 288.0},
    "osu29": {"temperature": 50.0, "cosmic_ray_rate": 1e-16},
}

SHIPPED = tuple(SIZES)

INITIAL: dict[str, dict[str, float]] = {
    "robertson": {"A": 1.0},
    "pollu": {"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007},
    "aoxid": {"TOY": 1e11, "O3": 1e12, "OH": 1e7, "NO": 1e9, "HO2": 1e8},
    "toy_autoxidation": {"TOY": 1e11, "O3": 1e12, "OH": 1e7, "NO": 1e9, "HO2": 1e8},
    "osu29": {"H2": 1e4, "C": 0.3, "C+": 0.1, "O": 1.6, "e": 0.1},
}
"""Initial states; species that are not named start at `BACKGROUND`."""

BACKGROUND = {"osu29": 1e-16}

POLLU_END = {
    "NO2": 0.5646255480022769e-1,
    "NO": 0.1342484130422339,
    "O3P": 0.4139734331099427e-8,
    "O3": 0.5523140207484359e-2,
    "HO2": 0.2018977262302196e-6,
    "OH": 0.1464541863493966e-6,
    "HCHO": 0.7784249118997964e-1,
    "CO": 0.3245075353396018,
    "ALD": 0.7494013383880406e-2,
    "MEO2": 0.1622293157301561e-7,
    "C2O3": 0.1135863833257075e-7,
    "CO2": 0.2230505975721359e-2,
    "PAN": 0.2087162882798630e-3,
    "CH3O": 0.1396921016840158e-4,
    "HNO3": 0.8964884856898295e-2,
    "O1D": 0.4352846369330103e-17,
    "SO2": 0.6899219696263405e-2,
    "SO4": 0.1007803037365946e-3,
    "NO3": 0.1772146513969984e-5,
    "N2O5": 0.5682943292316392e-4,
}
"""POLLU at t = 60 min: Mazzia & Magherini, Test Set for Initial Value Problem Solvers 2.4, II-3."""


def initial(name: str) -> dict[str, float]:
    """The whole initial state of a network that ships, the electron balancing the cations."""
    values = dict.fromkeys(Reference.read(name).species, BACKGROUND.get(name, 0.0))
    values.update(INITIAL[name])
    if "e" in values:
        values["e"] = sum(v for n, v in values.items() if n.endswith("+"))
    return values


def shared(*parts: str) -> Path:
    """A file of the shared reference data; skips the test where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"reference data {'/'.join(parts)} is not here (no shared folder)")
    return path


Term = tuple[float, str]


@dataclasses.dataclass(frozen=True)
class Line:
    """One reaction as the tests understand it."""

    reactants: tuple[Term, ...]
    products: tuple[Term, ...]
    factor: float
    law: str = "constant"
    arguments: tuple[float, ...] = ()
    pool: str | None = None

    def k(self, temperature: float | None = None, cosmic_ray_rate: float | None = None) -> float:
        """The rate coefficient, from the textbook formula of its law."""
        if self.law == "constant":
            return self.factor
        if self.law == "arrhenius":
            amplitude, theta = self.arguments
            return self.factor * amplitude * math.exp(-theta / temperature)
        if self.law == "kooij":
            alpha, beta, gamma = self.arguments
            power = math.pow(temperature / 300.0, beta)
            return self.factor * alpha * power * math.exp(-gamma / temperature)
        assert self.law == "cosmic_ray"
        return self.factor * self.arguments[0] * cosmic_ray_rate


def side(text: str) -> tuple[Term, ...]:
    """``2 A + 0.5 B+`` or ``2A + B`` as ((2, "A"), (0.5, "B+"))."""
    terms = []
    for term in filter(None, (t.strip() for t in re.split(r" \+ ", f" {text.strip()} "))):
        number, name = re.fullmatch(r"([0-9.]+(?:e-?\d+)?)?\s*(\S+)", term).groups()
        terms.append((float(number or 1), name))
    return tuple(terms)


@dataclasses.dataclass(frozen=True)
class Reference:
    """A network read without jaxchem, and its slow right-hand side."""

    species: tuple[str, ...]
    lines: tuple[Line, ...]
    pools: Mapping[str, tuple[Term, ...]] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, name: str) -> "Reference":
        """A network that ships, by name."""
        return cls.parse((DATA / f"{name}.txt").read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, text: str) -> "Reference":
        section, species, pools, lines = "", [], {}, []
        for content in (raw.split("#")[0].strip() for raw in text.splitlines()):
            if content.startswith("["):
                section = content[1:-1]
            elif content and section == "species":
                species.append(content.split("=")[0].strip())
            elif content and section == "pools":
                pool, members = content.split(" = ")
                pools[pool] = side(members)
            elif content and section == "reactions":
                equation, rate, _ = content.split(";", 2)
                left, right = equation.split("->")
                factor, law, arguments, pool = 1.0, "constant", (), None
                for part in (p.strip() for p in rate.split("*")):
                    if "(" in part:
                        law, inside = part[:-1].split("(")
                        arguments = tuple(float(a) for a in inside.split(","))
                    elif part[0].isalpha():
                        pool = part
                    else:
                        factor *= float(part)
                lines.append(Line(side(left), side(right), factor, law, arguments, pool))
        return cls(tuple(species), tuple(lines), pools)

    def k(self, **conditions: float) -> np.ndarray:
        return np.array([line.k(**conditions) for line in self.lines])

    def flux(self, k, y) -> list:
        """The rate of each reaction, one multiplication at a time."""
        state = dict(zip(self.species, y, strict=True))
        rates = []
        for line, rate in zip(self.lines, k, strict=True):
            for count, name in line.reactants:
                for _ in range(int(count)):
                    rate = rate * state[name]
            if line.pool is not None:
                rate = rate * sum(c * state[member] for c, member in self.pools[line.pool])
            rates.append(rate)
        return rates

    def tendency(self, k, y) -> np.ndarray:
        """dy/dt."""
        change = dict.fromkeys(self.species, 0.0)
        for line, rate in zip(self.lines, self.flux(k, y), strict=True):
            for count, name in line.reactants:
                change[name] = change[name] - count * rate
            for count, name in line.products:
                change[name] = change[name] + count * rate
        return np.array([change[name] for name in self.species])

    def turnover(self, k, y) -> np.ndarray:
        """Production plus loss of each species: the scale of round-off in its tendency."""
        total = dict.fromkeys(self.species, 0.0)
        for line, rate in zip(self.lines, self.flux(k, y), strict=True):
            for count, name in (*line.reactants, *line.products):
                total[name] += count * abs(rate)
        return np.array([total[name] for name in self.species])

    def jacobian(self, k, y) -> np.ndarray:
        """d(tendency)/dy by the product rule, one reaction and one factor at a time."""
        index = {name: i for i, name in enumerate(self.species)}
        matrix = np.zeros((len(index), len(index)))
        for line, rate in zip(self.lines, k, strict=True):
            factors = [((1.0, name),) for c, name in line.reactants for _ in range(int(c))]
            if line.pool is not None:
                factors.append(self.pools[line.pool])
            change = dict.fromkeys(index, 0.0)
            for count, name in line.reactants:
                change[name] -= count
            for count, name in line.products:
                change[name] += count
            for i, factor in enumerate(factors):
                slope = rate
                for other in factors[:i] + factors[i + 1 :]:
                    slope = slope * sum(c * y[index[name]] for c, name in other)
                for name, count in change.items():
                    if count:
                        for weight, member in factor:
                            matrix[index[name], index[member]] += count * weight * slope
        return matrix

    def solve(
        self,
        k: np.ndarray | Callable[[float], np.ndarray],
        y0: Mapping[str, float],
        ts: np.ndarray,
        *,
        t0: float = 0.0,
        rtol: float = 1e-11,
        atol: float | np.ndarray = 1e-20,
        method: str = "Radau",
    ) -> np.ndarray:
        """scipy's solution [T, S] at `ts`; `k` an array, or a function of time giving one."""
        at = k if callable(k) else lambda t: k
        result = solve_ivp(
            lambda t, y: self.tendency(at(t), y),
            (t0, ts[-1]),
            [y0.get(name, 0.0) for name in self.species],
            method=method,
            t_eval=ts,
            jac=lambda t, y: self.jacobian(at(t), y),
            rtol=rtol,
            atol=atol,
        )
        assert result.success, result.message
        return result.y.T


@dataclasses.dataclass(frozen=True)
class Example:
    """A random network: its text, and the same as the tests understand it."""

    text: str
    reference: Reference
    formulas: Mapping[str, str]


_NAMES = ("A", "B2", "X+", "Y-", "e", "CH3O2", "a_b", "O3P")
_FORMULAS = ("H", "C2H4O", "NO2+", "Cl2-", "e-", "none", "?", "C10H16")
_FLOATS = st.floats(1e-3, 1e3)


@st.composite
def examples(draw, *, ion_pools: bool = False, yields=None, laws: bool = True) -> Example:
    """Random networks: order 0 to 3, repeated, catalytic and fractional terms, weighted pools.

    Args:
        draw: hypothesis' own.
        ion_pools: whether charged species may be in a pool.
        yields: strategy of the product coefficients.
        laws: whether rates may depend on temperature and cosmic rays.
    """
    yields = st.sampled_from([1.0, 1.0, 2.0, 3.0, 0.5, 0.25, 1.75]) if yields is None else yields
    species = draw(st.lists(st.sampled_from(_NAMES), min_size=2, max_size=6, unique=True))
    formulas = {name: draw(st.sampled_from(_FORMULAS)) for name in species}
    may_pool = [n for n in species if ion_pools or n[-1] not in "+-"]
    pools = {}
    for pool in draw(st.lists(st.sampled_from(("RO2", "P_1")), unique=True)):
        if may_pool:
            members = draw(st.lists(st.sampled_from(may_pool), min_size=1, unique=True))
            weights = st.sampled_from([1.0, 1.0, 1.0, 2.5, 0.125])
            pools[pool] = tuple((draw(weights), n) for n in members)
    lines = []
    for _ in range(draw(st.integers(1, 7))):
        left = draw(st.lists(st.sampled_from(species), max_size=3))
        right = draw(st.lists(st.sampled_from(species), max_size=3, unique=True))
        reactants = tuple((float(left.count(n)), n) for n in dict.fromkeys(left))
        products = tuple((draw(yields), n) for n in right)
        law = draw(st.sampled_from(("constant", "arrhenius", "kooij", "cosmic_ray")))
        if not laws:
            law = "constant"
        size = {"constant": 0, "arrhenius": 2, "kooij": 3, "cosmic_ray": 1}[law]
        arguments = tuple(draw(_FLOATS) * draw(st.sampled_from((1, -1))) for _ in range(size))
        arguments = tuple(abs(a) if i == 0 else a for i, a in enumerate(arguments))
        pool = draw(st.sampled_from((None, *pools)))
        lines.append(Line(reactants, products, draw(_FLOATS), law, arguments, pool))
    reference = Reference(tuple(species), tuple(lines), pools)
    return Example(_write(reference, formulas), reference, formulas)


def _write(reference: Reference, formulas: Mapping[str, str]) -> str:
    def terms(items):
        return " + ".join(n if c == 1 else f"{c!r} {n}" for c, n in items)

    def rate(line):
        law = f"{line.law}({', '.join(map(repr, line.arguments))})" if line.arguments else None
        return " * ".join(filter(None, (repr(line.factor), law, line.pool)))

    text = ["name = random", "units = mol m-3, s", "", "[species]"]
    text += [f"{n} = {formulas[n]}" for n in reference.species]
    if reference.pools:
        text += ["[pools]"] + [f"{n} = {terms(m)}" for n, m in reference.pools.items()]
    text += ["[sources]", "S1 = Nobody (1900), Nowhere 1, 1.", "[reactions]"]
    text += [
        f"{terms(line.reactants)} -> {terms(line.products)} ; {rate(line)} ; S1, row {j}"
        for j, line in enumerate(reference.lines)
    ]
    return "\n".join(text) + "\n"


def state(name: str) -> jnp.ndarray:
    """Initial concentrations as `jaxchem.solve` takes them."""
    return jnp.array(list(initial(name).values()))


def mass_action(species: list[str], reactions: list[tuple[str, str, float]], units: str):
    """A network of constant coefficients from sides of equations, such as ``0.61 HO2 + NO2``."""

    def side(text: str) -> dict[str, float]:
        total: dict[str, float] = {}
        for term in filter(None, (part.strip() for part in text.split(" + "))):
            count, _, name = term.rpartition(" ")
            total[name] = total.get(name, 0) + float(count or 1)
        return total

    return jaxchem.Network.build(
        name="reference",
        species=dict.fromkeys(species),
        reactions=[
            Reaction({s: int(c) for s, c in side(left).items()}, side(right), k, "-")
            for left, right, k in reactions
        ],
        units=jaxchem.Units(units, "s"),
    )


def dark_cloud():
    """KROME's cloud at 10 K: network [452, 4429], initial state, times and reference states."""
    data = np.load(shared("data", "krome", "krome_cloud_T10.npz"))
    reactions = [
        (*(side.strip() for side in str(text).split("->")), float(k))
        for text, k in zip(data["reactions"], data["k"], strict=True)
    ]
    network = mass_action([str(s) for s in data["species"]], reactions, "cm-3")
    return network, data["ic_n"], data["t_s"], data["n"], float(data["nH"])


def saprc99():
    """KPP's saprc99 at the rates of noon: network, initial state, times and reference states."""
    data = np.load(shared("data", "kpp", "sap_rodas4_fixed.npz"), allow_pickle=True)
    with shared("data", "networks", "saprc99_noon.csv").open() as file:
        rows = list(csv.DictReader(file))
    species = [str(s) for s in data["species"][: int(data["n_var"])]]
    reactions = [(row["reactants"], row["products"], float(row["k"])) for row in rows]
    network = mass_action(species, reactions, "molecule cm-3")
    states = data["conc"][:, : len(species)]
    return network, states[0], data["time_s"], states


def clouds(
    network,
    *,
    cases,
    carbon=(1e-6, 1e-4),
    carbon_ion=(1e-6, 1e-4),
    oxygen_ratio=4.0,
    line=None,
    seed=0,
    **conditions,
):
    """Dark clouds as conf/data/osu29.yaml draws them: initial states and conditions."""
    given = {"temperature": 50.0, "cosmic_ray_rate": 1e-16, "density": 1e4} | conditions
    initial = {"H2": 1.0, "C": carbon, "C+": carbon_ion}
    initial["O"] = {"ratio": oxygen_ratio, "of": ["C", "C+"]}
    how = {"over": "density", "background": 1e-20, "balance": "e", "line": line, "seed": seed}
    return jaxchem.dataset.draw(network, cases=cases, initial=initial, conditions=given, **how)
