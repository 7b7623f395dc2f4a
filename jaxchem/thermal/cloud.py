"""Gas with a temperature of its own: a network, what heats it and what cools it."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..formula import CHARGE
from ..kinetics import flux
from ..network import Network
from ..system import System
from .cooling import COOLING
from .gas import BOLTZMANN, COLDEST, GAMMA, HOTTEST, Gas
from .heating import HEATING
from .metals import MetalLines

__all__ = ["Cloud"]

LINES = "metal lines"
"""The process of `Cloud.metals`."""

CONDITIONS = {"cosmic_ray_rate": 3e-17, "uv_field": 1.0, "dust_to_gas": 0.3, "metallicity": 1.0}
"""What holds where nothing else is said, as in Branca & Pallottini (2022)."""


class Cloud(eqx.Module):
    """A network whose gas has a temperature that heating and cooling change.

    ``Cloud(network).system`` stands wherever a `System` does. The temperature follows the species
    in a state and counts from 2.73 to 1e9 K; dT/dt = (gamma - 1) (heating - cooling) / (k_B n).

    Attributes:
        network: the reactions, such as `ism_molecular` or `ism_atomic`.
        conditions: by name.
        heating: processes by name, `Gas -> erg cm-3 s-1`.
        cooling: likewise.
        metals: lines of metals.
    """

    network: Network
    conditions: dict[str, Any]
    heating: dict[str, Callable[[Gas], Any]] = eqx.field(static=True)
    cooling: dict[str, Callable[[Gas], Any]] = eqx.field(static=True)
    metals: MetalLines

    def __init__(
        self,
        network: Network,
        *,
        heating: Mapping[str, Callable[[Gas], Any]] = HEATING,
        cooling: Mapping[str, Callable[[Gas], Any]] = COOLING,
        metals: MetalLines | None = None,
        **conditions: Any,
    ):
        """Puts gas together.

        Args:
            network: the reactions.
            heating: processes by name; further ones of yours, or fewer.
            cooling: likewise.
            metals: lines of metals; `None` is the coarse table that ships.
            **conditions: `cosmic_ray_rate` [s-1], `uv_field`, `dust_to_gas` and `metallicity`,
                relative to what the rates are of.

        Raises:
            ValueError: an unknown condition.
        """
        for name in conditions:
            if name not in CONDITIONS:
                raise ValueError(
                    f"a cloud has no condition {name!r}; known: {', '.join(CONDITIONS)}. Its "
                    "temperature is part of the state."
                )
        self.network = network
        self.conditions = {**CONDITIONS, **conditions}
        self.heating, self.cooling = dict(heating), dict(cooling)
        self.metals = MetalLines.shipped() if metals is None else metals

    @property
    def system(self) -> System:
        """What is integrated: the species and the temperature."""
        return System(
            self.network, self.rates, further={"temperature": "K"}, tendency=self.tendency
        )

    def y0(
        self, densities: Mapping[str, float], temperature: float, *, least: float = 1e-30
    ) -> Float[np.ndarray, " S+1"]:
        """A state to start from, which is neutral.

        Args:
            densities: cm-3, by species; electrons that are not given make the gas neutral.
            temperature: K.
            least: density of every other species.

        Raises:
            ValueError: an unknown species, a density that is negative or not finite, a temperature
                that is not positive, or a charge.
        """
        if not (np.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature={temperature}: give a positive number of kelvin.")
        network = self.network
        y = np.full(len(network.species) + 1, least)
        for name, value in densities.items():
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"the density of {name!r} is {value}; give none that is negative.")
            y[network.index(name)] = value
        y[-1] = temperature
        charges = network.composition[network.elements.index(CHARGE)]
        place = network.index("e-")
        if "e-" not in densities:
            y[place] = 0.0
            y[place] = max(y[:-1] @ charges, 0.0)
        net, size = y[:-1] @ charges, y[:-1] @ np.abs(charges)
        if abs(net) > 1e-6 * size:
            raise ValueError(
                f"the state has {(size + net) / 2:.4g} positive charges a cm3 and "
                f"{(size - net) / 2:.4g} negative ones; leave out the electrons, which then make "
                "it neutral where they can, or give other ions."
            )
        return y

    def gas(self, y: Float[Array, " S+1"]) -> Gas:
        """A state by what it means."""
        densities = dict(zip(self.network.species, y[:-1], strict=True))
        found: dict[str, Any] = {}

        def events(equation: str) -> Any:
            if not found:  # once, where a process asks
                for one, value in zip(self.network.equations, self._fluxes(y), strict=True):
                    found[one] = found.get(one, 0.0) + value
            return found.get(equation, 0.0)

        temperature = jnp.clip(y[-1], COLDEST, HOTTEST)
        return Gas(densities, temperature, self.conditions, events)

    def rates(self, t: Any, y: Float[Array, " S+1"]) -> Float[Array, " R"]:
        """Rate coefficients of a state."""
        del t
        gas = self.gas(y)
        needed = {n: v for n, v in self.conditions.items() if n in self.network.needs}
        quantities = {"charging": gas.charging}
        k: Any = self.network.rates(temperature=gas.temperature, quantities=quantities, **needed)
        return k

    def terms(self, y: Float[Array, " S+1"]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Heating and cooling by process, erg cm-3 s-1."""
        gas = self.gas(y)
        heating = {name: process(gas) for name, process in self.heating.items()}
        cooling = {name: process(gas) for name, process in self.cooling.items()}
        return heating, {**cooling, LINES: self.metals(gas)}

    def tendency(self, t: Any, y: Float[Array, " S+1"]) -> Float[Array, " S+1"]:
        """What changes besides the reactions: the temperature."""
        del t
        heating, cooling = self.terms(y)
        net = sum(heating.values()) - sum(cooling.values())
        warming = (GAMMA - 1) / (BOLTZMANN * self.gas(y).particles) * net
        return jnp.concatenate([jnp.zeros(len(self.network.species)), warming[None]])

    def _fluxes(self, y: Float[Array, " S+1"]) -> Float[Array, " R"]:
        return flux(self.network, self.rates(0.0, y), y[:-1])
