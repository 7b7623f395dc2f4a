"""KPP's language: what is read, what it means, and what is refused."""

import math
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxchem
from jaxchem.network import MechanismError
from jaxchem.parse import kpp, loads

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
    users = ("PHOTOL(3)", "K_HET(ind_B,0.1,State,.TRUE.)", "KV", "J(99)")
    assert small.user_quantities == users
    assert small.pool_names == ("RO2", "C(ind_PAR)")
    given = dict(zip(users, (1.0, 2.0, 3.0, 4.0), strict=True)) | {"J4": 0.25}
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
        2.0 + 2.0 + 3.0,  # KZ is 2 below 300 K
        (250 / 300) ** -7.1,
        4e16 + 0.25 + 0.25 + 4.0 + fall,
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


def test_detection():
    assert kpp.looks_like(TEXT)
    with pytest.warns(UserWarning, match="without a declaration"):
        assert loads(TEXT).equations == loads(TEXT, format="kpp").equations
    with pytest.raises(ValueError, match="unknown format 'kp'; known: table"):
        jaxchem.load("pollu", format="kp")


# Errors

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
    "no atom": ("B = N + O", "B = N + $", r"line 5: '\$' is no atom"),
    "no species": ("A = 2O ;", "A B = 2O ;", "line 5: 'A B = 2O'"),
    "no number": ("A = 50;", "A = lots;", "line 15: A = lots"),
    "no value": ("A = 50;", "A ;", "line 15: 'A'"),
    "no family": ("#FAMILIES Ox :", "#FAMILIES Ox", "line 12: "),
    "include": ("#INCLUDE atoms.kpp", "#INCLUDE there.spc", "line 2: includes 'there.spc'"),
    "open comment": ("{ 4.}", "{ 4.", "line 47: a comment begins here.*add '}'"),
    "open inline": ("#ENDINLINE\n#equations", "#equations", "is an #ENDINLINE missing"),
    "no equation": ("#equations", "#monitor", "line 4.: .* under #MONITOR, .* names alone"),
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
    with pytest.raises(MechanismError, match=r"a\.spc, line 1: a\.def includes itself"):
        jaxchem.load(tmp_path / "a.def")
    for n in range(12):
        (tmp_path / f"b{n}.kpp").write_text(f"#include b{n + 1}.kpp\n")
    with pytest.raises(MechanismError, match=r"b8\.kpp, line 1: .*more than 8 deep"):
        jaxchem.load(tmp_path / "b0.kpp")


def test_includes_stay_in_the_folder_of_the_mechanism(tmp_path):
    folder = tmp_path / "mechanism"
    (folder / "parts").mkdir(parents=True)
    (tmp_path / "secret.spc").write_text("password\n")
    (folder / "linked.spc").symlink_to(tmp_path / "secret.spc")
    (folder / "parts" / "own.spc").write_text("#DEFVAR\nA = IGNORE;\n#include more.spc\n")
    (folder / "parts" / "more.spc").write_text("#DEFVAR\nB = IGNORE;\n")
    root = folder / "root.kpp"
    for name in ("../secret.spc", str(tmp_path / "secret.spc"), "linked.spc"):
        root.write_text(f"#include {name}\n#EQUATIONS\nA = B : 1;\n")
        with pytest.raises(MechanismError, match=r"root\.kpp, line 1: .*outside of") as error:
            jaxchem.load(root)
        assert "password" not in str(error.value)
    root.write_text("#include parts/own.spc\n#EQUATIONS\nA = B : 1;\n")
    assert jaxchem.load(root).species == ("A", "B")


def test_many_includes_are_refused_soon(tmp_path):
    """Nine files, each of which includes the next one fifty times."""
    for n in range(9):
        (tmp_path / f"b{n}.kpp").write_text(f"#include b{n + 1}.kpp\n" * 50)
    (tmp_path / "b8.kpp").write_text("#EQUATIONS\nA = B : 1;\n")
    with pytest.raises(MechanismError, match="more than 500 files"):
        jaxchem.load(tmp_path / "b0.kpp")


