"""Files that mean harm, or that nobody has looked at: each ends soon, with a result or a line.

What takes long runs in a child with limits of memory and time; the shorter ones are read here.
"""

import json
import os
import re
import resource
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from test_fuzz import BOX_TEXT

import jaxchem
from jaxchem.network import MechanismError, Network
from jaxchem.parse import common, loads
from jaxchem.parse.common import LARGEST
from jaxchem.parse.musica import initial_conditions
from jaxchem.parse.musicbox import read_run

MANY, LINES = 10**5, 10**4
GIB = 2**30
SECONDS = 10

Lines = list[tuple[str, str]]


def table(rate: str, quantities: Lines = (), right: str = "B") -> str:
    names = {n for n in re.findall(r"[A-Z]\w*", right) if n not in ("A", "B")}
    named = "\n".join(sorted(names))
    given = "\n".join(f"{name} = {text}" for name, text in quantities)
    return (
        f"name = x\nunits = molecule cm-3, s\nbalanced = none\n[species]\nA\nB\n{named}\n"
        f"[quantities]\n{given}\n[sources]\nS = x\n[reactions]\nA -> {right} ; {rate} ; S\n"
    )


def kpp(rate: str, quantities: Lines = (), right: str = "B") -> str:
    given = "\n".join(f"{name} = {text}" for name, text in quantities)
    return f"#INLINE F90_RCONST\n{given}\n#ENDINLINE\n#EQUATIONS\nA = {right} : {rate} ;\n"


def facsimile(rate: str, quantities: Lines = (), right: str = "B") -> str:
    given = "\n".join(f"{name} = {text} ;" for name, text in quantities)
    return f"{given}\n% {rate} : A = {right} ;\n"


def f0am(rate: str, quantities: Lines = (), right: str = "B") -> str:
    given = "\n".join(f"{name} = {text};" for name, text in quantities)
    made = right.split(" + ")
    species = "; ".join(f"'{n}'" for n in dict.fromkeys(("A", *made)))
    changes = "\n".join(f"f{n}(i)=f{n}(i)+1;" for n in made)
    return (
        f"SpeciesToAdd = {{{species}}}; AddSpecies\n{given}\n"
        f"i=i+1;\nk(:,i) = {rate};\nGstr{{i,1}} = 'A';\nfA(i)=-1;\n{changes}\n"
    )


def krome(rate: str, quantities: Lines = (), right: str = "B") -> str:
    given = "\n".join(f"@var:{name} = {text}" for name, text in quantities)
    made = right.split(" + ")
    return f"{given}\n@format:R{',P' * len(made)},rate\nH,{','.join(made)},{rate}\n"


WRITERS = {"table": table, "kpp": kpp, "facsimile": facsimile, "f0am": f0am, "krome": krome}
"""Formats whose rates are expressions."""
TEMPERATURE = {"table": "temperature", "kpp": "TEMP", "facsimile": "TEMP", "f0am": "T"}
TEMPERATURE["krome"] = "Tgas"
FORMS = pytest.mark.parametrize("form", WRITERS)


