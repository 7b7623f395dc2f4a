"""What derivatives cost.

    python benchmarks/sensitivity.py

POLLU: all 25 coefficients on 20 outputs, forward and in reverse, and one gradient. Median
milliseconds on one core beside diffrax's Kvaerno5, and how far each Jacobian is from one at rtol
1e-10, relative to the largest entry of its species. Then one gradient of each of 64 cells' end
states, beside gradsolve's where it is installed: a replay of steps that it recorded before, while
ours integrates too.

SAPRC-99 under a sun that sets, where its mechanism is at hand: the gradient of the ozone after a
day with respect to factors on all 211 coefficients, in turns with the solve; CPU time.
"""

import argparse
import functools
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from measure import in_turns
from problems import saprc99_sunlit
from readme import published

import jaxchem

jax.config.update("jax_enable_x64", True)


def milliseconds(
    function: Callable[[Any], Any], at: Any, repeats: int = 9
) -> tuple[np.ndarray, float, float]:
    """The value, the median of later calls, and the first call, which compiles."""
    times = []
    value = None
    for _ in range(1 + repeats):
        start = time.perf_counter()
        value = jax.block_until_ready(function(at))
        times.append(1e3 * (time.perf_counter() - start))
    return np.asarray(value), statistics.median(times[1:]), times[0]


