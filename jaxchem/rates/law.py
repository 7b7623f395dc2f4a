"""Rate laws by name, and how a function becomes one."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["AVOGADRO", "BOLTZMANN", "LAWS", "Law", "law"]

BOLTZMANN = 1.380649e-23
"""J K-1 (CODATA 2018, exact)."""
AVOGADRO = 6.02214076e23
"""mol-1 (CODATA 2018, exact)."""


class Law(NamedTuple):
    """A function that rate expressions may call.

    Attributes:
        function: takes conditions and quantities first, by the names of `needs`, then
            `parameters`.
        needs: the conditions and quantities that it reads besides its parameters.
        parameters: what an expression gives it.
    """

    function: Callable[..., Any]
    needs: tuple[str, ...]
    parameters: tuple[str, ...]


LAWS: dict[str, Law] = {}
"""Every rate law by name; [`law`][jaxchem.rates.law] adds one."""


def law(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function a rate law: what stands before ``/`` are conditions, the rest parameters.

    Example:
        >>> @law
        ... def my_arrhenius(temperature, /, a, theta):
        ...     return a * jnp.exp(-theta / temperature)
    """
    found = inspect.signature(function).parameters.values()
    needs = tuple(p.name for p in found if p.kind is p.POSITIONAL_ONLY)
    parameters = tuple(p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD)
    LAWS[function.__name__] = Law(function, needs, parameters)
    return function
