"""Networks trained on equations alone, beside SciPy, and the parts that they are made of."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.stats import qmc

import jaxchem
from jaxchem import models
from jaxchem.learned import benchmark, single
from jaxchem.models.layers import DeepGalerkin
from jaxchem.models.ratios import Amounts, Ratios
from jaxchem.physics import Equations, march
from jaxchem.published import halton, train_galerkin
from jaxchem.solvers import Integrator
from jaxchem.thermal import Cloud, random_states
from jaxchem.train import Job

QUIET = Job("test", progress=False)
KEY = jax.random.key(0)


def chain():
    return jaxchem.load("robertson")


def test_ratios_hold_elements_and_charge():
    """Whatever the exponents."""
    network = jaxchem.load("ism_molecular")
    ratios = Ratios.of(network, 1)
    y0 = jnp.asarray(random_states(network, 1, seed=2)[0])
    totals = ratios.totals(y0)
    np.testing.assert_allclose(ratios.state(ratios.exponents(y0), totals), y0, rtol=1e-12)
    u = ratios.exponents(y0) + jax.random.normal(KEY, (len(ratios.places),))
    y = ratios.state(u, totals)
    sums = network.composition @ np.stack([np.asarray(y0)[:-1], np.asarray(y)[:-1]], axis=1)
    scale = np.abs(network.composition) @ np.asarray(y0)[:-1]
    np.testing.assert_allclose(sums[:, 1] / scale, sums[:, 0] / scale, atol=1e-12)
    assert y[-1] == pytest.approx(float(jnp.exp(u[-1])))
    free = Ratios.of(network, 1, exact=False)
    np.testing.assert_allclose(free.state(jnp.log(y0), free.totals(y0)), y0, rtol=1e-12)


def test_species_of_two_elements_have_no_ratios():
    with pytest.raises(ValueError, match=r"is of several elements.*exact=false"):
        Ratios.of(jaxchem.load("osu29"))


def test_amounts_hold_what_reactions_conserve():
    network = jaxchem.load("three_species")
    amounts = Amounts.of(network)
    y0 = jnp.array([1.0, 1e-3, 0.1])
    y = amounts.state(y0 + jnp.array([0.3, -0.7, 0.1]), amounts.totals(y0))
    assert float(jnp.sum(y)) == pytest.approx(1.101, rel=1e-14)
    assert y[1] < 0


def test_windows_solve_a_stiff_problem():
    """Robertson's, over ten decades of time, by logarithms and by SciPy."""
    network = chain()
    y0, ts = np.array([1.0, 1e-20, 1e-20]), np.geomspace(1e-5, 1e5, 40)
    k = network.rates()
    equations = Equations.of_network(network, k)
    how = {"key": KEY, "exact": False, "window": 0.3}
    model, history = march(equations, y0, float(ts[-1]), job=QUIET, **how)
    field = jax.jit(lambda t, y: equations.system.field(t, y))
    truth = solve_ivp(
        lambda t, y: np.asarray(field(t, y)),
        (0, ts[-1]),
        y0,
        method="Radau",
        t_eval=ts,
        rtol=1e-10,
        atol=1e-16,
    ).y.T
    ys = np.asarray(model(y0, None, ts))
    np.testing.assert_allclose(ys, truth, rtol=1e-4)
    assert np.all(history["loss"] < 1e-9) and len(history["loss"]) == len(model.widths)
    # it is of one start, and ends where it was told to
    assert np.all(np.isnan(model(jnp.asarray(1.1 * y0), None, ts)))
    assert np.all(np.isnan(model(y0, None, jnp.array([1e8]))))


def test_windows_are_a_file(tmp_path):
    network = jaxchem.load("three_species")
    equations = Equations.of_network(network, network.rates())
    y0 = np.array([1.0, 1e-3, 0.1])
    how = {"key": KEY, "shift": 0.0, "log_states": False, "window": 1.0, "job": QUIET}
    model, _ = march(equations, y0, 2.0, **how)
    models.save(tmp_path / "model.eqx", model)
    again, ts = models.load_model(tmp_path / "model.eqx"), jnp.linspace(0.1, 2.0, 5)
    assert np.array_equal(model(y0, None, ts), again(y0, None, ts))
    assert "Windows" in repr(again)
    other, _ = march(equations, y0, 2.0, **how)
    assert np.array_equal(model(y0, None, ts), other(y0, None, ts))


def test_bad_starts():
    network = chain()
    equations = Equations.of_network(network, network.rates())
    with pytest.raises(ValueError, match="the start of B, C is not positive; it has no logarithm"):
        march(equations, np.array([1.0, 0.0, 0.0]), 1.0, key=KEY)


def test_a_jump_that_is_not_named():
    """What will not be fitted says when, and what to do."""
    network = jaxchem.load("three_species")

    def k(t):
        return jnp.where(t < 0.5, 1.0, 50.0) * jnp.array([0.8, 0.5, 0.2])

    how = {"key": KEY, "shift": 0.0, "shortest": 0.2, "tolerance": 1e-18, "job": QUIET}
    how["log_states"] = False
    with pytest.raises(ValueError, match=r"the window at t = .* will not be fitted.*smooth=0.004"):
        march(Equations.of_network(network, k), np.array([1.0, 1e-3, 0.1]), 2.0, **how)


def test_benchmark():
    """Both readings with both coefficients: far below the paper's 1e-3 and 2e-3."""
    found = benchmark(jaxchem.load("three_species"), Integrator(), job=QUIET)
    for coefficients in ("constant", "varying"):
        for reading in ("conserving", "literal"):
            assert found.metrics[f"{coefficients}/{reading}/mean"] < 1e-5
        assert found.metrics[f"{coefficients}/conserving/drift"] < 1e-12
    json.dumps(found.metrics)


