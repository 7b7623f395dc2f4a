"""Rates and tendencies that run in the compiled kernel: beside SciPy, and differentiated."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import state
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem import System
from jaxchem.solvers import native
from jaxchem.solvers.layout import layout

pytestmark = pytest.mark.skipif(not native.available(), reason="there is no C compiler")

ROBERTSON = (0.04, 3e7, 1e4)  # A -> B, 2 B -> B + C, B + C -> A + C
TS = np.array([0.5, 3.0, 20.0])
PARAMETERS = jnp.array([1.0, 1.2, 0.7, 2.0])
START = jnp.array([1.0, 1e-5, 0.1])
HOW = {"rtol": 1e-9, "atol": 1e-14, "method": "rodas4"}


@pytest.fixture(scope="module")
def robertson():
    return jaxchem.load("robertson")


def varying(p):
    """Coefficients that follow time, the state and four parameters."""

    def k(t, y):
        factors = jnp.stack([p[0] * (1 + 0.3 * jnp.sin(p[2] * t)), jnp.ones(()), p[1]])
        return (
            jnp.asarray(ROBERTSON) * factors * jnp.array([1.0, 1.0, 1.0]).at[2].mul(1 + p[3] * y[2])
        )

    return k


def warm(network, p):
    """A gas that warms as C is made, and cools; A is emitted."""

    def k(t, y):
        return jnp.asarray(ROBERTSON) * jnp.exp(-p[0] * (y[3] - 300.0) / 300.0)

    def tendency(t, y):
        return (
            jnp.array([1e-3, 0.0, 0.0, 0.0])
            .at[3]
            .set(p[1] * 10 * y[2] - 0.1 * (y[3] - 300.0 - jnp.cos(t)))
        )

    return System(network, k, {"temperature": "K"}, tendency)


def truth(system, y0, ts):
    field = jax.jit(lambda t, y: system.field(t, y))
    found = solve_ivp(
        lambda t, y: np.asarray(field(t, jnp.asarray(y))),
        (0.0, ts[-1]),
        np.asarray(y0),
        method="Radau",
        t_eval=ts,
        rtol=1e-11,
        atol=1e-15,
    )
    return found.y.T


def kernel_alone(monkeypatch):
    """Fails where diffrax would do the work."""

    def fail(*_, **__):
        raise AssertionError("diffrax was asked")

    monkeypatch.setattr(jaxchem.Integrator, "__call__", fail)


def test_against_scipy(robertson, monkeypatch):
    hot = jnp.append(START, 310.0)
    expected = truth(System(robertson, varying(PARAMETERS)), START, TS)
    expected_warm = truth(warm(robertson, PARAMETERS), hot, TS)
    kernel_alone(monkeypatch)
    found = jaxchem.solve(robertson, varying(PARAMETERS), START, TS, **HOW)
    np.testing.assert_allclose(found.ys, expected, rtol=1e-8)
    found = jaxchem.solve(warm(robertson, PARAMETERS), hot, TS, **HOW)
    np.testing.assert_allclose(found.ys, expected_warm, rtol=1e-8)


@pytest.mark.parametrize("case", ["rates", "system"])
def test_derivatives_agree(robertson, case, monkeypatch):
    """Reverse, forward and central differences, by parameters, initial state and start."""
    kernel_alone(monkeypatch)

    def solved(p, y0, t0=0.0, **settings):
        of = (robertson, varying(p)) if case == "rates" else (warm(robertson, p),)
        return jaxchem.solve(*of, y0, TS, t0=t0, **HOW, **settings).ys

    y0 = START if case == "rates" else jnp.append(START, 310.0)
    p = PARAMETERS
    scale = jnp.array([1.0, 1e-5, 0.1, 300.0])[: len(y0)]
    by_p, by_y = jax.jacrev(solved, argnums=(0, 1))(p, y0)
    for settings in ({}, {"adjoint": "forward"}):
        forward = jax.jacfwd(lambda p, y, s=settings: solved(p, y, **s), argnums=(0, 1))(p, y0)
        for ours, theirs in zip(forward, (by_p, by_y), strict=True):
            largest = np.max(np.abs(theirs), axis=(0, 2), keepdims=True)
            np.testing.assert_allclose(ours / largest, theirs / largest, rtol=0, atol=1e-11)

    def differences(function, x, steps):
        columns = [
            (function(x.at[i].add(s)) - function(x.at[i].add(-s))) / (2 * s)
            for i, s in enumerate(steps)
        ]
        return jnp.stack(columns, axis=-1)

    for ours, expected in (
        (by_p, differences(lambda p: solved(p, y0), p, [1e-4] * 4)),
        (
            np.asarray(by_y) * np.asarray(scale),
            np.asarray(differences(lambda y: solved(p, y), y0, 1e-3 * scale)) * np.asarray(scale),
        ),
    ):
        largest = np.max(np.abs(expected), axis=(0, 2), keepdims=True)
        np.testing.assert_allclose(ours / largest, expected / largest, rtol=0, atol=1e-5)
    _, by_start = jax.jvp(lambda t0: solved(p, y0, t0), (0.1,), (1.0,))
    expected = (solved(p, y0, 0.1 + 1e-4) - solved(p, y0, 0.1 - 1e-4)) / 2e-4
    np.testing.assert_allclose(by_start, expected, rtol=1e-4, atol=1e-7)


def test_batches_have_the_derivatives_of_their_cells(robertson, monkeypatch):
    kernel_alone(monkeypatch)

    def loss(p, y0):
        return jaxchem.solve(robertson, varying(p), y0, TS, **HOW).ys[-1] @ jnp.arange(3.0)

    many = jnp.outer(jnp.linspace(0.9, 1.1, 5), PARAMETERS)
    each = jax.vmap(jax.grad(loss), in_axes=(0, None))(many, START)
    for p, gradient in zip(many, each, strict=True):
        np.testing.assert_allclose(gradient, jax.grad(loss)(p, START), rtol=1e-9)
    shared = jax.grad(lambda p: jax.vmap(loss, in_axes=(None, 0))(p, jnp.stack([START] * 3)).sum())
    np.testing.assert_allclose(shared(PARAMETERS), 3 * jax.grad(loss)(PARAMETERS, START), rtol=1e-9)


def test_derivatives_between_steps(robertson):
    def solved(p, adjoint):
        ts = jnp.array([0.5, 0.51, 0.52, 20.0])
        how = {**HOW, "adjoint": adjoint, "output": "interpolate"}
        return jaxchem.solve(robertson, varying(p), START, ts, **how).ys

    forward = jax.jacfwd(solved)(PARAMETERS, "forward")
    reverse = jax.jacrev(solved)(PARAMETERS, "reverse")
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-14)


def test_second_derivatives_are_refused_with_what_to_do(robertson):
    def loss(k):
        return jaxchem.solve(robertson, k, START, TS).ys.sum()

    for twice in (jax.hessian(loss), jax.jacfwd(jax.jacfwd(loss)), jax.jacrev(jax.jacrev(loss))):
        with pytest.raises(ValueError, match="adjoint='direct'"):
            twice(jnp.asarray(ROBERTSON))


def test_what_cannot_be_lowered_is_named_and_solved(robertson, caplog):
    """A sort has no instructions: the log says so, and diffrax gives the same numbers."""

    def k(t, y):
        return jnp.sort(jnp.asarray(ROBERTSON) * (1 + 0.1 * jnp.sin(t)))[jnp.array([0, 2, 1])]

    def same(t, y):
        return jnp.asarray(ROBERTSON) * (1 + 0.1 * jnp.sin(t))

    assert ROBERTSON[0] < ROBERTSON[2] < ROBERTSON[1]
    y0 = state("robertson")
    with caplog.at_level(logging.INFO, "jaxchem"):
        slow = jaxchem.solve(robertson, k, y0, TS, rtol=1e-8, atol=1e-12)
    assert any("sort" in record.getMessage() for record in caplog.records)
    caplog.clear()
    with caplog.at_level(logging.INFO, "jaxchem"):
        fast = jaxchem.solve(robertson, same, y0, TS, rtol=1e-8, atol=1e-12)
    assert not caplog.records
    np.testing.assert_allclose(slow.ys, fast.ys, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("name", ["robertson", "pollu", "osu29", "mcm_methane"])
def test_layouts_hold_each_unknown_once(name, rows):
    network = jaxchem.load(name)
    found = layout(network.structure, rows)
    size = len(network.species) + len(network.pool_names)
    assert len(found.place) == len(set(found.place.tolist())) == size
    assert sorted(found.reaction) == list(range(len(network.equations)))
    places = found.position(*np.indices((size, size)))
    held = places[places >= 0]
    assert len(held) == len(set(held.tolist()))  # no two entries share a place
    pattern = network.pattern()
    for i, j in np.argwhere(pattern & ~network.structure.pools.any(axis=0)):
        assert places[i, j] >= 0


def test_programs_that_differ_in_numbers_alone(robertson):
    """Constants in functions that are compiled inside are no part of a program's text."""

    def rates(table):
        inner = jax.jit(lambda t: jnp.interp(t, jnp.arange(50.0), table))
        return lambda t: jnp.asarray(ROBERTSON) * inner(t)

    y0 = state("robertson")
    for factor in (1.0, 2.0):
        table = jnp.asarray(np.full(50, factor))
        found = jaxchem.solve(robertson, rates(table), y0, TS, rtol=1e-8)
        expected = jaxchem.solve(robertson, factor * jnp.asarray(ROBERTSON), y0, TS, rtol=1e-8)
        np.testing.assert_allclose(found.ys, expected.ys, rtol=1e-6)


