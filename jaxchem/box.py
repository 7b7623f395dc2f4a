"""Open boxes: networks whose species are emitted, deposited, diluted, imposed or held."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jax.core import Tracer

from .expression import Expression, Name, call
from .network import Network, Reaction, Units, sides
from .rates import AVOGADRO, BOLTZMANN, CONDITIONS

__all__ = ["constrain", "exchange", "hold", "mixing_ratio", "number_density"]

_IMPOSED = "No reference: exchange of the box with its surroundings, given by its user."


def exchange(
    network: Network,
    *,
    emissions: Iterable[str] = (),
    deposition: Iterable[str] = (),
    dilution: bool = False,
    background: Iterable[str] = (),
) -> Network:
    """The network of a box that exchanges species with its surroundings.

    The added reactions come last. Their rates are quantities that
    ``network.rates(quantities={...})`` takes, each a number or a function of time, in the
    network's units:

    - ``EMIS.X``, emission of X: concentration per time (flux / mixing height);
    - ``DEP.X``, deposition of X: per time (deposition velocity / mixing height);
    - ``DILUTION``: the share of the box that is replaced by air from outside, per time (for a
      growing mixed layer of height h: dh/dt / h);
    - ``BACKGROUND.X``: the concentration of X in that air.

    What is exchanged is not conserved, so its elements leave `balanced`.

    Args:
        network: the reactions inside.
        emissions: species that are emitted.
        deposition: species that are deposited.
        dilution: whether every species that is not fixed is diluted.
        background: species that the air from outside contains.

    Raises:
        ValueError: an unknown or a fixed species; a background without dilution; a quantity that
            the network has already.

    Example:
        >>> box = exchange(network, emissions=["NO"], deposition=["O3"], dilution=True)
        >>> k = box.rates(quantities={"EMIS.NO": 1e6, "DEP.O3": 5e-6, "DILUTION": 1e-5})
    """
    emitted, deposited = _chosen(network, emissions), _chosen(network, deposition)
    outside = _chosen(network, background)
    for name in (*emitted, *deposited, *outside):
        if name in network.fixed:
            raise ValueError(
                f"{name!r} is fixed in network {network.name!r}: nothing changes it, so it can be "
                "neither emitted, deposited nor diluted."
            )
    if outside and not dilution:
        raise ValueError("a background is what dilution brings in; give dilution=True with it.")
    diluted = [n for n in network.species if dilution and n not in network.fixed]
    mixing = Name("DILUTION")

    def made(name: str, rate: Expression, kind: str) -> Reaction:
        return Reaction({}, {name: 1.0}, rate, f"exchange, {kind}")

    def lost(name: str, rate: Expression, kind: str) -> Reaction:
        return Reaction({name: 1}, {}, rate, f"exchange, {kind}")

    added = [made(n, Name(f"EMIS.{n}"), "emission") for n in emitted]
    added += [lost(n, Name(f"DEP.{n}"), "deposition") for n in deposited]
    added += [lost(n, mixing, "dilution") for n in diluted]
    added += [made(n, call("*", mixing, Name(f"BACKGROUND.{n}")), "background") for n in outside]
    if not added:
        return network
    parts = _parts(network)
    for quantity in (
        *(f"EMIS.{n}" for n in emitted),
        *(f"DEP.{n}" for n in deposited),
        *(["DILUTION"] if diluted else []),
        *(f"BACKGROUND.{n}" for n in outside),
    ):
        _new_quantity(parts, quantity)
    parts["reactions"] += added
    parts["references"].setdefault("exchange", _IMPOSED)
    _open(parts, (*emitted, *deposited, *diluted))
    return Network.build(**parts)


def constrain(network: Network, species: Iterable[str]) -> Network:
    """The network with these species taken out of the state and imposed from outside.

    Each becomes a quantity of its own name, a concentration that multiplies the rate of every
    reaction that consumes it, once for each molecule; ``rates(quantities={"O3": measured})``
    gives it, as a number or as a function of time. Where it is made, it vanishes. Every reaction
    keeps its place, also one that is left without species. Constrained species leave families and
    the proposed initial state, and their elements leave `balanced`.

    Args:
        network: the reactions.
        species: which species are imposed; they may be fixed ones.

    Raises:
        ValueError: an unknown species; a member of a pool; a species whose name the rates use for
            something else; nothing left to integrate.
    """
    chosen = set(_chosen(network, species))
    if not chosen:
        return network
    parts = _parts(network)
    for name in sorted(chosen):
        for pool, members in parts["pools"].items():
            if name in members:
                raise ValueError(
                    f"{name!r} cannot be constrained: it is a member of the pool {pool!r}, which "
                    f"sums concentrations of the state. Leave it free, or use hold(network, "
                    f"[{name!r}]) for a constant concentration."
                )
        _new_quantity(parts, name)
    if len(chosen) == len(network.species):
        raise ValueError(f"network {network.name!r}: all species are constrained; leave one free.")

    def imposed(reaction: Reaction, rate: Expression) -> Reaction:
        for name, count in reaction.reactants.items():
            for _ in range(count if name in chosen else 0):
                rate = call("*", rate, Name(name))
        return reaction._replace(
            reactants=_without(reaction.reactants, chosen),
            products=_without(reaction.products, chosen),
            rate=rate,
        )

    parts["reactions"] = list(map(imposed, parts["reactions"], network.expressions()))
    _open(parts, chosen)
    for part in ("species", "initial"):
        parts[part] = _without(parts[part], chosen)
    parts["fixed"] = [n for n in parts["fixed"] if n not in chosen]
    families = {f: _without(members, chosen) for f, members in parts["families"].items()}
    parts["families"] = {f: members for f, members in families.items() if members}
    return Network.build(**parts)


def hold(network: Network, species: Iterable[str]) -> Network:
    """The network with these species fixed: they stay in the state, and nothing changes them.

    Args:
        network: the reactions.
        species: which species are held.

    Raises:
        ValueError: an unknown species.
    """
    parts = _parts(network)
    parts["fixed"] = {*network.fixed, *_chosen(network, species)}
    return Network.build(**parts)


def number_density(
    mixing_ratios: Mapping[str, Any], *, temperature: Any, pressure: Any, units: Units
) -> dict[str, Any]:
    """Concentrations from mole fractions, by the ideal gas law n = x p / (k T).

    Args:
        mixing_ratios: species -> mole fraction (40 ppb is 40e-9).
        temperature: K.
        pressure: Pa.
        units: `network.units`, molecule cm-3 or mol m-3.

    Raises:
        ValueError: units that are no number density; a temperature or pressure that is not
            positive.
    """
    air = _air(temperature, pressure, units)
    return {name: ratio * air for name, ratio in mixing_ratios.items()}


def mixing_ratio(
    concentrations: Mapping[str, Any], *, temperature: Any, pressure: Any, units: Units
) -> dict[str, Any]:
    """Mole fractions from concentrations; the inverse of `number_density`, with its arguments.

    Raises:
        ValueError: as `number_density`.
    """
    air = _air(temperature, pressure, units)
    return {name: value / air for name, value in concentrations.items()}


def _air(temperature: Any, pressure: Any, units: Units) -> Any:
    """The concentration of all gas."""
    if units.per_mole is None:
        raise ValueError(
            f"{units.concentration!r} is no number density; mole fractions become one in a network "
            "in molecule cm-3 or mol m-3."
        )
    for name, value in (("temperature", temperature), ("pressure", pressure)):
        if not isinstance(value, Tracer) and not np.all(np.asarray(value) > 0):
            unit = CONDITIONS[name]
            raise ValueError(f"{name} is {value} {unit}; it must be positive.")
    return pressure / (AVOGADRO * BOLTZMANN * temperature) * units.per_mole


def _chosen(network: Network, species: Iterable[str]) -> list[str]:
    """The names, each once; one name may stand for itself."""
    chosen = list(dict.fromkeys([species] if isinstance(species, str) else species))
    for name in chosen:
        network.index(name)  # refuses an unknown one
    return chosen


def _without(of: Mapping[str, Any], species: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in of.items() if name not in species}


def _parts(network: Network) -> dict[str, Any]:
    """The arguments of `Network.build` that give this network again."""
    counts = [
        {e: int(c) for e, c in zip(network.elements, column, strict=True) if c}
        for column in network.composition.T
    ]
    return {
        "name": network.name,
        "title": network.title,
        "species": {
            name: None if name in network.undeclared else own
            for name, own in zip(network.species, counts, strict=True)
        },
        "reactions": [
            Reaction({n: int(c) for n, c in reactants.items()}, products, rate, source)
            for (reactants, products), rate, source in zip(
                map(sides, network.equations), network.expressions(), network.sources, strict=True
            )
        ],
        "units": network.units,
        "pools": {
            pool: {n: float(w) for n, w in zip(network.species, row, strict=True) if w}
            for pool, row in zip(network.pool_names, network.structure.pools, strict=True)
        },
        "balanced": list(network.balanced),
        "references": dict(network.references),
        "fixed": list(network.fixed),
        "quantities": dict(network.quantities),
        "defaults": dict(network.defaults),
        "initial": dict(network.initial),
        "supplied": dict(network.supplied),
        "families": {family: dict(members) for family, members in network.families},
    }


def _new_quantity(parts: dict[str, Any], name: str) -> None:
    """Adds a quantity that the user gives."""
    if name in parts["quantities"]:
        raise ValueError(
            f"the rates of network {parts['name']!r} name {name!r} already; give it its value by "
            f"rates(quantities={{{name!r}: ...}}) instead."
        )
    if name in (*parts["pools"], *CONDITIONS):
        raise ValueError(
            f"the rates of network {parts['name']!r} use the name {name!r} already; each quantity "
            "has a name of its own, so rename that one, or do not ask for the same twice."
        )
    parts["quantities"][name] = None


def _open(parts: dict[str, Any], species: Iterable[str]) -> None:
    """The elements of these species are balanced no more."""
    lost = {element for name in species for element in parts["species"][name] or ()}
    parts["balanced"] = [element for element in parts["balanced"] if element not in lost]
