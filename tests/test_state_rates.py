"""Rates that depend on concentrations: sums of terms, and functions of the state."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem import System
from jaxchem.kinetics import flux, jacobian, tendency
from jaxchem.parse import kpp, kpp_writer, table

HEAD = """name = stateful
units = molecule cm-3, s
[species]
A = none
B = none
D = none
[pools]
P = A + B
X = D
W = 2.5 A + -0.5 B + D
[quantities]
Q = 0.5 + 2 * P
R = 1 / (3 + X)
G = ?
[sources]
S1 = Nobody (1900)
[reactions]
"""
Y = np.array([2.0, 3.0, 5.0])


def network(*rates: str) -> jaxchem.Network:
    """Reactions A -> D at these rates."""
    return table.loads(HEAD + "\n".join(f"A -> D ; {rate} ; S1" for rate in rates))


def value(rate: str, y=Y, g: float = 7.0) -> float:
    """The same by Python itself."""
    a, b, d = (float(v) for v in y)
    known = {"P": a + b, "X": d, "G": g, "Q": 0.5 + 2 * (a + b), "R": 1 / (3 + d)}
    known["W"] = 2.5 * a - 0.5 * b + d
    return eval(rate, {"exp": math.exp, "sqrt": math.sqrt, "max": max, "min": min}, known)


@pytest.mark.parametrize(
    ("rate", "rows", "constant"),
    [
        ("4 * P + 0.5 * P", 1, True),  # terms of one pool are one
        ("3 * (1 + 2 * X)", 2, True),
        ("6 * P - X + 2 * G", 3, True),
        ("(P - 1) / 4", 2, True),
        ("-P * -G", 1, True),
        ("2 * Q", 2, True),
        ("P * X", 1, False),
        ("(1 + X) ** 2", 1, False),
        ("2 / (40 + P)", 1, False),
        ("P / (40 + P)", 1, False),
        ("exp(-P) * X", 1, False),
        ("R * Q + R", 1, False),
        ("max(P, 4) + sqrt(X)", 1, False),
        ("(1 + P) ** 3 - X", 2, False),
        ("3 * W - P", 2, True),
        ("W / (40 + W)", 1, False),
    ],
)
def test_a_rate_by_hand(rate, rows, constant):
    """Its value, in how many reactions it is held, and whether the coefficients are numbers."""
    found = network(rate)
    assert found.equations == ("A -> D",) * rows
    assert not [problem for problem in found.check() if problem.startswith("duplicate")]
    k = found.rates(quantities={"G": 7.0})
    assert callable(k) != constant
    right = Y[0] * value(rate)
    change = tendency(found, k, jnp.asarray(Y))
    np.testing.assert_allclose(change, [-right, 0.0, right], rtol=1e-14)
    np.testing.assert_allclose(np.sum(flux(found, k, jnp.asarray(Y))), right, rtol=1e-14)


ATOMS = st.sampled_from(["P", "X", "W", "Q", "R", "G", "2.0", "0.25"])
TREES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from("+-*"), inner, inner).map(lambda t: f"({t[1]} {t[0]} {t[2]})"),
        inner.map(lambda t: f"(-{t})"),
        inner.map(lambda t: f"(({t}) ** 2)"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]} / (1 + ({t[1]}) ** 2))"),
    ),
    max_leaves=6,
)


@given(st.lists(TREES, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_any_rate(rates):
    """Values against Python, the Jacobian against `jax.jacfwd`, and both after a round trip."""
    found = network(*rates)
    total = sum(value(rate) for rate in rates)
    scale = sum(abs(value(rate.replace("-", "+"))) for rate in rates) * Y[0] + 1.0
    for each in (found, table.loads(table.dumps(found))):
        k = each.rates(quantities={"G": 7.0})
        change = tendency(each, k, jnp.asarray(Y))
        np.testing.assert_allclose(change[2], Y[0] * total, rtol=0, atol=1e-12 * scale)
        slope = jax.jacfwd(lambda y, each=each, k=k: tendency(each, k, y))(jnp.asarray(Y))
        np.testing.assert_allclose(
            jacobian(each, k, jnp.asarray(Y)), slope, rtol=1e-9, atol=1e-9 * scale
        )
    k = found.rates(quantities={"G": 7.0})
    terms = [found.equations.count(equation) for equation in found.equations]
    if not callable(k) and np.any((np.asarray(k) < 0) & (np.array(terms) == 1)):
        with pytest.raises(ValueError, match="must not be negative"):
            System(found, k)
        return
    system = System(found, k)
    np.testing.assert_allclose(
        system.jacobian(0.0, jnp.asarray(Y)), slope, rtol=1e-9, atol=1e-9 * scale
    )
    assert np.all(system.pattern[np.abs(slope) > 1e-9 * scale])


def test_written_for_kpp_and_read_again():
    """Reactions of the same sides are one in KPP, whatever multiplies each."""
    rates = ("3 * (1 + 2 * X) + P", "P * X / (1 + P) + W")
    reactions = "".join(f"A -> D ; {rate} ; S1\n" for rate in rates)
    found = table.loads(f"{HEAD}{reactions}B -> ; 2 ; S1")
    text = kpp_writer.dumps(found)
    again = kpp.loads(text, "again.kpp")
    assert text.count("<R") == 2 and "W = 2.5D0*C(ind_A) - 0.5D0*C(ind_B) + C(ind_D)" in text
    assert "W" in again.pool_names
    order = [found.species.index(name) for name in again.species]
    y = jnp.asarray(Y)
    np.testing.assert_allclose(
        tendency(again, again.rates(), y[np.array(order)]),
        tendency(found, found.rates(), y)[np.array(order)],
        rtol=1e-13,
    )


LIMITED = """name = limited
units = 1, s
[species]
S = none
E = none
ES = none
X = none
[pools]
SUBSTRATE = S + ES
BIOMASS = X
[quantities]
growth = mu * SUBSTRATE / (half + SUBSTRATE) * (1 - BIOMASS / 5)
mu = ?
half = ?
[sources]
S1 = Nobody (1900)
[reactions]
S + X -> 1.4 X ; growth ; S1
S + E -> ES ; 3 ; S1
ES -> S + E ; 0.2 + 0.1 * BIOMASS ; S1
X -> ; 0.05 * temperature / 300 ; S1
"""
START = {"S": 6.0, "E": 1.0, "X": 0.2}
TIMES = jnp.array([0.5, 2.0, 10.0])


def limited_by_scipy(mu: float) -> np.ndarray:
    """The same by SciPy's Radau: S, E, ES, X."""

    def change(t, y):
        s, e, es, x = y
        grown = mu * (s + es) / (4.0 + s + es) * (1 - x / 5) * s * x
        bound, freed = 3 * s * e, (0.2 + 0.1 * x) * es
        return [-grown - bound + freed, freed - bound, bound - freed, 0.4 * grown - 0.05 * x]

    start = [START["S"], START["E"], 0.0, START["X"]]
    found = solve_ivp(change, (0, 10), start, "Radau", np.asarray(TIMES), rtol=1e-11, atol=1e-13)
    return found.y.T


