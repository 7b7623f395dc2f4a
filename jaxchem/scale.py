"""Scales that bring quantities of many magnitudes to order one."""

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["span"]


def span(
    values: Float[Array, "*n S"],
) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """Smallest value and range of each species, over all leading axes.

    A species that never changes has its magnitude as its range, and one that is always zero
    has 1, so that dividing by the range is always safe.
    """
    flat = values.reshape(-1, values.shape[-1])
    low, high = jnp.min(flat, axis=0), jnp.max(flat, axis=0)
    scale = high - low
    scale = jnp.where(scale == 0, jnp.abs(high), scale)
    return low, jnp.where(scale == 0, 1.0, scale)
