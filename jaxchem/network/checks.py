"""What a chemist would want to know of a network before using it."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from .reaction import sides

if TYPE_CHECKING:
    from .network import Network

__all__ = ["check", "impossible", "unbalanced"]


def impossible(states: Float[np.ndarray, "*n S"], atol: Any = None) -> Bool[np.ndarray, "*n S"]:
    """Which entries no concentration can have: NaN, infinite or truly negative ones.

    Integrators leave a concentration below zero by about their absolute tolerance or by
    round-off, and what they give can be started from again: ten times `atol` below zero is a
    dip, and so is fifty times the round-off of the largest concentration of the state, 1e-14 of
    it in 64 bits. This one rule holds wherever states come in.

    Args:
        states: concentrations.
        atol: absolute tolerance, a number or [S], where there is one.
    """
    states = np.asarray(states)
    if not np.issubdtype(states.dtype, np.floating):
        states = states.astype(float)
    finite = np.isfinite(states)
    largest = np.max(states, axis=-1, keepdims=True, initial=0.0, where=finite)
    depth = 50 * np.finfo(states.dtype).eps * largest
    if atol is not None:
        depth = np.maximum(depth, 10 * np.asarray(atol))
    return ~finite | (states < -depth)


def check(network: "Network") -> list[str]:
    """Problems a chemist would want to know of, each as one sentence; empty if none.

    Unbalanced reactions (with the elements), duplicates (the same equation, and rates that
    differ in numbers alone), quantities that the user has to give, species without a declared
    composition, species that no reaction consumes (sinks) or that no reaction touches.
    """
    problems = list(unbalanced(network).values())
    if users := network.user_quantities:
        listed = ", ".join(map(repr, users))
        problems.append(f"user rates: to be given to rates(), as they are not defined: {listed}.")
    seen: dict[tuple, int] = {}
    forms = {}
    for law in network.laws:
        rows = zip(*law.names, strict=True) if law.names else [()] * len(law.reactions)
        forms |= {j: (law.form, row) for j, row in zip(law.reactions, rows, strict=True)}
    for j, equation in enumerate(network.equations):
        terms = (tuple(sorted(s.strip().split(" + "))) for s in equation.split("->"))
        key = (*terms, forms[j], int(network.structure.pool_of[j]))
        if key in seen:
            problems.append(f"duplicate: reactions {seen[key]} and {j} are both {equation!r}.")
        seen.setdefault(key, j)
    if network.undeclared:
        shown = ", ".join(network.undeclared[:20])
        more = f" and {len(network.undeclared) - 20} more" if len(network.undeclared) > 20 else ""
        problems.append(f"undeclared: no known composition of {shown}{more}.")
    for i, name in enumerate(network.species):
        if name in network.fixed:
            continue
        consumed = np.any(network.structure.reactants == i)
        if not consumed:
            made = np.any(network.stoichiometry[i] > 0)
            kind = "sink: no reaction consumes" if made else "unused: no reaction touches"
            problems.append(f"{kind} species {name!r}.")
    return problems


def _changes(network: "Network") -> Float[np.ndarray, "S R"]:
    """The stoichiometry, fixed species counted as if they were not."""
    if not network.fixed:
        return network.stoichiometry
    changes = network.stoichiometry.copy()
    for j, equation in enumerate(network.equations):
        reactants, products = sides(equation)
        for name in network.fixed:
            change = products.get(name, 0.0) - reactants.get(name, 0.0)
            changes[network.species.index(name), j] = change
    return changes


def unbalanced(network: "Network") -> dict[int, str]:
    """Reaction index -> sentence for each reaction that creates or destroys an element.

    Reactions that involve a species of undeclared composition are passed over.
    """
    changes = _changes(network)
    excess = network.conserved @ changes
    known = ~np.isin(np.asarray(network.species), network.undeclared)
    problems = {}
    for j in np.flatnonzero((np.abs(excess) > 1e-9).any(axis=0)):
        if not np.all(known[np.flatnonzero(changes[:, j])]):
            continue
        parts = ", ".join(
            f"{e} {excess[i, j]:+g}" for i, e in enumerate(network.balanced) if excess[i, j]
        )
        problems[int(j)] = f"unbalanced: reaction {j} {network.equations[j]!r} changes {parts}."
    return problems
