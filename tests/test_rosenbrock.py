"""Rosenbrock methods: order, the compiled kernel against diffrax, batches, failures."""

import os
import subprocess
import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CHAIN, CONDITIONS, POLLU_END, SHIPPED, Reference, initial, state

import jaxchem
from jaxchem.parse import table
from jaxchem.solvers import METHODS, Rodas3, Rodas4, Rodas5P, native
from jaxchem.solvers.rosenbrock import Rosenbrock

ROSENBROCK = tuple(name for name, method in METHODS.items() if issubclass(method, Rosenbrock))

compiled = pytest.mark.skipif(not native.available(), reason="there is no C compiler")


def photolysis(t, y, args):
    """Stiff, nonlinear, and driven by light that varies in time."""
    light = 1.0 + jnp.sin(2.0 * t)
    forward, back, loss = light * y[0], 50.0 * y[1] * y[2], 30.0 * y[1] ** 2
    decay = 0.5 * y[2] * (1.0 + 0.3 * jnp.cos(t))
    return jnp.stack([back - forward, forward - back - loss, loss - decay])


@pytest.fixture(scope="module")
def photolysed():
    reference = diffrax.diffeqsolve(
        diffrax.ODETerm(photolysis),
        diffrax.Dopri8(),
        0.0,
        1.0,
        1e-4,
        jnp.array([1.0, 0.1, 0.3]),
        saveat=diffrax.SaveAt(ts=jnp.linspace(0.03, 1.0, 37)),
        max_steps=None,
    )
    return np.asarray(reference.ys)


@pytest.mark.parametrize(
    ("method", "order", "between"), [(Rodas3, 3, 3), (Rodas4, 4, 3), (Rodas5P, 5, 4)]
)
def test_order_of_convergence(photolysed, method, order, between):
    """On a stiff non-autonomous problem: at the end of the steps, and of the dense output."""

    @jax.jit
    def run(step):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(photolysis),
            method(),
            0.0,
            1.0,
            step,
            jnp.array([1.0, 0.1, 0.3]),
            saveat=diffrax.SaveAt(ts=jnp.linspace(0.03, 1.0, 37)),
            max_steps=1000,
        ).ys

    counts = np.array([80, 160, 320])
    errors = np.abs([np.asarray(run(1.0 / n)) - photolysed for n in counts])
    ends, inside = errors[:, -1].max(axis=1), errors.max(axis=(1, 2))
    assert abs(np.log2(ends[-2] / ends[-1]) - order) <= 0.2
    assert np.log(inside[0] / inside[-1]) / np.log(4) >= between - 0.2


@pytest.mark.parametrize("method", ROSENBROCK)
def test_pollu_end_values(method):
    network = jaxchem.load("pollu")
    y0 = state("pollu")
    solution = jaxchem.solve(network, network.rates(), y0, [60.0], rtol=1e-7, method=method)
    ours = dict(zip(network.species, np.asarray(solution.ys[-1]), strict=True))
    for name, value in POLLU_END.items():
        assert ours[name] == pytest.approx(value, rel=1e-5)


@compiled
@pytest.mark.parametrize("name", SHIPPED)
def test_kernel_against_scipy(name):
    """Every network that ships, pools of species included, on and between output times."""
    network, reference = jaxchem.load(name), Reference.read(name)
    k = network.rates(**CONDITIONS[name])
    ts = {"robertson": [1.0, 1e5], "osu29": [1e6, 1e10]}.get(name, [1.0, 60.0])
    expected = reference.solve(
        reference.k(**CONDITIONS[name]), initial(name), np.asarray(ts), rtol=1e-10, atol=1e-20
    )
    scale = 1e-10 * expected.max()
    for settings in ({}, {"output": "interpolate"}):
        solution = jaxchem.solve(
            network, k, state(name), ts, method="rodas4", rtol=1e-7, **settings
        )
        np.testing.assert_allclose(solution.ys, expected, rtol=2e-5, atol=scale)


@compiled
def test_batches_of_every_shape():
    """What is vmapped over k, states, times, tolerances, or twice: single solves, bit for bit."""
    network = jaxchem.load("robertson")
    k, y0 = network.rates(), state("robertson")
    ts = jnp.array([1e-2, 1.0, 1e3])

    def end(k, y0, ts, rtol, t0=0.0):
        how = {"method": "rodas5p", "rtol": rtol, "t0": t0, "throw": False}
        return jaxchem.solve(network, k, y0, ts, **how).ys[-1]

    factors = jnp.array([0.5, 1.0, 2.0])
    alone = jax.jit(end)
    each = jax.jit(jax.vmap(lambda f: end(k * f, y0 * f, ts * f, 1e-6 * f, 1e-4 * f)))(factors)
    for f, found in zip(factors, each, strict=True):
        expected = alone(k * f, y0 * f, ts * f, 1e-6 * f, 1e-4 * f)
        np.testing.assert_array_equal(found, expected)
    twice = jax.vmap(lambda f: jax.vmap(lambda g: end(k * f, y0 * g, ts, 1e-6))(factors))(factors)
    np.testing.assert_array_equal(twice[2, 0], alone(k * 2.0, y0 * 0.5, ts, 1e-6))
    shared = jax.vmap(lambda g: jax.vmap(lambda f: end(k * f, y0, ts, 1e-6))(factors))(factors)
    np.testing.assert_array_equal(shared[1, 2], alone(k * 2.0, y0, ts, 1e-6))


