"""Constant sparse matrices times vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

from jaxchem.sums import times


@pytest.mark.parametrize("shape", [(3, 4), (200, 300), (1, 40_000), (40_000, 1), (700, 900)])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.3])
def test_against_numpy(shape, share):
    """Small ones and large ones, with rows of none, few and hundreds of terms."""
    random = np.random.default_rng(0)
    dense = random.normal(size=shape) * (random.random(shape) < share)
    dense[0] = random.normal(size=shape[1])  # a long row, as of OH
    x = random.normal(size=shape[1])
    found = jax.jit(lambda x: times(sp.csr_array(dense), x))(jnp.asarray(x))
    terms = np.abs(dense) @ np.abs(x)
    assert np.all(np.abs(np.asarray(found) - dense @ x) <= 1e-14 * terms)


@pytest.mark.parametrize("shape", [(8, 9), (300, 200)])
def test_derivatives_and_batches(shape):
    random = np.random.default_rng(1)
    dense = random.normal(size=shape) * (random.random(shape) < 0.1)
    matrix, x = sp.csr_array(dense), jnp.asarray(random.normal(size=(5, shape[1])))
    np.testing.assert_allclose(jax.vmap(lambda x: times(matrix, x))(x), x @ dense.T, atol=1e-13)
    for slope in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(slope(lambda x: times(matrix, x))(x[0]), dense, atol=1e-14)


def test_single_precision():
    matrix = sp.csr_array(np.full((200, 200), 0.5))
    assert times(matrix, jnp.ones(200, jnp.float32)).dtype == jnp.float32
