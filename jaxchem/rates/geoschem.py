"""Rate laws of GEOS-Chem's mechanisms, named as these name them.

Restated from GEOS-Chem 14 (Bey et al. 2001, J. Geophys. Res. 106, 23073; mechanisms "fullchem",
"Hg" and "carbon", doi:10.5281/zenodo.1343546) for its gas-phase laws; the letters after the last
underscore of a name say which numbers of a (300 K / T)^b exp(c / T) the law takes, in order. Its
uptake by aerosol and cloud depends on the state of the host model, and is left to the user.
Temperatures in K, density (of air) in molecule cm-3, coefficients in cm3 molecule-1 s-1 or s-1.
"""

import jax.numpy as jnp
from jaxtyping import Array

from .basic import falloff
from .law import law

__all__ = [
    "GC_ALK",
    "GC_ISO1",
    "GC_ISO2",
    "GC_NIT",
    "ARRPLUS_abde",
    "ARRPLUS_ade",
    "GCARR_ab",
    "GCARR_abc",
    "GCARR_ac",
    "GCJPLAC_ababac",
    "GCJPLEQ_acabab",
    "GCJPLPR_aa",
    "GCJPLPR_aba",
    "GCJPLPR_abab",
    "GCJPLPR_abcabc",
    "GC_DMSOH_acac",
    "GC_EPO_a",
    "GC_GLYCOH_A_a",
    "GC_GLYCOH_B_a",
    "GC_GLYXNO3_ac",
    "GC_HACOH_A_ac",
    "GC_HACOH_B_ac",
    "GC_HO2HO2_acac",
    "GC_OHCO_a",
    "GC_OHHNO3_acacac",
    "GC_PAN_abab",
    "GC_PAN_acac",
    "GC_RO2HO2_aca",
    "GC_RO2NO_A1_ac",
    "GC_RO2NO_A2_aca",
    "GC_RO2NO_B1_ac",
    "GC_RO2NO_B2_aca",
    "GC_TBRANCH_1_acac",
    "TUNPLUS_abcde",
]

_O2 = 0.2095
"""Mole fraction of O2 in dry air."""
_METHYL_NITRATE = 3.0e-4
"""Yield of CH3ONO2 from CH3O2 + NO (Fisher et al. 2018, J. Geophys. Res. 123, 12429)."""


@law
def GCARR_ab(temperature: Array, /, a: Array, b: Array) -> Array:
    """a (300 K / T)^b."""
    return a * (300.0 / temperature) ** b


@law
def GCARR_ac(temperature: Array, /, a: Array, c: Array) -> Array:
    """a exp(c / T)."""
    return a * jnp.exp(c / temperature)


@law
def GCARR_abc(temperature: Array, /, a: Array, b: Array, c: Array) -> Array:
    """a (300 K / T)^b exp(c / T)."""
    return a * jnp.exp(c / temperature) * (300.0 / temperature) ** b


@law
def ARRPLUS_ade(temperature: Array, /, a: Array, d: Array, e: Array) -> Array:
    """a (d + e T), not below zero (Bates & Jacob 2019, Atmos. Chem. Phys. 19, 9613)."""
    return jnp.maximum(a * (d + e * temperature), 0.0)


@law
def ARRPLUS_abde(temperature: Array, /, a: Array, b: Array, d: Array, e: Array) -> Array:
    """a (d + e T) exp(-b / T), not below zero (Bates & Jacob 2019); note the sign of b."""
    return jnp.maximum(a * (d + e * temperature) * jnp.exp(-b / temperature), 0.0)


@law
def TUNPLUS_abcde(temperature: Array, /, a: Array, b: Array, c: Array, d: Array, e: Array) -> Array:
    """a (d + e T) exp(b / T + c / T^3), not below zero: tunnelling (Bates & Jacob 2019)."""
    tunnelling = jnp.exp(b / temperature) * jnp.exp(c / temperature**3)
    return jnp.maximum(a * (d + e * temperature) * tunnelling, 0.0)


@law
def GCJPLPR_aa(density: Array, /, a1: Array, a2: Array, fv: Array) -> Array:
    """Association between its limits a1 [M] and a2 (Burkholder et al. 2019, JPL 19-5)."""
    return falloff(a1 * density, a2, fv)


@law
def GCJPLPR_aba(
    temperature: Array, density: Array, /, a1: Array, b1: Array, a2: Array, fv: Array
) -> Array:
    """`GCJPLPR_aa` with the low-pressure limit a1 (300 K / T)^b1 [M]."""
    return falloff(GCARR_ab(temperature, a1, b1) * density, a2, fv)


