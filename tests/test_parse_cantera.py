"""Cantera's YAML against formulas of the test's own, SciPy, and Cantera where it is installed."""

import math
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem.kinetics import flux, jacobian, tendency
from jaxchem.network import MechanismError
from jaxchem.parse import cantera, loads, table

R = 8.31446261815324  # J mol-1 K-1
ATM = 101325.0
MIDDLE = 1000.0

# heat of formation [kJ mol-1], entropy [J mol-1 K-1] at 298.15 K, and heat capacity over R
THERMO = {
    "H": ("{H: 1}", 218.0, 114.7, 2.5),
    "H2": ("{H: 2}", 0.0, 130.7, 3.5),
    "O": ("{O: 1}", 249.2, 161.1, 2.5),
    "O2": ("{O: 2}", 0.0, 205.1, 3.6),
    "OH": ("{O: 1, H: 1}", 39.0, 183.7, 3.5),
    "H2O": ("{H: 2, O: 1}", -241.8, 188.8, 4.1),
    "HO2": ("{H: 1, O: 2}", 12.3, 229.0, 4.3),
    "H2O2": ("{H: 2, O: 2}", -136.0, 234.5, 5.2),
    "AR": ("{Ar: 1}", 0.0, 154.8, 2.5),
}


def rows(name: str) -> list[list[float]]:
    """Polynomials of a species, below and above `MIDDLE`; they need not meet there."""
    _, heat, entropy, capacity = THERMO[name]
    found = []
    for slopes in ([2e-4, -3e-8, 4e-12, -5e-16], [3e-4, -2e-8, 3e-12, -1e-16]):
        a5 = heat * 1e3 / R - capacity * 298.15
        a6 = entropy / R - capacity * math.log(298.15)
        found.append([capacity, *slopes, a5, a6])
    return found


def gibbs(name: str, t: float) -> float:
    """h / R T - s / R."""
    a = rows(name)[t > MIDDLE]
    h = a[0] + a[1] * t / 2 + a[2] * t**2 / 3 + a[3] * t**3 / 4 + a[4] * t**4 / 5 + a[5] / t
    s = a[0] * math.log(t) + a[1] * t + a[2] * t**2 / 2 + a[3] * t**3 / 3 + a[4] * t**4 / 4 + a[6]
    return h - s


def species(*names: str) -> str:
    lines = []
    for name in names or THERMO:
        lines += [f"- name: {name}", f"  composition: {THERMO[name][0]}", "  thermo:"]
        lines += ["    model: NASA7", f"    temperature-ranges: [200.0, {MIDDLE}, 3500.0]"]
        lines += ["    data:", *(f"    - {row}" for row in rows(name))]
    return "species:\n" + "\n".join(lines) + "\n"


HEAD = """units: {length: cm, time: s, quantity: mol, activation-energy: cal/mol}
phases:
- name: gas
  thermo: ideal-gas
  kinetics: gas
  state: {T: 300.0, P: 1 atm}
"""
REACTIONS = """reactions:
- equation: H + O2 <=> O + OH
  rate-constant: {A: 1.9e+14, b: 0.1, Ea: 16400.0}
- equation: O + H2 <=> H + OH  # a comment
  rate-constant: {A: 5.1e+04, b: 2.7, Ea: 6300.0}
- equation: OH + H2 <=> H + H2O
  rate-constant: [2.2e+8, 1.5, 3400]
- equation: 2 H + M <=> H2 + M
  type: three-body
  rate-constant: {A: 1.0e+18, b: -1.0, Ea: 0.0}
  efficiencies: {H2: 0.0, H2O: 0.0, AR: 0.6}
- equation: H + O2 (+M) <=> HO2 (+M)
  type: falloff
  low-P-rate-constant: {A: 2.6e+19, b: -1.2, Ea: 0.0}
  high-P-rate-constant: {A: 4.6e+12, b: 0.4, Ea: 0.0}
  Troe: {A: 0.6, T3: 110.0, T1: 1800.0, T2: 5200.0}
  efficiencies: {H2: 2.5, H2O: 14, AR: 0.5}
- equation: 2 OH (+ M) <=> H2O2 (+ M)
  type: falloff
  low-P-rate-constant: {A: 2.3e+18, b: -0.9, Ea: -1700.0}
  high-P-rate-constant: {A: 7.4e+13, b: -0.4, Ea: 100}
  Troe: {A: 0.73, T3: 1e-30, T1: 1e+30}
- equation: O + OH (+AR) <=> HO2 (+AR)
  type: falloff
  high-P-rate-constant: {A: 1e13, b: 0, Ea: 0}
  low-P-rate-constant: {A: 8e15, b: 0, Ea: 0}
- equation: HO2 + H => 2 OH
  rate-constant: {A: 8.0e+13, b: 0, Ea: 700}
- equation: HO2 + HO2 => O2 + H2O2
  duplicate: true
  rate-constant: {A: 4.2e+14, b: 0, Ea: 12000}
- equation: 2 HO2 => H2O2 + O2
  duplicate: true
  negative-A: true
  rate-constant: {A: -1.3e+11, b: 0, Ea: 1000}
- equation: H + O2 + AR <=> HO2 + AR
  rate-constant: {A: 7.0e+17, b: -0.8, Ea: 0}
- equation: HO2 + OH <=> H2O + O2
  rate-constant: {A: 1e13, b: 0, Ea: 0}
"""
SMALL = HEAD + species() + REACTIONS


