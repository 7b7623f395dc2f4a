"""A box through a day against SciPy and formulas, in networks small enough to write out."""

import datetime

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem import checkpoint
from jaxchem.parse import table
from jaxchem.simulate import simulate
from jaxchem.solar import solar_zenith_angle
from jaxchem.train import Job

TEXT = """name = tiny
units = molecule cm-3, s
balanced = none
fixed = O2
[species]
A = none
B = none
O2 = none
[quantities]
SUN = SUNLIGHT()
J4 = mcm_photolysis(1e-3, 0.5, 0.3)
HEAT = ?
[defaults]
temperature = 280.0
start = 18000.0
[initial]
A = 1e10
[families]
AB = A + B
[sources]
S = Nobody (1900)
[reactions]
A -> B ; 1e-4 * SUN ; S
B -> A ; arrhenius(1e-2, 2000) ; S
A + O2 -> ; 1e-24 * (temperature / 300) ** 2 ; S
B -> ; J4 ; S
-> B ; HEAT ; S
"""
SOLVER = jaxchem.Integrator(rtol=1e-8, max_steps=20000)
QUIET = Job("box", progress=False)
PLACE = {"latitude": 30.0, "longitude": 15.0, "date": "2023-03-05", "job": QUIET}


def expected(ts, temperature, extra=lambda t, a, b: (0.0, 0.0), o2=None):
    """The same box, written out for SciPy."""
    air = 101325.0 / (1.380649e-23 * 280.0) * 1e-6
    o2 = 0.2 * air if o2 is None else o2
    day = datetime.date(2023, 3, 5)

    def tendency(t, y):
        a, b = y
        x = (2 * ((t + 3600.0) / 3600.0 % 24) - 24) / 15
        sun = 0.5 * (1 + np.cos(np.pi * x * abs(x))) if abs(x) <= 1 else 0.0
        cosine = float(np.cos(solar_zenith_angle(30.0, 15.0, day, t)))
        j4 = 1e-3 * cosine**0.5 * np.exp(-0.3 / cosine) if cosine > 0 else 0.0
        back = 1e-2 * np.exp(-2000 / temperature(t)) * b
        loss = 1e-24 * (temperature(t) / 300) ** 2 * a * o2
        made = extra(t, a, b)
        return [
            -1e-4 * sun * a + back - loss + made[0],
            1e-4 * sun * a - back - j4 * b + 1e5 + made[1],
        ]

    options = {"rtol": 1e-10, "atol": 1e-3, "t_eval": ts, "method": "LSODA", "max_step": 300.0}
    states = solve_ivp(tendency, (ts[0], ts[-1]), [1e10, 0.0], **options).y.T
    return states, np.array([tendency(t, y) for t, y in zip(ts, states, strict=True)])


def run(**settings):
    given = {"others": 1e5, "mixing_ratios": {"O2": 0.2}}
    return simulate(table.loads(TEXT), SOLVER, **{**PLACE, **given, **settings})


def test_a_closed_box():
    """The mechanism's own start, temperature and initial state; local time an hour ahead."""
    found = run(every=1800.0, days=0.5)
    data = found.trajectory
    ts = data["time"].values
    np.testing.assert_array_equal(ts, 18000.0 + 1800.0 * np.arange(25))
    states = data["concentration"].values[0]
    reference, _ = expected(ts, lambda t: 280.0)
    np.testing.assert_allclose(states[:, :2], reference, rtol=2e-6, atol=1.0)
    assert states[0, 2] == pytest.approx(0.2 * 101325 / (1.380649e-23 * 280) * 1e-6, rel=1e-12)
    assert found.metrics["steps"] > 25 and found.metrics["final/A"] == states[-1, 0]
    assert list(found.parts) == ["trajectories"]
    assert "tiny" in found.report and "| A |" in found.report and "- HEAT" in found.report
    zenith = solar_zenith_angle(30.0, 15.0, datetime.date(2023, 3, 5), ts)
    np.testing.assert_allclose(data["solar_zenith_angle"].values, zenith, rtol=1e-12)


