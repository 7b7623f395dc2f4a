"""Readers of KIDA, UMIST and KROME against small readers of their own, in plain Python."""

import csv
import functools
import math
import random
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import shared

import jaxchem
from jaxchem.expression import Number
from jaxchem.network import MechanismError, Network
from jaxchem.parse import kida, krome, loads, table, umist
from jaxchem.parse.astro import compositions

pytestmark = pytest.mark.filterwarnings("ignore:.*contradicts the reactant:UserWarning")

ASTRO = ("data", "mechanisms", "astro")
KIDA_FILE = "gas_reactions_kida.uva.2024.in"
TINY = np.finfo(float).tiny
"""XLA takes what is smaller for zero."""
KROME_FLOOR = 1e-40
CLOUD = {
    "cosmic_ray_rate": 3e-17,
    "visual_extinction": 2.5,
    "uv_field": 1.7,
    "gas_to_dust": 7.5e11,
    "density": 2e4,
}


@functools.cache
def whole(file: str) -> tuple[Network, str, float]:
    """A shared file as it is read, its text, and the seconds of CPU time that reading took."""
    path = shared(*ASTRO, file)
    reader = {"gas": kida, "umi": umist, "rea": krome}[file[:3]]
    text = path.read_text()
    began = time.process_time()
    return reader.loads(text, str(path)), text, time.process_time() - began


def rates(network: Network, temperatures: list[float], **conditions) -> np.ndarray:
    """Coefficients [temperatures, reactions]."""
    function = jax.jit(jax.vmap(lambda t: network.rates(temperature=t, **conditions)))
    return np.asarray(function(jnp.asarray(temperatures)))


def kida_line(
    reactants: str,
    products: str,
    abc: tuple[float, float, float] = (1e-9, -0.5, 20.0),
    limits: tuple[int, int] = (10, 280),
    formula: int = 3,
    number: int = 1,
) -> str:
    left = "".join(f"{n:11}" for n in (reactants.split() + [""] * 3)[:3])
    right = "".join(f"{n:11}" for n in (products.split() + [""] * 5)[:5])
    values = " ".join(f"{v:10.3e}" for v in abc)
    return (
        f"{left} {right} {values} 2.00e+00 0.00e+00 logn  4 {limits[0]:6d} {limits[1]:6d} "
        f"{formula:2d} {number:5d} 1  1"
    )


KIDA_TEXT = "\n".join(
    [
        "! a comment",
        kida_line("H2 CR", "H2+ e-", (0.93, 0, 0), (-9999, 9999), 1, 1),
        kida_line("C6H4 CRP", "C6H2 H2", (7500.0, 0, 0), (-9999, 9999), 2, 2),
        kida_line("CH3O Photon", "CH3 O", (1.9e-9, 0, 1.7), (-9999, 9999), 1, 3),
        kida_line("OH Photon", "O H", (3.8e-10, 0, 2.66), (-9999, 9999), 2, 4),
        kida_line("C+ O2", "CO+ O", (3.4e-10, 0.2, -3.0), (100, 280), 3, 5),
        kida_line("C+ HCl", "CCl+ H", (1.0, 1.7e-9, 1.4), (10, 412), 4, 6),
        kida_line("C+ HCl", "CCl+ H", (1.0, 1.6e-9, 1.4), (413, 800), 5, 6),
        kida_line("GRAIN0 e-", "GRAIN-", (3.4e-3, 0.5, 0), (-9999, 9999), 0, 7),
        kida_line("XH XH", "H2", (1.0, 0, 0), (-9999, 9999), 10, 8),
        kida_line("H", "XH", (7.92e-5, 0.5, 0), (-9999, 9999), 11, 9),
        kida_line("l-C3H", "c-C3H", (1e-12, 0, 0), (10, 280), 3, 10),
    ]
)
UMIST_TEXT = """# a comment
1:AD:C-:C:C2:e-:::1:5.00e-10:0.20:3.0:10:41000:L:C:"10.1086/190665":"Prasad and Huntress 1980":
2:CP:C:CRP:C+:e-:::1:2.30e-17:0.00:0.0:10:41000:L:C:"10.1086/190665":"Prasad":
3:CR:CO:CRPHOT:C:O:::1:1.30e-17:1.17:105.0:10:41000:E:C:"":"06_CRPHOT.notes":
4:PH:C-:PHOTON:C:e-:::1:1.45e-08:0.00:0.5:10:41000:C:C:"":"NIST EA - Millar":
5:AD:H-:H:H2:e-:::2:4.82e-09:0.02:4.3:10:100:M:A:"10.1/a":"b":4.32e-09:-0.39:39.4:101:3000:M:A:"10.1/c":"d":
6:RR:C+:e-:C:PHOTON:::1:2.36e-12:-0.29:-17.6:10:41000:C:B:"https://a.b/c":"Roellig M":
"""
KROME_TEXT = """# Herbst 2008
@common: user_crate,user_other
1,H,E,,H+,E,E,,NONE,NONE,1.5d-9*exp(-157809.1*invT)
2,HE+,e-,,HE,g,,,NONE,.LE.5.5e3,3.92d-13*invTe**0.6353d0
3,He+,E,,He,,,,>5.5e3,1d9,1.d-12*(T32)**(-0.5d0)
@format:idx,R,P,P,rate
@CR_start
#99,H2,H,H,1.d0
# Savin
4,H2,H,H,1d-1*user_crate
@CR_stop
@noTabNext
@var:big = exp(-1.d0*Tgas + 4.d2)
@format:R,R,Tmin,P,Tmax,rate
H,GRAIN-,10,H-,3d1,1.d-30*big + user_other*n(idx_H2)*f( n(:), Tgas )
@photo_start
@format:idx,R,P,P,Tmin,Tmax,rate
7,H2,H,H,>14.1d0,<17.7d0,@xsecFile=SWRI
8,H2,H,H,NONE,NONE,auto
@photo_stop
"""
READERS = [(kida, KIDA_TEXT), (umist, UMIST_TEXT), (krome, KROME_TEXT)]


