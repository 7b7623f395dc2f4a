import time

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import SHIPPED, examples

import jaxchem
from jaxchem.expression import Call, Name, Number, call
from jaxchem.network import MechanismError, Network, Reaction, Units
from jaxchem.parse import table

GOOD = """name = small
title = a test
units = cm-3, s
[species]
A = C2H4
B
H+
e-
[pools]
P = A + B
[sources]
S1 = Nobody (1900)
[reactions]
A + B -> 0.5 A + H+ + e- ; 2 * arrhenius(1e-3, 20) * P ; S1, table 2
"""


def assert_same(one: Network, other: Network) -> None:
    """Equal in every field, the rate parameters bit for bit."""
    for field in ("name", "title", "species", "sources", "references", "elements", "balanced"):
        assert getattr(one, field) == getattr(other, field), field
    assert one.equations == other.equations and one.undeclared == other.undeclared
    assert one.units == other.units and one.pool_names == other.pool_names
    np.testing.assert_array_equal(one.stoichiometry, other.stoichiometry)
    for field in ("reactants", "pools", "pool_of", "composition"):
        left, right = getattr(one.structure, field), getattr(other.structure, field)
        np.testing.assert_array_equal(left, right, err_msg=field)
    assert one.structure == other.structure
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert left.dtype == right.dtype and left.tobytes() == right.tobytes()


# Reading


def test_good_file():
    """The file that the malformed ones below are made from."""
    network = table.loads(GOOD)
    assert (network.name, network.title) == ("small", "a test")
    assert network.units == Units("cm-3", "s")
    assert network.species == ("A", "B", "H+", "e-")
    assert network.elements == network.balanced == ("B", "C", "H", "charge")
    assert network.equations == ("A + B -> 0.5 A + H+ + e-",)
    assert network.sources == ("S1, table 2",)
    assert network.references == (("S1", "Nobody (1900)"),)
    np.testing.assert_array_equal(network.stoichiometry[:, 0], [-0.5, -1, 1, 1])
    np.testing.assert_array_equal(network.structure.pools, [[1, 1, 0, 0]])
    np.testing.assert_array_equal(network.composition[:, 2], [0, 0, 1, 1])
    np.testing.assert_allclose(network.rates(temperature=10.0), 2e-3 * np.exp(-2.0), rtol=1e-15)


def test_comments_blank_lines_and_repeats():
    text = GOOD.replace("\n", "  # why\n\n").replace("A + B ->", "A + 2 A + B ->")
    network = table.loads(text)
    assert network.equations == ("3 A + B -> 0.5 A + H+ + e-",)
    assert sorted(network.structure.reactants[0]) == [0, 0, 0, 1]


def test_empty_sides():
    text = GOOD.splitlines()[:-1]
    network = table.loads("\n".join([*text, "-> A ; 1 ; S1", "2 A -> ; 3 ; S1", "B -> ; P ; S1"]))
    np.testing.assert_array_equal(network.stoichiometry[:2], [[1, -2, 0], [0, 0, -1]])
    np.testing.assert_array_equal(network.rates(), [1.0, 3.0, 1.0])


@pytest.mark.parametrize("text", ["2A -> B", "2 A -> B", "2.0 A -> B", "A + A -> B", "2e0 A->B"])
def test_ways_to_write_two(text):
    network = table.loads("\n".join([*GOOD.splitlines()[:-1], f"{text} ; 1 ; S1"]))
    assert network.equations == ("2 A -> B",)


@pytest.mark.parametrize("text", ["3He + 2 3He -> 2A ", "3 3He -> 1 2A", "3He + 3He + 3He -> 2A"])
def test_names_that_begin_with_a_digit(text):
    """What is declared is a name; a blank parts a coefficient from it."""
    head = GOOD.replace("\nB\n", "\nB\n3He = ?\n2A = ?\n")
    network = table.loads("\n".join([*head.splitlines()[:-1], f"{text} ; 1 ; S1"]))
    assert network.equations == ("3 3He -> 2A",)
    assert table.loads(table.dumps(network)).equations == network.equations


