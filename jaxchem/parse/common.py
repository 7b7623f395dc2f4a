"""What the readers of all formats share: errors with their place, and the way to a `Network`."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..expression import FUNCTIONS, Call, Expression, parse, show
from ..network import MechanismError, Network
from ..rates import mcm

__all__ = [
    "INTRINSICS",
    "LARGEST",
    "MOST",
    "MOST_REACTIONS",
    "beside",
    "build",
    "counted",
    "decoded",
    "expression",
    "fail",
    "host_call",
    "is_file",
    "lined",
    "molecules",
    "numbered",
    "separated",
    "within",
]

INTRINSICS = {
    **{name: name for name in FUNCTIONS},
    **{"dexp": "exp", "dlog": "log", "dlog10": "log10", "dsqrt": "sqrt", "dabs": "abs"},
}
"""Fortran's functions, in lower case, and what they are here."""

MOST = 9
"""Molecules that react in one reaction; a network has a column for each."""
LARGEST = 20_000_000
"""Bytes of a file; the largest mechanisms that are published have a quarter of it."""
MOST_REACTIONS = 50_000
"""Reactions of a file; the largest mechanisms that are published have half of it."""


def fail(filename: str, line: int, message: str) -> MechanismError:
    """The error about one line of a file; to be raised."""
    return MechanismError(f"{filename}, line {line}: {message}")


def counted(filename: str, number: int) -> None:
    """Refuses a file of more reactions than are read; to be called before they are looked into.

    Raises:
        MechanismError: with the number and the limit.
    """
    if number > MOST_REACTIONS:
        raise fail(
            filename,
            1,
            f"has {number} reactions; {MOST_REACTIONS} are the most that is read. Leave out those "
            "of no account, or make the network with Network.build, which has no limit",
        )


def lined(text: str) -> str:
    """A text whose lines end as those of Unix, whatever they ended with."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) of every line that is not blank, as editors count them.

    `str.splitlines` would end lines at form feeds and at what Windows' ellipsis is in Latin-1 too,
    so that the rest of a comment were content.
    """
    for number, line in enumerate(lined(text).split("\n"), start=1):
        if line and not line.isspace():
            yield number, line


def decoded(path: Path) -> str:
    """The text of a file, in UTF-8 or else Latin-1, as mechanism files are.

    Raises:
        MechanismError: a file that cannot be read, is no file but a folder, a pipe or a device, has
            more than `LARGEST` bytes, or is binary.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("it is no regular file")
        size = path.stat().st_size
        content = path.read_bytes() if size <= LARGEST else b""
    except (OSError, ValueError) as error:  # ValueError: a name with a null
        why = getattr(error, "strerror", None) or error
        name = str(path) if len(str(path)) < 500 else f"{str(path)[:200]}..."
        raise MechanismError(f"{name}: cannot be read as text ({why}).") from error
    if size > LARGEST:
        raise MechanismError(f"{path}: has {size} bytes; {LARGEST} are the most that is read.")
    if b"\0" in content:
        raise MechanismError(f"{path}: cannot be read as text (it is a binary file).")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def within(path: Path, folder: Path) -> bool:
    """Whether a file lies in a folder, links followed."""
    return path.resolve().is_relative_to(folder.resolve())


def is_file(path: Path) -> bool:
    """Whether there is such a regular file: no folder, pipe or device."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a null
        return False


def beside(filename: str, name: str) -> Path | None:
    """The file of this name in the folder of another; `None` where there is none within it."""
    path = Path(filename).parent / name
    found = name != "" and is_file(path) and within(path, Path(filename).parent)
    return path if found else None


def expression(filename: str, line: int, text: str) -> Expression:
    """An expression of a file; `MechanismError` where it is none."""
    try:
        return parse(text)
    except ValueError as error:
        raise fail(filename, line, str(error)) from None


def molecules(
    reactants: Mapping[str, float], fail: Callable[[str], MechanismError]
) -> dict[str, int]:
    """Reactants as whole molecules.

    Args:
        reactants: species -> coefficient, as it is written.
        fail: makes the error about the line that they stand in from what is wrong.

    Raises:
        MechanismError: a fraction, or more than `MOST`.
    """
    for name, count in reactants.items():
        if count not in range(1, MOST + 1):
            raise fail(
                f"{count:g} {name} reacts: mass action needs whole molecules on the left, {MOST} "
                "at most; put fractional yields on the right"
            )
    if sum(reactants.values()) > MOST:
        raise fail(f"more than {MOST} molecules react at once")
    return {name: int(count) for name, count in reactants.items()}


def separated(text: str) -> list[str]:
    """What stands between the commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for mark in re.finditer(r"[,(\[)\]]", text):
        if mark[0] != ",":
            depth = max(0, depth + (1 if mark[0] in "([" else -1))
        elif not depth:
            parts.append(text[start : mark.start()])
            start = mark.end()
    return [*parts, text[start:]]


def host_call(tree: Call) -> str:
    """The quantity that a call of the host model's becomes: its own text, without blanks."""
    return re.sub(r"(\d)\.0\b", r"\1", show(tree)).replace(" ", "").replace('"', "")


def build(filename: str, supplied: Mapping[str, str] | None = None, **parts: Any) -> Network:
    """`Network.build`, whose errors say in which file they are.

    Of what the file names and the reader supplies, it warns where another host or version has
    other figures: coefficients of the MCM, and the unit of PRESS.
    """
    supplied = supplied or {}
    if borrowed := [name for name in supplied if name in mcm.COEFFICIENTS]:
        warnings.warn(
            f"{filename} does not define {', '.join(borrowed)}; taken from MCM v3.3.1. A mechanism "
            "of another version has to assign its own.",
            stacklevel=6,
        )
    if "PRESS" in supplied:
        warnings.warn(
            f"{filename}: the rates name PRESS, and no unit; taken as {supplied['PRESS']}. Where "
            "the mechanism means another, assign PRESS in the file (pressure is in Pa).",
            stacklevel=6,
        )
    try:
        return Network.build(supplied=supplied, **parts)
    except ValueError as error:
        message = str(error)
        raise MechanismError(message if filename in message else f"{filename}: {message}") from None
