"""A black-box neural ODE: concentrations to tendencies by a scaled multilayer perceptron."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..dataset import Observations
from ..scale import LogScale, span
from ..solvers import Integrator
from .base import About, hands_on
from .integrated import AbstractIntegrated

__all__ = ["NeuralODE"]


class NeuralODE(AbstractIntegrated):
    """dy/dt = MLP((y - low) / scale) * slope: the ScaleMLP of SPIN-ODE (arXiv:2505.05625).

    Conditions that vary from case to case are further inputs, as scaled logarithms.

    Attributes:
        about: names of states and conditions.
        mlp: the perceptron, species and conditions to species.
        low: [S] smallest concentration of each species in the training data.
        scale: [S] its range there.
        slope: [S] the range over the time span of the data: a typical tendency.
        condition_scale: of the conditions.
        integrator: how the model is integrated when it is called.
    """

    about: About = eqx.field(static=True)
    mlp: eqx.nn.MLP
    low: Float[np.ndarray, " S"]
    scale: Float[np.ndarray, " S"]
    slope: Float[np.ndarray, " S"]
    condition_scale: LogScale
    integrator: Integrator

    def __init__(
        self,
        about: About,
        *,
        width: int = 128,
        depth: int = 2,
        activation: str = "gelu",
        precision: str = "float64",
        integrator: Integrator | None = None,
        key: PRNGKeyArray,
    ):
        """A model with unit scales.

        Args:
            about: names of states and conditions.
            width: of each hidden layer.
            depth: number of hidden layers.
            activation: a function of `jax.nn` by name.
            precision: of the perceptron, ``"float64"`` or ``"float32"``.
            integrator: how it is integrated.
            key: seeds the weights.

        Raises:
            ValueError: `jax.nn` has no such activation, or an unknown precision.
        """
        function = getattr(jax.nn, activation, None)
        if not callable(function):
            raise ValueError(f"unknown activation {activation!r}; name one of jax.nn, as 'gelu'.")
        if precision not in ("float64", "float32"):
            raise ValueError(f"precision={precision!r} is unknown; write float64 or float32.")
        size, count = len(about.states), len(about.conditions)
        sizes, dtype = (size + count, size, width, depth), jnp.asarray(0.0, precision).dtype
        self.about = about
        self.mlp = eqx.nn.MLP(*sizes, activation=function, dtype=dtype, key=key)
        self.low = np.zeros(size)
        self.scale = np.ones(size)
        self.slope = np.ones(size)
        self.condition_scale = LogScale.of(np.ones((1, count)))
        self.integrator = Integrator() if integrator is None else integrator

    @classmethod
    @hands_on(__init__, without=("integrator",))
    def fitted(cls, data: Observations, *, key: PRNGKeyArray, **settings: Any) -> "NeuralODE":
        """A model with random weights and the scales of the observed trajectories."""
        model = cls(About.of(data, anywhere=True), key=key, **settings).scaled_to(
            data.ts, data.states
        )
        return eqx.tree_at(lambda m: m.condition_scale, model, LogScale.of(data.conditions))

    def scaled_to(self, ts: Float[Array, " T"], states: Float[Array, "case T S"]) -> "NeuralODE":
        """The same weights with the scales of these trajectories."""
        low, scale = (np.asarray(a) for a in span(states))
        slope = scale / float(ts[-1] - ts[0])
        return eqx.tree_at(lambda m: (m.low, m.scale, m.slope), self, (low, scale, slope))

    def field(self, t: Any, y: Float[Array, " S"], conditions: Any = None) -> Float[Array, " S"]:
        """The modelled tendency dy/dt."""
        del t
        inputs = (y - self.low) / self.scale
        if self.about.conditions:
            inputs = jnp.concatenate([inputs, self.condition_scale.forward(conditions)])
        dtype = self.mlp.layers[0].weight.dtype
        return self.mlp(inputs.astype(dtype)).astype(y.dtype) * jnp.asarray(self.slope)
