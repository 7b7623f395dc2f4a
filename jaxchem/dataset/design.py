"""Initial states and conditions over declared ranges."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
from jaxtyping import Float

from ..box import number_density
from ..formula import CHARGE
from ..network import Network
from ..rates import CONDITIONS, NAMED
from ..scale import SoftLog
from ..suggest import closest

__all__ = ["SAMPLERS", "STREAMS", "draw", "scattered", "stream"]

SAMPLERS = ("sobol", "halton", "latin_hypercube")
"""How ranges are filled."""

STREAMS = ("train", "test", "noise", "validation")
"""What a data seed seeds, each apart from the others."""

Range = float | Sequence[float] | Mapping[str, Any]


def stream(seed: int, name: str) -> np.random.SeedSequence:
    """The seed of one of `STREAMS`: of no other name or data seed the same numbers come."""
    return np.random.SeedSequence(seed, spawn_key=(STREAMS.index(name),))


def draw(
    network: Network,
    *,
    cases: int,
    initial: Mapping[str, Range | None],
    conditions: Mapping[str, Range | None] | None = None,
    fixed: Mapping[str, Any] | None = None,
    over: str | None = None,
    background: float = 0.0,
    balance: str | None = None,
    sampler: str = "sobol",
    line: Mapping[str, Any] | None = None,
    seed: Any = 0,
) -> tuple[Float[np.ndarray, "case S"], dict[str, Any]]:
    """Initial states and conditions that fill their ranges together.

    A range is a number, which all cases have; a pair ``[low, high]``, filled evenly in the
    logarithm; or a mapping ``{low, high, scale, power}`` with scale ``log`` or ``linear``. A power
    p above 1 draws more of them near the high end: the distance to it is an even draw's to the p.

    Args:
        network: whose species and conditions they are.
        cases: how many.
        initial: species -> range of its concentration, `None` leaving it out; or ``{ratio: range,
            of: [species, ...]}``, that many times what these species have together.
        conditions: name -> range, for what varies or is not in `fixed`; `None` leaves one out.
        fixed: conditions that all cases have, numbers or, of `photolysis` and `quantities`, numbers
            by name.
        over: concentrations are over this condition, as abundances are over `density`; that
            follows from `pressure` and `temperature` where they are given instead, so that amounts
            are mole fractions.
        background: of every species that is not named.
        balance: the species, such as the electron, that makes each state neutral.
        sampler: one of `SAMPLERS`.
        line: turn each gas into the similar one in which a product of conditions has this `value`:
            name -> `exponents` (see `jaxchem.models.Similar`). Times then are of that one too.
        seed: an integer, or a `stream`.

    Returns:
        Concentrations [case, S], and all conditions by name: [case] each, but what is by name in
        `fixed` as it is there.

    Raises:
        ValueError: a range that is none, an unknown species or condition, one that is given twice,
            or states that cannot be neutral.
    """
    conditions = {n: v for n, v in (conditions or {}).items() if v is not None}
    initial = {n: v for n, v in initial.items() if v is not None}
    fixed = fixed or {}
    named = {name: value for name, value in fixed.items() if name in NAMED}
    for name, value in fixed.items():
        parts: Any = value if isinstance(value, Mapping) and name in NAMED else {name: value}
        for part, number in parts.items():
            if np.ndim(number) or not isinstance(number, int | float | np.number):
                raise ValueError(
                    f"the condition {part} is {number!r}, which is no number; what varies from "
                    "case to case belongs in data.draw.conditions."
                )
    if balance in initial:
        raise ValueError(f"data.draw gives {balance} by `initial` and by `balance`; leave one out.")
    if line is not None and set(line) != {"value", "exponents"}:
        raise ValueError(f"data.draw.line={dict(line)}: give value and exponents.")
    if cases < 1:
        raise ValueError(f"data.draw.cases={cases}: draw one case at least.")
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}.")
    for name in conditions:
        if name not in CONDITIONS:
            raise ValueError(
                f"data.draw names the condition {name!r}, which there is not"
                f"{closest(name, CONDITIONS) or '.'} Known: {', '.join(CONDITIONS)}."
            )
        if name in fixed:
            raise ValueError(
                f"{name} is given by `conditions` and by `data.draw.conditions`; leave one of the "
                f"two out (~conditions.{name})."
            )
    ranges = {("conditions", name): range_of(name, value) for name, value in conditions.items()}
    for name, value in initial.items():
        network.index(name)
        others = _of(name, value)
        for other in others:
            network.index(other)
            if other == balance or _of(other, initial.get(other)):
                raise ValueError(
                    f"{name} is a ratio of {other}, which itself follows from others; give it as "
                    "so many times those."
                )
        amount: Any = value
        ranges["initial", name] = range_of(name, amount["ratio"] if others else amount)
    drawn = filled(ranges, cases, sampler, seed)
    shared = {name: value for name, value in fixed.items() if name not in named}
    given: dict[str, Any] = {name: np.full(cases, float(v)) for name, v in shared.items()}
    given |= {name: drawn["conditions", name] for name in conditions}
    derived = over == "density" and {"temperature", "pressure"} <= set(given)
    if over is not None and over not in given and not derived:
        raise ValueError(f"data.draw.over={over!r} is no condition that is given; add it to them.")
    if line is not None:
        powers = line["exponents"]
        if unknown := [name for name in powers if name not in given]:
            raise ValueError(f"data.draw.line: {unknown[0]!r} is no condition that is given.")
        whole = np.prod([given[name] ** power for name, power in powers.items()], axis=0)
        given |= {name: given[name] * line["value"] / whole for name in powers}
    if derived and over not in given:  # amounts are mole fractions of air
        air = {name: given[name] for name in ("temperature", "pressure")}
        unit = number_density({"air": 1.0}, units=network.units, **air)["air"]
    else:
        unit = np.ones(cases) if over is None else given[over]
    y0 = np.tile(background * unit[:, None], (1, len(network.species)))
    for name in sorted(initial, key=lambda name: bool(_of(name, initial[name]))):  # ratios last
        others = [network.index(other) for other in _of(name, initial[name])]
        base = y0[:, others].sum(axis=1) if others else unit
        y0[:, network.index(name)] = drawn["initial", name] * base
    if balance is not None:
        _neutralise(network, y0, balance)
    return y0, given | {name: dict(value) for name, value in named.items()}


def _of(name: str, value: Any) -> Sequence[str]:
    """The species that an amount is a ratio of; none of one that is no ratio."""
    if not isinstance(value, Mapping) or not {"ratio", "of"} & set(value):
        return ()
    if set(value) != {"ratio", "of"} or isinstance(value["of"], str) or not value["of"]:
        raise ValueError(
            f"{name}: {dict(value)} is no ratio; give {{ratio: range, of: [species, ...]}} and no "
            "other key."
        )
    return value["of"]


class _Range(NamedTuple):
    low: float
    high: float
    scale: str = "linear"
    power: float = 1.0

    def at(self, u: Float[np.ndarray, " case"]) -> Float[np.ndarray, " case"]:
        """Values of what is even from 0 to 1."""
        u = 1 - (1 - u) ** self.power
        if self.scale == "log":
            return 10.0 ** (np.log10(self.low) + u * np.log10(self.high / self.low))
        return self.low + u * (self.high - self.low)


def scattered(
    y0: Float[np.ndarray, "case S"], *, dex: float, negligible: float, share: float, seed: Any = 0
) -> Float[np.ndarray, "case S"]:
    """States, each species of each off by a random factor.

    What starts on trajectories alone lies where short-lived species follow all others, and does not
    tell what they would do elsewhere; a model that is chained leaves that place by its own errors.
    Solutions from starts that are off teach it the way back.

    Args:
        y0: states.
        dex: standard deviation of log10(y + F),
        negligible: F of a species being this, in the network's concentration unit,
        share: or this part of the most that there is of it, whichever is less. What no state has
            of a species stays nothing.
        seed: an integer, or a seed sequence.
    """
    amounts = SoftLog.of(y0, negligible=negligible, share=share).amounts
    amounts = np.where(np.any(y0 > 0, axis=0), amounts, 0.0)
    factors = 10.0 ** (dex * np.random.default_rng(seed).standard_normal(y0.shape))
    return np.maximum((y0 + amounts) * factors - amounts, 0.0)


def range_of(name: str, value: Any, *, least: float = 0.0) -> _Range:
    """A number is a range of no width, and must not be below `least`."""
    scale, power = "log", 1.0
    if isinstance(value, Mapping):
        if set(value) - {"low", "high", "scale", "power"} or not {"low", "high"} <= set(value):
            raise ValueError(
                f"{name}: {dict(value)} is no range; give low, high and perhaps scale and power."
            )
        scale, power = value.get("scale", "log"), value.get("power", 1.0)
        value = value["low"], value["high"]
    if not isinstance(power, int | float) or not 0 < power < np.inf:
        raise ValueError(f"{name}: power={power!r}; give a positive number.")
    limits = np.ravel(np.asarray(value, dtype=float))
    if len(limits) == 1 and np.isfinite(limits[0]) and limits[0] >= least:
        return _Range(float(limits[0]), float(limits[0]))
    above = 0.0 if scale == "log" else -np.inf
    if scale not in ("log", "linear") or len(limits) != 2 or not above < limits[0] < limits[1]:
        wanted = "0 < smallest < largest" if scale == "log" else "smallest < largest, scale linear"
        raise ValueError(f"{name}: {limits.tolist()} ({scale}) is no range; give {wanted}.")
    return _Range(float(limits[0]), float(limits[1]), scale, float(power))


def filled(
    ranges: Mapping[Any, _Range], cases: int, sampler: str, seed: Any
) -> dict[Any, Float[np.ndarray, " case"]]:
    """Values of every range; those of no width take no dimension of the sequence."""
    values = {key: np.full(cases, one.low) for key, one in ranges.items()}
    varied = [key for key, one in ranges.items() if one.high > one.low]
    if not varied:
        return values
    rng = np.random.default_rng(seed)
    if sampler == "sobol":  # balanced in powers of two
        engine = scipy.stats.qmc.Sobol(len(varied), rng=rng)
        unit = engine.random_base2(int(np.ceil(np.log2(cases))))[:cases]
    else:
        kinds = {
            "halton": scipy.stats.qmc.Halton,
            "latin_hypercube": scipy.stats.qmc.LatinHypercube,
        }
        unit = kinds[sampler](len(varied), rng=rng).random(cases)
    for key, column in zip(varied, unit.T, strict=True):
        values[key] = ranges[key].at(column)
    return values


def _neutralise(network: Network, y0: Float[np.ndarray, "case S"], name: str) -> None:
    """Gives a species what makes the charges of a state add up to nothing."""
    charges = dict(zip(network.elements, np.asarray(network.composition), strict=True)).get(CHARGE)
    place = network.index(name)
    if charges is None or charges[place] == 0:
        raise ValueError(f"data.draw.balance={name!r} has no charge; name an ion or the electron.")
    y0[:, place] = 0.0
    y0[:, place] = -(y0 @ charges) / charges[place]
    if np.any(y0[:, place] < 0):
        case = int(np.argmin(y0[:, place]))
        raise ValueError(
            f"case {case}: {name} would have to be {y0[case, place]:.3g} to make the state "
            "neutral; draw less of the ions with its charge."
        )
