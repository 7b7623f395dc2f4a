"""The rates of a KPP mechanism as expressions: what inlined code assigns, and what rates name.

Names are the same in upper and lower case. Assignments run in order, so that what is set twice is
one thing between the two and another after them; rates see the last. A concentration is
``C(ind_H2O)``; a bare ``H2O`` that nothing assigns is a variable of the host, here the air's, even
where a species has that name, and any other bare species is its concentration.
"""

import math
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import NamedTuple

from ..brief import few
from ..expression import Call, Expression, Name, Number, call, choose, show
from ..rates import CONDITIONS, LAWS, mcm
from .common import INTRINSICS, expression, host_call, separated
from .kpp_code import Function, NotArithmetic, decided, functions, is_fortran, statements
from .kpp_hosts import host_law
from .kpp_language import Item

__all__ = ["STATE", "STATEMENT", "Code", "Rates"]

_LANGUAGES = ("F90", "F77", "C", "MATLAB")
_FUNCTIONS = {
    **{fortran.upper(): name for fortran, name in INTRINSICS.items()},
    **{"ALOG": "log", "ALOG10": "log10", "DMIN1": "min", "DMAX1": "max"},
    **{"AMIN1": "min", "AMAX1": "max"},
}
STATE = {
    **{name.upper(): name for name in CONDITIONS},
    **{"TEMP": "temperature", "M": "density", "NUMDEN": "density", "CAIR": "density"},
    **{"C_M": "density"},
    **{"PRESS": "pressure"},
}
"""Conditions by what KPP and its hosts call them."""
_LAWS = {name.upper(): name for name in LAWS}
_DEEPEST_RATE = 200
_LONGEST = 5000
"""Characters of a rate in which others are written out."""
_ZERO = r"(?:0+(?:\.0*)?|\.0+)(?:[ED][+-]?\d{1,4})?(?:_\w+)?"
_WEIGHT = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[ED][+-]?\d{1,4})?(?:_\w+)?"
_MEMBER = rf"(?:{_ZERO}|(?:{_WEIGHT}\*)?C\(IND_\w+\))"
_POOL = re.compile(rf"[+-]?{_MEMBER}(?:[+-]{_MEMBER})*", re.ASCII)
_MEMBERS = re.compile(rf"([+-]?)(?:({_WEIGHT})\*)?C\((\w+)\)", re.ASCII)
STATEMENT = re.compile(r"([A-Za-z]\w*)\s*=(?!=)\s*(.+)", re.DOTALL)
_LABEL = re.compile(r"(?:\d+\s+(?=[A-Za-z])|\w+\s*:\s*(?=(?:IF|DO|SELECT|WHERE)\b))", re.IGNORECASE)
_RETURN = re.compile(r"IF\s*\(.*\)\s*(?:RETURN|EXIT|CYCLE|GO\s*TO\b.*)$", re.IGNORECASE | re.DOTALL)
_PARAMETER = re.compile(r"PARAMETER\s*\((.*)\)", re.IGNORECASE | re.DOTALL)
_WHOLE = re.compile(r"(?:^|[(,+\-]|\*\*)\s*(\d+\s*/\s*\d*[1-9]\d*)(?![\w.])")
_WORD = re.compile(r"[A-Za-z]\w*", re.ASCII)
_ELEMENT = re.compile(r"([A-Za-z]\w*)\s*(\([^=]*\))\s*=(?!=)\s*(.+)", re.DOTALL)
_IF = re.compile(r"IF\s*(\(.*\))\s*(\w+\s*=(?!=).*)", re.IGNORECASE | re.DOTALL)
_PRESENT = re.compile(r"\(\s*ind_(\w+)\s*(?:>|/=|\.gt\.|\.ne\.)\s*0\s*\)", re.IGNORECASE)
_BY_HOST = re.compile(r"J\w*|PHOTOL|K?HET\w*|TUV\w*|SCALED_J|MCMJ|C|VAR|FIX", re.IGNORECASE)
"""Functions and arrays that are left to the host without saying so."""
_MOST_STEPS = 100_000
"""Parts of a rate, with all that it names written out."""
_BLOCK = re.compile(r"(IF\b.*\bTHEN|DO\b|SELECT\b|WHERE\b)", re.IGNORECASE)
_END = re.compile(r"END\s*(IF|DO|SELECT|WHERE)", re.IGNORECASE)


