"""ChemNNE against each change of it alone, in as many steps of training.

    python experiments/atmos/ablation.py FOLDER [OVERRIDE ...]

Runs `+experiment=emulate_atmos_chemnne` with these overrides once as it is and once for every
change, each into a folder of its own under FOLDER; those that are there are not run again. Prints a
table and writes ablation.png beside this file. For the 49 species of the README:

    python experiments/atmos/ablation.py ablation stages.emulate.steps=1500 data=atmos_49 \\
        network=file network.path=spec_model_1.fac '~stages.emulate.weights.mass'

Without the masses of species there is no row without their loss.
"""

import json
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
from omegaconf import OmegaConf

HERE = Path(__file__).parent
WEIGHTS = "stages.emulate.weights"
CASES = 20_000
CHANGES = {
    "as it is": [],
    "convolution along time": ["model.along=convolution"],
    "perceptron at each time": ["model.along=pointwise"],
    "without attention": ["model.attention=false"],
    "time as a number": ["model.bands=0"],
    "2 bands": ["model.bands=2"],
    "8 bands": ["model.bands=8"],
    "without identity": [f"~{WEIGHTS}.identity"],
    "without first derivative": [f"~{WEIGHTS}.first"],
    "without second derivative": [f"~{WEIGHTS}.second"],
    "without mass": [f"~{WEIGHTS}.mass"],
    "mean squares": [f"~{WEIGHTS}.trajectory", f"+{WEIGHTS}.squares=1.0"],
    "linear error": [f"~{WEIGHTS}.trajectory", f"+{WEIGHTS}.linear=1.0"],
    "a tenth of the data": [f"data.draw.cases={CASES // 10}"],
    "ten times the data": [f"data.draw.cases={CASES * 10}"],
}
SCORES = ("rmse_linear", "mean_dex", "p99_dex", "time/model")


def run(folder: Path, change: list[str], others: list[str]) -> dict[str, float]:
    """Metrics of a run, made where they are not there."""
    path, told = folder / "metrics.json", folder / ".hydra" / "overrides.yaml"
    how = ["+experiment=emulate_atmos_chemnne", f"data.draw.cases={CASES}", *others, *change]
    how.append("gradients=0")
    if told.exists() and OmegaConf.load(told) != OmegaConf.create(how):
        sys.exit(f"{folder} is of other overrides, {told}: name another FOLDER.")
    if not path.exists():
        command = ["-m", "jaxchem.run", *how, f"hydra.run.dir={folder}"]
        # its log is in its folder, and its progress is told still
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return json.loads(path.read_text())


def draw(rows: dict[str, dict[str, float]]) -> None:
    """Both errors of every row, over those of the first."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names, place = list(rows), np.arange(len(rows))
    base = rows[names[0]]
    figure, ax = pyplot.subplots(figsize=(6, 5), layout="constrained")
    for offset, name in ((-0.15, "rmse_linear"), (0.15, "mean_dex")):
        ax.plot([row[name] / base[name] for row in rows.values()], place + offset, "o", label=name)
    ax.axvline(1.0, color="k", lw=1)
    ax.set(xscale="log", xlabel=f"error / error {names[0]}")
    ax.set_yticks(place, names)
    ax.invert_yaxis()
    ax.legend()
    figure.savefig(HERE / "ablation.png", dpi=120)


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder, others = Path(sys.argv[1]), sys.argv[2:]
    if any("data.draw.cases" in part for part in others):
        sys.exit("data.draw.cases is what some of the changes change; leave it out.")
    gone = [part for part in others if part.startswith("~")]
    changes = {label: change for label, change in CHANGES.items() if not set(change) & set(gone)}
    print("| |", " | ".join(SCORES), "|")
    print("|---" * (1 + len(SCORES)) + "|")
    rows = {}
    for label, change in changes.items():
        rows[label] = run(folder / label.replace(" ", "_"), change, others)
        values = " | ".join(f"{rows[label][name]:.3g}" for name in SCORES)
        print(f"| {label} | {values} |", flush=True)
    draw(rows)


if __name__ == "__main__":
    main()
