"""Predictions from predictions: trajectories in pieces, and courses of segments."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["along", "rollout"]

LEAST_SPREAD = 0.05
"""Inputs that vary by less, in dex, are divided by this: over its own deviation, a reservoir that
hardly changes would turn the slightest error of a prediction into one far from all training data.
"""


def rollout(
    model: Callable[..., Float[Array, "T S"]],
    y0: Float[Array, " S"],
    conditions: Any,
    ts: Float[Array, " T"],
    segments: int,
) -> Float[Array, "T S"]:
    """A trajectory in pieces, each from the predicted last state of the one before.

    Args:
        model: `(y0 [S], conditions, elapsed times) -> y`, from any state, as a `StepMap`.
        y0: the state at time zero.
        conditions: of the model; an array [segments, C] has those of each piece.
        ts: rising times after that of `y0`.
        segments: how many pieces of as many times each; the first are longer by one where that
            leaves a remainder. One piece is the model itself.

    Raises:
        ValueError: fewer than one segment, or more than times; conditions of another number of
            pieces.
    """
    if not 1 <= segments <= len(ts):
        raise ValueError(
            f"{segments} segments of {len(ts)} times: each needs one time or more; lower segments."
        )
    own = None
    if not isinstance(conditions, Mapping) and np.ndim(conditions) == 2:
        own = jnp.asarray(conditions)
        if len(own) != segments:
            raise ValueError(f"conditions of {len(own)} pieces for {segments} segments.")
    ts = jnp.asarray(ts)
    pieces = np.array_split(np.arange(len(ts)), segments)
    length = len(pieces[0])
    # all of one length, for the scan; what is repeated is left out again
    index = np.stack([np.pad(piece, (0, length - len(piece)), "edge") for piece in pieces])
    kept = np.concatenate([n * length + np.arange(len(p)) for n, p in enumerate(pieces)])

    def advance(carry: Any, piece: Any) -> Any:
        (state, origin), (times, own) = carry, piece
        ys = model(state, conditions if own is None else own, times - origin)
        return (ys[-1], times[-1]), ys

    start = (jnp.asarray(y0, float), jnp.zeros((), ts.dtype))
    ys = jax.lax.scan(advance, start, (ts[index], own))[1]
    return ys.reshape(-1, ys.shape[-1])[kept]


def along(
    model: Callable[..., Float[Array, "T S"]],
    y0: Float[Array, " S"],
    conditions: Float[Array, "segment C"],
    ts: Float[Array, " T"],
) -> Float[Array, "segment T S"]:
    """States through the segments of a course, each from the predicted last one of the one before.

    `Observations.courses` has such; this is of one, so vmap it over several.

    Args:
        model: `(y0 [S], conditions [C], elapsed times [T]) -> y`, from any state.
        y0: the state that the first segment starts from.
        conditions: of each segment.
        ts: rising times since the start of a segment, which ends at the last.

    Raises:
        ValueError: conditions that are not those of segments.
    """
    if np.ndim(conditions) != 2:
        raise ValueError(
            f"conditions of shape {np.shape(conditions)}: give a row for each segment, as "
            "Observations.courses has them."
        )
    ts = jnp.asarray(ts)
    ends = jnp.arange(len(conditions), dtype=ts.dtype)[:, None] * ts[-1]
    chain = rollout(model, y0, conditions, (ends + ts[None]).ravel(), len(conditions))
    return chain.reshape(len(conditions), len(ts), -1)
