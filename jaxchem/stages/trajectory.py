"""Fit a model to trajectories through the solver, with Adam.

Stage 1 of SPIN-ODE with a neural ODE, its stage 3 and its baseline with a CRNN
(arXiv:2505.05625).
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .. import losses
from ..dataset import Observations
from ..scale import span
from ..solvers import Integrator
from ..train import adam, fit
from .base import Problem, Result, Resume, integrate, rate_metrics, windows

__all__ = ["trajectory"]


def trajectory(
    problem: Problem,
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    start: Callable[[Problem, Observations, PRNGKeyArray], Any] | None = None,
    cases: int | None = None,
    window: int | None = None,
    stride: int | None = None,
    shooting: bool = True,
    sequential: bool = False,
    loss: str = "scaled_mse",
    gradient_similarity: float = 0.0,
    total_variation: float = 0.0,
    steps: int = 1000,
    learning_rate: float = 1e-3,
    plateau: float | None = 0.1,
    plateau_factor: float = 0.1,
    clip: float | None = None,
    batch_size: int | None = 64,
    integrator: Integrator | None = None,
    scaled_atol: float | None = None,
    resume: Resume | None = None,
    save_every: float = 20.0,
    label: str = "trajectory",
    progress: bool = True,
) -> Result:
    """Fits a model so that its integrated trajectories meet the observed ones.

    A solve that breaks down inside a gradient ends a program with an error of JAX's, unless the
    environment says `EQX_ON_ERROR=nan` when equinox is imported, as the command line does: then
    the step is refused.

    Args:
        problem: the network and how it is integrated.
        model: from the stage before; ignored where `start` is given.
        data: what is observed.
        key: seeds the start and the batches.
        start: makes the initial model; `None` continues with `model`.
        cases: use the first so many cases; `None` uses all.
        window: points a window; each is integrated from its own first observed state, and the
            windows are one vmapped batch. `None` takes whole trajectories.
        stride: points from window to window.
        shooting: integrate windows from observed states. False integrates whole trajectories
            from their initial states, and then any linear observation will do.
        sequential: integrate the members of a batch one after another. A vmapped batch takes as
            many steps as its slowest member; on a CPU it loses where that takes many times more
            than the others, as a window that begins at zero concentrations.
        loss: ``"scaled_mse"`` or ``"log_mse"``.
        gradient_similarity: weight of that loss term, 0 leaves it out.
        total_variation: weight of that loss term, 0 leaves it out.
        steps: optimiser steps.
        learning_rate: of Adam.
        plateau: cut the learning rate after this fraction of all steps without a better loss.
        plateau_factor: of each cut.
        clip: largest element of the gradient.
        batch_size: windows a step.
        integrator: instead of the problem's.
        scaled_atol: absolute tolerance of each species, in its range over the data, instead of
            the integrator's. A neural ODE wants it: one number for all species gives up those of
            small concentration, and a purely relative one follows its noise near zero.
        resume: where to keep progress.
        save_every: seconds between checkpoints.
        label: for the progress bar.
        progress: show a bar.

    Returns:
        The fitted model; histories `loss` and `gradient_norm`.

    Raises:
        ValueError: there is no model to start from, an unknown loss, or windows that do not fit.
    """
    if loss not in ("scaled_mse", "log_mse"):
        raise ValueError(f"unknown loss {loss!r}; known: scaled_mse, log_mse.")
    data = data.first(cases)
    if start is not None:
        model = start(problem, data, key)
    if model is None:
        raise ValueError(
            f"stage {label} has no model to continue with; give it a start, or run a stage "
            "before it that makes one."
        )
    how = problem.integrator if integrator is None else integrator
    if scaled_atol is not None:
        how = how.replace(atol=scaled_atol * np.asarray(span(data.states)[1]))
    operator = data.operator
    if shooting:
        ts, observed = windows(data, window, stride)
        examples = (observed[:, 0], ts[:, 1:], ts[:, 0], observed[:, 1:])
        operator = jnp.eye(operator.shape[1])
    else:
        cases = data.values.shape[0]
        first = int(data.ts[0] <= data.t0)  # the initial state itself carries no information
        times = jnp.tile(data.ts[first:], (cases, 1))
        examples = (data.y0, times, jnp.full(cases, data.t0), data.values[:, first:])
    _, scale = span(data.states if shooting else data.values)

    def objective(model: Any, batch: Any, key: PRNGKeyArray) -> Any:
        del key
        y0, ts, t0, truth = batch
        states, good = integrate(model, how, y0, ts, t0, sequential=sequential)
        prediction = jnp.where(good[:, None, None], states, 0.0) @ operator.T
        if loss == "log_mse":
            value = losses.log_mse(prediction, truth, good)
        else:
            value = losses.scaled_mse(prediction, truth, scale, good)
        if gradient_similarity:
            value += gradient_similarity * losses.gradient_similarity(prediction, truth, good)
        if total_variation:
            value += total_variation * losses.total_variation(prediction, scale, good)
        return value

    patience = None if plateau is None else max(int(plateau * steps), 1)
    model, history = fit(
        objective,
        eqx.tree_at(lambda m: m.integrator, model, how),
        examples,
        optimizer=adam(learning_rate, patience=patience, factor=plateau_factor, clip=clip),
        steps=steps,
        key=key,
        batch_size=batch_size,
        label=label,
        resume=resume,
        save_every=save_every,
        progress=progress,
    )
    return Result(model, history, rate_metrics(problem, model))
