"""One reaction as it is written down, its units, and what may be wrong with it."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from ..expression import Call, Expression, Name, Number, call, names, parse, size, total
from ..rates import AVOGADRO

__all__ = [
    "MechanismError",
    "Reaction",
    "Units",
    "as_tree",
    "sides",
    "split",
    "sums_of",
    "unknown_species",
]

_LONGEST = 2000
"""Characters of a message."""


class MechanismError(ValueError):
    """A mechanism that cannot be read, with the file and the line.

    The message keeps its place and its advice, however long a line is that it cites.
    """

    def __init__(self, message: str):
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
        super().__init__(message)


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
        rate: its coefficient, as an expression, its text or a number; it may name pools of
            species anywhere.
        source: where the rate comes from.
        where: file and line for error messages.
    """

    reactants: Mapping[str, int]
    products: Mapping[str, float]
    rate: Expression | str | float
    source: str
    where: str = ""

    def placed(self, network: str) -> str:
        """What messages call it: its equation, with file and line or the network's name."""
        return f"reaction {self.equation!r} ({self.where or network})"

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


_Terms: TypeAlias = list[tuple[Expression, str | None]]

_MOST_TERMS, _MOST_NODES = 100, 300
"""Terms that a rate is multiplied out to, and the size of their coefficients from definitions."""


def split(tree: Expression, sums: Mapping[str, _Terms]) -> _Terms:
    """A rate as a sum of terms, each a coefficient times one pool or none.

    What is linear in the pools is multiplied out, and terms of the same pool joined:
    ``k (1 + a H2O)`` is ``k`` and ``k a`` times H2O. What is not, as ``1 / (b + S)`` or a product
    of two pools, stays within the coefficient, which is then a function of the state.

    Args:
        tree: the rate.
        sums: from `sums_of`.
    """
    found: dict[str | None, list[Expression]] = {}
    for coefficient, pool in _expanded(tree, sums):
        found.setdefault(pool, []).append(coefficient)
    return [(total(coefficients), pool) for pool, coefficients in found.items()]


def sums_of(
    pools: Collection[str], defined: Iterable[tuple[str, Expression | None]]
) -> dict[str, _Terms]:
    """What depends on the state, by name, as terms: pools, and quantities that name them.

    Args:
        pools: their names.
        defined: quantities, each after those that it names.
    """
    sums: dict[str, _Terms] = {pool: [(Number(1.0), pool)] for pool in pools}
    for name, tree in defined:
        if tree is None or not any(part in sums for part in names(tree)):
            continue
        terms = split(tree, sums)
        small = sum(size(coefficient, _MOST_NODES) for coefficient, _ in terms) <= _MOST_NODES
        whole = [pool for _, pool in terms] == [None]
        sums[name] = terms if small and not whole else [(Name(name), None)]
    return sums


def _expanded(tree: Expression, sums: Mapping[str, _Terms]) -> _Terms:
    if isinstance(tree, Name) and tree.name in sums:
        return sums[tree.name]
    if not isinstance(tree, Call) or not any(name in sums for name in names(tree)):
        return [(tree, None)]
    parts = [_expanded(a, sums) for a in tree.arguments]
    if tree.function == "neg":
        return [(call("neg", c), pool) for c, pool in parts[0]]
    if tree.function == "+":
        return parts[0] + parts[1]
    if tree.function == "-":
        return parts[0] + [(call("neg", c), pool) for c, pool in parts[1]]
    if tree.function == "/":
        return [(call("/", c, tree.arguments[1]), pool) for c, pool in parts[0]]
    states = [any(name in sums for name in names(a)) for a in tree.arguments]
    if tree.function != "*" or all(states) or len(parts[0]) * len(parts[1]) > _MOST_TERMS:
        return [(tree, None)]
    (factor, terms) = (tree.arguments[1], parts[0]) if states[0] else (tree.arguments[0], parts[1])
    return [(_times(factor, c), pool) for c, pool in terms]


def _times(a: Expression, b: Expression) -> Expression:
    if Number(1.0) in (a, b):
        return b if a == Number(1.0) else a
    return call("*", a, b)


def unknown_species(name: str, known: Iterable[str], where: str) -> str:
    """The message about a species that is not there: its name, the place and the nearest one."""
    known = list(known)
    near = difflib.get_close_matches(name[:80], known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known species: {', '.join(known[:20])}"
    return f"unknown species {name!r} in {where}; {hint}"