def test_weights_of_a_pool():
    """Written and read back, names that begin with a digit and tiny and negative ones included."""
    head = GOOD.replace("\nB\n", "\nB\n3He = ?\n")
    network = table.loads(head.replace("P = A + B", "P = 2.5 A + 1e-05 3He + -0.75 B"))
    weights = dict(zip(network.species, network.structure.pools[0], strict=True))
    assert {n: w for n, w in weights.items() if w} == {"A": 2.5, "3He": 1e-5, "B": -0.75}
    assert "\nP = 2.5 A + -0.75 B + 1e-05 3He\n" in table.dumps(network)
    assert table.loads(table.dumps(network)).structure == network.structure


def test_quotes_in_a_source():
    """They quote no names, and may stand alone."""
    lines = [*GOOD.splitlines()[:-1], 'A -> B ; 1 ; S1, "a; 5" of 3\'']
    network = table.loads("\n".join(lines))
    assert network.sources[-1] == 'S1, "a; 5" of 3\''
    network = table.loads("\n".join([*lines[:-1], 'A -> B ; 1 ; S1, a; 5" = b']))
    assert network.sources[-1] == 'S1, a; 5" = b'
    assert table.loads(table.dumps(network)).sources == network.sources


def test_charged_pool():
    """The ``+`` of a cation is part of its name, and the one that joins stands between spaces."""
    network = table.loads(GOOD.replace("P = A + B", "P = H+ + e- + A"))
    np.testing.assert_array_equal(network.structure.pools, [[1, 0, 1, 1]])


MALFORMED = {
    "no section": (8, "[pool]", r"no section.*\[species\].*\[reactions\]"),
    "open section": (8, "[pools", "no section"),
    "header without value": (1, "title =", "key = value"),
    "header without equals": (1, "title", "key = value"),
    "header without key": (1, "= title", "key = value"),
    "unknown key": (1, "tittle = a", "unknown key 'tittle'.*title"),
    "species of two words": (4, "A B", "NAME = FORMULA"),
    "species without formula": (4, "A =", "NAME = FORMULA"),
    "species without name": (4, "= C", "NAME = FORMULA"),
    "species is a number": (5, "12", "must not be a number"),
    "species twice": (5, "A = C", r"'A' is declared twice"),
    "no formula": (4, "A = c2h4", "'c2h4' is no formula"),
    "pool without equals": (9, "P", "POOL = SPECIES"),
    "pool without members": (9, "P =", "POOL = SPECIES"),
    "pool of unknown species": (9, "P = A + Bb", "'Bb'.*did you mean 'B'"),
    "source without text": (11, "S1 =", "KEY = full reference"),
    "source without key": (11, "= Nobody", "KEY = full reference"),
    "no rate": (13, "A -> B", "every rate has a source"),
    "no source": (13, "A -> B ; 1", "every rate has a source"),
    "empty source": (13, "A -> B ; 1 ;", "every rate has a source"),
    "undeclared source": (13, "A -> B ; 1 ; S2, table 1", r"'S2' is not declared.*\[sources\]"),
    "no arrow": (13, "A = B ; 1 ; S1", "one '->'"),
    "two arrows": (13, "A -> B -> A ; 1 ; S1", "one '->'"),
    "reversible": (13, "A <-> B ; 1 ; S1", "own line"),
    "fractional reactant": (13, "0.5 A -> B ; 1 ; S1", "0.5 A reacts"),
    "no molecule of a reactant": (13, "0 A -> B ; 1 ; S1", "0 A reacts"),
    "glued plus": (13, "A +B -> B ; 1 ; S1", "joined by"),
    "plus in front": (13, "+ A -> B ; 1 ; S1", "joined by"),
    "plus behind": (13, "A -> B + ; 1 ; S1", "joined by"),
    "two words": (13, "A A -> B ; 1 ; S1", "joined by"),
    "unknown reactant": (13, "Aa -> B ; 1 ; S1", "'Aa'.*did you mean 'A'"),
    "unknown product": (13, "A -> Bb ; 1 ; S1", "'Bb'.*did you mean 'B'"),
    "empty rate": (13, "A -> B ; ; S1", "found nothing where a number"),
    "empty factor": (13, "A -> B ; 2 * ; S1", "found nothing where a number"),
    "rate is a word": (13, "A -> B ; 2,5 ; S1", "found ',' where"),
    "rate is infinite": (13, "A -> B ; 1e999 ; S1", "not finite"),
    "product is infinite": (13, "A -> B ; 1e300 * 1e300 ; S1", "not finite"),
    "argument is no number": (13, "A -> B ; arrhenius(1, x) ; S1", "names 'x'"),
    "argument is infinite": (13, "A -> B ; arrhenius(1, 1e999) ; S1", "not finite"),
    "too few arguments": (13, "A -> B ; kooij(1, 2) ; S1", r"kooij takes \(alpha, beta, gamma\)"),
    "too many arguments": (13, "A -> B ; cosmic_ray(1, 2) ; S1", r"cosmic_ray takes \(alpha\)"),
    "empty argument": (13, "A -> B ; arrhenius(1,, 2) ; S1", "found ',' where"),
    "unknown law": (13, "A -> B ; arrenius(1, 2) ; S1", "unknown rate law 'arrenius'.*arrhenius"),
    "function of too many": (13, "A -> B ; exp(1, temperature) ; S1", "exp takes 1 arguments"),
    "infinitely many": (13, "1e999 A -> B ; 1 ; S1", "must be finite"),
    "too many molecules": (13, "1e9 A -> B ; 1 ; S1", "9 at most"),
    "infinite yield": (13, "A -> 1e999 B ; 1 ; S1", "must be finite"),
    "conditions by name": (13, "A -> B ; quantities ; S1", "'quantities', which is nothing"),
    "unknown pool": (13, "A -> B ; 1 * RO2 ; S1", "names 'RO2', which is nothing that is declared"),
}


