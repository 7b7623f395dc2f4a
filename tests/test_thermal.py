"""Thermo-chemistry beside KROME's right-hand side, terms and trajectories, and by itself."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot
from problems import SHARED

import jaxchem
from jaxchem import plot
from jaxchem.dataset import label_thermal, write
from jaxchem.thermal import COOLING, HEATING, Cloud, MetalLines

KROME = SHARED / "data" / "krome"
MODELS = {"ism_molecular": "mol", "ism_atomic": "atom"}
reference = pytest.mark.skipif(not KROME.is_dir(), reason="KROME's references are not here")

TERMS = {
    "photo": "photoheating",
    "cr": "cosmic rays",
    "dust": "photoelectric",
    "chem": "chemical",
    "atomic": "atomic lines",
    "compton": "Compton",
    "metal": "metal lines",
    "H2": "H2 lines",
}
"""KROME's name of a process -> ours."""


HOT_TRANSFER = (-8.8755774e3, 1.0081246e4, -4.8606622e3, 1.2889659e3)
HOT_TRANSFER += (-2.0319575e2, 1.9057493e1, -9.8530668e-1, 2.1675387e-2)
"""H2 + H+ from 1e5 K on, log10 of cm3 s-1 in powers of log10 T (Savin et al. 2004)."""


@functools.cache
def cloud(name, full=True):
    lines = MetalLines.read(KROME / "coolZ_CIE2012NOUV.dat") if full else None
    return Cloud(jaxchem.load(name), metals=lines)


def states(data, species, densities="n", temperature="T"):
    """[..., S + 1] of a file of KROME's, in our order."""
    order = [list(data["species"]).index(name) for name in species]
    return np.concatenate([data[densities][..., order], data[temperature][..., None]], axis=-1)


def of_krome(name, kind):
    with np.load(KROME / f"krome_{MODELS[name]}_{kind}.npz") as data:
        return dict(data)


START = {"H": 30.0, "H2": 5.0, "He": 4.0, "H+": 0.2, "He+": 0.01, "H-": 1e-9, "H2+": 1e-9}
START |= {"He++": 1e-9, "e-": 0.21}


def state(network, temperature=300.0):
    y = [START[name] for name in network.species]
    return jnp.array([*y, temperature])


@reference
@pytest.mark.parametrize("name", MODELS)
def test_rates_are_kromes(name):
    data, network = of_krome(name, "rhs"), jaxchem.load(name)
    run = jax.jit(jax.vmap(lambda y: cloud(name).rates(0.0, y)))
    found = np.asarray(run(states(data, network.species)))[:, : data["k"].shape[1]]
    known = data["k"].copy()
    if name == "ism_molecular":  # KROME rounds to 1.6e-10 what is exact here
        n = network.equations.index("H2 + H+ -> H2+ + H") + 1
        x = np.log10(data["T"].astype(np.longdouble))
        power = sum(np.longdouble(c) * x**i for i, c in enumerate(HOT_TRANSFER))
        known[:, n] = np.where(data["T"] >= 1e5, np.longdouble(10) ** power, 0)
        np.testing.assert_allclose(known[:, n], data["k"][:, n], rtol=2e-10, atol=1.1e-40)
    np.testing.assert_allclose(found, known, rtol=1e-10, atol=1.1e-40)  # its floor


@reference
@pytest.mark.parametrize("name", MODELS)
def test_the_right_hand_side_and_every_term_are_kromes(name):
    data, network = of_krome(name, "rhs"), jaxchem.load(name)
    y, system = states(data, network.species), cloud(name).system
    slope = np.asarray(jax.jit(jax.vmap(lambda y: system.field(0.0, y)))(y))
    np.testing.assert_allclose(slope, states(data, network.species, "dndt", "dTdt"), rtol=1e-8)
    heating, cooling = jax.jit(jax.vmap(cloud(name).terms))(y)
    for kind, terms in (("heating", heating), ("cooling", cooling)):
        for place, short in enumerate(data[f"{kind}_names"]):
            found = np.broadcast_to(terms[TERMS[short]], len(y))
            np.testing.assert_allclose(found, data[kind][:, place], rtol=1e-10, atol=1e-60)


@reference
@pytest.mark.parametrize("kind", ["single", "general"])
@pytest.mark.parametrize("name", MODELS)
def test_trajectories_are_kromes(name, kind):
    """At tight tolerance, and no further off than KROME's own at its default."""
    data, network = of_krome(name, kind), jaxchem.load(name)
    later, few = data["t_s"] > 0, slice(12)
    y0 = np.maximum(states(data, network.species, "ic_n", "ic_T")[few], 1e-30)
    tight = states(data, network.species)[few][:, later]
    rough = states(data, network.species, "n_default", "T_default")[few][:, later]
    system, ts = cloud(name).system, data["t_s"][later]

    def off(ys):
        return np.abs(np.log10(np.maximum(ys, 1e-30)) - np.log10(tight))[tight > 1e-18]

    for rtol, atol, worst in ((1e-8, 1e-26, np.log10(1 + 1e-4)), (1e-4, 1e-20, off(rough).max())):
        how = {"rtol": rtol, "atol": atol, "max_steps": 100_000, "throw": False}
        run = jax.jit(jax.vmap(lambda y, how=how: jaxchem.solve(system, y, ts, **how).ys))
        assert off(np.asarray(run(y0))).max() <= worst