def assert_survives(network: Network) -> None:
    text = table.dumps(network)
    again = table.loads(text)
    assert table.dumps(again) == text
    assert again.structure == network.structure and again.sources == network.sources
    for one, other in zip(jax.tree.leaves(network), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)


def kooij(temperature: float, a: float, b: float, c: float) -> float:
    return a * math.pow(temperature / 300, b) * math.exp(-c / temperature)


# KIDA


def kida_expected(text: str, temperature: float) -> list[float]:
    """The coefficient of each line by the words of its documentation."""
    lines = [line for line in text.splitlines() if line.strip() and line[0] != "!"]
    rows = [(line[166:171], float(line[149:155]), float(line[156:162])) for line in lines]
    ranges: dict[str, list[tuple[float, float]]] = {}
    for number, low, high in rows:
        ranges.setdefault(number, []).append((low, high))

    def distance(limits: tuple[float, float]) -> float:
        return max(limits[0] - temperature, temperature - limits[1], 0.0)

    found = []
    for line, (number, low, high) in zip(lines, rows, strict=True):
        a, b, c = (float(line[i : i + 10]) for i in (90, 101, 112))
        t = min(max(temperature, low), high)
        names, formula = line[:34].split(), int(line[163:165])
        grains = CLOUD["density"] / CLOUD["gas_to_dust"]
        if "Photon" in names:
            k = a * math.exp(-c * CLOUD["visual_extinction"]) * CLOUD["uv_field"]
        elif {"CR", "CRP"} & set(names):
            k = a * CLOUD["cosmic_ray_rate"]
        elif formula == 3:
            k = kooij(t, a, b, c)
        elif formula == 4:
            k = a * b * (0.62 + 0.4767 * c * math.sqrt(300 / t))
        elif formula == 5:
            k = a * b * (1 + 0.0967 * c * math.sqrt(300 / t) + c * c / 10.526 * 300 / t)
        elif formula == 0:
            k = a * (temperature / 300) ** b
        elif formula == 11:
            k = a * (temperature / 300) ** b * grains
        else:
            assert formula == 10
            k = a * 1.186e7 * math.exp(-225 / temperature) / grains
        nearest = min(ranges[number], key=distance)
        found.append(k if nearest == (low, high) else 0.0)
    return found


@pytest.mark.parametrize("temperature", [5.0, 10.0, 150.0, 300.0, 412.0, 412.4, 412.6, 413.0, 2e3])
def test_every_formula_of_kida(temperature):
    network = kida.loads(KIDA_TEXT)
    k = network.rates(temperature=temperature, **CLOUD)
    np.testing.assert_allclose(k, kida_expected(KIDA_TEXT, temperature), rtol=1e-13)


def test_what_kida_says():
    network = kida.loads(KIDA_TEXT, "folder/gas.in")
    assert network.name == "gas" and network.units == ("cm-3", "s")
    assert network.equations[:2] == ("H2 -> H2+ + e-", "C6H4 -> C6H2 + H2")
    assert network.equations[8] == "2 XH -> H2" and network.sources[5] == "KIDA, 6"
    assert "gas.in" in dict(network.references)["KIDA"]
    assert network.unbalanced() == {}
    counts = dict(
        zip(network.elements, network.composition[:, network.index("GRAIN-")], strict=True)
    )
    assert counts["charge"] == -1 and sum(map(abs, counts.values())) == 1
    assert not any("undeclared" in problem for problem in network.check())
    assert "density" in network.needs
    assert_survives(network)


def test_kida_reports_imbalance():
    text = kida_line("C+ O2", "CO+ H") + "\n" + kida_line("C+ O2", "CO O", number=2)
    first, second = kida.loads(text).unbalanced().values()
    assert "H +1" in first and "O -1" in first and "charge -1" in second


def test_whole_kida():
    network, text, _ = whole(KIDA_FILE)
    assert len(network.equations) == 8274 and len(network.species) == 578
    assert network.unbalanced() == {} and network.undeclared == ()
    expected = [kida_expected(text, t) for t in (10.0, 300.0)]
    k = rates(network, [10.0, 300.0], **CLOUD)
    np.testing.assert_allclose(k, expected, rtol=1e-12, atol=TINY)


# UMIST


def umist_expected(text: str, temperature: float, albedo: float = 0.5) -> list[float]:
    """The coefficient of each line by the words of its documentation."""
    found = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        fields = next(csv.reader([line], delimiter=":"))
        blocks = [list(map(float, fields[9 + 9 * i :][:5])) for i in range(int(fields[8]))]
        blocks.sort(key=lambda r: -r[3])  # where two ranges touch the upper one counts
        a, b, c, _, _ = min(blocks, key=lambda r: max(r[3] - temperature, temperature - r[4], 0))
        if fields[3] == "CRP":
            k = a * CLOUD["cosmic_ray_rate"] / 1.36e-17
        elif fields[3] == "CRPHOT":
            k = a * (temperature / 300) ** b * c / (1 - albedo)
            k *= CLOUD["cosmic_ray_rate"] / 1.36e-17
        elif fields[3] == "PHOTON":
            k = a * math.exp(-c * CLOUD["visual_extinction"]) * CLOUD["uv_field"]
        else:
            k = kooij(temperature, a, b, c)
        found.append(k)
    return found


