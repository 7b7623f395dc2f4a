"""All rate coefficients at once by linear regression of the integrated rate equations."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from ..expression import Name
from ..kinetics import flux
from ..network import Network
from .problem import Problem

__all__ = ["Course", "Regression", "weak_form", "weak_starts"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)
_TINY = np.finfo(float).tiny
_ALONE = 5
"""So many courses are tried by themselves."""

_FEWEST = 5
"""Readings of a species that can be smoothed."""

_SMOOTHED = 60
"""So many series are smoothed, or those of one course, as each takes its time."""

_GOOD = 1e3
"""Mean square residual of an exact record, at most; weights are never quite right."""


class Course(NamedTuple):
    """What was read of the species of one experiment.

    Attributes:
        ts: [T] times, which increase.
        ys: [T, S] concentrations; NaN where a species was not read.
        relative: [R] rate coefficients in this experiment over those that are sought.
    """

    ts: Float[np.ndarray, " T"]
    ys: Float[np.ndarray, "T S"]
    relative: Float[np.ndarray, " R"]


class Regression(NamedTuple):
    """What regression has found.

    Attributes:
        values: [n] estimates, all positive.
        seen: [n] whether an equation has told it; the others are 1.
        losses: [rounds] mean square residual, over its weight.
    """

    values: Float[np.ndarray, " n"]
    seen: Bool[np.ndarray, " n"]
    losses: Float[np.ndarray, " rounds"]


def weak_starts(problem: Problem) -> list[Regression]:
    """Starts of the coefficients of a problem, from its readings, and smoothed if these are noisy.

    Values are those of `problem.free`. None where a time is estimated from which on anything
    happens, or no reading tells one.
    """
    if any(p.kind == "start" for p in problem.parameters):
        return []
    size, rates = len(problem.at), [p for p in problem.parameters if p.kind == "rate"]
    at = np.where(problem.at > 0, problem.at, 1.0)
    relative = np.where(problem.at > 0, problem.k / at, 1.0)
    columns, given = np.zeros((size, len(problem.free))), problem.at.copy()
    for p in rates:
        of = np.array(p.of, dtype=int)
        given[of] = 0.0 if p.free else p.value * np.array(p.ratios)
        if p.free:
            columns[of, problem.free.index(p)] = p.ratios
    courses = [_course(problem, e, relative[e]) for e in range(len(relative))]
    found = [weak_form(problem.network, courses, columns, given)]
    if found[0].seen.any() and found[0].losses[-1] > _GOOD:
        series = np.cumsum([np.isfinite(course.ys).any(axis=0).sum() for course in courses])
        some = courses[: max(1, int(np.sum(series <= _SMOOTHED)))]
        found.append(weak_form(problem.network, some, columns, given, smooth=True))
    return [one for one in found if one.seen.any()]


def _course(problem: Problem, e: int, relative: Float[np.ndarray, " R"]) -> Course:
    """The readings of species in an experiment, replicates by their mean, and what is given."""
    data, network = problem.measured, problem.network
    species = {name: s for s, name in enumerate(network.species)}
    moved = {o for p in problem.parameters if p.kind in ("scale", "offset") for o in p.of}
    of = {
        o: species[tree.name]
        for o, tree in enumerate(problem.observed)
        if isinstance(tree, Name) and tree.name in species and o not in moved
    }
    ts = data.ts[e, : data.counts[e]]
    total, counts = np.zeros((2, len(ts), len(species)))
    for n in np.flatnonzero(data.experiment == e):
        o = int(data.observable[n])
        if o in of:
            total[data.time[n], of[o]] += data.value[n]
            counts[data.time[n], of[o]] += 1
    ys = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    sought = {p.of[0] for p in problem.free if p.kind == "initial" and e in p.experiments}
    first = problem.y0[e].copy()
    first[[*sought]] = np.nan
    if ts[0] > problem.t0:
        ts, ys = np.append(problem.t0, ts), np.concatenate([first[None], ys])
    else:
        ys[0] = np.where(np.isnan(ys[0]), first, ys[0])
    still = ~np.any(network.stoichiometry != 0, axis=1)  # no reaction changes them
    ys[:, still] = first[still]
    return Course(ts, ys, relative)


class _Equations(NamedTuple):
    """Changes of species between their readings, and what makes them.

    Attributes:
        course: [M] of each equation.
        species: [M] likewise.
        size: [M] the largest concentration of its species.
        change: [M] of its species.
        net: [M, R] stoichiometry.
        phi: [M, R] int prod y dt.
        doubt: [M, R] the error of that.
    """

    course: Int[np.ndarray, " M"]
    species: Int[np.ndarray, " M"]
    size: Float[np.ndarray, " M"]
    change: Float[np.ndarray, " M"]
    net: Float[np.ndarray, "M R"]
    phi: Float[np.ndarray, "M R"]
    doubt: Float[np.ndarray, "M R"]


def weak_form(
    network: Network,
    courses: Sequence[Course],
    columns: Float[np.ndarray, "R n"],
    given: Float[np.ndarray, " R"],
    *,
    rounds: int = 10,
    least_error: float = 1e-6,
    floor: float = 1e-6,
    smooth: bool = False,
) -> Regression:
    """Estimates coefficients from trajectories, with no start and no solver.

    Between two readings y_i changes by sum_j N_ij k_j int prod y dt, which is linear in k: the
    integrals are taken by four-point Gauss quadrature of cubic splines through the readings (in t,
    or in asinh t, which is ln t but near zero, where times are spaced so) and k >= 0 follows by
    iteratively reweighted non-negative least squares. Each equation is weighted by the error that
    interpolation leaves in its gross flux, which the difference between two kinds of spline tells:
    intervals that under-sample a transient count for little. This is the weak form of sparse
    identification (Messenger & Bortz 2021, Multiscale Model. Simul. 19, 1474) with a known
    structure. Equations that a reaction enters whose reactants were not read are left out.

    Args:
        network: the reactions.
        courses: the experiments.
        columns: coefficients of the reactions by the n unknowns.
        given: and what they are besides.
        rounds: of reweighting.
        least_error: smallest relative error that is granted to a quadrature or a reading.
        floor: what regression sets to zero becomes the smallest that would matter: this fraction
            of the largest flux of a species that its reactions change.
        smooth: take smoothing splines (by generalised cross-validation, of the logarithms of what
            is positive; Craven & Wahba 1978, Numer. Math. 31, 377) in place of the readings, whose
            scatter about them is then the least error.
    """
    count = columns.shape[1]
    found, least_error = _equations(network, courses, least_error, smooth)
    terms = found.net * found.phi
    if not count or not np.any(terms @ columns):
        return Regression(np.ones(count), np.zeros(count, bool), np.zeros(0))

    def solve(rows: Any, start: Any) -> tuple[np.ndarray, list[float]]:
        part = _Equations(*(column[rows] for column in found))
        return _iterate(part, columns, given, start, rounds, least_error)

    everything = slice(None)
    values, losses = solve(everything, None)
    if len(courses) > 1:  # reweighting may end elsewhere, and each course can tell the way
        some = np.unique(found.course[np.any(terms @ columns, axis=1)])[:_ALONE]
        alone = [solve(found.course == c, None) for c in some]
        start = min(alone, key=lambda one: one[1][-1])[0]
        again = solve(everything, start)
        values, losses = min((values, losses), again, key=lambda one: one[1][-1])
    seen = np.any(terms @ columns != 0, axis=0)
    lifted = _lift(values, given, columns, found, floor)
    return Regression(np.where(seen, lifted, 1.0), seen, np.asarray(losses))


def _equations(
    network: Network, courses: Sequence[Course], least_error: float, smooth: bool
) -> tuple[_Equations, float]:
    """The equations of all courses, and the least error of what they hold."""
    stoichiometry = network.stoichiometry
    fluxes = jax.jit(jax.vmap(lambda y, k: flux(network, k, y), (0, None)))
    size = np.max([np.max(np.nan_to_num(course.ys), axis=0) for course in courses], axis=0)
    found = []
    for c, course in enumerate(courses):
        if len(course.ts) < 2:
            continue
        ys, scatter = _smooth(course) if smooth else (course.ys, 0.0)
        least_error = max(least_error, scatter)
        phi, doubt, seen = _integrals(network, course._replace(ys=ys), fluxes)
        blind = np.flatnonzero(~seen)
        for s, net in enumerate(stoichiometry):
            at = np.flatnonzero(np.isfinite(ys[:, s]))
            if len(at) < 2 or np.any(net[blind]):
                continue
            sums = [np.add.reduceat(part[: at[-1]], at[:-1]) for part in (phi, doubt)]
            many = len(at) - 1
            fixed = (np.full(many, v) for v in (c, s, size[s]))
            found.append((*fixed, np.diff(ys[at, s]), np.tile(net, (many, 1)), *sums))
    if not found:
        empty = np.zeros((0, len(network.equations)))
        none = (np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0))
        return _Equations(*none, empty, empty, empty), least_error
    return _Equations(*map(np.concatenate, zip(*found, strict=True))), least_error


def _iterate(
    found: _Equations, columns: Any, given: Any, start: Any, rounds: int, least_error: float
) -> tuple[Float[np.ndarray, " n"], list[float]]:
    """Non-negative least squares, weighted anew in every round by what the last one has found."""
    count = columns.shape[1]
    terms = (found.net * found.phi) @ columns  # [M, n]
    target = found.change - (found.net * found.phi) @ given
    gross, trust = np.abs(found.net) * found.phi, np.abs(found.net) * found.doubt
    moved = np.abs(found.change)

    def weigh(values: np.ndarray) -> np.ndarray:
        k = given + columns @ values
        through = trust @ k + least_error * (gross @ k)
        return 1.0 / (through + least_error * moved + 1e-14 * found.size + _TINY)

    weight = 1.0 / (moved + 1e-6 * found.size + _TINY) if start is None else weigh(start)
    values, losses = np.zeros(count), []
    for _ in range(rounds):
        matrix, right = weight[:, None] * terms, weight * target
        used = np.any(matrix != 0, axis=1)
        if not used.any():
            break
        matrix, right = matrix[used], right[used]
        norms = np.linalg.norm(matrix, axis=0)
        norms[norms == 0] = 1.0
        q, r = np.linalg.qr(matrix / norms)
        solution, _ = scipy.optimize.nnls(r, q.T @ right, maxiter=100 * count)
        values = solution / norms
        losses.append(float(np.mean((matrix @ values - right) ** 2)))
        weight = weigh(values)
    return values, losses


def _smooth(course: Course) -> tuple[Float[np.ndarray, "T S"], float]:
    """The readings smoothed, and their relative scatter about that."""
    x, _ = _axis(course.ts)
    ys, off = course.ys.copy(), []
    for s, y in enumerate(course.ys.T):
        at = np.flatnonzero(np.isfinite(y))
        positive = at[y[at] > 0]
        if len(positive) < _FEWEST:
            continue
        spline = scipy.interpolate.make_smoothing_spline(x[positive], np.log(y[positive]))
        ys[positive, s] = np.exp(spline(x[positive]))
        off.append(np.log(y[positive]) - spline(x[positive]))
    return ys, float(np.sqrt(np.mean(np.concatenate(off) ** 2))) if off else 0.0


def _axis(ts: Float[np.ndarray, " T"]) -> tuple[Float[np.ndarray, " T"], Any]:
    """Times as they are best interpolated, and the time at each such place."""
    unit = ts[ts > 0][:1]
    after = ts[ts > 0] if ts[0] == 0 else ts  # of log spacing, but for a start at zero
    if ts[0] >= 0 and len(after) > 2 and _unevenness(np.log(after)) < _unevenness(after):
        return np.arcsinh(ts / unit), lambda x: unit * np.cosh(x)  # ln t but near zero
    return ts, np.ones_like


def _unevenness(x: np.ndarray) -> float:
    """How much intervals differ, whatever their unit."""
    return float(np.ptp(np.diff(x)) / np.mean(np.diff(x)))


def _integrals(
    network: Network, course: Course, fluxes: Any
) -> tuple[Float[np.ndarray, "M R"], Float[np.ndarray, "M R"], Bool[np.ndarray, " R"]]:
    """int prod y dt over each interval, its difference between two kinds of spline, and of which
    reactions it is known."""
    x, stretch = _axis(course.ts)
    half = 0.5 * np.diff(x)
    nodes = (x[:-1] + half)[:, None] + half[:, None] * _NODES
    kinds = (scipy.interpolate.CubicSpline, scipy.interpolate.Akima1DInterpolator)
    found = []
    for kind in kinds:
        at_nodes = np.full((nodes.size, course.ys.shape[1]), np.nan)
        for s, y in enumerate(course.ys.T):
            at = np.flatnonzero(np.isfinite(y))
            if len(at) > 1 and at[0] == 0 and at[-1] == len(y) - 1:
                at_nodes[:, s] = np.maximum(kind(x[at], y[at])(nodes.ravel()), 0.0)
        values = np.asarray(fluxes(jnp.asarray(at_nodes), course.relative))
        values = values.reshape(*nodes.shape, -1)
        found.append(np.einsum("mq,mq,mqr->mr", half[:, None] * _WEIGHTS, stretch(nodes), values))
    smooth, local = found
    seen = np.isfinite(smooth).all(axis=0) & np.isfinite(local).all(axis=0)
    smooth, local = (np.where(seen, part, 0.0) for part in (smooth, local))
    return smooth, np.abs(smooth - local), seen


def _lift(values: Any, given: Any, columns: Any, found: _Equations, floor: float) -> Any:
    """Gives values that regression found to be zero a small positive one."""
    values = values.copy()
    gross, of = np.abs(found.net) * found.phi, found.species  # [M, R] by unit coefficients
    k = given + columns @ values
    through = np.bincount(of, gross @ k)  # [S] total events
    for i in np.flatnonzero(values <= 0):
        total = np.bincount(of, gross @ columns[:, i])
        changed = np.flatnonzero(total)
        values[i] = 1.0
        if len(changed) and np.any(through[changed] > 0):
            top = changed[np.argmax(through[changed])]
            values[i] = floor * through[top] / total[top]
    return values
