"""F0AM's scripts: rates and changes by hand, and what malformed ones are answered."""

import math
import re
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxchem
from jaxchem.expression import parse
from jaxchem.network import MechanismError, Network
from jaxchem.parse import f0am, table

SMALL = """% a toy mechanism: it = all there is;
SpeciesToAdd = {...
'O3'; 'NO', 'NO2'
'OH'; 'HO2'; ... 'NOT THIS'
'CH3O2'; "PAR"; 'H2O';};
RO2ToAdd = {'CH3O2';'C2H5O2'};
AddSpecies
SpeciesToAdd = {'C2H5O2'; 'OH';}; AddSpecies;

%{
i=i+1; a block
%{
of comment
%}
%}
F = 0.6;  O2 = .21.*M;
%1
i=i+1; %R1
Rnames{i} = 'NO + O3 = NO2; 5% of it';
k(:,i) = 1.4D-12.*exp(-1310./T);
Gstr{i,1} = 'NO'; Gstr{i,2} = 'O3';
fNO(i)=fNO(i)-1; fO3(i)=fO3(i)-1; fNO2(i)=fNO2(i)+1;

%2
i = i + 1
Rnames{   2}='OH + NO2 ='
L = 2e-30.*(T./300).^-3.0.*M; H = 2.5e-11;
G = 1./(1+log10(L./H).^2);
k(:,i) = L./(1+L./H) ...  the rest is below
  .*F.^G;
Gstr{i,1}='OH'; Gstr{i,   2}='NO2'; Gstr{i,3} = '';
fOH(i)=fOH(i)-1;fNO2(i)=-1;

i=i+1;
k(:,i) = 2*KGEN.*(M./2.5e19).^2.^0.5;
Gstr{i} = 'CH3O2'; Gstr{i,2} = 'RO2';
fCH3O2(i)=-1; fHO2(i) = 0.5*F; fPAR(i) = fPAR(i) - .11;

i=i+1;
F = 0.3 + T/1000; F(F>0.5) = 0.5;
a = 5e-13 - 1e-15*T;
a(a<2e-13) = 2e-13;
k(:,i) = k(:,   1)*F + a;
Gstr{i,1} = 'OH'; Gstr{i,2}='OH';
fOH(i)=fOH(i)-1; fOH(i)=fOH(i)-1 + 0.45; fHO2(i) = fOH(i) + 2.55;

i=i+1;
k(:,i) = 3e4.*O2./M; % a source
fPAR(i)=1;

i=i+1;
k(:,i) = JNO2.*(SZA<90);
"""
SMALL = SMALL.replace("JNO2.*(SZA<90)", "JNO2 + GCARR(T, 1e-12, 2, -300.0).*H2O./P")
SMALL += "Gstr{i,1} = 'NO2'; fNO2(i)=-1; fNO(i)=fNO2(i)+2; fO3(i)=1;\n"
STATES = (298.0, 2.46e19, 4e17), (230.0, 1.2e19, 1e16)


def read(text: str, filename: str = "toy.m") -> Network:
    return f0am.loads(text, filename)


def script(*statements: str) -> str:
    """A script with one reaction, in its sixth line, and these statements below that."""
    head = "SpeciesToAdd = {'A'; 'B'; 'C'};\nAddSpecies\n\n\n\ni=i+1;\n"
    return head + "\n".join(statements)


def rate(text: str) -> str:
    return script(f"k(:,i) = {text};", "Gstr{i,1} = 'A';", "fA(i)=-1;")


@pytest.mark.parametrize("t, m, water", STATES)
def test_rates(t, m, water):
    network = read(SMALL)
    low = 2e-30 * (t / 300) ** -3 * m
    broad = 0.6 ** (1 / (1 + math.log10(low / 2.5e-11) ** 2))
    first = 1.4e-12 * math.exp(-1310 / t)
    hpa = 0.01 * m * 1e6 * 1.380649e-23 * t
    expected = [
        first,
        low / (1 + low / 2.5e-11) * broad,
        2 * 3e-13 * m / 2.5e19,
        first * min(0.3 + t / 1000, 0.5) + max(5e-13 - 1e-15 * t, 2e-13),
        3e4 * 0.21,
        8e-3 + 1e-12 * (t / 300) ** 2 * math.exp(-300 / t) * water / hpa,
    ]
    given = {"KGEN": 3e-13, "JNO2": 8e-3, "H2O": water}
    k = network.rates(temperature=t, density=m, quantities=given)
    np.testing.assert_allclose(k, expected, rtol=1e-13)


