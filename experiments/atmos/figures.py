"""Figures of an emulator of air.

    python experiments/atmos/figures.py FOLDER

FOLDER is that of a run of `+experiment=emulate_atmos`, `emulate_atmos_24h` or
`emulate_atmos_chemnne`; ask where the run was started, if its network was named from there. Into it
go

- cases.png: O3, NOx, OH, RO2 and HCHO of ten test cases, beside the solver;
- errors.png: mean errors by species, by zenith angle and by time;
- importance.png: what O3 and OH at the end are owed to (integrated gradients from the median of the
  test data), of the emulator against the solver, for some cases;
- day.png, of a model that is chained: three courses and the error of all by the hour;
- attention.png, of one that attends: how much of each token each time sees, by heads.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot

import jaxchem
from jaxchem.importance import importance
from jaxchem.metrics import dex_errors
from jaxchem.models import ChemNNE, along
from jaxchem.run import finished

jax.config.update("jax_enable_x64", True)

COUNTED = 1e5
"""molecule cm-3"""


def groups(network: Any) -> dict[str, Any]:
    """What is shown, as weights of species."""
    species = network.species
    wanted = {"O3": ("O3",), "NOx": ("NO", "NO2"), "OH": ("OH",), "HCHO": ("HCHO",)}
    found = {n: np.isin(species, parts) * 1.0 for n, parts in wanted.items()}
    if "RO2" in network.pool_names:
        found["RO2"] = network.structure.pools[network.pool_names.index("RO2")]
    return {name: weights for name, weights in found.items() if weights.any()}


def dex(found: Any, truth: Any) -> Any:
    """Errors, NaN where the truth does not count."""
    return np.where(np.asarray(truth) > COUNTED, dex_errors(found, truth, 1e-99), np.nan)


def panels(count: int, width: float = 3.0) -> tuple[Any, Any]:
    figure, axes = pyplot.subplots(1, count, figsize=(width * count, 3), layout="constrained")
    return figure, np.atleast_1d(axes)


def cases(folder: Path, test: Any, found: Any) -> None:
    """Lines are the emulator, points the solver."""
    shown = groups(test.network)
    figure, axes = panels(len(shown))
    chosen = np.random.default_rng(0).permutation(len(found))[:10]
    minutes = np.asarray(test.ts - test.t0) / 60
    for ax, (name, weights) in zip(axes, shown.items(), strict=True):
        for n in chosen:
            (line,) = ax.plot(minutes, found[n] @ weights, lw=1)
            ax.plot(minutes, np.asarray(test.states[n]) @ weights, ".", ms=3, c=line.get_color())
        ax.set(yscale="log", title=name, xlabel="minutes")
    axes[0].set_ylabel("molecule cm$^{-3}$")
    figure.savefig(folder / "cases.png", dpi=120)


def errors(folder: Path, test: Any, found: Any) -> None:
    off = dex(found, test.states)
    figure, (one, two, three) = panels(3, 4.5)
    seen = np.isfinite(off).any(axis=(0, 1))
    means = np.nanmean(off[..., seen], axis=(0, 1))
    order = np.argsort(-means)
    one.plot(means[order], ".")
    few = order[:12]
    text = ", ".join(np.array(test.network.species)[seen][few])
    one.set(yscale="log", xlabel=f"species, the worst: {text}", ylabel="mean error [dex]")
    one.xaxis.label.set(wrap=True, fontsize="x-small")
    zenith = np.rad2deg(np.asarray(test.conditions[:, test.names.index("solar_zenith_angle")]))
    edges = np.linspace(0, 90, 31)
    place = np.clip(np.digitize(zenith, edges) - 1, 0, 29)
    by_case = np.nanmean(off, axis=(1, 2))
    bins = np.unique(place)
    two.plot(edges[bins] + 1.5, [by_case[place == n].mean() for n in bins], "o-")
    two.set(yscale="log", xlabel="zenith angle [degrees]")
    three.plot(np.asarray(test.ts - test.t0) / 60, np.nanmean(off, axis=(0, 2)), "o-", ms=3)
    three.set(xlabel="minutes", ylim=(0, None))
    figure.savefig(folder / "errors.png", dpi=120)


def owed(folder: Path, test: Any, model: Any, count: int = 12) -> None:
    """Shares of the emulator against those of the solver."""
    network, ts = test.network, test.ts
    names = [name for name in ("O3", "OH") if name in network.species]
    places = jnp.asarray([network.species.index(name) for name in names])
    some = np.random.default_rng(0).permutation(len(test.y0))[:count]
    base = tuple(jnp.median(part, axis=0) for part in (test.y0, test.conditions))

    def solver(y0: Any, c: Any) -> Any:
        how = {"t0": test.t0, "rtol": 1e-6, "throw": False}
        return jaxchem.solve(network, test.rates(c), y0, ts[-1:], **how).ys

    def shares(call: Callable[..., Any]) -> Any:
        def result(y0: Any, c: Any) -> Any:
            return jnp.log10(call(y0, c)[-1, places] + 1.0)

        run = jax.jit(jax.vmap(lambda y0, c: importance(result, y0, c, base, points=8)))
        both = run(test.y0[some], test.conditions[some])
        return np.concatenate([np.asarray(part) for part in both], axis=2)

    nearly = shares(lambda y0, c: model(y0, c, ts[-1:] - test.t0))
    exact = shares(solver)
    figure, axes = panels(len(names), 4.5)
    labels = [*network.species, *test.names]
    for n, (ax, name) in enumerate(zip(axes, names, strict=True)):
        ax.plot(exact[:, n].ravel(), nearly[:, n].ravel(), ".", ms=3)
        ends = np.array([exact[:, n].min(), exact[:, n].max()])
        ax.plot(ends, ends, "k", lw=0.5)
        size = np.sqrt(np.mean(exact[:, n] ** 2, axis=0))
        most = np.argsort(-size)[:6]
        told = "\n".join(f"{labels[i]} {size[i]:.2f}" for i in most)
        ax.text(0.02, 0.98, told, va="top", fontsize="x-small", transform=ax.transAxes)
        ax.set(title=f"{name} at the end", xlabel="solver [dex]", ylabel="emulator [dex]")
        off = np.sqrt(np.mean((nearly[:, n] - exact[:, n]) ** 2) / np.mean(exact[:, n] ** 2))
        print(f"importance for {name}: off by {off:.2g} of what it is, root mean square; {told!r}")
    figure.savefig(folder / "importance.png", dpi=120)


def day(folder: Path, test: Any, model: Any) -> None:
    """Chains through courses."""
    each = np.asarray(test.ts - test.t0)
    hours = (each[-1] * np.arange(test.segments)[:, None] + each).ravel() / 3600
    run = jax.jit(jax.vmap(lambda y0, c: along(model, y0, c, jnp.asarray(each))))
    found = np.asarray(run(*test.courses))
    found = found.reshape(len(found), len(hours), -1)
    truth = np.asarray(test.states).reshape(found.shape)
    shown = groups(test.network)
    figure, axes = panels(len(shown) + 1)
    for ax, (name, weights) in zip(axes, shown.items(), strict=False):
        for n in range(3):
            (line,) = ax.plot(hours, found[n] @ weights, lw=1)
            ax.plot(hours, truth[n] @ weights, ".", ms=2, c=line.get_color())
        least = max(1.0, float(np.min(truth[:3] @ weights)))
        ax.set(yscale="log", title=name, xlabel="hours", ylim=(0.5 * least, None))
    axes[0].set_ylabel("molecule cm$^{-3}$")
    axes[-1].plot(hours, np.nanmean(dex(found, truth), axis=(0, 2)))
    axes[-1].set(title="all", xlabel="hours", ylabel="mean error [dex]", ylim=(0, None))
    figure.savefig(folder / "day.png", dpi=120)


def attention(folder: Path, test: Any, model: ChemNNE) -> None:
    """Mean over test cases."""
    inputs = jax.vmap(model.inputs)(test.y0[:256], test.conditions[:256])
    shares = np.asarray(model.attention(inputs)[1]).mean(axis=0)
    figure, axes = panels(len(shares))
    for n, (ax, one) in enumerate(zip(axes, shares, strict=True)):
        extent = (0, float(model.times[-1]) / 60, len(one) - 0.5, -0.5)
        image = ax.imshow(one, aspect="auto", extent=extent, vmin=0, vmax=shares.max())
        ax.set(title=f"head {n + 1}", xlabel="minutes")
    axes[0].set_ylabel("token")
    figure.colorbar(image, ax=axes.tolist(), label="share")
    figure.savefig(folder / "attention.png", dpi=120)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    model, test = finished(folder)
    ask = jax.jit(jax.vmap(lambda y0, c: model(y0, c, test.ts - test.t0)))
    blocks = range(0, len(test.y0), 1000)
    parts = [np.asarray(ask(test.y0[n : n + 1000], test.conditions[n : n + 1000])) for n in blocks]
    found = np.concatenate(parts)
    cases(folder, test, found)
    errors(folder, test, found)
    if test.segments > 1 and model.restarts:
        day(folder, test, model)
    if isinstance(model, ChemNNE):
        attention(folder, test, model)
    owed(folder, test, model)


if __name__ == "__main__":
    main()