def arrhenius(order: int, a: float, b: float, e: float, t: float) -> float:
    """In mol, m and s, from cm, mol and cal."""
    return a * 1e-6 ** (order - 1) * t**b * math.exp(-e * 4.184 / (R * t))


def centred(high: float, low: float, body: float, centre: float) -> float:
    """Troe's falloff."""
    reduced = low * body / high
    log = math.log10(centre)
    c, n = -0.4 - 0.67 * log, 0.75 - 1.27 * log
    x = (math.log10(reduced) + c) / (n - 0.14 * (math.log10(reduced) + c))
    return high * reduced / (1 + reduced) * 10 ** (log / (1 + x * x))


def fluxes(t: float, y: dict[str, float]) -> list[float]:
    """Forward and reverse flux of each reaction of `SMALL` in mol m-3 s-1."""

    def both(k: float, left: str, right: str, goes_back: bool = True) -> list[float]:
        made, lost = (math.prod(y[n] for n in side.split()) for side in (right, left))
        if not goes_back:
            return [k * lost]
        change = sum(gibbs(n, t) for n in right.split()) - sum(gibbs(n, t) for n in left.split())
        moles = len(right.split()) - len(left.split())
        return [k * lost, k * math.exp(change) * (R * t / ATM) ** moles * made]

    def sum_of(**weights: float) -> float:
        return sum(weights.get(n, 1.0) * c for n, c in y.items())

    third = sum_of(H2=0, H2O=0, AR=0.6)
    peroxy = sum_of(H2=2.5, H2O=14, AR=0.5)
    centre = 0.4 * math.exp(-t / 110) + 0.6 * math.exp(-t / 1800) + math.exp(-5200 / t)
    k5 = centred(arrhenius(2, 4.6e12, 0.4, 0, t), arrhenius(3, 2.6e19, -1.2, 0, t), peroxy, centre)
    k6 = centred(
        arrhenius(2, 7.4e13, -0.4, 100, t), arrhenius(3, 2.3e18, -0.9, -1700, t), sum_of(), 0.73
    )
    reduced = 8e15 * 1e-12 * y["AR"] / (1e13 * 1e-6)
    return [
        *both(arrhenius(2, 1.9e14, 0.1, 16400, t), "H O2", "O OH"),
        *both(arrhenius(2, 5.1e4, 2.7, 6300, t), "O H2", "H OH"),
        *both(arrhenius(2, 2.2e8, 1.5, 3400, t), "OH H2", "H H2O"),
        *both(arrhenius(3, 1e18, -1, 0, t) * third, "H H", "H2"),
        *both(k5, "H O2", "HO2"),
        *both(k6, "OH OH", "H2O2"),
        *both(1e7 * reduced / (1 + reduced), "O OH", "HO2"),
        *both(arrhenius(2, 8e13, 0, 700, t), "HO2 H", "OH OH", False),
        *both(arrhenius(2, 4.2e14, 0, 12000, t), "HO2 HO2", "H2O2 O2", False),
        *both(arrhenius(2, -1.3e11, 0, 1000, t), "HO2 HO2", "H2O2 O2", False),
        *both(arrhenius(3, 7e17, -0.8, 0, t), "H O2 AR", "HO2 AR"),
        *both(arrhenius(2, 1e13, 0, 0, t), "HO2 OH", "H2O O2"),
    ]


def state(seed: int, scale: float) -> dict[str, float]:
    draw = np.random.default_rng(seed).uniform(-6, 0, len(THERMO))
    return dict(zip(THERMO, scale * 10.0**draw, strict=True))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("t", [300.0, 999.0, MIDDLE, 1000.5, 2800.0])
