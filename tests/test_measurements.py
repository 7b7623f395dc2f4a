"""Tables of measurements as chemists have them: headers, cells, units, experiments."""

import time

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import jaxchem
from jaxchem.inference import read_measurements

GAS, AVOGADRO = 8.31446261815324, 6.02214076e23


def network_of(unit="ppb, s", extra="", species="NO\nNO2\nO3\nalpha-pinene = C10H16\nX = ?"):
    return f"""name = n
units = {unit}
balanced = none
[species]
{species}
{extra}
[sources]
S = a source
[reactions]
{species.split()[0]} -> ; 0.5 ; S
"""


@pytest.fixture
def net(tmp_path):
    def make(*arguments, **options):
        path = tmp_path / "network.txt"
        path.write_text(network_of(*arguments, **options))
        return jaxchem.load(path)

    return make


@pytest.fixture
def read(tmp_path, net):
    def make(text, network=None, encoding="utf-8", **options):
        path = tmp_path / "data.csv"
        path.write_bytes(text.encode(encoding))
        return read_measurements(path, network or net(), **options)

    return make


def columns(m):
    return {header: what for _, header, what in m.taken}


def readings(m):
    """{(experiment, time, observable): values}"""
    found = {}
    for e, t, o, v in zip(m.experiment, m.time, m.observable, m.value, strict=True):
        key = (m.experiments[e], float(m.ts[e, t]), m.observables[o])
        found.setdefault(key, []).append(float(v))
    return found


def test_a_plain_table(read):
    m = read("time [min],NO [ppm],O3 (ppb)\n2,0.5,-1\n1,0.25,\n")
    assert m.experiments == ("data",) and m.observables == ("NO", "O3")
    np.testing.assert_array_equal(m.ts, [[60.0, 120.0]])
    np.testing.assert_array_equal(m.counts, [2])
    assert readings(m) == {
        ("data", 60.0, "NO"): [250.0],
        ("data", 120.0, "NO"): [500.0],
        ("data", 120.0, "O3"): [-1.0],
    }
    np.testing.assert_array_equal(m.lines, [3, 2, 2])
    np.testing.assert_array_equal(m.gaps, [0, 1])
    assert m.units == ("ppb", "ppb") and np.all(np.isnan(m.deviation))
    assert columns(m)["NO [ppm]"] == "NO, ppm to ppb (x 1000)"
    assert columns(m)["time [min]"] == "time, min to s (x 60)"
    assert any("1 gaps: O3 1" in note for note in m.notes)


@pytest.mark.parametrize(
    "header, what",
    [
        ("t / s,NO / ppb", ("time", "NO")),
        ("t_s,NO_ppb", ("time", "NO")),
        ("Time (s),NO (ppb)", ("time", "NO")),
        ("elapsed s,o3", ("time", "O3")),
        ("Time since lights on (s),[NO] / ppb", ("time", "NO")),
        ("heated for (s),ALPHA PINENE [ppb]", ("time", "alpha-pinene")),
        ('"time, s","alpha_pinene, ppb"', ("time", "alpha-pinene")),
        ("time,NO2", ("time", "NO2")),
        ("# time,NO", ("time", "NO")),
        ("\ufefftime,NO", ("time", "NO")),
        ("duration/s,O3/ppb", ("time", "O3")),
        ("time,c(O3) / ppb", ("time", "O3")),
        ("time,Concentration of NO2 [ppb]", ("time", "NO2")),
        ("time,NO2 conc. (ppb)", ("time", "NO2")),
        ("time,NO2 [ppb of N]", ("time", "NO2")),
    ],
)
def test_headers_that_are_understood(read, header, what):
    m = read(f"{header}\n0,5\n10,6\n")
    assert tuple(w.split(",")[0] for w in columns(m).values()) == what
    assert m.observables == what[1:]
    np.testing.assert_array_equal(m.ts, [[0.0, 10.0]])
    np.testing.assert_array_equal(m.value, [5.0, 6.0])


