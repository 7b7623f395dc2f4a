"""What the readers of all formats share: errors with their place, and the way to a `Network`."""

from typing import Any

from ..expression import Expression, parse
from ..formula import parse_formula
from ..network import MechanismError, Network

__all__ = ["build", "composition", "expression", "fail"]


def fail(filename: str, line: int, message: str) -> MechanismError:
    """The error about one line of a file; to be raised."""
    return MechanismError(f"{filename}, line {line}: {message}")


def expression(filename: str, line: int, text: str) -> Expression:
    """An expression of a file; `MechanismError` where it is none."""
    try:
        return parse(text)
    except ValueError as error:
        raise fail(filename, line, str(error)) from None


def composition(name: str) -> dict[str, int] | None:
    """Element and charge counts of a species that is named by its formula, isomers included.

    Astrochemical lists write ``l-C3H``, ``c-C3H2``, ``o-H2`` and the like; `None` where the name
    is no formula.
    """
    prefix, dash, rest = name.partition("-")
    if dash and prefix.islower() and rest:
        name = rest
    return parse_formula(name)


def build(filename: str, **parts: Any) -> Network:
    """`Network.build`, whose errors say in which file they are."""
    try:
        return Network.build(**parts)
    except ValueError as error:
        message = str(error)
        raise MechanismError(message if filename in message else f"{filename}: {message}") from None
