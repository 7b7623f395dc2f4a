"""Open boxes: exchange, imposed and held concentrations, against loops and analytic solutions."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from problems import CHAIN, SHIPPED, examples

import jaxchem
from jaxchem.box import constrain, exchange, hold, mixing_ratio, number_density
from jaxchem.network import Units
from jaxchem.parse import table

RICH = """name = rich
title = one of everything
units = molecule cm-3, s
balanced = C N
fixed = M
[species]
NO
NO2
O3
CH2O
CH3O2
HO2
lump = ?
M = none
e = e-
[pools]
RO2 = CH3O2 + HO2
[quantities]
KRO2 = arrhenius(2e-12, -300)
"PHOTO.j1" = ?
[defaults]
temperature = 280.0
[initial]
O3 = 5e11
NO = 1e9
[families]
NOx = NO + NO2
odd = O3
mixed = 0.5 NO2 + O3
[sources]
S = Nobody (1900)
[reactions]
NO + O3 -> NO2 ; arrhenius(1.4e-12, 1310) ; S
NO2 + M -> NO + O3 + M ; "PHOTO.j1" / 1e19 ; S, row 2
2 NO + CH3O2 -> 2 NO2 + 0.3 CH2O + 0.7 lump ; 0.5 * KRO2 ; S
CH3O2 -> CH2O ; KRO2 * RO2 ; S
HO2 + O3 -> ; RO2 ; S
2 O3 -> O3 ; 1e-30 ; S
"""
QUANTITIES = {"PHOTO.j1": 8e-3}


def tendencies(reference, k, y) -> dict[str, float]:
    """dy/dt by name, from a loop over equations."""
    return dict(zip(reference.species, reference.tendency(k, y), strict=True))


def turnovers(reference, k, y) -> dict[str, float]:
    return dict(zip(reference.species, reference.turnover(k, y), strict=True))


def subset(draw, names):
    return draw(st.lists(st.sampled_from(names), unique=True))


@settings(max_examples=4)
@given(examples(laws=False), st.data(), st.integers(0, 10**6))
def test_exchange_of_random_networks(example, data, seed):
    """Zero exchange changes nothing; otherwise E - d y + D (b - y) is added."""
    network, reference = table.loads(example.text), example.reference
    emitted, deposited, outside = (subset(data.draw, network.species) for _ in range(3))
    box = exchange(
        network, emissions=emitted, deposition=deposited, dilution=True, background=outside
    )
    rng = np.random.default_rng(seed)
    y = rng.uniform(0.1, 2.0, len(network.species))
    value = {name: rng.uniform(0.1, 2.0) for name in box.user_quantities}
    assert set(value) == {
        "DILUTION",
        *(f"EMIS.{n}" for n in emitted),
        *(f"DEP.{n}" for n in deposited),
        *(f"BACKGROUND.{n}" for n in outside),
    }
    base = tendencies(reference, reference.k(), y)
    scale = turnovers(reference, reference.k(), y)
    zero = box.rates(quantities={"*": 0.0})
    np.testing.assert_array_equal(zero[: len(network.equations)], network.rates())
    closed = jaxchem.tendency(box, zero, jnp.asarray(y))
    open_ = jaxchem.tendency(box, box.rates(quantities=value), jnp.asarray(y))
    for i, name in enumerate(network.species):
        assert closed[i] == pytest.approx(base[name], abs=1e-13 * scale[name])
        added = value.get(f"EMIS.{name}", 0.0) - value.get(f"DEP.{name}", 0.0) * y[i]
        added += value["DILUTION"] * (value.get(f"BACKGROUND.{name}", 0.0) - y[i])
        assert open_[i] == pytest.approx(base[name] + added, abs=1e-13 * (scale[name] + 20))


@settings(max_examples=6)
@given(examples(laws=False), st.data(), st.integers(0, 10**6))
def test_constraint_to_the_own_value_leaves_the_others_tendencies(example, data, seed):
    network, reference = table.loads(example.text), example.reference
    pooled = {member for members in reference.pools.values() for _, member in members}
    free = [n for n in network.species if n not in pooled]
    assume(free)
    chosen = subset(data.draw, free)
    assume(0 < len(chosen) < len(network.species))
    box = constrain(network, chosen)
    rng = np.random.default_rng(seed)
    y = dict(zip(network.species, rng.uniform(0.1, 2.0, len(network.species)), strict=True))
    assert box.species == tuple(n for n in network.species if n not in chosen)
    assert set(box.user_quantities) == set(chosen)
    k = box.rates(quantities={n: y[n] for n in chosen})
    found = jaxchem.tendency(box, k, jnp.array([y[n] for n in box.species]))
    base = tendencies(reference, reference.k(), list(y.values()))
    scale = turnovers(reference, reference.k(), list(y.values()))
    for i, name in enumerate(box.species):
        assert found[i] == pytest.approx(base[name], abs=1e-13 * scale[name])


@settings(max_examples=5)
@given(examples(laws=False), st.data(), st.integers(0, 10**6))
def test_what_is_held_does_not_change_and_the_others_do_as_before(example, data, seed):
    network, reference = table.loads(example.text), example.reference
    chosen = subset(data.draw, network.species)
    box = hold(network, chosen)
    y = np.random.default_rng(seed).uniform(0.1, 2.0, len(network.species))
    base = tendencies(reference, reference.k(), y)
    scale = turnovers(reference, reference.k(), y)
    found = jaxchem.tendency(box, box.rates(), jnp.asarray(y))
    for i, name in enumerate(network.species):
        want = 0.0 if name in chosen else base[name]
        assert found[i] == pytest.approx(want, abs=1e-13 * scale[name])


def test_held_species_stay_through_a_solve():
    """A held at a: B and D come to rest where a = 0.1 D and 10 B = a + 2 D."""
    box = hold(table.loads(CHAIN), "A")
    y0 = box.y0({"A": 0.5})
    solution = jaxchem.solve(box, box.rates(), y0, [1.0, 100.0, 1e4], rtol=1e-8)
    ys = np.asarray(solution.ys)
    np.testing.assert_array_equal(ys[:, 0], 0.5)
    np.testing.assert_allclose(ys[-1, 1:3], [(0.5 + 2 * 5.0) / 10, 5.0], rtol=1e-6)


ONE = """name = one
units = molecule cm-3, s
[species]
X = ?
[sources]
S = Nobody (1900)
[reactions]
X -> ; 0 ; S
"""


def test_emission_against_deposition():
    """E/d (1 - exp(-d t)), and with dilution and background (E + D b)/(d + D) (1 - exp(...))."""
    ts = jnp.array([0.1, 1.0, 5.0, 20.0])
    box = exchange(table.loads(ONE), emissions=["X"], deposition=["X"])
    k = box.rates(quantities={"EMIS.X": 3e6, "DEP.X": 0.5})
    solution = jaxchem.solve(box, k, box.y0({}), ts, rtol=1e-9, atol=1.0)
    expected = 3e6 / 0.5 * (1 - np.exp(-0.5 * np.asarray(ts)))
    np.testing.assert_allclose(solution.ys[:, 0], expected, rtol=1e-7)
    box = exchange(box, dilution=True, background=["X"])
    k = box.rates(quantities={"EMIS.X": 3e6, "DEP.X": 0.5, "DILUTION": 0.3, "BACKGROUND.X": 2e6})
    solution = jaxchem.solve(box, k, box.y0({}), ts, rtol=1e-9, atol=1.0)
    expected = 3.6e6 / 0.8 * (1 - np.exp(-0.8 * np.asarray(ts)))
    np.testing.assert_allclose(solution.ys[:, 0], expected, rtol=1e-7)


def test_a_measured_concentration_that_varies():
    """B' = 2 A(t)^2 - B with A imposed as exp(-t / 4): 2 A A is exp(-t / 2) twice."""
    network = table.loads(CHAIN.split("A -> B")[0] + "2 A -> B + A ; 2 ; S1\nB -> A ; 1 ; S1\n")
    box = constrain(network, ["A"])
    assert box.species == ("B", "D", "E")
    assert box.equations == ("-> B", "B ->")
    k = box.rates(quantities={"A": lambda t: jnp.exp(-t / 4)})
    ts = np.array([0.5, 2.0, 4.0])
    solution = jaxchem.solve(box, k, box.y0({}), jnp.asarray(ts), rtol=1e-8, atol=1e-10)
    expected = 4.0 * (np.exp(-ts / 2) - np.exp(-ts))
    np.testing.assert_allclose(solution.ys[:, 0], expected, rtol=1e-6)


