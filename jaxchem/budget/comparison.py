"""How two networks differ: species, reactions and rate coefficients."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..network import Network, sides

__all__ = ["Comparison", "RateDifference", "compare"]

_Key = tuple[frozenset, frozenset, str]  # what reacts, what is made, the pool


class RateDifference(NamedTuple):
    """A reaction of both networks whose coefficients differ.

    Attributes:
        equation: the reaction, as the first network writes it.
        reactions: its indices in the first network.
        others: its indices in the other network.
        k: its coefficient in the first network, summed where it is written more than once.
        other_k: that in the other network, in units of the first.
    """

    equation: str
    reactions: tuple[int, ...]
    others: tuple[int, ...]
    k: float
    other_k: float

    @property
    def relative(self) -> float:
        """The difference over the larger of both; infinite where one of them is no number."""
        top = max(abs(self.k), abs(self.other_k))
        difference = abs(self.k - self.other_k) / top if top else 0.0
        return difference if np.isfinite(difference) else np.inf


class Comparison(NamedTuple):
    """What two networks do not share; `str()` tells it in words.

    Attributes:
        names: of both networks, told apart where they have one name.
        species: those that only the first has, and those that only the other has.
        reactions: the same for reactions, as (index, equation).
        rates: reactions of both whose coefficients differ, those that differ most first; `None`
            where no conditions were given.
        pools: pools of both in which species of both have different weights.
    """

    names: tuple[str, str]
    species: tuple[tuple[str, ...], tuple[str, ...]]
    reactions: tuple[tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]]
    rates: tuple[RateDifference, ...] | None
    pools: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.table()

    def table(self, limit: int = 20) -> str:
        """The comparison as text, at most `limit` lines of each kind."""
        lines: list[str] = []

        def add(title: str, rows: list[str]) -> None:
            if rows:
                lines.extend([f"{title} ({len(rows)})", *(f"  {row}" for row in rows[:limit])])
            if len(rows) > limit:
                lines.append(f"  and {len(rows) - limit} more")

        for name, found in zip(self.names, self.species, strict=True):
            add(f"species only in {name}", list(found))
        for name, written in zip(self.names, self.reactions, strict=True):
            add(f"reactions only in {name}", [f"[{j}] {equation}" for j, equation in written])
        add("pools whose weights differ", list(self.pools))
        add(
            f"rate coefficients that differ, {self.names[0]} and {self.names[1]}",
            [f"{d.k:.4e} {d.other_k:.4e}  {d.equation}" for d in self.rates or ()],
        )
        return "\n".join(lines) or f"{self.names[0]} and {self.names[1]} do not differ."


def compare(
    one: Network,
    other: Network,
    conditions: Mapping[str, Any] | None = None,
    other_conditions: Mapping[str, Any] | None = None,
    *,
    tolerance: float = 1e-6,
) -> Comparison:
    """Finds what two networks do not share.

    Reactions are the same where the same molecules react and are made, in whatever order they are
    written, and the same pool multiplies the rate. A reaction that is written more than once
    counts once, with the sum of its coefficients, which is all that kinetics knows of them.

    Args:
        one: a network.
        other: another one.
        conditions: of `one.rates`; coefficients are compared only where these are given.
        other_conditions: of `other.rates`; those of `one` if `None`.
        tolerance: relative difference of coefficients that passes for none.

    Raises:
        ValueError: as `Network.rates`; conditions that vary in time; units that cannot be
            converted into one another.
    """
    found, others = _reactions(one), _reactions(other)
    rates = None
    if conditions is not None:
        k = _coefficients(one, conditions)
        other_k = _coefficients(
            other, conditions if other_conditions is None else other_conditions
        ) * _conversion(one, other)
        differences = [
            RateDifference(
                one.equations[js[0]],
                tuple(js),
                tuple(others[key]),
                float(k[js].sum()),
                float(other_k[others[key]].sum()),
            )
            for key, js in found.items()
            if key in others
        ]
        differing = [d for d in differences if d.relative > tolerance]
        rates = tuple(sorted(differing, key=lambda d: -d.relative))
    names = (one.name, other.name)
    if one.name == other.name:
        names = (f"{one.name} (first)", f"{one.name} (second)")
    return Comparison(
        names=names,
        species=(_without(one.species, other.species), _without(other.species, one.species)),
        reactions=(_only(one, found, others), _only(other, others, found)),
        rates=rates,
        pools=_unequal(one, other),
    )


def _without(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    others = set(known)
    return tuple(n for n in names if n not in others)


def _unequal(one: Network, other: Network) -> tuple[str, ...]:
    """Pools of both in which a species of both counts differently, if it counts in both."""
    shared = [n for n in one.species if n in other.species]
    rows, others = (
        dict(zip(n.pool_names, n.structure.pools[:, [n.index(s) for s in shared]], strict=True))
        for n in (one, other)
    )
    return tuple(
        name
        for name, row in rows.items()
        if name in others and np.any((row * others[name] != 0) & (row != others[name]))
    )


def _only(
    network: Network, found: dict[_Key, list[int]], others: dict[_Key, list[int]]
) -> tuple[tuple[int, str], ...]:
    """The reactions of `found` that `others` lacks, with the pool if they have one."""
    left = [(j, key[2]) for key, js in found.items() if key not in others for j in js]
    return tuple(
        (j, network.equations[j] + (f" (times {pool})" if pool else "")) for j, pool in sorted(left)
    )


def _reactions(network: Network) -> dict[_Key, list[int]]:
    """Reactions by what they do: the indices of those that do the same."""
    found: dict[_Key, list[int]] = {}
    pools = (*network.pool_names, "")
    for j, equation in enumerate(network.equations):
        reactants, products = (
            frozenset((n, float(f"{count:.9g}")) for n, count in side.items() if count)
            for side in sides(equation)
        )
        pool = pools[network.structure.pool_of[j]]
        found.setdefault((reactants, products, pool), []).append(j)
    return found


def _coefficients(network: Network, conditions: Mapping[str, Any]) -> np.ndarray:
    k = network.rates(**conditions)
    if callable(k):
        raise ValueError(
            f"network {network.name!r}: coefficients are compared at one time; give numbers for "
            "the conditions and quantities that are functions of it."
        )
    return np.asarray(k)


def _conversion(one: Network, other: Network) -> np.ndarray | float:
    """What the coefficients [R] of `other` are to be multiplied with to have the units of `one`."""
    units, others = one.units, other.units
    if units == others:
        return 1.0
    if units.time != others.time or not (units.per_mole and others.per_mole):
        raise ValueError(
            f"coefficients of {one.name!r} are in {', '.join(units)} and those of {other.name!r} "
            f"in {', '.join(others)}; compare them without conditions."
        )
    structure = other.structure
    molecules = (structure.reactants < len(other.species)).sum(axis=1)
    order = molecules + (structure.pool_of < len(other.pool_names))
    return (units.per_mole / others.per_mole) ** (1.0 - order)
