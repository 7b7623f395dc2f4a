"""Condition files of MUSICA: where a mechanism starts and what its host model would give.

There are two: a list of one value a line, ``CONC.O3,2.49e-6``, and MusicBox's tables, whose first
line names columns, one of them the time::

    time.s, ENV.temperature.K, CONC.O3.mol m-3, PHOTO.O3->O1D.s-1
    0,      217.6,             6.43e-6,         4.25e-5
    3600,   217.6,             None,            1.33e-6

A column is KIND.NAME.UNIT, or KIND.NAME [UNIT] in older files; nothing is given where a cell is
empty, None, null or NaN. A concentration is set at that very time; all else is held from its time
on until another value comes. Before the first there are 298.15 K, 101325 Pa, and rates and
concentrations of zero, as in MusicBox (https://github.com/NCAR/music-box, version 3.3).
"""

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..network import Network
from ..rates import AVOGADRO, BOLTZMANN
from .common import decoded, fail, numbered
from .document import Node
from .musica_laws import GIVEN, SURFACE

__all__ = ["START", "Course", "Table", "csv_table", "held", "initial_conditions"]

_ENVIRONMENT = {
    "temperature": "temperature",
    "pressure": "pressure",
    "air_density": "density",
    "time_step": None,
}
"""What the environment is called here; the time step is the host model's."""
START = {"temperature": 298.15, "pressure": 101325.0}
"""MusicBox's own; everything else is zero."""
_UNITS = {
    "temperature": {"K": 1.0},
    "pressure": {
        **{"Pa": 1.0, "hPa": 100.0, "mbar": 100.0, "kPa": 1e3, "bar": 1e5, "atm": 101325.0},
    },
    "CONC": {
        **{"mol m-3": 1.0, "mol cm-3": 1e6},
        **{f"{name} m-3": 1 / AVOGADRO for name in ("molec", "molecule")},
        **{f"{name} cm-3": 1e6 / AVOGADRO for name in ("molec", "molecule")},
    },
    "PHOTO": {"s-1": 1.0},
    "LOSS": {"s-1": 1.0},
    "EMIS": {"mol m-3 s-1": 1.0, "s-1": 1.0},
}
"""What a column is multiplied by; those of USER have the units of their reactions."""
_RATIOS = {"mol mol-1": 1.0, "ppth": 1e-3, "ppm": 1e-6, "ppb": 1e-9, "ppt": 1e-12}
_PARTICLES = {
    part: (f"{name}.{unit}", name, unit)
    for part in SURFACE
    for name, unit in [part.rstrip("]").split(" [")]
}
"""What the user gives of particles, and the ways to write it."""
_TIME = "time.s"
_NOTHING = ("", "none", "null", "nan")


class Table(NamedTuple):
    """Columns by time.

    Attributes:
        place: where it begins.
        headers: names of the columns.
        rows: of cells.
    """

    place: Node
    headers: list[Node]
    rows: list[list[Node]]


def csv_table(text: str, filename: str) -> Table:
    """The table of a CSV file; `MechanismError` where it has none."""
    lines = [
        [Node(cell.strip().strip('"').strip(), filename, line) for cell in raw.split(",")]
        for line, raw in numbered(text)
        if raw.strip()
    ]
    if not lines:
        raise fail(filename, 1, "nothing stands in it")
    return Table(lines[0][0], lines[0], lines[1:])


def held(times: Any, values: Any) -> Callable[[Any], Any]:
    """Values as a function of time, each held from its time on, the first also before.

    Args:
        times: [n], in order.
        values: [n].
    """
    times, values = np.asarray(times, dtype=float), np.asarray(values, dtype=float)

    def at(t: Any) -> Any:
        place = jnp.searchsorted(jnp.asarray(times), t, side="right") - 1
        return jnp.asarray(values)[jnp.maximum(place, 0)]

    return at


