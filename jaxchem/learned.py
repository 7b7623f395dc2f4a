"""Runs that train networks on equations alone and measure them against an independent solver."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from . import plot
from .clouds import begin
from .dataset import generate, label_history, to_dataset
from .models.base import AbstractEmulator, hands_on
from .network import Network
from .physics import Equations, march
from .published import train_galerkin
from .simulate import Part, Simulation
from .solvers import Integrator
from .system import System
from .train import Job

__all__ = ["benchmark", "single"]

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
    known = truth > _COUNTED
    errors = np.log10(np.abs(ys / truth - 1) + 1e-17)
    metrics = quantiles(errors[known]) | {"train_cpu_s": float(history["cpu_s"][0])}
    metrics["parts"] = float(len(history["loss"]))
    sums = np.asarray(equations.system.conserved)
    scale = np.abs(sums) @ y0
    metrics["drift"] = float(np.max(np.abs((ys - y0) @ sums.T) / scale))
    states = equations.system.states
    for n, name in enumerate(states):
        metrics[f"max/{name}"] = float(errors[known[:, n], n].max())
    told = to_dataset(equations.system, (ts, ys), y0=y0[None], provenance=f"jaxchem, {recipe}")
    told["truth"] = (("case", "time", "species"), truth[None, :, :-1])
    told["true_temperature"] = (("case", "time"), truth[None, :, -1])
    told["relative"] = (("time", "state"), errors)
    told = told.assign_coords(state=np.array(states, dtype=object))
    parts = {
        "abundances": Part(told, plot.abundances, kept=False),
        "errors": Part(told, plot.relative, kept=False),
        "loss": Part(label_history({"loss": history["loss"]}), plot.history),
    }
    lines = [f"# {network.title or network.name}: a network trained on equations alone", ""]
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
    lines = ["# Three species of Branca & Pallottini (2022), eq. 14", ""]
    parts = {"trajectories": Part(shown, plot.trajectories, kept=False)}
    return Simulation(shown, parts, metrics, _report(lines, metrics))


def _literal(network: Network, equations: Equations) -> Equations:
    """The Jacobian of mass action times the state."""
    system = equations.system

    def field(t: Any, y: Any) -> Any:
        return jnp.matmul(system.jacobian(t, y), y)

    still = System(network, jnp.zeros(len(network.equations)), tendency=field)
    return Equations(still, lambda t, y: jnp.zeros_like(y))


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
    """Those that Branca & Pallottini (2022) have, of log10 relative errors."""
    shares = {"q50": 0.5, "q75": 0.75, "q90": 0.9, "max": 1.0}
    return {name: float(np.quantile(errors, share)) for name, share in shares.items()}


def _report(lines: list[str], metrics: Mapping[str, float]) -> str:
    rows = [f"| {name} | {value:.4g} |" for name, value in metrics.items()]
    return "\n".join([*lines, "| metric | value |", "|---|---|", *rows]) + "\n"