LINES = """#DEFVAR
A = IGNORE; B = IGNORE;
#EQUATIONS
A = B : 1.0;
B = A : 2.0;
"""


@pytest.mark.parametrize(
    ("line", "at", "words"),
    [
        ("# a remark", 4, "'# a remark' is no command of KPP.*braces"),
        ("#EQUATION", 2, "'#EQUATION' is no command.*did you mean '#EQUATIONS'"),
        ("#DEFd", 0, "'#DEFd' is no command.*did you mean '#DEF"),
        ("a word", 0, "'a word' stands in no section"),
        ("#MONITOR A;\n#INTEGRATOR rosenbrock\nA = B : 3;", 5, "'A = B : 3;' stands in no section"),
    ],
)
def test_every_line_is_accounted_for(line, at, words):
    lines = LINES.splitlines()
    lines.insert(at, line)
    number = at + 1 + line.count("\n")
    with pytest.raises(MechanismError, match=f"f.kpp, line {number}: {words}"):
        kpp.loads("\n".join(lines), "f.kpp")


def test_commands_that_mean_nothing_here():
    head = "#LANGUAGE Fortran90\n#DOUBLE ON\n#minversion 3.0\n#EQNTAGS ON\n#DUMMYINDEX ON\n"
    tail = "#MONITOR A; B;\n#LOOKATALL\n#LOOKAT A;\n  B;\n#HESSIAN OFF { none }\n"
    found = kpp.loads(head + LINES + tail)
    assert found.equations == ("A -> B", "B -> A")
    found = kpp.loads("*** the Mechanism: http:#mcm ;\n * 1 + 1\n" + LINES)
    assert found.equations == ("A -> B", "B -> A")
    found = kpp.loads(LINES.replace("A = B :", "A = 2 B + -0.25 A - - .5B :"))
    np.testing.assert_allclose(found.stoichiometry[:, 0], [-1.25, 2.5])


@pytest.mark.parametrize(
    ("code", "rate", "words"),
    [
        ("K = 2\nIF (TEMP > 1.) RETURN\nK = 3", "K", "line 5: 'IF .*RETURN': what follows"),
        ("J(:) = 0.5", "J(4)", "line 4: .*one element of the array at a time"),
        ("K = 1/2*TEMP", "K", "line 4: '1/2' divides whole numbers"),
        ("K10 = 7.", "KMT01*K10", "line 7: 'KMT01' is the MCM's, made of its 'K10'"),
        ("K = 2", "RCONST(1.5)", "line 7: RCONST.1.5.: write a whole number"),
    ],
)
def test_code_that_would_be_misread(code, rate, words):
    with pytest.raises(MechanismError, match=words):
        rate_of(inlined(code, "RCONST"), rate, temperature=280.0)


def test_what_follows_the_end_of_code():
    text = "#INLINE F90_RCONST\nK = 2.\n#ENDINLINE {}\n#EQUATIONS\nA = : K;"
    with pytest.warns(UserWarning, match="line 3: 'above: code' behind #ENDINLINE"):
        assert kpp.loads(text.format("above: code")).rates()[0] == 2.0
    with pytest.raises(MechanismError, match=r"line 3: .*a command stands in a line of its own"):
        kpp.loads(text.format("#SETFIX A;"))
    with pytest.raises(MechanismError, match=r"line 1: .*a command stands in a line of its own"):
        kpp.loads("#DOUBLE ON; #SETFIX A;\n" + text.format("{ a comment }"))


def test_declarations_that_code_swallows_are_told():
    """As behind the #ENDLINE of the CRI's exports."""
    code = "#INLINE F90_RCONST\n#ENDLINE\n#DEFVAR\nA = IGNORE;\n#INLINE F90_RCONST\nK = 2.\n"
    with pytest.warns(UserWarning) as told:
        network = kpp.loads(f"{code}#ENDINLINE\n#EQUATIONS\nA = : K;")
    assert network.rates()[0] == 2.0
    assert any("line 3: #DEFVAR stands in the code" in str(w.message) for w in told)
    assert any("without a declaration" in str(w.message) for w in told)
    with pytest.raises(MechanismError, match="line 5: '#INLINE F90_INIT' stands in the code"):
        kpp.loads(code.replace("A = IGNORE;\n#INLINE F90_RCONST", "A = IGNORE;\n#INLINE F90_INIT"))


