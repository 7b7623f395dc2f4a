"""Rate laws of atmospheric mechanisms against their published formulas and figures."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import shared

from jaxchem.expression import Number, names
from jaxchem.network import Network, Reaction, Units
from jaxchem.rates import LAWS, geoschem, mcm

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
    scale, m, n = mcm.PHOTOLYSIS[number]
    expected = scale * math.cos(angle) ** m * math.exp(-n / math.cos(angle))
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
    """Saturation pressures [Pa] of Murphy & Koop 2005, appendix C."""
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


def falloff(low: float, high: float, centre: float) -> float:
    """JPL 19-5: k_low k_high / (k_low + k_high) F^(1 / (1 + log10(k_low / k_high)^2))."""
    exponent = 1.0 / (1.0 + math.log10(low / high) ** 2)
    return low * high / (low + high) * math.exp(math.log(centre) * exponent)


def iupac(low: float, high: float, centre: float) -> float:
    width = 0.75 - 1.27 * math.log10(centre)
    exponent = math.log10(centre) / (1 + (math.log10(low / high) / width) ** 2)
    return low * high / (low + high) * 10**exponent


def yield_of_nitrate(t: float, m: float, n: float) -> float:
    """Carter & Atkinson 1989: the ratio of nitrate to alkoxy, and its share of the sum."""
    ratio = falloff(1.94e-22 * math.exp(0.97 * n) * m, 0.826 * (t / 300) ** -8.1, 0.411)
    return ratio / (1 + ratio)


def isoprene(t: float, m: float, n: float) -> float:
    return falloff(2e-22 * math.exp(n) * m, 0.43 * (298 / t) ** 8, 0.41)


def shifted(t: float, c: float, d: float, e: float, f: float, g: float) -> float:
    k = d * math.exp(e / t + 1e8 / t**3)
    return c / (1 + f * math.exp(g / t) / k)


def geoschem_by_hand(t: float, m: float, water: float) -> dict:
    """GEOS-Chem's laws once more, in plain numbers."""
    r, exp = 300 / t, math.exp

    def arr(a, c):
        return a * exp(c / t)

    def abab(a1, b1, a2, b2, fv):
        return falloff(a1 * r**b1 * m, a2 * r**b2, fv)

    def abcabc(a1, b1, c1, a2, b2, c2, fv):
        return falloff(a1 * r**b1 * exp(c1 / t) * m, a2 * r**b2 * exp(c2 / t), fv)

    def third(a0, c0, a1, c1, a2, c2):
        k3 = arr(a2, c2) * m
        return arr(a0, c0) + 1 / (1 / k3 + 1 / arr(a1, c1))

    def total(a, b, x, y):
        return a * (x - y * t) * exp(b / t)

    share = max(0.0, 1 - 11.0729 * exp(-t / 73))
    acetol = max(0.0, 1 - 23.7 * exp(-t / 60))
    o2 = 0.2095 * m
    return {
        "GCARR_ab": lambda a, b: a * r**b,
        "GCARR_ac": arr,
        "GCARR_abc": lambda a, b, c: arr(a, c) * r**b,
        "ARRPLUS_ade": lambda a, d, e: max(0.0, a * d + a * e * t),
        "ARRPLUS_abde": lambda a, b, d, e: max(0.0, arr(a, -b) * (d + e * t)),
        "TUNPLUS_abcde": lambda a, b, c, d, e: max(0.0, a * (d + e * t) * exp(b / t + c / t**3)),
        "GCJPLPR_aa": lambda a1, a2, fv: falloff(a1 * m, a2, fv),
        "GCJPLPR_aba": lambda a1, b1, a2, fv: abab(a1, b1, a2, 0, fv),
        "GCJPLPR_abab": abab,
        "GCJPLPR_abcabc": abcabc,
        "GCJPLEQ_acabab": lambda a0, c0, *rest: abab(*rest) / arr(a0, c0),
        "GCJPLAC_ababac": lambda a1, b1, a2, b2, a3, c3, fv: (
            arr(a3, c3) * (1 - abab(a1, b1, a2, b2, fv) / (a2 * r**b2))
        ),
        "GC_PAN_abab": lambda a0, b0, a1, b1, cf: iupac(arr(a0, b0) * m, arr(a1, b1), cf),
        "GC_PAN_acac": lambda a0, c0, a1, c1, cf: iupac(a0 * m / r**c0, a1 / r**c1, cf),
        "GC_HO2HO2_acac": lambda a0, c0, a1, c1: (
            (arr(a0, c0) + arr(a1, c1) * m) * (1 + 1.4e-21 * water * exp(2200 / t))
        ),
        "GC_OHCO_a": lambda a: (
            falloff(5.9e-33 * (t / 300) ** -1 * m, 1.1e-12 * (t / 300) ** 1.3, 0.6)
            + falloff(1.5e-13 * m, 2.1e9 * (t / 300) ** 6.1, 0.6) / m
        ),
        "GC_OHHNO3_acacac": third,
        "GC_DMSOH_acac": lambda a0, c0, a1, c1: arr(a0, c0) * o2 / (1 + arr(a1, c1) * 0.2095),
        "GC_GLYXNO3_ac": lambda a, c: arr(a, c) * (o2 + 3.5e18) / (2 * o2 + 3.5e18),
        "GC_TBRANCH_1_acac": lambda a0, c0, a1, c1: arr(a0, c0) / (1 + arr(a1, c1)),
        "GC_RO2HO2_aca": lambda a0, c0, n: arr(a0, c0) * (1 - exp(-0.245 * n)),
        "GC_RO2NO_A1_ac": lambda a, c: arr(a, c) * 3e-4,
        "GC_RO2NO_B1_ac": lambda a, c: arr(a, c) * 0.9997,
        "GC_RO2NO_A2_aca": lambda a, c, n: arr(a, c) * yield_of_nitrate(t, m, n),
        "GC_RO2NO_B2_aca": lambda a, c, n: arr(a, c) * (1 - yield_of_nitrate(t, m, n)),
        "GC_NIT": lambda a, b, c, n, x, y: max(
            0.0, total(a, b, x, y) / (1 + c / isoprene(t, m, n))
        ),
        "GC_ALK": lambda a, b, c, n, x, y: max(
            0.0, total(a, b, x, y) / (1 + isoprene(t, m, n) / c)
        ),
        "GC_EPO_a": lambda a, e, q: arr(a, e) / (1 + q * m),
        "GC_ISO1": lambda a, b, *rest: arr(a, b) * (1 - shifted(t, *rest)),
        "GC_ISO2": lambda a, b, *rest: arr(a, b) * shifted(t, *rest),
        "GC_GLYCOH_A_a": lambda a: a * share,
        "GC_GLYCOH_B_a": lambda a: a * (1 - share),
        "GC_HACOH_A_ac": lambda a, c: arr(a, c) * acetol,
        "GC_HACOH_B_ac": lambda a, c: arr(a, c) * (1 - acetol),
    }