def test_the_first_steps_of_a_late_clock(robertson):
    """Steps far shorter than the clock resolves, under rates that follow the clock."""
    late, k = 1e9, lambda t: jnp.asarray(ROBERTSON) * 1e6 * (1 + 0.1 * jnp.sin(t - 1e9))
    found = jaxchem.solve(robertson, k, START, late + TS, t0=late, rtol=1e-6)
    early = jaxchem.solve(robertson, lambda t: k(t + late), START, TS, rtol=1e-6)
    np.testing.assert_allclose(found.ys, early.ys, rtol=1e-5)


def by_differences(function, at, step=1e-4):
    return (function(at + step) - function(at - step)) / (2 * step)


def test_derivatives_where_only_the_tendency_is_a_function(robertson):
    def end(p):
        system = System(robertson, jnp.asarray(ROBERTSON), tendency=lambda t, y: -p * y)
        return jaxchem.solve(system, START, TS, **HOW).ys[-1, 0]

    expected = by_differences(end, 0.1)
    for slope in (jax.grad(end)(0.1), jax.jacfwd(end)(0.1)):
        assert float(slope) == pytest.approx(float(expected), rel=1e-6)

    def end_at(k, y0):
        return jaxchem.solve(robertson, k, y0, TS).ys[-1, 0]

    k = jnp.asarray(ROBERTSON)
    fixed = jax.grad(lambda y0: end_at(lambda t: k, y0))(START)
    np.testing.assert_allclose(fixed, jax.grad(lambda y0: end_at(k, y0))(START), rtol=1e-9)


