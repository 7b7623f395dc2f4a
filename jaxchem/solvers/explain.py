"""Where a solve stands, and which reactions drive it: for failures, and for the curious."""

from typing import Any

import diffrax
import jax.numpy as jnp
import numpy as np

from ..budget.accounting import account
from ..kinetics import flux
from ..network import Network

__all__ = ["explain"]


def explain(network: Network, k: Any, solution: diffrax.Solution, *, limit: int = 5) -> str:
    """Says in words how one solve ended, and what changes fastest there.

    Args:
        network: the reactions.
        k: the rate coefficients [R] of the solve.
        solution: of `jaxchem.solve(..., throw=False)`, one member of a batch.
        limit: how many species and reactions are named.

    Returns:
        A few lines: the result, the time and the number of steps; coefficients and concentrations
        that are not finite or are negative; the species whose concentrations change fastest in
        proportion, each with the reactions that contribute most.
    """
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
    k = np.asarray(k)
    for j in np.flatnonzero(~np.isfinite(k))[:limit]:
        lines.append(f"rate coefficient of reaction {j}, {network.equations[j]}: {k[j]}")
    for i in np.flatnonzero(~np.isfinite(y) | (y < 0))[:limit]:
        lines.append(f"concentration of {network.species[i]}: {y[i]:.3g} {unit.concentration}")
    rates = np.asarray(flux(network, jnp.asarray(k), jnp.asarray(y)))
    rates = np.where(np.isfinite(rates), rates, 0.0)
    floor = 1e-30 * np.max(np.abs(y), initial=0.0, where=np.isfinite(y)) + np.finfo(float).tiny
    pace = np.abs(network.stoichiometry @ rates) / (np.abs(y) + floor)
    for i in np.argsort(-pace)[:limit]:
        if not pace[i] > 0:
            break
        budget = account(network, rates, y, network.species[i])
        most = sorted((*budget.producing, *budget.consuming), key=lambda c: -abs(c.rate))[:limit]
        parts = [f"{c.equation} ({c.rate:+.3g})" for c in most if c.rate]
        lines.append(
            f"{network.species[i]} = {y[i]:.3g} {unit.concentration} changes by a factor e in "
            f"{1 / pace[i]:.3g} {unit.time}: {', '.join(parts)}"
        )
    return "\n".join(lines)


def _result(solution: diffrax.Solution) -> str:
    if bool(diffrax.is_successful(solution.result)):
        return "Solved."
    return diffrax.RESULTS[solution.result]
