"""`Network.check`: every kind of finding, by hand, and a print that fits on a screen."""

import math
import time

import jax
import numpy as np
import pytest

import jaxchem
from jaxchem.network import Network, Reaction, Units
from jaxchem.parse import kpp, table

HEAD = """name = told
units = {}
[species]
H = H
OH = OH
H2O = H2O
H2 = H2
O2 = O2
N2 = N2
H+ = H+
H2+ = H2+
OH- = OH-
e- = e-
GRAIN0
dust = none
what+
[pools]
P = OH + O2
Q = H2O
[quantities]
G = ?
TWICE = 2 * G
SUN = positive(cosmic_ray_rate, 1.0, 2.0)
[sources]
S1 = Nobody (1900)
[reactions]
"""


def read(*reactions: str, units: str = "cm-3, s", head: str = "") -> Network:
    text = "\n".join(f"{reaction} ; S1" for reaction in reactions)
    return table.loads(head + HEAD.format(units) + text)


def groups(*reactions: str, units: str = "cm-3, s", **conditions) -> dict[str, tuple[str, ...]]:
    """What is found of rates and yields; none of these mechanisms closes its species."""
    found = read(*reactions, units=units).check(**conditions).groups
    others = ("unbalanced", "no source", "sink", "unused", "undeclared", "user rates")
    return {kind: items for kind, items in found.items() if kind not in others}


@pytest.mark.parametrize(
    ("equation", "most", "unit"),
    [
        ("H2 -> 2 H", 1e12, "s-1"),
        ("H + OH -> H2O", 1e-8, "cm3 s-1"),
        ("H + H+ -> H2+", 1e-6, "cm3 s-1"),
        ("H + what+ -> H + what+", 1e-6, "cm3 s-1"),  # charged by its name
        ("H+ + OH- -> H2O", 1e-4, "cm3 s-1"),
        ("H+ + e- -> H", 1e-4, "cm3 s-1"),
        ("OH + e- -> OH-", 1e-4, "cm3 s-1"),
        ("H + OH + N2 -> H2O + N2", 1e-24, "cm6 s-1"),
        ("H+ + H + N2 -> H2+ + N2", 1e-20, "cm6 s-1"),
        ("H+ + 2 e- -> H + e-", 1e-16, "cm6 s-1"),
    ],
)
def test_a_limit_of_each_kind(equation, most, unit):
    """By hand: 1e-8, 1e-6, 1e-4; a third within 1e-8 s of it; 1e12 for one alone."""
    assert groups(f"{equation} ; {most * 0.9}") == {}
    (found,) = groups(f"{equation} ; {most * 1.1}")["too fast"]
    assert found == f"reaction 0 has {most * 1.1:.3g} {unit}, above {most:.0e}: {equation!r}"


@pytest.mark.parametrize(
    "reaction",
    [
        "-> H ; 1e40",  # of order zero: an emission
        "dust + e- -> dust + e- ; 0.1",  # no molecule
        "2 H -> H2 ; 1e-5 / gas_to_dust * 1e12",  # on the surface of one
        "H + OH -> H2O ; 3e-12 * G",  # the user's
        "H2 -> 2 H ; 1e13 * SUN",  # without the cosmic rays
    ],
)
def test_what_has_no_limit_or_is_not_known(reaction):
    given = {"gas_to_dust": 1e12} if "gas_to_dust" in reaction else {}
    assert groups(reaction, **given) == {}


def test_the_limit_is_in_the_units_of_the_network():
    """1e-8 cm3 s-1 is 1e-14 m3 s-1, 6.02214e9 m3 mol-1 s-1; minutes have sixty seconds."""
    most = 1e-14 * 6.02214076e23
    for factor, count in ((0.99, 0), (1.01, 1)):
        found = groups(f"H + OH -> H2O ; {factor * most}", units="mol m-3, s")
        assert len(found.get("too fast", ())) == count
        found = groups(
            f"H + OH -> H2O ; {factor * 60e-8}", f"H2 -> 2 H ; {factor * 60e12}", units="cm-3, min"
        )
        assert len(found.get("too fast", ())) == 2 * count
    report = read("H + OH -> H2O ; 1e30", "H2 -> 2 H ; 2e13", units="ppb, s").check()
    (found,) = report.groups["too fast"]
    assert found.startswith("reaction 1 ") and "ppb" in report.notes[-1]
    report = read("H2 -> 2 H ; 1e30", units="cm-3, tick").check()
    assert "too fast" not in report.groups and "tick" in report.notes[-1]


def test_a_pool_is_one_that_meets():
    assert groups("H -> OH ; 9e-9 * P") == {}
    (found,) = groups("H -> OH ; 2e-8 * P")["too fast"]
    assert found == "reaction 0 has 2e-08 cm3 s-1, above 1e-08: 'H -> OH'"


