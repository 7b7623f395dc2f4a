"""What a fit minimises: -2 ln L of the readings of a problem, by the parameters' coordinates."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from .noise import Noise, noise
from .posterior import hessian
from .problem import Problem
from .search import Evaluate, Misfit

__all__ = ["Objective", "evaluation", "objective"]

_TOGETHER, _FEW = 8, 3
"""So many sets of parameters are evaluated by one call, and so few one by one."""


class Objective(NamedTuple):
    """-2 ln L of a problem, with deviations that are not known at their likeliest.

    Attributes:
        problem: what is estimated from what.
        noise: of the readings.
        misfit: what becomes of residuals.
        residual: `x [n] -> [N]`, a pure function of JAX; NaN where a solve fails.
        evaluate: `x [B, n] -> (residual [B, N], slope [B, N, n])`, compiled; infinite where a
            solve fails.
        low: [n] bounds of the coordinates.
        high: likewise.
    """

    problem: Problem
    noise: Noise
    misfit: Misfit
    residual: Callable[[Any], Any]
    evaluate: Evaluate
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]

    @property
    def centre(self) -> Float[np.ndarray, " n"]:
        """[n] where the search begins."""
        return self.misfit.centre

    def __call__(self, x: Float[np.ndarray, " n"]) -> float:
        """-2 ln L and -2 ln of the prior, but for what no parameter changes."""
        x = np.asarray(x, float)[None]
        return float(self.misfit.value(x, self.evaluate(x)[0])[0])

    def gradient(self, x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """[n] of what a call gives; zero where a solve fails."""
        x = np.asarray(x, float)[None]
        residual, slope = self.evaluate(x)
        if not np.isfinite(residual).all():
            return np.zeros(x.shape[1])
        weight = self.misfit.weights(residual)[0]
        back = (x[0] - self.misfit.centre) / self.misfit.prior**2
        return 2 * (slope[0].T @ (weight * residual[0]) + back)

    def hessian(self, x: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
        """[n, n] second derivatives by the slopes of the residuals (Gauss and Newton's)."""
        residual, slope = self.evaluate(np.asarray(x, float)[None])
        if not np.isfinite(residual).all():
            return np.eye(slope.shape[2])
        return 2 * (hessian(self.misfit, residual[0], slope[0]) + np.diag(self.misfit.prior**-2.0))

    def pinned(self, x: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Which coordinates are at a bound."""
        return (x <= self.low) | (x >= self.high)

    def seen(self, residual: Float[np.ndarray, "*D N"]) -> Float[np.ndarray, "*D N"]:
        """What is compared of predictions, where these are the residuals."""
        how = self.noise
        return how.unbent(residual) / how.weight + np.asarray(how.seen(self.problem.measured.value))

    def predicted(self, residual: Float[np.ndarray, "*D N"]) -> Float[np.ndarray, "*D N"]:
        """What readings should have been where these are the residuals."""
        return self.noise.back(self.seen(residual))

    def weighted(self, noise: Noise) -> "Objective":
        """The same with deviations of the same groups that are others."""
        ratio = noise.weight / self.noise.weight

        def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            residual, slope = self.evaluate(x)
            return residual * ratio, slope * ratio[:, None]

        def residual(x: Any) -> Any:
            return self.residual(x) * ratio

        seen = np.asarray(noise.seen(self.problem.measured.value))
        misfit = self.misfit._replace(least=_least(self.problem, noise, seen))
        return self._replace(noise=noise, misfit=misfit, residual=residual, evaluate=evaluate)


def objective(problem: Problem, setting: Mapping[str, Any] | None = None) -> Objective:
    """Of a problem, with its noise as `infer_rates` takes it.

    Raises:
        ValueError: JAX has 32-bit floats, which resolve no likelihood; a setting of the noise that
            cannot be; too few readings.
    """
    if jnp.result_type(float) != jnp.float64:
        raise ValueError(
            "JAX has 32-bit floats here, in which differences of predictions are rounding: call "
            "jax.config.update('jax_enable_x64', True) before any array is made."
        )
    free, data = problem.free, problem.measured
    how = noise(data, setting)
    if not len(data.value) or not free:
        what = "no reading is left to fit" if free else "every parameter is given"
        raise ValueError(f"{what}, so there is nothing to estimate.")
    if not how.known.all() and len(how.weight) <= len(free):
        raise ValueError(
            f"{len(how.weight)} readings leave no deviation to be estimated beside {len(free)} "
            "parameters: state what it is (noise: {sd: ...}), or estimate fewer."
        )
    target = np.asarray(how.seen(data.value))

    def residual(x: Float[Any, " n"]) -> Float[Any, " N"]:
        return how.residual(problem.predicted(x), target)

    low, high, centre = (
        np.array([float(p.coordinate(getattr(p, name))) for p in free])
        for name in ("low", "high", "value")
    )
    least, prior = _least(problem, how, target), np.array([p.prior for p in free])
    misfit = Misfit(how.group, how.known, least, centre, prior)
    return Objective(problem, how, misfit, residual, evaluation(residual), low, high)


def _least(problem: Problem, how: Noise, seen: Float[np.ndarray, " N"]) -> Float[np.ndarray, " G"]:
    """Deviations that the solver leaves: of the largest reading, or of logarithms."""
    largest = np.zeros(len(how.known))
    np.maximum.at(largest, how.group, np.abs(seen * how.weight))
    largest = np.where((largest > 0) & (how.kind != "log"), largest, 1.0)
    return 10 * float(problem.integrator.rtol) * largest


def evaluation(residual: Any) -> Evaluate:
    """Residuals and slopes of a batch, compiled for one and for several at once."""

    def both(x: Any) -> Any:
        value = residual(x)
        return value, value

    run = jax.jit(jax.vmap(jax.jacfwd(both, has_aux=True)))
    most = max(_TOGETHER, 2 * (os.cpu_count() or 1))

    def evaluate(x: Float[np.ndarray, "B n"]) -> tuple[np.ndarray, np.ndarray]:
        size = most if len(x) > _FEW else 1
        filled = np.concatenate([x, np.repeat(x[:1], -len(x) % size, axis=0)])
        parts = [run(jnp.asarray(filled[i : i + size])) for i in range(0, len(filled), size)]
        slope, value = (np.concatenate(part)[: len(x)] for part in zip(*parts, strict=True))
        bad = [
            not (np.isfinite(v).all() and np.isfinite(s).all())
            for v, s in zip(value, slope, strict=True)
        ]
        bad = np.array(bad)
        return np.where(bad[:, None], np.inf, value), np.where(bad[:, None, None], 0.0, slope)

    return evaluate
