"""Rate laws of the Kinetic PreProcessor (Damian et al. 2002, Comput. Chem. Eng. 26, 1567).

The names, arguments and signs are those of the file UserRateLaws that comes with KPP 3 (Lin et al.
2023, J. Adv. Model. Earth Syst. 15, e2022MS003293). `density` is the number density of air
[molecule cm-3], which EP2, EP3 and FALL of KPP take to be 1e6 CFACTOR, and all else calls M.
"""

import jax.numpy as jnp
from jaxtyping import Array

from .basic import falloff
from .law import law

__all__ = [
    "ARR",
    "ARR2",
    "EP2",
    "EP3",
    "FALL",
    "SUNLIGHT",
    "ARR_ab",
    "ARR_abc",
    "ARR_ac",
    "k_3rd",
    "k_3rd_iupac",
    "k_arr",
]


def _bimolecular(temperature: Array, a: Array, b: Array, c: Array) -> Array:
    return a * jnp.exp(-b / temperature) * (temperature / 300.0) ** c


@law
def ARR(temperature: Array, /, a: Array, b: Array, c: Array) -> Array:
    """a exp(-b / T) (T / 300 K)^c."""
    return _bimolecular(temperature, a, b, c)


@law
def ARR_abc(temperature: Array, /, a: Array, b: Array, c: Array) -> Array:
    """a exp(-b / T) (T / 300 K)^c."""
    return _bimolecular(temperature, a, b, c)


@law
def ARR_ab(temperature: Array, /, a: Array, b: Array) -> Array:
    """a exp(-b / T)."""
    return a * jnp.exp(-b / temperature)


@law
def ARR_ac(temperature: Array, /, a: Array, c: Array) -> Array:
    """a (T / 300 K)^c."""
    return a * (temperature / 300.0) ** c


@law
def ARR2(temperature: Array, /, a: Array, b: Array) -> Array:
    """a exp(b / T): the sign of b is the other one than in `ARR`."""
    return a * jnp.exp(b / temperature)


@law
def EP2(
    temperature: Array,
    density: Array,
    /,
    a0: Array,
    b0: Array,
    a2: Array,
    b2: Array,
    a3: Array,
    b3: Array,
) -> Array:
    """k0 + k3 M / (1 + k3 M / k2), such as OH + HNO3; k_i = a_i exp(-b_i / T)."""
    k0, k2 = a0 * jnp.exp(-b0 / temperature), a2 * jnp.exp(-b2 / temperature)
    k3 = a3 * jnp.exp(-b3 / temperature) * density
    return k0 + k3 / (1.0 + k3 / k2)


@law
def EP3(temperature: Array, density: Array, /, a1: Array, b1: Array, a2: Array, b2: Array) -> Array:
    """k1 + k2 M, such as HO2 + HO2; k_i = a_i exp(-b_i / T)."""
    return a1 * jnp.exp(-b1 / temperature) + a2 * jnp.exp(-b2 / temperature) * density


@law
def FALL(
    temperature: Array,
    density: Array,
    /,
    a0: Array,
    b0: Array,
    c0: Array,
    a1: Array,
    b1: Array,
    c1: Array,
    factor: Array,
) -> Array:
    """Fall-off with limits `ARR` (a0, b0, c0) M and (a1, b1, c1), and broadening factor."""
    low = _bimolecular(temperature, a0, b0, c0) * density
    return falloff(low, _bimolecular(temperature, a1, b1, c1), factor)


@law
def k_3rd(
    temperature: Array, air: Array, k0: Array, n: Array, kinf: Array, m: Array, factor: Array
) -> Array:
    """Fall-off with limits k0 (300 K / T)^n air and kinf (300 K / T)^m, as the JPL tables."""
    ratio = 300.0 / temperature
    return falloff(k0 * ratio**n * air, kinf * ratio**m, factor)


@law
def k_3rd_iupac(
    temperature: Array, air: Array, k0: Array, n: Array, kinf: Array, m: Array, factor: Array
) -> Array:
    """As `k_3rd`, broadened as the IUPAC tables: over 0.75 - 1.27 log10(factor)."""
    ratio = 300.0 / temperature
    width = 0.75 - 1.27 * jnp.log10(factor)
    return falloff(k0 * ratio**n * air, kinf * ratio**m, factor, width)


@law
def k_arr(k_298: Array, theta: Array, temperature: Array) -> Array:
    """k_298 exp(theta (1 / T - 1 / 298.15 K))."""
    return k_298 * jnp.exp(theta * (1.0 / temperature - 3.3540e-3))


@law
def SUNLIGHT(local_time: Array, /) -> Array:
    """KPP's SUN, 0 to 1: (1 + cos(pi x |x|)) / 2, x = (2 h - 24) / 15, from 4.5 to 19.5 h.

    The day of KPP's own update: sunrise at 4.5 h, sunset at 19.5 h, noon at 12 h.
    """
    hour = (local_time / 3600.0) % 24.0
    x = (2.0 * hour - 24.0) / 15.0
    up = jnp.abs(x) <= 1.0
    x = jnp.where(up, x, 0.0)
    return jnp.where(up, 0.5 * (1.0 + jnp.cos(jnp.pi * x * jnp.abs(x))), 0.0)
