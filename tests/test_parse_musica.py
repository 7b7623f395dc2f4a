"""MUSICA's mechanisms: the networks that they become, and what is refused."""

import json
import random
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from musica_cases import CASES, given, mechanism, read, shared_network

import jaxchem
from jaxchem.network import MechanismError
from jaxchem.parse import musica, table

pytestmark = pytest.mark.filterwarnings("ignore:.*of the Taylor coefficients alone")


def test_what_the_network_says():
    network = read(CASES["third body"][0], CASES["branched"][0], {"type": "EMISSION", "name": "B"})
    assert network.units == ("mol m-3", "s") and network.name == "small"
    assert network.species == ("A", "B", "C") and network.fixed == ()
    assert network.equations == ("A -> B", "A -> B", "A -> C", "-> B")
    assert network.user_quantities == ("EMIS.B",)
    assert network.sources[1] == "MUSICA, BRANCHED_NO_RO2"
    assert dict(network.references).keys() == {"MUSICA"}


def test_coefficients_and_repeated_species():
    network = read(
        {
            "type": "ARRHENIUS",
            "reactants": [{"name": "A"}, {"species name": "A"}, {"name": "B", "coefficient": 2.0}],
            "products": [{"name": "C"}, {"name": "C", "coefficient": 0.25}, {"name": "B"}],
        }
    )
    assert network.equations == ("2 A + 2 B -> 1.25 C + B",)
    np.testing.assert_array_equal(network.stoichiometry[:, 0], [-2, -1, 1.25])


def test_species_outside_the_phase_are_no_part_of_the_state():
    text = mechanism({"type": "ARRHENIUS"})
    text["phases"][0]["species"] = ["A", "B"]
    assert musica.loads(json.dumps(text)).species == ("A", "B")


@pytest.mark.parametrize("seed", range(2))
def test_yaml_is_json(seed):
    """Both give the same network, to the last digit, in any order of keys."""
    whole = mechanism(*(r for r, _ in CASES.values()))
    one = musica.loads(json.dumps(whole), "a.x")
    whole = json.loads(json.dumps(whole))  # no part of it twice: it would become an alias
    shuffled = {k: whole[k] for k in random.Random(seed).sample(list(whole), len(whole))}
    for text in (yaml.safe_dump(shuffled), json.dumps(shuffled, indent="\t")):
        assert musica.looks_like(text)
        assert table.dumps(musica.loads(text, "a.x")) == table.dumps(one)


def test_table_gives_the_network_back():
    long = {"type": "TAYLOR_SERIES", "taylor coefficients": [0.5] * 30}
    network = read(long, *(r for r, _ in CASES.values()))
    again = table.loads(table.dumps(network))
    assert table.dumps(again) == table.dumps(network)
    assert jax.tree.structure(again) == jax.tree.structure(network)
    same = given(network, 280.0, 9e4)
    np.testing.assert_array_equal(again.rates(**same), network.rates(**same))


def test_sections_without_rates_are_left_out_with_a_warning():
    more = {"aerosol processes": [{"type": "HENRYS_LAW_EQUILIBRIUM"}]}
    with pytest.warns(UserWarning, match=r"small.json, line \d+: 'aerosol processes' is left out"):
        network = read({"type": "ARRHENIUS"}, **more)
    assert len(network.equations) == 1


# Errors

