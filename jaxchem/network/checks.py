"""Which numbers can be concentrations, and what they are calculated in."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

__all__ = ["floating", "impossible"]


def floating(states: Any) -> Float[Array, "*n S"]:
    """States as they are calculated with: whole numbers become real ones."""
    states = jnp.asarray(states)
    return states if jnp.issubdtype(states.dtype, jnp.floating) else states.astype(float)


def impossible(states: Float[np.ndarray, "*n S"], atol: Any = None) -> Bool[np.ndarray, "*n S"]:
    """Which entries no concentration can have: NaN, infinite or truly negative ones.

    Integrators leave a concentration below zero by about their absolute tolerance or by
    round-off, and what they give can be started from again: ten times `atol` below zero is a
    dip, and so is fifty times the round-off of the largest concentration of the state, 1e-14 of
    it in 64 bits. This one rule holds wherever states come in.

    Args:
        states: concentrations.
        atol: absolute tolerance, a number or [S], where there is one.
    """
    states = np.asarray(states)
    if not np.issubdtype(states.dtype, np.floating):
        states = states.astype(float)
    finite = np.isfinite(states)
    largest = np.max(states, axis=-1, keepdims=True, initial=0.0, where=finite)
    depth = 50 * np.finfo(states.dtype).eps * largest
    if atol is not None:
        depth = np.maximum(depth, 10 * np.asarray(atol))
    return ~finite | (states < -depth)