@pytest.mark.parametrize("line, content, words", MALFORMED.values(), ids=MALFORMED)
def test_malformed_line(tmp_path, line, content, words):
    """One line of the good file is replaced; the error names file, line and what is wrong."""
    lines = GOOD.splitlines()
    lines[line] = content
    path = tmp_path / "bad.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=words) as caught:
        jaxchem.load(path)
    assert f"bad.txt, line {line + 1}" in str(caught.value)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("name = small\n", "", "no 'name = ...' line"),
        ("units = cm-3, s\n", "", "no 'units = ...' line"),
        ("units = cm-3, s\n", "units = cm-3\n", "concentration, time"),
        (GOOD.splitlines()[-1], "", "no reactions"),
    ],
)
def test_missing_line(tmp_path, old, new, words):
    path = tmp_path / "bad.txt"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ValueError, match=words):
        jaxchem.load(path)


@pytest.mark.parametrize("name", [*SHIPPED, "bad"])
def test_load_takes_a_name_or_a_path(tmp_path, name):
    if name == "bad":
        with pytest.raises(ValueError, match="no network 'bad'"):
            jaxchem.load(name)
    else:
        path = tmp_path / "copy.txt"
        path.write_text(table.dumps(jaxchem.load(name)))
        assert_same(jaxchem.load(path), jaxchem.load(name))
        assert_same(jaxchem.load(str(path)), jaxchem.load(name))


def test_unknown_name_names_the_nearest_and_all():
    with pytest.raises(ValueError, match=r"'robinson'.*did you mean 'robertson'") as caught:
        jaxchem.load("robinson")
    assert all(name in str(caught.value) for name in SHIPPED)


def test_missing_file(tmp_path):
    for path in (tmp_path, tmp_path / "absent.txt", ""):
        with pytest.raises(ValueError, match="neither a file nor a network that ships"):
            jaxchem.load(path)


def test_binary_file(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"model\.npz: cannot be read as text"):
        jaxchem.load(path)


@pytest.mark.parametrize(
    "text", ["", "Dear reader,\n", "[species]\nA\n", "see [species] [reactions]"]
)
def test_text_that_is_no_network(tmp_path, text):
    path = tmp_path / "letter.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"letter\.txt, line 1: not a network.*\[species\]"):
        jaxchem.load(path)


def test_windows_line_ends(tmp_path):
    path = tmp_path / "small.txt"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    with pytest.warns(UserWarning, match="unbalanced"):
        assert_same(jaxchem.load(path), table.loads(GOOD))


# Writing


@pytest.mark.parametrize("name", SHIPPED)
def test_round_trip_of_shipped_networks(name):
    network = jaxchem.load(name)
    assert_same(table.loads(table.dumps(network)), network)


