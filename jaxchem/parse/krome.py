"""The format of KROME's networks (Grassi et al. 2014, MNRAS 439, 2386).

One reaction a line, fields between commas; ``#`` starts a comment, and the comment above a
reaction is taken for its source. What is read besides::

    @format:idx,R,R,P,P,Tmin,Tmax,rate   # the fields of the reactions below it
    @var:u1 = 11.26d0*invTe              # a quantity, by its definition
    @common: user_crate,user_Av          # what the user gives
    @photo_start ... @photo_stop         # reactions whose limits are energies

Rates are arithmetic in the gas temperature (``Tgas``) and KROME's shortcuts for it (``T32``,
``invTe`` and the rest, with KROME's constants), in any case. ``user_crate``, ``user_Av`` and
``user_gas_dust_ratio`` are `cosmic_ray_rate`, `visual_extinction` and `gas_to_dust`. What cannot
be evaluated becomes a quantity that the user gives, named by its text: other user variables,
functions and array elements such as ``H2_solomonLW(myflux_eV)`` and ``n(idx_H2)``, and the rates
of photo-reactions, as ``photo: H -> H+ + E``.

Outside Tmin to Tmax a rate is zero. The operators of the limits count exactly (``.LE.``, ``<``,
...); a plain number stands for ``.GE.`` at Tmin and ``.LT.`` at Tmax, as in KROME. Variables that
depend on the temperature are written out in a rate with limits, so that the formula and its slope
are finite where it does not count.

Left out are KROME's floor (1e-40 over the fourth power of the largest density, added to every
coefficient), its clipping of temperatures to 2.73-1e9 K, and Fortran's single precision of
numbers without a ``d`` exponent, which moves KROME's own coefficients by 1e-7 and more.

Names of species differ in more than case: of several spellings the first counts. A photon ``g``
is dropped.
"""

import re

from ..formula import CHARGE, ELEMENTS, parse_formula
from ..network import Network, Reaction
from .astro import network, terms
from .common import fail, numbered
from .krome_rates import Rates

__all__ = ["loads", "looks_like"]

_FORMAT = ("idx", "r", "r", "r", "p", "p", "p", "p", "tmin", "tmax", "rate")
_SIGNS = re.compile(
    r"^[ \t]*(@(format|var|common|storeonce_begin|photo_start|notab\w*)\b"
    r"|\d+(,[ ]*[A-Za-z][\w+-]*)(,[\w+ -]*){6},([.<>]?\w[^,\n]*|[.<>][^,\n]+)?,)",
    re.MULTILINE | re.IGNORECASE,
)
_IGNORED = re.compile(r"@(storeonce_(begin|end)|notab(next|_start|_stop)|cr_(start|stop))")
_ELEMENT = re.compile("HE|LI|NE|NA|MG|AL|SI|CL|AR|CA|TI|CR|MN|FE|NI|ZN")
_REFERENCES = {"KROME": "a network of KROME (Grassi et al. 2014, MNRAS 439, 2386)."}


def looks_like(text: str) -> bool:
    """Whether a line is one of KROME's commands, or a reaction in KROME's default format."""
    return _SIGNS.search(text[:100_000]) is not None


def loads(text: str, filename: str = "<text>") -> Network:
    """Reads a network of KROME.

    Args:
        text: the content of the file.
        filename: for error messages.

    Returns:
        The network, in cm-3 and s.

    Raises:
        MechanismError: a line that cannot be read, with file, line and why.
    """
    reader = _Reader(filename)
    for line, content in numbered(text):
        reader.read(line, content)
    compositions = {n: _composition(n) for n in reader.species.values()}
    return network(
        filename,
        reader.reactions,
        _REFERENCES,
        compositions,
        quantities=reader.rates.quantities,
        places=reader.rates.places,
    )


