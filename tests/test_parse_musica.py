"""MUSICA's mechanisms: what the readers make of them, against formulas written out here."""

import json
import math
import random
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from problems import shared

import jaxchem
from jaxchem.network import MechanismError, Network
from jaxchem.parse import musica, table

pytestmark = pytest.mark.filterwarnings("ignore:.*of the Taylor coefficients alone")
GAS = 6.02214076e23 * 1.380649e-23
PLACES = [(298.15, 101325.0), (206.6, 6152.0), (330.0, 20000.0)]
DIFFUSION, WEIGHT = 2.1e-5, 0.04607
RADIUS, NUMBER = "effective radius [m]", "particle number concentration [# m-3]"


def mechanism(*reactions: dict, **more) -> dict:
    """A mechanism of these reactions, which turn A into B."""
    usual = {"gas phase": "gas", "reactants": [{"name": "A"}], "products": [{"name": "B"}]}
    built = []
    for reaction in reactions:
        own = {
            k: v for k, v in usual.items() if k != "products" or "alkoxy products" not in reaction
        }
        if reaction["type"] in ("SURFACE", "EMISSION"):
            del own["reactants"]
        if reaction["type"] == "SURFACE":
            own = {
                "gas phase": "gas",
                "gas-phase species": "A",
                "gas-phase products": own["products"],
            }
        built.append({**own, **reaction})
    species = [
        {"name": "A", "molecular weight [kg mol-1]": WEIGHT, "__note": "a comment"},
        {"name": "B"},
        {"name": "C"},
        {"name": "M", "is third body": True},
        {"name": "O2", "constant mixing ratio [mol mol-1]": 0.21},
        {"name": "W", "constant concentration [mol m-3]": 0.5},
    ]
    members: list = [{"name": s["name"]} for s in species]
    members[0] = {"name": "A", "diffusion coefficient [m2 s-1]": DIFFUSION}
    phases = [{"name": "gas", "species": members}]
    top = {"version": "1.0.0", "name": "small", "species": species, "phases": phases}
    return {**top, "reactions": built, **more}


def read(*reactions: dict, **more) -> Network:
    return musica.loads(json.dumps(mechanism(*reactions, **more), indent=1), "small.json")


def falloff(t: float, m: float, p: dict) -> tuple[float, float]:
    """k0, and what k0 [M] is divided by to be the rate of recombination."""
    k0 = p["k0_A"] * math.exp(p["k0_C"] / t) * (t / p.get("k0_D", 300.0)) ** p["k0_B"]
    kinf = p["kinf_A"] * math.exp(p["kinf_C"] / t) * (t / p.get("kinf_D", 300.0)) ** p["kinf_B"]
    r = k0 * m / kinf
    return k0, (1 + r) / p["Fc"] ** (1 / (1 + math.log10(r) ** 2 / p["N"]))


def wennberg(t: float, m: float, n: float) -> float:
    a, b = 2e-22 * math.exp(n) * m * 6.02214076e17, 0.43 * (298 / t) ** 8
    return a / (1 + a / b) * 0.41 ** (1 / (1 + math.log10(a / b) ** 2))


FALLOFF = {"k0_A": 40.0, "k0_B": -1.8, "k0_C": 30.0, "kinf_A": 2e3, "kinf_B": -0.7, "kinf_C": -90.0}
FALLOFF |= {"Fc": 0.55, "N": 1.3}
JPL19 = {**FALLOFF, "k0_D": 298.0, "kinf_D": 290.0, "kint_A": 3.0}
JPL19 |= {"kint_B": 0.4, "kint_C": -65.0, "kint_D": 310.0}
ARRHENIUS = {"A": 12.3, "B": -1.5, "C": 120.0, "D": 340.0, "E": 3.2e-6}
BRANCHED = {"X": 2.7e3, "Y": -350.0, "a0": 0.15, "n": 9}


def arrhenius(t: float, p: float, v: dict) -> float:
    return v["A"] * math.exp(v["C"] / t) * (t / v["D"]) ** v["B"] * (1 + v["E"] * p)


def jpl19(t: float, m: float) -> float:
    k0, low = falloff(t, m, JPL19)
    kinf = JPL19["kinf_A"] * math.exp(JPL19["kinf_C"] / t) * (t / 290.0) ** JPL19["kinf_B"]
    return k0 * m / low + 3.0 * math.exp(-65 / t) * (t / 310) ** 0.4 * (1 - k0 * m / low / kinf)


def nitrate(t: float, m: float, alkoxy: bool) -> float:
    z = wennberg(293.0, 2.45e19 / 6.02214076e17, 9) * (1 - 0.15) / 0.15
    a = wennberg(t, m, 9)
    return 2.7e3 * math.exp(350 / t) * (z if alkoxy else a) / (a + z)


def surface(t: float) -> float:
    speed = math.sqrt(8 * GAS * t / (math.pi * WEIGHT))
    return 4 * math.pi * 1e-7**2 * 2.5e10 / (1e-7 / DIFFUSION + 4 / (speed * 0.02))


