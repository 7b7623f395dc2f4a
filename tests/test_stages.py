"""The stages, on problems whose answer is known."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from problems import QUIET
from scipy import stats

import jaxchem
from jaxchem import Integrator, checkpoint
from jaxchem.dataset import label_cells, laws
from jaxchem.inference.noise import student
from jaxchem.inference.parameters import Parameter
from jaxchem.inference.posterior import posterior
from jaxchem.inference.search import Misfit
from jaxchem.metrics import log_rate_mae, rate_errors
from jaxchem.models import CRNN, NeuralODE
from jaxchem.models.integrated import integrate
from jaxchem.stages import (
    derivative,
    evaluate,
    infer,
    regress,
    trajectory,
)
from jaxchem.stages.base import deviations, windows
from jaxchem.train import Job, fit, recipe

POLLU = {"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007}


@functools.cache
def robertson(points=50):
    """Robertson on logarithmic points: the network, and trajectories from SciPy."""
    network = jaxchem.load("robertson")
    k = np.asarray(network.rates())
    y0 = jaxchem.sample(network, {"A": 1.0})
    truth = jaxchem.generate(network, k, y0, np.geomspace(1e-5, 1e5, points), progress=False)
    return network, truth


def observed(network, truth, **options):
    return jaxchem.observe(truth, network, **options)


def test_windows_cover_each_case():
    network, truth = robertson()
    data = observed(network, truth, repeats=2)
    ts, states, conditions = windows(data, 20, 10)
    assert conditions.shape == (8, 0)
    assert ts.shape == (8, 20)
    assert states.shape == (8, 20, 3)
    np.testing.assert_array_equal(ts[5], data.ts[10:30])
    np.testing.assert_array_equal(states[5], data.values[1, 10:30])
    with pytest.raises(ValueError, match="do not fit"):
        windows(data, 60, None)


def test_regress_recovers_robertson():
    network, truth = robertson()
    result = regress(None, observed(network, truth), jax.random.key(0))
    assert log_rate_mae(result.model.k, jnp.asarray(network.rates())) < 1e-4


def test_regress_recovers_pollu_with_five_given():
    """The published grid; the coefficients of the O1D cycle and of O3P + O2 are given."""
    network = jaxchem.load("pollu")
    k = np.asarray(network.rates())
    y0 = jaxchem.sample(network, POLLU)
    truth = jaxchem.generate(network, k, y0, np.linspace(0, 0.1, 100), progress=False)
    how = {"known": range(14, 19)}
    result = regress(None, observed(network, truth), jax.random.key(0), **how)
    assert result.metrics["err_k"] < 5e-3
    np.testing.assert_allclose(result.model.k[14:19], k[14:19], rtol=1e-14)


def test_infer_recovers_robertson_and_knows_its_uncertainty():
    """From 30 % off; half the error of the data halves the posterior deviation."""
    network, truth = robertson(20)
    start = functools.partial(CRNN.fitted, noise=0.3)
    spread = []
    for error in (1e-2, 5e-3):
        result = infer(
            None,
            observed(network, truth),
            jax.random.key(1),
            start=start,
            error=error,
            job=QUIET,
        )
        assert result.metrics["err_k"] < 1e-6
        spread.append(result.posterior.deviation)
    np.testing.assert_allclose(spread[0], 2 * spread[1], rtol=1e-2)


def teststudents_density_is_scipys():
    z = np.array([-40.0, -1.3, -1e-6, 0.0, 1e-9, 0.2, 7.0])
    for tail in (1.0, 4.0):
        expected = stats.t.logpdf(0.0, tail) - stats.t.logpdf(z, tail)
        bent = student(jnp.asarray(z), tail)
        np.testing.assert_allclose(bent**2, 2.0 * expected, rtol=1e-9, atol=1e-15)
        slopes = jax.vmap(jax.grad(student), (0, None))(jnp.asarray(z), tail)
        differences = (student(z + 1e-6, tail) - student(z - 1e-6, tail)) / 2e-6
        np.testing.assert_allclose(slopes, differences, rtol=1e-6)


def test_a_heavy_tail_bears_spoilt_observations():
    """Five of sixty concentrations are 30 % too high, the rest are exact to 1e-4."""
    network, truth = robertson(20)
    data = observed(network, truth)
    values = data.values.at[0, [3, 7, 11, 15, 18], [0, 1, 2, 1, 2]].multiply(1.3)
    data = eqx.tree_at(lambda d: d.values, data, values)
    found = {}
    for tail in (None, 1.0):
        result = infer(
            None,
            data,
            jax.random.key(1),
            start=functools.partial(CRNN.fitted, noise=0.3),
            error=1e-4,
            tail=tail,
            job=QUIET,
        )
        found[tail] = result.metrics
    assert found[None]["err_k"] > 0.02
    assert found[1.0]["err_k"] < 1e-4
    assert found[1.0]["max_z"] < 3
    with pytest.raises(ValueError, match="tail=0 degrees of freedom"):
        infer(None, data, jax.random.key(1), start=CRNN.fitted, tail=0)


def test_infer_from_sums_keeps_what_is_given():
    """Two sums are observed, one coefficient is given and does not move."""
    network, truth = robertson(20)
    data = observed(network, truth, species=["B", "C"])
    data = eqx.tree_at(
        lambda d: (d.operator, d.values),
        data,
        (jnp.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), data.values),
    )
    exact = truth["concentration"].values @ np.asarray(data.operator).T
    data = eqx.tree_at(lambda d: d.values, data, jnp.asarray(exact))
    result = infer(
        None,
        data,
        jax.random.key(0),
        start=functools.partial(CRNN.fitted, noise=0.2, known=[0]),
        job=QUIET,
    )
    assert result.metrics["err_k"] < 1e-5
    assert result.posterior.names == ("k2", "k3")
    spread = deviations(result.posterior, network)
    np.testing.assert_array_equal(spread, [0.0, *result.posterior.deviation])
    with pytest.raises(ValueError, match="need every species"):
        regress(None, data, jax.random.key(0))


def test_derivative_recovers_robertson_from_samples():
    """Differences of 400 samples; the error is theirs, a few per cent at most."""
    network, truth = robertson(400)
    data = observed(network, truth)
    options = {"start": CRNN.fitted, "steps": 4000, "job": QUIET}
    options |= {"learning_rate": 1e-2, "plateau": 0.1}
    result = derivative(None, data, jax.random.key(0), source="samples", **options)
    assert result.history["loss"][-1] < result.history["loss"][0] - 5
    assert result.metrics["err_k"] < 0.05
    with pytest.raises(ValueError, match="a model that is integrated but got no model"):
        derivative(None, data, jax.random.key(0), **options)
    with pytest.raises(ValueError, match="unknown derivative source"):
        derivative(None, data, jax.random.key(0), **options, source="guess")
    with pytest.raises(ValueError, match="unknown spacing 'square'"):
        derivative(None, data, jax.random.key(0), **options, spacing="square")
    data = eqx.tree_at(lambda d: d.ts, data, data.ts.at[0].set(0.0))
    neural = NeuralODE.fitted(data, width=4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="begins at t = 0"):
        derivative(neural, data, jax.random.key(0), **options, spacing="log")


def test_neural_ode_learns_and_gives_derivatives():
    """The loss falls, scales stay as they were, and both derivative sources work."""
    network, truth = robertson(20)
    data = observed(network, truth)
    loose = Integrator(method="kvaerno3", rtol=1e-3, output="interpolate")
    start = functools.partial(NeuralODE.fitted, width=16)
    fitted = trajectory(
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
        job=QUIET,
    )
    assert fitted.history["loss"][-1] < 0.5 * fitted.history["loss"][0]
    fresh = start(data, key=jax.random.key(0))
    np.testing.assert_array_equal(fitted.model.scale, fresh.scale)
    for source in ("neural_ode", "mlp"):
        result = derivative(
            fitted.model,
            data,
            jax.random.key(0),
            start=CRNN.fitted,
            source=source,
            window=10,
            spacing="log",
            steps=20,
            job=QUIET,
        )
        assert np.all(np.isfinite(result.history["loss"]))


def test_windows_one_after_another_are_the_same():
    network, truth = robertson(20)
    ts, states, none = windows(observed(network, truth), 10, 5)
    model = CRNN(network, jnp.log(2.0 * jnp.asarray(network.rates())))
    how = Integrator(method="rodas4", rtol=1e-6)
    members = (states[:, 0], ts[:, 1:], none, ts[:, 0])
    together, fine = integrate(model, how, *members)
    found, good = integrate(model, how, *members, sequential=True)
    assert np.all(good) and np.all(fine)
    np.testing.assert_allclose(found, together, rtol=1e-9, atol=1e-15, strict=True)


def test_correction_factors_from_few_observations():
    """Adam on log concentrations lowers the loss from coefficients that are 10 % off."""
    network, truth = robertson(20)
    result = trajectory(
        None,
        observed(network, truth, points=3),
        jax.random.key(0),
        start=functools.partial(CRNN.fitted, noise=0.1),
        shooting=False,
        loss="log_mse",
        steps=30,
        learning_rate=1e-2,
        job=QUIET,
    )
    assert result.history["loss"][-1] < 0.5 * result.history["loss"][0]


def test_stages_refuse_what_they_cannot_do():
    network, truth = robertson(20)
    data = observed(network, truth)
    with pytest.raises(ValueError, match="but got no model; give it a start"):
        trajectory(None, data, jax.random.key(0))
    with pytest.raises(ValueError, match="unknown loss"):
        trajectory(None, data, jax.random.key(0), loss="mae")
    with pytest.raises(ValueError, match="with rate coefficients but got no model"):
        infer(None, data, jax.random.key(0))
    fresh = NeuralODE.fitted(data, width=4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="coefficients but got a NeuralODE"):
        infer(fresh, data, jax.random.key(0))
    for known, message in (
        ([3], "known=\\[3\\]: network 'robertson' has reactions 0 to 2"),
        ([0, 1, 2], "names every reaction"),
    ):
        for estimate in (regress, functools.partial(CRNN.fitted, key=jax.random.key(0))):
            arguments = (None, data, jax.random.key(0)) if estimate is regress else (data,)
            with pytest.raises(ValueError, match=message):
                estimate(*arguments, known=known)


def test_evaluate_of_the_truth_and_of_an_error():
    """True coefficients have no error; k doubled gives the tendencies' own scale as err_dy."""
    network, truth = robertson(20)
    k, tight = np.asarray(network.rates()), Integrator(rtol=1e-7)
    true, test = CRNN(network, jnp.log(k), integrator=tight), observed(network, truth)
    metrics, prediction, _ = evaluate(true, test)
    assert metrics["err_k"] == 0
    assert metrics["err_y"] < 1e-10
    assert metrics["drift"] < 1e-12
    np.testing.assert_allclose(prediction, test.states, rtol=1e-4, atol=1e-12)
    doubled = eqx.tree_at(lambda m: m.log_k, true, true.log_k + jnp.log(2.0))
    metrics = evaluate(doubled, test).metrics
    np.testing.assert_allclose(metrics["err_k"], np.log(2), rtol=1e-12)
    y = np.asarray(test.states[-1])
    flux = np.stack([0.04 * y[:, 0], 3e7 * y[:, 1] ** 2, 1e4 * y[:, 1] * y[:, 2]])
    dy = (network.stoichiometry @ flux).T
    expected = np.mean((dy / np.ptp(dy, axis=0)) ** 2)
    np.testing.assert_allclose(metrics["err_dy"], expected, rtol=1e-6)