def test_rates_by_formula(t, scale):
    """At the temperature between the ranges the lower counts; and the same from jaxchem's table."""
    y = state(int(t), scale)
    for network in (loads(SMALL, "small.yaml"), table.loads(table.dumps(loads(SMALL)))):
        assert network.species == tuple(THERMO) and network.units == ("mol m-3", "s")
        found = flux(network, network.rates(temperature=t), jnp.array([*y.values()]))
        np.testing.assert_allclose(found, fluxes(t, y), rtol=2e-12)


def test_what_is_read_of_it():
    network = loads(SMALL, "folder/small.yaml")
    assert network.name == "small" and network.title == "Cantera mechanism, phase gas"
    assert network.needs == ("temperature",) and network.unbalanced() == {}
    assert network.pool_names == ("M_4", "M_5", "M", "M_7")
    assert network.equations[6:10] == ("2 H -> H2", "H2 -> 2 H", "H + O2 -> HO2", "HO2 -> H + O2")
    assert network.sources[:2] == ("CANTERA, reaction 1", "CANTERA, reaction 1, reverse")
    weights = dict(zip(network.species, network.structure.pools[1], strict=True))
    assert weights == dict.fromkeys(THERMO, 1.0) | {"H2": 2.5, "H2O": 14.0, "AR": 0.5}
    assert [*dict(network.quantities)] == [
        f"GIBBS.{n}" for n in ("O", "OH", "H", "O2", "H2", "H2O", "HO2", "H2O2")
    ]


@pytest.mark.parametrize("t", [60.0, 300.0])
def test_equilibria_beyond_the_exponents_of_a_number(t):
    """K_c of 2 H <=> H2 is 1e370 at 60 K; its reverse rate underflows to zero and no further."""
    network = loads(SMALL)
    y = jnp.array([*state(1, 1.0).values()])
    k = network.rates(temperature=t)
    found = np.asarray(k(0.0, y))
    assert np.all(np.isfinite(found)) and np.all(np.isfinite(jacobian(network, k, y)))
    slope = jax.jacfwd(lambda t: network.rates(temperature=t)(0.0, y))(t)
    assert np.all(np.isfinite(slope))
    assert (found[7] == 0) == (t == 60.0)


def test_nothing_there_is_safe():
    """Without a third body there is no falloff, and slopes are numbers."""
    network = loads(SMALL)
    k, y = network.rates(temperature=1200.0), jnp.zeros(len(THERMO))
    np.testing.assert_array_equal(tendency(network, k, y), np.zeros(len(THERMO)))
    assert np.all(np.isfinite(jacobian(network, k, y)))
    np.testing.assert_allclose(
        jacobian(network, k, y), jax.jacfwd(lambda y: tendency(network, k, y))(y), rtol=1e-12
    )


START = {"H2": 2.0, "O2": 1.0, "AR": 5.0, "H": 1e-3}
TIMES = np.array([1e-6, 1e-5, 1e-4, 1e-3])


def burnt_by_scipy(t: float) -> np.ndarray:
    """At constant volume and temperature, by SciPy's Radau and the formulas of this file."""
    stoichiometry = np.asarray(loads(SMALL).stoichiometry)
    np.testing.assert_array_equal(stoichiometry[:4, :2], [[-1, 1], [0, 0], [1, -1], [-1, 1]])

    def change(_, y):
        return stoichiometry @ fluxes(t, dict(zip(THERMO, np.maximum(y, 1e-300), strict=True)))

    start = [START.get(name, 0.0) for name in THERMO]
    found = solve_ivp(change, (0, 1e-3), start, "Radau", TIMES, rtol=1e-10, atol=1e-16)
    return found.y.T


def test_a_flame_at_constant_volume():
    """States, and the slope by the temperature both ways."""
    network = loads(SMALL)

    def burnt(t):
        k = network.rates(temperature=t)
        how = {"rtol": 1e-9, "atol": 1e-14}
        return jaxchem.solve(network, k, network.y0(START), jnp.asarray(TIMES), **how).ys

    expected = burnt_by_scipy(1400.0)
    assert expected[-1, 5] > 1.0 and expected[0, 5] < 0.1  # water: it burns in between
    np.testing.assert_allclose(burnt(1400.0), expected, rtol=2e-6, atol=1e-11)
    slope = (burnt_by_scipy(1400.5) - burnt_by_scipy(1399.5))[-1]
    for derivative in (jax.jacfwd, jax.jacrev):
        ours = derivative(lambda t: burnt(t)[-1])(1400.0)
        np.testing.assert_allclose(ours, slope, rtol=1e-4, atol=1e-9)