def test_tolerances_of_the_start_are_nothing_here():
    code = inlined("TSTART = 0.d0\nRTOL(1:NVAR) = 1.0e-4\nATOL(:) = 1.0e-8", "INIT")
    network = kpp.loads(f"{code}\n#EQUATIONS\nA = : 1. ;")
    assert dict(network.defaults) == {"start": 0.0}


@pytest.mark.parametrize(
    ("code", "defaults"),
    [
        ("IF (2 > 1) THEN\nTEMP = 270.\nELSE\nTEMP = 280.\nEND IF", {"temperature": 270.0}),
        ("TEMP = 250.\nIF (TEMP > 300.) TEMP = 1.", {"temperature": 250.0}),
        ("hours = 2\nTEND = hours*3600.", {"end": 7200.0}),
    ],
)
def test_the_start_of_a_model_is_followed(code, defaults):
    assert dict(kpp.loads(f"{inlined(code, 'INIT')}\n#EQUATIONS\nA = : 1. ;").defaults) == defaults


def test_what_the_start_leaves_open_is_told():
    code = inlined("IF (winter) TEMP = 270.\nPRESS = 9e4", "INIT")
    with pytest.warns(UserWarning) as told:
        network = kpp.loads(f"{code}\n#EQUATIONS\nA = : 1. ;")
    assert dict(network.defaults) == {"pressure": 9e4}
    messages = [str(warning.message) for warning in told]
    assert any("passed over: line 2: 'IF (winter)" in message for message in messages)
    assert any("line 3: PRESS is 90000, and no unit; taken as Pa" in m for m in messages)


def test_a_temperature_that_a_file_sets_reaches_its_laws():
    """exp(-300 / 250) + 250 of the file, exp(-300 / 300) + 300 of the run."""
    text = f"{inlined('TEMP = 250.', 'RCONST')}\n#EQUATIONS\nA = : ARR_ab(1., 300.) + TEMP ;"
    network = kpp.loads(text)
    assert float(network.rates()[0]) == pytest.approx(math.exp(-1.2) + 250, rel=1e-14)
    changed = network.rates(temperature=300.0)
    assert float(changed[0]) == pytest.approx(math.exp(-1.0) + 300, rel=1e-14)
    with pytest.warns(UserWarning, match="assigns TEMP: .*laws the condition of the run"):
        kpp.loads(text.replace("250.", "250. + SUN"))


def test_blocks_that_nothing_decides_are_the_users():
    code = "K = 1\nIF (lfirst) THEN\nK = 2\nEND IF\nDO i = 1, nmax\nL(i) = 1\nM1 = 2\nEND DO"
    network = kpp.loads(f"{inlined(code, 'RCONST')}\n#EQUATIONS\nA = : K + M1 ;")
    assert network.user_quantities == ("K", "M1")
    code = "K = 1\nDO i = 1, 3\nK = K*2\nIF (K > 3) EXIT\nEND DO"
    network = kpp.loads(f"{inlined(code, 'RCONST')}\n#EQUATIONS\nA = : K ;")
    assert network.user_quantities == ("K",)


def test_code_in_c_is_the_users():
    code = "#INLINE C_RCONST\nK = 1;\nif (TEMP > 9) K = 5;\n#ENDINLINE\n"
    network = kpp.loads(f"{code}#EQUATIONS\nA = : K;")
    assert network.user_quantities == ("K",)


def test_members_of_pools_that_are_no_species_are_told():
    code = inlined("RO2 = C(ind_A) + C(ind_TYPO) + C(ind_B)", "RCONST")
    text = f"#DEFVAR\nA = IGNORE; B = IGNORE;\n{code}\n#EQUATIONS\nA = : RO2 ;"
    with pytest.warns(UserWarning, match="1 members of RO2 are no species .*: TYPO"):
        network = kpp.loads(text)
    assert network.pool_names == ("C(ind_A)",) or network.species == ("A",)


