"""Models that hold the elements and the charge of their initial states."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..conserve import conserve, settle
from ..network import Network
from .base import About, AbstractEmulator, AbstractWrapper

__all__ = ["Conserved", "conserved", "conserving"]


class Conserved(AbstractWrapper):
    """A model whose every output holds the elements and the charge of its initial state.

    States that are in no sum, such as temperature, stay as they are predicted.

    Attributes:
        inner: the model.
        composition: [E, S] count of each element (and the charge) in each of its states.
        reservoirs: by `conserve.settle`, which takes little time; else by `conserve.conserve`.
    """

    inner: AbstractEmulator
    composition: Float[np.ndarray, "E S"]
    reservoirs: bool = eqx.field(static=True, default=False)

    @property
    def about(self) -> About:
        """That of the model inside."""
        return self.inner.about

    @property
    def corrects(self) -> bool:
        """Yes."""
        return True

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """States at `ts` that hold the sums of `y0`."""
        y = self.inner.predict(y0, conditions, ts)
        a, start = jnp.asarray(self.composition, y.dtype), y0.astype(y.dtype)
        totals = jnp.matmul(a, start, precision="highest")
        # what rounding leaves of a neutral gas could exceed the few electrons of a later one
        noise = 8 * jnp.finfo(y.dtype).eps * jnp.matmul(jnp.abs(a), start, precision="highest")
        totals = jnp.where(jnp.abs(totals) <= noise, 0, totals)
        if self.reservoirs:
            return settle(a, y, totals[None])
        held = jnp.any(a != 0, axis=0)
        return jnp.where(held, conserve(a, jnp.where(held, y, 0), totals), y)


def conserved(model: AbstractEmulator, network: Network, *, reservoirs: bool = False) -> Conserved:
    """Wraps a model so that it conserves what the network balances.

    Args:
        model: any emulator; its states are matched with the network's species by name.
        network: gives the composition of the species.
        reservoirs: what is off is made up for by the species that hold most.

    Raises:
        ValueError: the network balances no element, or has reactions that do not; it has a species
            that the model has not.
    """
    drift = np.abs(network.conserved @ network.structure.stoichiometry).max(axis=1)
    broken = [e for e, d in zip(network.balanced, drift, strict=True) if d > 1e-9]
    if broken or not network.balanced:
        what = ", ".join(broken) or "any element"
        raise ValueError(
            f"the reactions of network {network.name!r} do not conserve {what}; name in `balanced` "
            "those elements that they do, and declare the composition of every species."
        )
    states = model.about.states
    if lost := [name for name in network.species if name not in states]:
        raise ValueError(
            f"network {network.name!r} has the species {lost[0]!r}, which the model does not give; "
            "what it would hold of the elements is unknown."
        )
    composition = np.zeros((len(network.balanced), len(states)))
    composition[:, [states.index(name) for name in network.species]] = network.conserved
    made: Any = Conserved
    return made(model, composition, reservoirs)


def conserving(setting: bool | str) -> tuple[Callable[[AbstractEmulator, Network], Conserved], ...]:
    """The wrappers that a stage's setting `conserve` asks for: `conserved` in its way, or none.

    Raises:
        ValueError: neither true, false nor ``"reservoirs"``.
    """
    if setting not in (True, False, "reservoirs"):
        raise ValueError(f"conserve={setting!r}: write true, false or reservoirs.")
    return (functools.partial(conserved, reservoirs=setting == "reservoirs"),) if setting else ()
