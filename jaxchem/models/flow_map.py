"""Direct emulators: initial state and conditions to the whole trajectory at once."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .emulator import LogTime
from .perceptron import Perceptron

__all__ = ["FlowMap"]

# trajectories that the modes are taken from: their cost grows as the cube
_SAMPLED = 4000


class FlowMap(eqx.Module):
    """An emulator `(y0[S], conditions[C], ts[T]) -> y[T, S]` by proper orthogonal decomposition.

    Trajectories of logarithms on a grid of times are one vector each. A perceptron gives its
    coefficients in the leading orthogonal modes of the training data from the logarithms of those
    initial concentrations and conditions that vary there. Between grid times the logarithms are
    interpolated by cubics in the logarithm of time.

    Attributes:
        mlp: standardised inputs to coefficients over their deviations.
        sums: [E, S] sums of species that are inputs too, such as the nuclei of each element.
        chosen: [D] which of species, sums and conditions are inputs.
        centre: [D] their means, as log10.
        spread: [D] their standard deviations.
        modes: [G, S, M] orthogonal fields of log10 concentration; the product of one state is
            fastest where a mode is a column.
        mean: [G, S] the mean field.
        deviation: [M] standard deviations of the coefficients.
        times: scale of the grid's times.
        floor: smallest concentration, or abundance, that is told from zero.
        relative: concentrations count over the largest of the initial state, as abundances.
        settings: what rebuilds a model of this shape.
    """

    mlp: Perceptron
    sums: Float[np.ndarray, "E S"]
    chosen: Int[np.ndarray, " D"]
    centre: Float[np.ndarray, " D"]
    spread: Float[np.ndarray, " D"]
    modes: Float[np.ndarray, "G S M"]
    mean: Float[np.ndarray, "G S"]
    deviation: Float[np.ndarray, " M"]
    times: LogTime
    floor: Float[np.ndarray, ""]
    relative: bool = eqx.field(static=True)
    settings: tuple[tuple[str, Any], ...] = eqx.field(static=True)

    def __init__(
        self,
        *,
        inputs: int,
        grid: int,
        size: int,
        modes: int = 80,
        width: int = 64,
        depth: int = 3,
        activation: str = "silu",
        relative: bool = False,
        sums: int = 0,
        key: PRNGKeyArray,
    ):
        """A model with empty modes; `fitted_to` takes them from data.

        Args:
            inputs: how many of the initial concentrations and conditions vary.
            grid: number of grid times.
            size: number of species.
            modes: number of modes.
            width: of each hidden layer.
            depth: number of hidden layers, with skip connections.
            activation: between them.
            relative: learn abundances, concentrations over the largest of the initial state.
            sums: number of sums of species that are inputs too.
            key: seeds the weights.
        """
        sizes = (inputs, *(width,) * depth, modes)
        self.mlp = Perceptron(sizes, activation=activation, residual=True, gain=1.4, key=key)
        self.sums = np.zeros((sums, size))
        self.chosen = np.zeros(inputs, dtype=np.int32)
        self.centre, self.spread = np.zeros(inputs), np.ones(inputs)
        self.modes = np.zeros((grid, size, modes), dtype=np.float32)
        self.mean = np.zeros((grid, size))
        self.deviation = np.ones(modes)
        self.times = LogTime(np.asarray(0.0), np.asarray(1.0))
        self.floor = np.asarray(0.0)
        self.relative = relative
        self.settings = (
            *(("inputs", inputs), ("grid", grid), ("size", size), ("modes", modes)),
            *(("width", width), ("depth", depth), ("activation", activation)),
            *(("relative", relative), ("sums", sums)),
        )

    @classmethod
    def fitted_to(
        cls,
        y0: Any,
        conditions: Any,
        ts: Any,
        ys: Any,
        *,
        modes: int = 80,
        floor: float = 1e-99,
        relative: bool = False,
        sums: Any = None,
        key: PRNGKeyArray,
        **settings: Any,
    ) -> "FlowMap":
        """Inputs, scales and modes from trajectories; the perceptron is still to be trained.

        Args:
            y0: [N, S] initial states.
            conditions: [N, C] conditions.
            ts: [G] times, evenly spaced in their logarithm.
            ys: [N, G, S] trajectories.
            modes: at most so many modes; there are no more than trajectories.
            floor: smallest concentration, or abundance, that is told from zero.
            relative: learn abundances, concentrations over the largest of the initial state.
            sums: [E, S] sums of species that are inputs too, where they vary and are no species.
            key: seeds the weights.
            **settings: of the perceptron, as for `FlowMap`.

        Raises:
            ValueError: times that are not evenly spaced in their logarithm, or nothing varies.
        """
        steps = np.diff(np.log10(np.asarray(ts, dtype=float)))
        if len(ts) < 4 or not np.allclose(steps, steps[0], rtol=1e-6):
            raise ValueError(
                "a flow map wants four times or more, evenly spaced in their logarithm; generate "
                "data with data.times.spacing=log."
            )
        unit = np.asarray(_unit(jnp.asarray(y0), relative))
        sums = np.zeros((0, np.shape(y0)[1])) if sums is None else np.asarray(sums, dtype=float)
        logs = _logs(np, np.asarray(y0) / unit, sums, np.asarray(conditions), floor)
        chosen = _independent(logs)
        if not len(chosen):
            raise ValueError("every trajectory starts alike: there is nothing to emulate.")
        fields = np.log10(np.maximum(np.asarray(ys, dtype=float) / unit[:, None], floor))
        mean = np.mean(fields, axis=0)
        flat = (fields - mean).reshape(len(fields), -1)
        modes = min(modes, len(flat), flat.shape[1], _SAMPLED)
        basis = _leading(flat, modes)
        made = cls(
            inputs=len(chosen),
            grid=len(ts),
            size=fields.shape[2],
            modes=modes,
            relative=relative,
            sums=len(sums),
            key=key,
            **settings,
        )
        deviation = np.std(flat @ basis.T, axis=0)
        return eqx.tree_at(
            lambda m: (
                *(m.sums, m.chosen, m.centre, m.spread, m.modes),
                *(m.mean, m.deviation, m.times, m.floor),
            ),
            made,
            (
                sums,
                chosen.astype(np.int32),
                np.mean(logs[:, chosen], axis=0),
                np.std(logs[:, chosen], axis=0),
                basis.T.reshape(*mean.shape, modes).astype(np.float32),
                mean,
                np.where(deviation > 0, deviation, 1.0),
                LogTime.of(ts),
                np.asarray(floor),
            ),
        )

    def inputs(self, y0: Float[Array, "*n S"], conditions: Float[Array, "*n C"]) -> Any:
        """What the perceptron is given."""
        start = y0 / _unit(y0, self.relative)
        logs = _logs(jnp, start, self.sums, conditions, self.floor)
        if isinstance(self.chosen, np.ndarray) and self.chosen.max(initial=0) >= logs.shape[-1]:
            needed = self.chosen.max() + 1 - logs.shape[-1] + conditions.shape[-1]
            raise ValueError(
                f"the model takes {needed} conditions or more, but got {conditions.shape[-1]}; "
                "give those of its training data, in their order."
            )
        logs = logs[..., self.chosen]
        shape = (*(1,) * (logs.ndim - 1), -1)
        return (logs - self.centre.reshape(shape)) / self.spread.reshape(shape)

    def examples(self, y0: Any, conditions: Any, ts: Any, ys: Any) -> "Coefficients":
        """Inputs and coefficients of trajectories on the model's own grid of times."""
        del ts
        unit = np.asarray(_unit(jnp.asarray(y0), self.relative))[:, None]
        fields = np.log10(np.maximum(np.asarray(ys, dtype=float) / unit, self.floor)) - self.mean
        columns = self.modes.reshape(-1, self.modes.shape[-1])
        wanted = fields.reshape(len(fields), -1) @ columns / self.deviation
        inputs = self.inputs(jnp.asarray(y0), jnp.asarray(conditions))
        return Coefficients(jnp.asarray(inputs, jnp.float32), jnp.asarray(wanted, jnp.float32))

    def terms(self, batch: "Coefficients") -> dict[str, Float[Array, ""]]:
        """`trajectory`: mean square error of the field in dex, within the modes' span."""
        error = jax.vmap(self.mlp)(batch.inputs) - batch.wanted
        error = error * jnp.asarray(self.deviation, error.dtype)[None]
        return {"trajectory": jnp.mean(jnp.sum(error**2, axis=1)) / self.mean.size}

    def __call__(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """Concentrations at `ts`.

        The cubics of the grid's ends go on for a step of the grid; further out, before the first
        time or after the last, the state stays as it is there.
        """
        scaled = self.mlp(self.inputs(y0, conditions))
        weights = scaled * jnp.asarray(self.deviation, scaled.dtype)
        change = jnp.tensordot(jnp.asarray(self.modes), weights, 1)
        grid = self.mean.shape[0]
        place = jnp.clip(self.times(ts) * (grid - 1), -1.0, grid)
        start = jnp.clip(jnp.floor(place).astype(jnp.int32), 1, grid - 3)
        r = (place - start.astype(place.dtype))[:, None]
        shares = (
            -r * (r - 1) * (r - 2) / 6,
            (r + 1) * (r - 1) * (r - 2) / 2,
            -(r + 1) * r * (r - 2) / 2,
            (r + 1) * r * (r - 1) / 6,
        )
        field = self.mean + change.astype(float)
        logs = sum(share * field[start + n - 1] for n, share in enumerate(shares))
        # half the time of a power of ten
        return _unit(y0, self.relative)[None] * jnp.exp(np.log(10.0) * jnp.asarray(logs))


class Coefficients(NamedTuple):
    """Standardised inputs and, over their deviations, the coefficients that are wanted."""

    inputs: Float[Array, "N D"]
    wanted: Float[Array, "N M"]

    def at(self, index: Any) -> "Coefficients":
        """Coefficients are of whole trajectories, so they stay."""
        del index
        return self


def _logs(xp: Any, start: Any, sums: Any, conditions: Any, floor: Any) -> Any:
    """log10 of all that could be inputs, by numpy or jax; the floor is not one of conditions."""
    amounts = xp.maximum(xp.concatenate([start, start @ sums.T], axis=-1), floor)
    return xp.log10(xp.concatenate([amounts, xp.maximum(conditions, 1e-99)], axis=-1))


def _unit(y0: Float[Array, "*n S"], relative: bool) -> Float[Array, "*n 1"]:
    """What concentrations count over: the largest of the initial state, or one."""
    return jnp.max(y0, axis=-1, keepdims=True) if relative else jnp.ones_like(y0[..., :1])


def _independent(columns: np.ndarray) -> np.ndarray:
    """Numbers of the columns that vary, without those that only repeat one before them."""
    centred = columns - np.mean(columns, axis=0)
    size = np.linalg.norm(centred, axis=0)
    kept: list[int] = []
    for n in np.flatnonzero(size > 1e-9 * len(columns) ** 0.5):
        shared = centred[:, kept].T @ centred[:, n] / (size[kept] * size[n])
        if np.all(np.abs(shared) < 1 - 1e-8):
            kept.append(int(n))
    return np.array(kept, dtype=int)


def _leading(flat: np.ndarray, modes: int) -> np.ndarray:
    """The leading right singular vectors, of a sample of the rows where there are many."""
    if len(flat) > _SAMPLED:  # at random, as every so many-th of a Sobol sequence fills no range
        flat = flat[np.random.default_rng(0).choice(len(flat), _SAMPLED, replace=False)]
    if len(flat) <= 1000:
        return np.linalg.svd(flat, full_matrices=False)[2][:modes]
    # from the smaller Gram matrix, whose rounding is far below what a mode of many rows matters
    wide = len(flat) < flat.shape[1]
    gram = flat @ flat.T if wide else flat.T @ flat
    last = len(gram) - 1
    vectors = scipy.linalg.eigh(gram, subset_by_index=[last - modes + 1, last])[1][:, ::-1]
    return np.linalg.qr(flat.T @ vectors)[0].T if wide else vectors.T