GEOSCHEM = [
    "GCARR_ab(6e-34, 2.4)",
    "GCARR_ac(1.7e-12, -940.0)",
    "GCARR_abc(8.54e-13, 1.54, -19.0)",
    "ARRPLUS_ade(6.92e-14, 1.1644, -7.0485e-4)",
    "ARRPLUS_ade(6.92e-14, 0.1, -1.0)",
    "ARRPLUS_abde(2.12e-13, -1300.0, -0.1644, 7.0485e-4)",
    "ARRPLUS_abde(2.12e-13, -1300.0, -0.1644, -7e-4)",
    "TUNPLUS_abcde(5.05e15, -1.22e4, 1e8, -0.0128, 5.1242e-5)",
    "TUNPLUS_abcde(5.05e15, -1.22e4, 1e8, -1.0, 5.1242e-5)",
    "GCJPLPR_aa(4e-28, 2.8e-10, 0.6)",
    "GCJPLPR_aba(1.8e-30, 3.0, 2.8e-11, 0.6)",
    "GCJPLPR_abab(7.3e-29, 4.1, 9.5e-12, 1.6, 0.5)",
    "GCJPLPR_abcabc(4.14e-4, 3.0, -10840.0, 2.76e14, -0.1, -10840.0, 0.6)",
    "GCJPLEQ_acabab(9e-29, 14000.0, 7.3e-29, 4.1, 9.5e-12, 1.6, 0.6)",
    "GCJPLAC_ababac(3.9e-31, 7.2, 1.5e-13, 4.8, 3.7e-14, 240.0, 0.6)",
    "GC_PAN_abab(1.1e-5, -10100.0, 1.9e17, -14100.0, 0.3)",
    "GC_PAN_acac(2.591e-28, -6.87, 1.125e-11, -1.105, 0.3)",
    "GC_HO2HO2_acac(3e-13, 460.0, 2.1e-33, 920.0)",
    "GC_OHCO_a(1.5e-13)",
    "GC_OHHNO3_acacac(2.41e-14, 460.0, 2.69e-17, 2199.0, 6.51e-34, 1335.0)",
    "GC_DMSOH_acac(8.2e-39, 5376.0, 1.05e-5, 3644.0)",
    "GC_GLYXNO3_ac(1.4e-12, -1860.0)",
    "GC_TBRANCH_1_acac(9.5e-14, 390.0, 26.2, -1130.0)",
    "GC_RO2HO2_aca(2.91e-13, 1300.0, 4.0)",
    "GC_RO2NO_A1_ac(2.8e-12, 300.0)",
    "GC_RO2NO_B1_ac(2.8e-12, 300.0)",
    "GC_RO2NO_A2_aca(2.9e-12, 350.0, 3.0)",
    "GC_RO2NO_B2_aca(2.9e-12, 350.0, 3.0)",
    "GC_NIT(2.7e-12, 350.0, 1.19, 6.0, 1.1644, 7.05e-4)",
    "GC_NIT(2.7e-12, 350.0, 1.19, 6.0, 0.1, 0.1)",
    "GC_ALK(2.7e-12, 350.0, 1.421, 6.0, -0.1644, -7.05e-4)",
    "GC_ALK(2.7e-12, 350.0, 1.421, 6.0, 0.1, 0.1)",
    "GC_EPO_a(5.82e-11, -400.0, 1.14e-20)",
    "GC_ISO1(1.7e-11, 390.0, 9.33e-2, 5.05e15, -1.22e4, 1.79e14, -8830.0)",
    "GC_ISO2(1.7e-11, 390.0, 9.33e-2, 5.05e15, -1.22e4, 1.79e14, -8830.0)",
    "GC_GLYCOH_A_a(8e-12)",
    "GC_GLYCOH_B_a(8e-12)",
    "GC_HACOH_A_ac(2e-12, 320.0)",
    "GC_HACOH_B_ac(2e-12, 320.0)",
]
"""Each law with the numbers of a reaction of GEOS-Chem, or with some that take it below zero."""