SMALL = """version: 1.0.0
name: small
species:
  - name: A
  - name: B
  - name: M
    is third body: true
phases:
  - name: gas
    species: [A, B, M]
reactions:
  - type: ARRHENIUS
    A: 2.0
    gas phase: gas
    reactants:
      - species name: A
      - species name: M
    products:
      - species name: B
        coefficient: 0.5
  - type: PHOTOLYSIS
    name: jB
    gas phase: gas
    reactants: [{name: B}]
    products: [{name: A}]
"""
WRONG = {  # what to replace, by what, the line and the message
    "version": ("1.0.0", "2.0.0", 1, "version 1 can be read"),
    "top": ("name: small", "nam: small", 2, "unknown key 'nam'; did you mean 'name'"),
    "twice": ("  - name: B", "  - name: A", 5, "declared twice"),
    "flag": ("third body: true", "third body: 3", 7, "true or false"),
    "named": ("- name: B", "- name: 2B", 5, "begins with a letter"),
    "spaces": ("- name: B", "- name: B C", 5, "no spaces"),
    "condition": ("- name: M", "- name: pressure", 6, "name of a condition"),
    "both": (
        "    is third",
        "    constant concentration [mol m-3]: 1.0\n    is third",
        6,
        "one way",
    ),
    "negative": ("is third body: true", "constant concentration [mol m-3]: -1", 7, "negative"),
    "phase": ("  - name: gas", "  - name: gaz", 14, "there is no phase 'gas'"),
    "member": ("[A, B, M]", "[A, B, M, Q]", 10, "unknown species 'Q'"),
    "stateless": ("[A, B, M]", "[M]", 9, "no species that is not constant"),
    "outside": ("[A, B, M]", "[A, M]", 19, "'B' is not in the phase"),
    "type": ("ARRHENIUS", "ARHENIUS", 12, "did you mean ARRHENIUS"),
    "aerosol": ("ARRHENIUS", "HENRYS_LAW", 12, "cannot be expressed"),
    "key": ("A: 2.0", "AA: 2.0", 13, "unknown key 'AA'; did you mean 'A'"),
    "number": ("A: 2.0", "A: two", 13, "not a finite number"),
    "nan": ("A: 2.0", "A: .nan", 13, "not a finite number"),
    "infinite": ("A: 2.0", "A: 1e999", 13, "not a finite number"),
    "energy": ("A: 2.0", "{A: 2.0, C: 1.0, Ea: 1e-20}", 0, ""),
    "positive": ("A: 2.0", "D: 0", 13, "must be positive"),
    "missing": ("    name: jB\n", "", 21, "what the user gives"),
    "quotes": ("name: jB", "name: 'j\"B'", 22, "what the user gives"),
    "no phase": ("    A: 2.0\n    gas phase: gas\n", "", 12, "'gas phase' is missing"),
    "other phase": (
        "name: jB\n    gas phase: gas",
        "name: jB\n    gas phase: air",
        23,
        "one phase",
    ),
    "unknown": ("species name: A", "species name: AA", 16, "did you mean 'A'"),
    "fraction": ("name: A\n", "name: A\n        coefficient: 1.5\n", 0, ""),
    "many": ("species name: M", "{name: M, coefficient: 9}", 16, "more than 9"),
    "key twice": ("    A: 2.0", "    A: 2.0\n    A: 3.0", 14, "given twice"),
    "alias": ("A: 2.0", "A: *x", 13, "aliases"),
    "second": ("reactions:", "---\nreactions:", 11, "second document"),
    "syntax": ("[A, B, M]", "[A, B, M", 11, "neither JSON nor YAML"),
    "list": ("[A, B, M]", "A", 10, "a list belongs here"),
    "none": (SMALL[SMALL.index("  - type: ARR") :], "  []\n", 12, "no gas-phase reactions"),
    "empty": (SMALL, "# nothing", 1, "nothing stands in it"),
    "control": ("name: small", "name: sm\0all", 2, "character"),
    "surrogate": ("name: small", "name: sm\ud800all", 2, "character"),
}


@pytest.mark.parametrize("case", [c for c, w in WRONG.items() if w[3]])
def test_errors(case):
    """Every error names the file, the line and the reason."""
    there, instead, line, message = WRONG[case]
    assert there in SMALL
    with pytest.raises(MechanismError) as caught:
        musica.loads(SMALL.replace(there, instead, 1), "small.yaml")
    assert str(caught.value).startswith(f"small.yaml, line {line}: ")
    assert message in str(caught.value)


