"""A box of air: any mechanism under a day's course of light, in an open or a closed box."""

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import plot
from .box import constrain, exchange, hold, number_density
from .budget import Budget, lifetimes
from .budget.accounting import account, course, shares_in
from .dataset import label_budget, to_dataset
from .kinetics import flux
from .network import Network, RateFunction
from .parse import musicbox
from .parse.common import decoded
from .parse.musica import initial_conditions
from .rates import LAWS
from .solar import Sun
from .solvers import Integrator, explain, solve
from .solvers.cell import marches
from .train import Job

__all__ = ["Part", "Simulation", "simulate"]

_WATCHED = ("O3", "OH", "NO2")
_ELSEWHERE = ("cosmic_ray_rate", "visual_extinction", "uv_field", "gas_to_dust")
"""Conditions that mechanisms of other places than the earth's air need."""


class Part(NamedTuple):
    """A figure, and the dataset that it shows.

    Attributes:
        dataset: as of `jaxchem.dataset`.
        draw: a function of `jaxchem.plot`.
        size: of the figure, inches.
        kept: whether the dataset is a file of its own.
    """

    dataset: Any
    draw: Callable[[Any, Any], Any]
    size: tuple[float, float] = (7, 4.5)
    kept: bool = True


class Simulation(NamedTuple):
    """What became of a box.

    Attributes:
        trajectory: dataset with `concentration(case, time, species)`, one case.
        parts: what else there is to see, by name.
        metrics: flat name -> number.
        report: in Markdown.
        model: what was trained, if anything was.
        files: further ones, text by name.
    """

    trajectory: Any
    parts: dict[str, Part]
    metrics: dict[str, float]
    report: str
    model: Any = None
    files: Mapping[str, str] = {}


