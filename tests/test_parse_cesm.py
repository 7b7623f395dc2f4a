"""Input of CESM's chemistry preprocessor: rates by hand, and what malformed files are answered."""

import math
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxchem
from jaxchem.network import MechanismError, Network
from jaxchem.parse import cesm, table

SMALL = """* a toy mechanism
SPECIES
   Solution
 O3, O, O1D -> O, OH -> HO, HO2, H2O2      ! comment
 CO, POOH -> C3H6OHOOH, CLY, HNO3, NO2
 NO3, N2O5, e -> E
   End Solution
   Fixed
 M, N2, O2, H2O, CH4
   End Fixed
   Groups
 OX = O3 + O + 2*O1D
   End Groups
   Col-int
 O3 = 0.
   End Col-int
   Not-Transported
 e, OH
   End Not-Transported
END Species

Solution classes
   Explicit
 CO
   End Explicit
   Implicit
 O3
 OH, HO2
   End implicit
End Solution Classes

CHEMISTRY
   Photolysis
 [jo2_b=userdefined,]    O2 + hv -> 2*O
 [jh2o2]                 H2O2 + hv -> 2 * OH
 [jpooh->,.28*jh2o2]     POOH -> O H
 [jo3_a->,jother]        O3 + hv -> O1D + .5*O2
   End Photolysis
   Reactions
            O + O3 -> 2*O2              ; 8e-12, -2060
 [o1d_n2,cph=189.8] O1D + N2 -> O + N2  ; 2.1E-11,115.
 [tag_NO2_NO3] NO2 + NO3 + M -> N2O5 + M ; 2.e-30,4.4, 1.4e-12,.7, .6
 [usr_N2O5_M] N2O5 + M -> NO2 + NO3 + M
            OH + OH + M = H2O2 + M      ; 6.9d-31, 1., 2.6e-11, 0, .6
 [usr_O_O2,cph] O + O2 + M -> O3 + M
 [usr_HNO3_OH] HNO3 + OH -> NO3
            CH4 + OH -> .25*CO          ; 2e-15   # a comment ! of both kinds
               + .5*HO2 + 1.5 * CO
*              + HO2
               + CO2
 [usr_HO2_aer] HO2 -> .5*H2O2
            CLY ->                      ; 1e-6
            e + O2 -> O + CO2           ; 3e-9
   End Reactions
   Heterogeneous
 HNO3, H2O2
   End Heterogeneous
   Ext Forcing
 CO <- dataset
 e
   End Ext Forcing
END CHEMISTRY

SIMULATION PARAMETERS
   Version Options
 model = cam
   End Version Options
END SIMULATION PARAMETERS
"""
STATES = (298.0, 2.46e19), (220.0, 2.5e18)
WATER = 3e16
J = {"jo2_b": 1e-9, "jh2o2": 6e-6, "jother": 2e-5}


def read(text: str, filename: str = "chem_mech.in") -> Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cesm.loads(text, filename)


def file(reactions: str, solution: str = "A, B, OH, HO2, H2O2", fixed: str = "M, H2O") -> str:
    """A file with these reactions."""
    return (
        f"SPECIES\nSolution\n{solution}\nEnd Solution\nFixed\n{fixed}\nEnd Fixed\nEnd SPECIES\n"
        f"CHEMISTRY\nReactions\n{reactions}\nEnd Reactions\nEnd CHEMISTRY\n"
    )


def falloff(t: float, m: float, k0: float, n: float, ki: float, power: float, centre: float):
    low = k0 * (300 / t) ** n
    x = low * m / (ki * (300 / t) ** power)
    return low / (1 + x) * centre ** (1 / (1 + math.log10(x) ** 2))


