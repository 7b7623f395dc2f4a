"""The least -2 ln L of many starts at once, by Levenberg and Marquardt, deviations found along."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..train import Job

__all__ = ["Misfit", "Optima", "minimise"]

_BETTER = 1.5
"""By so much a model has to foretell better than the one that is believed."""

_FARTHEST = 5.0
"""Length of a step, at most; a coordinate makes 1 a large change of each parameter."""

_LOOKED_BACK = 20
_NOTHING = 1e-3
"""A search is at its end that has lowered the misfit by less in so many steps, or to which a step
has promised less and not kept it."""

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Misfit(NamedTuple):
    """What -2 ln L makes of residuals and parameters, but for what no parameter changes.

    Residuals of a group have one standard deviation. Where it is not known it takes, for every
    set of parameters, its most likely value, the root of the mean square residual: -2 ln L is then
    the number of residuals times the logarithm of that mean (Bard 1974, Nonlinear Parameter
    Estimation, section 4-10).

    Attributes:
        group: [m] of each residual.
        known: [G] whether a group's deviation is known; its residuals are over it already.
        least: [G] the smallest deviation that is believed: what the solver leaves.
        centre: [n] of the prior.
        prior: [n] standard deviation of the parameters about it, infinite where there is none.
    """

    group: Int[np.ndarray, " m"]
    known: Bool[np.ndarray, " G"]
    least: Float[np.ndarray, " G"]
    centre: Float[np.ndarray, " n"]
    prior: Float[np.ndarray, " n"]

    @property
    def counts(self) -> Float[np.ndarray, " G"]:
        """Residuals of each group."""
        return np.bincount(self.group, minlength=len(self.known)).astype(float)

    def exact(self, residual: Float[np.ndarray, "B m"]) -> Bool[np.ndarray, " B"]:
        """Whether all residuals are as small as is believed, so that none can lower the misfit."""
        floor = self.counts * self.least**2
        return np.all(~self.known & (self.squares(residual) <= floor * (1 + 1e-9)), axis=1)

    def squares(self, residual: Float[np.ndarray, "B m"]) -> Float[np.ndarray, "B G"]:
        """Sum of squares of each group, at least what `least` makes it."""
        groups = range(len(self.known))
        found = np.stack([np.sum(residual[:, self.group == g] ** 2, axis=1) for g in groups], 1)
        return np.where(self.known, found, np.maximum(found, self.counts * self.least**2))

    def weights(self, residual: Float[np.ndarray, "B m"]) -> Float[np.ndarray, "B m"]:
        """One over the variance of each residual."""
        each = self.counts / np.where(self.known, self.counts, self.squares(residual))
        return each[:, self.group]

    def value(
        self, x: Float[np.ndarray, "B n"], residual: Float[np.ndarray, "B m"]
    ) -> Float[np.ndarray, " B"]:
        """-2 ln L and -2 ln of the prior; infinite where a residual is not finite."""
        with np.errstate(all="ignore"):
            squares = self.squares(residual)
            spread = self.counts * np.log(squares / self.counts)
            total = np.sum(np.where(self.known, squares, spread), axis=1)
            total = total + np.sum(((x - self.centre) / self.prior) ** 2, axis=1)
        return np.where(np.isfinite(total), total, np.inf)


class Optima(NamedTuple):
    """Where searches have come to.

    Attributes:
        x: [B, n] the parameters.
        residual: [B, m] there.
        slope: [B, m, n] of the residuals.
        value: [B] of the misfit; infinite where the start could not be evaluated.
        converged: [B] whether no step promises anything, or the last ones have not helped.
        trials: [B] evaluations.
        course: [B, steps + 1] the misfit at the start, and after every step.
    """

    x: Float[np.ndarray, "B n"]
    residual: Float[np.ndarray, "B m"]
    slope: Float[np.ndarray, "B m n"]
    value: Float[np.ndarray, " B"]
    converged: Bool[np.ndarray, " B"]
    trials: Int[np.ndarray, " B"]
    course: Float[np.ndarray, "B s"]


class _State(NamedTuple):
    """From where searches go on; what was evaluated there is evaluated again."""

    x: Float[np.ndarray, "B n"]
    radius: Float[np.ndarray, " B"]
    converged: Bool[np.ndarray, " B"]
    stuck: Bool[np.ndarray, " B"]
    trials: Int[np.ndarray, " B"]
    along: Float[np.ndarray, "B n"]  # a direction
    bend: Float[np.ndarray, "B m"]  # residuals' curvature along it
    second: Float[np.ndarray, "B n n"]  # of the misfit, beside that by slopes
    used: Bool[np.ndarray, " B"]  # whether it is believed
    past: Float[np.ndarray, "s B"]  # misfits
    round: int


def minimise(
    evaluate: Evaluate,
    misfit: Misfit,
    start: Float[np.ndarray, "B n"],
    *,
    low: Float[np.ndarray, " n"],
    high: Float[np.ndarray, " n"],
    held: Bool[np.ndarray, "B n"] | None = None,
    iterations: int = 100,
    tolerance: float = 1e-6,
    told: Callable[[np.ndarray, np.ndarray], Any] | None = None,
    job: Job = Job("search"),
) -> Optima:
    """Follows every start to a minimum of the misfit within bounds.

    One step solves the least-squares problem of the linearised residuals, weighted by the
    deviations where it begins, within a radius that grows and shrinks with success (Levenberg and
    Marquardt, as Moré 1978, Lect. Notes Math. 630, 105, has it). The radius is of the coordinates
    themselves: what the data hardly tell moves as far as that, and does not slow the others. A
    lower weighted sum of squares is a lower misfit, as the logarithm is concave. What residuals of
    the last trial were beside the linear model tells how they bend along it, and the next step
    that goes there is bent likewise (the acceleration of Transtrum & Sethna 2012, arXiv:1201.5885,
    at no further evaluation): valleys are curved. A trial whose residuals are not finite is
    refused. What curvature residuals have besides (their own times their second derivatives) is
    learnt from step to step, and taken while it foretells misfits better (NL2SOL's; Dennis, Gay &
    Welsch 1981, ACM Trans. Math. Softw. 7, 348). All starts are evaluated together, and those that
    are done no more.

    Args:
        evaluate: `x [B, n] -> (residual [B, m], slope [B, m, n])`.
        misfit: of residuals and parameters.
        start: where the searches begin.
        low: bounds.
        high: likewise.
        held: parameters that do not move.
        iterations: at most so many steps.
        tolerance: done when a step promises to lower the misfit by less.
        told: called with the misfits and what is done, at the start and after every step.
        job: checkpoint.
    """
    if iterations < 0 or not start.shape[1]:
        raise ValueError("a search wants parameters that are free, and 0 iterations or more.")
    x = np.clip(np.asarray(start, dtype=float), low, high)
    if held is not None:
        x = np.where(held, start, x)
    count = len(x)
    moving = np.ones(x.shape, bool) if held is None else ~held
    none, past = np.zeros(count, bool), np.full((_LOOKED_BACK + iterations + 1, count), np.inf)
    bend = np.zeros((count, len(misfit.group)))
    second = np.zeros((count, x.shape[1], x.shape[1]))
    state = _State(
        *(x, np.ones(count), none, none, np.ones(count, int)),
        *(0.0 * x, bend, second, none, past, 0),
    )
    state = job.load(state, "search")
    x, radius, converged, stuck, trials, along, bend, second, used, past, first = state
    residual, slope = (np.array(part) for part in evaluate(x))
    value = misfit.value(x, residual)
    converged, stuck, used = converged.copy(), stuck | ~np.isfinite(value), used.copy()
    saved = time.monotonic()
    for round_ in range(first, iterations + 1):
        good = np.isfinite(value)
        converged[good] |= past[round_][good] - value[good] < _NOTHING
        past[round_ + _LOOKED_BACK] = value
        converged[good] |= misfit.exact(residual[good])
        todo = np.flatnonzero(~converged & ~stuck)
        if told is not None:
            told(value, converged | stuck)
        last = not len(todo) or round_ == iterations
        if last or time.monotonic() - saved > job.save_every:
            state = (x, radius, converged, stuck, trials, along, bend, second, used, past)
            job.save(_State(*state, round_), "search")
            saved = time.monotonic()
        if last:
            break
        step, promise = _step(
            *(misfit, x[todo], residual[todo], slope[todo], radius[todo], moving[todo], low, high),
            *(along[todo], bend[todo], _roots(second[todo] * used[todo, None, None])),
        )
        done = (promise >= 0) & (promise < tolerance)
        converged[todo[done]] = True
        cut = promise < 0  # a bound is in the way of this step, and not of a shorter one
        radius[todo[cut]] *= 0.25
        todo, step, promise = (part[~done & ~cut] for part in (todo, step, promise))
        if not len(todo):
            continue
        trial = x[todo] + step
        new_residual, new_slope = evaluate(trial)
        new = misfit.value(trial, new_residual)
        trials[todo] += 1
        better = new < value[todo]
        length = np.linalg.norm(step, axis=1)
        told_ = np.isfinite(new) & (length > 0)
        off = new_residual[told_] - residual[todo[told_]]
        off -= np.einsum("bmn,bn->bm", slope[todo[told_]], step[told_])
        along[todo[told_]] = step[told_] / length[told_, None]
        bend[todo[told_]] = off / length[told_, None] ** 2
        gain = np.where(better, (value[todo] - new) / promise, 0.0)
        of, here = todo[told_], told_
        fall = value[of] - new[here]
        more = np.sum(np.einsum("bkn,bn->bk", _roots(second[of]), step[here]) ** 2, axis=1)
        plain = np.abs(promise[here] + np.where(used[of], more, 0.0) - fall)
        with_it = np.abs(promise[here] - np.where(used[of], 0.0, more) - fall)
        used[of] = np.where(used[of], with_it < _BETTER * plain, _BETTER * with_it < plain)
        second[of] = _learnt(
            second[of],
            step[here],
            *_pulls(misfit, residual[of], slope[of], new_residual[here], new_slope[here]),
        )
        good = todo[better]
        x[good], value[good] = trial[better], new[better]
        residual[good], slope[good] = new_residual[better], new_slope[better]
        short, fine = gain < 0.25, (gain > 0.75) & (length > 0.9 * radius[todo])
        radius[todo[short]] = 0.25 * length[short]
        radius[todo[fine]] = np.minimum(2 * radius[todo[fine]], _FARTHEST)
        converged[todo] |= ~better & (promise < _NOTHING)
        stuck[todo] |= radius[todo] < 1e-12  # rounding: there is no lower point to be found
    course = past[_LOOKED_BACK : _LOOKED_BACK + round_ + 1].T
    return Optima(x, residual, slope, value, converged, trials, course)


def _step(
    misfit: Misfit,
    x: Any,
    residual: Any,
    slope: Any,
    radius: Any,
    moving: Any,
    low: Any,
    high: Any,
    along: Any,
    bend: Any,
    more: Any,
) -> tuple[Float[np.ndarray, "B n"], Float[np.ndarray, " B"]]:
    """A step of each, and by how much the linear model promises to lower the misfit."""
    root = np.sqrt(misfit.weights(residual))
    size = x.shape[1]
    prior = np.where(np.isfinite(misfit.prior), 1 / misfit.prior, 0.0)
    some = np.flatnonzero(prior)
    rows = np.broadcast_to(np.eye(size)[some] * prior[some, None], (len(x), len(some), size))
    matrix = np.concatenate([slope * root[:, :, None], rows, more], axis=1)
    right = [residual * root, ((x - misfit.centre) * prior)[:, some], np.zeros(x.shape)]
    right = np.concatenate(right, axis=1)
    curve = np.concatenate([bend * root, np.zeros((len(x), len(some) + size))], axis=1)
    gradient = np.einsum("bmn,bm->bn", matrix, right)
    pinned = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
    matrix = matrix * (moving & ~pinned)[:, None, :]
    if matrix.shape[1] > size:
        q, matrix = np.linalg.qr(matrix)
        right, curve = (np.einsum("bmn,bm->bn", q, part) for part in (right, curve))
    step = np.zeros(x.shape)
    ends = np.zeros(x.shape, bool)  # at a bound, where the step would leave the box
    for _ in range(size):
        left = right + np.einsum("bmn,bn->bm", matrix, np.where(ends, step, 0.0))
        inner, solve = _within(matrix * ~ends[:, None, :], left, radius)
        step = np.where(ends, step, inner)
        out = (x + step < low) | (x + step > high)
        step = np.clip(x + step, low, high) - x
        if not np.any(out & ~ends):
            break
        ends |= out
    step = np.where(moving, step, 0.0)
    after = right + np.einsum("bmn,bn->bm", matrix, step)
    length = np.linalg.norm(step, axis=1)
    part = np.sum(along * step, axis=1)
    turn = np.where(moving, solve(curve * part[:, None] ** 2), 0.0)
    fits = (part**2 > 0.8 * length**2) & (np.linalg.norm(turn, axis=1) < 0.75 * length)
    step = np.clip(x + step + turn * fits[:, None], low, high) - x
    return step, np.sum(right**2, axis=1) - np.sum(after**2, axis=1)


def _roots(second: Float[np.ndarray, "B n n"]) -> Float[np.ndarray, "B n n"]:
    """Rows whose squares are the positive part of a curvature."""
    if not second.any():
        return second
    values, vectors = np.linalg.eigh(second)
    return np.sqrt(np.maximum(values, 0.0))[:, :, None] * np.swapaxes(vectors, 1, 2)


def _pulls(
    misfit: Misfit, residual: Any, slope: Any, new_residual: Any, new_slope: Any
) -> tuple[Float[np.ndarray, "B n"], Float[np.ndarray, "B n"]]:
    """How the gradient has changed over a step, by the slopes' change alone and altogether."""
    now = misfit.weights(new_residual) * new_residual
    before = misfit.weights(residual) * residual
    by_slopes = np.einsum("bmn,bm->bn", new_slope - slope, now)
    return by_slopes, np.einsum("bmn,bm->bn", new_slope, now) - np.einsum(
        "bmn,bm->bn", slope, before
    )


