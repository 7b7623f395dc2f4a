"""One table of measurements in the units of a network, row by row."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..brief import few
from ..dataset.tables import Table, decimal, instants, numbers
from ..formula import CHARGE, STANDARD_WEIGHTS
from ..network import Network
from ..rates import CONDITIONS, Conditions
from .headers import Column
from .units import CONCENTRATIONS, Unit, convert, same, unit

__all__ = ["Reader", "Rows"]


class Rows(NamedTuple):
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

    def kept(self, rows: np.ndarray) -> "Rows":
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


class Reader:
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

    def rows(self, label: str, several: bool, limits: tuple[float, float]) -> Rows:
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
        conditions = {c.name: self.condition(c, experiment, rest) for c in self.of("condition")}
        conditions = {n: v for n, v in conditions.items() if v is not None}
        self.surround(conditions)
        units: dict[str, str] = {}
        for column in self.of("reading"):
            factor, units[column.name] = self.amount(column)
            values[column.name] = values[column.name] * factor
        deviations = {c.name: self.deviation(c, values) for c in self.of("sd")}
        initial = {c.name: self.initial(c, experiment, times) for c in self.of("initial")}
        taken = [
            (self.file, header, what)
            for header, what in zip(self.table.headers, self.taken, strict=True)
        ]
        made = Rows(
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
        """What multiplies times in a unit into the network's."""
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

    def condition(
        self, column: Column, experiment: np.ndarray, rest: np.ndarray
    ) -> np.ndarray | None:
        """[rows] of a condition in its unit; gaps are filled where it is constant."""
        name, wanted = column.name, CONDITIONS[column.name]
        values = self.plain(column)
        for one in np.unique(experiment[np.isnan(values) & ~rest]):
            rows = np.flatnonzero((experiment == one) & ~rest)
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
        for value in (np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)):
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
            air = layer is not conditions and {*_AIR} & {*self.surroundings}
            for name in ("temperature", "pressure", "density"):
                if name not in layer or name in self.surroundings or (air and name in _AIR):
                    continue
                if name != "density":
                    self.surroundings[name] = layer[name] * rows
                elif network is not None and network.kind == "concentration":
                    self.surroundings[name] = layer[name] * rows * network.scale

    def amount(self, column: Column) -> tuple[Any, str]:
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
        """[rows] standard deviations, in the unit that the readings have become."""
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
            if base and _whole(base) and base.scale > 1e-3 and not of_reading:
                header = self.table.headers[column.place]
                raise self.table.fail(
                    column.place,
                    f"{column.unit!r} may be of the reading or of the whole; say which (columns: "
                    f"{{{header!r}: 'sd of {column.name} [% of reading]'}}, or [{reading.unit}]).",
                )
            relative = found * whole.scale * np.abs(values[column.name])
            self.taken[column.place] = f"{column.what}, {whole.label} of the reading"
            if np.any(none := relative == 0):
                relative[none] = np.nan
                self.notes.append(
                    f"{self.file}: {int(none.sum())} readings of {column.name} are zero, and have "
                    "no deviation in parts of the reading"
                )
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
