"""The KIDA format: one reaction a line in fixed columns, as in kida.uva.2011 to kida.uva.2024.

``3(a11),1x,5(a11),1x,3(e10.3,1x),e8.2,1x,e8.2,1x,a4,1x,i2,1x,i6,1x,i6,1x,i2,1x,i5,i2,i3``:
reactants, products, A, B, C, uncertainty (3), type, lowest and highest temperature, formula,
number of the reaction, of the range and of the recommendation. ``!`` starts a comment. Photons,
cosmic rays, electrons and the kind of uncertainty may stand in capitals, as in UCLCHEM's copy of
kida.uva.2014.

The formulae (Wakelam et al. 2012, ApJS 199, 21; 2024, A&A 689, A63):

1. A zeta, cosmic rays and the photons that they raise (``CR``, ``CRP``);
2. A exp(-C A_V), interstellar photons (``Photon``);
3. Kooij; 4. and 5. ion-polar capture, `ionpol1` and `ionpol2`;
0. A (T / 300 K)^B, collisions with a grain (``GRAIN0``, ``GRAIN-``);
11. and 10. H to H2 on grains by way of adsorbed H (``XH``): A (T / 300 K)^B n_grain, and
   1.186e7 A exp(-225 K / T) / n_grain, with n_grain = hydrogen_nuclei / gas_to_dust. The
   quantity hydrogen_nuclei is `density` until ``quantities={"hydrogen_nuclei": ...}`` says what
   the number density of H nuclei is: near twice that of a molecular gas.

Where columns contradict one another, as in 25 lines of kida.uva.2024 (``CRP`` with formula 2,
``Photon`` with formula 1), the reactants decide between formulae 1 and 2: by the other one the
rates would be off by many orders of magnitude. They decide against formulae 3 to 5 too where
the type is theirs (1 and 2 of cosmic rays, 3 of photons). A warning tells the lines.

Temperatures outside a rate's range take its value at the nearer end, as in the gas-grain code
Nautilus (Ruaud et al. 2016, MNRAS 459, 3756). Lines of one number are ranges of one reaction: at
each temperature the nearest range counts, and the others are zero.
"""

import re
from typing import NamedTuple

from ..expression import Expression, Name, Number, call, names, parse
from ..network import Network, Reaction
from .astro import Names, Remarks, gated, network, number, partition
from .common import counted, fail, numbered

__all__ = ["loads", "looks_like"]

_PHOTON = "PHOTON"
_AGENTS = frozenset({"CR", "CRP", _PHOTON})
_LINE = re.compile(
    r"^[A-Za-z].{89}\s*\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+(?:logn|logu|norm|unif)\s+\d+\s+-?\d+\s+-?\d",
    re.MULTILINE | re.IGNORECASE,
)
_GAPS = (33, 89, 100, 111, 122, 131, 140, 145, 148, 155, 162, 165)
_GRAINS = {
    "hydrogen_nuclei": Name("density"),
    "grain_density": parse("hydrogen_nuclei / gas_to_dust"),
}
_LAWS = {"3": "kooij_within", "4": "ionpol1", "5": "ionpol2"}
_REFERENCES = {"KIDA": "Wakelam et al. (2012), ApJS 199, 21; Wakelam et al. (2024), A&A 689, A63."}


def looks_like(text: str) -> bool:
    """Whether a line has KIDA's columns, the type of its uncertainty among them."""
    return _LINE.search(text[:100_000]) is not None


def loads(text: str, filename: str = "<text>", *, skip: bool = False) -> Network:
    """Reads a network of KIDA.

    Args:
        text: the content of the file.
        filename: for error messages.
        skip: leave out the lines that cannot be read, with a warning, instead of an error.

    Returns:
        The network, in cm-3 and s, one reaction a line.

    Raises:
        MechanismError: a line that cannot be read, with file, line and why.
    """
    remarks = Remarks(filename, skip)
    rows = []
    species = Names(filename, _AGENTS)
    lines = [each for each in numbered(text) if not each[1].lstrip().startswith("!")]
    counted(filename, len(lines))
    for line, content in lines:
        with remarks.reading(line):
            rows.append(_row(content, line, species, remarks))
    of_one: dict[tuple, list[_Row]] = {}
    for row in rows:
        of_one.setdefault(row.key, []).append(row)
    bounds: dict[int, tuple[float | None, float | None]] = {}
    for members in of_one.values():
        bounds |= _bounds(members, filename, remarks)
    reactions = [
        Reaction(
            reactants=row.reactants,
            products=row.products,
            rate=gated(*bounds[row.line], row.rate),
            source=f"KIDA, {row.key[0]}",
            where=f"{filename}, line {row.line}",
        )
        for row in rows
        if row.line in bounds
    ]
    remarks.tell()
    grains = any("grain_density" in names(row.rate) for row in rows if row.line in bounds)
    return network(
        filename,
        reactions,
        _REFERENCES,
        special={"XH": {"H": 1}},
        quantities=_GRAINS if grains else {},
    )


