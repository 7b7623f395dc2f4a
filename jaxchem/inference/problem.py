"""From parameters to readings: network, experiments and observables as one function."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..brief import few
from ..expression import Expression, Name, parse
from ..expression import names as names_of
from ..kinetics import tendency
from ..network import Network
from ..rates import RateLaw, validate
from ..solvers import Integrator, solve
from ..suggest import closest
from .measurements import Measurements
from .parameters import SEARCHED, Parameter, declared, named, number, reactions_of

__all__ = ["Problem", "problem", "rate_unit"]

_EARLIER = 1e-12
"""Times before a start lie this part of the whole span apart behind it."""


class Problem(NamedTuple):
    """What is estimated from what.

    Attributes:
        network: the reactions.
        measured: the readings.
        parameters: all that are free, and all that are given.
        observed: of each of the measurements' observables, in their order.
        k: [E, R] coefficients of the network's own laws in each experiment.
        at: [R] and under the conditions `reference`.
        reference: the conditions that coefficients are of, where experiments differ in them.
        y0: [E, S] initial states, but for those that are parameters.
        t0: the time of the initial states.
        integrator: of every solve.
        notes: what was supplied.
    """

    network: Network
    measured: Measurements
    parameters: tuple[Parameter, ...]
    observed: tuple[Expression, ...]
    k: Float[np.ndarray, "E R"]
    at: Float[np.ndarray, " R"]
    reference: dict[str, float]
    y0: Float[np.ndarray, "E S"]
    t0: float
    integrator: Integrator
    notes: tuple[str, ...]

    @property
    def free(self) -> tuple[Parameter, ...]:
        """The parameters that are estimated, in the order of their coordinates."""
        return tuple(p for p in self.parameters if p.free)

    def values(self, x: Float[Any, " n"]) -> dict[str, Any]:
        """Every parameter's value, by name, where the free ones have these coordinates."""
        found: dict[str, Any] = {p.name: p.value for p in self.parameters}
        for p, coordinate in zip(self.free, x, strict=True):
            found[p.name] = jnp.exp(coordinate) if p.log else coordinate * p.size
        return found

    def coefficients(self, x: Float[Array, " n"]) -> Float[Array, "E R"]:
        """Rate coefficients of every experiment."""
        values, k = self.values(x), jnp.asarray(self.k)
        warmth = self.measured.conditions.get("temperature")
        for p in self.parameters:
            of = np.array(p.of, dtype=int)
            if p.kind == "rate":  # varies between experiments as the law does
                there = self.at[of]
                shape = np.where(there > 0, self.k[:, of] / np.where(there > 0, there, 1.0), 1.0)
                k = k.at[:, of].set(values[p.name] * (np.array(p.ratios) * shape))
        for p in self.parameters:
            if p.kind == "barrier" and warmth is not None:
                inverse = 1.0 / warmth - 1.0 / self.reference["temperature"]
                change = jnp.exp(-(values[p.name] - p.ratios[0]) * jnp.asarray(inverse))
                of = np.array(p.of, dtype=int)
                k = k.at[:, of].set(k[:, of] * change[:, None])
        return k

    def states(self, x: Float[Array, " n"]) -> Float[Array, "E T S"]:
        """Concentrations of every species at the times of every experiment; NaN where one fails."""
        values = self.values(x)
        k, y0 = self.coefficients(x), jnp.asarray(self.y0)
        begin = jnp.asarray(self.t0, dtype=float)
        for p in self.parameters:
            if p.kind == "initial":
                y0 = y0.at[np.array(p.experiments, dtype=int), p.of[0]].set(values[p.name])
            elif p.kind == "start":
                begin = jnp.asarray(values[p.name], dtype=float)
        ts = self.measured.ts
        few = _EARLIER * max(float(np.ptp(ts)), 1e-300)
        behind = np.broadcast_to(few * np.arange(1, ts.shape[1] + 1), ts.shape)
        # an experiment with fewer times repeats its last, and the solver wants them to increase
        own = np.arange(ts.shape[1]) < self.measured.counts[:, None]
        elapsed = jnp.asarray(np.where(own, ts, ts[:, -1:] + behind)) - begin
        waits = any(p.kind == "start" for p in self.parameters)
        if waits:  # at the initial state until then
            elapsed = jnp.maximum(elapsed, jnp.asarray(behind))
        fixed = jax.lax.stop_gradient(elapsed)

        def one(k: Any, y0: Any, ts: Any) -> Any:
            found = solve(self.network, k, y0, ts, integrator=self.integrator, throw=False)
            return jnp.asarray(found.ys)

        ys = jax.vmap(one)(k, y0, fixed)
        ys = jnp.where(jnp.isfinite(ys), ys, jnp.nan)
        if waits:  # dy/dt is the tendency
            slope = jax.vmap(lambda k, ys: jax.vmap(lambda y: tendency(self.network, k, y))(ys))
            ys = ys + slope(*map(jax.lax.stop_gradient, (k, ys))) * (elapsed - fixed)[:, :, None]
        return ys

    def predicted(self, x: Float[Array, " n"]) -> Float[Array, " N"]:
        """What every reading should have been."""
        values, data = self.values(x), self.measured
        place = {name: i for i, name in enumerate(self.network.species)}
        laws = [RateLaw.group([tree])[0] for tree in self.observed]

        def seen(y: Float[Array, " S"]) -> Float[Array, " O"]:
            def lookup(name: str) -> Any:
                return y[place[name]] if name in place else jnp.asarray(values[name], y.dtype)

            return jnp.stack([law(lookup)[0] for law in laws])

        found = jax.vmap(jax.vmap(seen))(self.states(x))
        for p in self.parameters:
            if p.kind in ("scale", "offset"):
                of = np.array(p.of, dtype=int)
                there, by = found[:, :, of], values[p.name]
                found = found.at[:, :, of].set(there * by if p.kind == "scale" else there + by)
        return found[data.experiment, data.time, data.observable]