@compiled
@pytest.mark.parametrize("name", ["pollu", "osu29"])
@pytest.mark.parametrize("varying", [False, True])
def test_a_cell_does_not_depend_on_its_neighbours(name, varying):
    """Alone and in a batch it takes the same steps and has the same bits."""
    network, y0 = jaxchem.load(name), state(name)
    rates = network.rates(**CONDITIONS[name])
    k = (lambda t, y: rates * (1 + 0.1 * jnp.exp(-t) + 0.1 * jnp.exp(-y[0]))) if varying else rates

    def solve(y0, output):
        ts = jnp.array([0.1, 60.0])
        return jaxchem.solve(network, k, y0, ts, method="rodas4", output=output)

    factors = 10 ** np.random.default_rng(0).uniform(-1, 1, (6, 1))
    cells = jnp.asarray(np.asarray(y0) * factors)
    for output in ("step", "interpolate"):
        batch = jax.vmap(lambda y0, output=output: solve(y0, output))(cells)
        for i, cell in enumerate(cells):
            alone = solve(cell, output)
            np.testing.assert_array_equal(batch.ys[i], alone.ys)
            assert batch.stats["num_steps"][i] == alone.stats["num_steps"]


@compiled
def test_bits_are_those_of_the_source():
    """Nor on what a compiler makes of the loops: without its vectors the bits are the same."""
    script = """
import jax, jaxchem, numpy as np
jax.config.update("jax_enable_x64", True)
network = jaxchem.load("osu29")
rates = network.rates(temperature=50.0, cosmic_ray_rate=1e-16)
y0 = np.linspace(0, 1, len(network.species)) ** 9
k = lambda t, y: rates * (1 + 0.1 * jax.numpy.exp(-y[0] - t / 1e9))
solve = lambda y0: jaxchem.solve(network, k, y0, [1e6, 1e9], method="rodas4").ys
for ys in (solve(y0), jax.vmap(solve)(np.stack([y0, 2 * y0]))):
    print(np.asarray(ys).tobytes().hex())
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"JAXCHEM_CFLAGS": flags},
            **{"check": True, "capture_output": True, "text": True},
        ).stdout
        for flags in ("", "-O1")
    ]
    assert said[0] == said[1]
    alone, batch = said[0].split()
    assert batch.startswith(alone)


@compiled
def test_other_values_do_not_compile_again(caplog):
    """Neither rates, states, times, tolerances nor conditions compile anything, outside of jit."""
    network, y0 = jaxchem.load("aoxid"), state("aoxid")

    def run(factor):
        k = network.rates(temperature=270.0 * factor) * factor
        ts = [factor, 3.0 * factor]
        how = {"rtol": 1e-4 * factor, "atol": 1e-3 * factor, "t0": 0.1 * factor}
        return jaxchem.solve(network, k, y0 * factor, ts, **how).ys

    first = run(1.0)
    caplog.clear()
    with jax.log_compiles():
        again = run(1.1)
    assert "Compiling" not in caplog.text
    assert np.any(np.asarray(again) != np.asarray(first))


@compiled
def test_one_bad_cell_leaves_the_others():
    network = jaxchem.load("robertson")
    ks = np.tile(np.asarray(network.rates()), (20, 1)) * np.linspace(0.5, 2.0, 20)[:, None]
    y0, ts = state("robertson"), np.geomspace(1e-2, 1e4, 5)

    def run(k, **settings):
        how = {"throw": False, "method": "rodas4", **settings}
        return jaxchem.solve(network, k, y0, ts, **how)

    good = jax.vmap(run)(jnp.asarray(ks))
    assert np.all(good.result == diffrax.RESULTS.successful)
    ks[7, 1] = np.nan
    batch = jax.vmap(run)(jnp.asarray(ks))
    np.testing.assert_array_equal(batch.result == diffrax.RESULTS.nonfinite, np.arange(20) == 7)
    assert float(batch.stats["end_time"][7]) == 0.0
    assert not np.isfinite(batch.ys[7]).any()
    others = np.delete(np.arange(20), 7)
    np.testing.assert_array_equal(np.asarray(batch.ys)[others], np.asarray(good.ys)[others])
    most = int(good.stats["num_steps"][0]) * 2 // 3
    short = run(jnp.asarray(ks[0]), max_steps=most)
    assert short.result == diffrax.RESULTS.max_steps_reached
    assert int(short.stats["num_steps"]) == most
    reached = np.asarray(ts) <= float(short.stats["end_time"])
    assert 0 < reached.sum() < len(ts)
    np.testing.assert_array_equal(np.isfinite(short.ys).all(axis=1), reached)
    with pytest.raises(RuntimeError, match="maximum number of solver steps"):
        run(jnp.asarray(ks[0]), max_steps=most, throw=True)


@compiled
def test_blow_up_is_told():
    """2 A -> 3 A from A = 1 has no solution beyond t = 1."""
    network = table.loads(CHAIN.replace("A -> B ; 1", "2 A -> 3 A ; 1"))
    y0 = network.y0({"A": 1.0})
    solution = jaxchem.solve(network, network.rates(), y0, [0.5, 2.0], method="rodas4", throw=False)
    assert solution.result != diffrax.RESULTS.successful
    assert float(solution.ys[0, 0]) == pytest.approx(2.0, rel=1e-4)
    assert float(solution.stats["end_time"]) == pytest.approx(1.0, rel=1e-3)


def test_explain_names_what_drives_a_failure():
    network, y0 = jaxchem.load("robertson"), state("robertson")
    k = np.asarray(network.rates())

    def told(k, first=1e-5, **settings):
        how = {"throw": False, **settings}
        return jaxchem.explain(network, k, jaxchem.solve(network, k, y0, [first, 1e4], **how))

    assert told(k).startswith("Solved. At t = 10000 s after ")
    for method in ("rodas4", "kvaerno5"):
        text = told(k, method=method, rtol=1e-10, max_steps=100)
        assert "maximum number of solver steps" in text
        assert "2 B -> B + C" in text
    assert "reaction 1, 2 B -> B + C: nan" in told(np.array([0.04, np.nan, 1e4]), method="rodas4")
    assert "No output time" in told(k, first=1e3, method="kvaerno5", max_steps=2)


@compiled
def test_a_network_with_too_many_reactants_goes_without_the_kernel():
    network = table.loads(CHAIN.replace("A -> B ; 1", "8 A -> 8 B ; 1"))
    y0 = network.y0({"A": 1.0})
    solution = jaxchem.solve(network, network.rates(), y0, [1.0], method="rodas4", rtol=1e-8)
    # dA/dt = -8 A^8
    assert float(solution.ys[-1, 0]) == pytest.approx(57.0 ** (-1 / 7), rel=1e-6)
    assert float(solution.ys[-1].sum()) == pytest.approx(1.0, rel=1e-10)


@compiled
def test_times_at_the_start_and_sources_from_nothing():
    text = CHAIN.split("A -> B")[0] + "-> A ; 3 ; S1\nA -> ; 2 ; S1\n"
    network = table.loads(text)
    y0, ts = network.y0({}), jnp.array([2.0, 3.0])
    solution = jaxchem.solve(network, network.rates(), y0, ts, t0=2.0, method="rodas5p", rtol=1e-9)
    np.testing.assert_array_equal(solution.ys[0], y0)
    assert float(solution.ys[1, 0]) == pytest.approx(1.5 * (1 - np.exp(-2.0)), rel=1e-7)


@pytest.mark.parametrize("method", ["rodas4", "rodas5p"])
def test_derivatives_of_rosenbrock_methods_agree(method):
    """Reverse = forward = differences of the compiled kernel."""
    network = jaxchem.load("robertson")
    log_k, y0 = jnp.log(network.rates()), state("robertson")

    def end(log_k, adjoint):
        how = {"method": method, "adjoint": adjoint, "rtol": 1e-9}
        return jnp.log(jaxchem.solve(network, jnp.exp(log_k), y0, [40.0], **how).ys[-1])

    reverse = jax.jit(jax.jacrev(lambda v: end(v, "reverse")))(log_k)
    forward = jax.jit(jax.jacfwd(lambda v: end(v, "forward")))(log_k)
    step = 1e-3
    differences = [
        (end(log_k + step * e, "reverse") - end(log_k - step * e, "reverse")) / (2 * step)
        for e in np.eye(3)
    ]
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(forward, np.stack(differences, axis=1), rtol=1e-5, atol=1e-5)


@compiled
@pytest.mark.parametrize("output", ["step", "interpolate"])
@pytest.mark.parametrize("name", ["aoxid", "pollu", "osu29"])
def test_forward_and_reverse_sensitivities_are_transposes(name, output):
    """To round-off, for pools and repeated reactants, states, rates and times."""
    network = jaxchem.load(name)
    k, y0 = network.rates(**CONDITIONS[name]), state(name)
    ts = jnp.array([0.5, 3.0, 10.0, 60.0]) * (1e9 if name == "osu29" else 1.0)
    random = np.random.default_rng(0)
    scale = np.maximum(np.asarray(y0), 1e-3 * float(y0.max()))
    weights = jnp.asarray(random.normal(size=(4, len(y0))) / scale)
    changes = [jnp.asarray(random.normal(size=a.shape)) for a in (k, y0, ts)]

    def loss(log_k, factor, ts, adjoint):
        how = {"method": "rodas4", "rtol": 1e-5, "adjoint": adjoint, "output": output}
        solution = jaxchem.solve(network, jnp.exp(log_k), y0 * factor, ts, **how)
        return jnp.sum(weights * solution.ys)

    at = (jnp.log(k), jnp.ones(len(y0)), ts)
    changes[2] = changes[2] * 1e-2 * ts
    _, forward = jax.jvp(lambda *a: loss(*a, "forward"), at, tuple(changes))
    gradient = jax.grad(lambda *a: loss(*a, "reverse"), argnums=(0, 1, 2))(*at)
    parts = [float(jnp.vdot(g, c)) for g, c in zip(gradient, changes, strict=True)]
    assert abs(sum(parts) - float(forward)) <= 1e-9 * max(map(abs, parts))


@compiled
def test_sensitivities_of_batches():
    """Many cells with many directions, of which one fails, each as on its own."""
    network = jaxchem.load("robertson")
    k, y0, ts = network.rates(), state("robertson"), jnp.array([1e-2, 1.0, 1e3])
    factors = jnp.geomspace(0.1, 10.0, 11)

    def end(log_k, adjoint):
        how = {"adjoint": adjoint, "throw": False}
        return jnp.log(jaxchem.solve(network, jnp.exp(log_k), y0, ts, **how).ys[-1])

    batch = jnp.log(k)[None] + jnp.log(factors)[:, None]
    forward = jax.jit(jax.vmap(jax.jacfwd(lambda v: end(v, "forward"))))
    reverse = jax.jit(jax.vmap(jax.jacrev(lambda v: end(v, "reverse"))))
    alone = [jax.jacfwd(lambda v: end(v, "forward"))(v) for v in batch]
    np.testing.assert_allclose(forward(batch), np.stack(alone), rtol=1e-12)
    np.testing.assert_allclose(reverse(batch), forward(batch), rtol=1e-9, atol=1e-12)
    spoilt = batch.at[3, 1].set(jnp.nan)
    others = np.delete(np.arange(11), 3)
    np.testing.assert_array_equal(forward(spoilt)[others], forward(batch)[others])

    def loss(log_k):
        ends = jax.vmap(lambda v: end(v, "reverse"))(log_k)
        good = jnp.isfinite(ends).all(axis=1, keepdims=True)
        return jnp.sum(jnp.where(good, jnp.where(good, ends, 1.0), 0.0))

    gradient = jax.grad(loss)(spoilt)
    assert np.isfinite(gradient[others]).all()


def test_varying_conditions():
    """A Rosenbrock method takes the change of the rates in time into account."""
    text = CHAIN.replace("A -> B ; 1", "A -> B ; arrhenius(2, 300)")
    network = table.loads(text)
    rates = network.rates(temperature=lambda t: 300.0 / (1.0 - 0.5 * t))
    y0 = network.y0({"A": 1.0})
    solution = jaxchem.solve(network, rates, y0, [1.0], method="rodas5p", rtol=1e-9)
    integral = 4.0 * np.exp(-1.0) * (np.exp(0.5) - 1.0)
    assert float(solution.ys[-1, 0]) == pytest.approx(np.exp(-integral), rel=1e-7)


def test_without_a_compiler_jax_takes_over(monkeypatch, tmp_path, caplog):
    """The reason is logged, and the solution is the same to round-off."""
    network, y0 = jaxchem.load("robertson"), state("robertson")
    solve = lambda: jaxchem.solve(network, network.rates(), y0, [1e3], method="rodas4", rtol=1e-8)  # noqa: E731
    before = solve()
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("JAXCHEM_CACHE", str(tmp_path))
    native._library.cache_clear()
    after = solve()
    native._library.cache_clear()
    assert "no-such-compiler" in caplog.text
    np.testing.assert_allclose(after.ys, before.ys, rtol=1e-10)


def test_a_rosenbrock_method_wants_a_vector():
    with pytest.raises(ValueError, match="one vector"):
        diffrax.diffeqsolve(diffrax.ODETerm(lambda t, y, _: -y), Rodas4(), 0, 1, 0.1, jnp.eye(2))