def test_equations_and_the_sum():
    network = read(SMALL)
    assert network.species == ("O3", "NO", "NO2", "OH", "HO2", "CH3O2", "PAR", "H2O", "C2H5O2")
    assert network.equations == (
        *("NO + O3 -> NO2", "OH + NO2 ->", "CH3O2 -> 0.3 HO2 + -0.11 PAR"),
        *("2 OH -> 0.45 OH + HO2", "-> PAR", "NO2 -> NO + O3"),
    )
    assert network.pool_names == ("RO2",)
    assert [*np.flatnonzero(network.structure.pools[0])] == [5, 8]
    assert network.user_quantities == ("KGEN", "JNO2")
    assert network.units == ("molecule cm-3", "s")
    found = [problem for problem in network.check() if problem.startswith("negative yield")]
    assert len(found) == 1 and "reaction 2" in found[0] and "PAR" in found[0]


def test_tendency_by_hand():
    network = read(SMALL)
    y = {"CH3O2": 3.0, "C2H5O2": 4.0, "OH": 2.0}
    found = jaxchem.tendency(network, jnp.asarray([1.0, 2.0, 10.0, 7.0, 0.0, 1.0]), network.y0(y))
    expected = dict.fromkeys(network.species, 0.0)
    total = 10.0 * 3.0 * 7.0
    expected |= {"CH3O2": -total, "PAR": -0.11 * total, "OH": -1.55 * 28, "HO2": 0.3 * total + 28}
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-12)


OWN_SUM = """SpeciesToAdd = {'A'; 'RO2'};
RO2ToAdd = {'RO2'};
AddSpecies
i=i+1; k(:,i) = 2; Gstr{i,1} = 'A'; Gstr{i,2} = 'RO2'; fA(i) = -1; fRO2(i) = -1;
"""


def test_a_sum_of_itself_alone_is_a_species():
    network = read(OWN_SUM)
    assert network.species == ("A", "RO2") and network.pool_names == ()
    assert network.equations == ("A + RO2 ->",)
    with pytest.raises(MechanismError, match="line 1: RO2 is the sum of RO2ToAdd"):
        read(OWN_SUM.replace("{'RO2'}", "{'A'}"))


def test_a_sum_without_members_is_zero():
    text = script("k(:,i) = 5; Gstr{i,1} = 'A'; Gstr{i,2} = 'RO2'; fA(i) = -1;")
    np.testing.assert_array_equal(read(text).rates(), [0.0])
    with pytest.warns(UserWarning, match="members of RO2 that are no species are left out: X"):
        network = read("RO2ToAdd = {'X'; 'A'};\n" + text)
    assert [*network.structure.pools[0]] == [1.0, 0.0, 0.0]
    with pytest.raises(MechanismError, match="line 6: f of RO2, which is a sum"):
        read(text + " fRO2(i) = -1;")


@pytest.mark.parametrize(
    "text, value",
    [
        ("2.^3.^2", 64.0),  # from the left
        ("2^-1^2", 0.25),
        ("-2.^2", -4.0),
        ("1..*2+.5./2.", 2.25),
        ("(M./1e19).^-2", 0.25),
        ("fcro2ho2(4.)", 1 - math.exp(-0.98)),
        ("Troe_GC(1e-12, 4e-12)", 0.8e-12 * 0.6 ** (1 / (1 + math.log10(0.25) ** 2))),
        (
            "k_3rd_iupac(T,M,1e-31,1,1e-12,0,.4)",
            2e-12 / 3 * 0.4 ** (1 / (1 + (math.log10(2) / (0.75 - 1.27 * math.log10(0.4))) ** 2)),
        ),
        ("sqrt(abs(-4))*log(exp(3)) + max(1,2) - min(3, 4)*true", 5.0),
        ("RH + SZA", 40.0 + 60.0),
    ],
)
def test_expressions(text, value):
    k = read(rate(text)).rates(
        **{"temperature": 300.0, "density": 2e19, "relative_humidity": 0.4},
        solar_zenith_angle=math.radians(60.0),
    )
    np.testing.assert_allclose(k, [value], rtol=1e-14)


