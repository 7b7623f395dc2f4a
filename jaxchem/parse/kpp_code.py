"""The Fortran that a KPP mechanism inlines: statements, and functions as expressions.

A function is arithmetic with IF, SELECT CASE, tables and counted loops, as mechanisms write rate
laws: its result becomes one expression of its arguments. Conditions, bounds of loops and places in
arrays that the arguments of a call decide are decided on reading; other conditions become
`positive`. A function of whole arrays, or that does anything else, is no such thing, and says why.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..expression import Call, Expression, Name, Number, call, choose, parse, rewrite, show, size
from .common import fail, numbered, separated
from .kpp_language import Item

__all__ = ["Function", "NotArithmetic", "decided", "functions", "is_fortran", "statements"]

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
_OTHER = re.compile(
    rf"""(?:\d+\s+)?(?:\w+\s*:\s*(?=DO\b|IF\b|SELECT\b))?(?:
      (?:{_TYPE}|COMPLEX|TYPE|CLASS|DIMENSION|COMMON|DATA|PARAMETER|INCLUDE|PUBLIC|PRIVATE|ALLOCATE
      |DEALLOCATE|NULLIFY|OPEN|CLOSE|READ|REWIND|STOP|EXIT|CYCLE|GO\s*TO|NAMELIST|EQUIVALENCE
      |ASSOCIATE|BLOCK|FORMAT|MODULE|INTERFACE|PROCEDURE|RETURN|DO|ELSE|ELSEIF|ELSEWHERE|CASE|ENTRY
      |IF|END|END\w+|SELECT|WHERE|FORALL|SUBROUTINE|CALL|ERROR|CRITICAL|ENUM|ENUMERATOR|IMPORT
      |ALLOCATABLE|POINTER|TARGET|OPTIONAL|INTENT|VOLATILE|THREADPRIVATE|{_KINDS})\b
      |.*\bFUNCTION\b
      |\#\s*(?:if|ifdef|ifndef|elif|else|endif|define|undef|include|error|warning|pragma)\b
      |\w+\s*(?:\([^=]*\))?(?:\s*%\s*\w+\s*(?:\([^=]*\))?)*\s*=
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
"""What begins a statement that is Fortran and says nothing here."""
_COMMENT = re.compile(r"('[^']*'|\"[^\"]*\")|!.*")
_SET = re.compile(r"(\w+)\s*=(?!=)(.+)", re.DOTALL | re.ASCII)
_STORE = re.compile(r"(\w+)\s*\(([^=]*)\)\s*=(?!=)(.+)", re.DOTALL | re.ASCII)
_DO = re.compile(r"DO\s+(\w+)\s*=(.+)", re.IGNORECASE | re.DOTALL)
_CHOICE = re.compile(r"(?:ELSE\s*)?IF\b|CASE\b", re.IGNORECASE)
_MOST_NODES, _MOST_TURNS, _MOST_CHOICES = 4000, 10_000, 100
"""Size of an expression that a function is made into, turns of its loops, and its conditions."""


class NotArithmetic(ValueError):
    """A function of Fortran that is no expression of its arguments; the message says why."""


class Function(NamedTuple):
    """A function as it is written.

    Attributes:
        name: with its case.
        arguments: in capitals.
        result: the variable that it gives back, in capitals.
        body: statements: ("set", name, tree), ("if", [(condition or None, body), ...]),
            ("array", name, sizes), ("store", name, places, tree), ("table", name, values),
            ("do", name, (first, last, step), body), ("return",).
        required: how many of the arguments have to be given.
        unknown: why it is no expression; empty where it may be one.
        where: file and line.
    """

    name: str
    arguments: tuple[str, ...]
    result: str
    body: tuple[Any, ...]
    required: int
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
        if not self.required <= len(given) <= len(self.arguments):
            raise ValueError(
                f"{self.name} ({self.where}) takes ({', '.join(self.arguments)}), "
                f"not {len(given)} arguments"
            )
        known: dict[str, Any] = dict(zip(self.arguments, given, strict=False))
        there = {f"{_THERE}{a}": Number(float(a in known)) for a in self.arguments}
        known = _run(self.body, {**known, **there, _TURNS: 0})
        if known.get(self.result) is None:
            raise NotArithmetic(f"it does not set its result, {self.result}, in every case")
        return known[self.result]


def is_fortran(statement: str) -> bool:
    """Whether a statement begins as one of Fortran does."""
    return bool(_PASSED_OVER.match(statement) or _OTHER.match(statement))


def statements(text: str) -> Iterator[tuple[int, str]]:
    """(lines above it, statement) of free-form Fortran, comments left out and lines joined.

    Braces and lines that begin with ``//`` are comments of MECCA's, which its scripts take out.
    """
    whole: list[tuple[int, str]] = []  # statements, those of one line not yet apart
    open_ = False
    for number, line in numbered(text):
        line = re.sub(r"\{[^{}]*\}", " ", line)
        line = "" if line.lstrip().startswith("//") else _COMMENT.sub(r"\1", line).strip()
        if not line:
            continue
        open_ = open_ or line.startswith("&")  # even where the line above does not say so
        start, before = whole.pop() if open_ and whole else (number - 1, "")
        whole.append((start, f"{before} {line.lstrip('&').rstrip('&').strip()}"))
        open_ = line.endswith("&")
    for start, statement in whole:
        for part in filter(None, (p.strip() for p in statement.split(";"))):
            yield start, part


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
            optional = {
                word.upper()
                for _, text in lines[first:place]
                if re.search(r"\bOPTIONAL\b", text.partition("::")[0], re.IGNORECASE)
                for word in re.findall(r"\w+", text.partition("::")[2])
            }
            needed = [n for n, a in enumerate(arguments, start=1) if a not in optional]
            required = max(needed, default=0)
            found[name.upper()] = Function(name, arguments, result, body, required, unknown, where)
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
    if sum(map(bool, map(_CHOICE.match, lines))) > _MOST_CHOICES:
        raise NotArithmetic(f"it has more than {_MOST_CHOICES} conditions")
    for text in lines:
        upper = " ".join(text.upper().split())
        if match := re.fullmatch(r"IF\s*(\(.*\))\s*THEN", text, re.IGNORECASE | re.DOTALL):
            choices.append((None, [(_tree(match[1]), [])]))
            open_[-1].append(("if", choices[-1][1]))
            open_.append(choices[-1][1][-1][1])
        elif match := re.fullmatch(r"SELECT\s*CASE\s*(\(.*\))", text, re.IGNORECASE | re.DOTALL):
            choices.append((_tree(match[1]), []))
            open_[-1].append(("if", choices[-1][1]))
            open_.append([])
        elif (
            choices
            and choices[-1]
            and (match := re.fullmatch(r"ELSE\s*(?:IF\s*(\(.*\))\s*THEN)?", text, re.IGNORECASE))
        ):
            choices[-1][1].append((_tree(match[1]) if match[1] else None, []))
            open_[-1] = choices[-1][1][-1][1]
        elif (
            choices
            and choices[-1]
            and (match := re.fullmatch(r"CASE\s*(?:\((.*)\)|DEFAULT)", text, re.I))
        ):
            choices[-1][1].append((_case(choices[-1][0], match[1]), []))
            open_[-1] = choices[-1][1][-1][1]
        elif match := _DO.fullmatch(text):
            bounds = tuple(_tree(part) for part in separated(match[2]))
            if len(bounds) not in (2, 3):
                raise NotArithmetic(f"it has {text[:40]!r}")
            inner = []
            open_[-1].append(("do", match[1].upper(), bounds, inner))
            choices.append(None)
            open_.append(inner)
        elif choices and re.fullmatch(r"END ?(IF|SELECT|DO)( \w+)?", upper):
            if ended := choices.pop():
                ended[1].sort(key=lambda choice: choice[0] is None)  # what is else comes last
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
    elif (match := _STORE.fullmatch(text)) and not declared:
        places = tuple(_tree(part) for part in separated(match[2]))
        into.append(("store", match[1].upper(), places, _tree(match[3])))
    elif text.upper() == "RETURN":
        into.append(("return",))
    elif match := re.fullmatch(r"DATA\s+(.*)", text, re.IGNORECASE | re.DOTALL):
        for name, values in re.findall(r"(\w+)\s*/([^/]*)/", match[1]):
            into.append(("table", name.upper(), _values(values)))
    elif declared and "=" not in declared[1].partition("::")[0]:
        _declare(declared[1], into, arguments)
    elif match := re.fullmatch(r"PARAMETER\s*\((.*)\)", text, re.IGNORECASE | re.DOTALL):
        _declare("::" + match[1], into, arguments)
    elif not _PASSED_OVER.match(text):
        word = re.match(r"\w+", text)
        known = {"DO": "a DO loop without bounds", "CALL": "a CALL"}
        what = known.get(word[0].upper() if word else "", f"{text[:40]!r}")
        raise NotArithmetic(f"it has {what}")


def _declare(text: str, into: list[Any], arguments: Sequence[str]) -> None:
    """Values that a declaration gives; arrays are refused."""
    attributes, colons, names = text.partition("::")
    shared = re.search(r"\bDIMENSION\s*(\(.*?\))", attributes, re.IGNORECASE)
    for part in separated(names if colons else attributes):
        name, equals, value = (p.strip() for p in part.partition("="))
        name, bracket, sizes = name.partition("(")
        sizes = shared[1][1:] if shared and not bracket else sizes
        if name and (bracket or shared):
            if name.strip().upper() in arguments:
                raise NotArithmetic(f"it has an array argument, {name.strip()}")
            if equals or ":" in sizes:
                raise NotArithmetic(f"it has an array of a kind of its own, {name.strip()}")
            into.append(("array", name.strip().upper(), tuple(map(_tree, separated(sizes[:-1])))))
        elif equals:
            into.append(("set", name.upper(), _tree(value)))


def _values(text: str) -> tuple[Expression, ...]:
    """The values of a table; ``3*0.5`` stands for three."""
    found: list[Expression] = []
    for part in separated(text):
        count, star, value = part.partition("*")
        repeated = star and count.strip().isdigit() and int(count) <= _MOST_TURNS
        found += [_tree(value)] * int(count) if repeated else [_tree(part)]
    return tuple(found)


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
    tests = [call("==", of, _tree(v)) for v in separated(values)]
    found = tests[0]
    for test in tests[1:]:
        found = call("or", found, test)
    return found


def _tree(text: str) -> Expression:
    text = re.sub(r"\bPRESENT\s*\(\s*(\w+)\s*\)", rf"{_THERE}\1", text, flags=re.IGNORECASE)
    try:
        return parse(text)
    except ValueError as error:
        raise NotArithmetic(f"cannot be read: {error}") from None


_TURNS, _DONE, _THERE = "turns of loops", "has returned", "PRESENT_"


def _run(body: Sequence[Any], known: dict[str, Any]) -> dict[str, Any]:
    """The variables after these statements; those of arrays have names such as ``X(1,2)``."""
    for kind, *parts in body:
        if kind == "set":
            name, tree = parts
            known[name] = _filled(tree, known)
        elif kind == "if":
            known = _chosen(parts[0], known)
        elif kind == "array":
            name, sizes = parts
            known[f"{name}()"] = tuple(_whole(size, known) for size in sizes)
        elif kind == "store":
            name, places, tree = parts
            known[_place(name, [_filled(p, known) for p in places], known)] = _filled(tree, known)
        elif kind == "table":
            name, values = parts
            known |= zip(_places(name, known, len(values)), values, strict=True)
        elif kind == "return":
            known[_DONE] = True
        else:
            name, bounds, inner = parts
            first, last, step = [*(_whole(bound, known) for bound in bounds), 1][:3]
            for value in range(first, last + (1 if step > 0 else -1), step or 1):
                known[_TURNS] += 1
                if known[_TURNS] > _MOST_TURNS:
                    raise NotArithmetic("its loops take too many turns")
                known[name] = Number(float(value))
                known = _run(inner, known)
                if _DONE in known:
                    break
        if _DONE in known:
            break
    return known


def _whole(tree: Expression, known: dict[str, Any]) -> int:
    found = _filled(tree, known)
    if not isinstance(found, Number) or found.value != int(found.value):
        raise NotArithmetic(f"{show(found)!r} is no number that the call gives")
    return int(found.value)


def _place(name: str, places: Sequence[Expression], known: dict[str, Any]) -> str:
    """The name of an element of an array."""
    sizes = known.get(f"{name}()")
    if sizes is None or len(sizes) != len(places):
        raise NotArithmetic(f"{name} is no array of {len(places)} dimensions")
    numbers = [_whole(place, {}) for place in places]
    if not all(1 <= n <= size for n, size in zip(numbers, sizes, strict=True)):
        raise NotArithmetic(f"{name} has no element {numbers}")
    return f"{name}({','.join(map(str, numbers))})"


def _places(name: str, known: dict[str, Any], count: int) -> list[str]:
    """All elements of an array, the first place running fastest; or the name of what is none."""
    sizes = known.get(f"{name}()", ())
    if math.prod(sizes) != count:
        raise NotArithmetic(f"the table of {name} has {count} values")
    every = [range(1, size + 1) for size in reversed(sizes)]
    found = [",".join(map(str, reversed(each))) for each in itertools.product(*every)]
    return [f"{name}({each})" for each in found] if sizes else [name]


def _chosen(choices: Sequence[Any], known: dict[str, Any]) -> dict[str, Any]:
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
    if _DONE in yes or _DONE in no:
        raise NotArithmetic("it has a RETURN under a condition that the call does not decide")
    found = dict(known)
    found[_TURNS] = max(yes[_TURNS], no[_TURNS])
    for name in {**yes, **no}:
        a, b = yes.get(name), no.get(name)
        if name == _TURNS or name.endswith("()"):
            continue
        found[name] = None  # where it is not set in every case
        if a is not None and b is not None:
            found[name] = _small(_or_refuse(lambda a=a, b=b: choose(test, a, b)))
    return found


def _filled(tree: Expression, known: dict[str, Any]) -> Expression:
    def fill(part: Expression) -> Expression:
        if isinstance(part, Name):
            if known.get(part.name.upper(), part) is None:
                raise NotArithmetic(f"it does not set {part.name} in every case")
            return known.get(part.name.upper(), part)
        if isinstance(part, Call):
            if part.function.upper() == "TRIM" and len(part.arguments) == 1:
                return part.arguments[0]
            if f"{part.function.upper()}()" in known:
                element = _place(part.function.upper(), part.arguments, known)
                if element not in known:
                    raise NotArithmetic(f"it reads {element}, which is not set")
                return known[element]
        return part

    return _small(_or_refuse(lambda: rewrite(tree, fill)))


def decided(condition: Expression) -> Expression:
    """A condition whose comparisons of texts are worked out."""

    def decide(part: Expression) -> Expression:
        if isinstance(part, Name) and part.name.lower() in (".true.", ".false."):
            return Number(float(part.name.lower() == ".true."))
        if isinstance(part, Call) and part.function in ("==", "/="):
            one, other = (re.sub(r"\s*'$", "'", getattr(a, "name", "")) for a in part.arguments)
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
    if size(tree, _MOST_NODES) > _MOST_NODES:
        raise NotArithmetic("written out it is too long")
    return tree
