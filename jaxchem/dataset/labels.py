"""Arrays to labelled datasets: names, units, conditions and provenance."""

import json
import logging
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from ..budget import Course
from ..checkpoint import digest
from ..metrics import conservation_drift
from ..network import Network
from ..parse import table
from ..rates import CONDITIONS
from ..system import System
from ..thermal import Cloud
from ..thermal.cloud import LINES

log = logging.getLogger("jaxchem")

__all__ = [
    "label_budget",
    "label_cells",
    "label_estimate",
    "label_history",
    "label_phases",
    "label_readings",
    "label_thermal",
    "laws",
    "to_dataset",
]


def to_dataset(
    network: Network | System,
    solution: Any,
    *,
    y0: Any = None,
    t0: float = 0.0,
    conditions: Mapping[str, Any] | None = None,
    provenance: str = "",
) -> xr.Dataset:
    """Labels trajectories with species, times, units, conditions and where they come from.

    Args:
        network: whose species they are; or a `System`, whose further states become variables of
            their own names.
        solution: anything with `.ts[T]` and `.ys[T, S]` (a `jaxchem.solve` result), or with a
            leading axis of cases on both or on `.ys` alone; or the pair `(ts, ys)`.
        y0: initial states [S] or [case, S]; `None` leaves them out.
        t0: time of the initial states.
        conditions: values that the run was made under; functions of time are named only.
        provenance: what made the trajectories.

    Returns:
        A dataset with `concentration(case, time, species)` and, if given, `initial(case,
        species)`; further states such as `temperature(case, time)`, those at the start being
        `initial_temperature(case)`; units, conditions and provenance as attributes.

    Raises:
        ValueError: shapes that do not fit the network, or a further state with the name of
            another variable.
    """
    ts, ys = solution if isinstance(solution, tuple) else (solution.ts, solution.ys)
    ts, ys = np.asarray(ts), np.asarray(ys)
    ys = ys[None] if ys.ndim == 2 else ys
    ts = ts[0] if ts.ndim == 2 else ts
    further = network.further if isinstance(network, System) else ()
    network = network.network if isinstance(network, System) else network
    species, states = len(network.species), len(network.species) + len(further)
    if ys.ndim != 3 or ys.shape[1:] != (len(ts), states):
        raise ValueError(
            f"trajectories have shape {ys.shape}; network {network.name!r} and {len(ts)} times "
            f"want (case, {len(ts)}, {states})."
        )
    unit = network.units.concentration
    values = {n: _plain(v) for n, v in (conditions or {}).items() if n in CONDITIONS}
    dataset = xr.Dataset(
        {"concentration": (("case", "time", "species"), ys[..., :species], {"units": unit})},
        coords={
            "case": np.arange(len(ys)),
            "time": ("time", ts, {"units": network.units.time}),
            "species": ("species", np.asarray(network.species, dtype=object)),
        },
        attrs={
            "network": network.name,
            "conditions": json.dumps(values),
            "provenance": provenance,
            "t0": float(t0),
            "jaxchem_version": metadata.version("jaxchem"),
        },
    )
    start = None
    if y0 is not None:
        start = np.array(np.broadcast_to(np.asarray(y0), (len(ys), states)))
        dataset["initial"] = (("case", "species"), start[:, :species], {"units": unit})
    for place, (name, its_unit) in enumerate(further, start=species):
        if name in dataset.variables:
            raise ValueError(
                f"the further state {name!r} has the name of another variable of a dataset; give "
                "it another one."
            )
        dataset[name] = (("case", "time"), ys[..., place], {"units": its_unit})
        if start is not None:
            dataset[f"initial_{name}"] = ("case", start[:, place], {"units": its_unit})
    return dataset


def laws(network: Network) -> str:
    """Tells a network with its rate laws from others.

    A dataset whose trajectories are of these laws has it as the attribute ``laws``.
    """
    return digest(table.dumps(network))


def label_cells(
    network: Network,
    ts: Float[np.ndarray, " T"],
    ys: Float[np.ndarray, "case T S"],
    y0: Float[np.ndarray, "case S"],
    conditions: Mapping[str, Any],
    *,
    t0: float,
    provenance: str,
) -> xr.Dataset:
    """Trajectories under conditions of their own: those that vary become `given(case, condition)`.

    Args:
        network: whose species they are.
        ts: output times.
        ys: states.
        y0: initial states.
        conditions: name -> one value a case, or what all have.
        t0: time of the initial states.
        provenance: what made them.
    """
    fixed = {name: value for name, value in conditions.items() if not np.ndim(value)}
    fixed |= {n: v[0] for n, v in conditions.items() if n not in fixed and np.ptp(v) == 0}
    about = {"t0": t0, "conditions": fixed, "provenance": provenance}
    dataset = to_dataset(network, (ts, ys), y0=y0, **about)
    varied = {name: values for name, values in conditions.items() if name not in fixed}
    if varied:
        dataset["given"] = (("case", "condition"), np.stack(list(varied.values()), axis=1))
        dataset = dataset.assign_coords(condition=np.asarray(list(varied), dtype=object))
    return dataset


