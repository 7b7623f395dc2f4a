"""A chemical reaction neural network: mass action with trainable rate coefficients."""

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..dataset import Observations
from ..kinetics import tendency
from ..network import Network
from ..solvers import Integrator, solve
from .base import About
from .integrated import AbstractIntegrated

__all__ = ["CRNN", "true_coefficients"]


class CRNN(AbstractIntegrated):
    """A network whose ln k are parameters (Ji & Deng 2021, J. Phys. Chem. A 125, 1082).

    The published form, exp(ln k + A ln y) summed through the stoichiometry, is mass action;
    here it is the kernel `jaxchem.tendency`, which needs no clipping of y. Differentiate it with
    `equinox.filter_grad`: some of its leaves are constants.

    Where conditions vary from case to case, the coefficients are those at `reference`, and change
    with the conditions as the network's own rate laws do.

    Attributes:
        about: names of states and conditions.
        network: the reactions; of its rate laws only how they vary with conditions is used.
        log_k: [R] the parameters.
        known: [R] True where the coefficient is given and stays as it is.
        log_known: [R] ln of the given coefficients, read where `known`.
        fixed: the conditions that all cases have, by name.
        reference: [C] the values of the others that the coefficients are of.
        integrator: how the model is integrated when it is called.
    """

    about: About = eqx.field(static=True)
    network: Network
    log_k: Float[Array, " R"]
    known: Bool[np.ndarray, " R"]
    log_known: Float[np.ndarray, " R"]
    fixed: dict[str, Any]
    reference: Float[np.ndarray, " C"]
    integrator: Integrator

    def __init__(
        self,
        network: Network,
        log_k: Float[Array, " R"],
        *,
        known: Bool[np.ndarray, " R"] | None = None,
        integrator: Integrator | None = None,
        about: About | None = None,
        fixed: dict[str, Any] | None = None,
        reference: Float[np.ndarray, " C"] | None = None,
    ):
        """A model with these ln k, of which those under `known` are held fixed.

        Raises:
            ValueError: coefficients are known, but `log_k` is traced.
        """
        count = len(network.equations)
        self.about = About(network.species, (), network.units) if about is None else about
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
        self.fixed = dict(fixed or {})
        self.reference = np.zeros(0) if reference is None else np.asarray(reference)
        self.integrator = Integrator() if integrator is None else integrator

    @classmethod
    def of(
        cls,
        data: Observations,
        log_k: Float[Array, " R"],
        *,
        known: Bool[np.ndarray, " R"],
        integrator: Integrator | None = None,
    ) -> "CRNN":
        """A model of the network and the conditions of some data.

        Raises:
            ValueError: the data vary conditions that the network's laws cannot be evaluated at.
        """
        if data.names:
            data.rates(data.middle)  # refuses what is missing
        return cls(
            data.network,
            log_k,
            known=known,
            integrator=integrator,
            about=About.of(data)._replace(low=(), high=()),  # mass action has no range
            fixed=data.fixed,
            reference=data.middle,
        )

    @classmethod
    def fitted(
        cls,
        data: Observations,
        *,
        noise: float | None = None,
        known: Sequence[int] = (),
        key: PRNGKeyArray,
    ) -> "CRNN":
        """A model with random coefficients.

        Args:
            data: whose network and conditions it is of.
            noise: start from k_true (1 + noise)^N(0, 1), as SPIN-ODE 1.1 does, with the
                coefficients of the network's own laws; `None` starts from ln k ~ N(0, 1), as
                SPIN-ODE 1.0 does.
            known: reactions (from 0) whose coefficients are those of the network's own laws.
            key: seeds the draw.

        Raises:
            ValueError: coefficients that are wanted are not constant, or there are none under
                these conditions, or `noise` finds one that is zero; no such reaction.
        """
        draw = jax.random.normal(key, (len(data.network.equations),))
        if noise is None and not known:
            return cls.of(data, draw, known=np.zeros(len(draw), bool))
        given, k = true_coefficients(data, known)
        if noise is None:
            log_k = jnp.where(given, jnp.log(jnp.where(given, k, 1.0)), draw)
            return cls.of(data, log_k, known=given)
        if nothing := np.flatnonzero((k <= 0) & ~given).tolist():
            raise ValueError(
                f"a start with noise is in ln k, but the coefficients of reactions {nothing} (from "
                "0) are zero; give them as known, or start from regress."
            )
        change = jnp.where(given, 0.0, draw * jnp.log(1.0 + noise))
        return cls.of(data, jnp.log(jnp.asarray(k)) + change, known=given)

    @property
    def effective_log_k(self) -> Float[Array, " R"]:
        """ln k of every reaction, given or estimated."""
        return jnp.where(self.known, self.log_known, self.log_k)

    @property
    def k(self) -> Float[Array, " R"]:
        """Rate coefficients of every reaction at `reference`, in the network's units."""
        return jnp.exp(self.effective_log_k)

    def rate_coefficients(self, conditions: Any = None) -> Float[Array, " R"]:
        """Rate coefficients under conditions [C]."""
        names = self.about.conditions
        if not names:
            return self.k
        here, there = (
            jnp.asarray(self.network.rates(**self.fixed, **dict(zip(names, values, strict=True))))
            for values in (jnp.asarray(conditions), self.reference)
        )
        some = there > 0
        return self.k * jnp.where(some, here / jnp.where(some, there, 1.0), 1.0)

    def field(self, t: Any, y: Float[Array, " S"], conditions: Any = None) -> Float[Array, " S"]:
        """The modelled tendency dy/dt."""
        del t
        return tendency(self.network, self.rate_coefficients(conditions), y)

    def run(self, how: Integrator, y0: Any, ts: Any, conditions: Any, t0: Any) -> diffrax.Solution:
        """By `jaxchem.solve`, which knows mass action."""
        k = self.rate_coefficients(conditions)
        return solve(self.network, k, y0, ts, integrator=how, t0=t0, throw=False)


def true_coefficients(
    data: Observations, known: Sequence[int] = ()
) -> tuple[Bool[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """Which coefficients are given, and all of the network's own laws in the middle of the data.

    Raises:
        ValueError: no such reaction, all of them, or the laws give no constants here.
    """
    network = data.network
    if isinstance(known, int | str):
        raise ValueError(f"known={known}: give a list of reactions, as [{known}].")
    given = np.zeros(len(network.equations), dtype=bool)
    for j in known:
        if not isinstance(j, int) or not 0 <= j < len(given):
            raise ValueError(
                f"known={list(known)}: network {network.name!r} has reactions 0 to "
                f"{len(given) - 1}."
            )
        given[j] = True
    if given.all():
        raise ValueError("known names every reaction, so no coefficient is left to estimate.")
    k = data.rates(jnp.asarray(data.middle))
    if callable(k):
        raise ValueError(
            "the rate coefficients vary in time under these conditions, so none can be given as a "
            "number; set known=[], start without noise, or have conditions that are constant."
        )
    return given, np.asarray(k)
