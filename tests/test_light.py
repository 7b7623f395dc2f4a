"""Photo-rates from spectra and cross sections, beside those that KROME has of the same light."""

import itertools

import numpy as np
import pytest
from problems import SHARED
from scipy.integrate import quad

import jaxchem
from jaxchem.thermal import Cloud, Light, Spectrum
from jaxchem.thermal.constants import ELECTRON_VOLT, HABING, PLANCK
from jaxchem.thermal.light import CROSS_SECTIONS, ENERGIES

PHOTO = SHARED / "data" / "krome" / "photo"
reference = pytest.mark.skipif(not PHOTO.is_dir(), reason="KROME's spectra are not here")

OWN = dict(jaxchem.load("ism_molecular").quantities)


def background(folder):
    """Haardt & Madau at redshift 0, and cross sections, as files of ours."""
    rows = [line.split() for line in (PHOTO / "HM2012.dat").read_text().splitlines()[8:]]
    values = np.array([row for row in rows if len(row) == 3 and float(row[0]) == 0.0], float)
    np.savetxt(folder / "light.txt", 10.0 ** values[:, 1:], header="eV, eV s-1 cm-2 Hz-1 sr-1")
    tables = {}
    for name, file, column, unit in (
        ("light_H_anion", "H-.dat", 1, 1.0),
        ("light_H2", "H2.dat", "H2+", 1.0),
        ("light_H2_ion", "H2+__H_H+.dat", 2, 10.0),
    ):
        lines = (PHOTO / file).read_text().splitlines()
        heads = [n for n, line in enumerate(lines) if "Lambda" in line and "Total" in line]
        if column == "H2+":
            column = lines[heads[0]].split().index("H2+")
        begin = heads[0] + 1 if heads else 0
        rows = [line.split() for line in lines[begin:] if line.strip() and line[0] not in "#0"]
        rows = [(12398.42 / (float(r[0]) * unit), float(r[column])) for r in rows]
        rising = dict(sorted(rows))
        path = folder / f"{name}.txt"
        np.savetxt(path, np.array(list(rising.items())), header="eV, cm2")
        tables[name] = path
    return folder / "light.txt", tables


@reference
def test_the_background_gives_the_rates_that_networks_have(tmp_path):
    """KROME's bins are half a per cent off at thresholds, and more where sections are tables.

    Its bins leave out much of the infrared that detaches the electron of H-.
    """
    light = Light.of(*background(tmp_path))
    for name, energy in ENERGIES.items():
        if name == "light_H_anion":
            assert 1.4 < light.rates[name] / OWN[name].value < 1.7
            continue
        rough = name in ("light_H2", "light_H2_ion", "light_H2_direct")
        assert light.rates[name] == pytest.approx(OWN[name].value, rel=0.06 if rough else 0.008)
        assert light.energies[name] == pytest.approx(energy, rel=0.12 if rough else 0.01), name
    assert light.habing == pytest.approx(HABING, rel=0.01)
    assert light.rates["light_H2_lines"] == pytest.approx(1.127837e-14, rel=1e-3)
    # a fine quadrature of the same table, by another program
    for name, rate in (("H", 2.2506e-14), ("He", 1.1421e-14), ("He_ion", 5.519e-16)):
        assert light.rates[f"light_{name}"] == pytest.approx(rate, rel=5e-4)


@pytest.mark.parametrize("name", CROSS_SECTIONS)
def test_rates_are_integrals(name, tmp_path):
    """Of a power law, by adaptive quadrature in energy."""
    energies = np.geomspace(1.0, 1e3, 40)
    spectrum = Spectrum(energies, 1e-8 * energies**-1.5)
    threshold, section = CROSS_SECTIONS[name]

    def integral(weight):
        edges = [threshold, 14.675, 15.302, 16.82, 17.2, 17.6, 17.7, 20, 30, 50, 90, 200, 1e3]
        edges = [e for e in edges if e >= threshold]
        parts = itertools.pairwise(edges)

        def f(e):
            return float(section(np.array(e)) * 1e-8 * e**-2.5 * weight(e))

        return sum(quad(f, a, b, limit=200, epsabs=0, epsrel=1e-9)[0] for a, b in parts)

    rate = 4 * np.pi / PLANCK * integral(lambda e: 1.0)
    heat = 4 * np.pi / PLANCK * integral(lambda e: e - threshold)
    (tmp_path / "flat.txt").write_text("1 1e-18\n100 1e-18\n")
    flat = dict.fromkeys(("light_H_anion", "light_H2", "light_H2_ion"), tmp_path / "flat.txt")
    light = Light.of(spectrum, flat)
    assert light.rates[name] == pytest.approx(rate, rel=2e-3)
    assert light.energies[name] == pytest.approx(heat / rate * ELECTRON_VOLT, rel=5e-3)


