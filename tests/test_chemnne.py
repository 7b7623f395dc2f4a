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
from jaxchem.models.change_map import SMOOTH
from jaxchem.models.chemnne import Layer
from jaxchem.stages import emulate

SMALL = {"width": 32, "tokens": 4, "size": 8, "heads": 2, "layers": 2, "modes": 6, "bands": 4}


@pytest.fixture(scope="module")
def data(network):
    return observed(network, 256, 0)


def test_a_layer_of_the_operator_beside_a_fast_transform(getkey):
    layer = Layer("fourier", 20, 3, 5, key=getkey())
    v = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    real, imaginary = np.asarray(layer.along.spectrum)
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
    """Nothing where the prediction is right, and where something is added what that makes."""
    model = ChemNNE.fitted(data, key=getkey(), **SMALL)
    few = data.chosen(slice(8))
    batch = model.examples(few)
    right = batch._replace(wanted=model.scaled(batch.inputs).swapaxes(0, 1))
    nothing = np.sqrt(SMOOTH)

    def terms(batch):
        return {name: float(term) for name, term in model.terms(batch, getkey()).items()}

    found = terms(right)
    dex = ["trajectory", "identity", "first", "second", "linear"]
    np.testing.assert_allclose([found[name] for name in dex], nothing, rtol=1e-3)
    assert max(found["squares"], found["mass"]) < 1e-7
    size = np.sqrt(np.mean(model.reach**2))
    found = terms(right._replace(wanted=right.wanted + 0.5))
    off = np.hypot(0.5 * size, nothing)
    np.testing.assert_allclose([found["trajectory"], found["identity"]], off, rtol=1e-5)
    np.testing.assert_allclose(found["squares"], 0.25, rtol=1e-5)
    np.testing.assert_allclose([found["first"], found["second"]], nothing, rtol=1e-3)
    found = terms(right._replace(wanted=right.wanted.at[:, 30].add(10.0)))
    np.testing.assert_allclose(found["first"], 10 * size * np.sqrt(2 / 60), rtol=1e-4)
    np.testing.assert_allclose(found["second"], 10 * size * np.sqrt(6 / 59), rtol=1e-4)
    some = jnp.array([1, 5, 11, 29, 59])
    assert terms(right.at_times(some))["squares"] < 1e-9
    slope = right.wanted + jnp.linspace(0.0, 60.0, 61, dtype=np.float32)[None, :, None]
    found = terms(right._replace(wanted=slope).at_times(some))
    np.testing.assert_allclose(found["first"], size, rtol=1e-4)
    np.testing.assert_allclose(found["second"], nothing, rtol=0.1)


def test_a_linear_error_is_of_concentrations(data, getkey):
    model = ChemNNE.fitted(data, key=getkey(), **SMALL)
    few = data.chosen(slice(8))
    ys = np.asarray(jax.vmap(lambda y, c: model(y, c, jnp.asarray(TS)))(few.y0, few.conditions))
    most = np.asarray(data.values).max(axis=(0, 1))
    off = np.sqrt(np.mean(((ys - np.asarray(few.values)) / most) ** 2, axis=(1, 2)) + SMOOTH)
    found = model.terms(model.examples(few), getkey())["linear"]
    np.testing.assert_allclose(found, off.mean(), rtol=1e-3)


@pytest.mark.parametrize("how", [{"along": "convolution"}, {"along": "pointwise"}, {"bands": 0}])
def test_other_layers(data, getkey, how):
    model = ChemNNE.fitted(data, key=getkey(), **SMALL | how)
    assert jnp.all(jnp.isfinite(model(data.y0[0], data.conditions[0], data.ts)))


def test_an_operator_on_fewer_times(data, getkey):
    """Between which latent codes are cubics, that a cubic of time goes through."""
    model = ChemNNE.fitted(data, key=getkey(), **SMALL | {"grid": 13})
    assert len(model.codes) == 13 and model.mixing.shape == (61, 13)
    x = np.linspace(0.0, 1.0, 13)
    cubic = np.polynomial.Polynomial([0.3, -1.0, 2.0, -1.5])
    np.testing.assert_allclose(model.mixing @ cubic(x), cubic(np.linspace(0, 1, 61)), atol=1e-5)
    ys = model(data.y0[0], data.conditions[0], data.ts)
    assert ys.shape == (60, 3) and jnp.all(jnp.isfinite(ys))
    for grid, message in (
        (62, "grid=62: the operator works on four times or more, at most 61"),
        (2, "grid=2: the operator works on four"),
        (10, "be at most 5, half the 10 times of grid"),
    ):
        with pytest.raises(ValueError, match=message):
            ChemNNE.fitted(data, key=getkey(), **SMALL | {"grid": grid})


def test_a_convolution_beside_numpy(getkey):
    layer = Layer("convolution", 7, 2, 0, key=getkey())
    v = np.random.default_rng(0).normal(size=(7, 1, 2)).astype(np.float32)
    kernel = np.asarray(layer.along.kernel)
    near = [
        sum(v[g + j, 0] @ kernel[j + 2] for j in range(-2, 3) if 0 <= g + j < 7) for g in range(7)
    ]
    wanted = jax.nn.gelu(v[:, 0] @ np.asarray(layer.weight).T + np.array(near))
    np.testing.assert_allclose(layer(jnp.asarray(v))[:, 0], wanted, rtol=1e-4, atol=1e-5)


def test_without_attention_all_times_see_the_same(data, getkey):
    model = ChemNNE.fitted(data, key=getkey(), **SMALL, attention=False)
    _, shares = model.attention(model.examples(data.chosen(slice(2))).inputs)
    np.testing.assert_array_equal(shares, 0.25)


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
    weights = {"trajectory": 1.0, "identity": 0.1, "first": 0.1, "second": 0.1, "mass": 0.1}
    how = {"steps": 700, "learning_rate": 5e-3, "batch_size": 64, "weights": weights}
    how |= {"optimizer": "soap", "points": 20}
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
    with pytest.raises(ValueError, match="heads=5 must divide size=32 and channels=32, "):
        ChemNNE.fitted(data, key=getkey(), heads=5)
    with pytest.raises(ValueError, match="along='wave' is unknown; known: fourier, convolution"):
        ChemNNE.fitted(data, key=getkey(), along="wave")
    with pytest.raises(ValueError, match="every trajectory starts alike"):
        ChemNNE.fitted(data.chosen(np.zeros(10, int)), key=getkey())
    with pytest.raises(ValueError, match=r"the data have 30 times, .* learns those of its own, 60"):
        half = eqx.tree_at(lambda d: (d.ts, d.values), data, (data.ts[:30], data.values[:, :30]))
        ChemNNE.fitted(data, key=getkey(), **SMALL).examples(half)
