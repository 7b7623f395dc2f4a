"""What the readers of astrochemical lists share: species, ranges of temperature and remarks."""

import difflib
import math
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..expression import Expression, Number, call
from ..formula import CHARGE, ELEMENTS, parse_formula
from ..network import MechanismError, Network, Reaction, Units
from .common import build, fail

__all__ = [
    "HOTTEST",
    "Names",
    "Remarks",
    "compositions",
    "gated",
    "network",
    "number",
    "partition",
]

HOTTEST = 1e9
"""No rate is asked for at a higher temperature [K]; the upper limit of what has none."""

_NAME = re.compile(r"(?!.*\d{4})\d{0,3}[A-Za-z][\w+-]{0,39}(?:\(\w{1,9}\)[+-]{0,9})?", re.ASCII)
_MOST = 9  # molecules of one species on one side
_TOLD = 5  # lines of one remark, and remarks of one list, that are written out
_ELECTRON = ("E", "E-")
_ATOMLESS = ("GRAIN", "GRAIN0", "M")
_STATE = re.compile(r"\(\d[A-Z]\)")
_ISOTOPE = re.compile(r"^\d|13C|15N|1[78]O")
_PAIR = re.compile("HE|LI|BE|NE|NA|MG|AL|SI|CL|AR|CA|TI|CR|MN|FE|NI|CU|ZN")
"""Elements of two letters up to zinc, without those that two elements of one letter spell as
well, as CO, NO and CS do: molecules of these are common, and cobalt and the like are not."""


class Remarks:
    """What is told about a list once it is read: each remark once, with its lines.

    Args:
        filename: for messages.
        skip: whether a reaction that cannot be read is left out, with a remark, and does not end
            the reading.
    """

    def __init__(self, filename: str, skip: bool = False):
        self.filename, self.skip = filename, skip
        self.lines: dict[str, list[int]] = {}

    def add(self, line: int, remark: str) -> None:
        """Notes a remark on one line."""
        self.lines.setdefault(remark, []).append(line)

    @contextmanager
    def reading(self, line: int) -> Iterator[None]:
        """Where the reaction of one line is read."""
        try:
            yield
        except MechanismError as error:
            message = str(error).rstrip(".")
            if not self.skip:
                raise MechanismError(
                    f"{message}; or load it with skip=True, which leaves out the reactions that "
                    "cannot be read."
                ) from None
            self.add(line, f"left out: {message.removeprefix(f'{self.filename}, line {line}: ')}")

    def tell(self) -> None:
        """Warns of what has been noted."""
        told = []
        for remark, lines in [*self.lines.items()][:_TOLD]:
            where = "line" if len(lines) == 1 else "lines"
            more = f" and {len(lines) - _TOLD} more" if len(lines) > _TOLD else ""
            told.append(f"{where} {', '.join(map(str, lines[:_TOLD]))}{more}: {remark}.")
        if more := [*self.lines.values()][_TOLD:]:
            told.append(f"... and {len(more)} more remarks on {sum(map(len, more))} lines.")
        if told:
            warnings.warn(f"{self.filename}, {' '.join(told)}", stacklevel=5)


class Names:
    """The species of a list, as it spells them.

    Args:
        filename: for error messages.
        dropped: names of what is no species, such as photons, in capitals; they count in any case.
        blind: whether names that differ in case alone are one species, of which the first
            spelling counts. Electrons, ``e-``, ``E-`` and ``E``, always are.
        kinds: further words in capitals that are no species.
    """

    def __init__(
        self,
        filename: str,
        dropped: Collection[str],
        blind: bool = False,
        kinds: Collection[str] = (),
    ):
        self.kinds = kinds
        self.filename, self.dropped, self.blind = filename, dropped, blind
        self.spelt: dict[str, str] = {}

    def meant(self, name: str) -> str:
        """What a name is a slip of that means no species, such as a photon; nothing if none."""
        words = [word for word in (*self.dropped, *self.kinds) if len(word) > 4]
        near = difflib.get_close_matches(name[:80].upper(), words, n=1, cutoff=0.8)
        return near[0] if near and parse_formula(name) is None else ""

    def terms(self, line: int, names: Iterable[str]) -> dict[str, int]:
        """One side of a reaction: species -> how often its name stands there.

        Args:
            line: for error messages.
            names: may be blank.
        """
        counts: dict[str, int] = {}
        for name in map(str.strip, names):
            if not name or name.upper() in self.dropped:
                continue
            if not _NAME.fullmatch(name):
                raise fail(
                    self.filename, line, f"{name!r} is no name of a species, such as c-C3H2+"
                )
            key = name.upper() if self.blind else name
            if key not in self.spelt and (meant := self.meant(name)):
                raise fail(self.filename, line, f"{name!r} is no species; did you mean {meant!r}?")
            name = self.spelt.setdefault("E" if name.upper() in _ELECTRON else key, name)
            counts[name] = counts.get(name, 0) + 1
            if counts[name] > _MOST:
                message = f"{name!r} stands more than {_MOST} times on one side"
                raise fail(self.filename, line, message)
        return counts


