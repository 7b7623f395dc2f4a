"""Where a solve stands, and which reactions drive it: for failures, and for the curious."""

from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np

from ..budget.accounting import account
from ..kinetics import flux
from ..network import Network
from ..system import MISSING, System, unpack

__all__ = ["explain"]


def explain(
    network: Network | System, k: Any = MISSING, solution: Any = MISSING, *, limit: int = 5
) -> str:
    """Says in words how one solve ended, and what changes fastest there.

    Args:
        network: the reactions; or a `System`, behind which `k` is left out: ``explain(system,
            solution)``.
        k: the rate coefficients of the solve, or the function of them.
        solution: of `jaxchem.solve(..., throw=False)`, one member of a batch.
        limit: how many species and reactions are named.

    Returns:
        A few lines: the result, the time and the number of steps; coefficients and states that
        are not finite, and concentrations that are negative; the states that change fastest in
        proportion, each with the reactions that contribute most.
    """
    system, (solution,) = unpack("explain", network, k=k, solution=solution)
    network = system.network
    stats: dict[str, Any] = solution.stats
    if "end_state" in stats:
        time, y = float(stats["end_time"]), np.asarray(stats["end_state"])
    else:  # through diffrax: the last output that was reached
        ys, ts = np.asarray(solution.ys), np.asarray(solution.ts)
        reached = np.flatnonzero(np.isfinite(ys).all(axis=1))
        if not len(reached):
            return f"{_result(solution)} No output time was reached."
        time, y = float(ts[reached[-1]]), ys[reached[-1]]
    unit = network.units
    steps = f"{int(stats['num_accepted_steps'])} steps, {int(stats['num_rejected_steps'])} refused"
    lines = [f"{_result(solution)} At t = {time:g} {unit.time} after {steps}."]
    k = np.asarray(system.rates(jnp.asarray(time), jnp.asarray(y)))
    size = len(network.species)
    for j in np.flatnonzero(~np.isfinite(k))[:limit]:
        lines.append(f"rate coefficient of reaction {j}, {network.equations[j]}: {k[j]}")
    for i in np.flatnonzero(~np.isfinite(y) | ((y < 0) & (np.arange(len(y)) < size)))[:limit]:
        kind = "concentration of " if i < size else ""
        lines.append(f"{kind}{system.states[i]}: {y[i]:.3g} {system.units[i]}")
    rates = np.asarray(flux(network, jnp.asarray(k), jnp.asarray(y[:size])))
    rates = np.where(np.isfinite(rates), rates, 0.0)
    change = np.pad(network.structure.stoichiometry @ rates, (0, len(y) - size))
    others = np.zeros(len(y))
    if system.tendency is not None:
        others = np.asarray(system.tendency(jnp.asarray(time), jnp.asarray(y)))
        change = change + np.where(np.isfinite(others), others, 0.0)
    floor = 1e-30 * np.max(np.abs(y), initial=0.0, where=np.isfinite(y)) + np.finfo(float).tiny
    pace = np.abs(change) / (np.abs(y) + floor)
    for i in np.argsort(-pace)[:limit]:
        if not pace[i] > 0:
            break
        parts = []
        if i < size:
            budget = account(network, rates, y[:size], network.species[i])
            most = (*budget.producing, *budget.consuming)
            most = sorted(most, key=lambda c: -abs(c.rate))[:limit]
            parts = [f"{c.equation} ({c.rate:+.3g})" for c in most if c.rate]
        parts += [f"the tendency ({others[i]:+.3g})"] if others[i] else []
        lines.append(
            f"{system.states[i]} = {y[i]:.3g} {system.units[i]} changes by a factor e in "
            f"{1 / pace[i]:.3g} {unit.time}: {', '.join(parts)}"
        )
    return "\n".join(lines)


def _result(solution: diffrax.Solution) -> str:
    if bool(diffrax.is_successful(solution.result)):
        return "Solved."
    return diffrax.RESULTS[solution.result]
