"""Units in the spellings of tables, against factors worked out by hand."""

import subprocess
import sys

import numpy as np
import pytest

from jaxchem.inference.units import convert, same, unit

AVOGADRO = 6.02214076e23
GAS = 8.31446261815324


@pytest.mark.parametrize(
    "kind, scale, texts",
    [
        ("concentration", 1e6 / AVOGADRO, "cm-3|cm^-3|cm⁻³|1/cm3|#/cm3|molecule cm-3|molec/cm3"),
        ("concentration", 1e6 / AVOGADRO, "molecules / cm^3|molec. cm**-3|Molecules per cm3"),
        ("concentration", 1e15 / AVOGADRO, "10^9 molecule cm-3|1e9 cm-3"),
        ("concentration", 1.0, "mol m-3|mol/m^3|mmol/L|mM|mmol dm-3|mol·m⁻³"),
        ("concentration", 1e-6, "nM|nmol/l|nmol L-1"),
        ("mass concentration", 1e-9, "ug m-3|µg/m3|μg m⁻³|ug/m^3|ng/L"),
        ("pressure", 100.0, "hPa|mbar"),
        ("pressure", 101325 / 760, "Torr|torr"),
        ("mole fraction", 1e-9, "ppb|ppbv|PPB|nmol/mol|nmol mol-1|ppb of N"),
        ("mole fraction", 0.01, "mol %|mol%|vol-%|% v/v"),
        ("mass fraction", 0.01, "wt%|wt %|wt.-%|weight %|% w/w"),
        ("mass fraction", 1.0, "weight fraction|mass fraction|g/g"),
        ("fraction", 0.01, "%|percent|% of STAT5A|% left"),
        ("fraction", 1.0, "1|-|fraction"),
        ("time", 60.0, "min|minutes|min.|Minutes|mins"),
        ("time", 3600.0, "h|hr|hrs|hour|hours|Hours"),
        ("time", 1.0, "s|sec|secs|second"),
        ("time", 365.25 * 86400, "a|yr|year|years"),
        ("temperature", 1.0, "K|°C|degC|deg C|C|Celsius"),
        ("angle", np.pi / 180, "deg|°|degrees"),
        ("rate", 1.0, "s-1|1/s|s^-1"),
    ],
)
def test_spellings(kind, scale, texts):
    for text in texts.split("|"):
        found = unit(text)
        assert found is not None and found.kind == kind, text
        assert found.scale == pytest.approx(scale, rel=1e-9), text


@pytest.mark.parametrize("text", ["", "2", "0", "1D", "UTC", "NO2", "oil", "left", "e-", "ppbC"])
def test_what_is_no_unit(text):
    assert unit(text) is None


def test_temperatures_have_a_zero():
    celsius, fahrenheit = unit("°C"), unit("degF")
    assert celsius is not None and fahrenheit is not None
    assert 25.0 * celsius.scale + celsius.zero == pytest.approx(298.15)
    assert 212.0 * fahrenheit.scale + fahrenheit.zero == pytest.approx(373.15)


def test_spellings_of_one_unit_are_the_same():
    assert same("molec/cm3", "cm-3") and same("wt %", "wt%") and same("hour", "h")
    assert same("mM", "mol m-3") and same("Relative  units", "relativeunits")
    assert not same("ppb", "ppm") and not same("wt%", "%") and not same("mV", "V")
    assert not same("°C", "K")


AIR = 101325 / (GAS * 298.15)  # mol m-3
AROUND = {"temperature": np.array([298.15]), "pressure": np.array([101325.0])}


@pytest.mark.parametrize(
    "given, wanted, factor",
    [
        ("ppm", "ppb", 1e3),
        ("ppb", "molecule cm-3", 1e-9 * AIR * AVOGADRO * 1e-6),
        ("molecule cm-3", "ppb", 1e9 / (AIR * AVOGADRO * 1e-6)),
        ("Pa", "mol m-3", 1 / (GAS * 298.15)),
        ("Torr", "ppm", 1e6 / 760),
        ("ug m-3", "molecule cm-3", 1e-12 / 46.005 * AVOGADRO),
        ("ppb", "ug m-3", 1e-9 * AIR * 46.005 * 1e6),
        ("mol/L", "nM", 1e9),
        ("%", "fraction", 0.01),
        ("%", "wt%", 1.0),
    ],
)
def test_factors(given, wanted, factor):
    found, _ = convert(unit(given), unit(wanted), AROUND, mass=46.005e-3)
    np.testing.assert_allclose(found, factor, rtol=1e-9)


@pytest.mark.parametrize(
    "given, wanted, word",
    [
        ("ppb", "molecule cm-3", "density"),
        ("Pa", "mol m-3", "temperature"),
        ("ug m-3", "mol m-3", "molar mass"),
        ("%", "mol m-3", "part of a whole"),
        ("wt%", "ppb", "no mole fraction"),
        ("mV", "ppb", "no mole fraction"),
    ],
)
def test_what_is_missing_is_said(given, wanted, word):
    with pytest.raises(ValueError, match=word):
        convert(unit(given), unit(wanted), {})


def test_pint_waits_for_a_unit():
    code = "import sys, jaxchem, jaxchem.inference; assert 'pint' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
