"""What is drawn: ranges that are filled, constraints that hold, seeds that stay apart."""

import itertools

import numpy as np
import pytest
from problems import clouds

import jaxchem
from jaxchem.dataset import draw, stream
from jaxchem.stages import Plan


@pytest.fixture(scope="module")
def osu29():
    return jaxchem.load("osu29")


@pytest.mark.parametrize("sampler", ["sobol", "halton", "latin_hypercube"])
def test_ranges_are_filled(osu29, sampler):
    """Evenly in the logarithm, or linearly; every range apart, and again from the same seed."""
    how = {
        "initial": {"C": (1e-3, 1e3), "O": 2.0, "H": {"low": 0.0, "high": 4.0, "scale": "linear"}},
        "conditions": {"temperature": [10.0, 1000.0]},
        "fixed": {"cosmic_ray_rate": 1e-17},
        "sampler": sampler,
    }
    y0, given = draw(osu29, cases=64, **how)
    units = {
        "C": (np.log10(y0[:, osu29.index("C")]) + 3) / 6,
        "H": y0[:, osu29.index("H")] / 4,
        "temperature": np.log10(given["temperature"] / 10) / 2,
    }
    for unit in units.values():
        assert unit.min() >= 0 and unit.max() <= 1
        counts = np.histogram(unit, 8, (0, 1))[0]
        assert np.all(np.abs(counts - 8) <= (2 if sampler == "halton" else 0))
    for a, b in itertools.combinations(units.values(), 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.35
    np.testing.assert_array_equal(y0[:, osu29.index("O")], 2.0)
    np.testing.assert_array_equal(given["cosmic_ray_rate"], 1e-17)
    np.testing.assert_array_equal(draw(osu29, cases=64, **how)[0], y0)
    assert np.all(draw(osu29, cases=64, **how, seed=1)[0][:, 0] != y0[:, 0])


def test_clouds_are_neutral_and_hold_their_oxygen(osu29):
    y0, given = clouds(osu29, cases=16, density=(1e2, 1e6), oxygen_ratio=(1.0, 10.0))
    charge = np.asarray(osu29.composition)[osu29.elements.index("charge")]
    np.testing.assert_allclose(y0 @ charge, 0, atol=1e-12 * y0.max())
    np.testing.assert_allclose(y0[:, osu29.index("H2")], given["density"])
    carbon = y0[:, osu29.index("C")] + y0[:, osu29.index("C+")]
    ratio = y0[:, osu29.index("O")] / carbon
    assert ratio.min() >= 1 - 1e-9 and ratio.max() <= 10 + 1e-9 and np.ptp(ratio) > 5
    np.testing.assert_allclose(y0[:, osu29.index("CO")], 1e-20 * given["density"])


def test_no_data_of_two_seeds_or_uses_are_alike(osu29):
    """No state of training, test or noise of one seed is any other's."""
    drawn = [
        clouds(osu29, cases=256, temperature=(10.0, 300.0), seed=stream(seed, use))[0]
        for seed in range(5)
        for use in ("train", "test", "noise")
    ]
    rows = np.concatenate(drawn)
    assert len(np.unique(rows, axis=0)) == len(rows) == 15 * 256
    carbon = rows[:, osu29.index("C")]
    assert len(np.unique(carbon)) == len(rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cases": 0}, r"cases=0: draw one case at least"),
        ({"sampler": "sobel"}, r"unknown sampler 'sobel'; known: sobol, halton, latin_hypercube"),
        ({"initial": {"C": (0.0, 1.0)}}, r"C: \[0.0, 1.0\] \(log\) is no range; give 0 < smallest"),
        ({"initial": {"C": (2.0, 1.0)}}, r"C: \[2.0, 1.0\] \(log\) is no range"),
        ({"initial": {"C": -1.0}}, r"C: \[-1.0\] \(log\) is no range"),
        ({"initial": {"C": (1.0, 2.0, 3.0)}}, r"is no range"),
        ({"initial": {"C": {"low": 1.0}}}, r"C: {'low': 1.0} is no range; give low, high"),
        ({"initial": {"Cx": 1.0}}, r"unknown species 'Cx'"),
        ({"initial": {"C": {"ratio": 1.0, "of": ["Ox"]}}}, r"unknown species 'Ox'"),
        (
            {"conditions": {"temprature": 1.0}},
            r"condition 'temprature', which there is not; did you mean 'temperature'\? Known: temp",
        ),
        (
            {"conditions": {"temperature": 1.0}, "fixed": {"temperature": 10.0}},
            r"temperature is given by `conditions` and by `data.draw.conditions`",
        ),
        ({"initial": {"C": {"ratio": 1.0, "of": "CO"}}}, r"C: .* is no ratio; give"),
        (
            {"initial": {"C": {"ratio": 1.0, "of": ["O"], "low": 1.0}}},
            r"C: .* is no ratio; give .* no other key",
        ),
        (
            {"initial": {f: {"ratio": 1.0, "of": [o]} for f, o in (("C", "O"), ("O", "H"))}},
            r"C is a ratio of O, which itself follows",
        ),
        ({"initial": {"e": 1.0}, "balance": "e"}, r"e by `initial` and by `balance`"),
        (
            {"fixed": {"temperature": [1.0, 2.0]}},
            r"temperature is \[1.0, 2.0\], which is no number",
        ),
        ({"fixed": {"quantities": {"J": "x"}}}, r"the condition J is 'x', which is no number"),
        ({"fixed": {"density": {"J": 1.0}}}, r"the condition density is {.*, which is no number"),
        ({"line": {"value": 1.0}}, r"line={'value': 1.0}: give value and exponents"),
        (
            {"conditions": {"temperature": {"low": 1.0, "high": 2.0, "power": 0.0}}},
            r"temperature: power=0.0; give a positive number",
        ),
        ({"over": "density"}, r"over='density' is no condition that is given"),
        ({"line": {"value": 1.0, "exponents": {"density": 1.0}}}, r"'density' is no condition"),
        ({"balance": "H2"}, r"balance='H2' has no charge"),
        ({"initial": {"C+": 1.0}, "balance": "HCO+"}, r"HCO\+ would have to be -1 to make"),
    ],
)
def test_bad_draws(osu29, settings, message):
    with pytest.raises(ValueError, match=message):
        draw(osu29, **{"cases": 4, "initial": {"C": 1.0}, **settings})


