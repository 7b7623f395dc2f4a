"""A network's rates and box integration as C."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..network import Network
from ..rates.conditions import CONDITIONS, NAMED, Conditions
from ..solvers import Integrator, native, solve
from ..solvers.integrator import METHODS, NEGATIVE, default_atol
from ..solvers.lowering import NotLowered
from ..solvers.program import Program as Rates
from ..solvers.program import lowered
from ..solvers.rosenbrock import Rosenbrock
from ..system import System
from . import kernel
from .c_program import HEAD, NotWrittenError, program
from .c_text import Constants, comment, identifier, table
from .folder import fill, named, room, units, wrapped

__all__ = ["by_name", "check_integrator", "write_network"]

_EXAMPLES = {
    **{"temperature": 280.0, "pressure": 9e4, "relative_humidity": 0.6, "solar_zenith_angle": 0.7},
    **{"density": 1e4, "cosmic_ray_rate": 1e-16, "local_time": 4e4, "visual_extinction": 2.0},
    **{"uv_field": 1.0, "metallicity": 1.0, "dust_to_gas": 1.0, "gas_to_dust": 1e12},
}
"""Where the self-test of a file is made, if nothing else is said."""

_RTOL = 1e-6
"""Of the self-test."""


def write_network(
    network: Network,
    folder: str | Path,
    *,
    name: str | None = None,
    conditions: Sequence[str] | None = None,
    given: Mapping[str, Any] | None = None,
    integrator: Integrator | None = None,
    example: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a network as C: its rate coefficients from conditions, and its box integration.

    NAME.c needs a C11 compiler with GCC's vectors (GCC, Clang, Intel's) and libm; NAME.h tells what
    is in it, NAME.f90 is a module of Fortran for it. The integration is that of `jaxchem.solve`
    with a Rosenbrock method, by the same source. Compiled with ``-DNAME_SELF_TEST`` the file is a
    program that compares itself with what this function stored in it.

    Args:
        network: the reactions.
        folder: is made where there is none.
        name: of the files and functions; `None` is the network's, as far as C can say it.
        conditions: what the host gives for each cell, by the names of `jaxchem.rates.CONDITIONS`
            or of quantities and photolysis rates of the mechanism; `None` is all that the rates
            need and `given` lacks. They count as constant while a box is integrated.
        given: conditions that never change, as for `network.rates`.
        integrator: method, `max_steps` and what becomes of negative concentrations.
        example: where the self-test is made: conditions by name, `y0` [S], and `dt`.

    Returns:
        The path of NAME.c.

    Raises:
        ValueError: conditions that the rates lack or that are functions of time, a rate that has
            no C, a method that is not Rosenbrock's, a name that C does not take, an example that
            cannot be integrated, or a folder that cannot be written to.
    """
    integrator = Integrator() if integrator is None else integrator
    name, given = identifier(network.name if name is None else name), dict(given or {})
    check_integrator(integrator)
    if Conditions(**given).varying:
        raise ValueError(
            "a condition in `given` is a function of time; name it in `conditions`, and let the "
            "host give its value for each dt."
        )
    if network.structure.reactants.shape[1] >= native.MOST_FACTORS:
        raise ValueError(
            f"network {network.name!r} has a reaction of {native.MOST_FACTORS} molecules or more, "
            "which the kernel does not take."
        )
    wanted = missing(network, given) if conditions is None else tuple(conditions)
    if twice := [n for n in wanted if wanted.count(n) > 1 or n in given]:
        raise ValueError(f"the condition {twice[0]!r} is given twice; name it once.")
    known = network._reads(network._given(given))[0]
    if {"density", "pressure"} & known:  # either is told by the other and the temperature
        known |= {"density", "pressure", "temperature"}
    if idle := [n for n in wanted if n not in known]:
        raise ValueError(
            f"the rates of network {network.name!r} do not depend on {idle[0]!r}; leave it out of "
            "the conditions."
        )
    kept: list[Rates | None] = [None]

    def rates(values: Any) -> tuple[Any]:
        k = by_name(network, given, wanted, values)
        if not callable(k):
            return (jnp.asarray(k, float),)
        # what does not depend on the state becomes numbers of the program that makes the rest
        kept[0], numbers = lowered(System(network, k))
        return (numbers,)

    constants, text = Constants(), network.name
    try:
        made = program("rates_1", rates, [(len(wanted),)], constants)
    except (NotWrittenError, NotLowered) as error:
        raise ValueError(
            f"the rates of network {text!r} cannot be written as C: {error}."
        ) from None
    (size, reactions), functions = network.stoichiometry.shape, kept[0]
    width = reactions if functions is None else functions.numbers
    tableau = METHODS[integrator.method].tableau  # pyright: ignore[reportAttributeAccessIssue]
    negative = NEGATIVE.index(integrator.negative)
    how = (integrator.max_steps, True, negative, functions, False)
    settings = native.Settings(network.structure, tableau, *how)
    told = [CONDITIONS.get(n, "a quantity or photolysis rate of the mechanism") for n in wanted]
    values = {
        "title": comment(f"{network.name}{f': {network.title}' if network.title else ''}"),
        **units(*network.units),
        **named("species", network.species),
        **named("condition", wanted),
        **named("unit", told),
        "conditions_told": wrapped(
            [
                f"condition {n + 1}: {comment(f'{c} [{u}]')}"
                for n, (c, u) in enumerate(zip(wanted, told, strict=True))
            ]
            + [f"always: {comment(f'{n} = {v}')}" for n, v in given.items()]
            or ["There are no conditions."]
        ),
        "rates_told": "rate coefficients"
        if functions is None
        else "numbers that coefficients are made of while the state changes",
        "flags": " ".join(kernel.FLAGS),
        "species": size,
        "reactions": reactions,
        "rates": width,
        "conditions": len(wanted),
        "species_room": room(size),
        "conditions_room": room(len(wanted)),
        "rows": kernel.ROWS,
        "head": HEAD,
        "kernel": kernel.source(),
        "tables": kernel.tables(settings, size),
        "programs": "\n".join([*constants.text, made.text]),
        "work": made.work,
        "rtol": _RTOL,
        "test": _test(network, given, wanted, integrator, example or {}, rates),
    }
    return fill("network", name, folder, values)


