"""Runs of MusicBox: a mechanism of MUSICA, its box and its conditions in one file of JSON.

The mechanism stands one level down, under ``mechanism``, and `jaxchem.parse.musica` reads it. ``box
model options`` say how long the run is, with units in their names; the conditions stand in tables,
see `jaxchem.parse.musica_conditions`: those of CSV files beside this one, and those under ``data``,
which go before them. Runs with ``initial conditions``, ``evolving conditions`` and ``environmental
conditions`` of MusicBox 2 are read alike, as long as they hold their mechanism.
"""

import dataclasses
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..network import Network
from . import musica
from .common import beside, decoded
from .document import Node, has_key, read
from .musica_conditions import START, Course, Table, csv_table

__all__ = ["Run", "loads", "looks_like", "read_run"]

_TOP = (
    *("box model options", "conditions", "mechanism"),
    *("initial conditions", "evolving conditions", "environmental conditions"),
)
_TIMES = ("chemistry time step", "output time step", "simulation length")
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "hour": 3600.0, "hr": 3600.0, "day": 86400.0}
_LONGEST, _MOST = 1e12, 10_000_000
"""Of a run [s], and of its outputs."""


class Run(NamedTuple):
    """A box as MusicBox would run it.

    ``solve(run.network, run.network.rates(**run.conditions), run.network.y0(run.initial),
    run.times)`` integrates it where there are no `jumps`; `jaxchem.simulate` takes them too.

    Attributes:
        network: the mechanism; its defaults and initial state are those of the run at its start.
        conditions: for ``network.rates(**conditions)``; what changes is a function of time.
        initial: concentrations at the start [mol m-3].
        times: of the outputs, the start included [s].
        jumps: time [s] -> concentrations [mol m-3] that are set then, in order of time.
    """

    network: Network
    conditions: dict[str, Any]
    initial: dict[str, float]
    times: Float[np.ndarray, " T"]
    jumps: dict[float, dict[str, float]]


def looks_like(text: str) -> bool:
    """Whether this is JSON or YAML with the keys of a run of MusicBox."""
    return has_key(text, "box model options") or (
        has_key(text, "mechanism") and has_key(text, "conditions")
    )


def loads(text: str, filename: str = "<text>") -> Network:
    """Reads the mechanism of a run, with its conditions at the start as defaults.

    Args:
        text: the content of the file.
        filename: for error messages, and the place that condition files are relative to. One that
            is not there is left out with a warning.

    Raises:
        MechanismError: text that is no such run, with file and line.
    """
    return _run(read(text, filename), whole=False).network


def read_run(path: str | Path) -> Run:
    """Reads a whole run: network, conditions, initial state and times.

    Args:
        path: of the JSON file.

    Raises:
        MechanismError: a file that cannot be read, with file and line.

    Example:
        >>> run = read_run("my_config.json")
        >>> k = run.network.rates(**run.conditions)
        >>> solution = jaxchem.solve(run.network, k, run.network.y0(run.initial), run.times)
    """
    return _run(read(decoded(Path(path)), str(path)), whole=True)


def _run(root: Node, whole: bool) -> Run:
    found = root.mapping()
    if "model components" in found:
        _refuse_camp(found["model components"])
    fields = root.fields(_TOP, ("mechanism",))
    network = musica.mechanism(fields["mechanism"])
    course = Course(network)
    if "environmental conditions" in fields:
        course.take(_environment(fields["environmental conditions"]), untimed=True)
    for key in ("initial conditions", "evolving conditions", "conditions"):
        for table in _tables(fields[key], whole) if key in fields else ():
            course.take(table, untimed=key == "initial conditions")
    conditions, initial, jumps = course.found(root.filename)
    clock, times = {}, np.zeros(1)
    if "box model options" in fields:
        step, length = _clock(fields["box model options"])
        clock = {"start": 0.0, "end": length, "step": step}
        times = step * np.arange(int(length / step + 1e-9) + 1.0)
    elif whole:
        raise root.fail("the key 'box model options' is missing; add it")
    network = dataclasses.replace(
        network,
        defaults=tuple({**course.start(), **clock}.items()),
        initial=tuple(initial.items()),
    )
    given = conditions["quantities"]
    zero = [name for name in network.user_quantities if name not in given]
    if zero and whole:
        warnings.warn(
            f"{root.filename}: zero, as in MusicBox, since nothing gives them: {', '.join(zero)}.",
            stacklevel=3,
        )
    conditions = {**START, **conditions, "quantities": {**given, **dict.fromkeys(zero, 0.0)}}
    return Run(network, conditions, initial, times, jumps)


