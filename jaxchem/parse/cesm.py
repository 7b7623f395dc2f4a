"""Chemistry of CESM: what its preprocessor reads for CAM-chem, WACCM and MOZART (chem_mech.in).

Lines that begin with ``*``, and what follows ``#`` or ``!``, are comments; blanks count nowhere,
and keywords are the same in upper and lower case::

    SPECIES
      Solution
        O3, O, O1D -> O, CO           NAME -> FORMULA, the formula being for the molar mass
      End Solution
      Fixed
        M, N2, O2, H2O
      End Fixed
    End SPECIES
    CHEMISTRY
      Photolysis
        [jo3_a]                O3 + hv -> O1D + O2
        [jpooh->,.28*jh2o2]    POOH + hv -> OH        the tag's J is .28 that of jh2o2
      End Photolysis
      Reactions
        [O_O3,cph=392.19]      O + O3 -> 2*O2         ; 8e-12, -2060
                               O1D + O2 -> .9*O       ; 2e-11
                                  + .1*O3
        [usr_O_O2]             O + O2 + M -> O3 + M
      End Reactions
    End CHEMISTRY

A rate is k times all reactants, fixed ones included. By how many numbers follow ``;``, k is A;
A exp(B / T); or, of five, JPL's fall-off a / (1 + x) F^(1 / (1 + (log10 x)^2)) with
a = k0 (300 / T)^n, x = a [M] / (ki (300 / T)^m), where [M] itself comes as a reactant. Without
numbers the host computes k by the tag: what `jaxchem.parse.cesm_rates` has of CAM's formulas is
taken from there, with a warning; others are quantities of that name that the user gives, as is J
by the tags of photolysis (the part below 200 nm, which an alias in first place replaces, is left
to the user too).

Fixed M is `density`. Fixed O2, N2 and H2O are quantities: 0.21 and 0.79 of `density`, as in CAM's
mo_setinv, and the air's water vapour; N2 is the user's to give where O2 is no fixed species. Other
fixed species are species that are held. A fixed product changes nothing. Products that are not
declared are left out, as the preprocessor does, with a warning. A concentration in a rate is a
pool of one species.

The formula is taken for the composition of a species, but no element for balanced: lumped
species, tracers and ions have stand-ins. ``Groups`` are families. Solution classes, Col-int,
Not-Transported, Comments, Simulation Parameters and the assignments after BEGSIM steer the host;
they are passed over. Pce is refused. External forcing and washout (Heterogeneous) are left out
with a warning.

Format: the chemistry preprocessor of CESM (github.com/ESCOMP/CHEM_PREPROCESSOR, its sources and
the documentation with them); Emmons et al. 2010, Geosci. Model Dev. 3, 43.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..expression import Expression, Name, Number, call, names, parse, rewrite
from ..formula import parse_formula
from ..network import MechanismError, Network, Reaction, Units
from ..rates import CONDITIONS, mcm
from ..suggest import closest
from .cesm_language import SECTIONS, headed, sections
from .cesm_rates import REVERSE, user_rate
from .common import build, counted, fail, molecules

__all__ = ["loads", "looks_like"]

_LEFT_OUT = {"EXTFORCING": "external forcing", "HETEROGENEOUS": "washout"}
_AIR: dict[str, Expression] = {
    "O2": parse("0.21 * density"),
    "N2": parse("0.79 * density"),
    "H2O": mcm.definitions(["H2O"])["H2O"],
}
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eEdD][+-]?\d+)?"
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PRODUCT = re.compile(rf"(?:({_NUMBER})\*)?([A-Za-z_]\w*)", re.ASCII)
_GLUED = re.compile(rf"({_NUMBER})([A-Za-z_]\w*)", re.ASCII)
_TAGGED = re.compile(r"(?:\[([^\[\]]*)\])?([^\[\]]*)")
_HEAT = re.compile(rf"(?:,cph(?:={_NUMBER})?)?")
_ALIAS = re.compile(rf"(?:({_NUMBER})\*)?(\w+)", re.ASCII)


def looks_like(text: str) -> bool:
    """Whether lines are ``SPECIES``, ``CHEMISTRY`` and one of ``Solution`` and ``Fixed``."""
    words = ("SPECIES", "CHEMISTRY", "(?:SOLUTION|FIXED)")
    return all(headed(word, text) for word in words) or _listing(text)


def loads(text: str, filename: str = "<text>") -> Network:
    """Reads a mechanism of CESM's chemistry preprocessor.

    Args:
        text: the content of the file.
        filename: for error messages and references.

    Raises:
        MechanismError: a line that cannot be read, with file, line and what to write instead; a
            file without reactions.
    """
    if _listing(text):
        raise fail(
            filename,
            1,
            "this is the preprocessor's listing, whose rates have few digits; give the .in or .inp "
            "file that it was made from",
        )
    return _File(text, filename).network()


def _listing(text: str) -> bool:
    return headed("SOLUTION SPECIES", text) and re.search(r"->.*[ ]rate =", text) is not None


class _Equation(NamedTuple):
    """One reaction as it stands, continued lines joined."""

    line: int
    light: bool
    tag: str
    extra: str
    left: str
    right: str
    numbers: str | None


class _File:
    """One file, sorted into species and reactions."""

    def __init__(self, text: str, filename: str):
        self.filename = filename
        self.entries: dict[str, list[tuple[int, str]]] = {}
        for section, line, content in sections(text, filename):
            self.entries.setdefault(section, []).append((line, content))
        self.formulas: dict[str, str] = {}
        self.fixed: set[str] = set()
        self.air: set[str] = set()
        self.density: str | None = None
        self.quantities: dict[str, Expression | None] = {}
        self.pools: dict[str, list[str]] = {}
        self.places: dict[tuple[str, str], str] = {}
        self.tags: dict[str, _Equation] = {}
        self.dropped: Counter[str] = Counter()
        self.glued: list[str] = []
        self.borrowed: dict[str, None] = {}

    def fail(self, line: int, message: str) -> MechanismError:
        return fail(self.filename, line, message)

    def items(self, section: str) -> Iterator[tuple[int, str]]:
        """(line, item) of a list."""
        for line, content in self.entries.get(section, ()):
            for item in content.split(","):
                if not item:
                    raise self.fail(line, f"{content!r}: a comma too many; drop it")
                yield line, item

    def network(self) -> Network:
        lines = [c for kind in ("PHOTOLYSIS", "REACTIONS") for _, c in self.entries.get(kind, ())]
        counted(self.filename, sum("->" in content for content in lines))
        self.declare()
        families = self.families()
        equations = [*self.equations("PHOTOLYSIS"), *self.equations("REACTIONS")]
        if not equations:
            line = max((n for part in self.entries.values() for n, _ in part), default=1)
            raise self.fail(line, "the mechanism has no reactions: there is nothing to compute")
        reactions = [self.reaction(equation) for equation in equations]
        self.warn()
        key = re.sub(r"\s+|#", " ", Path(self.filename).name).strip() or "text"
        return build(
            self.filename,
            name=Path(key).stem,
            title="CESM mechanism",
            species={n: parse_formula(f) for n, f in self.formulas.items()},
            reactions=reactions,
            units=Units("molecule cm-3", "s"),
            pools=self.pools,
            balanced=(),
            references={"CESM": f"{key}, of CESM (Emmons et al. 2010, Geosci. Model Dev. 3, 43)"},
            fixed=tuple(self.fixed),
            quantities=self.quantities,
            families=families,
            places=self.places,
        )

    def declare(self) -> None:
        """Notes the species; refuses what other lists name and nothing declares."""
        declared: dict[str, int] = {}
        for section in ("SOLUTION", "FIXED"):
            for line, item in self.items(section):
                name, arrow, formula = item.partition("->")
                if not _NAME.fullmatch(name) or (arrow and not formula):
                    raise self.fail(line, f"{item!r}: write 'NAME' or 'NAME -> FORMULA'")
                if name in declared:
                    first = declared[name]
                    raise self.fail(line, f"{name!r} is declared in line {first} too; drop one")
                declared[name] = line
                if section == "FIXED" and name.upper() == "M":
                    self.density = name
                elif section == "FIXED" and name in _AIR:
                    self.air.add(name)
                else:
                    self.formulas[name] = formula or name
                    self.fixed |= {name} if section == "FIXED" else set()
        for line, item in self.items("PCE"):
            raise self.fail(line, f"{item!r}: Pce species are not read; move it to Solution")
        for line, item in self.entries.get("COL-INT", ()):
            if not re.fullmatch(rf"\w+={_NUMBER}", item):
                raise self.fail(line, f"{item!r}: Col-int has lines such as 'O3 = 0.'")
        for section in ("NOT-TRANSPORTED", *SECTIONS["SOLUTIONCLASSES"]):
            for line, item in self.items(section):
                if item not in declared and item.upper() not in ("ALL", "ALLOTHERS"):
                    raise self.unknown(line, item, section)
        for line, item in (*self.items("HETEROGENEOUS"), *self.items("EXTFORCING")):
            if not re.fullmatch(r"\w+(<-\w+)?", item, re.ASCII):
                raise self.fail(line, f"{item!r}: write 'SPECIES', or 'SPECIES <- dataset'")

    def unknown(self, line: int, name: str, where: str) -> MechanismError:
        known = [*self.formulas, *self.air, *filter(None, [self.density])]
        hint = closest(name, known) or "; declare it under Solution or Fixed."
        return self.fail(line, f"{where} names {name!r}, which is no declared species{hint}")

    def families(self) -> dict[str, dict[str, float]]:
        families = {}
        for line, content in self.entries.get("GROUPS", ()):
            name, _, sum_ = content.partition("=")
            if not _NAME.fullmatch(name) or name in families:
                raise self.fail(line, f"{content!r}: write 'FAMILY = SPECIES + 2*SPECIES', once")
            members = families[name] = {}
            for term in sum_.split("+"):
                match = _PRODUCT.fullmatch(term)
                if match is None or match[2] not in self.formulas:
                    raise self.unknown(line, term, f"the group {name}")
                members[match[2]] = members.get(match[2], 0.0) + self.number(line, match[1])
        return families

    def equations(self, section: str) -> Iterator[_Equation]:
        """The reactions of a section, the products of further lines added."""
        found: list[_Equation] = []
        for line, content in self.entries.get(section, ()):
            if not content.startswith("+"):
                found.append(self.equation(line, content, section))
                continue
            if not found or re.search(r"->|[=;\[\]]", content):
                raise self.fail(
                    line,
                    f"{content[:60]!r}: a line that begins with '+' has further products of the "
                    "reaction above it, whose numbers stand in its first line",
                )
            separator = "" if found[-1].right == "" else "+"
            found[-1] = found[-1]._replace(right=f"{found[-1].right}{separator}{content[1:]}")
        yield from found

    def equation(self, line: int, content: str, section: str) -> _Equation:
        match = _TAGGED.fullmatch(content)
        body, semicolon, numbers = (match[2] if match else "").partition(";")
        sides = re.split("->|=", body)
        if match is None or len(sides) != 2 or ";" in numbers:
            raise self.fail(
                line,
                f"{content[:60]!r}: write '[tag] A + B -> C + .5*D ; 1e-12, -300'; lines with "
                "further products begin with '+'",
            )
        inside = match[1] or ""
        tag = re.split("->|[=,]", inside)[0]
        light = section == "PHOTOLYSIS"
        if not re.fullmatch(r"\w+", tag, re.ASCII) and (light or match[1] is not None):
            raise self.fail(line, f"{content[:60]!r}: a tag such as [jno2] is missing")
        if tag in self.tags:
            first = self.tags[tag].line
            raise self.fail(line, f"the tag {tag!r} stands in line {first} too; rename one")
        left, right = sides
        told = numbers if semicolon else None
        found = _Equation(line, light, tag, inside.removeprefix(tag), left, right, told)
        if tag:
            self.tags[tag] = found
        return found

    def reaction(self, found: _Equation) -> Reaction:
        line, tag = found.line, found.tag
        left = found.left.split("+")
        if not all(left):
            raise self.fail(line, f"{found.left!r}: what reacts is written 'A + B'")
        if found.light:
            if len(left) > 2 or left[1:] not in ([], ["hv"]) or found.numbers is not None:
                raise self.fail(line, "photolysis is written '[tag] A + hv -> B', without numbers")
            rate, left = self.photolysis(found), left[:1]
        else:
            rate = self.coefficient(found)
        reactants: dict[str, float] = {}
        for name in left:
            if name == self.density:
                rate = _times(rate, Name("density"))
            elif name in self.air:
                rate = _times(rate, self.concentration(Name(name)))
            elif name in self.formulas:
                reactants[name] = reactants.get(name, 0.0) + 1
            elif name == "hv":
                raise self.fail(line, "'hv' belongs under Photolysis, second on the left")
            elif "*" in name:
                raise self.fail(line, f"{name!r}: a reactant has no coefficient; write it twice")
            else:
                raise self.unknown(line, name, "the reaction")
        return Reaction(
            reactants=molecules(reactants, partial(self.fail, line)),
            products=self.products(found),
            rate=rate,
            source=f"CESM, {tag or f'line {line}'}",
            where=f"{self.filename}, line {line}",
        )

    def products(self, found: _Equation) -> dict[str, float]:
        products: dict[str, float] = {}
        for term in found.right.split("+") if found.right else ():
            match = _PRODUCT.fullmatch(term)
            if match and match[2] in self.formulas:
                products[match[2]] = products.get(match[2], 0.0) + self.number(found.line, match[1])
            elif match and match[2] not in self.air and match[2] != self.density:
                self.dropped[match[2]] += 1
            elif match is None and (glued := _GLUED.fullmatch(term)):
                self.glued.append(f"line {found.line}: {term!r} may mean '{glued[1]}*{glued[2]}'")
            elif match is None:
                raise self.fail(found.line, f"{term!r}: write 'NAME' or 'NUMBER*NAME'")
        return products

    def number(self, line: int, text: str | None) -> float:
        value = float(re.sub("[dD]", "e", text or "1"))
        if not abs(value) < 1e300:
            raise self.fail(line, f"{text}: no such number")
        return value

    def photolysis(self, found: _Equation) -> Expression:
        """J of a tag: that of another one where the second place has an alias, times its factor."""
        tag, place = found.tag, re.fullmatch(r"(?:->|=)([^,]*)(?:,(.*))?", found.extra)
        if place is None and re.fullmatch(_HEAT, found.extra):
            return self.define(found, tag, None)
        first, second = place.groups(default="") if place else ("?", "")
        aliases = [alias for text in (first, second) if (alias := _ALIAS.fullmatch(text))]
        if len(aliases) < bool(first) + bool(second):
            raise self.fail(
                found.line, f"[{tag}{found.extra}]: write [jx], [jx->,jy] or [jx->,.28*jy]"
            )
        if first or not second or aliases[0][2] == "userdefined":
            return self.define(found, tag, None)
        factor, other = Number(self.number(found.line, aliases[0][1])), aliases[0][2]
        if other == tag:
            return _times(factor, self.define(found, tag, None))
        if other not in self.tags:
            self.define(found, other, None)
        return self.define(found, tag, _times(factor, Name(other)))

    def coefficient(self, found: _Equation) -> Expression:
        """k, as the numbers say, or by the tag."""
        if not re.fullmatch(_HEAT, found.extra):
            raise self.fail(found.line, f"[{found.tag}{found.extra}]: write [tag] or [tag,cph=1.5]")
        if found.numbers is not None:
            return self.rate(found)
        if not found.tag:
            raise self.fail(found.line, "no numbers follow ';' and no tag says what the rate is")
        reverse = REVERSE.get(found.tag)
        partner = self.tags.get(reverse[0]) if reverse else None
        if reverse and partner and (partner.numbers or "").count(",") == 4:
            tree = call("*", self.rate(partner), parse(reverse[1]))
        elif (text := user_rate(found.tag)) is not None:
            tree = rewrite(parse(text), self.concentration)
        else:
            return self.define(found, found.tag, None)
        self.borrowed[found.tag] = None
        if any(name in self.pools for name in names(tree)):
            return tree
        return self.define(found, found.tag, tree)

    def rate(self, found: _Equation) -> Expression:
        texts = (found.numbers or "").split(",")
        if len(texts) not in (1, 2, 5) or not all(re.fullmatch(_NUMBER, t) for t in texts):
            raise self.fail(
                found.line,
                f"'; {found.numbers}': a rate has 1 number (A), 2 (A, B) or 5 (k0, n, ki, m, F)",
            )
        first, *others = (self.number(found.line, text) for text in texts)
        if first < 0 or (len(others) == 4 and min(first, others[1], others[3]) <= 0):
            raise self.fail(found.line, f"'; {found.numbers}': a coefficient is not positive")
        if not others:
            return Number(first)
        if len(others) == 1:
            return call("arrhenius", Number(first), Number(-others[0]))
        n, high, m, centre = others
        numbers = (first, -n, 0.0, high, -m, 0.0, centre, 1.0)
        return call("micm_ternary", *map(Number, numbers))

    def concentration(self, tree: Expression) -> Expression:
        """A name in a rate, where it is a gas: as a pool of one species, or as a quantity."""
        name = tree[0]
        if not isinstance(tree, Name) or name not in _AIR:
            return tree
        if name in self.formulas:
            self.pools[name] = [name]
        else:
            known = name != "N2" or "O2" not in self.formulas
            self.quantities.setdefault(name, _AIR[name] if known else None)
        return tree

    def define(self, found: _Equation, name: str, tree: Expression | None) -> Expression:
        """Notes a quantity; its name."""
        if name in CONDITIONS or name in self.formulas or name in self.air:
            raise self.fail(
                found.line, f"the tag {name!r} is the name of something else; rename it"
            )
        if self.quantities.get(name) is None:
            self.quantities[name] = tree
            self.places["quantities", name] = f"{self.filename}, line {found.line}"
        return Name(name)

    def warn(self) -> None:
        """Says what is left out or supplied."""
        if self.borrowed:
            self.say(f"does not define {', '.join(self.borrowed)}; taken from CAM of July 2025.")
        if self.dropped:
            listed = ", ".join(f"{n} ({count})" for n, count in self.dropped.items())
            self.say(f"products that are not declared are left out: {listed}.")
        if self.glued:
            self.say(
                f"products without '*' are no species and left out, as the preprocessor does; "
                f"{'; '.join(self.glued)}."
            )
        for section, what in _LEFT_OUT.items():
            if names_ := [item.partition("<-")[0] for _, item in self.items(section)]:
                self.say(f"{what} is the host's and left out: {', '.join(names_)}.")

    def say(self, message: str) -> None:
        warnings.warn(f"{self.filename}: {message}", stacklevel=5)


def _times(first: Expression, second: Expression) -> Expression:
    """The product, without a factor of one."""
    return second if first == Number(1.0) else call("*", first, second)