def label_estimate(
    dataset: xr.Dataset,
    network: Network,
    prediction: Any,
    *,
    latents: Any = None,
    k: Any = None,
    k_true: Any = None,
    deviation: Any = None,
) -> xr.Dataset:
    """A dataset with a model's prediction beside the truth, and estimated beside true rates.

    Args:
        dataset: the trajectories that were estimated from.
        network: their network.
        prediction: [case, time, species] from the model.
        latents: [case, time, L] what the model goes through.
        k: [R] estimated rate coefficients.
        k_true: [R] the true ones.
        deviation: [R] standard deviation of the estimated ln k, 0 where it was given.

    Returns:
        `concentration` (predicted), `truth`, `drift(case, time, element)` of what the network
        balances, `latents` and, by `reaction`, those of `k`, `k_true` and `deviation` that are
        given.
    """
    truth = dataset["concentration"].values
    result = to_dataset(
        network,
        (dataset["time"].values, np.asarray(prediction)),
        y0=dataset["initial"].values,
        t0=dataset.attrs["t0"],
        provenance="predicted by the estimated model",
    )
    result.attrs["conditions"] = dataset.attrs["conditions"]
    result["truth"] = (("case", "time", "species"), truth, result["concentration"].attrs)
    drift = conservation_drift(
        jnp.asarray(network.conserved),
        jnp.asarray(prediction),
        jnp.asarray(result["initial"].values),
    )
    result["drift"] = (("case", "time", "element"), np.asarray(drift), {"units": "1"})
    result = result.assign_coords(element=np.asarray(network.balanced, dtype=object))
    if latents is not None:
        result["latents"] = (("case", "time", "latent"), np.asarray(latents))
    for name, values in (("k", k), ("k_true", k_true), ("deviation", deviation)):
        if values is not None:
            result[name] = ("reaction", np.asarray(values))
            result = result.assign_coords(reaction=np.asarray(network.equations, dtype=object))
    return result


def label_budget(network: Network, course: Course) -> xr.Dataset:
    """The budget of a species over time as a dataset.

    Args:
        network: whose reactions they are.
        course: of `jaxchem.budget.over_time`, of one trajectory.

    Returns:
        `contribution(time, reaction)`, the net change of the species by each reaction that
        changes it, losses negative; `index(reaction)` is its place in the network.
    """
    number = [*course.produced_by, *course.lost_by]
    rates = np.concatenate([np.asarray(course.production), -np.asarray(course.loss)], axis=1)
    return xr.Dataset(
        {"contribution": (("time", "reaction"), rates, {"units": course.units})},
        coords={
            "time": ("time", np.asarray(course.ts), {"units": network.units.time}),
            "reaction": np.array([network.equations[j] for j in number], dtype=object),
            "index": ("reaction", np.array(number, dtype=int)),
        },
        attrs={
            "network": network.name,
            "species": course.species,
            "jaxchem_version": metadata.version("jaxchem"),
        },
    )


def label_thermal(cloud: Cloud, ts: Any, ys: Any) -> xr.Dataset:
    """Heating and cooling by process against time.

    Args:
        cloud: whose processes they are.
        ts: [T] times.
        ys: [T, S + 1] states, as of its `system`.

    Returns:
        `heating(time, heating_process)` and `cooling(time, cooling_process)`, erg cm-3 s-1.
    """
    ys = jnp.asarray(ys)
    if told := cloud.beyond(ys):
        log.warning("%s", told)
    parts = jax.vmap(lambda y: jax.tree.map(lambda v: v + 0.0 * y[-1], cloud.terms(y)))(ys)
    dataset = xr.Dataset(coords={"time": ("time", np.asarray(ts), {"units": "s"})})
    for kind, terms in zip(("heating", "cooling"), parts, strict=True):
        process = f"{kind}_process"
        names = [*cloud.heating] if kind == "heating" else [*cloud.cooling, LINES]
        values = np.stack([np.asarray(terms[name]) for name in names], axis=1)
        dataset[kind] = (("time", process), values, {"units": "erg cm-3 s-1"})
        dataset = dataset.assign_coords({process: np.array(names, dtype=object)})
    return dataset


def label_phases(
    network: Network,
    density: Float[np.ndarray, " N"],
    uv_field: Float[np.ndarray, " F"],
    y: Float[Any, "N F S+1"],
    settled: Any,
) -> xr.Dataset:
    """Gas at rest over a grid of densities and fields.

    Args:
        network: its reactions.
        density: cm-3.
        uv_field: 1.
        y: densities, and the temperature.
        settled: [N, F] whether it is at rest.

    Returns:
        `temperature(density, uv_field)`, `concentration(density, uv_field, species)`, `settled`.
    """
    grid, y = ("density", "uv_field"), np.asarray(y)
    units = {"units": network.units.concentration}
    return xr.Dataset(
        {
            "temperature": (grid, y[..., -1], {"units": "K"}),
            "concentration": ((*grid, "species"), y[..., :-1], units),
            "settled": (grid, np.asarray(settled)),
        },
        coords={
            "density": ("density", np.asarray(density), units),
            "uv_field": np.asarray(uv_field),
            "species": np.asarray(network.species, dtype=object),
        },
        attrs={"network": network.name},
    )


def label_readings(*, time: Any, time_unit: str, parameter: Any, **columns: Any) -> xr.Dataset:
    """Readings with what was predicted of them, and the parameters that were estimated.

    Args:
        time: [N] of each reading.
        time_unit: of these.
        parameter: n names.
        **columns: by name; `estimate`, `low`, `high`, `begin`, `before`, `after` are [n], all
            others [N].
    """
    dataset = xr.Dataset(
        {"time": ("reading_number", np.asarray(time), {"units": time_unit})},
        coords={"parameter": np.array(parameter, dtype=object)},
    )
    own = ("estimate", "low", "high", "begin", "before", "after")
    for name, column in columns.items():
        of = "parameter" if name in own else "reading_number"
        dataset[name] = (of, np.asarray(column))
    return dataset


def label_history(history: Mapping[str, Any]) -> xr.Dataset:
    """The histories of a stage as a dataset over `step`."""
    return xr.Dataset({name: ("step", np.asarray(v)) for name, v in history.items()})


def _plain(value: Any) -> Any:
    """A condition as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    return "function of time" if callable(value) else np.asarray(value).tolist()
