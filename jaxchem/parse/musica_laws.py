"""The kinds of reactions of MUSICA: their numbers and their rates as expressions.

A Taylor series is the product of the law of Arrhenius with the polynomial of all coefficients, as
the source of MICM has it. The documentation of the format writes a sum instead, and MUSICA 0.17
evaluates the first coefficient alone, whence the warning where there are more.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

from ..expression import Expression, Name, Number, call
from ..rates import BOLTZMANN
from .document import Node

__all__ = ["GIVEN", "KINDS", "OTHER", "SURFACE", "Kind", "rates"]

SURFACE = ("effective radius [m]", "particle number concentration [# m-3]")
"""What the user gives of particles."""
GIVEN = ("PHOTO", "EMIS", "LOSS", "USER", "SURF")
"""How the names of what the user gives begin."""
_MOST_COEFFICIENTS = 30


class Kind(NamedTuple):
    """What stands in a reaction of one kind.

    Attributes:
        parameters: its numbers, with what MUSICA gives those left out; `None` where it must stand.
        sides: the keys of the reactants, if any react, and of each law's products.
        optional: keys that may stand there besides.
        laws: one for each side of products, of what is asked and the numbers.
        asked: what the user gives, ``{}`` the reaction's name.
    """

    parameters: dict[str, float | None]
    sides: tuple[str, ...] = ("reactants", "products")
    optional: tuple[str, ...] = ()
    laws: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()


_ARRHENIUS: dict[str, float | None] = {"A": 1.0, "B": 0.0, "C": 0.0, "D": 300.0, "E": 0.0}
_FALLOFF: dict[str, float | None] = {
    **{"k0_A": 1.0, "k0_B": 0.0, "k0_C": 0.0, "kinf_A": 1.0, "kinf_B": 0.0, "kinf_C": 0.0},
    **{"Fc": 0.6, "N": 1.0},
}
_JPL19: dict[str, float | None] = {
    **{"k0_A": 1.0, "k0_B": 0.0, "k0_C": 0.0, "k0_D": 298.0},
    **{"kinf_A": 1.0, "kinf_B": 0.0, "kinf_C": 0.0, "kinf_D": 298.0},
    **{"kint_A": 1.0, "kint_B": 0.0, "kint_C": 0.0, "kint_D": 298.0},
    **{"Fc": 0.6, "N": 1.0},
}
_SCALE: dict[str, float | None] = {"scaling factor": 1.0}

KINDS = {
    "ARRHENIUS": Kind(_ARRHENIUS, optional=("Ea",)),
    "TAYLOR_SERIES": Kind(_ARRHENIUS, optional=("Ea", "taylor coefficients")),
    "TROE": Kind(_FALLOFF, laws=("micm_troe",)),
    "TERNARY_CHEMICAL_ACTIVATION": Kind(_FALLOFF, laws=("micm_ternary",)),
    "TERNARY_CHEMICAL_ACTIVATION_JPL19": Kind(_JPL19, laws=("micm_ternary_jpl19",)),
    "TUNNELING": Kind({"A": 1.0, "B": 0.0, "C": 0.0}, laws=("micm_tunneling",)),
    "BRANCHED_NO_RO2": Kind(
        {"X": None, "Y": None, "a0": None, "n": None},
        ("reactants", "alkoxy products", "nitrate products"),
        laws=("micm_alkoxy", "micm_nitrate"),
    ),
    "SURFACE": Kind(
        {"reaction probability": 1.0},
        ("gas-phase species", "gas-phase products"),
        laws=("micm_surface",),
        asked=tuple(f"SURF.{{}}.{part}" for part in SURFACE),
    ),
    "PHOTOLYSIS": Kind(_SCALE, asked=("PHOTO.{}",)),
    "EMISSION": Kind(_SCALE, ("products",), asked=("EMIS.{}",)),
    "FIRST_ORDER_LOSS": Kind(_SCALE, ("reactants",), ("products",), asked=("LOSS.{}",)),
    "USER_DEFINED": Kind(_SCALE, asked=("USER.{}",)),
}
"""The reactions that can be read."""
OTHER = (
    *("HENRYS_LAW", "AQUEOUS_EQUILIBRIUM", "CONDENSED_PHASE_ARRHENIUS", "WET_DEPOSITION"),
    *("CONDENSED_PHASE_PHOTOLYSIS", "SIMPOL_PHASE_TRANSFER", "LAMBDA_RATE_CONSTANT"),
)
"""Those that are no gas-phase reactions, or have program text for a rate."""
_POSITIVE = (
    *("D", "k0_A", "k0_D", "kinf_A", "kinf_D", "kint_D", "Fc", "N", "a0"),
    "reaction probability",
)
_MOST = {"a0": 1.0, "n": 100.0}


def rates(
    node: Node, kind: Kind, asked: Sequence[Name], species: Sequence[Number]
) -> list[Expression]:
    """The rate coefficients of a reaction, one for each side of products.

    Args:
        node: the reaction.
        kind: of it.
        asked: the quantities that the user gives.
        species: numbers of the reacting species that the law takes before its own.

    Raises:
        MechanismError: a number that is missing, not finite or out of bounds.
    """
    fields = node.mapping()
    value: dict[str, float] = {}
    for key, default in kind.parameters.items():
        value[key] = node.get(key).number() if default is None or key in fields else default
        if key in _POSITIVE and value[key] <= 0:
            raise fields[key].fail(f"{key} is {value[key]:g}; it must be positive")
        if key in _MOST and not 0 <= value[key] <= _MOST[key]:
            raise fields[key].fail(f"{key} is {value[key]:g}; it lies in 0 to {_MOST[key]:g}")
    numbers = [Number(number) for number in value.values()]
    if kind.laws:
        return [call(law, *asked, *species, *numbers) for law in kind.laws]
    if asked:
        (name,), (scale,) = asked, numbers
        return [name if scale.value == 1 else call("*", scale, name)]
    rate = _arrhenius(value, fields)
    if "taylor coefficients" in fields:
        rate = _taylor(fields["taylor coefficients"], rate)
    return [rate]


def _arrhenius(value: dict[str, float], fields: dict[str, Node]) -> Expression:
    """A exp(C / T) (T / D)^B (1 + E P), without what is 1 in it."""
    if "Ea" in fields:
        if value["C"]:
            raise fields["Ea"].fail("C stands there too, and is -Ea / k_B; keep one of the two")
        value["C"] = 0.0 - fields["Ea"].number() / BOLTZMANN
    a, b, c, d, e = (Number(value[key]) for key in _ARRHENIUS)
    rate = call("micm_arrhenius", a, b, c, d) if b.value or c.value else a
    if not e.value:
        return rate
    return call("*", rate, call("+", Number(1.0), call("*", e, Name("pressure"))))


def _taylor(node: Node, rate: Expression) -> Expression:
    """The rate times a polynomial in temperature."""
    if not 1 <= len(node.items()) <= _MOST_COEFFICIENTS:
        raise node.fail(f"1 to {_MOST_COEFFICIENTS} coefficients belong here")
    if len(node.items()) > 1:
        warnings.warn(
            f"{node.where}: all of these count here; MUSICA 0.17 takes the first of the Taylor "
            "coefficients alone.",
            stacklevel=2,
        )
    *lower, tree = (Number(part.number()) for part in node.items())
    for number in reversed(lower):
        tree = call("+", number, call("*", tree, Name("temperature")))
    try:
        tree = call("*", tree, rate)
    except ValueError as error:
        raise node.fail(str(error)) from None
    return tree