def test_elements_in_a_circle():
    code = inlined("X(1) = 2*Y(1)\nY(1) = X(1)", "RCONST")
    with pytest.raises(MechanismError, match=r"line \d+: X\(1\) is defined by itself"):
        kpp.loads(f"{code}\n#EQUATIONS\nA = : X(1);")


def test_model(tmp_path):
    root = tmp_path / "tiny.kpp"
    root.write_text("#MODEL tiny\n#INTEGRATOR rosenbrock\n")
    with pytest.raises(
        MechanismError, match=r"tiny\.kpp, line 1: #MODEL names tiny\.def, which is"
    ):
        jaxchem.load(root)
    (tmp_path / "tiny.def").write_text(LINES)
    assert jaxchem.load(root).equations == ("A -> B", "B -> A")


def rate_of(code: str, rate: str, **conditions: float) -> float:
    """The rate of an equation after inlined code."""
    text = f"#DEFVAR\nA = IGNORE; B = IGNORE;\n{code}\n#EQUATIONS\nA = B : {rate} ;\n"
    return float(kpp.loads(text, "code.kpp").rates(**conditions)[0])


def inlined(code: str, kind: str = "RATES") -> str:
    return f"#INLINE F90_{kind}\n{code}\n#ENDINLINE {{ of {kind} }}"


TWICE = """  REAL(kind=dp) FUNCTION ARR2( A0, B0, &
      & TEMP )   ! not WRF's: three times as much
    REAL(dp), INTENT(IN) :: A0, B0, TEMP
    REAL(dp), PARAMETER :: three = 3.0_dp, zero = 0.d0
    REAL(dp) :: x
    x = -B0/TEMP + zero
    x = EXP( x )
    ARR2 = DBLE(three) * REAL(A0, dp)*x
    RETURN
  END FUNCTION ARR2
"""
SWITCH = """ELEMENTAL REAL(kind=dp) FUNCTION switch(kind, T, x) RESULT (k)
  CHARACTER(LEN=*), INTENT(IN) :: kind
  REAL(dp) T, x
  k = 1.
  IF (trim(kind) == 'fast') THEN
    k = 100.
  ELSE IF (T > 250. .AND. .NOT. x .GE. 2.D0) THEN
    k = 2.*T
  ELSE
    k = SIGN(3.d0, x - 5)
  ENDIF
  SELECT CASE (kind)
  CASE ('none')
    k = 0.
  CASE ('a', 'b')
    k = k + 0.5
  END SELECT
  IF (k < 0.d0) k = 0.25D0
END FUNCTION"""


OPTIONAL = """REAL FUNCTION given(a, b)
  REAL, INTENT(IN), OPTIONAL :: b
  REAL :: a
  given = 2*a
  IF (a > 4.) THEN
    given = 7
    RETURN
  END IF
  IF (PRESENT( B )) given = a**b + 1
END FUNCTION"""
DEFAULT = """REAL FUNCTION other(n)
  INTEGER :: n
  SELECT CASE (n)
  CASE DEFAULT
    other = 9.
  CASE (1)
    other = 1.
  END SELECT
END FUNCTION"""
TABLES = """REAL FUNCTION pick(i, x)
  INTEGER, PARAMETER :: n = 3
  REAL, DIMENSION(2) :: b
  REAL :: a(n, 2), total
  INTEGER :: j, k, m
  DATA a / 1., 2., 3., 2*4., 6. /, m / 2 /
  b(1) = x
  b(m) = 2.*b(1)
  total = 0.
  DO j = n, 1, -1
    DO k = 1, 2
      IF (j .NE. k) total = total + a(j, k)*b(k)
    END DO
  ENDDO
  pick = total + a(i, 1) + b(2)*a(2, i-1)
END FUNCTION"""


