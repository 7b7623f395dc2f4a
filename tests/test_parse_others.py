"""Formats that are told by sight and not read, and that none of those that are read is one."""

import re
import time

import pytest
from test_fuzz import SEEDS

import jaxchem
from jaxchem.network import MechanismError
from jaxchem.parse import loads, others

TEXTS = {
    "SBML": (
        2,
        '<?xml version="1.0"?>\n<sbml xmlns="http://www.sbml.org/sbml/level3/version1/core"/>\n',
    ),
    "BioNetGen": (
        2,
        "# made by hand\nbegin model\nbegin parameters\nk 0.5\nend parameters\n"
        "begin reaction rules\nA() -> B() k\nend reaction rules\nend model\n",
    ),
    "BioNetGen ": (
        1,
        "begin species\n1 A() 10\nend species\nbegin reactions\n1 1 0 k\nend reactions",
    ),
    "Cantera": (2, "# old\nreaction('H2 + O <=> H + OH', [5.0e+04, 2.7, 6290])\n"),
    "Cantera ": (2, "<?xml version='1.0'?>\n<ctml>\n<validate reactions='yes'/>\n</ctml>\n"),
    "CHEMKIN": (
        2,
        "! a comment\nELEM H O END\nSPEC H2 O H OH END\nREAC\nH2+O=H+OH 1.0 2.0 3.0\nEND\n",
    ),
    "CHEMKIN ": (1, "REACTIONS CAL/MOLE\n! none\n\nH2+O<=>H+OH  1.0E+05 2.0 3.0\nEND\n"),
    "VULCAN": (2, "# id reactions A B C\n 1 [ OH + H2 -> H2O + H ]  3.57E-16 1.52 1740.0\n"),
    "VULCAN ": (1, "[ OH + H2 -> H2O + H ]  3.57E-16 1.52 1740.0\n"),
    "PRIZMO": (2, "# small\nVARIABLES{\n t = Tgas / 3e2\n}\nH + H -> H2 1e-17*t\n"),
    "PRIZMO ": (1, "H+ + E -> H  [, 5500]  3.5e-12*(Tgas/3e2)**(-0.7)\n"),
    "Nautilus": (
        2,
        "! surface\n"
        + f"{'JH':11}{'JCO':23}{'JHCO':57}1.000e+00  0.000e+00  2.500e+03 0.00e+00 0.00e+00"
        + "   NA 14  -9999   9999  0  7001 1  1\n",
    ),
    "OSU": (
        1,
        f"{'C+':8}{'H2':16}{'CH2+':41}4.00e-16-2.00e-01 0.00e+00 2   4         *   4*  2.00\n",
    ),
    "PyCHAM": (2, "* one ;\n<> A + O3 = B : 6.3D-16*EXP(-580/TEMP)*0.57 ;\n"),
    "KPP": (1, "{1.} A + O3 = B : 6.3D-16*EXP(-580/TEMP) ;\n"),
}
"""Name in the message -> the line that shows it, and a text."""


@pytest.mark.parametrize("name", TEXTS)
def test_named(name, tmp_path):
    line, text = TEXTS[name]
    path = tmp_path / "mechanism"
    path.write_text(text)
    with pytest.raises(MechanismError, match=f"line {line}: this is .*{name.strip()}") as error:
        jaxchem.load(path)
    ways = r"jaxchem's table|make YAML|KROME's format|#EQUATIONS|gas_reactions\.in"
    assert re.search(ways, str(error.value))


@pytest.mark.parametrize("form", SEEDS)
def test_what_is_read_is_none_of_them(form):
    for text in SEEDS[form]:
        found = others.foreign(text)
        # KPP's equations are what they are, with their section or without
        assert found is None or (form == "kpp" and found[1] is others.OTHERS[-1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello\n",
        "a,b\n1,2\n",
        '{"a": [1, 2]}',
        "species: [A]\nreactions: []\n",
        "# Species\n\nThe reactions: A -> B is slow; see [1] and [2].\n",
        "SPECIES\nA B\n",
        "Elements of the network:\nC, H\n",
        "equation: E = m c2\n",
    ],
)
def test_other_texts_are_none_of_them(text):
    assert others.foreign(text) is None
    with pytest.raises(MechanismError, match="not a network that jaxchem can read"):
        loads(text)


@pytest.mark.parametrize(
    "piece",
    [
        "->",
        "[",
        "[->",
        "a=",
        ":",
        "a=b:",
        "1.00e-01",
        " ",
        "\n",
        "<",
        "{",
        "reac\n",
        "A,",
        "elem\n",
    ],
)
def test_long_garbage_takes_no_time(piece):
    start = time.perf_counter()
    others.foreign(piece * 60_000)
    assert time.perf_counter() - start < 3
