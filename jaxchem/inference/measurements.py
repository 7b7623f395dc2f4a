"""Measurements: readings, one by one, of experiments, as a chemist's own tables give them."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ..brief import few, safely, span, table, text
from ..dataset.tables import read_tables
from ..network import Network
from ..rates import CONDITIONS, Conditions
from ..suggest import closest
from .headers import recognise
from .observables import amounts
from .parameters import named
from .reading import Reader, Rows
from .units import same, unit

__all__ = ["Measurements", "read_measurements"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Measurements:
    """Readings, one by one, of experiments.

    Experiments stand in the order of their files and then of their names, observables in that of
    the network's species and then of the user's, readings by experiment, time, observable and
    value: the order of rows and columns in a file has no meaning.

    Attributes:
        experiments: E names.
        ts: [E, T] times in the network's unit, which increase; an experiment with fewer times
            repeats its last to fill.
        counts: [E] how many of the times are an experiment's own.
        conditions: name (one of `jaxchem.rates.CONDITIONS`, in its unit) -> [E], or [E, T] where it
            varies within an experiment.
        initial: species -> [E] initial value that the tables state, in the network's unit, nan
            where they do not.
        observables: O names, species and others.
        units: [O] of the values: the network's, or the header's own of what is no concentration.
        experiment: [N] which experiment a reading is of.
        time: [N] its place in `ts[experiment]`.
        observable: [N] which observable it is of.
        value: [N] the reading.
        deviation: [N] its standard deviation where the table states one, else nan.
        lines: [N] its line in its file.
        gaps: [O] how many cells are empty.
        time_unit: of `ts`.
        taken: (file, header, what it was taken as) of every column.
        notes: whatever was supplied, converted or left out.
    """

    experiments: tuple[str, ...]
    ts: Float[np.ndarray, "E T"]
    counts: Int[np.ndarray, " E"]
    conditions: dict[str, np.ndarray]
    initial: dict[str, np.ndarray]
    observables: tuple[str, ...]
    units: tuple[str, ...]
    experiment: Int[np.ndarray, " N"]
    time: Int[np.ndarray, " N"]
    observable: Int[np.ndarray, " N"]
    value: Float[np.ndarray, " N"]
    deviation: Float[np.ndarray, " N"]
    lines: Int[np.ndarray, " N"]
    gaps: Int[np.ndarray, " O"]
    time_unit: str
    taken: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        network: Network,
        ts: Float[Any, "E T"] | Float[Any, " T"],
        values: Mapping[str, Any],
        *,
        deviation: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> "Measurements":
        """Readings that are arrays already.

        Args:
            network: whose species are measured, and whose units times and values are in.
            ts: times, which increase; of each experiment, or of all.
            values: observable -> [E, T], or [T] for one experiment; NaN where nothing was read.
            deviation: observable -> standard deviations of the readings, of a shape that
                broadcasts to theirs; NaN where none is known.
            conditions: name -> [E] or a number.
            initial: species -> [E] or a number; NaN where it is not known.
            units: observable -> unit, of those that are no concentrations.

        Raises:
            ValueError: shapes that do not fit, numbers that cannot be, times that do not increase,
                or no reading.
        """
        if not isinstance(values, Mapping) or not values:
            raise ValueError(
                f"values is {values!r}; give readings by name, as {{'A': [1.0, 0.5]}}."
            )
        for what, given in (
            ("values", values),
            ("deviation", deviation),
            ("conditions", conditions),
            ("initial", initial),
            ("units", units),
        ):
            if not isinstance(given, Mapping | None) or not all(
                isinstance(n, str) for n in given or ()
            ):
                raise ValueError(f"{what} is {given!r}; write a value by name, names as text.")
        read = {name: np.atleast_2d(_floats(v, name)) for name, v in values.items()}
        count = max((len(v) for v in read.values()), default=1)
        times = np.atleast_2d(_floats(ts, "ts"))
        shape = (count, times.shape[1])
        rise = np.isfinite(times).all() and np.all(np.diff(times, axis=1) > 0)
        if times.ndim > 2 or len(times) not in (1, count) or not rise:
            raise ValueError(f"ts is {times.shape}; give increasing times [T] or [{count}, T].")
        for name, v in read.items():
            if v.shape != shape:
                raise ValueError(f"{name} is {v.shape}, but there are {shape} [E, T] readings.")
            if np.isinf(v).any():
                e, t = np.argwhere(np.isinf(v))[0]
                raise ValueError(
                    f"{name} is {v[e, t]} in experiment {e + 1} at its time {t + 1}; give a "
                    "number, or NaN where nothing was read."
                )
        for what, others in (("deviation", deviation), ("units", units)):
            if unknown := set(others or {}) - set(read):
                raise ValueError(f"{what}: {min(unknown)!r} is not among the values.")
        order = [n for n in network.species if n in read] + [
            n for n in read if n not in network.species
        ]
        stack = np.stack([read[name] for name in order], axis=2)  # [E, T, O]
        spread = np.full(stack.shape, np.nan)
        for name, v in (deviation or {}).items():
            own = _shaped(v, f"deviation of {name}", shape)
            if np.any(own <= 0) or np.isinf(own).any():
                raise ValueError(
                    f"deviation of {name} is {own[(own <= 0) | np.isinf(own)][0]:g}; give "
                    "positive, finite numbers, or NaN where none is known."
                )
            spread[:, :, order.index(name)] = own
        where = np.nonzero(np.isfinite(stack))
        if not len(where[0]):
            raise ValueError("every reading is NaN; give one that is a number.")
        unknown_start = set(initial or {}) - set(network.species)
        if unknown_start:
            network.index(min(unknown_start))
        fixed = {
            n: _shaped(v, f"conditions: {n}", (count,))
            for n, v in Conditions(**(conditions or {})).values.items()
        }
        begin = {n: _shaped(v, f"initial {n}", (count,)) for n, v in (initial or {}).items()}
        for name, v in fixed.items():
            if not np.isfinite(v).all():
                raise ValueError(f"conditions: {name} is {v[~np.isfinite(v)][0]}; give numbers.")
        for name, v in begin.items():
            if np.any(v < 0) or np.isinf(v).any():
                raise ValueError(
                    f"initial {name} is {v[(v < 0) | np.isinf(v)][0]:g}; give finite numbers that "
                    "are not negative, or NaN where none is known."
                )
        return cls(
            experiments=tuple(f"experiment {e + 1}" for e in range(count)),
            ts=np.broadcast_to(times, shape).copy(),
            counts=np.full(count, shape[1]),
            conditions=fixed,
            initial=begin,
            observables=tuple(order),
            units=tuple((units or {}).get(n, network.units.concentration) for n in order),
            experiment=where[0],
            time=where[1],
            observable=where[2],
            value=stack[where],
            deviation=spread[where],
            lines=np.zeros(len(where[0]), dtype=int),
            gaps=np.isnan(stack).sum(axis=(0, 1)),
            time_unit=network.units.time,
            taken=(),
            notes=(),
        )

    @property
    def labels(self) -> dict[str, Any]:
        """Time, experiment and observable of each reading, as `jaxchem.dataset.label_readings`."""
        return {
            "time": self.ts[self.experiment, self.time],
            "time_unit": self.time_unit,
            "experiment": np.array(self.experiments, dtype=object)[self.experiment],
            "observable": np.array(self.observables, dtype=object)[self.observable],
        }

    def without(self, rows: Bool[np.ndarray, " N"]) -> "Measurements":
        """All other readings."""
        parts = ("experiment", "time", "observable", "value", "deviation", "lines")
        return dataclasses.replace(self, **{n: getattr(self, n)[~rows] for n in parts})

    def __repr__(self) -> str:
        return text([*self._about(), *(", ".join(row) for row in _most(self._rows(), 10))])

    def _repr_html_(self) -> str:
        rows, head = self._rows(), ("observed", "readings", "gaps", "range", "deviation")
        return table(text(self._about()), head, rows[:50], len(rows) - 50)

    def _about(self) -> list[str]:
        """What was read, in lines."""
        files = list(dict.fromkeys(file for file, _, _ in self.taken))
        places = dict.fromkeys(
            f"{header or 'no header'!r}: {what}" for _, header, what in self.taken
        )
        times = safely(lambda: span(self.counts), "?")
        units = {n: "" if "," in unit_ else f" [{unit_}]" for n, unit_ in CONDITIONS.items()}
        given = {
            **{f"{n}{units.get(n, '')}": v for n, v in self.conditions.items()},
            **{f"initial {n}": v[~np.isnan(v)] for n, v in self.initial.items()},
        }
        return [
            f"Measurements: {len(self.value)} readings",
            f"files ({len(files)}): {few(files)}",
            f"experiments ({len(self.experiments)}): {few(self.experiments)}",
            f"times ({times} each, {self.time_unit}): {span(self.ts)}",
            "columns:",
            *(f"- {line}" for line in _most(list(places), 12)),
            *(f"{name}: {span(value)}" for name, value in [*given.items()][:6]),
            *["notes:"] * bool(self.notes),
            *(f"- {note}" for note in _most(list(self.notes), 8)),
            f"observed ({len(self.observables)}):",
        ]

    def _rows(self) -> list[tuple[str, ...]]:
        """Name, readings, gaps, range and stated deviation of each observable."""
        rows = []
        for place, (name, unit_) in enumerate(zip(self.observables, self.units, strict=True)):
            own = self.observable == place
            stated = self.deviation[own]
            stated = stated[~np.isnan(stated)]
            rows.append(
                (
                    f"- {name}",
                    f"{int(own.sum())} readings",
                    f"{int(self.gaps[place])} gaps",
                    f"{span(self.value[own])} {unit_}".rstrip(),
                    f"sd {span(stated)}" if len(stated) else "no sd stated",
                )
            )
        return rows


def _floats(given: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} is no array of numbers; give numbers, rows equally long."
        ) from None


def _shaped(given: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers as an array of their own, of this shape."""
    found = _floats(given, name)
    try:
        return np.broadcast_to(found, shape).copy()
    except ValueError:
        raise ValueError(f"{name} is {found.shape}; give a number, or {shape} of them.") from None


