import itertools
import math
import re
import warnings

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from problems import (
    CHAIN,
    CONDITIONS,
    EXCHANGE,
    INITIAL,
    POLLU_END,
    SHIPPED,
    YEAR,
    Reference,
    initial,
    shared,
    state,
)

import jaxchem
from jaxchem import system
from jaxchem.parse import table
from jaxchem.solvers import Integrator, integrator

ROOT_FINDERS = ("chord", "newton")
METHODS = ("kvaerno3", "kvaerno5")


def succeeded(solution) -> np.ndarray:
    return np.asarray(solution.result == diffrax.RESULTS.successful)


# Against what is known


def test_pollu_end_values():
    """All twenty published values at t = 60, and scipy's agreement with every one of them."""
    network, reference = jaxchem.load("pollu"), Reference.read("pollu")
    published = np.array([POLLU_END[name] for name in network.species])
    ts = np.array([60.0])
    scipys = reference.solve(reference.k(), initial("pollu"), ts, rtol=1e-11, atol=1e-22)[-1]
    np.testing.assert_allclose(scipys, published, rtol=1e-11)
    ours = jaxchem.solve(network, network.rates(), state("pollu"), ts, rtol=1e-8)
    np.testing.assert_allclose(ours.ys[-1], published, rtol=1e-6)