USER = {"PHOTO.j x": 3e-3, "LOSS.j x": 2e-3, "USER.j x": 5e-3, "EMIS.j x": 7e-3}
USER |= {f"SURF.j x.{RADIUS}": 1e-7, f"SURF.j x.{NUMBER}": 2.5e10}
CASES = {  # reaction, k(T, P, [M]) of each branch
    "plain": ({"type": "ARRHENIUS", "A": 0.02}, [lambda t, p, m: 0.02]),
    "arrhenius": (
        {"type": "ARRHENIUS", **ARRHENIUS},
        [lambda t, p, m: arrhenius(t, p, ARRHENIUS)],
    ),
    "energy": (
        {"type": "ARRHENIUS", "A": 30.0, "Ea": 1.012e-20, "D": 290.0, "B": 0.4},
        [lambda t, p, m: 30.0 * math.exp(-1.012e-20 / 1.380649e-23 / t) * (t / 290) ** 0.4],
    ),
    "third body": (
        {
            "type": "ARRHENIUS",
            "A": 0.7,
            "C": 10.0,
            "reactants": [
                *({"name": "A"}, {"name": "M", "coefficient": 2}, {"name": "O2"}),
                {"species name": "W", "coefficient": 1.0},
            ],
            "products": [{"name": "B"}, {"name": "M"}],
        },
        [lambda t, p, m: 0.7 * math.exp(10 / t) * m**2 * 0.21 * m * 0.5],
    ),
    "troe": (
        {"type": "TROE", **FALLOFF},
        [lambda t, p, m: m * falloff(t, m, FALLOFF)[0] / falloff(t, m, FALLOFF)[1]],
    ),
    "ternary": (
        {"type": "TERNARY_CHEMICAL_ACTIVATION", **FALLOFF},
        [lambda t, p, m: falloff(t, m, FALLOFF)[0] / falloff(t, m, FALLOFF)[1]],
    ),
    "ternary_jpl19": (
        {"type": "TERNARY_CHEMICAL_ACTIVATION_JPL19", **JPL19},
        [lambda t, p, m: jpl19(t, m)],
    ),
    "tunneling": (
        {"type": "TUNNELING", "A": 120.0, "B": 1200.0, "C": 1e8},
        [lambda t, p, m: 120.0 * math.exp(-1200 / t + 1e8 / t**3)],
    ),
    "branched": (
        {
            "type": "BRANCHED_NO_RO2",
            **BRANCHED,
            "nitrate products": [{"name": "C"}],
            "alkoxy products": [{"name": "B"}],
        },
        [lambda t, p, m: nitrate(t, m, True), lambda t, p, m: nitrate(t, m, False)],
    ),
    "taylor": (
        {"type": "TAYLOR_SERIES", **ARRHENIUS, "taylor coefficients": [1.0, 0.1, -1e-4, 2e-7]},
        [lambda t, p, m: (1 + 0.1 * t - 1e-4 * t**2 + 2e-7 * t**3) * arrhenius(t, p, ARRHENIUS)],
    ),
    "surface": (
        {"type": "SURFACE", "name": "j x", "reaction probability": 0.02},
        [lambda t, p, m: surface(t)],
    ),
    "photolysis": ({"type": "PHOTOLYSIS", "name": "j x"}, [lambda t, p, m: 3e-3]),
    "loss": (
        {"type": "FIRST_ORDER_LOSS", "name": "j x", "scaling factor": 1.5},
        [lambda t, p, m: 1.5 * 2e-3],
    ),
    "user": (
        {"type": "USER_DEFINED", "name": "j x", "scaling factor": 2},
        [lambda t, p, m: 2 * 5e-3],
    ),
    "emission": ({"type": "EMISSION", "name": "j x"}, [lambda t, p, m: 7e-3]),
}


def given(network: Network, t: float, p: float) -> dict:
    asked = {n: USER[n] for n in network.user_quantities}
    return {"temperature": t, "pressure": p, "quantities": asked}


# Rates


@pytest.mark.parametrize("case", CASES)
def test_rates_against_formulas(case):
    reaction, formulas = CASES[case]
    network = read(reaction)
    for t, p in PLACES:
        k = network.rates(**given(network, t, p))
        expected = [f(t, p, p / GAS / t) for f in formulas]
        np.testing.assert_allclose(k, expected, rtol=2e-13)


def test_defaults():
    """What is left out has the values that MUSICA gives it."""
    kinds = ["ARRHENIUS", "TROE", "TERNARY_CHEMICAL_ACTIVATION", "TUNNELING"]
    kinds += ["TERNARY_CHEMICAL_ACTIVATION_JPL19"]
    network = read(*({"type": kind} for kind in kinds))
    m = 30.0
    low = 0.6 ** (1 / (1 + math.log10(m) ** 2)) / (1 + m)
    expected = [1.0, m * low, low, 1.0, m * low + (1 - m * low)]
    np.testing.assert_allclose(network.rates(temperature=250.0, density=m), expected, rtol=1e-14)
    only = read({"type": "ARRHENIUS", "A": 3.0, "B": 2.0})
    np.testing.assert_allclose(only.rates(temperature=450.0), [3.0 * 1.5**2], rtol=1e-15)
    assert only.needs == ("temperature",)


