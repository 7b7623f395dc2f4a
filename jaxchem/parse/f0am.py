"""Mechanism scripts of F0AM, the Framework for 0-D Atmospheric Modeling, in MATLAB.

Nothing is executed; a script is read as statements of these forms, with ``%`` comments::

    SpeciesToAdd = {'O3'; 'NO'; 'NO2'; 'CH3O2'};      names of species
    RO2ToAdd = {'CH3O2'};                             members of the sum RO2
    AddSpecies
    F = 0.6;                                          a value, as it is from here on
    F(F>1) = 1;                                       its upper or lower limit
    i=i+1;                                            a new reaction:
    Rnames{i} = 'NO + O3 = NO2';                      its label, which decides nothing
    k(:,i) = F.*1.4e-12.*exp(-1310./T);               its coefficient
    Gstr{i,1} = 'NO'; Gstr{i,2} = 'O3';               what reacts
    fNO(i)=fNO(i)-1; fO3(i)=fO3(i)-1; fNO2(i)=1;      what changes, and by how much

The rate is k times the concentrations of ``Gstr``, and the yields are such that the changes are
those of ``f``; without ``Gstr`` k is a source. ``RO2`` in ``Gstr`` is the sum of its members,
unless it is the only one: then it is a species. ``k(:,70)`` is the coefficient of that reaction.

In a rate ``T`` is `temperature`, ``M`` `density`, ``P`` (mbar) and ``RH`` (%) follow from
`pressure` and `relative_humidity`, ``SZA`` (degrees) from `solar_zenith_angle`, and ``H2O`` is the
air's water vapour unless it is given. Other names are in this order what the script assigns, what
the one ``*_K.m`` or ``*_J.m`` beside the file that has such names assigns to them (with a
warning), or quantities that the user gives. Of a ``_J`` script what counts are ``J.NAME = ...``
and the table of the MCM's function of the zenith angle, not what depends on its ``Jmethod``;
``Jmcm.J4`` is the MCM's. What is assigned a comparison is the user's to give, too.

Refused are loops, conditions, functions other than those of arithmetic and the one-line formulas
of `_FORMULAS`, ``ReplaceRxn``, and ``lr_flag``, a rate that the scarcer reactant limits.

Format and units (molecule cm-3, s): Wolfe et al. 2016, Geosci. Model Dev. 9, 3309,
doi:10.5194/gmd-9-3309-2016.
"""

import re
import warnings
from functools import partial
from pathlib import Path

from ..brief import few
from ..expression import Expression, Name, Number, call, names, parse
from ..network import MechanismError, Network, Reaction, Units
from ..rates import CONDITIONS, mcm
from ..suggest import closest
from .common import beside, build, counted, fail, molecules
from .f0am_generic import Script
from .f0am_language import Value, Values, statements, texts

__all__ = ["loads", "looks_like"]

_ENVIRONMENT: dict[str, Expression] = {
    "P": parse("0.01 * pressure"),
    "RH": parse("100 * relative_humidity"),
    "SZA": parse("57.29577951308232 * solar_zenith_angle"),
    "H2O": mcm.definitions(["H2O"])["H2O"],
}
_MISSING = "drop one, or begin a new reaction with 'i=i+1'"
_MEMBER = re.compile(r"Rnames\b|Gstr\b|(?:k|f\w+|lr_flag)\s*\(\s*(?::\s*,\s*)?i\s*\)")
_NUMBERED = re.compile(r"\bi\s*=\s*i\s*\+\s*1")


def looks_like(text: str) -> bool:
    """Whether lines number reactions as F0AM's scripts do and say what they are, or add species."""
    begun = re.search(r"^[ \t]*i[ \t]*=[ \t]*i[ \t]*\+[ \t]*1\b", text, re.MULTILINE)
    said = re.search(r"^[ \t]*(k[ \t]*\([ \t]*:|krx[ \t]*\(|[GJ]\w+[ \t]*\{)", text, re.MULTILINE)
    added = re.search(r"^[ \t]*(AddSpecies|ReplaceRxn)[ \t]*(;|%.*)?$", text, re.MULTILINE)
    return bool(begun and said) or bool(added)


