"""Networks as KPP mechanisms, in one file that KPP and `jaxchem.parse.kpp` read.

The rules are those of KPP 3 and of Fortran 90: KPP 3 user's manual (Lin et al. 2023, J. Adv. Model.
Earth Syst. 15, e2022MS003293).
"""

import re
import textwrap
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..expression import Call, Expression, Name, Number, call, names
from ..formula import CHARGE
from ..network import Network, sides
from ..rates import mcm, reads
from .kpp_fortran import (
    CONDITION_NAMES,
    HOSTS,
    RESERVED,
    SPECIAL,
    WRITTEN,
    decimal,
    double,
    fortran,
    identifiers,
)

__all__ = ["dumps"]

_SCALES = ("JFAC", "ROOF")
"""AtChem2's factors of all photolysis, which are the host's as long as they are 1."""
_TIMES = {"start": "TSTART", "end": "TEND", "step": "DT"}
_UNITS = ("cm-3", "molecule cm-3", "molecules cm-3")
_LONGEST_SPECIES, _LONGEST_NAME, _LONGEST_RATE, _COLUMNS = 30, 63, 1000, 128


class _Equation(NamedTuple):
    """Reactions of the same sides."""

    index: int
    left: dict[str, float]
    right: dict[str, float]
    rate: Expression
    pool: str | None


def dumps(network: Network) -> str:
    """Writes a network in KPP's language; `kpp.loads` gives the same kinetics back.

    Reactions of the same sides, which KPP refuses, become one whose rate is the sum of theirs.
    Names that KPP or Fortran cannot have (``C+``, ``PHOTO.jO2``, ``TEMP``) are rewritten, with the
    true one in a comment, as are families. Laws are written out as arithmetic of ``TEMP`` and the
    number density of air ``M`` where KPP 3 has no such function, or takes CFACTOR for the air.

    KPP leaves to its host what the section F90_GLOBAL declares and F90_RCONST does not assign
    (``M`` and other conditions, the MCM's photolysis ``J(4)``, quantities without a definition),
    and the functions that a comment at the beginning lists: the network's own, and most of
    GEOS-Chem's laws, which GEOS-Chem has beside its mechanism.

    Raises:
        ValueError: units other than cm-3 and s; a rate law that neither KPP nor GEOS-Chem has.
    """
    if network.units.concentration not in _UNITS or network.units.time != "s":
        raise ValueError(
            f"network {network.name!r} is in {', '.join(network.units)}; a KPP mechanism here is "
            "in molecule cm-3 and s."
        )
    return _Writer(network).text()