def test_rates_have_gradients():
    """By temperature, against central differences of the formulas."""
    cases = [CASES[case] for case in ("arrhenius", "ternary_jpl19", "branched", "surface")]
    network = read(*(r for r, _ in cases))

    @jax.jit
    def slopes(t):
        return jax.jvp(lambda t: network.rates(**given(network, t, 9e4)), (t,), (1.0,))[1]

    formulas = [f for _, branches in cases for f in branches]
    up, down = ([f(t, 9e4, 9e4 / GAS / t) for f in formulas] for t in (280.01, 279.99))
    expected = (np.array(up) - down) / 0.02
    np.testing.assert_allclose(slopes(280.0), expected, rtol=1e-6, atol=1e-12)


def test_what_the_network_says():
    network = read(CASES["third body"][0], CASES["branched"][0], {"type": "EMISSION", "name": "B"})
    assert network.units == ("mol m-3", "s") and network.name == "small"
    assert network.species == ("A", "B", "C") and network.fixed == ()
    assert network.equations == ("A -> B", "A -> B", "A -> C", "-> B")
    assert network.user_quantities == ("EMIS.B",)
    assert network.sources[1] == "MUSICA, BRANCHED_NO_RO2"
    assert dict(network.references).keys() == {"MUSICA"}


def test_coefficients_and_repeated_species():
    network = read(
        {
            "type": "ARRHENIUS",
            "reactants": [{"name": "A"}, {"species name": "A"}, {"name": "B", "coefficient": 2.0}],
            "products": [{"name": "C"}, {"name": "C", "coefficient": 0.25}, {"name": "B"}],
        }
    )
    assert network.equations == ("2 A + 2 B -> 1.25 C + B",)
    np.testing.assert_array_equal(network.stoichiometry[:, 0], [-2, -1, 1.25])


def test_species_outside_the_phase_are_no_part_of_the_state():
    text = mechanism({"type": "ARRHENIUS"})
    text["phases"][0]["species"] = ["A", "B"]
    assert musica.loads(json.dumps(text)).species == ("A", "B")


@pytest.mark.parametrize("seed", range(2))
def test_yaml_is_json(seed):
    """Both give the same network, to the last digit, in any order of keys."""
    whole = mechanism(*(r for r, _ in CASES.values()))
    one = musica.loads(json.dumps(whole), "a.x")
    whole = json.loads(json.dumps(whole))  # no part of it twice: it would become an alias
    shuffled = {k: whole[k] for k in random.Random(seed).sample(list(whole), len(whole))}
    for text in (yaml.safe_dump(shuffled), json.dumps(shuffled, indent="\t")):
        assert musica.looks_like(text)
        assert table.dumps(musica.loads(text, "a.x")) == table.dumps(one)


def test_table_gives_the_network_back():
    long = {"type": "TAYLOR_SERIES", "taylor coefficients": [0.5] * 30}
    network = read(long, *(r for r, _ in CASES.values()))
    again = table.loads(table.dumps(network))
    assert table.dumps(again) == table.dumps(network)
    assert jax.tree.structure(again) == jax.tree.structure(network)
    same = given(network, 280.0, 9e4)
    np.testing.assert_array_equal(again.rates(**same), network.rates(**same))


def test_sections_without_rates_are_left_out_with_a_warning():
    more = {"aerosol processes": [{"type": "HENRYS_LAW_EQUILIBRIUM"}]}
    with pytest.warns(UserWarning, match=r"small.json, line \d+: 'aerosol processes' is left out"):
        network = read({"type": "ARRHENIUS"}, **more)
    assert len(network.equations) == 1


def test_taylor_series_warn():
    """Of what MUSICA 0.17 does otherwise."""
    with pytest.warns(UserWarning, match=r"small.json, line \d+: .* first of the Taylor"):
        read(CASES["taylor"][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read({"type": "TAYLOR_SERIES", "taylor coefficients": [2.0]})


# Version 0


def old(tmp_path: Path, species: list, reactions: list) -> Path:
    parts = {
        "species.json": [{"type": "CHEM_SPEC", **s} for s in species]
        + [{"type": "RELATIVE_TOLERANCE", "value": 1e-4}],
        "reactions.json": [{"type": "MECHANISM", "name": "old", "reactions": reactions}],
    }
    for name, content in parts.items():
        (tmp_path / name).write_text(json.dumps({"camp-data": content}, indent=1))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"camp-files": list(parts)}))
    return config


def load(path: Path) -> Network:
    return musica.loads(path.read_text(), str(path))


OLD_SPECIES = [
    {
        "name": "A",
        "absolute tolerance": 1e-12,
        "molecular weight [kg mol-1]": WEIGHT,
        "diffusion coefficient [m2 s-1]": DIFFUSION,
    },
    {"name": "B"},
    {"name": "M", "tracer type": "THIRD_BODY"},
    {"name": "O2", "tracer type": "CONSTANT"},
]


