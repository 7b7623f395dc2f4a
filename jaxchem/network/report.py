"""What a mechanism is, as far as it can be told from the mechanism alone: `Network.check`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..brief import few, table, text
from ..expression import Call, Expression, Number
from ..rates import Conditions
from .limits import Coefficients, too_fast
from .reaction import sides

__all__ = ["Report", "examine", "unbalanced"]


class _Kind(NamedTuple):
    """Of findings.

    Attributes:
        heading: what they are.
        sentence: of one of them, which stands for ``{}``.
    """

    heading: str
    sentence: str = "{}"


_KINDS = {
    "unbalanced": _Kind("reactions that create or destroy an element"),
    "negative yield": _Kind("reactions that take away more of a species than reacts"),
    "invalid coefficient": _Kind("coefficients that are negative or no number"),
    "too fast": _Kind("coefficients above what physics allows"),
    "duplicate": _Kind("reactions that are there more than once, so that their rates add up"),
    "user rates": _Kind(
        "quantities that the mechanism names and its user gives",
        "to be given to rates(), as it is not defined: {!r}",
    ),
    "supplied": _Kind(
        "values that the mechanism does not define, with where they come from",
        "named by the mechanism and not defined in it: {}",
    ),
    "undeclared": _Kind("species of unknown composition", "no known composition of {}"),
    "split": _Kind("reactions that are terms of one rate, each times a pool of its own or none"),
    "no source": _Kind(
        "species that no reaction makes and that have no initial concentration",
        "no reaction makes species {!r}, and it has no initial concentration",
    ),
    "sink": _Kind("species that no reaction consumes", "no reaction consumes species {!r}"),
    "unused": _Kind("species that no reaction touches", "no reaction touches species {!r}"),
}
"""Findings by kind, the gravest first."""

_LINES, _COLUMNS, _MOST = 40, 98, 4
"""Of a page, and of a group on it."""


class Report(list[str]):
    """What `Network.check` found: a list of sentences, which prints on one screen.

    A sentence begins with its kind, as ``sink: no reaction consumes species 'HNO3'.``

    Attributes:
        title: of which network, and how large it is.
        groups: kind -> what was found, in short: species, reactions and quantities.
        notes: how coefficients were evaluated, and which were not.
    """

    def __init__(self, title: str, groups: Mapping[str, Sequence[str]], notes: Sequence[str]):
        self.title = title
        self.groups = {kind: tuple(groups[kind]) for kind in _KINDS if groups.get(kind)}
        self.notes = tuple(notes)
        super().__init__(
            f"{kind}: {_KINDS[kind].sentence.format(item)}."
            for kind, items in self.groups.items()
            for item in items
        )

    def __str__(self) -> str:
        return next(page for most in range(_MOST, 0, -1) if (page := self._page(most)))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [(k, str(len(i)), _KINDS[k].heading, few(i)) for k, i in self.groups.items()]
        return table(text([self.title, *self.notes]), ("kind", "count", "what", "first"), rows)

    def _page(self, most: int) -> str:
        """The report with at most this many lines a group; nothing if it is longer than a page."""
        lines, whole = [self.title], True
        for kind, items in self.groups.items():
            packed, shown = _packed(items, most)
            first = f", the first {shown}" * (shown < len(items))
            lines += [f"{kind} ({len(items)}{first}): {_KINDS[kind].heading}", *packed]
            whole &= shown == len(items)
        lines += self.notes
        if not whole:
            lines.append("All of a kind: network.check().groups[kind]; all: list(network.check()).")
        return text(lines) if len(lines) <= _LINES or most == 1 else ""


def _packed(items: Sequence[str], most: int) -> tuple[list[str], int]:
    """Lines that hold as many of these as fit, and how many those are."""
    lines: list[str] = []
    for n, item in enumerate(items):
        if lines and len(lines[-1]) + 2 + len(item) <= _COLUMNS:
            lines[-1] += f"; {item}"
        elif len(lines) == most:
            return lines, n
        else:
            lines.append(f"- {item}")
    return lines, len(items)


class _Changes(NamedTuple):
    """The entries of the stoichiometry that are not zero.

    Attributes:
        species: index of each.
        reaction: index of each.
        change: of that species by one event of that reaction.
    """

    species: Int[np.ndarray, " N"]
    reaction: Int[np.ndarray, " N"]
    change: Float[np.ndarray, " N"]

    @classmethod
    def of(cls, network: Any) -> "_Changes":
        change = network.structure.stoichiometry.tocoo()
        return cls(change.row, change.col, change.data)


def examine(network: Any, given: Conditions) -> Report:
    """As `Network.check` has it, which names the network's own conditions and those given."""
    changes, split = _Changes.of(network), _split(network)
    found = Coefficients.of(network, given)
    groups = {
        "unbalanced": list(_unbalanced(network, changes).values()),
        "negative yield": _negative_yields(network, changes),
        "invalid coefficient": _invalid(network, found, split),
        "too fast": [_told(network, j, why) for j, why in too_fast(network, found)],
        "duplicate": _duplicates(network),
        "user rates": network.user_quantities,
        "supplied": [f"{name} ({source})" for name, source in network.supplied],
        "undeclared": network.undeclared,
        "split": [_terms(network, run) for run in split],
        **_loose(network, changes),
    }
    title = (
        f"Network {network.name}: {len(network.species)} species, {len(network.equations)} "
        f"reactions, {sum(map(len, groups.values())) or 'no'} findings"
    )
    return Report(title, groups, found.notes)


