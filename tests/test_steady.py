"""Steady states and their implicit derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CONDITIONS, EXCHANGE, state

import jaxchem
from jaxchem.parse import table


def test_an_exchange_comes_to_its_equilibrium():
    """A = B at rates a and 2 b B^2 each way: a A = b B^2 with A + B conserved."""
    network = table.loads(EXCHANGE)
    k, y0 = jnp.array([2.0, 0.5]), jnp.array([1.0, 0.0])

    def analytic(k, total):
        # dA/dt = -k0 A + 2 k1 B^2
        a, b = 2.0 * k[1], k[0]
        b = (-b + jnp.sqrt(b**2 + 4.0 * a * k[0] * total)) / (2.0 * a)
        return jnp.stack([total - b, b])

    def ours(k, y0):
        return jaxchem.solve_to_steady_state(network, k, y0, longest=100.0).y

    np.testing.assert_allclose(ours(k, y0), analytic(k, 1.0), rtol=1e-12)
    np.testing.assert_allclose(
        jax.jacrev(ours)(k, y0), jax.jacfwd(analytic)(k, 1.0), rtol=1e-10, atol=1e-12
    )
    by_total = jax.jit(jax.jacfwd(lambda f: ours(k, y0 * f)))(1.0)
    np.testing.assert_allclose(by_total, jax.jacfwd(lambda f: analytic(k, f))(1.0), rtol=1e-10)


@pytest.fixture
def optimised():
    """XLA's optimisations, as users have them: the rounding of conftest's setting is another."""
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, False)
    yield
    jax.config.update(name, before)


def test_dark_cloud_at_rest(optimised):
    """Against a much longer integration, and derivatives against differences."""
    network, y0 = jaxchem.load("osu29"), state("osu29")
    log_k = jnp.log(network.rates(**CONDITIONS["osu29"]))

    def rest(log_k):
        return jaxchem.solve_to_steady_state(network, jnp.exp(log_k), y0, longest=1e17)

    found = rest(log_k)
    assert bool(found.settled) and float(found.residual) < 1e-3
    assert 1e13 < float(found.time) < 1e17
    late = jaxchem.solve(network, jnp.exp(log_k), y0, [1e19], rtol=1e-9).ys[-1]
    big = np.asarray(late) > 1e-12 * float(late.max())
    np.testing.assert_allclose(np.asarray(found.y)[big], np.asarray(late)[big], rtol=1e-6)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=log_k.shape))
    _, slope = jax.jvp(lambda v: jnp.log(rest(v).y), (log_k,), (direction,))
    step = 3e-3  # of less, the differences are the rounding of states at rest
    above, below = (jnp.log(rest(log_k + s * direction).y) for s in (step, -step))
    differences = np.asarray((above - below) / (2 * step))
    np.testing.assert_allclose(np.asarray(slope)[big], differences[big], rtol=1e-4, atol=1e-5)


def test_batches_and_what_does_not_settle():
    """Robertson's slow decay is no steady state, though each species is nearly in balance."""
    network, y0 = table.loads(EXCHANGE), jnp.array([1.0, 0.0])
    batch = jax.vmap(
        lambda f: jaxchem.solve_to_steady_state(
            network, f * jnp.array([2.0, 0.5]), y0, longest=100.0, throw=False
        )
    )(jnp.array([1e-3, 1.0]))
    np.testing.assert_array_equal(batch.settled, [False, True])
    assert float(batch.time[0]) == np.inf
    network, y0 = jaxchem.load("robertson"), state("robertson")
    with pytest.raises(RuntimeError, match="does not settle"):
        jaxchem.solve_to_steady_state(network, network.rates(), y0, longest=1e4)
    with pytest.raises(ValueError, match="positive time"):
        jaxchem.solve_to_steady_state(network, network.rates(), y0, longest=0.0)


def test_what_fails_is_nowhere_at_rest():
    """A state that was not reached has no residual, whatever infinities cancel."""
    network = jaxchem.load("robertson")
    found = jaxchem.solve_to_steady_state(
        network, network.rates(), state("robertson"), longest=1e3, max_steps=5, throw=False
    )
    assert not found.settled and np.isinf(found.time) and np.isnan(found.residual)
