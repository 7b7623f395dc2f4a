"""The Rosenbrock methods in plain JAX: against the compiled kernel, SciPy and differences."""

import functools
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import CHAIN, CONDITIONS, Reference, examples, initial, saprc99, state

import jaxchem
from jaxchem import System
from jaxchem.parse import table
from jaxchem.solvers import lanes, levels, lockstep, native
from jaxchem.solvers.elimination import order_of_elimination
from jaxchem.solvers.integrator import METHODS

compiled = pytest.mark.skipif(not native.available(), reason="there is no C compiler")

POOLED = """name = pooled
units = 1, s
[species]
A = ?
B = ?
D = ?
[pools]
ALL = A + 2.5 B + 0.125 D
[sources]
S1 = Nobody (1900)
[reactions]
A -> B ; 2.0 * ALL ; S1
2 B -> B + D ; 3000.0 ; S1
D -> A ; 0.5 ; S1
"""

WARM = CHAIN.replace("A -> B ; 1 ;", "A -> B ; arrhenius(1e3, 2000) ;")


@pytest.fixture
def without(monkeypatch):
    """Runs a function with the kernel away."""

    def run(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(native, "available", lambda: False)
            return function(*arguments)

    return run


def alike(solve, without, *arguments, rtol=1e-9, floor=0.0):
    """The same steps, and the same states where these are above a share of the largest."""
    kernel, ours = solve(*arguments), without(solve, *arguments)
    for name in ("num_accepted_steps", "num_rejected_steps"):
        np.testing.assert_array_equal(ours.stats[name], kernel.stats[name])
    np.testing.assert_array_equal(ours.result == kernel.result, True)
    known = np.asarray(kernel.ys)
    scale = floor * np.max(np.abs(known), initial=0.0, where=np.isfinite(known))
    np.testing.assert_allclose(ours.ys, kernel.ys, rtol=rtol, atol=scale)
    np.testing.assert_allclose(ours.stats["last_step"], kernel.stats["last_step"], rtol=1e-6)
    return ours


# Sums and eliminations


@settings(max_examples=15, deadline=None)
@given(example=examples(), seed=st.integers(0, 2**16))
def test_eliminations_of_any_network(example, seed):
    """Products and solutions, of matrices and their transposes, are NumPy's."""
    network, random = table.loads(example.text), np.random.default_rng(seed)
    size = len(network.species)
    pattern = network.pattern()
    elimination = levels.plan(*_filled(pattern))
    matrix = pattern[..., None] * random.uniform(-1, 1, (size, size, 3))
    matrix += size * np.eye(size)[..., None]
    right = random.uniform(-1, 1, (size, 3))
    entries = jnp.asarray(matrix[elimination.rows, elimination.columns])
    entries = jnp.concatenate([entries, jnp.zeros((2, 3))])
    many = np.moveaxis(matrix, -1, 0)
    for way in (elimination, levels.Dense(elimination)):
        factors: Any = way.factorise(entries)
        for turned, transposed in ((many, False), (np.swapaxes(many, 1, 2), True)):
            expected = np.linalg.solve(turned, right.T[..., None])[..., 0].T
            ours = way.solve(factors, jnp.asarray(right), transposed)
            np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-13)
    product = np.einsum("ijb,jb->ib", matrix, right)
    ours = elimination.multiply(entries, jnp.asarray(right))
    np.testing.assert_allclose(ours, product, rtol=1e-12, atol=1e-12)


def _filled(pattern):
    order, row, column = order_of_elimination(*np.nonzero(pattern), len(pattern))
    return order, order[row], order[column]


def test_sums_longer_than_an_operation():
    random = np.random.default_rng(0)
    matrix = random.uniform(-1, 1, (3, 200)) * (random.uniform(size=(3, 200)) < [[1], [0.1], [0.0]])
    x = random.uniform(-1, 1, (200, 4))
    made = levels.sums((3, 200), *np.nonzero(matrix), matrix[np.nonzero(matrix)])
    found = levels.total(made, jnp.asarray(x))
    np.testing.assert_allclose(found, matrix @ x, rtol=1e-13, atol=1e-13)


# Against the kernel


@compiled
@pytest.mark.parametrize("method", ["rodas3", "rodas4", "rodas5p"])
@pytest.mark.parametrize("output", ["step", "interpolate"])
def test_the_steps_of_the_kernel(without, method, output):
    network, y0 = jaxchem.load("robertson"), state("robertson")
    ts = jnp.geomspace(1e-3, 1e5, 12)

    def solve(k):
        return jaxchem.solve(network, k, y0, ts, t0=-0.5, method=method, output=output)

    alike(solve, without, network.rates())


