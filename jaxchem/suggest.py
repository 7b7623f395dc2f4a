"""The name that somebody may have meant."""

import difflib
from collections.abc import Iterable

__all__ = ["closest"]


def closest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known name that is most like it; nothing where none is."""
    names = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), list(names), n=1)
    return f"; did you mean {names[near[0]]!r}?" if near else ""
