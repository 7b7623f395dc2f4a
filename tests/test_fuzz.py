"""Mutated mechanism files: they are read, or refused with a line, and at once.

Seeds are small files of every format and, where the shared data are, windows of real ones. There
are two kinds of mutants. Those of `mutated` are wild: several changes, each of numbers, so that
`hypothesis` can shrink what fails. Those of `mutations` have one change that is known, so that
every reaction of the seed is accounted for: the mutant is refused, or has it, or says what it left
out.
"""

import json
import random
import re
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from musica_cases import CASES, mechanism
from mutations import Mutant, Seed, mutant
from problems import SHARED
from test_parse_astro import KIDA_TEXT, KROME_TEXT, UMIST_TEXT
from test_parse_cantera import SMALL as CANTERA_TEXT
from test_parse_cesm import SMALL as CESM_TEXT
from test_parse_f0am import SMALL as F0AM_TEXT
from test_parse_facsimile import SMALL as FACSIMILE_TEXT
from test_parse_kpp import TEXT as KPP_TEXT
from test_parse_uclchem import UCLCHEM_TEXT

import jaxchem
from jaxchem.expression import show
from jaxchem.network import MechanismError, Network
from jaxchem.parse import loads, table

TABLE_TEXT = """name = toy                 # a comment
title = of every construct
units = molecule cm-3, s
balanced = C N charge
fixed = M
[species]
OH
ALD = C2H4O
CH3O2
NO
NO+
e-
M = none
odd = ?
[pools]
RO2 = CH3O2 + ALD
[quantities]
K1 = arrhenius(2.7e-12, -360) * K2
K2 = max(0.5, temperature / 300) ** 2
"PHOTO.j #1" = ?
[defaults]
temperature = 270.0
[initial]
ALD = 5.3e11
[families]
NOx = NO + 0.5 NO+
[sources]
S1 = Nobody (1900) # a comment
[reactions]
ALD + OH -> 0.6 CH3O2 + 2 M ; kooij(4.7e-12, 0.5, -345) ; S1
CH3O2 -> ALD ; 0.5 * 3.5e-13 * RO2 ; S1, table 2
2 NO + M -> 1.5e-1 NO ; K1 / 2.0D+3 ; S1
NO -> NO+ + e- ; "PHOTO.j #1" ; S1
NO+ + e- -> NO ; 1e-7 * exp(-(temperature - 300) / 20) ; S1
-> OH ; 1e3 ; S1
odd -> ; log10(density) ; S1
"""
MCM_TEXT = """// KPP export of the MCM
#INCLUDE atoms
#DEFVAR
{ Peroxy radicals }
CH3O2 = IGNORE ; HCHO = IGNORE ;
NO = IGNORE ; NO2 = IGNORE ; O3 = IGNORE ; = IGNORE ;
#INLINE F90_RCONST
 USE constants
 RO2 = C(ind_CH3O2)
 K298CH3O2 = 3.5D-13
 CALL mcm_constants(time, temp, M, N2, O2, RO2, H2O)
#ENDINLINE {above lines go into the SUBROUTINES UPDATE_RCONST}
#EQUATIONS
{1.}    O3 + NO = NO2 :         1.4D-12*EXP(-1310/TEMP) ;
{2.}    CH3O2 + NO = HCHO + NO2 :       2.3D-12*EXP(360/TEMP)*0.999 ;
{3.}    NO2 = NO + O3 :         J(4) ;
{4.}    CH3O2 = HCHO :          2*(K298CH3O2*7.2*EXP(-885/TEMP))*RO2*0.6 ;
{5.}    HCHO = CH3O2 :          J(J_HCHO_H)+KRO2NO*0.25*KMT01 ;
#INCLUDE part.eqn
"""
CAMP_TEXT = json.dumps(
    {
        "camp-data": [
            {"name": "A", "type": "CHEM_SPEC", "molecular weight [kg mol-1]": 0.05},
            {"name": "M", "type": "CHEM_SPEC", "tracer type": "CONSTANT"},
            {"name": "T", "type": "CHEM_SPEC", "tracer type": "THIRD_BODY"},
            {"type": "RELATIVE_TOLERANCE", "value": 1e-4},
            {
                "type": "MECHANISM",
                "name": "camp",
                "reactions": [
                    {
                        "type": "ARRHENIUS",
                        "A": 1.2e-11,
                        "C": -30.0,
                        "reactants": {"A": {"qty": 2}, "M": {}},
                        "products": {"A": {"yield": 0.5}},
                    },
                    {"type": "TROE", "reactants": {"A": {}, "T": {}}, "products": {}},
                    {"type": "EMISSION", "species": "A", "MUSICA name": "e A"},
                ],
            },
        ]
    },
    indent=1,
)
MUSICA_TEXT = json.dumps(mechanism(*(reaction for reaction, _ in CASES.values())), indent=1)
BOX_TEXT = json.dumps(
    {
        "box model options": {
            **{"grid": "box", "chemistry time step [sec]": 2, "output time step [min]": 6},
            "simulation length [day]": 1,
        },
        "conditions": {
            "filepaths": ["box.csv"],
            "data": [{"headers": ["time.s", "ENV.pressure.Pa"], "rows": [[0, 9e4], [60, 8e4]]}],
        },
        "mechanism": mechanism(*(CASES[name][0] for name in ("third body", "branched"))),
    },
    indent=1,
)
FILES = {
    "box.csv": "time.s,ENV.temperature.K,CONC.A.ppb\n0,280,1e3\n60,None,2e3\n",
    "part.eqn": "#EQUATIONS\n<P1> HCHO = NO : 1.0E-5 ;\n",
    "part.json": CAMP_TEXT,
    "more.json": '{"camp-data": []}',
}
"""What seeds include."""
SEEDS = {
    "table": [TABLE_TEXT],
    "cesm": [CESM_TEXT],
    "f0am": [F0AM_TEXT],
    "cantera": [CANTERA_TEXT],
    "kpp": [KPP_TEXT, MCM_TEXT],
    "facsimile": [FACSIMILE_TEXT],
    "musicbox": [BOX_TEXT],
    "musica": [
        *(MUSICA_TEXT, yaml.safe_dump(json.loads(MUSICA_TEXT), sort_keys=False), CAMP_TEXT),
        '{"camp-files": [\n"part.json",\n"more.json"]}',
    ],
    "kida": [KIDA_TEXT],
    "umist": [UMIST_TEXT],
    "krome": [KROME_TEXT],
    "uclchem": [UCLCHEM_TEXT],
}
REAL = {
    "cesm": ("cesm_cam/*/*.in",),
    "f0am": ("f0am/*/*.m",),
    "cantera": ("cantera/*.yaml",),
    "kpp": ("cri_subset/*.kpp", "geoschem_14.7/*.eqn", "kpp_m*/*.eqn", "kpp_m*/*.def"),
    "facsimile": ("atchem2/*.fac",),
    "musica": ("musica/v1/*.json", "musica/v1/*.yaml", "musica/v0/*/*.json"),
    "kida": ("astro/gas*.in",),
    "umist": ("astro/umist*.csv",),
    "krome": ("astro/react*", "krome_dialects/react*"),
    "uclchem": ("uclchem/reactions.csv", "uclchem/default_grain*.csv"),
}
"""Files of the shared mechanisms, where they are."""
WINDOW = 40
PIECES = (
    *"{}[]()<>\"'`;:,.=+-*/^@%#!&|~?\\$_",
    *"0129eEdDAJMxX",
    *("\n", "\n\n", "\r\n", "\r", "\t", " " * 12, "\0", "\x01", "\x0b", "\x0c", "\x1c", "\x1e"),
    *("\x85", "\xa0", "\u2028", "\u2029", "\ufeff", "\ud800", "\U0001f600", "e\u0301"),
    *("²", "½", "٣", "\u06f5", "四", "Ⅷ", "é", "ß", "\u0131", "\u017f", "\u212a", "µ", "Å"),
    *("0", "-1", "1e999", "-1e308", "1e308", "1e-320", "9" * 400, "9" * 5000, "1" * 30, "1e9"),
    *("nan", "NaN", "inf", "-Infinity", "1_000", "0x10", "1.2.3", "1d", "null", "true", "~"),
    *("", "a" * 5000, "(" * 400, ")" * 400, "-" * 400, "{" * 400, "+ A " * 300, "1+" * 300),
    *("->", "=", "//", "/*", "*/", "<!--", "&a", "*a", "!!python/none", "- ", ": ", '"" ', "__"),
    *("temperature", "density", "photolysis", "quantities", "pressure", "name", "*", "charge"),
    *("RO2", "exp(", "max(1)", "log(0)", "1/0", "**-1", "arrhenius(", "RCONST(1)", "C(ind_A)"),
    *('"a=b"', '"a;b"', '"#"', "e-", "none", "#INCLUDE part.eqn\n", "#EQUATIONS\n", "[species]\n"),
    *(
        "End Reactions\n",
        "Reactions\n",
        "hv",
        "[j]",
        "+",
        "...",
        "%{\n",
        "i=i+1;",
        "k(:,i) =",
        "(i)",
    ),
    *("#ENDINLINE\n", "#INLINE F90_RCONST\n", "@format:", "@var:", "% 1 : A = B ;", "J<4>", "TEMP"),
)
"""What is put in."""
KINDS = ("put", "cut", "replace", "twice", "swap", "number", "word", "line", "lines", "quote")
_WORD = re.compile(r"\S+")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?")
Change = tuple[int, int, int, int]


