"""Small damages of mechanism files, each with what a reader may make of the file then.

A mutation is made by a `random.Random`, and knows how many reactions are left in the text: those
of the seed, less those whose line it drops, cuts off or makes a comment.
"""

import random
import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["KINDS", "Mutant", "Seed", "mutant"]


class Seed(NamedTuple):
    """A valid file.

    Attributes:
        form: its format.
        text: its content.
        lines: on which each of its reactions begins, in order.
        free: lines on which anything may stand, since they are comments or another's.
    """

    form: str
    text: str
    lines: tuple[int, ...]
    free: frozenset[int]


class Mutant(NamedTuple):
    """A seed that is changed.

    Attributes:
        kind: of the change.
        text: the content after it.
        least: reactions that it still has.
        same: whether it means what it meant.
        told: whether a reader that takes it for the same has overlooked something.
    """

    kind: str
    text: str
    least: int
    same: bool = False
    told: bool = False


class _Format(NamedTuple):
    """What matters of a format to those who damage its files.

    Attributes:
        separators: what stands between its parts.
        words: its keywords.
        marks: characters that begin a comment, or end one.
        closes: the end of a comment over many lines.
        comment: a line that says nothing, where it may stand anywhere.
        blind: whether keywords are the same in upper and lower case.
        bound: a line that goes on in the next one.
        legal: junk that is none.
    """

    separators: str
    words: str
    marks: str = ""
    closes: str = ""
    comment: str = ""
    blind: bool = False
    bound: str = r"(?!)"
    legal: tuple[str, ...] = ()


_FORMATS = {
    "table": _Format(
        ';=[],"+-',
        r"\[\w+\]|^(?:name|title|units|balanced|fixed)\b|->",
        *("#", "", "# a comment -> ; 1 ; S1"),
    ),
    "cesm": _Format(
        ";,=->[]+*.",
        r"^\s*(?:END )?(?:species|solution classes|solution|fixed|groups|chemistry|photolysis"
        r"|reactions|implicit|explicit|heterogeneous|ext forcing|col-int|not-transported)\s*$|->",
        *("*#!", "", "* A -> B ; 1", True, r"(?!)", ("foo bar = 1",)),
    ),
    "f0am": _Format(
        ";,={}()'.:",
        r"\b(?:SpeciesToAdd|RO2ToAdd|AddSpecies|Rnames|Gstr|i\s*=\s*i|k\(:|f\w+\()",
        *("%.{}'\"", "%}", "% i=i+1;", False, r".*\.\.\..*|.*[\[({][^\])}]*"),
    ),
    "kpp": _Format(
        ";:=+<>(){},&",
        r"#\w+|F90_RCONST|F90_INIT|IGNORE|\bC\(|^\s*(?:IF|ELSE|END IF|USE|CALL)\b",
        *("{}/!", "}", "", True, r".*&\s*|.*\{[^}]*", ("A => B", "END IF", "End", "foo(3) = 1")),
    ),
    "facsimile": _Format(
        ";:=+%<>@*()", r"\bVARIABLE\b|%|\bRO2\b|J<", *("*", "", "", False, r"[^;]*(?:;[^;]+)?")
    ),
    "musicbox": _Format('{}[]:,"', r'"[\w ]+":', "_#\"'"),
    "musica": _Format("{}[]:,\"-'", r'"[\w -]+":|\b[\w -]+:', "_#\"'"),
    "cantera": _Format("{}[]:,-=<>+()", r"\b[\w-]+:|<=>|=>|\(\+M\)", "#\"'"),
    "kida": _Format("!+-.", r"logn|\bCRP?\b|Photon|GRAIN", "!", "", "! a comment"),
    "umist": _Format(':#".', r":[A-Z]{2,}:|\b(?:CRP|CRPHOT|PHOTON)\b", '#!"', "", "# 1:AD:A:B"),
    "krome": _Format(
        ",:=@#!/*_(){}",
        r"@\w+:?|\bNONE\b|\.LE\.|\bauto\b|\b(?:idx|R|P|Tmin|Tmax|rate)\b",
        *("#/!*", "*/", "/* 1,A,,,B,,,,,,1 */"),
    ),
    "uclchem": _Format(
        ',!"', r"\b(?:NAN|CRP|CRPHOT|PHOTON|IONOPOL\d|H2FORM|True|False)\b|^[\w ]+,", "!", "", "! a"
    ),
}
_JUNK = (
    *("xyzzy", "this is no line of it", "A + B", "A B C", "1.0 2.0", "=", ";", "->", ": :", ",,,"),
    *("foo bar = 1", "foo(3) = 1", "(", ")", "}", "]", "]]", "?", "\\", "&", "<<<<<<< HEAD"),
    *("=======", "$x$", "@nothing", "#nothing", "[nothing]", "éü", "日本", "1e-12", "A => B"),
    *("A <-> B ; 1", "A -> B", "A + B = C", "End", "END IF", "0 0 0", "- x", "x: y", '"x"', "'x'"),
)
_LETTERS = (
    *"abzAEN019.,;:=<>+-*/()[]{}|&^~_?$@\\ \t",
    *"éµ²Ⅷ日\xa0\u2028\x0c\x0b\x85\x01",
)


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _hidden(seed: Seed, first: int, touched: str) -> int:
    """Reactions that may be comments once these characters have been changed in a line."""
    form, last = _FORMATS[seed.form], first
    if not set(touched) & set(form.marks):
        return 0
    if form.closes:
        lines = seed.text.split("\n")
        ends = (n for n in range(first, len(lines) + 1) if form.closes in lines[n - 1])
        last = next(ends, len(lines))
        # one that ended here ends at the next
        last = next(ends, len(lines)) if last == first else last
    return sum(first <= line <= last for line in seed.lines)


