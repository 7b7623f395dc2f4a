import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxchem.formula import CHARGE, ELEMENTS, parse_formula


@pytest.mark.parametrize(
    "text, counts",
    [
        ("H2O", {"H": 2, "O": 1}),
        ("CO", {"C": 1, "O": 1}),
        ("Co", {"Co": 1}),
        ("Cl", {"Cl": 1}),
        ("CL", None),
        ("C", {"C": 1}),
        ("CCl4", {"C": 1, "Cl": 4}),
        ("HO", {"H": 1, "O": 1}),
        ("Ho", {"Ho": 1}),
        ("C10H16", {"C": 10, "H": 16}),
        ("C60", {"C": 60}),
        ("C120H240", {"C": 120, "H": 240}),
        ("CH3CHO", {"C": 2, "H": 4, "O": 1}),
        ("CH3+", {"C": 1, "H": 3, CHARGE: 1}),
        ("Mg++", {"Mg": 1, CHARGE: 2}),
        ("Cl-", {"Cl": 1, CHARGE: -1}),
        ("SO4--", {"S": 1, "O": 4, CHARGE: -2}),
        ("H-", {"H": 1, CHARGE: -1}),
        ("e-", {CHARGE: -1}),
        ("e", {CHARGE: -1}),
        ("E", {CHARGE: -1}),
        ("electron", {CHARGE: -1}),
    ],
)
def test_counts(text, counts):
    assert parse_formula(text) == counts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fragdummy",
        "T_RO2_O3",
        "h2o",
        "2H",
        "H2O(g)",
        "Xx",
        "+",
        "--",
        "H+2",
        "H 2",
        "PAN",
        "H+-O",
    ],
)
def test_what_is_no_formula_gives_none(text):
    assert parse_formula(text) is None


def test_zero_counts_are_left_out():
    assert parse_formula("C0H2") == {"H": 2}


def test_elements_can_be_widened_and_narrowed():
    assert parse_formula("TN") is None
    assert parse_formula("T2N", ELEMENTS | {"T"}) == {"T": 2, "N": 1}
    assert parse_formula("CO", frozenset({"C"})) is None
    assert parse_formula("Co", frozenset({"C", "O"})) is None


@given(
    st.lists(st.tuples(st.sampled_from(sorted(ELEMENTS)), st.integers(1, 300)), min_size=1),
    st.integers(-3, 3),
    st.booleans(),
)
def test_round_trip(parts, charge, write_ones):
    """Any composition, its elements in any order and repeated, comes back from its text."""
    text = "".join(e + (str(n) if n > 1 or write_ones else "") for e, n in parts)
    expected = {e: sum(n for other, n in parts if other == e) for e, _ in parts}
    if charge:
        expected[CHARGE] = charge
    assert parse_formula(text + ("+" * charge if charge > 0 else "-" * -charge)) == expected
