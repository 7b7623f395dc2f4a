"""Clouds through time and at rest, smooth switches, and what is refused."""

import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import SHARED

import jaxchem
from jaxchem.clouds import evolve
from jaxchem.dataset import label_thermal
from jaxchem.solvers import Integrator
from jaxchem.thermal import Cloud, MetalLines, random_states

GAS = {"H": 62.0, "He": 26.0, "H+": 0.6, "He+": 0.3}
ROUGH = Integrator(method="rodas4", rtol=1e-4, atol=1e-20, max_steps=20_000)


def settle(cloud, density, temperature, longest=1e18):
    """A long solve at tight tolerance, as truth for a state of rest."""
    y0 = cloud.y0({"H": 1 - 1e-4, "H+": 1e-4, "He": 0.1}, temperature, least=1e-12)
    y0[:-1] *= density
    how = {"rtol": 1e-9, "atol": 1e-24, "max_steps": 100_000}
    return np.asarray(jaxchem.solve(cloud.system, jnp.asarray(y0), [longest], **how).ys)[-1]


def test_gas_at_rest_is_where_a_long_solve_ends():
    cloud = Cloud(jaxchem.load("ism_molecular"))
    density, field = np.array([1e-2, 1.0, 30.0, 1e3]), np.array([0.1, 3.0])
    run = jax.jit(lambda n, u: jaxchem.thermal_equilibrium(cloud, n, uv_field=u))
    found = run(density[:, None], field)
    assert found.y.shape == (4, 2, 10) and np.all(found.settled)
    for i, n in enumerate(density):
        for j, u in enumerate(field):
            expected = settle(cloud.under(uv_field=u), n, 1e4)
            np.testing.assert_allclose(found.y[i, j], expected, rtol=1e-6)
    nuclei = cloud.network.composition[cloud.network.elements.index("H")]
    held = np.asarray(found.y[..., :-1]) @ nuclei / density[:, None]
    np.testing.assert_allclose(held, 1.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"density": -1.0}, "density is not positive and finite everywhere"),
        ({"density": 1.0, "temperature": np.nan}, "temperature is not positive"),
        ({"density": 1.0, "uv_fields": 1.0}, "no condition 'uv_fields'"),
        ({"density": 1.0, "fractions": {"CO": 1.0}}, "unknown species 'CO'"),
    ],
)
def test_bad_grids(how, message):
    with pytest.raises(ValueError, match=message):
        jaxchem.thermal_equilibrium(Cloud(jaxchem.load("ism_atomic")), **how)


def test_smooth_switches():
    """Far from every limit nothing changes; at one it is half of what is on either side."""
    network = jaxchem.load("ism_molecular")
    sharp, smooth = Cloud(network), Cloud(network, smooth=0.004)
    y = jnp.asarray(sharp.y0({"H": 10.0, "H2": 5.0, "H+": 1.0, "H2+": 0.1}, 300.0))
    n = network.equations.index("H2 + H+ -> H2+ + H")
    for temperature in (50.0, 300.0, 3e3, 5e4):
        here = y.at[-1].set(temperature)
        for a, b in zip(sharp.terms(here), smooth.terms(here), strict=True):
            for name in a:
                np.testing.assert_allclose(b[name], a[name], rtol=1e-9, atol=1e-60)
        np.testing.assert_allclose(
            smooth.rates(0, here), sharp.rates(0, here), rtol=1e-9, atol=1e-60
        )
    at, past = y.at[-1].set(100.0), y.at[-1].set(100.0001)
    np.testing.assert_allclose(smooth.rates(0, at)[n], 0.5 * sharp.rates(0, past)[n], rtol=1e-4)
    # a little off the limit, where what is held there has a kink
    slope = jax.jacfwd(lambda t: smooth.system.field(0.0, y.at[-1].set(t)))(100.05)
    steps = np.array([100.05 - 1e-4, 100.05 + 1e-4])
    low, high = (np.asarray(smooth.system.field(0.0, y.at[-1].set(t))) for t in steps)
    scale = np.abs(np.asarray(slope)).max()
    np.testing.assert_allclose(slope, (high - low) / 2e-4, rtol=1e-4, atol=1e-8 * scale)
    # at 1e10 K and 2.7 K the logistic functions are flat, and so are their derivatives
    for t in (2.0, 1e10):
        assert np.all(np.isfinite(smooth.system.jacobian(0.0, y.at[-1].set(t))))
    assert smooth.under(uv_field=2.0).smooth == 0.004