def test_a_cloud_has_the_light_that_it_is_given():
    network = jaxchem.load("ism_atomic")
    y = Cloud(network).y0({"H": 1.0, "He": 0.1}, 1e3)
    rates = {"light_H": 2 * OWN["light_H"].value}
    plain, twice = Cloud(network), Cloud(network, light=Light(rates))
    n = network.sources.index("V96")
    k = [np.asarray(cloud.rates(0.0, y)) for cloud in (plain, twice)]
    assert k[1][n] == pytest.approx(2 * k[0][n])
    assert np.delete(k[1], n) == pytest.approx(np.delete(k[0], n))
    heats = [float(cloud.terms(y)[0]["photoheating"]) for cloud in (plain, twice)]
    extra = heats[1] - heats[0]
    assert extra == pytest.approx(1.3888302781531358e-25 * y[network.index("H")], rel=1e-6)


def test_dust_shades():
    """By the exponents that are cited."""
    network = jaxchem.load("ism_molecular")
    y = Cloud(network).y0({"H": 1.0, "H2": 1.0, "H-": 1e-6, "H2+": 1e-6}, 1e3)
    clear, dark = Cloud(network), Cloud(network, visual_extinction=2.0)
    k = [np.asarray(cloud.rates(0.0, y)) for cloud in (clear, dark)]
    for equation, source, exponent in (
        ("H -> H+ + e-", "V96", 3.74),
        ("H- -> H + e-", "G62", 0.5),
        ("H2+ -> H+ + H", "L17", 1.9),
        ("H2 -> 2 H", "A97", 3.74),
    ):
        pairs = enumerate(zip(network.equations, network.sources, strict=True))
        for n in [n for n, (e, s) in pairs if e == equation and s.startswith(source)]:
            assert k[1][n] / k[0][n] == pytest.approx(np.exp(-2 * exponent))
    assert float(dark.gas(y).ultraviolet) == pytest.approx(HABING * np.exp(-5.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1e-8\n2 1e-9\n20 1e-12\n30 1e-12\n", r"has a gap from 2 to 20 eV"),
        ("1 1e-8\n5 1e-9\n", r"from 1 to 5 does not cover 13.6 to 24.6 eV"),
        ("10 1e-8\n9 1e-9\n", r"line 2: energies rise, but 9 follows 10"),
        ("# eV J\n10 1e-8 3\n", r"line 2: want an energy \[eV\] and a value"),
        ("10 1e-8\n12 nan\n", r"line 2: want an energy"),
        ("10 one\n", r"line 1: '10 one' is no row of numbers"),
        ("10 1e3\n20 1e3\n30 1e2\n", r"intensities up to 1e\+03"),
        ("", r"two rows or more"),
    ],
)
def test_bad_spectra(tmp_path, text, message):
    path = tmp_path / "light.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Light.of(path)


def test_cross_sections_that_are_missing(tmp_path):
    energies = np.geomspace(1.0, 1e3, 40)
    spectrum = Spectrum(energies, 1e-8 * energies**-1.5)
    with pytest.raises(ValueError, match=r"light_H_anion has no closed form: give its cross"):
        Light.of(spectrum)
    with pytest.raises(ValueError, match=r"no rate is called 'H-'; known: light_H, "):
        Light.of(spectrum, {"H-": tmp_path / "x"})
    with pytest.raises(ValueError, match=r"a cross section is to be read from .*x, which is not"):
        Light.of(spectrum, {"light_H_anion": tmp_path / "x"})
