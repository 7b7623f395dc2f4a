"""The gas of UCLCHEM's networks (Holdship et al. 2017, AJ 154, 38): one reaction a line of CSV.

As its program Makerates writes and reads them (https://github.com/uclchem/UCLCHEM; the rates are
those of its src/fortran_src/rates.f90)::

    Reactant 1,Reactant 2,Reactant 3,Product 1,Product 2,Product 3,Product 4,
        Alpha,Beta,Gamma,T_min,T_max,reduced_mass,extrapolate

With this line, a single one, columns count by their names, without it by this order; the last
four may be absent. ``NAN`` and blanks are nothing, ``!`` starts a comment, and names are in
capitals whatever their case in the file. The second or third reactant may be the type of the
reaction; a ``PHOTON`` that is made is no species. The rates:

* two bodies: alpha (T / 300 K)^beta exp(-gamma / T); ``IONOPOL1`` and ``IONOPOL2``: the ion-polar
  capture of KIDA, `ionpol1` and `ionpol2`;
* ``CRP``, cosmic rays: alpha times UCLCHEM's zeta, which counts in 1.3e-17 s-1; the quantity
  ``cosmic_ray_scale`` is cosmic_ray_rate / 1.3e-17;
* ``CRPHOT``, photons that they raise: alpha (T / 300 K)^beta gamma / (1 - omega) zeta, omega the
  quantity ``dust_albedo``, 0.5 unless another is given;
* ``PHOTON``, interstellar photons: alpha exp(-gamma A_V) uv_field. UCLCHEM's own field counts in
  Habing's, 1.7 of which are the one that the coefficients are for: uv_field = G / 1.7;
* ``PHOTON`` with H2, CO or C, whose coefficients UCLCHEM replaces by those of shielded light: the
  user gives the rate, as ``photo: H2 -> 2 H`` [s-1];
* ``H2FORM``, H2 on grains: of first order in H, so one H reacts and the other is used up; the user
  gives ``H2FORM: 2 H -> H2``, the coefficient times the density of H nuclei [s-1].

All are zero outside T_min to T_max, and the end points count, unless ``extrapolate`` says True;
without numbers the range is 0 to 10000 K. Lines of one reaction add up.

Reactions with ices (``#X`` on the surface, ``@X`` in the bulk) and grains (``FREEZE``, ``THERM``,
``LH`` and the like) are refused; ``skip=True`` leaves them out, and the gas remains.
"""

import re
from functools import partial

from ..expression import Expression, Name, Number, call, parse
from ..network import Network, Reaction
from .astro import HOTTEST, Names, Remarks, network, number
from .common import counted, fail, numbered

__all__ = ["loads", "looks_like"]

_COLUMNS = (
    *("reactant 1", "reactant 2", "reactant 3", "product 1", "product 2", "product 3"),
    *("product 4", "alpha", "beta", "gamma", "t_min", "t_max", "reduced_mass", "extrapolate"),
)
_LEAST = 10
_NOTHING = ("", "NAN")
_PLACEHOLDERS = ("H2", "CO", "C")
_GAS = frozenset({"CRP", "CRPHOT", "PHOTON", "IONOPOL1", "IONOPOL2", "H2FORM"})
_GRAINS = frozenset(
    "FREEZE THERM DESORB DESOH2 DESCR DEUVCR BULKSWAP SURFSWAP CRS EXRELAX LH LHDES ER ERDES "
    "EXSOLID CHEMDES DIFF".split()
)
_ICES = ("BULK", "SURFACE")
_FALSE, _TRUE = ("", "false", "0", "nan"), ("true", "1")
_LINE = re.compile(
    r"^[ \t]*(?:Reactant 1[ \t]*,"
    r"|[#@]?\w{1,20}[*+-]*,(?:[ \t]*[#@]?\w{0,20}[*+-]*[ \t]*,){6}"
    r"(?:[ \t]*[-+.\deE]+[ \t]*(?:,|$)){3})",
    re.MULTILINE | re.IGNORECASE | re.ASCII,
)
_REFERENCES = {"UCLCHEM": "a network of UCLCHEM (Holdship et al. 2017, AJ 154, 38)."}
_QUANTITIES = {
    "cosmic_ray_scale": parse("cosmic_ray_rate / 1.3e-17"),
    "dust_albedo": Number(0.5),
}


def looks_like(text: str) -> bool:
    """Whether a line is UCLCHEM's header, or has its seven names and three numbers."""
    return _LINE.search(text[:100_000]) is not None


def loads(text: str, filename: str = "<text>", *, skip: bool = False) -> Network:
    """Reads the gas of a network of UCLCHEM.

    Args:
        text: the content of the file.
        filename: for error messages.
        skip: leave out the lines that cannot be read, such as those with ices, with a warning,
            instead of an error.

    Returns:
        The network, in cm-3 and s, one reaction a line.

    Raises:
        MechanismError: a line that cannot be read, with file, line and why.
    """
    reader = _Reader(filename)
    remarks = Remarks(filename, skip)
    reactions, first = [], True
    lines = [(n, c) for n, raw in numbered(text) if (c := raw.partition("!")[0].strip())]
    counted(filename, len(lines))
    for line, content in lines:
        fields = [field.strip() for field in content.split(",")]
        if first and fields[0].lower() in _COLUMNS:
            reader.header(line, fields)
        else:
            with remarks.reading(line):
                reactions.append(reader.reaction(line, fields))
        first = False
    remarks.tell()
    return network(
        filename,
        reactions,
        _REFERENCES,
        quantities=_QUANTITIES | dict.fromkeys(reader.given),
        places={("quantities", name): place for name, place in reader.given.items()},
    )


