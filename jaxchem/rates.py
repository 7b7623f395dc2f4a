"""Rate laws, and the conditions that they are evaluated at.

A law holds the parameters of every reaction that follows it, as arrays, and maps conditions to
their rate coefficients. It knows nothing of species: [`Network`][jaxchem.Network] puts the
coefficients in reaction order.
"""

import dataclasses
import difflib
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["CONDITIONS", "LAWS", "Arrhenius", "Conditions", "Constant", "CosmicRay", "Kooij"]

CONDITIONS: dict[str, str] = {
    "temperature": "K",
    "density": "total number density, in the network's concentration unit",
    "cosmic_ray_rate": "s-1",
    "pressure": "Pa",
    "relative_humidity": "1",
    "solar_zenith_angle": "rad",
    "photolysis": "{name: s-1}",
    "visual_extinction": "mag",
    "uv_field": "Habing",
}
"""Every condition by the name it has everywhere, and its unit."""


class Conditions(eqx.Module):
    """Where a network reacts: named values, each a scalar, an array or a function of time.

    Attributes:
        values: name (one of `CONDITIONS`) -> scalar, array, or function of time returning one.

    Raises:
        ValueError: a name that is not a condition, with the nearest one.
    """

    values: dict[str, Any]

    def __init__(self, **values: Any):
        for name in values:
            if name not in CONDITIONS:
                near = difflib.get_close_matches(name, CONDITIONS, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"unknown condition {name!r}{hint} Known: {', '.join(CONDITIONS)}."
                )
        self.values = {name: value for name, value in values.items() if value is not None}

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def varying(self) -> bool:
        """Whether any value is a function of time."""
        return any(callable(value) for value in self.values.values())

    def at(self, t: Any) -> "Conditions":
        """The same conditions with every function of time evaluated at `t`."""
        return Conditions(**{k: v(t) if callable(v) else v for k, v in self.values.items()})


class RateLaw(eqx.Module):
    """Base of every law: parameters of n reactions as float64 arrays of shape [n].

    Parameters stay NumPy arrays until they are used, so a network loaded before 64-bit mode is
    switched on keeps its full precision.

    Attributes:
        reactions: the indices, in the network, of the n reactions that follow this law.
    """

    reactions: tuple[int, ...] = eqx.field(static=True)

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """The names of the law's parameters, in the order of its constructor."""
        return tuple(f.name for f in dataclasses.fields(cls) if f.name != "reactions")

    @classmethod
    def build(cls, reactions: tuple[int, ...], rows: list[tuple[float, ...]]) -> "RateLaw":
        """Makes the law of these reactions from one row of parameters a reaction."""
        return cls(reactions, *np.asarray(rows, dtype=np.float64).T)

    def __call__(self, conditions: Conditions) -> Float[Array, " n"]:
        """The rate coefficients of the law's reactions, in the network's units."""
        raise NotImplementedError


class Constant(RateLaw):
    """k = a: a coefficient that depends on no condition."""

    amplitude: Float[np.ndarray, " n"]
    name: ClassVar[str] = "constant"

    def __call__(self, conditions: Conditions) -> Float[Array, " n"]:
        """k of each reaction; see the class."""
        return jnp.asarray(self.amplitude)


class Arrhenius(RateLaw):
    """k = a exp(-theta / T), theta = E_a / R in kelvin (Arrhenius 1889, Z. Phys. Chem. 4, 226)."""

    amplitude: Float[np.ndarray, " n"]
    theta: Float[np.ndarray, " n"]
    name: ClassVar[str] = "arrhenius"
    needs: ClassVar[tuple[str, ...]] = ("temperature",)

    def __call__(self, conditions: Conditions) -> Float[Array, " n"]:
        """k of each reaction; see the class."""
        return jnp.asarray(self.amplitude) * jnp.exp(
            -self.theta / jnp.asarray(conditions["temperature"])
        )


class Kooij(RateLaw):
    """k = alpha (T / 300 K)^beta exp(-gamma / T) (Kooij 1893, Z. Phys. Chem. 12, 155).

    The form of the UMIST, OSU and KIDA compilations (Wakelam et al. 2012, ApJS 199, 21, eq. 1).
    """

    alpha: Float[np.ndarray, " n"]
    beta: Float[np.ndarray, " n"]
    gamma: Float[np.ndarray, " n"]
    name: ClassVar[str] = "kooij"
    needs: ClassVar[tuple[str, ...]] = ("temperature",)

    def __call__(self, conditions: Conditions) -> Float[Array, " n"]:
        """k of each reaction; see the class."""
        temperature = jnp.asarray(conditions["temperature"])
        power = (temperature / 300.0) ** self.beta
        return jnp.asarray(self.alpha) * power * jnp.exp(-self.gamma / temperature)


class CosmicRay(RateLaw):
    """k = alpha zeta, zeta the cosmic-ray ionisation rate of H2 (Wakelam et al. 2012, eq. 4)."""

    alpha: Float[np.ndarray, " n"]
    name: ClassVar[str] = "cosmic_ray"
    needs: ClassVar[tuple[str, ...]] = ("cosmic_ray_rate",)

    def __call__(self, conditions: Conditions) -> Float[Array, " n"]:
        """k of each reaction; see the class."""
        return jnp.asarray(self.alpha) * jnp.asarray(conditions["cosmic_ray_rate"])


LAWS: dict[str, type[RateLaw]] = {law.name: law for law in (Constant, Arrhenius, Kooij, CosmicRay)}
