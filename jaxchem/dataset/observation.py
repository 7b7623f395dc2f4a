"""What of a dataset is observed: species or sums of them, some times, noise."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from ..brief import few, safely, span, table, text
from ..formula import CHARGE
from ..network import Network, RateFunction
from .labels import laws

__all__ = ["Observations", "observe"]

_MASSES = {"C": 12.0, "H": 1.00784, "O": 15.994914, "N": 14.003074, "S": 31.972071}


class Observations(eqx.Module):
    """What an estimator sees: linear observations of trajectories at some times.

    Attributes:
        network: whose species the states are of.
        ts: [T] times of the observations.
        values: [case, T, O] observed values, in the network's concentration unit.
        operator: [O, S] maps a state to what is observed of it.
        y0: [case, S] initial states at `t0`, taken as known.
        t0: time of the initial states.
        conditions: [case, C] what each case was made under, where that varies.
        names: of the conditions.
        fixed: the conditions that all cases have, by name.
        labels: what each of the O observables is.
        noise: relative standard deviation of the observations, 0 for exact ones.
        own_laws: whether trajectories are known to be those of the network's own rate laws, so
            that estimates can be held against these.
        segments: so many consecutive cases are one course, each ending where the next begins.
    """

    network: Network
    ts: Float[Array, " T"]
    values: Float[Array, "case T O"]
    operator: Float[Array, "O S"]
    y0: Float[Array, "case S"]
    t0: Float[Array, ""]
    conditions: Float[Array, "case C"]
    names: tuple[str, ...] = eqx.field(static=True)
    fixed: dict[str, Any]
    labels: tuple[str, ...] = eqx.field(static=True)
    noise: float = eqx.field(static=True)
    segments: int = eqx.field(static=True, default=1)
    own_laws: bool = eqx.field(static=True, default=False)

    def __repr__(self) -> str:
        network, unit, time = safely(lambda: (self.network.name, *self.network.units), ("?",) * 3)
        made = [" ".join(part) for part in _spans(self.names, self.conditions)]
        fixed = safely(lambda: [f"{name} {span(v)}" for name, v in self.fixed.items()], ["?"])
        cases, times = safely(lambda: (len(self.y0), len(self.ts)), ("?", "?"))
        return text(
            (
                f"Observations of {network}",
                f"cases: {cases}",
                f"times ({times}, {time}): {span(self.ts)}, y0 at {span(self.t0)}",
                f"observed ({len(self.labels)}, {unit}): {few(self.labels)}",
                f"conditions: {few(made)}; of all cases: {few(fixed)}",
                f"relative noise: {span(self.noise)}",
            )
        )

    def _repr_html_(self) -> str:
        rows = _spans(self.labels, self.values)
        return table(repr(self), ("observed", "range"), rows[:50], len(rows) - 50)

    def first(self, cases: int | None) -> "Observations":
        """The first so many cases; all if `None`. `ValueError` where there are fewer."""
        if cases is None:
            return self
        if not 1 <= cases <= len(self.y0):
            raise ValueError(
                f"{cases} cases are wanted, but {len(self.y0)} are observed; lower the stage's "
                "setting cases, or set it to null (None) for all."
            )
        return self.chosen(slice(cases))

    def chosen(self, cases: Any) -> "Observations":
        """The cases of a slice, or of an array of their numbers; they are no longer in courses."""
        return dataclasses.replace(
            self,
            values=self.values[cases],
            y0=self.y0[cases],
            conditions=self.conditions[cases],
            segments=1,
        )

    def in_order(self, names: Sequence[str]) -> "Observations":
        """The same with these conditions, in this order; those that all cases share are values too.

        Raises:
            ValueError: one is not known, or one that varies is not among them.
        """
        numbers = {n: v for n, v in self.fixed.items() if isinstance(v, int | float)}
        if set(self.names) - set(names) or set(names) - {*self.names, *numbers}:
            raise ValueError(
                f"the data vary the conditions {', '.join(self.names) or '(none)'}, but "
                f"{', '.join(names) or '(none)'} are wanted; both must vary the same."
            )
        columns = [
            self.conditions[:, self.names.index(name)]
            if name in self.names
            else jnp.full(len(self.y0), float(numbers[name]))
            for name in names
        ]
        return dataclasses.replace(
            self,
            conditions=jnp.stack(columns, axis=1) if columns else self.conditions,
            names=tuple(names),
            fixed={n: v for n, v in self.fixed.items() if n not in names},
        )

    def rates(self, conditions: Float[Any, " C"]) -> Float[Array, " R"] | RateFunction:
        """What the network's own laws give under these values of `names`, and what is `fixed`.

        Raises:
            ValueError: the laws need other conditions, or such that no dataset holds.
        """
        lost = [name for name, value in self.fixed.items() if isinstance(value, str)]
        if lost:
            raise ValueError(f"the data do not hold {lost[0]}, which is a {self.fixed[lost[0]]}.")
        return self.network.rates(**self.fixed, **dict(zip(self.names, conditions, strict=True)))

    @property
    def courses(self) -> tuple[Float[Array, "course S"], Float[Array, "course segment C"]]:
        """Initial states of the courses, and the conditions of their segments."""
        conditions = self.conditions.reshape(-1, self.segments, self.conditions.shape[1])
        return self.y0[:: self.segments], conditions

    @property
    def middle(self) -> Float[np.ndarray, " C"]:
        """The middle of what each condition is: of its logarithm, where it has one."""
        low, high = (f(np.asarray(self.conditions), axis=0) for f in (np.min, np.max))
        positive = low > 0
        return np.where(positive, np.sqrt(np.abs(low * high)), (low + high) / 2)

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
                "and derivatives need every species: use data.observe.species=all, or a stage "
                "that integrates from the initial state (infer, or trajectory with shooting=false)."
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
    seed: int | np.random.SeedSequence = 0,
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
        ValueError: an unknown species, too few times or cases, or no initial states.
    """
    if "initial" not in dataset:
        raise ValueError("the dataset has no initial states; give y0 to jaxchem.to_dataset.")
    chosen = dataset.isel(case=slice(cases), time=slice(None, None, every))
    if cases is not None and len(chosen["case"]) < cases:
        raise ValueError(f"data.cases is {cases}, but there are {dataset.sizes['case']} cases.")
    if points is not None:
        if not 1 < points <= chosen.sizes["time"]:
            raise ValueError(f"cannot keep {points} of {chosen.sizes['time']} times.")
        index = np.linspace(0, chosen.sizes["time"] - 1, points).astype(int)
        chosen = chosen.isel(time=index)
    operator, labels = _operator(network, species)
    names = tuple(map(str, chosen["condition"].values)) if "given" in chosen else ()
    told = json.loads(dataset.attrs.get("conditions") or "{}")
    values = chosen["concentration"].values  # which may fill most of the memory
    if species != "all":
        values = values @ operator.T
    if repeats > 1:
        values = np.repeat(values, repeats, axis=0)
    if noise:
        draws = np.random.default_rng(seed).standard_normal(values.shape)
        values = values * (1 + noise) ** draws
    return Observations(
        network=network,
        ts=jnp.asarray(chosen["time"].values, dtype=float),
        values=jnp.asarray(values, dtype=float),
        operator=jnp.asarray(operator, dtype=float),
        y0=jnp.asarray(np.repeat(chosen["initial"].values, repeats, axis=0), dtype=float),
        t0=jnp.asarray(dataset.attrs["t0"], dtype=float),
        conditions=jnp.asarray(np.repeat(given(chosen), repeats, axis=0), dtype=float),
        names=names,
        fixed={name: value for name, value in told.items() if name not in names},
        labels=labels,
        noise=float(noise),
        segments=int(dataset.attrs.get("segments", 1)) if cases is None and repeats == 1 else 1,
        own_laws="laws" in dataset.attrs and dataset.attrs["laws"] == laws(network),
    )


def _spans(names: Sequence[str], values: Any) -> list[tuple[str, str]]:
    """The range of each of the names, which the last axis is for."""
    return safely(
        lambda: [
            (name, span(column))
            for name, column in zip(names, np.moveaxis(np.asarray(values), -1, 0), strict=True)
        ],
        [(name, "?") for name in names],
    )


def given(dataset: xr.Dataset) -> np.ndarray:
    """[case, C] the conditions of each case, where a dataset has such; else C is 0."""
    if "given" not in dataset:
        return np.zeros((dataset.sizes["case"], 0))
    return dataset["given"].transpose("case", "condition").values


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
