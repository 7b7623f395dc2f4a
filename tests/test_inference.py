"""Rate coefficients from measurements, beside SciPy's fits of formulas that are integrated by hand.

None of the references below integrates anything or calls the code under test: concentrations of
first-order chains are exponentials, intervals are those of scipy.optimize on these formulas.
"""

import csv
import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy

import jaxchem
from jaxchem import checkpoint
from jaxchem.inference import Measurements, infer_rates, problem, read_measurements, report
from jaxchem.inference.estimate import estimate, settings
from jaxchem.inference.noise import noise as noise_of
from jaxchem.inference.posterior import autocorrelation
from jaxchem.inference.profiles import profile
from jaxchem.inference.search import Misfit, minimise
from jaxchem.inference.weak import weak_starts
from jaxchem.train import Job

QUIET = Job("fit", progress=False)

CHAIN = """
name = chain
units = ppb, s
balanced = none
[species]
A = none
B = none
C = none
[initial]
A = 10.0
[sources]
guess = not measured
[reactions]
A -> B ; 0.1 ; guess
B -> C ; 0.1 ; guess
"""


@pytest.fixture
def network(tmp_path):
    def made(text):
        path = tmp_path / "network.txt"
        path.write_text(text)
        return jaxchem.load(path)

    return made


def measured(ts, values, names, **others):
    """Readings [E, T, O] of experiments with the same times."""
    values = np.asarray(values, float)
    values = values if values.ndim == 3 else values[None]
    e, t, o = (part.ravel() for part in np.indices(values.shape))
    count = len(values)
    given = {
        "experiments": tuple(f"run {i}" for i in range(count)),
        "ts": np.tile(np.asarray(ts, float), (count, 1)),
        "counts": np.full(count, len(ts)),
        "conditions": {},
        "initial": {},
        "observables": tuple(names),
        "units": ("ppb",) * len(names),
        "experiment": e,
        "time": t,
        "observable": o,
        "value": values.ravel(),
        "deviation": np.full(values.size, np.nan),
        "lines": np.arange(values.size) + 2,
        "gaps": np.zeros(len(names), int),
        "time_unit": "s",
        "taken": (),
        "notes": (),
    }
    return Measurements(**{**given, **others})


def chain(ts, k1, k2, a=10.0):
    """A, B and C of the chain (Bateman 1910)."""
    first, second = np.exp(-k1 * ts), np.exp(-k2 * ts)
    b = a * k1 / (k2 - k1) * (first - second)
    return np.stack([a * first, b, a - a * first - b], axis=1)


TS = np.linspace(1.0, 40.0, 14)
NOISY = chain(TS, 0.08, 0.21) + np.random.default_rng(3).normal(0, 0.15, (14, 3))


def by_formula(x):
    return (chain(TS, *np.exp(x)) - NOISY).ravel()


def test_a_fit_is_that_of_scipy_with_the_formula(network):
    found = infer_rates(problem(network(CHAIN), measured(TS, NOISY, "ABC")), starts=8, job=QUIET)
    right = scipy.optimize.least_squares(by_formula, np.log([0.05, 0.3]), xtol=1e-14, ftol=1e-14)
    n = NOISY.size
    variance = 2 * right.cost / (n - 2)
    deviation = np.sqrt(np.diag(np.linalg.inv(right.jac.T @ right.jac)) * variance)
    reach = scipy.stats.t.ppf(0.975, n - 2) * deviation
    best = found.posterior
    np.testing.assert_allclose(np.log(best.values), right.x, atol=1e-4 * deviation.min())
    np.testing.assert_allclose(best.deviation, deviation, rtol=1e-3)
    np.testing.assert_allclose(best.low, np.exp(right.x - reach), rtol=1e-4)
    np.testing.assert_allclose(best.high, np.exp(right.x + reach), rtol=1e-4)
    np.testing.assert_allclose(found.sum_of_squares, 2 * right.cost, rtol=1e-6)
    most_likely = np.sqrt(2 * right.cost / n)
    told = -scipy.stats.norm.logpdf(right.fun, scale=most_likely).sum()
    np.testing.assert_allclose(found.negative_log_likelihood, told, rtol=1e-6)
    assert best.verdict == ("determined", "determined") and found.converged
    assert found.met >= 6