def read(text: str, form: str | None, filename: str = "<text>") -> Network | str:
    """The network, or what is wrong with the text; fails where it is not told with a line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return loads(text, filename, format=form)
    except MechanismError as error:
        assert re.search(r", line [1-9]\d*\b", str(error)), error
        assert len(str(error)) < 3000
        return str(error)


def child(act: Callable[[], object], seconds: int = SECONDS) -> tuple[float, int]:
    """Seconds and MiB that it takes in a process of its own, which has 2 GiB.

    It may raise `ValueError` and nothing else.
    """
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with open("/proc/self/status") as status:
                own = next(int(line.split()[1]) for line in status if line.startswith("VmSize"))
            signal.alarm(seconds)
            resource.setrlimit(resource.RLIMIT_AS, (1024 * own + 2 * GIB,) * 2)
            begun = time.perf_counter()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    act()
            except ValueError:
                pass
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            os.write(into, f"{time.perf_counter() - begun} {used}".encode())
            code = 0
        finally:
            os._exit(code)
    os.close(into)
    with os.fdopen(out) as told:
        answer = told.read().split()
    _, status = os.waitpid(pid, 0)
    assert status == 0 and answer, f"ended with status {status}"
    return float(answer[0]), int(answer[1])


# Expressions


EXPRESSIONS = {
    "parentheses": "(" * MANY + "1" + ")" * MANY,
    "open": "(" * MANY,
    "brackets": "[" * MANY,
    "signs": "-" * MANY + "1",
    "calls": "exp(" * MANY + "1" + ")" * MANY,
    "own calls": "f(" * MANY + "1" + ")" * MANY,
    "photolysis": "J(" * MANY + "4" + ")" * MANY,
    "conditions": "if(1>2):" * MANY + "1",
    "sum": "+".join("1" * MANY),
    "powers": "**".join("2" * MANY),
    "arguments": "max(" + ",".join("1" * MANY) + ")",
    "comparisons": "<".join("1" * MANY),
    "quotes": '"' * MANY,
    "texts": "'a" * MANY,
    "digits": "1" * 10**6,
    "decimals": "0." + "3" * 10**6,
    "exponent": "1e" + "9" * 10**6,
    "name": "a" * 10**6,
    "infinite": "1e999",
}


@FORMS
@pytest.mark.parametrize("rate", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_rates(form, rate):
    begun = time.perf_counter()
    for asked in (form, None):
        read(WRITERS[form](rate), asked)
    assert time.perf_counter() - begun < SECONDS


@FORMS
@pytest.mark.parametrize("rate", ["1e999", "1" * 400, "1/0", "log(0)", "1e308*1e308", "exp(1e9)"])
def test_numbers_that_are_not_finite_are_refused(form, rate):
    assert "finite" in read(WRITERS[form](rate), form)


@FORMS
@pytest.mark.parametrize("size", [300, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", ["{} * 2.0", "{0} * {0}", "{0} + exp({0})"])
def test_quantities_that_name_one_another(form, size, step):
    """In order, in a circle and from below; each may be read or refused."""
    up = [("qa0", TEMPERATURE[form])]
    up += [(f"qa{n}", step.format(f"qa{n - 1}")) for n in range(1, size)]
    for given in (up, [("qa0", f"qa{size - 1}"), *up[1:]], up[::-1]):
        text = WRITERS[form](f"qa{size - 1}", given)
        child(lambda text=text: read(text, form), 3 * SECONDS if size == MANY else SECONDS)


@FORMS
def test_a_chain_of_quantities_has_its_value(form):
    given = [("qa0", "1.0"), *((f"qa{n}", f"qa{n - 1} + 1.0") for n in range(1, 40))]
    network = read(WRITERS[form]("qa39", given), form)
    assert network.rates(temperature=300.0)[0] == 40.0


@FORMS
def test_equations(form):
    names = " + ".join(f"X{n % 100}a{n // 100}" for n in range(2000))
    found = read(WRITERS[form]("1.0", right=names), form)
    assert len(found.species) >= 2001 and len(found.equations) == 1


@pytest.mark.parametrize("form", ["table", "kpp", "facsimile"])
@pytest.mark.parametrize("count", ["1e308", "1" + "0" * 400, "1" * 10**5, "nan", "inf", "-1e400"])
def test_coefficients(form, count):
    found = read(WRITERS[form]("1.0", right=f"{count} B + {count} B"), form)
    if not isinstance(found, str):  # 'nan' and 'inf' may be read as names, of which no sum is made
        assert abs(found.stoichiometry).max() < 1e309


@FORMS
def test_long_names(form):
    name = "B" + "x" * 10**6
    for right in (name, f"{name} + {name}y"):
        begun = time.perf_counter()
        read(WRITERS[form]("1.0", right=right), form)
        assert time.perf_counter() - begun < SECONDS


# What is nested


DOCUMENTS = {
    "lists": "[" * MANY,
    "closed lists": "[" * MANY + "]" * MANY,
    "mappings": '{"a":' * MANY,
    "bullets": "- " * MANY,
    "keys": "{?" * MANY,
    "steps": "\n".join(f"{' ' * n}a:" for n in range(3000)),
    "within": '{"version":"1.0.0","species":' + "[" * MANY,
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(20)
    )
    + "\nversion: 1.0.0\nspecies: *u\nphases: *u\nreactions: *u\n",
    "merges": "a: &a {x: 1}\n<<: *a\nversion: 1\nspecies: []\nphases: []\nreactions: []\n",
    "documents": "---\n" * MANY,
    "anchors": "&a " * MANY,
}


@pytest.mark.parametrize("form", ["musica", "musicbox"])
@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS)
def test_documents(form, text):
    begun = time.perf_counter()
    assert isinstance(read(text, form), str)
    assert time.perf_counter() - begun < SECONDS


def test_no_tag_is_obeyed(tmp_path):
    path = tmp_path / "made"
    assert isinstance(read(f"!!python/object/apply:os.mkdir ['{path}']\n", "musica"), str)
    assert not path.exists()


def function(body: str) -> str:
    """A mechanism of KPP with a rate that is a function."""
    return (
        f"#INLINE F90_RATES\nREAL FUNCTION f(a)\nf=0\n{body}END FUNCTION\n#ENDINLINE\n"
        "#EQUATIONS\nA = B : f(3.0);\n"
    )


TEXTS = {
    "kpp": {
        "braces": "{" * LINES + "}" * LINES,
        "comments": "#EQUATIONS\n" + "{a}" * LINES,
        "commands": "#" * LINES,
        "code": "#INLINE F90_RCONST\n" * LINES,
        "nested": function("IF (a>TEMP) THEN\n" * LINES + "f=1\n" + "END IF\n" * LINES),
        "choices": function(
            "IF (a>1) THEN\nf=1\n" + "ELSE IF (a>TEMP) THEN\nf=2\n" * LINES + "END IF\n"
        ),
        "doubled": function("f=a*TEMP\n" + "f=f*f\n" * LINES),
        "itself": function("f=f(a+1)\n"),
        "sums": "#INLINE F90_RCONST\n"
        + "K=K+C(ind_A)\n" * 3000
        + "#ENDINLINE\n#EQUATIONS\nA=B:K;\n",
        "again": "#INLINE F90_RCONST\nK=TEMP\n"
        + "K=K*2\n" * LINES
        + "#ENDINLINE\n#EQUATIONS\nA=B:K;\n",
        "named": "#EQUATIONS\n"
        + "".join(f"A=B:RCONST({n + 2})*RCONST({n + 2});\n" for n in range(2000))
        + "A=B:TEMP;\n",
        "continued": "#INLINE F90_RCONST\n" + "&\n" * LINES + "#ENDINLINE\n#EQUATIONS\nA=B:1;\n",
    },
    "f0am": {
        "braces": "SpeciesToAdd = " + "{" * MANY,
        "comments": "%{\n" * MANY,
        "joined": "...\n" * MANY,
        "limits": "F=T;\n" + "F(F>3)=3;\n" * 3000,
    },
    "cesm": {
        "number": "SPECIES\nSolution\nA\nEnd Solution\nEND SPECIES\nCHEMISTRY\nReactions\n"
        f"A -> {'1' * 10**6} A ; 1\nEnd Reactions\nEND CHEMISTRY\n"
    },
    "krome": {"fields": "@format:R,P,rate\n" + "H," * MANY, "comments": "/*\n" * MANY},
    "umist": {"fields": "1:AD:" + "A:" * MANY, "quotes": '1:AD:A:B:C:::"' * 1000},
    "uclchem": {"fields": "A," * MANY},
    "kida": {"name": "A" * MANY},
}


@pytest.mark.parametrize(
    "form, text",
    [pytest.param(f, t, id=f"{f} {n}") for f, texts in TEXTS.items() for n, t in texts.items()],
)
def test_languages(form, text):
    begun = time.perf_counter()
    for asked in (form, None):
        read(text, asked)
    assert time.perf_counter() - begun < SECONDS


@pytest.mark.parametrize("form", jaxchem.parse.FORMATS)
@pytest.mark.parametrize("piece", ["A + ", "a", "1", "(", "{", "\n", "; ", "1:", '"', "% ", "#"])
def test_one_thing_over_and_over(form, piece):
    begun = time.perf_counter()
    read(piece * MANY, form)
    read(piece * MANY, None)
    assert time.perf_counter() - begun < SECONDS


# Files


@pytest.fixture
def folder(tmp_path):
    """A folder beside another one with files that a mechanism may want to reach."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    contents = {
        "a.eqn": "#EQUATIONS\nA = B : 1.0 ;\n",
        "a.def": "#EQUATIONS\nA = B : 1.0 ;\n",
        "a.json": '{"camp-data": []}',
        "a.csv": "time.s,ENV.temperature.K\n0,250\n",
        "a_K.m": "i=1;\nKnames{i} = 'KX';\nkrx(:,i) = 1e-3;\n",
    }
    for name, text in contents.items():
        (outside / name).write_text(text)
        suffix = name[1:]
        (inside / f"link{suffix}").symlink_to(outside / name)
        (inside / f"loop{suffix}").symlink_to(inside / f"loop{suffix}")
        os.mkfifo(inside / f"pipe{suffix}")
    return inside


