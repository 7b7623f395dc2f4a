"""Emulators that start anywhere on a trajectory, so that their predictions can be chained."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, PRNGKeyArray

from ..dataset import Observations
from .base import About, AbstractEmulator, hands_on
from .chain import LEAST_SPREAD
from .flow_map import Coefficients, FlowMap, nuclei

__all__ = ["StepMap"]

MOST_FIELDS = 4000
"""Shifted trajectories that the modes are taken from: all of them would fill the memory."""


class StepMap(AbstractEmulator):
    """An emulator from any state of a trajectory.

    Inside is a `FlowMap` that has learned from the training trajectories and from what is left of
    each after many of its times. Besides the state it is given the totals of the elements, which
    decide where a trajectory ends. In a chain their errors add up unless each prediction holds the
    totals of its start, so wrap the model by `models.conserved`.

    It knows states of trajectories like those it was trained on: their initial states, and what
    becomes of them. Any other state (of mixed gas, or after a jump of a condition) it takes,
    without a warning, for one of those that resembles it.

    Times below the first of its grid, the shortest step of the data, are interpolated linearly
    from `y0`, so that a time of zero gives back the state; beyond the last the state stays that of
    the last, so chain shorter steps to go further.

    Attributes:
        about: names of states and conditions.
        flow: from states, conditions and totals to trajectories on a grid of elapsed times.
        lowest: [S] inputs count as no less than this, the least in the training trajectories; an
            initial state may have zeros.
        starts: states of each training trajectory to learn from.
    """

    about: About = eqx.field(static=True)
    flow: FlowMap
    lowest: Float[np.ndarray, " S"]
    starts: int = eqx.field(static=True)

    @classmethod
    @hands_on(FlowMap.of_arrays, without=("sums", "time"))
    def fitted(
        cls,
        data: Observations,
        *,
        starts: int = 40,
        floor: float = 1e-99,
        key: PRNGKeyArray,
        **flow: Any,
    ) -> "StepMap":
        """Inputs, scales and modes from the data; the perceptron is still to be trained.

        The totals that it is given are of all that the network balances, save for the charge.

        Args:
            data: trajectories of every species.
            starts: states of each training trajectory to learn from, a tenth of which repeat the
                initial one; at most one for each of its times.
            floor: smallest concentration that is told from zero.
            key: seeds the weights.
            **flow: of `FlowMap.of_arrays`: modes, width, depth and activation.

        Raises:
            ValueError: `starts` below one, or fewer than four times, or not all later than the
                start and rising, or nothing varies.
        """
        if starts < 1:
            raise ValueError(f"starts={starts}: a step map learns from one state or more, as 40.")
        elapsed, start = _elapsed(data), float(data.t0)
        if len(elapsed) < 5 or np.min(np.diff(elapsed)) <= 0:
            raise ValueError(
                "a step map wants four times or more that rise from the initial state's, "
                f"{start:g}; set data.t0 below the first of data.times, or data.times.zero=false."
            )
        y0, conditions, ys = map(np.asarray, (data.y0, data.conditions, data.states))
        lowest = np.maximum(np.min(ys, axis=(0, 1)), floor)
        grid = np.geomspace(np.min(np.diff(elapsed)), elapsed[-1], len(elapsed) - 1)
        few = np.arange(len(ys))
        if len(ys) * starts > MOST_FIELDS:
            few = np.linspace(0, len(ys) - 1, min(len(ys), MOST_FIELDS), dtype=int)
        each = max(1, min(starts, MOST_FIELDS // len(few)))
        states, fields, whose = _shifted(y0[few], ys[few], elapsed, grid, each, floor)
        about = About.of(data, anywhere=True)
        flow_map = FlowMap.of_arrays(
            about._replace(start=0.0, low=(), high=()),
            np.maximum(states, lowest),
            conditions[few][whose],
            grid,
            fields,
            floor=floor,
            sums=nuclei(data.network),
            key=key,
            **flow,
        )
        width = np.maximum(flow_map.width, LEAST_SPREAD)
        flow_map = eqx.tree_at(lambda m: m.width, flow_map, width)
        return cls(about, flow_map, lowest, starts)

    @property
    def restarts(self) -> bool:
        """Yes."""
        return True

    def examples(self, data: Observations) -> Coefficients:
        """Inputs and coefficients of trajectories, from their start and from later states."""
        elapsed, scale = _elapsed(data), self.flow.time_scale
        grid = np.logspace(scale.low, scale.high, self.flow.mean.shape[0])
        y0, conditions, ys = map(np.asarray, (data.y0, data.conditions, data.states))
        blocks = []
        for at in range(0, len(ys), 64):  # the shifted trajectories of all would fill the memory
            block = slice(at, at + 64)
            states, fields, whose = _shifted(
                y0[block], ys[block], elapsed, grid, self.starts, float(self.flow.floor), at
            )
            states = np.maximum(states, self.lowest)
            blocks.append(self.flow.coefficients(states, conditions[block][whose], fields))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *blocks)

    def terms(self, batch: Coefficients, key: PRNGKeyArray) -> dict[str, Float[Array, ""]]:
        """`trajectory`, as of `FlowMap`, over what follows each of the states."""
        return self.flow.terms(batch, key)

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """States at `ts`."""
        low, high = 10.0**self.flow.time_scale.low, 10.0**self.flow.time_scale.high
        later = self.flow.predict(jnp.maximum(y0, self.lowest), conditions, jnp.clip(ts, low, high))
        share = jnp.clip(ts / low, 0.0, 1.0)[:, None]
        return share * later + (1.0 - share) * y0[None]


def _elapsed(data: Observations) -> Float[np.ndarray, " 1+T"]:
    """Times since the initial state, its zero first."""
    return np.concatenate([[0.0], np.asarray(data.ts) - float(data.t0)])


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
