"""Files of one name in a folder, from the templates of this package."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from ..files import atomic
from .c_text import comment, strings, texts

__all__ = ["fill", "named", "room", "units", "wrapped"]

_TEMPLATES = Path(__file__).with_name("templates")


def fill(kind: str, name: str, folder: str | Path, values: Mapping[str, Any]) -> Path:
    """Writes NAME.c, NAME.h and NAME.f90, and tells where the first of them is.

    Args:
        kind: of templates.
        name: of the files, and what functions in them begin with.
        folder: is made where there is none.
        values: of the placeholders in the templates.

    Raises:
        ValueError: the folder cannot be written to.
    """
    folder = Path(folder)
    told = {"version": importlib.metadata.version("jaxchem"), "name": name, "NAME": name.upper()}
    told |= {key: str(value) for key, value in values.items()}
    for suffix in ("h", "f90", "c"):
        template = Template((_TEMPLATES / f"{kind}.{suffix}").read_text(encoding="utf-8"))
        with atomic(folder / f"{name}.{suffix}") as temporary:
            temporary.write_text(template.substitute(told), encoding="utf-8")
    return folder / f"{name}.c"


def room(count: int) -> int:
    """The length of an array of so many, as C has no arrays of none."""
    return max(count, 1)


def named(what: str, names: Sequence[str]) -> dict[str, str]:
    """Names for both languages, as `WHAT_strings` and `WHAT_texts`."""
    return {f"{what}_strings": strings(names), f"{what}_texts": texts(names)}


def units(concentration: str, time: str) -> dict[str, str]:
    """Two units for both languages and for comments."""
    pairs = {"concentration": concentration, "time": time}
    told = {name: comment(text) or "no unit" for name, text in pairs.items()}
    told |= {f"{name}_string": strings([text]) for name, text in pairs.items()}
    return told | {f"{n}_text": "'" + t.replace("'", "''") + "'" for n, t in pairs.items()}


def wrapped(lines: Sequence[str]) -> str:
    """Lines of a comment."""
    return "\n * ".join(lines)