class _Assignment(NamedTuple):
    """What inlined code gives to a name; `text` is nothing where the user has to say it."""

    order: int
    text: str | None
    item: Item


class Code:
    """What the inlined code of a mechanism assigns and defines.

    Args:
        inlined: language and kind, such as F90_RCONST -> its pieces.
        present: the species that some equation has, in capitals.

    Attributes:
        assigned: name in capitals -> what it is given, in order.
        spelling: name in capitals -> as it is written first.
        elements: of arrays, by their canonical text.
        functions: by their names in capitals.
        unread: what is no Fortran, with its line.
    """

    def __init__(self, inlined: Mapping[str, list[Item]], present: Collection[str]):
        self.inlined, self.present = inlined, present
        self.spelling: dict[str, str] = {}
        self.assigned: dict[str, list[_Assignment]] = {}
        self.elements: dict[str, list[_Assignment]] = {}
        self.functions: dict[str, Function] = {}
        for language in _LANGUAGES[1::-1]:  # what F90 has goes before
            for kind in ("UTIL", "RATES"):
                self.functions |= functions(self.inlined.get(f"{language}_{kind}", []))
        self.blocks = 0  # of code that are open: what is assigned there is left to the user
        self.order = 0
        self.unread: list[str] = []
        self.mentioned: dict[str, int] = {}  # when a name was last read
        for kind in ("GLOBAL", "RCONST"):
            for statement, item in self.statements(kind):
                declared, _, values = statement.rpartition("::")
                parameter = _PARAMETER.fullmatch(statement)
                if declared or parameter:
                    for part in separated(parameter[1] if parameter else values):
                        if STATEMENT.fullmatch(part.strip()):
                            self.assign(part.strip(), item)
                else:
                    self.assign(_LABEL.sub("", statement), item)

    def statements(self, kind: str) -> Iterator[tuple[str, Item]]:
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
        if statement.upper() == "RETURN" or _RETURN.match(statement):
            raise item.fail(f"{statement[:60]!r}: what follows depends on it; write it without")
        # nothing is made of code in C and MATLAB but that it says something of a name
        open_ = self.blocks > 0 or not _in_fortran(item)
        self.order += 1
        condition = ""
        if guarded := _IF.fullmatch(statement):
            condition, statement = guarded[1], guarded[2]
            if present := _PRESENT.fullmatch(condition):
                if present[1].upper() not in self.present:
                    return
                condition = ""
        match = STATEMENT.fullmatch(statement)
        if match is None:
            self.passed_over(statement, item)
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
        if sign and before.strip().upper() == key and earlier and _summed(earlier[-1].text, rest):
            read = self.mentioned.get(key, 0) > earlier[-1].order
            text = text if read else f"{earlier.pop().text} + {rest}"  # a sum over many lines
        self.mentioned |= dict.fromkeys((n.upper() for n in _WORD.findall(text)), self.order)
        earlier.append(_Assignment(self.order, text, item))

    def passed_over(self, statement: str, item: Item) -> None:
        """Notes a statement that is no Fortran, so that it may be a slip."""
        if _in_fortran(item) and not is_fortran(statement):
            self.unread.append(f"line {item.line}: {statement[:40]!r}")

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
            return
        self.mentioned |= dict.fromkeys((n.upper() for n in _WORD.findall(match[3])), self.order)
        text = None if open_ else match[3]
        place = _canonical(match[1] + match[2])
        if ":" in place and not open_:
            raise item.fail(f"{statement[:60]!r}: write one element of the array at a time")
        self.elements.setdefault(place, []).append(_Assignment(self.order, text, item))


