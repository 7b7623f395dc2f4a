"""How good an estimate is: rate, trajectory, tendency and conservation errors."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..baselines import BASELINES
from ..dataset import Observations
from ..kinetics import tendency
from ..metrics import conservation_drift, emulation_scores, scaled_mse, uncertainty_scores
from ..models import AbstractEmulator, AbstractWrapper, rollout
from ..scale import span
from ..solvers import solve
from .base import Problem, integrate, rate_metrics

__all__ = ["emulation_report", "evaluate", "evaluate_emulator", "gradient_scores"]

log = logging.getLogger("jaxchem")


def evaluate(
    problem: Problem, model: Any, test: Observations
) -> tuple[dict[str, float], Float[np.ndarray, "case T S"]]:
    """Measures a model on whole trajectories.

    `err_y` and `err_dy` are the scaled mean square errors of the last trajectory and of its
    tendencies (SPIN-ODE, arXiv:2505.05625); `drift` the largest relative change of what the
    network conserves; `failed` the number of trajectories that could not be integrated.

    Returns:
        The metrics, and the predicted trajectories.
    """
    ts, truth, y0 = test.ts, test.states, test.y0
    cases, first = len(y0), int(ts[0] <= test.t0)  # a state at t0 needs no integration
    run = eqx.filter_jit(integrate)
    states, good = run(
        model,
        model.integrator,
        y0,
        jnp.tile(ts[first:], (cases, 1)),
        jnp.full(cases, test.t0),
    )
    prediction = jnp.concatenate([y0[:, None]] * first + [states], axis=1)
    _, scale = span(truth)
    metrics = {
        **rate_metrics(problem, model),
        "err_y": float(scaled_mse(prediction[-1:], truth[-1:], scale)),
        "failed": float(jnp.sum(~good)),
        "smallest_y": float(jnp.min(prediction)),
    }
    if problem.network.balanced:
        drift = conservation_drift(jnp.asarray(problem.network.conserved), prediction, y0)
        metrics["drift"] = float(jnp.max(jnp.abs(drift)))
    if problem.k_true is not None:
        slopes = jax.jit(jax.vmap(lambda k, y: tendency(problem.network, k, y), (None, 0)))
        exact = slopes(jnp.asarray(problem.k_true), truth[-1])
        modelled = jax.jit(jax.vmap(lambda y: model.field(0.0, y)))(truth[-1])
        metrics["err_dy"] = float(scaled_mse(modelled, exact, span(exact)[1]))
    return metrics, np.asarray(prediction)


LEAST = 1e-99
"""Smallest concentration that is told from zero."""

MOST_FITTED = 2000
"""Trajectories that the polynomial and the Gaussian process see: their cost grows fast."""

SEGMENTS = 10
"""Pieces that a predicted trajectory is chained from."""


def evaluate_emulator(
    model: AbstractEmulator,
    test: Observations,
    data: Observations,
    *,
    floor: float = 0.0,
) -> tuple[dict[str, float], Float[np.ndarray, "case T S"]]:
    """Measures an emulator on trajectories that it has not seen, beside trivial ones.

    One that can start anywhere is also chained: over `SEGMENTS` pieces of as many output times
    each (the same stretch of log time, where they are evenly spaced in it), each from the state
    that it has predicted itself.

    Args:
        model: any emulator; states and conditions are met by name.
        test: the trajectories that it is measured on.
        data: what it was trained on, for the scale of `rmse` and for the baselines.
        floor: concentrations are compared from this part of the initial state's total up.

    Returns:
        `metrics.emulation_scores` of the model, its `drift`, and the scores of each baseline as
        `NAME/...`, save where the data are of other times than the test; and the predicted
        trajectories. Of one that is corrected, as to conserve, the scores without that as
        `free/...`; of one that knows its spread, `metrics.uncertainty_scores`. Of a chain, the
        scores as `rollout/...`, its `rollout/drift`, and `rollout/growth`, its mean error in dex
        over that of the model from the initial states.
    """
    network, y0, conditions = test.network, np.asarray(test.y0), np.asarray(test.conditions)
    times = test.ts - test.t0
    data = data.in_order(test.names)
    free = None
    if isinstance(model, AbstractWrapper) and model.corrects:
        free = model.inner.in_order(network.species, test.names)
    model = model.in_order(network.species, test.names)
    model.check_range(y0, conditions)

    def predict(call: Callable[..., Any]) -> np.ndarray:
        run = jax.jit(jax.vmap(call, in_axes=(0, 0, None)))
        blocks = [slice(i, i + 256) for i in range(0, len(y0), 256)]
        parts = [run(jnp.asarray(y0[b]), jnp.asarray(conditions[b]), times) for b in blocks]
        return np.concatenate([np.asarray(part) for part in parts])

    def logs(values: Any, y0: Any) -> np.ndarray:
        least = np.maximum(floor * np.sum(np.asarray(y0), axis=1), LEAST)[:, None, None]
        return np.log10(np.maximum(np.asarray(values, dtype=float), least))

    exact, seen = logs(test.states, y0), logs(data.states, data.y0)
    limits = float(seen.min()), float(seen.max())

    def judged(prediction: np.ndarray) -> dict[str, float]:
        scores = emulation_scores(jnp.asarray(logs(prediction, y0)), jnp.asarray(exact), *limits)
        if network.balanced:
            drift = conservation_drift(
                jnp.asarray(network.conserved), jnp.asarray(prediction), jnp.asarray(y0)
            )
            scores["drift"] = float(jnp.max(jnp.abs(drift)))
        return scores

    prediction = predict(model)
    scores = judged(prediction)
    if free is not None:  # what the wrap costs or gains
        scores |= {f"free/{name}": value for name, value in judged(predict(free)).items()}
    if model.restarts:
        segments = min(SEGMENTS, len(times))
        chained = judged(predict(functools.partial(rollout, model, segments=segments)))
        chained["growth"] = chained["mean_dex"] / scores["mean_dex"]
        scores |= {f"rollout/{name}": value for name, value in chained.items()}
    if jax.eval_shape(model.spread, test.y0[0], test.conditions[0], times) is not None:
        scores |= uncertainty_scores(logs(prediction, y0) - exact, predict(model.spread))
    if test.ts.shape != data.ts.shape or not np.allclose(test.ts, data.ts, rtol=1e-9):
        log.info("no baselines: the data are of other times than the test")
        return scores, prediction
    inputs = [
        np.log10(np.maximum(np.concatenate([np.asarray(a), np.asarray(b)], axis=1), LEAST))
        for a, b in ((data.y0, data.conditions), (y0, conditions))
    ]
    varied = np.ptp(inputs[0], axis=0) > 1e-9
    for name, baseline in BASELINES.items():
        few = slice(MOST_FITTED if name in ("chebyshev", "gaussian_process") else None)
        try:
            guess = baseline(inputs[0][few, varied], seen[few], inputs[1][:, varied])
        except ValueError as error:  # too few trajectories, or too many, for this one
            log.info("no %s: %s", name, error)
            continue
        found = emulation_scores(jnp.asarray(guess), jnp.asarray(exact), *limits)
        scores |= {f"{name}/{key}": value for key, value in found.items()}
    return scores, prediction


def gradient_scores(
    problem: Problem,
    model: Any,
    rates: Callable[[Float[Array, " C"]], Float[Array, " R"]],
    test: Observations,
    *,
    floor: float = 0.0,
) -> dict[str, float]:
    """Derivatives of an emulator beside those of the solver.

    They are of log10 y, along the line from each case to the one after it, on which elements and
    charge are what the cases have them be; per dex of the input that changes most.

    Args:
        problem: the network, and how it is integrated.
        model: any emulator; states and conditions are met by name.
        rates: rate coefficients of the conditions of `test`.
        test: two cases or more.
        floor: states below this part of the initial state's total do not count.

    Returns:
        `gradient/mean` and `gradient/median` of |emulator - solver|, and `gradient/size`, the mean
        of |solver|.
    """
    model = model.in_order(test.network.species, test.names)
    y0, conditions = test.y0, test.conditions
    lines = [jnp.diff(part, axis=0) for part in (y0, conditions)]
    where = [part[:-1] for part in (y0, conditions)]
    largest = [
        jnp.max(jnp.abs(line) / jnp.where(part > 0, part, jnp.inf), axis=1, initial=0.0)
        for line, part in zip(lines, where, strict=True)
    ]
    per_dex = (np.log(10.0) / jnp.maximum(*largest))[:, None]

    def slopes(call: Callable[..., Any]) -> tuple[Any, Any]:
        def logs(y0: Any, conditions: Any) -> Any:
            return jnp.log10(jnp.maximum(call(y0, conditions), LEAST))

        def exactly(a: Any, b: Any) -> tuple[Any, Any]:
            return jax.jvp(logs, a, b)

        def nearly(a: Any, b: Any) -> tuple[Any, Any]:
            high, low = (logs(*(p + s * q for p, q in zip(a, b, strict=True))) for s in (h, -h))
            return logs(*a), (high - low) / (2 * h)

        h, parts = 0.01, (tuple(where), tuple(line * per_dex for line in lines))
        try:
            return jax.jit(jax.vmap(exactly))(*parts)
        except TypeError:  # what is integrated for reverse mode has no forward mode
            return jax.jit(jax.vmap(nearly))(*parts)

    def solver(y0: Any, conditions: Any) -> Any:
        integrator = problem.integrator.replace(adjoint="forward")
        how = {"t0": test.t0, "integrator": integrator, "throw": False}
        return solve(problem.network, rates(conditions), y0, test.ts, **how).ys

    exact, wanted = slopes(solver)
    _, found = slopes(lambda y0, conditions: model(y0, conditions, test.ts - test.t0))
    least = np.maximum(floor * jnp.sum(where[0], axis=1), LEAST)[:, None, None]
    counts = np.asarray((exact > np.log10(least)) & jnp.isfinite(wanted))
    error, wanted = np.abs(np.asarray(found - wanted))[counts], np.abs(np.asarray(wanted))[counts]
    return {
        "gradient/mean": float(error.mean()),
        "gradient/median": float(np.median(error)),
        "gradient/size": float(wanted.mean()),
    }


def emulation_report(metrics: Mapping[str, float]) -> str:
    """The metrics of an emulator as Markdown: a table beside the baselines, and what else is known.

    Args:
        metrics: of `evaluate_emulator` and `gradient_scores`; those of single stages are left out.
    """
    columns = ("rmse", "mean_dex", "median_dex", "p99_dex", "max_dex", "drift")
    rows = {"emulator": "", "without conservation": "free/", "in a chain": "rollout/"}
    rows |= {name.replace("_", " "): f"{name}/" for name in BASELINES}
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row, prefix in rows.items():
        cells = [metrics.get(prefix + column) for column in columns]
        if cells[0] is not None:
            told = ("" if cell is None else f"{cell:.2g}" for cell in cells)
            lines.append(f"| {row} | " + " | ".join(told) + " |")
    groups = ("gradient/", "gate/", "spread/", "rollout/growth")
    others = [f"- {n}: {v:.3g}" for n, v in metrics.items() if n.startswith(groups)]
    return "\n".join([*lines, "", *others]).rstrip() + "\n"
