"""Arithmetic as a tree: what rate coefficients are written in, in every format that is read.

A tree is made of numbers, names and calls; operators are calls of ``+``, ``-``, ``*``, ``/``,
``**`` and ``neg``, and in conditions of ``<``, ``<=``, ``>``, ``>=``, ``==``, ``/=``, ``and``,
``or`` and ``not``, which `choose` makes into arithmetic. Nothing in a file is ever executed: text
becomes a tree here, and [`jaxchem.rates`][] knows what each function means.
"""

import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "FUNCTIONS",
    "Call",
    "Expression",
    "Name",
    "Number",
    "call",
    "choose",
    "names",
    "parse",
    "rewrite",
    "show",
    "size",
    "total",
]


class Number(NamedTuple):
    """A constant."""

    value: float


class Name(NamedTuple):
    """A condition, a quantity that the mechanism defines, or a pool of species."""

    name: str


class Call(NamedTuple):
    """A function of other expressions."""

    function: str
    arguments: tuple[Any, ...]


Expression: TypeAlias = Number | Name | Call

FUNCTIONS = ("exp", "log", "log10", "sqrt", "abs", "min", "max", "positive")
"""Functions of arithmetic, those that are not operators.

``positive(x, a, b)`` is a where x is above zero, and b elsewhere.
"""

_DEEPEST = 150
"""Levels of a tree: what is written by hand has ten, and each costs a frame of the interpreter."""