def test_times_of_many_magnitudes_stay_what_they_are(network):
    ts = np.geomspace(1e-8, 60.0, 12)
    asked = problem(network(CHAIN), measured(ts, np.ones((12, 3)), "ABC"))
    found = asked.predicted(np.log([0.08, 0.21])).reshape(12, 3)
    # of what has been formed early the formula's differences keep fewer digits
    np.testing.assert_allclose(found[:, 0], chain(ts, 0.08, 0.21)[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found[:4, 1], 0.8 * ts[:4], rtol=1e-4)


def test_a_profile_is_where_the_likelihood_ratio_says(network):
    asked = problem(network(CHAIN), measured(TS, NOISY, "ABC"))
    found = infer_rates(asked, starts=2, profiles="all", job=QUIET).posterior
    right = scipy.optimize.least_squares(by_formula, np.log([0.05, 0.3]), xtol=1e-14, ftol=1e-14)
    free = NOISY.size - 2
    goal = NOISY.size * np.log1p(scipy.stats.t.ppf(0.975, free) ** 2 / free)

    def rise(at, i):
        def rest(other):
            x = np.empty(2)
            x[i], x[1 - i] = at, other[0]
            return by_formula(x)

        cost = scipy.optimize.least_squares(rest, right.x[1 - i : 2 - i]).cost
        return NOISY.size * np.log(cost / right.cost) - goal

    for i, ends in enumerate(zip(found.low, found.high, strict=True)):
        for end, side in zip(ends, (-1, 1), strict=True):
            there = scipy.optimize.brentq(rise, right.x[i], right.x[i] + side, args=(i,))
            np.testing.assert_allclose(np.log(end) - right.x[i], there - right.x[i], rtol=0.02)
    assert found.profiled == (True, True)


def test_only_the_sum_of_two_paths_is_told(network):
    both = CHAIN.replace("B -> C ; 0.1 ; guess", "A -> C ; 0.1 ; guess")
    values = 10 * np.exp(-0.1 * TS)[:, None] + np.random.default_rng(1).normal(0, 0.1, (14, 1))
    found = infer_rates(problem(network(both), measured(TS, values, "A")), starts=8, job=QUIET)
    best = found.posterior
    assert best.verdict == ("at most", "at most")
    assert best.high == pytest.approx(np.full(2, 0.1), rel=0.1)
    (_, members), *_ = found.open
    assert {name for name, _ in members} <= {"k1", "k2"}  # one alone, where it is next to nothing
    np.testing.assert_allclose(best.values.sum(), 0.1, rtol=0.05)


def test_what_moves_nothing_is_not_seen(network):
    values = 10 * np.exp(-0.1 * TS)[:, None] + np.random.default_rng(1).normal(0, 0.1, (14, 1))
    asked = problem(network(CHAIN), measured(TS, values, "A"))
    found = infer_rates(asked, starts=4, job=QUIET)
    assert found.posterior.verdict == ("determined", "not seen")
    alone = problem(network(CHAIN), measured(TS, values, "A"), rates={"k2": "R2"})
    nothing = infer_rates(alone, starts=4, job=QUIET)
    assert any("nothing could be learnt" in note for note in nothing.notes)


def test_what_was_known_before_stays_so(network):
    values = 10 * np.exp(-0.1 * TS)[:, None] + np.random.default_rng(1).normal(0, 0.1, (14, 1))
    rates = {"k1": "R1", "k2": {"of": "R2", "value": 0.2, "factor": 1.3}}
    found = infer_rates(
        problem(network(CHAIN), measured(TS, values, "A"), rates=rates), starts=4, job=QUIET
    )
    assert found.posterior.verdict == ("determined", "as before")
    assert found.k[1] == pytest.approx(0.2)  # and not where a search has left it
    ends = 0.2 * np.exp(scipy.stats.norm.ppf(0.975) * np.log(1.3) * np.array([-1, 1]))
    np.testing.assert_allclose([found.posterior.low[1], found.posterior.high[1]], ends, rtol=1e-6)


def test_bounds_and_readings_that_are_too_few(network):
    rates = {"k1": {"of": "R1", "value": 0.15, "low": 0.12}, "k2": "R2"}
    asked = problem(network(CHAIN), measured(TS, NOISY, "ABC"), rates=rates)
    found = infer_rates(asked, starts=4, job=QUIET)
    assert found.k[0] == pytest.approx(0.12) and found.posterior.verdict[0] == "at most"
    assert any("k1 ended at its bound, 0.12" in note for note in found.notes)
    few = measured(TS[:1], NOISY[:1, :1], "A")
    with pytest.raises(ValueError, match="1 readings leave no deviation"):
        infer_rates(problem(network(CHAIN), few, rates={"k": "R1"}), job=QUIET)
    stated = infer_rates(
        problem(network(CHAIN), few, rates={"k": "R1"}), noise={"sd": "1e-1"}, starts=2, job=QUIET
    )
    k = -np.log(NOISY[0, 0] / 10) / TS[0]
    assert stated.k[0] == pytest.approx(k, rel=1e-4)
    assert stated.posterior.deviation[0] == pytest.approx(0.1 / (NOISY[0, 0] * k * TS[0]), rel=1e-3)


def test_a_deviation_beside_logarithms_is_relative(network):
    values = chain(TS, 0.08, 0.21)[:, :1] * np.exp(np.random.default_rng(8).normal(0, 0.1, (14, 1)))
    data = measured(TS, values, "A", deviation=0.1 * values.ravel())
    asked = problem(network(CHAIN), data, rates={"k": "R1"})
    found = infer_rates(asked, noise={"kind": "log"}, starts=2, job=QUIET).posterior
    slope, target = -TS, np.log(values.ravel() / 10)  # ln A is linear in k
    k = slope @ target / (slope @ slope)
    assert found.values[0] == pytest.approx(k, rel=1e-4)
    assert found.deviation[0] == pytest.approx(0.1 / np.sqrt(slope @ slope) / k, rel=1e-3)


def test_initial_states_are_added_to_the_networks(network):
    asked = problem(network(CHAIN), measured(TS, NOISY, "ABC"), initial={"B": 1.0})
    np.testing.assert_array_equal(asked.y0, [[10.0, 1.0, 0.0]])
    stated = measured(TS, NOISY, "ABC", initial={"A": np.array([7.0])})
    np.testing.assert_array_equal(problem(network(CHAIN), stated).y0, [[7.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match=r"initial\.A: the table states it"):
        problem(network(CHAIN), stated, initial={"A": "estimated"})


def test_first_readings_as_exact_initial_states(network):
    """As SciPy fits the formula from the first row, which no longer counts as readings."""
    ts, ks = np.append(0.0, TS), (0.08, 0.21)
    values = np.stack([chain(ts, *ks, a) for a in (10.0, 25.0)])
    values += np.random.default_rng(8).normal(0, 0.1, values.shape) * (ts > 0)[:, None]
    data = Measurements.of(
        network(CHAIN), ts, dict(zip("ABC", np.moveaxis(values, 2, 0), strict=True))
    )
    asked = problem(network(CHAIN), data, initial="first")
    found = infer_rates(asked, starts=4, job=QUIET)

    def formula(x):
        off = [chain(TS, *np.exp(x), a) - v[1:] for a, v in zip((10.0, 25.0), values, strict=True)]
        return np.concatenate(off).ravel()

    right = scipy.optimize.least_squares(formula, np.log([0.05, 0.3]), xtol=1e-14, ftol=1e-14)
    np.testing.assert_allclose(found.posterior.x, right.x, atol=1e-6)
    assert len(found.residual) == 2 * 3 * len(TS)
    assert any("first readings taken as the initial state: A, B, C" in n for n in asked.notes)
    with pytest.raises(ValueError, match="experiment 1 has no reading of it at 0"):
        problem(
            network(CHAIN),
            Measurements.of(network(CHAIN), TS, {"B": values[0, 1:, 1]}),
            initial={"B": "first"},
        )


def test_32_bit_floats_are_told(network):
    asked = problem(network(CHAIN), measured(TS, NOISY, "ABC"))
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        infer_rates(asked, job=QUIET)


def test_arrays_as_measurements(network):
    """Gaps are no readings; what does not fit is told."""
    chained = network(CHAIN)
    data = Measurements.of(
        chained,
        [1.0, 2.0],
        {"B": [[1.0, np.nan], [3.0, 4.0]], "A": [[5.0, 6.0], [7.0, 8.0]]},
        deviation={"B": 0.5},
        conditions={"temperature": [280.0, 300.0]},
        initial={"A": 9.0},
    )
    assert data.observables == ("A", "B") and data.gaps.tolist() == [0, 1]
    rows = zip(data.experiment, data.time, data.observable, data.value, strict=True)
    told = {(int(e), int(t), data.observables[o]): float(v) for e, t, o, v in rows}
    assert told[0, 0, "B"] == 1.0 and (0, 1, "B") not in told and told[1, 1, "A"] == 8.0
    assert np.isnan(data.deviation[data.observable == 0]).all()
    assert (data.deviation[data.observable == 1] == 0.5).all()
    assert data.conditions["temperature"].tolist() == [280.0, 300.0]
    assert data.initial["A"].tolist() == [9.0, 9.0]
    for ts, values, words in (
        ([1.0, 1.0], {"A": [1.0, 2.0]}, "increasing"),
        ([1.0, 2.0], {"A": [1.0]}, r"A is \(1, 1\)"),
        ([1.0, 2.0], {"A": [np.nan, np.nan]}, "every reading is NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            Measurements.of(chained, ts, values)


def test_searches_begin_from_the_weak_form(network):
    """Far from any start that was given; what regression cannot see is named."""
    rates = {f"k{j}": {"of": f"R{j}", "value": 1.0, "low": 1e-20, "high": 1e20} for j in (1, 2)}
    ts = np.linspace(0.0, 40.0, 30)
    values = chain(ts, 1e-3, 0.21)
    whole = dict(zip("ABC", values.T, strict=True))
    data = Measurements.of(network(CHAIN), ts, whole)
    one = weak_starts(problem(network(CHAIN), data, rates=rates, initial="first"))[0]
    assert one.seen.all()
    np.testing.assert_allclose(one.values, [1e-3, 0.21], rtol=1e-3)
    del whole["B"]
    data = Measurements.of(network(CHAIN), ts, whole)
    asked = problem(network(CHAIN), data, rates=rates, initial={"A": 10.0})
    one = weak_starts(asked)[0]
    assert one.seen.tolist() == [True, False]
    np.testing.assert_allclose(one.values[0], 1e-3, rtol=1e-3)
    found = infer_rates(asked, noise={"sd": 1e-3}, starts=4, job=QUIET)
    assert any("too, but k2" in note for note in found.notes)
    np.testing.assert_allclose(found.k[0], 1e-3, rtol=1e-3)


def test_a_and_barrier_from_experiments_at_several_temperatures(network):
    warm = np.array([280.0, 300.0, 320.0, 340.0])
    ts, rng = np.array([5.0, 20.0]), np.random.default_rng(5)
    k = 0.05 * np.exp(-6000.0 * (1 / warm - 1 / 310.0))
    values = 10 * np.exp(-k[:, None, None] * ts[:, None]) + rng.normal(0, 0.02, (4, 2, 1))
    text = CHAIN.replace("A -> B ; 0.1 ; guess", "A -> B ; arrhenius(1e9, 7000.0) ; guess")
    data = measured(ts, values, "A", conditions={"temperature": warm})
    asked = problem(network(text), data, rates={"k": "A -> B"}, reference={"temperature": 310.0})
    found = infer_rates(asked, starts=8, job=QUIET)

    def formula(x):
        k = np.exp(x[0] - x[1] * 1e4 * (1 / warm - 1 / 310.0))
        return (10 * np.exp(-k[:, None, None] * ts[:, None]) - values).ravel()

    right = scipy.optimize.least_squares(formula, [np.log(0.04), 0.5], xtol=1e-14, x_scale="jac")
    variance = 2 * right.cost / (values.size - 2)
    deviation = np.sqrt(np.diag(np.linalg.inv(right.jac.T @ right.jac)) * variance)
    best = found.posterior
    assert best.names == ("k", "k: Ea/R") and best.units == ("s-1", "K")
    np.testing.assert_allclose(best.values, [np.exp(right.x[0]), 1e4 * right.x[1]], rtol=1e-4)
    np.testing.assert_allclose(best.deviation, [deviation[0], 1e4 * deviation[1]], rtol=1e-3)
    np.testing.assert_allclose(found.k[0], best.values[0])


def test_start_offset_scale_and_initial_state(network):
    ts = np.arange(1.0, 61.0, 2.0)
    elapsed = np.maximum(ts - 11.7, 0.0)
    a, b, _ = chain(elapsed, 0.1, 0.03, 8.0).T
    rng = np.random.default_rng(2)
    values = np.stack([a, 3 * b - 0.5], 1) + rng.normal(0, 0.02, (30, 2))
    asked = problem(
        network(CHAIN),
        measured(ts, values, "AB"),
        initial={"A": "estimated"},
        offsets={"B": "estimated"},
        scales={"B": {"value": 2.0}},
        start={"value": 8.0},
    )
    found = infer_rates(asked, starts=8, noise={"per": "observable"}, job=QUIET)
    best = dict(zip(found.posterior.names, found.posterior.values, strict=True))
    told = {"k1": 0.1, "k2": 0.03, "initial A": 8.0, "offset of B": -0.5, "scale of B": 3.0}
    for name, value in {**told, "start": 11.7}.items():
        assert best[name] == pytest.approx(value, rel=0.02), name

    def formula(x):
        a, b, _ = chain(np.maximum(ts - x[5], 0.0), x[0], x[1], x[2]).T
        return (np.stack([a, x[4] * b + x[3]], 1) - values).ravel()

    names = [*told, "start"]
    x = np.array([best[name] for name in names])
    np.testing.assert_allclose(formula(x), found.residual, atol=1e-4)
    slopes = jax.jacfwd(asked.predicted)(found.posterior.x)
    order = [found.posterior.names.index(name) for name in names]
    parts = found.posterior.parameters
    for i, place in enumerate(order):
        step = np.zeros(6)
        step[i] = 1e-5 * abs(x[i])
        slope = (formula(x + step) - formula(x - step)) / (2 * step[i])
        size = x[i] if parts[place].log else parts[place].size
        scale = np.abs(slope * size).max()
        np.testing.assert_allclose(slopes[:, place], slope * size, atol=1e-3 * scale)


def test_shared_coefficients_and_observables_of_expressions(network):
    rng = np.random.default_rng(4)
    a, b, c = chain(TS, 0.2, 0.1).T
    values = (100 * b / (a + b + c) + rng.normal(0, 0.3, 14))[:, None]
    asked = problem(
        network(CHAIN),
        measured(TS, values, ["share"], units=("%",)),
        observables={"share": "p * B / (A + B + C)"},
        constants={"p": 100.0},
        rates={"k": {"of": ["R1", "R2"], "ratios": [2, 1]}},
    )
    found = infer_rates(asked, starts=4, job=QUIET)

    def formula(k):
        return 10 * chain(TS, 2 * k[0], k[0])[:, 1] - values[:, 0]

    right = scipy.optimize.least_squares(formula, [0.08], xtol=1e-14)
    np.testing.assert_allclose(found.posterior.values, right.x, rtol=1e-5)
    np.testing.assert_allclose(found.k, [2 * right.x[0], right.x[0]], rtol=1e-5)


def test_experiments_with_times_of_their_own_and_an_unknown_start(network):
    ts = np.array([[2.0, 9.0, 30.0], [5.0, 12.0, 12.0]])
    readings = [chain(ts[0], 0.1, 0.3, 5.0)[:, 0], chain(ts[1, :2], 0.1, 0.3, 20.0)[:, 0]]
    text = CHAIN.replace("[initial]\nA = 10.0\n", "")
    data = measured(TS, NOISY, "ABC")
    data = dataclasses.replace(
        data,
        experiments=("weak", "strong"),
        ts=ts,
        counts=np.array([3, 2]),
        observables=("A",),
        units=("ppb",),
        experiment=np.array([0, 0, 0, 1, 1]),
        time=np.array([0, 1, 2, 0, 1]),
        observable=np.zeros(5, int),
        value=np.concatenate(readings) * (1 + 1e-3 * np.array([1, -1, 1, -1, 1])),
        deviation=np.full(5, np.nan),
    )
    asked = problem(network(text), data, rates={"k": "R1"})
    assert any("initially zero" in note and "B, C" in note for note in asked.notes)
    found = infer_rates(asked, starts=4, job=QUIET).posterior
    assert found.names == ("k", "initial A in weak", "initial A in strong")
    np.testing.assert_allclose(found.values, [0.1, 5.0, 20.0], rtol=0.02)


def test_stated_deviations_and_priors(network):
    sd = np.where(np.arange(42) % 2, 0.1, 0.3)
    data = measured(TS, NOISY, "ABC", deviation=sd)
    rates = {"k1": {"of": "R1", "value": 0.1, "factor": 1.2}, "k2": "R2"}
    found = infer_rates(problem(network(CHAIN), data, rates=rates), starts=4, job=QUIET)

    def formula(x):
        return np.append(by_formula(x) / sd, (x[0] - np.log(0.1)) / np.log(1.2))

    right = scipy.optimize.least_squares(formula, np.log([0.05, 0.3]), xtol=1e-14, ftol=1e-14)
    covariance = np.linalg.inv(right.jac.T @ right.jac)
    np.testing.assert_allclose(np.log(found.posterior.values), right.x, atol=1e-6)
    np.testing.assert_allclose(found.posterior.covariance, covariance, rtol=1e-3)
    told = -scipy.stats.norm.logpdf(by_formula(right.x), scale=sd).sum()
    np.testing.assert_allclose(found.negative_log_likelihood, told, atol=1e-4)
    assert np.isnan(found.deviation).all() and found.posterior.degrees == np.inf


@pytest.mark.parametrize("kind", ["relative", "log"])
def test_kinds_of_noise(network, kind):
    values = chain(TS, 0.08, 0.21) * np.exp(np.random.default_rng(6).normal(0, 0.05, (14, 3)))
    asked = problem(network(CHAIN), measured(TS, values, "ABC"))
    found = infer_rates(asked, noise={"kind": kind}, starts=4, job=QUIET)

    def formula(x):
        model = chain(TS, *np.exp(x))
        off = np.log(model / values) if kind == "log" else (model - values) / values
        return off.ravel()

    right = scipy.optimize.least_squares(formula, np.log([0.05, 0.3]), xtol=1e-14, ftol=1e-14)
    np.testing.assert_allclose(np.log(found.posterior.values), right.x, atol=1e-5)
    sd = np.sqrt(2 * right.cost / values.size)
    told = -scipy.stats.norm.logpdf(right.fun, scale=sd).sum() + np.log(values).sum()
    np.testing.assert_allclose(found.negative_log_likelihood, told, rtol=1e-5)
    with pytest.raises(ValueError, match=r"positive readings, but A is -1 \(line 2\)"):
        data = dataclasses.replace(asked.measured, value=np.append(-1.0, values.ravel()[1:]))
        infer_rates(asked._replace(measured=data), noise={"kind": kind}, job=QUIET)


def test_deviations_with_an_absolute_and_a_relative_part(network):
    """The two parts and the coefficients are those of the whole likelihood, minimised by SciPy."""
    rng, ts = np.random.default_rng(5), np.linspace(1.0, 40.0, 80)
    clean = chain(ts, 0.08, 0.21, 100.0)
    values = clean + rng.normal(0, 1, clean.shape) * np.hypot(0.5, 0.08 * clean)

    def twice(x):
        model = chain(ts, *np.exp(x[:2]), 100.0)
        variance = np.exp(2 * x[2]) + np.exp(2 * x[3]) * model**2
        return np.sum((model - values) ** 2 / variance + np.log(variance))

    how = {"method": "Nelder-Mead", "options": {"xatol": 1e-6, "fatol": 1e-6, "maxiter": 4000}}
    right = scipy.optimize.minimize(twice, np.log([0.08, 0.21, 0.5, 0.08]), **how)
    asked = problem(network(CHAIN), measured(ts, values, "ABC"), initial={"A": 100.0})
    found = infer_rates(asked, noise={"kind": "both"}, starts=4, job=QUIET)
    # the means take nothing from the variances here, which moves them by a part of a deviation
    assert np.all(np.abs(found.posterior.x - right.x[:2]) < 0.3 * found.posterior.deviation)
    parts = found.objective.noise.split[0] * found.deviation[0]
    np.testing.assert_allclose(parts, np.exp(right.x[2:]), rtol=0.05)
    known = {"kind": "both", "sd": 0.5, "relative": 0.08}
    stated = infer_rates(asked, noise=known, starts=4, job=QUIET)
    weights = 1 / np.hypot(0.5, 0.08 * stated.predicted)
    np.testing.assert_allclose(stated.objective.noise.weight, weights, rtol=1e-3)
    assert "of the value, estimated" in report(found)


def test_a_floor_and_heavy_tails(network):
    """Zeros beside logarithms, and readings that are far off, as SciPy has them by the formula."""
    values = chain(TS, 0.08, 0.21) * np.exp(np.random.default_rng(6).normal(0, 0.02, (14, 3)))
    values[3, 0] *= 3.0
    values[0, 2] = 0.0
    asked = problem(network(CHAIN), measured(TS, values, "ABC"))
    how = {"kind": "log", "floor": 1e-3, "sd": 0.02, "tail": 2.0}
    found = infer_rates(asked, noise=how, starts=4, job=QUIET)
    floor = 2e-3 * values.max(axis=0)

    def twice(x):
        off = (np.arcsinh(chain(TS, *np.exp(x)) / floor) - np.arcsinh(values / floor)) / 0.02
        return -2 * scipy.stats.t.logpdf(off, 2.0).sum()

    right = scipy.optimize.minimize(twice, np.log([0.08, 0.21]), tol=1e-10, method="Nelder-Mead")
    np.testing.assert_allclose(found.posterior.x, right.x, atol=1e-4)
    told = right.fun / 2 + values.size * np.log(0.02) + 0.5 * np.log(values**2 + floor**2).sum()
    np.testing.assert_allclose(found.negative_log_likelihood, told, rtol=1e-6)
    off = np.arcsinh(found.predicted / np.tile(floor, 14)) - np.arcsinh(values / floor).ravel()
    np.testing.assert_allclose(found.scaled, off / 0.02, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stated", [{}, {"sd": 0.5, "relative": 0.08}])
def test_two_parts_of_a_deviation_whatever_the_unit(network, stated):
    """Number densities are large, and weights small; the fit is that of mixing ratios."""
    rng, ts = np.random.default_rng(5), np.linspace(1.0, 40.0, 30)
    clean = chain(ts, 0.08, 0.21, 100.0)
    values = clean + rng.normal(0, 1, clean.shape) * np.hypot(0.5, 0.08 * clean)
    told = []
    for unit in (1.0, 2.5e10):
        text = CHAIN.replace("A = 10.0", f"A = {100 * unit}")
        asked = problem(network(text), measured(ts, unit * values, "ABC"))
        how = {"kind": "both", **stated}
        how |= {"sd": 0.5 * unit} if stated else {}
        found = infer_rates(asked, noise=how, starts=3, job=QUIET)
        told.append((found.posterior, found.negative_log_likelihood - 90 * np.log(unit)))
        weights = 1 / np.hypot(0.5 * unit, 0.08 * found.predicted)
        if stated:
            np.testing.assert_allclose(found.objective.noise.weight, weights, rtol=1e-3)
    np.testing.assert_allclose(told[0][0].x, told[1][0].x, atol=1e-3)
    np.testing.assert_allclose(told[0][0].deviation, told[1][0].deviation, rtol=0.02)
    assert told[0][1] == pytest.approx(told[1][1], abs=0.05)


def test_readings_of_unknown_deviation_beside_others(network):
    """They do not widen what those of stated deviations say (SciPy's fit of these alone)."""
    ts, sds = TS[:6], np.full((6, 3), np.nan)
    rng = np.random.default_rng(2)
    values = chain(ts, 0.08, 0.21) + rng.normal(0, 0.1, (6, 3))
    values[:, 1:] = np.nan
    values[[1, 4], 1] = 3.0, 4.0
    sds[:, 0] = 0.1
    data = Measurements.of(
        *(network(CHAIN), ts, dict(zip("AB", values.T, strict=False))),
        deviation={"A": sds[:, 0]},
    )
    rates = {"k1": "R1", "k2": {"of": "R2", "value": 0.21, "given": True}}
    asked = problem(network(CHAIN), data, rates=rates, offsets={"B": "estimated"})
    found = infer_rates(asked, starts=2, profiles="none", job=QUIET).posterior

    def off(x):
        return (chain(ts, np.exp(x[0]), 0.21)[:, 0] - values[:, 0]) / 0.1

    right = scipy.optimize.least_squares(off, [np.log(0.08)], xtol=1e-14)
    alone = float(np.sqrt(1 / (right.jac.T @ right.jac)[0, 0]))
    assert found.deviation[0] <= 1.02 * alone and found.degrees == np.inf


def test_a_profile_that_meets_solves_that_fail():
    """The end is found by bisection, where a side has no height beyond some point."""

    def evaluate(x):
        bent = np.where(x > 1.0, 1.0 + 5.0 * (x - 1.0), x)
        slope = np.where(x > 1.0, 5.0, 1.0)[:, :, None]
        bad = x[:, 0] > 1.7
        return np.where(bad[:, None], np.inf, bent), np.where(bad[:, None, None], 0.0, slope)

    free, none = np.full(1, np.inf), np.zeros(1)
    misfit = Misfit(np.zeros(1, int), np.ones(1, bool), none, none, free)
    best = minimise(evaluate, misfit, np.zeros((1, 1)), low=-free, high=free)
    how = {"low": -free, "high": free, "covariance": np.ones((1, 1)), "rise": 3.96**2}
    ends, _, _, lost = profile(evaluate, misfit, best, [0], **how)
    np.testing.assert_allclose(ends, [[-3.96, 1.0 + 2.96 / 5.0]], rtol=0.02)
    assert not lost.any()


def test_checkpoints_of_another_noise_are_refused(network, tmp_path):
    asked = problem(network(CHAIN), measured(TS, np.abs(NOISY) + 0.01, "ABC"))
    job = Job("fit", progress=False, path=tmp_path / "fit.eqx")
    infer_rates(asked, starts=2, job=job)
    with pytest.raises(ValueError, match=r"other|another"):
        infer_rates(asked, noise={"kind": "log"}, starts=2, job=job)


def test_no_term_in_the_first_courses(network):
    """Courses in which nothing happens do not stop regression of the others."""
    ts = np.linspace(0.0, 40.0, 20)
    one = chain(ts, 0.08, 0.21)
    values = np.stack([0.0 * one] * 6 + [one])
    data = Measurements.of(
        network(CHAIN), ts, dict(zip("ABC", np.moveaxis(values, 2, 0), strict=True))
    )
    found = weak_starts(problem(network(CHAIN), data, initial="first"))[0]
    np.testing.assert_allclose(found.values, [0.08, 0.21], rtol=1e-3)


def test_neighbours_that_agree_widen_intervals(network):
    rng = np.random.default_rng(7)
    ts = np.linspace(0.2, 40, 200)
    noise = np.zeros(200)
    for i in range(1, 200):
        noise[i] = 0.8 * noise[i - 1] + rng.normal(0, 0.06)
    data = measured(ts, (chain(ts, 0.1, 0.3)[:, 0] + noise)[:, None], "A")
    asked = problem(network(CHAIN), data, rates={"k": "R1"})
    plain = infer_rates(asked, noise={"autocorrelated": False}, starts=2, job=QUIET).posterior
    wide = infer_rates(asked, starts=2, job=QUIET).posterior
    residual = 10 * np.exp(-wide.values[0] * ts) - data.value
    r = np.corrcoef(residual[:-1], residual[1:])[0, 1]
    np.testing.assert_allclose(wide.widened, np.sqrt((1 + r) / (1 - r)), rtol=1e-3)
    np.testing.assert_allclose(wide.deviation, plain.deviation * wide.widened, rtol=1e-6)
    same = np.zeros(200, int)
    assert autocorrelation(rng.normal(size=200), same, same, np.arange(200)) == 0.0


def test_many_searches_reach_what_scipy_reaches():
    ts = np.linspace(0, 4, 30)
    data = 2 * np.exp(-0.7 * ts) + 0.5 * np.exp(-3.0 * ts)

    def residual(x):
        return x[0] * np.exp(-x[1] * ts) + x[2] * np.exp(-x[3] * ts) - data

    calls = []

    def evaluate(x):
        calls.append(len(x))
        with np.errstate(all="ignore"):
            value = np.stack([residual(row) for row in x])
            slope = np.stack([jac(row) for row in x])
        value[x[:, 0] > 50] = np.inf  # as where a solver fails
        return value, slope

    def jac(x):
        first, second = np.exp(-x[1] * ts), np.exp(-x[3] * ts)
        return np.stack([first, -x[0] * ts * first, second, -x[2] * ts * second], axis=1)

    group = np.zeros(30, int)
    misfit = Misfit(group, np.array([True]), np.array([0.0]), np.zeros(4), np.full(4, np.inf))
    start = np.array([[1.0, 1.0, 1.0, 2.0], [3.0, 0.1, 0.1, 5.0], [60.0, 1.0, 1.0, 1.0]])
    low, high = np.zeros(4), np.full(4, 100.0)
    found = minimise(evaluate, misfit, start, low=low, high=high, tolerance=1e-14)
    assert found.converged[:2].all() and not found.converged[2] and found.value[2] == np.inf
    np.testing.assert_allclose(found.x[:2, [0, 1]], [[2.0, 0.7]] * 2, rtol=1e-4)
    assert np.all(found.value[:2] < 1e-12)
    held = np.zeros((1, 4), bool)
    held[0, 1] = True
    at = np.array([[1.0, 1.0, 1.0, 2.0]])
    some = minimise(evaluate, misfit, at, low=low, high=high, held=held, tolerance=1e-14)
    right = scipy.optimize.least_squares(
        lambda y: residual(np.insert(y, 1, 1.0)), [1.0, 1.0, 2.0], bounds=(0, 100), xtol=1e-14
    )
    np.testing.assert_allclose(some.value[0], 2 * right.cost, rtol=1e-6)
    assert some.x[0, 1] == 1.0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"rates": {"k": "R7"}}, "rates.k: there is no reaction 'R7'.*R1 to R2"),
        ({"rates": {"k": ["R1", "R1"]}}, "R1 has a coefficient already"),
        ({"rates": {"k": {"of": "R1", "vale": 1}}}, "no part 'vale'.*value"),
        ({"rates": {"k": {"of": "R1", "value": "much"}}}, "'much', which is no number"),
        ({"rates": {"k": {"of": "R1", "value": 1, "given": True}}}, "nothing to estimate"),
        ({"rates": {"k": {"of": "R1", "factor": 0.5}}}, "factor 0.5; one above 1"),
        ({"barriers": ["k1"]}, "do not vary temperature"),
        ({"offsets": {"O3": "estimated"}}, "'O3' is not observed"),
        ({"initial": {"D": 1.0}}, "D"),
        ({"initial": {"A": -1.0}}, "initial.A is -1"),
        ({"reference": {"temperature": 300.0}}, "do not vary it"),
        ({"scales": {"A": {"low": 2, "high": 1}}}, "between 2.0 and 1.0"),
        ({"rates": {"k": {"of": "R1", "value": 1, "high": 0.5}}}, "k begins at 1, outside of"),
        ({"rates": ["R1"]}, "rates is .*names with a value each"),
        ({"offsets": "estimated"}, "offsets is 'estimated'"),
        ({"barriers": "k1"}, "a list of rates"),
        ({"observables": {"NOx": "A + B"}}, "no column is 'NOx'"),
        ({"constants": {"c": 1.0}}, "no observable has 'c'"),
        ({"constants": {"A": 1.0}}, "'A' is a species"),
    ],
)
def test_settings_that_cannot_be(network, setting, words):
    with pytest.raises(ValueError, match=words):
        problem(network(CHAIN), measured(TS, NOISY, "ABC"), **setting)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate: {k: R1}", "no setting 'rate'.*rates"),
        ("- a list", "settings by name"),
        ("rates: {k: [R1", "is no YAML"),
    ],
)
def test_files_of_settings_that_cannot_be(tmp_path, text, words):
    path = tmp_path / "problem.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        settings(path)
    with pytest.raises(ValueError, match="cannot be read"):
        settings(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"kinds": "log"}, "no setting 'kinds'.*kind"),
        ({"kind": "cubic"}, "kinds are absolute"),
        ({"sd": {"D": 1.0}}, "sd of 'D'"),
        ({"sd": -1.0}, "positive number"),
        ({"sd": "much"}, "no number"),
        ({"autocorrelated": "no"}, "true or false"),
    ],
)
def test_noise_that_cannot_be(network, noise, words):
    asked = problem(network(CHAIN), measured(TS, NOISY, "ABC"))
    with pytest.raises(ValueError, match=words):
        infer_rates(asked, noise=noise, job=QUIET)