@pytest.mark.parametrize(
    ("method", "engine"),
    [
        ("rodas4", "kernel"),
        ("rodas5p", "kernel"),
        ("rodas5p", "plain"),
        ("kvaerno5", "kernel"),
    ],
    indirect=["engine"],
)
@pytest.mark.usefixtures("engine")
def test_a_solve_against_scipy(method):
    """With the compiled kernel, in plain JAX, and with a method that runs in diffrax."""
    limited = table.loads(LIMITED)
    assert len(limited.equations) == 5 and limited.needs == ("temperature", "mu", "half")
    k = limited.rates(temperature=300.0, quantities={"mu": 0.8, "half": 4.0})
    found = jaxchem.solve(limited, k, limited.y0(START), TIMES, method=method, rtol=1e-9).ys
    np.testing.assert_allclose(found, limited_by_scipy(0.8), rtol=1e-6)


def test_batches_and_derivatives():
    limited = table.loads(LIMITED)

    def end(mu):
        k = limited.rates(temperature=300.0, quantities={"mu": mu, "half": 4.0})
        return jaxchem.solve(limited, k, limited.y0(START), TIMES, rtol=1e-9).ys[-1, 3]

    several = jax.vmap(end)(jnp.array([0.5, 0.8]))
    right = [limited_by_scipy(mu)[-1, 3] for mu in (0.5, 0.8)]
    np.testing.assert_allclose(several, right, rtol=1e-6)
    slope = (limited_by_scipy(0.8001)[-1, 3] - limited_by_scipy(0.7999)[-1, 3]) / 2e-4
    np.testing.assert_allclose(jax.grad(end)(0.8), slope, rtol=1e-5)


WEIGHTED = """name = weighted
units = 1, s
[species]
A = none
B = none
C = none
[pools]
M = 2.5 A + B + 0.4 C
[sources]
S1 = Nobody (1900)
[reactions]
A + B -> C ; 0.3 * M ; S1
C -> A + B ; scale * M / (2 + M) ; S1
C -> 2 A ; 0.02 ; S1
[quantities]
scale = ?
"""


def weighted_by_scipy(scale: float, a: float = 2.0) -> np.ndarray:
    """The same by SciPy's Radau."""

    def change(t, y):
        a, b, c = y
        m = 2.5 * a + b + 0.4 * c
        there, back, lost = 0.3 * m * a * b, scale * m / (2 + m) * c, 0.02 * c
        return [back - there + 2 * lost, back - there, there - back - lost]

    found = solve_ivp(
        change, (0, 10), [a, 1.0, 0.5], "Radau", np.asarray(TIMES), rtol=1e-12, atol=1e-14
    )
    return found.y.T


