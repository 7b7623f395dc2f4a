"""A state by what it means, and the constants of heating and cooling."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

__all__ = ["BOLTZMANN", "COLDEST", "ELECTRON_VOLT", "GAMMA", "HABING", "HOTTEST", "Gas"]

BOLTZMANN = 1.380648e-16
"""erg K-1; this and the other constants have KROME's digits (Grassi et al. 2014)."""
ELECTRON_VOLT = 1.60217646e-12
"""erg"""
GAMMA = 1.66666666667
"""Ratio of heat capacities, of any mixture."""
COLDEST, HOTTEST = 2.73, 1e9
"""K; the temperature counts from here to there."""
HABING = 4.8540003613600641e-3
"""Far ultraviolet light, 6 to 13.6 eV, of the background of Haardt & Madau (2012, ApJ 746, 125) at
redshift 0, relative to 1.6e-3 erg cm-2 s-1 (Habing 1968)."""

Array = Any


class Gas(NamedTuple):
    """A state under its conditions.

    Attributes:
        densities: cm-3, of species by name.
        temperature: K, within COLDEST and HOTTEST.
        conditions: `cosmic_ray_rate`, `uv_field`, `dust_to_gas`, `metallicity`.
        flux: equation -> its events, cm-3 s-1; nothing of one that the network does without.
    """

    densities: Mapping[str, Array]
    temperature: Array
    conditions: Mapping[str, Any]
    flux: Callable[[str], Array]

    def __getitem__(self, species: str) -> Array:
        """A species' density, zero of one that the network does without."""
        return self.densities.get(species, 0.0)

    @property
    def nuclei(self) -> Array:
        """Hydrogen nuclei."""
        return self["H"] + self["H+"] + self["H-"] + 2 * self["H2"] + 2 * self["H2+"]

    @property
    def particles(self) -> Array:
        """All of them, electrons included."""
        return functools.reduce(lambda a, b: a + b, self.densities.values())

    @property
    def charging(self) -> Array:
        """G0 sqrt(T) / n(e-), which sets the charge of grains (Bakes & Tielens 1994)."""
        electrons = jnp.maximum(self["e-"], 1e-30)
        return self.conditions["uv_field"] * HABING * jnp.sqrt(self.temperature) / electrons
