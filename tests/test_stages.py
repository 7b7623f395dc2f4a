"""The stages, on problems whose answer is known."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxchem
from jaxchem import Integrator
from jaxchem.metrics import log_rate_mae
from jaxchem.stages import (
    Problem,
    derivative,
    evaluate,
    infer,
    new_crnn,
    new_neural_ode,
    regress,
    trajectory,
)
from jaxchem.stages.base import integrate, rate_metrics, windows
from jaxchem.stages.infer import _posterior, _student

POLLU = {"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007}


@functools.cache
def robertson(points=50):
    """Robertson on logarithmic points: problem and truth from SciPy."""
    network = jaxchem.load("robertson")
    k = np.asarray(network.rates())
    y0 = jaxchem.sample(network, {"A": 1.0})
    truth = jaxchem.generate(network, k, y0, np.geomspace(1e-5, 1e5, points), progress=False)
    return Problem(network, Integrator(rtol=1e-7), k, np.zeros(3, dtype=bool)), truth


def observed(problem, truth, **options):
    return jaxchem.observe(truth, problem.network, **options)


def test_windows_cover_each_case():
    problem, truth = robertson()
    data = observed(problem, truth, repeats=2)
    ts, states = windows(data, 20, 10)
    assert ts.shape == (8, 20)
    assert states.shape == (8, 20, 3)
    np.testing.assert_array_equal(ts[5], data.ts[10:30])
    np.testing.assert_array_equal(states[5], data.values[1, 10:30])
    with pytest.raises(ValueError, match="do not fit"):
        windows(data, 60, None)


def test_regress_recovers_robertson():
    problem, truth = robertson()
    result = regress(problem, None, observed(problem, truth), jax.random.key(0))
    assert log_rate_mae(result.model.k, jnp.asarray(problem.k_true)) < 1e-4


def test_regress_recovers_pollu_with_five_given():
    """The published grid; the coefficients of the O1D cycle and of O3P + O2 are given."""
    network = jaxchem.load("pollu")
    k = np.asarray(network.rates())
    known = np.zeros(25, dtype=bool)
    known[14:19] = True
    y0 = jaxchem.sample(network, POLLU)
    truth = jaxchem.generate(network, k, y0, np.linspace(0, 0.1, 100), progress=False)
    problem = Problem(network, Integrator(), k, known)
    result = regress(problem, None, observed(problem, truth), jax.random.key(0))
    assert result.metrics["err_k"] < 5e-3
    np.testing.assert_allclose(result.model.k[14:19], k[14:19], rtol=1e-14)


def test_infer_recovers_robertson_and_knows_its_uncertainty():
    """From 30 % off; half the error of the data halves the posterior deviation."""
    problem, truth = robertson(20)
    start = functools.partial(new_crnn, noise=0.3)
    deviations = []
    for error in (1e-2, 5e-3):
        result = infer(
            problem,
            None,
            observed(problem, truth),
            jax.random.key(1),
            start=start,
            error=error,
            progress=False,
        )
        assert result.metrics["err_k"] < 1e-6
        deviations.append(result.deviation)
    np.testing.assert_allclose(deviations[0], 2 * deviations[1], rtol=1e-2)


def test_students_density_is_scipys():
    z = np.array([-40.0, -1.3, -1e-6, 0.0, 1e-9, 0.2, 7.0])
    for tail in (1.0, 4.0):
        expected = stats.t.logpdf(0.0, tail) - stats.t.logpdf(z, tail)
        bent = _student(jnp.asarray(z), tail)
        np.testing.assert_allclose(bent**2, 2.0 * expected, rtol=1e-9, atol=1e-15)
        slopes = jax.vmap(jax.grad(_student), (0, None))(jnp.asarray(z), tail)
        differences = (_student(z + 1e-6, tail) - _student(z - 1e-6, tail)) / 2e-6
        np.testing.assert_allclose(slopes, differences, rtol=1e-6)


def test_a_heavy_tail_bears_spoilt_observations():
    """Five of sixty concentrations are 30 % too high, the rest are exact to 1e-4."""
    problem, truth = robertson(20)
    data = observed(problem, truth)
    values = data.values.at[0, [3, 7, 11, 15, 18], [0, 1, 2, 1, 2]].multiply(1.3)
    data = eqx.tree_at(lambda d: d.values, data, values)
    found = {}
    for tail in (None, 1.0):
        result = infer(
            problem,
            None,
            data,
            jax.random.key(1),
            start=functools.partial(new_crnn, noise=0.3),
            error=1e-4,
            tail=tail,
            progress=False,
        )
        found[tail] = result.metrics
    assert found[None]["err_k"] > 0.02
    assert found[1.0]["err_k"] < 1e-4
    assert found[1.0]["max_z"] < 3
    with pytest.raises(ValueError, match="tail=0 degrees of freedom"):
        infer(problem, None, data, jax.random.key(1), tail=0)


def test_infer_from_sums_keeps_what_is_given():
    """Two sums are observed, one coefficient is given and does not move."""
    problem, truth = robertson(20)
    problem = problem._replace(known=np.array([True, False, False]))
    data = observed(problem, truth, species=["B", "C"])
    data = eqx.tree_at(
        lambda d: (d.operator, d.values),
        data,
        (jnp.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), data.values),
    )
    exact = truth["concentration"].values @ np.asarray(data.operator).T
    data = eqx.tree_at(lambda d: d.values, data, jnp.asarray(exact))
    result = infer(
        problem,
        None,
        data,
        jax.random.key(0),
        start=functools.partial(new_crnn, noise=0.2),
        progress=False,
    )
    assert result.metrics["err_k"] < 1e-5
    assert result.deviation[0] == 0
    with pytest.raises(ValueError, match="need every species"):
        regress(problem, None, data, jax.random.key(0))


def test_derivative_recovers_robertson_from_samples():
    """Differences of 400 samples; the error is theirs, a few per cent at most."""
    problem, truth = robertson(400)
    data = observed(problem, truth)
    options = {"source": "samples", "steps": 4000, "progress": False}
    result = derivative(problem, None, data, jax.random.key(0), **options)
    assert result.history["loss"][-1] < result.history["loss"][0] - 5
    assert result.metrics["err_k"] < 0.05
    with pytest.raises(ValueError, match="starts from a NeuralODE"):
        derivative(problem, None, data, jax.random.key(0))
    with pytest.raises(ValueError, match="unknown derivative source"):
        derivative(problem, None, data, jax.random.key(0), source="guess")
    with pytest.raises(ValueError, match="unknown spacing 'square'"):
        derivative(problem, None, data, jax.random.key(0), spacing="square")
    data = eqx.tree_at(lambda d: d.ts, data, data.ts.at[0].set(0.0))
    start = new_neural_ode(problem, data, jax.random.key(0), width=4)
    with pytest.raises(ValueError, match="begins at t = 0"):
        derivative(problem, start, data, jax.random.key(0), spacing="log")


def test_neural_ode_learns_and_gives_derivatives():
    """The loss falls, scales stay as they were, and both derivative sources work."""
    problem, truth = robertson(20)
    data = observed(problem, truth)
    loose = Integrator(method="kvaerno3", rtol=1e-3, output="interpolate")
    start = functools.partial(new_neural_ode, width=16)
    fitted = trajectory(
        problem,
        None,
        data,
        jax.random.key(0),
        start=start,
        window=10,
        stride=5,
        steps=150,
        learning_rate=1e-2,
        integrator=loose,
        scaled_atol=1e-4,
        progress=False,
    )
    assert fitted.history["loss"][-1] < 0.5 * fitted.history["loss"][0]
    fresh = start(problem, data, jax.random.key(0))
    np.testing.assert_array_equal(fitted.model.scale, fresh.scale)
    for source in ("neural_ode", "mlp"):
        result = derivative(
            problem,
            fitted.model,
            data,
            jax.random.key(0),
            source=source,
            window=10,
            spacing="log",
            steps=20,
            progress=False,
        )
        assert np.all(np.isfinite(result.history["loss"]))


def test_windows_one_after_another_are_the_same():
    problem, truth = robertson(20)
    ts, states = windows(observed(problem, truth), 10, 5)
    model = jaxchem.CRNN(problem.network, jnp.log(2.0 * jnp.asarray(problem.k_true)))
    how = Integrator(method="rodas4", rtol=1e-6)
    members = (states[:, 0], ts[:, 1:], ts[:, 0])
    together, fine = integrate(model, how, *members)
    found, good = integrate(model, how, *members, sequential=True)
    assert np.all(good) and np.all(fine)
    np.testing.assert_allclose(found, together, rtol=1e-9, atol=1e-15, strict=True)


def test_correction_factors_from_few_observations():
    """Adam on log concentrations lowers the loss from coefficients that are 10 % off."""
    problem, truth = robertson(20)
    result = trajectory(
        problem,
        None,
        observed(problem, truth, points=3),
        jax.random.key(0),
        start=functools.partial(new_crnn, noise=0.1),
        shooting=False,
        loss="log_mse",
        steps=30,
        learning_rate=1e-2,
        progress=False,
    )
    assert result.history["loss"][-1] < 0.5 * result.history["loss"][0]


def test_stages_refuse_what_they_cannot_do():
    problem, truth = robertson(20)
    data = observed(problem, truth)
    with pytest.raises(ValueError, match="no model to continue with"):
        trajectory(problem, None, data, jax.random.key(0))
    with pytest.raises(ValueError, match="unknown loss"):
        trajectory(problem, None, data, jax.random.key(0), loss="mae")
    with pytest.raises(ValueError, match="starts from a CRNN but got no model"):
        infer(problem, None, data, jax.random.key(0))
    fresh = new_neural_ode(problem, data, jax.random.key(0), width=4)
    with pytest.raises(ValueError, match="starts from a CRNN but got a NeuralODE"):
        infer(problem, fresh, data, jax.random.key(0))
    blind = problem._replace(k_true=None)
    given = blind._replace(known=np.array([True, False, False]))
    for estimate in (regress, functools.partial(infer, start=new_crnn)):
        with pytest.raises(ValueError, match="1 coefficients are known, but k_true is None"):
            estimate(given, None, data, jax.random.key(0))
    with pytest.raises(ValueError, match="not known"):
        new_crnn(blind, data, jax.random.key(0), noise=0.1)


def test_evaluate_of_the_truth_and_of_an_error():
    """True coefficients have no error; k doubled gives the tendencies' own scale as err_dy."""
    problem, truth = robertson(20)
    true = jaxchem.CRNN(problem.network, jnp.log(problem.k_true), integrator=problem.integrator)
    test = observed(problem, truth)
    metrics, prediction = evaluate(problem, true, test)
    assert metrics["err_k"] == 0
    assert metrics["err_y"] < 1e-10
    assert metrics["drift"] < 1e-12
    np.testing.assert_allclose(prediction, test.states, rtol=1e-4, atol=1e-12)
    doubled = eqx.tree_at(lambda m: m.log_k, true, true.log_k + jnp.log(2.0))
    metrics, _ = evaluate(problem, doubled, test)
    np.testing.assert_allclose(metrics["err_k"], np.log(2), rtol=1e-12)
    y = np.asarray(test.states[-1])
    flux = np.stack([0.04 * y[:, 0], 3e7 * y[:, 1] ** 2, 1e4 * y[:, 1] * y[:, 2]])
    dy = (problem.network.stoichiometry @ flux).T
    expected = np.mean((dy / np.ptp(dy, axis=0)) ** 2)
    np.testing.assert_allclose(metrics["err_dy"], expected, rtol=1e-6)


