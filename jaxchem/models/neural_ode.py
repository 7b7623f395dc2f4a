"""A black-box neural ODE: concentrations to tendencies by a scaled multilayer perceptron."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..dataset import Observations
from ..scale import span
from ..solvers import Integrator
from .base import About, AbstractEmulator, hands_on

__all__ = ["NeuralODE"]


class NeuralODE(AbstractEmulator):
    """dy/dt = MLP((y - low) / scale) * slope: the ScaleMLP of SPIN-ODE (arXiv:2505.05625).

    Attributes:
        about: names of the states; it takes no conditions.
        mlp: the perceptron, species to species.
        low: [S] smallest concentration of each species in the training data.
        scale: [S] its range there.
        slope: [S] the range over the time span of the data: a typical tendency.
        integrator: how the model is integrated when it is called.
    """

    about: About = eqx.field(static=True)
    mlp: eqx.nn.MLP
    low: Float[np.ndarray, " S"]
    scale: Float[np.ndarray, " S"]
    slope: Float[np.ndarray, " S"]
    integrator: Integrator

    def __init__(
        self,
        about: About,
        *,
        width: int = 128,
        depth: int = 2,
        activation: str = "gelu",
        integrator: Integrator | None = None,
        key: PRNGKeyArray,
    ):
        """A model with unit scales.

        Args:
            about: names of the states.
            width: of each hidden layer.
            depth: number of hidden layers.
            activation: a function of `jax.nn` by name.
            integrator: how it is integrated.
            key: seeds the weights.

        Raises:
            ValueError: `jax.nn` has no such activation.
        """
        function = getattr(jax.nn, activation, None)
        if not callable(function):
            raise ValueError(f"unknown activation {activation!r}; name one of jax.nn, as 'gelu'.")
        size = len(about.states)
        self.about = about
        self.mlp = eqx.nn.MLP(size, size, width, depth, activation=function, key=key)
        self.low = np.zeros(size)
        self.scale = np.ones(size)
        self.slope = np.ones(size)
        self.integrator = Integrator() if integrator is None else integrator

    @classmethod
    @hands_on(__init__)
    def fitted(cls, data: Observations, *, key: PRNGKeyArray, **settings: Any) -> "NeuralODE":
        """A model with random weights and the scales of the observed trajectories."""
        about = About.of(data)
        about = about._replace(conditions=(), low=about.low[: len(about.states)])
        model = cls(about._replace(high=about.high[: len(about.states)]), key=key, **settings)
        return model.scaled_to(data.ts, data.states)

    def scaled_to(self, ts: Float[Array, " T"], states: Float[Array, "case T S"]) -> "NeuralODE":
        """The same weights with the scales of these trajectories."""
        low, scale = (np.asarray(a) for a in span(states))
        slope = scale / float(ts[-1] - ts[0])
        return eqx.tree_at(lambda m: (m.low, m.scale, m.slope), self, (low, scale, slope))

    @property
    def integrated(self) -> bool:
        """Yes."""
        return True

    def field(self, t: Any, y: Float[Array, " S"], args: Any = None) -> Float[Array, " S"]:
        """The modelled tendency dy/dt."""
        del t, args
        return self.mlp((y - self.low) / self.scale) * jnp.asarray(self.slope)

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """Concentrations at `ts`, integrated."""
        del conditions
        return jnp.asarray(self.solution(y0, ts).ys)

    def solution(
        self,
        y0: Float[Array, " S"],
        ts: Float[Array, " T"],
        *,
        t0: Any = 0.0,
        integrator: Integrator | None = None,
    ) -> diffrax.Solution:
        """The integrated trajectory with its result, by another integrator if one is given."""
        how = self.integrator if integrator is None else integrator
        return how(lambda t, y, model: model.field(t, y), y0, ts, self, t0=t0, throw=False)
