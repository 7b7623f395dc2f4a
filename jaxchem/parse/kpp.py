"""Mechanisms of the Kinetic PreProcessor (.kpp, .def, .eqn, .spc) and KPP exports of the MCM.

What is read: species and their atoms, fixed species, equations with labels, coefficients and
comments, initial values, families, includes, and the assignments of inlined Fortran that rates
name. What a rate calls that is neither Fortran nor a known law (photolysis tables, uptake on
aerosol) becomes a quantity that the user gives, under its own text as a name. Species that no
equation has are left out, as KPP does.
Names are the same in upper and lower case, and keep the spelling of their declaration.

A concentration in a rate is ``C(ind_H2O)``; a bare ``H2O`` that nothing assigns is a variable of
the host, here the air's, even where a species has that name.

Format: KPP 3 user's manual (Lin et al. 2023, J. Adv. Model. Earth Syst. 15, e2022MS003293).
"""

import math
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..brief import few
from ..expression import Call, Expression, Name, Number, call, choose, rewrite, show
from ..formula import ELEMENTS
from ..network import MechanismError, Network, Reaction, Units
from ..rates import CONDITIONS, LAWS, NAMED, mcm
from .common import INTRINSICS, build, expression, fail, host_call, molecules
from .kpp_code import Function, NotArithmetic, commas, decided, functions, statements
from .kpp_hosts import host_law
from .kpp_language import Item, items

__all__ = ["loads", "looks_like"]

_DECLARES = {"DEFVAR": False, "DEFRAD": False, "DEFFIX": True}
_MOVES = {"SETVAR": False, "SETRAD": False, "SETFIX": True}
_NOTHING = {"HV", "PROD", "DUMMY"}
_LANGUAGES = ("F90", "F77", "C", "MATLAB")
_FUNCTIONS = {
    **{fortran.upper(): name for fortran, name in INTRINSICS.items()},
    **{"ALOG": "log", "ALOG10": "log10", "DMIN1": "min", "DMAX1": "max"},
    **{"AMIN1": "min", "AMAX1": "max"},
}
_CONDITIONS = {
    **{name.upper(): name for name in CONDITIONS},
    **{"TEMP": "temperature", "M": "density", "NUMDEN": "density", "CAIR": "density"},
    **{"C_M": "density"},
    **{"PRESS": "pressure"},
}
_OWN = {
    **{fortran: name for fortran, name in _CONDITIONS.items() if name not in NAMED},
    **{"TSTART": "start", "TEND": "end", "DT": "step"},
}
"""What the inlined start of a model may set."""
_GROUPS = ("ALL_SPEC", "VAR_SPEC", "FIX_SPEC")
_AIR_BY_CFACTOR = ("EP2", "EP3", "FALL")
"""The laws of KPP whose number density of air is 1e6 CFACTOR."""
_LEAST_AIR = 1e12
"""Where 1e6 CFACTOR is below this [molecule cm-3], CFACTOR is none of a number density."""
_ATOMS = {name.upper(): name for name in ELEMENTS}
_DEEPEST_RATE = 200
_LONGEST = 5000
"""Characters of a rate in which others are written out."""
_ZERO = r"(?:0+(?:\.0*)?|\.0+)(?:[ED][+-]?\d{1,4})?(?:_\w+)?"
_POOL = re.compile(rf"(?:{_ZERO}|C\(IND_\w+\))(?:\+(?:{_ZERO}|C\(IND_\w+\)))*", re.ASCII)
_TERM = re.compile(
    r"\s*([+-]?)\s*(-?)\s*(?:((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]\d+)?)\s*\*?)?\s*([A-Za-z_]\w*)\s*",
    re.ASCII,
)
_STATEMENT = re.compile(r"([A-Za-z]\w*)\s*=(?!=)\s*(.+)", re.DOTALL)
_ELEMENT = re.compile(r"([A-Za-z]\w*)\s*(\([^=]*\))\s*=(?!=)\s*(.+)", re.DOTALL)
_IF = re.compile(r"IF\s*(\(.*\))\s*(\w+\s*=(?!=).*)", re.IGNORECASE | re.DOTALL)
_PRESENT = re.compile(r"\(\s*ind_(\w+)\s*(?:>|/=|\.gt\.|\.ne\.)\s*0\s*\)", re.IGNORECASE)
_BY_HOST = re.compile(r"J\w*|PHOTOL|K?HET\w*|TUV\w*|SCALED_J|MCMJ|C|VAR|FIX", re.IGNORECASE)
"""Functions and arrays that are left to the host without saying so."""
_MOST_STEPS = 100_000
"""Parts of a rate, with all that it names written out."""
_BLOCK = re.compile(r"(IF\b.*\bTHEN|DO\b|SELECT\b|WHERE\b)", re.IGNORECASE)
_END = re.compile(r"END\s*(IF|DO|SELECT|WHERE)", re.IGNORECASE)