SCIPY_CASES = {
    # name: output times, scipy's rtol and atol, our atol, digits
    "robertson": (np.geomspace(1e-3, 1e6, 10), 1e-9, 1e-20, None, 1e-6),
    "pollu": (np.linspace(1.0, 60.0, 12), 1e-9, 1e-22, None, 1e-6),
    "aoxid": (np.geomspace(1e-2, 3600.0, 9), 1e-9, 1e-6, 1e-6, 1e-6),
    "toy_autoxidation": (np.geomspace(1e-2, 3600.0, 9), 1e-9, 1e-6, 1e-6, 1e-6),
    "osu29": (np.geomspace(1e2, 1e15, 6), 1e-8, 1e-22, 1e-22, 1e-5),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_species_against_scipy(name):
    """Radau on the slow loop, relative; the large networks down to 1e-20 of their largest."""
    ts, rtol, scipys, atol, digits = SCIPY_CASES[name]
    network, reference = jaxchem.load(name), Reference.read(name)
    expected = reference.solve(
        reference.k(**CONDITIONS[name]), initial(name), ts, rtol=rtol, atol=scipys
    )
    k = network.rates(**CONDITIONS[name])
    solution = jaxchem.solve(network, k, state(name), ts, rtol=1e-8, atol=atol)
    assert solution.ys.shape == expected.shape
    np.testing.assert_array_equal(solution.ts, ts)
    floor = 0.0 if name in ("robertson", "pollu") else 1e-20 * expected.max()
    np.testing.assert_allclose(solution.ys, expected, rtol=digits, atol=floor)


@pytest.mark.parametrize("root_finder", ROOT_FINDERS)
@pytest.mark.parametrize("method", METHODS)
def test_linear_chain_converges_to_matrix_exponential(method, root_finder):
    """The error falls with rtol, over all by at least a factor of 20 for each of its 100."""
    network = table.loads(CHAIN)
    k = network.rates()
    matrix = np.array([[-1, 0, 0, 0], [1, -10, 2, 0], [0, 10, -2.1, 0], [0, 0, 0.1, 0]])
    ts, y0 = np.array([0.01, 0.3, 2.0, 20.0]), np.array([1.0, 0.5, 0.0, 0.0])
    exact = np.stack([scipy.linalg.expm(t * matrix) @ y0 for t in ts])
    run = jax.jit(
        lambda rtol: (
            jaxchem.solve(network, k, y0, ts, rtol=rtol, method=method, root_finder=root_finder).ys
        )
    )
    errors = [np.abs(run(rtol) - exact).max() for rtol in (1e-4, 1e-6, 1e-8, 1e-10)]
    assert errors[0] < 1e-3 and errors[-1] < 1e-8
    assert all(fine < coarse for coarse, fine in itertools.pairwise(errors))
    assert errors[-1] < errors[0] / 20**3


@pytest.mark.parametrize("root_finder", ROOT_FINDERS)
@pytest.mark.parametrize("method", METHODS)
def test_methods_and_root_finders_on_pollu(method, root_finder):
    network = jaxchem.load("pollu")
    solution = jaxchem.solve(
        network,
        network.rates(),
        state("pollu"),
        jnp.array([60.0]),
        method=method,
        root_finder=root_finder,
        rtol=1e-7,
    )
    published = np.array([POLLU_END[name] for name in network.species])
    np.testing.assert_allclose(solution.ys[-1], published, rtol=1e-6)
    # Rejections of half the steps would mean that the root finder stops on the wrong test.
    assert solution.stats["num_rejected_steps"] < 0.1 * solution.stats["num_steps"]


def test_varying_conditions_against_scipy():
    """Arrhenius rates under a temperature that swings by 40 K, begun at another time than 0."""

    def temperature(t):
        return 290.0 + 20.0 * (jnp.sin(t) if isinstance(t, jax.Array) else math.sin(t))

    network, reference = table.loads(EXCHANGE), Reference.parse(EXCHANGE)
    ts = np.linspace(2.0, 12.0, 9)

    def scipys(temperature, t0):
        return reference.solve(
            lambda t: reference.k(temperature=temperature(t)), {"A": 2.0}, ts, t0=t0, rtol=1e-10
        )

    k = network.rates(temperature=temperature)
    ours = jaxchem.solve(network, k, network.y0({"A": 2.0}), ts, t0=1.5, rtol=1e-9)
    np.testing.assert_allclose(ours.ys, scipys(temperature, 1.5), rtol=1e-7)
    for other in (scipys(temperature, 0.0), scipys(lambda t: 290.0, 1.5)):
        assert np.abs(np.asarray(ours.ys) / other - 1).max() > 1e-2


def test_interpolated_output():
    """Fewer steps than outputs would force, exact at the end, a few digits less in between."""
    network, reference = jaxchem.load("pollu"), Reference.read("pollu")
    ts = np.linspace(0.0, 60.0, 241)[1:]
    expected = reference.solve(reference.k(), initial("pollu"), ts, rtol=1e-10, atol=1e-22)
    stepped, interpolated = (
        jaxchem.solve(network, network.rates(), state("pollu"), ts, rtol=1e-8, output=output)
        for output in ("step", "interpolate")
    )
    assert 10 * int(interpolated.stats["num_steps"]) < 7 * int(stepped.stats["num_steps"])
    np.testing.assert_allclose(stepped.ys, expected, rtol=1e-7)
    np.testing.assert_allclose(interpolated.ys, expected, rtol=1e-5)
    np.testing.assert_allclose(interpolated.ys[-1], expected[-1], rtol=1e-7)


# Conservation


@pytest.mark.parametrize("method", METHODS)
def test_robertson_keeps_its_mass(method):
    network = jaxchem.load("robertson")
    ts = np.geomspace(1e-3, 1e11, 29)
    solution = jaxchem.solve(network, network.rates(), state("robertson"), ts, method=method)
    assert np.abs(np.asarray(solution.ys).sum(axis=1) - 1.0).max() <= 1e-12
    assert np.asarray(solution.ys).min() >= 0.0


def test_robertson_with_thousand_rates():
    """Every rate up to a decade off, all under one vmap, all successful to t = 1e11."""
    network = jaxchem.load("robertson")
    factors = 10.0 ** np.random.default_rng(0).uniform(-1, 1, (1000, 3))
    ks = jnp.asarray(np.asarray(network.rates()) * factors)
    ts = np.geomspace(1e-3, 1e11, 15)
    y0 = state("robertson")
    run = jax.jit(jax.vmap(lambda k: jaxchem.solve(network, k, y0, ts, throw=False)))
    solution = run(ks)
    assert solution.ys.shape == (1000, 15, 3)
    assert succeeded(solution).sum() == 1000
    assert np.abs(np.asarray(solution.ys).sum(axis=2) - 1.0).max() <= 1e-10
    one = jaxchem.solve(network, ks[17], y0, ts)
    # Batched linear algebra rounds differently, so the steps differ a little.
    np.testing.assert_allclose(solution.ys[17], one.ys, rtol=1e-6)


@pytest.mark.parametrize("atol", [None, 1e-20])
def test_osu29_conserves_elements_and_charge(atol):
    """From 1 s to 1e8 yr: every element to 1e-10 of itself, the charge to 1e-10 of the cations.

    That is of the cations at the start, as the elements are compared with their start.
    """
    network = jaxchem.load("osu29")
    ts = np.geomspace(1e-6, 1e8, 29) * YEAR
    y0 = state("osu29")
    solution = jaxchem.solve(
        network, network.rates(**CONDITIONS["osu29"]), y0, ts, t0=1.0, atol=atol
    )
    ys = np.asarray(solution.ys)
    totals = ys @ network.composition.T
    start = np.asarray(y0) @ network.composition.T
    for i, element in enumerate(network.elements):
        if element == "charge":
            assert np.abs(totals[:, i]).max() <= 1e-10 * y0[network.index("e")]
        else:
            np.testing.assert_allclose(totals[:, i], start[i], rtol=1e-10)


# Against published trajectories


def published_osu29():
    """(states at 1 s [400, 29], times [100], log10 densities [400, 100, 29]) as published."""
    data = np.load(shared("data", "osu29", "dataset.npz"))
    network = jaxchem.load("osu29")
    assert tuple(data["species"]) == network.species
    states = np.full((len(data["n_C0"]), len(network.species)), 1e-16)
    states[:, network.index("H2")] = 1e4
    for name, key in (("C", "n_C0"), ("C+", "n_Cp0"), ("O", "n_O0")):
        states[:, network.index(name)] = data[key]
    cations = [i for i, name in enumerate(network.species) if name.endswith("+")]
    states[:, network.index("e")] = states[:, cations].sum(axis=1)
    return states, data["t_s"], data["log10n"]


def osu29_errors(members: np.ndarray) -> np.ndarray:
    """|log10 n - published| in dex of these trajectories, ours rounded to float32 likewise."""
    states, ts, published = published_osu29()
    network = jaxchem.load("osu29")
    k = network.rates(**CONDITIONS["osu29"])
    run = jax.jit(
        jax.vmap(
            lambda y0: jaxchem.solve(network, k, y0, ts, t0=1.0, rtol=1e-8, atol=1e-20, throw=False)
        )
    )
    errors = []
    for chunk in np.array_split(members, max(1, len(members) // 50)):
        solution = run(jnp.asarray(states[chunk]))
        assert succeeded(solution).all()
        ours = np.log10(np.asarray(solution.ys)).astype(np.float32)
        errors.append(np.abs(ours - published[chunk]))
    return np.concatenate(errors)


def test_osu29_against_three_published_trajectories():
    assert osu29_errors(np.array([0, 171, 399])).max() <= 2e-5


@pytest.mark.slow
def test_osu29_against_all_published_trajectories():
    errors = osu29_errors(np.arange(400))
    assert errors.shape == (400, 100, 29)
    assert errors.max() <= 2e-5 and np.median(errors) <= 1e-7


# Batches and failures


def test_failed_member_leaves_the_others():
    """One NaN rate among four: that member is reported, the others are as without it."""
    network = jaxchem.load("robertson")
    ks = np.tile(np.asarray(network.rates()), (4, 1))
    ks[:, 0] *= [1.0, 2.0, 3.0, 4.0]
    ks[2, 1] = np.nan
    ts, y0 = np.geomspace(1e-2, 1e4, 5), state("robertson")

    run = jax.jit(
        jax.vmap(lambda k: jaxchem.solve(network, k, y0, ts, throw=False, max_steps=1000))
    )
    batch = run(jnp.asarray(ks))
    np.testing.assert_array_equal(succeeded(batch), [True, True, False, True])
    assert not np.isfinite(batch.ys[2]).any()
    ks[2] = ks[0]
    good = run(jnp.asarray(ks))
    assert succeeded(good).all()
    for i in (0, 1, 3):
        assert batch.stats["num_steps"][i] == good.stats["num_steps"][i]
        np.testing.assert_allclose(batch.ys[i], good.ys[i], rtol=1e-11)


def test_failure_is_raised_or_reported():
    network = jaxchem.load("robertson")
    arguments = network, network.rates(), state("robertson"), jnp.array([1e-9, 1e5])
    with pytest.raises(eqx.EquinoxRuntimeError, match="maximum number of solver steps"):
        jaxchem.solve(*arguments, max_steps=20)
    solution = jaxchem.solve(*arguments, max_steps=20, throw=False)
    assert not succeeded(solution)
    assert np.isfinite(solution.ys[0]).all() and np.isinf(solution.ys[1]).all()


def test_batch_over_tolerances_and_states():
    """Each member has its own; POLLU is not homogeneous, so another state ends elsewhere."""
    network = jaxchem.load("pollu")
    k, ts = network.rates(), jnp.array([60.0])
    y0s = jnp.stack([state("pollu"), state("pollu"), 2.0 * state("pollu")])
    rtols = jnp.array([1e-4, 1e-8, 1e-8])
    batch = jax.jit(jax.vmap(lambda y0, rtol: jaxchem.solve(network, k, y0, ts, rtol=rtol)))(
        y0s, rtols
    )
    published = np.array([POLLU_END[name] for name in network.species])
    errors = np.abs(np.asarray(batch.ys[:, -1]) / published - 1).max(axis=1)
    assert errors[1] < 1e-6 < errors[0] < 1e-2 < errors[2]
    assert 2 * batch.stats["num_steps"][0] < batch.stats["num_steps"][1]


def test_source_into_an_empty_state():
    """Emission into nothing with default settings: a + b t and its decay, exactly known."""
    text = CHAIN.split("A -> B")[0] + "-> A ; 3 ; S1\nA -> ; 2 ; S1\n"
    network = table.loads(text)
    ts = np.array([0.1, 1.0, 10.0])
    solution = jaxchem.solve(
        network, network.rates(), network.y0({}), ts, throw=False, max_steps=500
    )
    assert succeeded(solution)
    np.testing.assert_allclose(solution.ys[:, 0], 1.5 * (1 - np.exp(-2 * ts)), rtol=1e-5)


# Times and settings


def test_start_time():
    """A later start shifts the times, and an output at the start is the initial state."""
    network = jaxchem.load("robertson")
    y0, ts = state("robertson"), np.array([0.0, 0.5, 20.0])
    early = jaxchem.solve(network, network.rates(), y0, ts)
    late = jaxchem.solve(network, network.rates(), y0, ts + 8.0, t0=8.0)
    np.testing.assert_array_equal(early.ys[0], y0)
    np.testing.assert_array_equal(late.ys[0], y0)
    np.testing.assert_allclose(late.ys, early.ys, rtol=1e-5)


def test_atol_for_each_species():
    """One atol a species: a radical whose atol stands above it is given up."""
    network = jaxchem.load("robertson")
    arguments = network, network.rates(), state("robertson"), jnp.array([1e4])
    exact = np.asarray(jaxchem.solve(*arguments, rtol=1e-9).ys[-1])
    each = jaxchem.solve(*arguments, rtol=1e-4, atol=jnp.array([1e-10, 1e-14, 1e-10]))
    loose = jaxchem.solve(*arguments, rtol=1e-4, atol=jnp.array([1e-10, 1.0, 1e-10]))
    np.testing.assert_allclose(each.ys[-1], exact, rtol=1e-2)
    assert loose.stats["num_steps"] < each.stats["num_steps"]


def test_settings_on_top_of_an_integrator():
    network = jaxchem.load("robertson")
    arguments = network, network.rates(), state("robertson"), jnp.array([1e3])
    tight = Integrator(rtol=1e-9, method="kvaerno3")
    ours = jaxchem.solve(*arguments, integrator=tight, method="kvaerno5")
    theirs = jaxchem.solve(*arguments, rtol=1e-9, method="kvaerno5")
    np.testing.assert_array_equal(ours.ys, theirs.ys)
    assert tight.method == "kvaerno3"
    assert ours.stats["num_steps"] < jaxchem.solve(*arguments, integrator=tight).stats["num_steps"]


def test_integrator_takes_any_field():
    """The integrator alone, on y' = -a (y - cos t), whose solution is known."""
    a, ts = 50.0, np.array([0.5, 3.0])
    solution = Integrator(rtol=1e-9, atol=1e-12)(
        lambda t, y, args: -args * (y - jnp.cos(t)), jnp.array([0.5]), ts, a
    )
    start = 0.5 - a * a / (1 + a * a)
    exact = (a * a * np.cos(ts) + a * np.sin(ts)) / (1 + a * a) + start * np.exp(-a * ts)
    np.testing.assert_allclose(solution.ys[:, 0], exact, rtol=1e-8)


@pytest.mark.parametrize(
    "ts, t0, words",
    [
        ([2.0, 1.0], 0.0, "increase"),
        ([1.0, 1.0], 0.0, "increase"),
        ([1.0, math.nan], 0.0, "finite"),
        ([1.0, math.inf], 0.0, "finite"),
        ([1.0, 2.0], 1.5, r"first output time 1 lies before t0 = 1\.5"),
        ([-1.0], 0.0, "lies before t0"),
        ([], 0.0, r"shape \(0,\)"),
        (1.0, 0.0, r"shape \(\)"),
        ([[1.0, 2.0]], 0.0, r"shape \(1, 2\)"),
    ],
)
def test_bad_times(ts, t0, words):
    network = jaxchem.load("robertson")
    with pytest.raises(ValueError, match=words):
        jaxchem.solve(network, network.rates(), state("robertson"), np.array(ts), t0=t0)


@pytest.mark.parametrize(
    "k, y0, words",
    [
        (np.ones(3), np.ones(2), r"y0 has shape \(2,\).*'robertson' has 3 species.*vmap"),
        (np.ones(3), np.ones((4, 3)), r"y0 has shape \(4, 3\)"),
        (np.ones(4), np.ones(3), r"k has shape \(4,\).*'robertson' has 3 reactions.*vmap"),
        (np.ones((2, 3)), np.ones(3), r"k has shape \(2, 3\)"),
        (1.0, np.ones(3), r"k has shape \(\)"),
        (np.ones(3), np.array([1.0, -1e-13, 0.0]), r"'B' is -1e-13.*not negative \(1\)"),
        (np.ones(3), np.array([1.0, 0.0, math.nan]), "'C' is nan"),
        (np.ones(3), np.array([math.inf, 0.0, 0.0]), "'A' is inf"),
    ],
)
def test_bad_arrays(k, y0, words):
    with pytest.raises(ValueError, match=words):
        jaxchem.solve(jaxchem.load("robertson"), k, y0, [1.0])


def test_what_a_solve_gives_is_a_start():
    """Dips at the level of `atol` or of round-off, which are where an integrator leaves them."""
    network, ts = jaxchem.load("osu29"), np.array([1e5])
    k = network.rates(**CONDITIONS["osu29"])
    dipped, how = state("osu29").at[5].set(-5e-4), {"rtol": 1e-3, "t0": 1.0}
    jaxchem.solve(network, k, dipped, ts, atol=1e-4, **how)
    with pytest.raises(ValueError, match="not negative"):
        jaxchem.solve(network, k, dipped, ts, **how)
    network = jaxchem.load("robertson")
    k, low = network.rates(), np.array([1.0, -1e-112, -1e-15])
    plain = jaxchem.solve(network, k, [1.0, 0.0, 0.0], [10.0])
    np.testing.assert_allclose(jaxchem.solve(network, k, low, [10.0]).ys, plain.ys, rtol=1e-6)
    many = jaxchem.solve_ensemble(network, k, low[None], [10.0], progress=False)
    np.testing.assert_allclose(many.ys[0], plain.ys, rtol=1e-6)
    named = network.y0(dict(zip(network.species, low, strict=True)))
    np.testing.assert_array_equal(named, low)
    truth = jaxchem.generate(network, k, low[None], [10.0], progress=False)
    np.testing.assert_allclose(truth["concentration"][0], plain.ys, rtol=1e-5)
    for bad in ([1.0, -1e-9, 0.0], [0.0, -1e-30, 0.0]):
        with pytest.raises(ValueError, match=r"concentration of 'B'.* is -1e"):
            network.y0(dict(zip(network.species, bad, strict=True)))
        with pytest.raises(ValueError, match="concentration of 'B' in cell 0 is -1e"):
            jaxchem.generate(network, k, np.array([bad]), [10.0], progress=False)


def test_constant_rates_have_no_clock():
    """Seconds since 1970 do not resolve the first steps, and need not."""
    network, y0 = jaxchem.load("robertson"), state("robertson")
    spans, start = np.array([1.0, 1e3]), 1.7e9

    def end(t0):
        return jaxchem.solve(network, network.rates(), y0, start + spans, t0=t0)

    solution = end(start)
    plain = jaxchem.solve(network, network.rates(), y0, spans)
    np.testing.assert_array_equal(solution.ys, plain.ys)
    np.testing.assert_array_equal(solution.ts, start + spans)
    assert solution.stats["end_time"] == start + spans[-1]
    by_start = jax.jacrev(lambda t0: end(t0).ys)(start)
    np.testing.assert_allclose(
        by_start,
        -jax.vmap(lambda y: jaxchem.tendency(network, network.rates(), y))(plain.ys),
        rtol=5e-3,  # of a radical in balance with its sources
    )


@pytest.mark.parametrize("ts, t0", [([2.0, 1.0, 3.0], 0.0), ([1.0, 1.0], 0.0), ([0.5, 2.0], 1.0)])
def test_bad_times_inside_of_jit_fail(ts, t0):
    network, y0 = jaxchem.load("robertson"), state("robertson")

    @jax.jit
    def solve(ts, t0):
        return jaxchem.solve(network, network.rates(), y0, ts, t0=t0, throw=False)

    bad = solve(jnp.array(ts), t0)
    assert bad.result != diffrax.RESULTS.successful and not np.any(np.isfinite(bad.ys[-1]))
    good = solve(jnp.array(sorted({t for t in ts if t > t0} | {4.0})), t0)
    assert good.result == diffrax.RESULTS.successful


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"rtol": [1e-6, 1e-3, 1e-6]}, r"rtol has shape \(3,\).*one number"),
        ({"rtol": np.array([1e-6])}, r"rtol has shape \(1,\)"),
        ({"rtol": -1.0}, r"rtol=-1.0 is negative"),
        ({"atol": [1e-6, -1e-9, 1e-6]}, r"atol=.* is negative"),
        ({"atol": [1e-6, 1e-9]}, r"atol has shape \(2,\).*3 species"),
        ({"retries": [jaxchem.Integrator(rtol=np.ones(3))], "max_steps": 2}, r"rtol has shape"),
    ],
)
@pytest.mark.parametrize("method", ["rodas4", "kvaerno3"])
def test_bad_tolerances(settings, words, method):
    network = jaxchem.load("robertson")
    settings = {"method": method, **settings}
    with pytest.raises(ValueError, match=words):
        jaxchem.solve(network, network.rates(), state("robertson"), [1.0], throw=False, **settings)


