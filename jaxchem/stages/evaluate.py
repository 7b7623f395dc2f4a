"""How good an estimate is: rate, trajectory, tendency and conservation errors."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..kinetics import tendency
from ..metrics import conservation_drift, scaled_mse
from ..models import CRNN
from ..scale import span
from .base import Problem, integrate, rate_metrics

__all__ = ["evaluate"]


def evaluate(
    problem: Problem,
    model: Any,
    ts: Float[Array, " T"],
    truth: Float[Array, "case T S"],
    y0: Float[Array, "case S"],
    t0: float,
) -> tuple[dict[str, float], Float[np.ndarray, "case T S"]]:
    """Measures a model on whole trajectories.

    `err_y` and `err_dy` are the scaled mean square errors of the last trajectory and of its
    tendencies (SPIN-ODE, arXiv:2505.05625); `drift` the largest relative change of what the
    network conserves; `failed` the number of trajectories that could not be integrated.

    Returns:
        The metrics, and the predicted trajectories.
    """
    cases = len(y0)
    first = int(ts[0] <= t0)  # a state at t0 needs no integration
    run = eqx.filter_jit(integrate)
    states, good = run(
        model,
        model.integrator,
        jnp.asarray(y0),
        jnp.tile(jnp.asarray(ts[first:]), (cases, 1)),
        jnp.full(cases, t0),
    )
    prediction = jnp.concatenate([jnp.asarray(y0)[:, None]] * first + [states], axis=1)
    truth = jnp.asarray(truth)
    _, scale = span(truth)
    metrics = {
        **rate_metrics(problem, model),
        "err_y": float(scaled_mse(prediction[-1:], truth[-1:], scale)),
        "failed": float(jnp.sum(~good)),
        "smallest_y": float(jnp.min(prediction)),
    }
    if problem.network.balanced:
        drift = conservation_drift(
            jnp.asarray(problem.network.conserved), prediction, jnp.asarray(y0)
        )
        metrics["drift"] = float(jnp.max(jnp.abs(drift)))
    if problem.k_true is not None:
        slopes = jax.jit(jax.vmap(lambda k, y: tendency(problem.network, k, y), (None, 0)))
        exact = slopes(jnp.asarray(problem.k_true), truth[-1])
        if isinstance(model, CRNN):
            modelled = slopes(model.k, truth[-1])
        else:
            modelled = jax.jit(jax.vmap(lambda y: model.field(0.0, y)))(truth[-1])
        metrics["err_dy"] = float(scaled_mse(modelled, exact, span(exact)[1]))
    return metrics, np.asarray(prediction)
