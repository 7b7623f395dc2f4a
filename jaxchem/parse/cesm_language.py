"""The language of CESM's chemistry preprocessor: sections, lists, comments and blanks."""

import re
from collections.abc import Iterator

from ..suggest import closest
from .common import fail, numbered

__all__ = ["SECTIONS", "headed", "sections"]

SECTIONS: dict[str, tuple[str, ...]] = {
    "": ("COMMENTS", "SPECIES", "SOLUTIONCLASSES", "CHEMISTRY", "SIMULATIONPARAMETERS"),
    "SPECIES": ("SOLUTION", "PCE", "FIXED", "GROUPS", "COL-INT", "NOT-TRANSPORTED"),
    "SOLUTIONCLASSES": ("EXPLICIT", "EBI", "HOV", "IMPLICIT", "RODAS"),
    "CHEMISTRY": ("PHOTOLYSIS", "REACTIONS", "HETEROGENEOUS", "EXTFORCING"),
}
"""Sections by what they stand in."""
_KEYWORDS = {word for inner in SECTIONS.values() for word in inner}
_TEXTS = ("COMMENTS", "SIMULATIONPARAMETERS")
_MARKS = ("BEGSIM", "ENDSIM")


def headed(word: str, text: str) -> bool:
    """Whether a line is this word, but for blanks and a comment."""
    flags = re.IGNORECASE | re.MULTILINE
    return bool(re.search(rf"^[ \t]*{word}[ \t]*(?:[!#].*)?$", text, flags))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, content) of the lines that have some, comments and blanks removed."""
    for line, raw in numbered(text):
        if not raw.lstrip().startswith("*"):
            content = "".join(re.split("[#!]", raw)[0].split()).replace('"', "")
            if content:
                yield line, content.removesuffix(",")


def sections(text: str, filename: str) -> Iterator[tuple[str, int, str]]:
    """(section, line, content) of what stands in the innermost sections.

    Comments and blanks are removed; sections are named in upper case.

    Raises:
        MechanismError: a section that is none, that comes twice, or whose end is missing.
    """
    path: list[tuple[str, int]] = []
    seen: dict[str, int] = {}
    begun = False
    for line, content in _lines(text):
        word = content.upper()
        inside = path[-1][0] if path else ""
        begun = (begun or word == "BEGSIM") and "SPECIES" not in seen
        if path and word == f"END{inside}":
            path.pop()
        elif inside in _TEXTS:
            continue
        elif word in SECTIONS.get(inside, ()):
            if word in seen:
                raise fail(filename, line, f"{content} stands in line {seen[word]} too; join them")
            seen[word] = line
            path.append((word, line))
        elif path and (word in _KEYWORDS or word.removeprefix("END") in _KEYWORDS):
            raise fail(
                filename,
                line,
                f"{content!r} stands inside {inside}, which begins in line {path[-1][1]}; "
                f"write 'End {inside.capitalize()}' before it",
            )
        elif inside not in SECTIONS:
            yield inside, line, content
        elif path or not (word in _MARKS or (re.match(r"\w+=", content) and begun)):
            known = SECTIONS[inside]
            raise fail(
                filename,
                line,
                f"{content[:60]!r} is no section{f' of {inside}' if inside else ''}"
                f"{closest(content, known) or '.'} Known: {', '.join(known)}",
            )
    if path:
        raise fail(filename, path[-1][1], f"{path[-1][0]} begins here and has no End; add it")
