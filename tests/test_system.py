"""What is integrated: rates that vary with time and state, further states, user-written tendencies.

Truth is scipy's, on right-hand sides that are written out here.
"""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CHAIN, Reference, state
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem import System
from jaxchem.parse import table

ROBERTSON = (0.04, 3e7, 1e4)  # A -> B, 2 B -> B + C, B + C -> A + C


@pytest.fixture(scope="module")
def robertson():
    return jaxchem.load("robertson")


def thickening(t, y):
    """Robertson's, the last coefficient growing with C."""
    k1, k2, k3 = ROBERTSON
    return jnp.stack([jnp.array(k1), jnp.array(k2), k3 * (1.0 + 50.0 * y[2])])


def thickening_field(t, y):
    (k1, k2, k3), (a, b, c) = ROBERTSON, y
    slow, pairs, back = k1 * a, k2 * b * b, k3 * (1 + 50 * c) * b * c
    return np.array([back - slow, slow - pairs - back, pairs])


def test_coefficients_are_of_the_order_that_is_written_here(robertson):
    np.testing.assert_allclose(robertson.rates(), ROBERTSON)


@pytest.mark.parametrize("method", ["rodas4", "rodas5p", "kvaerno5"])
def test_rates_that_depend_on_the_state(robertson, method):
    """The Jacobian holds dk/dy: without it 38 309 steps instead of about 100."""
    ts = np.geomspace(1e-2, 1e5, 8)
    truth = solve_ivp(
        *(thickening_field, (0, 1e5), [1.0, 0.0, 0.0], "Radau", ts),
        **{"rtol": 1e-11, "atol": 1e-16},
    ).y.T
    how = {"rtol": 1e-8, "atol": 1e-12, "method": method}
    found = jaxchem.solve(robertson, thickening, state("robertson"), ts, **how)
    np.testing.assert_allclose(found.ys, truth, rtol=1e-6)
    if method == "rodas5p":
        assert found.stats["num_steps"] <= 600
    system = System(robertson, thickening)
    again = jaxchem.solve(system, state("robertson"), ts=ts, **how)
    np.testing.assert_array_equal(again.ys, found.ys)


def warming(t, y):
    """A chain's heat of reaction and a cooling to 300 K; D is emitted too."""
    heat = 40.0 * y[0] + 5.0 * y[1] - 0.3 * (y[4] - 300.0)
    return jnp.stack([0.0 * heat, 0.0 * heat, 0.02 * (1.0 + jnp.sin(t)), 0.0 * heat, heat])


def warm_rates(t, y):
    return jnp.array([1.0, 10.0, 2.0, 0.1]) * jnp.exp(-2000.0 * (1.0 / y[4] - 1.0 / 300.0))


def warming_field(t, y):
    k = np.array([1.0, 10.0, 2.0, 0.1]) * np.exp(-2000.0 * (1.0 / y[4] - 1.0 / 300.0))
    r = k * np.array([y[0], y[1], y[2], y[2]])
    heat = 40.0 * y[0] + 5.0 * y[1] - 0.3 * (y[4] - 300.0)
    emitted = 0.02 * (1.0 + np.sin(t))
    return np.array([-r[0], r[0] - r[1] + r[2], r[1] - r[2] - r[3] + emitted, r[3], heat])


START = np.array([1.0, 0.5, 0.1, 0.0, 290.0])


@pytest.fixture(scope="module")
def warm():
    return System(table.loads(CHAIN), warm_rates, {"temperature": "K"}, warming)


@pytest.mark.parametrize(
    "settings", [{}, {"adjoint": "direct", "max_steps": 4096}, {"method": "kvaerno5"}]
)
def test_a_temperature_of_its_own(warm, settings):
    ts = np.array([0.1, 1.0, 10.0])
    truth = solve_ivp(warming_field, (0, 10.0), START, "Radau", ts, rtol=1e-11, atol=1e-13).y.T
    found = jaxchem.solve(warm, START, ts, rtol=1e-8, atol=1e-12, **settings)
    np.testing.assert_allclose(found.ys, truth, rtol=1e-6)


def test_a_reference_of_a_system(warm):
    """SciPy's trajectories of a system, its temperature included, land on every output."""
    ts = np.array([0.1, 1.0, 10.0])
    truth = solve_ivp(warming_field, (0, 10.0), START, "Radau", ts, rtol=1e-11, atol=1e-13).y.T
    found = jaxchem.generate(warm, START[None], ts, progress=False)
    np.testing.assert_allclose(found["concentration"][0], truth[:, :-1], rtol=1e-6)
    np.testing.assert_allclose(found["temperature"][0], truth[:, -1], rtol=1e-8)
    assert float(found["initial_temperature"][0]) == 290.0
    with pytest.raises(TypeError, match=r"generate\(system, y0, ts\) wants 2 arguments"):
        jaxchem.generate(warm, START[None])


