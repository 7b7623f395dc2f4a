import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxchem.expression import Call, Name, Number, call, choose, names, parse, rewrite, show
from jaxchem.rates import Conditions, Quantities, RateLaw

NUMBERS = st.floats(-1e3, 1e3).map(Number)
LEAVES = NUMBERS | st.sampled_from(("temperature", "density", "a b", "J(4)", "C+")).map(Name)


def _folded(function, arguments):
    try:
        return call(function, *arguments)
    except ValueError:
        return Number(1.0)


def _grow(inside):
    two = st.tuples(inside, inside)
    return st.one_of(
        st.builds(_folded, st.sampled_from(("+", "-", "*", "/", "**", "min", "max")), two),
        st.builds(_folded, st.sampled_from(("neg", "exp", "log10", "sqrt")), st.tuples(inside)),
        st.builds(_folded, st.just("arrhenius"), two),
    )


TREES = st.recursive(LEAVES, _grow, max_leaves=20)


@settings(max_examples=400)
@given(TREES)
def test_text_reads_back_as_the_same_tree(tree):
    assert parse(show(tree)) == tree


@pytest.mark.parametrize(
    "text, value",
    [
        ("5.6D-34*2.0_dp", 11.2e-34),
        ("-2**2", -4.0),
        ("(-2)**2", 4.0),
        ("2**-1**2", 0.5),
        ("2**3**2", 512.0),
        ("2@3", 8.0),
        ("2^0.5", math.sqrt(2)),
        ("8/4/2", 1.0),
        ("8-4-2", 2.0),
        ("8-(4-2)", 6.0),
        ("3 * -2", -6.0),
        ("--3", 3.0),
        (".5e1 + 1.", 6.0),
        ("exp(0) + log10(100) + log(1) + sqrt(4) + abs(-1) + min(1, 2) + max(1, 2)", 9.0),
    ],
)
def test_arithmetic_of_fortran(text, value):
    assert parse(text) == Number(pytest.approx(value, rel=1e-15))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "found nothing"),
        ("a b", "found 'b'"),
        ("2A", "found 'A'"),
        ("(a", "found nothing"),
        ("a)", r"found '\)'"),
        ("f(,)", "found ','"),
        ("a $ b", r"cannot read it at '\$ b'"),
        ('"a', "cannot read it"),
        ("1e999", "1e999 is not finite"),
        ("1/0", "not finite"),
        ("(-2)**0.5", "not finite"),
        ("log(-1)", "not finite"),
        ("exp(1, 2)", "exp does not take 2"),
        ("(" * 500, "deep"),
        ("-" * 5000 + "a", "deep"),
        ("*".join("a" * 400), "deep"),
        ("f(" * 400, "deep"),
    ],
)
def test_what_is_no_expression(text, words):
    with pytest.raises(ValueError, match=words):
        parse(text)


@pytest.mark.parametrize("count", [1, 99, 101, 102, 250, 5000])
def test_long_sums(count):
    """Every term with its sign, in a tree that is not as deep as the sum is long."""
    signs = [(-1) ** (n % 3 == 0) for n in range(count)]
    tree = parse(" ".join(f"{'-' if sign < 0 else '+'} {n}*a" for n, sign in enumerate(signs)))
    found, waiting = 0, [(tree, 1, 0)]
    while waiting:
        part, sign, depth = waiting.pop()
        assert depth < 120
        if isinstance(part, Call) and part.function == "*":
            found += sign * part.arguments[0].value
        elif isinstance(part, Call):
            last = -sign if part.function in ("-", "neg") else sign
            *rest, end = part.arguments
            waiting += [(end, last, depth + 1), *((other, sign, depth + 1) for other in rest)]
    assert found == sum(sign * n for n, sign in enumerate(signs))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("2 < 3", True),
        ("2.LT.3", True),
        ("2 .gt. 3 .or. 3 >= 3", True),
        (".not. 2 == 2", False),
        (".not. (2 /= 2) .and. 1 <= 2", True),
        ("1 < 2 .and. 3 < 2 .or. .not. 4 < 5", False),
        ("a < 3", True),
        ("a >= 3 .or. a /= 2", False),
        (".not. a > 2 .and. (b == 5 .and. a <= 2)", True),
    ],
)
def test_conditions(condition, holds):
    """Where a is 2 and b is 5, whether that is known on reading or not."""
    known = {"a": Number(2.0), "b": Number(5.0)}

    def fill(tree):
        return known.get(tree.name, tree) if isinstance(tree, Name) else tree

    chosen = choose(parse(condition), parse("1"), parse("0"))
    assert rewrite(chosen, fill) == Number(float(holds))
    with pytest.raises(ValueError, match="is no condition"):
        choose(parse("a + b"), parse("1"), parse("0"))


def test_names_and_rewriting():
    tree = parse('k * TEMP ** (b + TEMP) * "x y"')
    assert list(names(tree)) == ["k", "TEMP", "b", "TEMP", "x y"]
    hot = rewrite(tree, lambda t: Number(2.0) if t == Name("TEMP") else t)
    assert hot == parse('k * 2 ** (b + 2) * "x y"')
    assert rewrite(parse("a + 1"), lambda t: Number(2.0) if t == Name("a") else t) == Number(3.0)


def plain(tree, values):
    """The value of a tree by Python's own arithmetic."""
    if isinstance(tree, Number):
        return tree.value
    if isinstance(tree, Name):
        return values[tree.name]
    arguments = [plain(a, values) for a in tree.arguments]
    return {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "**": lambda a, b: a**b,
        "neg": lambda a: -a,
        "exp": math.exp,
        "arrhenius": lambda a, b: a * math.exp(-b / values["temperature"]),
    }[tree.function](*arguments)


SMALL = st.recursive(
    st.floats(0.1, 3.0).map(Number) | st.sampled_from(("temperature", "q", "r")).map(Name),
    lambda inside: st.one_of(
        st.builds(_folded, st.sampled_from(("+", "*", "/", "**")), st.tuples(inside, inside)),
        st.builds(_folded, st.just("arrhenius"), st.tuples(inside, inside)),
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SMALL, min_size=1, max_size=6))
def test_many_rates_at_once(trees):
    """Reactions are grouped by form; every one gets its own value."""
    values = {"temperature": 2.0, "q": 1.5}
    values["r"] = values["q"] * 0.5
    try:
        expected = [plain(tree, values) for tree in trees]
    except OverflowError:
        return
    lookup = Quantities(
        {"q": None, "r": parse("q * 0.5")},
        Conditions(temperature=2.0, quantities={"q": 1.5}),
        None,
    )
    laws = RateLaw.group(trees)
    assert sorted(j for law in laws for j in law.reactions) == list(range(len(trees)))
    for law in laws:
        found = law(lookup)
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, [expected[j] for j in law.reactions], rtol=1e-12)
        assert law.expressions() == [trees[j] for j in law.reactions]


def test_equal_forms_are_one_law():
    trees = [parse(t) for t in ("2 * exp(-3 / temperature)", "4 * exp(-5 / q)", "2 * q", "7")]
    laws = RateLaw.group(trees)
    assert [law.reactions for law in laws] == [(0, 1), (2,), (3,)]
    assert laws[0].reads == {"temperature", "q"} and laws[2].reads == set()
    assert RateLaw.group([Call("cosmic_ray", (Number(1.0),))])[0].reads == {"cosmic_ray_rate"}