def _learnt(second: Any, step: Any, by_slopes: Any, pull: Any) -> Float[np.ndarray, "B n n"]:
    """A curvature that agrees with the last step, sized down if that was less."""
    along = np.sum(pull * step, axis=1)
    sizes = np.linalg.norm(pull, axis=1) * np.linalg.norm(step, axis=1)
    fit = along > 1e-12 * sizes
    along = np.where(fit, along, 1.0)[:, None]
    pushed = np.einsum("bij,bj->bi", second, step)
    curved = np.abs(np.sum(step * pushed, axis=1))
    small = np.abs(np.sum(step * by_slopes, axis=1)) / np.where(curved > 0, curved, 1.0)
    small = np.where(curved > 0, np.minimum(small, 1.0), 1.0)
    off = by_slopes - small[:, None] * pushed
    part = pull / along
    mixed = off[:, :, None] * part[:, None, :]
    mixed = mixed + np.swapaxes(mixed, 1, 2)
    mixed -= np.sum(step * off, axis=1)[:, None, None] * part[:, :, None] * part[:, None, :]
    return np.where(fit[:, None, None], small[:, None, None] * second + mixed, second)


def _within(matrix: Any, right: Any, radius: Any) -> tuple[Float[np.ndarray, "B n"], Any]:
    """The step of at most this length that lowers the sum of squares most, and what solves for
    other right-hand sides with the same damping."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    along = np.einsum("bmk,bm->bk", u, right)
    largest = np.maximum(s[:, :1], 1e-300)
    s = np.where(s > 1e-13 * largest, s, 0.0)

    def inverse(damping: np.ndarray) -> np.ndarray:
        return np.where(s > 0, s / np.where(s > 0, s**2 + damping, 1.0), 0.0)

    least, most = 1e-28 * largest**2, np.maximum(1e8 * largest**2, 1e-300)
    for _ in range(60):  # the damping at which a step is as long as the radius
        damping = np.sqrt(least) * np.sqrt(most)
        length = np.linalg.norm(inverse(damping) * along, axis=1, keepdims=True)
        long = length > radius[:, None]
        least, most = np.where(long, damping, least), np.where(long, most, damping)
    found = inverse(most)

    def solve(right: np.ndarray) -> np.ndarray:
        return -np.einsum("bk,bkn->bn", found * np.einsum("bmk,bm->bk", u, right), vt)

    return solve(right), solve