def test_no_light_at_all():
    cloud = Cloud(jaxchem.load("ism_molecular"), uv_field=0.0, metallicity=0.0, dust_to_gas=0.0)
    y0 = jnp.asarray(cloud.y0({**GAS, "H2": 10.0}, 1e3))
    ys = jaxchem.solve(cloud.system, y0, jnp.array([1e12]), rtol=1e-6, atol=1e-20).ys
    assert np.all(np.isfinite(ys)) and ys[0, -1] > 2.73


def test_corners():
    """Nothing fails from where gas is cold, hot, thin, dense, ionised or without electrons."""
    cloud = Cloud(jaxchem.load("ism_atomic"))
    rows = []
    for n in (1e-2, 1e6):
        for t in (10.0, 1e6):
            rows.append(cloud.y0({"H": 0.7 * n, "He": 0.3 * n}, t))
            rows.append(cloud.y0({"H+": 0.7 * n, "He++": 0.3 * n}, t))
    how = {"method": "rodas4", "rtol": 1e-4, "atol": 1e-20, "max_steps": 20_000, "throw": False}
    ts = np.array([3e13])
    run = jax.jit(jax.vmap(lambda y: jaxchem.solve(cloud.system, y, ts, **how).ys[-1]))
    assert np.all(np.isfinite(run(jnp.asarray(rows))))


def test_cold_gas_rests_at_the_background():
    """Dense gas in the dark: nothing goes below what counts as the least."""
    cloud = Cloud(jaxchem.load("ism_atomic"), uv_field=1e-3)
    y0 = jnp.asarray(cloud.y0({"H": 1e6, "He": 1e5}, 100.0))
    ys = jaxchem.solve(cloud.system, y0, [1e15, 1e17], rtol=1e-6, atol=1e-18).ys
    assert np.all((np.asarray(ys)[:, -1] > 0.9 * 2.73) & (np.asarray(ys)[:, -1] < 2.73))


def test_random_states():
    network = jaxchem.load("ism_molecular")
    y = random_states(network, 500, seed=3)
    assert np.array_equal(y, random_states(network, 500, seed=3))
    assert not np.array_equal(y, random_states(network, 500, seed=4))
    sums = y[:, :-1] @ network.composition.T
    named = dict(zip(network.elements, sums.T, strict=True))
    np.testing.assert_allclose(named["He"] / named["H"], 3 / 7, rtol=1e-12)
    np.testing.assert_allclose(named["charge"], 0, atol=1e-12 * named["H"].max())
    total = named["H"] + named["He"]
    assert total.min() >= 1e-2 and total.max() <= 1e3 and np.ptp(np.log10(total)) > 4.5
    assert y[:, -1].min() >= 20 and y[:, -1].max() <= 1e6 and np.all(y > 0)
    with pytest.raises(ValueError, match="'osu29' is not one of H, He and electrons"):
        random_states(jaxchem.load("osu29"), 3)
    with pytest.raises(ValueError, match=r"temperature=\(5, 2\): give a range"):
        random_states(network, 3, temperature=(5, 2))


