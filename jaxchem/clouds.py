"""Interstellar gas: a cloud through time, and where clouds of any density come to rest."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from . import plot
from .dataset import label_phases, label_thermal, to_dataset
from .models.base import hands_on
from .network import Network
from .simulate import Part, Simulation
from .solvers import Integrator, solve, thermal_equilibrium
from .thermal import Cloud, Light
from .thermal.constants import HOTTEST
from .train import Job

__all__ = ["Start", "begin", "evolve", "gather", "moments"]

YEAR = 365 * 86400.0
"""s, as KROME has it"""


class Start(NamedTuple):
    """Gas to begin with.

    Attributes:
        cloud: what it is.
        y0: [S + 1] its state.
        ts: [T] times to look at it, s.
    """

    cloud: Cloud
    y0: Float[np.ndarray, " S+1"]
    ts: Float[np.ndarray, " T"]


def gather(
    network: Network,
    *,
    conditions: Mapping[str, float] | None = None,
    metal_table: str | None = None,
    spectrum: str | None = None,
    cross_sections: Mapping[str, str] | None = None,
    smooth: float = 0.0,
) -> Cloud:
    """The equations of settings.

    Args:
        network: such as `ism_molecular`.
        conditions: of `thermal.Cloud`.
        metal_table: a file of `thermal.MetalLines`; `None` is the coarse one that ships.
        spectrum: a file of `thermal.Spectrum`; `None` is the light that the networks are of.
        cross_sections: files for `thermal.Light.of` by the name of their rate.
        smooth: width in ln T of what switches at a temperature.

    Raises:
        ValueError: as `thermal.Cloud`; cross sections without a spectrum.
    """
    if cross_sections and not spectrum:
        raise ValueError("cross_sections have no part without a spectrum; give both or neither.")
    light = None if spectrum is None else Light.of(spectrum, cross_sections)
    given: dict[str, Any] = dict(conditions or {})
    return Cloud(network, metals=metal_table, light=light, smooth=smooth, **given)


def moments(years: float, first: float, points: int) -> Float[np.ndarray, " T"]:
    """Times in s, from the first to the last of so many years logarithmically.

    Raises:
        ValueError: they do not go on, or are fewer than two.
    """
    if not (0 < first < years and points > 1):
        raise ValueError(f"first={first}, years={years}, points={points}: let 0 < first < years.")
    return YEAR * np.geomspace(first, years, points)


@hands_on(gather)
def begin(
    network: Network,
    *,
    temperature: float,
    densities: Mapping[str, float] | None = None,
    years: float = 1e6,
    first: float = 1.0,
    points: int = 241,
    **settings: Any,
) -> Start:
    """Gas of settings.

    Args:
        network: such as `ism_molecular`.
        temperature: at the start, K.
        densities: at the start, cm-3, by species; electrons make the gas neutral. `None` is what
            the network proposes.
        years: length, of 365 days.
        first: the first time after the start, years; the others follow logarithmically.
        points: times.
        **settings: of `gather`.

    Raises:
        ValueError: as `gather`, `moments` and `Cloud.y0`; a network that proposes nothing where
            no densities are given.
    """
    ts, cloud = moments(years, first, points), gather(network, **settings)
    found = dict(network.initial) if densities is None else densities
    if not found:
        raise ValueError(f"network {network.name!r} proposes no densities; give box.densities.")
    return Start(cloud, cloud.y0(found, temperature), ts)


@hands_on(begin)
def evolve(
    network: Network,
    integrator: Integrator,
    *,
    phases: Mapping[str, Any] | None = None,
    job: Job = Job("cloud"),
    **start: Any,
) -> Simulation:
    """Integrates the chemistry and the temperature of gas.

    Args:
        network: such as `ism_molecular`.
        integrator: without `atol` it takes 1e-20 cm-3.
        phases: also find where gas comes to rest: `density`, of hydrogen nuclei, as [first, last,
            number], and `uv_field`, a list; with further arguments of `thermal_equilibrium`.
        job: label.
        **start: as of `begin`.

    Raises:
        ValueError: as `begin` and `thermal_equilibrium`; gas that runs away, with what heats it.
    """
    made, y0, ts = begin(network, **start)
    if integrator.atol is None:
        integrator = integrator.replace(atol=1e-20)
    system = made.system
    advance = jax.jit(lambda y, ts: solve(system, y, ts, integrator=integrator, throw=False))
    before = time.monotonic()
    found = jax.block_until_ready(advance(jnp.asarray(y0), jnp.asarray(ts)))
    taken = time.monotonic() - before
    ys = np.asarray(found.ys)
    _check(made, ts, ys)
    trajectory = to_dataset(
        system,
        (ts, ys),
        y0=y0[None],
        conditions=made.conditions,
        provenance=f"jaxchem.clouds, {integrator.method}, rtol {integrator.rtol:g}",
    )
    budget = label_thermal(made, ts, ys)
    parts = {
        "abundances": Part(trajectory, plot.abundances, kept=False),
        "thermal": Part(budget, plot.thermal),
    }
    metrics = {"steps": float(found.stats["num_steps"]), "wall_s": taken}
    metrics |= {f"final/{n}": float(v) for n, v in zip(system.states, ys[-1], strict=True)}
    if phases is not None:
        parts["phases"] = Part(_phases(made, **phases), plot.phases)
        metrics["settled"] = float(parts["phases"].dataset["settled"].mean())
    return Simulation(trajectory, parts, metrics, _report(made, ts, ys, budget))


def _phases(cloud: Cloud, density: Sequence[float], uv_field: Any, **more: Any) -> Any:
    """Gas at rest over a grid of densities and fields."""
    low, high, number = density
    grid = np.geomspace(low, high, int(number))
    fields = np.atleast_1d(np.asarray(uv_field, float))

    @jax.jit
    def rest(grid: Any, fields: Any) -> Any:
        return thermal_equilibrium(cloud, grid[:, None], uv_field=fields, **more)

    found = rest(grid, fields)
    return label_phases(cloud.network, grid, fields, found.y, found.settled)


def _check(cloud: Cloud, ts: Float[np.ndarray, " T"], ys: Float[np.ndarray, "T n"]) -> None:
    """Refuses gas that was not integrated, or that nothing cools."""
    good = np.isfinite(ys).all(axis=1)
    hot = good & (np.where(good, ys[:, -1], 0) > HOTTEST)
    if good.all() and not hot.any():
        return
    last = int(np.argmax(hot)) if hot.any() else max(int(np.argmin(good)) - 1, 0)
    heating, cooling = cloud.terms(jnp.asarray(ys[last]))
    first, second = (
        max(terms.items(), key=lambda item: float(item[1])) for terms in (heating, cooling)
    )
    what = f"runs away above {HOTTEST:g} K" if hot.any() else "could not be integrated further"
    raise ValueError(
        f"the gas {what}: at t = {ts[last]:.4g} s and T = {ys[last, -1]:.4g} K {first[0]} heats "
        f"with {float(first[1]):.3g} erg cm-3 s-1, while the most that cools is {second[0]} with "
        f"{float(second[1]):.3g}. Give it a coolant for that temperature (metallicity, a metal "
        "table, a process of your own), or raise solver.max_steps."
    )


def _report(
    cloud: Cloud, ts: Float[np.ndarray, " T"], ys: Float[np.ndarray, "T n"], budget: Any
) -> str:
    """What an astronomer would ask first, as Markdown."""
    network, system = cloud.network, cloud.system
    lines = [f"# {network.title or network.name}", ""]
    told = ", ".join(f"{name} {float(value):g}" for name, value in cloud.conditions.items())
    lines += [f"Conditions: {told}. {ts[-1] / YEAR:g} years of 365 days.", ""]
    lines += ["| state | first | lowest | highest | last |", "|---|---|---|---|---|"]
    for name, unit, column in zip(system.states, system.units, ys.T, strict=True):
        values = column[0], column.min(), column.max(), column[-1]
        lines.append(f"| {name} [{unit}] | {' | '.join(f'{v:.4e}' for v in values)} |")
    lines += ["", "| process at the end | erg cm-3 s-1 |", "|---|---|"]
    for kind in ("heating", "cooling"):
        for name in budget[f"{kind}_process"].values:
            value = float(budget[kind].sel({f"{kind}_process": name})[-1])
            lines.append(f"| {kind}: {name} | {value:.3e} |")
    return "\n".join(lines) + "\n"