# Units


def one(rate: str, units: str = "", equation: str = "H + O2 => HO2", more: str = "") -> float:
    """k at 800 K of one reaction, in mol, m and s."""
    text = f"{units}\n{HEAD.partition('mol}')[2]}{species()}reactions:\n"
    network = loads(f"{text}- equation: {equation}\n  rate-constant: {rate}\n{more}")
    return float(network.rates(temperature=800.0)[0])


BOLTZMANN = math.exp(-1000.0 / 800.0)  # of an activation energy of 1000 K


@pytest.mark.parametrize(
    ("rate", "units", "right"),
    [
        ("{A: 3, b: 2, Ea: 0}", "", 3e-3 * 800.0**2),  # m3 kmol-1
        (f"{{A: 3, b: 0, Ea: {1e6 * R}}}", "", 3e-3 * BOLTZMANN),  # J kmol-1
        ("{A: 3, b: 0, Ea: 1000 K}", "", 3e-3 * BOLTZMANN),
        (f"{{A: 3, b: 0, Ea: {R / 4.184} kcal/mol}}", "", 3e-3 * BOLTZMANN),
        (f"{{A: 3, b: 0, Ea: {R} kJ/mol}}", "", 3e-3 * BOLTZMANN),
        (f"[3, 0, {1.380649e-23 / 1.602176634e-19} keV]", "", 3e-3 * BOLTZMANN),
        ("[7e6 cm^3/mol/s, 0, 0]", "", 7.0),
        ("[7e6 cm^3*mol^-1*s^-1, 0, 0]", "", 7.0),
        ("[60 L/mol/min, 0, 0]", "", 1e-3),
        ("[1e-14 cm^3/molec/s, 0, 0]", "", 6.02214076e3),
        ("[1e-14, 0, 0]", "units: {length: cm, quantity: molec}", 6.02214076e3),
        ("[60, 0, 1000]", "units: {time: min, activation-energy: K}", 1e-3 * BOLTZMANN),
        (f"[1, 0, {1e3 * R / 4.184}]", "units: {energy: cal, quantity: mol}", BOLTZMANN),
        (f"[1, 0, {R}]", "units: {quantity: mol, activation-energy: kJ/mol}", BOLTZMANN),
        ("{A: 1, b: 0, Ea: 1, units: {quantity: mol, activation-energy: kK}}", "", BOLTZMANN),
    ],
)
def test_units(rate, units, right):
    assert one(rate, units) == pytest.approx(right, rel=1e-13)


def test_units_by_order():
    cm = "units: {length: cm, quantity: mol}"
    assert one("[5, 0, 0]", cm, "H => O") == 5.0
    assert one("[5e12, 0, 0]", cm, "2 H + O => HO2") == pytest.approx(5.0)
    assert one("[5e6, 0, 0]", cm, "O2 + M => 2 O + M") == pytest.approx(5.0)
    assert one("[5, 0, 0]", "", "H => O", "  units: {time: min}\n") == pytest.approx(5 / 60)


def test_units_of_a_section():
    """A first entry of a list that has units alone is for the rest of it."""
    text = SMALL.replace("reactions:\n", "reactions:\n- units: {length: m, quantity: kmol}\n")
    k = loads(text).rates(temperature=800.0)(0.0, jnp.ones(len(THERMO)))
    right = 5.1e4 * 1e-3 * 800.0**2.7 * math.exp(-6300 * 4.184 / (R * 800.0))
    assert float(k[2]) == pytest.approx(right, rel=1e-12)


def test_reference_pressure():
    """K_c goes with it to the power of the moles that are made."""
    text = SMALL.replace("    data:", "    reference-pressure: 1 bar\n    data:")
    y = jnp.array([*state(2, 1.0).values()])
    one, bar = (flux(n, n.rates(temperature=900.0), y) for n in map(loads, (SMALL, text)))
    ratio = np.asarray(bar / one)
    np.testing.assert_allclose(ratio[:6], 1.0, rtol=1e-13)
    np.testing.assert_allclose(ratio[[7, 9]], 1e5**1 / ATM, rtol=1e-13)


# Phases and sections


