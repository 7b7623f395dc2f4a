"""Mechanisms beside each other, by SciPy's fits of formulas that are integrated by hand."""

import dataclasses

import numpy as np
import pytest
import scipy
from test_inference import CHAIN, QUIET, TS, chain, measured
from test_inference import network as network

import jaxchem
from jaxchem.inference import compare, estimate, infer_rates, problem, report
from jaxchem.inference.report import beside
from jaxchem.train import Job

BACK = CHAIN.replace("B -> C ; 0.1", "B -> A ; 0.05 ; guess\nB -> C ; 0.1")
"""The chain whose first step goes back too; its second reaction is another one."""

SIDE = CHAIN.replace("B -> C ; 0.1", "A -> C ; 0.1")


def reversible(ts, k1, k_1, k2, a=10.0):
    """A, B and C of A <-> B -> C, from the eigenvalues of its two equations."""
    total = k1 + k_1 + k2
    root = np.sqrt(total**2 - 4 * k1 * k2)
    fast, slow = (total + root) / 2, (total - root) / 2
    first, second = np.exp(-fast * ts), np.exp(-slow * ts)
    b = a * k1 * (second - first) / root
    gone = a * ((k1 - slow) * first - (k1 - fast) * second) / root
    return np.stack([gone, b, a - gone - b], axis=1)


def test_the_formula_is_that_of_its_equations():
    matrix = np.array([[-0.2, 0.1, 0.0], [0.2, -0.25, 0.0], [0.0, 0.15, 0.0]])
    right = [scipy.linalg.expm(matrix * t)[:, 0] * 10 for t in (1.0, 7.0)]
    np.testing.assert_allclose(reversible(np.array([1.0, 7.0]), 0.2, 0.1, 0.15), right, rtol=1e-9)


def best(formula, values, start):
    """-ln L of the likeliest parameters and deviation."""
    found = scipy.optimize.least_squares(
        lambda x: (formula(TS, *np.exp(x)) - values).ravel(), np.log(start), xtol=1e-14, ftol=1e-14
    )
    sd = np.sqrt(2 * found.cost / values.size)
    return -scipy.stats.norm.logpdf(found.fun, scale=sd).sum()


@pytest.fixture
def fits(network):
    """Three mechanisms, of which the second has made the readings."""
    noise = np.random.default_rng(5).normal(0, 0.15, (14, 3))
    values = reversible(TS, 0.2, 0.1, 0.15) + noise
    data = measured(TS, values, "ABC")

    def fit(text, **settings):
        return infer_rates(problem(network(text), data, **settings), starts=3, job=QUIET)

    return values, fit


def test_criteria_and_the_ratio_of_nested_ones(fits):
    values, fit = fits
    found = compare({"chain": fit(CHAIN), "reversible": fit(BACK), "side": fit(SIDE)})
    n = values.size
    told = [best(chain, values, (0.1, 0.3)), best(reversible, values, (0.2, 0.1, 0.15))]
    for one, like, k in zip(found.criteria, told, (3, 4), strict=False):
        assert one.parameters == k  # with the deviation
        assert one.negative_log_likelihood == pytest.approx(like, rel=1e-5)
        assert one.aic == pytest.approx(2 * like + 2 * k, rel=1e-5)
        assert one.aicc == pytest.approx(2 * like + 2 * k * n / (n - k - 1), rel=1e-5)
        assert one.bic == pytest.approx(2 * like + k * np.log(n), rel=1e-5)
    (ratio,) = found.ratios  # the third is of the same size as the first, and of other reactions
    assert (ratio.smaller, ratio.larger, ratio.degrees) == ("chain", "reversible", 1)
    assert ratio.statistic == pytest.approx(2 * (told[0] - told[1]), rel=1e-4)
    assert ratio.p == pytest.approx(scipy.stats.chi2.sf(2 * (told[0] - told[1]), 1), rel=1e-3)
    assert found.rows[0]["mechanism"] == "reversible" and found.rows[0]["delta_aicc"] == 0.0
    aicc = np.array([one.aicc for one in found.criteria])
    weights = np.exp(-aicc / 2 + aicc.min() / 2)
    np.testing.assert_allclose(found.weights, weights / weights.sum())
    assert "reversible rather than chain" in repr(found)
    assert "| reversible | 4 " in beside(found)


