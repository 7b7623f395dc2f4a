"""One reaction as it is written down, its units, and what may be wrong with it."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..expression import Call, Expression, Name, Number, call, names, parse
from ..rates import AVOGADRO

__all__ = [
    "MechanismError",
    "Reaction",
    "Units",
    "as_tree",
    "sides",
    "take_pool",
    "unknown_species",
]


class MechanismError(ValueError):
    """A mechanism that cannot be read, with the file and the line."""


class Units(NamedTuple):
    """The units of every concentration and time of a network."""

    concentration: str
    time: str

    @property
    def per_mole(self) -> float | None:
        """The concentration of one mol m-3 in this unit; `None` where it is no number density."""
        if self.concentration in ("cm-3", "molecule cm-3", "molecules cm-3"):
            return 1e-6 * AVOGADRO
        return 1.0 if self.concentration == "mol m-3" else None

    @property
    def per_molecule(self) -> float | None:
        """The concentration of one molecule cm-3 in this unit; `None` as `per_mole`."""
        return None if self.per_mole is None else self.per_mole * 1e6 / AVOGADRO


class Reaction(NamedTuple):
    """One reaction as it is written down, before a network is built from it.

    Attributes:
        reactants: species name -> how many molecules of it react (the order in that species).
        products: species name -> yield, which may be fractional.
        rate: its coefficient, as an expression, its text or a number; a pool of species may be
            one factor of it.
        source: where the rate comes from.
        where: file and line for error messages.
    """

    reactants: Mapping[str, int]
    products: Mapping[str, float]
    rate: Expression | str | float
    source: str
    where: str = ""

    @property
    def equation(self) -> str:
        """The reaction as text, such as ``2 B -> B + C``."""
        return f"{_side(self.reactants)} -> {_side(self.products)}".strip()


def sides(equation: str) -> tuple[dict[str, float], dict[str, float]]:
    """Reactants and products of an equation as `Reaction.equation` writes it."""
    left, _, right = equation.partition("->")
    return _terms(left), _terms(right)


def _terms(side: str) -> dict[str, float]:
    terms = {}
    for term in filter(None, (part.strip() for part in re.split(r"(?:^|\s)\+\s", side))):
        count, _, name = term.rpartition(" ")
        terms[name] = float(count or 1)
    return terms


def _side(terms: Mapping[str, float]) -> str:
    return " + ".join(n if c == 1 else f"{_exact(c)} {n}" for n, c in terms.items())


def _exact(number: float) -> str:
    """Digits that read back as the same number, without a needless point."""
    return str(int(number)) if number == int(number) else repr(float(number))


def as_tree(rate: Expression | str | float | None) -> Expression | None:
    """A rate as a tree: its text is parsed, a number is one."""
    if isinstance(rate, str):
        return parse(rate)
    return Number(float(rate)) if isinstance(rate, int | float) else rate


def take_pool(tree: Expression, pools: Mapping[str, Any]) -> tuple[Expression, str | None]:
    """The rate without the pool that is a factor of it, and that pool."""
    if not any(name in pools for name in names(tree)):
        return tree, None
    if isinstance(tree, Name):
        return Number(1.0), tree.name
    if isinstance(tree, Call) and tree.function in ("*", "/", "neg"):
        first, *rest = tree.arguments
        inside = [any(name in pools for name in names(a)) for a in tree.arguments]
        if inside == [True, True]:
            raise ValueError(
                "the rate names two pools; a rate has one at most: make a single species a "
                "reactant instead, or give the other as a quantity"
            )
        if inside[0]:
            first, pool = take_pool(first, pools)
            if first == Number(1.0) and tree.function == "*":
                return rest[0], pool
            return call(tree.function, first, *rest), pool
        if tree.function == "*":
            second, pool = take_pool(rest[0], pools)
            return first if second == Number(1.0) else call("*", first, second), pool
    found = next(name for name in names(tree) if name in pools)
    raise ValueError(
        f"the pool {found!r} is not simply a factor of the rate; write the reaction once for each "
        "term, so that it is"
    )


def unknown_species(name: str, known: Iterable[str], where: str) -> str:
    """The message about a species that is not there: its name, the place and the nearest one."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known species: {', '.join(known[:20])}"
    return f"unknown species {name!r} in {where}; {hint}"
