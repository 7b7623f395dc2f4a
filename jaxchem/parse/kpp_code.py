"""What the Fortran that a KPP mechanism inlines makes of its variables.

A value becomes an expression of what is not assigned. Conditions, bounds of loops and places in
arrays that are decided by then are decided on reading; other conditions become `positive`. A
function becomes an expression of its arguments, or says why it is none.
"""

import itertools
import math
import re
from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..expression import Call, Expression, Name, Number, choose, rewrite, show, size
from .kpp_language import Item
from .kpp_statements import THERE, TYPE, NotArithmetic, Statement, block, statements, walk

__all__ = ["Function", "Run", "decided", "functions"]

_HEADER = re.compile(
    rf"(?:(?:ELEMENTAL|PURE|RECURSIVE)\s+)*{TYPE}?\s*(?:(?:ELEMENTAL|PURE)\s+)*"
    r"FUNCTION\s+(\w+)\s*\(([^)]*)\)(?:\s*RESULT\s*\(\s*(\w+)\s*\))?",
    re.IGNORECASE | re.ASCII,
)
_END = re.compile(r"END(?:\s*(?:FUNCTION|SUBROUTINE)(?:\s+\w+)?)?", re.IGNORECASE)
_MOST_NODES, _MOST_TURNS, _MOST_CHOICES = 4000, 10_000, 100
"""Size of an expression that a function is made into, turns of its loops, and its conditions."""


class Function(NamedTuple):
    """A function as it is written.

    Attributes:
        name: with its case.
        arguments: in capitals.
        result: the variable that it gives back, in capitals.
        body: what it does.
        required: how many of the arguments have to be given.
        unknown: why it is no expression; empty where it may be one.
        where: file and line.
    """

    name: str
    arguments: tuple[str, ...]
    result: str
    body: Sequence[Statement]
    required: int
    unknown: str
    where: str

    def __call__(self, given: Sequence[Expression]) -> Expression:
        """The function of these arguments; other names stay as they are.

        Raises:
            NotArithmetic: with the reason.
            ValueError: another number of arguments.
        """
        if self.unknown:
            raise NotArithmetic(self.unknown)
        if not self.required <= len(given) <= len(self.arguments):
            raise ValueError(
                f"{self.name} ({self.where}) takes ({', '.join(self.arguments)}), "
                f"not {len(given)} arguments"
            )
        known: dict[str, Any] = dict(zip(self.arguments, given, strict=False))
        there = {f"{THERE}{a}": Number(float(a in known)) for a in self.arguments}
        call_ = Run({**known, **there})
        call_.run(self.body)
        found = call_.known.get(self.result)
        if found is None:
            raise NotArithmetic(f"it does not set its result, {self.result}, in every case")
        return found


def functions(items: Sequence[Item]) -> dict[str, Function]:
    """The functions of inlined code by their names in capitals.

    Raises:
        MechanismError: one that does not end.
    """
    found: dict[str, Function] = {}
    for lines in map(statements, items):
        for first in lines:
            if (header := _HEADER.fullmatch(first.text)) is None:
                continue
            inner: list[Item] = []
            for line in lines:
                if _END.fullmatch(line.text):
                    break
                inner.append(line)
            else:
                raise first.fail(f"FUNCTION {header[1]} has no END FUNCTION; add it")
            name = header[1]
            arguments = tuple(a.strip().upper() for a in header[2].split(",") if a.strip())
            result = (header[3] or name).upper()
            body, unknown = (), ""
            try:
                body = block(inner)
                if header[0].upper().startswith("INTEGER"):
                    body.insert(0, ("integer", first, result))
            except NotArithmetic as reason:
                unknown = str(reason)
            arrays = [part[2] for part in walk(body) if part[0] == "array"]
            if whole := [array for array in arrays if array.upper() in arguments]:
                unknown = f"it has an array argument, {whole[0]}"
            optional = {
                word.upper()
                for line in inner
                if re.search(r"\bOPTIONAL\b", line.text.partition("::")[0], re.IGNORECASE)
                for word in re.findall(r"\w+", line.text.partition("::")[2])
            }
            needed = [n for n, a in enumerate(arguments, start=1) if a not in optional]
            required, where = max(needed, default=0), first.where
            found[name.upper()] = Function(name, arguments, result, body, required, unknown, where)
    return found


