"""What a mechanism is, as far as it can be told from the mechanism alone: `Network.check`."""

import graphlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..brief import few, table, text
from ..formula import CHARGE
from ..rates import NAMED, Conditions, Quantities, RateLaw, evaluate, reads
from ..rates.conditions import ALL
from .reaction import sides

try:
    from jax import enable_x64
except ImportError:  # of older versions
    from jax.experimental import enable_x64  # pyright: ignore[reportAttributeAccessIssue]

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
    "no coefficient": _Kind("coefficients that are negative or no number"),
    "too fast": _Kind("coefficients above what physics allows"),
    "duplicate": _Kind("reactions that are there twice, with rates that differ in numbers alone"),
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
        species, reaction = np.nonzero(network.stoichiometry)
        return cls(species, reaction, network.stoichiometry[species, reaction])


def examine(network: Any, given: Conditions) -> Report:
    """As `Network.check` has it, which names the network's own conditions and those given."""
    changes = _Changes.of(network)
    split = _split(network)
    k, evaluated, notes = _coefficients(network, given)
    groups = {
        "unbalanced": list(_unbalanced(network, changes).values()),
        "negative yield": _negative_yields(network, changes),
        "no coefficient": _impossible(network, k, evaluated, split),
        "too fast": _too_fast(network, np.where(evaluated & np.isfinite(k), k, 0.0)),
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
    return Report(title, groups, notes)


def _reaction(network: Any, j: Any) -> str:
    return f"reaction {j} {network.equations[j]!r}"


# Balance and structure


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
    found = {}
    for j in np.flatnonzero(wrong):
        parts = zip(network.balanced, excess[:, j], strict=True)
        told = ", ".join(f"{e} {change:+g}" for e, change in parts if abs(change) > 1e-9)
        found[int(j)] = f"{_reaction(network, j)} changes {told}"
    return found


def _negative_yields(network: Any, changes: _Changes) -> list[str]:
    rows, columns, amounts = changes
    reacting = np.sum(network.structure.reactants[columns] == rows[:, None], axis=1)
    return [
        f"{_reaction(network, columns[n])} takes away more {network.species[rows[n]]} than reacts"
        for n in np.flatnonzero(amounts < -reacting - 1e-9)
    ]


def _loose(network: Any, changes: _Changes) -> dict[str, list[str]]:
    """Species that have no source, no sink, or neither, by kind."""
    size = len(network.species)

    def among(places: Any) -> Bool[np.ndarray, " S"]:
        return np.bincount(np.ravel(places), minlength=size + 1)[:size] > 0

    made = among(changes.species[changes.change > 0])
    lost = among(changes.species[changes.change < 0])
    reacts = among(network.structure.reactants) | network.structure.pools.any(axis=0)
    held = np.isin(network.species, network.fixed)
    there = np.isin(network.species, [name for name, value in network.initial if value])
    kinds = {
        "no source": ~made & (lost | reacts) & ~held & ~there,
        "sink": made & ~lost & ~held,
        "unused": ~made & ~lost & ~reacts & ~held,
    }
    return {kind: [network.species[i] for i in np.flatnonzero(m)] for kind, m in kinds.items()}


def _duplicates(network: Any) -> list[str]:
    """Of one equation and pool, and of one rate but for its numbers."""
    forms = {}
    for n, law in enumerate(network.laws):
        rows = zip(*law.names, strict=True) if law.names else [()] * len(law.reactions)
        forms |= {j: (n, row) for j, row in zip(law.reactions, rows, strict=True)}
    seen: dict[tuple, int] = {}
    found = []
    for j, equation in enumerate(network.equations):
        terms = (tuple(sorted(s.strip().split(" + "))) for s in equation.split("->"))
        first = seen.setdefault((*terms, forms[j], int(network.structure.pool_of[j])), j)
        if first != j:
            found.append(f"reactions {first} and {j} are both {equation!r}")
    return found


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


# Coefficients

TEMPERATURE, PRESSURE = 298.15, 101325.0
"""K and Pa, where neither the mechanism nor the user says them."""

BRIEFEST = 1e-12
"""s; no molecule falls apart faster than it vibrates, and 1 / (k_B T / h) is 1.6e-13 s at 298 K."""

ENCOUNTERS = (1e-8, 1e-6, 1e-4)
"""cm3 s-1: no two meet more often. Each is the fastest that is known, with a margin.

Neutrals: hard spheres, pi d^2 sqrt(8 k_B T / (pi mu)), are 2e-9 for a hydrogen atom and a molecule
of d = 0.5 nm at 298 K, and 5e-10 for two molecules of 30 g mol-1 (Finlayson-Pitts and Pitts 2000,
Chemistry of the Upper and Lower Atmosphere, section 5.A). One that is charged: Langevin's
2 pi e sqrt(alpha / mu) is 1e-9 for molecules and 3e-7 for an electron, and a dipole in the cold
makes it 1e-7 (Woon and Herbst 2009, doi:10.1088/0067-0049/185/2/273). Opposite charges:
recombination with an electron is 1e-6 or less at 300 K, of clusters 1e-5, and goes as T^-0.5
(Florescu-Mitchell and Mitchell 2006, doi:10.1016/j.physrep.2006.04.002).
"""

LONGEST = 1e-8
"""s that two keep together until a third meets them: coefficients of order n + 1 are at most those
of order n times this and `ENCOUNTERS`. Small molecules keep 1e-13 to 1e-10 s."""

_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("yr", "year", "years"), 3.15576e7),
}


