"""A map of all gas (`+experiment=ism_general`) beside KROME's trajectories and our solver.

    python benchmarks/gas_map.py FOLDER/model.eqx

Quantiles of log10 of the relative error on the 100 trajectories of KROME (Grassi et al. 2014,
doi:10.1093/mnras/stu114) that start from eq. 19 of Branca & Pallottini (2022,
doi:10.1093/mnras/stac3512), over all states and the 121 times from 1 to 10^6 years where a density
is above 1e-18 cm-3, and of the state that is worst; and microseconds of CPU a state on one core for
the state at 1 Myr, of the map and of the solver at rtol 1e-3, in batches of 1, 200 and 10 000.
Needs KROME's references, which are not shipped, and one core: taskset -c 0.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from thermal import cpu_seconds, model, references, solver

from jaxchem.learned import quantiles
from jaxchem.models import load_model
from jaxchem.thermal import Cloud, random_states

jax.config.update("jax_enable_x64", True)


def errors(cloud: Cloud, given: Any) -> None:
    """Beside KROME."""
    known = references(cloud)
    states = cloud.system.states
    y0 = known.y0.copy()
    y0[:, cloud.network.index("e-")] = given.ratios.charges @ y0[:, :-1].T  # printed to 1e-9
    ts = jnp.asarray(known.ts)
    found = np.asarray(jax.jit(jax.vmap(lambda y0: given(y0, None, ts)))(jnp.asarray(y0)))
    off = np.log10(np.abs(found / np.maximum(known.tight, 1e-300) - 1) + 1e-17)
    counts = known.tight > 1e-18
    print("| states | q50 | q75 | q90 | max |")
    print("|---|---|---|---|---|")
    rows = {"all": quantiles(off[counts])}
    rows |= {name: quantiles(off[..., n][counts[..., n]]) for n, name in enumerate(states)}
    worst = max(states, key=lambda name: rows[name]["q90"])
    for name in ("all", worst):
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in rows[name].values())} |")


def speed(cloud: Cloud, given: Any, batches: list[int]) -> None:
    """Beside the solver."""
    last = np.array([given.end])
    run = solver(cloud, last, 1e-3, "step")
    ask = jax.jit(jax.vmap(lambda y0: given(y0, None, jnp.asarray(last))))
    print("| batch | map, us a state | solver, us a state | ratio |")
    print("|---|---|---|---|")
    for size in batches:
        y0 = jnp.asarray(random_states(cloud.network, size, seed=3))

        def taken(function: Callable[[Any], Any], y0: Any = y0, size: int = size) -> float:
            call = functools.partial(function, y0)
            jax.block_until_ready(call())
            repeats = max(1, 1000 // size)

            def many() -> None:
                for _ in range(repeats):
                    jax.block_until_ready(call())

            return 1e6 * cpu_seconds(many) / size / repeats

        one, two = taken(ask), taken(run)
        print(f"| {size} | {one:.1f} | {two:.1f} | {two / one:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="model.eqx of a run")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 200, 10_000])
    arguments = parser.parse_args()
    given: Any = load_model(arguments.model)
    cloud = model("H2" not in given.about.states)
    errors(cloud, given)
    print()
    speed(cloud, given, arguments.batches)


if __name__ == "__main__":
    main()