class Course:
    """What the tables of a run say of a network, later ones before earlier ones.

    Args:
        network: of MUSICA; `None` takes every name for one of it.
    """

    def __init__(self, network: Network | None = None):
        self.network = network
        self.values: dict[tuple[str, str], dict[float, tuple[float, bool]]] = {}
        self.left: dict[str, None] = {}
        self.converted: dict[str, None] = {}
        self.twice: dict[str, None] = {}

    def take(self, table: Table, untimed: bool = False) -> None:
        """Takes up a table; one that is `untimed` needs no column of time, and is of the start.

        Raises:
            MechanismError: a column or a number that cannot be read, with file and line.
        """
        labels = [re.sub(r"\s*\[\s*(.*?)\s*\]$", r".\1", h.text().strip()) for h in table.headers]
        clock = labels.index(_TIME) if _TIME in labels else None
        if clock is None and not untimed:
            raise table.place.fail(f"the column {_TIME!r} is missing; add it")
        columns = [
            None if label == _TIME else self._column(label, header)
            for label, header in zip(labels, table.headers, strict=True)
        ]
        seen: set[tuple[tuple[str, str], float]] = set()
        for row in table.rows:
            if len(row) != len(labels):
                place = row[0] if row else table.place
                raise place.fail(f"{len(row)} values stand under {len(labels)} columns")
            time = 0.0 if clock is None else row[clock].number()
            if clock is not None and time < 0:
                raise row[clock].fail(f"the time is {time:g} s; a run begins at 0")
            for column, cell in zip(columns, row, strict=True):
                if column is None or cell.text().strip().lower() in _NOTHING:
                    continue
                key, factor, ratio = column
                value = cell.number() * factor
                if not 0 <= value < math.inf or (key[0] == "ENV" and value == 0):
                    raise cell.fail(f"{'.'.join(key)} is {value:g}; it must be positive")
                if (key, time) in seen:
                    raise cell.fail(f"{'.'.join(key)} is given twice at {time:g} s; drop one")
                seen.add((key, time))
                known = self.values.setdefault(key, {})
                if known.get(time, (value, ratio)) != (value, ratio):
                    self.twice[f"{'.'.join(key)} at {time:g} s"] = None
                known[time] = value, ratio

    def _column(self, label: str, header: Node) -> tuple[tuple[str, str], float, bool] | None:
        """Kind and name of a column, the factor to the unit here, and whether it is of the air."""
        kind, _, rest = label.partition(".")
        name, _, unit = rest.partition(".")
        kind = "SURF" if kind == "SURFACE" else kind
        if kind not in (known := ("ENV", "CONC", *GIVEN)) or not name:
            raise header.fail(
                f"unknown column {label[:60]!r}; write {_TIME!r} or KIND.NAME.UNIT, KIND one of "
                + ", ".join(known)
            )
        if kind == "SURF":
            own = next((p for p, spelled in _PARTICLES.items() if unit in spelled), None)
            if own is None:
                ways = ", ".join(f"SURF.{name}.{spelled[0]}" for spelled in _PARTICLES.values())
                raise header.fail(f"unknown column {label[:60]!r}; write {ways}")
            name, unit = f"{name}.{own}", ""
        if not self._known(kind, name):
            self.left[label] = None
            return None
        units = _UNITS.get(name if kind == "ENV" else kind, {unit: 1.0})
        if kind == "CONC":
            if unit not in ("", "mol m-3"):
                self.converted[label] = None
            units = {**units, **_RATIOS}
        if unit and unit not in units:
            raise header.fail(f"the unit {unit[:40]!r} of {kind}.{name}: write {', '.join(units)}")
        return (kind, name), units[unit] if unit else 1.0, kind == "CONC" and unit in _RATIOS

    def _known(self, kind: str, name: str) -> bool:
        """Whether the run has a use for a column."""
        if kind == "ENV":
            return name in START
        if self.network is None:
            return True
        named = self.network.species if kind == "CONC" else self.network.user_quantities
        return (name if kind == "CONC" else f"{kind}.{name}") in named

    def start(self) -> dict[str, float]:
        """Temperature and pressure at the start, where the tables give them then."""
        found = {n: self.values.get(("ENV", n), {}).get(0.0) for n in START}
        return {n: value[0] for n, value in found.items() if value}

    def found(
        self, filename: str
    ) -> tuple[dict[str, Any], dict[str, float], dict[float, dict[str, float]]]:
        """Conditions, the initial state, and what is set later, by time.

        Args:
            filename: for warnings: of columns that are left out, of units, of what is given twice.
        """
        where = {**START, **self.start()}
        air = where["pressure"] / (AVOGADRO * BOLTZMANN * where["temperature"])
        conditions: dict[str, Any] = {}
        quantities: dict[str, Any] = {}
        states: dict[float, dict[str, float]] = {}
        for (kind, name), known in self.values.items():
            values = {t: v * (air if ratio else 1.0) for t, (v, ratio) in sorted(known.items())}
            if kind == "CONC":
                for time, value in values.items():
                    states.setdefault(time, {})[name] = value
                continue
            values = {0.0: START.get(name, 0.0) if kind == "ENV" else 0.0} | values
            constant = len(set(values.values())) == 1
            course = values[0.0] if constant else held([*values], [*values.values()])
            if kind == "ENV":
                conditions[name] = course
            else:
                quantities[f"{kind}.{name}"] = course
        for note, names in (
            ("left out, as the mechanism has no such species or rate", self.left),
            ("converted to mol m-3, which MusicBox 3 takes them for", self.converted),
            ("given twice, of which the last counts", self.twice),
        ):
            if names:
                warnings.warn(f"{filename}: {note}: {', '.join(names)}.", stacklevel=6)
        later = {time: states[time] for time in sorted(states) if time > 0}
        return {**conditions, "quantities": quantities}, states.get(0.0, {}), later


