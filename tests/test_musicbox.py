"""Runs of MusicBox: what is read of mechanism, box and conditions, and that it integrates."""

import copy
import json
import math
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from problems import shared
from scipy.integrate import solve_ivp

import jaxchem
from jaxchem.network import MechanismError
from jaxchem.parse import loads, musicbox
from jaxchem.parse.musica import initial_conditions
from jaxchem.parse.musicbox import read_run
from jaxchem.simulate import simulate
from jaxchem.solvers import Integrator

R = 8.31446261815324
"""Gas constant [J mol-1 K-1]."""
OPTIONS = {
    "grid": "box",
    "chemistry time step [sec]": 1.0,
    "output time step [min]": 1.0,
    "simulation length [hr]": 0.1,
}
MECHANISM = {
    "version": "1.0.0",
    "name": "small",
    "species": [
        {"name": "A", "__note": "a comment"},
        {"name": "B"},
        {"name": "M", "is third body": True},
    ],
    "phases": [{"name": "gas", "species": ["A", "B", "M"]}],
    "reactions": [
        {
            **{"type": "ARRHENIUS", "gas phase": "gas", "A": 2.0, "C": -1000.0},
            **{"reactants": [{"name": "A"}], "products": [{"name": "B"}]},
        },
        {
            **{"type": "PHOTOLYSIS", "gas phase": "gas", "name": "B->A"},
            **{"reactants": [{"name": "B"}], "products": [{"name": "A"}]},
        },
        {"type": "EMISSION", "gas phase": "gas", "name": "e A", "products": [{"name": "A"}]},
    ],
}
ROWS = {
    "headers": ["time.s", "ENV.temperature.K", "ENV.pressure.Pa", "CONC.A.mol m-3"],
    "rows": [[0, 290.0, 9e4, 0.5], [120.0, 280.0, None, None]],
}


def run_file(folder, data=(ROWS,), **more):
    """A run file; what is `None` is left out."""
    whole = {
        "__source": "a comment",
        "box model options": OPTIONS,
        "conditions": {"data": list(data)},
        "mechanism": MECHANISM,
        **more,
    }
    path = folder / "my_config.json"
    path.write_text(json.dumps({k: v for k, v in whole.items() if v is not None}, indent=1))
    return path