@pytest.mark.parametrize("name", MODELS)
def test_what_is_conserved_stays(name):
    """Nuclei and charge, from any state, also where molecules form on dust."""
    network = jaxchem.load(name)
    system, ts = cloud(name, full=False).system, np.geomspace(1e8, 3e13, 6)
    y0 = state(network)
    ys = jaxchem.solve(system, y0, ts, rtol=1e-6, atol=1e-20).ys
    sums = np.asarray(system.conserved) @ np.asarray(ys).T
    scale = np.abs(system.conserved) @ np.asarray(y0)
    drift = np.abs(sums - np.asarray(system.conserved @ np.asarray(y0))[:, None])
    assert np.max(drift / scale[:, None]) < 1e-12
    assert np.all(np.asarray(ys)[:, -1] > 2.73)


def test_molecules_form_on_dust():
    """R = 3.5e-17 n(H) n(nuclei) for each unit of dust (Jura 1975)."""
    network = jaxchem.load("ism_molecular")
    y = state(network, 20.0)
    with_dust, without = (
        np.asarray(Cloud(network, dust_to_gas=dust).system.field(0.0, y)) for dust in (2.0, 1e-300)
    )
    place = network.index("H2")
    nuclei = sum(START[n] for n in ("H", "H+", "H-")) + 2 * (START["H2"] + START["H2+"])
    made = with_dust[place] - without[place]
    np.testing.assert_allclose(made, 2 * 3.5e-17 * START["H"] * nuclei, rtol=1e-6)


