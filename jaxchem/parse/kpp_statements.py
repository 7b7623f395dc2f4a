"""The statements of the Fortran that a KPP mechanism inlines.

What is understood is arithmetic with IF, SELECT CASE, WHERE, tables and counted loops, as
mechanisms write rate laws; what is not is kept as what it is.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple, TypeAlias

from ..expression import Expression, call, parse
from .common import numbered, separated
from .kpp_language import Item

__all__ = [
    "THERE",
    "TYPE",
    "NotArithmetic",
    "Statement",
    "arithmetic",
    "block",
    "is_fortran",
    "statements",
    "walk",
]

_KINDS = r"(?:REAL|INTEGER|LOGICAL|KPP_REAL|DOUBLE\s+PRECISION|CHARACTER)"
TYPE = rf"(?:{_KINDS}\b\s*(?:\([^)]*\)|\*\s*\d+)?)"
_DECLARATION = re.compile(rf"{TYPE}(.*)", re.IGNORECASE | re.DOTALL)
_PASSED_OVER = re.compile(
    r"(?:IMPLICIT|INTRINSIC|EXTERNAL|USE|SAVE|CONTINUE|CONTAINS|PRINT|WRITE)\b",
    re.IGNORECASE,
)
_OTHER = re.compile(
    rf"""(?:\d+\s+)?(?:\w+\s*:\s*(?=DO\b|IF\b|SELECT\b))?(?:
      (?:{TYPE}|COMPLEX|TYPE|CLASS|DIMENSION|COMMON|DATA|PARAMETER|INCLUDE|PUBLIC|PRIVATE|ALLOCATE
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
_SET = re.compile(r"([A-Za-z]\w*)\s*=(?!=)(.+)", re.DOTALL | re.ASCII)
_STORE = re.compile(r"([A-Za-z]\w*)\s*\(([^=]*)\)\s*=(?!=)(.+)", re.DOTALL | re.ASCII)


def _whole(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


_LABEL = _whole(r"(?:(\d+)\s+(?=[A-Z])|\w+\s*:\s*(?=(?:IF|DO|SELECT|WHERE)\b))")
_IF = _whole(r"(IF|WHERE)\s*(\(.*)")
_ELSE = _whole(r"ELSE\s*(?:IF\s*(?P<if>\(.*\))\s*THEN|WHERE\s*(?P<where>\(.*\))?)?(?:\s+\w+)?")
_SELECT = _whole(r"SELECT\s*CASE\s*(\(.*\))")
_CASE = _whole(r"CASE\s*(?:\((.*)\)|DEFAULT)(?:\s+\w+)?")
_DO = _whole(r"DO\b\s*(?:(\d+)\s*,?\s*)?(?:([A-Z]\w*)\s*=(.+))?.*")
_CLOSE = _whole(r"END\s*(?:IF|SELECT|DO|WHERE)(?:\s+\w+)?")
_DIVIDED = re.compile(r"(?:^|[(,+\-]|\*\*)\s*(\d+\s*/\s*\d*[1-9]\d*)(?![\w.])")
THERE = "PRESENT_"
"""What says of an argument whether it is given."""
_MOST_CHOICES = 100
"""Blocks in one another, and choices of one."""
_MOST_VALUES = 10_000


Statement: TypeAlias = tuple[Any, ...]
"""What is done, the entry of it, and its parts; a tree that cannot be read is the error.

("set", item, name, tree), ("store", item, name, places, tree), ("table", item, name, values),
("array", item, name, sizes), ("integer", item, name), ("branch", item, [(condition or `None`,
body), ...]), ("mask", item, the same), ("do", item, name, (first, last, step), body), ("stop",
item), ("other", item, what it is).
"""


class NotArithmetic(ValueError):
    """Fortran that is no expression; the message says why."""


def is_fortran(statement: str) -> bool:
    """Whether a statement begins as one of Fortran does."""
    return bool(_PASSED_OVER.match(statement) or _OTHER.match(statement))


def statements(item: Item) -> Iterator[Item]:
    """Those of inlined code, free-form Fortran: comments left out, lines joined, each by itself.

    Braces and lines that begin with ``//`` are comments of MECCA's, which its scripts take out.
    """
    whole: list[tuple[int, str]] = []  # statements, those of one line not yet apart
    open_ = False
    for number, line in numbered(item.text):
        line = re.sub(r"\{[^{}]*\}", " ", line)
        line = "" if line.lstrip().startswith("//") else _COMMENT.sub(r"\1", line).strip()
        if not line:
            continue
        open_ = open_ or line.startswith("&")  # even where the line above does not say so
        start, before = whole.pop() if open_ and whole else (number - 1, "")
        whole.append((start, f"{before} {line.lstrip('&').rstrip('&').strip()}"))
        open_ = line.endswith("&")
    for above, statement in whole:
        for part in filter(None, (p.strip() for p in statement.split(";"))):
            yield item._replace(text=part, line=item.line + above)


class _Level(NamedTuple):
    """A block that is open: where its statements go, its choices, what they are of, its label."""

    body: list[Statement]
    choices: list[tuple[Any, list[Statement]]] | None = None
    subject: Any = None
    label: str = ""


def block(lines: Sequence[Item]) -> list[Statement]:
    """Statements, with what stands in blocks within these.

    Raises:
        NotArithmetic: more conditions in one another than are followed.
    """
    levels = [_Level([])]
    for item in lines:
        text, label = item.text, ""
        while match := _LABEL.match(text):
            label, text = match[1] or label, text[match.end() :]
        body, choices, subject, _ = levels[-1]
        condition, rest = "", ""
        if match := _IF.fullmatch(text):
            condition, rest = _bracketed(match[2])
        if match and condition:
            kind, then = ("branch", "THEN") if match[1].upper() == "IF" else ("mask", "")
            opened = [(_tree(condition), [])]
            body.append((kind, item, opened))
            if rest.upper() == then:
                levels.append(_Level(opened[0][1], opened))
            else:
                opened[0][1].extend(_statement(rest, item))
        elif match := _SELECT.fullmatch(text):
            opened = []
            body.append(("branch", item, opened))
            levels.append(_Level([], opened, _tree(match[1])))
        elif choices is not None and (match := _ELSE.fullmatch(text)):
            test = match["if"] or match["where"]
            choices.append((_tree(test) if test else None, []))
            levels[-1] = _Level(choices[-1][1], choices)
        elif choices is not None and (match := _CASE.fullmatch(text)):
            choices.append((_case(subject, match[1]), []))
            levels[-1] = _Level(choices[-1][1], choices, subject)
        elif match := _DO.fullmatch(text):
            bounds = tuple(map(_tree, separated(match[3] or "")))
            if len(bounds) not in (2, 3):
                bounds = (NotArithmetic("it has a DO loop without bounds"),)
            inner = []
            body.append(("do", item, (match[2] or "").upper(), bounds, inner))
            levels.append(_Level(inner, label=match[1] or ""))
        elif len(levels) > 1 and _CLOSE.fullmatch(text):
            if choices:
                choices.sort(key=lambda choice: choice[0] is None)  # what is else comes last
            levels.pop()
        else:
            body += _statement(text, item)
        while label and levels[-1].label == label:
            levels.pop()
        if max(len(levels), len(choices or ())) > _MOST_CHOICES:
            raise NotArithmetic(f"it has more than {_MOST_CHOICES} conditions")
    for level in levels[1:]:
        level.body.append(("other", lines[-1], "a block without end"))
    return levels[0].body


def _statement(text: str, item: Item) -> list[Statement]:
    """One statement as what it does, which may be several things or nothing."""
    declared = _DECLARATION.fullmatch(text)
    if match := _SET.fullmatch(text):
        return [("set", item, match[1], _tree(match[2]))]
    if (match := _STORE.fullmatch(text)) and not declared:
        places = tuple(map(_tree, separated(match[2])))
        return [("store", item, match[1], places, _tree(match[3]))]
    if text.upper() == "RETURN":
        return [("stop", item)]
    if match := re.fullmatch(r"DATA\s+(.*)", text, re.IGNORECASE | re.DOTALL):
        tables = re.findall(r"(\w+)\s*/([^/]*)/", match[1])
        return [("table", item, name.upper(), _values(values)) for name, values in tables]
    if match := re.fullmatch(r"PARAMETER\s*\((.*)\)", text, re.IGNORECASE | re.DOTALL):
        return _declared("::" + match[1], item)
    if declared and "=" not in declared[1].partition("::")[0]:
        return _declared(declared[1], item, text.upper().startswith("INTEGER"))
    if _PASSED_OVER.match(text):
        return []
    what = "a CALL" if re.match(r"CALL\b", text, re.IGNORECASE) else f"{text[:40]!r}"
    return [("other", item, what)]


def _declared(text: str, item: Item, integer: bool = False) -> list[Statement]:
    """What a declaration says of arrays, whole numbers and values."""
    found: list[Statement] = []
    attributes, colons, names = text.partition("::")
    shared = re.search(r"\bDIMENSION\s*(\(.*?\))", attributes, re.IGNORECASE)
    for part in separated(names if colons else attributes):
        name, equals, value = (p.strip() for p in part.partition("="))
        name, bracket, sizes = (p.strip() for p in name.partition("("))
        sizes = shared[1][1:] if shared and not bracket else sizes
        if integer and name:
            found.append(("integer", item, name.upper()))
        if name and (bracket or shared):
            found.append(("array", item, name, tuple(map(_tree, separated(sizes[:-1])))))
            if equals or ":" in sizes:
                found.append(("other", item, f"an array of a kind of its own, {name}"))
        elif equals:
            found.append(("set", item, name, _tree(value)))
    return found


def _bracketed(text: str) -> tuple[str, str]:
    """What stands in the brackets that a text begins with, and the rest; nothing if none end."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return text[: place + 1], text[place + 1 :].strip()
    return "", ""


def _values(text: str) -> tuple[Any, ...]:
    """The values of a table; ``3*0.5`` stands for three."""
    found: list[Any] = []
    for part in separated(text):
        count, star, value = part.partition("*")
        repeated = star and count.strip().isdigit() and int(count) <= _MOST_VALUES
        found += [_tree(value)] * int(count) if repeated else [_tree(part)]
    return tuple(found)


def _case(of: Any, values: str | None) -> Any:
    if values is None:
        return None
    if ":" in values:
        return NotArithmetic("it has a CASE of a range")
    tests = [_tree(value) for value in separated(values)]
    if unread := [test for test in (of, *tests) if isinstance(test, NotArithmetic)]:
        return unread[0]
    return reduce(partial(call, "or"), (call("==", of, test) for test in tests))


def _tree(text: str) -> Any:
    """An expression, or the error where it is none or divides whole numbers."""
    text = re.sub(r"\bPRESENT\s*\(\s*(\w+)\s*\)", rf"{THERE}\1", text, flags=re.IGNORECASE)
    try:
        return arithmetic(text)
    except ValueError as error:
        return NotArithmetic(str(error))


def walk(body: Sequence[Statement]) -> Iterator[Statement]:
    """Every statement, those within others too."""
    for part in body:
        yield part
        if part[0] in ("branch", "mask"):
            for _, inner in part[2]:
                yield from walk(inner)
        elif part[0] == "do":
            yield from walk(part[4])


def arithmetic(text: str) -> Expression:
    """A text of Fortran as a tree; `ValueError` where it is none, or divides whole numbers."""
    if found := _DIVIDED.search(text):
        raise ValueError(
            f"{found[1]!r} divides whole numbers, of which Fortran keeps the whole part alone; "
            "write 1.0/2.0"
        )
    return parse(text.replace('"', "'"))
