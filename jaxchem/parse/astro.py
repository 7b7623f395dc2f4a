"""What the readers of astrochemical lists share: names, numbers and ranges of temperature."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..expression import Expression, Number, call
from ..formula import CHARGE
from ..network import Network, Reaction, Units
from .common import build, composition, fail

__all__ = ["HOTTEST", "gated", "network", "number", "partition", "terms"]

HOTTEST = 1e9
"""No rate is asked for at a higher temperature [K]; the upper limit of what has none."""

_NAME = re.compile(r"(?!.*\d{4})[A-Za-z][\w+-]{0,39}", re.ASCII)
_MOST = 9  # molecules of one species on one side


def terms(
    filename: str, line: int, names: Iterable[str], dropped: frozenset[str]
) -> dict[str, int]:
    """One side of a reaction: species -> how often its name stands there.

    Args:
        filename: for error messages.
        line: for error messages.
        names: may be blank.
        dropped: names of what is no species, such as photons.
    """
    counts: dict[str, int] = {}
    for name in names:
        name = name.strip()
        if not name or name in dropped:
            continue
        if not _NAME.fullmatch(name):
            raise fail(filename, line, f"{name!r} is no name of a species, such as c-C3H2+")
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > _MOST:
            raise fail(filename, line, f"{name!r} stands more than {_MOST} times on one side")
    return counts


def number(filename: str, line: int, text: str, what: str) -> float:
    """A finite number; `MechanismError` where the text is none."""
    try:
        value = float(text)
    except ValueError:
        raise fail(filename, line, f"{what} is {text.strip()!r}, which is no number") from None
    if not math.isfinite(value):
        raise fail(filename, line, f"{what} is not finite")
    return value


def partition(
    ranges: Sequence[tuple[float, float]],
) -> list[tuple[float | None, float | None]]:
    """For each range of temperature, the temperatures that are nearest to it.

    Args:
        ranges: lowest and highest temperature [K] of each, rising.

    Returns:
        From and below which temperature; `None` where nothing bounds it. They meet half-way
        between two ranges.

    Raises:
        ValueError: a range that does not lie above the one before it.
    """
    for lower, upper in pairwise(ranges):
        if lower[0] >= upper[0] or lower[1] >= upper[1]:
            raise ValueError(
                f"one rate holds at {lower[0]:g}-{lower[1]:g} K and another at "
                f"{upper[0]:g}-{upper[1]:g} K; each range must lie above the one before it"
            )
    edges = [(a[1] + b[0]) / 2 for a, b in pairwise(ranges)]
    return list(zip([None, *edges], [*edges, None], strict=True))


def gated(low: float | None, high: float | None, rate: Expression) -> Expression:
    """The rate from `low` on and below `high` [K], otherwise zero; `None` bounds nothing."""
    if high is not None:
        rate = call("below", Number(high), rate)
    return rate if low is None else call("at_least", Number(low), rate)


def network(
    filename: str,
    reactions: Sequence[Reaction],
    references: Mapping[str, str],
    special: Mapping[str, dict[str, int] | None] | None = None,
    **parts: Any,
) -> Network:
    """The network of these reactions: species as they first appear, in cm-3 and s.

    Args:
        filename: its stem becomes the network's name.
        reactions: all of them.
        references: key -> reference; the file's name is put before it.
        special: compositions of the species whose names are not their formulae.
        **parts: what else `Network.build` takes.
    """
    if not reactions:
        raise fail(filename, 1, "no reaction here or below; write at least one")
    path = Path(filename.replace("#", " "))
    species = dict.fromkeys(
        n for r in reactions for side in (r.reactants, r.products) for n in side
    )
    known = {"GRAIN0": {}, "GRAIN-": {CHARGE: -1}} | dict(special or {})
    compositions = {n: known[n] if n in known else composition(n) for n in species}
    for name, counts in compositions.items():
        if counts and set(counts) == {CHARGE} and counts[CHARGE] != -1:
            compositions[name] = None  # no formula says this, and a network must have one
    return build(
        filename,
        name=path.stem,
        species=compositions,
        reactions=reactions,
        units=Units("cm-3", "s"),
        references={k: f"{path.name}: {v}" for k, v in references.items()},
        **parts,
    )
