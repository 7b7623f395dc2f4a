"""Networks as KPP's files: the same kinetics when read again, and no fault by KPP's rules."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from kpp_files import FILES, kpp_faults, mechanism

import jaxchem
from jaxchem.parse import kpp, kpp_writer, table

CONDITIONS = {
    **{"temperature": 280.0, "density": 2.1e19, "local_time": 4e4, "cosmic_ray_rate": 1e-16},
    **{"solar_zenith_angle": 0.5, "relative_humidity": 0.4},
    **{"visual_extinction": 2.0, "gas_to_dust": 1e12},
}
OTHERS = ["osu29", "aoxid", "toy_autoxidation", "mcm_methane"]
"""Networks that ship, in molecule cm-3."""
EXTERNAL = [*FILES, *(f"atchem2/{n}.fac" for n in ("short", "spec_model_1")), "astro/react_cloud"]


def network_of(name):
    return jaxchem.load(name) if name in OTHERS else mechanism(name)


def true_names(text):
    """Species as the network calls them, from the declarations of a written file."""
    text = re.split(r"^#(?:CHECK|INIT|INLINE F90_RC|EQ)", text, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^(\w+) = [^;]*;(?: \{ (.*) \})?$", text, re.MULTILINE)
    return {own: true or own for own, true in rows}


def assert_same_kinetics(one, other, names):
    """Tendencies at random states and values; `names` of the other's species in the first."""
    order = [one.species.index(names[n]) for n in other.species]
    assert sorted(order) == list(range(len(one.species)))
    rng = np.random.default_rng(len(order))
    assert set(one.user_quantities) == set(other.user_quantities)
    given = {n: rng.uniform(0.5, 2.0) for n in one.user_quantities}
    k, k_other = (n.rates(**CONDITIONS, quantities=given) for n in (one, other))
    for _ in range(3):
        y = 10.0 ** rng.uniform(-1.0, 1.0, len(order))
        turnover = np.abs(one.stoichiometry) @ np.asarray(jaxchem.flux(one, k, jnp.asarray(y)))
        found = np.asarray(jaxchem.tendency(other, k_other, jnp.asarray(y[order])))
        expected = np.asarray(jaxchem.tendency(one, k, jnp.asarray(y)))
        assert np.all(np.abs(found - expected[order]) <= 1e-12 * turnover[order])


@pytest.mark.parametrize("name", [*FILES, "atchem2/spec_model_1.fac", *OTHERS])
def test_round_trip_through_kpp(name):
    """KPP's order is variable species first; equations of the same sides are one."""
    network = network_of(name)
    text = kpp_writer.dumps(network)
    again, names = kpp.loads(text, "again.def"), true_names(text)
    assert_same_kinetics(network, again, names)
    assert {names[n] for n in again.fixed} == set(network.fixed)
    assert dict(again.defaults) == dict(network.defaults)
    assert {names[n]: v for n, v in again.initial} == pytest.approx(
        dict(network.initial), rel=1e-15
    )
    assert set(again.needs) == set(network.needs)
    assert kpp_writer.dumps(again).partition("#EQUATIONS")[2].count(";") == len(again.equations)


@pytest.mark.parametrize("name", [*EXTERNAL, *OTHERS])
def test_what_is_written_keeps_the_rules_of_kpp(name):
    assert kpp_faults(kpp_writer.dumps(network_of(name))) == []


def test_the_rules_find_faults():
    """Each rule of the test above sees what it is for."""
    text = kpp_writer.dumps(jaxchem.load("mcm_methane"))
    assert kpp_faults(text) == []
    for old, new in (
        ("#LANGUAGE Fortran90\n", ""),
        ("J(4)", "J(4D0)"),
        ("J(4)", "J(4000)"),
        ("#EQUATIONS\n", "#EQUATIONS\n<R0> HO2 + OH = PROD : 1.0D0;\n<R00> HO2 + OH = PROD : 2D0;"),
        ("#EQUATIONS\n", "#EQUATIONS\n<R0> HO2 = - OH : 1.0D0;"),
        (" + hv", ""),
        ("#ATOMS ", "#ATOMS X"),
        ("D-12", "E-12"),
        ("REAL(dp) :: M\n", "REAL(dp) :: M9\n"),
        ("EXP(", "2.0D0 * -EXP("),
        ("#INLINE F90_RCONST\n", "#INLINE F90_RCONST\n  SUN = 1.0D0\n"),
        ("#DEFVAR\n", "#DEFVAR\nABCDEFGHIJKLMNOPQRSTUVWXYZ01234 = IGNORE;\n"),
        ("#DEFVAR\n", "#DEFVAR\nho2 = IGNORE;\n"),
    ):
        assert old in text
        assert kpp_faults(text.replace(old, new)), (old, new)


