"""The fit of a problem: its misfit, many starts, and what their best says of every parameter."""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy
from jaxtyping import Float

from ..brief import few
from ..checkpoint import digest
from ..train import Job
from .objective import Objective, objective
from .parameters import whole
from .posterior import DOUBTFUL, Posterior, autocorrelation, directions, doubtful, posterior
from .problem import Problem
from .profiles import profile
from .search import Evaluate, Misfit, Optima, minimise
from .weak import weak_starts

__all__ = ["Fit", "infer_rates"]

_ADAPTED = 20
"""Rounds of deviations that follow predictions, at most."""

_TOLERANCE = 1e-8
"""Of the misfit: an optimum lies within this part of a deviation, squared."""

_SAME = 0.5
"""Optima whose misfits differ by less are one."""


class Fit(NamedTuple):
    """What measurements say of a problem.

    Attributes:
        objective: what was minimised.
        posterior: of the parameters that are estimated.
        k: [R] coefficients of all reactions under the reference conditions.
        predicted: [N] what the readings should have been.
        residual: [N] prediction less reading; of logarithms, where the noise is of these.
        scaled: [N] the same over the deviation of each reading.
        groups: names of the groups of readings that have one deviation.
        deviation: by group: the most likely one, or NaN where it was stated.
        group: [N] of each reading.
        negative_log_likelihood: at the best.
        sum_of_squares: of the residuals, each over its stated deviation if it has one.
        misfits: [B] where each start ended, best first, infinite where it could not be evaluated.
        met: how many of the starts ended at the best.
        converged: whether the best is an optimum.
        open: combinations of parameters that the data do not tell, and their deviations.
        notes: whatever has to be said.
    """

    objective: Objective
    posterior: Posterior
    k: Float[np.ndarray, " R"]
    predicted: Float[np.ndarray, " N"]
    residual: Float[np.ndarray, " N"]
    scaled: Float[np.ndarray, " N"]
    groups: tuple[str, ...]
    deviation: Float[np.ndarray, " G"]
    group: Any
    negative_log_likelihood: float
    sum_of_squares: float
    misfits: Float[np.ndarray, " B"]
    met: int
    converged: bool
    open: list[tuple[float, list[tuple[str, float]]]]
    notes: tuple[str, ...]

    @property
    def problem(self) -> Problem:
        """What was asked."""
        return self.objective.problem