def initial_conditions(path: str | Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Reads a condition file of MUSICA, ``CONC.O3,2.49e-6`` and the like, one a line, or a table.

    Args:
        path: a CSV file. ``CONC.``, ``ENV.``, ``PHOTO.``, ``EMIS.``, ``LOSS.``, ``USER.`` and
            ``SURF.`` are known; the last with radius and number where it names neither.

    Returns:
        Concentrations [mol m-3] by species, for `Network.y0`, and conditions, for
        ``network.rates(**conditions)``, in which quantities have the names of the file. What a
        file leaves out MUSICA takes for zero; so does `rates` once ``"*": 0.0`` is among them.

    Raises:
        MechanismError: a line that cannot be read, with file and line; a table that sets
            concentrations after the start, which `jaxchem.parse.musicbox.read_run` reads.
    """
    filename = str(path)
    text = decoded(Path(path))
    if re.match(rf"\s*[^\n]*\b{re.escape(_TIME)}\b", text):
        course = Course()
        course.take(csv_table(text, filename))
        found, state, jumps = course.found(filename)
        if jumps:
            raise fail(
                filename,
                1,
                f"concentrations are set at {min(jumps):g} s too; a run of MusicBox, with its "
                "mechanism, can have that (jaxchem.parse.musicbox)",
            )
        return state, found
    initial: dict[str, float] = {}
    environment: dict[str, float] = {}
    quantities: dict[str, float] = {}
    for line, raw in numbered(text):
        if not raw.strip():
            continue
        label, *cells = (cell.strip() for cell in raw.split(","))
        kind, _, name = label.partition(".")
        labels = [label]
        if kind == "SURF" and len(cells) == len(SURFACE):
            labels = [f"{label}.{part}" for part in SURFACE]
        if not name or len(cells) != len(labels):
            raise fail(filename, line, f"{raw[:60]!r}: write 'KIND.NAME,NUMBER'")
        numbers = [Node(cell, filename, line).number() for cell in cells]
        if kind == "CONC":
            into, labels = initial, [name]
        elif kind == "ENV" and name in _ENVIRONMENT:
            into, labels = environment, [name]
        elif kind in GIVEN:
            into = quantities
        else:
            known = [f"ENV.{n}" for n in _ENVIRONMENT] + [f"{k}.NAME" for k in ("CONC", *GIVEN)]
            raise fail(filename, line, f"unknown {label[:60]!r}; known: {', '.join(known)}")
        for key, number in zip(labels, numbers, strict=True):
            if key in into:
                raise fail(filename, line, f"{label!r} is given twice; drop one")
            into[key] = number
    known = {ours: environment[n] for n, ours in _ENVIRONMENT.items() if ours and n in environment}
    return initial, {**known, "quantities": quantities}