def test_one_cloud():
    """A short while, from warm gas, against Radau."""
    gas = {"H": 62.4, "He": 26.0, "H+": 0.6, "He+": 0.3, "He++": 0.07, "H-": 0.1}
    found = single(
        jaxchem.load("ism_atomic"),
        Integrator(),
        densities=gas,
        temperature=1e3,
        years=1e3,
        points=30,
        job=QUIET,
    )
    assert found.metrics["q90"] < -5.5 and found.metrics["max"] < -3.5
    assert found.metrics["drift"] < 1e-12
    assert set(found.parts) == {"abundances", "errors", "loss"}
    assert isinstance(found.model, models.AbstractEmulator)
    with pytest.raises(ValueError, match="recipe='magic' is unknown; write windows or published"):
        single(
            jaxchem.load("ism_atomic"), Integrator(), densities=gas, temperature=1e3, recipe="magic"
        )


def test_where_equations_jump():
    cloud = Cloud(jaxchem.load("ism_molecular"))
    for limit in (30.0, 100.0, 500.0, 617.0, 1e3, 1160.0, 2e3, 5500.0, 6e3, 9284.0, 1e4, 1e5):
        assert limit in cloud.switches
    assert Cloud(jaxchem.load("ism_molecular"), smooth=0.01).switches == ()


def test_deep_galerkin_layers():
    """Beside the formulas, written out with NumPy."""
    net = DeepGalerkin(2, 5, 3, layers=2, dtype=np.float64, key=KEY)
    net = eqx.tree_at(lambda n: n.slopes, net, jnp.array([0.5, 1.5, 2.0]))
    x = np.array([0.3, -0.7])

    def sigma(a, z):
        return 1 / (1 + np.exp(-a * z))

    phi = sigma(0.5, np.asarray(net.first[0]) @ x + np.asarray(net.first[1]))
    for a, (u, w, b) in zip((1.5, 2.0), net.gates, strict=True):
        u, w, b = map(np.asarray, (u, w, b))
        z, g, r = (sigma(a, u[n] @ x + w[n] @ phi + b[n]) for n in range(3))
        h = sigma(a, u[3] @ x + w[3] @ (phi * r) + b[3])
        phi = (1 - g) * h + z * phi
    expected = np.asarray(net.last[0]) @ phi + np.asarray(net.last[1])
    np.testing.assert_allclose(net(jnp.asarray(x)), expected, rtol=1e-12)


def test_halton():
    points = np.asarray(halton(100, 3, KEY))
    plain = qmc.Halton(3, scramble=False).random(101)[1:]
    moved = (points - plain) % 1.0
    np.testing.assert_allclose(np.ptp(moved, axis=0), 0, atol=1e-12)
    assert points.min() >= 0 and points.max() < 1


@pytest.mark.parametrize("how", [{}, {"deep": False, "weighted": False, "hard": True}])
def test_the_published_recipe_learns(how):
    """The loss falls, a start that is hard is met, and a second run is the same."""
    network = chain()
    equations = Equations.of_network(network, network.rates())
    starts = np.array([[1.0, 1e-6, 1e-6]])
    small = {"layers": 2, "width": 12, "points": 64, "steps": 300, "polish": 20, "job": QUIET}
    small |= {"scaled": True, "key": KEY, **how}
    model, history = train_galerkin(equations, starts, (1e-5, 1e-1), **small)
    weighted = how.get("weighted", True)
    losses = history["loss"]
    assert np.all(np.isfinite(losses)) and len(losses) == 320
    if not weighted:
        assert losses[-1] < 1e-2 * losses[0] and np.all(history["residual"] < 1.0)
        first = model(starts[0], None, jnp.array([1e-5]))[0]
        np.testing.assert_allclose(first, starts[0], rtol=1e-12)
    again, _ = train_galerkin(equations, starts, (1e-5, 1e-1), **small)
    ts = jnp.geomspace(1e-5, 1e-1, 4)
    assert np.array_equal(model(starts[0], None, ts), again(starts[0], None, ts))


def test_the_published_recipe_with_exact_sums_and_linear_time():
    """Whatever it has learned: nuclei and charge are those of the start, and so is the start."""
    network = jaxchem.load("ism_atomic")
    given = {"cosmic_ray_rate": 1e-16, "uv_field": 1.0, "dust_to_gas": 0.3}
    k = network.rates(temperature=5000.0, quantities={"charging": 1e3}, **given)
    equations, y0 = Equations.of_network(network, k), random_states(network, 1)[:, :-1]
    small = {"layers": 1, "width": 8, "points": 16, "steps": 20, "polish": 2, "job": QUIET}
    small |= {"scaled": True, "hard": True, "exact": True, "linear": True, "key": KEY}
    model, history = train_galerkin(equations, y0, (1e7, 1e10), **small)
    assert np.all(np.isfinite(history["loss"]))
    ys = np.asarray(model(y0[0], None, jnp.array([1e7, 1e8, 1e10])))
    np.testing.assert_allclose(ys[0], y0[0], rtol=1e-9)
    assert np.abs(ys[2] / y0[0] - 1).max() > 1e-3
    sums = np.asarray(equations.system.conserved)
    np.testing.assert_allclose((ys - y0) @ sums.T / (np.abs(sums) @ y0[0]), 0, atol=1e-12)
