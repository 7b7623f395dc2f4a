"""A sweep over model family and latent size as a table and a figure.

    python experiments/emulators/sweep.py FOLDER

FOLDER is what `python -m jaxchem.run -m ... model=... model.latent=...` wrote, one folder a job.
Prints the RMSE as Markdown, a row a family, and writes sweep.png beside this file.
"""

import json
import sys
from pathlib import Path

import matplotlib
from omegaconf import OmegaConf

HERE = Path(__file__).parent
BASELINES = ("nearest_neighbour", "chebyshev")


def collect(folder: Path) -> tuple[dict[str, dict[int, float]], dict[str, float]]:
    """RMSE by family and latent size, and those of the baselines."""
    errors: dict[str, dict[int, float]] = {}
    baselines: dict[str, float] = {}
    for path in sorted(folder.glob("*/metrics.json")):
        metrics = json.loads(path.read_text())
        hydra = OmegaConf.load(path.parent / ".hydra" / "hydra.yaml").hydra
        model = OmegaConf.load(path.parent / ".hydra" / "config.yaml").model
        errors.setdefault(hydra.runtime.choices.model, {})[model.latent] = metrics["rmse"]
        baselines = {name: metrics[f"{name}/rmse"] for name in BASELINES}
    return errors, baselines


def draw(errors: dict[str, dict[int, float]], baselines: dict[str, float]) -> None:
    """RMSE against latent size, a line a family, the baselines as level lines."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for family, values in sorted(errors.items()):
        sizes = sorted(values)
        ax.plot(sizes, [values[size] for size in sizes], "o-", label=family)
    for (name, value), style in zip(baselines.items(), ("--", ":"), strict=True):
        ax.axhline(value, color="k", lw=1, ls=style, label=name)
    ax.set_yscale("log")
    ax.set_xticks(sorted({size for values in errors.values() for size in values}))
    ax.set_xlabel("latent variables")
    ax.set_ylabel("RMSE of scaled logarithms")
    ax.legend(fontsize="small")
    figure.savefig(HERE / "sweep.png", dpi=120)


def main() -> None:
    errors, baselines = collect(Path(sys.argv[1]))
    if not errors:
        sys.exit(f"no runs under {sys.argv[1]}: it wants JOB/metrics.json")
    sizes = sorted({size for values in errors.values() for size in values})
    print("| family |", " | ".join(map(str, sizes)), "|")
    print("|---" * (len(sizes) + 1) + "|")
    for family, values in sorted(errors.items()):
        cells = (f"{values[size]:.2g}" if size in values else "-" for size in sizes)
        print(f"| {family} |", " | ".join(cells), "|")
    for name, value in baselines.items():
        print(f"| {name} |", " | ".join([f"{value:.2g}"] * len(sizes)), "|")
    draw(errors, baselines)


if __name__ == "__main__":
    main()
