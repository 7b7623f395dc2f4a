"""Reading networks: one module a format, one path to a `Network`."""

import difflib
import warnings
from pathlib import Path

from ..network import Network
from . import table

__all__ = ["load", "shipped"]

_SHIPPED = Path(__file__).parent.parent / "data"


def shipped() -> tuple[str, ...]:
    """The names of the networks that come with jaxchem."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.txt")))


def load(name_or_path: str | Path, *, strict: bool = False) -> Network:
    """Loads a network by the name of one that ships, or from a file.

    Args:
        name_or_path: a name from `jaxchem.shipped()`, or the path of a file in jaxchem's own
            table format (see `jaxchem.parse.table`).
        strict: raise instead of warn where a reaction creates or destroys an element.

    Returns:
        The network.

    Raises:
        ValueError: no such name or file, a malformed line (with file and line), or, under
            `strict`, an unbalanced reaction.
    """
    path = Path(name_or_path)
    if str(name_or_path) in shipped():
        path = _SHIPPED / f"{name_or_path}.txt"
    elif not path.is_file():
        near = difflib.get_close_matches(str(name_or_path), shipped(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"no network {str(name_or_path)!r}: it is neither a file nor a network that ships; "
            f"{hint}Shipped: {', '.join(shipped())}."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as text ({error}).") from error
    if not table.looks_like(text):
        raise ValueError(
            f"{path}: not a network that jaxchem can read; its own format has a [species] and a "
            "[reactions] section (see jaxchem.parse.table)."
        )
    network = table.loads(text, str(path))
    if problems := list(network.unbalanced().values()):
        message = f"{path}: " + " ".join(problems[:5])
        if len(problems) > 5:
            message += f" ... and {len(problems) - 5} more; see network.check()."
        if strict:
            raise ValueError(message + " Declare the right composition, or mend the equation.")
        warnings.warn(message, stacklevel=2)
    return network
