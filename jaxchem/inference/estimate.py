"""From a table and a network to a report: what the command line does with measurements."""

import csv
import io
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .. import plot
from ..dataset import label_readings
from ..network import Network
from ..parse import load
from ..simulate import Part, Simulation
from ..solvers import Integrator
from ..suggest import closest
from ..train import Job
from .bands import Bands, bands
from .compare import compare
from .fit import Fit, infer_rates
from .measurements import read_measurements
from .parameters import NAMED, named, whole
from .problem import Problem
from .problem import problem as problem_of
from .report import beside, findings, parameter_rows, rate_rows, report, sample_rows
from .sampler import LEAST, library
from .sampler import sample as sample_of

__all__ = ["OF_PROBLEM", "OF_TABLE", "estimate", "settings", "table"]

log = logging.getLogger("jaxchem")

OF_TABLE = ("columns", "since", "until")
_OF_BOTH = ("observables", "conditions")
OF_PROBLEM = ("rates", "barriers", "constants", "initial", "scales", "offsets", "start")
OF_PROBLEM += ("reference",)
_KNOWN = (*OF_TABLE, *_OF_BOTH, *OF_PROBLEM, "noise")


def settings(given: str | Path | Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
    """The settings of a problem, from a YAML file of them, and what errors call them.

    Raises:
        ValueError: no such file, a setting that there is not, or one that is no names with values.
    """
    if given is None:
        return {}, "the problem"
    where, found = "the problem", given
    if isinstance(given, str | Path):
        where = str(given)
        try:
            found = yaml.safe_load(Path(given).read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"{where}: cannot be read ({error.strerror}).") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{where}: is no YAML ({error}).") from None
    if not isinstance(found, Mapping):
        raise ValueError(f"{where}: settings by name belong there, as rates: {{k: R1}}.")
    for name in found:
        if name not in _KNOWN:
            raise ValueError(
                f"{where}: there is no setting {name!r}{closest(str(name), _KNOWN)} Known: "
                f"{', '.join(_KNOWN)}."
            )
    for name in NAMED:
        if not (name == "initial" and isinstance(found.get(name), str)):  # `problem` knows "first"
            named(found.get(name), name, where)
    return dict(found), where


def estimate(
    network: Network,
    integrator: Integrator,
    *,
    path: str | Path,
    problem: str | Path | Mapping[str, Any] | None = None,
    conditions: Mapping[str, Any] | None = None,
    against: Sequence[str] | Mapping[str, Any] | None = None,
    starts: int = 20,
    seed: int = 0,
    profiles: str = "doubtful",
    iterations: int = 100,
    sample: bool | Mapping[str, Any] = False,
    job: Job = Job("infer_rates"),
) -> Simulation:
    """Estimates rate coefficients from a table of measurements and reports on them.

    Args:
        network: the reactions; their coefficients are where the search begins.
        integrator: of every solve.
        path: of `read_measurements`.
        problem: settings of `read_measurements`, of `problem`, and `noise` of `infer_rates`: a
            mapping, or a YAML file.
        conditions: of all experiments, where the settings do not say otherwise.
        against: other mechanisms to set beside this one: paths of them; or by path a problem of
            its own, as `problem`, where it wants other settings.
        starts: of `infer_rates`.
        seed: likewise.
        profiles: likewise.
        iterations: likewise.
        sample: whether to draw from the posterior, or `draws`, `warmup` and `chains` of `sample`.
        job: label, bar and checkpoints, which go once all is found.

    Returns:
        Readings with what was predicted of them, the report, figures, metrics, and the tables
        rates.csv and parameters.csv; with draws, samples.csv and bands of the readings; with other
        mechanisms, comparison.csv.

    Raises:
        ValueError: as these functions do.
        ImportError: `sample` without the extra that it wants.
    """
    how: dict[str, Any] = {"starts": whole(starts, "starts", job.label), "profiles": profiles}
    how |= {n: whole(v, n, job.label, 0) for n, v in (("seed", seed), ("iterations", iterations))}
    named(conditions, "conditions", job.label)

    def fitted(network: Network, problem: Any, job: Job) -> Fit:
        asked, noise = _asked(network, integrator, path, problem, conditions)
        return infer_rates(asked, noise=noise, **how, job=job)

    drawn = _sampling(sample)
    if drawn is not None:
        library()  # before the fit, which may be long
    others = _others(network, against or [], problem)
    found = fitted(network, problem, job)
    samples = within = None
    if drawn is not None:
        samples = sample_of(found, **drawn, seed=seed, job=job._replace(label="sample"))
        within = bands(found, samples, seed=seed)
    log.info("%s", findings(found, samples))
    readings = label_readings(**_labels(found, within))
    parts = {
        "readings": Part(readings, plot.readings, kept=False),
        "residuals": Part(readings, plot.residuals, kept=False),
        "estimates": Part(readings, plot.estimates, kept=False),
    }
    tables = {"rates": rate_rows(found), "parameters": parameter_rows(found, samples)}
    if samples is not None:
        tables["samples"] = sample_rows(samples)
    text, metrics = report(found, samples), _metrics(found)
    if others:
        jobs = (job.part(n) for n in range(len(others)))
        fits = {n: fitted(*of, own) for (n, of), own in zip(others.items(), jobs, strict=True)}
        told = compare({network.name: found, **fits})
        log.info("%s", told)
        tables["comparison"] = told.rows
        text, metrics["weight"] = f"{text}\n{beside(told)}", told.weights[0]
    files = {f"{name}.csv": table(rows) for name, rows in tables.items()}
    for kept in job.kept:
        kept.unlink()
    return Simulation(readings, parts, metrics, text, files=files)


def _others(
    network: Network, against: Sequence[str] | Mapping[str, Any], problem: Any
) -> dict[str, tuple[Network, Any]]:
    """Other mechanisms and their problems, by what they are called."""
    if isinstance(against, str):
        against = [against]
    if not isinstance(against, Mapping | list | tuple):
        raise ValueError(
            f"against={against!r}: give a list of mechanisms, or their problems by them."
        )
    for path in against:
        if not isinstance(path, str | Path):
            raise ValueError(f"against has {path!r}; write the path of a mechanism as text.")
    own = against if isinstance(against, Mapping) else dict.fromkeys(against)
    found: dict[str, tuple[Network, Any]] = {}
    for path, its in own.items():
        if its is None and (numbers := _numbered(problem)):
            raise ValueError(
                f"against {path}: {numbers[0]} of the problem may be another reaction there; "
                f"write its equation, or a problem of its own: {{{path}: FILE.yaml}}."
            )
        other = load(path)
        name = other.name
        if name in {network.name, *found}:
            name += f" ({path})"
        found[name] = (other, problem if its is None else its)
    return found


def _numbered(problem: Any) -> list[str]:
    """The reactions that a problem means by their number."""
    rates = settings(problem)[0].get("rates")
    found = []
    for setting in rates.values() if isinstance(rates, Mapping) else ():
        of = setting.get("of") if isinstance(setting, Mapping) else setting
        found += [str(one) for one in (of if isinstance(of, list | tuple) else [of])]
    return [one for one in found if re.fullmatch(r"[Rk]\d+", one.strip())]


def _asked(
    network: Network, integrator: Integrator, path: Any, problem: Any, conditions: Any
) -> tuple[Problem, Any]:
    """The problem of a table and of settings, and its noise."""
    given, where = settings(problem)
    given["conditions"] = {**(conditions or {}), **(given.get("conditions") or {})}
    measured = read_measurements(
        path, network, **{n: given[n] for n in (*OF_TABLE, *_OF_BOTH) if n in given}
    )
    log.info("%s", measured)
    asked = problem_of(
        network,
        measured,
        integrator=integrator,
        where=where,
        **{n: given[n] for n in (*OF_PROBLEM, *_OF_BOTH) if n in given},
    )
    return asked, given.get("noise")


def _sampling(given: bool | Mapping[str, Any]) -> dict[str, int] | None:
    """What is asked of `sample`, or nothing."""
    if isinstance(given, bool):
        return {} if given else None
    if not isinstance(given, Mapping):
        raise ValueError(f"sample is {given!r}; write true, false, or settings as draws: 2000.")
    for name, value in given.items():
        if name not in LEAST:
            raise ValueError(
                f"sample has no setting {name!r}{closest(str(name), LEAST)} Known: "
                f"{', '.join(LEAST)}."
            )
        whole(value, name, "sample", LEAST[name])
    return dict(given)


def _labels(found: Fit, within: Bands | None) -> dict[str, Any]:
    data, best = found.problem.measured, found.posterior
    known = {} if within is None else within._asdict()
    known.pop("lost", None)
    of_bands = {f"band_{name}": column for name, column in known.items()}
    return {
        **data.labels,
        "reading": data.value,
        "predicted": found.predicted,
        "scaled": found.scaled,
        "parameter": best.names,
        "estimate": best.values,
        "low": best.low,
        "high": best.high,
        "begin": np.array([p.value for p in best.parameters]),
        **of_bands,
    }


def _metrics(found: Fit) -> dict[str, float]:
    one = len(found.groups) == 1 and np.isfinite(found.deviation).all()
    one &= found.objective.noise.kind != "both"  # whose parts are of the residuals' own making
    verdicts = found.posterior.verdict
    return {
        "objective": found.sum_of_squares if one else found.negative_log_likelihood,
        "sum_of_squares": found.sum_of_squares,
        "negative_log_likelihood": found.negative_log_likelihood,
        "converged": float(found.converged),
        "parameters": float(len(verdicts)),
        "determined": float(sum(v == "determined" for v in verdicts)),
        "starts": float(len(found.misfits)),
        "starts_at_best": float(found.met),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