@law
def GCJPLPR_abab(
    temperature: Array, density: Array, /, a1: Array, b1: Array, a2: Array, b2: Array, fv: Array
) -> Array:
    """`GCJPLPR_aa` with the limits a1 (300 K / T)^b1 [M] and a2 (300 K / T)^b2."""
    low, high = GCARR_ab(temperature, a1, b1) * density, GCARR_ab(temperature, a2, b2)
    return falloff(low, high, fv)


@law
def GCJPLPR_abcabc(
    temperature: Array,
    density: Array,
    /,
    a1: Array,
    b1: Array,
    c1: Array,
    a2: Array,
    b2: Array,
    c2: Array,
    fv: Array,
) -> Array:
    """`GCJPLPR_abab` with exp(c1 / T) and exp(c2 / T) in the limits: thermal decomposition."""
    low = GCARR_abc(temperature, a1, b1, c1) * density
    return falloff(low, GCARR_abc(temperature, a2, b2, c2), fv)


@law
def GCJPLEQ_acabab(
    temperature: Array,
    density: Array,
    /,
    a0: Array,
    c0: Array,
    a1: Array,
    b1: Array,
    a2: Array,
    b2: Array,
    fv: Array,
) -> Array:
    """`GCJPLPR_abab` over the equilibrium constant a0 exp(c0 / T) (JPL 19-5, section 3)."""
    forward = GCJPLPR_abab(temperature, density, a1, b1, a2, b2, fv)
    return forward / GCARR_ac(temperature, a0, c0)


@law
def GCJPLAC_ababac(
    temperature: Array,
    density: Array,
    /,
    a1: Array,
    b1: Array,
    a2: Array,
    b2: Array,
    a3: Array,
    c3: Array,
    fv: Array,
) -> Array:
    """a3 exp(c3 / T) (1 - k / k_high): what association, k, leaves to a chemical activation.

    k is `GCJPLPR_abab` (Burkholder et al. 2019, JPL 19-5, section 2).
    """
    share = GCJPLPR_abab(temperature, density, a1, b1, a2, b2, fv) / GCARR_ab(temperature, a2, b2)
    return GCARR_ac(temperature, a3, c3) * (1.0 - share)


def _iupac(low: Array, high: Array, centre: Array) -> Array:
    """The broadened falloff of IUPAC (Atkinson et al. 2004, Atmos. Chem. Phys. 4, 1461)."""
    width = 0.75 - 1.27 * jnp.log10(centre)
    exponent = 1.0 / (1.0 + (jnp.log10(low / high) / width) ** 2)
    return low * high / (low + high) * centre**exponent


@law
def GC_PAN_abab(
    temperature: Array, density: Array, /, a0: Array, b0: Array, a1: Array, b1: Array, cf: Array
) -> Array:
    """IUPAC falloff between a0 exp(b0 / T) [M] and a1 exp(b1 / T): decay of PAN-like species.

    Atkinson et al. 2006, Atmos. Chem. Phys. 6, 3625; the letter b is an exponential here.
    """
    low, high = GCARR_ac(temperature, a0, b0) * density, GCARR_ac(temperature, a1, b1)
    return _iupac(low, high, cf)


@law
def GC_PAN_acac(
    temperature: Array, density: Array, /, a0: Array, c0: Array, a1: Array, c1: Array, cf: Array
) -> Array:
    """IUPAC falloff between a0 (T / 300 K)^c0 [M] and a1 (T / 300 K)^c1: peroxyacyl + NO2.

    Atkinson et al. 2006, Atmos. Chem. Phys. 6, 3625; the letter c is a power here.
    """
    return _iupac(GCARR_ab(temperature, a0, -c0) * density, GCARR_ab(temperature, a1, -c1), cf)


@law
def GC_HO2HO2_acac(
    temperature: Array, density: Array, H2O: Array, /, a0: Array, c0: Array, a1: Array, c1: Array
) -> Array:
    """HO2 + HO2, its two- and three-body paths enhanced by water (JPL 19-5)."""
    dry = GCARR_ac(temperature, a0, c0) + GCARR_ac(temperature, a1, c1) * density
    return dry * (1.0 + 1.4e-21 * H2O * jnp.exp(2200.0 / temperature))


