"""What the data say of each parameter: deviations, intervals, and what they cannot tell."""

from typing import Any, NamedTuple

import numpy as np
import scipy
from jaxtyping import Bool, Float

from .parameters import Parameter
from .search import Misfit

__all__ = ["Posterior", "autocorrelation", "hessian", "posterior"]

_DOUBTFUL = 0.5
"""A deviation of a logarithm above which a parabola is no good picture of the likelihood."""


class Posterior(NamedTuple):
    """Means and covariance of the parameters, in the coordinates of the search.

    Attributes:
        parameters: whose; those that are estimated.
        x: [n] the best.
        covariance: [n, n] of the coordinates, by the curvature at the best.
        low: [n] values; the lower ends of intervals that hold 95 %, NaN where one is open.
        high: [n] the upper ends.
        verdict: [n] ``determined``, ``poorly determined``, ``at least``, ``at most``, ``open`` or
            ``not seen``.
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
    misfit: Misfit, residual: Float[np.ndarray, " m"], slope: Float[np.ndarray, "m n"]
) -> Float[np.ndarray, "n n"]:
    """Half the curvature of -2 ln L, deviations following, by the slopes of the residuals."""
    weight = misfit.weights(residual[None])[0]
    found = slope.T @ (slope * weight[:, None])
    squares = misfit.squares(residual[None])[0]
    for g in np.flatnonzero(~misfit.known):  # the most likely deviation follows the parameters
        of = misfit.group == g
        along = slope[of].T @ residual[of] / squares[g]
        found -= 2.0 * misfit.counts[g] * np.outer(along, along)
    prior = np.where(np.isfinite(misfit.prior), misfit.prior**-2.0, 0.0)
    return found + np.diag(prior)


def posterior(
    parameters: tuple[Parameter, ...],
    misfit: Misfit,
    x: Float[np.ndarray, " n"],
    residual: Float[np.ndarray, " m"],
    slope: Float[np.ndarray, "m n"],
    widened: float = 1.0,
) -> Posterior:
    """Deviations and intervals by the curvature at the best.

    Where deviations of the readings are estimated, their variance has as many degrees of freedom
    less as there are parameters, and intervals are of Student's distribution.
    """
    curvature = hessian(misfit, residual, slope)
    size = np.sqrt(np.maximum(np.diag(curvature), 0.0))
    seen = size > 1e-9 * max(float(size.max(initial=0.0)), 1e-300)
    scale = np.where(seen, size, 1.0)
    values, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    spread = np.maximum(values, 1e-14)
    covariance = (vectors / spread) @ vectors.T / np.outer(scale, scale)
    estimated = not misfit.known.all()
    degrees = float(len(residual) - len(x)) if estimated else np.inf
    if estimated and degrees > 0:
        covariance = covariance * len(residual) / degrees
    covariance *= widened**2
    reach = scipy.stats.t.ppf(0.975, max(degrees, 1.0)) * np.sqrt(np.diag(covariance))
    ends = [
        (p.back(at - far), p.back(at + far))
        for p, at, far in zip(parameters, x, np.minimum(reach, 700.0), strict=True)
    ]
    low, high = np.array(ends).T if ends else np.zeros((2, 0))
    verdict = tuple(
        "not seen" if not s else _told(p, far / 1.96)
        for p, s, far in zip(parameters, seen, reach, strict=True)
    )
    low, high = (np.where(seen, end, np.nan) for end in (low, high))
    profiled = (False,) * len(x)
    return Posterior(parameters, x, covariance, low, high, verdict, profiled, degrees, widened)


def _told(parameter: Parameter, deviation: float) -> str:
    if not parameter.log:
        return "determined"
    return "determined" if deviation < _DOUBTFUL else "poorly determined"


def doubtful(found: Posterior) -> Bool[np.ndarray, " n"]:
    """Which intervals the curvature at the best does not tell: wide ones, and those of a start.

    The likelihood of the time of a start has a kink at every reading.
    """
    root = np.sqrt(np.diag(found.covariance))
    return np.array(
        [
            p.kind == "start" or (p.log and d > 0.2)
            for p, d in zip(found.parameters, root, strict=True)
        ],
        dtype=bool,
    )


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
    mean = float(np.average(found, weights=weight))
    return mean if mean > 2 / np.sqrt(sum(weight)) else 0.0


def directions(found: Posterior, limit: float = 1.0) -> list[tuple[float, list[tuple[str, float]]]]:
    """Combinations of logarithms that the data leave open, and their deviations.

    Each is the members of an eigenvector of the covariance, largest part first.
    """
    of = np.flatnonzero([p.log for p in found.parameters])
    if not len(of):
        return []
    values, vectors = np.linalg.eigh(found.covariance[np.ix_(of, of)])
    told = []
    for value, vector in zip(values[::-1], vectors.T[::-1], strict=True):
        if np.sqrt(value) < limit:
            break
        order = [i for i in np.argsort(-np.abs(vector)) if abs(vector[i]) > 0.2]
        sign = np.sign(vector[order[0]])
        members = [(found.parameters[of[i]].name, float(sign * vector[i])) for i in order]
        told.append((float(np.sqrt(value)), members))
    return told
