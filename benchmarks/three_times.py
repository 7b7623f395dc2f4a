"""POLLU's 25 coefficients from all species at three times, a thousand sets: beside the best mean.

    python benchmarks/three_times.py                     # 1 000 sets
    python benchmarks/three_times.py --sampled 50        # 50 of them beside a long sampler
    python benchmarks/three_times.py --ranges 0 2 --sd 0.05

The task is that of learned inverse operators (Liu et al., arXiv:2603.11854, who publish for POLLU
a mean squared error of 0.0117 and a mean absolute one of 0.1001 in 0.23 s a set, and 0.0794 and
0.1874 for SPIN-ODE), whose ranges and noise are not public; these here are our own. Coefficients
are uniform between 0.5 and 1.5 times the published ones, and counted as places z in that range,
from 0 to 1; times are uniform in the first hour; readings have a log-normal deviation of 1 %, and
come from SciPy's BDF at 1e-10. The mean of the range scores 0.083 and 0.25.

Of all estimates the mean of the posterior has the least squared error. It is far from zero: of the
deviation that the ranges have, fourteen of the 25 coefficients keep 0.4 or more. Ours is the
likeliest z by the library's search, under the normal prior that has the range's own mean and
deviation, within the range. The long sampler is emcee's (differential evolution between 64 walkers
that begin all over the range's middle; `pip install emcee`), with the range itself as its prior and
nothing of ours but the solver.
"""

import argparse
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from inference import POLLU, QUIET, truth  # noqa: E402

import jaxchem  # noqa: E402
from jaxchem.inference.search import Misfit, minimise  # noqa: E402

NETWORK = jaxchem.load("pollu")
Y0 = NETWORK.y0(POLLU)
WIDTH = 12**-0.5
"""Standard deviation of a uniform distribution from 0 to 1."""


