"""What the columns of a chemist's table are, by their headers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..dataset.tables import EXPERIMENT, Table, instants
from ..network import Network
from ..rates import CONDITIONS, NAMED
from ..suggest import closest
from .units import CONCENTRATIONS, same, unit

__all__ = ["Column", "arbitrary", "recognise"]


class Column(NamedTuple):
    """What a column is.

    Attributes:
        kind: time, experiment, skip, condition, reading, sd (standard deviation of a reading) or
            initial (value of a species).
        name: of the condition, species or observable, else nothing.
        unit: as it is written, nothing where none is.
        place: in the table.
    """

    kind: str
    name: str = ""
    unit: str = ""
    place: int = -1

    @property
    def what(self) -> str:
        """The same in words, as `columns` takes it."""
        words = {"sd": f"sd of {self.name}", "initial": f"initial {self.name}"}
        return words.get(self.kind, self.name or self.kind)


_SHORT = {
    **dict.fromkeys(("T", "temp", "temp."), "temperature"),
    **dict.fromkeys(("p", "P", "press", "press."), "pressure"),
    **dict.fromkeys(("RH", "rh", "rel. humidity", "humidity"), "relative_humidity"),
    **dict.fromkeys(("SZA", "sza", "zenith angle"), "solar_zenith_angle"),
    **dict.fromkeys(("M", "[M]", "number density", "air density", "air"), "density"),
    **dict.fromkeys(("A_V", "AV", "Av"), "visual_extinction"),
}
"""Usual short forms of conditions."""

_KINDS = {
    "K": ("temperature",),
    "Pa": ("pressure",),
    "1": ("fraction",),
    "rad": ("angle",),
    "s-1": ("rate",),
    "s since midnight": ("time",),
}
"""Unit of a condition -> kinds of unit that it may be given in."""

_TIME = re.compile(r"(?i:time|elapsed|date[\s_]?time|timestamp|date)(?![A-Za-z]).*|t(?:\s.*)?")
_OF_DAY = re.compile(r".*(?<![A-Za-z])(?:of|per)[\s_]*", re.IGNORECASE)
_OWN = "|".join(EXPERIMENT)
_EXPERIMENT = re.compile(
    rf"(?:{_OWN})\.?(?:[\s_]*(?:no|nr|number|id|name|num|#)\.?)?|#|(?:no|nr)\.?", re.IGNORECASE
)
_DEVIATION = (
    r"sd|s\.d\.|st\.?\s?dev\.?|std\.?(?:[\s_.]*(?:dev|error|err)\.?)?|stdev|stderr|sigma|\u03c3|se|sem|"
    r"standard[\s_](?:deviation|error)|error|err|uncertainty|unc\.?"
)
_SIGN = r"±|\+/-|\+-"
_DEVIATIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:{_DEVIATION}|u)\s*\((?P<name>.+)\)",
        rf"(?:{_DEVIATION})[\s_]+(?:(?:of|in|on)[\s_]+)?(?P<name>.+)",
        rf"(?:{_SIGN})\s*(?P<name>.+)",
        rf"(?P<name>.+?)(?:[\s_]+(?:{_DEVIATION})|[\s_]*[\[(](?:{_DEVIATION}|{_SIGN})[\])])",
        rf"(?P<name>.+?)[\s_]*(?:{_SIGN})",
    )
)
_AMOUNTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"[cC]\s*\((?P<name>.+)\)",
        r"(?i:conc(?:entration|\.)?)\s+(?:of\s+)?(?P<name>.+)",
        r"(?P<name>.+?)\s+(?i:conc(?:entration|\.)?)",
    )
)
_INITIALS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:initial|starting|start|init\.?)[\s_]+(?:(?:concentration|value)[\s_]+)?"
        r"(?:of[\s_]+)?(?P<name>.+)",
        r"(?P<name>.+?)\s*(?:\(\s*(?:t\s*=\s*)?0\s*\)|[\s_](?:0|initial|init|start))",
        r"(?P<name>\[.+\])0",
        r"(?P<name>.*[A-Za-z])0",
    )
)
_BRACKET = re.compile(
    r"(?P<name>.*\S)\s*(?:\[(?P<square>[^\[\]]*)\]|\((?P<round>(?:[^()]|\([^()]*\))*)\))"
)
_LONE = re.compile(rf"{_DEVIATION}|{_SIGN}", re.IGNORECASE)
_SINCE = re.compile(r"(?P<unit>\w+) since .*")
_ARBITRARY = re.compile(
    r"a\.?\s?u\.?|arb\.?(?:\s?u(?:nits?)?\.?)?|arbitrary(?: units?)?|rel\.? units?|absorbance|"
    r"signal|area|peak area|od|cps|ratio",
    re.IGNORECASE,
)
_EXPLICIT = re.compile(r"(?P<name>.*\S)\s*\[(?P<unit>[^\[\]]*)\]")


def recognise(
    table: Table,
    network: Network,
    observables: Sequence[str],
    columns: Mapping[str, str],
) -> list[Column]:
    """What each column of a table is, in its order.

    Args:
        table: the table.
        network: whose species are measured.
        observables: names of what else is.
        columns: header -> what it is, where the user says so.

    Raises:
        ValueError: a header that is not understood, or in more than one way; two columns that are
            the same; no time; no reading; a deviation without its reading.
    """
    reader = _Headers(table, network, tuple(observables))
    found: list[Column | None] = []
    for place, header in enumerate(table.headers):
        told = columns.get(header)
        column = reader.read(place) if told is None else reader.told(place, header, told)
        found.append(column and column._replace(place=place))
    if not any(c and c.kind == "time" for c in found):  # the one column that has a unit of time
        timed = [
            Column("time", "", unit_, place)
            for place, column in enumerate(found)
            if column is None and (unit_ := reader.time_unit(place))
        ]
        if len(timed) == 1:
            found[timed[0].place] = timed[0]
    readings = {c.name for c in found if c and c.kind == "reading"}
    made: list[Column] = []
    for place, column in enumerate(found):
        if column is None:
            column = reader.lone_deviation(place, sorted(readings))
        if column is None:
            raise reader.unknown(place)
        made.append(column)
    _check(table, made)
    return made


def _check(table: Table, columns: list[Column]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for column in columns:
        if column.kind == "skip":
            continue
        before = seen.setdefault(column[:2], column.place)
        if before != column.place:
            raise table.fail(
                column.place,
                f"{column.what} stands there twice, as {table.headers[before]!r} too; take one of "
                f"them as 'skip' (columns: {{{table.headers[column.place]!r}: 'skip'}}).",
            )
    headers = ", ".join(repr(h) for h in table.headers[:12])
    if ("time", "") not in seen:
        raise ValueError(
            f"{table.file}: no column is the time; name it (columns: {{header: 'time [min]'}}). "
            f"The headers are {headers}."
        )
    for kind, name in seen:
        if kind == "sd" and ("reading", name) not in seen:
            raise table.fail(
                seen[kind, name], f"the deviation of {name!r}, which the table does not have."
            )
    if not any(kind == "reading" for kind, _ in seen):
        raise ValueError(
            f"{table.file}: no column is a species or an observable; name one (columns: "
            f"{{header: species}}). The headers are {headers}."
        )


def _loose(name: str) -> str:
    """Without blanks, case and punctuation, but with a charge, a star and primes."""
    core = re.fullmatch(r"(.*?)([-+]*)", name.strip(), re.DOTALL)
    body, charge = core.groups() if core else (name, "")
    return re.sub(r"[\s_\-.,;:/()\[\]{}]", "", body).lower() + charge


class _Headers:
    """The headers of one table, and the names that they may be."""

    def __init__(self, table: Table, network: Network, observables: tuple[str, ...]):
        self.table = table
        self.concentration, self.time = network.units
        self.species = network.species
        self.observables = observables
        self.conditions = tuple(name for name in CONDITIONS if name not in NAMED)
        exact = [Column("reading", name) for name in (*network.species, *observables)]
        exact += [Column("condition", name) for name in self.conditions]
        self.exact = {column.name: column for column in exact}
        self.loose: dict[str, list[Column]] = {}
        for column in exact:
            self.loose.setdefault(_loose(column.name), []).append(column)
        self.known = (*network.species, *observables, *self.conditions)

    def read(self, place: int) -> Column | None:
        """What a column is; `None` where its header does not say."""
        header, own = self.table.headers[place], self.table.units[place]
        column = self._resolve(header, own, place)
        if column and own and column.unit != own and not same(column.unit, own):
            raise self.table.fail(
                place, f"has the unit {column.unit!r} in its header and {own!r} below it; keep one."
            )
        return column

    def told(self, place: int, header: str, text: str) -> Column:
        """What the user says that a column is."""
        column = self._target(text)
        explicit = ""
        if column is None and (match := _EXPLICIT.fullmatch(text.strip())):
            column, explicit = self._target(match["name"]), match["unit"]
        if column is None:
            known = ("time", "experiment", "skip", *self.known)
            near = closest(text, known) or f". Known: {', '.join(known[:20])}"
            raise ValueError(f"columns: {header!r} cannot be {text!r}{near}")
        if column.kind in ("skip", "experiment"):
            return column
        own = explicit or self.table.units[place]
        for _, unit_, how in _splits(header):
            if not own and how != "space" and (how == "bracket" or self._fits(column, unit_)):
                own = unit_
        if not self._fits(column, own) and not self._dated(column, place):
            raise self._no_unit(place, column, own)
        return column._replace(unit=own)

    def time_unit(self, place: int) -> str:
        """The unit of time that a header of any name gives."""
        header, own = self.table.headers[place], self.table.units[place]
        units = [own, *(u for _, u, how in _splits(header) if how != "space")]
        return next((u for u in units if u and self._fits(Column("time"), u)), "")

    def lone_deviation(self, place: int, readings: list[str]) -> Column | None:
        """A column that is the deviation of the only reading, though it does not name it."""
        header, own = self.table.headers[place], self.table.units[place]
        for name, text, _ in [(header, own, ""), *_splits(header)]:
            if _LONE.fullmatch(name) and len(readings) == 1:
                column = Column("sd", readings[0], text, place)
                if self._fits(column, text):
                    return column
        return None

    def unknown(self, place: int) -> ValueError:
        """The error of a header that says nothing."""
        header = self.table.headers[place]
        name = next((n for n, _, how in _splits(header) if how == "bracket"), header)
        near = closest(name, ("time", "experiment", *self.known)) or "."
        return self.table.fail(
            place,
            f"no time, experiment, condition, species or observable is called so{near} Say what "
            f"it is (columns: {{{header!r}: name}}), or leave it out ({{{header!r}: 'skip'}}).",
        )

    def _target(self, text: str) -> Column | None:
        name = text.strip()
        if name in self.exact:
            return self.exact[name]
        if name in ("time", "experiment", "skip"):
            return Column(name)
        for start, kind in (("sd of ", "sd"), ("initial ", "initial")):
            inner = self.exact.get(name.removeprefix(start))
            if name.startswith(start) and inner and inner.kind == "reading":
                return Column(kind, inner.name)
        return None

    def _resolve(self, header: str, own: str, place: int) -> Column | None:
        """What a header is; `own` is the unit that stands elsewhere."""
        whole = (header, own, "whole")
        splits = [whole] if header in self.exact else [*_splits(header), whole]
        misfit: ValueError | None = None
        for name, text, how in splits:
            hits = self._find(name, text, how, place)
            fitting = [h for h in hits if self._fits(h, text) or self._dated(h, place)]
            if misfit and how == "whole":  # "time [m]" is no time in words
                fitting = [h for h in fitting if h.kind not in ("time", "experiment")]
            if len(fitting) > 1:
                may = " or ".join(repr(hit.what) for hit in fitting)
                raise self.table.fail(
                    place,
                    f"may be {may}; say which (columns: {{{header!r}: {fitting[0].what!r}}}).",
                )
            if fitting:
                return fitting[0]._replace(unit=text or fitting[0].unit or own)
            if hits and text and how not in ("underscore", "space"):
                misfit = misfit or self._no_unit(place, hits[0], text)
        if misfit:
            raise misfit
        return None

    def _find(self, name: str, text: str, how: str, place: int) -> list[Column]:
        """What a name may mean: exactly, or else by usual forms and spelling."""
        short = [self.exact[_SHORT[name]]] if name in _SHORT else []
        if name in self.exact:
            return list(dict.fromkeys([self.exact[name], *(short if text else [])]))
        found = [*short, *self.loose.get(_loose(name), [])]
        if _TIME.fullmatch(name) and (
            how not in ("underscore", "space") or not _OF_DAY.match(name)
        ):
            found.append(Column("time"))
        if _EXPERIMENT.fullmatch(name):
            found.append(Column("experiment"))
        if found:
            return list(dict.fromkeys(found))
        forms = {"sd": _DEVIATIONS, "initial": _INITIALS, "reading": _AMOUNTS}
        for kind, patterns in forms.items():
            for match in filter(None, (pattern.fullmatch(name) for pattern in patterns)):
                try:
                    inner = self._resolve(match["name"], "", place)
                except ValueError:
                    continue
                if inner and inner.kind == "reading":
                    found.append(Column(kind, inner.name, inner.unit))
        return list(dict.fromkeys(found))

    def _fits(self, column: Column, text: str) -> bool:
        """Whether a unit may be that of a column."""
        found = unit(text) if text else None
        if not text or column.kind in ("skip", "experiment"):
            return True
        if column.kind == "time":
            known = same(text, self.time) or bool(_SINCE.fullmatch(text))
            return known or (found is not None and found.kind == "time")
        if column.kind == "condition":
            wanted = CONDITIONS[column.name]
            kinds = CONCENTRATIONS[:1] if column.name == "density" else _KINDS.get(wanted, ())
            return text == wanted or (found is not None and found.kind in kinds)
        if same(text, self.concentration) or (found is not None and found.kind in CONCENTRATIONS):
            return True
        return column.name in self.observables and (found is not None or arbitrary(text))

    def _dated(self, column: Column, place: int) -> bool:
        """Whether it is a column of dates, behind which anything may stand, such as UTC."""
        return column.kind == "time" and instants(self.table, place) is not None

    def _no_unit(self, place: int, column: Column, text: str) -> ValueError:
        wanted = {
            "time": "a unit of time, as 'min'",
            "condition": f"one of {column.name} [{CONDITIONS.get(column.name, '')}]",
        }.get(column.kind, f"one that can become {self.concentration!r}")
        found = unit(text)
        word = "no unit that is known" if found is None else f"a unit of {found.kind}"
        word = word.replace("a unit of other", "a unit of something else")
        header = self.table.headers[place]
        return self.table.fail(
            place,
            f"{text!r} is {word}, and {column.what!r} wants {wanted}; correct it, or say what the "
            f"column is (columns: {{{header!r}: '{column.what} [unit]'}}).",
        )


def arbitrary(text: str) -> bool:
    """Whether a text is a unit of no unit, as signals have."""
    return bool(_ARBITRARY.fullmatch(text.strip()))


def _splits(header: str) -> Iterator[tuple[str, str, str]]:
    """(name, unit, how) that a header may be made of."""
    if match := _BRACKET.fullmatch(header):
        text = match["square"] if match["square"] is not None else match["round"]
        yield match["name"], text.strip(), "bracket"
    for mark, how in (("/", "slash"), (",", "comma"), ("_", "underscore"), (" ", "space")):
        for place in (i for i, letter in enumerate(header) if letter == mark):
            name, text = header[:place].strip(), header[place + 1 :].strip()
            if name and text:
                if mark == "_":  # ug_m3 is per volume
                    text = re.sub(r"(?<=.)_(c?m3|L)$", r"/\1", text).replace("_", " ")
                yield name, re.sub(r"^\((.*)\)$", r"\1", text), how
