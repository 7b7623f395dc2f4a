"""Rates in KPP's Fortran: definitions that are inlined, the air, and laws as they are written."""

import math
import re
import warnings

import numpy as np
import pytest
from kpp_files import kpp_faults

import jaxchem
from jaxchem.parse import kpp, kpp_writer, table

# Reading

AIR_OF_CFACTOR = {  # CFACTOR, inlined code, rate -> the default density
    "a rate": ("2e13", "", "1 + EP3(1e-13, 0.0, 1e-33, 0.0)", 2e19),
    "a definition": ("2e13", "K = EP2(1.,1.,1.,1.,1.,1.)", "2*K", 2e19),
    "its own M": ("2e13", "", "GCJPLPR_aa(1e-33, 1e-11, 0.6)", None),
    "no number density": ("1.0", "", "EP3(1e-13, 0.0, 1e-33, 0.0)", None),
    "a mixing ratio": ("2.5e4", "", "EP3(1e-13, 0.0, 1e-33, 0.0)", None),
    "none": ("", "", "EP3(1e-13, 0.0, 1e-33, 0.0)", None),
}


@pytest.mark.parametrize("factor, code, rate, density", AIR_OF_CFACTOR.values(), ids=AIR_OF_CFACTOR)
def test_air_by_cfactor(factor, code, rate, density):
    values = f"#INITVALUES CFACTOR={factor};" if factor else ""
    inline = f"#INLINE F90_RCONST\n{code}\n#ENDINLINE\n#EQUATIONS\n"
    network = kpp.loads(f"#DEFVAR A=IGNORE;\n{values}\n{inline}A=:{rate};")
    assert dict(network.defaults).get("density") == (
        None if density is None else pytest.approx(density, rel=1e-15)
    )


def test_definitions_that_name_concentrations():
    """By hand: mass action with k [M] [B] of the definition, and a sum over several lines."""
    network = kpp.loads(
        "#DEFVAR A=IGNORE; B=IGNORE; D=IGNORE;\n#INLINE F90_RCONST\n"
        "K = 1.D-12*M*C(ind_B)\nTWICE = K*2\nRO2 = 0.D0 + C(ind_A) &\n + C(ind_D)\n"
        "SUM = 0.0_dp\nSUM = SUM + C(ind_A)\nsum = Sum + C(ind_B)\n#ENDINLINE\n"
        "#EQUATIONS\nA = : K;\nB = : TWICE/4;\nD = : 3*RO2;\nA = D : SUM;\n"
    )
    a, b, d = 2.0, 3.0, 5.0
    y = network.y0({"A": a, "B": b, "D": d})
    k = network.rates(density=2e13)
    flux = [20 * b * a, 10 * b * b, 3 * (a + d) * d, (a + b) * a]
    np.testing.assert_allclose(jaxchem.flux(network, k, y), flux, rtol=1e-14)
    assert table.dumps(table.loads(table.dumps(network))) == table.dumps(network)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("C(ind_A) + C(ind_B)", {"A": 1.0, "B": 1.0}),
        ("2.5D0*C(ind_A) - .5_dp * C(ind_B)", {"A": 2.5, "B": -0.5}),
        ("-1.25E-3*C(ind_A) + 0.0*C(ind_B)", {"A": -1.25e-3}),
        ("C(ind_A) + C(ind_B) + 2*C(ind_A)", {"A": 3.0, "B": 1.0}),
        ("C(ind_A) - C(ind_A)", {}),
    ],
)
def test_weighted_sums(text, weights):
    """As Fortran would add them up: what stands twice counts twice."""
    network = kpp.loads(
        f"#DEFVAR A=IGNORE; B=IGNORE;\n#INLINE F90_RCONST\nS = {text}\n#ENDINLINE\n"
        "#EQUATIONS\nA = B : 3*S;"
    )
    assert network.pool_names == (("S",) if weights else ())
    for row in network.structure.pools:
        found = dict(zip(network.species, row, strict=True))
        assert {n: w for n, w in found.items() if w} == weights
    y = network.y0({"A": 2.0, "B": 7.0})
    total = 2 * weights.get("A", 0.0) + 7 * weights.get("B", 0.0)
    np.testing.assert_allclose(jaxchem.flux(network, network.rates(), y), [3 * total * 2], 1e-14)