TUTORIAL = Path(__file__).parents[1] / "experiments" / "inference" / "tutorial"


def test_the_tutorial():
    """Its readings have decimal commas, gaps, replicates, two temperatures; truth made them."""
    network = jaxchem.load(TUTORIAL / "pan.txt")
    told = estimate(
        *(network, jaxchem.Integrator(method="rodas5p", rtol=1e-6)),
        path=TUTORIAL / "readings.csv",
        problem=TUTORIAL / "problem.yaml",
        starts=3,
        job=QUIET,
    )
    rows = {row["name"]: row for row in csv.DictReader(told.files["parameters.csv"].splitlines())}
    for name, right in {"k1": 7e-4, "k1: Ea/R": 13500.0, "initial PAN": 20.0}.items():
        assert float(rows[name]["low"]) < right < float(rows[name]["high"])
        assert rows[name]["verdict"] == "determined"
    assert float(rows["k1"]["high"]) / float(rows["k1"]["low"]) < 1.04
    for part in ("3 gaps: PAN 1, NO2 2", "8 readings are replicates", "decimal commas"):
        assert part in told.report


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("PAN (ppb)", "PAN (pbp)", r"readings.csv.*PAN \(pbp\)"),
        ("NO2 [ppb]", "NOx [ppb]", r"readings.csv.*NOx \[ppb\]"),
        ("remark", "notes", "no table has the header 'remark'"),
        ("30;cold", "half an hour;cold", r"readings.csv.*line 9.*time"),
        ("20,03", "20,0x", r"readings.csv.*line 4.*PAN"),
        ("15;cold;25,0;16", "15;cold;26,0;16", r"experiment .cold., line 6: temperature"),
        (";17,43;80000;", "", r"readings.csv.*line 10"),
    ],
)
def test_the_tutorial_with_a_fault(tmp_path, old, new, words):
    """Each in one sentence that names the file, and the place."""
    text = (TUTORIAL / "readings.csv").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "readings.csv"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    network = jaxchem.load(TUTORIAL / "pan.txt")
    how = settings(TUTORIAL / "problem.yaml")[0]
    with pytest.raises(ValueError, match=words) as caught:
        data = read_measurements(path, network, columns=how["columns"])
        problem(network, data, rates=how["rates"], initial=how["initial"])
    assert len(str(caught.value).splitlines()) < 4


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"rates": {1: "R1"}}, "rates has the name 1; write names as text"),
        ({"initial": {False: 1.0}}, "initial has the name False; .* in quotes in YAML"),
        ({"conditions": [1]}, r"conditions is \[1\]; .* as conditions: {temperature"),
        ({"observables": ["A"]}, "observables is .*names with a value each"),
        ({"initial": ["A"]}, "initial is .*names with a value each"),
        ({"barriers": [[1]]}, "a list of rates"),
        ({"rates": {"k": {"of": "R1", "ratios": ["a"]}}}, "rates.k: a ratio is 'a'"),
        ({"rates": {"k": {"of": "R1", "ratios": 0}}}, "1 positive numbers"),
        ({"rates": {"k": []}}, "rates.k: of which reaction"),
        ({"rates": {"k": {"of": "R1", "value": True}}}, "True, which is no number"),
        ({"rates": {"k": {"of": "R1", "value": 1, "given": "no"}}}, "given is 'no'; write true or"),
        ({"offsets": {"A": {"value": 0, "sd": True}}}, "True, which is no number"),
        ({"reference": {"temperature": "warm"}}, "reference.temperature is 'warm'"),
    ],
)
def test_settings_of_another_type(network, setting, words):
    with pytest.raises(ValueError, match=words):
        problem(network(CHAIN), measured(TS, NOISY, "ABC"), **setting)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("noise: log", r"problem.yaml: noise is 'log'; .* as noise: {kind: log}"),
        ("noise: [kind]", r"problem.yaml: noise is \['kind'\]"),
        ("noise: {1: 2}", "problem.yaml: noise has the name 1"),
        ("rates: {1: R1}", "problem.yaml: rates has the name 1"),
        ("initial: {NO: 1.0}", "problem.yaml: initial has the name False"),
        ("conditions: [1]", "problem.yaml: conditions"),
        ("columns: [A]", "problem.yaml: columns is .*{header: time}"),
        ("observables: [A]", "problem.yaml: observables"),
        ("1: R1", "no setting 1"),
    ],
)
def test_types_in_files_of_settings(tmp_path, text, words):
    path = tmp_path / "problem.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        settings(path)
    path.write_text("initial: first\nrates:")
    assert settings(path)[0] == {"initial": "first", "rates": None}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"starts": "many"}, "starts is 'many'; give a whole number, 1 or more"),
        ({"starts": 2.5}, "starts is 2.5"),
        ({"starts": True}, "starts is True"),
        ({"starts": 0}, "starts is 0"),
        ({"iterations": -1}, "iterations is -1; give a whole number, 0 or more"),
        ({"iterations": 1.5}, "iterations is 1.5"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"against": [3]}, "against has 3; write the path"),
        ({"conditions": [1]}, r"conditions is \[1\]"),
        ({"sample": {"draws": 2.5}}, "sample: draws is 2.5; give a whole number, 4 or more"),
        ({"sample": {"warmup": 0}}, "sample: warmup is 0; give a whole number, 1 or more"),
        ({"sample": {"chains": True}}, "sample: chains is True"),
    ],
)
def test_estimates_that_cannot_be(network, tmp_path, setting, words):
    """Before anything is read: there is no such table."""
    how = jaxchem.Integrator(method="rodas5p", rtol=1e-6)
    with pytest.raises(ValueError, match=words):
        estimate(network(CHAIN), how, path=tmp_path / "none.csv", **setting, job=QUIET)


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ("log", r"noise is 'log'; .* as noise: {kind: log}"),
        (["kind"], "noise is .'kind'."),
        ([], r"noise is \[\]"),
        ({1: 2}, "noise has the name 1"),
        ({"kind": ["log"]}, "kinds are absolute"),
        ({"sd": True}, "True, which is no number"),
        ({"kind": "log", "floor": True}, "True, which is no number"),
        ({"kind": "both", "per": "observable"}, "readings of C are all zero"),
    ],
)
def test_noise_of_another_type_or_of_nothing(network, noise, words):
    values = NOISY * np.array([1.0, 1.0, 0.0])
    with pytest.raises(ValueError, match=words):
        noise_of(measured(TS, values, "ABC"), noise)


