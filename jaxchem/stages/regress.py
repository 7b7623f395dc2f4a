"""All rate coefficients at once by linear regression of the integrated rate equations."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Float, PRNGKeyArray

from ..dataset import Observations
from ..kinetics import flux
from ..models import CRNN
from ..models.crnn import true_coefficients
from ..solvers import Integrator
from ..train import Job
from .base import Result, rate_metrics

__all__ = ["regress"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)
_TINY = np.finfo(float).tiny


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

    Between two samples y_i changes by sum_j N_ij k_j int prod y dt, which is linear in k: the
    integrals are taken by four-point Gauss quadrature of cubic splines through the samples (in t,
    or in asinh t, which is ln t but near zero, where the samples are spaced so) and k >= 0 follows
    by iteratively reweighted non-negative least squares. Each equation is weighted by the error
    that interpolation leaves in its gross flux, which the difference between two kinds of spline
    tells: intervals that under-sample a transient count for little. This is the weak form of sparse
    identification (Messenger & Bortz 2021, Multiscale Model. Simul. 19, 1474) with a known
    structure.

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
    network, stoichiometry = data.network, data.network.stoichiometry
    least_error = max(least_error, data.noise)
    k = np.zeros(len(network.equations))
    given, true = true_coefficients(data, known) if known else (k > 0, k)
    k[given] = true[given]
    one = CRNN.of(data, jnp.zeros(len(k)), known=given, integrator=integrator)
    if job.rehearsal:
        return Result(one, {"loss": np.zeros(0)}, rate_metrics(data, one))
    of_case = jax.jit(jax.vmap(one.rate_coefficients))(data.conditions)  # over those in the middle
    fluxes = jax.jit(jax.vmap(lambda k, y: flux(network, k, y), (None, 0)))
    ts, states = np.asarray(data.ts), np.asarray(data.states)
    phi, doubt = (  # [M, R] int prod y dt over each interval, and how far to trust it
        np.concatenate(parts)
        for parts in zip(
            *(
                _integrals(ts, y, functools.partial(fluxes, relative))
                for relative, y in zip(of_case, states, strict=True)
            ),
            strict=True,
        )
    )
    change = np.concatenate([np.diff(y, axis=0) for y in states])  # [M, S]
    size = np.max(states, axis=(0, 1))
    target = change - (phi * k) @ stoichiometry.T
    weight = 1.0 / (np.abs(change) + 1e-6 * size + _TINY)
    active = np.flatnonzero(~given)
    losses = []
    for _ in range(rounds):
        rows = weight.T[:, :, None] * stoichiometry[:, None, active] * phi[None, :, active]
        matrix = rows.reshape(-1, len(active))
        right = (weight * target).T.reshape(-1)
        used = np.any(matrix != 0, axis=1)
        matrix, right = matrix[used], right[used]
        norms = np.linalg.norm(matrix, axis=0)
        norms[norms == 0] = 1.0
        q, r = np.linalg.qr(matrix / norms)
        solution, _ = scipy.optimize.nnls(r, q.T @ right, maxiter=100 * len(active))
        k[active] = solution / norms
        losses.append(float(np.mean((matrix @ k[active] - right) ** 2)))
        through = ((doubt + least_error * phi) * k) @ np.abs(stoichiometry).T
        weight = 1.0 / (through + least_error * np.abs(change) + 1e-14 * size + _TINY)
    k = _lift(k, phi, stoichiometry, floor)
    fitted = CRNN.of(data, jnp.log(jnp.asarray(k)), known=given, integrator=integrator)
    return Result(fitted, {"loss": np.asarray(losses)}, rate_metrics(data, fitted))


def _integrals(
    ts: np.ndarray, y: np.ndarray, fluxes: Any
) -> tuple[Float[np.ndarray, "M R"], Float[np.ndarray, "M R"]]:
    """int prod y dt over each interval, and its difference between two kinds of spline."""
    unit = ts[ts > 0][:1]
    after = ts[ts > 0] if ts[0] == 0 else ts  # of log spacing, but for a start at zero
    logarithmic = ts[0] >= 0 and len(after) > 2 and _unevenness(np.log(after)) < _unevenness(after)
    x = np.arcsinh(ts / unit) if logarithmic else ts  # ln t but near zero, where it is t
    half = 0.5 * np.diff(x)
    nodes = (x[:-1] + half)[:, None] + half[:, None] * _NODES
    stretch = unit * np.cosh(nodes) if logarithmic else np.ones_like(nodes)  # dt/dx

    def integral(spline: Any) -> np.ndarray:
        at_nodes = fluxes(jnp.asarray(np.maximum(spline(nodes.ravel()), 0.0)))
        values = np.asarray(at_nodes).reshape(*nodes.shape, -1)
        return np.einsum("mq,mq,mqr->mr", half[:, None] * _WEIGHTS, stretch, values)

    smooth, local = (
        integral(scipy.interpolate.CubicSpline(x, y)),
        integral(scipy.interpolate.Akima1DInterpolator(x, y)),
    )
    return smooth, np.abs(smooth - local)


def _unevenness(x: np.ndarray) -> float:
    """How much intervals differ, whatever their unit."""
    return float(np.ptp(np.diff(x)) / np.mean(np.diff(x)))


def _lift(k: np.ndarray, phi: np.ndarray, stoichiometry: np.ndarray, floor: float) -> np.ndarray:
    """Gives coefficients that regression found to be zero a small positive value."""
    gross = np.sum(phi * k, axis=0)  # [R] total events
    through = np.abs(stoichiometry) @ gross  # [S]
    total = np.sum(phi, axis=0)
    for j in np.flatnonzero(k <= 0):
        through_j = np.max(through[np.flatnonzero(stoichiometry[:, j])], initial=0.0)
        k[j] = floor * through_j / total[j] if total[j] > 0 and through_j > 0 else 1.0
    return k