@functools.cache
def rates_of(*calls: str):
    """The coefficients of these calls, compiled, by temperature, density and water vapour."""
    many = Network.build(
        name="many",
        species={"A": None},
        reactions=[Reaction({"A": 1}, {}, text, "-") for text in calls],
        units=Units("molecule cm-3", "s"),
        quantities=mcm.definitions(["H2O"]),
    )
    return jax.jit(
        lambda t, m, water: many.rates(temperature=t, density=m, quantities={"H2O": water})
    )


def numbers(text: str) -> tuple[str, list[float]]:
    name, _, rest = text.rstrip(")").partition("(")
    return name.strip(), [float(n.lower().replace("d", "e")) for n in rest.split(",")]


@pytest.mark.parametrize("temperature, density", [*AIR, (150.0, 1e16)])
def test_geoschem(temperature, density):
    laws = geoschem_by_hand(temperature, density, 3e17)
    expected = [laws[name](*values) for name, values in map(numbers, GEOSCHEM)]
    k = rates_of(*GEOSCHEM)(temperature, density, 3e17)
    for text, value, wanted in zip(GEOSCHEM, k, expected, strict=True):
        assert float(value) == pytest.approx(wanted, rel=1e-12, abs=1e-40), text


def test_geoschem_has_all_its_laws():
    laws = geoschem_by_hand(298.0, 2.46e19, 3e17)
    assert {numbers(text)[0] for text in GEOSCHEM} == set(laws) == set(geoschem.__all__)
    assert set(laws) <= set(LAWS)


@pytest.mark.parametrize("file, count", [("fullchem.eqn", 560), ("Hg.eqn", 26)])
def test_geoschem_calls_of_its_mechanisms(file, count):
    """Every call of a gas-phase law in the files is known, and gives what the test gives."""
    text = shared("data", "mechanisms", "geoschem_14.7", file).read_text(encoding="utf-8")
    text = re.sub(r"\{[^}]*\}|//.*", "", text)
    found = re.findall(r"\b((?:GC|ARRPLUS|TUNPLUS)\w*\([^()]*\))", text)
    assert len(found) == count
    temperature, density = AIR[2]
    laws = geoschem_by_hand(temperature, density, 3e17)
    expected = [laws[name](*values) for name, values in map(numbers, found)]
    k = rates_of(*found)(temperature, density, 3e17)
    np.testing.assert_allclose(k, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "rate, published, tolerance",
    [
        # Burkholder et al. 2019 (JPL 19-5), 298 K: table 1, HO2 + HO2 -> H2O2 + O2
        ("GC_HO2HO2_acac(3.0e-13, 460.0, 0.0, 0.0)", 1.4e-12, 0.03),
        # table 3, K(298 K) of CH3C(O)O2 + NO2 = PAN, as the ratio of the two directions
        (
            "GCJPLPR_abab(7.3e-29, 4.1, 9.5e-12, 1.6, 0.6)"
            " / GCJPLEQ_acabab(9.0e-29, 14000.0, 7.3e-29, 4.1, 9.5e-12, 1.6, 0.6)",
            2.3e-8,
            0.03,
        ),
        # Atkinson et al. 2006 (IUPAC), OH + CO at 298 K and 1 bar of air: 2.3e-13, 8 %
        ("GC_OHCO_a(0)", 2.3e-13, 0.08),
        (
            "GCJPLPR_abab(6.9e-33, 2.1, 1.1e-12, -1.3, 0.6)"
            " + GCJPLAC_ababac(6.9e-33, 2.1, 1.1e-12, -1.3, 1.85e-13, -65, 0.6)",
            2.3e-13,
            0.08,
        ),
        # Atkinson et al. 2004 (IUPAC), OH + HNO3 at 298 K and 1 bar: 1.5e-13
        ("GC_OHHNO3_acacac(2.41e-14, 460, 2.69e-17, 2199, 6.51e-34, 1335)", 1.5e-13, 0.05),
    ],
)
def test_geoschem_against_published_figures(rate, published, tolerance):
    k = rates_of(rate)(298.0, 2.43e19, 0.0)
    assert float(k[0]) == pytest.approx(published, rel=tolerance)
