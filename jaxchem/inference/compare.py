"""Comparison of mechanisms by what the same readings say of each."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy

from ..brief import text
from .fit import Fit
from .parameters import SEARCHED, Parameter

__all__ = ["Comparison", "Criteria", "Ratio", "compare", "criteria"]

_SAME = 0.1
"""Predictions that differ by less, over a deviation, are one: what two solves may differ by."""


class Criteria(NamedTuple):
    """How well a fit does, for what it costs.

    Attributes:
        parameters: that were estimated, deviations among them.
        negative_log_likelihood: at the best.
        aic: twice that and twice their number (Akaike 1974, IEEE Trans. Autom. Control 19, 716).
        aicc: the same for few readings (Hurvich & Tsai 1989, Biometrika 76, 297); infinite where
            there are hardly more readings than parameters.
        bic: with ln of the number of readings in place of two (Schwarz 1978, Ann. Stat. 6, 461).
    """

    parameters: int
    negative_log_likelihood: float
    aic: float
    aicc: float
    bic: float


class Ratio(NamedTuple):
    """The test of a mechanism against one that it is a special case of.

    Attributes:
        smaller: the special case.
        larger: the other.
        statistic: twice the difference of their ln L.
        degrees: how many parameters more the larger one has.
        p: probability of such a statistic by chance where the smaller one is right, by chi squared
            (Wilks 1938, Ann. Math. Stat. 9, 60). Where a coefficient is zero in the smaller one,
            which is at its bound, that is too large: by a factor of two for one (Self & Liang
            1987, J. Am. Stat. Assoc. 82, 605).
    """

    smaller: str
    larger: str
    statistic: float
    degrees: int
    p: float


class Comparison(NamedTuple):
    """Mechanisms beside each other.

    Attributes:
        names: of the mechanisms, as given.
        criteria: of each.
        weights: of each, by AICc (Burnham & Anderson 2002, Model Selection and Multimodel
            Inference, section 2.9): how likely it is the best of these; NaN where there are too
            few readings to say.
        ratios: of each pair of which one is a special case of the other.
        notes: whatever has to be said.
    """

    names: tuple[str, ...]
    criteria: tuple[Criteria, ...]
    weights: tuple[float, ...]
    ratios: tuple[Ratio, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row a mechanism, the best by AICc first."""
        least = min(c.aicc for c in self.criteria)
        found = zip(self.names, self.criteria, self.weights, strict=True)
        return [
            {
                "mechanism": name,
                **{n: _cell(v) for n, v in one._asdict().items()},
                "delta_aicc": _cell(one.aicc - least) if np.isfinite(least) else "",
                "weight": _cell(weight),
            }
            for name, one, weight in sorted(found, key=lambda row: (row[1].aicc, row[1].aic))
        ]

    def __repr__(self) -> str:
        lines = ["Comparison, the best first:"]
        for row in self.rows:
            shown = {n: row[n] for n in ("parameters", "aic", "aicc", "bic", "weight")}
            told = (f"{n} {v:.5g}" for n, v in shown.items() if not isinstance(v, str))
            lines.append(f"- {row['mechanism']}: {', '.join(told)}")
        return text([*lines, *self.sentences])

    @property
    def sentences(self) -> list[str]:
        """What the tests say, and the notes."""
        found = []
        for one in self.ratios:
            plural = "s" * (one.degrees > 1)
            found.append(
                f"{one.larger} rather than {one.smaller}: chi squared "
                f"{max(one.statistic, 0.0):.4g} with {one.degrees} degree{plural} of freedom, "
                f"p = {one.p:.2g}"
            )
        return [*found, *self.notes]


def criteria(fit: Fit) -> Criteria:
    """Of one fit."""
    noise, n = fit.objective.noise, len(fit.residual)
    deviations = np.where(noise.known, 0, 1 + np.isfinite(noise.split).all(axis=1))
    k = len(fit.posterior.x) + int(deviations.sum())
    twice = 2 * fit.negative_log_likelihood
    more = 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.inf
    aic = twice + 2 * k
    return Criteria(k, fit.negative_log_likelihood, aic, aic + more, float(twice + k * np.log(n)))


def compare(fits: Mapping[str, Fit]) -> Comparison:
    """Sets mechanisms beside each other by their fits to the same readings.

    A mechanism is a special case of another where that has all its reactions, more parameters, and,
    with the same values and nothing else going on, predicts the same.

    Args:
        fits: by the names that the mechanisms shall have.

    Raises:
        ValueError: fewer than two fits, or fits of other readings or of other noise.
    """
    if len(fits) < 2:
        raise ValueError("compare: give two fits or more, by name.")
    (first, one), *others = fits.items()
    for name, other in others:
        if difference := _difference(one, other):
            raise ValueError(
                f"{first!r} and {name!r} cannot be compared, as their likelihoods are of different "
                f"{difference}: fit both to one table with one noise."
            )
    each = {name: criteria(fit) for name, fit in fits.items()}
    aicc = np.array([c.aicc for c in each.values()])
    with np.errstate(invalid="ignore"):
        weights = np.exp(-0.5 * (aicc - aicc.min()))
    ratios = [
        _ratio(small, large, each)
        for small in fits
        for large in fits
        if each[small].parameters < each[large].parameters and _within(fits[small], fits[large])
    ]
    notes = [
        f"{name}: what was known before of {p.name} is no part of its likelihood"
        for name, fit in fits.items()
        for p in fit.posterior.parameters
        if np.isfinite(p.prior)
    ]
    notes += [
        f"{name}: {p.name} is not seen in these data, and counts all the same: leave it as given"
        for name, fit in fits.items()
        for p, seen in zip(fit.posterior.parameters, fit.posterior.seen, strict=True)
        if not seen
    ]
    notes += [
        f"{one.larger} fits worse than {one.smaller}, its special case: give it more starts"
        for one in ratios
        if one.statistic < -_SAME
    ]
    notes += [f"{name} is at no optimum yet" for name, fit in fits.items() if not fit.converged]
    return Comparison(
        tuple(fits),
        tuple(each.values()),
        tuple(float(w) for w in weights / weights.sum()),
        tuple(ratios),
        tuple(notes),
    )