@pytest.mark.parametrize("temperature", [5.0, 10.0, 100.0, 100.4, 100.6, 300.0, 5e3, 5e4])
def test_every_type_of_umist(temperature):
    network = umist.loads(UMIST_TEXT)
    k = network.rates(temperature=temperature, **CLOUD)
    np.testing.assert_allclose(k, umist_expected(UMIST_TEXT, temperature), rtol=1e-13)
    brighter = network.rates(temperature=temperature, quantities={"dust_albedo": 0.6}, **CLOUD)
    np.testing.assert_allclose(brighter, umist_expected(UMIST_TEXT, temperature, 0.6), rtol=1e-13)


def test_what_umist_says():
    network = umist.loads(UMIST_TEXT, "rate22.rates")
    assert network.equations[3:] == ("C- -> C + e-", "H- + H -> H2 + e-", "C+ + e- -> C")
    assert network.sources[0] == "UMIST, 1 AD 10.1086/190665"
    assert network.sources[2] == "UMIST, 3 CR 06_CRPHOT.notes"
    assert network.sources[4] == "UMIST, 5 AD 10.1/a 10.1/c"
    assert network.unbalanced() == {} and network.undeclared == ()
    assert dict(network.quantities)["dust_albedo"] == Number(0.5)
    assert_survives(network)


def test_whole_umist():
    network, text, _ = whole("umist22.csv")
    assert len(network.equations) == 8766 and len(network.species) == 737
    assert network.unbalanced() == {} and network.undeclared == ()
    assert all("10." in s or "http" in s for s in network.sources[:20])
    expected = [umist_expected(text, t) for t in (10.0, 300.0)]
    k = rates(network, [10.0, 300.0], **CLOUD)
    np.testing.assert_allclose(k, expected, rtol=1e-12, atol=TINY)


# KROME


def krome_arithmetic(text: str, t: float, **more: float) -> float:
    """A Fortran expression as Python has it, by the names that the test's files use."""
    te, t32 = t * 8.617343e-5, t / 300
    names = {f: getattr(math, f) for f in ("exp", "log", "log10", "sqrt")} | more
    names |= {"Tgas": t, "T": t, "Te": te, "lnTe": math.log(te), "T32": t32, "True": True}
    names |= {"logT": math.log10(t), "sqrT32": math.sqrt(t32), "invsqrT32": 1 / math.sqrt(t32)}
    return eval(text, {"__builtins__": {}}, names)


@pytest.mark.parametrize("temperature", [9.9, 10.0, 29.9, 30.0, 5.5e3, 5501.0, 1e9, 2e9])
def test_every_kind_of_krome(temperature):
    network = krome.loads(KROME_TEXT)
    assert network.equations == (
        "H + E -> H+ + 2 E",
        "HE+ + E -> HE",
        "HE+ + E -> HE",
        "H2 -> 2 H",
        "H + GRAIN- -> H-",
        "H2 -> 2 H",
        "H2 -> 2 H",
    )
    given = {"user_other": 3.0, "n(idx_H2)": 1e-20, "f(n(:),Tgas)": 2.0}
    photo = {"photo: H2 -> 2 H": 1e-11, "photo: H2 -> 2 H (2)": 2e-11}
    assert set(network.user_quantities) == {*given, *photo}
    assert len(network.user_quantities) == 5
    assert any(problem.startswith("user rates: ") for problem in network.check())
    k = network.rates(
        temperature=temperature, cosmic_ray_rate=1e-17, quantities=given, photolysis=photo
    )
    te = temperature * 8.617343e-5
    expected = [
        1.5e-9 * math.exp(-157809.1 / temperature),
        3.92e-13 / te**0.6353 if temperature <= 5500 else 0.0,
        1e-12 * (temperature / 300) ** -0.5 if 5500 < temperature < 1e9 else 0.0,
        1e-18,
        1e-30 * math.exp(4e2 - temperature) + 6e-20 if 10 <= temperature < 30 else 0.0,
        1e-11,
        2e-11,
    ]
    np.testing.assert_allclose(k, expected, rtol=1e-13)


def test_what_krome_says():
    network = krome.loads(KROME_TEXT, "react_test")
    assert network.sources[0] == "KROME, 1: Herbst 2008"
    assert network.sources[3] == "KROME, 4: Savin"
    assert network.sources[5].endswith("; @xsecFile=SWRI, >14.1d0 to <17.7d0 eV")
    assert network.species == ("H", "E", "H+", "HE+", "HE", "H2", "GRAIN-", "H-")
    assert network.elements == ("H", "He", "charge")
    np.testing.assert_array_equal(network.composition[:, 3], [0, 1, 1])
    assert_survives(network)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("O(1D)", {"O": 1}),
        ("SIC2H2+", {"Si": 1, "C": 2, "H": 2, "charge": 1}),
        ("HCNH+", {"H": 2, "C": 1, "N": 1, "charge": 1}),
        ("CO", {"C": 1, "O": 1}),
        ("NACL", {"Na": 1, "Cl": 1}),
        ("OCS+H2", {"O": 1, "C": 1, "S": 1, "H": 2, "charge": 1}),
        ("He++", {"He": 1, "charge": 2}),
        ("HD", {"H": 1, "D": 1}),
        ("c-C3H2", {"C": 3, "H": 2}),
        ("CO_ice", {"C": 1, "O": 1}),
    ],
)
def test_compositions_of_krome(name, counts):
    network = krome.loads(f"@format:R,P,rate\n{name},{name},1d0\n")
    got = dict(zip(network.elements, network.composition[:, 0], strict=True))
    assert got == counts and network.species == (name,)
    assert_survives(network)


def test_bare_positive_charge_is_undeclared():
    network = krome.loads("@format:R,P,rate\nGRAIN+,H+,1d0\n")
    assert network.undeclared == ("GRAIN+",)
    assert_survives(network)


