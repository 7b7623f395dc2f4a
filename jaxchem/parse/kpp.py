"""Mechanisms of the Kinetic PreProcessor (.kpp, .def, .eqn, .spc) and KPP exports of the MCM.

What is read: species and their atoms, fixed species, equations with labels, coefficients and
comments, initial values, families, includes, and the assignments of inlined Fortran that rates
name. What a rate calls that is neither Fortran nor a known law (photolysis tables, uptake on
aerosol) becomes a quantity that the user gives, under its own text as a name. Species that no
equation has are left out, as KPP does.
Names are the same in upper and lower case, and keep the spelling of their declaration.

Format: KPP 3 user's manual (Lin et al. 2023, J. Adv. Model. Earth Syst. 15, e2022MS003293).
"""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from ..brief import few
from ..expression import Call, Expression, Number
from ..formula import ELEMENTS
from ..network import Network, Reaction, Units
from ..rates import NAMED
from .common import build, counted, expression, fail, molecules
from .kpp_inlined import STATE, Code
from .kpp_language import Item, items
from .kpp_rates import Rates

__all__ = ["loads", "looks_like"]

_DECLARES = {"DEFVAR": False, "DEFRAD": False, "DEFFIX": True}
_MOVES = {"SETVAR": False, "SETRAD": False, "SETFIX": True}
_NOTHING = {"HV", "PROD", "DUMMY"}
_OWN = {
    **{fortran: name for fortran, name in STATE.items() if name not in NAMED},
    **{"TSTART": "start", "TEND": "end", "DT": "step"},
}
"""What inlined code may set of the run."""
_GROUPS = ("ALL_SPEC", "VAR_SPEC", "FIX_SPEC")
_AIR_BY_CFACTOR = ("EP2", "EP3", "FALL")
"""The laws of KPP whose number density of air is 1e6 CFACTOR."""
_LEAST_AIR = 1e12
"""Where 1e6 CFACTOR is below this [molecule cm-3], CFACTOR is none of a number density."""
_ATOMS = {name.upper(): name for name in ELEMENTS}
_EQUATION = re.compile(r"\s*(?:<([^<>\n]*)>)?([^:]*):(.*)", re.DOTALL)
_NO_EQUATION = re.compile(r"[\s().,*+]*")
_TERM = re.compile(
    r"\s*([+-]?)\s*(-?)\s*(?:((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]\d+)?)\s*\*?)?\s*([A-Za-z_]\w*)\s*",
    re.ASCII,
)


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
        self.strangers: list[str] = []
        self.lumped: dict[str, str] = {}  # atoms that are no element
        self.declared: set[str] = set()
        self.inlined: dict[str, list[Item]] = {}
        self.models: list[Item] = []
        readers = {
            **dict.fromkeys(_DECLARES, self.declare),
            **dict.fromkeys(_MOVES, self.move),
            "EQUATIONS": self.equation,
            "INITVALUES": self.value,
            "FAMILIES": self.family,
            "CHECK": self.checked,
            "ATOMS": lambda item: self.declared.add(item.text.strip().upper()),
        }
        found = sorted(items(text, filename), key=lambda item: item.section not in _DECLARES)
        counted(filename, sum(item.section == "EQUATIONS" for item in found))
        for item in found:
            if item.section == "MODEL":
                self.models.append(item)
            elif item.section.startswith("INLINE "):
                self.inlined.setdefault(item.section[7:], []).append(item)
            elif item.text.strip() and item.section in readers:
                readers[item.section](item)
        present = {n.upper() for left, right, *_ in self.equations for n in (*left, *right)}
        self.code = Code(self.inlined, present)
        self.start = Code(self.inlined, present, ("GLOBAL", "INIT"))
        self.code.unread |= self.start.unread
        self.code.unread |= {f"#INLINE {n}": None for n in self.inlined if n.startswith("PY_")}

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
                if match[2].upper() != "IGNORE":
                    self.lumped.setdefault(match[2].upper(), f"{match[2]} (of {name})")
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
        if name != "*" and name.upper() not in _ATOMS:
            self.lumped.setdefault(name.upper(), f"{name} (of #CHECK)")
        self.check.append(_ATOMS.get(name.upper(), name))

    def equation(self, item: Item) -> None:
        if _NO_EQUATION.fullmatch(item.text):
            warnings.warn(
                f"{item.where}: {item.text.strip()!r} is no equation, and passed over as KPP does.",
                stacklevel=5,
            )
            return
        match = _EQUATION.fullmatch(item.text)
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
        position, end = 0, len(side.rstrip())
        while position < end:
            match = _TERM.match(side, position)
            if match is None or (position and not match[1]):
                raise item.fail(
                    f"{' '.join(side.split())[:80]!r}: write 'A + 2B', one term after the other"
                )
            position = match.end()
            plus, minus, number, name = match.groups()
            count = float(number or 1) * (-1) ** ((plus == "-") + (minus == "-"))
            if not abs(count) < 1e9:
                raise item.fail(f"{number} {name}: no such yield")
            key = name.upper()
            if key not in _NOTHING or key in self.spelled:
                name = self.spelled.setdefault(key, name)
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

    def network(self) -> Network:
        """Puts it all together."""
        if not self.equations:
            for item in self.models:
                raise item.fail(f"#MODEL names {item.text}, which is not beside it; put it there")
            raise fail(self.filename, self.last, "there is no equation; is #EQUATIONS elsewhere?")
        for item in self.models:
            warnings.warn(
                f"{item.where}: #MODEL names {item.text}, which is not beside it and not read.",
                stacklevel=5,
            )
        used = dict.fromkeys(n for left, right, *_ in self.equations for n in (*left, *right))
        if undeclared := [n for n in used if n not in self.atoms]:
            warnings.warn(
                f"{self.filename}: species without a declaration, taken as variable: "
                f"{few(undeclared)}.",
                stacklevel=5,
            )
        self.strangers += [text for n, text in self.lumped.items() if n not in self.declared]
        self.strangers += [
            f"{n} (family {family})"
            for family, members in self.families.items()
            for n in members
            if n not in used and n not in self.atoms
        ]
        species = [n for n in self.atoms if n in used] + undeclared
        self.numbers, initial = self.values(species)
        defaults = self.own_conditions()
        texts = [(text, item) for *_, text, _, item in self.equations]
        rates = Rates(self.filename, self.code, texts, species, self.spelled, self.numbers)
        reactions = [
            Reaction(
                reactants=left,
                products=right,
                rate=rates.rate(j),
                source=f"FILE, {label.replace('#', 'no. ')}",
                where=item.where,
            )
            for j, (left, right, _, label, item) in enumerate(self.equations)
        ]
        rates.tell()
        self.tell()
        trees = [t for t in (*rates.rates, *rates.defined.values()) if t is not None]
        air = 1e6 * self.numbers.get("CFACTOR", 0.0)
        if air >= _LEAST_AIR and any(c.function in _AIR_BY_CFACTOR for c in _calls(trees)):
            defaults.setdefault("density", air)
        found = {e for n in species for e in self.atoms.get(n) or ()}
        balanced = found if "*" in self.check else [c for c in self.check if c in found]
        return build(
            self.filename,
            name=re.sub(r"\W", "_", Path(self.filename).stem) or "kpp",
            title="KPP mechanism",
            species={n: self.atoms.get(n) for n in species},
            reactions=reactions,
            units=Units("molecule cm-3", "s"),
            pools=rates.pools,
            balanced=sorted(set(balanced)),
            references={"FILE": f"read from {Path(self.filename).name}"},
            fixed=[n for n in species if self.fixed.get(n)],
            quantities=rates.defined,
            defaults=defaults,
            initial=initial,
            supplied=rates.supplied,
            places=rates.places,
            families={
                f: {n: c for n, c in members.items() if n in used}
                for f, members in self.families.items()
                if any(n in used for n in members)
            },
        )

    def tell(self) -> None:
        """Warns of what is left out of the file."""
        if self.strangers:
            warnings.warn(
                f"{self.filename}: left out, as they are no known species or atoms: "
                f"{few(self.strangers)}.",
                stacklevel=6,
            )
        if self.code.unread:
            warnings.warn(
                f"{self.filename}: inlined code that cannot be read is passed over: "
                f"{few([*self.code.unread])}.",
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
                if name.upper() not in (*_GROUPS, *self.spelled):
                    self.strangers.append(f"{name} (#INITVALUES, line {item.line})")
                values = proposed if name.upper() in _GROUPS else named
                values |= dict.fromkeys(self.group(name, species), number.value)
        state = {n: v for n, v in proposed.items() if v} | named
        scale = factor.get("CFACTOR", 1.0)
        return factor, {n: state[n] * scale for n in species if n in state}

    def own_conditions(self) -> dict[str, float]:
        """Takes conditions and times that inlined code sets to numbers: those of the run."""
        found: dict[str, float] = {}
        for name in [name for name in self.start.settings if name in _OWN]:
            tree, item = self.start.settings[name][-1]
            value = self.start.look(tree)
            if not isinstance(value, Number):
                self.code.unread[f"line {item.line}: {item.text[:40]!r}"] = None
                continue
            if name == "PRESS":
                what = f"{item.where}: PRESS is {value.value:g}, and no unit; taken as Pa."
                warnings.warn(what, stacklevel=5)
            found[_OWN[name]] = value.value
        held: dict[str, float] = {}
        for name in [n for n in self.code.settings if n in STATE and n in _OWN and n != "PRESS"]:
            values = {self.code.look(setting.tree) for setting in self.code.settings[name]}
            if len(values) == 1 and isinstance(value := values.pop(), Number):
                held[name] = value.value
        for name, number in held.items():
            del self.code.settings[name]  # rates and laws alike have the condition of the run
            found[STATE[name]] = number
        return found


def _calls(trees: list[Expression]) -> Iterator[Call]:
    trees = list(trees)
    while trees:
        tree = trees.pop()
        if isinstance(tree, Call):
            yield tree
            trees += tree.arguments
