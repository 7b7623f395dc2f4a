"""Mechanisms of MUSICA: the OpenAtmos mechanism configuration, in JSON or YAML.

Version 1 is one file; version 0 (CAMP) is a ``config.json`` that lists others, see
`jaxchem.parse.musica_v0`. Units are mol m-3 and s.

- The state are the species of the reactions' gas phase. A third body and what has a constant
  mixing ratio or concentration are no part of it but quantities that multiply the rate, once for
  each molecule that reacts; as products they are left out.
- What the file leaves to the host model are quantities that the user gives, by the names of
  MUSICA's condition files: ``PHOTO.name`` [s-1], ``EMIS.name`` [mol m-3 s-1], ``LOSS.name`` [s-1],
  ``USER.name``, ``SURF.name.effective radius [m]`` and ``SURF.name.particle number concentration
  [# m-3]``.
- Aerosol processes, aerosol representations and emission inventories are no rates of gas-phase
  reactions: they are left out with a warning, and a mechanism that has no other reactions is
  refused. A condensed-phase process among the reactions is refused.
- ``M`` is the air only where the file says that it is a third body.
"""

import difflib
import math
import re
import warnings
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..expression import Expression, Name, Number, call
from ..network import Network, Reaction, Units
from ..rates import CONDITIONS
from . import musica_v0
from .common import build, counted, molecules
from .document import Node, has_key, read
from .musica_conditions import initial_conditions
from .musica_laws import KINDS, OTHER, rates

__all__ = ["initial_conditions", "loads", "looks_like", "mechanism"]

_LEFT_OUT = ("aerosol processes", "aerosol representations", "emissions")
_MIXING_RATIO = "constant mixing ratio [mol mol-1]"
_CONSTANT = "constant concentration [mol m-3]"
_WEIGHT = "molecular weight [kg mol-1]"
_DIFFUSION = "diffusion coefficient [m2 s-1]"
_NUMBERS = (
    *(_MIXING_RATIO, _CONSTANT, _WEIGHT, _DIFFUSION, "absolute tolerance", "density [kg m-3]"),
    *("N star", "HLC(298K) [mol m-3 Pa-1]", "HLC exponential factor [K]"),
)
_SPECIES = ("name", "is third body", "tracer type", *_NUMBERS)
_TOP = ("name", "version", "species", "phases", "reactions")
_NAME = re.compile(r"[^\W\d][^\s#;=<\"]*")
"""Molecules that react together."""


def looks_like(text: str) -> bool:
    """Whether this is JSON or YAML with the top-level keys of a MUSICA mechanism."""
    has = partial(has_key, text)
    return has("camp-files") or has("camp-data") or all(map(has, _TOP[1:]))


def loads(text: str, filename: str = "<text>") -> Network:
    """Reads a MUSICA mechanism.

    Args:
        text: the content of the file.
        filename: for error messages, and the place that `camp-files` are relative to.

    Raises:
        MechanismError: text that is no such mechanism, with file and line.
    """
    return mechanism(read(text, filename))


def mechanism(root: Node) -> Network:
    """The network of a mechanism that a document holds; as `loads`."""
    if not {"camp-files", "camp-data"}.isdisjoint(root.mapping()):
        root = musica_v0.upgrade(root)
    else:
        version = root.get("version")
        if not re.fullmatch(r"1(\.\d+){0,2}", version.text(), re.ASCII):
            raise version.fail(f"version {version.text()[:20]!r}; version 1 can be read")
    return _network(root)


def _network(root: Node) -> Network:
    fields = root.fields((*_TOP, *_LEFT_OUT), _TOP[1:])
    if not (nodes := fields["reactions"].items()):
        found = [f"{k!r} (line {fields[k].line})" for k in _LEFT_OUT if k in fields]
        hint = f"; {' and '.join(found)} cannot be expressed as such" if found else ""
        raise fields["reactions"].fail(f"no gas-phase reactions{hint}")
    for key in _LEFT_OUT:
        if key in fields:
            warnings.warn(f"{fields[key].where}: {key!r} is left out.", stacklevel=3)
    mechanism = _Mechanism(fields["species"], fields["phases"], nodes)
    counted(root.filename, len(nodes))
    reactions = [r for node in nodes for r in mechanism.reactions(node)]
    filename = root.filename
    stem = Path(filename).stem
    return build(
        filename,
        name=_plain(fields["name"].text() if "name" in fields else "") or _plain(stem) or "MUSICA",
        title=f"MUSICA mechanism, version {fields['version'].text()}",
        species=dict.fromkeys(mechanism.state),
        reactions=reactions,
        units=Units("mol m-3", "s"),
        references={
            "MUSICA": f"{_plain(Path(filename).name)}, a mechanism configuration of MUSICA "
            "(Pfister et al. 2020, Bull. Am. Meteorol. Soc. 101, E1743)"
        },
        fixed=mechanism.fixed,
        quantities=mechanism.quantities,
    )


