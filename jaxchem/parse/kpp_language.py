"""The language of KPP: sections and their entries, comments, inlined code and includes.

Every line is part of a section, a command, inlined code or a comment; what is none of these is an
error, as it is to KPP. Outside of sections a line may be a comment by a star, as in FACSIMILE: some
copies of the MCM have its header so. Files that are included lie in the folder of the first one.
"""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..network import MechanismError
from ..suggest import closest
from .common import LARGEST, decoded, fail, is_file, numbered, within

__all__ = ["Item", "items"]

_SECTIONS = frozenset(
    """
    ATOMS CHECK DEFFIX DEFRAD DEFVAR EQUATIONS FAMILIES INITVALUES LUMP SETFIX SETRAD SETVAR
    """.split()
)
"""Sections whose entries end with semicolons."""
_DEFINED = _SECTIONS - {"ATOMS", "CHECK", "LUMP", "SETFIX", "SETRAD", "SETVAR"}
"""Those whose entries say what something is."""
_OUTPUT = frozenset("LOOKAT MONITOR TRANSPORT XGRID YGRID ZGRID".split())
"""Sections of what KPP's own programs print."""
_COMMANDS = frozenset(
    """
    AUTOREDUCE CHECKALL DECLARE DOUBLE DRIVER DUMMYINDEX ENDINLINE EQNTAGS FUNCTION GRAPH HESSIAN
    INCLUDE INITIALIZE INLINE INTEGRATOR INTFILE JACOBIAN LANGUAGE LOOKATALL MEX MINVERSION MODEL
    REORDER RUN SPARSEDATA STOCHASTIC STOICMAT TRANSPORTALL UPPERCASEF90 USE USES WRFCONFORM
    WRITE_ATM WRITE_MAT WRITE_OPT WRITE_SPC
    """.split()
)
"""Commands of a line."""
_CODE = frozenset(
    f"{language}_{kind}"
    for language in ("F77", "F90", "C", "MATLAB")
    for kind in ("DATA", "GLOBAL", "INIT", "RATES", "RCONST", "UTIL")
) | {"F90_RCONST_USE", "F90_GLOBAL_USE", "PY_INIT", "PY_UTIL"}
"""What code can be inlined; Python is pykpp's."""
_EQUATION = re.compile(r"\s*(?:<[^<>]*>|\{[^{}]*\})?[\w\s.+-]*=[\w\s.+-]*:(?!:)[^:]*;")
_DEEPEST, _MOST_FILES = 8, 500


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


def items(text: str, filename: str) -> Iterator[Item]:
    """Entries of all sections and of inlined code, in order, comments removed.

    A file that ``#MODEL`` names, and that is not there, is an entry of the section MODEL.
    """
    yield from _items(text, filename, (filename,), Path(filename).parent, [0, 0])


def _items(
    text: str, filename: str, above: tuple[str, ...], root: Path, count: list[int]
) -> Iterator[Item]:
    section, inline, start, parts = "", "", 1, []
    comment = 0  # the line in which an open one began
    for number, line in numbered(text):
        if inline:
            parts += [""] * (number - start - len(parts))  # blank ones, so that lines count
            if ended := re.match(r"\s*#ENDINLINE\b(.*)", line, re.IGNORECASE):
                rest, open_ = _strip(ended[1], False)
                if "#" in rest:
                    where = f"{line.strip()[:60]!r}: a command stands in a line of its own"
                    raise fail(filename, number, where)
                if rest.strip(" ;\t\r"):
                    what = f"{rest.strip()[:40]!r} behind #ENDINLINE is passed over."
                    warnings.warn(f"{filename}, line {number}: {what}", stacklevel=7)
                comment = number if open_ else 0
                yield Item(f"INLINE {inline}", "\n".join(parts), filename, start)
                inline, parts = "", []
            else:
                _inlined(line, inline, filename, number)
                parts.append(line)
            continue
        content = line
        if comment or "{" in line or "//" in line:
            content, open_ = _strip(line, bool(comment))
            comment = (comment or number) if open_ else 0
        if "#" in content and content.lstrip().startswith("#"):
            if "".join(parts).strip() and section in _SECTIONS:
                yield Item(section, "\n".join(parts), filename, start)
            word, *rest = content.strip()[1:].split(None, 1) or [""]
            section, content = word.upper(), rest[0] if rest else ""
            parts, start = [], number
            if section not in _SECTIONS | _OUTPUT | _COMMANDS:
                known = [f"#{name}" for name in (*_SECTIONS, *_OUTPUT, *_COMMANDS)]
                hint = closest(f"#{section}", known) if line.lstrip()[1:2].strip() else ""
                raise fail(
                    filename,
                    number,
                    f"{line.strip()[:60]!r} is no command of KPP{hint or ';'} a comment stands in "
                    "braces, or after //",
                )
            if section == "INLINE":
                inline, start, section = content.strip().upper() or "?", number + 1, ""
                if inline not in _CODE:
                    hint = closest(inline, _CODE) or "; write such as F90_RCONST"
                    raise fail(filename, number, f"#INLINE {inline[:40]} is no code of KPP{hint}")
                continue
            if section in _COMMANDS | _OUTPUT and "#" in content:
                where = f"{line.strip()[:60]!r}: a command stands in a line of its own"
                raise fail(filename, number, where)
            if section == "INCLUDE":
                yield from _include(content, filename, number, above, root, count)
            elif section == "MODEL":
                yield from _model(content, filename, number, above, root, count)
            elif section == "CHECKALL":
                yield Item("CHECK", "*", filename, number)
            if section in _COMMANDS:
                section = ""
                continue
        if not section and content.strip(" \t\f;") and not content.lstrip().startswith("*"):
            raise fail(
                filename,
                number,
                f"{line.strip()[:60]!r} stands in no section; put it below one such as #EQUATIONS, "
                "or in braces",
            )
        if section not in _DEFINED and "=" in content:
            raise fail(
                filename,
                number,
                f"{content.strip()[:60]!r} stands under #{section}, which has names alone; put it "
                "under the section that it belongs to, such as #EQUATIONS",
            )
        if section not in _SECTIONS:
            continue
        pieces = content.split(";")
        for left, piece in enumerate(pieces, start=1 - len(pieces)):
            if not parts:
                piece, start = piece.lstrip(" \t,"), number  # KPP passes over commas before
            if piece and not piece.isspace():
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