@pytest.mark.parametrize(
    "condition",
    ["cosmic_ray_rate", "uv_field", "visual_extinction", "dust_to_gas", "metallicity"],
)
def test_derivatives_with_respect_to_conditions(condition):
    """The temperature after a while, by central differences."""
    network = jaxchem.load("ism_molecular")
    value = {"cosmic_ray_rate": 3e-17, "uv_field": 1.0, "dust_to_gas": 0.3, "metallicity": 1.0}
    value["visual_extinction"] = 0.5

    def temperature(factor):
        given = {condition: factor * value[condition]}
        system = Cloud(network, **given).system
        how = {"rtol": 1e-9, "atol": 1e-24, "max_steps": 20_000}
        return jaxchem.solve(system, state(network), [3e12], **how).ys[-1, -1]

    exact = jax.jit(jax.grad(temperature))(1.0)
    run = jax.jit(temperature)
    difference = (run(1 + 1e-3) - run(1 - 1e-3)) / 2e-3
    np.testing.assert_allclose(exact, difference, rtol=1e-3)
    assert abs(exact) > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_finite_at_every_temperature(name):
    """Also in branches that are not chosen: cold, hot and at each switch."""
    network = jaxchem.load(name)
    system = cloud(name, full=False).system
    switches = [10.0, 30.0, 100.0, 500.0, 617.0, 1e3, 1160.0, 2e3, 5500.0, 6e3, 9284.0, 1e4, 1e5]
    temperatures = [2.0, 2.73, *switches, *(1.001 * t for t in switches), 1e7, 1e9, 1e10]
    y = jnp.stack([state(network, t) for t in temperatures])
    slopes = jax.jit(jax.vmap(jax.jacrev(lambda y: system.field(0.0, y))))(y)
    assert np.all(np.isfinite(slopes))
    matrix = jax.jit(jax.vmap(lambda y: system.jacobian(0.0, y)))(y)
    scale = np.max(np.abs(slopes), axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(matrix / scale, slopes / scale, atol=1e-9)


def test_a_start_is_neutral():
    cloud = Cloud(jaxchem.load("ism_molecular"))
    given = {"H": 10.0, "H+": 0.25, "He++": 0.01, "H-": 0.02}
    y = cloud.y0(given, 50.0)
    assert y[-1] == 50.0 and y[cloud.network.index("H2")] == 1e-30
    np.testing.assert_allclose(y[cloud.network.index("e-")], 0.25, rtol=1e-12)
    assert np.array_equal(cloud.y0({**given, "e-": 0.25}, 50.0), y)


@pytest.mark.parametrize(
    ("densities", "temperature", "message"),
    [
        ({"H": 1.0}, 0.0, "temperature=0.0: give a positive number of kelvin"),
        ({"H": 1.0}, -5.0, "temperature=-5.0: give a positive"),
        ({"H": 1.0}, np.nan, "temperature=nan: give a positive"),
        ({"H": -1.0}, 10.0, "the density of 'H' is -1.0"),
        ({"H": np.inf}, 10.0, "the density of 'H' is inf"),
        ({"H+": 1.0, "e-": 0.5}, 10.0, r"has 1 positive charges a cm3 and 0.5 negative ones"),
        ({"H-": 1.0}, 10.0, r"and 1 negative ones; leave out the electrons"),
        ({"CO": 1.0}, 10.0, "unknown species 'CO'"),
    ],
)
def test_bad_starts(densities, temperature, message):
    with pytest.raises(ValueError, match=message):
        Cloud(jaxchem.load("ism_molecular")).y0(densities, temperature)


def test_heating_and_cooling_in_time(tmp_path):
    """Every process by name against time; their sum is what the temperature follows."""
    cloud = Cloud(jaxchem.load("ism_molecular"))
    ts = np.geomspace(1e9, 3e13, 12)
    y0 = cloud.y0({"H": 70.0, "He": 29.0, "H+": 1.0, "H2": 1.0}, 2e4)
    ys = np.asarray(jaxchem.solve(cloud.system, y0, ts, rtol=1e-6, atol=1e-20).ys)
    found = label_thermal(cloud, ts, ys)
    assert found["heating"].dims == ("time", "heating_process")
    assert list(found["cooling_process"].values) == [*COOLING, "metal lines"]
    net = (found["heating"].sum("heating_process") - found["cooling"].sum("cooling_process")).values
    slope = np.asarray(jax.vmap(lambda y: cloud.system.field(0.0, y))(ys))[:, -1]
    particles = ys[:, :-1].sum(axis=1)
    np.testing.assert_allclose(0.66666666667 / (1.380648e-16 * particles) * net, slope, rtol=1e-9)
    write(found, tmp_path / "thermal.nc")
    _, ax = pyplot.subplots()
    plot.thermal(found, ax)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "H2 lines" in names and "photoelectric" in names
    pyplot.close("all")


def test_processes_of_ones_own_and_fewer():
    network = jaxchem.load("ism_atomic")
    y = state(network)

    def shocks(gas):
        return 1e-26 * gas.nuclei

    plain, more = Cloud(network), Cloud(network, heating={**HEATING, "shocks": shocks}, cooling={})
    heating, cooling = more.terms(y)
    assert set(heating) == {*HEATING, "shocks"} and set(cooling) == {"metal lines"}
    assert set(plain.terms(y)[1]) == {*COOLING, "metal lines"}
    np.testing.assert_allclose(heating["shocks"], 1e-26 * 30.2, rtol=1e-9)
    assert more.tendency(0.0, y)[-1] > plain.tendency(0.0, y)[-1]
    with pytest.raises(ValueError, match="no condition 'temperature'; known: cosmic_ray_rate"):
        Cloud(network, temperature=10.0)


@reference
def test_the_table_that_ships_is_near_the_one_it_is_from():
    gas = [MetalLines.shipped(), MetalLines.read(KROME / "coolZ_CIE2012NOUV.dat")]
    density, temperature = (np.linspace(*ends, 400) for ends in ((-4, 4), (1, 9)))
    network = jaxchem.load("ism_atomic")

    def cooling(lines, n, t):
        densities = jnp.zeros(len(network.species)).at[network.index("H")].set(10.0**n)
        return lines(Cloud(network, metals=lines).gas(jnp.append(densities, 10.0**t)))

    order = np.random.default_rng(0).permutation(400)
    coarse, fine = (
        np.log10(jax.vmap(functools.partial(cooling, lines))(density[order], temperature))
        for lines in gas
    )
    assert np.mean(np.abs(coarse - fine)) < 0.01 and np.max(np.abs(coarse - fine)) < 0.16


def test_a_table_is_bilinear_between_its_nodes(tmp_path):
    path = tmp_path / "table.dat"
    rows = [f"{x} {y} {2 * x - y + 3 * x * y}" for x in (0.0, 1.0, 2.0) for y in (1.0, 2.0, 3.0)]
    path.write_text("\n".join(["# x y z", "3, 3", *rows]))
    network, lines = jaxchem.load("ism_atomic"), MetalLines.read(path)
    gas = Cloud(network, metals=lines, metallicity=0.5)
    for x, y in ((0.3, 1.2), (1.0, 2.5), (2.0, 3.0), (-0.5, 3.5)):
        densities = jnp.zeros(len(network.species)).at[network.index("H+")].set(10.0**x)
        found = lines(gas.gas(jnp.append(densities, 10.0**y)))
        expected = 0.5 * 10.0 ** (2 * x + 2 * x - y + 3 * x * y)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 -25\n0 2 -24\n1 1 -25\n", "its nodes are no even grid"),
        ("0 1 -25\n0 2 x\n", "line 2: '0 2 x' is no number"),
        ("0 1\n0 1 -25 3\n", "line 2: want log10 density, temperature, value"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    path = tmp_path / "metals.dat"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        MetalLines.read(path)
    with pytest.raises(ValueError, match="no table of metal lines at"):
        MetalLines.read(tmp_path / "absent.dat")


def test_modules_are_imported_when_they_are_used():
    """As the README has it, after nothing but ``import jaxchem``."""
    code = "import jaxchem; jaxchem.thermal.Cloud; jaxchem.dataset.label_thermal; jaxchem.models"
    code += "; assert {'thermal', 'Network'} <= set(dir(jaxchem))"
    subprocess.run([sys.executable, "-c", code], check=True)
