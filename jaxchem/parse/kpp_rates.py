"""The rates of a KPP mechanism as expressions, and what they name.

Names are the same in upper and lower case; of what inlined code sets twice, rates see the last. A
concentration is ``C(ind_H2O)``; a bare ``H2O`` that nothing assigns is a variable of the host, here
the air's, even where a species has that name, and any other bare species is its concentration.
"""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

from ..brief import few
from ..expression import Call, Expression, Name, Number, call, choose, show
from ..rates import CONDITIONS, LAWS, mcm
from .common import INTRINSICS, expression, host_call
from .kpp_code import decided
from .kpp_hosts import host_law
from .kpp_inlined import STATE, Code, canonical
from .kpp_language import Item
from .kpp_statements import NotArithmetic, arithmetic

__all__ = ["Rates"]

_FUNCTIONS = {
    **{fortran.upper(): name for fortran, name in INTRINSICS.items()},
    **{"ALOG": "log", "ALOG10": "log10", "DMIN1": "min", "DMAX1": "max"},
    **{"AMIN1": "min", "AMAX1": "max"},
}
_LAWS = {name.upper(): name for name in LAWS}
_DEEPEST_RATE = 200
_LONGEST = 5000
"""Characters of a rate in which others are written out."""
_BY_HOST = re.compile(r"J\w*|PHOTOL|K?HET\w*|TUV\w*|SCALED_J|MCMJ|C|VAR|FIX", re.IGNORECASE)
"""Functions and arrays that are left to the host without saying so."""
_MOST_STEPS = 100_000
"""Parts of a rate, with all that it names written out."""


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
            found = self.known.get(text)
            if found is None:
                found = self.resolve(self.attempt(lambda: arithmetic(text), item), item)
            self.rates[j] = self.known[text] = found
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
            if key in ("M", *mcm.AIR) and key in self.declared and key not in self.code.settings:
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
        key, _, turn = name.upper().partition("@")
        if key in self.code.settings:
            return self.setting(key, int(turn or len(self.code.settings[key])), item)
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

    def setting(self, key: str, turn: int, item: Item) -> Expression:
        """What a setting of a name is called here; it is noted as a quantity or a pool."""
        settings, own = self.code.settings[key], self.code.spelling[key]
        own = f"{own}_" if own in CONDITIONS else own
        own = own if turn == len(settings) else f"{own}@{turn}"
        if own in self.defining:
            raise item.fail(f"{own} is defined by itself, in a circle")
        if own in self.defined or own in self.pools:
            return Name(own)
        tree, place = settings[turn - 1]
        if isinstance(tree, NotArithmetic):
            raise place.fail(str(tree))
        if tree is None:
            self.defined[own] = None
            return Name(own)
        self.places["quantities", own] = self.places["pools", own] = place.where
        if members := self.members(key, tree):
            absent = [n for n in members if n[4:] not in self.declared and n not in self.species]
            if absent:
                self.missing.setdefault(own, []).extend(n[4:] for n in absent)
            weights = {self.species[m]: w for m, w in members.items() if m in self.species}
            if weights := {species: weight for species, weight in weights.items() if weight}:
                self.pools[own] = weights
            else:
                self.defined[own] = Number(0.0)
            return Name(own)
        if len(self.defining) > 50:
            raise place.fail("names are defined by one another more than 50 deep")
        self.defining.append(own)
        tree = self.resolve(tree, place)
        self.defining.pop()
        self.defined[own] = tree
        return Name(own)

    def members(self, key: str, tree: Expression) -> dict[str, float]:
        """The concentrations that a plain sum has, such as IND_A, over all settings of its name."""
        found: dict[str, float] = {}
        waiting: list[tuple[Any, float]] = [(tree, 1.0)]
        for _ in range(_MOST_STEPS):
            if not waiting:
                return found
            part, weight = waiting.pop()
            match part:
                case Name(name) if name.startswith(f"{key}@"):
                    above = self.code.settings[key][int(name.partition("@")[2]) - 1]
                    waiting.append((above.tree, weight))
                case Call("+" | "-" as sign, (first, second)):
                    waiting += [(second, weight if sign == "+" else -weight), (first, weight)]
                case Call("neg", (first,)):
                    waiting.append((first, -weight))
                case Call("*", (Number(factor), second)):
                    waiting.append((second, weight * factor))
                case Call("C" | "c", (Name(member),)):
                    found[member.upper()] = found.get(member.upper(), 0.0) + weight
                case Number(0.0):
                    pass
                case _:
                    break
        return {}

    def photolysis(self, tree: Call, item: Item) -> Expression:
        """J(4) and J(J_NO2) of the MCM by their number; any other unknown call by its text."""
        text = canonical(show(tree))
        if text in self.code.settings:
            return self.name(text, item)
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
            if quantity.upper() not in self.code.settings or quantity == name:
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
        if held := [name for name in STATE if name in self.code.settings and name != "PRESS"]:
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


def _operator(function: str) -> bool:
    return not function.isidentifier() or function in ("neg", "and", "or", "not")
