"""Rate laws of astrochemical compilations: KIDA, UMIST and KROME.

Units: cm, s, K; visual extinction in magnitudes. A coefficient of a photo-reaction belongs to
one interstellar radiation field (that of Draine 1978, ApJS 36, 595, in KIDA and UMIST), and
`uv_field` multiplies it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .law import law

__all__ = [
    "above",
    "after",
    "at_least",
    "at_most",
    "below",
    "interstellar_photo",
    "ionpol1",
    "ionpol2",
    "kooij_within",
    "limited",
    "secondary_photo",
]


@law
def limited(temperature: Array, /, low: Array, high: Array) -> Array:
    """T where low <= T <= high, otherwise the nearer of the two [K]."""
    return jnp.where(temperature < low, low, jnp.where(temperature > high, high, temperature))


@law
def at_least(temperature: Array, /, limit: Array, rate: Array) -> Array:
    """The rate where T >= limit, otherwise zero.

    Where the rate overflows on the other side of the limit its reverse-mode derivative there
    would be NaN: let it depend on `limited` temperatures. The same holds for `above`, `at_most`
    and `below`.
    """
    return jnp.where(temperature >= limit, rate, 0.0)


@law
def after(temperature: Array, /, limit: Array, width: Array) -> Array:
    """1 well above the limit and 0 well below: a logistic function of ln T, of this width."""
    # far out it is flat anyway, and its exponential would overflow
    return jax.nn.sigmoid(jnp.clip(jnp.log(temperature / limit) / width, -200.0, 200.0))


@law
def above(temperature: Array, /, limit: Array, rate: Array) -> Array:
    """The rate where T > limit, otherwise zero."""
    return jnp.where(temperature > limit, rate, 0.0)


@law
def at_most(temperature: Array, /, limit: Array, rate: Array) -> Array:
    """The rate where T <= limit, otherwise zero."""
    return jnp.where(temperature <= limit, rate, 0.0)


@law
def below(temperature: Array, /, limit: Array, rate: Array) -> Array:
    """The rate where T < limit, otherwise zero."""
    return jnp.where(temperature < limit, rate, 0.0)


@law
def kooij_within(
    temperature: Array, /, alpha: Array, beta: Array, gamma: Array, low: Array, high: Array
) -> Array:
    """alpha (T / 300 K)^beta exp(-gamma / T), T held within [low, high].

    Formula 3 of KIDA (Wakelam et al. 2012, ApJS 199, 21, eq. 1).
    """
    held = limited(temperature, low, high)
    return alpha * (held / 300.0) ** beta * jnp.exp(-gamma / held)


@law
def ionpol1(
    temperature: Array, /, alpha: Array, beta: Array, gamma: Array, low: Array, high: Array
) -> Array:
    """alpha beta (0.62 + 0.4767 gamma sqrt(300 K / T)), T held within [low, high].

    Capture of a polar molecule by an ion at low temperature, by the Su-Chesnavich theory:
    formula 4 of KIDA (Wakelam et al. 2012, ApJS 199, 21, eq. 2).
    """
    held = limited(temperature, low, high)
    return alpha * beta * (0.62 + 0.4767 * gamma * jnp.sqrt(300.0 / held))


@law
def ionpol2(
    temperature: Array, /, alpha: Array, beta: Array, gamma: Array, low: Array, high: Array
) -> Array:
    """alpha beta (1 + 0.0967 gamma sqrt(300 K / T) + gamma^2 300 K / (10.526 T)).

    T is held within [low, high]. The same theory as `ionpol1` at higher temperature: formula 5
    of KIDA (Wakelam et al. 2012, ApJS 199, 21, eq. 3).
    """
    inverse = 300.0 / limited(temperature, low, high)
    return alpha * beta * (1.0 + 0.0967 * gamma * jnp.sqrt(inverse) + gamma**2 / 10.526 * inverse)


@law
def interstellar_photo(
    visual_extinction: Array, uv_field: Array, /, alpha: Array, gamma: Array
) -> Array:
    """alpha exp(-gamma A_V) uv_field [s-1] (Wakelam et al. 2012, ApJS 199, 21, eq. 5)."""
    return alpha * jnp.exp(-gamma * visual_extinction) * uv_field


@law
def secondary_photo(
    temperature: Array, dust_albedo: Array, /, alpha: Array, beta: Array, gamma: Array
) -> Array:
    """alpha (T / 300 K)^beta gamma / (1 - omega) [s-1], omega the far-ultraviolet dust albedo.

    Photons that cosmic rays raise in the gas (Prasad & Tarafdar 1983, ApJ 267, 603), as UMIST
    writes them (McElroy et al. 2013, A&A 550, A36, eq. 3).
    """
    return alpha * (temperature / 300.0) ** beta * gamma / (1.0 - dust_albedo)
