"""Mechanisms of KPP as they are distributed, and the references that KPP and SciPy computed."""

import math
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kpp_files import FILES, mechanism
from problems import shared

import jaxchem
from jaxchem.network import MechanismError
from jaxchem.parse import table

WITHOUT = {  # files that hold a part of a mechanism
    "kpp_models/small_strato.spc": "there is no equation",
    "kpp_models/saprc99.spc": "there is no equation",
    "kpp_models/saprcnov.spc": "there is no equation",
    "kpp_models/carbon.spc": "there is no equation",
    "kpp_models/atoms.kpp": "there is no equation",
    "dsmacc_kpp_cbm4/cbm4.spc": "there is no equation",
    "dsmacc_kpp_strato/strato.spc": "there is no equation",
}
ALONE = {  # equations without the declarations of their species
    "kpp_models/small_strato.eqn": (7, 10),
    "kpp_models/carbon.eqn": (11, 5),
    "kpp_models/saprc99.eqn": (79, 211),
    "kpp_models/saprcnov.eqn": (93, 235),
    "dsmacc_kpp_cbm4/cbm4.eqn": (33, 81),
    "dsmacc_kpp_strato/strato.eqn": (40, 109),
}


@pytest.mark.parametrize("name, sizes", FILES.items())
def test_files(name, sizes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", r".* does not define .*; taken from MCM v3\.3\.1")
        network = mechanism(name)
    users = len(network.user_quantities)
    assert (len(network.species), len(network.fixed), len(network.equations), users) == sizes
    text = table.dumps(network)
    again = table.loads(text)
    assert table.dumps(again) == text and again.structure == network.structure
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(network), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name, words", WITHOUT.items())
def test_parts_are_refused(name, words):
    with pytest.raises(MechanismError, match=rf"{name.split('/')[1]}, line \d+: {words}"):
        mechanism(name)


@pytest.mark.parametrize("name, sizes", ALONE.items())
def test_equations_alone(name, sizes):
    with pytest.warns(UserWarning, match="without a declaration"):
        network = mechanism(name)
    assert (len(network.species), len(network.equations)) == sizes


# KPP's own runs: see the data's README for the settings


def reference(name, mode):
    model = {"ss": "small_strato", "sap": "saprc99"}[name]
    network = mechanism(f"kpp_models/{model}.def")
    data = np.load(shared("data", "kpp", f"{name}_rodas4_{mode}.npz"))
    columns = [list(data["species"]).index(s) for s in network.species]
    return network, data["time_s"], data["conc"][:, columns], data["rconst"]


@pytest.mark.parametrize("name", ["ss", "sap"])
def test_rate_coefficients_of_kpp(name):
    """All 97 times of a day, those of the night included."""
    network, ts, _, expected = reference(name, "cont")
    rates = jax.jit(jax.vmap(lambda t: network.rates(local_time=t)))
    k = np.asarray(rates(jnp.asarray(ts)))
    np.testing.assert_array_equal(k[expected == 0], 0.0)
    np.testing.assert_allclose(k, expected, rtol=1e-12)


@pytest.mark.parametrize("mode", ["fixed", "pc", "cont"])
@pytest.mark.parametrize("name", ["ss", "sap"])
def test_trajectories_of_kpp(name, mode):
    """Photolysis of noon, frozen for 900 s, and continuous; floor 1e6 molecule cm-3."""
    network, ts, expected, _ = reference(name, mode)
    y0 = network.y0(dict(network.initial))
    np.testing.assert_allclose(y0, expected[0], rtol=1e-13)
    ts, settings = jnp.asarray(ts), {"rtol": 1e-8, "atol": 1e-3}
    if mode == "pc":

        def step(y, t):
            k = network.rates(local_time=t)
            y = jaxchem.solve(network, k, y, jnp.array([900.0]), **settings).ys[-1]
            return y, y

        ys = jax.jit(lambda: jax.lax.scan(step, y0, ts[:-1])[1])()
    else:
        k = network.rates(local_time=ts[0] if mode == "fixed" else lambda t: t)
        solve = jax.jit(lambda: jaxchem.solve(network, k, y0, ts[1:], t0=ts[0], **settings).ys)
        ys = solve()
    error = np.abs(ys - expected[1:]) / (np.abs(expected[1:]) + 1e6)
    assert float(error.max()) <= 1e-6


# The MCM: ARCA's SimpleChem


def simple_chem():
    """ARCA's SimpleChem under the conditions of its reference: network, k(t), state, times."""
    network = mechanism("arca_SimpleChem/second.def")
    data = np.load(shared("data", "kpp", "arcas_exactRO2_scipy_BDF_1e-8.npz"))
    air = 2.5e19

    def zenith(t):
        return jnp.minimum(jnp.deg2rad(89.5), jnp.abs(2 * jnp.pi * t / 86400 - jnp.pi))

    k = network.rates(
        temperature=298.0,
        density=air,
        solar_zenith_angle=zenith,
        quantities={"O2": 0.21 * air, "N2": 0.78 * air, "H2O": 0.01 * air, "RES1": 1e-3},
    )
    ppb = {"O3": 40, "NO2": 1, "NO": 0.2, "CO": 120, "SO2": 0.2, "APINENE": 0.5, "HCHO": 1}
    y0 = network.y0({n: v * 1e-9 * air for n, v in {**ppb, "H2": 500}.items()})
    shared_names = [s for s in network.species if s in data["species"]]
    rows = [network.index(s) for s in shared_names]
    columns = [list(data["species"]).index(s) for s in shared_names]
    assert set(network.species) - set(shared_names) == {"APINENE", "NO2", "NO", "SO2"}
    return network, k, y0, data["time_s"], rows, data["conc"][:, columns]


def plain_rates(text, constants):
    """Rate coefficients of an MCM export: its text as Python, and nothing of jaxchem.

    Args:
        text: the export, from #EQUATIONS on.
        constants: assignments of the generic coefficients, in FACSIMILE.

    Returns:
        A function of TEMP, M, O2, N2, H2O, J_NO2 and so on.
    """

    def python(rate):
        rate = re.sub(r"(\d\.?)[dD]([+-]?\d)", r"\1e\2", rate).replace("@", "**")
        return compile(re.sub(r"\bJ\((\w+)\)", r"\1", rate).strip(), "rate", "eval")

    known = re.findall(r"^\s*(\w+)\s*=\s*([^;%]+);", constants, re.MULTILINE)
    known = [(name, python(rate)) for name, rate in known if "RO2" not in (name, rate[-4:-1])]
    rates = re.findall(r"^(?:<\d+>)?[^:/\n]*=[^:\n]*:([^;]+);", text, re.MULTILINE)
    rates = [python(rate) for rate in rates]

    def at(**values):
        scope = {"EXP": math.exp, "LOG10": math.log10, "RO2": 1.0, **values}
        for name, rate in known:
            scope[name] = eval(rate, {"__builtins__": {}}, scope)
        return [eval(rate, {"__builtins__": {}}, scope) for rate in rates]

    return at


def test_rate_coefficients_of_the_mcm():
    """SimpleChem at the 97 times of its reference, against the text of the file itself."""
    folder = shared("data", "mechanisms", "arca_SimpleChem", "second.def").parent
    text = (folder / "second.def").read_text().partition("#EQUATIONS")[2]
    constants = (folder.parent / "atchem2" / "spec_model_1.fac").read_text()
    rows = (folder.parent / "atchem2" / "photolysis-rates_v3.3.1").read_text().splitlines()[1:]
    light = {int(r.split()[0]): [float(v.replace("D", "e")) for v in r.split()[1:4]] for r in rows}
    plain = plain_rates(text, constants)
    _, k, _, ts, *_ = simple_chem()
    found = np.asarray(jax.jit(jax.vmap(k))(jnp.asarray(ts)))
    assert found.shape == (97, 882)
    air = {"TEMP": 298.0, "M": 2.5e19, "O2": 0.525e19, "N2": 1.95e19, "H2O": 0.025e19, "RES1": 1e-3}
    for t, row in zip(ts, found, strict=True):
        cosine = math.cos(min(math.radians(89.5), abs(2 * math.pi * t / 86400 - math.pi)))
        j = {
            name: light[n][0] * cosine ** light[n][1] * math.exp(-light[n][2] / cosine)
            for name, n in MCM_J.items()
        }
        np.testing.assert_allclose(row, plain(**air, **j), rtol=1e-12)


MCM_J = {
    **{"J_O3_O1D": 1, "J_O3_O3P": 2, "J_H2O2": 3, "J_NO2": 4, "J_NO3_NO": 5, "J_NO3_NO2": 6},
    **{"J_HONO": 7, "J_HNO3": 8, "J_HCHO_H": 11, "J_HCHO_H2": 12, "J_CH3CHO": 13},
    **{"J_C3H7CHO_HCO": 15, "J_IPRCHO": 17, "J_MACR_HCO": 18, "J_MACR_H": 19, "J_C5HPALD1": 20},
    **{"J_CH3COCH3": 21, "J_MEK": 22, "J_MVK_CO": 23, "J_MVK_C2H3": 24, "J_GLYOX_H2": 31},
    **{"J_GLYOX_HCHO": 32, "J_GLYOX_HCO": 33, "J_MGLYOX": 34, "J_BIACET": 35, "J_CH3OOH": 41},
    **{"J_CH3NO3": 51, "J_NC3H7NO3": 53, "J_IC3H7NO3": 54, "J_TC4H9NO3": 55, "J_NOA": 56},
}
"""Photolysis of the exports -> its number in the MCM (the species it stands with tell which)."""


def test_exact_peroxy_radicals():
    """MCM chemistry of 310 species, RO2 from the present state, against SciPy; floor 1e6."""
    network, k, y0, ts, rows, expected = simple_chem()
    ts = jnp.asarray(ts[:25])  # 6 hours; the whole day is a slow test
    settings = {"rtol": 1e-6, "atol": 1e-3, "method": "rodas3"}  # few stages compile fast
    solve = jax.jit(lambda: jaxchem.solve(network, k, y0, ts[1:], **settings).ys)
    error = np.abs(solve()[:, rows] - expected[1:25]) / (np.abs(expected[1:25]) + 1e6)
    assert float(error.max()) <= 1e-5


@pytest.mark.slow
def test_exact_peroxy_radicals_of_a_day():
    network, k, y0, ts, rows, expected = simple_chem()
    ts = jnp.asarray(ts)
    solve = jax.jit(lambda: jaxchem.solve(network, k, y0, ts[1:], rtol=1e-8, atol=1e-3).ys)
    error = np.abs(solve()[:, rows] - expected[1:]) / (np.abs(expected[1:]) + 1e6)
    assert float(error.max()) <= 1e-6
