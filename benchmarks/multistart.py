"""The search of `infer_rates` beside pyPESTO's multi-start with fides, of one and the same misfit.

    pip install pypesto fides
    python benchmarks/multistart.py
    python benchmarks/multistart.py --sets FOLDER   # folders of network.txt and data.csv too

All begin from the same points, those of `infer_rates`, within the same bounds of the same
coordinates, and minimise the same -2 ln L. fides is given value, gradient and Gauss and Newton's
Hessian by one evaluation, as ours is given residuals and slopes. Ours stops where a step promises
less than 1e-8, or less than 1e-3 and does not keep it, where the last 20 have brought less than
1e-3, and after 100; fides where an accepted step has brought less than 1e-8 (frtol = 0), where the
gradient's norm is below 1e-6 (its default), and after 1000 (its default) or 100. Its curvature is
that of its default, which blends the Hessian given with BFGS, or the Hessian given alone. Each runs
once before it is timed, all in turns, on one core: CPU seconds without what is compiled, of the
searches alone. The problem file of a set is that of its name in experiments/inference.
"""

import argparse
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import pypesto  # noqa: E402
import pypesto.optimize  # noqa: E402
from inference import NEARLY, QUIET, of_pollu, of_robertson  # noqa: E402
from readme import published  # noqa: E402
from sampler import of_second_order  # noqa: E402

import jaxchem  # noqa: E402
from jaxchem.inference.estimate import _asked  # noqa: E402
from jaxchem.inference.fit import _SAME, _begin, _searched  # noqa: E402
from jaxchem.inference.objective import Objective, objective  # noqa: E402

STARTS = 20
LONG = 20.0
"""Seconds: what takes all searches longer is timed once, and else three times."""

FIDES = {
    "fides": {},
    "fides, 100 steps": {"maxiter": 100},
    "fides, Hessian given": {"hessian_update": None},
}
"""Options that differ from its own, beside its tolerances."""

SETTINGS = Path(__file__).parents[1] / "experiments" / "inference"


class Ends(NamedTuple):
    """Where the searches from all starts have come to.

    Attributes:
        value: [B] -2 ln L.
        evaluations: sets of parameters whose residuals and slopes were asked for, of all starts.
    """

    value: np.ndarray
    evaluations: int


class Counted:
    """Evaluates and counts; keeps the last, as value, gradient and Hessian are asked for apart."""

    def __init__(self, evaluate: Callable[[np.ndarray], Any]):
        self.count = 0
        self._evaluate, self._at, self._last = evaluate, None, None

    def __call__(self, x: np.ndarray) -> Any:
        at = x.tobytes()
        if at != self._at:
            self._at, self._last = at, self._evaluate(x)
            self.count += len(x)
        return self._last


def ours(asked: Objective, begin: np.ndarray) -> Ends:
    """The search of `infer_rates`."""
    counted = Counted(asked.evaluate)
    _, found = _searched(asked._replace(evaluate=counted), begin, 100, None, QUIET)
    return Ends(found.value, counted.count)


def fides(asked: Objective, begin: np.ndarray, maxiter: int = 1000, **how: Any) -> Ends:
    """pyPESTO's, with fides."""
    counted = Counted(asked.evaluate)
    of = asked._replace(evaluate=counted)
    problem = pypesto.Problem(
        pypesto.Objective(fun=of, grad=of.gradient, hess=of.hessian),
        *(of.low, of.high),
        x_guesses=begin,
        copy_objective=False,
    )
    options = {"fatol": 1e-8, "frtol": 0.0, "maxiter": maxiter}
    optimizer = pypesto.optimize.FidesOptimizer(options=options, verbose=logging.ERROR, **how)
    found = pypesto.optimize.minimize(problem, optimizer, len(begin), progress_bar=False)
    value = np.array(found.optimize_result.fval, dtype=float)
    return Ends(np.where(np.isfinite(value), value, np.inf), counted.count)


def table(name: str, asked: Objective) -> None:
    """A row of each search."""
    begin, _ = _begin(asked, STARTS, 0)
    searches: dict[str, Callable[[], Ends]] = {"jaxchem": lambda: ours(asked, begin)}
    for search, how in FIDES.items():
        searches[search] = lambda how=how: fides(asked, begin, **how)
    ends = {search: run() for search, run in searches.items()}
    times: dict[str, list[float]] = {search: [] for search in searches}
    while len(times["jaxchem"]) < (3 if sum(map(sum, times.values())) < LONG else 1):
        for search, run in searches.items():
            start = time.process_time()
            run()
            times[search].append(time.process_time() - start)
    took = {search: statistics.median(values) for search, values in times.items()}
    least = min(float(np.min(found.value)) for found in ends.values())
    for search, found in ends.items():
        best, met = float(np.min(found.value)), int(np.sum(found.value < least + _SAME))
        where = f"{name} | {asked.centre.size} | {search} | {best:.4f} | {met} of {STARTS}"
        cost = f"{took[search]:.3g} | {took[search] / took['jaxchem']:.3g} | {found.evaluations}"
        print(f"| {where} | {cost} |", flush=True)


def problems(folder: Path | None) -> Iterator[tuple[str, Objective]]:
    """Those of simulated readings, and the sets of a folder."""
    yield "POLLU, 41 points, a prior of a decade", objective(of_pollu()[0], NEARLY)
    yield "Robertson, 50 points, nothing known", objective(of_robertson()[0], {"kind": "log"})
    yield "first and second order, with noise", objective(of_second_order())
    how = jaxchem.Integrator(method="rodas5p", rtol=1e-6)
    for path in sorted(folder.glob("*/data.csv")) if folder else ():
        settings = SETTINGS / f"{path.parent.name}.yaml"
        network = jaxchem.load(path.parent / "network.txt")
        given = settings if settings.is_file() else None
        yield path.parent.name, objective(*_asked(network, how, path, given, None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=Path, help="a folder of folders of published readings")
    parser.add_argument("--out", type=Path, help="a folder whose README.md gets the table")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # XLA makes its threads after this
    with published("multistart", options.out):
        heads = ("problem", "parameters", "search", "best -2 ln L", "starts at it")
        heads += ("s", "/ jaxchem", "evaluations")
        print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for name, asked in problems(options.sets):
            table(name, asked)


if __name__ == "__main__":
    main()