def test_parts_of_deviations_beside_zeros(network):
    """One reading that is not zero is enough, and so is what is stated of them."""
    values = NOISY * np.array([1.0, 1.0, 0.0])
    data, both = measured(TS, values, "ABC"), {"kind": "both", "per": "observable"}
    stated = dataclasses.replace(data, deviation=np.where(data.observable == 2, 0.1, np.nan))
    assert noise_of(stated, both).names == ("A", "B", "stated")
    values[3, 2] = 0.2
    assert noise_of(measured(TS, values, "ABC"), both).names == ("A", "B", "C")


@pytest.mark.parametrize(
    ("initial", "more", "words"),
    [
        ("first", {"offsets": {"A": "estimated"}}, "initial.A: first, but .*offset of A"),
        ({"A": "first"}, {"scales": {"A": "estimated"}}, "initial.A: first, but .*scale of A"),
        ({"A": "first"}, {"offsets": {"A": 0.5}}, "initial.A: first, but .*offset of A"),
        ({"A": "first"}, {"observables": {"A": "2 * A"}}, "initial.A: first, but an expression"),
    ],
)
def test_first_readings_that_are_no_states(network, initial, more, words):
    data = measured(np.append(0.0, TS), np.vstack([[10.0, 0.0, 0.0], NOISY]), "ABC")
    with pytest.raises(ValueError, match=words):
        problem(network(CHAIN), data, initial=initial, **more)
    other = {"C": "first"}  # which nothing stands before
    assert problem(network(CHAIN), data, initial=other, offsets={"A": "estimated"}).y0[0, 2] == 0.0


