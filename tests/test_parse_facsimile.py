"""FACSIMILE files against an own reading of them, and what malformed ones are answered."""

import math
import random
import re
import time
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import shared

import jaxchem
from jaxchem.network import MechanismError, Network
from jaxchem.parse import facsimile, kpp_writer, table
from jaxchem.rates import mcm

FILES = {"mechanism.fac": (29, 71), "short.fac": (104, 324), "spec_model_1.fac": (49, 146)}
"""Species and reactions (species as the files list them)."""

WEATHER = (298.15, 2.46e19, 0.5, 0.2), (263.0, 1.4e19, 0.9, 1.3), (305.0, 2.3e19, 0.1, 1.8)
"""Temperature [K], density [molecule cm-3], relative humidity, solar zenith angle [rad]."""

SMALL = """* a toy mechanism ;
VARIABLE O3 NO NO2
CH3O2 C2H5O2 HCHO ;
KA = 2.7D-12*EXP(360/TEMP) ;
KB = KA*(TEMP/300)@-1.5*M**0.5 ;
RO2 = CH3O2 +
      C2H5O2 ;
% KA : NO + O3 = NO2 ;
% J<4> : NO2 = NO + O3 ; * light ;
% 2*KB*RO2*0.5 : CH3O2 = 0.75 HCHO + .5NO ;
% 1.0D3 : = O3 ; % 2.0e-5 : HCHO = ;
% 1D-30*O2*KA : 2NO + 2.0 O3 = NO2
   + NO2 ;
"""


def read(text: str) -> Network:
    return facsimile.loads(text, "a.fac")


def humidity(t: float, rh: float) -> float:
    """Water vapour [molecule cm-3], Murphy & Koop 2005, eq. 10."""
    cold = 53.878 - 1331.22 / t - 9.44523 * math.log(t) + 0.014025 * t
    warm = 54.842763 - 6763.22 / t - 4.21 * math.log(t) + 0.000367 * t
    return 1e-6 * rh * math.exp(warm + math.tanh(0.0415 * (t - 218.8)) * cold) / 1.380649e-23 / t


class Own:
    """The test's reading of an export of the MCM: text that Python itself works out."""

    def __init__(self, text: str):
        lines = [line for line in text.splitlines() if not line.startswith("*")]
        parts = [" ".join(s.split()) for s in "\n".join(lines).split(";")]
        self.species = next(p.split()[1:] for p in parts if p.startswith("VARIABLE"))
        self.peroxy = next(p for p in parts if p.startswith("RO2 =")).split("=")[1].split("+")
        self.peroxy = [p.strip() for p in self.peroxy]
        self.names = [p.split("=", 1) for p in parts if re.match(r"[A-Z]\w* =", p)]
        self.reactions = []
        for part in parts:
            if part.startswith("%"):
                rate, equation = part[1:].split(" : ")
                left, right = equation.split("=")
                sides = [[m.strip() for m in s.split("+") if m.strip()] for s in (left, right)]
                self.reactions.append((rate, *sides))

    @staticmethod
    def python(text: str) -> str:
        text = re.sub(r"(?<=[\d.])D(?=[+-]?\d)", "e", text)
        return re.sub(r"J<(\d+)>", r"J(\1)", text).replace("@", "**")

    def rates(self, weather, ro2: float) -> list[float]:
        t, m, rh, angle = weather

        def j(number):
            scale, power, n = mcm.PHOTOLYSIS[number]
            up = math.cos(angle)
            return scale * up**power * math.exp(-n / up) if up > 0 else 0.0

        scope = {"TEMP": t, "M": m, "O2": 0.2095 * m, "N2": 0.7809 * m, "H2O": humidity(t, rh)}
        scope |= {"EXP": math.exp, "LOG10": math.log10, "J": j, "RO2": ro2}
        for name, value in self.names:
            if name.strip() != "RO2":
                scope[name.strip()] = eval(self.python(value), {}, scope)
        return [eval(self.python(rate), {}, scope) for rate, _, _ in self.reactions]

    def tendency(self, weather, y: dict[str, float]) -> dict[str, float]:
        total = dict.fromkeys(self.species, 0.0)
        k = self.rates(weather, sum(y[name] for name in self.peroxy))
        for rate, (_, left, right) in zip(k, self.reactions, strict=True):
            flux = rate * math.prod(y[name] for name in left)
            for name in left:
                total[name] -= flux
            for name in right:
                total[name] += flux
        return total