EVERY = """name = every
title = Braces {of} a } title
units = molecule cm-3, s
fixed = M2
[species]
C = C
Co
CO = CO
e- = e-
hv
a_name_that_is_longer_than_kpp_has_them = H2
a_name_that_is_longer_than_kpp_has_them_2 = H2
M2 = N2
[pools]
RO2 = C + CO
Ro2x = Co + CO
[quantities]
TIME = 2 * late
late = exp(-temperature / 300)
K1 = ?
TEMP = ?
ro2 = 3.0
"PHOTO.j #1" = ?
"x y{1}" = 2.0 * pressure
"J(99)" = ?
NAME = ?
[initial]
CO = 2.5e12
M2 = 0.0
[families]
Cx = CO + 0.5 Co
[sources]
mine = Nobody (1900).
[reactions]
C -> CO ; TIME * K1 ; mine
C -> CO ; TEMP * ro2 ; mine
C -> CO ; 2.5 ; mine
CO -> C ; 1e-3 * RO2 ; mine
CO -> C ; NAME * RO2 ; mine
Co -> 0.00001 C + -2 CO ; relative_humidity * C(ind_C) ; mine
-> e- ; "PHOTO.j #1" * "x y{1}" ; mine
hv -> -1 C ; "J(99)" ** -2 ; mine
hv + M2 -> a_name_that_is_longer_than_kpp_has_them ; max(1, -2 * -temperature) ; mine
a_name_that_is_longer_than_kpp_has_them_2 -> ; LONG ; mine
2 CO -> Co ; (LONG) * Ro2x ; mine
"""
LONG = " + ".join(f"1e-3 * exp(-{i} / temperature)" for i in range(1, 60))


@pytest.mark.parametrize("density", [None, 2e19])
def test_everything_that_kpp_says_otherwise(density):
    extra = f"[defaults]\ntemperature = 281.5\ndensity = {density}\n" if density else ""
    text = EVERY.replace("LONG", LONG).replace("C(ind_C)", "RO2").replace("[init", extra + "[init")
    network = table.loads(text)
    kpp_text = kpp_writer.dumps(network)
    assert kpp_faults(kpp_text) == []
    assert ("CFACTOR = 20000000000000.0;" in kpp_text) == (density is not None)
    assert ("M = 2.0D+19" in kpp_text) == (density is not None)
    again, names = kpp.loads(kpp_text, "again.def"), true_names(kpp_text)
    assert set(names.values()) == set(network.species)
    assert {names[n]: v for n, v in again.initial} == pytest.approx(dict(network.initial))
    assert dict(again.defaults) == dict(network.defaults)
    assert again.families == () and "{ Family Cx: CO + 0.5 Co }" in kpp_text
    assert len(again.equations) == 8
    assert again.user_quantities == ("K1_given", "TEMP_2", "NAME", "PHOTO_j__1", "J(99)")
    values = dict(zip(("K1", "TEMP", "NAME", "PHOTO.j #1", "J(99)"), range(2, 7), strict=True))
    given = dict(zip(again.user_quantities, range(2, 7), strict=True))
    conditions = CONDITIONS | {"pressure": 9e4}
    y = np.arange(1.0, 9.0)
    order = [network.species.index(names[n]) for n in again.species]
    expected = jaxchem.tendency(network, network.rates(**conditions, quantities=values), y)
    found = jaxchem.tendency(again, again.rates(**conditions, quantities=given), y[order])
    np.testing.assert_allclose(found, expected[np.array(order)], rtol=1e-12)


def test_files_that_are_written(tmp_path):
    network = jaxchem.load("osu29")
    for name, format in (("a.kpp", None), ("a.txt", None), ("b.txt", "kpp"), ("a.def", "table")):
        jaxchem.dump(network, tmp_path / name, format=format)
        again = jaxchem.load(tmp_path / name)
        assert_same_kinetics(network, again, dict(zip(again.species, network.species, strict=True)))
    assert (tmp_path / "b.txt").read_text() == (tmp_path / "a.kpp").read_text()
    with pytest.raises(ValueError, match="not as 'yaml'"):
        jaxchem.dump(network, tmp_path / "a.yaml", format="yaml")


def test_what_kpp_does_not_have():
    with pytest.raises(ValueError, match="ppm, min; a KPP mechanism here is in molecule cm-3"):
        kpp_writer.dumps(jaxchem.load("pollu"))
