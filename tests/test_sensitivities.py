"""Derivatives of solutions: reverse mode, forward mode and differences agree."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from problems import CHAIN, EXCHANGE, state

import jaxchem
from jaxchem.parse import table
from jaxchem.solvers import Integrator

SENSITIVITY_CASES = {"robertson": 40.0, "pollu": 60.0}


@pytest.mark.parametrize(
    ("name", "engine"),
    [("robertson", "kernel"), ("robertson", "plain"), ("pollu", "kernel")],
    indirect=["engine"],
)
@pytest.mark.usefixtures("engine")
def test_derivatives_agree(name):
    """d ln y / d ln k of every species and rate: reverse, forward and central differences."""
    network = jaxchem.load(name)
    log_k, y0 = jnp.log(network.rates()), state(name)
    ts = jnp.array([SENSITIVITY_CASES[name]])

    def log_end(log_k, adjoint):
        solution = jaxchem.solve(network, jnp.exp(log_k), y0, ts, rtol=1e-10, adjoint=adjoint)
        return jnp.log(solution.ys[-1])

    reverse = jax.jit(jax.jacrev(lambda v: log_end(v, "reverse")))(log_k)
    forward = jax.jit(jax.jacfwd(lambda v: log_end(v, "forward")))(log_k)
    step = 1e-3 * jnp.eye(len(log_k))
    shifted = jax.jit(jax.vmap(lambda d: log_end(log_k + d, "reverse")))
    ends = np.asarray(shifted(jnp.concatenate([2 * step, step, -step, -2 * step])))
    far, near, near_below, far_below = np.split(ends, 4)
    differences = (8 * (near - near_below) - (far - far_below)).T / 12e-3
    assert np.abs(differences).max() > 0.3
    np.testing.assert_allclose(reverse, forward, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(forward, differences, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(reverse, differences, rtol=1e-5, atol=1e-5)


def test_derivatives_against_matrix_exponential():
    """On a linear chain d y / d y0 is the matrix exponential itself."""
    network = table.loads(CHAIN)
    matrix = np.array([[-1, 0, 0, 0], [1, -10, 2, 0], [0, 10, -2.1, 0], [0, 0, 0.1, 0]])

    def end(y0):
        ts = jnp.array([2.0])
        solution = jaxchem.solve(network, network.rates(), y0, ts, rtol=1e-9, adjoint="forward")
        return solution.ys[-1]

    ours = jax.jit(jax.jacfwd(end))(jnp.array([1.0, 0.5, 0.1, 0.1]))
    np.testing.assert_allclose(ours, scipy.linalg.expm(2.0 * matrix), atol=1e-7)


@pytest.mark.parametrize("adjoint", ["forward", "direct"])
def test_derivative_by_a_condition(adjoint):
    """Through rates and solve: d y / d T of a first-order decay, k = a exp(-theta / T)."""
    network = table.loads(EXCHANGE.split("2 B")[0])
    t, theta = 3.0, 2000.0

    def left(temperature):
        k = network.rates(temperature=temperature)
        y0 = network.y0({"A": 1.0})
        solution = jaxchem.solve(network, k, y0, [t], rtol=1e-9, adjoint=adjoint, max_steps=256)
        return solution.ys[-1, 0]

    k = 1e3 * math.exp(-theta / 290.0)
    slope = -t * k * theta / 290.0**2 * math.exp(-k * t)
    assert float(jax.jit(jax.jacfwd(left))(290.0)) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(
    ("method", "engine"),
    [("rodas5p", "kernel"), ("rodas5p", "plain"), ("kvaerno5", "kernel")],
    indirect=["engine"],
)
@pytest.mark.usefixtures("engine")
def test_a_rejected_step_leaves_the_gradient_finite(method):
    """From this state the first step that is tried is far too long, and its stages diverge."""
    network = jaxchem.load("robertson")
    k = network.rates() * jnp.array([1.3, 0.77, 1.25])
    y0, t0 = jnp.array([0.945337999, 2.75476899e-05, 5.46344534e-02]), 1.833
    how = Integrator(method=method, rtol=1e-7)

    def end(log_k, how):
        return jaxchem.solve(network, jnp.exp(log_k), y0, [6.158], t0=t0, integrator=how).ys[-1, 2]

    assert jaxchem.solve(network, k, y0, [6.158], t0=t0, integrator=how).stats["num_rejected_steps"]
    slope = jax.jit(jax.grad(end))
    calm = slope(jnp.log(k), Integrator(rtol=1e-7, dt0=1e-6))
    np.testing.assert_allclose(slope(jnp.log(k), how), calm, rtol=1e-4)


def test_second_derivatives():
    """Against differences of gradients; they want `adjoint="direct"`."""
    network = table.loads(CHAIN)
    y0, ts = jnp.array([1.0, 0.5, 0.1, 0.1]), jnp.array([2.0])

    def end(log_k):
        how = {"rtol": 1e-9, "adjoint": "direct", "max_steps": 128}
        return jaxchem.solve(network, jnp.exp(log_k), y0, ts, **how).ys[-1, 1]

    log_k = jnp.log(network.rates())
    ours, slope = jax.jit(jax.hessian(end))(log_k), jax.jit(jax.grad(end))
    step = 1e-4 * np.eye(len(log_k))
    differences = np.stack([(slope(log_k + d) - slope(log_k - d)) / 2e-4 for d in step])
    assert np.abs(differences).max() > 1e-3
    np.testing.assert_allclose(ours, differences, atol=1e-7)