@pytest.mark.parametrize(
    ("code", "rate", "right"),
    [
        (inlined(OPTIONAL), "given(2., 3.)", 9.0),
        (inlined(DEFAULT), "other(1)", 1.0),
        (inlined(DEFAULT), "other(2)", 9.0),
        (inlined(OPTIONAL), "given(2.)", 4.0),
        (inlined(OPTIONAL), "given(5., 2.)", 7.0),
        # (2 + 3) x + (4 + 6) 2 x, and 2 + 2 x 2
        (inlined(TABLES), "pick(2, TEMP)", 29 * 280.0 + 2.0),
        (inlined(TABLES), "pick(3, 1.)", 25.0 + 3.0 + 8.0),
        # KPP's own of two arguments, WRF-Chem's of three, and the file's before either
        ("", "ARR2(2.0, 300.0)", 2 * math.exp(300 / 280)),
        ("", "ARR2(2.0, 300.0, TEMP)", 2 * math.exp(-300 / 280)),
        (inlined(TWICE), "ARR2(2.0, 300.0, TEMP)", 6 * math.exp(-300 / 280)),
        (inlined(TWICE), "arr2(2.0, 300.0, temp)*0.5_dp", 3 * math.exp(-300 / 280)),
        (inlined(SWITCH), "switch('fast', TEMP, 9.)", 100.0),
        (inlined(SWITCH), "switch('b', TEMP, 1.)", 560.5),
        (inlined(SWITCH), "switch('c', TEMP, 2.)", 0.25),
        (inlined(SWITCH), "switch('a', 200., 7.)", 3.5),
        (inlined(SWITCH), "switch('none', TEMP, 1.)", 0.0),
        (inlined(SWITCH), "switch('c', C_M*1e-19, 1.)", 0.25),
        # assignments run in order
        (inlined("K = 2\nL = K\nK = 3*K\n", "RCONST"), "K + 100*L", 206.0),
        (inlined("K = 2\nL = K\nK = K + 1\nK = K + 4", "RCONST"), "K + 100*L", 207.0),
        (inlined("K = 2\nK = K + K*3\nK = K + 1", "RCONST"), "K", 9.0),
        (inlined("L = 1\nK = L\nL = 2\nK = K + L", "RCONST"), "K", 3.0),
        (inlined("K = 2\nKX(5) = K\nK = K + 1", "RCONST"), "KX(5)", 2.0),
        (inlined("J(4) = 1\nL = J(4)\nJ(4) = 2", "RCONST"), "L + 10*J(4)", 21.0),
        (inlined("K = 2\nblk: IF (TEMP > 9.) THEN\nL = 3\nEND IF blk", "RCONST"), "K", 2.0),
        (inlined("PARAMETER (K = 5., L = 2*K)", "GLOBAL"), "L", 10.0),
        (inlined("K = min(1.,2.,3.) + MAX(1., 4.)", "RCONST"), "K", 5.0),
        (inlined("K = 2\nIF (TEMP > 270.) K = K + 1", "RCONST"), "K", 3.0),
        (inlined("K = 2\nIF (TEMP < 270.) K = K + 1", "RCONST"), "K", 2.0),
        (inlined("K = 2\nIF (ind_A > 0) K = 7\nIF (ind_Z>0) K = 9", "RCONST"), "K", 7.0),
        (
            inlined("REAL(dp), PARAMETER :: K = 2.D0, L = 3*K, arr(4)\nINTEGER :: M1", "GLOBAL"),
            "K*L",
            12,
        ),
        (inlined("K = 1. +\n&\n 2. + &\n ! three\n  & 3.", "RCONST"), "K", 6.0),
        ("", "+".join(["TEMP"] * 400), 280.0 * 400),
        (inlined("J(4) = 0.5D0 * J(1)\nJ(1) = 4", "RCONST"), "J( 4 )", 2.0),
        # blocks, loops and arrays
        (inlined("IF (TEMP > 270.) THEN\nK = 3\nELSE\nK = 4\nEND IF", "RCONST"), "K", 3.0),
        (inlined("K = 1\nIF (TEMP > 300.) THEN\nK = 3\nENDIF\nL = K + 1", "RCONST"), "L", 2.0),
        (inlined("K = 1\nDO i = 1, 3\nK = K*i\nEND DO", "RCONST"), "K", 6.0),
        (inlined("K = 0\nDO 10 i = 1, 3\nDO 10, j = 1, 2\n10 K = K + i*j", "RCONST"), "K", 18.0),
        (inlined("n = 2\nSELECT CASE (n)\nCASE (2)\nK = 9\nEND SELECT", "RCONST"), "K", 9.0),
        (
            inlined("REAL :: x(3), y(3)\nx = 2.\nx(2) = TEMP\nDATA y / 1., 2., 3. /", "GLOBAL")
            + "\n"
            + inlined("WHERE (x > 9.) y = x/2.\nx = x + y", "RCONST"),
            "x(1) + 10*x(2) + 1e4*x(3)",
            3 + 10 * 420 + 5e4,
        ),
        (
            inlined("REAL :: x(2)\nx = -1.\nx(2) = 4.", "GLOBAL")
            + "\n"
            + inlined("WHERE (x < 0.)\nx = 0.\nELSEWHERE\nx = x**2\nEND WHERE", "RCONST"),
            "x(1) + x(2)",
            16.0,
        ),
        # whole numbers are cut
        (inlined("INTEGER :: n\nn = 7.9\nK = n/2.", "RCONST"), "K", 3.5),
        (inlined("REAL FUNCTION f(a)\nINTEGER i\ni = -2.5*a\nf = i\nEND FUNCTION"), "f(1.5)", -3.0),
        (inlined("// K = 5\nK = 1.5{§1.2}*2 ! {1 = 2}\n", "RCONST"), "K", 3.0),
        ("", "MERGE(1.D0, 2.D0, TEMP > 270.D0 .OR. TEMP == 0)", 1.0),
    ],
)
def test_inlined_code(code, rate, right):
    assert rate_of(code, rate, temperature=280.0, density=2.5e19) == pytest.approx(right, rel=1e-14)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("REAL :: X(3)\n F = 1", "has an array argument, X"),
        ("DO WHILE (X < 3)\n F = F + X\n END DO", "has a DO loop without"),
        ("INTEGER :: i\n F = 0\n DO i = 1, 99999\n F = F + X\n END DO", "too (many turns|long)"),
        ("F = 0\n DO i = 1, N\n F = F + X\n END DO", "'N' is no number"),
        ("REAL, DIMENSION(4) :: table\n F = table(3)", r"TABLE\(3\), which is not set"),
        ("REAL :: table(4)\n table(5) = X\n F = 1", r"TABLE has no element \[5\]"),
        ("REAL :: t(2)\n DATA t / 1, 2, 3 /\n F = X", "the table of T has 3 values"),
        ("INTEGER :: i\n i = TEMP*2\n F = i", "cuts i to a whole number"),
        ("F = 1/2*X", "'1/2' divides whole numbers"),
        ("F = 0\n DO i = 1, 3\n IF (i == 2) EXIT\n F = i\n END DO", "it has 'EXIT'"),
        ("F = 0\n IF (TEMP > 1) RETURN\n F = 1", "RETURN under a condition"),
        ("G = 1", "does not set its result"),
        ("IF (TEMP > 300.) F = X", "does not set its result, F, in every case"),
        ("IF (TEMP > 300.) G = X\n F = G", "does not set G in every case"),
    ],
)
def test_functions_that_are_no_arithmetic_are_the_users(body, why):
    code = inlined(f"REAL FUNCTION F(X)\n {body}\nEND FUNCTION F")
    text = f"#DEFVAR\nA = IGNORE;\n{code}\n#EQUATIONS\nA = : 2*F(1.5) ;\n"
    with pytest.warns(UserWarning, match=f"quantities to be given: F: .*{why}"):
        network = kpp.loads(text)
    assert network.user_quantities == ("F(1.5)",)
    assert network.rates(quantities={"F(1.5)": 4.0})[0] == 8.0


