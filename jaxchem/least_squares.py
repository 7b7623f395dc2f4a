"""Levenberg-Marquardt in any residual, with a normal prior, heavy tails, and what it determines."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from .train import Job

__all__ = ["Optimum", "least_squares"]

log = logging.getLogger("jaxchem")


class Optimum(NamedTuple):
    """Where the sum of squares is least.

    Attributes:
        x: [n] the parameters.
        deviation: [n] posterior standard deviation of each.
        noise: root mean square of the data's residuals; 1 is what their deviations say.
        loss: mean square residual after each trial.
        converged: whether it is an optimum.
    """

    x: Float[Array, " n"]
    deviation: Float[np.ndarray, " n"]
    noise: float
    loss: Float[np.ndarray, " trials"]
    converged: bool


def least_squares(
    residual: Callable[[Float[Array, " n"]], Float[Array, " m"]],
    start: Float[Array, " n"],
    *,
    prior: float,
    tail: float | None = None,
    iterations: int = 40,
    tolerance: float = 1e-7,
    job: Job = Job("least squares"),
) -> Optimum:
    """Minimises residuals, over their standard deviations, and the distance from the start.

    optimistix's Levenberg-Marquardt iterates; the Jacobian is one forward-mode evaluation for all
    parameters; a trial whose residual is not finite is refused. The posterior covariance is
    (J^T J + prior^-2)^-1 at the optimum, with the error re-estimated from the residuals where that
    is larger; outliers count in it whatever the tail.

    Args:
        residual: `x [n] -> [m]`, each over its standard deviation.
        start: where it begins, which is also the centre of the prior.
        prior: standard deviation of the parameters about the start.
        tail: degrees of freedom of Student's distribution, which the residuals then follow
            instead of the normal one (Lange, Little & Taylor 1989, J. Am. Stat. Assoc. 84, 881):
            a few observations may be far worse than their deviations say.
        iterations: at most so many trials.
        tolerance: stop when parameters and residuals change by less than this relative to theirs.
        job: label, progress and checkpoint, which is written after every trial.

    Raises:
        ValueError: `tail` is not positive, or the residual at the start is not finite.
    """
    if tail is not None and not tail > 0:
        raise ValueError(f"tail={tail} degrees of freedom; give a positive number, or null.")
    count = len(start)

    def raw(x: Float[Array, " n"]) -> tuple[Float[Array, " p"], Float[Array, " p"]]:
        value = jnp.concatenate([residual(x), (x - start) / prior])
        return value, value

    linearise = jax.jit(jax.jacfwd(raw, has_aux=True))  # [p, n] slope and [p] value
    if job.rehearsal:
        jax.eval_shape(residual, start)
        return Optimum(start, np.full(count, prior), 1.0, np.zeros(0), False)

    def bend(value: Float[Array, " p"]) -> Float[Array, " p"]:
        if tail is None:
            return value
        return jnp.concatenate([student(value[:-count], tail), value[-count:]])

    @jax.custom_jvp
    def bent(x: Float[Array, " n"]) -> Float[Array, " p"]:
        return bend(linearise(x)[1])

    @bent.defjvp
    def _(primals: Any, tangents: Any) -> Any:  # one Jacobian serves every product with it
        (x,), (change,) = primals, tangents
        slope, value = linearise(x)
        return jax.jvp(bend, (value,), (slope @ change,))

    begin = bend(linearise(start)[1])
    if not bool(jnp.all(jnp.isfinite(begin))):
        raise ValueError(
            f"{job.label}: the residuals are not finite at the start, so there is no slope to "
            "follow: start nearer (regress, or start with less noise), or raise max_steps."
        )
    # unit cost at the start makes optimistix's first damping of 1 a moderate one
    unit = jnp.maximum(jnp.linalg.norm(begin), 1.0)

    def function(x: Float[Array, " n"], args: Any) -> tuple[Float[Array, " p"], None]:
        del args
        return bent(x) / unit, None

    solver = optx.LevenbergMarquardt(rtol=tolerance, atol=tolerance * 1e-3)
    search = optx.ClassicalTrustRegion(high_cutoff=0.5, high_constant=10.0, low_constant=0.1)
    solver = eqx.tree_at(lambda s: s.search, solver, search)
    shapes = eqx.filter_eval_shape(function, start, None)
    state = solver.init(function, start, None, {}, shapes[0], None, frozenset())
    losses = np.full(iterations, np.nan)
    best, state, losses, done = job.load((start, state, losses, 0), job.label)
    step = eqx.filter_jit(
        lambda best, state: solver.step(function, best, None, {}, state, frozenset())
    )
    with job.bar(iterations, done) as bar:
        while done < iterations and not bool(state.terminate) and not _stalled(losses[:done]):
            best, state, _ = step(best, state)
            cost = float(jnp.sum((state.f_info.residual * unit) ** 2))
            losses[done] = cost / len(begin)
            done += 1
            bar.update()
            bar.set_postfix(loss=f"{cost / len(begin):.3e}", refresh=False)
            job.save((best, state, losses, done), job.label)
    converged = bool(state.terminate) or _stalled(losses[:done])
    if not converged:
        log.warning(
            "%s: not at the optimum after %d iterations, so the posterior deviations are not those "
            "of the optimum either; raise iterations.",
            job.label,
            done,
        )
    slope, value = linearise(best)
    deviation, noise = posterior(slope, value, prior)
    return Optimum(best, deviation, noise, losses[:done], converged)


def student(z: Float[Array, " m"], tail: float) -> Float[Array, " m"]:
    """Residuals whose squares are -2 ln of Student's density at z over that at 0."""
    squared = z**2 / tail
    small = squared < 1e-8
    safe = jnp.where(small, 1.0, squared)
    ratio = jnp.where(small, 1.0 - squared / 2, jnp.log1p(safe) / safe)
    return z * jnp.sqrt((1.0 + 1.0 / tail) * ratio)


def _stalled(losses: np.ndarray, trials: int = 5, least: float = 1e-3) -> bool:
    """Whether the last trials together lowered the loss by less than this fraction."""
    return len(losses) > trials and losses[-1] > (1 - least) * losses[-1 - trials]


def posterior(
    slope: Float[Array, "p n"], residual: Float[Array, " p"], prior: float
) -> tuple[Float[np.ndarray, " n"], float]:
    """Standard deviation of each parameter, and the root mean square of the data residuals."""
    count = slope.shape[1]
    data = np.asarray(slope)[:-count]
    noise = float(np.sqrt(np.mean(np.asarray(residual)[:-count] ** 2)))
    triangle = np.linalg.qr(data / max(noise, 1.0), mode="r")  # U of all data would be p by p
    _, values, vectors = np.linalg.svd(triangle, full_matrices=True)
    padded = np.zeros(count)
    padded[: len(values)] = values
    variance = (vectors.T**2) @ (1.0 / (padded**2 + prior**-2))
    return np.sqrt(variance), noise
