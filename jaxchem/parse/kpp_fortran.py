"""Expressions, numbers and names in the Fortran 90 of KPP's mechanisms.

KPP 3 user's manual (Lin et al. 2023, J. Adv. Model. Earth Syst. 15, e2022MS003293).
"""

import re
from collections.abc import Iterable, Mapping

from ..expression import FUNCTIONS, Call, Expression, Name, Number, parse, rewrite
from ..rates import CONDITIONS, LAWS, NAMED

__all__ = [
    "CONDITION_NAMES",
    "HOSTS",
    "RESERVED",
    "SPECIAL",
    "WRITTEN",
    "decimal",
    "double",
    "fortran",
    "identifiers",
]

CONDITION_NAMES = {
    **{name: name.upper() for name in CONDITIONS if name not in NAMED},
    **{"temperature": "TEMP", "density": "M"},
}
"""Conditions in Fortran; KPP has TEMP alone."""
SPECIAL = frozenset("HV PROD IGNORE CFACTOR ALL_SPEC VAR_SPEC FIX_SPEC".split())
"""What is no species to KPP."""
RESERVED = SPECIAL.union(
    """
    TEMP M PRESS SUN TIME C J RCONST DT TSTART TEND VAR FIX NUMDEN CAIR ATOL RTOL STEPMIN STEPMAX
    NVAR NFIX NSPEC NREACT DP PI EXP LOG LOG10 SQRT ABS MIN MAX REAL DBLE ARR_AB ARR_AC ARR_ABC
    K_3RD K_3RD_IUPAC K_ARR EP2 EP3 FALL
    """.split(),
    (name.upper() for name in CONDITIONS),
)
"""What KPP, Fortran or the conditions have, so that no quantity may be named so."""
_KEPT = ("ARR_ab", "ARR_ac", "ARR_abc", "k_3rd", "k_3rd_iupac", "k_arr")
"""Laws that KPP's UserRateLaws has, with the same arguments."""
_RATIO = "a0 * exp(-b0 / temperature) * (temperature / 300) ** c0 * density"
_HIGH = "(a1 * exp(-b1 / temperature) * (temperature / 300) ** c1)"
_THIRD = "a3 * exp(-b3 / temperature) * density"
WRITTEN: dict[str, Expression] = {
    name: parse(text)
    for name, text in {
        "arrhenius": "amplitude * exp(-theta / temperature)",
        "kooij": "alpha * (temperature / 300) ** beta * exp(-gamma / temperature)",
        "cosmic_ray": "alpha * cosmic_ray_rate",
        "ARR": "a * exp(-b / temperature) * (temperature / 300) ** c",
        "ARR2": "a * exp(b / temperature)",
        "EP2": f"a0 * exp(-b0 / temperature) + {_THIRD} / (1 + {_THIRD}"
        " / (a2 * exp(-b2 / temperature)))",
        "EP3": "a1 * exp(-b1 / temperature) + a2 * exp(-b2 / temperature) * density",
        "FALL": f"{_RATIO} / (1 + {_RATIO} / {_HIGH})"
        f" * factor ** (1 / (1 + log10({_RATIO} / {_HIGH}) ** 2))",
        "SUNLIGHT": "SUN",
        "GCARR_ab": "a * (300 / temperature) ** b",
        "GCARR_ac": "a * exp(c / temperature)",
        "GCARR_abc": "a * (300 / temperature) ** b * exp(c / temperature)",
    }.items()
}
"""Laws as arithmetic. EP2, EP3 and FALL of KPP take 1e6 CFACTOR for the density of air."""
HOSTS = frozenset(
    name
    for name, law in LAWS.items()
    if law.function.__module__.endswith(".geoschem") and name not in WRITTEN
)
"""Laws that are functions of GEOS-Chem's."""
_RANK = {"+": 1, "-": 1, "neg": 1, "*": 2, "/": 2, "**": 4}


def fortran(tree: Expression, known: Mapping[str, str], rank: int = 0) -> str:
    """An expression in Fortran, laws that KPP does not have written out.

    Args:
        tree: in jaxchem's names.
        known: what stands for each of these.
        rank: 2 where the text shall be a factor.

    Raises:
        ValueError: a law that neither KPP nor GEOS-Chem has.
    """

    def change(tree: Expression) -> Expression:
        if isinstance(tree, Name):
            return Name(known[tree.name])
        if not isinstance(tree, Call) or tree.function in (*_RANK, *_KEPT, *HOSTS):
            return tree
        if tree.function == "positive":
            return tree
        if tree.function in FUNCTIONS:
            return Call(tree.function.upper(), tree.arguments)
        if tree.function not in WRITTEN:
            raise ValueError(f"the rate law {tree.function!r} has no counterpart in KPP")
        given = dict(zip(LAWS[tree.function].parameters, tree.arguments, strict=True))

        def fill(part: Expression) -> Expression:
            if isinstance(part, Name):
                return given[part.name] if part.name in given else Name(known[part.name])
            return change(part)

        return rewrite(WRITTEN[tree.function], fill)

    return _show(rewrite(tree, change), rank)


def identifiers(
    true: Iterable[str],
    longest: int,
    taken: Iterable[str],
    bases: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Each name as an identifier; no two are the same, whatever their case.

    Args:
        true: the names.
        longest: characters of an identifier.
        taken: identifiers that are not free, in upper case.
        bases: what some of them shall be instead.
    """
    found: dict[str, str] = {}
    used = set(taken)
    for name in true:
        base = (bases or {}).get(name, name).replace("+", "_p").replace("-", "_m")
        base = re.sub(r"\W", "_", base, flags=re.ASCII)
        base = base if base[:1].isalpha() else f"X_{base}"
        own, turn = base[:longest], 2
        while own.upper() in used:
            own, turn = f"{base[: longest - len(str(turn)) - 1]}_{turn}", turn + 1
        used.add(own.upper())
        found[name] = own
    return found


def decimal(number: float) -> str:
    """Digits that read back as the same number; a power of ten has a point before it."""
    digits, e, power = repr(number).partition("e")
    return digits if not e else f"{digits}{'' if '.' in digits else '.0'}e{power}"


def double(number: float) -> str:
    """A number in Fortran, which reads one without a D in single precision."""
    digits, _, power = decimal(float(number)).partition("e")
    return f"{digits}D{power or 0}"


def _show(tree: Expression, rank: int) -> str:
    """An expression in Fortran, where a sign may not follow an operator."""
    if isinstance(tree, Number):
        text = double(tree.value)
        own = 1 if text.startswith("-") else 9
    elif isinstance(tree, Name):
        text, own = tree.name, 9
    elif tree.function == "neg":
        text, own = f"-{_show(tree.arguments[0], 2)}", 1
    elif tree.function in _RANK:
        own = _RANK[tree.function]
        first = own + 1 if tree.function == "**" else own
        left, right = (_show(a, r) for a, r in zip(tree.arguments, (first, own + 1), strict=True))
        text = f"{left} {tree.function} {right}"
    elif tree.function == "positive":
        x, *rest = (_show(a, 0) for a in tree.arguments)
        text, own = f"MERGE({', '.join(rest)}, {x} > 0.0D0)", 9
    else:
        text, own = f"{tree.function}({', '.join(_show(a, 0) for a in tree.arguments)})", 9
    return text if own >= rank else f"({text})"
