"""The fit of a problem: its misfit, many starts, and what their best says of every parameter."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Float

from ..suggest import closest
from ..train import Job
from .parameters import number
from .posterior import DOUBTFUL, Posterior, autocorrelation, directions, doubtful, posterior
from .problem import Problem
from .profiles import profile
from .search import Evaluate, Misfit, Optima, minimise

__all__ = ["Fit", "infer_rates"]

_KINDS = ("absolute", "relative", "log")
_PER = ("unit", "observable", "all")
_NOISE = ("kind", "per", "sd", "autocorrelated")
_SAME = 0.5
"""Optima whose misfits differ by less are one."""


class Fit(NamedTuple):
    """What measurements say of a problem.

    Attributes:
        problem: what was asked.
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

    problem: Problem
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


class _Noise(NamedTuple):
    """How readings scatter: the kind, each reading's weight, and the groups of one deviation."""

    kind: str
    weight: np.ndarray
    group: np.ndarray
    known: np.ndarray
    names: tuple[str, ...]


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
            or ``"log"``, of logarithms; `sd`, where it is known (a number, or one for each
            observable), in place of being estimated; `per`, ``"unit"`` (the default),
            ``"observable"`` or ``"all"``: what has one deviation; `autocorrelated`, whether
            intervals are widened for it: `None` looks at the residuals. Deviations that the
            tables state of readings are taken as they are.
        starts: how many searches: one from the problem's values, others from around them.
        seed: of the starts.
        profiles: of which parameters the likelihood is profiled: ``"doubtful"`` ones, whose
            deviation is above 0.2 in the logarithm; ``"all"``; or ``"none"``.
        iterations: at most so many steps of a search.
        job: label and bar.

    Raises:
        ValueError: no start can be integrated; a setting that there is not; readings that a kind
            of noise cannot have.
    """
    if profiles not in ("doubtful", "all", "none"):
        raise ValueError(f"profiles={profiles!r}: give doubtful, all or none.")
    if starts < 1:
        raise ValueError(f"starts={starts}: give one or more.")
    free = problem.free
    how = _noise(problem, noise or {})
    if not how.known.all() and len(how.weight) <= len(free):
        raise ValueError(
            f"{len(how.weight)} readings leave no deviation to be estimated beside {len(free)} "
            "parameters: state what it is (noise: {sd: ...}), or estimate fewer."
        )
    target = np.log(problem.measured.value) if how.kind == "log" else problem.measured.value

    def residual(x: Float[Any, " n"]) -> Float[Any, " N"]:
        found = problem.predicted(x)
        found = jnp.log(found) if how.kind == "log" else found
        return (found - target) * how.weight

    evaluate = _evaluation(residual)
    low = np.array([float(p.coordinate(p.low)) for p in free])
    high = np.array([float(p.coordinate(p.high)) for p in free])
    centre = np.array([float(p.coordinate(p.value)) for p in free])
    least = 10 * float(problem.integrator.rtol) * _spreads(target * how.weight, how.group)
    misfit = Misfit(how.group, how.known, least, centre, np.array([p.prior for p in free]))
    begin = _integrable(evaluate, _starts(free, centre, low, high, starts, seed), centre)
    with job.bar(starts, 0) as bar:

        def told(value: np.ndarray, done: np.ndarray) -> None:
            bar.n = int(done.sum())
            bar.set_postfix(best=f"{np.min(value):.6g}", refresh=False)
            bar.refresh()

        bounds: dict[str, Any] = {"low": low, "high": high}
        if len(how.known) > 1 and not how.known.all():
            # from afar one group's deviation would fall at the others' cost: as if all were large
            rough = np.where(how.known, 1.0, _spreads(target * how.weight, how.group))[how.group]

            def roughly(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                value, slope = evaluate(x)
                return value / rough, slope / rough[:, None]

            first = misfit._replace(known=np.ones_like(how.known))
            how_far = {"iterations": iterations, "tolerance": 1e-3, "told": told}
            begin = minimise(roughly, first, begin, **how_far, **bounds).x
        found = minimise(evaluate, misfit, begin, iterations=iterations, told=told, **bounds)
    if not np.any(np.isfinite(found.value)):
        raise ValueError(
            f"{job.label}: none of {starts} starts could be integrated; begin nearer (value of "
            "the parameters), or raise max_steps of the solver."
        )
    best = _best(found)
    notes: list[str] = []
    widened = 1.0
    wanted = (noise or {}).get("autocorrelated")
    data = problem.measured
    correlation = autocorrelation(best.residual[0], data.experiment, data.observable, data.time)
    if wanted is not False and correlation:
        widened = float(np.sqrt((1 + correlation) / (1 - correlation)))
        notes.append(
            f"neighbouring residuals are correlated ({correlation:.2f}), so deviations are "
            f"{widened:.2g} times those of independent readings"
        )
    told_of = posterior(free, misfit, best.x[0], best.residual[0], best.slope[0], widened)
    if not told_of.seen.all():  # where a search has left the others means nothing
        best = best._replace(x=np.where(told_of.seen, best.x, centre))
        told_of = posterior(free, misfit, best.x[0], best.residual[0], best.slope[0], widened)
    chosen = doubtful(told_of) if profiles == "doubtful" else np.full(len(free), profiles == "all")
    chosen |= (best.x[0] <= low) | (best.x[0] >= high)
    chosen &= told_of.seen
    if chosen.any():
        told_of, best = _profiled(evaluate, misfit, best, told_of, chosen, bounds, job)
    met = int(np.sum(found.value < best.value[0] + _SAME))
    squares = misfit.squares(best.residual)[0]
    deviation = np.where(how.known, np.nan, np.sqrt(squares / misfit.counts))
    if not np.any(
        [v in ("determined", "poorly determined", "at least", "at most") for v in told_of.verdict]
    ):
        notes.append("nothing could be learnt: no parameter moves what was measured")
    at_bound = (best.x[0] <= low) | (best.x[0] >= high)
    for i in np.flatnonzero(at_bound):
        notes.append(f"{free[i].name} ended at its bound, {told_of.values[i]:.4g}")
    exact = ~how.known & (squares <= misfit.counts * least**2 * 1.0001)
    for name in (n for n, there in zip(how.names, exact, strict=True) if there):
        notes.append(
            f"residuals of {name} are as small as the solver's error, which intervals then tell: "
            "state a deviation (noise: {sd: ...})"
        )
    if met < max(2, starts // 10) and starts > 9:
        notes.append(f"only {met} of {starts} starts met the best: there may be a better one")
    if not best.converged[0]:
        notes.append("the best is no optimum yet: raise iterations")
    predicted = best.residual[0] / how.weight + target
    return Fit(
        problem,
        told_of,
        np.asarray(_reference_k(problem, best.x[0])),
        np.exp(predicted) if how.kind == "log" else predicted,
        best.residual[0] / how.weight,
        best.residual[0] * np.sqrt(misfit.weights(best.residual)[0]),
        how.names,
        deviation,
        how.group,
        _negative_log_likelihood(how, misfit, best, target),
        float(np.sum(squares)),
        np.sort(found.value),
        met,
        bool(best.converged[0]),
        directions(told_of),
        tuple(notes),
    )


def _negative_log_likelihood(
    how: _Noise, misfit: Misfit, best: Optima, target: Float[np.ndarray, " N"]
) -> float:
    """Of the readings themselves, with all that no parameter changes."""
    alone = misfit._replace(prior=np.full(len(misfit.prior), np.inf))
    twice = float(alone.value(best.x, best.residual)[0])
    twice += float(np.sum(misfit.counts[~misfit.known]))
    twice += len(target) * np.log(2 * np.pi) - 2 * float(np.sum(np.log(how.weight)))
    if how.kind == "log":
        twice += 2 * float(np.sum(target))
    return 0.5 * twice


def _reference_k(problem: Problem, x: np.ndarray) -> np.ndarray:
    """[R] under the reference conditions."""
    k, values = problem.at.copy(), problem.values(x)
    for p in problem.parameters:
        if p.kind == "rate":
            k[[*p.of]] = float(values[p.name]) * np.array(p.ratios)
    return k


def _profiled(
    evaluate: Evaluate,
    misfit: Misfit,
    best: Optima,
    told_of: Posterior,
    chosen: np.ndarray,
    bounds: Mapping[str, Any],
    job: Job,
) -> tuple[Posterior, Optima]:
    """With the ends of profiles; a lower point that these find is searched from again."""
    of = np.flatnonzero(chosen)
    with job._replace(label="profiles").bar(2 * len(of), 0) as bar:

        def told(done: int) -> None:
            bar.n = done
            bar.refresh()

        how = {"covariance": told_of.covariance, "told": told}
        how["rise"] = told_of.rise(misfit)
        ends, at, lowest = profile(evaluate, misfit, best, of, **bounds, **how)
    if lowest < best.value[0] - _SAME:
        better = minimise(evaluate, misfit, at[None], **bounds)
        if better.value[0] < best.value[0] - _SAME:
            free = told_of.parameters
            again = (better.x[0], better.residual[0], better.slope[0], told_of.widened)
            again = posterior(free, misfit, *again)
            return _profiled(evaluate, misfit, better, again, chosen, bounds, job)
    low, high = told_of.low.copy(), told_of.high.copy()
    verdict, profiled = list(told_of.verdict), list(told_of.profiled)
    for i, (left, right) in zip(of, ends, strict=True):
        p = told_of.parameters[i]
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


def _spreads(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The largest magnitude in each group; 1 where all are zero."""
    found = np.zeros(group.max() + 1)
    np.maximum.at(found, group, np.abs(values))
    return np.where(found > 0, found, 1.0)