@pytest.fixture(scope="module", params=FILES)
def case(request) -> tuple[str, Network, Own]:
    text = shared("data", "mechanisms", "atchem2", request.param).read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return text, facsimile.loads(text, request.param), Own(text)


def conditions(weather) -> dict[str, float]:
    names = ("temperature", "density", "relative_humidity", "solar_zenith_angle")
    return dict(zip(names, weather, strict=True))


def test_files_have_their_species_and_reactions(case):
    text, network, own = case
    assert facsimile.looks_like(text)
    size = FILES[dict(network.references)["FAC"].split(",")[0]]
    assert (len(network.species), len(network.equations)) == size
    assert list(network.species) == own.species
    assert all("Jenkin" in text for text in dict(network.references).values())


@pytest.mark.parametrize("weather", WEATHER)
def test_rates_of_files(case, weather):
    _, network, own = case
    k = network.rates(**conditions(weather))
    expected = own.rates(weather, ro2=1.0)
    np.testing.assert_allclose(k, expected, rtol=1e-12, atol=0)
    assert bool(np.all(np.asarray(k) > 0)) == (weather[3] < 1.57)


@pytest.mark.parametrize("weather", WEATHER[:2])
def test_tendency_of_files(case, weather):
    _, network, own = case
    y = 10 ** np.random.default_rng(1).uniform(4, 12, len(own.species))
    found = jaxchem.tendency(network, network.rates(**conditions(weather)), jnp.asarray(y))
    expected = own.tendency(weather, dict(zip(own.species, y, strict=True)))
    scale = np.abs(list(expected.values())).max()
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-10, atol=1e-14 * scale)


def test_files_survive_the_table(case):
    _, network, _ = case
    text = table.dumps(network)
    again = table.loads(text)
    assert table.dumps(again) == text and again.structure == network.structure
    weather = conditions(WEATHER[1])
    np.testing.assert_array_equal(again.rates(**weather), network.rates(**weather))


def test_photolysis_may_be_given(case):
    _, network, _ = case
    place = next(i for i, e in enumerate(network.equations) if e == "NO2 -> NO + O")
    k = network.rates(**conditions(WEATHER[0]), photolysis={"J4": 3.25e-3})
    assert float(k[place]) == 3.25e-3


def test_small():
    network = read(SMALL)
    assert network.species == ("O3", "NO", "NO2", "CH3O2", "C2H5O2", "HCHO")
    assert network.equations == (
        "NO + O3 -> NO2",
        "NO2 -> NO + O3",
        "CH3O2 -> 0.75 HCHO + 0.5 NO",
        "-> O3",
        "HCHO ->",
        "2 NO + 2 O3 -> 2 NO2",
    )
    assert network.pool_names == ("RO2",) and network.units == ("molecule cm-3", "s")
    assert list(network.structure.pool_of) == [1, 1, 0, 1, 1, 1]
    t, m = 280.0, 2e19
    ka = 2.7e-12 * math.exp(360 / t)
    kb = ka * (t / 300) ** -1.5 * m**0.5
    k = network.rates(temperature=t, density=m, photolysis={"J4": 0.5})
    expected = [ka, 0.5, 2 * kb * 0.5, 1e3, 2e-5, 1e-30 * 0.2095 * m * ka]
    np.testing.assert_allclose(k, expected, rtol=1e-14)
    assert network.sources[3] == "FAC, line 11" and network.name == "a"
    assert set(network.needs) == {"temperature", "solar_zenith_angle", "density"}


def test_species_are_found_where_none_are_listed():
    network = read("% 1.0 : B + A = C ;\n% 2.0 : C = A + D ;")
    assert network.species == ("B", "A", "C", "D")


def test_species_that_are_not_listed_are_told():
    with pytest.warns(UserWarning, match="a.fac: species without a declaration.*: C, D"):
        network = read("VARIABLE B A ;\n% 1.0 : B + A = C ;\n% 2.0 : D = A ;")
    assert network.species == ("B", "A", "C", "D")


