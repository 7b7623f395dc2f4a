"""ChemNNE: its layers beside NumPy's, its terms by hand, what it learns."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import QUIET
from test_change_map import TS, observed
from test_change_map import network as network

import jaxchem
from jaxchem.models import ChemNNE
from jaxchem.models.chemnne import Fourier
from jaxchem.stages import emulate

SMALL = {"width": 32, "tokens": 4, "size": 8, "heads": 2, "layers": 2, "modes": 6, "bands": 4}


@pytest.fixture(scope="module")
def data(network):
    return observed(network, 256, 0)


def test_a_layer_of_the_operator_beside_a_fast_transform(getkey):
    layer = Fourier(20, 3, 5, key=getkey())
    v = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    real, imaginary = np.asarray(layer.spectrum)
    spectrum = real + 1j * imaginary
    there = np.fft.fft(v, 25, axis=0, norm="ortho")[:5]
    turned = np.zeros((25, 3), complex)
    turned[:5] = np.einsum("md,mde->me", there, spectrum)
    back = np.fft.ifft(turned, axis=0, norm="ortho")[:20].real
    wanted = jax.nn.gelu(v @ np.asarray(layer.weight).T + back)
    np.testing.assert_allclose(layer(jnp.asarray(v)[:, None])[:, 0], wanted, rtol=1e-4, atol=1e-5)


def test_times_share_their_attention(data, getkey):
    """Among tokens; it is of the time, and of the state."""
    model = ChemNNE.fitted(data, key=getkey(), **SMALL)
    tokens, shares = model.attention(model.examples(data.chosen(slice(2))).inputs)
    assert tokens.shape == (2, 4, 8) and shares.shape == (2, 2, 4, 61)
    np.testing.assert_allclose(shares.sum(axis=2), 1.0, rtol=1e-5)
    assert np.ptp(shares, axis=3).max() > 1e-3 and np.abs(shares[0] - shares[1]).max() > 1e-3


def test_terms(data, getkey):
    """Nothing where the prediction is right, and where a constant is added what that makes."""
    model = ChemNNE.fitted(data, key=getkey(), **SMALL)
    few = data.chosen(slice(8))
    batch = model.examples(few)
    right = batch._replace(wanted=model.scaled(batch.inputs).swapaxes(0, 1))
    assert all(float(term) < 1e-9 for term in model.terms(right, getkey()).values())
    off = right._replace(wanted=right.wanted + 0.5)
    terms = {name: float(term) for name, term in model.terms(off, getkey()).items()}
    np.testing.assert_allclose([terms["trajectory"], terms["identity"]], 0.25, rtol=1e-5)
    assert terms["first"] < 1e-9 and terms["second"] < 1e-9
    wanted = batch._replace(wanted=right.wanted.at[:, 30].add(1.0))
    found = {name: float(term) for name, term in model.terms(wanted, getkey()).items()}
    np.testing.assert_allclose(found["first"], 2 / 60, rtol=1e-4)
    np.testing.assert_allclose(found["second"], 6 / 59, rtol=1e-4)
    some = right.at_times(jnp.array([1, 5, 11, 29, 59]))
    assert all(float(term) < 1e-9 for term in model.terms(some, getkey()).values())
    slope = right.wanted + jnp.linspace(0.0, 6.0, 61, dtype=np.float32)[None, :, None]
    some = right._replace(wanted=slope).at_times(jnp.array([1, 5, 11, 29, 59]))
    found = {name: float(term) for name, term in model.terms(some, getkey()).items()}
    np.testing.assert_allclose(found["first"], 0.01, rtol=1e-3)
    assert found["second"] < 1e-9


def test_mass_is_that_of_the_states(data, getkey):
    """The relative error of 12.011 (A + B + C), whose sum no truth changes."""
    model = ChemNNE.fitted(data, key=getkey(), **SMALL)
    few = data.chosen(slice(8))
    found = model.terms(model.examples(few), getkey())["mass"]
    times = jnp.append(0.0, jnp.asarray(TS))
    ys = np.asarray(jax.vmap(lambda y, c: model(y, c, times))(few.y0, few.conditions))
    totals = np.asarray(few.y0).sum(axis=1)[:, None]
    np.testing.assert_allclose(found, np.abs(ys.sum(axis=2) / totals - 1).mean(), rtol=1e-4)


def test_it_learns_and_is_kept(data, network, getkey, tmp_path):
    start = functools.partial(ChemNNE.fitted, **SMALL)
    weights = {"trajectory": 1.0, "identity": 1.0, "first": 0.1, "second": 0.1, "mass": 0.1}
    how = {"steps": 700, "learning_rate": 5e-3, "batch_size": 64, "weights": weights}
    model = emulate(None, data, getkey(), start=start, job=QUIET, **how).model
    test = observed(network, 32, 1)
    found = jaxchem.evaluate(model, test, train=data, gradients=0).metrics
    assert found["mean_dex"] < 0.5 * found["nearest_neighbour/mean_dex"]
    jaxchem.save(tmp_path / "model.eqx", model)
    again = jaxchem.load_model(tmp_path / "model.eqx")
    ask = (test.y0[0], test.conditions[0], test.ts)
    np.testing.assert_array_equal(again(*ask), model(*ask))


def test_what_it_cannot_take_says_so(data, getkey):
    uneven = eqx.tree_at(lambda d: d.ts, data, data.ts**2)
    with pytest.raises(ValueError, match="evenly spaced from the start on"):
        ChemNNE.fitted(uneven, key=getkey())
    with pytest.raises(ValueError, match="heads=5 must divide size=32, and modes=16 be at most 30"):
        ChemNNE.fitted(data, key=getkey(), heads=5)
    with pytest.raises(ValueError, match="every trajectory starts alike"):
        ChemNNE.fitted(data.chosen(np.zeros(10, int)), key=getkey())
    with pytest.raises(ValueError, match=r"the data have 30 times, .* learns those of its own, 60"):
        half = eqx.tree_at(lambda d: (d.ts, d.values), data, (data.ts[:30], data.values[:, :30]))
        ChemNNE.fitted(data, key=getkey(), **SMALL).examples(half)
