"""Gas of any state to its state at any time, by a clock that density drives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .base import About, AbstractEmulator
from .flow_map import between
from .layers import Perceptron
from .ratios import Ratios

__all__ = ["Clock", "GasMap"]


class Clock(eqx.Module):
    """Readings of density times time, evenly spaced in their logarithm.

    Collisions of two bodies are alike in all gas that has the same reading, so that a front is at
    the same place of the grid whatever the density.

    Attributes:
        first: reading.
        last: reading.
        count: of readings.
    """

    first: float = eqx.field(static=True)
    last: float = eqx.field(static=True)
    count: int = eqx.field(static=True)

    @property
    def readings(self) -> Float[np.ndarray, " K"]:
        """All of them."""
        return np.geomspace(self.first, self.last, self.count)

    def place(self, reading: Float[Array, ""]) -> Float[Array, ""]:
        """Where a reading is, the first one being 0; before that, where it is in time."""
        pace = (self.count - 1) / np.log(self.last / self.first)
        early = reading / self.first - 1
        return jnp.where(early < 0, early, pace * jnp.log(jnp.maximum(reading / self.first, 1.0)))


class GasMap(AbstractEmulator):
    """Logarithms of all states at all readings of a clock at once, from those of the start.

    `Ratios` make states of them, whose nuclei and charge are those of the start; at time zero it
    is the start itself.

    Attributes:
        about: names and ranges.
        ratios: the coordinates.
        clock: what the grid is of.
        end: the last time that it was trained for.
        network: scaled inputs to [K m] scaled changes of the exponents.
        linear: [K m, D] the same, linearly.
        centre: [D] of the inputs: logarithms of the states, of species over the density, and of
            the density of nuclei.
        width: [D] their standard deviations.
        mean: [K, m] change.
        reach: [m] its standard deviation.
        floor: smallest part of the density that is told from zero in a start.
    """

    about: About = eqx.field(static=True)
    ratios: Ratios
    clock: Clock
    end: float = eqx.field(static=True)
    network: Perceptron
    linear: Float[Array, "Km D"]
    centre: Float[np.ndarray, " D"]
    width: Float[np.ndarray, " D"]
    mean: Float[np.ndarray, "K m"]
    reach: Float[np.ndarray, " m"]
    floor: float = eqx.field(static=True)

    @classmethod
    def of_examples(
        cls,
        about: About,
        ratios: Ratios,
        clock: Clock,
        end: float,
        starts: Float[np.ndarray, "N n"],
        changes: Float[np.ndarray, "N K m"],
        weights: Float[np.ndarray, "N K m"],
        *,
        width: int = 384,
        depth: int = 4,
        floor: float = 1e-20,
        key: PRNGKeyArray,
    ) -> "GasMap":
        """Scales of examples and their best linear map; the network is still to be trained.

        Args:
            about: names and ranges.
            ratios: the coordinates.
            clock: what the grid is of.
            end: the last time.
            starts: states.
            changes: of the exponents, from the start to each reading.
            weights: of each; what has none counts for nothing.
            width: of each hidden layer.
            depth: number of hidden layers, with skip connections.
            floor: smallest part of the density that is told from zero in a start.
            key: seeds the weights.
        """
        inputs = np.asarray(jax.vmap(lambda y: _inputs(ratios, y, floor))(jnp.asarray(starts)))
        centre, spread = inputs.mean(axis=0), inputs.std(axis=0)
        spread = np.where(spread > 1e-9, spread, 1.0)
        scaled = (inputs - centre) / spread
        total = np.maximum(weights.sum(axis=0), 1e-9)
        mean = (weights * changes).sum(axis=0) / total
        square = (weights * (changes - mean) ** 2).sum(axis=(0, 1))
        reach = np.sqrt(square / np.maximum(weights.sum(axis=(0, 1)), 1e-9)) + 1e-3
        wanted = np.where(weights > 0, (changes - mean) / reach, 0.0).reshape(len(starts), -1)
        linear = np.linalg.lstsq(scaled, wanted, rcond=1e-6)[0].T
        sizes = (len(centre), *(width,) * depth, mean.size)
        network = Perceptron(sizes, activation="gelu", residual=True, key=key)
        weight, bias = network.layers[-1]
        layers = (*network.layers[:-1], (0.1 * weight, bias))
        network = eqx.tree_at(lambda net: net.layers, network, layers)
        linear = jnp.asarray(linear, jnp.float32)
        return cls(about, ratios, clock, end, network, linear, centre, spread, mean, reach, floor)

    def scaled(self, y0: Float[Array, " n"]) -> Float[Array, "K m"]:
        """Changes of the exponents less their means, over their reach."""
        inputs = (_inputs(self.ratios, y0, self.floor) - self.centre) / self.width
        inputs = inputs.astype(self.linear.dtype)
        return (self.network(inputs) + self.linear @ inputs).reshape(self.mean.shape)

    def exponents(self, y0: Float[Array, " n"]) -> Float[Array, "K m"]:
        """Those at every reading."""
        change = self.scaled(y0).astype(y0.dtype) * jnp.asarray(self.reach)[None] + self.mean
        return _start(self.ratios, y0, self.floor)[None] + change

    def predict(
        self, y0: Float[Array, " n"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T n"]:
        """States at `ts`; NaN after the last time that it was trained for."""
        del conditions
        totals = self.ratios.totals(y0)
        density = jnp.sum(totals)
        field, start = self.exponents(y0), _start(self.ratios, y0, self.floor)
        places = jax.vmap(self.clock.place)(density * ts)
        later = between(field, jnp.maximum(places, 0.0))
        early = start[None] + jnp.outer(1 + jnp.minimum(places, 0.0), field[0] - start)
        u = jnp.where(places[:, None] < 0, early, later)
        ys = jax.vmap(lambda u: self.ratios.state(u, totals))(u)
        ys = jnp.where(ts[:, None] > 0, ys, y0[None])
        return jnp.where(ts[:, None] <= (1 + 1e-9) * self.end, ys, jnp.nan)


def _start(ratios: Ratios, y0: Float[Array, " n"], floor: float) -> Float[Array, " m"]:
    """Exponents of a start that may have none of something."""
    return jnp.log(jnp.maximum(y0[ratios.places], floor * jnp.sum(ratios.totals(y0))))


def _inputs(ratios: Ratios, y0: Float[Array, " n"], floor: float) -> Float[Array, " D"]:
    size = ratios.counts.shape[1]
    density = jnp.sum(ratios.totals(y0))
    species = jnp.log(jnp.maximum(y0[:size] / density, floor))
    return jnp.concatenate([species, jnp.log(y0[size:]), jnp.log(density)[None]])
