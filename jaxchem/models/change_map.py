"""Emulators of how gas changes, told by its gains and losses at the start."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..dataset import Observations
from ..kinetics import flux, turnover
from ..network import Network
from ..scale import SoftLog
from .base import About, AbstractEmulator
from .chain import LEAST_SPREAD
from .flow_map import SAMPLED, Coefficients, between, independent, leading
from .layers import Perceptron

__all__ = ["ChangeMap"]

SMOOTH = 1e-7
"""Of the loss near zero, dex squared."""


class ChangeMap(AbstractEmulator):
    """An emulator by modes of change.

    What is learned is s = log10(c + F) less what it is at the start, F being an amount of each
    species below which little matters: s is logarithmic above it and linear below. A trajectory of
    changes is a sum of a few functions of time that all species share. Their coefficients are one
    vector, which a perceptron gives in the leading orthogonal modes of the training data.

    Its inputs are s, the conditions as they are, and what the equations say of the start: how much
    of each species is made in the length of a trajectory, and which share of it is lost.

    Attributes:
        about: names of states and conditions.
        network: whose equations these are.
        mlp: standardised inputs to coefficients over their deviations.
        scale: log10(1 + c / F), by which s differs by a constant.
        times: [G] of the data, and the start.
        chosen: [D] which of all inputs vary on their own.
        centre: [D] their means.
        width: [D] their standard deviations; where it is `chained`, of logarithms (all but the
            conditions) no less than `LEAST_SPREAD`.
        limits: [2, D] the least and the most that the perceptron is given of each, scaled: in a
            chain, where it would be asked further and further away, those of the training cases
            that scales are taken from, `SAMPLED` at most; else there are none.
        shapes: [G, P] functions of time; zero at the start.
        modes: [P, S, M] orthogonal changes.
        mean: [P, S] the mean change.
        deviation: [M] standard deviations of the coefficients.
        tendencies: gains and losses are inputs.
        chained: it takes any state of a course as a start.
    """

    about: About = eqx.field(static=True)
    network: Network
    mlp: Perceptron
    scale: SoftLog
    times: Float[np.ndarray, " G"]
    chosen: Int[np.ndarray, " D"]
    centre: Float[np.ndarray, " D"]
    width: Float[np.ndarray, " D"]
    limits: Float[np.ndarray, "2 D"]
    shapes: Float[np.ndarray, "G P"]
    modes: Float[np.ndarray, "P S M"]
    mean: Float[np.ndarray, "P S"]
    deviation: Float[np.ndarray, " M"]
    tendencies: bool = eqx.field(static=True)
    chained: bool = eqx.field(static=True)

    @classmethod
    def fitted(
        cls,
        data: Observations,
        *,
        key: PRNGKeyArray,
        modes: int = 200,
        shapes: int = 8,
        width: int = 256,
        depth: int = 3,
        activation: str = "silu",
        negligible: float = 1e4,
        share: float = 1e-3,
        tendencies: bool = True,
        chained: bool = False,
    ) -> "ChangeMap":
        """Inputs, scales and modes of trajectories; the perceptron is still to be trained.

        Args:
            data: trajectories of every species.
            key: seeds the weights.
            modes: at most so many.
            shapes: functions of time.
            width: of each hidden layer.
            depth: number of hidden layers, with skip connections.
            activation: between them.
            negligible: F of a species is no larger, in the network's concentration unit.
            share: and no larger than this part of the most that there is of it.
            tendencies: gains and losses at the start are inputs.
            chained: the trajectories start all along courses, so that the model can be chained.

        Raises:
            ValueError: fewer than four times, one that is not after the start, nothing varies, or
                conditions that are no numbers where tendencies want them.
        """
        about = About.of(data)
        others = [n for n, v in data.fixed.items() if about.shared.get(n) != v]
        if tendencies and others:
            raise ValueError(
                f"the data are of a {others[0]} that is no number, so that a model cannot know the "
                "gains and losses at the start; set tendencies=false."
            )
        if min(modes, shapes, width, depth) < 1:
            raise ValueError("modes, shapes, width and depth are one or more.")
        ts = np.asarray(data.ts) - float(data.t0)
        if len(ts) < 4 or not np.all(np.diff(ts, prepend=0.0) > 0):
            raise ValueError(
                "a change map wants four times or more, all after the start: set data.t0 below the "
                "first of data.times, or data.times.zero=false."
            )
        scale = SoftLog.of(data.states, negligible=negligible, share=share)
        few = data.chosen(sample(len(data.y0)))
        changes = changed(scale, few)
        rows = changes.swapaxes(0, 1).reshape(len(ts), -1)
        functions = np.linalg.eigh(rows @ rows.T)[1][:, ::-1][:, :shapes]
        flat = (functions.T @ changes).reshape(len(changes), -1)
        mean = np.mean(flat, axis=0)
        count = min(modes, *flat.shape)
        basis = leading(flat - mean, count)
        deviation = np.std((flat - mean) @ basis.T, axis=0)
        shape = (functions.shape[1], changes.shape[2])
        model = cls(
            about=about,
            network=data.network,
            mlp=Perceptron((1, 1), key=key),
            scale=scale,
            times=np.append(0.0, ts),
            chosen=np.arange(0),
            centre=np.zeros(0),
            width=np.ones(0),
            limits=np.ones((2, 0)),
            shapes=np.concatenate([np.zeros((1, shape[0])), functions]).astype(np.float32),
            modes=basis.T.reshape(*shape, count).astype(np.float32),
            mean=mean.reshape(shape),
            deviation=np.where(deviation > 0, deviation, 1.0),
            tendencies=tendencies,
            chained=chained,
        )
        columns = np.asarray(jax.vmap(model.known)(few.y0, few.conditions))
        chosen = independent(columns / np.maximum(np.abs(columns).max(axis=0), 1e-99))
        if not len(chosen):
            raise ValueError("every trajectory starts alike: there is nothing to emulate.")
        sizes = (len(chosen), *(width,) * depth, count)
        mlp = Perceptron(sizes, activation=activation, residual=True, gain=1.4, key=key)
        columns = columns[:, chosen]
        species, told = len(scale.amounts), len(about.conditions)
        logarithms = (chosen < species) | (chosen >= species + told)
        spread, centre = columns.std(axis=0), columns.mean(axis=0)
        limits = np.full((2, len(chosen)), [[-np.inf], [np.inf]])
        if chained:
            spread = np.where(logarithms, np.maximum(spread, LEAST_SPREAD), spread)
            scaled = (columns - centre) / spread
            limits = np.stack([scaled.min(axis=0), scaled.max(axis=0)])
        how = (mlp, chosen, centre, spread, limits)
        return eqx.tree_at(lambda m: (m.mlp, m.chosen, m.centre, m.width, m.limits), model, how)

    @property
    def restarts(self) -> bool:
        """Where it is `chained`."""
        return self.chained

    def known(self, y0: Float[Array, " S"], conditions: Float[Array, " C"]) -> Float[Array, " D"]:
        """All that could be inputs."""
        parts = [self.scale.forward(y0), conditions]
        if self.tendencies:
            given = dict(zip(self.about.conditions, conditions, strict=True))
            k: Any = self.network.rates(**self.about.shared, **given)
            some = jnp.maximum(y0, 1e-6 * self.scale.amounts)  # nothing has a share too
            made, lost = turnover(self.network, flux(self.network, k, some) * self.times[-1])
            share = lost / some
            parts += [self.scale.forward(made), jnp.log10(share + 1e-3)]
        return jnp.concatenate(parts)

    def inputs(self, y0: Float[Array, " S"], conditions: Float[Array, " C"]) -> Float[Array, " D"]:
        """What the perceptron is given."""
        scaled = (self.known(y0, conditions)[self.chosen] - self.centre) / self.width
        return jnp.clip(scaled, *self.limits).astype(jnp.float32)

    def examples(self, data: Observations) -> Coefficients:
        """Inputs and coefficients of trajectories.

        Raises:
            ValueError: data of other times than the model's.
        """
        inputs = jax.vmap(self.inputs)(data.y0, data.conditions)
        columns = self.modes.reshape(-1, self.modes.shape[-1])
        wanted = []
        for changes in blocks(self.scale, data, self.times):
            parts = self.shapes[1:].T @ changes - self.mean
            wanted.append(parts.reshape(len(parts), -1) @ columns / self.deviation)
        return Coefficients(inputs, jnp.asarray(np.concatenate(wanted), jnp.float32))

    def terms(self, batch: Coefficients, key: PRNGKeyArray) -> dict[str, Float[Array, ""]]:
        """`trajectory`: mean over cases of the root mean square error of their changes, in dex.

        Its square would be that of the few cases that are far off, as at dusk.
        """
        del key
        error = jax.vmap(self.mlp)(batch.inputs) - batch.wanted
        error = error * jnp.asarray(self.deviation, error.dtype)[None]
        size = (len(self.shapes) - 1) * len(self.scale.amounts)
        return {"trajectory": jnp.mean(jnp.sqrt(jnp.sum(error**2, axis=1) / size + SMOOTH))}

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """States at `ts`; after the last time of the data they stay as they are there.

        Between times they are cubics in the number of a time, the start being 0. Within the first
        ones these follow no species that rises from nothing; ask there for times of the data.
        """
        scaled = self.mlp(self.inputs(y0, conditions))
        parts = jnp.tensordot(self.modes, scaled * jnp.asarray(self.deviation, scaled.dtype), 1)
        functions = at_times(jnp.asarray(self.shapes), self.times, ts)
        change = jnp.matmul(functions, parts + jnp.asarray(self.mean, parts.dtype))
        return self.scale.later(y0, change)


def at_times(
    field: Float[Array, "G n"], times: Float[np.ndarray, " G"], ts: Float[Array, " T"]
) -> Float[Array, "T n"]:
    """Rows of a field, which are of `times`, at others: cubics in the number of a time."""
    numbers = np.arange(float(len(times)))
    place = jnp.interp(ts, jnp.asarray(times), jnp.asarray(numbers))
    return between(field, place.astype(field.dtype))


def changed(scale: SoftLog, data: Observations) -> Float[np.ndarray, "N T S"]:
    """What scaled trajectories are off their starts."""
    return np.asarray(scale.forward(data.states) - scale.forward(data.y0)[:, None])


def blocks(
    scale: SoftLog, data: Observations, times: Float[np.ndarray, " G"]
) -> Iterator[Float[np.ndarray, "n T S"]]:
    """The same of some cases after the other, since logarithms of all would fill the memory."""
    ts = np.asarray(data.ts) - float(data.t0)
    if ts.shape != (len(times) - 1,) or not np.allclose(ts, times[1:], rtol=1e-9):
        raise ValueError(
            f"the data have {len(ts)} times, {ts[0]:g} to {ts[-1]:g} after the start, but the "
            f"model learns those of its own, {len(times) - 1} from {times[1]:g} to {times[-1]:g}."
        )
    for at in range(0, len(data.y0), 1000):
        yield changed(scale, data.chosen(slice(at, at + 1000)))


def sample(count: int) -> Int[np.ndarray, " n"]:
    """Numbers of the cases that scales and modes are taken from."""
    return np.random.default_rng(0).permutation(count)[:SAMPLED]
