"""Courses of days: the sun, segments that follow each other, and how chains are measured."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_change_map import chain, observed
from test_change_map import network as network

import jaxchem
from jaxchem.dataset import course, observe, scattered, under
from jaxchem.models import About, AbstractEmulator, along
from jaxchem.stages.prepare import Plan


def test_where_the_sun_stands():
    """Beside the declination of Cooper (1969), which is right to a degree or two."""
    how = {"latitude": {"low": -60.0, "high": 60.0, "scale": "linear"}, "start": 0.0, "swing": 4.0}
    day = {"low": 1.0, "high": 364.0, "scale": "linear"}
    along = course(200, segments=24, length=3600.0, day=day, seed=1, **how)
    assert {v.shape for v in along.values()} == {(200, 24)}
    warmest = along["temperature"].argmax(axis=1)
    assert set(warmest) <= {14, 15}
    np.testing.assert_allclose(along["temperature"].max(), 4 * np.cos(np.pi / 24), rtol=1e-12)
    fixed = {"latitude": 48.0, "day": 171.0, "start": 6.0}
    angle = course(1, segments=12, length=3600.0, **fixed)["solar_zenith_angle"][0]
    tilt = np.deg2rad(23.45 * np.sin(2 * np.pi * (284 + 172) / 365))
    hours = 2 * np.pi * (np.arange(6.5, 18.0) - 12) / 24
    place = np.deg2rad(48.0)
    cosine = np.sin(place) * np.sin(tilt) + np.cos(place) * np.cos(tilt) * np.cos(hours)
    np.testing.assert_allclose(angle, np.arccos(cosine), atol=np.deg2rad(1.0))
    night = course(1, segments=2, length=3600.0, **{**fixed, "start": 23.0, "day": 0.0})
    np.testing.assert_array_equal(night["solar_zenith_angle"], np.pi / 2)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"segments": 0}, "a course of 0 segments of 3600 s"),
        ({"latitude": [1.0, -1.0]}, r"data.course.latitude: \[1.0, -1.0\] \(log\) is no range"),
    ],
)
def test_bad_courses(how, message):
    how = {"segments": 2, "length": 3600.0, "latitude": 0.0, "day": 0.0, "start": 0.0, **how}
    with pytest.raises(ValueError, match=message):
        course(4, **how)


def test_what_a_course_is_about():
    along = course(3, segments=2, length=3600.0, latitude=0.0, day=0.0, start=12.0, swing=2.0)
    with pytest.raises(ValueError, match="wants a temperature, about which it varies"):
        under({"pressure": np.ones(3)}, along, 0)
    with pytest.raises(ValueError, match="leave solar_zenith_angle out"):
        under({"temperature": np.ones(3), "solar_zenith_angle": np.ones(3)}, along, 0)


SECTION = {
    "path": None,
    "t0": 0.0,
    "time_scale": 1.0,
    "floor": 0.0,
    "counted": 0.0,
    "split": None,
    "observe": {},
    "test": {"draw": {"cases": 2}},
    "draw": {
        "cases": 3,
        "conditions": {
            "temperature": {"low": 270.0, "high": 300.0, "scale": "linear"},
            "pressure": 1e5,
            "relative_humidity": 0.5,
        },
        "initial": {"O3": [2e-8, 8e-8], "NO2": [1e-9, 1e-8], "CO": 1e-7, "CH4": 1.8e-6},
        "over": "density",
    },
    "course": {"segments": 3, "latitude": 40.0, "day": 100.0, "start": 16.0, "swing": 5.0},
    "spin_up": 600.0,
    "times": {"start": 900.0, "stop": 3600.0, "points": 4},
    "solver": {"rtol": 1e-6},
}


def test_each_segment_begins_where_the_one_before_ends(tmp_path):
    network = jaxchem.load("mcm_methane")
    data = Plan(SECTION, network, {}, seed=0, folder=tmp_path).make(progress=False)
    seen, test = data.seen, data.test
    assert (seen.segments, len(seen.y0), len(test.y0)) == (3, 9, 6)
    values = np.asarray(seen.states).reshape(3, 3, 4, -1)
    np.testing.assert_array_equal(np.asarray(seen.y0).reshape(3, 3, -1)[:, 1:], values[:, :2, -1])
    told = np.asarray(seen.conditions).reshape(3, 3, -1)
    angle = told[..., seen.names.index("solar_zenith_angle")]
    np.testing.assert_array_equal(angle[0], angle[1])
    assert np.all(np.diff(angle[0]) > 0.1) and angle[0, 2] == np.pi / 2
    warm = told[..., seen.names.index("temperature")]
    fall = 5 * np.cos(2 * np.pi * (np.array([16.5, 17.5, 18.5]) - 15) / 24)
    np.testing.assert_allclose(warm - warm[:, :1], np.tile(fall - fall[0], (3, 1)), atol=1e-9)
    given = dict(zip(seen.names, told[1, 2], strict=True))
    k = network.rates(**seen.fixed, **given)
    exact = jaxchem.generate(network, k, values[1, 1, -1][None], seen.ts, progress=False)
    truth = exact["concentration"].values[0]
    counts = truth > 1e5
    np.testing.assert_allclose(values[1, 2][counts], truth[counts], rtol=1e-5)
    # as they are read back
    again = Plan(SECTION, network, {}, seed=0, folder=tmp_path).make(progress=False)
    assert again.test.segments == 3
    np.testing.assert_array_equal(again.seen.states, seen.states)
    # what is no longer a course says so
    assert observe(data.held, network, cases=1).segments == 1 == seen.first(2).segments
    minutes = dataclasses.replace(network, units=network.units._replace(time="min"))
    with pytest.raises(ValueError, match=r"counts in min; data\.course wants s"):
        Plan(SECTION, minutes, {}, seed=0, folder=tmp_path / "min").make(progress=False)
    with pytest.raises(ValueError, match="would part the segments of a course"):
        Plan({**SECTION, "split": 0.5}, network, {}, seed=0, folder=tmp_path)


def test_starts_that_are_off_are_solved_from_there(tmp_path):
    network = jaxchem.load("mcm_methane")
    scatter = {"dex": 0.03, "negligible": 1e4, "share": 1e-3}
    test = {"draw": {"cases": 2}, "course": {"segments": 4}}
    section = {**SECTION, "scatter": scatter, "test": test}
    data = Plan(section, network, {}, seed=0, folder=tmp_path).make(progress=False)
    seen = data.seen
    assert (seen.segments, data.test.segments) == (1, 4)  # what is off is no chain; the test is one
    ends = np.asarray(data.test.states).reshape(2, 4, 4, -1)[:, :3, -1]
    np.testing.assert_array_equal(np.asarray(data.test.y0).reshape(2, 4, -1)[:, 1:], ends)
    y0, before = np.asarray(seen.y0).reshape(3, 3, -1), np.asarray(seen.states).reshape(3, 3, 4, -1)
    begin, end = y0[:, 1:], before[:, :2, -1]
    much = end > 1e7
    off = np.log10(begin[much] / end[much])
    assert len(off) > 50 and 0.02 < off.std() < 0.04 and abs(off.mean()) < 0.01
    # and solved from there, by SciPy
    given = dict(zip(seen.names, np.asarray(seen.conditions)[5], strict=True))
    k = network.rates(**seen.fixed, **given)
    exact = jaxchem.generate(network, k, np.asarray(seen.y0)[5][None], seen.ts, progress=False)
    truth = exact["concentration"].values[0]
    counts = truth > 1e5
    np.testing.assert_allclose(np.asarray(seen.states)[5][counts], truth[counts], rtol=1e-5)
    # each segment by itself, and the same in another folder
    moved = np.log10((begin + 1.0) / (end + 1.0))
    assert np.abs(moved[:, 0] - moved[:, 1])[much.all(axis=1)].min() > 0
    again = Plan(section, network, {}, seed=0, folder=tmp_path / "2").make(progress=False)
    np.testing.assert_array_equal(again.seen.y0, seen.y0)
    plain = Plan({**section, "scatter": None}, network, {}, seed=0, folder=tmp_path / "3")
    np.testing.assert_array_equal(plain.make(progress=False).seen.conditions, seen.conditions)


def test_drawn_starts_are_scattered_too(tmp_path):
    network = jaxchem.load("mcm_methane")
    scatter = {"dex": 0.03, "negligible": 1e4, "share": 1e-3}
    whole = {"low": 0.0, "high": 1.5, "scale": "linear"}
    conditions = {**SECTION["draw"]["conditions"], "solar_zenith_angle": whole}
    drawn = {**SECTION["draw"], "conditions": conditions}
    section = {**SECTION, "draw": drawn, "course": None, "scatter": scatter}
    made = [
        Plan({**section, **how}, network, {}, seed=0, folder=tmp_path / str(n)).make(progress=False)
        for n, how in enumerate(({}, {"scatter": None}))
    ]
    off, plain = (np.asarray(data.seen.y0) for data in made)
    much = plain > 1e7
    assert 0.015 < np.log10(off[much] / plain[much]).std() < 0.045
    np.testing.assert_array_equal(made[0].test.y0, made[1].test.y0)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"scatter": {"dex": 0.03}}, "data.scatter={'dex': 0.03}: give dex, negligible, share"),
        ({"scatter": {"dex": -1.0, "negligible": 1.0, "share": 1.0}}, "all positive"),
        ({"test": {}}, "what is measured on must not be: give data.test"),
        ({"test": {**SECTION["test"], "scatter": {"dex": 1.0}}}, "data.test.scatter"),
        ({"draw": {**SECTION["draw"], "balance": "e"}}, "would undo data.draw.balance"),
    ],
)
def test_bad_scatter(tmp_path, how, message):
    scatter = {"dex": 0.03, "negligible": 1e4, "share": 1e-3}
    with pytest.raises(ValueError, match=re.escape(message)):
        section = {**SECTION, "scatter": scatter, **how}
        Plan(section, jaxchem.load("mcm_methane"), {}, seed=0, folder=tmp_path)


def test_scattered_states():
    y0 = np.full((20_000, 4), [1e8, 1e5, 0.0, 0.0])
    y0[0, :3] = 1e8, 1e7, 1e7
    found = scattered(y0, dex=0.1, negligible=1e5, share=1e-3, seed=3)
    # log10(y + F) is off by 0.1: of the second F is 1e4, a thousandth of the most
    for n, amount in enumerate((1e5, 1e4)):
        moved = np.log10((found[1:, n] + amount) / (y0[1:, n] + amount))
        assert abs(moved.std() - 0.1) < 0.002 and abs(moved.mean()) < 0.003
    assert np.all(found >= 0) and 0.4 < np.mean(found[:, 2] == 0) < 0.6
    assert np.all(found[:, 3] == 0)  # what is nowhere is not made


class Off(AbstractEmulator):
    """The solution, too much by a part."""

    about: About
    part: float

    @property
    def restarts(self):
        return True

    def predict(self, y0, conditions, ts):
        a, b, c = y0
        k, m = 1e-3 * conditions[0] / 300, 2e-3
        first, second = jnp.exp(-k * ts), jnp.exp(-m * ts)
        left = b * second + a * k / (m - k) * (first - second)
        return (1 + self.part) * jnp.stack([a * first, left, a + b + c - a * first - left], axis=1)


@pytest.fixture
def courses(network):
    """Of four half days, in which nothing but the temperature differs."""
    data = observed(network, 12, 3)
    ts = jnp.array([10.0, 20.0, 43200.0])
    y0, temperature = np.asarray(data.y0[:3]), np.asarray(data.conditions[:, 0])
    states, starts = [], []
    for n in range(4):
        starts.append(y0)
        states.append(chain(y0, temperature[n::4], np.asarray(ts)))
        y0 = np.maximum(states[-1][:, -1], 1e-6)  # all but gone
    values = np.stack(states, axis=1).reshape(12, 3, 3)
    whole = np.stack(starts, axis=1).reshape(12, 3)
    return dataclasses.replace(
        data, ts=ts, values=jnp.asarray(values), y0=jnp.asarray(whole), segments=4
    )


def test_segments_follow_each_other(courses):
    """Each from the prediction before, under its own conditions, by hand."""
    model, elapsed = Off(About.of(courses), 0.01), np.asarray(courses.ts)
    y0, conditions = courses.courses
    assert (y0.shape, conditions.shape) == ((3, 3), (3, 4, 1))
    found = jax.vmap(along, (None, 0, 0, None))(model, y0, conditions, courses.ts)
    state, temperature = np.asarray(courses.y0)[::4], np.asarray(courses.conditions)[:, 0]
    for n in range(4):
        by_hand = 1.01 * chain(state, temperature[n::4], elapsed)
        np.testing.assert_allclose(found[:, n], by_hand, rtol=1e-9)
        state = by_hand[:, -1]
    for wrong, shape in ((conditions[0, 0], r"\(1,\)"), ({"temperature": 300.0}, r"\(\)")):
        with pytest.raises(ValueError, match=f"conditions of shape {shape}: give a row"):
            along(model, y0[0], wrong, courses.ts)


def test_chains_add_up_their_errors(courses):
    model = Off(About.of(courses), 0.01)
    found = jaxchem.evaluate(model, courses, counted=1e5, gradients=0).metrics
    one = np.log10(1.01)
    np.testing.assert_allclose(found["mean_dex"], one, rtol=1e-9)
    for segments, day in ((2, 2), (4, 4)):
        np.testing.assert_allclose(found[f"rollout/mean_dex_{segments}"], day * one, rtol=1e-6)
    assert found["rollout/failed"] == 0
    alone = jaxchem.evaluate(model, courses.chosen(slice(12)), gradients=0).metrics
    assert not any(name.startswith(("rollout/mean_dex_", "yesterday")) for name in alone)
    assert 1 < found["rollout/growth"] < 4
    truth = np.asarray(courses.states).reshape(3, 4, 3, 3)
    counts = truth[:, 2:] > 1e5
    with np.errstate(divide="ignore"):
        off = np.abs(np.log10(truth[:, :2] / truth[:, 2:]))
    assert counts.any() and "yesterday/mean_dex" in found
    np.testing.assert_allclose(found["yesterday/mean_dex"], off[counts].mean(), rtol=1e-9)