ALONE = {  # one reaction and what is wrong with it
    "energy": ({"type": "ARRHENIUS", "C": 1.0, "Ea": 1e-20}, "keep one of the two"),
    "fraction": (
        {"type": "ARRHENIUS", "reactants": [{"name": "A", "coefficient": 1.5}]},
        "1.5 A reacts: mass action needs whole molecules",
    ),
    "none": (
        {"type": "ARRHENIUS", "reactants": [{"name": "A", "coefficient": 0}]},
        "0 A reacts",
    ),
    "ten": (
        {"type": "ARRHENIUS", "reactants": [{"name": "A", "coefficient": 10}]},
        "10 A reacts: mass action needs whole molecules on the left, 9 at most",
    ),
    "infinite": (
        {"type": "ARRHENIUS", "products": [{"name": "B", "coefficient": 1.5e308}] * 2},
        "the coefficients of 'B' add up to no finite number",
    ),
    "weight": (
        {"type": "SURFACE", "name": "s", "gas-phase species": "B"},
        "the uptake of 'B' by particles needs its diffusion coefficient",
    ),
    "share": ({**CASES["branched"][0], "a0": 1.5}, "a0 is 1.5; it lies in 0 to 1"),
    "atoms": ({**CASES["branched"][0], "n": 900}, "n is 900; it lies in 0 to 100"),
    "branch": (
        {k: v for k, v in CASES["branched"][0].items() if k != "a0"},
        "the key 'a0' is missing",
    ),
    "taylor": ({"type": "TAYLOR_SERIES", "taylor coefficients": []}, "1 to 30 coefficients"),
    "overflow": (
        {"type": "TAYLOR_SERIES", "A": 1e300, "taylor coefficients": [1e300]},
        "is not finite",
    ),
    "program": ({"type": "LAMBDA_RATE_CONSTANT", "lambda function": "x"}, "cannot be expressed"),
    "clash": ({"type": "PHOTOLYSIS", "name": "x"}, "'PHOTO.x' is a species already"),
}


@pytest.mark.parametrize("case", ALONE)
def test_errors_of_one_reaction(case):
    reaction, message = ALONE[case]
    content = mechanism(reaction)
    if case == "clash":
        content["species"].append({"name": "PHOTO.x", "is third body": True})
        content["phases"][0]["species"].append({"name": "PHOTO.x"})
    with pytest.raises(MechanismError) as caught:
        musica.loads(json.dumps(content, indent=1), "small.json")
    assert message in str(caught.value) and "small.json, line " in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "? " * 100_000,
        "a: &a [x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(50)),
        "a: &a [*a]",
        '{"reactions": !!python/object/apply:os.system ["true"]}',
        "{" + ", ".join(f'"k{i}": 1' for i in range(20_000)) + "}",
        "x" * 20_000_001,
    ],
    ids=["flow", "maps", "lists", "keys", "laughs", "circle", "tag", "wide", "huge"],
)
def test_bombs(text):
    with pytest.raises(MechanismError, match=r"bomb, line \d+"):
        musica.loads(text, "bomb")


def test_mutated_text_gives_errors_with_a_line():
    """Nothing but a network or a `MechanismError` that names the line."""
    rng = random.Random(5)
    whole = json.dumps(mechanism(*(r for r, _ in CASES.values())), indent=1)
    pieces = [
        *'{}[]",:-&*!|>#%\n\t \\\0',
        "1e999",
        "nan",
        "-1",
        "null",
        "name",
        "__",
        "é",
        "\u2028",
    ]
    refused = 0
    for number in range(1200):
        text = whole if number % 4 == 0 else SMALL
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            cut = rng.choice([0, 0, 1, 3, 20])
            text = text[:at] + rng.choice(pieces) * rng.choice([0, 1, 1, 2]) + text[at + cut :]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                network = musica.loads(text, "mutated")
        except MechanismError as error:
            assert "mutated, line " in str(error), (str(error), text)
            refused += 1
        else:
            assert table.dumps(table.loads(table.dumps(network))) == table.dumps(network), text
    assert 300 < refused < 1200


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"version": "1",\n  "species": []\n   ', 3),
        ('{"name": "a\u2028b",\n"version" 1}\n', 2),
        ('{"camp-files": [\n"' + "long" * 200 + '"]}', 2),
    ],
)
def test_lines_as_editors_count_them(text, line):
    with pytest.raises(MechanismError, match=f"f.json, line {line}: "):
        musica.loads(text, "f.json")


