"""jaxchem's own network format: one text file a network, one line a reaction.

A file has ``key = value`` lines at the top and then sections::

    name = toy
    title = what it describes
    units = molecule cm-3, s          # concentration, time
    balanced = C N                    # optional: elements that reactions conserve, or none
    fixed = O2 M                      # optional: species whose concentration nothing changes

    [species]                         # one a line, in the order of the state vector
    OH                                # composition read from the name
    ALD = C2H4O                       # composition declared
    M = none                          # declared to have no composition
    fragdummy = ?                     # composition unknown

    [pools]                           # optional: sums of species that rates name
    RO2 = CH3O2 + C2H5O2
    THIRD = M + 2.5 ALD               # with weights that are not 1

    [quantities]                      # optional: what rates name besides conditions and pools
    KRO2NO = arrhenius(2.7e-12, -360)
    "PHOTO.jO2" = ?                   # the user of the network gives it

    [defaults]                        # optional: conditions that are used where none are given
    temperature = 270.0

    [initial]                         # optional: concentrations that the mechanism proposes
    O3 = 5.3e11

    [families]                        # optional: for accounts
    NOx = NO + NO2

    [sources]                         # what the rates cite
    IUPAC = Atkinson et al. (2006), Atmos. Chem. Phys. 6, 3625.

    [reactions]                       # equation ; rate ; source (a key, then free text)
    ALD + OH -> CH3CO3 ; arrhenius(4.7e-12, -345) ; IUPAC
    CH3O2 -> 0.6 CH3O + 0.4 HCHO ; 0.5 * 3.5e-13 * RO2 ; IUPAC, table 2
    CH3O2 + NO -> HCHO ; 0.999 * KRO2NO ; IUPAC, table 2

``#`` starts a comment, but not in a quoted name. A species whose name has one of ``= # ; <`` or
begins with ``[`` stands in double quotes everywhere. A species whose name begins with a digit, such
as 3He, stands under [species] above the reactions, and a blank behind its coefficient. A rate is an
expression (see `jaxchem.expression`) of numbers, arithmetic, ``exp``, ``log``, ``log10``, ``sqrt``,
``abs``, ``min`` and ``max``, the laws of `jaxchem.rates.LAWS`, conditions, quantities and pools.
Either side of an equation may be empty.
"""

import re
from collections.abc import Container, Iterable, Iterator

import numpy as np

from ..expression import Expression, Name, parse, show
from ..formula import CHARGE, ELEMENTS, parse_formula
from ..network import MechanismError, Network, Reaction, Units, sides
from .common import build, counted, fail, molecules, numbered

__all__ = ["dumps", "loads", "looks_like"]

_KEYS = ("name", "title", "units", "balanced", "fixed")
_SECTIONS = (
    *("species", "pools", "quantities", "defaults", "initial", "families", "sources"),
    "reactions",
)
"""Molecules of one species that react together."""
_COMMENT = re.compile(r'("[^"]*")|#.*')
_TERM = re.compile(r"(-?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+))?\s*(\S+)")
_OF_THE_FORMAT = re.compile(r"[=#;<]|^\[")
"""What a name can have in quotes alone."""


def looks_like(text: str) -> bool:
    """Whether this is a table: it has ``[species]`` and ``[reactions]`` on lines of their own."""
    return all(re.search(rf"^[ \t]*\[{s}\]", text, re.MULTILINE) for s in ("species", "reactions"))


class _Reader:
    """The lines of one file, and errors that say where they stand."""

    def __init__(self, text: str, filename: str):
        self.filename = filename
        self.text = text
        self.line = 1
        self.section: str | None = None
        self.places: dict[tuple[str, str], str] = {}

    def fail(self, message: str) -> MechanismError:
        return MechanismError(f"{self.where}: {message}")

    @property
    def where(self) -> str:
        return f"{self.filename}, line {self.line}"

    def lines(self) -> Iterator[tuple[str | None, str]]:
        """(section, line) of every line that says something; `None` above the first section."""
        self.section = None
        for line, raw in numbered(self.text):
            self.line = line
            content = _COMMENT.sub(r"\1", raw).strip()
            if not content:
                continue
            if content.startswith("["):
                self.section = content[1:-1].strip()
                if self.section not in _SECTIONS or not content.endswith("]"):
                    raise self.fail(
                        f"{content!r} is no section; write one of "
                        + ", ".join(f"[{s}]" for s in _SECTIONS)
                    )
                continue
            yield self.section, content

    def once(self, name: str, known: Container[str], what: str) -> None:
        """Refuses a second declaration, and notes where the first is for `Network.build`."""
        if name in known:
            raise self.fail(f"{what} {name!r} is declared twice; drop one.")
        self.places[self.section or "", name] = self.where

    def pair(self, content: str, what: str) -> tuple[str, str]:
        key, *value = _outside("=", content, 1)
        if not value or not key or not value[0]:
            raise self.fail(f"{content!r}: {what}")
        return key, value[0]


