"""Gases of different densities that are alike."""

import dataclasses
import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from problems import QUIET, Reference, clouds
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem.dataset import observe
from jaxchem.ensemble import generate_ensemble
from jaxchem.models import About, Committee, FlowMap, Function, similar
from jaxchem.stages import emulate, evaluate

HOW = {"value": 1e-8, "exponents": {"density": 0.4, "cosmic_ray_rate": 0.6}}
NAMES = ("temperature", "cosmic_ray_rate", "density")


def on_one_line(network, y0, conditions, ts):
    """Stands for an emulator: the solver, which insists on where it may be asked."""
    product = conditions[2] ** 0.4 * conditions[1] ** 0.6
    y0 = eqx.error_if(y0, ~jnp.isclose(product, 1e-8), "off the line")
    k = network.rates(temperature=conditions[0], cosmic_ray_rate=conditions[1])
    how = {"method": "rodas4", "rtol": 1e-7, "atol": 1e-18}
    return jaxchem.solve(network, k, y0, ts, t0=0.0, **how).ys


def test_another_density_against_scipy():
    network = jaxchem.load("osu29")
    y0, _ = clouds(network, cases=1, density=3e5, carbon=2e-5, carbon_ion=7e-6)
    temperature, rate, ts = 80.0, 4e-17, np.array([1e4, 1e8, 1e12])
    about = About(network.species, NAMES)
    model = similar(Function(functools.partial(on_one_line, network), about), network, **HOW)
    ours = eqx.filter_jit(model)(y0[0], jnp.array([temperature, rate, 3e5]), jnp.asarray(ts - 1.0))
    k = np.asarray(network.rates(temperature=temperature, cosmic_ray_rate=rate))
    reference = Reference.read("osu29")
    found = solve_ivp(
        lambda t, y: reference.tendency(k, y),
        (1.0, ts[-1]),
        y0[0],
        "LSODA",
        t_eval=ts,
        rtol=1e-9,
        atol=1e-17,
    )
    above = found.y.T > 1e-8
    assert above.sum() > 40
    np.testing.assert_allclose(np.asarray(ours)[above], found.y.T[above], rtol=1e-4)


def test_the_clouds_on_a_line_are_similar():
    """What is drawn for a line is what would be drawn for any, scaled."""
    network = jaxchem.load("osu29")
    settings = {"cases": 8, "seed": 3, "density": (1e2, 1e6), "cosmic_ray_rate": (1e-17, 1e-15)}
    y0, given = clouds(network, **settings)
    scaled, other = clouds(network, **settings, line=HOW)
    ratio = other["density"] / given["density"]
    assert np.ptp(np.log10(ratio)) > 1
    np.testing.assert_allclose(scaled, y0 * ratio[:, None], rtol=1e-12)
    np.testing.assert_allclose(other["cosmic_ray_rate"], given["cosmic_ray_rate"] * ratio)
    np.testing.assert_allclose(other["density"] ** 0.4 * other["cosmic_ray_rate"] ** 0.6, 1e-8)


def test_training_for_any_density(tmp_path, getkey):
    """The wrapped model says on the line of the data what it says there without a wrap."""
    network = jaxchem.load("osu29")
    y0, conditions = clouds(
        network,
        cases=16,
        line=HOW,
        temperature=(20.0, 100.0),
        density=(1e3, 1e5),
        cosmic_ray_rate=(1e-17, 1e-15),
    )
    ts = np.geomspace(1e3, 1e13, 8)
    dataset, _ = generate_ensemble(network, y0, conditions, ts, t0=0.0, progress=False)
    data = observe(dataset, network)
    assert data.names == NAMES
    model = emulate(
        None,
        data,
        getkey(),
        start=functools.partial(FlowMap.fitted, modes=8, width=8, relative=True),
        steps=3,
        optimizer="adam",
        similarity=HOW,
        job=QUIET,
    ).model
    jaxchem.save(tmp_path / "model.eqx", model)
    model = jaxchem.load_model(tmp_path / "model.eqx")
    given, start = data.conditions[0], data.y0[0]
    inner = model.inner(start, given, data.ts)
    np.testing.assert_allclose(model(start, given, data.ts), inner, rtol=1e-5)
    denser = given * jnp.array([1.0, 100.0, 100.0])
    denser = model(100 * start, denser, data.ts / 100)
    np.testing.assert_allclose(denser, 100 * inner, rtol=1e-5)
    # likes of the training gases: the nearest neighbour is each itself, a hundred times denser
    factor = jnp.array([1.0, 100.0, 100.0])
    likes = dataclasses.replace(
        data,
        y0=100 * data.y0,
        conditions=data.conditions * factor[None],
        values=100 * data.values,
        ts=data.ts / 100,
    )
    for one in (model, Committee((model, model))):
        found = evaluate(one, likes, train=data, gradients=0).metrics
        assert found["nearest_neighbour/max_dex"] < 1e-9
        assert found["train_mean/mean_dex"] > 0.01 and found["gaussian_process/mean_dex"] < 0.1


def test_networks_that_are_not_similar():
    network = jaxchem.load("pollu")
    model = Function(lambda *a: a[0], About(network.species, NAMES))
    with pytest.raises(
        ValueError, match=r"reaction NO2 -> NO \+ O3P of network 'pollu' is neither"
    ):
        similar(model, network, **HOW)
    with pytest.raises(ValueError, match="all must count, and add up to one"):
        similar(model, network, value=1.0, exponents={"density": 0.4})
    model = Function(lambda *a: a[0], About(network.species, ("temperature",)))
    with pytest.raises(ValueError, match="no condition 'density' to scale; it has temperature"):
        similar(model, network, **HOW)
