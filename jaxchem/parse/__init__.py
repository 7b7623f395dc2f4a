"""Reading networks: one module a format, one path to a `Network`."""

import difflib
import importlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import atomic
from ..formula import parse_formula
from ..network import MechanismError, Network, closed, declared, unknown_species
from . import kpp_writer, others, table
from .common import decoded, is_file, numbered

__all__ = ["FORMATS", "dump", "load", "loads", "shipped"]

_SHIPPED = Path(__file__).parent.parent / "data"

FORMATS = (
    *("table", "cesm", "f0am", "cantera", "musicbox", "musica", "umist", "kpp"),
    *("facsimile", "krome", "kida", "uclchem"),
)
"""Formats by name, in the order in which a file's content is compared with them."""
_LISTS = ("umist", "krome", "kida", "uclchem")


def shipped() -> tuple[str, ...]:
    """The names of the networks that come with jaxchem."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.txt")))


def load(
    path: str | Path,
    *,
    format: str | None = None,
    strict: bool = False,
    composition: Sequence[str | Path | Mapping[str, str]] | None = None,
    closing: Mapping[str, str] | None = None,
    skip: bool = False,
) -> Network:
    """Loads a network by the name of one that ships, or from a file.

    Args:
        path: a name from `jaxchem.shipped()`, or the path of a mechanism file: jaxchem's
            own table, KPP (the MCM's exports included), FACSIMILE, CESM's chemistry
            preprocessor, F0AM, Cantera's YAML, MUSICA (a mechanism, or a run of MusicBox), KIDA,
            UMIST, KROME or UCLCHEM.
        format: one of `FORMATS`; `None` tells it from the content.
        strict: raise instead of warn where a reaction creates or destroys an element.
        composition: what species are made of where the mechanism does not say so: paths of KPP
            files that declare them, such as MECCA's for the MCM, and formulas by species; later
            ones go before. See `jaxchem.network.declared`.
        closing: element -> species with one atom of it, such as C: CO2, that reactions leave
            unwritten where they lose it. See `jaxchem.network.closed`.
        skip: leave out the reactions of an astrochemical list (KIDA, UMIST, KROME, UCLCHEM) that
            cannot be read, such as those on grains and lines that contradict themselves, with a
            warning that counts them.

    Returns:
        The network.

    Raises:
        ValueError: no such name, file or format, a formula that is none, or what `closed` refuses.
        MechanismError: (a `ValueError`) content that cannot be read, with file and line; more than
            50 000 reactions or 20 million bytes; under `strict`, an unbalanced reaction.
    """
    name, path = str(path), Path(path)
    if name in shipped():
        path = _SHIPPED / f"{name}.txt"
    elif not is_file(path):
        near = difflib.get_close_matches(name, shipped(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"no network {name!r}: it is neither a file nor a network that ships; "
            f"{hint}Shipped: {', '.join(shipped())}."
        )
    if format is not None and format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; known: {', '.join(FORMATS)}.")
    network = loads(decoded(path), str(path), format=format, skip=skip)
    if composition is not None:
        told = [_formulas(part, network) for part in composition]
        network = declared(network, {n: c for part in told for n, c in part.items() if c})
    for element, species in (closing or {}).items():
        network = closed(network, element, species)
    if problems := list(network.unbalanced().values()):
        message = f"{path}: " + " ".join(problems[:5])
        if len(problems) > 5:
            message += f" ... and {len(problems) - 5} more; see network.check()."
        if strict:
            raise MechanismError(message + " Declare the right composition, or mend the equation.")
        warnings.warn(message, stacklevel=2)
    return network


def _formulas(told: str | Path | Mapping[str, str], network: Network) -> dict[str, Any]:
    """Element counts by species, of a file or of formulas."""
    if not isinstance(told, Mapping):
        if not is_file(Path(told)):
            raise ValueError(f"composition: there is no file {str(told)!r}.")
        kpp = importlib.import_module(".kpp", __name__)
        return kpp.compositions(decoded(Path(told)), str(told))
    for name, formula in told.items():
        if name not in network.species:
            raise ValueError(unknown_species(name, network.species, "composition"))
        if parse_formula(formula) is None:
            raise ValueError(f"composition: {formula!r} of {name} is no formula; write as HNO3.")
    return {name: parse_formula(formula) for name, formula in told.items()}


def loads(
    text: str, filename: str = "<text>", *, format: str | None = None, skip: bool = False
) -> Network:
    """As `load`, from text; `filename` is for messages and for files that the text includes."""
    said = text if format else "\n".join(line for _, line in numbered(text))
    for name in FORMATS if format is None else (format,):
        module = table if name == "table" else importlib.import_module(f".{name}", __name__)
        if format or module.looks_like(said):
            if skip and name not in _LISTS:
                raise ValueError(
                    f"{filename}: skip is for lists of {', '.join(_LISTS)}, and this is {name}; "
                    "without it, errors say what to mend."
                )
            try:
                return module.loads(text, filename, **({"skip": True} if skip else {}))
            except (MemoryError, RecursionError) as error:
                what = "large" if isinstance(error, MemoryError) else "deeply nested"
                raise MechanismError(
                    f"{filename}, line 1: its {len(text)} characters are too {what} to be read as "
                    f"{name}."
                ) from None
    if found := others.foreign(text):
        line, other = found
        raise MechanismError(
            f"{filename}, line {line}: this is {other.name}, which jaxchem does not read; "
            f"{other.way}."
        )
    raise MechanismError(
        f"{filename}, line 1: not a network that jaxchem can read; its own format has a [species] "
        f"and a [reactions] section (see jaxchem.parse.table). Other formats: "
        f"{', '.join(FORMATS[1:])}; format=... says which one it is."
    )


def dump(network: Network, path: str | Path, *, format: str | None = None) -> None:
    """Writes a network to a file that `load` reads back.

    Args:
        network: any network.
        path: the file; it is there whole or not at all.
        format: ``"table"``, jaxchem's own, or ``"kpp"``; `None` is KPP for names that end in
            .kpp, .def or .eqn, and otherwise the table.

    Raises:
        ValueError: another format, a rate law or units that KPP does not have, a folder that
            cannot be written to.
    """
    path = Path(path)
    if format is None:
        format = "kpp" if path.suffix in (".kpp", ".def", ".eqn") else "table"
    if format not in ("table", "kpp"):
        raise ValueError(f"networks are written as 'table' or 'kpp', not as {format!r}.")
    text = kpp_writer.dumps(network) if format == "kpp" else table.dumps(network)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
