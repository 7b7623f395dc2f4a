"""What a user's own observables are: amounts, as species are, or something else."""

from collections.abc import Mapping

import numpy as np

from ..expression import Expression, Name, Number, names, parse, rewrite, show
from ..network import Network
from ..rates import CONDITIONS
from ..suggest import closest

__all__ = ["amounts"]


def amounts(observables: Mapping[str, str], network: Network) -> dict[str, bool]:
    """Whether each observable is an amount: doubles, less its constant, with the species.

    Args:
        observables: name -> expression of species, of one another and of other names.
        network: whose species they are.

    Raises:
        ValueError: a name that means something else; what is no expression, names no species, or
            is defined by itself.
    """
    trees: dict[str, Expression] = {}
    for name, definition in observables.items():
        taken = name in network.species or name in CONDITIONS
        if taken or name in ("time", "experiment", "skip"):
            kind = "a species" if name in network.species else "a condition or a word of columns"
            raise ValueError(f"observables: {name!r} is the name of {kind}; call it otherwise.")
        try:
            trees[name] = parse(str(definition))
        except ValueError as error:
            raise ValueError(f"observables: {name!r}: {error}") from None
    return {name: _is_amount(name, tree, trees, network) for name, tree in trees.items()}


def _is_amount(
    name: str, tree: Expression, trees: Mapping[str, Expression], network: Network
) -> bool:
    for _ in range(len(trees) + 1):  # observables may name one another
        inner = {n for n in names(tree) if n in trees}
        if not inner:
            break
        tree = rewrite(tree, lambda p: trees.get(p.name, p) if isinstance(p, Name) else p)
    else:
        raise ValueError(f"observables: {name!r} is defined by itself; write it out.")
    used = sorted(set(names(tree)))
    species = [n for n in used if n in network.species]
    if not species:
        near = "".join(filter(None, (closest(n, network.species) for n in used[:1]))) or "."
        raise ValueError(f"observables: {name!r} = {show(tree)!r} names no species{near}")
    random = np.random.default_rng(0)

    def at(values: Mapping[str, float]) -> float:
        try:
            made = rewrite(tree, lambda p: Number(values[p.name]) if isinstance(p, Name) else p)
        except ValueError:
            return np.nan
        if not isinstance(made, Number):
            raise ValueError(f"observables: {name!r} = {show(tree)!r} is no arithmetic.")
        return made.value

    def doubles(zero: float) -> bool:
        for _ in range(4):
            values = {n: float(random.uniform(0.5, 2.0)) for n in used}
            zeros = {n: zero * v if n in species else v for n, v in values.items()}
            twice = {n: 2.0 * v if n in species else v for n, v in values.items()}
            base = 0.0 if zero else at(zeros)
            if not np.isclose(at(twice) - base, 2.0 * (at(values) - base), rtol=1e-9, atol=0.0):
                return False
        return True

    return doubles(1.0) or doubles(0.0)