def loads(text: str, filename: str = "<text>") -> Network:
    """Reads a network in jaxchem's own format.

    Args:
        text: the content of the file.
        filename: for error messages.

    Raises:
        ValueError: a line that cannot be read, with file, line and what to write instead.
    """
    reader = _Reader(text, filename)
    header: dict[str, str] = {}
    species: dict[str, tuple[str, str | None]] = {}  # name -> (where, declared formula)
    pools: dict[str, dict[str, float]] = {}
    references: dict[str, str] = {}
    quantities: dict[str, Expression | None] = {}
    numbers: dict[str, dict[str, float]] = {"defaults": {}, "initial": {}}
    families: dict[str, dict[str, float]] = {}
    reactions: list[Reaction] = []
    counted(filename, sum(section == "reactions" for section, _ in reader.lines()))
    for section, content in reader.lines():
        if section is None:
            key, value = reader.pair(content, f"write 'key = value', key one of {_KEYS}")
            if key not in _KEYS:
                raise reader.fail(f"unknown key {key!r}; known: {', '.join(_KEYS)}")
            reader.once(key, header, "key")
            if key == "units" and not re.fullmatch(r"[^,]+,[^,]+", value):
                raise reader.fail("units must read 'concentration, time', as 'ppm, min'.")
            header[key] = value
            reader.places |= {(key, _bare(name)): reader.where for name in value.split()}
        elif section == "species":
            name, *formula = _outside("=", content, 1)
            name = _bare(name)
            if len(name.split()) != 1 or formula == [""]:
                raise reader.fail(
                    f"{content!r}: write 'NAME', 'NAME = FORMULA', 'NAME = none' or 'NAME = ?'"
                )
            if not re.search(r"[^\W\d]", name):
                raise reader.fail(f"{name!r}: a species name must not be a number")
            reader.once(name, species, "species")
            species[name] = (reader.where, formula[0] if formula else None)
        elif section == "pools":
            name, text = reader.pair(content, "write 'POOL = SPECIES + NUMBER SPECIES'")
            reader.once(name, pools, "pool")
            members = _pairs(reader, text, species)
            pools[name] = dict(members)
            if len(pools[name]) < len(members):
                raise reader.fail(
                    f"pool {name!r} names a species twice; give it a weight, as 2 in 2 A"
                )
        elif section == "quantities":
            name, text = reader.pair(content, "write 'QUANTITY = EXPRESSION' or 'QUANTITY = ?'")
            tree = _expression(reader, name)
            if not isinstance(tree, Name):
                raise reader.fail(f"{name!r} is no name; put it in double quotes")
            reader.once(tree.name, quantities, "quantity")
            quantities[tree.name] = None if text == "?" else _expression(reader, text)
        elif section in numbers:
            name, text = reader.pair(content, "write 'NAME = NUMBER'")
            name = _bare(name)
            reader.once(name, numbers[section], section)
            numbers[section][name] = _number(reader, text)
        elif section == "families":
            name, text = reader.pair(content, "write 'FAMILY = SPECIES + SPECIES'")
            reader.once(name, families, "family")
            families[name] = _terms(reader, text, species)
        elif section == "sources":
            key, value = reader.pair(content, "write 'KEY = full reference'")
            reader.once(key, references, "source")
            references[key] = value
        else:
            reactions.append(_reaction(reader, content, references, species))
    if not reactions:
        raise reader.fail("no reactions; give at least one, under [reactions]")
    for key in ("name", "units"):
        if key not in header:
            raise fail(filename, 1, f"no '{key} = ...' line above the first section; add it.")
    concentration, time = header["units"].split(",")
    balanced = header["balanced"].split() if "balanced" in header else None
    if balanced == ["none"]:
        balanced = []
    symbols = ELEMENTS | frozenset(balanced or ()) - {CHARGE}
    return build(
        filename,
        name=header["name"],
        title=header.get("title", ""),
        species={n: _composition(n, f, w, symbols) for n, (w, f) in species.items()},
        reactions=reactions,
        units=Units(concentration.strip(), time.strip()),
        pools=pools,
        balanced=balanced,
        references=references,
        fixed=[_bare(name) for name in header.get("fixed", "").split()],
        quantities=quantities,
        defaults=numbers["defaults"],
        initial=numbers["initial"],
        families=families,
        places=reader.places,
    )


def _composition(
    name: str, declared: str | None, where: str, symbols: frozenset[str]
) -> dict[str, int] | None:
    if declared == "?":
        return None
    if declared == "none":
        return {}
    counts = parse_formula(declared or name, symbols)
    if counts is None and declared:
        raise MechanismError(
            f"{where}: {declared!r} is no formula; write one such as C2H4O, or '?'."
        )
    return counts


def _reaction(
    reader: _Reader, content: str, references: Container[str], species: Container[str]
) -> Reaction:
    parts = _outside(";", content, 2)
    if len(parts) != 3 or not parts[2]:
        raise reader.fail(
            f"{content!r}: write 'REACTANTS -> PRODUCTS ; RATE ; SOURCE' (every rate has a source)"
        )
    equation, rate, source = parts
    if source.split(",")[0].strip() not in references:
        raise reader.fail(
            f"source {source.split(',')[0]!r} is not declared; add it under [sources], above."
        )
    both = _outside("->", equation)
    if len(both) != 2 or len(_outside("<", equation)) > 1:
        raise reader.fail(f"{equation!r}: write one '->' (a reverse reaction has its own line)")
    return Reaction(
        reactants=molecules(_terms(reader, both[0], species), reader.fail),
        products=_terms(reader, both[1], species),
        rate=_expression(reader, rate),
        source=source,
        where=reader.where,
    )


