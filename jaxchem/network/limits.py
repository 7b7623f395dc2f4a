"""Coefficients under conditions, as many as can be evaluated, and how fast a reaction can be."""

import graphlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..brief import few
from ..formula import CHARGE, parse_formula
from ..rates import NAMED, Conditions, Quantities, RateLaw, reads
from ..rates.conditions import ALL

try:
    from jax import enable_x64
except ImportError:  # of older versions
    from jax.experimental import enable_x64  # pyright: ignore[reportAttributeAccessIssue]

__all__ = ["BRIEFEST", "ENCOUNTERS", "LONGEST", "Coefficients", "too_fast"]

TEMPERATURE, PRESSURE = 298.15, 101325.0
"""K and Pa, where neither the mechanism nor the user says them."""

BRIEFEST = 1e-12
"""s; nothing falls apart in less. A molecule vibrates in 1e-14 to 1e-13 s, and the frequency factor
k_B T / h of a reaction without a barrier is 6e12 s-1 at 298 K."""

ENCOUNTERS = (1e-8, 1e-6, 1e-4)
"""cm3 s-1; no two meet more often. Each is what is fastest, with a margin.

- Neutrals: hard spheres, pi d^2 sqrt(8 k_B T / (pi mu)), are 2e-9 for a hydrogen atom and a
  molecule with d = 0.5 nm at 298 K, and 5e-10 for two molecules of 30 g mol-1 (Finlayson-Pitts and
  Pitts 2000, Chemistry of the Upper and Lower Atmosphere, chapter 5).
- With an ion: Langevin's 2 pi e sqrt(alpha / mu) is 1e-9 to 5e-9; dipoles in the cold make it 1e-7
  (Woon and Herbst 2009, doi:10.1088/0067-0049/185/2/273).
- Ions of both signs, or an electron: recombination is 1e-7 to 1e-6 at 300 K, that of clusters 1e-5,
  and goes as T^-0.5 or faster (Florescu-Mitchell and Mitchell 2006,
  doi:10.1016/j.physrep.2006.04.002).
"""

LONGEST = 1e-8
"""s; no two keep together for longer until a third meets them. A coefficient of order n + 1 is at
most one of order n times this and `ENCOUNTERS`: 1e-24 cm6 s-1 for three neutrals, where small
molecules have 1e-34 to 1e-28, and 1e-16 with an electron, where two electrons and an ion have 1e-19
at 300 K and more in the cold (Mansbach and Keck 1969, doi:10.1103/PhysRev.181.275)."""

_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("yr", "year", "years"), 3.15576e7),
}

_DUST = frozenset(("dust_to_gas", "gas_to_dust"))