@pytest.mark.parametrize("count", [2, 200_000])  # fewer data than coefficients, and very many
def test_theposterior_takes_any_number_of_data(count):
    slope = np.random.default_rng(0).standard_normal((count, 3))
    group, known = np.zeros(count, int), np.ones(1, bool)
    misfit = Misfit(group, known, np.zeros(1), np.zeros(3), np.full(3, 3.0))
    parameters = tuple(Parameter(name, "rate", 1.0, "1", log=True) for name in "abc")
    found = posterior(parameters, misfit, np.zeros(3), np.zeros(count), slope)
    exact = np.linalg.inv(slope.T @ slope + np.eye(3) / 9.0)
    np.testing.assert_allclose(found.deviation, np.sqrt(np.diag(exact)), rtol=1e-10)


def test_a_true_coefficient_of_zero_has_no_part_in_errors():
    true = np.array([1.0, 0.0, 3.0])
    metrics = rate_errors(2.0 * true + (true == 0), true, np.array([True, True, True]))
    assert metrics["within_10_percent"] == 0
    for name in ("err_k", "err_k_estimated", "max_err_k"):
        np.testing.assert_allclose(metrics[name], np.log(2.0), rtol=1e-12)


def test_infer_tells_that_it_has_not_converged(caplog):
    network, truth = robertson(20)
    data, start = observed(network, truth), functools.partial(CRNN.fitted, noise=0.3)
    for iterations in (1, 40):
        caplog.clear()
        options = {"start": start, "iterations": iterations, "job": QUIET}
        result = infer(None, data, jax.random.key(0), **options)
        assert result.metrics["converged"] == (iterations == 40)
        assert ("not at the optimum after 1 iterations" in caplog.text) == (iterations == 1)