@pytest.mark.parametrize("field", ["method", "adjoint", "root_finder", "output", "negative"])
def test_unknown_choice(field):
    with pytest.raises(ValueError, match=f"unknown {field} 'bdf'; known: .*, ") as caught:
        Integrator(**{field: "bdf"})
    assert getattr(Integrator(), field) in str(caught.value)


def test_unknown_setting():
    network = jaxchem.load("robertson")
    with pytest.raises(
        ValueError, match=r"unknown setting 'tol' of an integrator; known: rtol, atol"
    ):
        jaxchem.solve(network, network.rates(), state("robertson"), [1.0], tol=1e-3)


def test_whole_numbers_are_concentrations():
    """A state of integers means what it says."""
    network = jaxchem.load("robertson")
    ts = [0.5, 1.0]
    ours = jaxchem.solve(network, network.rates(), jnp.array([1, 0, 0]), ts)
    theirs = jaxchem.solve(network, network.rates(), state("robertson"), ts)
    np.testing.assert_array_equal(ours.ys, theirs.ys)


def test_float32_warns_once_where_it_was_called():
    network = jaxchem.load("robertson")
    y0 = state("robertson").astype(jnp.float32)
    integrator.warn_float32.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            solution = jaxchem.solve(
                network, network.rates(), y0, [1e-3], rtol=1e-3, throw=False, max_steps=50
            )
        jaxchem.solve(network, network.rates(), state("robertson"), [1e-3])
    (warning,) = [w for w in caught if "float32" in str(w.message)]
    assert "jax_enable_x64" in str(warning.message) and warning.filename == __file__
    assert solution.ys.dtype == jnp.float32
    integrator.warn_float32.cache_clear()