def test_one_range_of_temperatures():
    text = species("H", "H2").replace(f"[200.0, {MIDDLE}, 3500.0]", "[200.0, 3500.0]")
    text = "\n".join(line for line in text.splitlines() if "0.0003" not in line)
    reaction = "{equation: 2 H <=> H2, rate-constant: [1, 0, 0]}"
    network = loads(f"{HEAD}{text}\nreactions:\n- {reaction}")
    k = network.rates(temperature=2000.0)
    a, b = (row[0] for row in (rows("H"), rows("H2")))
    x = np.array([1 - math.log(2e3), -1e3, -(2e3**2) / 6, -(2e3**3) / 12, -(2e3**4) / 20, 5e-4, -1])
    change = float(np.dot(b, x) - 2 * np.dot(a, x))
    assert float(k[1] / k[0]) == pytest.approx(math.exp(change) * ATM / (R * 2000.0), rel=1e-12)


def test_names_that_other_readers_of_yaml_take_for_values():
    """NO is no boolean, and names hold what they like."""
    found = (
        species("H", "O", "OH")
        .replace("name: H\n", "name: NO\n")
        .replace("name: OH", "name: SP(2)X)")
    )
    text = f"{HEAD}  species: [NO, O, SP(2)X)]\n{found}reactions:\n"
    text += "- {equation: NO + O (+SP(2)X)) => SP(2)X) (+SP(2)X)), type: falloff,\n"
    text += "   low-P-rate-constant: [1, 0, 0], high-P-rate-constant: [1, 0, 0]}\n"
    network = loads(text)
    assert network.species == ("NO", "O", "SP(2)X)")
    assert network.equations == ("NO + O -> SP(2)X)",)
    np.testing.assert_array_equal(network.structure.pools, [[0.0, 0.0, 1.0]])
    assert table.loads(table.dumps(network)).structure == network.structure


def test_names_of_structures(tmp_path):
    """As programs that make mechanisms write them; the table has them in quotes."""
    found = species("H", "O2", "OH", "HO2", "AR")
    for name, other in (("H", "[H]"), ("O2", "O=O(7)"), ("OH", "C#C;1"), ("HO2", "[O]O<2>")):
        found = found.replace(f"name: {name}\n", f"name: '{other}'\n")
    text = f"{HEAD}{found}reactions:\n"
    text += "- {equation: '2 [H] + O=O(7) + M <=> C#C;1 + 2 [O]O<2> + M', rate-constant: [1, 0, 0],"
    network = loads(text + " efficiencies: {'C#C;1': 2}}\n")
    assert network.species == ("[H]", "O=O(7)", "C#C;1", "[O]O<2>", "AR")
    assert network.equations[0] == "2 [H] + O=O(7) -> C#C;1 + 2 [O]O<2>"
    network = jaxchem.box.hold(network, ["O=O(7)", "AR"])
    path = tmp_path / "again.txt"
    jaxchem.dump(network, path)
    assert '\n"C#C;1" + 2 "[O]O<2>" -> 2 "[H]" + "O=O(7)" ; ' in path.read_text()
    with pytest.warns(UserWarning, match="unbalanced"):
        again = jaxchem.load(path)
    assert again.structure == network.structure and again.fixed == network.fixed
    assert again.equations == network.equations and again.quantities == network.quantities
    assert table.dumps(again) == path.read_text()


def test_sections_and_other_files(tmp_path):
    """Species of one file and reactions of another, each in the units of its own."""
    (tmp_path / "sub").mkdir()
    base = "units: {length: cm}" + SMALL.partition("mol}")[2]
    (tmp_path / "sub" / "base.yaml").write_text(base)
    main = (
        "phases:\n- name: part\n  thermo: ideal-gas\n  kinetics: gas\n"
        "  elements: [H, O, Ar]\n"
        "  species:\n  - sub/base.yaml/species: [H, H2, O, OH]\n  - extra: all\n"
        "  reactions:\n  - sub/base.yaml/reactions: declared-species\n  - own\n"
        "  skip-undeclared-third-bodies: true\n"
        f"{species('AR').replace('species:', 'extra:')}"
        "own:\n- {equation: O => O, rate-constant: [2, 0, 0]}\n"
    )
    path = tmp_path / "main.yaml"
    path.write_text(main)
    network = jaxchem.load(path)
    assert network.species == ("H", "H2", "O", "OH", "AR")
    assert network.equations == (
        *("O + H2 -> H + OH", "H + OH -> O + H2", "2 H -> H2", "H2 -> 2 H", "O -> O"),
    )
    np.testing.assert_array_equal(network.structure.pools, [[1, 0, 1, 1, 0.6]])
    k = network.rates(temperature=700.0)
    kmol = 5.1e4 * 1e-9 * 700.0**2.7 * math.exp(-6300 / (R * 1e3 * 700.0))  # cm3, kmol, J
    assert float(k[0]) == pytest.approx(kmol, rel=1e-12)
    third = base.partition("efficiencies")[0].count("\n") + 1
    for before, after, line, words in (
        ("sub/base.yaml/species", "base.yaml/species", 7, r"no file '.*base\.yaml'; put it there"),
        ("- extra", "- extras", 8, "no section 'extras'"),
        ("[H, H2, O, OH]", "[H, H3]", 7, "unknown species 'H3'.*did you mean 'H'"),
        ("  skip-undeclared-third-bodies: true\n", "", third, "unknown species 'H2O' in phase"),
    ):
        path.write_text(main.replace(before, after))
        with pytest.raises(MechanismError, match=rf"yaml, line {line}: .*{words}"):
            jaxchem.load(path)