class _Reader:
    """What the lines so far say."""

    def __init__(self, filename: str):
        self.filename = filename
        self.line = 0
        self.format = _FORMAT
        self.photo = False
        self.comment, self.commented = "", False
        self.reactions: list[Reaction] = []
        self.species: dict[str, str] = {}  # in capitals -> as it is first written
        self.rates = Rates(filename)

    def fail(self, message: str) -> ValueError:
        return fail(self.filename, self.line, message)

    def read(self, line: int, content: str) -> None:
        self.line = self.rates.line = line
        content, _, comment = (part.strip() for part in content.partition("#"))
        if comment and not content:
            self.remark(" ".join(comment.replace("#", " ").split()))
            return
        self.commented = False
        if not content:
            return
        if content.startswith("@"):
            self.command(content)
        else:
            self.reaction(content)

    def remark(self, comment: str) -> None:
        """Keeps the comment above a reaction, and not reactions that are commented out."""
        if comment.startswith("@") or re.match(r"\d+,", comment):
            return
        self.comment = f"{self.comment} {comment}" if self.commented else comment
        self.commented = True

    def command(self, content: str) -> None:
        command, _, value = (part.strip() for part in content.partition(":"))
        command = command.lower()
        if command == "@format":
            self.format = tuple(part.strip().lower() for part in value.split(","))
            if self.format.count("rate") != 1 or set(self.format) - set(_FORMAT):
                raise self.fail(
                    f"{content!r}: a format is made of idx, R, P, Tmin, Tmax and one rate"
                )
        elif command == "@var":
            self.rates.define(value)
        elif command == "@common":
            for name in filter(None, map(str.strip, value.split(","))):
                if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
                    raise self.fail(f"{name!r} is no name of a variable")
                self.rates.name(name)
        elif command in ("@photo_start", "@photo_stop"):
            self.photo = command == "@photo_start"
        elif not _IGNORED.fullmatch(command):
            raise self.fail(
                f"{content[:60]!r} is a command that is not supported here; take it out, or write "
                "the reactions that it stands for"
            )

    def side(self, names: list[str]) -> dict[str, int]:
        spelt = [n if n in ("", "g") else self.species.setdefault(_same(n), n) for n in names]
        return terms(self.filename, self.line, spelt, frozenset({"g"}))

    def reaction(self, content: str) -> None:
        place = self.format.index("rate")
        after = len(self.format) - place - 1
        *fields, rest = content.split(",", place)
        fields += rest.rsplit(",", after) if after else [rest]
        fields = [field.strip() for field in fields]
        if len(fields) != len(self.format) or not fields[place]:
            raise self.fail(
                f"{content[:60]!r}: {len(fields)} fields; the format above it is "
                f"{','.join(self.format)}"
            )
        kinds = list(zip(self.format, fields, strict=True))
        at = dict(kinds)
        reaction = Reaction(
            reactants=self.side([f for k, f in kinds if k == "r"]),
            products=self.side([f for k, f in kinds if k == "p"]),
            rate=0.0,
            source="",
            where=f"{self.filename}, line {self.line}",
        )
        if not reaction.reactants:
            raise self.fail(f"{content[:60]!r}: nothing reacts; name a reactant")
        text, tmin, tmax = at["rate"], at.get("tmin", ""), at.get("tmax", "")
        source = f"KROME, {at.get('idx') or len(self.reactions) + 1}"
        source += f": {self.comment}" if self.comment else ""
        if self.photo:
            rate = self.rates.photolysis(f"photo: {reaction.equation}")
            source += f"; {text}, {tmin or 'NONE'} to {tmax or 'NONE'} eV"
        else:
            rate = self.rates.rate(text, tmin, tmax)
        self.reactions.append(reaction._replace(rate=rate, source=source))


def _same(name: str) -> str:
    """What is the same in all spellings of a species."""
    name = name.upper()
    return "E" if name == "E-" else name


def _composition(name: str) -> dict[str, int] | None:
    """Elements and charge of a species; KROME writes FE for Fe, and isomers as c-C3H2, C3H2_c.

    Signs count as charges wherever they stand, as in the adduct OCS+H2.
    """
    capitals = _same(name)
    if capitals == "E":
        return {CHARGE: -1}
    body = re.sub("^[a-z]+-|_.*", "", name)
    charge = body.count("+") - body.count("-")
    formula = re.sub("[+-]", "", body)
    formula = _ELEMENT.sub(lambda found: found[0].capitalize(), formula)
    counts = {} if formula.upper() in ("GRAIN", "GRAIN0") else None
    if counts is None:
        counts = parse_formula(formula, ELEMENTS | {"D"})
    if counts is None:
        return None
    return counts | ({CHARGE: charge} if charge else {})