def compositions(names: Iterable[str], blind: bool = False) -> dict[str, Mapping[str, int] | None]:
    """What the species of one list are made of, by their names; `None` where a name does not say.

    Whether a list is in capitals, so that SI is silicon and HE helium, is decided by all of its
    names together: it is where none has a small letter, isomers' prefixes and the electron aside.
    CO, NO and CS are two elements in either case. Isomers are written ``c-C3H2`` or ``C3H2_c``,
    states ``O(1D)``; signs are charges wherever they stand, as in the adduct ``OCS+H2``; ``D`` is
    an element. Grains and a third body ``M`` have no atoms, and isotopes no composition, since
    ``C18O`` would read as eighteen carbon atoms.

    Args:
        names: all species of the list.
        blind: whether the list's case says nothing, so that it counts as capitals.
    """
    names = list(names)
    capitals = blind or not any(map(str.islower, "".join(map(_body, names))))
    return {name: _composition(name, capitals) for name in names}


def _body(name: str, capitals: bool = False) -> str:
    """A name without what tells isomers and states apart."""
    if name.upper() in _ELECTRON:
        return ""
    name = _STATE.sub("", name.partition("_")[0])
    return re.sub("^[A-Za-z]{1,5}-(?=[A-Za-z])" if capitals else "^[a-z]+-", "", name)


def _composition(name: str, capitals: bool) -> dict[str, int] | None:
    if name.upper() in _ELECTRON:
        return {CHARGE: -1}
    body = _body(name, capitals)
    charge = body.count("+") - body.count("-")
    formula = re.sub("[+-]", "", body)
    if formula.upper() in _ATOMLESS:
        # no formula says a positive charge alone, and a network must have one
        return {CHARGE: -1} if charge == -1 else None if charge else {}
    if _ISOTOPE.search(formula):
        return None
    if capitals:
        formula = _PAIR.sub(lambda found: found[0].capitalize(), formula.upper())
    counts = parse_formula(formula, ELEMENTS | {"D"})
    return None if counts is None else counts | ({CHARGE: charge} if charge else {})


def number(filename: str, line: int, text: str, what: str) -> float:
    """A finite number; `MechanismError` where the text is none."""
    try:
        value = float(text)
    except ValueError:
        raise fail(filename, line, f"{what} is {text.strip()!r}, which is no number") from None
    if not math.isfinite(value):
        raise fail(filename, line, f"{what} is not finite")
    return value


def partition(
    ranges: Sequence[tuple[float, float]],
) -> list[tuple[float | None, float | None]]:
    """For each range of temperature, the temperatures that are nearest to it.

    Args:
        ranges: lowest and highest temperature [K] of each, rising.

    Returns:
        From and below which temperature; `None` where nothing bounds it. They meet half-way
        between two ranges.

    Raises:
        ValueError: a range that does not lie above the one before it.
    """
    for lower, upper in pairwise(ranges):
        if lower[0] >= upper[0] or lower[1] >= upper[1]:
            raise ValueError(
                f"one rate holds at {lower[0]:g}-{lower[1]:g} K and another at "
                f"{upper[0]:g}-{upper[1]:g} K; each range must lie above the one before it"
            )
    edges = [(a[1] + b[0]) / 2 for a, b in pairwise(ranges)]
    return list(zip([None, *edges], [*edges, None], strict=True))


def gated(low: float | None, high: float | None, rate: Expression) -> Expression:
    """The rate from `low` on and below `high` [K], otherwise zero; `None` bounds nothing."""
    if high is not None:
        rate = call("below", Number(high), rate)
    return rate if low is None else call("at_least", Number(low), rate)


def network(
    filename: str,
    reactions: Sequence[Reaction],
    references: Mapping[str, str],
    *,
    blind: bool = False,
    special: Mapping[str, dict[str, int] | None] | None = None,
    ghosts: Iterable[str] = (),
    **parts: Any,
) -> Network:
    """The network of these reactions: species as they first appear, in cm-3 and s.

    Args:
        filename: its stem becomes the network's name.
        reactions: all of them.
        references: key -> reference; the file's name is put before it.
        blind: as in `compositions`.
        special: compositions of the species whose names are not their formulae.
        ghosts: species that need no reaction; fixed where they have none.
        **parts: what else `Network.build` takes.
    """
    if not reactions:
        raise fail(filename, 1, "no reaction here or below; write at least one")
    path = Path(filename.replace("#", " "))
    reacting = dict.fromkeys(
        n for r in reactions for side in (r.reactants, r.products) for n in side
    )
    found = compositions([*dict.fromkeys([*reacting, *ghosts])], blind)
    return build(
        filename,
        name=path.stem,
        species=found | {n: c for n, c in (special or {}).items() if n in found},
        reactions=reactions,
        units=Units("cm-3", "s"),
        references={k: f"{path.name}: {v}" for k, v in references.items()},
        fixed=[n for n in found if n not in reacting],
        **parts,
    )
