"""Several emulators that were trained alike: their mean, and how far they disagree."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .base import About, AbstractEmulator, AbstractWrapper

__all__ = ["Committee"]


class Committee(AbstractWrapper):
    """A deep ensemble (Lakshminarayanan et al. 2017, arXiv:1612.01474).

    Members start from weights and see batches of their own; where training has not settled what
    they say, they disagree.

    Attributes:
        members: two emulators or more, of the same states and conditions.
        floor: smallest concentration that is told from zero.
    """

    members: tuple[AbstractEmulator, ...]
    floor: Float[np.ndarray, ""] = eqx.field(default_factory=lambda: np.asarray(1e-99))

    def __check_init__(self) -> None:
        if len(self.members) < 2:
            raise ValueError(f"members={len(self.members)}: a committee has two at least.")
        for member in self.members[1:]:
            for what in ("states", "conditions"):
                names = getattr(member.about, what)
                if names != getattr(self.about, what):
                    raise ValueError(
                        f"members of a committee have the {what} {', '.join(names)} and "
                        f"{', '.join(getattr(self.about, what))}; bring them into one order by "
                        "their in_order."
                    )

    @property
    def inner(self) -> AbstractEmulator:
        """The first member, of whose inputs and training range all are."""
        return self.members[0]

    @property
    def name(self) -> str:
        """Its class, and that of its members."""
        return f"Committee({len(self.members)} x {self.members[0].name})"

    @property
    def about(self) -> About:
        """That of the members."""
        return self.members[0].about

    @property
    def restarts(self) -> bool:
        """As the members."""
        return all(member.restarts for member in self.members)

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """The geometric mean of the members."""
        return jnp.exp(np.log(10.0) * jnp.mean(self._logs(y0, conditions, ts), axis=0))

    def spread(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """The standard deviation of the members in dex."""
        return jnp.std(self._logs(y0, conditions, ts), axis=0, ddof=1)

    def _logs(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "M T S"]:
        members = [member.predict(y0, conditions, ts) for member in self.members]
        return jnp.log10(jnp.maximum(jnp.stack(members), self.floor))
