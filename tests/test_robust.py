"""What an integrator does about negative concentrations, failures and linear systems."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CHAIN, state

import jaxchem
from jaxchem.parse import table
from jaxchem.solvers import Integrator

PATHS = pytest.mark.parametrize("adjoint", ["reverse", "direct"])  # the kernel's, diffrax's


# Negative concentrations


@PATHS
def test_dips_below_zero(adjoint):
    """A tolerance far above the trace species of a dark cloud lets them dip, if they may."""
    network, ts = jaxchem.load("osu29"), np.geomspace(32.0, 3e15, 100)
    k = network.rates(temperature=50.0, cosmic_ray_rate=1e-16)
    how = {"rtol": 0.1, "atol": 1e-4, "method": "rodas3", "adjoint": adjoint, "t0": 1.0}
    lowest = {
        negative: jaxchem.solve(network, k, state("osu29"), ts, negative=negative, **how).ys.min()
        for negative in ("allow", "reject", "project")
    }
    assert lowest["allow"] < -1e-4
    assert lowest["reject"] >= -1e-4
    assert lowest["project"] == 0


@pytest.mark.parametrize(
    "adjoint", ["reverse", "forward", pytest.param("direct", marks=pytest.mark.slow)]
)
def test_derivatives_of_projected_states(adjoint):
    """With steps that nothing steers, differences are exact."""
    network = table.loads(CHAIN)
    y0, ts = jnp.array([1.0, 0.2, 0.1, 0.0]), jnp.array([8.0])
    how = {
        **{"rtol": 1.0, "atol": 1e9, "dt0": 2.0, "method": "rodas3", "negative": "project"},
        **{"adjoint": adjoint, "max_steps": 64},
    }

    def end(log_k):
        return jaxchem.solve(network, jnp.exp(log_k), y0, ts, **how).ys[0]

    log_k = jnp.log(network.rates())
    by_mode = (jax.jacrev if adjoint == "reverse" else jax.jacfwd)(end)(log_k)
    step = 1e-6 * jnp.eye(len(log_k))
    ends = jax.vmap(lambda d: end(log_k + d))(jnp.concatenate([step, -step]))
    differences = (ends[: len(log_k)] - ends[len(log_k) :]).T / 2e-6
    assert (end(log_k) == 0).sum() == 1  # A is; and it is what the rest comes from
    np.testing.assert_allclose(by_mode, differences, atol=1e-8)
    assert np.abs(differences).max() > 0.01


def test_derivatives_of_projected_members_that_take_fewer_steps():
    """What a member of a batch has pulled back stays while others still go back."""
    network = table.loads(CHAIN)
    k = jnp.stack([10.0 * network.rates(), network.rates()])
    y0, ts = jnp.array([1.0, 0.2, 0.1, 0.1]), jnp.array([[2.0], [16.0]])
    how = {"rtol": 1.0, "atol": 1e9, "dt0": 2.0, "method": "rodas3", "negative": "project"}

    def end(k, y0, ts):
        return jaxchem.solve(network, k, y0, ts, **how).ys[0]

    by_mode = jax.vmap(jax.jacrev(end, 1), (0, None, 0))(k, y0, ts)
    step = 1e-6 * jnp.eye(4)
    for member, each_k, each_ts in zip(by_mode, k, ts, strict=True):
        up, down = (jnp.stack([end(each_k, y0 + s * d, each_ts) for d in step]) for s in (1, -1))
        np.testing.assert_allclose(member, (up - down).T / 2e-6, atol=1e-8)


def test_projection_wants_a_rosenbrock_method():
    with pytest.raises(ValueError, match=r"negative='project' is for Rosenbrock methods"):
        Integrator(method="kvaerno5", negative="project")


# Retries


@PATHS
def test_failed_members_are_tried_again(adjoint):
    """A solve that has too few steps is done by the next rung; its neighbour stays as it was."""
    network, ts = jaxchem.load("robertson"), jnp.array([1.0, 1e3])
    y0 = jnp.stack([state("robertson"), jnp.array([0.0, 0.0, 1.0])])
    short = Integrator(rtol=1e-6, max_steps=16, adjoint=adjoint)
    long = short.replace(max_steps=512)

    def solve(integrator):
        return jax.jit(
            jax.vmap(
                lambda y: jaxchem.solve(
                    network, network.rates(), y, ts, integrator=integrator, throw=False
                )
            )
        )(y0)

    first, mended, direct = map(solve, (short, short.replace(retries=[long]), long))
    failed = np.asarray(first.result != diffrax.RESULTS.successful)
    np.testing.assert_array_equal(failed, [True, False])
    np.testing.assert_array_equal(mended.ys, direct.ys)
    taken = [np.asarray(s.stats["num_steps"]) for s in (first, direct, mended)]
    np.testing.assert_array_equal(taken[2], taken[0] + failed * taken[1])


@PATHS
def test_gradient_through_a_retry(adjoint):
    network, ts = jaxchem.load("robertson"), jnp.array([1.0, 1e3])
    short = Integrator(rtol=1e-6, max_steps=16, adjoint=adjoint)
    long = short.replace(max_steps=512)

    def end(k, integrator):
        how = {"integrator": integrator, "throw": False}
        return jaxchem.solve(network, k, state("robertson"), ts, **how).ys[-1, 0]

    k = network.rates()
    ours, theirs = (jax.jit(jax.grad(end))(k, i) for i in (short.replace(retries=[long]), long))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_the_ladder():
    tight, other = jaxchem.ladder(Integrator(rtol=1e-4, max_steps=50))
    assert np.isclose(tight.rtol, 1e-6) and tight.max_steps == 50
    assert other.method != tight.method and other.max_steps == 500