@compiled
@pytest.mark.parametrize("name", ["pollu", "aoxid", "osu29"])
def test_networks_that_ship(without, name):
    """In a batch of unlike cells; pools are among them."""
    network, y0 = jaxchem.load(name), state(name)
    k = network.rates(**CONDITIONS[name])
    ts = jnp.array([0.1, 1.0, 60.0]) * (1e9 if name == "osu29" else 1.0)
    cells = y0[None] * jnp.geomspace(0.1, 10.0, 5)[:, None]

    def solve(cells):
        how = {"method": "rodas4", "rtol": 1e-5}
        return jax.vmap(lambda y: jaxchem.solve(network, k, y, ts, **how))(cells)

    alike(solve, without, cells, floor=1e-18)


@compiled
def test_saprc99_under_varying_rates(without):
    network, y0, _, _ = saprc99()
    k = network.rates()

    def solve(y0):
        def sun(t):
            return k * (0.6 + 0.4 * jnp.cos(t / 13750.0))

        how = {"method": "rodas4", "rtol": 1e-4, "atol": 1e-3}
        return jaxchem.solve(network, sun, y0, [900.0, 7200.0], t0=300.0, **how)

    alike(solve, without, jnp.asarray(y0), floor=1e-14)


def warming(t, y):
    """A temperature that relaxes to what B warms it to, and an emission of A."""
    heat = 20.0 * y[1] - 0.5 * (y[4] - 290.0 - jnp.sin(t))
    return jnp.stack([0.1 * jnp.cos(t) ** 2, 0.0 * t, 0.0 * t, 0.0 * t, heat])


def warm(scale):
    network = table.loads(WARM)

    def rates(t, y):
        return scale * network.rates(temperature=y[4])

    return System(network, rates, {"temperature": "K"}, warming)


START = jnp.array([1.0, 0.5, 0.1, 0.1, 300.0])


@compiled
@pytest.mark.parametrize("output", ["step", "interpolate"])
def test_further_states(without, output):
    ts = jnp.array([0.3, 1.0, 10.0])

    def solve(scale):
        how = {"rtol": 1e-7, "atol": 1e-10, "output": output}
        return jaxchem.solve(warm(scale), START, ts, t0=0.2, **how)

    alike(solve, without, 1.3)
    many = jax.jit(jax.vmap(lambda scale: solve(scale)))
    alike(many, lambda run, x: without(jax.vmap(solve), x), jnp.array([0.5, 1.0, 2.0]))


@compiled
@pytest.mark.parametrize("negative", ["reject", "project"])
def test_what_becomes_of_negative_concentrations(without, negative):
    network = jaxchem.load("robertson")

    def solve(y0):
        how = {"rtol": 1e-2, "atol": 1e-8, "negative": negative, "method": "rodas4"}
        return jaxchem.solve(network, network.rates(), y0, [1.0, 1e4, 1e8, 1e11], **how)

    # A then is what round-off leaves of the sum
    ours = alike(solve, without, state("robertson"), floor=1e-14)
    assert float(np.min(ours.ys)) >= (0.0 if negative == "project" else -1e-8)


@compiled
def test_failures(without):
    """A limit of steps, and a NaN in one cell, which leaves the others alone."""
    network, ts = jaxchem.load("robertson"), jnp.geomspace(1e-2, 1e4, 5)
    ks = jnp.linspace(0.5, 2.0, 6)[:, None] * network.rates()[None]

    def solve(ks, most):
        how = {"throw": False, "max_steps": most, "method": "rodas4"}
        y0 = state("robertson")
        return jax.vmap(lambda k: jaxchem.solve(network, k, y0, ts, **how))(ks)

    good = without(solve, ks, 1000)
    bad = alike(solve, without, ks.at[2, 1].set(jnp.nan), 1000)
    np.testing.assert_array_equal(bad.result == diffrax.RESULTS.nonfinite, np.arange(6) == 2)
    others = np.delete(np.arange(6), 2)
    np.testing.assert_array_equal(np.asarray(bad.ys)[others], np.asarray(good.ys)[others])
    short = alike(solve, without, ks, 40)
    assert np.all(short.result == diffrax.RESULTS.max_steps_reached)
    assert np.all(short.stats["num_steps"] == 40)


@compiled
def test_outputs_at_the_start(without):
    """Some of the times, or all, are that of the start."""
    network = jaxchem.load("robertson")

    def solve(ts):
        how = {"t0": 1.0, "throw": False}
        return jaxchem.solve(network, network.rates(), state("robertson"), ts, **how).ys

    for ts in ([1.0], [1.0, 2.0]):
        found = without(solve, ts)
        np.testing.assert_array_equal(found[0], state("robertson"))
        np.testing.assert_allclose(found, solve(ts), rtol=1e-12)


# Lanes


