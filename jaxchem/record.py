"""What a run leaves in its folder: predictions, metrics, reports and figures."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

from . import plot
from .checkpoint import atomic
from .dataset import label_estimate, read_history, write
from .stages import Simulation, emulation_report

__all__ = ["conclude", "figure", "simulated", "write_metrics"]


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Writes metrics.json; JSON has no NaN, so what a failed prediction does not have is null."""
    known = {n: v if math.isfinite(v) else None for n, v in metrics.items()}
    with atomic(folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


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
    with atomic(folder / "figures" / f"{name}.png") as temporary:
        canvas.savefig(temporary, format="png", dpi=150)
    pyplot.close(canvas)


def conclude(
    folder: Path,
    problem: Any,
    dataset: Any,
    model: Any,
    metrics: Mapping[str, float],
    deviation: Any,
    prediction: Any,
) -> None:
    """Writes predictions, metrics, the report of an emulator, and figures."""
    k = model.rate_coefficients
    labelled = label_estimate(
        dataset,
        problem.network,
        prediction,
        k=k,
        k_true=None if k is None else problem.k_true,
        deviation=None if k is None else deviation,
    )
    write(labelled, folder / "predictions.nc")
    write_metrics(folder, metrics)
    if "mean_dex" in metrics:
        with atomic(folder / "report.md") as temporary:
            temporary.write_text(emulation_report(dict(metrics)))
    figure(folder, "trajectories", plot.trajectories, labelled)
    figure(folder, "errors", plot.errors, labelled)
    if "k" not in labelled:
        figure(folder, "species", plot.species_errors, labelled)
    if labelled.sizes.get("element"):
        figure(folder, "conservation", plot.conservation, labelled)
    if "k" in labelled:
        size = (max(6, 0.22 * labelled.sizes["reaction"]), 6)
        figure(folder, "rates", plot.rates, labelled, size)
    for path in sorted(folder.glob("*/history.nc")):
        figure(folder, f"loss_{path.parent.name}", plot.history, read_history(path))


def simulated(folder: Path, found: Simulation) -> None:
    """Writes the trajectory and the budgets of a box, its report, metrics and figures."""
    write(found.trajectory, folder / "data.nc")
    with atomic(folder / "report.md") as temporary:
        temporary.write_text(found.report)
    figure(folder, "trajectories", plot.trajectories, found.trajectory)
    for species, budget in found.budgets.items():
        write(budget, folder / f"budget_{species}.nc")
        figure(folder, f"budget_{species}", plot.budget, budget, (9, 6))
    write_metrics(folder, found.metrics)