@law
def GC_OHCO_a(temperature: Array, density: Array, /, a: Array) -> Array:
    """OH + CO (Burkholder et al. 2015, JPL 15-10); the number `a` is not used."""
    del a
    t = 300.0 / temperature
    association = falloff(5.9e-33 * t * density, 1.1e-12 * t**-1.3, 0.6)
    return association + falloff(1.5e-13 * density, 2.1e9 * t**-6.1, 0.6) / density


@law
def GC_OHHNO3_acacac(
    temperature: Array,
    density: Array,
    /,
    a0: Array,
    c0: Array,
    a1: Array,
    c1: Array,
    a2: Array,
    c2: Array,
) -> Array:
    """OH + HNO3: k0 + k2 [M] / (1 + k2 [M] / k1), each a exp(c / T) (JPL 15-10)."""
    third = GCARR_ac(temperature, a2, c2) * density
    return GCARR_ac(temperature, a0, c0) + third / (1.0 + third / GCARR_ac(temperature, a1, c1))


@law
def GC_DMSOH_acac(
    temperature: Array, density: Array, /, a0: Array, c0: Array, a1: Array, c1: Array
) -> Array:
    """OH + DMS, addition: k0 [O2] / (1 + k1 0.2095), each a exp(c / T) (JPL 06-2)."""
    return (
        GCARR_ac(temperature, a0, c0) * density * _O2 / (1.0 + GCARR_ac(temperature, a1, c1) * _O2)
    )


@law
def GC_GLYXNO3_ac(temperature: Array, density: Array, /, a: Array, c: Array) -> Array:
    """Glyoxal + NO3 that ends in HO2 + 2 CO: a share of a exp(c / T) that O2 sets."""
    oxygen = _O2 * density
    return GCARR_ac(temperature, a, c) * (oxygen + 3.5e18) / (2.0 * oxygen + 3.5e18)


@law
def GC_TBRANCH_1_acac(temperature: Array, /, a0: Array, c0: Array, a1: Array, c1: Array) -> Array:
    """k0 / (1 + k1), each a exp(c / T): one branch of two (as of CH3O2 + CH3O2)."""
    return GCARR_ac(temperature, a0, c0) / (1.0 + GCARR_ac(temperature, a1, c1))


@law
def GC_RO2HO2_aca(temperature: Array, /, a0: Array, c0: Array, a1: Array) -> Array:
    """RO2 of a1 carbon atoms + HO2 (Saunders et al. 2003, Atmos. Chem. Phys. 3, 161)."""
    return GCARR_ac(temperature, a0, c0) * (1.0 - jnp.exp(-0.245 * a1))


def _nitrate_share(temperature: Array, density: Array, carbon: Array) -> Array:
    """The share of RO2 + NO that ends in a nitrate, `carbon` atoms in the radical.

    Carter & Atkinson 1989, J. Atmos. Chem. 8, 165.
    """
    low = 1.94e-22 * jnp.exp(0.97 * carbon) * density
    ratio = falloff(low, 0.826 * (300.0 / temperature) ** 8.1, 0.411)
    return ratio / (1.0 + ratio)


@law
def GC_RO2NO_A1_ac(temperature: Array, /, a: Array, c: Array) -> Array:
    """CH3O2 + NO that ends in methyl nitrate (Fisher et al. 2018): 3e-4 a exp(c / T)."""
    return GCARR_ac(temperature, a, c) * _METHYL_NITRATE


@law
def GC_RO2NO_B1_ac(temperature: Array, /, a: Array, c: Array) -> Array:
    """CH3O2 + NO that ends in NO2: what `GC_RO2NO_A1_ac` leaves."""
    return GCARR_ac(temperature, a, c) * (1.0 - _METHYL_NITRATE)


@law
def GC_RO2NO_A2_aca(
    temperature: Array, density: Array, /, a0: Array, c0: Array, a1: Array
) -> Array:
    """RO2 of a1 carbon atoms + NO that ends in a nitrate (Carter & Atkinson 1989)."""
    return GCARR_ac(temperature, a0, c0) * _nitrate_share(temperature, density, a1)


@law
def GC_RO2NO_B2_aca(
    temperature: Array, density: Array, /, a0: Array, c0: Array, a1: Array
) -> Array:
    """RO2 of a1 carbon atoms + NO that ends in NO2: what `GC_RO2NO_A2_aca` leaves."""
    return GCARR_ac(temperature, a0, c0) * (1.0 - _nitrate_share(temperature, density, a1))