def _put(seed: Seed, start: int, end: int, new: str) -> tuple[str, int]:
    """The text with a part of a line exchanged, and its reactions."""
    text = seed.text
    around = text[max(0, start - 2) : start] + new + text[end : end + 2]
    gone = _hidden(seed, _line(text, start), text[start:end] + around)
    return text[:start] + new + text[end:], len(seed.lines) - gone


def _neutral(change: Callable[[random.Random, Seed], str | None]):
    def make(draw: random.Random, seed: Seed) -> tuple[str, int] | None:
        text = change(draw, seed)
        return None if text is None else (text, len(seed.lines))

    return make


def _gaps(seed: Seed) -> list[int]:
    """Lines before which another can stand: none that the line above goes on in."""
    lines = seed.text.split("\n")
    bound = re.compile(_FORMATS[seed.form].bound)
    return [n for n in range(1, len(lines) + 1) if n == 1 or not bound.fullmatch(lines[n - 2])]


def _insert(seed: Seed, line: int, new: str) -> str:
    lines = seed.text.split("\n")
    return "\n".join([*lines[: line - 1], new, *lines[line - 1 :]])


def _blanks(draw: random.Random, seed: Seed) -> str:
    return _insert(seed, draw.choice(_gaps(seed)), draw.choice(["", "   "]))


def _comments(draw: random.Random, seed: Seed) -> str | None:
    comment = _FORMATS[seed.form].comment
    return _insert(seed, draw.choice(_gaps(seed)), comment) if comment else None


def _ends(draw: random.Random, seed: Seed) -> str:
    return seed.text.replace("\n", draw.choice(["\r\n", "\r"]))


def _trailing(draw: random.Random, seed: Seed) -> str:
    lines = seed.text.split("\n")
    tab = "\t" if seed.form != "cantera" else " "  # YAML refuses one in a line of its own
    lines[draw.randrange(len(lines))] += draw.choice([" ", "    ", tab])
    return "\n".join(lines)


def _case(draw: random.Random, seed: Seed) -> str | None:
    form = _FORMATS[seed.form]
    words = [m for m in re.finditer(form.words, seed.text, re.M | re.I) if m[0] != m[0].swapcase()]
    if not form.blind or not words:
        return None
    word = draw.choice(words)
    return seed.text[: word.start()] + word[0].swapcase() + seed.text[word.end() :]


def _junk(draw: random.Random, seed: Seed) -> tuple[str, int]:
    line = draw.choice([n for n in _gaps(seed) if n not in seed.free])
    form = _FORMATS[seed.form]
    # what has no words may be an empty entry, and what has marks a comment
    wordy = (text for text in _JUNK if re.search(r"\w", text) and not set(text) & set(form.marks))
    new = draw.choice([text for text in wordy if text not in form.legal])
    lost = sum(n == line for n in seed.lines)  # it may become a part of what follows
    return _insert(seed, line, new), len(seed.lines) - max(lost, _hidden(seed, line, new))