@pytest.mark.parametrize("temperature", [5.0, 10.0, 20.0, 29.9, 30.0, 1e3, 1e5])
@pytest.mark.parametrize("differentiate", [jax.grad, jax.jacfwd])
def test_slopes_across_limits(temperature, differentiate):
    """The formula overflows outside its limits; its slope there is zero and not NaN."""
    text = "@var:steep=exp(2.d1*Tgas)\n@format:R,P,Tmin,Tmax,rate\nH,H,10,.LE.3d1,1d-9*steep\n"
    network = krome.loads(text)
    slope = differentiate(lambda t: network.rates(temperature=t)[0])(jnp.asarray(temperature))
    inside = 10 <= temperature <= 30
    expected = 20 * 1e-9 * math.exp(20 * temperature) if inside else 0.0
    np.testing.assert_allclose(slope, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("limits", "at", "above"),
    [
        ("NONE,.LT.3d1", 0, 0),
        ("NONE,<3.d1", 0, 0),
        ("NONE,30", 0, 0),
        (",.LE.3.d1", 1, 0),
        (".GE.30.d0,NONE", 1, 1),
        ("3d1,N", 1, 1),
        (">30,none", 0, 1),
        (".gt.3E1,NONE", 0, 1),
    ],
)
def test_open_and_closed_limits(limits, at, above):
    network = krome.loads(f"@format:R,P,Tmin,Tmax,rate\nH,H,{limits},1d0\n")
    points = [np.nextafter(30.0, 0), 30.0, np.nextafter(30.0, 99)]
    below = 1 - above
    assert [float(network.rates(temperature=t)[0]) for t in points] == [below, at, above]


def test_galaxy_ism():
    """Against KROME's own program at 400 temperatures.

    Row 14 is 10 to a sum of terms of 1e3 that all but cancel, and so uncertain by 1e-10.
    """
    network, *_ = whole("react_galaxy_ism")
    assert len(network.equations) == 46 and len(network.user_quantities) == 11
    assert network.unbalanced() == {} and network.undeclared == ()
    with np.load(shared("data", "krome", "krome_mol_rhs.npz")) as data:
        temperatures, expected = data["T"], data["k"][:, :35]
    k = rates(network, temperatures, quantities={"*": 0.0})[:, :35]
    rtol = np.where(np.arange(35) == 14, 1e-9, 1e-10)
    assert np.all(np.abs(k - expected) <= rtol * expected + KROME_FLOOR)
    assert_survives(network)


def test_rows_of_galaxy_ism():
    """Its formulae as another table has them, about every limit of temperature."""
    network, *_ = whole("react_galaxy_ism")
    rows = list(csv.DictReader(shared("data", "krome", "ism_network.csv").open()))[:35]
    points = [20.0, 29.999, 30.0, 100.0, 617.0, 618.0, 1160.0, 5500.0, 9284.0, 1e4, 1e5, 2e5]
    k = rates(network, points, quantities={"*": 0.0})
    for i, t in enumerate(points):
        for j, row in enumerate(rows):
            limits = "True" if row["T_range_K"] == "all" else row["T_range_K"]
            expected = krome_arithmetic(row["rate"], t) if krome_arithmetic(limits, t) else 0.0
            assert abs(k[i, j] - expected) <= 1e-10 * expected + TINY, (t, row)


def single(text: str) -> str:
    """Numbers as Fortran has them, in single precision; so is the 1/300 in KROME's own T32."""

    def rounded(found: re.Match) -> str:
        return repr(float(np.float32(found[0])))

    text = re.sub(r"(?<![\w.])\d+\.\d*(?:[eE][+-]?\d+)?(?![dD\d])", rounded, text)
    return f"@var:T32 = Tgas*{float(np.float32(1 / 300))!r}\n" + text


