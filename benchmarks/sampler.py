"""Intervals of draws beside those of profiles and of the curvature, and what a draw costs.

    python benchmarks/sampler.py

Three synthetic tables, whose truth is SciPy's: a chain of first-order steps; a network of five
reactions of first and second order; and a reversible step whose ratio alone is well known, as all
readings but the first come after its equilibrium. Of each: 95 % intervals in Markdown, how far
their ends lie apart over half of the interval of the curvature, in the coordinate that is searched
(the logarithm); what is said of the draws; and effective draws a second, with and without
compiling, at as many gradients (a solve with its sensitivities) a draw.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import numpy as np
import scipy

import jaxchem
from jaxchem.inference import Fit, Problem, infer_rates, problem, read_measurements, sample
from jaxchem.inference.sampler import unlike_normal
from jaxchem.train import Job

jax.config.update("jax_enable_x64", True)
QUIET = Job("fit", progress=False)


def table(
    species: str, reactions: list[str], tendency: Callable[..., Any], ts: np.ndarray, noise: float
) -> tuple[Any, Any]:
    """A network, and readings of all of its species with noise."""
    start = np.array([10.0] + [0.0] * (len(species) - 1))
    span = (0.0, float(ts[-1]))
    found = scipy.integrate.solve_ivp(
        tendency, span, start, "LSODA", ts, rtol=1e-10, atol=1e-12
    ).y.T
    found = found + np.random.default_rng(0).normal(0, noise, found.shape)
    text = ["name = synthetic", "units = ppb, s", "balanced = none", "[species]"]
    text += [f"{name} = none" for name in species]
    text += ["[initial]", "A = 10.0", "[sources]", "guess = not measured", "[reactions]"]
    text += [f"{reaction} ; guess" for reaction in reactions]
    rows = [["time [s]", *(f"{name} [ppb]" for name in species)]]
    rows += [[repr(float(v)) for v in (t, *row)] for t, row in zip(ts, found, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path, readings = Path(folder) / "network.txt", Path(folder) / "readings.csv"
        path.write_text("\n".join(text))
        readings.write_text("\n".join(",".join(row) for row in rows))
        network = jaxchem.load(path)
        return network, read_measurements(readings, network)


def chain() -> Fit:
    """A -> B -> C."""

    def tendency(t: float, y: np.ndarray) -> list[float]:
        first, second = 0.08 * y[0], 0.21 * y[1]
        return [-first, first - second, second]

    reactions = ["A -> B ; 0.1", "B -> C ; 0.1"]
    network, data = table("ABC", reactions, tendency, np.linspace(1.0, 40.0, 14), 0.15)
    return infer_rates(problem(network, data), profiles="all", job=QUIET)


def second_order() -> Fit:
    """Dimers, what they become, and what these take up and lose."""
    return infer_rates(of_second_order(), profiles="all", job=QUIET)


def of_second_order() -> Problem:
    """What is asked."""

    def tendency(t: float, y: np.ndarray) -> list[float]:
        a, b, c, d, _ = y
        r = [0.02 * a * a, 0.15 * b, 0.03 * a * c, 0.05 * d, 0.02 * b * c]
        return [
            -2 * r[0] - r[2] + r[3],
            r[0] - r[1] + r[3] - r[4],
            r[1] - r[2] - r[4],
            r[2] - r[3],
            r[4],
        ]

    reactions = ["A + A -> B ; 0.01", "B -> C ; 0.1", "C + A -> D ; 0.02"]
    reactions += ["D -> A + B ; 0.1", "B + C -> E ; 0.01"]
    network, data = table("ABCDE", reactions, tendency, np.linspace(1.0, 60.0, 20), 0.05)
    return problem(network, data)


def reversible() -> Fit:
    """A <-> B in equilibrium, from which C is formed."""

    def tendency(t: float, y: np.ndarray) -> list[float]:
        there, back, on = 1.0 * y[0], 0.5 * y[1], 0.05 * y[1]
        return [back - there, there - back - on, on]

    reactions = ["A -> B ; 1.0", "B -> A ; 0.5", "B -> C ; 0.05"]
    network, data = table("ABC", reactions, tendency, np.linspace(3.0, 40.0, 12), 0.2)
    rates = {"kf": {"of": "R1", "factor": 10}, "kr": "R2", "k": "R3"}
    return infer_rates(problem(network, data, rates=rates), profiles="all", job=QUIET)


def compare(name: str, fit: Fit) -> None:
    """One problem's table."""
    best, how = fit.posterior, {"seed": 0, "job": QUIET}
    begin = time.perf_counter()
    sample(fit, draws=50, warmup=50, **how)
    compiling = time.perf_counter() - begin
    begin = time.perf_counter()
    found = sample(fit, **how)
    took = time.perf_counter() - begin
    reach = scipy.stats.t.ppf(0.975, best.degrees) * np.sqrt(np.diag(best.covariance))
    print(f"\n## {name}\n")
    head = ("", "estimate", "curvature", "profile", "draws", "to profile", "to curvature", "R-hat")
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for i, p in enumerate(best.parameters):
        wald = best.x[i] + np.array([-1.0, 1.0]) * reach[i]
        profile, drawn = (
            np.array([p.coordinate(of.low[i]), p.coordinate(of.high[i])]) for of in (best, found)
        )
        ends = (" to ".join(f"{p.back(e):.4g}" for e in pair) for pair in (wald, profile, drawn))
        off = (
            ", ".join(f"{100 * o:+.1f} %" for o in (drawn - other) / reach[i])
            for other in (profile, wald)
        )
        cells = [p.name, f"{best.values[i]:.4g}", *ends, *off, f"{found.r_hat[i]:.4f}"]
        print(f"| {' | '.join(cells)} |")
    count, least = found.x[..., 0].size, float(np.nanmin(found.effective))
    each = found.gradients / count
    print(f"\n{least:.0f} effective draws of {count}, {each:.1f} gradients each;")
    print(f"{took:.1f} s, of which compiling about {compiling:.1f} s: {least / took:.0f} a second,")
    print(f"{least / max(took - compiling, 1e-3):.0f} without; {found.divergences} given up.")
    for line in unlike_normal(fit, found):
        print(f"- {line}")


if __name__ == "__main__":
    compare("A chain of first-order steps", chain())
    compare("First and second order", second_order())
    compare("A ratio alone", reversible())
