"""Networks that are trained on equations: Branca & Pallottini (2022), and windows that march.

Branca, L. & Pallottini, A. (2022), MNRAS 518, 5718, doi:10.1093/mnras/stac3512.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .base import About, AbstractEmulator
from .layers import DeepGalerkin, Perceptron
from .ratios import Amounts, Ratios

__all__ = ["Galerkin", "Windows"]


class Windows(AbstractEmulator):
    """The solution from one start, a small network in each window of time.

    In a window from s to s + w the exponents are u + x N(x), x from 0 to 1, so that they meet
    exactly; `Ratios` make states of them, whose elements and charge are those of the start.

    Attributes:
        about: names, and the start as its own range.
        ratios: the coordinates.
        y0: [n] the start, the only one that it is of.
        starts: [W] where windows begin: ln(t + shift), or t where `shift` is 0.
        widths: [W].
        exponents: [W, m] where they start from.
        networks: [W, ...] weights.
        shift: of the time before its logarithm is taken.
    """

    about: About = eqx.field(static=True)
    ratios: Ratios | Amounts
    y0: Float[np.ndarray, " n"]
    starts: Float[np.ndarray, " W"]
    widths: Float[np.ndarray, " W"]
    exponents: Float[np.ndarray, "W m"]
    networks: Perceptron
    shift: float = eqx.field(static=True)

    def predict(
        self, y0: Float[Array, " n"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T n"]:
        """States at `ts`; NaN for any start but its own."""
        del conditions
        totals = self.ratios.totals(jnp.asarray(self.y0))
        starts, widths, all_u = (jnp.asarray(x) for x in (self.starts, self.widths, self.exponents))

        def at(t: Float[Array, ""]) -> Float[Array, " n"]:
            s = jnp.log(t + self.shift) if self.shift else t
            k = jnp.clip(jnp.searchsorted(starts, s, side="right") - 1, 0, len(self.starts) - 1)
            network = jax.tree.map(lambda leaf: leaf[k], self.networks)
            x = (s - starts[k]) / widths[k]
            y = self.ratios.state(all_u[k] + within(network, x), totals)
            return jnp.where(x <= 1 + 1e-9, y, jnp.nan)

        same = jnp.all(jnp.abs(y0 - self.y0) <= 1e-6 * jnp.abs(self.y0))
        return jnp.where(same, jax.vmap(at)(ts), jnp.nan)


def within(network: Perceptron, x: Float[Array, ""]) -> Float[Array, " m"]:
    """What the exponents have changed by at a place from 0 to 1 in a window."""
    return x * network((2 * x - 1)[None])


def fresh(width: int, size: int, key: PRNGKeyArray) -> Perceptron:
    """A network of two hidden layers that is zero, smooth features ahead of its last layer."""
    first, second = jax.random.split(key)
    network = Perceptron((1, width, width, size), activation="tanh", dtype=np.float64, key=first)
    layers = list(network.layers)
    for n, (weight, bias) in enumerate(layers[:-1]):
        drawn = jax.random.normal(jax.random.fold_in(second, n), bias.shape, bias.dtype)
        layers[n] = (weight, (1.0, 0.5)[n] * drawn)
    layers[-1] = (0.0 * layers[-1][0], layers[-1][1])
    return eqx.tree_at(lambda net: net.layers, network, tuple(layers))


class Galerkin(AbstractEmulator):
    """As published: log states by Deep Galerkin layers of log time (and the log initial state).

    Attributes:
        about: names and ranges.
        network: inputs and outputs of order one.
        low: [D] log10 of time, and of the states that vary at the start, that become -1.
        high: [D] that become 1.
        centre: [n] log10 of states that are zero in the network's output.
        reach: [n] what its one is, in dex.
        varied: places of the states that are inputs; none for a single start.
        hard: the output is the initial state and a change that is zero at the first time.
        linear: the network is given the time itself instead of its logarithm.
        ratios: coordinates that hold elements and charge; every state by itself where there are
            none.
    """

    about: About = eqx.field(static=True)
    network: DeepGalerkin | Perceptron
    low: Float[np.ndarray, " D"]
    high: Float[np.ndarray, " D"]
    centre: Float[np.ndarray, " n"]
    reach: Float[np.ndarray, " n"]
    varied: tuple[int, ...] = eqx.field(static=True)
    hard: bool = eqx.field(static=True)
    linear: bool = eqx.field(static=True, default=False)
    ratios: Ratios | None = None

    def logs(self, start: Float[Array, " n"], tau: Float[Array, ""]) -> Float[Array, " n"]:
        """log10 of the states at log10 of a time, from log10 of a start."""
        low, high = jnp.asarray(self.low), jnp.asarray(self.high)
        ends = (10.0 ** low[0], 10.0 ** high[0]) if self.linear else (low[0], high[0])
        place = ((10.0**tau if self.linear else tau) - ends[0]) / (ends[1] - ends[0])
        time = low[0] + (high[0] - low[0]) * place
        given = jnp.concatenate([time[None], start[np.array(self.varied, int)]])
        out = self.network(2 * (given - low) / (high - low) - 1).astype(start.dtype)
        change = jnp.asarray(self.reach) * out
        found = start + place * change if self.hard else jnp.asarray(self.centre) + change
        if self.ratios is None:
            return found
        exponents = np.log(10.0) * found[self.ratios.places]
        return jnp.log10(self.ratios.state(exponents, self.ratios.totals(10.0**start)))

    def predict(
        self, y0: Float[Array, " n"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T n"]:
        """States at `ts`, none before the first time that it was trained on."""
        del conditions
        start = jnp.log10(y0)
        tau = jnp.log10(jnp.maximum(ts, 10.0 ** self.low[0]))
        return 10.0 ** jax.vmap(lambda t: self.logs(start, t))(tau)
