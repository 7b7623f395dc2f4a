"""The reader of UCLCHEM's networks against its program's rates, worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_parse_astro import JUNK, READERS, accounted, assert_survives

import jaxchem
from jaxchem.network import MechanismError
from jaxchem.parse import loads, uclchem

HEAD = (
    "Reactant 1,Reactant 2,Reactant 3,Product 1,Product 2,Product 3,Product 4,"
    "Alpha,Beta,Gamma,T_min,T_max,reduced_mass,extrapolate"
)
UCLCHEM_TEXT = f"""{HEAD}
H2,CRP,NAN,H2+,E-,NAN,NAN,1.2e-17,0.0,0.0,10.0,41000.0,0.0,False
CO,CRPHOT,NAN,O,C,NAN,NAN,1.3e-17,1.17,105.0,10.0,41000.0,0.0,False
H2O,PHOTON,NAN,H2O+,E-,NAN,NAN,2.71e-11,0.0,4.27,10.0,41000.0,0.0,False
! a comment
H3+,CO,NAN,HCO+,H2,NAN,NAN,1.36e-9,-0.14,-3.4,10.0,400.0,0.0,False
SI+,E-,NAN,SI,PHOTON,NAN,NAN,4.26e-12,-0.62,0.0,NAN,NAN,0.0,True
HCL,HE+,IONOPOL1,CL+,H,HE,NAN,1.0,3.3e-9,2.0,10.0,300.0,0.0,False
HCL,HE+,IONOPOL2,CL+,H,HE,NAN,1.0,3.3e-9,2.0,300.0,1000.0,0.0,False
H2,PHOTON,NAN,H,H,NAN,NAN,1.0,0.0,0.0,0.0,10000.0,0.0,False
CO,PHOTON,NAN,O,C,NAN,NAN,2.4e-10,0.0,3.88,10.0,41000.0,0.0,False
H,H,H2FORM,H2,NAN,NAN,NAN,1.0,0.0,0.0,0.0,10000.0,0.0,False
"""
GIVEN = {"photo: H2 -> 2 H": 5.0, "photo: CO -> O + C": 6.0, "H2FORM: 2 H -> H2": 7.0}
ZETA = 2.6e-17
"""Twice what UCLCHEM's zeta counts in."""


def expected(t: float, omega: float = 0.5) -> list[float]:
    polar = 3.3e-9 * (0.62 + 0.4767 * 2 * math.sqrt(300 / t))
    hotter = 3.3e-9 * (1 + 0.0967 * 2 * math.sqrt(300 / t) + 4 * 300 / (10.526 * t))
    warm = 10 <= t <= 41000
    return [
        1.2e-17 * 2 * warm,
        1.3e-17 * 105 / (1 - omega) * 2 * (t / 300) ** 1.17 * warm,
        2.71e-11 * math.exp(-4.27 * 2.0) * 3.4 / 1.7 * warm,
        1.36e-9 * (t / 300) ** -0.14 * math.exp(3.4 / t) * (10 <= t <= 400),
        4.26e-12 * (t / 300) ** -0.62,
        polar * (10 <= t <= 300),
        hotter * (300 <= t <= 1000),
        *(5.0, 6.0, 7.0),
    ]


def rates(network, temperature, omega=0.5):
    return network.rates(
        temperature=temperature,
        cosmic_ray_rate=ZETA,
        visual_extinction=2.0,
        uv_field=3.4 / 1.7,
        quantities={"dust_albedo": omega, **GIVEN},
    )


@pytest.mark.parametrize("temperature", [5.0, 10.0, 100.0, 300.0, 400.0, 401.0, 5e4])
def test_every_type(temperature):
    network = uclchem.loads(UCLCHEM_TEXT)
    np.testing.assert_allclose(rates(network, temperature), expected(temperature), rtol=1e-13)
    got = rates(network, temperature, 0.6)
    np.testing.assert_allclose(got, expected(temperature, 0.6), rtol=1e-13)
    slopes = jax.jacrev(lambda t: rates(network, t))(jnp.asarray(temperature))
    assert np.all(np.isfinite(slopes))


def test_what_is_said():
    network = loads(UCLCHEM_TEXT, "folder/reactions.csv")
    assert network.equations[0] == "H2 -> H2+ + E-" and network.equations[4] == "SI+ + E- -> SI"
    assert network.user_quantities == tuple(GIVEN)
    assert network.unbalanced() == {} and network.undeclared == ()
    assert network.elements == ("C", "Cl", "H", "He", "O", "Si", "charge")
    assert network.sources[1] == "UCLCHEM, line 3 CRPHOT" and network.name == "reactions"
    assert_survives(network)


def test_hydrogen_forms_in_first_order():
    network = uclchem.loads(UCLCHEM_TEXT)
    y = network.y0({"H": 11.0})
    change = jaxchem.tendency(network, rates(network, 100.0), y)
    assert float(change[network.index("H2")]) == pytest.approx(7.0 * 11.0)
    assert float(change[network.index("H")]) == pytest.approx(-2 * 7.0 * 11.0)