def problem(
    network: Network,
    measured: Measurements,
    *,
    rates: Mapping[str, Any] | None = None,
    barriers: Any = None,
    observables: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    initial: Mapping[str, Any] | str | None = None,
    scales: Mapping[str, Any] | None = None,
    offsets: Mapping[str, Any] | None = None,
    start: Any = None,
    reference: Mapping[str, float] | None = None,
    conditions: Mapping[str, Any] | None = None,
    integrator: Integrator | None = None,
    where: str = "the problem",
) -> Problem:
    """Says what is estimated from measurements.

    A value of a setting is a number, which is given; ``"estimated"``; or parts by name: `value`
    where the search begins, ``given: true`` if it stays there, bounds `low` and `high`, and what
    was known before: `factor` of a rate coefficient, as evaluations state it, `sd` of others.

    Args:
        network: the reactions. Their coefficients are where the search begins.
        measured: the readings.
        rates: name -> what is estimated of the reactions under `of` (``R3``, from 1; an equation;
            or a list, whose members share the coefficient, times `ratios`). `None` estimates all,
            as k1, k2, ...; otherwise those that it does not name stay the mechanism's.
        barriers: the rates whose Ea/R is estimated too, by name, or with its parts. `None` takes
            all that depend on temperature, where experiments differ in it.
        observables: name -> expression of species and constants.
        constants: of the expressions, by name.
        initial: species -> initial concentration, of every experiment; ``"first"`` takes the first
            reading of each, as if it were exact. What the tables state comes first, then this,
            then the network's own; where none of them states anything, species that are observed
            are estimated for each experiment, and the others are zero. ``"first"`` in place of
            names is of all species that are read and that no table states. A reading below zero
            is a state of zero, and one with a scale, an offset or an expression is no state.
        scales: observable -> a factor on it.
        offsets: observable -> what is added, as the zero of an instrument.
        start: the time from which on anything happens; before it the initial state stays.
        reference: the condition that coefficients are of; the middle of the experiments.
        conditions: of all experiments, as `network.rates` takes them.
        integrator: of every solve; rodas5p at rtol 1e-6.
        where: what errors name, such as the file of these settings.

    Raises:
        ValueError: a name that there is not, a value that cannot be, nothing to estimate.
    """
    notes: list[str] = []
    asked = {"rates": rates, "observables": observables, "constants": constants}
    if isinstance(initial, str) and initial == "first":
        initial = dict.fromkeys(_read(network, measured, where), "first")
    asked |= {"initial": initial, "scales": scales, "offsets": offsets, "reference": reference}
    for name, setting in {**asked, "conditions": conditions}.items():
        named(setting, name, where)
    assert not isinstance(initial, str)
    if not isinstance(barriers, Mapping | list | tuple | None) or not all(
        isinstance(name, str) for name in barriers or ()
    ):
        raise ValueError(f"{where}: barriers is {barriers!r}; write a list of rates, as [k1].")
    names = sorted(measured.conditions)
    for name in names:
        if measured.conditions[name].ndim > 1:
            raise ValueError(
                f"{where}: {name} varies within an experiment, and rates that follow it in time "
                "are not estimated yet; give its mean as a column, or in conditions."
            )
    middle = {n: _between(measured.conditions[n]) for n in names}
    middle |= {n: number(v, f"reference.{n}", where) for n, v in (reference or {}).items()}
    if unknown := set(middle) - set(names):
        raise ValueError(f"{where}: reference.{min(unknown)}: the measurements do not vary it.")

    def law(values: Mapping[str, Any]) -> np.ndarray:
        k = network.rates(**{**(conditions or {}), **values})
        if callable(k):
            raise ValueError(
                f"{where}: coefficients of network {network.name!r} read time or concentrations, "
                "and only such that are constant in an experiment are estimated yet."
            )
        return np.asarray(k, dtype=float)

    at = law(middle)
    k = np.stack(
        [law({n: float(measured.conditions[n][e]) for n in names}) for e in range(len(measured.ts))]
    )
    found = _rates(network, rates, at, where)
    found += _barriers(network, barriers, found, law, middle, measured, where)
    species = {name: i for i, name in enumerate(network.species)}
    observed, used = [], set()
    if both := {*species} & {*(constants or {})}:
        raise ValueError(f"{where}: constants: {min(both)!r} is a species; rename the constant.")
    if lost := {*(observables or {})} - {*measured.observables}:
        raise ValueError(f"{where}: observables: no column is {min(lost)!r}, so it says nothing.")
    for name in measured.observables:
        if name in (observables or {}):
            tree = parse(str((observables or {})[name]))
            _validate(tree, {*species, *(constants or {})}, f"{where}: observables.{name}")
            used |= {*names_of(tree)} - {*species}
        elif name in species:
            tree = Name(name)
        else:
            raise ValueError(
                f"{where}: {name!r} is no species; give its expression as observables."
            )
        observed.append(tree)
    if idle := {*(constants or {})} - used:
        raise ValueError(f"{where}: constants: no observable has {min(idle)!r}; leave it out.")
    for name, setting in (constants or {}).items():
        parts = {"value": 1.0, **declared(name, setting, f"{where}: constants")}
        size = abs(parts["value"]) or 1.0
        free = parts.pop("free", True)
        found.append(
            _linear(Parameter(name, "constant", parts.pop("value"), "1", free=free), parts, size)
        )
    shifts = _of_observables("scale", scales, measured, 1.0, where)
    shifts += _of_observables("offset", offsets, measured, 0.0, where)
    found += shifts
    t0 = min(0.0, float(measured.ts.min()))
    if t0 < 0 and start is None:
        notes.append(f"experiments begin at their first time, {t0:g} {network.units.time}")
    if start is not None:
        span = float(np.ptp(measured.ts)) or 1.0
        parts = {"value": t0 + 0.1 * span, **declared("start", start, where)}
        value, free = parts.pop("value"), parts.pop("free", True)
        one = Parameter("start", "start", value, network.units.time, free=free)
        found.append(_linear(one, parts, 0.1 * span))
    bent = dict.fromkeys(observables or {}, "an expression")
    bent |= {measured.observables[p.of[0]]: f"a factor or an offset ({p.name})" for p in shifts}
    y0, measured, more, told = _initial(network, measured, initial, bent, t0, where)
    found += more
    notes += told
    for p in found:
        if p.free and not p.low <= p.value <= p.high:
            raise ValueError(
                f"{where}: {p.name} begins at {p.value:g}, outside of {p.low:g} to {p.high:g}; "
                "give a value within its bounds."
            )
    if not any(p.free for p in found):
        raise ValueError(f"{where}: every parameter is given, so there is nothing to estimate.")
    if len({p.name for p in found}) < len(found):
        twice = next(p.name for p in found if [q.name for q in found].count(p.name) > 1)
        raise ValueError(f"{where}: two parameters are called {twice!r}; rename one of them.")
    plain = {n: v for n, v in (conditions or {}).items() if isinstance(v, int | float)}
    how = Integrator(method="rodas5p", rtol=1e-6) if integrator is None else integrator
    return Problem(
        *(network, measured, tuple(found), tuple(observed), k, at, {**plain, **middle}, y0, t0),
        *(how.replace(adjoint="forward"), tuple(notes)),
    )