def _drop(draw: random.Random, seed: Seed) -> tuple[str, int]:
    lines = seed.text.split("\n")
    line = draw.randrange(len(lines)) + 1
    lost = max(sum(n == line for n in seed.lines), _hidden(seed, line, lines[line - 1]))
    del lines[line - 1]
    return "\n".join(lines), len(seed.lines) - lost


def _double(draw: random.Random, seed: Seed) -> tuple[str, int]:
    lines = seed.text.split("\n")
    line = draw.randrange(len(lines)) + 1
    text = _insert(seed, line, lines[line - 1])
    return text, len(seed.lines) - _hidden(seed, line, lines[line - 1])


def _exchange(draw: random.Random, seed: Seed) -> tuple[str, int]:
    lines = seed.text.split("\n")
    one, two = sorted(draw.sample(range(len(lines)), 2))
    lost = max(_hidden(seed, one + 1, lines[n]) for n in (one, two))
    lost += sum(_hidden(seed, two + 1, lines[n]) for n in (one, two))
    if lost and _FORMATS[seed.form].closes:  # a comment may end at the one or the other
        lost = max(lost, sum(one < line for line in seed.lines))
    lines[one], lines[two] = lines[two], lines[one]
    return "\n".join(lines), len(seed.lines) - lost


def _separator(draw: random.Random, seed: Seed) -> tuple[str, int]:
    places = [n for n, c in enumerate(seed.text) if c in _FORMATS[seed.form].separators]
    place = draw.choice(places)
    old = seed.text[place]
    other = draw.choice(_FORMATS[seed.form].separators)
    return _put(seed, place, place + 1, draw.choice(["", 2 * old, other]))


def _keyword(draw: random.Random, seed: Seed) -> tuple[str, int]:
    words = [*re.finditer(_FORMATS[seed.form].words, seed.text, re.MULTILINE | re.IGNORECASE)]
    word = draw.choice(words)
    start, end = word.span()
    at = draw.randrange(start, end)
    match draw.randrange(5):
        case 0:
            return _put(seed, at, at + 1, "")
        case 1:
            return _put(seed, at, at, draw.choice("abzEN_- "))
        case 2:
            return _put(seed, at, at + 2, seed.text[at : at + 2][::-1])
        case 3:
            return _put(seed, start, end, word[0].swapcase())
    return _put(seed, start, end, draw.choice(words)[0])


def _letter(draw: random.Random, seed: Seed) -> tuple[str, int]:
    at = draw.randrange(len(seed.text))
    while seed.text[at] == "\n":
        at = draw.randrange(len(seed.text))
    return _put(seed, at, at + draw.randrange(2), draw.choice(_LETTERS))


def _swap(draw: random.Random, seed: Seed) -> tuple[str, int] | None:
    at = draw.randrange(len(seed.text) - 1)
    two = seed.text[at : at + 2]
    return None if "\n" in two else _put(seed, at, at + 2, two[::-1])


def _truncate(draw: random.Random, seed: Seed) -> tuple[str, int]:
    at = draw.randrange(1, len(seed.text))
    line = _line(seed.text, at)
    # one is whole where the next begins above the cut
    later = (*seed.lines[1:], seed.text.count("\n") + 2)
    pairs = zip(seed.lines, later, strict=True)
    return seed.text[:at], sum(begin < line and end <= line for begin, end in pairs)


_MAKERS: dict[str, Callable[[random.Random, Seed], tuple[str, int] | None]] = {
    "blank line": _neutral(_blanks),
    "comment": _neutral(_comments),
    "line ends": _neutral(_ends),
    "trailing blanks": _neutral(_trailing),
    "case": _neutral(_case),
    "junk line": _junk,
    "dropped line": _drop,
    "doubled line": _double,
    "exchanged lines": _exchange,
    "separator": _separator,
    "keyword": _keyword,
    "letter": _letter,
    "swapped letters": _swap,
    "truncated": _truncate,
}
KINDS = tuple(_MAKERS)
_SAME = KINDS[:5]


def mutant(draw: random.Random, seed: Seed) -> Mutant:
    """A change of some kind that the format can have."""
    while True:
        kind = draw.choice(KINDS)
        if made := _MAKERS[kind](draw, seed):
            return Mutant(kind, *made, same=kind in _SAME, told=kind == "junk line")