def _most(rows: list[Any], most: int) -> list[Any]:
    """The first rows, and how many there are besides."""
    if len(rows) <= most:
        return rows
    more = f"... and {len(rows) - most + 1} more"
    return [*rows[: most - 1], (more,) if isinstance(rows[0], tuple) else more]


def read_measurements(
    path: str | Path | Sequence[str | Path],
    network: Network,
    *,
    columns: Mapping[str, str] | None = None,
    observables: Mapping[str, str] | None = None,
    conditions: Mapping[str, float] | None = None,
    since: str | float | None = None,
    until: str | float | None = None,
) -> Measurements:
    """Reads tables of measurements: text of any separator, or NetCDF.

    Columns are known by their headers, which are names with units: ``time [min]``, ``O3 (ppb)``,
    ``NO_ppb``, ``T / °C``, ``run``, ``O3 sd``, ``initial A``. A column that is not understood is an
    error. Amounts become the network's unit, by the conditions of their row where that takes them.
    Empty cells are gaps, ``<0.5`` and ``<LOD`` are left out and listed. Each file is experiments of
    its own, and a column of experiments divides it.

    Args:
        path: a file or several; a folder or a pattern stands for its files.
        network: whose species are measured.
        columns: header -> what it is: ``time``, ``experiment``, ``skip``, a condition, a species,
            an observable, ``sd of X`` or ``initial X``, perhaps with a unit: ``O3 [ppb]``.
        observables: name -> what it is, an expression of species and other names. What doubles
            with the species (but for what is added) is an amount in the network's unit; of others,
            as ratios, values stay as they stand.
        conditions: of all experiments, by the names of `jaxchem.rates.CONDITIONS`; a column of a
            table comes first.
        since: rows before this time are left out; in the network's unit, or as ``"0.03 h"``.
        until: rows after this time are left out.

    Raises:
        ValueError: a file, column or cell that is not understood, or a unit that cannot become the
            network's; with file, line, column and what to do.
    """
    asked = {"columns": columns, "observables": observables, "conditions": conditions}
    for name, setting in asked.items():
        named(setting, name, "the measurements")
    columns = {header.strip(): str(what) for header, what in (columns or {}).items()}
    fixed = _numbers_of(conditions or {})
    known = amounts(observables or {}, network)
    found = read_tables(path)
    headers = {header for _, one in found for header in one.headers}
    for header in columns:
        if header not in headers:
            near = closest(header, headers) or f"; there are {few(sorted(headers))}."
            raise ValueError(f"columns: no table has the header {header!r}{near}")
    labels = _labels([file for file, _ in found])
    parts = []
    for label, (_, one) in zip(labels, found, strict=True):
        own = {header: what for header, what in columns.items() if header in one.headers}
        reader = Reader(one, network, recognise(one, network, [*known], own), known, fixed)
        parts.append(reader.rows(label, len(found) > 1, _limits(since, until, network)))
    return _joined(parts, network, [*network.species, *known], fixed)