def test_first_readings_below_zero_or_stated_or_of_no_species(network):
    data = measured(np.append(0.0, TS), np.vstack([[10.0, -0.2, 0.3], NOISY]), "ABC")
    asked = problem(network(CHAIN), data, initial="first")
    np.testing.assert_array_equal(asked.y0, [[10.0, 0.0, 0.3]])
    (note,) = (n for n in asked.notes if "negative" in n)
    assert "zero: B -0.2 in run 0" in note
    table = dataclasses.replace(data, initial={"A": np.array([9.0])})
    asked = problem(network(CHAIN), table, initial="first")
    np.testing.assert_array_equal(asked.y0, [[9.0, 0.0, 0.3]])
    assert len(asked.measured.value) == len(data.value) - 2  # that of A is a reading still
    with pytest.raises(ValueError, match=r"initial\.A: the table states it"):
        problem(network(CHAIN), table, initial={"A": "first"})
    with pytest.raises(ValueError, match="initial: first, but no species is read, only total"):
        problem(
            network(CHAIN),
            measured(TS, NOISY[:, :1], ["total"]),
            observables={"total": "A + B"},
            initial="first",
        )


@pytest.mark.parametrize(
    ("values", "more", "words"),
    [
        ({}, {}, "values is {}; give readings by name"),
        ([1.0], {}, r"values is \[1.0\]"),
        ({1: [1.0, 2.0]}, {}, "names as text"),
        ({"A": [1.0, np.inf]}, {}, "A is inf in experiment 1 at its time 2"),
        ({"A": [1.0, -np.inf]}, {}, "A is -inf"),
        ({"A": ["x", 2.0]}, {}, "A is no array of numbers"),
        ({"A": [[1.0, 2.0], [1.0]]}, {}, "A is no array of numbers"),
        ({"A": [1.0, 2.0]}, {"deviation": {"A": 0.0}}, "deviation of A is 0; give positive"),
        ({"A": [1.0, 2.0]}, {"deviation": {"A": [0.1, -0.1]}}, "deviation of A is -0.1"),
        ({"A": [1.0, 2.0]}, {"deviation": {"A": np.inf}}, "deviation of A is inf"),
        ({"A": [1.0, 2.0]}, {"deviation": {"A": [0.1] * 3}}, r"deviation of A is \(3,\)"),
        ({"A": [1.0, 2.0]}, {"deviation": 0.1}, "deviation is 0.1; write a value by name"),
        ({"A": [1.0, 2.0]}, {"initial": {"A": [1.0, 2.0]}}, r"initial A is \(2,\)"),
        ({"A": [1.0, 2.0]}, {"initial": {"A": -1.0}}, "initial A is -1"),
        ({"A": [1.0, 2.0]}, {"conditions": [1]}, r"conditions is \[1\]"),
        ({"A": [1.0, 2.0]}, {"conditions": {"temperature": [280.0, 290.0]}}, "temperature is .2,."),
        ({"A": [1.0, 2.0]}, {"conditions": {"temperature": np.nan}}, "temperature is nan"),
    ],
)
def test_arrays_that_are_no_measurements(network, values, more, words):
    with pytest.raises(ValueError, match=words):
        Measurements.of(network(CHAIN), [1.0, 2.0], values, **more)
    with pytest.raises(ValueError, match="increasing times"):
        Measurements.of(network(CHAIN), [1.0, np.inf], {"A": [1.0, 2.0]})