@pytest.mark.parametrize("text", ["J<4>", "J(4)", "J < 4 >", "J_NO2", "J<J_NO2>", "J(J_NO2)"])
def test_photolysis_however_it_is_written(text):
    network = read(f"% {text}*0.5 : A = B ;")
    assert dict(network.quantities).keys() == {"J4", "JFAC", "ROOF"}
    expected = 0.5 * 1.165e-2 * math.cos(0.4) ** 0.244 * math.exp(-0.267 / math.cos(0.4))
    np.testing.assert_allclose(network.rates(solar_zenith_angle=0.4), expected, rtol=1e-14)


def test_photolysis_that_the_mcm_does_not_have_is_the_users():
    network = read("% J<99> : A = B ;")
    assert network.user_quantities == ("J99",)
    assert float(network.rates(photolysis={"J99": 0.25})[0]) == 0.25


def test_photolysis_that_is_computed_is_scaled_and_no_other():
    network = read(
        "J7 = 2.0D-3 ;\n% J<4> : A = B ;\n% J<7> : A = B ;\n% J<8> : A = B ;\n% J<99> : A = B ;\n"
        "% 3.0 : A = B ;"
    )
    given = {"solar_zenith_angle": 0.4, "photolysis": {"J8": 0.5, "J99": 0.25}}
    j4 = 1.165e-2 * math.cos(0.4) ** 0.244 * math.exp(-0.267 / math.cos(0.4))
    rest = [2e-3, 0.5, 0.25, 3.0]
    np.testing.assert_allclose(network.rates(**given), [j4, *rest], rtol=1e-14)
    scaled = network.rates(**given, quantities={"JFAC": 0.6})
    np.testing.assert_allclose(scaled, [0.6 * j4, *rest], rtol=1e-14)
    closed = network.rates(**given, quantities={"ROOF": 0.0})
    np.testing.assert_array_equal(closed, [0.0, *rest])
    own = read("JFAC = 0.7 ;\n% J<4> : A = B ;")
    np.testing.assert_allclose(own.rates(solar_zenith_angle=0.4), [0.7 * j4], rtol=1e-14)
    with pytest.raises(MechanismError, match="line 1: 'JFAC' is assigned below, in line 2"):
        read("K = J<4> ;\nJFAC = 0.7 ;\n% K : A = B ;")


def test_a_factor_of_photolysis_that_is_not_1_is_not_lost_in_kpp():
    text = kpp_writer.dumps(read("% J<4> : A = B ;"))
    assert "A + hv = B : J(4);" in text
    with pytest.raises(ValueError, match="mcm_photolysis"):
        kpp_writer.dumps(read("JFAC = 0.7 ;\n% J<4> : A = B ;"))


def test_functions_of_the_host_are_the_users():
    network = read(
        "K = 2*calcKMT15(TEMP, M) ;\n% K : A = B ;\n% calcKMT15(TEMP,M)*0.5 : A = B ;\n"
        "% uptake(H2O, 2.0) : A = B ;"
    )
    own = "calcKMT15(TEMP,M)"
    assert network.user_quantities == (own, "uptake(H2O,2)")
    assert any(own in p and p.startswith("user rates") for p in network.check())
    k = network.rates(quantities={own: 3.0, "uptake(H2O,2)": 5.0})
    np.testing.assert_array_equal(k, [6.0, 1.5, 5.0])


def test_what_the_reader_supplies_is_listed():
    with pytest.warns(UserWarning) as caught:
        network = read("% 2.2D-13*KMT06*PRESS : A + A = B ;\n% J<4> : B = A ;")
    told = [str(w.message) for w in caught]
    assert len(told) == 2 and "PRESS" in told[1] and "hPa" in told[1]
    supplied = dict(network.supplied)
    assert supplied["KMT06"] == supplied["J4"] == "MCM v3.3.1"
    assert supplied["PRESS"] == "the pressure in hPa"
    assert "KMT06 (MCM v3.3.1)" in network.check().groups["supplied"]
    assert dict(jaxchem.hold(network, ["B"]).supplied) == supplied


