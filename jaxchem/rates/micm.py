"""Rate laws of MUSICA's chemistry solver, MICM, in mol m-3, s, K and Pa.

Formulas of the documentation of MICM and of the mechanism configuration (National Center for
Atmospheric Research, https://ncar.github.io/micm), which is part of MUSICA (Pfister et al. 2020,
Bull. Am. Meteorol. Soc. 101, E1743). `density` is that of the air, [M] in mol m-3.
"""

import jax.numpy as jnp
from jaxtyping import Array

from .law import AVOGADRO, BOLTZMANN, law

__all__ = [
    "micm_alkoxy",
    "micm_arrhenius",
    "micm_nitrate",
    "micm_surface",
    "micm_ternary",
    "micm_ternary_jpl19",
    "micm_troe",
    "micm_tunneling",
]

_PER_CM3 = 1e6 / AVOGADRO
"""mol m-3 in one molecule cm-3."""


@law
def micm_arrhenius(temperature: Array, /, a: Array, b: Array, c: Array, d: Array) -> Array:
    """a exp(c / T) (T / d)^b; the factor 1 + E P of MICM stands in the expression."""
    return a * jnp.exp(c / temperature) * (temperature / d) ** b


def _centre(fc: Array, n: Array, ratio: Array) -> Array:
    return fc ** (n / (n + jnp.log10(ratio) ** 2))


@law
def micm_troe(
    temperature: Array,
    density: Array,
    /,
    k0_a: Array,
    k0_b: Array,
    k0_c: Array,
    kinf_a: Array,
    kinf_b: Array,
    kinf_c: Array,
    fc: Array,
    n: Array,
) -> Array:
    """k0 [M] / (1 + r) fc^(1 / (1 + (log10 r)^2 / n)), r = k0 [M] / kinf.

    k0 and kinf are a exp(c / T) (T / 300 K)^b (Troe 1979, J. Phys. Chem. 83, 114).
    """
    low = micm_arrhenius(temperature, k0_a, k0_b, k0_c, 300.0) * density
    ratio = low / micm_arrhenius(temperature, kinf_a, kinf_b, kinf_c, 300.0)
    return low / (1.0 + ratio) * _centre(fc, n, ratio)


@law
def micm_ternary(
    temperature: Array,
    density: Array,
    /,
    k0_a: Array,
    k0_b: Array,
    k0_c: Array,
    kinf_a: Array,
    kinf_b: Array,
    kinf_c: Array,
    fc: Array,
    n: Array,
) -> Array:
    """k0 / (1 + r) fc^(1 / (1 + (log10 r)^2 / n)): chemical activation, r as in `micm_troe`.

    JPL Publication 15-10 (Burkholder et al. 2015), section 2.
    """
    low = micm_arrhenius(temperature, k0_a, k0_b, k0_c, 300.0)
    ratio = low * density / micm_arrhenius(temperature, kinf_a, kinf_b, kinf_c, 300.0)
    return low / (1.0 + ratio) * _centre(fc, n, ratio)


@law
def micm_ternary_jpl19(
    temperature: Array,
    density: Array,
    /,
    k0_a: Array,
    k0_b: Array,
    k0_c: Array,
    k0_d: Array,
    kinf_a: Array,
    kinf_b: Array,
    kinf_c: Array,
    kinf_d: Array,
    kint_a: Array,
    kint_b: Array,
    kint_c: Array,
    kint_d: Array,
    fc: Array,
    n: Array,
) -> Array:
    """k_f + kint (1 - k_f / kinf): chemical activation, k_f the fall-off of `micm_troe`.

    Every k is a exp(c / T) (T / d)^b (JPL Publication 19-5, Burkholder et al. 2020, section 2).
    """
    low = micm_arrhenius(temperature, k0_a, k0_b, k0_c, k0_d) * density
    high = micm_arrhenius(temperature, kinf_a, kinf_b, kinf_c, kinf_d)
    falloff = low / (1.0 + low / high) * _centre(fc, n, low / high)
    activated = micm_arrhenius(temperature, kint_a, kint_b, kint_c, kint_d)
    return falloff + activated * (1.0 - falloff / high)


@law
def micm_tunneling(temperature: Array, /, a: Array, b: Array, c: Array) -> Array:
    """a exp(-b / T) exp(c / T^3) (Wennberg et al. 2018, Chem. Rev. 118, 3337)."""
    return a * jnp.exp(-b / temperature + c / temperature**3)


def _association(temperature: Array | float, density: Array | float, n: Array) -> Array:
    """A(T, [M], n) of Wennberg et al. (2018): nitrate against alkoxy, n heavy atoms."""
    low = 2e-22 / _PER_CM3 * jnp.exp(n) * density
    high = 0.43 * (temperature / 298.0) ** -8.0
    return low / (1.0 + low / high) * 0.41 ** (1.0 / (1.0 + jnp.log10(low / high) ** 2))


def _branches(temperature: Array, density: Array, a0: Array, n: Array) -> tuple[Array, Array]:
    """A and Z: of all that reacts, A / (A + Z) is nitrate, a0 at 293 K and 2.45e19 cm-3."""
    z = _association(293.0, 2.45e19 * _PER_CM3, n) * (1.0 - a0) / a0
    return _association(temperature, density, n), z


@law
def micm_nitrate(
    temperature: Array, density: Array, /, x: Array, y: Array, a0: Array, n: Array
) -> Array:
    """x exp(-y / T) A / (A + Z): RO2 + NO to the nitrate (Wennberg et al. 2018)."""
    nitrate, alkoxy = _branches(temperature, density, a0, n)
    return x * jnp.exp(-y / temperature) * (nitrate / (nitrate + alkoxy))


@law
def micm_alkoxy(
    temperature: Array, density: Array, /, x: Array, y: Array, a0: Array, n: Array
) -> Array:
    """x exp(-y / T) Z / (A + Z): RO2 + NO to the alkoxy radical (Wennberg et al. 2018)."""
    nitrate, alkoxy = _branches(temperature, density, a0, n)
    return x * jnp.exp(-y / temperature) * (alkoxy / (nitrate + alkoxy))


@law
def micm_surface(
    temperature: Array,
    /,
    radius: Array,
    number: Array,
    diffusion: Array,
    weight: Array,
    probability: Array,
) -> Array:
    """4 pi r^2 N / (r / D + 4 / (v gamma)), v = sqrt(8 R T / (pi weight)).

    Uptake by particles of effective radius r [m], N [m-3] of them: diffusion D [m2 s-1] and the
    interface in series (Schwartz 1986, Chemistry of Multiphase Atmospheric Systems, p. 415).
    """
    speed = jnp.sqrt(8.0 * AVOGADRO * BOLTZMANN * temperature / (jnp.pi * weight))
    resistance = radius / diffusion + 4.0 / (speed * probability)
    return 4.0 * jnp.pi * radius**2 * number / resistance