def test_a_wrong_sign_of_an_exponent():
    """exp(+E/T) for exp(-E/T), by hand at two temperatures."""
    text = (
        "#DEFVAR\nN2O5 = 2N + 5O; NO3 = N + 3O; NO2 = N + 2O;\n#EQUATIONS\n"
        "N2O5 = NO3 + NO2 : 1.9D+14*EXP(13580.0/TEMP) ;\nNO3 + NO2 = N2O5 : 1.0D-12 ;\n"
    )
    network = kpp.loads(text)
    (found,) = network.check().groups["too fast"]
    assert f"{1.9e14 * math.exp(13580 / 298.15):.3g} s-1" in found
    assert network.check().notes == ("Coefficients at temperature=298.15 (assumed).",)
    report = network.check(temperature=250.0)
    assert f"{1.9e14 * math.exp(13580 / 250):.3g} s-1" in report.groups["too fast"][0]
    assert report.notes == ("Coefficients at temperature=250.",)
    right = kpp.loads(text.replace("(13580", "(-13580"))
    assert "too fast" not in right.check().groups


def test_negative_and_no_numbers():
    found = groups(
        "H -> OH ; temperature - 300",
        "OH -> H ; log(temperature - 300)",
        "H2 -> 2 H ; 1 / (temperature - 298.15)",
        "H2O -> H + OH ; 300 - temperature",
    )
    assert found == {
        "invalid coefficient": (
            "reaction 0 has -1.85: 'H -> OH'",
            "reaction 1 has nan: 'OH -> H'",
            "reaction 2 has inf: 'H2 -> 2 H'",
        )
    }


def test_terms_of_one_rate():
    """Three reactions that are one, one of whose terms is negative; a second one is not of it."""
    found = groups("H -> OH ; 1e-12 * P - 3e-13 * Q + 2", "H -> OH ; 5", "OH -> H ; 1")
    assert found["split"] == ("reactions 0 to 2 'H -> OH' are one, times P, Q, none",)
    assert found["duplicate"] == ("reactions 2 and 3 are both 'H -> OH', at rates that add up",)
    assert {*found} == {"split", "duplicate"}
    assert "invalid coefficient" in groups("H -> OH ; -3e-13 * Q", "OH -> H ; 1")


def test_duplicates():
    found = groups(
        "H + OH -> H2O ; arrhenius(1e-12, 100.0)",
        "OH + H -> H2O ; arrhenius(1e-12, 100.0)",
        "H + OH -> H2O ; arrhenius(2e-12, 300.0)",
        "H + OH -> H2O ; 1e-12",
        "H2O -> H + OH ; below(100.0, at_least(10.0, 2.0))",
        "H2O -> OH + H ; below(300.0, at_least(100.0, 3.0))",
        "H2O -> OH + H ; below(310.0, at_least(290.0, 3.0))",
    )
    assert found == {
        "duplicate": (
            "reactions 0 and 1 are both 'OH + H -> H2O', at one rate",
            "reactions 0 and 2 are both 'H + OH -> H2O', at rates that add up",
        )
    }


def test_species_by_what_reactions_do():
    """By net changes: a third body has no source, what is initial or fixed needs none."""
    network = Network.build(
        name="loose",
        species={name: {"X": 1} for name in ("A", "B", "M", "C", "D", "F", "U", "I")},
        reactions=[
            Reaction({"A": 1, "M": 1}, {"B": 1, "M": 1}, 1e-12, "nobody"),
            Reaction({"I": 1, "F": 1}, {"C": 2}, 1e-12, "nobody"),
            Reaction({"D": 1}, {"C": 1}, 1.0, "nobody"),
        ],
        units=Units("cm-3", "s"),
        fixed=["F"],
        initial={"I": 3.0, "D": 0.0},
    )
    assert network.check().groups == {
        "no source": ("A", "M", "D"),
        "sink": ("B", "C"),
        "unused": ("U",),
    }
    assert len(network.check()) == 6


def test_what_is_fixed_counts_in_the_balance():
    parts = {"A": {"C": 1}, "B": {"C": 1, "O": 1}, "O": {"O": 1}, "W": None}
    equations = [({"A": 1, "O": 1}, {"B": 1}), ({"B": 1}, {"A": 1}), ({"B": 1, "W": 1}, {"A": 1})]
    network = Network.build(
        name="fixed",
        species=parts,
        reactions=[Reaction(left, right, 1e-12, "nobody") for left, right in equations],
        units=Units("cm-3", "s"),
        fixed=["O"],
    )
    assert network.unbalanced() == {1: "unbalanced: reaction 1 'B -> A' changes O -1."}
    assert network.check().groups["unbalanced"] == ("reaction 1 'B -> A' changes O -1",)
    assert network.check().groups["undeclared"] == ("W",)


