"""Networks as KPP mechanisms, in one file that KPP and `jaxchem.parse.kpp` read."""

import re
from collections.abc import Mapping

import numpy as np

from ..expression import Call, Expression, Name, Number, call, rewrite, show
from ..formula import CHARGE
from ..network import Network, sides
from ..rates import CONDITIONS, LAWS, mcm

__all__ = ["dumps"]

_NAMES = {
    **{name: name.upper() for name in CONDITIONS},
    **{"temperature": "TEMP", "density": "M", "pressure": "PRESS"},
}
_OWN = frozenset(
    name
    for name, law in LAWS.items()
    if law.function.__module__.rpartition(".")[2] in ("kpp", "geoschem")
)
_FUNCTIONS = frozenset(("exp", "log", "log10", "sqrt", "abs", "min", "max"))
_OPERATORS = frozenset(("+", "-", "*", "/", "**", "neg"))
_UNITS = ("cm-3", "molecule cm-3", "molecules cm-3")
_TIMES = {"temperature": "TEMP", "start": "TSTART", "end": "TEND", "step": "DT"}


def dumps(network: Network) -> str:
    """Writes a network in KPP's language; `kpp.loads` gives the same kinetics back.

    Names that are no Fortran identifiers (``C+``, ``PHOTO.jO2``) are rewritten, with the true one
    in a comment. Photolysis of the MCM becomes ``J(4)``, which KPP leaves to its host, as it does
    quantities without a definition.

    Raises:
        ValueError: units other than cm-3 and s, or a rate law that KPP does not have.
    """
    if network.units.concentration not in _UNITS or network.units.time != "s":
        raise ValueError(
            f"network {network.name!r} is in {', '.join(network.units)}; a KPP mechanism here is "
            "in molecule cm-3 and s."
        )
    species = _identifiers(network.species)
    quantities = _identifiers([n for n, _ in network.quantities if not _is_call(n)])
    pools = _identifiers([p for p in network.pool_names if not p.startswith("C(ind_")])
    known = {**_NAMES, **quantities, **pools}
    known |= {p: f"C(ind_{species[p[6:-1]]})" for p in network.pool_names if p not in pools}
    ours = {n: tree for n, tree in network.quantities if tree is not None}
    known |= {n: f"J({n[1:]})" for n, tree in ours.items() if _is_photolysis(tree)}
    hosts = {n for n, tree in ours.items() if tree == Call("SUNLIGHT", ()) or _is_air(n, tree)}
    defined = {n: t for n, t in ours.items() if n not in hosts and not _is_photolysis(t)}
    lines = [f"{{ {network.title or network.name} }}", ""]
    given = [quantities[n] for n in (*network.user_quantities, *hosts) if n in quantities]
    needed = [
        f"  REAL(dp) :: {n}" for n in (*given, "M", *(quantities[n] for n in defined), *pools)
    ]
    lines += ["#INLINE F90_GLOBAL", *needed, "#ENDINLINE", ""]
    for title, fixed in (("#DEFVAR", False), ("#DEFFIX", True)):
        found = [n for n in network.species if (n in network.fixed) == fixed]
        if found:
            lines += [
                title,
                *(f"{species[n]} = {_atoms(network, n)};{_true(n, species)}" for n in found),
            ]
            lines.append("")
    if checked := [e for e in network.balanced if e != CHARGE]:
        lines += [f"#CHECK {'; '.join(checked)};", ""]
    rates = network.expressions()
    defaults = dict(network.defaults)
    factor = 1e-6 * defaults.get("density", 1e6)
    lines += ["#INITVALUES", f"CFACTOR = {factor!r};"]
    lines += [f"{species[n]} = {value / factor!r};" for n, value in network.initial]
    lines += ["", "#INLINE F90_INIT"]
    lines += [f"  {fortran} = {defaults[n]!r}" for n, fortran in _TIMES.items() if n in defaults]
    lines += ["#ENDINLINE", "", "#INLINE F90_RCONST"]
    for name, row in zip(network.pool_names, network.structure.pools, strict=True):
        if name in pools:
            members = [f"C(ind_{species[network.species[i]]})" for i in np.flatnonzero(row)]
            lines.append(f"  {pools[name]} = {_wrapped(members)}")
    lines += [f"  {quantities[n]} = {_fortran(tree, known)}" for n, tree in defined.items()]
    lines += ["#ENDINLINE", ""]
    for name, members in network.families:
        text = " + ".join(f"{c:g} {species[n]}" if c != 1 else species[n] for n, c in members)
        lines += [f"#FAMILIES {name} : {text};"]
    lines += ["#EQUATIONS"]
    for j, (equation, rate) in enumerate(zip(network.equations, rates, strict=True)):
        left, right = sides(equation)
        text = f"{_side(left, species) or 'hv'} = {_side(right, species) or 'PROD'}"
        lines.append(f"<R{j + 1}> {text} : {_fortran(rate, known)};")
    return "\n".join(lines) + "\n"


