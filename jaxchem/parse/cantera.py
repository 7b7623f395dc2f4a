"""Cantera's YAML: mechanisms of ideal gases, in mol m-3 and s.

- Rates are those of Arrhenius, with or without a third body, and falloff of Lindemann and Troe;
  other types are refused by name. A third body is a pool of all species, weighted by their
  efficiencies.
- A reaction that goes both ways is two reactions. The reverse one has k_f / K_c, with K_c of the
  species' Gibbs energies over R T, which are the quantities ``GIBBS.X``: NASA's polynomials of
  seven coefficients (McBride, Gordon & Reno 1993, NASA TM-4513) in two ranges, of which the lower
  includes the temperature between them. Beyond their outer ends they go on.
- Whole orders that differ from the coefficients are kept, with yields that make up for them.
- Files that sections name stand beside the one that names them. Of several phases the first ideal
  gas is read.
- State, transport and equations of state are no part of a network, and neither is the equation of
  energy: the temperature is a condition.

The format is described at https://cantera.org/stable/yaml (Cantera 3.2).
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..expression import Expression, Name, Number, call
from ..formula import CHARGE
from ..network import Network, Reaction, Units, unknown_species
from .cantera_rates import Arrhenius, arrhenius, falloff, gibbs
from .cantera_units import ATMOSPHERE, GAS, Scale
from .common import beside, build, decoded, molecules
from .document import Node, has_key, read

__all__ = ["loads", "looks_like"]

_SIGN = re.compile(
    r"^[ \t]*-[ \t]+(?:\{[ \t]*)?[\"']?equation[\"']?[ \t]*:"
    r"|(?:^[ \t]*|[{,][ \t]*)[\"']?(?:\w+-P-)?rate-constant[\"']?[ \t]*:"
    r"|\bthermo[\"']?[ \t]*:[ \t]*[\"']?ideal-gas\b",
    re.MULTILINE,
)
_PHASE = (
    *("name", "thermo", "kinetics", "elements", "species", "reactions", "state", "transport"),
    *("note", "units", "skip-undeclared-elements", "skip-undeclared-third-bodies"),
    *("adjacent-phases", "explicit-third-body-duplicates"),
)
_KINDS = {
    **dict.fromkeys(("elementary", "Arrhenius", "reaction"), ""),
    **dict.fromkeys(("three-body", "three-body-Arrhenius"), "three-body"),
    **dict.fromkeys(("falloff", "falloff-Lindemann", "falloff-Troe"), "falloff"),
}
_LIMITS = ("high-P-rate-constant", "low-P-rate-constant")
_REACTION = (
    *("equation", "type", "efficiencies", "default-efficiency", "duplicate", "orders", "id"),
    *("note", "units", "negative-A", "negative-orders", "nonreactant-orders"),
)
_OTHER_FALLOFF = ("SRI", "Tsang")
_IN_PARENTHESES = re.compile(r"(?:^|(?<=\s))\(\s*\+\s*(\S+?)\s*\)(?=\s|$)")
_ARROW = re.compile(r"\s(<=>|=>|=)(?=\s)")
_COUNT = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_UNWRITABLE = re.compile(r"[\s\"]|->|^[\W\d]*$|^__|^M$")


def looks_like(text: str) -> bool:
    """Whether this is YAML whose phases or reactions are Cantera's."""
    sections = has_key(text, "phases") or has_key(text, "reactions")
    return sections and _SIGN.search(text) is not None


def loads(text: str, filename: str = "<text>", *, phase: str | None = None) -> Network:
    """Reads a gas phase of Cantera.

    Args:
        text: the content of the file.
        filename: for error messages, and the place that the files it names are relative to.
        phase: which one; `None` is the first ideal gas, with a warning where others stand above it.

    Raises:
        MechanismError: text that is no such phase, or rates that are not read, with file and line.
    """
    source = _File(filename, text)
    return _Reader(source, _chosen(source, phase)).network()


class _Entry(NamedTuple):
    """A species or a reaction, and the units in force there."""

    node: Node
    scale: Scale