def _refuse_camp(components: Node) -> None:
    for part in components.items():
        fields = part.mapping()
        if "configuration file" in fields:
            raise fields["configuration file"].fail(
                "an old MusicBox run; read its CAMP mechanism "
                f"{fields['configuration file'].text()!r} instead"
            )
    raise components.fail("an old MusicBox run, without a mechanism; read that instead")


def _clock(options: Node) -> tuple[float, float]:
    """Output step and length of the run [s]."""
    found: dict[str, float] = {}
    for key, node in options.mapping().items():
        name, _, unit = key.rstrip("] ").partition(" [")
        if name in _TIMES:
            if unit not in _SECONDS:
                raise node.fail(f"{key[:60]!r}: write one of {', '.join(_SECONDS)} as its unit")
            found[name] = node.number() * _SECONDS[unit]
            if not 0 < found[name] < _LONGEST:
                raise node.fail(f"{key[:60]!r} lies between 0 and {_LONGEST:g} s")
        elif name == "grid":
            if node.text() != "box":
                raise node.fail(f"the grid is {node.text()[:40]!r}; 'box' can be read")
        elif name != "max iterations":
            known = ", ".join(f"'{n} [sec]'" for n in _TIMES)
            raise node.fail(f"unknown option {key[:60]!r}; known: {known}, 'grid'")
    for name in _TIMES[1:]:
        if name not in found:
            raise options.fail(f"{name!r} is missing; add '{name} [sec]'")
    step, length = found["output time step"], found["simulation length"]
    if length > _MOST * step:
        raise options.fail(f"more than {_MOST} outputs; make the run shorter or its steps longer")
    return step, length


def _tables(section: Node, whole: bool) -> list[Table]:
    """The tables of a section, in the order in which later ones go before."""
    fields = section.fields(("filepaths", "data"))
    tables = []
    for entry in fields["filepaths"].items() if "filepaths" in fields else ():
        path = beside(entry.filename, entry.text())
        if path is not None:
            tables.append(csv_table(decoded(Path(path)), str(path)))
        else:
            missing = entry.fail(f"there is no file {entry.text()[:80]!r} beside this one")
            if whole:
                raise missing
            warnings.warn(f"{missing}; its conditions are left out.", stacklevel=6)
    if "data" not in fields:
        return tables
    data, blocks = fields["data"], fields["data"].items()
    if blocks and isinstance(blocks[0].value, list):  # of MusicBox 2: a header and its rows
        blocks = [data.put({"headers": blocks[0], "rows": data.put(blocks[1:])})]
    for block in blocks:
        parts = block.fields(("headers", "rows"), ("headers", "rows"))
        rows = [row.items() for row in parts["rows"].items()]
        tables.append(Table(parts["headers"], parts["headers"].items(), rows))
    return tables


def _environment(section: Node) -> Table:
    """Initial temperature and pressure as MusicBox 2 has them, ``initial value [K]``."""
    headers, cells = [], []
    for name, node in section.mapping().items():
        for key, value in node.mapping().items():
            match = re.fullmatch(r"initial value (\[.*\])", key)
            if match is None:
                raise value.fail(f"unknown key {key[:60]!r}; known: 'initial value [UNIT]'")
            headers.append(value.put(f"ENV.{name} {match[1]}"))
            cells.append(value)
    return Table(section, headers, [cells])