def mutated(text: str, changes: list[Change]) -> str:
    """The text with these changes: each is a kind, two places and a piece, of any size."""
    for kind, first, second, piece in changes:
        new, size = PIECES[piece % len(PIECES)], len(text) + 1
        a, b = first % size, second % size
        end = a + second % 9
        match KINDS[kind % len(KINDS)]:
            case "put":
                text = text[:a] + new + text[a:]
            case "cut":
                text = text[:a] + text[a + second % (40 if piece % 2 else 3) + 1 :]
            case "replace":
                text = text[:a] + new + text[end:]
            case "twice":
                text = text[:end] + text[a:]
            case "swap":
                letters = [*text, ""]
                letters[a], letters[b] = letters[b], letters[a]
                text = "".join(letters)
            case "number":
                text = _exchange(_NUMBER, text, first, new)
            case "word":
                other = _WORD.findall(text)
                new = other[second % len(other)] if other and piece % 3 else new
                text = _exchange(_WORD, text, first, new)
            case "line" | "lines" as which:
                lines = text.splitlines(keepends=True) or [""]
                one, two = first % len(lines), second % len(lines)
                if which == "line":
                    lines[one] = (lines[two], "", lines[one] * 2)[piece % 3]
                else:
                    lines[one], lines[two] = lines[two], lines[one]
                text = "".join(lines)
            case "quote":
                text = f'{text[:a]}"{text[a:end]}"{text[end:]}'
    return text


