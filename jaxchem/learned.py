"""Runs that train networks on equations alone and measure them against an independent solver."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from . import plot
from .clouds import begin, gather, moments
from .dataset import generate, label_history, to_dataset
from .general import learn
from .models.base import AbstractEmulator, hands_on
from .network import Network
from .physics import Equations, march
from .published import train_galerkin
from .simulate import Part, Simulation
from .solvers import Integrator, solve
from .system import System
from .thermal import random_states
from .train import Job

__all__ = ["benchmark", "general", "single"]

RECIPES = {"windows": march, "published": train_galerkin}
_COUNTED = 1e-18
"""cm-3; a density below means nothing."""


@hands_on(begin)
def single(
    network: Network,
    integrator: Integrator,
    *,
    recipe: str = "windows",
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    job: Job = Job("single"),
    **start: Any,
) -> Simulation:
    """Trains a network on the equations of one cloud.

    Truth is SciPy's Radau at a relative tolerance of 1e-11 on the same right-hand side, its
    switches sharp; errors are log10 of the relative error over all states and times where a
    density counts at all (1e-18 cm-3).

    Args:
        network: such as `ism_molecular`.
        integrator: of nothing here.
        recipe: ``"windows"`` (`jaxchem.physics.march`) or ``"published"``
            (`jaxchem.published.train_galerkin`).
        settings: of the recipe.
        seed: of weights and points.
        job: label and progress.
        **start: as of `jaxchem.clouds.begin`, whose times are those that it is measured at.

    Raises:
        ValueError: as `begin`; an unknown recipe; gas that will not be fitted.
    """
    del integrator
    if recipe not in RECIPES:
        raise ValueError(f"recipe={recipe!r} is unknown; write {' or '.join(RECIPES)}.")
    made, y0, ts = begin(network, **start)
    equations, key = Equations.of_cloud(made), jax.random.key(seed)
    how: dict[str, Any] = {"key": key, "job": job, **dict(settings or {})}
    if recipe == "windows":
        model, history = march(equations, y0, float(ts[-1]), **how)
    else:
        model, history = train_galerkin(equations, y0[None], (ts[0] / 10, ts[-1]), **how)
    ys, truth = predicted(model, y0, ts), reference(equations.system, y0, ts, atol=1e-24)
    told_by = f"jaxchem, {recipe}"
    metrics, told = _compared(equations.system, y0[None], ts, ys[None], truth[None], told_by)
    metrics["train_cpu_s"] = float(history["cpu_s"][0])
    metrics["parts"] = float(len(history["loss"]))
    parts = {
        "abundances": Part(told, plot.abundances, kept=False),
        "errors": Part(told, plot.relative, kept=False),
        "loss": Part(label_history({"loss": history["loss"]}), plot.history),
    }
    lines = [f"# {network.title or network.name}: a network trained on equations alone", ""]
    return Simulation(told, parts, metrics, _report(lines, metrics), model)


@hands_on(learn)
def general(
    network: Network,
    integrator: Integrator,
    *,
    temperature: Sequence[float],
    density: Sequence[float],
    cases: int = 200_000,
    tested: int = 100,
    years: float = 1e6,
    first: float = 1.0,
    points: int = 61,
    conditions: Mapping[str, float] | None = None,
    metal_table: str | None = None,
    spectrum: str | None = None,
    cross_sections: Mapping[str, str] | None = None,
    smooth: float = 0.0,
    seed: int = 0,
    job: Job = Job("general"),
    **settings: Any,
) -> Simulation:
    """Trains a map of all gas of some range, and measures it on gas drawn apart.

    States are drawn as eq. 19 of Branca & Pallottini (2022) has them (`thermal.random_states`).
    Truth is the integrator's on the equations with sharp switches; errors are as of `single`.

    Args:
        network: of hydrogen and helium, such as `ism_molecular`.
        integrator: of the truth; without `atol` it takes 1e-24 cm-3.
        temperature: lowest and highest at the start, K.
        density: of nuclei, lowest and highest, cm-3.
        cases: states to draw from in training.
        tested: states to measure on.
        years: the last time, in years of 365 days.
        first: the first time that counts.
        points: times to measure at, from the first to the last logarithmically.
        conditions: of `thermal.Cloud`.
        metal_table: as of `jaxchem.clouds.begin`.
        spectrum: likewise.
        cross_sections: likewise.
        smooth: width in ln T of what switches at a temperature, in training.
        seed: of states, weights and batches.
        job: label, progress and checkpoint.
        **settings: of `jaxchem.general.learn`.

    Raises:
        ValueError: as `random_states`, `thermal.Cloud` and `learn`; a bad length.
    """
    ts = moments(years, first, points)
    ranges: dict[str, Any] = {"temperature": temperature, "density": density}
    starts = random_states(network, cases, seed=2 * seed, **ranges)
    y0 = random_states(network, tested, seed=2 * seed + 1, **ranges)
    what: dict[str, Any] = {"spectrum": spectrum, "cross_sections": cross_sections}
    cloud = gather(network, conditions=conditions, metal_table=metal_table, **what)
    own = Equations.of_cloud(cloud.under(smooth=smooth))
    key = jax.random.key(seed)
    model, history = learn(own, starts, (ts[0], ts[-1]), key=key, job=job, **settings)
    if integrator.atol is None:
        integrator = integrator.replace(atol=1e-24)

    at = jnp.asarray(ts)

    @jax.jit
    @jax.vmap
    def both(y0: Any) -> Any:
        truth = solve(cloud.system, y0, at, integrator=integrator, throw=False).ys
        return model(y0, None, at), truth

    ys, truth = (np.asarray(part) for part in both(y0))
    metrics, told = _compared(cloud.system, y0, ts, ys, truth, "jaxchem, general")
    metrics["train_cpu_s"] = float(history["cpu_s"][0])
    nuclei = jnp.sum(jax.vmap(model.ratios.totals)(jnp.asarray(y0)), axis=1)
    told["density"] = ("case", np.asarray(nuclei), {"units": network.units.concentration})
    parts = {
        "abundances": Part(told, plot.abundances, kept=False),
        "distribution": Part(told, plot.distribution, kept=False),
        "plane": Part(told, plot.plane, kept=False),
        "loss": Part(label_history({"loss": history["loss"]}), plot.history),
    }
    lines = [f"# {network.title or network.name}: a map of all gas", ""]
    return Simulation(told, parts, metrics, _report(lines, metrics), model)


def benchmark(
    network: Network,
    integrator: Integrator,
    *,
    window: float = 0.5,
    seed: int = 0,
    job: Job = Job("benchmark"),
) -> Simulation:
    """The three species of eq. 14 of Branca & Pallottini (2022), in both readings.

    dn/dt = A with constant and with varying coefficients, n(0) = (1, 1e-3, 0.1), 0 to 5. The
    conserving reading is the mass action whose Jacobian the printed matrix is; the literal one is
    that matrix times the state. States may be negative, so that they have no logarithms.

    Args:
        network: three species; its reactions are those of the conserving reading.
        integrator: of nothing here.
        window: the longest window of time.
        seed: of weights.
        job: label and progress.
    """
    del integrator
    y0, ts = np.array([1.0, 1e-3, 0.1]), np.linspace(0.0, 5.0, 501)[1:]
    constant = jnp.array([0.8, 0.5, 0.2])

    def varying(t: Any) -> Any:
        waves = jnp.stack([-jnp.sin(t), jnp.cos(t), jnp.sin(2 * t)])
        return constant + waves

    metrics: dict[str, float] = {}
    shown: Any = None
    ratios: dict[str, np.ndarray] = {}
    for name, k in (("constant", constant), ("varying", varying)):
        mass_action = Equations.of_network(network, k)
        for reading in ("conserving", "literal"):
            equations = mass_action if reading == "conserving" else _literal(network, mass_action)
            how = {"key": jax.random.key(seed), "shift": 0.0, "window": window}
            own = job._replace(label=f"{name}, {reading}")
            exact = reading == "conserving"
            model, history = march(
                equations, y0, 5.0, exact=exact, log_states=False, job=own, **how
            )
            ys, truth = predicted(model, y0, ts), reference(equations.system, y0, ts, atol=1e-13)
            found = np.abs(ys - truth)
            metrics[f"{name}/{reading}/mean"] = float(found.mean())
            metrics[f"{name}/{reading}/max"] = float(found.max())
            metrics[f"{name}/{reading}/train_cpu_s"] = float(history["cpu_s"][0])
            if exact:
                drift = np.abs(ys.sum(axis=1) / y0.sum() - 1).max()
                metrics[f"{name}/{reading}/drift"] = float(drift)
            told = to_dataset(network, (ts, ys), y0=y0[None], provenance=f"{name}, {reading}")
            told["truth"] = (("case", "time", "species"), truth[None])
            shown = told if shown is None else shown
            ratios[f"{name}, {reading}"] = _stiffness(equations.system, ts, truth)
    shown["stiffness"] = (("reading", "time"), np.array([*ratios.values()]))
    shown = shown.assign_coords(reading=np.array([*ratios], dtype=object))
    lines = ["# Three species of Branca & Pallottini (2022), eq. 14", ""]
    parts = {
        "trajectories": Part(shown, plot.trajectories, kept=False),
        "stiffness": Part(shown, plot.stiffness, kept=False),
    }
    return Simulation(shown, parts, metrics, _report(lines, metrics))


def _literal(network: Network, equations: Equations) -> Equations:
    """The Jacobian of mass action times the state."""
    system = equations.system

    def field(t: Any, y: Any) -> Any:
        return jnp.matmul(system.jacobian(t, y), y)

    still = System(network, jnp.zeros(len(network.equations)), tendency=field)
    return Equations(still, lambda t, y: jnp.zeros_like(y))


def _stiffness(
    system: System, ts: Float[np.ndarray, " T"], ys: Float[np.ndarray, "T n"]
) -> Float[np.ndarray, " T"]:
    """The largest of the rates of the linearised equations over the smallest.

    Sums that do not change have a rate of round-off, which makes the ratio of 1e16 and more that
    is often quoted; they are left out.
    """
    jacobians = jax.vmap(system.jacobian)(jnp.asarray(ts), jnp.asarray(ys))
    rates = np.abs(np.linalg.eigvals(np.asarray(jacobians)).real)
    fastest = rates.max(axis=1, keepdims=True)
    return fastest[:, 0] / np.min(np.where(rates > 1e-10 * fastest, rates, np.inf), axis=1)


def _compared(
    system: System,
    y0: Float[np.ndarray, "N n"],
    ts: Float[np.ndarray, " T"],
    ys: Float[np.ndarray, "N T n"],
    truth: Float[np.ndarray, "N T n"],
    provenance: str,
) -> tuple[dict[str, float], Any]:
    """Metrics of trajectories beside their truth, and both as data.

    A case whose truth was not found counts nowhere; `unsolved` says how many these are.
    """
    solved = np.all(np.isfinite(truth), axis=(1, 2), keepdims=True)
    known = (truth > _COUNTED) & solved
    errors = np.log10(np.abs(ys / np.where(known, truth, 1.0) - 1) + 1e-17)
    sums = np.asarray(system.conserved)
    drift = np.abs((ys - y0[:, None]) @ sums.T) / (y0 @ np.abs(sums).T)[:, None]
    metrics = quantiles(errors[known])
    metrics |= {"drift": float(drift.max()), "unsolved": float(np.sum(~solved))}
    for n, name in enumerate(system.states):
        column = quantiles(errors[..., n][known[..., n]])
        metrics |= {f"{key}/{name}": value for key, value in column.items()}
    told = to_dataset(system, (ts, ys), y0=y0, provenance=provenance)
    told["truth"] = (("case", "time", "species"), truth[..., :-1])
    told["true_temperature"] = (("case", "time"), truth[..., -1])
    told["relative"] = (("case", "time", "state"), np.where(known, errors, np.nan))
    return metrics, told.assign_coords(state=np.array(system.states, dtype=object))


def predicted(
    model: AbstractEmulator, y0: Float[np.ndarray, " n"], ts: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T n"]:
    """What a model gives."""
    return np.asarray(jax.jit(lambda y0, ts: model(y0, None, ts))(y0, jnp.asarray(ts)))


def reference(
    system: System,
    y0: Float[np.ndarray, " n"],
    ts: Float[np.ndarray, " T"],
    *,
    rtol: float = 1e-11,
    atol: float,
) -> Float[np.ndarray, "T n"]:
    """States by SciPy's Radau, as of `jaxchem.generate`."""
    how = {"rtol": rtol, "atol": atol, "progress": False}
    found = generate(system, y0[None], ts, **how)
    further = [found[name].values[0][:, None] for name, _ in system.further]
    return np.concatenate([found["concentration"].values[0], *further], axis=1)


def quantiles(errors: Float[np.ndarray, " N"]) -> dict[str, float]:
    """Those that Branca & Pallottini (2022) have, of log10 relative errors; NaN of none."""
    shares = {"q50": 0.5, "q75": 0.75, "q90": 0.9, "max": 1.0}
    known = errors if errors.size else np.array([np.nan])
    return {name: float(np.quantile(known, share)) for name, share in shares.items()}


def _report(lines: list[str], metrics: Mapping[str, float]) -> str:
    rows = [f"| {name} | {value:.4g} |" for name, value in metrics.items()]
    return "\n".join([*lines, "| metric | value |", "|---|---|", *rows]) + "\n"