def _isoprene_nitrate(temperature: Array, density: Array, n: Array) -> Array:
    """The ratio of nitrate to alkoxy paths for `n` heavy atoms, before scaling.

    Arey et al. 2001, J. Phys. Chem. A 105, 1020; Wennberg et al. 2018, Chem. Rev. 118, 3337.
    """
    high = 0.43 * (temperature / 298.0) ** -8
    return falloff(2e-22 * jnp.exp(n) * density, high, 0.41)


@law
def GC_NIT(
    temperature: Array,
    density: Array,
    /,
    a: Array,
    b: Array,
    c: Array,
    n: Array,
    x: Array,
    y: Array,
) -> Array:
    """RO2 + NO that ends in a nitrate: a (x - y T) exp(b / T) r / (r + c), not below zero.

    r is the ratio for n heavy atoms (Bates & Jacob 2019, Atmos. Chem. Phys. 19, 9613, after
    Wennberg et al. 2018).
    """
    ratio = _isoprene_nitrate(temperature, density, n)
    total = a * (x - y * temperature) * jnp.exp(b / temperature)
    return jnp.maximum(total * ratio / (ratio + c), 0.0)


@law
def GC_ALK(
    temperature: Array,
    density: Array,
    /,
    a: Array,
    b: Array,
    c: Array,
    n: Array,
    x: Array,
    y: Array,
) -> Array:
    """RO2 + NO that ends in an alkoxy radical and NO2: what `GC_NIT` leaves, not below zero."""
    ratio = _isoprene_nitrate(temperature, density, n)
    total = a * (x - y * temperature) * jnp.exp(b / temperature)
    return jnp.maximum(total * c / (ratio + c), 0.0)


@law
def GC_EPO_a(temperature: Array, density: Array, /, a: Array, e: Array, m: Array) -> Array:
    """a exp(e / T) / (1 + m [M]): epoxide from what is not quenched (Bates & Jacob 2019)."""
    return GCARR_ac(temperature, a, e) / (1.0 + m * density)


def _isomerised(temperature: Array, c: Array, d: Array, e: Array, f: Array, g: Array) -> Array:
    """The share of isoprene's peroxy radicals that isomerises (Bates & Jacob 2019)."""
    shift = GCARR_ac(temperature, d, e) * jnp.exp(1e8 / temperature**3)
    return c * shift / (shift + GCARR_ac(temperature, f, g))


@law
def GC_ISO1(
    temperature: Array, /, a: Array, b: Array, c: Array, d: Array, e: Array, f: Array, g: Array
) -> Array:
    """Isoprene + OH to radicals that live: a exp(b / T) (1 - s), s of `GC_ISO2`."""
    return GCARR_ac(temperature, a, b) * (1.0 - _isomerised(temperature, c, d, e, f, g))


@law
def GC_ISO2(
    temperature: Array, /, a: Array, b: Array, c: Array, d: Array, e: Array, f: Array, g: Array
) -> Array:
    """Isoprene + OH to radicals that isomerise at once: a exp(b / T) s.

    s = c k / (k + f exp(g / T)), k = d exp(e / T + 1e8 K^3 / T^3) (Bates & Jacob 2019).
    """
    return GCARR_ac(temperature, a, b) * _isomerised(temperature, c, d, e, f, g)


@law
def GC_GLYCOH_A_a(temperature: Array, /, a: Array) -> Array:
    """Glycolaldehyde + OH that ends in formaldehyde (Paulot et al. 2009)."""
    return a * jnp.maximum(1.0 - 11.0729 * jnp.exp(-temperature / 73.0), 0.0)


@law
def GC_GLYCOH_B_a(temperature: Array, /, a: Array) -> Array:
    """Glycolaldehyde + OH that ends in formic acid: what `GC_GLYCOH_A_a` leaves."""
    return a - GC_GLYCOH_A_a(temperature, a)


@law
def GC_HACOH_A_ac(temperature: Array, /, a: Array, c: Array) -> Array:
    """Hydroxyacetone + OH that ends in methylglyoxal (Paulot et al. 2009)."""
    share = jnp.maximum(1.0 - 23.7 * jnp.exp(-temperature / 60.0), 0.0)
    return GCARR_ac(temperature, a, c) * share


@law
def GC_HACOH_B_ac(temperature: Array, /, a: Array, c: Array) -> Array:
    """Hydroxyacetone + OH that ends in acids: what `GC_HACOH_A_ac` leaves."""
    return GCARR_ac(temperature, a, c) - GC_HACOH_A_ac(temperature, a, c)
