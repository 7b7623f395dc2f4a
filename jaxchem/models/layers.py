"""Layers that several families of models are made of."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["DeepGalerkin", "Perceptron"]


class Perceptron(eqx.Module):
    """Dense layers with an activation after each, and another after the last.

    Attributes:
        layers: weights [out, in] and biases [out] of each layer.
        activation: a function of `jax.nn` or `jax.numpy` by name.
        final: the same, after the last layer; ``"identity"`` leaves it linear.
        residual: add the input of each inner layer to its output, where their widths agree.
    """

    layers: tuple[tuple[Float[Array, "o i"], Float[Array, " o"]], ...]
    activation: str = eqx.field(static=True)
    final: str = eqx.field(static=True)
    residual: bool = eqx.field(static=True)

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "silu",
        final: str = "identity",
        residual: bool = False,
        gain: float = 1.0,
        dtype: Any = np.float32,
        key: PRNGKeyArray,
    ):
        """Layers from `sizes[0]` inputs to `sizes[-1]` outputs.

        Args:
            sizes: widths, inputs first.
            activation: between layers.
            final: after the last one.
            residual: skip connections over the inner layers.
            gain: weights are drawn from N(0, gain^2 / inputs).
            dtype: of the parameters, and so of the computation.
            key: seeds the weights.

        Raises:
            ValueError: an unknown activation, or no layer.
        """
        if len(sizes) < 2:
            raise ValueError(f"sizes={list(sizes)}: give inputs and outputs at least.")
        for name in (activation, final):
            _function(name)
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(
            (
                jax.random.normal(k, (out, into), dtype) * jnp.asarray(gain / into**0.5, dtype),
                jnp.zeros(out, dtype),
            )
            for k, into, out in zip(keys, sizes[:-1], sizes[1:], strict=True)
        )
        self.activation, self.final, self.residual = activation, final, residual

    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        """The last layer's output, in the dtype of the parameters.

        Rows of a matrix take half the time of vectors under `jax.vmap`.
        """
        x = x.astype(self.layers[0][0].dtype)
        for n, (weight, bias) in enumerate(self.layers):
            last = n == len(self.layers) - 1
            out = jnp.matmul(x, weight.T) + bias.reshape(*(1,) * (x.ndim - 1), -1)
            out = _function(self.final if last else self.activation)(out)
            x = x + out if self.residual and not last and out.shape == x.shape else out
        return x


class DeepGalerkin(eqx.Module):
    """Dense, Deep Galerkin and linear layers, with adaptive sigmoids if wanted.

    phi' = (1 - G) H + Z phi with gates Z, G, R = sigma(U x + W phi + b) and H = sigma(U x + W (phi
    R) + b), x being the inputs (Sirignano & Spiliopoulos 2018, doi:10.1016/j.jcp.2018.08.029);
    sigma is a logistic function whose slope is a parameter of its layer (Jagtap et al. 2020,
    doi:10.1016/j.jcp.2019.109136).

    Attributes:
        first: weight and bias of the dense layer.
        gates: for each layer U [4, w, D], W [4, w, w] and b [4, w], of Z, G, R and H.
        last: weight and bias of the linear layer.
        slopes: of the sigmoids, one a layer; fixed at 1 where they are NumPy's.
    """

    first: tuple[Float[Array, "w D"], Float[Array, " w"]]
    gates: tuple[tuple[Float[Array, "4 w D"], Float[Array, "4 w w"], Float[Array, "4 w"]], ...]
    last: tuple[Float[Array, "o w"], Float[Array, " o"]]
    slopes: Float[Any, " L"]

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        *,
        layers: int = 6,
        adaptive: bool = True,
        dtype: Any = np.float32,
        key: PRNGKeyArray,
    ):
        """Layers from `inputs` to `outputs`.

        Args:
            inputs: D.
            width: of every layer.
            outputs: o.
            layers: Deep Galerkin ones.
            adaptive: train the slopes of the sigmoids.
            dtype: of the parameters.
            key: seeds the weights, which are drawn as by Glorot & Bengio (2010).
        """
        keys = iter(jax.random.split(key, 2 + 2 * layers))

        def drawn(*shape: int) -> Array:
            scale = (2.0 / (shape[-1] + shape[-2])) ** 0.5
            return jax.random.normal(next(keys), shape, dtype) * jnp.asarray(scale, dtype)

        self.first = drawn(width, inputs), jnp.zeros(width, dtype)
        self.gates = tuple(
            (drawn(4, width, inputs), drawn(4, width, width), jnp.zeros((4, width), dtype))
            for _ in range(layers)
        )
        self.last = drawn(outputs, width), jnp.zeros(outputs, dtype)
        ones = np.ones(layers + 1, dtype)
        self.slopes = jnp.asarray(ones) if adaptive else ones

    def __call__(self, x: Float[Array, " D"]) -> Float[Array, " o"]:
        """The last layer's output, in the dtype of the parameters."""
        x = x.astype(self.first[0].dtype)
        slopes = jnp.asarray(self.slopes)
        phi = jax.nn.sigmoid(slopes[0] * (self.first[0] @ x + self.first[1]))
        for slope, (u, w, b) in zip(slopes[1:], self.gates, strict=True):
            of_input = u @ x + b
            z, g, r = jax.nn.sigmoid(slope * (of_input[:3] + w[:3] @ phi))
            h = jax.nn.sigmoid(slope * (of_input[3] + w[3] @ (phi * r)))
            phi = (1 - g) * h + z * phi
        return self.last[0] @ phi + self.last[1]


def _function(name: str) -> Any:
    found = getattr(jax.nn, name, None) or getattr(jnp, name, None)
    if not callable(found):
        raise ValueError(f"unknown activation {name!r}; name one of jax.nn, as 'silu' or 'tanh'.")
    return found
