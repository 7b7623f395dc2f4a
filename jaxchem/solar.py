"""Where the sun stands: the solar zenith angle at a place and time, for photolysis.

The low-precision formulas of the Astronomical Almanac (Michalsky 1988, Solar Energy 40, 227,
doi:10.1016/0038-092X(88)90045-X): 0.01 degrees between 1950 and 2050, without refraction.
"""

import datetime
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["Sun", "day_number", "solar_zenith_angle"]

_FIRST = datetime.date(2000, 1, 1)


def day_number(day: datetime.date) -> int:
    """Days from 1 January 2000 to this one."""
    return day.toordinal() - _FIRST.toordinal()


def solar_zenith_angle(latitude: Any, longitude: Any, day: Any, time: Any) -> Float[Array, "..."]:
    """The angle between the sun and the vertical [rad], above pi / 2 by night.

    Args:
        latitude: degrees, north positive.
        longitude: degrees, east positive.
        day: a `datetime.date`, or days since 1 January 2000 as `day_number` gives them. Where the
            year does not matter, the day of the year less one is right to half a degree.
        time: seconds since midnight of that day, UTC; any number of them.

    Returns:
        The angle, in the shape that the arguments have together.
    """
    if isinstance(day, datetime.date):
        day = day_number(day)
    hours = jnp.asarray(time, float) / 3600.0
    days = day - 0.5 + hours / 24.0  # since noon of 1 January 2000, J2000.0
    mean_longitude = jnp.radians(280.460 + 0.9856474 * days)
    anomaly = jnp.radians(357.528 + 0.9856003 * days)
    bulge = 1.915 * jnp.sin(anomaly) + 0.020 * jnp.sin(2.0 * anomaly)
    ecliptic = mean_longitude + jnp.radians(bulge)
    obliquity = jnp.radians(23.439 - 4e-7 * days)
    ascension = jnp.arctan2(jnp.cos(obliquity) * jnp.sin(ecliptic), jnp.cos(ecliptic))
    declination = jnp.arcsin(jnp.sin(obliquity) * jnp.sin(ecliptic))
    sidereal = 15.0 * (6.697375 + 0.0657098242 * days + hours)  # degrees, at Greenwich
    hour_angle = jnp.radians(sidereal + longitude) - ascension
    place = jnp.radians(jnp.asarray(latitude, float))
    equator = jnp.cos(declination) * jnp.cos(hour_angle)
    up = jnp.sin(place) * jnp.sin(declination) + jnp.cos(place) * equator
    north = jnp.cos(place) * jnp.sin(declination) - jnp.sin(place) * equator
    west = jnp.cos(declination) * jnp.sin(hour_angle)
    return jnp.arctan2(jnp.hypot(north, west), up)


class Sun(eqx.Module):
    """The sun over one place: its zenith angle as a function of time, for `Network.rates`.

    Example:
        >>> sun = Sun(latitude=61.85, longitude=24.29, day=datetime.date(2024, 6, 21))
        >>> k = network.rates(solar_zenith_angle=sun, temperature=288.0, density=2.5e19)

    Attributes:
        latitude: degrees, north positive.
        longitude: degrees, east positive.
        day: as `solar_zenith_angle` takes it; time 0 is its midnight, UTC.
    """

    latitude: Any
    longitude: Any
    day: Any = eqx.field(
        converter=lambda day: day_number(day) if isinstance(day, datetime.date) else day
    )

    def __call__(self, t: Any) -> Float[Array, "..."]:
        """The solar zenith angle [rad] at `t` seconds since midnight, UTC."""
        return solar_zenith_angle(self.latitude, self.longitude, self.day, t)