@pytest.mark.parametrize("method", ["rodas4", "rodas5p", "kvaerno5"])
def test_weighted_pools_against_scipy(method):
    """As a factor and within a coefficient: states, and derivatives both ways."""
    weighted = table.loads(WEIGHTED)
    np.testing.assert_array_equal(weighted.structure.pools, [[2.5, 1.0, 0.4]])

    def end(given):
        scale, a = given
        y0 = weighted.y0({"A": a, "B": 1.0, "C": 0.5})
        k = weighted.rates(quantities={"scale": scale})
        return jaxchem.solve(weighted, k, y0, TIMES, method=method, rtol=1e-9).ys

    given = jnp.array([0.7, 2.0])
    np.testing.assert_allclose(end(given), weighted_by_scipy(0.7), rtol=1e-6)
    up, down = weighted_by_scipy(0.701), weighted_by_scipy(0.699)
    more, less = weighted_by_scipy(0.7, 2.001), weighted_by_scipy(0.7, 1.999)
    slopes = [(up - down) / 2e-3, (more - less) / 2e-3]
    pulled = jax.jacrev(lambda given: end(given)[-1])(given)
    np.testing.assert_allclose(pulled.T, [s[-1] for s in slopes], rtol=1e-5)
    if method != "kvaerno5":  # diffrax's adjoint has no forward mode
        pushed = jax.jacfwd(end)(given)
        np.testing.assert_allclose(np.moveaxis(pushed, -1, 0), slopes, rtol=1e-5)


def test_rates_of_time_and_state():
    limited = table.loads(LIMITED)
    k = limited.rates(temperature=lambda t: 300.0 + t, quantities={"mu": 0.8, "half": 4.0})
    assert "of time and state" in repr(k) and k.reads == (0, 2, 3)
    assert System(limited, k).k_reads == (0, 2, 3) and not System(limited, k).autonomous
    steady = limited.rates(temperature=300.0, quantities={"mu": 0.8, "half": 4.0})
    assert System(limited, steady).autonomous
    at = tendency(limited, k, limited.y0(START), t=30.0)
    np.testing.assert_allclose(at[3], 0.4 * 0.8 * 0.6 * 0.96 * 6.0 * 0.2 - 0.055 * 0.2, rtol=1e-12)
    with pytest.raises(ValueError, match=r"'limited'.*of 'SUBSTRATE'.*k\(t, y\)"):
        k(0.0)


def test_definitions_three_hundred_deep():
    """Each squares the one before: written out the last would have 2^300 factors."""
    chain = "\n".join(f"Q{n + 1} = Q{n} * Q{n} / 8" for n in range(300))
    text = HEAD.replace("G = ?", f"Q0 = P\n{chain}")
    found = table.loads(text + "A -> D ; Q300 ; S1\nA -> B ; Q2 ; S1")
    change = tendency(found, found.rates(), jnp.asarray([3.0, 5.0, 0.0]))
    np.testing.assert_allclose(change, [-48.0, 24.0, 24.0], rtol=1e-12)


def test_budgets_of_rates_that_read_the_state():
    limited = table.loads(LIMITED)
    k = limited.rates(temperature=300.0, quantities={"mu": 0.8, "half": 4.0})
    found = jaxchem.contributions(limited, k, limited.y0(START), "X")
    grown = 0.4 * 0.8 * 0.6 * 0.96 * 6.0 * 0.2
    np.testing.assert_allclose(np.sum(found.production), grown, rtol=1e-12)
    np.testing.assert_allclose(np.sum(found.loss), 0.05 * 0.2, rtol=1e-12)


def test_what_is_written_out_cannot_be_given():
    found = network("2 * Q", "R")
    with pytest.raises(ValueError, match="'Q' depends on concentrations and is written out"):
        found.rates(quantities={"Q": 7.0})
    given = found.rates(quantities={"R": 7.0})
    np.testing.assert_allclose(tendency(found, given, Y)[2], Y[0] * (value("2 * Q") + 7.0))


def test_states_of_whole_numbers_and_of_the_wrong_shape():
    found = network("1 / (1 + P)")
    k = found.rates()
    np.testing.assert_allclose(k(0.0, np.array([2, 3, 5])), [1 / 6], rtol=1e-15)
    np.testing.assert_allclose(tendency(found, k, np.array([2, 3, 5]))[2], 2 / 6, rtol=1e-15)
    for wrong in (Y[:2], np.tile(Y, (4, 1))):
        with pytest.raises(ValueError, match="wants a state of 3 species"):
            k(0.0, wrong)


def test_differences_keep_their_digits():
    found = network("(P - X) ** 2")
    y = np.array([1e10, 1.0, 1e10])
    np.testing.assert_allclose(flux(found, found.rates(), jnp.asarray(y)), [1e10], rtol=1e-6)