def test_powers_from_either_side():
    assert parse("2 ** 3 ** 2").value == 512.0 and parse("2 ** 3 ** 2", left=True).value == 64.0
    assert parse("2 ** -1 ** 2").value == 0.5 and parse("2 ** -1 ** 2", left=True).value == 0.25
    assert parse("-a ^ b ^ c", left=True) == parse("-((a ^ b) ^ c)")


GENERIC = """function K = TOY_K(Met)
struct2var(Met)
nk = 2; %number of rate constants
krx = nan(length(T),nk);
Knames = cell(nk,1);
i=0;
i=i+1;
Knames{i}   = 'KGEN';
LPL = 1e-30.*M;
krx(:,i) = LPL./T;
i=i+1;
Knames{i} = 'KTWO';
LPL = 2e-30.*M.*H2O;
krx(:,i) = LPL.*KUSER;
%% accumulate
K = struct;
for i=1:length(Knames)
    K.(Knames{i}) = krx(:,i);
end
"""
LIGHT = """function J = TOY_J(Met,Jmethod)
if nargin<2
    Jmethod = 'MCM';
end
switch Jmethod
    case {0,'MCM'}
        Jmcm = MCMv331_J(Met,'MCM');
    otherwise
        error(['TOY_J: invalid Jmethod "' Jmethod ...
            '". Valid options are "MCM" (0).'])
end
J=struct;
J.JNO2 = Jmcm.J4 + 2*Jmcm.Jn19; % a sum
J.JX = Jmcm.J24;
"""


def test_generic_coefficients_beside_the_file(tmp_path):
    path = tmp_path / "toy.m"
    path.write_text(rate("KGEN + KTWO.*JNO2 + JX"))
    assert read(path.read_text(), "elsewhere.m").user_quantities == ("KGEN", "KTWO", "JNO2", "JX")
    (tmp_path / "TOY_K.m").write_text(GENERIC)
    (tmp_path / "TOY_J.m").write_text(LIGHT)
    with pytest.warns(UserWarning) as caught:
        network = jaxchem.load(path)
    said = [str(warning.message).partition(": ")[2] for warning in caught]
    assert said == [
        "2 coefficients are taken from TOY_K.m beside it: KGEN, KTWO.",
        "4 coefficients are taken from TOY_J.m beside it: JNO2, JX, J4, J24.",
    ]
    assert network.user_quantities == ("KUSER", "Jn19")
    t, m, angle = 280.0, 2e19, 0.9
    k = network.rates(
        **{"temperature": t, "density": m, "solar_zenith_angle": angle},
        quantities={"KUSER": 3.0, "Jn19": 1e-5, "H2O": 1e17},
    )
    up = math.cos(angle)
    light = 1.165e-2 * up**0.244 * math.exp(-0.267 / up) + 2e-5
    other = 2.4246e-6 * up**0.395 * math.exp(-0.296 / up)
    own = 1e-30 * m / t + 2e-30 * m * 1e17 * 3 * light + other
    np.testing.assert_allclose(k, [own], rtol=1e-13)


def test_which_generic_script_it_is_is_not_guessed(tmp_path):
    path = tmp_path / "toy.m"
    path.write_text(rate("KGEN"))
    (tmp_path / "ONE_K.m").write_text(GENERIC)
    (tmp_path / "TWO_K.m").write_text(GENERIC)
    with pytest.warns(UserWarning, match="which of ONE_K.m, TWO_K.m it uses is not said"):
        assert jaxchem.load(path).user_quantities == ("KGEN",)
    (tmp_path / "ONE_K.m").write_text(GENERIC.replace("KGEN", "KOTHER"))
    with pytest.warns(UserWarning, match="taken from TWO_K.m"):
        assert jaxchem.load(path).user_quantities == ()
    (tmp_path / "TWO_K.m").write_text(GENERIC.replace("LPL./T", "LPL./"))
    with pytest.warns(UserWarning, match=r"TWO_K\.m, line 10: .*left to the user"):
        assert jaxchem.load(path).user_quantities == ("KGEN",)


TABLE = """i=0;
i=i+1;
Jnames{i} = 'J4';
I(i) = 1e-2;
m(i) = 0.5;
% m(i) = 0.3;
n(i) = 0.25;
j(SZA>=90,:) = 0;
"""


