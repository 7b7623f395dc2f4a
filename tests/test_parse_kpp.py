"""KPP's language: what is read, what it means, and the references that KPP itself computed."""

import math
import re
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import shared

import jaxchem
from jaxchem.network import MechanismError
from jaxchem.parse import kpp, kpp_writer, loads, table

TEXT = """// a comment; with a semicolon
#INCLUDE atoms.kpp  { periodic table;
                      over two lines }
#DEFVAR
  A = 2O ; B = N + O;  { B; is; lumped }
  Unused = IGNORE;
  PAR = IGNORE; = IGNORE ;
#DEFFIX
  M1 = IGNORE;
  O2 = O + O
#CHECK O;
#FAMILIES Ox : A + 0.5 PAR;
#INITVALUES
  CFACTOR = 2.0E+10; ALL_SPEC = 1.0e-8;
  A = 50; {A = 60;}
  O2 = 1e3; Nowhere = 7;
  VAR_SPEC = 1.0D+0;
  B = 3.
#INLINE F90_INIT
  TSTART = 12*3600 ! noon
  TEND = TSTART + 24.0d0*3600.0d0
  TEMP = 250.0d0
#ENDINLINE {here}
#INLINE F77_RCONST
  KX = 9
#ENDINLINE
#INLINE F90_RCONST
  USE constants
  ! KX = 5
  KX = 3.0D-12*EXP(-200/temp) ; KY = 2*kx
  RO2 = C(ind_A) + &
     & C(ind_PAR)
  IF (TEMP > 300) THEN
    KZ = 1
  ELSE
    KZ = 2
  END IF
  IF (KX > 1) KV = 3
  CALL update
#ENDINLINE
#equations { of a test }
<R1> A + hv = 2B : 1.0E-3*SUN/60.0e0;
<R2> A {+ O2 + M} = B
     + 0.25 PAR - 0.5 A : ARR_ab(1.0E-11,
                                 100.0);
2 A + B = PROD : KY*RO2 ;
{ 4.} NO2X + M1 = .75B - PAR : RCONST(1)*2. ;
B = A : PHOTOL(3)*0.5_dp ;
B = DUMMY : K_HET(ind_B, 0.1_dp, State, .TRUE.) + KZ + KV ;
B+B+PAR=A:(temp/300)**-7.1*C(ind_PAR) ;
PAR = : MAX(1.0, 2.0*M, TEMP) + J(4) + J(J_NO2) + J(99) + FALL(1e-30,0.0,-2.0,2e-12,0.0,0.2,0.5);
"""


@pytest.fixture(scope="module")
def small():
    with pytest.warns(UserWarning, match="without a declaration.*NO2X"):
        return kpp.loads(TEXT, "folder/small.def")


def test_species_and_equations(small):
    assert small.name == "small"
    assert small.species == ("A", "B", "PAR", "M1", "NO2X")
    assert small.fixed == ("M1",)
    assert small.equations == (
        "A -> 2 B",
        "A -> B + 0.25 PAR + -0.5 A",
        "2 A + B ->",
        "NO2X + M1 -> 0.75 B + -1 PAR",
        "B -> A",
        "B ->",
        "2 B + PAR -> A",
        "PAR ->",
    )
    assert small.sources[:4] == ("FILE, R1", "FILE, R2", "FILE, equation 3", "FILE, equation 4")
    assert small.undeclared == ("PAR", "M1", "NO2X")
    assert small.balanced == ("O",)
    np.testing.assert_array_equal(small.composition, [[0, 1, 0, 0, 0], [2, 1, 0, 0, 0]])
    np.testing.assert_array_equal(small.stoichiometry[:3, 1], [-1.5, 1.0, 0.25])
    assert small.families == (("Ox", (("A", 1.0), ("PAR", 0.5))),)


def test_initial_values_of_groups_hold_for_what_is_not_named(small):
    """A is named before VAR_SPEC, B after it; M1 has what ALL_SPEC says."""
    scaled = {"A": 1e12, "B": 6e10, "PAR": 2e10, "NO2X": 2e10, "M1": 2e2}
    assert dict(small.initial) == pytest.approx(scaled)
    assert dict(small.defaults) == {
        "start": 43200.0,
        "end": 129600.0,
        "temperature": 250.0,
        "density": 2e16,
    }