def test_infer_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    """Killed as it writes its third one, and from there as if it had not been."""
    network, truth = robertson(20)
    data, start = observed(network, truth), functools.partial(CRNN.fitted, noise=0.3)
    job = Job("infer", progress=False, path=tmp_path / "last.eqx", save_every=0.0)
    run = functools.partial(infer, None, data, jax.random.key(0), start=start)
    whole, keep, saved = run(job=QUIET), checkpoint.save, []

    def killed(*parts, **header):
        keep(*parts, **header)
        saved.append(parts)
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        run(job=job)
    again = run(job=job)
    np.testing.assert_array_equal(again.model.log_k, whole.model.log_k)
    np.testing.assert_array_equal(again.history["loss"], whole.history["loss"])
    assert len(saved) - 3 < len(whole.history["loss"])
    assert again.metrics["converged"] == 1


def test_deviations_are_those_of_the_residuals_where_these_are_larger():
    """Concentrations are off by 1 %, whatever error is granted to them; 2 % is believed."""
    network, truth = robertson(20)
    data, start = observed(network, truth, noise=0.01), functools.partial(CRNN.fitted, noise=0.1)
    data = dataclasses.replace(data, noise=0.0)
    found = [
        infer(None, data, jax.random.key(0), start=start, error=error, job=QUIET)
        for error in (1e-4, 1e-3, 0.02)
    ]
    spread = [result.posterior.deviation for result in found]
    np.testing.assert_allclose(spread[0], spread[1], rtol=1e-2)
    np.testing.assert_allclose(found[0].metrics["residual"], 0.01, rtol=0.2)
    for result, error in zip(found, (1e-4, 1e-3, 0.02), strict=True):
        widened = max(1.0, result.metrics["residual"] / error)
        np.testing.assert_allclose(result.posterior.widened, widened, rtol=1e-12)
    ratio = 0.02 / found[0].metrics["residual"]
    np.testing.assert_allclose(spread[2], ratio * spread[0], rtol=5e-2)