def _best(found: Optima) -> Optima:
    """The best of several, alone."""
    at = slice(i := int(np.argmin(found.value)), i + 1)
    return Optima(*(part[at] for part in found))


def _starts(
    free: Any, centre: np.ndarray, low: np.ndarray, high: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """The centre, and points that fill the box about it evenly (a scrambled Sobol sequence)."""
    spread = np.array([min(p.spread, 2 * p.prior) for p in free])
    sequence = scipy.stats.qmc.Sobol(len(free), seed=seed)
    points = sequence.random_base2(int(np.ceil(np.log2(max(count - 1, 1)))))[: count - 1]
    return np.clip(np.vstack([centre, centre + (2 * points - 1) * spread]), low, high)


def _integrable(evaluate: Evaluate, begin: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The starts, but nearer to the centre where they cannot be integrated."""
    for _ in range(4):
        lost = np.array([not np.isfinite(residual).all() for residual in evaluate(begin)[0]])
        if not lost.any():
            break
        begin = np.where(lost[:, None], 0.5 * (begin + centre), begin)
    return begin


def _evaluation(residual: Any) -> Evaluate:
    """Residuals and slopes of a batch, compiled for powers of two."""

    def both(x: Any) -> Any:
        value = residual(x)
        return value, value

    run = jax.jit(jax.vmap(jax.jacfwd(both, has_aux=True)))

    def evaluate(x: Float[np.ndarray, "B n"]) -> tuple[np.ndarray, np.ndarray]:
        size = 1 << (len(x) - 1).bit_length()
        filled = np.concatenate([x, np.repeat(x[:1], size - len(x), axis=0)])
        slope, value = (np.asarray(part)[: len(x)] for part in run(jnp.asarray(filled)))
        pairs = zip(value, slope, strict=True)
        bad = np.array([not (np.isfinite(v).all() and np.isfinite(s).all()) for v, s in pairs])
        return np.where(bad[:, None], np.inf, value), np.where(bad[:, None, None], 0.0, slope)

    return evaluate


def _noise(problem: Problem, setting: Mapping[str, Any]) -> _Noise:
    data = problem.measured
    for name in setting:
        if name not in _NOISE:
            raise ValueError(
                f"noise has no setting {name!r}{closest(name, _NOISE)} Known: {', '.join(_NOISE)}."
            )
    if setting.get("autocorrelated") not in (None, True, False):
        raise ValueError("noise: autocorrelated is true or false, or left out to be looked for.")
    kind, per = setting.get("kind", "absolute"), setting.get("per", "unit")
    if kind not in _KINDS or per not in _PER:
        raise ValueError(
            f"noise: kind {kind!r} per {per!r}; kinds are {', '.join(_KINDS)}, and one deviation "
            f"is per {', '.join(_PER)}."
        )
    if kind != "absolute" and np.any(data.value <= 0):
        n = int(np.argmax(data.value <= 0))
        name = data.observables[data.observable[n]]
        raise ValueError(
            f"noise: kind {kind} wants positive readings, but {name} is {data.value[n]:g} (line "
            f"{data.lines[n]}); use kind absolute."
        )
    units = [*dict.fromkeys(data.units)]
    names = {"unit": units, "observable": [*data.observables], "all": ["all"]}[per]
    index = {
        "unit": np.array([units.index(u) for u in data.units]),
        "observable": np.arange(len(data.observables)),
        "all": np.zeros(len(data.observables), int),
    }[per]
    group = index[data.observable]
    weight = 1 / data.value if kind == "relative" else np.ones(len(data.value))
    known = np.zeros(len(names), bool)
    stated = np.asarray(np.isfinite(data.deviation))
    if stated.any():
        own = data.value if kind == "log" else np.ones(len(data.value))
        weight = np.where(stated, own / np.where(stated, data.deviation, 1.0), weight)
        group = np.where(stated, len(names), group)
        names, known = [*names, "stated"], np.append(known, True)
    sd = setting.get("sd")
    if sd is not None:
        each = dict.fromkeys(data.observables, sd) if not isinstance(sd, Mapping) else dict(sd)
        for name, value in each.items():
            if name not in data.observables:
                raise ValueError(f"noise: sd of {name!r}, which is not observed.")
            value = number(value, f"sd of {name}", "noise")
            if not value > 0:
                raise ValueError(f"noise: sd of {name} is {value:g}; give a positive number.")
            of = (data.observable == data.observables.index(name)) & ~stated
            weight = np.where(of, weight / value, weight)
            group = np.where(of, len(names), group)
        names, known = [*names, "given"], np.append(known, True)
    kept = [g for g in range(len(names)) if np.any(group == g)]
    group = np.searchsorted(kept, group)
    return _Noise(kind, weight, group, known[kept], tuple(names[g] for g in kept))