def _is_call(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z]\w*\(.*\)", name) is not None


def _is_photolysis(tree: Expression) -> bool:
    return isinstance(tree, Call) and tree.function == "mcm_photolysis"


def _is_air(name: str, tree: Expression) -> bool:
    return name in mcm.AIR and tree == mcm.definitions([name])[name]


def _identifiers(names: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Each name as a Fortran identifier; no two are the same, whatever their case."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        base = re.sub(r"\W", "_", name.replace("+", "_p").replace("-", "_m"), flags=re.ASCII)
        base = base if base[:1].isalpha() else f"X_{base}"
        own, turn = base, 2
        while own.upper() in taken:
            own, turn = f"{base}_{turn}", turn + 1
        taken.add(own.upper())
        found[name] = own
    return found


def _true(name: str, species: Mapping[str, str]) -> str:
    return "" if species[name] == name else f" {{{name}}}"


def _atoms(network: Network, name: str) -> str:
    if name in network.undeclared:
        return "IGNORE"
    column = network.composition[:, network.species.index(name)]
    counts = zip(network.elements, column.astype(int), strict=True)
    text = " + ".join(f"{c if c > 1 else ''}{e}" for e, c in counts if c and e != CHARGE)
    return text or "IGNORE"


def _side(terms: Mapping[str, float], species: Mapping[str, str]) -> str:
    text = ""
    for name, count in terms.items():
        number = "" if abs(count) == 1 else f"{abs(count):.17g} "
        sign = ("- " if count < 0 else "+ ") if text else ("-" if count < 0 else "")
        text += f" {sign}{number}{species[name]}" if text else f"{sign}{number}{species[name]}"
    return text


def _wrapped(terms: list[str]) -> str:
    rows = [" + ".join(terms[i : i + 4]) for i in range(0, len(terms), 4)]
    return " + &\n    ".join(rows)


def _fortran(tree: Expression, known: Mapping[str, str]) -> str:
    """An expression in Fortran, laws that KPP does not have written out."""

    def change(tree: Expression) -> Expression:
        if isinstance(tree, Name):
            return Name(known.get(tree.name, tree.name))
        if not isinstance(tree, Call) or tree.function in _OPERATORS:
            return tree
        if tree.function in _FUNCTIONS:
            return Call(tree.function.upper(), tree.arguments)
        if tree.function in _OWN:
            return tree
        temperature = Name("TEMP")
        if tree.function == "cosmic_ray":
            return call("*", tree.arguments[0], Name("COSMIC_RAY_RATE"))
        if tree.function == "arrhenius":
            factor, theta = tree.arguments
            return call("*", factor, _boltzmann(theta, temperature))
        if tree.function == "kooij":
            factor, beta, gamma = tree.arguments
            power = call("**", call("/", temperature, Number(300.0)), beta)
            return call("*", call("*", factor, power), _boltzmann(gamma, temperature))
        raise ValueError(f"the rate law {tree.function!r} has no counterpart in KPP.")

    text = show(rewrite(tree, change)).replace('"', "")
    # Fortran reads a number without a D in single precision
    number = r"(?<![\w.])(\d+\.\d*|\d+)(?:e([+-]?\d+))?(?![\w.(])"
    return re.sub(number, lambda m: f"{m[1]}D{m[2] or 0}", text)


def _boltzmann(theta: Expression, temperature: Expression) -> Expression:
    return Call("EXP", (call("/", call("neg", theta), temperature),))