def test_rates_of_the_small_mechanism(small):
    """Each by hand; the pools multiply in the kernel."""
    users = ("PHOTOL(3)", "K_HET(ind_B,0.1,State,.TRUE.)", "KZ", "KV", "J(99)")
    assert small.user_quantities == users
    assert small.pool_names == ("RO2", "C(ind_PAR)")
    given = dict(zip(users, (1.0, 2.0, 3.0, 4.0, 5.0), strict=True)) | {"J4": 0.25}
    k = small.rates(local_time=36000.0, quantities=given)
    x = (2 * 10 - 24) / 15
    sun = 0.5 * (1 + np.cos(np.pi * x * abs(x)))
    low, high = 1e-30 * (250 / 300) ** -2 * 2e16, 2e-12 * (250 / 300) ** 0.2
    fall = low / (1 + low / high) * 0.5 ** (1 / (1 + np.log10(low / high) ** 2))
    expected = [
        1e-3 * sun / 60,
        1e-11 * np.exp(-100 / 250),
        6e-12 * np.exp(-200 / 250),
        2e-3 * sun / 60,
        0.5,
        2.0 + 3.0 + 4.0,
        (250 / 300) ** -7.1,
        4e16 + 0.25 + 0.25 + 5.0 + fall,
    ]
    np.testing.assert_allclose(k, expected, rtol=1e-13)
    y = small.y0(dict.fromkeys(small.species, 2.0))
    flux = jaxchem.flux(small, jnp.ones(8), y)
    np.testing.assert_array_equal(flux, [2, 2, 8 * 4, 4, 2, 2, 8 * 2, 2])


def test_sun_rises_and_sets(small):
    for hour, sun in ((0, 0), (4.4, 0), (4.5, 0), (12, 1), (19.6, 0), (36, 1)):
        k = small.rates(local_time=hour * 3600.0, quantities={"*": 0.0, "J4": 0.0})
        assert float(k[0]) == pytest.approx(1e-3 * sun / 60, abs=1e-18)
    slope = jax.grad(lambda t: small.rates(local_time=t, quantities={"*": 0.0, "J4": 0.0})[0])(0.0)
    assert float(slope) == 0.0


MALFORMED = {
    "no rate": ("B = A : PHOTOL(3)*0.5_dp ;", "B = A ;", "line 48: 'B = A'"),
    "empty rate": ("B = A : PHOTOL(3)*0.5_dp ;", "B = A : ;", "line 48: "),
    "two equals": ("B = A : PHOTOL(3)*0.5_dp ;", "B = A = B : 1;", "line 48: "),
    "glued": ("B = A : PHOTOL", "B A = A : PHOTOL", "line 48: 'B A'.*one term after"),
    "bad term": ("B = A : PHOTOL", "B = %A : PHOTOL", "line 48: "),
    "fraction reacts": ("B = A : PHOTOL", "0.5 B = A : PHOTOL", "line 48: 0.5 B reacts"),
    "many react": ("B = A : PHOTOL", "9999999 B = A : PHOTOL", "line 48: 1e\\+07 B reacts"),
    "no expression": ("PHOTOL(3)*0.5_dp", "PHOTOL(3)**", "line 48: .*found nothing"),
    "law": ("ARR_ab(1.0E-11,", "ARR_ab(", "ARR_ab takes \\(a, b\\).*"),
    "no such RCONST": ("RCONST(1)", "RCONST(77)", r"line 47: RCONST\(77\)"),
    "circular RCONST": ("RCONST(1)", "RCONST(4)", r"line 47: RCONST\(4\) is defined by itself"),
    "circular name": ("KY = 2*kx", "KY = 2*ky", "line 30: KY is defined by itself"),
    "assigned twice": ("KY = 2*kx", "KX = 2", "line 30: KX is assigned twice"),
    "not a factor": ("KY*RO2", "KY+RO2", "line 46.*'RO2' is not simply a factor"),
    "no atom": ("B = N + O", "B = N + $", r"line 5: '\$' is no atom"),
    "no species": ("A = 2O ;", "A B = 2O ;", "line 5: 'A B = 2O'"),
    "no number": ("A = 50;", "A = lots;", "line 15: A = lots"),
    "no value": ("A = 50;", "A ;", "line 15: 'A'"),
    "no family": ("#FAMILIES Ox :", "#FAMILIES Ox", "line 12: "),
    "include": ("#INCLUDE atoms.kpp", "#INCLUDE there.spc", "line 2: includes 'there.spc'"),
    "open comment": ("{ 4.}", "{ 4.", "line 47: a comment begins here.*add '}'"),
    "open inline": ("#ENDINLINE\n#equations", "#equations", "has no #ENDINLINE"),
    "no equation": ("#equations", "#monitor", "line 5.: there is no equation"),
}