def looks_like(text: str) -> bool:
    """Whether a line begins with a section or an include of KPP."""
    sections = "DEFVAR|DEFFIX|DEFRAD|EQUATIONS|INCLUDE|INITVALUES|ATOMS|MODEL"
    return re.search(rf"^[ \t]*#({sections})\b", text, re.MULTILINE | re.IGNORECASE) is not None


def loads(text: str, filename: str = "<text>") -> Network:
    """Reads a mechanism in KPP's language.

    Args:
        text: content of a .kpp, .def or .eqn file.
        filename: for messages; includes are looked up in its folder. ``atoms`` need not be there.

    Raises:
        MechanismError: what cannot be read, with file, line and what to write instead.
    """
    return _Mechanism(text, filename).network()


def compositions(text: str, filename: str) -> dict[str, dict[str, int] | None]:
    """Element counts of the species that a file declares, `None` where it ignores them.

    Raises:
        MechanismError: as `loads`; the file need not have reactions.
    """
    return _Mechanism(text, filename).atoms


class _Mechanism:
    """What a file declares, gathered item by item."""

    def __init__(self, text: str, filename: str):
        self.filename = filename
        self.last = max(1, text.count("\n"))
        self.atoms: dict[str, dict[str, int] | None] = {}
        self.spelled: dict[str, str] = {}
        self.fixed: dict[str, bool] = {}
        self.where: dict[str, Item] = {}
        self.equations: list[tuple[dict[str, int], dict[str, float], str, str, Item]] = []
        self.initial: list[tuple[str, str, Item]] = []
        self.families: dict[str, dict[str, float]] = {}
        self.check: list[str] = []
        self.inlined: dict[str, list[Item]] = {}
        self.models: list[Item] = []
        readers = {
            **dict.fromkeys(_DECLARES, self.declare),
            **dict.fromkeys(_MOVES, self.move),
            "EQUATIONS": self.equation,
            "INITVALUES": self.value,
            "FAMILIES": self.family,
            "CHECK": self.checked,
        }
        for item in sorted(items(text, filename), key=lambda item: item.section not in _DECLARES):
            if item.section == "MODEL":
                self.models.append(item)
            elif item.section.startswith("INLINE "):
                self.inlined.setdefault(item.section[7:], []).append(item)
            elif item.text.strip() and item.section in readers:
                readers[item.section](item)
        # Fortran does not tell upper from lower case
        self.spelling: dict[str, str] = {}
        self.assigned: dict[str, list[_Assignment]] = {}
        self.elements: dict[str, tuple[str, Item]] = {}
        self.functions: dict[str, Function] = {}
        for kind in ("UTIL", "RATES"):
            for language in _LANGUAGES[:2]:
                self.functions |= functions(self.inlined.get(f"{language}_{kind}", []))
        self.present = {n.upper() for left, right, *_ in self.equations for n in (*left, *right)}
        self.blocks = 0  # of code that are open: what is assigned there is left to the user
        self.order = 0
        for kind in ("GLOBAL", "RCONST"):
            for statement, item in self.code(kind):
                declared, _, values = statement.rpartition("::")
                for part in commas(values) if declared else [statement]:
                    self.assign(part.strip(), item)

    def declare(self, item: Item) -> None:
        name, _, text = (part.strip() for part in item.text.partition("="))
        if not name and text.upper() == "IGNORE":
            return  # the MCM's exports have such an entry
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise item.fail(f"{item.text.strip()!r}: write 'SPECIES = ATOMS' or 'SPECIES = IGNORE'")
        counts: dict[str, int] | None = {}
        for part in filter(None, (p.strip() for p in text.split("+"))):
            match = re.fullmatch(r"(\d{0,4})\s*([A-Za-z]\w*)", part, re.ASCII)
            if match is None:
                raise item.fail(f"{part!r} is no atom; write such as '2O', or 'IGNORE'")
            atom = _ATOMS.get(match[2].upper())
            if atom is None:
                counts = None
            elif counts is not None:
                counts[atom] = counts.get(atom, 0) + int(match[1] or 1)
        if (other := self.spelled.setdefault(name.upper(), name)) != name:
            raise item.fail(f"{name!r} and {other!r} differ in case alone, which KPP does not see")
        self.atoms[name] = counts or None
        self.fixed[name] = _DECLARES[item.section]
        self.where[name] = item

    def move(self, item: Item) -> None:
        name = item.text.strip()
        for member in self.group(name, list(self.atoms)):
            if member not in self.atoms:
                raise item.fail(f"#{item.section} names {name!r}, which is not declared")
            self.fixed[member] = _MOVES[item.section]

    def group(self, name: str, species: list[str]) -> list[str]:
        """The species that a name stands for: those of a group, or itself as it is declared."""
        if name.upper() not in _GROUPS:
            return [self.spelled.get(name.upper(), name)]
        kind = {"VAR_SPEC": [False], "FIX_SPEC": [True]}.get(name.upper(), [False, True])
        return [n for n in species if self.fixed.get(n, False) in kind]

    def checked(self, item: Item) -> None:
        name = item.text.strip()
        self.check.append(_ATOMS.get(name.upper(), name))

    def equation(self, item: Item) -> None:
        if re.fullmatch(r"[\s().,*+]*", item.text):
            warnings.warn(
                f"{item.where}: {item.text.strip()!r} is no equation, and passed over as KPP does.",
                stacklevel=5,
            )
            return
        match = re.fullmatch(r"\s*(?:<([^<>\n]*)>)?([^:]*):(.*)", item.text, re.DOTALL)
        left, equals, right = match[2].partition("=") if match else ("", "", "")
        if match is None or not equals or "=" in right or not match[3].strip():
            raise item.fail(
                f"{' '.join(item.text.split())[:80]!r}: write '<LABEL> A + B = C : RATE ;'"
            )
        reactants = molecules(self.terms(left, item), item.fail)
        rate = "".join(match[3].replace("&", " ").split())  # KPP drops blanks: -210 0.0 is -2100.0
        label = (match[1] or "").strip() or f"equation {len(self.equations) + 1}"
        self.equations.append((reactants, self.terms(right, item), rate, label, item))

    def terms(self, side: str, item: Item) -> dict[str, float]:
        found: dict[str, float] = {}
        position = 0
        while position < len(side.rstrip()):
            match = _TERM.match(side, position)
            if match is None or (position and not match[1]):
                raise item.fail(
                    f"{' '.join(side.split())[:80]!r}: write 'A + 2B', one term after the other"
                )
            position = match.end()
            count = float(match[3] or 1) * (-1) ** ((match[1] == "-") + (match[2] == "-"))
            if not abs(count) < 1e9:
                raise item.fail(f"{match[3]} {match[4]}: no such yield")
            key = match[4].upper()
            if key not in _NOTHING or key in self.spelled:
                name = self.spelled.setdefault(key, match[4])
                found[name] = found.get(name, 0.0) + count
        return found

    def value(self, item: Item) -> None:
        name, equals, text = (part.strip() for part in item.text.partition("="))
        if not equals or not name or not text or "=" in text:
            raise item.fail(
                f"{' '.join(item.text.split())[:60]!r}: write 'SPECIES = NUMBER;', a semicolon at "
                "the end of each"
            )
        self.initial.append((name, text, item))

    def family(self, item: Item) -> None:
        name, colon, text = (part.strip() for part in item.text.partition(":"))
        if not colon or not re.fullmatch(r"\w+", name, re.ASCII):
            raise item.fail(f"{item.text.strip()!r}: write 'FAMILY : SPECIES + SPECIES'")
        self.families[name] = self.terms(text, item)

    def code(self, kind: str) -> Iterator[tuple[str, Item]]:
        """The statements of inlined code of the first language that has some of this kind."""
        for language in _LANGUAGES:
            for item in self.inlined.get(f"{language}_{kind}", []):
                for above, statement in statements(item.text):
                    yield statement, item._replace(line=item.line + above)
            if f"{language}_{kind}" in self.inlined:
                return

    def assign(self, statement: str, item: Item) -> None:
        """Notes an assignment; what stands under a condition is left to the user."""
        if _BLOCK.match(statement):
            self.blocks += 1
            return
        if _END.match(statement):
            self.blocks = max(0, self.blocks - 1)
            return
        open_ = self.blocks > 0
        self.order += 1
        condition = ""
        if guarded := _IF.fullmatch(statement):
            condition, statement = guarded[1], guarded[2]
            if present := _PRESENT.fullmatch(condition):
                if present[1].upper() not in self.present:
                    return
                condition = ""
        match = _STATEMENT.fullmatch(statement)
        if match is None:
            self.element(statement, open_ or bool(condition), item)
            return
        key, text = match[1].upper(), match[2]
        earlier = self.assigned.setdefault(key, [])
        self.spelling.setdefault(key, match[1])
        if condition and earlier:
            text, condition = f"MERGE({text}, {key}, {condition})", ""
        if open_ or condition:
            earlier.append(_Assignment(self.order, None, item))
            return
        before, sign, rest = text.partition("+")
        if earlier and earlier[-1].text is not None and sign and before.strip().upper() == key:
            text = f"{earlier.pop().text} + {rest}"  # a sum over many lines
        earlier.append(_Assignment(self.order, text, item))

    def element(self, statement: str, open_: bool, item: Item) -> None:
        """Notes what is given to an element of an array, such as ``J(4)``."""
        match = _ELEMENT.fullmatch(statement)
        if match is None or match[1].upper() == "IF":
            return
        if match[1].upper() == "RCONST":
            raise item.fail(f"{statement[:60]!r}: write the rate in its equation")
        if match[1].upper() in ("C", "VAR", "FIX"):
            warnings.warn(
                f"{item.where}: {statement[:60]!r} is left out; set concentrations in #INITVALUES.",
                stacklevel=6,
            )
        elif not open_:
            self.elements[_canonical(match[1] + match[2])] = (match[3], item)

    def network(self) -> Network:
        """Puts it all together."""
        if not self.equations:
            for item in self.models:
                raise item.fail(f"#MODEL names {item.text}, which is not beside it; put it there")
            raise fail(self.filename, self.last, "there is no equation; is #EQUATIONS elsewhere?")
        used = dict.fromkeys(n for left, right, *_ in self.equations for n in (*left, *right))
        if undeclared := [n for n in used if n not in self.atoms]:
            warnings.warn(
                f"{self.filename}: species without a declaration, taken as variable: "
                f"{few(undeclared)}.",
                stacklevel=5,
            )
        species = [n for n in self.atoms if n in used] + undeclared
        self.species = {f"IND_{n.upper()}": n for n in species}
        self.numbers, initial = self.values(species)
        self.pools: dict[str, list[str]] = {}
        self.defined: dict[str, Expression | None] = {}
        self.rates: list[Expression | None] = [None] * len(self.equations)
        self.active: list[int] = []
        self.depth = 0
        self.places: dict[tuple[str, str], str] = {}
        self.defining: list[str] = []
        self.ambiguous: dict[str, Item] = {}
        self.now = math.inf  # the statement that is resolved; rates come after all
        self.steps = 0
        self.called: dict[str, str] = {}
        self.undefined: dict[str, int] = {}
        self.beyond: dict[str, str] = {}
        self.supplied: dict[str, str] = {}
        reactions = [
            Reaction(
                reactants=left,
                products=right,
                rate=self.rate(j),
                source=f"FILE, {label.replace('#', 'no. ')}",
                where=item.where,
            )
            for j, (left, right, _, label, item) in enumerate(self.equations)
        ]
        self.tell()
        trees = [t for t in (*self.rates, *self.defined.values()) if t is not None]
        defaults = dict(self.own_conditions())
        air = 1e6 * self.numbers.get("CFACTOR", 0.0)
        if air >= _LEAST_AIR and any(c.function in _AIR_BY_CFACTOR for c in _calls(trees)):
            defaults.setdefault("density", air)
        if not any(n in mcm.DEFINITIONS and n not in mcm.AIR for n in self.defined):
            for name, item in self.ambiguous.items():
                warnings.warn(
                    f"{item.where}: {name!r} in the rate is the air's, not the species of that "
                    f"name, which is C(ind_{name}).",
                    stacklevel=5,
                )
        found = {e for n in species for e in self.atoms.get(n) or ()}
        balanced = found if "*" in self.check else [c for c in self.check if c in found]
        return build(
            self.filename,
            name=re.sub(r"\W", "_", Path(self.filename).stem) or "kpp",
            title="KPP mechanism",
            species={n: self.atoms.get(n) for n in species},
            reactions=reactions,
            units=Units("molecule cm-3", "s"),
            pools=self.pools,
            balanced=sorted(set(balanced)),
            references={"FILE": f"read from {Path(self.filename).name}"},
            fixed=[n for n in species if self.fixed.get(n)],
            quantities=self.defined,
            defaults=defaults,
            initial=initial,
            supplied=self.supplied,
            places=self.places,
            families={
                f: {n: c for n, c in members.items() if n in used}
                for f, members in self.families.items()
                if any(n in used for n in members)
            },
        )

    def tell(self) -> None:
        """Warns of functions whose calls are left to the user though they look like rate laws."""
        if self.beyond:
            listed = "; ".join(f"{name}: {why}" for name, why in self.beyond.items())
            warnings.warn(
                f"{self.filename}: functions that are no arithmetic, whose calls are quantities to "
                f"be given: {listed}.",
                stacklevel=6,
            )
        if self.undefined:
            listed = ", ".join(f"{name} ({n} calls)" for name, n in self.undefined.items())
            warnings.warn(
                f"{self.filename}: neither defined here nor known, so that calls are quantities to "
                f"be given: {listed}. Is F90_RATES in another file, such as the .def or gckpp.kpp?",
                stacklevel=6,
            )

    def values(self, species: list[str]) -> tuple[dict[str, float], dict[str, float]]:
        """CFACTOR, and initial concentrations; what is said of a group holds for the others."""
        factor: dict[str, float] = {}
        proposed: dict[str, float] = {}
        named: dict[str, float] = {}
        for name, text, item in self.initial:
            number = expression(item.file, item.line, text)
            if not isinstance(number, Number):
                raise item.fail(f"{name} = {text}: write a number")
            if name.upper() == "CFACTOR":
                factor["CFACTOR"] = number.value
            else:
                values = proposed if name.upper() in _GROUPS else named
                values |= dict.fromkeys(self.group(name, species), number.value)
        state = {n: v for n, v in proposed.items() if v} | named
        scale = factor.get("CFACTOR", 1.0)
        return factor, {n: state[n] * scale for n in species if n in state}

    def own_conditions(self) -> Iterator[tuple[str, float]]:
        """Conditions and times that the inlined start of the model sets."""
        known: dict[str, Expression] = {}
        for statement, item in self.code("INIT"):
            match = _STATEMENT.fullmatch(statement)
            if match is None or match[1].upper() not in _OWN:
                continue

            def fill(tree: Expression) -> Expression:
                return known.get(tree.name.upper(), tree) if isinstance(tree, Name) else tree

            try:
                value = rewrite(expression(item.file, item.line, match[2]), fill)
            except MechanismError:
                continue
            if isinstance(value, Number):
                known[match[1].upper()] = value
                yield _OWN[match[1].upper()], value.value

    def rate(self, j: int) -> Expression:
        """The rate of an equation, which others may name as RCONST(j + 1)."""
        found = self.rates[j]
        if found is None:
            *_, text, _, item = self.equations[j]
            if j in self.active:
                raise item.fail(f"RCONST({j + 1}) is defined by itself")
            self.active.append(j)
            self.steps = 0 if len(self.active) == 1 else self.steps
            now, self.now = self.now, math.inf
            found = self.rates[j] = self.resolve(expression(item.file, item.line, text), item)
            self.active.pop()
            self.now = now
            if "RCONST" in text.upper():
                written = show(found)
                if len(written) > _LONGEST:
                    raise item.fail("all written out, the rate is too long; give it fewer parts")
                expression(item.file, item.line, written)
        return found

    def resolve(self, tree: Expression, item: Item) -> Expression:
        """The tree in jaxchem's own names."""
        self.depth += 1
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise item.fail("all written out, the rate is too long; give it fewer parts")
        if self.depth > _DEEPEST_RATE:
            raise item.fail(
                f"what this names is, all written out, more than {_DEEPEST_RATE} levels deep; "
                "name fewer things by one another"
            )
        tree = self.own(tree, item)
        self.depth -= 1
        return tree

    def own(self, tree: Expression, item: Item) -> Expression:
        if isinstance(tree, Number):
            return tree
        if isinstance(tree, Name):
            key = tree.name.upper()
            if key in ("M", *mcm.AIR) and key in self.spelled and key not in self.assigned:
                self.ambiguous.setdefault(tree.name, item)
            return self.name(tree.name, item)
        key = tree.function.upper()
        if key in ("REAL", "DBLE") and tree.arguments:
            return self.resolve(tree.arguments[0], item)
        if key == "RCONST" and isinstance(tree.arguments[0] if tree.arguments else 0, Number):
            j = int(tree.arguments[0].value) - 1
            if not 0 <= j < len(self.equations):
                raise item.fail(f"RCONST({j + 1}): there are {len(self.equations)} equations")
            if len(self.active) > 50:
                raise item.fail("RCONST are named by one another more than 50 deep")
            return self.rate(j)
        if key == "C" and len(tree.arguments) == 1 and isinstance(tree.arguments[0], Name):
            member = self.species.get(tree.arguments[0].name.upper())
            if member is not None:
                return self.concentration(member)
        count = len(tree.arguments)
        if key in self.functions:
            try:
                return self.resolve(self.functions[key](tree.arguments), item)
            except NotArithmetic as reason:
                self.beyond.setdefault(self.functions[key].name, str(reason))
                return self.photolysis(tree, item)
            except MechanismError:
                raise
            except ValueError as error:
                raise item.fail(str(error)) from None
        if key == "MERGE" and count == 3:
            yes, no, condition = (self.resolve(a, item) for a in tree.arguments)
            return self.attempt(lambda: choose(decided(condition), yes, no), item)
        if key in ("SIGN", "DSIGN") and count == 2:
            size, of = (self.resolve(a, item) for a in tree.arguments)
            size = call("abs", size)
            return self.attempt(
                lambda: choose(call("<", of, Number(0)), call("neg", size), size), item
            )
        law = _LAWS.get(key)
        fits = law is not None and len(LAWS[law].parameters) == count
        if not fits and (host := host_law(key, count)):
            return self.resolve(host(tree.arguments), item)
        if law is None and key not in _FUNCTIONS and not _operator(tree.function):
            return self.photolysis(tree, item)
        for need in LAWS[law].needs if law else ():
            if need not in CONDITIONS:
                self.name(need, item)
        arguments = [self.resolve(a, item) for a in tree.arguments]
        function = law or _FUNCTIONS.get(key, tree.function)
        while function in ("min", "max") and len(arguments) > 2:
            first = self.attempt(lambda: call(function, *arguments[:2]), item)  # noqa: B023
            arguments = [first, *arguments[2:]]
        return self.attempt(lambda: call(function, *arguments), item)

    def attempt(self, make: Callable[[], Expression], item: Item) -> Expression:
        """What is made, or the error of this entry."""
        try:
            return make()
        except ValueError as error:
            raise item.fail(str(error)) from None

    def concentration(self, species: str) -> Expression:
        """The concentration of a species, in a rate."""
        self.pools.setdefault(f"C(ind_{species})", [species])
        return Name(f"C(ind_{species})")

    def name(self, name: str, item: Item) -> Expression:
        """A name as a condition, a number, a pool or a quantity, whose definition is noted."""
        key = name.upper()
        if key in self.spelling:
            own = self.spelling[key]
            own = f"{own}_" if own in CONDITIONS else own
            versions = self.assigned[key]
            before = [n for n, each in enumerate(versions) if each.order < self.now]
            at = before[-1] if before else len(versions) - 1
            own = own if at == len(versions) - 1 else f"{own}@{at + 1}"
            if own in self.defining:
                raise item.fail(f"{own} is defined by itself, in a circle")
            if own not in self.defined and own not in self.pools:
                self.define(own, versions[at])
            return Name(own)
        if key.startswith("'"):
            return Name(name)
        if key.startswith("IND_"):
            return Number(float(key in self.species))
        if key == "CFACTOR":
            return Number(self.numbers.get(key, 1.0))
        if key in _CONDITIONS:
            if key == "PRESS":
                self.supplied[key] = "the pressure in Pa"
            return Name(_CONDITIONS[key])
        if key == "SUN":
            self.defined["SUN"] = Call("SUNLIGHT", ())
            return Name("SUN")
        if key == "C_H2O":
            return self.name("H2O", item)
        if key not in mcm.AIR and (species := self.species.get(f"IND_{key}")):
            return self.concentration(species)
        own = next((n for n in (name, key) if self.published(n)), name)
        self.defined.setdefault(own, None)
        return Name(own)

    def define(self, own: str, found: "_Assignment") -> None:
        order, text, item = found
        if text is None:
            self.defined[own] = None
            return
        self.places["quantities", own] = self.places["pools", own] = item.where
        flat = re.sub(r"\s", "", text).upper()
        if "C(" in flat and _POOL.fullmatch(flat):
            members = [self.species.get(m) for m in re.findall(r"\((\w+)\)", flat)]
            known = list(dict.fromkeys(m for m in members if m is not None))
            if known:
                self.pools[own] = known
            else:
                self.defined[own] = Number(0.0)
            return
        if len(self.defining) > 50:
            raise item.fail("names are defined by one another more than 50 deep")
        self.defining.append(own)
        now, self.now = self.now, order
        tree = self.resolve(expression(item.file, item.line, text), item)
        self.now = now
        self.defining.pop()
        self.defined[own] = tree

    def photolysis(self, tree: Call, item: Item) -> Expression:
        """J(4) and J(J_NO2) of the MCM by their number; any other unknown call by its text."""
        text = _canonical(show(tree))
        if text in self.elements:
            if text in self.defining:
                raise item.fail(f"{text} is defined by itself, in a circle")
            if text not in self.defined:
                self.defining.append(text)
                value, place = self.elements[text]
                self.defined[text] = self.resolve(expression(place.file, place.line, value), place)
                self.defining.pop()
            return Name(text)
        if tree.function.upper() == "J" and len(tree.arguments) == 1:
            (argument,) = tree.arguments
            number = (
                int(argument.value)
                if isinstance(argument, Number) and abs(argument.value) < 1e6
                else mcm.PHOTOLYSIS_NAMES.get(argument.name.upper())
                if isinstance(argument, Name)
                else None
            )
            if number in mcm.PHOTOLYSIS:
                self.published(f"J{number}")
                return Name(f"J{number}")
        text = self.called.setdefault(text, host_call(tree))
        self.defined.setdefault(text, None)
        name, given = tree.function, [a.value for a in tree.arguments if isinstance(a, Number)]
        law = len(given) > 1 or any(value != int(value) for value in given)
        named = [a.name.upper() for a in tree.arguments if isinstance(a, Name)]
        law = law and all(other in _CONDITIONS for other in named)  # else the host's own state
        if law and not _BY_HOST.fullmatch(name) and name.upper() not in self.functions:
            self.undefined[name] = self.undefined.get(name, 0) + 1
        return Name(text)

    def published(self, name: str) -> bool:
        """Takes over what the MCM, or the composition of air, says of a name."""
        if name not in mcm.DEFINITIONS:
            return False
        self.supplied[name] = mcm.origin(name)
        for quantity, tree in mcm.definitions([name]).items():
            self.defined.setdefault(quantity, tree)
        return True


_LAWS = {name.upper(): name for name in LAWS}


class _Assignment(NamedTuple):
    """What inlined code gives to a name; `text` is nothing where the user has to say it."""

    order: int
    text: str | None
    item: Item


def _canonical(text: str) -> str:
    """A call in a form that blanks, case and decimal points do not change."""
    return re.sub(r"(\d)\.0\b", r"\1", re.sub(r"[\s\"]", "", text)).upper()


def _operator(function: str) -> bool:
    return not function.isidentifier() or function in ("neg", "and", "or", "not")


def _calls(trees: list[Expression]) -> Iterator[Call]:
    trees = list(trees)
    while trees:
        tree = trees.pop()
        if isinstance(tree, Call):
            yield tree
            trees += tree.arguments