def infer_rates(
    problem: Problem,
    *,
    noise: Mapping[str, Any] | None = None,
    starts: int = 20,
    seed: int = 0,
    profiles: str = "doubtful",
    iterations: int = 100,
    job: Job = Job("infer_rates"),
) -> Fit:
    """Estimates the parameters of a problem by maximum likelihood from many starts.

    Args:
        problem: as `problem` makes it.
        noise: of the readings: `kind`, ``"absolute"`` (the default), ``"relative"`` to the reading,
            ``"log"``, of logarithms, or ``"both"``, an absolute and a relative part; `sd`, where it
            is known (a number, or one for each observable), in place of being estimated, and
            `relative` beside it; `per`, ``"unit"`` (the default), ``"observable"`` or ``"all"``:
            what has one deviation; `floor`, of ``"log"``: readings well below this part of the
            largest of their observable are compared themselves, so zeros may be among them;
            `tail`, degrees of freedom of Student's distribution, where some readings are far worse
            than their deviation says (1 is the most forgiving); `autocorrelated`, whether
            intervals are widened for it: `None` looks at the residuals. Deviations that the
            tables state of readings are taken as they are.
        starts: how many searches: one from the problem's values, others from around them.
        seed: of the starts.
        profiles: of which parameters the likelihood is profiled: ``"doubtful"`` ones, whose
            deviation is above 0.2 in the logarithm; ``"all"``; or ``"none"``.
        iterations: at most so many steps of a search.
        job: label, bar and checkpoints, one a search; one of other readings or settings is
            refused.

    Raises:
        ValueError: no start can be integrated; a setting that there is not; readings that a kind
            of noise cannot have.
    """
    if profiles not in ("doubtful", "all", "none"):
        raise ValueError(f"profiles={profiles!r}: give doubtful, all or none.")
    starts = whole(starts, "starts", job.label)
    asked = objective(problem, noise)
    begin, notes = _begin(asked, starts, seed)
    with job.bar(starts, 0) as bar:

        def told(value: np.ndarray, done: np.ndarray) -> None:
            bar.n = int(done.sum())
            bar.set_postfix(best=f"{np.min(value):.6g}", refresh=False)
            bar.refresh()

        mark = digest(job.fingerprint, iterations, begin.tolist(), *_told_apart(asked))
        how = {"iterations": iterations, "told": told, "job": job._replace(fingerprint=mark)}
        asked, found = _searched(asked, begin, **how)
    if not np.any(np.isfinite(found.value)):
        raise ValueError(
            f"{job.label}: none of {starts} starts could be integrated; begin nearer (value of "
            "the parameters), or raise max_steps of the solver."
        )
    free, how, misfit, data = problem.free, asked.noise, asked.misfit, problem.measured
    best = _best(found)
    widened = 1.0
    wanted = (noise or {}).get("autocorrelated")
    correlation = autocorrelation(best.residual[0], data.experiment, data.observable, data.time)
    if wanted is not False and correlation:
        widened = float(np.sqrt((1 + correlation) / (1 - correlation)))
        notes.append(
            f"neighbouring residuals are correlated ({correlation:.2f}), so deviations are "
            f"{widened:.2g} times those of independent readings"
        )
    told_of = posterior(free, misfit, best.x[0], best.residual[0], best.slope[0], widened)
    if not told_of.seen.all():  # where a search has left the others means nothing
        best = best._replace(x=np.where(told_of.seen, best.x, asked.centre))
        told_of = posterior(free, misfit, best.x[0], best.residual[0], best.slope[0], widened)
    chosen = doubtful(told_of) if profiles == "doubtful" else np.full(len(free), profiles == "all")
    chosen |= asked.pinned(best.x[0])
    chosen &= told_of.seen
    if chosen.any():
        told_of, best = _profiled(asked, best, told_of, chosen, job)
    met = int(np.sum(found.value < best.value[0] + _SAME))
    squares = misfit.squares(best.residual)[0]
    deviation = np.where(how.known, np.nan, np.sqrt(squares / misfit.counts))
    verdicts = ("determined", "poorly determined", "at least", "at most")
    if not np.any([v in verdicts for v in told_of.verdict]):
        notes.append("nothing could be learnt: no parameter moves what was measured")
    for i in np.flatnonzero(asked.pinned(best.x[0])):
        notes.append(f"{free[i].name} ended at its bound, {told_of.values[i]:.4g}")
    exact = ~how.known & (squares <= misfit.counts * misfit.least**2 * 1.0001)
    for name in (n for n, there in zip(how.names, exact, strict=True) if there):
        notes.append(
            f"residuals of {name} are as small as the solver's error, which intervals then tell: "
            "state a deviation (noise: {sd: ...})"
        )
    if met < max(2, starts // 10) and starts > 9:
        notes.append(f"only {met} of {starts} starts met the best: there may be a better one")
    if not best.converged[0]:
        notes.append("the best is no optimum yet: raise iterations")
    residual = how.unbent(best.residual[0])
    predicted = asked.predicted(best.residual[0])
    return Fit(
        asked,
        told_of,
        np.asarray(_reference_k(problem, best.x[0])),
        predicted,
        residual / how.weight,
        residual * np.sqrt(misfit.weights(best.residual)[0]),
        how.names,
        deviation,
        how.group,
        _negative_log_likelihood(asked, best),
        float(np.sum(squares)),
        np.sort(found.value),
        met,
        bool(best.converged[0]),
        directions(told_of),
        tuple(notes),
    )


def _told_apart(asked: Objective) -> tuple[Any, ...]:
    """All that makes a misfit another one, so that checkpoints of one are not taken for it."""
    problem, noise, data = asked.problem, asked.noise, asked.problem.measured
    arrays = (problem.k, problem.at, problem.y0, problem.t0, data.ts, data.counts)
    arrays += (data.value, data.experiment, data.time, data.observable)
    arrays += (noise.weight, noise.floor, noise.parts, noise.group, asked.low, asked.high)
    arrays += tuple(data.conditions.values())
    texts = (problem.network.equations, problem.parameters, problem.observed, problem.integrator)
    more = (problem.reference, noise.kind, noise.tail, noise.known.tolist())
    return (*(np.asarray(a).tolist() for a in arrays), *map(repr, (*texts, *more)))


def _begin(asked: Objective, count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Where searches begin: the problem's values, the weak form's, and around them; and a note.

    Where there are fewer starts than these, those whose misfit is least.
    """
    problem, centre = asked.problem, asked.centre
    guesses, notes = [centre], []
    found = weak_starts(problem)
    for one in found:
        values = [p.coordinate(v) for p, v in zip(problem.free, one.values, strict=True)]
        guesses.append(np.clip(np.where(one.seen, values, centre), asked.low, asked.high))
    if found:
        rates = [i for i, p in enumerate(problem.free) if p.kind == "rate"]
        unseen = [problem.free[i].name for i in rates if not found[0].seen[i]]
        but = f", but {few(unseen)}" if unseen else ""
        notes.append(f"searches begin from regression of the rate equations too{but}")
    if len(guesses) > count:
        heights = asked.misfit.value(np.stack(guesses), asked.evaluate(np.stack(guesses))[0])
        guesses = [guesses[i] for i in np.argsort(heights, kind="stable")[:count]]
    around = _around(problem.free, centre, count - len(guesses), seed)
    begin = np.clip(np.vstack([*guesses, around]), asked.low, asked.high)
    return _integrable(asked.evaluate, begin, centre), notes


def _searched(
    asked: Objective, begin: np.ndarray, iterations: int, told: Any, job: Job
) -> tuple[Objective, Optima]:
    """Where all searches have come to, and what they then minimised."""
    misfit, how, number = asked.misfit, asked.noise, itertools.count()

    def search(evaluate: Evaluate, misfit: Misfit, begin: np.ndarray, tolerance: float) -> Optima:
        where = {"low": asked.low, "high": asked.high, "iterations": iterations}
        where |= {"told": told, "job": job.part(next(number))}
        return minimise(evaluate, misfit, begin, tolerance=tolerance, **where)

    if len(how.known) > 1 and not how.known.all():
        # from afar one group's deviation would fall at the others' cost: as if all were large
        rough = np.where(how.known, 1.0, misfit.least / (10 * asked.problem.integrator.rtol))
        rough, whole = rough[how.group], asked.evaluate

        def roughly(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            value, slope = whole(x)
            return value / rough, slope / rough[:, None]

        first = misfit._replace(known=np.ones_like(how.known))
        begin = search(roughly, first, begin, 1e-3).x
    found, data = search(asked.evaluate, misfit, begin, _TOLERANCE), asked.problem.measured
    for _ in range(_ADAPTED):  # deviations that follow what is predicted
        at = _best(found)
        if not np.isfinite(at.value[0]):
            break
        how = asked.noise
        adapted = how.adapted(asked.predicted(at.residual[0]), data.value)
        if np.allclose(adapted.weight, how.weight, rtol=1e-4, atol=0.0):
            break
        asked = asked.weighted(adapted)
        found = search(asked.evaluate, asked.misfit, found.x, _TOLERANCE)
    return asked, found


def _negative_log_likelihood(asked: Objective, best: Optima) -> float:
    """Of the readings themselves, with all that no parameter changes."""
    misfit, values = asked.misfit, asked.problem.measured.value
    alone = misfit._replace(prior=np.full(len(misfit.prior), np.inf))
    twice = float(alone.value(best.x, best.residual)[0])
    twice += float(np.sum(misfit.counts[~misfit.known])) + len(values) * np.log(2 * np.pi)
    return 0.5 * twice - asked.noise.log_densities(values)


def _reference_k(problem: Problem, x: np.ndarray) -> np.ndarray:
    """[R] under the reference conditions."""
    k, values = problem.at.copy(), problem.values(x)
    for p in problem.parameters:
        if p.kind == "rate":
            k[[*p.of]] = float(values[p.name]) * np.array(p.ratios)
    return k


def _profiled(
    asked: Objective, best: Optima, told_of: Posterior, chosen: np.ndarray, job: Job
) -> tuple[Posterior, Optima]:
    """With the ends of profiles; a lower point that these find is searched from again."""
    evaluate, misfit = asked.evaluate, asked.misfit
    bounds: dict[str, Any] = {"low": asked.low, "high": asked.high}
    of = np.flatnonzero(chosen)
    with job._replace(label="profiles").bar(2 * len(of), 0) as bar:

        def told(done: int) -> None:
            bar.n = done
            bar.refresh()

        how = {"covariance": told_of.covariance, "told": told}
        how |= {"rise": told_of.rise(misfit), "lower": _SAME}
        ends, at, lowest, lost = profile(evaluate, misfit, best, of, **bounds, **how)
    if lowest < best.value[0] - _SAME:
        better = minimise(evaluate, misfit, at[None], **bounds)
        if better.value[0] < best.value[0] - _SAME:
            free = told_of.parameters
            again = (better.x[0], better.residual[0], better.slope[0], told_of.widened)
            again = posterior(free, misfit, *again)
            return _profiled(asked, better, again, chosen, job)
    low, high = told_of.low.copy(), told_of.high.copy()
    verdict, profiled = list(told_of.verdict), list(told_of.profiled)
    for i, (left, right), gone in zip(of, ends, lost, strict=True):
        p = told_of.parameters[i]
        if gone:  # the curvature's ends are what there is
            verdict[i] = "poorly determined"
            continue
        low[i], high[i] = p.back(left), p.back(right)
        profiled[i] = True
        if np.isnan(left) and np.isnan(right):
            verdict[i] = "open"
        elif np.isnan(right):
            verdict[i] = "at least"
        elif np.isnan(left):
            verdict[i] = "at most"
        else:
            wide = p.log and right - left > 2 * 1.96 * DOUBTFUL
            verdict[i] = "poorly determined" if wide else "determined"
    found = told_of._replace(low=low, high=high, verdict=tuple(verdict), profiled=tuple(profiled))
    return found, best


def _best(found: Optima) -> Optima:
    """The best of several, alone."""
    at = slice(i := int(np.argmin(found.value)), i + 1)
    return Optima(*(part[at] for part in found))


def _around(free: Any, centre: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Points that fill the box about the centre evenly (a scrambled Sobol sequence)."""
    spread = np.array([min(p.spread, 2 * p.prior) for p in free])
    sequence = scipy.stats.qmc.Sobol(len(free), seed=seed)
    points = sequence.random_base2(int(np.ceil(np.log2(max(count, 1)))))[:count]
    return centre + (2 * points - 1) * spread


def _integrable(evaluate: Evaluate, begin: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The starts, but nearer to the centre where they cannot be integrated."""
    for _ in range(4):
        lost = np.array([not np.isfinite(residual).all() for residual in evaluate(begin)[0]])
        if not lost.any():
            break
        begin = np.where(lost[:, None], 0.5 * (begin + centre), begin)
    return begin
