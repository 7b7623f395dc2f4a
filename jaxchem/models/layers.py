"""Layers that several families of models are made of."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["Perceptron"]


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

    def __call__(self, x: Float[Array, " i"]) -> Float[Array, " o"]:
        """The last layer's output, in the dtype of the parameters."""
        x = x.astype(self.layers[0][0].dtype)
        for n, (weight, bias) in enumerate(self.layers):
            last = n == len(self.layers) - 1
            out = _function(self.final if last else self.activation)(weight @ x + bias)
            x = x + out if self.residual and not last and out.shape == x.shape else out
        return x


def _function(name: str) -> Any:
    found = getattr(jax.nn, name, None) or getattr(jnp, name, None)
    if not callable(found):
        raise ValueError(f"unknown activation {name!r}; name one of jax.nn, as 'silu' or 'tanh'.")
    return found
