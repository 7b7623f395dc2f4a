"""What rates of KROME's networks say: variables, KROME's names for the temperature, and limits."""

import re
from functools import reduce

from ..expression import Call, Expression, Name, Number, call, choose, parse, rewrite, show
from .astro import HOTTEST
from .common import INTRINSICS, fail

__all__ = ["Rates"]

_SHORTCUTS = {
    **{"t": "temperature", "logT": "log10(temperature)", "lnT": "log(temperature)"},
    **{"Te": "temperature * 8.617343e-5", "lnTe": "log(Te)", "invTe": "1 / Te"},
    **{"T32": "temperature * 0.0033333333333333335", "t3": "T32", "t4": "temperature * 1e-4"},
    **{"invT": "1 / temperature", "invT32": "1 / T32", "invTgas": "1 / temperature"},
    **{"sqrTgas": "sqrt(temperature)", "sqrT32": "sqrt(T32)"},
    **{"invsqrT": "1 / sqrTgas", "invsqrT32": "1 / sqrt(T32)"},
    **{"Tgas2": "temperature * temperature", "Tgas3": "Tgas2 * temperature"},
    **{"Tgas4": "Tgas3 * temperature", "T0": "288.0", "T02": "T0 * T0", "T03": "T02 * T0"},
    **{"T04": "T03 * T0", "T0inv": "1 / T0"},
}
"""KROME's abbreviations, each defined by what stands above it."""
_CONDITIONS = {
    "tgas": "temperature",
    "user_crate": "cosmic_ray_rate",
    "user_av": "visual_extinction",
    "user_gas_dust_ratio": "gas_to_dust",
}
_CALL = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\s*\(")
_LIMITS = {
    **{">=": "at_least", "<=": "at_most", ">": "above", "<": "below"},
    **{".ge.": "at_least", ".le.": "at_most", ".gt.": "above", ".lt.": "below"},
}
_NO_LIMIT = ("", "none", "n", "n/a", "no")
_CONDITION = re.compile(r"if\s*\((.*?)\)\s*:(.*)", re.IGNORECASE)
_COMPARISON = re.compile(r"[<>=]|\.(?:ge|le|gt|lt|eq|ne)\.", re.IGNORECASE)
_RESERVED = ("k", "n", "energy_ev")
_COLDEST = 2.73
_LARGEST = 2000  # parts of a rate, its variables written out
_DEEPEST = 45


class Rates:
    """The variables of a file, and its rates in terms of them.

    Attributes:
        line: where the reader is, for error messages.
        quantities: name -> definition, `None` where the user gives it.
        places: of the quantities, for `Network.build`.
        given: the quantities that stand for whole rates.
    """

    def __init__(self, filename: str):
        self.filename = filename
        self.line = 0
        self.quantities: dict[str, Expression | None] = {}
        self.places: dict[tuple[str, str], str] = {}
        self.variables: dict[str, str] = {}  # in small letters -> name of the quantity
        self.given: set[Expression] = set()
        self.extents: dict[str, tuple[int, int, bool]] = {}  # of variables written out

    def fail(self, message: str) -> ValueError:
        """The error about the line that is read; to be raised."""
        return fail(self.filename, self.line, message)

    def define(self, text: str) -> None:
        """Takes up ``NAME = EXPRESSION``; what it is made of must stand above it."""
        name, equals, definition = (part.strip() for part in text.partition("="))
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            array = " an array cannot be read;" if "(" in name else ""
            raise self.fail(f"'@var:{text}':{array} write '@var:NAME = EXPRESSION'")
        if name.lower() in _RESERVED:
            raise self.fail(f"{name!r} has a meaning of its own in KROME; name it otherwise")
        tree = self.expression(definition)
        old = self.variables.get(name.lower())
        if old is not None:
            if self.quantities[old] != tree:
                raise self.fail(
                    f"{name!r} is used or defined above as something else; name it otherwise"
                )
            return
        if name.lower() in _CONDITIONS or name in _CONDITIONS.values():
            if tree != Name(_CONDITIONS.get(name.lower(), name)):
                raise self.fail(f"{name!r} is a condition; name the variable otherwise")
            return
        self.declare(name, tree)

    def declare(self, name: str, tree: Expression | None) -> None:
        """Adds a quantity by its definition, `None` where the user gives its value."""
        self.variables[name.lower()] = name
        self.quantities[name] = tree
        self.places["quantities", name] = f"{self.filename}, line {self.line}"
        if tree is not None:
            self.extents[name] = self.extent(tree)

    def name(self, name: str) -> Name:
        """A name of the file: a condition, a variable, a shortcut or what the user gives."""
        key = name.lower()
        if key in _CONDITIONS:
            return Name(_CONDITIONS[key])
        if key not in self.variables:
            found = next((s for s in _SHORTCUTS if s.lower() == key), None)
            tree = None if found is None else rewrite(parse(_SHORTCUTS[found]), self.known)
            if tree == Name("temperature"):
                return Name("temperature")
            self.declare(found or name, tree)
        return Name(self.variables[key])

    def known(self, tree: Expression) -> Expression:
        """A name or call as the network has it."""
        if isinstance(tree, Name):
            return tree if tree.name == "temperature" else self.name(tree.name)
        if not isinstance(tree, Call):
            return tree
        function = INTRINSICS.get(tree.function.lower(), tree.function)
        arguments = tree.arguments
        if function in ("min", "max") and len(arguments) > 2:
            return reduce(lambda a, b: call(function, a, b), arguments)
        if function in INTRINSICS and len(arguments) != 1 + (function in ("min", "max")):
            raise ValueError(f"{show(tree)}: {function} does not take {len(arguments)} arguments")
        return call(function, *arguments)

    def expression(self, text: str) -> Expression:
        """The tree of a rate or a definition, what cannot be evaluated as a name."""
        if found := re.search('[";=]', text):
            raise self.fail(f"{text!r}: {found[0]!r} has no meaning in a rate")
        try:
            return rewrite(parse(self.quoted(text)), self.known)
        except ValueError as error:
            raise self.fail(str(error)) from None

    def quoted(self, text: str) -> str:
        """The text with calls of unknown functions in double quotes."""
        parts, start, search = [], 0, 0
        while match := _CALL.search(text, search):
            search = match.end()
            if match[1].lower() in INTRINSICS:
                continue
            depth = 1
            while depth and search < len(text):
                depth += {"(": 1, ")": -1}.get(text[search], 0)
                search += 1
            if depth:
                raise self.fail(f"{text!r}: the parenthesis after {match[1]!r} is not closed")
            inner = "".join(text[match.start() : search].split())
            parts += [text[start : match.start()], f'"{inner}"']
            start = search
        return "".join([*parts, text[start:]])

    def extent(self, tree: Expression) -> tuple[int, int, bool]:
        """Parts and levels of a tree, variables written out, and whether the temperature is in."""
        if isinstance(tree, Name):
            size, depth, thermal = self.extents.get(tree.name, (1, 1, tree.name == "temperature"))
            return (size, depth, True) if thermal else (1, 1, False)
        if isinstance(tree, Number):
            return 1, 1, False
        sizes, depths, thermal = zip(*map(self.extent, tree.arguments), strict=True)
        return 1 + sum(sizes), 1 + max(depths), any(thermal)

    def held(self, tree: Expression, low: float, high: float) -> Expression:
        """The tree with the temperature held within limits, variables written out for that."""
        size, depth, _ = self.extent(tree)
        if size > _LARGEST or depth > _DEEPEST:
            raise self.fail(
                "a rate with limits of temperature is written out, and this one has "
                f"{size} parts in {depth} levels; {_LARGEST} in {_DEEPEST} are the most"
            )

        def change(tree: Expression) -> Expression:
            if tree == Name("temperature"):
                return Call("limited", (Number(low), Number(high)))
            if isinstance(tree, Name) and self.extent(tree)[2]:
                return rewrite(self.quantities[tree.name] or tree, change)
            return tree

        return rewrite(tree, change)

    def limit(self, text: str, law: str) -> tuple[str, float] | None:
        """A limit of temperature as the law that keeps to it, `law` where there is no operator."""
        text = text.strip()
        if text.lower() in _NO_LIMIT:
            return None
        for sign, found in _LIMITS.items():
            if text.lower().startswith(sign):
                text, law = text[len(sign) :], found
                break
        tree = self.expression(text)
        if not isinstance(tree, Number):
            raise self.fail(f"{text!r} is no temperature; write a number, as .LE.5.5e3, or NONE")
        return law, tree.value

    def rate(self, text: str, tmin: str, tmax: str, inside: int = 0) -> Expression:
        """A rate that is zero outside its limits, `inside` conditions."""
        if found := _CONDITION.fullmatch(text):
            if inside == _DEEPEST:
                raise self.fail(f"more than {_DEEPEST} conditions; join them")
            rate = self.rate(found[2], tmin, tmax, inside + 1)
            if not _COMPARISON.search(found[1]):
                raise self.fail(f"{found[1]!r}: write a condition as A > B")
            try:
                condition = rewrite(parse(self.quoted(found[1])), self.known)
                return choose(condition, rate, Number(0.0))
            except ValueError as error:
                raise self.fail(str(error)) from None
        tree = self.expression(text)
        limits = [self.limit(tmin, "at_least"), self.limit(tmax, "below")]
        limits = [limit for limit in limits if limit is not None]
        if not limits:
            return tree
        low = max((v for law, v in limits if law in ("at_least", "above")), default=_COLDEST)
        high = min((v for law, v in limits if law in ("at_most", "below")), default=HOTTEST)
        tree = self.held(tree, low, max(low, high))
        for law, value in reversed(limits):
            tree = call(law, Number(value), tree)
        return tree

    def give(self, name: str) -> Name:
        """A rate that the user gives as a quantity, numbered if there is another of its name."""
        count, found = 1, name
        while found.lower() in self.variables:
            count += 1
            found = f"{name} ({count})"
        self.declare(found, None)
        self.given.add(Name(found))
        return Name(found)
