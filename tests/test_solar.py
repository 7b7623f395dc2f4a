"""The sun's place against published values and an independent, longer algorithm."""

import datetime
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxchem.network import Network, Reaction, Units
from jaxchem.solar import Sun, day_number, solar_zenith_angle


def meeus(latitude: float, longitude: float, when: datetime.datetime) -> float:
    """Zenith angle [degrees] after Meeus, Astronomical Algorithms, chapters 7, 12 and 25."""
    julian = (when - datetime.datetime(2000, 1, 1, 12)).total_seconds() / 86400
    c = julian / 36525
    mean = math.radians(357.52911 + 35999.05029 * c - 0.0001537 * c * c)
    centre = (1.914602 - 0.004817 * c - 0.000014 * c * c) * math.sin(mean)
    centre += (0.019993 - 0.000101 * c) * math.sin(2 * mean) + 0.000289 * math.sin(3 * mean)
    node = math.radians(125.04 - 1934.136 * c)
    true = 280.46646 + 36000.76983 * c + 0.0003032 * c * c + centre
    apparent = math.radians(true - 0.00569 - 0.00478 * math.sin(node))
    tilt = math.radians(23.439291 - 0.0130042 * c + 0.00256 * math.cos(node))
    ascension = math.atan2(math.cos(tilt) * math.sin(apparent), math.cos(apparent))
    declination = math.asin(math.sin(tilt) * math.sin(apparent))
    greenwich = 280.46061837 + 360.98564736629 * julian + 0.000387933 * c * c
    hour = math.radians(greenwich + longitude) - ascension
    phi = math.radians(latitude)
    height = math.sin(phi) * math.sin(declination)
    height += math.cos(phi) * math.cos(declination) * math.cos(hour)
    return math.degrees(math.acos(max(-1.0, min(1.0, height))))


def test_worked_example():
    """Reda & Andreas 2004, Solar Energy 76, 577, table A5.1: elevation without refraction."""
    time = 19 * 3600 + 30 * 60 + 30
    angle = solar_zenith_angle(39.742476, -105.1786, datetime.date(2003, 10, 17), time)
    assert math.degrees(float(angle)) == pytest.approx(90 - 39.872046, abs=0.01)


def test_against_an_independent_algorithm():
    draw = np.random.default_rng(5)
    for _ in range(300):
        latitude, longitude = draw.uniform(-90, 90), draw.uniform(-180, 180)
        day = datetime.date(2000, 1, 1) + datetime.timedelta(int(draw.integers(-18000, 18000)))
        time = draw.uniform(0, 86400)
        when = datetime.datetime.combine(day, datetime.time()) + datetime.timedelta(seconds=time)
        angle = solar_zenith_angle(latitude, longitude, day, time)
        assert math.degrees(float(angle)) == pytest.approx(
            meeus(latitude, longitude, when), abs=0.02
        )


def test_day_of_the_year_will_do():
    """The same day of another year differs by less than half a degree."""
    for year in (1999, 2013, 2024, 2039):
        for number in range(1, 366, 7):
            day = datetime.date(year, 1, 1) + datetime.timedelta(number - 1)
            time = 3600.0 * (number % 24)
            when = datetime.datetime.combine(day, datetime.time(number % 24))
            angle = math.degrees(float(solar_zenith_angle(48.0, 11.0, number - 1, time)))
            assert angle == pytest.approx(meeus(48.0, 11.0, when), abs=0.5)


def test_seasons_and_midnight():
    """Solstice of 2024: 20 June, 20:51 UTC, declination 23.44 degrees."""
    day = datetime.date(2024, 6, 20)
    noon = solar_zenith_angle(23.44, 0.0, day, 12 * 3600 + 100.0)
    assert math.degrees(float(noon)) < 0.1
    midnight = solar_zenith_angle(70.0, 0.0, day, 100.0)
    assert math.degrees(float(midnight)) == pytest.approx(180 - 70 - 23.44, abs=0.02)
    assert day_number(datetime.date(2000, 1, 1)) == 0 and day_number(day) == 8937


def test_time_runs_over_midnight():
    late = solar_zenith_angle(10.0, 20.0, 100, 86400.0 + 5000.0)
    np.testing.assert_allclose(late, solar_zenith_angle(10.0, 20.0, 101, 5000.0), rtol=1e-12)


def test_arrays_and_slopes():
    hours = jnp.linspace(0.0, 86400.0, 25)
    found = solar_zenith_angle(51.0, 7.0, 8937, hours)
    assert found.shape == (25,)
    np.testing.assert_allclose(found[7], solar_zenith_angle(51.0, 7.0, 8937, hours[7]), rtol=1e-14)
    places = jax.vmap(lambda phi: solar_zenith_angle(phi, 7.0, 8937, 3e4))(jnp.array([0.0, 51.0]))
    assert places.shape == (2,)
    slope = jax.grad(lambda t: solar_zenith_angle(51.0, 7.0, 8937, t))(3e4)
    ahead, behind = (solar_zenith_angle(51.0, 7.0, 8937, 3e4 + d) for d in (1.0, -1.0))
    np.testing.assert_allclose(slope, (ahead - behind) / 2.0, rtol=1e-6)


def test_single_precision_is_within_a_tenth_of_a_degree():
    arguments = (np.float32(51.0), np.float32(7.0), np.float32(9500), np.float32(40000))
    with jax.enable_x64(False):
        single = float(solar_zenith_angle(*arguments))
    assert math.degrees(abs(single - solar_zenith_angle(51.0, 7.0, 9500, 40000.0))) < 0.1


def test_the_sun_moves_the_rates():
    network = Network.build(
        name="one",
        species={"A": None},
        reactions=[Reaction({"A": 1}, {}, "mcm_photolysis(0.01165, 0.244, 0.267)", "-")],
        units=Units("molecule cm-3", "s"),
    )
    sun = Sun(latitude=61.85, longitude=24.29, day=datetime.date(2024, 6, 21))
    rates = network.rates(solar_zenith_angle=sun)
    assert not isinstance(rates, jax.Array)
    for hour in (0, 6, 10, 22):
        when = datetime.datetime(2024, 6, 21, hour)
        cosine = math.cos(math.radians(meeus(61.85, 24.29, when)))
        expected = 0.01165 * cosine**0.244 * math.exp(-0.267 / cosine) if cosine > 0 else 0.0
        found = eqx.filter_jit(rates)(3600.0 * hour)
        np.testing.assert_allclose(found, [expected], rtol=5e-3, atol=1e-9)
