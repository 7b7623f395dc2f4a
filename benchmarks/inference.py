"""Rate coefficients from simulated trajectories whose truth is SciPy's, one row a setting.

    python benchmarks/inference.py                 # all rows
    python benchmarks/inference.py robertson noise # some
    python benchmarks/inference.py aoxid FILE.npz  # the published trajectories

Every row prints what was asked of it, what came out, and the time of the fit with and without what
XLA compiles. err is the mean of |ln k - ln k true|, k_err that of its square.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import scipy  # noqa: E402

import jaxchem  # noqa: E402
from jaxchem.inference import Fit, Measurements, Problem, infer_rates, problem  # noqa: E402
from jaxchem.network import Network  # noqa: E402
from jaxchem.train import Job  # noqa: E402

QUIET = Job("fit", progress=False)
POLLU = {"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007}
NEARLY = {"kind": "log", "sd": 1e-4, "autocorrelated": False}
"""Of exact readings: what is granted to the solver."""
SURE = 0.35
"""Deviation of ln k below which an interval of 95 % is within a factor of 2 of the estimate."""


def truth(
    network: Network, k: Any, y0: Any, ts: Any, *, rtol: float = 1e-10, atol: Any = 1e-18
) -> np.ndarray:
    """[T, S] trajectory by SciPy's BDF."""
    k, y0 = jnp.asarray(k), np.asarray(y0)
    found = scipy.integrate.solve_ivp(
        jax.jit(lambda t, y: jaxchem.tendency(network, k, y)),
        *((0.0, float(ts[-1])), y0, "BDF", np.asarray(ts)),
        jac=jax.jit(lambda t, y: jaxchem.jacobian(network, k, y)),
        rtol=rtol,
        atol=atol,
    )
    return found.y.T


def seen(network: Network, ts: Any, ys: np.ndarray, least: float = 0.0, **others: Any) -> Any:
    """Readings [E, T, S] of all species, but for those that are not above the least."""
    ys = np.where(ys > least, ys, np.nan)
    values = {n: ys[..., s] for s, n in enumerate(network.species) if np.isfinite(ys[..., s]).any()}
    return Measurements.of(network, ts, values, **others)


def started(values: Sequence[float], **others: Any) -> dict[str, Any]:
    """Settings of all coefficients, with where the search begins."""
    return {
        f"k{j + 1}": {"of": f"R{j + 1}", "value": float(value), **others}
        for j, value in enumerate(values)
    }


def nothing(network: Network) -> dict[str, Any]:
    """The same where nothing at all is known."""
    return started(np.ones(len(network.equations)), low=1e-20, high=1e20)


def timed(run: Callable[[], Fit]) -> tuple[Fit, float, float]:
    """A fit, seconds at first, and again with all compiled code at hand."""
    begin = time.perf_counter()
    run()
    middle = time.perf_counter()
    found = run()
    return found, middle - begin, time.perf_counter() - middle


def errors(found: Fit, k: Any) -> np.ndarray:
    """[n] |ln k - ln k true| of every coefficient."""
    places = [p.of[0] for p in found.posterior.parameters if p.kind == "rate"]
    x = found.posterior.x[[i for i, p in enumerate(found.posterior.parameters) if p.kind == "rate"]]
    return np.abs(x - np.log(np.asarray(k)[places]))


def robertson() -> None:
    """50 logarithmic points, nothing known."""
    for name, asked, how in (
        ("clean", "1e-4", {}),
        (
            "at the paper's tolerances",
            "1e-2",
            {"rtol": 1e-4, "atol": np.array([1e-8, 1e-14, 1e-6])},
        ),
    ):
        given, k = of_robertson(**how)
        found, first, again = timed(
            lambda given=given: infer_rates(given, noise={"kind": "log"}, starts=3, job=QUIET)
        )
        told(
            f"robertson, {name}",
            f"err <= {asked}",
            f"err {errors(found, k).mean():.2g}",
            first,
            again,
        )


def of_robertson(**how: Any) -> tuple[Problem, np.ndarray]:
    """What is asked, and the true coefficients; tolerances of the truth."""
    network = jaxchem.load("robertson")
    k, ts = np.asarray(network.rates()), np.geomspace(1e-5, 1e5, 50)
    data = seen(network, ts, truth(network, k, network.y0({"A": 1.0}), ts, **how)[None])
    solver = jaxchem.Integrator(method="rodas5p", rtol=1e-8, atol=1e-18)
    rates = nothing(network)
    return problem(network, data, rates=rates, initial={"A": 1.0}, integrator=solver), k


def pollu() -> None:
    """One trajectory, 41 logarithmic points from 1e-8 to 60 minutes, a prior of one decade."""
    asked, k = of_pollu()
    found, first, again = timed(lambda: infer_rates(asked, noise=NEARLY, starts=10, job=QUIET))
    best, error = found.posterior, errors(found, k)
    sure = (best.high / best.values < 2) & (best.values / best.low < 2)
    loose = [best.names[i] for i in np.flatnonzero(~sure)]
    told(
        "pollu, 41 points, a prior of a decade, 10 starts",
        "10 of 10 converge; >= 23 of 25 identified, mean <= 1e-3, max <= 1e-2; <= 10 s",
        f"{found.met} of 10; {sure.sum()} identified (not {', '.join(loose)}), mean "
        f"{error[sure].mean():.2g}, max {error[sure].max():.2g}",
        first,
        again,
    )


def of_pollu() -> tuple[Problem, np.ndarray]:
    """What is asked, and the true coefficients."""
    network = jaxchem.load("pollu")
    k, ts = np.asarray(network.rates()), np.geomspace(1e-8, 60.0, 41)
    data = seen(network, ts, truth(network, k, network.y0(POLLU), ts, atol=1e-28)[None], 1e-24)
    off = k * 10 ** np.random.default_rng(0).normal(0, 1, 25)
    how = jaxchem.Integrator(method="rodas5p", rtol=1e-7, atol=1e-26)
    rates = started(off, factor=10)
    return problem(network, data, rates=rates, initial=POLLU, integrator=how), k


def dense() -> None:
    """160 logarithmic points from 1e-14 minutes, nothing given."""
    network = jaxchem.load("pollu")
    k, ts = np.asarray(network.rates()), np.geomspace(1e-14, 60.0, 160)
    ys = truth(network, k, network.y0(POLLU), ts, rtol=1e-11, atol=1e-28)
    data = seen(network, ts, ys[None], 1e-20)
    how = jaxchem.Integrator(method="rodas5p", rtol=1e-8, atol=1e-26)
    asked = problem(network, data, rates=nothing(network), initial=POLLU, integrator=how)
    found, first, again = timed(lambda: infer_rates(asked, noise=NEARLY, starts=3, job=QUIET))
    error = errors(found, k)
    told(
        "pollu, 160 points from 1e-14, nothing given",
        "25 of 25 within 5 %; <= 10 s",
        f"{(error < 0.05).sum()} of 25, largest {error.max():.2g}",
        first,
        again,
    )


def told(setting: str, asked: str, measured: str, first: float, again: float) -> None:
    """A row of the table."""
    print(f"| {setting} | {asked} | {measured} | {first:.1f} | {again:.1f} |", flush=True)


ROWS = {row.__name__: row for row in (robertson, pollu, dense)}


def main() -> None:
    """Prints the rows that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="row")
    print("| setting | asked | measured | s | s again |\n|---|---|---|---|---|")
    for name in parser.parse_args().rows:
        ROWS[name]()


if __name__ == "__main__":
    main()
