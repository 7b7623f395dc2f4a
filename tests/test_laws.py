"""Rate laws of atmospheric mechanisms against their published formulas and figures."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import shared

from jaxchem.expression import Number, names
from jaxchem.network import Network, Reaction, Units
from jaxchem.rates import LAWS, mcm

AIR = (298.0, 2.46e19), (220.0, 1.7e18), (285.0, 2.2e19)
"""Temperature [K] and density [molecule cm-3]."""


def network(rate: str, quantities=None) -> Network:
    return Network.build(
        name="one",
        species={"A": None},
        reactions=[Reaction({"A": 1}, {}, rate, "-")],
        units=Units("molecule cm-3", "s"),
        quantities=quantities,
    )


@pytest.mark.parametrize("angle", [0.0, 0.7, 1.4, 1.57])
@pytest.mark.parametrize("number", mcm.PHOTOLYSIS)
def test_photolysis_by_day(number, angle):
    l, m, n = mcm.PHOTOLYSIS[number]  # noqa: E741
    expected = l * math.cos(angle) ** m * math.exp(-n / math.cos(angle))
    found = network("J", mcm.definitions([f"J{number}"]) | {"J": f"J{number}"})
    np.testing.assert_allclose(found.rates(solar_zenith_angle=angle), expected, rtol=1e-13)


@pytest.mark.parametrize("angle", [math.pi / 2, 1.58, 2.0, math.pi])
def test_photolysis_by_night_is_zero_and_so_is_its_slope(angle):
    def j(z):
        return mcm.mcm_photolysis(z, 6.073e-05, 1.743, 0.474)

    assert float(j(jnp.asarray(angle))) == 0.0
    assert float(jax.grad(j)(angle)) == 0.0


def test_photolysis_slope_by_day():
    def j(z):
        return 6.073e-05 * math.cos(z) ** 1.743 * math.exp(-0.474 / math.cos(z))

    slope = jax.grad(lambda z: mcm.mcm_photolysis(z, 6.073e-05, 1.743, 0.474))(1.0)
    assert slope == pytest.approx((j(1 + 1e-6) - j(1 - 1e-6)) / 2e-6, rel=1e-7)


def test_photolysis_table_is_the_published_one():
    rows = shared("data", "mechanisms", "atchem2", "photolysis-rates_v3.3.1")
    lines = [line.split() for line in rows.read_text().splitlines()[1:]]
    table = {int(r[0]): tuple(float(v.replace("D", "e")) for v in r[1:4]) for r in lines if r}
    assert table == mcm.PHOTOLYSIS


@pytest.mark.parametrize(
    "temperature, pressure", [(240.0, 37.667), (273.16, 611.657), (300.0, 3536.8)]
)
def test_water_vapour(temperature, pressure):
    """Saturation pressures [Pa] of Murphy & Koop 2005, table C1."""
    expected = 0.4 * pressure / (1.380649e-23 * temperature) * 1e-6
    found = network("water_vapour()").rates(temperature=temperature, relative_humidity=0.4)
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def mcm_by_hand(temperature: float, density: float, water: float) -> dict[str, float]:
    """Some coefficients of MCM v3.3.1, written out with plain numbers."""

    def troe(low, high, centre):
        width = 0.75 - 1.27 * math.log10(centre)
        exponent = 1 / (1 + (math.log10(low / high) / width) ** 2)
        return low * high / (low + high) * centre**exponent

    t, m, o2 = temperature, density, 0.2095 * density
    r = t / 300
    k3m = 6.5e-34 * math.exp(1335 / t) * m
    fc17 = 0.17 * math.exp(-51 / t) + math.exp(-t / 204)
    return {
        "KRO2NO": 2.7e-12 * math.exp(360 / t),
        "KNO3AL": 1.44e-12 * math.exp(-1862 / t),
        "KBPAN": troe(1.1e-5 * m * math.exp(-10100 / t), 1.9e17 * math.exp(-14100 / t), 0.3),
        "KFPAN": troe(3.28e-28 * m * r**-6.87, 1.125e-11 * r**-1.105, 0.3),
        "KMT05": 1.44e-13 * (1 + m / 4.2e19),
        "KMT06": 1 + 1.4e-21 * math.exp(2200 / t) * water,
        "KMT08": troe(3.2e-30 * m * r**-4.5, 3e-11, 0.41),
        "KMT11": 2.4e-14 * math.exp(460 / t) + k3m / (1 + k3m / (2.7e-17 * math.exp(2199 / t))),
        "KMT17": troe(5e-30 * m * r**-1.5, 1e-12, fc17),
        "KMT18": 9.5e-39 * o2 * math.exp(5270 / t) / (1 + 7.5e-29 * o2 * math.exp(5610 / t)),
        "KBPPN": troe(1.7e-3 * math.exp(-11280 / t) * m, 8.3e16 * math.exp(-13940 / t), 0.36),
    }


@pytest.mark.parametrize("temperature, density", AIR)
def test_mcm_coefficients(temperature, density):
    expected = mcm_by_hand(temperature, density, water=3e17)
    quantities = mcm.definitions(expected)
    for name, value in expected.items():
        k = network(name, quantities).rates(
            temperature=temperature, density=density, quantities={"H2O": 3e17}
        )
        np.testing.assert_allclose(k, value, rtol=1e-13, err_msg=name)


@pytest.mark.parametrize("file", ["mechanism.fac", "short.fac", "spec_model_1.fac"])
def test_mcm_coefficients_are_those_of_its_exports(file):
    """Every assignment of a file, read by the test, gives the value of the table."""
    text = shared("data", "mechanisms", "atchem2", file).read_text(encoding="utf-8")
    t, m = 271.0, 1.9e19
    scope = {"TEMP": t, "M": m, "O2": 0.2095 * m, "N2": 0.7809 * m, "H2O": 3e17}
    scope |= {"EXP": math.exp, "LOG10": math.log10}
    differs = []
    for name, rest in re.findall(r"^(K\w+|[FN]C?\w+) = ([^;]*) ;", text, re.MULTILINE):
        code = re.sub(r"([\d.])D([+-]?\d)", r"\1e\2", rest).replace("@", "**")
        if "RO2" in re.findall(r"\w+", code):
            continue
        scope[name] = eval(code, {}, scope)  # the test's own data, read by Python itself
        k = network(name, mcm.definitions([name, "H2O"])).rates(
            temperature=t, density=m, quantities={"H2O": 3e17}
        )
        if not math.isclose(float(k[0]), scope[name], rel_tol=1e-12):
            differs.append(name)
    assert len(scope) > 130
    assert differs == ([] if file == "spec_model_1.fac" else ["KNO3AL", "KBPPN"])


def test_definitions_come_after_what_they_name():
    found = mcm.definitions(["KMT06", "J4", "KMT11", "KBPPN"])
    order = list(found)
    for name, tree in found.items():
        for part in names(tree):
            assert part not in mcm.DEFINITIONS or order.index(part) < order.index(name)
    assert {"H2O", "K2", "FPPN"} <= set(found) and "KMT01" not in found
    assert mcm.definitions(["KDEC"]) == {"KDEC": Number(1e6)}


def test_definitions_have_all_names():
    found = mcm.definitions(mcm.DEFINITIONS)
    assert set(found) == set(mcm.DEFINITIONS)
    for tree in found.values():
        assert set(names(tree)) <= {*found, "temperature", "density"}


def test_definitions_refuse():
    with pytest.raises(ValueError, match="'KMT19'; did you mean 'KMT1"):
        mcm.definitions(["KMT19"])


def test_photolysis_names_have_numbers():
    assert set(mcm.PHOTOLYSIS_NAMES.values()) == set(mcm.PHOTOLYSIS) - {61}
    assert {"mcm_photolysis", "water_vapour"} <= set(LAWS)