def test_a_fit_that_moves_nothing_says_so(caplog):
    """From the truth, and where only what no coefficient changes is seen; not from afar."""
    network, truth = robertson(20)
    data, total = observed(network, truth), observed(network, truth, species=["A"])
    exact = truth["concentration"].values.sum(axis=2, keepdims=True)
    total = dataclasses.replace(total, operator=jnp.ones((1, 3)), values=jnp.asarray(exact))
    unknown = dataclasses.replace(data, own_laws=False)
    for seen, noise, moved in ((data, 0.0, False), (total, 0.2, False), (unknown, 0.2, True)):
        caplog.clear()
        start = functools.partial(CRNN.fitted, noise=noise)
        result = infer(None, seen, jax.random.key(0), start=start, error=1e-3, job=QUIET)
        assert ("no coefficient has moved" in caplog.text) == (not moved)
    begin = CRNN.fitted(data, noise=0.2, key=jax.random.key(0))
    change = np.mean(np.abs(np.log([0.04, 3e7, 1e4]) - begin.log_k))
    np.testing.assert_allclose(result.metrics["change_k"], change, rtol=1e-4)
    assert not {"err_k", "max_z", "err_k_identified"} & set(result.metrics)


@pytest.mark.parametrize("unit", [1.0, 1e-12])
def test_regress_of_log_times_with_the_start_and_of_few_digits(unit):
    network = jaxchem.load("robertson")
    k = np.asarray(network.rates()) / unit
    ts = np.array([0.0, *(float(f"{t:.2e}") for t in np.geomspace(1e-5, 1e5, 20) * unit)])
    y0 = jaxchem.sample(network, {"A": 1.0})
    truth = jaxchem.generate(network, k, y0, ts, progress=False)
    result = regress(None, observed(network, truth), jax.random.key(0))
    assert np.max(np.abs(np.log(result.model.k) - np.log(k))) < 5e-3