def test_laws_that_nothing_defines_are_told():
    text = "#DEFVAR\nA = IGNORE;\n#EQUATIONS\nA = : QARR(1.E-12, 300., TEMP) + HET(3) ;\n"
    with pytest.warns(UserWarning, match=r"given: QARR \(1 calls\)\. Is F90_RATES in another"):
        network = kpp.loads(text)
    assert network.user_quantities == ("QARR(1e-12,300,TEMP)", "HET(3)")


def test_a_species_by_its_bare_name_is_its_concentration():
    text = "#DEFVAR\nA = IGNORE; B = IGNORE;\n#EQUATIONS\nA = B : 2.*B/(1. + B) ;\nB = : 1. ;"
    network = kpp.loads(text)
    change = jaxchem.tendency(network, network.rates(), np.array([3.0, 4.0]))
    np.testing.assert_allclose(change, [-4.8, 0.8], rtol=1e-14)


def test_functions_that_call_each_other_without_end():
    loop = "REAL FUNCTION F(X)\nF = F(X) + F(X+1)\nEND FUNCTION"
    pairs = "".join(
        f"REAL FUNCTION G{n}(X)\nG{n} = G{n + 1}(X) * G{n + 1}(X)\nEND FUNCTION\n"
        for n in range(40)
    )
    for code, call in ((loop, "F(1.)"), (pairs, "G0(1.)")):
        text = f"#DEFVAR\nA = IGNORE;\n{inlined(code)}\n#EQUATIONS\nA = : {call} ;\n"
        with pytest.raises(MechanismError, match=r"line .*(too long|levels deep)"):
            kpp.loads(text)


