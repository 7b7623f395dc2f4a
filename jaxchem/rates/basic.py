"""Rate laws that every field writes."""

import jax.numpy as jnp
from jaxtyping import Array

from .law import law

__all__ = ["arrhenius", "cosmic_ray", "falloff", "kooij"]


@law
def arrhenius(temperature: Array, /, amplitude: Array, theta: Array) -> Array:
    """a exp(-theta / T), theta = E_a / R in kelvin (Arrhenius 1889, Z. Phys. Chem. 4, 226)."""
    return amplitude * jnp.exp(-theta / temperature)


@law
def kooij(temperature: Array, /, alpha: Array, beta: Array, gamma: Array) -> Array:
    """alpha (T / 300 K)^beta exp(-gamma / T) (Kooij 1893, Z. Phys. Chem. 12, 155).

    The form of the UMIST, OSU and KIDA compilations (Wakelam et al. 2012, ApJS 199, 21, eq. 1).
    """
    return alpha * (temperature / 300.0) ** beta * jnp.exp(-gamma / temperature)


@law
def cosmic_ray(cosmic_ray_rate: Array, /, alpha: Array) -> Array:
    """alpha zeta, zeta the cosmic-ray ionisation rate of H2 (Wakelam et al. 2012, eq. 4)."""
    return alpha * cosmic_ray_rate


def falloff(low: Array, high: Array, centre: Array | float, width: Array | float = 1.0) -> Array:
    """The coefficient between its limits, for laws to call (Troe 1983, Ber. Bunsenges. 87, 161).

    Args:
        low: low-pressure limit, the density of air included.
        high: high-pressure limit.
        centre: broadening factor in the middle (0.6 in JPL 19-5, section 2).
        width: of the broadening in log10(low / high).
    """
    ratio = low / high
    return low / (1.0 + ratio) * centre ** (1.0 / (1.0 + (jnp.log10(ratio) / width) ** 2))
