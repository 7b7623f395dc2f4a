"""What can be estimated: rate coefficients, barriers, initial states, offsets, a time."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..network import Network
from ..suggest import closest

__all__ = ["NAMED", "Parameter", "declared", "named", "number", "reactions_of", "whole"]

SEARCHED = 1e8
"""A coefficient is looked for within this factor of where the search begins."""

NAMED = {
    "columns": "{header: time}",
    "observables": "{NOx: NO + NO2}",
    "conditions": "{temperature: 298.0}",
    "rates": "{k: R1}",
    "constants": "{c: 1.0}",
    "initial": "{A: 1.0}",
    "scales": "{A: estimated}",
    "offsets": "{A: estimated}",
    "reference": "{temperature: 298.0}",
    "noise": "{kind: log}",
}
"""Settings that are names with a value each, and how one looks."""


class Parameter(NamedTuple):
    """A number that is estimated, or given.

    The search moves `coordinate(value)`: the logarithm of what is positive by nature, and other
    values in units of `size`, so that a change of one is a large one for every parameter.

    Attributes:
        name: unique.
        kind: ``"rate"``, a coefficient at the reference conditions; ``"factor"``, on the
            mechanism's own laws; ``"barrier"``, Ea/R; ``"initial"``; ``"scale"``, ``"offset"``, of
            an observable; ``"start"``, the time from which on anything happens; ``"constant"``, of
            the observables' expressions.
        value: where the search begins, or what is given.
        unit: of the value.
        of: the reactions, the species, or the observables that it is of.
        ratios: of the coefficients of these reactions to the value.
        experiments: of which it is the initial state.
        free: whether it is estimated.
        log: whether it is estimated by its logarithm.
        size: of a large change of a value that is not.
        low: the lowest value.
        high: the highest.
        prior: standard deviation of what is known of it before, in the coordinate; infinite where
            nothing is.
        spread: starts lie as far as this from `value` in the coordinate.
    """

    name: str
    kind: str
    value: float
    unit: str
    of: tuple[int, ...] = ()
    ratios: tuple[float, ...] = ()
    experiments: tuple[int, ...] = ()
    free: bool = True
    log: bool = False
    size: float = 1.0
    low: float = -np.inf
    high: float = np.inf
    prior: float = np.inf
    spread: float = 1.0

    def coordinate(self, value: Any) -> Any:
        """Where a value lies for the search."""
        if self.log:
            with np.errstate(divide="ignore"):
                return np.log(value)
        return np.asarray(value) / self.size

    def back(self, x: Any) -> Any:
        """The value at a coordinate."""
        with np.errstate(over="ignore"):
            return np.exp(x) if self.log else np.asarray(x) * self.size


def reactions_of(network: Network, given: Any, where: str) -> tuple[int, ...]:
    """The reactions that a setting means: ``R3`` or ``k3`` (from 1), equations, or a list of these.

    Raises:
        ValueError: there is no such reaction, or an equation stands for several.
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        return tuple(j for one in given for j in reactions_of(network, one, where))
    text, count = str(given).strip(), len(network.equations)
    numbered = re.fullmatch(r"[Rk](\d+)", text)
    if numbered and 1 <= int(numbered[1]) <= count:
        return (int(numbered[1]) - 1,)
    found = [j for j, e in enumerate(network.equations) if e.split() == text.split()]
    if len(found) == 1:
        return (found[0],)
    if found:
        same = ", ".join(f"R{j + 1}" for j in found)
        raise ValueError(f"{where}: {text!r} is the equation of {same}; say which.")
    hint = closest(text, network.equations)
    raise ValueError(
        f"{where}: there is no reaction {text!r}{hint} Write R1 to R{count} (from 1, in the order "
        f"of network {network.name!r}) or an equation as it prints them."
    )


def declared(name: str, setting: Any, where: str, *, log: bool = False) -> dict[str, Any]:
    """What a setting says of a parameter: a number, ``"estimated"``, or its parts by name.

    ``value`` is where the search begins, ``given: true`` keeps it there, ``factor`` is a prior of
    the kind of evaluations (a standard deviation of ln k of ln f) or ``sd`` one of other values,
    ``low`` and ``high`` are bounds.

    Raises:
        ValueError: a part that there is not, or values that contradict each other.
    """
    if setting is None or setting is True or setting == "estimated":
        return {}
    if isinstance(setting, int | float | str):
        return {"value": number(setting, name, where), "free": False}
    if not isinstance(setting, Mapping):
        raise ValueError(
            f"{where}: {name} is {setting!r}; write a number, estimated, or its parts."
        )
    known = ("value", "given", "low", "high", "factor" if log else "sd")
    for part in setting:
        if part not in known:
            raise ValueError(
                f"{where}: {name} has no part {part!r}{closest(str(part), known)} "
                f"Known: {', '.join(known)}."
            )
    found: dict[str, Any] = {
        part: number(setting[part], f"{name}: {part}", where)
        for part in ("value", "low", "high")
        if setting.get(part) is not None
    }
    if setting.get("given") not in (None, True, False):
        raise ValueError(f"{where}: {name}: given is {setting['given']!r}; write true or false.")
    if setting.get("given"):
        if "value" not in found:
            raise ValueError(f"{where}: {name} is given, but not what it is; add value.")
        found["free"] = False
    if (factor := setting.get("factor")) is not None:
        if not number(factor, name, where) > 1:
            raise ValueError(f"{where}: {name} has factor {factor}; one above 1 is uncertain.")
        found["prior"] = float(np.log(number(factor, name, where)))
    if (deviation := setting.get("sd")) is not None:
        if not number(deviation, name, where) > 0 or "value" not in found:
            raise ValueError(f"{where}: {name}: an sd is positive, and about a value.")
        found["prior"] = number(deviation, name, where)  # in units of `size` later
    if found.get("low", -np.inf) >= found.get("high", np.inf):
        raise ValueError(f"{where}: {name} lies between {found['low']} and {found['high']}?")
    return found


def number(given: Any, name: str, where: str) -> float:
    """A setting as a finite number; YAML reads 1e-3 as text."""
    try:
        if isinstance(given, bool | np.bool_):
            raise TypeError
        value = float(given)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {name} is {given!r}, which is no number.") from None
    if not np.isfinite(value):
        raise ValueError(f"{where}: {name} is {given!r}; give a finite number.")
    return value


def whole(given: Any, name: str, where: str, least: int = 1) -> int:
    """A setting as a whole number that is not below the least."""
    fits = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not fits or given < least:
        raise ValueError(f"{where}: {name} is {given!r}; give a whole number, {least} or more.")
    return int(given)


def named(given: Any, name: str, where: str) -> None:
    """Refuses a setting, one of `NAMED`, that is there and is no names with a value each.

    Raises:
        ValueError: no mapping, or a name that is no text, as YAML reads NO without quotes.
    """
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{where}: {name} is {given!r}; write names with a value each, as "
            f"{name}: {NAMED[name]}."
        )
    for one in given:
        if not isinstance(one, str):
            raise ValueError(
                f"{where}: {name} has the name {one!r}; write names as text, in quotes in YAML."
            )