def _numbers_of(conditions: Mapping[str, Any]) -> dict[str, float]:
    known = Conditions(**conditions).values
    for name, value in known.items():
        fits = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not fits or not np.isfinite(value):
            raise ValueError(f"conditions: {name} is {value!r}; give a number for all experiments.")
    return {name: float(value) for name, value in known.items()}


def _labels(files: list[Path]) -> list[str]:
    """What the experiments of each file are called: its stem, with its folder if need be."""
    stems = [file.stem for file in files]
    if len(set(stems)) < len(stems):
        stems = [f"{file.parent.name}/{file.stem}" for file in files]
    return stems if len(set(stems)) == len(stems) else [str(file) for file in files]


def _limits(since: Any, until: Any, network: Network) -> tuple[float, float]:
    found = []
    for name, limit, otherwise in (("since", since, -np.inf), ("until", until, np.inf)):
        if limit is None:
            found.append(otherwise)
            continue
        match = re.fullmatch(
            r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*)?", str(limit)
        )
        own, wanted = unit(match[2].strip()) if match and match[2] else None, network.units.time
        scale = 1.0
        if match and match[2] and not same(match[2], wanted):
            other = unit(wanted)
            if not (own and other and own.kind == other.kind == "time"):
                match = None
            else:
                scale = own.scale / other.scale
        if match is None:
            raise ValueError(f"{name}: {limit!r} is no time; write a number of {wanted} or '2 h'.")
        found.append(float(match[1]) * scale)
    return found[0], found[1]


