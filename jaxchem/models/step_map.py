"""Emulators that start anywhere on a trajectory, so that their predictions can be chained."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, PRNGKeyArray

from .flow_map import Coefficients, FlowMap

__all__ = ["StepMap", "rollout"]

MOST_FIELDS = 4000
"""Shifted trajectories that the modes are taken from: all of them would fill the memory."""

LEAST_SPREAD = 0.05
"""Inputs that vary by less, in dex, are divided by this: over its own deviation, a reservoir that
hardly changes would turn the slightest error of a prediction into one far from all training data.
"""


class StepMap(eqx.Module):
    """An emulator `(y0[S], conditions[C], ts[T]) -> y[T, S]` from any state of a trajectory.

    `ts` are times after that of `y0`. Inside is a `FlowMap` that has learned from the training
    trajectories and from what is left of each after many of its times. Besides the state it is
    given the totals of the elements, which decide where a trajectory ends. In a chain their errors
    add up unless each prediction holds the totals of its start, so wrap the model by
    `models.conserved`.

    It knows states of trajectories like those it was trained on: their initial states, and what
    becomes of them. Any other state (of mixed gas, or after a jump of a condition) it takes,
    without a warning, for one of those that resembles it.

    Times below the first of its grid, the shortest step of the data, are interpolated linearly
    from `y0`, so that a time of zero gives back the state; beyond the last the state stays that of
    the last, so chain shorter steps to go further.

    Attributes:
        flow: from states, conditions and totals to trajectories on a grid of elapsed times.
        lowest: [S] inputs count as no less than this, the least in the training trajectories; an
            initial state may have zeros.
        start: time of the initial states of the training data.
        starts: states of each training trajectory to learn from.
        settings: what rebuilds a model of this shape.
    """

    flow: FlowMap
    lowest: Float[np.ndarray, " S"]
    start: Float[np.ndarray, ""]
    starts: int = eqx.field(static=True)
    settings: tuple[tuple[str, Any], ...] = eqx.field(static=True)

    def __init__(
        self,
        *,
        inputs: int,
        grid: int,
        size: int,
        starts: int = 40,
        key: PRNGKeyArray,
        **flow: Any,
    ):
        """A model with empty modes; `fitted_to` takes them from data.

        Args:
            inputs: how many of concentrations, conditions and totals vary.
            grid: number of grid times.
            size: number of species.
            starts: states of each training trajectory to learn from, a tenth of which repeat the
                initial one; at most one for each of its times.
            key: seeds the weights.
            **flow: of `FlowMap`: modes, width, depth, activation and sums.

        Raises:
            ValueError: `starts` below one.
        """
        if starts < 1:
            raise ValueError(f"starts={starts}: a step map learns from one state or more, as 40.")
        self.flow = FlowMap(inputs=inputs, grid=grid, size=size, key=key, **flow)
        self.lowest, self.start = np.zeros(size), np.asarray(0.0)
        self.starts = starts
        self.settings = (("starts", starts), *self.flow.settings)

    @classmethod
    def fitted_to(
        cls,
        y0: Any,
        conditions: Any,
        ts: Any,
        ys: Any,
        *,
        composition: Any,
        start: float = 0.0,
        starts: int = 40,
        floor: float = 1e-99,
        key: PRNGKeyArray,
        **flow: Any,
    ) -> "StepMap":
        """Inputs, scales and modes from trajectories; the perceptron is still to be trained.

        Args:
            y0: [N, S] initial states.
            conditions: [N, C] conditions.
            ts: [G] times.
            ys: [N, G, S] trajectories.
            composition: [E, S] count of each conserved element in each species.
            start: time of the initial states.
            starts: see `StepMap`.
            floor: smallest concentration that is told from zero.
            key: seeds the weights.
            **flow: see `StepMap`.

        Raises:
            ValueError: fewer than four times, or not all later than `start` and rising, or nothing
                varies.
        """
        elapsed = np.concatenate([[0.0], np.asarray(ts, dtype=float) - float(start)])
        if len(elapsed) < 5 or np.min(np.diff(elapsed)) <= 0:
            raise ValueError(
                "a step map wants four times or more that rise from the initial state's, "
                f"{start:g}; set data.t0 below the first of data.times, or data.times.zero=false."
            )
        lowest = np.maximum(np.min(np.asarray(ys, dtype=float), axis=(0, 1)), floor)
        grid = np.geomspace(np.min(np.diff(elapsed)), elapsed[-1], len(elapsed) - 1)
        few = np.arange(len(ys))
        if len(ys) * starts > MOST_FIELDS:
            few = np.linspace(0, len(ys) - 1, min(len(ys), MOST_FIELDS), dtype=int)
        each = max(1, min(starts, MOST_FIELDS // len(few)))
        begun, followed = np.asarray(y0)[few], np.asarray(ys)[few]
        states, fields, whose = _shifted(begun, followed, elapsed, grid, each, floor)
        given = np.asarray(conditions)[few][whose]
        states = np.maximum(states, lowest)
        fitted = FlowMap.fitted_to(
            states, given, grid, fields, floor=floor, sums=composition, key=key, **flow
        )
        spread = np.maximum(fitted.spread, LEAST_SPREAD)
        fitted = eqx.tree_at(lambda m: m.spread, fitted, spread)
        settings = {**dict(fitted.settings), "starts": starts}
        return eqx.tree_at(
            lambda m: (m.flow, m.lowest, m.start),
            cls(**settings, key=key),
            (fitted, lowest, np.asarray(float(start))),
        )

    def examples(self, y0: Any, conditions: Any, ts: Any, ys: Any) -> Coefficients:
        """Inputs and coefficients of trajectories, from their start and from later states."""
        elapsed = np.concatenate([[0.0], np.asarray(ts, dtype=float) - self.start])
        count = self.flow.mean.shape[0]
        grid = np.logspace(self.flow.times.low, self.flow.times.high, count)
        y0, conditions, ys = (np.asarray(part) for part in (y0, conditions, ys))
        blocks = []
        for at in range(0, len(ys), 64):  # the shifted trajectories of all would fill the memory
            block = slice(at, at + 64)
            states, fields, whose = _shifted(
                y0[block], ys[block], elapsed, grid, self.starts, float(self.flow.floor), at
            )
            states = np.maximum(states, self.lowest)
            blocks.append(self.flow.examples(states, conditions[block][whose], grid, fields))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *blocks)

    def terms(self, batch: Coefficients) -> dict[str, Float[Array, ""]]:
        """`trajectory`, as of `FlowMap`, over what follows each of the states."""
        return self.flow.terms(batch)

    def __call__(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """Concentrations at times `ts` after that of `y0`."""
        y0 = jnp.asarray(y0, float)
        low, high = 10.0**self.flow.times.low, 10.0**self.flow.times.high
        later = self.flow(jnp.maximum(y0, self.lowest), conditions, jnp.clip(ts, low, high))
        share = jnp.clip(ts / low, 0.0, 1.0)[:, None]
        return share * later + (1.0 - share) * y0[None]


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
        conditions: of the model.
        ts: rising times after that of `y0`.
        segments: how many pieces of as many times each; the first are longer by one where that
            leaves a remainder. One piece is the model itself.

    Raises:
        ValueError: fewer than one segment, or more than times.
    """
    if not 1 <= segments <= len(ts):
        raise ValueError(
            f"{segments} segments of {len(ts)} times: each needs one time or more; lower segments."
        )
    ts = jnp.asarray(ts)
    pieces = np.array_split(np.arange(len(ts)), segments)
    length = len(pieces[0])
    # all of one length, for the scan; what is repeated is left out again
    index = np.stack([np.pad(piece, (0, length - len(piece)), "edge") for piece in pieces])
    kept = np.concatenate([n * length + np.arange(len(p)) for n, p in enumerate(pieces)])

    def advance(carry: Any, times: Any) -> Any:
        state, origin = carry
        ys = model(state, conditions, times - origin)
        return (ys[-1], times[-1]), ys

    start = (jnp.asarray(y0, float), jnp.zeros((), ts.dtype))
    ys = jax.lax.scan(advance, start, ts[index])[1]
    return ys.reshape(-1, ys.shape[-1])[kept]


