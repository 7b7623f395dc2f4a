"""Rate laws that every field writes."""

import jax.numpy as jnp
from jaxtyping import Array

from .law import law

__all__ = ["arrhenius", "cosmic_ray", "kooij"]


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
