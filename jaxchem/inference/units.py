"""Units as chemists write them, and what of one unit is in another."""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..rates import AVOGADRO, BOLTZMANN

__all__ = ["CONCENTRATIONS", "Unit", "convert", "same", "unit"]

GAS = AVOGADRO * BOLTZMANN
"""The gas constant [J mol-1 K-1]."""

CONCENTRATIONS = (
    *("concentration", "mass concentration", "pressure", "mole fraction", "mass fraction"),
    "fraction",
)
"""The kinds of unit that the amount of a species may have."""


class Unit(NamedTuple):
    """A unit.

    Attributes:
        text: as it was written.
        kind: one of `CONCENTRATIONS`, or time, rate, temperature, angle, or other.
        scale: what multiplies a value into mol m-3, kg m-3, Pa, 1, s, s-1, K or rad.
        zero: what is added then; not nothing for temperatures alone.
        label: what it is called in a table; `text` without words behind it.
    """

    text: str
    kind: str
    scale: float
    zero: float = 0.0
    label: str = ""


_PARTS = {"ppm": 1e-6, "ppb": 1e-9, "ppt": 1e-12}
_FRACTIONS: dict[str, tuple[str, float]] = {
    **{f"{n}{v}": ("mole fraction", part) for n, part in _PARTS.items() for v in ("", "v")},
    "partspermillion": ("mole fraction", 1e-6),
    "partsperbillion": ("mole fraction", 1e-9),
    "partspertrillion": ("mole fraction", 1e-12),
    **dict.fromkeys(
        (
            *("molefraction", "molfraction", "molarfraction", "amountfraction", "mixingratio"),
            *("volumemixingratio", "volumefraction", "vmr", "v/v", "mol/mol"),
        ),
        ("mole fraction", 1.0),
    ),
    **dict.fromkeys(
        ("mol%", "mole%", "vol%", "volume%", "molepercent", "molpercent", "%v/v", "%(v/v)", "%vol"),
        ("mole fraction", 0.01),
    ),
    **dict.fromkeys(
        ("weightfraction", "massfraction", "wtfraction", "w/w", "m/m", "g/g", "kg/kg"),
        ("mass fraction", 1.0),
    ),
    **dict.fromkeys(
        (
            *("wt%", "weight%", "mass%", "weightpercent", "masspercent", "wtpercent"),
            *("%w/w", "%(w/w)", "%wt", "w%"),
        ),
        ("mass fraction", 0.01),
    ),
    **dict.fromkeys(("fraction", "1", "-", "dimensionless", "unitless"), ("fraction", 1.0)),
    **dict.fromkeys(("%", "percent", "percentage", "pct"), ("fraction", 0.01)),
    "\N{PER MILLE SIGN}": ("fraction", 0.001),
}
"""Parts of a whole, by their names without blanks and points."""

_KINDS = {
    (("[length]", -3), ("[substance]", 1)): "concentration",
    (("[length]", -3),): "concentration",
    (("[length]", -3), ("[mass]", 1)): "mass concentration",
    (("[length]", -1), ("[mass]", 1), ("[time]", -2)): "pressure",
    (("[time]", 1),): "time",
    (("[time]", -1),): "rate",
    (("[temperature]", 1),): "temperature",
}
_ANGLES = {"radian", "degree", "arcminute", "arcsecond", "turn"}
_SCRIPT = str.maketrans(
    {
        **dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+", strict=True)),
        **{"\u2212": "-", "\u2013": "-", "·": " ", "⋅": " ", "\u00d7": "*"},
        **{"˚": "°", "º": "°", "μ": "µ"},
        **dict.fromkeys("${}", ""),
    }
)
_DEGREES = re.compile(r"(?:°|deg(?:rees?)?\.?)?\s*(C|F|K|Celsius|Fahrenheit)", re.IGNORECASE)
_POWER = re.compile(
    r"(?<=[A-Za-zµ])(?<![\d.][eE])\s*(?:\^|\*\*)?\s*\(?([-+]?\d+)\)?(?![\d.A-Za-z])"
)
_WORDS = re.compile(r"(%|\S.*?)\s+of\s+.*|(%)\s*[A-Za-z].*", re.DOTALL)


@functools.cache
def _registry() -> Any:
    import pint  # a third of a second, which only measurements need

    registry = pint.UnitRegistry()
    registry.define("@alias torr = Torr")
    registry.define("@alias week = wk")
    registry.define("@alias particle = mlc = atom = atoms")
    return registry


@functools.cache
def unit(text: str) -> Unit | None:
    """The unit that a text names, `None` where it names none.

    Known are what pint knows, in the spellings of tables (``cm-3``, ``cm^-3``, ``molec/cm3``,
    ``#/cm3``, ``µg m⁻³``, ``°C``), parts of a whole (``ppb``, ``wt %``, ``mole fraction``), and
    units with words behind them (``% of A``). A number per volume is a number of molecules.
    """
    text = text.strip()
    match = _WORDS.fullmatch(text)
    if match and not _fraction(text):
        label = match[1] or match[2]
        found = _read(label)
        return found and found._replace(text=text, label=label)
    return _read(text)