def _joined(
    parts: list[Rows], network: Network, order: list[str], fixed: dict[str, float]
) -> Measurements:
    """All files together."""
    shown = [name for name in order if any(name in part.values for part in parts)]
    units = [_unit_of(name, parts) for name in shown]
    notes = [note for part in parts for note in part.notes]
    starts = np.cumsum([0, *(len(part.experiments) for part in parts)])
    experiment = np.concatenate(
        [part.experiment + start for part, start in zip(parts, starts, strict=False)]
    )
    times = np.concatenate([part.times for part in parts])
    lines = np.concatenate([part.lines for part in parts])

    def column(kind: str, name: str) -> np.ndarray:
        found = [getattr(part, kind) for part in parts]
        none = [np.full(len(part.times), np.nan) for part in parts]
        return np.concatenate([f.get(name, n) for f, n in zip(found, none, strict=True)])

    read = {name: column("values", name) for name in shown}
    present = np.zeros(starts[-1], dtype=bool)
    for values in read.values():
        present[experiment[~np.isnan(values)]] = True
    all_names = [name for part in parts for name in part.experiments]
    if absent := [name for name, there in zip(all_names, present, strict=True) if not there]:
        notes.append(f"{len(absent)} experiments without a reading are left out: {few(absent)}")
    if not np.any(present):
        files = few([part.file for part in parts])
        raise ValueError(f"{files}: no reading is left; widen since and until, or fill the cells.")
    kept = present[experiment]
    experiment = (np.cumsum(present) - 1)[experiment]
    group, place, ts, counts = _grid(experiment[kept], times[kept], int(present.sum()))
    full = np.zeros((2, len(kept)), dtype=int)
    full[:, kept] = group, place

    conditions = {}
    for name in dict.fromkeys([*fixed, *(n for part in parts for n in part.conditions)]):
        values = column("conditions", name)
        if np.any(gone := np.isnan(values) & kept):
            if name not in fixed:
                at = int(np.argmax(gone))
                file = next(part.file for part in parts if name not in part.conditions)
                raise ValueError(
                    f"{file}: has no {name}, which the other tables have (row of line "
                    f"{lines[at]}); add the column, or give conditions={{{name!r}: ...}}."
                )
            values = np.where(np.isnan(values), fixed[name], values)
        conditions[name] = _by_experiment(
            *(name, values[kept], experiment[kept], place, ts.shape, counts, lines[kept]),
            [n for n, there in zip(all_names, present, strict=True) if there],
        )
    initial = {}
    for name in network.species:
        if any(name in part.initial for part in parts):
            values = np.full(len(counts), np.nan)
            values[experiment[kept]] = column("initial", name)[kept]
            initial[name] = values

    rows, which = [], []
    gaps = np.zeros(len(shown), dtype=int)
    for index, name in enumerate(shown):
        known = ~np.isnan(read[name])
        rows.append(np.flatnonzero(known))
        which.append(np.full(len(rows[-1]), index))
        gaps[index] = sum(
            int((np.isnan(part.values[name]) & ~part.below[name]).sum())
            for part in parts
            if name in part.values
        )
        notes += _left_out(name, parts)
    row, observable = np.concatenate(rows), np.concatenate(which)
    value = np.concatenate([read[name][r] for name, r in zip(shown, rows, strict=True)])
    sds = np.concatenate(
        [column("deviations", name)[r] for name, r in zip(shown, rows, strict=True)]
    )
    sort = np.lexsort((lines[row], sds, value, observable, full[1][row], experiment[row]))
    row, observable, value, sds = row[sort], observable[sort], value[sort], sds[sort]
    if total := int(gaps.sum()):
        told = [f"{name} {count}" for name, count in zip(shown, gaps, strict=True) if count]
        notes.append(f"{total} gaps: {few(told)}")
    keys = np.stack([experiment[row], full[1][row], observable])
    if replicates := int(np.all(np.diff(keys) == 0, axis=0).sum()):
        notes.append(f"{replicates} readings are replicates: same experiment, time and observable")
    return Measurements(
        experiments=tuple(n for n, there in zip(all_names, present, strict=True) if there),
        ts=ts,
        counts=counts,
        conditions=conditions,
        initial=initial,
        observables=tuple(shown),
        units=tuple(units),
        experiment=experiment[row],
        time=full[1][row],
        observable=observable,
        value=value,
        deviation=sds,
        lines=lines[row],
        gaps=gaps,
        time_unit=network.units.time,
        taken=tuple(column for part in parts for column in part.taken),
        notes=tuple(notes),
    )