def test_negative_yields():
    found = groups(
        "H + OH -> H2O + -0.5 H ; 1e-12", "2 H -> H + OH ; 1e-12", "2 H -> -1 OH ; 1e-12"
    )
    assert found["negative yield"] == (
        "reaction 0 takes away more H than reacts: 'H + OH -> H2O + -0.5 H'",
        "reaction 2 takes away more OH than reacts: '2 H -> -1 OH'",
    )


def test_what_is_left_out_is_counted():
    network = read(
        "H -> OH ; G",
        "OH -> H ; TWICE + 1.0",
        "H2 -> 2 H ; SUN",
        "H2O -> H + OH ; 1e13 * temperature",
    )
    report = network.check()
    assert report.groups["user rates"] == ("G",)
    assert report.notes == (
        "Coefficients at temperature=298.15 (assumed).",
        "Not evaluated: 3 of 4 coefficients, which need G, cosmic_ray_rate.",
    )
    assert len(report.groups["too fast"]) == 1
    report = network.check(quantities={"G": 1e12}, cosmic_ray_rate=-1.0, temperature=1e-2)
    assert report.notes == ("Coefficients at cosmic_ray_rate=-1, temperature=0.01.",)
    assert report.groups["too fast"] == ("reaction 1 has 2e+12 s-1, above 1e+12: 'OH -> H'",)
    assert len(network.check(quantities={"*": 1e12}, temperature=1e-2).groups["too fast"]) == 1
    with pytest.raises(ValueError, match="condition 'temprature'"):
        network.check(temprature=3.0)
    with pytest.raises(ValueError, match="no quantity 'GG'; did you mean 'G'"):
        network.check(quantities={"GG": 3.0})


def test_pressure_is_assumed_and_gives_the_density():
    """101325 Pa / (k_B 298.15 K) = 2.4615e19 cm-3, times 5e-8 is above 1e12 s-1; half of it not."""
    network = read("H2 -> 2 H ; 5e-8 * density")
    report = network.check()
    assert report.notes == (
        "Coefficients at temperature=298.15 (assumed), pressure=101325 (assumed).",
    )
    value = 5e-8 * 101325 / (1.380649e-23 * 298.15) * 1e-6
    assert f"has {value:.3g} s-1" in report.groups["too fast"][0]
    assert "too fast" not in network.check(density=1e19).groups
    assert network.check(density=1e19).notes == ("Coefficients at density=1e+19.",)
    report = network.check(pressure=5e4)
    assert (
        "assumed), pressure=50000." not in report.notes[0] and "pressure=50000" in report.notes[0]
    )
    (note, _) = read("H2 -> 2 H ; 5e-8 * density", units="ppb, s").check().notes
    assert note == "Not evaluated: 1 of 1 coefficients, which need density."


def test_functions_of_time_are_taken_at_the_start():
    report = read("H2 -> 2 H ; 1e10 * temperature").check(temperature=lambda t: 90.0 + 20.0 * t)
    assert report.notes == ("Coefficients at temperature=90.",)
    assert "too fast" not in report.groups


def test_coefficients_of_the_state():
    """1 / (1 + P) with P = OH + O2: at the initial state, and without one not at all."""
    reaction = "H2 -> 2 H ; 4e12 / (1.0 + P)"
    report = read(reaction).check()
    assert report.notes == ("Not evaluated: 1 of 1 coefficients, which need P.",)
    assert "too fast" not in report.groups
    for first, count in ((1.0, 1), (3.0, 0)):
        text = HEAD.format("cm-3, s").replace(
            "[pools]", f"[initial]\nOH = {first}\nO2 = 1.0\n[pools]"
        )
        report = table.loads(f"{text}{reaction} ; S1").check()
        assert report.notes == (
            "Coefficients that read concentrations are those of the initial state.",
        )
        assert len(report.groups.get("too fast", ())) == count
        if count:
            assert f"has {4e12 / 3:.3g} s-1" in report.groups["too fast"][0]


def test_32_bits_give_no_alarm():
    """1e-45 is none in 32 bits, and 0 / 0 no number."""
    jax.config.update("jax_enable_x64", False)
    try:
        network = read("H2 -> 2 H ; 1e-50 / (1e-50 + 1e-51 * temperature)")
        assert {*network.check().groups} == {
            "no source",
            "sink",
            "unused",
            "undeclared",
            "user rates",
        }
    finally:
        jax.config.update("jax_enable_x64", True)