class Rates:
    """The rates of a mechanism, and what they name.

    Args:
        filename: for messages.
        code: what is inlined.
        equations: the text of each rate, and its entry.
        species: those that equations have.
        declared: names in capitals -> species, whether equations have them or not.
        numbers: CFACTOR, where it is set.

    Attributes:
        rates: by equation, as far as they are worked out.
        pools: of species that rates name.
        defined: quantities, `None` where the user gives them.
        places: of both, for messages.
        supplied: what the file does not hold -> where it is from.
    """

    def __init__(
        self,
        filename: str,
        code: Code,
        equations: Sequence[tuple[str, Item]],
        species: Sequence[str],
        declared: Mapping[str, str],
        numbers: Mapping[str, float],
    ):
        self.filename, self.code, self.equations = filename, code, equations
        self.declared, self.numbers = declared, numbers
        self.species = {f"IND_{n.upper()}": n for n in species}
        self.rates: list[Expression | None] = [None] * len(equations)
        self.known: dict[str, Expression] = {}  # rates by their text
        self.pools: dict[str, dict[str, float]] = {}
        self.defined: dict[str, Expression | None] = {}
        self.places: dict[tuple[str, str], str] = {}
        self.supplied: dict[str, str] = {}
        self.active: list[int] = []
        self.defining: list[str] = []
        self.depth, self.steps = 0, 0
        self.now = math.inf  # the statement that is resolved; rates come after all
        self.ambiguous: dict[str, Item] = {}
        self.called: dict[str, str] = {}
        self.named: dict[str, str] = {}
        self.undefined: dict[str, set[str]] = {}
        self.beyond: dict[str, str] = {}
        self.missing: dict[str, list[str]] = {}

    def rate(self, j: int) -> Expression:
        """The rate of an equation, which others may name as RCONST(j + 1)."""
        found = self.rates[j]
        if found is None:
            text, item = self.equations[j]
            if j in self.active:
                raise item.fail(f"RCONST({j + 1}) is defined by itself")
            self.active.append(j)
            self.steps = 0 if len(self.active) == 1 else self.steps
            now, self.now = self.now, math.inf
            found = self.known.get(text) or self.resolve(_parsed(text, item), item)
            self.rates[j] = self.known[text] = found
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
        """One level of `resolve`: a name, or a call of a law, of inlined code or of the host."""
        if isinstance(tree, Number):
            return tree
        if isinstance(tree, Name):
            key = tree.name.upper()
            if key in ("M", *mcm.AIR) and key in self.declared and key not in self.code.assigned:
                self.ambiguous.setdefault(tree.name, item)
            return self.name(tree.name, item)
        key = tree.function.upper()
        if key in ("REAL", "DBLE") and tree.arguments:
            return self.resolve(tree.arguments[0], item)
        if key == "RCONST" and isinstance(tree.arguments[0] if tree.arguments else 0, Number):
            j = int(tree.arguments[0].value) - 1
            if j + 1 != tree.arguments[0].value:
                raise item.fail(f"RCONST({tree.arguments[0].value:g}): write a whole number")
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
        if function := self.code.functions.get(key):
            try:
                body = self.attempt(lambda: function(tree.arguments), item)
            except NotArithmetic as reason:
                self.beyond.setdefault(function.name, str(reason))
                return self.photolysis(tree, item)
            return self.resolve(body, item)
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
        name = law or _FUNCTIONS.get(key, tree.function)
        if name in ("min", "max") and len(arguments) > 2:
            return self.attempt(lambda: reduce(partial(call, name), arguments), item)
        return self.attempt(lambda: call(name, *arguments), item)

    def attempt(self, make: Callable[[], Expression], item: Item) -> Expression:
        """What is made, or the error of this entry."""
        try:
            return make()
        except NotArithmetic:
            raise
        except ValueError as error:
            raise item.fail(str(error)) from None

    def concentration(self, species: str) -> Expression:
        """The concentration of a species, in a rate."""
        self.pools.setdefault(f"C(ind_{species})", {species: 1.0})
        return Name(f"C(ind_{species})")

    def name(self, name: str, item: Item) -> Expression:
        """A name as a condition, a number, a pool or a quantity, whose definition is noted."""
        key = name.upper()
        if key in self.code.spelling:
            own = self.code.spelling[key]
            own = f"{own}_" if own in CONDITIONS else own
            own, version = self.version(own, self.code.assigned[key])
            if own in self.defining:
                raise item.fail(f"{own} is defined by itself, in a circle")
            if own not in self.defined and own not in self.pools:
                self.define(own, version)
            return Name(own)
        if key.startswith("'"):
            return Name(name)
        if key.startswith("IND_"):
            return Number(float(key in self.species))
        if key == "CFACTOR":
            return Number(self.numbers.get(key, 1.0))
        if key in STATE:
            if key == "PRESS":
                self.supplied[key] = "the pressure in Pa"
            return Name(STATE[key])
        if key == "SUN":
            self.defined["SUN"] = Call("SUNLIGHT", ())
            return Name("SUN")
        if key == "C_H2O":
            return self.name("H2O", item)
        if key not in mcm.AIR and (species := self.species.get(f"IND_{key}")):
            return self.concentration(species)
        name = self.named.setdefault(key, name)
        own = next((n for n in (name, key) if self.published(n, item)), name)
        self.defined.setdefault(own, None)
        return Name(own)

    def version(self, own: str, versions: list[_Assignment]) -> tuple[str, _Assignment]:
        """The setting of a name that is in force, and what it is called here."""
        before = [n for n, each in enumerate(versions) if each.order < self.now]
        at = before[-1] if before else len(versions) - 1
        return (own if at == len(versions) - 1 else f"{own}@{at + 1}"), versions[at]

    def define(self, own: str, found: _Assignment) -> None:
        """Notes a quantity, or a pool where it is a plain sum of concentrations."""
        order, text, item = found
        if text is None:
            self.defined[own] = None
            return
        self.places["quantities", own] = self.places["pools", own] = item.where
        flat = re.sub(r"\s", "", text).upper()
        if "C(" in flat and _POOL.fullmatch(flat):
            known: dict[str, float] = {}
            for sign, weight, member in _MEMBERS.findall(flat):
                if member[4:] not in self.declared and member not in self.species:
                    self.missing.setdefault(own, []).append(member[4:])
                if (species := self.species.get(member)) is not None:
                    number = float(weight.partition("_")[0].replace("D", "E") or 1)
                    known[species] = known.get(species, 0.0) + float(f"{sign}1") * number
            known = {species: weight for species, weight in known.items() if weight}
            if known:
                self.pools[own] = known
            else:
                self.defined[own] = Number(0.0)
            return
        if len(self.defining) > 50:
            raise item.fail("names are defined by one another more than 50 deep")
        self.defining.append(own)
        now, self.now = self.now, order
        tree = self.resolve(_parsed(text, item), item)
        self.now = now
        self.defining.pop()
        self.defined[own] = tree

    def photolysis(self, tree: Call, item: Item) -> Expression:
        """J(4) and J(J_NO2) of the MCM by their number; any other unknown call by its text."""
        text = _canonical(show(tree))
        if text in self.code.elements:
            own, version = self.version(text, self.code.elements[text])
            if own in self.defining:
                raise item.fail(f"{text} is defined by itself, in a circle")
            if own not in self.defined:
                self.define(own, version)
            return Name(own)
        if tree.function.upper() == "J" and len(tree.arguments) == 1:
            (argument,) = tree.arguments
            number = (
                int(argument.value)
                if isinstance(argument, Number) and argument.value in mcm.PHOTOLYSIS
                else mcm.PHOTOLYSIS_NAMES.get(argument.name.upper())
                if isinstance(argument, Name)
                else None
            )
            if number in mcm.PHOTOLYSIS:
                self.published(f"J{number}", item)
                return Name(f"J{number}")
        text = self.called.setdefault(text, host_call(tree))
        self.defined.setdefault(text, None)
        name, given = tree.function, [a.value for a in tree.arguments if isinstance(a, Number)]
        law = len(given) > 1 or any(value != int(value) for value in given)
        named = [a.name.upper() for a in tree.arguments if isinstance(a, Name)]
        law = law and all(other in STATE for other in named)  # else the host's own state
        if law and not _BY_HOST.fullmatch(name) and name.upper() not in self.code.functions:
            self.undefined.setdefault(name, set()).add(text)
        return Name(text)

    def published(self, name: str, item: Item) -> bool:
        """Takes over what the MCM, or the composition of air, says of a name."""
        if name not in mcm.DEFINITIONS:
            return False
        definitions = mcm.definitions([name])
        for quantity in definitions:
            if quantity.upper() not in self.code.assigned or quantity == name:
                continue
            if quantity not in mcm.AIR:
                raise item.fail(
                    f"{name!r} is the MCM's, made of its {quantity!r}, which this file assigns "
                    f"otherwise; assign {name!r} too"
                )
            self.name(quantity, item)
        self.supplied[name] = mcm.origin(name)
        for quantity, tree in definitions.items():
            self.defined.setdefault(quantity, tree)
        return True

    def tell(self) -> None:
        """Warns of functions whose calls are left to the user though they look like rate laws."""
        told = [
            f": {len(members)} members of {pool} are no species of the mechanism and left out: "
            f"{few(members)}."
            for pool, members in self.missing.items()
        ]
        if held := [name for name in STATE if name in self.code.assigned and name != "PRESS"]:
            told.append(
                f" assigns {', '.join(held)}: rates that name it have that value, and laws the "
                "condition of the run."
            )
        if self.beyond:
            listed = "; ".join(f"{name}: {why}" for name, why in self.beyond.items())
            told.append(
                ": functions that are no arithmetic, whose calls are quantities to be given: "
                f"{listed}."
            )
        if self.undefined:
            listed = ", ".join(
                f"{name} ({len(texts)} calls)" for name, texts in self.undefined.items()
            )
            told.append(
                f": neither defined here nor known, so that calls are quantities to be given: "
                f"{listed}. Is F90_RATES in another file, such as the .def or gckpp.kpp?"
            )
        for message in told:
            warnings.warn(f"{self.filename}{message}", stacklevel=6)
        if not any(n in mcm.DEFINITIONS and n not in mcm.AIR for n in self.defined):
            for name, item in self.ambiguous.items():
                warnings.warn(
                    f"{item.where}: {name!r} in the rate is the air's, not the species of that "
                    f"name, which is C(ind_{name}).",
                    stacklevel=5,
                )


def _in_fortran(item: Item) -> bool:
    return item.section.removeprefix("INLINE ").startswith(("F90_", "F77_"))


def _parsed(text: str, item: Item) -> Expression:
    """A text of Fortran as a tree; whole numbers are not divided, as Fortran cuts the rest."""
    if found := _WHOLE.search(text):
        raise item.fail(
            f"{found[1]!r} divides whole numbers, of which Fortran keeps the whole part alone; "
            "write 1.0/2.0"
        )
    return expression(item.file, item.line, text.replace('"', "'"))


def _summed(*texts: str | None) -> bool:
    """Whether all of these are sums of concentrations."""
    flat = [re.sub(r"\s", "", text or "?").upper() for text in texts]
    return all(_POOL.fullmatch(text) for text in flat)


def _canonical(text: str) -> str:
    """A call in a form that blanks, case and decimal points do not change."""
    return re.sub(r"(\d)\.0\b", r"\1", re.sub(r"[\s\"]", "", text)).upper()


def _operator(function: str) -> bool:
    return not function.isidentifier() or function in ("neg", "and", "or", "not")