def _shifted(
    y0: np.ndarray,
    ys: np.ndarray,
    elapsed: np.ndarray,
    grid: np.ndarray,
    starts: int,
    floor: float,
    first: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States of trajectories, and what follows them.

    Between output times the logarithms are cubic splines of the logarithm of the time since the
    start; before the first output they are straight lines, and after the last, constant.

    Args:
        y0: [N, S] initial states.
        ys: [N, T, S] trajectories.
        elapsed: [1 + T] times since the start, its zero first.
        grid: [G] times after each state.
        starts: states of each trajectory, drawn without repetition save for the initial one.
        floor: smallest concentration that is told from zero.
        first: number of the first trajectory, which seeds the draw.

    Returns:
        states [N * starts, S], fields [N * starts, G, S], and the trajectory of each.
    """
    count, size = ys.shape[1:]
    initial = max(1, round(starts / 10))
    later = min(starts - initial, count - 1)  # nothing follows the last output
    x = np.log10(elapsed[1:])
    states = np.empty((len(ys), initial + later, size))
    fields = np.empty((len(ys), initial + later, len(grid), size))
    for n, trajectory in enumerate(ys):
        logs = np.log10(np.maximum(trajectory, floor))
        spline, slope = scipy.interpolate.CubicSpline(x, logs), (logs[1] - logs[0]) / (x[1] - x[0])
        drawn = np.random.default_rng(first + n).choice(count - 1, later, replace=False)
        chosen = np.concatenate([np.zeros(initial, int), 1 + drawn])
        states[n] = np.concatenate([y0[n][None], trajectory])[chosen]
        place = np.log10(np.minimum(elapsed[chosen][:, None] + grid, elapsed[-1]))
        before = np.minimum(place - x[0], 0.0)[..., None]
        fields[n] = 10.0 ** (spline(np.maximum(place, x[0])) + slope * before)
    whose = np.repeat(np.arange(len(ys)), initial + later)
    return states.reshape(-1, size), fields.reshape(-1, len(grid), size), whose