def test_an_open_box():
    """Emission, deposition, dilution with background, a course of temperature; budgets."""
    warm = {"hours": [0.0, 10.0, 24.0], "values": [270.0, 300.0, 270.0]}
    found = run(
        every=1800.0,
        days=0.25,
        start=8.0,
        temperature=warm,
        pressure=5e4,
        emissions={"A": {"hours": [8.0, 12.0], "values": [1e6, 3e6]}},
        deposition={"B": 2e-5},
        dilution=1e-5,
        background={"B": 1e-10},
        held=["O2"],
        budgets=["AB", "B"],
    )
    data = found.trajectory

    def temperature(t):
        return float(np.interp(t / 3600, warm["hours"], warm["values"]))

    def exchange(t, a, b):
        outside = 1e-10 * 5e4 / (1.380649e-23 * temperature(t)) * 1e-6
        emitted = np.interp(t / 3600, [8.0, 12.0], [1e6, 3e6])
        return emitted - 1e-5 * a, -2e-5 * b + 1e-5 * (outside - b)

    ts = data["time"].values
    o2 = 0.2 * 5e4 / (1.380649e-23 * temperature(ts[0])) * 1e-6
    reference, slopes = expected(ts, temperature, exchange, o2)
    np.testing.assert_allclose(
        data["concentration"].values[0, :, :2], reference, rtol=2e-6, atol=1.0
    )
    budget = found.parts["budget_B"].dataset["contribution"]
    np.testing.assert_allclose(budget.sum("reaction").values, slopes[:, 1], rtol=1e-3)
    whole = found.parts["budget_AB"].dataset["contribution"].sum("reaction").values
    np.testing.assert_allclose(whole, slopes.sum(axis=1), rtol=1e-3)
    most = ts[np.argmax(reference.sum(axis=1))]
    assert f"Lifetimes and budgets at t = {most:g} s" in found.report
    assert "production" in found.report


def test_imposed_concentrations():
    """A stands in the reactions as measured, and leaves the state."""
    found = run(
        every=3600.0,
        days=0.125,
        constrained={"A": {"hours": [5.0, 8.0], "values": [1e-10, 3e-10]}, "J4": 0.0},
        conditions={"quantities": {"SUN": 1.0}},
    )
    data = found.trajectory
    assert list(data["species"].values) == ["B", "O2"]
    air = 101325.0 / (1.380649e-23 * 280.0) * 1e-6
    k = 1e-2 * np.exp(-2000 / 280.0)
    a0, slope = 1e-10 * air, 2e-10 * air / 10800.0
    t = data["time"].values - 18000.0
    # dB/dt = p0 + p1 t - k B
    p0, p1 = 1e-4 * a0 + 1e5, 1e-4 * slope
    exact = (p0 / k - p1 / k**2) * (1 - np.exp(-k * t)) + p1 / k * t
    np.testing.assert_allclose(data["concentration"].values[0, :, 0], exact, rtol=1e-6)