@pytest.mark.parametrize(
    "header",
    [
        *(
            "sd O3",
            "O3_sd",
            "O3 error",
            "O3 ±",
            "± O3",
            "sigma O3",
            "O3 uncertainty",
            "sd(O3) [ppb]",
        ),
        *(
            "O3_sd_ppb",
            "O3 sd [ppb]",
            "O3 [ppb] sd",
            "O3_ppb_err",
            "u(O3)",
            "standard deviation of O3",
        ),
        *("O3 (sd)", "O3 std. dev.", "sd", "±", "O3 standard error"),
    ],
)
def test_deviations(read, header):
    m = read(f"time,O3,{header}\n0,5,0.5\n1,6,\n")
    np.testing.assert_array_equal(m.deviation, [0.5, np.nan])
    assert columns(m)[header].startswith("sd of O3, ppb")


def test_deviations_change_with_their_unit(read, net):
    m = read("time,O3 [ppm],O3 error\n0,5,0.5\n")
    np.testing.assert_allclose(m.deviation, [500.0])
    m = read("time,O3 [ppm],O3 error [ppb]\n0,5,0.5\n")
    np.testing.assert_allclose(m.deviation, [0.5])
    m = read("time,O3 [ppm],O3 error [%]\n0,-5,10\n1,0,10\n")
    np.testing.assert_allclose(m.deviation, [500.0, np.nan])
    assert any("1 readings of O3 are zero" in note for note in m.notes)
    wanted = net("wt%, s")
    with pytest.raises(ValueError, match="of the reading or of the whole"):
        read("time,X [wt %],X error [%]\n0,5,10\n", wanted)
    m = read("time,X [wt %],X error [% of reading]\n0,50,10\n", wanted)
    np.testing.assert_allclose(m.deviation, [5.0])
    m = read("time,X [wt %],X error [%]\n0,5,1\n", wanted, columns={"X error [%]": "sd of X [wt%]"})
    np.testing.assert_allclose(m.deviation, [1.0])


@pytest.mark.parametrize("cell", ["0", "-0.1"])
def test_deviation_above_zero(read, cell):
    with pytest.raises(ValueError, match=r"line 3, column 'O3 sd': a standard dev"):
        read(f"time,O3,O3 sd\n0,5,1\n1,5,{cell}\n")


@pytest.mark.parametrize(
    "header", ["O3(0)", "O3_0", "initial O3", "O3 (0)", "initial O3 [ppb]", "O3(t=0)", "[O3]0"]
)
def test_initial_values(read, header):
    m = read(f"run,time,NO,{header}\na,1,5,20\na,2,4,\nb,1,5,\n")
    np.testing.assert_array_equal(m.initial["O3"], [20.0, np.nan])
    assert m.observables == ("NO",)
    with pytest.raises(ValueError, match=r"line 3.*initial value of 'O3' is 21 here, and 20"):
        read(f"run,time,NO,{header}\na,1,5,20\na,2,4,21\n")


@pytest.mark.parametrize(
    "cells", [["", "n.d.", "nd"], ["nan", "NA", "-"], ["--", "missing", "-9999"], ["N/A", "?", "—"]]
)
def test_gaps(read, cells):
    m = read("time,NO\n" + "".join(f"{i},{c}\n" for i, c in enumerate(cells)) + "9,1\n")
    np.testing.assert_array_equal(m.value, [1.0])
    np.testing.assert_array_equal(m.gaps, [3])
    assert any("3 gaps" in note for note in m.notes)
    assert ("-9999" in cells) == any("-9999 counts as a gap" in note for note in m.notes)