@pytest.mark.parametrize("per_cell", [True, False])
def test_lanes_take_one_cell_after_the_other(per_cell):
    """Many more cells than lanes, some much slower than others, and each as on its own."""
    network = jaxchem.load("robertson")
    count, width = 13, 4
    factors = jnp.geomspace(1e-3, 1e3, count)
    y0 = state("robertson")[None] * jnp.roll(factors, 5)[:, None]
    k = network.rates()[None] * (factors[:, None] if per_cell else 1.0)
    ts = jnp.array([[1e-2, 1.0, 1e3]])
    rest = (jnp.zeros(count), jnp.array([1e-6]), jnp.full((1, 3), 1e-12), jnp.zeros(1))
    tableau = METHODS["rodas4"].tableau

    def run(cells, most):
        rows = (k if len(k) == 1 else k[cells], y0[cells], ts, rest[0][cells], *rest[1:])
        call = functools.partial(lockstep._call, most=most)
        directions = {"dy0": jnp.ones((len(cells), 1, 3)), "dk": jnp.ones((1, 1, 3))}
        directions["dnumbers"] = jnp.zeros((1, 1, 0))
        cotangent = jnp.ones((len(cells), 2, 3, 3))
        plain = native.march(network, tableau, *rows, call=call)
        forward = native.march(network, tableau, *rows, call=call, **directions)
        back = native.march(network, tableau, *rows, call=call, cotangent=cotangent)
        return plain, forward.dys, back.pulled

    together = run(np.arange(count), width)
    assert len(np.unique(np.asarray(together[0].accepted))) > 3
    for cell in range(count):
        alone = run(np.array([cell]), None)
        for many, one in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(many[cell], one[0], rtol=1e-9, atol=1e-300)


def test_lanes_are_bounded_by_the_network(monkeypatch):
    """Neither on a processor nor elsewhere do lanes work on more than a gigabyte."""
    network = jaxchem.load("osu29")
    settings = native.Settings(
        network.structure, METHODS["rodas5p"].tableau, 10, True, 0, None, False
    )
    count = 100_000
    rows = (np.zeros((count, 29)), np.zeros((1, 224)), np.zeros((1, 1)), np.zeros(count))
    cells = lanes.Cells(
        *map(jnp.asarray, (*rows, np.zeros(1), np.zeros((1, 29)), np.zeros(1), np.zeros((1, 0))))
    )
    march = lanes.March(settings, cells)
    assert march.lanes(None) <= 1024
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert march.lanes(None) > 1024 and march.lanes(None) * 8 * len(march.tables.constant) < 2**30


# Derivatives


def _networks():
    pooled = table.loads(POOLED)
    return {
        "robertson": (jaxchem.load("robertson"), state("robertson")),
        "pooled": (pooled, jnp.array([0.3, 0.6, 0.9])),
    }


@compiled
@pytest.mark.parametrize("name", ["robertson", "pooled"])
@pytest.mark.parametrize("output", ["step", "interpolate"])
def test_derivatives_are_those_of_the_kernel(without, name, output):
    """By coefficients, states and times, rates being functions; and the modes are transposes."""
    network, y0 = _networks()[name]
    ts, random = jnp.array([0.0, 0.5, 3.0, 10.0]), np.random.default_rng(0)
    weights = jnp.asarray(random.normal(size=(4, 3)))
    at = (jnp.log(network.rates()), y0, ts)
    changes = tuple(jnp.asarray(random.normal(size=x.shape)) * 1e-2 for x in at)

    def loss(log_k, y0, ts, adjoint):
        def k(t, y):
            return jnp.exp(log_k) * (1 + 0.1 * jnp.sin(t) + 0.1 * jnp.exp(-y[0]))

        how = {"rtol": 1e-6, "adjoint": adjoint, "output": output, "method": "rodas4"}
        return jnp.sum(weights * jaxchem.solve(network, k, y0, ts, **how).ys)

    def derivatives():
        _, forward = jax.jvp(lambda *x: loss(*x, "forward"), at, changes)
        return forward, jax.grad(loss, argnums=(0, 1, 2))(*at, "reverse")

    ours, theirs = without(derivatives), derivatives()
    for found, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        scale = 1e-12 * np.max(np.abs(expected))
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=scale)
    pulled = sum(float(jnp.vdot(g, c)) for g, c in zip(ours[1], changes, strict=True))
    assert pulled == pytest.approx(float(ours[0]), rel=1e-9)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivatives_of_a_system_against_differences(without, mode):
    ts = jnp.array([0.5, 2.0])

    def end(scale):
        return jaxchem.solve(warm(scale), START, ts, rtol=1e-9, atol=1e-12).ys[-1]

    ours = without(jax.jit(mode(end)), 1.3)
    step = 1e-4
    differences = (without(end, 1.3 + step) - without(end, 1.3 - step)) / (2 * step)
    np.testing.assert_allclose(ours, differences, rtol=1e-5, atol=1e-7)


