"""ChemNNE: attention over a latent code by time, and a Fourier neural operator along it."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..dataset import Observations
from ..scale import SoftLog
from .base import About, AbstractEmulator
from .change_map import SMOOTH, at_times, blocks, changed, sample
from .flow_map import between
from .layers import Perceptron

__all__ = ["ChemNNE"]


class Series(NamedTuple):
    """Scaled inputs, and scaled changes at the start and the times of the data, or some of them."""

    inputs: Float[Array, "N D"]
    wanted: Float[Array, "N G S"]
    rows: Int[Array, " G"] | None = None

    def at_times(self, index: Int[Array, " g"]) -> "Series":
        """The start and some of the times of the data."""
        rows = jnp.append(jnp.zeros_like(index[:1]), index + 1)
        return Series(self.inputs, self.wanted[:, rows], rows)


class Fourier(eqx.Module):
    """What a Fourier neural operator does along time: F^-1 R F v.

    The lowest modes are multiplied by complex matrices of their own (Li et al. 2021,
    arXiv:2010.08895). Time is no circle, so it is padded. The transform is a product with two real
    matrices, which for some tens of times is faster than a fast one.

    Attributes:
        spectrum: [2, M, d, d] real and imaginary parts of R.
        waves: [2M, G] cosines, and sines with their sign.
    """

    spectrum: Float[Array, "2 M d d"]
    waves: Float[np.ndarray, "2M G"]

    def __init__(self, times: int, size: int, modes: int, *, key: PRNGKeyArray):
        """Weights of `modes` of series of so many times, the mean among them."""
        period = times + times // 4
        angles = 2 * np.pi * np.outer(np.arange(modes), np.arange(times)) / period
        waves = np.concatenate([np.cos(angles), -np.sin(angles)]) / period**0.5
        self.waves = waves.astype(np.float32)
        shape = (2, modes, size, size)
        self.spectrum = jax.random.normal(key, shape, np.float32) / np.float32(size)

    def __call__(self, v: Float[Array, "G N d"]) -> Float[Array, "G N d"]:
        """Of N series.

        In this order, and with real and imaginary parts as one, products need no transposition.
        """
        there = jnp.tensordot(jnp.asarray(self.waves), v, 1)  # real parts, then imaginary ones
        there = jnp.concatenate(jnp.split(there, 2), axis=2)
        real, imaginary = self.spectrum
        rows = (real, imaginary), (-imaginary, real)
        spectrum = jnp.concatenate([jnp.concatenate(row, axis=2) for row in rows], axis=1)
        there = jnp.concatenate(jnp.split(jnp.matmul(there, spectrum), 2, axis=2))
        return jnp.tensordot(jnp.asarray(self.waves.T), there, 1)


class Convolution(eqx.Module):
    """A convolution along time instead: sum of K_j v_{g + j}, |j| <= 2.

    Attributes:
        kernel: [5, d, d] K; there is nothing before the start and after the end.
    """

    kernel: Float[Array, "5 d d"]

    def __init__(self, times: int, size: int, modes: int, *, key: PRNGKeyArray):
        """As of `Fourier`; `times` and `modes` count for nothing."""
        del times, modes
        self.kernel = jax.random.normal(key, (5, size, size), np.float32) / np.float32(size)

    def __call__(self, v: Float[Array, "G N d"]) -> Float[Array, "G N d"]:
        """Of N series."""
        padded = jnp.pad(v, ((2, 2), (0, 0), (0, 0)))
        parts = [jnp.matmul(padded[n : n + len(v)], k) for n, k in enumerate(self.kernel)]
        return jnp.sum(jnp.stack(parts), axis=0)


class Pointwise(eqx.Module):
    """Nothing along time, which leaves a perceptron at each."""

    def __init__(self, times: int, size: int, modes: int, *, key: PRNGKeyArray):
        """As of `Fourier`; nothing counts."""
        del times, size, modes, key

    def __call__(self, v: Float[Array, "G N d"]) -> Float[Array, "G N d"]:
        """Zeros."""
        return jnp.zeros_like(v)


ALONG = {"fourier": Fourier, "convolution": Convolution, "pointwise": Pointwise}
"""What a layer of the operator does along time."""


class Layer(eqx.Module):
    """gelu(W v + b + what is done along time).

    Attributes:
        weight: [d, d] W.
        bias: [d] b.
        along: one of `ALONG`.
    """

    weight: Float[Array, "d d"]
    bias: Float[Array, " d"]
    along: Fourier | Convolution | Pointwise

    def __init__(self, along: str, times: int, size: int, modes: int, *, key: PRNGKeyArray):
        """Weights of a layer.

        Args:
            along: its name in `ALONG`.
            times: on an even grid.
            size: of what is there at each time.
            modes: of time that are kept, the mean among them.
            key: seeds the weights.
        """
        one, two = jax.random.split(key)
        self.weight = jax.random.normal(one, (size, size), np.float32) / np.float32(size**0.5)
        self.bias = jnp.zeros(size, np.float32)
        self.along = ALONG[along](times, size, modes, key=two)

    def __call__(self, v: Float[Array, "G N d"]) -> Float[Array, "G N d"]:
        """What follows at each time, of N series."""
        return jax.nn.gelu(jnp.matmul(v, self.weight.T) + self.bias[None, None] + self.along(v))


class ChemNNE(AbstractEmulator):
    """The emulator of Liu, Clusius & Boy (2024, arXiv:2408.01829).

    A network of sines makes a few tokens of the state and the conditions. At each time a query made
    of sines and cosines of it attends to them; layers of a Fourier neural operator run along time,
    which may be coarser than the data's, with cubics in between, and a perceptron with a network of
    sines after it gives the states. What the paper leaves open is ours: states are
    s = log10(1 + c / F) less what it is at the start, over its deviation; and `trajectory`, the
    loss, is the root mean square error of a case in dex, which is half as far off at the end as the
    published mean square, the term `squares`.

    Attributes:
        about: names of states and conditions.
        scale: log10(1 + c / F).
        centre: [D] means of the inputs, which are scaled states and the conditions as they are.
        width: [D] their standard deviations.
        reach: [S] root mean square changes.
        most: [S] largest concentrations.
        masses: [S] of the species; nothing where one is unknown.
        times: [G] of the data, and the start.
        codes: [H, E] sines and cosines of the operator's times, and these.
        mixing: [G, H] what each of the times has of them, by cubics in between.
        encoder: inputs to tokens.
        queries: [h, E, d] of codes, by heads.
        keys: [h, t, d] of tokens.
        values: [h, t, c] of tokens.
        lift: [E, hc] of codes, what the operator begins with beside what is attended to.
        operator: layers along time.
        shared: a perceptron at each time.
        decoder: sines after it.
        attends: else every time sees the mean of the tokens.
    """

    about: About = eqx.field(static=True)
    scale: SoftLog
    centre: Float[np.ndarray, " D"]
    width: Float[np.ndarray, " D"]
    reach: Float[np.ndarray, " S"]
    most: Float[np.ndarray, " S"]
    masses: Float[np.ndarray, " S"] | None
    times: Float[np.ndarray, " G"]
    codes: Float[np.ndarray, "H E"]
    mixing: Float[np.ndarray, "G H"]
    encoder: Perceptron
    queries: Float[Array, "h E d"]
    keys: Float[Array, "h t d"]
    values: Float[Array, "h t c"]
    lift: Float[Array, "E hc"]
    operator: tuple[Layer, ...]
    shared: Perceptron
    decoder: Perceptron
    attends: bool = eqx.field(static=True)

    @classmethod
    def fitted(
        cls,
        data: Observations,
        *,
        key: PRNGKeyArray,
        width: int = 256,
        depth: int = 2,
        tokens: int = 16,
        size: int = 32,
        channels: int = 32,
        grid: int | None = None,
        heads: int = 4,
        layers: int = 4,
        modes: int = 16,
        bands: int = 4,
        frequency: float = 1.0,
        attention: bool = True,
        along: str = "fourier",
        negligible: float = 1e4,
        share: float = 1e-3,
    ) -> "ChemNNE":
        """Scales of trajectories; the networks are still to be trained.

        Args:
            data: trajectories of every species, at times that are evenly spaced from the start on.
            key: seeds the weights.
            width: of the hidden layers of sines, and of the perceptron.
            depth: number of these layers in the encoder.
            tokens: that the encoder makes.
            size: of each.
            channels: of what the operator works on at each time.
            grid: evenly spaced times that it works on, the start and the last among them; `None`
                are those of the data. Fewer cost less.
            heads: of the attention, each of size / heads and channels / heads.
            layers: of the operator.
            modes: of time that each keeps.
            bands: frequencies of a time's code, from one half wave on, each twice the one before;
                0 is the time alone.
            frequency: of the first sines; 30, as implicit representations of images have it
                (Sitzmann et al. 2020, arXiv:2006.09661), is worse here.
            attention: times attend to tokens; else each sees their mean.
            along: what the operator is, one of `ALONG`.
            negligible: as of `ChangeMap`.
            share: likewise.

        Raises:
            ValueError: other times, or sizes that do not fit.
        """
        ts = np.asarray(data.ts) - float(data.t0)
        steps = np.diff(ts, prepend=0.0)
        if len(ts) < 4 or not np.allclose(steps, steps[0], rtol=1e-6):
            raise ValueError(
                "ChemNNE wants four times or more, evenly spaced from the start on: "
                "data.times.spacing=linear, and a first time that is one step after data.t0."
            )
        nodes = len(ts) + 1 if grid is None else grid
        if not 4 <= nodes <= len(ts) + 1:
            raise ValueError(
                f"grid={grid}: the operator works on four times or more, at most {len(ts) + 1} as "
                "the data have; null takes those."
            )
        uneven = heads < 1 or size % heads or channels % heads
        if min(tokens, layers, modes, size, channels) < 1 or uneven or modes > nodes // 2:
            raise ValueError(
                f"heads={heads} must divide size={size} and channels={channels}, and "
                f"modes={modes} be at most {nodes // 2}, half the {nodes} times of grid; "
                f"all, tokens={tokens} and layers={layers} too, must be one or more."
            )
        if along not in ALONG:
            raise ValueError(f"along={along!r} is unknown; known: {', '.join(ALONG)}.")
        scale = SoftLog.of(data.states, negligible=negligible, share=share)
        few = data.chosen(sample(len(data.y0)))
        inputs = np.concatenate([scale.forward(few.y0), few.conditions], axis=1)
        spread, largest = inputs.std(axis=0), np.abs(inputs).max(axis=0)
        if not np.any(varies := spread > 1e-9 * largest):
            raise ValueError("every trajectory starts alike: there is nothing to emulate.")
        reach = np.sqrt(np.mean(changed(scale, few) ** 2, axis=(0, 1)))
        times = np.append(0.0, ts)
        even = np.linspace(0.0, 1.0, nodes)[:, None]
        waves = np.pi * 2.0 ** np.arange(bands) * even
        codes = np.concatenate([np.sin(waves), np.cos(waves), even], axis=1)
        places = jnp.asarray(times / ts[-1] * (nodes - 1))
        keys = jax.random.split(key, 7)
        encoder = Perceptron(
            (inputs.shape[1], *(width,) * depth, tokens * size),
            activation="sin",
            final="sin",
            gain=2**0.5,
            key=keys[0],
        )
        weight, bias = encoder.layers[0]
        first = (weight * np.float32(frequency), bias)
        encoder = eqx.tree_at(lambda net: net.layers, encoder, (first, *encoder.layers[1:]))

        def weights(key: PRNGKeyArray, *shape: int) -> Float[Array, "..."]:
            return jax.random.normal(key, shape, np.float32) / np.float32(shape[-2] ** 0.5)

        each, code, species = size // heads, codes.shape[1], len(scale.amounts)
        return cls(
            about=About.of(data),
            scale=scale,
            centre=inputs.mean(axis=0),
            width=np.where(varies, spread, np.where(largest > 0, largest, 1.0)),
            reach=np.where(reach > 1e-6, reach, 1.0),
            most=np.maximum(np.max(np.asarray(few.states), axis=(0, 1)), scale.amounts),
            masses=data.network.masses,
            times=times,
            codes=codes.astype(np.float32),
            mixing=np.asarray(between(jnp.eye(nodes, dtype=places.dtype), places), np.float32),
            encoder=encoder,
            queries=weights(keys[1], heads, code, each),
            keys=weights(keys[2], heads, size, each),
            values=weights(keys[3], heads, size, channels // heads),
            lift=weights(keys[4], code, channels),
            operator=tuple(
                Layer(along, nodes, channels, modes, key=k)
                for k in jax.random.split(keys[5], layers)
            ),
            shared=Perceptron((channels, width // 2, width // 2), activation="gelu", key=keys[6]),
            decoder=Perceptron(
                (width // 2, width // 2, species), activation="sin", key=jax.random.fold_in(key, 1)
            ),
            attends=attention,
        )

    def inputs(self, y0: Float[Array, " S"], conditions: Float[Array, " C"]) -> Float[Array, " D"]:
        """What the encoder is given."""
        given = jnp.concatenate([self.scale.forward(y0), conditions])
        return ((given - self.centre) / self.width).astype(jnp.float32)

    def attention(
        self, inputs: Float[Array, "N D"]
    ) -> tuple[Float[Array, "N t d"], Float[Array, "N h t H"]]:
        """Tokens of inputs, and how much of each one of the operator's times attends to."""
        size, each = self.keys.shape[1:]
        tokens = self.encoder(inputs).reshape(len(inputs), -1, size)
        if not self.attends:
            shape = len(inputs), len(self.keys), tokens.shape[1], len(self.codes)
            return tokens, jnp.full(shape, 1 / tokens.shape[1], tokens.dtype)
        asked = jnp.einsum("ge,hed,hsd->hgs", jnp.asarray(self.codes), self.queries, self.keys)
        scores = jnp.einsum("nts,hgs->nhtg", tokens, asked / np.float32(each**0.5))
        return tokens, jax.nn.softmax(scores, axis=2)

    def scaled(
        self, inputs: Float[Array, "N D"], rows: Int[Array, " g"] | None = None
    ) -> Float[Array, "g N S"]:
        """Changes at the model's times, or at some of them, over their reach."""
        tokens, shares = self.attention(inputs)
        values = jnp.einsum("nts,hsd->nhtd", tokens, self.values)
        seen = jnp.einsum("nhtg,nhtd->gnhd", shares, values)
        v = seen.reshape(*seen.shape[:2], -1) + (jnp.asarray(self.codes) @ self.lift)[:, None]
        v = (v - v.mean(axis=2, keepdims=True)) / jnp.sqrt(v.var(axis=2, keepdims=True) + 1e-5)
        for layer in self.operator:
            v = layer(v)
        mixing = jnp.asarray(self.mixing)
        later = jnp.tensordot(mixing if rows is None else mixing[rows], v, 1)
        return self.decoder(self.shared(later))

    def examples(self, data: Observations) -> Series:
        """Scaled inputs, and scaled changes at the start and the times of the data.

        Raises:
            ValueError: data of other times than the model's.
        """
        inputs = jax.vmap(self.inputs)(data.y0, data.conditions)
        start = np.zeros((len(data.y0), 1, len(self.reach)), np.float32)
        parts = [change / self.reach for change in blocks(self.scale, data, self.times)]
        wanted = np.concatenate([start, np.concatenate(parts)], axis=1, dtype=np.float32)
        return Series(inputs, jnp.asarray(wanted))

    def terms(self, batch: Series, key: PRNGKeyArray) -> dict[str, Float[Array, ""]]:
        """Errors of the changes, and of what they make of the start.

        `trajectory` is of the times of the data and `identity` of the start, `first` and `second`
        of the first and second divided differences along time, by steps of the data: root mean
        squares of a case in dex, meaned over cases. `squares` is the mean square of all scaled
        changes, and `linear` the root mean square of concentrations over the most there are.
        `mass`, where the masses of all species are known, is the mean error of the total mass,
        relative.
        """
        del key
        error = self.scaled(batch.inputs, batch.rows).swapaxes(0, 1) - batch.wanted
        reach = jnp.asarray(self.reach, error.dtype)[None, None]
        rows = jnp.arange(len(self.times)) if batch.rows is None else batch.rows
        gaps = jnp.diff(rows).astype(error.dtype)[None, :, None]
        slopes = jnp.diff(error, axis=1) / gaps
        bends = jnp.diff(slopes, axis=1) / (gaps[:, 1:] + gaps[:, :-1]) * np.float32(2)

        def off(error: Any) -> Any:
            return jnp.mean(jnp.sqrt(jnp.mean(error**2, axis=(1, 2)) + SMOOTH))

        size = len(self.reach)
        begin = batch.inputs[:, :size] * jnp.asarray(self.width[:size], error.dtype)[None]
        begin += jnp.asarray(self.centre[:size], error.dtype)[None]

        def amounts(change: Any) -> Any:
            return 10.0 ** (change * reach + begin[:, None])  # and F, over F

        terms = {
            "trajectory": off(error[:, 1:] * reach),
            "identity": off(error[:, :1] * reach),
            "first": off(slopes * reach),
            "second": off(bends * reach),
            "squares": jnp.mean(error[:, 1:] ** 2),
        }
        share = jnp.asarray(self.scale.amounts / self.most, error.dtype)[None, None]
        wanted = amounts(batch.wanted)
        wrong = amounts(batch.wanted + error) - wanted
        terms["linear"] = off(wrong[:, 1:] * share)
        if self.masses is not None:
            weight = jnp.asarray(self.masses * self.scale.amounts)
            whole = jnp.matmul((wanted - 1).astype(weight.dtype), weight)
            mass = jnp.abs(jnp.matmul(wrong.astype(weight.dtype), weight)) / whole
            terms["mass"] = jnp.mean(mass).astype(error.dtype)
        return terms

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """States at `ts`; after the last time of the data they stay as they are there."""
        found = self.scaled(self.inputs(y0, conditions)[None])[:, 0]
        change = at_times(found * jnp.asarray(self.reach, found.dtype)[None], self.times, ts)
        return self.scale.later(y0, change)