def test_what_a_system_says_of_itself(warm, robertson):
    assert warm.states == ("A", "B", "D", "E", "temperature")
    assert warm.units == ("1", "1", "1", "1", "K")
    assert warm.k_reads == (4,) and warm.tendency_reads == (0, 1, 4) and not warm.autonomous
    np.testing.assert_array_equal(warm.conserved, [[1, 1, 1, 1, 0]])
    np.testing.assert_array_equal(warm.y0({"A": 1.0, "temperature": 9.0}), [1, 0, 0, 0, 9])
    assert warm.index("temperature") == 4 and warm.index("D") == 2
    clock = System(robertson, lambda t: t * jnp.ones(3))
    assert not clock.autonomous and not clock.k_reads
    still = System(robertson, lambda t, y: 0.0 * jnp.sum(y) + jnp.ones(3))
    assert still.autonomous and still.k_reads == (0, 1, 2)
    assert System(robertson, lambda t, y: jnp.ones(3)).autonomous
    named = System(robertson, lambda t, y=None: t * jnp.ones(3))
    other = System(robertson, lambda t, scale=2.0: scale * t * jnp.ones(3))
    for one in (named, other):
        assert not one.k_reads
    np.testing.assert_array_equal(other.rates(1.0, jnp.zeros(3)), 2 * np.ones(3))
    plain = System(robertson, robertson.rates())
    assert plain.plain and plain.autonomous and not warm.plain
    np.testing.assert_array_equal(plain.pattern, robertson.pattern())


def test_field_and_jacobian(warm, robertson):
    """Against differences of the right-hand sides that are written out above."""
    for system, field, y in (
        (warm, warming_field, START),
        (System(robertson, thickening), thickening_field, np.array([0.7, 1e-3, 0.3])),
    ):
        y, t = jnp.asarray(y), 0.7
        np.testing.assert_allclose(system.field(t, y), field(t, y), rtol=1e-12)
        steps = 1e-6 * np.diag(1e-2 + np.abs(np.asarray(y)))
        columns = [(field(t, y + s) - field(t, y - s)) / (2 * s.max()) for s in steps]
        found = np.asarray(system.jacobian(t, y))
        np.testing.assert_allclose(found, np.stack(columns, 1), rtol=1e-5, atol=1e-6)
        assert not np.any(found[~system.pattern])


def test_no_derivatives_are_taken_of_what_is_constant(robertson):
    """Under rates of time alone the Jacobian is the written one: no product with [R, S]."""
    system = System(robertson, lambda t: (1.0 + t) * jnp.asarray(ROBERTSON))
    y = jnp.array([0.7, 1e-3, 0.3])
    program = str(jax.make_jaxpr(system.jacobian)(1.0, y))
    assert "dot_general" not in program
    np.testing.assert_array_equal(
        system.jacobian(1.0, y), jaxchem.jacobian(robertson, 2.0 * jnp.asarray(ROBERTSON), y)
    )


def test_derivatives_by_parameters_of_the_functions(warm):
    """Forward and reverse, of what a rate function and a tendency close over."""
    network, ts = table.loads(CHAIN), jnp.array([3.0])

    def end(p, adjoint):
        system = System(
            network,
            lambda t, y: p[0] * warm_rates(t, y),
            {"temperature": "K"},
            lambda t, y: p[1] * warming(t, y),
        )
        how = {"rtol": 1e-9, "atol": 1e-12, "adjoint": adjoint}
        return jaxchem.solve(system, START, ts, **how).ys[-1]

    def truth(p):
        def field(t, y):
            mass_action = warming_field(t, y) - np.asarray(warming(t, y))
            return p[0] * mass_action + p[1] * np.asarray(warming(t, y))

        return solve_ivp(field, (0, 3.0), START, "Radau", rtol=1e-10, atol=1e-12).y[:, -1]

    p = np.array([1.1, 0.8])
    steps = 1e-4 * np.eye(2)
    expected = np.stack([(truth(p + s) - truth(p - s)) / 2e-4 for s in steps], axis=1)
    reverse = jax.jacrev(lambda p: end(p, "reverse"))(jnp.asarray(p))
    forward = jax.jacfwd(lambda p: end(p, "forward"))(jnp.asarray(p))
    for found in (reverse, forward):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_batches(warm):
    """Each member as it is alone, under jit; a system passes into a compiled function."""
    ts, starts = jnp.array([0.5, 5.0]), jnp.stack([jnp.asarray(START), 1.02 * jnp.asarray(START)])
    run = eqx.filter_jit(
        lambda system, starts: jax.vmap(lambda y: jaxchem.solve(system, y, ts, rtol=1e-7).ys)(
            starts
        )
    )
    found = run(warm, starts)
    for member, start in zip(found, starts, strict=True):
        np.testing.assert_allclose(member, jaxchem.solve(warm, start, ts, rtol=1e-7).ys, rtol=1e-5)


