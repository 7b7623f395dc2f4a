"""The language of F0AM's scripts: MATLAB's statements, comments and values."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..expression import FUNCTIONS, Call, Expression, Name, Number, call, parse
from .common import fail, numbered

__all__ = ["Value", "Values", "statements", "texts"]

_CONDITIONS = {"T": "temperature", "M": "density"}
_LITERALS = {"true": 1.0, "false": 0.0, "pi": math.pi}
_FORMULAS: dict[str, tuple[tuple[str, ...], Expression]] = {
    "GCARR": (("T", "A", "B", "E"), parse("A * (T / 300) ** B * exp(E / T)")),
    "Troe_GC": (("L", "H"), parse("L / (1 + L / H) * 0.6 ** (1 / (1 + log10(L / H) ** 2))")),
    "fcro2ho2": (("n",), parse("1 - exp(-0.245 * n)")),
}
"""Functions of files that come with F0AM, where they are one formula: arguments, formula."""
_LAWS = ("k_3rd_iupac",)
"""Such functions that are laws here, with the same arguments."""
_LARGEST = 20_000
"""Parts of an expression in which others are written out."""
_DEEPEST = 150
_TEXT = r"""(?:'(?:[^'\n]|'')*'|"[^"\n]*")"""
_MARK = re.compile(rf"""(?P<text>{_TEXT})|(?P<quote>['"])|(?P<comment>%|\.\.\.)|[;,(){{}}\[\]]""")
_OPEN = {"(": ")", "{": "}", "[": "]"}
_LIMIT = re.compile(r"([A-Za-z]\w*)\s*\(\s*\1\s*([<>])=?(.+)\)\s*=(?!=)\s*(.+)", re.ASCII)
_VALUE = re.compile(r"([A-Za-z]\w*)\s*=(?!=)\s*(.+)", re.ASCII)
_COMPARED = re.compile(r"[<>~&|]|==")


def statements(text: str, filename: str) -> Iterator[tuple[int, str]]:
    """(line on which it begins, statement) in order, comments left out.

    A statement ends at a semicolon, a comma or the end of its line outside of brackets; ``...``
    joins lines, and in braces the end of a line is a semicolon.
    """
    parts: list[str] = []
    brackets: list[str] = []
    comments: list[int] = []  # lines in which those begin that are open
    start = above = 0
    for line, raw in numbered(text):
        if parts and not brackets and line > above + 1:  # a blank line, which '...' joins too
            yield from _whole(start, parts)
            start = 0
        above = line
        if raw.strip() == "%{":
            comments.append(line)
        elif raw.strip() == "%}" and comments:
            comments.pop()
            continue
        if comments:
            continue
        position, joined = 0, False
        for mark in _MARK.finditer(raw):
            if mark["text"]:
                continue
            if mark["quote"]:
                raise fail(filename, line, f"{raw.strip()[:60]!r}: a quote is not closed")
            if mark["comment"]:
                raw, joined = raw[: mark.start()], mark[0] == "..."
                break
            if mark[0] in _OPEN:
                brackets.append(mark[0])
            elif mark[0] not in ";,":
                if not brackets or _OPEN[brackets.pop()] != mark[0]:
                    raise fail(filename, line, f"{raw.strip()[:60]!r}: {mark[0]!r} closes nothing")
            elif not brackets:
                parts.append(raw[position : mark.start()])
                yield from _whole(start or line, parts)
                position, start = mark.end(), 0
        if raw[position:].strip():
            start = start or line
            parts.append(raw[position:])
        if brackets and not joined:
            if brackets[-1] == "(":
                raise fail(filename, line, f"{raw.strip()[:60]!r}: '(' is not closed; end in '...'")
            parts.append(";")
        elif not joined:
            yield from _whole(start or line, parts)
            start = 0
    if comments:
        raise fail(
            filename, comments[-1], "a comment begins here with '%{' and never ends; add '%}'"
        )
    if brackets:
        raise fail(filename, start, f"{parts[0].strip()[:60]!r}: {brackets[-1]!r} is never closed")
    yield from _whole(start, parts)


def _whole(line: int, parts: list[str]) -> Iterator[tuple[int, str]]:
    """The statement that these are, if it is one; they are used up."""
    statement = " ".join(part.strip() for part in parts).strip()
    parts.clear()
    if statement:
        yield line, statement


def texts(cells: str) -> list[str] | None:
    """The texts of a cell array such as ``{'A'; 'B', 'C'}``; `None` where it is another thing."""
    if not re.fullmatch(rf"\{{(?:[\s;,]|{_TEXT})*\}}", cells):
        return None
    return [text[1:-1].strip() for text in re.findall(_TEXT, cells)]