def test_gradients_by_the_values_of_a_table(robertson, monkeypatch):
    kernel_alone(monkeypatch)
    hours = jnp.array([0.0, 2.0, 5.0, 21.0])

    def end(values):
        k = lambda t: jnp.asarray(ROBERTSON) * jnp.interp(t, hours, values)  # noqa: E731
        return jaxchem.solve(robertson, k, START, TS, **HOW).ys[-1, 0]

    at = jnp.array([1.0, 2.0, 0.5, 1.0])
    gradient = jax.grad(end)(at)
    np.testing.assert_allclose(gradient, jax.jacfwd(end)(at), rtol=1e-8)
    for n, direction in enumerate(np.eye(4)):
        expected = by_differences(lambda s, d=direction: end(at + s * jnp.asarray(d)), 0.0, 1e-3)
        np.testing.assert_allclose(gradient[n], expected, rtol=1e-5)


def test_functions_that_differ_in_their_derivative_alone(robertson):
    def slope(factor):
        @jax.custom_jvp
        def square(x):
            return x * x

        square.defjvp(lambda x, dx: (square(x[0]), factor * dx[0]))

        def end(p):
            k = lambda t, y: jnp.asarray(ROBERTSON) * square(p)  # noqa: E731
            return jaxchem.solve(robertson, k, START, TS).ys[-1, 0]

        return float(jax.jacfwd(end)(1.0))

    assert slope(20.0) == pytest.approx(10 * slope(2.0), rel=1e-10)


def test_a_function_is_read_anew(robertson):
    """What it closes over may have changed since another system was made of it."""
    held = {"late": False}

    def tendency(t, y):
        return jnp.cos(3 * t) * y if held["late"] else jnp.zeros(3).at[0].set(-y[0])

    first = System(robertson, jnp.asarray(ROBERTSON), tendency=tendency)
    assert first.autonomous and first.tendency_reads == (0,)
    held["late"] = True
    second = System(robertson, jnp.asarray(ROBERTSON), tendency=tendency)
    assert not second.autonomous and second.tendency_reads == (0, 1, 2)


@pytest.mark.parametrize("k", [lambda t: jnp.asarray(ROBERTSON) * (1 + t), jnp.asarray(ROBERTSON)])
def test_bad_times_inside_of_jit(robertson, k):
    def run(ts, t0):
        return jaxchem.solve(robertson, k, START, ts, t0=t0, throw=False).ys

    run = jax.jit(run)
    assert np.isfinite(run(jnp.array([1.0, 2.0]), 0.5)).all()
    for ts, t0 in (([5.0, 0.5], 0.0), ([1.0, 2.0], 1.5)):
        assert not np.isfinite(run(jnp.array(ts), t0)).any()


def test_keys_of_random_numbers_are_left_to_jax(robertson, caplog):
    key = jax.random.key(0)
    with caplog.at_level(logging.INFO, logger="jaxchem"):
        found = jaxchem.solve(
            robertson,
            lambda t: jnp.asarray(ROBERTSON) * (1 + 0.1 * jax.random.uniform(key)),
            START,
            TS,
        )
    assert np.isfinite(found.ys).all()
    assert "random" in caplog.text