REACH = ("link", "loop", "pipe", "../out/a", "{out}/a", "/etc/passwd\0", "x" * 5000)


def reached(folder: Path, name: str, suffix: str) -> str:
    return name.format(out=folder.parent / "out") + suffix


@pytest.mark.parametrize("name", [*REACH, "/etc/passwd", "/dev/zero", "."])
def test_kpp_includes_nothing_else(folder, name):
    suffix = "" if name.startswith(("/etc", "/dev", ".")) and len(name) < 13 else ".eqn"
    name = reached(folder, name, suffix if "a" in name else "")
    text = f"#INCLUDE {name}\n#EQUATIONS\nA = B : 2.0 ;\n"
    message = read(text, "kpp", str(folder / "m.def"))
    assert re.search("lies outside|not beside it", message)


@pytest.mark.parametrize("name", REACH)
def test_kpp_takes_no_other_model(folder, name):
    text = f"#MODEL {reached(folder, name, '')}\n#EQUATIONS\nA = B : 2.0 ;\n"
    assert len(read(text, "kpp", str(folder / "m.def")).equations) == 1
    assert "not beside it" in read(text.partition("\n")[0], "kpp", str(folder / "m.def"))


@pytest.mark.parametrize("name", [*REACH, "."])
def test_camp_lists_nothing_else(folder, name):
    text = json.dumps({"camp-files": [reached(folder, name, ".json" if name != "." else "")]})
    assert "there is no file" in read(text, "musica", str(folder / "config.json"))