class _Writer:
    """One network, and what its names are in KPP."""

    def __init__(self, network: Network):
        self.network = network
        self.equations = _joined(network)
        self.species = identifiers(network.species, _LONGEST_SPECIES, SPECIAL)
        quantities = dict(network.quantities)
        opaque = [n for n, tree in quantities.items() if tree is None and _is_call(n)]
        own = {n: tree for n, tree in quantities.items() if n not in opaque}
        weights = dict(zip(network.pool_names, network.structure.pools, strict=True))
        members = {pool: self.sum(row) for pool, row in weights.items()}
        single = [p for p, row in weights.items() if [*row[row != 0]] == [1.0]]
        self.pools = {p: text for p, text in members.items() if p not in single}
        one = {Name(n) for n, tree in own.items() if n in _SCALES and tree == Number(1.0)}
        self.light = {n: f"J({n[1:]})" for n, tree in own.items() if _is_photolysis(n, tree, one)}
        self.light |= {n: "SUN" for n, tree in own.items() if tree == Call("SUNLIGHT", ())}
        own = {n: tree for n, tree in own.items() if n not in self.light}
        given = [n for n, t in own.items() if t is None or _is_vapour(n, t)]
        ordered = [(n, own[n]) for n in _ordered(own) if n not in given]
        self.defined = {n: tree for n, tree in ordered if tree is not None}
        # a name of the MCM that is the user's here would be the MCM's again
        clash = {n: f"{n}_given" for n in given if own[n] is None and n in mcm.DEFINITIONS}
        taken = RESERVED.union(n.partition("(")[0].upper() for n in opaque)
        taken |= {n.upper() for n in self.species.values()} - {*mcm.AIR}
        self.names = identifiers([*own, *self.pools], _LONGEST_NAME, taken, clash)
        rates = [f"RATE_{e.index + 1}" for e in self.equations]
        taken = taken.union(name.upper() for name in self.names.values())
        self.rates = identifiers(rates, _LONGEST_NAME, taken)
        self.given = [self.names[n] for n in given]
        self.known = {**CONDITION_NAMES, "SUN": "SUN", **self.light, **self.names}
        self.known |= {n: n for n in opaque}
        self.known |= {pool: members[pool] for pool in single}
        numbered = {n for n in opaque if re.fullmatch(r"J\(\d+\)", n)}
        self.functions = {n.partition("(")[0]: None for n in opaque if n not in numbered}
        photolysis = re.compile(r"J(\d|_|\()|PHOTOL\(", re.IGNORECASE)
        self.light |= {n: n for n in (*opaque, *given) if photolysis.match(n)}

    def sum(self, weights: Float[np.ndarray, " S"]) -> str:
        """The members of a pool in Fortran, each with its weight where that is not 1."""
        text = ""
        for i in np.flatnonzero(weights):
            size = abs(float(weights[i]))
            sign = " - " if weights[i] < 0 else " + "
            text += (sign if text else sign.strip(" +")) + f"{double(size)}*" * (size != 1)
            text += f"C(ind_{self.species[self.network.species[i]]})"
        return text

    def fortran(self, tree: Expression, where: str, rank: int = 0) -> str:
        """An expression in Fortran; functions of GEOS-Chem are noted."""
        self.functions |= {c: None for c in _functions(tree) if c in HOSTS}
        try:
            return fortran(tree, self.known, rank)
        except ValueError as error:
            raise ValueError(f"{where}: {error}; write it as arithmetic.") from None

    def text(self) -> str:
        """The whole file."""
        network = self.network
        defaults, initial = dict(network.defaults), dict(network.initial)
        assigned, named, equations = self.chemistry()
        used = self.used() | {n for n in defaults if n in CONDITION_NAMES}
        variables = [f for n, f in CONDITION_NAMES.items() if n in used and f != "TEMP"]
        variables += [*self.given, *(self.names[n] for n in (*self.defined, *self.pools)), *named]
        numbers = [int(j[2:-1]) for j in self.light.values() if re.fullmatch(r"J\(\d+\)", j)]
        variables += [f"J({max(numbers)})"] if numbers else []
        lines = ["#LANGUAGE Fortran90", _comment(network.title or network.name)]
        if self.functions:
            host = textwrap.wrap(f"Functions of the host: {', '.join(self.functions)}", 96)
            lines.append("{ " + "\n  ".join(host) + " }")
        lines += ["", *_inlined("GLOBAL", [f"REAL(dp) :: {name}" for name in variables])]
        elements = [e for e in network.elements if e != CHARGE]
        lines += [f"#ATOMS {'; '.join(elements)};", ""] if elements else []
        lines += self.declarations()
        if checked := [e for e in network.balanced if e != CHARGE]:
            lines += [f"#CHECK {'; '.join(checked)};", ""]
        factor = 1e-6 * defaults.get("density", 1e6)
        values = [f"CFACTOR = {decimal(factor)};"] if "density" in defaults else []
        values += [f"{self.species[n]} = {decimal(v / factor)};" for n, v in initial.items()]
        lines += ["#INITVALUES", *values, ""] if values else []
        start = {**CONDITION_NAMES, **_TIMES}
        lines += _inlined("INIT", [f"{start[n]} = {double(v)}" for n, v in defaults.items()])
        lines += _inlined("RCONST", assigned)
        for name, members in network.families:
            shares = " + ".join(f"{c:g} {n}" if c != 1 else n for n, c in members)
            lines.append(_comment(f"Family {name}: {shares}"))
        return "\n".join([*lines, "#EQUATIONS", *equations]) + "\n"

    def chemistry(self) -> tuple[list[str], list[str], list[str]]:
        """Assignments of F90_RCONST, those of their names that are long rates, and equations."""
        assigned, named, equations = [], [], []
        for pool, members in self.pools.items():
            assigned.append(f"{self.names[pool]} = {members}")
        for name, tree in self.defined.items():
            assigned.append(f"{self.names[name]} = {self.fortran(tree, f'quantity {name!r}')}")
        for equation in self.equations:
            where = f"reaction {self.network.equations[equation.index]!r}"
            rate = self.fortran(equation.rate, where, 0 if equation.pool is None else 2)
            if len(rate) > _LONGEST_RATE:
                named.append(self.rates[f"RATE_{equation.index + 1}"])
                assigned.append(f"{named[-1]} = {rate}")
                rate = named[-1]
            if equation.pool is not None:
                rate = f"{rate} * {self.known[equation.pool]}"
            left = _side(equation.left, self.species)
            sun = "hv" if not left else " + hv" if self.by_light(equation.rate) else ""
            right = _side(equation.right, self.species) or "PROD"
            equations.append(f"<R{equation.index + 1}> {left}{sun} = {right} : {rate};")
        return assigned, named, equations

    def declarations(self) -> list[str]:
        """Variable species, then fixed ones, each with its atoms."""
        network, lines = self.network, []
        for title, fixed in (("#DEFVAR", False), ("#DEFFIX", True)):
            found = [n for n in network.species if (n in network.fixed) == fixed]
            for name in found:
                own = self.species[name]
                true = "" if own == name else f" {_comment(name)}"
                lines += [title] if name == found[0] else []
                lines.append(f"{own} = {_atoms(network, name)};{true}")
            lines += [""] if found else []
        return lines

    def used(self) -> set[str]:
        """The conditions that rates and definitions name in the file."""
        trees = [*(e.rate for e in self.equations), *self.defined.values()]
        found = {n for tree in trees for n in names(tree)}
        laws = {c for tree in trees for c in _functions(tree)}
        found = found.union(*(reads(WRITTEN[c]) for c in laws if c in WRITTEN))
        return found & CONDITION_NAMES.keys()

    def by_light(self, tree: Expression) -> bool:
        """Whether a rate depends on photolysis or on SUN."""
        found, waiting = set[str](), [tree]
        while waiting:
            for name in reads(waiting.pop()) - found:
                found.add(name)
                if name in self.light or name == "local_time":
                    return True
                if name in self.defined:
                    waiting.append(self.defined[name])
        return False