def quiet(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_run(path)


def test_the_network_is_that_under_mechanism(tmp_path):
    path = run_file(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = jaxchem.load(path)
    with pytest.warns(UserWarning, match="zero, as in MusicBox,.*: PHOTO.B->A, EMIS.e A"):
        read_run(path)
    assert network.equations == ("A -> B", "B -> A", "-> A") and network.units == ("mol m-3", "s")
    assert dict(network.initial) == {"A": 0.5}
    own = {"temperature": 290.0, "pressure": 9e4, "start": 0.0, "end": 360.0, "step": 60.0}
    assert dict(network.defaults) == own
    k = network.rates(quantities={"*": 0.0})
    np.testing.assert_allclose(k, [2.0 * math.exp(-1000 / 290), 0.0, 0.0], rtol=1e-14)


def test_conditions_are_held_until_the_next(tmp_path):
    light = {"headers": ["time.s", "PHOTO.B->A.s-1"], "rows": [[60, 1e-3], [180, 3e-3]]}
    (tmp_path / "more.csv").write_text(
        "time.s, EMIS.e A.mol m-3 s-1, CONC.B\n0, 1e-4, 0.25\n\n180.0,, None\n"
    )
    path = run_file(tmp_path, conditions={"filepaths": ["more.csv"], "data": [ROWS, light]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = read_run(path)
    assert run.initial == {"A": 0.5, "B": 0.25} and run.jumps == {}
    assert run.conditions["pressure"] == 9e4
    assert run.conditions["quantities"]["EMIS.e A"] == 1e-4
    np.testing.assert_array_equal(run.times, 60.0 * np.arange(7))
    temperature, light = run.conditions["temperature"], run.conditions["quantities"]["PHOTO.B->A"]
    assert [float(temperature(t)) for t in (-1.0, 0.0, 119.9, 120.0, 1e9)] == [
        *(290.0, 290.0, 290.0),
        *(280.0, 280.0),
    ]
    assert [float(light(t)) for t in (0.0, 59.9, 60.0, 179.9, 180.0)] == [
        0.0,
        0.0,
        1e-3,
        1e-3,
        3e-3,
    ]
    k = run.network.rates(**run.conditions)
    np.testing.assert_allclose(k(200.0), [2 * math.exp(-1000 / 280), 3e-3, 1e-4], rtol=1e-14)


JUMPS = (
    {"headers": ["time.s", "PHOTO.B->A.s-1"], "rows": [[0, 0.0], [60, 1e-2]]},
    {"headers": ["time.s", "CONC.B.mol m-3"], "rows": [[150.0, 2.0], [240.0, 0.125]]},
)


def pieces(breaks, ts):
    """States at `ts` by SciPy, from piece to piece: begin, temperature, light, B that is set."""
    y, found = np.array([0.5, 0.0]), {}
    ends = [b[0] for b in breaks[1:]] + [ts[-1]]
    for (begin, temperature, light, b), end in zip(breaks, ends, strict=True):
        y = np.array([y[0], b]) if b is not None else y
        k = 2 * math.exp(-1000 / temperature)
        wanted = [t for t in ts if begin < t <= end] or [end]
        flow = solve_ivp(
            lambda t, y, k=k, light=light: [light * y[1] - k * y[0], k * y[0] - light * y[1]],
            *((begin, end), y, "Radau"),
            t_eval=sorted({*wanted, end}),
            **{"rtol": 1e-11, "atol": 1e-14},
        )
        found |= dict(zip(flow.t, flow.y.T, strict=True))
        y = flow.y[:, -1]
    return np.array([[0.5, 0.0], *(found[t] for t in ts[1:])])


def test_the_run_integrates_as_a_box(tmp_path):
    run = quiet(run_file(tmp_path, [ROWS, JUMPS[0]]))
    k = run.network.rates(**run.conditions)
    ys = jaxchem.solve(
        *(run.network, k, run.network.y0(run.initial), jnp.asarray(run.times)), rtol=1e-9
    ).ys
    expected = pieces(
        [(0, 290, 0.0, None), (60, 290, 1e-2, None), (120, 280, 1e-2, None)], run.times
    )
    np.testing.assert_allclose(ys, expected, rtol=1e-6, atol=1e-9)


def test_simulate_takes_the_run_with_its_jumps(tmp_path):
    path = run_file(tmp_path, [ROWS, *JUMPS])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = jaxchem.load(path)
        integrator = Integrator(rtol=1e-9, atol=1e-14)
        found = simulate(network, integrator, file=str(path), days=None, every=None, budgets=[])
    breaks = [(0, 290, 0.0, None), (60, 290, 1e-2, None), (120, 280, 1e-2, None)]
    breaks += [(150, 280, 1e-2, 2.0), (240, 280, 1e-2, 0.125)]
    ts = np.asarray(found.trajectory["time"])
    np.testing.assert_array_equal(ts, 60.0 * np.arange(7))
    states = np.asarray(found.trajectory["concentration"])[0]
    np.testing.assert_allclose(states, pieces(breaks, ts), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "unit, factor",
    [
        ("ppb", 1e-9 * 9e4 / (R * 290.0)),
        ("mol mol-1", 9e4 / (R * 290.0)),
        ("mol cm-3", 1e6),
        ("molecule cm-3", 1e6 / 6.02214076e23),
        ("molec m-3", 1 / 6.02214076e23),
    ],
)
@pytest.mark.parametrize("style", ["CONC.B.{}", "CONC.B [{}]"])
def test_other_units_are_converted_and_told(unit, factor, style, tmp_path):
    more = {"headers": ["time.s", style.format(unit)], "rows": [[0, 4.0], [60, 8.0]]}
    with pytest.warns(UserWarning, match=f"converted to mol m-3.*CONC.B.{unit}"):
        run = read_run(run_file(tmp_path, [more, ROWS]))
    assert run.initial["B"] == pytest.approx(4.0 * factor, rel=1e-9)
    assert run.jumps == {60.0: {"B": pytest.approx(8.0 * factor, rel=1e-9)}}


def test_later_tables_go_before_and_what_is_no_use_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("time.s,ENV.temperature.K,CONC.X.mol m-3\n0.0,300.0,1.0\n")
    path = run_file(tmp_path, conditions={"data": [ROWS], "filepaths": ["a.csv"]})
    with pytest.warns(UserWarning) as caught:
        run = read_run(path)
    told = " ".join(str(w.message) for w in caught)
    assert "given twice, of which the last counts: ENV.temperature at 0 s" in told
    assert "no such species or rate: CONC.X.mol m-3" in told
    assert float(run.conditions["temperature"](0.0)) == 290.0


def test_a_run_without_conditions_has_those_of_musicbox(tmp_path):
    run = quiet(run_file(tmp_path, []))
    assert run.conditions["temperature"] == 298.15 and run.conditions["pressure"] == 101325.0
    assert run.initial == {} and "temperature" not in dict(run.network.defaults)


def test_sections_of_musicbox_2(tmp_path):
    (tmp_path / "late.csv").write_text("time.s,ENV.temperature [K]\n60,250\n")
    path = run_file(
        tmp_path,
        **{
            "conditions": None,
            "environmental conditions": {"pressure": {"initial value [hPa]": 900.0}},
            "initial conditions": {
                "data": [["ENV.temperature [K]", "CONC.A [mol m-3]"], [290.0, 0.5]]
            },
            "evolving conditions": {"filepaths": ["late.csv"]},
        },
    )
    run = quiet(path)
    assert run.conditions["pressure"] == 9e4 and run.initial == {"A": 0.5}
    assert [float(run.conditions["temperature"](t)) for t in (0.0, 60.0)] == [290.0, 250.0]


def test_particles(tmp_path):
    mechanism = copy.deepcopy(MECHANISM)
    mechanism["species"][0] |= {"molecular weight [kg mol-1]": 6, "__": ""}
    mechanism["phases"][0]["species"][0] = {"name": "A", "diffusion coefficient [m2 s-1]": 1e-9}
    mechanism["reactions"] = [
        {
            **{"type": "SURFACE", "name": "s", "reaction probability": 1.0, "gas phase": "gas"},
            **{"gas-phase species": "A", "gas-phase products": [{"name": "B"}]},
        }
    ]
    labels = ["SURF.s.effective radius.m", "SURF.s.particle number concentration.# m-3"]
    old = ["SURFACE.s.m", "SURF.s.particle number concentration [# m-3]"]
    speed = math.sqrt(8 * R * 290.0 / (math.pi * 6.0))
    expected = 4 * math.pi * 1e-14 * 1e12 / (1e-7 / 1e-9 + 4 / speed)
    for named in (labels, old):
        table = {"headers": ["time.s", *named], "rows": [[0, 1e-7, 1e12]]}
        run = quiet(run_file(tmp_path, [ROWS, table], mechanism=mechanism))
        k = run.network.rates(**run.conditions)(0.0)
        np.testing.assert_allclose(k, [expected], rtol=1e-6)


def test_an_old_run_is_refused_with_its_mechanism(tmp_path):
    old = [{"type": "CAMP", "configuration file": "camp_data/config.json"}]
    path = run_file(tmp_path, mechanism=None, **{"model components": old})
    sentence = (
        r"line \d+: an old MusicBox run; read its CAMP mechanism 'camp_data/config.json' instead"
    )
    with pytest.raises(MechanismError, match=sentence):
        jaxchem.load(path)


def test_a_condition_file_that_is_not_there(tmp_path):
    path = run_file(tmp_path, conditions={"filepaths": ["gone.csv"]})
    with pytest.raises(MechanismError, match=r"line \d+: there is no file 'gone.csv'"):
        read_run(path)
    with pytest.warns(UserWarning, match="no file 'gone.csv'.*its conditions are left out"):
        assert len(jaxchem.load(path).equations) == 3


@pytest.mark.parametrize(
    "words, more",
    [
        ("'output time step' is missing", {"box model options": {"grid": "box"}}),
        ("write one of s, sec, min", {"box model options": {"simulation length [year]": 1}}),
        ("'box' can be read", {"box model options": {"grid": "column"}}),
        ("unknown option 'days'", {"box model options": {"days": 1}}),
        ("lies between 0 and", {"box model options": {"simulation length [day]": -1}}),
        (
            "outputs; make the run shorter",
            {"box model options": {"output time step [s]": 1e-9, "simulation length [s]": 9e9}},
        ),
        ("'mechanism' is missing", {"mechanism": None}),
        ("'version' is missing", {"mechanism": {"name": "x"}}),
        ("unknown key 'condition'", {"condition": {}}),
        ("'box model options' is missing", {"box model options": None}),
        ("'time.s' is missing", {"data": [{"headers": ["CONC.A"], "rows": [[1]]}]}),
        ("2 values stand under 1 columns", {"data": [{"headers": ["time.s"], "rows": [[0, 1]]}]}),
        ("the time is -1 s", {"data": [{"headers": ["time.s"], "rows": [[-1]]}]}),
        ("no unit", {"data": [{"headers": ["time.s", "CONC.A.kg"], "rows": []}]}),
        ("unknown column 'A'", {"data": [{"headers": ["time.s", "A"], "rows": []}]}),
        ("must be positive", {"data": [{"headers": ["time.s", "CONC.A"], "rows": [[0, -1]]}]}),
        ("not a finite number", {"data": [{"headers": ["time.s", "CONC.A"], "rows": [[0, "x"]]}]}),
        (
            "given twice at 0 s",
            {"data": [{"headers": ["time.s", "CONC.A"], "rows": [[0, 1], [0.0, 2]]}]},
        ),
        (
            "write SURF.s.effective radius.m",
            {"data": [{"headers": ["time.s", "SURF.s.size"], "rows": []}]},
        ),
    ],
)
def test_malformed(words, more, tmp_path):
    words = words.replace("no unit", "the unit 'kg' of CONC.A: write mol m-3")
    path = run_file(tmp_path, **more)
    with pytest.raises(MechanismError, match=r"my_config\.json, line \d+: ") as error:
        read_run(path)
    assert words in str(error.value)


def test_looks_like():
    whole = {"box model options": OPTIONS, "mechanism": MECHANISM}
    assert musicbox.looks_like(json.dumps(whole)) and not musicbox.looks_like(json.dumps(MECHANISM))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(loads(json.dumps({"mechanism": MECHANISM, "conditions": {}})).equations) == 3


def test_a_table_of_conditions_by_itself(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "time.s,ENV.temperature.K,PHOTO.x.s-1,CONC.A.mol m-3\n0,280,1e-3,2\n60,280,2e-3,\n"
    )
    initial, conditions = initial_conditions(path)
    assert initial == {"A": 2.0} and conditions["temperature"] == 280.0
    assert "pressure" not in conditions
    assert float(conditions["quantities"]["PHOTO.x"](60.0)) == 2e-3
    path.write_text("time.s,CONC.A.mol m-3\n0,2\n60,1\n")
    with pytest.raises(MechanismError, match=r"table\.csv, line 1: concentrations are set at 60 s"):
        initial_conditions(path)


def test_public_runs():
    folder = ("data", "mechanisms", "musicbox")
    runs = {
        name: quiet(shared(*folder, name, file))
        for name, file in {
            **dict.fromkeys(("analytical", "chapman", "flow_tube"), "my_config.json"),
            **{"surface": "surface.v1.config.json"},
            **{"waccm_evolving_conditions": "my_config.json"},
        }.items()
    }
    run = runs["analytical"]
    k = run.network.rates(**run.conditions)
    np.testing.assert_allclose(k, [100124.893845, 0.00513610166675], rtol=1e-10)
    y0 = run.network.y0(run.initial)
    ys = jaxchem.solve(run.network, k, y0, jnp.array([6.0, 60.0]), rtol=1e-10, atol=1e-18).ys
    expected = [
        [0.775722705204, 3.97922108129e-08, 0.524277255004],
        [0.587834606967, 3.015412395e-08, 0.712165362879],
    ]
    np.testing.assert_allclose(ys, expected, rtol=1e-6)
    run = runs["chapman"]
    light = run.conditions["quantities"]
    assert [float(light["PHOTO.O3_2"](t)) for t in (1800.0, 7e4)] == [0.000433514, 0.000531644]
    air = 1394.3 / (R * 217.6)
    k = run.network.rates(**run.conditions)(0.0)
    np.testing.assert_allclose(
        k[:4], [21459935.3672, 25584937.8258, 374.408761492, 470.286733803 * air], rtol=1e-9
    )
    assert len(run.times) == 4321
    run = runs["surface"]
    np.testing.assert_allclose(run.network.rates(**run.conditions), [0.00125509406787], rtol=1e-6)
    assert runs["flow_tube"].conditions["quantities"]["USER.SOA2 wall loss"] == 0.05
    run = runs["waccm_evolving_conditions"]
    assert run.jumps[86400.0]["O3"] == 1.5051626147587015e-06
    assert float(run.conditions["temperature"](86400.0)) == 296.0639953613281
