"""Rate coefficients by Levenberg-Marquardt through the solver, with a prior and uncertainties."""

import logging
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

from .. import checkpoint
from ..dataset import Observations
from ..models import CRNN
from ..solvers import Integrator
from .base import Problem, Result, Resume, integrate, rate_metrics, require

__all__ = ["infer"]

log = logging.getLogger("jaxchem")


def infer(
    problem: Problem,
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    start: Any = None,
    cases: int | None = None,
    error: float = 1e-5,
    floor: float = 1e-7,
    prior: float = 3.0,
    tail: float | None = None,
    points: int | None = None,
    iterations: int = 40,
    tolerance: float = 1e-7,
    integrator: Integrator | None = None,
    resume: Resume | None = None,
    label: str = "infer",
    progress: bool = True,
) -> Result:
    """Maximises the posterior of ln k given trajectories observed from known initial states.

    Residuals are asinh(y / 2e) differences between prediction and observation, over their
    relative error, with e = `floor` times the largest value of the observable: logarithmic where
    y is above e, linear below, so zeros and small negatives are no trouble. The prior is normal
    in ln k about the incoming model's coefficients. optimistix's Levenberg-Marquardt iterates;
    the Jacobian is one forward-mode solve for all coefficients; a trial whose solve fails is
    refused. The posterior covariance is (J^T J + prior^-2)^-1 at the optimum, with the error
    re-estimated from the residuals where that is larger; outliers count in it whatever the tail.

    Args:
        problem: the network, and how it is integrated.
        model: a CRNN to start from, which is also the centre of the prior.
        data: linear observations; not every species need be observed.
        key: seeds `start`.
        start: makes the CRNN to start from, instead of `model`.
        cases: use the first so many cases; `None` uses all.
        error: relative error of an observation, besides its noise (integration, rounding).
        floor: see above.
        prior: standard deviation of ln k about the start.
        tail: degrees of freedom of Student's distribution, which the residuals then follow
            instead of the normal one (Lange, Little & Taylor 1989, J. Am. Stat. Assoc. 84, 881):
            a few observations may be far worse than `error` says. 1 is the most forgiving.
        points: use so many observation times, evenly spaced by index; `None` uses all.
        iterations: at most so many trials.
        tolerance: stop when ln k and residuals change by less than this relative to theirs.
        integrator: instead of the problem's.
        resume: where to keep progress.
        label: for the progress bar.
        progress: show a bar with the cost.

    Returns:
        The CRNN at the optimum and the posterior deviation of each ln k (0 where it is given);
        history `loss` (mean square residual by trial); metrics with the number of coefficients
        that the data determine (posterior deviation below 0.1), and `converged`.

    Raises:
        ValueError: there is no CRNN to start from, it cannot be integrated, or `tail` is not
            positive.
    """
    if tail is not None and not tail > 0:
        raise ValueError(f"tail={tail} degrees of freedom; give a positive number, or null.")
    data = data.first(cases)
    if start is not None:
        model = start(problem, data, key)
    model = require(model, CRNN, label, "run regress or derivative before it, or give it a start.")
    how = problem.integrator if integrator is None else integrator
    forward = how.replace(adjoint="forward")
    free = np.flatnonzero(~problem.known)
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

    def misfit(log_k: Float[Array, " n"]) -> Float[Array, " m"]:
        current = eqx.tree_at(lambda m: m.log_k, model, model.log_k.at[free].set(log_k))
        states, good = integrate(current, forward, data.y0, ts, t0)
        states = jnp.where(good[:, None, None], states, jnp.inf)
        return (jnp.arcsinh(states @ data.operator.T / scale) - target).reshape(-1)

    def raw(log_k: Float[Array, " n"]) -> tuple[Float[Array, " p"], Float[Array, " p"]]:
        value = jnp.concatenate([misfit(log_k) / deviation, (log_k - centre) / prior])
        return value, value

    linearise = jax.jit(jax.jacfwd(raw, has_aux=True))  # [p, n] slope and [p] value

    def bend(value: Float[Array, " p"]) -> Float[Array, " p"]:
        if tail is None:
            return value
        count = len(centre)
        return jnp.concatenate([_student(value[:-count], tail), value[-count:]])

    @jax.custom_jvp
    def residual(log_k: Float[Array, " n"]) -> Float[Array, " p"]:
        return bend(linearise(log_k)[1])

    @residual.defjvp
    def _(primals: Any, tangents: Any) -> Any:  # one Jacobian serves every product with it
        (log_k,), (change,) = primals, tangents
        slope, value = linearise(log_k)
        return jax.jvp(bend, (value,), (slope @ change,))

    begin = bend(linearise(centre)[1])
    if not bool(jnp.all(jnp.isfinite(begin))):
        raise ValueError(
            f"stage {label} cannot integrate the model that it starts from, so it has no slope "
            "to follow: start nearer (regress, or start with less noise), or raise max_steps."
        )
    # unit cost at the start makes optimistix's first damping of 1 a moderate one
    unit = jnp.maximum(jnp.linalg.norm(begin), 1.0)

    def function(log_k: Float[Array, " n"], args: Any) -> tuple[Float[Array, " p"], None]:
        del args
        return residual(log_k) / unit, None

    solver = optx.LevenbergMarquardt(rtol=tolerance, atol=tolerance * 1e-3)
    search = optx.ClassicalTrustRegion(high_cutoff=0.5, high_constant=10.0, low_constant=0.1)
    solver = eqx.tree_at(lambda s: s.search, solver, search)
    shapes = eqx.filter_eval_shape(function, centre, None)
    state = solver.init(function, centre, None, {}, shapes[0], None, frozenset())
    history = np.full(iterations, np.nan)
    best, done = centre, 0
    if resume is not None and resume.path.exists():
        best, state, history, done = checkpoint.load(
            resume.path, (best, state, history, done), kind=label, fingerprint=resume.fingerprint
        )
    step = eqx.filter_jit(
        lambda best, state: solver.step(function, best, None, {}, state, frozenset())
    )
    with tqdm(
        total=iterations, initial=done, desc=label, disable=None if progress else True
    ) as bar:
        while done < iterations and not bool(state.terminate) and not _stalled(history[:done]):
            best, state, _ = step(best, state)
            cost = float(jnp.sum((state.f_info.residual * unit) ** 2))
            history[done] = cost / len(begin)
            done += 1
            bar.update()
            bar.set_postfix(loss=f"{cost / len(begin):.3e}", refresh=False)
            if resume is not None:
                checkpoint.save(
                    resume.path,
                    (best, state, history, done),
                    kind=label,
                    fingerprint=resume.fingerprint,
                )
    converged = bool(state.terminate) or _stalled(history[:done])
    if not converged:
        log.warning(
            "%s: not at the optimum after %d iterations, so the posterior deviations are not those "
            "of the optimum either; raise iterations.",
            label,
            done,
        )
    slope, value = linearise(best)
    spread, noise = _posterior(slope, value, prior)
    full = np.zeros(len(problem.network.equations))
    full[free] = spread
    fitted = eqx.tree_at(
        lambda m: (m.log_k, m.integrator), model, (model.log_k.at[free].set(best), how)
    )
    metrics = {
        **rate_metrics(problem, fitted),
        "iterations": float(done),
        "converged": float(converged),
        "identified": float(np.sum(spread < 0.1)),
        "residual": noise * deviation,
    }
    if problem.k_true is not None:
        error_k = np.abs(np.asarray(best) - np.log(problem.k_true)[free])
        sure = spread < 0.1
        metrics["err_k_identified"] = float(np.mean(error_k[sure])) if sure.any() else np.nan
        metrics["max_z"] = float(np.max(error_k / spread))
    return Result(fitted, {"loss": history[:done]}, metrics, full)


