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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..expression import Expression, Name, Number, call
from ..formula import CHARGE
from ..network import Network, Reaction, Units, unknown_species
from .cantera_equations import Equation, read_equation
from .cantera_phases import Entry, File, Phase, chosen
from .cantera_rates import Arrhenius, arrhenius, falloff, gibbs
from .cantera_units import ATMOSPHERE, GAS
from .common import build, counted, molecules
from .document import Node, has_key

__all__ = ["loads", "looks_like"]

_SIGN = re.compile(
    r"^[ \t]*-[ \t]+(?:\{[ \t]*)?[\"']?equation[\"']?[ \t]*:"
    r"|(?:^[ \t]*|[{,][ \t]*)[\"']?(?:\w+-P-)?rate-constant[\"']?[ \t]*:"
    r"|\bthermo[\"']?[ \t]*:[ \t]*[\"']?ideal-gas\b",
    re.MULTILINE,
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
    source = File(filename, text)
    network = _Reader(Phase(source, chosen(source, phase))).network()
    source.tell()
    return network


class _Seen(NamedTuple):
    """A reaction that stands above another one."""

    node: Node
    reversible: bool
    members: frozenset[str]


class _Reader:
    """One phase: its species, its reactions, and what their rates name."""

    def __init__(self, phase: Phase):
        self.phase = phase
        self.entries: dict[str, Entry] = {}
        self.compositions: dict[str, dict[str, int]] = {}
        self.read_species()
        self.pools: dict[str, dict[str, float]] = {}
        self.quantities: dict[str, Expression] = {}
        self.third_bodies: dict[frozenset[tuple[str, float]], str] = {}
        self.seen: dict[tuple, list[_Seen]] = {}

    def network(self) -> Network:
        """Puts it all together."""
        entries = [e for e, sure in self.phase.reactions() if sure or self.declared(e.node)]
        counted(self.phase.source.filename, len(entries))
        reactions = [r for n, e in enumerate(entries, 1) for r in self.reaction(n, e)]
        if not reactions:
            raise self.phase.node.fail("the phase has no reactions; a network needs one")
        path = Path(self.phase.source.filename)
        key, name = (
            re.sub(r"[\s#]+", " ", text).strip() or "text" for text in (path.name, self.phase.name)
        )
        return build(
            self.phase.source.filename,
            name=re.sub(r"\W", "_", path.stem) or "cantera",
            title=f"Cantera mechanism, phase {name}",
            species=self.compositions,
            reactions=reactions,
            units=Units("mol m-3", "s"),
            pools=self.pools,
            quantities=self.quantities,
            references={"CANTERA": f"{key}, in Cantera's YAML"},
        )

    # Species

    def read_species(self) -> None:
        """The species of the phase, in its order."""
        elements = self.phase.elements
        for entry in self.phase.species():
            name = entry.node.get("name")
            if _UNWRITABLE.search(name.text()):
                raise name.fail(
                    f"a species cannot be called {name.text()[:40]!r} here; rename it, with a "
                    "letter and without blanks, quotes and -> (and M is the third body)"
                )
            if name.text() in self.entries:
                raise name.fail(f"species {name.text()!r} is declared twice; drop one")
            counts = entry.node.get("composition").mapping()
            if elements is None or counts.keys() <= elements:
                self.entries[name.text()] = entry
                self.compositions[name.text()] = _composition(counts)

    def declared(self, node: Node) -> bool:
        """Whether all species of a reaction are in the phase."""
        equation = read_equation(node.get("equation"))
        named = {*equation.left, *equation.right, equation.body}
        return named <= {*self.entries, "M", ""}

    def known(self, name: str, node: Node) -> None:
        """Refuses what is no species of the phase."""
        if name not in self.entries:
            raise node.fail(unknown_species(name, self.entries, f"phase {self.phase.name!r}"))

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

    def backward(self, equation: Equation, node: Node) -> tuple[Arrhenius, Expression]:
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

    def reaction(self, number: int, entry: Entry) -> Iterator[Reaction]:
        """One reaction, or two where it goes both ways."""
        node = entry.node
        written = node.get("equation")
        equation = read_equation(written)
        kind = self.kind(node, equation)
        rates = ("rate-constant",) if kind != "falloff" else (*_LIMITS, "Troe")
        fields = node.fields((*_REACTION, *rates), rates[:2])
        for name in (*equation.left, *equation.right):
            self.known(name, written)
        reactants, products = self.ordered(fields, equation, written)
        pool = self.third(number, fields, equation, written)
        self.once(fields, equation, kind, pool)
        order, negative = sum(reactants.values()), _flag(fields, "negative-A")

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

    def kind(self, node: Node, equation: Equation) -> str:
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
        self, fields: Mapping[str, Node], equation: Equation, node: Node
    ) -> tuple[dict[str, int], dict[str, float]]:
        """What the forward rate multiplies, and what then is made."""
        orders, products = dict(equation.left), dict(equation.right)
        told = fields["orders"].mapping() if "orders" in fields else {}
        if told and equation.reversible:
            raise fields["orders"].fail("orders are for reactions that go one way; write =>")
        for name, value in told.items():
            self.known(name, value)
            if name not in equation.left and not _flag(fields, "nonreactant-orders"):
                raise value.fail(f"{name!r} does not react; add nonreactant-orders: true")
            order = value.number()
            if order < 0 or order != int(order):
                raise value.fail(f"order {order:g} in {name!r}: only whole orders are read")
            change = order - orders.get(name, 0.0)
            orders[name] = order
            products[name] = products.get(name, 0.0) + change
        orders = {n: order for n, order in orders.items() if order or n not in told}
        return molecules(orders, node.fail), {n: c for n, c in products.items() if c}

    def third(self, number: int, fields: Mapping[str, Node], equation: Equation, node: Node) -> str:
        """The pool that is the third body; nothing where there is none, or it is a species."""
        body = equation.body
        told = fields["efficiencies"].mapping() if "efficiencies" in fields else {}
        lenient = self.phase.flag("skip-undeclared-third-bodies")
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
        if same := self.third_bodies.get(frozenset(weights.items())):
            return same
        whole = {*weights.values()} == {1.0} and len(weights) == len(self.entries)
        pool = "M" if whole else f"M_{number}"
        self.pools[pool] = weights
        self.third_bodies[frozenset(weights.items())] = pool
        return pool

    def once(self, fields: Mapping[str, Node], equation: Equation, kind: str, pool: str) -> None:
        """Refuses a second reaction of the same sides that is not marked as such."""
        sides = [frozenset(side.items()) for side in (equation.left, equation.right)]
        what = (kind, "Troe" in fields)
        members = frozenset(self.pools.get(pool, ()))
        marked = _flag(fields, "duplicate")
        told = (False,) if marked else (False, True)  # of two that are marked, both count
        same = [(o, True) for mark in told for o in self.seen.get((*sides, *what, mark), ())]
        back = (*sides[::-1], *what)
        same += [(o, False) for mark in told for o in self.seen.get((*back, mark), ())]
        for other, along in same:
            both = along or equation.reversible or other.reversible
            apart = kind and not members & other.members
            if both and not apart:
                node = fields["equation"]
                raise node.fail(
                    f"{node.text()[:80]!r} stands at {other.node.where} too; where both "
                    "count, add duplicate: true to each, and else drop one"
                )
        found = _Seen(fields["equation"], equation.reversible, members)
        self.seen.setdefault((*sides, *what, marked), []).append(found)


def _flag(fields: Mapping[str, Node], key: str) -> bool:
    """Whether a key is there and true."""
    return key in fields and fields[key].flag()


def _composition(counts: Mapping[str, Node]) -> dict[str, int]:
    """Elements and charge of a species; E counts electrons."""
    found: dict[str, int] = {}
    for element, node in counts.items():
        count = node.number()
        if count != int(count):
            raise node.fail(f"{count:g} {element}: a species has whole atoms")
        if count:
            found[CHARGE if element == "E" else element] = int(-count if element == "E" else count)
    return found
