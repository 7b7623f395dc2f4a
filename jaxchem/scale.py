"""Scales that bring quantities of many magnitudes to order one."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["LinearScale", "LinearTime", "LogScale", "LogTime", "SoftLog", "of_kind", "span"]


def span(
    values: Float[Array, "*n S"],
) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """Smallest value and range of each species, over all leading axes.

    A species that never changes has its magnitude as its range, and one that is always zero
    has 1, so that dividing by the range is always safe.
    """
    leading = tuple(range(values.ndim - 1))
    low, high = jnp.min(values, axis=leading), jnp.max(values, axis=leading)
    scale = high - low
    scale = jnp.where(scale == 0, jnp.abs(high), scale)
    return low, jnp.where(scale == 0, 1.0, scale)


class LinearScale(eqx.Module):
    """Quantities to [-1, 1] and back: x = 2 (y - low) / (high - low) - 1.

    Attributes:
        low: [S] what becomes -1.
        high: [S] what becomes 1.
    """

    low: Float[np.ndarray, " S"]
    high: Float[np.ndarray, " S"]

    @classmethod
    def of(cls, ys: Any, *, per_species: bool = True) -> "LinearScale":
        """The scale of values [..., S]: of each by itself, or one for all of them."""
        return cls(*_range(np.asarray(ys, dtype=float), per_species))

    def forward(self, y: Float[Array, "*n S"]) -> Float[Array, "*n S"]:
        """Scaled values."""
        return _scaled(y, self.low, self.high)

    def backward(self, x: Float[Array, "*n S"]) -> Float[Array, "*n S"]:
        """Values of scaled ones."""
        return _unscaled(x, self.low, self.high)


class LogScale(eqx.Module):
    """The same of logarithms: x = 2 (log10 y - low) / (high - low) - 1.

    Attributes:
        low: [S] what becomes -1, as log10.
        high: [S] what becomes 1.
        floor: smallest value that is told from zero.
    """

    low: Float[np.ndarray, " S"]
    high: Float[np.ndarray, " S"]
    floor: Float[np.ndarray, ""]

    @classmethod
    def of(cls, ys: Any, *, per_species: bool = True, floor: float = 1e-99) -> "LogScale":
        """The scale of values [..., S]: of each by itself, or one for all of them."""
        logs = np.log10(np.maximum(np.asarray(ys, dtype=float), floor))
        return cls(*_range(logs, per_species), np.asarray(floor))

    def forward(self, y: Float[Array, "*n S"]) -> Float[Array, "*n S"]:
        """Scaled logarithms."""
        return _scaled(jnp.log10(jnp.maximum(y, self.floor)), self.low, self.high)

    def backward(self, x: Float[Array, "*n S"]) -> Float[Array, "*n S"]:
        """Values of scaled logarithms."""
        return jnp.asarray(10.0) ** _unscaled(x, self.low, self.high)


class SoftLog(eqx.Module):
    """Quantities to x = log10(1 + y / F) and back: logarithmic above F, linear below.

    Attributes:
        amounts: [S] F.
    """

    amounts: Float[np.ndarray, " S"]

    @classmethod
    def of(cls, ys: Any, *, negligible: float, share: float) -> "SoftLog":
        """The scale of values [..., S].

        Args:
            ys: the values.
            negligible: F is no larger than this,
            share: and no larger than this part of the largest value of its species.

        Raises:
            ValueError: one that is not positive.
        """
        if not (negligible > 0 and share > 0):
            raise ValueError(f"negligible={negligible}, share={share}: both must be positive.")
        most = np.max(np.asarray(ys, dtype=float), axis=tuple(range(np.ndim(ys) - 1)))
        return cls(np.where(most > 0, np.minimum(negligible, share * most), 1.0))

    def forward(self, y: Float[Array, "*n S"]) -> Float[Array, "*n S"]:
        """Scaled values; what is negative counts as nothing."""
        amounts = self.amounts.reshape(*(1,) * (y.ndim - 1), -1)
        return jnp.log10(1 + jnp.maximum(y, 0.0) / amounts)

    def later(self, y: Float[Array, " S"], change: Float[Array, "*n S"]) -> Float[Array, "*n S"]:
        """Values that are a change of the scaled ones away from others; none is negative."""
        lead = (*(1,) * (change.ndim - 1), -1)
        amounts, y = self.amounts.reshape(lead), jnp.maximum(y, 0.0).reshape(lead)
        # half the time of a power of ten
        grown = jnp.exp(jnp.asarray(np.log(10.0), change.dtype) * change).astype(y.dtype)
        return jnp.maximum(grown * (y + amounts) - amounts, 0.0)


class LinearTime(eqx.Module):
    """Times to [0, 1].

    Attributes:
        low: the time that becomes 0.
        high: the time that becomes 1.
    """

    low: Float[np.ndarray, ""]
    high: Float[np.ndarray, ""]

    @classmethod
    def of(cls, ts: Any) -> "LinearTime":
        """The scale of output times, of which there must be two or more."""
        return cls(*_ends(np.asarray(ts, dtype=float)))

    def __call__(self, ts: Float[Array, " T"]) -> Float[Array, " T"]:
        """Scaled times."""
        return (ts - self.low) / (self.high - self.low)


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
        """The scale of output times, of which there must be two or more, all positive."""
        ts = np.asarray(ts, dtype=float)
        if np.any(ts <= 0):
            raise ValueError(
                f"the first output time is {ts[0]:g}, which has no logarithm: let the times begin "
                "later than zero (data.times.start, data.times.zero=false), or scale them linearly "
                "(model.time=linear)."
            )
        return cls(*_ends(np.log10(ts)))

    def __call__(self, ts: Float[Array, " T"]) -> Float[Array, " T"]:
        """Scaled times."""
        return (jnp.log10(ts) - self.low) / (self.high - self.low)


def of_kind(scale: str, time: str) -> tuple[type[Any], type[Any]]:
    """The classes of the scales of states and of times that a configuration calls so.

    Raises:
        ValueError: neither ``"log"`` nor ``"linear"``.
    """
    for name, value in (("scale", scale), ("time", time)):
        if value not in ("log", "linear"):
            raise ValueError(f"{name}={value!r} is unknown; write log or linear.")
    states = LogScale if scale == "log" else LinearScale
    return states, LogTime if time == "log" else LinearTime


def _range(values: np.ndarray, per_species: bool) -> tuple[np.ndarray, np.ndarray]:
    size = values.shape[-1]
    axes = tuple(range(values.ndim - 1)) if per_species else None
    low, high = (np.broadcast_to(f(values, axis=axes), size).copy() for f in (np.min, np.max))
    return low, np.where(high > low, high, low + 1.0)


def _ends(ts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(ts) < 2:
        raise ValueError(f"{len(ts)} output time: a model learns from two or more.")
    return np.asarray(ts[0]), np.asarray(ts[-1])


def _scaled(
    values: Float[Array, "*n S"], low: Float[np.ndarray, " S"], high: Float[np.ndarray, " S"]
) -> Float[Array, "*n S"]:
    low, high = (np.reshape(end, (*(1,) * (values.ndim - 1), -1)) for end in (low, high))
    return 2.0 * (values - low) / (high - low) - 1.0


def _unscaled(
    x: Float[Array, "*n S"], low: Float[np.ndarray, " S"], high: Float[np.ndarray, " S"]
) -> Float[Array, "*n S"]:
    low, high = (np.reshape(end, (*(1,) * (x.ndim - 1), -1)) for end in (low, high))
    return jnp.asarray(low) + (x.astype(float) + 1.0) * (0.5 * (high - low))