def test_input_of_makerates():
    """Without a header, in small letters, with blanks, comments and fewer fields."""
    text = """! the gas
He+ , SiO,, Si+, O, He ,, 8.6e-10,-0.5,0,,
h2,photon,,h,h,,,1,1,0,,, ! shielded
C,CRP,,C+,E-,,,2.3e-17,0,0,,,,
"""
    network = loads(text)
    assert network.equations == ("HE+ + SIO -> SI+ + O + HE", "H2 -> 2 H", "C -> C+ + E-")
    k = network.rates(temperature=75.0, cosmic_ray_rate=ZETA, quantities={"photo: H2 -> 2 H": 1.0})
    np.testing.assert_allclose(k, [8.6e-10 * 2, 1.0, 4.6e-17], rtol=1e-13)
    assert network.undeclared == () and network.unbalanced() == {}


def test_columns_count_by_name():
    columns = HEAD.split(",")
    order = np.random.default_rng(3).permutation(len(columns))
    rows = [line.split(",") for line in UCLCHEM_TEXT.splitlines() if line[0] != "!"]
    text = "\n".join(",".join(row[i] for i in order) for row in rows)
    network, own = uclchem.loads(text), uclchem.loads(UCLCHEM_TEXT)
    assert network.equations == own.equations and network.expressions() == own.expressions()


@pytest.mark.parametrize(
    "row",
    [
        "#CO,THERM,NAN,CO,NAN,NAN,NAN,1.0,0.0,1300.0,0.0,10000.0,0.0,False",
        "CO,FREEZE,NAN,#CO,NAN,NAN,NAN,1.0,0.0,0.0,0.0,10000.0,0.0,False",
        "@C,BULKSWAP,NAN,#C,NAN,NAN,NAN,1.0,0.0,0.0,0.0,10000.0,0.0,False",
        "#H,#H,lhdes,H2,NAN,NAN,NAN,1.0,0.0,0.0,0.0,10000.0,0.0,False",
        "E-,FREEZE,NAN,NAN,NAN,NAN,NAN,0.0,0.0,0.0,0.0,10000.0,0.0,False",
        "HE+,GAR,NAN,HE,NAN,NAN,NAN,1.0,0.0,0.0,0.0,10000.0,0.0,False",
    ],
)
def test_ices_are_refused_or_left_out(tmp_path, row):
    path = tmp_path / "reactions.csv"
    path.write_text(UCLCHEM_TEXT + row)
    with pytest.raises(MechanismError, match=r"reactions\.csv, line 13: .*skip=True"):
        jaxchem.load(path)
    with pytest.warns(UserWarning, match=r"reactions\.csv, line 13: left out: "):
        network = jaxchem.load(path, skip=True)
    assert network.equations == uclchem.loads(UCLCHEM_TEXT).equations


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Alpha,", "A,", "column 'a' is unknown"),
        ("Beta,", "Alpha,", "column 'alpha' is unknown or stands twice"),
        ("Gamma,", "", "no column 'gamma'"),
        ("1.36e-9", "NAN", "alpha is not finite"),
        ("1.36e-9", "x", "alpha is 'X'|alpha is 'x'"),
        ("10.0,400.0", "410.0,400.0", "is empty"),
        ("H3+,CO", "H3+,NAN", "name two species"),
        ("H3+,CO,NAN", "H3+,CRP,PHOTON", "name two species"),
        ("400.0,0.0,False", "400.0,0.0,perhaps", "write True or False"),
        ("400.0,0.0,False", "400.0,0.0", "13 fields; 14"),
        ("H3+,CO", "H3+*,CO", "no name of a species"),
    ],
)
def test_refusals(old, new, message):
    with pytest.raises(MechanismError, match=rf"f\.csv, line (1|6): .*({message})"):
        uclchem.loads(UCLCHEM_TEXT.replace(old, new, 1), "f.csv")


def test_it_is_told_from_the_others():
    assert uclchem.looks_like(UCLCHEM_TEXT)
    assert uclchem.looks_like("! c\nH,CRP,,H+,E-,,,1e-17,0,0,,,\n")
    for reader, text in READERS:
        assert not uclchem.looks_like(text) and not reader.looks_like(UCLCHEM_TEXT)
    assert not any(map(uclchem.looks_like, ("#EQUATIONS\nA + B = C : 1;", "a,b\n1,2\n", *JUNK)))


def test_every_line_counts():
    accounted(uclchem, UCLCHEM_TEXT, "! a comment", r"[A-Z0-9]+[+-]?|False|True")


@pytest.mark.parametrize("old, new", [("PHOTON", "PHOTN"), ("IONOPOL1", "IONPOL1")])
def test_misspelt_kinds_are_no_species(old, new):
    with pytest.raises(MechanismError, match=rf"line \d+: '{new}' is no species; .*'{old}'"):
        uclchem.loads(UCLCHEM_TEXT.replace(old, new))
