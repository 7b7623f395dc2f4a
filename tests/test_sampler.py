"""Draws from posteriors that are known exactly: Student's, truncated normal ones, and a quadrature.

Tolerances are four standard errors of the quantiles of as many independent draws as they are worth.
"""

import csv
import io
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy
from test_inference import measured

import jaxchem
from jaxchem import plot
from jaxchem.inference import bands, estimate, infer_rates, problem, report, sample
from jaxchem.inference.sampler import unlike_normal
from jaxchem.train import Job

QUIET = Job("draws", progress=False)
ENDS = np.array([0.025, 0.975])
TS = np.linspace(1.0, 30.0, 8)
NETWORK = """
name = independent
units = ppb, s
balanced = none
[species]
A = none
B = none
C = none
D = none
E = none
F = none
[initial]
A = 10.0
E = 3.0
F = 5.0
[sources]
guess = not measured
[reactions]
A -> B ; 0.1 ; guess
C -> B ; 0.1 ; guess
"""


def near(found, law, effective):
    """Quantiles as they should be, but for chance."""
    right = law.ppf(ENDS)
    error = np.sqrt(ENDS * (1 - ENDS) / effective) / law.pdf(right)
    assert np.all(np.abs(found - right) < 4 * error), (found, right, error)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("sampler") / "network.txt"
    path.write_text(NETWORK)
    return jaxchem.load(path)


@pytest.fixture(scope="module")
def linear(network):
    """Readings that are linear in a scale and an offset, and their least squares by NumPy."""
    clean = 10 * np.exp(-0.1 * TS)
    values = 1.1 * clean + 0.4 + np.random.default_rng(1).normal(0, 0.2, len(TS))
    asked = problem(
        network,
        measured(TS, values[:, None], "A"),
        rates={"k": {"of": "R1", "value": 0.1, "given": True}},
        scales={"A": "estimated"},
        offsets={"A": "estimated"},
    )
    fit = infer_rates(asked, starts=2, profiles="none", job=QUIET)
    matrix = np.stack([clean, np.ones(len(TS))], axis=1)
    best, squares, *_ = np.linalg.lstsq(matrix, values)
    return fit, matrix, best, np.sqrt(squares[0] / (len(TS) - 2))


@pytest.fixture(scope="module")
def drawn(linear):
    pytest.importorskip("blackjax")
    return sample(linear[0], draws=2000, warmup=500, seed=3, job=QUIET)


def test_a_linear_model_has_students_intervals(linear, drawn):
    _, matrix, best, s = linear
    deviation = s * np.sqrt(np.diag(np.linalg.inv(matrix.T @ matrix)))
    assert drawn.names == ("scale of A", "offset of A") and drawn.units == ("1", "ppb")
    assert drawn.values.shape == (4, 2000, 2) and drawn.held == ()
    assert np.all(drawn.effective > 2000) and np.all(drawn.r_hat < 1.01)
    assert drawn.divergences == 0 and 0.6 < drawn.accepted < 0.95
    for i in range(2):
        law = scipy.stats.t(len(TS) - 2, best[i], deviation[i])
        near(np.array([drawn.low[i], drawn.high[i]]), law, drawn.effective[i])
        near(np.quantile(drawn.values[..., i], ENDS), law, drawn.effective[i])


def test_bands_of_a_linear_model_are_those_of_regression(linear, drawn):
    fit, matrix, best, s = linear
    lever = np.einsum("ni,ij,nj->n", matrix, np.linalg.inv(matrix.T @ matrix), matrix)
    found = bands(fit, drawn, count=4000)
    for n, ends in enumerate(zip(found.low, found.high, strict=True)):
        near(np.array(ends), scipy.stats.t(6, matrix[n] @ best, s * np.sqrt(lever[n])), 3000)
    for n, ends in enumerate(zip(found.reading_low, found.reading_high, strict=True)):
        near(np.array(ends), scipy.stats.t(6, matrix[n] @ best, s * np.sqrt(1 + lever[n])), 3000)
    plain = bands(fit, count=4000)  # of the normal distribution
    law = scipy.stats.norm(matrix[0] @ best, s * np.sqrt(lever[0]))
    near(np.array([plain.low[0], plain.high[0]]), law, 4000)
    assert found.lost == plain.lost == 0


def test_posteriors_that_are_not_normal(network):
    """A rate by quadrature; values beside one bound, below one, and between two are truncated."""
    pytest.importorskip("blackjax")
    rng, ts = np.random.default_rng(2), np.array([20.0, 30.0, 40.0])
    clean = np.stack([10 * np.exp(-0.1 * ts), 0.1 + 0 * ts, 3.0 + 0 * ts, 5.0 + 0 * ts], axis=1)
    values = clean + rng.normal(0, 0.6, clean.shape)
    asked = problem(
        network,
        measured(ts, values, "ADEF"),
        rates={"k": {"of": "R1", "value": 0.15, "factor": 1.8}, "k2": "R2"},
        initial={"D": {"value": 0.2}},
        scales={"E": {"value": 1.0, "low": 0.9, "high": 1.1}},
        offsets={"F": {"value": -0.1, "high": 0.0}},
    )
    fit = infer_rates(asked, noise={"sd": 0.6}, starts=4, job=QUIET)
    found = sample(fit, draws=2000, warmup=500, seed=1, job=QUIET)
    names = ("k", "k2", "scale of E", "offset of F", "initial D")
    assert found.names == names and found.held == ("k2",)
    assert np.isnan(found.low[1]) and np.isnan(found.r_hat[1]) and np.ptp(found.x[..., 1]) == 0
    assert np.all(found.r_hat[[0, 2, 3, 4]] < 1.01)

    def truncated(mean, deviation, low, high):
        ends = (np.array([low, high]) - mean) / deviation
        return scipy.stats.truncnorm(*ends, mean, deviation)

    mean, sd = values.mean(axis=0), 0.6 / np.sqrt(3)
    laws = {
        2: truncated(mean[2] / 3, sd / 3, 0.9, 1.1),
        3: truncated(mean[3] - 5, sd, -np.inf, 0.0),
        4: truncated(mean[1], sd, 0.0, np.inf),
    }
    for i, law in laws.items():
        near(np.quantile(found.values[..., i], ENDS), law, found.effective[i])
    grid = np.log(0.15) + np.linspace(-4, 4, 4001)
    off = 10 * np.exp(-np.exp(grid)[:, None] * ts) - values[:, 0]
    log = -0.5 * np.sum((off / 0.6) ** 2, axis=1)
    log -= 0.5 * ((grid - np.log(0.15)) / np.log(1.8)) ** 2
    density = np.exp(log - log.max())
    mass = np.append(0.0, np.cumsum((density[1:] + density[:-1]) / 2))
    right = np.interp(ENDS, mass / mass[-1], grid)
    there = np.interp(right, grid, density / np.trapezoid(density, grid))
    error = np.sqrt(ENDS * (1 - ENDS) / found.effective[0]) / there
    assert np.all(np.abs(np.log([found.low[0], found.high[0]]) - right) < 4 * error)
    told = unlike_normal(fit, found)
    assert any("not normal" in line and "initial D (" in line for line in told)
    assert "held while others were drawn: k2" in told