SHORT = "#DEFVAR A=IGNORE;\n{}\n#EQUATIONS\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SHORT.format("#FAMILIES [Ox : A;") + "A=:1;", r"line 2: .*'FAMILY : SPECIES"),
        (SHORT.format("#INCLUDE atoms" + "s" * 400) + "A=:KX(;", "line 2: includes 'atomss"),
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


def test_an_entry_without_an_end_is_refused_soon():
    started = time.perf_counter()
    with pytest.raises(MechanismError, match="line 4"):
        kpp.loads(SHORT.format("") + "A = B : 1\n" * 20_000)
    assert not kpp.looks_like("\n" * 100_000)
    assert time.perf_counter() - started < 3


GENERIC = "#DEFVAR\nA = IGNORE; B = IGNORE;\n{}#EQUATIONS\nA = B : {} ;\n"


def test_what_the_mcm_defines_is_taken_with_a_warning():
    with pytest.warns(UserWarning, match=r"does not define KDEC; taken from MCM v3\.3\.1"):
        network = kpp.loads(GENERIC.format("", "2.0*KDEC + 1.0D-20*O2 + J(4)"))
    assert dict(network.supplied) == {"KDEC": "MCM v3.3.1", "J4": "MCM v3.3.1", "O2": "the air"}
    assert any(p.startswith("supplied: ") and "KDEC" in p for p in network.check())
    own = "#INLINE F90_RCONST\n KDEC = 5.0D5\n#ENDINLINE\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = kpp.loads(GENERIC.format(own, "2.0*KDEC"))
    assert float(network.rates()[0]) == 1e6 and network.supplied == ()


@pytest.mark.parametrize("name", ["PRESS", "press"])
def test_the_unit_of_press_is_told_and_may_be_another(name):
    with pytest.warns(UserWarning, match="PRESS.* in Pa"):
        network = kpp.loads(GENERIC.format("", f"2.0*{name}"))
    assert float(network.rates(pressure=9e4)[0]) == 1.8e5
    own = f"#INLINE F90_RCONST\n {name} = 0.01*PRESSURE\n#ENDINLINE\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = kpp.loads(GENERIC.format(own, "2.0*PRESS"))
    assert float(network.rates(pressure=9e4)[0]) == 1.8e3


# Nothing is passed over in silence

WHOLE = """#ATOMS Q;
#DEFVAR
A = O; B = O; L = Q;
#CHECK O;
#INITVALUES
A = 1;
#INLINE F90_INIT
  TSTART = 0.0d0
#ENDINLINE
#INLINE F90_RCONST
  REAL(dp), SAVE :: a1, b1(3)
  CALL update(TEMP)
  IF (TEMP > 300) THEN
    b1(2) = 3
  END IF
#ifdef DEBUG
  box%pressure(1) = 1
#endif
  outer: DO i = 1, 3
  END DO outer
#ENDINLINE
#EQUATIONS
<R1> A = B : 1.0 ;
<R2> B = L : 2.0 ;
"""


