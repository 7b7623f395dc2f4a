"""Units of Cantera's YAML: those in force at a place, and those that stand beside a value.

Values become mol, m, s and K; activation energies are told over the gas constant. The file's own
defaults are m, s, kmol and J; a mapping ``units`` changes them for where it stands and below.
"""

import math
import re
from typing import NamedTuple

from ..rates import AVOGADRO, BOLTZMANN
from ..suggest import closest
from .document import Node

__all__ = ["ATMOSPHERE", "GAS", "Scale"]

GAS = AVOGADRO * BOLTZMANN
"""The gas constant, J mol-1 K-1."""
ATMOSPHERE = 101325.0
"""Pa."""

_Powers = tuple[float, ...]  # of m, kg, s, K, mol
_LENGTH, _MASS, _TIME, _KELVIN, _MOLE = ((*[0.0] * i, 1.0, *[0.0] * (4 - i)) for i in range(5))
_ENERGY, _PRESSURE = (2.0, 1.0, -2.0, 0.0, 0.0), (-1.0, 1.0, -2.0, 0.0, 0.0)
_UNITS: dict[str, tuple[float, _Powers]] = {
    **{"m": (1.0, _LENGTH), "micron": (1e-6, _LENGTH), "angstrom": (1e-10, _LENGTH)},
    **{"L": (1e-3, (3.0, 0.0, 0.0, 0.0, 0.0)), "cc": (1e-6, (3.0, 0.0, 0.0, 0.0, 0.0))},
    **{"g": (1e-3, _MASS), "s": (1.0, _TIME), "sec": (1.0, _TIME), "min": (60.0, _TIME)},
    **{"hr": (3600.0, _TIME), "K": (1.0, _KELVIN)},
    **dict.fromkeys(("mol", "gmol", "mole"), (1.0, _MOLE)),
    **{"kgmol": (1e3, _MOLE), "molec": (1.0 / AVOGADRO, _MOLE)},
    **{"J": (1.0, _ENERGY), "cal": (4.184, _ENERGY), "erg": (1e-7, _ENERGY)},
    **{"eV": (1.602176634e-19, _ENERGY), "Pa": (1.0, _PRESSURE), "bar": (1e5, _PRESSURE)},
    **{"atm": (ATMOSPHERE, _PRESSURE), "torr": (ATMOSPHERE / 760.0, _PRESSURE)},
}
_PREFIXES = {
    **{"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "h": 1e2, "d": 1e-1, "c": 1e-2, "m": 1e-3},
    **{"u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15},
}
_FACTOR = re.compile(r"([*/]?)\s*([A-Za-zµμ]+|1)(?:\^([-+]?\d(?:\.\d{1,4})?))?\s*")


def _unit(node: Node, text: str) -> tuple[float, _Powers]:
    """A unit such as ``cm^6/mol^2/s`` in m, kg, s, K and mol, and its powers of them."""
    scale, powers, place = 1.0, (0.0,) * 5, 0
    while match := _FACTOR.match(text, place):
        sign, name, power = match.groups()
        exponent = float(power or 1) * (-1.0 if sign == "/" else 1.0)
        size, of = _named(node, name)
        scale *= size**exponent
        powers = tuple(a + exponent * b for a, b in zip(powers, of, strict=True))
        place = match.end()
    if place < len(text) or not text or not 0 < scale < math.inf:
        raise node.fail(f"{text[:40]!r} is no unit; write one such as 'cm^3/mol/s' or 'cal/mol'")
    return scale, powers


def _named(node: Node, name: str) -> tuple[float, _Powers]:
    if name == "1":
        return 1.0, (0.0,) * 5
    if name in _UNITS:
        return _UNITS[name]
    if name[:1] in _PREFIXES and name[1:] in _UNITS:
        size, powers = _UNITS[name[1:]]
        return _PREFIXES[name[0]] * size, powers
    hint = closest(name, _UNITS) or f"; known: {', '.join(_UNITS)}, with prefixes."
    raise node.fail(f"unknown unit {name[:40]!r}{hint}")


class Scale(NamedTuple):
    """The units that are in force, in m, s, mol, J and Pa.

    Attributes:
        length: of lengths.
        time: of times.
        quantity: of amounts.
        energy: of energies, for activation energies too where these have no unit of their own.
        pressure: of pressures.
        activation: of activation energies, to K; `None` for energy by quantity.
    """

    length: float = 1.0
    time: float = 1.0
    quantity: float = 1e3
    energy: float = 1.0
    pressure: float = 1.0
    activation: float | None = None

    def within(self, node: Node) -> "Scale":
        """The units in force within a mapping, which may have a ``units`` of its own."""
        if not isinstance(node.value, dict) or "units" not in node.value:
            return self
        known = {**_KINDS, **dict.fromkeys(_UNUSED)}
        fields = node.value["units"].fields((*known, "activation-energy"))
        found = self
        for key, powers in _KINDS.items():
            if key in fields:
                found = found._replace(**{key: _as(fields[key], fields[key].text(), powers)})
        if "activation-energy" in fields:
            told = fields["activation-energy"]
            found = found._replace(activation=_kelvin(told, told.text()))
        return found

    def amplitude(self, node: Node, order: int) -> float:
        """A rate coefficient's A, for reactions of this order, in m3, mol and s."""
        number, unit = _parted(node)
        if unit:
            size = _as(node, unit, (3.0 * (order - 1), 0.0, -1.0, 0.0, 1.0 - order))
        else:
            size = 1.0 / self.time
            for _ in range(abs(order - 1)):
                volume = self.length**3 / self.quantity
                size = size * volume if order > 1 else size / volume
        if not math.isfinite(number * size):
            raise node.fail(f"{node.text()[:40]!r} is too large in mol, m and s")
        return number * size

    def activation_temperature(self, node: Node) -> float:
        """An activation energy over the gas constant, K."""
        number, unit = _parted(node)
        if unit:
            return number * _kelvin(node, unit)
        if self.activation is not None:
            return number * self.activation
        return number * self.energy / self.quantity / GAS

    def pascal(self, node: Node) -> float:
        """A pressure, Pa."""
        number, unit = _parted(node)
        return number * (_as(node, unit, _PRESSURE) if unit else self.pressure)


_KINDS = {
    **{"length": _LENGTH, "time": _TIME, "quantity": _MOLE},
    **{"energy": _ENERGY, "pressure": _PRESSURE},
}
_UNUSED = ("mass", "current", "temperature")
"""Units that nothing of what is read here has."""


def _parted(node: Node) -> tuple[float, str]:
    """Number and unit of a value."""
    number, _, unit = node.text().strip().partition(" ")
    return node.put(number).number(), unit.strip()


def _as(node: Node, unit: str, powers: _Powers) -> float:
    """The size of a unit that must be of a kind."""
    size, found = _unit(node, unit)
    if found != powers:
        wanted = zip(("m", "kg", "s", "K", "mol"), powers, strict=True)
        shown = " ".join(name if n == 1 else f"{name}^{n:g}" for name, n in wanted if n)
        raise node.fail(f"{unit[:40]!r} is no unit of what stands here, which is in {shown or '1'}")
    return size


def _kelvin(node: Node, unit: str) -> float:
    """The size of a unit of activation energies, over the gas constant."""
    size, powers = _unit(node, unit)
    if powers == _KELVIN:
        return size
    if powers == _ENERGY:  # of one molecule
        return size / BOLTZMANN
    if powers == (*_ENERGY[:4], -1.0):
        return size / GAS
    raise node.fail(f"{unit[:40]!r} is no unit of activation energy, as 'cal/mol' or 'K'")