# What else takes a system


def test_budgets(warm):
    network, y, t = warm.network, jnp.asarray(START), 0.3
    k = warm_rates(t, START)
    by_system = jaxchem.contributions(warm, y, "B", t=t)
    assert by_system == jaxchem.contributions(network, k, y[:4], "B")
    np.testing.assert_array_equal(
        jaxchem.lifetimes(warm, y, t=t), jaxchem.lifetimes(network, k, y[:4])
    )
    ts = jnp.array([0.3, 2.0])
    course = jaxchem.over_time(warm, (ts, jnp.stack([y, y])), "B")
    one = jaxchem.over_time(network, lambda t: k, (ts, jnp.stack([y, y])[:, :4]), "B")
    np.testing.assert_array_equal(course.production, one.production)


def test_datasets(warm):
    ts = np.array([0.1, 1.0])
    found = jaxchem.solve(warm, START, ts)
    dataset = jaxchem.to_dataset(warm, found, y0=START)
    assert dataset["concentration"].shape == (1, 2, 4)
    assert dataset["temperature"].dims == ("case", "time")
    assert dataset["temperature"].attrs["units"] == "K"
    np.testing.assert_array_equal(dataset["temperature"][0], found.ys[:, 4])
    np.testing.assert_array_equal(dataset["initial"][0], START[:4])
    np.testing.assert_array_equal(dataset["initial_temperature"], [290.0])
    with pytest.raises(ValueError, match=r"'chain'.*\(case, 2, 5\)"):
        jaxchem.to_dataset(warm, (ts, np.ones((1, 2, 4))))


def test_explanations(warm):
    found = jaxchem.solve(warm, START, [1e-6, 1.0], max_steps=3, throw=False)
    text = jaxchem.explain(warm, found)
    assert "temperature" in text and "changes by a factor e" in text


