"""The language of KPP: sections and their entries, comments, inlined code and includes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..network import MechanismError
from .common import beside, fail, numbered

__all__ = ["Item", "items"]

_SECTIONS = frozenset(
    """
    ATOMS CHECK DEFFIX DEFRAD DEFVAR EQUATIONS FAMILIES INITVALUES LUMP SETFIX SETRAD SETVAR
    """.split()
)
"""Sections whose entries end with semicolons and mean something here."""
_DEEPEST = 8


class Item(NamedTuple):
    """One entry of a section, and where it begins."""

    section: str
    text: str
    file: str
    line: int

    @property
    def where(self) -> str:
        """File and line, for errors."""
        return f"{self.file}, line {self.line}"

    def fail(self, message: str) -> MechanismError:
        """The error about this entry; to be raised."""
        return fail(self.file, self.line, message)


def items(text: str, filename: str, depth: int = 0) -> Iterator[Item]:
    """Entries of all sections and of inlined code, in order, comments removed."""
    section, inline, start, parts = "", "", 1, []
    comment = 0  # the line in which an open one began
    for number, line in numbered(text):
        if inline:
            if re.match(r"\s*#ENDINLINE\b", line, re.IGNORECASE):
                yield Item(f"INLINE {inline}", "\n".join(parts), filename, start)
                inline, parts = "", []
            else:
                parts.append(line)
            continue
        content, open_ = _strip(line, bool(comment))
        comment = (comment or number) if open_ else 0
        if content.lstrip().startswith("#"):
            if "".join(parts).strip() and section in _SECTIONS:
                yield Item(section, "\n".join(parts), filename, start)
            section, *rest = content.strip()[1:].split(None, 1) or [""]
            section, content = section.upper(), rest[0] if rest else ""
            parts, start = [], number
            if section == "INLINE":
                inline, start, section = content.strip().upper() or "?", number + 1, ""
                continue
            if section == "INCLUDE":
                yield from _include(content, filename, number, depth)
            elif section == "CHECKALL":
                yield Item("CHECK", "*", filename, number)
        if section not in _SECTIONS:
            continue
        pieces = content.split(";")
        for left, piece in enumerate(pieces, start=1 - len(pieces)):
            if not any(part.strip() for part in parts):
                parts, start = [], number
                piece = piece.lstrip(" \t,")  # KPP passes over a comma between entries
            parts.append(piece)
            if left:
                yield Item(section, "\n".join(parts), filename, start)
                parts = []
    if inline:
        raise fail(filename, start - 1, f"#INLINE {inline} has no #ENDINLINE; add it")
    if comment:
        raise fail(filename, comment, "a comment begins here with '{' and never ends; add '}'")
    if "".join(parts).strip() and section in _SECTIONS:
        yield Item(section, "\n".join(parts), filename, start)


def _strip(line: str, inside: bool) -> tuple[str, bool]:
    """A line without its comments, and whether one in braces is still open at its end."""
    kept = []
    while True:
        if inside:
            _, brace, line = line.partition("}")
            if not brace:
                return "".join(kept), True
            inside = False
        match = re.search(r"\{|//", line)
        kept.append(line if match is None else line[: match.start()] + " ")
        if match is None or match[0] == "//":
            return "".join(kept), False
        line, inside = line[match.end() :], True


def _include(rest: str, filename: str, line: int, depth: int) -> Iterator[Item]:
    name = rest.split()[0] if rest.split() else ""
    if depth >= _DEEPEST:
        raise fail(
            filename, line, f"includes are nested more than {_DEEPEST} deep; is it a circle?"
        )
    for path in (beside(filename, name), beside(filename, f"{name}.kpp")):
        if name and path is not None:
            yield from items(path.read_text(encoding="latin-1"), str(path), depth + 1)
            return
    if not Path(name).name.startswith("atoms"):
        raise fail(filename, line, f"includes {name!r}, which is not beside it; put it there")