@pytest.mark.parametrize("cell", ["<0.5", "< 0.5", "<LOD", "bdl", "b.d.l.", "LOD", "<DL", "BLQ"])
def test_below_detection(read, cell):
    m = read(f"time,NO\n0,{cell}\n1,2\n")
    np.testing.assert_array_equal(m.value, [2.0])
    np.testing.assert_array_equal(m.gaps, [0])
    (note,) = (note for note in m.notes if "below the limit" in note)
    assert "NO: 1 readings" in note and "lines 2" in note


@pytest.mark.parametrize(
    "text",
    [
        "time;NO;O3\n0,5;1,25;-3\n1;2e-1;4,0\n",
        "time\tNO\tO3\n0,5\t1,25\t-3\n1\t2e-1\t4,0\n",
        "time  NO   O3\n0,5   1,25   -3\n1     2e-1   4,0\n",
        'time,NO,O3\n"0,5","1,25",-3\n1,2e-1,"4,0"\n',
        "time;NO;O3\n0.5;1.25;\u22123\n1;2D-1;4.\n",
        "# a comment\n\n#time NO O3\n0.5 1.25 -3\n# another\n1 .2 +4.0\n",
        "# text, of some commas\ntime,NO,O3\ns,ppb,ppb\n0.5,1.25,-3\n1,0.2,4\n,,\n",
        "time,NO,O3,\n0.5,1.25,-3,\n1,0.2,4,\n",
        "time,NO,O3\n0.5,1.25,-3,\n1,0.2,4,\n",
        "time [s];NO [ppb];O3 [ppb]\r\n0,5;1,25;-3\r\n1;0,2;4\r\n",
    ],
)
def test_separators_and_decimals(read, text):
    m = read(text)
    assert readings(m) == {
        ("data", 0.5, "NO"): [1.25],
        ("data", 0.5, "O3"): [-3.0],
        ("data", 1.0, "NO"): [0.2],
        ("data", 1.0, "O3"): [4.0],
    }


def test_encodings(read):
    text = "time [s]\tT [°C]\tNO [µmol/mol]\n0\t25\t3\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        m = read(text, encoding=encoding)
        np.testing.assert_allclose(m.conditions["temperature"], [298.15])
        np.testing.assert_allclose(m.value, [3000.0])
        assert (encoding == "cp1252") == any("Windows-1252" in note for note in m.notes)


