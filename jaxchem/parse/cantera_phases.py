"""What belongs to a phase of Cantera's YAML: its species and reactions, of whatever file.

Sections are lists at the top of a file. A phase takes all of them or some, of this file or another
(``FILE/SECTION``) beside it.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..brief import few
from ..network import unknown_species
from .cantera_units import Scale
from .common import beside, decoded
from .document import Node, read

__all__ = ["Entry", "File", "Phase", "chosen"]

_PHASE = (
    *("name", "thermo", "kinetics", "elements", "species", "reactions", "state", "transport"),
    *("note", "units", "skip-undeclared-elements", "skip-undeclared-third-bodies"),
    *("adjacent-phases", "explicit-third-body-duplicates"),
)


_ABOUT = frozenset(
    ("description", "generator", "input-files", "cantera-version", "date", "git-commit", "note")
)
"""What a file says of itself."""


class Entry(NamedTuple):
    """A species or a reaction, and the units in force there."""

    node: Node
    scale: Scale


class File:
    """One YAML file, and those that its sections are in."""

    def __init__(self, filename: str, text: str):
        self.filename = filename
        self.root = read(text, filename)
        self.scale = Scale().within(self.root)
        self.others: dict[str, File] = {}
        self.used = {"units", "phases"}

    def section(self, name: Node) -> list[Entry]:
        """The entries of a list by its name, ``KEY`` or ``FILE/KEY``."""
        path, slash, key = name.text().rpartition("/")
        source = self.other(path, name) if slash else self
        if key not in source.root.mapping():
            raise name.fail(f"{source.filename} has no section {key[:40]!r}; add it")
        source.used.add(key)
        items, scale = source.root.get(key).items(), source.scale
        if items and [*items[0].mapping()] == ["units"]:
            scale, items = scale.within(items[0]), items[1:]
        return [Entry(item, scale.within(item)) for item in items]

    def tell(self) -> None:
        """Warns of sections that nothing has asked for."""
        rest = [key for key in self.root.mapping() if key not in self.used | _ABOUT]
        if rest := [key for key in rest if not key.startswith("__")]:
            warnings.warn(
                f"{self.root.get(rest[0]).where}: sections that the phase does not use are passed "
                f"over: {few(rest)}.",
                stacklevel=5,
            )

    def other(self, path: str, name: Node) -> "File":
        """A file beside this one."""
        if path not in self.others:
            found = beside(self.filename, path)
            if found is None:
                wanted = Path(self.filename).parent / path
                raise name.fail(f"there is no file {str(wanted)!r}; put it there")
            self.others[path] = File(str(found), decoded(found))
        return self.others[path]


def chosen(source: File, wanted: str | None) -> Node:
    """The phase of a name, or the first ideal gas that reacts.

    Raises:
        MechanismError: no phase of that name, or none that is such a gas.
    """
    phases = source.root.get("phases")
    names = [phase.get("name").text() for phase in phases.items()]
    if wanted is not None and wanted not in names:
        raise phases.fail(f"there is no phase {wanted!r}; it has {', '.join(names)}")
    if wanted is not None:
        return phases.items()[names.index(wanted)]
    fits = [
        phase.get("thermo").text() == "ideal-gas"
        and phase.mapping().get("kinetics", phase.put("none")).value != "none"
        for phase in phases.items()
    ]
    if True not in fits:
        raise phases.fail(
            "none is an ideal gas that reacts (thermo: ideal-gas and kinetics: gas); other phases "
            "are not read"
        )
    place = fits.index(True)
    if place:
        warnings.warn(
            f"{phases.items()[0].where}: phase {names[0]!r} is no ideal gas that reacts; "
            f"{names[place]!r} is read in its place.",
            stacklevel=6,
        )
    return phases.items()[place]


class Phase:
    """One phase, which must be an ideal gas.

    Args:
        source: the file that it stands in.
        node: its place there.
    """

    def __init__(self, source: File, node: Node):
        self.source, self.node = source, node
        self.fields = node.fields(_PHASE, ("thermo", "kinetics"))
        for key, known in (("thermo", ("ideal-gas",)), ("kinetics", ("gas", "bulk"))):
            told = self.fields[key]
            if told.text() not in known:
                raise told.fail(f"{key} {told.text()[:40]!r} is not read, only {known[0]!r} is")
        self.name = node.get("name").text()

    def flag(self, key: str) -> bool:
        """Whether a key is there and true."""
        return key in self.fields and self.fields[key].flag()

    @property
    def elements(self) -> set[str] | None:
        """Those that its species are made of, where others are to be left out."""
        if not self.flag("skip-undeclared-elements"):
            return None
        return _words(self.node.get("elements"))

    def species(self) -> Iterator[Entry]:
        """The entries of the species that the phase names."""
        found = self.fields.get("species", self.node.put("all"))
        if isinstance(found.value, str):
            if found.value != "all":
                raise found.fail(f"{found.value[:40]!r}: write all, or a list of species")
            yield from self.source.section(found.put("species"))
            return
        own = [item for item in found.items() if isinstance(item.value, str)]
        if own:
            yield from _picked(self.source.section(found.put("species")), own)
        for item in found.items():
            for section, names in item.mapping().items() if item not in own else ():
                entries = self.source.section(item.put(section))
                yield from entries if names.value == "all" else _picked(entries, names.items())

    def reactions(self) -> Iterator[tuple[Entry, bool]]:
        """Its reactions; false beside one that counts where the phase has all its species."""
        found = self.fields.get("reactions", self.node.put("all"))
        named: list[tuple[Node, Node]] = []
        if isinstance(found.value, str):
            named.append((found.put("reactions"), found))
        else:
            for item in found.items():
                if isinstance(item.value, str):
                    named.append((item, item.put("all")))
                else:
                    named += [(item.put(key), which) for key, which in item.mapping().items()]
        for section, which in named:
            if which.text() not in ("all", "none", "declared-species"):
                raise which.fail(f"{which.text()[:40]!r}: write all, none or declared-species")
            for entry in self.source.section(section) if which.text() != "none" else ():
                yield entry, which.text() == "all"


def _words(node: Node) -> set[str]:
    """All words of a list, and of lists in the mappings of one."""
    if isinstance(node.value, str):
        return {node.value}
    parts = node.value if isinstance(node.value, list) else [*node.value.values()]
    return {word for part in parts for word in _words(part)}


def _picked(entries: Sequence[Entry], names: Sequence[Node]) -> Iterator[Entry]:
    """Those of these names, in their order."""
    found = {entry.node.get("name").text(): entry for entry in entries}
    for name in names:
        if name.text() not in found:
            raise name.fail(unknown_species(name.text(), found, "the list of the phase"))
        yield found[name.text()]
