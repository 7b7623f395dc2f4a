"""Direct emulators: initial state and conditions to the whole trajectory at once."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..dataset import Observations
from ..formula import CHARGE
from ..network import Network
from ..scale import LinearTime, LogTime, of_kind
from .base import About, AbstractEmulator, hands_on
from .layers import Perceptron

__all__ = ["FlowMap"]

# trajectories that the modes are taken from: their cost grows as the cube
SAMPLED = 4000


class FlowMap(AbstractEmulator):
    """An emulator by proper orthogonal decomposition.

    Trajectories of logarithms on a grid of times are one vector each. A perceptron gives its
    coefficients in the leading orthogonal modes of the training data from the logarithms of those
    initial concentrations and conditions that vary there. Between grid times the logarithms are
    interpolated by cubics in the scaled time.

    Attributes:
        about: names of states and conditions.
        mlp: standardised inputs to coefficients over their deviations.
        sums: [E, S] sums of species that are inputs too, such as the nuclei of each element.
        chosen: [D] which of species, sums and conditions are inputs.
        centre: [D] their means, as log10.
        width: [D] their standard deviations.
        modes: [G, S, M] orthogonal fields of log10 concentration; the product of one state is
            fastest where a mode is a column.
        mean: [G, S] the mean field.
        deviation: [M] standard deviations of the coefficients.
        amounts: [S] fields are concentrations over these, instead of their logarithms.
        time_scale: of the grid's times, the start of the data included.
        floor: smallest concentration, or abundance, that is told from zero.
        relative: concentrations count over the largest of the initial state, as abundances.
    """

    about: About = eqx.field(static=True)
    mlp: Perceptron
    sums: Float[np.ndarray, "E S"]
    chosen: Int[np.ndarray, " D"]
    centre: Float[np.ndarray, " D"]
    width: Float[np.ndarray, " D"]
    modes: Float[np.ndarray, "G S M"]
    mean: Float[np.ndarray, "G S"]
    deviation: Float[np.ndarray, " M"]
    amounts: Float[np.ndarray, " S"] | None
    time_scale: LogTime | LinearTime
    floor: Float[np.ndarray, ""]
    relative: bool = eqx.field(static=True)

    @classmethod
    def of_arrays(
        cls,
        about: About,
        y0: Float[np.ndarray, "N S"],
        conditions: Float[np.ndarray, "N C"],
        ts: Float[np.ndarray, " G"],
        ys: Float[np.ndarray, "N G S"],
        *,
        sums: Float[np.ndarray, "E S"] | None = None,
        modes: int = 80,
        width: int = 64,
        depth: int = 3,
        activation: str = "silu",
        relative: bool = False,
        floor: float = 1e-99,
        scale: str = "log",
        time: str = "log",
        key: PRNGKeyArray,
    ) -> "FlowMap":
        """Inputs, scales and modes of trajectories; the perceptron is still to be trained.

        Args:
            about: names of states and conditions.
            y0: initial states.
            conditions: what they are under.
            ts: times, evenly spaced in their scale.
            ys: trajectories.
            sums: sums of species that are inputs too, where they vary and are no species.
            modes: at most so many modes; there are no more than trajectories.
            width: of each hidden layer.
            depth: number of hidden layers, with skip connections.
            activation: between them.
            relative: learn abundances, concentrations over the largest of the initial state.
            floor: smallest concentration, or abundance, that is told from zero.
            scale: of the states, ``"log"`` or ``"linear"`` (each over its largest).
            time: of the times, ``"log"`` or ``"linear"``.
            key: seeds the weights.

        Raises:
            ValueError: an unknown scale, times that are not evenly spaced, or nothing varies.
        """
        _, times = of_kind(scale, time)
        ts = np.asarray(ts, dtype=float)
        time_scale = times.of(ts)
        steps = np.diff(np.asarray(time_scale(jnp.asarray(ts))))
        if len(ts) < 4 or not np.allclose(steps, steps[0], rtol=1e-6):
            how = "in their logarithm" if time == "log" else "in time"
            raise ValueError(
                f"a flow map wants four times or more, evenly spaced {how}; generate data with "
                f"data.times.spacing={time}."
            )
        unit = np.asarray(_unit(jnp.asarray(y0), relative))
        sums = np.zeros((0, np.shape(y0)[1])) if sums is None else np.asarray(sums, dtype=float)
        logs = _logs(np, np.asarray(y0) / unit, sums, np.asarray(conditions), floor)
        chosen = independent(logs)
        if not len(chosen):
            raise ValueError("every trajectory starts alike: there is nothing to emulate.")
        amounts, abundances = None, np.asarray(ys, dtype=float) / unit[:, None]
        if scale == "linear":
            amounts = np.maximum(np.max(np.abs(abundances), axis=(0, 1)), floor)
        fields = _fields(abundances, amounts, floor)
        mean = np.mean(fields, axis=0)
        flat = (fields - mean).reshape(len(fields), -1)
        modes = min(modes, len(flat), flat.shape[1], SAMPLED)
        basis = leading(flat, modes)
        deviation = np.std(flat @ basis.T, axis=0)
        sizes = (len(chosen), *(width,) * depth, modes)
        return cls(
            about=about,
            mlp=Perceptron(sizes, activation=activation, residual=True, gain=1.4, key=key),
            sums=sums,
            chosen=chosen.astype(np.int32),
            centre=np.mean(logs[:, chosen], axis=0),
            width=np.std(logs[:, chosen], axis=0),
            modes=basis.T.reshape(*mean.shape, modes).astype(np.float32),
            mean=mean,
            deviation=np.where(deviation > 0, deviation, 1.0),
            amounts=amounts,
            time_scale=time_scale,
            floor=np.asarray(floor),
            relative=relative,
        )

    @classmethod
    @hands_on(of_arrays.__func__, without=("sums",))
    def fitted(cls, data: Observations, *, key: PRNGKeyArray, **settings: Any) -> "FlowMap":
        """The same from data.

        Nuclei of the elements are inputs too: which of two is left over decides what is made.

        Args:
            data: trajectories of every species.
            key: seeds the weights.
            **settings: of `of_arrays`.
        """
        parts = map(np.asarray, (data.y0, data.conditions, data.ts, data.states))
        return cls.of_arrays(About.of(data), *parts, sums=nuclei(data.network), key=key, **settings)

    def inputs(self, y0: Float[Array, "*n S"], conditions: Float[Array, "*n C"]) -> Any:
        """What the perceptron is given."""
        start = y0 / _unit(y0, self.relative)
        logs = _logs(jnp, start, self.sums, conditions, self.floor)[..., self.chosen]
        shape = (*(1,) * (logs.ndim - 1), -1)
        return (logs - self.centre.reshape(shape)) / self.width.reshape(shape)

    def examples(self, data: Observations) -> "Coefficients":
        """Inputs and coefficients of trajectories on the model's own grid of times."""
        return self.coefficients(data.y0, data.conditions, data.states)

    def coefficients(self, y0: Any, conditions: Any, ys: Any) -> "Coefficients":
        """The same from arrays: states [N, S], conditions [N, C], trajectories [N, G, S]."""
        unit = np.asarray(_unit(jnp.asarray(y0), self.relative))[:, None]
        fields = _fields(np.asarray(ys, dtype=float) / unit, self.amounts, self.floor) - self.mean
        columns = self.modes.reshape(-1, self.modes.shape[-1])
        wanted = fields.reshape(len(fields), -1) @ columns / self.deviation
        inputs = self.inputs(jnp.asarray(y0), jnp.asarray(conditions))
        return Coefficients(jnp.asarray(inputs, jnp.float32), jnp.asarray(wanted, jnp.float32))

    def terms(self, batch: "Coefficients", key: PRNGKeyArray) -> dict[str, Float[Array, ""]]:
        """`trajectory`: mean square error of the field, in dex, within the modes' span."""
        del key
        error = jax.vmap(self.mlp)(batch.inputs) - batch.wanted
        error = error * jnp.asarray(self.deviation, error.dtype)[None]
        return {"trajectory": jnp.mean(jnp.sum(error**2, axis=1)) / self.mean.size}

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """States at `ts`.

        The cubics of the grid's ends go on for a step of the grid; further out, before the first
        time or after the last, the state stays as it is there.
        """
        scaled = self.mlp(self.inputs(y0, conditions))
        weights = scaled * jnp.asarray(self.deviation, scaled.dtype)
        change = jnp.tensordot(jnp.asarray(self.modes), weights, 1)
        place = self.time_scale(ts + self.about.start) * (self.mean.shape[0] - 1)
        found = between(jnp.asarray(self.mean) + change.astype(float), place)
        # exp takes half the time of a power of ten
        amount = jnp.exp(np.log(10.0) * found) if self.amounts is None else found * self.amounts
        return _unit(y0, self.relative)[None] * amount


