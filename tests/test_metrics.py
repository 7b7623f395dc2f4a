"""Error measures, loss terms and scales, against the same formulas in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxchem
from jaxchem import losses, metrics
from jaxchem.scale import span

RNG = np.random.default_rng(11)
K, K_TRUE = np.exp(RNG.normal(size=(2, 6)))
TRUTH = RNG.uniform(0.1, 2.0, (4, 7, 3))
GUESS = TRUTH * np.exp(0.2 * RNG.normal(size=TRUTH.shape))
SCALE = np.array([1.0, 10.0, 1e-3])
ALL = np.ones(4, dtype=bool)
SOME = np.array([True, False, True, True])


# Metrics


def test_log_rate_errors():
    error = np.log(K / K_TRUE)
    np.testing.assert_allclose(metrics.log_rate_mae(K, K_TRUE), np.abs(error).mean(), rtol=1e-13)
    np.testing.assert_allclose(metrics.log_rate_mse(K, K_TRUE), (error**2).mean(), rtol=1e-13)
    where = np.array([True, False, False, True, True, False])
    np.testing.assert_allclose(
        metrics.log_rate_mae(K, K_TRUE, where), np.abs(error[where]).mean(), rtol=1e-13
    )
    np.testing.assert_allclose(
        metrics.log_rate_mse(K, K_TRUE, where), (error[where] ** 2).mean(), rtol=1e-13
    )


def test_log_rate_errors_span_magnitudes():
    """A factor e off, at any magnitude and to either side, is an error of one."""
    k_true = jnp.array([1e-300, 1e-12, 1.0, 1e11])
    k = k_true * jnp.exp(jnp.array([1.0, -1.0, 1.0, -1.0]))
    np.testing.assert_allclose(metrics.log_rate_mae(k, k_true), 1.0, rtol=1e-12)
    np.testing.assert_allclose(metrics.log_rate_mse(k, k_true), 1.0, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (7, 3), (4, 7, 3)])
def test_scaled_mse(shape):
    guess, truth = (a.ravel()[: np.prod(shape)].reshape(shape) for a in (GUESS, TRUTH))
    np.testing.assert_allclose(
        metrics.scaled_mse(guess, truth, SCALE), np.mean(((guess - truth) / SCALE) ** 2), rtol=1e-13
    )


def test_dex_errors():
    truth = np.array([1.0, 1e-5, 0.0, 1e-40, 1.0])
    guess = np.array([10.0, 1e-7, -1.0, 0.0, 0.0])
    np.testing.assert_allclose(metrics.dex_errors(guess, truth), [1, 2, 0, 0, 30], atol=1e-12)
    np.testing.assert_allclose(
        metrics.dex_errors(guess, truth, floor=1e-6), [1, 1, 0, 0, 6], atol=1e-12
    )


def test_errors_of_what_counts():
    """Of a half of the entries, which are off by 0.1 dex; of none, no number."""
    truth = jnp.asarray(np.log10(TRUTH))
    counts = RNG.random(TRUTH.shape) < 0.5
    guess = truth + jnp.where(jnp.asarray(counts), 0.1, 3.0)
    found = metrics.emulation_scores(guess, truth, -2.0, 2.0, jnp.asarray(counts))
    for name in ("mean_dex", "median_dex", "p99_dex", "max_dex"):
        np.testing.assert_allclose(found[name], 0.1, rtol=1e-9)
    np.testing.assert_allclose(found["rmse"], 0.05, rtol=1e-9)
    nothing = metrics.emulation_scores(guess, truth, -2.0, 2.0, jnp.zeros(TRUTH.shape, bool))
    assert set(nothing) == set(found) and all(np.isnan(value) for value in nothing.values())


@pytest.mark.parametrize("counts", [None, TRUTH > 0.5])
def test_scores_of_errors(counts):
    """Those of the formulas, with every copy that they like."""
    truth, guess = np.log10(TRUTH), np.log10(GUESS)
    scaled = 2 * (truth + 2.0) / 3.0 - 1
    off = np.abs(2 * (guess + 2.0) / 3.0 - 1 - scaled)
    relative = off / np.abs(scaled).max(axis=1, keepdims=True)
    some = slice(None) if counts is None else counts
    error, off, relative = np.abs(guess - truth)[some].ravel(), off[some], relative[some]
    wanted = {
        "mean_dex": np.mean(error),
        "median_dex": np.median(error),
        "p99_dex": np.quantile(error, 0.99),
        "max_dex": np.max(error),
        "rmse": np.sqrt(np.mean(off**2)),
        "median_relative": np.median(relative),
        "mean_log10_relative": np.mean(np.log10(relative)),
    }
    largest = metrics.largest_scaled(truth, -2.0, 1.0)
    np.testing.assert_allclose(largest, np.abs(scaled).max(axis=1), rtol=1e-12)
    found = metrics.error_scores(np.abs(guess - truth), largest, 3.0, counts)
    whole = metrics.emulation_scores(guess, truth, -2.0, 1.0, counts)
    assert found.keys() == wanted.keys() == whole.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose([found[name], whole[name]], value, rtol=1e-11, err_msg=name)


def test_linear_rmse():
    found = metrics.linear_rmse(TRUTH + 0.02 * SCALE, TRUTH, SCALE)
    np.testing.assert_allclose(found, 0.02, rtol=1e-12)


def test_conservation_drift():
    composition = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0], [0.0, 0.0, 0.0]])
    y0 = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 0.0]])
    y = np.stack([y0, y0 + np.array([0.0, 0.1, -0.2])], axis=1)  # [case, time, species]
    drift = metrics.conservation_drift(composition, y, y0)
    assert drift.shape == (2, 2, 3)
    # the charge of the first case is 0 out of a magnitude of 2; an empty total has the scale 1
    np.testing.assert_allclose(drift[0, 1], [0.2 / 3, 0.3 / 2, 0.0], rtol=1e-13)
    np.testing.assert_allclose(drift[1, 1], [0.2 / 2, 0.3, 0.0], rtol=1e-13)
    np.testing.assert_array_equal(drift[:, 0], 0.0)


def test_conservation_drift_of_a_solution_is_round_off():
    network = jaxchem.load("pollu")
    y0 = network.y0({"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007})
    ys = jaxchem.solve(network, network.rates(), y0, jnp.array([0.1, 10.0])).ys
    drift = metrics.conservation_drift(network.conserved, ys, y0)
    assert drift.shape == (2, len(network.balanced))
    assert np.max(np.abs(drift)) < 1e-12
    assert np.max(np.abs(metrics.conservation_drift(network.conserved, 1.5 * ys, y0))) > 0.49


# Losses

LOSSES = {
    "scaled_mse": (
        lambda p, good: losses.scaled_mse(p, TRUTH, SCALE, good),
        lambda p, t: np.mean(((p - t) / SCALE) ** 2),
    ),
    "log_mse": (
        lambda p, good: losses.log_mse(p, TRUTH, good),
        lambda p, t: np.mean((np.log(p + 1e-8) - np.log(t + 1e-8)) ** 2),
    ),
    "total_variation": (
        lambda p, good: losses.total_variation(p, SCALE, good, lag=2),
        lambda p, t: sum(
            np.mean(((d[:, 2:] - d[:, :-2]) / SCALE) ** 2)
            for d in (np.gradient(p, axis=1), np.gradient(np.gradient(p, axis=1), axis=1))
        ),
    ),
    "gradient_similarity": (
        lambda p, good: losses.gradient_similarity(p, TRUTH, good),
        None,
    ),
}


def similarity(p, t, good):
    """The ranges are those of all windows, also of those whose solve failed."""
    total = 0.0
    for order in (1, 2):
        left, right = p, t
        for _ in range(order):
            left, right = np.gradient(left, axis=1), np.gradient(right, axis=1)
        spread = right.max(axis=(0, 1)) - right.min(axis=(0, 1))
        total += np.mean((((left - right) / spread) ** 2)[good])
    return total


@pytest.mark.parametrize("good", [ALL, SOME], ids=["all", "some"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_means_over_the_good_windows(name, good):
    loss, plain = LOSSES[name]
    expected = similarity(GUESS, TRUTH, good) if plain is None else plain(GUESS[good], TRUTH[good])
    np.testing.assert_allclose(loss(jnp.asarray(GUESS), jnp.asarray(good)), expected, rtol=1e-12)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("name", LOSSES)
def test_a_failed_window_poisons_neither_value_nor_gradient(name, poison):
    loss, _ = LOSSES[name]
    broken = GUESS.copy()
    broken[1, 2:] = poison
    value, slope = jax.value_and_grad(loss)(jnp.asarray(broken), jnp.asarray(SOME))
    clean, expected = jax.value_and_grad(loss)(jnp.asarray(GUESS), jnp.asarray(SOME))
    np.testing.assert_allclose(value, clean, rtol=1e-13)
    np.testing.assert_array_equal(slope[1], 0.0)
    np.testing.assert_allclose(slope[SOME], expected[SOME], rtol=1e-13)
    assert np.all(np.any(np.abs(expected[SOME]) > 0, axis=(1, 2)))


@pytest.mark.parametrize("name", LOSSES)
def test_no_good_window_makes_the_loss_infinite(name):
    """An infinite loss is refused by the training loop; zero would look like success."""
    loss, _ = LOSSES[name]
    assert np.isinf(loss(jnp.asarray(GUESS), jnp.zeros(4, dtype=bool)))


@pytest.mark.parametrize("name", ["scaled_mse", "log_mse", "gradient_similarity"])
def test_losses_vanish_at_the_truth(name):
    loss, _ = LOSSES[name]
    value, slope = jax.value_and_grad(loss)(jnp.asarray(TRUTH), jnp.asarray(ALL))
    assert float(value) == 0.0
    np.testing.assert_array_equal(slope, 0.0)


def test_log_mse_of_negative_concentrations_is_that_of_zero():
    """Round-off below zero has no logarithm."""
    truth = jnp.full((1, 2, 1), 0.5)
    below = jnp.array([[[-1e-3], [0.5]]])
    value, slope = jax.value_and_grad(losses.log_mse)(below, truth, jnp.ones(1, bool), 1e-4)
    expected = (np.log(1e-4) - np.log(0.5 + 1e-4)) ** 2 / 2
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert np.all(np.isfinite(slope))


def test_a_straight_line_has_no_total_variation():
    line = jnp.asarray(np.linspace(0.0, 1.0, 9)[None, :, None] * SCALE)
    assert float(losses.total_variation(line, jnp.asarray(SCALE), jnp.ones(1, bool))) < 1e-28


def test_masked_mean():
    values = jnp.array([[1.0, 3.0], [jnp.nan, jnp.inf], [5.0, 7.0]])
    good = jnp.array([True, False, True])
    np.testing.assert_allclose(losses.masked_mean(values, good), 4.0)
    np.testing.assert_allclose(losses.masked_mean(values[:, 0], good), 3.0)


# Scales


def test_span():
    values = jnp.tile(jnp.array([1.0, 5.0, 0.0, -3.0]), (2, 2, 1))
    values = values.at[:, :, 0].set(jnp.array([[1.0, 2.0], [4.0, 4.0]]))
    low, scale = span(values)
    np.testing.assert_array_equal(low, [1.0, 5.0, 0.0, -3.0])
    # what never changes has its magnitude as its range, what is always zero has 1
    np.testing.assert_array_equal(scale, [3.0, 5.0, 1.0, 3.0])
    flat_low, flat_scale = span(values.reshape(-1, 4))
    np.testing.assert_array_equal(flat_low, low)
    np.testing.assert_array_equal(flat_scale, scale)


def test_span_scales_to_the_unit_interval():
    low, scale = span(jnp.asarray(TRUTH))
    scaled = (TRUTH - np.asarray(low)) / np.asarray(scale)
    np.testing.assert_allclose(scaled.min(axis=(0, 1)), 0.0, atol=1e-15)
    np.testing.assert_allclose(scaled.max(axis=(0, 1)), 1.0, rtol=1e-15)