def main() -> None:
    """Pins the process to one core: JAX sizes its pools of threads when it is first used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["kvaerno5", "rodas4", "rodas5p"])
    parser.add_argument("--rtol", type=float, default=1e-6, help="of POLLU")
    parser.add_argument("--exact", type=float, default=1e-10, help="rtol of the errors' reference")
    parser.add_argument("--only", choices=("pollu", "ensemble", "saprc99"), help="a part of it")
    parser.add_argument("--out", type=Path, help="a folder whose README.md gets the table")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with published("sensitivity", options.out):
        if options.only in (None, "pollu"):
            pollu(options.methods, options.rtol, options.exact)
        if options.only in (None, "ensemble") and importlib.util.find_spec("gradsolve"):
            ensemble()
        if options.only in (None, "saprc99"):
            saprc99()


def pollu(methods: list[str], rtol: float, exact_rtol: float) -> None:
    """All derivatives of the outputs, and one gradient."""
    network = jaxchem.load("pollu")
    log_k = jnp.log(network.rates())
    y0 = network.y0({"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007})
    ts = jnp.linspace(3.0, 60.0, 20)

    def states(log_k: Any, method: str, adjoint: str, rtol: float) -> Any:
        how = {"rtol": rtol, "atol": 1e-4 * rtol, "method": method, "adjoint": adjoint}
        return jaxchem.solve(network, jnp.exp(log_k), y0, ts, throw=False, **how).ys

    reference = jax.jit(jax.jacfwd(lambda v: states(v, "kvaerno5", "forward", exact_rtol)))
    exact = np.asarray(reference(log_k))
    scale = np.abs(exact).max(axis=(0, 2), keepdims=True)
    print("| method | rtol | solve | Jacobian | one gradient | jacrev | first Jacobian | error |")
    print("|---|---|---|---|---|---|---|---|")
    for method in methods:

        def solved(log_k: Any, adjoint: str = "reverse", method: str = method) -> Any:
            return states(log_k, method, adjoint, rtol)

        slopes, forward, first = milliseconds(
            jax.jit(jax.jacfwd(lambda v, f=solved: f(v, "forward"))), log_k
        )
        _, primal, _ = milliseconds(jax.jit(solved), log_k)
        _, reverse, _ = milliseconds(jax.jit(jax.grad(lambda v, f=solved: f(v)[-1, 3])), log_k)
        _, rows, _ = milliseconds(jax.jit(jax.jacrev(lambda v, f=solved: f(v)[-1])), log_k)
        error = np.abs((slopes - exact) / scale).max()
        times = " | ".join(f"{t:.3g}" for t in (primal, forward, reverse, rows, first))
        print(f"| {method} | {rtol:g} | {times} | {error:.1e} |", flush=True)


def saprc99(rtol: float = 1e-4, repeats: int = 9) -> None:
    """One gradient by factors on all coefficients under the sun, in turns with the solve."""
    problem = saprc99_sunlit(1)
    if problem is None:
        print("saprc99: skipped, its mechanism is not here")
        return
    network, y0 = problem.network, jnp.asarray(problem.y0[0])
    ozone, ends = network.index("O3"), problem.ts[-1:]
    how = {"method": "rodas4", "rtol": rtol, "atol": problem.atols[0], "t0": problem.t0}

    def end(log_factors: Any) -> Any:
        def k(t: Any, y: Any) -> Any:
            return jnp.exp(log_factors) * problem.k(t, y)

        solution = jaxchem.solve(network, k, y0, ends, throw=False, **how)
        return jnp.log(solution.ys[-1, ozone])

    at = jnp.zeros(len(network.equations))
    runs = {"solve": jax.jit(end), f"gradient, {len(at)} factors": jax.jit(jax.grad(end))}
    values, first = {}, {}
    for name, run in runs.items():
        values[name], _, first[name] = milliseconds(run, at, 1)
    calls = {n: functools.partial(lambda f: f(at).block_until_ready(), f) for n, f in runs.items()}
    seconds = in_turns(calls, repeats)
    solve, gradient = runs["solve"], list(values.values())[1]
    if not np.isfinite(gradient).all():
        raise RuntimeError("the gradient of saprc99 is not finite")
    largest = np.argsort(-np.abs(gradient))[:4]
    step = 1e-3 * jnp.eye(len(at))[largest]
    slopes = [(solve(at + d) - solve(at - d)) / 2e-3 for d in step]
    error = np.abs(gradient[largest] - np.array(slopes)).max() / np.abs(gradient).max()
    print("\n| saprc99, one day | ms of CPU | times the solve | first call |")
    print("|---|---|---|---|")
    for name, taken in seconds.items():
        times = f"{1e3 * taken:.3g} | {taken / seconds['solve']:.3g} | {first[name] / 1e3:.1f} s"
        print(f"| {name} | {times} |")
    print(f"\nLargest four entries against central differences: {error:.1e} of the largest.")


def ensemble(cells: int = 64) -> None:
    """Gradients of NO's end concentrations by the coefficients of every cell."""
    import gradsolve

    network = jaxchem.load("pollu")
    random = np.random.default_rng(0)
    k = np.asarray(network.rates()) * np.exp(0.05 * random.standard_normal((cells, 1)))
    start = {"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007}
    y0 = np.tile(network.y0(start), (cells, 1))
    tolerances = {"rtol": 1e-6, "atol": 1e-10}
    species = network.index("NO")

    class Box:
        name, dim, t0, t1, is_stiff = "pollu_box", len(network.species), 0.0, 60.0, True

        def f_jax(self, t: Any, y: Any, p: Any) -> Any:
            return jaxchem.tendency(network, p, y)

    replay = gradsolve.grad_closure(Box(), y0, k, device="cpu", **tolerances)

    def ours(k: Any) -> Any:
        def end(k: Any, y0: Any) -> Any:
            return jaxchem.solve(network, k, y0, jnp.array([60.0]), throw=False, **tolerances).ys[
                -1
            ]

        return jax.vmap(end)(k, jnp.asarray(y0))

    print("\n| 64 gradients | milliseconds a cell | first call |")
    print("|---|---|---|")
    for name, ends in (("jaxchem", ours), (f"gradsolve ({replay.route.actual})", replay)):
        gradient = jax.jit(jax.grad(lambda k, ends=ends: jnp.sum(ends(k)[:, species])))
        _, time_taken, first = milliseconds(gradient, jnp.asarray(k))
        print(f"| {name} | {time_taken / cells:.3g} | {first / 1e3:.1f} s |")


if __name__ == "__main__":
    main()