# What is kept


@pytest.mark.parametrize("name", [*SHIPPED, "rich"])
def test_a_network_taken_apart_and_built_again_is_the_same(name):
    network = table.loads(RICH) if name == "rich" else jaxchem.load(name)
    again = hold(network, [])
    assert table.dumps(again) == table.dumps(network)
    assert again.structure == network.structure
    assert again.balanced == network.balanced and again.undeclared == network.undeclared
    assert exchange(network) is network and constrain(network, []) is network


def test_exchange_keeps_the_rest_of_a_network():
    network = table.loads(RICH)
    box = exchange(network, emissions="NO", deposition=["O3", "lump"], dilution=True)
    assert box.equations[:6] == network.equations
    assert box.equations[6:9] == ("-> NO", "O3 ->", "lump ->")
    assert box.equations[9:] == tuple(f"{n} ->" for n in network.species if n != "M")
    assert box.sources[:6] == network.sources
    assert box.sources[6:10] == (
        "exchange, emission",
        "exchange, deposition",
        "exchange, deposition",
        "exchange, dilution",
    )
    assert dict(box.references)["S"] == "Nobody (1900)"
    assert dict(box.references)["exchange"].startswith("No reference")
    for what in ("species", "fixed", "defaults", "initial", "families", "units", "pool_names"):
        assert getattr(box, what) == getattr(network, what)
    assert box.quantities[:2] == network.quantities
    assert box.user_quantities == ("PHOTO.j1", "EMIS.NO", "DEP.O3", "DEP.lump", "DILUTION")
    assert box.balanced == ()
    assert table.dumps(table.loads(table.dumps(box))) == table.dumps(box)
    rates = box.rates(quantities={**QUANTITIES, "*": 0.0})
    np.testing.assert_array_equal(rates[:6], network.rates(quantities=QUANTITIES))


