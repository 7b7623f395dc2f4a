"""Gases under any conditions from an emulator of gases under one."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..kinetics import flux
from ..network import Network

__all__ = ["Similar", "similar"]


class Similar(eqx.Module):
    """A model for one value of a condition, turned into one for any.

    Where every reaction is of two bodies, or of one at a rate proportional to a condition such as
    the cosmic-ray rate, a gas at time t is one at time t / r with that condition and all
    concentrations r times as large. An emulator for a single cosmic-ray rate, or for a single
    density, is therefore one for all, exactly, and has an input less to learn.

    Attributes:
        model: `(y0 [S], conditions [C], ts [T]) -> y [T, S]` where the condition has `value`, from
            time 0.
        value: of the condition.
        start: time of the states that are given to `Similar`.
        place: of the condition among those that are given to `Similar`.
        scaled: which of the model's conditions scale as concentrations do.
    """

    model: Callable[..., Float[Array, "T S"]]
    value: Float[np.ndarray, ""]
    start: Float[np.ndarray, ""]
    place: int = eqx.field(static=True)
    scaled: tuple[int, ...] = eqx.field(static=True)

    def __call__(
        self, y0: Float[Array, " S"], conditions: Float[Array, " C+1"], ts: Float[Array, " T"]
    ) -> Float[Array, "T S"]:
        """Concentrations at `ts`; the conditions are the model's, with the condition among them."""
        ratio = self.value / conditions[self.place]
        others = jnp.delete(conditions, self.place)
        for index in self.scaled:
            others = others.at[index].multiply(ratio)
        return self.model(y0 * ratio, others, (ts - self.start) / ratio) / ratio


def similar(
    model: Callable[..., Float[Array, "T S"]],
    network: Network,
    names: Sequence[str],
    *,
    condition: str,
    value: float,
    place: int,
    scaled: Sequence[str],
    start: float = 0.0,
    temperature: float = 50.0,
) -> Similar:
    """Wraps a model for one value of a condition so that it takes any (see `Similar`).

    Args:
        model: `(y0 [S], conditions [C], ts [T]) -> y [T, S]`, from time 0.
        network: is asked whether its rates allow it.
        names: of the model's conditions.
        condition: the one that has a single value there.
        value: that one.
        place: where it will stand among the conditions.
        scaled: conditions of the model that scale as it does.
        start: time of the states that will be given.
        temperature: at which the network's rates are compared.

    Raises:
        ValueError: a reaction whose rate does not scale so, a condition that the model does not
            take, or a place that is none.
    """
    for name in scaled:
        if name not in names:
            raise ValueError(
                f"the model has no condition {name!r} to scale; it has "
                f"{', '.join(names) or 'none'}."
            )
    if condition in names or not 0 <= place <= len(names):
        raise ValueError(
            f"{condition!r} cannot stand in place {place} of {', '.join((*names, condition))}."
        )
    ratio, given = 3.0, dict.fromkeys(network.needs, 1.0) | {"temperature": temperature}
    more = {n: value * ratio if n in (condition, *scaled) else value for n, value in given.items()}
    state = jnp.ones(len(network.species))
    before, after = (
        np.asarray(flux(network, jnp.asarray(network.rates(**values)), factor * state))
        for values, factor in ((given, 1.0), (more, ratio))
    )
    wrong = np.flatnonzero(~np.isclose(after, before * ratio**2, rtol=1e-9, atol=0.0))
    if len(wrong):
        raise ValueError(
            f"reaction {network.equations[wrong[0]]} of network {network.name!r} is neither of two "
            f"bodies nor proportional to {condition}: its gases are not similar. Train on data "
            f"that vary {condition} instead."
        )
    columns = tuple(names.index(name) for name in scaled)
    return Similar(model, np.asarray(float(value)), np.asarray(float(start)), place, columns)