class _File:
    """One YAML file, and those that its sections are in."""

    def __init__(self, filename: str, text: str):
        self.filename = filename
        self.root = read(text, filename)
        self.scale = Scale().within(self.root)
        self.others: dict[str, _File] = {}

    def section(self, name: Node) -> list[_Entry]:
        """The entries of a list by its name, ``KEY`` or ``FILE/KEY``."""
        path, slash, key = name.text().rpartition("/")
        source = self.other(path, name) if slash else self
        if key not in source.root.mapping():
            raise name.fail(f"{source.filename} has no section {key[:40]!r}; add it")
        items, scale = source.root.get(key).items(), source.scale
        if items and [*items[0].mapping()] == ["units"]:
            scale, items = scale.within(items[0]), items[1:]
        return [_Entry(item, scale.within(item)) for item in items]

    def other(self, path: str, name: Node) -> "_File":
        """A file beside this one."""
        if path not in self.others:
            found = beside(self.filename, path)
            if found is None:
                wanted = Path(self.filename).parent / path
                raise name.fail(f"there is no file {str(wanted)!r}; put it there")
            self.others[path] = _File(str(found), decoded(found))
        return self.others[path]


def _chosen(source: _File, wanted: str | None) -> Node:
    """The phase that is read."""
    phases = source.root.get("phases")
    names = [phase.get("name").text() for phase in phases.items()]
    if wanted is not None and wanted not in names:
        raise phases.fail(f"there is no phase {wanted!r}; it has {', '.join(names)}")
    if wanted is not None:
        return phases.items()[names.index(wanted)]
    fits = [
        phase.get("thermo").text() == "ideal-gas" and "kinetics" in phase.mapping()
        for phase in phases.items()
    ]
    if True not in fits:
        raise phases.fail(
            "none is an ideal gas that reacts (thermo: ideal-gas and kinetics: gas); other phases "
            "are not read"
        )
    place = fits.index(True)
    if place:
        warnings.warn(
            f"{phases.items()[0].where}: phase {names[0]!r} is no ideal gas that reacts; "
            f"{names[place]!r} is read in its place.",
            stacklevel=5,
        )
    return phases.items()[place]


class _Equation(NamedTuple):
    """What an equation says.

    Attributes:
        left: species and how many.
        right: likewise.
        reversible: whether it goes both ways.
        body: what stands for a third body, such as M; nothing where none does.
        falloff: whether it stands in ``(+M)``.
    """

    left: dict[str, float]
    right: dict[str, float]
    reversible: bool
    body: str
    falloff: bool


def _equation(node: Node) -> _Equation:
    text = node.text()
    parts = _ARROW.split(f"{text} ")
    if len(parts) != 3:
        raise node.fail(f"{text[:80]!r}: write one of <=>, = and => between blanks")
    bodies = [_IN_PARENTHESES.findall(side) for side in parts[::2]]
    left, right = (_side(node, _IN_PARENTHESES.sub(" ", side)) for side in parts[::2])
    falloff = bool(bodies[0] or bodies[1])
    plain = [side.pop("M", None) for side in (left, right)]
    if not falloff and plain == [1.0, 1.0]:
        bodies, plain = [["M"], ["M"]], [None, None]
    if bodies[0] != bodies[1] or len(bodies[0]) > 1 or plain != [None, None]:
        raise node.fail(f"{text[:80]!r}: a third body stands once, and on both sides")
    return _Equation(left, right, parts[1] != "=>", "".join(bodies[0]), falloff)


def _side(node: Node, text: str) -> dict[str, float]:
    """Species and how many of each."""
    found: dict[str, float] = {}
    for term in re.split(r"\s\+(?=\s)", text) if text.strip() else ():
        *count, name = term.split() or [""]
        if not name or len(count) > 1 or (count and not _COUNT.fullmatch(count[0])):
            raise node.fail(f"{term.strip()[:40]!r}: write 'X' or '2 X', and ' + ' between them")
        found[name] = found.get(name, 0.0) + float(count[0] if count else 1)
        if not 0 < found[name] < float("inf"):
            raise node.fail(f"{term.strip()[:40]!r}: the number must be positive and finite")
    return found


class _Seen(NamedTuple):
    """A reaction that stands above another one."""

    node: Node
    reversible: bool
    marked: bool
    members: frozenset[str]