def _inlined(line: str, inline: str, filename: str, number: int) -> None:
    """Refuses what is KPP's and no code."""
    command = re.match(r"\s*#\s*(\w+)", line)
    name = command[1].upper() if command else ""
    if name == "INLINE" and line.upper().split()[-1] == inline:
        return  # the same goes on
    if name in ("DEFVAR", "DEFRAD"):  # exports of the CRI have so, behind a misspelt #ENDINLINE
        what = f"#{name} stands in the code of #INLINE {inline}, which ends below; what it declares"
        warnings.warn(f"{filename}, line {number}: {what} is passed over.", stacklevel=8)
    known = name in (_SECTIONS | _OUTPUT | _COMMANDS) - {"INCLUDE", "DEFVAR", "DEFRAD"}
    if known or _EQUATION.match(line):
        raise fail(
            filename,
            number,
            f"{line.strip()[:60]!r} stands in the code of #INLINE {inline}; is an #ENDINLINE "
            "missing above it?",
        )


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


def _include(
    rest: str, filename: str, line: int, above: tuple[str, ...], root: Path, count: list[int]
) -> Iterator[Item]:
    name, *more = [word.rstrip(";") for word in rest.split()] or [""]
    if any(more):
        raise fail(filename, line, f"includes {rest.strip()[:60]!r}; write one file a line")
    if len(above) > _DEEPEST:
        raise fail(filename, line, f"includes are nested more than {_DEEPEST} deep")
    for path in (Path(filename).parent / name, Path(filename).parent / f"{name}.kpp"):
        if name and is_file(path):
            if not within(path, root):
                raise fail(
                    filename,
                    line,
                    f"includes {name!r}, which lies outside of the mechanism's folder, {root}; "
                    "copy it there",
                )
            yield from _file(path, filename, line, above, root, count)
            return
    if not re.fullmatch(r"(?:\./)?atoms(?:_red)?(?:\.kpp)?", name, re.IGNORECASE):
        raise fail(filename, line, f"includes {name!r}, which is not beside it; put it there")


def _model(
    rest: str, filename: str, line: int, above: tuple[str, ...], root: Path, count: list[int]
) -> Iterator[Item]:
    """``#MODEL name`` includes name.def, which KPP takes from its own models too."""
    name = rest.split()[0].rstrip(";") if rest.split() else ""
    path = Path(filename).parent / f"{name}.def"
    if name and is_file(path) and within(path, root) and str(path) != filename:
        yield from _file(path, filename, line, above, root, count)
    else:
        yield Item("MODEL", f"{name}.def", filename, line)


def _file(
    path: Path, filename: str, line: int, above: tuple[str, ...], root: Path, count: list[int]
) -> Iterator[Item]:
    real = str(path.resolve())
    if real in {str(Path(other).resolve()) for other in above}:
        raise fail(filename, line, f"{path.name} includes itself, by way of {len(above)} files")
    count[0] += 1
    if count[0] > _MOST_FILES:
        raise fail(filename, line, f"more than {_MOST_FILES} files are included")
    text = decoded(path)
    count[1] += len(text)
    if count[1] > LARGEST:
        raise fail(filename, line, f"more than {LARGEST} characters are included in all")
    yield from _items(text, str(path), (*above, str(path)), root, count)
