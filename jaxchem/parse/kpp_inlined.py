"""What the inlined code of a KPP mechanism gives to names: its statements are followed in order.

A name that is set again is another thing from there on; each setting stays a quantity of its own,
``NAME@1``, of which the last has the name itself. What depends on what is not decided here, and is
no condition either, such as a loop over all reactions, is left to the user.
"""

import functools
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..expression import Call, Expression, Name, Number, rewrite, show
from ..rates import CONDITIONS
from .kpp_code import Function, Run, functions
from .kpp_language import Item
from .kpp_statements import NotArithmetic, Statement, block, is_fortran, statements, walk

__all__ = ["STATE", "Code", "canonical"]

STATE = {
    **{name.upper(): name for name in CONDITIONS},
    **{"TEMP": "temperature", "M": "density", "NUMDEN": "density", "CAIR": "density"},
    **{"C_M": "density"},
    **{"PRESS": "pressure"},
}
"""Conditions by what KPP and its hosts call them."""
_LANGUAGES = ("F90", "F77", "C", "MATLAB")
_ARRAYS = ("C", "VAR", "FIX")
_JUMP = re.compile(r"(?:IF\s*\(.*\)\s*)?GO\s*TO\b", re.IGNORECASE | re.DOTALL)


class _Setting(NamedTuple):
    """What a name is given: nothing where the user has to say it, the error of what is unread."""

    tree: Expression | NotArithmetic | None
    item: Item


class Code(Run):
    """The inlined code of a mechanism.

    Args:
        inlined: language and kind, such as F90_RCONST -> its pieces.
        present: the species that some equation has, in capitals.
        kinds: what is followed, in order.

    Attributes:
        settings: what names in capitals, and elements of arrays, are given, in order.
        spelling: of names in capitals, as it is first.
        unread: what is no Fortran, with its line.
    """

    def __init__(
        self,
        inlined: Mapping[str, list[Item]],
        present: Collection[str],
        kinds: Sequence[str] = ("GLOBAL", "RCONST"),
    ):
        super().__init__({})
        # but for the start of a model, nothing is decided by the number that a condition is
        # given: the run may have another
        self.by_run = "INIT" not in kinds
        self.inlined, self.present = inlined, present
        self.settings: dict[str, list[_Setting]] = {}
        self.spelling: dict[str, str] = {}
        self.unread: dict[str, None] = {}
        self.arrays: set[str] = set()  # of which elements are set
        for kind in kinds:
            self.follow(kind)

    @functools.cached_property
    def functions(self) -> dict[str, Function]:
        """The functions of inlined code by their names in capitals."""
        kinds = ("F77_UTIL", "F77_RATES", "F90_UTIL", "F90_RATES")  # what F90 has goes before
        return functions([item for kind in kinds for item in self.inlined.get(kind, ())])

    def follow(self, kind: str) -> None:
        """Runs the code of a kind in the first language that has some."""
        language = next((n for n in _LANGUAGES if f"{n}_{kind}" in self.inlined), "")
        items = [s for i in self.inlined.get(f"{language}_{kind}", []) for s in statements(i)]
        try:
            body = block(items)
        except NotArithmetic as reason:
            raise items[0].fail(f"the code that begins here cannot be followed: {reason}") from None
        fortran = language in _LANGUAGES[:2]
        for part in walk(body):
            self.notice(part, kind, fortran)
        for part in body:
            try:
                if not fortran:  # of which nothing is made but that it says something of a name
                    raise NotArithmetic
                if part[0] == "set":
                    self.run([part])
                else:
                    self.known.update(self.apart(lambda part=part: self.run([part])))
            except NotArithmetic:
                if part[0] == "store" and kind != "INIT" and not [*self.targets(part)] and fortran:
                    what = f"{part[1].text[:60]!r}: write one element of the array at a time"
                    raise part[1].fail(what) from None
                for name in dict.fromkeys(self.targets(part)):
                    self.put(part[1], name, None)

    def notice(self, part: Statement, kind: str, fortran: bool) -> None:
        """Refuses what would be misread, and notes what is passed over."""
        what, item, *rest = part
        written = f"{item.text[:60]!r}"
        if what == "stop" or (what == "other" and _JUMP.match(item.text)):
            raise item.fail(f"{written}: what follows depends on it; write it without")
        if what == "other" and fortran and not is_fortran(item.text):
            self.unread[f"line {item.line}: {item.text[:40]!r}"] = None
        if what == "store" and rest[0].upper() == "RCONST":
            raise item.fail(f"{written}: write the rate in its equation")
        if what == "store" and rest[0].upper() in _ARRAYS:
            told = f"{item.where}: {written} is left out; set concentrations in #INITVALUES."
            warnings.warn(told, stacklevel=6)

    def targets(self, part: Statement) -> Iterator[str]:
        """What a statement, and those within it, may set."""
        for kind, _, *rest in walk([part]):
            if kind == "set":
                self.spelling.setdefault(rest[0].upper(), rest[0])
                yield rest[0].upper()
            elif kind == "store" and not any(isinstance(p, NotArithmetic) for p in rest[1]):
                yield self.place(rest[0].upper(), rest[1])

    def put(self, item: Item, name: str, tree: Any) -> None:
        """Notes a setting; what names the variable below it has that."""
        array, element, _ = name.partition("(")
        if element and array in _ARRAYS:
            return
        if element:
            self.arrays.add(array)
        found = self.settings.setdefault(name, [])
        found.append(_Setting(tree, item))
        self.spelling.setdefault(name, name)
        self.known[name] = Name(f"{name}@{len(found)}")

    def place(self, name: str, places: Sequence[Expression]) -> str:
        """An element of whatever array by its text, since the host's are declared elsewhere."""
        return canonical(show(Call(name, tuple(map(self.look, places)))))

    def element(self, part: Call) -> Expression:
        """What a call is where it is an element that is set."""
        if part.function.upper() not in self.arrays:
            return part
        return self.known.get(self.place(part.function, part.arguments)) or part

    def look(self, tree: Any) -> Any:
        """A value with the numbers that its names have, and whether there are species."""

        def change(part: Expression) -> Expression:
            while isinstance(part, Name) and part.name[:1] != "'":
                key, _, turn = part.name.upper().partition("@")
                if key.startswith("IND_") and not turn:
                    return Number(float(key[4:] in self.present))
                found = self.settings[key][int(turn) - 1].tree if turn else None
                if (key in STATE and self.by_run) or not isinstance(found, Name | Number):
                    break
                part = found
            return part

        return tree if isinstance(tree, NotArithmetic | None) else rewrite(tree, change)

    def _set(self, item: Item, name: str, tree: Any) -> None:
        self.spelling.setdefault(name.upper(), name)
        try:
            super()._set(item, name, tree)
        except NotArithmetic as reason:  # an error where the name is used
            self.put(item, name.upper(), reason)


def canonical(text: str) -> str:
    """A call in a form that blanks, case and decimal points do not change."""
    return re.sub(r"(\d)\.0\b", r"\1", re.sub(r"[\s\"]", "", text)).upper()