def test_cloud():
    """4429 coefficients at 10 K as KROME's own program computed them."""
    network, text, _ = whole("react_cloud")
    with np.load(shared("data", "krome", "krome_cloud_T10.npz")) as data:
        reference = dict(data)
    conditions = {
        "temperature": 10.0,
        "cosmic_ray_rate": float(reference["zeta"]),
        "visual_extinction": float(reference["Av"]),
        "gas_to_dust": float(reference["gas_dust_ratio"]),
    }
    assert set(network.species) == set(reference["species"].tolist())
    assert network.unbalanced() == {} and network.undeclared == ()
    for mine, theirs in zip(network.equations, reference["reactions"].tolist(), strict=True):
        written = re.sub(r"\b(\d) (\S+)", lambda m: " + ".join([m[2]] * int(m[1])), mine)
        for one, other in zip(written.split(" -> "), theirs.split(" -> "), strict=True):
            assert sorted(one.split(" + ")) == sorted(other.split(" + "))
    names = {
        "user_crate": conditions["cosmic_ray_rate"],
        "user_Av": conditions["visual_extinction"],
        "user_gas_dust_ratio": conditions["gas_to_dust"],
        "sqrtT32": math.sqrt(10 / 300),
    }
    lines = [line.split(",", 10)[10] for line in text.splitlines() if re.match(r"\d", line)]
    expected = [krome_arithmetic(line, 10.0, **names) for line in lines]
    k = np.asarray(network.rates(**conditions))
    np.testing.assert_allclose(k, expected, rtol=1e-12, atol=TINY)
    floor = float(reference["k"].min())
    assert floor == pytest.approx(1e-56) and np.sum(reference["k"] < 2 * floor) == 42
    difference = np.abs(k + floor - reference["k"]) / reference["k"]
    assert np.max(difference) < 1.2e-6 and np.median(difference) < 1e-7
    as_fortran = np.asarray(krome.loads(single(text)).rates(**conditions))
    np.testing.assert_allclose(as_fortran + floor, reference["k"], rtol=1e-10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@format:R,P\nH,H", "one rate"),
        ("@format:R,P,Tmin,Tmin,rate\nH,H,1,1,1d0", "one rate"),
        ("@format:R,P,rate\nH,H,NONE,.LE.1d3,1d0*exp(-1d0)", "5 fields; .* has 3: R,P,rate"),
        ("@format:R,P,rate\nH,H,", "there is no rate"),
        ("@format:R,P,rate\n{H},H,1d0", "nothing reacts"),
        ("@format:R,P,rate\nH,H,if(1d0): 1d0", "A > B"),
        ("@var:a(nspec)=f()", "an array cannot be read"),
        ("@var:n=1d0", "meaning of its own"),
        ("@common:user-a", "no name of a variable"),
        ("@xray_end", "'@xray_start' stands above"),
        ("@photo_start\n@photo_begin", "in line 1 already"),
        ("@cooling:n(idx_H)", "@cooling_start block"),
        ("@ODEmodifier_begin\ndn(:) = 0\n@ODEmodifier_end", "changes the equations"),
        ("@reactionModifier_start\nk(3:4) = 0d0", "once"),
        ("@ice:CO,freezeout,f(Tgas)", "grains"),
        ("@surface:RRP,H,H,H2,f(Tgas)", "grains"),
        ("@surface_start\n1,H,H,,H2,,,,1d0", "grains"),
        ("@catalysis_start\n1,H,H,,H2,,,,1d0", "grains"),
        ("@photo_strat", "not supported"),
        ("@format:R,P,rate\nH,H", "2 fields"),
        ("@format:R,P,rate\nH,H,1d0;2", "no meaning"),
        ("@format:R,P,rate\n,H,1d0", "nothing reacts"),
        ("@format:R,P,rate\nH,H,exp(1d0,2d0)", "does not take 2"),
        ("@format:R,P,rate\nH,H,1d999", "not finite"),
        ("@format:R,P,rate\nH,H,f(1d0", "not closed"),
        ("@format:R,P,rate\nH!,H,1d0", "no name of a species"),
        ("@var:a=a+1d0", "used or defined"),
        ("@var:a=1d0\n@var:a=2d0", "used or defined"),
        ("@var:Tgas=1d0", "condition"),
        ("@ice_start", "not supported"),
        ("@format:R,P,Tmin,rate\nH,H,Tgas,1d0", "no temperature"),
        ("", "no reaction"),
    ],
)
def test_refusals_of_krome(text, message):
    with pytest.raises(MechanismError, match=r"f\.krome, line \d+: .*" + message):
        krome.loads(text, "f.krome")


def test_variables_that_grow():
    """Forty variables, each twice the one before, are 2^40 parts where they are written out."""
    chain = "".join(f"@var:v{i + 1}=v{i}+v{i}\n" for i in range(40))
    text = f"@var:v0=Tgas\n{chain}@format:R,P,Tmin,rate\nH,H,%s,v40\n"
    with pytest.raises(MechanismError, match="2000 in 45 are the most"):
        krome.loads(text % "10")
    assert krome.loads(text % "NONE").rates(temperature=1.0)[0] == 2.0**40


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        (kida, kida_line("C+ O2", "CO+ O")[:120], "ends at column 120"),
        (kida, kida_line("", "CO+ O"), "nothing reacts"),
        (kida, " " + kida_line("C+ O2", "CO+ O"), "line is shifted"),
        (kida, kida_line("C+ Phtoon", "CO+ O"), "did you mean 'PHOTON'"),
        (umist, UMIST_TEXT.replace(":CRPHOT:", ":CRHPOT:"), "did you mean 'CRPHOT'"),
        (kida, kida_line("C+ O2", "CO+ O", formula=6), "formula 6"),
        (kida, kida_line("C+ CR", "CO+ O", formula=3), "formula 3 with CR"),
        (kida, kida_line("C+ CR", "CO+", formula=7).replace("logn  4", "logn  1"), "7 with CR"),
        (kida, kida_line("C+ O2", "CO+ O", limits=(300, 10)), "is empty"),
        (kida, kida_line("C+ O2", "CO+ O").replace("1.000e-09", "     inf "), "not finite"),
        (kida, kida_line("C O2", "CO O") + "\n" + kida_line("C O2", "CO O"), "must lie above"),
        (umist, "1:AD:C-:C:C2:e-:::1:5.00e-10:0.00", "11 fields"),
        (umist, UMIST_TEXT.replace(":::1:5.00e-10", ":::x:5.00e-10"), "field 9 is 'x'"),
        (umist, UMIST_TEXT.replace("5.00e-10", "nan"), "alpha is not finite"),
        (umist, UMIST_TEXT.replace("C-:C:", "::"), "nothing reacts"),
        (umist, UMIST_TEXT.replace("H-:H:", "H-:CRP:"), "one range only"),
        (umist, UMIST_TEXT.replace(":::2:4.82e", ":::1:4.82e"), "28 fields"),
    ],
)
def test_refusals_of_lists(reader, text, message):
    with pytest.raises(MechanismError, match=r"f\.in, line \d+: .*" + message):
        reader.loads(text, "f.in")


@pytest.mark.parametrize(("reader", "text"), READERS, ids=["kida", "umist", "krome"])
def test_mutated_text(reader, text):
    """Whatever happens to a file, it is read or refused with its line, and at once."""
    chance = random.Random(7)
    alphabet = "0129.eEdDaTHC+-*/(),:;=\"'#@!&% \n\t" + "\x0b\u00e9<>_"
    began = time.perf_counter()
    for _ in range(250):
        letters = list(text)
        for _ in range(chance.choice((1, 3, 20))):
            place = chance.randrange(len(letters))
            letters[place : place + chance.choice((0, 1, 1, 9))] = chance.choice(alphabet)
        try:
            network = reader.loads("".join(letters), "f")
        except MechanismError as error:
            assert re.search(r"line \d+", str(error)), error
        else:
            assert_survives(network)
    assert time.perf_counter() - began < 30


