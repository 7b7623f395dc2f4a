"""Names, numbers and tables as C and Fortran write them."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["TYPES", "Constants", "comment", "identifier", "number", "strings", "table", "texts"]

TYPES = {
    **{"float32": "float", "float64": "double", "int32": "int32_t", "int64": "int64_t"},
    **{"bool": "uint8_t", "uint8": "uint8_t", "uint32": "uint32_t"},
}
"""Types of arrays in C."""

_KEYWORDS = set(
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long main register restrict return short signed sizeof static struct switch "
    "typedef union unsigned void volatile while "
    "class delete explicit export friend mutable namespace new operator private protected public "
    "template this throw try using virtual".split()
)
_HEADERS = set(
    "assert complex ctype errno fenv float inttypes limits locale malloc math memory setjmp signal "
    "stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath "
    "threads time uchar unistd wchar wctype".split()
)
"""Words of C and C++, and files that a folder of the host's must not have in their place."""


def identifier(name: str) -> str:
    """A name as it can stand in C and in Fortran, where it may have 63 characters.

    Raises:
        ValueError: nothing of it is left, or what is left is a word of C or names a header of its.
    """
    found = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    if found[:1].isdigit():
        found = f"n{found}"
    if not found or found.lower() in _KEYWORDS | _HEADERS or len(found) > 40:
        raise ValueError(
            f"{name!r} makes no name of a C function; give another, of letters, digits and "
            "underscores, 40 at most."
        )
    return found


def number(value: Any) -> str:
    """A number that keeps all its bits, of its own type."""
    value = np.asarray(value)
    if value.dtype.kind != "f":
        return str(int(value))
    if not np.isfinite(value):
        return "NAN" if np.isnan(value) else "INFINITY" if value > 0 else "(-INFINITY)"
    single = value.dtype == np.float32
    text = f"{float(value):.{9 if single else 17}g}"
    text = text if set(text) & set(".e") else f"{text}.0"
    text = f"{text}f" if single else text
    return f"({text})" if text.startswith("-") else text


def table(name: str, values: Any, storage: str = "static const") -> str:
    """The definition of an array."""
    flat = np.ravel(values)
    kind = TYPES[flat.dtype.name]
    if flat.dtype.kind == "f" and np.isfinite(flat).all():
        form = "%.9g" if flat.dtype == np.float32 else "%.17g"
        text = [form % x for x in flat.tolist()]
    else:
        text = [number(x) for x in flat]
    rows = ",\n".join(", ".join(text[at : at + 12]) for at in range(0, len(text), 12))
    return f"{storage} {kind} {name}[{max(len(text), 1)}] = {{\n{rows or '0'}}};\n"


class Constants:
    """Tables that programs of one file read, each once."""

    def __init__(self, prefix: str = "c"):
        self._names: dict[tuple[str, bytes], str] = {}
        self._prefix = prefix
        self.text: list[str] = []

    def table(self, values: np.ndarray) -> str:
        """The name of the table of these numbers."""
        values = np.ascontiguousarray(values)
        key = (values.dtype.name, values.tobytes())
        if key not in self._names:
            self._names[key] = f"{self._prefix}{len(self._names)}"
            self.text.append(table(self._names[key], values))
        return self._names[key]


def strings(names: Sequence[str]) -> str:
    """Strings of C, for an array."""
    quoted = ['"' + n.replace("\\", "\\\\").replace('"', '\\"') + '"' for n in names]
    rows = [", ".join(quoted[at : at + 8]) for at in range(0, len(quoted), 8)]
    return ",\n".join(rows) or '""'


def texts(names: Sequence[str]) -> str:
    """An array constructor of Fortran, of strings of one length."""
    if not names:
        return "[character(len=1) ::]"
    width = max(len(n.encode()) for n in names)
    quoted = ["'" + n.replace("'", "''") + "'" for n in names]
    many = max(1, 100 // (width + 4))  # of the 132 columns that a line may have
    rows = [", ".join(quoted[at : at + many]) for at in range(0, len(quoted), many)]
    return f"[character(len={width}) :: &\n" + ", &\n".join(f"    {row}" for row in rows) + "]"


def comment(text: str) -> str:
    """Text that ends no comment."""
    return " ".join(text.split()).replace("*/", "* /").replace("/*", "/ *")
