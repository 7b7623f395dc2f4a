"""Equations of Cantera's YAML: terms between blanks, ``(+M)``, and which way they go."""

import math
import re
from typing import NamedTuple

from .document import Node

__all__ = ["Equation", "read_equation"]

_IN_PARENTHESES = re.compile(r"(?:^|(?<=\s))\(\s*\+\s*(\S+?)\s*\)(?=\s|$)")
_ARROW = re.compile(r"\s(<=>|=>|=)(?=\s)")
_COUNT = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


class Equation(NamedTuple):
    """What an equation says.

    Attributes:
        left: species and how many.
        right: likewise.
        reversible: whether it goes both ways.
        body: what stands for a third body, such as M; nothing where none does.
        falloff: whether it stands in ``(+M)``.
    """

    left: dict[str, float]
    right: dict[str, float]
    reversible: bool
    body: str
    falloff: bool


def read_equation(node: Node) -> Equation:
    """Reads an equation; `MechanismError` where it is none."""
    text = node.text()
    parts = _ARROW.split(f"{text} ")
    if len(parts) != 3:
        raise node.fail(f"{text[:80]!r}: write one of <=>, = and => between blanks")
    bodies = [_IN_PARENTHESES.findall(side) for side in parts[::2]]
    left, right = (_side(node, _IN_PARENTHESES.sub(" ", side)) for side in parts[::2])
    falloff = bool(bodies[0] or bodies[1])
    plain = [side.pop("M", None) for side in (left, right)]
    if not falloff and plain == [1.0, 1.0]:
        bodies, plain = [["M"], ["M"]], [None, None]
    if bodies[0] != bodies[1] or len(bodies[0]) > 1 or plain != [None, None]:
        raise node.fail(f"{text[:80]!r}: a third body stands once, and on both sides")
    return Equation(left, right, parts[1] != "=>", "".join(bodies[0]), falloff)


def _side(node: Node, text: str) -> dict[str, float]:
    """Species and how many of each."""
    found: dict[str, float] = {}
    for term in re.split(r"\s\+(?=\s)", text) if text.strip() else ():
        *count, name = term.split() or [""]
        if not name or len(count) > 1 or (count and not _COUNT.fullmatch(count[0])):
            raise node.fail(f"{term.strip()[:40]!r}: write 'X' or '2 X', and ' + ' between them")
        found[name] = found.get(name, 0.0) + float(count[0] if count else 1)
        if not 0 < found[name] < math.inf:
            raise node.fail(f"{term.strip()[:40]!r}: the number must be positive and finite")
    return found