class _Reader:
    """One phase: its species, its reactions, and what their rates name."""

    def __init__(self, source: _File, phase: Node):
        self.source, self.phase = source, phase
        self.fields = phase.fields(_PHASE, ("thermo", "kinetics"))
        for key, known in (("thermo", ("ideal-gas",)), ("kinetics", ("gas", "bulk"))):
            told = self.fields[key]
            if told.text() not in known:
                raise told.fail(f"{key} {told.text()[:40]!r} is not read, only {known[0]!r} is")
        self.entries: dict[str, _Entry] = {}
        self.compositions: dict[str, dict[str, int]] = {}
        self.read_species()
        self.pools: dict[str, dict[str, float]] = {}
        self.quantities: dict[str, Expression] = {}
        self.seen: dict[tuple, list[_Seen]] = {}

    def network(self) -> Network:
        """Puts it all together."""
        reactions = [r for n, e in enumerate(self.reactions(), 1) for r in self.reaction(n, e)]
        if not reactions:
            raise self.phase.fail("the phase has no reactions; a network needs one")
        path = Path(self.source.filename)
        key, name = (
            re.sub(r"[\s#]+", " ", text).strip() or "text"
            for text in (path.name, self.phase.get("name").text())
        )
        return build(
            self.source.filename,
            name=re.sub(r"\W", "_", path.stem) or "cantera",
            title=f"Cantera mechanism, phase {name}",
            species=self.compositions,
            reactions=reactions,
            units=Units("mol m-3", "s"),
            pools=self.pools,
            quantities=self.quantities,
            references={"CANTERA": f"{key}, in Cantera's YAML"},
        )

    def flag(self, fields: Mapping[str, Node], key: str) -> bool:
        """Whether a key is there and true."""
        return key in fields and fields[key].flag()

    # What belongs to the phase

    def read_species(self) -> None:
        """The species of the phase, in its order."""
        skips = self.flag(self.fields, "skip-undeclared-elements")
        elements = _words(self.phase.get("elements")) if skips else set()
        elements = {CHARGE if name == "E" else name for name in elements}
        for entry in self.listed():
            name = entry.node.get("name")
            if _UNWRITABLE.search(name.text()):
                raise name.fail(
                    f"a species cannot be called {name.text()[:40]!r} here; rename it, with a "
                    "letter and without blanks, quotes and -> (and M is the third body)"
                )
            if name.text() in self.entries:
                raise name.fail(f"species {name.text()!r} is declared twice; drop one")
            composition = _composition(entry.node.get("composition"))
            if skips and not composition.keys() <= elements:
                continue
            self.entries[name.text()] = entry
            self.compositions[name.text()] = composition

    def listed(self) -> Iterator[_Entry]:
        """The entries of the species that the phase names."""
        found = self.fields.get("species", self.phase.put("all"))
        if isinstance(found.value, str):
            if found.value != "all":
                raise found.fail(f"{found.value[:40]!r}: write all, or a list of species")
            yield from self.source.section(found.put("species"))
            return
        own = [item for item in found.items() if isinstance(item.value, str)]
        if own:
            yield from _picked(self.source.section(found.put("species")), own)
        for item in found.items():
            for section, names in item.mapping().items() if item not in own else ():
                entries = self.source.section(item.put(section))
                yield from entries if names.value == "all" else _picked(entries, names.items())

    def reactions(self) -> Iterator[_Entry]:
        """The reactions of the phase."""
        found = self.fields.get("reactions", self.phase.put("all"))
        named: list[tuple[Node, Node]] = []
        if isinstance(found.value, str):
            named.append((found.put("reactions"), found))
        else:
            for item in found.items():
                if isinstance(item.value, str):
                    named.append((item, item.put("all")))
                else:
                    named += [(item.put(key), which) for key, which in item.mapping().items()]
        for section, which in named:
            if which.text() not in ("all", "none", "declared-species"):
                raise which.fail(f"{which.text()[:40]!r}: write all, none or declared-species")
            for entry in self.source.section(section) if which.text() != "none" else ():
                if which.text() == "all" or self.declared(entry.node):
                    yield entry

    def declared(self, node: Node) -> bool:
        """Whether all species of a reaction are in the phase."""
        equation = _equation(node.get("equation"))
        named = {*equation.left, *equation.right, equation.body}
        return named <= {*self.entries, "M", ""}

    def known(self, name: str, node: Node) -> None:
        """Refuses what is no species of the phase."""
        if name not in self.entries:
            where = f"phase {self.phase.get('name').text()!r}"
            raise node.fail(unknown_species(name, self.entries, where))

    # Thermodynamics

    def thermo(self, name: str, of: Node) -> Node:
        """The polynomials of a species, which a reverse rate needs."""
        found = self.entries[name].node.mapping().get("thermo")
        model = "none" if found is None else found.get("model").text()
        if found is None or model != "NASA7":
            raise of.fail(
                f"the reverse reaction needs the thermo of {name!r} as NASA7, and its model is "
                f"{model[:40]!r}; give it, or write => where the reaction does not go back"
            )
        return found

    def backward(self, equation: _Equation, node: Node) -> tuple[Arrhenius, Expression]:
        """What 1 / K_c is besides an exponential, and the exponent of that."""
        net = {n: equation.right.get(n, 0.0) - c for n, c in equation.left.items()}
        net |= {n: c for n, c in equation.right.items() if n not in net}
        factor, exponent = 1.0, Number(0.0)
        for name, count in sorted(net.items(), key=lambda item: item[1] < 0):
            if not count:
                continue
            thermo, key = self.thermo(name, node), f"GIBBS.{name}"
            if key not in self.quantities:
                self.quantities[key] = gibbs(thermo)
            factor *= (GAS / self.reference(name, thermo)) ** count
            energy = Name(key)
            term = energy if abs(count) == 1 else call("*", Number(abs(count)), energy)
            if exponent == Number(0.0):
                exponent = term if count > 0 else call("neg", term)
            else:
                exponent = call("+" if count > 0 else "-", exponent, term)
        return Arrhenius(factor, sum(net.values()), 0.0), exponent

    def reference(self, name: str, thermo: Node) -> float:
        """The pressure that the polynomials of a species are for, Pa."""
        told = thermo.mapping().get("reference-pressure")
        if told is None:
            return ATMOSPHERE
        pressure = self.entries[name].scale.within(thermo).pascal(told)
        if not 1.0 < pressure < 1e9:
            raise told.fail(f"{pressure:g} Pa is none that polynomials are for, about 1e5 Pa")
        return pressure

    # Reactions

    def reaction(self, number: int, entry: _Entry) -> Iterator[Reaction]:
        """One reaction, or two where it goes both ways."""
        node = entry.node
        written = node.get("equation")
        equation = _equation(written)
        kind = self.kind(node, equation)
        rates = ("rate-constant",) if kind != "falloff" else (*_LIMITS, "Troe")
        fields = node.fields((*_REACTION, *rates), rates[:2])
        for name in (*equation.left, *equation.right):
            self.known(name, written)
        reactants, products = self.ordered(fields, equation, written)
        pool = self.third(number, fields, equation, written)
        self.once(fields, equation, kind, pool)
        order, negative = sum(reactants.values()), self.flag(fields, "negative-A")

        def constant(key: str, order: int) -> Arrhenius:
            return arrhenius(fields[key], entry.scale, order, negative)

        if kind == "falloff":
            limit, low = (constant(key, order + n) for n, key in enumerate(_LIMITS))
            if not limit.a or low.a / limit.a < 0:
                raise fields[_LIMITS[0]].fail("A must have the sign of that at low pressure")
            reduced = call("*", low.over(limit).tree(node), Name(pool))
        else:
            limit = constant("rate-constant", order + (kind == "three-body"))

        def rate(limit: Expression) -> Expression:
            if kind == "falloff":
                return falloff(fields.get("Troe"), limit, reduced)
            return call("*", limit, Name(pool)) if pool else limit

        source = f"CANTERA, reaction {number}"
        yield Reaction(reactants, products, rate(limit.tree(node)), source, written.where)
        if equation.reversible:
            back = molecules(equation.right, lambda text: written.fail(f"in reverse, {text}"))
            factor, exponent = self.backward(equation, written)
            limit = Arrhenius(limit.a * factor.a, limit.b + factor.b, limit.e)
            tree = rate(limit.tree(node, exponent))
            yield Reaction(back, equation.left, tree, f"{source}, reverse", written.where)

    def kind(self, node: Node, equation: _Equation) -> str:
        """``three-body``, ``falloff`` or nothing, which is mass action of what is written."""
        found = node.mapping()
        told = found["type"].text() if "type" in found else None
        if told is not None and told not in _KINDS:
            raise found["type"].fail(
                f"reactions of type {told[:40]!r} are not read, only elementary ones, three-body "
                "and falloff of Lindemann and Troe"
            )
        for key in _OTHER_FALLOFF:
            if key in found:
                raise found[key].fail(f"falloff of {key} is not read, only of Lindemann and Troe")
        kind = _KINDS.get(told or "", "")
        if (kind == "falloff") != equation.falloff:
            raise node.get("equation").fail(
                "'type: falloff' and a (+M) on both sides belong together; write both or neither"
            )
        if equation.body and not equation.falloff:
            return "three-body"
        if kind == "three-body" and not equation.left.keys() & equation.right.keys():
            raise node.get("equation").fail("a three-body reaction has M on both sides")
        return kind if kind == "falloff" else ""

    def ordered(
        self, fields: Mapping[str, Node], equation: _Equation, node: Node
    ) -> tuple[dict[str, int], dict[str, float]]:
        """What the forward rate multiplies, and what then is made."""
        orders, products = dict(equation.left), dict(equation.right)
        told = fields["orders"].mapping() if "orders" in fields else {}
        if told and equation.reversible:
            raise fields["orders"].fail("orders are for reactions that go one way; write =>")
        for name, value in told.items():
            self.known(name, value)
            if name not in equation.left and not self.flag(fields, "nonreactant-orders"):
                raise value.fail(f"{name!r} does not react; add nonreactant-orders: true")
            change = value.number() - orders.get(name, 0.0)
            orders[name] = value.number()
            products[name] = products.get(name, 0.0) + change
        orders = {n: order for n, order in orders.items() if order or n not in told}
        return molecules(orders, node.fail), {n: c for n, c in products.items() if c}

    def third(
        self, number: int, fields: Mapping[str, Node], equation: _Equation, node: Node
    ) -> str:
        """The pool that is the third body; nothing where there is none, or it is a species."""
        body = equation.body
        told = fields["efficiencies"].mapping() if "efficiencies" in fields else {}
        lenient = self.flag(self.fields, "skip-undeclared-third-bodies")
        for name, value in told.items():
            if not lenient:
                self.known(name, value)
        weights = {name: value.number() for name, value in told.items() if name in self.entries}
        if body != "M":
            colliders = {body} if body else equation.left.keys() & equation.right.keys()
            if not weights.keys() <= colliders or (not body and {*weights.values()} - {1.0}):
                raise fields["efficiencies"].fail(
                    "efficiencies belong to M; here the third body is a species"
                    if colliders
                    else "efficiencies belong to M, and there is no third body"
                )
            if not body:
                return ""
            self.known(body, node)
            weights.setdefault(body, 1.0)
        else:
            told_default = fields.get("default-efficiency")
            default = 1.0 if told_default is None else told_default.number()
            weights = {name: weights.get(name, default) for name in self.entries}
        weights = {name: weight for name, weight in weights.items() if weight}
        if not weights:
            raise node.fail("no species counts as its third body; mend the efficiencies")
        for pool, members in self.pools.items():
            if members == weights:
                return pool
        whole = {*weights.values()} == {1.0} and len(weights) == len(self.entries)
        pool = "M" if whole else f"M_{number}"
        self.pools[pool] = weights
        return pool

    def once(self, fields: Mapping[str, Node], equation: _Equation, kind: str, pool: str) -> None:
        """Refuses a second reaction of the same sides that is not marked as such."""
        sides = [frozenset(side.items()) for side in (equation.left, equation.right)]
        what = (kind, "Troe" in fields)
        members = frozenset(self.pools.get(pool, ()))
        marked = self.flag(fields, "duplicate")
        same = [(other, True) for other in self.seen.get((*sides, *what), ())]
        same += [(other, False) for other in self.seen.get((*sides[::-1], *what), ())]
        for other, along in same:
            both = along or equation.reversible or other.reversible
            apart = kind and not members & other.members
            if both and not apart and not (marked and other.marked):
                node = fields["equation"]
                raise node.fail(
                    f"{node.text()[:80]!r} stands in line {other.node.line} too; where both count, "
                    "add duplicate: true to each, and else drop one"
                )
        found = _Seen(fields["equation"], equation.reversible, marked, members)
        self.seen.setdefault((*sides, *what), []).append(found)


def _words(node: Node) -> set[str]:
    """All words of a list, and of lists in the mappings of one."""
    if isinstance(node.value, str):
        return {node.value}
    parts = node.value if isinstance(node.value, list) else [*node.value.values()]
    return {word for part in parts for word in _words(part)}


def _picked(entries: Sequence[_Entry], names: Sequence[Node]) -> Iterator[_Entry]:
    """Those of these names, in their order."""
    found = {entry.node.get("name").text(): entry for entry in entries}
    for name in names:
        if name.text() not in found:
            raise name.fail(unknown_species(name.text(), found, "the list of the phase"))
        yield found[name.text()]


def _composition(node: Node) -> dict[str, int]:
    """Elements and charge of a species; E counts electrons."""
    found: dict[str, int] = {}
    for element, value in node.mapping().items():
        count = value.number()
        if count != int(count):
            raise value.fail(f"{count:g} {element}: a species has whole atoms")
        if count:
            found[CHARGE if element == "E" else element] = int(-count if element == "E" else count)
    return found
