"""What species are made of, told from outside of a mechanism, and what it leaves unwritten."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..brief import few
from ..formula import CHARGE, parse_formula
from ..suggest import closest
from .network import Network
from .structure import Structure

__all__ = ["closed", "declared"]


def declared(network: Network, composition: Mapping[str, Mapping[str, int] | None]) -> Network:
    """The network with the composition of its species, told by name.

    What every reaction conserves then counts as what the mechanism means to conserve, once all
    species are known.

    Args:
        network: of any mechanism, such as the MCM's, whose files name species by codes.
        composition: species -> element counts; of others than the network's nothing is taken, and
            species that are not in it stay as they are.
    """
    known = dict(zip(network.species, network.composition.T, strict=True))
    counts: dict[str, Mapping[str, float]] = {
        name: dict(zip(network.elements, column, strict=True)) for name, column in known.items()
    }
    counts |= {name: told for name, told in composition.items() if name in known and told}
    found = {e for told in counts.values() for e, count in told.items() if count}
    elements = (*sorted(found - {CHARGE}), *(found & {CHARGE}))
    rows = [[float(counts[n].get(e, 0.0)) for n in network.species] for e in elements]
    matrix = np.array(rows).reshape(len(elements), len(known))
    still = tuple(n for n in network.undeclared if not composition.get(n))
    drift = np.abs(matrix @ network.structure.stoichiometry).max(axis=1, initial=0.0)
    balanced = [] if still else [e for e, d in zip(elements, drift, strict=True) if d < 1e-9]
    return dataclasses.replace(
        network,
        elements=elements,
        balanced=tuple(balanced),
        undeclared=still,
        structure=_with(network.structure, composition=matrix),
    )


def closed(network: Network, element: str, species: str) -> Network:
    """The network with a species as a product wherever an element is lost.

    The MCM writes no CO2: an acyl radical that loses it leaves a carbon less.

    Args:
        network: all of whose species that react are declared.
        element: such as C.
        species: with one atom of it in its formula; it is added if the network has it not.

    Raises:
        ValueError: a formula without one atom of the element, species of unknown composition, or a
            reaction that makes more of the element than it takes.
    """
    made_of = parse_formula(species) or {}
    if made_of.get(element) != 1:
        raise ValueError(f"{species!r} has no one atom of {element}; close it with such a species.")
    if network.undeclared:
        raise ValueError(
            f"network {network.name!r}: what reactions lose of {element} is not known, since the "
            f"composition of {few(network.undeclared)} is not; declare it."
        )
    if element not in network.elements:
        hint = closest(element, network.elements) or "."
        raise ValueError(f"network {network.name!r} has no {element}{hint}")
    if species not in network.species:
        size = len(network.species)
        old = network.structure
        reactants = np.where(old.reactants == size, size + 1, old.reactants)  # the padding
        structure = _with(
            old,
            reactants=reactants.astype(old.reactants.dtype),
            stoichiometry=sp.vstack([old.stoichiometry, sp.csr_array((1, len(network.equations)))]),
            pools=np.append(old.pools, np.zeros((len(old.pools), 1)), 1),
            composition=np.append(old.composition, np.zeros((len(old.composition), 1)), 1),
        )
        network = dataclasses.replace(
            network, species=(*network.species, species), structure=structure
        )
        network = declared(network, {species: made_of})
    change = network.structure.stoichiometry
    lost = -(network.composition[network.elements.index(element)] @ change)
    if np.any(lost < -1e-9):
        worst = int(np.argmin(lost))
        raise ValueError(
            f"network {network.name!r}: reaction {network.equations[worst]!r} makes "
            f"{-lost[worst]:g} more {element} than it takes; declare the right composition."
        )
    made = sp.coo_array(np.where(lost > 1e-9, lost, 0.0)[None])
    row = np.full(made.nnz, network.species.index(species))
    more = sp.csr_array((made.data, (row, made.col)), shape=change.shape)
    equations = tuple(
        _ended(equation, n, species) if n > 1e-9 else equation
        for equation, n in zip(network.equations, lost, strict=True)
    )
    structure = _with(network.structure, stoichiometry=change + more)
    network = dataclasses.replace(network, equations=equations, structure=structure)
    return declared(network, {})


def _ended(equation: str, count: float, species: str) -> str:
    """The equation with a further product."""
    left, arrow, right = equation.partition("->")
    product = species if count == 1 else f"{count:g} {species}"
    return f"{left}{arrow} {' + '.join(filter(None, (right.strip(), product)))}"


def _with(structure: Structure, **arrays: Any) -> Structure:
    parts = {n: getattr(structure, n) for n in inspect.signature(Structure).parameters}
    return Structure(**{**parts, **arrays})