@pytest.mark.parametrize("t, m", STATES)
def test_rates_of_every_kind(t, m):
    network = read(SMALL)
    association = falloff(t, m, 2e-30, 4.4, 1.4e-12, 0.7, 0.6)
    a = 6.5e-34 * m * math.exp(1335 / t)
    expected = [
        J["jo2_b"] * 0.21 * m,
        J["jh2o2"],
        0.28 * J["jh2o2"],
        J["jother"],
        8e-12 * math.exp(-2060 / t),
        2.1e-11 * math.exp(115 / t) * 0.79 * m,
        association * m,
        association * m * 1.724138e26 * math.exp(-10840 / t),
        falloff(t, m, 6.9e-31, 1.0, 2.6e-11, 0.0, 0.6) * m,
        6e-34 * (300 / t) ** 2.4 * 0.21 * m * m,
        2.4e-14 * math.exp(460 / t) + a / (1 + a / (2.7e-17 * math.exp(2199 / t))),
        2e-15,
        0.125,
        1e-6,
        3e-9 * 0.21 * m,
    ]
    quantities = {"usr_HO2_aer": 0.125}
    k = network.rates(temperature=t, density=m, photolysis=J, quantities=quantities)
    np.testing.assert_allclose(k, expected, rtol=1e-13)


def test_equations():
    network = read(SMALL)
    assert network.equations == (
        *("-> 2 O", "H2O2 -> 2 OH", "POOH -> OH", "O3 -> O1D", "O + O3 ->", "O1D -> O"),
        *("NO2 + NO3 -> N2O5", "N2O5 -> NO2 + NO3", "2 OH -> H2O2", "O -> O3"),
        *("HNO3 + OH -> NO3", "CH4 + OH -> 1.75 CO + 0.5 HO2", "HO2 -> 0.5 H2O2", "CLY ->"),
        "e -> O",
    )
    assert network.units == ("molecule cm-3", "s")
    assert network.fixed == ("CH4",)
    assert network.families == (("OX", (("O3", 1.0), ("O", 1.0), ("O1D", 2.0))),)
    assert network.user_quantities == ("jo2_b", "jh2o2", "jother", "usr_HO2_aer")
    assert network.undeclared == ("CLY",) and network.balanced == ()
    assert any("'usr_HO2_aer'" in problem for problem in network.check())
    carbon = network.composition[network.elements.index("C"), network.index("POOH")]
    assert (len(network.species), carbon) == (15, 3.0)


def test_tendency_by_hand():
    network = read(SMALL)
    y = {"OH": 2.0, "CH4": 5.0, "H2O2": 7.0}
    t, m = STATES[0]
    k = network.rates(
        **{"temperature": t, "density": m, "photolysis": {**J, "jo2_b": 0.0}},
        quantities={"usr_HO2_aer": 0.0},
    )
    found = jaxchem.tendency(network, k, network.y0(y))
    pair = falloff(t, m, 6.9e-31, 1.0, 2.6e-11, 0.0, 0.6) * m * 2.0**2
    expected = dict.fromkeys(network.species, 0.0)
    expected["OH"] = 2 * 7.0 * J["jh2o2"] - 2 * pair - 2e-15 * 10
    expected |= {"H2O2": pair - 7.0 * J["jh2o2"], "CO": 1.75 * 2e-14, "HO2": 0.5 * 2e-14}
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-12)


@pytest.mark.parametrize("t, m", STATES)
@pytest.mark.parametrize("place", ["fixed", "solution"])
def test_water_is_a_pool_where_it_is_a_species(t, m, place):
    solution = "A, OH, SO3, H2SO4" + ", H2O" * (place == "solution")
    text = file("[usr_SO3_H2O] SO3 + H2O -> H2SO4", solution, "M" + ", H2O" * (place == "fixed"))
    network = read(text)
    c = 8.5e-41 * math.exp(6540 / t)
    given = {"quantities": {"H2O": WATER}} if place == "fixed" else {}
    k = network.rates(temperature=t, density=m, **given)
    y = network.y0({"SO3": 3.0, **({"H2O": WATER} if place == "solution" else {})})
    made = jaxchem.tendency(network, k, y)[network.index("H2SO4")]
    np.testing.assert_allclose(made, 3.0 * c * WATER**2, rtol=1e-13)
    assert network.pool_names == (("H2O",) if place == "solution" else ())