def test_a_step_too_many_is_told(network):
    """Readings of the chain: the larger one gains about nothing, and p is no small one."""
    values = chain(TS, 0.08, 0.21) + np.random.default_rng(3).normal(0, 0.15, (14, 3))
    data = measured(TS, values, "ABC")
    found = compare(
        {
            name: infer_rates(problem(network(text), data), starts=4, job=QUIET)
            for name, text in (("larger", BACK), ("smaller", CHAIN))
        }
    )
    (ratio,) = found.ratios
    like = [best(chain, values, (0.1, 0.3)), best(reversible, values, (0.08, 0.01, 0.21))]
    assert ratio.p == pytest.approx(
        scipy.stats.chi2.sf(max(2 * (like[0] - like[1]), 0), 1), abs=0.01
    )
    assert found.rows[0]["mechanism"] == "smaller"


def test_what_is_a_special_case(fits):
    """Fewer free parameters of the same reactions; not other values, nor what shares nothing."""
    _, fit = fits
    whole = fit(BACK)
    cases = {
        "tied": {"rates": {"k": {"of": ["R1", "R3"], "ratios": [2, 1]}, "back": "R2"}},
        "given": {"rates": {"on": "R1", "off": "R3"}},
        "start": {"initial": {"A": "estimated"}},
    }
    made = {name: fit(BACK, **settings) for name, settings in cases.items()}
    found = compare({"whole": whole, **made, "chain": fit(CHAIN)})
    pairs = {(one.smaller, one.larger) for one in found.ratios}
    assert pairs == {
        *(("tied", "whole"), ("given", "whole"), ("chain", "whole")),
        *((name, "start") for name in ("whole", "tied", "given", "chain")),
    }
    # where the reverse reaction has a bound, nothing without it is a case of this
    bound = {"k1": "R1", "back": {"of": "R2", "low": 0.04}, "k2": "R3"}
    assert compare({"bound": fit(BACK, rates=bound), "chain": fit(CHAIN)}).ratios == ()


def test_species_in_another_order_and_barriers(network):
    warm, ts = np.array([280.0, 320.0]), np.array([2.0, 10.0, 30.0])
    k = 0.1 * np.exp(-6000.0 * (1 / warm - 1 / 300.0))
    values = np.stack([chain(ts, one, 0.3)[:, :2] for one in k])
    values += np.random.default_rng(0).normal(0, 0.05, values.shape)
    law = CHAIN.replace("A -> B ; 0.1 ; guess", "A -> B ; arrhenius(5e7, 6000.0) ; guess")
    turned = BACK.replace("A -> B ; 0.1 ; guess", "A -> B ; arrhenius(5e7, 6000.0) ; guess")
    turned = turned.replace("A = none\nB = none", "B = none\nA = none")
    there = {"conditions": {"temperature": warm}}
    fits = {
        "plain": (law, measured(ts, values, "AB", **there), {}),
        "turned": (turned, measured(ts, values[:, :, ::-1], "BA", **there), {}),
        "fixed": (law, measured(ts, values, "AB", **there), {"barriers": []}),
    }
    made = {
        name: infer_rates(problem(network(text), data, **settings), starts=4, job=QUIET)
        for name, (text, data, settings) in fits.items()
    }
    pairs = {(one.smaller, one.larger): one for one in compare(made).ratios}
    assert {*pairs} == {("plain", "turned"), ("fixed", "plain"), ("fixed", "turned")}
    assert pairs["fixed", "plain"].degrees == 1


def test_unseen_parameters_and_priors_are_named(network):
    values = 10 * np.exp(-0.1 * TS)[:, None] + np.random.default_rng(1).normal(0, 0.1, (14, 1))
    data = measured(TS, values, "A")
    one = infer_rates(problem(network(CHAIN), data), starts=2, job=QUIET)
    alone = problem(network(CHAIN), data, rates={"k": {"of": "R1", "factor": 3.0}})
    found = compare({"both": one, "one": infer_rates(alone, starts=2, job=QUIET)})
    assert [c.parameters for c in found.criteria] == [3, 2]
    assert any("both: k2 is not seen" in note for note in found.notes)
    assert any("before of k" in note for note in found.notes)
    few = measured(TS[:3], values[:3], "A")
    short = problem(network(CHAIN), few, rates={"k": "R1"})
    fit = infer_rates(short, starts=2, job=QUIET)
    assert np.isnan(compare({"a": fit, "b": fit}).weights).all()  # 3 readings, 2 parameters
    assert "weight" in beside(compare({"a": fit, "b": fit}))