def test_a_pressure_in_another_unit_is_assigned():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = read("PRESS = pressure ;\n% PRESS : A = B ;")
    assert float(network.rates(pressure=9e4)[0]) == 9e4 and network.supplied == ()


def test_environment():
    rates = ("RH", "PRESS", "JFAC*ROOF", "BLH", "H2O", "DILUTE+DEC", "ASA")
    with pytest.warns(UserWarning, match="PRESS"):
        network = read("\n".join(f"% {rate} : A = B ;" for rate in rates))
    assert set(network.user_quantities) == {"BLH", "DILUTE", "DEC", "ASA"}
    k = network.rates(
        relative_humidity=0.6,
        pressure=98000.0,
        temperature=281.0,
        quantities={"BLH": 3.0, "DILUTE": 0.5, "DEC": 0.25, "ASA": 7.0},
    )
    expected = [60.0, 980.0, 1.0, 3.0, humidity(281.0, 0.6), 0.75, 7.0]
    np.testing.assert_allclose(k, expected, rtol=1e-12)


def test_what_the_mcm_defines_is_taken_with_a_warning():
    with pytest.warns(UserWarning, match="does not define KMT06; taken from MCM"):
        network = read("H2O = 1.0D17 ;\n% 2.2D-13*KMT06 : A + A = B ;")
    k = network.rates(temperature=290.0)
    np.testing.assert_allclose(k, 2.2e-13 * (1 + 1.4e-21 * math.exp(2200 / 290) * 1e17), rtol=1e-14)


def test_what_the_file_assigns_comes_first():
    network = read("KMT06 = 3.0 ; O2 = 5.0 ;\n% KMT06*O2 : A = B ;")
    assert float(network.rates()[0]) == 15.0


@pytest.mark.parametrize("total", ["", "   ", "CH3O2"])
def test_no_peroxy_radicals(total):
    with warnings.catch_warnings():
        warnings.simplefilter("error" if not total.strip() else "ignore")
        network = read(f"RO2 = {total} ;\n% 2.0*RO2 : A = B ;")
    assert network.pool_names == () and float(network.rates()[0]) == 0.0


def test_peroxy_radicals_that_are_not_in_the_mechanism_are_left_out():
    with pytest.warns(UserWarning, match="line 1: 2 members of RO2"):
        network = read("RO2 = A + X + B + Y ;\n% 2.0*RO2 : A = B ;")
    assert network.structure.pools.tolist() == [[1.0, 1.0]]


def test_a_coefficient_may_name_the_sum_before_it():
    network = read("KR = 1.5*RO2 ;\nKS = KR*2 ;\nRO2 = A ;\n% KS*3 : A = B ;")
    assert network.pool_names == ("RO2",)
    y = jnp.array([2.0, 0.0])
    np.testing.assert_allclose(jaxchem.tendency(network, network.rates(), y), [-36.0, 36.0])


def test_a_rate_may_name_a_species():
    network = read("% 0.5*C : A = B ;\n% 1.0 : C = ;")
    found = jaxchem.tendency(network, network.rates(), jnp.array([3.0, 0.0, 4.0]))
    np.testing.assert_allclose(found, [-6.0, 6.0, -4.0])
    assert table.dumps(table.loads(table.dumps(network))) == table.dumps(network)


