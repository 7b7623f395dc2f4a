"""Gases of any density from an emulator of those that are alike."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..kinetics import flux
from ..network import Network
from .base import About, AbstractEmulator, AbstractWrapper

__all__ = ["Similar", "similar"]


class Similar(AbstractWrapper):
    """A model of gases on one line of density and rates, turned into one of all.

    Where every reaction is of two bodies, or of one at a rate proportional to a condition such as
    the cosmic-ray rate, a gas at time t is one at time t / r with all concentrations and that
    condition r times as large. An emulator of gases in which a product such as
    density^a cosmic_ray_rate^(1 - a) has one value is therefore one of all gases, exactly, and has
    an input less to learn.

    Attributes:
        inner: the model, of gases in which the product has `value`.
        value: of the product.
        exponents: of each condition in the product; those that are not zero scale.
    """

    inner: AbstractEmulator
    value: Float[np.ndarray, ""]
    exponents: tuple[float, ...] = eqx.field(static=True)

    @property
    def about(self) -> About:
        """That of the model inside, of which the range is not that of these inputs."""
        return self.inner.about._replace(low=(), high=())

    def predict(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """Concentrations at `ts`."""
        return self.inner.predict(*self.within(y0, conditions, ts)) / self._ratio(jnp, conditions)

    def within(
        self, y0: Float[Any, "*n S"], conditions: Float[Any, "*n C"], ts: Any
    ) -> tuple[Any, Any, Any]:
        """The gas on the line that this one is like, and its times."""
        xp = np if isinstance(conditions, np.ndarray) else jnp
        ratio = self._ratio(xp, conditions)[..., None]
        scaled = xp.where(np.asarray(self.exponents) != 0, conditions * ratio, conditions)
        return y0 * ratio, scaled, ts / ratio

    def _ratio(self, xp: Any, conditions: Float[Any, "*n C"]) -> Any:
        # logarithms, as the product of large powers could leave the range of the numbers
        return xp.exp(xp.log(self.value) - xp.log(conditions) @ np.asarray(self.exponents))


def similar(
    model: AbstractEmulator,
    network: Network,
    *,
    value: float,
    exponents: Mapping[str, float],
    temperature: float = 50.0,
) -> Similar:
    """Wraps a model of gases on one line so that it takes all (see `Similar`).

    Args:
        model: of gases on the line.
        network: is asked whether its rates allow it.
        value: of the product of conditions.
        exponents: name -> exponent in the product; they add up to one.
        temperature: at which the network's rates are compared.

    Raises:
        ValueError: a reaction whose rate does not scale so, a condition that the model does not
            take, or exponents that do not add up to one.
    """
    names = model.about.conditions
    for name in exponents:
        if name not in names:
            raise ValueError(
                f"the model has no condition {name!r} to scale; it has "
                f"{', '.join(names) or 'none'}."
            )
    if not np.isclose(sum(exponents.values()), 1.0) or 0 in exponents.values():
        raise ValueError(f"exponents={dict(exponents)}: all must count, and add up to one.")
    ratio, given = 3.0, dict.fromkeys(network.needs, 1.0) | {"temperature": temperature}
    more = {name: v * ratio if name in exponents else v for name, v in given.items()}
    state = jnp.ones(len(network.species))
    before, after = (
        np.asarray(flux(network, jnp.asarray(network.rates(**values)), factor * state))
        for values, factor in ((given, 1.0), (more, ratio))
    )
    wrong = np.flatnonzero(~np.isclose(after, before * ratio**2, rtol=1e-9, atol=0.0))
    if len(wrong):
        raise ValueError(
            f"reaction {network.equations[wrong[0]]} of network {network.name!r} is neither of two "
            f"bodies nor proportional to any of {', '.join(exponents)}: its gases are not similar. "
            "Train on data that vary them instead."
        )
    powers = tuple(float(exponents.get(name, 0.0)) for name in names)
    one = np.asarray(float(value))
    return Similar(model, one, powers)  # pyright: ignore[reportCallIssue]