@pytest.mark.parametrize("stem", ["last", "last[1]", "run*"])
def test_checkpoints_of_others_stay(tmp_path, stem):
    job = Job("fit", path=tmp_path / f"{stem}.eqx")
    own = {job.path, job.part(0).path, job.part(12).path, job.part(1).part(0).path}
    others = {"last_important.eqx", "last1.eqx", "run_0.eqx", "last_0.csv", f"{stem}_.eqx"}
    for path in {*own, *(tmp_path / name for name in others)} - {None}:
        path.touch()
    mine = {f"{stem}{end}.eqx" for end in ("", "_0", "_12", "_1_0")}
    assert {path.name for path in job.kept} == mine and not mine & others
    assert Job("fit", path=tmp_path / "none" / "last.eqx").kept == [] == Job("fit").kept


@pytest.mark.slow
def test_pollu_from_one_trajectory():
    """All coefficients that can be told, from starts a decade off; truth is SciPy's."""
    network = jaxchem.load("pollu")
    k, rng = jax.numpy.asarray(network.rates()), np.random.default_rng(0)
    start = {"NO2": 0.0, "NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007}
    ts = np.geomspace(1e-8, 60.0, 41)
    truth = scipy.integrate.solve_ivp(
        jax.jit(lambda t, y: jaxchem.tendency(network, k, y)),
        *((0.0, 60.0), np.asarray(network.y0(start)), "BDF", ts),
        jac=jax.jit(lambda t, y: jaxchem.jacobian(network, k, y)),
        rtol=1e-10,
        atol=1e-18,
    ).y.T
    seen = np.flatnonzero(truth.max(axis=0) > 1e-12)
    data = measured(ts, truth[:, seen], [network.species[s] for s in seen])
    told = data.value > 1e-12
    parts = ("experiment", "time", "observable", "value", "deviation", "lines")
    data = dataclasses.replace(data, **{name: getattr(data, name)[told] for name in parts})
    off = np.asarray(k) * 10 ** rng.normal(0, 1, 25)
    rates = {f"k{j + 1}": {"of": f"R{j + 1}", "value": off[j], "factor": 10} for j in range(25)}
    how = jaxchem.Integrator(method="rodas5p", rtol=1e-8, atol=1e-18)
    asked = problem(network, data, rates=rates, initial=start, integrator=how)
    # exact readings: what is granted to the solver, whose errors an estimate would take for all
    stated = {"kind": "log", "sd": 1e-4, "autocorrelated": False}
    found = infer_rates(asked, noise=stated, starts=10, profiles="none", iterations=300, job=QUIET)
    error = np.abs(np.log(found.posterior.values / np.asarray(k)))
    sure = found.posterior.deviation < 0.35  # an interval within a factor of 2
    assert sure.sum() >= 22 and error[sure].mean() < 1e-3 and error[sure].max() < 1e-2
    assert found.met >= 8
    members = {name for _, direction in found.open for name, _ in direction}
    assert {"k16", "k19"} <= members <= {"k16", "k17", "k18", "k19"}


@pytest.fixture
def killed(monkeypatch):
    """Ends a program as it has written so many checkpoints; counts those that it writes."""
    saved, keep = [], checkpoint.save

    def save(*parts, **header):
        keep(*parts, **header)
        saved.append(header["kind"])
        if len(saved) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save)
    return saved


def test_a_killed_fit_goes_on(network, tmp_path, killed):
    """Three deviations are searched for twice; it is killed within, and other data are refused."""
    chained, data = network(CHAIN), measured(TS, NOISY, "ABC")

    def run(job, data=data):
        how = {"noise": {"per": "observable"}, "starts": 4, "job": job}
        return infer_rates(problem(chained, data), **how)

    job = Job("fit", progress=False, path=tmp_path / "last.eqx", save_every=0.0)
    whole = run(QUIET)
    assert not killed
    with pytest.raises(KeyboardInterrupt):
        run(job)
    with pytest.raises(ValueError, match=r"last_0\.eqx was made with another fingerprint"):
        run(job, dataclasses.replace(data, value=1.1 * data.value))
    again = run(job)
    np.testing.assert_allclose(again.posterior.x, whole.posterior.x, rtol=1e-12)
    np.testing.assert_allclose(again.misfits, whole.misfits, rtol=1e-12)
    count = len(killed)
    assert sorted(p.name for p in job.kept) == ["last_0.eqx", "last_1.eqx"]
    run(job)
    assert len(killed) == count + 2  # each search is at its end
