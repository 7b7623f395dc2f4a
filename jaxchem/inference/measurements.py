"""Measurements: readings, one by one, of experiments, as a chemist's own tables give them."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..brief import few, safely, span, table, text
from ..dataset.tables import Table, decimal, instants, numbers, read_tables
from ..expression import Expression, Name, Number, names, parse, rewrite, show
from ..formula import CHARGE, STANDARD_WEIGHTS
from ..network import Network
from ..rates import CONDITIONS, Conditions
from ..suggest import closest
from .headers import Column, recognise
from .units import CONCENTRATIONS, Unit, convert, same, unit

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
        given = {
            **{
                f"{n} [{CONDITIONS.get(n, '?').split(',')[0]}]": v
                for n, v in self.conditions.items()
            },
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
    columns = {header.strip(): str(what) for header, what in (columns or {}).items()}
    fixed = _numbers_of(conditions or {})
    amounts = _amounts(observables or {}, network)
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
        reader = _Reader(one, network, recognise(one, network, [*amounts], own), amounts, fixed)
        parts.append(reader.rows(label, len(found) > 1, _limits(since, until, network)))
    return _joined(parts, network, [*network.species, *amounts], fixed)


class _Rows(NamedTuple):
    """What one file holds, row by row."""

    file: str
    experiments: list[str]
    experiment: np.ndarray
    times: np.ndarray
    lines: np.ndarray
    conditions: dict[str, np.ndarray]
    initial: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    deviations: dict[str, np.ndarray]
    below: dict[str, np.ndarray]
    units: dict[str, str]
    taken: list[tuple[str, str, str]]
    notes: list[str]

    def kept(self, rows: np.ndarray) -> "_Rows":
        """The rows that a mask keeps."""

        def of(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {name: array[rows] for name, array in arrays.items()}

        return self._replace(
            experiment=self.experiment[rows],
            times=self.times[rows],
            lines=self.lines[rows],
            conditions=of(self.conditions),
            initial=of(self.initial),
            values=of(self.values),
            deviations=of(self.deviations),
            below=of(self.below),
        )


def _numbers_of(conditions: Mapping[str, Any]) -> dict[str, float]:
    for name, value in Conditions(**conditions).values.items():
        if not isinstance(value, int | float | np.number) or not np.isfinite(value):
            raise ValueError(f"conditions: {name} is {value!r}; give a number for all experiments.")
    return {name: float(value) for name, value in conditions.items()}


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
        match = re.fullmatch(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(\S.*)?", str(limit))
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


def _amounts(observables: Mapping[str, str], network: Network) -> dict[str, bool]:
    """Whether each observable is an amount: doubles, less its constant, with the species."""
    trees: dict[str, Expression] = {}
    for name, definition in observables.items():
        taken = name in network.species or name in CONDITIONS
        if taken or name in ("time", "experiment", "skip"):
            kind = "a species" if name in network.species else "a condition or a word of columns"
            raise ValueError(f"observables: {name!r} is the name of {kind}; call it otherwise.")
        try:
            trees[name] = parse(str(definition))
        except ValueError as error:
            raise ValueError(f"observables: {name!r}: {error}") from None
    return {name: _is_amount(name, tree, trees, network) for name, tree in trees.items()}


def _is_amount(
    name: str, tree: Expression, trees: Mapping[str, Expression], network: Network
) -> bool:
    for _ in range(len(trees) + 1):  # observables may name one another
        inner = {n for n in names(tree) if n in trees}
        if not inner:
            break
        tree = rewrite(tree, lambda p: trees.get(p.name, p) if isinstance(p, Name) else p)
    else:
        raise ValueError(f"observables: {name!r} is defined by itself; write it out.")
    used = sorted(set(names(tree)))
    species = [n for n in used if n in network.species]
    if not species:
        near = "".join(filter(None, (closest(n, network.species) for n in used[:1]))) or "."
        raise ValueError(f"observables: {name!r} = {show(tree)!r} names no species{near}")
    random = np.random.default_rng(0)

    def at(values: Mapping[str, float]) -> float:
        try:
            made = rewrite(tree, lambda p: Number(values[p.name]) if isinstance(p, Name) else p)
        except ValueError:
            return np.nan
        if not isinstance(made, Number):
            raise ValueError(f"observables: {name!r} = {show(tree)!r} is no arithmetic.")
        return made.value

    def doubles(zero: float) -> bool:
        for _ in range(4):
            values = {n: float(random.uniform(0.5, 2.0)) for n in used}
            zeros = {n: zero * v if n in species else v for n, v in values.items()}
            twice = {n: 2.0 * v if n in species else v for n, v in values.items()}
            base = 0.0 if zero else at(zeros)
            if not np.isclose(at(twice) - base, 2.0 * (at(values) - base), rtol=1e-9, atol=0.0):
                return False
        return True

    return doubles(1.0) or doubles(0.0)


def _molar_mass(network: Network, species: str) -> float | None:
    """In kg mol-1; `None` where the composition or a weight is not known."""
    weights = {CHARGE: 0.0, **STANDARD_WEIGHTS}
    counts = dict(
        zip(network.elements, network.composition[:, network.index(species)], strict=True)
    )
    counts = {element: count for element, count in counts.items() if count}
    if species in network.undeclared or not counts or not {*counts} <= {*weights}:
        return None
    return 1e-3 * float(sum(weights[element] * count for element, count in counts.items()))


class _Reader:
    """The numbers of one table, in the network's units."""

    def __init__(
        self,
        table: Table,
        network: Network,
        columns: list[Column],
        amounts: dict[str, bool],
        fixed: dict[str, float],
    ):
        self.table = table
        self.network = network
        self.columns = columns
        self.amounts = amounts
        self.fixed = fixed
        self.file = Path(table.file).name
        self.notes = list(table.notes)
        self.taken = ["skipped"] * len(columns)
        self.readings = {c.name: c for c in columns if c.kind == "reading"}
        numeric = [
            c.place
            for c in columns
            if c.kind not in ("skip", "experiment")
            and not (c.kind == "time" and instants(table, c.place))
        ]
        self.mark = decimal(table, numeric)
        if self.mark == ",":
            self.notes.append(f"{self.file}: decimal commas")
        self.surroundings: dict[str, np.ndarray] = {}

    def of(self, kind: str) -> list[Column]:
        """The columns of a kind."""
        return [column for column in self.columns if column.kind == kind]

    def rows(self, label: str, several: bool, limits: tuple[float, float]) -> _Rows:
        """Everything that the table holds."""
        experiments, experiment = self.experiments(label, several)
        values, below = {}, {}
        for column in self.of("reading"):
            cells = numbers(self.table, column.place, self.mark)
            values[column.name], below[column.name] = cells.values, cells.below
            for mark in cells.marks:
                self.notes.append(f"{self.file}: {column.name}: {mark} counts as a gap")
        empty = np.all([np.isnan(v) & ~below[n] for n, v in values.items()], axis=0)
        times, rest = self.times(experiment, empty)
        conditions = {c.name: self.condition(c, experiment) for c in self.of("condition")}
        conditions = {n: v for n, v in conditions.items() if v is not None}
        self.surround(conditions)
        units: dict[str, str] = {}
        deviations = {c.name: self.deviation(c, values) for c in self.of("sd")}
        for column in self.of("reading"):
            factor, units[column.name] = self.amount(column)
            values[column.name] = values[column.name] * factor
        initial = {c.name: self.initial(c, experiment, times) for c in self.of("initial")}
        taken = [
            (self.file, header, what)
            for header, what in zip(self.table.headers, self.taken, strict=True)
        ]
        made = _Rows(
            *(self.file, experiments, experiment, times, self.table.lines, conditions, initial),
            *(values, deviations, below, units, taken, self.notes),
        )
        outside = ~rest & ((times < limits[0]) | (times > limits[1]))
        if np.any(outside):
            self.notes.append(
                f"{self.file}: {int(outside.sum())} of {len(outside)} rows are before since or "
                "after until, and left out"
            )
        return made.kept(~(outside | rest))

    def experiments(self, label: str, several: bool) -> tuple[list[str], np.ndarray]:
        """Names, in order, and which of them each row is of."""
        columns = self.of("experiment")
        if not columns:
            return [label], np.zeros(len(self.table.lines), dtype=int)
        (column,) = columns
        self.taken[column.place] = "experiment"
        cells = [str(cell).strip() for cell in self.table.columns[column.place]]
        for row, cell in enumerate(cells):
            if not cell:
                raise self.table.fail(column.place, "the row is of no experiment; name it.", row)
        order = sorted(set(cells), key=_natural)
        place = {name: i for i, name in enumerate(order)}
        named = [f"{label}/{name}" for name in order] if several else order
        return named, np.array([place[cell] for cell in cells], dtype=int)

    def times(self, experiment: np.ndarray, empty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Times in the network's unit, and the rows without time and readings."""
        (column,) = self.of("time")
        header, wanted = self.table.headers[column.place], self.network.units.time
        none = np.zeros(len(empty), dtype=bool)
        found = instants(self.table, column.place)
        if found is not None:
            ticks, dated = found
            what = "dates and times" if dated else "times of day"
            if re.match(r"(?i)elapsed|time since", header) and not dated:
                what = "durations"
            else:
                self.ordered(column, ticks, experiment, dated)
                ticks = ticks - _first(ticks, experiment)
                self.notes.append(
                    f"{self.file}: times count from the first row of each experiment ({what})"
                )
            scale = self.time_scale(column, "s")
            self.taken[column.place] = f"time, {what} to {wanted}"
            return ticks / 1e6 * scale, none
        cells = numbers(self.table, column.place, self.mark)
        bad = np.isnan(cells.values)
        rest = bad & empty
        if np.any(bad & ~rest):
            row = int(np.argmax(bad & ~rest))
            raise self.table.fail(
                column.place, "the row has no time; give it or drop the row.", row
            )
        if np.any(rest):
            self.notes.append(f"{self.file}: {int(rest.sum())} rows without time or readings")
        values, text_ = np.where(rest, np.inf, cells.values), column.unit
        if match := re.fullmatch(r"(\w+) since .*", text_):
            text_ = match[1]
            values = values - _first(values, experiment)
            self.notes.append(f"{self.file}: times count from the first row of each experiment")
        if not text_:
            self.notes.append(f"{self.file}: time has no unit, and is taken as {wanted}")
        scale = self.time_scale(column, text_) if text_ else 1.0
        self.taken[column.place] = f"time, {_change(text_ or wanted, wanted, scale)}"
        return values * scale, rest

    def ordered(
        self, column: Column, ticks: np.ndarray, experiment: np.ndarray, dated: bool
    ) -> None:
        """Times of day without dates only go on: which day they are of is not known otherwise."""
        for one in [] if dated else np.unique(experiment):
            rows = np.flatnonzero(experiment == one)
            back = np.flatnonzero(np.diff(ticks[rows]) < 0)
            if len(back):
                raise self.table.fail(
                    column.place,
                    "times of day go back here; write dates with them, as 2021-07-28 23:59:30.",
                    int(rows[back[0] + 1]),
                )

    def time_scale(self, column: Column, text_: str) -> float:
        wanted = self.network.units.time
        if same(text_, wanted):
            return 1.0
        own, other = unit(text_), unit(wanted)
        if own is None or other is None or {own.kind, other.kind} != {"time"}:
            raise self.table.fail(
                column.place,
                f"{text_!r} cannot become {wanted!r}, the unit of time of network "
                f"{self.network.name!r}; correct either.",
            )
        return float(f"{own.scale / other.scale:.14g}")

    def condition(self, column: Column, experiment: np.ndarray) -> np.ndarray | None:
        """[rows] of a condition in its unit; gaps are filled where it is constant."""
        name, wanted = column.name, CONDITIONS[column.name]
        values = self.plain(column)
        for one in np.unique(experiment[np.isnan(values)]):
            rows = np.flatnonzero(experiment == one)
            known = np.unique(values[rows][~np.isnan(values[rows])])
            if len(known) != 1:
                row = rows[np.isnan(values[rows])][0]
                raise self.table.fail(column.place, f"{name} is missing; give it.", row)
            gaps = int(np.isnan(values[rows]).sum())
            values[rows] = known[0]
            self.notes.append(f"{self.file}: {name}: {gaps} gaps have the value of the other rows")
        own = unit(column.unit) if column.unit else None
        what = column.unit or wanted
        if name == "density":
            network = unit(self.network.units.concentration)
            if own is not None:
                self.surroundings[name] = values * own.scale
            if network is None or network.kind != "concentration":
                self.taken[column.place] = f"density, {what}, for conversions alone"
                return None
            wanted = self.network.units.concentration
            values = values * (_scale(own, network) if own else 1.0)
        elif own is not None and column.unit != wanted and name != "visual_extinction":
            target = unit({"s since midnight": "s"}.get(wanted, wanted.split(",")[0]))
            if target is not None:
                values = values * _scale(own, target) + own.zero / target.scale
        if not column.unit:
            self.notes.append(f"{self.file}: {name} has no unit, and is taken as {wanted}")
            what = wanted
        self.taken[column.place] = f"{name}, {_change(what, wanted, 1.0)}"
        for value in (values.min(initial=np.inf), values.max(initial=-np.inf)):
            try:
                Conditions(**{name: float(value)} if np.isfinite(value) else {})
            except ValueError as error:
                raise self.table.fail(column.place, str(error)) from None
        return values

    def plain(self, column: Column) -> np.ndarray:
        """[rows] of a column in which nothing is below a limit of detection."""
        cells = numbers(self.table, column.place, self.mark)
        if np.any(cells.below):
            row = int(np.argmax(cells.below))
            raise self.table.fail(column.place, f"{column.what} must be a number.", row)
        return cells.values

    def surround(self, conditions: dict[str, np.ndarray]) -> None:
        """What conversions know: columns first, then what the user gives, then the defaults."""
        network = unit(self.network.units.concentration)
        rows = np.ones(len(self.table.lines))
        defaults = {n: v for n, v in self.network.defaults if n in CONDITIONS}
        for layer in (conditions, self.fixed, defaults):
            air = {"density", "pressure"} & {*self.surroundings}
            for name in ("temperature", "pressure", "density"):
                if name not in layer or name in self.surroundings or (air and name in _AIR):
                    continue
                if name != "density":
                    self.surroundings[name] = layer[name] * rows
                elif network is not None and network.kind == "concentration":
                    self.surroundings[name] = layer[name] * rows * network.scale

    def amount(self, column: Column, mass_of: str = "") -> tuple[Any, str]:
        """What multiplies the values of a column, and the unit that they have then."""
        name, text_, wanted = column.name, column.unit, self.network.units.concentration
        if name in self.amounts and not self.amounts[name]:
            own = unit(text_)
            label = own.label if own else text_
            self.taken[column.place] = f"{column.what}, {label or 'no unit'}, as it stands"
            return 1.0, label
        if not text_ or same(text_, wanted):
            if not text_:
                self.notes.append(
                    f"{self.file}: {column.what} has no unit, and is taken as {wanted}"
                )
            self.taken[column.place] = f"{column.what}, {wanted}"
            return 1.0, wanted
        own, target = unit(text_), unit(wanted)
        kind = own.kind if own else "none"
        apart = kind not in CONCENTRATIONS or (kind == "fraction" and not _whole(target))
        if name in self.amounts and apart:
            label = own.label if own else text_
            self.taken[column.place] = f"{column.what}, {label}, as it stands"
            return 1.0, label
        mass = None if name in self.amounts else _molar_mass(self.network, name)
        try:
            if own is None or target is None:
                raise ValueError("one of them is no unit that is known")
            factor, how = convert(own, target, self.surroundings, mass)
        except ValueError as error:
            header = self.table.headers[column.place]
            other = f" Or is it one of {few([*self.amounts])}?" if self.amounts else ""
            raise self.table.fail(
                column.place,
                f"{text_!r} cannot become {wanted!r}, the unit of network {self.network.name!r}: "
                f"{error}. Give what is missing as conditions or a column, or the unit that is "
                f"meant (columns: {{{header!r}: '{column.what} [{wanted}]'}}).{other}",
            ) from None
        factors = np.asarray(factor, dtype=float)
        scale = float(factors.flat[0]) if factors.size and np.ptp(factors) == 0 else np.nan
        self.taken[column.place] = f"{column.what}, {_change(own.label, wanted, scale, how)}"
        self.defaulted(how)
        return factor, wanted

    def defaulted(self, how: str) -> None:
        """Notes which conditions of a conversion are the network's own."""
        told = {c.name for c in self.of("condition")} | {*self.fixed}
        for name, value in self.network.defaults:
            if name in how and name in self.surroundings and name not in told:
                note = f"{self.file}: {name} {value:g} of the conversion is the network's default"
                self.notes.extend([note] if note not in self.notes else [])

    def deviation(self, column: Column, values: dict[str, np.ndarray]) -> np.ndarray:
        """[rows] standard deviations in the unit that the readings become."""
        reading = self.readings[column.name]
        found = self.plain(column)
        if np.any(bad := found <= 0):
            raise self.table.fail(
                column.place,
                "a standard deviation must be above zero; leave the cell of an unknown one empty.",
                int(np.argmax(bad)),
            )
        whole = unit(column.unit) if column.unit else None
        base = unit(reading.unit or self.network.units.concentration)
        of_reading = _OF_READING.fullmatch(column.unit)
        alike = whole is not None and same(column.unit, reading.unit) and not of_reading
        if whole is not None and whole.kind == "fraction" and not alike:
            if _whole(base) and base.scale > 1e-3 and not of_reading:
                header = self.table.headers[column.place]
                raise self.table.fail(
                    column.place,
                    f"{column.unit!r} may be of the reading or of the whole; say which (columns: "
                    f"{{{header!r}: 'sd of {column.name} [% of reading]'}}, or [{reading.unit}]).",
                )
            factor, _ = self.amount(reading)
            relative = found * whole.scale * np.abs(values[column.name]) * factor
            self.taken[column.place] = f"{column.what}, {whole.label} of the reading"
            relative[relative == 0] = np.nan
            return relative
        notes = len(self.notes)
        factor, _ = self.amount(column._replace(unit=column.unit or reading.unit))
        del self.notes[notes:]
        return found * factor

    def initial(self, column: Column, experiment: np.ndarray, times: np.ndarray) -> np.ndarray:
        """[rows] the initial value of the experiment that each is of."""
        if column.name in self.amounts:
            raise self.table.fail(
                column.place, f"{column.name!r} is no species; give initial values of species."
            )
        values = self.plain(column)
        factor = np.broadcast_to(self.amount(column)[0], values.shape)
        found = np.full(values.shape, np.nan)
        for one in np.unique(experiment):
            rows = np.flatnonzero(experiment == one)
            known = rows[~np.isnan(values[rows])]
            if len(known) and np.ptp(values[known]) > 0:
                row = known[np.argmax(values[known] != values[known[0]])]
                raise self.table.fail(
                    column.place,
                    f"the initial value of {column.name!r} is {values[row]:g} here, and "
                    f"{values[known[0]]:g} in another row of the experiment; keep one.",
                    row,
                )
            if len(known):
                start = rows[np.argmin(times[rows])]
                found[rows] = values[known[0]] * factor[start]
        return found


_OF_READING = re.compile(r"\S+ of (?:the )?(?:reading|value)s?", re.IGNORECASE)
_AIR = ("density", "pressure")
"""Either tells how much gas there is, and one of them is enough."""


def _whole(one: Unit | None) -> bool:
    """Whether a unit is a part of a whole."""
    return one is not None and one.kind.endswith("fraction")


def _scale(own: Unit, wanted: Unit) -> float:
    return float(f"{own.scale / wanted.scale:.14g}")


def _change(own: str, wanted: str, scale: float, how: str = "") -> str:
    """A unit, and what it became."""
    if same(own, wanted) and not how:
        return wanted
    by = f" {how}" if how else f" (x {scale:g})" if scale != 1.0 and np.isfinite(scale) else ""
    return f"{own} to {wanted}{by}"


def _natural(name: str) -> list[tuple[int, float, str]]:
    """Sorts numbers in names by their size."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(0, float(p), p) if i % 2 else (1, 0.0, p) for i, p in enumerate(parts) if p]


def _first(values: np.ndarray, experiment: np.ndarray) -> np.ndarray:
    """[rows] the least value of the experiment that each is of."""
    least = np.full(int(experiment.max(initial=-1)) + 1, values.max(initial=0), dtype=values.dtype)
    np.minimum.at(least, experiment, values)
    return least[experiment]


def _joined(
    parts: list[_Rows], network: Network, order: list[str], fixed: dict[str, float]
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


def _unit_of(name: str, parts: list[_Rows]) -> str:
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


def _left_out(name: str, parts: list[_Rows]) -> list[str]:
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
        raise ValueError(
            f"experiment {experiments[experiment[row]]!r}, line {lines[row]}: {name} is {values[row]:g} at a time at which another row of the "
            f"experiment has {made[experiment[row], place[row]]:g}. Name the column that tells the "
            "experiments apart (columns: {header: 'experiment'}), or mend the row."
        )
    last = made[np.arange(shape[0]), counts - 1][:, None]
    made = np.where(np.arange(shape[1])[None, :] < counts[:, None], made, last)
    return made[:, 0] if np.all(made == made[:, :1]) else made