WARM = """name = warm
balanced = X
units = 1, s
[species]
A = X
B = X
D = X
[sources]
S1 = Nobody (1900)
[reactions]
A -> B ; arrhenius(5e3, 3000) ; S1
B -> D ; arrhenius(2e1, 1200) ; S1
B -> A ; 0.05 ; S1
"""
"""Its rates differ by a factor of 20 between 250 and 350 K."""


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Trajectories at three temperatures; rates are written out here, and SciPy integrates."""
    path = tmp_path_factory.mktemp("warm") / "warm.txt"
    path.write_text(WARM)
    network = jaxchem.load(path)
    ts, temperatures = np.linspace(0.0, 30.0, 301), np.array([250.0, 300.0, 350.0])
    made = []
    for t in temperatures:
        k = np.array([5e3 * np.exp(-3000 / t), 2e1 * np.exp(-1200 / t), 0.05])

        def right(_, y, k=k):
            flux = k * np.array([y[0], y[1], y[1]])
            return np.array([flux[2] - flux[0], flux[0] - flux[1] - flux[2], flux[1]])

        how = {"t_eval": ts, "method": "Radau", "rtol": 1e-10, "atol": 1e-13}
        made.append(scipy.integrate.solve_ivp(right, (0, 30), [1.0, 0.0, 0.0], **how).y.T)
    y0 = np.tile([1.0, 0.0, 0.0], (3, 1))
    given = {"temperature": temperatures}
    about = {"t0": 0.0, "provenance": "scipy"}
    dataset = label_cells(network, ts, np.stack(made), y0, given, **about)
    dataset.attrs["laws"] = laws(network)  # the coefficients above are those of WARM
    return network, jaxchem.observe(dataset, network)


def test_one_set_of_coefficients_at_several_temperatures(warm):
    """They are those in the middle, and vary with each case's temperature as the laws do."""
    _, data = warm
    t = np.sqrt(250.0 * 350.0)
    k = np.array([5e3 * np.exp(-3000 / t), 2e1 * np.exp(-1200 / t), 0.05])
    start = regress(None, data, jax.random.key(0))
    np.testing.assert_allclose(start.model.k, k, rtol=1e-3)
    found = infer(start.model, data, jax.random.key(0), job=QUIET)
    np.testing.assert_allclose(found.model.k, k, rtol=1e-6)
    assert found.metrics["err_k"] < 1e-6
    for temperature, exact in zip((250.0, 350.0), (data.states[0], data.states[2]), strict=True):
        told = {"temperature": temperature}
        ys = found.model(data.y0[0], told, data.ts)
        np.testing.assert_allclose(ys, exact, rtol=1e-5, atol=1e-9)
        hot = np.array([5e3 * np.exp(-3000 / temperature), 2e1 * np.exp(-1200 / temperature), 0.05])
        np.testing.assert_allclose(found.model.rate_coefficients([temperature]), hot, rtol=1e-6)
    report = jaxchem.evaluate(found.model, data, gradients=0)
    assert report.metrics["max_dex"] < 1e-4 and report.metrics["err_dy"] < 1e-10


