"""Maps of all gas: the collocation that teaches them, and what they come to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem import models
from jaxchem.collocation import newton, radau
from jaxchem.general import learn
from jaxchem.learned import general
from jaxchem.models.gas_map import Clock, GasMap
from jaxchem.models.ratios import Ratios
from jaxchem.physics import Equations
from jaxchem.solvers import Integrator
from jaxchem.thermal import random_states
from jaxchem.train import Job

KEY = jax.random.key(0)
YEAR = 365 * 86400.0
TIMES = (10 * YEAR, 1e4 * YEAR)


@pytest.fixture(scope="module")
def gas():
    """Hydrogen and helium that stay at 5000 K, and starts of density 1 to 100."""
    network = jaxchem.load("ism_atomic")
    given = {"cosmic_ray_rate": 1e-16, "uv_field": 1.0, "dust_to_gas": 0.3}
    k = network.rates(temperature=5000.0, quantities={"charging": 1e3}, **given)
    starts = random_states(network, 2000, seed=1, density=(1.0, 100.0))[:, :-1]
    return Equations.of_network(network, k), starts


@pytest.fixture(scope="module")
def taught(gas):
    """A map from the equations alone."""
    equations, starts = gas
    small = {"width": 64, "depth": 2, "steps": 900, "batch_size": 128, "redraw": 10, "key": KEY}
    return learn(equations, starts, TIMES, job=Job(progress=False), **small)


def truth_of(equations, y0, ts):
    """By SciPy."""
    field = jax.jit(lambda t, y: equations.system.field(t, y))
    how = {"method": "Radau", "t_eval": ts, "rtol": 1e-9, "atol": 1e-16}
    return solve_ivp(lambda t, y: np.asarray(field(t, y)), (0, ts[-1]), y0, **how).y.T


def test_radau():
    """The method of order 3 of Hairer & Wanner (1996), table IV.5.5."""
    x, slopes = radau(2)
    np.testing.assert_allclose(x, [1 / 3, 1], rtol=1e-14)
    runge_kutta = np.linalg.inv(slopes[:, 1:])
    np.testing.assert_allclose(runge_kutta, [[5 / 12, -1 / 12], [3 / 4, 1 / 4]], rtol=1e-12)
    np.testing.assert_allclose(slopes @ np.ones(3), 0, atol=1e-13)


def test_a_clock():
    clock = Clock(1e-2, 1e4, 7)
    np.testing.assert_allclose(clock.readings, [1e-2, 1e-1, 1, 10, 100, 1e3, 1e4])
    places = jax.vmap(clock.place)(jnp.asarray(clock.readings))
    np.testing.assert_allclose(places, np.arange(7), atol=1e-12)
    assert float(clock.place(jnp.asarray(0.0))) == -1
    assert float(clock.place(jnp.asarray(5e-3))) == -0.5


def test_newton_steps_come_to_the_solution(gas):
    """From states that do not change; and where they are, nothing moves."""
    equations, starts = gas
    ratios, clock = Ratios.of(equations.system.network), Clock(1e-3 * YEAR, 1e6 * YEAR, 91)

    @jax.jit
    def step(u, y0):
        return newton(equations.system.field, ratios, clock, u, y0)

    for y0 in starts[:4]:
        given = jnp.asarray(y0)
        u = jnp.repeat(ratios.exponents(given)[None], 91, axis=0)
        for _ in range(40):
            u, before = step(u, given), u
        np.testing.assert_allclose(u, before, atol=1e-9)
        totals = ratios.totals(given)
        ys = np.asarray(jax.vmap(lambda u, totals=totals: ratios.state(u, totals))(u))
        truth = truth_of(equations, y0, clock.readings / float(jnp.sum(totals)))
        known = truth > 1e-12
        off = np.abs(ys / truth - 1)[known]
        assert np.quantile(off, 0.99) < 5e-3 and off.max() < 0.05


def test_equations_alone_teach_a_map(gas, taught):
    """Within some per cent after some seconds, from starts that it never saw."""
    equations, _ = gas
    model, history = taught
    assert np.mean(history["loss"][-50:]) < 0.25 * np.mean(history["loss"][:5])
    ts = np.geomspace(*TIMES, 13)
    errors = []
    network = equations.system.network
    for y0 in random_states(network, 10, seed=9, density=(1.0, 100.0))[:, :-1]:
        truth = truth_of(equations, y0, ts)
        errors.append(np.abs(np.asarray(model(y0, None, ts)) / truth - 1)[truth > 1e-12])
    assert np.quantile(np.concatenate(errors), 0.5) < 0.05
    assert np.quantile(np.concatenate(errors), 0.9) < 0.5


def test_a_map_holds_what_it_must(gas, taught, tmp_path):
    """The start, nuclei and charge; it ends where its training did, and is a file."""
    equations, starts = gas
    model, _ = taught
    y0 = jnp.asarray(starts[7])
    ts = jnp.array([0.0, YEAR, 1e2 * YEAR, TIMES[1], 1.1 * TIMES[1]])
    ys = np.asarray(model(y0, None, ts))
    assert np.array_equal(ys[0], y0) and np.all(np.isnan(ys[-1])) and np.all(ys[:-1] > 0)
    sums = np.asarray(equations.system.conserved)
    scale = np.abs(sums) @ np.asarray(y0)
    np.testing.assert_allclose((ys[:-1] - np.asarray(y0)) @ sums.T / scale, 0, atol=1e-12)
    early = np.asarray(model(y0, None, jnp.array([1.0])))  # a second after the start
    np.testing.assert_allclose(early[0], y0, rtol=1e-3)
    models.save(tmp_path / "model.eqx", model)
    again = models.load_model(tmp_path / "model.eqx")
    assert np.array_equal(again(y0, None, ts[:-1]), model(y0, None, ts[:-1]))
    assert "7 states" in repr(model) or "GasMap" in repr(model)
    none = np.asarray(y0).copy()
    none[3] = 0.0  # a start may lack a species
    assert np.all(np.isfinite(np.asarray(model(none, None, ts[1:-1]))))


def test_a_solver_teaches_a_map_too(gas):
    """The same twice, closer than before it learns."""
    equations, starts = gas
    small = {"width": 64, "depth": 2, "steps": 400, "batch_size": 128, "data": "solver", "key": KEY}
    model, history = learn(equations, starts, TIMES, job=Job(progress=False), **small)
    again, _ = learn(equations, starts, TIMES, job=Job(progress=False), **small)
    y0, ts = starts[0], jnp.geomspace(*TIMES, 5)
    assert isinstance(model, GasMap)
    assert np.array_equal(model(y0, None, ts), again(y0, None, ts))
    assert np.mean(history["loss"][-20:]) < 0.5 * history["loss"][0]


def test_bad_settings(gas):
    equations, starts = gas
    with pytest.raises(ValueError, match="data='files' is unknown; write none or solver"):
        learn(equations, starts, TIMES, key=KEY, data="files")
    with pytest.raises(ValueError, match="starts of H- are not positive"):
        learn(equations, starts * (np.arange(7) != 3), TIMES, key=KEY)
    network, ranges = jaxchem.load("ism_atomic"), {"temperature": [20.0, 1e6]}
    for bad in (None, 10.0, [10.0], [10.0, 1.0]):
        with pytest.raises(ValueError, match=r"density=.*: give a range as \[low, high\]"):
            general(network, Integrator(), density=bad, **ranges)
    with pytest.raises(ValueError, match="let 0 < first < years"):
        general(network, Integrator(), density=[1.0, 10.0], first=2.0, years=1.0, **ranges)
