"""How gas is heated: each process `Gas -> erg cm-3 s-1`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from .constants import ELECTRON_VOLT
from .gas import Gas

__all__ = ["HEATING", "chemical", "cosmic_rays", "photoelectric", "photoheating"]

IONISED = {"H": 0.46, "He": 0.5, "H2": 0.1 + 3e-4 + 0.93 + 0.93}
"""Events a particle for each ionisation of hydrogen by cosmic rays, as the networks have them."""


def photoheating(gas: Gas) -> Any:
    """What photons leave beyond the thresholds of the photo-reactions."""
    return sum(energy * gas.flux(name) for name, energy in gas.light.energies.items())


def cosmic_rays(gas: Gas) -> Any:
    """20 eV for each event (Goldsmith & Langer 1978, ApJ 222, 881)."""
    events = sum(share * gas[name] for name, share in IONISED.items())
    return 20 * ELECTRON_VOLT * gas.conditions["cosmic_ray_rate"] * events


def photoelectric(gas: Gas) -> Any:
    """Electrons from dust, less recombination (Bakes & Tielens 1994, doi:10.1086/174188)."""
    t, psi, field = gas.temperature, gas.charging, gas.ultraviolet
    share = 4.9e-2 / (1 + 4e-3 * psi**0.73) + 3.7e-2 * (t / 1e4) ** 0.7 / (1 + 2e-4 * psi)
    lost = 4.65e-30 * t**0.94 * psi ** (0.735 * t**-0.068) * gas["e-"] * gas["H"]
    return gas.conditions["dust_to_gas"] * (1.3e-24 * share * field * gas.nuclei - lost)


def chemical(gas: Gas) -> Any:
    """H2 that forms and breaks up (Hollenbach & McKee 1979, doi:10.1086/190631)."""
    t, nuclei = gas.temperature, gas.nuclei
    by_h = 1.6 * jnp.exp(-((400 / t) ** 2)) * gas["H"] / nuclei
    by_h2 = 1.4 * jnp.exp(-12000 / (t + 1200)) * gas["H2"] / nuclei
    dense = jnp.sqrt(t) * (by_h + by_h2) * nuclei / 1e6  # over where collisions outdo radiation
    kept = dense / (1 + dense)
    formed = 3.53 * kept * gas.flux("H- + H -> H2 + e-")
    formed += 1.83 * kept * gas.flux("H2+ + H -> H2 + H+")
    formed += (4.2 * kept + 0.2) * 0.5 * gas.flux("H -> 0.5 H2")
    broken = gas.flux("H2 + e- -> 2 H + e-") + gas.flux("H2 + H -> 3 H")
    broken += gas.flux("2 H2 -> 2 H + H2")
    return ELECTRON_VOLT * (formed - 4.48 * broken)


HEATING: dict[str, Callable[[Gas], Any]] = {
    "photoheating": photoheating,
    "cosmic rays": cosmic_rays,
    "photoelectric": photoelectric,
    "chemical": chemical,
}
"""Every process by name."""