# Compilation


def test_other_values_do_not_compile_again_under_jit():
    network = jaxchem.load("robertson")
    traces = []

    @jax.jit
    def run(network, k, y0, rtol, atol):
        traces.append(1)
        return jaxchem.solve(network, k, y0, jnp.array([1.0]), rtol=rtol, atol=atol).ys

    k, y0 = network.rates(), state("robertson")
    first = run(network, k, y0, 1e-4, 1e-10)
    for arguments in ((2 * k, y0, 1e-4, 1e-10), (k, 2 * y0, 1e-6, 1e-12), (k, y0, 1e-8, 1e-14)):
        assert np.any(run(network, *arguments) != first)
    run(jaxchem.load("robertson"), k, y0, 1e-4, 1e-10)
    assert len(traces) == 1


def test_other_values_do_not_compile_again_without_jit(monkeypatch):
    """Plain calls reuse compiled code too: the kernel is traced by the first one alone."""
    traces, kernel = [], system._mass_action

    def counted(*arguments):
        traces.append(1)
        return kernel(*arguments)

    monkeypatch.setattr(system, "_mass_action", counted)
    # A structure that no other test solves, so that nothing is compiled beforehand.
    network = table.loads(CHAIN.replace("D -> E", "D + E -> 2 E"))
    k, y0 = network.rates(), jnp.array([1.0, 0.0, 0.0, 0.1])
    first = jaxchem.solve(network, k, y0, [0.5, 1.0], rtol=1e-4, atol=1e-10, method="kvaerno5").ys
    compiled = len(traces)
    assert compiled > 0
    for factor in (2.0, 3.0):
        again = jaxchem.solve(
            network,
            factor * k,
            factor * y0,
            [0.1, factor],
            rtol=1e-5 * factor,
            atol=1e-11,
            method="kvaerno5",
        )
        assert np.any(again.ys != first)
    assert len(traces) == compiled


