"""Fit a CRNN to derivatives, without a solver in the loop: stage 2 of SPIN-ODE."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..dataset import Observations
from ..models import CRNN, NeuralODE
from ..scale import span
from ..train import adam, fit
from .base import Problem, Result, Resume, integrate, new_crnn, rate_metrics, require, windows

__all__ = ["SOURCES", "derivative", "derivative_pairs"]

SOURCES = ("neural_ode", "samples", "mlp")


def derivative_pairs(
    problem: Problem,
    model: Any,
    data: Observations,
    *,
    source: str = "neural_ode",
    window: int | None = None,
    stride: int | None = None,
    refine: int = 10,
    spacing: str = "linear",
) -> tuple[Float[Array, "W L S"], Float[Array, "W L S"]]:
    """Pairs of states and tendencies, from a trained neural ODE or from the samples.

    Args:
        problem: how to integrate.
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

    Raises:
        ValueError: an unknown source, no neural ODE where one is needed, a spacing that is unknown
            or that the times cannot have, or all windows failed to integrate.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown derivative source {source!r}; known: {', '.join(SOURCES)}.")
    if spacing not in ("linear", "log"):
        raise ValueError(f"unknown spacing {spacing!r} of the refined grid; known: linear, log.")
    ts, states = windows(data, window, stride)
    if source == "samples":
        return states, _differences(ts, states)
    model = require(
        model,
        NeuralODE,
        "derivative",
        "run a trajectory stage that fits one before it, or set its source=samples",
    )
    if source == "mlp":
        return states, jax.vmap(jax.vmap(lambda y: model.field(0.0, y)))(states)
    if spacing == "log" and not np.all(ts > 0):
        raise ValueError("a window begins at t = 0, where spacing=log cannot; use spacing=linear.")
    count = refine * ts.shape[1]
    space = np.geomspace if spacing == "log" else np.linspace
    grid = jnp.asarray(space(np.asarray(ts[:, 0]), np.asarray(ts[:, -1]), count, axis=1))
    grid = grid.at[:, 0].set(ts[:, 0]).at[:, -1].set(ts[:, -1])
    refined, good = eqx.filter_jit(integrate)(
        model, model.integrator, states[:, 0], grid[:, 1:], grid[:, 0]
    )
    if not np.any(good):
        raise ValueError(
            "the neural ODE fails to integrate over every window; train it longer, or set the "
            "derivative stage's source=samples."
        )
    refined = jnp.concatenate([states[:, :1], refined], axis=1)[good]
    return refined, _differences(grid[good], refined)


def _differences(ts: Float[Array, "W L"], y: Float[Array, "W L S"]) -> Float[Array, "W L S"]:
    """Second-order differences along non-uniform times."""
    slopes = [np.gradient(np.asarray(v), np.asarray(t), axis=0) for t, v in zip(ts, y, strict=True)]
    return jnp.asarray(np.stack(slopes))


def derivative(
    problem: Problem,
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    start: Callable[[Problem, Observations, PRNGKeyArray], CRNN] = new_crnn,
    cases: int | None = None,
    source: str = "neural_ode",
    window: int | None = None,
    stride: int | None = None,
    refine: int = 10,
    spacing: str = "linear",
    steps: int = 1000,
    learning_rate: float = 1e-2,
    plateau: float | None = 0.1,
    plateau_factor: float = 0.1,
    batch_size: int | None = 64,
    resume: Resume | None = None,
    save_every: float = 20.0,
    label: str = "derivative",
    progress: bool = True,
) -> Result:
    """Fits rate coefficients to derivatives: ln mean ((CRNN(y) - dy) / range of dy)^2 by Adam.

    Args:
        problem: the network.
        model: the neural ODE of the stage before.
        data: observations of every species.
        key: seeds the start and the batches.
        start: makes the initial CRNN.
        cases: use the first so many cases; `None` uses all.
        source: see `derivative_pairs`, as for `window`, `stride`, `refine` and `spacing`.
        window: see there.
        stride: see there.
        refine: see there.
        spacing: see there.
        steps: optimiser steps.
        learning_rate: of Adam.
        plateau: cut the learning rate after this fraction of all steps without a better loss.
        plateau_factor: of each cut.
        batch_size: windows a step.
        resume: where to keep progress.
        save_every: seconds between checkpoints.
        label: for the progress bar.
        progress: show a bar.

    Returns:
        The fitted CRNN; histories `loss` and `gradient_norm`.
    """
    data = data.first(cases)
    pairs = derivative_pairs(
        problem,
        model,
        data,
        source=source,
        window=window,
        stride=stride,
        refine=refine,
        spacing=spacing,
    )
    _, scale = span(pairs[1])

    def objective(model: CRNN, batch: Any, key: PRNGKeyArray) -> Any:
        del key
        states, slopes = batch
        predicted = jax.vmap(jax.vmap(lambda y: model.field(0.0, y)))(states)
        return jnp.log(jnp.mean(((predicted - slopes) / scale[None, None]) ** 2))

    fitted, history = fit(
        objective,
        start(problem, data, key),
        pairs,
        optimizer=adam(
            learning_rate,
            patience=None if plateau is None else max(int(plateau * steps), 1),
            factor=plateau_factor,
        ),
        steps=steps,
        key=key,
        batch_size=batch_size,
        label=label,
        resume=resume,
        save_every=save_every,
        progress=progress,
    )
    return Result(fitted, history, rate_metrics(problem, fitted))
