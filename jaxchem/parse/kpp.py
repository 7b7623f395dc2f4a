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

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from ..expression import Call, Expression, Name, Number, call, rewrite, show
from ..formula import ELEMENTS
from ..network import MechanismError, Network, Reaction, Units
from ..rates import CONDITIONS, LAWS, NAMED, mcm
from .common import INTRINSICS, build, expression, fail, molecules
from .kpp_language import Item, items

__all__ = ["loads", "looks_like"]

_DECLARES = {"DEFVAR": False, "DEFRAD": False, "DEFFIX": True}
_MOVES = {"SETVAR": False, "SETRAD": False, "SETFIX": True}
_NOTHING = {"HV", "PROD", "DUMMY"}
_LANGUAGES = ("F90", "F77", "C", "MATLAB")
_FUNCTIONS = {
    **{fortran.upper(): name for fortran, name in INTRINSICS.items()},
    **{"ALOG": "log", "ALOG10": "log10", "DMIN1": "min", "DMAX1": "max"},
}
_CONDITIONS = {
    **{name.upper(): name for name in CONDITIONS},
    **{"TEMP": "temperature", "M": "density", "NUMDEN": "density", "CAIR": "density"},
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
    r"\s*([+-]?)\s*((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]\d+)?)?\s*([A-Za-z_]\w*)\s*", re.ASCII
)
_STATEMENT = re.compile(r"([A-Za-z]\w*)\s*=(?!=)\s*(.+)", re.DOTALL)
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
        readers = {
            **dict.fromkeys(_DECLARES, self.declare),
            **dict.fromkeys(_MOVES, self.move),
            "EQUATIONS": self.equation,
            "INITVALUES": self.value,
            "FAMILIES": self.family,
            "CHECK": self.checked,
        }
        for item in sorted(items(text, filename), key=lambda item: item.section not in _DECLARES):
            if item.section.startswith("INLINE "):
                self.inlined.setdefault(item.section[7:], []).append(item)
            elif item.text.strip() and item.section in readers:
                readers[item.section](item)
        # Fortran does not tell upper from lower case
        self.spelling: dict[str, str] = {}
        self.assigned: dict[str, tuple[str, Item] | None] = {}
        self.blocks = 0  # of code that are open: what is assigned there is left to the user
        for kind in ("GLOBAL", "RCONST"):
            for statement, item in self.code(kind):
                self.assign(statement, item)

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
        match = re.fullmatch(r"\s*(?:<([^<>\n]*)>)?([^:]*):(.*)", item.text, re.DOTALL)
        left, equals, right = match[2].partition("=") if match else ("", "", "")
        if match is None or not equals or "=" in right or not match[3].strip():
            raise item.fail(
                f"{' '.join(item.text.split())[:80]!r}: write '<LABEL> A + B = C : RATE ;'"
            )
        reactants = molecules(self.terms(left, item), item.fail)
        rate = " ".join(match[3].replace("&", " ").split())
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
            count = float(match[2] or 1) * (-1 if match[1] == "-" else 1)
            if not abs(count) < 1e9:
                raise item.fail(f"{match[2]} {match[3]}: no such yield")
            key = match[3].upper()
            if key not in _NOTHING or key in self.spelled:
                name = self.spelled.setdefault(key, match[3])
                found[name] = found.get(name, 0.0) + count
        return found

    def value(self, item: Item) -> None:
        name, equals, text = (part.strip() for part in item.text.partition("="))
        if not equals or not name or not text:
            raise item.fail(f"{item.text.strip()!r}: write 'SPECIES = NUMBER'")
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
                lines = [re.sub(r"!.*", "", line) for line in item.text.splitlines()]
                statement, start = "", 0
                for number, line in enumerate(lines):
                    start = start if statement else number
                    statement += " " + line.strip().lstrip("&")
                    if statement.rstrip().endswith("&"):
                        statement = statement.rstrip()[:-1]
                        continue
                    for part in filter(None, (p.strip() for p in statement.split(";"))):
                        yield part, item._replace(line=item.line + start)
                    statement = ""
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
        if condition := re.match(r"IF\s*\(.*\)\s*(\w+\s*=(?!=).*)", statement, re.IGNORECASE):
            statement, open_ = condition[1], True
        statement = statement.rpartition("::")[2].strip()
        match = _STATEMENT.fullmatch(statement)
        if match is None:
            return
        key, text = match[1].upper(), match[2]
        if key in self.assigned and not open_:
            before, sign, rest = text.partition("+")
            first = self.assigned[key]
            if first is not None and sign and before.strip().upper() == key:
                self.assigned[key] = (f"{first[0]} + {rest}", item)  # a sum over many lines
                return
            raise item.fail(f"{match[1]} is assigned twice; give the second another name")
        self.spelling.setdefault(key, match[1])
        self.assigned[key] = None if open_ else (text, item)

    def network(self) -> Network:
        """Puts it all together."""
        if not self.equations:
            raise fail(self.filename, self.last, "there is no equation; is #EQUATIONS elsewhere?")
        used = dict.fromkeys(n for left, right, *_ in self.equations for n in (*left, *right))
        if undeclared := [n for n in used if n not in self.atoms]:
            warnings.warn(
                f"{self.filename}: species without a declaration, taken as variable: "
                + ", ".join(undeclared),
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
            places=self.places,
            families={
                f: {n: c for n, c in members.items() if n in used}
                for f, members in self.families.items()
                if any(n in used for n in members)
            },
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
            found = self.rates[j] = self.resolve(expression(item.file, item.line, text), item)
            self.active.pop()
            if "RCONST" in text.upper():
                written = show(found)
                if len(written) > _LONGEST:
                    raise item.fail("all written out, the rate is too long; give it fewer parts")
                expression(item.file, item.line, written)
        return found

    def resolve(self, tree: Expression, item: Item) -> Expression:
        """The tree in jaxchem's own names."""
        self.depth += 1
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
                self.pools.setdefault(f"C(ind_{member})", [member])
                return Name(f"C(ind_{member})")
        law = _LAWS.get(key)
        if law is None and key not in _FUNCTIONS and not _operator(tree.function):
            return self.photolysis(tree, item)
        for need in LAWS[law].needs if law else ():
            if need not in CONDITIONS:
                self.name(need, item)
        arguments = [self.resolve(a, item) for a in tree.arguments]
        function = law or _FUNCTIONS.get(key, tree.function)
        try:
            while function in ("min", "max") and len(arguments) > 2:
                arguments = [call(function, *arguments[:2]), *arguments[2:]]
            return call(function, *arguments)
        except ValueError as error:
            raise item.fail(str(error)) from None

    def name(self, name: str, item: Item) -> Expression:
        """A name as a condition, a number, a pool or a quantity, whose definition is noted."""
        key = name.upper()
        if key in self.spelling:
            own = self.spelling[key]
            own = f"{own}_" if own in CONDITIONS else own
            if own in self.defining:
                raise item.fail(f"{own} is defined by itself, in a circle")
            if own not in self.defined and own not in self.pools:
                self.define(own, self.assigned[key])
            return Name(own)
        if key == "CFACTOR":
            return Number(self.numbers.get(key, 1.0))
        if key in _CONDITIONS:
            return Name(_CONDITIONS[key])
        if key == "SUN":
            self.defined["SUN"] = Call("SUNLIGHT", ())
            return Name("SUN")
        own = next((n for n in (name, key) if self.published(n)), name)
        self.defined.setdefault(own, None)
        return Name(own)

    def define(self, own: str, found: tuple[str, Item] | None) -> None:
        if found is None:
            self.defined[own] = None
            return
        text, item = found
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
        tree = self.resolve(expression(item.file, item.line, text), item)
        self.defining.pop()
        self.defined[own] = tree

    def photolysis(self, tree: Call, item: Item) -> Expression:
        """J(4) and J(J_NO2) of the MCM by their number; any other unknown call by its text."""
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
        text = re.sub(r"(\d)\.0\b", r"\1", show(tree)).replace(" ", "").replace('"', "")
        self.defined.setdefault(text, None)
        return Name(text)

    def published(self, name: str) -> bool:
        """Takes over what the MCM, or the composition of air, says of a name."""
        if name not in mcm.DEFINITIONS:
            return False
        for quantity, tree in mcm.definitions([name]).items():
            self.defined.setdefault(quantity, tree)
        return True


_LAWS = {name.upper(): name for name in LAWS}


def _operator(function: str) -> bool:
    return function in ("+", "-", "*", "/", "**", "neg")


def _calls(trees: list[Expression]) -> Iterator[Call]:
    trees = list(trees)
    while trees:
        tree = trees.pop()
        if isinstance(tree, Call):
            yield tree
            trees += tree.arguments
