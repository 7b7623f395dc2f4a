"""Conditions that follow the course of a day, piece by piece."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..solar import solar_zenith_angle
from .design import Range, filled, range_of

__all__ = ["course", "under"]

_DAY = 86400.0
_WARMEST = 15 / 24 * _DAY
"""s since midnight"""


def course(
    cases: int,
    *,
    segments: int,
    length: float,
    latitude: Range,
    day: Range,
    start: Range,
    swing: Range = 0.0,
    sampler: str = "latin_hypercube",
    seed: Any = 0,
) -> dict[str, Float[np.ndarray, "case N"]]:
    """Light and warmth over a day at places and dates that are drawn, as means of pieces of it.

    Within a piece conditions are constant: the sun stands as in its middle, at most on the horizon.

    Args:
        cases: how many courses.
        segments: pieces N of each.
        length: of a piece, s.
        latitude: range in degrees north, as those of `draw`.
        day: of the year, from 0.
        start: of the first piece, hours of local time.
        swing: half the difference of the warmest temperature, at 15:00, and the coldest, K.
        sampler: as of `draw`.
        seed: an integer, or a `stream`.

    Returns:
        `solar_zenith_angle` [rad], and `temperature` as what is to be added to the mean [K].

    Raises:
        ValueError: a range that is none, fewer than one piece, or a length that is not positive.
    """
    if segments < 1 or not 0 < length < np.inf:
        raise ValueError(
            f"a course of {segments} segments of {length:g} s; give one or more, of some length."
        )
    given = {"latitude": latitude, "day": day, "start": start, "swing": swing}
    ranges = {
        name: range_of(f"data.course.{name}", value, least=-np.inf) for name, value in given.items()
    }
    drawn = {n: v[:, None] for n, v in filled(ranges, cases, sampler, seed).items()}
    middle = drawn["start"] * 3600.0 + (np.arange(segments) + 0.5) * length
    angle = solar_zenith_angle(drawn["latitude"], 0.0, drawn["day"], jnp.asarray(middle))
    warmer = drawn["swing"] * np.cos(2 * np.pi * (middle - _WARMEST) / _DAY)
    return {
        "solar_zenith_angle": np.minimum(np.asarray(angle), np.pi / 2),
        "temperature": warmer,
    }


def under(
    given: Mapping[str, Any], along: Mapping[str, Float[np.ndarray, "case N"]], number: int
) -> dict[str, Any]:
    """Conditions of cases in one of their segments.

    Args:
        given: what stays, by name.
        along: of `course`.
        number: of the segment.

    Raises:
        ValueError: no mean temperature is given, or a zenith angle, which the course has.
    """
    light, warmer = (along[name][:, number] for name in ("solar_zenith_angle", "temperature"))
    if "temperature" not in given or "solar_zenith_angle" in given:
        raise ValueError(
            "data.course wants a temperature, about which it varies, and says itself where the sun "
            "stands: leave solar_zenith_angle out of data.draw.conditions and conditions."
        )
    return {**given, "temperature": given["temperature"] + warmer, "solar_zenith_angle": light}
