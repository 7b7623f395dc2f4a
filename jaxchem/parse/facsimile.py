"""FACSIMILE files: what the Master Chemical Mechanism exports and AtChem2 reads.

A file is statements that end in ``;``, and comments: every line that begins with ``*``::

    * species: an optional list ;
    VARIABLE O O3 NO NO2 CH3O2 CH3O ;
    KRO2NO = 2.7D-12*EXP(360/TEMP) ;
    RO2 = CH3O2 ;
    % 1.4D-12*EXP(-1310/TEMP) : NO + O3 = NO2 ;
    % J<4> : NO2 = NO + O ;
    % 2*3.5D-13*RO2*0.6 : CH3O2 = CH3O ;

Powers are ``@`` or ``**``, and either side of a reaction may be empty. A name in a rate is, in this
order, what the file assigns, a sum of species (RO2), a species, a variable of the model's
environment (Sommariva et al. 2020, Geosci. Model Dev. 13, 169), or a coefficient of the
MCM (with a warning). A call that is no function of arithmetic and no law, such as
``calcKMT15(TEMP, M)`` of AtChem2's customRateFuncs.f90, is a quantity that the user gives, under
its own text as a name. The environment becomes

- TEMP: `temperature`; M: `density`; PRESS (hPa, with a warning) and RH (%) follow from `pressure`
  and `relative_humidity`;
- O2, N2, H2O: quantities with the definitions of `jaxchem.rates.mcm.AIR`;
- ``J<4>``, ``J(4)`` or ``J_NO2``: the quantity ``J4``, the MCM's function of the solar zenith
  angle unless `photolysis` gives it;
- JFAC and ROOF: quantities that are 1 unless they are given, and multiply every ``J<n>`` that is
  the MCM's function, but none that is given or assigned, as AtChem2 has it;
- BLH or BLHEIGHT, DEC, DILUTE, ASA: quantities that the user gives.

A number assigned to TEMP or M is a default condition, one assigned to a species its proposed
initial concentration. Units are molecule cm-3 and s.
"""

import difflib
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ..brief import few
from ..expression import (
    FUNCTIONS,
    Expression,
    Name,
    Number,
    call,
    names,
    parse,
    rewrite,
    show,
)
from ..network import MechanismError, Network, Reaction, Units
from ..rates import CONDITIONS, LAWS, mcm, validate
from .common import build, counted, fail, host_call, molecules, numbered

__all__ = ["loads", "looks_like"]

_MCM = (
    ", of the Master Chemical Mechanism: Jenkin et al. (1997), Atmos. Environ. 31, 81; "
    "Saunders et al. (2003), Atmos. Chem. Phys. 3, 161"
)
_CONDITIONS = {"TEMP": "temperature", "M": "density"}
_ENVIRONMENT: dict[str, Expression | None] = {
    "PRESS": parse("0.01 * pressure"),
    "RH": parse("100 * relative_humidity"),
    "JFAC": Number(1.0),
    "ROOF": Number(1.0),
    **dict.fromkeys(("BLH", "BLHEIGHT", "DEC", "DILUTE", "ASA")),
    **mcm.definitions(mcm.AIR),
}
_SUPPLIED = {
    **{
        "PRESS": "the pressure in hPa",
        "RH": "the relative humidity in %",
        "JFAC": "1",
        "ROOF": "1",
    },
    **{name: mcm.origin(name) for name in mcm.AIR},
}
"""What the environment is where the file does not say so."""
_KNOWN = {*FUNCTIONS, *LAWS, "+", "-", "*", "/", "**", "neg"}
"""What a rate may call."""
_NAME = re.compile(r"[A-Za-z]\w*")
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)?\s*([A-Za-z]\w*)")
_ASSIGNMENT = re.compile(r"([A-Za-z]\w*)\s*=([^=]*)")


def looks_like(text: str) -> bool:
    """Whether this is FACSIMILE: it has reactions such as ``% k : A = B ;``."""
    return bool(re.search(r"^[ \t]*%[^:;=%]+:\s*[^:;=%,()\n]*=[^:;=%]*;", text, re.MULTILINE))


def loads(text: str, filename: str = "<text>") -> Network:
    """Reads a FACSIMILE file.

    Args:
        text: the content of the file.
        filename: for error messages and references.

    Raises:
        ValueError: a statement that cannot be read, with file, line and what to write instead.
    """
    return _File(text, filename).network()


def _statements(text: str, filename: str) -> Iterator[tuple[int, str]]:
    """(line on which it begins, statement) in order, comments left out."""
    pending: list[str] = []
    start = 0
    for line, raw in numbered(text):
        if raw.lstrip().startswith("*"):
            for part in map(str.strip, raw.split(";")[1:]):
                if part.startswith("%") or _ASSIGNMENT.fullmatch(part):
                    raise fail(
                        filename,
                        line,
                        f"{part[:60]!r} stands in a line that begins with '*', all of which is a "
                        "comment; move it to a line of its own",
                    )
            open_ended = pending and pending[0].upper().startswith("VARIABLE")
            if pending and not open_ended and not pending[-1].endswith("+"):
                raise fail(
                    filename,
                    line,
                    f"a line that begins with '*' is a comment, but the statement of line {start} "
                    "has not ended; end it with ';', or end its lines with their operators",
                )
            continue
        *ends, rest = (part.strip() for part in raw.split(";"))
        for part in ends:
            start = start if pending else line
            statement = " ".join([*pending, part]).strip()
            pending = []
            if statement and not statement.startswith("*"):
                yield start, statement
        if rest and (pending or not rest.startswith("*")):
            start = start if pending else line
            pending.append(rest)
    if pending:
        raise fail(filename, start, f"{pending[0][:60]!r}: no ';' ends this statement; add it")