def test_numbers_of_conditions_and_species_are_proposals():
    network = read("TEMP = 298 ;\nM = 2.5D19 ;\nA = 1.0D12 ;\n% 1D-20*M*TEMP : A = B ;")
    assert dict(network.defaults) == {"temperature": 298.0, "density": 2.5e19}
    assert dict(network.initial) == {"A": 1e12}
    np.testing.assert_allclose(network.rates(), 1e-20 * 2.5e19 * 298, rtol=1e-14)


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("% 1 : A = B", 1, "no ';'"),
        ("\n* c ;\n% 1 : A + = B ;", 3, "NUMBER NAME"),
        ("% 1 : 1.5A = B ;", 1, "whole molecules"),
        ("% 1 : 10A = B ;", 1, "10 A reacts"),
        ("% 1 : 0 A = B ;", 1, "whole molecules"),
        (f"% 1 : A = {'9' * 400} B ;", 1, "NUMBER NAME"),
        ("% 1 : = ;", 1, "no species"),
        ("% 1 A = B ;", 1, "% RATE"),
        ("% 1 : A -> B ;", 1, "% RATE"),
        ("% : A = B ;", 1, "found nothing"),
        ("% 1+ : A = B ;", 1, "found nothing"),
        ("% KX : A = B ;", 1, "'KX', which is nothing"),
        ("% EXQ(2.0) : A = B ;", 1, "unknown rate law 'EXQ'; did you mean 'exp'?"),
        ("% ALOG10(TEMP) : A = B ;", 1, "did you mean 'log10'?"),
        ("VARIABLES A B ;\n% 1 : A = B ;", 1, "'VARIABLE A B ;'"),
        ("VARIABLE A\nVARIABLE B ;\n% 1 : A = B ;", 1, "'VARIABLE' is no name"),
        ("* old ; % 2 : B = A ;\n% 1 : A = B ;", 1, "all of which is a comment"),
        ("% 1 : A = B ;\n* old ; KA = 2.0 ;", 2, "'KA = 2.0' stands in a line"),
        ("% EXP(1,2) : A = B ;", 1, "does not take 2"),
        ("% EXP(1E6) : A = B ;", 1, "not finite"),
        ("% 1D999 : A = B ;", 1, "not finite"),
        ("% J<1.5> : A = B ;", 1, "found nothing"),
        ("% J(1.5) : A = B ;", 1, "whole numbers"),
        ("KX = KY ;\nKY = 1 ;\n% 1 : A = B ;", 1, "assigned below, in line 2"),
        ("KX = KX ;\n% 1 : A = B ;", 1, "assigned below"),
        ("KX = 1 ;\nKX = 2 ;\n% 1 : A = B ;", 2, "line 1; drop one"),
        ("KX = ;\n% 1 : A = B ;", 1, "found nothing"),
        ("% 1 : A = B ;\nsome words ;", 2, "write '% RATE"),
        ("KX = 2\n* 3 ;\n% 1 : A = B ;", 2, "a comment"),
        ("VARIABLE A 2B ;\n% 1 : A = B ;", 1, "'2B' is no name"),
        ("density = 1 ;\n% 1 : A = B ;", 1, "condition"),
        ("TEMP = 2*M ;\n% 1 : A = B ;", 1, "write a number"),
        ("A = -1.0 ;\n% 1 : A = B ;", 1, "not below 0"),
        ("B = A + A ;\n% 1 : A = B ;", 1, "a species and a sum"),
        ("% KMT06 : A = B ;\n* c ;", 1, ""),
        ("* nothing ;", 1, "no reaction"),
        ("", 1, "no reaction"),
        (f"% {'(' * 500}1{')' * 500} : A = B ;", 1, "deep"),
    ],
)
def test_malformed(text, line, words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not words:
            read(text)
            return
        with pytest.raises(MechanismError) as error:
            read(text)
    assert f"a.fac, line {line}" in str(error.value) and words in str(error.value)


JUNK = (
    *("junk", "some words", "12", "; ;", "%", "= NO", "VARIABLE", ": KA", "% 1 : NO", "+ NO"),
    *("#include more.fac", "COMPILE EQUATIONS ;", "{ NO + O3 }", "% 1 : NO + O3 = NO2 ;", "1.0 ;"),
)
SLIPS = (
    *(("VARIABLE", "VARIBLE"), ("VARIABLE", "VARIABLES"), ("EXP", "EPX"), ("TEMP", "TMEP")),
    *(("J<4>", "J<4"), ("J<4>", "K<4>"), ("RO2 =", "R02 ="), ("%", ""), ("%", "&"), ("=", "->")),
    *((":", ";"), ("@", "^^"), ("KA", "KAA"), ("+", ""), ("HCHO", "HHCO"), ("=", "==")),
)
BETWEEN = ("", "   ", "\t", "* a comment ;", "  * a, without an end", "*;", "*** 1 = 2 ***")
KINDS = st.sampled_from(("junk", "drop", "slip"))
PLACES = st.tuples(KINDS, st.integers(0, 99), st.integers(0, 99))


def spoilt(text: str, kind: str, where: int, which: int) -> str:
    """The text with a line more, a semicolon less or a word misspelt."""
    lines = text.splitlines()
    if kind == "junk":
        lines.insert(where % (len(lines) + 1), JUNK[which % len(JUNK)])
        return "\n".join(lines) + "\n"
    old, new = (";", "") if kind == "drop" else SLIPS[which % len(SLIPS)]
    parts = text.split(old)
    cut = 1 + where % max(1, len(parts) - 1)
    return old.join(parts[:cut]) + new + old.join(parts[cut:]) if len(parts) > 1 else text


@settings(max_examples=300)
@given(st.lists(PLACES, min_size=1, max_size=3))
def test_no_reaction_is_lost_in_silence(changes):
    text = SMALL
    for change in changes:
        text = spoilt(text, *change)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            network = read(text)
        except MechanismError as error:
            assert re.search(r"a\.fac, line \d+", str(error))
        else:
            assert len(network.equations) >= len(read(SMALL).equations), text


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from(BETWEEN)), max_size=5), st.booleans())
def test_blanks_and_comments_change_nothing(more, wide):
    lines = SMALL.splitlines()
    starts = [i for i, line in enumerate(["*;", *lines]) if line.rstrip().endswith(";")]
    for place, line in sorted(((starts[p % len(starts)], line) for p, line in more), reverse=True):
        lines.insert(place, line)
    text = "\r\n".join(lines).replace(" ", " \t ") if wide else "\n".join(lines)
    again, network = read(text), read(SMALL)
    for part in ("species", "equations", "quantities", "structure", "pool_names"):
        assert getattr(again, part) == getattr(network, part)
    assert again.expressions() == network.expressions()


