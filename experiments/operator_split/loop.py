"""Dark-cloud chemistry and diffusion on a line of cells, with a solver or an emulator in the loop.

    python experiments/operator_split/loop.py                      # the solver alone
    python experiments/operator_split/loop.py --train              # beside a model trained here
    python experiments/operator_split/loop.py --model model.eqx    # beside a model of yours

`chemistry` is any `(y0[S], conditions[C], ts[T]) -> y[T, S]`, with `ts` the time since y0; a model
must go on from any state of the loop. Prints a table and draws loop.png.
"""

import argparse
import functools
import timeit
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot

import jaxchem
from jaxchem.metrics import conservation_drift, dex_errors
from jaxchem.models import About, AbstractEmulator, conserved
from jaxchem.models.layers import Perceptron
from jaxchem.train import fit, recipe

jax.config.update("jax_enable_x64", True)

STEP = 1e3 * 3.1536e7  # 1000 years, in seconds


def diffuse(y: Any) -> Any:
    """Half a step of diffusion along the cells [N, S]; nothing passes the ends."""
    return y + 0.4 * jnp.diff(jnp.pad(y, ((1, 1), (0, 0)), "edge"), 2, axis=0)


def loop(chemistry: Any, y: Any, steps: int) -> tuple[Any, Any]:
    """Strang splitting from y[N, S]: [steps, N, S] before and after the chemistry of each step."""
    react = jax.vmap(chemistry, in_axes=(0, None, None))

    def step(y: Any, _: Any) -> Any:
        before = diffuse(y)
        after = react(before, jnp.zeros(0), jnp.full(1, STEP))[:, -1]
        return diffuse(after), (before, after)

    return jax.lax.scan(step, y, length=steps)[1]


def line(network: Any, solver: Any, carbon: Any, ion: Any) -> Any:
    """Cells [N, S] of these n_C and n_C+ over the density, 10 000 years old."""
    y = jnp.full((len(carbon), len(network.species)), 1e-16)
    amounts = {"H2": 1.0, "C": carbon, "C+": ion, "O": 4 * (carbon + ion), "e": ion}
    for name, amount in amounts.items():
        y = y.at[:, network.index(name)].set(1e4 * amount)
    return jax.jit(jax.vmap(lambda y: solver(y, None, jnp.full(1, 10 * STEP))[-1]))(y)


class Step(AbstractEmulator):
    """Advances a state by one step of the loop: log10 y to its change, both standardised."""

    about: About = eqx.field(static=True)
    mlp: Perceptron
    scales: tuple[np.ndarray, ...]  # means and deviations [S] of log10 y and of its change

    def predict(self, y0: Any, conditions: Any, ts: Any) -> Any:
        centre, spread, shift, scale = self.scales
        x = jnp.log10(jnp.maximum(y0, 1e-30))
        change = self.mlp((x - centre) / spread).astype(x.dtype)
        return 10.0 ** (x + shift + scale * change)[None]


def trained(network: Any, before: Any, after: Any, steps: int) -> Step:
    """A `Step` that has learned states [..., S] before and after the chemistry."""
    old, new = (np.log10(y).reshape(-1, y.shape[-1]) for y in (before, after))
    change = new - old
    # what conservation does to a species that hardly varies must not look large to the model
    spread = np.maximum(old.std(axis=0), 0.1)
    scales = (old.mean(axis=0), spread, change.mean(axis=0), change.std(axis=0))
    net = Perceptron((len(spread), 128, 128, len(spread)), key=jax.random.key(0))

    def loss(model: Step, pairs: Any, _: Any) -> Any:
        return jnp.mean((jax.vmap(model.mlp)(pairs[0]) - pairs[1]) ** 2)

    pairs = ((old - scales[0]) / scales[1], (change - scales[2]) / scales[3])
    optimizer = recipe(optimizer="soap", learning_rate=3e-3, steps=steps)
    how = {"optimizer": optimizer, "steps": steps, "batch_size": 512}
    return fit(
        loss, Step(About(network.species), net, scales), pairs, key=jax.random.key(1), **how
    )[0]


def draw(path: Path, network: Any, runs: dict[str, Any]) -> None:
    """Profiles at the end, and the difference from the solver in the course of the loop."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for (run, ys), style in zip(runs.items(), ("-", ".", "x", "+", "1"), strict=False):
        for n, name in enumerate(("C", "C+", "CO", "O2", "H2O", "CH4")):
            label = {"solver": name}.get(run)
            left.semilogy(ys[-1, :, network.index(name)], style, color=f"C{n}", label=label)
    left.set(xlabel="cell", ylabel="cm-3 at the end (lines: solver)")
    left.legend(fontsize="small", ncols=2)
    for name in list(runs)[1:]:
        error = dex_errors(runs[name], runs["solver"])
        right.semilogy(error.mean(axis=(1, 2)), label=f"{name}: mean")
        right.semilogy(error.max(axis=(1, 2)), "--", label=f"{name}: max")
        right.legend()
    right.set(xlabel="step", ylabel="difference from the solver [dex]")
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None, folder: Path = Path(__file__).parent) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, number in {"cells": 64, "steps": 100, "profiles": 8, "iterations": 6000}.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--model")
    options = parser.parse_args(arguments)
    network, steps, models = jaxchem.load("osu29"), options.steps, {}
    k = network.rates(temperature=50.0, cosmic_ray_rate=1e-16)

    def solver(y0: Any, conditions: Any, ts: Any) -> Any:
        return jaxchem.solve(network, k, y0, ts, method="rodas4", rtol=1e-4, atol=1e-18).ys

    x = jnp.linspace(0.0, 1.0, options.cells)  # along the line
    if options.model:
        models["model"] = jaxchem.load_model(options.model)
    if options.train:
        a, b, c, d = np.random.default_rng(0).uniform(-6, -4, (4, options.profiles, 1))
        carbon, ion = 10 ** (a + (b - a) * x), 10 ** (c + (d - c) * x)
        starts = line(network, solver, carbon.ravel(), ion.ravel()).reshape(*carbon.shape, -1)
        runs = jax.jit(jax.vmap(lambda y: loop(solver, y, steps)))(starts)
        models["trained"] = trained(network, *map(np.asarray, runs), options.iterations)
    models |= {f"{name}, conserved": conserved(m, network) for name, m in models.items()}

    start = line(network, solver, 10 ** (-5.8 + 1.6 * x), 10 ** (-4.2 - 1.6 * x))
    found: dict[str, Any] = {}
    print("| chemistry | mean dex | max dex | element drift | seconds |\n" + "|---" * 5 + "|")
    for name, chemistry in {"solver": solver, **models}.items():
        run = jax.jit(lambda y, chemistry=chemistry: loop(chemistry, y, steps)[1])
        found[name] = run(start)
        call = functools.partial(lambda run: jax.block_until_ready(run(start)), run)
        seconds = min(timeit.repeat(call, number=1, repeat=5))
        error = dex_errors(found[name], found["solver"])
        totals = found[name].sum(axis=1)  # over the line, which diffusion keeps
        drift = jnp.abs(conservation_drift(network.conserved, totals, start.sum(axis=0)))
        figures = f"{error.mean():.2g} | {error.max():.2g} | {drift.max():.2g} | {seconds:.2g}"
        print(f"| {name} | {figures} |")
    draw(folder / "loop.png", network, found)


if __name__ == "__main__":
    main()