def test_a_cloud_through_time(tmp_path):
    network = jaxchem.load("ism_atomic")
    found = evolve(
        network,
        ROUGH,
        densities=GAS,
        temperature=1e3,
        points=20,
        conditions={"metallicity": 0.5},
        phases={"density": [0.1, 10.0, 3], "uv_field": [1.0]},
    )
    cloud = Cloud(network, metallicity=0.5)
    ts = found.trajectory["time"].values
    assert ts[0] == 365 * 86400 and ts[-1] == pytest.approx(1e6 * 365 * 86400)
    how = {"rtol": 1e-9, "atol": 1e-24, "max_steps": 100_000}
    ys = np.asarray(jaxchem.solve(cloud.system, cloud.y0(GAS, 1e3), ts, **how).ys)
    np.testing.assert_allclose(found.trajectory["temperature"].values[0], ys[:, -1], rtol=1e-3)
    assert found.metrics["final/temperature"] == pytest.approx(ys[-1, -1], rel=1e-3)
    assert set(found.parts) == {"abundances", "thermal", "phases"}
    assert found.parts["phases"].dataset["settled"].all()
    assert "| cooling: metal lines |" in found.report and "metallicity 0.5" in found.report
    json.dumps(found.metrics)


def hot(gas):
    return 1e-18 * gas.nuclei


def test_gas_that_nothing_cools(monkeypatch):
    network = jaxchem.load("ism_atomic")
    monkeypatch.setattr(
        "jaxchem.clouds.Cloud",
        lambda *args, **how: Cloud(*args, **how, heating={"shocks": hot}, cooling={}),
    )
    with pytest.raises(ValueError, match=r"runs away above 1e\+09 K.* shocks heats with .*coolant"):
        evolve(
            network,
            ROUGH,
            densities=GAS,
            temperature=1e3,
            points=10,
            conditions={"metallicity": 0.0},
        )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"temperature": -3.0}, "temperature=-3.0: give a positive"),
        ({"densities": {"H+": 1.0, "e-": 0.1}}, "leave out the electrons"),
        ({"densities": {}}, "'ism_atomic' proposes no densities; give box.densities"),
        ({"years": 0.5}, "let 0 < first < years"),
        ({"cross_sections": {"light_H2": "x"}}, "no part without a spectrum"),
        ({"conditions": {"uv_field": -1.0}}, "uv_field=-1.0: give a number that is not negative"),
        ({"conditions": {"uv": 1.0}}, "no condition 'uv'"),
        ({"smooth": -1.0}, "smooth=-1.0: give a width"),
        ({"metal_table": "absent.dat"}, "no table of metal lines at absent.dat"),
        ({"spectrum": "absent.dat"}, "a spectrum is to be read from absent.dat"),
    ],
)
def test_bad_clouds(how, message):
    settings = {"densities": GAS, "temperature": 1e3, **how}
    with pytest.raises(ValueError, match=message):
        evolve(jaxchem.load("ism_atomic"), ROUGH, **settings)


def test_a_table_that_is_left(caplog):
    """It is told once, with what left it and how far."""
    network = jaxchem.load("ism_atomic")
    lines = MetalLines(np.array([0.0, 1.0]), np.array([2.0, 3.0]), np.full(4, -25.0))
    cloud = Cloud(network, metals=lines)
    ys = np.stack([cloud.y0({"H": 5.0}, t) for t in (50.0, 500.0, 5e3)])
    with caplog.at_level(logging.WARNING, "jaxchem"):
        label_thermal(cloud, np.arange(3.0), ys)
    (record,) = caplog.records
    said = record.getMessage()
    assert "metal lines go on beyond their table: a temperature of 50, where it ends at 100" in said
    assert "a temperature of 5e+03, where it ends at 1e+03" in said and "density" not in said
    assert Cloud(network, metals=lines).beyond(ys[1:2]) == ""


@pytest.mark.skipif(not (SHARED / "data" / "krome").is_dir(), reason="KROME's table is not here")
def test_the_whole_table_by_its_file():
    found = evolve(
        jaxchem.load("ism_atomic"),
        ROUGH,
        densities={
            "H": 62.376,
            "He": 26.0352,
            "H+": 0.62376,
            "He+": 0.26216,
            "He++": 0.07232,
            "H-": 0.1356,
        },
        temperature=1e3,
        points=9,
        metal_table=str(SHARED / "data" / "krome" / "coolZ_CIE2012NOUV.dat"),
    )
    with np.load(SHARED / "data" / "krome" / "krome_atom_single.npz") as data:
        last = float(data["T"][0, -1])
    assert found.metrics["final/temperature"] == pytest.approx(last, rel=1e-3)