def test_version_0(tmp_path):
    """Rate coefficients in molecule cm-3 become mol m-3, third bodies among the reactants."""
    one, two = {"A": {}, "O2": {}}, {"A": {"qty": 2}, "M": {}}
    products = {"B": {"yield": 0.5}, "M": {}}
    common = {"reactants": two, "products": products}
    fall = {k: v for k, v in FALLOFF.items() if k not in ("k0_A", "kinf_A")}
    fall |= {"k0_A": 1e-31, "kinf_A": 2e-11}
    branches = {"alkoxy products": {"B": {}}, "nitrate products": {"B": {"yield": 2}}}
    path = old(
        tmp_path,
        OLD_SPECIES,
        [
            {"type": "ARRHENIUS", "A": 3e-33, "B": 1.0, "MUSICA name": "R1", **common},
            {"type": "ARRHENIUS", "A": 3e-12, "Ea": 0, "reactants": one, "products": {}},
            {"type": "TROE", **fall, "reactants": one, "products": products},
            {"type": "TERNARY_CHEMICAL_ACTIVATION", **fall, "reactants": one, "products": {}},
            {"type": "WENNBERG_TUNNELING", "A": 1e-12, "B": 5.0, **common},
            {"type": "WENNBERG_NO_RO2", **BRANCHED, "X": 2.7e-12, "reactants": one, **branches},
            {"type": "PHOTOLYSIS", "MUSICA name": "A->B", "reactants": {"A": {}}, "products": {}},
            {"type": "EMISSION", "MUSICA name": "e", "species": "B", "scaling factor": 3},
            {"type": "FIRST_ORDER_LOSS", "MUSICA name": "l", "species": "B"},
            {
                "type": "SURFACE",
                "MUSICA name": "j x",
                "gas-phase reactant": "A",
                "gas-phase products": {"B": {}},
                "reaction probability": 0.02,
            },
        ],
    )
    network = load(path)
    assert network.species == ("A", "B", "O2") and network.fixed == ("O2",)
    assert network.name == "old"
    assert network.equations == (
        *("2 A -> 0.5 B", "A + O2 ->", "A + O2 -> 0.5 B", "A + O2 ->", "2 A -> 0.5 B"),
        *("A + O2 -> B", "A + O2 -> 2 B", "A ->", "-> B", "B ->", "A -> B"),
    )
    t, p = 250.0, 5e4
    m, cm3 = p / GAS / t, 6.02214076e17
    # as in molecule cm-3, the density included, then as many concentrations as react
    k0, low = falloff(t, m * cm3, fall)
    expected = [
        *(3e-33 * (t / 300) * m * cm3**2, 3e-12 * cm3, k0 * m * cm3 / low * cm3, k0 * cm3**2 / low),
        1e-12 * math.exp(-5 / t) * cm3**2 * m,
        *(nitrate(t, m, alkoxy) * 2.7e-12 / 2.7e3 * cm3 for alkoxy in (True, False)),
        *(3e-3, 3 * 7e-3, 2e-3, surface(t)),
    ]
    values = {"PHOTO.A->B": 3e-3, "EMIS.e": 7e-3, "LOSS.l": 2e-3}
    values |= {n: v for n, v in USER.items() if n.startswith("SURF")}
    k = network.rates(temperature=t, pressure=p, quantities=values)
    np.testing.assert_allclose(k, expected, rtol=1e-12)
    assert table.dumps(table.loads(table.dumps(network))) == table.dumps(network)


def test_version_0_errors_name_the_file_of_the_line(tmp_path):
    bad = {"type": "ARRHENIUS", "A": 1, "reactants": {"A": {"quantity": 2}}, "products": {}}
    path = old(tmp_path, OLD_SPECIES, [bad])
    with pytest.raises(MechanismError, match=r"reactions.json, line \d+: unknown key 'quantity'"):
        load(path)
    path.write_text('{"camp-files": [\n"species.json",\n"no.json"]}')
    with pytest.raises(MechanismError, match=r"config.json, line 3: there is no file"):
        load(path)
    path.write_text('{"camp-files": ["species.json", "species.json"]}')
    with pytest.raises(MechanismError, match="listed twice"):
        load(path)
    (tmp_path / "species.json").write_bytes(b"\xff\xfe\x00")
    path.write_text('{"camp-files": ["species.json"]}')
    with pytest.raises(MechanismError, match=r"config.json, line 1: .* cannot be read as text"):
        load(path)
    many = {"type": "ARRHENIUS", "reactants": {"A": {"qty": 9}, "B": {"qty": 9}}, "products": {}}
    with pytest.raises(MechanismError, match=r"line \d+: 18 molecules react"):
        load(old(tmp_path, OLD_SPECIES, [many]))


# Errors