@settings(max_examples=150)
@given(examples())
def test_round_trip_of_random_networks(example):
    """Third order, repeated and catalytic reactants, fractional yields, empty sides, pools."""
    network = table.loads(example.text)
    assert network.species == example.reference.species
    assert_same(table.loads(table.dumps(network)), network)


@settings(max_examples=50)
@given(examples(ion_pools=True))
def test_round_trip_of_charged_pools(example):
    network = table.loads(example.text)
    for row, members in zip(network.structure.pools, example.reference.pools.values(), strict=True):
        held = {(w, n) for n, w in zip(network.species, row, strict=True) if w}
        assert held == set(members)
    assert_same(table.loads(table.dumps(network)), network)


@settings(max_examples=50)
@given(examples(yields=st.floats(1e-6, 1e6)))
def test_round_trip_of_any_yield(example):
    """A yield such as 1/3 comes back with all its digits."""
    network = table.loads(example.text)
    assert_same(table.loads(table.dumps(network)), network)


@pytest.mark.parametrize("balanced", [None, ["C"], ["charge", "C"], []])
def test_round_trip_of_a_built_network(balanced):
    network = Network.build(
        name="built",
        species={
            "A": {"C": 1, "H": 4},
            "B+": {"C": 1, "charge": 1},
            "e": {"charge": -1},
            "Q": None,
        },
        reactions=[
            Reaction({"A": 1}, {"B+": 1.0, "e": 1.0}, "cosmic_ray(0.1)", "S1"),
            Reaction(
                {"B+": 1, "e": 1},
                {"A": 1 / 4},
                Call("kooij", tuple(map(Number, (1e-7, -0.5, 1 / 3)))),
                "S1",
            ),
            Reaction({"Q": 2}, {}, call("*", Number(2 / 3), Name("P")), "S1"),
        ],
        units=Units("cm-3", "s"),
        pools={"P": ["A", "Q"]},
        balanced=balanced,
        references={"S1": "Nobody (1900)"},
    )
    assert_same(table.loads(table.dumps(network)), network)


# What mutated files found


def test_lines_end_where_editors_end_them():
    """A form feed, or Windows' ellipsis read as Latin-1, is no end of a line."""
    text = GOOD.replace("\n", " # form \x0c feed \x85 and \u2028\n")
    assert_same(table.loads(text), table.loads(GOOD))
    with pytest.raises(MechanismError, match=f"line {text.count(chr(10)) + 2}: "):
        table.loads(text + "\rnonsense")


@pytest.mark.parametrize("digits", ["9" * 20, "9" * 5000, "٣"])
def test_formulae_that_cannot_be(digits):
    with pytest.raises(MechanismError, match=r"line 5: .* is no formula"):
        table.loads(GOOD.replace("A = C2H4", f"A = CH{digits}"))


def test_a_long_number_is_refused_soon():
    started = time.perf_counter()
    with pytest.raises(MechanismError, match="line 14: "):
        table.loads("\n".join([*GOOD.splitlines()[:13], f"A -> {'9' * 5000} x y ; 1 ; S1"]))
    assert not table.looks_like("\n" * 100_000)
    assert time.perf_counter() - started < 2


def test_conditions_by_name_have_no_default():
    text = GOOD.replace("[reactions]", "[defaults]\nphotolysis = 1\n[reactions]")
    with pytest.raises(MechanismError, match=r"default 'photolysis' \(.*line \d+\) is no number"):
        table.loads(text)


@pytest.mark.parametrize("section", ["[[sources]", "[sources]]", "[sources", "[sorces]"])
def test_sections_are_written_in_one_way(section):
    with pytest.raises(MechanismError, match=r"line \d+: .* is no section"):
        table.loads(GOOD.replace("[sources]", section))


def test_defaults_are_conditions():
    text = GOOD.replace("[reactions]", "[defaults]\ntemprature = 270\n[reactions]")
    with pytest.raises(MechanismError, match=r"line \d+\) is no condition; did you mean 'temperat"):
        table.loads(text)


def test_messages_keep_their_place_and_advice():
    with pytest.raises(MechanismError) as caught:
        table.loads(GOOD + "x" * 10**6, "folder/file")
    message = str(caught.value)
    assert message.startswith("folder/file, line ") and len(message) < 3000
    assert message.endswith("(every rate has a source)")