@pytest.mark.parametrize(
    "text, words",
    [
        ('time,NO\n0,"1,234"\n', ["line 2", "'NO'", "thousands"]),
        ('time,NO\n0,"1,234.5"\n', ["line 2", "'NO'", "thousands"]),
        ("time\tNO\n0\t1,234\n", ["line 2", "'NO'", "thousands"]),
        ("time;NO\n0,5;1\n1.5;1\n", ["comma", "decimal point", "line 3"]),
        ("time,NO\n0,1.5*\n", ["line 2", "'NO'", "1.5*", "behind '1.5'"]),
        ("time,NO\n0,1.5 a\n", ["line 2", "'NO'", "behind '1.5'"]),
        ("time,NO\n0,high\n", ["line 2", "'NO'", "no number"]),
        ("time,NO\n0,>100\n", ["line 2", "bound"]),
        ("time,NO\n0,1e999\n", ["line 2", "infinite"]),
        ("time,NO\n0,1_000\n", ["line 2", "no number"]),
        ("time,NO\n0,1,2\n", ["line 2", "3 values under 2"]),
        ("time,NO\n,1\n", ["line 2", "'time'", "no time"]),
        ("time,NO\n", ["no row under the header"]),
        ("", ["no row"]),
        ("0,1\n1,2\n", ["no header"]),
        ("NO,O3\n0,1\n", ["no column is the time"]),
        ("time,T [K]\n0,300\n", ["no column is a species"]),
        ("time,NO,NO_ppb\n0,1,2\n", ["'NO_ppb'", "twice", "skip"]),
        ("time [s],t [min],NO\n0,1,2\n", ["twice"]),
        ("time,NO,noise\n0,1,2\n", ["'noise'", "columns", "skip"]),
        ("time,alpha-pinenes\n0,1\n", ["'alpha-pinenes'", "did you mean 'alpha-pinene'"]),
        ("time,NO [V]\n0,1\n", ["'NO [V]'", "'V'", "ppb"]),
        ("time,NO [zork]\n0,1\n", ["'NO [zork]'", "'zork' is no unit that is known", "columns"]),
        ("time [m],NO\n0,1\n", ["'time [m]'", "'m'", "time"]),
        ("time,NO [ug/m3]\n0,1\n", ["'NO [ug/m3]'", "density", "conditions"]),
        ("time,NO [%]\n0,1\n", ["'%'", "ppb"]),
        ("time,O3 sd,NO\n0,1,1\n", ["'O3 sd'", "'O3'"]),
        ("time,NO,O3,sd\n0,1,1,1\n", ["'sd'"]),
        (
            "time,NO,T\n0,1,300\n0,1,310\n",
            ["experiment 'data', line 2", "temperature is 300", "has 310"],
        ),
        ("time,NO,T\n0,1,300\n1,1,310\n2,1,\n", ["line 4", "temperature is missing"]),
        ("time,NO,SZA\n0,1,45\n", ["'SZA'", "rad"]),
        ("time,NO,RH\n0,1,45\n", ["'RH'", "relative_humidity"]),
        ("time,NO [ppb]\nmin,ppm\n0,1\n", ["ppm", "ppb", "keep one"]),
        ("run,time,NO\n,0,1\n", ["line 2", "no experiment"]),
        ("time,NO\n28.07.2021 10:00,1\n", ["28.07.2021", "2021-07-28"]),
        ("time,NO\n23:59:30,1\n00:00:10,2\n", ["line 3", "dates"]),
        ("time,NO\n2021-07-28 10:00,1\n2021-13-28 10:00,2\n", ["line 3", "2021-13-28"]),
        ("time,NO\n0,nd\n", ["no reading"]),
        ("time,NO,,\n0,1,2,3\n", ["column ''"]),
    ],
)
def test_what_is_not_understood(read, text, words):
    with pytest.raises(ValueError) as error:
        read(text)
    for word in words:
        assert word in str(error.value)


def test_ambiguous_headers(read, net):
    two = net("mol/L, s", species="A = ?\nP = ?\nT = ?\nA+ = ?\nab = ?\na-b = ?")
    assert columns(read("time,A,P\n0,1,2\n", two))["P"] == "P, mol/L"
    assert read("time,A,P [Pa]\n0,1,2\n", two, columns={"P [Pa]": "pressure"}).observables == ("A",)
    for text in ("time,A,P [Pa]\n0,1,2\n", "time,A,p\n0,1,2\n", "t,A\n0,1\n", "time,A-B\n0,1\n"):
        with pytest.raises(ValueError, match="may be"):
            read(text, two)
    assert columns(read("time,A,T [K]\n0,1,300\n", two))["T [K]"] == "temperature, K"
    assert read("time,A+\n0,1\n", two).observables == ("A+",)
    with pytest.raises(ValueError, match=r"'A-'"):  # a charge is no punctuation
        read("time,A-\n0,1\n", two)
    with pytest.raises(ValueError, match=r"may be .*NO.*experiment"):
        read("No,time,O3\n1,0,1\n", net())