def _read(text: str) -> Unit | None:
    plain = re.sub(r"\s+", " ", text.translate(_SCRIPT)).strip()
    if part := _fraction(text):
        return Unit(text, *part, label=text)
    if match := _DEGREES.fullmatch(plain):
        plain = {"c": "degC", "f": "degF", "k": "K"}[match[1][0].lower()]
    plain = re.sub(r"^(?:#|number\b)\s*(?=/|cm|m)", "molecule ", plain)
    plain = re.sub(r"\b(mm) (Hg)\b", r"\1\2", "degree" if plain == "°" else plain)
    plain = re.sub(r"\b(molec|mol|sec|min|hr)\.(?=\W|$)", r"\1", plain)
    plain = re.sub(r"(?<=[A-Za-z\d])\.(?=[A-Za-z])", " ", plain)
    plain = _POWER.sub(r"**(\1)", plain)
    for spelling in dict.fromkeys((plain, plain.lower()) if len(plain) > 2 else (plain,)):
        if (found := _of_pint(spelling)) is not None:
            return found._replace(text=text, label=text)
    return None


def _fraction(text: str) -> tuple[str, float] | None:
    """Kind and size of a part of a whole."""
    return _FRACTIONS.get(re.sub(r"[\s.]|(?<=.)-", "", text.translate(_SCRIPT)).lower())


def _of_pint(text: str) -> Unit | None:
    if not re.search(r"[A-Za-z]", text) or re.match(r"[\d.]+[A-DF-Za-df-z]", text):
        return None  # pint takes any number, and 1D for one of debye
    registry = _registry()
    try:
        quantity = registry.Quantity(registry.parse_expression(text))
        names = {name for name, _ in quantity.unit_items()}
        dimensions = tuple(sorted((n, int(p)) for n, p in quantity.dimensionality.items() if p))
        size = quantity.magnitude
        zero, one = (
            float(registry.Quantity(size * x, quantity.units).to_base_units().magnitude)
            for x in (0.0, 1.0)
        )
    except Exception:  # pint raises what its tokens, units and operators raise
        return None
    scale = one - zero
    if not (np.isfinite(scale) and scale > 0):
        return None
    kind = _KINDS.get(dimensions, "other")
    if not dimensions:
        grams = any(name.endswith("gram") for name in names)
        moles = any(name.endswith("mole") for name in names)
        kind = "mole fraction" if moles else "mass fraction" if grams else "other"
        kind = "angle" if names and names <= _ANGLES else kind
    if dimensions == (("[length]", -3),):
        scale /= AVOGADRO
    return Unit(text, kind, scale, zero if kind == "temperature" else 0.0, text)


def same(text: str, other: str) -> bool:
    """Whether two texts are one unit, however they are spelled."""
    first, second = unit(text), unit(other)
    if re.sub(r"\s+", "", text).lower() == re.sub(r"\s+", "", other).lower():
        return True
    if first is None or second is None:
        return False
    alike = first.kind == second.kind != "other" and first.zero == second.zero
    return alike and _round(first.scale / second.scale) == 1.0


def convert(
    given: Unit,
    wanted: Unit,
    surroundings: Mapping[str, np.ndarray],
    mass: float | None = None,
) -> tuple[Any, str]:
    """What multiplies an amount in one unit into another, and by what it was found.

    Args:
        given: unit of the values, one of the `CONCENTRATIONS`.
        wanted: unit that they shall have.
        surroundings: `temperature` [K], `pressure` [Pa] and `density` [mol m-3] as far as they
            are known, each one value or one a reading.
        mass: molar mass of the species [kg mol-1].

    Raises:
        ValueError: what is missing, or that nothing can convert these.
    """
    kinds = (given.kind, wanted.kind)
    scale = given.scale / wanted.scale
    if given.kind == wanted.kind and given.kind != "other" and given.zero == wanted.zero:
        return _round(scale), ""
    parts = all(kind.endswith("fraction") for kind in kinds)
    if "fraction" in kinds and parts and min(given.scale, wanted.scale) >= 0.01:
        return _round(scale), ""
    bases = ("concentration", "mass concentration", "pressure", "mole fraction")
    if not all(kind in bases for kind in kinds):
        if "fraction" in kinds and (parts or set(kinds) & set(bases)):
            raise ValueError("a part of a whole needs a word of what, as 'mol %' or 'wt %'")
        raise ValueError(f"a {given.kind} is no {wanted.kind}")
    if set(kinds) == {"pressure", "mole fraction"} and "pressure" in surroundings:
        total = surroundings["pressure"]
        return (scale / total if given.kind == "pressure" else scale * total), "by pressure"
    into, how = _molar(given.kind, surroundings, mass)
    out, how_ = _molar(wanted.kind, surroundings, mass)
    return scale * into / out, ", ".join(filter(None, dict.fromkeys((how, how_))))


def _round(scale: float) -> float:
    """Without the last digits of a quotient: spellings of one unit differ by none."""
    return float(f"{scale:.14g}")


def _molar(
    kind: str, surroundings: Mapping[str, np.ndarray], mass: float | None
) -> tuple[Any, str]:
    """What multiplies an amount, in SI, into mol m-3."""
    if kind == "concentration":
        return 1.0, ""
    if kind == "mass concentration":
        if mass is None:
            raise ValueError("the molar mass is not known; declare the formula in the network")
        return 1.0 / mass, f"by molar mass {1e3 * mass:.6g} g mol-1"
    if kind == "pressure":
        if "temperature" not in surroundings:
            raise ValueError("the temperature is not known")
        return 1.0 / (GAS * surroundings["temperature"]), "by temperature"
    if "density" in surroundings:
        return surroundings["density"], "by density"
    if not {"temperature", "pressure"} <= {*surroundings}:
        raise ValueError("neither density nor temperature and pressure are known")
    air = surroundings["pressure"] / (GAS * surroundings["temperature"])
    return air, "by temperature and pressure"