@pytest.mark.parametrize("old, new, words", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.filterwarnings("ignore:.*without a declaration")
def test_malformed(old, new, words):
    assert TEXT.count(old) == 1
    with pytest.raises(MechanismError, match=words) as caught:
        kpp.loads(TEXT.replace(old, new), "small.def")
    assert "small.def" in str(caught.value)


def test_includes(tmp_path):
    (tmp_path / "a.spc").write_text("#DEFVAR\nA = IGNORE;\n")
    (tmp_path / "a.def").write_text("#include ./a.spc\n#EQUATIONS\nA = PROD : 1.0 + ;\n")
    with pytest.raises(MechanismError, match=r"a\.def, line 3: .*found nothing"):
        jaxchem.load(tmp_path / "a.def")
    (tmp_path / "a.spc").write_text("#DEFVAR\nA = IGNORE + % ;\n")
    with pytest.raises(MechanismError, match=r"a\.spc, line 2"):
        jaxchem.load(tmp_path / "a.def")
    (tmp_path / "a.spc").write_text("#include a.def\n")
    with pytest.raises(MechanismError, match="more than 8 deep"):
        jaxchem.load(tmp_path / "a.def")


# Mechanisms as they are distributed

FILES = {  # species, of them fixed, reactions, quantities that the user gives
    "kpp_models/small_strato.def": (7, 2, 10, 0),
    "kpp_models/carbon.def": (11, 4, 5, 0),
    "kpp_models/saprc99.def": (79, 5, 211, 0),
    "kpp_models/saprcnov.def": (93, 5, 235, 0),
    "dsmacc_kpp_cbm4/cbm4.def": (33, 1, 81, 0),
    "dsmacc_kpp_strato/strato.def": (40, 6, 109, 0),
    "cri_subset/CRI_subset.kpp": (432, 0, 1190, 1),
    "arca_SimpleChem/second.def": (314, 4, 882, 1),
    "arca_SimpleChem/mcm_export.eqn": (313, 0, 881, 0),
    "kpp_mcm_isoprene/mcm_isoprene.eqn": (610, 0, 1944, 0),
    "geoschem_14.7/fullchem.eqn": (349, 3, 1058, 285),
    "geoschem_14.7/Hg.eqn": (38, 11, 94, 58),
    "geoschem_14.7/carbon.eqn": (14, 5, 8, 7),
}
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


def mechanism(name):
    return jaxchem.load(shared("data", "mechanisms", *name.split("/")))


@pytest.mark.parametrize("name, sizes", FILES.items())
def test_files(name, sizes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
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


# Writing

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


FORTRAN = "EXP LOG LOG10 SQRT ABS MIN MAX".split()
KPP_LAWS = "ARR_ab ARR_ac ARR_abc k_3rd k_3rd_iupac k_arr".split()
KPP_OWN = "TEMP SUN TIME CFACTOR".split()
MAY_SET = "TEMP TSTART TEND DT".split()


def kpp_side(side, faults, species):
    """Net counts of one side of an equation, by KPP's grammar."""
    counts = {}
    for i, part in enumerate(re.split(r" (?=[+-] )", side)):
        match = re.fullmatch(r"([+-] )?(\d+(?:\.\d+)?(?:e[+-]\d+)? )?([A-Za-z]\w*)", part)
        if match is None or (match[1] is None) != (i == 0):
            faults.append(f"term {part!r} of {side!r}")
        elif match[3] not in ("hv", "PROD"):
            if match[3] not in species:
                faults.append(f"species {match[3]!r} is not declared")
            sign = -1 if match[1] == "- " else 1
            counts[match[3]] = counts.get(match[3], 0) + sign * float(match[2] or 1)
    return frozenset(counts.items())


def kpp_expression(text, faults, variables, functions, species):
    """Complains of what Fortran would not compile, or would read in single precision."""
    inside = r"(?:[^()]|\([^()]*\))*"
    text = re.sub(rf"\b({'|'.join(functions) or ' '})\({inside}\)", "1D0", text)
    for argument in re.findall(r"\bJ\(([^)]*)\)", text):
        if not argument.isdecimal() or int(argument) > variables.get("J", 0):
            faults.append(f"J({argument})")
    text = re.sub(r"\bJ\(\d+\)", "1D0", text)
    for member in re.findall(r"\bC\(ind_(\w+)\)", text):
        if member not in species:
            faults.append(f"C(ind_{member})")
    text = re.sub(r"\bC\(ind_\w+\)", "1D0", text)
    if match := re.search(r"(\*|/|\+|-)\s*[+-]", text):
        faults.append(f"signs in {text[match.start() - 20 : match.end() + 20]!r}")
    for number in re.findall(r"(?<![\w.])\d[\w.]*(?:(?<=D)[+-]\d+)?", text):
        if not re.fullmatch(r"\d+(\.\d+)?D[+-]?\d+", number):
            faults.append(f"number {number}")
    for name, call in re.findall(r"(?<![\w.])([A-Za-z]\w*)(\()?", text):
        if name not in ([*FORTRAN, *KPP_LAWS] if call else [*KPP_OWN, *variables]):
            faults.append(f"{name!r} is not declared in {text[:80]!r}")
    if text.count("(") != text.count(")"):
        faults.append(f"brackets of {text!r}")


def kpp_faults(text):
    """What KPP 3 or Fortran would refuse in a file, by the rules of their manuals."""
    faults = [] if text.startswith("#LANGUAGE Fortran90\n") else ["language"]
    host = re.search(r"\{ Functions of the host: ([^}]*) \}", text)
    functions = host[1].replace(",", " ").split() if host else []
    inlined = dict(re.findall(r"^#INLINE F90_(\w+)\n(.*?)^#ENDINLINE$", text, re.M | re.S))
    faults += [line for code in inlined.values() for line in code.split("\n") if len(line) > 132]
    rest = re.sub(r"^#INLINE.*?^#ENDINLINE$", "", text, flags=re.M | re.S)
    rest = re.sub(r"\{[^{}]*\}", "", rest)
    if re.search(r"[{}]", rest) or not rest.isascii():
        faults.append("comments")
    sections = re.findall(r"^#(\w+)([^#]*)", rest, re.MULTILINE)
    entries = {}
    for title, body in sections:
        entries.setdefault(title, []).extend(e.strip() for e in body.split(";") if e.strip())
    atoms = set(entries.get("ATOMS", ()))
    species = {}
    for entry in (*entries.get("DEFVAR", ()), *entries.get("DEFFIX", ())):
        name, _, formula = entry.partition(" = ")
        if not re.fullmatch(r"[A-Za-z]\w{0,29}", name) or name.upper() in (
            *("HV", "PROD", "CFACTOR", "ALL_SPEC", "VAR_SPEC", "FIX_SPEC"),
            *map(str.upper, species),
        ):
            faults.append(f"species {name}")
        species[name] = formula
        for part in formula.split(" + ") if formula != "IGNORE" else ():
            if re.sub(r"^\d+", "", part) not in atoms:
                faults.append(f"atom {part} of {name}")
    faults += [f"check {e}" for e in entries.get("CHECK", ()) if e not in atoms]
    for entry in entries.get("INITVALUES", ()):
        name, _, value = entry.partition(" = ")
        if name not in (*species, "CFACTOR") or not re.fullmatch(r"\d+\.\d+(e[+-]?\d+)?", value):
            faults.append(f"value {entry}")
    variables = {}
    for line in inlined.get("GLOBAL", "").splitlines():
        pattern = r"  REAL\(dp\) :: ([A-Za-z]\w{0,62})(?:\((\d+)\))?"
        name, size = re.fullmatch(pattern, line).groups()
        known = {*map(str.upper, variables), *KPP_OWN, *MAY_SET, "C", "RCONST", "VAR", "FIX"}
        if name.upper() in known:
            faults.append(f"declaration of {name}")
        variables[name] = int(size or 0)
    done = set()
    for kind in ("INIT", "RCONST"):
        for statement in inlined.get(kind, "").replace(" &\n", " ").splitlines():
            name, _, value = statement.strip().partition(" = ")
            if name in done or name not in [*variables, *(MAY_SET if kind == "INIT" else ())]:
                faults.append(f"assignment {statement}")
            kpp_expression(value, faults, variables, functions, species)
            later = {*re.findall(r"^  (\w+) = ", inlined[kind], re.MULTILINE)} - done
            faults += [f"{n} comes later" for n in {*re.findall(r"\w+", value)} & later]
            done.add(name)
    seen = set()
    for entry in entries["EQUATIONS"]:
        label, sides, rate = re.fullmatch(r"(<R\d+>) ([^:]*) : (.*)", entry).groups()
        left, right = sides.split(" = ")
        key = (kpp_side(left, faults, species), kpp_side(right, faults, species))
        if key in seen or label in seen:
            faults.append(f"{sides} twice")
        seen |= {key, label}
        if len(rate) > 1100 or (re.search(r"\bSUN\b|\bJ\(|\bPHOTOL\(", rate) and "hv" not in left):
            faults.append(f"rate of {sides}")
        kpp_expression(rate, faults, variables, functions, species)
    return faults


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


def test_equations_that_cannot_be_joined():
    text = EVERY.partition("[reactions]")[0] + "[reactions]\nC -> CO ; 1 ; mine\n"
    with pytest.raises(ValueError, match=r"reactions 1 and 2 of network 'every'.*'C -> CO'.*'RO2'"):
        kpp_writer.dumps(table.loads(text + "C -> CO ; RO2 ; mine\n"))


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


def test_detection():
    assert kpp.looks_like(TEXT)
    with pytest.warns(UserWarning, match="without a declaration"):
        assert loads(TEXT).equations == loads(TEXT, format="kpp").equations
    with pytest.raises(ValueError, match="unknown format 'kp'; known: table"):
        jaxchem.load("pollu", format="kp")


# What mutated files found

SHORT = "#DEFVAR A=IGNORE;\n{}\n#EQUATIONS\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SHORT.format("#FAMILIES [Ox : A;") + "A=:1;", r"line 2: .*'FAMILY : SPECIES"),
        (SHORT.format("#INCLUDE atoms" + "s" * 400) + "A=:KX(;", "line 4: "),
        (
            SHORT.format("#INLINE F90_RCONST\nK=2+C(ind_A)\n#ENDINLINE") + "A=:K;",
            r"line 6\): the pool 'C\(ind_A\)' is not simply a factor",
        ),
        (
            SHORT.format(f"#INLINE F90_RCONST\nK=C(ind_A){'*M' * 99}\n#ENDINLINE") + "A=:K;",
            "line 3: K names concentrations",
        ),
        (SHORT.format("#INLINE F90_RCONST\nK=L\nL=K\n#ENDINLINE") + "A=:K;", r"line 4.*circle"),
        (SHORT.format("") + "A=:1;\n#INLINE F90_INIT", "line 5: #INLINE F90_INIT has no"),
        (
            SHORT.format("")
            + "A=:TEMP;\n"
            + "".join(f"A=:RCONST({j})+RCONST({j});" for j in range(1, 40)),
            "line 5: .*too long",
        ),
        (
            SHORT.format("")
            + "".join(f"A=:{'EXP(' * 40}RCONST({j}{')' * 41};" for j in range(2, 30)),
            "line 4: .*levels deep",
        ),
    ],
)
def test_mutants_that_were_not_refused(text, message):
    with pytest.raises(MechanismError, match=message):
        kpp.loads(text, "m.kpp")


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