def test_species_with_brackets(read, net):
    odd = net("cm-3, s", species="O(1D) = O\nO\nFe(II) = Fe")
    m = read("time,O(1D),O (1/cm3),Fe(II) [molecule cm-3]\n0,1,2,3\n", odd)
    assert m.observables == ("O(1D)", "O", "Fe(II)")
    np.testing.assert_array_equal(m.value, [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "told, what",
    [
        ("NO [ppm]", "NO, ppm to ppb (x 1000)"),
        ("skip", "skipped"),
        ("sd of O3", "sd of O3, ppb"),
        ("initial NO2", "initial NO2, ppb"),
        ("temperature [°C]", "temperature, °C to K"),
    ],
)
def test_columns_are_told(read, told, what):
    m = read("time,O3,signal 1\n0,5,2\n", columns={"signal 1": told})
    assert columns(m)["signal 1"] == what


@pytest.mark.parametrize(
    "told, word",
    [
        ({"signal": "nO2"}, "did you mean 'NO2'"),
        ({"signl": "NO"}, "did you mean 'signal'"),
        ({"signal": "NO [zork]"}, "zork"),
        ({"signal": "time"}, "twice"),
    ],
)
def test_columns_that_cannot_be(read, told, word):
    with pytest.raises(ValueError, match=word):
        read("time,O3,signal\n0,5,2\n", columns=told)


def test_conditions_and_conversions(read, net):
    per = net("molecule cm-3, s")
    air = 101325 / (GAS * 300.0) * AVOGADRO * 1e-6
    m = read("time,T (K),p [hPa],RH [%],SZA [deg],O3 [ppb]\n0,300,1013.25,50,60,40\n", per)
    np.testing.assert_allclose(m.value, [40e-9 * air], rtol=1e-12)
    expected = [300.0, 101325.0, 0.5, np.pi / 3]
    for name, value in zip(m.conditions, expected, strict=True):
        np.testing.assert_allclose(m.conditions[name], [value])
    assert "ppb to molecule cm-3 by temperature and pressure" in columns(m)["O3 [ppb]"]
    m = read("time,O3 [ppb]\n0,40\n", per, conditions={"density": 2.5e19})
    np.testing.assert_allclose(m.value, [1e12], rtol=1e-12)
    np.testing.assert_allclose(m.conditions["density"], [2.5e19])
    m = read("time,M [mol m-3],O3 [ppb]\n0,40,10\n", per, conditions={"density": 2.5e19})
    np.testing.assert_allclose(m.value, [40e-8 * AVOGADRO * 1e-6], rtol=1e-12)  # the column wins
    np.testing.assert_allclose(m.conditions["density"], [40e-6 * AVOGADRO], rtol=1e-12)
    m = read("time,NO2 [ug m-3]\n0,46.005\n", per)
    np.testing.assert_allclose(m.value, [1e-12 * AVOGADRO], rtol=1e-12)
    m = read("time,NO2 [Torr],T [K]\n0,1,300\n", per)
    np.testing.assert_allclose(m.value, [101325 / 760 / (GAS * 300) * AVOGADRO * 1e-6], rtol=1e-9)
    with pytest.raises(ValueError, match="molar mass is not known"):
        read("time,X [ug m-3]\n0,1\n", per)
    m = read("time,NO [molecule cm-3],M [cm-3]\n0,1e11,2e19\n")  # into a network in ppb
    np.testing.assert_allclose(m.value, [5.0], rtol=1e-12)
    assert "density" not in m.conditions


def test_defaults_of_the_network_convert_and_are_told(read, net):
    per = net("molecule cm-3, s", extra="[defaults]\ndensity = 2e19")
    m = read("time,O3 [ppb]\n0,40\n", per)
    np.testing.assert_allclose(m.value, [8e11], rtol=1e-12)
    assert any("network's default" in note for note in m.notes)


def test_conditions_that_vary(read):
    m = read("run,time,T,NO\n1,0,300,1\n1,5,310,2\n1,9,320,2\n2,0,290,1\n2,3,,1\n")
    np.testing.assert_array_equal(m.conditions["temperature"], [[300, 310, 320], [290, 290, 290]])
    np.testing.assert_array_equal(m.ts, [[0, 5, 9], [0, 3, 3]])
    np.testing.assert_array_equal(m.counts, [3, 2])
    assert any("1 gaps have the value of the other rows" in note for note in m.notes)


def test_observables(read, net):
    nm = net("nM, min")
    given = {"share": "100 * NO / (NO + NO2)", "total": "NO + c * NO2", "signal": "eps * O3"}
    given |= {"shifted": "O3 + zero", "nested": "total / O3"}
    text = "time,share [% of N],total [uM],signal [a.u.],shifted [M],nested\n0,5,2,3,1e-9,7\n"
    m = read(text, nm, observables=given)
    assert m.observables == tuple(given)
    assert m.units == ("%", "nM", "a.u.", "nM", "")
    np.testing.assert_allclose(m.value, [5.0, 2000.0, 3.0, 1.0, 7.0])
    assert columns(m)["share [% of N]"] == "share, %, as it stands"
    m = read("time,mean [mM]\n0,1\n", nm, observables={"mean": "sqrt(NO * NO2)"})
    np.testing.assert_allclose(m.value, [1e6])


@pytest.mark.parametrize(
    "observables, word",
    [
        ({"NO": "2 * NO2"}, "name of a species"),
        ({"temperature": "NO"}, "condition"),
        ({"s": "NO +"}, "'s'"),
        ({"s": "2 * c"}, "no species"),
        ({"s": "s + NO"}, "by itself"),
        ({"s": "zork(NO)"}, "no arithmetic"),
        ({"time": "NO"}, "word of columns"),
    ],
)
def test_observables_that_cannot_be(read, observables, word):
    with pytest.raises(ValueError, match=word):
        read("time,NO\n0,5\n", observables=observables)


def test_an_observable_has_one_unit(tmp_path, net):
    (tmp_path / "a.csv").write_text("time,r [%]\n0,5\n")
    (tmp_path / "b.csv").write_text("time,r [1]\n0,5\n")
    with pytest.raises(ValueError, match=r"'r' is in '%' in a.csv and in '1' in b.csv"):
        files = [tmp_path / "a.csv", tmp_path / "b.csv"]
        read_measurements(files, net(), observables={"r": "NO / NO2"})


def test_since_and_until(read):
    text = "time [min],NO\n-1,9\n0,1\n1,2\n2,3\n3,4\n"
    np.testing.assert_array_equal(read(text, since=0, until="2 min").value, [1, 2, 3])
    m = read(text, since="0.02 h")
    np.testing.assert_array_equal(m.ts, [[120.0, 180.0]])
    assert any("3 of 5 rows" in note for note in m.notes)
    for bad in ("soon", "2 ppb", "1.2.3"):
        with pytest.raises(ValueError, match="since"):
            read(text, since=bad)
    with pytest.raises(ValueError, match="no reading is left"):
        read(text, since=1e9)


def test_dates(read):
    rows = "2021-07-28T23:59:30Z,1\n2021-07-29 00:00:00.5,2\n2021-07-29 02:01+02:00,3\n"
    m = read("Time (UTC),NO\n" + rows)
    np.testing.assert_allclose(m.ts, [[0.0, 30.5, 90.0]])
    assert any("count from the first row" in note for note in m.notes)
    m = read("run,time,NO\na,10:00,1\na,10:01:30,2\nb,11:00,1\nb,12:00,4\n")
    np.testing.assert_array_equal(m.ts, [[0, 90], [0, 3600]])
    m = read("elapsed [hh:mm:ss],NO\n00:00:30,1\n00:01:00,2\n")
    np.testing.assert_array_equal(m.ts, [[30, 60]])


def test_files_are_experiments(tmp_path, net):
    (tmp_path / "b.csv").write_text("time,NO\n0,1\n5,2\n")
    (tmp_path / "a.tsv").write_text("case\ttime [min]\tO3\n10\t0\t3\n9\t1\t4\n")
    (tmp_path / "notes.md").write_text("no table")
    m = read_measurements(tmp_path, net())
    assert m.experiments == ("a/9", "a/10", "b") and m.observables == ("NO", "O3")
    np.testing.assert_array_equal(m.ts, [[60, 60], [0, 0], [0, 5]])
    np.testing.assert_array_equal(m.counts, [1, 1, 2])
    np.testing.assert_array_equal(m.value, [4, 3, 1, 2])
    again = read_measurements(str(tmp_path / "*.[ct]sv"), net())
    np.testing.assert_array_equal(again.value, m.value)
    assert read_measurements([tmp_path / "b.csv"], net()).experiments == ("b",)
    (tmp_path / "b.csv").write_text("time,NO,T\n0,1,300\n")
    with pytest.raises(ValueError, match=r"a.tsv: has no temperature"):
        read_measurements(tmp_path, net())
    m = read_measurements(tmp_path, net(), conditions={"temperature": 280.0})
    np.testing.assert_array_equal(m.conditions["temperature"], [280, 280, 300])
    for bad in (tmp_path / "none.csv", tmp_path / "*.xyz", []):
        with pytest.raises(ValueError, match="no file"):
            read_measurements(bad, net())
    with pytest.raises(ValueError, match="twice"):
        read_measurements([tmp_path / "b.csv", tmp_path / "b.csv"], net())


def test_units_that_nobody_knows(read, net):
    own = net("a.u., steps")
    m = read("time [steps],NO [a.u.]\n0,1\n", own)
    assert m.units == ("a.u.",) and m.time_unit == "steps"
    for header in ("time [s],NO [a.u.]", "time [steps],NO [ppb]"):
        with pytest.raises(ValueError, match="cannot become"):
            read(f"{header}\n0,1\n", own)


def test_marks_of_gaps_stand_apart(read):
    m = read("time,NO\n0,-998\n1,-999\n2,-1000\n")
    np.testing.assert_array_equal(m.value, [-998, -999, -1000])


def test_replicates(read):
    m = read("time,NO\n0,1\n0,1.5\n1,3\n0,1\n")
    np.testing.assert_array_equal(m.ts, [[0, 1]])
    assert readings(m)["data", 0.0, "NO"] == [1.0, 1.0, 1.5]
    assert any("2 readings are replicates" in note for note in m.notes)


def test_netcdf_of_trajectories(tmp_path, net):
    n = net("ppb, s", species="NO\nO3")
    ys = np.arange(12.0).reshape(2, 3, 2)
    y0 = np.array([[1.0, 2.0], [3.0, 4.0]])
    data = jaxchem.to_dataset(n, (np.arange(3.0), ys), y0=y0, conditions={"temperature": 280.0})
    jaxchem.write(data, tmp_path / "d.nc")
    m = read_measurements(tmp_path / "d.nc", n)
    assert m.experiments == ("0", "1") and m.observables == ("NO", "O3") and m.units == ("ppb",) * 2
    np.testing.assert_array_equal(m.value, ys.reshape(-1))
    np.testing.assert_array_equal(m.initial["O3"], [2.0, 4.0])
    np.testing.assert_array_equal(m.conditions["temperature"], [280.0, 280.0])
    np.testing.assert_array_equal(m.ts, [[0, 1, 2], [0, 1, 2]])


def test_netcdf_of_instruments(tmp_path, net):
    def variable(dims, values, **attributes):
        return {"dims": dims, "data": values, "attrs": attributes}

    xr = pytest.importorskip("xarray")
    made = xr.Dataset.from_dict(
        {
            "time": variable("time", [36, 37], units="hours since 2021-07-28 00:00"),
            "O3": variable("time", [1.0, np.nan], units="ppm"),
            "T": variable("time", [20.0, 21.0], units="degC"),
        }
    )
    jaxchem.write(made, tmp_path / "d.nc")
    m = read_measurements(tmp_path / "d.nc", net())
    np.testing.assert_array_equal(m.ts, [[0.0, 3600.0]])
    np.testing.assert_allclose(m.value, [1000.0])
    np.testing.assert_allclose(m.conditions["temperature"], [[293.15, 294.15]])
    padded = made.drop_vars("time").assign(t=("time", [5.0, np.nan], {"units": "min"}))
    padded["T"][1], padded["p"] = np.nan, ("time", [1.0, np.nan], {"units": "atm"})
    jaxchem.write(padded, tmp_path / "d.nc")
    m = read_measurements(tmp_path / "d.nc", net())
    np.testing.assert_array_equal(m.ts, [[300.0]])
    np.testing.assert_allclose(m.conditions["pressure"], [101325.0])
    assert any("1 rows without time or readings" in note for note in m.notes)
    jaxchem.write(made.expand_dims(height=2), tmp_path / "d.nc")
    with pytest.raises(ValueError, match="height"):
        read_measurements(tmp_path / "d.nc", net())


ROWS = [
    ["a", "0", "300", "1.5", "", "0.1"],
    ["a", "60", "300", "n.d.", "4", ""],
    ["a", "60", "300", "2.5", "<1", "0.2"],
    ["b", "30", "310", "-1", "2", "0.3"],
    ["b", "90", "310", "7", "2", "0.3"],
]
HEAD = ["run", "time [s]", "T [K]", "NO", "O3 [ppm]", "NO sd"]


@hypothesis.settings(max_examples=25)
@hypothesis.given(st.permutations(range(5)), st.permutations(range(6)))
def test_order_has_no_meaning(tmp_path_factory, rows, order):
    folder = tmp_path_factory.mktemp("order")
    (folder / "network.txt").write_text(network_of())
    n = jaxchem.load(folder / "network.txt")
    made = []
    for r, c in ((range(5), range(6)), (rows, order)):
        text = [[line[i] for i in c] for line in (HEAD, *(ROWS[j] for j in r))]
        (folder / "data.csv").write_text("\n".join(",".join(line) for line in text))
        made.append(read_measurements(folder / "data.csv", n))
    first, second = made
    assert first.experiments == second.experiments and first.observables == second.observables
    for name in ("ts", "counts", "experiment", "time", "observable", "value", "deviation", "gaps"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(first.conditions["temperature"], [300.0, 310.0])
    np.testing.assert_array_equal(first.value, [1.5, 2.5, 4000.0, -1.0, 2000.0, 7.0, 2000.0])
    assert second.conditions.keys() == first.conditions.keys()


def test_prints(read):
    head = ",".join(f"c{i}" for i in range(40))
    skip = {f"c{i}": "skip" for i in range(40)}
    rows = "".join(f"{i},{i},300,1,nd,{','.join('0' * 40)}\n" for i in range(30))
    m = read(f"run,time,T [K],NO [ppm],O3,{head}\n{rows}", columns=skip)
    shown = repr(m)
    assert len(shown.splitlines()) <= 40 and "... and" in shown
    for word in (
        "30 readings",
        "30 gaps",
        "1000 ppb",
        "ppm to ppb",
        "temperature [K]: 300",
        "0 to 29",
    ):
        assert word in shown
    assert "<table>" in m._repr_html_() and "NO" in m._repr_html_()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": ["NO [ppb]"]}, "columns is .*names with a value each"),
        ({"columns": {1: "skip"}}, "columns has the name 1; write names as text"),
        ({"observables": ["NO"]}, "observables is .*names with a value each"),
        ({"observables": {False: "NO"}}, "observables has the name False"),
        ({"conditions": [1]}, "conditions is .*{temperature"),
        ({"conditions": {"temperature": True}}, "temperature is True; give a number"),
    ],
)
def test_settings_of_another_type(read, options, words):
    with pytest.raises(ValueError, match=words):
        read("time [s],NO [ppb]\n1,2\n", **options)


def test_is_fast(read):
    rows = "".join(f"{i * 0.1:.4f},{i},{-i},{i * i}\n" for i in range(1400))
    text = "time [h],NO_ppb,NO2_ppb,O3_ppb\n" + rows
    read(text)
    start = time.perf_counter()
    assert len(read(text).value) == 4200
    assert time.perf_counter() - start < 0.3