@pytest.mark.parametrize("name", SHIPPED)
def test_default_atol_is_below_what_matters(name):
    """The default tolerance stays far below the smallest start and above round-off's squares."""
    y0 = state(name)
    atol = float(integrator.default_atol(y0))
    positive = [v for v in INITIAL[name].values() if v > 0]
    assert 0 < atol <= 1e-2 * min(positive)
    assert 1e-24 * max(positive) <= atol <= 1e-16 * max(positive) * (1 + 1e-12)


@pytest.mark.parametrize("rtol", [np.inf, np.nan, 0.0, -1e-6])
def test_a_tolerance_is_positive_and_finite(rtol):
    """Of a solve, of an ensemble and of the truth."""
    network = jaxchem.load("robertson")
    k, y0 = network.rates(), network.y0({"A": 1.0})
    for act in (
        lambda: jaxchem.solve(network, k, y0, [1.0], rtol=rtol),
        lambda: jaxchem.solve(network, k, y0, [1.0], rtol=rtol, method="kvaerno5"),
        lambda: jaxchem.solve_ensemble(network, k, y0[None], [1.0], rtol=rtol, progress=False),
        lambda: jaxchem.generate(network, k, y0[None], [1.0], rtol=rtol, progress=False),
    ):
        with pytest.raises(ValueError, match=rf"rtol={rtol}.*give a positive number") as caught:
            act()
        assert "\n" not in str(caught.value)