def test_both_parts_of_a_deviation_are_counted(network):
    rng, ts = np.random.default_rng(5), np.linspace(1.0, 40.0, 30)
    clean = chain(ts, 0.08, 0.21, 100.0)
    values = clean + rng.normal(0, 1, clean.shape) * np.hypot(0.5, 0.08 * clean)
    asked = problem(network(CHAIN), measured(ts, values, "ABC"), initial={"A": 100.0})
    fit = infer_rates(asked, noise={"kind": "both"}, starts=2, job=QUIET)
    assert compare({"a": fit, "b": fit}).criteria[0].parameters == 4
    aic = 2 * fit.negative_log_likelihood + 8
    assert f"AIC {aic:.6g}" in report(fit)


def test_what_cannot_be_compared(network):
    values = chain(TS, 0.08, 0.21) + np.random.default_rng(3).normal(0, 0.15, (14, 3))
    data = measured(TS, values, "ABC")

    def fit(data=data, **noise):
        asked = problem(network(CHAIN), data)
        return infer_rates(asked, noise=noise, starts=1, profiles="none", job=QUIET)

    one = fit()
    other = dataclasses.replace(data, value=np.where(np.arange(42) == 4, 9.0, data.value))
    cases = [
        (fit(other), r"readings \(B in run 0 at 4: .*, and B in run 0 at 4: 9\)"),
        (fit(measured(TS, values[:, :2], "AB")), r"readings \(42 and 28\)"),
        (fit(kind="relative"), "noise .kind absolute and relative"),
        (fit(sd=0.1), "noise .names"),
        (fit(per="observable"), "noise .names"),
    ]
    for two, words in cases:
        with pytest.raises(ValueError, match=f"'a' and 'b' cannot be compared.*{words}"):
            compare({"a": one, "b": two})
    with pytest.raises(ValueError, match="stated deviations"):
        compare({"a": fit(sd=0.1), "b": fit(sd=0.2)})
    with pytest.raises(ValueError, match="two fits or more"):
        compare({"a": one})


def test_a_search_that_ends_too_early_is_told(fits):
    _, fit = fits
    whole, part = fit(BACK), fit(CHAIN)
    worse = whole._replace(negative_log_likelihood=part.negative_log_likelihood + 1.0)
    found = compare({"whole": worse, "part": part})
    assert found.ratios[0].p == 1.0
    assert "whole fits worse than part, its special case: give it more starts" in found.notes


def test_other_mechanisms_of_a_table(fits, tmp_path):
    """One's own problem for each, or the same for all if it names reactions by their equations."""
    values, _ = fits
    rows = [f"{t},{','.join(map(str, row))}" for t, row in zip(TS.tolist(), values, strict=True)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["time [s],A [ppb],B [ppb],C [ppb]", *rows]))
    chain_, back, settings = (tmp_path / n for n in ("chain.txt", "back.txt", "fixed.yaml"))
    chain_.write_text(CHAIN)
    back.write_text(BACK.replace("name = chain", "name = back"))
    settings.write_text("rates: {k1: R1, k2: R3}")
    how = {"path": table, "starts": 2, "profiles": "none", "job": QUIET}
    one, solver = jaxchem.load(chain_), jaxchem.Integrator(method="rodas5p", rtol=1e-6)
    found = estimate(one, solver, against={str(back): str(settings), str(chain_): None}, **how)
    made = [row.split(",")[:2] for row in found.files["comparison.csv"].splitlines()]
    assert made[0] == ["mechanism", "parameters"]
    assert {tuple(row) for row in made[1:]} == {
        *(("chain", "3"), ("back", "3"), (f"chain ({chain_})", "3")),
    }
    assert "## Beside other mechanisms" in found.report
    shared = {"rates": {"k1": "A -> B", "k2": "B -> C"}}
    how["job"] = Job("fit", progress=False, path=tmp_path / "last.eqx")
    found = estimate(one, solver, against=[str(back)], problem=shared, **how)
    assert not list(tmp_path.glob("last*"))  # each fit has its own checkpoints until all is done
    assert found.metrics["weight"] > 0 and len(found.files["comparison.csv"].splitlines()) == 3
    with pytest.raises(ValueError, match="against=7: give a list"):
        estimate(one, solver, against=7, **how)
    with pytest.raises(ValueError, match=r"back.txt: R2 of the problem may be another reaction"):
        numbered = {"rates": {"k": {"of": ["A -> B", "R2"]}}}
        estimate(one, solver, against=[str(back)], problem=numbered, **how)
