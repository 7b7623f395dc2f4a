"""The format of KROME's networks (Grassi et al. 2014, MNRAS 439, 2386).

One reaction a line, fields between commas; ``#`` and ``//`` start a comment, as do ``!`` after a
rate and ``/*``, up to the line with ``*/``; the comment above a reaction is taken for its source.
Commands count in any case, ``_begin`` is ``_start`` and ``_end`` is ``_stop``::

    @format:idx,R,R,P,P,Tmin,Tmax,rate   # the fields of the reactions below it
    @var:u1 = 11.26d0*invTe              # a quantity, by its definition
    @common: user_crate,user_Av          # what the user gives
    @tabvar:u2 = FILE,X,Y                # a table; the user gives its value
    @ghost:H2,He                         # species that need no reaction
    @photo_start ... @photo_stop         # reactions whose limits are energies
    @xray_start ... @xray_stop           # those by X-rays
    @reactionModifier_start ... _stop    # k(:) = k(:) / N_avogadro, and no other
    @cooling_start, @heating_start ...   # left out, with a warning

Without a meaning here are noTab, noTabNext, storeOnce, CR, group, next_Solomon and
next_H2photodissociation. An ODEmodifier is refused, and so are ices, surfaces and catalysis.

Rates are arithmetic in the gas temperature (``Tgas``) and KROME's shortcuts for it (``T32``,
``invTe`` and the rest, with KROME's constants), in any case; ``if(A > B): RATE`` is zero where the
condition does not hold. ``user_crate``, ``user_Av`` and ``user_gas_dust_ratio`` are
`cosmic_ray_rate`, `visual_extinction` and `gas_to_dust`. What cannot be evaluated becomes a
quantity that the user gives, named by its text: other user variables, functions and array elements
such as ``H2_solomonLW(myflux_eV)`` and ``n(idx_H2)``; the rates of photo-reactions, as
``photo: H -> H+ + E``; and each ``auto``, which KROME takes from a data base of its own.

Outside Tmin to Tmax a rate is zero. The operators of the limits count exactly (``.LE.``, ``<``,
...); a plain number stands for ``.GE.`` at Tmin and ``.LT.`` at Tmax, as in KROME. Variables that
depend on the temperature are written out in a rate with limits, so that the formula and its slope
are finite where it does not count.

Left out are KROME's floor (1e-40 over the fourth power of the largest density, added to every
coefficient), its clipping of temperatures to 2.73-1e9 K, its option that halves the rate of two
equal reactants, and Fortran's single precision of numbers without a ``d`` exponent, which moves
KROME's own coefficients by 1e-7 and more.

Names of species differ in more than case: of several spellings the first counts. A photon ``g``
is dropped. ``{H}`` is used up and does not count in the product of densities.
"""

import re
from typing import Any

from ..expression import Expression, Name, Number, call
from ..network import Network, Reaction
from .astro import Names, Remarks, network
from .common import counted, fail, numbered, separated
from .krome_rates import Rates

__all__ = ["loads", "looks_like"]

_FORMAT = ("idx", "R", "R", "R", "P", "P", "P", "P", "Tmin", "Tmax", "rate")
_FIELDS = {"k": "rate", "qpp": "qeff"} | {f: f for f in ("qeff", *map(str.lower, _FORMAT))}
_SIGNS = re.compile(
    r"^[ \t]*(@(format|var|commons?|ghost|tabvar|group)[ \t]*:"
    r"|@(notab_?next|\w+_(start|begin))\b"
    r"|\d+(,[ ]*[A-Za-z][\w+-]*)(,[\w+ -]*){6},([.<>]?\w[^,\n]*|[.<>][^,\n]+)?,)",
    re.MULTILINE | re.IGNORECASE,
)
_EDGE = re.compile(r"@(\w+)_(?:(start|begin)|stop|end)")
_IGNORED = re.compile(r"@(notab_?next|group|next_(solomon|h2photodissociation))")
_FREE = ("notab", "storeonce", "cr")
"""Blocks that mean nothing here."""
_THERMAL = ("cooling", "heating")
_GRAINS = ("surface", "catalysis")
_BLOCKS = (*_FREE, *_THERMAL, *_GRAINS, "photo", "xray", "reactionmodifier", "odemodifier")
_AVOGADRO = 6.0221e23  # as KROME has it
_REFERENCES = {"KROME": "a network of KROME (Grassi et al. 2014, MNRAS 439, 2386)."}


def looks_like(text: str) -> bool:
    """Whether a line is one of KROME's commands, or a reaction in KROME's default format."""
    return _SIGNS.search(text[:100_000]) is not None