def simulate(
    network: Network,
    integrator: Integrator,
    *,
    date: str = "2024-06-21",
    start: float | None = None,
    days: float | None = 1.0,
    every: float | None = 900.0,
    latitude: float = 45.0,
    longitude: float = 0.0,
    temperature: Any = None,
    pressure: Any = None,
    relative_humidity: Any = 0.5,
    conditions: Mapping[str, Any] | None = None,
    others: float | None = None,
    file: str | None = None,
    initial: Mapping[str, float] | None = None,
    mixing_ratios: Mapping[str, float] | None = None,
    ambient: Mapping[str, float] | None = None,
    constrained: Mapping[str, Any] | None = None,
    held: Sequence[str] = (),
    emissions: Mapping[str, Any] | None = None,
    deposition: Mapping[str, Any] | None = None,
    dilution: Any = None,
    background: Mapping[str, Any] | None = None,
    budgets: Sequence[str] | None = None,
    job: Job = Job("box"),
) -> Simulation:
    """Integrates a mechanism through a day, or several.

    Whatever may vary is a number or a series ``{"hours": [...], "values": [...]}`` in hours
    since midnight, interpolated linearly and held at its ends. Times are seconds since midnight
    UTC of `date`; KPP's SUN follows local time, 240 s later a degree of longitude east.

    Args:
        network: the mechanism.
        integrator: without `atol` it takes 1e-3 molecule cm-3.
        date: of the first day, year-month-day.
        start: hour of the first day; `None` is the mechanism's own, or midnight.
        days: length; `None` is the mechanism's own, or one.
        every: seconds between outputs; `None` is the mechanism's own, or 900.
        latitude: degrees, north positive.
        longitude: degrees, east positive.
        temperature: K; `None` is the mechanism's own, or 298.15 K.
        pressure: Pa; `None` is the mechanism's own density (or what it starts with of M or AIR),
            or 101325 Pa.
        relative_humidity: 0 to 1.
        conditions: further ones, as `Network.rates` takes them; `photolysis` and `quantities`
            may hold series.
        others: stands for every quantity that the mechanism leaves to its user and nothing gives.
        file: a condition file of MUSICA (CSV), or a run of MusicBox (JSON): initial values,
            conditions, and concentrations that are set later.
        initial: species -> initial concentration, in the network's unit.
        mixing_ratios: species -> initial mole fraction.
        ambient: mole fractions of ordinary air: for species that the mechanism has and nothing
            else sets. Water vapour follows the relative humidity.
        constrained: species, or what the rates name of the air (O2, H2O) -> mole fraction that is
            imposed.
        held: species that keep their initial concentration.
        emissions: species -> source, concentration per second.
        deposition: species -> loss, s-1.
        dilution: share of the box that is replaced by air from outside, s-1.
        background: species -> mole fraction in that air; `None` is `ambient`.
        budgets: species whose production and loss are written; `None` are O3, OH and NO2 where
            they are.
        job: label, progress and checkpoint.

    Raises:
        ValueError: an unknown species or condition, a quantity that the mechanism leaves to its
            user and that is not given, a fixed species that reacts and starts at zero, two
            densities of air that differ, a mechanism of another place than air or in other units
            of time, a bad date or length, a solve that fails (with the reason and the reactions
            that drive it), a checkpoint that is damaged or of another box.
    """
    if network.units.time != "s":
        raise ValueError(f"network {network.name!r} counts in {network.units.time}; a box wants s.")
    sun = Sun(latitude, longitude, _day(date))
    filed, given, jumps = _filed(file) if file else ({}, {}, {})
    given |= _varying(conditions or {})
    own = {"temperature": temperature, "pressure": pressure}
    given |= {n: _varying(v) for n, v in own.items() if v is not None}
    given = {
        **_ordinary(network, given, sun),
        "relative_humidity": _varying(relative_humidity),
        **given,
    }
    air = _Air(network, given)
    clock = {"start": 0.0, "step": 900.0, **dict(network.defaults)}
    origin = clock["start"] if start is None else 3600.0 * start
    span = clock.get("end", 0.0) - clock["start"]
    days = (span / 86400.0 if span > 0 else 1.0) if days is None else days
    ts = _times(origin, days, clock["step"] if every is None else every)
    first = float(ts[0])

    state = dict(network.initial)
    for name, ratio in {"H2O": air.water(first), **(ambient or {})}.items():
        if name in network.species and ratio is not None:
            state.setdefault(name, float(ratio * air(first)))
    state |= filed | {n: float(x * air(first)) for n, x in (mixing_ratios or {}).items()}
    state |= initial or {}
    for name in (*state, *(n for values in jumps.values() for n in values)):
        network.index(name)  # refuses an unknown one
    _check_start(network, state, {*(mixing_ratios or {}), *(initial or {})}, air, first)

    if background is None and dilution is not None:
        free = set(network.species) - {*network.fixed, *held, *(constrained or {})}
        background = {n: x for n, x in (ambient or {}).items() if n in free}
    opened = {"EMIS": _varying(dict(emissions or {})), "DEP": _varying(dict(deposition or {}))}
    opened["BACKGROUND"] = {n: air.share(_varying(x)) for n, x in (background or {}).items()}
    imposed = {n: air.share(_varying(x)) for n, x in (constrained or {}).items()}
    box = exchange(
        network,
        emissions=[n for n in opened["EMIS"] if f"EMIS.{n}" not in dict(network.quantities)],
        deposition=list(opened["DEP"]),
        dilution=dilution is not None,
        background=list(opened["BACKGROUND"]),
    )
    # the rates of some mechanisms name what others have as species: O2, N2, H2O
    species = [n for n in imposed if n in network.species or n not in dict(network.quantities)]
    box = constrain(hold(box, held), species)
    quantities = {f"{kind}.{n}": v for kind, values in opened.items() for n, v in values.items()}
    quantities |= {} if dilution is None else {"DILUTION": _varying(dilution)}
    quantities |= {} if others is None else {"*": others}
    quantities |= {**given.pop("quantities", {}), **imposed}
    try:
        k = box.rates(**given, quantities=quantities)
    except ValueError as error:
        hint = " A box takes others=0.0 for all of them." if box.user_quantities else ""
        raise ValueError(f"{error}{hint}") from None
    y0 = box.y0({n: v for n, v in state.items() if n in box.species})
    chosen = [n for n in _WATCHED if n in box.species] if budgets is None else list(budgets)
    for name in set(chosen) - {*dict(box.families), *box.pool_names}:
        box.index(name)  # refuses an unknown one before the work begins

    begin = time.monotonic()
    ys, steps = _integrate(box, k, y0, ts, integrator, job, jumps)
    taken = time.monotonic() - begin
    trajectory = to_dataset(
        box,
        (ts, ys),
        y0=np.asarray(y0)[None],
        t0=first,
        conditions={**given, "quantities": quantities},
        provenance=f"jaxchem.simulate, {integrator.method}, rtol {integrator.rtol:g}",
    )

    @jax.jit  # once: rates of a mechanism take a while to compile
    @jax.vmap
    def evaluate(t: Any, y: Any) -> Any:
        here = k(t, y) if callable(k) else k
        return sun(t), flux(box, here, y), lifetimes(box, here, y)

    found = evaluate(jnp.asarray(ts), jnp.asarray(ys))
    angles, fluxes, lasting = map(np.asarray, found)
    trajectory["solar_zenith_angle"] = ("time", angles, {"units": "rad"})
    noon = int(np.argmax(ys @ shares_in(box, chosen[0]))) if chosen else len(ts) - 1
    budgets_then = [account(box, fluxes[noon], ys[noon], name) for name in chosen]
    share = 1.0 / float(air(ts[-1])) if box.units.per_mole else np.nan
    report = _report(box, ys, share, ts[noon], lasting[noon], budgets_then)
    metrics = {
        "steps": float(steps),
        "wall_s": taken,
        "species": float(len(box.species)),
        "reactions": float(len(box.equations)),
        "lowest": float(ys.min()),
    }
    metrics |= {f"final/{n}": float(v) for n, v in zip(box.species, ys[-1], strict=True)}
    parts = {"trajectories": Part(trajectory, plot.trajectories, kept=False)}
    for name in chosen:
        labelled = label_budget(box, course(box, ts, fluxes, name))
        parts[f"budget_{name}"] = Part(labelled, plot.budget, (9, 6))
    return Simulation(trajectory, parts, metrics, report)


