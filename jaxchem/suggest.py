"""The name that somebody may have meant."""

import difflib
from collections.abc import Iterable

__all__ = ["closest", "no_setting"]


_LONGEST = 80
"""Characters of a name that are compared: it may be a whole file."""


def closest(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known name that is most like it; nothing where none is."""
    names = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name[:_LONGEST].lower(), list(names), n=1)
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def no_setting(where: str, name: str, known: Iterable[str]) -> str:
    """What to say of a setting that there is not."""
    known = list(known)
    hint = closest(name, known) or "."
    return f"{where}.{name} is no setting{hint} Known: {', '.join(known)}"