SMALL = """version: 1.0.0
name: small
species:
  - name: A
  - name: B
  - name: M
    is third body: true
phases:
  - name: gas
    species: [A, B, M]
reactions:
  - type: ARRHENIUS
    A: 2.0
    gas phase: gas
    reactants:
      - species name: A
      - species name: M
    products:
      - species name: B
        coefficient: 0.5
  - type: PHOTOLYSIS
    name: jB
    gas phase: gas
    reactants: [{name: B}]
    products: [{name: A}]
"""
WRONG = {  # what to replace, by what, the line and the message
    "version": ("1.0.0", "2.0.0", 1, "version 1 can be read"),
    "top": ("name: small", "nam: small", 2, "unknown key 'nam'; did you mean 'name'"),
    "twice": ("  - name: B", "  - name: A", 5, "declared twice"),
    "flag": ("third body: true", "third body: 3", 7, "true or false"),
    "named": ("- name: B", "- name: 2B", 5, "begins with a letter"),
    "spaces": ("- name: B", "- name: B C", 5, "no spaces"),
    "condition": ("- name: M", "- name: pressure", 6, "name of a condition"),
    "both": (
        "    is third",
        "    constant concentration [mol m-3]: 1.0\n    is third",
        6,
        "one way",
    ),
    "negative": ("is third body: true", "constant concentration [mol m-3]: -1", 7, "negative"),
    "phase": ("  - name: gas", "  - name: gaz", 14, "there is no phase 'gas'"),
    "member": ("[A, B, M]", "[A, B, M, Q]", 10, "unknown species 'Q'"),
    "stateless": ("[A, B, M]", "[M]", 9, "no species that is not constant"),
    "outside": ("[A, B, M]", "[A, M]", 19, "'B' is not in the phase"),
    "type": ("ARRHENIUS", "ARHENIUS", 12, "did you mean ARRHENIUS"),
    "aerosol": ("ARRHENIUS", "HENRYS_LAW", 12, "cannot be expressed"),
    "key": ("A: 2.0", "AA: 2.0", 13, "unknown key 'AA'; did you mean 'A'"),
    "number": ("A: 2.0", "A: two", 13, "not a finite number"),
    "nan": ("A: 2.0", "A: .nan", 13, "not a finite number"),
    "infinite": ("A: 2.0", "A: 1e999", 13, "not a finite number"),
    "energy": ("A: 2.0", "{A: 2.0, C: 1.0, Ea: 1e-20}", 0, ""),
    "positive": ("A: 2.0", "D: 0", 13, "must be positive"),
    "missing": ("    name: jB\n", "", 21, "what the user gives"),
    "quotes": ("name: jB", "name: 'j\"B'", 22, "what the user gives"),
    "no phase": ("    A: 2.0\n    gas phase: gas\n", "", 12, "'gas phase' is missing"),
    "other phase": (
        "name: jB\n    gas phase: gas",
        "name: jB\n    gas phase: air",
        23,
        "one phase",
    ),
    "unknown": ("species name: A", "species name: AA", 16, "did you mean 'A'"),
    "fraction": ("name: A\n", "name: A\n        coefficient: 1.5\n", 0, ""),
    "many": ("species name: M", "{name: M, coefficient: 9}", 16, "more than 9"),
    "key twice": ("    A: 2.0", "    A: 2.0\n    A: 3.0", 14, "given twice"),
    "alias": ("A: 2.0", "A: *x", 13, "aliases"),
    "second": ("reactions:", "---\nreactions:", 11, "second document"),
    "syntax": ("[A, B, M]", "[A, B, M", 11, "neither JSON nor YAML"),
    "list": ("[A, B, M]", "A", 10, "a list belongs here"),
    "none": (SMALL[SMALL.index("  - type: ARR") :], "  []\n", 12, "no gas-phase reactions"),
    "empty": (SMALL, "# nothing", 1, "nothing stands in it"),
    "control": ("name: small", "name: sm\0all", 2, "character"),
    "surrogate": ("name: small", "name: sm\ud800all", 2, "character"),
}


@pytest.mark.parametrize("case", [c for c, w in WRONG.items() if w[3]])
def test_errors(case):
    """Every error names the file, the line and the reason."""
    there, instead, line, message = WRONG[case]
    assert there in SMALL
    with pytest.raises(MechanismError) as caught:
        musica.loads(SMALL.replace(there, instead, 1), "small.yaml")
    assert str(caught.value).startswith(f"small.yaml, line {line}: ")
    assert message in str(caught.value)


ALONE = {  # one reaction and what is wrong with it
    "energy": ({"type": "ARRHENIUS", "C": 1.0, "Ea": 1e-20}, "keep one of the two"),
    "fraction": (
        {"type": "ARRHENIUS", "reactants": [{"name": "A", "coefficient": 1.5}]},
        "1.5 A reacts: mass action needs whole molecules",
    ),
    "none": (
        {"type": "ARRHENIUS", "reactants": [{"name": "A", "coefficient": 0}]},
        "0 A reacts",
    ),
    "ten": (
        {"type": "ARRHENIUS", "reactants": [{"name": "A", "coefficient": 10}]},
        "10 A reacts: mass action needs whole molecules on the left, 9 at most",
    ),
    "infinite": (
        {"type": "ARRHENIUS", "products": [{"name": "B", "coefficient": 1.5e308}] * 2},
        "the coefficients of 'B' add up to no finite number",
    ),
    "weight": (
        {"type": "SURFACE", "name": "s", "gas-phase species": "B"},
        "the uptake of 'B' by particles needs its diffusion coefficient",
    ),
    "share": ({**CASES["branched"][0], "a0": 1.5}, "a0 is 1.5; it lies in 0 to 1"),
    "atoms": ({**CASES["branched"][0], "n": 900}, "n is 900; it lies in 0 to 100"),
    "branch": (
        {k: v for k, v in CASES["branched"][0].items() if k != "a0"},
        "the key 'a0' is missing",
    ),
    "taylor": ({"type": "TAYLOR_SERIES", "taylor coefficients": []}, "1 to 30 coefficients"),
    "overflow": (
        {"type": "TAYLOR_SERIES", "A": 1e300, "taylor coefficients": [1e300]},
        "is not finite",
    ),
    "program": ({"type": "LAMBDA_RATE_CONSTANT", "lambda function": "x"}, "cannot be expressed"),
    "clash": ({"type": "PHOTOLYSIS", "name": "x"}, "'PHOTO.x' is a species already"),
}


