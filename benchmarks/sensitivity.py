"""What derivatives of POLLU cost: all 25 coefficients on 20 outputs, and one gradient.

    python benchmarks/sensitivity.py

Median milliseconds on one core beside diffrax's Kvaerno5, and how far each Jacobian is from one at
rtol 1e-10, relative to the largest entry of its species. Then one gradient of each of 64 cells'
end states, beside gradsolve's where it is installed: a replay of steps that it recorded before,
while ours integrates too.
"""

import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxchem

jax.config.update("jax_enable_x64", True)


def milliseconds(function: Callable[[Any], Any], at: Any) -> tuple[np.ndarray, float, float]:
    """The value, the median of nine calls, and the first call, which compiles."""
    times = []
    value = None
    for _ in range(10):
        start = time.perf_counter()
        value = jax.block_until_ready(function(at))
        times.append(1e3 * (time.perf_counter() - start))
    return np.asarray(value), statistics.median(times[1:]), times[0]


def main() -> None:
    """Pins the process to one core: JAX sizes its pools of threads when it is first used."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    network = jaxchem.load("pollu")
    log_k = jnp.log(network.rates())
    y0 = network.y0({"NO": 0.2, "O3": 0.04, "HCHO": 0.1, "CO": 0.3, "ALD": 0.01, "SO2": 0.007})
    ts = jnp.linspace(3.0, 60.0, 20)

    def states(log_k: Any, method: str, adjoint: str, rtol: float) -> Any:
        how = {"rtol": rtol, "atol": 1e-4 * rtol, "method": method, "adjoint": adjoint}
        return jaxchem.solve(network, jnp.exp(log_k), y0, ts, throw=False, **how).ys

    exact = jax.jacfwd(lambda v: states(v, "kvaerno5", "forward", 1e-10))(log_k)
    scale = np.abs(exact).max(axis=(0, 2), keepdims=True)
    print("| method | rtol | solve | Jacobian | one gradient | first Jacobian | error |")
    print("|---|---|---|---|---|---|---|")

    def line(method: str, rtol: float) -> str:
        def solved(log_k: Any, adjoint: str = "reverse") -> Any:
            return states(log_k, method, adjoint, rtol)

        slopes, forward, first = milliseconds(
            jax.jit(jax.jacfwd(lambda v: solved(v, "forward"))), log_k
        )
        _, primal, _ = milliseconds(jax.jit(solved), log_k)
        _, reverse, _ = milliseconds(jax.jit(jax.grad(lambda v: solved(v)[-1, 3])), log_k)
        error = np.abs((slopes - exact) / scale).max()
        times = " | ".join(f"{t:.3g}" for t in (primal, forward, reverse, first))
        return f"| {method} | {rtol:g} | {times} | {error:.1e} |"

    for method in ("kvaerno5", "rodas4", "rodas5p"):
        print(line(method, 1e-6))
    if importlib.util.find_spec("gradsolve"):
        ensemble()


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
