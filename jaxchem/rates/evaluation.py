"""Rate coefficients of many reactions from their expressions.

Reactions whose expressions differ in numbers and names alone are evaluated together, as arrays.
Arithmetic on plain numbers is NumPy's, which has nothing to compile; that on arrays of JAX, and
what rate laws do within, is JAX's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..expression import Call, Expression, Name, Number, names
from ..suggest import closest
from .conditions import ALL, Conditions
from .law import AVOGADRO, BOLTZMANN, LAWS

__all__ = ["Quantities", "RateLaw", "evaluate", "library", "reads", "validate"]


def library(*values: Any) -> Any:
    """`numpy` or `jax.numpy`, as these values want it."""
    return jnp if any(isinstance(value, jax.Array) for value in values) else np


def _of(name: str) -> Callable[..., Any]:
    return lambda *values: getattr(library(*values), name)(*values)


_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "+": (2, lambda a, b: a + b),
    "-": (2, lambda a, b: a - b),
    "*": (2, lambda a, b: a * b),
    "/": (2, lambda a, b: a / b),
    "**": (2, lambda a, b: a**b),
    "neg": (1, lambda a: -a),
    "exp": (1, _of("exp")),
    "log": (1, _of("log")),
    "log10": (1, _of("log10")),
    "sqrt": (1, _of("sqrt")),
    "abs": (1, _of("abs")),
    "min": (2, _of("minimum")),
    "max": (2, _of("maximum")),
    "positive": (3, lambda x, a, b: library(x, a, b).where(x > 0, a, b)),
}
"""Arithmetic by name: how many arguments, and what it does."""


def validate(tree: Expression, known: set[str]) -> None:
    """Refuses a tree that calls what is no function or law, or names what is not `known`.

    Raises:
        ValueError: with the nearest known name, or the arguments that a law takes.
    """
    if isinstance(tree, Name) and tree.name not in known:
        hint = closest(tree.name, known)
        raise ValueError(f"the rate names {tree.name!r}, which is nothing that is declared{hint}")
    if not isinstance(tree, Call):
        return
    count = len(tree.arguments)
    if tree.function in LAWS:
        wanted = LAWS[tree.function].parameters
        if count != len(wanted):
            raise ValueError(f"{tree.function} takes ({', '.join(wanted)}), not {count} arguments")
    elif tree.function not in _FUNCTIONS:
        hint = closest(tree.function, (*LAWS, *_FUNCTIONS))
        raise ValueError(
            f"unknown rate law {tree.function!r}{hint} Known: {', '.join((*LAWS, *_FUNCTIONS))}"
        )
    elif count != _FUNCTIONS[tree.function][0]:
        raise ValueError(
            f"{tree.function} takes {_FUNCTIONS[tree.function][0]} arguments, not {count}"
        )
    for argument in tree.arguments:
        validate(argument, known)


def reads(tree: Any) -> set[str]:
    """The names that a tree depends on, those that its laws read included."""
    found = set(names(tree))
    trees = [tree]
    while trees:
        tree = trees.pop()
        if isinstance(tree, Call):
            trees += tree.arguments
            if tree.function in LAWS:
                found |= set(LAWS[tree.function].needs)
    return found


class _Slot(NamedTuple):
    """The place of a number (`kind` 0) or of a name (`kind` 1) in a form."""

    kind: int
    index: int


def _form(tree: Expression, numbers: list[float], found: list[str]) -> Any:
    """The tree with numbers and names taken out into the lists."""
    if isinstance(tree, Number):
        numbers.append(tree.value)
        return _Slot(0, len(numbers) - 1)
    if isinstance(tree, Name):
        if tree.name not in found:
            found.append(tree.name)
        return _Slot(1, found.index(tree.name))
    return Call(tree.function, tuple(_form(a, numbers, found) for a in tree.arguments))


def _fill(form: Any, numbers: Sequence[float], found: Sequence[str]) -> Expression:
    if isinstance(form, _Slot):
        return Name(found[form.index]) if form.kind else Number(float(numbers[form.index]))
    return Call(form.function, tuple(_fill(a, numbers, found) for a in form.arguments))


def evaluate(form: Any, slots: tuple[list[Any], list[Any]], lookup: Callable[[str], Any]) -> Any:
    """The value of a form of `RateLaw`.

    Args:
        form: an expression, numbers and names taken out.
        slots: what stands for its numbers, and what for its names, numbers or arrays.
        lookup: name of a condition or quantity that laws read -> its value.
    """
    known: dict[Any, Any] = {}

    def value(form: Any) -> Any:
        if isinstance(form, _Slot):
            return slots[form.kind][form.index]
        if form not in known:
            arguments = [value(a) for a in form.arguments]
            if form.function in LAWS:
                law = LAWS[form.function]
                given = (*map(lookup, law.needs), *arguments)
                found = law.function(*map(jnp.asarray, given))
                eager = isinstance(found, jax.Array) and not isinstance(found, Tracer)
                known[form] = np.asarray(found) if eager and library(*given) is np else found
            else:
                known[form] = _FUNCTIONS[form.function][1](*arguments)
        return known[form]

    with np.errstate(all="ignore"):  # as JAX has it
        return value(form)


class Quantities:
    """The values of everything that expressions name, worked out when it is first asked for.

    Args:
        definitions: quantities that the mechanism names; `None` where its user gives the value.
        conditions: none of them a function of time.
        unit: amount of `density` per mol m-3, for density and pressure from one another.
        totals: of pools that expressions name, at the present state.
    """

    def __init__(
        self,
        definitions: Mapping[str, Expression | None],
        conditions: Conditions,
        unit: float | None,
        totals: Mapping[str, Any] | None = None,
    ):
        self._definitions = definitions
        self._conditions = conditions
        self._unit = unit
        self._values: dict[str, Any] = dict(totals or {})

    def __call__(self, name: str) -> Any:
        """The value of a condition or quantity.

        Raises:
            KeyError: nothing gives it.
            ValueError: an array, where one value belongs.
        """
        waiting = [name]
        while waiting:  # what a definition names goes first, however deep that is
            first = waiting[-1]
            parts = [] if first in self._values else self._parts(first)
            if missing := [part for part in parts if part not in self._values]:
                waiting += missing
                continue
            waiting.pop()
            if first not in self._values:
                self._values[first] = self._scalar(first)
        return self._values[name]

    def _parts(self, name: str) -> set[str]:
        """What the definition of a name reads, where it is the definition that gives its value."""
        tree = None if name in self._conditions.named else self._definitions.get(name)
        return set() if tree is None else reads(tree)

    def _scalar(self, name: str) -> Any:
        value = self._find(name)
        if value is None or isinstance(value, str | bytes):
            raise ValueError(f"{name} is {value!r}; give a number, or a function of time.")
        # whatever is not plain is JAX's to take or refuse
        either = np if isinstance(value, int | float | np.ndarray | np.generic) else jnp
        value = either.asarray(value, dtype=jnp.result_type(float))
        if value.ndim:
            raise ValueError(
                f"{name} has shape {value.shape}; rates take one value a call, so "
                f"jax.vmap(lambda x: network.rates({name}=x)) takes many."
            )
        return value

    def _find(self, name: str) -> Any:
        given = self._conditions.named
        if name in given:
            return given[name]
        if (tree := self._definitions.get(name)) is not None:
            numbers: list[float] = []
            found: list[str] = []
            form = _form(tree, numbers, found)
            own = list(np.asarray(numbers, dtype=jnp.result_type(float)))
            return evaluate(form, (own, [self(n) for n in found]), self)
        if name in self._definitions and ALL in given:
            return given[ALL]
        if name in self._conditions:
            return self._conditions[name]
        gas = AVOGADRO * BOLTZMANN / self._unit if self._unit else None
        if name == "density" and gas and "pressure" in self._conditions:
            return self("pressure") / (gas * self("temperature"))
        if name == "pressure" and gas and "density" in self._conditions:
            return self("density") * gas * self("temperature")
        raise KeyError(name)


class RateLaw(eqx.Module):
    """The coefficients of n reactions whose expressions have one form.

    Numbers stay NumPy arrays until they are used, so a network loaded before 64-bit mode is
    switched on keeps its full precision.

    Attributes:
        reactions: the indices, in the network, of the n reactions.
        form: their expression, numbers and names taken out.
        names: for each name in the form, what it is in each reaction.
        numbers: the numbers in the form, one row each.
    """

    reactions: tuple[int, ...] = eqx.field(static=True)
    form: Any = eqx.field(static=True)
    names: tuple[tuple[str, ...], ...] = eqx.field(static=True)
    numbers: Float[np.ndarray, "p n"]

    @classmethod
    def group(cls, trees: Sequence[Expression]) -> tuple["RateLaw", ...]:
        """The laws of these expressions, one for each form, between them one for each tree."""
        groups: dict[Any, list[tuple[int, list[float], list[str]]]] = {}
        taken: dict[Expression, tuple[Any, list[float], list[str]]] = {}  # apart, each tree once
        for j, tree in enumerate(trees):
            if tree not in taken:
                numbers: list[float] = []
                found: list[str] = []
                taken[tree] = (_form(tree, numbers, found), numbers, found)
            form, own, named = taken[tree]
            groups.setdefault(form, []).append((j, own, named))
        return tuple(
            cls(
                tuple(j for j, _, _ in rows),
                form,
                tuple(zip(*(found for _, _, found in rows), strict=True)),
                np.array([numbers for _, numbers, _ in rows], dtype=np.float64).T,
            )
            for form, rows in groups.items()
        )

    def __call__(self, lookup: Callable[[str], Any]) -> Float[Array | np.ndarray, " n"]:
        """The coefficients of the reactions, in the network's units.

        Args:
            lookup: name of a condition or quantity -> its value.
        """
        values = []
        for column in self.names:
            unique = list(dict.fromkeys(column))
            if len(unique) == 1:
                values.append(lookup(unique[0]))
            else:
                place = {n: i for i, n in enumerate(unique)}
                index = np.array([place[n] for n in column])
                each = [lookup(n) for n in unique]
                either = library(*each)
                # one operation: an eager call compiles each for its shape
                values.append(either.take(either.stack(each), index, mode="clip"))
        dtype = jnp.result_type(float)
        numbers = [library(row).asarray(row, dtype=dtype) for row in self.numbers]
        result = evaluate(self.form, (numbers, values), lookup)
        return library(result).broadcast_to(result, (len(self.reactions),))

    def expressions(self) -> list[Expression]:
        """The expression of each of the reactions."""
        columns = list(zip(*self.names, strict=True)) or [()] * len(self.reactions)
        return [
            _fill(self.form, row, found)
            for row, found in zip(np.asarray(self.numbers).T, columns, strict=True)
        ]

    @property
    def reads(self) -> set[str]:
        """The names that the coefficients depend on."""
        return {name for column in self.names for name in column} | reads(self.form)