class _Reader:
    """The columns of a file, its species, and the rates that the user gives, with their places."""

    def __init__(self, filename: str):
        self.filename = filename
        self.columns = _COLUMNS
        self.named = False
        self.species = Names(filename, frozenset(_NOTHING), True, _GAS | _GRAINS)
        self.given: dict[str, str] = {}

    def header(self, line: int, fields: list[str]) -> None:
        self.columns, self.named = tuple(field.lower() for field in fields), True
        for column in self.columns:
            if column not in _COLUMNS or self.columns.count(column) > 1:
                raise fail(self.filename, line, f"column {column!r} is unknown or stands twice")
        if missing := [column for column in _COLUMNS[:_LEAST] if column not in self.columns]:
            raise fail(self.filename, line, f"there is no column {missing[0]!r}; add it")

    def reaction(self, line: int, fields: list[str]) -> Reaction:
        wrong = partial(fail, self.filename, line)
        most, least = len(self.columns), len(self.columns) if self.named else _LEAST
        if not least <= len(fields) <= most:
            raise wrong(f"{len(fields)} fields; {'' if self.named else '10 to '}{most} are right")
        row = dict.fromkeys(_COLUMNS, "") | dict(zip(self.columns, fields, strict=False))
        left, right = (
            [n for c in _COLUMNS if c.startswith(side) if (n := row[c].upper()) not in _NOTHING]
            for side in ("reactant", "product")
        )
        kinds = [name for name in left if name in _GAS | _GRAINS | {"GAR"}]
        if {*kinds} & _GRAINS or any(n[0] in "#@" or n in _ICES for n in [*left, *right]):
            raise wrong(
                "reactions with ices and grains (#, @, FREEZE, THERM, LH and the like) need "
                "grains, which jaxchem has not"
            )
        if "GAR" in kinds:
            raise wrong("GAR needs seven parameters of another file, gar_settings.yaml")
        left = [name for name in left if name not in kinds]
        reactants = self.species.terms(line, left)
        products = self.species.terms(line, [name for name in right if name != "PHOTON"])
        kind = "".join(kinds)
        if len(kinds) > 1 or len(left) < (1 if kind in ("CRP", "CRPHOT", "PHOTON") else 2):
            raise wrong(
                f"{' + '.join([*left, *kinds]) or 'nothing'} reacts: name two species, or one with "
                "one of CRP, CRPHOT and PHOTON"
            )
        reaction = Reaction(
            reactants=reactants,
            products=products,
            rate=0.0,
            source=f"UCLCHEM, line {line}" + f" {kind}" * bool(kind),
            where=f"{self.filename}, line {line}",
        )
        read = partial(number, self.filename, line)
        parameters = [read(row[name], name) for name in ("alpha", "beta", "gamma")]
        low, high = (
            default if row[name].upper() in _NOTHING else read(row[name], name)
            for name, default in (("t_min", 0.0), ("t_max", 10000.0))
        )
        if low > high:
            raise wrong(f"the range of temperature {low:g}-{high:g} K is empty")
        extrapolated = row["extrapolate"].lower() in _TRUE
        if not extrapolated and row["extrapolate"].lower() not in _FALSE:
            raise wrong(f"extrapolate is {row['extrapolate']!r}; write True or False")
        if kind == "H2FORM":
            one, *others = (name for name, count in reactants.items() for _ in range(count))
            return reaction._replace(
                reactants={one: 1},
                products=products | {n: products.get(n, 0) - others.count(n) for n in others},
                rate=self.give(f"H2FORM: {reaction.equation}", reaction),
            )
        if kind == "PHOTON" and left[0] in _PLACEHOLDERS:
            return reaction._replace(rate=self.give(f"photo: {reaction.equation}", reaction))
        if extrapolated:
            return reaction._replace(rate=_rate(kind, parameters, 0.0, HOTTEST))
        rate = call("at_most", Number(high), _rate(kind, parameters, low, high))
        return reaction._replace(rate=call("at_least", Number(low), rate) if low > 0 else rate)

    def give(self, name: str, reaction: Reaction) -> Name:
        self.given.setdefault(name, reaction.where)
        return Name(name)


def _rate(kind: str, parameters: list[float], low: float, high: float) -> Expression:
    a, b, c = map(Number, parameters)
    if kind == "PHOTON":
        return call("interstellar_photo", a, c)
    if kind == "CRP":
        return call("*", a, Name("cosmic_ray_scale"))
    if kind == "CRPHOT":
        return call("*", call("secondary_photo", a, b, c), Name("cosmic_ray_scale"))
    law = {"IONOPOL1": "ionpol1", "IONOPOL2": "ionpol2"}.get(kind, "kooij_within")
    return call(law, a, b, c, Number(low), Number(high))