class Run:
    """What statements make of variables, one after the other.

    Args:
        known: name in capitals -> value.

    Attributes:
        known: the same as far as it has come; elements of arrays have names such as ``X(1,2)``,
            and what is not set in every case is nothing.
        sizes: of the arrays that are declared.
        integers: the variables that have whole numbers.
        done: whether it has returned.
    """

    def __init__(self, known: Mapping[str, Expression | None]):
        self.known: MutableMapping[str, Expression | None] = dict(known)
        self.sizes: dict[str, tuple[int, ...]] = {}
        self.integers: set[str] = set()
        self.turns, self.done = 0, False

    def run(self, body: Sequence[Statement]) -> None:
        """Goes through statements until it has returned."""
        for kind, item, *parts in body:
            if not self.done:
                getattr(self, f"_{kind}")(item, *parts)

    def put(self, item: Item, name: str, tree: Expression | None) -> None:
        """Gives a variable its value."""
        if tree is not None and size(tree, _MOST_NODES) > _MOST_NODES:
            raise NotArithmetic("written out it is too long")
        self.known[name] = tree

    def place(self, name: str, places: Sequence[Expression]) -> str:
        """The name of an element of an array."""
        sizes = self.sizes.get(name)
        if sizes is None or len(sizes) != len(places):
            raise NotArithmetic(f"{name} is no array of {len(places)} dimensions")
        numbers = [self.number(place) for place in places]
        if not all(1 <= n <= size for n, size in zip(numbers, sizes, strict=True)):
            raise NotArithmetic(f"{name} has no element {numbers}")
        return f"{name}({','.join(map(str, numbers))})"

    def look(self, tree: Any) -> Any:
        """A value by which something has to be decided."""
        return tree

    def value(self, tree: Any) -> Expression:
        """An expression with what is known of its names."""
        if isinstance(tree, NotArithmetic):
            raise tree

        def fill(part: Expression) -> Expression:
            if isinstance(part, Name):
                if (found := self.known.get(part.name.upper(), part)) is None:
                    raise NotArithmetic(f"it does not set {part.name} in every case")
                return found
            if isinstance(part, Call):
                trim = part.function.upper() == "TRIM" and len(part.arguments) == 1
                return part.arguments[0] if trim else self.element(part)
            return part

        return _or_refuse(lambda: rewrite(tree, fill))

    def element(self, part: Call) -> Expression:
        """What a call is where it is an element of an array."""
        if part.function.upper() not in self.sizes:
            return part
        own = self.place(part.function.upper(), part.arguments)
        if (found := self.known.get(own)) is None:
            raise NotArithmetic(f"it reads {own}, which is not set")
        return found

    def number(self, tree: Any) -> int:
        """A whole number."""
        found = self.look(self.value(tree))
        if not isinstance(found, Number) or found.value != int(found.value):
            raise NotArithmetic(f"{show(found)!r} is no number that the call gives")
        return int(found.value)

    def apart(self, act: Callable[[], None]) -> dict[str, Expression | None]:
        """What an act would change."""
        before, changes = self.known, {}
        self.known = ChainMap(changes, before)
        try:
            act()
        finally:
            self.known = before
        return changes

    def _set(self, item: Item, name: str, tree: Any) -> None:
        key = name.upper()
        if key in self.sizes:
            return self._mask(item, [(None, [("set", item, name, tree)])])
        value = self.value(tree)
        if key.partition("(")[0] in self.integers and isinstance(value, Number):
            value = Number(float(int(value.value)))
        elif key.partition("(")[0] in self.integers and isinstance(value, Call):
            raise NotArithmetic(f"it cuts {name} to a whole number")
        return self.put(item, key, value)

    def _store(self, item: Item, name: str, places: Sequence[Any], tree: Any) -> None:
        self._set(item, self.place(name.upper(), [self.value(p) for p in places]), tree)

    def _array(self, item: Item, name: str, sizes: Sequence[Any]) -> None:
        self.sizes[name.upper()] = tuple(map(self.number, sizes))

    def _integer(self, item: Item, name: str) -> None:
        self.integers.add(name)

    def _table(self, item: Item, name: str, values: Sequence[Any]) -> None:
        places = self._places(name)
        if len(places) != len(values):
            raise NotArithmetic(f"the table of {name} has {len(values)} values")
        for place, value in zip(places, values, strict=True):
            self._set(item, place, value)

    def _places(self, name: str) -> list[str]:
        """All elements of an array, the first place running fastest; of what is none its name."""
        sizes = self.sizes.get(name, ())
        every = itertools.product(*(range(1, size + 1) for size in reversed(sizes)))
        if math.prod(sizes) > _MOST_TURNS:
            raise NotArithmetic(f"{name} has too many elements")
        return [f"{name}({','.join(map(str, each[::-1]))})" if each else name for each in every]

    def _stop(self, item: Item) -> None:
        self.done = True

    def _other(self, item: Item, what: str) -> None:
        raise NotArithmetic(f"it has {what}")

    def _turned(self, times: int) -> None:
        self.turns += times
        if self.turns > _MOST_TURNS:
            raise NotArithmetic("its loops take too many turns")

    def _do(self, item: Item, name: str, bounds: Sequence[Any], body: Sequence[Statement]) -> None:
        first, last, step = [*map(self.number, bounds), 1][:3]
        if not step:
            raise NotArithmetic("it has a loop whose step is zero")
        turns = range(first, last + (1 if step > 0 else -1), step)
        for value in turns:
            self._turned(1)
            self.known[name] = Number(float(value))
            self.run(body)
        self.known[name] = Number(float(first + len(turns) * step))

    def _branch(self, item: Item, choices: Sequence[tuple[Any, Sequence[Statement]]]) -> None:
        if not choices:
            return None
        (condition, body), *rest = choices
        test = None if condition is None else decided(self.look(self.value(condition)))
        if test is None or isinstance(test, Number):
            return self.run(body) if test is None or test.value else self._branch(item, rest)
        yes = self.apart(lambda: self.run(body))
        no = self.apart(lambda: self._branch(item, rest))
        if self.done:
            raise NotArithmetic("it has a RETURN under a condition that the call does not decide")
        for name in {**yes, **no}:
            a, b = (part[name] if name in part else self.known.get(name) for part in (yes, no))
            either = None  # where it is not set in every case
            if a is not None and b is not None:
                either = _or_refuse(partial(choose, test, a, b))
            self.put(item, name, either)
        return None

    def _mask(self, item: Item, choices: Sequence[tuple[Any, Sequence[Statement]]]) -> None:
        """WHERE: what is done with each element of arrays of one size, whatever their names."""
        inner = [part for _, body in choices for part in body]
        sizes = {self.sizes.get(part[2].upper()) if part[0] == "set" else None for part in inner}
        if len(sizes) != 1 or None in sizes:
            raise NotArithmetic("it has a WHERE that does not set arrays of one size")

        def at(tree: Any) -> Any:
            def change(part: Expression) -> Expression:
                if isinstance(part, Name) and self.sizes.get(part.name.upper()) in sizes:
                    return self.element(Call(part.name, where))
                return part

            return tree if isinstance(tree, NotArithmetic | None) else rewrite(tree, change)

        places = self._places(inner[0][2].upper())
        self._turned(len(places))
        for place in places:
            behind = place[place.index("(") :]
            where = tuple(Number(float(n)) for n in behind[1:-1].split(","))
            self._branch(
                item,
                [
                    (at(test), [("set", own, f"{n}{behind}", at(tree)) for _, own, n, tree in body])
                    for test, body in choices
                ],
            )


def decided(condition: Expression) -> Expression:
    """A condition whose comparisons of texts are worked out."""

    def decide(part: Expression) -> Expression:
        if isinstance(part, Name) and part.name.lower() in (".true.", ".false."):
            return Number(float(part.name.lower() == ".true."))
        if isinstance(part, Call) and part.function in ("==", "/="):
            one, other = (re.sub(r"\s*'$", "'", getattr(a, "name", "")) for a in part.arguments)
            if one.startswith("'") and other.startswith("'"):
                return Number(float((one == other) == (part.function == "==")))
        return part

    return rewrite(condition, decide)


def _or_refuse(make: Callable[[], Expression]) -> Expression:
    try:
        return make()
    except NotArithmetic:
        raise
    except ValueError as error:
        raise NotArithmetic(str(error)) from None
