"""Rate coefficients by Levenberg-Marquardt through the solver, with a prior and uncertainties."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..dataset import Observations
from ..least_squares import least_squares
from ..models import AbstractIntegrated
from ..models.integrated import integrate
from ..solvers import Integrator
from ..train import Job
from .base import Result, integrated, rate_metrics, true_rates

__all__ = ["infer"]


def infer(
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    start: Callable[..., AbstractIntegrated] | None = None,
    integrator: Integrator | None = None,
    cases: int | None = None,
    error: float = 1e-5,
    floor: float = 1e-7,
    prior: float = 3.0,
    tail: float | None = None,
    points: int | None = None,
    iterations: int = 40,
    tolerance: float = 1e-7,
    job: Job = Job("infer"),
) -> Result:
    """Maximises the posterior of ln k given trajectories observed from known initial states.

    Residuals are asinh(y / 2e) differences between prediction and observation, over their
    relative error, with e = `floor` times the largest value of the observable: logarithmic where
    y is above e, linear below, so zeros and small negatives are no trouble. The prior is normal
    in ln k about the incoming model's coefficients. The search and the posterior are those of
    `least_squares`; a trial whose solve fails is refused.

    Args:
        model: to start from, which is also the centre of the prior: a CRNN, or another with
            parameters `log_k`, which are at the conditions `reference` and `known` or not.
        data: linear observations; not every species need be observed.
        key: seeds `start`.
        start: `(data, key=key) -> model`, instead of `model`.
        integrator: how the model is integrated, here and from here on; `None` is as it was.
        cases: use the first so many cases; `None` uses all.
        error: relative error of an observation, besides its noise (integration, rounding).
        floor: see above.
        prior: standard deviation of ln k about the start.
        tail: degrees of freedom of Student's distribution, where some observations are far worse
            than `error` says (see `least_squares`). 1 is the most forgiving.
        points: use so many observation times, evenly spaced by index; `None` uses all.
        iterations: at most so many trials.
        tolerance: stop when ln k and residuals change by less than this relative to theirs.
        job: label, progress and checkpoint.

    Returns:
        The CRNN at the optimum and the posterior deviation of each ln k (0 where it is given);
        history `loss` (mean square residual by trial); metrics with the number of coefficients
        that the data determine (posterior deviation below 0.1), and `converged`.

    Raises:
        ValueError: there is no such model to start from, it cannot be integrated, or a setting is
            not positive.
    """
    for name, value in {"error": error, "floor": floor, "prior": prior}.items():
        if not value > 0:
            raise ValueError(f"{name}={value}: give a positive number.")
    if points is not None and points < 1:
        raise ValueError(f"points={points}: keep one observation time or more.")
    data = data.first(cases)
    model = model if start is None else start(data, key=key)
    advice = "run regress or derivative before it, or give it a start."
    model = integrated(model, job.label, advice, rates=True)
    data = data.in_order(model.about.conditions)
    how = model.integrator if integrator is None else integrator
    forward = how.replace(adjoint="forward")
    free = np.flatnonzero(~model.known)
    centre = model.log_k[free]
    index = np.arange(int(data.ts[0] <= data.t0), len(data.ts))
    if points is not None and points < len(index):
        index = index[np.unique(np.linspace(0, len(index) - 1, points).astype(int))]
    cases = data.y0.shape[0]
    ts = jnp.tile(data.ts[index], (cases, 1))
    observed = data.values[:, index]
    t0 = jnp.full(cases, data.t0)
    scale = 2.0 * floor * jnp.max(jnp.abs(data.values), axis=(0, 1), keepdims=True)
    scale = jnp.where(scale > 0, scale, 1.0)
    deviation = float(np.hypot(error, np.log1p(data.noise)))
    target = jnp.arcsinh(observed / scale)

    def residual(log_k: Float[Array, " n"]) -> Float[Array, " m"]:
        current = eqx.tree_at(lambda m: m.log_k, model, model.log_k.at[free].set(log_k))
        states, good = integrate(current, forward, data.y0, ts, data.conditions, t0)
        states = jnp.where(good[:, None, None], states, jnp.inf)
        found = jnp.arcsinh(states @ data.operator.T / scale)
        return (found - target).reshape(-1) / deviation

    found = least_squares(
        residual,
        centre,
        prior=prior,
        tail=tail,
        iterations=iterations,
        tolerance=tolerance,
        job=job,
    )
    full = np.zeros(len(model.log_k))
    full[free] = found.deviation
    fitted = eqx.tree_at(
        lambda m: (m.log_k, m.integrator), model, (model.log_k.at[free].set(found.x), how)
    )
    sure = found.deviation < 0.1
    metrics = {
        **rate_metrics(data, fitted),
        "iterations": float(len(found.loss)),
        "converged": float(found.converged),
        "identified": float(np.sum(sure)),
        "residual": found.noise * deviation,
    }
    if "err_k" in metrics:
        k_true = np.asarray(true_rates(data, model.reference))[free]
        error_k = np.where(k_true > 0, np.abs(found.x - np.log(np.where(k_true > 0, k_true, 1))), 0)
        metrics["err_k_identified"] = float(np.mean(error_k[sure])) if sure.any() else np.nan
        metrics["max_z"] = float(np.max(error_k / found.deviation))
    return Result(fitted, {"loss": found.loss}, metrics, full)
