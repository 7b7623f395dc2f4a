"""Shares of a result by input, beside sums that are known."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxchem
from jaxchem.importance import importance

POSITIVE = st.floats(1e-3, 1e3)


@given(*[st.tuples(POSITIVE, POSITIVE) for _ in range(4)])
def test_powers_are_owed_their_exponents(y0, there, conditions, other):
    """ln(a^2 / b) + 3 T: each share is known, and they add up."""
    y0, there, conditions, other = map(jnp.array, (y0, there, conditions, other))

    def result(y, c):
        return jnp.array([1.0, -1.0]) * (2 * jnp.log(y[0]) - jnp.log(y[1]) + 3 * c[0])

    species, given_ = importance(result, y0, conditions, (there, other), points=2)
    way = np.log(np.asarray(y0) / np.asarray(there))
    wanted = np.array([2.0, -1.0]) * way
    np.testing.assert_allclose(species, np.stack([wanted, -wanted]), rtol=1e-9, atol=1e-9)
    moved = 3 * (conditions[0] - other[0])
    np.testing.assert_allclose(given_, [[moved, 0.0], [-moved, 0.0]], rtol=1e-9, atol=1e-9)


def test_shares_add_up_to_the_difference():
    """Of what the solver gives, a nonlinear thing."""
    network = jaxchem.load("robertson")
    k, ts = network.rates(), jnp.array([10.0])

    def result(y0, c):
        ys = jaxchem.solve(network, k * c[0], y0, ts, rtol=1e-8).ys
        return jnp.log10(ys[-1])

    y0, there = jnp.array([1.0, 1e-5, 0.3]), jnp.array([0.5, 2e-5, 0.1])
    one, two = jnp.array([1.0]), jnp.array([0.3])
    parts = importance(result, y0, one, (there, two), points=12)
    whole = sum(np.asarray(part).sum(axis=1) for part in parts)
    np.testing.assert_allclose(whole, result(y0, one) - result(there, two), atol=1e-6)
    none, _ = importance(result, y0, one, (there.at[1].set(0.0), two), points=3)
    assert np.all(np.asarray(none)[:, 1] == 0) and np.all(np.isfinite(none))


def test_bad_inputs():
    one = jnp.ones(2, jnp.float32), jnp.ones(1, jnp.float32)
    found, _ = importance(lambda y, c: y[:1], *one, one)
    assert found.dtype == jnp.float64 and not np.any(found)
    with pytest.raises(ValueError, match=r"base has concentrations \(1,\)"):
        importance(lambda y, c: y, *one, (one[1], one[1]))
    with pytest.raises(ValueError, match=r"result gives \(\); it must give a vector"):
        importance(lambda y, c: y[0], *one, one)


def test_points():
    with pytest.raises(ValueError, match="points=0"):
        importance(lambda y, c: y, *(jnp.ones(1),) * 2, (jnp.ones(1),) * 2, points=0)