def _between(values: np.ndarray) -> float:
    """The middle of what a condition is."""
    return float((values.min() + values.max()) / 2)


def _linear(parameter: Parameter, parts: Mapping[str, float], size: float) -> Parameter:
    """A parameter that is estimated as it is, with what a setting says of it."""
    bounds = {name: parts[name] for name in ("low", "high") if name in parts}
    prior = parts["prior"] / size if "prior" in parts else np.inf
    return parameter._replace(size=size, prior=prior, **bounds)


def _rates(
    network: Network, rates: Mapping[str, Any] | None, at: np.ndarray, where: str
) -> list[Parameter]:
    """The coefficients that are estimated or given."""
    if rates is None:
        rates = {f"k{j + 1}": {"of": f"R{j + 1}"} for j in range(len(at))}
    found: list[Parameter] = []
    for name, setting in rates.items():
        here = f"{where}: rates"
        parts = dict(setting) if isinstance(setting, Mapping) else {"of": setting}
        if "of" not in parts:
            raise ValueError(f"{here}.{name}: of which reaction? Add of: R1, or its equation.")
        of = reactions_of(network, parts.pop("of"), f"{here}.{name}")
        if not of:
            raise ValueError(f"{here}.{name}: of which reaction? Write R1, or its equation.")
        taken = {j for p in found for j in p.of}
        for j in of:
            if j in taken or of.count(j) > 1:
                raise ValueError(f"{here}.{name}: R{j + 1} has a coefficient already.")
        ratios = parts.pop("ratios", [1.0] * len(of))
        if not isinstance(ratios, list | tuple):
            ratios = [ratios]
        ratios = tuple(number(r, "a ratio", f"{here}.{name}") for r in ratios)
        if len(ratios) != len(of) or min(ratios) <= 0:
            raise ValueError(f"{here}.{name}: ratios: {len(of)} positive numbers, one a reaction.")
        told = declared(name, parts, here, log=True)
        value = told.pop("value", float(at[of[0]]) / ratios[0])
        if not value > 0:
            raise ValueError(
                f"{here}.{name}: begins at {value:g}, and its logarithm is estimated; add value."
            )
        bounds = {"low": value / SEARCHED, "high": value * SEARCHED}
        bounds = {**bounds, **{n: told.pop(n) for n in ("low", "high") if n in told}}
        unit = rate_unit(network, of[0])
        found.append(
            Parameter(
                *(name, "rate", value, unit, of, ratios),
                **{**{"log": True, "spread": np.log(1e3)}, **bounds, **told},
            )
        )
    return found