def loads(text: str, filename: str = "<text>") -> Network:
    """Reads a mechanism script of F0AM.

    Args:
        text: the content of the file.
        filename: for error messages; generic coefficients are looked up in its folder.

    Raises:
        MechanismError: a statement that is not read, with file, line and what to write instead.
    """
    if re.search(r"^[ \t]*(krx[ \t]*\(|Jnames[ \t]*\{)", text, re.MULTILINE):
        raise fail(filename, 1, "these are generic coefficients; give the mechanism that uses them")
    counted(filename, len(_NUMBERED.findall(text)))
    return _File(text, filename).network()


class _Row:
    """One reaction while it is read."""

    def __init__(self, line: int):
        self.line = line
        self.rate: Value | None = None
        self.reactants: dict[str, str] = {}
        self.changes: dict[str, float] = {}


class _File:
    """One script, statement by statement."""

    def __init__(self, text: str, filename: str):
        self.filename = filename
        self.values = Values()
        self.species: dict[str, int] = {}
        self.peroxy: dict[str, int] = {}
        self.waiting: dict[str, tuple[int, list[str]]] = {}
        self.rows: list[_Row] = []
        for line, statement in statements(text, filename):
            self.values.line = line
            try:
                self.read(line, statement)
            except MechanismError:
                raise
            except ValueError as error:
                raise self.fail(line, str(error)) from None
        self.end()
        for kind, (line, _) in self.waiting.items():
            raise self.fail(line, f"no AddSpecies follows this {kind}; add it")
        if not self.rows:
            raise self.fail(1, "no reaction; one begins with 'i=i+1;'")

    def fail(self, line: int, message: str) -> MechanismError:
        return fail(self.filename, line, message)

    def read(self, line: int, statement: str) -> None:
        """Takes in one statement; `ValueError` says what is wrong with it."""
        if _NUMBERED.fullmatch(statement):
            self.end()
            self.rows.append(_Row(line))
        elif match := re.fullmatch(r"(\w+ToAdd|\w+2Add)\s*=\s*(.*)", statement):
            found = texts(match[2])
            if match[1] not in ("SpeciesToAdd", "RO2ToAdd") or found is None:
                raise ValueError("write SpeciesToAdd = {'A'; 'B'}, or RO2ToAdd")
            self.waiting[match[1]] = (line, found)
        elif statement == "AddSpecies":
            self.add()
        elif re.match(r"(RxnToReplace|kToReplace|ReplaceRxn)\b", statement):
            raise ValueError("ReplaceRxn changes a reaction of another script; change it there")
        elif match := re.match(r"(if|for|while|switch|function|try|parfor)\b", statement):
            raise ValueError(f"{match[1]!r}: conditions, loops and functions are not read here")
        elif match := _MEMBER.match(statement):
            if not self.rows:
                raise ValueError(f"{match[0]!r} comes before the first 'i=i+1'")
            self.member(self.rows[-1], statement)
        elif (match := re.match(r"f(\w+)\s*=(?!=)", statement)) and match[1] in self.species:
            raise ValueError(f"{statement[:60]!r}: write f{match[1]}(i) = ..., of a reaction")
        elif not self.values.assign(statement):
            raise ValueError(
                f"{statement[:60]!r} is no statement of a mechanism; see jaxchem.parse.f0am"
            )

    def member(self, row: _Row, statement: str) -> None:
        """Takes in what a statement says of the reaction at hand."""
        if re.fullmatch(r"Rnames\s*\{\s*(i|\d+)\s*\}\s*=\s*('.*'|\".*\")", statement):
            return
        if match := re.fullmatch(
            r"Gstr\s*\{\s*i\s*(?:,\s*([123])\s*)?\}\s*=\s*['\"]\s*(\w*)\s*['\"]", statement
        ):
            if (slot := match[1] or "1") in row.reactants:
                raise ValueError(f"Gstr{{i,{slot}}} is assigned twice; {_MISSING}")
            if match[2] not in ("", "ONE"):
                self.declared(match[2])
            row.reactants[slot] = match[2]
        elif match := re.fullmatch(r"k\s*\(\s*:\s*,\s*i\s*\)\s*=(?!=)(.+)", statement):
            if row.rate is not None:
                raise ValueError(f"k(:,i) is assigned twice; {_MISSING}")
            row.rate = self.values.value(match[1])
        elif match := re.fullmatch(r"f(\w+)\s*\(\s*i\s*\)\s*=(?!=)(.+)", statement):
            row.changes[match[1]] = self.change(row, match[1], match[2])
        elif statement.startswith("lr_flag"):
            raise ValueError("lr_flag: rates that the scarcer of two reactants limits are not read")
        else:
            raise ValueError(
                f"{statement[:60]!r}: write Gstr{{i,1}} = 'A', k(:,i) = RATE or fA(i)=fA(i)-1"
            )

    def change(self, row: _Row, name: str, text: str) -> float:
        """The number that is assigned to an ``f``."""

        def known(match: re.Match[str]) -> str:
            self.declared(match[1])
            return f"({row.changes.get(match[1], 0.0)!r})"

        self.declared(name)
        tree = self.values.value(re.sub(r"\bf(\w+)\s*\(\s*i\s*\)", known, text)).tree
        if not isinstance(tree, Number) or not abs(tree.value) < 1e9:
            raise ValueError(f"f{name}(i) ={text}: write a number, or f of a species and a number")
        return tree.value

    def declared(self, name: str) -> None:
        if name not in self.species and name != "RO2":
            hint = closest(name, self.species) or "."
            raise ValueError(
                f"{name!r} is no declared species{hint} Name it in SpeciesToAdd before an "
                "AddSpecies, or put what a further script adds to into one file with it."
            )

    def add(self) -> None:
        """Declares the species that wait for it."""
        for kind, known in (("SpeciesToAdd", self.species), ("RO2ToAdd", self.peroxy)):
            line, found = self.waiting.pop(kind, (0, []))
            for name in found:
                if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or name == "ONE":
                    raise ValueError(f"{kind}: {name!r} is no name of a species")
                known.setdefault(name, line)

    def end(self) -> None:
        """Ends the reaction at hand: its coefficient can be used."""
        if self.rows:
            row = self.rows[-1]
            if row.rate is None:
                raise self.fail(row.line, "k(:,i) is not assigned in the reaction that begins here")
            self.values.columns.append(row.rate)

    def network(self) -> Network:
        """Puts it all together."""
        own = set(self.peroxy) == {"RO2"}  # a species of the mechanism, no sum
        if own:
            self.species.setdefault("RO2", self.peroxy["RO2"])
        elif line := self.species.get("RO2"):
            raise self.fail(line, "RO2 is the sum of RO2ToAdd; as a species it is its only member")
        members = [name for name in self.peroxy if name in self.species]
        if missing := [n for n in self.peroxy if n not in self.species]:
            self.say(f"members of RO2 that are no species are left out: {', '.join(missing)}.")
        summed = not own and any("RO2" in row.reactants.values() for row in self.rows)
        reactions = [self.reaction(row, own) for row in self.rows]
        quantities, places = self.quantities()
        if summed and not members:
            quantities["RO2"] = Number(0.0)
        key = re.sub(r"\s+|#", " ", Path(self.filename).name).strip() or "text"
        return build(
            self.filename,
            name=Path(key).stem,
            title="F0AM mechanism",
            species=dict.fromkeys(self.species),
            reactions=reactions,
            units=Units("molecule cm-3", "s"),
            pools={"RO2": members} if members and not own else {},
            references={"F0AM": f"{key}, of F0AM (Wolfe et al. 2016, Geosci. Model Dev. 9, 3309)"},
            quantities=quantities,
            places=places,
        )

    def reaction(self, row: _Row, own: bool) -> Reaction:
        """A reaction: what reacts, and the yields that give the changes."""
        where = partial(self.fail, row.line)
        rate = Number(0.0) if row.rate is None else row.rate.tree
        reactants: dict[str, float] = {}
        for name in row.reactants.values():
            if name == "RO2" and not own:
                rate = call("*", rate, Name("RO2"))
            elif name not in ("", "ONE"):
                reactants[name] = reactants.get(name, 0.0) + 1
        if "RO2" in row.changes and not own:
            raise where("f of RO2, which is a sum here, changes nothing; drop it")
        yields = {
            # what is written in decimals keeps them: -1 + 0.45 + 1 is 0.45
            name: round(row.changes.get(name, 0.0) + reactants.get(name, 0.0), 12)
            for name in dict.fromkeys((*reactants, *row.changes))
        }
        return Reaction(
            reactants=molecules(reactants, where),
            products={name: count for name, count in yields.items() if count},
            rate=rate,
            source=f"F0AM, line {row.line}",
            where=f"{self.filename}, line {row.line}",
        )

    def quantities(self) -> tuple[dict[str, Expression | None], dict[tuple[str, str], str]]:
        """What rates name that the script does not assign, and where it is defined."""
        for name, line in self.values.names.items():
            if name in CONDITIONS:
                raise self.fail(line, f"{name!r} is the name of a condition; rename it")
            if name == "RO2" or (name in self.species and name not in (*_ENVIRONMENT, "O2", "N2")):
                raise self.fail(line, f"{name!r} is a species; what reacts stands in Gstr{{i,n}}")
        unknown = {name for name in self.values.names if name not in _ENVIRONMENT}
        scripts = [found for kind in "KJ" if (found := self.beside(kind, unknown))]
        defined: dict[str, Expression | None] = {}
        places: dict[tuple[str, str], str] = {}
        taken: dict[str, list[str]] = {}
        waiting = list(self.values.names)
        for name in waiting:  # which grows
            if name in defined or name in CONDITIONS:
                continue
            defined[name] = _ENVIRONMENT.get(name)
            for script in scripts if name not in _ENVIRONMENT else ():
                if name in script.values:
                    defined[name] = script.values[name]
                    places["quantities", name] = f"{script.path}, line {script.lines[name]}"
                    taken.setdefault(script.path.name, []).append(name)
                    break
            waiting += names(defined[name] or Number(0.0))
        for script, found in taken.items():
            self.say(f"{len(found)} coefficients are taken from {script} beside it: {few(found)}.")
        return defined, places

    def beside(self, kind: str, unknown: set[str]) -> Script | None:
        """The one script of generic coefficients in this folder that has some of these names."""
        found = []
        if unknown and Path(self.filename).is_file():
            for path in sorted(Path(self.filename).parent.glob(f"*_[{kind}{kind.lower()}].m")):
                if beside(self.filename, path.name) is None:
                    self.say(f"{path.name} beside it is no file of this folder, and not read.")
                    continue
                try:
                    script = Script(path)
                except ValueError as error:
                    self.say(f"{str(error).rstrip('.')}. What it defines is left to the user.")
                    continue
                if unknown & {*script.values}:
                    found.append(script)
        if len(found) > 1:
            several = ", ".join(script.path.name for script in found)
            self.say(f"which of {several} it uses is not said; their names are left to the user.")
        return found[0] if len(found) == 1 else None

    def say(self, message: str) -> None:
        warnings.warn(f"{self.filename}: {message}", stacklevel=5)