def test_names_of_the_air_that_are_species_too():
    text = "#DEFVAR A=IGNORE; H2O=IGNORE;\n#EQUATIONS\nA + H2O = : 1;\nA = : 2*H2O{};"
    with pytest.warns(UserWarning, match=r"line 4: 'H2O' in the rate is the air's.*C\(ind_H2O\)"):
        network = kpp.loads(text.format(""))
    np.testing.assert_array_equal(network.rates(quantities={"H2O": 3.0}), [1.0, 6.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # exports of the MCM mean the air
        warnings.filterwarnings("ignore", "<text> does not define KMT06")
        kpp.loads(text.format("*KMT06"))


def test_a_sum_of_no_species_is_zero():
    network = kpp.loads(
        "#DEFVAR A=IGNORE;\n#INLINE F90_RCONST\nRO2 = C(ind_B)\n#ENDINLINE\n"
        "#EQUATIONS\nA = : 2*RO2 ;"
    )
    assert table.dumps(table.loads(table.dumps(network))) == table.dumps(network)
    assert network.pool_names == () and network.rates()[0] == 0.0


# Writing

LAWS = """name = laws
units = molecule cm-3, s
[species]
A
[sources]
mine = Nobody (1900).
[reactions]
"""


def written(rates, head=LAWS):
    """Of a network with these rates, the file and each rate as Python."""
    rows = [f"{i + 1} A -> ; {rate} ; mine" for i, rate in enumerate(rates)]
    text = kpp_writer.dumps(table.loads(head + "\n".join(rows) + "\n"))
    assert kpp_faults(text) == []
    found = re.findall(r"^<R\d+> [^:]* : (.*);$", text, re.MULTILINE)
    return text, [re.sub(r"(\d)D([+-]?\d)", r"\1e\2", rate) for rate in found]


def test_laws_that_kpp_does_not_have_are_arithmetic():
    """Their text, evaluated by Python, against the formulas; KPP's own stay calls."""
    t, m, zeta = 250.0, 2e19, 3e-17
    ratio = 3e-31 * math.exp(-10 / t) * (t / 300) ** -2.6 * m
    high = 2e-12 * math.exp(-20 / t) * (t / 300) ** 0.5
    broad = 0.6 ** (1 / (1 + math.log10(ratio / high) ** 2))
    third = 3e-33 * math.exp(-30 / t) * m
    cases = {
        "arrhenius(2e-12, -500)": 2e-12 * math.exp(2),
        "kooij(2e-9, -0.5, 100)": 2e-9 * (t / 300) ** -0.5 * math.exp(-0.4),
        "cosmic_ray(0.5)": 1.5e-17,
        "2 * EP2(1e-14, -10, 2e-17, -20, 3e-33, 30)": 2
        * (1e-14 * math.exp(10 / t) + third / (1 + third / (2e-17 * math.exp(20 / t)))),
        "EP3(2e-13, -600, 1.7e-33, -1000)": 2e-13 * math.exp(2.4) + 1.7e-33 * math.exp(4) * m,
        "FALL(3e-31, 10, -2.6, 2e-12, 20, 0.5, 0.6)": ratio / (1 + ratio / high) * broad,
        "ARR2(1e-12, -500)": 1e-12 * math.exp(-2),
        "ARR(1e-12, -500, 1.5)": 1e-12 * math.exp(2) * (t / 300) ** 1.5,
        "1e-3 * SUNLIGHT()": 1e-3 * 0.75,
    }
    text, found = written(cases)
    scope = {"TEMP": t, "M": m, "SUN": 0.75, "COSMIC_RAY_RATE": zeta}
    scope |= {"EXP": math.exp, "LOG10": math.log10, "__builtins__": {}}
    values = [eval(rate, scope) for rate in found]
    np.testing.assert_allclose(values, list(cases.values()), rtol=1e-13)
    assert re.findall(r":: (\w+)", text) == ["M", "COSMIC_RAY_RATE"]
    cases = {
        "GCARR_ab(1e-12, 2)": 1e-12 * (300 / t) ** 2,
        "GCARR_ac(1e-12, -500)": 1e-12 * math.exp(-2),
        "GCARR_abc(1e-12, -1.5, 500)": 1e-12 * (300 / t) ** -1.5 * math.exp(2),
    }
    values = [eval(rate, scope) for rate in written(cases)[1]]
    np.testing.assert_allclose(values, list(cases.values()), rtol=1e-13)
    text, found = written(["ARR_abc(1e-12, -2, 3)", "k_3rd(temperature, density, 1, 2, 3, 4, 0.6)"])
    assert found[0] == "ARR_abc(1.0e-12, -2.0e0, 3.0e0)"
    assert found[1] == "k_3rd(TEMP, M, 1.0e0, 2.0e0, 3.0e0, 4.0e0, 0.6e0)"


def test_laws_of_other_hosts():
    text, _ = written(["GCJPLPR_aa(1e-33, 1e-11, 0.6)"])
    assert "{ Functions of the host: GCJPLPR_aa }" in text
    with pytest.raises(ValueError, match=r"reaction '2 A ->': the rate law 'water_vapour'"):
        written(["1.0", "water_vapour() * 2"])
    head = LAWS.replace("[reactions]", "[quantities]\nQ = mcm_photolysis(1, 2, 3)\n[reactions]")
    with pytest.raises(ValueError, match="quantity 'Q': the rate law 'mcm_photolysis'"):
        written(["Q"], head)