def _plain(text: str) -> str:
    """Text that may stand in a name or a source: one line, without the mark of a comment."""
    return " ".join("".join(c for c in text if c.isprintable() and c != "#").split())


def _numbers(fields: dict[str, Node]) -> None:
    """Refuses what is no number where one belongs, whether or not anything asks for it."""
    for key in fields.keys() & {*_NUMBERS}:
        fields[key].number()


class _Tracer(NamedTuple):
    """What the file says of one species: its numbers, and its concentration if constant."""

    numbers: dict[str, Node]
    constant: Expression | None


class _Mechanism:
    """Species, phase and quantities, and reactions with their help.

    Attributes:
        state: the species of the gas phase that are not constant.
        fixed: those that version 0 calls constant.
        quantities: for `Network.build`; grows as reactions are read.
    """

    def __init__(self, species: Node, phases: Node, reactions: list[Node]):
        self.phase = reactions[0].get("gas phase").text()
        self.members = self._members(phases, reactions[0])
        self.tracers: dict[str, _Tracer] = {}
        self.quantities: dict[str, Expression | None] = {}
        self.fixed: list[str] = []
        for node in species.items():
            name = node.get("name").text()
            if not _NAME.fullmatch(name) or "->" in name or not name.isprintable():
                raise node.fail(
                    f"species {name[:40]!r}: a name begins with a letter and has no spaces, no -> "
                    'and none of # ; = < "'
                )
            if name in self.tracers:
                raise node.fail(f"species {name!r} is declared twice; drop one")
            self.tracers[name] = self._tracer(name, node)
        for name, node in self.members.items():
            if name not in self.tracers:
                raise node.fail(self._unknown(name))
        self.state = [n for n in self.tracers if n in self.members and not self.tracers[n].constant]
        if not self.state:
            raise phases.fail(f"the phase {self.phase!r} has no species that is not constant")

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name[:80], self.tracers, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "declare it under the species"
        return f"unknown species {name[:80]!r}; {hint}"

    def _members(self, phases: Node, reaction: Node) -> dict[str, Node]:
        """The species of the reactions' phase."""
        found: dict[str, dict[str, Node]] = {}
        for node in phases.items():
            fields = node.fields(("name", "species"), ("name", "species"))
            name = fields["name"].text()
            if name in found:
                raise node.fail(f"the phase {name[:40]!r} is declared twice; join them")
            members = found[name] = {}
            for part in fields["species"].items():
                part = part.put({"name": part}) if isinstance(part.value, str) else part
                _numbers(part.fields(("name", _DIFFUSION, "density [kg m-3]"), ("name",)))
                member = part.get("name").text()
                if member in members:
                    raise part.fail(f"{member[:40]!r} stands twice in its phase; drop one")
                members[member] = part
        if self.phase not in found:
            raise reaction.get("gas phase").fail(f"there is no phase {self.phase[:40]!r}")
        return found[self.phase]

    def _tracer(self, name: str, node: Node) -> _Tracer:
        fields = node.fields(_SPECIES)
        _numbers(fields)
        kind = fields["tracer type"].text() if "tracer type" in fields else ""
        if kind not in ("", "THIRD_BODY", "CONSTANT"):
            raise fields["tracer type"].fail(f"{kind[:40]!r}: write THIRD_BODY or CONSTANT")
        constants: list[Expression] = []
        if kind == "THIRD_BODY" or ("is third body" in fields and fields["is third body"].flag()):
            constants.append(Name("density"))
        for key in {_MIXING_RATIO, _CONSTANT} & set(fields):
            if fields[key].number() < 0:
                raise fields[key].fail("a concentration cannot be negative")
        if _MIXING_RATIO in fields:
            constants.append(call("*", Number(fields[_MIXING_RATIO].number()), Name("density")))
        if _CONSTANT in fields:
            constants.append(Number(fields[_CONSTANT].number()))
        if len(constants) + (kind == "CONSTANT") > 1:
            raise node.fail(f"species {name!r} is constant in more than one way; keep one")
        if constants and name in CONDITIONS:
            raise node.fail(f"{name!r} is the name of a condition; name the species otherwise")
        if constants:
            self.quantities[name] = constants[0]
        elif kind == "CONSTANT" and name in self.members:
            self.fixed.append(name)
        member = self.members[name].mapping() if name in self.members else {}
        return _Tracer({**fields, **member}, constants[0] if constants else None)

    def reactions(self, node: Node) -> list[Reaction]:
        """One reaction of the file, as two where it branches."""
        kind_name = node.get("type").text()
        if kind_name in OTHER:
            raise node.fail(f"{kind_name} cannot be expressed as the rate of a gas-phase reaction")
        if kind_name not in KINDS:
            near = difflib.get_close_matches(kind_name[:80], KINDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(KINDS)}"
            raise node.get("type").fail(f"unknown reaction type {kind_name[:80]!r}; {hint}")
        kind = KINDS[kind_name]
        fields = node.fields(
            ("type", "name", "gas phase", *kind.sides, *kind.parameters, *kind.optional),
            ("gas phase", *kind.sides),
        )
        if fields["gas phase"].text() != self.phase:
            raise fields["gas phase"].fail(
                f"the reactions before are in the phase {self.phase!r}; one phase can be read"
            )
        name = fields["name"].text() if "name" in fields else ""
        source = _plain(f"MUSICA, {kind_name} {name}")
        reactants, factors = self._reactants(node)
        asked = [self._ask(node, asked, name) for asked in kind.asked]
        uptake = self._uptake(node) if "gas-phase species" in kind.sides else []
        sides = [k for k in (*kind.sides, *kind.optional) if k.endswith("products")]
        found = []
        for rate, side in zip(rates(node, kind, asked, uptake), sides, strict=True):
            for factor in factors:
                rate = call("*", rate, factor)
            products = self._side(fields[side]) if side in fields else {}
            found.append(Reaction(reactants, products, rate, source, node.where))
        return found

    def _reactants(self, node: Node) -> tuple[dict[str, int], list[Name]]:
        """The species of the state that react, and the constant ones once for each molecule."""
        fields = node.mapping()
        if only := fields.get("gas-phase species"):
            counts = self._side(only.put([only.put({"name": only})]), constant=True)
        else:
            counts = self._side(fields.get("reactants", node.put([])), constant=True)
        counts = molecules(counts, fields.get("reactants", node).fail)
        factors = [
            Name(species)
            for species, count in counts.items()
            if self.tracers[species].constant
            for _ in range(count)
        ]
        return {s: int(n) for s, n in counts.items() if not self.tracers[s].constant}, factors

    def _side(self, node: Node, constant: bool = False) -> dict[str, float]:
        """Species -> coefficient; constant ones only where asked for."""
        terms: dict[str, float] = {}
        for part in node.items():
            fields = part.fields(("species name", "name", "coefficient"))
            label = fields["name"] if "name" in fields else part.get("species name")
            species = label.text()
            if species not in self.tracers:
                raise label.fail(self._unknown(species))
            if species not in self.members:
                raise label.fail(f"{species!r} is not in the phase {self.phase!r}; add it there")
            count = fields["coefficient"].number() if "coefficient" in fields else 1.0
            if constant or not self.tracers[species].constant:
                terms[species] = terms.get(species, 0.0) + count
                if not math.isfinite(terms[species]):
                    raise part.fail(f"the coefficients of {species!r} add up to no finite number")
        return terms

    def _uptake(self, node: Node) -> list[Number]:
        """Diffusion coefficient and molecular weight of what particles take up."""
        name = node.get("gas-phase species").text()
        found = []
        for key in (_DIFFUSION, _WEIGHT):
            number = self.tracers[name].numbers.get(key)
            if number is None or number.number() <= 0:
                raise (number or node).fail(
                    f"the uptake of {name!r} by particles needs its {key}, a positive number"
                )
            found.append(Number(number.number()))
        return found

    def _ask(self, node: Node, pattern: str, name: str) -> Name:
        """A quantity that the user gives."""
        if not name or not name.isprintable() or set(name) & set('"=;'):
            raise (node.get("name") if name else node).fail(
                f"the name {name[:40]!r} stands for what the user gives: it must be one line "
                'without " = ;'
            )
        asked = pattern.replace("{}", name)
        if self.quantities.setdefault(asked, None) is not None:
            raise node.fail(f"{asked!r} is a species already; rename the one or the other")
        return Name(asked)