def _filed(file: str) -> tuple[dict[str, float], dict[str, Any], dict[float, dict[str, float]]]:
    """Initial values, conditions and later values of a file."""
    if musicbox.looks_like(decoded(Path(file))):
        run = musicbox.read_run(file)
        return run.initial, run.conditions, run.jumps
    filed, given = initial_conditions(file)
    return filed, given, {}


def _ordinary(network: Network, given: Mapping[str, Any], sun: Sun) -> dict[str, Any]:
    """What holds where neither the user nor the mechanism says otherwise."""
    known = {*given, *dict(network.defaults)}
    if missing := [n for n in _ELSEWHERE if n in network.needs and n not in known]:
        raise ValueError(
            f"network {network.name!r} needs {', '.join(missing)}: it is not of air. Give these, "
            "temperature and density as conditions, what it starts from as initial, and "
            "ambient=null."
        )
    ordinary: dict[str, Any] = {"solar_zenith_angle": sun}
    ordinary["local_time"] = lambda t: t + 240.0 * sun.longitude
    if "temperature" not in known:
        ordinary["temperature"] = 298.15
    if not known & {"pressure", "density"}:
        own = [v for n, v in network.initial if n in ("M", "AIR") and v > 0]
        ordinary |= {"density": own[0]} if own else {"pressure": 101325.0}
    return ordinary


def _check_start(
    network: Network, state: Mapping[str, float], explicit: set[str], air: "_Air", first: float
) -> None:
    """Refuses a start in which the air is missing, or is there twice and differs."""
    for name in network.fixed:
        reacting = np.flatnonzero((network.structure.reactants == network.index(name)).any(axis=1))
        if not state.get(name) and name not in explicit and len(reacting):
            raise ValueError(
                f"the fixed species {name!r} starts at 0, and {network.equations[reacting[0]]!r} "
                "wants it; give it as initial or mixing_ratios."
            )
    for name, own in network.initial:
        its_air = name in ("M", "AIR") and own > 0 and state[name] == own
        if its_air and not 0.95 < (all_gas := float(air(first))) / own < 1.05:
            raise ValueError(
                f"the mechanism starts with {own:.4g} of {name!r}, but temperature and pressure "
                f"give {all_gas:.4g} {network.units.concentration} of air; leave the pressure "
                f"out, or give {name!r} as mixing_ratios."
            )


class _Air:
    """The concentration of all gas at any time, and mole fractions of it."""

    def __init__(self, network: Network, given: Mapping[str, Any]):
        self.units = network.units
        self.given = given
        self.proposed = dict(network.defaults)

    def _at(self, name: str, t: Any) -> Any:
        value = self.given.get(name, self.proposed.get(name))
        return value(t) if callable(value) else value

    def __call__(self, t: Any) -> Any:
        """Concentration, in the network's unit."""
        if "density" in self.given or "pressure" not in self.given:
            return self._at("density", t)
        where = {n: self._at(n, t) for n in ("temperature", "pressure")}
        return number_density({"air": 1.0}, units=self.units, **where)["air"]

    def share(self, ratio: Any) -> Callable[[Any], Any]:
        """A mole fraction, which may vary, as a concentration at any time."""
        return lambda t: (ratio(t) if callable(ratio) else ratio) * self(t)

    def water(self, t: float) -> Any:
        """Mole fraction of water vapour; `None` in units that are no number density."""
        if self.units.per_molecule is None:
            return None
        where = [jnp.asarray(self._at(n, t)) for n in ("temperature", "relative_humidity")]
        vapour = LAWS["water_vapour"].function(*where)  # molecule cm-3
        return vapour * self.units.per_molecule / self(t)