@pytest.mark.parametrize("case", ALONE)
def test_errors_of_one_reaction(case):
    reaction, message = ALONE[case]
    content = mechanism(reaction)
    if case == "clash":
        content["species"].append({"name": "PHOTO.x", "is third body": True})
        content["phases"][0]["species"].append({"name": "PHOTO.x"})
    with pytest.raises(MechanismError) as caught:
        musica.loads(json.dumps(content, indent=1), "small.json")
    assert message in str(caught.value) and "small.json, line " in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "? " * 100_000,
        "a: &a [x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(50)),
        "a: &a [*a]",
        '{"reactions": !!python/object/apply:os.system ["true"]}',
        "{" + ", ".join(f'"k{i}": 1' for i in range(20_000)) + "}",
        "x" * 20_000_001,
    ],
    ids=["flow", "maps", "lists", "keys", "laughs", "circle", "tag", "wide", "huge"],
)
def test_bombs(text):
    with pytest.raises(MechanismError, match=r"bomb, line \d+"):
        musica.loads(text, "bomb")


def test_mutated_text_gives_errors_with_a_line():
    """Nothing but a network or a `MechanismError` that names the line."""
    rng = random.Random(5)
    whole = json.dumps(mechanism(*(r for r, _ in CASES.values())), indent=1)
    pieces = [
        *'{}[]",:-&*!|>#%\n\t \\\0',
        "1e999",
        "nan",
        "-1",
        "null",
        "name",
        "__",
        "é",
        "\u2028",
    ]
    refused = 0
    for number in range(1200):
        text = whole if number % 4 == 0 else SMALL
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            cut = rng.choice([0, 0, 1, 3, 20])
            text = text[:at] + rng.choice(pieces) * rng.choice([0, 1, 1, 2]) + text[at + cut :]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                network = musica.loads(text, "mutated")
        except MechanismError as error:
            assert "mutated, line " in str(error), (str(error), text)
            refused += 1
        else:
            assert table.dumps(table.loads(table.dumps(network))) == table.dumps(network), text
    assert 300 < refused < 1200


# Telling the format, and conditions


def test_looks_like():
    assert musica.looks_like(SMALL) and musica.looks_like('{"camp-files": ["a.json"]}')
    assert musica.looks_like(json.dumps(mechanism({"type": "ARRHENIUS"})))
    robertson = Path(jaxchem.__file__).parent / "data" / "robertson.txt"
    assert not musica.looks_like(robertson.read_text())
    cantera = (
        "phases:\n- name: gas\n  thermo: ideal-gas\nspecies: []\nreactions:\n- equation: A => B"
    )
    assert not musica.looks_like(cantera)
    assert not musica.looks_like("#EQUATIONS\n{1.} A = B : 1.0;")


def test_conditions(tmp_path):
    path = tmp_path / "conditions.csv"
    path.write_text(
        "CONC.A,1.5e-3\r\nENV.temperature,272.5\n\nENV.pressure,101253.3\nENV.air_density,4e1\n"
        "ENV.time_step,200.0\nPHOTO.j x,0.04\nUSER.a.b,3\n"
        f"SURF.j x,1e-7,2.5e10\nSURF.other.{RADIUS},2e-7\nEMIS.A,1e-9\nLOSS.A, 2"
    )
    initial, conditions = musica.initial_conditions(path)
    assert initial == {"A": 1.5e-3}
    assert conditions == {
        "temperature": 272.5,
        "pressure": 101253.3,
        "density": 40.0,
        "quantities": {
            "PHOTO.j x": 0.04,
            "USER.a.b": 3.0,
            f"SURF.j x.{RADIUS}": 1e-7,
            f"SURF.j x.{NUMBER}": 2.5e10,
            f"SURF.other.{RADIUS}": 2e-7,
            "EMIS.A": 1e-9,
            "LOSS.A": 2.0,
        },
    }


@pytest.mark.parametrize(
    "line",
    [
        *("CONC.A", "CONC,1", "CONC.A,x", "CONC.A,nan", "ENV.humidity,1", "AIR.A,1", "PHOTO.A,1,2"),
        *("CONC.B,2", "CONC.A,1,", "SURF.A,1,2,3"),
    ],
)
def test_conditions_errors(tmp_path, line):
    path = tmp_path / "conditions.csv"
    path.write_text(f"CONC.B,1\n{line}\n")
    with pytest.raises(MechanismError, match=r"conditions.csv, line 2: "):
        musica.initial_conditions(path)
    with pytest.raises(MechanismError, match="cannot be read as text"):
        musica.initial_conditions(tmp_path / "none.csv")


# The files of MUSICA