def test_nothing_leaves_a_range_out(osu29):
    """As of data that are others' but for that."""
    how = {"cases": 4, "initial": {"C": 1.0, "O": None}, "conditions": {"temperature": None}}
    y0, given = draw(osu29, **how)
    assert given == {} and np.all(y0[:, osu29.index("O")] == 0)


def test_mole_fractions():
    """p / (k T) molecules, Boltzmann's constant being 1.380649e-23 J K-1 (CODATA 2018)."""
    network = jaxchem.load("mcm_methane")
    conditions = {"temperature": [250.0, 300.0], "pressure": [8e4, 1e5]}
    how = {"conditions": conditions, "initial": {"O3": 40e-9}, "over": "density"}
    y0, given = draw(network, cases=8, **how)
    air = given["pressure"] / (1.380649e-23 * given["temperature"]) * 1e-6
    np.testing.assert_allclose(y0[:, network.index("O3")], 40e-9 * air, rtol=1e-12)
    assert set(given) == {"temperature", "pressure"}


def test_more_near_one_end(osu29):
    """Of 1 - (1 - u)^2 a half lies above 3/4, as u does above 1/2."""
    ranges = {"temperature": {"low": 0.0, "high": 4.0, "scale": "linear", "power": 2.0}}
    _, given = draw(osu29, cases=1024, initial={"C": 1.0}, conditions=ranges)
    counts = np.histogram(given["temperature"], [0.0, 1.75, 3.0, 3.75, 4.0])[0]
    np.testing.assert_array_equal(counts, 256)


def test_unknown_settings_of_a_draw(osu29, tmp_path):
    settings = {"test": {"path": None}, "split": None, "path": None, "t0": 0.0}
    settings |= {"draw": {"cases": 4, "inital": {"C": 1.0}}}
    with pytest.raises(ValueError, match=r"data.draw.inital is no setting; did you mean 'initial'"):
        Plan(settings, osu29, {}, seed=0, folder=tmp_path)


def test_no_seed_draws_what_another_does(osu29):
    """Train, test and validation draws of five data seeds share no cloud."""
    ranges = {"temperature": [10.0, 300.0], "cosmic_ray_rate": [1e-18, 1e-15]}
    seen = set()
    for seed in range(5):
        for name in ("train", "test", "validation"):
            how = {"cases": 256, "initial": {"C": [1e-6, 1e-4]}, "conditions": ranges}
            y0, given = draw(osu29, **how, seed=stream(seed, name))
            rows = {row.tobytes() for row in np.column_stack([y0, *given.values()])}
            assert len(rows) == 256 and not rows & seen
            seen |= rows


def test_states_after_a_while(osu29, tmp_path):
    """Drawn states are integrated before they count; the solver says the same from the start."""
    settings = {"test": None, "split": None, "path": None, "t0": 0.0, "observe": {}}
    settings |= {"draw": {"cases": 4, "initial": {"C": [1e-5, 1e-4], "H2": 1.0}}}
    settings |= {"times": {"start": 1e10, "stop": 1e12, "points": 3, "spacing": "log"}}
    settings |= {"solver": {"rtol": 1e-8, "atol": 1e-20}, "spin_up": 1e11, "floor": 0.0}
    conditions = {"temperature": 50.0, "cosmic_ray_rate": 1e-16, "density": 1.0}
    data = Plan(settings, osu29, conditions, seed=0, folder=tmp_path).make(progress=False)
    y0, _ = draw(osu29, **settings["draw"], seed=stream(0, "train"))
    k = osu29.rates(**conditions)
    for n in range(4):
        how = {"rtol": 1e-9, "atol": 1e-21}
        expected = jaxchem.solve(osu29, k, y0[n], [1e11, 1.1e11, 2e11], **how).ys
        np.testing.assert_allclose(data.seen.y0[n], expected[0], rtol=1e-5, atol=1e-18)
        np.testing.assert_allclose(data.seen.states[n, 1], expected[2], rtol=1e-5, atol=1e-18)