def test_musica_condition_file(tmp_path):
    path = tmp_path / "conditions.csv"
    path.write_text("CONC.A,1.0\nENV.temperature,300.0\nENV.pressure,1e5\nPHOTO.j,1e-3\n")
    network = table.loads(
        "name = m\nunits = mol m-3, s\n[species]\nA = none\nB = none\n[quantities]\n"
        '"PHOTO.j" = ?\n[sources]\nS = x\n[reactions]\nA -> B ; "PHOTO.j" ; S\n'
    )
    found = simulate(network, SOLVER, file=str(path), days=0.02, every=432.0, **PLACE)
    states = found.trajectory["concentration"].values[0, :, 0]
    np.testing.assert_allclose(states, np.exp(-1e-3 * 432.0 * np.arange(5)), rtol=1e-7)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"date": "yesterday"}, "'yesterday' is no date"),
        ({"every": 0.0}, "is no output"),
        ({"days": 0.0}, "is no output"),
        ({"temperature": {"hours": [1, 1], "values": [1, 2]}}, "hours that increase"),
        ({"others": None}, r"HEAT.*others=0\.0"),
        ({"mixing_ratios": {"O9": 1.0}}, "unknown species 'O9'"),
        ({"mixing_ratios": {}}, "'O2' starts at 0, and 'A \\+ O2 ->' wants it"),
        ({"emissions": {"Z": 1.0}}, "unknown species 'Z'"),
        ({"budgets": ["Z"], "days": 0.02}, "'Z'"),
        ({"file": "absent.csv"}, r"absent\.csv"),
        ({"others": float("nan")}, "could not be integrated"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        run(**settings)


PLACES = {
    "name = p\nunits = molecule cm-3, s\nfixed = M\n[species]\nA = none\nM = none\n[initial]\n"
    "M = 1e17\nA = 1e6\n[sources]\nS = x\n[reactions]\nA + M -> M ; 1e-21 ; S\n": "air",
    "name = p\nunits = cm-3, s\n[species]\nA = none\n[sources]\nS = x\n[reactions]\n"
    "A -> ; cosmic_ray(1) ; S\n": "cloud",
    "name = p\nunits = ppm, min\n[species]\nA = none\n[sources]\nS = x\n[reactions]\n"
    "A -> ; 1 ; S\n": "minutes",
}


@pytest.mark.parametrize("text", PLACES, ids=PLACES.values())
def test_the_air_is_the_mechanisms_own(text):
    """M of the mechanism is its air; another place than air, or other times, are refused."""
    network, short = table.loads(text), {**PLACE, "days": 0.02, "every": 864.0}
    if PLACES[text] == "air":
        found = simulate(network, SOLVER, mixing_ratios={"A": 1e-9}, **short)
        states = found.trajectory["concentration"].values[0]
        np.testing.assert_allclose(states[:, 0], 1e8 * np.exp(-1e-4 * 864.0 * np.arange(3)))
        with pytest.raises(ValueError, match=r"starts with 1e\+17 of 'M'.*2.4.*of air"):
            simulate(network, SOLVER, pressure=1e5, **short)
    elif PLACES[text] == "cloud":
        with pytest.raises(ValueError, match="needs cosmic_ray_rate: it is not of air"):
            simulate(network, SOLVER, **short)
    else:
        with pytest.raises(ValueError, match="counts in min"):
            simulate(network, SOLVER, **short)


def test_dilution_brings_ambient_air():
    """And an emission that the mechanism has already is given, not added."""
    text = (
        "name = p\nunits = mol m-3, s\n[species]\nA = none\nB = none\n[quantities]\n"
        '"EMIS.B" = ?\n[sources]\nS = x\n[reactions]\n-> B ; 2 * "EMIS.B" ; S\n'
    )
    found = simulate(
        table.loads(text),
        SOLVER,
        days=0.02,
        every=864.0,
        dilution=1e-3,
        ambient={"A": 1e-6, "Z": 1.0},
        emissions={"B": 1e-9},
        temperature=300.0,
        **PLACE,
    )
    a, b = found.trajectory["concentration"].values[0].T
    np.testing.assert_allclose(a, 1e-6 * 101325 / (8.31446261815324 * 300), rtol=1e-9)
    np.testing.assert_allclose(b, 2e-6 * -np.expm1(-0.864 * np.arange(3)), rtol=1e-6)


def test_a_killed_box_goes_on(tmp_path, monkeypatch):
    """Killed with two of four pieces done, it integrates the other two, to the same numbers."""
    settings = {"days": 0.5, "every": 900.0}
    whole = run(**settings)
    path = tmp_path / "last.eqx"
    kept = QUIET._replace(path=path, fingerprint="mine", save_every=0.0)
    saves, save = [], checkpoint.save

    def count(*arguments, **header):
        save(*arguments, **header)
        saves.append(header)
        if len(saves) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", count)
    with pytest.raises(KeyboardInterrupt):
        run(**settings, job=kept)
    resumed = run(**settings, job=kept)
    assert len(saves) == 4
    np.testing.assert_array_equal(
        resumed.trajectory["concentration"], whole.trajectory["concentration"]
    )
    assert resumed.metrics["steps"] == whole.metrics["steps"]
    again = run(**settings, job=kept)
    assert len(saves) == 4
    assert again.report == whole.report
    with pytest.raises(ValueError, match="made with another fingerprint"):
        run(**settings, job=kept._replace(fingerprint="other"))


def test_a_piece_goes_on_with_the_step_of_the_one_before(monkeypatch):
    settings = {"days": 0.5, "every": 300.0}
    carried = run(**settings)
    monkeypatch.setitem(simulate.__globals__, "marches", lambda *_: False)
    anew = run(**settings)
    assert carried.metrics["steps"] < anew.metrics["steps"]
    np.testing.assert_allclose(
        carried.trajectory["concentration"], anew.trajectory["concentration"], rtol=1e-4
    )