def test_elements_that_the_phase_does_not_have():
    flags = ("elements: [H, O]", "skip-undeclared-elements: true")
    flags += ("reactions: [{reactions: declared-species}]", "skip-undeclared-third-bodies: true")
    added = "".join(f"  {flag}\n" for flag in flags)
    network = loads(SMALL.replace("1 atm}\n", f"1 atm}}\n{added}"))
    assert "AR" not in network.species and "H + O2 + AR -> HO2 + AR" not in network.equations


def test_of_several_phases_the_ideal_gas():
    """Which is read is said where it is not the first; any can be asked for."""
    real = "- {name: dense, thermo: Redlich-Kwong, kinetics: gas}\n"
    text = SMALL.replace("phases:\n", f"phases:\n{real}")
    with pytest.warns(UserWarning, match="line 3: phase 'dense' is no ideal gas.*; 'gas'"):
        assert loads(text, "two.yaml").title.endswith("phase gas")
    thin = "- {name: thin, thermo: ideal-gas, kinetics: gas, reactions: [few]}\n"
    few = "few:\n- {equation: H => H, rate-constant: [1, 0, 0]}\n"
    text = SMALL.replace("species:\n", f"{thin}{few}species:\n", 1)
    assert loads(text).title.endswith("phase gas")
    assert cantera.loads(text, phase="thin").equations == ("H -> H",)
    with pytest.raises(MechanismError, match="no phase 'thick'; it has gas, thin"):
        cantera.loads(text, phase="thick")
    with pytest.raises(MechanismError, match="line 3: none is an ideal gas that reacts"):
        loads(SMALL.replace("ideal-gas", "Peng-Robinson"))


# Orders


def test_whole_orders_are_kept():
    """H counts three times and O2 not at all, yet one of each is used."""
    order = "  orders: {H: 3, O2: 0}\n"
    text = f"{HEAD}{species('H', 'O2', 'HO2')}reactions:\n- equation: H + O2 => HO2\n"
    network = loads(f"{text}  rate-constant: [6e12, 0, 0]\n{order}")
    y = jnp.array([2.0, 5.0, 7.0])
    np.testing.assert_allclose(
        tendency(network, network.rates(temperature=300.0), y), [-48.0, -48.0, 48.0], rtol=1e-14
    )
    rest = "  rate-constant: [1, 0, 0]\n  orders: {O2: 0}\n"
    half = loads(text.replace("H + O2", "H + 0.5 O2") + rest)
    np.testing.assert_allclose(
        tendency(half, half.rates(temperature=300.0), y), [-2.0, -1.0, 2.0], rtol=1e-14
    )


# What is refused

FALLOFF = "type: falloff, low-P-rate-constant: [1, 0, 0], high-P-rate-constant: [1, 0, 0]"


