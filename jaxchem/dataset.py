"""Trajectories as labelled data: generation, files, and what of them is observed."""

import csv
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.integrate import solve_ivp
from tqdm import tqdm

from .checkpoint import atomic
from .formula import CHARGE
from .kinetics import jacobian, tendency
from .metrics import conservation_drift
from .network import Network
from .rates import CONDITIONS
from .solvers.integrator import default_atol

__all__ = ["Observations", "generate", "observe", "read", "sample", "to_dataset", "write"]

_MASSES = {"C": 12.0, "H": 1.00784, "O": 15.994914, "N": 14.003074, "S": 31.972071}


def to_dataset(
    network: Network,
    solution: Any,
    *,
    y0: Any = None,
    t0: float = 0.0,
    conditions: Mapping[str, Any] | None = None,
    provenance: str = "",
) -> xr.Dataset:
    """Labels trajectories with species, times, units, conditions and where they come from.

    Args:
        network: whose species they are.
        solution: anything with `.ts[T]` and `.ys[T, S]` (a `jaxchem.solve` result), or with a
            leading axis of cases on both or on `.ys` alone; or the pair `(ts, ys)`.
        y0: initial states [S] or [case, S]; `None` leaves them out.
        t0: time of the initial states.
        conditions: values that the run was made under; functions of time are named only.
        provenance: what made the trajectories.

    Returns:
        A dataset with `concentration(case, time, species)` and, if given, `initial(case,
        species)`; units, conditions and provenance as attributes.

    Raises:
        ValueError: shapes that do not fit the network.
    """
    ts, ys = solution if isinstance(solution, tuple) else (solution.ts, solution.ys)
    ts, ys = np.asarray(ts), np.asarray(ys)
    ys = ys[None] if ys.ndim == 2 else ys
    ts = ts[0] if ts.ndim == 2 else ts
    if ys.ndim != 3 or ys.shape[1:] != (len(ts), len(network.species)):
        raise ValueError(
            f"trajectories have shape {ys.shape}; network {network.name!r} and {len(ts)} times "
            f"want (case, {len(ts)}, {len(network.species)})."
        )
    unit = network.units.concentration
    values = {
        name: "function of time" if callable(value) else np.asarray(value).tolist()
        for name, value in (conditions or {}).items()
        if name in CONDITIONS
    }
    dataset = xr.Dataset(
        {"concentration": (("case", "time", "species"), ys, {"units": unit})},
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
    if y0 is not None:
        start = np.broadcast_to(np.asarray(y0), (len(ys), len(network.species)))
        dataset["initial"] = (("case", "species"), start, {"units": unit})
    return dataset


def sample(
    network: Network,
    initial: Mapping[str, Any],
    *,
    cases: int = 1,
    spread: float = 0.0,
    seed: int = 0,
) -> Float[np.ndarray, "case S"]:
    """Initial states: given ones, or one varied at random.

    Args:
        network: whose species `initial` names.
        initial: species -> concentration, or species -> list of one concentration a case.
        cases: how many states, where `initial` has single values; longer lists are cut.
        spread: each positive concentration is multiplied by a draw from U(1 - spread,
            1 + spread), independently in each case but the first, which stays as given.
        seed: of the draws.

    Raises:
        ValueError: an unknown species, a bad concentration, lists shorter than `cases`.
    """
    states = []
    for case in range(cases):
        values = {}
        for name, value in initial.items():
            if not isinstance(name, str):
                raise ValueError(
                    f"the initial state names a species {name!r}: YAML reads an unquoted NO as "
                    'false; write "NO".'
                )
            if isinstance(value, Sequence) and not isinstance(value, str):
                if len(value) < cases:
                    raise ValueError(
                        f"initial state gives {len(value)} values for {name!r}, but {cases} "
                        "cases are wanted; lower data.cases or add values."
                    )
                values[name] = float(value[case])
            else:
                values[name] = float(value)
        states.append(np.asarray(network.y0(values), dtype=np.float64))
    factors = np.random.default_rng(seed).uniform(1 - spread, 1 + spread, np.shape(states))
    factors[0] = 1.0
    return np.asarray(states) * factors


def times(
    *, start: float, stop: float, points: int, spacing: str = "linear", zero: bool = False
) -> Float[np.ndarray, " T"]:
    """Output times, linear or logarithmic.

    Args:
        start: the first time.
        stop: the last time.
        points: how many in between and including both.
        spacing: ``"linear"`` or ``"log"``.
        zero: put time 0 before a logarithmic grid.

    Raises:
        ValueError: an unknown spacing, or a range that the spacing cannot have.
    """
    if spacing not in ("linear", "log"):
        raise ValueError(f"unknown spacing {spacing!r}; known: linear, log.")
    if not stop > start or points < 2 or (spacing == "log" and start <= 0):
        raise ValueError(
            f"cannot space {points} points {spacing} from {start} to {stop}: stop must exceed "
            "start, log spacing needs start > 0, and two points are the least."
        )
    grid = np.linspace(start, stop, points)
    if spacing == "log":
        grid = np.geomspace(start, stop, points)
    return np.concatenate([[0.0], grid]) if zero else grid


def generate(
    network: Network,
    k: Any,
    y0: Float[np.ndarray, "case S"],
    ts: Float[np.ndarray, " T"],
    *,
    t0: float = 0.0,
    method: str = "Radau",
    rtol: float = 1e-10,
    atol: Any = None,
    conditions: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Reference trajectories from SciPy at tight tolerance, independent of `jaxchem.solve`.

    Args:
        network: the reactions.
        k: rate coefficients [R] or a function `(t, y) -> k[R]`.
        y0: one initial state a case.
        ts: output times.
        t0: time of the initial states.
        method: of `scipy.integrate.solve_ivp`; Radau (Hairer & Wanner 1996) by default.
        rtol: relative tolerance.
        atol: absolute tolerance, a number or [S]; `None` as for `Integrator`.
        conditions: written into the dataset.
        progress: show a bar.

    Raises:
        ValueError: a trajectory that SciPy could not integrate, with its case and reason.
    """

    def coefficients(t: Any, y: Any) -> Any:
        return k(t, y) if callable(k) else k

    right = jax.jit(lambda t, y: tendency(network, coefficients(t, y), y))
    slope = jax.jit(lambda t, y: jacobian(network, coefficients(t, y), y))
    slopes = {} if method in ("RK45", "RK23", "DOP853") else {"jac": _plain(slope)}
    results = []
    for case, start in enumerate(tqdm(y0, desc="truth", disable=None if progress else True)):
        tolerances = default_atol(jnp.asarray(start)) if atol is None else atol
        y, t, first = np.asarray(start, dtype=np.float64), float(t0), None
        states = []
        for stop in np.asarray(ts, dtype=np.float64):  # land on each output: no interpolation
            if stop > t:
                outcome = solve_ivp(
                    _plain(right),
                    (t, stop),
                    y,
                    method=method,
                    rtol=rtol,
                    atol=np.asarray(tolerances),
                    first_step=None if first is None else min(first, stop - t),
                    **slopes,
                )
                if not outcome.success:
                    raise ValueError(
                        f"reference trajectory {case} failed at t = {outcome.t[-1]:g}: "
                        f"{outcome.message}"
                    )
                y, t, first = outcome.y[:, -1], stop, np.max(np.diff(outcome.t)[-2:])
            states.append(y)
        results.append(states)
    tolerance = "default" if atol is None else f"{np.max(atol):g}"
    return to_dataset(
        network,
        (ts, np.asarray(results)),
        y0=y0,
        t0=t0,
        conditions=conditions,
        provenance=f"scipy.integrate.solve_ivp {method}, rtol {rtol:g}, atol {tolerance}",
    )


def _plain(function: Any) -> Any:
    return lambda t, y: np.asarray(function(t, y))


def label_estimate(
    dataset: xr.Dataset,
    network: Network,
    prediction: Any,
    *,
    k: Any = None,
    k_true: Any = None,
    deviation: Any = None,
) -> xr.Dataset:
    """A dataset with a model's prediction beside the truth, and estimated beside true rates.

    Args:
        dataset: the trajectories that were estimated from.
        network: their network.
        prediction: [case, time, species] from the model.
        k: [R] estimated rate coefficients.
        k_true: [R] the true ones.
        deviation: [R] standard deviation of the estimated ln k, 0 where it was given.

    Returns:
        `concentration` (predicted), `truth`, `drift(case, time, element)` of what the network
        balances and, by `reaction`, those of `k`, `k_true` and `deviation` that are given.
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
    for name, values in (("k", k), ("k_true", k_true), ("deviation", deviation)):
        if values is not None:
            result[name] = ("reaction", np.asarray(values))
            result = result.assign_coords(reaction=np.asarray(network.equations, dtype=object))
    return result


def label_history(history: Mapping[str, Any]) -> xr.Dataset:
    """The histories of a stage as a dataset over `step`."""
    return xr.Dataset({name: ("step", np.asarray(v)) for name, v in history.items()})


def read_history(path: str | Path) -> xr.Dataset:
    """Reads what `write` made of a `label_history`."""
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        return dataset.load()


def write(dataset: xr.Dataset, path: str | Path) -> None:
    """Writes a dataset as NetCDF-4, atomically; `ValueError` if the folder refuses it."""
    with atomic(path) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf")


def read(path: str | Path, network: Network, *, time_scale: float = 1.0) -> xr.Dataset:
    """Reads trajectories from a NetCDF, CSV or NPZ file and checks them against a network.

    NetCDF is what `write` makes. A CSV file is one case: a header of ``time`` and species names,
    then one row a time (a leading ``#`` is ignored). An NPZ file has `time` (or `time_s`),
    `species` and `concentration`, [T, S] or [case, T, S]. Species that the file lacks are zero.

    Args:
        path: the file.
        network: whose species the file's are; the result has its order.
        time_scale: multiplies the file's times into the network's unit.

    Raises:
        ValueError: a file that cannot be read; an unknown species; a negative, NaN or infinite
            concentration (with case, time and species); times that do not increase.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no data file {path}; give an existing .nc, .csv or .npz file.")
    readers = {".nc": _read_netcdf, ".csv": _read_csv, ".npz": _read_npz}
    if path.suffix not in readers:
        raise ValueError(f"{path}: cannot read {path.suffix!r} data; known: {', '.join(readers)}.")
    ts, species, values, initial, attrs = readers[path.suffix](path)
    ts = ts * time_scale
    if np.any(~np.isfinite(ts)) or np.any(np.diff(ts) <= 0):
        row = int(np.argmax(~(np.diff(ts, prepend=-np.inf) > 0)))
        raise ValueError(
            f"{path}: times must increase, but entry {row} is {ts[row]:g} after "
            f"{ts[max(row - 1, 0)]:g}; sort the rows and drop repeats."
        )
    columns = []
    for name in species:
        try:
            columns.append(network.index(name))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    bad = np.argwhere(~np.isfinite(values) | (values < 0))
    if len(bad):
        case, time, column = bad[0]
        raise ValueError(
            f"{path}: concentration of {species[column]!r} in case {case} at time {ts[time]:g} "
            f"is {values[case, time, column]}; it must be finite and not negative "
            f"({len(bad)} such values). Mend or drop them."
        )
    full = np.zeros((*values.shape[:2], len(network.species)))
    full[..., columns] = values
    if initial is None:
        initial, t0 = full[:, 0], float(ts[0])
    else:
        start = np.zeros((len(full), len(network.species)))
        start[:, columns] = initial
        initial, t0 = start, float(attrs.get("t0", 0.0)) * time_scale
    dataset = to_dataset(
        network, (ts, full), y0=initial, t0=t0, provenance=f"read from {path.name}"
    )
    kept = ("conditions", "provenance", "fingerprint", "configuration")
    dataset.attrs.update({name: attrs[name] for name in kept if attrs.get(name)})
    return dataset


_Content = tuple[np.ndarray, list[str], np.ndarray, np.ndarray | None, dict[str, Any]]


def _read_netcdf(path: Path) -> _Content:
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            dataset.load()
    except Exception as error:
        raise ValueError(f"{path}: not a readable NetCDF file ({error}).") from error
    if "concentration" not in dataset:
        raise ValueError(f"{path}: no variable 'concentration(case, time, species)'.")
    values = dataset["concentration"]
    if "case" not in values.dims:
        values = values.expand_dims("case")
    values = values.transpose("case", "time", "species")
    initial = dataset["initial"].values if "initial" in dataset else None
    names = [str(name) for name in dataset["species"].values]
    return dataset["time"].values.astype(float), names, values.values, initial, dict(dataset.attrs)


def _read_csv(path: Path) -> _Content:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    header = [name.strip().lstrip("#").strip() for name in rows[0]] if rows else []
    if len(rows) < 2 or header[:1] != ["time"]:
        raise ValueError(f"{path}, line 1: the header must read 'time' and then species names.")
    values = np.empty((len(rows) - 1, len(header)))
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {line}: {len(row)} values under {len(header)} column names."
            )
        for column, text in enumerate(row):
            try:
                values[line - 2, column] = float(text)
            except ValueError:
                raise ValueError(
                    f"{path}, line {line}: {text.strip()!r} in column {header[column]!r} is no "
                    "number."
                ) from None
    return values[:, 0], header[1:], values[None, :, 1:], None, {}


def _read_npz(path: Path) -> _Content:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        raise ValueError(f"{path}: not a readable NPZ file ({error}).") from error
    if "time_s" in arrays:
        arrays.setdefault("time", arrays["time_s"])
    for name in ("time", "species", "concentration"):
        if name not in arrays:
            raise ValueError(f"{path}: no array {name!r}; it has {', '.join(arrays)}.")
    values = arrays["concentration"]
    values = values[None] if values.ndim == 2 else values
    names = [str(name) for name in arrays["species"]]
    if values.ndim != 3 or values.shape[1:] != (len(arrays["time"]), len(names)):
        raise ValueError(
            f"{path}: concentration has shape {values.shape}, but there are "
            f"{len(arrays['time'])} times and {len(names)} species."
        )
    return arrays["time"].astype(float), names, values.astype(float), None, {}


class Observations(eqx.Module):
    """What an estimator sees: linear observations of trajectories at some times.

    Attributes:
        ts: [T] times of the observations.
        values: [case, T, O] observed values, in the network's concentration unit.
        operator: [O, S] maps a state to what is observed of it.
        y0: [case, S] initial states at `t0`, taken as known.
        t0: time of the initial states.
        labels: what each of the O observables is.
        noise: relative standard deviation of the observations, 0 for exact ones.
    """

    ts: Float[Array, " T"]
    values: Float[Array, "case T O"]
    operator: Float[Array, "O S"]
    y0: Float[Array, "case S"]
    t0: Float[Array, ""]
    labels: tuple[str, ...] = eqx.field(static=True)
    noise: float = eqx.field(static=True)

    def first(self, cases: int | None) -> "Observations":
        """The first so many cases; all if `None`. `ValueError` where there are fewer."""
        if cases is None:
            return self
        if not 1 <= cases <= len(self.y0):
            raise ValueError(f"{cases} cases are wanted, but {len(self.y0)} are observed.")
        kept = (self.values[:cases], self.y0[:cases])
        return eqx.tree_at(lambda d: (d.values, d.y0), self, kept)

    @property
    def states(self) -> Float[Array, "case T S"]:
        """The observed states, where every species is observed on its own.

        Raises:
            ValueError: sums or a part of the species are observed.
        """
        size = self.operator.shape[1]
        if self.operator.shape[0] != size or not np.array_equal(self.operator, np.eye(size)):
            raise ValueError(
                f"{len(self.labels)} combinations of {size} species are observed, but windows "
                "and derivatives need every species: use data.observe=all, or a stage that "
                "integrates from the initial state (infer, or trajectory with window=null)."
            )
        return self.values


def observe(
    dataset: xr.Dataset,
    network: Network,
    *,
    species: str | Sequence[str] = "all",
    cases: int | None = None,
    points: int | None = None,
    every: int = 1,
    noise: float = 0.0,
    repeats: int = 1,
    seed: int = 0,
) -> Observations:
    """What of a dataset is observed.

    Args:
        dataset: trajectories as `generate` or `read` give them.
        network: whose species they are.
        species: ``"all"``, a list of names, or ``"mass"``: sums over species of equal molecular
            mass (to 0.1 u), as a mass spectrometer sees them.
        cases: use the first so many cases.
        points: keep so many times, evenly spaced by index and including both ends.
        every: keep every so many-th time (before `points`).
        noise: multiply each value by (1 + noise)^N(0, 1).
        repeats: observe each case so often, with independent noise.
        seed: of the noise.

    Raises:
        ValueError: an unknown species, or too few times or cases.
    """
    chosen = dataset.isel(case=slice(cases), time=slice(None, None, every))
    if cases is not None and len(chosen["case"]) < cases:
        raise ValueError(f"data.cases is {cases}, but there are {dataset.sizes['case']} cases.")
    if points is not None:
        if not 1 < points <= chosen.sizes["time"]:
            raise ValueError(f"cannot keep {points} of {chosen.sizes['time']} times.")
        index = np.linspace(0, chosen.sizes["time"] - 1, points).astype(int)
        chosen = chosen.isel(time=index)
    operator, labels = _operator(network, species)
    values = np.repeat(chosen["concentration"].values, repeats, axis=0) @ operator.T
    draws = np.random.default_rng(seed).standard_normal(values.shape)
    return Observations(
        ts=jnp.asarray(chosen["time"].values, dtype=float),
        values=jnp.asarray(values * (1 + noise) ** draws, dtype=float),
        operator=jnp.asarray(operator, dtype=float),
        y0=jnp.asarray(np.repeat(chosen["initial"].values, repeats, axis=0), dtype=float),
        t0=jnp.asarray(dataset.attrs["t0"], dtype=float),
        labels=labels,
        noise=float(noise),
    )


def _operator(network: Network, species: str | Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    size = len(network.species)
    if species == "all":
        return np.eye(size), network.species
    if species == "mass":
        groups = _equal_masses(network)
    elif isinstance(species, str):
        raise ValueError(f"unknown observation {species!r}; write all, mass or a list of species.")
    else:
        groups = {name: [network.index(name)] for name in species}
    operator = np.zeros((len(groups), size))
    for row, members in enumerate(groups.values()):
        operator[row, members] = 1.0
    return operator, tuple(groups)


def _equal_masses(network: Network) -> dict[str, list[int]]:
    """Species by molecular mass; one of unknown mass is a group of its own."""
    groups: dict[str, list[int]] = {}
    rows = dict(zip(network.elements, network.composition, strict=True))
    known = set(rows) - {CHARGE} <= set(_MASSES)
    for i, name in enumerate(network.species):
        mass = sum(_MASSES[e] * row[i] for e, row in rows.items() if e in _MASSES) if known else 0
        label = f"m{mass:.1f}" if mass > 0 and name not in network.undeclared else name
        groups.setdefault(label, []).append(i)
    return groups