def test_fortran_that_says_nothing_needs_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(kpp.loads(WHOLE).equations) == 2


@pytest.mark.parametrize(
    "old, new, words",
    {
        "slip in code": ("  CALL update", "  CAL update", "passed over: line 12: 'CAL update"),
        "no assignment": ("TSTART =", "TSTART", "passed over: line 8: 'TSTART 0.0d0'"),
        "no value": ("TSTART = 0.0d0", "TSTART = 0.0d0 +", "passed over: line 8: 'TSTART = "),
        "initial value": ("A = 1;", "A1 = 1;", r"left out.*: A1 \(#INITVALUES, line 6\)"),
        "atom": ("L = Q;", "L = T;", r"left out.*: T \(of L\)"),
        "check": ("#CHECK O;", "#CHECK O; T;", r"left out.*: T \(of #CHECK\)"),
        "family": ("#CHECK O;", "#FAMILIES F : A + Z;", r"left out.*: Z \(family F\)"),
    }.values(),
)
def test_slips_are_told(old, new, words):
    assert WHOLE.count(old) == 1
    with pytest.warns(UserWarning, match=words):
        kpp.loads(WHOLE.replace(old, new))


@pytest.mark.parametrize(
    "old, new, words",
    {
        "kind of code": ("F90_RCONST", "F90_RCNST", "line 10: #INLINE F90_RCNST is no code of KPP"),
        "equation in code": (
            "  CALL",
            "<R0> A = B : 3.0 ; ! CALL",
            "line 12: .*#ENDINLINE missing",
        ),
        "equation among names": (
            "#EQUATIONS",
            "#LOOKAT",
            "line 23: .*under #LOOKAT, .*names alone",
        ),
        "section in code": ("#ifdef DEBUG", "#SETFIX", "line 16: '#SETFIX' stands in the code"),
        "open code": (WHOLE[WHOLE.index("#ENDINLINE\n#INLINE") :], "", "line 7: .*no #ENDINLINE"),
        "nothing": (WHOLE[WHOLE.index("<R1>") :], "", "there is no equation"),
    }.values(),
)
def test_what_stands_in_the_wrong_place_is_refused(old, new, words):
    with pytest.raises(MechanismError, match=words):
        kpp.loads(WHOLE.replace(old, new))


BY_TEMPERATURE = "TEMP = 250.\nIF (TEMP < 260.) THEN\nK1 = 5.\nELSE\nK1 = 6.\nEND IF"


@pytest.mark.parametrize(
    ("code", "rate", "temperature", "expected"),
    [
        (
            BY_TEMPERATURE,
            "K1*TEMP",
            300,
            1800,
        ),
        (
            BY_TEMPERATURE,
            "K1*TEMP",
            None,
            1250,
        ),
        (
            "TEMP = 250.\nK2 = 2*TEMP\nTEMP = 300.\nIF (TEMP > 280.) K2 = K2 + 1",
            "K2*TEMP",
            None,
            150300,
        ),
        ("DO I = 1, 3\nK1 = I\nEND DO\nK2 = I", "K1 + 10*K2", None, 43),
        ("DO I = 5, 1\nK1 = I\nEND DO\nK2 = I", "K2", None, 5),
        ("DO I = 3, 1, -1\nK1 = I\nEND DO\nK2 = I", "K1 + 10*K2", None, 1),
    ],
)
def test_a_condition_that_the_code_sets_is_one(code, rate, temperature, expected):
    """A branch follows the run's temperature, as its rates do; a loop ends beyond its last turn."""
    text = f"#DEFVAR\nA = IGNORE;\n#EQUATIONS\n<1> A = PROD : {rate};\n"
    network = kpp.loads(f"{text}#INLINE F90_RCONST\n{code}\n#ENDINLINE\n")
    given = {} if temperature is None else {"temperature": temperature}
    np.testing.assert_allclose(network.rates(**given), [expected])
