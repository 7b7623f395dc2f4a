"""What a run leaves in its folder: predictions, metrics, reports and figures."""

import json
import logging
import math
import platform
import re
import subprocess
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import matplotlib

from . import models, plot
from .dataset import Observations, label_estimate, observe, read, read_history, write
from .files import atomic
from .network import Network
from .simulate import Simulation
from .stages import Data, Outcome, coefficients, told, true_rates

__all__ = ["conclude", "figure", "finished", "simulated", "versions", "write_metrics"]

log = logging.getLogger("jaxchem")


def versions(folder: Path) -> None:
    """Tells of what a run is made, and where it is written."""
    packages = ("jaxchem", "jax", "equinox", "diffrax", "optimistix", "optax", "numpy")
    log.info("%s", ", ".join(f"{p} {metadata.version(p)}" for p in packages))
    try:
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        revision = ""
    told = f", revision {revision}" if revision else ""
    log.info("python %s, %s%s", platform.python_version(), jax.devices()[0], told)
    log.info("output: %s", folder)


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Writes metrics.json; JSON has no NaN, so what a failed prediction does not have is null."""
    known = {n: v if math.isfinite(v) else None for n, v in metrics.items()}
    with atomic(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def _file(name: str) -> str:
    """A name, such as one with that of a species, as that of a file in a folder and not beyond."""
    return re.sub(r"[/\\\0]", "_", name)


def figure(
    folder: Path,
    name: str,
    draw: Callable[[Any, Any], Any],
    dataset: Any,
    size: tuple[float, float] = (7, 4.5),
) -> None:
    """Draws a dataset with a function of `jaxchem.plot` into figures/NAME.png."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    canvas, ax = pyplot.subplots(figsize=size, layout="constrained")
    draw(dataset, ax)
    with atomic(folder / "figures" / _file(f"{name}.png")) as temporary:
        canvas.savefig(temporary, format="png", dpi=150)
    pyplot.close(canvas)


def conclude(folder: Path, data: Data, found: Outcome) -> dict[str, float]:
    """Writes predictions, metrics, the report and figures; gives all metrics back."""
    network, middle = data.test.network, data.test.middle
    report, metrics = found.report, found.metrics
    k = coefficients(found.model, data.test)
    if k is not None and not data.test.own_laws:
        log.info(
            "the coefficients of network %s are not known to be those that the data are of, so "
            "nothing is held against them; data.true_rates=true says that they are",
            network.name,
        )
    labelled = label_estimate(
        data.held,
        network,
        report.prediction,
        latents=report.latents,
        k=k,
        k_true=None if k is None else true_rates(data.test, middle),
        deviation=None if k is None else found.deviation,
    )
    write(labelled, folder / "predictions.nc")
    write_metrics(folder, metrics)
    with atomic(folder / "report.md") as temporary:
        temporary.write_text(str(report))
    log.info("%s", told(metrics))
    figure(folder, "trajectories", plot.trajectories, labelled)
    figure(folder, "errors", plot.errors, labelled)
    if "k" not in labelled:
        figure(folder, "species", plot.species_errors, labelled)
    if "latents" in labelled:
        figure(folder, "latents", plot.latents, labelled)
    if labelled.sizes.get("element"):
        figure(folder, "conservation", plot.conservation, labelled)
    if "k" in labelled:
        size = (max(6, 0.22 * labelled.sizes["reaction"]), 6)
        figure(folder, "rates", plot.rates, labelled, size)
    for path in sorted(folder.glob("*/history.nc")):
        figure(folder, f"loss_{path.parent.name}", plot.history, read_history(path))
    return metrics


def finished(
    folder: Path, network: Network, stage: str = "emulate"
) -> tuple[models.AbstractEmulator, Observations]:
    """A model that a run has made, and the trajectories of `data.test` that it was measured on.

    Both have their states in the order of the network, and the same conditions.

    Args:
        folder: of the run.
        network: that of the run, as `run.finished` builds it.
        stage: whose model.

    Raises:
        ValueError: no such model or trajectories there, or those of another network.
    """
    model = models.load_model(folder / stage / "model.eqx")
    test = observe(read(folder / "test.nc", network), network).in_order(model.about.conditions)
    return model.in_order(network.species, test.names), test


def simulated(folder: Path, found: Simulation) -> dict[str, float]:
    """Writes the dataset of a run that is of one part, its files, report, metrics and figures."""
    if "steps" in found.metrics:
        steps, seconds = found.metrics["steps"], found.metrics["wall_s"]
        log.info("%.0f steps in %.1f s; report, data and figures in %s", steps, seconds, folder)
    else:
        log.info("%s", ", ".join(f"{n} {v:.3g}" for n, v in list(found.metrics.items())[:8]))
    if found.model is not None:
        models.save(folder / "model.eqx", found.model)
    write(found.trajectory, folder / "data.nc")
    with atomic(folder / "report.md") as temporary:
        temporary.write_text(found.report)
    for name, text in found.files.items():
        with atomic(folder / _file(name)) as temporary:
            temporary.write_text(text)
    for name, part in found.parts.items():
        if part.kept:
            write(part.dataset, folder / _file(f"{name}.nc"))
        figure(folder, name, part.draw, part.dataset, part.size)
    write_metrics(folder, found.metrics)
    return found.metrics