def test_derivatives_in_batches(without):
    """Many directions of many cells, of which one fails; each as on its own."""
    network, ts = jaxchem.load("robertson"), jnp.array([1e-2, 1.0, 1e3])
    batch = jnp.log(network.rates())[None] + jnp.log(jnp.geomspace(0.1, 10.0, 4))[:, None]
    batch = batch.at[2, 0].set(jnp.nan)

    def slopes(log_k, mode, adjoint):
        how = {"adjoint": adjoint, "throw": False, "method": "rodas4"}
        y0 = state("robertson")
        return mode(lambda k: jaxchem.solve(network, jnp.exp(k), y0, ts, **how).ys[-1])(log_k)

    for mode, adjoint in ((jax.jacfwd, "forward"), (jax.jacrev, "reverse")):
        run = functools.partial(slopes, mode=mode, adjoint=adjoint)
        many = without(jax.jit(jax.vmap(run)), batch)
        assert np.isnan(many[2]).all()
        for cell in (0, 3):
            np.testing.assert_allclose(many[cell], without(run, batch[cell]), rtol=1e-9)


def test_long_solves_go_back_over_states_that_were_kept(without):
    """The chain of a first-order decay over many more steps than are kept at once."""
    network = table.loads(CHAIN)

    def end(y0, most):
        ts = jnp.linspace(0.01, 1.0, 50)
        how = {"rtol": 1e-6, "max_steps": most, "dt0": 1e-3}
        return jaxchem.solve(network, network.rates(), y0, ts, **how).ys[-1, 0]

    y0 = jnp.array([1.0, 0.5, 0.1, 0.1])
    for most in (60, 100_000):
        slope = without(jax.grad(functools.partial(end, most=most)), y0)
        np.testing.assert_allclose(slope, [np.exp(-1.0), 0, 0, 0], rtol=1e-6, atol=1e-12)


# Truth, and other kinds of numbers


@pytest.mark.parametrize("name", ["robertson", "pollu"])
def test_against_scipy(without, name):
    network, reference = jaxchem.load(name), Reference.read(name)
    ts = np.array([1.0, 1e5] if name == "robertson" else [1.0, 60.0])
    expected = reference.solve(reference.k(), initial(name), ts, rtol=1e-10, atol=1e-20)
    for output in ("step", "interpolate"):
        found = without(
            lambda output=output: jaxchem.solve(
                network, network.rates(), state(name), ts, rtol=1e-8, output=output
            )
        )
        np.testing.assert_allclose(found.ys, expected, rtol=2e-5, atol=1e-12 * expected.max())


def test_float32():
    network = jaxchem.load("robertson")
    k, y0 = network.rates(), state("robertson")
    exact = jaxchem.solve(network, k, y0, [40.0, 1e4], rtol=1e-8).ys
    found = jaxchem.solve(network, k, y0.astype(jnp.float32), [40.0, 1e4], rtol=1e-4)
    assert found.ys.dtype == jnp.float32
    np.testing.assert_allclose(found.ys, exact, rtol=2e-4)
    system = warm(1.0)
    exact = jaxchem.solve(system, START, [1.0], rtol=1e-8).ys
    found = jaxchem.solve(system, START.astype(jnp.float32), [1.0], rtol=1e-4).ys
    np.testing.assert_allclose(found, exact, rtol=1e-3)


@compiled
def test_nested_batches(without):
    network, y0 = jaxchem.load("robertson"), state("robertson")
    factors = jnp.array([0.5, 1.0, 2.0])

    def end(f, g):
        return jaxchem.solve(network, network.rates() * f, y0 * g, [1e3]).ys[-1]

    twice = jax.jit(jax.vmap(lambda f: jax.vmap(lambda g: end(f, g))(factors)))
    expected = twice(factors)
    found = without(jax.vmap(lambda f: jax.vmap(lambda g: end(f, g))(factors)), factors)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_other_values_do_not_compile_again(without, caplog):
    network, y0 = jaxchem.load("robertson"), state("robertson")

    def run(factor):
        k, ts = network.rates() * factor, [factor, 3.0 * factor]
        how = {"rtol": 1e-4 * factor, "atol": 1e-8 * factor, "t0": 0.1 * factor}
        return np.asarray(jaxchem.solve(network, k, y0 * factor, ts, **how).ys)

    def twice():
        first = run(1.0)
        caplog.clear()
        with jax.log_compiles():
            return first, run(1.1)

    first, again = without(twice)
    assert "Compiling" not in caplog.text
    assert np.any(first != again)