@pytest.mark.parametrize("file", [KIDA_FILE, "umist22.csv", "react_cloud", "react_primordial3"])
def test_files_are_recognised(file):
    text = shared(*ASTRO, file).read_text()
    owner = {"gas": kida, "umi": umist, "rea": krome}[file[:3]]
    assert [r for r in (kida, umist, krome) if r.looks_like(text)] == [owner]
    assert not table.looks_like(text)


@pytest.mark.parametrize("file", [KIDA_FILE, "umist22.csv", "react_cloud", "react_primordial3"])
def test_whole_files_survive(file):
    assert_survives(whole(file)[0])


@pytest.mark.parametrize("own", [kida, umist, krome])
def test_texts_are_recognised(own):
    others = [KIDA_TEXT, UMIST_TEXT, KROME_TEXT]
    assert [own.looks_like(text) for text in others].count(True) == 1
    assert own.looks_like(dict(READERS)[own])
    assert not own.looks_like("#EQUATIONS\n{1} O + O2 = O3 : 1.0D-12;\n")
    assert not own.looks_like('{"version": "1.0.0"}')


@pytest.mark.parametrize(
    ("file", "seconds"), [(KIDA_FILE, 5.0), ("umist22.csv", 5.0), ("react_cloud", 3.0)]
)
def test_reading_is_fast(file, seconds):
    assert whole(file)[2] < seconds


def test_a_condition_by_name_is_refused_with_its_line():
    with pytest.raises(MechanismError, match=r"'big' \(f\.krome, line 2\): .*'photolysis'"):
        krome.loads("#\n@var:big=photolysis\n@format:R,P,rate\nH,H,big\n", "f.krome")


@pytest.mark.parametrize("reader", [kida, umist, krome])
def test_blank_lines_are_passed_soon(reader):
    began = time.perf_counter()
    assert not reader.looks_like("\n" * 100_000)
    assert time.perf_counter() - began < 1


# Names in capitals


def test_kida_in_capitals():
    network = kida.loads(KIDA_TEXT.upper())
    k = network.rates(temperature=150.0, **CLOUD)
    np.testing.assert_allclose(k, kida_expected(KIDA_TEXT, 150.0), rtol=1e-13)
    assert network.undeclared == () and network.unbalanced() == {}
    assert {"PHOTON", "CR", "CRP"}.isdisjoint(network.species)
    assert {"E-", "CCL+", "L-C3H", "C-C3H"} <= set(network.species)
    assert kida.looks_like(KIDA_TEXT.upper())


def test_umist_in_capitals():
    network = umist.loads(UMIST_TEXT.upper())
    k = network.rates(temperature=150.0, **CLOUD)
    np.testing.assert_allclose(k, umist_expected(UMIST_TEXT, 150.0), rtol=1e-13)
    assert network.undeclared == () and network.unbalanced() == {}
    agents = UMIST_TEXT.replace("CRPHOT", "CRPhot").replace("PHOTON", "photon")
    np.testing.assert_array_equal(umist.loads(agents).rates(temperature=150.0, **CLOUD), k)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("SI", {"Si": 1}),
        ("SIS+", {"Si": 1, "S": 1, "charge": 1}),
        ("HEH+", {"He": 1, "H": 1, "charge": 1}),
        ("CCL", {"C": 1, "Cl": 1}),
        ("NANH2", {"Na": 1, "N": 1, "H": 2}),
        ("C-SIC2", {"Si": 1, "C": 2}),
        ("CS", {"C": 1, "S": 1}),
        ("HNCO", {"H": 1, "N": 1, "C": 1, "O": 1}),
        ("SC", {"S": 1, "C": 1}),
        ("E-", {"charge": -1}),
        ("GRAIN-", {"charge": -1}),
        ("M", {}),
        ("PAH", None),
        ("13CO", None),
        ("HC18O+", None),
    ],
)
def test_capitals_are_of_the_whole_list(name, counts):
    """Beside names with small letters the same name is read letter by letter."""
    assert compositions([name, "H2O"])[name] == counts
    if name == "SI":
        assert compositions([name, "He"])[name] == {"S": 1, "I": 1}
    if name == "HEH+":
        assert compositions([name, "Si"])[name] is None


def test_electrons_are_one_species():
    text = UMIST_TEXT.replace("C2:e-", "C2:E-")
    assert umist.loads(text).species.count("E-") == 1
    assert "e-" not in umist.loads(text).species


# Lines that contradict themselves


@pytest.mark.parametrize(
    ("agent", "kind", "formula", "k"),
    [
        ("CRP", 2, 3, 3e3 * CLOUD["cosmic_ray_rate"]),
        ("CR", 1, 4, 3e3 * CLOUD["cosmic_ray_rate"]),
        ("CRP", 4, 2, 3e3 * CLOUD["cosmic_ray_rate"]),
        ("Photon", 3, 3, 3e3 * math.exp(-1.5 * 2.5) * 1.7),
    ],
)
def test_reactants_decide_in_kida(agent, kind, formula, k):
    line = kida_line(f"CH2OH {agent}", "CH2 OH", (3e3, 0.0, 1.5), formula=formula)
    line = line.replace("logn  4", f"logn  {kind}")
    with pytest.warns(UserWarning, match=rf"f\.in, line 2: formula {formula} contradicts"):
        network = kida.loads(f"!\n{line}", "f.in")
    np.testing.assert_allclose(network.rates(temperature=10.0, **CLOUD), [k], rtol=1e-13)


