"""Rate coefficients by Levenberg-Marquardt through the solver, with a prior and uncertainties."""

import logging
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..dataset import Observations
from ..inference.noise import student
from ..inference.objective import evaluation
from ..inference.parameters import Parameter
from ..inference.posterior import posterior
from ..inference.problem import rate_unit
from ..inference.search import Evaluate, Misfit, minimise
from ..models import AbstractIntegrated
from ..models.integrated import integrate
from ..network import Network
from ..solvers import Integrator
from ..train import Job
from .base import Result, integrated, rate_metrics, true_rates

__all__ = ["infer"]

log = logging.getLogger("jaxchem")

_SURE = 0.1
"""Deviation of ln k below which the data determine a coefficient."""

_MOVED = 1e-3
"""A coefficient that has moved by less, of its deviation, is where it was."""


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
    iterations: int = 100,
    tolerance: float = 1e-8,
    job: Job = Job("infer"),
) -> Result:
    """Maximises the posterior of ln k given trajectories observed from known initial states.

    Residuals are asinh(y / 2e) differences between prediction and observation, over their
    relative error, with e = `floor` times the largest value of the observable: logarithmic where
    y is above e, linear below, so zeros and small negatives are no trouble. The prior is normal
    in ln k about the incoming model's coefficients. The search is that of `inference.search`; a
    trial whose solve fails is refused. Deviations are by the curvature at the optimum, with the
    error re-estimated from the residuals where that is larger; outliers count in it whatever the
    tail.

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
            than `error` says (see `inference.noise.student`). 1 is the most forgiving.
        points: use so many observation times, evenly spaced by index; `None` uses all.
        iterations: at most so many steps.
        tolerance: stop when a step promises to lower the sum of squares by less: an optimum lies
            within the root of this part of a deviation.
        job: label, progress and checkpoint.

    Returns:
        The CRNN at the optimum and the posterior of those ln k that are not given; history `loss`
        (mean square residual by step); metrics with the number of coefficients that the data
        determine (posterior deviation below 0.1), and `converged`.

    Raises:
        ValueError: there is no such model to start from, it cannot be integrated, or a setting is
            not positive.
    """
    for name, value in {"error": error, "floor": floor, "prior": prior}.items():
        if not value > 0:
            raise ValueError(f"{name}={value}: give a positive number.")
    if tail is not None and not tail > 0:
        raise ValueError(f"tail={tail} degrees of freedom; give a positive number, or null.")
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
    if not len(free):
        raise ValueError(f"{job.label}: every coefficient is known; leave some out of known.")
    centre = np.asarray(model.log_k)[free]
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
        states = jnp.where(good[:, None, None], states, jnp.nan)
        found = jnp.arcsinh(states @ data.operator.T / scale)
        return (found - target).reshape(-1) / deviation

    def fitted(log_k: Any) -> Any:
        new = model.log_k.at[free].set(log_k)
        return eqx.tree_at(lambda m: (m.log_k, m.integrator), model, (new, how))

    if job.rehearsal:
        jax.eval_shape(residual, jnp.asarray(centre))
        return Result(fitted(centre), {"loss": np.zeros(0)}, rate_metrics(data, fitted(centre)))
    straight = evaluation(residual)
    bent = straight if tail is None else _bent(straight, tail)
    group, known = np.zeros(observed.size, int), np.ones(1, bool)
    misfit = Misfit(group, known, np.zeros(1), centre, np.full(len(free), prior))
    with job.bar(iterations, 0) as bar:

        def told(value: np.ndarray, done: np.ndarray) -> None:
            del done
            bar.set_postfix(loss=f"{value[0] / count:.3e}", refresh=False)
            bar.update()

        count = observed.size + len(free)
        found = minimise(
            bent,
            misfit,
            centre[None],
            low=np.full(len(free), -np.inf),
            high=np.full(len(free), np.inf),
            iterations=iterations,
            tolerance=tolerance,
            told=told,
            job=job,
        )
    if not np.isfinite(found.value[0]):
        raise ValueError(
            f"{job.label}: the residuals are not finite at the start, so there is no slope to "
            "follow: start nearer (regress, or start with less noise), or raise max_steps."
        )
    x, converged = found.x[0], bool(found.converged[0])
    if not converged:
        log.warning(
            "%s: not at the optimum after %d iterations, so the posterior deviations are not those "
            "of the optimum either; raise iterations.",
            job.label,
            found.course.shape[1] - 1,
        )
    off, slope = (part[0] for part in straight(x[None]))
    noise = float(np.sqrt(np.mean(off**2)))
    parameters = _parameters(model.network, free, centre, prior)
    told_of = posterior(parameters, misfit, x, off, slope, max(noise, 1.0))
    spread = told_of.deviation
    if np.all(np.abs(x - centre) < _MOVED * spread):
        log.warning(
            "%s: no coefficient has moved from where the fit began by more than %g of its "
            "deviation: the start was the optimum already, or the data do not tell.",
            job.label,
            _MOVED,
        )
    metrics = {
        **rate_metrics(data, fitted(x), model),
        "iterations": float(found.course.shape[1] - 1),
        "converged": float(converged),
        "identified": float(np.sum(spread < _SURE)),
        "residual": noise * deviation,
    }
    k_true = true_rates(data, model.reference)
    if "err_k" in metrics and k_true is not None:
        sure, k_true = spread < _SURE, k_true[free]
        error_k = np.where(k_true > 0, np.abs(x - np.log(np.where(k_true > 0, k_true, 1))), 0)
        metrics["err_k_identified"] = float(np.mean(error_k[sure])) if sure.any() else np.nan
        metrics["max_z"] = float(np.max(error_k / spread))
    history = {"loss": found.course[0, 1:] / count}
    return Result(fitted(x), history, metrics, told_of)


def _bent(straight: Evaluate, tail: float) -> Evaluate:
    """Residuals and slopes with heavy tails."""

    def evaluate(x: Float[np.ndarray, "B n"]) -> tuple[np.ndarray, np.ndarray]:
        value, slope = straight(x)
        found, turn = jax.jvp(lambda z: student(z, tail), (value,), (np.ones_like(value),))
        return np.asarray(found), slope * np.asarray(turn)[..., None]

    return evaluate


def _parameters(
    network: Network, free: Any, centre: Float[np.ndarray, " n"], prior: float
) -> tuple[Parameter, ...]:
    """The coefficients of these reactions, estimated by their logarithms."""
    return tuple(
        Parameter(
            *(f"k{j + 1}", "rate", float(k), rate_unit(network, j), (int(j),), (1.0,)),
            log=True,
            low=0.0,
            prior=prior,
        )
        for j, k in zip(free, np.exp(centre), strict=True)
    )