class Coefficients(NamedTuple):
    """Of a network, as many as the conditions allow.

    Attributes:
        k: coefficients in the network's units, 0 where they are not known.
        known: whether all that they need is given.
        dusty: whether they depend on how much dust there is.
        notes: under what conditions they are, how many are not known, and what those need.
    """

    k: Float[np.ndarray, " R"]
    known: Bool[np.ndarray, " R"]
    dusty: Bool[np.ndarray, " R"]
    notes: list[str]

    @classmethod
    def of(cls, network: Any, given: Conditions) -> "Coefficients":
        """Temperature and pressure are assumed where nothing says them.

        Args:
            network: the reactions.
            given: what the user and the mechanism say; functions of time count at its start.
        """
        assumed = {} if "temperature" in given else {"temperature": TEMPERATURE}
        if network.units.per_mole and "density" not in given and "pressure" not in given:
            assumed["pressure"] = PRESSURE
        start = dict(network.defaults).get("start", 0.0)
        given = Conditions(**given.values, **assumed).at(start)
        size = len(network.equations)
        k, known, dusty = np.zeros(size), np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
        used: set[str] = set()
        wanting: Counter[str] = Counter()
        with enable_x64(True), np.errstate(all="ignore"):
            totals = _totals(network)
            there = {*given.values, *given.named, *totals}
            there |= {*network.user_quantities} if ALL in given.named else set()
            lookup = Quantities(dict(network.quantities), given, network.units.per_mole, totals)
            leaves = _leaves(network, given)
            for law in network.laws:
                always = set().union(*(leaves[name] for name in reads(law.form)))
                rows = zip(*law.names, strict=True) if law.names else [()] * len(law.reactions)
                for j, row in zip(law.reactions, rows, strict=True):
                    names = always.union(*(leaves[name] for name in row))
                    known[j], dusty[j] = names <= there, not names.isdisjoint(_DUST)
                    used |= names
                    wanting.update(names - there)
                places = np.array(law.reactions)
                keep = known[places]
                k[places[keep]] = _values(law, np.flatnonzero(keep), lookup)
        told = [
            f"{name}={value:g}" + " (assumed)" * (name in assumed)
            for name, value in given.values.items()
            if name in used and name not in NAMED
        ]
        notes = [f"Coefficients at {', '.join(told)}."] if told else []
        if not used.isdisjoint(totals):
            notes.append("Coefficients that read concentrations are those of the initial state.")
        if left := int(np.sum(~known)):
            names = few([name for name, _ in wanting.most_common()])
            notes.append(f"Not evaluated: {left} of {size} coefficients, which need {names}.")
        unit, time = network.units
        if time not in _SECONDS:
            notes.append(f"Not compared with limits: coefficients, as time is in {time}.")
        elif not network.units.per_molecule:
            notes.append(f"Not compared with limits: coefficients of order 2 and more, of {unit}.")
        return cls(k, known, dusty, notes)


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
    found = [np.zeros(0)]
    for first in range(0, len(of), _BLOCK):
        some = np.resize(of[first : first + _BLOCK], _BLOCK)
        names = tuple(tuple(column[n] for n in some) for column in law.names)
        block = RateLaw(tuple(some.tolist()), law.form, names, law.numbers[:, some])
        values = block(lambda name: np.asarray(lookup(name)))
        found.append(np.asarray(values)[: len(of) - first])
    return np.concatenate(found)


def too_fast(network: Any, found: Coefficients) -> list[tuple[int, str]]:
    """Reactions whose coefficient is above the limit of their order and charges, each with why.

    Meetings with grains, and what depends on how much dust there is, have no limit.

    Args:
        network: the reactions.
        found: their coefficients.
    """
    units, structure = network.units, network.structure
    if units.time not in _SECONDS:
        return []
    reactants = structure.reactants
    order = np.sum(reactants < len(network.species), axis=1)
    order += structure.pool_of < len(network.pool_names)
    charge, electron, grain = (np.append(of, 0)[reactants] for of in _kinds(network))
    both = electron.any(axis=1) | (charge.min(axis=1) < 0) & (charge.max(axis=1) > 0)
    encounters = np.array(ENCOUNTERS)[np.where(both, 2, charge.any(axis=1))]
    limit = encounters * (encounters * LONGEST) ** np.maximum(order - 2.0, 0.0)
    limit[found.dusty | grain.any(axis=1) | (order == 0)] = np.inf
    limit[order == 1] = 1.0 / BRIEFEST
    scale = np.where(order < 2, 1.0, (units.per_molecule or np.nan) ** np.maximum(order - 1.0, 0.0))
    k = np.where(np.isfinite(found.k), found.k, 0.0) * scale / _SECONDS[units.time]
    return [
        (int(j), f"has {k[j]:.3g} {unit}s-1, above {limit[j]:.0e}")
        for j in np.flatnonzero(k > limit)
        for unit in [f"cm{3 * (order[j] - 1)} " if order[j] > 1 else ""]
    ]


def _kinds(network: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[S] each: the charge, by the name where the composition is not known; electrons; grains.

    What has no atoms and is no electron is a grain, or stands for anything.
    """
    names, unknown = network.species, np.isin(network.species, network.undeclared)
    signs = np.array([n.endswith("+") - int(n.endswith("-")) for n in names], dtype=float)
    electron = np.array([parse_formula(n) == {CHARGE: -1} for n in names])
    atoms = np.array([e != CHARGE for e in network.elements], dtype=bool)
    charge = network.composition[~atoms].sum(axis=0)
    grain = ~network.composition[atoms].any(axis=0) & ~electron & ~unknown
    return np.where(unknown, signs, charge), electron, grain