@pytest.mark.parametrize(
    ("text", "wrong", "left"),
    [
        (KIDA_TEXT, kida_line("C+ CR", "CO+ O", formula=3, number=20), 11),
        (KIDA_TEXT, kida_line("C+ O2", "CO+ O", limits=(100, 280), number=5), 11),
        (UMIST_TEXT, "7:AD:C-:C:C2:e-:::1:5.00e-10", 6),
        (KROME_TEXT, "5,H,H,NONE,NONE,1d0,1d0,2d0,3d0,4d0,5d0,1d0", 7),
        (KROME_TEXT, "@ice:CO,freezeout,f(Tgas)", 7),
    ],
)
def test_skip(tmp_path, text, wrong, left):
    path = tmp_path / "list.in"
    path.write_text(f"{text.rstrip()}\n{wrong}\n")
    number = len(text.rstrip().splitlines()) + 1
    with pytest.raises(MechanismError, match=rf"list\.in, line {number}: .*skip=True"):
        jaxchem.load(path)
    with pytest.warns(UserWarning, match=rf"list\.in, .*line {number}: left out: "):
        network = jaxchem.load(path, skip=True)
    assert len(network.equations) == left
    assert network.equations == loads(text).equations


def test_skip_is_for_lists(tmp_path):
    with pytest.raises(ValueError, match="skip is for lists"):
        jaxchem.load("robertson", skip=True)


def test_remarks_are_few():
    text = (
        KROME_TEXT + "@format:R,P,rate\n" + "H,H\n" * 9 + "".join(f"H,H,{i},1\n" for i in range(8))
    )
    with pytest.warns(UserWarning) as told:
        krome.loads(text, "f", skip=True)
    (message,) = [str(w.message) for w in told]
    assert re.search(r"lines 22, 23, 24, 25, 26 and 4 more: left out", message)
    assert message.endswith("... and 4 more remarks on 4 lines.")


# KROME's commands


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ("@noTab_begin", "@notab_END"),
        ("@storeOnce_start", "@storeonce_end"),
        ("@CR_BEGIN", "@cr_end"),
    ],
)
def test_blocks_without_a_meaning(start, stop):
    text = f" {start}\n@noTab_next\n@next_Solomon\n@group:a\n@format:R,P,k\nH,H+,2d0\n{stop}\n"
    network = krome.loads(text)
    np.testing.assert_array_equal(network.rates(), [2.0])
    assert krome.looks_like(text)


def test_blocks_of_light():
    text = """@FORMAT:R,P,Tmin,Tmax,Rate
@PHOTO_BEGIN
H,H+,13.6,NONE,1d-18
@photo_end
@xray_begin
He,He+,NONE,NONE,auto
He,He+,NONE,NONE,2d0*user_x
@XRAY_STOP
O,O+,NONE,NONE,auto
C,C+,13d0,1d9,krome_kph_auto=9.6d-17*(energy_eV/15.4d0)
"""
    with pytest.warns(UserWarning, match="f, line 9: the rate is in KROME's own data base"):
        network = krome.loads(text, "f")
    names = ("photo: H -> H+", "xray: He -> He+", "user_x", "auto: O -> O+", "photo: C -> C+")
    assert network.user_quantities == names
    given = dict(zip(names, [1.0, 2.0, 3.0, 4.0, 5.0], strict=True))
    np.testing.assert_array_equal(network.rates(quantities=given), [1, 2, 6, 4, 5])
    assert_survives(network)


@pytest.mark.parametrize(
    ("begin", "end"), [("@photo_begin", "@photo_stop"), ("/* a comment", "*/")]
)
def test_what_never_ends(begin, end):
    text = f"@format:R,P,rate\nH,H,1d0\n{begin}\nH,H,auto\n"
    with pytest.raises(MechanismError, match=rf"f, line 3: .*{re.escape(repr(end))}"):
        krome.loads(text, "f")
    assert krome.loads(f"{text}{end}\n", "f").equations[0] == "H -> H"


def test_ghosts_do_not_change():
    network = krome.loads("@ghost:H2, He ,h\n@format:R,P,rate\nH,H+,1d0\n")
    assert network.species == ("h", "H+", "H2", "He") and network.fixed == ("H2", "He")
    assert not any("unused" in problem for problem in network.check())
    assert_survives(network)


def test_heating_is_left_out():
    text = """@format:R,P,rate
@heating_begin
@var:a=1d0
@heating:a*n(idx_H)
@heating_end
@commons:user_x
@tabvar:user_y=data/table.dat,Tgas,n(idx_H)
@var:a=2d0
H,H+,a*user_y
"""
    with pytest.warns(UserWarning, match=r"f, lines 3, 4: heating .* line 6: '@commons'"):
        network = krome.loads(text, "f")
    assert network.user_quantities == ("user_x", "user_y")
    np.testing.assert_array_equal(network.rates(quantities={"user_x": 9.0, "user_y": 3.0}), [6.0])


def test_rates_per_mole():
    text = """@format:R,R,R,P,Tmin,Tmax,rate
@reactionModifier_begin
# as NACRE has them
 k(:) = K(:)/n_avogadro  ! KROME's own constant
@reactionModifier_end
H,2H,,3He,1d0,1d8,Tgas*2d0
H,H,{H},3He,1d0,1d8,3d0
H,2H,2H,3He,1d0,1d8,auto
"""
    with pytest.warns(UserWarning, match="line 8: .*'auto'"):
        network = krome.loads(text)
    given = {"auto: H + 2 2H -> 3He": 5.0}
    k = network.rates(temperature=1e7, quantities=given)
    np.testing.assert_allclose(k, [2e7 / 6.0221e23, 3 / 6.0221e23, 5.0], rtol=1e-14)
    assert network.equations[0] == "H + 2H -> 3He"
    np.testing.assert_array_equal(network.stoichiometry[:, 1], [-3, 0, 1])
    np.testing.assert_array_equal(network.structure.reactants[1], [0, 0, 3])
    assert network.undeclared == ("2H", "3He")
    assert_survives(network)