class Coefficients(NamedTuple):
    """Standardised inputs and, over their deviations, the coefficients that are wanted."""

    inputs: Float[Array, "N D"]
    wanted: Float[Array, "N M"]


def between(field: Float[Array, "G n"], place: Float[Array, " T"]) -> Float[Array, "T n"]:
    """Rows of a field at places between them, by cubics through four; a row further out at most."""
    grid = field.shape[0]
    place = jnp.clip(place, -1.0, grid)
    start = jnp.clip(jnp.floor(place).astype(jnp.int32), 1, grid - 3)
    r = (place - start.astype(place.dtype))[:, None]
    shares = (
        -r * (r - 1) * (r - 2) / 6,
        (r + 1) * (r - 1) * (r - 2) / 2,
        -(r + 1) * r * (r - 2) / 2,
        (r + 1) * r * (r - 1) / 6,
    )
    return jnp.asarray(sum(share * field[start + n - 1] for n, share in enumerate(shares)))


def nuclei(network: Network) -> Float[np.ndarray, "E S"]:
    """What the network balances, save for the charge."""
    return network.conserved[[name != CHARGE for name in network.balanced]]


def _fields(values: Any, amounts: Any, floor: Any) -> np.ndarray:
    """What modes are made of: logarithms of concentrations, or these over amounts."""
    return np.log10(np.maximum(values, floor)) if amounts is None else values / amounts


