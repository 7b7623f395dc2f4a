"""The Fortran that a KPP mechanism inlines: statements, and functions as expressions.

A function is straight-line arithmetic with IF and SELECT CASE, as mechanisms write rate laws: its
result becomes one expression of its arguments. Conditions that the arguments of a call decide are
decided on reading, others become `positive`. Nothing is executed. A function with arrays, loops or
tables is no such thing, and says why.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..expression import Call, Expression, Name, Number, call, choose, parse, rewrite
from .common import fail
from .kpp_language import Item

__all__ = ["Function", "NotArithmetic", "decided", "functions", "statements"]

_KINDS = r"(?:REAL|INTEGER|LOGICAL|KPP_REAL|DOUBLE\s+PRECISION|CHARACTER)"
_TYPE = rf"(?:{_KINDS}\b\s*(?:\([^)]*\)|\*\s*\d+)?)"
_HEADER = re.compile(
    rf"(?:(?:ELEMENTAL|PURE|RECURSIVE)\s+)*{_TYPE}?\s*(?:(?:ELEMENTAL|PURE)\s+)*"
    r"FUNCTION\s+(\w+)\s*\(([^)]*)\)(?:\s*RESULT\s*\(\s*(\w+)\s*\))?",
    re.IGNORECASE | re.ASCII,
)
_END = re.compile(r"END(?:\s*(?:FUNCTION|SUBROUTINE)(?:\s+\w+)?)?", re.IGNORECASE)
_DECLARATION = re.compile(rf"{_TYPE}(.*)", re.IGNORECASE | re.DOTALL)
_PASSED_OVER = re.compile(
    r"(?:IMPLICIT|INTRINSIC|EXTERNAL|USE|SAVE|CONTINUE|CONTAINS|PRINT|WRITE)\b",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"('[^']*'|\"[^\"]*\")|!.*")
_SET = re.compile(r"(\w+)\s*=(?!=)(.+)", re.DOTALL | re.ASCII)
_MOST_NODES = 4000
"""Size of an expression that a function is made into."""


class NotArithmetic(ValueError):
    """A function of Fortran that is no expression of its arguments; the message says why."""


class Function(NamedTuple):
    """A function as it is written.

    Attributes:
        name: with its case.
        arguments: in capitals.
        result: the variable that it gives back, in capitals.
        body: statements: ("set", name, tree), ("if", [(condition or None, body), ...]).
        unknown: why it is no expression; empty where it may be one.
        where: file and line.
    """

    name: str
    arguments: tuple[str, ...]
    result: str
    body: tuple[Any, ...]
    unknown: str
    where: str

    def __call__(self, given: Sequence[Expression]) -> Expression:
        """The function of these arguments; other names stay as they are.

        Raises:
            NotArithmetic: with the reason.
            ValueError: another number of arguments.
        """
        if self.unknown:
            raise NotArithmetic(self.unknown)
        if len(given) != len(self.arguments):
            raise ValueError(
                f"{self.name} ({self.where}) takes ({', '.join(self.arguments)}), "
                f"not {len(given)} arguments"
            )
        known = _run(self.body, dict(zip(self.arguments, given, strict=True)))
        if self.result not in known:
            raise NotArithmetic(f"it does not set its result, {self.result}")
        return known[self.result]


def statements(text: str) -> Iterator[tuple[int, str]]:
    """(lines above it, statement) of free-form Fortran, comments left out and lines joined.

    Braces and lines that begin with ``//`` are comments of MECCA's, which its scripts take out.
    """
    statement, start = "", 0
    for number, line in enumerate(text.splitlines()):
        line = re.sub(r"\{[^{}]*\}", " ", line)
        line = "" if line.lstrip().startswith("//") else _COMMENT.sub(r"\1", line)
        if not line.strip():
            continue
        start = start if statement else number
        statement += " " + line.strip().lstrip("&")
        if statement.rstrip().endswith("&"):
            statement = statement.rstrip()[:-1]
            continue
        for part in filter(None, (p.strip() for p in statement.split(";"))):
            yield start, part
        statement = ""
    if statement.strip():
        yield start, statement.strip()


def functions(items: Sequence[Item]) -> dict[str, Function]:
    """The functions of inlined code by their names in capitals.

    Raises:
        MechanismError: one that does not end.
    """
    found: dict[str, Function] = {}
    for item in items:
        lines = [(item.line + above, text) for above, text in statements(item.text)]
        place = 0
        while place < len(lines):
            line, text = lines[place]
            place += 1
            if (header := _HEADER.fullmatch(text)) is None:
                continue
            first = place
            while place < len(lines) and not _END.fullmatch(lines[place][1]):
                place += 1
            if place == len(lines):
                raise fail(item.file, line, f"FUNCTION {header[1]} has no END FUNCTION; add it")
            name = header[1]
            arguments = tuple(a.strip().upper() for a in header[2].split(",") if a.strip())
            body, unknown = (), ""
            try:
                body = _block([text for _, text in lines[first:place]], arguments)
            except NotArithmetic as reason:
                unknown = str(reason)
            result = (header[3] or name).upper()
            where = f"{item.file}, line {line}"
            found[name.upper()] = Function(name, arguments, result, body, unknown, where)
            place += 1
    return found


def _block(lines: list[str], arguments: Sequence[str]) -> tuple[Any, ...]:
    """The statements of a function.

    Raises:
        NotArithmetic: with what it has instead.
    """
    root: list[Any] = []
    open_: list[list[Any]] = [root]  # bodies that are being filled
    choices: list[Any] = []  # of the IF and SELECT blocks that are open
    for text in lines:
        upper = " ".join(text.upper().split())
        if upper == "RETURN" and not choices:
            break
        if match := re.fullmatch(r"IF\s*(\(.*\))\s*THEN", text, re.IGNORECASE | re.DOTALL):
            choices.append((None, [(_tree(match[1]), [])]))
            open_[-1].append(("if", choices[-1][1]))
            open_.append(choices[-1][1][-1][1])
        elif match := re.fullmatch(r"SELECT\s*CASE\s*(\(.*\))", text, re.IGNORECASE | re.DOTALL):
            choices.append((_tree(match[1]), []))
            open_[-1].append(("if", choices[-1][1]))
            open_.append([])
        elif choices and (
            match := re.fullmatch(r"ELSE\s*(?:IF\s*(\(.*\))\s*THEN)?", text, re.IGNORECASE)
        ):
            choices[-1][1].append((_tree(match[1]) if match[1] else None, []))
            open_[-1] = choices[-1][1][-1][1]
        elif choices and (match := re.fullmatch(r"CASE\s*(?:\((.*)\)|DEFAULT)", text, re.I)):
            choices[-1][1].append((_case(choices[-1][0], match[1]), []))
            open_[-1] = choices[-1][1][-1][1]
        elif choices and re.fullmatch(r"END ?(IF|SELECT)( \w+)?", upper):
            choices.pop()
            open_.pop()
        elif match := re.fullmatch(r"IF\s*(\(.*)", text, re.IGNORECASE | re.DOTALL):
            condition, rest = _bracketed(match[1])
            inner: list[Any] = []
            _statement(rest, inner, arguments)
            open_[-1].append(("if", [(_tree(condition), inner)]))
        else:
            _statement(text, open_[-1], arguments)
    if choices:
        raise NotArithmetic("a block has no end")
    return tuple(root)


def _statement(text: str, into: list[Any], arguments: Sequence[str]) -> None:
    declared = _DECLARATION.fullmatch(text)
    if match := _SET.fullmatch(text):
        into.append(("set", match[1].upper(), _tree(match[2])))
    elif declared and "=" not in declared[1].partition("::")[0]:
        _declare(declared[1], into, arguments)
    elif match := re.fullmatch(r"PARAMETER\s*\((.*)\)", text, re.IGNORECASE | re.DOTALL):
        _declare("::" + match[1], into, arguments)
    elif not _PASSED_OVER.match(text):
        word = re.match(r"\w+", text)
        known = {"DO": "a DO loop", "DATA": "a DATA table", "CALL": "a CALL"}
        known["RETURN"] = "a RETURN under a condition"
        what = known.get(word[0].upper() if word else "", f"{text[:40]!r}")
        raise NotArithmetic(f"it has {what}")


def _declare(text: str, into: list[Any], arguments: Sequence[str]) -> None:
    """Values that a declaration gives; arrays are refused."""
    attributes, colons, names = text.partition("::")
    if "DIMENSION" in attributes.upper():
        raise NotArithmetic("it has an array")
    for part in _split(names if colons else attributes):
        name, equals, value = (p.strip() for p in part.partition("="))
        if "(" in name:
            kind = "array argument" if name.partition("(")[0].upper() in arguments else "array"
            raise NotArithmetic(f"it has an {kind}, {name}")
        if equals:
            into.append(("set", name.upper(), _tree(value)))


def _split(text: str) -> list[str]:
    """Parts between commas that stand in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _bracketed(text: str) -> tuple[str, str]:
    """What stands in the brackets that a text begins with, and the rest."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return text[: place + 1], text[place + 1 :].strip()
    raise NotArithmetic(f"it has {text[:40]!r}")


def _case(of: Expression | None, values: str | None) -> Expression | None:
    if values is None or of is None:
        return None
    if ":" in values:
        raise NotArithmetic("it has a CASE of a range")
    tests = [call("==", of, _tree(v)) for v in _split(values)]
    found = tests[0]
    for test in tests[1:]:
        found = call("or", found, test)
    return found


def _tree(text: str) -> Expression:
    try:
        return parse(text)
    except ValueError as error:
        raise NotArithmetic(f"cannot be read: {error}") from None


def _run(body: Sequence[Any], known: dict[str, Expression]) -> dict[str, Expression]:
    """The variables after these statements."""
    for kind, *parts in body:
        if kind == "set":
            name, tree = parts
            known[name] = _filled(tree, known)
        else:
            known = _chosen(parts[0], known)
    return known


def _chosen(choices: Sequence[Any], known: dict[str, Expression]) -> dict[str, Expression]:
    """The variables after IF ... ELSE IF ... ELSE."""
    if not choices:
        return known
    (condition, body), *rest = choices
    test = None if condition is None else decided(_filled(condition, known))
    if test is None or (isinstance(test, Number) and test.value):
        return _run(body, dict(known))
    if isinstance(test, Number):
        return _chosen(rest, known)
    yes, no = _run(body, dict(known)), _chosen(rest, dict(known))
    found = dict(known)
    for name in {**yes, **no}:
        a, b = yes.get(name, no.get(name)), no.get(name, yes.get(name))
        if a is not None and b is not None:
            found[name] = _small(_or_refuse(lambda a=a, b=b: choose(test, a, b)))
    return found


def _filled(tree: Expression, known: dict[str, Expression]) -> Expression:
    def fill(part: Expression) -> Expression:
        if isinstance(part, Name):
            return known.get(part.name.upper(), part)
        if isinstance(part, Call):
            if part.function.upper() == "PRESENT":
                raise NotArithmetic("it asks which arguments are PRESENT()")
            if part.function.upper() == "TRIM":
                return part.arguments[0]
            if part.function.upper() in known:
                raise NotArithmetic(f"it has an array, {part.function}")
        return part

    return _small(_or_refuse(lambda: rewrite(tree, fill)))


def decided(condition: Expression) -> Expression:
    """A condition whose comparisons of texts are worked out."""

    def decide(part: Expression) -> Expression:
        if isinstance(part, Name) and part.name.lower() in (".true.", ".false."):
            return Number(float(part.name.lower() == ".true."))
        if isinstance(part, Call) and part.function in ("==", "/="):
            one, other = (getattr(a, "name", "") for a in part.arguments)
            if one.startswith("'") and other.startswith("'"):
                return Number(float((one == other) == (part.function == "==")))
        return part

    return rewrite(condition, decide)


def _or_refuse(make: Callable[[], Expression]) -> Expression:
    try:
        return make()
    except NotArithmetic:
        raise
    except ValueError as error:
        raise NotArithmetic(str(error)) from None


def _small(tree: Expression) -> Expression:
    waiting, size = [tree], 0
    while waiting:
        part = waiting.pop()
        size += 1
        if isinstance(part, Call):
            waiting += part.arguments
        if size > _MOST_NODES:
            raise NotArithmetic("written out it is too long")
    return tree
