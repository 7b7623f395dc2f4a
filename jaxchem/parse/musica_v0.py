"""MUSICA's older mechanisms, version 0 (CAMP), rewritten as version 1.

A ``config.json`` lists ``camp-files``, beside it, whose ``camp-data`` hold species (``CHEM_SPEC``)
and reactions (``MECHANISM``). Their rate coefficients are in molecule cm-3 and become mol m-3
here, third bodies counted among the reactants, as MUSICA's own reader does (Dawson et al. 2022,
Geosci. Model Dev. 15, 3663). A ``CONSTANT`` tracer keeps its concentration, which that reader
(0.17) lets react away.
"""

from ..rates import AVOGADRO
from .common import LARGEST, MOST, beside, decoded
from .document import Node, read

__all__ = ["upgrade"]

_RENAMED = {
    "BRANCHED": "BRANCHED_NO_RO2",
    "WENNBERG_NO_RO2": "BRANCHED_NO_RO2",
    "WENNBERG_TUNNELING": "TUNNELING",
}
_CONVERTED = {
    "ARRHENIUS": {"A": 0},
    "TUNNELING": {"A": 0},
    "BRANCHED_NO_RO2": {"X": 0},
    "TROE": {"k0_A": 1, "kinf_A": 0},
    "TERNARY_CHEMICAL_ACTIVATION": {"k0_A": 1, "kinf_A": 0},
}
"""Which parameters have concentrations in their unit: beyond the reactants less one, how often."""
_PRODUCTS = ("products", "gas-phase products", "alkoxy products", "nitrate products")
"""Molecules that react together."""


def upgrade(root: Node) -> Node:
    """The same mechanism as a document of version 1.

    Args:
        root: the configuration that lists files, or one such file.

    Raises:
        MechanismError: a file that is not there, or an entry of unknown type.
    """
    species: list[Node] = []
    reactions: list[Node] = []
    name = root.put("")
    for part in _parts(root):
        for entry in part.fields(("camp-data",), ("camp-data",))["camp-data"].items():
            kind = entry.get("type").text()
            if kind == "CHEM_SPEC":
                species.append(entry.put({k: n for k, n in entry.mapping().items() if k != "type"}))
            elif kind == "MECHANISM":
                fields = entry.fields(("type", "name", "reactions"), ("reactions",))
                reactions += [_reaction(node) for node in fields["reactions"].items()]
                name = fields.get("name", name)
            elif kind == "RELATIVE_TOLERANCE":
                entry.fields(("type", "value"), ("value",))["value"].number()
            else:
                raise entry.fail(
                    f"entry of type {kind[:40]!r}; known: CHEM_SPEC, MECHANISM, RELATIVE_TOLERANCE"
                )
    members = [node.put({"name": node.get("name")}) for node in species]
    gas = root.put({"name": root.put("gas"), "species": root.put(members)})
    return root.put(
        {
            "name": name,
            "version": root.put("0"),
            "species": root.put(species),
            "phases": root.put([gas]),
            "reactions": root.put(reactions),
        }
    )


def _parts(root: Node) -> list[Node]:
    if "camp-files" not in root.mapping():
        return [root]
    parts = []
    seen = set()
    size = 0
    for entry in root.fields(("camp-files",))["camp-files"].items():
        path = beside(root.filename, entry.text())
        if path is None:
            raise entry.fail(
                f"there is no file {entry.text()[:80]!r} beside this one; put it there"
            )
        if path in seen:
            raise entry.fail(f"{entry.text()!r} is listed twice; drop one")
        seen.add(path)
        try:
            text = decoded(path)
        except ValueError as error:
            raise entry.fail(str(error)) from None
        size += len(text)
        if size > LARGEST:
            raise entry.fail(f"the files have more than {LARGEST} characters in all")
        parts.append(read(text, str(path)))
    return parts


def _reaction(node: Node) -> Node:
    found = dict(node.mapping())
    kind = node.get("type")
    kind = kind.put(_RENAMED.get(kind.text(), kind.text()))
    found |= {"type": kind, "gas phase": node.put("gas")}
    for old, new in (("MUSICA name", "name"), ("gas-phase reactant", "gas-phase species")):
        if old in found:
            found[new] = found.pop(old)
    if "species" in found:  # of an emission or a loss
        side = "products" if kind.value == "EMISSION" else "reactants"
        only = found.pop("species")
        found[side] = only.put([only.put({"name": only})])
    elif "reactants" in found:
        found["reactants"] = _side(found["reactants"], "qty")
    for side in _PRODUCTS:
        if side in found and isinstance(found[side].value, dict):
            found[side] = _side(found[side], "yield")
    molecules = sum(
        part.mapping()["coefficient"].number() if "coefficient" in part.mapping() else 1.0
        for part in (found["reactants"].items() if "reactants" in found else ())
    )
    if not 0 <= molecules <= MOST:
        raise node.fail(f"{molecules:g} molecules react; {MOST} are the most that can be read")
    for key, more in _CONVERTED.get(str(kind.value), {}).items():
        given = found.get(key, node.put("1"))
        factor = (1e-6 * AVOGADRO) ** (molecules - 1 + more)
        found[key] = given.put(repr(given.number() * factor))
    return node.put(found)


def _side(node: Node, count: str) -> Node:
    """A mapping of species as the list of version 1."""
    parts = []
    for name, part in node.mapping().items():
        entry = {"name": part.put(name)}
        if found := part.fields((count,)):
            entry["coefficient"] = found[count]
        parts.append(part.put(entry))
    return node.put(parts)