def _logs(xp: Any, start: Any, sums: Any, conditions: Any, floor: Any) -> Any:
    """log10 of all that could be inputs, by numpy or jax; the floor is not one of conditions."""
    amounts = xp.maximum(xp.concatenate([start, start @ sums.T], axis=-1), floor)
    return xp.log10(xp.concatenate([amounts, xp.maximum(conditions, 1e-99)], axis=-1))


def _unit(y0: Float[Array, "*n S"], relative: bool) -> Float[Array, "*n 1"]:
    """What concentrations count over: the largest of the initial state, or one."""
    return jnp.max(y0, axis=-1, keepdims=True) if relative else jnp.ones_like(y0[..., :1])


def independent(columns: np.ndarray) -> np.ndarray:
    """Numbers of the columns that vary, without those that only repeat one before them."""
    centred = columns - np.mean(columns, axis=0)
    size = np.linalg.norm(centred, axis=0)
    kept: list[int] = []
    for n in np.flatnonzero(size > 1e-9 * len(columns) ** 0.5):
        shared = centred[:, kept].T @ centred[:, n] / (size[kept] * size[n])
        if np.all(np.abs(shared) < 1 - 1e-8):
            kept.append(int(n))
    return np.array(kept, dtype=int)


def leading(flat: np.ndarray, modes: int) -> np.ndarray:
    """The leading right singular vectors, of a sample of the rows where there are many."""
    if len(flat) > SAMPLED:  # at random, as every so many-th of a Sobol sequence fills no range
        flat = flat[np.random.default_rng(0).choice(len(flat), SAMPLED, replace=False)]
    if len(flat) <= 1000:
        return np.linalg.svd(flat, full_matrices=False)[2][:modes]
    # from the smaller Gram matrix, whose rounding is far below what a mode of many rows matters
    wide = len(flat) < flat.shape[1]
    gram = flat @ flat.T if wide else flat.T @ flat
    last = len(gram) - 1
    vectors = scipy.linalg.eigh(gram, subset_by_index=[last - modes + 1, last])[1][:, ::-1]
    return np.linalg.qr(flat.T @ vectors)[0].T if wide else vectors.T