def test_adam_and_derivatives_take_the_conditions_of_each_case(warm):
    _, data = warm
    how = {"learning_rate": 5e-2, "plateau": 0.1, "job": QUIET}
    start = functools.partial(CRNN.fitted, noise=0.5)
    first = derivative(
        None, data, jax.random.key(1), start=start, source="samples", steps=400, **how
    )
    assert first.metrics["err_k"] < 0.1  # the error of differences
    second = trajectory(
        first.model, data, jax.random.key(1), integrator=Integrator(rtol=1e-8), steps=200, **how
    )
    assert second.metrics["err_k"] < 0.2 * first.metrics["err_k"]


def test_a_neural_ode_of_conditions(warm):
    """It learns tendencies that differ between temperatures, from exact ones."""
    _, data = warm
    model = NeuralODE.fitted(data, width=16, key=jax.random.key(0))
    exact = []
    for t, states in zip(data.conditions[:, 0], np.asarray(data.states), strict=True):
        k = np.array([5e3 * np.exp(-3000 / t), 2e1 * np.exp(-1200 / t), 0.05])
        flux = k[:, None] * states.T[[0, 1, 1]]
        exact.append(np.stack([flux[2] - flux[0], flux[0] - flux[1] - flux[2], flux[1]], axis=1))
    batch = jnp.asarray(data.states), jnp.asarray(np.stack(exact)), data.conditions

    def loss(model, batch, key):
        del key
        inner = jax.vmap(lambda y, c: model.field(0.0, y, c), (0, None))
        return jnp.mean((jax.vmap(inner)(batch[0], batch[2]) - batch[1]) ** 2)

    how = {"steps": 800, "key": jax.random.key(1), "job": QUIET}
    optimizer = recipe(steps=800, learning_rate=1e-2, warm_up=0)
    _, history = fit(loss, model, batch, optimizer=optimizer, **how)
    apart = np.mean(np.var(np.stack(exact), axis=0))  # what one that takes no conditions leaves
    assert history["loss"][-1] < 0.05 * apart


def test_conditions_that_no_law_takes_are_told(warm):
    _, data = warm
    lost = dataclasses.replace(data, names=("density",))
    for estimate in (
        functools.partial(regress, None, lost, jax.random.key(0)),
        functools.partial(CRNN.fitted, lost, key=jax.random.key(0)),
    ):
        with pytest.raises(ValueError, match="network 'warm' needs temperature"):
            estimate()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_precision_is_the_models_alone(warm, precision):
    _, data = warm
    model = NeuralODE.fitted(data, width=4, precision=precision, key=jax.random.key(0))
    assert {a.dtype for a in jax.tree.leaves(model.mlp) if eqx.is_array(a)} == {np.dtype(precision)}
    assert model(data.y0[0], data.conditions[0], data.ts).dtype == "float64"