def _expression(text: str) -> Expression:
    """The tree of MATLAB's arithmetic, element by element; column n of ``k`` is ``k(n)``.

    Raises:
        ValueError: text that is no such expression, with the place.
    """
    if found := re.search(r"@|\*\*|[\"']", text):
        raise ValueError(f"{text.strip()[:60]!r}: {found[0]!r} is not read here; write the formula")
    text = re.sub(r"\bk\(\s*:\s*,\s*(\w+)\s*\)", r"k(\1)", text)
    return parse(re.sub(r"\.([*/^])", r"\1", text), left=True)


class Value(NamedTuple):
    """An expression with what it names written out, and how large and deep it is."""

    tree: Expression
    size: int = 1
    depth: int = 1


class Values:
    """What names stand for at one point of a script.

    `names` are those that it does not assign, each with the line of its first use.
    """

    def __init__(self) -> None:
        self.assigned: dict[str, Value] = {}
        self.columns: list[Value] = []
        self.names: dict[str, int] = {}
        self.line = 0

    def value(self, text: str) -> Value:
        """The value of a text; `ValueError` says what is not read."""
        return self.resolve(_expression(text), self.assigned)

    def resolve(self, tree: Expression, scope: Mapping[str, Value]) -> Value:
        """The value of an expression, its names being those of `scope`."""
        if isinstance(tree, Number):
            return Value(tree)
        if isinstance(tree, Name):
            if tree.name in scope:
                return scope[tree.name]
            if tree.name in _LITERALS:
                return Value(Number(_LITERALS[tree.name]))
            if tree.name == "i":
                raise ValueError("'i' numbers the reactions; a rate cannot depend on it")
            if tree.name not in _CONDITIONS:
                self.names.setdefault(tree.name, self.line)
            return Value(Name(_CONDITIONS.get(tree.name, tree.name)))
        if tree.function == "k":
            return self.column(tree)
        values = [self.resolve(argument, scope) for argument in tree.arguments]
        if tree.function in _FORMULAS:
            arguments, formula = _FORMULAS[tree.function]
            if len(values) != len(arguments):
                raise ValueError(f"{tree.function} takes ({', '.join(arguments)})")
            return self.resolve(formula, dict(zip(arguments, values, strict=True)))
        if not (tree.function in (*FUNCTIONS, *_LAWS) or re.fullmatch(r"\W+|neg", tree.function)):
            raise ValueError(
                f"{tree.function!r} is no function that is read here; write its formula in its "
                "place, or a name of your own, which is then a quantity that you give"
            )
        size, depth = 1 + sum(v.size for v in values), 1 + max((v.depth for v in values), default=0)
        if size > _LARGEST or depth > _DEEPEST:
            raise ValueError("values are written out in one another without end; shorten them")
        return Value(call(tree.function, *(value.tree for value in values)), size, depth)

    def column(self, tree: Call) -> Value:
        """The coefficient of a reaction above."""
        number, known = tree.arguments[0] if tree.arguments else None, len(self.columns)
        if not isinstance(number, Number) or number.value not in range(1, known + 1):
            raise ValueError(f"k(:,n) is the coefficient of a reaction above; n is 1 to {known}")
        return self.columns[int(number.value) - 1]

    def assign(self, statement: str) -> bool:
        """Whether this assigns a value to a name, or limits it; it is noted."""
        if limit := _LIMIT.fullmatch(statement):
            name, sign, bound, text = limit.groups()
            if name not in self.assigned or (value := self.value(text)) != self.value(bound):
                raise ValueError(
                    f"{statement[:60]!r}: of such statements those are read that limit a value "
                    "assigned above, as 'a(a>b) = b'"
                )
            function = "min" if sign == ">" else "max"
            scope = {"a": self.assigned[name], "b": value}
            limited = Call(function, (Name("a"), Name("b")))
            self.assigned[name] = self.resolve(limited, scope)
            return True
        match = _VALUE.fullmatch(statement)
        if match is None or match[1] in ("i", "k", "f", *_CONDITIONS):
            return False
        if not _COMPARED.search(match[2]):
            self.assigned[match[1]] = self.value(match[2])
        elif match[1] in self.assigned or match[1] in self.names:
            raise ValueError(f"{match[1]!r} is assigned a comparison and used above; rename it")
        else:
            self.names[match[1]] = self.line
            self.assigned[match[1]] = Value(Name(match[1]))
        return True
