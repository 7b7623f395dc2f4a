"""Several emulators that were trained alike: their mean, and how far they disagree."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["Committee"]


class Committee(eqx.Module):
    """A deep ensemble (Lakshminarayanan et al. 2017, arXiv:1612.01474).

    Members start from weights and see batches of their own; where training has not settled what
    they say, they disagree.

    Attributes:
        members: `(y0 [S], conditions [C], ts [T]) -> y [T, S]` each.
        floor: smallest concentration that is told from zero.
    """

    members: tuple[Callable[..., Float[Array, "T S"]], ...]
    floor: Float[np.ndarray, ""]

    def __call__(
        self, y0: Float[Array, " S"], conditions: Any, ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """The geometric mean of the members."""
        return self.predict(y0, conditions, ts)[0]

    def predict(
        self, y0: Float[Array, " S"], conditions: Any, ts: Float[Array, " T"]
    ) -> tuple[Float[Array, "T S"], Float[Array, "T S"]]:
        """The geometric mean of the members, and their standard deviation in dex."""
        logs = jnp.stack(
            [jnp.log10(jnp.maximum(m(y0, conditions, ts), self.floor)) for m in self.members]
        )
        return jnp.exp(np.log(10.0) * jnp.mean(logs, axis=0)), jnp.std(logs, axis=0, ddof=1)
