"""From a table and a network to a report: what the command line does with measurements."""

import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .. import plot
from ..dataset import label_readings
from ..network import Network
from ..simulate import Part, Simulation
from ..solvers import Integrator
from ..suggest import closest
from ..train import Job
from .bands import Bands, bands
from .fit import Fit, infer_rates
from .measurements import read_measurements
from .problem import problem as problem_of
from .report import findings, parameter_rows, rate_rows, report, sample_rows
from .sampler import library
from .sampler import sample as sample_of

__all__ = ["estimate", "settings"]

log = logging.getLogger("jaxchem")

_OF_TABLE = ("columns", "since", "until")
_OF_BOTH = ("observables", "conditions")
_OF_PROBLEM = ("rates", "barriers", "constants", "initial", "scales", "offsets", "start")
_OF_PROBLEM += ("reference",)
_KNOWN = (*_OF_TABLE, *_OF_BOTH, *_OF_PROBLEM, "noise")
_OF_SAMPLE = ("draws", "warmup", "chains")


def settings(given: str | Path | Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
    """The settings of a problem, from a YAML file of them, and what errors call them.

    Raises:
        ValueError: no such file, or a setting that there is not.
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
    return dict(found), where


def estimate(
    network: Network,
    integrator: Integrator,
    *,
    path: str | Path,
    problem: str | Path | Mapping[str, Any] | None = None,
    conditions: Mapping[str, Any] | None = None,
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
        starts: of `infer_rates`.
        seed: likewise.
        profiles: likewise.
        iterations: likewise.
        sample: whether to draw from the posterior, or `draws`, `warmup` and `chains` of `sample`.
        job: label and bar.

    Returns:
        Readings with what was predicted of them, the report, figures, metrics, and the tables
        rates.csv and parameters.csv; with draws, samples.csv and bands of the readings.

    Raises:
        ValueError: as these functions do.
        ImportError: `sample` without the extra that it wants.
    """
    given, where = settings(problem)
    drawn = _sampling(sample)
    if drawn is not None:
        library()  # before the fit, which may be long
    given["conditions"] = {**(conditions or {}), **(given.get("conditions") or {})}
    measured = read_measurements(
        path, network, **{n: given[n] for n in (*_OF_TABLE, *_OF_BOTH) if n in given}
    )
    log.info("%s", measured)
    asked = problem_of(
        network,
        measured,
        integrator=integrator,
        where=where,
        **{n: given[n] for n in (*_OF_PROBLEM, *_OF_BOTH) if n in given},
    )
    how = {"starts": starts, "seed": seed, "profiles": profiles, "iterations": iterations}
    found = infer_rates(asked, noise=given.get("noise"), **how, job=job)
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
    files = {f"{name}.csv": _table(rows) for name, rows in tables.items()}
    return Simulation(readings, parts, _metrics(found), report(found, samples), files=files)


def _sampling(given: bool | Mapping[str, Any]) -> dict[str, int] | None:
    """What is asked of `sample`, or nothing."""
    if isinstance(given, bool):
        return {} if given else None
    if not isinstance(given, Mapping):
        raise ValueError(f"sample is {given!r}; write true, false, or settings as draws: 2000.")
    for name, value in given.items():
        if name not in _OF_SAMPLE:
            raise ValueError(
                f"sample has no setting {name!r}{closest(str(name), _OF_SAMPLE)} Known: "
                f"{', '.join(_OF_SAMPLE)}."
            )
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"sample: {name} is {value!r}; give a whole number.")
    return dict(given)


def _labels(found: Fit, within: Bands | None) -> dict[str, Any]:
    data, best = found.problem.measured, found.posterior
    known = {} if within is None else within._asdict()
    known.pop("lost", None)
    of_bands = {f"band_{name}": column for name, column in known.items()}
    return {
        "time": data.ts[data.experiment, data.time],
        "time_unit": found.problem.network.units.time,
        "experiment": np.array(data.experiments, dtype=object)[data.experiment],
        "observable": np.array(data.observables, dtype=object)[data.observable],
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


def _table(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