class _Row(NamedTuple):
    """One line: its reaction, the range of temperature, and what tells it from other reactions."""

    line: int
    key: tuple
    limits: tuple[float, float]
    rate: Expression
    reactants: dict[str, int]
    products: dict[str, int]


def _row(content: str, line: int, species: Names, remarks: Remarks) -> _Row:
    filename = species.filename
    if len(content) < 171:
        raise fail(
            filename,
            line,
            f"{content.strip()[:40]!r}...: ends at column {len(content)}; a line of KIDA has "
            "at least 171, the last five for the reaction's number",
        )
    if filled := [i + 1 for i in _GAPS if content[i] != " "]:
        raise fail(
            filename,
            line,
            f"column {filled[0]}, which is blank between two fields, has "
            f"{content[filled[0] - 1]!r}; the line is shifted",
        )
    columns = [content[i : i + 11] for i in (0, 11, 22, 34, 45, 56, 67, 78)]
    reactants = species.terms(line, columns[:3])
    products = species.terms(line, columns[3:])
    if not reactants:
        raise fail(filename, line, "nothing reacts; name a reactant in columns 1 to 33")
    a, b, c = (
        number(filename, line, content[i : i + 10], what)
        for i, what in ((90, "A"), (101, "B"), (112, "C"))
    )
    low = number(filename, line, content[149:155], "the lowest temperature")
    high = number(filename, line, content[156:162], "the highest temperature")
    if low > high:
        raise fail(filename, line, f"the range of temperature {low:g}-{high:g} K is empty")
    kind, formula, label = (content[i:j].strip() for i, j in ((146, 148), (163, 165), (166, 171)))
    if not label.isdecimal():
        raise fail(filename, line, f"columns 167 to 171 say {label!r}, not a reaction's number")
    key = (label, frozenset(reactants.items()), frozenset(products.items()))
    agents = {c.strip() for c in columns[:3] if c.strip().upper() in _AGENTS}
    agent = "+".join(sorted(agents))
    own, types = ("2", ("3",)) if agent.upper() == _PHOTON else ("1", ("1", "2"))
    known = formula in ("1", "2") or (kind in types and formula in _LAWS)
    if len(agents) == 1 and formula != own and known:
        remarks.add(
            line,
            f"formula {formula} contradicts the reactant {agent}, which decides; this is read as "
            f"formula {own}",
        )
        formula = own
    rate = _rate(agent.upper(), formula, (a, b, c), (low, high))
    if rate is None:
        raise fail(
            filename,
            line,
            f"formula {formula or 'nothing'}{' with ' if agents else ''}{agent} is "
            "none of 0 to 5, 10 and 11 (1 with CR or CRP, 2 with Photon)",
        )
    return _Row(line, key, (low, high), rate, reactants, products)


def _bounds(
    members: list[_Row], filename: str, remarks: Remarks
) -> dict[int, tuple[float | None, float | None]]:
    """Line -> from and below which temperature it counts, of the ranges of one reaction."""
    members = sorted(members, key=lambda row: row.limits)
    while members:
        last = members[-1].line
        with remarks.reading(last):
            try:
                found = partition([row.limits for row in members])
            except ValueError as error:
                raise fail(filename, last, str(error)) from None
            return dict(zip((row.line for row in members), found, strict=True))
        members.pop()
    return {}


def _rate(
    agent: str,
    formula: str,
    parameters: tuple[float, float, float],
    limits: tuple[float, float],
) -> Expression | None:
    a, b, c = map(Number, parameters)
    if agent:
        if agent == _PHOTON:
            return call("interstellar_photo", a, c) if formula == "2" else None
        return call("cosmic_ray", a) if agent in _AGENTS and formula == "1" else None
    if formula in _LAWS:
        return call(_LAWS[formula], a, b, c, *map(Number, limits))
    if formula == "0":
        return call("kooij", a, b, c)
    if formula == "11":
        return call("*", call("kooij", a, b, c), Name("grain_density"))
    if formula == "10":
        surface = call("arrhenius", call("*", Number(1.186e7), a), Number(225.0))
        return call("/", surface, Name("grain_density"))
    return None