def _joined(network: Network) -> list[_Equation]:
    """The reactions, those of the same sides as one."""
    found: dict[tuple, _Equation] = {}
    for j, (equation, rate) in enumerate(
        zip(network.equations, network.expressions(), strict=True)
    ):
        left, right = sides(equation)
        place, pool = network.structure.pool_of[j], None
        if place < len(network.pool_names):
            pool = network.pool_names[place]
            rate = rate.arguments[0] if isinstance(rate, Call) else Number(1.0)
        key = (frozenset(left.items()), frozenset(right.items()))
        if (first := found.get(key)) is None:
            found[key] = _Equation(j, left, right, rate, pool)
        elif first.pool == pool:
            found[key] = first._replace(rate=call("+", first.rate, rate))
        else:
            whole = call("+", _whole(first), _whole(_Equation(j, left, right, rate, pool)))
            found[key] = first._replace(rate=whole, pool=None)
    return list(found.values())


def _whole(equation: _Equation) -> Expression:
    """The rate with its pool."""
    if equation.pool is None:
        return equation.rate
    return call("*", equation.rate, Name(equation.pool))


def _functions(tree: Expression) -> Iterator[str]:
    """Every function that the tree calls, repeats included."""
    if isinstance(tree, Call):
        yield tree.function
        for argument in tree.arguments:
            yield from _functions(argument)


def _is_call(name: str) -> bool:
    """Whether a quantity is a call of a function of the host, which stands as it is."""
    return re.fullmatch(r"[A-Za-z]\w*\([\w.,+\-*/() ]*\)", name, re.ASCII) is not None


def _is_photolysis(name: str, tree: Expression | None, one: Collection[Name]) -> bool:
    """Whether this is the MCM's function of a photolysis number, which the host of KPP has too."""
    while isinstance(tree, Call) and tree.function == "*" and tree.arguments[1] in one:
        tree = tree.arguments[0]
    number = name[1:]
    known = name[:1] == "J" and number.isdecimal() and int(number) in mcm.PHOTOLYSIS
    return known and tree == mcm.definitions([name])[name]


def _is_vapour(name: str, tree: Expression | None) -> bool:
    """Whether this is the water of the air, which Fortran has no formula for."""
    return name == "H2O" and tree == Call("water_vapour", ())


def _ordered(defined: Mapping[str, Expression | None]) -> list[str]:
    """The names, each after those that its definition names."""
    found: dict[str, None] = {}
    waiting = [(name, False) for name in reversed(list(defined))]
    while waiting:
        name, ready = waiting.pop()
        if ready:
            found.setdefault(name)
        elif name not in found:
            tree = defined[name]
            parts = [n for n in names(tree) if n in defined] if tree is not None else []
            waiting += [(name, True), *((n, False) for n in parts)]
    return list(found)


def _atoms(network: Network, name: str) -> str:
    if name in network.undeclared:
        return "IGNORE"
    column = network.composition[:, network.species.index(name)]
    counts = zip(network.elements, column.astype(int), strict=True)
    text = " + ".join(f"{c if c > 1 else ''}{e}" for e, c in counts if c and e != CHARGE)
    return text or "IGNORE"


def _side(terms: Mapping[str, float], species: Mapping[str, str]) -> str:
    """One side of an equation, which may not begin with a minus."""
    text = ""
    for name, count in sorted(terms.items(), key=lambda term: term[1] < 0):
        number = int(count) if count == int(count) else count
        shown = "" if abs(number) == 1 else f"{decimal(abs(number))} "
        text = text or ("PROD" if count < 0 else "")
        sign = " - " if count < 0 else " + "
        text += f"{sign if text else ''}{shown}{species[name]}"
    return text


def _comment(text: str) -> str:
    text = re.sub(r"[{}\s]+", " ", text)
    return f"{{ {text} }}"


def _inlined(kind: str, statements: list[str]) -> list[str]:
    """A section of Fortran, its long lines continued."""
    lines = []
    for statement in statements:
        rows = textwrap.wrap(
            statement, _COLUMNS - 4, break_long_words=False, break_on_hyphens=False
        )
        lines.append("  " + " &\n    ".join(rows))
    return [f"#INLINE F90_{kind}", *lines, "#ENDINLINE", ""] if lines else []
