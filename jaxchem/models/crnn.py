"""A chemical reaction neural network: mass action with trainable rate coefficients."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..kinetics import tendency
from ..network import Network
from ..solvers import Integrator, solve
from .base import About, AbstractEmulator

__all__ = ["CRNN"]


class CRNN(AbstractEmulator):
    """A network whose ln k are parameters (Ji & Deng 2021, J. Phys. Chem. A 125, 1082).

    The published form, exp(ln k + A ln y) summed through the stoichiometry, is mass action;
    here it is the kernel `jaxchem.tendency`, which needs no clipping of y. Differentiate it with
    `equinox.filter_grad`: some of its leaves are constants.

    Attributes:
        network: the reactions; its rate laws are not used.
        log_k: [R] the parameters.
        known: [R] True where the coefficient is given and stays as it is.
        log_known: [R] ln of the given coefficients, read where `known`.
        integrator: how the model is integrated when it is called.
    """

    network: Network
    log_k: Float[Array, " R"]
    known: Bool[np.ndarray, " R"]
    log_known: Float[np.ndarray, " R"]
    integrator: Integrator

    def __init__(
        self,
        network: Network,
        log_k: Float[Array, " R"],
        *,
        known: Bool[np.ndarray, " R"] | None = None,
        integrator: Integrator | None = None,
    ):
        """A model with these ln k, of which those under `known` are held fixed.

        Raises:
            ValueError: coefficients are known, but `log_k` is traced.
        """
        count = len(network.equations)
        self.network = network
        self.log_k = jnp.asarray(log_k)
        self.known = np.zeros(count, dtype=bool) if known is None else np.asarray(known)
        self.log_known = np.zeros(count)
        if self.known.any():
            if isinstance(log_k, Tracer):
                raise ValueError(
                    "given coefficients are constants, but log_k is traced here: make the model "
                    "outside of jit and grad, and set its log_k with equinox.tree_at inside."
                )
            self.log_known = np.where(self.known, np.asarray(log_k), 0.0)
        self.integrator = Integrator() if integrator is None else integrator

    @classmethod
    def random(
        cls,
        network: Network,
        *,
        k_known: Float[np.ndarray, " R"] | None = None,
        known: Bool[np.ndarray, " R"] | None = None,
        integrator: Integrator | None = None,
        key: PRNGKeyArray,
    ) -> "CRNN":
        """ln k ~ N(0, 1), the published start, but for the given coefficients."""
        log_k = jax.random.normal(key, (len(network.equations),))
        if known is not None and k_known is not None:
            log_k = jnp.where(known, jnp.log(jnp.where(known, k_known, 1.0)), log_k)
        return cls(network, log_k, known=known, integrator=integrator)

    @property
    def effective_log_k(self) -> Float[Array, " R"]:
        """ln k of every reaction, given or estimated."""
        return jnp.where(self.known, self.log_known, self.log_k)

    @property
    def k(self) -> Float[Array, " R"]:
        """Rate coefficients of every reaction, in the network's units."""
        return jnp.exp(self.effective_log_k)

    @property
    def integrated(self) -> bool:
        """Yes."""
        return True

    @property
    def rate_coefficients(self) -> Float[Array, " R"]:
        """`k`."""
        return self.k

    def field(self, t: Any, y: Float[Array, " S"], args: Any = None) -> Float[Array, " S"]:
        """The modelled tendency dy/dt."""
        del t, args
        return tendency(self.network, self.k, y)

    @property
    def about(self) -> About:
        """The species and units of the network; it takes no conditions."""
        return About(self.network.species, (), self.network.units)

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
        return solve(self.network, self.k, y0, ts, integrator=how, t0=t0, throw=False)
