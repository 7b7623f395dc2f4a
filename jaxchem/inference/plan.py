"""From a network to the readings that are worth taking: what the command line does for a design."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import plot
from ..dataset import label_readings
from ..dataset.generation import times as spaced
from ..network import Network
from ..simulate import Part, Simulation
from ..solvers import Integrator
from ..train import Job
from .design import Design, candidates, design
from .estimate import OF_PROBLEM, OF_TABLE, settings, table
from .parameters import named
from .problem import problem as problem_of

__all__ = ["plan"]

log = logging.getLogger("jaxchem")


def plan(
    network: Network,
    integrator: Integrator,
    *,
    times: Sequence[float] | Mapping[str, Any],
    readings: int,
    observables: Sequence[str] | None = None,
    experiments: Sequence[Mapping[str, float]] | None = None,
    sd: Any = None,
    factor: float | None = None,
    together: bool = False,
    repeats: bool = True,
    draws: int = 16,
    problem: str | Path | Mapping[str, Any] | None = None,
    conditions: Mapping[str, Any] | None = None,
    job: Job = Job("design_rates"),
) -> Simulation:
    """Chooses the readings that will say most of the rate coefficients, and reports on them.

    Args:
        network: the reactions; their coefficients are what is thought of them now.
        integrator: of every solve.
        times: of `candidates`, or what `jaxchem.dataset.generation.times` makes them of.
        readings: of `design`.
        observables: of `candidates`; `None` takes all species and the problem's expressions.
        experiments: of `candidates`; `None` is one, the network's own start.
        sd: standard deviation of readings: a number, or one for each observable; beside `noise` of
            the problem.
        factor: of `design`.
        together: likewise.
        repeats: likewise.
        draws: likewise.
        problem: settings as of `estimate`, whose tables play no part here.
        conditions: of all experiments, where the settings do not say otherwise.
        job: label.

    Returns:
        Candidates with their gains, the report, a figure, metrics, and the table design.csv.

    Raises:
        ValueError: as these functions do.
    """
    given, where = settings(problem)
    named(conditions, "conditions", job.label)
    given["conditions"] = {**(conditions or {}), **(given.get("conditions") or {})}
    defined = given.get("observables") or {}
    names = [*network.species, *defined] if observables is None else observables
    data = candidates(
        network,
        times=_times(times),
        observables=names,
        experiments=experiments or ({},),
    )
    given["observables"] = {n: e for n, e in defined.items() if n in names}
    asked = problem_of(
        network,
        data,
        integrator=integrator,
        where=where,
        **{n: given[n] for n in (*OF_PROBLEM, "observables", "conditions") if n in given},
    )
    if unused := [n for n in OF_TABLE if n in given]:
        asked = asked._replace(notes=(*asked.notes, f"of tables, so not used: {', '.join(unused)}"))
    noise = {**(given.get("noise") or {}), **({} if sd is None else {"sd": sd})}
    how = {"factor": factor, "together": together, "repeats": repeats, "draws": draws}
    found = design(asked, readings, noise=noise, **how)
    log.info("%s", found)
    labelled = label_readings(**_labels(found))
    size = (8.0, 2.0 + 0.25 * min(len(names) * len(data.experiments), 30))
    parts = {"gains": Part(labelled, plot.gains, size, kept=False)}
    metrics = {
        "gain": found.gain,
        "readings": float(found.chosen.sum()),
        "candidates": float(len(found.chosen)),
        "parameters": float(len(found.after)),
        "largest_deviation": float(found.after.max()),
    }
    files = {"design.csv": table(found.rows)}
    return Simulation(labelled, parts, metrics, _report(found), files=files)


def _times(given: Sequence[float] | Mapping[str, Any]) -> Any:
    if not isinstance(given, Mapping):
        return given
    try:
        return spaced(**given)
    except TypeError as error:
        raise ValueError(
            f"times: a list, or start, stop, points, spacing, zero ({error})."
        ) from None


def _labels(found: Design) -> dict[str, Any]:
    data = found.problem.measured
    return {
        **data.labels,
        "predicted": data.value,
        "chosen": found.chosen,
        "gain": found.alone,
        "further": found.further,
        "parameter": [p.name for p in found.problem.free],
        "before": found.before,
        "after": found.after,
    }


def _report(found: Design) -> str:
    """The design in Markdown."""
    lines = [f"# Readings of {found.problem.network.name} that are worth taking", ""]
    return "\n".join([*lines, "```", str(found), "```", ""])