@pytest.mark.parametrize(
    ("reaction", "words"),
    [
        ("equation: H + O2 <=> HO2, type: Chebyshev", "type 'Chebyshev' are not read"),
        (
            "equation: H + O2 <=> HO2, type: pressure-dependent-Arrhenius",
            "type 'pressure-dependent-Arrhenius'",
        ),
        (f"equation: H + O2 (+M) <=> HO2 (+M), {FALLOFF}, SRI: {{A: 1}}", "falloff of SRI"),
        ("equation: H + O2 => HO2", "the key 'rate-constant' is missing"),
        ("equation: H + O2 => HO2, rate-constant: [1, 0]", "A, b and Ea"),
        ("equation: H + O2 => HO2, rate-constant: {A: 1, b: 0, E: 0}", "unknown key 'E'"),
        ("equation: H + O2 => HO2, rate_constant: [1, 0, 0]", "did you mean 'rate-constant'"),
        ("equation: H+O2 => HO2, rate-constant: [1, 0, 0]", r"unknown species 'H\+O2'"),
        ("equation: 2H => H2, rate-constant: [1, 0, 0]", "unknown species '2H'"),
        ("equation: H O2 => HO2, rate-constant: [1, 0, 0]", "'H O2': write 'X' or '2 X'"),
        ("equation: H + O2 -> HO2, rate-constant: [1, 0, 0]", "one of <=>, = and =>"),
        ("equation: H + 0.5 O2 => OH, rate-constant: [1, 0, 0]", "0.5 O2 reacts"),
        ("equation: OH <=> H + 0.5 O2, rate-constant: [1, 0, 0]", "in reverse, 0.5 O2 reacts"),
        ("equation: H + M => H, rate-constant: [1, 0, 0]", "third body stands once"),
        ("equation: H + 2 M => H + 2 M, rate-constant: [1, 0, 0]", "third body stands once"),
        (f"equation: H + O2 (+M) => HO2 (+AR), {FALLOFF}", "third body stands once"),
        (f"equation: H + O2 + M => HO2 + M, {FALLOFF}", "type: falloff. and a .+M. on both"),
        ("equation: H + O2 (+M) => HO2 (+M), rate-constant: [1, 0, 0]", "belong together"),
        (f"equation: H (+H9) => H (+H9), {FALLOFF}", "unknown species 'H9'"),
        (
            f"equation: H (+AR) => H (+AR), {FALLOFF}, efficiencies: {{O2: 2}}",
            "efficiencies belong to M; here the third body is a species",
        ),
        (
            "equation: H + O2 => HO2, rate-constant: [1, 0, 0], efficiencies: {O2: 2}",
            "there is no third body",
        ),
        (
            "equation: H + M => H + M, rate-constant: [1, 0, 0], efficiencies: {O9: 2}",
            "unknown species 'O9' in phase 'gas'; did you mean 'O",
        ),
        (
            "equation: H + M => H + M, rate-constant: [1, 0, 0], default-efficiency: 0",
            "no species counts as its third body",
        ),
        ("equation: H => H, type: three-body, rate-constant: [1, 0, 0]", None),
        ("equation: H => O, type: three-body, rate-constant: [1, 0, 0]", "M on both sides"),
        ("equation: H => O, rate-constant: [-1, 0, 0]", "A is negative.*negative-A"),
        (
            "equation: H (+M) => O (+M), negative-A: true, type: falloff, "
            "low-P-rate-constant: [-1, 0, 0], high-P-rate-constant: [1, 0, 0]",
            "the sign of that at low pressure",
        ),
        ("equation: H => O, rate-constant: [1, 0, 0], orders: {H: 0.5}", "order 0.5 in 'H'"),
        ("equation: H => O, rate-constant: [1, 0, 0], orders: {H: -1}", "order -1 in 'H'"),
        ("equation: H <=> O, rate-constant: [1, 0, 0], orders: {H: 2}", "orders.*one way"),
        ("equation: H => O, rate-constant: [1, 0, 0], orders: {O2: 1}", "nonreactant-orders"),
        ("equation: H => O, rate-constant: [1 cm/s, 0, 0]", "'cm/s' is no unit.* in s\\^-1"),
        ("equation: H => O, rate-constant: [1 1/parsec, 0, 0]", "unknown unit 'parsec'"),
        ("equation: H => O, rate-constant: [1, 0, 3 K/mol]", "no unit of activation energy"),
        ("equation: H => O, rate-constant: [.inf, 0, 0]", "'.inf' is not a finite number"),
        (
            "equation: H => O, rate-constant: [1, 0, 0], units: {lenght: cm}",
            "did you mean 'length'",
        ),
        (
            "equation: O + H2 <=> OH + H, rate-constant: [1, 0, 0]",
            "stands at bad.yaml, line .* duplicate: true",
        ),
        ("equation: OH + H => H2 + O, rate-constant: [1, 0, 0]", "stands at bad.yaml, line"),
    ],
)
def test_what_is_refused(reaction, words):
    text = f"{SMALL}- {{{reaction}}}\n"
    if words is None:
        assert loads(text).equations[-1] == "H -> H"
        return
    line = text.count("\n")
    with pytest.raises(MechanismError, match=rf"bad\.yaml, line {line}: .*{words}"):
        loads(text, "bad.yaml")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("model: NASA7", "model: Shomate", "needs the thermo of 'O' as NASA7.*'Shomate'"),
        ("    model: NASA7\n", "    mode: NASA7\n", "'model' is missing"),
        ("[200.0, 1000.0, 3500.0]", "[200.0, 3500.0]", "three rising temperatures"),
        ("[200.0, 1000.0, 3500.0]", "[1000.0, 200.0, 3500.0]", "three rising temperatures"),
        ("    data:\n    - [2.5, ", "    data:\n    - [", "seven coefficients"),
        ("    data:", "    reference-pressure: 0 atm\n    data:", "0 Pa is none"),
        ("{O: 1}", "{O: 1.5}", "1.5 O: a species has whole atoms"),
        ("name: O2", "name: O", "species 'O' is declared twice"),
        ("name: O2", "name: M", "cannot be called 'M'"),
        ("name: O2", "name: 'O->O'", "cannot be called 'O->O'"),
        ("kinetics: gas", "kinetics: surface", "kinetics 'surface' is not read"),
        ("  kinetics: gas\n", "", "none is an ideal gas that reacts"),
        ("kinetics: gas", "kinetics: none", "none is an ideal gas that reacts"),
        ("  kinetics: gas", "  kinetics: gas\n  rate-multipliers: {}", "key 'rate-multipliers'"),
        ("  kinetics: gas", "  kinetics: gas\n  reactions: some", "write all, none or declared"),
        ("  kinetics: gas", "  kinetics: gas\n  reactions: none", "has no reactions"),
        ("quantity: mol", "quantity: dozen", "unknown unit 'dozen'"),
    ],
)
def test_what_else_is_refused(before, after, words):
    assert before in SMALL
    with pytest.raises(MechanismError, match=rf"bad\.yaml, line \d+: .*{words}"):
        loads(SMALL.replace(before, after), "bad.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "version: 1.0.0\nname: m\nspecies: []\nphases: []\nreactions:\n- type: ARRHENIUS\n",
        "equation: E = m c2\n",
        "- equation: E = m c2\n",
        "reactions: none of them\nthe rate-constant: unknown\n",
        "phases:\n- solid\n- liquid\n",
    ],
)
def test_what_is_no_mechanism_of_cantera(text):
    assert not cantera.looks_like(text)