def rate_unit(network: Network, reaction: int) -> str:
    """The unit of the coefficient of a reaction."""
    order = int(np.sum(network.structure.reactants[reaction] < len(network.species)))
    concentration, time = network.units
    if order == 0:
        return f"{concentration} / {time}"
    power = {1: "", 2: f"({concentration})-1 "}.get(order, f"({concentration})-{order - 1} ")
    return f"{power}{time}-1"


def _barriers(
    network: Network,
    barriers: Any,
    rates: Sequence[Parameter],
    law: Any,
    middle: Mapping[str, float],
    measured: Measurements,
    where: str,
) -> list[Parameter]:
    """Ea/R of the coefficients that are estimated, where temperature is at hand."""
    own = {p.name: p for p in rates if p.free}
    if "temperature" not in measured.conditions:
        if barriers:
            raise ValueError(f"{where}: barriers: the measurements do not vary temperature.")
        return []
    warm, step = middle["temperature"], 1e-4
    low, high = (law({**middle, "temperature": warm * f}) for f in (1 - step, 1 + step))
    with np.errstate(all="ignore"):
        slopes = -np.log(high / low) / (1 / (warm * (1 + step)) - 1 / (warm * (1 - step)))
    slopes = np.where(np.isfinite(slopes), slopes, 0.0)
    if np.ptp(measured.conditions["temperature"]) == 0:
        if barriers:
            raise ValueError(f"{where}: barriers: the measurements do not vary temperature.")
        return []
    if barriers is None:
        barriers = [p.name for p in own.values() if np.any(np.abs(slopes[[*p.of]]) > 1e-3)]
    chosen = barriers if isinstance(barriers, Mapping) else dict.fromkeys(barriers)
    found = []
    inverse = 1.0 / measured.conditions["temperature"]
    size = 1.0 / max(float(np.ptp(inverse)) / 2, 1e-9)
    for name, setting in chosen.items():
        if name not in own:
            raise ValueError(
                f"{where}: barriers: there is no rate {name!r}{closest(str(name), own)} that is "
                f"estimated; known: {', '.join(own)}."
            )
        p, parts = own[name], declared(name, setting, f"{where}: barriers")
        slope = float(slopes[p.of[0]])
        if np.ptp(slopes[[*p.of]]) > 1e-3 * abs(slope) + 1e-6:
            raise ValueError(f"{where}: barriers.{name}: its reactions differ in their Ea/R.")
        value, free = parts.pop("value", slope), parts.pop("free", True)
        one = Parameter(f"{name}: Ea/R", "barrier", value, "K", p.of, (slope,), free=free)
        found.append(_linear(one, parts, size)._replace(spread=1e4 / size))
    return found