def made_up(count: int) -> Network:
    """Reactions with every kind of fault, and names of many lengths."""
    names = [f"SPECIES{i}" + "X" * (i % 40) for i in range(count)]
    parts: dict[str, dict[str, int] | None] = {n: {"C": 1 + i % 3} for i, n in enumerate(names)}
    parts |= {f"UNKNOWN{i}": None for i in range(count)}
    parts |= {f"FRESH{i}": {"C": 1} for i in range(count)}
    parts |= {f"UNUSED{i}": {"C": 1} for i in range(count)}
    parts |= {f"SINK{i}": {"C": 1} for i in range(count)}
    reactions = []
    for i, name in enumerate(names):
        other = names[(i * 7 + 1) % count]
        reactions += [
            Reaction({name: 1}, {other: 1, f"UNKNOWN{i}": 1, f"SINK{i}": 1}, f"Q{i}", "nobody"),
            Reaction({name: 1, other: 1} if name != other else {name: 2}, {}, 1e-3, "nobody"),
            Reaction({name: 1}, {other: 2}, 1e15, "nobody"),
            Reaction({name: 1}, {other: 2}, 1e16, "nobody"),
            Reaction({name: 1}, {other: 1, name: -1.5}, -1.0, "nobody"),
            Reaction({f"FRESH{i}": 1}, {f"SINK{i}": 1}, "1e-12 * P + S + 2", "nobody"),
        ]
    return Network.build(
        name="made_up",
        species=parts,
        reactions=reactions,
        units=Units("molecule cm-3", "s"),
        pools={"P": names[:2], "S": names[2:4]},
        quantities={f"Q{i}": None for i in range(count)},
        supplied={f"SUPPLIED{i}": "a long way from here" for i in range(count)},
    )


@pytest.mark.parametrize("count", [4, 30, 600])
def test_one_screen(count):
    network = made_up(count)
    report = network.check()
    lines = str(report).splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    assert len(report.groups) == 12
    for kind, items in report.groups.items():
        (heading,) = (line for line in lines if line.startswith(f"{kind} ("))
        assert heading.startswith(f"{kind} ({len(items)}")
        assert lines[lines.index(heading) + 1].startswith(f"- {items[0][:40]}")
        assert len([sentence for sentence in report if sentence.startswith(f"{kind}: ")]) == len(
            items
        )
    for kind in ("supplied", "user rates", "undeclared", "no source", "unused", "split"):
        assert len(report.groups[kind]) == count
    assert len(report) == sum(map(len, report.groups.values()))
    assert "the first" in str(report) and "groups[kind]" in lines[-1]
    html = report._repr_html_()
    assert html.count("<tr>") == 13 and f">{count}<" in html


def test_a_small_report_in_full():
    report = read("H + OH -> H2O ; 1e-12", "H2O -> H + OH ; G").check()
    assert str(report) == (
        "Network told: 13 species, 2 reactions, 13 findings\n"
        "user rates (1): quantities that the mechanism names and its user gives\n"
        "- G\n"
        "undeclared (2): species of unknown composition\n"
        "- GRAIN0; what+\n"
        "no source (1): species that no reaction makes and that have no initial concentration\n"
        "- O2\n"
        "unused (9): species that no reaction touches\n"
        "- H2; N2; H+; H2+; OH-; e-; GRAIN0; dust; what+\n"
        "Not evaluated: 1 of 2 coefficients, which need G."
    )
    assert report[0] == "user rates: to be given to rates(), as it is not defined: 'G'."
    assert isinstance(report, list) and repr(report) == str(report)


def test_a_large_mechanism_is_checked_in_time():
    count = 17000
    names = [f"S{i}" for i in range(1500)]
    rates = ("arrhenius({}e-14, 100.0)", "{}e-13 * (temperature / 300.0) ** 1.5", "{}e-15")
    reactions = [
        Reaction({names[i % 1500]: 1, names[i % 1499]: 1}, {names[i % 1009]: 1}, rate, "nobody")
        for i in range(count)
        for rate in [rates[i % 3].format(1 + i % 7)]
        if names[i % 1500] != names[i % 1499]
    ]
    network = Network.build(
        name="large",
        species={name: {"C": 1} for name in names},
        reactions=reactions,
        units=Units("molecule cm-3", "s"),
    )
    begin = time.process_time()
    found = network.check()
    assert time.process_time() - begin < 5.0
    assert len(found.groups["unbalanced"]) == len(reactions)
    assert len(str(found).splitlines()) <= 40


def test_the_rates_of_the_check_are_those_of_the_network():
    """Each coefficient that is told, against `rates`: shipped laws in blocks, names and numbers."""
    from jaxchem.network.limits import Coefficients
    from jaxchem.rates import Conditions

    given = {"temperature": 280.0, "pressure": 9e4, "relative_humidity": 0.4}
    given |= {"solar_zenith_angle": 0.5, "cosmic_ray_rate": 1e-16}
    for name in ("mcm_methane", "osu29", "toy_autoxidation"):
        network = jaxchem.load(name)
        found = Coefficients.of(network, Conditions(**given))
        assert found.known.all()
        np.testing.assert_allclose(found.k, network.rates(**given), rtol=1e-13)