def _unit_of(name: str, parts: list[Rows]) -> str:
    """The one unit that an observable has in all files."""
    found = {part.units[name]: part.file for part in parts if name in part.units}
    first, *others = found
    for other in others:
        if not same(first, other):
            raise ValueError(
                f"{name!r} is in {first!r} in {found[first]} and in {other!r} in {found[other]}; "
                "its values stay as they stand, so give it one unit."
            )
    return first


def _left_out(name: str, parts: list[Rows]) -> list[str]:
    made = []
    for part in parts:
        lines = part.lines[part.below[name]] if name in part.below else []
        if len(lines):
            made.append(
                f"{part.file}: {name}: {len(lines)} readings below the limit of detection are left "
                f"out (lines {few([str(line) for line in np.sort(lines)])})"
            )
    return made


def _grid(
    experiment: np.ndarray, times: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Experiment and place in time of every row, [E, T] times, and [E] how many are its own."""
    order = np.lexsort((times, experiment))
    e, t = experiment[order], times[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(e) != 0) | (np.diff(t) != 0)
    counts = np.bincount(e[new], minlength=size)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = np.empty(len(order), dtype=int)
    place[order] = np.cumsum(new) - 1 - first[e]
    ts = np.empty((size, int(counts.max(initial=1))))
    ts[:] = t[new][first + counts - 1][:, None]
    ts[experiment, place] = times
    return experiment, place, ts, counts


def _by_experiment(
    name: str,
    values: np.ndarray,
    experiment: np.ndarray,
    place: np.ndarray,
    shape: tuple[int, int],
    counts: np.ndarray,
    lines: np.ndarray,
    experiments: list[str],
) -> np.ndarray:
    """A condition as [E], or as [E, T] where it varies."""
    made = np.empty(shape)
    made[experiment, place] = values
    differ = made[experiment, place] != values
    if np.any(differ):
        row = int(np.argmax(differ))
        other = made[experiment[row], place[row]]
        raise ValueError(
            f"experiment {experiments[experiment[row]]!r}, line {lines[row]}: {name} is "
            f"{values[row]:g} at a time at which another row has {other:g}. Name the column that "
            "tells the experiments apart (columns: {header: 'experiment'}), or mend the row."
        )
    last = made[np.arange(shape[0]), counts - 1][:, None]
    made = np.where(np.arange(shape[1])[None, :] < counts[:, None], made, last)
    return made[:, 0] if np.all(made == made[:, :1]) else made