def test_zeros_of_groups_are_not_proposed():
    text = "#DEFVAR A=IGNORE; B=IGNORE;\n#DEFFIX M=IGNORE;\n#INITVALUES {}\n#EQUATIONS\nA+M=B:1;"
    for lines, expected in (
        ("A=3; ALL_SPEC=0;", {"A": 3}),
        ("ALL_SPEC=2; a=0; VAR_SPEC=0.0;", {"A": 0, "M": 2}),
        ("FIX_SPEC=5; b=1.5; ALL_SPEC=2; VAR_SPEC=4;", {"A": 4, "B": 1.5, "M": 2}),
    ):
        assert dict(kpp.loads(text.format(lines)).initial) == expected


def test_names_in_any_case():
    """The spelling is that of the declaration, wherever that stands."""
    network = kpp.loads(
        "#EQUATIONS\nhno3 + oh = No3 + h2o + Prod : 1e-12*c(IND_NO3);\nnO3 = : 1;\n"
        "#INITVALUES hNO3=2;\n#FAMILIES NOy: hno3 + 2no3;\n#CHECK n; cl;\n#SETFIX H2o;\n"
        "#DEFVAR HNO3 = h + N + 3O; NO3 = N + 3o; OH = O + H; h2o = 2H + O; CLO = CL + O;"
    )
    assert network.species == ("HNO3", "NO3", "OH", "h2o")
    assert network.equations == ("HNO3 + OH -> NO3 + h2o", "NO3 ->")
    assert network.pool_names == ("C(ind_NO3)",) and network.fixed == ("h2o",)
    assert network.initial == (("HNO3", 2.0),)
    assert network.families == (("NOy", (("HNO3", 1.0), ("NO3", 2.0))),)
    assert network.elements == ("H", "N", "O") and network.balanced == ("N",)
    with pytest.raises(MechanismError, match="line 2: 'Co' and 'CO' differ in case alone"):
        kpp.loads("#DEFVAR CO = C + O;\nCo = IGNORE;\n#EQUATIONS\nCO = : 1;")