def _told(network: Any, j: Any, what: str) -> str:
    """What a reaction does; its equation, which may be cut, comes last."""
    return f"reaction {j} {what}: {network.equations[j]!r}"


# What is wrong, by kind

_FROM, _UP_TO = ("at_least", "above"), ("at_most", "below")
"""Laws of `jaxchem.rates.astro` that are zero elsewhere."""


def unbalanced(network: Any) -> dict[int, str]:
    """As `Network.unbalanced` has it."""
    found = _unbalanced(network, _Changes.of(network))
    return {j: f"unbalanced: {item}." for j, item in found.items()}


def _unbalanced(network: Any, changes: _Changes) -> dict[int, str]:
    """Reaction index -> what it makes and takes of the elements that are balanced."""
    rows, columns, amounts = changes
    if network.fixed:  # nothing changes them, and they count all the same
        index, fixed = {n: network.index(n) for n in network.fixed}, []
        for j, equation in enumerate(network.equations):
            reactants, products = sides(equation)
            for name in index.keys() & (reactants.keys() | products.keys()):
                change = products.get(name, 0.0) - reactants.get(name, 0.0)
                fixed.append((index[name], j, change))
        more = np.array(fixed, dtype=float).reshape(-1, 3)
        rows, columns = (np.append(a, more[:, i].astype(int)) for i, a in ((0, rows), (1, columns)))
        amounts = np.append(amounts, more[:, 2])
    size = len(network.equations)
    excess = np.array(
        [np.bincount(columns, row[rows] * amounts, size) for row in network.conserved]
    ).reshape(-1, size)
    unknown = np.isin(network.species, network.undeclared)
    wrong: np.ndarray = np.any(np.abs(excess) > 1e-9, axis=0)
    wrong[columns[unknown[rows] & (amounts != 0)]] = False
    elements, found = [e for e in network.balanced if e in network.elements], {}
    for j in np.flatnonzero(wrong):
        parts = zip(elements, excess[:, j], strict=True)
        told = ", ".join(f"{e} {change:+g}" for e, change in parts if abs(change) > 1e-9)
        found[int(j)] = f"reaction {j} {network.equations[j]!r} changes {told}"
    return found


def _negative_yields(network: Any, changes: _Changes) -> list[str]:
    rows, columns, amounts = changes
    reacting = np.sum(network.structure.reactants[columns] == rows[:, None], axis=1)
    return [
        _told(network, columns[n], f"takes away more {network.species[rows[n]]} than reacts")
        for n in np.flatnonzero(amounts < -reacting - 1e-9)
    ]


