"""Fit a CRNN to derivatives, without a solver in the loop: stage 2 of SPIN-ODE."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..dataset import Observations
from ..models import AbstractIntegrated
from ..models.base import hands_on
from ..models.integrated import integrate
from ..scale import span
from ..solvers import Integrator
from ..train import Job, fit, recipe
from .base import Result, integrated, rate_metrics, windows

__all__ = ["SOURCES", "derivative", "derivative_pairs"]

SOURCES = ("neural_ode", "samples", "mlp")


def derivative_pairs(
    model: Any,
    data: Observations,
    *,
    source: str = "neural_ode",
    window: int | None = None,
    stride: int | None = None,
    refine: int = 10,
    spacing: str = "linear",
    rehearsal: bool = False,
) -> tuple[Float[Array, "W L S"], Float[Array, "W L S"], Float[Array, "W C"]]:
    """States, tendencies and conditions, from a trained neural ODE or from the samples.

    Args:
        model: the neural ODE, which ``"samples"`` does not need.
        data: observations of every species.
        source: ``"neural_ode"`` integrates the model over each window on a refined grid and
            differences that; ``"samples"`` differences the observed samples (the published
            ablation diff_origin); ``"mlp"`` evaluates the model's right-hand side at the samples
            (the ablation mlp_output).
        window: points a window.
        stride: points from window to window.
        refine: points of the refined grid for each observed one.
        spacing: of the refined grid, ``"linear"`` or ``"log"``.
        rehearsal: pairs of the samples, once it is clear that the others can be had.

    Raises:
        ValueError: an unknown source, no neural ODE where one is needed, a spacing that is unknown
            or that the times cannot have, or all windows failed to integrate.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown derivative source {source!r}; known: {', '.join(SOURCES)}.")
    if spacing not in ("linear", "log"):
        raise ValueError(f"unknown spacing {spacing!r} of the refined grid; known: linear, log.")
    ts, states, conditions = windows(data, window, stride)
    if source == "samples":
        return states, _differences(ts, states), conditions
    model = integrated(
        model,
        "derivative",
        "run a trajectory stage that fits one before it, or set its source=samples",
    )
    if source == "mlp":
        return states, _tendencies(model, states, conditions), conditions
    if spacing == "log" and not np.all(ts > 0):
        raise ValueError("a window begins at t = 0, where spacing=log cannot; use spacing=linear.")
    if rehearsal:
        return states, _differences(ts, states), conditions
    count = refine * ts.shape[1]
    space = np.geomspace if spacing == "log" else np.linspace
    grid = jnp.asarray(space(np.asarray(ts[:, 0]), np.asarray(ts[:, -1]), count, axis=1))
    grid = grid.at[:, 0].set(ts[:, 0]).at[:, -1].set(ts[:, -1])
    refined, good = eqx.filter_jit(integrate)(
        model, model.integrator, states[:, 0], grid[:, 1:], conditions, grid[:, 0]
    )
    if not np.any(good):
        raise ValueError(
            "the neural ODE fails to integrate over every window; train it longer, or set the "
            "derivative stage's source=samples."
        )
    refined = jnp.concatenate([states[:, :1], refined], axis=1)[good]
    return refined, _differences(grid[good], refined), conditions[good]


def _tendencies(
    model: AbstractIntegrated, states: Float[Array, "W L S"], conditions: Float[Array, "W C"]
) -> Float[Array, "W L S"]:
    """What the model's right-hand side is at states."""
    inner = jax.vmap(lambda y, c: model.field(0.0, y, c), (0, None))
    return jax.vmap(inner)(states, conditions)


def _differences(ts: Float[Array, "W L"], y: Float[Array, "W L S"]) -> Float[Array, "W L S"]:
    """Second-order differences along non-uniform times."""
    slopes = [np.gradient(np.asarray(v), np.asarray(t), axis=0) for t, v in zip(ts, y, strict=True)]
    return jnp.asarray(np.stack(slopes))


@hands_on(recipe, without=("steps",))
def derivative(
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    start: Callable[..., AbstractIntegrated],
    integrator: Integrator | None = None,
    cases: int | None = None,
    source: str = "neural_ode",
    window: int | None = None,
    stride: int | None = None,
    refine: int = 10,
    spacing: str = "linear",
    steps: int = 1000,
    batch_size: int | None = 64,
    job: Job = Job("derivative"),
    **how: Any,
) -> Result:
    """Fits rate coefficients to derivatives: ln mean ((CRNN(y) - dy) / range of dy)^2.

    Args:
        model: the neural ODE of the stage before.
        data: observations of every species.
        key: seeds the start and the batches.
        start: `(data, key=key) -> model`, such as `CRNN.fitted`.
        integrator: of the fitted model.
        cases: use the first so many cases; `None` uses all.
        source: see `derivative_pairs`, as for `window`, `stride`, `refine` and `spacing`.
        window: see there.
        stride: see there.
        refine: see there.
        spacing: see there.
        steps: optimiser steps.
        batch_size: windows a step.
        job: label, progress and checkpoint.
        **how: of `train.recipe`.

    Returns:
        The fitted CRNN; histories `loss` and `gradient_norm`.
    """
    optimizer = recipe(steps=steps, **how)
    data = data.first(cases)
    first, key = jax.random.split(key)
    begin = integrated(start(data, key=first), job.label, "start from one, such as a CRNN.")
    if integrator is not None:
        begin = eqx.tree_at(lambda m: m.integrator, begin, integrator)
    pairs = derivative_pairs(
        model,
        data,
        source=source,
        window=window,
        stride=stride,
        refine=refine,
        spacing=spacing,
        rehearsal=job.rehearsal,
    )
    _, scale = span(pairs[1])

    def objective(model: AbstractIntegrated, batch: Any, key: PRNGKeyArray) -> Any:
        del key
        states, slopes, conditions = batch
        predicted = _tendencies(model, states, conditions)
        return jnp.log(jnp.mean(((predicted - slopes) / scale[None, None]) ** 2))

    fitted, history = fit(
        objective,
        begin,
        pairs,
        optimizer=optimizer,
        steps=steps,
        key=key,
        batch_size=batch_size,
        job=job,
    )
    return Result(fitted, history, rate_metrics(data, fitted, begin))