def test_steady_state(robertson):
    """A second-order loss whose coefficient falls with its own product, and a heated box."""
    network = table.loads(CHAIN.replace("D -> E ; 0.1", "E -> A ; 0.1").replace("D -> B", "D -> E"))
    # A -> B -> D -> E -> A is a ring: currents are equal, k1 A = k2 B = k3 D = k4 E
    p = jnp.array([1.0, 2.0])

    def rest(p):
        system = System(
            network,
            lambda t, y: jnp.array([1.0, 10.0, 2.0, 0.1]) * p[0] * (y[4] / 300.0),
            {"temperature": "K"},
            lambda t, y: jnp.zeros(5).at[4].set(p[1] * (400.0 - y[4])),
        )
        start = jnp.array([1.0, 0.0, 0.0, 0.0, 300.0])
        return jaxchem.solve_to_steady_state(system, start, longest=1e3).y

    shares = 1 / np.array([1.0, 10.0, 2.0, 0.1])
    np.testing.assert_allclose(rest(p)[:4], shares / shares.sum(), rtol=1e-9)
    np.testing.assert_allclose(rest(p)[4], 400.0, rtol=1e-12)
    np.testing.assert_allclose(jax.jacfwd(rest)(p), 0.0, atol=1e-9)

    def emitted(e):
        """A comes at the rate e and goes through the chain: A = e / k1; nothing is conserved."""
        open_chain = table.loads(CHAIN.replace("D -> E ; 0.1 ; S1", "D -> ; 0.1 ; S1"))
        system = System(
            open_chain, open_chain.rates(), None, lambda t, y: jnp.zeros(4).at[0].set(e)
        )
        return jaxchem.solve_to_steady_state(system, jnp.zeros(4), longest=1e3).y

    # D: e / 0.1; B: (e + 2 D) / 10
    np.testing.assert_allclose(emitted(3.0), [3.0, 6.3, 30.0, 0.0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(jax.grad(lambda e: emitted(e)[1])(3.0), 2.1, rtol=1e-9)
    with pytest.raises(ValueError, match="depends on time"):
        jaxchem.solve_to_steady_state(
            network, lambda t: (1 + t) * jnp.ones(4), jnp.ones(4), longest=1e3
        )


# Bad input


@pytest.mark.parametrize(
    ("k", "further", "tendency", "words"),
    [
        (lambda t: jnp.ones(4), None, None, r"rate function gives \(4,\).*shape \(3,\)"),
        (lambda t, y: [1.0, 2.0, 3.0], None, None, r"gives list.*shape \(3,\)"),
        (lambda t, y, z: jnp.ones(3), None, None, r"takes \(t, y, z\).*k\(t, y\)"),
        (lambda: jnp.ones(3), None, None, r"takes \(\).*k\(t\)"),
        (lambda t: jnp.ones(3) * float(t), None, None, "cannot be traced by JAX"),
        (np.ones(4), None, None, r"k has shape \(4,\)"),
        (np.ones(3), {"B": "K"}, lambda t, y: y, "'B' has the name of a species"),
        (np.ones(3), {"T": "K"}, None, "T want a tendency"),
        (np.ones(3), {"T": "K"}, lambda t, y: y[:3], r"tendency gives \(3,\).*\(4,\)"),
        (np.ones(3), {"T": "K"}, lambda t, y: np.sin(y), "tendency cannot be traced"),
    ],
)
def test_bad_systems(robertson, k, further, tendency, words):
    with pytest.raises(ValueError, match=words):
        System(robertson, k, further, tendency)


def test_bad_starts(robertson, warm):
    y0, ts = state("robertson"), [1.0]
    with pytest.raises(ValueError, match=r"'A -> B' is nan at the start, t = 0"):
        jaxchem.solve(robertson, lambda t: jnp.ones(3) * jnp.sin(t) / t, y0, ts)
    with pytest.raises(ValueError, match=r"'A -> B' is inf at the start, t = 0"):
        jaxchem.solve(robertson, lambda t: jnp.ones(3) / t, y0, ts)
    bad = System(robertson, np.ones(3), {"T": "K"}, lambda t, y: jnp.sqrt(-y))
    with pytest.raises(ValueError, match="tendency of 'A' is nan"):
        jaxchem.solve(bad, [1.0, 0.0, 0.0, 3.0], ts)
    with pytest.raises(ValueError, match=r"initial value of 'temperature' is nan.*finite \(K\)"):
        jaxchem.solve(warm, [1.0, 0, 0, 0, np.nan], ts)
    with pytest.raises(ValueError, match=r"y0 has shape \(4,\).*5 states"):
        jaxchem.solve(warm, START[:4], ts)
    with pytest.raises(ValueError, match="lacks temperature"):
        warm.y0({"A": 1.0})
    with pytest.raises(TypeError, match=r"solve\(system, y0, ts\) wants 2 arguments.* got 3"):
        jaxchem.solve(warm, np.ones(4), START, ts)
    with pytest.raises(TypeError, match=r"solve\(network, k, y0, ts\) wants 3"):
        jaxchem.solve(robertson, np.ones(3), y0)
    kept = []
    jax.jit(lambda x: kept.append(x) or x)(1.0)
    with pytest.raises(ValueError, match=r"traced by a jax\.jit"):
        jaxchem.solve(robertson, lambda t: kept[0] * jnp.ones(3), y0, ts)


def test_rates_of_time_as_before(robertson):
    """One and two arguments, against scipy; arguments by keyword."""
    reference = Reference.read("robertson")
    ts = np.array([0.5, 30.0])
    truth = reference.solve(
        lambda t: np.asarray(ROBERTSON) * (1 + 0.5 * np.sin(t)), {"A": 1.0}, ts, rtol=1e-10
    )
    for k in (
        lambda t: jnp.asarray(ROBERTSON) * (1 + 0.5 * jnp.sin(t)),
        lambda t, y: jnp.asarray(ROBERTSON) * (1 + 0.5 * jnp.sin(t)),
    ):
        found = jaxchem.solve(robertson, k=k, y0=state("robertson"), ts=ts, rtol=1e-8)
        np.testing.assert_allclose(found.ys, truth, rtol=1e-6)
        assert diffrax.is_successful(found.result)


def test_prints_are_short():
    network = jaxchem.load("osu29")
    given = {"cosmic_ray_rate": 1e-16, "density": 1e4}
    k = network.rates(temperature=lambda t: 10.0 + t, **given)
    assert repr(k).splitlines() == [
        "Rates of network osu29, of time",
        "temperature [K]: function of time",
        "cosmic_ray_rate [s-1]: 1e-16",
    ]
    first = "System of Network osu29: osu_09_2008 subset of Sulzer & Buck"
    for rates, told in (
        (k, "a function of time"),
        (lambda t: k(t), "a function of time"),
        (lambda t, y: k(t), "a function of time and state"),
        (network.rates(temperature=10.0, **given), "constant"),
    ):
        lines = repr(jaxchem.System(network, rates)).splitlines()
        assert lines[0].startswith(first) and len(lines) == 4
        assert lines[2] == f"rate coefficients: {told}"
    system = jaxchem.System(network, k, {"heat": "K"}, lambda t, y: 0.0 * y)
    assert repr(system).splitlines()[1::2] == [
        "further states: heat [K]",
        "tendency: mass action and one of its own",
    ]
