"""The KIDA format: one reaction a line in fixed columns, as in kida.uva.2011 to kida.uva.2024.

``3(a11),1x,5(a11),1x,3(e10.3,1x),e8.2,1x,e8.2,1x,a4,1x,i2,1x,i6,1x,i6,1x,i2,1x,i5,i2,i3``:
reactants, products, A, B, C, uncertainty (3), type, lowest and highest temperature, formula,
number of the reaction, of the range and of the recommendation. ``!`` starts a comment.

The formulae (Wakelam et al. 2012, ApJS 199, 21; 2024, A&A 689, A63):

1. A zeta, cosmic rays and the photons that they raise (``CR``, ``CRP``);
2. A exp(-C A_V), interstellar photons (``Photon``);
3. Kooij; 4. and 5. ion-polar capture, `ionpol1` and `ionpol2`;
0. A (T / 300 K)^B, collisions with a grain (``GRAIN0``, ``GRAIN-``);
11. and 10. H to H2 on grains by way of adsorbed H (``XH``): A (T / 300 K)^B n_grain, and
   1.186e7 A exp(-225 K / T) / n_grain, with n_grain = hydrogen_nuclei / gas_to_dust. The
   quantity hydrogen_nuclei is `density` until ``quantities={"hydrogen_nuclei": ...}`` says what
   the number density of H nuclei is: near twice that of a molecular gas.

Where columns contradict one another, as in 25 lines of kida.uva.2024 (``CRP`` with formula 2,
``Photon`` with formula 1), the reactants decide between formulae 1 and 2: by the other one the
rates would be off by many orders of magnitude.

Temperatures outside a rate's range take its value at the nearer end, as in the gas-grain code
Nautilus (Ruaud et al. 2016, MNRAS 459, 3756). Lines of one number are ranges of one reaction: at
each temperature the nearest range counts, and the others are zero.
"""

import re
from collections.abc import Iterator

from ..expression import Expression, Name, Number, call, names, parse
from ..network import Network, Reaction
from .astro import gated, network, number, partition, terms
from .common import fail, numbered

__all__ = ["loads", "looks_like"]

_COSMIC = frozenset({"CR", "CRP"})
_PHOTON = frozenset({"Photon"})
_DROPPED = _COSMIC | _PHOTON
_LINE = re.compile(
    r"^[A-Za-z].{89}\s*\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+(?:logn|logu|norm|unif)\s+\d+\s+-?\d+\s+-?\d",
    re.MULTILINE,
)
_GRAINS = {
    "hydrogen_nuclei": Name("density"),
    "grain_density": parse("hydrogen_nuclei / gas_to_dust"),
}
_LAWS = {3: "kooij_within", 4: "ionpol1", 5: "ionpol2"}
_REFERENCES = {"KIDA": "Wakelam et al. (2012), ApJS 199, 21; Wakelam et al. (2024), A&A 689, A63."}


def looks_like(text: str) -> bool:
    """Whether a line has KIDA's columns, the type of its uncertainty among them."""
    return _LINE.search(text[:100_000]) is not None


def loads(text: str, filename: str = "<text>") -> Network:
    """Reads a network of KIDA.

    Args:
        text: the content of the file.
        filename: for error messages.

    Returns:
        The network, in cm-3 and s, one reaction a line.

    Raises:
        MechanismError: a line that cannot be read, with file, line and why.
    """
    rows = list(_rows(text, filename))
    of_one: dict[tuple, list[int]] = {}
    for j, (_, key, *_) in enumerate(rows):
        of_one.setdefault(key, []).append(j)
    bounds: list[tuple[float | None, float | None]] = [(None, None)] * len(rows)
    for members in of_one.values():
        if len(members) > 1:
            members.sort(key=lambda j: rows[j][2])
            try:
                found = partition([rows[j][2] for j in members])
            except ValueError as error:
                raise fail(filename, rows[members[-1]][0], str(error)) from None
            for j, bound in zip(members, found, strict=True):
                bounds[j] = bound
    reactions = [
        Reaction(
            reactants=reactants,
            products=products,
            rate=gated(*bound, rate),
            source=f"KIDA, {key[0]}",
            where=f"{filename}, line {line}",
        )
        for (line, key, _, rate, reactants, products), bound in zip(rows, bounds, strict=True)
    ]
    grains = any("grain_density" in names(row[3]) for row in rows)
    return network(
        filename,
        reactions,
        _REFERENCES,
        special={"XH": {"H": 1}},
        quantities=_GRAINS if grains else {},
    )


def _rows(text: str, filename: str) -> Iterator[tuple]:
    """Line, key of the reaction, range, rate, reactants and products of each line."""
    for line, content in numbered(text):
        if content.startswith("!") or not content.strip():
            continue
        if len(content) < 171:
            raise fail(
                filename,
                line,
                f"{content.strip()[:40]!r}...: ends at column {len(content)}; a line of KIDA has "
                "at least 171, the last five for the reaction's number",
            )
        columns = [content[i : i + 11] for i in (0, 11, 22, 34, 45, 56, 67, 78)]
        reactants = terms(filename, line, columns[:3], _DROPPED)
        products = terms(filename, line, columns[3:], _DROPPED)
        if not reactants:
            raise fail(filename, line, "nothing reacts; name a reactant in columns 1 to 33")
        a, b, c = (
            number(filename, line, content[i : i + 10], what)
            for i, what in ((90, "A"), (101, "B"), (112, "C"))
        )
        low = number(filename, line, content[149:155], "the lowest temperature")
        high = number(filename, line, content[156:162], "the highest temperature")
        if low > high:
            raise fail(filename, line, f"the range of temperature {low:g}-{high:g} K is empty")
        formula = content[163:165].strip()
        label = content[166:171].strip()
        if not label.isdecimal():
            raise fail(filename, line, f"columns 167 to 171 say {label!r}, not a reaction's number")
        key = (label, frozenset(reactants.items()), frozenset(products.items()))
        agents = {c.strip() for c in columns[:3]} & _DROPPED
        rate = _rate(agents, formula, (a, b, c), (low, high))
        if rate is None:
            raise fail(
                filename,
                line,
                f"formula {formula or 'nothing'}{' with ' if agents else ''}{'+'.join(agents)} is "
                "none of 0 to 5, 10 and 11 (1 and 2 with CR, CRP or Photon)",
            )
        yield line, key, (low, high), rate, reactants, products


def _rate(
    agents: set[str],
    formula: str,
    parameters: tuple[float, float, float],
    limits: tuple[float, float],
) -> Expression | None:
    a, b, c = map(Number, parameters)
    if agents:
        if formula not in ("1", "2") or len(agents) > 1:
            return None
        if agents & _PHOTON:
            return call("interstellar_photo", a, c)
        return call("cosmic_ray", a)
    if formula in ("3", "4", "5"):
        return call(_LAWS[int(formula)], a, b, c, *map(Number, limits))
    if formula == "0":
        return call("kooij", a, b, c)
    if formula == "11":
        return call("*", call("kooij", a, b, c), Name("grain_density"))
    if formula == "10":
        surface = call("arrhenius", call("*", Number(1.186e7), a), Number(225.0))
        return call("/", surface, Name("grain_density"))
    return None