def test_the_table_of_photolysis(tmp_path):
    path = tmp_path / "toy.m"
    path.write_text(rate("J4 + J5"))
    (tmp_path / "TOY_J.m").write_text(TABLE)
    with pytest.warns(UserWarning, match="1 coefficients are taken from TOY_J.m"):
        network = jaxchem.load(path)
    k = network.rates(solar_zenith_angle=1.1, quantities={"J5": 1e-3})
    up = math.cos(1.1)
    np.testing.assert_allclose(k, [1e-2 * up**0.5 * math.exp(-0.25 / up) + 1e-3], rtol=1e-13)
    (tmp_path / "TOY_J.m").write_text(TABLE.replace("n(i)", "q(i)"))
    with pytest.warns(UserWarning, match=r"TOY_J\.m, line 3: J4: I\(i\), m\(i\) and n\(i\)"):
        jaxchem.load(path)
    with pytest.raises(MechanismError, match=r"x\.m, line 1: these are generic coefficients"):
        jaxchem.parse.loads(GENERIC, "x.m")


@pytest.mark.parametrize(
    "statements, line, words",
    [
        (("if T>3, F = 2; end",), 7, "'if': conditions"),
        (("for i=1:3",), 7, "'for': conditions"),
        (("[a,b] = f(T);",), 7, "is no statement"),
        (("k(:,i) = fyrno3(3, M, T);",), 7, "'fyrno3' is no function"),
        (("k(:,i) = GCARR(T, 1);",), 7, "GCARR takes (T, A, B, E)"),
        (("g = @(x) x;",), 7, "'@' is not read"),
        (("lr_flag(i) = 1;",), 7, "lr_flag"),
        (("RxnToReplace = 'A = B';",), 7, "ReplaceRxn changes"),
        (("x = 'text';",), 7, "is not read here"),
        (("k(:,i) = 1", "", "fD(i) = 1;"), 9, "'D' is no declared species"),
        (("Gstr{i,1} = 'AA';",), 7, "'AA' is no declared species"),
        (("Gstr{i,4} = 'A';",), 7, "write Gstr{i,1}"),
        (("Gstr{i,1} = 'A'; Gstr{i} = 'B';",), 7, "Gstr{i,1} is assigned twice"),
        (("k(:,i) = 1; k(:,i) = 2;",), 7, "k(:,i) is assigned twice"),
        (("k(:,i) = 1 +;",), 7, "found nothing"),
        (("k(:,i) = 1 - A;", "Gstr{i}='A';"), 7, "'A' is a species"),
        (("k(:,i) = density;",), 7, "'density' is the name of a condition"),
        (("k(:,i) = k(:,1);",), 7, "k(:,n) is the coefficient of a reaction above; n is 1 to 0"),
        (("k(:,i) = 1*i;",), 7, "'i' numbers"),
        (("fA(i) = T;",), 7, "write a number"),
        (("k(:,i) = 1; fRO2(i) = 1;",), 6, "f of RO2, which is a sum"),
        (("k(:,i) = RO2;",), 7, "'RO2' is a species"),
        (("fA(i) = 1 fB(i) = 2;",), 7, "cannot read it at"),
        (("x = 3*(1+2", ");"), 7, "'(' is not closed"),
        (("x = {1, 2;",), 7, "'{' is never closed"),
        (("x = 2];",), 7, "']' closes nothing"),
        (("x = 'A;",), 7, "a quote is not closed"),
        (("%{", "i=i+1;"), 7, "a comment begins here"),
        (("x(x>2) = 2;",), 7, "assigned above"),
        (("x = 3*T; x(x>2) = 3;",), 7, "limit a value"),
        (("x = T; y = x; x = T > 3;",), 7, "'x' is assigned a comparison"),
        (("SpeciesToAd = {'A'};",), 7, "is not read here"),
        (("Species2Add = {'A'};",), 7, "write SpeciesToAdd"),
        (("SpeciesToAdd = {'A''B'}; AddSpecies",), 7, "is no name of a species"),
        (("SpeciesToAdd = {'D'};", "k(:,i) = 1;"), 7, "no AddSpecies follows"),
        (("Gstr{i,1} = 'A';",), 6, "k(:,i) is not assigned"),
        (("T = 3;",), 7, "is no statement"),
        (("x0 = T+M;", *(f"x{i + 1} = x{i}*x{i};" for i in range(40))), 20, "without end"),
        (("x0 = T+M;", *(f"x{i + 1} = 1-x{i};" for i in range(400))), 156, "without end"),
    ],
)
def test_what_is_refused(statements, line, words):
    text = script(*statements)
    with pytest.raises(MechanismError, match=rf"^toy\.m, line {line}: .*{re.escape(words)}"):
        read(text)


