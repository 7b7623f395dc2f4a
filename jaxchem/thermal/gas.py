"""A state by what it means."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from ..rates import LAWS
from .light import Light

__all__ = ["Gas"]

Array = Any


class Gas(NamedTuple):
    """A state under its conditions.

    Attributes:
        densities: cm-3, of species by name.
        temperature: K, within COLDEST and HOTTEST.
        conditions: `cosmic_ray_rate`, `uv_field`, `visual_extinction`, `dust_to_gas`,
            `metallicity`.
        flux: equation, or a quantity that its rate names -> its events, cm-3 s-1; nothing of one
            that the network does without.
        light: what photo-reactions leave as heat, and the far ultraviolet.
        smooth: width in ln T of what switches at a temperature; 0 is a jump.
    """

    densities: Mapping[str, Array]
    temperature: Array
    conditions: Mapping[str, Any]
    flux: Callable[[str], Array]
    light: Light
    smooth: float = 0.0

    def __getitem__(self, species: str) -> Array:
        """A species' density, zero of one that the network does without."""
        return self.densities.get(species, 0.0)

    @property
    def nuclei(self) -> Array:
        """Hydrogen nuclei."""
        return self["H"] + self["H+"] + self["H-"] + 2 * self["H2"] + 2 * self["H2+"]

    @property
    def ultraviolet(self) -> Array:
        """G0, behind dust by exp(-2.5 A_V) (Bergin et al. 2004, doi:10.1086/422578)."""
        shade = jnp.exp(-2.5 * self.conditions["visual_extinction"])
        return self.conditions["uv_field"] * self.light.habing * shade

    @property
    def charging(self) -> Array:
        """G0 sqrt(T) / n(e-), which sets the charge of grains (Bakes & Tielens 1994)."""
        electrons = jnp.maximum(self["e-"], 1e-30)
        return jnp.maximum(self.ultraviolet * jnp.sqrt(self.temperature) / electrons, 1e-30)

    def choose(self, limit: float, below: Array, above: Array) -> Array:
        """One value up to a temperature, the limit included, and another above it."""
        if self.smooth:
            share = LAWS["after"].function(self.temperature, limit, self.smooth)
            return (1 - share) * below + share * above
        return jnp.where(self.temperature <= limit, below, above)