def test_rates_that_are_not_of_the_file_can_be_given():
    text = file("[usr_HO2_HO2] HO2 + HO2 -> H2O2")
    with pytest.warns(UserWarning, match="does not define usr_HO2_HO2; taken from CAM"):
        network = cesm.loads(text, "a.in")
    t, m = STATES[0]
    own = 3e-13 * math.exp(460 / t) + 2.1e-33 * m * math.exp(920 / t)
    own *= 1 + 1.4e-21 * WATER * math.exp(2200 / t)
    conditions = {"temperature": t, "density": m}
    k = network.rates(**conditions, quantities={"H2O": WATER})
    np.testing.assert_allclose(k, [own], rtol=1e-13)
    k = network.rates(**conditions, quantities={"usr_HO2_HO2": 7e-12})
    np.testing.assert_array_equal(k, [7e-12])


def branch(t: float, m: float, share: float, heavy: int) -> float:
    """What part of RO2 + NO is nitrate (Wennberg et al. 2018)."""

    def a(t, m):
        low, high = 2e-22 * math.exp(heavy) * m, 0.43 * (t / 298) ** -8
        return low / (1 + low / high) * 0.41 ** (1 / (1 + math.log10(low / high) ** 2))

    z = a(293, 2.45e19) * (1 - share) / share
    return a(t, m) / (a(t, m) + z)


USER = {
    "usr_O_O": lambda t, m: 2.76e-34 * math.exp(720 / t),
    "usr_CH3COCH3_OH": lambda t, m: 3.82e-11 * math.exp(-2000 / t) + 1.33e-13,
    "usr_XOOH_OH": lambda t, m: 7.69e-17 * t**2 * math.exp(253 / t),
    "usr_MCO3_NO2": lambda t, m: 1.1e-11 * 300 / t / m,
    "usr_SO2_OH": lambda t, m: m * falloff(t, m, 3e-31, 3.3, 1.5e-12, 0, 0.6),
    "usr_CO_OH_b": lambda t, m: falloff(t, m, 1.5e-13, 0, 2.1e9, -6.1, 0.6),
    "usr_N_O2": lambda t, m: 2e-18 * t**2.15 * math.exp(-2557 / t),
    "usr_N2D_O2": lambda t, m: 6.2e-12 * t / 300,
    "usr_CO_OH_a": lambda t, m: 1.5e-13 * (1 + 6e-7 * 1.38065e-16 * m * t),
    "usr_DMS_OH": lambda t, m: (
        8.2e-39 * math.exp(5376 / t) * 0.21 * m / (1 + 1.05e-5 * 0.21 * math.exp(3644 / t))
    ),
    "usr_ISOPZD1O2": lambda t, m: 5.05e15 * math.exp(-12200 / t + 1e8 / t**3),
    "usr_ISOPZD4O2": lambda t, m: 2.22e9 * math.exp(-7160 / t + 1e8 / t**3),
    "usr_MACRO2_NOn": lambda t, m: 2.7e-12 * math.exp(360 / t) * branch(t, m, 0.06, 6),
    "usr_IEPOXOO_NOa": lambda t, m: 2.7e-12 * math.exp(360 / t) * (1 - branch(t, m, 0.025, 8)),
}


@pytest.mark.parametrize("t, m", STATES)
def test_user_rates(t, m):
    lines = [f"[{tag}] A -> B" for tag in USER]
    network = read(file("\n".join(lines)))
    k = network.rates(temperature=t, density=m)
    np.testing.assert_allclose(k, [value(t, m) for value in USER.values()], rtol=1e-12)
    published = {"usr_O_O": 3.091798527e-33, "usr_CO_OH_b": 1.409866678e-13}
    if t == 298.0:  # of an evaluation by hand, to ten digits
        for tag, value in published.items():
            assert float(k[list(USER).index(tag)]) == pytest.approx(value, rel=1e-9)


def test_carbon_monoxide_by_two_channels():
    k = read(file("[usr_CO_OH] A + OH -> HO2")).rates(temperature=298.0, density=2.46e19)
    assert float(k[0]) == pytest.approx(2.422036372e-13, rel=1e-9)


def test_reverse_of_what_the_file_lacks_is_the_users():
    lines = "[usr_MPAN_M] A + M -> B\n[usr_PAN_M] B + M -> A\n[tag_CH3CO3_NO2] A -> B ; 1e-3"
    assert read(file(lines)).user_quantities == ("usr_MPAN_M", "usr_PAN_M")


