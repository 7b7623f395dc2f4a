"""What a fit has found, as tables and in words."""

from typing import Any

import numpy as np
import scipy

from .compare import Comparison, criteria
from .fit import Fit
from .problem import rate_unit
from .sampler import Samples, unlike_normal

__all__ = ["beside", "findings", "parameter_rows", "rate_rows", "report", "sample_rows"]

_IN_WORDS = {
    "at least": "only a lower limit",
    "at most": "only an upper limit",
    "open": "not determined",
    "not seen": "not seen in these data",
    "as before": "not seen; as known before",
}


def rate_rows(found: Fit) -> list[dict[str, Any]]:
    """One row a reaction, in the network's order and units: name, value, interval and verdict."""
    problem, best = found.problem, found.posterior
    place = {name: i for i, name in enumerate(best.names)}
    rates = {
        j: (p, ratio)
        for p in problem.parameters
        if p.kind == "rate"
        for j, ratio in zip(p.of, p.ratios, strict=True)
    }
    rows = []
    for j, equation in enumerate(problem.network.equations):
        p, ratio = rates.get(j, (None, 1.0))
        row = {"name": f"k{j + 1}" if p is None else p.name, "equation": equation}
        row |= {"unit": rate_unit(problem.network, j), "value": float(found.k[j])}
        if p is None or not p.free:
            rows.append({**row, "low": "", "high": "", "verdict": "given"})
            continue
        i = place[p.name]
        ends = {"low": _cell(best.low[i] * ratio), "high": _cell(best.high[i] * ratio)}
        rows.append({**row, **ends, "verdict": best.verdict[i]})
    return rows


def parameter_rows(found: Fit, samples: Samples | None = None) -> list[dict[str, Any]]:
    """One row a parameter that was estimated, with what its draws say if there are any."""
    best = found.posterior
    drawn = [{}] * len(best.x) if samples is None else _drawn(samples)
    return [
        {
            "name": p.name,
            "kind": p.kind,
            "unit": p.unit,
            "value": float(best.values[i]),
            "low": _cell(best.low[i]),
            "high": _cell(best.high[i]),
            "deviation": float(best.deviation[i]),
            "of": "ln" if p.log else "value",
            "interval": "profile" if best.profiled[i] else "curvature",
            "verdict": best.verdict[i],
            **drawn[i],
        }
        for i, p in enumerate(best.parameters)
    ]


def _drawn(samples: Samples) -> list[dict[str, Any]]:
    columns = {"sampled_low": samples.low, "sampled_high": samples.high}
    columns |= {"effective": samples.effective, "r_hat": samples.r_hat}
    return [
        {name: _cell(column[i]) for name, column in columns.items()}
        for i in range(len(samples.names))
    ]


def sample_rows(samples: Samples) -> list[dict[str, Any]]:
    """One row a draw: its chain and number, from 1, and every parameter's value."""
    return [
        {"chain": c + 1, "draw": d + 1, **dict(zip(samples.names, row, strict=True))}
        for c, chain in enumerate(samples.values.tolist())
        for d, row in enumerate(chain)
    ]


def _cell(value: float) -> float | str:
    return float(value) if np.isfinite(value) else ""


def report(found: Fit, samples: Samples | None = None) -> str:
    """The fit in Markdown: what was read, what was assumed, estimates, and whether they fit."""
    lines = [f"# Rate coefficients of {found.problem.network.name}", "", "## What was read", ""]
    return "\n".join(
        [*lines, "```", str(found.problem.measured), "```", "", findings(found, samples)]
    )


def findings(found: Fit, samples: Samples | None = None) -> str:
    """What `report` says below what was read."""
    problem, best = found.problem, found.posterior
    lines = ["## What was found", ""]
    for note in (*problem.notes, *found.notes):
        lines.append(f"- {note}")
    n, k, told = len(found.residual), len(best.x), criteria(found)
    lines += [
        f"- {n} readings, {k} parameters; {found.met} of {len(found.misfits)} starts met the best",
        f"- -ln L {found.negative_log_likelihood:.6g}, sum of squares {found.sum_of_squares:.6g}; "
        f"AIC {told.aic:.6g}, BIC {told.bic:.6g}",
    ]
    if problem.reference:
        at = ", ".join(f"{name} {value:g}" for name, value in problem.reference.items())
        lines.append(f"- coefficients are those at {at}")
    lines += ["", *_estimates(found), ""]
    verdicts = dict(zip(best.names, best.verdict, strict=True))
    loose = [d for d in found.open if any(verdicts[n] != "determined" for n, _ in d[1])]
    for deviation, members in loose[:5]:
        combination = " ".join(f"{part:+.2f} ln {name}" for name, part in members[:6])
        lines.append(f"- not told by the data (deviation {deviation:.2g}): {combination}")
    if samples is not None:
        lines += [
            "",
            *(f"- {line}" for line in (_sampled(samples), *unlike_normal(found, samples))),
        ]
    lines += ["", "## Whether it fits", "", *_residuals(found), ""]
    return "\n".join(lines)