FILES = {  # species, fixed, reactions, quantities of the user; or why it is refused
    "v0/chapman/config.json": (4, 1, 7, 3),
    "v0/robertson/config.json": (3, 0, 3, 3),
    "v0/carbon_bond_5/config.json": (67, 0, 200, 39),
    "v1/analytical/config.json": (3, 0, 2, 0),
    "v1/analytical/config.yaml": (3, 0, 2, 0),
    "v1/chapman/config.json": (5, 0, 7, 3),
    "v1/chapman/config.yaml": (5, 0, 7, 3),
    "v1/full_configuration/full_configuration.json": (3, 0, 13, 6),
    "v1/full_configuration/full_configuration.yaml": (3, 0, 13, 6),
    "v1/ts1/ts1.json": (209, 0, 547, 168),
    "v1/cam_cloud_chemistry/config.json": (36, "'aerosol processes' (line 48)"),
    "v1/emissions/config.json": (5, "'emissions' (line 6)"),
    "v1/emissions/config.yaml": (4, "'emissions' (line 6)"),
}


def shared_network(name: str) -> Network:
    path = shared("data", "mechanisms", "musica", *name.split("/"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(path)


def compiled_rates(network: Network, conditions: dict) -> jax.Array:
    """With hundreds of quantities, faster than one operation at a time."""
    return jax.jit(lambda given: network.rates(**given))(conditions)


@pytest.mark.parametrize("name", FILES)
def test_files_of_musica(name):
    expected = FILES[name]
    if len(expected) == 2:
        with pytest.raises(MechanismError) as caught:
            shared_network(name)
        assert f"{name}, line {expected[0]}: no gas-phase reactions" in str(caught.value)
        assert expected[1] in str(caught.value)
        return
    network = shared_network(name)
    found = (len(network.species), len(network.fixed), len(network.equations))
    assert (*found, len(network.user_quantities)) == expected
    again = table.loads(table.dumps(network))
    assert table.dumps(again) == table.dumps(network)
    assert jax.tree.structure(again) == jax.tree.structure(network)


def test_chapman_of_both_formats_and_versions():
    one, other = (shared_network(f"v1/chapman/config.{e}") for e in ("json", "yaml"))
    assert one.equations == other.equations
    at = {"temperature": 217.6, "pressure": 3e4, "quantities": {"*": 1e-5}}
    np.testing.assert_allclose(one.rates(**at), other.rates(**at), rtol=1e-15)


def test_conditions_of_ts1():
    network = shared_network("v1/ts1/ts1.json")
    path = shared("data", "mechanisms", "musica", "v1", "ts1", "initial_conditions.csv")
    initial, conditions = musica.initial_conditions(path)
    missing = set(network.user_quantities) - set(conditions["quantities"])
    assert missing == {"USER.usr_CO_OH", "USER.usr_DMS_OH"}  # the file leaves them out
    conditions["quantities"]["*"] = 0.0
    k = np.asarray(compiled_rates(network, conditions))
    assert np.isfinite(k).all() and (k >= 0).all()
    assert float(network.y0(initial)[network.index("O3")]) == 2.49e-6


def test_conditions_of_version_0():
    """The names in chapman's file are not those of its mechanism: the user says which is which."""
    folder = ("data", "mechanisms", "musica", "v0")
    network = shared_network("v0/chapman/config.json")
    initial, conditions = musica.initial_conditions(
        shared(*folder, "chapman", "initial_conditions.csv")
    )
    with pytest.raises(ValueError, match=r"no quantity 'PHOTO\.R1'"):
        network.rates(**conditions)
    names = {"PHOTO.R1": "PHOTO.jO2", "PHOTO.R3": "PHOTO.jO3->O", "PHOTO.R5": "PHOTO.jO3->O1D"}
    conditions["quantities"] = {names[n]: v for n, v in conditions["quantities"].items()}
    k = network.rates(**conditions)
    # molecule cm-3: 8.018e-17, 7.11e-11 with M
    cm3 = 6.02214076e17
    np.testing.assert_allclose(k[1], 8.018e-17 * cm3, rtol=1e-14)
    np.testing.assert_allclose(k[5], 7.11e-11 * cm3 * 3.580772136, rtol=1e-14)
    assert float(network.y0(initial)[network.index("O2")]) == 0.75
    missing = {"robertson": set(), "carbon_bond_5": {"O2", "CL2", "N2O5", "PAN", "PANX"}}
    for name, left_out in missing.items():
        network = shared_network(f"v0/{name}/config.json")
        _, conditions = musica.initial_conditions(shared(*folder, name, "initial_conditions.csv"))
        unnamed = set(network.user_quantities) - set(conditions["quantities"])
        assert unnamed == {f"PHOTO.{n}" for n in left_out}
        conditions["quantities"]["*"] = 0.0
        assert np.isfinite(compiled_rates(network, conditions)).all()


# Against MUSICA itself


def solved(micm, state: dict, place: tuple, asked: dict, seconds: float) -> dict[str, float]:
    """What MICM's Rosenbrock solver makes of a state [mol m-3] in so many seconds."""
    box = micm.create_state()
    box.set_concentrations(state)
    box.set_conditions(*place)
    box.set_user_defined_rate_parameters(asked)
    assert micm.solve(box, seconds).state.name == "Converged"
    return {name: values[0] for name, values in box.get_concentrations().items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_rates_against_micm(case, tmp_path):
    """One reaction turns little of A into products; their amount gives k to 1e-10."""
    solver = pytest.importorskip("musica.micm")
    reaction, _ = CASES[case]
    path, theirs = tmp_path / "small.json", tmp_path / "theirs.json"
    if case == "taylor":  # all that MUSICA 0.17 evaluates, whatever follows
        path.write_text(json.dumps(mechanism({**reaction, "taylor coefficients": [2.5]})))
        reaction = {**reaction, "taylor coefficients": [2.5, 0.1, -1e-4]}
    else:
        path.write_text(json.dumps(mechanism(reaction)))
    theirs.write_text(json.dumps(mechanism(reaction, version="1.4.0")))
    network, micm = load(path), solver.MICM(config_path=str(theirs))
    for t, p in PLACES:
        k = np.asarray(network.rates(**given(network, t, p)))
        seconds = 1e-5 / k.sum()
        asked = {n: USER[n] for n in network.user_quantities}
        end = solved(micm, {"A": 1.0}, (t, p, p / GAS / t), asked, seconds)
        made = np.array([end[e.split()[-1]] for e in network.equations])
        share = made.sum() if case == "emission" else -math.log1p(-made.sum())
        np.testing.assert_allclose(share / seconds * made / made.sum(), k, rtol=1e-10)


def rate(r: dict, t: float, p: float) -> float:
    """k of a reaction of MUSICA's own reader, in mol m-3 and s."""
    m = p / GAS / t
    if r["type"] == "ARRHENIUS":
        return arrhenius(t, p, r)
    k0, low = falloff(t, m, r)
    return k0 * m / low


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v0/chapman", "v0/carbon_bond_5", "v1/chapman", "v1/ts1"])
def test_coefficients_against_the_reader_of_musica(name):
    """The parameters as MUSICA converts them, in the formulas above, give the same k."""
    configuration = pytest.importorskip("musica.mechanism_configuration")
    file = "ts1.json" if name == "v1/ts1" else "config.json"
    network = shared_network(f"{name}/{file}")
    path = shared("data", "mechanisms", "musica", *name.split("/"), file)
    theirs = [
        r
        for r in configuration.parse(str(path)).serialize()["reactions"]
        if r["type"] in ("ARRHENIUS", "TROE")
    ]
    ours = [j for j, s in enumerate(network.sources) if s.split()[1] in ("ARRHENIUS", "TROE")]
    ours.sort(key=lambda j: network.sources[j].split()[1])  # theirs are sorted so
    assert len(ours) == len(theirs) > 3
    constant = {n for n, d in network.quantities if d is not None}
    for t, p in PLACES:
        k = np.asarray(network.rates(temperature=t, pressure=p, quantities={"*": 0.0}))
        expected = []
        for r in theirs:
            bodies = sum(c["coefficient"] for c in r["reactants"] if c["name"] in constant)
            expected.append(rate(r, t, p) * (p / GAS / t) ** bodies)
        np.testing.assert_allclose(k[ours], expected, rtol=1e-12)


@pytest.mark.slow
def test_carbon_bond_5_against_micm():
    """An hour of CB05: every species as MICM has it, both at tight tolerances."""
    solver = pytest.importorskip("musica.micm")
    folder = ("data", "mechanisms", "musica", "v0", "carbon_bond_5")
    path = shared(*folder, "config.json")
    network = load(path)
    initial, conditions = musica.initial_conditions(shared(*folder, "initial_conditions.csv"))
    initial["M"] = conditions["density"]  # a species like others in this file
    micm = solver.MICM(
        config_path=str(path),
        solver_parameters=solver.RosenbrockSolverParameters(
            relative_tolerance=1e-8,
            absolute_tolerances=[1e-22] * len(network.species),
            max_number_of_steps=1_000_000,
        ),
    )
    place = tuple(conditions[n] for n in ("temperature", "pressure", "density"))
    end = solved(micm, initial, place, conditions["quantities"], 3600.0)
    conditions["quantities"]["*"] = 0.0
    found = jaxchem.solve(
        network,
        network.rates(**conditions),
        network.y0(initial),
        np.array([0.0, 3600.0]),
        rtol=1e-8,
        atol=1e-22,
    )
    theirs = np.array([end[n] for n in network.species])
    seen = theirs > 1e-18
    assert seen.sum() > 50
    np.testing.assert_allclose(np.asarray(found.ys)[-1][seen], theirs[seen], rtol=1e-6)


# What mutated files found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"version": "1",\n  "species": []\n   ', 3),
        ('{"name": "a\u2028b",\n"version" 1}\n', 2),
        ('{"camp-files": [\n"' + "long" * 200 + '"]}', 2),
    ],
)
def test_lines_as_editors_count_them(text, line):
    with pytest.raises(MechanismError, match=f"f.json, line {line}: "):
        musica.loads(text, "f.json")


def test_a_long_number_is_refused_soon():
    started = time.perf_counter()
    with pytest.raises(MechanismError, match="is not a finite number"):
        read({"type": "ARRHENIUS", "A": "9" * 100_000 + "x"})
    assert time.perf_counter() - started < 2