class Task:
    """What is measured, as a function of places in the ranges.

    Args:
        ranges: least and largest factor on the published coefficients.
        sd: standard deviation of the logarithm of a reading.
    """

    def __init__(self, ranges: tuple[float, float], sd: float) -> None:
        solver = jaxchem.Integrator(method="rodas5p", rtol=1e-6, atol=1e-16)
        published, (low, high) = jnp.asarray(NETWORK.rates()), ranges

        def k(z: jax.Array) -> jax.Array:
            return published * (low + (high - low) * z)

        def residual(z: jax.Array, ts: jax.Array, seen: jax.Array) -> jax.Array:
            ys = jaxchem.solve(NETWORK, k(z), Y0, ts, integrator=solver).ys
            return (jnp.log(ys).ravel() - seen) / sd

        def both(z: jax.Array, ts: jax.Array, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
            found = residual(z, ts, seen)
            return found, found

        self.k, self.sd = k, sd
        slopes = jax.vmap(jax.jacfwd(both, has_aux=True), (0, None, None))
        self.slopes = jax.jit(slopes)
        self.residuals = jax.jit(jax.vmap(residual, (0, None, None)))

    def drawn(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places [25], times [3] and logarithms of readings [60] of a set."""
        z, ts = rng.uniform(size=25), np.sort(rng.uniform(0.0, 60.0, 3))
        ys = truth(NETWORK, self.k(z), Y0, ts, atol=1e-22)
        return z, ts, np.log(ys).ravel() + self.sd * rng.normal(size=60)

    def estimate(self, ts: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The likeliest places [25] and their deviations."""

        def evaluate(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            slope, residual = self.slopes(z, ts, seen)
            return np.asarray(residual), np.asarray(slope)

        middle, width = np.full(25, 0.5), np.full(25, WIDTH)
        misfit = Misfit(np.zeros(60, int), np.array([True]), np.array([0.0]), middle, width)
        bounds = {"low": np.zeros(25), "high": np.ones(25)}
        found = minimise(evaluate, misfit, middle[None], **bounds, tolerance=1e-2, job=QUIET)
        precision = found.slope[0].T @ found.slope[0] + np.eye(25) / WIDTH**2
        return found.x[0], np.sqrt(np.diag(np.linalg.inv(precision)))

    def sampled(self, ts: np.ndarray, seen: np.ndarray, steps: int, seed: int) -> np.ndarray:
        """[draws, 25] of the posterior by emcee, after a third that is left out."""
        import emcee  # type: ignore[import-not-found]

        def density(z: np.ndarray) -> np.ndarray:
            inside = np.all((z > 0) & (z < 1), axis=1)
            residual = np.asarray(self.residuals(np.clip(z, 1e-9, 1.0), ts, seen))
            value = -0.5 * np.sum(residual**2, axis=1)
            return np.where(inside & np.isfinite(value), value, -np.inf)

        moves = emcee.moves.DEMove()  # with its snooker steps variances come out a tenth low
        walkers = emcee.EnsembleSampler(64, 25, density, moves=moves, vectorize=True)
        rng = np.random.RandomState(seed)
        walkers.random_state = rng.get_state()
        walkers.run_mcmc(rng.uniform(0.25, 0.75, (64, 25)), steps)
        return walkers.get_chain(discard=steps // 3)


def main() -> None:
    """Prints errors of all sets, and of those that are sampled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument(
        "--sampled", type=int, default=0, help="so many of them, half a minute each"
    )
    parser.add_argument("--steps", type=int, default=3_000, help="of each walker")
    parser.add_argument("--ranges", type=float, nargs=2, default=(0.5, 1.5))
    parser.add_argument("--sd", type=float, default=0.01)
    given = parser.parse_args()
    task, rng = Task(tuple(given.ranges), given.sd), np.random.default_rng(0)
    sets = [task.drawn(rng) for _ in range(given.sets)]
    task.estimate(*sets[0][1:])
    begin = time.perf_counter()
    found = [task.estimate(*one[1:]) for one in sets]
    seconds = (time.perf_counter() - begin) / len(sets)
    z, best, sd = (np.array(part) for part in ([s[0] for s in sets], *zip(*found, strict=True)))
    inside = (z >= best - 1.96 * sd) & (z <= best + 1.96 * sd)
    print("| sets | estimate | mean squared error | mean absolute error | within 95 % | s a set |")
    print("|---|---|---|---|---|---|")

    def row(what: str, off: np.ndarray, within: np.ndarray | None, seconds: float) -> None:
        said = "" if within is None else f"{100 * within.mean():.1f} %"
        errors = f"{np.mean(off**2):.4f} | {np.abs(off).mean():.4f}"
        print(f"| {len(off)} | {what} | {errors} | {said} | {seconds:.3g} |", flush=True)

    row("middle of the range", z - 0.5, None, 0.0)
    row("jaxchem", best - z, inside, seconds)
    if not given.sampled:
        return
    means, medians, within, met, spread = [], [], [], [], []
    begin = time.perf_counter()
    for i, (place, ts, seen) in enumerate(sets[: given.sampled]):
        draws = task.sampled(ts, seen, given.steps, i)
        halves = [part.mean((0, 1)) for part in np.array_split(draws, 2)]
        met.append(np.mean((halves[0] - halves[1]) ** 2) / draws.var((0, 1)).mean())
        flat = draws.reshape(-1, 25)
        means.append(flat.mean(0))
        medians.append(np.median(flat, axis=0))
        spread.append(flat.var(0).mean())
        low, high = np.quantile(flat, (0.025, 0.975), axis=0)
        within.append((place >= low) & (place <= high))
    seconds = (time.perf_counter() - begin) / given.sampled
    few = slice(given.sampled)
    row("jaxchem", (best - z)[few], inside[few], 0.0)
    row("mean of emcee's draws", np.array(means) - z[few], np.array(within), seconds)
    row("median of emcee's draws", np.array(medians) - z[few], None, seconds)
    apart = np.mean((np.array(means) - best[few]) ** 2)
    halves = f"{np.mean(met):.2g} of a variance, at most {np.max(met):.2g}"
    print(f"\nHalves of a chain differ by {halves}, which is {np.mean(spread):.4f} in the mean.")
    print(f"Our estimate is {apart:.2g} (squared) from the mean of the draws.")


if __name__ == "__main__":
    main()
