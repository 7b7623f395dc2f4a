"""Rates of MUSICA's reactions, against formulas written out and against MUSICA itself."""

import json
import math
import warnings

import jax
import numpy as np
import pytest
from musica_cases import (
    CASES,
    GAS,
    PLACES,
    USER,
    arrhenius,
    falloff,
    given,
    load,
    mechanism,
    read,
    shared_network,
)
from problems import shared

import jaxchem
from jaxchem.parse import musica

pytestmark = pytest.mark.filterwarnings("ignore:.*of the Taylor coefficients alone")


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


def test_taylor_series_warn():
    """Of what MUSICA 0.17 does otherwise."""
    with pytest.warns(UserWarning, match=r"small.json, line \d+: .* first of the Taylor"):
        read(CASES["taylor"][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read({"type": "TAYLOR_SERIES", "taylor coefficients": [2.0]})


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
    """The parameters as MUSICA converts them, in the same formulas, give the same k."""
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