def beside(found: Comparison) -> str:
    """Mechanisms beside each other, in Markdown."""
    head = ("mechanism", "parameters", "-ln L", "AIC", "AICc", "BIC", "above the best", "weight")
    rows: list[tuple[str, ...]] = [head]
    for row in found.rows:
        cells = (f"{v:.6g}" if isinstance(v, int | float) else v for v in [*row.values()][1:])
        rows.append((row["mechanism"], *cells))
    told = [f"- {sentence}" for sentence in found.sentences]
    lines = ["## Beside other mechanisms", "", *_markdown(rows), ""]
    lines += ["above the best: by AICc, as are weights, which say how likely each is the best.", ""]
    return "\n".join([*lines, *told, ""])


def _estimates(found: Fit) -> list[str]:
    best = found.posterior
    equations = {
        p.name: "; ".join(found.problem.network.equations[j] for j in p.of)
        for p in best.parameters
        if p.kind == "rate"
    }
    rows = [("name", "reaction", "unit", "value", "95 % interval", "began at", "verdict")]
    for i, p in enumerate(best.parameters):
        low, high = (
            f"{end:.4g}" if np.isfinite(end) else "" for end in (best.low[i], best.high[i])
        )
        interval = (
            f"{low} to {high}" if low and high else f"above {low}" if low else f"below {high}"
        )
        interval = f"{interval}{' *' * best.profiled[i]}" if low or high else ""
        verdict = _IN_WORDS.get(best.verdict[i], best.verdict[i])
        cells = (f"{best.values[i]:.5g}", interval, f"{p.value:.3g}", verdict)
        rows.append((p.name, equations.get(p.name, ""), p.unit, *cells))
    ends = ["", "\\* of the profile of the likelihood; the others by its curvature at the best."]
    return [*_markdown(rows), *ends * any(best.profiled)]


def _sampled(samples: Samples) -> str:
    chains, draws, _ = samples.x.shape
    return (
        f"{chains} chains of {draws} draws from the posterior, worth "
        f"{np.nanmin(samples.effective):.0f} independent ones or more; R-hat at most "
        f"{np.nanmax(samples.r_hat):.4g}"
    )


def _residuals(found: Fit) -> list[str]:
    """Deviations of the observables, and whether residuals are like independent normal ones."""
    data = found.problem.measured
    head = ("observable", "readings", "root mean square", "largest", "runs", "normal")
    rows: list[tuple[str, ...]] = [head]
    n = len(found.residual)
    fair = np.sqrt(n / max(n - len(found.posterior.x), 1))
    order = np.lexsort((data.time, data.experiment))
    told = []
    for o, name in enumerate(data.observables):
        of = order[data.observable[order] == o]
        r = found.residual[of]
        if not len(r):
            continue
        p_runs, p_normal = _runs(r), _normal(found.scaled[of])
        for p, what in ((p_runs, "residuals in a row have one sign"), (p_normal, "not normal")):
            if p < 0.01:
                told.append(f"- {name}: {what} (p = {p:.1g}): look whether the model is at fault")
        cells = (f"{p:.2g}" if np.isfinite(p) else "" for p in (p_runs, p_normal))
        size = (str(len(r)), f"{np.sqrt(np.mean(r**2)):.4g}", f"{r[np.argmax(np.abs(r))]:.4g}")
        rows.append((name, *size, *cells))
    names = []
    split = found.objective.noise.split
    for group, value, parts in zip(found.groups, found.deviation, split, strict=True):
        if np.isfinite(parts).all():
            a, b = parts * value * fair
            names.append(f"- deviation of {group}: {a:.4g} and {b:.4g} of the value, estimated")
        elif np.isfinite(value):
            likely = f"{value:.4g} is the most likely"
            names.append(f"- deviation of {group}: {value * fair:.4g}, estimated ({likely})")
    ends = ["", "runs, normal: probabilities of such residuals by chance (Wald and Wolfowitz 1940,"]
    ends += ["Ann. Math. Stat. 11, 147; D'Agostino and Pearson 1973, Biometrika 60, 613).", ""]
    return [*_markdown(rows), *ends, *names, *told]


def _runs(residual: np.ndarray) -> float:
    """Probability of as few runs of one sign, or fewer; NaN for fewer than 8 residuals."""
    signs = residual[residual != 0] > 0
    up = float(signs.sum())
    down = len(signs) - up
    if len(signs) < 8 or not up or not down:
        return np.nan
    runs = 1 + np.sum(signs[1:] != signs[:-1])
    mean = 1 + 2 * up * down / (up + down)
    variance = (mean - 1) * (mean - 2) / (up + down - 1)
    return float(scipy.stats.norm.cdf((runs - mean) / np.sqrt(variance)))


def _normal(residual: np.ndarray) -> float:
    if len(residual) < 20 or np.ptp(residual) == 0:
        return np.nan
    return float(scipy.stats.normaltest(residual).pvalue)


def _markdown(rows: list[tuple[str, ...]]) -> list[str]:
    """A table whose columns are aligned, so that it reads on a screen too."""
    width = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, width, strict=True)) + " |"
        for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in width) + "|", *lines[1:]]