def _varying(value: Any) -> Any:
    """A series as a function of time; anything else as it is."""
    if isinstance(value, Mapping) and set(value) == {"hours", "values"}:
        hours, values = (np.asarray(value[n], dtype=float) for n in ("hours", "values"))
        if hours.shape != values.shape or hours.ndim != 1 or np.any(np.diff(hours) <= 0):
            raise ValueError(
                f"a series wants as many values as hours, and hours that increase, not {value}."
            )
        return lambda t: jnp.interp(t, 3600.0 * hours, values)
    if isinstance(value, Mapping):
        return {name: _varying(part) for name, part in value.items()}
    return value


def _day(date: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(str(date))
    except ValueError:
        raise ValueError(f"date={date!r} is no date; write it as 2024-06-21.") from None


def _times(start: float, days: float, every: float) -> Float[np.ndarray, " T"]:
    count = round(86400.0 * days / every) if every > 0 else 0
    if count < 1:
        raise ValueError(
            f"days={days} with an output every={every} s is no output; make one of them longer or "
            "the other shorter."
        )
    return start + every * np.arange(count + 1)


def _integrate(
    network: Network,
    k: Array | RateFunction,
    y0: Float[Array, " S"],
    ts: Float[np.ndarray, " T"],
    integrator: Integrator,
    job: Job,
    jumps: Mapping[float, Mapping[str, float]],
) -> tuple[Float[np.ndarray, "T S"], int]:
    """States at the output times, the first being `y0`, and the number of steps.

    What is set at the time of an output shows in the next one.
    """
    if integrator.atol is None:
        integrator = integrator.replace(atol=1e-3 * (network.units.per_molecule or 1.0))
    # what a piece would have gone on with is the first step of the next, where it is known
    carried = integrator.dt0 is None and marches(integrator)

    @jax.jit
    def advance(y: Any, t0: Any, ts: Any, step: Any) -> Any:
        how = integrator.replace(dt0=step) if carried else integrator
        return solve(network, k, y, ts, t0=t0, integrator=how, throw=False)

    count = len(ts) - 1
    sizes = range(1 if jumps else 12, 0, -1)
    piece = next(n for n in sizes if count % n == 0)  # all pieces compile to one
    ys, done, steps, step = np.full((count + 1, len(y0)), np.nan), 0, 0, 0.0
    ys[0] = y0
    ys, done, steps, step = job.load((ys, done, steps, step), "box")
    saved = time.monotonic()
    with job.bar(count, done) as bar:
        while done < count:
            ahead = slice(done + 1, done + piece + 1)
            y, t = np.array(ys[done]), ts[done]
            for stop in [*(s for s in jumps if t < s < ts[done + 1]), None]:
                for name in {*jumps.get(t, {})} & {*network.species}:
                    y[network.index(name)] = jumps[t][name]
                until = ts[ahead] if stop is None else np.array([stop])
                found = advance(jnp.asarray(y), t, jnp.asarray(until), step)
                if not np.all(np.isfinite(found.ys)):
                    at = k(t, jnp.asarray(y)) if callable(k) else k
                    why = explain(network, at, found)
                    raise ValueError(f"the box could not be integrated. {why}")
                steps += int(found.stats["num_steps"])
                step = float(found.stats.get("last_step", 0.0))
                y, t = np.array(found.ys[-1]), until[-1]
            ys[ahead] = found.ys
            done += piece
            bar.update(piece)
            if done == count or time.monotonic() - saved > job.save_every:
                job.save((ys, done, steps, step), "box")
                saved = time.monotonic()
    return ys, steps


def _report(
    network: Network,
    ys: Float[np.ndarray, "T S"],
    share: float,
    noon: float,
    lasting: Float[np.ndarray, " S"],
    budgets: Sequence[Budget],
) -> str:
    """What a chemist would ask first, as Markdown.

    Args:
        network: of the box.
        ys: states.
        share: mole fraction of one unit of concentration at the end.
        noon: the time of lifetimes and budgets.
        lasting: lifetimes.
        budgets: of the species that are watched.
    """
    unit = network.units.concentration
    lines = [f"# {network.title or network.name}", ""]
    lines += ["```", str(network.check()), "```"]
    order = np.argsort(-ys.max(axis=0))[:30]
    lines += ["", f"| species | first | highest | last [{unit}] | last, mole fraction | lifetime |"]
    lines.append("|---|---|---|---|---|---|")
    for i in order:
        values = " | ".join(f"{v:.3e}" for v in (ys[0, i], ys[:, i].max(), ys[-1, i]))
        lifetime = f"{lasting[i]:.3g} s" if np.isfinite(lasting[i]) else "-"
        lines.append(f"| {network.species[i]} | {values} | {ys[-1, i] * share:.3e} | {lifetime} |")
    lines += ["", f"Lifetimes and budgets at t = {noon:g} s:", ""]
    for budget in budgets:
        lines += ["```", str(budget), "```", ""]
    return "\n".join(lines) + "\n"
