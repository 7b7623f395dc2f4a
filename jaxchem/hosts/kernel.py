"""The kernel's own source as one text, for one cell and for many, with tables compiled in."""

import functools
import re
from pathlib import Path

from ..solvers import native
from ..solvers.build import FLAGS
from .c_text import table

__all__ = ["FLAGS", "ROWS", "source", "tables"]

ROWS = 4
"""Of a block of L + U, whatever the processor (see kernel/lanes.h)."""

_SOURCE = Path(native.__file__).with_name("kernel")
_ONCE = ("fused.h", "tables.h")
"""Headers that are the same for one cell and for many, with all that they include."""

_STILL = """#define INTERRUPTED (-1)
static int interrupted(atomic_long *heard) { /* nobody presses Ctrl-C in here */
  (void)heard;
  return 0;
}
"""

_NAMES = (
    r"^#define (\w+)",
    r"^#ifndef (\w+)",
    r"^typedef [^;{]*?\b(\w+)(?: __attribute__\(\(.*\)\))?;",
    r"^\} (\w+);",
    r"\bNAME\((\w+)\)",
    r"^(?:static|INLINE) [^;={]*?\b(?!NAME\b|__attribute__\b|aligned\b)(\w+)\((?!\()",
    r"^static const [^;=]*?\b(\w+)\[",
)
"""What a build defines, as the kernel's source is written."""


@functools.cache
def source() -> str:
    """C11 that defines `march_one` and `march_many`, static as all in it."""
    seen = {"interrupt.h"}
    parts = ["".join(_expanded(name, seen) for name in _ONCE), _STILL]
    for build, cells in (("one", "1"), ("many", "LANES")):
        own = f"#define CELLS {cells}\n#define MARCH march\n" + _expanded("march.h", set(seen))
        own = own.replace("void *MARCH(", "static void *MARCH(")
        names = {name for form in _NAMES for name in re.findall(form, own, re.MULTILINE)}
        names = {name for name in names if not name.startswith(("JAXCHEM_", "_"))} | {"march"}
        word = re.compile(rf"(?<!->)(?<!\.)\b({'|'.join(sorted(names))})\b")  # no members
        parts.append(word.sub(rf"\1_{build}", own))
    return "".join(parts)


def _expanded(name: str, seen: set[str]) -> str:
    """A header with those that it includes, each once but for what is made to be repeated."""
    text = (_SOURCE / name).read_text(encoding="utf-8")
    if "#undef NAME\n" not in text:
        seen.add(name)

    def included(match: re.Match[str]) -> str:
        return "" if match[1] in seen else _expanded(match[1], seen)

    return re.sub(r'#include "([^"]+)"\n', included, text)


def tables(settings: native.Settings, size: int) -> str:
    """The tables of a call: `integers_one`, `numbers_one` and the same of many."""
    parts = []
    for build, alone in (("one", True), ("many", False)):
        integers, numbers = native.packed(settings, size, rows=ROWS if alone else 1, alone=alone)
        parts += [table(f"integers_{build}", integers), table(f"numbers_{build}", numbers)]
    return "".join(parts)
