"""Chemical formulae: element and charge counts from a species name."""

import re

__all__ = ["CHARGE", "ELEMENTS", "STANDARD_WEIGHTS", "parse_formula"]

CHARGE = "charge"

ELEMENTS = frozenset(
    """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br
    Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho
    Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U
    """.split()
)
STANDARD_WEIGHTS = {
    **{"H": 1.008, "He": 4.0026, "C": 12.011, "N": 14.007, "O": 15.999, "Na": 22.990},
    **{"Mg": 24.305, "Si": 28.085, "P": 30.974, "S": 32.06, "Cl": 35.45, "Fe": 55.845},
    **{"Br": 79.904, "I": 126.904, "charge": -0.000549},
}
"""Standard atomic weights [g/mol] (IUPAC 2021, abridged), and the electron's by its charge."""

_ELECTRON = frozenset({"e", "e-", "E", "E-", "electron"})
_ATOM = re.compile(r"([A-Z][a-z]?)(\d{0,4})(?!\d)", re.ASCII)
_CHARGE = re.compile(r"(\++|-+)$")


def parse_formula(formula: str, elements: frozenset[str] = ELEMENTS) -> dict[str, int] | None:
    """Counts the elements and the charge of a formula such as ``CH3+``, ``C10H16`` or ``e-``.

    Args:
        formula: element symbols (case matters: ``Co`` is cobalt, ``CO`` carbon monoxide), each
            with an optional count, then an optional charge of one or more ``+`` or ``-``.
        elements: the symbols that count as elements; a two-letter symbol is preferred.

    Returns:
        Symbol -> count, with the net charge under ``"charge"``, zero counts left out; ``None``
        where the text is no formula over these elements.
    """
    if formula in _ELECTRON:
        return {CHARGE: -1}
    counts: dict[str, int] = {}
    body = formula
    if match := _CHARGE.search(formula):
        sign = 1 if match[0][0] == "+" else -1
        counts[CHARGE] = sign * len(match[0])
        body = formula[: match.start()]
    position = 0
    while position < len(body):
        match = _ATOM.match(body, position)
        if match is None:
            return None
        symbol, digits = match.groups()
        if symbol not in elements:
            return None
        count = int(digits) if digits else 1
        if count:
            counts[symbol] = counts.get(symbol, 0) + count
        position = match.end()
    return counts if body else None
