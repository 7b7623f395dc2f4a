"""What is long, in short: names, numbers, lines of text, and tables for notebooks."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from html import escape
from textwrap import shorten
from typing import Any, TypeVar

import numpy as np

__all__ = ["few", "safely", "span", "table", "text"]

T = TypeVar("T")

_cut = partial(shorten, width=100, placeholder=" ...")


def safely(make: Callable[[], T], otherwise: T) -> T:
    """What is made, or something else where it cannot be: a print never fails."""
    try:
        return make()
    except Exception:
        return otherwise


def few(names: Sequence[str]) -> str:
    """The first eight names, and ``...`` for others; ``none`` where there are none."""
    return ", ".join(names[:8]) + ", ..." * (len(names) > 8) or "none"


def span(values: Any) -> str:
    """A number, or the least and the largest of several; ``?`` where they are not known."""

    def told() -> str:
        found = np.asarray(values)
        return " to ".join(dict.fromkeys((f"{found.min():g}", f"{found.max():g}")))

    return safely(told, "?")


def text(lines: Iterable[str], rest: int = 0) -> str:
    """Lines of at most 100 characters, and how many there are besides."""
    return "\n".join([*map(_cut, lines), *[f"... and {rest} more"] * (rest > 0)])


def table(lines: str, head: Sequence[str], rows: Iterable[Sequence[str]], rest: int = 0) -> str:
    """HTML of lines, of a table below them, and of how many rows there are besides."""

    def row(kind: str, cells: Iterable[str]) -> str:
        made = (f'<{kind} style="text-align: left">{escape(_cut(c))}</{kind}>' for c in cells)
        return f"<tr>{''.join(made)}</tr>"

    body = "".join([row("th", head), *(row("td", cells) for cells in rows)])
    more = f"<p>... and {rest} more</p>" * (rest > 0)
    return f"<pre>{escape(lines)}</pre><table>{body}</table>{more}"