def _of_observables(
    kind: str, settings: Mapping[str, Any] | None, measured: Measurements, usual: float, where: str
) -> list[Parameter]:
    """Scales or offsets of observables."""
    found = []
    for name, setting in (settings or {}).items():
        if name not in measured.observables:
            raise ValueError(
                f"{where}: {kind}s: {name!r} is not observed"
                f"{closest(name, measured.observables)} Observed: "
                f"{', '.join(measured.observables)}."
            )
        o = measured.observables.index(name)
        parts = {"value": usual, **declared(f"{kind} of {name}", setting, f"{where}: {kind}s")}
        values = measured.value[measured.observable == o]
        spread = float(np.std(values))  # of candidate readings it is not known
        size = spread if kind == "offset" and spread > 0 else 1.0
        value, free = parts.pop("value"), parts.pop("free", True)
        unit = "1" if kind == "scale" else measured.units[o]
        one = Parameter(f"{kind} of {name}", kind, value, unit, (o,), free=free)
        found.append(_linear(one, parts, size))
    return found


def _initial(
    network: Network,
    measured: Measurements,
    initial: Mapping[str, Any] | None,
    bent: Mapping[str, str],
    t0: float,
    where: str,
) -> tuple[np.ndarray, Measurements, list[Parameter], list[str]]:
    """[E, S] initial states, the readings that are left, parameters, and what was supplied.

    `bent` says of observables what makes their readings other than the concentration.
    """
    count, unit = len(measured.experiments), network.units.concentration
    y0 = np.zeros((count, len(network.species)))
    stated = {**dict(network.initial), **(initial or {})}
    found: list[Parameter] = []
    zero: list[str] = []
    exact: list[str] = []
    raised: list[str] = []
    for s, name in enumerate(network.species):
        table = measured.initial.get(name, np.full(count, np.nan))
        y0[:, s] = np.where(np.isnan(table), 0.0, table)
        rest = np.flatnonzero(np.isnan(table))
        first = _first(measured, name)
        top = float(np.nanmax(np.abs(first))) if np.any(np.isfinite(first)) else 0.0
        if name in (initial or {}) and len(rest) < count:
            raise ValueError(
                f"{where}: initial.{name}: the table states it; leave out one of them."
            )
        if not len(rest):
            continue
        if stated.get(name) == "first":
            if name in bent:
                raise ValueError(
                    f"{where}: initial.{name}: first, but {bent[name]} is between its readings "
                    "and the concentration; give a number, or estimated."
                )
            y0[rest, s] = np.maximum(first[rest], 0.0)
            below = [e for e in rest if first[e] < 0]
            raised += [f"{name} {first[e]:g} in {measured.experiments[e]}" for e in below]
            rows = _at_start(measured, name, rest, t0, where)
            measured = measured.without(rows)
            exact.append(name)
        elif name in stated:
            parts = declared(name, stated[name], f"{where}: initial")
            guess = float(np.nanmean(first)) if np.any(np.isfinite(first)) else 1.0
            value, free = parts.pop("value", max(guess, 0.0)), parts.pop("free", True)
            if value < 0:
                raise ValueError(f"{where}: initial.{name} is {value:g}; it is not negative.")
            y0[rest, s] = value
            if free:
                of = (*rest.tolist(),)
                one = Parameter(f"initial {name}", "initial", value, unit, (s,), (), of)
                found.append(_linear(one, {"low": 0.0, **parts}, abs(value) or top or 1.0))
        elif not stated and np.any(np.isfinite(first[rest])):
            for e in rest:
                value = max(float(np.nan_to_num(first[e])), 0.0)
                of = f" in {measured.experiments[e]}" * (count > 1)
                one = Parameter(f"initial {name}{of}", "initial", value, unit, (s,), (), (int(e),))
                found.append(_linear(one, {"low": 0.0}, value or top or 1.0))
                y0[e, s] = value
        else:
            zero.append(name)
    if unknown := set(stated) - set(network.species):
        network.index(min(unknown))
    notes = [f"initially zero, as nothing states them: {', '.join(zero)}"] if zero else []
    if exact:
        notes.append(f"first readings taken as the initial state: {few(exact)}")
    if raised:
        notes.append(f"negative first readings taken as an initial state of zero: {few(raised)}")
    return y0, measured, found, notes