@pytest.mark.parametrize("name", [*REACH, "."])
def test_boxes_read_no_other_conditions(folder, name):
    text = BOX_TEXT.replace('"box.csv"', json.dumps(reached(folder, name, ".csv")))
    path = folder / "box.json"
    path.write_text(text)
    with pytest.warns(UserWarning, match="there is no file .* left out"):
        network = jaxchem.load(path)
    assert dict(network.defaults).get("temperature") != 250.0
    with pytest.raises(MechanismError, match="there is no file"):
        read_run(path)


def test_f0am_takes_coefficients_of_its_own_folder_alone(folder):
    path = folder / "m.m"
    path.write_text(f0am("KX"))
    with pytest.warns(UserWarning) as told:
        network = jaxchem.load(path)
    assert network.user_quantities == ("KX",)
    for name in ("link_K.m", "loop_K.m", "pipe_K.m"):
        assert any(f"{name} beside it is no file" in str(warning.message) for warning in told)


@pytest.mark.parametrize("name", ["pipe.eqn", "loop.eqn", "none.eqn", ".", "x" * 5000, "a\0b"])
def test_what_is_no_file(folder, name):
    path = f"{folder}/{name}"
    with pytest.raises(ValueError, match="neither a file nor a network"):
        jaxchem.load(path, format="kpp")
    with pytest.raises(ValueError, match="there is no file"):
        jaxchem.load("robertson", composition=[path])
    for other in (read_run, initial_conditions):
        with pytest.raises(ValueError, match="cannot be read as text"):
            other(path)


