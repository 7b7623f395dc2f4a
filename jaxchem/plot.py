"""Figures, each `(dataset, ax) -> ax`, from the datasets of `jaxchem.dataset`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from .metrics import dex_errors

__all__ = [
    "abundances",
    "budget",
    "conservation",
    "errors",
    "estimates",
    "gains",
    "history",
    "latents",
    "phases",
    "rates",
    "readings",
    "relative",
    "residuals",
    "species_errors",
    "thermal",
    "trajectories",
]


def _time_axis(dataset: xr.Dataset, ax: Any) -> np.ndarray:
    """Labels the time axis, logarithmic where the times are spaced so."""
    ts = dataset["time"].values
    positive = ts[ts > 0]
    if len(positive) > 2 and positive[-1] > 1e3 * positive[0]:
        ax.set_xscale("log")
    ax.set_xlabel(f"time [{dataset['time'].attrs.get('units', '')}]")
    return ts


def trajectories(dataset: xr.Dataset, ax: Any, *, case: int = 0, species: int = 8) -> Any:
    """Predicted concentrations (lines) over the true ones (points), scaled to their maxima.

    Args:
        dataset: with `concentration` and, for the points, `truth`.
        ax: matplotlib axes.
        case: which trajectory.
        species: so many species, those that vary most.
    """
    ts = _time_axis(dataset, ax)
    predicted = dataset["concentration"].values[case]
    truth = dataset["truth"].values[case] if "truth" in dataset else predicted
    top = np.max(np.abs(truth), axis=0)
    top[top == 0] = 1.0
    variation = np.ptp(truth, axis=0) / top
    size = np.log10(top)
    for i in np.lexsort((-size, -np.round(variation, 1)))[:species]:
        (line,) = ax.plot(ts, predicted[:, i] / top[i], label=str(dataset["species"].values[i]))
        if "truth" in dataset:
            ax.plot(ts, truth[:, i] / top[i], ".", ms=4, color=line.get_color())
    ax.set_ylabel("concentration / maximum" + " (points: true)" * ("truth" in dataset))
    ax.legend(fontsize="small", ncols=2)
    return ax


def rates(dataset: xr.Dataset, ax: Any) -> Any:
    """Estimated over true rate coefficient of each reaction, with two standard deviations.

    Without `k_true` the estimates themselves are shown.
    """
    k = dataset["k"].values
    position = np.arange(len(k))
    reference = dataset["k_true"].values if "k_true" in dataset else np.ones_like(k)
    ratio = k / reference
    spread = dataset["deviation"].values if "deviation" in dataset else np.zeros_like(k)
    low, high = ratio * np.exp(-2 * spread), ratio * np.exp(2 * spread)
    ax.errorbar(position, ratio, yerr=[ratio - low, high - ratio], fmt="o", ms=4, capsize=2)
    if "k_true" in dataset:
        ax.axhline(1.0, lw=0.8, color="k")
        ax.set_ylabel("k estimated / k true")
    else:
        ax.set_ylabel("k estimated")
    ax.set_yscale("log")
    names = [str(name) for name in dataset["reaction"].values]
    ax.set_xticks(position, names, rotation=90, fontsize=max(4, 9 - len(k) // 12))
    return ax


def history(dataset: xr.Dataset, ax: Any) -> Any:
    """Loss by step; a loss that goes below zero (a logarithm) is drawn on a linear axis."""
    loss = dataset["loss"].values
    ax.plot(np.arange(1, len(loss) + 1), loss, marker="." if len(loss) < 60 else None)
    if np.all(loss[np.isfinite(loss)] > 0):
        ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("loss")
    return ax


def conservation(dataset: xr.Dataset, ax: Any) -> Any:
    """Largest relative change of each conserved total over the cases, by time."""
    ts = _time_axis(dataset, ax)
    drift = np.max(np.abs(dataset["drift"].values), axis=0)
    for i, element in enumerate(dataset["element"].values):
        ax.plot(ts, np.maximum(drift[:, i], 1e-18), label=str(element))
    ax.set_yscale("log")
    ax.set_ylabel("relative drift")
    if drift.shape[1]:
        ax.legend(fontsize="small")
    return ax


def errors(dataset: xr.Dataset, ax: Any) -> Any:
    """Median and largest error of the prediction by time, relative to each species' maximum."""
    ts = _time_axis(dataset, ax)
    truth = dataset["truth"].values
    top = np.max(np.abs(truth), axis=(0, 1))
    error = np.abs(dataset["concentration"].values - truth) / np.where(top == 0, 1, top)
    flat = np.moveaxis(error, 1, 0).reshape(len(ts), -1)
    ax.plot(ts, np.maximum(np.max(flat, axis=1), 1e-18), label="largest")
    ax.plot(ts, np.maximum(np.median(flat, axis=1), 1e-18), label="median")
    ax.set_yscale("log")
    ax.set_ylabel("|predicted - observed| / maximum")
    ax.legend(fontsize="small")
    return ax