@pytest.mark.parametrize(
    ("move", "fixed"),
    [
        ("#SETFIX ALL_SPEC;", ("A", "B", "M")),
        ("#SETFIX var_spec;", ("A", "B", "M")),
        ("#SETVAR FIX_SPEC;", ()),
        ("#SETFIX FIX_SPEC; a;", ("A", "M")),
        ("#SETFIX ALL_SPEC;\n#SETVAR A; m;", ("B",)),
    ],
)
def test_groups_are_moved(move, fixed):
    text = f"#DEFVAR A=IGNORE; B=IGNORE;\n#DEFFIX M=IGNORE;\n{move}\n#EQUATIONS\nA+M=B:1;"
    assert kpp.loads(text).fixed == fixed


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


def test_names_of_the_air_that_are_species_too():
    text = "#DEFVAR A=IGNORE; H2O=IGNORE;\n#EQUATIONS\nA + H2O = : 1;\nA = : 2*H2O{};"
    with pytest.warns(UserWarning, match=r"line 4: 'H2O' in the rate is the air's.*C\(ind_H2O\)"):
        network = kpp.loads(text.format(""))
    np.testing.assert_array_equal(network.rates(quantities={"H2O": 3.0}), [1.0, 6.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # exports of the MCM mean the air
        kpp.loads(text.format("*KMT06"))


def test_a_sum_of_no_species_is_zero():
    text = SHORT.format("#INLINE F90_RCONST\nRO2 = C(ind_B)\n#ENDINLINE") + "A = : 2*RO2 ;"
    network = kpp.loads(text)
    assert table.dumps(table.loads(table.dumps(network))) == table.dumps(network)
    assert network.pool_names == () and network.rates()[0] == 0.0


def test_an_entry_without_an_end_is_refused_soon():
    started = time.perf_counter()
    with pytest.raises(MechanismError, match="line 4"):
        kpp.loads(SHORT.format("") + "A = B : 1\n" * 20_000)
    assert not kpp.looks_like("\n" * 100_000)
    assert time.perf_counter() - started < 3
