"""Gas with a temperature of its own: a network, what heats it and what cools it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from ..expression import Call, Expression, Number, names, rewrite
from ..formula import CHARGE
from ..kinetics import flux
from ..network import Network
from ..rates.evaluation import RateLaw
from ..system import System
from .constants import BOLTZMANN, COLDEST, GAMMA, HOTTEST
from .cooling import COOLING, molecular_lines
from .cooling import SWITCHES as COOLING_SWITCHES
from .gas import Gas
from .heating import HEATING
from .light import Light
from .metals import MetalLines

__all__ = ["Cloud"]

LINES = "metal lines"
"""The process of `Cloud.metals`."""

CONDITIONS = {"cosmic_ray_rate": 3e-17, "uv_field": 1.0, "visual_extinction": 0.0}
CONDITIONS |= {"dust_to_gas": 0.3, "metallicity": 1.0}
"""What holds where nothing else is said, as in Branca & Pallottini (2022)."""


class Cloud(eqx.Module):
    """A network whose gas has a temperature that heating and cooling change.

    ``Cloud(network).system`` stands wherever a `System` does. The temperature follows the species
    in a state and counts from 2.73 to 1e9 K, and gas that would be colder rests within a tenth
    below; dT/dt = (gamma - 1) (heating - cooling) / (k_B n).

    Attributes:
        network: the reactions, such as `ism_molecular` or `ism_atomic`.
        conditions: by name.
        heating: processes by name, `Gas -> erg cm-3 s-1`.
        cooling: likewise.
        metals: lines of metals.
        light: what photo-reactions are of.
        smooth: width in ln T of what switches at a temperature; 0 is a jump.
    """

    network: Network
    conditions: dict[str, Any]
    heating: dict[str, Callable[[Gas], Any]] = eqx.field(static=True)
    cooling: dict[str, Callable[[Gas], Any]] = eqx.field(static=True)
    metals: MetalLines
    light: Light
    smooth: float = eqx.field(static=True)

    def __init__(
        self,
        network: Network,
        *,
        heating: Mapping[str, Callable[[Gas], Any]] = HEATING,
        cooling: Mapping[str, Callable[[Gas], Any]] = COOLING,
        metals: MetalLines | str | Path | None = None,
        light: Light | None = None,
        smooth: float = 0.0,
        **conditions: Any,
    ):
        """Puts gas together.

        Args:
            network: the reactions.
            heating: processes by name; further ones of yours, or fewer.
            cooling: likewise.
            metals: lines of metals, or a file of them; `None` is the coarse table that ships.
            light: rates of photo-reactions and their heats; `None` is the networks' own.
            smooth: rates and processes that switch at a temperature are blended across it by a
                logistic function of ln T of this width, such as 0.004: what is differentiated, as
                a residual, wants no jumps. 0 are the jumps of KROME.
            **conditions: `cosmic_ray_rate` [s-1], `uv_field`, `visual_extinction` [mag],
                `dust_to_gas` and `metallicity`, relative to what the rates are of.

        Raises:
            ValueError: an unknown condition, or one that is negative or not finite; a width that
                is negative.
        """
        for name in conditions:
            if name not in CONDITIONS:
                raise ValueError(
                    f"a cloud has no condition {name!r}; known: {', '.join(CONDITIONS)}. Its "
                    "temperature is part of the state."
                )
        for name, value in conditions.items():
            if not isinstance(value, Tracer) and not np.all(np.isfinite(value) & (value >= 0)):
                raise ValueError(f"{name}={value}: give a number that is not negative.")
        if not smooth >= 0:
            raise ValueError(f"smooth={smooth}: give a width in ln T, such as 0.004, or 0.")
        self.network = _smooth(network, smooth) if smooth else network
        self.smooth, self.light = smooth, light or Light()
        self.conditions = {**CONDITIONS, **conditions}
        self.heating, self.cooling = dict(heating), dict(cooling)
        if not isinstance(metals, MetalLines):
            metals = MetalLines.shipped() if metals is None else MetalLines.read(metals)
        self.metals = metals

    def under(self, *, smooth: float | None = None, **conditions: Any) -> "Cloud":
        """The same gas under other conditions; those that are not named stay.

        Args:
            smooth: width of its switches; `None` leaves them.
            **conditions: by name.

        Raises:
            ValueError: as the class.
        """
        parts = {n: getattr(self, n) for n in ("heating", "cooling", "metals", "light")}
        parts["smooth"] = self.smooth if smooth is None else smooth
        return Cloud(self.network, **parts, **{**self.conditions, **conditions})

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
                fluxes = flux(self.network, self.rates(0.0, y), y[:-1])
                for keys, value in zip(_keys(self.network), fluxes, strict=True):
                    for one in keys:
                        found[one] = found.get(one, 0.0) + value
            return found.get(equation, 0.0)

        temperature = jnp.clip(y[-1], COLDEST, HOTTEST)
        return Gas(densities, temperature, self.conditions, events, self.light, self.smooth)

    def rates(self, t: Any, y: Float[Array, " S+1"]) -> Float[Array, " R"]:
        """Rate coefficients of a state."""
        del t
        gas = self.gas(y)
        needed = {n: v for n, v in self.conditions.items() if n in self.network.needs}
        own = dict(self.network.quantities)
        quantities = {n: v for n, v in self.light.rates.items() if n in own}
        quantities |= {"charging": gas.charging} if "charging" in own else {}
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
        # none goes on below what counts as the least, so that there is a state of rest
        kept = jnp.clip(10 * y[-1] / COLDEST - 9, 0, 1)
        net = sum(heating.values()) - kept * sum(cooling.values())
        warming = self.warming(y) * net
        return jnp.concatenate([jnp.zeros(len(self.network.species)), warming[None]])

    @property
    def switches(self) -> tuple[float, ...]:
        """Temperatures at which rates or processes jump, K; none where they are smooth."""
        if self.smooth:
            return ()
        limits = set(COOLING_SWITCHES) if molecular_lines in self.cooling.values() else set()
        waiting = _trees(self.network)
        while waiting:
            tree = waiting.pop()
            if isinstance(tree, Call):
                waiting += tree.arguments
                if tree.function in _SWITCHES and isinstance(tree.arguments[0], Number):
                    limits.add(tree.arguments[0].value)
        return tuple(sorted(limits))

    def beyond(self, ys: Float[Any, "*n S+1"]) -> str:
        """Which states leave the table of metal lines, in a sentence; nothing if none does."""
        logs = self.metals.places(self.gas(jnp.moveaxis(jnp.asarray(ys), -1, 0)))
        told = []
        for name, nodes, x in zip(
            ("density of hydrogen nuclei", "temperature"),
            (self.metals.density, self.metals.temperature),
            map(np.asarray, logs),
            strict=True,
        ):
            for end, out, worst in (
                (nodes[0], x < nodes[0] - 1e-6, x.min()),
                (nodes[-1], x > nodes[-1] + 1e-6, x.max()),
            ):
                if out.any():
                    told.append(f"a {name} of {10.0**worst:.3g}, where it ends at {10.0**end:.3g}")
        return f"{LINES} go on beyond their table: {'; '.join(told)}." if told else ""

    def throughput(self, y: Float[Array, " S+1"]) -> Any:
        """How fast the temperature would change if all processes heated, K s-1."""
        return self.warming(y) * sum(abs(x) for terms in self.terms(y) for x in terms.values())

    def warming(self, y: Float[Array, " S+1"]) -> Any:
        """dT/dt over heating less cooling, K erg-1 cm3."""
        return (GAMMA - 1) / (BOLTZMANN * jnp.sum(y[:-1]))


def _trees(network: Network) -> list[Expression]:
    """The expression of every rate."""
    trees: dict[int, Expression] = {}
    for law in network.laws:
        trees |= zip(law.reactions, law.expressions(), strict=True)
    return [trees[j] for j in range(len(trees))]


def _keys(network: Network) -> list[set[str]]:
    """What the events of each reaction go by: its equation, and quantities that its rate names."""
    own = {name for name, _ in network.quantities}
    pairs = zip(network.equations, _trees(network), strict=True)
    return [{equation, *(own & set(names(tree)))} for equation, tree in pairs]


def _smooth(network: Network, width: float) -> Network:
    """The network with rates that a limit of temperature switches blended across it."""

    def blended(part: Expression) -> Expression:
        if not isinstance(part, Call) or part.function not in _SWITCHES:
            return part
        limit, rate = part.arguments
        after = Call("after", (limit, Number(width)))
        up = part.function in ("above", "at_least")
        return Call("*", (after if up else Call("-", (Number(1.0), after)), rate))

    laws = RateLaw.group([rewrite(tree, blended) for tree in _trees(network)])
    return eqx.tree_at(lambda network: network.laws, network, laws)


_SWITCHES = ("above", "at_least", "at_most", "below")
