"""An emulator of air (`+experiment=emulate_atmos`) beside our solver and SciPy.

    python benchmarks/air_map.py FOLDER

FOLDER is that of a run; ask where it was started, if its network was named from there. Prints how
far its test data are from SciPy's Radau at a relative tolerance of 1e-10, above 1e5 molecule cm-3;
the model's errors in all cases, at zenith angles above 87 degrees, and of the five species that are
worst; and microseconds of CPU a trajectory on one core, for all output times and for the last one,
of the model and of the solver at rtol 1e-5 and at the loosest tolerance at which it is as good as
the model, in batches of 1, 200 and 10 000. It needs one core: taskset -c 0.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from thermal import cpu_seconds

import jaxchem
from jaxchem.metrics import dex_errors
from jaxchem.run import finished

jax.config.update("jax_enable_x64", True)

COUNTED = 1e5
"""molecule cm-3"""


def dex(found: Any, truth: Any) -> Any:
    """Errors, NaN where the truth does not count."""
    return np.where(np.asarray(truth) > COUNTED, dex_errors(found, truth, 1e-99), np.nan)


def check(test: Any, members: int) -> None:
    """The data beside SciPy."""
    worst = 0.0
    for n in np.random.default_rng(0).permutation(len(test.y0))[:members]:
        k = test.rates(test.conditions[n])
        exact = jaxchem.generate(test.network, k, test.y0[n][None], test.ts, progress=False)
        truth = exact["concentration"].values[0]
        off = np.abs(np.asarray(test.states[n]) / np.where(truth > COUNTED, truth, 1.0) - 1)
        worst = max(worst, float(off[truth > COUNTED].max()))
    print(f"{members} members beside SciPy at 1e-10: largest relative error {worst:.1e}\n")


def errors(model: Any, test: Any) -> None:
    """In logarithms, of kinds of cases and of species."""
    ask = jax.jit(jax.vmap(lambda y0, c: model(y0, c, test.ts - test.t0)))
    off = dex(ask(test.y0, test.conditions), test.states)
    zenith = np.asarray(test.conditions[:, test.names.index("solar_zenith_angle")])
    means = np.nanmean(off, axis=(0, 1), where=np.isfinite(off))
    rows = {"all": off, "zenith angle above 87 degrees": off[zenith > np.deg2rad(87)]}
    rows |= {test.labels[n]: off[..., n] for n in np.argsort(-np.nan_to_num(means))[:5]}
    print("| | mean dex | p99 dex |\n|---|---|---|")
    for name, part in rows.items():
        print(f"| {name} | {np.nanmean(part):.2g} | {np.nanquantile(part, 0.99):.2g} |")
    print()


def asked(model: Any, y0: Any, c: Any, ts: Any) -> Any:
    """Predictions, some at a time: what XLA works on for all at once would be mapped anew by every
    call, which takes more time than the network."""
    return jax.lax.map(lambda one: model(*one, ts), (y0, c), batch_size=1000)


def speed(model: Any, test: Any, batches: list[int]) -> None:
    """Beside the solver."""
    y0, c, ts = test.y0, test.conditions, test.ts

    def solver(rtol: float, ts: Any) -> Callable[[Any, Any], Any]:
        def one(y0: Any, c: Any) -> Any:
            how = {"t0": test.t0, "rtol": rtol, "method": "rodas4", "throw": False}
            return jaxchem.solve(test.network, test.rates(c), y0, ts, **how).ys

        return jax.jit(jax.vmap(one))

    def mean(call: Callable[[Any, Any], Any], outputs: Any) -> float:
        few = slice(64)
        found = dex(call(y0[few], c[few]), test.states[few, -len(outputs) :])
        return float(np.nanmean(found))

    print(
        "| outputs | batch | model | solver at 1e-5 | ratio | solver as good | ratio | its rtol |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for outputs in (ts, ts[-1:]):
        wanted = mean(jax.vmap(lambda y0, c, t=outputs: model(y0, c, t - test.t0)), outputs)
        ladder = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
        loose = next(r for r in ladder if mean(solver(r, outputs), outputs) <= wanted)
        calls = [jax.jit(lambda y, c, t=outputs: asked(model, y, c, t - test.t0))]
        calls += [solver(rtol, outputs) for rtol in (1e-5, loose)]
        for size in batches:
            rows = np.arange(size) % len(y0)
            taken = []
            for call in calls:
                repeats = max(1, 2000 // size)
                parts = [rows] if size > 1 else [np.array([n % len(y0)]) for n in range(repeats)]
                given = [(y0[part], c[part]) for part in parts]

                def many(call: Any = call, given: Any = given, repeats: int = repeats) -> None:
                    for n in range(repeats):
                        jax.block_until_ready(call(*given[n % len(given)]))

                taken.append(1e6 * cpu_seconds(many) / size / repeats)
            own, tight, as_good = taken
            ratios = (
                f"{tight:.1f} | {tight / own:.1f} | {as_good:.1f} | {as_good / own:.1f} | {loose:g}"
            )
            print(f"| {len(outputs)} | {size} | {own:.1f} | {ratios} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of a run")
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 200, 10_000])
    arguments = parser.parse_args()
    model, test = finished(arguments.folder)
    check(test, arguments.members)
    errors(model, test)
    speed(model, test, arguments.batches)


if __name__ == "__main__":
    main()