def test_what_is_left_out_is_said():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cesm.loads(SMALL.replace("2*O2  ", ".5 O3  "), "a.in")
    said = " ".join(str(warning.message) for warning in caught)
    assert "not declared are left out: CO2 (2)" in said
    line = SMALL[: SMALL.index("O + O3 -> ")].count("\n") + 1
    assert f"line {line}: '.5O3' may mean '.5*O3'" in said
    assert "external forcing is the host's and left out: CO, e." in said
    assert "washout is the host's and left out: HNO3, H2O2." in said
    assert "does not define usr_N2O5_M, usr_O_O2, usr_HNO3_OH" in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cesm.loads(file("A -> B ; 1"), "a.in")


@pytest.mark.parametrize(
    "reaction, words",
    [
        ("A -> B ; 1, 2, 3", "a rate has 1 number"),
        ("A -> B ; 1,,2,3,4", "a rate has 1 number"),
        ("A -> B ; 1, x", "a rate has 1 number"),
        ("A -> B ; -1e-12", "not positive"),
        ("A -> B ; 1;2", "write"),
        ("A -> B", "no numbers follow"),
        ("[t] A -> B\n[t] B -> A", "the tag 't' stands in line 11 too"),
        ("[temperature] A -> B", "the tag 'temperature'"),
        ("[OH] A -> B", "the tag 'OH'"),
        ("[t,u] A -> B ; 1", "cph"),
        ("[] A -> B ; 1", "a tag"),
        ("2*A -> B ; 1", "'2*A': a reactant has no coefficient"),
        ("A + X -> B ; 1", "the reaction names 'X'"),
        ("A + H2OO -> B ; 1", "did you mean 'H2O"),
        ("A + hv -> B ; 1", "'hv' belongs under Photolysis"),
        ("A -> 2*B -1.5*OH ; 1", "'2*B-1.5*OH'"),
        ("-> A ; 1", "what reacts"),
        ("A -> B ; 1\nOH", "begin with '+'"),
        ("A -> B ; 1\n+ OH ; 2", "further products"),
        ("+ OH", "further products"),
        ("A -> B ; 1e400", "1e400: no such number"),
        ("", "no reactions"),
    ],
)
def test_reactions_that_are_refused(reaction, words):
    line = 11 + reaction.count("\n") if reaction else 6  # where the last list stands
    with pytest.raises(MechanismError, match=rf"^a\.in, line {line}: .*{re.escape(words)}"):
        read(file(reaction), "a.in")


@pytest.mark.parametrize(
    "old, new, further, words",
    [
        ("Reactions\n", "Reactons\n", 0, "'Reactons' is no section of CHEMISTRY; did you"),
        ("   End Reactions", "", 1, "'Heterogeneous' stands inside REACTIONS"),
        ("END CHEMISTRY", "", 2, "'SIMULATIONPARAMETERS' stands inside CHEMISTRY"),
        ("SIMULATION PARAMETERS\n   V", "COMMENTS\n   V", 0, "COMMENTS begins here"),
        ("   End Solution", "   End Soluton", 1, "'Fixed' stands inside SOLUTION"),
        ("Groups\n OX", "Pce\n OX", 2, "'EndGroups' stands inside PCE"),
        ("O3 + O +", "O3 + X +", 0, "the group OX names 'X'"),
        (" O3\n OH", " O4\n OH", 0, "IMPLICIT names 'O4'"),
        (" M, N2", " M, O3", 0, "'O3' is declared in line 4 too"),
        ("e -> E", "e ->", 0, "'e->': write"),
        ("e -> E", "e e-", 0, "'ee-': write"),
        ("O3 = 0.", "O3 = x", 0, "Col-int has lines"),
        ("HNO3, H2O2\n", "HNO3,, H2O2\n", 0, "a comma too many"),
        ("CO <- dataset", "CO <= dataset", 0, "write 'SPECIES'"),
        ("[jo3_a->,jother]", "", 0, "a tag"),
        ("[jo3_a->,jother]", "[jo3_a->,2+jother]", 0, "write [jx]"),
        ("hv -> 2 * OH", "hv -> 2 * OH ; 1e-5", 0, "photolysis is written"),
        ("END Species", "END Species\n a = 5", 1, "'a=5' is no section"),
    ],
)
def test_files_that_are_refused(old, new, further, words):
    line = SMALL[: SMALL.index(old)].count("\n") + 1 + further
    with pytest.raises(MechanismError, match=rf"^a\.in, line {line}: .*{re.escape(words)}"):
        read(SMALL.replace(old, new, 1), "a.in")