def test_a_script_without_reactions_is_refused():
    with pytest.raises(MechanismError, match="line 1: no reaction"):
        jaxchem.parse.loads("SpeciesToAdd = {'A'};\nAddSpecies\n")
    with pytest.raises(MechanismError, match=r"line 1: .* before the first"):
        read("k(:,i) = 1;\ni=i+1;")


def test_a_comparison_is_the_users():
    text = script("lit = ( SZA > 0.0 );", "k(:,i) = 2*lit;", "Gstr{i}='A'; fA(i)=-1; fB(i)=1;")
    network = read(text)
    assert network.user_quantities == ("lit",)
    np.testing.assert_array_equal(network.rates(quantities={"lit": 0.5}), [1.0])


def test_it_is_found_by_its_content(tmp_path):
    path = tmp_path / "toy_AllRxns.m"
    path.write_text(SMALL)
    assert jaxchem.load(path).equations == read(SMALL).equations
    assert not f0am.looks_like("[species]\nA\n[reactions]\nA -> ; 1 ; S\n")
    assert not f0am.looks_like("* c ;\nVARIABLE A B ;\nK = 1 ;\n% K : A = B ;\n")
    assert not f0am.looks_like("#INLINE MATLAB_RCONST\n k = k+1;\n#ENDINLINE\n#EQUATIONS\n")


def test_it_survives_the_table():
    network = read(SMALL)
    text = table.dumps(network)
    again = table.loads(text)
    assert table.dumps(again) == text and again.structure == network.structure


JUNK = ("?", "end", "A + B = C", "xx yy = 1", "fNO(j)=1", "Gstr(i) = 'NO'", "'", "k = 1", "i=i+2")
PLACE = st.integers(0, 10**6)


@settings(max_examples=60)
@given(kind=st.sampled_from(("junk", "word", "semicolon")), place=PLACE, what=PLACE)
def test_mutants_are_refused_with_a_line_or_lose_no_reaction(kind, place, what):
    lines = SMALL.splitlines()
    if kind == "junk":
        lines.insert(place % (len(lines) + 1), JUNK[what % len(JUNK)])
    else:
        sign = ";" if kind == "semicolon" else r"\w*ToAdd|AddSpecies|Rnames|Gstr|k\(|i *= *i|f\w+\("
        hits = [n for n, line in enumerate(lines) if re.search(sign, line)]
        n = hits[place % len(hits)]
        at = re.search(sign, lines[n])
        cut = at.start() + (what % (at.end() - at.start()))
        lines[n] = lines[n][:cut] + lines[n][cut + 1 :]
    try:
        network = read("\n".join(lines))
    except MechanismError as error:
        assert re.match(r"toy\.m, line \d+: |.*\(toy\.m, line \d+\)", str(error))
    else:
        assert len(network.equations) >= len(read(SMALL).equations)


@settings(max_examples=30)
@given(st.lists(st.tuples(PLACE, st.sampled_from(("blank", "comment", "end", "front", "sign")))))
def test_blanks_and_comments_change_nothing(changes):
    lines = SMALL.splitlines()
    for place, kind in changes:
        n = place % len(lines)
        if kind == "blank":
            lines.insert(n, "  ")
        elif kind == "comment":
            lines.insert(n, "  % k(:,i) = 3; 'quoted")
        elif kind == "end" and lines[n].strip() not in ("%{", "%}"):
            lines[n] += "   % i=i+1;"
        elif kind == "front":
            lines[n] = f" \t{lines[n]}"
        else:
            lines[n] = re.sub(r"\.\*|\./", lambda sign: f" {sign[0]}\t", lines[n])
    # a blank or a comment may not stand between a line and what '...' joins to it
    joined = [n for n, line in enumerate(lines) if "the rest is below" in line]
    while not re.search(r"F\.\^G", lines[joined[0] + 1]):
        del lines[joined[0] + 1]
    first, second = read(SMALL), read("\n".join(lines))
    assert first.equations == second.equations and first.structure == second.structure
    assert first.expressions() == second.expressions() and first.quantities == second.quantities


def test_nothing_is_said_where_nothing_is_taken():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(SMALL)


def test_changes_belong_to_a_reaction():
    with pytest.raises(MechanismError, match=r"line 22: 'fNO2=.*: write fNO2\(i\) = "):
        read(SMALL.replace("fNO2(i)=fNO2(i)+1;", "fNO2=1;"))