def test_what_is_exchanged_is_balanced_no_more():
    box = exchange(table.loads(RICH), emissions=["NO"])
    assert box.balanced == ("C",)  # NO has no carbon
    assert not box.unbalanced()


def test_constraint_keeps_the_rest_of_a_network():
    network = table.loads(RICH)
    box = constrain(network, ["O3", "NO", "M"])
    assert box.species == ("NO2", "CH2O", "CH3O2", "HO2", "lump", "e")
    assert box.equations == (
        "-> NO2",
        "NO2 ->",
        "CH3O2 -> 2 NO2 + 0.3 CH2O + 0.7 lump",
        "CH3O2 -> CH2O",
        "HO2 ->",
        "->",
    )
    assert box.sources == network.sources and box.references == network.references
    assert box.fixed == () and box.initial == () and box.defaults == network.defaults
    assert box.families == (("NOx", (("NO2", 1.0),)), ("mixed", (("NO2", 0.5),)))
    assert box.balanced == ("C",)  # no longer N
    assert box.pool_names == ("RO2",) and box.undeclared == ("lump",)
    assert box.user_quantities == ("PHOTO.j1", "M", "NO", "O3")
    assert table.dumps(table.loads(table.dumps(box))) == table.dumps(box)
    given = {"O3": 7.0, "NO": 3.0, "M": 2.0}
    whole = np.asarray(network.rates(quantities=QUANTITIES))
    found = box.rates(quantities={**QUANTITIES, **given})
    factors = [7.0 * 3.0, 2.0, 3.0 * 3.0, 1.0, 7.0, 7.0 * 7.0]
    np.testing.assert_allclose(found, whole * factors, rtol=1e-14)
    np.testing.assert_array_equal(box.structure.pool_of, network.structure.pool_of)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda n: exchange(n, emissions=["lumpp"]), "species 'lumpp'.*mean 'lump'"),
        (lambda n: exchange(n, emissions=["M"]), "'M' is fixed in network 'rich'"),
        (lambda n: exchange(n, deposition=["M"]), "'M' is fixed"),
        (lambda n: exchange(n, dilution=True, background=["M"]), "'M' is fixed"),
        (lambda n: exchange(n, background=["O3"]), "dilution=True"),
        (
            lambda n: exchange(exchange(n, emissions=["NO"]), emissions=["NO"]),
            "'EMIS.NO' already; give it its value",
        ),
        (lambda n: constrain(n, ["O4"]), "unknown species 'O4'"),
        (lambda n: constrain(n, ["HO2"]), "'HO2' cannot be constrained.*pool 'RO2'.*hold"),
        (lambda n: hold(n, ["O4"]), "unknown species 'O4'"),
    ],
)
def test_what_makes_no_sense_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        change(table.loads(RICH))


