"""Formats that people bring and no reader here takes: how they are told, and the way out."""

import re
from typing import NamedTuple

__all__ = ["OTHERS", "Other", "foreign"]


class Other(NamedTuple):
    """A format that is known by sight.

    Attributes:
        name: what it is called.
        sign: matches where a text begins to be of this format and of no other.
        way: what to do with such a file.
    """

    name: str
    sign: re.Pattern[str]
    way: str


def _other(name: str, sign: str, way: str) -> Other:
    return Other(name, re.compile(sign, re.MULTILINE | re.IGNORECASE), way)


_TABLE = "write its reactions as 'A + B -> C ; RATE ; SOURCE' in jaxchem's table"
_WITHOUT = "RATE without the concentrations of the reactants, which mass action brings"

OTHERS = (
    _other(
        "a model in SBML",
        r"<(?:\w+:)?sbml\b",
        "export its reactions and rate constants as text, such as Antimony, and " + _TABLE + ", "
        "each " + _WITHOUT,
    ),
    _other(
        "a network of BioNetGen (.bngl, .net)",
        r"^[ \t]*begin[ \t]+(?:model|parameters|molecule types|seed species|species|reactions"
        r"|reaction rules|functions|observables|groups)\b",
        "export the network with generate_network() and " + _TABLE + ", the species of its .net "
        "file by name in place of number, each " + _WITHOUT,
    ),
    _other(
        "an old mechanism of Cantera (CTI, CTML)",
        r"<ctml\b|^[ \t]*(?:reaction|three_body_reaction|falloff_reaction)\([ \t]*['\"]",
        "make YAML of it with Cantera's cti2yaml or ctml2yaml, which is read",
    ),
    _other(
        "a mechanism of CHEMKIN",
        r"^[ \t]*ELEM(?:ENTS)?\b(?=[^\[]{0,500}^[ \t]*(?:SPEC(?:IES)?|REAC(?:TIONS)?)\b)"
        r"|^[ \t]*REAC(?:TIONS)?\b[^\n=\[\]:]*\n(?:[ \t]*(?:![^\n]*)?\n)*[^\n!=]{1,200}=",
        _TABLE + ", RATE as 'A * temperature**b * exp(-Ea / R / temperature)' in molecule cm-3 (A "
        "over 6.022e23 for each molecule beyond the first), and each reaction that goes both ways "
        "as two",
    ),
    _other(
        "a network of VULCAN",
        r"^[ \t]*(?:\d+[ \t]+)?\[[^\]\n]{0,300}->[^\]\n]{0,300}\][ \t]*(?:[-+.\d]|$)",
        _TABLE + ", RATE as 'A * temperature**B * exp(-C / temperature)'",
    ),
    _other(
        "a network of PRIZMO",
        r"^[ \t]*(?:VARIABLES|COMMONS)[ \t]*\{|^[^\[\]#;\n]{1,200}->[^\[\]#;\n]{1,200}"
        r"\[[ \t]*[\d.e+-]*[ \t]*,[ \t]*[\d.e+-]*[ \t]*\]",
        "write it in KROME's format ('@var:' for its variables, '@format:' above its reactions), "
        "which is read",
    ),
    _other(
        "a list of reactions on grains of Nautilus",
        r"^[A-Za-z].{60,110}?(?:[ \t]+[-+.\de]+){5}[ \t]+NA[ \t]+\d{1,3}[ \t]+-?\d+[ \t]+-?\d",
        "grain surfaces are not part of a network here; its gas_reactions.in is read",
    ),
    _other(
        "a list of the Ohio State University (OSU)",
        r"^[A-Za-z].{40,70}?\d\.\d\de[-+]\d\d[ -]\d\.\d\de[-+]\d\d[ -]\d\.\d\de[-+]\d\d"
        r"[ \t]*\d+[ \t]+\d+\b",
        "osu29 ships, and its successors, the networks of KIDA, are read; otherwise "
        + _TABLE
        + ", as 'kooij(ALPHA, BETA, GAMMA)' for two bodies",
    ),
    _other(
        "a list of KPP's equations without their section, as PyCHAM has them",
        r"^[ \t]*+(?:<[^>\n]*>|\{[^}\n]*\})?[^:=;#%<{\n]+=[^:=;\n]*:[^:=;\n]+[;:]",
        "put '#EQUATIONS' above them and '//' before comments, and write J(4) for J<4>; or load "
        "the file that includes this one",
    ),
)
"""Every such format, those that are told most surely first; one that is read leaves the list."""


def foreign(text: str) -> tuple[int, Other] | None:
    """The format that a text is of, and the line that shows it; `None` where it is none of them."""
    text = text[:200_000]
    for other in OTHERS:
        if match := other.sign.search(text):
            # a sign may begin with the blank lines above it
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            return text.count("\n", 0, start) + 1, other
    return None
