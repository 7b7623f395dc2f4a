"""What readings are expected to be, given all that is not known of the parameters."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from .fit import Fit
from .sampler import Samples

__all__ = ["Bands", "bands"]

_REPEATS = 10
"""Draws of the noise for each of the parameters."""

_AT_ONCE = 64
"""Solves of all experiments in one batch."""


class Bands(NamedTuple):
    """Bands that hold 95 %, pointwise.

    Attributes:
        low: [N] lower ends of what is predicted.
        high: [N] upper ends.
        reading_low: [N] lower ends of what would be read: with noise.
        reading_high: [N] upper ends.
        lost: draws whose solve fails, which are left out.
    """

    low: Float[np.ndarray, " N"]
    high: Float[np.ndarray, " N"]
    reading_low: Float[np.ndarray, " N"]
    reading_high: Float[np.ndarray, " N"]
    lost: int


def bands(fit: Fit, samples: Samples | None = None, *, count: int = 500, seed: int = 0) -> Bands:
    """Bands of every reading, from draws of the posterior.

    A deviation that is estimated is drawn with its parameters: given these, their sum of squares
    over its square has the chi squared distribution of as many degrees as there are readings (Box &
    Tiao 1973, Bayesian Inference in Statistical Analysis, section 2.7).

    Args:
        fit: of `infer_rates`.
        samples: of `sample`; without them draws are of the normal distribution of the fit.
        count: how many draws.
        seed: of which of them, and of the noise.

    Raises:
        ValueError: every draw's solve fails.
    """
    asked, best, rng = fit.objective, fit.posterior, np.random.default_rng(seed)
    how, misfit, data = asked.noise, asked.misfit, asked.problem.measured
    if samples is not None:
        x = samples.x.reshape(-1, samples.x.shape[2])
        x = x[rng.choice(len(x), min(count, len(x)), replace=False)]
    else:
        values = best.draws(count, seed)
        x = np.stack([p.coordinate(v) for p, v in zip(best.parameters, values.T, strict=True)], 1)
        x = np.where(best.seen | np.isfinite(misfit.prior), x, best.x)
    solve = jax.jit(jax.vmap(asked.residual))
    filled = np.resize(x, (-(-len(x) // _AT_ONCE) * _AT_ONCE, x.shape[1]))
    found = [np.asarray(solve(part)) for part in np.split(filled, len(filled) // _AT_ONCE)]
    residual = np.concatenate(found)[: len(x)]
    fine = np.isfinite(residual).all(axis=1)
    if not fine.any():
        raise ValueError("the solves of all draws fail; raise max_steps of the solver.")
    residual = residual[fine]
    seen = asked.seen(residual)
    shape = (_REPEATS, *residual.shape)
    spread = rng.standard_normal(shape) if np.isinf(how.tail) else rng.standard_t(how.tail, shape)
    power = best.widened**-2.0  # readings that are not independent count less
    chi = rng.chisquare(power * misfit.counts, (_REPEATS, len(residual), len(misfit.counts)))
    deviation = np.where(misfit.known, 1.0, np.sqrt(power * misfit.squares(residual) / chi))
    noisy = seen + spread * deviation[..., misfit.group] / how.weight
    low, high = np.quantile(how.back(seen), (0.025, 0.975), axis=0)
    least, most = np.quantile(how.back(noisy).reshape(-1, len(data.value)), (0.025, 0.975), axis=0)
    return Bands(low, high, least, most, int(np.sum(~fine)))