def test_a_seed_gives_the_same_draws(linear):
    pytest.importorskip("blackjax")
    how = {"draws": 60, "warmup": 50, "chains": 2, "job": QUIET}
    first, again, other = (sample(linear[0], seed=seed, **how).x for seed in (5, 5, 6))
    assert first.shape == (2, 60, 2)
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)


def test_what_is_said_of_draws(linear, drawn):
    """Nothing of normal ones; of others where they differ, bend, or are too few."""
    fit, rng = linear[0], np.random.default_rng(0)
    best = fit.posterior
    root = np.linalg.cholesky(best.covariance)
    student = rng.standard_normal((4, 2000, 2)) / np.sqrt(rng.chisquare(6, (4, 2000, 1)) / 6)
    fair = drawn._replace(x=best.x + student @ root.T, effective=np.full(2, 8000.0))
    assert unlike_normal(fit, fair) == []
    bent = student.copy()
    bent[..., 1] = 0.3 * bent[..., 1] + bent[..., 0] ** 2
    bent = fair._replace(x=best.x + bent * np.sqrt(np.diag(best.covariance)))
    told = unlike_normal(fit, bent)
    assert "not normal" in told[0] and "offset of A" in told[0] and "scale of A" not in told[0]
    assert told[1] == "draws lie along a curve, in no ellipse: scale of A and offset of A"
    poor = fair._replace(
        effective=np.array([8000.0, 80.0]), r_hat=np.array([1.0, 1.2]), divergences=7
    )
    told = " ".join(unlike_normal(fit, poor))
    assert "not met in offset of A (R-hat 1.2)" in told and "7 trajectories" in told
    assert "draws of offset of A are worth 80" in told and "scale of A" not in told
    assert "4 chains of 2000 draws" in report(fit, fair) and "chains" not in report(fit)


def test_an_estimate_with_draws(network, tmp_path):
    pytest.importorskip("blackjax")
    values = 10 * np.exp(-0.1 * TS) + np.random.default_rng(4).normal(0, 0.1, len(TS))
    rows = [f"{t},{value}" for t, value in zip(TS, values, strict=True)]
    path = tmp_path / "readings.csv"
    path.write_text("\n".join(["time [s],A [ppb]", *rows]))
    how = jaxchem.Integrator(method="rodas5p", rtol=1e-6)
    asked = {"path": path, "problem": {"rates": {"k": "R1"}}, "starts": 2, "job": QUIET}
    settings = {"draws": 100, "warmup": 100, "chains": 2}
    found = estimate(network, how, **asked, sample=settings)
    draws = [*csv.DictReader(io.StringIO(found.files["samples.csv"]))]
    assert len(draws) == 200 and [*draws[0]] == ["chain", "draw", "k"]
    assert draws[-1]["chain"] == "2" and draws[-1]["draw"] == "100"
    (row,) = csv.DictReader(io.StringIO(found.files["parameters.csv"]))
    ends = np.quantile([float(draw["k"]) for draw in draws], ENDS)
    np.testing.assert_allclose([float(row["sampled_low"]), float(row["sampled_high"])], ends)
    assert 0 < float(row["effective"]) < 400 and "more draws" in found.report
    figure, ax = plt.subplots()
    plot.readings(found.trajectory, ax)
    assert len(ax.collections) == 2  # of what is predicted, and of what is read
    plt.close(figure)
    for wrong, words in (({"draw": 5}, "'draw'.*draws"), ({"draws": "many"}, "whole"), (3, "true")):
        with pytest.raises(ValueError, match=words):
            estimate(network, how, **asked, sample=wrong)


def test_draws_without_the_extra_or_too_few(linear, network, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "blackjax", None)
        with pytest.raises(ImportError, match=r"pip install 'jaxchem\[sampler\]'"):
            sample(linear[0], job=QUIET)
        how = jaxchem.Integrator(method="rodas5p", rtol=1e-6)
        with pytest.raises(ImportError, match="sampler"):  # before anything is read
            estimate(network, how, path="none.csv", problem={}, sample=True)
    pytest.importorskip("blackjax")
    for wrong in ("draws", "warmup", "chains"):
        with pytest.raises(ValueError, match=f"{wrong} is 0"):
            sample(linear[0], **{wrong: 0}, job=QUIET)