class _File:
    """One file, sorted into declarations, sums, assignments and reactions."""

    def __init__(self, text: str, filename: str):
        self.filename = filename
        self.text = text
        self.species: dict[str, None] = {}
        self.sums: dict[str, Sequence[str]] = {}
        self.quantities: dict[str, Expression | None] = {}
        self.defaults: dict[str, float] = {}
        self.initial: dict[str, float] = {}
        self.supplied: dict[str, str] = {}

    def fail(self, line: int, message: str) -> MechanismError:
        return fail(self.filename, line, message)

    def network(self) -> Network:
        assignments: dict[str, tuple[int, str]] = {}
        equations: list[tuple[int, str, dict[str, int], dict[str, float]]] = []
        statements = [*_statements(self.text, self.filename)]
        counted(self.filename, sum(text.startswith("%") for _, text in statements))
        for line, statement in statements:
            if statement.startswith("%"):
                equations.append(self.equation(line, statement))
            elif statement.split()[0].upper() == "VARIABLE":
                for name in statement.replace(",", " ").split()[1:]:
                    if not _NAME.fullmatch(name) or name.upper() == "VARIABLE":
                        raise self.fail(line, f"{name[:60]!r} is no name of a species")
                    self.species[name] = None
            elif match := _ASSIGNMENT.fullmatch(statement):
                name = match[1]
                if name in CONDITIONS:
                    raise self.fail(line, f"{name!r} is the name of a condition; rename it")
                if name in assignments:
                    first = assignments[name][0]
                    raise self.fail(line, f"{name!r} is assigned in line {first}; drop one")
                assignments[name] = (line, match[2].strip())
            else:
                raise self.fail(
                    line,
                    f"{statement[:60]!r}: write '% RATE : A + B = C ;', 'NAME = VALUE ;', "
                    "'VARIABLE A B ;' or '* comment ;'",
                )
        if not equations:
            raise self.fail(1, "no reaction; write it as '% RATE : A + B = C ;'")
        named = dict.fromkeys(n for _, _, *sides in equations for side in sides for n in side)
        undeclared = [name for name in named if name not in self.species]
        if self.species and undeclared:
            warnings.warn(
                f"{self.filename}: species without a declaration, taken as variable: "
                f"{few(undeclared)}.",
                stacklevel=5,
            )
        self.species |= named
        for name, (line, value) in list(assignments.items()):
            if self.sum(name, line, value):
                del assignments[name]
        for name, (line, value) in assignments.items():
            self.assign(name, line, value, assignments)
        key = re.sub(r"\s+|#", " ", Path(self.filename).name).strip() or "text"
        reactions = [
            Reaction(
                reactants=reactants,
                products=products,
                rate=self.expression(line, rate),
                source=f"FAC, line {line}",
                where=f"{self.filename}, line {line}",
            )
            for line, rate, reactants, products in equations
        ]
        return build(
            self.filename,
            name=Path(key).stem,
            species=dict.fromkeys(self.species),
            reactions=reactions,
            units=Units("molecule cm-3", "s"),
            pools=self.sums,
            references={"FAC": key + (_MCM if "MCM" in self.text else "")},
            quantities=self.quantities,
            defaults=self.defaults,
            initial=self.initial,
            supplied=self.supplied,
            places={
                ("quantities", name): f"{self.filename}, line {line}"
                for name, (line, _) in assignments.items()
            },
        )

    def equation(
        self, line: int, statement: str
    ) -> tuple[int, str, dict[str, int], dict[str, float]]:
        """(line, rate, reactants, products) of a reaction."""
        rate, colon, rest = statement[1:].partition(":")
        left, equals, right = rest.partition("=")
        if not (colon and equals):
            raise self.fail(line, f"{statement[:60]!r}: write '% RATE : A + B = C ;'")
        reactants, products = self.terms(line, left), self.terms(line, right)
        if not reactants and not products:
            raise self.fail(line, f"{statement[:60]!r}: the reaction names no species")
        return line, rate, molecules(reactants, partial(self.fail, line)), products

    def terms(self, line: int, side: str) -> dict[str, float]:
        terms: dict[str, float] = {}
        for term in side.split("+") if side.strip() else ():
            match = _TERM.fullmatch(term.strip())
            count = float(match[1] or 1) if match else 0.0
            if match is None or not count < 1e9:
                raise self.fail(
                    line,
                    f"{term.strip()[:60]!r}: write 'NAME' or 'NUMBER NAME', joined by '+'",
                )
            terms[match[2]] = terms.get(match[2], 0.0) + count
        return terms

    def sum(self, name: str, line: int, value: str) -> bool:
        """Whether this is a sum of species; it is noted if so."""
        members = [part.strip() for part in value.split("+")] if value else []
        if name != "RO2" and not (members and all(m in self.species for m in members)):
            return False
        if not all(_NAME.fullmatch(member) for member in members):
            return False
        if name in self.species:
            raise self.fail(line, f"{name!r} is a species and a sum; rename one")
        found = [member for member in members if member in self.species]
        if missing := len(members) - len(found):
            warnings.warn(
                f"{self.filename}, line {line}: {missing} members of {name} are no species of the "
                "mechanism and left out.",
                stacklevel=4,
            )
        if found:
            self.sums[name] = found
        else:
            self.quantities[name] = Number(0.0)
        return True

    def assign(
        self, name: str, line: int, value: str, assignments: dict[str, tuple[int, str]]
    ) -> None:
        """Notes an assignment that is no sum of species."""
        tree = self.expression(line, value, assignments)
        if name in _CONDITIONS or name in self.species:
            if not isinstance(tree, Number) or tree.value < 0:
                raise self.fail(line, f"{name!r} = {value[:60]!r}: write a number, not below 0")
            if name in _CONDITIONS:
                self.defaults[_CONDITIONS[name]] = tree.value
            else:
                self.initial[name] = tree.value
        elif name in self.quantities:
            raise self.fail(line, f"{name!r} is used above; move its assignment there")
        else:
            self.quantities[name] = tree

    def expression(
        self, line: int, text: str, assignments: dict[str, tuple[int, str]] | None = None
    ) -> Expression:
        """The tree of a text, its names those of the network.

        `assignments` are given while they are being worked out, so that a name that is assigned
        further down is not taken for something else.
        """

        def place(tree: Expression) -> Expression:
            return self.place(tree[0], assignments or {}) if isinstance(tree, Name) else tree

        try:
            tree = self.own(parse(re.sub(r"\bJ\s*<\s*(\w+)\s*>", r"J(\1)", text)))
            tree = rewrite(tree, place)
            known = set(names(tree))
            if not all(n in CONDITIONS or n in self.quantities or n in self.sums for n in known):
                known = {*CONDITIONS, *self.quantities, *self.sums}
            validate(tree, known)
        except ValueError as error:
            raise self.fail(line, str(error)) from None
        return tree

    def own(self, tree: Expression) -> Expression:
        """The tree in jaxchem's own names; what only the host computes becomes a quantity."""
        if isinstance(tree, Number):
            return tree
        if isinstance(tree, Name):
            return Name(_CONDITIONS.get(tree.name) or _photolysis(tree))
        if tree.function == "J" and len(tree.arguments) == 1:
            return Name(_photolysis(self.own(tree.arguments[0])))
        function = tree.function if tree.function in LAWS else tree.function.lower()
        if function in _KNOWN:
            return call(function, *map(self.own, tree.arguments))
        if difflib.get_close_matches(function, FUNCTIONS, n=1, cutoff=0.66):
            return tree  # a slip, which is refused like every other name
        self.quantities.setdefault(host_call(tree), None)
        return Name(host_call(tree))

    def place(self, name: str, assignments: dict[str, tuple[int, str]]) -> Expression:
        """What stands in a rate for a name; it is noted as a quantity or a sum where needed."""
        if name in self.quantities or name in self.sums or name in CONDITIONS:
            return Name(name)
        if name in assignments and name not in self.species:
            raise ValueError(f"{name!r} is assigned below, in line {assignments[name][0]}; move it")
        if name in self.species:
            self.sums[name] = [name]
        elif name in _ENVIRONMENT:
            self.quantities[name] = _ENVIRONMENT[name]
            if name in _SUPPLIED:
                self.supplied[name] = _SUPPLIED[name]
        elif name in mcm.DEFINITIONS:
            for part, tree in mcm.definitions([name]).items():
                if part in self.species:
                    raise ValueError(
                        f"{name!r} is the MCM's, made of the air's {part!r}, which is a species "
                        f"here; assign {name!r} in this file"
                    )
                if part not in self.quantities and re.fullmatch(r"J\d+", part):
                    for factor in ("JFAC", "ROOF"):
                        if factor not in self.species:
                            tree = call("*", tree, self.place(factor, assignments))
                self.quantities.setdefault(part, tree)
            self.supplied[name] = mcm.origin(name)
        elif re.fullmatch(r"J\d{1,4}", name):
            self.quantities[name] = None
        return Name(name)


def _photolysis(argument: Expression) -> str:
    """The quantity that a photolysis number or name stands for; other names as they are."""
    if isinstance(argument, Number):
        if not 0 <= argument.value < 10000 or argument.value != int(argument.value):
            raise ValueError(f"J<{argument.value:g}>: photolysis has whole numbers, as J<4>")
        return f"J{int(argument.value)}"
    if not isinstance(argument, Name):
        raise ValueError(f"J({show(argument)}): write a number, as J<4>")
    number = mcm.PHOTOLYSIS_NAMES.get(argument.name)
    return argument.name if number is None else f"J{number}"