@pytest.mark.parametrize("count", [2, 200_000])  # fewer data than coefficients, and very many
def test_the_posterior_takes_any_number_of_data(count):
    slope = np.random.default_rng(0).standard_normal((count + 3, 3))
    spread, _ = _posterior(jnp.asarray(slope), jnp.zeros(count + 3), 3.0)
    exact = np.linalg.inv(slope[:-3].T @ slope[:-3] + np.eye(3) / 9.0)
    np.testing.assert_allclose(spread, np.sqrt(np.diag(exact)), rtol=1e-10)


def test_a_true_coefficient_of_zero_has_no_part_in_errors():
    problem, truth = robertson(20)
    true = jnp.asarray(problem.k_true)
    model = jaxchem.CRNN(problem.network, jnp.log(2.0 * true))
    without = problem._replace(k_true=np.where([True, False, True], problem.k_true, 0.0))
    metrics = rate_metrics(without, model)
    assert metrics["within_10_percent"] == 0
    for name in ("err_k", "err_k_estimated", "max_err_k"):
        np.testing.assert_allclose(metrics[name], np.log(2.0), rtol=1e-12)
    with pytest.raises(ValueError, match=r"of reactions \[1\] \(from 0\) are zero"):
        new_crnn(without, observed(problem, truth), jax.random.key(0), noise=0.1)


def test_infer_tells_that_it_has_not_converged(caplog):
    problem, truth = robertson(20)
    data, start = observed(problem, truth), functools.partial(new_crnn, noise=0.3)
    for iterations in (1, 40):
        caplog.clear()
        options = {"start": start, "iterations": iterations, "progress": False}
        result = infer(problem, None, data, jax.random.key(0), **options)
        assert result.metrics["converged"] == (iterations == 40)
        assert ("not at the optimum after 1 iterations" in caplog.text) == (iterations == 1)


@pytest.mark.parametrize("unit", [1.0, 1e-12])
def test_regress_of_log_times_with_the_start_and_of_few_digits(unit):
    network = jaxchem.load("robertson")
    k = np.asarray(network.rates()) / unit
    ts = np.array([0.0, *(float(f"{t:.2e}") for t in np.geomspace(1e-5, 1e5, 20) * unit)])
    y0 = jaxchem.sample(network, {"A": 1.0})
    truth = jaxchem.generate(network, k, y0, ts, progress=False)
    problem = Problem(network, Integrator(), k, np.zeros(3, dtype=bool))
    result = regress(problem, None, observed(problem, truth), jax.random.key(0))
    assert result.metrics["max_err_k"] < 5e-3