_LONGEST_SUM = 100
"""Terms of a sum that are added one after the other."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+(?:\.(?!(?:lt|le|gt|ge|eq|ne|and|or)\.)\d*)?|\.\d+)(?:[eEdD][+-]?\d+)?)
      (?:_[A-Za-z]\w*)?
    | (?P<name>[A-Za-z_]\w*)
    | "(?P<quoted>[^"\n]+)"
    | (?P<logical>\.(?:true|false)\.)
    | (?P<text>'[^'\n]*')
    | (?P<word>\.(?:lt|le|gt|ge|eq|ne|and|or|not)\.)
    | (?P<operator>\*\*|==|/=|<=|>=|[-+*/^@(),<>])
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_POWER = ("**", "^", "@")
_WORDS = {".lt.": "<", ".le.": "<=", ".gt.": ">", ".ge.": ">=", ".eq.": "==", ".ne.": "/="}
_LOGIC = {"or": 1, "and": 2, **dict.fromkeys(_WORDS.values(), 3)}
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3, "**": 4}
_FOLD: dict[str, Callable[..., float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: math.pow(a, b),
    "neg": lambda a: -a,
    "exp": lambda a: math.exp(a),
    "log": lambda a: math.log(a),
    "log10": lambda a: math.log10(a),
    "sqrt": lambda a: math.sqrt(a),
    "abs": lambda a: abs(a),
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "positive": lambda x, a, b: a if x > 0 else b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "/=": lambda a, b: a != b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
}


def call(function: str, *arguments: Expression) -> Expression:
    """A call, worked out at once where all arguments of an arithmetic function are numbers.

    Raises:
        ValueError: a result that is not finite.
    """
    values = [a.value for a in arguments if isinstance(a, Number)]
    if function not in _FOLD or len(values) < len(arguments):
        return Call(function, arguments)
    try:
        result = float(_FOLD[function](*values))
    except (ArithmeticError, ValueError):
        result = math.nan
    except TypeError:
        raise ValueError(f"{function} does not take {len(arguments)} arguments") from None
    if not math.isfinite(result):
        raise ValueError(f"{show(Call(function, arguments))} is not finite")
    return Number(result)


def choose(condition: Expression, a: Expression, b: Expression) -> Expression:
    """`a` where a condition holds, and `b` elsewhere.

    Raises:
        ValueError: no condition.
    """
    if isinstance(condition, Number):
        return a if condition.value else b
    if a == b:
        return a
    if isinstance(condition, Call) and condition.function == "not":
        return choose(condition.arguments[0], b, a)
    if isinstance(condition, Call) and condition.function in ("and", "or"):
        return call("positive", _truth(condition), a, b)
    if not isinstance(condition, Call) or condition.function not in _LOGIC:
        raise ValueError(f"{show(condition)!r} is no condition, as a < b")
    function, (left, right) = condition.function, condition.arguments
    above, below = call("-", left, right), call("-", right, left)
    if function in (">", "<="):
        return call("positive", above, *((a, b) if function == ">" else (b, a)))
    if function in ("<", ">="):
        return call("positive", below, *((a, b) if function == "<" else (b, a)))
    same, other = (a, b) if function == "==" else (b, a)
    return call("positive", call("abs", above), other, same)


def _truth(condition: Expression) -> Expression:
    """1 where a condition holds and 0 elsewhere, of the size of the condition."""
    if isinstance(condition, Call) and condition.function in ("and", "or"):
        parts = [_truth(part) for part in condition.arguments]
        return call("min" if condition.function == "and" else "max", *parts)
    return choose(condition, Number(1.0), Number(0.0))


def total(terms: Sequence[Expression]) -> Expression:
    """The sum of terms; of more than a few in pairs, so that its tree is not as deep."""
    terms = list(terms)
    while len(terms) > 1:
        pairs = [call("+", *terms[i : i + 2]) for i in range(0, len(terms) - 1, 2)]
        terms = [*pairs, *terms[2 * len(pairs) :]]
    return terms[0]


def size(tree: Expression, most: int) -> int:
    """How many parts a tree has, counted until there are more than `most`."""
    waiting, count = [tree], 0
    while waiting and count <= most:
        part = waiting.pop()
        count += 1
        if isinstance(part, Call):
            waiting += part.arguments
    return count


def rewrite(tree: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """The tree with `change` applied to every name and call, arguments first."""
    if isinstance(tree, Call):
        tree = call(tree.function, *(rewrite(a, change) for a in tree.arguments))
    return tree if isinstance(tree, Number) else change(tree)


def names(tree: Expression) -> Iterator[str]:
    """Every name in the tree, in order, repeats included."""
    if isinstance(tree, Name):
        yield tree.name
    elif isinstance(tree, Call):
        for argument in tree.arguments:
            yield from names(argument)


@functools.lru_cache(4096)  # mechanisms write the same again and again
def parse(text: str, *, left: bool = False) -> Expression:
    """Reads an expression as chemists write them in Fortran, FACSIMILE and C.

    Numbers may have ``D`` exponents and kind suffixes (``1.0D-12``, ``1.0_dp``), powers are
    ``**``, ``^`` or ``@`` and bind tighter than a sign in front of their base. A name that is no
    identifier stands in double quotes, and a text in single ones is a name with these. Conditions
    have ``<`` or ``.lt.``, ``.and.``, ``.or.`` and ``.not.``.

    Args:
        text: the expression.
        left: whether of several powers the first counts first, as in MATLAB; otherwise the last.

    Raises:
        ValueError: text that is no expression, with the place.
    """
    return _Parser(text, left).whole()


class _Parser:
    def __init__(self, text: str, left: bool):
        self.text = text
        self.left = left
        self.tokens: list[tuple[str, str]] = []
        position = 0
        end = len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"{text.strip()!r}: cannot read it at {text[position:].strip()!r}")
            kind = str(match.lastgroup)
            names = ("quoted", "logical", "text")
            self.tokens.append(("name" if kind in names else kind, match[kind]))
            if kind == "word":
                word = match[kind].lower()
                self.tokens[-1] = ("operator", _WORDS.get(word, word.strip(".")))
            position = match.end()
        self.tokens.append(("end", ""))
        self.place = 0

    def whole(self) -> Expression:
        tree = self.logic(0)
        if self.tokens[self.place][0] != "end":
            raise self.unexpected()
        return tree

    def unexpected(self) -> ValueError:
        kind, text = self.tokens[self.place]
        found = "nothing" if kind == "end" else repr(text)
        return ValueError(
            f"{self.text.strip()!r}: found {found} where a number, a name or an operator belongs"
        )

    def take(self, *operators: str) -> str | None:
        """The next operator if it is one of these."""
        kind, text = self.tokens[self.place]
        if kind != "operator" or text not in operators:
            return None
        self.place += 1
        return text

    def join(self, function: str, *arguments: Expression) -> Expression:
        try:
            tree = call(function, *arguments)
        except ValueError as error:
            raise ValueError(f"{self.text.strip()!r}: {error}") from None
        return tree

    def deeper(self, depth: int) -> int:
        if depth > _DEEPEST:
            raise ValueError(
                f"{self.text.strip()[:60]!r}...: nested or chained more than {_DEEPEST} deep; "
                "give its parts names"
            )
        return depth + 1

    def logic(self, depth: int, rank: int = 1) -> Expression:
        if self.take("not"):
            tree = self.join("not", self.logic(self.deeper(depth), 3))
        else:
            tree = self.terms(depth)
        while (operator := self.tokens[self.place])[0] == "operator":
            own = _LOGIC.get(operator[1], 0)
            if own < rank:
                break
            self.place += 1
            depth = self.deeper(depth)
            tree = self.join(operator[1], tree, self.logic(depth, own + 1))
        return tree

    def terms(self, depth: int) -> Expression:
        tree, length = self.factors(self.deeper(depth)), depth
        done: list[Expression] = []  # parts of a long sum, so that its tree is not as deep
        while operator := self.take("+", "-"):
            length = self.deeper(length)
            if length > depth + _LONGEST_SUM:
                done, length = [*done, tree], depth
                tree = self.factors(self.deeper(depth))
                tree = tree if operator == "+" else self.join("neg", tree)
                continue
            tree = self.join(operator, tree, self.factors(length))
        return total([*done, tree])

    def factors(self, depth: int) -> Expression:
        tree, length = self.signed(self.deeper(depth)), depth
        while operator := self.take("*", "/"):
            length = self.deeper(length)
            tree = self.join(operator, tree, self.signed(length))
        return tree

    def signed(self, depth: int) -> Expression:
        depth = self.deeper(depth)
        if sign := self.take("+", "-"):
            tree = self.signed(depth)
            return tree if sign == "+" else self.join("neg", tree)
        base = self.atom(depth)
        while self.take(*_POWER):
            depth = self.deeper(depth)
            power = self.power(depth) if self.left else self.signed(depth)
            base = self.join("**", base, power)
        return base

    def power(self, depth: int) -> Expression:
        """An exponent that takes no further power to itself."""
        if sign := self.take("+", "-"):
            tree = self.power(self.deeper(depth))
            return tree if sign == "+" else self.join("neg", tree)
        return self.atom(depth)

    def atom(self, depth: int) -> Expression:
        kind, text = self.tokens[self.place]
        if kind == "number":
            self.place += 1
            value = float(re.sub("[dD]", "e", text))
            if not math.isfinite(value):
                raise ValueError(f"{self.text.strip()!r}: {text} is not finite")
            return Number(value)
        if kind == "name":
            self.place += 1
            if not self.take("("):
                return Name(text)
            arguments: list[Expression] = []
            if not self.take(")"):
                arguments.append(self.logic(depth))
                while self.take(","):
                    arguments.append(self.logic(depth))
                self.close()
            return self.join(text, *arguments)
        if self.take("("):
            tree = self.logic(depth)
            self.close()
            return tree
        raise self.unexpected()

    def close(self) -> None:
        if not self.take(")"):
            raise self.unexpected()


def show(tree: Expression) -> str:
    """The tree as text that `parse` reads back as the same tree."""
    return _show(tree, 0)


def _show(tree: Expression, rank: int) -> str:
    if isinstance(tree, Number):
        text, own = repr(tree.value), 3 if tree.value < 0 else 9
    elif isinstance(tree, Name):
        plain = re.fullmatch(r"[A-Za-z_]\w*", tree.name)
        text, own = tree.name if plain else f'"{tree.name}"', 9
    elif tree.function == "neg":
        text, own = f"-{_show(tree.arguments[0], 3)}", 3
    elif tree.function == "**":
        base, power = tree.arguments
        text, own = f"{_show(base, 5)} ** {_show(power, 3)}", 4
    elif tree.function in _RANK:
        own = _RANK[tree.function]
        left, right = tree.arguments
        text = f"{_show(left, own)} {tree.function} {_show(right, own + 1)}"
    else:
        own = 9
        text = f"{tree.function}({', '.join(_show(a, 0) for a in tree.arguments)})"
    return text if own >= rank else f"({text})"