def species_errors(dataset: xr.Dataset, ax: Any) -> Any:
    """Mean and 99th percentile of |log10 predicted - log10 observed| by species, worst first."""
    predicted, truth = dataset["concentration"].values, dataset["truth"].values
    error = np.asarray(dex_errors(jnp.asarray(predicted), jnp.asarray(truth), 1e-99))
    flat = error.reshape(-1, error.shape[-1])
    mean, rare = np.mean(flat, axis=0), np.quantile(flat, 0.99, axis=0)
    order = np.argsort(-mean)
    position = np.arange(len(order))
    ax.plot(position, mean[order], "o", label="mean")
    ax.plot(position, rare[order], "_", label="99th percentile")
    names = [str(dataset["species"].values[i]) for i in order]
    ax.set_xticks(position, names, rotation=90, fontsize=max(4, 9 - len(order) // 12))
    ax.set_yscale("log")
    ax.set_ylabel("error [dex]")
    ax.legend(fontsize="small")
    return ax


def latents(dataset: xr.Dataset, ax: Any, *, case: int = 0) -> Any:
    """The latent variables of one case against time."""
    values = dataset["latents"].isel(case=case)
    ts = _time_axis(dataset, ax)
    for n, course in enumerate(values.transpose("latent", "time").values):
        ax.plot(ts, course, label=f"{n + 1}")
    ax.set_ylabel("latent variable")
    ax.legend(fontsize="small", ncols=2)
    return ax


def thermal(dataset: xr.Dataset, ax: Any) -> Any:
    """Heating (full lines) and cooling (broken ones) by process against time."""
    ts = _time_axis(dataset, ax)
    for kind, style in (("heating", "-"), ("cooling", "--")):
        for n, name in enumerate(dataset[f"{kind}_process"].values):
            values = np.abs(dataset[kind].sel({f"{kind}_process": name}).values)
            if np.any(values > 0):
                ax.plot(ts, np.where(values > 0, values, np.nan), style, color=f"C{n}", label=name)
    top = max(float(np.abs(dataset[kind]).max()) for kind in ("heating", "cooling"))
    ax.set(yscale="log", ylim=(1e-6 * top, 3 * top), ylabel="erg cm$^{-3}$ s$^{-1}$")
    ax.legend(fontsize="small", ncols=2)
    return ax


def abundances(dataset: xr.Dataset, ax: Any, *, case: int = 0) -> Any:
    """Concentrations, and the temperature (broken, on the right), both logarithmic.

    Args:
        dataset: with `concentration` and `temperature`, and `truth` for points.
        ax: matplotlib axes.
        case: which trajectory.
    """
    ts = _time_axis(dataset, ax)
    for n, name in enumerate(dataset["species"].values):
        values = dataset["concentration"].values[case, :, n]
        ax.plot(ts, np.where(values > 0, values, np.nan), color=f"C{n}", label=str(name))
        if "truth" in dataset:
            ax.plot(ts, dataset["truth"].values[case, :, n], ".", ms=3, color=f"C{n}")
    top = float(dataset["concentration"][case].max())
    unit = dataset["concentration"].attrs.get("units", "")
    ax.set(yscale="log", ylim=(1e-16 * top, 3 * top), ylabel=f"concentration [{unit}]")
    right = ax.twinx()
    right.plot(ts, dataset["temperature"].values[case], "k--", label="T")
    if "true_temperature" in dataset:
        right.plot(ts, dataset["true_temperature"].values[case], "k.", ms=3)
    right.set(yscale="log", ylabel="temperature [K]")
    ax.legend(fontsize="small", ncols=3)
    return ax


def relative(dataset: xr.Dataset, ax: Any) -> Any:
    """log10 of the relative error of each state of the first case against time."""
    ts = _time_axis(dataset, ax)
    for n, name in enumerate(dataset["state"].values):
        ax.plot(ts, dataset["relative"].values[0, :, n], color=f"C{n}", lw=1, label=str(name))
    ax.set_ylabel("log$_{10}$ relative error")
    ax.legend(fontsize="small", ncols=3)
    return ax


def stiffness(dataset: xr.Dataset, ax: Any) -> Any:
    """The ratio of the fastest to the slowest rate against time, a line for each reading."""
    ts = _time_axis(dataset, ax)
    for name in dataset["reading"].values:
        ax.plot(ts, dataset["stiffness"].sel(reading=name).values, lw=1, label=str(name))
    ax.set(yscale="log", ylabel="fastest / slowest rate")
    ax.legend(fontsize="small")
    return ax


def distribution(dataset: xr.Dataset, ax: Any) -> Any:
    """The share of each state's relative errors, over cases and times, that is below a size."""
    for n, name in enumerate(dataset["state"].values):
        found = dataset["relative"].values[..., n]
        found = np.sort(found[np.isfinite(found)])
        share = np.arange(1, len(found) + 1) / max(len(found), 1)
        ax.plot(found, share, color=f"C{n}", lw=1, label=str(name))
    ax.set(xlabel="log$_{10}$ relative error", ylabel="share below")
    ax.legend(fontsize="small", ncols=2)
    return ax


def plane(dataset: xr.Dataset, ax: Any) -> Any:
    """The error that nine of ten of a case's are below, where the case began in density and T."""
    found = np.nanquantile(dataset["relative"].values, 0.9, axis=(1, 2))
    x, y = dataset["density"].values, dataset["initial_temperature"].values
    shown = ax.scatter(x, y, c=found, s=24, cmap="viridis")
    ax.figure.colorbar(shown, ax=ax, label="log$_{10}$ relative error, 90 %")
    unit = dataset["density"].attrs.get("units", "")
    ax.set(xscale="log", yscale="log", xlabel=f"density [{unit}]", ylabel="temperature [K]")
    return ax


def phases(dataset: xr.Dataset, ax: Any) -> Any:
    """The temperature at rest against density, a line for each field; none where none was found."""
    for field in dataset["uv_field"].values:
        row = dataset.sel(uv_field=field)
        shown = np.where(row["settled"].values, row["temperature"].values, np.nan)
        ax.plot(dataset["density"].values, shown, label=f"{field:g}")
    unit = dataset["density"].attrs.get("units", "")
    ax.set(xscale="log", yscale="log", xlabel=f"density [{unit}]", ylabel="temperature [K]")
    ax.legend(title="field", fontsize="small")
    return ax


def budget(dataset: xr.Dataset, ax: Any, *, reactions: int = 5) -> Any:
    """Production of a species stacked above zero, loss below it, and their sum as a line.

    Args:
        dataset: of `label_budget`.
        ax: matplotlib axes.
        reactions: so many each of production and of loss, those with the largest sums over the
            output times; the others are one layer.
    """
    ts = _time_axis(dataset, ax)
    rates = dataset["contribution"].values
    total = np.nansum(rates, axis=0)
    colours = iter(f"C{i}" for i in range(2 * reactions))
    for sign, others in ((1, "0.75"), (-1, "0.55")):
        order = np.flatnonzero(sign * total > 0)
        order = order[np.argsort(-np.abs(total[order]), kind="stable")]
        layers = [
            (rates[:, j], str(dataset["reaction"].values[j]), next(colours))
            for j in order[:reactions]
        ]
        if len(rest := order[reactions:]):
            kind = "production" if sign > 0 else "loss"
            layers.append((rates[:, rest].sum(axis=1), f"other {kind} ({len(rest)})", others))
        if layers:
            values, labels, fills = zip(*layers, strict=True)
            ax.stackplot(ts, *values, labels=labels, colors=fills)
    ax.plot(ts, rates.sum(axis=1), "k--", lw=1, label="net")
    species, unit = dataset.attrs["species"], dataset["contribution"].attrs["units"]
    ax.set_ylabel(f"production and loss of {species} [{unit}]")
    ax.legend(fontsize="small")
    return ax


def readings(dataset: xr.Dataset, ax: Any) -> Any:
    """Readings (points) and what was predicted of them (lines), a colour for each observable.

    Observables of unlike size are over their largest. Experiments of one reading are side by side.
    Bands that hold 95 % of what is predicted, and of what would be read, are shaded where given.
    """
    names = list(dict.fromkeys(dataset["observable"].values))
    values = {n: dataset.isel(reading_number=dataset["observable"].values == n) for n in names}
    tops = {n: float(np.max(np.abs(part["reading"].values))) or 1.0 for n, part in values.items()}
    alike = max(tops.values()) < 100 * min(tops.values())
    for i, (name, part) in enumerate(values.items()):
        colour = f"C{i % 10}"
        top = 1.0 if alike else tops[name]
        for e, experiment in enumerate(dict.fromkeys(part["experiment"].values)):
            own = part.isel(reading_number=part["experiment"].values == experiment)
            own = own.isel(reading_number=np.argsort(own["time"].values, kind="stable"))
            x, label = own["time"].values, name if e == 0 else None
            style = "-" if len(np.unique(x)) > 1 else "_"
            ax.plot(x, own["reading"].values / top, ".", ms=4, color=colour)
            ax.plot(x, own["predicted"].values / top, style, lw=1.2, color=colour, label=label)
            for kind in ("", "reading_"):
                if f"band_{kind}low" in own:
                    ends = (own[f"band_{kind}{end}"].values / top for end in ("low", "high"))
                    shade = {"color": colour, "alpha": 0.15, "lw": 3 * (style == "_")}
                    ax.fill_between(x, *ends, **shade)
    ax.set_xlabel(f"time [{dataset['time'].attrs.get('units', '')}]")
    ax.set_ylabel("readings (points) and fit" + ("" if alike else ", over the largest"))
    ax.legend(fontsize="small", ncols=2)
    return ax


def residuals(dataset: xr.Dataset, ax: Any) -> Any:
    """Predictions less readings, over their deviations, against time."""
    scaled = dataset["scaled"]
    for name in dict.fromkeys(dataset["observable"].values):
        own = dataset["observable"].values == name
        ax.plot(dataset["time"].values[own], scaled.values[own], ".", ms=4, label=name)
    for level in (-2, 0, 2):
        ax.axhline(level, lw=0.8, color="k", ls="-" if level == 0 else ":")
    ax.set_xlabel(f"time [{dataset['time'].attrs.get('units', '')}]")
    ax.set_ylabel("(fit - reading) / deviation")
    ax.legend(fontsize="small", ncols=2)
    return ax


def estimates(dataset: xr.Dataset, ax: Any) -> Any:
    """Estimates over where their search began, with intervals; an open end is an arrow."""
    begin = dataset["begin"].values
    begin = np.where(begin != 0, begin, 1.0)
    value, low, high = (dataset[n].values / begin for n in ("estimate", "low", "high"))
    place = np.arange(len(value))
    bars = [np.nan_to_num(value - low), np.nan_to_num(high - value)]
    ax.errorbar(place, value, yerr=np.abs(bars), fmt="o", ms=4, capsize=2)
    ax.plot(place[np.isnan(high)], value[np.isnan(high)], "^", ms=9, mfc="none", color="C3")
    ax.plot(place[np.isnan(low)], value[np.isnan(low)], "v", ms=9, mfc="none", color="C3")
    ax.axhline(1.0, lw=0.8, color="k")
    if np.all(value > 0):
        ax.set_yscale("log")
    ax.set_xticks(place, [str(n) for n in dataset["parameter"].values], rotation=60, ha="right")
    ax.set_ylabel("estimate / start of the search")
    return ax


def gains(dataset: xr.Dataset, ax: Any, *, rows: int = 30) -> Any:
    """Bits that readings gain by themselves, by time and observable; chosen ones are marked.

    Args:
        dataset: of `label_readings`, with `gain` and `chosen`.
        ax: matplotlib axes.
        rows: so many observables of experiments, those that gain most.
    """
    time, gain, chosen = (dataset[n].values for n in ("time", "gain", "chosen"))
    labels = [*zip(dataset["experiment"].values, dataset["observable"].values, strict=True)]
    many = len({experiment for experiment, _ in labels}) > 1
    best: dict[Any, float] = {}
    for label, bits in zip(labels, gain, strict=True):
        best[label] = max(bits, best.get(label, 0.0))
    shown = [*best]
    if len(shown) > rows:
        shown = sorted(best, key=lambda label: -best[label])[:rows]
    ts = np.unique(time)
    table = np.full((len(shown), len(ts)), np.nan)
    for label, t, bits, often in zip(labels, time, gain, chosen, strict=True):
        if label in shown:
            at = (shown.index(label), int(np.searchsorted(ts, t)))
            table[at] = bits
            if often:
                ax.plot(at[1], at[0], "o", color="C3", mec="w", ms=6 + 2 * min(often - 1, 4))
    drawn = ax.imshow(table, aspect="auto", cmap="viridis", vmin=0.0, interpolation="nearest")
    ax.figure.colorbar(drawn, ax=ax, label="gain by itself [bits]")
    places = np.unique(np.linspace(0, len(ts) - 1, min(len(ts), 8)).round().astype(int))
    ax.set_xticks(places, [f"{t:.3g}" for t in ts[places]])
    names = [f"{o} ({e})" if many else o for e, o in shown]
    ax.set_yticks(np.arange(len(names)), names, fontsize=max(5, 9 - len(names) // 8))
    ax.set_xlabel(f"time [{dataset['time'].attrs.get('units', '')}] (marked: to be read)")
    return ax