def test_mutated_files_are_refused_with_their_line(case):
    text, _, _ = case
    text = text[: text.rindex("*;\n* End")]
    draw = random.Random(7)
    characters = ';%:=+*@<>()/ \n.0DEJTMRO2é{"#'
    refused = 0
    for _ in range(60):
        mutated = list(text)
        for _ in range(draw.choice((1, 1, 3, 30))):
            place = draw.randrange(len(mutated))
            mutated[place] = draw.choice(("", draw.choice(characters), mutated[place] * 2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read("".join(mutated))
            except MechanismError as error:
                refused += 1
                assert re.search(r"a\.fac, line \d+", str(error))
    assert refused > 0


@pytest.mark.parametrize(
    "text",
    [
        "%" * 100_000,
        "% 1 : " + "1" * 100_000 + " = ;",
        "K =" + " " * 100_000 + "=;",
        "% 1 : " + "A + " * 30_000 + "A = ;",
        "J<" * 50_000,
        ";" * 100_000,
        "K1 = 2*RO2 ;\n" + "".join(f"K{i + 1} = K{i}*K{i} ;\n" for i in range(1, 60)),
    ],
)
def test_long_garbage_is_refused_soon(text):
    start = time.perf_counter()
    assert facsimile.looks_like(text) in (True, False)
    with pytest.raises(MechanismError, match="line"):
        read(text + "\nRO2 = A ;\n% 1 : B + B = A")
    assert time.perf_counter() - start < 3


def test_looks_like():
    assert facsimile.looks_like(SMALL)
    assert not facsimile.looks_like("[species]\nA\n[reactions]\nA -> ; 1 ; S\n")
    assert not facsimile.looks_like("#EQUATIONS\n<R1> NO + O3 = NO2 : 1.8E-12 ;\n{% x : A = B }")


def test_a_condition_by_name_is_refused_with_its_line():
    with pytest.raises(MechanismError, match=r"'K' \(a\.fac, line 2\): .*'quantities'"):
        read("* a comment ;\nK = quantities ;\n% K : A = B ;\n")


def test_a_borrowed_coefficient_made_of_a_species_is_refused():
    with pytest.raises(MechanismError, match=r"line 2: 'KMT06' is the MCM's.*'H2O'.*assign"):
        read("% 1 : H2O = A ;\n% KMT06 : A = B ;\n% H2O : B = A ;\n")