@pytest.mark.parametrize("text", [SMALL, HEAD, REACTIONS])
def test_what_is_one(text):
    assert cantera.looks_like(text)


# Cantera's own


@pytest.mark.parametrize("name", ["h2o2", "gri30"])
@pytest.mark.parametrize(
    ("t", "p", "mixture"),
    [
        (300.0, ATM, "uniform"),
        (1000.0, ATM, "fuel"),
        (1000.01, 1e3, "uniform"),
        (1800.0, 4e6, "fuel"),
        (2900.0, 1e7, "uniform"),
    ],
)
def test_against_cantera(name, t, p, mixture):
    """Every forward and reverse rate, and net production, of the mechanisms that it ships."""
    ct = pytest.importorskip("cantera")
    gas = ct.Solution(f"{name}.yaml")
    paths = [Path(folder) / gas.source for folder in ct.get_data_directories()]
    path = next(path for path in paths if path.is_file())
    fuel = dict.fromkeys(gas.species_names, 1e-5) | {"H2": 2.0, "O2": 1.0, "N2": 4.0}
    gas.TPX = t, p, fuel if mixture == "fuel" else np.ones(gas.n_species)
    network = jaxchem.load(path)
    assert network.species == tuple(gas.species_names)
    y = jnp.asarray(1e3 * gas.concentrations)
    k = network.rates(temperature=t)
    found = 1e-3 * np.asarray(flux(network, k, y))
    back = np.array([source.endswith("reverse") for source in network.sources])
    number = np.array([int(source.split(",")[1].split()[-1]) for source in network.sources]) - 1
    assert sorted(number[~back]) == [*range(gas.n_reactions)]
    assert sorted(number[back]) == [*np.flatnonzero([r.reversible for r in gas.reactions()])]
    forward, reverse = gas.forward_rates_of_progress, gas.reverse_rates_of_progress
    np.testing.assert_allclose(found[~back], forward[number[~back]], rtol=1e-10)
    np.testing.assert_allclose(found[back], reverse[number[back]], rtol=1e-10)
    scale = gas.creation_rates + gas.destruction_rates
    error = np.abs(1e-3 * np.asarray(tendency(network, k, y)) - gas.net_production_rates)
    assert np.all(error <= 1e-10 * scale)


def test_sections_that_nothing_uses_are_told():
    with pytest.warns(UserWarning, match="more-reactions"):
        cantera.loads(f"{SMALL}more-reactions:\n- equation: H + O => OH\n", "f.yaml")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cantera.loads(f"description: of a test\n{SMALL}date: today\n", "f.yaml")