def test_constraints_need_a_name_and_a_rest():
    network = table.loads(CHAIN)
    with pytest.raises(ValueError, match="leave one free"):
        constrain(network, network.species)
    named = table.loads(ONE.replace("[sources]", "[quantities]\nX = 3\n[sources]"))
    with pytest.raises(ValueError, match="name 'X' already"):
        constrain(named, ["X"])


# Mixing ratios


def test_mixing_ratios_by_hand():
    """Air at 25 C and one atmosphere: 24.4654 litres a mole, so 2.46149e19 molecule cm-3."""
    here = {"temperature": 298.15, "pressure": 101325.0}
    cm3 = number_density({"O3": 40e-9, "CO": 1e-7}, **here, units=Units("molecule cm-3", "s"))
    assert cm3 == pytest.approx({"O3": 9.84597e11, "CO": 2.46149e12}, rel=1e-5)
    mol = number_density({"O3": 1.0}, **here, units=Units("mol m-3", "s"))
    assert mol["O3"] == pytest.approx(1e3 / 24.4654, rel=1e-5)


@given(st.floats(1e-15, 1), st.floats(1, 1e4), st.floats(1e-9, 1e7))
def test_mixing_ratios_come_back(ratio, temperature, pressure):
    how = {"temperature": temperature, "pressure": pressure, "units": Units("cm-3", "s")}
    assert mixing_ratio(number_density({"X": ratio}, **how), **how)["X"] == pytest.approx(ratio)


def test_mixing_ratios_of_many_cells():
    pressure = np.array([1e5, 5e4])
    how = {"temperature": 250.0, "pressure": pressure, "units": Units("mol m-3", "s")}
    found = number_density({"X": 0.5}, **how)["X"]
    np.testing.assert_allclose(found, 0.5 * pressure / (8.31446261815324 * 250.0), rtol=1e-12)


@pytest.mark.parametrize(
    "how, words",
    [
        ({"units": Units("ppm", "min")}, "'ppm' is no number density"),
        ({"temperature": 0.0}, "temperature is 0.0 K"),
        ({"pressure": math.nan}, "pressure is nan Pa"),
    ],
)
def test_air_that_is_none(how, words):
    good = {"temperature": 280.0, "pressure": 1e5, "units": Units("molecule cm-3", "s")}
    for convert in (number_density, mixing_ratio):
        with pytest.raises(ValueError, match=words):
            convert({"X": 1.0}, **{**good, **how})