def _read(network: Network, measured: Measurements, where: str) -> list[str]:
    """The species that are read, but for those whose initial values the tables state."""
    seen = [name for name in network.species if name in measured.observables]
    if not seen:
        raise ValueError(
            f"{where}: initial: first, but no species is read, only "
            f"{few(list(measured.observables))}; write names with a value each, as {{A: 1.0}}."
        )
    return [n for n in seen if np.isnan(measured.initial.get(n, np.nan)).any()]


def _at_start(
    measured: Measurements, name: str, experiments: np.ndarray, t0: float, where: str
) -> Bool[np.ndarray, " N"]:
    """Which readings are of a species at the beginning of these experiments."""
    rows = np.zeros(len(measured.value), bool)
    if name in measured.observables:
        rows = measured.observable == measured.observables.index(name)
    rows &= measured.ts[measured.experiment, measured.time] == t0
    for e in experiments:
        if not np.any(rows & (measured.experiment == e)):
            raise ValueError(
                f"{where}: initial.{name}: first, but {measured.experiments[e]} has no reading of "
                f"it at {t0:g}, where it begins; give a number, or estimated."
            )
    return rows & np.isin(measured.experiment, experiments)


def _first(measured: Measurements, name: str) -> np.ndarray:
    """[E] the first reading of a species in each experiment, replicates by their mean, or NaN."""
    found = np.full(len(measured.experiments), np.nan)
    if name in measured.observables:
        of = measured.observable == measured.observables.index(name)
        for e in range(len(found)):
            here = np.flatnonzero(of & (measured.experiment == e))
            times = measured.time[here]
            if len(here):
                found[e] = np.mean(measured.value[here[times == times.min()]])
    return found


def _validate(tree: Expression, known: set[str], where: str) -> None:
    try:
        validate(tree, known)
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).replace('the rate names', 'it names')}") from None