def _student(z: Float[Array, " m"], tail: float) -> Float[Array, " m"]:
    """Residuals whose squares are -2 ln of Student's density at z over that at 0."""
    squared = z**2 / tail
    small = squared < 1e-8
    safe = jnp.where(small, 1.0, squared)
    ratio = jnp.where(small, 1.0 - squared / 2, jnp.log1p(safe) / safe)
    return z * jnp.sqrt((1.0 + 1.0 / tail) * ratio)


def _stalled(losses: np.ndarray, trials: int = 5, least: float = 1e-3) -> bool:
    """Whether the last trials together lowered the loss by less than this fraction."""
    return len(losses) > trials and losses[-1] > (1 - least) * losses[-1 - trials]


def _posterior(
    slope: Float[Array, "p n"], residual: Float[Array, " p"], prior: float
) -> tuple[Float[np.ndarray, " n"], float]:
    """Standard deviation of each ln k, and the root mean square of the data residuals."""
    count = slope.shape[1]
    data = np.asarray(slope)[:-count]
    noise = float(np.sqrt(np.mean(np.asarray(residual)[:-count] ** 2)))
    triangle = np.linalg.qr(data / max(noise, 1.0), mode="r")  # U of all data would be p by p
    _, values, vectors = np.linalg.svd(triangle, full_matrices=True)
    padded = np.zeros(count)
    padded[: len(values)] = values
    variance = (vectors.T**2) @ (1.0 / (padded**2 + prior**-2))
    return np.sqrt(variance), noise
