"""Fit a model to trajectories through the solver.

Stage 1 of SPIN-ODE with a neural ODE, its stage 3 and its baseline with a CRNN
(arXiv:2505.05625).
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from .. import losses
from ..dataset import Observations
from ..models import AbstractIntegrated
from ..models.base import hands_on
from ..models.integrated import integrate
from ..scale import span
from ..solvers import Integrator
from ..train import Job, fit, recipe
from .base import Result, integrated, rate_metrics, windows

__all__ = ["trajectory"]


@hands_on(recipe, without=("steps",))
def trajectory(
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    start: Callable[..., AbstractIntegrated] | None = None,
    integrator: Integrator | None = None,
    cases: int | None = None,
    window: int | None = None,
    stride: int | None = None,
    shooting: bool = True,
    sequential: bool = False,
    loss: str = "scaled_mse",
    gradient_similarity: float = 0.0,
    total_variation: float = 0.0,
    steps: int = 1000,
    batch_size: int | None = 64,
    scaled_atol: float | None = None,
    job: Job = Job("trajectory"),
    **settings: Any,
) -> Result:
    """Fits a model so that its integrated trajectories meet the observed ones.

    A solve that breaks down inside a gradient ends a program with an error of JAX's, unless the
    environment says `EQX_ON_ERROR=nan` when equinox is imported, as the command line does: then
    the step is refused.

    Args:
        model: from the stage before; ignored where `start` is given.
        data: what is observed.
        key: seeds the start and the batches.
        start: `(data, key=key) -> model`; `None` continues with `model`.
        integrator: how the model is integrated, here and from here on; `None` is as it was.
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
        batch_size: windows a step.
        scaled_atol: absolute tolerance of each species, in its range over the data, instead of
            the integrator's. A neural ODE wants it: one number for all species gives up those of
            small concentration, and a purely relative one follows its noise near zero.
        job: label, progress and checkpoint.
        **settings: of `train.recipe`.

    Returns:
        The fitted model; histories `loss` and `gradient_norm`.

    Raises:
        ValueError: there is no model to start from, an unknown loss, or windows that do not fit.
    """
    if loss not in ("scaled_mse", "log_mse"):
        raise ValueError(f"unknown loss {loss!r}; known: scaled_mse, log_mse.")
    optimizer = recipe(steps=steps, **settings)
    data = data.first(cases)
    first, key = jax.random.split(key)
    model = model if start is None else start(data, key=first)
    model = integrated(
        model, job.label, "give it a start, or run a stage before it that makes one."
    )
    data = data.in_order(model.about.conditions)
    how = model.integrator if integrator is None else integrator
    if scaled_atol is not None:
        how = how.replace(atol=scaled_atol * np.asarray(span(data.states)[1]))
    operator = data.operator
    if shooting:
        ts, observed, conditions = windows(data, window, stride)
        examples = (observed[:, 0], ts[:, 1:], conditions, ts[:, 0], observed[:, 1:])
        operator = jnp.eye(operator.shape[1])
    else:
        cases = data.values.shape[0]
        skip = int(data.ts[0] <= data.t0)  # the initial state itself carries no information
        times, t0 = jnp.tile(data.ts[skip:], (cases, 1)), jnp.full(cases, data.t0)
        examples = (data.y0, times, data.conditions, t0, data.values[:, skip:])
    _, scale = span(data.states if shooting else data.values)

    def misfit(states: Any, good: Any, truth: Any) -> Any:
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

    def objective(model: Any, batch: Any, key: PRNGKeyArray) -> Any:
        del key
        *members, truth = batch
        states, good = integrate(model, how, *members, sequential=sequential)
        return misfit(states, good, truth)

    if job.rehearsal:  # all but the integration, which takes long to trace
        y0, ts, *_, truth = examples
        states = jnp.zeros((*ts.shape, y0.shape[1]))
        jax.eval_shape(misfit, states, jnp.ones(len(ts), bool), truth)
    fitted, history = fit(
        objective,
        eqx.tree_at(lambda m: m.integrator, model, how),
        examples,
        optimizer=optimizer,
        steps=steps,
        key=key,
        batch_size=batch_size,
        job=job,
    )
    return Result(fitted, history, rate_metrics(data, fitted, model))
