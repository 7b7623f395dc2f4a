"""The format of the UMIST database for astrochemistry: one reaction a line, colons between fields.

``number:type:R1:R2:P1:P2:P3:P4:NE`` and then NE times
``alpha:beta:gamma:lowest T:highest T:flag:accuracy:"DOI":"reference"``; a colon may end the line
and stand in quoted text. ``#`` starts a comment, as does ``!`` behind all fields. Names may all be
in capitals, as in UCLCHEM's copy of UMIST 2012.

The rates (McElroy et al. 2013, A&A 550, A36; Millar et al. 2024, A&A 682, A109):

* two bodies: Kooij, alpha (T / 300 K)^beta exp(-gamma / T);
* ``CRP``, cosmic rays: alpha zeta / zeta_0, the compilation's alpha being for
  zeta_0 = 1.36e-17 s-1; the quantity ``cosmic_ray_scale`` is zeta / zeta_0;
* ``CRPHOT``, photons that they raise: alpha (T / 300 K)^beta gamma / (1 - omega) zeta / zeta_0,
  omega the quantity ``dust_albedo``, 0.5 unless another is given;
* ``PHOTON``, interstellar photons: alpha exp(-gamma A_V).

At temperatures outside its ranges a reaction has the formula of the nearest range: to hold a
coefficient at the end of its range would let reactions with a barrier, many of them measured
above 1000 K only, run in cold gas. Where one reaction has several ranges with gaps between, the
formula changes half-way; a range that is written twice counts once.
"""

import csv
import re
from collections.abc import Sequence
from functools import partial, reduce

from ..expression import Expression, Name, Number, call, parse
from ..network import Network, Reaction
from .astro import HOTTEST, Names, Remarks, gated, network, number, partition
from .common import counted, fail, numbered

__all__ = ["loads", "looks_like"]

_AGENTS = frozenset({"CRP", "CRPHOT", "PHOTON"})
_LINE = re.compile(r"^\d+:[A-Z]{2,3}:[A-Za-z][\w+-]*:[\w+-]*:[\w+-]*:[^:\n]*:", re.MULTILINE)
_REFERENCES = {"UMIST": "Millar et al. (2024), A&A 682, A109; McElroy et al. (2013), A&A 550, A36."}
_QUANTITIES = {
    "cosmic_ray_scale": parse("cosmic_ray_rate / 1.36e-17"),
    "dust_albedo": Number(0.5),
}
_NUMBERS = ("alpha", "beta", "gamma", "the lowest temperature", "the highest temperature")
_HEAD, _BLOCK, _MOST_BLOCKS = 9, 9, 20
_END = re.compile(r"[\s:]*([!#].*)?")


def looks_like(text: str) -> bool:
    """Whether a line begins with number, type, reactants and products of UMIST's files."""
    return _LINE.search(text[:100_000]) is not None


def loads(text: str, filename: str = "<text>", *, skip: bool = False) -> Network:
    """Reads a network of UMIST.

    Args:
        text: the content of the file.
        filename: for error messages.
        skip: leave out the lines that cannot be read, with a warning, instead of an error.

    Returns:
        The network, in cm-3 and s, one reaction a line.

    Raises:
        MechanismError: a line that cannot be read, with file, line and why.
    """
    reactions = []
    species, remarks = Names(filename, _AGENTS), Remarks(filename, skip)
    lines = [each for each in numbered(text) if not each[1].lstrip().startswith("#")]
    counted(filename, len(lines))
    for line, content in lines:
        with remarks.reading(line):
            reactions.append(_reaction(content.strip(), line, species))
    remarks.tell()
    return network(filename, reactions, _REFERENCES, quantities=_QUANTITIES)


def _reaction(content: str, line: int, species: Names) -> Reaction:
    filename = species.filename
    try:
        fields = next(csv.reader([content], delimiter=":"))
    except csv.Error as error:
        raise fail(filename, line, f"{content[:40]!r}...: {error}") from None
    count = fields[8].strip() if len(fields) > 8 else ""
    if not re.fullmatch("[1-9][0-9]?", count) or int(count) > _MOST_BLOCKS:
        raise fail(
            filename,
            line,
            f"{content[:40]!r}...: field 9 is {count!r}, not a number of ranges of temperature "
            f"from 1 to {_MOST_BLOCKS}",
        )
    size = _HEAD + _BLOCK * int(count)
    if len(fields) < size or not _END.fullmatch(":".join(fields[size:])):
        raise fail(
            filename,
            line,
            f"{content[:40]!r}...: {len(fields)} fields, but {count} range(s) of temperature need "
            f"{size}",
        )
    reactants = species.terms(line, fields[2:4])
    products = species.terms(line, fields[4:8])
    if not reactants:
        raise fail(filename, line, "nothing reacts; name a reactant in fields 3 and 4")
    agents = {name.strip().upper() for name in fields[2:4]} & _AGENTS
    blocks = [fields[i : i + _BLOCK] for i in range(_HEAD, size, _BLOCK)]
    read = partial(number, filename, line)
    values = {tuple(map(read, block, _NUMBERS)) for block in blocks}
    try:
        rate = _rate(agents, sorted(values, key=lambda v: v[3:]))
    except ValueError as error:
        raise fail(filename, line, str(error)) from None
    cited = dict.fromkeys(block[7].strip() or block[8].strip() for block in blocks)
    detail = " ".join([f"{fields[0]} {fields[1]}", *filter(None, cited)])
    return Reaction(
        reactants=reactants,
        products=products,
        rate=rate,
        source=" ".join(f"UMIST, {detail}".replace("#", " ").split()),
        where=f"{filename}, line {line}",
    )


def _rate(agents: set[str], blocks: Sequence[Sequence[float]]) -> Expression:
    if not agents and len(blocks) > 1:
        return reduce(partial(call, "+"), _pieces(blocks))
    if len(agents) > 1 or len(blocks) > 1:
        raise ValueError(f"{' with '.join(sorted(agents))} has one formula and one range only")
    alpha, beta, gamma = map(Number, blocks[0][:3])
    if "PHOTON" in agents:
        return call("interstellar_photo", alpha, gamma)
    if "CRP" in agents:
        return call("*", alpha, Name("cosmic_ray_scale"))
    if "CRPHOT" in agents:
        return call("*", call("secondary_photo", alpha, beta, gamma), Name("cosmic_ray_scale"))
    return call("kooij", alpha, beta, gamma)


def _pieces(blocks: Sequence[Sequence[float]]) -> list[Expression]:
    """The rates of the ranges, each zero where another range is nearer."""
    pieces = []
    bounds = partition([(block[3], block[4]) for block in blocks])
    for block, (low, high) in zip(blocks, bounds, strict=True):
        limits = (0.0 if low is None else low, HOTTEST if high is None else high)
        piece = call("kooij_within", *map(Number, (*block[:3], *limits)))
        pieces.append(gated(low, high, piece))
    return pieces