@pytest.mark.parametrize("limit", ["", "n", "None", "N/A", "no"])
def test_no_limit(limit):
    network = krome.loads(f"@format:R,P,Tmin,Tmax,rate\nH,H,{limit},{limit},1d0\n")
    assert [float(network.rates(temperature=t)[0]) for t in (1.0, 1e8)] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("user_x.gt.2d0", (0, 0, 1)),
        ("user_x >= 2.", (0, 1, 1)),
        ("user_x .LT. 2d0", (1, 0, 0)),
        ("user_x<=2", (1, 1, 0)),
        ("2d0.ge.user_x*1d0", (1, 1, 0)),
        ("user_x>1.5d0 .and. user_x + 1 < 3.5d0", (0, 1, 0)),
        ("f(n(:))<user_x", (1, 1, 1)),
    ],
)
def test_conditions(condition, holds):
    text = f"@format:R,P,Tmin,rate\nH,H,10,if({condition}): 4d0*user_x**2\n"
    network = krome.loads(text)
    for x, one in zip((1.0, 2.0, 3.0), holds, strict=True):
        given = {"user_x": x, "f(n(:))": 0.5}
        given = {n: v for n, v in given.items() if n in network.user_quantities}
        assert float(network.rates(temperature=10.0, quantities=given)[0]) == 4 * x * x * one
        assert float(network.rates(temperature=9.0, quantities=given)[0]) == 0.0
    assert_survives(network)


def test_comments_of_krome():
    text = """// a source
/* @format:R,P
H,H,1d0 */
@format:idx,R,P,rate ! behind a command
// Savin
/* one line */
1,H,H+,2d0 ! 1d0
/*
2,H,H+,3d0
*/
"""
    network = krome.loads(text)
    np.testing.assert_array_equal(network.rates(), [2.0])
    assert network.sources == ("KROME, 1: Savin",)


# Every line is accounted for

JUNK = ("junk", "H2 + O -> OH + H", "@nonsense", "= = =", "1,2,3", "::::", "[reactions]")
COMMENTS = {kida: "! a comment", umist: "# a comment", krome: "// a comment"}
WORDS = {kida: r"CRP?|Photon|logn", umist: r"CRP|CRPHOT|PHOTON", krome: r"@\w+"}


def accounted(reader, text: str, comment: str, words: str) -> None:
    """Inserts, misspells, drops and changes the case in the lines of a list that is read.

    Args:
        reader: a module with `loads`.
        text: a list.
        comment: a line that says nothing.
        words: pattern of the words that count in any case.
    """
    lines = text.splitlines()
    whole_ = reader.loads(text, "f.in")
    told = [i for i, line in enumerate(lines) if line.strip() and line[0] not in "#!/"]
    word = re.compile(rf"(?<![\w@])(?:{words})(?![\w+-])")
    place = st.integers(0, len(lines))

    @settings(max_examples=40, database=None)
    @given(
        st.lists(st.tuples(place, st.sampled_from(["", " \t", comment])), max_size=4), st.booleans()
    )
    def nothing_changes(inserts, swap):
        changed = [word.sub(lambda m: m[0].swapcase(), line) if swap else line for line in lines]
        for where, line in sorted(inserts, reverse=True):
            changed.insert(where, line)
        network = reader.loads("\n".join(changed), "f.in")
        assert network.structure == whole_.structure
        assert network.equations == whole_.equations
        assert network.expressions() == whole_.expressions()

    @settings(max_examples=20, database=None)
    @given(st.integers(1, len(lines)), st.sampled_from(JUNK))
    def junk_is_refused(where, junk):
        changed = [*lines[:where], junk, *lines[where:]]
        with pytest.raises(MechanismError, match=rf"f\.in, line {where + 1}: "):
            reader.loads("\n".join(changed), "f.in")

    @settings(max_examples=60, database=None)
    @given(st.sampled_from(told), st.integers(0, 999), st.integers(0, 999), st.booleans())
    def a_fault_is_told(which, first, second, drop):
        line = lines[which]
        found = [*re.finditer(r"[^,:]*[,:]|\S+\s+" if drop else word, line)]
        if not found:
            return
        one = found[first % len(found)]
        start, end = one.span()
        if not drop:
            start += second % (end - start)
            end = start + 1
        changed = [*lines[:which], line[:start] + line[end:], *lines[which + 1 :]]
        try:
            network = reader.loads("\n".join(changed), "f.in")
        except MechanismError as error:
            assert re.match(r"f\.in, line \d+: ", str(error))
        else:
            assert len(network.equations) >= len(whole_.equations)

    nothing_changes()
    junk_is_refused()
    a_fault_is_told()


@pytest.mark.parametrize(("reader", "text"), READERS, ids=["kida", "umist", "krome"])
def test_every_line_counts(reader, text):
    accounted(reader, text, COMMENTS[reader], WORDS[reader])


def test_what_krome_passes_over_is_told():
    text = KROME_TEXT.replace("# Herbst 2008", "/* no reaction\n*/ 9,H,E,,H+,E,E,,NONE,NONE,1.0")
    with pytest.warns(UserWarning, match="line 2: what stands behind '\\*/' is passed over"):
        assert len(krome.loads(text).equations) == 7


def test_conditions_of_krome_have_an_end():
    for count, words in ((2, None), (60, "more than 45 conditions")):
        text = "@format:R,P,rate\nH,H2," + "if(Tgas>10):" * count + "1.0\n"
        if words is None:
            network = krome.loads(text)
            assert [*network.rates(temperature=11.0), *network.rates(temperature=9.0)] == [1.0, 0.0]
        else:
            with pytest.raises(MechanismError, match=f"line 2: {words}"):
                krome.loads(text)
