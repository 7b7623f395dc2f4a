"""What every emulator shares: logarithmic scales of states and of times."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["LogScale", "LogTime"]


class LogScale(eqx.Module):
    """Concentrations to scaled logarithms and back: x = 2 (log10 y - low) / (high - low) - 1.

    Attributes:
        low: [S] what becomes -1.
        high: [S] what becomes 1.
        floor: smallest concentration that is told from zero.
    """

    low: Float[np.ndarray, " S"]
    high: Float[np.ndarray, " S"]
    floor: Float[np.ndarray, ""]

    @classmethod
    def of(cls, ys: Any, *, per_species: bool, floor: float = 1e-99) -> "LogScale":
        """Scales of trajectories [..., S]: of each species, or one for all of them."""
        logs = np.log10(np.maximum(np.asarray(ys, dtype=float), floor))
        size = logs.shape[-1]
        axes = tuple(range(logs.ndim - 1)) if per_species else None
        low, high = (np.broadcast_to(f(logs, axis=axes), size).copy() for f in (np.min, np.max))
        return cls(low, np.where(high > low, high, low + 1.0), np.asarray(floor))

    @classmethod
    def unit(cls, size: int) -> "LogScale":
        """A scale of the right shape, for a model that is about to be loaded."""
        return cls(np.zeros(size), np.ones(size), np.asarray(0.0))

    def forward(self, y: Float[Array, "*n S"]) -> Float[Array, "*n S"]:
        """Scaled logarithms of concentrations."""
        low, high = self._over(y)
        logs = jnp.log10(jnp.maximum(y, self.floor))
        return 2.0 * (logs - low) / (high - low) - 1.0

    def backward(self, x: Float[Array, "*n S"]) -> Float[Array, "*n S"]:
        """Concentrations of scaled logarithms."""
        low, high = self._over(x)
        return jnp.asarray(10.0) ** (low + (x.astype(float) + 1.0) * (0.5 * (high - low)))

    def _over(self, values: Float[Array, "*n S"]) -> tuple[np.ndarray, np.ndarray]:
        if values.shape[-1] != len(self.low):  # one would be broadcast
            raise ValueError(
                f"the model takes {len(self.low)} species or conditions where it got "
                f"{values.shape[-1]}; give those of its training data, in their order."
            )
        shape = (*(1,) * (values.ndim - 1), -1)
        return np.reshape(self.low, shape), np.reshape(self.high, shape)


class LogTime(eqx.Module):
    """Times to [0, 1], logarithmically.

    Attributes:
        low: log10 of the time that becomes 0.
        high: log10 of the time that becomes 1.
    """

    low: Float[np.ndarray, ""]
    high: Float[np.ndarray, ""]

    @classmethod
    def of(cls, ts: Any) -> "LogTime":
        """The scale of output times, which must be positive and increase."""
        ts = np.asarray(ts, dtype=float)
        if len(ts) < 2 or ts[0] <= 0:
            raise ValueError(
                "emulators take the logarithm of time: give two output times or more, the first "
                "later than zero."
            )
        return cls(np.log10(ts[0]), np.log10(ts[-1]))

    def __call__(self, ts: Float[Array, " T"]) -> Float[Array, " T"]:
        """Scaled times."""
        return (jnp.log10(ts) - self.low) / (self.high - self.low)
