"""Where a network reacts: conditions by name, each with its unit."""

from collections.abc import Collection, Mapping
from typing import Any

import equinox as eqx
import numpy as np

from ..brief import few, safely, span, table, text
from ..suggest import closest

__all__ = ["ALL", "CONDITIONS", "NAMED", "Conditions"]

CONDITIONS: dict[str, str] = {
    "temperature": "K",
    "density": "total number density, in the network's concentration unit",
    "cosmic_ray_rate": "s-1",
    "pressure": "Pa",
    "relative_humidity": "1",
    "solar_zenith_angle": "rad",
    "local_time": "s since midnight",
    "photolysis": "{name: s-1}",
    "quantities": "{name: value}, of what a mechanism leaves to its user",
    "visual_extinction": "mag",
    "uv_field": "1, in units of the field that the network's photo-rates are for",
    "metallicity": "1, relative to the sun's",
    "dust_to_gas": "1, by mass, relative to that near the sun",
    "gas_to_dust": "1, by number: about 1e12 in interstellar gas",
}
"""Every condition by the name it has everywhere, and its unit."""

NAMED = ("photolysis", "quantities")
"""The conditions that are values of quantities by name."""

_PLAUSIBLE = {
    "temperature": (0.0, 1e10),
    "pressure": (-1e-300, 1e12),
    "relative_humidity": (-1e-9, 3.0),
    "solar_zenith_angle": (-6.3, 6.3),
    "gas_to_dust": (1e5, np.inf),
}
"""Outside of these a number is in another unit, or a slip."""

ALL = "*"
"""Stands in `quantities` for every quantity that is not named there."""


class Conditions(eqx.Module):
    """Where a network reacts: named values, each a scalar or a function of time.

    Attributes:
        values: name (one of `CONDITIONS`) -> scalar, or function of time returning one;
            `photolysis` and `quantities` hold such values by names of their own.

    Raises:
        ValueError: a name that is not a condition, with the nearest one; a number that cannot be
            meant, such as degrees for radians.
    """

    values: dict[str, Any]

    def __init__(self, **values: Any):
        for name in values:
            if name not in CONDITIONS:
                known, hint = ", ".join(CONDITIONS), closest(name, CONDITIONS)
                raise ValueError(f"unknown condition {name!r}{hint} Known: {known}.")
        for name, (lowest, highest) in _PLAUSIBLE.items():
            value = values.get(name)
            if not isinstance(value, int | float | np.number | np.ndarray) or np.ndim(value):
                continue
            if not lowest < float(value) < highest:
                raise ValueError(
                    f"{name} is {float(value):g}; it is in {CONDITIONS[name]} and lies between "
                    f"{lowest:g} and {highest:g}."
                )
        self.values = {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in values.items()
            if value is not None
        }

    def __repr__(self) -> str:
        lines = [f"{name} [{unit}]: {value}" for name, value, unit in self._rows()]
        return text(["Conditions" if lines else "Conditions: none", *lines])

    def _repr_html_(self) -> str:
        return table("Conditions", ("condition", "value", "unit"), self._rows())

    def _rows(self) -> list[tuple[str, str, str]]:
        """Name, value and unit of each."""

        def told(value: Any) -> str:
            if isinstance(value, Mapping):
                return few([f"{name} {told(part)}" for name, part in value.items()])
            return "function of time" if callable(value) else span(value)

        return safely(lambda: [(n, told(v), CONDITIONS[n]) for n, v in self.values.items()], [])

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def named(self) -> dict[str, Any]:
        """What `photolysis` and `quantities` say of quantities, by their names."""
        return {name: v for kind in NAMED for name, v in self.values.get(kind, {}).items()}

    @property
    def varying(self) -> bool:
        """Whether any value is a function of time."""
        return any(callable(v) for v in (*self.values.values(), *self.named.values()))

    def only(self, names: Collection[str]) -> "Conditions":
        """The same conditions without those, and those quantities, that are not named."""

        def kept(values: dict[str, Any]) -> dict[str, Any]:
            return {n: v for n, v in values.items() if n in names or n == ALL}

        own = {n: kept(self.values[n]) for n in ("photolysis", "quantities") if n in self.values}
        return Conditions(**kept(self.values), **own)

    def at(self, t: Any) -> "Conditions":
        """The same conditions with every function of time evaluated at `t`."""

        def fixed(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: fixed(part) for name, part in value.items()}
            return value(t) if callable(value) else value

        return Conditions(**{name: fixed(value) for name, value in self.values.items()})