def test_coefficients_are_not_negative():
    """Each is named; where they are traced nothing can be known."""
    network = jaxchem.load("robertson")
    k, y0 = network.rates().at[1].set(-1.0), network.y0({"A": 1.0})
    rows, starts, how = jnp.stack([network.rates(), k]), jnp.stack([y0, y0]), {"progress": False}
    for cell, act in (
        ("", lambda: jaxchem.solve(network, k, y0, [1.0])),
        ("", lambda: jaxchem.System(network, k)),
        ("", lambda: jaxchem.solve_ensemble(network, k, y0[None], [1.0], **how)),
        (" in cell 1", lambda: jaxchem.solve_ensemble(network, rows, starts, [1.0], **how)),
        ("", lambda: jaxchem.generate(network, k, y0[None], [1.0], **how)),
    ):
        words = (
            f"the rate coefficient of '{network.equations[1]}'{cell} is -1.0; it must not be neg"
        )
        with pytest.raises(ValueError, match=re.escape(words)):
            act()
    found = jax.jit(lambda k: jaxchem.solve(network, k, y0, [1.0], throw=False).ys)(0.0 * k)
    np.testing.assert_array_equal(found, [[1.0, 0.0, 0.0]])


@pytest.mark.parametrize("method", ["rodas5p", "kvaerno5"])
def test_as_many_output_times_as_anybody_wants(method):
    """More than there may be steps; dA/dt = -A at every one of 10^5 of them."""
    network = table.loads(CHAIN)
    count = 100_000 if method == "rodas5p" else 10_000
    ts = np.linspace(1e-3, 5.0, count)
    how = {} if method == "rodas5p" else {"max_steps": 9_000}
    found = jaxchem.solve(network, network.rates(), [1.0, 0.0, 0.0, 0.0], ts, method=method, **how)
    np.testing.assert_allclose(found.ys[:, 0], np.exp(-ts), rtol=1e-5)
