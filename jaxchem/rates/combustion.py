"""Rate laws of gas-phase combustion: falloff between the limits of low and high pressure.

Both take the high-pressure limit k_inf and the reduced pressure Pr = k_0 [M] / k_inf.
"""

import jax.numpy as jnp
from jaxtyping import Array

from .law import law

__all__ = ["lindemann", "troe"]

_SMALLEST = 1e-300
"""What logarithms are taken of instead of zero."""


@law
def lindemann(high: Array, reduced: Array) -> Array:
    """k_inf Pr / (1 + Pr) (Lindemann 1922, Trans. Faraday Soc. 17, 598)."""
    return high * reduced / (1.0 + reduced)


@law
def troe(high: Array, reduced: Array, centre: Array) -> Array:
    """k_inf Pr / (1 + Pr) F, with log10 F = log10 Fc / (1 + ((p + c) / (n - 0.14 (p + c)))^2).

    There p = log10 Pr, c = -0.4 - 0.67 log10 Fc and n = 0.75 - 1.27 log10 Fc; `centre` is Fc
    (Gilbert, Luther & Troe 1983, Ber. Bunsenges. Phys. Chem. 87, 169).
    """
    centre = jnp.maximum(centre, _SMALLEST)
    log_centre = jnp.log10(centre)
    shifted = jnp.log10(jnp.maximum(reduced, _SMALLEST)) - 0.4 - 0.67 * log_centre
    width = shifted / (0.75 - 1.27 * log_centre - 0.14 * shifted)
    return lindemann(high, reduced) * centre ** (1.0 / (1.0 + width**2))