def _exchange(what: re.Pattern[str], text: str, which: int, new: str) -> str:
    found = list(what.finditer(text))
    if not found:
        return text + new
    match = found[which % len(found)]
    return text[: match.start()] + new + text[match.end() :]


_REAL: dict[str, list[list[str]]] = {}


def seed(form: str, which: int) -> str:
    """A small file, or a window of a real one."""
    if form not in _REAL:
        folder = SHARED / "data" / "mechanisms"
        paths = sorted(path for pattern in REAL.get(form, ()) for path in folder.glob(pattern))
        _REAL[form] = [path.read_text("latin-1").splitlines(keepends=True) for path in paths]
    small, real = SEEDS[form], _REAL[form]
    if which % 4 or not real:
        return small[which // 4 % len(small)]
    lines = real[which // 4 % len(real)]
    start = which // 7 % max(1, len(lines) - WINDOW)
    head = "#EQUATIONS\n" if form == "kpp" and which % 8 else ""
    return head + "".join(lines[start : start + WINDOW])


def examine(text: str, form: str | None, filename: str) -> bool:
    """Whether the text is read; fails where the answer is neither a sane network nor a line."""
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = loads(text, filename, format=form)
    except MechanismError as error:
        places = re.findall(r"(\S*), line (\d+)", str(error))
        assert places, f"no line in {error}"
        number = int(places[0][1])
        here = places[0][0] == filename
        last = len(f"{text}.".splitlines()) if here else 1000
        assert 1 <= number <= last, f"there is no such line: {error}"
        read = False
    else:
        read = True
        if zlib.crc32(text.encode(errors="replace")) % 4 == 0:
            survives(network)
        if zlib.crc32(text.encode(errors="replace")) % 64 == 0:
            evaluates(network)
    assert time.perf_counter() - began < 5, f"too slow: {text!r}"
    return read


def survives(network: Network) -> None:
    """It can be checked, written and read again."""
    network.check()
    text = table.dumps(network)
    again = table.loads(text)
    assert table.dumps(again) == text
    assert again.structure == network.structure and again.initial == network.initial


def evaluates(network: Network) -> None:
    """Rates are an array, whatever is in it, once all is given, the state where they read it."""
    k = network.rates(
        **{"temperature": 280.0, "pressure": 9e4, "relative_humidity": 0.5, "local_time": 4e4},
        **{"solar_zenith_angle": 0.5, "cosmic_ray_rate": 1e-17, "visual_extinction": 1.0},
        **{"uv_field": 1.0, "gas_to_dust": 1e12, "density": 2e19},
        quantities={"*": 1.0},
    )
    k = k(0.0, np.ones(len(network.species))) if callable(k) else k
    assert np.shape(k) == (len(network.equations),)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> str:
    """The name of a mutant, beside what it may include."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return str(folder / "mutant")


NUMBER = st.integers(0, 10**6)
CHANGES = st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), min_size=1, max_size=6)


def fuzz(form: str, place: str, cases: int) -> None:
    """Examines mutants as the format that they are of and as one that is not told."""
    seen = set()

    @settings(max_examples=cases, database=None)
    @given(which=NUMBER, changes=CHANGES)
    def run(which: int, changes: list[Change]) -> None:
        text = mutated(seed(form, which), changes)
        seen.update(examine(text, asked, place) for asked in (form, None))

    run()
    assert seen == {True, False}


FORMS = pytest.mark.parametrize("form", SEEDS)


@FORMS
def test_seeds_are_read(form, place):
    for text in SEEDS[form]:
        assert examine(text, form, place) and examine(text, None, place)
    assert set(SEEDS) == set(jaxchem.parse.FORMATS)


@FORMS
def test_mutants(form, place):
    fuzz(form, place, 400)


@pytest.mark.slow
@FORMS
def test_many_mutants(form, place):
    fuzz(form, place, 2000)


# One change that is known

COUNTS = {
    **{"table": [7], "cesm": [15], "f0am": [6], "kpp": [8, 6], "facsimile": [6], "musicbox": [3]},
    **{"musica": [16, 16, 3, 3], "kida": [11], "umist": [6], "krome": [7], "uclchem": [10]},
    "cantera": [12],
}
"""Reactions of the seeds."""
FREE = {
    "table": ("[sources]", "[reactions]"),
    "cesm": ("SIMULATION PARAMETERS", "END SIMULATION"),
    "f0am": ("\n%{", "%}\nF = "),
    "kpp": ("#INLINE F77", "#ENDINLINE\n#INLINE F90_RCONST"),
}
"""Between what lines there may be anything: references, comments, code for another compiler."""


@pytest.fixture(scope="module")
def built():
    """Where the reactions stand that readers make, those of the last network last."""
    found: list[list[str]] = []
    build = Network.build.__func__

    def note(cls, **parts):
        listed = parts["reactions"]
        found.append(
            [one.where for n, one in enumerate(listed) if n == 0 or not back(one, listed[n - 1])]
        )
        return build(cls, **parts)

    def back(one, before):
        """Whether it is the other direction of what one entry says."""
        there = one.where == before.where
        return there and (one.reactants, one.products) == (before.products, before.reactants)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "build", classmethod(note))
        yield found


def content(network: Network) -> tuple:
    """What a network means; sources may count lines."""
    n = network
    return (
        *(n.species, n.equations, n.quantities, n.pool_names, n.defaults, n.initial, n.families),
        *(n.fixed, n.balanced, n.units, n.structure.digest, *map(show, n.expressions())),
    )


def told(text: str, form: str, place: str) -> tuple[Network, set[str]]:
    """A network, and the warnings about it, without numbers."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network = loads(text, place, format=form)
    return network, {re.sub(r"\d+", "", str(warning.message)) for warning in caught}


def account(form: str, place: str, built: list[list[str]], cases: int) -> Counter[str]:
    """Examines mutants of all seeds of a format, and counts what came of them."""
    tally: Counter[str] = Counter()
    for which, text in enumerate(SEEDS[form]):
        network, usual = told(text, form, place)
        # what stands in another file is lost with the line that names it
        names = [re.fullmatch(r"(.*), line (\d+)", where).groups() for where in built[-1]]
        lines = [
            int(line) if file == place else text.count("\n", 0, text.index(Path(file).name)) + 1
            for file, line in names
        ]
        begin, end = (text.find(mark) for mark in FREE.get(form, ("", "")))
        inside = range(text.count("\n", 0, begin) + 2, text.count("\n", 0, end) + 3)
        free = frozenset(inside if 0 < begin < end else ())
        seed = Seed(form, text, tuple(sorted(lines)), free)
        draw = random.Random(f"{form} {which}")
        for _ in range(cases // len(SEEDS[form])):
            made = mutant(draw, seed)
            tally[outcome(made, form, place, built, content(network), usual)] += 1
    return tally


def outcome(
    made: Mutant, form: str, place: str, built: list[list[str]], before: tuple, usual: set[str]
) -> str:
    """What became of a mutant; fails where something is lost without a word."""
    try:
        network, said = told(made.text, form, place)
    except MechanismError as error:
        assert not made.same, f"{made}: {error}"
        assert re.search(r"\S, line [1-9]", str(error)), f"{made}: no line in {error}"
        return "refused"
    same = content(network) == before
    assert same or not made.same, f"another network: {made}"
    if said - usual:
        return "warned"
    assert len(built[-1]) >= made.least, f"{len(built[-1])} reactions are left: {made}"
    assert not (made.told and same), f"overlooked: {made}"
    return "same" if same else "changed, with all reactions"


def test_seeds_have_their_reactions(place, built):
    for form, texts in SEEDS.items():
        for text, count in zip(texts, COUNTS[form], strict=True):
            told(text, form, place)
            assert len(built[-1]) == count, form


@FORMS
def test_every_reaction_is_accounted_for(form, place, built):
    tally = account(form, place, built, 400)
    assert min(tally["refused"], tally["same"], tally["changed, with all reactions"]) > 0


@pytest.mark.slow
@FORMS
def test_every_reaction_of_many_is_accounted_for(form, place, built):
    account(form, place, built, 10_000)