def loads(text: str, filename: str = "<text>", *, skip: bool = False) -> Network:
    """Reads a network of KROME.

    Args:
        text: the content of the file.
        filename: for error messages.
        skip: leave out the reactions that cannot be read, with a warning, instead of an error.

    Returns:
        The network, in cm-3 and s.

    Raises:
        MechanismError: a line that cannot be read, with file, line and why.
    """
    reader = _Reader(filename, skip)
    lines = [(line, content.strip()) for line, content in numbered(text)]
    counted(filename, sum(not content.startswith(("@", "#", "/")) for _, content in lines))
    for line, content in lines:
        reader.read(line, content)
    reader.close()
    return network(
        filename,
        reader.reactions,
        _REFERENCES,
        blind=True,
        ghosts=reader.ghosts,
        quantities=reader.rates.quantities,
        places=reader.rates.places,
    )


class _Reader:
    """What the lines so far say."""

    def __init__(self, filename: str, skip: bool):
        self.filename = filename
        self.line = 0
        self.format = _FORMAT
        self.open: dict[str, int] = {}  # blocks, and where they begin
        self.per_mole = False
        self.comment, self.commented = "", False
        self.reactions: list[Reaction] = []
        self.ghosts: dict[str, int] = {}
        self.species = Names(filename, {"G"}, blind=True)
        self.rates = Rates(filename)
        self.remarks = Remarks(filename, skip)

    def fail(self, message: str) -> ValueError:
        return fail(self.filename, self.line, message)

    def read(self, line: int, content: str) -> None:
        self.line = self.rates.line = line
        if "/*" in self.open or content.startswith("/*"):
            self.open.setdefault("/*", line)
            _, end, behind = content.partition("*/")
            if end:
                del self.open["/*"]
            if behind.strip():
                self.remarks.add(line, "what stands behind '*/' is passed over, as KROME does")
            return
        if content.startswith("//"):
            content = f"#{content[2:]}"
        content, _, comment = (part.strip() for part in content.partition("#"))
        if comment and not content:
            self.remark(" ".join(comment.replace("#", " ").split()))
            return
        self.commented = False
        if not content:
            return
        if content.startswith("@"):
            self.command(content.partition("!")[0].strip())
        elif "reactionmodifier" in self.open:
            self.modifier(content.partition("!")[0])
        else:
            with self.remarks.reading(line):
                self.reaction(content)

    def close(self) -> None:
        """What can be said at the end of the file alone."""
        for block, line in self.open.items():
            end = "*/" if block == "/*" else f"@{block}_stop"
            message = f"what begins here never ends; write {end!r} where it shall"
            raise fail(self.filename, line, message)
        if self.per_mole:
            self.reactions = [
                reaction
                if reaction.rate in self.rates.given
                else reaction._replace(rate=_per_molecule(reaction.rate))
                for reaction in self.reactions
            ]
        self.remarks.tell()

    def remark(self, comment: str) -> None:
        """Keeps the comment above a reaction, and not reactions that are commented out."""
        if comment.startswith("@") or re.match(r"\d+,", comment):
            return
        self.comment = f"{self.comment} {comment}" if self.commented else comment
        self.commented = True

    def command(self, content: str) -> None:
        command, _, value = (part.strip() for part in content.partition(":"))
        command = command.lower()
        edge = _EDGE.fullmatch(command)
        if edge and edge[1] in _BLOCKS:
            self.block(edge[1], begins=edge[2] is not None)
        elif command == "@format":
            self.format = tuple(part.strip() for part in value.split(","))
            fields = [_FIELDS.get(part.lower(), "") for part in self.format]
            once = [part for part in fields if part not in ("r", "p")]
            if "" in fields or "rate" not in fields or len(set(once)) < len(once):
                raise self.fail(
                    f"{content!r}: a format is made of idx, R, P, Tmin, Tmax, qeff and one rate"
                )
        elif command[1:] in _THERMAL or (command == "@var" and self.open.keys() & {*_THERMAL}):
            if not self.open.keys() & {*_THERMAL}:
                raise self.fail(f"{content[:60]!r} stands in no {command}_start block")
            self.remarks.add(self.line, "heating and cooling are left out; see jaxchem.thermal")
        elif command == "@var":
            self.rates.define(value)
        elif command in ("@common", "@commons"):
            if command == "@commons":
                self.remarks.add(self.line, "'@commons', which KROME does not know, is '@common'")
            for name in filter(None, map(str.strip, value.split(","))):
                self.user(name)
        elif command == "@tabvar":
            self.user(value.partition("=")[0].strip())
        elif command == "@ghost":
            self.ghosts |= self.species.terms(self.line, value.split(","))
        elif command in ("@ice", "@surface"):
            with self.remarks.reading(self.line):
                raise self.grains()
        elif not _IGNORED.fullmatch(command):
            raise self.fail(
                f"{content[:60]!r} is a command that is not supported here; take it out, or write "
                "the reactions that it stands for"
            )

    def block(self, name: str, *, begins: bool) -> None:
        if name in _FREE:
            return
        if name == "odemodifier":
            raise self.fail("@ODEmodifier changes the equations themselves; take it out")
        if not begins and name not in self.open:
            raise self.fail(f"no '@{name}_start' stands above; drop this, or write it")
        if begins and name in self.open:
            raise self.fail(f"@{name}_start stands in line {self.open[name]} already; end that")
        if begins:
            self.open[name] = self.line
        else:
            del self.open[name]

    def user(self, name: str) -> None:
        """Takes up what the user gives."""
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise self.fail(f"{name!r} is no name of a variable")
        self.rates.name(name)

    def modifier(self, content: str) -> None:
        if "".join(content.lower().split()) != "k(:)=k(:)/n_avogadro" or self.per_mole:
            raise self.fail(
                f"{content.strip()[:60]!r}: of modifiers k(:) = k(:) / N_avogadro is read, once; "
                "write the other rates as they are meant"
            )
        self.per_mole = True

    def grains(self) -> ValueError:
        return self.fail("reactions on ices and surfaces need grains, which jaxchem has not")

    def reaction(self, content: str) -> None:
        if self.open.keys() & {*_GRAINS}:
            raise self.grains()
        fields = [field.strip() for field in separated(content)]
        fields[-1] = fields[-1].partition("!")[0].strip()
        if len(fields) != len(self.format):
            raise self.fail(
                f"{content[:60]!r}: {len(fields)} fields; the format above it has "
                f"{len(self.format)}: {','.join(self.format)}"
            )
        kinds = [(_FIELDS[k.lower()], field) for k, field in zip(self.format, fields, strict=True)]
        at = dict(kinds)
        if not at["rate"]:
            raise self.fail(f"{content[:60]!r}: there is no rate; write one")
        left = [field for kind, field in kinds if kind == "r"]
        right = [field for kind, field in kinds if kind == "p"]
        products = self.species.terms(self.line, map(_bare, right))
        used = [field for field in left if _bare(field) != field]
        reaction = Reaction(
            reactants=self.species.terms(self.line, [f for f in left if f not in used]),
            products=_less(products, self.species.terms(self.line, map(_bare, used))),
            rate=0.0,
            source="",
            where=f"{self.filename}, line {self.line}",
        )
        if not reaction.reactants:
            raise self.fail(f"{content[:60]!r}: nothing reacts; name a reactant")
        text, tmin, tmax = at["rate"], at.get("tmin", ""), at.get("tmax", "")
        source = f"KROME, {at.get('idx') or len(self.reactions) + 1}"
        source += f": {self.comment}" if self.comment else ""
        rate = self.rate(reaction.equation, text, tmin, tmax)
        if isinstance(rate, Name) and rate in self.rates.given:
            source += f"; {text}, {tmin or 'NONE'} to {tmax or 'NONE'}"
            source += " eV" if rate.name.startswith("photo") else ""
        self.reactions.append(reaction._replace(rate=rate, source=source))

    def rate(self, equation: str, text: str, tmin: str, tmax: str) -> Expression:
        """The rate of a reaction, or the quantity that stands for it."""
        if "photo" in self.open or text.lower().startswith("krome_kph_auto"):
            return self.rates.give(f"photo: {equation}")
        if text.lower() != "auto":
            return self.rates.rate(text, tmin, tmax)
        if "xray" in self.open:
            return self.rates.give(f"xray: {equation}")
        self.remarks.add(
            self.line,
            "the rate is in KROME's own data base; write it in place of 'auto', or give its value "
            "as a quantity",
        )
        return self.rates.give(f"auto: {equation}")


def _per_molecule(rate: Any) -> Expression:
    return call("/", rate, Number(_AVOGADRO))


def _bare(name: str) -> str:
    """A species without its braces."""
    return name[1:-1].strip() if name.startswith("{") and name.endswith("}") else name


def _less(products: dict[str, int], used: dict[str, int]) -> dict[str, int]:
    """Products less what is used up beside the reactants."""
    net = {n: products.get(n, 0) - used.get(n, 0) for n in [*products, *used]}
    return {n: c for n, c in net.items() if c}