def _loose(network: Any, changes: _Changes) -> dict[str, list[str]]:
    """Species that have no source, no sink, or neither, by kind."""
    size = len(network.species)

    def among(places: Any) -> Bool[np.ndarray, " S"]:
        return np.bincount(np.ravel(places), minlength=size + 1)[:size] > 0

    made = among(changes.species[changes.change > 0])
    lost = among(changes.species[changes.change < 0])
    reacts = among(network.structure.reactants)
    pooled = network.structure.pools.any(axis=0)
    held = np.isin(network.species, network.fixed)
    there = np.isin(network.species, [name for name, value in network.initial if value])
    kinds = {
        "no source": ~made & (lost | reacts | pooled) & ~held & ~there,
        "sink": made & ~lost & ~reacts & ~held,
        "unused": ~made & ~lost & ~reacts & ~pooled & ~held,
    }
    return {kind: [network.species[i] for i in np.flatnonzero(m)] for kind, m in kinds.items()}


def _invalid(network: Any, found: Coefficients, split: Sequence[range]) -> list[str]:
    """Coefficients that are no number, or negative; of a rate's terms only the sum has a sign."""
    terms = np.zeros(len(found.k), dtype=bool)
    for run in split:
        terms[run.start : run.stop] = True
    wrong = found.known & (~np.isfinite(found.k) | (found.k < 0) & ~terms)
    return [_told(network, j, f"has {found.k[j]:.3g}") for j in np.flatnonzero(wrong)]


def _duplicates(network: Any) -> list[str]:
    """Of one equation and pool, and of one rate but for its numbers."""
    alike: dict[tuple, list[tuple[int, tuple[float, ...]]]] = {}
    forms = {}
    for n, law in enumerate(network.laws):
        rows = zip(*law.names, strict=True) if law.names else [()] * len(law.reactions)
        numbers = map(tuple, np.asarray(law.numbers).T.tolist())
        for j, row, own in zip(law.reactions, rows, numbers, strict=True):
            forms[j] = (n, row), own
    for j, equation in enumerate(network.equations):
        terms = (tuple(sorted(s.strip().split(" + "))) for s in equation.split("->"))
        form, numbers = forms[j]
        key = (*terms, form, int(network.structure.pool_of[j]))
        alike.setdefault(key, []).append((j, numbers))
    alike = {key: group for key, group in alike.items() if len(group) > 1}
    trees = network.expressions() if alike else []
    found = []
    for (first, numbers), *others in alike.values():
        for j, own in others:
            (low, high), (lowest, highest) = _range(trees[first]), _range(trees[j])
            if max(low, lowest) < min(high, highest):
                rate = "at one rate" if own == numbers else "at rates that add up"
                both = f"reactions {first} and {j} are both {network.equations[j]!r}"
                found.append((j, f"{both}, {rate}"))
    return [item for _, item in sorted(found)]


def _range(tree: Expression) -> tuple[float, float]:
    """The temperatures between which a rate is not zero."""
    low, high = -np.inf, np.inf
    while isinstance(tree, Call) and tree.function in (*_FROM, *_UP_TO):
        function, (limit, tree) = tree
        if isinstance(limit, Number) and function in _FROM:
            low = max(low, limit.value)
        elif isinstance(limit, Number):
            high = min(high, limit.value)
    return low, high


def _split(network: Any) -> list[range]:
    """The reactions that one was split into, as `split` does it: its equation, by turns a pool."""
    pools = network.structure.pool_of
    same = list(zip(network.equations, network.sources, strict=True))
    found, first = [], 0
    for j in range(1, len(same) + 1):
        if j == len(same) or same[j] != same[first] or pools[j] in pools[first:j]:
            found.append(range(first, j))
            first = j
    return [run for run in found if len(run) > 1]


def _terms(network: Any, run: range) -> str:
    pools = [(*network.pool_names, "none")[p] for p in network.structure.pool_of[run]]
    return (
        f"reactions {run[0]} to {run[-1]} {network.equations[run[0]]!r} are one, "
        f"times {', '.join(pools)}"
    )