def test_devices_are_no_files():
    for path in ("/dev/zero", "/dev/null", "/dev/stdin"):
        with pytest.raises(ValueError, match="neither a file nor a network"):
            jaxchem.load(path)


@pytest.mark.parametrize("form", jaxchem.parse.FORMATS)
def test_empty_and_binary_files(tmp_path, form):
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(MechanismError, match="file, line 1:"):
        jaxchem.load(path, format=form)
    path.write_bytes(b"#EQUATIONS\nA = \0 B : 1 ;")
    with pytest.raises(ValueError, match=r"file: .*binary"):
        jaxchem.load(path, format=form)


def test_a_file_of_a_gibibyte_is_refused(tmp_path):
    path = tmp_path / "large"
    for head in (b"", b"#EQUATIONS\nA = B : 1 ;"):
        with path.open("wb") as file:
            file.write(head)
            file.truncate(GIB)  # of holes
        for form in (None, *jaxchem.parse.FORMATS):
            with pytest.raises(ValueError, match=f"has {GIB} bytes; {LARGEST} are the most"):
                jaxchem.load(path, format=form)


@pytest.mark.parametrize(
    "files, words",
    {
        "cycle": ({"a.eqn": "#INCLUDE b.eqn\n", "b.eqn": "#INCLUDE a.eqn\n"}, "includes itself"),
        "chain": (
            {"a.eqn": "#INCLUDE 0.eqn\n"}
            | {f"{n}.eqn": f"#INCLUDE {n + 1}.eqn" for n in range(20)},
            "nested more than",
        ),
        "bomb": (
            {"a.eqn": "#INCLUDE 0.eqn\n" * 30}
            | {f"{n}.eqn": f"#INCLUDE {n + 1}.eqn\n" * 30 for n in range(6)}
            | {"6.eqn": "#EQUATIONS\nA = B : 1 ;\n"},
            "files are included",
        ),
        "large": (
            {"a.eqn": "#INCLUDE b.eqn\n" * 40, "b.eqn": "{" + "x" * 10**6 + "}\n"},
            "characters are included",
        ),
    }.values(),
)
def test_includes(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    begun = time.perf_counter()
    with pytest.raises(MechanismError, match=rf"line \d+: .*{words}"):
        jaxchem.load(tmp_path / "a.eqn")
    assert time.perf_counter() - begun < SECONDS


def test_lists_of_many_large_files(tmp_path):
    (tmp_path / "0.json").write_text('{"camp-data": []}' + " " * 10**6)
    for n in range(1, 30):
        (tmp_path / f"{n}.json").hardlink_to(tmp_path / "0.json")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"camp-files": [f"{n}.json" for n in range(30)]}))
    with pytest.raises(MechanismError, match="characters in all"):
        jaxchem.load(config)


