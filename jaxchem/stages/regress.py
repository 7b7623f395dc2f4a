"""All rate coefficients at once by linear regression of the integrated rate equations."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ..dataset import Observations
from ..inference.weak import Course, weak_form
from ..models import CRNN
from ..models.crnn import true_coefficients
from ..solvers import Integrator
from ..train import Job
from .base import Result, rate_metrics

__all__ = ["regress"]


def regress(
    model: Any,
    data: Observations,
    key: PRNGKeyArray,
    *,
    known: Sequence[int] = (),
    integrator: Integrator | None = None,
    rounds: int = 10,
    cases: int | None = None,
    least_error: float = 1e-6,
    floor: float = 1e-6,
    job: Job = Job("regress"),
) -> Result:
    """Estimates every coefficient from observed trajectories, with no start and no solver.

    By the weak form of the rate equations (see `jaxchem.inference.weak.weak_form`).

    Args:
        model: not used.
        data: observations of every species.
        key: not used; the estimate has nothing random.
        known: reactions (from 0) whose coefficients are those of the network's own laws.
        integrator: of the fitted model.
        rounds: of reweighting.
        cases: use the first so many cases; `None` uses all.
        least_error: smallest relative error that is granted to a quadrature or a sample.
        floor: a coefficient that regression sets to zero becomes the smallest that would matter:
            this fraction of the largest flux of a species that the reaction changes.
        job: not used but to rehearse; the estimate takes seconds.

    Returns:
        A CRNN with the estimate; `loss` by round.

    Raises:
        ValueError: not every species is observed; some coefficients are given, but the network's
            laws do not give their values.
    """
    del model, key
    data = data.first(cases)
    k = np.zeros(len(data.network.equations))
    given, true = true_coefficients(data, known) if known else (k > 0, k)
    k[given] = true[given]
    one = CRNN.of(data, jnp.zeros(len(k)), known=given, integrator=integrator)
    if job.rehearsal:
        return Result(one, {"loss": np.zeros(0)}, rate_metrics(data, one))
    relative = jax.jit(jax.vmap(one.rate_coefficients))(data.conditions)  # to those in the middle
    each = zip(np.asarray(data.states), np.asarray(relative), strict=True)
    found = weak_form(
        data.network,
        [Course(np.asarray(data.ts), *case) for case in each],
        np.eye(len(k))[:, ~given],
        k,
        rounds=rounds,
        least_error=max(least_error, data.noise),
        floor=floor,
    )
    k[~given] = found.values
    fitted = CRNN.of(data, jnp.log(jnp.asarray(k)), known=given, integrator=integrator)
    return Result(fitted, {"loss": found.losses}, rate_metrics(data, fitted))