def test_a_long_number_is_refused_soon():
    started = time.perf_counter()
    with pytest.raises(MechanismError, match="is not a finite number"):
        read({"type": "ARRHENIUS", "A": "9" * 100_000 + "x"})
    assert time.perf_counter() - started < 2


# Telling the format


def test_looks_like():
    assert musica.looks_like(SMALL) and musica.looks_like('{"camp-files": ["a.json"]}')
    assert musica.looks_like(json.dumps(mechanism({"type": "ARRHENIUS"})))
    robertson = Path(jaxchem.__file__).parent / "data" / "robertson.txt"
    assert not musica.looks_like(robertson.read_text())
    cantera = (
        "phases:\n- name: gas\n  thermo: ideal-gas\nspecies: []\nreactions:\n- equation: A => B"
    )
    assert not musica.looks_like(cantera)
    assert not musica.looks_like("#EQUATIONS\n{1.} A = B : 1.0;")


# The files of MUSICA

FILES = {  # species, fixed, reactions, quantities of the user; or why it is refused
    "v0/chapman/config.json": (4, 1, 7, 3),
    "v0/robertson/config.json": (3, 0, 3, 3),
    "v0/carbon_bond_5/config.json": (67, 0, 200, 39),
    "v1/analytical/config.json": (3, 0, 2, 0),
    "v1/analytical/config.yaml": (3, 0, 2, 0),
    "v1/chapman/config.json": (5, 0, 7, 3),
    "v1/chapman/config.yaml": (5, 0, 7, 3),
    "v1/full_configuration/full_configuration.json": (3, 0, 13, 6),
    "v1/full_configuration/full_configuration.yaml": (3, 0, 13, 6),
    "v1/ts1/ts1.json": (209, 0, 547, 168),
    "v1/cam_cloud_chemistry/config.json": (36, "'aerosol processes' (line 48)"),
    "v1/emissions/config.json": (5, "'emissions' (line 6)"),
    "v1/emissions/config.yaml": (4, "'emissions' (line 6)"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_musica(name):
    expected = FILES[name]
    if len(expected) == 2:
        with pytest.raises(MechanismError) as caught:
            shared_network(name)
        assert f"{name}, line {expected[0]}: no gas-phase reactions" in str(caught.value)
        assert expected[1] in str(caught.value)
        return
    network = shared_network(name)
    found = (len(network.species), len(network.fixed), len(network.equations))
    assert (*found, len(network.user_quantities)) == expected
    again = table.loads(table.dumps(network))
    assert table.dumps(again) == table.dumps(network)
    assert jax.tree.structure(again) == jax.tree.structure(network)


def test_chapman_of_both_formats_and_versions():
    one, other = (shared_network(f"v1/chapman/config.{e}") for e in ("json", "yaml"))
    assert one.equations == other.equations
    at = {"temperature": 217.6, "pressure": 3e4, "quantities": {"*": 1e-5}}
    np.testing.assert_allclose(one.rates(**at), other.rates(**at), rtol=1e-15)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('"name": "C"', '"name": "C", "density [kg m-3]": 1e-3 x', "'1e-3 x' is not a finite"),
        ('"name": "B"}, {"name": "C"}', '"name": "B"}, {"name": "B"}', "'B' stands twice in its"),
        (']}], "reactions"', ']}, {"name": "gas", "species": []}], "reactions"', "declared twice"),
        (']}], "reactions"', ']}, {"nam": "b", "species": []}], "reactions"', "unknown key 'nam'"),
    ],
)
def test_what_no_reaction_asks_for_is_checked_too(old, new, words):
    text = json.dumps(mechanism({"type": "ARRHENIUS", "A": 1.0}))
    assert old in text
    with pytest.raises(MechanismError, match=rf"line 1: .*{words}"):
        musica.loads(new.join(text.rsplit(old, 1)), "file")
