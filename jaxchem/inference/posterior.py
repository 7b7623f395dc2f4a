"""What the data say of each parameter: deviations, intervals, and what they cannot tell."""

from typing import Any, NamedTuple

import numpy as np
import scipy
from jaxtyping import Bool, Float

from .parameters import Parameter
from .search import Misfit

__all__ = ["DOUBTFUL", "Posterior", "autocorrelation", "hessian", "posterior"]

DOUBTFUL = 0.5
"""A deviation of a logarithm above which a parabola is no good picture of the likelihood."""

_NORMAL = float(scipy.stats.norm.ppf(0.975))

_SHARED = 0.05
"""Part of a variance that comes with wide parameters, above which the likelihood is profiled."""


class Posterior(NamedTuple):
    """Means and covariance of the parameters, in the coordinates of the search.

    Attributes:
        parameters: whose; those that are estimated.
        x: [n] the best.
        covariance: [n, n] of the coordinates, by the curvature at the best.
        low: [n] values; the lower ends of intervals that hold 95 %, NaN where one is open.
        high: [n] the upper ends.
        verdict: [n] ``determined``, ``poorly determined``, ``at least``, ``at most``, ``open``,
            ``not seen``, or ``as before``: not seen, but known before.
        profiled: [n] whether the interval is that of the profile of the likelihood.
        degrees: of freedom of Student's distribution, infinite where deviations are known.
        widened: factor on the deviations, for readings that are not independent of each other.
    """

    parameters: tuple[Parameter, ...]
    x: Float[np.ndarray, " n"]
    covariance: Float[np.ndarray, "n n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    verdict: tuple[str, ...]
    profiled: tuple[bool, ...]
    degrees: float
    widened: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(p.name for p in self.parameters)

    @property
    def seen(self) -> Bool[np.ndarray, " n"]:
        """[n] which of them the readings depend on."""
        return np.array([v not in ("not seen", "as before") for v in self.verdict], dtype=bool)

    @property
    def units(self) -> tuple[str, ...]:
        """Of the parameters' values."""
        return tuple(p.unit for p in self.parameters)

    @property
    def values(self) -> Float[np.ndarray, " n"]:
        """[n] the best values."""
        return np.array([p.back(x) for p, x in zip(self.parameters, self.x, strict=True)])

    @property
    def deviation(self) -> Float[np.ndarray, " n"]:
        """[n] standard deviation of each: of its logarithm, where that is estimated."""
        size = np.array([1.0 if p.log else p.size for p in self.parameters])
        return np.sqrt(np.diag(self.covariance)) * size

    @property
    def correlation(self) -> Float[np.ndarray, "n n"]:
        """[n, n] between the coordinates."""
        root = np.sqrt(np.diag(self.covariance))
        return self.covariance / np.outer(root, root)

    def rise(self, misfit: Misfit) -> float:
        """Of -2 ln L at the ends of an interval of 95 %.

        For readings of one deviation that is estimated, that which is exact for linear models
        (Bates & Watts 1988, Nonlinear Regression Analysis, section 6.1); else that of chi squared,
        which is right for many readings.
        """
        if len(misfit.known) > 1 or misfit.known.all():
            return float(self.widened**2 * scipy.stats.chi2.ppf(0.95, 1))
        degrees = max(self.degrees, 1.0)
        square = scipy.stats.t.ppf(0.975, degrees) ** 2
        return float(misfit.counts[0] * np.log1p(self.widened**2 * square / degrees))

    def draws(self, count: int, seed: int = 0) -> Float[np.ndarray, "count n"]:
        """Values drawn from the normal distribution of the coordinates, within bounds."""
        rng = np.random.default_rng(seed)
        found = rng.multivariate_normal(self.x, self.covariance, count, method="eigh")
        columns = [
            np.clip(p.back(column), p.low, p.high)
            for p, column in zip(self.parameters, found.T, strict=True)
        ]
        return np.stack(columns, axis=1)


def hessian(
    misfit: Misfit,
    residual: Float[np.ndarray, " m"],
    slope: Float[np.ndarray, "m n"],
    variance: Float[np.ndarray, " G"] | None = None,
) -> Float[np.ndarray, "n n"]:
    """Half the curvature of -2 ln L, deviations following, by the slopes of the residuals.

    Variances of groups are so many times what their residuals say.
    """
    more = np.ones(len(misfit.known)) if variance is None else variance
    weight = misfit.weights(residual[None])[0] / more[misfit.group]
    found = slope.T @ (slope * weight[:, None])
    squares = misfit.squares(residual[None])[0]
    for g in np.flatnonzero(~misfit.known):  # the most likely deviation follows the parameters
        of = misfit.group == g
        along = slope[of].T @ residual[of] / squares[g]
        found -= 2.0 * misfit.counts[g] / more[g] * np.outer(along, along)
    return found


def _degrees(
    misfit: Misfit,
    residual: Float[np.ndarray, " m"],
    slope: Float[np.ndarray, "m n"],
    before: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " G"]:
    """Readings of each group, less the parameters that these tell."""
    rows = slope * np.sqrt(misfit.weights(residual[None])[0])[:, None]
    size = np.linalg.norm(np.vstack([rows, np.diag(np.sqrt(before))]), axis=0)
    rows = rows / np.where(size > 0, size, 1.0)
    whole = rows.T @ rows + np.diag(np.where(size > 0, before / np.maximum(size, 1e-300) ** 2, 0))
    inner = np.linalg.pinv(whole, rcond=1e-13, hermitian=True)
    share = np.einsum("mi,ij,mj->m", rows, inner, rows)
    return misfit.counts - np.bincount(misfit.group, share, minlength=len(misfit.known))


def posterior(
    parameters: tuple[Parameter, ...],
    misfit: Misfit,
    x: Float[np.ndarray, " n"],
    residual: Float[np.ndarray, " m"],
    slope: Float[np.ndarray, "m n"],
    widened: float = 1.0,
) -> Posterior:
    """Deviations and intervals by the curvature at the best.

    Where deviations of readings are estimated, their variances have as many degrees of freedom
    less as they tell parameters (of several groups, each its share of the information), and
    intervals are of Student's distribution; not where other deviations are known, as in `rise`.
    """
    size = np.linalg.norm(slope * np.sqrt(misfit.weights(residual[None])[0])[:, None], axis=0)
    seen = size > 1e-9 * max(float(size.max(initial=0.0)), 1e-300)
    known = np.isfinite(misfit.prior)
    before = np.where(known, misfit.prior**-2.0, 0.0)
    left = _degrees(misfit, residual, slope, before)
    degrees = np.inf if misfit.known.any() else float(np.sum(left))
    variance = widened**2 * np.where(misfit.known, 1.0, misfit.counts / np.maximum(left, 1.0))
    curvature = hessian(misfit, residual, slope, variance) + np.diag(before)
    size = np.sqrt(np.maximum(np.diag(curvature), 0.0))
    scale = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    covariance = (vectors / np.maximum(values, 1e-14)) @ vectors.T / np.outer(scale, scale)
    quantile = np.where(seen, scipy.stats.t.ppf(0.975, max(degrees, 1.0)), _NORMAL)
    reach = quantile * np.sqrt(np.diag(covariance))  # what was known before is a normal prior
    low, high, verdict = np.full(len(x), np.nan), np.full(len(x), np.nan), []
    for i, p in enumerate(parameters):
        if seen[i] or known[i]:
            ends = (p.back(x[i] + sign * min(reach[i], 700.0)) for sign in (-1, 1))
            low[i], high[i] = (np.clip(end, p.low, p.high) for end in ends)
        unseen = "as before" if known[i] else "not seen"
        verdict.append(_told(p, x[i], reach[i] / 1.96) if seen[i] else unseen)
    profiled = (False,) * len(x)
    return Posterior(
        parameters, x, covariance, low, high, tuple(verdict), profiled, degrees, widened
    )


def _told(parameter: Parameter, x: float, deviation: float) -> str:
    """How well; an offset or a time may be near zero and well known."""
    if not parameter.log:
        if parameter.kind in ("offset", "start", "initial"):
            return "determined"
        deviation = deviation / max(abs(x), 1e-300)
    return "determined" if deviation < DOUBTFUL else "poorly determined"


def doubtful(found: Posterior) -> Bool[np.ndarray, " n"]:
    """Which intervals the curvature at the best does not tell.

    Those of wide logarithms; those that change with one so wide that it is far from normal; and
    that of a start, at which the likelihood has a kink at every reading.
    """
    variance = np.diag(found.covariance)
    log, start = (
        np.array([which(p) for p in found.parameters], dtype=bool)
        for which in (lambda p: p.log, lambda p: p.kind == "start")
    )
    wide = np.flatnonzero(log & found.seen & (variance > DOUBTFUL**2))
    between = found.covariance[:, wide]
    inner = np.linalg.pinv(found.covariance[np.ix_(wide, wide)], hermitian=True)
    share = np.einsum("iw,wv,iv->i", between, inner, between) / np.maximum(variance, 1e-300)
    return found.seen & (start | (log & ((variance > 0.2**2) | (share > _SHARED))))


def autocorrelation(
    residual: Float[np.ndarray, " m"], experiment: Any, observable: Any, time: Any
) -> float:
    """Correlation of neighbouring residuals of an observable, over all series of 20 or more.

    0 where it is less than two deviations of that of independent ones.
    """
    found, weight = [], []
    for e, o in {*zip(experiment.tolist(), observable.tolist(), strict=True)}:
        of = np.flatnonzero((experiment == e) & (observable == o))
        of = of[np.argsort(time[of], kind="stable")]
        if len(of) >= 20 and np.all(np.diff(time[of]) > 0):
            before, after = residual[of][:-1], residual[of][1:]
            if np.std(before) > 0 and np.std(after) > 0:
                found.append(float(np.corrcoef(before, after)[0, 1]))
                weight.append(len(of))
    if not found:
        return 0.0
    mean = min(float(np.average(found, weights=weight)), 0.99)
    return mean if mean > 2 / np.sqrt(sum(weight)) else 0.0


def directions(found: Posterior, limit: float = 1.0) -> list[tuple[float, list[tuple[str, float]]]]:
    """Combinations of logarithms that the data leave open, and their deviations.

    Each is the members of an eigenvector of the covariance, largest part first.
    """
    of = np.flatnonzero(found.seen & [p.log for p in found.parameters])
    if not len(of):
        return []
    values, vectors = np.linalg.eigh(found.covariance[np.ix_(of, of)])
    told = []
    for value, vector in zip(values[::-1], vectors.T[::-1], strict=True):
        if np.sqrt(value) < limit:
            break
        order = np.argsort(-np.abs(vector))
        order = [order[0], *(i for i in order[1:] if abs(vector[i]) > 0.2)]
        sign = np.sign(vector[order[0]])
        members = [(found.parameters[of[i]].name, float(sign * vector[i])) for i in order]
        told.append((float(np.sqrt(value)), members))
    return told
