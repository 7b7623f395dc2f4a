"""Networks of hundreds of species against the codes that they come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import dark_cloud, saprc99

import jaxchem


def decades(ys, expected, floor):
    """|log10 ours - log10 theirs| where theirs is above the floor."""
    above = expected > floor
    return np.abs(np.log10(np.maximum(np.asarray(ys)[above], 1e-300)) - np.log10(expected[above]))


@pytest.mark.parametrize("method", ["rodas4", "rodas5p"])
def test_dark_cloud_against_krome(method):
    """452 species and 4429 reactions over 1e8 years; species above 1e-12 of the hydrogen nuclei."""
    network, y0, ts, expected, density = dark_cloud()
    k = network.rates()
    solution = jaxchem.solve(network, k, y0, ts, rtol=1e-6, atol=1e-20, method=method)
    assert decades(solution.ys, expected, 1e-12 * density).max() <= 1e-5


def test_saprc99_against_kpp():
    """74 species over a day at the rates of noon; species above 1e6 molecule cm-3."""
    network, y0, ts, expected = saprc99()
    k, how = network.rates(), {"rtol": 1e-7, "atol": 1e-3}
    ys = jaxchem.solve(network, k, y0, ts[1:] - ts[0], **how).ys
    above = expected[1:] > 1e6
    np.testing.assert_allclose(np.asarray(ys)[above], expected[1:][above], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("problem", [dark_cloud, saprc99])
def test_no_cell_fails(problem):
    """Every initial abundance off by up to two decades, 1000 times."""
    network, y0, ts, *_ = problem()
    random = np.random.default_rng(0)
    cells = y0 * 10.0 ** random.uniform(-2, 2, (1000, len(y0)))
    atol = 1e-20 if problem is dark_cloud else 1e-3
    found = jaxchem.solve_ensemble(
        network,
        network.rates(),
        cells,
        ts[1:] - ts[0] if problem is saprc99 else ts,
        rtol=1e-4,
        atol=atol,
        retries=(),
        progress=False,
    )
    assert not found.result.any()


def test_gradients_of_a_large_network():
    """Reverse mode by 4429 coefficients equals one forward direction."""
    network, y0, ts, *_ = dark_cloud()
    log_k = jnp.log(network.rates())
    co = network.index("CO")

    def end(log_k, adjoint):
        how = {"rtol": 1e-4, "atol": 1e-20, "adjoint": adjoint}
        return jnp.log(jaxchem.solve(network, jnp.exp(log_k), y0, ts[60:61], **how).ys[-1, co])

    gradient = jax.grad(lambda v: end(v, "reverse"))(log_k)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=log_k.shape))
    _, slope = jax.jvp(lambda v: end(v, "forward"), (log_k,), (direction,))
    assert float(jnp.vdot(gradient, direction)) == pytest.approx(float(slope), rel=1e-8)
