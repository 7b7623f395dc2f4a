"""Mechanisms of MUSICA: a reaction of every kind with its formulas written out, and whole files."""

import json
import math
import warnings
from pathlib import Path

from problems import shared

from jaxchem.network import Network
from jaxchem.parse import musica

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


def load(path: Path) -> Network:
    return musica.loads(path.read_text(), str(path))


def shared_network(name: str) -> Network:
    path = shared("data", "mechanisms", "musica", *name.split("/"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(path)


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