def _coefficients(
    network: Any, given: Conditions
) -> tuple[Float[np.ndarray, " R"], Bool[np.ndarray, " R"], list[str]]:
    """Coefficients, which of them are known under these conditions, and what to know of both."""
    assumed = {} if "temperature" in given else {"temperature": TEMPERATURE}
    if network.units.per_mole and "density" not in given and "pressure" not in given:
        assumed["pressure"] = PRESSURE
    start = dict(network.defaults).get("start", 0.0)
    given = Conditions(**assumed, **given.values).at(start)
    k, known = np.zeros(len(network.equations)), np.zeros(len(network.equations), dtype=bool)
    wanting: Counter[str] = Counter()
    used: set[str] = set()
    with enable_x64(True), np.errstate(all="ignore"):
        totals = _totals(network)
        lookup = Quantities(dict(network.quantities), given, network.units.per_mole, totals)
        leaves = _leaves(network, given)
        there = {*given.values, *given.named, *totals}
        if ALL in given.named:
            there |= {*network.user_quantities}
        for law in network.laws:
            common = set().union(*(leaves[name] for name in reads(law.form)))
            columns = [[leaves[name] for name in column] for column in law.names]
            found = [common.union(*row) for row in zip(*columns, strict=True)]
            for j, names in zip(law.reactions, found or [common] * len(law.reactions), strict=True):
                known[j] = names <= there
                wanting.update(names - there)
                used |= names & there
            places = np.array(law.reactions)
            keep = known[places]
            k[places[keep]] = _values(law, np.flatnonzero(keep), lookup)
    return k, known, _notes(network, given, assumed, used, wanting, int(np.sum(~known)))


def _totals(network: Any) -> dict[str, float]:
    """Of the pools, in the state that the mechanism proposes; none if it proposes none."""
    if not network.initial:
        return {}
    y = np.zeros(len(network.species))
    for name, value in network.initial:
        y[network.species.index(name)] = value
    return dict(zip(network.pool_names, (network.structure.pools @ y).tolist(), strict=True))


def _leaves(network: Any, given: Conditions) -> dict[str, frozenset[str]]:
    """By name of what coefficients read: the conditions, pools and user's quantities behind it."""
    parts = {
        name: reads(tree)
        for name, tree in network.quantities
        if tree is not None and name not in given.named
    }
    if network.units.per_mole:
        for one, other in (("density", "pressure"), ("pressure", "density")):
            if one not in given and other in given:
                parts.setdefault(one, {"temperature", other})
    graph = {name: set() for law in network.laws for name in law.reads} | parts
    leaves: dict[str, frozenset[str]] = {}
    for name in graphlib.TopologicalSorter(graph).static_order():
        own = (leaves[part] for part in parts.get(name, ()))
        leaves[name] = frozenset().union(*own) if name in parts else frozenset((name,))
    return leaves


_BLOCK = 512