# What is large


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["A + ", "a", "1", "; ", ",", "(", "{", '"', "% ", "1:"])
def test_the_largest_files_that_are_read(tmp_path, piece):
    """Linear: a statement costs 1 to 2 us even where nothing stands in it."""
    path = tmp_path / "large"
    path.write_text(piece * (LARGEST // len(piece)))
    for form in (None, *jaxchem.parse.FORMATS):
        child(lambda form=form: jaxchem.load(path, format=form), 6 * SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["\n", " \n", "\t\r\n"])
@pytest.mark.parametrize("form", [None, *jaxchem.parse.FORMATS])
def test_blank_lines_cost_nothing(form, line):
    child(lambda: read(line * (LARGEST // len(line)), form))


KIDA = "H2".ljust(11) + "CRP".ljust(23) + "H".ljust(11) + "H".ljust(45)
KIDA += "1.000e-01  0.000e+00  0.000e+00 0.00e+00 0.00e+00 logn  1  -9999   9999  1     1 1  1\n"
F0AM = "i=i+1;\nk(:,i) = 1e-3;\nGstr{i,1} = 'A';\nfA(i)=-1;\nfB(i)=1;\n"
CESM = "SPECIES\nSolution\nA,B\nEnd Solution\nEnd SPECIES\nCHEMISTRY\nReactions\n"
GAS = '{"name": "gas", "species": [{"name": "A"}, {"name": "B"}]}'
SIDES = '"reactants": [{"species name": "A"}], "products": [{"species name": "B"}]'
MUSICA = f'{{"version": "1.0.0", "species": [{{"name": "A"}}, {{"name": "B"}}], "phases": [{GAS}],'
CANTERA = "".join(f"- name: {n}\n  composition: {{H: 1}}\n" for n in "AB")
MANY_OF = {  # what stands above the reactions, one of them, and what stands below
    "table": (table("1e-3"), "A -> B ; 1e-3 ; S\n", ""),
    "kpp": (kpp("1e-3"), "A=B:1e-3;\n", ""),
    "facsimile": (facsimile("1e-3"), "% 1e-3 : A = B ;\n", ""),
    "krome": ("@format:R,P,rate\n", "H,H2,1e-3\n", ""),
    "f0am": ("SpeciesToAdd = {'A'; 'B'}; AddSpecies\n", F0AM, ""),
    "cesm": (CESM, "A -> B ; 1e-3\n", "End Reactions\nEnd CHEMISTRY\n"),
    "kida": ("", KIDA, ""),
    "umist": ("", "1:AD:C:C:C2:PHOTON:::1:1.0:0:0:10:300:M:A:::\n", ""),
    "uclchem": ("", "H,H,NAN,H2,NAN,NAN,NAN,1.0,0.0,0.0,10,41000\n", ""),
    "musica": (
        f'{MUSICA} "reactions": [',
        f'{{"type": "ARRHENIUS", "gas phase": "gas", {SIDES}}},\n',
        f'{{"type": "ARRHENIUS", "gas phase": "gas", {SIDES}}}]}}',
    ),
    "cantera": (
        "phases: [{name: gas, thermo: ideal-gas, elements: [H], species: [A, B], kinetics: gas}]\n"
        f"species:\n{CANTERA}reactions:\n",
        "- {equation: A => B, rate-constant: {A: 1, b: 0, Ea: 0}, duplicate: true}\n",
        "",
    ),
}


@pytest.mark.parametrize("form", MANY_OF)
def test_as_many_reactions_as_are_read(form, monkeypatch):
    """More are refused, before they are looked into, with their number and the limit."""
    monkeypatch.setattr(common, "MOST_REACTIONS", 20)
    head, line, end = MANY_OF[form]
    own = int(form in ("table", "kpp", "facsimile", "musica"))  # in what stands around
    few = head + line * (20 - own) + end
    if form != "kida":  # whose ranges must differ
        assert len(read(few, form).equations) == 20
    message = read(head + line * 30 + end, form)
    assert f"has {30 + own} reactions; 20 are the most" in message


@pytest.mark.slow
@pytest.mark.parametrize("form", MANY_OF)
def test_a_million_reactions_are_refused_soon(form):
    head, line, end = MANY_OF[form]
    _, used = child(lambda: loads(head + line * 1_000_000 + end, format=form))
    assert used < 2048


@pytest.mark.slow
@pytest.mark.parametrize("form", [f for f in MANY_OF if f != "kida"])
def test_the_most_reactions_are_read_soon(form):
    head, line, end = MANY_OF[form]
    _, used = child(lambda: loads(head + line * (common.MOST_REACTIONS - 1) + end, format=form))
    assert used < 2048