def check_integrator(integrator: Integrator) -> None:
    """Refuses what the compiled kernel does not do.

    Raises:
        ValueError: no Rosenbrock method, or retries.
    """
    if not issubclass(METHODS[integrator.method], Rosenbrock):
        known = ", ".join(n for n, m in METHODS.items() if issubclass(m, Rosenbrock))
        raise ValueError(f"method={integrator.method!r} has no C; take one of {known}.")
    if integrator.retries:
        raise ValueError("retries have no C; a host tells failed cells by their status.")


def missing(network: Network, given: Mapping[str, Any]) -> tuple[str, ...]:
    """The conditions and quantities that rates need besides these."""
    return tuple(network._reads(network._given(given))[1])


def by_name(network: Network, given: Mapping[str, Any], names: Sequence[str], values: Any) -> Any:
    """`network.rates` under given conditions and others that have these values.

    Raises:
        ValueError: as `Network.rates`.
    """
    found = dict(given)
    own = {n: v for n, v in zip(names, values, strict=True) if n not in CONDITIONS or n in NAMED}
    if own:
        found["quantities"] = {**found.get("quantities", {}), **own}
    plain = {n: v for n, v in zip(names, values, strict=True) if n not in own}
    return network.rates(**found, **plain)


def _test(
    network: Network,
    given: Mapping[str, Any],
    names: Sequence[str],
    integrator: Integrator,
    example: Mapping[str, Any],
    rates: Any,
) -> str:
    """Cells for the self-test, and what becomes of them."""
    example = dict(example)
    defaults = {**_EXAMPLES, **dict(network.defaults)}
    start, dt = example.pop("y0", None), example.pop("dt", None)
    if unknown := sorted(set(example) - set(names)):
        raise ValueError(f"the example gives {unknown[0]!r}, which is no condition of the file.")
    values = np.array([float(example.get(n, defaults.get(n, 1e-5))) for n in names])
    if start is None:
        start = (
            network.y0(dict(network.initial)) if network.initial else np.ones(len(network.species))
        )
    start = np.asarray(start, dtype=float)
    k = by_name(network, given, names, values)
    system = System(network, k)
    if dt is None:  # so that much happens, and not all
        slope = np.abs(np.asarray(system.field(jnp.zeros(()), jnp.asarray(start))))
        dt = 100 * float(np.max(start) / np.max(slope)) if np.max(slope) > 0 else 1.0
    steps = np.array([0.01, 1.0]) * float(dt)
    atol = np.full(start.shape, float(default_atol(jnp.asarray(start))))
    how = integrator.replace(rtol=_RTOL, atol=atol)
    told = "give another, as example={'y0': ..., 'dt': ...} with conditions by name."
    try:
        found = [
            solve(system, jnp.asarray(start), s[None], integrator=how, throw=False) for s in steps
        ]
    except ValueError as error:
        raise ValueError(f"the example of the self-test: {error} Or {told}") from None
    ends = np.concatenate([np.asarray(solution.ys) for solution in found])
    if not np.isfinite(ends).all():
        raise ValueError(f"the example of the self-test cannot be integrated; {told}")
    row = jax.jit(rates)(values)[0] if callable(k) else k
    each = {"conditions": values, "k": np.asarray(row), "y0": start}
    whole = {"dt": steps, "y": ends, "atol": atol}
    repeated = {n: np.tile(v, len(steps)) for n, v in each.items()}
    return "".join(table(f"test_{n}", v) for n, v in {**repeated, **whole}.items())