def _values(law: RateLaw, of: Int[np.ndarray, " n"], lookup: Quantities) -> Float[np.ndarray, " n"]:
    """Coefficients of some of a law's reactions; in blocks, as each new shape is compiled anew."""
    columns = [[column[n] for n in of] for column in law.names]
    named = {name: float(lookup(name)) for column in columns for name in {*column}}
    names = [np.array([named[name] for name in column]) for column in columns]
    numbers = [row[of] for row in np.asarray(law.numbers)]
    found = [np.zeros(0)]
    for first in range(0, len(of), _BLOCK):
        slots = [
            [np.resize(row[first : first + _BLOCK], _BLOCK) for row in rows]
            for rows in (numbers, names)
        ]
        block = np.broadcast_to(evaluate(law.form, (slots[0], slots[1]), lookup), _BLOCK)
        found.append(block[: len(of) - first])
    return np.concatenate(found)


def _notes(
    network: Any,
    given: Conditions,
    assumed: Mapping[str, float],
    used: Collection[str],
    wanting: Mapping[str, int],
    left: int,
) -> list[str]:
    """Under which conditions coefficients were evaluated, how many were not, and why."""

    def listed(values: Mapping[str, Any]) -> str:
        return ", ".join(f"{n}={v:g}" for n, v in values.items() if n in used)

    notes = []
    own = {n: v for n, v in given.values.items() if n not in (*assumed, *NAMED)}
    if told := listed(own):
        notes.append(f"Coefficients at {told}.")
    if told := listed(assumed):
        notes.append(f"Coefficients at {told}, assumed; check({told}) says it.")
    if {*network.pool_names} & {*used}:
        notes.append("Coefficients that read concentrations are those of the initial state.")
    if left:
        names = sorted(wanting, key=lambda name: -wanting[name])
        notes.append(f"Not evaluated: {left} coefficients, which need {few(names)}.")
    if not network.units.per_molecule:
        unit = network.units.concentration
        notes.append(
            f"Not compared with limits: coefficients of second and higher order in {unit}."
        )
    return notes


def _impossible(
    network: Any,
    k: Float[np.ndarray, " R"],
    known: Bool[np.ndarray, " R"],
    split: Sequence[range],
) -> list[str]:
    """Coefficients that are negative or no number; of a term of a rate only the sum has a sign."""
    terms = np.zeros(len(k), dtype=bool)
    for run in split:
        terms[run.start : run.stop] = True
    wrong = known & (~np.isfinite(k) | (k < 0) & ~terms)
    return [f"{_reaction(network, j)} has {k[j]:.3g}" for j in np.flatnonzero(wrong)]


def _too_fast(network: Any, k: Float[np.ndarray, " R"]) -> list[str]:
    """Coefficients above the limit of their order, in cm3 and s."""
    seconds, unit = _SECONDS.get(network.units.time), network.units.per_molecule
    if seconds is None:
        return []
    structure = network.structure
    padded = np.append(_charges(network), 0.0)[structure.reactants]
    plus, minus = (padded > 0).any(axis=1), (padded < 0).any(axis=1)
    pooled = structure.pool_of < len(network.pool_names)
    order = np.sum(structure.reactants < len(network.species), axis=1) + pooled
    encounters = np.array(ENCOUNTERS)[plus.astype(int) + minus]
    with np.errstate(over="ignore"):
        limit = encounters * (encounters * LONGEST) ** np.maximum(order - 2.0, 0.0)
        limit = np.select([order == 0, order == 1], [np.inf, 1.0 / BRIEFEST], limit)
        scale = np.where(order < 2, 1.0, (unit or np.nan) ** (order - 1.0)) / seconds
        fast = np.flatnonzero(k * scale > limit)
    return [
        f"{_reaction(network, j)} has {k[j] * scale[j]:.3g} {_unit(order[j])}, above {limit[j]:.0e}"
        for j in fast
    ]


def _unit(order: int) -> str:
    return "s-1" if order == 1 else f"cm{3 * (order - 1)} s-1"


def _charges(network: Any) -> Float[np.ndarray, " S"]:
    """Of each species, by its name where its composition is not known."""
    told = np.array([n.endswith("+") - float(n.endswith("-")) for n in network.species])
    if CHARGE not in network.elements:
        return told
    known = network.composition[network.elements.index(CHARGE)]
    return np.where(np.isin(network.species, network.undeclared), told, known)