def _terms(reader: _Reader, side: str, species: Container[str]) -> dict[str, float]:
    """Species -> number, those of one that stands twice added."""
    terms: dict[str, float] = {}
    for name, count in _pairs(reader, side, species):
        terms[name] = terms.get(name, 0.0) + count
        if not np.isfinite(terms[name]):
            raise reader.fail(f"{side!r}: the number of {name!r} must be finite")
    return terms


def _pairs(reader: _Reader, side: str, species: Container[str]) -> list[tuple[str, float]]:
    """Species and number of each term."""
    found: list[tuple[str, float]] = []
    for term in re.split(r"\s\+\s", side.strip()) if side.strip() else ():
        match = _TERM.fullmatch(term.strip())
        if match is None:
            raise reader.fail(f"{term!r}: write 'NAME' or 'NUMBER NAME', joined by ' + '")
        count, name = (None, term.strip()) if term.strip() in species else match.groups()
        found.append((_bare(name), float(count or 1)))
    return found


def _outside(separator: str, text: str, most: int = 0) -> list[str]:
    """The parts of a text between the separators (the first `most` of them) outside of quotes."""
    parts: list[str] = []
    start = 0
    for match in re.finditer(f'"[^"]*"|{separator}', text):
        if match[0] == separator:
            parts.append(text[start : match.start()].strip())
            start = match.end()
            if len(parts) == most:
                break
    return [*parts, text[start:].strip()]


def _bare(name: str) -> str:
    """A name without the quotes around it."""
    return name[1:-1] if len(name) > 2 and name[0] == name[-1] == '"' else name


def _quoted(name: str) -> str:
    """A name as it stands in a file."""
    return f'"{name}"' if _OF_THE_FORMAT.search(name) else name


def _number(reader: _Reader, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise reader.fail(f"{text!r} is no number") from None
    if not np.isfinite(value):
        raise reader.fail(f"{text!r} is not finite")
    return value


def _expression(reader: _Reader, text: str) -> Expression:
    try:
        return parse(text)
    except ValueError as error:
        raise reader.fail(str(error)) from None


def dumps(network: Network) -> str:
    """Writes a network in jaxchem's own format; `loads` gives the same network back."""
    structure = network.structure
    formula = {n: _formula(network, i) for i, n in enumerate(network.species)}
    sections: dict[str, list[str]] = {
        "species": [f"{_quoted(n)} = {formula[n]}" for n in network.species],
        "pools": [
            f"{n} = {_sum((s, float(w)) for s, w in zip(network.species, row, strict=True) if w)}"
            for n, row in zip(network.pool_names, structure.pools, strict=True)
        ],
        "quantities": [
            f"{show(Name(n))} = {'?' if tree is None else show(tree)}"
            for n, tree in network.quantities
        ],
        "defaults": [f"{n} = {v!r}" for n, v in network.defaults],
        "initial": [f"{_quoted(n)} = {v!r}" for n, v in network.initial],
        "families": [f"{n} = {_sum(members)}" for n, members in network.families],
        "sources": [f"{k} = {v}" for k, v in network.references],
        "reactions": [
            f"{_equation(equation)} ; {show(rate)} ; {source}"
            for equation, rate, source in zip(
                network.equations, network.expressions(), network.sources, strict=True
            )
        ],
    }
    lines = [f"name = {network.name}"]
    lines += [f"title = {network.title}"] if network.title else []
    lines.append(f"units = {network.units.concentration}, {network.units.time}")
    lines.append(f"balanced = {' '.join(network.balanced) or 'none'}")
    lines += [f"fixed = {' '.join(map(_quoted, network.fixed))}"] if network.fixed else []
    for section, content in sections.items():
        if content:
            lines += ["", f"[{section}]", *content]
    return "\n".join(lines) + "\n"


def _sum(terms: Iterable[tuple[str, float]]) -> str:
    return " + ".join(f"{c!r} " * (c != 1) + _quoted(name) for name, c in terms)


def _equation(text: str) -> str:
    """An equation with its names as they stand in a file."""
    if not any(map(_OF_THE_FORMAT.search, text.split())):
        return text
    left, right = ({_quoted(n): c for n, c in side.items()} for side in sides(text))
    return Reaction({n: int(c) for n, c in left.items()}, right, 0.0, "").equation


def _formula(network: Network, i: int) -> str:
    if network.species[i] in network.undeclared:
        return "?"
    counts = dict(zip(network.elements, network.composition[:, i].astype(int), strict=True))
    charge = counts.pop(CHARGE, 0)
    text = "".join(f"{e}{c if c > 1 else ''}" for e, c in counts.items() if c)
    if not text:
        return {0: "none", -1: "e-"}.get(charge, "none")
    return text + ("+" * charge if charge > 0 else "-" * -charge)