def _cell(value: float) -> float | int | str:
    return value if np.isfinite(value) else ""


def _ratio(small: str, large: str, each: Mapping[str, Criteria]) -> Ratio:
    lower, upper = each[small], each[large]
    statistic = 2 * (lower.negative_log_likelihood - upper.negative_log_likelihood)
    degrees = upper.parameters - lower.parameters
    return Ratio(small, large, statistic, degrees, float(scipy.stats.chi2.sf(statistic, degrees)))


def _order(fit: Fit) -> tuple[list[tuple[Any, ...]], np.ndarray]:
    """What was read, in an order that no mechanism has a say in, and that order."""
    data = fit.problem.measured
    ts = data.ts[data.experiment, data.time]
    keys = [
        (data.experiments[e], float(t), data.observables[o], float(v), float(np.nan_to_num(d)))
        for e, t, o, v, d in zip(
            data.experiment, ts, data.observable, data.value, data.deviation, strict=True
        )
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [keys[n] for n in order], np.array(order)


def _difference(one: Fit, other: Fit) -> str:
    """In what two fits differ that their likelihoods are of, if in anything."""
    (keys, order), (keys_, order_) = _order(one), _order(other)
    if len(keys) != len(keys_):
        return f"readings ({len(keys)} and {len(keys_)})"
    for key, key_ in zip(keys, keys_, strict=True):
        if key != key_:
            told = (f"{o} in {e} at {t:g}: {v:g}" for e, t, o, v, _ in (key, key_))
            return f"readings ({', and '.join(told)})"
    noise, noise_ = one.objective.noise, other.objective.noise
    for name in ("kind", "tail", "names"):
        mine, its = getattr(noise, name), getattr(noise_, name)
        if mine != its:
            return f"noise ({name} {mine} and {its})"
    fixed = [noise.known[noise.group[order]], noise_.known[noise_.group[order_]]]
    stated = "parts" if noise.kind == "both" else "weight"
    for name in ("floor", stated):
        mine, its = (getattr(n, name)[o] for n, o in ((noise, order), (noise_, order_)))
        if name == "weight":
            mine, its = (np.where(f, part, 1.0) for f, part in zip(fixed, (mine, its), strict=True))
        if not np.allclose(mine, its, rtol=1e-9, atol=0.0, equal_nan=True):
            return f"noise ({'floor' if name == 'floor' else 'stated deviations'})"
    return ""


def _within(small: Fit, large: Fit) -> bool:
    """Whether the larger one can be the smaller one at its best."""
    own, others = (Counter(fit.problem.network.equations) for fit in (small, large))
    if own - others:
        return False
    asked, (_, order), (_, order_) = large.objective, _order(small), _order(large)
    x = [
        float(p.coordinate(np.clip(_value(p, small, large), _least(p), p.high)))
        for p in asked.problem.free
    ]
    with np.errstate(all="ignore"):
        residual = asked.noise.unbent(asked.evaluate(np.array([x]))[0][0]) / asked.noise.weight
    known = small.objective.noise.known[small.group]
    scale = small.objective.noise.weight / np.where(known, 1.0, small.deviation[small.group])
    off = (residual[order_] - small.residual[order]) * scale[order]
    return bool(np.all(np.abs(off) < _SAME))


def _least(p: Parameter) -> float:
    """The lowest value; nothing for a coefficient whose bound is only where the search ends."""
    return 0.0 if p.kind == "rate" and p.low <= p.value / SEARCHED * 1.001 else p.low


def _value(p: Parameter, small: Fit, large: Fit) -> float:
    """What a parameter of the larger one is in the smaller one."""
    mine, its = small.problem, large.problem
    if p.kind in ("rate", "barrier"):
        equations = its.network.equations
        equation, before = equations[p.of[0]], equations[: p.of[0]].count(equations[p.of[0]])
        places = [j for j, e in enumerate(mine.network.equations) if e == equation][before:]
        if p.kind == "rate":
            return float(small.k[places[0]]) / p.ratios[0] if places else 0.0
        own = [q.name for q in mine.parameters if q.kind == "barrier" and {*places[:1]} & {*q.of}]
        return _values(small)[own[0]] if own else p.ratios[0]
    if p.kind == "initial" and p.name not in _values(small):
        species = mine.network.index(its.network.species[p.of[0]])
        return float(mine.y0[p.experiments[0], species])
    return _values(small).get(p.name, {"scale": 1.0, "offset": 0.0}.get(p.kind, p.value))


def _values(fit: Fit) -> dict[str, float]:
    """Of all parameters, by name."""
    best = zip(fit.posterior.names, fit.posterior.values.tolist(), strict=True)
    return {p.name: p.value for p in fit.problem.parameters} | dict(best)
