"""Rates and Gibbs energies of Cantera's YAML as expressions, in mol, m, s and K."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..expression import Expression, Name, Number, call
from .cantera_units import Scale
from .document import Node

__all__ = ["Arrhenius", "arrhenius", "falloff", "gibbs"]

_TEMPERATURE = Name("temperature")
_SMALLEST = 1e-300
"""Temperatures of Troe's below this are as if not given."""


class Arrhenius(NamedTuple):
    """A T^b exp(-e / T)."""

    a: float
    b: float
    e: float

    def over(self, other: "Arrhenius") -> "Arrhenius":
        """The quotient of both."""
        return Arrhenius(self.a / other.a, self.b - other.b, self.e - other.e)

    def tree(self, node: Node, more: Expression | None = None) -> Expression:
        """As an expression, with `more` in its one exponential: no part of it overflows alone."""
        if not all(map(math.isfinite, self)):
            raise node.fail("the numbers of its rate are too large in mol, m and s")
        tree: Expression = Number(self.a)
        if self.b:
            tree = call("*", tree, call("**", _TEMPERATURE, Number(self.b)))
        exponent = more
        if self.e:
            own = call("/", Number(-self.e), _TEMPERATURE)
            exponent = own if more is None else call("+", more, own)
        return tree if exponent is None else call("*", tree, call("exp", exponent))


def arrhenius(node: Node, scale: Scale, order: int, negative: bool) -> Arrhenius:
    """The rate constant of a reaction of this order.

    Args:
        node: ``{A: , b: , Ea: }`` or a list of the three.
        scale: the units in force around it.
        order: of the reaction.
        negative: whether A may be negative.
    """
    keys = ("A", "b", "Ea")
    if isinstance(node.value, list):
        if len(node.value) != len(keys):
            raise node.fail("a rate constant has three numbers: A, b and Ea")
        a, b, e = node.value
    else:
        fields = node.fields((*keys, "units"), keys)
        a, b, e = (fields[key] for key in keys)
    scale = scale.within(node)
    found = Arrhenius(scale.amplitude(a, order), b.number(), scale.activation_temperature(e))
    if found.a < 0 and not negative:
        raise a.fail("A is negative; where that is meant, add negative-A: true to the reaction")
    return found


def falloff(troe: Node | None, high: Expression, reduced: Expression) -> Expression:
    """Between the limits of low and high pressure.

    Args:
        troe: the parameters of the centre; Lindemann's where there are none.
        high: the limit of high pressure.
        reduced: the reduced pressure.
    """
    if troe is None:
        return call("lindemann", high, reduced)
    fields = troe.fields(("A", "T3", "T1", "T2"), ("A", "T3", "T1"))
    a, t3, t1 = (fields[key].number() for key in ("A", "T3", "T1"))
    t2 = fields["T2"].number() if "T2" in fields else 0.0
    terms = [
        call("*", Number(weight), call("exp", call("/", _TEMPERATURE, Number(-t))))
        for weight, t in ((1.0 - a, t3), (a, t1))
        if weight and abs(t) > _SMALLEST
    ]
    if abs(t2) > _SMALLEST:
        terms.append(call("exp", call("/", Number(-t2), _TEMPERATURE)))
    centre: Expression = terms[0] if terms else Number(0.0)
    for term in terms[1:]:
        centre = call("+", centre, term)
    return call("troe", high, reduced, centre)


def gibbs(thermo: Node) -> Expression:
    """The Gibbs energy of a species at its reference pressure over R T, from NASA7."""
    known = ("model", "temperature-ranges", "data", "reference-pressure", "note", "units")
    fields = thermo.fields(known, ("temperature-ranges", "data"))
    ends = [node.number() for node in fields["temperature-ranges"].items()]
    rows = [[n.number() for n in row.items()] for row in fields["data"].items()]
    if len(rows) not in (1, 2) or len(ends) != len(rows) + 1 or sorted(ends) != ends:
        raise thermo.fail("NASA7 has two or three rising temperatures, and a row between each two")
    if any(len(row) != 7 for row in rows):
        raise fields["data"].fail("NASA7 has seven coefficients in each row")
    if rows[0] == rows[-1]:
        return _polynomial(rows[0])
    above = call("-", _TEMPERATURE, Number(ends[1]))
    return call("positive", above, _polynomial(rows[1]), _polynomial(rows[0]))


def _polynomial(row: Sequence[float]) -> Expression:
    """a0 (1 - ln T) - a6 + a5 / T - T (a1 / 2 + T (a2 / 6 + T (a3 / 12 + T a4 / 20)))."""
    a0, *powers, a5, a6 = row
    inner: Expression = Number(0.0)
    for a, divisor in zip(reversed(powers), (20.0, 12.0, 6.0, 2.0), strict=True):
        term = Number(a / divisor)
        inner = term if inner == Number(0.0) else call("+", term, call("*", _TEMPERATURE, inner))
    tree = call("*", Number(a0), call("-", Number(1.0), call("log", _TEMPERATURE)))
    tree = call("+", tree, call("-", call("/", Number(a5), _TEMPERATURE), Number(a6)))
    return tree if inner == Number(0.0) else call("-", tree, call("*", _TEMPERATURE, inner))