def test_assignments_and_comments_of_the_host_are_passed_over():
    head = 'BEGSIM\noutput_file = a.doc\nComments\n "! Reactions"\n Species\nEnd Comments\n'
    again = read(f"{head}{SMALL}ENDSIM\n")
    assert again.equations == read(SMALL).equations


def test_it_is_found_by_its_content(tmp_path):
    path = tmp_path / "chem_mech.in"
    path.write_text(SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert jaxchem.load(path).equations == read(SMALL).equations
    assert not cesm.looks_like("[species]\nA\n[reactions]\nA -> ; 1 ; S\n")
    assert not cesm.looks_like("#DEFVAR\nO = IGNORE ;\n#EQUATIONS\n<R1> O + O = O2 : 1.8E-12 ;\n")


def test_a_listing_is_not_the_input():
    text = "  Solution species\n  (  1)  O3\n  r1  (  1)   O + O3 ->  2*O2     rate = 8.00E-12\n"
    with pytest.raises(MechanismError, match=r"a\.doc, line 1: .*listing.*give the \.in"):
        jaxchem.parse.loads(text, "a.doc")


def test_it_survives_the_table():
    network = read(SMALL)
    text = table.dumps(network)
    again = table.loads(text)
    assert table.dumps(again) == text and again.structure == network.structure


def test_rates_can_be_differentiated():
    network = read(SMALL)
    given = {"density": 1e19, "photolysis": J, "quantities": {"usr_HO2_aer": 0.0}}
    low, high = (network.rates(temperature=t, **given) for t in (249.99, 250.01))
    slope = jax.jacfwd(lambda t: network.rates(temperature=t, **given))(jnp.asarray(250.0))
    np.testing.assert_allclose(slope, (high - low) / 0.02, rtol=1e-6)


JUNK = ("?", "End", "A -> -> B", "xx yy = ;", "[", "Reactions", "0.5*O3", "+ + O", "1e-12, 3")
PLACE = st.integers(0, 10**6)


@settings(max_examples=60)
@given(kind=st.sampled_from(("junk", "section", "semicolon")), place=PLACE, what=PLACE)
def test_mutants_are_refused_with_a_line_or_lose_no_reaction(kind, place, what):
    lines = SMALL.splitlines()
    if kind == "junk":
        lines.insert(place % (len(lines) + 1), JUNK[what % len(JUNK)])
    else:
        sign = ";" if kind == "semicolon" else r"(?i)species|solution|fixed|reactions|photolysis"
        hits = [n for n, line in enumerate(lines) if re.search(sign, line) and line[0] != "*"]
        n = hits[place % len(hits)]
        at = re.search(sign, lines[n])
        cut = at.start() + (what % (at.end() - at.start()))
        lines[n] = lines[n][:cut] + lines[n][cut + 1 :]
    try:
        network = read("\n".join(lines), "a.in")
    except MechanismError as error:
        assert re.match(r"a\.in, line \d+: |reaction .*\(a\.in, line \d+\)", str(error))
    else:
        assert len(network.equations) >= len(read(SMALL).equations)


@settings(max_examples=30)
@given(st.lists(st.tuples(PLACE, st.sampled_from(("blank", "comment", "end", "inside", "tab")))))
def test_blanks_and_comments_change_nothing(changes):
    lines = SMALL.splitlines()
    for place, kind in changes:
        n = place % len(lines)
        if kind == "blank":
            lines.insert(n, "  ")
        elif kind == "comment":
            lines.insert(n, "  * O -> O3 ; 1")
        elif lines[n].lstrip().startswith("*"):
            continue
        elif kind == "end":
            lines[n] += "   ! O -> O3 ; 1"
        else:
            at = place % (len(lines[n]) + 1)
            lines[n] = lines[n][:at] + (" " if kind == "inside" else "\t") + lines[n][at:]
    first, second = read(SMALL), read("\n".join(lines))
    assert first.equations == second.equations and first.structure == second.structure
    assert first.expressions() == second.expressions() and first.quantities == second.quantities
